//! The fact rows of lineage: one small row per thing that a fact says, keyed by what it is about.

use pedigraph_proto::TenantId;
use serde::{Deserialize, Serialize};

use crate::rows::stamp::Order;
use crate::rows::text;
use crate::store::key::Key;

/// The view's byte.
pub(crate) const VIEW: u8 = b'l';

/// Tables, by what their keys hold. A stamp is (time, index, ordinal).
pub(crate) mod table {
    /// digest, index, ordinal → [`super::super::naming::Named`]: what is known up to there, a row where it changes.
    pub(crate) const NAMES: u8 = b'i';
    /// digest, repository key, index, ordinal → [`super::super::naming::Called`]: as above.
    pub(crate) const CALLED: u8 = b'I';
    /// digest, repository key, how it came by the tag, time, index, ordinal → the tag; at one moment a better one
    /// follows.
    pub(crate) const SHOWN: u8 = b'j';
    /// digest, repository key, tag, index, ordinal → [`super::FirstCalled`]: as [`NAMES`].
    pub(crate) const CALLS: u8 = b'T';
    /// digest, index, ordinal, repository key, tag → how many rows of [`CALLS`] there are of the digest with this one: what
    /// an entry called it, of however many tags.
    pub(crate) const NEW_CALLS: u8 = b'x';
    /// repository key, digest → (); the first fact that says so.
    pub(crate) const LINE: u8 = b'l';
    /// repository key, tag, stamp → digest, empty when the tag is gone.
    pub(crate) const TAGS: u8 = b't';
    /// repository key, tag, stamp → digest: where, as was known when the row was written, the tag began to point there.
    /// Where two that follow each other are of one artifact it did not move.
    pub(crate) const MOVES: u8 = b'q';
    /// digest, stamp, repository key, tag → (): the moves to it.
    pub(crate) const MOVES_TO: u8 = b'z';
    /// repository key, tag, stamp → digest, which is empty: the moves to nothing, where the tag is gone.
    pub(crate) const GONE: u8 = b'N';
    /// repository key, tag, stamp, digest → digest that some fact calls so without binding the tag, as a deployment
    /// does.
    pub(crate) const NAMED: u8 = b'n';
    /// tag, repository key as [`super::from_its_end`] → (); the first fact that says so. A repository has a row without
    /// a tag too, unless it is only named in passing.
    pub(crate) const SHORT: u8 = b's';
    /// digest, role, other digest, platform → (); the first fact that says so.
    pub(crate) const ALIAS: u8 = b'a';
    /// digest, kind of evidence, stamp → [`super::Evidence`].
    pub(crate) const EVIDENCE: u8 = b'e';
    /// derived, base, stamp → [`super::BaseClaim`].
    pub(crate) const BASES: u8 = b'b';
    /// base, stamp, derived, method → (): the first fact that says so, and whatever is found to be before it.
    pub(crate) const DERIVED: u8 = b'B';
    /// derived, repository key, tag, stamp → the reference as the fact writes it.
    pub(crate) const FROM: u8 = b'f';
    /// repository key, tag, stamp, derived → (): as in [`DERIVED`].
    pub(crate) const FROM_OF: u8 = b'F';
    /// child, parent, stamp → ().
    pub(crate) const PARENTS: u8 = b'p';
    /// parent, child, stamp → ().
    pub(crate) const CHILDREN: u8 = b'P';
    /// run's id, its source, digest, stamp → ().
    pub(crate) const PRODUCTS: u8 = b'r';
    /// digest, run's id, its source, stamp → ().
    pub(crate) const RUNS: u8 = b'R';
    /// commit, pipeline, digest, stamp → ().
    pub(crate) const BUILT_FROM: u8 = b'c';
    /// digest, commit, pipeline, stamp → ().
    pub(crate) const COMMITS: u8 = b'C';
    /// SHA-256 over all diff ids of an image, index, ordinal → [`super::FirstWith`]: what is known up to there, a row
    /// where it changes.
    pub(crate) const CHAIN: u8 = b'g';
    /// SHA-256 over a proper prefix of an image's diff ids, stamp, digest → (); the first fact that says so.
    pub(crate) const PREFIX: u8 = b'G';
    /// digest, SHA-256 over all diff ids → every prefix's hash, shortest first; the first fact that says so.
    pub(crate) const LAYERS: u8 = b'h';
    /// run's id, its source, stamp → [`super::Work`].
    pub(crate) const WORK: u8 = b'w';
    /// commit, stamp → [`super::CommitFact`].
    pub(crate) const CHANGES: u8 = b'm';
    /// digest, [`super::Claim::class`], stamp → [`super::Claim`].
    pub(crate) const CLAIMS: u8 = b'k';
    /// package, version, digest → (); the first fact that says so.
    pub(crate) const PURLS: u8 = b'u';
    /// repository key, tag, stamp → [`super::Evidence`] of a deployment that names no digest.
    pub(crate) const DEPLOYED_TAGS: u8 = b'y';
    /// vulnerability, digest, stamp → ().
    pub(crate) const VULNERABILITIES: u8 = b'v';
    /// statement → [`super::Statement`].
    pub(crate) const STATEMENTS: u8 = b'S';
    /// digest, stamp → ordinal of the statement that says where it comes from.
    pub(crate) const STATED_ORIGINS: u8 = b'o';
    /// digest, stamp → ordinal of the statement that says what went into it.
    pub(crate) const STATED_MATERIALS: u8 = b'O';
    /// statement, subject, ordinal of the fact → (); of statements with materials.
    pub(crate) const SUBJECTS: u8 = b'J';
    /// statement, method, material, ordinal of the fact → [`super::BaseClaim`].
    pub(crate) const MATERIALS: u8 = b'M';
    /// statement, commit, address, ordinal of the fact → (): a commit among its materials.
    pub(crate) const SOURCES: u8 = b'Q';
    /// material, stamp, method → ordinal of the statement.
    pub(crate) const USES: u8 = b'U';
    /// digest, stamp → [`super::Claim::class`] of a build or a publication that says nothing of where it comes from.
    /// Those that say so have a row in [`CLAIMS`].
    pub(crate) const MADE: u8 = b'D';
}

