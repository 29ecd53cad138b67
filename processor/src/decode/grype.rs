//! Grype's JSON report (`-o json`).
//!
//! `fix.state: fixed` of a match means that a fix exists, not that this artifact is fixed. What a rule or a VEX
//! document made Grype ignore (`ignoredMatches`) does not count (SPEC §5). The digests of an image's layers are those
//! of their contents: diff ids.

use pedigraph_proto::event::{ArtifactKind, DigestKind, Finding, ImageObserved, ScanCompleted};
use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{Digest, Nanos, image};
use serde::Deserialize;
use serde::de::MapAccess;

use super::document::{Document, Failure};
use super::facts::{self, ITEMS_MAX, canonical_purl};
use super::oci::labelled;
use super::read::{Each, Lax, LaxList, List, Members, Obj, Object, Pairs, Text, TextOr, Unread, clip, clip_to, skip};
use super::scanned::{self, Findings, Image};
use super::severity::{self, Severity};
use super::table::{Decode, Decoder};
use super::{Found, Given};

pub(super) static DECODERS: [Decoder; 1] = [Decoder {
    matches: |shape| shape.all(&["matches", "source"]) || shape.all(&["matches", "descriptor"]),
    ..Decoder::new("grype", 3, Decode::Stream(decode))
}];

/// A report while it is read; of its matches only the findings are kept.
struct Report<'a, 'g> {
    /// There is a list, be it empty.
    lists: bool,
    findings: Findings<'g>,
    source: Obj<Source<'a>>,
    descriptor: Obj<Descriptor<'a>>,
}

impl<'de> Members<'de> for Report<'de, '_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "matches" => {
                let take = |Obj(found): Obj<Match<'de>>| self.findings.take(finding(&found));
                self.lists = map.next_value_seed(Each::new(take))?;
            }
            "source" => self.source = map.next_value()?,
            "descriptor" => self.descriptor = map.next_value()?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Descriptor<'a> {
    #[serde(borrow)]
    version: Text<'a>,
    #[serde(borrow)]
    timestamp: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Source<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    target: TextOr<'a, Target<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Target<'a> {
    #[serde(borrow)]
    user_input: Text<'a>,
    #[serde(borrow, rename = "imageID")]
    image_id: Text<'a>,
    #[serde(borrow)]
    manifest_digest: Text<'a>,
    #[serde(borrow)]
    repo_digests: List<Text<'a>>,
    #[serde(borrow)]
    tags: List<Text<'a>>,
    #[serde(borrow)]
    layers: List<Obj<Layer<'a>>>,
    #[serde(borrow)]
    labels: Pairs<'a, false>,
    #[serde(borrow)]
    architecture: Text<'a>,
    #[serde(borrow)]
    architecture_variant: Text<'a>,
    #[serde(borrow)]
    os: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Layer<'a> {
    #[serde(borrow)]
    digest: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Match<'a> {
    #[serde(borrow)]
    vulnerability: Obj<Vulnerability<'a>>,
    #[serde(borrow)]
    related_vulnerabilities: List<Obj<Related<'a>>>,
    #[serde(borrow)]
    artifact: Obj<Package<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Vulnerability<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    severity: Text<'a>,
    cvss: Unread,
    #[serde(borrow)]
    fix: Obj<Fix<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Cvss<'a> {
    #[serde(borrow)]
    vector: Text<'a, false>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Fix<'a> {
    #[serde(borrow)]
    versions: List<Text<'a>>,
    #[serde(borrow)]
    state: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Related<'a> {
    #[serde(borrow)]
    id: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Package<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    version: Text<'a>,
    #[serde(borrow)]
    purl: Text<'a>,
}

/// Reads a report: the scan, and of an image what ties its digests together.
fn decode<'a>(document: Document<'a>, given: &Given<'_>) -> Result<Found, Failure> {
    let mut report: Report<'a, '_> =
        Report { lists: false, findings: Findings::new(given), source: Obj::default(), descriptor: Obj::default() };
    document.json_seed(Object(&mut report))?;
    Ok(found(report, given)?)
}

