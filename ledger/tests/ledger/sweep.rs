//! The crash sweep: a scripted run in which every call to the storage fails or dies once, for every n. What was
//! acknowledged is there afterwards, once; and the run, resumed from the positions in the ledger, ends where it would
//! have ended.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pedigraph_ledger::*;

use crate::fault::{Fault, FaultyFiles, Loss, random};
use crate::support::*;

const BATCHES: u64 = 16;

/// The script's batch `n`: several logs, parts, a blob now and then, one batch larger than a segment.
fn scripted(n: u64, bodies: &Blobs) -> Result<Batch, Error> {
    let logs = [log("default"), log("b"), log("c")];
    let leaf_bytes = if n == 9 { 9000 } else { 20 };
    let mut entries = Vec::new();
    for i in 0..11 + random(n) % 20 {
        let mut leaf = format!("{n} {i} ").into_bytes();
        leaf.resize(leaf_bytes, 0);
        let facts = vec![Part::Inline(vec![u8::try_from(n % 3).unwrap(); 700].into())];
        let body = (i % 4 == 0).then(|| Part::Inline(vec![0; 600].into()));
        let log = &logs[usize::try_from(i % 7 % 3).unwrap()];
        entries.push(NewEntry { facts, body, ..entry(log, leaf) });
    }
    if n.is_multiple_of(8) {
        entries[0].body = Some(bodies.put(format!("blob {n}").as_bytes())?);
    }
    let time_ns = i64::try_from(n).unwrap();
    Ok(Batch { time_ns, entries, positions: vec![("source".into(), n + 1)], ..Batch::default() })
}

pub(crate) fn small() -> Options {
    Options { segment_bytes: 64 << 10, ..options() }
}

pub(crate) fn open_faulty(dir: &Path, storage: &FaultyFiles) -> Result<Writer, Error> {
    open_with(dir, &small(), Arc::new(storage.clone()), Work::Inline)
}

/// What the outside world was told.
#[derive(Default)]
struct Told {
    batches: u64,
    checkpoints: Vec<(LogId, Checkpoint)>,
}

/// Runs the script from where the ledger is, opening the ledger twice on the way. Up to `ahead` batches more than the
/// outside world was told of are submitted.
fn run(dir: &Path, storage: &FaultyFiles, told: &mut Told, ahead: u64) -> Result<(), Error> {
    for end in [BATCHES / 2, BATCHES] {
        let mut writer = open_faulty(dir, storage)?;
        let mut publisher = Publisher::new(&writer)?;
        let from = writer.positions().get(&b"source"[..]).copied().unwrap_or(0);
        assert!(from >= told.batches, "{} batches were acknowledged, {from} are there", told.batches);
        for n in from..end {
            writer.submit(scripted(n, &writer.bodies())?)?;
            let keep = if n + 1 == end { 0 } else { ahead };
            while told.batches.max(from) + keep < n + 1 {
                assert!(writer.landed()?.is_some());
                told.batches = told.batches.max(from) + 1;
            }
            if n % 5 == 4 {
                publisher.publish(i64::try_from(n).unwrap())?;
            }
            let reader = writer.reader();
            told.checkpoints
                .extend(reader.logs().into_iter().filter_map(|log| Some((log.clone(), reader.checkpoint(&log)?))));
            told.checkpoints.dedup();
        }
    }
    Ok(())
}

/// Roots of all logs at the script's end.
fn heads(dir: &Path) -> Vec<(LogId, u64, Hash)> {
    let reader = open_reader(dir).unwrap();
    reader.logs().into_iter().map(|log| (log.clone(), reader.head(&log).size, reader.head(&log).root)).collect()
}

fn check_told(dir: &Path, told: &Told, expected: &[Batch], ahead: u64) {
    let reader = open_reader(dir).unwrap();
    let commits = reader.commits(0, usize::MAX).unwrap();
    let found = commits.len() as u64;
    let possible = told.batches..=told.batches + 1 + ahead;
    assert!(possible.contains(&found), "told {}, found {found}", told.batches);
    for (commit, batch) in commits.iter().zip(expected) {
        let leaves = commit.entries.iter().map(|entry| (&entry.log, &entry.leaf));
        assert!(leaves.eq(batch.entries.iter().map(|entry| (&entry.log, &entry.leaf))));
    }
    for (log, checkpoint) in &told.checkpoints {
        let note = std::str::from_utf8(&checkpoint.note).unwrap();
        let (size, root) = verify_checkpoint(note, &reader.vkey(log)).unwrap();
        assert_eq!(reader.root_at(log, size).unwrap(), root);
        let newest = reader.checkpoint(log).expect("a published checkpoint stays");
        assert!(newest.size >= size && (newest.size > size || newest.note == checkpoint.note));
    }
}

#[test]
fn every_call_fails_or_dies_once() {
    eprintln!("{}", sweep(0));
}

#[test]
fn every_call_fails_or_dies_once_with_a_batch_under_way() {
    eprintln!("{}", sweep(1));
}

#[test]
fn every_call_fails_or_dies_once_with_two_batches_under_way() {
    eprintln!("{}", sweep(2));
}

