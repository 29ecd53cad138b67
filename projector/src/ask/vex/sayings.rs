//! What is said of vulnerabilities, kept from entry to entry for a view that works them off in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use pedigraph_proto::TenantId;

use super::names::Names;
use super::said::Said;
use crate::ask::scope::Scope;
use crate::error::Error;

/// Vulnerabilities that are kept of all tenants together; of more, all are read again.
const SAID_KEPT_MAX: usize = 2_048;
/// Statements, packages and advisories of one of them; what has more is read again.
const THINGS_KEPT_MAX: usize = 256;

/// What is kept. It is a copy of rows and may be dropped at any time.
#[derive(Default)]
pub(crate) struct Sayings(Mutex<BTreeMap<TenantId, OfTenant>>);

#[derive(Default)]
struct OfTenant {
    /// The entry that was worked off last.
    index: u64,
    said: BTreeMap<String, Arc<Said>>,
}

impl Sayings {
    /// Goes on with an entry. What was read for a later one is of no use: the views were opened again, or begun anew.
    pub(crate) fn go_on(&self, tenant: &TenantId, index: u64) {
        let mut all = self.0.lock();
        let of_tenant = all.entry(tenant.clone()).or_default();
        if index < of_tenant.index {
            of_tenant.said.clear();
        }
        of_tenant.index = index;
    }

    /// What is said of a vulnerability, by one of its names in keys.
    pub(crate) fn of(&self, scope: &Scope, names: &Names<'_>, name: &str) -> Result<Arc<Said>, Error> {
        let known = self.0.lock().get(&scope.tenant).and_then(|of_tenant| of_tenant.said.get(name).cloned());
        if let Some(known) = known.filter(|said| said.kept() <= THINGS_KEPT_MAX) {
            return Ok(known);
        }
        let said = Arc::new(Said::called(names.of(name)?));
        let mut all = self.0.lock();
        if all.values().map(|of_tenant| of_tenant.said.len()).sum::<usize>() >= SAID_KEPT_MAX {
            all.values_mut().for_each(|of_tenant| of_tenant.said.clear());
        }
        all.entry(scope.tenant.clone()).or_default().said.insert(name.to_owned(), said.clone());
        Ok(said)
    }

    /// An entry says something of these, by all of their names; of which ones is not told where it says very much.
    pub(crate) fn forget(&self, tenant: &TenantId, names: Option<&BTreeSet<String>>) {
        let mut all = self.0.lock();
        let Some(of_tenant) = all.get_mut(tenant) else { return };
        of_tenant
            .said
            .retain(|name, said| names.is_some_and(|names| !names.contains(name) && said.names().is_disjoint(names)));
    }
}
