//! A document that is read once, from memory or from a file.

use std::io;

use pedigraph_proto::message::{Code, Reject};
use serde::de::DeserializeSeed;

use super::guard::{self, Guarded};
use super::read::json_reject;

/// Bytes of a file that are read at once.
pub(super) const READ_BYTES: usize = 64 << 10;

/// Where a decoder reads a document from. It was checked, or is while it is read: see [`guard`].
pub(super) enum Document<'a> {
    /// Whole in memory.
    Text(&'a str),
    /// In pieces.
    Pieces(Guarded<'a>),
}

/// Why a document was not read.
#[derive(Debug)]
pub(super) enum Failure {
    /// The message's fault.
    Reject(Reject),
    /// The disk's.
    Io(io::Error),
}

impl<'a> Document<'a> {
    /// Reads one JSON value, after which nothing may follow; a wrong type where the seed reads violates the format's
    /// schema. What is borrowed where the document is in memory, is owned where it is not.
    pub(super) fn json_seed<S: DeserializeSeed<'a>>(self, seed: S) -> Result<S::Value, Failure> {
        let read = match self {
            Document::Text(text) => {
                let mut reader = serde_json::Deserializer::from_str(text);
                seed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value))
            }
            Document::Pieces(guarded) => {
                let mut reader =
                    serde_json::Deserializer::from_reader(io::BufReader::with_capacity(READ_BYTES, guarded));
                seed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value))
            }
        };
        read.map_err(|error| {
            if error.is_io() { Failure::of(error.into()) } else { json_reject(&error, Code::SchemaViolation).into() }
        })
    }
}

impl Failure {
    /// What an error of a [`Guarded`] reader is.
    pub(super) fn of(error: io::Error) -> Failure {
        guard::reject_of(error).map_or_else(Failure::Io, Failure::Reject)
    }

    /// The reject; memory does not fail.
    pub(super) fn in_memory(self) -> Reject {
        match self {
            Failure::Reject(reject) => reject,
            Failure::Io(error) => Reject::new(Code::MalformedJson, error.to_string()),
        }
    }
}

impl From<Reject> for Failure {
    fn from(reject: Reject) -> Failure {
        Failure::Reject(reject)
    }
}
