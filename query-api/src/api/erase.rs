//! `POST /api/v1/entries/{index}/erase`: the received bytes of an entry go for good; the entry, its proofs and all
//! answers stay.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::json;

use crate::access::check::Caller;
use crate::access::scope::{Access, TokenScope};
use crate::answer::entry::body_of;
use crate::api::events::check_media;
use crate::api::{body, receipt};
use crate::app::App;
use crate::problem::{Code, Problem};
use crate::route::Routes;
use crate::tenant::Tenant;
use crate::tenant::log_of;
use crate::write_node::{Erasure, NotErased};

/// Its routes.
pub fn routes() -> Routes {
    Routes::new().post("/api/v1/entries/{index}/erase", Access::Needs(TokenScope::Admin), post)
}

/// What is said of an erasure.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    reason: String,
    #[serde(default)]
    actor: String,
}

async fn post(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    Path(index): Path<u64>,
    caller: Option<Extension<Caller>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    check_media(&headers)?;
    receipt::open(&app)?;
    let said = said(&body::read(&app, &tenant, &headers, body).await?.bytes)?;
    let (ledger, log) = (app.ledger().clone(), log_of(&tenant)?);
    app.blocking(move || Ok(body_of(&ledger, &log, index).map(drop)?)).await?;
    let Ok(permit) = app.erasures.clone().try_acquire_owned() else {
        return Err(Problem::new(Code::Overloaded, "too many erasures at once; try again").retry_after(1));
    };
    let actor = actor(said.actor, caller.as_deref());
    let erasing = receipt::open(&app)?.erase(Erasure { tenant, index, reason: said.reason, actor });
    // A client that goes away does not take back what it asked for.
    let task = tokio::spawn(async move {
        let receipts = erasing.await;
        drop(permit);
        receipts
    });
    let receipts = task.await.map_err(|error| Problem::internal("erasing panicked", &error))?.map_err(not_erased)?;
    let receipts: Vec<_> = receipts.iter().map(receipt::members).collect();
    Ok(Json(json!({ "receipts": receipts })).into_response())
}

fn not_erased(error: NotErased) -> Problem {
    match error {
        NotErased::Refused(why) => Problem::new(Code::InvalidParameter, why),
        NotErased::Stopping => receipt::stopping(),
        NotErased::Failed(why) => Problem::internal("a body cannot be erased", &why),
    }
}

/// Who erases: what they say of themselves, and whose token it was, which they cannot choose.
fn actor(said: String, caller: Option<&Caller>) -> String {
    match (said.is_empty(), caller) {
        (_, None) => said,
        (true, Some(Caller { token, .. })) => format!("token {}", token.name),
        (false, Some(Caller { token, .. })) => format!("{said} (token {})", token.name),
    }
}

fn said(body: &[u8]) -> Result<Said, Problem> {
    let advice = "send JSON such as {\"reason\": \"personal data\", \"actor\": \"who asked\"}";
    let said: Said = serde_json::from_slice(body).map_err(|_| Problem::new(Code::BadRequest, advice))?;
    if said.reason.trim().is_empty() {
        return Err(Problem::parameter("reason", "why the bytes have to go"));
    }
    Ok(said)
}
