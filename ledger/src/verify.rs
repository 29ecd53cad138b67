//! The full check: every stored byte against what it must be. It folds the journal from its first commit with the code that
//! recovery runs and compares everything else with that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::mpsc;

use bytes::Bytes;

use crate::erase::Erased;
use crate::fold::{ReadBatch, Vectors};
use crate::segment::{self, Scan, Segment, Step};
use crate::shared::{CommitPlace, Shared};
use crate::tile::{self, Of, Tile, WIDTH};
use crate::tree::empty_root;
use crate::{Checkpoint, Content, Error, Fault, Hash, LogId, PartRef, Reader, derive, open_reader};

/// Batches that are read before they are checked.
const BATCHES_AHEAD: usize = 4;
/// Journal that is read at once of what was appended meanwhile.
const LATER_BYTES: usize = 8 << 20;

/// What `verify` found, in words and numbers.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Commits, entries, bytes and blobs checked.
    pub commits: u64,
    /// Entries checked.
    pub entries: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// Blobs checked.
    pub blobs: u64,
    /// Each check that was made, as a sentence.
    pub checks: Vec<String>,
    /// The first fault found, as a sentence that names index, expected and found; `None` when all is well.
    pub fault: Option<String>,
    /// Where that is, as far as it can be said.
    pub first_fault: Option<Fault>,
}

/// Full check of a ledger directory: chain of commits, every leaf hash, every root, facts and bodies against their digests, tiles,
/// checkpoints and their signatures. `progress(entries done, entries in all)`.
///
/// # Errors
/// [`Error::Io`] and [`Error::Refused`] when the directory cannot be read; faults are in the result.
pub fn verify(dir: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Verified, Error> {
    let mut verified = Verified::default();
    match check_all(dir, progress, &mut verified) {
        Ok(()) => {}
        Err(Error::Corrupt(fault)) => verified.fault = Some(fault),
        Err(error) => return Err(error),
    }
    Ok(verified)
}

fn check_all(dir: &Path, progress: &mut dyn FnMut(u64, u64), verified: &mut Verified) -> Result<(), Error> {
    let reader = open_reader(dir)?;
    let shared = &reader.0;
    let end = shared.state().next_seq;
    let heads: Vec<_> = shared.state().logs.iter().map(|(log, head)| (log.clone(), head.size)).collect();
    let total = heads.iter().map(|(_, size)| size).sum();
    let mut check = Check {
        reader: &reader,
        logs: BTreeMap::new(),
        blobs: BTreeSet::new(),
        erased: Erased::default(),
        vectors: Vectors::default(),
        verified,
    };
    for (log, size) in &heads {
        // As it was before the journal was read: a writer at work may publish a larger one meanwhile.
        let checkpoint = shared.state().logs.get(log).and_then(|head| head.checkpoint.clone());
        check.start_log(log, *size, checkpoint)?;
    }
    let segments = shared.state().segments.clone();
    for segment in &segments {
        check.segment(shared, segment, end, &mut |done| progress(done, total))?;
    }
    check.finish(shared)
}

/// A check under way.
struct Check<'a> {
    reader: &'a Reader,
    logs: BTreeMap<LogId, LogCheck>,
    /// Blobs found good.
    blobs: BTreeSet<(Content, Hash)>,
    erased: Erased,
    vectors: Vectors,
    verified: &'a mut Verified,
}

/// One log's tiles as its entries imply them.
struct LogCheck {
    rows: Vec<Vec<Hash>>,
    size: u64,
    /// What is in its files, to be compared.
    positions: Option<BufReader<File>>,
    /// The checkpoint that no commit has had the size of so far.
    checkpoint: Option<(u64, Hash)>,
    /// The seq from which on the key that signed it signs nothing.
    retired_at: Option<u64>,
    tiles: u64,
}

