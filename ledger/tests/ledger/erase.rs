//! Erased bodies: the bytes are gone, the ledger verifies, nothing else changes; whatever call fails on the way.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pedigraph_ledger::*;

use crate::fault::{FaultyFiles, random};
use crate::support::*;
use crate::sweep::{crash_everywhere, open_faulty};

const BATCHES: u64 = 8;

/// Bytes that no compression hides.
fn secret(seed: u64, bytes: usize) -> Vec<u8> {
    (0..bytes as u64 / 8).flat_map(|n| random(seed << 32 | n).to_le_bytes()).collect()
}

/// Batch `n`: entry 2n of log `default` has an inline body; two batches share a stored one; the first batch's stored
/// body is also the facts of an entry.
fn scripted(n: u64, writer: &Writer) -> Result<Batch, Error> {
    let (default, b) = (log("default"), log("b"));
    let shared = secret(1000 + n / 2, 3000);
    let mut with_body = entry(&default, format!("inline {n}"));
    with_body.body = Some(Part::Inline(secret(n, 1600).into()));
    let mut with_blob = entry(&b, format!("blob {n}"));
    with_blob.body = Some(writer.bodies().put(&shared)?);
    let mut large = entry(&default, vec![7; 9000]);
    if n == 0 {
        large.facts = vec![writer.blobs().put(&shared)?];
    }
    let erasures = match n {
        4 => vec![(default, 0), (b, 0)],
        5 => vec![(default, 8)],
        7 => vec![(b.clone(), 3), (default.clone(), 0), (b, 2), (default, 12)],
        _ => Vec::new(),
    };
    let positions = vec![("source".into(), n + 1)];
    Ok(Batch { time_ns: 1, entries: vec![with_body, with_blob, large], positions, erasures, ..Batch::default() })
}

/// Runs the script from where the ledger is, opening it twice.
fn run(dir: &Path, storage: &FaultyFiles) -> Result<(), Error> {
    for end in [5, BATCHES] {
        let mut writer = open_faulty(dir, storage)?;
        let from = writer.positions().get(&b"source"[..]).copied().unwrap_or(0);
        for n in from..end {
            writer.append(scripted(n, &writer)?)?;
        }
    }
    Ok(())
}

fn on_disk(dir: &Path, bytes: &[u8]) -> bool {
    let stored = files(&dir.join("journal")).into_iter().chain(files(&dir.join("bodies")));
    stored.map(|path| fs::read(path).unwrap()).any(|file| file.windows(40).any(|window| window == &bytes[80..120]))
}

/// What durable commits erase is gone from the files and answers so; all else is there.
fn check_erased(dir: &Path, label: &str) {
    let reader = open_reader(dir).unwrap();
    let commits = reader.commits(0, usize::MAX).unwrap();
    let listed: BTreeSet<_> = commits.iter().flat_map(|commit| commit.erasures.clone()).collect();
    let body = |log: &LogId, index: u64| reader.entry(log, index).unwrap().unwrap().body.unwrap();
    let digests: Vec<_> = listed.iter().map(|(log, index)| body(log, *index).digest).collect();
    for entry in commits.iter().flat_map(|commit| &commit.entries) {
        for facts in &entry.facts {
            assert_eq!(reader.part(facts).unwrap().unwrap(), secret(1000, 3000), "{label}");
        }
        let Some(body) = &entry.body else { continue };
        let erased = digests.contains(&body.digest);
        let name = format!("{label}: {} {} {:?}", entry.log, entry.index, body);
        let n = if entry.log == log("b") { 1000 + entry.index / 2 } else { entry.index / 2 };
        let bytes = secret(n, usize::try_from(body.size).unwrap());
        assert_eq!(reader.part(body).unwrap().map(Vec::from), (!erased).then(|| bytes.clone()), "{name}");
        if erased {
            assert!(!on_disk(dir, &bytes), "{name}");
        }
    }
    assert_eq!(verify(dir, &mut |_, _| {}).unwrap().fault, None, "{label}");
}

