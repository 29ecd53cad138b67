//! The ledger against a plain vector: any split into batches gives the same roots, and everything reads back.

use std::sync::Arc;

use pedigraph_ledger::*;
use proptest::prelude::*;

use crate::support::*;

const LOGS: [&str; 3] = ["default", "b", "c"];

/// Log number, leaf, body.
type Model = Vec<(usize, Vec<u8>, Option<Vec<u8>>)>;

fn entries() -> impl Strategy<Value = Model> {
    let leaf = proptest::collection::vec(any::<u8>(), 1..60);
    let body = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..3000));
    proptest::collection::vec((0..3_usize, leaf, body), 0..700)
}

fn open_inline(dir: &std::path::Path) -> Writer {
    open_with(dir, &Options { segment_bytes: 64 << 10, ..options() }, Arc::new(LocalFiles), Work::Inline).unwrap()
}

/// Appends in batches of the given sizes, over and over, reopening after some.
fn build(dir: &std::path::Path, model: &Model, splits: &[usize]) -> Writer {
    let mut writer = open_inline(dir);
    let mut rest = &model[..];
    for (n, split) in splits.iter().cycle().enumerate() {
        let (now, later) = rest.split_at((*split).min(rest.len()));
        let new = |(log_number, leaf, body): &(usize, Vec<u8>, Option<Vec<u8>>)| NewEntry {
            body: body.clone().map(|body| Part::Inline(body.into())),
            ..entry(&log(LOGS[*log_number]), leaf.clone())
        };
        let time_ns = i64::try_from(n * 10).unwrap();
        writer.append(Batch { time_ns, entries: now.iter().map(new).collect(), ..Batch::default() }).unwrap();
        rest = later;
        if rest.is_empty() {
            break;
        }
        if n % 7 == 6 {
            drop(writer);
            writer = open_inline(dir);
        }
    }
    writer
}

fn mth(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => Hash(
            hex::decode("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
                .unwrap()
                .try_into()
                .unwrap(),
        ),
        [hash] => *hash,
        _ => {
            let (left, right) = hashes.split_at(hashes.len().next_power_of_two() / 2);
            node_hash(&mth(left), &mth(right))
        }
    }
}

fn check(reader: &Reader, model: &Model) {
    let commits = reader.commits(0, usize::MAX).unwrap();
    let read: Vec<_> = commits.iter().flat_map(|commit| &commit.entries).collect();
    assert_eq!(read.len(), model.len());
    let mut of_log: [Vec<Hash>; 3] = Default::default();
    for (found, (log_number, leaf, body)) in read.iter().zip(model) {
        let hashes = &mut of_log[*log_number];
        assert_eq!(
            (found.log.as_str(), found.index, &found.leaf[..]),
            (LOGS[*log_number], hashes.len() as u64, &leaf[..])
        );
        let stored = found.body.as_ref().map(|body| reader.part(body).unwrap().unwrap().to_vec());
        assert_eq!(&stored, body);
        let lone = reader.entry(&found.log, found.index).unwrap().unwrap();
        assert_eq!((&lone.leaf, &lone.body), (&found.leaf, &found.body));
        hashes.push(leaf_hash(leaf));
    }
    for (name, hashes) in LOGS.iter().zip(&of_log) {
        let log = log(name);
        let size = hashes.len() as u64;
        assert_eq!((reader.head(&log).size, reader.head(&log).root), (size, mth(hashes)));
        for part in [0, size / 3, size / 2, size] {
            let root = mth(&hashes[..usize::try_from(part).unwrap()]);
            assert_eq!(reader.root_at(&log, part).unwrap(), root);
            if part < size {
                let proof = reader.inclusion(&log, part, size).unwrap();
                assert!(inclusion_holds(&hashes[usize::try_from(part).unwrap()], part, size, &proof, &mth(hashes)));
            }
        }
        check_times(reader, &commits, &log);
    }
}

fn check_times(reader: &Reader, commits: &[Commit], log: &LogId) {
    for time in [-1, 0, 5, 10, 40, i64::MAX] {
        let known = commits.iter().filter(|commit| commit.time_ns <= time).flat_map(|commit| &commit.entries);
        let expected = known.filter(|entry| entry.log == *log).count() as u64;
        assert_eq!(reader.size_at(log, time).unwrap(), expected, "at {time}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_into_batches_reads_back_as_the_model(
        model in entries(),
        splits in proptest::collection::vec(1..90_usize, 1..6),
    ) {
        let dir = memory_dir();
        let writer = build(dir.path(), &model, &splits);
        check(&writer.reader(), &model);
        check(&open_reader(dir.path()).unwrap(), &model);
        drop(writer);
        assert_sound(dir.path());
    }
}
