//! What was seen of an image: its names and those of its manifests, its layers, its base.

use std::collections::BTreeSet;

use pedigraph_proto::event::{ArtifactKind, DigestKind, ImageObserved};
use pedigraph_proto::image;
use pedigraph_proto::{ArtifactRef, Digest, canonical};

use super::fold::{Fold, clip, digest};
use super::naming::Naming;
use super::rows::{
    BaseClaim, BaseMethod, Claim, Class, Evidence, EvidenceKind, FirstWith, RunId, key_text, role, table,
};
use super::said::up_to_here;
use crate::error::Error;
use crate::facts::own::is_evidence;
use crate::facts::view::StandsAt;

/// Layers of one image that base edges are sought by; OCI runtimes allow 127.
const LAYERS_MAX: usize = 512;

/// Names with rows of their own that one fact gives to what an index lists: tags times manifests.
const LISTED_NAMES_MAX: usize = 4_096;

impl Fold<'_, '_, '_> {
    pub(super) fn image(&mut self, event: &ImageObserved) -> Result<(), Error> {
        let Some(subject) = digest(&event.digest) else { return Ok(()) };
        if matches!(event.digest_kind(), DigestKind::Layer | DigestKind::Blob | DigestKind::Git) {
            return Ok(());
        }
        let evidence = is_evidence(event);
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
        let (class, kind) = if evidence { (Class::Evidence, ArtifactKind::Generic) } else { (Class::Observed, kind) };
        self.image_names(event, &subject, class, kind.into())?;
        if let Some(config) = digest(&event.config_digest).filter(|config| *config != subject) {
            self.alias(&subject, role::CONFIG, &config, "")?;
            self.alias(&config, role::MANIFEST, &subject, "")?;
        }
        self.layers(&subject, &event.diff_ids)?;
        self.declared_parents(&subject, &event.parent_digests)?;
        let claim = Claim {
            commit: key_text(&event.commit),
            repository: clip(&event.repository),
            change_id: String::new(),
            run: RunId::default(),
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
    fn image_names(&mut self, event: &ImageObserved, subject: &str, class: Class, kind: i32) -> Result<(), Error> {
        let reference = ArtifactRef::parse(&event.artifact_ref);
        let repository = reference.as_ref().map(|r| r.repository.clone()).unwrap_or_default();
        let named_tag = reference.map(|r| r.tag);
        let mut tags: Vec<&str> = named_tag.iter().chain(&event.tags).map(String::as_str).collect();
        tags.retain(|tag| !tag.is_empty());
        tags.sort_unstable();
        tags.dedup();
        let mut listed: Vec<(String, &str)> = event
            .manifests
            .iter()
            .filter(|manifest| manifest.artifact_type.is_empty() && !manifest.platform.starts_with("unknown"))
            .filter_map(|manifest| Some((digest(&manifest.digest)?, manifest.platform.as_str())))
            .filter(|(manifest, _)| manifest != subject)
            .collect();
        listed.sort_unstable();
        listed.dedup();
        for tag in &tags {
            self.tag(&repository, tag, subject)?;
        }
        let mut named: Vec<(&str, &str)> = vec![(subject, event.platform.as_str())];
        named.extend(listed.iter().map(|(manifest, platform)| (manifest.as_str(), *platform)));
        named.sort_unstable();
        named.dedup_by_key(|(digest, _)| *digest);
        // The image itself by every tag; what it lists as far as tags times manifests allow, else by the first tags.
        let tags_each = (LISTED_NAMES_MAX / named.len().max(1)).max(1);
        for (named, platform) in named {
            let calls = if named == subject { tags.len() } else { tags.len().min(tags_each) };
            let order = self.rows.stamp.order();
            let naming = Naming { class, repository: &repository, tags: &tags, kind, platform, order };
            self.names(named, &naming, calls)?;
            self.rows.cut(tags.len() - calls);
        }
        for (manifest, platform) in &listed {
            self.alias(subject, role::PLATFORM, manifest, platform)?;
            self.alias(manifest, role::INDEX, subject, platform)?;
        }
        self.beside_images(event, subject, &tags)
    }

    /// Signatures and attestations that a registry keeps beside an image are evidence of that image.
    fn beside_images(&mut self, event: &ImageObserved, subject: &str, tags: &[&str]) -> Result<(), Error> {
        let by_type = evidence_of_type(&event.artifact_type).zip(digest(&event.subject_digest));
        let of: BTreeSet<_> = tags.iter().filter_map(|tag| evidence_of_tag(tag)).chain(by_type).collect();
        let images: BTreeSet<&String> = of.iter().map(|(_, image)| image).filter(|image| *image != subject).collect();
        for image in &images {
            self.name(image, Class::Other, "", 0, "")?;
        }
        for (kind, image) in of.iter().filter(|(_, image)| images.contains(image)) {
            self.kept_beside(*kind, image, subject, &event.artifact_type)?;
        }
        Ok(())
    }

    fn kept_beside(&mut self, kind: EvidenceKind, image: &str, by: &str, artifact_type: &str) -> Result<(), Error> {
        let evidence = Evidence::Kept { digest: by.to_owned(), artifact_type: clip(artifact_type) };
        self.note(image, kind, &evidence)
    }

    /// A tag that says of which image its artifact is evidence.
    pub(super) fn tag_beside_image(&mut self, tag: &str, subject: &str) -> Result<(), Error> {
        let Some((kind, image)) = evidence_of_tag(tag).filter(|(_, image)| image != subject) else { return Ok(()) };
        self.name(&image, Class::Other, "", 0, "")?;
        self.kept_beside(kind, &image, subject, "")
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
        let is_new = self.rows.put_first(self.key(table::LAYERS).text(subject).bytes(&hash), &chain)?;
        // Images have nothing in common by layers without content.
        let empty = diff_ids.iter().take_while(|id| is_empty_layer(id)).count();
        if empty == diff_ids.len() {
            return Ok(());
        }
        self.first_with(&hash, subject)?;
        chain.pop();
        for prefix in chain.into_iter().skip(empty).filter(|_| is_new) {
            self.rows.put(self.key(table::PREFIX).bytes(&prefix).stamp(self.at).text(subject), &())?;
        }
        Ok(())
    }

    /// Which image was the first with all of some layers.
    fn first_with(&mut self, layers: &[u8; 32], subject: &str) -> Result<(), Error> {
        let group = self.key(table::CHAIN).bytes(layers);
        let here = FirstWith { order: self.rows.stamp.order(), digest: subject.to_owned() };
        let first = self.memory.layers.newest(&group, self.rows)?;
        if first.as_ref().is_none_or(|first| here < *first) {
            self.rows.put_in(&group, up_to_here(group.clone(), self.at), &here)?;
            self.memory.layers.keep(group, here);
        } else if let Some(first) = first {
            self.memory.layers.keep(group, first);
        }
        Ok(())
    }
}

/// The digest of a tar archive without files, which builders write for steps that change nothing.
fn is_empty_layer(diff_id: &str) -> bool {
    const EMPTY_TAR: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
    diff_id == EMPTY_TAR || diff_id.parse::<Digest>().is_ok_and(|digest| digest.is_of_empty_content())
}

/// The kind of evidence behind cosign's tags `sha256-<hex>.sig` and `.att`, and the image that it is of.
fn evidence_of_tag(tag: &str) -> Option<(EvidenceKind, String)> {
    let (image, ending) = image::evidence_of_tag(tag).filter(|(image, _)| !image.is_of_empty_content())?;
    let kind = match ending {
        "sig" => EvidenceKind::Signature,
        "att" => EvidenceKind::Attestation,
        _ => return None,
    };
    Some((kind, image.to_string()))
}

fn evidence_of_type(artifact_type: &str) -> Option<EvidenceKind> {
    const SIGNATURES: [&str; 3] =
        ["application/vnd.dev.cosign.", "application/vnd.dev.sigstore.", "application/vnd.cncf.notary."];
    const ATTESTATIONS: [&str; 4] =
        ["application/vnd.in-toto", "application/vnd.dsse.", "application/in-toto+json", "attestation-manifest"];
    let is = |types: &[&str]| types.iter().any(|of_type| artifact_type.starts_with(of_type));
    let signature = is(&SIGNATURES).then_some(EvidenceKind::Signature);
    signature.or_else(|| is(&ATTESTATIONS).then_some(EvidenceKind::Attestation))
}

/// The image of a `FROM` line in an image's history.
fn from_of(created_by: &str) -> Option<&str> {
    let mut words = created_by.split_whitespace().skip_while(|word| *word != "FROM").skip(1);
    words.find(|word| !word.starts_with("--")).filter(|word| *word != "scratch")
}
