//! What answers say of a piece of evidence: an id, one line for people, and its fields by name.

use pedigraph_proto::event::{Outcome, Strategy, Verification, VexStatus};
use pedigraph_proto::json;
use serde_json::{Map, Value};

use crate::facts::lineage::rows::{
    AttestationEvidence, DeploymentEvidence, Evidence, EvidenceKind, SbomEvidence, TestsEvidence, VexEvidence,
};

/// Letters of a digest that a sentence shows after its algorithm.
const SHORT_DIGEST_LETTERS: usize = 12;

/// A piece of evidence in words.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Worded {
    pub(super) id: String,
    pub(super) summary: String,
    pub(super) details: Map<String, Value>,
}

/// Words a piece of evidence, but for a statement, whose row only says which one it is.
pub(super) fn worded(evidence: &Evidence, kind: EvidenceKind) -> Worded {
    match evidence {
        Evidence::Sbom(sbom) => of_sbom(sbom),
        Evidence::Stated { .. } => remark(kind, "", kind.word().to_owned()),
        Evidence::Signature { signature, signer } => remark(kind, signature, format!("signed{}", by(signer))),
        Evidence::Scan { scan_id, scanner, scanner_version, findings } => {
            let mut details = texts(&[("scanner", scanner), ("scannerVersion", scanner_version)]);
            details.insert("findings".to_owned(), (*findings).into());
            Worded { id: scan_id.clone(), summary: format!("{scanner}: {findings} findings"), details }
        }
        Evidence::Tests(tests) => of_tests(tests),
        Evidence::Deployment(deployment) => of_deployment(deployment),
        Evidence::Vex(vex) => of_vex(vex),
        Evidence::Approval { decision, environment, actor } => {
            remark(kind, decision, format!("{decision} for {environment}{}", by(actor)))
        }
        Evidence::Rebuild { rebuilt_digest, reproducible } => {
            let summary = if *reproducible { "rebuilt alike" } else { "rebuilt with another digest" };
            remark(kind, rebuilt_digest, summary.to_owned())
        }
        Evidence::Reachability { vulnerability, status, paths, gates: _ } => {
            remark(kind, vulnerability, format!("{vulnerability} is {status} ({paths} paths)"))
        }
        Evidence::Deleted { actor } => remark(kind, "", format!("deleted{}", by(actor))),
        Evidence::Downloaded { actor } => remark(kind, "", format!("downloaded{}", by(actor))),
        Evidence::Kept { digest, artifact_type } => {
            let summary = format!("{} {} in the registry", kind.word(), short(digest));
            Worded { id: digest.clone(), summary, details: texts(&[("artifactType", artifact_type)]) }
        }
    }
}

fn remark(kind: EvidenceKind, id: &str, summary: String) -> Worded {
    let id = if id.is_empty() { kind.word() } else { id };
    Worded { id: id.to_owned(), summary, details: Map::new() }
}

fn of_sbom(sbom: &SbomEvidence) -> Worded {
    let mut details = texts(&[
        ("format", &sbom.format),
        ("specVersion", &sbom.spec_version),
        ("serialNumber", &sbom.serial_number),
        ("tool", &sbom.tool),
        ("uri", &sbom.uri),
    ]);
    details.insert("components".to_owned(), sbom.components.into());
    if sbom.skipped > 0 {
        details.insert("skipped".to_owned(), sbom.skipped.into());
    }
    let written = [sbom.format.as_str(), &sbom.spec_version].join(" ");
    let noun = if sbom.components == 1 { "component" } else { "components" };
    let summary = if sbom.is_link {
        format!("links the SBOM {}", short(&sbom.sbom_digest))
    } else {
        format!("{}, {} {noun}{}", written.trim(), sbom.components, by(&sbom.tool))
    };
    Worded { id: sbom.sbom_digest.clone(), summary, details }
}

