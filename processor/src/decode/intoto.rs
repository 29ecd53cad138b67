//! in-toto statements v0.1 and v1: SLSA provenance v0.1, v0.2 and v1, verification summaries, test results, SBOMs and
//! VEX as predicates. Any other predicate is recorded by its type.
//!
//! What a provenance says of its source and its tools stands in [`super::provenance`], what a signed scan found in
//! [`super::vulnerabilities`].

use std::borrow::Cow;

use pedigraph_proto::event::{
    AttestationAttached, DigestKind, ImageObserved, Material, Outcome, SbomAttached, TestsFinished, Verification,
};
use pedigraph_proto::image::normal_platform;
use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{ArtifactRef, Digest, Event, Nanos, Purl};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::budget::Budget;
use super::detect::{self, Shape};
use super::facts::{self, Aliases, NAME_BYTES_MAX, canonical_of, count, digests};
use super::lengths::Fit as _;
use super::provenance::Provenance;
use super::read::{List, Obj, Pairs, Text, clip_to, json};
use super::table::{self, Decode, Decoder};
use super::{FactList, Found, Given, Understood, image_name, vulnerabilities};

pub(super) static DECODERS: [Decoder; 1] = [Decoder {
    media_types: &["application/vnd.in-toto+json"],
    tells: &["_type"],
    matches: is_statement,
    ..Decoder::new("in-toto", 8, Decode::Text(|text, given| decode(text, &Envelope::default(), given)))
}];

/// Most subjects of one statement that are named as images or packages.
const NAMED_MAX: usize = 256;
/// Scanners whose reports are read.
const SCANNERS: [&str; 2] = ["trivy", "grype"];
/// Length of most digests with their algorithm, bytes.
const DIGEST_BYTES: usize = 71;

/// Whether a document is a statement without an envelope.
pub(super) fn is_statement(shape: &Shape<'_>) -> bool {
    shape.has("predicateType") || shape.value("_type").starts_with("https://in-toto.io/Statement")
}

/// What is known of the envelope around a statement.
pub(super) struct Envelope {
    /// Whether there is a signature.
    pub(super) verification: Verification,
    /// Key ids that the signatures name.
    pub(super) key_ids: Vec<String>,
}

