//! W3C trace contexts of messages: a message is decoded in its sender's trace, a batch is linked to the contexts of its
//! messages, and whoever folds a commit can link to the batch that it was.
//!
//! Contexts are read by the process's propagator; without an exporter there is none, and all of this is nothing.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use opentelemetry::global::get_text_map_propagator;
use opentelemetry::propagation::Extractor;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};
use pedigraph_ledger::LogId;
use pedigraph_proto::message::{Body, Message};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Batches whose contexts are kept for who folds them.
const BATCHES_MAX: usize = 4_096;

/// One text that is read as a context.
struct Text<'a>(&'a str);

impl Extractor for Text<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == "traceparent").then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

/// Whether anybody reads contexts: the process has a propagator.
pub(crate) fn is_on() -> bool {
    get_text_map_propagator(|propagator| propagator.fields().next().is_some())
}

/// The span that a message is decoded in, and the contexts that it brings. Nothing for a message that brings none.
///
/// It is part of the trace of who sent it, and linked to the event's own where that is another.
pub(crate) fn decoding(message: &Message) -> (Span, Vec<SpanContext>) {
    let contexts = contexts(message);
    let Some(parent) = contexts.first() else { return (Span::none(), contexts) };
    let span = tracing::info_span!("decode", otel.kind = "consumer", source = message.source);
    // It fails only where nobody collects spans.
    let _nobody_collects = span.set_parent(Context::new().with_remote_span_context(parent.clone()));
    contexts.iter().skip(1).for_each(|own| span.add_link(own.clone()));
    (span, contexts)
}

/// The header of Kafka or HTTP, then CloudEvents' extension (Distributed Tracing) of binary or structured mode.
fn contexts(message: &Message) -> Vec<SpanContext> {
    let header = |wanted: &str| {
        let (_, value) = message.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
        read(std::str::from_utf8(value.as_deref()?).ok()?)
    };
    let own = header("ce-traceparent").or_else(|| header("ce_traceparent")).or_else(|| structured(message));
    let mut contexts: Vec<_> = header("traceparent").into_iter().chain(own).collect();
    contexts.dedup();
    contexts
}

/// The extension of a CloudEvent in structured mode. A document that is spooled to a file is not read for it.
fn structured(message: &Message) -> Option<SpanContext> {
    let Body::Bytes(body) = &message.body else { return None };
    let event: Structured = serde_json::from_slice(body).ok()?;
    event.specversion?;
    read(&event.traceparent?)
}

#[derive(serde::Deserialize)]
struct Structured {
    specversion: Option<String>,
    traceparent: Option<String>,
}

fn read(text: &str) -> Option<SpanContext> {
    let context = get_text_map_propagator(|propagator| propagator.extract_with_context(&Context::new(), &Text(text)));
    let context = context.span().span_context().clone();
    context.is_valid().then_some(context)
}

/// Links the span of a batch to a context of one of its messages.
pub(crate) fn link(span: &Span, sender: &SpanContext, index: u64) {
    span.add_link_with_attributes(sender.clone(), vec![ledger_index(index)]);
}

/// The attribute by which an entry is found.
fn ledger_index(index: u64) -> KeyValue {
    KeyValue::new("pedigraph.index", i64::try_from(index).unwrap_or(i64::MAX))
}

/// Contexts of the newest batches, by the first entry of each.
#[derive(Default)]
pub(crate) struct Batches(Mutex<VecDeque<((LogId, u64), SpanContext)>>);

impl Batches {
    /// Before the batch can be durable, so that whoever folds it finds its context.
    pub(crate) fn begun(&self, log: &LogId, first: u64, span: &Span) {
        let context = span.context().span().span_context().clone();
        if context.is_valid() {
            self.keep(log, first, context);
        }
    }

    fn keep(&self, log: &LogId, first: u64, context: SpanContext) {
        let mut batches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if batches.len() >= BATCHES_MAX {
            batches.pop_front();
        }
        batches.push_back(((log.clone(), first), context));
    }

    /// The context of the batch that began with an entry.
    pub(crate) fn of(&self, log: &LogId, first: u64) -> Option<SpanContext> {
        let batches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = batches.iter().rev().find(|((of, index), _)| of == log && *index == first);
        found.map(|(_, context)| context.clone())
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};

    use super::*;

    #[test]
    fn a_span_that_nobody_collects_is_not_kept() {
        let (batches, log) = (Batches::default(), LogId::default_log());
        batches.begun(&log, 3, &tracing::info_span!("batch"));
        assert_eq!(batches.of(&log, 3), None);
    }

    #[test]
    fn the_newest_batches_are_kept() {
        let (batches, log) = (Batches::default(), LogId::default_log());
        let context = |n: u64| {
            SpanContext::new(TraceId::from(7), SpanId::from(n + 1), TraceFlags::SAMPLED, false, TraceState::default())
        };
        for n in 0..BATCHES_MAX as u64 + 2 {
            let context = opentelemetry::Context::new().with_remote_span_context(context(n));
            batches.keep(&log, n, context.span().span_context().clone());
        }
        assert_eq!((batches.of(&log, 1), batches.of(&log, 2)), (None, Some(context(2))));
    }
}
