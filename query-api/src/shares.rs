//! Places of one kind, such as streams or bytes of memory, of which no tenant takes another's: with several tenants each
//! may hold no more than is free besides, so that somebody who comes later finds some.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use pedigraph_proto::TenantId;

/// A bounded number of places.
#[derive(Debug)]
pub struct Shares {
    max: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    /// Only of tenants that hold any.
    by_tenant: BTreeMap<TenantId, usize>,
}

/// Places, given back when this is dropped.
#[derive(Debug)]
pub struct Share {
    of: Arc<Shares>,
    tenant: TenantId,
    count: usize,
}

impl Shares {
    /// All free.
    pub fn new(max: usize) -> Arc<Shares> {
        Arc::new(Shares { max, held: Mutex::default() })
    }

    /// How many there are.
    pub fn max(&self) -> usize {
        self.max
    }

    /// A place for a tenant, if there is one for it. A tenant among `several` leaves as many free as it holds: alone it
    /// gets half of all, a second one a quarter, and so on.
    pub fn take(self: &Arc<Shares>, tenant: &TenantId, several: bool) -> Option<Share> {
        self.take_many(tenant, 1, several)
    }

    /// How many are held.
    pub fn held(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).all
    }

    /// So many places at once, as [`Shares::take`].
    pub fn take_many(self: &Arc<Shares>, tenant: &TenantId, count: usize, several: bool) -> Option<Share> {
        let mut share = Share { of: Arc::clone(self), tenant: tenant.clone(), count: 0 };
        share.grow_to(count, several).then_some(share)
    }
}

impl Share {
    /// Takes more places, as [`Shares::take`], up to so many; `false` if there are too few: then it stays as it is.
    pub fn grow_to(&mut self, count: usize, several: bool) -> bool {
        let more = count.saturating_sub(self.count);
        let mut held = self.of.held.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.of.max.saturating_sub(held.all);
        let own = held.by_tenant.get(&self.tenant).copied().unwrap_or(0);
        let Some(besides) = free.checked_sub(more) else { return false };
        if several && more > 0 && own.saturating_add(more) > besides {
            return false;
        }
        held.all += more;
        held.by_tenant.insert(self.tenant.clone(), own + more);
        self.count += more;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.of.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.all -= self.count;
        if let Some(own) = held.by_tenant.get_mut(&self.tenant) {
            *own -= self.count;
            if *own == 0 {
                held.by_tenant.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).expect("a tenant")
    }

    #[test]
    fn one_tenant_alone_has_all_places() {
        let shares = Shares::new(3);
        let held: Vec<_> = (0..4).filter_map(|_| shares.take(&tenant("a"), false)).collect();
        assert_eq!(held.len(), 3);
        drop(held);
        assert!(shares.take(&tenant("a"), false).is_some());
    }

    #[test]
    fn places_are_taken_many_at_once_or_none() {
        let shares = Shares::new(100);
        let a = shares.take_many(&tenant("a"), 50, true).expect("half of all");
        assert!(shares.take_many(&tenant("a"), 1, true).is_none(), "more than is free besides");
        assert!(shares.take_many(&tenant("b"), 26, true).is_none() && shares.held() == 50);
        let b = shares.take_many(&tenant("b"), 25, true).expect("half of the rest");
        let none = shares.take_many(&tenant("a"), 0, true).expect("nothing is always there");
        drop((a, none));
        assert_eq!(shares.held(), 25);
        drop(b);
        assert_eq!(shares.held(), 0);
        assert!(shares.take_many(&tenant("a"), 100, false).is_some());
    }

    #[test]
    fn a_share_grows_as_far_as_there_is_room() {
        let shares = Shares::new(64);
        let mut a = shares.take_many(&tenant("a"), 0, true).expect("nothing");
        assert!((1..=20).all(|count| a.grow_to(count, true)) && shares.held() == 20);
        let mut b = shares.take_many(&tenant("b"), 15, true).expect("room");
        assert!(!a.grow_to(30, true) && shares.held() == 35, "more than is free besides");
        assert!(b.grow_to(22, true) && !b.grow_to(23, true), "half of what is not a's");
        drop(b);
        assert!(a.grow_to(32, true) && a.grow_to(7, true) && shares.held() == 32, "it never shrinks");
        drop(a);
        assert_eq!(shares.held(), 0);
    }

    #[test]
    fn no_tenant_takes_the_places_of_those_who_come_later() {
        let shares = Shares::new(16);
        let greedy = |name: &str| (0..16).filter_map(|_| shares.take(&tenant(name), true)).collect::<Vec<_>>();
        let a = greedy("a");
        let b = greedy("b");
        let c = greedy("c");
        assert_eq!((a.len(), b.len(), c.len()), (8, 4, 2));
        drop(a);
        assert_eq!(greedy("d").len(), 5);
        assert!(shares.take(&tenant("b"), true).is_some());
        drop((b, c));
        assert!(shares.held.lock().expect("held").by_tenant.is_empty());
    }
}
