//! The span of a step: linked to the commits that it makes visible, where somebody knows the spans in which those were
//! written.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanContext;
use pedigraph_ledger::{Commit, LogId};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The span context of the commit that began with an entry, while it is known.
pub type CommitContext = Arc<dyn Fn(&LogId, u64) -> Option<SpanContext> + Send + Sync>;

/// The span of a step; nothing where nobody knows contexts of commits.
pub(super) fn span(contexts: Option<&CommitContext>) -> Span {
    match contexts {
        Some(_) => tracing::info_span!("fold"),
        None => Span::none(),
    }
}

/// Links the span of a step to a commit that it folded.
pub(super) fn link(span: &Span, contexts: Option<&CommitContext>, commit: &Commit) {
    let Some((contexts, first)) = contexts.zip(commit.entries.first()) else { return };
    let Some(context) = contexts(&first.log, first.index) else { return };
    let number = |name: &'static str, n: u64| KeyValue::new(name, i64::try_from(n).unwrap_or(i64::MAX));
    let attributes = vec![number("pedigraph.index", first.index), number("pedigraph.commit", commit.seq)];
    span.add_link_with_attributes(context, attributes);
}
