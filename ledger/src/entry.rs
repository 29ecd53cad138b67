//! What goes into the ledger and comes out of it: hashes, logs, entries with their parts, batches, commits, heads.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

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

/// Facts chunk or body: inside the journal, or a blob made durable before with [`Blobs::put`](crate::Blobs::put) in the
/// store of its kind ([`Writer::blobs`](crate::Writer::blobs), [`Writer::bodies`](crate::Writer::bodies)).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    /// At most [`INLINE_BYTES_MAX`] bytes.
    Inline(Bytes),
    /// The same, with the SHA-256 of the bytes by a caller who had to know it anyway: bytes are hashed once on their
    /// way to the disk. A wrong digest is found by whoever reads the part, and by [`verify`](fn@crate::verify).
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
    /// Commit time, nanoseconds since 1970 UTC; raised to the last commit's if lower. Leaves that name a recorded time
    /// must use [`Writer::next_time`](crate::Writer::next_time).
    pub time_ns: i64,
    /// Entries in order; may be empty when only positions or duplicate counts move.
    pub entries: Vec<NewEntry>,
    /// Source partitions that moved: opaque key to the next offset.
    pub positions: Vec<(Bytes, u64)>,
    /// Duplicates seen since the last commit: (log, source name, count).
    pub duplicates: Vec<(LogId, String, u64)>,
    /// Entries, durable before this batch, whose bodies are erased once it is: (log, index). The batch has an entry
    /// that says so.
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

/// A durable entry as read back. Facts and body are references: read them with [`Reader::part`](crate::Reader::part).
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

impl Checkpoint {
    /// How many witnesses cosigned it: names of signatures other than the log's own (C2SP tlog-checkpoint,
    /// tlog-cosignature). The signatures are not checked here: that was done before it was published.
    pub fn cosignatures(&self) -> usize {
        let note = String::from_utf8_lossy(&self.note);
        let origin = note.lines().next().unwrap_or_default();
        let names = note.lines().filter_map(|line| line.strip_prefix("\u{2014} ")?.split(' ').next());
        names.filter(|name| *name != origin).collect::<BTreeSet<_>>().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn witnesses_are_counted_once_each_and_the_log_is_none() {
        let count =
            |note: &str| Checkpoint { size: 3, note: Bytes::copy_from_slice(note.as_bytes()), at_ns: 0 }.cosignatures();
        let note = "log.example/a\n3\nAAAA\n\n\u{2014} log.example/a AAAA\n\u{2014} log.example/a BBBB\n";
        assert_eq!(count(note), 0);
        assert_eq!(count(&format!("{note}\u{2014} w.example CCCC\n\u{2014} v.example DDDD\n")), 2);
        assert_eq!(count(&format!("{note}\u{2014} w.example CCCC\n\u{2014} w.example DDDD\n")), 1);
        assert_eq!(count(""), 0);
    }
}
