//! What stands behind a name that is no artifact's: what was built from a commit or by a run. Lists go from one artifact
//! to the next by one seek each, however often each is named.

use super::answers::{Candidate, Page};
use super::identity::{Graph, fields};
use super::refs::{artifact_candidate, commit_text};
use super::scope::{Clocks, Scope};
use crate::error::Error;
use crate::facts::deployments::rows::unreadable;
use crate::facts::lineage::rows::table;
use crate::store::key::Key;

/// Digests that one page looks at; most are rows of it.
const LOOKS_MAX: usize = 10_000;

/// A list of what is named by keys (two texts, digest, stamp).
struct Listed<'a> {
    table: u8,
    prefix: Key,
    /// A digest may be left out.
    wanted: &'a dyn Fn(&str) -> Result<bool, Error>,
}

impl Scope {
    /// Artifacts that were built from a commit, whole or its beginning, by commit, pipeline and digest: at most `limit`
    /// after a page's key. An index stands for its manifests.
    pub fn built_from_commit(
        &self,
        commit: &str,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page<Candidate>, Error> {
        let graph = Graph::new(self);
        let Some(commit) = commit_text(commit) else { return Ok(Page { rows: vec![], next: None }) };
        let prefix = graph.key(table::BUILT_FROM).text_prefix(&commit);
        let wanted = |digest: &str| graph.stands_for_itself(digest, &commit);
        let listed = Listed { table: table::BUILT_FROM, prefix, wanted: &wanted };
        graph.named(&listed, after, limit)
    }

    /// Artifacts that a run made, or runs of one id of several sources, by source and digest: at most `limit` after a
    /// page's key.
    pub fn built_by_run(&self, run: &str, after: Option<&[u8]>, limit: usize) -> Result<Page<Candidate>, Error> {
        let graph = Graph::new(self);
        let prefix = graph.key(table::PRODUCTS).text(run);
        graph.named(&Listed { table: table::PRODUCTS, prefix, wanted: &|_| Ok(true) }, after, limit)
    }
}

impl Graph<'_> {
    /// Known artifacts of a list, each once where what comes before the digest is the same.
    fn named(&self, listed: &Listed<'_>, after: Option<&[u8]>, limit: usize) -> Result<Page<Candidate>, Error> {
        let table = self.key(listed.table);
        let end = listed.prefix.prefix_end();
        let mut from = after.map_or(listed.prefix.clone(), |after| table.clone().bytes(after).prefix_end());
        let mut page = Page { rows: Vec::new(), next: None };
        for _ in 0..LOOKS_MAX {
            let Some((key, _)) = self.scope.keyed::<()>(&from, &end, false, Clocks::Both, 1)?.pop() else {
                return Ok(Page { next: None, ..page });
            };
            let mut reader = fields(&key).ok_or_else(unreadable)?;
            let before = (0..2).try_fold(table.clone(), |key, _| Some(key.text(&reader.text()?)));
            let (before, digest) = before.zip(reader.text()).ok_or_else(unreadable)?;
            let here = before.clone().text(&digest);
            from = here.prefix_end();
            if let Some(candidate) = self.candidate_of(listed, &before, &digest)? {
                if page.rows.len() == limit {
                    return Ok(page);
                }
                page.rows.push(candidate);
            }
            page.next = here.as_bytes().get(table.as_bytes().len()..).map(<[u8]>::to_vec);
        }
        Ok(page)
    }

    /// The artifact of a digest, unless the list has it by a lower digest of it.
    fn candidate_of(&self, listed: &Listed<'_>, before: &Key, digest: &str) -> Result<Option<Candidate>, Error> {
        let Some(profile) = self.profile(digest)? else { return Ok(None) };
        for other in profile.group.iter().filter(|other| other.as_str() < digest) {
            let key = before.clone().text(other);
            if !self.scope.keyed::<()>(&key, &key.prefix_end(), false, Clocks::Both, 1)?.is_empty() {
                return Ok(None);
            }
        }
        let wanted = (listed.wanted)(&profile.digest)?;
        Ok(wanted.then(|| artifact_candidate(&profile.digest, &profile.reference)))
    }
}
