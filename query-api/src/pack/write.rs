//! Makes evidence packs: first a plan, which knows how large it will be, then the zip, file by file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Read, Seek as _, SeekFrom};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pedigraph_ledger::{Checkpoint, LogId, PartRef, Reader, Signer, public_key, signature_holds};
use pedigraph_projector::Scope;
use pedigraph_projector::answers::{Direction, Shown};
use pedigraph_proto::canonical::decode_entry;
use pedigraph_proto::{Nanos, wire};
use serde::Serialize;
use serde_json::Value;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::environment::Scoped;
use super::error::Error;
use super::history::{changes_of, verdicts_of};
use super::{
    ANSWER_BYTES_MAX, ANSWERS, CHECKPOINT, CONSISTENCY, ENVIRONMENT, Envelope, EnvelopeSignature, FORMAT, FileRow,
    Head, KEY_PEM, KEYS, MANIFEST, MANIFEST_BYTES_MAX, Manifest, PART_BYTES, PAYLOAD_TYPE, README, SIGNATURE,
    Statement, VERSION, VKEY, Why, Withheld, answer_name, copy_hashed, is_attestation, key_name, links_in, name_fits,
    pem, pre_authentication, proofs_in,
};
use crate::answer::entry::consistency_of;
use crate::answer::error as answer;
use crate::answer::lineage::{DEPTH_DEFAULT, artifact_of, lineage_of, trace_of};
use crate::json::{self, to_json};

/// Bytes of answers that one plan holds in memory.
const ANSWERS_BYTES_MAX: usize = 64 << 20;
/// Bytes of an inclusion proof beside its checkpoint: 63 hashes in base64 and two lines.
const PROOF_BYTES: u64 = 63 * 45 + 64;
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// Digests, or references that lead to one.
    pub artifacts: Vec<String>,
    /// Whether the bodies of attestations go into the pack.
    pub include_attestations: bool,
    /// An older size of the log, to prove that the checkpoint is a continuation of it.
    pub since: Option<u64>,
}

/// How much one pack may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Artifacts asked for.
    pub artifacts_max: usize,
    /// Entries.
    pub entries_max: usize,
    /// Bytes of all files, unpacked, as estimated before anything is written.
    pub bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { artifacts_max: 100, entries_max: 10_000, bytes_max: 1 << 30 }
    }
}

/// A pack that can be written: what it holds, and how much that is at most.
pub struct Plan {
    ledger: Reader,
    log: LogId,
    checkpoint: Checkpoint,
    manifest: Manifest,
    contents: BTreeMap<String, Content>,
    /// Bytes of all files, unpacked, at most.
    pub bytes_estimate: u64,
}

/// What one file will hold.
enum Content {
    /// These bytes.
    Ready(Vec<u8>, &'static str),
    /// The leaf of an entry.
    Leaf(u64),
    /// The inclusion proof of an entry.
    Proof(u64),
    /// The body of an entry. Looked up again when it is written: a reference to it may hold its bytes.
    Body(u64),
}

/// A pack that was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// SHA-256 of the zip, `sha256:` and hex.
    pub digest: String,
    /// Its bytes.
    pub bytes: u64,
}

/// The newest checkpoint of a log.
///
/// # Errors
/// [`Error::NoCheckpoint`] while there is none.
pub fn checkpoint_of(ledger: &Reader, log: &LogId) -> Result<Checkpoint, Error> {
    ledger.checkpoint(log).filter(|checkpoint| checkpoint.size > 0).ok_or(Error::NoCheckpoint)
}

