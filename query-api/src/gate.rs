//! The gate that blocking reads pass: how many at once, and whose turn it is.
//!
//! A read holds a thread and a core. So there are few at once, no tenant has more than its share of them, and who waits
//! is let in by turns of tenants: expensive questions of one tenant cost another tenant's small ones a core's share at
//! most, never a place in a queue.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use pedigraph_proto::TenantId;
use tokio::sync::oneshot;

use crate::limits::OfReads;

/// The gate that blocking reads pass.
pub struct Reads {
    state: Arc<Mutex<State>>,
    limits: OfReads,
}

#[derive(Default)]
struct State {
    running: usize,
    tenants: BTreeMap<Lane, OfTenant>,
    /// Tenants of whom somebody waits, each once, the next one first.
    turns: VecDeque<Lane>,
}

/// A tenant, or nobody's: the public parts of logs, and reads of the server itself.
type Lane = Option<TenantId>;

#[derive(Default)]
struct OfTenant {
    running: usize,
    waiting: VecDeque<oneshot::Sender<Permit>>,
}

/// A place among the reads at once, given back when it is dropped.
pub struct Permit {
    state: Arc<Mutex<State>>,
    lane: Lane,
    limits: OfReads,
}

impl Reads {
    /// None is running.
    pub fn new(limits: OfReads) -> Reads {
        Reads { state: Arc::default(), limits }
    }

    /// Reads that run, and those that wait.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.running, state.tenants.values().map(|tenant| tenant.waiting.len()).sum())
    }

    /// Waits for a place. `None` when too many of this tenant wait already, or it took too long.
    pub async fn admit(&self, lane: Option<&TenantId>) -> Option<Permit> {
        let receiver = self.line_up(lane.cloned())?;
        let_in(&self.state, self.limits);
        tokio::time::timeout(self.limits.wait_max, receiver).await.ok()?.ok()
    }

    fn line_up(&self, lane: Lane) -> Option<oneshot::Receiver<Permit>> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state.lock();
        let of_tenant = state.tenants.entry(lane.clone()).or_default();
        // Who no longer waits takes no place.
        of_tenant.waiting.retain(|waiting| !waiting.is_closed());
        if of_tenant.waiting.len() >= self.limits.waiting_per_tenant_max {
            return None;
        }
        of_tenant.waiting.push_back(sender);
        if !state.turns.contains(&lane) {
            state.turns.push_back(lane);
        }
        Some(receiver)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back();
        let_in(&self.state, self.limits);
    }
}

impl Permit {
    fn give_back(&self) {
        let mut state = self.state.lock();
        state.running -= 1;
        if let Some(of_tenant) = state.tenants.get_mut(&self.lane) {
            of_tenant.running -= 1;
        }
        state.forget_idle(&self.lane);
    }
}

/// Gives free places to who waits.
fn let_in(state: &Arc<Mutex<State>>, limits: OfReads) {
    loop {
        let next = state.lock().next(limits);
        let Some((sender, lane)) = next else { return };
        // Who went away in the meantime gives the place back, by dropping the permit.
        drop(sender.send(Permit { state: state.clone(), lane, limits }));
    }
}

impl State {
    /// The next of those who wait, by turns of tenants; its place is counted.
    fn next(&mut self, limits: OfReads) -> Option<(oneshot::Sender<Permit>, Lane)> {
        for _ in 0..self.turns.len() {
            if self.running >= limits.running_max {
                return None;
            }
            let lane = self.turns.pop_front()?;
            let of_tenant = self.tenants.entry(lane.clone()).or_default();
            of_tenant.waiting.retain(|waiting| !waiting.is_closed());
            let may = of_tenant.running < limits.running_per_tenant_max;
            let sender = if may { of_tenant.waiting.pop_front() } else { None };
            if !of_tenant.waiting.is_empty() {
                self.turns.push_back(lane.clone());
            }
            if let Some(sender) = sender {
                of_tenant.running += 1;
                self.running += 1;
                return Some((sender, lane));
            }
            self.forget_idle(&lane);
        }
        None
    }

    fn forget_idle(&mut self, lane: &Lane) {
        if self.tenants.get(lane).is_some_and(|tenant| tenant.running == 0 && tenant.waiting.is_empty()) {
            self.tenants.remove(lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).expect("a tenant")
    }

    fn reads(running_max: usize, per_tenant: usize, waiting: usize, wait_max: Duration) -> Reads {
        let limits =
            OfReads { running_max, running_per_tenant_max: per_tenant, waiting_per_tenant_max: waiting, wait_max };
        Reads::new(limits)
    }

    #[tokio::test]
    async fn one_tenant_takes_no_place_of_another() {
        let reads = Arc::new(reads(4, 2, 3, LONG));
        let (loud, quiet) = (tenant("loud"), tenant("quiet"));
        let held = [reads.admit(Some(&loud)).await.expect("a place"), reads.admit(Some(&loud)).await.expect("a place")];
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let (reads, loud) = (reads.clone(), loud.clone());
                tokio::spawn(async move { reads.admit(Some(&loud)).await.is_some() })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(reads.counts(), (2, 3));
        assert!(reads.admit(Some(&loud)).await.is_none(), "three wait already");
        let _quiet = reads.admit(Some(&quiet)).await.expect("a place at once");
        drop(held);
        for waited in waiting {
            assert!(waited.await.expect("no panic"));
        }
        assert_eq!(reads.counts(), (1, 0));
    }

    #[tokio::test]
    async fn who_waits_is_let_in_by_turns_of_tenants() {
        let reads = Arc::new(reads(1, 1, 10, LONG));
        let held = reads.admit(Some(&tenant("x"))).await.expect("a place");
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for name in ["a", "a", "a", "b", "c", "b"] {
            let (reads, order) = (reads.clone(), order.clone());
            waiting.push(tokio::spawn(async move {
                let permit = reads.admit(Some(&tenant(name))).await.expect("a turn");
                order.lock().push(name);
                drop(permit);
            }));
            tokio::task::yield_now().await;
        }
        drop(held);
        for waited in waiting {
            waited.await.expect("no panic");
        }
        assert_eq!(*order.lock(), ["a", "b", "c", "a", "b", "a"]);
        assert_eq!(reads.counts(), (0, 0));
        assert!(reads.state.lock().tenants.is_empty(), "tenants that ask nothing are forgotten");
    }

    #[tokio::test]
    async fn who_waited_too_long_or_went_away_takes_no_place() {
        let reads = reads(1, 1, 1, Duration::ZERO);
        let held = reads.admit(Some(&tenant("a"))).await.expect("a place");
        for _ in 0..3 {
            assert!(reads.admit(Some(&tenant("a"))).await.is_none(), "the time is over");
        }
        drop(held);
        assert_eq!(reads.counts(), (0, 0));
        assert!(reads.admit(None).await.is_some() && reads.admit(Some(&tenant("a"))).await.is_some());
    }
}
