//! Copies: of a ledger that is being written, brought up to date, interrupted anywhere, and restored.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pedigraph_ledger::*;

use crate::fault::{Fault, FaultyFiles, Loss};
use crate::support::*;

fn copy(from: &Path, to: &Path) -> Result<Copied, Error> {
    backup(from, to, KeyCopy::Without, &mut |_, _| {})
}

fn restore_here(from: &Path, to: &Path, options: &RestoreOptions) -> Result<Copied, Error> {
    restore(from, to, options, &mut |_, _| {})
}

fn refused<T>(outcome: Result<T, Error>) -> String {
    match outcome {
        Err(Error::Refused(why)) => why,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("not refused"),
    }
}

/// Batch `n`: entries of two logs, parts, and in every fourth a blob.
fn scripted(n: u64, writer: &Writer) -> Batch {
    let body = match n % 4 {
        0 => writer.bodies().put(format!("blob {n}").repeat(9_000).as_bytes()).unwrap(),
        _ => Part::Inline(vec![7; 5_000].into()),
    };
    let first = NewEntry { body: Some(body), ..entry(&LogId::default_log(), format!("first {n}")) };
    batch(vec![first, entry(&log("b"), vec![9; 30_000])])
}

fn fill(writer: &mut Writer, batches: std::ops::Range<u64>) {
    for n in batches {
        let batch = scripted(n, writer);
        writer.append(batch).unwrap();
    }
}

#[test]
fn a_copy_of_a_ledger_that_is_being_written_verifies() {
    let dir = memory_dir();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let mut writer = open_here(&from);
    let mut publisher = Publisher::new(&writer).unwrap();
    let stop = AtomicBool::new(false);
    let copies = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for n in (0..).take_while(|_| !stop.load(Relaxed)) {
                fill(&mut writer, n..n + 1);
                publisher.publish(1).unwrap();
            }
            writer.reader().next_seq()
        });
        let mut copies = Vec::new();
        while copies.len() < 8 {
            let copied = copy(&from, &to).unwrap();
            let verified = assert_sound(&to);
            assert_eq!(verified.commits, copied.commits);
            copies.push(copied.commits);
        }
        stop.store(true, Relaxed);
        assert!(writing.join().unwrap() >= copies[7]);
        copies
    });
    assert!(copies.is_sorted(), "{copies:?}");
    let copied = copy(&from, &to).unwrap();
    assert_eq!(copied.commits, writer.reader().next_seq());
    assert!(!copied.has_key && !to.join("key").exists());
    let (here, there) = (writer.reader(), open_reader(&to).unwrap());
    for log in here.logs() {
        assert_eq!(here.head(&log), there.head(&log));
        assert_eq!(here.checkpoint(&log).unwrap().note, there.checkpoint(&log).unwrap().note);
    }
}

#[test]
fn only_what_is_new_is_written_again() {
    let dir = memory_dir();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let mut writer = open_here(&from);
    fill(&mut writer, 0..100);
    let first = copy(&from, &to).unwrap();
    assert!(segments(&to).len() > 2);
    let nothing = copy(&from, &to).unwrap();
    assert_eq!(nothing.commits, first.commits);
    // The newest segment alone.
    assert!(nothing.bytes_written <= 1 << 20, "{nothing:?}");
    fill(&mut writer, 100..101);
    let second = copy(&from, &to).unwrap();
    assert!(second.bytes_written < first.bytes_written / 2, "{second:?}");
    assert_eq!(assert_sound(&to).commits, 101);

    // A segment that has changed at its source is taken again, and only if what it holds now is sound.
    let oldest = &segments(&from)[0];
    let good = fs::read(oldest).unwrap();
    let mut bad = good.clone();
    let middle = good.len() / 2;
    bad[middle] ^= 1;
    fs::write(oldest, bad).unwrap();
    assert!(matches!(copy(&from, &to), Err(Error::Corrupt(_))));
    assert_eq!(assert_sound(&to).commits, 101);
    fs::write(oldest, good).unwrap();
    assert_eq!(copy(&from, &to).unwrap().commits, 101);
}

