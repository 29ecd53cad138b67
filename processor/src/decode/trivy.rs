//! Trivy's JSON report, schema version 2.
//!
//! `Status: fixed` of a finding means that a fix exists, not that this artifact is fixed.
//!
//! `RepoDigests` of an image are all digests under which registries know it. Whether one is that of a manifest or of an
//! index the report does not say, so two different ones are no aliases: the scan is said of each of them, and each is
//! tied to the configuration (SPEC §2.3).

use pedigraph_proto::event::{ArtifactKind, DigestKind, Finding, ImageObserved, ScanCompleted};
use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{ArtifactRef, Digest, Nanos, image};
use serde::Deserialize;
use serde::de::MapAccess;

use super::budget::Budget;
use super::document::{Document, Failure};
use super::facts::{self, canonical_purl};
use super::oci::{Config, config_observed, diff_ids};
use super::read::{Each, List, Members, Obj, Object, Objects, Text, Whole, clip, skip};
use super::table::{Decode, Decoder};
use super::{Found, Given};

pub(super) static DECODERS: [Decoder; 1] = [Decoder {
    matches: |shape| shape.has("SchemaVersion") && (shape.has("ArtifactName") || shape.has("Results")),
    ..Decoder::new("trivy", 2, Decode::Stream(decode))
}];

/// Most digests of registries by which one scan is found.
const REPO_DIGESTS_MAX: usize = 16;
/// Most tags that are looked at, once for each of those digests.
const REPO_TAGS_MAX: usize = 1_024;
/// Most tags of one image.
const TAGS_MAX: usize = 64;

/// A report while it is read; of what it lists only the findings are kept.
struct Report<'a, 'g> {
    schema_version: Whole,
    trivy: Obj<Tool<'a>>,
    created_at: Text<'a>,
    artifact_name: Text<'a>,
    artifact_type: Text<'a>,
    metadata: Obj<Metadata<'a>>,
    results: Results<'g>,
}

impl<'de> Members<'de> for Report<'de, '_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "SchemaVersion" => self.schema_version = map.next_value()?,
            "Trivy" => self.trivy = map.next_value()?,
            "CreatedAt" => self.created_at = map.next_value()?,
            "ArtifactName" => self.artifact_name = map.next_value()?,
            "ArtifactType" => self.artifact_type = map.next_value()?,
            "Metadata" => self.metadata = map.next_value()?,
            "Results" => map.next_value_seed(Objects(&mut self.results))?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// The findings of all targets.
struct Results<'g> {
    findings: Vec<Finding>,
    findings_max: usize,
    budget: &'g Budget,
}

impl<'de> Members<'de> for Results<'_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        if name != "Vulnerabilities" {
            return skip(map);
        }
        map.next_value_seed(Each::new(|Obj(found): Obj<Vulnerability<'de>>| {
            if self.findings.len() == self.findings_max {
                return Err(Reject::new(Code::TooManyItems, format!("more than {} findings", self.findings_max)));
            }
            let finding = finding(&found);
            self.budget.take(&finding)?;
            self.findings.push(finding);
            Ok(())
        }))?;
        Ok(())
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Tool<'a> {
    #[serde(borrow)]
    version: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Metadata<'a> {
    #[serde(borrow, rename = "ImageID")]
    image_id: Text<'a>,
    #[serde(borrow, rename = "DiffIDs")]
    diff_ids: List<Text<'a>>,
    #[serde(borrow)]
    repo_digests: List<Text<'a>>,
    #[serde(borrow)]
    repo_tags: List<Text<'a>>,
    #[serde(borrow)]
    image_config: Obj<Config<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Vulnerability<'a> {
    #[serde(borrow, rename = "VulnerabilityID")]
    id: Text<'a>,
    #[serde(borrow, rename = "VendorIDs")]
    vendor_ids: List<Text<'a>>,
    #[serde(borrow)]
    pkg_name: Text<'a>,
    #[serde(borrow)]
    pkg_identifier: Obj<Identifier<'a>>,
    #[serde(borrow)]
    installed_version: Text<'a>,
    #[serde(borrow)]
    fixed_version: Text<'a>,
    #[serde(borrow)]
    severity: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Identifier<'a> {
    #[serde(borrow, rename = "PURL")]
    purl: Text<'a>,
}

