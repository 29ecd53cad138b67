//! The full check: every stored byte against what it must be. It folds the journal from its first commit with the code
//! that recovery runs and compares everything else with that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::mpsc;

use bytes::Bytes;

use crate::derived::index::{self, CommitPlace};
use crate::fault::{Stop, fault_text, ranges_text};
use crate::files::ahead;
use crate::files::storage::Rooms;
use crate::journal::fold::{ReadBatch, Vectors};
use crate::journal::frame::LogVector;
use crate::journal::segment::{self, Scan, Segment, Step};
use crate::read::open_ledger::OpenLedger;
use crate::tree::merkle::{WIDTH, digest, empty_root};
use crate::verify::damage::{behind, unreached};
use crate::verify::erased::Erased;
use crate::verify::open::Opened;
use crate::verify::pending::check_pending;
use crate::verify::resume::{self, Counted, Noted, NotedLog};
use crate::verify::state::{self, OldHead, Rows};
use crate::{Checkpoint, Content, Entry, Error, Fault, Hash, LogId, PartRef, Reader};

/// Batches that are read before they are checked.
const BATCHES_AHEAD: usize = 4;
/// Journal that is read at once of what was appended meanwhile.
const LATER_BYTES: usize = 8 << 20;
/// Journal that is checked from one saved state to the next, as a multiple of the state's size: many logs have a large
/// state.
const SAVE_EVERY: u64 = 8;

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
    /// How many of the entries an earlier run checked, which is believed.
    pub believed: u64,
    /// Each check that was made, as a sentence.
    pub checks: Vec<String>,
    /// The first fault found, as a sentence that names index, expected and found; `None` when all is well.
    pub fault: Option<String>,
    /// The same in its parts.
    pub first_fault: Option<Fault>,
}

/// Full check of a ledger directory: chain of commits, every leaf hash, every root, facts and bodies against their
/// digests, tiles, checkpoints and their signatures. `progress(entries done, entries in all)`.
///
/// # Errors
/// [`Error::Io`] and [`Error::Refused`] when the directory cannot be read; faults are in the result.
pub fn verify(dir: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Verified, Error> {
    verify_with(dir, None, progress)
}

/// [`verify`](fn@crate::verify), with a file in which the check notes, from segment to segment, how far it came, and
/// from which it goes on. Whoever can write the file can make a check skip entries: it is to be trusted like this
/// program.
///
/// # Errors
/// As [`verify`](fn@crate::verify); [`Error::Refused`] when the file holds anything but the state of a check of this
/// ledger.
pub fn verify_with(dir: &Path, resume: Option<&Path>, progress: &mut dyn FnMut(u64, u64)) -> Result<Verified, Error> {
    let mut verified = Verified::default();
    match check_all(dir, resume, progress, &mut verified) {
        Ok(()) => resume.map_or(Ok(()), state::remove)?,
        Err(Stop::Fault(fault)) => verified.fail(*fault),
        Err(Stop::Error(error)) => {
            let affected = "which entries cannot be said".into();
            verified.fail(Fault { what: fault_text(error)?, affected, ..Fault::default() });
        }
    }
    Ok(verified)
}

fn check_all(
    dir: &Path,
    resume: Option<&Path>,
    progress: &mut dyn FnMut(u64, u64),
    verified: &mut Verified,
) -> Result<(), Stop> {
    let opened = Opened::of(dir)?;
    let shared = &opened.reader.0;
    let segments = shared.durable().segments.clone();
    let mut check = Check {
        reader: &opened.reader,
        logs: BTreeMap::new(),
        blobs: BTreeSet::new(),
        erased: Erased::default(),
        vectors: Vectors::default(),
        rooms: ahead::rooms(),
        resume: resume.map(|file| Resume { file, save_from: 0 }),
        verified,
    };
    for (log, checkpoint) in &opened.checkpoints {
        check.start_log(log, checkpoint.clone())?;
    }
    let first = resume.map_or(Ok(0), |file| check.go_on(shared, file, &segments))?;
    progress(check.verified.entries, opened.entries);
    for segment in &segments[first..] {
        check.segment(shared, segment, opened.end, &mut |done| progress(done, opened.entries))?;
    }
    check.finish(shared)?;
    if let Some(why) = opened.contradiction {
        return Err(Error::Corrupt(why).into());
    }
    let pending = check_pending(&opened.reader)?;
    let text =
        format!("{pending} checkpoints that were signed to be shown to witnesses sign roots of these entries too");
    verified.checks.push(text);
    Ok(())
}

/// A check under way.
struct Check<'a> {
    reader: &'a Reader,
    logs: BTreeMap<LogId, LogCheck>,
    /// Blobs found good.
    blobs: BTreeSet<(Content, Hash)>,
    erased: Erased,
    vectors: Vectors,
    rooms: Rooms,
    resume: Option<Resume<'a>>,
    verified: &'a mut Verified,
}

