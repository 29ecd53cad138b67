//! Checkpoints: signed for durable sizes only, once per size, durable before anybody can read them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::files::storage::{self, Access, Storage};
use crate::notes::{note, signer};
use crate::publish::checkpoint::pending_path;
use crate::publish::keys;
use crate::publish::stored::{name_log, publish_note};
use crate::publish::witnesses::{self, Mode, PendingCheckpoint, Standing, Witnesses};
use crate::read::open_ledger::{DurableLog, OpenLedger};
use crate::{Error, LogId, Reader, Signer, Writer};

/// Logs that are signed, shown to the witnesses and published together.
const LOGS_AT_ONCE: usize = 32;

/// Signs and publishes the newest durable head of every log that has grown: at most one checkpoint per size, durable
/// before it is visible to anybody, a witness included. Call it on an interval from one thread.
pub struct Publisher {
    shared: Arc<OpenLedger>,
    storage: Arc<dyn Storage>,
    signer: Arc<dyn Signer>,
    witnesses: Option<Arc<Witnesses>>,
    /// Signed, durable in the log's file `pending`, and not published yet.
    pending: BTreeMap<LogId, PendingCheckpoint>,
    /// A failed write may be on disk or not; another signature must not follow it.
    poisoned: bool,
}

impl Publisher {
    /// For the process that holds the [`Writer`]. Takes up what was signed and not published.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the key is missing or the signer has another than the ledger, or what was signed
    /// contradicts the journal.
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
    /// [`Error::Signer`]: nothing more was published, call it again. [`Error::Full`]: there is no room for it now.
    /// [`Error::Fork`]: a witness knows another history. [`Error::Io`]: the disk failed, here or under the files that
    /// are derived from the journal. After these two the publisher is poisoned and the process must stop.
    pub fn publish(&mut self, now_ns: i64) -> Result<usize, Error> {
        if self.poisoned {
            return Err(
                std::io::Error::other("no checkpoint is signed after an earlier one failed; stop the process").into()
            );
        }
        if let Some(why) = self.shared.durable().failed.clone() {
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
        self.shared.durable().full.clone()
    }

    fn reader(&self) -> Reader {
        Reader(Arc::clone(&self.shared))
    }

    /// Logs that have grown, and those whose checkpoint lacks cosignatures.
    fn due(&self) -> Vec<LogId> {
        let lacking = self.witnesses.as_ref().map(|witnesses| witnesses.below_quorum()).unwrap_or_default();
        let state = self.shared.durable();
        let grown = |head: &DurableLog| head.checkpoint.as_ref().is_none_or(|checkpoint| checkpoint.size < head.size);
        let due = state.logs.iter().filter(|(log, head)| grown(head) || lacking.contains(log));
        due.map(|(log, _)| log.clone()).collect()
    }

    /// Hops: sign, make it durable as pending, ask, publish. A crash after the second finds the pending one and goes on
    /// from there.
    fn publish_some(&mut self, logs: &[LogId], now_ns: i64) -> Result<usize, Error> {
        let (mut drafts, mut unsigned) = (Vec::new(), Ok(()));
        for log in logs {
            match self.next_checkpoint(log) {
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
    fn next_checkpoint(&mut self, log: &LogId) -> Result<Option<PendingCheckpoint>, Error> {
        if let Some(pending) = self.pending.get(log) {
            return Ok(Some(pending.clone()));
        }
        let published = self.published(log);
        let head = self.shared.durable().logs.get(log).map(|head| (head.size, head.root));
        let Some((size, root)) = head else { return Ok(None) };
        if published.as_ref().is_some_and(|published| published.size >= size) {
            return Ok(published);
        }
        let origin = self.shared.meta.origin(log);
        let note = signer::sign_note(&note::body(&origin, size, &root), &origin, &*self.signer)?;
        let draft = PendingCheckpoint { log: log.clone(), size, note };
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
    fn published(&self, log: &LogId) -> Option<PendingCheckpoint> {
        let checkpoint = self.shared.durable().logs.get(log)?.checkpoint.clone()?;
        let note = String::from_utf8_lossy(&checkpoint.note).into_owned();
        Some(PendingCheckpoint { log: log.clone(), size: checkpoint.size, note })
    }

    /// Publishes a checkpoint if it may be; returns how many were.
    fn finish(&mut self, before: &PendingCheckpoint, draft: PendingCheckpoint, now_ns: i64) -> Result<usize, Error> {
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

    fn standing(&self, draft: &PendingCheckpoint, is_new: bool) -> Standing {
        match &self.witnesses {
            Some(witnesses) if draft.size > 0 && !witnesses.is_quorum(&draft.note) => {
                if is_new && witnesses.mode() == Mode::Hold { Standing::Held } else { Standing::BelowQuorum }
            }
            Some(_) | None => Standing::Reached,
        }
    }
}

/// What was signed in an earlier run and not published: it may have left already, so it is what comes next.
fn pending(reader: &Reader) -> Result<BTreeMap<LogId, PendingCheckpoint>, Error> {
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
        all.insert(log.clone(), PendingCheckpoint { log, size, note });
    }
    Ok(all)
}