impl Default for Envelope {
    /// A bare statement.
    fn default() -> Self {
        Envelope { verification: Verification::None, key_ids: vec![] }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Statement<'a> {
    #[serde(borrow, rename = "_type")]
    kind: Text<'a>,
    #[serde(borrow)]
    predicate_type: Text<'a>,
    #[serde(borrow)]
    subject: List<Obj<Subject<'a>>>,
    #[serde(borrow)]
    predicate: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Subject<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    uri: Text<'a>,
    #[serde(borrow)]
    digest: Pairs<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Named<'a> {
    #[serde(borrow)]
    id: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Summary<'a> {
    #[serde(borrow)]
    verifier: Obj<Named<'a>>,
    #[serde(borrow)]
    verification_result: Text<'a>,
    #[serde(borrow, rename = "verification_result")]
    old_result: Text<'a>,
    #[serde(borrow)]
    verified_levels: List<Text<'a>>,
    #[serde(borrow)]
    time_verified: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct TestResult<'a> {
    #[serde(borrow)]
    result: Text<'a>,
    #[serde(borrow)]
    url: Text<'a>,
    #[serde(borrow)]
    passed_tests: List<Text<'a>>,
    #[serde(borrow)]
    failed_tests: List<Text<'a>>,
}

/// Cosign puts an SBOM beside a time instead of making it the predicate.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Wrapped<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Reads a statement; `given.sha256` is that of its bytes.
pub(super) fn decode(text: &str, envelope: &Envelope, given: &Given<'_>) -> Result<Found, Reject> {
    let statement: Statement<'_> = json(text, Code::SchemaViolation)?;
    statement.check_version()?;
    let subjects = statement.subjects(given)?;
    let mut head = AttestationAttached {
        predicate_type: statement.predicate_type.whole(),
        statement_digest: Digest::sha256(given.sha256).to_string(),
        verification: envelope.verification.into(),
        key_ids: envelope.key_ids.clone(),
        ..AttestationAttached::default()
    };
    let predicate = statement.predicate.map_or("null", RawValue::get);
    let mut aliases = Aliases::default();
    statement.subject.0.iter().for_each(|Obj(subject)| aliases.note(digests(&subject.digest)));
    let materials = describe(&mut head, predicate, given, &mut aliases)?;
    head.fit()?;
    let said = facts::attestation(&head, &subjects, &materials)?;
    said.iter().try_for_each(|fact| given.budget.take(fact))?;
    let mut facts = FactList::from(said);
    let time = Nanos::parse(&head.finished_on).or_else(|| Nanos::parse(&head.started_on));
    let inner = inner_facts(&head, predicate, &subjects, given)?;
    let time = time.or(inner.as_ref().and_then(|found| found.time));
    facts.append(inner.map(|found| found.facts).unwrap_or_default());
    let named: Vec<Fact> = subjects
        .iter()
        .filter_map(|subject| image_of(subject).or_else(|| package_of(subject)))
        .take(NAMED_MAX)
        .map(Fact::now)
        .collect();
    named.iter().try_for_each(|fact| given.budget.take(fact))?;
    facts.extend(named);
    facts.extend(aliases.into_facts());
    Ok(Found { facts, time })
}

/// The image that a subject is called, by its repository: `ghcr.io/acme/till`, BuildKit's `pkg:docker/…`. A tag there is
/// often that of the index above it, so it says nothing; the platform (`?platform=linux%2Farm64`) is the image's own. A
/// name without a registry may be that of any file.
fn image_of((digest, name): &(String, String)) -> Option<ImageObserved> {
    let reference = ArtifactRef::parse(name).filter(|reference| !reference.repository.is_empty())?;
    let purl = Purl::parse(name);
    let is_image = match &purl {
        Some(purl) => purl.is_image(),
        None => image_name::is_pullable(name, &reference),
    };
    let reference = ArtifactRef { tag: String::new(), digest: digest.parse().ok(), ..reference };
    is_image.then(|| ImageObserved {
        digest: digest.clone(),
        artifact_ref: reference.to_string(),
        platform: purl.and_then(|purl| purl.qualifier("platform")).map(|of| normal_platform(&of)).unwrap_or_default(),
        ..ImageObserved::default()
    })
}

/// The package that a subject is called by its purl, as npm calls what it publishes. Without a version it names every
/// one, and a name that was cut another one.
fn package_of((digest, name): &(String, String)) -> Option<ImageObserved> {
    let purl = Purl::parse(name).filter(|purl| !purl.is_image() && !purl.version().is_empty())?;
    (name.len() < NAME_BYTES_MAX).then(|| ImageObserved {
        digest: digest.clone(),
        digest_kind: DigestKind::Package.into(),
        artifact_ref: purl.to_string(),
        ..ImageObserved::default()
    })
}

impl Statement<'_> {
    fn check_version(&self) -> Result<(), Reject> {
        let kind = self.kind.as_str();
        let version = kind.strip_prefix("https://in-toto.io/Statement/v");
        match version {
            Some(version) if version.starts_with("0.") || version == "1" || version.starts_with("1.") => {}
            Some(_) => {
                return Err(Reject::new(Code::UnsupportedVersion, format!("_type {kind:?} is neither v0.1 nor v1")));
            }
            // Real documents exist without it.
            None if kind.is_empty() => {}
            None => return Err(Reject::new(Code::SchemaViolation, format!("_type {kind:?} is no in-toto statement"))),
        }
        let named = self.predicate_type.get().is_some();
        named.then_some(()).ok_or_else(|| Reject::new(Code::SchemaViolation, "predicateType is missing"))
    }

    /// The valid subjects, each with its name; the one given outside when the statement names none that is valid. A
    /// subject of empty content is valid but joins nothing, so it is left out.
    fn subjects(&self, given: &Given<'_>) -> Result<Vec<(String, String)>, Reject> {
        let all = self.subject.0.iter().map(|Obj(subject)| subject);
        let subjects = all.clone().filter_map(|subject| {
            let name = subject.name.or(&subject.uri);
            let digest = canonical_of(digests(&subject.digest))?;
            Some((digest.to_string(), clip_to(name.as_str(), NAME_BYTES_MAX).to_owned()))
        });
        let mut subjects: Vec<_> = subjects.take(given.limits.statements_max).collect();
        if let Some(outside) = facts::outside(given).filter(|_| subjects.is_empty()) {
            subjects.push((outside.to_string(), String::new()));
        }
        if subjects.is_empty() && all.flat_map(|subject| digests(&subject.digest)).next().is_none() {
            return Err(Reject::new(Code::DigestInvalid, "none of the statement's subjects has a valid digest"));
        }
        Ok(subjects)
    }
}

/// Fills in what the predicate says of the build; the materials come back.
fn describe(
    head: &mut AttestationAttached,
    predicate: &str,
    given: &Given<'_>,
    aliases: &mut Aliases,
) -> Result<Vec<Material>, Reject> {
    let kind = head.predicate_type.as_str();
    if kind.starts_with("https://slsa.dev/provenance/") || kind.starts_with("https://in-toto.io/Provenance/") {
        let Obj(provenance): Obj<Provenance<'_>> = json(predicate, Code::SchemaViolation)?;
        return provenance.describe(head, given.limits.statements_max, aliases);
    }
    if kind.contains("slsa.dev/verification_summary/") {
        let Obj(summary): Obj<Summary<'_>> = json(predicate, Code::SchemaViolation)?;
        summary.describe(head);
    }
    Ok(vec![])
}

