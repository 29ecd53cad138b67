//! From a message to an entry that lacks only what the writer alone knows: its index, its time of recording, and
//! whether it is known already. Everything that costs time is done here, off the writer's thread; large parts become
//! durable blobs.

use std::io::{self, Seek as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use bytes::Bytes;
use opentelemetry::trace::SpanContext;
use pedigraph_ledger::{Blobs, Hash, INLINE_BYTES_MAX, LogId, Part};
use pedigraph_proto::canonical::{
    FACTS_PER_CHUNK_MAX, FORMAT_VERSION, LEAF_NAME_BYTES_MAX, LEAF_SUBJECTS_MAX, facts_digest, sha256,
};
use pedigraph_proto::fact::{Event, encode_chunk, subjects};
use pedigraph_proto::message::{Body, Code, Message, Redaction, Reject};
use pedigraph_proto::protobuf::Message as _;
use pedigraph_proto::wire::{Entry, Fact, Origin, TimeSource};
use pedigraph_proto::{Digest, EventId, Nanos, event};
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::deaths::{Watch, Watched};
use crate::decide::{Key, identity, key};
use crate::decode::{Decoded, FactList, Rejected, Unpacked, decode, document_name as received_name};
use crate::disk::Disk;
use crate::limits::Limits;
use crate::raw::{Raw, Scratch};
use crate::redact::{self, Fields, Namer};

/// A facts chunk is closed before it grows over this, so that folds never hold more than this and one fact. Bytes.
const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Longest Kafka topic, HTTP path or file name that a leaf names; the rest is cut off. Bytes.
const ORIGIN_BYTES_MAX: usize = 1_024;
/// Headers, and the subject, that are kept with a reject. Bytes.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// Attributes of a reject for [`named_before`].
const NAMED_SOURCE: &str = "pedigraph-named-source";
const NAMED_ID: &str = "pedigraph-named-id";

/// A message that is ready to be decided on.
pub(crate) struct Prepared {
    pub(crate) log: LogId,
    pub(crate) key: Key,
    pub(crate) event_id: EventId,
    pub(crate) reject: Option<Reject>,
    pub(crate) redaction: Option<Redaction>,
    /// The producer's or payload's time.
    pub(crate) said: Option<(Nanos, TimeSource)>,
    pub(crate) broker_time: Option<i64>,
    /// Without status, times and conflict.
    pub(crate) leaf: Entry,
    pub(crate) facts: Vec<Part>,
    pub(crate) body: Option<Part>,
    /// Name of the source for counting.
    pub(crate) source: String,
    /// Trace contexts that the message brought.
    pub(crate) contexts: Vec<SpanContext>,
    /// The spooled document, removed when the entry is durable.
    pub(crate) spool: Option<PathBuf>,
    /// Entries of its log whose bodies go with it.
    pub(crate) erases: Vec<u64>,
}

impl Prepared {
    /// Bytes that it adds to the journal, about.
    pub(crate) fn journal_bytes(&self) -> usize {
        let inline = |part: &Part| match part {
            Part::Inline(bytes) | Part::Hashed { bytes, .. } => bytes.len(),
            Part::Blob { .. } => 0,
        };
        self.facts.iter().chain(&self.body).map(inline).sum()
    }
}

/// What preparing needs beside the message; one per worker.
pub(crate) struct Preparer {
    limits: Limits,
    blobs: Blobs,
    bodies: Blobs,
    scratch: Scratch,
    disk: Disk,
    /// Its place in the file that tells what a process died over.
    pub(crate) watch: Watch,
    namer: Namer,
    /// What stands beside the bytes of a message.
    beside: Texts,
    /// Its source and id.
    names: Texts,
    /// The log of the last message: nearly always the next one's too.
    log: LogId,
}

/// A message's bytes as they will be kept: unpacked, redacted, hashed.
struct Kept {
    raw: Raw,
    redaction: Option<Redaction>,
    /// As they came, where that is something else and no more than an event.
    received: Option<Bytes>,
    /// Has taken in the bytes; the event id's digest goes on from here.
    hasher: Sha256,
    digest: [u8; 32],
    size: u64,
    /// As they came, where they were unpacked into a file.
    packed: Option<Raw>,
}

impl Kept {
    /// Redacts, then hashes: nothing reads the bytes before.
    fn of(mut raw: Raw, packed: Option<Raw>, limits: &Limits) -> io::Result<Kept> {
        let (redaction, received) = raw.redact(limits)?.unzip();
        let (hasher, size) = raw.hash()?;
        let digest = hasher.clone().finalize().into();
        Ok(Kept { raw, redaction, received: received.flatten(), hasher, digest, size, packed })
    }

    /// Notes secrets that are in nothing that is made of the bytes, but perhaps in the bytes: where nothing of them was
    /// overwritten their digest is the one that was received.
    fn note_hidden(&mut self, secrets: u32) {
        let unchanged = Redaction { rules: redact::VERSION, count: 0, received_digest: self.digest };
        if secrets > 0 {
            let redaction = self.redaction.get_or_insert(unchanged);
            redaction.count = redaction.count.saturating_add(secrets);
        }
    }
}

type OrRejected = Result<Decoded, Box<Rejected>>;

impl Preparer {
    pub(crate) fn new(
        limits: Limits,
        (blobs, bodies): (Blobs, Blobs),
        scratch: Scratch,
        disk: Disk,
        watch: Watch,
        namer: Namer,
    ) -> Preparer {
        let (beside, names, log) = (Texts::default(), Texts::default(), LogId::default_log());
        Preparer { limits, blobs, bodies, scratch, disk, watch, namer, beside, names, log }
    }

    /// A document is gone before it was read.
    pub(crate) fn lost(&self, why: &str) {
        tracing::error!(why, "a document cannot be read: it is not recorded, and its sender is not told that it is");
        self.disk.counters.document_lost();
    }

    /// Unpacks, redacts, hashes, decodes and encodes one message; one that is refused already is not decoded.
    ///
    /// # Errors
    /// The disk's only, and [`Error::Gone`]: whatever is wrong with the message is a reject.
    pub(crate) fn prepare(&mut self, mut message: Message, mut refused: Option<Reject>) -> Result<Prepared, Error> {
        let received = Raw::take(&mut message.body).map_err(|error| gone(&message.body, &error))?;
        let (raw, packed) = self.unpack(&message, received, &mut refused)?;
        let mut kept = Kept::of(raw, packed, &self.limits)?;
        let (received, secrets) = redact_beside(&mut message, &mut self.beside, &self.limits.redact).unzip();
        kept.note_hidden(secrets.unwrap_or_default());
        if refused.is_some() {
            // It is called by its digest.
            let outcome = self.decode(&message, &mut kept, refused)?;
            return self.encode(message, kept, outcome);
        }
        let watched = match self.watch.begin(&kept.digest, kept.size, message.replay_of.is_some()) {
            Ok(watched) => watched,
            Err(reject) => {
                let outcome = Err(named(reject, &kept.digest));
                return self.encode(message, kept, outcome);
            }
        };
        let received = kept.redaction.is_some().then(|| received.unwrap_or_else(|| message.clone()));
        let mut outcome = self.decode(&message, &mut kept, None)?;
        let names = received.map(|received| self.received_names(&received, &mut kept)).transpose()?;
        self.rename(&message, &mut outcome, names);
        let prepared = self.encode(message, kept, outcome)?;
        self.watch.end(&watched);
        Ok(prepared)
    }

    /// Source and id as they were before anything was overwritten.
    fn received_names(&self, received: &Message, kept: &mut Kept) -> Result<(String, String), Error> {
        let (digest, bytes_max) = (kept.digest, self.limits.event_bytes_max);
        let body = match kept.received.take() {
            Some(body) => Some(body),
            None => kept.raw.small(bytes_max)?,
        };
        // More bytes than an event has are a document, which is called by its digest.
        let Some(body) = body else { return Ok(received_name(received, &digest)) };
        let outcome = unpanicking(received, &digest, || Ok(decode(received, &body, &digest, &self.limits)))?;
        Ok(match outcome {
            Ok(decoded) => (decoded.source, decoded.id),
            Err(rejected) => (rejected.source, rejected.id),
        })
    }

    /// Sees to it that source and id have no secret, and still differ from any other.
    fn rename(&mut self, message: &Message, outcome: &mut OrRejected, received: Option<(String, String)>) {
        let (source, id) = match outcome {
            Ok(decoded) => (&mut decoded.source, &mut decoded.id),
            Err(rejected) => (&mut rejected.source, &mut rejected.id),
        };
        let is_plain = received.is_none() && message.replay_of.is_none();
        // Nearly all have a source that came before, and an id of hex digits.
        let id_bytes = (!redact::is_hex_and_dashes(id)).then_some(id.as_bytes());
        if is_plain && !self.names.are_suspect([source.as_bytes()].into_iter().chain(id_bytes)) {
            return;
        }
        let (received_source, received_id) = received.unzip();
        for (name, received, header) in [(source, received_source, NAMED_SOURCE), (id, received_id, NAMED_ID)] {
            let received = received.as_ref().unwrap_or(name);
            let named =
                self.namer.name(&message.tenant, name, received).or_else(|| named_before(message, header, name));
            if let Some(named) = named {
                *name = named;
            }
        }
    }

    /// Undoes compression. What cannot be unpacked, or must not be, is refused, and kept as it came.
    fn unpack(
        &self,
        message: &Message,
        mut raw: Raw,
        refused: &mut Option<Reject>,
    ) -> Result<(Raw, Option<Raw>), Error> {
        if refused.as_ref().is_some_and(|reject| reject.code == Code::DecoderDied) {
            return Ok((raw, None));
        }
        let watched = match self.watch_unpacking(message, &mut raw)? {
            Ok(watched) => watched,
            Err(reject) => {
                *refused = Some(reject);
                return Ok((raw, None));
            }
        };
        let unpacked = self
            .disk
            .with_room(|| Ok(raw.rewind().and_then(|()| raw.unpack(message, &self.limits, &self.scratch))?))?;
        watched.iter().for_each(|watched| self.watch.end(watched));
        Ok(match unpacked {
            Ok(Unpacked::Plain) => (raw, None),
            Ok(Unpacked::Whole(bytes)) => (Raw::Memory(bytes), None),
            Ok(Unpacked::Large(file)) => (Raw::File(file), Some(raw)),
            Err(reject) => {
                refused.get_or_insert(reject);
                (raw, None)
            }
        })
    }

    /// Unpacking can end the process as decoding can: what is compressed is named by the digest of what came.
    fn watch_unpacking(&self, message: &Message, raw: &mut Raw) -> io::Result<Result<Option<Watched>, Reject>> {
        if !raw.is_compressed()? {
            return Ok(Ok(None));
        }
        let (hasher, size) = raw.hash()?;
        Ok(self.watch.begin(&hasher.finalize().into(), size, message.replay_of.is_some()).map(Some))
    }

    /// What is too large once it is unpacked is kept as it came, since a small message must not fill the disk.
    fn decode(&self, message: &Message, kept: &mut Kept, refused: Option<Reject>) -> Result<OrRejected, Error> {
        let outcome = match refused {
            Some(reject) => Err(named(reject, &kept.digest)),
            None => unpanicking(message, &kept.digest, || kept.raw.decode(message, &kept.digest, &self.limits))?,
        };
        match (kept.packed.take(), outcome) {
            (Some(packed), Err(rejected)) if rejected.reject.code == Code::TooLarge => {
                *kept = Kept::of(packed, None, &self.limits)?;
                Ok(Err(named(rejected.reject, &kept.digest)))
            }
            (_, outcome) => Ok(outcome),
        }
    }

    /// Makes the entry and its parts, of which the large ones become durable.
    fn encode(&mut self, message: Message, mut kept: Kept, outcome: OrRejected) -> Result<Prepared, Error> {
        let outcome = outcome.and_then(|decoded| fit_the_leaf(decoded, &kept.digest));
        let (mut decoded, reject) = match outcome {
            Ok(decoded) => (decoded, None),
            Err(rejected) => rejection(*rejected, &message, &kept.digest),
        };
        let (said, key) = (decoded.time, key(&message.tenant, &decoded.source, &decoded.id));
        let mut leaf = leaf(&message, &kept, &mut decoded);
        let identity = identity(kept.hasher.clone(), &decoded.hashed_attributes);
        let event_id = EventId::of(&message.tenant, &leaf.source, &leaf.id, &identity);
        leaf.event_id = Bytes::copy_from_slice(event_id.as_bytes());
        leaf.origin = Some(short_origin(message.origin));
        let (facts, hidden) = self.parts(decoded.facts)?;
        leaf.facts_digest = Bytes::copy_from_slice(&digest_of_parts(&facts));
        kept.note_hidden(decoded.signed_secrets.saturating_add(hidden));
        note_redaction(&mut leaf, kept.redaction.as_ref());
        let body = self.store(kept.raw, kept.size, kept.digest)?;
        let spool = match message.body {
            Body::File { path, .. } => Some(path),
            Body::Null | Body::Bytes(_) => None,
        };
        Ok(Prepared {
            log: self.log(message.tenant.as_str())?,
            key,
            event_id,
            reject,
            redaction: kept.redaction,
            said,
            broker_time: message.broker_time,
            leaf,
            facts,
            body,
            source: message.source,
            contexts: Vec::new(),
            spool,
            erases: Vec::new(),
        })
    }

    fn log(&mut self, tenant: &str) -> Result<LogId, Error> {
        if self.log.as_str() != tenant {
            self.log = LogId::new(tenant).ok_or_else(|| Error::Corrupt(format!("{tenant:?} cannot name a log")))?;
        }
        Ok(self.log.clone())
    }

    fn store(&self, raw: Raw, size: u64, digest: [u8; 32]) -> Result<Option<Part>, Error> {
        match raw {
            Raw::Memory(bytes) if bytes.is_empty() => Ok(None),
            Raw::Memory(bytes) => Ok(Some(self.body_part(bytes, digest)?)),
            Raw::File(mut file) => {
                let stored = self.disk.with_room(|| {
                    file.rewind()?;
                    Ok(self.bodies.put_stream(&mut file, size)?)
                });
                stored.map(Some)
            }
        }
    }

    /// Encodes facts in chunks of at most [`FACTS_PER_CHUNK_MAX`] facts. Component lists have chunks of their own, so
    /// that the same list gives the same bytes whatever was said of it. Says how many secrets were still in them.
    pub(crate) fn parts(&self, facts: FactList) -> Result<(Vec<Part>, u32), Error> {
        let (mut parts, mut hidden) = (Vec::new(), 0_u32);
        let mut close = |chunk: Vec<Fact>| {
            let (chunk, secrets) = redact::chunk(encode_chunk(chunk));
            hidden = hidden.saturating_add(secrets);
            self.part(&self.blobs, chunk, None).map(|part| parts.push(part))
        };
        if facts.count() == 1 {
            close(facts.into_iter().collect())?;
            return Ok((parts, hidden));
        }
        let (mut chunk, mut chunk_bytes) = (Vec::<Fact>::new(), 0);
        for fact in facts {
            let bytes = fact.encoded_len();
            let full = chunk.len() == FACTS_PER_CHUNK_MAX || chunk_bytes + bytes > CHUNK_BYTES_MAX;
            let other_kind = chunk.last().is_some_and(|last| lists_components(last) != lists_components(&fact));
            if !chunk.is_empty() && (full || other_kind) {
                close(std::mem::take(&mut chunk))?;
                chunk_bytes = 0;
            }
            chunk_bytes += bytes;
            chunk.push(fact);
        }
        close(chunk)?;
        Ok((parts, hidden))
    }

    pub(crate) fn body_part(&self, bytes: Bytes, digest: [u8; 32]) -> Result<Part, Error> {
        self.part(&self.bodies, bytes, Some(digest))
    }

    /// A large part is durable before the entry that names it; a crash in between leaves a blob that nobody names.
    fn part(&self, store: &Blobs, bytes: Bytes, digest: Option<[u8; 32]>) -> Result<Part, Error> {
        if bytes.len() > INLINE_BYTES_MAX {
            return self.disk.with_room(|| Ok(store.put(&bytes)?));
        }
        let digest = Hash(digest.unwrap_or_else(|| sha256(&bytes)));
        Ok(Part::Hashed { bytes, digest })
    }
}

fn gone(body: &Body, error: &io::Error) -> Error {
    match body {
        Body::File { path, .. } => Error::Gone(format!("{}: {error}", path.display())),
        Body::Null | Body::Bytes(_) => Error::Gone(error.to_string()),
    }
}

fn lists_components(fact: &Fact) -> bool {
    matches!(fact.event, Some(Event::ComponentsListed(_)))
}

fn more_subjects(count: usize) -> u32 {
    if count > LEAF_SUBJECTS_MAX { u32::try_from(count).unwrap_or(u32::MAX) } else { 0 }
}

pub(crate) fn digest_of_parts(parts: &[Part]) -> [u8; 32] {
    let digests: Vec<[u8; 32]> = parts.iter().map(digest_of).collect();
    facts_digest(digests.iter())
}

fn digest_of(part: &Part) -> [u8; 32] {
    match part {
        Part::Inline(bytes) => sha256(bytes),
        Part::Hashed { digest, .. } | Part::Blob { digest, .. } => digest.0,
    }
}

fn short_origin(mut origin: Origin) -> Origin {
    for name in [&mut origin.cluster, &mut origin.topic] {
        let end = (0..=ORIGIN_BYTES_MAX.min(name.len())).rev().find(|&end| name.is_char_boundary(end));
        name.truncate(end.unwrap_or_default());
    }
    origin
}

/// All of a leaf that does not need the encoded facts, or the writer.
fn leaf(message: &Message, kept: &Kept, decoded: &mut Decoded) -> Entry {
    let heads = decoded.facts.heads();
    let subjects = subjects(heads);
    let entry_type = heads.first().and_then(|fact| fact.event.as_ref()).map_or("", Event::name);
    Entry {
        version: FORMAT_VERSION,
        r#type: entry_type.to_owned(),
        tenant: message.tenant.as_str().to_owned(),
        subjects: subjects.iter().take(LEAF_SUBJECTS_MAX).map(Digest::to_string).collect(),
        subject_count: more_subjects(subjects.len()),
        source: std::mem::take(&mut decoded.source),
        id: std::mem::take(&mut decoded.id),
        body_digest: Bytes::copy_from_slice(&kept.digest),
        body_size: kept.size,
        facts_count: u32::try_from(decoded.facts.count()).unwrap_or(u32::MAX),
        format: decoded.format.to_owned(),
        decoder_version: decoded.decoder_version,
        replay_of: message.replay_of,
        ..Entry::default()
    }
}

/// Where only what stands beside the bytes or is made of them was redacted, the received digest is the body's own.
fn note_redaction(leaf: &mut Entry, redaction: Option<&Redaction>) {
    let Some(Redaction { rules, count, received_digest }) = redaction else { return };
    (leaf.redaction_version, leaf.redaction_count) = (*rules, *count);
    leaf.received_digest = Bytes::copy_from_slice(received_digest);
}

/// Short texts that are looked at together, since a pass over each costs as much as one over all.
#[derive(Default)]
struct Texts {
    together: Vec<u8>,
    /// Those of an earlier message, which had nothing in them: most messages of a topic have the same beside them.
    clean: Vec<u8>,
}

impl Texts {
    /// Whether one of them may hold a secret.
    fn are_suspect<'a>(&mut self, texts: impl IntoIterator<Item = &'a [u8]>) -> bool {
        self.together.clear();
        for text in texts {
            self.together.extend_from_slice(text);
            self.together.push(b'\n');
        }
        if self.together == self.clean {
            return false;
        }
        let suspect = redact::is_suspect(&self.together);
        if !suspect {
            std::mem::swap(&mut self.together, &mut self.clean);
        }
        suspect
    }
}

