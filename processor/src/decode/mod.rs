//! From received bytes to canonical facts: pure functions, one file per format.
//!
//! No I/O but reading the given bytes, no clock, no randomness. A rejection is data. What a message is, is found in this
//! order (SPEC §2.1): a forced format, the CloudEvents content type, `ce_`/`ce-` headers, Confluent framing, the content.

mod cdevents;
mod cloudevents;
mod components;
mod cyclonedx;
mod cyclonedx_vex;
mod detect;
mod dsse;
mod fact_list;
mod facts;
mod guard;
mod headers;
mod intoto;
mod oci;
mod openvex;
mod own;
mod packed;
mod packing;
mod read;
mod set;
mod trivy;

use std::io::{self, Read, Seek};

use bytes::Bytes;
use pedigraph_proto::event::Verification;
use pedigraph_proto::message::{Body, Code, Message, Reject};
use pedigraph_proto::wire::TimeSource;
use pedigraph_proto::{Digest, Nanos};

use crate::limits::Limits;
use detect::Format;
use guard::Guarded;
use headers::Headers;

pub use fact_list::{FactList, Facts};
pub use packing::{Unpacked, unpack};

/// Version of the rules by which all decoders here read.
pub(crate) const DECODER_VERSION: u32 = 1;
/// Bytes of a streamed document that are looked at before all of it is.
const HEAD_BYTES: u64 = 64 << 10;

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
}

/// Splits a batch (`application/cloudevents-batch+json`, `application/x-ndjson`) into messages whose bodies are the
/// elements' own received bytes; `None` when the message is not a batch.
pub fn split(message: &Message, limits: &Limits) -> Option<Result<Vec<Message>, Reject>> {
    cloudevents::split(message, limits)
}

/// Decodes one message. `body` is its bytes without compression (see [`unpack`]; what is spooled goes through
/// [`decode_stream`]); `sha256` is their digest.
pub fn decode(message: &Message, body: &Bytes, sha256: &[u8; 32], limits: &Limits) -> Result<Decoded, Box<Rejected>> {
    let mut known = Known::default();
    let found = understand(message, body, sha256, limits, &mut known);
    known.finish(found, message, sha256)
}

/// What a large document is read from: it may be read twice, once to see what it is.
pub trait ReadSeek: Read + Seek {}
impl<R: Read + Seek> ReadSeek for R {}

/// Decodes one message whose body was spooled and is not compressed. Only CycloneDX is read in pieces; any other format must fit into
/// [`Limits::event_bytes_max`]. An error is the disk's, not the message's.
pub fn decode_stream(
    message: &Message,
    input: &mut dyn ReadSeek,
    sha256: &[u8; 32],
    limits: &Limits,
) -> io::Result<Result<Decoded, Box<Rejected>>> {
    let mut known = Known::default();
    let found = match understand_stream(message, input, sha256, limits, &mut known) {
        Ok(found) => Ok(found),
        Err(error) => Err(guard::reject_of(error)?),
    };
    Ok(known.finish(found, message, sha256))
}

/// What is known of a message while it is read, so that a reject can say it too.
#[derive(Default)]
struct Known {
    /// Source and id.
    name: Option<(String, String)>,
    /// The producer's time.
    time: Option<Nanos>,
    hashed_attributes: Vec<(String, String)>,
    format: &'static str,
}

/// What a decoder made of a document.
struct Found {
    facts: FactList,
    /// The document's own time.
    time: Option<Nanos>,
}

/// What a decoder of documents is told beside the text.
#[derive(Clone)]
struct Given<'a> {
    /// The subject artifact given outside the document.
    subject: Option<Digest>,
    /// Digest of the document's bytes.
    sha256: [u8; 32],
    /// What is known of the signature around the document.
    verification: Verification,
    limits: &'a Limits,
}

impl Known {
    fn finish(
        self,
        found: Result<Found, Reject>,
        message: &Message,
        sha256: &[u8; 32],
    ) -> Result<Decoded, Box<Rejected>> {
        let (source, id) = self.name.unwrap_or_else(|| document_name(message, sha256));
        let (hashed_attributes, format) = (self.hashed_attributes, self.format);
        let found = match found.and_then(|found| own::check_source(&source).map(|()| found)) {
            Ok(found) => found,
            Err(reject) => return Err(Box::new(Rejected { reject, source, id, hashed_attributes, format })),
        };
        if found.facts.too_large() {
            // Long strings were cut and long lists divided before: only a document made for it gets here.
            let reject = Reject::new(Code::TooLarge, "one fact is 1 MiB or more");
            return Err(Box::new(Rejected { reject, source, id, hashed_attributes, format }));
        }
        let producer = self.time.map(|time| (time, TimeSource::Producer));
        let time = producer.or(found.time.map(|time| (time, TimeSource::Payload)));
        let facts = found.facts;
        Ok(Decoded { source, id, time, hashed_attributes, format, decoder_version: DECODER_VERSION, facts })
    }
}

/// A bare document's source and id (SPEC §2.4).
fn document_name(message: &Message, sha256: &[u8; 32]) -> (String, String) {
    let mut id = format!("sha256:{}", hex::encode(sha256));
    if let Some(subject) = headers::subject_text(message) {
        let subject = subject.parse::<Digest>().map_or(subject, |digest| digest.to_string());
        id.push('@');
        id.push_str(read::clip_to(&subject, 512));
    }
    ("document".to_owned(), id)
}

