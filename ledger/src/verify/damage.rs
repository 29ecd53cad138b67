//! What damage in the journal takes with it: the one entry whose frame it is where that can be told, else all entries
//! that the rest of a segment held.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::derived::index;
use crate::fault::Fault;
use crate::files::storage::to_usize;
use crate::journal::fold::{ReadBatch, Vectors};
use crate::journal::frame::{self, Found, Kind};
use crate::journal::segment::{self, Scan, Segment, Step};
use crate::read::open_ledger::OpenLedger;
use crate::tree::merkle::{WIDTH, digest};
use crate::tree::tile::{Of, Tile};
use crate::{Content, Error, Hash, LogId};

/// A fault at a place of a segment behind which entries cannot be read: after those that the vectors count.
pub(crate) fn unreached(shared: &OpenLedger, segment: &Segment, vectors: &Vectors, what: String) -> Fault {
    let missing = |(log, size): (LogId, u64)| {
        let from = vectors.size(&log);
        (from < size).then_some((log, from..size))
    };
    let ranges: BTreeMap<_, _> = known_sizes(shared, segment).into_iter().filter_map(missing).collect();
    let mut fault = Fault::of_entries(what, &ranges);
    if ranges.is_empty() {
        fault.affected = "no entry that a later segment, an index or a checkpoint knows of".into();
    }
    fault
}

/// How far the logs go, says the first header behind a segment, or else whatever knows most of the newest.
fn known_sizes(shared: &OpenLedger, segment: &Segment) -> BTreeMap<LogId, u64> {
    let (dir, meta) = (&shared.dir, &shared.meta);
    let state = shared.durable();
    let later = state.segments.iter().filter(|later| later.first_seq > segment.first_seq);
    if let Some(header) = later.filter_map(|later| segment::read_header(dir, meta, later).ok()).map(|(h, _)| h).next() {
        return header.logs.into_iter().map(|(log, vector)| (log, vector.edge.size())).collect();
    }
    let size = |(log, head): (&LogId, &crate::read::open_ledger::DurableLog)| {
        let published = head.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size);
        (log.clone(), head.size.max(published).max(index::indexed_entries(dir, log)))
    };
    state.logs.iter().map(size).collect()
}

/// What is wrong with the bytes behind the last whole batch of a segment, the first of which is at an offset of it.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn behind(shared: &OpenLedger, scan: &Scan, vectors: &Vectors, written_at: u64) -> Result<Fault, Error> {
    let tail = Bytes::from(scan.tail()?);
    let damaged = Damaged::find(&tail, shared.meta.salt);
    if let Some(fault) = damaged.as_ref().and_then(|damaged| damaged.of_frame(shared, scan, vectors, &tail)) {
        return Ok(fault);
    }
    let (name, seq) = (scan.segment.first_seq, vectors.next_seq);
    let frame = damaged.map_or_else(String::new, |Damaged { bad, .. }| {
        format!(", and the checksum of the frame at offset {} does not hold", scan.offset + bad as u64)
    });
    let what = format!(
        "segment {name:020} has bytes at offset {written_at} behind its last whole commit{frame}: commit {seq} or a later one is damaged, or a crash left an uncommitted tail, which the next start cuts"
    );
    Ok(unreached(shared, &scan.segment, vectors, what))
}

/// A batch with a frame whose checksum does not hold; offsets are from its start.
struct Damaged {
    /// The first such frame.
    bad: usize,
    /// Whether it is the only one.
    alone: bool,
    /// The batch's end, when the lengths of its frames lead to a commit.
    end: Option<usize>,
}

impl Damaged {
    fn find(tail: &Bytes, salt: u32) -> Option<Damaged> {
        let (mut offset, mut bad, mut count) = (0, None, 0);
        let end = loop {
            let rest = tail.get(offset..)?;
            if !matches!(frame::read(rest, salt), Found::Frame { .. }) {
                bad.get_or_insert(offset);
                count += 1;
            }
            match frame::split(rest) {
                Found::Frame { kind: Kind::Commit, bytes, .. } => break Some(offset + bytes),
                Found::Frame { kind: Kind::Header, .. } | Found::Nothing | Found::Short | Found::Bad => break None,
                Found::Frame { bytes, .. } => offset += bytes,
            }
        };
        Some(Damaged { bad: bad?, alone: count == 1, end })
    }

