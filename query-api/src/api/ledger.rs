//! The log as C2SP tlog-tiles, tlog-checkpoint and signed-note lay it out, for verifiers that nobody here wrote.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use pedigraph_ledger::{LogId, Reader};
use pedigraph_proto::TenantId;

use crate::access::check::other_tenant;
use crate::access::scope::Access;
use crate::app::App;
use crate::problem::{Code, Problem};
use crate::respond::TEXT;
use crate::route::Routes;
use crate::tenant::Tenant;
use crate::tenant::log_of;

const BYTES: &str = "application/octet-stream";
/// A checkpoint is replaced all the time, a tile never.
const NO_CACHE: &str = "no-cache";
const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// What needs a token must not stay in a cache that others share.
const IMMUTABLE_PRIVATE: &str = "private, max-age=31536000, immutable";
/// Longest tile path, bytes; level 63 of 2^64 entries is shorter.
const PATH_BYTES_MAX: usize = 64;

/// Its routes.
pub fn routes() -> Routes {
    Routes::new()
        .get("/ledger/{tenant}/checkpoint", Access::Public, checkpoint)
        .get("/ledger/{tenant}/vkey", Access::Public, vkey)
        .get("/ledger/{tenant}/keys", Access::Public, keys)
        .get("/ledger/{tenant}/tile/{*path}", Access::Public, tile)
        .get("/ledger/{tenant}/tile/entries/{*path}", Access::Bundles, bundle)
}

/// A log that exists. Without tokens everybody is the tenant `default` and sees no other's, unless logs are public.
fn log_for(app: &App, asked: &str) -> Result<LogId, Problem> {
    let unknown = || Problem::new(Code::NotFound, "there is no such log");
    let asked = TenantId::new(asked).ok_or_else(unknown)?;
    let log = log_of(&asked)?;
    if asked == TenantId::default() {
        return Ok(log);
    }
    let open = app.config.public_ledger || app.config.tokens.is_some();
    if open && app.ledger().logs().contains(&log) { Ok(log) } else { Err(unknown()) }
}

async fn read<F>(app: &App, asked: String, content: [&'static str; 2], ask: F) -> Result<Response, Problem>
where
    F: FnOnce(&Reader, &LogId) -> Result<Option<Bytes>, Problem> + Send + 'static,
{
    Ok(respond(Body::from(bytes_of(app, asked, ask).await?), content))
}

async fn bytes_of<F>(app: &App, asked: String, ask: F) -> Result<Bytes, Problem>
where
    F: FnOnce(&Reader, &LogId) -> Result<Option<Bytes>, Problem> + Send + 'static,
{
    let server = app.clone();
    let bytes = app.blocking(move || ask(server.ledger(), &log_for(&server, &asked)?)).await?;
    bytes.ok_or_else(|| Problem::new(Code::NotFound, "the log has nothing at this path (yet)"))
}

fn respond(body: Body, content: [&'static str; 2]) -> Response {
    let mut response = body.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content[0]));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(content[1]));
    response
}

async fn checkpoint(State(app): State<App>, Path(asked): Path<String>) -> Result<Response, Problem> {
    read(&app, asked, [TEXT, NO_CACHE], |ledger, log| Ok(ledger.checkpoint(log).map(|found| found.note))).await
}

async fn vkey(State(app): State<App>, Path(asked): Path<String>) -> Result<Response, Problem> {
    read(&app, asked, [TEXT, NO_CACHE], |ledger, log| Ok(Some(format!("{}\n", ledger.vkey(log)).into()))).await
}

async fn keys(State(app): State<App>, Path(asked): Path<String>) -> Result<Response, Problem> {
    read(&app, asked, [TEXT, NO_CACHE], |ledger, _| Ok(Some(ledger.key_chain().into()))).await
}

/// Hashes only: a path that spells `entries` with escapes comes here, where nobody asked for a token.
async fn tile(State(app): State<App>, Path((asked, path)): Path<(String, String)>) -> Result<Response, Problem> {
    let is_tile = path.len() <= PATH_BYTES_MAX && path.starts_with(|c: char| c.is_ascii_digit());
    read(&app, asked, [BYTES, IMMUTABLE], move |ledger, log| {
        if is_tile { Ok(ledger.resource(log, &format!("tile/{path}"))?) } else { Ok(None) }
    })
    .await
}

async fn bundle(
    State(app): State<App>,
    Tenant(own): Tenant,
    Path((asked, path)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let public = app.config.public_ledger;
    let caching = if public || app.config.tokens.is_none() { IMMUTABLE } else { IMMUTABLE_PRIVATE };
    app.has_room_for_answers(&own)?;
    let of = own.clone();
    let bytes = bytes_of(&app, asked, move |ledger, log| {
        if !public && *log != log_of(&of)? {
            return Err(other_tenant());
        }
        let path = format!("tile/entries/{path}");
        if path.len() > PATH_BYTES_MAX { Ok(None) } else { Ok(ledger.resource(log, &path)?) }
    });
    Ok(respond(app.body_of(&own, bytes.await?)?, [BYTES, caching]))
}
