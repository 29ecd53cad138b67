//! Rows of aliases: what other digests are to a digest. Most digests have so few that one seek reads those of all roles,
//! and each is read once for a question. They do not change with `at`.

use std::cmp::Reverse;
use std::sync::Arc;

use pedigraph_proto::image::normal_platform;

use super::groups::Joined;
use super::identity::{Graph, fields};
use super::scope::Clocks;
use crate::error::Error;
use crate::facts::lineage::rows::table;
use crate::rows::stamp::Stamp;

/// Rows of manifests of an index, of indexes that list a manifest, and the like: more than members are taken. What is
/// cut here is told as members that are left out.
pub(super) const ALIASES_MAX: usize = 2_001;
/// Rows of one digest that are read at once, whatever their roles; of more each role is read by itself.
const AT_ONCE: usize = 16;

impl Graph<'_> {
    /// Digests in a role, in order, of so many rows: one for each platform.
    pub(super) fn others(&self, digest: &str, role: u8, rows: usize) -> Result<Vec<String>, Error> {
        Ok(self.joined_as(digest, role, rows)?.into_iter().map(|joined| joined.other).collect())
    }

    /// Digests in a role, sorted, with the platform where one is said; `true` where there are more than
    /// [`ALIASES_MAX`]. Identity does not change with `at`.
    pub(super) fn related(&self, digest: &str, role: u8) -> Result<(Vec<(String, String)>, bool), Error> {
        let joined = self.joined_as(digest, role, ALIASES_MAX)?;
        let cut = joined.len() == ALIASES_MAX;
        let named = |joined: Joined| (joined.other, normal_platform(&joined.platform));
        let mut related: Vec<(String, String)> = joined.into_iter().map(named).collect();
        related.sort_by(|a, b| (&a.0, Reverse(&a.1)).cmp(&(&b.0, Reverse(&b.1))));
        related.dedup_by(|later, earlier| later.0 == earlier.0 && (later.1.is_empty() || later.1 == earlier.1));
        Ok((related, cut))
    }

    /// So many rows of a digest in a role, in the order of keys.
    pub(super) fn joined_as(&self, digest: &str, role: u8, limit: usize) -> Result<Vec<Joined>, Error> {
        if let Some(few) = self.few_joined(digest)? {
            return Ok(few.iter().filter(|row| row.role == role).take(limit).cloned().collect());
        }
        let prefix = self.key(table::ALIAS).text(digest).byte(role);
        let rows = self.scope.keyed::<()>(&prefix, &prefix.prefix_end(), false, Clocks::Known, limit)?;
        Ok(rows.iter().filter_map(|(key, row)| read(key, row.stamp)).collect())
    }

    /// All rows of a digest, whatever their roles; `None` where there are many.
    fn few_joined(&self, digest: &str) -> Result<Option<Arc<Vec<Joined>>>, Error> {
        if let Some(known) = self.scope.groups.few.lock().get(digest) {
            return Ok(known.clone());
        }
        let prefix = self.key(table::ALIAS).text(digest);
        let rows = self.scope.keyed::<()>(&prefix, &prefix.prefix_end(), false, Clocks::Known, AT_ONCE)?;
        let joined = rows.iter().filter_map(|(key, row)| read(key, row.stamp));
        let few = (rows.len() < AT_ONCE).then(|| Arc::new(joined.collect::<Vec<_>>()));
        self.scope.groups.few.lock().insert(digest.to_owned(), few.clone());
        Ok(few)
    }
}

fn read(key: &[u8], stamp: Stamp) -> Option<Joined> {
    let mut reader = fields(key)?;
    reader.text()?;
    Some(Joined { role: reader.byte()?, other: reader.text()?, platform: reader.text()?, stamp })
}
