//! What one connection is doing: whether its client waits for us or we for it, since when, and how it is told to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Stands for "not waiting" where a time is kept.
const NOT: u64 = u64::MAX;

/// Shared by a connection's socket, its service and the table of all connections. One task at a time changes it: HTTP/1
/// has one request on a connection at once.
#[derive(Debug)]
pub(crate) struct Flow {
    begun: Instant,
    /// A request is with us: from its head until its answer's last byte is with hyper.
    answering: AtomicBool,
    /// Milliseconds from `begun`: since when the client sends no head.
    idle_since: AtomicU64,
    /// Milliseconds from `begun`: since when the client takes no byte.
    stuck_since: AtomicU64,
    moving: Notify,
    end: Notify,
}

impl Flow {
    /// Of a new connection: idle.
    pub(crate) fn new() -> Arc<Flow> {
        Arc::new(Flow {
            begun: Instant::now(),
            answering: AtomicBool::new(false),
            idle_since: AtomicU64::new(0),
            stuck_since: AtomicU64::new(NOT),
            moving: Notify::new(),
            end: Notify::new(),
        })
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(NOT - 1)
    }

    /// A request came; it is answered when the result is dropped.
    pub(crate) fn answering(self: &Arc<Flow>) -> Answering {
        self.answering.store(true, Ordering::Relaxed);
        self.idle_since.store(NOT, Ordering::Relaxed);
        Answering(Arc::clone(self))
    }

    /// Everything that was to be sent is with the kernel.
    pub(crate) fn flushed(&self) {
        if !self.answering.load(Ordering::Relaxed) && !self.is_idle() {
            self.idle_since.store(self.now_ms(), Ordering::Relaxed);
        }
    }

    /// Nothing was asked, or all of it is answered and sent.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle_since.load(Ordering::Relaxed) != NOT
    }

    /// The client takes nothing now.
    pub(crate) fn stuck(&self) {
        let now = self.now_ms();
        let _since_before = self.stuck_since.compare_exchange(NOT, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The client took something.
    pub(crate) fn moved(&self) {
        if self.stuck_since.swap(NOT, Ordering::Relaxed) != NOT {
            self.moving.notify_waiters();
        }
    }

    /// Resolves once no answer from before waits for the client: who pipelines without reading is not worked for.
    pub(crate) async fn taken(&self) {
        loop {
            let moving = self.moving.notified();
            if self.stuck_since.load(Ordering::Relaxed) == NOT {
                return;
            }
            moving.await;
        }
    }

    /// How long the server has waited for the client, and whether it waits for it to take bytes.
    pub(crate) fn waited(&self) -> Option<(bool, Duration)> {
        let now = self.now_ms();
        let of = |since: &AtomicU64| Some(since.load(Ordering::Relaxed)).filter(|since| *since != NOT);
        let lasting = |since: u64| Duration::from_millis(now.saturating_sub(since));
        let stuck = of(&self.stuck_since).map(|since| (true, lasting(since)));
        stuck.or_else(|| of(&self.idle_since).map(|since| (false, lasting(since))))
    }

    /// Tells the connection's task to end at once.
    pub(crate) fn end(&self) {
        self.end.notify_one();
    }

    /// Resolves when the connection is to end.
    pub(crate) async fn ended(&self) {
        self.end.notified().await;
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Answering(Arc<Flow>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn stuck(flow: &Flow) -> Option<bool> {
        flow.waited().map(|(stuck, _)| stuck)
    }

    #[test]
    fn a_connection_waits_for_its_client_or_its_client_for_us() {
        let flow = Flow::new();
        assert_eq!(stuck(&flow), Some(false));
        let answering = flow.answering();
        flow.flushed();
        assert_eq!(stuck(&flow), None);
        flow.stuck();
        assert_eq!(stuck(&flow), Some(true));
        flow.moved();
        assert_eq!(stuck(&flow), None);
        drop(answering);
        assert!(!flow.is_idle(), "not sent yet");
        flow.flushed();
        assert_eq!(stuck(&flow), Some(false));
    }

    #[test]
    fn the_wait_counts_from_its_beginning() {
        let flow = Flow::new();
        flow.stuck();
        let since = flow.stuck_since.load(Ordering::Relaxed);
        flow.stuck();
        assert_eq!(flow.stuck_since.load(Ordering::Relaxed), since);
    }

    #[test]
    fn the_next_request_waits_for_the_answer_before_to_be_taken() {
        let flow = Flow::new();
        assert!(flow.taken().now_or_never().is_some());
        flow.stuck();
        let mut waiting = Box::pin(flow.taken());
        assert!((&mut waiting).now_or_never().is_none());
        flow.moved();
        assert!(waiting.now_or_never().is_some());
    }
}
