//! From received bytes to canonical facts: pure functions, one file per format.
//!
//! No I/O but reading the given bytes, no clock, no randomness. A rejection is data.

use bytes::Bytes;
use pedigraph_proto::Nanos;
use pedigraph_proto::message::{Message, Reject};
use pedigraph_proto::wire::{Fact, TimeSource};

use crate::limits::Limits;

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
    pub facts: Vec<Fact>,
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
pub fn split(_message: &Message, _limits: &Limits) -> Option<Result<Vec<Message>, Reject>> {
    unimplemented!()
}

/// Decodes one message. `body` is its received bytes (borrowed, or a mapped/streamed file is given as a reader by
/// [`decode_stream`]); `sha256` is their digest.
pub fn decode(_message: &Message, _body: &Bytes, _sha256: &[u8; 32], _limits: &Limits) -> Result<Decoded, Box<Rejected>> {
    unimplemented!()
}
