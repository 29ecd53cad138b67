//! What ran before a moment, in a lane and elsewhere: what the kind of a change hangs on.
//!
//! Each answer is found by seeks, however often an artifact was deployed. Where only a tag was said that costs two for
//! each stretch of time in which the tag pointed at the digest.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use pedigraph_proto::{ArtifactRef, Nanos};

use super::identity::stamp_at_end;
use super::scope::{Clocks, Scope};
use super::tags::move_of;
use super::timeline::{Artifact, History};
use crate::error::Error;
use crate::facts::deployments::environment_after;
use crate::facts::deployments::rows::{
    BY_REFERENCE, DIGEST, FIRST_IN, Keys, Lane, REFERENCE, REFERENCE_OF_DIGEST, Stamp, TAGGED, TURNS, UNKNOWN,
    by_artifact, reference_key, table_key, unreadable,
};
use crate::facts::lineage;
use crate::rows::text::Text;
use crate::store::key::Key;

/// What a lane's past says.
pub(super) struct Past<'a> {
    pub(super) scope: &'a Scope,
    pub(super) lane: &'a Lane,
}

/// From a time on, until another; absent: for ever.
type Stretch = (Nanos, Option<Nanos>);

/// Tags of one digest that are followed to where something was deployed by them alone.
const TAGS_SOUGHT_MAX: usize = 16;
/// Moves of tags to one digest that are read for that.
const MOVES_SOUGHT_MAX: usize = 1_024;

const ALWAYS: Stretch = (Nanos(i64::MIN), None);

