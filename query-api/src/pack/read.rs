//! Checks evidence packs. Nothing in a pack is believed: not its zip, not its manifest, not its keys.
//!
//! Memory is bounded whatever a pack says: documents are read as streams, everything else up to a limit of its kind.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{BufReader, Read, Seek, SeekFrom};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pedigraph_ledger::{
    Hash, LEAF_BYTES_MAX, PROOF_BYTES_MAX, Trust, Trusted, consistency_holds, following, key_successors, public_key,
    signature_holds, verify_proof,
};
use pedigraph_proto::EventId;
use pedigraph_proto::canonical::{decode_entry, sha256};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zip::ZipArchive;
use zip::read::{ArchiveOffset, Config};

use super::directory;
use super::{
    ANSWER_BYTES_MAX, ANSWERS, ARTIFACTS_MAX, CHANGES, CHECKPOINT, CONSISTENCY, Consistency, ENVIRONMENT, Envelope,
    FILES_MAX, FORMAT, FileRow, KEY_PEM, KEYS, MANIFEST, MANIFEST_BYTES_MAX, Manifest, PACK_BYTES_MAX, PAYLOAD_TYPE,
    README, SIGNATURE, Statement, UNPACKED_BYTES_MAX, VERDICTS, VERSION, VKEY, Why, answer_name, copy_hashed,
    is_attestation, links_in, name_fits, pem, pre_authentication, proofs_in, replays,
};

/// Largest other file beside the documents, bytes.
const SMALL_BYTES_MAX: u64 = PROOF_BYTES_MAX as u64;
/// Largest central directory, bytes: a name and a header for each file.
const DIRECTORY_BYTES_MAX: u64 = FILES_MAX as u64 * 512;
/// The record that ends a zip without comment, bytes.
const END_BYTES: usize = 22;

/// Whom to believe, and what else to hold a pack against.
#[derive(Clone, Debug, Default)]
pub struct Check<'a> {
    /// Keys and policy; without a key that of the pack is taken.
    pub trust: Trust,
    /// An older checkpoint of the log.
    pub older: Option<&'a str>,
    /// Accept a pack whose manifest nobody signed.
    pub unsigned: bool,
}

/// What a check found good.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// What was checked, in words.
    pub checks: Vec<String>,
    /// What could not be checked, and what that means.
    pub unchecked: Vec<String>,
    /// Whose log.
    pub tenant: String,
    /// The log.
    pub origin: String,
    /// Entries under the checkpoint.
    pub size: u64,
    /// Its root, hex.
    pub root: String,
    /// The newest index that the answers use.
    pub as_of: u64,
    /// The artifacts.
    pub artifacts: Vec<String>,
    /// The environment, where the pack has what ran in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<super::environment::Of>,
    /// Files in the pack.
    pub files: usize,
    /// Entries that were proved.
    pub entries: usize,
    /// Bodies that are those of their entries.
    pub documents: usize,
    /// Witnesses that cosigned, by the policy.
    pub cosigned_by: Vec<String>,
    /// The key that was trusted in the end.
    pub vkey: String,
}

/// What is wrong with a pack.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Fault {
    /// In words.
    pub what: String,
    /// The file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The ledger entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// The hash that there should be, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// The hash that there is, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.iter().try_for_each(|file| write!(f, "{file}: "))?;
        f.write_str(&self.what)?;
        self.index.iter().try_for_each(|index| write!(f, " (entry {index})"))?;
        self.expected.iter().try_for_each(|hash| write!(f, "; expected {hash}"))?;
        self.found.iter().try_for_each(|hash| write!(f, "; found {hash}"))
    }
}

/// Why a pack was not found good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// The file is no zip at all.
    NotAPack(String),
    /// The caller's key or policy cannot be used.
    Trust(String),
    /// The pack is not what it says.
    Fault(Box<Fault>),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        Error::Fault(Box::new(fault))
    }
}

fn fault(file: &str, what: impl Into<String>) -> Error {
    Fault { what: what.into(), file: Some(file.to_owned()), ..Fault::default() }.into()
}

