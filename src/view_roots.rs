//! Signed view roots: what the views came to is said in the ledger, whose checkpoints sign it (DESIGN §3.4).
//!
//! Only a process that writes the ledger and folds it can say so. Whoever folds the same ledger compares.

use std::sync::Arc;
use std::time::Duration;

use pedigraph_processor::{Error, Processor};
use pedigraph_projector::Views;
use pedigraph_proto::TenantId;
use tokio::sync::watch;

/// Records a root each interval, if something else was appended since; never for an interval of 0. Ends with the node.
pub(crate) fn spawn(views: Views, processor: Arc<Processor>, interval_ms: u64, stop: &watch::Sender<bool>) {
    if interval_ms == 0 {
        return;
    }
    let mut stopping = stop.subscribe();
    let mut ticks = tokio::time::interval(Duration::from_millis(interval_ms));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tokio::spawn(async move {
        // The first tick comes at once; the first root after an interval.
        ticks.tick().await;
        let mut recorded_at = None;
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return,
                _ = ticks.tick() => {}
            }
            let entries = views.visible_in_all();
            // The last record is an entry itself: with only that one more there is nothing to say.
            if recorded_at.is_some_and(|at: u64| entries <= at + 1) {
                continue;
            }
            match record(&views, &processor).await {
                Ok(true) => recorded_at = Some(entries),
                Ok(false) => {}
                Err(Error::Stopping) => return,
                Err(error) => tracing::error!(%error, "the view root could not be recorded"),
            }
        }
    });
}

/// Whether there was a root to record.
async fn record(views: &Views, processor: &Processor) -> Result<bool, Error> {
    let tenant = TenantId::default();
    let Some(root) = views.root_to_record(&tenant) else { return Ok(false) };
    let receipt = processor.record(&tenant, root).await?;
    tracing::debug!(index = receipt.index, "view root recorded");
    Ok(true)
}