impl Past<'_> {
    /// Did this lane run an artifact of a class before a moment, in a stretch of time?
    fn here(&self, (class, artifact): (u8, &str), (from, until): Stretch, before: &Stamp) -> Result<bool, Error> {
        let rows = by_artifact(&self.scope.tenant, class, artifact).lane(self.lane);
        let end = end_of(&rows, until, before);
        Ok(!self.scope.keyed::<()>(&rows.time(from), &end, false, Clocks::Both, 1)?.is_empty())
    }

    /// Did it run in another environment before a moment?
    fn first_elsewhere(&self, class: u8, artifact: &str, before: &Stamp) -> Result<bool, Error> {
        let rows = self.scope.table(FIRST_IN).byte(class).text(artifact);
        self.any_elsewhere(&rows, ALWAYS, before)
    }

    /// Was anything deployed by a reference alone in another environment before a moment, in a stretch of time? It was
    /// the first row of them all, or one before which another environment had its turn.
    fn by_reference_elsewhere(&self, reference: &str, stretch: Stretch, before: &Stamp) -> Result<bool, Error> {
        let all = self.scope.table(BY_REFERENCE).text(reference);
        let (from, end) = (all.clone().time(stretch.0), end_of(&all, stretch.1, before));
        let first = self.scope.keyed::<()>(&from, &end, false, Clocks::Both, 1)?.pop();
        let Some((key, _)) = first else { return Ok(false) };
        if environment_after(&key, &all)? != self.lane.environment {
            return Ok(true);
        }
        self.any_elsewhere(&self.scope.table(TURNS).text(reference), stretch, before)
    }

    /// Is there a row of another environment in a group whose keys go on with a stamp and an environment?
    fn any_elsewhere(&self, group: &Key, (from, until): Stretch, before: &Stamp) -> Result<bool, Error> {
        let (from, end) = (group.clone().time(from), end_of(group, until, before));
        let mut found = false;
        self.scope.each::<()>(&from, &end, false, Clocks::Known, |key, _| {
            found = environment_after(key, group)? != self.lane.environment;
            Ok(if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(found)
    }

    /// Is something so in a stretch of time, begun by a moment, in which a reference meant a digest, or nothing?
    fn any_stretch(
        &self,
        reference: &str,
        digest: &str,
        before: &Stamp,
        is_so: &dyn Fn(Stretch) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let Some(reference) = ArtifactRef::parse(reference).filter(|reference| !reference.tag.is_empty()) else {
            return is_so(ALWAYS);
        };
        let tag = Tag { scope: self.scope, repository: &reference.repository_key(), tag: &reference.tag };
        let unknown_until = tag.first()?;
        if is_so((ALWAYS.0, unknown_until))? {
            return Ok(true);
        }
        if unknown_until.is_none() {
            return Ok(false);
        }
        Ok(tag.any(tag.moves_to(digest, before.time)?, digest, is_so)? || tag.any(tag.went(before.time)?, "", is_so)?)
    }

    /// Is something so in a stretch of time, begun by a moment, in which one of the other tags meant a digest by which alone
    /// something was deployed? At most [`TAGS_SOUGHT_MAX`] of them are looked at, and [`MOVES_SOUGHT_MAX`] of their moves.
    fn any_tag(
        &self,
        (own, digest): (&str, &str),
        before: &Stamp,
        is_so: &dyn Fn(&str, Stretch) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let (tags, mut moves) = (self.scope.table(TAGGED).text(digest), None);
        for (key, _) in self.scope.keyed::<()>(&tags, &tags.prefix_end(), false, Clocks::Known, TAGS_SOUGHT_MAX)? {
            let mut reader = table_key(&key)?;
            let reference = reader.text().and_then(|_| reader.text()).ok_or_else(unreadable)?;
            let named = ArtifactRef::parse(&reference).filter(|named| reference != own && !named.tag.is_empty());
            let Some(named) = named else { continue };
            let tag = Tag { scope: self.scope, repository: &named.repository_key(), tag: &named.tag };
            let is_so = |stretch| is_so(&reference, stretch);
            if !is_so(ALWAYS)? {
                continue;
            }
            let known = match moves.take() {
                Some(known) => known,
                None => self.moves_to(digest, before.time)?,
            };
            let own = known.iter().filter(|(_, repository, of)| *repository == tag.repository && *of == tag.tag);
            if tag.any(own.map(|(time, ..)| *time).collect(), digest, &is_so)? {
                return Ok(true);
            }
            moves = Some(known);
        }
        Ok(false)
    }

    /// When which tags began to point at a digest, up to and with a time; and perhaps when they did not begin to.
    fn moves_to(&self, digest: &str, until: Nanos) -> Result<Vec<(Nanos, String, String)>, Error> {
        let prefix = lineage::rows::key(&self.scope.tenant, lineage::rows::table::MOVES_TO).text(digest);
        let end = prefix.clone().until(Some(until));
        let rows = self.scope.keyed::<()>(&prefix, &end, false, Clocks::Known, MOVES_SOUGHT_MAX)?;
        let read = |(key, _): &(Vec<u8>, _)| {
            let (stamp, repository, tag) = move_of(key).ok_or_else(unreadable)?;
            Ok((Nanos(stamp.time), repository, tag))
        };
        rows.iter().map(read).collect()
    }

    /// Did an artifact run before a moment, as `told` of a class, or `alone` by its reference in a stretch of time?
    fn ran(
        &self,
        artifact: &Artifact,
        before: &Stamp,
        told: &dyn Fn(u8, &str) -> Result<bool, Error>,
        alone: &dyn Fn(&str, Stretch) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let reference = reference_key(&artifact.reference);
        let by_name = |stretch| alone(&reference, stretch);
        let Some(digest) = &artifact.digest else {
            let is_named = artifact.reference != UNKNOWN;
            return Ok(is_named && (by_name(ALWAYS)? || told(REFERENCE_OF_DIGEST, &reference)?));
        };
        let is_named = by_name(ALWAYS)?;
        for digest in &self.scope.aliases_of(digest)? {
            let ran = told(DIGEST, digest)?
                || (is_named && self.any_stretch(&artifact.reference, digest, before, &by_name)?)
                || self.any_tag((&reference, digest), before, alone)?;
            if ran {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl History for Past<'_> {
    fn ran_here(&self, artifact: &Artifact, before: &Stamp) -> Result<bool, Error> {
        let told = |class: u8, named: &str| self.here((class, named), ALWAYS, before);
        self.ran(artifact, before, &told, &|reference, stretch| self.here((REFERENCE, reference), stretch, before))
    }

    fn ran_elsewhere(&self, artifact: &Artifact, before: &Stamp) -> Result<bool, Error> {
        let told = |class: u8, named: &str| self.first_elsewhere(class, named, before);
        let alone = |reference: &str, stretch| self.by_reference_elsewhere(reference, stretch, before);
        self.ran(artifact, before, &told, &alone)
    }

    fn line_order(&self, from: &Artifact, to: &Artifact) -> Result<Option<Ordering>, Error> {
        match (&from.digest, &to.digest) {
            (Some(from), Some(to)) => self.scope.line_order(from, to),
            _ => Ok(None),
        }
    }
}

/// A tag, whose moves are read.
struct Tag<'a> {
    scope: &'a Scope,
    repository: &'a str,
    tag: &'a str,
}

impl Tag<'_> {
    fn rows(&self, table: u8) -> Key {
        lineage::rows::key(&self.scope.tenant, table).text(self.repository).text(self.tag)
    }

    /// Since when anything is known of it.
    fn first(&self) -> Result<Option<Nanos>, Error> {
        let rows = self.rows(lineage::rows::table::TAGS);
        let first = self.scope.keyed::<Text>(&rows, &rows.prefix_end(), false, Clocks::Known, 1)?.pop();
        first.map(|(key, _)| time_at_end(&key)).transpose()
    }

    /// When it began to point at a digest, up to and with a time; and perhaps when it did not begin to.
    fn moves_to(&self, digest: &str, until: Nanos) -> Result<Vec<Nanos>, Error> {
        let prefix = lineage::rows::key(&self.scope.tenant, lineage::rows::table::MOVES_TO).text(digest);
        let mut times = Vec::new();
        self.scope.each::<()>(&prefix, &prefix.clone().until(Some(until)), false, Clocks::Known, |key, _| {
            let (stamp, repository, tag) = move_of(key).ok_or_else(unreadable)?;
            if (repository.as_str(), tag.as_str()) == (self.repository, self.tag) {
                times.push(Nanos(stamp.time));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(times)
    }

    /// When it began to be gone, up to and with a time; and perhaps when it did not.
    fn went(&self, until: Nanos) -> Result<Vec<Nanos>, Error> {
        let rows = self.rows(lineage::rows::table::GONE);
        let mut times = Vec::new();
        self.scope.each::<Text>(&rows, &rows.clone().until(Some(until)), false, Clocks::Known, |key, _| {
            times.push(time_at_end(key)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(times)
    }

    /// Is something so in one of the stretches that begin then, in which it means a digest?
    fn any(
        &self,
        times: Vec<Nanos>,
        meant: &str,
        is_so: &dyn Fn(Stretch) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        for from in times {
            if let Some(until) = self.stretch(from, meant)?
                && is_so((from, until))?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Until when it points at a digest that it points at, at a time; `None` where it does not then.
    fn stretch(&self, from: Nanos, digest: &str) -> Result<Option<Option<Nanos>>, Error> {
        let then = self.scope.tag_at(self.repository, self.tag, from)?.map(|(digest, _)| digest);
        if then.unwrap_or_default() != digest {
            return Ok(None);
        }
        let (rows, mut until) = (self.rows(lineage::rows::table::MOVES), None);
        let after = rows.clone().until(Some(from));
        self.scope.each::<Text>(&after, &rows.prefix_end(), false, Clocks::Known, |key, row| {
            if row.value.0 == digest {
                return Ok(ControlFlow::Continue(()));
            }
            until = Some(time_at_end(key)?);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(Some(until))
    }
}

/// The exclusive end of rows that begin with a stamp after a prefix: before a moment, and before a time.
fn end_of(prefix: &Key, until: Option<Nanos>, before: &Stamp) -> Key {
    prefix.clone().before(until).min(prefix.clone().moment(before))
}

fn time_at_end(key: &[u8]) -> Result<Nanos, Error> {
    stamp_at_end(key).map(|stamp| Nanos(stamp.time)).ok_or_else(unreadable)
}
