//! Checkpoints: signed for durable sizes only, once per size, durable before anybody can read them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;

use crate::derived::derive;
use crate::files::storage::{self, Access, Storage};
use crate::notes::note;
use crate::publish::keys;
use crate::publish::witnesses::{self, Draft, Mode, Standing, Witnesses};
use crate::read::shared::{LogState, Shared};
use crate::tree::tile::WIDTH;
use crate::{Checkpoint, Error, LogId, Reader, Signer, Writer};

/// Logs that are signed, shown to the witnesses and published together.
const LOGS_AT_ONCE: usize = 32;

/// Signs and publishes the newest durable head of every log that has grown: at most one checkpoint per size, durable before it
/// is visible to anybody, a witness included. Call it on an interval from one thread.
pub struct Publisher {
    shared: Arc<Shared>,
    storage: Arc<dyn Storage>,
    signer: Arc<dyn Signer>,
    witnesses: Option<Arc<Witnesses>>,
    /// Signed, durable in the log's file `pending`, and not published yet.
    pending: BTreeMap<LogId, Draft>,
    /// A failed write may be on disk or not; another signature must not follow it.
    poisoned: bool,
}

impl Publisher {
    /// For the process that holds the [`Writer`]. Takes up what was signed and not published.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the key is missing or the signer has another than the ledger, or what was signed contradicts the journal.
    pub fn new(writer: &Writer) -> Result<Publisher, Error> {
        let shared = Arc::clone(&writer.shared);
        let signer = keys::signer(&shared.dir, &shared.meta.keys.current(), writer.signer.as_ref())?;
        let pending = pending(&writer.reader())?;
        let storage = Arc::clone(&writer.storage);
        Ok(Publisher { shared, storage, signer, witnesses: None, pending, poisoned: false })
    }

    /// With witnesses, who are asked to cosign each checkpoint before it is published.
    ///
    /// # Errors
    /// [`Error::Io`] when a log's file of what they cosigned cannot be read.
    pub fn with_witnesses(mut self, witnesses: Arc<Witnesses>) -> Result<Publisher, Error> {
        for log in self.reader().logs() {
            witnesses.remember(&self.shared.dir, &log)?;
            let published = self.published(&log).filter(|draft| draft.size > 0);
            if published.is_some_and(|draft| !witnesses.is_quorum(&draft.note)) {
                witnesses.mark(&log, Standing::BelowQuorum);
            }
        }
        self.witnesses = Some(witnesses);
        Ok(self)
    }

    /// Publishes what is new at `now_ns`; returns how many checkpoints were made.
    ///
    /// # Errors
    /// [`Error::Signer`]: nothing more was published, call it again. [`Error::Full`]: there is no room for it now. [`Error::Fork`]: a
    /// witness knows another history. [`Error::Io`]: the disk failed, here or under the files that are derived from the journal. After
    /// these two the publisher is poisoned and the process must stop.
    pub fn publish(&mut self, now_ns: i64) -> Result<usize, Error> {
        if self.poisoned {
            return Err(
                std::io::Error::other("no checkpoint is signed after an earlier one failed; stop the process").into()
            );
        }
        if let Some(why) = self.shared.state().failed.clone() {
            return Err(std::io::Error::other(format!("derived files cannot be written: {why}")).into());
        }
        let mut count = 0;
        for logs in self.due().chunks(LOGS_AT_ONCE) {
            let outcome = self.publish_some(logs, now_ns).map_err(|error| match error {
                Error::Io(error) => Error::while_preparing("a checkpoint", error),
                other @ (Error::Locked(_)
                | Error::Refused(_)
                | Error::Corrupt(_)
                | Error::Full(_)
                | Error::Fork(_)
                | Error::Signer(_)) => other,
            });
            // On a full disk the old one stands; if the name is new already, the same bytes follow, or a later size's.
            self.poisoned |= outcome.as_ref().is_err_and(|error| !matches!(error, Error::Full(_) | Error::Signer(_)));
            count += outcome?;
        }
        Ok(count)
    }

