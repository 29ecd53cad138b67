//! What comes in and what is answered: values that sources, the processor and the HTTP intake hand to each other.

use std::path::PathBuf;

use bytes::Bytes;

use crate::ids::{EventId, TenantId};
use crate::wire::Origin;

/// A message as a source received it, before anything was understood.
#[derive(Clone, Debug)]
pub struct Message {
    /// From the credential or the source's configuration.
    pub tenant: TenantId,
    /// Where it came from; becomes part of the leaf.
    pub origin: Origin,
    /// Name of the source for counting: Kafka topic, `http`, `file`.
    pub source: String,
    /// Kafka or HTTP headers, names in lower case, in order; a Kafka header's value may be null.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// The bytes.
    pub body: Body,
    /// The subject artifact given beside the document (`?subject=`, `Pedigraph-Subject`, `pedigraph-subject`).
    pub subject: Option<String>,
    /// A format that is forced instead of detected.
    pub format: Option<String>,
    /// The broker's timestamp, nanoseconds since 1970 UTC.
    pub broker_time: Option<i64>,
    /// Index of the reject that this message drives again.
    pub replay_of: Option<u64>,
}

/// The bytes of a message.
#[derive(Clone, Debug)]
pub enum Body {
    /// A Kafka null value.
    Null,
    /// In memory.
    Bytes(Bytes),
    /// A large document, spooled to a file that the processor removes when the message is done.
    File {
        /// Where it is.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
}

/// How a message ended (SPEC §2.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// A new entry.
    Accepted,
    /// Known: the receipt is the first one's.
    Duplicate,
    /// A new entry with a known id and other bytes.
    Conflict,
    /// A new entry that says why.
    Rejected,
}

impl Status {
    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Accepted => "accepted",
            Status::Duplicate => "duplicate",
            Status::Conflict => "conflict",
            Status::Rejected => "rejected",
        }
    }
}

/// The durable answer to one message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// How it ended.
    pub status: Status,
    /// Index in the tenant's log: of the new entry, or of the first one for a duplicate.
    pub index: u64,
    /// Leaf hash of that entry.
    pub leaf_hash: [u8; 32],
    /// Event id.
    pub event_id: EventId,
    /// Index of the earlier entry that this one conflicts with.
    pub conflicts_with: Option<u64>,
    /// Why it was rejected.
    pub reject: Option<Reject>,
    /// What of it was overwritten before it was kept.
    pub redaction: Option<Redaction>,
}

/// That something is not told as it was received: known shapes of secrets are overwritten (SPEC §2.4,
/// docs/redaction.md).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Redaction {
    /// Version of the rules.
    pub rules: u32,
    /// Number of secrets.
    pub count: u32,
    /// SHA-256 of the received bytes, after content decoding; that of the kept ones where none of them was overwritten.
    pub received_digest: [u8; 32],
}

/// Why a message was rejected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reject {
    /// Stable code.
    pub code: Code,
    /// A sentence for a person, at most [`REASON_BYTES_MAX`] bytes.
    pub reason: String,
}

/// Longest reason of a reject, bytes (DESIGN §3.3).
pub const REASON_BYTES_MAX: usize = 1_024;

impl Reject {
    /// A reject whose reason is cut to [`REASON_BYTES_MAX`] at a character boundary.
    pub fn new(code: Code, reason: impl Into<String>) -> Reject {
        let mut reason = reason.into();
        let end = (0..=REASON_BYTES_MAX.min(reason.len())).rev().find(|&end| reason.is_char_boundary(end));
        reason.truncate(end.unwrap_or(0));
        Reject { code, reason }
    }
}

/// What one submission came to: a single message, or the elements of a batch in the order sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Submitted {
    /// One message.
    One(Receipt),
    /// A batch or ndjson.
    Batch(Vec<Receipt>),
}