/// Reads a report: the scan, and of an image what ties its digests together.
fn decode<'a>(document: Document<'a>, given: &Given<'_>) -> Result<Found, Failure> {
    let mut report: Report<'a, '_> = Report::new(given);
    document.json_seed(Object(&mut report))?;
    Ok(found(report, given)?)
}

fn found(mut report: Report<'_, '_>, given: &Given<'_>) -> Result<Found, Reject> {
    match report.schema_version.0 {
        Some(2) => {}
        Some(other) => return Err(Reject::new(Code::UnsupportedVersion, format!("SchemaVersion {other} is not 2"))),
        None => return Err(Reject::new(Code::SchemaViolation, "SchemaVersion is missing or no number")),
    }
    let findings = std::mem::take(&mut report.results.findings);
    let Obj(metadata) = &report.metadata;
    let config = metadata.image_id.as_str().parse::<Digest>().ok().filter(|digest| !digest.is_of_empty_content());
    let pulled = metadata.pulled();
    let subjects = report.subjects(given, &pulled, config.as_ref());
    if subjects.is_empty() {
        let reason = "the report names no digest; send it with a subject";
        return Err(Reject::new(Code::SubjectMissing, reason));
    }
    if findings.len().saturating_mul(subjects.len()) > given.limits.statements_max {
        let reason = format!("more than {} findings for {} digests", given.limits.statements_max, subjects.len());
        return Err(Reject::new(Code::TooManyItems, reason));
    }
    // Those of the first one were taken when they were read.
    for _ in 1..subjects.len() {
        findings.iter().try_for_each(|finding| given.budget.take(finding))?;
    }
    let mut facts = Vec::new();
    let copies = std::iter::repeat_n(findings, subjects.len());
    for ((digest, reference), findings) in subjects.into_iter().zip(copies) {
        let head = ScanCompleted {
            artifact_digest: digest.to_string(),
            artifact_ref: reference,
            scanner: "trivy".into(),
            scanner_version: report.trivy.0.version.whole(),
            scan_id: Digest::sha256(given.sha256).to_string(),
            kind: report.kind().into(),
            ..ScanCompleted::default()
        };
        facts.extend(facts::scan(head, findings, given.budget)?);
    }
    facts.extend(metadata.image_facts(config.as_ref(), &pulled));
    Ok(Found { facts: facts.into(), time: Nanos::parse(report.created_at.as_str()) })
}

impl<'g> Report<'_, 'g> {
    fn new(given: &Given<'g>) -> Self {
        let findings_max = given.limits.statements_max;
        Report {
            schema_version: Whole::default(),
            trivy: Obj::default(),
            created_at: Text::default(),
            artifact_name: Text::default(),
            artifact_type: Text::default(),
            metadata: Obj::default(),
            results: Results { findings: Vec::new(), findings_max, budget: given.budget },
        }
    }

    /// What was scanned. A folder, a repository of sources or a virtual machine is no container image; of an SBOM the
    /// report does not say what it describes, but for an image's id.
    fn kind(&self) -> ArtifactKind {
        let by_id = self.metadata.0.image_id.get().is_some();
        match self.artifact_type.as_str() {
            "container_image" => ArtifactKind::ContainerImage,
            "" | "cyclonedx" | "spdx" if by_id => ArtifactKind::ContainerImage,
            "cyclonedx" | "spdx" => ArtifactKind::Unspecified,
            _ => ArtifactKind::Generic,
        }
    }

    /// The digests that the scan is of, each with its reference: the one given outside; else every one that a registry
    /// knows the image by; else its configuration's.
    fn subjects(
        &self,
        given: &Given<'_>,
        pulled: &[(ArtifactRef, Digest)],
        config: Option<&Digest>,
    ) -> Vec<(Digest, String)> {
        let first = pulled.first().map_or_else(|| self.artifact_ref(), |(name, _)| name.to_string());
        let mut subjects: Vec<(Digest, String)> = Vec::new();
        let mut add = |digest: &Digest, reference: String| {
            if !subjects.iter().any(|(known, _)| known == digest) {
                subjects.push((digest.clone(), reference));
            }
        };
        if let Some(outside) = facts::outside(given) {
            let own = pulled.iter().find(|(_, digest)| digest == outside);
            let known = own.is_some() || config == Some(outside);
            add(outside, own.map_or(first, |(name, _)| name.to_string()));
            if !known {
                // Who sends the report knows better what was scanned.
                return subjects;
            }
        } else if let (Some(config), []) = (config, pulled) {
            add(config, first);
        }
        pulled.iter().for_each(|(name, digest)| add(digest, name.to_string()));
        subjects
    }

    /// What the scanner calls an image: its first tag, else what it was pointed at unless that is a file.
    fn artifact_ref(&self) -> String {
        const ARCHIVES: [&str; 5] = [".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.zst"];
        if self.kind() != ArtifactKind::ContainerImage {
            return String::new();
        }
        let tag = self.metadata.0.tags().next();
        let name = self.artifact_name.as_str();
        let named = || ArtifactRef::parse(name).filter(|_| !ARCHIVES.iter().any(|ending| name.ends_with(ending)));
        tag.or_else(named).map(|named| named.to_string()).unwrap_or_default()
    }
}