/// Overwrites secrets in what stands beside the bytes; the message as it came and how many there were, if there were
/// any.
fn redact_beside(message: &mut Message, beside: &mut Texts, fields: &Fields) -> Option<(Message, u32)> {
    let has_field = message.headers.iter().any(|(name, value)| is_field(name, fields) && has_value(value));
    let headers = message.headers.iter().flat_map(|(name, value)| [Some(name.as_bytes()), value.as_deref()]);
    let texts = [message.subject.as_deref(), message.format.as_deref(), Some(&message.origin.topic)];
    let is_suspect = beside.are_suspect(headers.chain(texts.map(|text| text.map(str::as_bytes))).flatten());
    if !is_suspect && !has_field {
        return None;
    }
    let (received, mut secrets) = (message.clone(), 0_u32);
    let mut overwrite = |text: &mut String| {
        if let Some((redacted, count)) = redact::text(text) {
            (*text, secrets) = (redacted, secrets.saturating_add(count));
        }
    };
    let texts = [message.subject.as_mut(), message.format.as_mut(), Some(&mut message.origin.topic)];
    texts.into_iter().flatten().chain(message.headers.iter_mut().map(|(name, _)| name)).for_each(&mut overwrite);
    for (name, value) in &mut message.headers {
        if is_field(name, fields) && has_value(value) {
            *value = value.as_ref().map(|value| vec![b'*'; value.len()].into());
            secrets = secrets.saturating_add(1);
        } else if let Some(value) = value
            && let Some((redacted, count)) = redact::redact(value, &Fields::default())
        {
            (*value, secrets) = (redacted, secrets.saturating_add(count));
        }
    }
    (secrets > 0).then_some((received, secrets))
}