impl Check<'_> {
    fn start_log(&mut self, log: &LogId, size: u64, checkpoint: Option<Checkpoint>) -> Result<(), Error> {
        let dir = self.reader.dir();
        let mut retired_at = None;
        let checkpoint = match checkpoint {
            None => None,
            Some(checkpoint) => {
                let text = String::from_utf8_lossy(&checkpoint.note).into_owned();
                let keys = &self.reader.0.meta.keys;
                let signed = keys.verify_checkpoint(&text, &self.reader.origin(log));
                let (size, root, key) =
                    signed.map_err(|why| Error::Corrupt(format!("checkpoint of log {log}: {why}")))?;
                retired_at = keys.signed_until(&key);
                Some((size, root))
            }
        };
        match checkpoint {
            Some((published, _)) if published > size => {
                return corrupt(format!("log {log} has {size} entries, its checkpoint was published for {published}"));
            }
            Some((0, root)) if root != empty_root() => {
                return corrupt(format!("log {log}: the checkpoint of the empty tree signs {root}"));
            }
            Some(_) | None => {}
        }
        let positions = File::open(derive::entries_path(dir, log)).ok().map(BufReader::new);
        let check = LogCheck { rows: vec![Vec::new(); 8], size: 0, positions, checkpoint, retired_at, tiles: 0 };
        self.logs.insert(log.clone(), check);
        Ok(())
    }

    fn segment(
        &mut self,
        shared: &Shared,
        segment: &Segment,
        end: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        let (header, offset) = segment::read_header(&shared.dir, &shared.meta, segment)?;
        if Vectors::from_header(&header) != self.vectors {
            return corrupt(format!(
                "segment {:020}: its header states another state than the commits before it lead to",
                segment.first_seq
            ));
        }
        let mut scan = Scan::open(&shared.dir, &shared.meta, *segment, offset)?;
        if self.vectors.next_seq < end {
            let (send, batches) = mpsc::sync_channel(BATCHES_AHEAD);
            // Seqs have no gap.
            let count = end - self.vectors.next_seq;
            let (found, read) = mpsc::sync_channel(BATCHES_AHEAD);
            // Reading and checksums on one thread, hashing leaves on another, trees and files here.
            scan = std::thread::scope(|scope| {
                let reading = scope.spawn(move || read_batches(scan, count, &found));
                scope.spawn(move || hash_batches(&read, &send));
                for batch in batches {
                    let batch = batch?;
                    self.vectors.fold(&batch)?;
                    self.batch(shared, &batch)?;
                    progress(self.verified.entries);
                }
                reading.join().map_err(|_| Error::Io(std::io::Error::other("reading the journal panicked")))
            })?;
        }
        scan.refresh();
        let newest = shared.state().segments.last() == Some(segment);
        match scan.written_behind()? {
            // A writer at work has bytes behind the last commit that is durable.
            Some(_) if newest && is_written(&shared.dir) => Ok(()),
            Some(at) => corrupt(format!(
                "segment {:020} has bytes at offset {} behind its last whole commit: commit {} or a later one is damaged, or a crash left an uncommitted tail, which the next start cuts",
                segment.first_seq, at, self.vectors.next_seq
            )),
            None => Ok(()),
        }
    }

    fn batch(&mut self, shared: &Shared, batch: &ReadBatch) -> Result<(), Error> {
        let place = CommitPlace {
            at: batch.at,
            bytes: u32::try_from(batch.bytes).unwrap_or(u32::MAX),
            time_ns: batch.commit.time_ns,
        };
        let seq = batch.commit.seq;
        if seq < derive::indexed_commits(&shared.dir) && derive::indexed_commit(&shared.dir, seq) != Some(place) {
            return corrupt(format!("the index of commits has a wrong record {seq}"));
        }
        for (at, entry) in &batch.entries {
            for part in entry.facts.iter().chain(&entry.body) {
                if !self.part(part).map_err(|fault| affecting(fault, &entry.log, entry.index))? {
                    self.erased.met(&entry.log, entry.index, part);
                }
            }
            let (dir, log) = (&shared.dir, &entry.log);
            let Some(check) = self.logs.get_mut(log) else {
                return corrupt(format!("log {log} is not in the newest state"));
            };
            check.leaf(dir, log, *at, entry.leaf_hash)?;
            self.verified.bytes += entry.leaf.len() as u64;
            self.verified.entries += 1;
        }
        self.erased.listed(self.reader, seq, &batch.commit.erasures)?;
        self.verified.commits += 1;
        for (log, size, root) in &batch.commit.heads {
            let Some(check) = self.logs.get_mut(log) else { continue };
            let Some((_, signed)) = check.checkpoint.take_if(|(published, _)| published == size) else { continue };
            if signed != *root {
                return corrupt(format!("log {log} at size {size} has root {root}, its checkpoint signs {signed}"));
            }
            if check.retired_at.is_some_and(|retired_at| seq >= retired_at) {
                return corrupt(format!(
                    "log {log} at size {size}: its checkpoint is by a key that was replaced before commit {seq}"
                ));
            }
        }
        Ok(())
    }

    /// Whether the bytes of a part are there, as they must be; `false` when it is a body that was erased.
    fn part(&mut self, part: &PartRef) -> Result<bool, Error> {
        match part.at {
            None if self.blobs.contains(&(part.content, part.digest)) => Ok(true),
            None => self.blob(part),
            Some(_) => {
                let bytes = self.reader.part(part)?;
                self.verified.bytes += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
                Ok(bytes.is_some())
            }
        }
    }

    fn blob(&mut self, part: &PartRef) -> Result<bool, Error> {
        let fault = |why: String| Error::Corrupt(format!("blob {}: {why}; restore it from a copy", part.digest));
        let Some(mut from) = self.reader.blobs(part.content).open(&part.digest)? else {
            return if part.content == Content::Body { Ok(false) } else { Err(fault("facts are never erased".into())) };
        };
        let size = std::io::copy(&mut from, &mut std::io::sink()).map_err(|why| fault(why.to_string()))?;
        if size != part.size {
            return Err(fault(format!("has {size} bytes, its entry states {}", part.size)));
        }
        (self.verified.bytes, self.verified.blobs) = (self.verified.bytes + size, self.verified.blobs + 1);
        self.blobs.insert((part.content, part.digest));
        Ok(true)
    }

    /// What can only be said at the end.
    fn finish(mut self, shared: &Shared) -> Result<(), Error> {
        let state = shared.state();
        for (log, check) in &mut self.logs {
            let head = state.logs.get(log).map_or(0, |head| head.size);
            if check.size < head {
                return corrupt(format!(
                    "log {log}: the journal's segments hold {} entries, its newest state says {head}: a batch in between is damaged",
                    check.size
                ));
            }
        }
        if self.vectors.next_seq < state.next_seq {
            return corrupt(format!(
                "commit {} is damaged: the journal's segments go on behind it",
                self.vectors.next_seq
            ));
        }
        drop(state);
        if self.vectors.next_seq < derive::indexed_commits(&shared.dir) && !is_written(&shared.dir) {
            return corrupt(format!("the index names commit {}, the journal ends before it", self.vectors.next_seq));
        }
        self.finish_erased(shared)?;
        let tiles: u64 = self.logs.values().map(|check| check.tiles).sum();
        for (log, check) in &self.logs {
            if let Some((size, _)) = check.checkpoint.filter(|(size, _)| *size > 0) {
                return corrupt(format!("log {log}: the checkpoint's size {size} is that of no commit"));
            }
            check_no_more_tiles(&shared.dir, log, check.size)?;
        }
        let Verified { commits, entries, bytes, blobs, .. } = *self.verified;
        self.verified.checks = vec![
            format!(
                "{commits} commits follow each other in seq, hash, epoch and time, and nothing lies behind the last"
            ),
            format!("{entries} entries hash to the roots that their commits state"),
            format!("facts and bodies have their digests; {bytes} bytes hashed, {blobs} blobs read"),
            format!("{} bodies are erased, each by a commit that says so, and no others", self.erased.count),
            "every segment's header states what the commits before it lead to".into(),
            format!("{tiles} tiles on disk, and the indexes, are those that the entries imply"),
            format!(
                "the checkpoints of {} logs are signed by the ledger's key of their time and sign roots of these entries",
                self.logs.len()
            ),
        ];
        Ok(())
    }
}

