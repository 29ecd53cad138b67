//! Which answers travel compressed (gzip, RFC 9110 §8.4.1): text of some size. Streams, evidence packs, tiles and received
//! bytes never do.
//!
//! Compressed, a text tells by its length whether what somebody put into a question stands elsewhere in the answer
//! (BREACH). Nobody can be made to ask so: a page holds neither the id of its session nor a token, what is about a
//! session (`no-store`) is not compressed, the cookie is not sent for other sites, and what another site makes a
//! browser ask for with a password or without is answered as it is.

use axum::extract::Request;
use axum::http::{Extensions, HeaderMap, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::Response;
use tower_http::compression::predicate::{And, Predicate as _, SizeAbove};
use tower_http::compression::{CompressionLayer, CompressionLevel};

/// Bytes from which an answer is compressed: below, it fits into a packet or two anyway.
const BYTES_MIN: u64 = 1_400;
/// What is compressed: text by its content type.
const CONTENT_TYPES: [&str; 6] =
    ["text/html", "application/json", "text/css", "text/javascript", "text/csv", "image/svg+xml"];

type Decides = fn(StatusCode, Version, &HeaderMap, &Extensions) -> bool;

/// The layer; it is the innermost, so that what lies around it may still put another body in the place of an error's.
pub(crate) fn layer() -> CompressionLayer<And<SizeAbove, Decides>> {
    // The fastest level: pages repeat themselves so much that it finds nearly all of it.
    let layer = CompressionLayer::new().quality(CompressionLevel::Fastest);
    layer.compress_when(SizeAbove::new(BYTES_MIN).and(is_text as Decides))
}

/// Whether an answer may be compressed.
fn is_text(status: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    let value = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = value(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
    let is_kept = !value(header::CACHE_CONTROL).contains("no-store");
    status == StatusCode::OK && is_kept && CONTENT_TYPES.contains(&media)
}

/// What another site makes a browser ask for is answered uncompressed.
pub(crate) async fn for_our_own(mut request: Request, next: Next) -> Response {
    let site = request.headers().get("sec-fetch-site").map(|site| site.as_bytes());
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        request.headers_mut().remove(header::ACCEPT_ENCODING);
    }
    next.run(request).await
}
