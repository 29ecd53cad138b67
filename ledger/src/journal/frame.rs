//! Journal frames: `len u32 | crc32 u32 | type u8 | payload`, little endian; `len` counts type and payload, so 0 means
//! "nothing was written here yet".
//!
//! The CRC starts from the ledger's secret salt, so that nobody can send a leaf or body which, after a crash, reads as
//! a frame.

use bytes::Bytes;

use crate::files::storage::to_usize;
use crate::tree::merkle::{Edge, digest};
use crate::{Content, Hash, LogId, PartRef};

/// Bytes of length, checksum and type.
pub(crate) const HEAD_BYTES: usize = 9;
/// Bytes of an encoded reference to a part.
pub(crate) const REF_BYTES: usize = 49;

/// What a frame holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A leaf with its place and references.
    Entry = 1,
    /// One facts chunk.
    Facts = 2,
    /// One body.
    Body = 3,
    /// The end of a batch.
    Commit = 4,
    /// A body that was overwritten.
    Erased = 5,
    /// The start of a segment.
    Header = 6,
}

impl Kind {
    fn from(byte: u8) -> Option<Kind> {
        [Kind::Entry, Kind::Facts, Kind::Body, Kind::Commit, Kind::Erased, Kind::Header]
            .into_iter()
            .find(|k| *k as u8 == byte)
    }
}

impl Content {
    /// The frame that holds it.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Content::Facts => Kind::Facts,
            Content::Body => Kind::Body,
        }
    }
}

/// What stands at the start of some bytes.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// A frame whose checksum holds, and its whole length.
    Frame { kind: Kind, payload: &'a [u8], bytes: usize },
    /// A length of zero: nothing was written here.
    Nothing,
    /// A frame that goes on beyond these bytes.
    Short,
    /// A wrong checksum or type.
    Bad,
}

/// Reads the frame at the start of `bytes`.
pub(crate) fn read(bytes: &[u8], salt: u32) -> Found<'_> {
    match split(bytes) {
        Found::Frame { kind, payload, .. } if bytes[4..8] != checksum(salt, kind, payload).to_le_bytes() => Found::Bad,
        found @ (Found::Frame { .. } | Found::Nothing | Found::Short | Found::Bad) => found,
    }
}

/// The frame at the start of bytes whose checksums were found right before: sums nothing up again.
pub(crate) fn split(bytes: &[u8]) -> Found<'_> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return Found::Short };
    let [l0, l1, l2, l3, _, _, _, _, kind] = *head;
    let len = to_usize(u32::from_le_bytes([l0, l1, l2, l3]).into());
    if len == 0 {
        return Found::Nothing;
    }
    let Some(payload) = rest.get(..len - 1) else { return Found::Short };
    Kind::from(kind).map_or(Found::Bad, |kind| Found::Frame { kind, payload, bytes: 8 + len })
}

/// Appends one frame whose payload is what `fill` appends.
pub(crate) fn write(out: &mut Vec<u8>, salt: u32, kind: Kind, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    out.push(kind as u8);
    fill(out);
    let len = u32::try_from(out.len() - start - 8).expect("batches are smaller than 4 GiB");
    let crc = checksum(salt, kind, &out[start + HEAD_BYTES..]);
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(salt: u32, kind: Kind, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new_with_initial(salt);
    crc.update(&[kind as u8]);
    crc.update(payload);
    crc.finalize()
}

/// The payload of an entry frame.
#[derive(Debug)]
pub(crate) struct EntryFrame<'a> {
    pub(crate) log: &'a str,
    pub(crate) index: u64,
    pub(crate) leaf: &'a [u8],
    pub(crate) facts: Vec<PartRef>,
    pub(crate) body: Option<PartRef>,
    /// The encoded references, which the commit's `refs` hash covers.
    pub(crate) refs: &'a [u8],
}

