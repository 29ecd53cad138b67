//! Ledger entries, their bodies and their proofs (SPEC §8, §9).

use std::io::Read as _;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use pedigraph_ledger::{LogId, PartRef, Reader};
use pedigraph_projector::Scope;
use pedigraph_proto::canonical::decode_entry;
use pedigraph_proto::event::MessageRejected;
use pedigraph_proto::fact::{Event, decode_chunk};
use pedigraph_proto::{Digest, EventId, Nanos, json, wire};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::access::{Access, TokenScope};
use crate::app::{App, log_of};
use crate::pack::Consistency;
use crate::problem::{Code, Problem};
use crate::read::{Fresh, Read, TEXT};
use crate::routes::Routes;

/// Entries that one page looks at when a filter lets few through.
const EXAMINED_MAX: usize = 10_000;
/// Part of a streamed body, bytes.
const PART_BYTES: usize = 64 << 10;
/// Parts of a streamed body that may wait for the client.
const PARTS_AHEAD: usize = 4;

/// Their routes.
pub fn routes() -> Routes {
    Routes::new()
        .get("/api/v1/entries", Access::Needs(TokenScope::LineageRead), list)
        .get("/api/v1/entries/{index}", Access::Needs(TokenScope::LineageRead), one)
        .get("/api/v1/entries/{index}/body", Access::Needs(TokenScope::LedgerRead), body)
        .get("/api/v1/entries/{index}/proof", Access::Needs(TokenScope::LineageRead), proof)
        .get("/api/v1/proofs/consistency", Access::Hashes, consistency)
}

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
    /// SHA-256 of the received bytes.
    pub body_digest: String,
    /// Their number.
    pub body_size: u64,
    /// Number of facts.
    pub facts_count: u32,
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
pub fn entry_row(ledger: &Reader, log: &LogId, index: u64) -> Result<Option<EntryRow>, Problem> {
    let Some(entry) = ledger.entry(log, index)? else { return Ok(None) };
    let leaf = decode_entry(&entry.leaf).ok_or_else(|| Problem::internal("a leaf cannot be read", &index))?;
    let reject = match leaf.status() {
        wire::Status::Rejected => reject_of(ledger, entry.facts.first())?,
        wire::Status::Unspecified | wire::Status::Accepted | wire::Status::Conflict => None,
    };
    let (code, reason) = reject.map(|reject| (reject.code, reject.reason)).unzip();
    Ok(Some(row_of(index, entry.leaf_hash.to_string(), leaf, code, reason)))
}

/// Code and reason are facts: the leaf names, it does not tell.
pub(crate) fn reject_of(ledger: &Reader, facts: Option<&PartRef>) -> Result<Option<MessageRejected>, Problem> {
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
        body_digest: body_digest.unwrap_or_default(),
        body_size: leaf.body_size,
        facts_count: leaf.facts_count,
    }
}

