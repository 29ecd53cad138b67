//! Derived files, written off the writer's thread: where entries and commits lie, full tiles.
//!
//! None of them is believed. They are synced once per segment; the file `derived` then names the segment from whose start they
//! are made again when the ledger is opened, because a power cut may have torn what was written since. The one thing they prove: a commit that the index names
//! was durable, so a journal without it has lost something (`recover.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::derived::hashes;
use crate::files::storage::{self, Access, Storage, StoredFile};
use crate::journal::fold::ReadBatch;
use crate::journal::frame::{Input, to_usize};
use crate::journal::segment::{self, Segment};
use crate::read::lookup;
use crate::read::shared::{CommitPlace, Shared, State};
use crate::tree::tile::{self, WIDTH};
use crate::{Error, Hash, LogId};

/// Bytes of one entry's record: its journal position.
const ENTRY_BYTES: u64 = 8;
/// Bytes of one commit's record: position, length, checksum, time.
const COMMIT_BYTES: u64 = 24;
/// Bytes of a full tile.
pub(crate) const TILE_BYTES: u64 = 32 * WIDTH;
/// Derived files that are kept open for writing.
const FILES_MAX: usize = 64;
/// Tiles that are written with one call.
const TILES_AT_ONCE: usize = 64;
/// How often a full disk is tried again.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);

/// The directory of one log.
pub(crate) fn log_dir(ledger: &Path, log: &LogId) -> PathBuf {
    ledger.join("logs").join(log.as_str())
}

/// The file with the full tiles of one level, one after another.
pub(crate) fn tiles_path(ledger: &Path, log: &LogId, level: u8) -> PathBuf {
    log_dir(ledger, log).join(format!("hashes-{level}"))
}

/// What the file of a level has in the place of a full tile; `None` when it ends before.
pub(crate) fn tile_bytes(ledger: &Path, log: &LogId, level: u8, number: u64) -> Option<Vec<u8>> {
    let file = File::open(tiles_path(ledger, log, level)).ok()?;
    let bytes = segment::read_at(&file, number.checked_mul(TILE_BYTES)?, to_usize(TILE_BYTES)).ok()?;
    (bytes.len() as u64 == TILE_BYTES).then_some(bytes)
}

/// A full tile as its file has it; `None` when it is not there, or has a hole that a crash left.
pub(crate) fn stored_tile(ledger: &Path, log: &LogId, level: u8, number: u64) -> Option<Vec<Hash>> {
    let hashes = tile::decode_full(&tile_bytes(ledger, log, level, number)?)?;
    hashes.iter().all(|hash| hash.0 != [0; 32]).then_some(hashes)
}

/// The file with the journal positions of a log's entries.
pub(crate) fn entries_path(ledger: &Path, log: &LogId) -> PathBuf {
    log_dir(ledger, log).join("positions")
}

/// The file with the places of commits.
pub(crate) fn commits_path(ledger: &Path) -> PathBuf {
    ledger.join("commits")
}

/// How many entries of a log the index has.
pub(crate) fn indexed_entries(ledger: &Path, log: &LogId) -> u64 {
    fs::metadata(entries_path(ledger, log)).map_or(0, |file| file.len() / ENTRY_BYTES)
}

/// How many commits the index has.
pub(crate) fn indexed_commits(ledger: &Path) -> u64 {
    fs::metadata(commits_path(ledger)).map_or(0, |file| file.len() / COMMIT_BYTES)
}

/// Where the index says that an entry lies.
pub(crate) fn indexed_entry(ledger: &Path, log: &LogId, index: u64) -> Option<u64> {
    indexed_range(ledger, log, index, 1).pop()?
}

/// Where the index says that each of some entries lies; fewer where it ends.
pub(crate) fn indexed_range(ledger: &Path, log: &LogId, from: u64, count: u64) -> Vec<Option<u64>> {
    let read = || {
        let file = File::open(entries_path(ledger, log)).ok()?;
        segment::read_at(&file, from.checked_mul(ENTRY_BYTES)?, to_usize(count * ENTRY_BYTES)).ok()
    };
    decode_positions(&read().unwrap_or_default())
}

pub(crate) fn encode_positions(positions: &[u64], out: &mut Vec<u8>) {
    positions.iter().for_each(|at| out.extend_from_slice(&at.to_le_bytes()));
}

pub(crate) fn decode_positions(bytes: &[u8]) -> Vec<Option<u64>> {
    let (records, _) = bytes.as_chunks::<8>();
    // Position 0 is the journal's first magic: a hole that a crash left.
    records.iter().map(|record| Some(u64::from_le_bytes(*record)).filter(|at| *at != 0)).collect()
}