#[test]
fn a_copy_that_dies_anywhere_is_no_ledger_or_a_sound_one() {
    let dir = memory_dir();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let mut writer = open(&from, &Options { segment_bytes: 64 << 10, ..options() }).unwrap();
    fill(&mut writer, 0..5);
    Publisher::new(&writer).unwrap().publish(1).unwrap();
    let older = dir.path().join("older");
    copy(&from, &older).unwrap();
    fill(&mut writer, 5..9);
    Publisher::new(&writer).unwrap().publish(2).unwrap();
    let mut crashes = 0;
    for older in [None, Some(&older)] {
        let done = (1..).find(|n| {
            for loss in [Loss::Nothing, Loss::All, Loss::Torn(*n)] {
                let _fresh = fs::remove_dir_all(&to);
                older.into_iter().for_each(|older| copy_dir(older, &to));
                let storage = FaultyFiles::at(*n, Fault::Dies);
                let outcome = backup_with(&from, &to, KeyCopy::Without, &mut |_, _| {}, &storage);
                if outcome.is_ok() {
                    return true;
                }
                storage.crash(loss);
                match verify(&to, &mut |_, _| {}) {
                    Ok(verified) => assert_eq!(verified.fault, None, "call {n}, {loss:?}"),
                    Err(Error::Refused(_)) => assert!(older.is_none(), "call {n}, {loss:?}"),
                    Err(error) => panic!("call {n}, {loss:?}: {error}"),
                }
                assert_eq!(copy(&from, &to).unwrap().commits, 9);
                assert_eq!(assert_sound(&to).commits, 9, "call {n}, {loss:?}");
                crashes += 1;
            }
            false
        });
        assert!(done.is_some_and(|calls| calls > 10));
    }
    eprintln!("backup sweep: {crashes} crashes, each verified, run again and verified");
}

#[test]
fn a_copy_is_not_written_over_something_else() {
    let dir = memory_dir();
    let at = |name: &str| dir.path().join(name);
    let mut writer = open_here(&at("from"));
    fill(&mut writer, 0..3);
    fs::create_dir(at("full")).unwrap();
    fs::write(at("full").join("letter"), "dear").unwrap();
    assert!(refused(copy(&at("from"), &at("full"))).contains("not empty"));
    drop(open_here(&at("other")));
    assert!(refused(copy(&at("from"), &at("other"))).contains("another ledger"));
    assert!(refused(copy(&at("from"), &at("from").join("copy"))).contains("inside"));
    assert!(matches!(copy(&at("from"), &at("from")), Err(Error::Refused(_))));

    // The copy is newer: the ledger has been rolled back.
    drop(writer);
    copy_dir(&at("from"), &at("rolled back"));
    let mut writer = open_here(&at("from"));
    fill(&mut writer, 3..5);
    copy(&at("from"), &at("copy")).unwrap();
    assert!(refused(copy(&at("rolled back"), &at("copy"))).contains("holds 5 commits, more than the 3"));
    // And has gone on otherwise.
    let mut fork = open_here(&at("rolled back"));
    fill(&mut fork, 7..12);
    assert!(refused(copy(&at("rolled back"), &at("copy"))).contains("another history"));
    assert_eq!(assert_sound(&at("copy")).commits, 5);
}