    /// `None` when more may be damaged than what one frame holds.
    fn of_frame(&self, shared: &OpenLedger, scan: &Scan, vectors: &Vectors, tail: &Bytes) -> Option<Fault> {
        let end = self.end.filter(|_| self.alone)?;
        let start = scan.segment.base + scan.offset;
        let batch = ReadBatch::parse(&tail.slice(..end), start).ok()?;
        let Found::Frame { kind, payload, .. } = frame::split(&tail[self.bad..]) else { return None };
        let place = Place {
            what: format!(
                "segment {:020}, offset {}: the checksum of a frame does not hold, that of",
                scan.segment.first_seq,
                scan.offset + self.bad as u64
            ),
            rest: format!("all other frames of commit {} hold", batch.commit.seq),
        };
        let at = start + self.bad as u64;
        match kind {
            Kind::Entry => place.entry(shared, vectors, &batch, at),
            Kind::Facts | Kind::Body | Kind::Erased => place.part(&batch, at, payload),
            Kind::Commit => {
                let what = format!("{} commit {}", place.what, batch.commit.seq);
                let fault = Fault::of_entries(what, &batch.ranges());
                let expected = hash_named_next(shared, scan, end);
                Some(Fault { expected, found: Some(batch.hash), ..fault })
            }
            Kind::Header => None,
        }
    }
}

/// Where the one damaged frame of a batch is, in words.
struct Place {
    what: String,
    rest: String,
}

impl Place {
    fn entry(&self, shared: &OpenLedger, vectors: &Vectors, batch: &ReadBatch, at: u64) -> Option<Fault> {
        let number = batch.entries.iter().position(|(place, _)| *place == at)?;
        let (before, entry) = (&batch.entries[..number], &batch.entries[number].1);
        let (log, index) = (&entry.log, entry.index);
        let earlier = before.iter().filter(|(_, earlier)| earlier.log == *log).count() as u64;
        // What the frame says of itself may be what was changed.
        if index != vectors.size(log) + earlier {
            return None;
        }
        let (what, rest) = (format!("{} entry {index} of log {log}", self.what), &self.rest);
        let fault = Fault::of_entry(log, index, what, format!("entry {index} of log {log}; {rest}"));
        if let Some((tile, stated)) = stated_leaf(shared, log, index).filter(|(_, stated)| *stated != entry.leaf_hash) {
            let what = format!("{}; its leaf has another hash than {tile} states", fault.what);
            return Some(Fault { what, ..fault }.hashes(stated, entry.leaf_hash));
        }
        Some(match vectors.clone().follow(batch) {
            Ok(()) => Fault {
                affected: format!("the frame alone: its leaf and references are those signed; {rest}"),
                ..fault
            },
            Err(why) => Fault {
                what: format!("{}; {}", fault.what, why.what),
                expected: why.expected,
                found: why.found,
                ..fault
            },
        })
    }

    fn part(&self, batch: &ReadBatch, at: u64, payload: &[u8]) -> Option<Fault> {
        let named = |(_, entry): &_| {
            let crate::Entry { log, index, facts, body, .. } = entry;
            let part = facts.iter().chain(body).find(|part| part.at == Some(at))?;
            Some((log.clone(), *index, part.clone()))
        };
        let (log, index, part) = batch.entries.iter().find_map(named)?;
        let (name, rest) = (part.content.of_entry(&log, index), &self.rest);
        let fault = Fault::of_entry(&log, index, format!("{} {name}", self.what), format!("{name}; {rest}"));
        Some(fault.hashes(part.digest, digest(payload)))
    }
}

impl Content {
    /// In words.
    pub(crate) fn of_entry(self, log: &LogId, index: u64) -> String {
        match self {
            Content::Facts => {
                format!("the facts of entry {index} of log {log}, and of later entries that name the same")
            }
            Content::Body => format!("the body of entry {index} of log {log}"),
        }
    }
}

/// The hash of a leaf that a full tile on disk states, and the tile's name. It is derived, and proves nothing.
fn stated_leaf(shared: &OpenLedger, log: &LogId, index: u64) -> Option<(String, Hash)> {
    let tile = index::stored_tile(&shared.dir, log, 0, index / WIDTH)?;
    let name = Tile { of: Of::Level(0), number: index / WIDTH, width: WIDTH };
    Some((name.path(), tile.get(to_usize(index % WIDTH)).copied()?))
}

/// The hash of a batch's commit as the next commit or the next segment names it.
fn hash_named_next(shared: &OpenLedger, scan: &Scan, end: usize) -> Option<Hash> {
    let (dir, meta) = (&shared.dir, &shared.meta);
    let mut next = Scan::open(dir, meta, scan.segment, scan.offset + end as u64).ok()?;
    match next.step().ok()? {
        Step::Batch { bytes, at } => ReadBatch::parse(&bytes, at).ok().map(|batch| batch.commit.previous),
        Step::Bad => None,
        Step::End => {
            let segments = shared.durable().segments.clone();
            let later = segments.iter().find(|later| later.first_seq > scan.segment.first_seq)?;
            segment::read_header(dir, meta, later).ok().map(|(header, _)| header.previous)
        }
    }
}
