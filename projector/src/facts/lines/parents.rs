//! The one derived parent of a version (SPEC §3.1): by version, else by a tag that moved, else by order; never its kin.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::rows::{FoundBy, InLine, LineId, Pos, ReadTags, SINCE_BYTES, TagId, Tags, Version, read_pos, table};
use super::{Goes, Lines};
use crate::error::Error;
use crate::rows::stamp::{Order, Stamped};
use crate::store::key::{Key, KeyReader};

/// A version by its number.
pub(super) struct Versioned {
    pub(super) version: Vec<u8>,
    pub(super) published: i64,
    pub(super) digest: String,
}

impl Lines<'_> {
    /// Finds the derived parent of a version anew.
    pub(super) fn found_parent(&self, of: &Version, tags: ReadTags<'_>) -> Result<Option<(String, FoundBy)>, Error> {
        if let Some(parent) = self.by_semver(of)? {
            return Ok(Some((parent, FoundBy::Semver)));
        }
        if let Some(parent) = self.by_tag(of, &tags()?)? {
            return Ok(Some((parent, FoundBy::Tag)));
        }
        Ok(self.by_order(of)?.map(|parent| (parent, FoundBy::Order)))
    }

    /// The greatest lower version that was published no later; of several digests of one version the newest.
    fn by_semver(&self, of: &Version) -> Result<Option<String>, Error> {
        of.version.as_ref().map_or(Ok(None), |version| self.greatest_lower(of, version))
    }

    /// What a tag of this version pointed at before; of several tags the newest of these. Only from an older to a newer
    /// version, so that a tag that moves back makes no circle.
    fn by_tag(&self, of: &Version, tags: &Tags) -> Result<Option<String>, Error> {
        let mut best: Option<Pos> = None;
        let mut before: Option<TagId> = None;
        for (tag, order) in tags {
            // In the order of tags and facts: only the first fact of each tag counts.
            if before.replace(*tag) == Some(*tag) {
                continue;
            }
            if let Some(older) = self.tagged_before(of, tag, *order)?.filter(|older| *older < of.pos) {
                best = best.max(Some(older));
            }
        }
        Ok(best.map(|pos| pos.digest))
    }

    pub(super) fn tagged_before(&self, of: &Version, tag: &TagId, order: Order) -> Result<Option<Pos>, Error> {
        let prefix = self.key(&of.line, table::TAGGED).bytes(tag);
        let mut found = None;
        self.each_newest((&prefix, &prefix.clone().order(order).pos(&of.pos)), true, |key, bytes| {
            let Some(pos) = tagged(key, bytes, prefix.as_bytes().len())? else { return Ok(ControlFlow::Continue(())) };
            if self.is_apart(of, &pos.digest)? {
                found = Some(pos);
                return Ok(ControlFlow::Break(()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    fn by_order(&self, of: &Version) -> Result<Option<String>, Error> {
        let mut parent = None;
        self.each_place(&of.line, &of.pos, Goes::Down, |pos| {
            if self.is_apart(of, &pos.digest)? {
                parent = Some(pos.digest);
                return Ok(ControlFlow::Break(()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(parent)
    }

    /// Whether another member of its line is no kin.
    pub(super) fn is_apart(&self, of: &Version, other: &str) -> Result<bool, Error> {
        if other == of.pos.digest || of.above.contains(other) {
            return Ok(false);
        }
        let above = self.above(other)?;
        Ok(!above.contains(&of.pos.digest) && above.is_disjoint(&of.above))
    }

    fn above(&self, digest: &str) -> Result<BTreeSet<String>, Error> {
        let known = self.membership(digest)?;
        Ok(known.map(|row| row.above.into_iter().collect()).unwrap_or_default())
    }

    /// The members of a line that may be kin of one of them, without it.
    pub(super) fn kin_of(&self, line: &LineId, digest: &str) -> Result<BTreeSet<String>, Error> {
        let above = self.above(digest)?;
        let mut kin = above.clone();
        for index in above.iter().map(String::as_str).chain([digest]) {
            let prefix = self.key(line, table::KIN).text(index);
            self.each_newest((&prefix, &prefix.prefix_end()), false, |key, bytes| {
                let there = Stamped::<bool>::decode(bytes)?.value;
                let member = KeyReader::after(key, &prefix).text();
                kin.extend(member.filter(|_| there));
                Ok(ControlFlow::Continue(()))
            })?;
        }
        kin.remove(digest);
        Ok(kin)
    }

    /// The first version of a line behind a place, of those that are there.
    pub(super) fn next_place(&self, line: &LineId, pos: &Pos) -> Result<Option<String>, Error> {
        let mut next = None;
        self.each_place(line, pos, Goes::Up, |pos| {
            next = Some(pos.digest);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(next)
    }

    /// Who was called by a tag next after a version was.
    pub(super) fn next_tagged(&self, of: &Version, tag: &TagId, order: Order) -> Result<Option<String>, Error> {
        let prefix = self.key(&of.line, table::TAGGED).bytes(tag);
        let from = prefix.clone().order(order).pos(&of.pos).prefix_end();
        let mut next = None;
        self.each_newest((&from, &prefix.prefix_end()), false, |key, bytes| {
            next = tagged(key, bytes, prefix.as_bytes().len())?
                .map(|pos| pos.digest)
                .filter(|digest| *digest != of.pos.digest);
            Ok(if next.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(next)
    }

    /// The next of the same version, when published and who, and the first of the next higher one. Nothing behind these
    /// has this version as its parent but what was published before them, and their kin.
    pub(super) fn next_versions(&self, of: &Version) -> Result<(Option<Versioned>, Option<Versioned>), Error> {
        let Some(version) = &of.version else { return Ok((None, None)) };
        let prefix = self.key(&of.line, table::VERSION);
        let same = prefix.clone().bytes(version);
        let here = same.clone().time(pedigraph_proto::Nanos(of.published)).pos(&of.pos).prefix_end();
        let first = |from: &Key, to: &Key| {
            let mut first = None;
            self.each_newest((from, to), false, |key, bytes| {
                first = versioned(key, bytes, prefix.as_bytes().len())?;
                Ok(if first.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
            Ok::<_, Error>(first)
        };
        Ok((first(&here, &same.prefix_end())?, first(&same.prefix_end(), &prefix.prefix_end())?))
    }
}

/// A version that is there; `None` for one that left.
pub(super) fn versioned(key: &[u8], bytes: &[u8], prefix_len: usize) -> Result<Option<Versioned>, Error> {
    let Some(version_len) = Stamped::<Option<u16>>::decode(bytes)?.value else { return Ok(None) };
    let (version, rest) = key.split_at(key.len().min(prefix_len + usize::from(version_len)));
    let mut reader = KeyReader::new(rest);
    let published = reader.time().map(|time| time.0);
    let version = version.get(prefix_len..).unwrap_or_default().to_vec();
    let of = |(published, pos): (i64, Pos)| Versioned { version, published, digest: pos.digest };
    Ok(published.zip(read_pos(&mut reader)).map(of))
}

/// Who was called by a tag; `None` for one that left.
fn tagged(key: &[u8], bytes: &[u8], prefix_len: usize) -> Result<Option<Pos>, Error> {
    if !Stamped::<bool>::decode(bytes)?.value {
        return Ok(None);
    }
    // After when it was called so: time, index, ordinal.
    let mut reader = KeyReader::new(key.get(prefix_len + 8 + SINCE_BYTES..).unwrap_or_default());
    Ok(read_pos(&mut reader))
}
