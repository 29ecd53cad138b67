//! `POST /api/v1/rejects/{index}/replay`: drives a rejected message again (SPEC §2.2).

use axum::extract::{Path, State};
use axum::response::Response;
use pedigraph_ledger::{LogId, Reader};
use pedigraph_proto::TenantId;
use pedigraph_proto::canonical::decode_entry;
use pedigraph_proto::event::MessageRejected;
use pedigraph_proto::message::{Body, Message};
use pedigraph_proto::wire::{Origin, Status};

use crate::access::scope::{Access, TokenScope};
use crate::answer::entry::{reject_of, unknown_entry};
use crate::api::receipt;
use crate::app::App;
use crate::problem::{Code, Problem};
use crate::route::Routes;
use crate::tenant::Tenant;
use crate::tenant::log_of;

/// Its routes.
pub fn routes() -> Routes {
    Routes::new().post("/api/v1/rejects/{index}/replay", Access::Needs(TokenScope::Admin), post)
}

async fn post(State(app): State<App>, Tenant(tenant): Tenant, Path(index): Path<u64>) -> Result<Response, Problem> {
    let log = log_of(&tenant)?;
    let ledger = app.ledger().clone();
    let message = app.blocking(move || rejected(&ledger, &log, tenant, index)).await?;
    receipt::submit(&app, message, false, ()).await
}

fn rejected(ledger: &Reader, log: &LogId, tenant: TenantId, index: u64) -> Result<Message, Problem> {
    let entry = ledger.entry(log, index)?.ok_or_else(|| unknown_entry(index))?;
    let leaf = decode_entry(&entry.leaf).ok_or_else(|| Problem::internal("a leaf cannot be read", &index))?;
    if leaf.status() != Status::Rejected {
        return Err(Problem::new(Code::NotAReject, format!("entry {index} was not rejected; it needs no replay")));
    }
    let body = entry.body.map(|part| ledger.part(&part)).transpose()?.flatten();
    let erased = || Problem::new(Code::BodyErased, format!("the bytes of entry {index} are gone; send the event anew"));
    let beside = reject_of(ledger, entry.facts.first())?.unwrap_or_default();
    Ok(message(tenant, index, beside, Body::Bytes(body.ok_or_else(erased)?)))
}

/// The new entry comes from here; the old one, to which it refers, says where the bytes first came from.
fn message(tenant: TenantId, index: u64, beside: MessageRejected, body: Body) -> Message {
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    Message {
        tenant,
        origin: Origin { kind: "replay".into(), topic: format!("/api/v1/rejects/{index}/replay"), ..Origin::default() },
        // As views count the entry: file names and paths would be too many.
        source: "replay".into(),
        headers: beside.attributes.into_iter().map(|kept| (kept.name, Some(kept.value.into()))).collect(),
        body,
        subject: given(beside.subject),
        format: given(beside.forced_format),
        broker_time: None,
        replay_of: Some(index),
    }
}
