//! What a fact says about where an artifact comes from: claims, products of runs, bases, parents.

use std::collections::BTreeSet;

use pedigraph_proto::event::{ArtifactKind, Material};
use pedigraph_proto::{ArtifactRef, Purl, is_absolute_uri};
use serde::de::DeserializeOwned;

use super::fold::{Fold, clip, digest};
use super::rows::{BaseClaim, BaseMethod, Claim, Class, RunId, key_text, table};
use crate::error::Error;
use crate::facts::view::StandsAt;
use crate::store::key::Key;

/// Commits among the materials of one fact that are listed.
const COMMITS_MAX: usize = 32;
/// Materials of one fact that base edges are sought by.
const MATERIALS_MAX: usize = 10_000;

impl Fold<'_, '_, '_> {
    /// A run that a fact names: an id that is unique by itself, or the number of `source`, else of the event's source.
    pub(super) fn run_id(&self, id: &str, source: &str) -> RunId {
        let source = match source {
            _ if id.is_empty() || is_absolute_uri(id) => "",
            "" => &self.at.entry.source,
            source => source,
        };
        RunId { id: key_text(id), source: key_text(source) }
    }

    pub(super) fn product(&mut self, run: &RunId, digest: &str) -> Result<(), Error> {
        if run.id.is_empty() {
            return Ok(());
        }
        self.rows.put(run.key(self.key(table::PRODUCTS)).text(digest).stamp(self.at), &())?;
        self.rows.put(run.key(self.key(table::RUNS).text(digest)).stamp(self.at), &())
    }

    pub(super) fn claim(&mut self, digest: &str, claim: &Claim) -> Result<(), Error> {
        if claim.says_nothing() {
            return Ok(());
        }
        self.rows.put(self.key(table::CLAIMS).text(digest).byte(claim.class()).stamp(self.at), claim)?;
        self.built_from(digest, &claim.commit, &claim.pipeline)
    }

    /// What a build or a publication says of where an artifact comes from; that it was one is kept even where it says
    /// nothing.
    pub(super) fn made(&mut self, digest: &str, claim: &Claim) -> Result<(), Error> {
        if claim.says_nothing() {
            return self.rows.put(self.key(table::MADE).text(digest).stamp(self.at), &claim.class());
        }
        self.claim(digest, claim)
    }

    pub(super) fn built_from(&mut self, digest: &str, commit: &str, pipeline: &str) -> Result<(), Error> {
        if commit.is_empty() {
            return Ok(());
        }
        let from = self.key(table::BUILT_FROM).text(commit).text(pipeline).text(digest).stamp(self.at);
        self.rows.put(from, &())?;
        let of = self.key(table::COMMITS).text(digest).text(commit).text(pipeline).stamp(self.at);
        self.rows.put(of, &())
    }

    /// A base named by digest.
    pub(super) fn base(&mut self, derived: &str, base: &str, claim: &BaseClaim) -> Result<(), Error> {
        if derived == base {
            return Ok(());
        }
        let bases = self.key(table::BASES).text(derived).text(base).byte(claim.method as u8);
        let is_first = self.is_first::<BaseClaim>(&bases)?;
        self.rows.put_in(&bases, bases.clone().stamp(self.at), claim)?;
        if is_first {
            let of = self.key(table::DERIVED).text(base).stamp(self.at).text(derived).byte(claim.method as u8);
            self.rows.put(of, &())?;
        }
        // Who names a base by digest names an artifact, so that its derived images are found though nobody describes
        // it.
        match claim.method {
            BaseMethod::Declared | BaseMethod::Image | BaseMethod::Annotation => {
                let kind = ArtifactKind::ContainerImage.into();
                self.name_as(base, Class::Other, (&base_repository(claim), ""), kind, "")
            }
            BaseMethod::Material | BaseMethod::Tool => Ok(()),
        }
    }

    /// A base named by tag only: it resolves when the tag's mapping at build time is known.
    pub(super) fn base_tag(&mut self, derived: &str, text: &str) -> Result<(), Error> {
        let Some(reference) = ArtifactRef::parse(text) else { return Ok(()) };
        if let Some(base) = &reference.digest {
            let claim = BaseClaim { method: BaseMethod::Annotation, reference: clip(text) };
            return self.base(derived, base.as_str(), &claim);
        }
        let (repository, tag) = (&reference.repository_key(), &reference.tag);
        let from = self.key(table::FROM).text(derived).text(repository).text(tag);
        let is_first = self.is_first::<String>(&from)?;
        // One fact may name a base twice, each time written otherwise.
        let is_new = self.rows.put_first(from.stamp(self.at), &reference.to_string())?;
        if is_first && is_new {
            self.rows.put(self.key(table::FROM_OF).text(repository).text(tag).stamp(self.at).text(derived), &())?;
        }
        Ok(())
    }

    /// Whether this fact is before all others in a group of rows whose keys go on with their stamps.
    fn is_first<T: DeserializeOwned>(&mut self, group: &Key) -> Result<bool, Error> {
        let here = group.clone().stamp(self.at);
        Ok(self.rows.nearest::<T>(group, group, &here, false)?.is_none())
    }

    pub(super) fn materials(&mut self, derived: &str, materials: &[Material]) -> Result<(), Error> {
        self.rows.cut(2 * materials.len().saturating_sub(MATERIALS_MAX));
        let named = materials.iter().take(MATERIALS_MAX).filter_map(named_material);
        named.into_iter().try_for_each(|(base, claim)| self.base(derived, &base, &claim))
    }

    pub(super) fn declared_parents(&mut self, child: &str, parents: &[String]) -> Result<(), Error> {
        for parent in parents.iter().filter_map(|parent| digest(parent)).filter(|parent| parent != child) {
            self.rows.put(self.key(table::PARENTS).text(child).text(&parent).stamp(self.at), &())?;
            self.rows.put(self.key(table::CHILDREN).text(&parent).text(child).stamp(self.at), &())?;
            self.rows.sink.told.versions.insert(child.to_owned());
        }
        Ok(())
    }
}

