//! What a fact calls an artifact: the row by which it exists, its line, tags, purls and aliases.

use std::collections::BTreeMap;

use pedigraph_proto::{ArtifactRef, Purl, repository_key};

use super::fold::Fold;
use super::memory::{Memory, Pointer, STAMP_BYTES};
use super::naming::{Called, Named, Naming, Source, greatest};
use super::rows::{Class, FirstCalled, from_its_end, role, table};
use super::said::{Change, say, up_to_here, write};
use crate::error::Error;
use crate::facts::deployments;
use crate::facts::view::StandsAt;
use crate::rows::text::Text;
use crate::store::key::{Key, KeyReader};

impl Fold<'_, '_, '_> {
    /// A fact names a digest: the summaries by which it exists, its line.
    pub(super) fn name(
        &mut self,
        digest: &str,
        class: Class,
        text: &str,
        kind: i32,
        platform: &str,
    ) -> Result<(), Error> {
        let reference = ArtifactRef::parse(text);
        if let Some(reference) = reference.as_ref().filter(|_| class == Class::Other) {
            self.named(reference, digest)?;
        }
        let (repository, tag) = reference.map(|r| (r.repository, r.tag)).unwrap_or_default();
        self.name_as(digest, class, (&repository, &tag), kind, platform)
    }

    /// A fact names a digest by a tag in passing: that binds nothing, but whoever asks by this name may mean it.
    pub(super) fn named(&mut self, reference: &ArtifactRef, digest: &str) -> Result<(), Error> {
        let repository = reference.repository_key();
        if repository.is_empty() || reference.tag.is_empty() {
            return Ok(());
        }
        let key = self.key(table::NAMED).text(&repository).text(&reference.tag).stamp(self.at).text(digest);
        self.rows.put(key, &Text(digest.to_owned()))
    }

    pub(super) fn name_as(
        &mut self,
        digest: &str,
        class: Class,
        (repository, tag): (&str, &str),
        kind: i32,
        platform: &str,
    ) -> Result<(), Error> {
        let tags = if tag.is_empty() { &[][..] } else { &[tag][..] };
        let order = self.rows.stamp.order();
        self.names(digest, &Naming { class, repository, tags, kind, platform, order }, tags.len())
    }

    /// By several tags at once, of which the first `calls` get rows of their own.
    pub(super) fn names(&mut self, digest: &str, naming: &Naming<'_>, calls: usize) -> Result<(), Error> {
        let key = self.key(table::NAMES).text(digest);
        say(&mut self.said.named, (&mut self.memory.named, &mut *self.rows), key, Named::by(naming), Named::join)?;
        let repository = repository_key(naming.repository);
        if repository.is_empty() {
            return Ok(());
        }
        let key = self.key(table::CALLED).text(digest).text(&repository);
        let called = Called::by(naming);
        if let Some((source, tag)) = Source::of(naming.class).zip(greatest(naming.tags.iter().copied())) {
            let prefix = self.key(table::SHOWN).text(digest).text(&repository).byte(source.byte());
            let shown = self.said.shown.entry((key.clone(), source)).or_insert_with(|| (prefix, tag.to_owned()));
            shown.1 = greatest([shown.1.as_str(), tag].into_iter()).unwrap_or(tag).to_owned();
        }
        let first_here =
            say(&mut self.said.called, (&mut self.memory.called, &mut *self.rows), key, called, Called::join)?;
        if first_here {
            self.rows.put_first(self.key(table::LINE).text(&repository).text(digest), &())?;
        }
        // What is named in passing and without a tag, such as a material, is found by its whole name alone.
        let mut has_name = first_here && naming.class != Class::Other;
        for tag in naming.tags.iter().take(calls) {
            let key = self.key(table::CALLS).text(digest).text(&repository).text(tag);
            let call = FirstCalled { order: naming.order, repository: naming.repository.to_owned() };
            let earliest = |known: &mut FirstCalled, call: FirstCalled| {
                if call < *known {
                    *known = call;
                }
            };
            if say(&mut self.said.calls, (&mut self.memory.calls, &mut *self.rows), key, call, earliest)? {
                self.short_name(&repository, tag)?;
                has_name = true;
            }
        }
        if has_name {
            self.short_name(&repository, "")?;
        }
        Ok(())
    }

    fn short_name(&mut self, repository: &str, tag: &str) -> Result<(), Error> {
        self.rows.put_first(self.key(table::SHORT).text(tag).text(&from_its_end(repository)), &())?;
        Ok(())
    }

    /// Writes what changed, when everything that the fact says is known.
    pub(super) fn write_names(&mut self) -> Result<(), Error> {
        let said = std::mem::take(&mut self.said);
        for ((called, source), (prefix, tag)) in said.shown {
            let before = said.called.get(&called).and_then(|change| change.before.as_ref()?.newest(source).cloned());
            self.show(before, prefix.time(self.at.occurred_at), tag)?;
        }
        self.count_calls(&said.calls)?;
        let Memory { named, called, calls, .. } = &mut *self.memory;
        write(said.named, named, (self.at, &mut *self.rows), Named::decides)?;
        write(said.called, called, (self.at, &mut *self.rows), Called::decides)?;
        write(said.calls, calls, (self.at, &mut *self.rows), |call| call.order)
    }

    /// Which tags of a digest a fact writes anew, and how many rows of them there are.
    fn count_calls(&mut self, calls: &BTreeMap<Key, Change<FirstCalled>>) -> Result<(), Error> {
        let mut counted: BTreeMap<Key, u64> = BTreeMap::new();
        for (key, _) in calls.iter().filter(|(_, call)| call.is_new()) {
            let Some((digest, repository, tag)) = call_of_key(key) else { continue };
            let group = self.key(table::NEW_CALLS).text(&digest);
            let before = match counted.get(&group) {
                Some(known) => *known,
                None => self.memory.calls_len.newest(&group, self.rows)?.unwrap_or(0),
            };
            counted.insert(group.clone(), before + 1);
            let key = up_to_here(group.clone(), self.at).text(&repository).text(&tag);
            self.rows.put_in(&group, key, &(before + 1))?;
        }
        counted.into_iter().for_each(|(group, len)| self.memory.calls_len.keep(group, len));
        Ok(())
    }

    /// A tag by which a digest goes from a time on, unless a better one of that moment is known; `newest` is what it
    /// goes by last.
    fn show(&mut self, newest: Option<(i64, String)>, moment: Key, tag: String) -> Result<(), Error> {
        let here = self.at.occurred_at;
        let known = match newest {
            Some((time, known)) if time == here.0 => Some(known),
            Some((time, _)) if time > here.0 => {
                let found = self.rows.nearest::<String>(&moment, &moment, &moment.prefix_end(), true)?;
                found.map(|(_, known)| known)
            }
            Some(_) | None => None,
        };
        if known.as_deref().is_some_and(|known| greatest([known, &tag].into_iter()) == Some(known)) {
            return Ok(());
        }
        let key = up_to_here(moment.clone(), self.at);
        self.rows.put_in(&moment, key, &tag)
    }

    /// A tag points at a digest from the fact's time on; at none where it is gone.
    pub(super) fn tag(&mut self, repository: &str, tag: &str, digest: &str) -> Result<(), Error> {
        let repository = repository_key(repository);
        if repository.is_empty() || tag.is_empty() {
            return Ok(());
        }
        let group = self.key(table::TAGS).text(&repository).text(tag);
        let key = group.clone().stamp(self.at);
        let here = Pointer { stamp: stamp_of(&key), digest: digest.to_owned() };
        let (before, after) = self.pointers_beside(&group, &key, &here)?;
        let pointed = Text(digest.to_owned());
        self.rows.put_in(&group, key, &pointed)?;
        let reference = ArtifactRef { repository: repository.clone(), tag: tag.to_owned(), digest: None };
        deployments::tagged(self.at, &reference, digest, self.rows)?;
        let before = before.map(|before| before.digest);
        if before.as_deref().unwrap_or_default() != digest {
            let until = after.as_ref().and_then(Pointer::time);
            deployments::tag_moved(self.at, &reference, until, self.rows)?;
        }
        if before.as_ref() != Some(&here.digest) {
            self.rows.sink.told.tags.insert(reference.keyed().to_string());
            for key in self.moves(&repository, tag, &here) {
                self.rows.put(key, &pointed)?;
            }
        }
        if let Some(after) = &after
            && after.digest != here.digest
            && before.is_some_and(|before| before == after.digest)
        {
            // It did not move then as far as was known. Where a row is there still, it did before that.
            for key in self.moves(&repository, tag, after) {
                self.rows.put_first(key, &Text(after.digest.clone()))?;
            }
        }
        if after.is_none() {
            self.memory.tags.keep(group, here);
        }
        Ok(())
    }

    fn moves(&self, repository: &str, tag: &str, to: &Pointer) -> [Key; 2] {
        let moved = |of: u8| self.key(of).text(repository).text(tag).bytes(&to.stamp);
        let there = match to.digest.as_str() {
            "" => moved(table::GONE),
            digest => self.key(table::MOVES_TO).text(digest).bytes(&to.stamp).text(repository).text(tag),
        };
        [moved(table::MOVES), there]
    }

    /// What a tag pointed at before and after a moment, as far as is known.
    fn pointers_beside(
        &mut self,
        group: &Key,
        key: &Key,
        here: &Pointer,
    ) -> Result<(Option<Pointer>, Option<Pointer>), Error> {
        let end = group.prefix_end();
        let newest = match self.memory.tags.get(group) {
            Some(newest) => Some(newest),
            None => pointer(self.rows.nearest(group, group, &end, true)?),
        };
        match newest {
            Some(newest) if newest.stamp > here.stamp => {
                let before = pointer(self.rows.nearest(group, group, key, true)?);
                let after = pointer(self.rows.nearest(group, key, &end, false)?);
                self.memory.tags.keep(group.clone(), newest);
                Ok((before, after))
            }
            newest => Ok((newest, None)),
        }
    }

    pub(super) fn tag_of(&mut self, text: &str, digest: &str) -> Result<(), Error> {
        let Some(reference) = ArtifactRef::parse(text) else { return Ok(()) };
        self.tag(&reference.repository, &reference.tag, digest)
    }

    pub(super) fn purl(&mut self, text: &str, digest: &str) -> Result<(), Error> {
        let Some(purl) = Purl::parse(text) else { return Ok(()) };
        let key = self.key(table::PURLS).text(purl.package_key()).text(purl.version_key()).text(digest);
        self.rows.put_first(key, &())?;
        Ok(())
    }

    pub(super) fn alias(&mut self, digest: &str, role: u8, other: &str, platform: &str) -> Result<(), Error> {
        let key = self.key(table::ALIAS).text(digest).byte(role).text(other).text(platform);
        if self.rows.put_first(key, &())? {
            self.rows.sink.told.versions.insert(digest.to_owned());
            self.rows.sink.told.joined.insert(digest.to_owned());
            // What a manifest contains does not hang on the indexes that list it.
            if role != role::INDEX {
                self.rows.sink.told.covers.insert(digest.to_owned());
            }
        }
        Ok(())
    }
}

/// The digest, repository and tag of a key of [`table::CALLS`] without where it stands.
fn call_of_key(key: &Key) -> Option<(String, String, String)> {
    let mut reader = KeyReader::after_view(key.as_bytes())?;
    reader.byte()?;
    Some((reader.text()?, reader.text()?, reader.text()?))
}

fn pointer(found: Option<(Vec<u8>, Text)>) -> Option<Pointer> {
    found.map(|(key, Text(digest))| Pointer { stamp: end_of(&key), digest })
}

fn stamp_of(key: &Key) -> [u8; STAMP_BYTES] {
    end_of(key.as_bytes())
}

fn end_of(key: &[u8]) -> [u8; STAMP_BYTES] {
    *key.last_chunk().expect("a key that ends with a stamp")
}
