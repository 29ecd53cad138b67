//! Lines of versions: rank, what comes next, and the one derived parent of each (SPEC §3.1), from the rows that are derived
//! from them; and what a version is, for who derives those.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::calls::NewCalls;
use super::edges::Pairs;
use super::identity::{Graph, LineKey, Profile};
use super::scope::Scope;
use crate::error::Error;
use crate::facts::lineage::tag_order::TagVersion;
use crate::facts::lines::after::Change;
use crate::facts::lines::rows::{FoundBy, LineId, Pos, Tags, Version, id_of};
use crate::facts::lines::{Goes, Lines};
use crate::rows::stamp::Stamp;

/// Versions after one that are looked at for the next that is free of something.
const NEXT_VERSIONS_MAX: usize = 1_000;
/// Versions after one version that are listed as its children.
const CHILDREN_MAX: usize = 2_000;

impl Graph<'_> {
    fn rows_of_lines(&self) -> Lines<'_> {
        Lines::below(&self.lines, &self.scope.tenant, self.scope.bound)
    }

    /// Rank by (createdAt, digest) in its line, from 1; it is the only member where no repository is known.
    pub(super) fn sequence_number(&self, profile: &Profile) -> Result<u64, Error> {
        let Some(line) = line_id(&profile.line) else { return Ok(1) };
        Ok(self.rows_of_lines().rank(&line, &pos_of(profile))?.unwrap_or(0))
    }

    /// The derived parent of a version, how it was found and what proves it.
    pub(super) fn derived_parent(&self, profile: &Profile) -> Result<Option<(String, FoundBy, Stamp)>, Error> {
        let Some(line) = line_id(&profile.line) else { return Ok(None) };
        let Some((parent, how)) = self.rows_of_lines().parent(&line, &profile.digest)? else { return Ok(None) };
        let is_later = how != FoundBy::Semver && self.is_later_version(&parent, profile)?;
        Ok((!is_later).then_some((parent, how, profile.created)))
    }

    /// Whether an artifact may come after a version by their numbers, which a tag or the order of digests does not undo:
    /// of those that are published at one moment the lowest would come after the greatest, in a circle.
    fn is_later_version(&self, other: &str, than: &Profile) -> Result<bool, Error> {
        let Some(other) = self.known_profile(other)? else { return Ok(false) };
        let is_greater = other.version.as_ref().zip(than.version.as_ref()).is_some_and(|(other, than)| other > than);
        Ok(is_greater && other.published >= than.published)
    }

    /// Versions that have this one as their derived parent; whether there are more.
    pub(super) fn derived_children(&self, profile: &Profile) -> Result<(Vec<String>, bool), Error> {
        let Some(line) = line_id(&profile.line) else { return Ok((vec![], false)) };
        let mut children = self.rows_of_lines().children(&line, &profile.digest, "", CHILDREN_MAX + 1)?;
        let cut = children.len() > CHILDREN_MAX;
        children.truncate(CHILDREN_MAX);
        Ok((children, cut))
    }

    /// Versions to which an entry gave another derived parent, after one of them, at most `limit`.
    pub(super) fn moved_in(&self, index: u64, after: &str, limit: usize) -> Result<Vec<String>, Error> {
        self.rows_of_lines().moved_in(index, after, limit)
    }

    /// Whether an entry gave a version another derived parent.
    pub(super) fn is_moved_in(&self, index: u64, digest: &str) -> Result<bool, Error> {
        self.rows_of_lines().is_moved_in(index, digest)
    }

    /// Versions that have this one as their derived parent, after one of them, at most `limit`.
    pub(super) fn derived_children_after(
        &self,
        profile: &Profile,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let Some(line) = line_id(&profile.line) else { return Ok(vec![]) };
        self.rows_of_lines().children(&line, &profile.digest, after, limit)
    }

    /// The first of the next [`NEXT_VERSIONS_MAX`] versions of an artifact's line that passes, as answers refer to it.
    /// A lower version that came later, such as a patch of an older one, is no next version.
    pub(crate) fn next_version(
        &self,
        digest: &str,
        mut passes: impl FnMut(&str) -> Result<bool, Error>,
    ) -> Result<Option<String>, Error> {
        let Some(profile) = self.profile(digest)? else { return Ok(None) };
        let Some(line) = line_id(&profile.line) else { return Ok(None) };
        let (mut looked_at, mut found) = (0, None);
        self.rows_of_lines().each_place(&line, &pos_of(&profile), Goes::Up, |pos| {
            let Some(later) = self.profile(&pos.digest)? else { return Ok(ControlFlow::Continue(())) };
            if later.version.as_ref().zip(profile.version.as_ref()).is_some_and(|(later, here)| later < here) {
                return Ok(ControlFlow::Continue(()));
            }
            if passes(&later.digest)? {
                found = Some(later.reference.clone());
                return Ok(ControlFlow::Break(()));
            }
            looked_at += 1;
            Ok(if looked_at == NEXT_VERSIONS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(found)
    }

    /// The line that an artifact is a version of; `None` where it is a line of its own.
    pub(super) fn line_of(&self, digest: &str) -> Result<Option<LineId>, Error> {
        Ok(self.profile(digest)?.and_then(|profile| line_id(&profile.line)))
    }

    /// Versions of a line, the newest first, at most so many; whether there are more.
    pub(super) fn newest_of_line(&self, line: &LineId, most: usize) -> Result<(Vec<String>, bool), Error> {
        let (mut versions, mut cut) = (Vec::new(), false);
        // Digests begin with a letter below it.
        let end = Pos { time: i64::MAX, digest: "~".to_owned() };
        self.rows_of_lines().each_place(line, &end, Goes::Down, |pos| {
            cut = versions.len() == most;
            if cut {
                return Ok(ControlFlow::Break(()));
            }
            versions.push(pos.digest);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((versions, cut))
    }

    /// What an artifact is a version of, by its canonical digest; without its tags, which may be very many.
    fn version_of(&self, digest: &str) -> Result<Option<Version>, Error> {
        let profile = self.known_profile(digest)?.filter(|profile| profile.digest == digest);
        let Some(profile) = profile else { return Ok(None) };
        let Some(line) = line_id(&profile.line) else { return Ok(None) };
        Ok(Some(Version {
            line,
            pos: pos_of(&profile),
            published: profile.published,
            version: profile.version.as_ref().map(TagVersion::sort_key),
            tags: BTreeSet::new(),
            above: self.above_of(digest)?,
        }))
    }

    /// What parents and children of an artifact hang on of itself besides what it is a version of, by its canonical digest.
    pub(super) fn stands_as(&self, digest: &str) -> Result<Option<StandsAs>, Error> {
        let profile = self.known_profile(digest)?.filter(|profile| profile.digest == digest);
        let Some(profile) = profile else { return Ok(None) };
        let declares = self.declares(&profile, &mut false)?;
        Ok(Some(StandsAs { group: profile.group.clone(), declares }))
    }

    fn tags_of_version(&self, digest: &str) -> Result<Tags, Error> {
        self.known_profile(digest)?.map_or_else(|| Ok(BTreeSet::new()), |profile| self.called(&profile))
    }

    /// The tags that it was called by, and when.
    fn called(&self, profile: &Profile) -> Result<Tags, Error> {
        let (tags, _) = self.tags_of(profile)?;
        Ok(tags.iter().map(|tagged| (id_of(&[&tagged.repository, &tagged.tag]), tagged.stamp.order())).collect())
    }

    fn above_of(&self, digest: &str) -> Result<BTreeSet<String>, Error> {
        Ok(self.above(digest)?.digests().cloned().collect())
    }

    fn below_of(&self, digest: &str) -> Result<BTreeSet<String>, Error> {
        Ok(self.below(digest)?.digests().cloned().collect())
    }
}

/// `None` where no repository is known: then it is a line of its own.
fn line_id(line: &LineKey) -> Option<LineId> {
    let LineKey { repository, kind, platform, variant } = line;
    (!repository.is_empty()).then(|| id_of(&[repository, &kind.to_string(), platform, variant]))
}

fn pos_of(profile: &Profile) -> Pos {
    Pos { time: profile.created.time, digest: profile.digest.clone() }
}

/// What parents and children of an artifact hang on of itself.
#[derive(PartialEq, Eq)]
pub(super) struct StandsAs {
    group: Vec<String>,
    declares: Pairs,
}

/// What artifacts are versions of before and after an entry.
pub(crate) struct Versions<'a> {
    before: Graph<'a>,
    after: Graph<'a>,
}

impl<'a> Versions<'a> {
    pub(crate) fn new(before: &'a Scope, after: &'a Scope) -> Versions<'a> {
        Versions { before: Graph::new(before), after: Graph::new(after) }
    }

    /// The artifact that a digest is of, with the entry.
    pub(crate) fn canonical(&self, digest: &str) -> Result<String, Error> {
        self.after.canonical(digest)
    }

    /// Every artifact that may be another version since an entry joins some digests to others: they, what they were one
    /// with and are now, and all below them. Indexes are walked once for all of them.
    pub(crate) fn changed_with_all(&self, joined: &BTreeSet<&str>) -> Result<BTreeSet<String>, Error> {
        let mut one = BTreeSet::new();
        for digest in joined {
            for graph in [&self.before, &self.after] {
                one.extend(graph.group_with_configs(digest)?);
            }
        }
        let mut changed = BTreeSet::new();
        for graph in [&self.before, &self.after] {
            let artifacts = one.iter().map(|digest| graph.canonical(digest)).collect::<Result<BTreeSet<_>, _>>()?;
            changed.extend(graph.all_below(&artifacts)?);
            changed.extend(artifacts);
        }
        Ok(changed)
    }

    /// Every artifact that may be another version since an entry names a digest or says what it is joined to: it, what it
    /// was one with and is now, and where indexes above it changed what is below it.
    pub(crate) fn changed_with(&self, touched: &str) -> Result<Vec<String>, Error> {
        let (before, after) = (self.before.group_with_configs(touched)?, self.after.group_with_configs(touched)?);
        let mut changed = BTreeSet::new();
        for digest in before.union(&after) {
            changed.insert(self.before.canonical(digest)?);
            changed.insert(self.after.canonical(digest)?);
        }
        if before != after || self.before.above_of(touched)? != self.after.above_of(touched)? {
            for digest in changed.clone() {
                changed.extend(self.before.below_of(&digest)?);
                changed.extend(self.after.below_of(&digest)?);
            }
        }
        Ok(changed.into_iter().collect())
    }

    /// What becomes of an artifact. Where it stands as before, its tags are those alone that the entry changes.
    pub(crate) fn change(&self, digest: &str) -> Result<Change, Error> {
        let (old, new) = (self.before.version_of(digest)?, self.after.version_of(digest)?);
        let mut change = Change { digest: digest.to_owned(), old, new, calls_ends: vec![] };
        let (before, after) = (self.before.group(digest)?, self.after.group(digest)?);
        let is_it = after.digests.first().is_some_and(|first| first == digest);
        let calls = NewCalls::read(&self.before, &self.after, if is_it { &after.digests } else { &[] })?;
        change.calls_ends =
            calls.ends.iter().filter_map(|(digest, end)| Some((digest.clone(), end.clone()?))).collect();
        let is_as_before = before.digests == after.digests && change.old.is_some() && change.new.is_some();
        let Change { old, new, .. } = &mut change;
        if is_as_before && old.as_ref().map(Version::stands) == new.as_ref().map(Version::stands) {
            let tags = calls.tags(&self.before, &self.after, &after.digests)?;
            if let Some((old, new)) = old.as_mut().zip(new.as_mut()) {
                (old.tags, new.tags) = tags;
            }
            return Ok(change);
        }
        for (graph, version) in [(&self.before, old), (&self.after, new)] {
            if let Some(version) = version {
                version.tags = graph.tags_of_version(digest)?;
            }
        }
        Ok(change)
    }

    /// What an artifact is a version of after the entry, without its tags.
    pub(crate) fn after(&self, digest: &str) -> Result<Option<Version>, Error> {
        self.after.version_of(digest)
    }

    /// The tags that it has after the entry.
    pub(crate) fn tags_after(&self, digest: &str) -> Result<Tags, Error> {
        self.after.tags_of_version(digest)
    }
}