impl Summary<'_> {
    fn describe(&self, head: &mut AttestationAttached) {
        head.builder = self.verifier.0.id.whole();
        head.finished_on = facts::canonical_time(self.time_verified.as_str());
        let levels = self.verified_levels.0.iter().take(32).map(|level| clip_to(level.as_str(), 128));
        let words = std::iter::once(self.verification_result.or(&self.old_result).as_str()).chain(levels);
        head.summary = words.collect::<Vec<_>>().join(" ").trim().to_owned();
    }
}

/// The facts of a predicate that is itself a document or a result.
fn inner_facts(
    head: &AttestationAttached,
    predicate: &str,
    subjects: &[(String, String)],
    given: &Given<'_>,
) -> Result<Option<Found>, Reject> {
    let verification = Verification::try_from(head.verification).unwrap_or_default();
    let first = subjects.first().and_then(|(digest, _)| digest.parse::<Digest>().ok());
    let kind = head.predicate_type.as_str();
    if let Some(decoder) = table::of_predicate_type(kind) {
        let document = unwrapped(predicate);
        let sha256 = pedigraph_proto::canonical::sha256(document.as_bytes());
        let other_subjects = subjects.get(1..).unwrap_or_default();
        let given = Given { subject: first, other_subjects, sha256, verification, ..given.clone() };
        let mut found = decoder.read_text(&document, &given, &mut Understood::default())?;
        link_others(&mut found, other_subjects, given.budget)?;
        return Ok(Some(found));
    }
    if vulnerabilities::is_of(kind) {
        let given = Given { subject: first, verification, ..given.clone() };
        return vulnerabilities::found(predicate, subjects, &given, |report| scanned(report, &given));
    }
    if kind.starts_with("https://in-toto.io/attestation/test-result") {
        let Obj(result): Obj<TestResult<'_>> = json(predicate, Code::SchemaViolation)?;
        let mut any = result.of(&"-".repeat(DIGEST_BYTES));
        any.fit()?;
        given.budget.take_times(&any, subjects.len())?;
        let of = |digest: &String| TestsFinished { artifact_digest: digest.clone(), ..any.clone() };
        let facts = subjects.iter().map(|(digest, _)| Fact::now(of(digest)));
        return Ok(Some(Found { facts: facts.collect::<Vec<_>>().into(), time: None }));
    }
    Ok(None)
}

/// What the report of a scanner says; `None` for one that nobody here reads.
fn scanned(report: &str, given: &Given<'_>) -> Result<Option<Found>, Reject> {
    let decoder = detect::decoder_of(report).ok().filter(|decoder| SCANNERS.contains(&decoder.name));
    let Some(decoder) = decoder else { return Ok(None) };
    let sha256 = pedigraph_proto::canonical::sha256(report.as_bytes());
    decoder.read_text(report, &Given { sha256, ..given.clone() }, &mut Understood::default()).map(Some)
}

/// A document as predicate may be cosign's wrapping, with the document as an object or as a string.
fn unwrapped(predicate: &str) -> Cow<'_, str> {
    let data = serde_json::from_str::<Obj<Wrapped<'_>>>(predicate).ok().and_then(|Obj(wrapped)| wrapped.data);
    match data.map(RawValue::get) {
        Some(text) if text.starts_with('"') => serde_json::from_str::<String>(text).unwrap_or_default().into(),
        Some(text) if text.starts_with('{') => text.into(),
        Some(_) | None => predicate.into(),
    }
}

/// The other subjects of a statement have the same SBOM.
fn link_others(found: &mut Found, others: &[(String, String)], budget: &Budget) -> Result<(), Reject> {
    let sbom = found.facts.heads().iter().find_map(|fact| match &fact.event {
        Some(Event::SbomAttached(sbom)) => Some(sbom.clone()),
        _ => None,
    });
    let Some(mut sbom) = sbom else { return Ok(()) };
    sbom.fit()?;
    budget.take_times(&sbom, others.len())?;
    let links = others.iter().map(|(digest, _)| SbomAttached { artifact_digest: digest.clone(), ..sbom.clone() });
    found.facts.extend(links.map(Fact::now));
    Ok(())
}

impl TestResult<'_> {
    fn of(&self, digest: &str) -> TestsFinished {
        let is = |outcome: &&str| self.result.as_str().eq_ignore_ascii_case(outcome);
        let outcome = match ["PASSED", "WARNED", "FAILED"].iter().find(|outcome| is(outcome)) {
            Some(&"FAILED") => Outcome::Failure,
            Some(_) => Outcome::Success,
            None => Outcome::Unspecified,
        };
        TestsFinished {
            artifact_digest: digest.to_owned(),
            outcome: outcome.into(),
            passed: count(self.passed_tests.0.len()),
            failed: count(self.failed_tests.0.len()),
            url: self.url.whole(),
            ..TestsFinished::default()
        }
    }
}
