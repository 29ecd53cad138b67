//! Opening a journal for writing: fold the newest segment, cut an uncommitted tail, refuse everything else.
//!
//! A batch is one write. What a crash can leave of it is some of its sectors, the others still zero. So an incomplete
//! batch at the very end is a tail that nobody was told about, and is cut. It is not when something proves that it was
//! durable: a later commit, the index of commits, a published checkpoint, or a commit frame of its own with no sector
//! missing. Then the ledger does not start: going on would fork a log whose head may be known outside.

use std::path::Path;

use crate::derived::index;
use crate::files::storage::{Storage, to_usize};
use crate::journal::fold::{ReadBatch, Vectors};
use crate::journal::frame::{self, CommitFrame, Found, HEAD_BYTES, Kind};
use crate::journal::meta::Meta;
use crate::journal::segment::{self, Scan, Segment, Step};
use crate::read::open_ledger::{Durable, land_read};
use crate::{Error, Hash, LogId};

/// Aligned units that a disk writes whole.
const SECTOR_BYTES: usize = 512;
/// Commits that may be looked for behind a bad frame, counted from the one that should be next.
const AHEAD_COMMITS_MAX: u64 = 1 << 32;

/// A journal that can be appended to.
pub(crate) struct Recovered {
    pub(crate) vectors: Vectors,
    pub(crate) state: Durable,
    /// The newest segment and the offset of the next batch.
    pub(crate) segment: Segment,
    pub(crate) offset: u64,
    /// What the last commit erases: a crash may have come before it was done.
    pub(crate) erasures: Vec<(LogId, u64)>,
}

/// Recovers a journal that has at least one segment.
pub(crate) fn recover(
    dir: &Path,
    meta: &Meta,
    storage: &dyn Storage,
    segments: Vec<Segment>,
) -> Result<Recovered, Error> {
    let folded = fold_newest(dir, meta, segments)?;
    let Folded { recovered, scan, .. } = &folded;
    let tail = if scan.written_behind()?.is_some() { scan.tail()? } else { Vec::new() };
    if !tail.is_empty() {
        judge_tail(&tail, scan, &recovered.vectors, meta.salt)?;
    }
    folded.check_published()?;
    let next_seq = recovered.vectors.next_seq;
    let last = index::indexed_commits(dir).saturating_sub(1).max(next_seq);
    if [next_seq, last].iter().any(|seq| index::indexed_commit(dir, *seq).is_some()) {
        return Err(Error::Corrupt(format!(
            "the index names commit {next_seq} but the journal ends before it: acknowledged commits are lost; restore the journal from a newer copy, or, if you restored this one on purpose, delete {}",
            index::commits_path(dir).display()
        )));
    }
    cut(dir, storage, scan, &tail)?;
    Ok(folded.recovered)
}

/// Folds the newest segment up to its last whole batch, comparing with the published checkpoints.
pub(crate) fn fold_newest(dir: &Path, meta: &Meta, segments: Vec<Segment>) -> Result<Folded, Error> {
    let newest = *segments.last().ok_or_else(|| Error::Corrupt("the journal has no segment".into()))?;
    let (header, offset) = segment::read_header(dir, meta, &newest)?;
    let mut vectors = Vectors::from_header(&header);
    let mut state = Durable::start(dir, &vectors, segments)?;
    let published = published(&state, meta)?;
    let mut scan = Scan::open(dir, meta, newest, offset)?;
    vectors
        .logs
        .iter()
        .try_for_each(|(log, vector)| compare(&published, log, vector.edge.size(), vector.edge.root()))?;
    let mut erasures = Vec::new();
    while let Step::Batch { bytes, at } = scan.step()? {
        let batch = ReadBatch::parse(&bytes, at)?;
        vectors.fold(&batch)?;
        batch.commit.heads.iter().try_for_each(|(log, size, root)| compare(&published, log, *size, *root))?;
        land_read(&mut state, &batch);
        erasures = batch.commit.erasures;
    }
    let recovered = Recovered { vectors, state, segment: newest, offset: scan.offset, erasures };
    Ok(Folded { recovered, scan, published })
}

/// The newest segment, folded.
pub(crate) struct Folded {
    pub(crate) recovered: Recovered,
    pub(crate) scan: Scan,
    published: Vec<Published>,
}

impl Folded {
    /// Whether everything that a checkpoint was published for is there.
    pub(crate) fn check_published(&self) -> Result<(), Error> {
        for checkpoint in &self.published {
            let size = self.recovered.vectors.size(&checkpoint.log);
            if size < checkpoint.size {
                return Err(Error::Corrupt(format!(
                    "log {} has {size} entries but a checkpoint for {} was published: acknowledged entries are lost; restore the journal from a newer copy",
                    checkpoint.log, checkpoint.size
                )));
            }
        }
        Ok(())
    }
}

