//! DSSE envelopes and sigstore bundles around in-toto statements; several of them as lines of one document.
//!
//! Signatures are not verified here: no key is known to a decoder. What is recorded is whether there is one.

use std::borrow::Cow;

use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, Engine as _};
use pedigraph_proto::event::{ArtifactSigned, Verification};
use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{Digest, Nanos, canonical};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::detect::{self, Shape};
use super::read::{Lax, LaxList, List, Obj, Text, Whole, clip_to, json, json_reject};
use super::table::{Decode, Decoder};
use super::{FactList, Found, Given, Understood, facts, guard, intoto};

pub(super) static DECODERS: [Decoder; 3] = [
    Decoder {
        tells: &["mediaType", "_type"],
        matches: is_lines,
        ..Decoder::new("jsonl", 4, Decode::Lines(decode_lines))
    },
    Decoder {
        media_types: &["application/vnd.dsse.envelope.v1+json", "application/vnd.in-toto.bundle"],
        matches: is_envelope,
        ..Decoder::new("dsse", 4, Decode::Text(decode))
    },
    Decoder { tells: &["mediaType"], matches: is_bundle, ..Decoder::new("sigstore", 4, Decode::Text(decode)) },
];

fn is_envelope(shape: &Shape<'_>) -> bool {
    shape.all(&["payloadType", "payload"]) || shape.all(&["payload", "signatures"])
}

fn is_bundle(shape: &Shape<'_>) -> bool {
    shape.has("dsseEnvelope") || shape.value("mediaType").starts_with("application/vnd.dev.sigstore.bundle")
}

fn is_lines(shape: &Shape<'_>) -> bool {
    shape.several && (is_envelope(shape) || is_bundle(shape) || intoto::is_statement(shape))
}

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Document<'a> {
    #[serde(borrow)]
    payload_type: Text<'a>,
    #[serde(borrow)]
    payload: Text<'a>,
    #[serde(borrow)]
    signatures: List<Obj<Signature<'a>>>,
    #[serde(borrow)]
    dsse_envelope: Option<Obj<Envelope<'a>>>,
    #[serde(borrow)]
    message_signature: Option<Obj<MessageSignature<'a>>>,
    verification_material: Lax<Material>,
}

/// What a bundle has to verify its signature by; nothing of it can make the bundle one that is not read.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Material {
    tlog_entries: LaxList<Lax<LogEntry>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct LogEntry {
    /// When a transparency log took the signature in, seconds since 1970.
    integrated_time: Whole<false>,
}

impl Material {
    /// The first time at which a log had the signature.
    fn logged(&self) -> Option<Nanos> {
        const SECOND: u64 = 1_000_000_000;
        let times = self.tlog_entries.0.iter().filter_map(|Lax(entry)| entry.integrated_time.0?.checked_mul(SECOND));
        times.filter_map(|nanoseconds| Nanos::of(i64::try_from(nanoseconds).ok()?)).min()
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    payload_type: Text<'a>,
    #[serde(borrow)]
    payload: Text<'a>,
    #[serde(borrow)]
    signatures: List<Obj<Signature<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Signature<'a> {
    #[serde(borrow)]
    keyid: Text<'a>,
    #[serde(borrow)]
    sig: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct MessageSignature<'a> {
    #[serde(borrow)]
    message_digest: Obj<MessageDigest<'a>>,
    #[serde(borrow)]
    signature: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct MessageDigest<'a> {
    #[serde(borrow)]
    algorithm: Text<'a>,
    #[serde(borrow)]
    digest: Text<'a>,
}

/// Reads an envelope or a bundle. Where what was signed has no time of its own, it was when a log took it in.
fn decode(text: &str, given: &Given<'_>) -> Result<Found, Reject> {
    let document: Document<'_> = json(text, Code::SchemaViolation)?;
    let logged = document.verification_material.0.logged();
    let found = document.found(given)?;
    Ok(Found { time: found.time.or(logged), ..found })
}

impl Document<'_> {
    fn found(&self, given: &Given<'_>) -> Result<Found, Reject> {
        if let Some(Obj(envelope)) = &self.dsse_envelope {
            return statement(&envelope.payload_type, &envelope.payload, &envelope.signatures.0, given);
        }
        if let Some(Obj(signed)) = &self.message_signature {
            return blob_signed(signed, given);
        }
        if self.payload.0.is_none() {
            return Err(Reject::new(Code::SchemaViolation, "payload is missing or no string"));
        }
        statement(&self.payload_type, &self.payload, &self.signatures.0, given)
    }
}