/// Returns what it did.
fn sweep(ahead: u64) -> String {
    // The storage double decides what is durable, so memory will do.
    let place = memory_dir();
    let whole = place.path().join("whole");
    let storage = FaultyFiles::default();
    let mut told = Told::default();
    run(&whole, &storage, &mut told, ahead).unwrap();
    let calls = storage.calls();
    assert_eq!(told.batches, BATCHES);
    assert_sound(&whole);
    let expected_heads = heads(&whole);
    let bodies = open_faulty(&whole, &FaultyFiles::default()).unwrap().bodies();
    let expected: Vec<_> = (0..BATCHES).map(|n| scripted(n, &bodies).unwrap()).collect();

    let crashes = crash_everywhere(calls, |crash| {
        let (dir, label) = (crash.dir.as_path(), &crash.label);
        let mut told = Told::default();
        crash.happens(run(dir, &crash.storage, &mut told, ahead));
        check_told(dir, &told, &expected, ahead);
        // The power may take the note that a blob has no entry yet, and leave the blob.
        if crash.loss == Loss::Nothing {
            assert_eq!(orphans(dir), Vec::<PathBuf>::new(), "{label}");
        }
        assert_eq!(verify(dir, &mut |_, _| {}).unwrap().fault, None, "{label}");
        run(dir, &FaultyFiles::default(), &mut told, ahead).unwrap();
        assert_eq!(heads(dir), expected_heads, "{label}");
    });
    format!(
        "crash sweep, {ahead} batches ahead: {calls} calls, {crashes} crashes, each reopened, verified and run to its end"
    )
}

/// Files of bodies that no entry names, and what is left in `incoming`.
fn orphans(dir: &Path) -> Vec<PathBuf> {
    let commits = open_reader(dir).unwrap().commits(0, usize::MAX).unwrap();
    let bodies = commits.iter().flat_map(|commit| &commit.entries).filter_map(|entry| entry.body.as_ref());
    let named: Vec<_> = bodies.map(|body| body.digest.to_string()).collect();
    let Ok(folders) = std::fs::read_dir(dir.join("bodies")) else { return Vec::new() };
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    let paths = files.map(|file| file.unwrap().path());
    paths.filter(|path| !named.iter().any(|name| path.ends_with(name))).collect()
}

/// A crash between a blob and its entry; one after the entry, when the note that there is none came back.
#[test]
fn a_blob_that_no_entry_names_is_removed_and_no_other() {
    let place = memory_dir();
    let dir = place.path();
    let open = || open_faulty(dir, &FaultyFiles::default()).unwrap();
    let body = |part: &Part| NewEntry { body: Some(part.clone()), ..entry(&log("default"), b"leaf".to_vec()) };
    let mut writer = open();
    let kept = writer.bodies().put(b"kept").unwrap();
    writer.append(Batch { entries: vec![body(&kept)], ..Batch::default() }).unwrap();
    let lost = writer.bodies().put(b"lost").unwrap();
    // Nothing is removed while a batch may be about to name it, nor when the same bytes come again.
    assert_eq!(writer.bodies().put(b"lost").unwrap(), lost);
    assert_eq!(writer.bodies().put(b"kept").unwrap(), kept);
    assert_eq!(orphans(dir).len(), 2, "the blob and the note");
    drop(writer);
    let Part::Blob { digest, .. } = kept else { unreachable!() };
    let incoming = dir.join("bodies/incoming");
    std::fs::write(incoming.join(format!("{:020}-{digest}", 0)), b"").unwrap();
    std::fs::write(incoming.join("half-written"), b"half").unwrap();

    let mut writer = open();
    assert_eq!(orphans(dir), Vec::<PathBuf>::new());
    assert_sound(dir);
    let refused = writer.append(Batch { entries: vec![body(&lost)], ..Batch::default() });
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    let again = writer.bodies().put(b"lost").unwrap();
    writer.append(Batch { entries: vec![body(&again)], ..Batch::default() }).unwrap();
    drop(writer);
    drop(open());
    assert_eq!(orphans(dir), Vec::<PathBuf>::new());
    assert_sound(dir);
}

/// One crash of a sweep: the storage that brings it about, and a directory of its own.
pub(crate) struct Crash {
    pub(crate) dir: PathBuf,
    pub(crate) storage: FaultyFiles,
    pub(crate) label: String,
    fault: Fault,
    loss: Loss,
}

impl Crash {
    /// The run must have noticed; then the machine is gone, and the ledger opens again.
    pub(crate) fn happens(&self, outcome: Result<(), Error>) {
        let label = &self.label;
        assert!(outcome.is_err() || self.fault == Fault::Fails, "{label}: went unnoticed");
        self.storage.crash(self.loss);
        let reopened = open_faulty(&self.dir, &FaultyFiles::default());
        drop(reopened.unwrap_or_else(|error| panic!("{label}: does not open: {error}")));
    }
}

/// Every call of a run fails once and is the last one once, with each loss, on two threads; returns the number of
/// crashes.
pub(crate) fn crash_everywhere(calls: u64, crash: impl Fn(&Crash) + Sync) -> u64 {
    let place = memory_dir();
    let (next, crashes) = (AtomicU64::new(1), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let dir = place.path().join(format!("run {worker}"));
            let (next, crashes, crash) = (&next, &crashes, &crash);
            scope.spawn(move || {
                while let Some(n) = Some(next.fetch_add(1, Relaxed)).filter(|n| *n <= calls) {
                    for (fault, loss) in faults(n) {
                        let label = format!("call {n}, {fault:?}, {loss:?}");
                        crash(&Crash { dir: dir.clone(), storage: FaultyFiles::at(n, fault), label, fault, loss });
                        std::fs::remove_dir_all(&dir).unwrap();
                        crashes.fetch_add(1, Relaxed);
                    }
                }
            });
        }
    });
    let crashes = crashes.into_inner();
    assert_eq!(crashes, calls * 6);
    crashes
}

fn faults(n: u64) -> impl Iterator<Item = (Fault, Loss)> {
    let losses = [Loss::Nothing, Loss::All, Loss::Torn(n)];
    [Fault::Fails, Fault::Dies].into_iter().flat_map(move |fault| losses.map(|loss| (fault, loss)))
}
