//! Logs on stderr, and traces by OTLP where `OTEL_EXPORTER_OTLP_ENDPOINT` says so.

use std::collections::HashMap;
use std::io::IsTerminal;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Keeps the exporter; spans at hand are sent when it is dropped.
pub(crate) struct Telemetry(Option<SdkTracerProvider>);

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take() {
            let _nothing_to_do_about_it = provider.shutdown();
        }
    }
}

/// Text for a terminal, JSON elsewhere; `RUST_LOG` chooses what, `info` by default.
pub(crate) fn start(default_filter: &str) -> anyhow::Result<Telemetry> {
    let filter = EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new(default_filter))?;
    let provider = has_exporter().then(exporter).transpose()?;
    if provider.is_some() {
        // Without it contexts are neither read nor written anywhere, which costs nothing.
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    }
    let traces = provider.as_ref().map(|p| tracing_opentelemetry::layer().with_tracer(p.tracer("pedigraph")));
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logs = if std::io::stderr().is_terminal() { logs.boxed() } else { logs.json().boxed() };
    tracing_subscriber::registry().with(filter).with(traces).with(logs).try_init()?;
    Ok(Telemetry(provider))
}

/// The context of a W3C `traceparent` that the caller left, written anew; nothing when it is none.
pub(crate) fn caller_context(given: Option<String>) -> Option<String> {
    let propagator = TraceContextPropagator::new();
    let incoming = HashMap::from([("traceparent".to_owned(), given?)]);
    let mut outgoing = HashMap::new();
    propagator.inject_context(&propagator.extract(&incoming), &mut outgoing);
    outgoing.remove("traceparent")
}

/// Whether spans are sent anywhere.
pub(crate) fn has_exporter() -> bool {
    std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some()
}

fn exporter() -> anyhow::Result<SdkTracerProvider> {
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().build()?;
    let resource = opentelemetry_sdk::Resource::builder().with_service_name("pedigraph").build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_context_is_handed_on() {
        let given = "00-7f3a4be1d20c4a5f9a0a6b1c2d3e4f50-91b2c3d4e5f60718-01";
        assert_eq!(caller_context(Some(given.to_owned())).as_deref(), Some(given));
        for none in ["", "00-00000000000000000000000000000000-91b2c3d4e5f60718-01", "ff-7f3a", "a\r\nb: c"] {
            assert_eq!(caller_context(Some(none.to_owned())), None, "{none:?}");
        }
        assert_eq!(caller_context(None), None);
    }
}
