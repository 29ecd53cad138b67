//! CloudEvents 1.0: structured JSON, binary on Kafka (`ce_`) and HTTP (`ce-`), JSON batches and lines.
//!
//! An event whose type has no decoder, and whose data is no known document, is kept as opaque.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use pedigraph_proto::event::OpaqueReceived;
use pedigraph_proto::message::{Body, Code, Message, Reject};
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{ArtifactRef, Digest, Nanos};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::headers::{Headers, cloudevents_suffix, essence, is_protobuf};
use super::read::{clip, json, json_reject};
use super::table::{self, Decode, Decoder};
use super::{Found, Given, Understood, compression, detect, guard, own_events};
use crate::limits::Limits;

pub(super) static DECODERS: [Decoder; 1] = [Decoder {
    matches: |shape| shape.all(&["specversion", "type"]) || shape.all(&["specversion", "source", "id"]),
    ..Decoder::new("cloudevents", 1, Decode::Event(structured))
}];

/// The attributes of an event that matter here.
#[derive(Default)]
struct Attributes<'a> {
    specversion: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    subject: Option<Cow<'a, str>>,
    time: Option<Cow<'a, str>>,
    content_type: Option<Cow<'a, str>>,
    dataref: bool,
    /// A null value on Kafka without a content type: what was said under this key is taken back.
    tombstone: bool,
    count: usize,
    longest: usize,
    longest_name: usize,
}

/// An event as a JSON object.
#[derive(Default)]
struct Structured<'a> {
    attributes: Attributes<'a>,
    data: Option<&'a RawValue>,
    base64: Option<Cow<'a, str>>,
}

/// Reads an event in the structured mode.
fn structured(text: &str, given: &Given<'_>, understood: &mut Understood) -> Result<Found, Reject> {
    let event: Structured<'_> = json(text, Code::MalformedEnvelope)?;
    event.attributes.name(understood);
    event.attributes.check(given.limits)?;
    let data = match (event.data, &event.base64) {
        (Some(_), Some(_)) => return Err(malformed("data and data_base64 exclude each other")),
        (None, Some(text)) => Some(Cow::Owned(without_secrets(unbase64(text)?, given))),
        (Some(raw), None) => Some(plain_data(raw.get(), given.limits)?),
        (None, None) => None,
    };
    event.attributes.understand(data.as_deref(), given.clone(), understood)
}

/// A JSON value is its own text, but a JSON string may hold a document that is not JSON or was made a string.
fn plain_data<'a>(raw: &'a str, limits: &Limits) -> Result<Cow<'a, [u8]>, Reject> {
    if !raw.starts_with('"') {
        return Ok(Cow::Borrowed(raw.as_bytes()));
    }
    let text: String = json(raw, Code::MalformedEnvelope)?;
    guard::check_depth(text.as_bytes(), limits.json_depth_max)?;
    Ok(Cow::Owned(text.into_bytes()))
}

fn unbase64(text: &str) -> Result<Vec<u8>, Reject> {
    let decoded = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text));
    decoded.map_err(|error| malformed(&format!("data_base64: {error}")))
}

/// Redaction has overwritten secrets in them, unless they were written in an unusual way.
fn without_secrets(data: Vec<u8>, given: &Given<'_>) -> Vec<u8> {
    match std::str::from_utf8(&data).map(|text| given.without_secrets(text)) {
        Ok(Cow::Owned(text)) => text.into_bytes(),
        Ok(Cow::Borrowed(_)) | Err(_) => data,
    }
}

fn malformed(reason: &str) -> Reject {
    Reject::new(Code::MalformedEnvelope, reason)
}

/// Whether a body is a whole event although its attributes are headers too: on Kafka a structured event may lack its
/// content type and carry copies of its attributes.
pub(super) fn is_structured(body: &[u8], limits: &Limits) -> bool {
    let text = guard::text(body, limits).ok().filter(|text| !detect::begins_with_context(text));
    text.is_some_and(|text| detect::decoder_of(text).is_ok_and(is_event))
}

fn is_event(decoder: &Decoder) -> bool {
    std::ptr::eq(decoder, &DECODERS[0])
}

