//! The versions that have one as a parent, however many: a place at a time.

use serde::{Deserialize, Serialize};

use super::identity::{Graph, Profile};
use crate::error::Error;
use crate::facts::lineage::rows::table;

/// Where a walk over children goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ChildPlace {
    /// Among those that were found to be children, after one; an empty one is before the first.
    Found(String),
    /// Among those that are declared, of the n-th digest of the parent, after one.
    Declared(u32, String),
}

impl ChildPlace {
    /// At the first one.
    pub(crate) fn first() -> ChildPlace {
        ChildPlace::Found(String::new())
    }

    /// At the first of those that are declared.
    fn first_declared() -> ChildPlace {
        ChildPlace::Declared(0, String::new())
    }
}

impl Graph<'_> {
    /// Versions that have an artifact as a parent, whatever `at` is, from a place on, about `limit`.
    pub(super) fn children_from(
        &self,
        digest: &str,
        from: ChildPlace,
        limit: usize,
    ) -> Result<(Vec<String>, Option<ChildPlace>), Error> {
        let Some(profile) = self.known_profile(digest)?.filter(|profile| profile.digest == digest) else {
            return Ok((vec![], None));
        };
        match from {
            ChildPlace::Found(after) => self.found_children(&profile, &after, limit),
            ChildPlace::Declared(n, after) => self.declared_children(&profile, (n, &after), limit),
        }
    }

    fn found_children(
        &self,
        profile: &Profile,
        after: &str,
        limit: usize,
    ) -> Result<(Vec<String>, Option<ChildPlace>), Error> {
        let found = self.derived_children_after(profile, after, limit)?;
        let goes_on = found.last().filter(|_| found.len() == limit);
        let next = goes_on.map_or_else(ChildPlace::first_declared, |last| ChildPlace::Found(last.clone()));
        let mut children = Vec::new();
        for child in found {
            let Some(child) = self.known_profile(&child)? else { continue };
            if self.declared(&child, &mut false)?.is_empty() {
                children.push(child.digest.clone());
            }
        }
        Ok((children, Some(next)))
    }

    /// Of the n-th digest of the parent.
    fn declared_children(
        &self,
        profile: &Profile,
        (n, after): (u32, &str),
        limit: usize,
    ) -> Result<(Vec<String>, Option<ChildPlace>), Error> {
        let Some(digest) = usize::try_from(n).ok().and_then(|n| profile.group.get(n)) else {
            return Ok((vec![], None));
        };
        let found = self.scope.texts_after(&self.key(table::CHILDREN).text(digest), after, limit)?;
        let goes_on = found.last().filter(|_| found.len() == limit);
        let next =
            goes_on.map_or(ChildPlace::Declared(n + 1, String::new()), |last| ChildPlace::Declared(n, last.clone()));
        let children = found.iter().map(|child| self.canonical(child)).collect::<Result<_, _>>()?;
        Ok((children, Some(next)))
    }
}