/// Checks a pack: its zip, its manifest and signature, every file, every entry, what the answers name, the checkpoint.
///
/// # Errors
/// [`Error::Fault`] names the first thing that does not hold.
pub fn verify<R: Read + Seek>(from: R, check: &Check<'_>) -> Result<Verified, Error> {
    let mut pack = Pack::open(from)?;
    let (manifest, manifest_sha256) = pack.manifest()?;
    let mut done = Done::default();
    done.check(format!(
        "the zip is plain: {} files, {} bytes unpacked, each once, none outside, none hidden",
        pack.archive.len(),
        pack.unpacked
    ));
    pack.check_names(&manifest)?;
    let own = pack.own(&manifest)?;
    let trust = trust_of(check, &own, &mut done);
    let signed_by = pack.check_checkpoint(&manifest, &own, &trust, &mut done)?;
    pack.check_signature(&manifest, &manifest_sha256, &own, &signed_by, check, &mut done)?;
    let entries = pack.check_entries(&manifest, &own, &signed_by, &mut done)?;
    let documents = pack.check_documents(&manifest, &entries, &mut done)?;
    pack.check_answers(&manifest, &entries, &mut done)?;
    pack.check_older(&manifest, &own, &trust, &signed_by, check.older, &mut done)?;
    let cosigned_by = signed_by.cosignatures.iter().map(|cosignature| cosignature.witness.clone()).collect();
    Ok(Verified {
        checks: done.checks,
        unchecked: done.unchecked,
        tenant: manifest.tenant,
        origin: manifest.origin,
        size: signed_by.size,
        root: signed_by.root.to_string(),
        as_of: manifest.as_of,
        artifacts: manifest.artifacts,
        environment: manifest.environment,
        files: pack.archive.len(),
        entries: entries.len(),
        documents,
        cosigned_by,
        vkey: signed_by.vkey,
    })
}

/// SHA-256 of what is left to read, `sha256:` and hex.
///
/// # Errors
/// Those of reading.
pub fn digest(from: &mut dyn Read) -> std::io::Result<String> {
    copy_hashed(from, &mut std::io::sink()).map(|(sha256, _)| format!("sha256:{sha256}"))
}

#[derive(Default)]
struct Done {
    checks: Vec<String>,
    unchecked: Vec<String>,
}

impl Done {
    fn check(&mut self, text: impl Into<String>) {
        self.checks.push(text.into());
    }
}

/// The pack's own checkpoint and keys.
struct Own {
    checkpoint: String,
    chain: String,
    /// The first key.
    vkey: String,
}

impl Own {
    /// The notes by which each key introduced the next.
    fn chain(&self) -> Result<Option<Vec<u8>>, pedigraph_ledger::Error> {
        Ok(Some(self.chain.clone().into_bytes()))
    }
}

/// What is needed of an entry that was proved.
struct Leaf {
    hash: String,
    body_digest: String,
    body_size: u64,
    entry_type: String,
    event_id: Option<EventId>,
}

/// A zip whose shape was checked.
struct Pack<R> {
    archive: ZipArchive<BufReader<R>>,
    /// Bytes of all files, as the zip states them; no more are ever read.
    unpacked: u64,
}

impl<R: Read + Seek> Pack<R> {
    /// Bounds first what the zip's directory may cost, then reads that.
    fn open(from: R) -> Result<Pack<R>, Error> {
        let mut from = BufReader::new(from);
        let (start, bytes) = check_end(&mut from)?;
        let plain = directory::check(&mut from, start, bytes);
        from.seek(SeekFrom::Start(0)).map_err(|error| Error::NotAPack(error.to_string()))?;
        let damaged =
            |error: zip::result::ZipError| Fault { what: format!("the zip is damaged: {error}"), ..Fault::default() };
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let mut archive = ZipArchive::with_config(config, from).map_err(damaged)?;
        archive.validate_header_consistency().map_err(damaged)?;
        if archive.len() > FILES_MAX {
            return Err(Fault { what: format!("the zip has more than {FILES_MAX} files"), ..Fault::default() }.into());
        }
        let (mut unpacked, mut packed): (u64, u64) = (0, 0);
        for number in 0..archive.len() {
            let row = archive.by_index_raw(number).map_err(damaged)?;
            let name = String::from_utf8_lossy(row.name_raw()).into_owned();
            if !name_fits(&name) {
                return Err(fault(&name, "a pack has no file of this name: it may lead out of the directory"));
            }
            if row.encrypted() || !row.is_file() {
                return Err(fault(&name, "not a plain file"));
            }
            unpacked = unpacked.saturating_add(row.size());
            let header = row.data_start().and_then(|data| data.checked_sub(row.header_start())).unwrap_or_default();
            packed = packed.saturating_add(header).saturating_add(row.compressed_size());
            if unpacked > UNPACKED_BYTES_MAX {
                return Err(fault(&name, format!("the files have more than {UNPACKED_BYTES_MAX} bytes unpacked")));
            }
        }
        // They do not overlap, so together they leave no room for anything else.
        if packed != archive.central_directory_start() {
            let what = "the zip is not in one piece: something is between its files".to_owned();
            return Err(Fault { what, ..Fault::default() }.into());
        }
        plain.map_err(|(name, why)| fault(&name, why))?;
        Ok(Pack { archive, unpacked })
    }