#[test]
fn what_is_erased_is_gone_and_stays_gone() {
    let dir = memory_dir();
    run(dir.path(), &FaultyFiles::default()).unwrap();
    check_erased(dir.path(), "whole run");
    let shared = secret(1000, 3000);
    let mut writer = open_here(dir.path());
    // The same bytes sent again are not kept either.
    let again = NewEntry { body: Some(writer.bodies().put(&shared).unwrap()), ..entry(&log("b"), "again") };
    let streamed = writer.bodies().put_stream(&mut &shared[..], 4000).unwrap();
    assert_eq!(Some(&streamed), again.body.as_ref());
    writer.append(batch(vec![again])).unwrap();
    let reader = writer.reader();
    let body = reader.entry(&log("b"), BATCHES).unwrap().unwrap().body.unwrap();
    assert_eq!(reader.part(&body).unwrap(), None);
    assert!(reader.open_part(&body).unwrap().is_none());
    assert!(!on_disk(dir.path(), &shared));
    let verified = assert_sound(dir.path());
    assert!(verified.checks.iter().any(|check| check.starts_with("8 bodies are erased")), "{:?}", verified.checks);
}

#[test]
fn what_cannot_be_erased_is_refused_and_nothing_is_written() {
    let dir = memory_dir();
    let mut writer = open_here(dir.path());
    let default = log("default");
    let with_body = NewEntry { body: Some(Part::Inline("body".into())), ..entry(&default, "leaf") };
    writer.append(batch(vec![with_body, entry(&default, "no body")])).unwrap();
    let saying = || batch(vec![entry(&default, "erased")]);
    let table = [
        (Batch { erasures: vec![(default.clone(), 0)], ..Batch::default() }, "without an entry"),
        (Batch { erasures: vec![(default.clone(), 2)], ..saying() }, "no entry 2"),
        (Batch { erasures: vec![(log("none"), 0)], ..saying() }, "no entry 0"),
        (Batch { erasures: vec![(default.clone(), 1)], ..saying() }, "has no body"),
        (Batch { erasures: vec![(default.clone(), 0); 70_000], ..saying() }, "at most 65536"),
    ];
    for (batch, why) in table {
        match writer.append(batch) {
            Err(Error::Refused(text)) => assert!(text.contains(why), "{text}"),
            other => panic!("{why}: {other:?}"),
        }
    }
    assert_eq!(writer.reader().next_seq(), 1);
    writer.append(Batch { erasures: vec![(default.clone(), 0)], ..saying() }).unwrap();
    drop(writer);
    assert_sound(dir.path());
}

#[test]
fn a_body_that_nobody_erased_or_that_came_back_is_a_fault() {
    let dir = memory_dir();
    let mut writer = open_here(dir.path());
    let default = log("default");
    let (inline, stored) = (secret(1, 800), secret(2, 800));
    let facts = secret(3, 800);
    let new = |body| NewEntry { body: Some(body), ..entry(&default, "leaf") };
    let mut entries = vec![new(Part::Inline(inline.clone().into())), new(writer.bodies().put(&stored).unwrap())];
    entries[0].facts = vec![writer.blobs().put(&facts).unwrap()];
    writer.append(batch(entries)).unwrap();
    let segment = segments(dir.path()).remove(0);
    let blob = files(&dir.path().join("bodies")).remove(0);
    let (journal_before, blob_before) = (fs::read(&segment).unwrap(), fs::read(&blob).unwrap());
    let erasures = vec![(default.clone(), 0), (default.clone(), 1)];
    writer.append(Batch { erasures, ..batch(vec![entry(&default, "erased")]) }).unwrap();
    drop(writer);
    assert_sound(dir.path());
    let (journal_after, blob_after) = (fs::read(&segment).unwrap(), fs::read(&blob).unwrap());
    let start = journal_before.windows(40).position(|window| window == &inline[..40]).unwrap() - 9;
    let frame = start..start + 9 + inline.len();
    let check_fault = |why: &str| {
        let fault = verify(dir.path(), &mut |_, _| {}).unwrap().fault.unwrap_or_default();
        assert!(fault.contains(why), "{why}: {fault:?}");
    };

    // The bytes come back.
    let mut back = journal_after.clone();
    back[frame.clone()].copy_from_slice(&journal_before[frame.clone()]);
    fs::write(&segment, &back).unwrap();
    check_fault("its bytes are still there");
    fs::write(&segment, &journal_after).unwrap();
    fs::write(&blob, &blob_before).unwrap();
    check_fault("its file does not say so");
    fs::remove_file(&blob).unwrap();
    check_fault("is missing");
    // Erased, and no commit says so.
    let mut unsaid = journal_before.clone();
    unsaid[frame.clone()].copy_from_slice(&journal_after[frame]);
    fs::write(&blob, &blob_before).unwrap();
    fs::write(&segment, &unsaid).unwrap();
    fs::remove_file(dir.path().join("commits")).unwrap();
    fs::remove_file(dir.path().join("logs/default/positions")).unwrap();
    check_fault("the body of entry 0 of log default is erased, but no commit says so");
    fs::write(&segment, &journal_before).unwrap();
    fs::write(&blob, &blob_after).unwrap();
    check_fault("the body of entry 1 of log default is erased, but no commit says so");
    fs::write(&blob, &blob_before).unwrap();
    assert_sound(dir.path());
    fs::write(files(&dir.path().join("blobs")).remove(0), &blob_after).unwrap();
    check_fault("facts are never erased");
}