/// Reads an event in the binary mode: its attributes are headers, its data is the body.
pub(super) fn binary(
    message: &Message,
    body: &Bytes,
    given: Given<'_>,
    understood: &mut Understood,
) -> Result<Found, Reject> {
    understood.decoder = Some(&DECODERS[0]);
    let mut attributes = Attributes::of_headers(message)?;
    attributes.tombstone = matches!(message.body, Body::Null) && attributes.content_type.is_none();
    attributes.name(understood);
    understood.hashed_attributes = attributes.hashed(&given);
    attributes.check(given.limits)?;
    let absent = matches!(message.body, Body::Null) || body.is_empty();
    let data = unframed(body, is_protobuf(attributes.media_type()))?;
    attributes.understand((!absent).then_some(data), given, understood)
}

impl<'a> Attributes<'a> {
    /// Takes attributes from headers; on HTTP their values may be quoted and are percent-encoded (HTTP binding
    /// §3.1.3.2), on Kafka they are as they are.
    fn of_headers(message: &'a Message) -> Result<Attributes<'a>, Reject> {
        let mut attributes = Attributes::default();
        for (name, value) in &message.headers {
            let (name, encoded) = match (name.strip_prefix("ce_"), name.strip_prefix("ce-")) {
                (Some(name), _) => (name, false),
                (None, Some(name)) => (name, true),
                (None, None) if name == "content-type" => ("datacontenttype", false),
                (None, None) => continue,
            };
            let Some(value) = value else { continue };
            let text = std::str::from_utf8(value).map_err(|_| malformed(&format!("attribute {name} is not UTF-8")))?;
            let text = if encoded { percent_decoded(unquoted(text))? } else { Cow::Borrowed(text) };
            attributes.set(name, Some(text));
        }
        Ok(attributes)
    }

    /// Keeps an attribute; false when it is data's.
    fn set(&mut self, name: &str, value: Option<Cow<'a, str>>) {
        self.count += 1;
        self.longest = self.longest.max(value.as_deref().map_or(0, str::len));
        self.longest_name = self.longest_name.max(name.len());
        let slot = match name {
            "specversion" => &mut self.specversion,
            "id" => &mut self.id,
            "source" => &mut self.source,
            "type" => &mut self.kind,
            "subject" => &mut self.subject,
            "time" => &mut self.time,
            "datacontenttype" => &mut self.content_type,
            "dataref" => return self.dataref = value.is_some(),
            _ => return,
        };
        // Of a repeated header the first one counts.
        if slot.is_none() {
            *slot = value;
        }
    }

    /// Counts and measures an extension's value as JSON; the length of a string is exact where it may matter.
    fn note(&mut self, name: &str, raw: &str) {
        self.count += 1;
        self.longest_name = self.longest_name.max(name.len());
        // Escapes only make a string longer: what is short with them needs no reading.
        let length = match raw.strip_prefix('"') {
            Some(_) if raw.len() > self.longest => {
                json::<Cow<'_, str>>(raw, Code::MalformedEnvelope).map_or(raw.len(), |text| text.len())
            }
            Some(_) => 0,
            None => raw.len(),
        };
        self.longest = self.longest.max(length);
    }

    /// Notes what names the event, before anything can fail.
    fn name(&self, understood: &mut Understood) {
        if let (Some(source), Some(id)) = (&self.source, &self.id) {
            understood.name = Some((clip(source).to_owned(), clip(id).to_owned()));
        }
        understood.time = self.time.as_deref().and_then(Nanos::parse);
    }

    /// What the event id takes beside the bytes (SPEC §2.3), sorted by name.
    fn hashed(&self, given: &Given<'_>) -> Vec<(String, String)> {
        let outside = given.subject.as_ref().map(|digest| Cow::Borrowed(digest.as_str()));
        let pairs = [
            ("id", &self.id),
            ("pedigraph-subject", &outside),
            ("source", &self.source),
            ("subject", &self.subject),
            ("time", &self.time),
            ("type", &self.kind),
        ];
        let present = pairs.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        present.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn check(&self, limits: &Limits) -> Result<(), Reject> {
        if self.count > limits.attributes_max {
            let reason = format!("more than {} attributes", limits.attributes_max);
            return Err(Reject::new(Code::TooManyItems, reason));
        }
        if self.longest > limits.attribute_bytes_max {
            let reason = format!("an attribute is longer than {} bytes", limits.attribute_bytes_max);
            return Err(Reject::new(Code::TooLarge, reason));
        }
        if self.longest_name > limits.attribute_name_bytes_max {
            let reason = format!("the name of an attribute is longer than {} bytes", limits.attribute_name_bytes_max);
            return Err(Reject::new(Code::TooLarge, reason));
        }
        let needed =
            [("specversion", &self.specversion), ("id", &self.id), ("source", &self.source), ("type", &self.kind)];
        for (name, value) in needed {
            if value.as_deref().is_none_or(str::is_empty) {
                return Err(malformed(&format!("attribute {name} is missing or empty")));
            }
        }
        match self.specversion.as_deref() {
            Some(version) if version.starts_with("1.") || version == "0.3" => {}
            _ => {
                return Err(Reject::new(Code::UnsupportedVersion, "specversion of CloudEvents is neither 1.x nor 0.3"));
            }
        }
        own_events::check_kind(self.kind())
    }

    fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or_default()
    }

    fn media_type(&self) -> &str {
        essence(self.content_type.as_deref().unwrap_or_default())
    }

    /// Finds the decoder of the data by the event's type, else by the data's own form.
    fn understand(
        &self,
        data: Option<&[u8]>,
        mut given: Given<'_>,
        understood: &mut Understood,
    ) -> Result<Found, Reject> {
        let Some(data) = data else { return self.without_data() };
        self.take_subject(&mut given)?;
        let media_type = self.media_type().to_ascii_lowercase();
        let given = Given { event_type: self.kind(), media_type: &media_type, ..given };
        if let Some(decoder) = table::of_event_type(self.kind()) {
            return decoder.read(data, &given, understood);
        }
        let Some((decoder, text)) = self.data_decoder(data, given.limits)? else { return Ok(self.opaque()) };
        let given = Given { sha256: pedigraph_proto::canonical::sha256(text.as_bytes()), ..given };
        let (name, time) = (understood.name.take(), understood.time.take());
        let found = decoder.read_text(text, &given, understood);
        // The envelope names the event, whatever the document calls itself.
        (understood.name, understood.time) = (name, time.or(understood.time));
        found
    }

    /// A tombstone, or an event that says all in its attributes.
    fn without_data(&self) -> Result<Found, Reject> {
        if self.dataref {
            let reason = "dataref is not on an allow-list of this server; send the data itself";
            return Err(Reject::new(Code::DatarefForbidden, reason));
        }
        if own_events::kebab_name(self.kind()).is_some() && !self.tombstone {
            return Err(Reject::new(Code::SchemaViolation, "the event has no data"));
        }
        Ok(self.opaque())
    }

    fn opaque(&self) -> Found {
        let fact = OpaqueReceived {
            event_type: self.kind().to_owned(),
            media_type: self.content_type.as_deref().unwrap_or_default().to_owned(),
        };
        Found { facts: vec![Fact::now(fact)].into(), time: None }
    }

    /// The subject attribute is the subject artifact when it is a digest or names one; other subjects are free text.
    fn take_subject(&self, given: &mut Given<'_>) -> Result<(), Reject> {
        let Some(subject) = self.subject.as_deref() else { return Ok(()) };
        let named = || ArtifactRef::parse(subject).and_then(|named| named.digest);
        if let Some(digest) = subject.parse::<Digest>().ok().or_else(named) {
            given.subject = Some(digest);
            return Ok(());
        }
        match subject.trim().to_ascii_lowercase().split_once(':') {
            Some(("sha256" | "sha512" | "sha384" | "sha-256" | "sha-512", _)) => {
                let error = subject.parse::<Digest>().err().map(|error| error.to_string());
                Err(Reject::new(Code::DigestInvalid, error.unwrap_or_default()))
            }
            _ => Ok(()),
        }
    }

    /// The decoder of the known document that the data is; `None` for data of any other kind.
    fn data_decoder<'d>(&self, data: &'d [u8], limits: &Limits) -> Result<Option<(&'static Decoder, &'d str)>, Reject> {
        let named = table::of_media_type(self.media_type());
        let text = match (guard::text(data, limits), named) {
            (Ok(text), _) => text,
            (Err(reject), Some(_)) => return Err(reject),
            (Err(reject), None) if reject.code == Code::TooDeep => return Err(reject),
            (Err(_), None) => return Ok(None),
        };
        let sniffed = detect::decoder_of(text).ok().filter(|decoder| !is_event(decoder));
        Ok(sniffed.or(named).map(|decoder| (decoder, text)))
    }
}

