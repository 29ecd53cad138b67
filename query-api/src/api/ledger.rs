//! The log as C2SP tlog-tiles, tlog-checkpoint and signed-note lay it out, for verifiers that nobody here wrote.

use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use pedigraph_ledger::{LogId, Reader};
use pedigraph_proto::TenantId;

use crate::app::{App, log_of};
use crate::problem::{Code, Problem};
use crate::read::{TEXT, Tenant};
use crate::routes::Routes;

/// A checkpoint is replaced all the time, a tile never.
const NO_CACHE: &str = "no-cache";
const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// Longest tile path, bytes; level 63 of 2^64 entries is shorter.
const PATH_BYTES_MAX: usize = 64;

/// Its routes.
pub fn routes() -> Routes {
    Routes::new()
        .get("/ledger/{tenant}/checkpoint", checkpoint)
        .get("/ledger/{tenant}/vkey", vkey)
        .get("/ledger/{tenant}/keys", keys)
        .get("/ledger/{tenant}/tile/{*path}", tile)
}

/// Only a log that exists, and only one's own unless logs are public.
fn log_for(app: &App, own: &TenantId, asked: &str) -> Result<LogId, Problem> {
    let unknown = || Problem::new(Code::NotFound, "there is no such log");
    let asked = TenantId::new(asked).ok_or_else(unknown)?;
    if asked != *own && !app.config.public_ledger {
        return Err(unknown());
    }
    log_of(&asked)
}

async fn read<F>(
    app: App,
    own: TenantId,
    asked: String,
    content: [&'static str; 2],
    ask: F,
) -> Result<Response, Problem>
where
    F: FnOnce(&Reader, &LogId) -> Result<Option<Bytes>, Problem> + Send + 'static,
{
    let log = log_for(&app, &own, &asked)?;
    let ledger = app.ledger().clone();
    let bytes = app.blocking(move || ask(&ledger, &log)).await?;
    let bytes = bytes.ok_or_else(|| Problem::new(Code::NotFound, "the log has nothing at this path (yet)"))?;
    let mut response = bytes.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content[0]));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(content[1]));
    Ok(response)
}

async fn checkpoint(
    State(app): State<App>,
    Tenant(own): Tenant,
    Path(asked): Path<String>,
) -> Result<Response, Problem> {
    read(app, own, asked, [TEXT, NO_CACHE], |ledger, log| Ok(ledger.checkpoint(log).map(|found| found.note))).await
}

async fn vkey(State(app): State<App>, Tenant(own): Tenant, Path(asked): Path<String>) -> Result<Response, Problem> {
    read(app, own, asked, [TEXT, NO_CACHE], |ledger, log| Ok(Some(format!("{}\n", ledger.vkey(log)).into()))).await
}

async fn keys(State(app): State<App>, Tenant(own): Tenant, Path(asked): Path<String>) -> Result<Response, Problem> {
    read(app, own, asked, [TEXT, NO_CACHE], |ledger, _| Ok(Some(ledger.key_chain().into()))).await
}

async fn tile(
    State(app): State<App>,
    Tenant(own): Tenant,
    Path((asked, path)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let path = format!("tile/{path}");
    read(app, own, asked, ["application/octet-stream", IMMUTABLE], move |ledger, log| {
        if path.len() > PATH_BYTES_MAX { Ok(None) } else { Ok(ledger.resource(log, &path)?) }
    })
    .await
}
