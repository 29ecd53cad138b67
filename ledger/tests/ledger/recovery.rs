//! What opening repairs, and what it refuses: one test each.

use std::fs;
use std::path::Path;

use pedigraph_ledger::*;

use crate::support::*;

const LEAVES: u64 = 3;

/// A closed ledger of `batches` batches of three entries, one checkpoint in the middle; returns the segment's bytes
/// before each.
fn ledger_of(dir: &Path, batches: u64) -> Vec<Vec<u8>> {
    let mut writer = open_here(dir);
    let mut publisher = Publisher::new(&writer).unwrap();
    let mut states = Vec::new();
    for n in 0..batches {
        states.push(fs::read(&segments(dir)[0]).unwrap());
        writer.append(batch(numbered(n * LEAVES, LEAVES))).unwrap();
        if n == batches / 2 {
            publisher.publish(1).unwrap();
        }
    }
    states.push(fs::read(&segments(dir)[0]).unwrap());
    states
}

/// The last byte that is not zero, plus one.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

fn size_after_opening(dir: &Path) -> u64 {
    let writer = open_here(dir);
    let size = writer.size(&LogId::default_log());
    drop(writer);
    assert_sound(dir);
    size
}

fn check_refused(dir: &Path, why: &str) {
    match open(dir, &options()) {
        Err(Error::Corrupt(text)) => assert!(text.contains(why), "{text}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened although {why}"),
    }
}

#[test]
fn an_uncommitted_tail_is_cut_wherever_it_ends() {
    let dir = memory_dir();
    let states = ledger_of(dir.path(), 4);
    fs::remove_file(dir.path().join("commits")).unwrap();
    let (before, after) = (used(&states[3]), used(&states[4]));
    for end in before..after {
        let mut torn = states[4].clone();
        torn[end..].fill(0);
        fs::write(&segments(dir.path())[0], torn).unwrap();
        // The index must not have the commit: this batch was never durable.
        let opened = open_with(dir.path(), &options(), std::sync::Arc::new(LocalFiles), Work::Inline).unwrap();
        assert_eq!(opened.size(&LogId::default_log()), 9, "cut at {end}");
        drop(opened);
        assert_eq!(used(&fs::read(&segments(dir.path())[0]).unwrap()), before);
    }
    assert_eq!(size_after_opening(dir.path()), 9);
}

#[test]
fn a_batch_that_lacks_sectors_is_cut_although_its_commit_is_whole() {
    let dir = memory_dir();
    let mut writer = open_here(dir.path());
    writer.append(batch(numbered(0, 1))).unwrap();
    let before = used(&fs::read(&segments(dir.path())[0]).unwrap());
    // Its own leaves have sectors of zeros, which must not be taken for lost ones.
    let log = LogId::default_log();
    writer.append(batch((0..4).map(|_| entry(&log, vec![0; 3000])).collect())).unwrap();
    drop(writer);
    fs::remove_file(dir.path().join("commits")).unwrap();
    let whole = fs::read(&segments(dir.path())[0]).unwrap();
    let after = used(&whole);
    for start in [before, before.next_multiple_of(512), before + 3000 / 512 * 512 + 512] {
        let mut torn = whole.clone();
        let start = if start == before { before } else { start.next_multiple_of(512) };
        let lost = start..(start + 1).next_multiple_of(512);
        if torn[lost.clone()].iter().all(|byte| *byte == 0) {
            continue;
        }
        assert!(lost.end < after);
        torn[lost].fill(0);
        fs::write(&segments(dir.path())[0], torn).unwrap();
        assert_eq!(
            open_with(dir.path(), &options(), std::sync::Arc::new(LocalFiles), Work::Inline).unwrap().size(&log),
            1
        );
    }
    fs::write(&segments(dir.path())[0], &whole).unwrap();
    assert_eq!(size_after_opening(dir.path()), 5);
}

