//! What all handles of one open ledger share: the newest durable state, in memory, and the files under it.
//!
//! Memory does not grow with the ledger: entries and commits are remembered only until their places are in the derived
//! indexes, and at most one partial tile per log and level.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::derived::index::{self, CommitPlace};
use crate::files::storage::{PAGE_BYTES, lock, to_usize};
use crate::journal::fold::{ReadBatch, Vectors};
use crate::journal::meta::Meta;
use crate::journal::segment::{self, Scan, Segment, Step};
use crate::publish::checkpoint;
use crate::tree::merkle::WIDTH;
use crate::{Checkpoint, Content, Error, Hash, LogId};

/// Entries that may wait for the derived indexes; the writer waits when there are more.
pub(crate) const LAG_ENTRIES_MAX: usize = 1 << 20;
/// Memory of the newest batches, bytes; older ones are read back from the journal.
const FRAMES_BYTES_MAX: usize = 16 << 20;
/// What a batch takes beside its bytes: it starts at a page, behind what that page held before, and ends with one.
const FRAMES_ROUNDED_BYTES: usize = 3 * PAGE_BYTES;
/// Open segment files that are kept.
const FILES_MAX: usize = 64;
/// How often a follower looks for a new commit while somebody waits.
const POLL: Duration = Duration::from_millis(2);
/// Journal that a follower reads before it syncs and shows it.
const READ_AHEAD_BYTES: usize = 8 << 20;
/// Entries that a follower remembers of a log before it looks how far the writer's index is.
const FOLLOWER_RECENT_ENTRIES: usize = 4096;

/// One open ledger.
pub(crate) struct OpenLedger {
    pub(crate) dir: PathBuf,
    pub(crate) meta: Meta,
    state: Mutex<Durable>,
    changed: Condvar,
    follower: Option<Mutex<Follower>>,
    files: Mutex<BTreeMap<u64, Arc<File>>>,
    /// The partial tile of each log and level above 0: its number and hashes so far.
    pub(crate) partials: Mutex<Partials>,
    /// Held while a stored body gets its name or is erased.
    pub(crate) naming: Arc<Mutex<()>>,
    /// New blobs that no entry names yet, with the files that say so.
    pub(crate) unnamed: Mutex<BTreeMap<(Content, Hash), PathBuf>>,
}

/// By log and level: the tile's number and its hashes so far.
pub(crate) type Partials = BTreeMap<(LogId, u8), (u64, Vec<Hash>)>;

/// What is durable.
#[derive(Default)]
pub(crate) struct Durable {
    pub(crate) next_seq: u64,
    pub(crate) logs: BTreeMap<LogId, DurableLog>,
    pub(crate) segments: Vec<Segment>,
    /// Places of the newest commits, from seq `commits_from` on.
    pub(crate) commits: VecDeque<CommitPlace>,
    pub(crate) commits_from: u64,
    /// Logs that have entries which are not in their index.
    pub(crate) underived: BTreeSet<LogId>,
    /// Entries that are not derived yet.
    pub(crate) lag_entries: usize,
    /// The newest batches with their journal positions, so that who follows the writer in its process need not read
    /// them.
    frames: VecDeque<(u64, Bytes)>,
    frames_bytes: usize,
    /// Why deriving has to wait for room.
    pub(crate) full: Option<String>,
    /// Why deriving stopped; the writer stops too.
    pub(crate) failed: Option<String>,
    pub(crate) stop: bool,
}

/// One log's durable head and newest entries.
#[derive(Clone, Debug)]
pub(crate) struct DurableLog {
    pub(crate) size: u64,
    pub(crate) root: Hash,
    pub(crate) time_ns: i64,
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Entries from index `recent_from` on.
    pub(crate) recent: VecDeque<Recent>,
    pub(crate) recent_from: u64,
    /// Roots of full tiles of leaves, by number, until the tile above them is stored. One that is not here is found by
    /// hashing.
    pub(crate) tile_roots: BTreeMap<u64, Hash>,
}

/// A new entry, remembered until everything is derived from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recent {
    /// Journal position.
    pub(crate) at: u64,
    /// Leaf hash.
    pub(crate) hash: Hash,
}

