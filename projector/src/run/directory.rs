//! The directory of the views: locked for one process, and its store opened as it can be trusted.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use pedigraph_ledger::{LogId, Reader};

use super::marker;
use super::progress::Progress;
use crate::error::Error;
use crate::store::{Store, StoreKind, wait_unlocked};

/// How views are kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of memory for the store, about.
    pub cache_bytes: u64,
    /// What keeps them: what is in the directory is wiped when it is of another. `None`: what is there, else sled.
    pub store: Option<StoreKind>,
}

impl Default for Options {
    fn default() -> Self {
        Options { cache_bytes: 256 << 20, store: None }
    }
}

/// Takes the directory for this process, before anything in it is wiped. A process that is just ending is waited for.
pub(super) fn lock(dir: &Path) -> Result<fs::File, Error> {
    let failed = |error: std::io::Error| Error::Store(format!("lock: {error}"));
    fs::create_dir_all(dir).map_err(failed)?;
    let file = fs::File::options().create(true).truncate(false).write(true).open(dir.join("LOCK")).map_err(failed)?;
    let locked = wait_unlocked(|| match file.try_lock() {
        Ok(()) => Some(Ok(())),
        Err(fs::TryLockError::WouldBlock) => None,
        Err(fs::TryLockError::Error(error)) => Some(Err(failed(error))),
    });
    let advice = "one process folds and serves a directory; give another one its own --data, or stop the first";
    let in_use = || Error::Store(format!("{} is in use: {advice}", dir.display()));
    locked.ok_or_else(in_use)?.map(|()| file)
}

/// A store, and which one it is.
pub(super) type Opened = (Arc<dyn Store>, StoreKind);

/// The store as it can be trusted: compared with the ledger, and empty when in doubt.
pub(super) fn open_store(dir: &Path, ledger: &Reader, options: &Options) -> Result<Opened, Error> {
    let (path, kept) = (dir.join("rows"), marker::kept_by(dir));
    let kind = options.store.or(kept).unwrap_or_default();
    if kept.is_some_and(|kept| kept != kind) {
        tracing::warn!(reason = "they were kept by another store", store = %kind, "views: folding anew");
    } else if marker::trusted(dir) {
        let (store, _) = kind.open(&path, options.cache_bytes)?;
        match doubt(store.as_ref(), ledger)? {
            None => return Ok((store, kind)),
            Some(reason) => tracing::warn!(reason, "views: folding anew"),
        }
    } else if path.exists() {
        tracing::warn!(reason = "not closed well", "views: folding anew");
    }
    if path.exists() {
        fs::remove_dir_all(&path).map_err(|error| Error::Store(format!("wipe: {error}")))?;
    }
    Ok((kind.open(&path, options.cache_bytes)?.0, kind))
}

/// Why rows cannot be of this ledger; `None` when they can.
fn doubt(store: &dyn Store, ledger: &Reader) -> Result<Option<&'static str>, Error> {
    let Some(progress) = Progress::read(store)? else { return Ok(Some("no progress of this version")) };
    if progress.next_seq > ledger.next_seq() {
        return Ok(Some("ahead of the ledger"));
    }
    for (name, log) in &progress.logs {
        let Some(last) = log.next.checked_sub(1) else { continue };
        let entry = LogId::new(name).map(|log| ledger.entry(&log, last)).transpose()?.flatten();
        if entry.is_none_or(|entry| entry.leaf_hash.0 != log.leaf_hash) {
            return Ok(Some("of another ledger"));
        }
    }
    Ok(None)
}