/// A quoted string (RFC 9110 §5.6.4) without its quotes and escapes; anything else as it is.
fn unquoted(text: &str) -> Cow<'_, str> {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return text.into() };
    let (mut plain, mut escaped) = (String::with_capacity(inner.len()), false);
    for character in inner.chars() {
        match (escaped, character) {
            (false, '\\') => escaped = true,
            (false, '"') => return text.into(),
            (true | false, _) => {
                plain.push(character);
                escaped = false;
            }
        }
    }
    if escaped { text.into() } else { plain.into() }
}

fn percent_decoded(text: Cow<'_, str>) -> Result<Cow<'_, str>, Reject> {
    if !text.contains('%') {
        return Ok(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let pair = tail.get(..2).filter(|_| byte == b'%').and_then(|pair| hex::decode(pair).ok());
        rest = if pair.is_some() { &tail[2..] } else { tail };
        bytes.push(pair.map_or(byte, |pair| pair[0]));
    }
    let text = String::from_utf8(bytes).map_err(|_| malformed("an attribute's percent-encoding is not UTF-8"))?;
    Ok(Cow::Owned(text))
}

/// Strips the schema registry's framing (a zero byte and a 4-byte id, or a one byte and a 16-byte id); for protobuf
/// also the message index list that follows.
fn unframed(bytes: &[u8], protobuf: bool) -> Result<&[u8], Reject> {
    let payload = match bytes {
        [0, _, _, _, _, payload @ ..] => payload,
        [1, payload @ ..] if payload.len() > 16 && !protobuf => &payload[16..],
        _ => return Ok(bytes),
    };
    if !protobuf {
        return Ok(payload);
    }
    let mut rest = payload;
    // The list's length and its elements are zig-zag varints; a single 0 stands for the list [0].
    let length = varint(&mut rest).map(unzigzag);
    for _ in 0..length.unwrap_or(0).min(16) {
        varint(&mut rest);
    }
    length.map(|_| rest).ok_or_else(|| malformed("the schema registry's framing is cut off"))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    pedigraph_proto::protobuf::decode_varint(bytes).ok()
}

fn unzigzag(number: u64) -> u64 {
    number >> 1
}

/// The JSON in a body that has no headers, without the schema registry's framing.
pub(super) fn unframed_json(body: &[u8]) -> Result<&[u8], Reject> {
    if !matches!(body.first(), Some(0 | 1)) {
        return Ok(body);
    }
    let payload = unframed(body, false)?;
    if payload.len() < body.len() && payload.trim_ascii_start().starts_with(b"{") {
        return Ok(payload);
    }
    let reason = "framed data that is not JSON; a protobuf event needs the header ce_type";
    Err(Reject::new(Code::UnsupportedFormat, reason))
}

impl<'de: 'a, 'a> Deserialize<'de> for Structured<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StructuredVisitor;
        impl<'de> Visitor<'de> for StructuredVisitor {
            type Value = Structured<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a CloudEvent")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Structured<'de>, A::Error> {
                let mut event = Structured::default();
                while let Some(Borrowed(name)) = map.next_key::<Borrowed<'de>>()? {
                    match &*name {
                        // A null is an absent value, for data as for attributes.
                        "data" => event.data = Some(map.next_value::<&RawValue>()?).filter(|raw| raw.get() != "null"),
                        "data_base64" => event.base64 = optional(&mut map)?,
                        "specversion" | "id" | "source" | "type" | "subject" | "time" | "datacontenttype"
                        | "dataref" => {
                            let value = optional(&mut map)?;
                            event.attributes.set(&name, value);
                        }
                        _ => {
                            let raw = map.next_value::<&RawValue>()?.get();
                            event.attributes.note(&name, raw);
                        }
                    }
                }
                Ok(event)
            }
        }
        deserializer.deserialize_map(StructuredVisitor)
    }
}