    /// A whole file; `most` bytes at most.
    fn read(&mut self, name: &str, most: u64) -> Result<Vec<u8>, Error> {
        let file = self.archive.by_name(name).map_err(|error| fault(name, format!("cannot be read: {error}")))?;
        let mut bytes = Vec::new();
        file.take(most + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| fault(name, format!("cannot be unpacked: {error}")))?;
        if bytes.len() as u64 > most {
            return Err(fault(name, format!("has more than {most} bytes")));
        }
        Ok(bytes)
    }

    /// A file that the manifest lists, compared with what that says.
    fn listed(&mut self, manifest: &Manifest, name: &str, most: u64) -> Result<Vec<u8>, Error> {
        let row = row_of(manifest, name).ok_or_else(|| fault(name, "is missing from the manifest"))?;
        let bytes = self.read(name, most)?;
        compare(row, &hex::encode(sha256(&bytes)), bytes.len() as u64)?;
        Ok(bytes)
    }

    fn listed_text(&mut self, manifest: &Manifest, name: &str, most: u64) -> Result<String, Error> {
        String::from_utf8(self.listed(manifest, name, most)?).map_err(|_| fault(name, "is not UTF-8"))
    }

    fn listed_json<T: DeserializeOwned>(&mut self, manifest: &Manifest, name: &str, most: u64) -> Result<T, Error> {
        let bytes = self.listed(manifest, name, most)?;
        serde_json::from_slice(&bytes).map_err(|error| fault(name, format!("cannot be read: {error}")))
    }

