//! Signed scans: cosign's `vuln` predicate and the `vulns` of in-toto, v0.1 and v0.2.
//!
//! The result is the report of the scanner where that is one that is read here; else the predicate's own list of
//! vulnerabilities. Another report stays what the attestation says of it: that there is one.

use pedigraph_proto::event::{Finding, ScanCompleted};
use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{Digest, Event, Nanos, Purl};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::facts;
use super::read::{Each, Lax, LaxList, Obj, Text, json};
use super::scanned::{self, Findings, Scanned};
use super::severity::Severity;
use super::{Found, Given};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Predicate<'a> {
    #[serde(borrow)]
    scanner: Obj<Scanner<'a>>,
    #[serde(borrow)]
    metadata: Obj<Metadata<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Scanner<'a> {
    #[serde(borrow)]
    uri: Text<'a>,
    #[serde(borrow)]
    version: Text<'a>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow)]
    scan_finished_on: Text<'a>,
    #[serde(borrow)]
    scan_started_on: Text<'a>,
}

/// One of the predicate's own list.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Vulnerability<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    severity: LaxList<Lax<Rating<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Rating<'a> {
    #[serde(borrow)]
    score: Text<'a, false>,
}

/// Whether a predicate type is that of a scan.
pub(super) fn is_of(kind: &str) -> bool {
    kind.starts_with("https://in-toto.io/attestation/vulns/")
        || kind.starts_with("https://cosign.sigstore.dev/attestation/vuln/")
        || kind == "cosign.sigstore.dev/attestation/vuln/v1"
}

/// What the scan found, of each of the subjects of the statement; `read` reads a scanner's report, if it is one. A
/// predicate that cannot be read so is still an attestation.
pub(super) fn found(
    predicate: &str,
    subjects: &[(String, String)],
    given: &Given<'_>,
    read: impl Fn(&str) -> Result<Option<Found>, Reject>,
) -> Result<Option<Found>, Reject> {
    match scanned_by(predicate, subjects, given, read) {
        Err(reject) if matches!(reject.code, Code::SchemaViolation | Code::UnsupportedVersion) => Ok(None),
        found => found,
    }
}

fn scanned_by(
    predicate: &str,
    subjects: &[(String, String)],
    given: &Given<'_>,
    read: impl Fn(&str) -> Result<Option<Found>, Reject>,
) -> Result<Option<Found>, Reject> {
    let Obj(said): Obj<Predicate<'_>> = json(predicate, Code::SchemaViolation)?;
    let time = facts::first_time(&[&said.metadata.0.scan_finished_on, &said.metadata.0.scan_started_on]);
    let Obj(scanner) = &said.scanner;
    let result = scanner.result.map_or("null", RawValue::get);
    let found = match result.as_bytes().first() {
        Some(b'{') => read(result)?.map(|report| of_each(report, subjects, given)).transpose()?,
        Some(b'[') if !subjects.is_empty() => Some(listed(scanner, result, subjects, given)?),
        Some(_) | None => None,
    };
    // The report knows best when it was made.
    Ok(found.map(|found| Found { time: found.time.or(Nanos::parse(&time)), ..found }))
}

/// What a report says of the first subject is said of the others too.
fn of_each(mut found: Found, subjects: &[(String, String)], given: &Given<'_>) -> Result<Found, Reject> {
    let of_first = |fact: &&Fact| match &fact.event {
        Some(Event::ScanCompleted(scan)) => subjects.first().is_some_and(|(digest, _)| *digest == scan.artifact_digest),
        _ => false,
    };
    let own: Vec<Fact> = found.facts.heads().iter().filter(of_first).cloned().collect();
    for (digest, _) in subjects.iter().skip(1) {
        for mut fact in own.iter().cloned() {
            given.budget.take(&fact)?;
            if let Some(Event::ScanCompleted(scan)) = &mut fact.event {
                scan.artifact_digest.clone_from(digest);
                scan.artifact_ref.clear();
            }
            found.facts.extend([fact]);
        }
    }
    Ok(found)
}

/// What the predicate lists itself: names of vulnerabilities, without packages.
fn listed(
    scanner: &Scanner<'_>,
    list: &str,
    subjects: &[(String, String)],
    given: &Given<'_>,
) -> Result<Found, Reject> {
    let mut findings = Findings::new(given);
    let take = |Obj(said): Obj<Vulnerability<'_>>| match said.id.get() {
        Some(_) => findings.take(said.finding()),
        None => Ok(()),
    };
    let mut reader = serde_json::Deserializer::from_str(list);
    serde::de::DeserializeSeed::deserialize(Each::new(take), &mut reader)
        .map_err(|error| super::read::json_reject(&error, Code::SchemaViolation))?;
    let head = ScanCompleted {
        scanner: scanner.name(),
        scanner_version: scanner.version.whole(),
        scan_id: Digest::sha256(pedigraph_proto::canonical::sha256(list.as_bytes())).to_string(),
        ..ScanCompleted::default()
    };
    let of = |digest: &str| digest.parse().ok();
    let scanned = subjects.iter().filter_map(|(digest, _)| of(digest));
    let scanned = scanned.map(|digest| Scanned { digest, reference: String::new(), part: String::new() });
    Ok(Found { facts: scanned::scans(&head, findings.all(), scanned.collect(), given)?.into(), time: None })
}

impl Scanner<'_> {
    /// What others call it: `grype` of `pkg:github/anchore/grype@1`.
    fn name(&self) -> String {
        let of_purl = Purl::parse(self.uri.as_str());
        let last = of_purl.as_ref().and_then(|purl| purl.package().rsplit('/').next());
        last.map_or_else(|| self.uri.whole(), str::to_owned)
    }
}

impl Vulnerability<'_> {
    fn finding(&self) -> Finding {
        let LaxList(ratings) = &self.severity;
        let rated = ratings
            .iter()
            .map(|Lax(rating)| Severity::of_word(rating.score.as_str()).or(Severity::of_vector(rating.score.as_str())));
        Finding {
            vulnerability: self.id.owned(),
            severity: rated.max().unwrap_or_default().word().to_owned(),
            ..Finding::default()
        }
    }
}
