//! Derived files, written off the writer's thread: where entries and commits lie, full tiles.
//!
//! None of them is believed. They are synced once per segment; the file `derived` then names the segment from whose
//! start they are made again when the ledger is opened, because a power cut may have torn what was written since. The
//! one thing they prove: a commit that the index names was durable, so a journal without it has lost something
//! (`recover.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::derived::hashes;
use crate::derived::index::{
    COMMIT_BYTES, CommitPlace, ENTRY_BYTES, TILE_BYTES, commits_path, encode_commit, encode_positions, entries_path,
    indexed_commits, indexed_entries, stored_tile, tiles_path,
};
use crate::files::storage::{self, Access, Storage, StoredFile, to_usize};
use crate::journal::fold::ReadBatch;
use crate::journal::segment::{self, Segment};
use crate::read::lookup;
use crate::read::open_ledger::{Durable, OpenLedger};
use crate::tree::merkle::WIDTH;
use crate::tree::tile;
use crate::{Error, LogId};

/// Derived files that are kept open for writing.
const FILES_MAX: usize = 64;
/// Tiles that are written with one call.
const TILES_AT_ONCE: usize = 64;
/// How often a full disk is tried again.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);

/// Writes what is durable and not yet derived.
pub(crate) struct Deriver {
    shared: Arc<OpenLedger>,
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
    pub(crate) fn new(shared: Arc<OpenLedger>, storage: Arc<dyn Storage>) -> Deriver {
        let next_seq = shared.durable().commits_from;
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

    /// Derives until the state says stop, then what is left. A failure stops the writer too: its disk is failing. A
    /// full disk is waited for: the next opening derives what is still missing then.
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
                Err(Error::Io(error)) if crate::error::is_full(&error) => {
                    let first = self.shared.change(|state| state.full.replace(error.to_string()).is_none());
                    if first {
                        tracing::warn!(%error, "no room for tiles and indexes; they wait for it");
                    }
                    if self.shared.wait_stop(ROOM_INTERVAL) {
                        return Ok(());
                    }
                }
                outcome => {
                    if self.shared.durable().full.is_some() {
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
            self.shared.durable().underived.extend(logs.into_iter().map(|work| work.log));
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
        let newest = self.shared.durable().segments.last().map_or(0, |segment| segment.first_seq);
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
        let mut state = self.shared.durable();
        let grown = std::mem::take(&mut state.underived);
        let logs = grown.into_iter().filter_map(|log| self.log_work(&state, log)).collect();
        let skip = to_usize(self.next_seq.saturating_sub(state.commits_from));
        (logs, state.commits.iter().skip(skip).copied().collect())
    }

    fn log_work(&self, state: &Durable, log: LogId) -> Option<LogWork> {
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
        make: impl FnOnce(&OpenLedger, &mut Vec<u8>) -> Result<(), Error>,
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
        let segments = self.shared.durable().segments.clone();
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

    /// Writes the tiles between the synced sizes and the newest segment's start, and those before that are missing at
    /// the end of the row; single gaps are filled when read.
    fn backfill_tiles(&mut self, synced: &BTreeMap<LogId, u64>) -> Result<(), Error> {
        let sizes: Vec<_> =
            self.shared.durable().logs.iter().map(|(log, head)| (log.clone(), head.recent_from)).collect();
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
