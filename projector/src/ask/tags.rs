//! Tags over time.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use pedigraph_proto::{ArtifactRef, Nanos};

use super::answers::Tag;
use super::identity::{Graph, Profile};
use super::scope::{Clocks, Scope};
use crate::error::Error;
use crate::facts::lineage::rows::{key, table};
use crate::rows::stamp::Stamp;

/// Tags of one artifact that an answer lists.
pub const TAGS_MAX: usize = 200;

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
        let newest = self.keyed::<String>(&prefix, &to, true, Clocks::Both, 1)?.pop();
        Ok(newest.map(|(_, row)| (row.value, row.stamp.index)))
    }

    /// The digest that a reference with a tag named at a time; `None` while that is unknown.
    pub(crate) fn tagged_digest(&self, reference: &str, time: Nanos) -> Result<Option<String>, Error> {
        let Some(reference) = ArtifactRef::parse(reference).filter(|reference| !reference.tag.is_empty()) else {
            return Ok(None);
        };
        Ok(self.tag_at(&reference.repository_key(), &reference.tag, time)?.map(|(digest, _)| digest))
    }

    /// The first fact after a moment by which a tag points elsewhere.
    fn tag_until(&self, repository: &str, tag: &str, since: &Stamp, group: &[String]) -> Result<Option<Stamp>, Error> {
        let prefix = key(&self.tenant, table::TAGS).text(repository).text(tag);
        // Right after the fact itself: of thousands at one moment each would look through all of them else.
        let from = prefix.clone().time(Nanos(since.time)).number(since.index);
        let mut until = None;
        self.each::<String>(&from, &prefix.prefix_end(), false, Clocks::Both, |_, row| {
            if row.stamp.order() <= since.order() || group.contains(&row.value) {
                return Ok(ControlFlow::Continue(()));
            }
            until = Some(row.stamp);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(until)
    }
}

impl Graph<'_> {
    /// Every stretch in which a tag pointed at an artifact, newest first. `true` when the list was cut.
    pub(super) fn tags(&self, profile: &Profile) -> Result<(Vec<Tag>, bool), Error> {
        let mut stretches: BTreeMap<(&str, &str), Vec<(Stamp, &str)>> = BTreeMap::new();
        for tagged in &profile.tags {
            stretches.entry((&tagged.repository, &tagged.tag)).or_default().push((tagged.stamp, &tagged.shown));
        }
        let mut tags = Vec::new();
        for ((repository, tag), stamps) in stretches {
            // Of the stretch before: nothing, open, or up to a fact.
            let mut before: Option<Option<Stamp>> = None;
            for (stamp, shown) in stamps {
                let within = before.is_some_and(|until| until.is_none_or(|until| stamp.order() < until.order()));
                if within || !self.binds(repository, tag, &stamp, profile)? {
                    continue;
                }
                let until = self.scope.tag_until(repository, tag, &stamp, &profile.group)?;
                before = Some(until);
                let separator = if shown.starts_with("pkg:") { '@' } else { ':' };
                tags.push(Tag {
                    name: format!("{shown}{separator}{tag}"),
                    from: Nanos(stamp.time),
                    until: until.map(|until| Nanos(until.time)),
                    proof: self.scope.proof(stamp.index)?,
                });
            }
        }
        tags.sort_by(|a, b| b.from.cmp(&a.from).then_with(|| a.name.cmp(&b.name)));
        let cut = tags.len() > TAGS_MAX;
        tags.truncate(TAGS_MAX);
        Ok((tags, cut))
    }

    /// Whether a fact that names an artifact by a tag is one that binds the tag: a deployment that names both is not.
    fn binds(&self, repository: &str, tag: &str, stamp: &Stamp, profile: &Profile) -> Result<bool, Error> {
        let bound = self.scope.tag_at(repository, tag, Nanos(stamp.time))?;
        Ok(bound.is_some_and(|(digest, _)| profile.group.contains(&digest)))
    }
}