/// Appends an entry's payload up to its references: log, index, leaf.
pub(crate) fn put_entry(out: &mut Vec<u8>, log: &LogId, index: u64, leaf: &[u8]) {
    put_log(out, log);
    out.extend_from_slice(&index.to_le_bytes());
    out.extend_from_slice(&len_u32(leaf.len()).to_le_bytes());
    out.extend_from_slice(leaf);
}

/// Appends an entry's references.
pub(crate) fn put_refs(out: &mut Vec<u8>, facts: &[PartRef], body: Option<&PartRef>) {
    let count = u16::try_from(facts.len()).expect("append refuses more facts chunks");
    out.extend_from_slice(&count.to_le_bytes());
    facts.iter().for_each(|part| put_ref(out, part));
    out.push(body.is_some().into());
    body.into_iter().for_each(|part| put_ref(out, part));
}

fn put_ref(out: &mut Vec<u8>, part: &PartRef) {
    out.push(part.at.is_some().into());
    out.extend_from_slice(&part.digest.0);
    out.extend_from_slice(&part.size.to_le_bytes());
    out.extend_from_slice(&part.at.unwrap_or(0).to_le_bytes());
}

/// Reads an entry's payload; `None` unless it is exactly what [`put_entry`] and [`put_refs`] write.
pub(crate) fn take_entry(payload: &[u8]) -> Option<EntryFrame<'_>> {
    let mut input = Input(payload);
    let log = input.name()?;
    let index = input.u64()?;
    let len = input.u32()?;
    let leaf = input.bytes(to_usize(len.into()))?;
    let refs = input.0;
    let count = input.u16()?;
    let facts = (0..count).map(|_| input.part(Content::Facts)).collect::<Option<Vec<_>>>()?;
    let body = match input.u8()? {
        0 => None,
        1 => Some(input.part(Content::Body)?),
        _ => return None,
    };
    input.0.is_empty().then_some(EntryFrame { log, index, leaf, facts, body, refs })
}

/// The payload of a commit frame. Its SHA-256 is the commit's hash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CommitFrame {
    pub(crate) seq: u64,
    /// Hash of the previous commit, zeros for the first.
    pub(crate) previous: Hash,
    /// Counts the openings for writing; never decreases.
    pub(crate) epoch: u64,
    pub(crate) time_ns: i64,
    /// Entries of the batch.
    pub(crate) entries: u32,
    /// Aligned 512-byte sectors of the batch that are all zeros as written. More of them on disk: the write was torn.
    pub(crate) zero_sectors: u32,
    /// SHA-256 over the references of all entries in order: digests of facts and bodies, not their bytes.
    pub(crate) refs: Hash,
    pub(crate) heads: Vec<(LogId, u64, Hash)>,
    pub(crate) positions: Vec<(Bytes, u64)>,
    pub(crate) duplicates: Vec<(LogId, String, u64)>,
    /// Entries before this batch whose bodies it erases.
    pub(crate) erasures: Vec<(LogId, u64)>,
}

impl CommitFrame {
    /// Appends the payload.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.previous.0);
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.time_ns.to_le_bytes());
        out.extend_from_slice(&self.entries.to_le_bytes());
        out.extend_from_slice(&self.zero_sectors.to_le_bytes());
        out.extend_from_slice(&self.refs.0);
        put_each(out, &self.heads, |out, (log, size, root)| {
            put_log(out, log);
            out.extend_from_slice(&size.to_le_bytes());
            out.extend_from_slice(&root.0);
        });
        put_each(out, &self.positions, put_position);
        put_each(out, &self.duplicates, |out, (log, source, count)| {
            put_log(out, log);
            put_bytes(out, source.as_bytes());
            out.extend_from_slice(&count.to_le_bytes());
        });
        put_each(out, &self.erasures, |out, (log, index)| {
            put_log(out, log);
            out.extend_from_slice(&index.to_le_bytes());
        });
    }

    /// Reads a payload; `None` unless it is exactly what [`CommitFrame::put`] writes.
    pub(crate) fn take(payload: &[u8]) -> Option<CommitFrame> {
        let mut input = Input(payload);
        let frame = CommitFrame {
            seq: input.u64()?,
            previous: input.hash()?,
            epoch: input.u64()?,
            time_ns: input.i64()?,
            entries: input.u32()?,
            zero_sectors: input.u32()?,
            refs: input.hash()?,
            heads: input.each(|i| Some((i.log()?, i.u64()?, i.hash()?)))?,
            positions: input.each(Input::position)?,
            duplicates: input.each(|i| Some((i.log()?, String::from_utf8(i.short()?.to_vec()).ok()?, i.u64()?)))?,
            erasures: input.each(|i| Some((i.log()?, i.u64()?)))?,
        };
        input.0.is_empty().then_some(frame)
    }
}

