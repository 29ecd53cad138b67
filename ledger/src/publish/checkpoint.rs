//! The files of checkpoints.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::derived::index;
use crate::files::storage;
use crate::{Checkpoint, Error, LogId};

/// The file of a log's checkpoint that is signed and not published yet. One that is not above the published one is of
/// the past.
pub(crate) fn pending_path(ledger: &Path, log: &LogId) -> PathBuf {
    index::log_dir(ledger, log).join("pending")
}

/// The file of a log's newest checkpoint.
pub(crate) fn path(ledger: &Path, log: &LogId) -> PathBuf {
    index::log_dir(ledger, log).join("checkpoint")
}

/// Reads the newest checkpoint, without checking its signature. Published when the file was last written.
pub(crate) fn load(ledger: &Path, log: &LogId) -> Result<Option<Checkpoint>, Error> {
    let path = path(ledger, log);
    let Some(note) = storage::read_if_there(&path)? else { return Ok(None) };
    let size = std::str::from_utf8(&note).ok().and_then(|text| text.split('\n').nth(1)?.parse().ok());
    let size = size.ok_or_else(|| {
        Error::Corrupt(format!("{} is not a checkpoint; restore it from a copy or a mirror", path.display()))
    })?;
    let written = std::fs::metadata(&path)?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let at_ns = i64::try_from(written.as_nanos()).unwrap_or(i64::MAX);
    Ok(Some(Checkpoint { size, note: note.into(), at_ns }))
}
