//! Trivy's JSON report, schema version 2.
//!
//! `Status: fixed` of a finding means that a fix exists, not that this artifact is fixed; only one that is `not_affected`
//! is no finding. `RepoDigests` of an image are
//! all digests under which registries know it.

use pedigraph_proto::event::{ArtifactKind, Finding, ScanCompleted};
use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{Digest, Nanos};
use serde::de::{DeserializeSeed as _, MapAccess};
use serde::{Deserialize, Deserializer};

use super::document::{Document, Failure};
use super::facts::{self, canonical_purl};
use super::oci::{Config, config_observed, diff_ids};
use super::read::{Each, Lax, List, Members, Obj, Object, Objects, Text, Unread, Whole, clip, skip};
use super::scanned::{self, Findings, Image};
use super::severity::{self, Severity};
use super::table::{Decode, Decoder};
use super::{Found, Given};

pub(super) static DECODERS: [Decoder; 1] = [Decoder {
    matches: |shape| shape.has("SchemaVersion") && (shape.has("ArtifactName") || shape.has("Results")),
    ..Decoder::new("trivy", 5, Decode::Stream(decode))
}];

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
struct Results<'g>(Findings<'g>);

impl<'de> Members<'de> for Results<'_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        if name != "Vulnerabilities" {
            return skip(map);
        }
        map.next_value_seed(Each::new(|Obj(found): Obj<Vulnerability<'de>>| {
            // Its vendor looked into it: such a one is listed on request only.
            let is_cleared = found.status.as_str().eq_ignore_ascii_case("not_affected");
            if is_cleared { Ok(()) } else { self.0.take(finding(&found)) }
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
    #[serde(rename = "CVSS")]
    cvss: Unread,
}

/// What the worst of the vectors that vendors give comes to, vendor by vendor.
#[derive(Default)]
struct Rated(Severity);

impl<'de> Deserialize<'de> for Rated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut rated = Rated::default();
        Object(&mut rated).deserialize(deserializer)?;
        Ok(rated)
    }
}

impl<'de> Members<'de> for Rated {
    fn member<A: MapAccess<'de>>(&mut self, _vendor: &str, map: &mut A) -> Result<(), A::Error> {
        let Lax(vendor): Lax<Vectors<'de>> = map.next_value()?;
        for vector in [vendor.v3, vendor.v4] {
            self.0 = self.0.max(Severity::of_vector(vector.as_str()));
        }
        Ok(())
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Vectors<'a> {
    #[serde(borrow, rename = "V3Vector")]
    v3: Text<'a, false>,
    #[serde(borrow, rename = "V40Vector")]
    v4: Text<'a, false>,
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

fn found(report: Report<'_, '_>, given: &Given<'_>) -> Result<Found, Reject> {
    match report.schema_version.0 {
        Some(2) => {}
        Some(other) => return Err(Reject::new(Code::UnsupportedVersion, format!("SchemaVersion {other} is not 2"))),
        None => return Err(Reject::new(Code::SchemaViolation, "SchemaVersion is missing or no number")),
    }
    let Obj(metadata) = &report.metadata;
    let image = Image::of(&metadata.repo_digests, &metadata.repo_tags, ["", metadata.image_id.as_str()]);
    let kind = report.kind();
    let is_image = kind == ArtifactKind::ContainerImage;
    let pointed_at = report.artifact_name.as_str();
    let head = ScanCompleted {
        scanner: "trivy".into(),
        scanner_version: report.trivy.0.version.whole(),
        scan_id: Digest::sha256(given.sha256).to_string(),
        kind: kind.into(),
        target: if is_image { String::new() } else { scanned::target(pointed_at) },
        ..ScanCompleted::default()
    };
    let reference = if is_image { image.reference(pointed_at) } else { String::new() };
    let mut facts = scanned::scans(&head, report.results.0.all(), image.subjects(given, reference), given)?;
    facts.extend(metadata.image_facts(&image));
    Ok(Found { facts: facts.into(), time: Nanos::parse(report.created_at.as_str()) })
}

impl<'g> Report<'_, 'g> {
    fn new(given: &Given<'g>) -> Self {
        Report {
            schema_version: Whole::default(),
            trivy: Obj::default(),
            created_at: Text::default(),
            artifact_name: Text::default(),
            artifact_type: Text::default(),
            metadata: Obj::default(),
            results: Results(Findings::new(given)),
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
        severity: severity::said_or(clip(found.severity.as_str()), || found.cvss.read::<Rated>().0),
        status: found.status.owned(),
    }
}

impl Metadata<'_> {
    /// The configuration with its layers, and what has it beside it.
    fn image_facts(&self, image: &Image) -> Vec<Fact> {
        let Some(config) = &image.config else { return vec![] };
        let mut observed = config_observed(&self.image_config.0, config.to_string());
        if observed.diff_ids.is_empty() {
            observed.diff_ids = diff_ids(&self.diff_ids);
        }
        let beside = image.tied_to(&observed);
        std::iter::once(Fact::now(observed)).chain(beside).collect()
    }
}
