//! The derived files as they are read: where entries and commits lie, and full tiles. None of them is believed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::files::storage::to_usize;
use crate::journal::frame::Input;
use crate::journal::segment;
use crate::tree::merkle::WIDTH;
use crate::tree::tile;
use crate::{Hash, LogId};

/// Bytes of one entry's record: its journal position.
pub(crate) const ENTRY_BYTES: u64 = 8;
/// Bytes of one commit's record: position, length, checksum, time.
pub(crate) const COMMIT_BYTES: u64 = 24;
/// Bytes of a full tile.
pub(crate) const TILE_BYTES: u64 = 32 * WIDTH;

/// Where a commit's batch lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CommitPlace {
    pub(crate) at: u64,
    pub(crate) bytes: u32,
    pub(crate) time_ns: i64,
}

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
