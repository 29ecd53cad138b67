//! What the ledger says of itself: on its way to the one writer like everything else, but never from a source.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use pedigraph_ledger::{Hash, LogId, PartRef, Reader};
use pedigraph_proto::canonical::{FORMAT_VERSION, sha256};
use pedigraph_proto::event::{BodyErased, GapAccepted};
use pedigraph_proto::message::{Receipt, Submitted};
use pedigraph_proto::wire::{Entry, Fact, Origin};
use pedigraph_proto::{Control, Event, EventId, TenantId, control};
use tokio::sync::oneshot;

use crate::decide::key;
use crate::decode::OWN_VERSION;
use crate::kafka::Step;
use crate::pipeline::Unit;
use crate::prepare::{Prepared, Preparer, digest_of_parts};
use crate::{Error, lock, redact};

/// Entries whose bodies one event erases: a batch of such events stays below the ledger's limit.
const ERASED_MAX: usize = 64;
/// Longest reason and actor of an erasure, bytes.
const REASON_BYTES_MAX: usize = 1_024;

/// The way to the writer for what the ledger says of itself; closed when the process stops.
#[derive(Clone)]
pub(crate) struct Recorder {
    preparer: Arc<Preparer>,
    reader: Reader,
    units: Arc<Mutex<Option<Sender<Unit>>>>,
}

impl Recorder {
    pub(crate) fn new(preparer: Preparer, reader: Reader, units: Sender<Unit>) -> Recorder {
        Recorder { preparer: Arc::new(preparer), reader, units: Arc::new(Mutex::new(Some(units))) }
    }

    /// The ledger that it is recorded in.
    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Nothing more is recorded: the writer waits for as long as somebody could.
    pub(crate) fn close(&self) {
        lock(&self.units).take();
    }

    /// Hands an event to the writer, whose answer comes when it is durable.
    pub(crate) fn send(&self, tenant: &TenantId, event: Control) -> Result<oneshot::Receiver<Submitted>, Error> {
        let erases = match &event {
            Control::BodyErased(event) => erased(&self.reader, tenant, event)?,
            Control::KeyRotated(_)
            | Control::ViewRootRecorded(_)
            | Control::GapAccepted(_)
            | Control::PolicyPublished(_) => Vec::new(),
        };
        let prepared = Prepared { erases, ..self.preparer.prepare_own(tenant, event)? };
        let (answer, receiver) = oneshot::channel();
        self.hand_on(Unit::own(prepared, answer))?;
        Ok(receiver)
    }

    /// Records an accepted gap and moves the position over it, in one commit or not at all; then the answer never
    /// comes.
    pub(crate) fn step_over_gap(
        &self,
        tenant: &TenantId,
        event: GapAccepted,
        step: Step,
    ) -> Result<oneshot::Receiver<Submitted>, Error> {
        let log = LogId::new(tenant.as_str()).ok_or_else(|| Error::Corrupt(format!("{tenant} cannot name a log")))?;
        // The same gap may come again: it is another one behind other entries.
        let event = GapAccepted { next_index: self.reader.head(&log).size, ..event };
        let (answer, receiver) = oneshot::channel();
        let prepared = self.preparer.prepare_own(tenant, event.into())?;
        self.hand_on(Unit::own(prepared, answer).with(step))?;
        Ok(receiver)
    }

    fn hand_on(&self, unit: Unit) -> Result<(), Error> {
        lock(&self.units).as_ref().ok_or(Error::Stopping)?.send(unit).map_err(|_| Error::Stopping)
    }
}

/// What is to be recorded so that the bodies of some entries go: one event for the entries of one body. Bodies that are
/// gone already are left out.
///
/// # Errors
/// [`Error::Refused`] when an entry is not there or has no body, or the reason is empty or too long.
pub fn erasures(
    reader: &Reader,
    tenant: &TenantId,
    indexes: &[u64],
    reason: &str,
    actor: &str,
) -> Result<Vec<BodyErased>, Error> {
    if reason.is_empty() || reason.len() > REASON_BYTES_MAX || actor.len() > REASON_BYTES_MAX {
        return Err(Error::Refused(format!("an erasure needs a reason, of at most {REASON_BYTES_MAX} bytes")));
    }
    let mut found: BTreeMap<Hash, BodyErased> = BTreeMap::new();
    for index in indexes {
        let body = body_of(reader, tenant, *index)?;
        if reader.open_part(&body)?.is_none() {
            continue;
        }
        let event = found.entry(body.digest).or_insert_with(|| BodyErased {
            body_digest: format!("sha256:{}", body.digest),
            body_size: body.size,
            reason: without_secrets(reason),
            actor: without_secrets(actor),
            ..BodyErased::default()
        });
        event.indexes.push(*index);
    }
    let mut events = Vec::new();
    for mut event in found.into_values() {
        event.indexes.sort_unstable();
        event.indexes.dedup();
        let parts = event.indexes.chunks(ERASED_MAX);
        events.extend(parts.map(|indexes| BodyErased { indexes: indexes.to_vec(), ..event.clone() }));
    }
    Ok(events)
}