/// Where the index says that a commit lies; `None` unless the record's checksum holds.
pub(crate) fn indexed_commit(ledger: &Path, seq: u64) -> Option<CommitPlace> {
    let file = File::open(commits_path(ledger)).ok()?;
    let bytes = segment::read_at(&file, seq.checked_mul(COMMIT_BYTES)?, to_usize(COMMIT_BYTES)).ok()?;
    decode_commit(seq, &bytes)
}

/// One commit's record.
pub(crate) fn encode_commit(seq: u64, place: &CommitPlace) -> [u8; 24] {
    let mut record = [0; 24];
    record[..8].copy_from_slice(&place.at.to_le_bytes());
    record[8..12].copy_from_slice(&place.bytes.to_le_bytes());
    record[12..16].copy_from_slice(&commit_checksum(seq, place).to_le_bytes());
    record[16..].copy_from_slice(&place.time_ns.to_le_bytes());
    record
}

pub(crate) fn decode_commit(seq: u64, bytes: &[u8]) -> Option<CommitPlace> {
    let mut input = Input(bytes);
    let (at, bytes, crc, time_ns) = (input.u64()?, input.u32()?, input.u32()?, input.i64()?);
    let place = CommitPlace { at, bytes, time_ns };
    (commit_checksum(seq, &place) == crc).then_some(place)
}

fn commit_checksum(seq: u64, place: &CommitPlace) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&seq.to_le_bytes());
    crc.update(&place.at.to_le_bytes());
    crc.update(&place.bytes.to_le_bytes());
    crc.update(&place.time_ns.to_le_bytes());
    crc.finalize()
}

/// Writes what is durable and not yet derived.
pub(crate) struct Deriver {
    shared: Arc<Shared>,
    storage: Arc<dyn Storage>,
    files: BTreeMap<PathBuf, Box<dyn StoredFile>>,
    /// Files that were written, and directories that got a name, since the last segment was synced.
    unsynced: BTreeSet<PathBuf>,
    unsynced_dirs: BTreeSet<PathBuf>,
    /// Entries that are derived, by log; absent until the log grows.
    done: BTreeMap<LogId, u64>,
    next_seq: u64,
    /// Everything derived from commits below this seq, which starts a segment, is synced.
    synced_seq: u64,
    /// Memory for what is written: fresh memory for each would cost more than to write it.
    bytes: Vec<u8>,
}

/// What one log has to derive.
struct LogWork {
    log: LogId,
    from: u64,
    /// Journal positions of entries from `from` on.
    positions: Vec<u64>,
}

impl Deriver {
    pub(crate) fn new(shared: Arc<Shared>, storage: Arc<dyn Storage>) -> Deriver {
        let next_seq = shared.state().commits_from;
        let synced_seq = synced_seq(&shared.dir);
        Deriver {
            shared,
            storage,
            files: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            unsynced_dirs: BTreeSet::new(),
            done: BTreeMap::new(),
            next_seq,
            synced_seq,
            bytes: Vec::new(),
        }
    }

    /// Derives until the state says stop, then what is left. A failure stops the writer too: its disk is failing. A full disk is
    /// waited for: the next opening derives what is still missing then.
    pub(crate) fn run(mut self) {
        let mut outcome = self.with_room(Deriver::backfill);
        while outcome.is_ok() {
            let next_seq = self.next_seq;
            let stop = self.shared.wait_until(|state| state.stop || state.next_seq > next_seq).stop;
            outcome = self.with_room(Deriver::step);
            if stop {
                break;
            }
        }
        if let Err(error) = outcome {
            self.shared.change(|state| state.failed = Some(error.to_string()));
        }
    }

    /// Does something, again and again while the disk is full and the state does not say stop.
    fn with_room(&mut self, work: fn(&mut Deriver) -> Result<(), Error>) -> Result<(), Error> {
        loop {
            match work(self) {
                Err(Error::Io(error)) if storage::is_full(&error) => {
                    let first = self.shared.change(|state| state.full.replace(error.to_string()).is_none());
                    if first {
                        tracing::warn!(%error, "no room for tiles and indexes; they wait for it");
                    }
                    if self.shared.wait_stop(ROOM_INTERVAL) {
                        return Ok(());
                    }
                }
                outcome => {
                    if self.shared.state().full.is_some() {
                        self.shared.change(|state| state.full = None);
                    }
                    return outcome;
                }
            }
        }
    }

