//! Metrics in the Prometheus text format (SPEC §8). Names are a contract; digests are never labels.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

use crate::cache::Cached;
use crate::rates::Class;

/// Labels of an answered request.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct RequestLabels {
    /// Template of the path.
    pub route: String,
    /// Method.
    pub method: &'static str,
    /// Status.
    pub status: u16,
}

/// One route.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RouteLabel {
    route: String,
}

/// How a lineage question ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct ResultLabel {
    /// `found`, `not_found` or `failed`.
    pub result: QueryResult,
}

/// How a lineage question ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum QueryResult {
    /// Answered.
    Found,
    /// 4xx.
    Refused,
    /// 5xx.
    Failed,
}

impl EncodeLabelValue for QueryResult {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let word = match self {
            QueryResult::Found => "found",
            QueryResult::Refused => "refused",
            QueryResult::Failed => "failed",
        };
        EncodeLabelValue::encode(&word, encoder)
    }
}

/// Why the server ended a connection by itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Closed {
    /// Its client took nothing for too long.
    Stalled,
    /// Its client let the server wait, and another needed the place.
    Displaced,
    /// There was no place for it.
    Full,
}

impl Closed {
    /// Every reason.
    pub const ALL: [Closed; 3] = [Closed::Stalled, Closed::Displaced, Closed::Full];
}

impl EncodeLabelValue for Closed {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let word = match self {
            Closed::Stalled => "stalled",
            Closed::Displaced => "displaced",
            Closed::Full => "full",
        };
        EncodeLabelValue::encode(&word, encoder)
    }
}

/// How a blocking read ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct EndLabel {
    end: ReadEnd,
}

/// How a blocking read ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReadEnd {
    /// With an answer or a problem of its own.
    Answered,
    /// It read more than one question may.
    Budget,
    /// Its time was over.
    Time,
    /// Its client went away.
    Gone,
    /// It was not begun: too many of its tenant waited, or it waited too long.
    Refused,
}

impl ReadEnd {
    const ALL: [ReadEnd; 5] = [ReadEnd::Answered, ReadEnd::Budget, ReadEnd::Time, ReadEnd::Gone, ReadEnd::Refused];
}

impl EncodeLabelValue for ReadEnd {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let word = match self {
            ReadEnd::Answered => "answered",
            ReadEnd::Budget => "budget",
            ReadEnd::Time => "time",
            ReadEnd::Gone => "gone",
            ReadEnd::Refused => "refused",
        };
        EncodeLabelValue::encode(&word, encoder)
    }
}

/// What was asked, and whether its answer was kept.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct KeptLabel {
    of: &'static str,
    result: Hit,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Hit {
    Hit,
    Miss,
}

impl EncodeLabelValue for Hit {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let word = match self {
            Hit::Hit => "hit",
            Hit::Miss => "miss",
        };
        EncodeLabelValue::encode(&word, encoder)
    }
}

/// Why the server ended a connection by itself.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ClosedLabel {
    why: Closed,
}

/// One class.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ClassLabel {
    class: &'static str,
}

type Seconds = Family<RouteLabel, Histogram, fn() -> Histogram>;

/// The server's own counters.
pub struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<RequestLabels, Counter>,
    seconds: Seconds,
    in_flight: Gauge,
    /// Lineage questions.
    pub graph_queries: Family<ResultLabel, Counter>,
    /// How long it took to compare two artifacts.
    pub diff_latency: Histogram,
    /// Streams.
    pub subscribers: Gauge,
    /// Changes sent to streams.
    pub changes_sent: Counter,
    /// Open connections.
    pub connections: Gauge,
    connections_closed: Family<ClosedLabel, Counter>,
    refused: Family<ClassLabel, Counter>,
    /// Streamed bodies that are on their way.
    pub bodies: Gauge,
    /// Answers that were not made, or not kept, since too many others wait to be taken.
    pub unread_refused: Counter,
    export_size: Histogram,
    reads: Family<EndLabel, Counter>,
    hover_hits: Counter,
    kept: Family<KeptLabel, Counter>,
}

