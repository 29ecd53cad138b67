//! From received bytes to canonical facts: pure functions, one file per format.
//!
//! No I/O but reading the given bytes, no clock, no randomness. A rejection is data. What a message is, is found in
//! this order (SPEC §2.1): a forced format, the CloudEvents content type, `ce_`/`ce-` headers, Confluent framing, the
//! content.

mod budget;
mod cdevents;
mod cloudevents;
mod components;
mod compression;
mod csaf;
mod csaf_tree;
mod cyclonedx;
mod cyclonedx_vex;
mod detect;
mod document;
mod dsse;
mod encoded;
mod fact_list;
mod facts;
mod grype;
mod guard;
mod headers;
mod image_name;
mod intoto;
mod lengths;
mod oci;
mod openvex;
mod osv;
mod own_events;
mod provenance;
mod read;
mod root;
mod scanned;
mod set;
mod severity;
mod spdx;
mod table;
mod tame;
mod trivy;
mod vulnerabilities;

use std::borrow::Cow;
use std::cell::Cell;
use std::io::{self, Read, Seek};
use std::rc::Rc;

use bytes::Bytes;
use pedigraph_proto::event::Verification;
use pedigraph_proto::message::{Body, Code, Message, Reject};
use pedigraph_proto::wire::TimeSource;
use pedigraph_proto::{Digest, Nanos};

use crate::limits::Limits;
use crate::redact;
use budget::Budget;
use detect::Shape;
use document::{Document, Failure, READ_BYTES};
use guard::Guarded;
use headers::Headers;
use table::{Decode, Decoder};

pub(crate) use compression::is_compressed;
pub use compression::{Unpacked, unpack};
pub use fact_list::{FactList, Facts};
pub(crate) use own_events::VERSION as OWN_VERSION;

/// What a message came to be: one canonical event with its facts.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// CloudEvents source; `document` for a bare document.
    pub source: String,
    /// CloudEvents id; `sha256:<hex>[@<subject>]` for a bare document.
    pub id: String,
    /// When it happened and who said so (producer or payload); `None` when neither did.
    pub time: Option<(Nanos, TimeSource)>,
    /// What the event id's hash takes beside the received bytes, sorted by name (binary mode, SPEC §2.3).
    pub hashed_attributes: Vec<(String, String)>,
    /// Name of the decoder, such as `cdevents`, `cyclonedx`.
    pub format: &'static str,
    /// Version of the decoder's rules.
    pub decoder_version: u32,
    /// At least one; the first one names the event. Facts of a component set come after the fact that names it.
    pub facts: FactList,
    /// Secrets that stand in what was signed, where they are kept as they came; no fact has them.
    pub signed_secrets: u32,
}

/// A rejection with what was understood before it failed.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// Why.
    pub reject: Reject,
    /// Source and id as far as they were read (else as for a bare document).
    pub source: String,
    /// See `source`.
    pub id: String,
    /// See [`Decoded::hashed_attributes`].
    pub hashed_attributes: Vec<(String, String)>,
    /// What it was taken for; empty when unknown.
    pub format: &'static str,
    /// See [`Decoded::signed_secrets`].
    pub signed_secrets: u32,
}

/// Splits a batch (`application/cloudevents-batch+json`, `application/x-ndjson`) into messages whose bodies are the
/// elements' own received bytes; `None` when the message is not a batch.
pub fn split(message: &Message, limits: &Limits) -> Option<Result<Vec<Message>, Reject>> {
    cloudevents::split(message, limits)
}

/// Whether [`split`] has something to do.
pub(crate) fn is_batch(message: &Message) -> bool {
    cloudevents::Several::of(message).is_some()
}

/// Names of all decoders: the formats that are read, as entries and counts call them.
pub fn formats() -> impl Iterator<Item = &'static str> {
    table::all().map(|decoder| decoder.name)
}

/// A media type of documents that are read, as it is written here; `None` for one that names none.
pub fn known_media_type(media_type: &str) -> Option<&'static str> {
    let known = table::all().flat_map(|decoder| decoder.media_types);
    known.copied().find(|known| known.eq_ignore_ascii_case(media_type))
}

/// Decodes one message. `body` is its bytes without compression (see [`unpack`]; what is spooled goes through
/// [`decode_stream`]); `sha256` is their digest.
pub fn decode(message: &Message, body: &Bytes, sha256: &[u8; 32], limits: &Limits) -> Result<Decoded, Box<Rejected>> {
    let mut understood = Understood::default();
    let found = Headers::read(message, limits).and_then(|headers| match body.len() as u64 {
        size if size > limits.event_bytes_max => Err(too_large(limits.event_bytes_max)),
        _ => whole(message, &headers, body, *sha256, limits, &mut understood),
    });
    understood.finish(found, message, sha256)
}

/// What a large document is read from: it may be read twice, once to see what it is.
pub trait ReadSeek: Read + Seek {}
impl<R: Read + Seek> ReadSeek for R {}