    /// Derives everything that is durable now.
    pub(crate) fn step(&mut self) -> Result<(), Error> {
        let (logs, commits) = self.take_work();
        if let Err(error) = self.write_work(&logs, &commits) {
            // What is written twice is the same.
            self.shared.state().underived.extend(logs.into_iter().map(|work| work.log));
            return Err(error);
        }
        self.next_seq += commits.len() as u64;
        let next_seq = self.next_seq;
        for work in &logs {
            self.done.insert(work.log.clone(), work.from + work.positions.len() as u64);
        }
        let derived: usize = logs.iter().map(|work| work.positions.len()).sum();
        self.shared.change(|state| {
            state.lag_entries = state.lag_entries.saturating_sub(derived);
            logs.iter().for_each(|work| state.forget_entries(&work.log, work.from + work.positions.len() as u64));
            state.forget_commits(next_seq);
        });
        self.sync_segment()
    }

    fn write_work(&mut self, logs: &[LogWork], commits: &[CommitPlace]) -> Result<(), Error> {
        for work in logs {
            self.write_positions(&work.log, work.from, &work.positions)?;
            self.write_tiles(&work.log, work.from, work.from + work.positions.len() as u64)?;
        }
        self.write_commits(self.next_seq, commits)
    }

    /// Once the writer has gone on in a new segment and all before it is derived: makes that durable and notes it.
    fn sync_segment(&mut self) -> Result<(), Error> {
        let newest = self.shared.state().segments.last().map_or(0, |segment| segment.first_seq);
        if newest <= self.synced_seq || self.next_seq < newest {
            return Ok(());
        }
        for path in &self.unsynced {
            match self.files.get(path) {
                Some(file) => file.sync()?,
                None => self.storage.open(path)?.sync()?,
            }
        }
        for dir in &self.unsynced_dirs {
            self.storage.sync_dir(dir)?;
        }
        self.unsynced.clear();
        self.unsynced_dirs.clear();
        storage::replace(
            &*self.storage,
            &synced_path(&self.shared.dir),
            encode_synced(newest).as_bytes(),
            Access::Shared,
        )?;
        self.synced_seq = newest;
        Ok(())
    }

    fn take_work(&self) -> (Vec<LogWork>, Vec<CommitPlace>) {
        let mut state = self.shared.state();
        let grown = std::mem::take(&mut state.underived);
        let logs = grown.into_iter().filter_map(|log| self.log_work(&state, log)).collect();
        let skip = to_usize(self.next_seq.saturating_sub(state.commits_from));
        (logs, state.commits.iter().skip(skip).copied().collect())
    }

    fn log_work(&self, state: &State, log: LogId) -> Option<LogWork> {
        let head = state.logs.get(&log)?;
        let from = self.done.get(&log).copied().unwrap_or(head.recent_from);
        let skip = to_usize(from - head.recent_from);
        let positions = head.recent.iter().skip(skip).map(|entry| entry.at).collect();
        Some(LogWork { log, from, positions })
    }

    fn write_positions(&mut self, log: &LogId, from: u64, positions: &[u64]) -> Result<(), Error> {
        let path = entries_path(&self.shared.dir, log);
        self.write_made(path, from * ENTRY_BYTES, |_, bytes| {
            encode_positions(positions, bytes);
            Ok(())
        })
    }

    fn write_commits(&mut self, from: u64, places: &[CommitPlace]) -> Result<(), Error> {
        let path = commits_path(&self.shared.dir);
        self.write_made(path, from * COMMIT_BYTES, |_, bytes| {
            (from..).zip(places).for_each(|(seq, place)| bytes.extend_from_slice(&encode_commit(seq, place)));
            Ok(())
        })
    }

    /// Writes the tiles that became full between two sizes.
    fn write_tiles(&mut self, log: &LogId, from: u64, to: u64) -> Result<(), Error> {
        let (mut from, mut to) = (from / WIDTH, to / WIDTH);
        for level in 0..8 {
            for first in (from..to).step_by(TILES_AT_ONCE) {
                let path = tiles_path(&self.shared.dir, log, level);
                self.write_made(path, first * TILE_BYTES, |shared, bytes| {
                    for number in first..to.min(first + TILES_AT_ONCE as u64) {
                        tile::put_hashes(bytes, &hashes::not_stored(shared, log, level, number, WIDTH)?);
                    }
                    Ok(())
                })?;
            }
            (from, to) = (from / WIDTH, to / WIDTH);
        }
        Ok(())
    }

