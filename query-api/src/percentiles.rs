//! From the event, and from intake, to visible: the newest latencies and their percentiles.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pedigraph_ledger::LogId;
use pedigraph_projector::Views;
use pedigraph_proto::{TenantId, canonical};
use serde::Serialize;

/// Latencies that are kept.
const SAMPLES_MAX: usize = 4_096;

/// `endToEndMs` and `eventToVisibleMs` of `freshness`; fields are absent before the first event.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Percentiles {
    /// Median, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50: Option<f64>,
    /// 90th percentile, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p90: Option<f64>,
    /// 99th percentile, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
}

/// Upper ends of the buckets of a histogram, milliseconds; one more bucket has the rest.
pub const BUCKETS_MS: [f64; 9] = [5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1_000.0, 5_000.0, 60_000.0];

/// The newest latencies until visible. Clones share them.
#[derive(Clone, Default, Debug)]
pub struct EndToEnd(Arc<Mutex<Samples>>);

/// Milliseconds, oldest first.
#[derive(Default, Debug)]
struct Samples {
    from_durable: VecDeque<f64>,
    from_event: VecDeque<f64>,
}

impl EndToEnd {
    /// Notes the latencies of one entry in milliseconds, from durable and from the event's own time; the oldest of many
    /// are forgotten.
    pub fn record(&self, from_durable_ms: f64, from_event_ms: f64) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        push(&mut samples.from_durable, from_durable_ms);
        push(&mut samples.from_event, from_event_ms);
    }

    /// Percentiles of the time from durable to visible.
    pub fn durable_to_visible(&self) -> Percentiles {
        Percentiles::of(&self.0.lock().unwrap_or_else(PoisonError::into_inner).from_durable)
    }

    /// How many of these newest times are in each bucket of [`BUCKETS_MS`], and in the one above them.
    pub fn durable_to_visible_counts(&self) -> [usize; BUCKETS_MS.len() + 1] {
        let mut counts = [0; BUCKETS_MS.len() + 1];
        for ms in &self.0.lock().unwrap_or_else(PoisonError::into_inner).from_durable {
            counts[BUCKETS_MS.partition_point(|end| end < ms)] += 1;
        }
        counts
    }

    /// Percentiles of the time from the event's own time to visible.
    pub fn event_to_visible(&self) -> Percentiles {
        Percentiles::of(&self.0.lock().unwrap_or_else(PoisonError::into_inner).from_event)
    }
}

fn push(samples: &mut VecDeque<f64>, sample: f64) {
    if samples.len() == SAMPLES_MAX {
        samples.pop_front();
    }
    samples.push_back(sample);
}

impl Percentiles {
    /// By nearest rank.
    fn of(samples: &VecDeque<f64>) -> Percentiles {
        let mut samples: Vec<f64> = samples.iter().copied().collect();
        samples.sort_by(f64::total_cmp);
        let at = |percent: usize| samples.get((samples.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Percentiles { p50: at(50), p90: at(90), p99: at(99) }
    }
}

/// Watches one tenant: each time the views move, the latencies of the newest visible entry are noted. Ends only by
/// being dropped; the root spawns it beside the server.
pub async fn watch_end_to_end(views: Views, tenant: TenantId, end_to_end: EndToEnd, clock: fn() -> i64) {
    const WAIT: Duration = Duration::from_secs(60);
    let Some(log) = LogId::new(tenant.as_str()) else { return };
    let mut visible = views.visible(&tenant);
    loop {
        if !views.wait_visible(&tenant, visible, WAIT).await {
            continue;
        }
        let seen_at = clock();
        visible = views.visible(&tenant);
        let (views, log, newest) = (views.clone(), log.clone(), visible.saturating_sub(1));
        let times = tokio::task::spawn_blocking(move || times_of(&views, &log, newest)).await;
        if let Ok(Some((recorded_at, occurred_at))) = times {
            end_to_end.record(milliseconds(recorded_at, seen_at), milliseconds(occurred_at, seen_at));
        }
    }
}

fn milliseconds(from_ns: i64, to_ns: i64) -> f64 {
    let nanoseconds = u64::try_from(to_ns.saturating_sub(from_ns)).unwrap_or(0);
    Duration::from_nanos(nanoseconds).as_secs_f64() * 1e3
}

/// When an entry was recorded, and when it happened.
fn times_of(views: &Views, log: &LogId, index: u64) -> Option<(i64, i64)> {
    let entry = views.ledger().entry(log, index).ok()??;
    let leaf = canonical::decode_entry(&entry.leaf)?;
    Some((leaf.recorded_at, leaf.occurred_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let end_to_end = EndToEnd::default();
        assert_eq!(end_to_end.durable_to_visible(), Percentiles::default());
        (1..=100).rev().for_each(|ms| end_to_end.record(f64::from(ms), f64::from(ms * 10)));
        let expected = Percentiles { p50: Some(50.0), p90: Some(90.0), p99: Some(99.0) };
        assert_eq!(end_to_end.durable_to_visible(), expected);
        assert_eq!(end_to_end.durable_to_visible_counts(), [5, 5, 15, 25, 50, 0, 0, 0, 0, 0]);
        let expected = Percentiles { p50: Some(500.0), p90: Some(900.0), p99: Some(990.0) };
        assert_eq!(end_to_end.event_to_visible(), expected);
    }
}
