//! What was fetched and is not handed on yet: messages of Kafka become messages of ours.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use pedigraph_proto::message::{Body, Code, Message, Reject};
use pedigraph_proto::wire;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};

use super::mark::Mark;
use super::partition::{Fetched, Partition};
use super::shared::Shared;
use super::{Topic, lock};
use crate::intake::{Job, jobs_of_kafka};

/// Messages and bytes that are handed on at once.
const JOB_MESSAGES_MAX: usize = 256;
const JOB_BYTES_MAX: usize = 512 << 10;
/// Room beyond it that is kept for the message with which a job is full, bytes.
const LAST_BYTES: usize = 64 << 10;

/// Messages that were fetched and not yet handed on.
#[derive(Default)]
pub(super) struct Fetch {
    bytes: Vec<u8>,
    pub(super) messages: Vec<(Message, std::ops::Range<usize>)>,
    fetched: Vec<Fetched>,
}

/// Adds a message that the client gave out, unless it only was read again or nothing of its partition is taken.
pub(super) fn add(batch: &mut Fetch, shared: &Shared, message: &BorrowedMessage<'_>) {
    shared.given.fetch_add(1, Ordering::AcqRel);
    let Some(partition) = partition_of(shared, batch, message) else { return };
    let Ok(offset) = u64::try_from(message.offset()) else { return };
    let time_ms = message.timestamp().to_millis();
    if !partition.is_sure() && !is_taken(shared, &partition, offset, message) {
        return;
    }
    let (headers, reject) = headers_of(message);
    batch.fetched.push(Fetched::new(&partition, offset, time_ms.unwrap_or_default(), reject));
    let start = batch.bytes.len();
    batch.bytes.extend_from_slice(message.payload().unwrap_or_default());
    let range = start..batch.bytes.len();
    let body = if message.payload().is_some() { Body::Bytes(Bytes::new()) } else { Body::Null };
    let topic = &partition.topic;
    let message = Message {
        tenant: topic.tenant.clone(),
        origin: wire::Origin {
            kind: "kafka".to_owned(),
            cluster: shared.cluster.get().cloned().unwrap_or_default(),
            topic: topic.name.clone(),
            partition: u32::try_from(partition.number).unwrap_or_default(),
            offset,
        },
        source: topic.name.clone(),
        headers,
        body,
        subject: None,
        format: topic.format.clone(),
        broker_time: time_ms.and_then(|ms| ms.checked_mul(1_000_000)),
        replay_of: None,
    };
    batch.messages.push((with_default_subject(message, topic), range));
}

/// Asks what is thought of the partition, which the message may change.
fn is_taken(shared: &Shared, partition: &Partition, offset: u64, message: &BorrowedMessage<'_>) -> bool {
    let time_ms = message.timestamp().to_millis().unwrap_or_default();
    let is_like = |mark: Mark| mark.is_like(Mark::of(time_ms, message.payload()));
    let is_taken = partition.see(|sight| sight.takes(offset, is_like));
    if !partition.is_sure() {
        shared.look();
    }
    is_taken
}

/// The partition of a message: nearly always that of the one before.
fn partition_of(shared: &Shared, batch: &Fetch, message: &BorrowedMessage<'_>) -> Option<Arc<Partition>> {
    let (topic, number) = (message.topic(), message.partition());
    let is_it = |partition: &Arc<Partition>| partition.number == number && partition.topic.name == topic;
    let last = batch.fetched.last().map(|fetched| &fetched.partition).filter(|last| is_it(last));
    last.cloned().or_else(|| lock(&shared.assigned).iter().find(|partition| is_it(partition)).cloned())
}

/// The message's own header goes before what the topic says.
fn with_default_subject(mut message: Message, topic: &Topic) -> Message {
    let names_one = message.headers.iter().any(|(name, _)| name == "pedigraph-subject");
    message.subject = topic.subject.clone().filter(|_| !names_one);
    message
}

type ReadHeaders = (Vec<(String, Option<Bytes>)>, Option<Reject>);

fn headers_of(message: &BorrowedMessage<'_>) -> ReadHeaders {
    let Some(headers) = message.headers() else { return (Vec::new(), None) };
    let mut read = Vec::with_capacity(headers.count());
    for n in 0..headers.count() {
        // The client panics on a name that is not UTF-8; nothing but that can panic here.
        match catch_unwind(AssertUnwindSafe(|| headers.try_get(n))) {
            Ok(Some(header)) => read.push((header.key.to_ascii_lowercase(), header.value.map(Bytes::copy_from_slice))),
            Ok(None) => {}
            Err(_) => return (read, Some(Reject::new(Code::MalformedEnvelope, "the name of a header is not UTF-8"))),
        }
    }
    (read, None)
}

impl Fetch {
    pub(super) fn is_full(&self) -> bool {
        self.messages.len() >= JOB_MESSAGES_MAX || self.bytes.len() >= JOB_BYTES_MAX
    }

    /// One allocation holds the bodies of all messages that were fetched together.
    pub(super) fn take(&mut self) -> Vec<Job> {
        if self.messages.is_empty() {
            return Vec::new();
        }
        // The next job will be like this one: as large, and not copied while it grows.
        let capacity = self.bytes.len().min(JOB_BYTES_MAX + LAST_BYTES);
        let bytes = Bytes::from(std::mem::replace(&mut self.bytes, Vec::with_capacity(capacity)));
        let fetched = Vec::with_capacity(self.fetched.len());
        let mut fetched = std::mem::replace(&mut self.fetched, fetched);
        let whole = |(mut message, range): (Message, _)| {
            if let Body::Bytes(body) = &mut message.body {
                *body = bytes.slice(range);
            }
            message
        };
        let messages: Vec<Message> = self.messages.drain(..).map(whole).collect();
        mark(&mut fetched, &messages);
        jobs_of_kafka(messages, fetched)
    }
}

/// Marks the last message of each run of one partition.
fn mark(fetched: &mut [Fetched], messages: &[Message]) {
    for n in 0..fetched.len() {
        let next = fetched.get(n + 1).map(|next| Arc::as_ptr(&next.partition));
        if next == Some(Arc::as_ptr(&fetched[n].partition)) {
            continue;
        }
        let value = match &messages[n].body {
            Body::Bytes(bytes) => Some(bytes.as_ref()),
            Body::Null | Body::File { .. } => None,
        };
        fetched[n].mark = Some(Mark::of(fetched[n].time_ms, value));
    }
}