/// The problem for an index without entry.
pub fn unknown_entry(index: u64) -> Problem {
    Problem::new(
        Code::EntryNotFound,
        format!("no entry with index {index} is durable; /api/v1/freshness tells the head"),
    )
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entries {
    entries: Vec<EntryRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// Which entries are listed.
#[derive(Clone, PartialEq, Debug)]
struct Filter {
    status: Option<String>,
    subject: Option<String>,
    kind: Option<String>,
}

impl Filter {
    fn of(read: &Read) -> Result<Filter, Problem> {
        let status = read.params.get("status");
        if status.is_some_and(|status| !matches!(status, "accepted" | "conflict" | "rejected")) {
            return Err(Problem::parameter("status", "accepted, conflict or rejected; a duplicate adds no entry"));
        }
        let digest =
            |text: &str| text.parse::<Digest>().map_err(|_| Problem::parameter("subject", "a digest, alg:hex"));
        let subject = read.params.get("subject").map(digest).transpose()?.map(|digest| digest.to_string());
        Ok(Filter { status: status.map(str::to_owned), subject, kind: read.params.get("type").map(str::to_owned) })
    }

    fn lets_through(&self, row: &EntryRow) -> bool {
        self.status.as_ref().is_none_or(|status| *status == row.status)
            && self.kind.as_ref().is_none_or(|kind| *kind == row.kind)
    }

    /// Indexes worth looking at from `from` on, ascending.
    fn candidates(&self, scope: &Scope, from: u64, end: u64, limit: usize) -> Result<Vec<u64>, Problem> {
        match (&self.subject, self.status.as_deref()) {
            (Some(subject), _) => Ok(scope.entries_by_subject(subject, from, limit)?),
            (None, Some(status @ ("conflict" | "rejected"))) => Ok(scope.entries_by_status(status, from, limit)?),
            (None, _) => Ok((from..end).take(limit).collect()),
        }
    }
}

async fn list(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    let filter = Filter::of(&read)?;
    let from = match read.after.as_deref() {
        Some(key) => page_start(key)?,
        None => read.params.number("from")?.unwrap_or(0),
    };
    let (ledger, log) = (app.ledger().clone(), log_of(&read.tenant)?);
    app.json(read, move |scope, read, fresh| {
        let (entries, next) = page(&ledger, &log, scope, &filter, from, read, fresh)?;
        let key = next.map(|index| index.to_be_bytes().to_vec());
        Ok(Entries { entries, next_page_token: read.next(fresh, key) })
    })
    .await
}

fn page_start(key: &[u8]) -> Result<u64, Problem> {
    let bytes = key.try_into().map_err(|_| Problem::new(Code::InvalidPageToken, "ask for the first page again"))?;
    Ok(u64::from_be_bytes(bytes))
}

/// Rows from an index on, and the index where the next page begins.
fn page(
    ledger: &Reader,
    log: &LogId,
    scope: &Scope,
    filter: &Filter,
    mut from: u64,
    read: &Read,
    fresh: &Fresh,
) -> Result<(Vec<EntryRow>, Option<u64>), Problem> {
    let end = fresh.as_of.map_or(0, |index| index + 1);
    let (mut rows, mut examined) = (Vec::new(), 0);
    while examined < EXAMINED_MAX {
        let candidates = filter.candidates(scope, from, end, read.page_size)?;
        let Some(last) = candidates.last().copied() else { return Ok((rows, None)) };
        for index in candidates {
            if rows.len() == read.page_size {
                return Ok((rows, Some(index)));
            }
            examined += 1;
            rows.extend(entry_row(ledger, log, index)?.filter(|row| filter.lets_through(row) && happened(read, row)));
        }
        from = last + 1;
    }
    Ok((rows, (from < end).then_some(from)))
}

/// Lists take `at` as their upper end.
fn happened(read: &Read, row: &EntryRow) -> bool {
    read.moment.at.is_none_or(|at| row.occurred_at <= at)
}

async fn one(State(app): State<App>, Path(index): Path<u64>, read: Read) -> Result<Response, Problem> {
    app.ledger_json(read, move |ledger, log| entry_row(ledger, log, index)?.ok_or_else(|| unknown_entry(index))).await
}

async fn body(State(app): State<App>, Path(index): Path<u64>, read: Read) -> Result<Response, Problem> {
    let limit = app.limits().document_bytes_max;
    app.ledger_response(read, move |ledger, log| {
        let erased =
            || Problem::new(Code::BodyErased, "the received bytes were erased; the entry still proves their digest");
        let part = body_of(ledger, log, index)?;
        let from = ledger.open_part(&part)?.ok_or_else(erased)?;
        if part.size > limit {
            return Err(Problem::new(Code::AnswerTooLarge, format!("the body has {} bytes", part.size)));
        }
        Ok(attachment(index, part.size, stream_of(from, part.size)))
    })
    .await
}

/// The body of an entry, wherever its bytes are.
pub(crate) fn body_of(ledger: &Reader, log: &LogId, index: u64) -> Result<PartRef, Problem> {
    let entry = ledger.entry(log, index)?.ok_or_else(|| unknown_entry(index))?;
    entry.body.ok_or_else(|| Problem::new(Code::NotFound, format!("entry {index} was received without a body")))
}

/// Bytes that others sent must never be shown as a page of ours.
fn attachment(index: u64, size: u64, body: Body) -> Response {
    let mut response = ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"entry-{index}.bin\"")) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    response
}

/// Reads on a thread of its own, a few parts ahead of the client.
pub(crate) fn stream_of(from: Box<dyn std::io::Read + Send>, size: u64) -> Body {
    let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(PARTS_AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut from = from.take(size);
        loop {
            let mut part = Vec::with_capacity(PART_BYTES);
            let read = from.by_ref().take(PART_BYTES as u64).read_to_end(&mut part);
            let ended = !matches!(read, Ok(1..));
            let sent = match read {
                Ok(0) => return,
                Ok(_) => sender.blocking_send(Ok(part.into())),
                Err(error) => sender.blocking_send(Err(error)),
            };
            if ended || sent.is_err() {
                return;
            }
        }
    });
    Body::from_stream(stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver))))
}

async fn proof(State(app): State<App>, Path(index): Path<u64>, read: Read) -> Result<Response, Problem> {
    app.ledger_response(read, move |ledger, log| {
        if index >= ledger.head(log).size {
            return Err(unknown_entry(index));
        }
        let pending =
            || Problem::new(Code::CheckpointPending, "no checkpoint covers this entry yet; try again").retry_after(1);
        let text = ledger.tlog_proof(log, index)?.ok_or_else(pending)?;
        Ok(([(header::CONTENT_TYPE, TEXT)], text).into_response())
    })
    .await
}

async fn consistency(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    let from = read.params.number("from")?.ok_or_else(|| Problem::parameter("from", "a size of the log"))?;
    let to = read.params.number("to")?;
    app.ledger_json(read, move |ledger, log| consistency_of(ledger, log, from, to)).await
}

/// That the log at a size, or at its head, is a continuation of an older size.
pub(crate) fn consistency_of(ledger: &Reader, log: &LogId, from: u64, to: Option<u64>) -> Result<Consistency, Problem> {
    let size = ledger.head(log).size;
    let to = to.unwrap_or(size);
    if from > to || to > size {
        return Err(Problem::parameter("from and to", &format!("sizes of the log, from <= to <= {size}")));
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
