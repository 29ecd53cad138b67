//! Both stores against a map, with scans in both directions.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Insert(Vec<u8>, Vec<u8>),
    InsertNew(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    Batch(Vec<Row>),
    Get(Vec<u8>),
    Scan(Vec<u8>, Vec<u8>, bool, usize),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(b'a'), Just(0xff)], 1..4)
}

fn op() -> impl Strategy<Value = Op> {
    let value = || prop::collection::vec(any::<u8>(), 0..4);
    prop_oneof![
        3 => (key(), value()).prop_map(|(k, v)| Op::Insert(k, v)),
        2 => (key(), value()).prop_map(|(k, v)| Op::InsertNew(k, v)),
        1 => key().prop_map(Op::Remove),
        1 => prop::collection::vec((key(), value()), 0..4).prop_map(Op::Batch),
        1 => key().prop_map(Op::Get),
        3 => (key(), key(), any::<bool>(), 0_usize..6).prop_map(|(a, b, r, n)| Op::Scan(a, b, r, n)),
    ]
}

/// Every store must answer as a `BTreeMap` does.
fn conforms(store: &dyn Store, ops: &[Op]) {
    let mut model = BTreeMap::new();
    for op in ops {
        match op {
            Op::Insert(key, value) => {
                store.insert(key, value).expect("insert");
                model.insert(key.clone(), value.clone());
            }
            Op::InsertNew(key, value) => {
                assert_eq!(store.insert_new(key, value).expect("insert"), model.get(key).cloned());
                model.entry(key.clone()).or_insert_with(|| value.clone());
            }
            Op::Remove(key) => {
                store.remove(key).expect("remove");
                model.remove(key);
            }
            Op::Batch(rows) => {
                store.batch(rows).expect("batch");
                model.extend(rows.iter().cloned());
            }
            Op::Get(key) => assert_eq!(store.get(key).expect("get"), model.get(key).cloned()),
            Op::Scan(from, to, reverse, limit) => {
                let got = store.scan(from, to, *reverse, *limit).expect("scan");
                let inside = model.iter().filter(|(key, _)| *key >= from && *key < to);
                let mut want: Vec<Row> = inside.map(|(k, v)| (k.clone(), v.clone())).collect();
                if *reverse {
                    want.reverse();
                }
                want.truncate(*limit);
                assert_eq!(got, want, "{op:?}");
            }
        }
    }
    store.flush().expect("flush");
    let all = store.scan(b"", &[0xff; 8], false, usize::MAX).expect("scan");
    assert_eq!(all, model.into_iter().collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn memory_answers_as_a_map_does(ops in prop::collection::vec(op(), 0..80)) {
        conforms(&MemStore::default(), &ops);
    }

    #[test]
    fn sled_answers_as_a_map_does(ops in prop::collection::vec(op(), 0..80)) {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, renewed) = SledStore::open(&dir.path().join("s"), 1 << 20).expect("opens");
        prop_assert!(!renewed);
        conforms(&store, &ops);
    }
}

#[test]
fn a_reopened_store_has_its_rows_and_a_damaged_one_is_set_aside() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let (store, _) = SledStore::open(&path, 1 << 20).expect("opens");
    (0_u32..5_000).for_each(|n| store.insert(&n.to_be_bytes(), &[7; 100]).expect("insert"));
    store.sync().expect("sync");
    drop(store);
    let (store, renewed) = SledStore::open(&path, 1 << 20).expect("opens");
    assert!(!renewed);
    assert_eq!(store.scan(b"", &[0xff; 5], true, 1).expect("scan")[0].0, 4_999_u32.to_be_bytes());
    drop(store);

    std::fs::remove_file(path.join("db")).expect("damage");
    std::fs::create_dir(path.join("db")).expect("damage");
    let (store, renewed) = SledStore::open(&path, 1 << 20).expect("opens anew");
    assert!(renewed);
    assert!(store.scan(b"", &[0xff; 5], false, 1).expect("scan").is_empty());
    assert!(dir.path().join("s.corrupt-1").exists());
}

/// Past the cache, a fold must not grow memory with the number of rows.
#[cfg(target_os = "linux")]
#[test]
fn sled_stays_within_a_bound_of_memory() {
    fn resident_bytes() -> u64 {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
        statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("pages") * 4_096
    }
    let dir = tempfile::tempdir().expect("a directory");
    let (store, _) = SledStore::open(&dir.path().join("s"), 8 << 20).expect("opens");
    let before = resident_bytes();
    for n in 0_u64..300_000 {
        let key = blake3::hash(&n.to_be_bytes());
        store.insert(key.as_bytes(), &[0x55; 200]).expect("insert");
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 400 << 20, "grew by {} MiB", grown >> 20);
}

#[test]
fn a_store_that_is_open_is_never_set_aside() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let (store, _) = SledStore::open(&path, 1 << 20).expect("opens");
    store.insert(b"k", b"v").expect("inserts");
    let refused = SledStore::open(&path, 1 << 20).expect_err("is in use").to_string();
    assert!(refused.contains("used by another process"), "{refused}");
    assert_eq!(store.get(b"k").expect("reads").as_deref(), Some(&b"v"[..]));
    assert!(path.exists() && !dir.path().join("s.corrupt-1").exists());
}