/// Words a statement.
pub(super) fn of_attestation(said: &AttestationEvidence) -> Worded {
    let verified = json::verification::word(Verification::try_from(said.verification).unwrap_or_default());
    let mut details = texts(&[
        ("predicateType", &said.predicate_type),
        ("statementDigest", &said.statement_digest),
        ("verification", &verified),
        ("builder", &said.builder),
        ("buildType", &said.build_type),
        ("invocation", &said.invocation),
        ("repository", &said.repository),
        ("commit", &said.commit),
        ("startedOn", &said.started_on),
        ("finishedOn", &said.finished_on),
        ("summary", &said.summary),
    ]);
    if !said.key_ids.is_empty() {
        details.insert("keyIds".to_owned(), said.key_ids.clone().into());
    }
    if said.materials > 0 {
        details.insert("materials".to_owned(), said.materials.into());
    }
    let verified = if verified.is_empty() { String::new() } else { format!(", signature {verified}") };
    let summary = format!("{}{}{verified}", said.predicate_type, by(&said.builder));
    Worded { id: said.predicate_type.clone(), summary, details }
}

fn of_tests(tests: &TestsEvidence) -> Worded {
    let outcome = json::outcome::word(Outcome::try_from(tests.outcome).unwrap_or_default());
    let mut details = texts(&[
        ("suite", &tests.suite),
        ("outcome", &outcome),
        ("run", &tests.run),
        ("url", &tests.url),
        ("reason", &tests.reason),
        ("environment", &tests.environment),
    ]);
    for (name, n) in [("passed", tests.passed), ("failed", tests.failed), ("skipped", tests.skipped)] {
        details.insert(name.to_owned(), n.into());
    }
    let counts = format!("{} passed, {} failed, {} skipped", tests.passed, tests.failed, tests.skipped);
    let suite = if tests.suite.is_empty() { "tests" } else { &tests.suite };
    let id = if tests.run.is_empty() { suite } else { &tests.run };
    Worded { id: id.to_owned(), summary: format!("{suite}: {outcome} ({counts})"), details }
}

fn of_deployment(said: &DeploymentEvidence) -> Worded {
    let strategy = json::strategy::word(Strategy::try_from(said.strategy).unwrap_or_default());
    let mut details = texts(&[
        ("environment", &said.environment),
        ("service", &said.service),
        ("cluster", &said.cluster),
        ("namespace", &said.namespace),
        ("artifactRef", &said.artifact_ref),
        ("configDigest", &said.config_digest),
        ("strategy", &strategy),
        ("actor", &said.actor),
        ("run", &said.run),
        ("reason", &said.reason),
        ("url", &said.url),
    ]);
    if said.weight > 0 || said.canary {
        details.insert("weight".to_owned(), said.weight.into());
    }
    if said.rollback {
        details.insert("rollback".to_owned(), true.into());
    }
    let place = format!("{} in {}", said.service, said.environment);
    let summary = if said.canary {
        format!("{place}, canary at {} %", said.weight)
    } else {
        format!("{place}{}", by(&said.actor))
    };
    Worded { id: format!("{}@{}", said.service, said.environment), summary, details }
}

fn of_vex(said: &VexEvidence) -> Worded {
    let status = json::vex_status::word(VexStatus::try_from(said.status).unwrap_or_default());
    let details = texts(&[
        ("issuer", &said.issuer),
        ("status", &status),
        ("justification", &said.justification),
        ("documentId", &said.document_id),
        ("documentVersion", &said.document_version),
        ("time", &said.time),
    ]);
    let summary = format!("{}: {status} says {}", said.vulnerability, said.issuer);
    Worded { id: said.vulnerability.clone(), summary, details }
}

/// The texts that say something.
fn texts(pairs: &[(&str, &str)]) -> Map<String, Value> {
    let said = pairs.iter().filter(|(_, text)| !text.is_empty());
    said.map(|(name, text)| ((*name).to_owned(), (*text).into())).collect()
}

fn by(actor: &str) -> String {
    if actor.is_empty() { String::new() } else { format!(" by {actor}") }
}

fn short(digest: &str) -> &str {
    let end = digest.find(':').map_or(SHORT_DIGEST_LETTERS, |colon| colon + 1 + SHORT_DIGEST_LETTERS);
    digest.get(..end).unwrap_or(digest)
}