/// Whether a header, or the attribute of an event that it is, is among those which are overwritten.
fn is_field(header: &str, fields: &Fields) -> bool {
    !fields.are_none() && [Some(header), attribute(header)].into_iter().flatten().any(|name| fields.names(name))
}

/// The name of the attribute that a header of an event in binary mode is.
fn attribute(header: &str) -> Option<&str> {
    header.strip_prefix("ce_").or_else(|| header.strip_prefix("ce-"))
}

/// Whether there is something to overwrite.
fn has_value(value: &Option<Bytes>) -> bool {
    value.as_ref().is_some_and(|value| value.iter().any(|byte| *byte != b'*'))
}

/// The name that a reject had, when it is driven again: its bytes do not have it any more. It must be one that was made
/// of what they have.
fn named_before(message: &Message, header: &str, name: &str) -> Option<String> {
    message.replay_of?;
    let (_, value) = message.headers.iter().find(|(other, _)| other == header)?;
    let named = std::str::from_utf8(value.as_deref()?).ok()?;
    Namer::is_made_of(named, name).then(|| named.to_owned())
}

/// A decoder that panics is a bug, but one message must not stop the flow of all others: it is kept as a reject, and
/// can be driven again once the decoder is mended.
fn unpanicking(
    message: &Message,
    digest: &[u8; 32],
    decode: impl FnOnce() -> io::Result<OrRejected>,
) -> io::Result<OrRejected> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| {
        tracing::error!(source = message.source, digest = hex::encode(digest), "a decoder panicked");
        let reason = "a decoder failed on this message; please report it";
        Ok(Err(named(Reject::new(Code::SchemaViolation, reason), digest)))
    })
}

