//! Trivy's JSON report, schema version 2.
//!
//! `Status: fixed` of a finding means that a fix exists, not that this artifact is fixed.

use pedigraph_proto::event::{DigestKind, Finding, ImageObserved, ScanCompleted};
use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{ArtifactRef, Digest, Nanos};
use serde::Deserialize;
use serde::de::MapAccess;

use super::document::{Document, Failure};
use super::facts::{self, canonical_purl};
use super::oci::{Config, config_observed, diff_ids};
use super::read::{Each, List, Members, Obj, Object, Objects, Text, Whole, clip, skip};
use super::table::{Decode, Decoder};
use super::{Found, Given};

pub(super) static DECODERS: [Decoder; 1] = [Decoder {
    matches: |shape| shape.has("SchemaVersion") && (shape.has("ArtifactName") || shape.has("Results")),
    ..Decoder::new("trivy", 1, Decode::Stream(decode))
}];

/// A report while it is read; of what it lists only the findings are kept.
#[derive(Default)]
struct Report<'a> {
    schema_version: Whole,
    trivy: Obj<Tool<'a>>,
    created_at: Text<'a>,
    artifact_name: Text<'a>,
    metadata: Obj<Metadata<'a>>,
    results: Results,
}

impl<'de> Members<'de> for Report<'de> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "SchemaVersion" => self.schema_version = map.next_value()?,
            "Trivy" => self.trivy = map.next_value()?,
            "CreatedAt" => self.created_at = map.next_value()?,
            "ArtifactName" => self.artifact_name = map.next_value()?,
            "Metadata" => self.metadata = map.next_value()?,
            "Results" => map.next_value_seed(Objects(&mut self.results))?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// The findings of all targets.
#[derive(Default)]
struct Results {
    findings: Vec<Finding>,
    findings_max: usize,
}

impl<'de> Members<'de> for Results {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        if name != "Vulnerabilities" {
            return skip(map);
        }
        map.next_value_seed(Each::new(|Obj(found): Obj<Vulnerability<'de>>| {
            if self.findings.len() == self.findings_max {
                return Err(Reject::new(Code::TooManyItems, format!("more than {} findings", self.findings_max)));
            }
            self.findings.push(finding(&found));
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
    let results = Results { findings_max: given.limits.statements_max, ..Results::default() };
    let mut report: Report<'a> = Report { results, ..Report::default() };
    document.json_seed(Object(&mut report))?;
    Ok(found(report, given)?)
}

fn found(mut report: Report<'_>, given: &Given<'_>) -> Result<Found, Reject> {
    match report.schema_version.0 {
        Some(2) => {}
        Some(other) => return Err(Reject::new(Code::UnsupportedVersion, format!("SchemaVersion {other} is not 2"))),
        None => return Err(Reject::new(Code::SchemaViolation, "SchemaVersion is missing or no number")),
    }
    let findings = std::mem::take(&mut report.results.findings);
    let Obj(metadata) = &report.metadata;
    let config = metadata.image_id.as_str().parse::<Digest>().ok();
    let pulled = metadata.repo_digests.0.iter().find_map(|name| ArtifactRef::parse(name.as_str()));
    let pulled_digest = pulled.as_ref().and_then(|name| name.digest.clone());
    let subject = given.subject.as_ref().or(pulled_digest.as_ref()).or(config.as_ref());
    let Some(subject) = subject else {
        let reason = "the report names no digest; send it with a subject";
        return Err(Reject::new(Code::SubjectMissing, reason));
    };
    let head = ScanCompleted {
        artifact_digest: subject.to_string(),
        artifact_ref: report.artifact_ref(pulled.as_ref()),
        scanner: "trivy".into(),
        scanner_version: report.trivy.0.version.owned(),
        scan_id: Digest::sha256(given.sha256).to_string(),
        ..ScanCompleted::default()
    };
    let mut facts = facts::scan(&head, findings);
    facts.extend(metadata.image_facts(config.as_ref(), pulled.as_ref()));
    Ok(Found { facts: facts.into(), time: Nanos::parse(report.created_at.as_str()) })
}

impl Report<'_> {
    /// The image's name: as it was pulled, else its first tag, else what the scanner was pointed at.
    fn artifact_ref(&self, pulled: Option<&ArtifactRef>) -> String {
        let tag = self.metadata.0.repo_tags.0.iter().find_map(|tag| ArtifactRef::parse(tag.as_str()));
        match pulled.or(tag.as_ref()) {
            Some(named) => named.to_string(),
            None => self.artifact_name.owned(),
        }
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
    /// The configuration with its layers, and the pulled digest (index or manifest: the report does not say) beside it.
    fn image_facts(&self, config: Option<&Digest>, pulled: Option<&ArtifactRef>) -> Vec<Fact> {
        let Some(config) = config else { return vec![] };
        let mut image = config_observed(&self.image_config.0, config.to_string());
        if image.diff_ids.is_empty() {
            image.diff_ids = diff_ids(&self.diff_ids);
        }
        let pulled = pulled.and_then(|name| Some((name, name.digest.as_ref()?)));
        let alias = pulled.map(|(name, digest)| {
            let tags = self.repo_tags.0.iter().filter_map(|tag| ArtifactRef::parse(tag.as_str()));
            let tags = tags.filter(|tag| tag.repository_key() == name.repository_key()).map(|tag| tag.tag);
            Fact::now(ImageObserved {
                digest: digest.to_string(),
                digest_kind: DigestKind::Unspecified.into(),
                artifact_ref: name.to_string(),
                tags: tags.filter(|tag| !tag.is_empty()).take(64).collect(),
                platform: image.platform.clone(),
                config_digest: config.to_string(),
                ..ImageObserved::default()
            })
        });
        std::iter::once(Fact::now(image.clone())).chain(alias).collect()
    }
}