#[test]
fn a_bad_frame_before_a_later_commit_is_refused() {
    let dir = memory_dir();
    let mut bytes = ledger_of(dir.path(), 4).pop().unwrap();
    let at = bytes.windows(6).position(|w| w == b"leaf 4").unwrap();
    bytes[at] ^= 1;
    fs::write(&segments(dir.path())[0], bytes).unwrap();
    check_refused(dir.path(), "behind it the whole commit");
}

#[test]
fn a_bad_frame_in_the_last_batch_is_refused_when_its_commit_is_whole() {
    let dir = memory_dir();
    let mut bytes = ledger_of(dir.path(), 4).pop().unwrap();
    let at = bytes.windows(6).position(|w| w == b"leaf 9").unwrap();
    bytes[at] ^= 1;
    fs::write(&segments(dir.path())[0], bytes).unwrap();
    fs::remove_file(dir.path().join("commits")).unwrap();
    check_refused(dir.path(), "behind it the whole commit");
}

#[test]
fn a_journal_shorter_than_its_index_is_refused() {
    let dir = memory_dir();
    let states = ledger_of(dir.path(), 4);
    fs::write(&segments(dir.path())[0], &states[3]).unwrap();
    check_refused(dir.path(), "index names commit 3");
}

#[test]
fn a_journal_shorter_than_a_published_checkpoint_is_refused() {
    let dir = memory_dir();
    let states = ledger_of(dir.path(), 4);
    fs::write(&segments(dir.path())[0], &states[2]).unwrap();
    fs::remove_file(dir.path().join("commits")).unwrap();
    check_refused(dir.path(), "checkpoint for 9 was published");
    assert!(matches!(open_reader(dir.path()), Err(Error::Corrupt(_))));
    fs::write(&segments(dir.path())[0], &states[3]).unwrap();
    assert_eq!(size_after_opening(dir.path()), 9);
}

#[test]
fn another_history_of_the_published_size_is_refused() {
    let (dir, other) = (memory_dir(), memory_dir());
    ledger_of(dir.path(), 2);
    copy_dir(dir.path(), other.path());
    let mut publishers = Vec::new();
    for (path, leaf) in [(dir.path(), "one"), (other.path(), "two")] {
        let mut writer = open_here(path);
        writer.append(batch(vec![entry(&LogId::default_log(), leaf)])).unwrap();
        publishers.push(Publisher::new(&writer).unwrap().publish(1).unwrap());
    }
    fs::copy(other.path().join("logs/default/checkpoint"), dir.path().join("logs/default/checkpoint")).unwrap();
    check_refused(dir.path(), "but a checkpoint with root");
    let fault = verify(dir.path(), &mut |_, _| {}).unwrap().fault.unwrap();
    assert!(fault.contains("checkpoint"), "{fault}");
}

#[test]
fn a_leaf_that_was_changed_with_its_checksum_is_refused() {
    let dir = memory_dir();
    let mut bytes = ledger_of(dir.path(), 4).pop().unwrap();
    let leaf = bytes.windows(6).position(|w| w == b"leaf 4").unwrap();
    // The frame's head, then log name, index and length of the leaf.
    let start = leaf - 9 - (1 + 7) - 8 - 4;
    bytes[leaf] = b'L';
    mend_checksum(&mut bytes, start, salt_of(dir.path()));
    fs::write(&segments(dir.path())[0], bytes).unwrap();
    check_refused(dir.path(), "log default: states the root of 6 entries");
}

