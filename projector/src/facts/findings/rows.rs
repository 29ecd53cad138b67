//! The rows of findings: who says what of a vulnerability, by the vulnerability and by what it is said of.

use std::cmp::Ordering;

use pedigraph_proto::event::{Verification, VexStatus};
use pedigraph_proto::{ArtifactRef, Purl, TenantId};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::facts::components::rows::clipped;
use crate::rows::text::{self, Text};
use crate::store::key::Key;

/// The view's byte in keys.
pub(crate) const VIEW: u8 = b'v';
/// (vulnerability, [`Target`]) → what it says: see [`Target`].
pub(crate) const SAID: u8 = b's';
/// (what it is said of, vulnerability) → nothing: the first part of [`Target`]'s key, the other way round.
pub(crate) const ABOUT: u8 = b'a';
/// (index, ordinal, n) → [`Statement`].
pub(crate) const STATEMENTS: u8 = b't';
/// (document, index, ordinal) → [`Issue`].
pub(crate) const DOCUMENTS: u8 = b'd';
/// (digest, scanner, target, stamp) → nothing.
pub(crate) const SCANS: u8 = b'c';
/// (advisory, modified, index, ordinal) → [`Advisory`].
pub(crate) const ADVISORIES: u8 = b'v';
/// (vulnerability, another name of it, [`alias`]) → nothing, both ways.
pub(crate) const ALIASES: u8 = b'x';
/// (advisory, modified, index, ordinal, another name) → nothing: what a state of an advisory says that it is also called;
/// of each state one more, of no name.
pub(crate) const STATE_ALIASES: u8 = b'y';
/// advisory → nothing: its states do not all name the same aliases.
pub(crate) const DIFFERS: u8 = b'z';
/// vulnerability → its name as it was first written.
pub(crate) const NAMES: u8 = b'n';
/// (digest, package, version, purl) → nothing: what an artifact is called by purl.
pub(crate) const OWN: u8 = b'o';
/// (digest, document, index, ordinal) → [`IssuedOn`]: statements on that digest which this part of the document has.
pub(crate) const ISSUED_ON: u8 = b'i';
/// (index, ordinal) → the message `PolicyPublished`.
pub(crate) const POLICIES: u8 = b'p';

/// What something is said of, as keys have it.
pub(crate) mod target {
    /// (digest, document, index, ordinal, n) → nothing: a statement on a digest.
    pub(crate) const DIGEST: u8 = b'd';
    /// (package, version or nothing, document, index, ordinal, n) → nothing: a statement on a purl.
    pub(crate) const PACKAGE: u8 = b'p';
    /// (digest, scanner, target, stamp, n) → [`super::Found`].
    pub(crate) const FINDING: u8 = b'f';
    /// (package, advisory, modified, index, ordinal, n) → the message `AffectedPackage`.
    pub(crate) const ADVISORY: u8 = b'a';
}

/// Who says that two names are one, as keys have it.
pub(crate) mod alias {
    /// A statement or a scan.
    pub(crate) const SAID: u8 = 0;
    /// Some state of the advisory with the first name.
    pub(crate) const BY_FIRST: u8 = 1;
    /// Some state of the advisory with the second name.
    pub(crate) const BY_SECOND: u8 = 2;
    /// Not every state of the advisory with the first name may say so: it is to be asked which one holds.
    pub(crate) const UNSURE_BY_FIRST: u8 = 3;
    /// The same of the second name.
    pub(crate) const UNSURE_BY_SECOND: u8 = 4;
}

/// The first half of a hash of who issued a document under which id.
pub(crate) type DocumentKey = [u8; 16];