    fn manifest(&mut self) -> Result<(Manifest, String), Error> {
        if self.archive.index_for_name(MANIFEST).is_none() {
            return Err(fault(MANIFEST, "is missing: this is no evidence pack"));
        }
        let bytes = self.read(MANIFEST, MANIFEST_BYTES_MAX)?;
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|error| fault(MANIFEST, format!("cannot be read: {error}")))?;
        if manifest.format != FORMAT || manifest.version != VERSION {
            let what = format!("is of another format or version; this program reads version {VERSION}");
            return Err(fault(MANIFEST, what));
        }
        if manifest.artifacts.len() > ARTIFACTS_MAX {
            return Err(fault(MANIFEST, format!("names more than {ARTIFACTS_MAX} artifacts")));
        }
        if manifest.checkpoint.size.checked_sub(1) != Some(manifest.as_of) {
            return Err(fault(MANIFEST, "its answers are of another moment than its checkpoint"));
        }
        Ok((manifest, hex::encode(sha256(&bytes))))
    }

    /// The zip has exactly the files of the manifest, and these are those that a pack has.
    fn check_names(&self, manifest: &Manifest) -> Result<(), Error> {
        let mut known: BTreeSet<&str> = BTreeSet::from([MANIFEST]);
        if manifest.signed {
            known.insert(SIGNATURE);
        }
        for file in &manifest.files {
            if !known.insert(&file.name) {
                return Err(fault(&file.name, "stands twice in the manifest"));
            }
            if kind_of(file, manifest).is_none() {
                return Err(fault(&file.name, "is none of the files that a pack has"));
            }
        }
        let there: BTreeSet<String> =
            self.archive.file_names_raw().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        if let Some(missing) = known.iter().find(|name| !there.contains(**name)) {
            return Err(fault(missing, "is missing from the zip"));
        }
        match there.iter().find(|name| !known.contains(name.as_str())) {
            Some(added) => Err(fault(added, "is in the zip and not in the manifest")),
            None => Ok(()),
        }
    }

    fn own(&mut self, manifest: &Manifest) -> Result<Own, Error> {
        let checkpoint = self.listed_text(manifest, CHECKPOINT, SMALL_BYTES_MAX)?;
        let chain = self.listed_text(manifest, KEYS, SMALL_BYTES_MAX)?;
        let vkey = self.listed_text(manifest, VKEY, SMALL_BYTES_MAX)?.trim_end().to_owned();
        Ok(Own { checkpoint, chain, vkey })
    }

    fn check_checkpoint(
        &mut self,
        manifest: &Manifest,
        own: &Own,
        trust: &Trust,
        done: &mut Done,
    ) -> Result<Trusted, Error> {
        let refused = |error: pedigraph_ledger::Error| fault(CHECKPOINT, format!("{error}{}", other_key(own, trust)));
        let by = following(trust, || own.chain(), |trust| trust.checkpoint(&own.checkpoint)).map_err(refused)?;
        if by.origin != manifest.origin
            || by.size != manifest.checkpoint.size
            || by.root.to_string() != manifest.checkpoint.root
        {
            let found = Some(by.root.to_string());
            let what = format!("signs {} entries of {}, the manifest speaks of another head", by.size, by.origin);
            let expected = Some(manifest.checkpoint.root.clone());
            return Err(Fault { what, file: Some(CHECKPOINT.into()), expected, found, index: None }.into());
        }
        // The pack's keys are for those who have no other: they must lead to the same one.
        let keys = key_successors(&own.chain, &own.vkey).map_err(|error| fault(KEYS, error.to_string()))?;
        if !keys.contains(&by.vkey) {
            return Err(fault(VKEY, format!("does not lead to the key {} that signed the checkpoint", by.vkey)));
        }
        let newest = keys.last().and_then(|vkey| public_key(vkey)).unwrap_or_default();
        if self.listed_text(manifest, KEY_PEM, SMALL_BYTES_MAX)? != pem(&newest) {
            return Err(fault(KEY_PEM, "is not the newest of the pack's keys"));
        }
        done.check(format!("the checkpoint of {} for {} entries is signed by {}", by.origin, by.size, by.vkey));
        if trust.policy.is_some() {
            let names: Vec<_> = by.cosignatures.iter().map(|cosignature| cosignature.witness.as_str()).collect();
            let names = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
            done.check(format!("the policy's quorum is reached; cosigned by: {names}"));
        } else {
            done.unchecked.push("cosignatures of witnesses: no --policy was given".to_owned());
        }
        Ok(by)
    }

    fn check_signature(
        &mut self,
        manifest: &Manifest,
        manifest_sha256: &str,
        own: &Own,
        signed_by: &Trusted,
        check: &Check<'_>,
        done: &mut Done,
    ) -> Result<(), Error> {
        if !manifest.signed {
            if !check.unsigned {
                let what = "is not signed: anybody may have written its answers. With --unsigned, entries and documents are checked by the checkpoint alone";
                return Err(fault(MANIFEST, what));
            }
            done.unchecked
                .push("the manifest is not signed: nothing but the entries and documents is proved".to_owned());
            return Ok(());
        }
        let bytes = self.read(SIGNATURE, 2 * MANIFEST_BYTES_MAX)?;
        let bad = |what: &str| fault(SIGNATURE, what);
        let envelope: Envelope = serde_json::from_slice(&bytes).map_err(|_| bad("is not a DSSE envelope"))?;
        let payload = BASE64_STANDARD.decode(&envelope.payload).map_err(|_| bad("its payload is not base64"))?;
        if envelope.payload_type != PAYLOAD_TYPE {
            return Err(bad("its payload is of another type"));
        }
        let keys = key_successors(&own.chain, &signed_by.vkey).map_err(|error| fault(KEYS, error.to_string()))?;
        let message = pre_authentication(&payload);
        let holds = |sig: &[u8]| {
            keys.iter().filter_map(|vkey| public_key(vkey)).any(|key| signature_holds(&key, &message, sig))
        };
        let signature = |sig: &String| BASE64_STANDARD.decode(sig).is_ok_and(|sig| holds(&sig));
        if !envelope.signatures.iter().any(|one| signature(&one.sig)) {
            return Err(bad("its signature is not by the log's key"));
        }
        let stated: Statement =
            serde_json::from_slice(&payload).map_err(|_| bad("its payload is no statement of a pack"))?;
        let stated_digest = stated.subject.first().map_or("", |subject| subject.digest.sha256.as_str());
        if stated_digest != manifest_sha256 {
            let (expected, found) = (Some(stated_digest.to_owned()), Some(manifest_sha256.to_owned()));
            let what = "is not the manifest that was signed".to_owned();
            return Err(Fault { what, file: Some(MANIFEST.into()), expected, found, index: None }.into());
        }
        if stated != Statement::of(manifest, manifest_sha256) {
            return Err(bad("what it signs is not the statement of this manifest"));
        }
        done.check("the manifest is signed by the log's key (DSSE, in-toto statement of every file)");
        Ok(())
    }

    fn check_entries(
        &mut self,
        manifest: &Manifest,
        own: &Own,
        signed_by: &Trusted,
        done: &mut Done,
    ) -> Result<BTreeMap<u64, Leaf>, Error> {
        let trust = Trust { vkey: Some(signed_by.vkey.clone()), ..Trust::default() };
        let mut entries = BTreeMap::new();
        for file in &manifest.files {
            let Some(Kind::Entry(index)) = kind_of(file, manifest) else { continue };
            let bytes = self.listed(manifest, &file.name, LEAF_BYTES_MAX as u64)?;
            let proof_name = format!("proofs/{index}.tlog-proof");
            let proof = self.listed_text(manifest, &proof_name, SMALL_BYTES_MAX)?;
            let wrong =
                |what: String| Fault { what, file: Some(proof_name.clone()), index: Some(index), ..Fault::default() };
            if proof.split_once("\n\n").is_none_or(|(_, under)| under != own.checkpoint) {
                return Err(wrong("ends with another checkpoint than the pack's".to_owned()).into());
            }
            let proved = verify_proof(&proof, &bytes, &trust).map_err(|error| wrong(error.to_string()))?;
            if proved.index != index {
                return Err(wrong(format!("is the proof of entry {}", proved.index)).into());
            }
            let leaf = decode_entry(&bytes).filter(|leaf| leaf.tenant == manifest.tenant);
            let leaf = leaf.ok_or_else(|| fault(&file.name, "is no entry of this tenant"))?;
            let leaf = Leaf {
                hash: proved.leaf_hash.to_string(),
                body_digest: hex::encode(&leaf.body_digest),
                body_size: leaf.body_size,
                event_id: EventId::from_slice(&leaf.event_id),
                entry_type: leaf.r#type,
            };
            entries.insert(index, leaf);
        }
        let proofs = manifest.files.iter().filter(|file| file.name.starts_with("proofs/")).count();
        if proofs != entries.len() {
            return Err(fault(MANIFEST, format!("lists {proofs} proofs for {} entries", entries.len())));
        }
        done.check(format!(
            "{} entries are in the log, each by its inclusion proof under that checkpoint",
            entries.len()
        ));
        Ok(entries)
    }

    fn check_documents(
        &mut self,
        manifest: &Manifest,
        entries: &BTreeMap<u64, Leaf>,
        done: &mut Done,
    ) -> Result<usize, Error> {
        let mut there = BTreeSet::new();
        for file in &manifest.files {
            let Some(Kind::Document(index)) = kind_of(file, manifest) else { continue };
            let leaf =
                entries.get(&index).ok_or_else(|| fault(&file.name, "is of an entry that is not in the pack"))?;
            let mut from = self
                .archive
                .by_name(&file.name)
                .map_err(|error| fault(&file.name, format!("cannot be read: {error}")))?;
            // One byte more than there should be is enough to see that it is another file.
            let mut bounded = from.by_ref().take(file.size.saturating_add(1));
            let hashed = copy_hashed(&mut bounded, &mut std::io::sink());
            let (found, size) = hashed.map_err(|error| fault(&file.name, format!("cannot be unpacked: {error}")))?;
            compare(file, &found, size)?;
            if found != leaf.body_digest || size != leaf.body_size {
                let what = "is not the body that its entry names".to_owned();
                let (file, expected) = (Some(file.name.clone()), Some(leaf.body_digest.clone()));
                return Err(Fault { what, file, index: Some(index), expected, found: Some(found) }.into());
            }
            there.insert(index);
        }
        let withheld: BTreeMap<u64, Why> = manifest.withheld.iter().map(|row| (row.entry, row.why)).collect();
        for (index, leaf) in entries {
            let why = withheld.get(index);
            let stands = match why {
                None => there.contains(index) || leaf.body_size == 0,
                Some(Why::Erased) => !there.contains(index),
                Some(Why::Attestation) => {
                    !there.contains(index) && !manifest.include_attestations && is_attestation(&leaf.entry_type)
                }
            };
            if !stands {
                let what = format!("the body of entry {index} is neither in the pack nor rightly withheld");
                return Err(Fault { what, index: Some(*index), ..Fault::default() }.into());
            }
        }
        if let Some((index, _)) = withheld.iter().find(|(index, _)| !entries.contains_key(index)) {
            return Err(fault(MANIFEST, format!("withholds the body of entry {index}, which is not in the pack")));
        }
        done.check(format!("{} documents are the bodies that their entries name", there.len()));
        let erased = withheld.values().filter(|why| **why == Why::Erased).count();
        if erased > 0 {
            done.unchecked
                .push(format!("{erased} bodies that were erased from the ledger: their entries prove the digests"));
        }
        if withheld.len() > erased {
            let count = withheld.len() - erased;
            done.unchecked
                .push(format!("{count} attestations that were not asked for: their entries prove the digests"));
        }
        Ok(there.len())
    }

    fn check_answers(
        &mut self,
        manifest: &Manifest,
        entries: &BTreeMap<u64, Leaf>,
        done: &mut Done,
    ) -> Result<(), Error> {
        let (mut proofs, mut links) = (BTreeMap::new(), BTreeSet::new());
        let (mut replays, mut without) = (0, BTreeSet::new());
        for digest in &manifest.artifacts {
            for answer in ANSWERS {
                let name = answer_name(digest, answer);
                if [VERDICTS, CHANGES].contains(&answer) && row_of(manifest, &name).is_none() {
                    without.insert(name);
                    continue;
                }
                let value: Value = self.listed_json(manifest, &name, ANSWER_BYTES_MAX as u64)?;
                let own =
                    ["/digest", "/artifact/digest"].iter().find_map(|at| value.pointer(at)).and_then(Value::as_str);
                if own != Some(digest) {
                    return Err(fault(&name, "is the answer to another question"));
                }
                let differs = |index| fault(&name, format!("gives entry {index} another hash than elsewhere"));
                proofs_in(&value, &mut proofs).map_err(differs)?;
                let nowhere = |link| fault(&name, format!("links to {link} as evidence, which is no entry"));
                links_in(&value, &mut links).map_err(nowhere)?;
                let event_of = |index| entries.get(&index).and_then(|leaf| leaf.event_id);
                replays += replays::check(digest, answer, &value, event_of).map_err(|wrong| {
                    let replays::Wrong { what, expected, found } = wrong;
                    Fault { what, file: Some(name.clone()), index: None, expected, found }
                })?;
            }
        }
        self.check_environment(manifest, &mut proofs, done)?;
        let answers = manifest.files.iter().filter(|file| file.name.starts_with("answers/"));
        let answers = answers.filter(|file| file.name != ENVIRONMENT).count();
        if answers + without.len() != manifest.artifacts.len() * ANSWERS.len() {
            return Err(fault(MANIFEST, "lists answers about artifacts that it does not name"));
        }
        check_named(&proofs, &links, entries)?;
        self.listed(manifest, README, SMALL_BYTES_MAX)?;
        done.check(format!(
            "{answers} answers about {} artifacts name only entries that are in the pack",
            manifest.artifacts.len()
        ));
        done.check(format!("{replays} replay hashes of verdicts, deltas and diffs are those of the entries they name"));
        if !without.is_empty() {
            let what = "answers about verdicts and changes that the pack does not have";
            done.unchecked.push(format!("{} {what}: nothing is proved of them", without.len()));
        }
        Ok(())
    }

    /// What runs in the environment that the manifest names, at its moment, by entries that were known then.
    fn check_environment(
        &mut self,
        manifest: &Manifest,
        proofs: &mut BTreeMap<u64, String>,
        done: &mut Done,
    ) -> Result<(), Error> {
        let Some(of) = &manifest.environment else { return Ok(()) };
        let value: Value = self.listed_json(manifest, ENVIRONMENT, ANSWER_BYTES_MAX as u64)?;
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let as_of = value.get("asOf").and_then(Value::as_u64);
        if text("environment") != Some(&of.name) || text("at") != of.at.as_deref() || as_of != Some(of.as_of) {
            return Err(fault(ENVIRONMENT, "is the answer to another question"));
        }
        let mut own = BTreeMap::new();
        let differs = |index| fault(ENVIRONMENT, format!("gives entry {index} another hash than elsewhere"));
        proofs_in(&value, &mut own).map_err(differs)?;
        if of.as_of > manifest.as_of || own.last_key_value().is_some_and(|(index, _)| *index > of.as_of) {
            return Err(fault(ENVIRONMENT, "is of another moment than the entries that it names"));
        }
        let services = value.get("services").and_then(Value::as_array).map(Vec::len);
        let services = services.ok_or_else(|| fault(ENVIRONMENT, "has no services"))?;
        for (index, hash) in own {
            if proofs.insert(index, hash.clone()).is_some_and(|before| before != hash) {
                return Err(differs(index));
            }
        }
        done.check(format!("what ran of {services} services of {} names only entries that are in the pack", of.name));
        if let Some(token) = text("nextPageToken") {
            let at_least = value.get("servicesLeftOutAtLeast").and_then(Value::as_bool).unwrap_or_default();
            let at_least = if at_least { "at least " } else { "" };
            let left_out = value.get("servicesLeftOut").and_then(Value::as_u64).unwrap_or_default();
            done.unchecked.push(format!(
                "{at_least}{left_out} more services of {}, which the pack leaves out: it goes on with the page token {token}",
                of.name
            ));
        }
        Ok(())
    }

    /// The log against an older checkpoint, as far as that can be done without asking for more of the tree.
    fn check_older(
        &mut self,
        manifest: &Manifest,
        own: &Own,
        trust: &Trust,
        signed_by: &Trusted,
        older: Option<&str>,
        done: &mut Done,
    ) -> Result<(), Error> {
        let proved = match row_of(manifest, CONSISTENCY) {
            Some(_) => Some(self.check_consistency(manifest, signed_by)?),
            None => None,
        };
        let Some(older) = older else { return Ok(()) };
        let old = following(trust, || own.chain(), |trust| trust.signed(older));
        let old = old.map_err(|error| Error::Trust(format!("the older checkpoint: {error}")))?;
        let size = signed_by.size;
        let root = match proved {
            _ if old.size == size => Some(signed_by.root),
            Some((from, root)) if from == old.size => Some(root),
            Some(_) | None => None,
        };
        match root {
            Some(root) if root == old.root => {
                done.check(format!("the log is a continuation of the older checkpoint of {} entries", old.size));
            }
            Some(root) => {
                let what = format!("the log is not a continuation of the older checkpoint of {} entries: history was rewritten; keep both, they prove it", old.size);
                let (expected, found) = (Some(old.root.to_string()), Some(root.to_string()));
                return Err(Fault { what, file: Some(CHECKPOINT.into()), expected, found, index: None }.into());
            }
            None if old.size > size => done.unchecked.push(format!(
                "whether the older checkpoint ({} entries) is a continuation of the pack's ({size}): it is the newer one; ask the log, `pedigraph verify URL --checkpoint FILE` with the pack's checkpoint",
                old.size
            )),
            None => done.unchecked.push(format!(
                "whether the log ({size} entries) is a continuation of the older checkpoint ({}): the pack has no proof of it; export with --checkpoint, or ask the log, `pedigraph verify URL --checkpoint FILE`",
                old.size
            )),
        }
        Ok(())
    }

    fn check_consistency(&mut self, manifest: &Manifest, signed_by: &Trusted) -> Result<(u64, Hash), Error> {
        let proof: Consistency = self.listed_json(manifest, CONSISTENCY, SMALL_BYTES_MAX)?;
        let hash = |text: &String| hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok()).map(Hash);
        let hashes: Option<Vec<Hash>> = proof.hashes.iter().map(hash).collect();
        let (Some(hashes), Some(from_root)) = (hashes, hash(&proof.from_root)) else {
            return Err(fault(CONSISTENCY, "has malformed hashes"));
        };
        let (old, new) = ((proof.from, from_root), (signed_by.size, signed_by.root));
        // Size 0 has one root and needs no proof.
        let empty = proof.from == 0 && from_root.0 == sha256(b"");
        let same_log = proof.to == signed_by.size && proof.origin == signed_by.origin;
        if !same_log || (!empty && !consistency_holds(old, new, &hashes)) {
            return Err(fault(CONSISTENCY, "does not lead from its older root to the checkpoint's"));
        }
        Ok((proof.from, from_root))
    }
}

