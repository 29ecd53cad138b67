//! Checkpoints: signed for durable sizes only, once per size, durable before anybody can read them. The ledger's key is here.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use ed25519_dalek::SigningKey;

use crate::meta::Meta;
use crate::shared::{LogState, Shared};
use crate::storage::{self, Access, Storage};
use crate::tile::{Of, Tile, WIDTH};
use crate::{Checkpoint, Error, LogId, Reader, Writer, derive, note};

const KEY_LINE: &str = "pedigraph ledger key 1 ed25519 ";

/// Signs and publishes the newest durable head of every log that has grown: at most one checkpoint per size, durable before it
/// is visible. Call it on an interval from one thread. The key lives here.
pub struct Publisher {
    shared: Arc<Shared>,
    storage: Arc<dyn Storage>,
    key: SigningKey,
    /// A failed write may be on disk or not; another signature must not follow it.
    poisoned: bool,
}

impl Publisher {
    /// For the process that holds the [`Writer`].
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the key is missing or not the ledger's.
    pub fn new(writer: &Writer) -> Result<Publisher, Error> {
        let shared = Arc::clone(&writer.shared);
        let key = load_key(&shared)?;
        Ok(Publisher { shared, storage: Arc::clone(&writer.storage), key, poisoned: false })
    }

    /// Publishes what is new at `now_ns`; returns how many checkpoints were made.
    ///
    /// # Errors
    /// [`Error::Full`]: there is no room for it now. [`Error::Io`]: the disk failed; the publisher is poisoned and the process must stop.
    pub fn publish(&mut self, now_ns: i64) -> Result<usize, Error> {
        if self.poisoned {
            return Err(std::io::Error::other("an earlier checkpoint could not be written; stop the process").into());
        }
        let grown = self.grown();
        for (log, head) in &grown {
            let outcome = publish_head(&self.shared, &*self.storage, &self.key, log, head, now_ns);
            let outcome = outcome.map_err(|error| match error {
                Error::Io(error) => Error::while_preparing("a checkpoint", error),
                other @ (Error::Locked(_) | Error::Refused(_) | Error::Corrupt(_) | Error::Full(_)) => other,
            });
            // On a full disk the old one stands; if the name is new already, the same bytes follow, or a later size's.
            self.poisoned |= outcome.as_ref().is_err_and(|error| !matches!(error, Error::Full(_)));
            outcome?;
        }
        Ok(grown.len())
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
pub(crate) fn publish_empty_default(shared: &Shared, storage: &dyn Storage) -> Result<(), Error> {
    let log = LogId::default_log();
    let head = shared.state().logs.get(&log).cloned();
    match head.filter(|head| head.checkpoint.is_none() && head.size == 0) {
        Some(head) => publish_head(shared, storage, &load_key(shared)?, &log, &head, 0),
        None => Ok(()),
    }
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
        let (size, root) = note::verify_checkpoint(&text, &reader.vkey(&log))?;
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
    key: &SigningKey,
    log: &LogId,
    head: &LogState,
    now_ns: i64,
) -> Result<(), Error> {
    let origin = shared.meta.origin(log);
    let note = Bytes::from(note::sign(&note::body(&origin, head.size, &head.root), &origin, key));
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

/// Makes the ledger's key, or takes the one that a crash left before the ledger's description was written.
pub(crate) fn create_key(ledger: &Path, storage: &dyn Storage) -> Result<SigningKey, Error> {
    let path = key_path(ledger);
    if let Some(key) = storage::read_if_there(&path)?.and_then(|bytes| parse_key(&bytes)) {
        return Ok(key);
    }
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(std::io::Error::other)?;
    let text = format!("{KEY_LINE}{}\n", hex::encode(seed));
    storage::replace(storage, &path, text.as_bytes(), Access::Private)?;
    Ok(SigningKey::from_bytes(&seed))
}

fn load_key(shared: &Shared) -> Result<SigningKey, Error> {
    let path = key_path(&shared.dir);
    let key = storage::read_if_there(&path)?.and_then(|bytes| parse_key(&bytes));
    let ours = key.filter(|key| *key.verifying_key().as_bytes() == shared.meta.public_key);
    ours.ok_or_else(|| {
        Error::Corrupt(format!("{} is missing or not this ledger's key; restore it from a copy", path.display()))
    })
}

/// Whether a file's bytes are the key of a ledger.
pub(crate) fn is_key_of(bytes: &[u8], meta: &Meta) -> bool {
    parse_key(bytes).is_some_and(|key| *key.verifying_key().as_bytes() == meta.public_key)
}

fn parse_key(bytes: &[u8]) -> Option<SigningKey> {
    let seed = std::str::from_utf8(bytes).ok()?.strip_prefix(KEY_LINE)?.strip_suffix('\n')?;
    Some(SigningKey::from_bytes(&hex::decode(seed).ok()?.try_into().ok()?))
}

/// The file of the ledger's key.
pub(crate) fn key_path(ledger: &Path) -> PathBuf {
    ledger.join("key")
}
