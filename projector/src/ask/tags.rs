//! Tags over time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use pedigraph_proto::{ArtifactRef, Nanos};

use super::answers::Tag;
use super::identity::{Graph, Profile, fields, read_stamp, stamp_at_end};
use super::scope::{Clocks, FEW_ROWS, Scope};
use crate::error::Error;
use crate::facts::deployments::rows::unreadable;
use crate::facts::lineage::rows::{FirstCalled, key, table};
use crate::rows::stamp::{Order, Stamp};
use crate::rows::text::Text;

/// Tags of one artifact that an answer lists.
pub const TAGS_MAX: usize = 200;
/// Moves to one digest that are read for it: some are none, where a tag went from one digest of an artifact to another.
const MOVES_READ_MAX: usize = 2 * TAGS_MAX;

impl Scope {
    /// What a tag pointed at, at a time: digest as written by the event and index of its entry; `None` when it was
    /// unknown or gone.
    pub(crate) fn tag_at(&self, repository: &str, tag: &str, time: Nanos) -> Result<Option<(String, u64)>, Error> {
        let newest = self.newest_at(table::TAGS, repository, tag, time)?;
        Ok(newest.filter(|(digest, _)| !digest.is_empty()))
    }

    /// As [`Scope::tag_at`], but where nothing ever bound the tag until then, what was last called so.
    pub(crate) fn named_at(&self, repository: &str, tag: &str, time: Nanos) -> Result<Option<String>, Error> {
        let bound = self.newest_at(table::TAGS, repository, tag, time)?;
        let found = match bound {
            Some(_) => bound,
            None => self.newest_at(table::NAMED, repository, tag, time)?,
        };
        Ok(found.map(|(digest, _)| digest).filter(|digest| !digest.is_empty()))
    }

    /// The newest row of a tag at a time: its digest and the index of its entry.
    fn newest_at(&self, of: u8, repository: &str, tag: &str, time: Nanos) -> Result<Option<(String, u64)>, Error> {
        let prefix = key(&self.tenant, of).text(repository).text(tag);
        let to = match time.0.checked_add(1) {
            Some(after) => prefix.clone().time(Nanos(after)),
            None => prefix.prefix_end(),
        };
        let newest = self.keyed::<Text>(&prefix, &to, true, Clocks::Both, 1)?.pop();
        Ok(newest.map(|(_, row)| (row.value.0, row.stamp.index)))
    }

    /// Whether a tag pointed at a digest, at any time. It reads the tags of the digest, the newest
    /// [`MOVES_READ_MAX`] of them.
    pub(crate) fn was_tagged(&self, digest: &str, repository: &str, tag: &str) -> Result<bool, Error> {
        let moves = self.moves_onto(digest, None)?;
        Ok(moves.iter().any(|(_, of, called)| of == repository && called == tag))
    }

    /// When which tags began to point at a digest, up to a moment: the newest [`MOVES_READ_MAX`].
    fn moves_onto(&self, digest: &str, at: Option<Nanos>) -> Result<Vec<(Stamp, String, String)>, Error> {
        let prefix = key(&self.tenant, table::MOVES_TO).text(digest);
        let rows = self.keyed::<()>(&prefix, &prefix.clone().until(at), true, Clocks::Known, MOVES_READ_MAX)?;
        rows.iter().map(|(key, _)| move_of(key).ok_or_else(unreadable)).collect()
    }

    /// The digest that a reference with a tag named at a time; `None` while that is unknown.
    pub(crate) fn tagged_digest(&self, reference: &str, time: Nanos) -> Result<Option<String>, Error> {
        let Some(reference) = ArtifactRef::parse(reference).filter(|reference| !reference.tag.is_empty()) else {
            return Ok(None);
        };
        Ok(self.tag_at(&reference.repository_key(), &reference.tag, time)?.map(|(digest, _)| digest))
    }
}

/// A tag began to point at an artifact.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Move {
    /// Key of the repository.
    pub(super) repository: String,
    pub(super) tag: String,
    /// Which of its digests it points at since then.
    pub(super) digest: String,
    pub(super) from: Stamp,
    /// Since when it points elsewhere; absent while it does not.
    pub(super) until: Option<Stamp>,
}

