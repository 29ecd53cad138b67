//! How a store in a directory is opened: waited for while somebody else holds it, set aside when it is damaged.

use std::error::Error as StdError;
use std::fs;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::wait_unlocked;
use crate::error::Error;

/// Renamed directories of stores that could not be opened which are kept for a look.
const CORRUPT_KEPT_MAX: u32 = 1_000;

/// Bytes for which there is room where a store is set aside: less would do for none in its place.
const ROOM_BYTES: usize = 16 << 20;
/// `ENFILE` and `EMFILE`, which have no kind of their own.
const TOO_MANY_FILES: [i32; 2] = [23, 24];

/// Why a store was not opened.
pub(super) enum Refused {
    /// Somebody else holds it, or did a moment ago.
    Locked,
    /// It cannot be opened, though nothing is known to be wrong with it: the disk is full, or must not be written.
    Failed(String),
    /// It cannot be opened.
    Damaged(String),
}

impl Refused {
    /// By what went wrong below.
    pub(super) fn of(error: &(dyn StdError + 'static), io: Option<&io::Error>) -> Refused {
        let (mut of_machine, mut cause) = (io.is_some_and(is_of_machine), Some(error));
        while let Some(error) = cause {
            of_machine |= error.downcast_ref::<io::Error>().is_some_and(is_of_machine);
            cause = error.source();
        }
        if of_machine { Refused::Failed(error.to_string()) } else { Refused::Damaged(error.to_string()) }
    }
}

/// Whether an error says something of the machine, and nothing of what is stored.
fn is_of_machine(error: &io::Error) -> bool {
    let of_machine = [
        ErrorKind::StorageFull,
        ErrorKind::QuotaExceeded,
        ErrorKind::PermissionDenied,
        ErrorKind::ReadOnlyFilesystem,
        ErrorKind::OutOfMemory,
    ];
    of_machine.contains(&error.kind()) || error.raw_os_error().is_some_and(|code| TOO_MANY_FILES.contains(&code))
}

/// Opens or creates a store. When it is damaged, the directory is renamed to `<dir>.corrupt-<n>` and an empty store is
/// created: views are a cache of the ledger. `true` when that happened.
///
/// A full disk is no damage: rows that took hours to fold are there when there is room again. So nothing is set aside
/// where no other store could be made in its place.
///
/// A store that is locked is waited for and never set aside: threads of a store may hold the lock for a moment after it
/// was closed, and another process that serves it must not lose it.
pub(super) fn open<T>(dir: &Path, once: impl Fn() -> Result<T, Refused>) -> Result<(T, bool), Error> {
    let reason = match open_unlocked(dir, &once)? {
        Ok(store) => return Ok((store, false)),
        Err(Refused::Damaged(reason)) => match try_room(dir) {
            Ok(()) => reason,
            Err(error) => return Err(failed(dir, &format!("{reason}; {error}"))),
        },
        Err(refused) => return Err(failed(dir, &refused.reason())),
    };
    let kept = set_aside(dir).map_err(|error| Error::Store(format!("set aside: {error}")))?;
    tracing::error!(%reason, kept = %kept.display(), "views: the store cannot be opened, starting anew");
    Ok((open_unlocked(dir, once)?.map_err(|refused| failed(dir, &refused.reason()))?, true))
}

impl Refused {
    pub(super) fn reason(self) -> String {
        match self {
            Refused::Locked => "it is locked".to_owned(),
            Refused::Failed(reason) | Refused::Damaged(reason) => reason,
        }
    }
}

fn failed(dir: &Path, reason: &str) -> Error {
    let advice = "nothing in it was changed; make room or let it be written, and start again";
    Error::Store(format!("{} cannot be opened: {reason}; {advice}", dir.display()))
}

/// Whether a store could be made beside a directory.
fn try_room(dir: &Path) -> io::Result<()> {
    let probe = dir.with_extension("room");
    let written = fs::write(&probe, vec![0; ROOM_BYTES]);
    if probe.exists() {
        fs::remove_file(&probe)?;
    }
    written
}

/// The outer error: somebody else holds the store. The inner one: it cannot be opened.
pub(super) fn open_unlocked<T>(dir: &Path, once: impl Fn() -> Result<T, Refused>) -> Result<Result<T, Refused>, Error> {
    let opened = wait_unlocked(|| match catch_unwind(AssertUnwindSafe(&once)) {
        Ok(Ok(store)) => Some(Ok(store)),
        Ok(Err(Refused::Locked)) => None,
        Ok(Err(refused)) => Some(Err(refused)),
        // Stores panic over some damage instead of returning an error.
        Err(_) => Some(Err(Refused::Damaged("it panicked while it was opened".to_owned()))),
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
