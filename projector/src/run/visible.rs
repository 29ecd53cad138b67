//! What the runner and the read handle share: the ledger, the rows, and how much of them readers may see.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use pedigraph_ledger::Reader;
use pedigraph_proto::TenantId;
use tokio::sync::watch;

use super::folder::Folder;
use super::progress::LogProgress;
use super::trace::CommitContext;
use crate::ask::answers::ViewRoots;
use crate::ask::scope::Shared;

/// What readers may see.
#[derive(Clone, Default)]
pub(super) struct Visible {
    pub(super) next_seq: u64,
    pub(super) sizes: BTreeMap<TenantId, u64>,
    pub(super) root: String,
    pub(super) recorded: ViewRoots,
    pub(super) unreadable: u64,
}

impl Visible {
    pub(super) fn of(folder: &Folder) -> Visible {
        let progress = folder.progress();
        let size = |(name, log): (&String, &LogProgress)| Some((TenantId::new(name)?, log.next));
        Visible {
            next_seq: progress.next_seq,
            sizes: progress.logs.iter().filter_map(size).collect(),
            root: progress.root(),
            recorded: folder.roots().outcome().clone(),
            unreadable: progress.unreadable,
        }
    }
}

pub(super) struct Inner {
    pub(super) reader: Reader,
    pub(super) shared: Arc<Shared>,
    pub(super) visible: RwLock<Visible>,
    pub(super) moved: watch::Sender<u64>,
    pub(super) stop: AtomicBool,
    pub(super) fault: Mutex<Option<String>>,
    pub(super) commit_context: OnceLock<CommitContext>,
}
