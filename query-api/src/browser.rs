//! Who asks: a person in a browser, or a program.

use axum::extract::Request;
use axum::http::header;

/// A browser that asks for a page gets problems as a page.
pub(crate) fn prefers_html(request: &Request) -> bool {
    let path = request.uri().path();
    let machine = ["/api/", "/ledger/", "/openapi.json", "/metrics"].iter().any(|start| path.starts_with(start));
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    !machine && accept.is_some_and(|accept| accept.contains("text/html"))
}
