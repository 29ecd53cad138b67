//! Ledger entries, their bodies and proofs of consistency, from the ledger alone.

use pedigraph_ledger::{LogId, PartRef, Reader};
use pedigraph_proto::canonical::decode_entry;
use pedigraph_proto::event::MessageRejected;
use pedigraph_proto::fact::{Event, decode_chunk};
use pedigraph_proto::{Digest, EventId, Nanos, json, wire};
use serde::Serialize;
use serde_json::Value;

use crate::answer::error::{Error, Missing};
use crate::pack::Consistency;

/// Bytes of a fact that are shown to a person.
const FACT_BYTES_MAX: usize = 4_096;

/// An entry as it stands in lists.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EntryRow {
    /// Index in the tenant's log.
    pub index: u64,
    /// Lower-case hex.
    pub leaf_hash: String,
    /// `accepted`, `conflict`, `rejected`.
    pub status: String,
    /// As a UUID.
    pub event_id: String,
    /// Canonical event name.
    #[serde(rename = "type")]
    pub kind: String,
    /// The first subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Every subject that the leaf lists, when there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<String>,
    /// When it happened.
    pub occurred_at: Nanos,
    /// When it was recorded.
    pub recorded_at: Nanos,
    /// Where it came from.
    pub origin: OriginRow,
    /// CloudEvents source.
    pub source: String,
    /// CloudEvents id.
    pub id: String,
    /// Decoder that read it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub format: String,
    /// Code of a reject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Reason of a reject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Index of the earlier entry of the same source and id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflicts_with: Option<u64>,
    /// Index of the reject that was driven again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<u64>,
    /// What was overwritten before the bytes were kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redaction: Option<RedactionRow>,
    /// SHA-256 of the bytes that are kept.
    pub body_digest: String,
    /// Their number.
    pub body_size: u64,
    /// Number of facts.
    pub facts_count: u32,
}

/// That the bytes which are kept are not those which were received.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RedactionRow {
    /// Version of the rules.
    pub rules: u32,
    /// Number of secrets; entries of earlier versions do not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// SHA-256 of the received bytes; entries of earlier versions do not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_digest: Option<String>,
}

impl RedactionRow {
    fn of(leaf: &wire::Entry) -> Option<RedactionRow> {
        let received = <[u8; 32]>::try_from(&leaf.received_digest[..]).ok();
        (leaf.redaction_version > 0).then(|| RedactionRow {
            rules: leaf.redaction_version,
            count: Some(leaf.redaction_count).filter(|count| *count > 0),
            received_digest: received.map(|hash| Digest::sha256(hash).to_string()),
        })
    }
}

/// Where a message came from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct OriginRow {
    /// `kafka`, `http`, `file`.
    pub kind: String,
    /// Kafka cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// Topic, path or file name.
    pub topic: String,
    /// Kafka partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    /// Kafka offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

impl From<wire::Origin> for OriginRow {
    fn from(origin: wire::Origin) -> OriginRow {
        let kafka = origin.kind == "kafka";
        OriginRow {
            partition: kafka.then_some(origin.partition),
            offset: kafka.then_some(origin.offset),
            kind: origin.kind,
            cluster: origin.cluster,
            topic: origin.topic,
        }
    }
}

/// Reads one entry.
pub fn entry_row(ledger: &Reader, log: &LogId, index: u64) -> Result<Option<EntryRow>, Error> {
    let Some(entry) = ledger.entry(log, index)? else { return Ok(None) };
    let leaf = decode_entry(&entry.leaf).ok_or(Error::Leaf(index))?;
    let reject = match leaf.status() {
        wire::Status::Rejected => reject_of(ledger, entry.facts.first())?,
        wire::Status::Unspecified | wire::Status::Accepted | wire::Status::Conflict => None,
    };
    let (code, reason) = reject.map(|reject| (reject.code, reject.reason)).unzip();
    Ok(Some(row_of(index, entry.leaf_hash.to_string(), leaf, code, reason)))
}

/// The first facts of an entry as JSON for a person, each cut where it is long; none where they are erased.
pub fn facts_of(ledger: &Reader, log: &LogId, index: u64, limit: usize) -> Result<Vec<String>, Error> {
    let entry = ledger.entry(log, index)?.ok_or_else(|| unknown_entry(index))?;
    let Some(first) = entry.facts.first() else { return Ok(Vec::new()) };
    let facts = ledger.part(first)?.and_then(decode_chunk).unwrap_or_default();
    Ok(facts.into_iter().take(limit).filter_map(|fact| told(&fact.event?)).collect())
}