/// A commit that has just become durable.
pub(crate) struct Landed<'a> {
    pub(crate) seq: u64,
    pub(crate) place: CommitPlace,
    /// Its batch; empty where that is not to be remembered.
    pub(crate) frames: Bytes,
    pub(crate) heads: &'a [(LogId, u64, Hash)],
    pub(crate) entries: &'a mut dyn Iterator<Item = (LogId, Recent)>,
    /// Tiles of leaves that it fills: log, number, root.
    pub(crate) tiles: Vec<(LogId, u64, Hash)>,
}

/// The place in the journal up to which another process's commits were folded.
pub(crate) struct Follower {
    pub(crate) scan: Scan,
    pub(crate) vectors: Vectors,
}

impl OpenLedger {
    pub(crate) fn new(dir: &Path, meta: Meta, state: Durable, follower: Option<Follower>) -> Arc<OpenLedger> {
        Arc::new(OpenLedger {
            dir: dir.to_owned(),
            meta,
            state: Mutex::new(state),
            changed: Condvar::new(),
            follower: follower.map(Mutex::new),
            files: Mutex::default(),
            partials: Mutex::default(),
            naming: Arc::default(),
            unnamed: Mutex::default(),
        })
    }

    /// The state. Every change to it is complete when the lock is released, so a panic elsewhere does not spoil it.
    pub(crate) fn durable(&self) -> MutexGuard<'_, Durable> {
        lock(&self.state)
    }

    /// The bytes from a journal position to the end of its batch, if memory has them.
    pub(crate) fn remembered(&self, at: u64) -> Option<Bytes> {
        self.durable().frames_at(at)
    }

    /// Makes a durable commit visible and wakes who waits.
    pub(crate) fn land(&self, landed: Landed<'_>) {
        self.durable().land(landed);
        self.changed.notify_all();
    }

    /// Changes the state and wakes who waits.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Durable) -> T) -> T {
        let result = change(&mut self.durable());
        self.changed.notify_all();
        result
    }

    /// Waits until the state is as wanted.
    pub(crate) fn wait_until(&self, wanted: impl Fn(&Durable) -> bool) -> MutexGuard<'_, Durable> {
        let waiting = self.changed.wait_while(self.durable(), |state| !wanted(state));
        waiting.unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a while, or until the state says stop; whether it does.
    pub(crate) fn wait_stop(&self, timeout: Duration) -> bool {
        let waiting = self.changed.wait_timeout_while(self.durable(), timeout, |state| !state.stop);
        waiting.unwrap_or_else(PoisonError::into_inner).0.stop
    }

    /// Waits until there is a commit after `seq`, or for the timeout; returns the next seq.
    pub(crate) fn wait_commit(&self, seq: u64, timeout: Duration) -> u64 {
        if self.follower.is_none() {
            let waiting =
                self.changed.wait_timeout_while(self.durable(), timeout, |state| state.next_seq <= seq && !state.stop);
            return waiting.unwrap_or_else(PoisonError::into_inner).0.next_seq;
        }
        let mut left = timeout;
        loop {
            self.follow();
            let state = self.durable();
            if state.next_seq > seq || left.is_zero() {
                return state.next_seq;
            }
            let nap = left.min(POLL);
            drop(self.changed.wait_timeout(state, nap));
            left -= nap;
        }
    }

    /// Folds what another process has made durable since the last call; does nothing beside the writer.
    ///
    /// A fault stops the view where it is: a batch that is being written and one that is damaged look alike from here.
    pub(crate) fn follow(&self) {
        let Some(follower) = &self.follower else { return };
        if let Err(error) = lock(follower).advance(self) {
            tracing::warn!(%error, dir = %self.dir.display(), "cannot follow the ledger further");
        }
    }

    /// Whether another process writes here.
    pub(crate) fn follows(&self) -> bool {
        self.follower.is_some()
    }

    /// The segment that holds a journal position, opened for reading.
    pub(crate) fn file_at(&self, at: u64) -> Result<(Segment, Arc<File>), Error> {
        let segment = self.durable().segment_at(at);
        let segment = segment.ok_or_else(|| Error::Corrupt(format!("journal position {at} is in no segment")))?;
        let mut files = lock(&self.files);
        if let Some(file) = files.get(&segment.first_seq) {
            return Ok((segment, Arc::clone(file)));
        }
        if files.len() >= FILES_MAX {
            files.clear();
        }
        let file = Arc::new(File::open(segment::path_of(&self.dir, segment.first_seq))?);
        files.insert(segment.first_seq, Arc::clone(&file));
        Ok((segment, file))
    }
}

