//! The contract: what is stored and sent, the identifiers, and canonical bytes.
//!
//! This crate knows no I/O, no clock, no foreign format and no other crate of Pedigraph. Everything here is a value or
//! a pure function from values to values. Specification: SPEC §2.1 (own event types), §2.3 (identity and time).

pub mod advisory;
pub mod canonical;
pub mod control;
pub mod fact;
pub mod ids;
pub mod image;
pub mod json;
pub mod message;
#[cfg(test)]
mod mutate;
pub mod shown;
mod spelling;
pub mod time;
pub mod vers;
pub mod versions;
mod vex;

/// Canonical events, one message per event (SPEC §2.1), as prost types. Their serde form is Protobuf's JSON mapping
/// with camelCase names, and enums in lower_snake without prefix; digests and times are strings in both forms.
pub mod event {
    #![expect(missing_docs, clippy::doc_markdown, reason = "generated from proto/pedigraph/event/v1/*.proto")]
    include!(concat!(env!("OUT_DIR"), "/pedigraph.event.v1.rs"));
}

/// What the ledger stores: the leaf ([`Entry`](wire::Entry)) and facts ([`Fact`](wire::Fact)), as prost types.
pub mod wire {
    #![expect(missing_docs, clippy::doc_markdown, reason = "generated from proto/pedigraph/ledger/v1/*.proto")]

    include!(concat!(env!("OUT_DIR"), "/pedigraph.ledger.v1.rs"));
}

/// How the messages here are encoded. No other crate depends on prost itself, so that all agree on one version of it.
pub mod protobuf {
    pub use prost::encoding::{decode_varint, encode_varint};
    pub use prost::{DecodeError, Message};
}

pub use control::Control;
pub use fact::{Event, Family};
pub use ids::{
    ArtifactRef, Digest, EventId, PURL_BYTES_MAX, Purl, TenantId, VULNERABILITY_BYTES_MAX, is_absolute_uri,
    names_nothing, repository_key,
};
pub use time::Nanos;