fn statement(
    payload_type: &Text<'_>,
    payload: &Text<'_>,
    signatures: &[Obj<Signature<'_>>],
    given: &Given<'_>,
) -> Result<Found, Reject> {
    if !payload_type.as_str().contains("in-toto") {
        let reason =
            format!("payloadType {:?} is not application/vnd.in-toto+json", clip_to(payload_type.as_str(), 128));
        return Err(Reject::new(Code::SchemaViolation, reason));
    }
    let bytes = unbase64(payload.as_str())?;
    let inner = guard::text(&bytes, given.limits)?;
    let signed = signatures.iter().any(|Obj(signature)| signature.sig.get().is_some());
    let key_ids = signatures.iter().filter_map(|Obj(signature)| signature.keyid.get());
    let envelope = intoto::Envelope {
        verification: if signed { Verification::Unverified } else { Verification::None },
        key_ids: key_ids.take(64).map(str::to_owned).collect(),
    };
    // What was signed is kept as it came, and named by its own digest; it is told without its secrets.
    let given = Given { sha256: canonical::sha256(inner.as_bytes()), ..given.clone() };
    intoto::decode(&given.without_secrets(inner), &envelope, &given)
}

fn unbase64(text: &str) -> Result<Vec<u8>, Reject> {
    let decoded = decoded(text);
    decoded.map_err(|error| Reject::new(Code::SchemaViolation, format!("payload is not base64: {error}")))
}

/// Base64 as its usual readers take it: in either alphabet, and in lines, as tools print it.
fn decoded(text: &str) -> Result<Vec<u8>, DecodeError> {
    const LINE_ENDS: [char; 2] = ['\r', '\n'];
    let text = if text.contains(LINE_ENDS) { text.replace(LINE_ENDS, "").into() } else { Cow::Borrowed(text) };
    STANDARD.decode(text.as_ref()).or_else(|_| URL_SAFE.decode(text.as_ref()))
}

/// A bundle that signs an artifact itself.
fn blob_signed(signed: &MessageSignature<'_>, given: &Given<'_>) -> Result<Found, Reject> {
    let Obj(named) = &signed.message_digest;
    let algorithm = named.algorithm.as_str().to_ascii_lowercase().replace("sha2_", "sha");
    let hash = decoded(named.digest.as_str()).unwrap_or_default();
    let signed_digest = Digest::from_parts(&algorithm, &hex::encode(hash)).ok();
    let digest = facts::outside(given).cloned().or(signed_digest.filter(|digest| !digest.is_of_empty_content()));
    let digest = digest.ok_or_else(|| Reject::new(Code::DigestInvalid, "messageDigest is no digest of any content"))?;
    let signature = signed.signature.owned();
    let fact = ArtifactSigned { artifact_digest: digest.to_string(), signature, ..ArtifactSigned::default() };
    Ok(Found { facts: vec![Fact::now(fact)].into(), time: None })
}

/// Reads several attestations that follow each other, commonly one a line, as one message: the facts of each. A bad one
/// refuses all of them, since the message is recorded whole.
fn decode_lines(text: &str, given: &Given<'_>) -> Result<Found, Reject> {
    let mut all = Found { facts: FactList::default(), time: None };
    let documents = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    for (number, document) in (1..).zip(documents) {
        let document = document.map_err(|error| json_reject(&error, Code::MalformedJson))?.get();
        let given = Given { sha256: canonical::sha256(document.as_bytes()), ..given.clone() };
        let found = decode_line(document, &given)
            .map_err(|reject| Reject::new(reject.code, format!("document {number}: {}", reject.reason)))?;
        all.facts.append(found.facts);
        all.time = all.time.or(found.time);
        if all.facts.count() > given.limits.statements_max {
            let reason = format!("more than {} facts", given.limits.statements_max);
            return Err(Reject::new(Code::TooManyItems, reason));
        }
    }
    Ok(all)
}

fn decode_line(line: &str, given: &Given<'_>) -> Result<Found, Reject> {
    let decoder = detect::decoder_of(line)?;
    let attests = |own: &Decoder| std::ptr::eq(own, decoder);
    if !DECODERS.iter().chain(&intoto::DECODERS).any(attests) {
        return Err(Reject::new(Code::UnsupportedFormat, format!("{} is no attestation", decoder.name)));
    }
    decoder.read_text(line, given, &mut Understood::default())
}
