//! What stands behind a name that is no artifact's: what was built from a commit or by a run, what a vulnerability was
//! named for.

use std::collections::BTreeSet;

use super::answers::Candidate;
use super::identity::{Graph, fields};
use super::refs::artifact_candidate;
use super::scope::Scope;
use crate::error::Error;
use crate::facts::lineage::rows::table;

/// Rows that one list is made of.
const ROWS_MAX: usize = 1_000;

impl Scope {
    /// Artifacts that were built from a commit, whole or its beginning, by digest; at most `limit`.
    pub fn built_from_commit(&self, commit: &str, limit: usize) -> Result<Vec<Candidate>, Error> {
        let graph = Graph::new(self);
        graph.named(graph.by_commit(commit)?, limit)
    }

    /// Artifacts that a run made, or runs of one id of several sources, by digest; at most `limit`.
    pub fn built_by_run(&self, run: &str, limit: usize) -> Result<Vec<Candidate>, Error> {
        let graph = Graph::new(self);
        graph.named(graph.texts_at(table::PRODUCTS, run, 2)?, limit)
    }

    /// Artifacts that findings or statements name a vulnerability for, by digest; at most `limit`. What they say is
    /// with each artifact.
    pub fn named_for_vulnerability(&self, id: &str, limit: usize) -> Result<Vec<Candidate>, Error> {
        let graph = Graph::new(self);
        graph.named(graph.texts_at(table::VULNERABILITIES, &id.to_ascii_uppercase(), 1)?, limit)
    }
}

impl Graph<'_> {
    /// The texts after `skip` others of the keys that begin with `first`.
    fn texts_at(&self, table: u8, first: &str, skip: usize) -> Result<Vec<String>, Error> {
        let prefix = self.key(table).text(first);
        let rows = self.scope.scan(prefix.as_bytes(), prefix.prefix_end().as_bytes(), false, ROWS_MAX)?;
        let read = |key: &[u8]| {
            let mut reader = fields(key)?;
            (0..skip).try_for_each(|_| reader.text().map(drop))?;
            reader.text()
        };
        Ok(rows.iter().filter_map(|(key, _)| read(key)).collect())
    }

    /// Known artifacts among digests, each once.
    fn named(&self, digests: Vec<String>, limit: usize) -> Result<Vec<Candidate>, Error> {
        let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
        for digest in digests {
            let Some(profile) = self.profile(&digest)?.filter(|profile| seen.insert(profile.digest.clone())) else {
                continue;
            };
            if found.len() == limit {
                break;
            }
            found.push(artifact_candidate(&profile.digest, &profile.reference));
        }
        Ok(found)
    }
}