fn understand(
    message: &Message,
    body: &Bytes,
    sha256: &[u8; 32],
    limits: &Limits,
    known: &mut Known,
) -> Result<Found, Reject> {
    let headers = Headers::read(message, limits)?;
    if body.len() as u64 > limits.event_bytes_max {
        return Err(too_large(limits.event_bytes_max));
    }
    whole(message, &headers, body, *sha256, limits, known)
}

/// An error of unpacking in memory is always the message's.
fn as_reject(error: io::Error) -> Reject {
    guard::reject_of(error).unwrap_or_else(|error| Reject::new(Code::MalformedJson, error.to_string()))
}

fn too_large(bytes_max: u64) -> Reject {
    Reject::new(Code::TooLarge, format!("more than {bytes_max} bytes"))
}

fn understand_stream(
    message: &Message,
    input: &mut dyn ReadSeek,
    sha256: &[u8; 32],
    limits: &Limits,
    known: &mut Known,
) -> io::Result<Found> {
    let headers = Headers::read(message, limits).map_err(guard::refuse)?;
    if !headers.is_event() && is_cyclonedx(message, &headers, Guarded::new(input, limits)?)? {
        known.format = "cyclonedx";
        let subject = headers::subject(message).map_err(guard::refuse)?;
        let given = Given { subject, sha256: *sha256, verification: Verification::None, limits };
        return cyclonedx::decode_stream(Guarded::new(input, limits)?, &given);
    }
    let mut bytes = Vec::new();
    input.rewind()?;
    input.take(limits.event_bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limits.event_bytes_max {
        return Err(guard::refuse(too_large(limits.event_bytes_max)));
    }
    whole(message, &headers, &bytes.into(), *sha256, limits, known).map_err(guard::refuse)
}

/// Whether a streamed document is CycloneDX: by its first bytes, else by all of its members' names.
fn is_cyclonedx(message: &Message, headers: &Headers<'_>, mut guarded: Guarded<'_>) -> io::Result<bool> {
    if let Some(forced) = headers.forced_format(message) {
        return Ok(forced == "cyclonedx");
    }
    let mut head = Vec::new();
    guarded.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
    if let Some(found) = detect::is_cyclonedx_head(&head) {
        return Ok(found);
    }
    detect::is_cyclonedx(io::BufReader::with_capacity(64 << 10, head.chain(guarded)))
}

/// Understands a message that is whole in memory. `sha256` is that of `body`.
fn whole(
    message: &Message,
    headers: &Headers<'_>,
    body: &Bytes,
    sha256: [u8; 32],
    limits: &Limits,
    known: &mut Known,
) -> Result<Found, Reject> {
    let subject = headers::subject(message)?;
    let mut given = Given { subject, sha256, verification: Verification::None, limits };
    if let Some(name) = headers.forced_format(message) {
        let format = Format::named(name)?;
        return document(format, guard::text(body, limits)?, &mut given, known);
    }
    let copied = headers.binary && headers.content_type.is_none() && cloudevents::is_structured(body, limits);
    if headers.structured || copied {
        known.format = "cloudevents";
        return cloudevents::structured(guard::text(body, limits)?, &mut given, known);
    }
    if headers.binary {
        known.format = "cloudevents";
        return cloudevents::binary(message, body, &mut given, known);
    }
    if body.is_empty() {
        let what = if matches!(message.body, Body::Null) { "null" } else { "empty" };
        return Err(Reject::new(Code::MalformedEnvelope, format!("the value is {what} and no header says what it is")));
    }
    bare(cloudevents::unframed_json(body)?, &mut given, known)
}

/// A document, an event of CDEvents or a structured CloudEvent that nothing but its content tells.
fn bare(bytes: &[u8], given: &mut Given<'_>, known: &mut Known) -> Result<Found, Reject> {
    let text = guard::text(bytes, given.limits)?;
    if detect::begins_with_context(text) {
        // Most events on Kafka are these: one typed pass, and the general way only when it is none after all.
        if let Some(found) = cdevents::bare(text, known)? {
            return Ok(found);
        }
    }
    let sniffed = detect::sniff(text)?;
    if sniffed.several {
        known.format = "jsonl";
        return dsse::decode_lines(text, given);
    }
    document(sniffed.format?, text, given, known)
}

/// Decodes a document of a known format.
fn document(format: Format, text: &str, given: &mut Given<'_>, known: &mut Known) -> Result<Found, Reject> {
    known.format = format.name();
    match format {
        Format::CloudEvent => cloudevents::structured(text, given, known),
        Format::CdEvent => cdevents::bare(text, known)?.ok_or_else(cdevents::not_an_event),
        Format::CycloneDx => cyclonedx::decode(text, given),
        Format::OpenVex => openvex::decode(text, given),
        Format::Dsse | Format::Bundle => dsse::decode(text, given),
        Format::Statement => intoto::decode(text, &intoto::Envelope::default(), given),
        Format::OciIndex | Format::OciManifest | Format::OciConfig => oci::decode(format, text, given),
        Format::Trivy => trivy::decode(text, given),
    }
}
