//! What was seen of an image: its names and those of its manifests, its layers, its base.

use pedigraph_proto::event::{ArtifactKind, DigestKind, ImageObserved};
use pedigraph_proto::{ArtifactRef, canonical};

use super::fold::{Fold, clip, digest};
use super::rows::{BaseClaim, BaseMethod, Claim, Class, role, table};
use crate::error::Error;

/// Layers of one image that base edges are sought by; OCI runtimes allow 127.
const LAYERS_MAX: usize = 512;

impl Fold<'_, '_, '_> {
    pub(super) fn image(&mut self, event: &ImageObserved) -> Result<(), Error> {
        let Some(subject) = digest(&event.digest) else { return Ok(()) };
        if matches!(event.digest_kind(), DigestKind::Layer | DigestKind::Blob | DigestKind::Git) {
            return Ok(());
        }
        let kind = match event.digest_kind() {
            DigestKind::Package => ArtifactKind::Package,
            DigestKind::Unspecified
            | DigestKind::Index
            | DigestKind::Manifest
            | DigestKind::Config
            | DigestKind::Layer
            | DigestKind::Blob
            | DigestKind::Git => ArtifactKind::ContainerImage,
        };
        self.image_names(event, &subject, kind.into())?;
        if let Some(config) = digest(&event.config_digest).filter(|config| *config != subject) {
            self.alias(&subject, role::CONFIG, &config, "")?;
            self.alias(&config, role::MANIFEST, &subject, "")?;
        }
        self.layers(&subject, &event.diff_ids)?;
        self.declared_parents(&subject, &event.parent_digests)?;
        let claim = Claim {
            commit: event.commit.clone(),
            repository: clip(&event.repository),
            change_id: String::new(),
            run: String::new(),
            pipeline: String::new(),
            builder: String::new(),
            said_by: "annotation".to_owned(),
        };
        self.claim(&subject, &claim)?;
        if let Some(base) = digest(&event.base_digest) {
            let claim = BaseClaim { method: BaseMethod::Annotation, reference: clip(&event.base_ref) };
            self.base(&subject, &base, &claim)?;
        }
        if !event.base_ref.is_empty() {
            self.base_tag(&subject, &event.base_ref)?;
        }
        for line in &event.history {
            if let Some(from) = from_of(&line.created_by) {
                self.base_tag(&subject, from)?;
            }
        }
        Ok(())
    }

    /// The image's own names, and those that an index gives its platform manifests.
    fn image_names(&mut self, event: &ImageObserved, subject: &str, kind: i32) -> Result<(), Error> {
        let reference = ArtifactRef::parse(&event.artifact_ref);
        let repository = reference.as_ref().map(|r| r.repository.clone()).unwrap_or_default();
        let named_tag = reference.filter(|_| event.artifact_ref.contains(':')).map(|r| r.tag);
        let mut tags: Vec<&str> = named_tag.iter().chain(&event.tags).map(String::as_str).collect();
        tags.retain(|tag| !tag.is_empty());
        tags.sort_unstable();
        tags.dedup();
        let listed: Vec<(String, &str)> = event
            .manifests
            .iter()
            .filter(|manifest| manifest.artifact_type.is_empty() && !manifest.platform.starts_with("unknown"))
            .filter_map(|manifest| Some((digest(&manifest.digest)?, manifest.platform.as_str())))
            .filter(|(manifest, _)| manifest != subject)
            .collect();
        for tag in &tags {
            self.tag(&repository, tag, subject)?;
        }
        let mut named: Vec<(&str, &str)> = vec![(subject, event.platform.as_str())];
        named.extend(listed.iter().map(|(manifest, platform)| (manifest.as_str(), *platform)));
        named.sort_unstable();
        named.dedup_by_key(|(digest, _)| *digest);
        for (named, platform) in named {
            if tags.is_empty() {
                self.name_as(named, Class::Observed, (&repository, ""), kind, platform)?;
            }
            for tag in &tags {
                self.name_as(named, Class::Observed, (&repository, tag), kind, platform)?;
            }
        }
        for (manifest, platform) in &listed {
            self.alias(subject, role::PLATFORM, manifest, platform)?;
            self.alias(manifest, role::INDEX, subject, platform)?;
        }
        Ok(())
    }

    /// Rows that find images by all their layers and by every proper prefix of them.
    fn layers(&mut self, subject: &str, diff_ids: &[String]) -> Result<(), Error> {
        if diff_ids.is_empty() || diff_ids.len() > LAYERS_MAX {
            return Ok(());
        }
        let mut hash = [0; 32];
        let mut chain: Vec<[u8; 32]> = Vec::with_capacity(diff_ids.len());
        for diff_id in diff_ids {
            hash = canonical::sha256(&[&hash, diff_id.as_bytes()].concat());
            chain.push(hash);
        }
        if !self.rows.put_first(self.key(table::LAYERS).text(subject).bytes(&hash), &chain)? {
            return Ok(());
        }
        chain.pop();
        self.rows.put_first(self.key(table::CHAIN).bytes(&hash).text(subject), &())?;
        for prefix in chain {
            self.rows.put_first(self.key(table::PREFIX).bytes(&prefix).text(subject), &())?;
        }
        Ok(())
    }
}

/// The image of a `FROM` line in an image's history.
fn from_of(created_by: &str) -> Option<&str> {
    let mut words = created_by.split_whitespace().skip_while(|word| *word != "FROM").skip(1);
    words.find(|word| !word.starts_with("--")).filter(|word| *word != "scratch")
}
