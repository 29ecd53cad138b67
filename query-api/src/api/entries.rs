//! Ledger entries, their bodies and their proofs (SPEC §8, §9).

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use pedigraph_proto::Digest;
use serde::Serialize;

use crate::access::scope::{Access, TokenScope};
use crate::answer::entries::{Filter, Listing, Order};
use crate::answer::entry::{EntryRow, body_of, consistency_of, entry_row, unknown_entry};
use crate::api::stream::{Place, stream_of};
use crate::app::App;
use crate::problem::{Code, Problem};
use crate::rates::Class;
use crate::read::Read;
use crate::respond::{TEXT, not_modified};
use crate::route::Routes;
use crate::tenant::log_of;

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
fn filter_of(read: &Read) -> Result<Filter, Problem> {
    let status = read.params.get("status");
    if status.is_some_and(|status| !matches!(status, "accepted" | "conflict" | "rejected")) {
        return Err(Problem::parameter("status", "accepted, conflict or rejected; a duplicate adds no entry"));
    }
    let digest = |text: &str| text.parse::<Digest>().map_err(|_| Problem::parameter("subject", "a digest, alg:hex"));
    let subject = read.params.get("subject").map(digest).transpose()?.map(|digest| digest.to_string());
    let kind = read.params.get("type").map(str::to_owned);
    // Lists take `at` as their upper end.
    Ok(Filter { status: status.map(str::to_owned), subject, kind, at: read.moment.at })
}

async fn list(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    let filter = filter_of(&read)?;
    let from = match read.after.as_deref() {
        Some(key) => page_index(key)?,
        None => read.params.number("from")?.unwrap_or(0),
    };
    let (ledger, log) = (app.ledger().clone(), log_of(&read.tenant)?);
    app.list(read, move |scope, read, fresh| {
        let listing = Listing { ledger: &ledger, log: &log, scope, filter: &filter, order: Order::OldestFirst };
        let (entries, left) = listing.page(from, fresh.as_of.map_or(0, |index| index + 1), read.page_size)?;
        let key = left.map(|(from, _)| from.to_be_bytes().to_vec());
        Ok(Entries { entries, next_page_token: read.next(fresh, key) })
    })
    .await
}

/// The index in a page's key.
pub(crate) fn page_index(key: &[u8]) -> Result<u64, Problem> {
    let bytes = key.try_into().map_err(|_| Problem::new(Code::InvalidPageToken, "ask for the first page again"))?;
    Ok(u64::from_be_bytes(bytes))
}

async fn one(State(app): State<App>, Path(index): Path<u64>, read: Read) -> Result<Response, Problem> {
    app.ledger_json(read, move |ledger, log| Ok(entry_row(ledger, log, index)?.ok_or_else(|| unknown_entry(index))?))
        .await
}

async fn body(State(app): State<App>, Path(index): Path<u64>, read: Read) -> Result<Response, Problem> {
    let limit = app.limits().document_bytes_max;
    let (place, asked) = (Place::take(&app, &read.tenant)?, read.clone());
    app.ledger_response(read, move |ledger, log| {
        let erased =
            || Problem::new(Code::BodyErased, "the received bytes were erased; the entry still proves their digest");
        let part = body_of(ledger, log, index)?;
        let from = ledger.open_part(&part)?.ok_or_else(erased)?;
        if part.size > limit {
            return Err(Problem::new(Code::AnswerTooLarge, format!("the body has {} bytes", part.size)));
        }
        let etag = format!("\"{}\"", part.digest);
        if asked.needs_none(&etag) {
            return Ok(not_modified(&etag));
        }
        Ok(attachment(index, part.size, etag, stream_of(place, from, part.size)))
    })
    .await
}

/// Bytes that others sent must never be shown as a page of ours.
fn attachment(index: u64, size: u64, etag: String, body: Body) -> Response {
    let kind = "application/octet-stream".to_owned();
    let mut response = ([(header::CONTENT_TYPE, kind), (header::ETAG, etag)], body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"entry-{index}.bin\"")) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    response
}

async fn proof(State(app): State<App>, Path(index): Path<u64>, read: Read) -> Result<Response, Problem> {
    let (answering, asked) = (app.clone(), read.clone());
    app.ledger_response(read, move |ledger, log| {
        if index >= ledger.head(log).size {
            return Err(unknown_entry(index).into());
        }
        let pending =
            || Problem::new(Code::CheckpointPending, "no checkpoint covers this entry yet; try again").retry_after(1);
        let text = ledger.tlog_proof(log, index)?.ok_or_else(pending)?;
        answering.tagged_by_content(&asked, TEXT, text.into_bytes())
    })
    .await
}

async fn consistency(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    let from = read.params.number("from")?.ok_or_else(|| Problem::parameter("from", "a size of the log"))?;
    let to = read.params.number("to")?;
    app.ledger_json(read, move |ledger, log| Ok(consistency_of(ledger, log, from, to)?)).await
}
