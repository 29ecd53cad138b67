//! A version that comes, changes or leaves: what is written of it, and whose parent may be another one after it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use super::rows::{FoundBy, InLine, LineId, Membership, Pos, ReadTags, Tags, Version, member_key, read_pos, table};
use super::{Lines, blocks};
use crate::error::Error;
use crate::rows::stamp::Stamped;
use crate::store::key::{Key, KeyReader};

/// What an artifact was a version of, and what it is now.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) digest: String,
    pub(crate) old: Option<Version>,
    pub(crate) new: Option<Version>,
    /// Digests of which the tags that count end elsewhere, and where.
    pub(crate) calls_ends: Vec<(String, Vec<u8>)>,
}

/// Versions whose parent may be another one.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) digests: Vec<String>,
    /// Where the next page begins; `None` at the end.
    pub(crate) next: Option<Vec<u8>>,
}

impl Change {
    /// Nothing of it is another.
    pub(crate) fn is_none(&self) -> bool {
        self.old == self.new && self.calls_ends.is_empty()
    }

    /// It stands elsewhere, or among other kin.
    pub(crate) fn moved(&self) -> bool {
        self.old.as_ref().map(Version::stands) != self.new.as_ref().map(Version::stands)
    }

    /// Others may have it as their parent by version or order where they had not, or the other way round.
    pub(crate) fn counts_anew(&self) -> bool {
        let numbered = |version: &Version| (version.version.clone(), version.published);
        self.moved() || self.old.as_ref().map(numbered) != self.new.as_ref().map(numbered)
    }
}

