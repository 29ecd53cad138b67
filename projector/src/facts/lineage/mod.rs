//! Artifacts, what they come from and what is said of them: small rows keyed by what they are about.
//!
//! Everything else is computed from them when asked, so that a late fact changes earlier answers and arrival order means
//! nothing (DESIGN §3.5).

use pedigraph_proto::event::{
    ArtifactKind, ArtifactPackaged, ArtifactPublished, AttestationAttached, CanaryChanged, ChangeMerged, DigestKind,
    ImageObserved, Material, RefUpdated, RunFinished, RunStarted, SbomAttached, ScanCompleted, ServiceDeployed,
    TagObserved, TestsFinished, VexIssued, VexStatement,
};
use pedigraph_proto::{ArtifactRef, Digest, Event, Purl, canonical, json, repository_key};

use self::rows::{
    BaseClaim, BaseMethod, Claim, Class, CommitFact, Detail, Evidence, EvidenceKind, Naming, Work, key, role, table,
};
use crate::error::Error;
use crate::facts::view::{FactAt, StandsAt, View};
use crate::rows::Rows;
use crate::store::key::Key;

pub(crate) mod rows;

/// Layers of one image that base edges are sought by; OCI runtimes allow 127.
const LAYERS_MAX: usize = 512;
/// Materials of one fact that base edges are sought by.
const MATERIALS_MAX: usize = 10_000;
/// Bytes of a text that a row keeps.
const TEXT_BYTES_MAX: usize = 512;

/// The view of artifacts, lineage and evidence.
#[derive(Default)]
pub(crate) struct LineageFacts;

impl View for LineageFacts {
    fn name(&self) -> &'static str {
        "lineage"
    }

    fn fold(&self, at: &FactAt<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
        let mut fold = Fold { at, rows };
        match at.event {
            Event::ChangeMerged(event) => fold.change_merged(event),
            Event::RefUpdated(event) => fold.ref_updated(event),
            Event::RunStarted(event) => fold.run_started(event),
            Event::RunFinished(event) => fold.run_finished(event),
            Event::ArtifactPackaged(event) => fold.packaged(event),
            Event::ArtifactPublished(event) => fold.published(event),
            Event::TagObserved(event) => fold.tag_observed(event),
            Event::ImageObserved(event) => fold.image(event),
            Event::SbomAttached(event) => fold.sbom(event),
            Event::AttestationAttached(event) => fold.attestation(event),
            Event::ScanCompleted(event) => fold.scan(event),
            Event::VexIssued(event) => fold.vex(event),
            Event::TestsFinished(event) => fold.tests(event),
            Event::ServiceDeployed(event) => fold.deployed(event),
            Event::CanaryChanged(event) => fold.canary(event),
            Event::ArtifactSigned(e) => {
                let signer = if e.signer.is_empty() { &e.key_id } else { &e.signer };
                let about = (e.artifact_digest.as_str(), e.artifact_ref.as_str());
                fold.remark(EvidenceKind::Signature, about, &e.signature, &format!("signed{}", by(signer)))
            }
            Event::ArtifactDeleted(e) => {
                let about = (e.artifact_digest.as_str(), e.artifact_ref.as_str());
                fold.remark(EvidenceKind::Deleted, about, "", &format!("deleted{}", by(&e.actor)))
            }
            Event::ArtifactDownloaded(e) => {
                let about = (e.artifact_digest.as_str(), e.artifact_ref.as_str());
                fold.remark(EvidenceKind::Downloaded, about, "", &format!("downloaded{}", by(&e.actor)))
            }
            Event::ReachabilityAnalyzed(e) => {
                let summary = format!("{} is {} ({} paths)", e.vulnerability, e.status, e.paths);
                fold.remark(EvidenceKind::Reachability, (&e.artifact_digest, ""), &e.vulnerability, &summary)
            }
            Event::RebuildChecked(e) => {
                let summary = if e.reproducible { "rebuilt alike" } else { "rebuilt with another digest" };
                fold.remark(EvidenceKind::Rebuild, (&e.artifact_digest, ""), &e.rebuilt_digest, summary)
            }
            Event::ApprovalDecided(e) => {
                let summary = format!("{} for {}{}", e.decision, e.environment, by(&e.actor));
                fold.remark(EvidenceKind::Approval, (&e.artifact_digest, ""), &e.decision, &summary)
            }
            Event::RepositoryObserved(_)
            | Event::AliasObserved(_)
            | Event::StepFinished(_)
            | Event::ComponentsListed(_)
            | Event::EnvironmentChanged(_)
            | Event::ServiceRemoved(_)
            | Event::FlagChanged(_)
            | Event::ConfigChanged(_)
            | Event::FreezeChanged(_)
            | Event::OpaqueReceived(_)
            | Event::MessageRejected(_)
            | Event::KeyRotated(_)
            | Event::ViewRootRecorded(_)
            | Event::BodyErased(_) => Ok(()),
        }
    }
}