/// The hash that the next commit names.
pub(crate) fn commit_hash(payload: &[u8]) -> Hash {
    digest(payload)
}

/// One log in a segment's header.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct LogVector {
    pub(crate) edge: Edge,
    pub(crate) time_ns: i64,
}

/// The payload of a segment's header: the full state before its first commit, so that opening reads one segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct HeaderFrame {
    pub(crate) uuid: [u8; 16],
    pub(crate) first_seq: u64,
    /// Journal position of the segment's first byte: the bytes of all segments before it.
    pub(crate) base: u64,
    /// Bytes of the segment, header included.
    pub(crate) capacity: u64,
    pub(crate) previous: Hash,
    pub(crate) epoch: u64,
    pub(crate) time_ns: i64,
    pub(crate) logs: Vec<(LogId, LogVector)>,
    pub(crate) positions: Vec<(Bytes, u64)>,
}

impl HeaderFrame {
    /// Appends the payload.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.uuid);
        for number in [self.first_seq, self.base, self.capacity] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.previous.0);
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.time_ns.to_le_bytes());
        put_each(out, &self.logs, |out, (log, vector)| {
            put_log(out, log);
            out.extend_from_slice(&vector.time_ns.to_le_bytes());
            out.extend_from_slice(&vector.edge.size().to_le_bytes());
            vector.edge.stack().iter().for_each(|hash| out.extend_from_slice(&hash.0));
            out.extend_from_slice(&vector.edge.root().0);
        });
        put_each(out, &self.positions, put_position);
    }

    /// Reads a payload; `None` unless it is exactly what [`HeaderFrame::put`] writes and each root is that of its edge.
    pub(crate) fn take(payload: &[u8]) -> Option<HeaderFrame> {
        let mut input = Input(payload);
        let header = HeaderFrame {
            uuid: *input.bytes(16)?.first_chunk()?,
            first_seq: input.u64()?,
            base: input.u64()?,
            capacity: input.u64()?,
            previous: input.hash()?,
            epoch: input.u64()?,
            time_ns: input.i64()?,
            logs: input.each(Input::log_vector)?,
            positions: input.each(Input::position)?,
        };
        // Counters that are added to must not overflow, whatever is stored.
        let counted = [header.first_seq, header.base, header.capacity, header.epoch].iter().all(|n| *n < 1 << 62);
        (input.0.is_empty() && counted).then_some(header)
    }
}

fn put_log(out: &mut Vec<u8>, log: &LogId) {
    out.push(u8::try_from(log.as_str().len()).expect("log names are short"));
    out.extend_from_slice(log.as_str().as_bytes());
}

