//! Checkpoints as a ledger that is opened has them, and how one gets its place.

use std::sync::Arc;

use bytes::Bytes;

use crate::derived::index;
use crate::files::storage::{self, Access, Storage};
use crate::notes::{note, signer};
use crate::publish::witnesses::PendingCheckpoint;
use crate::publish::{checkpoint, keys};
use crate::read::open_ledger::OpenLedger;
use crate::tree::merkle::WIDTH;
use crate::{Checkpoint, Error, LogId, Reader, Signer};

/// A new ledger's first checkpoint: the empty tree, at once, so that a client can be pointed at it.
pub(crate) fn publish_empty_default(
    shared: &OpenLedger,
    storage: &dyn Storage,
    signer: Option<&Arc<dyn Signer>>,
) -> Result<(), Error> {
    let log = LogId::default_log();
    let head = shared.durable().logs.get(&log).cloned();
    let Some(head) = head.filter(|head| head.checkpoint.is_none() && head.size == 0) else { return Ok(()) };
    let signer = keys::signer(&shared.dir, &shared.meta.keys.current(), signer)?;
    let origin = shared.meta.origin(&log);
    match signer::sign_note(&note::body(&origin, 0, &head.root), &origin, &*signer) {
        Ok(note) => publish_note(shared, storage, &PendingCheckpoint { log, size: 0, note }, true, 0),
        Err(Error::Signer(why)) => {
            tracing::warn!(why, "the first checkpoint was not signed; the publisher tries again");
            Ok(())
        }
        Err(other) => Err(other),
    }
}

/// Compares the checkpoints that are older than the newest segment; recovery has compared the others while it folded.
///
/// Only where the tiles are there and lead to the durable root: without them this would read the whole journal.
pub(crate) fn check_older(reader: &Reader) -> Result<(), Error> {
    for log in reader.logs() {
        let head = reader.0.durable().logs.get(&log).map(|head| (head.recent_from, head.checkpoint.clone()));
        let Some((from, Some(checkpoint))) = head else { continue };
        let full = (checkpoint.size / WIDTH).checked_sub(1).filter(|_| checkpoint.size < from);
        if full.and_then(|number| index::stored_tile(reader.dir(), &log, 0, number)).is_none() {
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

/// The names `logs` and `logs/<log>` must be as durable as the checkpoint below them, whoever made them.
pub(crate) fn name_log(shared: &OpenLedger, storage: &dyn Storage, log: &LogId, is_first: bool) -> Result<(), Error> {
    if is_first {
        storage.create_dir(&index::log_dir(&shared.dir, log))?;
        storage.sync_dir(&shared.dir.join("logs"))?;
        storage.sync_dir(&shared.dir)?;
    }
    Ok(())
}

pub(crate) fn publish_note(
    shared: &OpenLedger,
    storage: &dyn Storage,
    draft: &PendingCheckpoint,
    is_first: bool,
    now_ns: i64,
) -> Result<(), Error> {
    name_log(shared, storage, &draft.log, is_first)?;
    storage::replace(storage, &checkpoint::path(&shared.dir, &draft.log), draft.note.as_bytes(), Access::Shared)?;
    let checkpoint = Checkpoint { size: draft.size, note: Bytes::from(draft.note.clone()), at_ns: now_ns };
    shared.change(|state| {
        state.logs.get_mut(&draft.log).into_iter().for_each(|head| head.checkpoint = Some(checkpoint.clone()))
    });
    Ok(())
}
