//! W3C trace contexts of requests: who asks finds our span under theirs, and what is handed on says whose it is.
//!
//! What is written is by the process's propagator; without an exporter there is none, and nothing is written.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use opentelemetry::Context;
use opentelemetry::global::get_text_map_propagator;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

struct Incoming<'a>(&'a HeaderMap);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Outgoing<'a>(&'a mut HeaderMap);

impl Injector for Outgoing<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

/// The headers of a message.
struct Carried<'a>(&'a mut Vec<(String, Option<Bytes>)>);

impl Injector for Carried<'_> {
    fn set(&mut self, key: &str, value: String) {
        self.0.retain(|(name, _)| name != key);
        if !value.is_empty() {
            self.0.push((key.to_owned(), Some(value.into())));
        }
    }
}

/// Makes a span that has not begun part of the caller's trace.
pub(crate) fn follow(span: &tracing::Span, headers: &HeaderMap) {
    let Some(parent) = caller(headers) else { return };
    let context = parent.span().span_context().clone();
    span.record("trace_id", tracing::field::display(context.trace_id()));
    span.record("parent_id", tracing::field::display(context.span_id()));
    // It fails only where nobody collects spans.
    let _nobody_collects = span.set_parent(parent);
}

/// By no global propagator: the log names the caller's trace whether or not spans are sent anywhere.
fn caller(headers: &HeaderMap) -> Option<Context> {
    headers.get("traceparent")?;
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Incoming(headers));
    context.span().span_context().is_valid().then_some(context)
}

/// Says in an answer which span it came from.
pub(crate) fn answer(span: &tracing::Span, headers: &mut HeaderMap) {
    get_text_map_propagator(|propagator| propagator.inject_context(&span.context(), &mut Outgoing(headers)));
}

/// Says in a message which request brought it.
pub(crate) fn carry(headers: &mut Vec<(String, Option<Bytes>)>) {
    let context = tracing::Span::current().context();
    get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut Carried(headers)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_or_ignored() {
        let check = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", text.parse().expect("a header value"));
            let context = caller(&headers)?.span().span_context().clone();
            Some(format!("{} {}", context.trace_id(), context.span_id()))
        };
        let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        assert_eq!(check(&format!("00-{trace}-{parent}-01")), Some(format!("{trace} {parent}")));
        assert_eq!(check(&format!("ff-{trace}-{parent}-01")), None);
        assert_eq!(check(&format!("00-{}-{parent}-01", "0".repeat(32))), None);
        assert_eq!(check(&format!("00-{}-{parent}-01", trace.to_uppercase())), None);
        assert_eq!(check("00-short"), None);
    }
}
