//! The append-only, tamper-evident ledger: one journal per directory, one RFC 6962 tree per tenant log.
//!
//! Opaque bytes in, opaque bytes out: this crate knows nothing about events, facts, tenants' rights, Kafka or HTTP.
//! Specifications: C2SP tlog-tiles v0.1.0, tlog-checkpoint v1.0.0, signed-note v1.0.0, tlog-proof v1,
//! tlog-cosignature v1 (Ed25519), tlog-witness v1.0.0, tlog-policy, RFC 6962 §2.
//!
//! What holds, and where:
//!
//! 1. One write and one `fdatasync` make a batch durable; nothing is visible before ([`Writer::append`], `journal.rs`).
//! 2. Only the journal, the blobs, the key and the checkpoints are primary. Tiles and indexes are derived from the
//!    journal (`derive.rs`), never trusted when read (`reader.rs`) and may be deleted while no writer runs. Entry bundles are cut
//!    out of the journal when somebody asks for one.
//! 3. Recovery (`recover.rs`) folds the newest segment with the code that a follower and `verify` use (`fold.rs`). It cuts an
//!    uncommitted tail and refuses everything else.
//! 4. A body's bytes go only after the commit that says so is durable, and then surely (`erase.rs`).
//! 5. A checkpoint is signed only for a durable size, once per size, and is on disk before anybody, a witness included, can
//!    read it (`publish.rs`).
//!
//! The files are described byte by byte in `docs/ledger-format.md`.

mod ahead;
mod backup;
mod blobs;
mod cosign;
mod derive;
mod disk;
mod erase;
mod fault;
mod fold;
mod frame;
mod hashes;
mod journal;
mod keys;
mod leaves;
mod lookup;
mod meta;
mod mirror;
#[cfg(test)]
mod mutate;
mod note;
mod policy;
mod proof;
mod publish;
mod reader;
mod recover;
mod segment;
mod shared;
mod signer;
mod spare;
mod storage;
mod tile;
mod tree;
mod verify;
mod verify_against;
mod verify_damage;
mod verify_open;
mod verify_pending;
mod verify_resume;
mod verify_state;
mod verify_tiles;
mod witness;
mod witnesses;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

pub use backup::{Copied, KeyCopy, RestoreOptions, backup, backup_with, restore};
pub use blobs::Blobs;
pub use cosign::Cosignature;
pub use fault::Fault;
pub use journal::{UNDER_WAY_MAX, Work, Writer, open, open_with};
pub use keys::{Rotation, follow_keys, following, key_successors, rotate_key};
pub use mirror::{mirror, read_mirror, verify_mirror};
pub use note::{public_key, verify_checkpoint, verify_note};
pub use policy::{POLICY_BYTES_MAX, POLICY_LINES_MAX, Policy, PolicyLog, Trust, Trusted, Witness};
pub use proof::{PROOF_BYTES_MAX, Proved, verify_proof};
pub use publish::Publisher;
pub use reader::{Reader, open_reader};
pub use signer::{CommandSigner, SecretKey, Signer, signature_holds};
pub use storage::{Access, LocalFiles, Storage, StoredFile};
pub use tile::{bundle_path, entry_of_bundle};
pub use tree::{consistency_holds, inclusion_holds, leaf_hash, node_hash};
pub use verify::{Verified, verify, verify_with};
pub use verify_against::verify_against;
pub use verify_tiles::{Fetch, TilesCheck, verify_tiles};
pub use witness::{Failure, Reply, WITNESS_ANSWER_BYTES_MAX};
pub use witnesses::{Mode, Status, Transport, WITNESSES_MAX, WitnessStatus, Witnesses};

/// Largest leaf, bytes (C2SP tlog-tiles: entries carry a 16-bit length).
pub const LEAF_BYTES_MAX: usize = 65_535;
/// Largest facts chunk or body that travels inside the journal, bytes; a larger one is a blob.
pub const INLINE_BYTES_MAX: usize = 65_536;

/// SHA-256 of a leaf or node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// The name of one logical log: a tenant, `[a-z0-9-]{1,63}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LogId(Arc<str>);
impl LogId {
    /// `None` unless `[a-z0-9-]{1,63}`.
    pub fn new(name: &str) -> Option<LogId> {
        let fits = (1..=63).contains(&name.len());
        let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        (fits && plain).then(|| LogId(name.into()))
    }