/// What to do where a key is given that did not sign the checkpoint, and the pack's own did. A key is not followed back
/// to the one that it replaced: that one may have been stolen since.
fn other_key(own: &Own, trust: &Trust) -> String {
    let by_own = Trust { vkey: Some(own.vkey.clone()), policy: None, chain: Some(own.chain.clone()) };
    let Some(given) = &trust.vkey else { return String::new() };
    if by_own.checkpoint(&own.checkpoint).is_err() {
        return String::new();
    }
    let chain = trust.chain.as_deref().unwrap_or_default();
    let later = key_successors(chain, &own.vkey).unwrap_or_default();
    match later.iter().skip(1).any(|key| key == given) {
        true => format!(
            "; the pack is older than the given key, which replaced the one that signed it: where you trust what that \
             signed then, check with --vkey {}",
            own.vkey
        ),
        false => format!(
            "; it is signed by {}: where the log's key was rotated since, and `pedigraph log vkey --chain` shows that \
             key, check with --vkey and that one",
            own.vkey
        ),
    }
}

/// Whatever answers name is in the pack.
fn check_named(
    proofs: &BTreeMap<u64, String>,
    links: &BTreeSet<u64>,
    entries: &BTreeMap<u64, Leaf>,
) -> Result<(), Error> {
    for (index, hash) in proofs {
        let found = entries.get(index).map(|leaf| leaf.hash.clone());
        if found.as_ref() != Some(hash) {
            let what = "an answer names a proof that is not in the pack".to_owned();
            return Err(Fault { what, file: None, index: Some(*index), expected: Some(hash.clone()), found }.into());
        }
    }
    if let Some(index) = links.iter().find(|index| !entries.contains_key(index)) {
        let what = "an answer links to evidence that is not in the pack".to_owned();
        return Err(Fault { what, index: Some(*index), ..Fault::default() }.into());
    }
    Ok(())
}