/// Why nothing was recorded; the sender should try again or change the request.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// The queue is full.
    #[error("the intake queue is full")]
    Busy,
    /// The disk's free space is down to its reserve.
    #[error("there is no room on the disk")]
    NoRoom,
    /// The process is stopping.
    #[error("the intake is stopping")]
    Stopping,
    /// The request as a whole breaks a limit before any element was read.
    #[error("{0}")]
    TooLarge(String),
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $number:literal;)*) => {
        /// Stable codes of rejects (SPEC §2.2).
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Code { $($(#[$doc])* $variant,)* }
        impl Code {
            /// Every code.
            pub const ALL: &[Code] = &[$(Code::$variant,)*];
            /// The code as it stands in answers.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }
            /// The number by which it is stored: never another one, and never another code's.
            pub fn number(self) -> u8 {
                match self { $(Code::$variant => $number,)* }
            }
            /// The code of a number.
            pub fn of_number(number: u8) -> Option<Code> {
                match number { $($number => Some(Code::$variant),)* _ => None }
            }
        }
    };
}

codes! {
    /// Not JSON, or not UTF-8.
    MalformedJson = "MALFORMED_JSON", 1;
    /// Not a CloudEvent although it claims to be one, or an empty message.
    MalformedEnvelope = "MALFORMED_ENVELOPE", 2;
    /// None of the supported formats.
    UnsupportedFormat = "UNSUPPORTED_FORMAT", 3;
    /// A supported format in a version that cannot be read.
    UnsupportedVersion = "UNSUPPORTED_VERSION", 4;
    /// Evidence that says nothing without a subject, and none was given.
    SubjectMissing = "SUBJECT_MISSING", 5;
    /// The subject given beside the document is not a digest, none of a statement's subjects is, or what an event names
    /// its artifact by is not.
    DigestInvalid = "DIGEST_INVALID", 6;
    /// More bytes than the limit.
    TooLarge = "TOO_LARGE", 7;
    /// Nested deeper than the limit.
    TooDeep = "TOO_DEEP", 8;
    /// More components, statements, attributes or elements than the limit.
    TooManyItems = "TOO_MANY_ITEMS", 9;
    /// Decompresses to more bytes, or at a greater ratio, than the limit.
    DecompressionLimit = "DECOMPRESSION_LIMIT", 10;
    /// What the document states cannot be understood.
    SchemaViolation = "SCHEMA_VIOLATION", 11;
    /// A contract demands more than the event has.
    ContractViolation = "CONTRACT_VIOLATION", 12;
    /// The signature does not verify and policy demands that it does.
    SignatureInvalid = "SIGNATURE_INVALID", 13;
    /// The claim check's URL is not on the allow-list.
    DatarefForbidden = "DATAREF_FORBIDDEN", 14;
    /// The fetched body does not match the claim check's digest.
    DatarefMismatch = "DATAREF_MISMATCH", 15;
    /// What only the ledger itself may say: a control event, or an event of the source `pedigraph`.
    ControlEventForbidden = "CONTROL_EVENT_FORBIDDEN", 16;
    /// Decoding it ended the process twice, so it was not tried again: replay it once the decoder is mended.
    DecoderDied = "DECODER_DIED", 17;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_at_a_character() {
        let reject = Reject::new(Code::TooLarge, "é".repeat(REASON_BYTES_MAX));
        assert_eq!(reject.reason.len(), REASON_BYTES_MAX);
        let reject = Reject::new(Code::TooLarge, format!("x{}", "é".repeat(REASON_BYTES_MAX)));
        assert_eq!(reject.reason.len(), REASON_BYTES_MAX - 1);
    }

    #[test]
    fn the_number_of_a_code_is_for_ever() {
        let numbers = Code::ALL.iter().map(|code| format!("{} {}", code.number(), code.as_str())).collect::<Vec<_>>();
        let want = [
            "1 MALFORMED_JSON",
            "2 MALFORMED_ENVELOPE",
            "3 UNSUPPORTED_FORMAT",
            "4 UNSUPPORTED_VERSION",
            "5 SUBJECT_MISSING",
            "6 DIGEST_INVALID",
            "7 TOO_LARGE",
            "8 TOO_DEEP",
            "9 TOO_MANY_ITEMS",
            "10 DECOMPRESSION_LIMIT",
            "11 SCHEMA_VIOLATION",
            "12 CONTRACT_VIOLATION",
            "13 SIGNATURE_INVALID",
            "14 DATAREF_FORBIDDEN",
            "15 DATAREF_MISMATCH",
            "16 CONTROL_EVENT_FORBIDDEN",
            "17 DECODER_DIED",
        ];
        assert_eq!(numbers, want, "add a code with a number of its own; these stand in indexes of known ids");
        let again = |code: &Code| Code::of_number(code.number()) == Some(*code);
        assert!(Code::ALL.iter().all(again) && Code::of_number(0).is_none());
    }
}
