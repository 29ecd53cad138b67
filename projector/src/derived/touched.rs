//! Which digests a fact names, or says what they are joined to or contain; and which tags it moves. It may be more than
//! its folding would tell.

use pedigraph_proto::event::{ArtifactPackaged, AttestationAttached, ImageObserved, Material};
use pedigraph_proto::fact::{Artifact, Deploy, Evidence, Family};
use pedigraph_proto::image::evidence_of_tag;
use pedigraph_proto::{ArtifactRef, Digest, Event, Purl, repository_key};

use crate::facts::components::rows::digest_text;

/// Gives each; may repeat, and may give more.
pub(super) fn digests(event: &Event, touch: &mut dyn FnMut(String)) {
    let subjects = event.subject_digests();
    subjects.into_iter().for_each(|text| digest(text, touch));
    match event.family() {
        Family::Artifact(Artifact::ArtifactPackaged(event)) => packaged(event, touch),
        Family::Artifact(Artifact::ArtifactPublished(event)) => {
            let tag = ArtifactRef::parse(&event.artifact_ref).map(|named| named.tag);
            evidence_of(tag.as_deref().unwrap_or_default(), touch);
        }
        Family::Artifact(Artifact::TagObserved(event)) => evidence_of(&event.tag, touch),
        Family::Artifact(Artifact::ImageObserved(event)) => image(event, touch),
        Family::Evidence(Evidence::AttestationAttached(event)) => attestation(event, touch),
        Family::Evidence(Evidence::SbomAttached(event)) => {
            let named = [&event.artifact_digest, &event.sbom_digest];
            named.into_iter().filter(|text| !text.is_empty()).for_each(|text| touch(digest_text(text)));
        }
        Family::Deploy(Deploy::ServiceDeployed(event)) => reference(&event.artifact_ref, touch),
        Family::Deploy(Deploy::CanaryChanged(event)) => reference(&event.artifact_ref, touch),
        Family::Artifact(
            Artifact::ArtifactSigned(_)
            | Artifact::ArtifactDeleted(_)
            | Artifact::ArtifactDownloaded(_)
            | Artifact::AliasObserved(_),
        )
        | Family::Evidence(
            Evidence::ComponentsListed(_)
            | Evidence::ScanCompleted(_)
            | Evidence::VexIssued(_)
            | Evidence::TestsFinished(_)
            | Evidence::ReachabilityAnalyzed(_)
            | Evidence::RebuildChecked(_)
            | Evidence::ApprovalDecided(_)
            | Evidence::AdvisoryPublished(_),
        )
        | Family::Deploy(
            Deploy::EnvironmentChanged(_)
            | Deploy::ServiceRemoved(_)
            | Deploy::FlagChanged(_)
            | Deploy::ConfigChanged(_)
            | Deploy::FreezeChanged(_),
        )
        | Family::Source(_)
        | Family::Work(_)
        | Family::Control(_) => {}
    }
}

/// Gives each tag that a fact may move, as references that are compared.
pub(super) fn tags(event: &Event, touch: &mut dyn FnMut(String)) {
    let mut tag = |repository: &str, tag: &str| {
        let repository = repository_key(repository);
        touch(ArtifactRef { repository, tag: tag.to_owned(), digest: None }.keyed().to_string());
    };
    let mut reference = |text: &str| {
        if let Some(named) = ArtifactRef::parse(text) {
            tag(&named.repository, &named.tag);
        }
    };
    match event.family() {
        Family::Artifact(Artifact::ArtifactPackaged(event)) => {
            [&event.artifact_ref, &event.purl].into_iter().for_each(|text| reference(text));
        }
        Family::Artifact(Artifact::ArtifactPublished(event)) => {
            [&event.artifact_ref, &event.purl].into_iter().for_each(|text| reference(text));
        }
        Family::Artifact(Artifact::TagObserved(event)) => reference(&format!("{}:{}", event.repository, event.tag)),
        Family::Artifact(Artifact::ImageObserved(event)) => {
            reference(&event.artifact_ref);
            let repository = ArtifactRef::parse(&event.artifact_ref).map(|named| named.repository).unwrap_or_default();
            event.tags.iter().for_each(|of| tag(&repository, of));
        }
        Family::Artifact(
            Artifact::ArtifactSigned(_)
            | Artifact::ArtifactDeleted(_)
            | Artifact::ArtifactDownloaded(_)
            | Artifact::AliasObserved(_),
        )
        | Family::Evidence(_)
        | Family::Deploy(_)
        | Family::Source(_)
        | Family::Work(_)
        | Family::Control(_) => {}
    }
}

fn digest(text: &str, touch: &mut dyn FnMut(String)) {
    if let Ok(digest) = text.parse::<Digest>() {
        touch(digest.to_string());
    }
}

fn reference(text: &str, touch: &mut dyn FnMut(String)) {
    if text.contains('@') {
        let named = ArtifactRef::parse(text).and_then(|named| named.digest);
        named.into_iter().for_each(|digest| touch(digest.to_string()));
    }
}

/// The image that a tag says its artifact is evidence of.
fn evidence_of(tag: &str, touch: &mut dyn FnMut(String)) {
    evidence_of_tag(tag).into_iter().for_each(|(image, _)| touch(image.to_string()));
}

fn packaged(event: &ArtifactPackaged, touch: &mut dyn FnMut(String)) {
    digest(&event.base_digest, touch);
    reference(&event.base_ref, touch);
    materials(&event.materials, touch);
}

fn attestation(event: &AttestationAttached, touch: &mut dyn FnMut(String)) {
    materials(&event.materials, touch);
}

fn materials(materials: &[Material], touch: &mut dyn FnMut(String)) {
    for material in materials {
        digest(&material.digest, touch);
        let named = Purl::parse(&material.uri).and_then(|purl| purl.named_digest().map(|digest| digest.to_string()));
        named.into_iter().for_each(&mut *touch);
    }
}

fn image(event: &ImageObserved, touch: &mut dyn FnMut(String)) {
    let digests = [&event.config_digest, &event.subject_digest, &event.base_digest];
    digests.into_iter().for_each(|text| digest(text, touch));
    event.manifests.iter().for_each(|manifest| digest(&manifest.digest, touch));
    reference(&event.base_ref, touch);
    let words = event.history.iter().flat_map(|line| line.created_by.split_whitespace());
    words.for_each(|word| reference(word, touch));
    let named = ArtifactRef::parse(&event.artifact_ref).map(|named| named.tag);
    named.iter().chain(&event.tags).for_each(|tag| evidence_of(tag, touch));
}
