//! What lies around every route, from the outside in: request id, span, metrics and the body of problems · panics ·
//! requests at once · host and origin · compression. Each route has the check of its access within
//! ([`access`](crate::access)).

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::app::App;
use crate::browser::prefers_html;
use crate::compress;
use crate::host;
use crate::metrics::RequestLabels;
use crate::pages::frame;
use crate::params::Params;
use crate::problem::{Code, Problem};
use crate::serve::ProbesOnly;
use crate::trace;

/// The id of a request, as it stands in `X-Request-Id` and in problems.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestId(pub String);

/// Marks an answer with an error status that has a body of its own, such as `/readyz`.
#[derive(Clone, Copy, Debug)]
pub struct OwnBody;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_CHARS_MAX: usize = 128;

/// Puts the layers around the routes.
pub fn around(routes: Router<App>, app: &App) -> Router<App> {
    routes
        .layer(compress::layer())
        .layer(from_fn(compress::for_our_own))
        .layer(from_fn_with_state(app.clone(), check_host))
        .layer(from_fn_with_state(app.clone(), limit_requests))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(app.clone(), observe))
}

/// Answers for a path that no route has.
pub async fn unknown_path() -> Problem {
    Problem::new(Code::NotFound, "no such path; /openapi.json lists them all")
}

/// Answers for a path that has other methods.
pub async fn unknown_method() -> Problem {
    Problem::new(Code::MethodNotAllowed, "the Allow header and /openapi.json list the methods")
}

async fn check_host(State(app): State<App>, request: Request, next: Next) -> Response {
    let hosts = app.config.tokens.is_none().then_some(&app.config.hosts[..]);
    match host::check(request.version(), request.method(), request.uri(), request.headers(), hosts) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Probes and metrics are answered even when there is too much to do.
async fn limit_requests(State(app): State<App>, request: Request, next: Next) -> Response {
    if matches!(request.uri().path(), "/livez" | "/readyz" | "/metrics") {
        return next.run(request).await;
    }
    if request.extensions().get::<ProbesOnly>().is_some() {
        let detail = format!("more than {} connections at once; try again", app.limits().connections_max);
        return Problem::new(Code::Overloaded, detail).retry_after(1).into_response();
    }
    let Ok(_permit) = app.requests.try_acquire() else {
        let detail = format!("more than {} requests at once; try again", app.limits().requests_max);
        return Problem::new(Code::Overloaded, detail).retry_after(1).into_response();
    };
    next.run(request).await
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Problem::internal("a request panicked", &text.unwrap_or("no message")).into_response()
}

async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let begun = app.now();
    let id = request_id(request.headers());
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let method = method_label(request.method());
    let page = prefers_html(&request).then(|| Asked::of(&request));
    let span = span_of(&request, &route, &id);
    let in_flight = app.metrics.in_flight();
    let response = next.run(request).instrument(span.clone()).await;
    drop(in_flight);
    let taken = app.since(begun);
    let labels = RequestLabels { route, method, status: response.status().as_u16() };
    app.metrics.answered(labels, taken);
    span.in_scope(|| tracing::debug!(status = response.status().as_u16(), taken_us = taken.as_micros(), "answered"));
    let mut response = finish(response, &id, page.as_ref());
    trace::answer(&span, response.headers_mut());
    response
}

/// The client's id when it is plain, else a new one.
fn request_id(headers: &HeaderMap) -> RequestId {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let plain = |id: &&str| {
        (1..=REQUEST_ID_CHARS_MAX).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&b))
    };
    RequestId(given.filter(plain).map_or_else(|| Uuid::new_v4().to_string(), str::to_owned))
}

/// The query is left out: it may hold what nobody wants in a log.
fn span_of(request: &Request, route: &str, id: &RequestId) -> tracing::Span {
    let span = tracing::info_span!(
        "request",
        otel.kind = "server",
        method = %request.method(),
        route,
        id = id.0,
        trace_id = tracing::field::Empty,
        parent_id = tracing::field::Empty
    );
    trace::follow(&span, request.headers());
    span
}

/// Methods that anybody may invent must not become labels.
fn method_label(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// What a person asked for, of which a page says what is wrong.
struct Asked {
    /// What was typed into the search box: it is still there.
    searched: String,
    /// Path and query, to come back to.
    address: String,
}

impl Asked {
    fn of(request: &Request) -> Asked {
        let params = Params::of(request.uri()).unwrap_or_default();
        let address = request.uri().path_and_query().map_or("/", |asked| asked.as_str());
        Asked { searched: params.get("q").unwrap_or_default().to_owned(), address: address.to_owned() }
    }
}

/// Writes the body of a problem, also for errors that came without one, and the headers that every answer has. A
/// browser gets it as a page.
fn finish(response: Response, id: &RequestId, page: Option<&Asked>) -> Response {
    let error = response.status().is_client_error() || response.status().is_server_error();
    let own_body = response.extensions().get::<OwnBody>().is_some();
    let mut response = if error && !own_body { with_problem(response, id, page) } else { response };
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Others learn no address of ours. With `no-referrer` browsers would hide from us, too, whose page sends a form.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
        );
    }
    response
}

fn with_problem(response: Response, id: &RequestId, page: Option<&Asked>) -> Response {
    let (mut parts, _body) = response.into_parts();
    let problem = parts.extensions.remove::<Problem>().unwrap_or_else(|| Problem::of_status(parts.status));
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let (content_type, body) = if let Some(asked) = page {
        parts.headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(frame::CSP));
        let page = frame::problem(&problem, &asked.searched, &id.0, &asked.address);
        ("text/html; charset=utf-8", frame::written(page))
    } else {
        ("application/problem+json", problem.to_json(&id.0).to_string())
    };
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Response::from_parts(parts, Body::from(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_kept_when_it_is_plain() {
        let check = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, text.parse().expect("a header value"));
            request_id(&headers).0
        };
        assert_eq!(check("run-7/a.b:c"), "run-7/a.b:c");
        assert_ne!(check("<script>"), "<script>");
        assert_ne!(check(&"x".repeat(129)), "x".repeat(129));
        assert!(Uuid::parse_str(&request_id(&HeaderMap::new()).0).is_ok());
    }
}
