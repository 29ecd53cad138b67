//! What a fact calls an artifact: the row by which it exists, its line, tags, purls and aliases.

use pedigraph_proto::event::ArtifactKind;
use pedigraph_proto::{ArtifactRef, Purl, repository_key};

use super::fold::Fold;
use super::rows::{Class, Naming, table};
use crate::error::Error;
use crate::facts::view::StandsAt;

impl Fold<'_, '_, '_> {
    /// A fact names a digest: the row by which it exists, its line, its purl.
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
        self.rows
            .put(self.key(table::NAMED).text(&repository).text(&reference.tag).stamp(self.at).text(digest), &digest)?;
        self.short_name(&repository, &reference.tag)
    }

    fn short_name(&mut self, repository: &str, tag: &str) -> Result<(), Error> {
        let last = repository.rsplit('/').next().unwrap_or(repository);
        self.rows.put_first(self.key(table::SHORT).text(last).text(tag).text(repository), &())?;
        Ok(())
    }

    pub(super) fn name_as(
        &mut self,
        digest: &str,
        class: Class,
        (repository, tag): (&str, &str),
        kind: i32,
        platform: &str,
    ) -> Result<(), Error> {
        let naming = Naming {
            class,
            repository: repository.to_owned(),
            tag: tag.to_owned(),
            kind,
            platform: platform.to_owned(),
        };
        let mut names = self.key(table::NAMES).text(digest).stamp(self.at);
        if !tag.is_empty() {
            // One fact may name several tags.
            names = names.text(repository).text(tag);
        }
        self.rows.put(names, &naming)?;
        if !repository.is_empty() {
            self.rows.put_first(self.key(table::LINE).text(&repository_key(repository)).text(digest), &())?;
        }
        Ok(())
    }

    /// A tag points at a digest from the fact's time on.
    pub(super) fn tag(&mut self, repository: &str, tag: &str, digest: &str) -> Result<(), Error> {
        let repository = repository_key(repository);
        if repository.is_empty() || tag.is_empty() {
            return Ok(());
        }
        self.rows.put(self.key(table::TAGS).text(&repository).text(tag).stamp(self.at), &digest)?;
        self.short_name(&repository, tag)
    }

    pub(super) fn tag_of(&mut self, text: &str, digest: &str) -> Result<(), Error> {
        let Some(reference) = ArtifactRef::parse(text) else { return Ok(()) };
        self.tag(&reference.repository, &reference.tag, digest)
    }

    pub(super) fn purl(&mut self, text: &str, digest: &str) -> Result<(), Error> {
        let Some(purl) = Purl::parse(text) else { return Ok(()) };
        let key = self.key(table::PURLS).text(purl.package()).text(purl.version()).text(digest);
        self.rows.put_first(key, &())?;
        Ok(())
    }

    pub(super) fn alias(&mut self, digest: &str, role: u8, other: &str, platform: &str) -> Result<(), Error> {
        let key = self.key(table::ALIAS).text(digest).byte(role).text(other).text(platform);
        self.rows.put_first(key, &())?;
        Ok(())
    }
}

/// What the event says, else what its purl implies.
pub(super) fn kind_of(kind: i32, purl: &str) -> i32 {
    if kind != 0 {
        return kind;
    }
    match Purl::parse(purl) {
        Some(purl) if matches!(purl.kind(), "oci" | "docker") => ArtifactKind::ContainerImage.into(),
        Some(_) => ArtifactKind::Package.into(),
        None => 0,
    }
}