/// Decodes one message whose body was spooled and is not compressed. What cannot be read in pieces must fit into
/// [`Limits::whole_bytes_max`], an event into [`Limits::event_bytes_max`]. An error is the disk's, not the message's.
pub fn decode_stream(
    message: &Message,
    input: &mut dyn ReadSeek,
    sha256: &[u8; 32],
    limits: &Limits,
) -> io::Result<Result<Decoded, Box<Rejected>>> {
    let mut understood = Understood::default();
    let found = match understand_stream(message, input, sha256, limits, &mut understood) {
        Ok(found) => Ok(found),
        Err(Failure::Reject(reject)) => Err(reject),
        Err(Failure::Io(error)) => return Err(error),
    };
    Ok(understood.finish(found, message, sha256))
}

/// What is understood of a message while it is read, so that a reject can say it too.
#[derive(Default)]
struct Understood {
    /// Source and id.
    name: Option<(String, String)>,
    /// The producer's time.
    time: Option<Nanos>,
    hashed_attributes: Vec<(String, String)>,
    /// What it is taken for.
    decoder: Option<&'static Decoder>,
    hidden: Hidden,
}

/// Counts secrets that no fact may have, although the received bytes keep them.
#[derive(Clone, Default)]
struct Hidden(Rc<Cell<u32>>);

/// What a decoder made of a document.
struct Found {
    facts: FactList,
    /// The document's own time.
    time: Option<Nanos>,
}

/// What a decoder is told beside the document.
#[derive(Clone)]
struct Given<'a> {
    /// The subject artifact given outside the document.
    subject: Option<Digest>,
    /// The other subjects of the statement whose predicate the document is, each with its name.
    other_subjects: &'a [(String, String)],
    /// Digest of the document's bytes.
    sha256: [u8; 32],
    /// What is known of the signature around the document.
    verification: Verification,
    /// Type of the event whose data it is; empty for a bare document.
    event_type: &'a str,
    /// Media type that the event names for its data, in lower case.
    media_type: &'a str,
    limits: &'a Limits,
    /// What the facts of the whole message may still take.
    budget: &'a Budget,
    hidden: Hidden,
}

impl<'a> Given<'a> {
    /// What is told of a bare document.
    fn bare(
        subject: Option<Digest>,
        sha256: [u8; 32],
        limits: &'a Limits,
        budget: &'a Budget,
        hidden: &Hidden,
    ) -> Given<'a> {
        let (verification, hidden) = (Verification::None, hidden.clone());
        let other_subjects = [].as_slice();
        Given { subject, other_subjects, sha256, verification, event_type: "", media_type: "", limits, budget, hidden }
    }

    /// A text that stood in base64, as facts may tell it: redaction has not seen it before.
    fn without_secrets<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let Some((redacted, count)) = redact::document(text, &self.limits.redact) else { return Cow::Borrowed(text) };
        let Hidden(hidden) = &self.hidden;
        hidden.set(hidden.get().saturating_add(count));
        Cow::Owned(redacted)
    }
}

impl Understood {
    fn finish(
        self,
        found: Result<Found, Reject>,
        message: &Message,
        sha256: &[u8; 32],
    ) -> Result<Decoded, Box<Rejected>> {
        let (source, id) = self.name.unwrap_or_else(|| document_name(message, sha256));
        let (hashed_attributes, signed_secrets) = (self.hashed_attributes, self.hidden.0.get());
        let (format, decoder_version) = self.decoder.map_or(("", 0), |decoder| (decoder.name, decoder.version));
        if let Err(reject) = own_events::check_source(&source) {
            // Not even the reject stands in the ledger under the ledger's own name.
            let (source, id) = document_name(message, sha256);
            return Err(Box::new(Rejected { reject, source, id, hashed_attributes, format, signed_secrets }));
        }
        let found = match found.and_then(fitting) {
            Ok(found) => found,
            Err(reject) => {
                return Err(Box::new(Rejected { reject, source, id, hashed_attributes, format, signed_secrets }));
            }
        };
        let producer = self.time.map(|time| (time, TimeSource::Producer));
        let time = producer.or(found.time.map(|time| (time, TimeSource::Payload)));
        let facts = found.facts;
        Ok(Decoded { source, id, time, hashed_attributes, format, decoder_version, facts, signed_secrets })
    }
}

/// What was found, its texts cut or refused by their lengths, its commits in one spelling.
fn fitting(mut found: Found) -> Result<Found, Reject> {
    found.facts.spell_commits();
    found.facts.fit()?;
    if found.facts.too_large() {
        // Long strings were cut and long lists divided before: only a document made for it gets here.
        return Err(Reject::new(Code::TooLarge, "one fact is 1 MiB or more"));
    }
    Ok(found)
}

