//! Append, read back, reopen, follow.

use std::time::Duration;

use bytes::Bytes;
use pedigraph_ledger::*;

use crate::support::*;

#[test]
fn what_is_appended_is_read_back_and_survives_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (log("default"), log("tenant-b"));
    let mut writer = open_here(dir.path());
    let blob = writer.blobs().put(&vec![7; 200_000]).unwrap();
    let facts = vec![Part::Inline("fact 1".into()), blob.clone()];
    let with_parts = NewEntry { facts, body: Some(Part::Inline("body".into())), ..entry(&a, "first") };
    let first = Batch {
        time_ns: 50,
        entries: vec![with_parts, entry(&b, "other")],
        positions: vec![("topic/0".into(), 5)],
        duplicates: vec![(a.clone(), "ci".into(), 2)],
        ..Batch::default()
    };
    let receipts = writer.append(first).unwrap();
    assert_eq!((receipts[0].index, receipts[1].index), (0, 0));
    assert_eq!(receipts[1].leaf_hash, leaf_hash(b"other"));
    // The clock went back; the commit's time does not.
    writer
        .append(Batch {
            time_ns: 40,
            entries: vec![entry(&a, "second")],
            positions: vec![("topic/0".into(), 6)],
            ..Batch::default()
        })
        .unwrap();
    assert_eq!(writer.next_time(45), 50);
    check_content(&writer.reader(), &a, &b);
    drop(writer);

    let writer = open_here(dir.path());
    assert_eq!((writer.size(&a), writer.size(&b), writer.size(&log("none"))), (2, 1, 0));
    assert_eq!(writer.positions().get(&Bytes::from("topic/0")), Some(&6));
    check_content(&writer.reader(), &a, &b);
    let follower = open_reader(dir.path()).unwrap();
    check_content(&follower, &a, &b);
    drop(writer);
    let verified = assert_sound(dir.path());
    assert_eq!((verified.commits, verified.entries, verified.blobs), (2, 3, 1));
}

fn check_content(reader: &Reader, a: &LogId, b: &LogId) {
    assert_eq!(reader.next_seq(), 2);
    assert_eq!(reader.logs(), [a.clone(), b.clone()]);
    let commits = reader.commits(0, usize::MAX).unwrap();
    assert_eq!(
        commits.iter().map(|c| (c.seq, c.time_ns, c.entries.len())).collect::<Vec<_>>(),
        [(0, 50, 2), (1, 50, 1)]
    );
    assert_eq!(commits[0].duplicates, [(a.clone(), "ci".to_owned(), 2)]);
    assert_eq!(commits[1].positions, [(Bytes::from("topic/0"), 6)]);
    assert_eq!(reader.commits(0, 1).unwrap().len(), 1);
    assert_eq!(reader.commits(2, 1).unwrap().len(), 0);
    let lone = reader.entry(a, 0).unwrap().unwrap();
    for entry in [&commits[0].entries[0], &lone] {
        assert_eq!((&entry.leaf[..], entry.leaf_hash), (&b"first"[..], leaf_hash(b"first")));
        assert_eq!(reader.part(&entry.facts[0]).unwrap().unwrap(), "fact 1");
        assert_eq!(reader.part(&entry.facts[1]).unwrap().unwrap(), vec![7; 200_000]);
        assert_eq!(reader.part(entry.body.as_ref().unwrap()).unwrap().unwrap(), "body");
    }
    assert!(reader.entry(a, 2).unwrap().is_none());
    assert!(reader.entry(&log("none"), 0).unwrap().is_none());
    assert_eq!((reader.head(a).size, reader.head(b).size), (2, 1));
    assert_eq!(reader.head(a).root, node_hash(&leaf_hash(b"first"), &leaf_hash(b"second")));
    assert_eq!([49, 50, 51].map(|t| reader.size_at(a, t).unwrap()), [0, 2, 2]);
}

#[test]
fn a_second_writer_is_locked_out() {
    let dir = tempfile::tempdir().unwrap();
    let writer = open_here(dir.path());
    assert!(matches!(open(dir.path(), &options()), Err(Error::Locked(_))));
    drop(writer);
    open_here(dir.path());
}

#[test]
fn limits_are_refused_and_the_writer_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open_here(dir.path());
    let a = log("default");
    let missing = Part::Blob { digest: Hash([1; 32]), size: 3 };
    let table = [
        entry(&a, ""),
        entry(&a, vec![0; LEAF_BYTES_MAX + 1]),
        NewEntry { body: Some(Part::Inline(vec![0; INLINE_BYTES_MAX + 1].into())), ..entry(&a, "x") },
        NewEntry { facts: vec![missing], ..entry(&a, "x") },
    ];
    for new in table {
        assert!(matches!(writer.append(batch(vec![entry(&a, "good"), new])), Err(Error::Refused(_))));
    }
    assert!(writer.append(Batch::default()).unwrap().is_empty());
    assert_eq!(writer.size(&a), 0);
    writer.append(batch(vec![entry(&a, vec![0; LEAF_BYTES_MAX])])).unwrap();
    assert_eq!(writer.size(&a), 1);
    assert!(matches!(writer.blobs().put_stream(&mut &[0; 100][..], 99), Err(Error::Refused(_))));
    assert!(open(&dir.path().join("x"), &Options { name: Some("a b".into()), ..options() }).is_err());
    assert!(open(&dir.path().join("y"), &Options { segment_bytes: 1, ..options() }).is_err());
}