/// A request that is being answered.
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn request_seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_5, 2.0, 16))
}

impl Metrics {
    /// Registers everything, so that a metric that never moved is there as zero.
    pub fn new() -> Metrics {
        let mut metrics = Metrics {
            registry: Mutex::default(),
            requests: Family::default(),
            seconds: Seconds::new_with_constructor(request_seconds),
            in_flight: Gauge::default(),
            graph_queries: Family::default(),
            diff_latency: request_seconds(),
            subscribers: Gauge::default(),
            changes_sent: Counter::default(),
            connections: Gauge::default(),
            connections_closed: Family::default(),
            refused: Family::default(),
            bodies: Gauge::default(),
            unread_refused: Counter::default(),
            export_size: Histogram::new(exponential_buckets(1_024.0, 4.0, 12)),
            reads: Family::default(),
            hover_hits: Counter::default(),
            kept: Family::default(),
        };
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        metrics.registry = Mutex::new(registry);
        metrics
    }

    fn register(&self, to: &mut Registry) {
        for result in [QueryResult::Found, QueryResult::Refused, QueryResult::Failed] {
            drop(self.graph_queries.get_or_create(&ResultLabel { result }));
        }
        add(to, "sbom_lineage_graph_queries", "Lineage questions by result", self.graph_queries.clone());
        add(to, "sbom_lineage_diff_latency_seconds", "Time to compare two artifacts", self.diff_latency.clone());
        add(to, "pedigraph_http_requests", "Answered HTTP requests", self.requests.clone());
        add(to, "pedigraph_http_request_duration_seconds", "Time to answer by route", self.seconds.clone());
        add(to, "pedigraph_http_requests_in_flight", "Requests being answered", self.in_flight.clone());
        add(to, "pedigraph_stream_subscribers", "Open change streams", self.subscribers.clone());
        add(to, "pedigraph_stream_changes_sent", "Changes sent to streams", self.changes_sent.clone());
        for why in Closed::ALL {
            drop(self.connections_closed.get_or_create(&ClosedLabel { why }));
        }
        add(to, "pedigraph_http_connections", "Open connections", self.connections.clone());
        for class in Class::ALL {
            drop(self.refused.get_or_create(&ClassLabel { class: class.as_str() }));
        }
        add(to, "pedigraph_http_refused", "Requests above their tenant's rate, by class", self.refused.clone());
        let closed = self.connections_closed.clone();
        add(to, "pedigraph_http_connections_closed", "Connections that the server ended by itself", closed);
        add(to, "pedigraph_http_bodies", "Packs and received bytes on their way to clients", self.bodies.clone());
        let help = "Answers refused since too much of what was made before waits to be taken";
        add(to, "pedigraph_http_unread_refused", help, self.unread_refused.clone());
        for end in ReadEnd::ALL {
            drop(self.reads.get_or_create(&EndLabel { end }));
        }
        add(to, "pedigraph_reads", "Blocking reads by how they ended", self.reads.clone());
        add(to, "sbom_lineage_hover_cache_hits", "Hover cards answered from a cache", self.hover_hits.clone());
        for of in Cached::ALL {
            for hit in [Hit::Hit, Hit::Miss] {
                drop(self.kept.get_or_create(&KeptLabel { of: of.as_str(), result: hit }));
            }
        }
        add(to, "pedigraph_kept_answers", "Questions whose answers are kept, by whether one was", self.kept.clone());
        let sizes = self.export_size.clone();
        add(to, "sbom_lineage_export_size_bytes", "Size of exported evidence packs", sizes);
        let build: Family<Vec<(&'static str, &'static str)>, Gauge> = Family::default();
        build.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION"))]).set(1);
        add(to, "pedigraph_build_info", "Version of the running program", build);
    }