#[test]
fn a_restored_ledger_goes_on() {
    let dir = memory_dir();
    let at = |name: &str| dir.path().join(name);
    let mut writer = open_here(&at("from"));
    fill(&mut writer, 0..40);
    Publisher::new(&writer).unwrap().publish(1).unwrap();
    let head = writer.reader().head(&LogId::default_log());
    copy(&at("from"), &at("copy")).unwrap();
    assert!(refused(restore_here(&at("copy"), &at("new"), &RestoreOptions::default())).contains("without the key"));
    let wrong = RestoreOptions { key: Some(at("copy").join("ledger")), ..RestoreOptions::default() };
    assert!(refused(restore_here(&at("copy"), &at("new"), &wrong)).contains("not the key"));
    assert!(!at("new").exists());

    let key = RestoreOptions { key: Some(at("from").join("key")), ..RestoreOptions::default() };
    assert!(restore_here(&at("copy"), &at("new"), &key).unwrap().has_key);
    assert_sound(&at("new"));
    let mut restored = open_here(&at("new"));
    assert_eq!(restored.reader().head(&LogId::default_log()), head);
    fill(&mut restored, 40..45);
    Publisher::new(&restored).unwrap().publish(2).unwrap();
    drop(restored);
    assert_eq!(assert_sound(&at("new")).commits, 45);

    let with_key = backup(&at("from"), &at("with key"), KeyCopy::With, &mut |_, _| {}).unwrap();
    assert!(with_key.has_key);
    restore_here(&at("with key"), &at("second"), &RestoreOptions::default()).unwrap();
    assert_eq!(fs::read(at("second").join("key")).unwrap(), fs::read(at("from").join("key")).unwrap());
}

#[test]
fn a_restore_that_would_fork_a_published_log_is_refused() {
    let dir = memory_dir();
    let at = |name: &str| dir.path().join(name);
    let mut writer = open_here(&at("from"));
    fill(&mut writer, 0..10);
    Publisher::new(&writer).unwrap().publish(1).unwrap();
    backup(&at("from"), &at("copy"), KeyCopy::With, &mut |_, _| {}).unwrap();
    let checkpoint = |dir: &str| fs::read_to_string(at(dir).join("logs/default/checkpoint")).unwrap();
    let covered = RestoreOptions { checkpoints: vec![checkpoint("from")], ..RestoreOptions::default() };
    restore_here(&at("copy"), &at("good"), &covered).unwrap();

    fill(&mut writer, 10..15);
    Publisher::new(&writer).unwrap().publish(2).unwrap();
    let given = RestoreOptions { checkpoints: vec![checkpoint("from")], ..RestoreOptions::default() };
    let why = refused(restore_here(&at("copy"), &at("new"), &given));
    assert!(why.contains("holds 10 entries") && why.contains("for 15") && why.contains("entries 10 to 14"), "{why}");
    // The same is found where it is to be restored, whatever is left of the journal there.
    drop(writer);
    let newest = segments(&at("from")).pop().unwrap();
    fs::write(newest, "rubbish").unwrap();
    assert!(refused(restore_here(&at("copy"), &at("from"), &RestoreOptions::default())).contains("fork the log"));

    // A fork of the same size.
    let mut fork = open_here(&at("good"));
    fill(&mut fork, 20..25);
    Publisher::new(&fork).unwrap().publish(3).unwrap();
    backup(&at("good"), &at("forked copy"), KeyCopy::With, &mut |_, _| {}).unwrap();
    assert!(refused(restore_here(&at("forked copy"), &at("new"), &given)).contains("another history"));
    let forged = given.checkpoints[0].replace("15\n", "5\n");
    let forged = RestoreOptions { checkpoints: vec![forged], ..RestoreOptions::default() };
    assert!(refused(restore_here(&at("copy"), &at("new"), &forged)).contains("does not verify"));
}

#[test]
fn an_older_state_is_brought_up_to_date_and_a_running_ledger_is_left_alone() {
    let dir = memory_dir();
    let at = |name: &str| dir.path().join(name);
    let mut writer = open_here(&at("from"));
    fill(&mut writer, 0..30);
    Publisher::new(&writer).unwrap().publish(1).unwrap();
    drop(writer);
    copy_dir(&at("from"), &at("older"));
    let mut writer = open_here(&at("from"));
    fill(&mut writer, 30..70);
    Publisher::new(&writer).unwrap().publish(2).unwrap();
    copy(&at("from"), &at("copy")).unwrap();
    assert!(matches!(restore_here(&at("copy"), &at("from"), &RestoreOptions::default()), Err(Error::Locked(_))));
    restore_here(&at("copy"), &at("older"), &RestoreOptions::default()).unwrap();
    assert_eq!(assert_sound(&at("older")).commits, 70);
    drop(open_here(&at("older")));
    assert_eq!(assert_sound(&at("older")).commits, 70);
}
