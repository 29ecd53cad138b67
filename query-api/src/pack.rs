//! Evidence packs: a zip with everything that an answer rests on, which is checked without server and network.
//!
//! [`write`](mod@write) makes one of a ledger and its views, [`read`] checks one and believes nothing in it. The format
//! is described in `docs/evidence-pack.md`; the rules that both sides share are here. Specifications: DSSE v1, in-toto
//! Statement v1, C2SP tlog-proof v1.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

mod directory;
pub mod environment;
pub mod error;
mod history;
pub mod read;
mod replays;
pub mod spool;
pub mod write;

/// What `format` of a manifest says.
pub const FORMAT: &str = "pedigraph evidence pack";
/// Version of the format.
pub const VERSION: u32 = 1;
/// Largest pack, bytes: the zip needs no ZIP64 extension below.
pub const PACK_BYTES_MAX: u64 = u32::MAX as u64;
/// Most files of a pack.
pub const FILES_MAX: usize = 40_000;
/// Most artifacts of a pack.
pub const ARTIFACTS_MAX: usize = 1_000;
/// Most bytes of all files of a pack, unpacked.
pub const UNPACKED_BYTES_MAX: u64 = 4 << 30;
/// Largest answer, bytes.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Largest manifest, bytes; its signature may have twice as many.
pub const MANIFEST_BYTES_MAX: u64 = 16 << 20;
/// Longest name of a file, bytes.
pub const NAME_BYTES_MAX: usize = 200;

/// Bytes read and written at once.
const PART_BYTES: usize = 64 << 10;

/// The list of everything else.
pub const MANIFEST: &str = "manifest.json";
/// Its signature, a DSSE envelope.
pub const SIGNATURE: &str = "manifest.dsse.json";
/// The signed note that every proof ends with.
pub const CHECKPOINT: &str = "checkpoint";
/// The log's first verifier key.
pub const VKEY: &str = "vkey";
/// The signed notes by which each key introduced the next; empty while the first one signs.
pub const KEYS: &str = "keys";
/// The key that signs now, for tools that read PEM.
pub const KEY_PEM: &str = "key.pem";
/// That the log is a continuation of an older size.
pub const CONSISTENCY: &str = "consistency.json";
/// How to check a pack, for people.
pub const README: &str = "README.md";
/// Answers of each artifact: the part of their names after the artifact.
pub const ANSWERS: [&str; 5] = ["artifact", "lineage", "trace", VERDICTS, CHANGES];
/// The answer of what runs in an environment.
pub const ENVIRONMENT: &str = "answers/environment.json";
/// The answer with the verdicts on an artifact.
pub const VERDICTS: &str = "verdicts";
/// The answer with what changed since each of its parents.
pub const CHANGES: &str = "changes";

/// DSSE payload type of an in-toto statement.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// Predicate type of a pack's statement.
const PREDICATE_TYPE: &str = "urn:pedigraph:evidence-pack:1";
/// DER of an Ed25519 SubjectPublicKeyInfo (RFC 8410) up to the 32 bytes of the key.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// `manifest.json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// Whose log.
    pub tenant: String,
    /// The log's origin.
    pub origin: String,
    /// The checkpoint that every entry is proved under.
    pub checkpoint: Head,
    /// The newest index that the answers use.
    pub as_of: u64,
    /// When that entry was recorded: a pack of the same question and checkpoint has the same bytes.
    pub as_of_time: String,
    /// Digests of the artifacts asked for, sorted.
    pub artifacts: Vec<String>,
    /// The environment asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<environment::Of>,
    /// Whether the bodies of attestations are in the pack.
    pub include_attestations: bool,
    /// Whether `manifest.dsse.json` signs this.
    pub signed: bool,
    /// Every file but this one and its signature, by name.
    pub files: Vec<FileRow>,
    /// Entries whose body is not in the pack, by index.
    pub withheld: Vec<Withheld>,
}