    /// Why tiles and indexes have to wait for room on the disk, if they do.
    pub fn derived_waits(&self) -> Option<String> {
        self.shared.state().full.clone()
    }

    fn reader(&self) -> Reader {
        Reader(Arc::clone(&self.shared))
    }

    /// Logs that have grown, and those whose checkpoint lacks cosignatures.
    fn due(&self) -> Vec<LogId> {
        let lacking = self.witnesses.as_ref().map(|witnesses| witnesses.below_quorum()).unwrap_or_default();
        let state = self.shared.state();
        let grown = |head: &LogState| head.checkpoint.as_ref().is_none_or(|checkpoint| checkpoint.size < head.size);
        let due = state.logs.iter().filter(|(log, head)| grown(head) || lacking.contains(log));
        due.map(|(log, _)| log.clone()).collect()
    }

    /// Hops: sign, make it durable as pending, ask, publish. A crash after the second finds the pending one and goes on from there.
    fn publish_some(&mut self, logs: &[LogId], now_ns: i64) -> Result<usize, Error> {
        let (mut drafts, mut unsigned) = (Vec::new(), Ok(()));
        for log in logs {
            match self.draft(log) {
                Ok(draft) => drafts.extend(draft),
                Err(why) => {
                    unsigned = Err(why);
                    break;
                }
            }
        }
        let before = drafts.clone();
        if let Some(witnesses) = &self.witnesses {
            witnesses.ask(&self.reader(), &mut drafts)?;
        }
        let mut count = 0;
        for (before, draft) in before.iter().zip(drafts) {
            count += self.finish(before, draft, now_ns)?;
        }
        unsigned.map(|()| count)
    }

    /// The checkpoint of a log that is to be published next, signed unless it was before.
    fn draft(&mut self, log: &LogId) -> Result<Option<Draft>, Error> {
        if let Some(pending) = self.pending.get(log) {
            return Ok(Some(pending.clone()));
        }
        let published = self.published(log);
        let head = self.shared.state().logs.get(log).map(|head| (head.size, head.root));
        let Some((size, root)) = head else { return Ok(None) };
        if published.as_ref().is_some_and(|published| published.size >= size) {
            return Ok(published);
        }
        let origin = self.shared.meta.origin(log);
        let note = note::sign(&note::body(&origin, size, &root), &origin, &*self.signer)?;
        let draft = Draft { log: log.clone(), size, note };
        if self.witnesses.is_some() && size > 0 {
            name_log(&self.shared, &*self.storage, log, published.is_none())?;
            storage::replace(
                &*self.storage,
                &pending_path(&self.shared.dir, log),
                draft.note.as_bytes(),
                Access::Shared,
            )?;
            self.pending.insert(log.clone(), draft.clone());
        }
        Ok(Some(draft))
    }

    /// The newest published checkpoint.
    fn published(&self, log: &LogId) -> Option<Draft> {
        let checkpoint = self.shared.state().logs.get(log)?.checkpoint.clone()?;
        let note = String::from_utf8_lossy(&checkpoint.note).into_owned();
        Some(Draft { log: log.clone(), size: checkpoint.size, note })
    }

    /// Publishes a checkpoint if it may be; returns how many were.
    fn finish(&mut self, before: &Draft, draft: Draft, now_ns: i64) -> Result<usize, Error> {
        let published = self.published(&draft.log);
        let is_new = published.as_ref().is_none_or(|published| published.size < draft.size);
        let is_cosigned = before.note != draft.note;
        if !is_new && !is_cosigned {
            return Ok(0);
        }
        let standing = self.standing(&draft, is_new);
        let is_held = standing == Standing::Held;
        if !is_held {
            publish_note(&self.shared, &*self.storage, &draft, published.is_none(), now_ns)?;
            self.pending.remove(&draft.log);
        }
        if let Some(witnesses) = &self.witnesses {
            if is_cosigned {
                let path = witnesses::path(&self.shared.dir, &draft.log);
                let remembered = witnesses.remembered(&draft.log);
                storage::replace(&*self.storage, &path, remembered.as_bytes(), Access::Shared)?;
            }
            witnesses.mark(&draft.log, standing);
        }
        Ok(usize::from(is_new && !is_held))
    }