fn found(report: Report<'_, '_>, given: &Given<'_>) -> Result<Found, Reject> {
    if !report.lists {
        // Without one nothing was looked for: it must not replace a scan that found something.
        return Err(Reject::new(Code::SchemaViolation, "matches are missing"));
    }
    let (Obj(source), Obj(descriptor)) = (&report.source, &report.descriptor);
    let kind = source.kind();
    let (image, reference) = match &source.target {
        TextOr::Object(target) if kind == ArtifactKind::ContainerImage => target.image(),
        TextOr::Object(_) | TextOr::Text(_) => (Image::default(), String::new()),
    };
    let head = ScanCompleted {
        scanner: "grype".into(),
        scanner_version: descriptor.version.whole(),
        scan_id: Digest::sha256(given.sha256).to_string(),
        kind: kind.into(),
        target: source.part(),
        ..ScanCompleted::default()
    };
    let mut facts = scanned::scans(&head, report.findings.all(), image.subjects(given, reference), given)?;
    if let TextOr::Object(target) = &source.target {
        facts.extend(target.image_facts(&image));
    }
    Ok(Found { facts: facts.into(), time: Nanos::parse(descriptor.timestamp.as_str()) })
}

impl Source<'_> {
    /// What was scanned. Of an SBOM, or a list of purls, the report does not say what it describes.
    fn kind(&self) -> ArtifactKind {
        match self.kind.as_str() {
            "image" => ArtifactKind::ContainerImage,
            "" | "unknown" | "sbom-file" | "purl-file" => ArtifactKind::Unspecified,
            _ => ArtifactKind::Generic,
        }
    }

    /// The part of an artifact that was scanned; of an image it is all of it.
    fn part(&self) -> String {
        match &self.target {
            TextOr::Text(path) if !matches!(self.kind.as_str(), "image" | "" | "unknown") => scanned::target(path),
            TextOr::Object(_) | TextOr::Text(_) => String::new(),
        }
    }
}

impl Target<'_> {
    /// The image, and what Grype was told to call it.
    fn image(&self) -> (Image, String) {
        let own = [self.manifest_digest.as_str(), self.image_id.as_str()];
        let image = Image::of(&self.repo_digests, &self.tags, own);
        let input = self.user_input.as_str();
        // How Grype is told where to find an image.
        let by_daemon = ["docker:", "podman:", "containerd:", "registry:"].iter();
        let input = by_daemon.clone().find_map(|scheme| input.strip_prefix(scheme)).unwrap_or(input);
        let reference = image.reference(if is_location(input) { "" } else { input });
        (image, reference)
    }

    /// The configuration with the contents of its layers, and what has it beside it.
    fn image_facts(&self, known: &Image) -> Vec<Fact> {
        let Some(config) = &known.config else { return vec![] };
        let layers = self.layers.0.iter().filter_map(|Obj(layer)| layer.digest.as_str().parse::<Digest>().ok());
        let parts = [&self.os, &self.architecture, &self.architecture_variant];
        let [os, architecture, variant] = parts.map(|part| clip_to(part.as_str(), 64));
        let observed = ImageObserved {
            platform: image::platform(os, architecture, variant, ""),
            diff_ids: layers.take(ITEMS_MAX).map(|digest| digest.to_string()).collect(),
            ..labelled(config.to_string(), DigestKind::Config, &self.labels)
        };
        let beside = known.tied_to(&observed);
        std::iter::once(Fact::now(observed)).chain(beside).collect()
    }
}

/// Whether it says where an image's files lie, which is no name of it.
fn is_location(input: &str) -> bool {
    ["docker-archive:", "oci-archive:", "oci-dir:", "singularity:"].iter().any(|scheme| input.starts_with(scheme))
}

/// What the worst of its vectors comes to.
fn rated(ratings: &Unread) -> Severity {
    let LaxList(ratings): LaxList<Lax<Cvss<'_>>> = ratings.read();
    ratings.iter().map(|Lax(rating)| Severity::of_vector(rating.vector.as_str())).max().unwrap_or_default()
}

fn finding(found: &Match<'_>) -> Finding {
    let (Obj(vulnerability), Obj(package)) = (&found.vulnerability, &found.artifact);
    let id = vulnerability.id.as_str();
    let related = found.related_vulnerabilities.0.iter().map(|Obj(related)| related.id.as_str());
    Finding {
        vulnerability: vulnerability.id.owned(),
        aliases: facts::other_names(id, related),
        purl: canonical_purl(package.purl.as_str()).0,
        package_name: package.name.owned(),
        installed_version: package.version.owned(),
        fixed_version: vulnerability.fix.0.versions.0.first().map(Text::owned).unwrap_or_default(),
        severity: severity::said_or(clip(vulnerability.severity.as_str()), || rated(&vulnerability.cvss)),
        status: vulnerability.fix.0.state.owned(),
    }
}