#[test]
fn a_batch_larger_than_a_segment_gets_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open_here(dir.path());
    let a = log("default");
    let big: Vec<_> = (0..60).map(|n| entry(&a, vec![n; 60_000])).collect();
    for _ in 0..3 {
        writer.append(batch(big.clone())).unwrap();
        writer.append(batch(vec![entry(&a, "small")])).unwrap();
    }
    drop(writer);
    let reader = open_here(dir.path()).reader();
    assert_eq!(reader.head(&a).size, 183);
    assert_eq!(reader.entry(&a, 120).unwrap().unwrap().leaf, vec![59; 60_000]);
    assert_sound(dir.path());
}

#[test]
fn segments_need_not_be_whole_pages() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 100_001, ..options() };
    let mut writer = open(dir.path(), &options).unwrap();
    for n in 0..60 {
        writer.append(batch(vec![entry(&LogId::default_log(), vec![u8::try_from(n).unwrap(); 9_000])])).unwrap();
    }
    drop(writer);
    assert!(segments(dir.path()).len() > 4);
    assert_eq!(assert_sound(dir.path()).entries, 60);
}

#[test]
fn submitted_batches_land_in_order_and_are_seen_when_they_are_durable() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path(), &Options { segment_bytes: 64 << 10, ..options() }).unwrap();
    let (reader, log) = (writer.reader(), LogId::default_log());
    assert_eq!(writer.landed().unwrap(), None);
    // Small ones, an empty one, some that need another segment, one whose leaves are hashed by two threads.
    let sizes = [1, 300, 0, 700, 2, 1100, 1, 40_000, 3];
    let (mut next, mut landed) = (0, 0);
    for (n, count) in sizes.into_iter().enumerate() {
        writer.submit(batch(numbered(next, count))).unwrap();
        next += count;
        assert_eq!(writer.size(&log), next);
        assert!(reader.head(&log).size <= next);
        // One, two or three that nobody was told of.
        if n % 3 > 0 {
            let receipts = writer.landed().unwrap().unwrap();
            let indexes = receipts.iter().map(|receipt| receipt.index);
            assert!(indexes.eq(landed..landed + receipts.len() as u64));
            assert!(
                receipts
                    .iter()
                    .all(|receipt| receipt.leaf_hash == leaf_hash(format!("leaf {}", receipt.index).as_bytes()))
            );
            landed += receipts.len() as u64;
            assert!(reader.head(&log).size >= landed);
            let newest = landed.checked_sub(1).and_then(|index| reader.entry(&log, index).unwrap());
            assert_eq!(newest.map(|entry| entry.leaf), landed.checked_sub(1).map(|n| format!("leaf {n}").into()));
        }
    }
    assert!(landed < next);
    // Nobody waits for the rest, and it is there all the same.
    drop(writer);
    assert_eq!(assert_sound(dir.path()).entries, next);
}

#[test]
fn a_follower_sees_each_commit_across_segments() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open_here(dir.path());
    let mut publisher = Publisher::new(&writer).unwrap();
    let follower = open_reader(dir.path()).unwrap();
    let a = log("default");
    assert_eq!(follower.wait(0, Duration::ZERO), 0);
    for n in 0..40_u8 {
        writer.append(batch((0..30).map(|i| entry(&a, vec![n; 5000 + i])).collect())).unwrap();
        assert_eq!(follower.wait(n.into(), Duration::from_secs(9)), u64::from(n) + 1);
        assert_eq!(follower.commits(n.into(), 1).unwrap()[0].entries[7].leaf, vec![n; 5007]);
    }
    assert_eq!(publisher.publish(5).unwrap(), 1);
    assert_eq!(publisher.publish(6).unwrap(), 0);
    assert_eq!(follower.head(&a), writer.reader().head(&a));
    assert_eq!(follower.checkpoint(&a).map(|c| c.note), writer.reader().checkpoint(&a).map(|c| c.note));
    for path in ["tile/0/000", "tile/0/004.p/176", "tile/1/000.p/4", "tile/entries/002", "tile/entries/004.p/9"] {
        let here = writer.reader().resource(&a, path).unwrap();
        assert!(here.is_some());
        assert_eq!(follower.resource(&a, path).unwrap(), here, "{path}");
    }
    assert_eq!(follower.inclusion(&a, 700, 1100).unwrap(), writer.reader().inclusion(&a, 700, 1100).unwrap());
    // A reader that waits in another thread is woken by the commit.
    let reader = writer.reader();
    let waiting = std::thread::spawn(move || reader.wait(40, Duration::from_secs(60)));
    writer.append(batch(numbered(0, 1))).unwrap();
    assert_eq!(waiting.join().unwrap(), 41);
}

#[test]
fn many_logs_in_one_batch_and_in_each_header() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path(), &Options { segment_bytes: 64 << 10, ..options() }).unwrap();
    let logs: Vec<_> = (0..700).map(|n| log(&format!("tenant-{n:03}"))).collect();
    for n in 0..6 {
        let entries = logs.iter().map(|log| entry(log, format!("{log} {n}"))).collect();
        assert!(writer.append(batch(entries)).unwrap().iter().all(|receipt| receipt.index == n));
    }
    assert_eq!(Publisher::new(&writer).unwrap().publish(1).unwrap(), 700);
    drop(writer);
    let reader = open_reader(dir.path()).unwrap();
    assert_eq!(reader.logs().len(), 701);
    assert_eq!(reader.entry(&logs[699], 5).unwrap().unwrap().leaf, "tenant-699 5");
    assert!(segments(dir.path()).len() > 1);
    assert_sound(dir.path());
}
