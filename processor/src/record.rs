//! What the ledger says of itself: on its way to the one writer like everything else, but never from a source.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use pedigraph_ledger::LogId;
use pedigraph_proto::canonical::{FORMAT_VERSION, sha256};
use pedigraph_proto::message::{Receipt, Submitted};
use pedigraph_proto::wire::{Entry, Fact, Origin};
use pedigraph_proto::{Control, Event, EventId, TenantId, control};
use tokio::sync::oneshot;

use crate::decide::key;
use crate::decode::DECODER_VERSION;
use crate::pipeline::Unit;
use crate::prepare::{Prepared, Preparer, digest_of_parts};
use crate::{Error, lock};

/// The way to the writer for what the ledger says of itself; closed when the process stops.
#[derive(Clone)]
pub(crate) struct Recorder {
    preparer: Arc<Preparer>,
    units: Arc<Mutex<Option<Sender<Unit>>>>,
}

impl Recorder {
    pub(crate) fn new(preparer: Preparer, units: Sender<Unit>) -> Recorder {
        Recorder { preparer: Arc::new(preparer), units: Arc::new(Mutex::new(Some(units))) }
    }

    /// Nothing more is recorded: the writer waits for as long as somebody could.
    pub(crate) fn close(&self) {
        lock(&self.units).take();
    }

    /// Hands an event to the writer, whose answer comes when it is durable.
    pub(crate) fn send(&self, tenant: &TenantId, event: Control) -> Result<oneshot::Receiver<Submitted>, Error> {
        let prepared = self.preparer.prepare_own(tenant, event)?;
        let (answer, receiver) = oneshot::channel();
        let unit = Unit::own(prepared, answer);
        let units = lock(&self.units);
        units.as_ref().ok_or(Error::Stopping)?.send(unit).map_err(|_| Error::Stopping)?;
        Ok(receiver)
    }
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
        let facts = self.parts(vec![Fact::now(event)])?;
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
            decoder_version: DECODER_VERSION,
            ..Entry::default()
        };
        Ok(Prepared {
            log: log.ok_or_else(|| Error::Corrupt(format!("{tenant} cannot name a log")))?,
            key: key(tenant, control::SOURCE, &id),
            event_id,
            reject: None,
            said: None,
            broker_time: None,
            leaf,
            facts,
            body: Some(self.body_part(body, digest)?),
            source: control::SOURCE.to_owned(),
            traceparent: None,
            spool: None,
        })
    }
}
