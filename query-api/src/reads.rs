//! How blocking reads run: each on a thread for it, within its budget and its time, and no longer than its client waits.

use std::sync::Arc;

use pedigraph_projector::store::Meter;
use pedigraph_proto::TenantId;

use crate::app::App;
use crate::limits::OfRead;
use crate::metrics::ReadEnd;
use crate::problem::{Code, Problem};

/// Stops a read when nobody waits for it any longer.
struct WhileWaitedFor<'a> {
    meter: &'a Meter,
    app: &'a App,
    /// How it ended, once it has.
    end: Option<ReadEnd>,
}

impl Drop for WhileWaitedFor<'_> {
    fn drop(&mut self) {
        let end = self.end.unwrap_or(ReadEnd::Gone);
        if matches!(end, ReadEnd::Gone | ReadEnd::Time) {
            self.meter.stop();
        }
        self.app.metrics.read_ended(end);
    }
}

impl App {
    /// Runs a small blocking read that reads no rows of views, or few, on a thread for it.
    pub async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        self.blocking_of(None, self.limits().of_answer(), |_| read()).await
    }

    /// Runs a tenant's blocking read on a thread for it, when it is its turn. What it reads with the meter ends at the
    /// limits, and when the client went away.
    pub async fn blocking_of<T: Send + 'static>(
        &self,
        tenant: Option<&TenantId>,
        limits: OfRead,
        read: impl FnOnce(&Arc<Meter>) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let Some(permit) = self.reads.admit(tenant).await else {
            self.metrics.read_ended(ReadEnd::Refused);
            return Err(Problem::new(Code::Overloaded, "too many reads at once; try again").retry_after(1));
        };
        let meter = Arc::new(Meter::new(limits.budget));
        let mut waited_for = WhileWaitedFor { meter: &meter, app: self, end: None };
        let (span, used) = (tracing::Span::current(), meter.clone());
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            span.in_scope(|| read(&used))
        });
        let Ok(ended) = tokio::time::timeout(limits.time_max, task).await else {
            waited_for.end = Some(ReadEnd::Time);
            let seconds = limits.time_max.as_secs();
            return Err(Problem::too_expensive(&format!("the answer took more than {seconds} s")));
        };
        waited_for.end = Some(if meter.is_overspent() { ReadEnd::Budget } else { ReadEnd::Answered });
        ended.map_err(|error| Problem::internal("a read panicked", &error))?
    }
}