fn named(reject: Reject, digest: &[u8; 32]) -> Box<Rejected> {
    let (source, id) = document_name(digest);
    Box::new(Rejected { reject, source, id, hashed_attributes: Vec::new(), format: "", signed_secrets: 0 })
}

/// What a message is called that has no usable name of its own (SPEC §2.4).
fn document_name(digest: &[u8; 32]) -> (String, String) {
    ("document".to_owned(), format!("sha256:{}", hex::encode(digest)))
}

/// A source or id that the leaf has no room for is not cut, since that would make two events one.
fn fit_the_leaf(decoded: Decoded, digest: &[u8; 32]) -> Result<Decoded, Box<Rejected>> {
    if decoded.source.len() <= LEAF_NAME_BYTES_MAX && decoded.id.len() <= LEAF_NAME_BYTES_MAX {
        return Ok(decoded);
    }
    let reason = format!("source or id is longer than {LEAF_NAME_BYTES_MAX} bytes");
    let reject = Reject::new(Code::TooLarge, reason);
    let (source, id) = document_name(digest);
    let Decoded { hashed_attributes, format, signed_secrets, .. } = decoded;
    Err(Box::new(Rejected { reject, source, id, hashed_attributes, format, signed_secrets }))
}

/// The entry that says why.
fn rejection(rejected: Rejected, message: &Message, digest: &[u8; 32]) -> (Decoded, Option<Reject>) {
    let Rejected { mut reject, mut source, mut id, hashed_attributes, format, signed_secrets } = rejected;
    if source.len() > LEAF_NAME_BYTES_MAX || id.len() > LEAF_NAME_BYTES_MAX {
        (source, id) = document_name(digest);
    }
    // A batch is taken apart before any of it is redacted: what is wrong with it may be told in its own words.
    if let Some((reason, _)) = redact::text(&reject.reason) {
        reject.reason = reason;
    }
    let fact = Fact::now(event::MessageRejected {
        code: reject.code.as_str().to_owned(),
        reason: reject.reason.clone(),
        format: format.to_owned(),
        attributes: [kept_headers(&message.headers), kept_names(&source, &id)].concat(),
        subject: message
            .subject
            .as_deref()
            .filter(|subject| subject.len() <= KEPT_BYTES_MAX)
            .unwrap_or_default()
            .to_owned(),
        forced_format: message.format.as_deref().filter(|format| format.len() <= 64).unwrap_or_default().to_owned(),
    });
    let facts = vec![fact].into();
    let decoded =
        Decoded { source, id, time: None, hashed_attributes, format, decoder_version: 0, facts, signed_secrets };
    (decoded, Some(reject))
}

