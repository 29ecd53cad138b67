//! How a store in a directory is opened: waited for while somebody else holds it, set aside when it is damaged.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::wait_unlocked;
use crate::error::Error;

/// Renamed directories of stores that could not be opened which are kept for a look.
const CORRUPT_KEPT_MAX: u32 = 1_000;

/// Why a store was not opened.
pub(super) enum Refused {
    /// Somebody else holds it, or did a moment ago.
    Locked,
    /// It cannot be opened.
    Damaged(String),
}

/// Opens or creates a store. When it cannot be opened, the directory is renamed to `<dir>.corrupt-<n>` and an empty store
/// is created: views are a cache of the ledger. `true` when that happened.
///
/// A store that is locked is waited for and never set aside: threads of a store may hold the lock for a moment after it
/// was closed, and another process that serves it must not lose it.
pub(super) fn open<T>(dir: &Path, once: impl Fn() -> Result<T, Refused>) -> Result<(T, bool), Error> {
    let reason = match open_unlocked(dir, &once)? {
        Ok(store) => return Ok((store, false)),
        Err(reason) => reason,
    };
    let kept = set_aside(dir).map_err(|error| Error::Store(format!("set aside: {error}")))?;
    tracing::error!(%reason, kept = %kept.display(), "views: the store cannot be opened, starting anew");
    Ok((open_unlocked(dir, once)?.map_err(Error::Store)?, true))
}

/// The outer error: somebody else holds the store. The inner one: it cannot be opened.
pub(super) fn open_unlocked<T>(dir: &Path, once: impl Fn() -> Result<T, Refused>) -> Result<Result<T, String>, Error> {
    let opened = wait_unlocked(|| match catch_unwind(AssertUnwindSafe(&once)) {
        Ok(Ok(store)) => Some(Ok(store)),
        Ok(Err(Refused::Locked)) => None,
        Ok(Err(Refused::Damaged(reason))) => Some(Err(reason)),
        // Stores panic over some damage instead of returning an error.
        Err(_) => Some(Err("it panicked while it was opened".to_owned())),
    });
    let advice = "is used by another process; give each a directory of its own";
    opened.ok_or_else(|| Error::Store(format!("{} {advice}", dir.display())))
}

/// Closes what was open, whatever it thinks of that, and removes its files when it is to begin anew.
pub(super) fn close<T>(store: Option<T>, dir: &Path, anew: bool) -> Result<(), Error> {
    if catch_unwind(AssertUnwindSafe(|| drop(store))).is_err() {
        tracing::error!("views: the store panicked while it was closed");
    }
    if anew && dir.exists() {
        fs::remove_dir_all(dir).map_err(|error| Error::Store(format!("wipe: {error}")))?;
    }
    Ok(())
}

fn set_aside(dir: &Path) -> io::Result<PathBuf> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let free = (1..CORRUPT_KEPT_MAX).map(|n| dir.with_file_name(format!("{name}.corrupt-{n}"))).find(|p| !p.exists());
    let kept = free.ok_or_else(|| io::Error::other("too many corrupt stores are kept"))?;
    fs::rename(dir, &kept)?;
    Ok(kept)
}