/// Size and root of a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Head {
    /// Number of entries.
    pub size: u64,
    /// RFC 6962 root, lower-case hex.
    pub root: String,
}

/// A file of a pack.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileRow {
    /// Name in the zip.
    pub name: String,
    /// SHA-256, lower-case hex.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
    /// What the bytes are.
    pub media_type: String,
    /// The ledger entry that proves the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
}

/// An entry whose body is not in the pack.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Withheld {
    /// Its index.
    pub entry: u64,
    /// Why.
    pub why: Why,
}

/// Why a body is not in a pack.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// The received bytes were erased from the ledger.
    Erased,
    /// It is an attestation, and these were not asked for.
    Attestation,
}

/// `consistency.json`: the shape of `GET /api/v1/proofs/consistency`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Consistency {
    /// The log.
    pub origin: String,
    /// The older size.
    pub from: u64,
    /// The newer size.
    pub to: u64,
    /// Root at the older size, hex.
    pub from_root: String,
    /// Root at the newer size, hex.
    pub to_root: String,
    /// RFC 6962 consistency proof, hex.
    pub hashes: Vec<String>,
}

/// A DSSE envelope.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct EnvelopeSignature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

/// An in-toto statement v1 about a pack. Typed, not a JSON value: it has a subject for each of up to 40,000 files.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Subject {
    name: String,
    digest: Sha256Digest,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Sha256Digest {
    sha256: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Predicate {
    tenant: String,
    origin: String,
    as_of: u64,
    size: u64,
    root: String,
}

impl Statement {
    /// About a manifest, first, and every file that this lists.
    fn of(manifest: &Manifest, manifest_sha256: &str) -> Statement {
        let subject = |name: &str, sha256: &str| {
            let digest = Sha256Digest { sha256: sha256.to_owned() };
            Subject { name: name.to_owned(), digest }
        };
        let files = manifest.files.iter().map(|file| subject(&file.name, &file.sha256));
        Statement {
            kind: "https://in-toto.io/Statement/v1".to_owned(),
            subject: std::iter::once(subject(MANIFEST, manifest_sha256)).chain(files).collect(),
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate: Predicate {
                tenant: manifest.tenant.clone(),
                origin: manifest.origin.clone(),
                as_of: manifest.as_of,
                size: manifest.checkpoint.size,
                root: manifest.checkpoint.root.clone(),
            },
        }
    }
}

/// What DSSE signs: type and payload with their lengths.
fn pre_authentication(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// An Ed25519 public key as PEM.
fn pem(key: &[u8; 32]) -> String {
    let der = [&SPKI_PREFIX[..], key].concat();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64_STANDARD.encode(der))
}

/// Name and id of a verifier key, without the key.
fn key_name(vkey: &str) -> String {
    vkey.splitn(3, '+').take(2).collect::<Vec<_>>().join("+")
}

/// The name of an artifact's answer.
fn answer_name(digest: &str, answer: &str) -> String {
    format!("answers/{}.{answer}.json", digest.replace(':', "-"))
}

/// Whether a name is one that a pack may have: one or two plain parts, nothing that leads out of a directory.
fn name_fits(name: &str) -> bool {
    let plain = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+".contains(&b))
    };
    name.len() <= NAME_BYTES_MAX && name.split('/').count() <= 2 && name.split('/').all(plain)
}

/// Whether entries of a type carry attestations or signatures: what was said under a key of somebody else's.
fn is_attestation(entry_type: &str) -> bool {
    matches!(entry_type, "AttestationAttached" | "ArtifactSigned")
}

/// Copies to the end; SHA-256 in hex and the number of bytes.
fn copy_hashed(from: &mut dyn Read, to: &mut dyn Write) -> std::io::Result<(String, u64)> {
    let (mut hasher, mut size, mut part) = (Sha256::new(), 0, vec![0; PART_BYTES]);
    loop {
        let read = match from.read(&mut part) {
            Ok(0) => return Ok((hex::encode(hasher.finalize()), size)),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&part[..read]);
        to.write_all(&part[..read])?;
        size += read as u64;
    }
}