    /// Writes what `make` appends, in memory that is used again.
    fn write_made(
        &mut self,
        path: PathBuf,
        offset: u64,
        make: impl FnOnce(&Shared, &mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        make(&self.shared, &mut bytes)?;
        self.write(path, &bytes, offset)?;
        self.bytes = bytes;
        Ok(())
    }

    fn open_or_create(&mut self, path: &Path) -> std::io::Result<Box<dyn StoredFile>> {
        if let Some(dir) = path.parent() {
            self.storage.create_dir(dir)?;
            // Of a file that is there, too: who made it may have died before its name was durable.
            let inside = dir.ancestors().take_while(|dir| dir.starts_with(&self.shared.dir));
            self.unsynced_dirs.extend(inside.map(Path::to_owned));
        }
        if path.exists() { self.storage.open(path) } else { self.storage.create(path, Access::Shared) }
    }

    fn write(&mut self, path: PathBuf, bytes: &[u8], offset: u64) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.files.len() >= FILES_MAX && !self.files.contains_key(&path) {
            self.files.clear();
        }
        if !self.files.contains_key(&path) {
            let file = self.open_or_create(&path)?;
            self.files.insert(path.clone(), file);
        }
        self.files[&path].write_at(bytes, offset)?;
        self.unsynced.insert(path);
        Ok(())
    }

    /// Writes again what is missing of older segments.
    pub(crate) fn backfill(&mut self) -> Result<(), Error> {
        let segments = self.shared.state().segments.clone();
        let Some((newest, older)) = segments.split_last() else { return Ok(()) };
        let mut start = older.len();
        let mut covered = self.covers(newest)?;
        while !covered && start > 0 {
            start -= 1;
            covered = self.covers(&older[start])?;
        }
        let first = older.get(start).unwrap_or(newest);
        let (header, _) = segment::read_header(&self.shared.dir, &self.shared.meta, first)?;
        for segment in &older[start..] {
            let shared = Arc::clone(&self.shared);
            let mut outcome = Ok(());
            lookup::scan(&shared, *segment, |batch| {
                outcome = self.index_batch(&batch);
                outcome.is_ok()
            })?;
            outcome?;
        }
        self.backfill_tiles(&header.logs.into_iter().map(|(log, vector)| (log, vector.edge.size())).collect())
    }

    /// Whether the indexes reach up to a segment.
    fn covers(&self, segment: &Segment) -> Result<bool, Error> {
        let dir = &self.shared.dir;
        let (header, _) = segment::read_header(dir, &self.shared.meta, segment)?;
        let reaches = |(log, size): (&LogId, u64)| indexed_entries(dir, log) >= size;
        let entries = header.logs.iter().all(|(log, vector)| reaches((log, vector.edge.size())));
        Ok(entries && indexed_commits(dir) >= header.first_seq && segment.first_seq <= self.synced_seq)
    }

    fn index_batch(&mut self, batch: &ReadBatch) -> Result<(), Error> {
        for (at, entry) in &batch.entries {
            self.write_positions(&entry.log, entry.index, &[*at])?;
        }
        let bytes = u32::try_from(batch.bytes).unwrap_or(u32::MAX);
        let place = CommitPlace { at: batch.at, bytes, time_ns: batch.commit.time_ns };
        self.write_commits(batch.commit.seq, &[place])
    }

    /// Writes the tiles between the synced sizes and the newest segment's start, and those before that are missing at the end of
    /// the row; single gaps are filled when read.
    fn backfill_tiles(&mut self, synced: &BTreeMap<LogId, u64>) -> Result<(), Error> {
        let sizes: Vec<_> =
            self.shared.state().logs.iter().map(|(log, head)| (log.clone(), head.recent_from)).collect();
        for (log, size) in sizes {
            let there = |number: &u64| stored_tile(&self.shared.dir, &log, 0, *number).is_some();
            let (full, safe) = (size / WIDTH, synced.get(&log).copied().unwrap_or(0) / WIDTH);
            let missing = full - safe + (0..safe).rev().take_while(|number| !there(number)).count() as u64;
            self.write_tiles(&log, (full - missing) * WIDTH, full * WIDTH)?;
        }
        Ok(())
    }
}

fn synced_path(ledger: &Path) -> PathBuf {
    ledger.join("derived")
}

fn synced_seq(ledger: &Path) -> u64 {
    let text = fs::read_to_string(synced_path(ledger)).unwrap_or_default();
    // Without it everything is made again.
    decode_synced(&text).unwrap_or(0)
}

pub(crate) fn encode_synced(seq: u64) -> String {
    format!("{seq}\n")
}

pub(crate) fn decode_synced(text: &str) -> Option<u64> {
    let seq = text.strip_suffix('\n')?.parse().ok()?;
    (encode_synced(seq) == text).then_some(seq)
}
