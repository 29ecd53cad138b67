//! Where things lie: entries and commits by number.
//!
//! First what memory remembers, then the derived indexes, then, when those are missing or wrong, a scan of the one
//! segment whose header says that it holds the thing. Whatever the index says, what is found must name what was asked
//! for.

use std::fs::File;

use bytes::Bytes;

use crate::bodies::erasing::{self, Target};
use crate::derived::index::{self, CommitPlace};
use crate::files::storage::to_usize;
use crate::journal::fold::{ReadBatch, parse_lone_entry};
use crate::journal::frame::{self, Found, HEAD_BYTES, Kind};
use crate::journal::segment::{self, Scan, Segment, Step};
use crate::read::open_ledger::{Durable, OpenLedger};
use crate::{Content, Entry, Error, LEAF_BYTES_MAX, LogId, PartRef};

/// Bytes read at first for a frame of unknown length.
const FRAME_GUESS_BYTES: usize = 4096;
/// Largest frame that is read by its position: the longest leaf and the most references fit.
const FRAME_BYTES_MAX: usize = 4 << 20;
const _: () = assert!(LEAF_BYTES_MAX + frame::REF_BYTES * (u16::MAX as usize + 1) + 128 <= FRAME_BYTES_MAX);

/// One frame read by position.
pub(crate) enum LoneFrame {
    /// Its kind and payload.
    Found(Kind, Bytes),
    /// No frame is there.
    Nothing,
}

/// Reads the frame at a journal position.
pub(crate) fn frame_at(shared: &OpenLedger, at: u64) -> Result<LoneFrame, Error> {
    if let Some(frames) = shared.remembered(at) {
        return Ok(lone(&frames, shared.meta.salt));
    }
    let (segment, file) = shared.file_at(at)?;
    let offset = at - segment.base;
    let left = to_usize(segment.capacity - offset);
    let mut bytes = segment::read_at(&file, offset, FRAME_GUESS_BYTES.min(left))?;
    if let Some(head) = bytes.first_chunk::<4>() {
        let whole = to_usize(u32::from_le_bytes(*head).into()).saturating_add(HEAD_BYTES - 1);
        // At a wrong position anything may stand for a length.
        if whole > bytes.len() && whole <= left.min(FRAME_BYTES_MAX) {
            bytes = segment::read_at(&file, offset, whole)?;
        }
    }
    Ok(lone(&bytes.into(), shared.meta.salt))
}

fn lone(bytes: &Bytes, salt: u32) -> LoneFrame {
    match frame::read(bytes, salt) {
        Found::Frame { kind, payload, .. } => LoneFrame::Found(kind, bytes.slice_ref(payload)),
        Found::Nothing | Found::Short | Found::Bad => LoneFrame::Nothing,
    }
}

/// An entry below the durable size.
pub(crate) fn entry(shared: &OpenLedger, log: &LogId, index: u64) -> Result<Entry, Error> {
    let place = entry_place(shared, log, index);
    if let Some(at) = place
        && let Some(entry) = entry_at(shared, at, log, index)?
    {
        return Ok(entry);
    }
    scan_for_entry(shared, log, index)
}

/// The journal position of an entry, as memory or the index has it.
pub(crate) fn entry_place(shared: &OpenLedger, log: &LogId, index: u64) -> Option<u64> {
    let recent = recent_place(&shared.durable(), log, index);
    recent.or_else(|| index::indexed_entry(&shared.dir, log, index))
}

fn recent_place(state: &Durable, log: &LogId, index: u64) -> Option<u64> {
    let head = state.logs.get(log)?;
    let entry = head.recent.get(to_usize(index.checked_sub(head.recent_from)?))?;
    Some(entry.at)
}

/// [`entry_place`] of each of some entries.
fn entry_places(shared: &OpenLedger, log: &LogId, from: u64, count: u64) -> Vec<Option<u64>> {
    // The index is read after memory was asked: what memory has forgotten by then is in the index.
    let mut places: Vec<_> = {
        let state = shared.durable();
        (from..from + count).map(|index| recent_place(&state, log, index)).collect()
    };
    if places.iter().any(Option::is_none) {
        let indexed = index::indexed_range(&shared.dir, log, from, count);
        places.iter_mut().zip(indexed).for_each(|(place, indexed)| *place = place.or(indexed));
    }
    places
}

fn entry_at(shared: &OpenLedger, at: u64, log: &LogId, index: u64) -> Result<Option<Entry>, Error> {
    // An index that points outside the journal is a wrong index, not a damaged journal.
    let Ok(LoneFrame::Found(Kind::Entry, payload)) = frame_at(shared, at) else { return Ok(None) };
    Ok(parse_lone_entry(&payload).filter(|entry| entry.log == *log && entry.index == index))
}

