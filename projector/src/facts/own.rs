//! What an artifact is called by purl (SPEC §5, rank 2): the purl that an event gives it, else, of a container image, that
//! of the repository where the event says it is.

use std::borrow::Cow;

use pedigraph_proto::event::{ArtifactKind, ArtifactPackaged, ArtifactPublished, DigestKind, SbomAttached};
use pedigraph_proto::fact::{Artifact, Evidence, Family};
use pedigraph_proto::image::is_evidence_type;
use pedigraph_proto::{ArtifactRef, Event};

/// The artifact that an event names, as it writes the digest, and the purl by which it calls it.
pub(crate) fn called(event: &Event) -> Option<(&str, Cow<'_, str>)> {
    let (digest, purl, reference, is_image) = match event.family() {
        Family::Artifact(Artifact::ArtifactPackaged(event)) => {
            let ArtifactPackaged { artifact_digest, purl, artifact_ref, .. } = event;
            (artifact_digest, purl.as_str(), artifact_ref, event.kind() == ArtifactKind::ContainerImage)
        }
        Family::Artifact(Artifact::ArtifactPublished(event)) => {
            let ArtifactPublished { artifact_digest, purl, artifact_ref, .. } = event;
            let is_untold = event.kind() == ArtifactKind::Unspecified;
            let is_image =
                event.kind() == ArtifactKind::ContainerImage || (is_untold && is_of_image(event.digest_kind()));
            (artifact_digest, purl.as_str(), artifact_ref, is_image)
        }
        Family::Artifact(Artifact::ImageObserved(event)) => {
            let is_image = is_of_image(event.digest_kind()) && !is_evidence_type(&event.artifact_type);
            (&event.digest, "", &event.artifact_ref, is_image && !event.platform.starts_with("unknown/"))
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

fn is_of_image(kind: DigestKind) -> bool {
    matches!(kind, DigestKind::Index | DigestKind::Manifest | DigestKind::Config)
}