impl Lines<'_> {
    /// Writes what changes of one artifact, but for parents.
    pub(crate) fn change_to(&self, change: &Change) -> Result<(), Error> {
        let Change { digest, old, new, calls_ends } = change;
        calls_ends.iter().try_for_each(|(digest, end)| self.put_calls_end(digest, end))?;
        let place = |version: &Option<Version>| version.as_ref().map(|version| (version.line, version.pos.clone()));
        let (left, came) = (place(old), place(new));
        if left != came {
            left.map_or(Ok(()), |(line, pos)| self.leave(&line, &pos))?;
            came.map_or(Ok(()), |(line, pos)| self.come(&line, &pos))?;
        }
        let marks = |version: &Option<Version>| version.as_ref().map(|version| self.marks(version)).unwrap_or_default();
        let (before, after) = (marks(old), marks(new));
        before.difference(&after).try_for_each(|key| self.put_since(key.clone(), &false))?;
        after.difference(&before).try_for_each(|key| self.put_since(key.clone(), &true))?;
        self.change_version(change)?;
        if let Some(old) = old.as_ref().filter(|old| new.as_ref().is_none_or(|new| new.line != old.line)) {
            self.put_parent(&old.line, digest, None)?;
        }
        let membership = |version: &Option<Version>| {
            let of = version.as_ref();
            let above = of.map(|version| version.above.iter().cloned().collect()).unwrap_or_default();
            Membership { line: of.map(|version| version.line), above }
        };
        let (before, after) = (membership(old), membership(new));
        if before == after {
            return Ok(());
        }
        self.put_since(member_key(self.tenant, digest), &after)
    }

    /// Keys of its tags and of its kin.
    fn marks(&self, version: &Version) -> BTreeSet<Key> {
        let key = |table: u8| self.key(&version.line, table);
        let tags = version.tags.iter();
        let tags = tags.map(|(tag, order)| key(table::TAGGED).bytes(tag).order(*order).pos(&version.pos));
        let kin = version.above.iter().map(|index| key(table::KIN).text(index).text(&version.pos.digest));
        tags.chain(kin).collect()
    }

    fn change_version(&self, change: &Change) -> Result<(), Error> {
        let numbered = |version: &Option<Version>| {
            let Version { line, pos, published, version, .. } = version.as_ref()?;
            Some((*line, pos.clone(), *published, version.clone()?))
        };
        let (old, new) = (numbered(&change.old), numbered(&change.new));
        if old == new {
            return Ok(());
        }
        let by_time = |line: &LineId, pos: &Pos, published: i64| {
            self.key(line, table::PUBLISHED).time(pedigraph_proto::Nanos(published)).pos(pos)
        };
        if let Some((line, pos, published, number)) = old {
            let place = blocks::place(&number, published, &pos);
            self.put_since(self.key(&line, table::VERSION).bytes(&place), &None::<u16>)?;
            self.put_since(by_time(&line, &pos, published), &None::<Vec<u8>>)?;
            self.left_blocks(&line, &place, published)?;
        }
        if let Some((line, pos, published, number)) = new {
            let too_long = |_| Error::Store("lines: a version is too long".to_owned());
            let len = u16::try_from(number.len()).map_err(too_long)?;
            let place = blocks::place(&number, published, &pos);
            self.put_since(self.key(&line, table::VERSION).bytes(&place), &Some(len))?;
            self.put_since(by_time(&line, &pos, published), &Some(number))?;
            self.came_to_blocks(&line, &place, published)?;
        }
        Ok(())
    }

    /// Finds the parent of a version anew, and writes it where it is another one. Its tags are read where they tell.
    pub(crate) fn find_parent_again(&self, of: &Version, tags: ReadTags<'_>) -> Result<(), Error> {
        let found = self.found_parent(of, tags)?;
        self.put_parent(&of.line, &of.pos.digest, found)
    }

    /// The same of a version of which nothing but tags changed: of those that it had, its parent tells all. `place` says
    /// where another version of its line stands.
    pub(crate) fn find_parent_by_change(
        &self,
        change: &Change,
        place: &dyn Fn(&str) -> Result<Option<Pos>, Error>,
        tags: ReadTags<'_>,
    ) -> Result<(), Error> {
        let Some((old, new)) = change.old.as_ref().zip(change.new.as_ref()) else { return Ok(()) };
        let known = self.parent(&new.line, &change.digest)?;
        let before = |tags: &Tags| {
            let mut best: Option<Pos> = None;
            for (tag, order) in tags {
                best = best.max(self.tagged_before(new, tag, *order)?.filter(|older| *older < new.pos));
            }
            Ok::<_, Error>(best)
        };
        let came = match known {
            Some((_, FoundBy::Semver)) => return Ok(()),
            Some((_, FoundBy::Tag | FoundBy::Order)) | None => {
                before(&new.tags.difference(&old.tags).copied().collect())?
            }
        };
        let by_tag = known.as_ref().filter(|(_, how)| *how == FoundBy::Tag);
        let Some((parent, _)) = by_tag else {
            return came
                .map_or(Ok(()), |came| self.put_parent(&new.line, &change.digest, Some((came.digest, FoundBy::Tag))));
        };
        if came.as_ref().is_some_and(|came| came.digest == *parent) {
            return Ok(());
        }
        let left = before(&old.tags.difference(&new.tags).copied().collect())?;
        let (may_be_gone, place) = (left.is_some_and(|left| left.digest == *parent), place(parent)?);
        match (came, place) {
            (Some(came), Some(place)) if came > place => {
                self.put_parent(&new.line, &change.digest, Some((came.digest, FoundBy::Tag)))
            }
            (_, Some(_)) if !may_be_gone => Ok(()),
            _ => self.find_parent_again(new, tags),
        }
    }

    fn put_parent(&self, line: &LineId, child: &str, parent: Option<(String, FoundBy)>) -> Result<(), Error> {
        let known = self.parent(line, child)?;
        if known == parent {
            return Ok(());
        }
        let of = |parent: &Option<(String, FoundBy)>| parent.as_ref().map(|(parent, _)| parent.clone());
        let (before, after) = (of(&known), of(&parent));
        if before != after {
            let key = |parent: &str| self.key(line, table::CHILD).text(parent).text(child);
            before.map_or(Ok(()), |before| self.put_since(key(&before), &false))?;
            after.map_or(Ok(()), |after| self.put_since(key(&after), &true))?;
            self.note_moved(child)?;
        }
        self.put_since(self.key(line, table::PARENT).text(child), &parent)
    }

    /// Itself, those that come next after it in any order, and what the next ones hide from it since they are kin:
    /// whose parent may be another one, each with the strongest way in which it may be found. Its children and those
    /// that [`Lines::behind`] gives may have another one too.
    pub(crate) fn near(&self, change: &Change) -> Result<BTreeMap<String, FoundBy>, Error> {
        let mut near: BTreeMap<String, FoundBy> = BTreeMap::new();
        let mut with_kin = |version: &Version, how: FoundBy, next: Option<String>| {
            let Some(next) = next else { return Ok(()) };
            for digest in self.kin_of(&version.line, &next)?.into_iter().chain([next]) {
                let known = near.entry(digest).or_insert(how);
                *known = how.min(*known);
            }
            Ok::<_, Error>(())
        };
        let tags = |version: &Option<Version>| version.as_ref().map(|v| v.tags.clone()).unwrap_or_default();
        let (before, after) = (tags(&change.old), tags(&change.new));
        for (version, tags, others) in [(&change.old, &before, &after), (&change.new, &after, &before)] {
            let Some(version) = version else { continue };
            for (tag, order) in tags.iter().filter(|tag| change.moved() || !others.contains(*tag)) {
                with_kin(version, FoundBy::Tag, self.next_tagged(version, tag, *order)?)?;
            }
        }
        if let Some(new) = change.new.as_ref().filter(|_| change.counts_anew()) {
            with_kin(new, FoundBy::Order, self.next_place(&new.line, &new.pos)?)?;
            let (same, higher) = self.next_versions(new)?;
            with_kin(new, FoundBy::Semver, same.map(|same| same.digest))?;
            with_kin(new, FoundBy::Semver, higher.map(|higher| higher.digest))?;
        }
        near.extend(change.new.iter().map(|new| (new.pos.digest.clone(), FoundBy::Semver)));
        Ok(near)
    }

    /// Its children before the change, from a digest on.
    pub(crate) fn orphans(&self, change: &Change, from: &[u8], limit: usize) -> Result<Page, Error> {
        let Some(old) = change.old.as_ref().filter(|_| change.counts_anew()) else { return Ok(Page::default()) };
        let after = std::str::from_utf8(from).unwrap_or_default();
        let digests = self.children(&old.line, &change.digest, after, limit)?;
        let next = digests.last().filter(|_| digests.len() == limit).map(|last| last.clone().into_bytes());
        Ok(Page { digests, next })
    }

    /// Higher versions that were published no earlier, and before those versions which stand between: of what came
    /// late. First those of the next higher version, then all others. A page begins with which of both, then the key.
    pub(crate) fn behind(&self, change: &Change, from: &[u8], limit: usize) -> Result<Page, Error> {
        let Some(new) = change.new.as_ref().filter(|_| change.counts_anew()) else { return Ok(Page::default()) };
        let Some(version) = &new.version else { return Ok(Page::default()) };
        let (same, higher) = self.next_versions(new)?;
        let Some(higher) = higher else { return Ok(Page::default()) };
        let time = |time: i64| pedigraph_proto::Nanos(time);
        let until = |key: Key| match &same {
            Some(same) => key.time(time(same.published)),
            None => key.prefix_end(),
        };
        let of_next = self.key(&new.line, table::VERSION).bytes(&higher.version);
        let by_time = self.key(&new.line, table::PUBLISHED);
        let next_from = of_next.clone().time(time(new.published.max(higher.published)));
        let end = same.as_ref().map_or(higher.published, |same| higher.published.min(same.published));
        let (part, from) = from.split_first().map_or((0, &[][..]), |(part, from)| (*part, from));
        if part == 0 {
            let mut page = self.page((&next_from, &until(of_next.clone())), from, limit, |key, bytes| {
                let there = Stamped::<Option<u16>>::decode(bytes)?.value.is_some();
                Ok(there.then(|| of_key(key, of_next.as_bytes().len() + 8)).flatten())
            })?;
            page.next = Some(page.next.map_or_else(|| vec![1], |next| [&[0][..], &next].concat()));
            return Ok(page);
        }
        let range = (&by_time.clone().time(time(new.published)), &by_time.clone().time(time(end)));
        let mut page = self.page(range, from, limit, |key, bytes| {
            let number = Stamped::<Option<Vec<u8>>>::decode(bytes)?.value;
            Ok(number.filter(|number| number > version).and_then(|_| of_key(key, by_time.as_bytes().len() + 8)))
        })?;
        page.next = page.next.map(|next| [&[1][..], &next].concat());
        Ok(page)
    }

    /// What a range of rows gives, `limit` things at once.
    fn page(
        &self,
        (first, to): (&Key, &Key),
        from: &[u8],
        limit: usize,
        read: impl Fn(&[u8], &[u8]) -> Result<Option<String>, Error>,
    ) -> Result<Page, Error> {
        let (mut page, mut things) = (Page::default(), 0);
        let first = if from.is_empty() { first.clone() } else { Key::from_bytes(from) };
        self.each_newest((&first, to), false, |key, bytes| {
            if things == limit {
                page.next = Some(key.to_vec());
                return Ok(ControlFlow::Break(()));
            }
            things += 1;
            page.digests.extend(read(key, bytes)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(page)
    }
}

/// The digest of a place in a key.
fn of_key(key: &[u8], at: usize) -> Option<String> {
    read_pos(&mut KeyReader::new(key.get(at..)?)).map(|pos| pos.digest)
}