impl Graph<'_> {
    /// Every stretch in which a tag pointed at an artifact, newest first. `true` when the list was cut.
    pub(super) fn tags(&self, profile: &Profile) -> Result<(Vec<Tag>, bool), Error> {
        let (moves, cut) = self.moves_to(&profile.group.iter().cloned().collect(), self.scope.at)?;
        let mut tags = moves.iter().map(|to| self.tag(to)).collect::<Result<Vec<Tag>, Error>>()?;
        tags.sort_by(|a, b| b.from.cmp(&a.from).then_with(|| a.name.cmp(&b.name)));
        Ok((tags, cut))
    }

    /// The newest of them.
    pub(super) fn newest_tag(&self, profile: &Profile) -> Result<Option<Tag>, Error> {
        let (moves, _) = self.newest_moves_to(&profile.group.iter().cloned().collect(), self.scope.at, 1)?;
        moves.first().map(|to| self.tag(to)).transpose()
    }

    fn tag(&self, to: &Move) -> Result<Tag, Error> {
        let call = self.key(table::CALLS).text(&to.digest).text(&to.repository).text(&to.tag);
        let call = self.scope.newest_summary::<FirstCalled>(&call)?;
        let shown = call.map_or_else(|| to.repository.clone(), |call| call.repository);
        let separator = if shown.starts_with("pkg:") { '@' } else { ':' };
        Ok(Tag {
            name: format!("{shown}{separator}{}", to.tag),
            from: Nanos(to.from.time),
            until: to.until.map(|until| Nanos(until.time)),
            proof: self.proof(to.from.index)?,
        })
    }

    /// The newest stretches up to a moment in which a tag pointed at one of some digests of one artifact, at most
    /// [`TAGS_MAX`]; `true` when there may be more. Facts that say again where a tag points cost nothing.
    pub(super) fn moves_to(&self, digests: &BTreeSet<String>, at: Option<Nanos>) -> Result<(Vec<Move>, bool), Error> {
        self.newest_moves_to(digests, at, TAGS_MAX)
    }

    /// As [`Graph::moves_to`], at most so many.
    fn newest_moves_to(
        &self,
        digests: &BTreeSet<String>,
        at: Option<Nanos>,
        limit: usize,
    ) -> Result<(Vec<Move>, bool), Error> {
        let mut found: BTreeMap<Order, BTreeSet<(String, String, String)>> = BTreeMap::new();
        let mut cut = false;
        for digest in digests {
            let known = self.scope.moves_onto(digest, at)?;
            cut |= known.len() == MOVES_READ_MAX;
            for (stamp, repository, tag) in known {
                found.entry(stamp.order()).or_default().insert((repository, tag, digest.clone()));
            }
        }
        let mut moves = Vec::new();
        let newest = found.into_iter().rev().flat_map(|(order, of)| of.into_iter().map(move |to| (order, to)));
        for ((time, index, ordinal), (repository, tag, digest)) in newest {
            if moves.len() == limit {
                return Ok((moves, true));
            }
            let from = Stamp { index, ordinal, time };
            if let Some(until) = self.stretch((&repository, &tag), &from, digests, at)? {
                moves.push(Move { repository, tag, digest, from, until });
            }
        }
        Ok((moves, cut))
    }

    /// When the stretch ends that begins with a move; `None` where none does, since the tag pointed at another of these
    /// digests before, or went elsewhere at the same moment.
    fn stretch(
        &self,
        (repository, tag): (&str, &str),
        from: &Stamp,
        digests: &BTreeSet<String>,
        at: Option<Nanos>,
    ) -> Result<Option<Option<Stamp>>, Error> {
        let prefix = self.key(table::MOVES).text(repository).text(tag);
        let here = prefix.clone().time(Nanos(from.time)).number(from.index).ordinal(from.ordinal);
        let before = self.scope.keyed::<Text>(&prefix, &here, true, Clocks::Known, 1)?.pop();
        if before.is_some_and(|(_, row)| digests.contains(&row.value.0)) {
            return Ok(None);
        }
        let mut until = None;
        let after = here.bytes(&[0]);
        self.scope.each_by::<Text>(FEW_ROWS, (&after, &prefix.until(at)), false, Clocks::Known, |key, row| {
            if digests.contains(&row.value.0) {
                return Ok(ControlFlow::Continue(()));
            }
            until = stamp_at_end(key);
            Ok(ControlFlow::Break(()))
        })?;
        let empty = until.is_some_and(|until: Stamp| until.time == from.time);
        Ok((!empty).then_some(until))
    }
}

/// When, and by which tag of which repository.
pub(super) fn move_of(key: &[u8]) -> Option<(Stamp, String, String)> {
    let mut reader = fields(key)?;
    reader.text()?;
    Some((read_stamp(&mut reader)?, reader.text()?, reader.text()?))
}
