//! What an event says that an artifact is: of which kind, and what it is called by purl (SPEC §5, rank 2), which is the
//! purl that the event gives it, else, of a container image, that of the repository where the event says it is.

use std::borrow::Cow;

use pedigraph_proto::event::{
    ArtifactKind, ArtifactPackaged, ArtifactPublished, DigestKind, ImageObserved, SbomAttached,
};
use pedigraph_proto::fact::{Artifact, Evidence, Family};
use pedigraph_proto::image::is_evidence_type;
use pedigraph_proto::{ArtifactRef, Event, Purl};

/// The artifact that an event names, as it writes the digest, and the purl by which it calls it.
pub(crate) fn called(event: &Event) -> Option<(&str, Cow<'_, str>)> {
    let (digest, purl, reference, is_image) = match event.family() {
        Family::Artifact(Artifact::ArtifactPackaged(event)) => {
            let ArtifactPackaged { artifact_digest, purl, artifact_ref, .. } = event;
            (artifact_digest, purl.as_str(), artifact_ref, event.kind() == ArtifactKind::ContainerImage)
        }
        Family::Artifact(Artifact::ArtifactPublished(event)) => {
            let ArtifactPublished { artifact_digest, purl, artifact_ref, .. } = event;
            let is_image = purl.is_empty() && kind_of_published(event) == i32::from(ArtifactKind::ContainerImage);
            (artifact_digest, purl.as_str(), artifact_ref, is_image)
        }
        Family::Artifact(Artifact::ImageObserved(event)) => {
            let is_of_image =
                matches!(event.digest_kind(), DigestKind::Index | DigestKind::Manifest | DigestKind::Config);
            let is_purl = event.digest_kind() == DigestKind::Package && event.artifact_ref.starts_with("pkg:");
            let purl = if is_purl { event.artifact_ref.as_str() } else { "" };
            (&event.digest, purl, &event.artifact_ref, is_of_image && !is_evidence(event))
        }
        Family::Evidence(Evidence::SbomAttached(event)) => {
            let SbomAttached { artifact_digest, purl, artifact_ref, .. } = event;
            (artifact_digest, purl.as_str(), artifact_ref, event.kind() == ArtifactKind::ContainerImage)
        }
        Family::Source(_)
        | Family::Work(_)
        | Family::Artifact(_)
        | Family::Evidence(_)
        | Family::Deploy(_)
        | Family::Control(_) => return None,
    };
    if digest.is_empty() {
        return None;
    }
    let purl = match purl {
        "" if is_image => Cow::Owned(ArtifactRef::parse(reference)?.image_purl()?),
        "" => return None,
        given => Cow::Borrowed(given),
    };
    Some((digest, purl))
}

/// What the event says, else what its purl implies.
pub(crate) fn kind_of(kind: i32, purl: &str) -> i32 {
    if kind != 0 {
        return kind;
    }
    match Purl::parse(purl) {
        Some(purl) if matches!(purl.kind(), "oci" | "docker") => ArtifactKind::ContainerImage.into(),
        Some(_) => ArtifactKind::Package.into(),
        None => 0,
    }
}

/// What the event says, else what its purl implies, else what kind of digest it names.
pub(crate) fn kind_of_published(event: &ArtifactPublished) -> i32 {
    let is_of_image = matches!(event.digest_kind(), DigestKind::Index | DigestKind::Manifest | DigestKind::Config);
    match kind_of(event.kind, &event.purl) {
        0 if is_of_image => ArtifactKind::ContainerImage.into(),
        kind => kind,
    }
}

/// Whether it is kept beside images, and is none: a signature, an attestation, an SBOM.
pub(crate) fn is_evidence(event: &ImageObserved) -> bool {
    is_evidence_type(&event.artifact_type) || event.platform.starts_with("unknown/")
}