#[test]
fn a_damaged_note_of_what_is_being_erased_is_refused() {
    let dir = memory_dir();
    run(dir.path(), &FaultyFiles::default()).unwrap();
    fs::write(dir.path().join("journal/erasing"), "pedigraph erasing 1\nframe 70 5\ncrc32 00000000\n").unwrap();
    match open(dir.path(), &options()) {
        Err(Error::Corrupt(why)) => assert!(why.contains("erasing is damaged"), "{why}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    }
}

#[test]
fn every_call_of_a_run_with_erasures_fails_or_dies_once() {
    let place = memory_dir();
    let whole = place.path().join("whole");
    let storage = FaultyFiles::default();
    run(&whole, &storage).unwrap();
    let calls = storage.calls();
    let heads = |dir: &Path| {
        let reader = open_reader(dir).unwrap();
        reader.logs().iter().map(|log| reader.head(log).root).collect::<Vec<_>>()
    };
    let expected = heads(&whole);
    let crashes = crash_everywhere(calls, |crash| {
        crash.happens(run(&crash.dir, &crash.storage));
        check_erased(&crash.dir, &crash.label);
        run(&crash.dir, &FaultyFiles::default()).unwrap();
        assert_eq!(heads(&crash.dir), expected, "{}", crash.label);
    });
    eprintln!("erasure sweep: {calls} calls, {crashes} crashes");
}

/// Beside a writer that erases, another process's reader, a full check and copies find a body whole or gone, never
/// damaged.
#[test]
fn who_reads_while_bodies_are_erased_finds_them_whole_or_gone() {
    const BODIES: u64 = 60;
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let default = log("default");
    let mut writer = open(dir.path(), &options()).unwrap();
    for n in 0..BODIES {
        let bytes = secret(n, if n % 2 == 0 { 60_000 } else { 200_000 });
        let body = if n % 2 == 0 { Part::Inline(bytes.into()) } else { writer.bodies().put(&bytes).unwrap() };
        writer.append(batch(vec![NewEntry { body: Some(body), ..entry(&default, format!("leaf {n}")) }])).unwrap();
    }
    let over = std::sync::atomic::AtomicBool::new(false);
    let is_over = || over.load(std::sync::atomic::Ordering::Relaxed);
    // Whichever side fails ends the others.
    let end = || over.store(true, std::sync::atomic::Ordering::Relaxed);
    let (copied, a_copy) = std::sync::mpsc::channel();
    let (reads, copies) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let reader = open_reader(dir.path()).unwrap();
            let mut reads = 0;
            while !is_over() {
                for n in 0..BODIES {
                    let body = reader.entry(&default, n).unwrap().unwrap().body.unwrap();
                    let found = reader.part(&body).unwrap_or_else(|error| panic!("body {n}: {error}"));
                    assert!(found.is_none_or(|bytes| bytes == secret(n, bytes.len())), "body {n}");
                    reads += 1;
                }
            }
            reads
        });
        let (dir, place) = (dir.path(), place.path());
        let copying = scope.spawn(move || {
            let mut copies = 0;
            while !is_over() {
                // Each second time an older copy is brought up to date.
                let to = place.join((copies / 2).to_string());
                backup(dir, &to, KeyCopy::Without, &mut |_, _| {}).unwrap_or_else(|error| panic!("{error}"));
                assert_sound(&to);
                assert_sound(dir);
                copies += 1;
                copied.send(()).unwrap_or_default();
            }
            copies
        });
        for n in 0..BODIES {
            let said = batch(vec![entry(&default, format!("{n} is erased"))]);
            writer.append(Batch { erasures: vec![(default.clone(), n)], ..said }).unwrap();
            if n % 6 == 5 && a_copy.recv().is_err() {
                break;
            }
        }
        end();
        (reading.join().unwrap(), copying.join().unwrap())
    });
    eprintln!("{BODIES} erasures beside {reads} reads and {copies} copies");
    drop(writer);
    assert_sound(dir.path());
}