/// The pack's own first key where no other is given: trust on first use, which is said.
fn trust_of(check: &Check<'_>, own: &Own, done: &mut Done) -> Trust {
    let listed = check.trust.policy.as_ref().is_some_and(|policy| !policy.logs().is_empty());
    if check.trust.vkey.is_some() || listed {
        return check.trust.clone();
    }
    done.unchecked.push(format!(
        "whose key it is: it was taken from the pack itself (trust on first use). Compare {} with what the log's operator says, and give it as --vkey",
        own.vkey
    ));
    Trust { vkey: Some(own.vkey.clone()), ..check.trust.clone() }
}

/// The end of a zip: without comment, without ZIP64, with a directory of bounded size right before it, whose beginning
/// and size are given back.
fn check_end<R: Read + Seek>(from: &mut R) -> Result<(u64, u64), Error> {
    let no_zip = |why: &str| Error::NotAPack(format!("not an evidence pack: {why}"));
    let unreadable = |error: std::io::Error| no_zip(&error.to_string());
    let length = from.seek(SeekFrom::End(0)).map_err(unreadable)?;
    let at = length.checked_sub(END_BYTES as u64).ok_or_else(|| no_zip("the file is too short for a zip"))?;
    let (mut begin, mut end) = ([0; 2], [0; END_BYTES]);
    from.seek(SeekFrom::Start(0)).and_then(|_| from.read_exact(&mut begin)).map_err(unreadable)?;
    if begin != *b"PK" {
        return Err(no_zip("the file does not begin as a zip does"));
    }
    from.seek(SeekFrom::Start(at)).and_then(|_| from.read_exact(&mut end)).map_err(unreadable)?;
    let wrong = |what: String| Err(Fault { what, ..Fault::default() }.into());
    if !end.starts_with(b"PK\x05\x06") {
        return wrong("the zip is cut off, or something is behind it".to_owned());
    }
    let number =
        |at: usize, bytes: usize| end[at..at + bytes].iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    let (disks, here, count) = (number(4, 4), number(8, 2), number(10, 2));
    let (directory, start) = (number(12, 4), number(16, 4));
    if length > PACK_BYTES_MAX || count > FILES_MAX as u64 || directory > DIRECTORY_BYTES_MAX {
        return wrong(format!(
            "the zip is larger than a pack may be: {length} bytes (at most {PACK_BYTES_MAX}), {count} files (at most {FILES_MAX}), a directory of {directory} bytes (at most {DIRECTORY_BYTES_MAX})"
        ));
    }
    if disks != 0 || here != count || start + directory != at {
        return wrong("the zip is not in one piece: something is before, between or behind its files".to_owned());
    }
    Ok((start, directory))
}