    /// Counts a request until the guard is dropped.
    pub fn in_flight(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Counts an answer.
    pub fn answered(&self, labels: RequestLabels, taken: Duration) {
        let route = RouteLabel { route: labels.route.clone() };
        self.seconds.get_or_create(&route).observe(taken.as_secs_f64());
        self.requests.get_or_create(&labels).inc();
    }

    /// Counts a request above its tenant's rate.
    pub fn refused(&self, class: Class) {
        self.refused.get_or_create(&ClassLabel { class: class.as_str() }).inc();
    }

    /// Counts a connection that the server ended by itself.
    pub fn closed(&self, why: Closed) {
        self.connections_closed.get_or_create(&ClosedLabel { why }).inc();
    }

    /// Counts an evidence pack of so many bytes.
    pub fn export_bytes(&self, bytes: u64) {
        self.export_size.observe(f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)));
    }

    /// Counts a question whose answer is kept for a while, and whether it was.
    pub fn kept(&self, of: Cached, was: bool) {
        let result = if was { Hit::Hit } else { Hit::Miss };
        self.kept.get_or_create(&KeptLabel { of: of.as_str(), result }).inc();
        if was && of == Cached::Hover {
            self.hover_hits.inc();
        }
    }

    /// Counts a blocking read that ended.
    pub fn read_ended(&self, end: ReadEnd) {
        self.reads.get_or_create(&EndLabel { end }).inc();
    }

    /// The classic text format.
    pub fn text(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        classic(&registry)
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

fn add(to: &mut Registry, name: &str, help: &str, metric: impl Metric) {
    to.register(name, help, metric);
}

/// The classic text format from the registry's: a counter's own lines carry `_total` too, no empty labels, no end mark.
fn classic(registry: &Registry) -> String {
    let mut open = String::new();
    if let Err(error) = encode(&mut open, registry) {
        tracing::error!(%error, "metrics cannot be written");
    }
    let counters: Vec<&str> =
        open.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut text = String::with_capacity(open.len());
    for line in open.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        text.push_str(&described(line, &counters).unwrap_or_else(|| line.replacen("{} ", " ", 1)));
        text.push('\n');
    }
    text
}

fn described(line: &str, counters: &[&str]) -> Option<String> {
    let mut words = line.splitn(4, ' ');
    let ("#", keyword, name, rest) = (words.next()?, words.next()?, words.next()?, words.next()?) else { return None };
    counters.contains(&name).then(|| format!("# {keyword} {name}_total {rest}"))
}

/// Gauges that are read when metrics are asked for, written into a fresh registry.
#[derive(Default)]
pub struct Readings {
    registry: Registry,
}

/// Labels of a reading.
pub type Labels = Vec<(&'static str, String)>;

impl Readings {
    /// A gauge with a value per label set.
    pub fn gauges(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, f64)>) {
        let family: Family<Labels, Gauge<f64, AtomicU64>> = Family::default();
        for (labels, value) in values {
            family.get_or_create(&labels).set(value);
        }
        add(&mut self.registry, name, help, family);
    }

    /// A counter with a value per label set; `name` without `_total`.
    pub fn counters(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) {
        let family: Family<Labels, Counter> = Family::default();
        for (labels, value) in values {
            family.get_or_create(&labels).inc_by(value);
        }
        add(&mut self.registry, name, help, family);
    }

    /// The classic text format.
    pub fn text(&self) -> String {
        classic(&self.registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_has_help_and_type_under_its_own_name() {
        let metrics = Metrics::new();
        let labels = RequestLabels { route: "/x".into(), method: "GET", status: 200 };
        metrics.answered(labels, Duration::from_millis(3));
        let text = metrics.text();
        for name in [
            "sbom_lineage_graph_queries_total",
            "sbom_lineage_diff_latency_seconds",
            "sbom_lineage_hover_cache_hits_total",
            "sbom_lineage_export_size_bytes",
            "pedigraph_http_requests_total",
            "pedigraph_build_info",
        ] {
            assert!(text.contains(&format!("# HELP {name} ")), "{name} in {text}");
            assert!(text.contains(&format!("# TYPE {name} ")), "{name} in {text}");
        }
        assert!(text.contains("pedigraph_http_requests_total{route=\"/x\",method=\"GET\",status=\"200\"} 1"), "{text}");
        assert!(!text.contains("EOF"));
    }
}