/// What another digest is to a digest.
pub(crate) mod role {
    /// The config of this manifest.
    pub(crate) const CONFIG: u8 = b'c';
    /// A manifest that names this config.
    pub(crate) const MANIFEST: u8 = b'm';
    /// A platform manifest of this index.
    pub(crate) const PLATFORM: u8 = b'p';
    /// An index that lists this manifest.
    pub(crate) const INDEX: u8 = b'x';
    /// Another digest of the same thing.
    pub(crate) const SAME: u8 = b's';
}

/// Kinds of claims of origin, as in keys.
pub(crate) mod class {
    /// What a build, a run or a provenance says.
    pub(crate) const BUILD: u8 = b'b';
    /// What a publication says.
    pub(crate) const PUBLISHED: u8 = b'p';
    /// A label or annotation.
    pub(crate) const LABEL: u8 = b'a';
}

/// A repository's parts from the last to the first, each with a slash behind it: `till/pos/quay.example/`. Those whose
/// names end alike begin alike.
pub(crate) fn from_its_end(repository: &str) -> String {
    repository.rsplit('/').fold(String::with_capacity(repository.len() + 1), |all, part| all + part + "/")
}

/// The repository that [`from_its_end`] wrote so.
pub(crate) fn from_its_begin(parts: &str) -> String {
    let parts: Vec<&str> = parts.strip_suffix('/').unwrap_or(parts).rsplit('/').collect();
    parts.join("/")
}

/// A key of this view.
pub(crate) fn key(tenant: &TenantId, table: u8) -> Key {
    Key::new(tenant, VIEW).byte(table)
}

/// Bytes of a text that keys hold whole: a longer one would be repeated in the row of each digest that it is said of.
const KEY_TEXT_BYTES_MAX: usize = 512;

/// What rows hold of a text that stands in keys, whatever its length: itself, or of a long one the beginning and a hash.
pub(crate) fn key_text(text: &str) -> String {
    const HASH_BYTES: usize = 64;
    if text.len() <= KEY_TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let whole = (0..KEY_TEXT_BYTES_MAX - HASH_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{}", &text[..whole], blake3::hash(text.as_bytes()).to_hex())
}

/// A statement about artifacts: the entry, and the place in it of the first of the facts that state it. Its subjects and
/// its materials are stored once each; which material is of which subject is found when asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct StatementId {
    pub(crate) index: u64,
    pub(crate) ordinal: u32,
}

impl StatementId {
    /// Goes on with a key.
    pub(crate) fn key(&self, key: Key) -> Key {
        key.number(self.index).ordinal(self.ordinal)
    }
}