fn told(event: &Event) -> Option<String> {
    let mut value = event.to_json().ok()?;
    leave_out_unsaid(&mut value);
    let mut text = serde_json::to_string_pretty(&value).ok()?;
    let kept = text.floor_char_boundary(FACT_BYTES_MAX);
    if kept < text.len() {
        let more = text.len() - kept;
        text.truncate(kept);
        text.push_str(&format!("\n… {more} bytes more"));
    }
    Some(format!("{} {text}", event.name()))
}

/// Leaves out members that say nothing: protobuf has a value for each that nobody gave.
fn leave_out_unsaid(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(leave_out_unsaid);
            members.retain(|_, value| !is_unsaid(value));
        }
        Value::Array(items) => items.iter_mut().for_each(leave_out_unsaid),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_unsaid(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

/// Code and reason are facts: the leaf names, it does not tell.
pub fn reject_of(ledger: &Reader, facts: Option<&PartRef>) -> Result<Option<MessageRejected>, Error> {
    let Some(facts) = facts else { return Ok(None) };
    let chunk = ledger.part(facts)?.and_then(decode_chunk);
    let event = chunk.and_then(|facts| facts.into_iter().next()?.event);
    if let Some(Event::MessageRejected(rejected)) = event {
        return Ok(Some(rejected));
    }
    Ok(None)
}

fn row_of(index: u64, leaf_hash: String, leaf: wire::Entry, code: Option<String>, reason: Option<String>) -> EntryRow {
    let body_digest = <[u8; 32]>::try_from(&leaf.body_digest[..]).map(|hash| Digest::sha256(hash).to_string());
    let redaction = RedactionRow::of(&leaf);
    EntryRow {
        index,
        leaf_hash,
        status: json::status::word(leaf.status()),
        event_id: EventId::from_slice(&leaf.event_id).map(|id| id.to_string()).unwrap_or_default(),
        kind: leaf.r#type,
        subject: leaf.subjects.first().cloned(),
        subjects: if leaf.subjects.len() > 1 { leaf.subjects } else { Vec::new() },
        occurred_at: Nanos(leaf.occurred_at),
        recorded_at: Nanos(leaf.recorded_at),
        origin: leaf.origin.unwrap_or_default().into(),
        source: leaf.source,
        id: leaf.id,
        format: leaf.format,
        code,
        reason,
        conflicts_with: leaf.conflicts_with,
        replay_of: leaf.replay_of,
        redaction,
        body_digest: body_digest.unwrap_or_default(),
        body_size: leaf.body_size,
        facts_count: leaf.facts_count,
    }
}

/// The error for an index without entry.
pub fn unknown_entry(index: u64) -> Error {
    let detail = format!("no entry with index {index} is durable; /api/v1/freshness tells the head");
    Error::missing(Missing::Entry, detail)
}

/// The body of an entry, wherever its bytes are.
pub fn body_of(ledger: &Reader, log: &LogId, index: u64) -> Result<PartRef, Error> {
    let entry = ledger.entry(log, index)?.ok_or_else(|| unknown_entry(index))?;
    let none = || Error::missing(Missing::Body, format!("entry {index} was received without a body"));
    entry.body.ok_or_else(none)
}

/// That the log at a size, or at its head, is a continuation of an older size.
pub fn consistency_of(ledger: &Reader, log: &LogId, from: u64, to: Option<u64>) -> Result<Consistency, Error> {
    let size = ledger.head(log).size;
    let to = to.unwrap_or(size);
    if from > to || to > size {
        let allowed = format!("sizes of the log, from <= to <= {size}");
        return Err(Error::Parameter { name: "from and to", allowed });
    }
    let root = |size: u64| ledger.root_at(log, size).map(|root| root.to_string());
    let hashes = if from == 0 { Vec::new() } else { ledger.consistency(log, from, to)? };
    Ok(Consistency {
        origin: ledger.origin(log),
        from,
        to,
        from_root: root(from)?,
        to_root: root(to)?,
        hashes: hashes.iter().map(ToString::to_string).collect(),
    })
}