impl Check<'_> {
    /// A writer at work may have erased more since, and be erasing what its last commit says.
    fn finish_erased(&mut self, shared: &Shared) -> Result<(), Error> {
        let mut seq = self.vectors.next_seq;
        let busy = is_written(&shared.dir);
        while busy && seq < self.reader.next_seq() {
            for commit in self.reader.commits(seq, LATER_BYTES)? {
                self.erased.listed(self.reader, commit.seq, &commit.erasures)?;
                seq = commit.seq + 1;
            }
        }
        self.erased.finish(self.reader, busy.then(|| seq.saturating_sub(1)))
    }
}

/// A fault of what an entry names is a fault of that entry.
fn affecting(fault: Error, log: &LogId, index: u64) -> Error {
    if let Error::Corrupt(why) = fault { Error::Corrupt(format!("entry {index} of log {log}: {why}")) } else { fault }
}

/// Sends so many batches of a segment, with their journal positions, then gives the scan back.
fn read_batches(mut scan: Scan, count: u64, send: &mpsc::SyncSender<Result<(Bytes, u64), Error>>) -> Scan {
    for _ in 0..count {
        let found = match scan.step() {
            Ok(Step::Batch { bytes, at }) => Ok((bytes, at)),
            Ok(Step::End | Step::Bad) => break,
            Err(error) => Err(error.into()),
        };
        let failed = found.is_err();
        // The checking side stops listening at the first fault.
        if send.send(found).is_err() || failed {
            break;
        }
    }
    scan
}