/// What a statement says of each of its subjects.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Statement {
    pub(crate) evidence: AttestationEvidence,
    pub(crate) claim: Claim,
}

/// A run of a pipeline: its id there, and what numbers it; so build 42 of two jobs is two runs (SPEC §2.3).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
pub(crate) struct RunId {
    pub(crate) id: String,
    /// Empty where the id is unique by itself.
    pub(crate) source: String,
}

impl RunId {
    /// Goes on with a key: who asks for an id finds the runs of every source.
    pub(crate) fn key(&self, key: Key) -> Key {
        key.text(&self.id).text(&self.source)
    }
}

/// What a naming fact is, for `createdAt` and for the repository of a line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) enum Class {
    /// It was built or packaged.
    Built,
    /// It was published.
    Published,
    /// It was seen in a registry.
    Observed,
    /// It is a signature, an attestation, a build cache or the like that a registry keeps beside images: no version.
    Evidence,
    /// It was named in passing.
    Other,
}

/// The earliest fact that calls a digest by a tag, binding the tag or not.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct FirstCalled {
    pub(crate) order: Order,
    /// The repository as that fact writes it.
    pub(crate) repository: String,
}

/// The earliest fact that shows an image with some layers, and the image.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct FirstWith {
    pub(crate) order: Order,
    pub(crate) digest: String,
}

/// Why a base is a base, strongest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) enum BaseMethod {
    /// The build's own word.
    Declared,
    /// A material whose address says that it is an image; whether it is the base, the other materials tell.
    Image,
    /// A material that is an image only if it is known as one.
    Material,
    /// A tool of the build.
    Tool,
    /// The OCI annotation.
    Annotation,
}

/// A fact that names a base by digest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct BaseClaim {
    pub(crate) method: BaseMethod,
    /// As the fact writes it.
    #[serde(with = "text")]
    pub(crate) reference: String,
}

/// A piece of evidence: what the fact says, in fields. Texts are clipped and empty where nothing is said; enums are the
/// numbers of the contract. Answers word it (`ask/wording.rs`), so that another wording changes no row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Evidence {
    Sbom(SbomEvidence),
    /// By the statement whose first fact stands there in the entry.
    Stated {
        ordinal: u32,
        /// `Verification`, as in the statement: a badge reads no statements.
        verification: i32,
    },
    Signature {
        signature: String,
        signer: String,
    },
    Scan {
        scan_id: String,
        scanner: String,
        scanner_version: String,
        findings: u32,
    },
    Tests(TestsEvidence),
    Deployment(DeploymentEvidence),
    Vex(VexEvidence),
    Approval {
        decision: String,
        environment: String,
        actor: String,
    },
    Rebuild {
        #[serde(with = "text")]
        rebuilt_digest: String,
        reproducible: bool,
    },
    Reachability {
        vulnerability: String,
        status: String,
        paths: u32,
        gates: Vec<String>,
    },
    Deleted {
        actor: String,
    },
    Downloaded {
        actor: String,
    },
    /// What a registry keeps beside an image, such as a signature.
    Kept {
        #[serde(with = "text")]
        digest: String,
        artifact_type: String,
    },
}

/// An SBOM of an artifact, or a link to one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct SbomEvidence {
    /// As written where it is no digest; where nothing is written the name of its components.
    #[serde(with = "text")]
    pub(crate) sbom_digest: String,
    /// It lists no components, and links an SBOM that does.
    pub(crate) is_link: bool,
    pub(crate) format: String,
    pub(crate) spec_version: String,
    pub(crate) serial_number: String,
    pub(crate) tool: String,
    pub(crate) uri: String,
    pub(crate) components: u32,
    pub(crate) skipped: u32,
}

/// A statement about artifacts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct AttestationEvidence {
    pub(crate) predicate_type: String,
    #[serde(with = "text")]
    pub(crate) statement_digest: String,
    /// `Verification`.
    pub(crate) verification: i32,
    pub(crate) builder: String,
    pub(crate) build_type: String,
    pub(crate) invocation: String,
    pub(crate) repository: String,
    pub(crate) commit: String,
    pub(crate) started_on: String,
    pub(crate) finished_on: String,
    /// The statement's own, such as a release's name.
    pub(crate) summary: String,
    pub(crate) key_ids: Vec<String>,
    pub(crate) materials: u32,
}