/// What links to evidence begin with; the index of an entry follows.
const EVIDENCE_LINK: &str = "/api/v1/entries/";

/// Every `evidenceLink` in an answer: the index of the entry. An error is a link that leads to none.
fn links_in(answer: &Value, found: &mut BTreeSet<u64>) -> Result<(), String> {
    match answer {
        Value::Object(members) => {
            if let Some(link) = members.get("evidenceLink") {
                let index = link.as_str().and_then(|link| link.strip_prefix(EVIDENCE_LINK)?.parse().ok());
                found.insert(index.ok_or_else(|| link.to_string())?);
            }
            members.values().try_for_each(|member| links_in(member, found))
        }
        Value::Array(items) => items.iter().try_for_each(|item| links_in(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// Every `proof` in an answer: index and leaf hash.
fn proofs_in(answer: &Value, found: &mut BTreeMap<u64, String>) -> Result<(), u64> {
    match answer {
        Value::Object(members) => {
            let proof = members.get("proof");
            let index = proof.and_then(|proof| proof.get("index")).and_then(Value::as_u64);
            let hash = proof.and_then(|proof| proof.get("leafHash")).and_then(Value::as_str);
            if let (Some(index), Some(hash)) = (index, hash)
                && found.insert(index, hash.to_owned()).is_some_and(|before| before != hash)
            {
                return Err(index);
            }
            members.values().try_for_each(|member| proofs_in(member, found))
        }
        Value::Array(items) => items.iter().try_for_each(|item| proofs_in(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_stay_inside() {
        for good in ["manifest.json", "entries/0", "answers/sha256-ab.lineage.json", "key.pem"] {
            assert!(name_fits(good), "{good}");
        }
        for bad in ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/b/c", ".hidden", "a\\b", "C:/x", "a/", "é", "a\0b"]
        {
            assert!(!name_fits(bad), "{bad:?}");
        }
        assert!(!name_fits(&"a".repeat(NAME_BYTES_MAX + 1)));
    }

    #[test]
    fn what_dsse_signs_is_as_its_specification_says() {
        let bytes = pre_authentication(b"hello world");
        assert_eq!(bytes, b"DSSEv1 28 application/vnd.in-toto+json 11 hello world");
    }

    #[test]
    fn a_key_as_pem_is_that_of_rfc_8410() {
        // RFC 8410 §10.1.
        let key = hex::decode("19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1").expect("hex");
        let text = pem(&key.try_into().expect("32 bytes"));
        assert!(text.contains("MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="), "{text}");
    }

    #[test]
    fn links_to_evidence_are_found_and_lead_to_entries() {
        let mut found = BTreeSet::new();
        let answer = json!({"a": [{"evidenceLink": "/api/v1/entries/7"}], "b": {"evidenceLink": "/api/v1/entries/2"}});
        assert_eq!(links_in(&answer, &mut found), Ok(()));
        assert_eq!(found, BTreeSet::from([2, 7]));
        for bad in [json!("/api/v1/entries/x"), json!("https://example.org/1"), json!(7)] {
            assert!(links_in(&json!({ "evidenceLink": bad }), &mut found).is_err());
        }
    }

    #[test]
    fn proofs_are_found_at_any_depth_and_must_agree() {
        let answer =
            json!({"proof": {"index": 1, "leafHash": "a"}, "x": [{"y": {"proof": {"index": 2, "leafHash": "b"}}}]});
        let mut found = BTreeMap::new();
        assert_eq!(proofs_in(&answer, &mut found), Ok(()));
        assert_eq!(found, BTreeMap::from([(1, "a".into()), (2, "b".into())]));
        assert_eq!(proofs_in(&json!({"proof": {"index": 2, "leafHash": "c"}}), &mut found), Err(2));
    }
}
