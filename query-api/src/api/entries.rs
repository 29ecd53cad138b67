//! Ledger entries, their bodies and their proofs (SPEC §8, §9).

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use pedigraph_ledger::{LogId, Reader};
use pedigraph_projector::Scope;
use pedigraph_proto::Digest;
use serde::Serialize;

use crate::access::scope::{Access, TokenScope};
use crate::answer::entry::{EntryRow, body_of, consistency_of, entry_row, unknown_entry};
use crate::api::stream::{Place, stream_of};
use crate::app::App;
use crate::fresh::Fresh;
use crate::problem::{Code, Problem};
use crate::rates::Class;
use crate::read::Read;
use crate::respond::TEXT;
use crate::route::Routes;
use crate::tenant::log_of;

/// Entries that one page looks at when a filter lets few through.
const EXAMINED_MAX: usize = 10_000;
/// Their routes.
pub fn routes() -> Routes {
    Routes::new()
        .get("/api/v1/entries", Access::Needs(TokenScope::LineageRead), list)
        .get("/api/v1/entries/{index}", Access::Needs(TokenScope::LineageRead), one)
        .get("/api/v1/entries/{index}/proof", Access::Needs(TokenScope::LineageRead), proof)
        .get("/api/v1/proofs/consistency", Access::Hashes, consistency)
        .merge(Class::Packs, bodies())
}

fn bodies() -> Routes {
    Routes::new().get("/api/v1/entries/{index}/body", Access::Needs(TokenScope::LedgerRead), body)
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
    app.list(read, move |scope, read, fresh| {
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
            scope.spend(1)?;
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
    app.ledger_json(read, move |ledger, log| Ok(entry_row(ledger, log, index)?.ok_or_else(|| unknown_entry(index))?))
        .await
}

async fn body(State(app): State<App>, Path(index): Path<u64>, read: Read) -> Result<Response, Problem> {
    let limit = app.limits().document_bytes_max;
    let place = Place::take(&app, &read.tenant)?;
    app.ledger_response(read, move |ledger, log| {
        let erased =
            || Problem::new(Code::BodyErased, "the received bytes were erased; the entry still proves their digest");
        let part = body_of(ledger, log, index)?;
        let from = ledger.open_part(&part)?.ok_or_else(erased)?;
        if part.size > limit {
            return Err(Problem::new(Code::AnswerTooLarge, format!("the body has {} bytes", part.size)));
        }
        Ok(attachment(index, part.size, stream_of(place, from, part.size)))
    })
    .await
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

async fn proof(State(app): State<App>, Path(index): Path<u64>, read: Read) -> Result<Response, Problem> {
    app.ledger_response(read, move |ledger, log| {
        if index >= ledger.head(log).size {
            return Err(unknown_entry(index).into());
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
    app.ledger_json(read, move |ledger, log| Ok(consistency_of(ledger, log, from, to)?)).await
}