/// Where a check is noted.
struct Resume<'a> {
    file: &'a Path,
    /// The first segment that begins at or behind this journal position is the next to be noted.
    save_from: u64,
}

/// One log's tiles as its entries imply them.
#[derive(Default)]
struct LogCheck {
    rows: Rows,
    /// What is in its files, to be compared.
    positions: Option<BufReader<File>>,
    /// The checkpoint that no commit has had the size of so far.
    checkpoint: Option<OldHead>,
    /// The one that a commit had the size and root of.
    compared: Option<OldHead>,
    /// Why the checkpoint says nothing.
    bad_checkpoint: Option<String>,
    /// The seq from which on the key that signed it signs nothing.
    retired_at: Option<u64>,
    tiles: u64,
}

impl Check<'_> {
    fn start_log(&mut self, log: &LogId, checkpoint: Result<Option<Checkpoint>, String>) -> Result<(), Stop> {
        let positions = File::open(index::entries_path(self.reader.dir(), log)).ok().map(BufReader::new);
        let mut check = LogCheck { positions, ..LogCheck::default() };
        let signed = checkpoint.and_then(|checkpoint| {
            let Some(checkpoint) = checkpoint else { return Ok(None) };
            let text = String::from_utf8_lossy(&checkpoint.note).into_owned();
            let signed = self.reader.0.meta.keys.verify_checkpoint(&text, &self.reader.origin(log));
            signed.map(Some).map_err(|why| why.to_string())
        });
        match signed {
            Ok(None) => {}
            Ok(Some((0, root, _))) if root != empty_root() => {
                let what = format!("log {log}: the checkpoint of the empty tree signs another root");
                let fault =
                    Fault { what, log: Some(log.clone()), affected: CHECKPOINT_ALONE.into(), ..Fault::default() };
                return Err(fault.hashes(root, empty_root()).into());
            }
            Ok(Some((size, root, key))) => {
                check.checkpoint = (size > 0).then_some(OldHead { size, root });
                check.retired_at = self.reader.0.meta.keys.signed_until(&key);
            }
            // The entries come first: a fault of theirs tells more.
            Err(why) => check.bad_checkpoint = Some(format!("checkpoint of log {log}: {why}")),
        }
        self.logs.insert(log.clone(), check);
        Ok(())
    }

    /// Goes on where an earlier run ended; returns the number of the segment where that is.
    fn go_on(&mut self, shared: &OpenLedger, file: &Path, segments: &[Segment]) -> Result<usize, Stop> {
        let Some(noted) = resume::load(file, &shared.meta)? else { return Ok(0) };
        let Some(number) = self.fits(shared, &noted, segments)? else {
            let text = format!("{} is of another state of this ledger: the check began anew", file.display());
            self.verified.checks.push(text);
            return Ok(0);
        };
        for (log, noted) in noted.logs {
            let from = noted.rows.size();
            let check = self.logs.entry(log).or_default();
            if let Some(positions) = &mut check.positions {
                positions.seek(SeekFrom::Start(from * 8))?;
            }
            if check.checkpoint == noted.checkpoint {
                check.checkpoint = None;
            }
            (check.rows, check.tiles, check.compared) = (noted.rows, noted.tiles, noted.checkpoint);
        }
        self.erased = noted.erased;
        let Counted { commits, entries, bytes, blobs } = noted.counted;
        let verified = &mut *self.verified;
        (verified.commits, verified.entries, verified.bytes, verified.blobs) = (commits, entries, bytes, blobs);
        verified.believed = entries;
        verified.checks.push(format!(
            "commits below {} with {entries} entries, and what is made from them, were read in an earlier run, says {}, which is believed",
            noted.seq,
            file.display()
        ));
        Ok(number)
    }

    /// The segment whose header states what was noted; takes its state over.
    fn fits(&mut self, shared: &OpenLedger, noted: &Noted, segments: &[Segment]) -> Result<Option<usize>, Stop> {
        let Some(number) = segments.iter().position(|segment| segment.first_seq == noted.seq) else { return Ok(None) };
        let header = segment::read_header(&shared.dir, &shared.meta, &segments[number]);
        let Ok((header, _)) = header.map_err(fault_text).map_err(Result::ok) else { return Ok(None) };
        let vectors = Vectors::from_header(&header);
        let same_log = |(log, vector): (&LogId, &LogVector)| {
            let rows = noted.logs.get(log).map(|noted| &noted.rows);
            rows.is_some_and(|rows| (rows.size(), rows.root()) == (vector.edge.size(), vector.edge.root()))
        };
        // A checkpoint of entries that are not read again must be the one that was compared with them.
        let same_checkpoint = |(log, check): (&LogId, &LogCheck)| {
            let noted = noted.logs.get(log);
            let read = noted.map_or(0, |noted| noted.rows.size());
            check.checkpoint.is_none_or(|head| head.size > read || noted.and_then(|n| n.checkpoint) == Some(head))
        };
        let fits = resume::digest_of(&vectors, &shared.meta) == noted.vectors
            && vectors.logs.iter().all(same_log)
            && self.logs.iter().all(same_checkpoint);
        if fits {
            self.vectors = vectors;
        }
        Ok(fits.then_some(number))
    }

    /// Notes that all before a segment is well.
    fn note(&mut self, shared: &OpenLedger, segment: &Segment) -> Result<(), Error> {
        let Some(resume) = self.resume.as_mut().filter(|resume| segment.base > 0 && segment.base >= resume.save_from)
        else {
            return Ok(());
        };
        let logs = self.logs.iter().filter(|(_, check)| check.rows.size() > 0);
        let noted_log =
            |check: &LogCheck| NotedLog { rows: check.rows.clone(), tiles: check.tiles, checkpoint: check.compared };
        let Verified { commits, entries, bytes, blobs, .. } = *self.verified;
        let noted = Noted {
            seq: segment.first_seq,
            vectors: resume::digest_of(&self.vectors, &shared.meta),
            counted: Counted { commits, entries, bytes, blobs },
            logs: logs.map(|(log, check)| (log.clone(), noted_log(check))).collect(),
            erased: self.erased.clone(),
        };
        let bytes = resume::save(resume.file, &shared.meta, &noted)?;
        resume.save_from = segment.base.saturating_add(bytes.saturating_mul(SAVE_EVERY));
        Ok(())
    }

    fn segment(
        &mut self,
        shared: &OpenLedger,
        segment: &Segment,
        end: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Stop> {
        let header = segment::read_header(&shared.dir, &shared.meta, segment);
        let (header, offset) = header.map_err(|error| self.damage(shared, segment, error))?;
        let stated = Vectors::from_header(&header);
        if stated != self.vectors {
            return Err(self.other_state(segment, &stated));
        }
        self.note(shared, segment)?;
        let mut scan = Scan::of_all(&shared.dir, &shared.meta, *segment, offset, &self.rooms)?;
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
                    let batch = batch.map_err(|error| self.damage(shared, segment, error))?;
                    self.vectors.follow(&batch)?;
                    self.batch(shared, &batch)?;
                    progress(self.verified.entries);
                }
                reading.join().map_err(|_| Stop::from(std::io::Error::other("reading the journal panicked")))
            })?;
        }
        scan.refresh();
        let newest = shared.durable().segments.last() == Some(segment);
        match scan.written_behind()? {
            // A writer at work has bytes behind the last commit that is durable.
            Some(_) if newest && is_written(&shared.dir) => Ok(()),
            Some(at) => Err(behind(shared, &scan, &self.vectors, at)?.into()),
            None => Ok(()),
        }
    }

    /// A fault that ends the reading of a segment.
    fn damage(&self, shared: &OpenLedger, segment: &Segment, error: Error) -> Stop {
        match fault_text(error) {
            Ok(what) => unreached(shared, segment, &self.vectors, what).into(),
            Err(error) => error.into(),
        }
    }

    /// A segment starts from another state than the one before it leads to.
    fn other_state(&self, segment: &Segment, stated: &Vectors) -> Stop {
        let name = segment.first_seq;
        let what = format!("segment {name:020}: its header states another state than the commits before it lead to");
        let size = |log: &LogId| (self.vectors.size(log), stated.size(log));
        let logs = self.vectors.logs.keys().chain(stated.logs.keys());
        let sizes = logs.map(|log| (log.clone(), size(log))).filter(|(_, (read, stated))| read != stated);
        let ranges = sizes.map(|(log, (read, stated))| (log, read.min(stated)..read.max(stated))).collect();
        let mut fault = Fault::of_entries(what, &ranges).hashes(stated.last_commit.0, self.vectors.last_commit.0);
        if ranges.is_empty() {
            fault.affected = format!("the entries of commits before {name}, or this header alone");
        } else {
            fault.what += ": entries are missing";
        }
        fault.into()
    }

    fn batch(&mut self, shared: &OpenLedger, batch: &ReadBatch) -> Result<(), Stop> {
        let place = CommitPlace {
            at: batch.at,
            bytes: u32::try_from(batch.bytes).unwrap_or(u32::MAX),
            time_ns: batch.commit.time_ns,
        };
        let seq = batch.commit.seq;
        if seq < index::indexed_commits(&shared.dir) && index::indexed_commit(&shared.dir, seq) != Some(place) {
            let what = format!("the index of commits has a wrong record {seq}");
            let found_by = ranges_text(&batch.ranges());
            let affected = format!("the index of commits alone, by which {found_by} are found; {MADE_AGAIN}");
            return Err(Fault { affected, ..Fault::of_entries(what, &batch.ranges()) }.into());
        }
        for (at, entry) in &batch.entries {
            for part in entry.facts.iter().chain(&entry.body) {
                if !self.part(entry, part)? {
                    self.erased.met(&entry.log, entry.index, part);
                }
            }
            let (dir, log) = (&shared.dir, &entry.log);
            // One that no file tells of, in a ledger that nobody could open.
            if !self.logs.contains_key(log) {
                self.start_log(log, Ok(None))?;
            }
            let check = self.logs.entry(log.clone()).or_default();
            check.leaf(dir, log, *at, entry.leaf_hash)?;
            self.verified.bytes += entry.leaf.len() as u64;
            self.verified.entries += 1;
        }
        self.erased.listed(self.reader, seq, &batch.commit.erasures)?;
        self.verified.commits += 1;
        self.compare_checkpoints(seq, &batch.commit.heads)
    }

    fn compare_checkpoints(&mut self, seq: u64, heads: &[(LogId, u64, Hash)]) -> Result<(), Stop> {
        for (log, size, root) in heads {
            let Some(check) = self.logs.get_mut(log) else { continue };
            let Some(signed) = check.checkpoint.take_if(|published| published.size == *size) else { continue };
            let fault =
                |what: String, affected: String| Fault { what, log: Some(log.clone()), affected, ..Fault::default() };
            if signed.root != *root {
                let what = format!("log {log} at size {size} has another root than its checkpoint signs");
                let affected = format!(
                    "one of the entries below {size} of log {log}: history was rewritten; keep the checkpoint, it proves it"
                );
                return Err(fault(what, affected).hashes(signed.root, *root).into());
            }
            if check.retired_at.is_some_and(|retired_at| seq >= retired_at) {
                let what = format!(
                    "log {log} at size {size}: its checkpoint is by a key that was replaced before commit {seq}"
                );
                return Err(fault(what, CHECKPOINT_ALONE.into()).into());
            }
            check.compared = Some(signed);
        }
        Ok(())
    }

    /// Whether the bytes of a part are there, as they must be; `false` when it is a body that was erased.
    fn part(&mut self, entry: &Entry, part: &PartRef) -> Result<bool, Stop> {
        if part.at.is_none() {
            return if self.blobs.contains(&(part.content, part.digest)) { Ok(true) } else { self.blob(entry, part) };
        }
        let bytes = self.reader.part_as_it_is(part);
        let Some(bytes) = bytes.map_err(|error| part_fault(entry, part, error))? else { return Ok(false) };
        self.verified.bytes += bytes.len() as u64;
        let found = digest(&bytes);
        if bytes.len() as u64 != part.size || found != part.digest {
            let why = format!("part {} has other bytes; restore it from a copy", part.digest);
            return Err(part_fault_with(entry, part, &why, Some(found)));
        }
        Ok(true)
    }

    fn blob(&mut self, entry: &Entry, part: &PartRef) -> Result<bool, Stop> {
        let blobs = self.reader.blobs(part.content);
        let fault = |why: String, found| {
            let why = format!("blob {}: {why}; restore it from a copy", part.digest);
            part_fault_with(entry, part, &why, found)
        };
        let from = blobs.open(&part.digest).map_err(|error| match error {
            Error::Corrupt(why) => part_fault_with(entry, part, &why, blobs.digest_as_it_is(&part.digest)),
            error @ (Error::Locked(_)
            | Error::Refused(_)
            | Error::Signer(_)
            | Error::Fork(_)
            | Error::Full(_)
            | Error::Io(_)) => error.into(),
        })?;
        let Some(mut from) = from else {
            return if part.content == Content::Body {
                Ok(false)
            } else {
                Err(fault("facts are never erased".into(), None))
            };
        };
        let size = match std::io::copy(&mut from, &mut std::io::sink()) {
            Ok(size) => size,
            Err(_) if blobs.is_gone(&part.digest)? => return Ok(false),
            Err(why) => return Err(fault(why.to_string(), blobs.digest_as_it_is(&part.digest))),
        };
        if size != part.size {
            return Err(fault(format!("has {size} bytes, its entry states {}", part.size), Some(part.digest)));
        }
        (self.verified.bytes, self.verified.blobs) = (self.verified.bytes + size, self.verified.blobs + 1);
        self.blobs.insert((part.content, part.digest));
        Ok(true)
    }

    /// What can only be said at the end.
    fn finish(mut self, shared: &OpenLedger) -> Result<(), Stop> {
        self.check_end(shared)?;
        self.finish_erased(shared)?;
        let tiles: u64 = self.logs.values().map(|check| check.tiles).sum();
        for (log, check) in &self.logs {
            let fault =
                |what| Fault { what, log: Some(log.clone()), affected: CHECKPOINT_ALONE.into(), ..Fault::default() };
            if let Some(OldHead { size, root }) = check.checkpoint {
                let what = format!("log {log}: the checkpoint's size {size} is that of no commit");
                return Err(Fault { expected: Some(root), ..fault(what) }.into());
            }
            if let Some(why) = &check.bad_checkpoint {
                return Err(fault(why.clone()).into());
            }
            // A writer at work goes on beyond what was read.
            if !is_written(&shared.dir) {
                check_no_more_tiles(&shared.dir, log, check.rows.size())?;
            }
        }
        let Verified { commits, entries, bytes, blobs, .. } = *self.verified;
        self.verified.checks.extend([
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
        ]);
        Ok(())
    }

    /// Whether all is there that the newest state, the index and the checkpoints know of.
    fn check_end(&self, shared: &OpenLedger) -> Result<(), Stop> {
        let state = shared.durable();
        let (next_seq, newest) = (self.vectors.next_seq, state.segments.last().copied());
        let (newest_seq, sizes): (_, Vec<_>) =
            (state.next_seq, state.logs.iter().map(|(log, head)| (log.clone(), head.size)).collect());
        drop(state);
        let ends = |what: String| match &newest {
            Some(newest) => Err(unreached(shared, newest, &self.vectors, what).into()),
            None => Err(Stop::from(Error::Corrupt(what))),
        };
        if let Some((log, head)) = sizes.iter().find(|(log, head)| self.vectors.size(log) < *head) {
            return ends(format!(
                "log {log}: the journal's segments hold {} entries, its newest state says {head}: a batch in between is damaged",
                self.vectors.size(log)
            ));
        }
        if next_seq < newest_seq {
            return ends(format!("commit {next_seq} is damaged: the journal's segments go on behind it"));
        }
        for (log, check) in &self.logs {
            if let Some(published) = check.checkpoint.filter(|published| published.size > check.rows.size()) {
                let (size, published) = (check.rows.size(), published.size);
                let what = format!("log {log} has {size} entries, its checkpoint was published for {published}");
                let affected = format!("entries {size} to {} of log {log} are gone", published - 1);
                return Err(Fault::of_entry(log, size, what, affected).into());
            }
        }
        if next_seq < index::indexed_commits(&shared.dir) && !is_written(&shared.dir) {
            return ends(format!("the index names commit {next_seq}, the journal ends before it"));
        }
        Ok(())
    }

    /// A writer at work may have erased more since, and be erasing what its last commit says.
    fn finish_erased(&mut self, shared: &OpenLedger) -> Result<(), Stop> {
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

/// What is said of derived files.
const MADE_AGAIN: &str = "delete it while no writer runs, it is made again";
/// What is said of a checkpoint of entries that are sound.
const CHECKPOINT_ALONE: &str = "the checkpoint alone: the entries have the roots that their commits state; restore its file from a copy or a mirror";

/// A fault of what an entry names is a fault of that entry.
fn part_fault(entry: &Entry, part: &PartRef, error: Error) -> Stop {
    match fault_text(error) {
        Ok(why) => part_fault_with(entry, part, &why, None),
        Err(error) => error.into(),
    }
}

fn part_fault_with(entry: &Entry, part: &PartRef, why: &str, found: Option<Hash>) -> Stop {
    let (log, index) = (&entry.log, entry.index);
    let what = format!("entry {index} of log {log}: {why}");
    let affected = format!("{}; the leaf is as it was", part.content.of_entry(log, index));
    Fault { expected: Some(part.digest), found, ..Fault::of_entry(log, index, what, affected) }.into()
}

/// Sends so many batches of a segment, with their journal positions, or those up to the first that is none, then gives
/// the scan back. What a writer is just erasing may be read half overwritten; a batch that is damaged is so when it is
/// read again, too.
fn read_batches(mut scan: Scan, count: u64, send: &mpsc::SyncSender<Result<(Bytes, u64), Error>>) -> Scan {
    for _ in 0..count {
        let mut step = scan.step();
        if matches!(step, Ok(Step::Bad)) {
            scan.refresh();
            step = scan.step();
        }
        let found = match step {
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
pub(crate) fn is_written(dir: &Path) -> bool {
    let Ok(lock) = File::open(dir.join("LOCK")) else { return false };
    let written = matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock));
    drop(lock.unlock());
    written
}

impl LogCheck {
    fn leaf(&mut self, dir: &Path, log: &LogId, at: u64, hash: Hash) -> Result<(), Stop> {
        self.position(dir, log, at)?;
        for (level, number, hashes) in self.rows.push(hash) {
            self.tiles += compare(dir, log, level, number, &hashes)?;
        }
        Ok(())
    }

    fn position(&mut self, dir: &Path, log: &LogId, at: u64) -> Result<(), Stop> {
        let Some(file) = &mut self.positions else { return Ok(()) };
        let mut record = [0; 8];
        // Short: the index is written later than the entry.
        if file.read_exact(&mut record).is_err() {
            self.positions = None;
            return Ok(());
        }
        let (found, index) = (u64::from_le_bytes(record), self.rows.size());
        if found == at {
            return Ok(());
        }
        let path = index::entries_path(dir, log);
        let what = format!("{}: entry {index} lies at {at}, not {found}", path.display());
        Err(Fault::of_entry(log, index, what, format!("this index alone; {MADE_AGAIN}")).into())
    }
}

/// Compares a full tile on disk with what it must be; 0 when it is not there.
fn compare(dir: &Path, log: &LogId, level: u8, number: u64, expected: &[Hash]) -> Result<u64, Stop> {
    let Some(found) = index::tile_bytes(dir, log, level, number) else { return Ok(0) };
    // A hole: it was not written yet, or a crash came before it was.
    if found.iter().all(|byte| *byte == 0) {
        return Ok(0);
    }
    let found = found.as_chunks::<32>().0.iter().map(|hash| Hash(*hash));
    let Some((at, (found, expected))) =
        (0..).zip(found.zip(expected)).find(|(_, (found, expected))| found != *expected)
    else {
        return Ok(1);
    };
    let span = WIDTH.pow(level.into());
    let (first, path) = (number * WIDTH * span, index::tiles_path(dir, log, level));
    let what = format!("{}: hash {} is not that of the journal's entries", path.display(), number * WIDTH + at);
    let affected = format!("the proofs of entries {first} to {} of log {log}; {MADE_AGAIN}", first + WIDTH * span - 1);
    let fault = Fault::of_entry(log, first + at * span, what, affected);
    Err(Fault { expected: Some(*expected), found: Some(found), ..fault }.into())
}

/// A tile that no entry implies was put there.
fn check_no_more_tiles(dir: &Path, log: &LogId, size: u64) -> Result<(), Stop> {
    for level in 0..8_u8 {
        let path = index::tiles_path(dir, log, level);
        let implied = size / WIDTH.pow(level.into()) / WIDTH * index::TILE_BYTES;
        let found = fs::metadata(&path).map_or(0, |file| file.len());
        if found > implied {
            let what = format!("{}: {found} bytes, the entries imply {implied}", path.display());
            let affected = format!("no entry; {MADE_AGAIN}");
            return Err(Fault { what, log: Some(log.clone()), affected, ..Fault::default() }.into());
        }
    }
    Ok(())
}