/// One fact being folded.
struct Fold<'a, 'b, 'c> {
    at: &'a FactAt<'a>,
    rows: &'b mut Rows<'c>,
}

/// A text that a row keeps: long ones are clipped, since facts hold them whole.
fn clip(text: &str) -> String {
    text.char_indices().take_while(|(at, _)| *at < TEXT_BYTES_MAX).map(|(_, letter)| letter).collect()
}

fn texts(pairs: &[(&str, &str)]) -> Vec<(String, Detail)> {
    let said = pairs.iter().filter(|(_, text)| !text.is_empty());
    said.map(|(name, text)| ((*name).to_owned(), Detail::Text(clip(text)))).collect()
}

/// A digest's canonical text; `None` for what is none.
fn digest(text: &str) -> Option<String> {
    Some(text.parse::<Digest>().ok()?.to_string())
}

fn short(digest: &str) -> &str {
    let end = digest.find(':').map_or(12, |colon| colon + 13);
    digest.get(..end).unwrap_or(digest)
}

impl Fold<'_, '_, '_> {
    fn key(&self, table: u8) -> Key {
        key(self.at.tenant, table)
    }

    fn note(&mut self, digest: &str, kind: EvidenceKind, evidence: &Evidence) -> Result<(), Error> {
        self.rows.put(self.key(table::EVIDENCE).text(digest).byte(kind.byte()).stamp(self.at), evidence)
    }

    /// A fact names a digest: the row by which it exists, its line, its purl.
    fn name(&mut self, digest: &str, class: Class, text: &str, kind: i32, platform: &str) -> Result<(), Error> {
        let reference = ArtifactRef::parse(text);
        let said_tag = reference.as_ref().filter(|reference| has_said_tag(text, reference));
        if let Some(reference) = said_tag.filter(|_| class == Class::Other) {
            self.named(reference, digest)?;
        }
        let (repository, tag) = reference.map(|r| (r.repository, r.tag)).unwrap_or_default();
        self.name_as(digest, class, (&repository, &tag), kind, platform)
    }

    /// A fact names a digest by a tag in passing: that binds nothing, but whoever asks by this name may mean it.
    fn named(&mut self, reference: &ArtifactRef, digest: &str) -> Result<(), Error> {
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

    fn name_as(
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
    fn tag(&mut self, repository: &str, tag: &str, digest: &str) -> Result<(), Error> {
        let repository = repository_key(repository);
        if repository.is_empty() || tag.is_empty() {
            return Ok(());
        }
        self.rows.put(self.key(table::TAGS).text(&repository).text(tag).stamp(self.at), &digest)?;
        self.short_name(&repository, tag)
    }

    fn tag_of(&mut self, text: &str, digest: &str) -> Result<(), Error> {
        let Some(reference) = ArtifactRef::parse(text) else { return Ok(()) };
        if !has_said_tag(text, &reference) {
            return Ok(());
        }
        self.tag(&reference.repository, &reference.tag, digest)
    }

    fn purl(&mut self, text: &str, digest: &str) -> Result<(), Error> {
        let Some(purl) = Purl::parse(text) else { return Ok(()) };
        let key = self.key(table::PURLS).text(purl.package()).text(purl.version()).text(digest);
        self.rows.put_first(key, &())?;
        Ok(())
    }

    fn product(&mut self, run: &str, digest: &str) -> Result<(), Error> {
        if run.is_empty() {
            return Ok(());
        }
        self.rows.put(self.key(table::PRODUCTS).text(run).text(digest).stamp(self.at), &())?;
        self.rows.put(self.key(table::RUNS).text(digest).text(run).stamp(self.at), &())
    }

    fn claim(&mut self, digest: &str, claim: &Claim) -> Result<(), Error> {
        if claim.commit.is_empty() && claim.run.is_empty() && claim.change_id.is_empty() && claim.builder.is_empty() {
            return Ok(());
        }
        self.rows.put(self.key(table::CLAIMS).text(digest).stamp(self.at), claim)?;
        if claim.commit.is_empty() {
            return Ok(());
        }
        let from = self.key(table::BUILT_FROM).text(&claim.commit).text(&claim.pipeline).text(digest).stamp(self.at);
        self.rows.put(from, &())?;
        let of = self.key(table::COMMITS).text(digest).text(&claim.commit).text(&claim.pipeline).stamp(self.at);
        self.rows.put(of, &())
    }

    /// A base named by digest.
    fn base(&mut self, derived: &str, base: &str, claim: &BaseClaim) -> Result<(), Error> {
        if derived == base {
            return Ok(());
        }
        let suffix = |key: Key, method: BaseMethod| key.byte(method as u8).stamp(self.at);
        let bases = suffix(self.key(table::BASES).text(derived).text(base), claim.method);
        let of = suffix(self.key(table::DERIVED).text(base).text(derived), claim.method);
        self.rows.put(bases, claim)?;
        self.rows.put(of, claim)?;
        // Who names a base by digest names an artifact, so that its derived images are found though nobody describes it.
        match claim.method {
            BaseMethod::Provenance | BaseMethod::Annotation => {
                let repository = ArtifactRef::parse(&claim.reference).map(|r| r.repository).unwrap_or_default();
                let kind = ArtifactKind::ContainerImage.into();
                self.name_as(base, Class::Other, (&repository, ""), kind, "")
            }
            BaseMethod::Material => Ok(()),
        }
    }

    /// A base named by tag only: it resolves when the tag's mapping at build time is known.
    fn base_tag(&mut self, derived: &str, text: &str) -> Result<(), Error> {
        let Some(reference) = ArtifactRef::parse(text) else { return Ok(()) };
        if let Some(base) = &reference.digest {
            let claim = BaseClaim { method: BaseMethod::Annotation, reference: clip(text) };
            return self.base(derived, base.as_str(), &claim);
        }
        let (repository, tag) = (&reference.repository_key(), &reference.tag);
        let from = self.key(table::FROM).text(derived).text(repository).text(tag).stamp(self.at);
        // One fact may name a base twice, each time written otherwise.
        self.rows.put_first(from, &reference.to_string())?;
        self.rows.put(self.key(table::FROM_OF).text(repository).text(tag).text(derived).stamp(self.at), &())?;
        Ok(())
    }

    fn materials(&mut self, derived: &str, materials: &[Material]) -> Result<(), Error> {
        for material in materials.iter().take(MATERIALS_MAX) {
            let purl = Purl::parse(&material.uri);
            let named = digest(&material.digest).or_else(|| Some(purl.as_ref()?.digest()?.to_string()));
            let Some(base) = named.filter(|base| base.starts_with("sha256:") || base.starts_with("sha512:")) else {
                continue;
            };
            let image = purl.is_some_and(|purl| matches!(purl.kind(), "docker" | "oci"))
                || ["docker://", "oci://", "docker-image://", "docker-pullable://"]
                    .iter()
                    .any(|scheme| material.uri.starts_with(scheme));
            let method = if image { BaseMethod::Provenance } else { BaseMethod::Material };
            self.base(derived, &base, &BaseClaim { method, reference: clip(&material.uri) })?;
        }
        Ok(())
    }

    fn declared_parents(&mut self, child: &str, parents: &[String]) -> Result<(), Error> {
        for parent in parents.iter().filter_map(|parent| digest(parent)).filter(|parent| parent != child) {
            self.rows.put(self.key(table::PARENTS).text(child).text(&parent).stamp(self.at), &())?;
            self.rows.put(self.key(table::CHILDREN).text(&parent).text(child).stamp(self.at), &())?;
        }
        Ok(())
    }

    fn alias(&mut self, digest: &str, role: u8, other: &str, platform: &str) -> Result<(), Error> {
        let key = self.key(table::ALIAS).text(digest).byte(role).text(other).text(platform);
        self.rows.put_first(key, &())?;
        Ok(())
    }

    fn change_merged(&mut self, event: &ChangeMerged) -> Result<(), Error> {
        if event.commit.is_empty() {
            return Ok(());
        }
        let fact = CommitFact {
            repository: clip(&event.repository),
            change_id: clip(&event.change_id),
            title: clip(&event.title),
            url: clip(&event.url),
            author: clip(&event.author),
            reference: clip(&event.target_branch),
        };
        self.rows.put(self.key(table::CHANGES).text(&event.commit).stamp(self.at), &fact)
    }

    fn ref_updated(&mut self, event: &RefUpdated) -> Result<(), Error> {
        if event.commit.is_empty() || event.deleted {
            return Ok(());
        }
        let fact = CommitFact {
            repository: clip(&event.repository),
            change_id: String::new(),
            title: String::new(),
            url: String::new(),
            author: String::new(),
            reference: clip(&event.r#ref),
        };
        self.rows.put(self.key(table::CHANGES).text(&event.commit).stamp(self.at), &fact)
    }

    fn run_started(&mut self, event: &RunStarted) -> Result<(), Error> {
        let work = Work {
            finished: false,
            pipeline: clip(&event.pipeline),
            url: clip(&event.url),
            commit: clip(&event.commit),
            repository: clip(&event.repository),
            builder: clip(&event.builder),
            outcome: String::new(),
        };
        self.rows.put(self.key(table::WORK).text(&event.run).stamp(self.at), &work)
    }

    fn run_finished(&mut self, event: &RunFinished) -> Result<(), Error> {
        let work = Work {
            finished: true,
            pipeline: clip(&event.pipeline),
            url: clip(&event.url),
            commit: clip(&event.commit),
            repository: clip(&event.repository),
            builder: clip(&event.builder),
            outcome: json::outcome::word(event.outcome()),
        };
        self.rows.put(self.key(table::WORK).text(&event.run).stamp(self.at), &work)?;
        let mut products: Vec<String> = event.artifact_digests.iter().filter_map(|text| digest(text)).collect();
        products.sort();
        products.dedup();
        for product in products {
            self.name(&product, Class::Built, "", 0, "")?;
            self.product(&event.run, &product)?;
            let claim = Claim {
                commit: event.commit.clone(),
                repository: clip(&event.repository),
                change_id: String::new(),
                run: event.run.clone(),
                pipeline: event.pipeline.clone(),
                builder: clip(&event.builder),
                said_by: "run".to_owned(),
            };
            self.claim(&product, &claim)?;
        }
        Ok(())
    }

    fn packaged(&mut self, event: &ArtifactPackaged) -> Result<(), Error> {
        let Some(subject) = digest(&event.artifact_digest) else { return Ok(()) };
        let reference = if event.artifact_ref.is_empty() { &event.purl } else { &event.artifact_ref };
        self.name(&subject, Class::Built, reference, kind_of(event.kind, &event.purl), &event.platform)?;
        self.tag_of(reference, &subject)?;
        self.purl(&event.purl, &subject)?;
        self.product(&event.run, &subject)?;
        let claim = Claim {
            commit: event.commit.clone(),
            repository: clip(&event.repository),
            change_id: clip(&event.change_id),
            run: event.run.clone(),
            pipeline: event.pipeline.clone(),
            builder: clip(&event.builder),
            said_by: "packaged".to_owned(),
        };
        self.claim(&subject, &claim)?;
        self.declared_parents(&subject, &event.parent_digests)?;
        self.materials(&subject, &event.materials)?;
        match digest(&event.base_digest) {
            Some(base) => {
                let claim = BaseClaim { method: BaseMethod::Provenance, reference: clip(&event.base_ref) };
                self.base(&subject, &base, &claim)
            }
            None => self.base_tag(&subject, &event.base_ref),
        }
    }

    fn published(&mut self, event: &ArtifactPublished) -> Result<(), Error> {
        let Some(subject) = digest(&event.artifact_digest) else { return Ok(()) };
        let reference = if event.artifact_ref.is_empty() { &event.purl } else { &event.artifact_ref };
        let mut kind = kind_of(event.kind, &event.purl);
        if kind == 0 && matches!(event.digest_kind(), DigestKind::Index | DigestKind::Manifest | DigestKind::Config) {
            kind = ArtifactKind::ContainerImage.into();
        }
        self.name(&subject, Class::Published, reference, kind, &event.platform)?;
        self.tag_of(reference, &subject)?;
        self.purl(&event.purl, &subject)?;
        let claim = Claim {
            commit: String::new(),
            repository: String::new(),
            change_id: String::new(),
            run: event.run.clone(),
            pipeline: String::new(),
            builder: String::new(),
            said_by: "published".to_owned(),
        };
        self.claim(&subject, &claim)
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
            Some(subject) => self.name_as(subject, Class::Observed, (&repository, &event.tag), 0, ""),
            None => Ok(()),
        }
    }

    fn image(&mut self, event: &ImageObserved) -> Result<(), Error> {
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

    fn sbom(&mut self, event: &SbomAttached) -> Result<(), Error> {
        let Some(subject) = digest(&event.artifact_digest) else { return Ok(()) };
        let reference = if event.artifact_ref.is_empty() { &event.purl } else { &event.artifact_ref };
        self.name(&subject, Class::Other, reference, event.kind, "")?;
        self.purl(&event.purl, &subject)?;
        let mut details = texts(&[
            ("format", &event.format),
            ("specVersion", &event.spec_version),
            ("serialNumber", &event.serial_number),
            ("tool", &event.tool),
            ("uri", &event.uri),
        ]);
        details.push(("components".to_owned(), Detail::Number(event.component_count.into())));
        if event.skipped_count > 0 {
            details.push(("skipped".to_owned(), Detail::Number(event.skipped_count.into())));
        }
        let written = [event.format.as_str(), &event.spec_version].join(" ");
        let by = if event.tool.is_empty() { String::new() } else { format!(" by {}", event.tool) };
        let noun = if event.component_count == 1 { "component" } else { "components" };
        let summary = match (event.component_set.is_empty(), written.trim()) {
            (true, _) => format!("links the SBOM {}", short(&event.sbom_digest)),
            (false, written) => format!("{written}, {} {noun}{by}", event.component_count),
        };
        let id = digest(&event.sbom_digest).unwrap_or_else(|| event.component_set.clone());
        self.note(&subject, EvidenceKind::Sbom, &Evidence { id, summary: clip(&summary), details })
    }

    fn attestation(&mut self, event: &AttestationAttached) -> Result<(), Error> {
        let mut details = texts(&[
            ("predicateType", &event.predicate_type),
            ("statementDigest", &event.statement_digest),
            ("verification", &json::verification::word(event.verification())),
            ("builder", &event.builder),
            ("buildType", &event.build_type),
            ("invocation", &event.invocation),
            ("repository", &event.repository),
            ("commit", &event.commit),
            ("startedOn", &event.started_on),
            ("finishedOn", &event.finished_on),
            ("summary", &event.summary),
        ]);
        if !event.key_ids.is_empty() {
            details.push(("keyIds".to_owned(), Detail::List(event.key_ids.iter().map(|id| clip(id)).collect())));
        }
        if !event.materials.is_empty() {
            details.push(("materials".to_owned(), Detail::Number(event.materials.len() as u64)));
        }
        let by = if event.builder.is_empty() { String::new() } else { format!(" by {}", event.builder) };
        let verified = json::verification::word(event.verification());
        let verified = if verified.is_empty() { String::new() } else { format!(", signature {verified}") };
        let summary = clip(&format!("{}{by}{verified}", event.predicate_type));
        let evidence = Evidence { id: clip(&event.predicate_type), summary, details };
        let claim = Claim {
            commit: event.commit.clone(),
            repository: clip(&event.repository),
            change_id: String::new(),
            run: event.invocation.clone(),
            pipeline: String::new(),
            builder: clip(&event.builder),
            said_by: "provenance".to_owned(),
        };
        let mut subjects: Vec<String> = event.artifact_digests.iter().filter_map(|text| digest(text)).collect();
        subjects.sort();
        subjects.dedup();
        for subject in subjects {
            self.name(&subject, Class::Other, "", 0, "")?;
            self.note(&subject, EvidenceKind::Attestation, &evidence)?;
            self.product(&event.invocation, &subject)?;
            self.claim(&subject, &claim)?;
            self.materials(&subject, &event.materials)?;
        }
        Ok(())
    }

    fn scan(&mut self, event: &ScanCompleted) -> Result<(), Error> {
        for finding in &event.findings {
            let Some(subject) = digest(&event.artifact_digest) else { break };
            self.vulnerability(&finding.vulnerability, &finding.aliases, &subject)?;
        }
        // Later parts of one report add findings and are no scans of their own.
        let Some(subject) = digest(&event.artifact_digest).filter(|_| event.first == 0) else { return Ok(()) };
        self.name(&subject, Class::Other, &event.artifact_ref, 0, "")?;
        let mut details = texts(&[("scanner", &event.scanner), ("scannerVersion", &event.scanner_version)]);
        details.push(("findings".to_owned(), Detail::Number(event.finding_count.into())));
        let summary = clip(&format!("{}: {} findings", event.scanner, event.finding_count));
        let evidence = Evidence { id: clip(&event.scan_id), summary, details };
        self.note(&subject, EvidenceKind::Scan, &evidence)
    }

    fn vex(&mut self, event: &VexIssued) -> Result<(), Error> {
        for (statement, ordinal) in event.statements.iter().zip(event.first..) {
            let mut products: Vec<String> = statement.product_digests.iter().filter_map(|text| digest(text)).collect();
            products.sort();
            products.dedup();
            for product in &products {
                let key = self.key(table::EVIDENCE).text(product).byte(EvidenceKind::Vex.byte()).stamp(self.at);
                self.rows.put(key.number(ordinal.into()), &vex_evidence(event, statement))?;
                self.vulnerability(&statement.vulnerability, &statement.aliases, product)?;
            }
        }
        // One fact names a digest once, however many statements it has.
        let digests = event.statements.iter().flat_map(|statement| &statement.product_digests);
        let mut named: Vec<String> = digests.filter_map(|text| digest(text)).collect();
        named.sort();
        named.dedup();
        named.iter().try_for_each(|digest| self.name(digest, Class::Other, "", 0, ""))
    }

    fn vulnerability(&mut self, id: &str, aliases: &[String], subject: &str) -> Result<(), Error> {
        for id in aliases.iter().map(String::as_str).chain([id]) {
            if id.is_empty() || id.len() > pedigraph_proto::VULNERABILITY_BYTES_MAX {
                continue;
            }
            let key = self.key(table::VULNERABILITIES).text(&id.to_ascii_uppercase()).text(subject);
            self.rows.put_first(key, &())?;
        }
        Ok(())
    }

    fn tests(&mut self, event: &TestsFinished) -> Result<(), Error> {
        let Some(subject) = digest(&event.artifact_digest) else { return Ok(()) };
        self.name(&subject, Class::Other, &event.artifact_ref, 0, "")?;
        let outcome = json::outcome::word(event.outcome());
        let mut details = texts(&[
            ("suite", &event.suite),
            ("outcome", &outcome),
            ("run", &event.run),
            ("url", &event.url),
            ("reason", &event.reason),
            ("environment", &event.environment),
        ]);
        for (name, n) in [("passed", event.passed), ("failed", event.failed), ("skipped", event.skipped)] {
            details.push((name.to_owned(), Detail::Number(n.into())));
        }
        let counts = format!("{} passed, {} failed, {} skipped", event.passed, event.failed, event.skipped);
        let suite = if event.suite.is_empty() { "tests" } else { &event.suite };
        let summary = clip(&format!("{suite}: {outcome} ({counts})"));
        let id = if event.run.is_empty() { clip(suite) } else { clip(&event.run) };
        self.note(&subject, EvidenceKind::Tests, &Evidence { id, summary, details })
    }

    fn deployed(&mut self, event: &ServiceDeployed) -> Result<(), Error> {
        let strategy = json::strategy::word(event.strategy());
        let mut details = texts(&[
            ("environment", &event.environment),
            ("service", &event.service),
            ("cluster", &event.cluster),
            ("namespace", &event.namespace),
            ("artifactRef", &event.artifact_ref),
            ("configDigest", &event.config_digest),
            ("strategy", &strategy),
            ("actor", &event.actor),
            ("run", &event.run),
            ("reason", &event.reason),
            ("url", &event.url),
        ]);
        if event.weight > 0 {
            details.push(("weight".to_owned(), Detail::Number(event.weight.into())));
        }
        if event.rollback {
            details.push(("rollback".to_owned(), Detail::Flag(true)));
        }
        let by = if event.actor.is_empty() { String::new() } else { format!(" by {}", event.actor) };
        let summary = clip(&format!("{} in {}{by}", event.service, event.environment));
        let id = clip(&format!("{}@{}", event.service, event.environment));
        self.deployment(&event.artifact_digest, &event.artifact_ref, &Evidence { id, summary, details })
    }

    fn canary(&mut self, event: &CanaryChanged) -> Result<(), Error> {
        let mut details = texts(&[
            ("environment", &event.environment),
            ("service", &event.service),
            ("artifactRef", &event.artifact_ref),
            ("actor", &event.actor),
            ("reason", &event.reason),
        ]);
        details.push(("weight".to_owned(), Detail::Number(event.weight.into())));
        let summary = clip(&format!("{} in {}, canary at {} %", event.service, event.environment, event.weight));
        let id = clip(&format!("{}@{}", event.service, event.environment));
        self.deployment(&event.artifact_digest, &event.artifact_ref, &Evidence { id, summary, details })
    }

    fn deployment(&mut self, subject: &str, reference: &str, evidence: &Evidence) -> Result<(), Error> {
        let parsed = ArtifactRef::parse(reference);
        let named = parsed.as_ref().and_then(|r| r.digest.as_ref()).map(ToString::to_string);
        if let Some(subject) = digest(subject).or(named) {
            self.name(&subject, Class::Other, reference, 0, "")?;
            return self.note(&subject, EvidenceKind::Deployment, evidence);
        }
        let Some(parsed) = parsed else { return Ok(()) };
        let key = self.key(table::DEPLOYED_TAGS).text(&parsed.repository_key()).text(&parsed.tag).stamp(self.at);
        self.rows.put(key, evidence)
    }

    /// Events that only add a piece of evidence to one artifact.
    fn remark(
        &mut self,
        kind: EvidenceKind,
        (subject, reference): (&str, &str),
        id: &str,
        summary: &str,
    ) -> Result<(), Error> {
        let Some(subject) = digest(subject) else { return Ok(()) };
        self.name(&subject, Class::Other, reference, 0, "")?;
        let id = clip(if id.is_empty() { kind.word() } else { id });
        self.note(&subject, kind, &Evidence { id, summary: clip(summary), details: vec![] })
    }
}

/// An image that is named without a tag is not thereby `latest`.
fn has_said_tag(text: &str, reference: &ArtifactRef) -> bool {
    reference.tag != "latest" || text.contains(":latest") || text.contains("tag=latest") || text.contains("@latest")
}

fn by(actor: &str) -> String {
    if actor.is_empty() { String::new() } else { format!(" by {actor}") }
}

fn vex_evidence(event: &VexIssued, statement: &VexStatement) -> Evidence {
    let status = json::vex_status::word(statement.status());
    let details = texts(&[
        ("issuer", &event.issuer),
        ("status", &status),
        ("justification", &statement.justification),
        ("documentId", &event.document_id),
        ("documentVersion", &event.document_version),
        ("time", if statement.time.is_empty() { &event.document_time } else { &statement.time }),
    ]);
    let summary = clip(&format!("{}: {status} says {}", statement.vulnerability, event.issuer));
    Evidence { id: clip(&statement.vulnerability), summary, details }
}

/// What the event says, else what its purl implies.
fn kind_of(kind: i32, purl: &str) -> i32 {
    if kind != 0 {
        return kind;
    }
    match Purl::parse(purl) {
        Some(purl) if matches!(purl.kind(), "oci" | "docker") => ArtifactKind::ContainerImage.into(),
        Some(_) => ArtifactKind::Package.into(),
        None => 0,
    }
}

/// The image of a `FROM` line in an image's history.
fn from_of(created_by: &str) -> Option<&str> {
    let mut words = created_by.split_whitespace().skip_while(|word| *word != "FROM").skip(1);
    words.find(|word| !word.starts_with("--")).filter(|word| *word != "scratch")
}
