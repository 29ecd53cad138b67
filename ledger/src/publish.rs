//! Checkpoints: signed for durable sizes only, once per size, durable before anybody can read them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;

use crate::shared::{LogState, Shared};
use crate::storage::{self, Access, Storage};
use crate::tile::{Of, Tile, WIDTH};
use crate::{Checkpoint, Error, LogId, Reader, Signer, Writer, derive, keys, note};

/// Signs and publishes the newest durable head of every log that has grown: at most one checkpoint per size, durable before it
/// is visible. Call it on an interval from one thread.
pub struct Publisher {
    shared: Arc<Shared>,
    storage: Arc<dyn Storage>,
    signer: Arc<dyn Signer>,
    /// A failed write may be on disk or not; another signature must not follow it.
    poisoned: bool,
}

impl Publisher {
    /// For the process that holds the [`Writer`].
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the key is missing or the signer has another than the ledger.
    pub fn new(writer: &Writer) -> Result<Publisher, Error> {
        let shared = Arc::clone(&writer.shared);
        let signer = keys::signer(&shared.dir, &shared.meta, writer.signer.as_ref())?;
        Ok(Publisher { shared, storage: Arc::clone(&writer.storage), signer, poisoned: false })
    }

    /// Publishes what is new at `now_ns`; returns how many checkpoints were made.
    ///
    /// # Errors
    /// [`Error::Signer`]: nothing more was published, call it again. [`Error::Full`]: there is no room for it now. [`Error::Io`]: the
    /// disk failed, here or under the files that are derived from the journal; the publisher is poisoned and the process must stop.
    pub fn publish(&mut self, now_ns: i64) -> Result<usize, Error> {
        if self.poisoned {
            return Err(std::io::Error::other("an earlier checkpoint could not be written; stop the process").into());
        }
        if let Some(why) = self.shared.state().failed.clone() {
            return Err(std::io::Error::other(format!("derived files cannot be written: {why}")).into());
        }
        let grown = self.grown();
        for (log, head) in &grown {
            let outcome = publish_head(&self.shared, &*self.storage, &*self.signer, log, head, now_ns);
            let outcome = outcome.map_err(|error| match error {
                Error::Io(error) => Error::while_preparing("a checkpoint", error),
                other @ (Error::Locked(_)
                | Error::Refused(_)
                | Error::Corrupt(_)
                | Error::Full(_)
                | Error::Signer(_)) => other,
            });
            // On a full disk the old one stands; if the name is new already, the same bytes follow, or a later size's.
            self.poisoned |= outcome.as_ref().is_err_and(|error| !matches!(error, Error::Full(_) | Error::Signer(_)));
            outcome?;
        }
        Ok(grown.len())
    }

    /// Why tiles and indexes have to wait for room on the disk, if they do.
    pub fn derived_waits(&self) -> Option<String> {
        self.shared.state().full.clone()
    }

    fn grown(&self) -> Vec<(LogId, LogState)> {
        let state = self.shared.state();
        let published =
            |head: &LogState| head.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.size >= head.size);
        let grown = state.logs.iter().filter(|(_, head)| !published(head));
        grown.map(|(log, head)| (log.clone(), LogState { recent: Default::default(), ..head.clone() })).collect()
    }
}

/// A new ledger's first checkpoint: the empty tree, at once, so that a client can be pointed at it.
pub(crate) fn publish_empty_default(
    shared: &Shared,
    storage: &dyn Storage,
    signer: Option<&Arc<dyn Signer>>,
) -> Result<(), Error> {
    let log = LogId::default_log();
    let head = shared.state().logs.get(&log).cloned();
    let Some(head) = head.filter(|head| head.checkpoint.is_none() && head.size == 0) else { return Ok(()) };
    let signer = keys::signer(&shared.dir, &shared.meta, signer)?;
    match publish_head(shared, storage, &*signer, &log, &head, 0) {
        // The publisher tries again.
        Err(Error::Signer(why)) => tracing::warn!(why, "the first checkpoint was not signed"),
        outcome => outcome?,
    }
    Ok(())
}

/// Compares the checkpoints that are older than the newest segment; recovery has compared the others while it folded.
///
/// Only where the tiles are there and lead to the durable root: without them this would read the whole journal.
pub(crate) fn check_older(reader: &Reader) -> Result<(), Error> {
    for log in reader.logs() {
        let head = reader.0.state().logs.get(&log).map(|head| (head.recent_from, head.checkpoint.clone()));
        let Some((from, Some(checkpoint))) = head else { continue };
        let full = Tile { of: Of::Level(0), number: (checkpoint.size / WIDTH).saturating_sub(1), width: WIDTH };
        if checkpoint.size < WIDTH || checkpoint.size >= from || !derive::tile_path(reader.dir(), &log, &full).exists()
        {
            continue;
        }
        let Ok(found) = reader.root_at(&log, checkpoint.size) else { continue };
        let text = String::from_utf8_lossy(&checkpoint.note).into_owned();
        let (size, root, _) = reader.0.meta.keys.verify_checkpoint(&text, &reader.origin(&log))?;
        if root != found {
            return Err(Error::Corrupt(format!(
                "log {log} at size {size} has root {found}, but a checkpoint with root {root} was published: the journal was changed; restore it from a copy"
            )));
        }
    }
    Ok(())
}

fn publish_head(
    shared: &Shared,
    storage: &dyn Storage,
    signer: &dyn Signer,
    log: &LogId,
    head: &LogState,
    now_ns: i64,
) -> Result<(), Error> {
    let origin = shared.meta.origin(log);
    let note = Bytes::from(note::sign(&note::body(&origin, head.size, &head.root), &origin, signer)?);
    let path = path(&shared.dir, log);
    if head.checkpoint.is_none() {
        storage.create_dir(&derive::log_dir(&shared.dir, log))?;
        // The names `logs` and `logs/<log>` must be as durable as the checkpoint below them, whoever made them.
        storage.sync_dir(&shared.dir.join("logs"))?;
        storage.sync_dir(&shared.dir)?;
    }
    storage::replace(storage, &path, &note, Access::Shared)?;
    let checkpoint = Checkpoint { size: head.size, note, at_ns: now_ns };
    shared.change(|state| {
        state.logs.get_mut(log).into_iter().for_each(|head| head.checkpoint = Some(checkpoint.clone()))
    });
    Ok(())
}

/// The file of a log's newest checkpoint.
pub(crate) fn path(ledger: &Path, log: &LogId) -> PathBuf {
    derive::log_dir(ledger, log).join("checkpoint")
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
