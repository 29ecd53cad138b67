//! What entries changed, decoded once for all subscribers: of the newest that were asked for, in bounded memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use pedigraph_proto::TenantId;

use crate::ask::answers::ViewChange;
use crate::error::Error;

/// Memory for the changes of a stripe, bytes: 16 MiB in all.
const STRIPE_BYTES_MAX: usize = 1 << 20;
/// Entries that are decoded at the same time.
const STRIPES: u64 = 16;
/// What is kept of an entry besides its changes, bytes.
const ENTRY_BYTES: usize = 200;

type Key = (TenantId, u64);
type Changes = Arc<[ViewChange]>;

/// The changes of entries, each entry in the stripe of its index.
pub(crate) struct Decoded {
    stripes: Vec<Mutex<Stripe>>,
}

struct Stripe {
    bytes_max: usize,
    bytes: usize,
    kept: BTreeMap<Key, Changes>,
    oldest_first: VecDeque<Key>,
}

impl Decoded {
    /// Nothing is kept yet.
    pub(crate) fn new() -> Decoded {
        Decoded { stripes: (0..STRIPES).map(|_| Mutex::new(Stripe::new(STRIPE_BYTES_MAX))).collect() }
    }

    /// The changes of an entry. Who comes while another decodes it waits, and shares what that one decoded.
    pub(crate) fn get(
        &self,
        tenant: &TenantId,
        index: u64,
        decode: impl FnOnce() -> Result<Vec<ViewChange>, Error>,
    ) -> Result<Changes, Error> {
        let stripe = usize::try_from(index % STRIPES).ok().and_then(|stripe| self.stripes.get(stripe));
        let Some(stripe) = stripe else { return Ok(decode()?.into()) };
        let (mut stripe, key) = (stripe.lock(), (tenant.clone(), index));
        if let Some(changes) = stripe.kept.get(&key) {
            return Ok(Arc::clone(changes));
        }
        let changes: Changes = decode()?.into();
        stripe.keep(key, &changes);
        Ok(changes)
    }
}

impl Stripe {
    fn new(bytes_max: usize) -> Stripe {
        Stripe { bytes_max, bytes: 0, kept: BTreeMap::new(), oldest_first: VecDeque::new() }
    }

    /// Keeps them; the oldest go when there is no more room.
    fn keep(&mut self, key: Key, changes: &Changes) {
        self.bytes += bytes_of(changes);
        self.kept.insert(key.clone(), Arc::clone(changes));
        self.oldest_first.push_back(key);
        while self.bytes > self.bytes_max {
            let oldest = self.oldest_first.pop_front().and_then(|key| self.kept.remove(&key));
            let Some(oldest) = oldest else { return };
            self.bytes -= bytes_of(&oldest);
        }
    }
}

fn bytes_of(changes: &[ViewChange]) -> usize {
    let of_one =
        |change: &ViewChange| size_of::<ViewChange>() + change.view.len() + change.subject.len() + change.change.len();
    ENTRY_BYTES + changes.iter().map(of_one).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use pedigraph_proto::Nanos;

    use super::*;

    fn change(index: u64, subject: &str) -> ViewChange {
        let (view, change) = ("lineage".to_owned(), "artifact-published".to_owned());
        ViewChange { index, n: 1, view, subject: subject.to_owned(), change, occurred_at: Nanos(0), verdict: None }
    }

    #[test]
    fn an_entry_is_decoded_once_for_all_who_ask_at_the_same_time() {
        let (decoded, times) = (Decoded::new(), AtomicUsize::new(0));
        let ask = |tenant: &str| {
            let decode = || {
                times.fetch_add(1, Ordering::Relaxed);
                Ok(vec![change(7, tenant)])
            };
            let tenant_id = TenantId::new(tenant).expect("a tenant");
            decoded.get(&tenant_id, 7, decode).expect("decoded")[0].subject.clone()
        };
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..32).map(|_| scope.spawn(|| ask("a"))).collect();
            assert!(all.into_iter().all(|one| one.join().expect("not panicked") == "a"));
        });
        assert_eq!(times.load(Ordering::Relaxed), 1);
        assert_eq!((ask("b"), times.load(Ordering::Relaxed)), ("b".to_owned(), 2));
    }

    #[test]
    fn what_is_kept_is_bounded_and_a_failure_is_not_kept() {
        let mut stripe = Stripe::new(10_000);
        let key = |index: u64| (TenantId::default(), index);
        for index in 0..1_000 {
            stripe.keep(key(index), &vec![change(index, &"x".repeat(700))].into());
            assert!(stripe.bytes <= 10_000);
        }
        assert!(stripe.kept.contains_key(&key(999)) && !stripe.kept.contains_key(&key(900)));
        assert_eq!(stripe.kept.len(), stripe.oldest_first.len());
        let decoded = Decoded::new();
        let failed = decoded.get(&TenantId::default(), 1, || Err(Error::Store("gone".into())));
        assert!(failed.is_err() && decoded.get(&TenantId::default(), 1, || Ok(vec![])).is_ok());
    }
}