/// Works out what a pack holds. `scope` is as of the last entry under the checkpoint, `environment` of that or earlier.
///
/// # Errors
/// [`Error::TooLarge`] before anything is written; [`Error::Answer`] of the questions that are asked.
pub fn plan(
    ledger: &Reader,
    log: &LogId,
    scope: &Scope,
    checkpoint: Checkpoint,
    question: &Question,
    environment: Option<&Scoped>,
    limits: &Limits,
) -> Result<Plan, Error> {
    check_count("artifacts", question.artifacts.len(), limits.artifacts_max)?;
    let asks_of_deltas = !question.artifacts.is_empty();
    if scope.as_of() != checkpoint.size.checked_sub(1) || (asks_of_deltas && !scope.shows_all_deltas()) {
        return Err(Error::Behind);
    }
    let Answers { artifacts, files, proofs, links } = Answers::ask(scope, question, environment, limits)?;
    let mut indexes: BTreeSet<u64> = proofs.into_keys().chain(links).collect();
    check_count("entries", indexes.len(), limits.entries_max)?;
    for name in artifacts.values().flatten() {
        indexes.extend(
            scope.entries_by_subject(name, 0..u64::MAX, false, limits.entries_max + 1).map_err(answer::Error::from)?,
        );
        check_count("entries", indexes.len(), limits.entries_max)?;
    }
    let root = ledger.root_at(log, checkpoint.size)?.to_string();
    let as_of = checkpoint.size - 1;
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        version: VERSION,
        tenant: scope.tenant().to_string(),
        origin: ledger.origin(log),
        checkpoint: Head { size: checkpoint.size, root },
        as_of,
        as_of_time: Nanos(leaf(ledger, log, as_of)?.1.recorded_at).to_string(),
        artifacts: artifacts.into_keys().collect(),
        environment: environment.map(Scoped::of),
        include_attestations: question.include_attestations,
        signed: false,
        files: Vec::new(),
        withheld: Vec::new(),
    };
    let (ledger, log) = (ledger.clone(), log.clone());
    let mut plan = Plan { ledger, log, checkpoint, manifest, contents: BTreeMap::new(), bytes_estimate: 0 };
    for (name, bytes) in files {
        plan.add_ready(name, bytes, JSON)?;
    }
    plan.add_keys(question.since)?;
    for index in indexes {
        plan.add_entry(index)?;
        check_bytes(plan.bytes_estimate, limits.bytes_max)?;
    }
    check_bytes(plan.bytes_estimate, limits.bytes_max)?;
    Ok(plan)
}

fn check_count(what: &'static str, count: usize, limit: usize) -> Result<(), Error> {
    if count <= limit {
        return Ok(());
    }
    let detail = format!("a pack holds at most {limit} {what}; export fewer artifacts at once");
    Err(Error::TooLarge { detail, limit: limit as u64, of: what })
}

fn check_bytes(bytes: u64, limit: u64) -> Result<(), Error> {
    if bytes <= limit {
        return Ok(());
    }
    let detail =
        format!("the pack would have more than {limit} bytes; export fewer artifacts at once, or without attestations");
    Err(Error::TooLarge { detail, limit, of: "bytes" })
}

/// The answers of every artifact, and which entries they name.
struct Answers {
    /// Canonical digest of each artifact with all its names.
    artifacts: BTreeMap<String, Vec<String>>,
    files: Vec<(String, Vec<u8>)>,
    proofs: BTreeMap<u64, String>,
    /// Entries that links to evidence lead to.
    links: BTreeSet<u64>,
}

impl Answers {
    fn ask(
        scope: &Scope,
        question: &Question,
        environment: Option<&Scoped>,
        limits: &Limits,
    ) -> Result<Answers, Error> {
        let (proofs, links) = (BTreeMap::new(), BTreeSet::new());
        let mut answers = Answers { artifacts: BTreeMap::new(), files: Vec::new(), proofs, links };
        let mut left = ANSWERS_BYTES_MAX;
        if let Some(environment) = environment {
            answers.add(ENVIRONMENT.to_owned(), &environment.answer(limits.entries_max)?, &mut left)?;
        }
        for reference in &question.artifacts {
            let lineage = lineage_of(scope, reference, DEPTH_DEFAULT, Direction::Both, Shown::ALL)?;
            let digest = lineage.artifact.digest.clone();
            let names = [vec![digest.clone()], lineage.artifact.aliases.clone()].concat();
            if answers.artifacts.insert(digest.clone(), names).is_some() {
                continue;
            }
            let names = ANSWERS.map(|answer| answer_name(&digest, answer));
            let [artifact_name, lineage_name, trace_name, verdicts_name, changes_name] = names;
            let artifact = artifact_of(scope, &digest)?;
            answers.add(artifact_name, &artifact, &mut left)?;
            answers.add(lineage_name, &lineage, &mut left)?;
            answers.add(trace_name, &trace_of(scope, &digest)?, &mut left)?;
            let verdicts = verdicts_of(scope, &digest).map_err(answer::Error::from)?;
            answers.add(verdicts_name, &verdicts, &mut left)?;
            let changes = changes_of(scope, &artifact).map_err(answer::Error::from)?;
            answers.add(changes_name, &changes, &mut left)?;
        }
        Ok(answers)
    }