fn optional<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Cow<'de, str>>, A::Error> {
    Ok(map.next_value::<Option<Borrowed<'de>>>()?.map(|Borrowed(text)| text))
}

/// A string that is borrowed unless it has escapes; anything else is an error.
#[derive(serde::Deserialize)]
struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);

/// Splits a batch or lines into messages of their own: see [`super::split`].
pub(super) fn split(message: &Message, limits: &Limits) -> Option<Result<Vec<Message>, Reject>> {
    Several::of(message).map(|several| {
        let body = plain_body(message, limits)?;
        let elements = match several {
            Several::Batch => batch_elements(&body, limits)?,
            Several::Lines => line_elements(&body, limits)?,
        };
        let empty = element_message(message, several == Several::Batch);
        Ok(elements.into_iter().map(|element| Message { body: Body::Bytes(element), ..empty.clone() }).collect())
    })
}

/// How several messages come in one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Several {
    /// A batch of CloudEvents.
    Batch,
    /// One in each line.
    Lines,
}

impl Several {
    /// By its content type; `None`: it is one message.
    pub(super) fn of(message: &Message) -> Option<Several> {
        let content_type = message.headers.iter().find(|(name, _)| name == "content-type")?.1.as_deref()?;
        let content_type = std::str::from_utf8(content_type).ok()?;
        if cloudevents_suffix(content_type).is_some_and(|suffix| suffix.eq_ignore_ascii_case("-batch+json")) {
            return Some(Several::Batch);
        }
        let media_type = essence(content_type).to_ascii_lowercase();
        let lines = matches!(media_type.as_str(), "application/x-ndjson" | "application/ndjson" | "application/jsonl");
        lines.then_some(Several::Lines)
    }
}

