//! From intake to visible: the newest latencies and their percentiles.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pedigraph_ledger::LogId;
use pedigraph_projector::Views;
use pedigraph_proto::{TenantId, canonical};
use serde::Serialize;

/// Latencies that are kept.
const SAMPLES_MAX: usize = 4_096;

/// `endToEndMs` of `freshness`; fields are absent before the first event.
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

/// The newest latencies from intake to visible. Clones share them.
#[derive(Clone, Default, Debug)]
pub struct EndToEnd(Arc<Mutex<VecDeque<f64>>>);

impl EndToEnd {
    /// Notes one latency in milliseconds; the oldest of many is forgotten.
    pub fn record(&self, milliseconds: f64) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(milliseconds);
    }

    /// Percentiles (nearest rank) of what is kept.
    pub fn percentiles(&self) -> Percentiles {
        let mut samples: Vec<f64> = self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        samples.sort_by(f64::total_cmp);
        let at = |percent: usize| samples.get((samples.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Percentiles { p50: at(50), p90: at(90), p99: at(99) }
    }
}

/// Watches one tenant: each time the views move, the latency of the newest visible entry is noted. Ends only by being
/// dropped; the root spawns it beside the server.
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
        let recorded = tokio::task::spawn_blocking(move || recorded_at(&views, &log, newest)).await;
        if let Ok(Some(recorded_at)) = recorded {
            let nanoseconds = u64::try_from(seen_at.saturating_sub(recorded_at)).unwrap_or(0);
            end_to_end.record(Duration::from_nanos(nanoseconds).as_secs_f64() * 1e3);
        }
    }
}

fn recorded_at(views: &Views, log: &LogId, index: u64) -> Option<i64> {
    let entry = views.ledger().entry(log, index).ok()??;
    Some(canonical::decode_entry(&entry.leaf)?.recorded_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let end_to_end = EndToEnd::default();
        assert_eq!(end_to_end.percentiles(), Percentiles::default());
        (1..=100).rev().for_each(|ms| end_to_end.record(f64::from(ms)));
        let expected = Percentiles { p50: Some(50.0), p90: Some(90.0), p99: Some(99.0) };
        assert_eq!(end_to_end.percentiles(), expected);
    }
}