    fn standing(&self, draft: &Draft, is_new: bool) -> Standing {
        match &self.witnesses {
            Some(witnesses) if draft.size > 0 && !witnesses.is_quorum(&draft.note) => {
                if is_new && witnesses.mode() == Mode::Hold { Standing::Held } else { Standing::BelowQuorum }
            }
            Some(_) | None => Standing::Reached,
        }
    }
}

/// What was signed in an earlier run and not published: it may have left already, so it is what comes next.
fn pending(reader: &Reader) -> Result<BTreeMap<LogId, Draft>, Error> {
    let mut all = BTreeMap::new();
    for log in reader.logs() {
        let path = pending_path(reader.dir(), &log);
        let Some(bytes) = storage::read_if_there(&path)? else { continue };
        let contradicts =
            |why: String| Error::Corrupt(format!("{}: {why}; restore the ledger from its newest copy", path.display()));
        let note = String::from_utf8(bytes).map_err(|_| contradicts("not a checkpoint".into()))?;
        let signed = reader.0.meta.keys.verify_checkpoint(&note, &reader.origin(&log));
        let (size, root, _) = signed.map_err(|why| contradicts(why.to_string()))?;
        let published = reader.checkpoint(&log).map_or(0, |checkpoint| checkpoint.size);
        if size <= published {
            continue;
        }
        let durable = reader.head(&log).size;
        if size > durable {
            return Err(contradicts(format!("size {size} was signed, and {durable} entries are there")));
        }
        let found = reader.root_at(&log, size)?;
        if found != root {
            return Err(contradicts(format!("root {root} was signed for size {size}, and it is {found}")));
        }
        all.insert(log.clone(), Draft { log, size, note });
    }
    Ok(all)
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
    let signer = keys::signer(&shared.dir, &shared.meta.keys.current(), signer)?;
    let origin = shared.meta.origin(&log);
    match note::sign(&note::body(&origin, 0, &head.root), &origin, &*signer) {
        Ok(note) => publish_note(shared, storage, &Draft { log, size: 0, note }, true, 0),
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
        let head = reader.0.state().logs.get(&log).map(|head| (head.recent_from, head.checkpoint.clone()));
        let Some((from, Some(checkpoint))) = head else { continue };
        let full = (checkpoint.size / WIDTH).checked_sub(1).filter(|_| checkpoint.size < from);
        if full.and_then(|number| derive::stored_tile(reader.dir(), &log, 0, number)).is_none() {
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
fn name_log(shared: &Shared, storage: &dyn Storage, log: &LogId, is_first: bool) -> Result<(), Error> {
    if is_first {
        storage.create_dir(&derive::log_dir(&shared.dir, log))?;
        storage.sync_dir(&shared.dir.join("logs"))?;
        storage.sync_dir(&shared.dir)?;
    }
    Ok(())
}

fn publish_note(
    shared: &Shared,
    storage: &dyn Storage,
    draft: &Draft,
    is_first: bool,
    now_ns: i64,
) -> Result<(), Error> {
    name_log(shared, storage, &draft.log, is_first)?;
    storage::replace(storage, &path(&shared.dir, &draft.log), draft.note.as_bytes(), Access::Shared)?;
    let checkpoint = Checkpoint { size: draft.size, note: Bytes::from(draft.note.clone()), at_ns: now_ns };
    shared.change(|state| {
        state.logs.get_mut(&draft.log).into_iter().for_each(|head| head.checkpoint = Some(checkpoint.clone()))
    });
    Ok(())
}

/// The file of a log's checkpoint that is signed and not published yet. One that is not above the published one is of the past.
pub(crate) fn pending_path(ledger: &Path, log: &LogId) -> PathBuf {
    derive::log_dir(ledger, log).join("pending")
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