#[test]
fn damaged_or_missing_files_are_refused_by_name() {
    type Damage = fn(&Path);
    let table: [(&str, Damage, &str); 6] = [
        ("header", |dir| flip(&segments(dir)[0], 40), "header is damaged"),
        ("magic", |dir| flip(&segments(dir)[0], 15), "no segment of format version 1"),
        (
            "short",
            |dir| fs::File::options().write(true).open(&segments(dir)[0]).unwrap().set_len(60_000).unwrap(),
            "not where its header says",
        ),
        ("ledger", |dir| fs::remove_file(dir.join("ledger")).unwrap(), "no file `ledger`"),
        ("name", |dir| flip(&dir.join("ledger"), 70), "not a ledger description"),
        ("checkpoint", |dir| flip(&dir.join("logs/default/checkpoint"), 5), "checkpoint of log default is damaged"),
    ];
    for (_, damage, why) in table {
        let dir = memory_dir();
        ledger_of(dir.path(), 3);
        damage(dir.path());
        check_refused(dir.path(), why);
    }
    let dir = memory_dir();
    ledger_of(dir.path(), 3);
    fs::remove_file(dir.path().join("key")).unwrap();
    assert!(matches!(Publisher::new(&open_here(dir.path())), Err(Error::Corrupt(_))));
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_missing_older_segment_is_refused() {
    let dir = memory_dir();
    let mut writer = open_here(dir.path());
    let log = LogId::default_log();
    for n in 0..60 {
        writer.append(batch(vec![entry(&log, vec![n; 60_000])])).unwrap();
    }
    drop(writer);
    fs::remove_file(&segments(dir.path())[1]).unwrap();
    check_refused(dir.path(), "not where its header says");
}

#[test]
fn derived_files_may_be_deleted_or_spoiled() {
    let dir = memory_dir();
    let log = LogId::default_log();
    let mut writer = open_here(dir.path());
    let mut publisher = Publisher::new(&writer).unwrap();
    for n in 0..40_u64 {
        writer
            .append(batch(
                (0..60)
                    .map(|i| entry(&log, vec![u8::try_from(i).unwrap(); usize::try_from(1000 + n).unwrap()]))
                    .collect(),
            ))
            .unwrap();
    }
    publisher.publish(1).unwrap();
    let answers = |reader: &Reader| {
        let resources = ["tile/0/004", "tile/1/000.p/9", "tile/entries/003", "tile/0/009.p/96"];
        let bytes: Vec<_> = resources.iter().map(|path| reader.resource(&log, path).unwrap().unwrap()).collect();
        let entries: Vec<_> = [0, 777, 2399].iter().map(|i| reader.entry(&log, *i).unwrap().unwrap().leaf).collect();
        let commits: Vec<_> = reader.commits(3, 200_000).unwrap().iter().map(|c| (c.seq, c.entries.len())).collect();
        let sizes: Vec<_> = [0, 1, 2].map(|t| reader.size_at(&log, t).unwrap()).to_vec();
        (bytes, entries, commits, reader.inclusion(&log, 1000, 2000).unwrap(), sizes)
    };
    let expected = answers(&writer.reader());
    drop(writer);
    let spoilers: [fn(&Path); 4] = [
        |dir| fs::remove_file(dir.join("logs/default/hashes-0")).unwrap(),
        |dir| {
            [dir.join("commits"), dir.join("logs/default/positions")]
                .into_iter()
                .for_each(|path| fs::remove_file(path).unwrap())
        },
        |dir| {
            [dir.join("commits"), dir.join("logs/default/positions")].into_iter().for_each(|path| {
                let len = fs::metadata(&path).unwrap().len();
                fs::write(path, vec![3; usize::try_from(len).unwrap()]).unwrap();
            })
        },
        // Cut within a tile, and with a hole.
        |dir| {
            let path = dir.join("logs/default/hashes-0");
            let mut bytes = fs::read(&path).unwrap();
            bytes.truncate(8192 * 3 + 100);
            bytes[8192 + 64..8192 + 96].fill(0);
            fs::write(path, bytes).unwrap();
        },
    ];
    for spoil in spoilers {
        let copy = memory_dir();
        copy_dir(dir.path(), copy.path());
        spoil(copy.path());
        assert_eq!(answers(&open_reader(copy.path()).unwrap()), expected);
        let writer = open_here(copy.path());
        assert_eq!(answers(&writer.reader()), expected);
    }
}