    /// The log of a ledger that has only one tenant.
    pub fn default_log() -> LogId {
        LogId("default".into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How to open a ledger for writing.
#[derive(Clone, Debug)]
pub struct Options {
    /// Prefix of every log's origin; `None`: `pedigraph.local/<ledger uuid>`. Fixed at creation.
    pub name: Option<String>,
    /// Bytes of one pre-written journal segment. Fixed at creation.
    pub segment_bytes: u64,
    /// Who signs checkpoints; `None`: the key in the file `key`, which is made with the ledger.
    pub signer: Option<Arc<dyn Signer>>,
}
impl Default for Options {
    fn default() -> Self {
        Options { name: None, segment_bytes: 64 << 20, signer: None }
    }
}

/// What the caller must do: retry, refuse the input, or stop the process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process writes this ledger.
    #[error("ledger {0} is locked by another process")]
    Locked(PathBuf),
    /// The input breaks a limit or rule; nothing was written.
    #[error("refused: {0}")]
    Refused(String),
    /// What is stored contradicts itself or a published checkpoint: never start, never skip. The text says what to do.
    #[error("corrupt: {0}")]
    Corrupt(String),
    /// A signer did not sign: no checkpoint was published, entries go on, and it may be tried again.
    #[error("signer: {0}")]
    Signer(String),
    /// A witness knows another history of a log: nothing more may be signed, and the process must stop. The text says what to do.
    #[error("fork: {0}")]
    Fork(String),
    /// The disk is full, nothing was written, and the writer goes on: make room and try again.
    #[error("no space left: {0}")]
    Full(String),
    /// The disk failed; the writer is poisoned and the process must stop.
    #[error("storage: {0}")]
    Io(#[from] std::io::Error),
}

impl Error {
    /// For steps before which nothing is named: without room nothing happened, any other failure poisons.
    pub(crate) fn while_preparing(what: &str, error: std::io::Error) -> Error {
        match storage::is_full(&error) {
            true => Error::Full(format!("{what}: {error}")),
            false => Error::Io(error),
        }
    }
}

/// Facts chunk or body: inside the journal, or a blob made durable before with [`Blobs::put`] in the store of its kind
/// ([`Writer::blobs`], [`Writer::bodies`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    /// At most [`INLINE_BYTES_MAX`] bytes.
    Inline(Bytes),
    /// The same, with the SHA-256 of the bytes by a caller who had to know it anyway: bytes are hashed once on their way to
    /// the disk. A wrong digest is found by whoever reads the part, and by [`verify`](fn@verify).
    Hashed {
        /// At most [`INLINE_BYTES_MAX`] bytes.
        bytes: Bytes,
        /// SHA-256 of the bytes.
        digest: Hash,
    },
    /// A stored blob: SHA-256 of its (uncompressed) bytes and their number.
    Blob {
        /// SHA-256 of the uncompressed bytes.
        digest: Hash,
        /// Number of uncompressed bytes.
        size: u64,
    },
}

/// An entry that is not yet durable.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// The log it is appended to.
    pub log: LogId,
    /// The leaf, 1..=[`LEAF_BYTES_MAX`] bytes.
    pub leaf: Bytes,
    /// Facts chunks, in order.
    pub facts: Vec<Part>,
    /// The received body, erasable; `None` when there is none.
    pub body: Option<Part>,
}

/// One group commit: one write, one `fdatasync`.
#[derive(Clone, Default, Debug)]
pub struct Batch {
    /// Commit time, nanoseconds since 1970 UTC; raised to the last commit's if lower. Leaves that name a recorded time must use [`Writer::next_time`].
    pub time_ns: i64,
    /// Entries in order; may be empty when only positions or duplicate counts move.
    pub entries: Vec<NewEntry>,
    /// Source partitions that moved: opaque key to the next offset.
    pub positions: Vec<(Bytes, u64)>,
    /// Duplicates seen since the last commit: (log, source name, count).
    pub duplicates: Vec<(LogId, String, u64)>,
    /// Entries, durable before this batch, whose bodies are erased once it is: (log, index). The batch has an entry that says so.
    pub erasures: Vec<(LogId, u64)>,
}

/// Where a durable entry is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Its log.
    pub log: LogId,
    /// Its index within the log.
    pub index: u64,
    /// RFC 6962 leaf hash.
    pub leaf_hash: Hash,
}

/// A durable entry as read back. Facts and body are references: read them with [`Reader::part`].
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its log.
    pub log: LogId,
    /// Its index within the log.
    pub index: u64,
    /// The leaf bytes.
    pub leaf: Bytes,
    /// RFC 6962 leaf hash.
    pub leaf_hash: Hash,
    /// Facts chunks, in order.
    pub facts: Vec<PartRef>,
    /// The body, if any (it may be erased).
    pub body: Option<PartRef>,
}

/// A reference to a part: digest and size of its bytes, and where they are. Equal when digest and size are.
#[derive(Clone, Debug)]
pub struct PartRef {
    /// SHA-256 of the bytes.
    pub digest: Hash,
    /// Number of bytes.
    pub size: u64,
    /// Journal position of the part's frame; `None`: it is a blob.
    pub(crate) at: Option<u64>,
    /// What the bytes are: says in which store a blob is.
    pub(crate) content: Content,
    /// The bytes, while the batch that holds them is in memory. Not yet compared with the digest.
    pub(crate) bytes: Option<Bytes>,
}

/// What a part is of its entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Content {
    /// A facts chunk: kept as long as the entry.
    Facts,
    /// The body: erasable.
    Body,
}

impl PartialEq for PartRef {
    fn eq(&self, other: &PartRef) -> bool {
        (self.digest, self.size) == (other.digest, other.size)
    }
}
impl Eq for PartRef {}

/// One commit, in journal order.
#[derive(Clone, Debug)]
pub struct Commit {
    /// 0, 1, 2 … without gap.
    pub seq: u64,
    /// Commit time, nanoseconds since 1970 UTC, never decreasing.
    pub time_ns: i64,
    /// Entries in order, of any logs.
    pub entries: Vec<Entry>,
    /// (log, size, root) of the logs that changed.
    pub heads: Vec<(LogId, u64, Hash)>,
    /// Positions that moved.
    pub positions: Vec<(Bytes, u64)>,
    /// Duplicate counts: (log, source name, count).
    pub duplicates: Vec<(LogId, String, u64)>,
    /// Entries whose bodies it erases: (log, index).
    pub erasures: Vec<(LogId, u64)>,
}
/// Size and root of a log at its newest durable commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Number of entries.
    pub size: u64,
    /// RFC 6962 root.
    pub root: Hash,
    /// Time of the commit that made it, nanoseconds since 1970 UTC; 0 when empty.
    pub time_ns: i64,
}

/// A published checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Tree size it signs.
    pub size: u64,
    /// The whole signed note.
    pub note: Bytes,
    /// When it was published, nanoseconds since 1970 UTC.
    pub at_ns: i64,
}
