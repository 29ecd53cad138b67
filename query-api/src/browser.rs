//! Who asks: a person in a browser, or a program.

use axum::extract::Request;
use axum::http::header;

/// Whether a path is a page's, or at least no program's.
pub(crate) fn is_page(path: &str) -> bool {
    !["/api/", "/ledger/", "/openapi.json", "/metrics"].iter().any(|start| path.starts_with(start))
}

/// A browser that asks for a page gets problems as a page.
pub(crate) fn prefers_html(request: &Request) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    is_page(request.uri().path()) && accept.is_some_and(|accept| accept.contains("text/html"))
}