/// The body of a batch, decompressed.
fn plain_body(message: &Message, limits: &Limits) -> Result<Bytes, Reject> {
    Headers::read(message, limits)?;
    let body = match &message.body {
        Body::Null => return Err(malformed("a batch is empty")),
        Body::Bytes(body) if body.len() as u64 <= limits.event_bytes_max => body,
        Body::Bytes(_) | Body::File { .. } => return Err(super::too_large(limits.event_bytes_max)),
    };
    compression::whole(message, body, limits)
}

fn batch_elements(body: &Bytes, limits: &Limits) -> Result<Vec<Bytes>, Reject> {
    let text = std::str::from_utf8(body).map_err(|_| Reject::new(Code::MalformedJson, "not UTF-8"))?;
    let text = text.trim_start_matches('\u{feff}');
    let elements: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|error| json_reject(&error, Code::MalformedEnvelope))?;
    check_count(elements.len(), limits)?;
    Ok(elements.into_iter().map(|element| body.slice_ref(element.get().as_bytes())).collect())
}

fn line_elements(body: &Bytes, limits: &Limits) -> Result<Vec<Bytes>, Reject> {
    let bare = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let lines = bare.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let lines = lines.filter(|line| !line.trim_ascii().is_empty());
    let lines: Vec<&[u8]> = lines.take(limits.batch_elements_max + 1).collect();
    check_count(lines.len(), limits)?;
    Ok(lines.into_iter().map(|line| body.slice_ref(line)).collect())
}

fn check_count(count: usize, limits: &Limits) -> Result<(), Reject> {
    if count <= limits.batch_elements_max {
        return Ok(());
    }
    let reason = format!("more than {} elements; send several batches", limits.batch_elements_max);
    Err(Reject::new(Code::TooManyItems, reason))
}

/// An element as it would have come alone, without its body: of the headers of a batch it has those that are read and
/// do not describe the batch's body, since every element gets its own copy.
fn element_message(message: &Message, batch: bool) -> Message {
    const READ: [&str; 4] = ["traceparent", "tracestate", "pedigraph-subject", "pedigraph-format"];
    let first = |wanted: &str| message.headers.iter().find(|(name, _)| name == wanted).cloned();
    let mut headers: Vec<_> = READ.into_iter().filter_map(first).collect();
    if batch {
        headers.push(("content-type".into(), Some(Bytes::from_static(b"application/cloudevents+json"))));
    }
    Message {
        headers,
        body: Body::Null,
        tenant: message.tenant.clone(),
        origin: message.origin.clone(),
        source: message.source.clone(),
        subject: message.subject.clone(),
        format: message.format.clone(),
        broker_time: message.broker_time,
        replay_of: message.replay_of,
    }
}