fn finding(found: &Vulnerability<'_>) -> Finding {
    // Vendors' own advisories (RHSA, DSA) cover several vulnerabilities and are no aliases of one.
    let alias = |id: &&str| id.starts_with("GHSA-") || id.starts_with("CVE-");
    Finding {
        vulnerability: found.id.owned(),
        aliases: facts::aliases(found.vendor_ids.0.iter().map(Text::as_str).filter(alias)),
        purl: canonical_purl(found.pkg_identifier.0.purl.as_str()).0,
        package_name: found.pkg_name.owned(),
        installed_version: found.installed_version.owned(),
        fixed_version: found.fixed_version.owned(),
        severity: clip(found.severity.as_str()).to_ascii_lowercase(),
        status: found.status.owned(),
    }
}

impl Metadata<'_> {
    /// The references with a digest by which registries know the image.
    fn pulled(&self) -> Vec<(ArtifactRef, Digest)> {
        let named = self.repo_digests.0.iter().filter_map(|name| ArtifactRef::parse(name.as_str()));
        let named = named.filter_map(|name| name.digest.clone().map(|digest| (name, digest)));
        named.take(REPO_DIGESTS_MAX).collect()
    }

    /// The references with a tag by which registries know the image.
    fn tags(&self) -> impl Iterator<Item = ArtifactRef> {
        self.repo_tags.0.iter().take(REPO_TAGS_MAX).filter_map(|tag| ArtifactRef::parse(tag.as_str()))
    }

    /// The configuration with its layers, and every pulled digest (index or manifest: the report does not say) beside
    /// it.
    fn image_facts(&self, config: Option<&Digest>, pulled: &[(ArtifactRef, Digest)]) -> Vec<Fact> {
        let Some(config) = config else { return vec![] };
        let mut image = config_observed(&self.image_config.0, config.to_string());
        if image.diff_ids.is_empty() {
            image.diff_ids = diff_ids(&self.diff_ids);
        }
        let beside = pulled.iter().map(|(name, digest)| ImageObserved {
            digest: digest.to_string(),
            digest_kind: DigestKind::Unspecified.into(),
            artifact_ref: name.to_string(),
            tags: self.tags_of(name),
            platform: image.platform.clone(),
            config_digest: config.to_string(),
            ..ImageObserved::default()
        });
        let beside: Vec<Fact> = beside.map(Fact::now).collect();
        std::iter::once(Fact::now(image)).chain(beside).collect()
    }

    /// The image's tags in one repository.
    fn tags_of(&self, name: &ArtifactRef) -> Vec<String> {
        let tags = self.tags().filter(|tag| tag.repository_key() == name.repository_key()).map(|tag| tag.tag);
        tags.filter(|tag| image::is_version_tag(tag)).take(TAGS_MAX).collect()
    }
}