/// Whoever erases a secret may well quote it.
fn without_secrets(text: &str) -> String {
    redact::text(text).map_or_else(|| text.to_owned(), |(redacted, _)| redacted)
}

/// The entries that an event erases, each of which has the body that it names: the ledger refuses a batch in which one
/// has none, and that would stop the writer.
fn erased(reader: &Reader, tenant: &TenantId, event: &BodyErased) -> Result<Vec<u64>, Error> {
    if event.indexes.is_empty() || event.indexes.len() > ERASED_MAX {
        let count = event.indexes.len();
        return Err(Error::Refused(format!("{count} entries in one erasure: 1 to {ERASED_MAX} are possible")));
    }
    for index in &event.indexes {
        if format!("sha256:{}", body_of(reader, tenant, *index)?.digest) != event.body_digest {
            return Err(Error::Refused(format!("entry {index} has another body than {}", event.body_digest)));
        }
    }
    Ok(event.indexes.clone())
}

fn body_of(reader: &Reader, tenant: &TenantId, index: u64) -> Result<PartRef, Error> {
    let log = LogId::new(tenant.as_str()).ok_or_else(|| Error::Corrupt(format!("{tenant} cannot name a log")))?;
    let entry = reader.entry(&log, index)?;
    let entry = entry.ok_or_else(|| Error::Refused(format!("there is no entry {index}")))?;
    entry.body.ok_or_else(|| Error::Refused(format!("entry {index} has no body")))
}

/// The one receipt of what was recorded.
pub(crate) fn receipt(answer: Result<Submitted, oneshot::error::RecvError>) -> Result<Receipt, Error> {
    match answer {
        Ok(Submitted::One(receipt)) => Ok(receipt),
        Ok(Submitted::Batch(_)) => Err(Error::Corrupt("one event came to several receipts".to_owned())),
        Err(_) => Err(Error::Stopping),
    }
}

impl Preparer {
    /// An entry whose received bytes are the event's own JSON form.
    fn prepare_own(&self, tenant: &TenantId, event: Control) -> Result<Prepared, Error> {
        let id = event.id();
        let event = Event::from(event);
        let entry_type = event.name().to_owned();
        let unwritable = |error| Error::Corrupt(format!("{entry_type}: {error}"));
        let body = Bytes::from(event.to_json().and_then(|json| serde_json::to_vec(&json)).map_err(unwritable)?);
        let digest = sha256(&body);
        let (facts, _) = self.parts(vec![Fact::now(event)].into())?;
        let event_id = EventId::of(tenant, control::SOURCE, &id, &digest);
        let log = LogId::new(tenant.as_str());
        let leaf = Entry {
            version: FORMAT_VERSION,
            event_id: Bytes::copy_from_slice(event_id.as_bytes()),
            r#type: entry_type,
            tenant: tenant.as_str().to_owned(),
            source: control::SOURCE.to_owned(),
            id: id.clone(),
            origin: Some(Origin { kind: control::SOURCE.to_owned(), ..Origin::default() }),
            body_digest: Bytes::copy_from_slice(&digest),
            body_size: body.len() as u64,
            facts_digest: Bytes::copy_from_slice(&digest_of_parts(&facts)),
            facts_count: 1,
            format: control::SOURCE.to_owned(),
            decoder_version: OWN_VERSION,
            ..Entry::default()
        };
        Ok(Prepared {
            log: log.ok_or_else(|| Error::Corrupt(format!("{tenant} cannot name a log")))?,
            key: key(tenant, control::SOURCE, &id),
            event_id,
            reject: None,
            redaction: None,
            said: None,
            broker_time: None,
            leaf,
            facts,
            body: Some(self.body_part(body, digest)?),
            source: control::SOURCE.to_owned(),
            contexts: Vec::new(),
            spool: None,
            erases: Vec::new(),
        })
    }
}