/// The digest by which a base may be known that a material names, and as what.
pub(super) fn named_material(material: &Material) -> Option<(String, BaseClaim)> {
    let purl = Purl::parse(&material.uri);
    let named = digest(&material.digest).or_else(|| Some(purl.as_ref()?.named_digest()?.to_string()));
    let base = named.filter(|base| base.starts_with("sha256:") || base.starts_with("sha512:"))?;
    let image = purl.is_some_and(|purl| matches!(purl.kind(), "docker" | "oci"))
        || ["docker://", "oci://", "docker-image://", "docker-pullable://"]
            .iter()
            .any(|scheme| material.uri.starts_with(scheme));
    let method = match (material.tool, image) {
        (true, _) => BaseMethod::Tool,
        (false, true) => BaseMethod::Image,
        (false, false) => BaseMethod::Material,
    };
    Some((base, BaseClaim { method, reference: clip(&material.uri) }))
}

/// Of the line that a base is of, where its address says so.
pub(super) fn base_repository(claim: &BaseClaim) -> String {
    ArtifactRef::parse(&claim.reference).map(|reference| reference.repository).unwrap_or_default()
}

/// Commits that went into a build of which nothing says what its source is, each with where it is from.
pub(super) fn commits_among(materials: &[Material]) -> BTreeSet<(&str, &str)> {
    let commits = materials.iter().filter_map(|material| {
        let hash = material.digest.strip_prefix("gitCommit:");
        let hash = hash.or_else(|| material.digest.strip_prefix("sha1:").filter(|_| is_git(&material.uri)))?;
        Some((hash, material.uri.as_str()))
    });
    commits.take(COMMITS_MAX).collect()
}

/// A checkout, whose SHA-1 is a commit's.
fn is_git(uri: &str) -> bool {
    uri.starts_with("git") || uri.contains(".git") || uri.contains("/github.com/") || uri.contains("/gitlab.com/")
}