/// A bare document's source and id (SPEC §2.4).
pub(crate) fn document_name(message: &Message, sha256: &[u8; 32]) -> (String, String) {
    let mut id = format!("sha256:{}", hex::encode(sha256));
    if let Some(subject) = headers::subject_text(message) {
        let subject = subject.parse::<Digest>().map_or(subject, |digest| digest.to_string());
        id.push('@');
        id.push_str(read::clip_to(&subject, 512));
    }
    ("document".to_owned(), id)
}

/// An error of unpacking in memory is always the message's.
fn as_reject(error: io::Error) -> Reject {
    Failure::of(error).in_memory()
}

fn too_large(bytes_max: u64) -> Reject {
    Reject::new(Code::TooLarge, format!("more than {bytes_max} bytes"))
}

fn understand_stream(
    message: &Message,
    input: &mut dyn ReadSeek,
    sha256: &[u8; 32],
    limits: &Limits,
    understood: &mut Understood,
) -> Result<Found, Failure> {
    let headers = Headers::read(message, limits)?;
    let decoder = if headers.is_event() { None } else { decoder_of_stream(message, &headers, input, limits)? };
    if let Some((decoder, Decode::Stream(read))) = decoder.map(|decoder| (decoder, decoder.decode)) {
        understood.decoder = Some(decoder);
        let budget = Budget::of(input.seek(io::SeekFrom::End(0)).map_err(Failure::Io)?);
        let given = Given::bare(headers::subject(message)?, *sha256, limits, &budget, &understood.hidden);
        return read(Document::Pieces(Guarded::new(input, limits).map_err(Failure::of)?), &given);
    }
    let is_event = headers.is_event() || decoder.is_some_and(|decoder| matches!(decoder.decode, Decode::Event(_)));
    let bytes_max = if is_event { limits.event_bytes_max } else { limits.whole_bytes_max };
    let body = read_whole(input, bytes_max)?;
    Ok(whole(message, &headers, &body, *sha256, limits, understood)?)
}

fn read_whole(input: &mut dyn ReadSeek, bytes_max: u64) -> Result<Bytes, Failure> {
    let mut bytes = Vec::new();
    let read = input.rewind().and_then(|()| input.take(bytes_max + 1).read_to_end(&mut bytes)).map_err(Failure::Io)?;
    if read as u64 > bytes_max {
        return Err(too_large(bytes_max).into());
    }
    Ok(bytes.into())
}

/// The decoder of a spooled document: by its first bytes, else by all of its members' names; `None` when they do not
/// tell.
fn decoder_of_stream(
    message: &Message,
    headers: &Headers<'_>,
    input: &mut dyn ReadSeek,
    limits: &Limits,
) -> Result<Option<&'static Decoder>, Failure> {
    if let Some(forced) = headers.forced_format(message) {
        return Ok(Some(table::named(forced)?));
    }
    let mut guarded = Guarded::new(input, limits).map_err(Failure::of)?;
    let mut head = Vec::new();
    guarded.by_ref().take(READ_BYTES as u64).read_to_end(&mut head).map_err(Failure::of)?;
    let found = Shape::of_head(&head);
    if found.decoder.is_some() || found.whole {
        return Ok(found.decoder);
    }
    // A document may begin with its largest member.
    let reader = io::BufReader::with_capacity(READ_BYTES, head.chain(guarded));
    detect::decoder_of_reader(reader).map_err(Failure::of)
}

/// Understands a message that is whole in memory. `sha256` is that of `body`.
fn whole(
    message: &Message,
    headers: &Headers<'_>,
    body: &Bytes,
    sha256: [u8; 32],
    limits: &Limits,
    understood: &mut Understood,
) -> Result<Found, Reject> {
    let budget = Budget::of(body.len() as u64);
    let given = Given::bare(headers::subject(message)?, sha256, limits, &budget, &understood.hidden);
    if let Some(name) = headers.forced_format(message) {
        return table::named(name)?.read(body, &given, understood);
    }
    let copied = headers.binary && headers.content_type.is_none() && cloudevents::is_structured(body, limits);
    if headers.structured || copied {
        return cloudevents::DECODERS[0].read(body, &given, understood);
    }
    if headers.binary {
        return cloudevents::binary(message, body, given, understood);
    }
    if body.is_empty() {
        let what = if matches!(message.body, Body::Null) { "null" } else { "empty" };
        return Err(Reject::new(Code::MalformedEnvelope, format!("the value is {what} and no header says what it is")));
    }
    bare(cloudevents::unframed_json(body)?, &given, understood)
}

/// A document, an event of CDEvents or a structured CloudEvent that nothing but its content tells.
fn bare(bytes: &[u8], given: &Given<'_>, understood: &mut Understood) -> Result<Found, Reject> {
    let text = guard::text(bytes, given.limits)?;
    if detect::begins_with_context(text) {
        // Most events on Kafka are these: one typed pass, and the general way only when it is none after all.
        if let Some(found) = cdevents::bare(text, given, understood)? {
            return Ok(found);
        }
    }
    detect::decoder_of(text)?.read_text(text, given, understood)
}
