//! Places of one kind, such as streams, of which no tenant takes another's: with several tenants each may hold no more
//! than is free besides, so that somebody who comes later finds some.

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

/// A place, given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    of: Arc<Shares>,
    tenant: TenantId,
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
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.max.saturating_sub(held.all);
        let own = held.by_tenant.get(tenant).copied().unwrap_or(0);
        if free == 0 || (several && own >= free) {
            return None;
        }
        held.all += 1;
        held.by_tenant.insert(tenant.clone(), own + 1);
        Some(Share { of: Arc::clone(self), tenant: tenant.clone() })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.of.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.all -= 1;
        if let Some(own) = held.by_tenant.get_mut(&self.tenant) {
            *own -= 1;
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
