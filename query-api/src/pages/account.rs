//! `/sign-in`, `/sign-out` and `/account`: a token is exchanged for a session, and what it may do.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use crate::access::check::Caller;
use crate::access::scope::{Access, TokenScope};
use crate::access::sessions::{key_of, set_cookie};
use crate::app::App;
use crate::layers::OwnBody;
use crate::pages::form::{local, sign_in, values};
use crate::pages::frame::{notice, table, time};
use crate::params::Params;
use crate::problem::Problem;
use crate::route::Routes;

/// Most bytes of a form.
const FORM_BYTES_MAX: usize = 8_192;

/// What anybody may ask: who is not signed in has no token.
pub fn open_routes() -> Routes {
    Routes::new().get("/sign-in", Access::Public, show).post("/sign-in", Access::Public, enter).post(
        "/sign-out",
        Access::Public,
        leave,
    )
}

/// What needs some token.
pub fn routes() -> Routes {
    Routes::new().get("/account", Access::Token, account)
}

async fn show(State(app): State<App>, asked: Uri) -> Response {
    let asked = Params::of(&asked).unwrap_or_default();
    notice("Sign in", &page(&app, asked.get("next").unwrap_or_default(), None))
}

fn page(app: &App, next: &str, odd: Option<&str>) -> Markup {
    html! {
        h1 { "Sign in" }
        @if app.config.tokens.is_none() {
            p { "This server has no tokens: everybody on this machine may ask everything, and nobody needs to sign in. " a href="/" { "To the start" } }
        } @else {
            @if let Some(odd) = odd { p .bad role="alert" { (odd) } }
            (sign_in(next))
        }
    }
}

/// The values of a form; empty where it has none.
async fn form(body: Body) -> Result<(String, String), Problem> {
    let form = values(body, FORM_BYTES_MAX).await?;
    let value = |name: &str| form.get(name).unwrap_or_default().to_owned();
    Ok((value("token").trim().to_owned(), value("next")))
}

async fn enter(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let secure = is_secure(request.headers());
    let (token, next) = form(request.into_body()).await?;
    let refused = |status: StatusCode, why: &str| {
        let mut response = (status, notice("Sign in", &page(&app, &next, Some(why)))).into_response();
        response.extensions_mut().insert(OwnBody);
        response
    };
    let Some(tokens) = &app.config.tokens else { return Ok(refused(StatusCode::OK, "")) };
    if token.is_empty() {
        return Ok(refused(StatusCode::BAD_REQUEST, "Type a token, or paste it."));
    }
    tokens.refresh(app.now()).await;
    let Some(found) = tokens.find(&token, app.now()) else {
        return Ok(refused(
            StatusCode::UNAUTHORIZED,
            "The token is unknown or has expired; ask the operator for a new one.",
        ));
    };
    let failed = || Problem::internal("no session can be made", &"no randomness");
    let id = app.sessions.begin(&found, app.now()).ok_or_else(failed)?;
    Ok(with_cookie(Redirect::to(local(&next)).into_response(), &id, secure))
}

async fn leave(State(app): State<App>, headers: HeaderMap) -> Response {
    if let Some(key) = key_of(&headers) {
        app.sessions.end(&key);
    }
    with_cookie(Redirect::to("/sign-in").into_response(), "", is_secure(&headers))
}

fn with_cookie(mut response: Response, id: &str, secure: bool) -> Response {
    if let Ok(value) = HeaderValue::from_str(&set_cookie(id, secure)) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether the browser came over TLS, as a proxy or the browser itself says: then the cookie travels no other way.
fn is_secure(headers: &HeaderMap) -> bool {
    let says = |name: &str, text: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.to_ascii_lowercase().contains(text))
    };
    says("x-forwarded-proto", "https") || says("forwarded", "proto=https") || says("origin", "https://")
}

async fn account(State(app): State<App>, caller: Option<Extension<Caller>>) -> Response {
    let content = html! {
        h1 { "Account" }
        @match &caller {
            None => p { "This server has no tokens: everybody on this machine may do everything with the tenant default." },
            Some(Extension(caller)) => (told(&app, caller)),
        }
    };
    notice("Account", &content)
}

fn told(app: &App, caller: &Caller) -> Markup {
    let token = &caller.token;
    let row = |scope: TokenScope| {
        let has = token.scopes.contains(&scope);
        html! { th scope="row" { code { (scope.as_str()) } } td { (allows(scope)) } td { (if has { "yes" } else { "no" }) } }
    };
    let rows: Vec<Markup> = TokenScope::ALL.into_iter().map(row).collect();
    let is_session = caller.session.is_some();
    html! {
        dl {
            dt { "Token" } dd { (token.name) }
            dt { "Tenant" } dd { (token.tenant) }
            dt { "Expires" } dd { @match token.expires { Some(at) => (time(at)), None => "never" } }
            dt { "Signed in by" } dd { @if is_session { "this browser's session, 12 hours at most" } @else { "the token in each request" } }
        }
        (table("What it may do", "No scope includes another", &["Scope", "Allows", "May it"], &rows))
        @if is_session && app.config.tokens.is_some() {
            form .fields action="/sign-out" method="post" aria-label="Sign out" { button type="submit" { "Sign out" } }
        }
    }
}

fn allows(scope: TokenScope) -> &'static str {
    match scope {
        TokenScope::LineageRead => "questions, pages, streams, proofs, metrics",
        TokenScope::LineageExport => "making and fetching evidence packs",
        TokenScope::EventsWrite => "sending events and documents",
        TokenScope::LedgerRead => "entry bundles and received bytes",
        TokenScope::Admin => "erasing bodies, driving rejects again",
    }
}