/// Parses what was read, which hashes every leaf, up to the first fault.
fn hash_batches(read: &mpsc::Receiver<Result<(Bytes, u64), Error>>, send: &mpsc::SyncSender<Result<ReadBatch, Error>>) {
    for found in read {
        let batch = found.and_then(|(bytes, at)| ReadBatch::parse(&bytes, at));
        let failed = batch.is_err();
        if send.send(batch).is_err() || failed {
            return;
        }
    }
}

/// Whether a writer has the ledger open now.
fn is_written(dir: &Path) -> bool {
    let Ok(lock) = File::open(dir.join("LOCK")) else { return false };
    let written = matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock));
    drop(lock.unlock());
    written
}

impl LogCheck {
    fn leaf(&mut self, dir: &Path, log: &LogId, at: u64, hash: Hash) -> Result<(), Error> {
        self.position(dir, log, at)?;
        self.size += 1;
        let (mut hash, mut count) = (hash, self.size);
        for level in 0..8_u8 {
            let row = &mut self.rows[usize::from(level)];
            row.push(hash);
            if !count.is_multiple_of(WIDTH) {
                break;
            }
            let tile = Tile { of: Of::Level(level), number: count / WIDTH - 1, width: WIDTH };
            self.tiles += compare(dir, log, &tile, &tile::encode_hashes(row))?;
            hash = tile::tile_root(row);
            row.clear();
            count /= WIDTH;
        }
        Ok(())
    }

    fn position(&mut self, dir: &Path, log: &LogId, at: u64) -> Result<(), Error> {
        let Some(file) = &mut self.positions else { return Ok(()) };
        let mut record = [0; 8];
        // Short: the index is written later than the entry.
        if file.read_exact(&mut record).is_err() {
            self.positions = None;
            return Ok(());
        }
        match u64::from_le_bytes(record) {
            found if found == at => Ok(()),
            found => corrupt(format!(
                "{}: entry {} lies at {at}, not {found}",
                derive::entries_path(dir, log).display(),
                self.size
            )),
        }
    }
}

/// Compares a derived file with what it must be; 0 when it is not there.
fn compare(dir: &Path, log: &LogId, tile: &Tile, expected: &[u8]) -> Result<u64, Error> {
    let path = derive::tile_path(dir, log, tile);
    let Ok(found) = fs::read(&path) else { return Ok(0) };
    if found == expected {
        return Ok(1);
    }
    match found.iter().zip(expected).position(|(found, expected)| found != expected) {
        None => corrupt(format!("{}: {} bytes, expected {}", path.display(), found.len(), expected.len())),
        Some(at) => corrupt(format!(
            "{}: differs from the journal's entries at byte {at}; delete it, it is made again",
            path.display()
        )),
    }
}

/// A tile that no entry implies was put there.
fn check_no_more_tiles(dir: &Path, log: &LogId, size: u64) -> Result<(), Error> {
    let root = derive::log_dir(dir, log);
    let mut open = vec![root.join("tile")];
    while let Some(folder) = open.pop() {
        let Ok(names) = fs::read_dir(&folder) else { continue };
        for name in names {
            let path = name?.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let resource = path.strip_prefix(&root).ok().and_then(Path::to_str);
            // Bundles were stored once; nobody reads them.
            let implied = resource
                .and_then(Tile::parse)
                .is_some_and(|tile| tile.of == Of::Entries || tile.width == WIDTH && tile.exists_at(size));
            let half_made = path.extension().is_some_and(|extension| extension == "tmp");
            if !implied && !half_made {
                return corrupt(format!("{}: no entries imply this file", path.display()));
            }
        }
    }
    Ok(())
}

fn corrupt<T>(what: String) -> Result<T, Error> {
    Err(Error::Corrupt(what))
}