/// What a file of a pack is, by its name.
enum Kind {
    Entry(u64),
    Document(u64),
    Other,
}

/// `None` for a file that no pack has, or whose row names another entry than its name.
fn kind_of(file: &FileRow, manifest: &Manifest) -> Option<Kind> {
    let number =
        |text: &str| text.parse::<u64>().ok().filter(|index| index.to_string() == text && file.entry == Some(*index));
    match file.name.split_once('/') {
        Some(("entries", index)) => number(index).map(Kind::Entry),
        Some(("documents", index)) => number(index).map(Kind::Document),
        Some(("proofs", proof)) => number(proof.strip_suffix(".tlog-proof")?).map(|_| Kind::Other),
        Some(("answers", _)) if file.name == ENVIRONMENT => manifest.environment.is_some().then_some(Kind::Other),
        Some(("answers", _)) => {
            let ours = |digest: &String| ANSWERS.iter().any(|answer| answer_name(digest, answer) == file.name);
            manifest.artifacts.iter().any(ours).then_some(Kind::Other)
        }
        Some(_) => None,
        None => {
            [CHECKPOINT, VKEY, KEYS, KEY_PEM, CONSISTENCY, README].contains(&file.name.as_str()).then_some(Kind::Other)
        }
    }
}

/// Files stand in the order of their names; one that does not is not found.
fn row_of<'a>(manifest: &'a Manifest, name: &str) -> Option<&'a FileRow> {
    let at = manifest.files.binary_search_by(|file| file.name.as_str().cmp(name)).ok()?;
    manifest.files.get(at)
}

fn compare(row: &FileRow, found: &str, size: u64) -> Result<(), Error> {
    if row.sha256 == found && row.size == size {
        return Ok(());
    }
    let (file, index) = (Some(row.name.clone()), row.entry);
    let (expected, found) = (Some(row.sha256.clone()), Some(found.to_owned()));
    Err(Fault { what: "has other bytes than the manifest says".into(), file, index, expected, found }.into())
}