    fn add(&mut self, name: String, answer: &impl Serialize, left: &mut usize) -> Result<(), Error> {
        let too_large = || {
            let detail = format!(
                "an answer has more than {ANSWER_BYTES_MAX} bytes, or all of them more than {ANSWERS_BYTES_MAX}; export fewer artifacts at once"
            );
            Error::TooLarge { detail, limit: ANSWERS_BYTES_MAX as u64, of: "answers" }
        };
        let bytes = to_json(answer, ANSWER_BYTES_MAX.min(*left)).map_err(|error| match error {
            json::Error::TooLarge(_) => too_large(),
            json::Error::Failed(error) => Error::Failed(error.to_string()),
        })?;
        *left -= bytes.len();
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| Error::Failed(error.to_string()))?;
        proofs_in(&value, &mut self.proofs)
            .map_err(|index| Error::Failed(format!("two answers give entry {index} different hashes")))?;
        links_in(&value, &mut self.links)
            .map_err(|link| Error::Failed(format!("an answer links to {link}, which is no entry")))?;
        self.files.push((name, bytes));
        Ok(())
    }
}

/// The bytes of a leaf, read, and the body beside it.
fn leaf(ledger: &Reader, log: &LogId, index: u64) -> Result<(bytes::Bytes, wire::Entry, Option<PartRef>), Error> {
    let entry =
        ledger.entry(log, index)?.ok_or_else(|| Error::Failed(format!("entry {index} is not in the ledger")))?;
    let leaf = decode_entry(&entry.leaf).ok_or_else(|| Error::Failed(format!("leaf {index} cannot be read")))?;
    Ok((entry.leaf, leaf, entry.body))
}

/// The body of an entry that has one; `None` when it was erased.
fn body(ledger: &Reader, log: &LogId, index: u64) -> Result<Option<Box<dyn Read + Send>>, Error> {
    let none = || Error::Failed(format!("entry {index} has no body any more"));
    Ok(ledger.open_part(&leaf(ledger, log, index)?.2.ok_or_else(none)?)?)
}

impl Plan {
    fn add_ready(&mut self, name: String, bytes: Vec<u8>, media_type: &'static str) -> Result<(), Error> {
        if !name_fits(&name) {
            return Err(Error::Failed(format!("a pack can have no file {name:?}")));
        }
        self.bytes_estimate += bytes.len() as u64;
        self.contents.insert(name, Content::Ready(bytes, media_type));
        Ok(())
    }

    fn add_keys(&mut self, since: Option<u64>) -> Result<(), Error> {
        let vkey = self.ledger.vkey(&self.log);
        let key = public_key(&vkey).ok_or_else(|| Error::Failed("the ledger's key cannot be read".into()))?;
        let first = format!("{}\n", self.ledger.first_vkey(&self.log));
        let chain = self.ledger.key_chain();
        let note = self.checkpoint.note.to_vec();
        self.add_ready(VKEY.into(), first.into_bytes(), TEXT)?;
        self.add_ready(KEYS.into(), chain.into_bytes(), TEXT)?;
        self.add_ready(KEY_PEM.into(), pem(&key).into_bytes(), "application/x-pem-file")?;
        self.add_ready(CHECKPOINT.into(), note, TEXT)?;
        self.add_ready(README.into(), READ_ME.as_bytes().to_vec(), "text/markdown; charset=utf-8")?;
        let Some(since) = since else { return Ok(()) };
        let proof = consistency_of(&self.ledger, &self.log, since, Some(self.checkpoint.size))?;
        self.add_ready(CONSISTENCY.into(), pretty(&proof)?, JSON)
    }

    fn add_entry(&mut self, index: u64) -> Result<(), Error> {
        let (bytes, leaf, body) = leaf(&self.ledger, &self.log, index)?;
        self.bytes_estimate += bytes.len() as u64 + PROOF_BYTES + self.checkpoint.note.len() as u64;
        self.contents.insert(format!("entries/{index}"), Content::Leaf(index));
        self.contents.insert(format!("proofs/{index}.tlog-proof"), Content::Proof(index));
        let Some(body) = body else { return Ok(()) };
        if is_attestation(&leaf.r#type) && !self.manifest.include_attestations {
            self.manifest.withheld.push(Withheld { entry: index, why: Why::Attestation });
            return Ok(());
        }
        self.bytes_estimate += body.size;
        self.contents.insert(format!("documents/{index}"), Content::Body(index));
        Ok(())
    }