impl Durable {
    /// The state that a segment starts from.
    pub(crate) fn start(dir: &Path, vectors: &Vectors, segments: Vec<Segment>) -> Result<Durable, Error> {
        let mut state =
            Durable { next_seq: vectors.next_seq, commits_from: vectors.next_seq, segments, ..Durable::default() };
        for (log, vector) in &vectors.logs {
            let head = DurableLog {
                size: vector.edge.size(),
                root: vector.edge.root(),
                time_ns: vector.time_ns,
                recent_from: vector.edge.size(),
                ..DurableLog::empty()
            };
            state.logs.insert(log.clone(), head);
        }
        state.logs.entry(LogId::default_log()).or_insert_with(DurableLog::empty);
        for (log, head) in &mut state.logs {
            head.checkpoint = checkpoint::load(dir, log)?;
        }
        Ok(state)
    }

    pub(crate) fn land(&mut self, landed: Landed<'_>) {
        for (log, entry) in landed.entries {
            self.lag_entries += 1;
            self.logs.entry(log).or_insert_with(DurableLog::empty).recent.push_back(entry);
        }
        for (log, size, root) in landed.heads {
            if let Some(head) = self.logs.get_mut(log) {
                (head.size, head.root, head.time_ns) = (*size, *root, landed.place.time_ns);
                self.underived.insert(log.clone());
            }
        }
        for (log, number, root) in landed.tiles {
            if let Some(head) = self.logs.get_mut(&log) {
                head.tile_roots.insert(number, root);
            }
        }
        self.commits.push_back(landed.place);
        self.next_seq = landed.seq + 1;
        self.remember(landed.place.at, landed.frames);
    }

    fn remember(&mut self, at: u64, frames: Bytes) {
        if frames.is_empty() {
            return;
        }
        self.frames_bytes += frames.len() + FRAMES_ROUNDED_BYTES;
        self.frames.push_back((at, frames));
        while self.frames_bytes > FRAMES_BYTES_MAX
            && let Some((_, oldest)) = self.frames.pop_front()
        {
            self.frames_bytes -= oldest.len() + FRAMES_ROUNDED_BYTES;
        }
    }

    fn frames_at(&self, at: u64) -> Option<Bytes> {
        let after = self.frames.partition_point(|(start, _)| *start <= at);
        let (start, frames) = self.frames.get(after.checked_sub(1)?)?;
        let offset = to_usize(at - start);
        (offset < frames.len()).then(|| frames.slice(offset..))
    }

    /// Forgets the batches: the journal was changed in place.
    pub(crate) fn forget_frames(&mut self) {
        self.frames.clear();
        self.frames_bytes = 0;
    }

    /// Forgets the entries of a log that are both in its index and below its last partial tile, and roots of tiles
    /// likewise.
    pub(crate) fn forget_entries(&mut self, log: &LogId, indexed: u64) {
        let Some(head) = self.logs.get_mut(log) else { return };
        let keep_from = indexed.min(head.size) / WIDTH * WIDTH;
        while head.recent_from < keep_from && head.recent.pop_front().is_some() {
            head.recent_from += 1;
        }
        head.tile_roots = head.tile_roots.split_off(&(indexed / WIDTH / WIDTH * WIDTH));
    }

    /// The root of a full tile of leaves, if memory has it.
    pub(crate) fn tile_root(&self, log: &LogId, number: u64) -> Option<Hash> {
        self.logs.get(log)?.tile_roots.get(&number).copied()
    }

    /// Forgets the places of commits below a seq.
    pub(crate) fn forget_commits(&mut self, indexed: u64) {
        while self.commits_from < indexed && self.commits.pop_front().is_some() {
            self.commits_from += 1;
        }
    }

    /// Adds a segment; one without commits is replaced by a larger one of the same name.
    pub(crate) fn enter_segment(&mut self, segment: Segment) {
        self.segments.pop_if(|last| last.first_seq == segment.first_seq);
        self.segments.push(segment);
    }