/// Leaves `from..from + count`, all below the durable size; reads neighbours with one system call.
pub(crate) fn leaves(shared: &OpenLedger, log: &LogId, from: u64, count: u64) -> Result<Vec<Bytes>, Error> {
    let mut leaves: Vec<Bytes> = Vec::with_capacity(to_usize(count));
    let places = entry_places(shared, log, from, count);
    let mut window = Window::default();
    for (index, at) in (from..).zip(&places) {
        let near = at.and_then(|at| window.leaf(shared, at, (log, index), &places[leaves.len()..]));
        let leaf = match near {
            Some(leaf) => leaf,
            None => entry(shared, log, index)?.leaf,
        };
        leaves.push(leaf);
    }
    Ok(leaves)
}

/// A stretch of the journal in memory.
#[derive(Default)]
struct Window {
    from: u64,
    bytes: Bytes,
}

impl Window {
    /// The leaf of an entry whose frame is at `at`; reads on to the last of the next places that is not far away.
    fn leaf(&mut self, shared: &OpenLedger, at: u64, name: (&LogId, u64), next: &[Option<u64>]) -> Option<Bytes> {
        const SPAN_BYTES: u64 = 1 << 20;
        if let Some(leaf) = self.parse(shared, at, name) {
            return Some(leaf);
        }
        if let Some(frames) = shared.remembered(at) {
            (self.bytes, self.from) = (frames, at);
            return self.parse(shared, at, name);
        }
        let last = next.iter().flatten().take_while(|place| **place >= at && **place - at < SPAN_BYTES).last()?;
        let (segment, file) = shared.file_at(at).ok()?;
        let want = (last - at + FRAME_GUESS_BYTES as u64).min(segment.end() - at);
        self.bytes = segment::read_at(&file, at - segment.base, to_usize(want)).ok()?.into();
        self.from = at;
        self.parse(shared, at, name)
    }

    fn parse(&self, shared: &OpenLedger, at: u64, (log, index): (&LogId, u64)) -> Option<Bytes> {
        let offset = to_usize(at.checked_sub(self.from)?);
        let Found::Frame { kind: Kind::Entry, payload, .. } = frame::read(self.bytes.get(offset..)?, shared.meta.salt)
        else {
            return None;
        };
        let found = frame::take_entry(payload).filter(|found| found.log == log.as_str() && found.index == index)?;
        // A slice would keep the whole stretch in memory.
        Some(Bytes::copy_from_slice(found.leaf))
    }
}

fn scan_for_entry(shared: &OpenLedger, log: &LogId, index: u64) -> Result<Entry, Error> {
    let segment = segment_where(shared, |header| {
        header.logs.iter().find(|(name, _)| name == log).map_or(0, |(_, vector)| vector.edge.size()) <= index
    })?;
    let mut found = None;
    scan(shared, segment, |batch| {
        let mut entries = batch.entries.into_iter().map(|(_, entry)| entry);
        found = entries.find(|entry| entry.log == *log && entry.index == index).map(apart);
        found.is_none()
    })?;
    found.ok_or_else(|| {
        Error::Corrupt(format!("entry {index} of log {log} is not in the journal; restore the journal from a copy"))
    })
}

/// The entry without the stretch of the journal that it was found in, megabytes that it would keep in memory.
fn apart(mut entry: Entry) -> Entry {
    entry.leaf = Bytes::copy_from_slice(&entry.leaf);
    entry.facts.iter_mut().chain(&mut entry.body).for_each(|part| part.bytes = None);
    entry
}

/// A commit below the next seq.
pub(crate) fn commit(shared: &OpenLedger, seq: u64) -> Result<ReadBatch, Error> {
    if let Some(place) = commit_place(shared, seq)
        && let Some(batch) = commit_at(shared, &place, seq)
    {
        return Ok(batch);
    }
    let segment = segment_where(shared, |header| header.first_seq <= seq)?;
    let mut found = None;
    scan(shared, segment, |batch| {
        found = (batch.commit.seq == seq).then_some(batch);
        found.is_none()
    })?;
    found.ok_or_else(|| Error::Corrupt(format!("commit {seq} is not in the journal; restore the journal from a copy")))
}

/// Where a commit lies, as memory or the index has it.
pub(crate) fn commit_place(shared: &OpenLedger, seq: u64) -> Option<CommitPlace> {
    {
        let state = shared.durable();
        if let Some(place) = seq.checked_sub(state.commits_from).and_then(|i| state.commits.get(to_usize(i))) {
            return Some(*place);
        }
    }
    index::indexed_commit(&shared.dir, seq)
}