/// Tests that ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct TestsEvidence {
    pub(crate) run: String,
    pub(crate) suite: String,
    /// `Outcome`.
    pub(crate) outcome: i32,
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
    pub(crate) url: String,
    pub(crate) reason: String,
    pub(crate) environment: String,
}

/// A deployment, or a canary whose share changed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct DeploymentEvidence {
    /// Only its share changed.
    pub(crate) canary: bool,
    pub(crate) environment: String,
    pub(crate) service: String,
    pub(crate) cluster: String,
    pub(crate) namespace: String,
    #[serde(with = "text")]
    pub(crate) artifact_ref: String,
    #[serde(with = "text")]
    pub(crate) config_digest: String,
    /// `Strategy`.
    pub(crate) strategy: i32,
    pub(crate) actor: String,
    pub(crate) run: String,
    pub(crate) reason: String,
    pub(crate) url: String,
    pub(crate) weight: u32,
    pub(crate) rollback: bool,
}

/// One VEX statement.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct VexEvidence {
    pub(crate) vulnerability: String,
    pub(crate) issuer: String,
    /// `VexStatus`.
    pub(crate) status: i32,
    pub(crate) justification: String,
    pub(crate) document_id: String,
    pub(crate) document_version: String,
    pub(crate) time: String,
}

/// Kinds of evidence, as in keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum EvidenceKind {
    Sbom,
    Attestation,
    Signature,
    Scan,
    Tests,
    Deployment,
    Vex,
    Approval,
    Rebuild,
    Reachability,
    Deleted,
    Downloaded,
}

impl EvidenceKind {
    /// The byte in keys.
    pub(crate) fn byte(self) -> u8 {
        match self {
            EvidenceKind::Sbom => b's',
            EvidenceKind::Attestation => b'a',
            EvidenceKind::Signature => b'g',
            EvidenceKind::Scan => b'c',
            EvidenceKind::Tests => b't',
            EvidenceKind::Deployment => b'd',
            EvidenceKind::Vex => b'v',
            EvidenceKind::Approval => b'p',
            EvidenceKind::Rebuild => b'r',
            EvidenceKind::Reachability => b'h',
            EvidenceKind::Deleted => b'x',
            EvidenceKind::Downloaded => b'l',
        }
    }

    /// The word in answers.
    pub(crate) fn word(self) -> &'static str {
        match self {
            EvidenceKind::Sbom => "sbom",
            EvidenceKind::Attestation => "attestation",
            EvidenceKind::Signature => "signature",
            EvidenceKind::Scan => "scan",
            EvidenceKind::Tests => "tests",
            EvidenceKind::Deployment => "deployment",
            EvidenceKind::Vex => "vex",
            EvidenceKind::Approval => "approval",
            EvidenceKind::Rebuild => "rebuild",
            EvidenceKind::Reachability => "reachability",
            EvidenceKind::Deleted => "deleted",
            EvidenceKind::Downloaded => "downloaded",
        }
    }
}

/// What a fact says about where an artifact comes from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Claim {
    pub(crate) commit: String,
    pub(crate) repository: String,
    pub(crate) change_id: String,
    pub(crate) run: RunId,
    pub(crate) pipeline: String,
    pub(crate) builder: String,
    /// What says it: `packaged`, `provenance`, `run`, `published`, `annotation`; `material` where a provenance does not
    /// say which of its materials is the source.
    pub(crate) said_by: String,
}

impl Claim {
    /// The byte in keys: what is said often, such as a label that every look into a registry finds again, stands apart
    /// from what is said once.
    pub(crate) fn class(&self) -> u8 {
        match self.said_by.as_str() {
            "annotation" => class::LABEL,
            "published" => class::PUBLISHED,
            _ => class::BUILD,
        }
    }

    pub(crate) fn says_nothing(&self) -> bool {
        self.commit.is_empty() && self.run.id.is_empty() && self.change_id.is_empty() && self.builder.is_empty()
    }
}

/// A step of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) finished: bool,
    pub(crate) pipeline: String,
    pub(crate) url: String,
    pub(crate) commit: String,
    pub(crate) repository: String,
    pub(crate) builder: String,
    pub(crate) outcome: String,
}

/// A fact about a commit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct CommitFact {
    pub(crate) repository: String,
    pub(crate) change_id: String,
    pub(crate) title: String,
    pub(crate) url: String,
    pub(crate) author: String,
    pub(crate) reference: String,
}