fn put_position(out: &mut Vec<u8>, (key, next): &(Bytes, u64)) {
    put_bytes(out, key);
    out.extend_from_slice(&next.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).expect("append refuses longer keys and names");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_each<T>(out: &mut Vec<u8>, all: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    out.extend_from_slice(&len_u32(all.len()).to_le_bytes());
    all.iter().for_each(|one| put(out, one));
}

/// Stored bytes that are still to be read. Every read is `None` at the end: hostile bytes never panic.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.first_chunk().copied()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn hash(&mut self) -> Option<Hash> {
        self.array().map(Hash)
    }

    fn name(&mut self) -> Option<&'a str> {
        let len = self.u8()?;
        std::str::from_utf8(self.bytes(len.into())?).ok()
    }

    fn log(&mut self) -> Option<LogId> {
        LogId::new(self.name()?)
    }

    fn short(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.bytes(len.into())
    }

    fn position(&mut self) -> Option<(Bytes, u64)> {
        Some((Bytes::copy_from_slice(self.short()?), self.u64()?))
    }

    fn part(&mut self, content: Content) -> Option<PartRef> {
        let kind = self.u8()?;
        let (digest, size, at) = (self.hash()?, self.u64()?, self.u64()?);
        let at = match kind {
            0 if at == 0 => None,
            1 => Some(at),
            _ => return None,
        };
        Some(PartRef { digest, size, at, content, bytes: None })
    }

    fn log_vector(&mut self) -> Option<(LogId, LogVector)> {
        let (log, time_ns, size) = (self.log()?, self.i64()?, self.u64()?);
        let stack = (0..size.count_ones()).map(|_| self.hash()).collect::<Option<Vec<_>>>()?;
        let edge = Edge::restore(size, stack)?;
        (self.hash()? == edge.root()).then_some((log, LogVector { edge, time_ns }))
    }

    /// A counted list. Grows as it reads, so a hostile count costs nothing.
    fn each<T>(&mut self, take: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.u32()?;
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(take(self)?);
        }
        Some(all)
    }
}

/// One log name after another is mostly the same: keeps the last to share its allocation.
#[derive(Default)]
pub(crate) struct LogNames(Option<LogId>);

impl LogNames {
    pub(crate) fn get(&mut self, name: &str) -> Option<LogId> {
        if self.0.as_ref().is_none_or(|last| last.as_str() != name) {
            self.0 = Some(LogId::new(name)?);
        }
        self.0.clone()
    }
}

fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("counts and leaves are below 2^32")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> CommitFrame {
        let log = LogId::default_log();
        CommitFrame {
            seq: 7,
            previous: Hash([1; 32]),
            epoch: 2,
            time_ns: -5,
            entries: 3,
            zero_sectors: 0,
            refs: Hash([2; 32]),
            heads: vec![(log.clone(), 9, Hash([3; 32]))],
            positions: vec![(Bytes::from_static(b"topic/0"), 12)],
            duplicates: vec![(log.clone(), "ci".into(), 4)],
            erasures: vec![(log, 3)],
        }
    }

    #[test]
    fn commits_and_headers_read_back_and_nothing_else_does() {
        let mut bytes = Vec::new();
        sample().put(&mut bytes);
        assert_eq!(CommitFrame::take(&bytes), Some(sample()));
        bytes.push(0);
        assert_eq!(CommitFrame::take(&bytes), None);

        let mut edge = Edge::default();
        for n in 0..5 {
            edge.push(Hash([n; 32]));
        }
        let header = HeaderFrame {
            uuid: [4; 16],
            first_seq: 3,
            base: 4096,
            capacity: 8192,
            previous: Hash([5; 32]),
            epoch: 1,
            time_ns: 6,
            logs: vec![(LogId::default_log(), LogVector { edge, time_ns: 5 })],
            positions: sample().positions,
        };
        let mut bytes = Vec::new();
        header.put(&mut bytes);
        assert_eq!(HeaderFrame::take(&bytes), Some(header));
        let root_at = bytes.len() - 60;
        bytes[root_at] ^= 1;
        assert_eq!(HeaderFrame::take(&bytes), None);
    }

    #[test]
    fn every_flipped_bit_of_a_frame_is_found() {
        let mut bytes = Vec::new();
        write(&mut bytes, 99, Kind::Commit, |out| sample().put(out));
        assert!(matches!(read(&bytes, 98), Found::Bad));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(read(&flipped, 99), Found::Frame { .. }), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (read(&bytes, 0), take_entry(&bytes), CommitFrame::take(&bytes), HeaderFrame::take(&bytes));
        }
    }
}