    fn segment_at(&self, at: u64) -> Option<Segment> {
        let after = self.segments.partition_point(|segment| segment.base <= at);
        let segment = *self.segments.get(after.checked_sub(1)?)?;
        (at < segment.end()).then_some(segment)
    }
}

impl DurableLog {
    pub(crate) fn empty() -> DurableLog {
        DurableLog {
            size: 0,
            root: crate::tree::merkle::empty_root(),
            time_ns: 0,
            checkpoint: None,
            recent: VecDeque::new(),
            recent_from: 0,
            tile_roots: BTreeMap::new(),
        }
    }
}

/// Makes a folded batch visible.
pub(crate) fn land_read(state: &mut Durable, batch: &ReadBatch) {
    let recent = |at, hash| Recent { at, hash };
    let mut entries = batch.entries.iter().map(|(at, entry)| (entry.log.clone(), recent(*at, entry.leaf_hash)));
    let place = CommitPlace {
        at: batch.at,
        bytes: u32::try_from(batch.bytes).unwrap_or(u32::MAX),
        time_ns: batch.commit.time_ns,
    };
    let (seq, frames) = (batch.commit.seq, Bytes::new());
    state.land(Landed { seq, place, frames, heads: &batch.commit.heads, entries: &mut entries, tiles: Vec::new() });
}

impl Follower {
    /// Folds every whole batch there is. Nothing is shown before this process's own `fdatasync` of the segment: what
    /// was read may be in the writer's page cache only.
    fn advance(&mut self, shared: &OpenLedger) -> Result<(), Error> {
        loop {
            if self.scan.is_at_end()? {
                match self.enter_next_segment(shared)? {
                    true => continue,
                    false => return Ok(()),
                }
            }
            let found = self.read_ahead()?;
            if found.is_empty() {
                return Ok(());
            }
            self.scan.file.sync_data()?;
            for (bytes, at) in found {
                self.take(shared, &ReadBatch::parse(&bytes, at)?)?;
            }
        }
    }

    /// Whole batches from here on, a few MiB of them, with their journal positions.
    fn read_ahead(&mut self) -> Result<Vec<(Bytes, u64)>, Error> {
        self.scan.refresh();
        let mut found = Vec::new();
        let mut bytes_read = 0;
        while bytes_read < READ_AHEAD_BYTES {
            let Step::Batch { bytes, at } = self.scan.step()? else { break };
            bytes_read += bytes.len();
            found.push((bytes, at));
        }
        Ok(found)
    }

    fn take(&mut self, shared: &OpenLedger, batch: &ReadBatch) -> Result<(), Error> {
        self.vectors.fold(batch)?;
        let mut state = shared.durable();
        land_read(&mut state, batch);
        self.forget(shared, &mut state, batch);
        drop(state);
        shared.changed.notify_all();
        Ok(())
    }

    /// The writer's indexes tell what need not be remembered. They are not believed when they are read.
    fn forget(&self, shared: &OpenLedger, state: &mut Durable, batch: &ReadBatch) {
        for (log, ..) in &batch.commit.heads {
            let recent = state.logs.get(log).map_or(0, |head| head.recent.len());
            if recent > FOLLOWER_RECENT_ENTRIES {
                state.forget_entries(log, index::indexed_entries(&shared.dir, log));
            }
        }
        if state.commits.len() > FOLLOWER_RECENT_ENTRIES {
            let indexed = index::indexed_commits(&shared.dir).min(state.next_seq);
            state.forget_commits(indexed);
        }
    }

    /// Whether the writer has gone on in a new segment.
    fn enter_next_segment(&mut self, shared: &OpenLedger) -> Result<bool, Error> {
        let (first_seq, current) = (self.vectors.next_seq, self.scan.segment);
        let Ok(file) = std::fs::metadata(segment::path_of(&shared.dir, first_seq)) else { return Ok(false) };
        let base = if first_seq == current.first_seq { current.base } else { current.end() };
        let next = Segment { first_seq, base, capacity: file.len() };
        if next == current {
            return Ok(false);
        }
        let (_, offset) = segment::read_header(&shared.dir, &shared.meta, &next)?;
        self.scan = Scan::open(&shared.dir, &shared.meta, next, offset)?;
        shared.durable().enter_segment(next);
        Ok(true)
    }
}