/// A checkpoint that was published.
struct Published {
    log: LogId,
    size: u64,
    root: Hash,
}

fn published(state: &Durable, meta: &Meta) -> Result<Vec<Published>, Error> {
    let mut all = Vec::new();
    for (log, head) in &state.logs {
        let Some(checkpoint) = &head.checkpoint else { continue };
        let text = std::str::from_utf8(&checkpoint.note).unwrap_or_default();
        let (size, root, _) = meta.keys.verify_checkpoint(text, &meta.origin(log)).map_err(|why| {
            Error::Corrupt(format!(
                "the published checkpoint of log {log} is damaged ({why}); restore its file from a copy or a mirror"
            ))
        })?;
        all.push(Published { log: log.clone(), size, root });
    }
    Ok(all)
}

fn compare(published: &[Published], log: &LogId, size: u64, root: Hash) -> Result<(), Error> {
    match published.iter().find(|p| p.log == *log && p.size == size) {
        Some(p) if p.root != root => Err(Error::Corrupt(format!(
            "log {log} at size {size} has root {root}, but a checkpoint with root {} was published: the journal was changed; restore it from a copy",
            p.root
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Whether a tail that is not zeros may be cut.
fn judge_tail(tail: &[u8], scan: &Scan, vectors: &Vectors, salt: u32) -> Result<(), Error> {
    let at = scan.segment.base + scan.offset;
    let path = scan.segment.first_seq;
    for (offset, commit) in commits_in(tail, vectors.next_seq, salt) {
        let torn = zero_sectors(&tail[..offset], scan.offset) > commit.zero_sectors;
        let unacknowledged = commit.seq == vectors.next_seq && commit.previous == vectors.last_commit.0 && torn;
        if !unacknowledged {
            return Err(Error::Corrupt(format!(
                "segment {path:020} has a bad frame after journal position {at}, and behind it the whole commit {}: not an uncommitted tail; restore this segment from a copy, or run `verify` to see what is affected",
                commit.seq
            )));
        }
    }
    Ok(())
}

/// Whole commit frames anywhere in some bytes, with their offsets, from `next_seq` on.
///
/// The checksum's secret start keeps anybody from sending bytes that look like one.
fn commits_in(tail: &[u8], next_seq: u64, salt: u32) -> impl Iterator<Item = (usize, CommitFrame)> {
    let kinds = tail.iter().enumerate().skip(HEAD_BYTES - 1).filter(|(_, byte)| **byte == Kind::Commit as u8);
    kinds.filter_map(move |(offset, _)| {
        let start = offset + 1 - HEAD_BYTES;
        let seq = u64::from_le_bytes(*tail.get(offset + 1..)?.first_chunk()?);
        // Looked at before the checksum, which would make this quadratic.
        if !(next_seq..next_seq.saturating_add(AHEAD_COMMITS_MAX)).contains(&seq) {
            return None;
        }
        match frame::read(&tail[start..], salt) {
            Found::Frame { kind: Kind::Commit, payload, .. } => Some((start, CommitFrame::take(payload)?)),
            Found::Frame { .. } | Found::Nothing | Found::Short | Found::Bad => None,
        }
    })
}

/// Writes zeros over the tail. A crash in between leaves fewer bytes of the same tail.
fn cut(dir: &Path, storage: &dyn Storage, scan: &Scan, tail: &[u8]) -> Result<(), Error> {
    let Some(last) = tail.iter().rposition(|byte| *byte != 0) else { return Ok(()) };
    tracing::warn!(
        segment = scan.segment.first_seq,
        offset = scan.offset,
        bytes = last + 1,
        "cutting an uncommitted tail"
    );
    let file = storage.open(&segment::path_of(dir, scan.segment.first_seq))?;
    file.write_at(&vec![0; last + 1], scan.offset)?;
    Ok(file.sync()?)
}

/// Sectors, or the parts of them that `bytes` cover, that are all zeros; `bytes` begin at `offset` of a segment.
pub(crate) fn zero_sectors(bytes: &[u8], offset: u64) -> u32 {
    let sector = SECTOR_BYTES as u64;
    let skip = to_usize((sector - offset % sector) % sector);
    let (first, rest) = bytes.split_at(skip.min(bytes.len()));
    let sectors = std::iter::once(first).chain(rest.chunks(SECTOR_BYTES));
    let zero = sectors.filter(|sector| !sector.is_empty() && sector.iter().all(|byte| *byte == 0)).count();
    u32::try_from(zero).unwrap_or(u32::MAX)
}
