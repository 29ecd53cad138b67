//! What the runner and the read handle share: the ledger, the rows, and how much of them readers may see.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
use crate::error::Error;
use crate::store::{Row, Store};

/// What readers may see.
#[derive(Clone, Default)]
pub(super) struct Visible {
    pub(super) next_seq: u64,
    pub(super) sizes: BTreeMap<TenantId, u64>,
    pub(super) root: String,
    pub(super) recorded: ViewRoots,
    pub(super) unreadable: u64,
    pub(super) cut: u64,
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
            cut: progress.cut,
        }
    }
}

pub(super) struct Inner {
    pub(super) reader: Reader,
    pub(super) store: Arc<dyn Store>,
    /// What questions read, until the views are folded anew.
    pub(super) shared: RwLock<Arc<Shared>>,
    pub(super) visible: RwLock<Visible>,
    pub(super) moved: watch::Sender<u64>,
    pub(super) stop: AtomicBool,
    /// What failed last, until something was folded after it.
    pub(super) fault: Mutex<Option<String>>,
    /// How often anything failed.
    pub(super) faults: AtomicU64,
    pub(super) commit_context: OnceLock<CommitContext>,
    /// Ends what `shared` reads.
    pub(super) readable: Mutex<Arc<Readable>>,
}

impl Inner {
    /// Ends every question that reads what was there, before the rows are removed.
    pub(super) fn begin_anew(&self) {
        let readable = Arc::new(Readable::new(self.store.clone()));
        let views = self.shared.read().views.clone();
        *self.visible.write() = Visible::default();
        *self.shared.write() = Arc::new(Shared { store: readable.clone(), views });
        std::mem::replace(&mut *self.readable.lock(), readable).end();
    }
}

/// The rows as one series of questions reads them. When the views are folded anew it ends: a question that began before
/// is told so, and does not take what is missing for an answer.
pub(super) struct Readable {
    store: Arc<dyn Store>,
    ended: AtomicBool,
}

impl Readable {
    pub(super) fn new(store: Arc<dyn Store>) -> Readable {
        Readable { store, ended: AtomicBool::new(false) }
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Looks after the read: what was read before the end was whole.
    fn read<T>(&self, read: Result<T, Error>) -> Result<T, Error> {
        match self.ended.load(Ordering::Acquire) {
            true => Err(Error::Store("the views are being folded anew; ask again".into())),
            false => read,
        }
    }
}

impl Store for Readable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.read(self.store.get(key))
    }

    fn insert(&self, _key: &[u8], _value: &[u8]) -> Result<(), Error> {
        Err(read_only())
    }

    fn insert_new(&self, _key: &[u8], _value: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Err(read_only())
    }

    fn remove(&self, _key: &[u8]) -> Result<(), Error> {
        Err(read_only())
    }

    fn batch(&self, _rows: &[Row]) -> Result<(), Error> {
        Err(read_only())
    }

    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, limit: usize) -> Result<Vec<Row>, Error> {
        self.read(self.store.scan(from, to, reverse, limit))
    }

    fn flush(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn read_only() -> Error {
    Error::Store("questions write nothing".into())
}