    /// Writes the zip to the beginning of an empty file; signs its manifest when there is a signer.
    ///
    /// # Errors
    /// [`Error::Signer`] when the signer does not answer; [`Error::Failed`].
    pub fn write(self, signer: Option<&Arc<dyn Signer>>, mut file: &File) -> Result<Written, Error> {
        let Plan { ledger, log, checkpoint, mut manifest, contents, bytes_estimate: _ } = self;
        manifest.signed = signer.is_some();
        let mut zip = ZipWriter::new(BufWriter::with_capacity(PART_BYTES, file));
        for (name, content) in contents {
            let (mut from, entry, media_type) = match content {
                Content::Ready(bytes, media_type) => (reading(bytes), None, media_type),
                Content::Leaf(index) => (reading(leaf(&ledger, &log, index)?.0), Some(index), "application/protobuf"),
                Content::Proof(index) => {
                    let text = ledger.tlog_proof_under(&log, index, &checkpoint)?;
                    (reading(text), Some(index), TEXT)
                }
                Content::Body(index) => match body(&ledger, &log, index)? {
                    Some(body) => (body, Some(index), BYTES),
                    None => {
                        manifest.withheld.push(Withheld { entry: index, why: Why::Erased });
                        continue;
                    }
                },
            };
            let (sha256, size) = add(&mut zip, &name, &mut from)?;
            manifest.files.push(FileRow { name, sha256, size, media_type: media_type.to_owned(), entry });
        }
        manifest.withheld.sort_by_key(|withheld| withheld.entry);
        let bytes = pretty(&manifest)?;
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            let detail = "the list of the pack's files is too long; export fewer artifacts at once".to_owned();
            return Err(Error::TooLarge { detail, limit: MANIFEST_BYTES_MAX, of: "manifest" });
        }
        let (sha256, _) = add(&mut zip, MANIFEST, &mut bytes.as_slice())?;
        if let Some(signer) = signer {
            let envelope = envelope(&Statement::of(&manifest, &sha256), &ledger.vkey(&log), &**signer)?;
            add(&mut zip, SIGNATURE, &mut envelope.as_slice())?;
        }
        zip.finish()?.into_inner().map_err(|error| Error::Failed(error.to_string()))?;
        file.sync_all()?;
        file.seek(SeekFrom::Start(0))?;
        let (sha256, bytes) = copy_hashed(&mut file, &mut std::io::sink())?;
        Ok(Written { digest: format!("sha256:{sha256}"), bytes })
    }
}

fn reading(bytes: impl AsRef<[u8]> + Send + 'static) -> Box<dyn Read + Send> {
    Box::new(std::io::Cursor::new(bytes))
}

fn pretty(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| Error::Failed(error.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The same options for every file, so that the same files make the same zip.
fn add(zip: &mut ZipWriter<BufWriter<&File>>, name: &str, from: &mut dyn Read) -> Result<(String, u64), Error> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(zip::DateTime::default())
        .unix_permissions(0o644);
    zip.start_file(name, options)?;
    Ok(copy_hashed(from, zip)?)
}

/// The DSSE envelope of a statement. What the signer answers is not believed.
fn envelope(statement: &Statement, vkey: &str, signer: &dyn Signer) -> Result<Vec<u8>, Error> {
    let payload = serde_json::to_vec(statement).map_err(|error| Error::Failed(error.to_string()))?;
    let message = pre_authentication(&payload);
    let signature = signer.sign(&message)?;
    let ours = public_key(vkey).is_some_and(|key| signature_holds(&key, &message, &signature));
    if !ours {
        return Err(Error::Failed("the signer's signature is not by the ledger's key".into()));
    }
    let signatures = vec![EnvelopeSignature { keyid: key_name(vkey), sig: BASE64_STANDARD.encode(signature) }];
    let payload = BASE64_STANDARD.encode(payload);
    pretty(&Envelope { payload, payload_type: PAYLOAD_TYPE.to_owned(), signatures })
}

/// `README.md` of every pack.
const READ_ME: &str = include_str!("README.md");
