//! Folding a ledger from its beginning: to replace views, and to compare roots.

use std::path::Path;
use std::sync::Arc;

use pedigraph_ledger::Reader;

use super::directory::{Options, lock, open_store};
use super::folder::Folder;
use super::marker;
use super::runner::{STEP_BYTES_MAX, step};
use crate::ask::answers::ViewRoots;
use crate::derived::{self, DerivedViews};
use crate::error::Error;
use crate::facts::ViewSet;
use crate::store::{MemStore, Store};

/// What folding a ledger from its beginning came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Folded {
    /// Number of commits.
    pub commits: u64,
    /// The view root after them, `sha256:` and hex.
    pub root: String,
    /// The root of each derived view, by name.
    pub derived: Vec<(String, String)>,
    /// The roots that the ledger recorded, held against those on the way.
    pub recorded: ViewRoots,
}

/// Wipes the views in a directory and folds the ledger up to its head; `progress` gets (commits folded, commits).
pub fn rebuild(
    dir: &Path,
    ledger: &Reader,
    options: &Options,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Folded, Error> {
    let failed = |error: std::io::Error| Error::Store(format!("marker: {error}"));
    let _lock = lock(dir)?;
    let kind = options.store.or_else(|| marker::kept_by(dir)).unwrap_or_default();
    marker::set_broken(dir, kind).map_err(failed)?;
    let (store, kind) = open_store(dir, ledger, options)?;
    marker::set_running(dir, kind).map_err(failed)?;
    let folded = fold_to_head(store.clone(), ledger, STEP_BYTES_MAX, derived::all(), progress)?;
    store.sync()?;
    marker::set_clean(dir, kind).map_err(failed)?;
    Ok(folded)
}

/// Folds the ledger up to its head into memory, in steps of about `step_bytes` of journal; the root is to be compared
/// with [`crate::Views::root`].
pub fn fold_into_memory(ledger: &Reader, step_bytes: usize) -> Result<Folded, Error> {
    fold_into(Arc::new(MemStore::default()), ledger, step_bytes)
}

/// Folds the ledger up to its head into an empty store, in steps of about `step_bytes` of journal.
pub fn fold_into(store: Arc<dyn Store>, ledger: &Reader, step_bytes: usize) -> Result<Folded, Error> {
    fold_to_head(store, ledger, step_bytes, derived::all(), &mut |_, _| ())
}

pub(super) fn fold_to_head(
    store: Arc<dyn Store>,
    ledger: &Reader,
    step_bytes: usize,
    derived: DerivedViews,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Folded, Error> {
    let mut folder = Folder::open(store.clone(), Arc::new(ViewSet::default()), Arc::new(derived))?;
    let end = ledger.next_seq();
    while folder.progress().next_seq < end || folder.has_work() {
        step(ledger, &mut folder, step_bytes, &|_| ())?;
        folder.finish_step(|_| Box::new(|| {}))?;
        progress(folder.progress().whole_seq(), end);
    }
    folder.settle()?;
    store.flush()?;
    let (commits, root) = (folder.progress().next_seq, folder.progress().root());
    let derived = folder.derived().iter().map(|view| (view.name.to_owned(), view.root.clone())).collect();
    Ok(Folded { commits, root, derived, recorded: folder.roots().outcome().clone() })
}
