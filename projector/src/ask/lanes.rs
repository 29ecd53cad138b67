//! Where a service is, and under which keys an artifact was deployed: from the small side.

use std::ops::ControlFlow;

use super::scope::{Clocks, Scope};
use crate::error::Error;
use crate::facts::deployments::rows::{DIGEST, LANES, REFERENCE, SERVICES, TAGGED, by_artifact, table_key, unreadable};
use crate::store::key::Key;

impl Scope {
    /// Environments in which a service of this name was ever deployed, by name: the first ones.
    pub(crate) fn environments_of_service(&self, service: &str, limit: usize) -> Result<Vec<String>, Error> {
        let mut environments = Vec::new();
        let _cut = self.each_environment_of(service, None, &mut |environment| {
            if environments.len() >= limit {
                return Ok(ControlFlow::Break(()));
            }
            if self.has_service(environment, service)? {
                environments.push(environment.to_owned());
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(environments)
    }

    /// Visits the environments in which a service of this name may have been deployed, by name, after one of them: by a
    /// seek each.
    pub(super) fn each_environment_of(
        &self,
        service: &str,
        after: Option<&str>,
        visit: &mut dyn FnMut(&str) -> Result<ControlFlow<()>, Error>,
    ) -> Result<ControlFlow<()>, Error> {
        let prefix = self.table(SERVICES).text(service);
        let mut from = after.map_or_else(|| prefix.clone(), |after| prefix.clone().text(after).prefix_end());
        while let Some((key, _)) = self.keyed::<()>(&from, &prefix.prefix_end(), false, Clocks::Known, 1)?.first() {
            let mut reader = table_key(key)?;
            let environment = reader.text().and_then(|_| reader.text()).ok_or_else(unreadable)?;
            from = prefix.clone().text(&environment).prefix_end();
            if visit(&environment)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The beginnings of keys under which rows of an artifact lie that was deployed by this digest, or by a tag that ever
    /// pointed at it.
    pub(super) fn deployed_as(&self, digest: &str) -> Result<Vec<Key>, Error> {
        let mut prefixes = vec![by_artifact(&self.tenant, DIGEST, digest)];
        let tags = self.table(TAGGED).text(digest);
        self.each::<()>(&tags, &tags.prefix_end(), false, Clocks::Known, |key, _| {
            let mut reader = table_key(key)?;
            let reference = reader.text().and_then(|_| reader.text()).ok_or_else(unreadable)?;
            prefixes.push(by_artifact(&self.tenant, REFERENCE, &reference));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(prefixes)
    }

    /// Whether anything was ever deployed there as a service of this name.
    pub(super) fn has_service(&self, environment: &str, service: &str) -> Result<bool, Error> {
        for lane in self.lanes_of(&self.table(LANES).text(environment).text(service))? {
            if self.is_lane_known(&lane)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