/// Headers that a decoder reads, so that a reject can be driven again as it came. What is over the limit, null or not
/// UTF-8 is left out: the bytes are kept, and such headers were the reason of the reject.
fn kept_headers(headers: &[(String, Option<Bytes>)]) -> Vec<event::Attribute> {
    let read = |name: &str| {
        let prefixes = ["ce_", "ce-", "pedigraph-"];
        prefixes.iter().any(|prefix| name.starts_with(prefix)) || ["content-type", "content-encoding"].contains(&name)
    };
    let (mut kept, mut bytes) = (Vec::new(), 0);
    for (name, value) in headers.iter().filter(|(name, _)| read(name)) {
        let Some(value) = value else { continue };
        let driven_again = [NAMED_SOURCE, NAMED_ID].contains(&name.as_str());
        if driven_again {
            continue;
        }
        bytes += name.len() + value.len();
        let Ok(value) = String::from_utf8(value.to_vec()) else { continue };
        if bytes > KEPT_BYTES_MAX {
            break;
        }
        kept.push(event::Attribute { name: name.clone(), value });
    }
    kept
}

/// Names that the bytes and headers do not have any more, for when the reject is driven again.
fn kept_names(source: &str, id: &str) -> Vec<event::Attribute> {
    let named = [(NAMED_SOURCE, source), (NAMED_ID, id)].into_iter().filter(|(_, name)| Namer::is_named(name));
    named.map(|(header, name)| event::Attribute { name: header.to_owned(), value: name.to_owned() }).collect()
}
