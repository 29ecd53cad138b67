//! Artifacts themselves: packaged, published, tagged, signed, deleted, downloaded.

use pedigraph_proto::ArtifactRef;
use pedigraph_proto::event::{AliasObserved, ArtifactPackaged, ArtifactPublished, TagObserved};
use pedigraph_proto::fact::Artifact;

use super::fold::{Fold, clip, digest};
use super::rows::{BaseClaim, BaseMethod, Claim, Class, Evidence, EvidenceKind, key_text, role};
use crate::error::Error;
use crate::facts::own::{kind_of, kind_of_published};

/// Digests of one thing that one fact may name; the rest of them is not joined.
const SAME_MAX: usize = 256;

impl Fold<'_, '_, '_> {
    pub(super) fn of_artifact(&mut self, event: Artifact<'_>) -> Result<(), Error> {
        match event {
            Artifact::ArtifactPackaged(event) => self.packaged(event),
            Artifact::ArtifactPublished(event) => self.published(event),
            Artifact::TagObserved(event) => self.tag_observed(event),
            Artifact::ImageObserved(event) => self.image(event),
            Artifact::ArtifactSigned(e) => {
                let signer = clip(if e.signer.is_empty() { &e.key_id } else { &e.signer });
                let evidence = Evidence::Signature { signature: clip(&e.signature), signer };
                self.remark(EvidenceKind::Signature, (&e.artifact_digest, &e.artifact_ref), &evidence)
            }
            Artifact::ArtifactDeleted(e) => {
                let evidence = Evidence::Deleted { actor: clip(&e.actor) };
                self.remark(EvidenceKind::Deleted, (&e.artifact_digest, &e.artifact_ref), &evidence)
            }
            Artifact::ArtifactDownloaded(e) => {
                let evidence = Evidence::Downloaded { actor: clip(&e.actor) };
                self.remark(EvidenceKind::Downloaded, (&e.artifact_digest, &e.artifact_ref), &evidence)
            }
            Artifact::AliasObserved(event) => self.same(event),
        }
    }

    /// Each digest is joined to the first one, so that a document of many costs as many rows. MD5 and SHA-1 join
    /// nothing: it is known how to make two things with one such digest.
    fn same(&mut self, event: &AliasObserved) -> Result<(), Error> {
        let strong = |text: &String| !["md5:", "sha1:"].iter().any(|weak| text.starts_with(weak));
        let mut digests: Vec<String> = event.digests.iter().filter_map(|text| digest(text)).filter(strong).collect();
        digests.sort_unstable();
        digests.dedup();
        let Some((first, others)) = digests.split_first().filter(|(_, others)| !others.is_empty()) else {
            return Ok(());
        };
        self.rows.cut(3 * others.len().saturating_sub(SAME_MAX));
        for other in others.iter().take(SAME_MAX) {
            self.alias(first, role::SAME, other, "")?;
            self.alias(other, role::SAME, first, "")?;
        }
        digests.iter().take(SAME_MAX).try_for_each(|digest| self.name(digest, Class::Other, "", 0, ""))
    }

    fn packaged(&mut self, event: &ArtifactPackaged) -> Result<(), Error> {
        let Some(subject) = digest(&event.artifact_digest) else { return Ok(()) };
        let reference = if event.artifact_ref.is_empty() { &event.purl } else { &event.artifact_ref };
        self.name(&subject, Class::Built, reference, kind_of(event.kind, &event.purl), &event.platform)?;
        self.tag_of(reference, &subject)?;
        let run = self.run_id(&event.run, &event.run_source);
        self.product(&run, &subject)?;
        let claim = Claim {
            commit: key_text(&event.commit),
            repository: clip(&event.repository),
            change_id: clip(&event.change_id),
            run,
            pipeline: key_text(&event.pipeline),
            builder: clip(&event.builder),
            said_by: "packaged".to_owned(),
        };
        self.made(&subject, &claim)?;
        self.declared_parents(&subject, &event.parent_digests)?;
        self.materials(&subject, &event.materials)?;
        match digest(&event.base_digest) {
            Some(base) => {
                let claim = BaseClaim { method: BaseMethod::Declared, reference: clip(&event.base_ref) };
                self.base(&subject, &base, &claim)
            }
            None => self.base_tag(&subject, &event.base_ref),
        }
    }

    fn published(&mut self, event: &ArtifactPublished) -> Result<(), Error> {
        let Some(subject) = digest(&event.artifact_digest) else { return Ok(()) };
        let reference = if event.artifact_ref.is_empty() { &event.purl } else { &event.artifact_ref };
        self.name(&subject, Class::Published, reference, kind_of_published(event), &event.platform)?;
        if let Some(named) = ArtifactRef::parse(reference) {
            self.tag_beside_image(&named.tag, &subject)?;
        }
        self.tag_of(reference, &subject)?;
        let claim = Claim {
            commit: String::new(),
            repository: String::new(),
            change_id: String::new(),
            run: self.run_id(&event.run, &event.run_source),
            pipeline: String::new(),
            builder: String::new(),
            said_by: "published".to_owned(),
        };
        self.made(&subject, &claim)
    }

    fn tag_observed(&mut self, event: &TagObserved) -> Result<(), Error> {
        let repository = ArtifactRef::parse(&format!("{}:{}", event.repository, event.tag)).map(|r| r.repository);
        let repository = repository.unwrap_or_else(|| event.repository.clone());
        let subject = digest(&event.digest);
        if subject.is_none() && !event.digest.is_empty() {
            return Ok(());
        }
        self.tag(&repository, &event.tag, subject.as_deref().unwrap_or_default())?;
        match &subject {
            Some(subject) => {
                self.name_as(subject, Class::Observed, (&repository, &event.tag), 0, "")?;
                self.tag_beside_image(&event.tag, subject)
            }
            None => Ok(()),
        }
    }
}