fn commit_at(shared: &OpenLedger, place: &CommitPlace, seq: u64) -> Option<ReadBatch> {
    if let Some(frames) = shared.remembered(place.at) {
        return ReadBatch::parse(&frames, place.at).ok().filter(|batch| batch.commit.seq == seq);
    }
    let (segment, file) = shared.file_at(place.at).ok()?;
    let bytes = read_batch(&file, &segment, place)?;
    let batch = ReadBatch::read(&bytes, place.at, shared.meta.salt).ok()?;
    (batch.commit.seq == seq).then_some(batch)
}

fn read_batch(file: &File, segment: &Segment, place: &CommitPlace) -> Option<Bytes> {
    let offset = place.at.checked_sub(segment.base)?;
    let whole = u64::from(place.bytes) <= segment.capacity.checked_sub(offset)?;
    whole.then(|| segment::read_at(file, offset, to_usize(place.bytes.into())).ok())?.map(Bytes::from)
}

/// The time of a commit below the next seq.
pub(crate) fn commit_time(shared: &OpenLedger, seq: u64) -> Result<i64, Error> {
    match commit_place(shared, seq) {
        Some(place) => Ok(place.time_ns),
        None => Ok(commit(shared, seq)?.commit.time_ns),
    }
}

/// Position and length of the batch of a commit below the next seq.
pub(crate) fn commit_span(shared: &OpenLedger, seq: u64) -> Result<(u64, u64), Error> {
    match commit_place(shared, seq) {
        Some(place) => Ok((place.at, place.bytes.into())),
        None => commit(shared, seq).map(|batch| (batch.at, batch.bytes)),
    }
}

/// The bytes of an inline part; `None` when it is a body that was erased.
pub(crate) fn inline_part(shared: &OpenLedger, part: &PartRef, at: u64) -> Result<Option<Bytes>, Error> {
    let found = match frame_at(shared, at)? {
        LoneFrame::Nothing if is_being_erased(shared, part, at)? => return Ok(None),
        // It may be overwritten since.
        LoneFrame::Nothing => frame_at(shared, at)?,
        found @ LoneFrame::Found(..) => found,
    };
    match found {
        LoneFrame::Found(kind, payload) if kind == part.content.kind() => Ok(Some(payload)),
        LoneFrame::Found(Kind::Erased, zeros) if is_erased(part, &zeros) => Ok(None),
        LoneFrame::Found(..) | LoneFrame::Nothing => Err(Error::Corrupt(format!(
            "part {} is not at journal position {at}; restore the journal from a copy",
            part.digest
        ))),
    }
}

fn is_being_erased(shared: &OpenLedger, part: &PartRef, at: u64) -> Result<bool, Error> {
    let target = Target::Frame { at, bytes: to_usize(part.size) };
    Ok(part.content == Content::Body && erasing::is_under_way(shared, &target)?)
}

/// Whether an erased frame is exactly what stands for a part: only bodies are erased, and nothing else hides in there.
fn is_erased(part: &PartRef, zeros: &[u8]) -> bool {
    part.content == Content::Body && zeros.len() as u64 == part.size && zeros.iter().all(|byte| *byte == 0)
}

/// The newest segment whose header fits; headers are ordered by what they count.
pub(crate) fn segment_where(shared: &OpenLedger, fits: impl Fn(&frame::HeaderFrame) -> bool) -> Result<Segment, Error> {
    let segments = shared.durable().segments.clone();
    let (mut low, mut high) = (0, segments.len());
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let (header, _) = segment::read_header(&shared.dir, &shared.meta, &segments[middle])?;
        if fits(&header) {
            low = middle;
        } else {
            high = middle;
        }
    }
    segments.get(low).copied().ok_or_else(|| Error::Corrupt("the journal has no segment".into()))
}

/// Hands over the batches of a segment while `more` says so.
pub(crate) fn scan(
    shared: &OpenLedger,
    segment: Segment,
    mut more: impl FnMut(ReadBatch) -> bool,
) -> Result<(), Error> {
    let (_, offset) = segment::read_header(&shared.dir, &shared.meta, &segment)?;
    let mut scan = Scan::open(&shared.dir, &shared.meta, segment, offset)?;
    while let Step::Batch { bytes, at } = scan.step()? {
        if !more(ReadBatch::parse(&bytes, at)?) {
            break;
        }
    }
    Ok(())
}