/// A statement.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Statement {
    pub(crate) document: DocumentKey,
    /// As written.
    #[serde(with = "text")]
    pub(crate) product: String,
    pub(crate) subcomponents: Vec<String>,
    pub(crate) status: i32,
    pub(crate) raw_status: String,
    pub(crate) justification: String,
    pub(crate) impact: String,
    pub(crate) action: String,
    /// Its own time, else its document's: by it the latest of an issuer counts.
    pub(crate) time: i64,
    /// In force from then on: the later of its own time and its document's.
    pub(crate) from: i64,
    /// The vulnerability's name in keys.
    pub(crate) vulnerability: String,
    /// Digests of the product, where it does not name them itself.
    pub(crate) digests: Vec<Text>,
}

impl Statement {
    pub(crate) fn status(&self) -> VexStatus {
        VexStatus::try_from(self.status).unwrap_or_default()
    }
}

/// A version of a document as it came in.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Issue {
    pub(crate) issuer: String,
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) time: i64,
    /// Of the entry that it came in.
    pub(crate) source: String,
    pub(crate) verification: i32,
    /// It is part of an SBOM and lives with it.
    pub(crate) in_sbom: bool,
    /// Its purls say by qualifiers which release of a distribution they mean (SPEC §5).
    pub(crate) by_release: bool,
    /// What that SBOM describes.
    pub(crate) subjects: Vec<String>,
    /// The greatest version of all so far, this one too.
    pub(crate) greatest: (String, i64, u64, u32),
}

impl Issue {
    pub(crate) fn verification(&self) -> Verification {
        Verification::try_from(self.verification).unwrap_or_default()
    }
}

/// That a document has statements on a digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct IssuedOn {
    /// Since when the first of them is in force.
    pub(crate) from: i64,
    /// The document is part of an SBOM and lives with it.
    pub(crate) in_sbom: bool,
}

/// A finding of a scanner.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) purl: String,
    pub(crate) name: String,
    pub(crate) installed: String,
    pub(crate) fixed: String,
    pub(crate) severity: String,
    pub(crate) status: String,
}

/// A state of an advisory.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Advisory {
    pub(crate) id: String,
    /// When it was first published, nanoseconds; that of the state where it does not say.
    pub(crate) published: i64,
    pub(crate) withdrawn: bool,
    pub(crate) severity: String,
}

/// A key of a table.
pub(crate) fn table(tenant: &TenantId, table: u8) -> Key {
    Key::new(tenant, VIEW).byte(table)
}

/// A vulnerability's name in keys: names differ by more than their case.
pub(crate) fn key_name(id: &str) -> String {
    id.trim().to_ascii_uppercase()
}

/// What is said of a digest or package about a vulnerability.
pub(crate) fn said_of(tenant: &TenantId, vulnerability: &str, kind: u8, of: &str) -> Key {
    table(tenant, SAID).text(vulnerability).byte(kind).text(of)
}

/// What others call the image of a `pkg:docker`: the purl of its repository.
pub(crate) fn image_of_hub(purl: &Purl) -> Option<Purl> {
    let image = ArtifactRef::parse(purl.as_str()).filter(|_| purl.kind() == "docker")?;
    Purl::parse(&image.image_purl()?)
}

/// Packages and versions, as keys have them, under which a statement on a purl is found: its own, and for an image of
/// Docker Hub by `pkg:docker`, whose version is a tag, the purl of its repository.
pub(crate) fn product_keys(purl: &Purl) -> Vec<(String, String)> {
    let clip = |text: &str| clipped(text).to_owned();
    let of_repository = image_of_hub(purl).map(|image| (clip(image.package_key()), String::new()));
    [(clip(purl.package_key()), clip(purl.version_key()))].into_iter().chain(of_repository).collect()
}

/// Whether a version of a document comes after another: as dotted numbers, else as text.
pub(crate) fn version_order(a: &str, b: &str) -> Ordering {
    let numbers = |text: &str| -> Option<Vec<u64>> { text.split('.').map(|part| part.parse().ok()).collect() };
    match (numbers(a), numbers(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.cmp(b),
    }
}

pub(crate) fn unreadable() -> Error {
    Error::Store("findings: a key cannot be read".to_owned())
}
