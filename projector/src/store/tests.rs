//! Every store against a map, with scans in both directions; and what stores on disk do when they are opened again.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use proptest::prelude::*;

use super::opening::Refused;
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
    apply(store, ops, &mut model);
    store.flush().expect("flush");
    let all = store.scan(b"", &[0xff; 8], false, usize::MAX).expect("scan");
    assert_eq!(all, model.into_iter().collect::<Vec<_>>());
}

fn apply(store: &dyn Store, ops: &[Op], model: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
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
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn memory_answers_as_a_map_does(ops in prop::collection::vec(op(), 0..80)) {
        conforms(&MemStore::default(), &ops);
    }

    #[test]
    fn stores_on_disk_answer_as_a_map_does(ops in prop::collection::vec(op(), 0..80)) {
        for kind in KINDS {
            let dir = tempfile::tempdir().expect("a directory");
            let (store, renewed) = kind.open(&dir.path().join("s"), 1 << 20).expect("opens");
            prop_assert!(!renewed);
            conforms(store.as_ref(), &ops);
        }
    }

    /// With the store opened again in between, as after a fault: nothing that was written is lost.
    #[test]
    fn stores_on_disk_answer_as_a_map_does_when_renewed(
        parts in prop::collection::vec(prop::collection::vec(op(), 0..12), 1..4),
    ) {
        for kind in KINDS {
            let dir = tempfile::tempdir().expect("a directory");
            let (store, _) = kind.open(&dir.path().join("s"), 1 << 20).expect("opens");
            let mut model = BTreeMap::new();
            for ops in &parts {
                apply(store.as_ref(), ops, &mut model);
                store.renew(false).expect("opens again");
                let all = store.scan(b"", &[0xff; 8], false, usize::MAX).expect("scan");
                prop_assert_eq!(all, model.clone().into_iter().collect::<Vec<_>>(), "{}", kind);
            }
            store.renew(true).expect("begins anew");
            prop_assert!(store.scan(b"", &[0xff; 8], false, 1).expect("scan").is_empty());
            apply(store.as_ref(), &parts[0], &mut BTreeMap::new());
        }
    }
}

const KINDS: [StoreKind; 2] = [StoreKind::Sled, StoreKind::Fjall];

#[test]
fn a_reopened_store_has_its_rows_and_a_damaged_one_is_set_aside() {
    for (kind, file) in [(StoreKind::Sled, "db"), (StoreKind::Fjall, "version")] {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let (store, _) = kind.open(&path, 1 << 20).expect("opens");
        (0_u32..5_000).for_each(|n| store.insert(&n.to_be_bytes(), &[7; 100]).expect("insert"));
        store.sync().expect("sync");
        drop(store);
        let (store, renewed) = kind.open(&path, 1 << 20).expect("opens");
        assert!(!renewed);
        assert_eq!(store.scan(b"", &[0xff; 5], true, 1).expect("scan")[0].0, 4_999_u32.to_be_bytes());
        drop(store);

        std::fs::remove_file(path.join(file)).expect("damage");
        std::fs::create_dir(path.join(file)).expect("damage");
        let (store, renewed) = kind.open(&path, 1 << 20).expect("opens anew");
        assert!(renewed, "{kind}");
        assert!(store.scan(b"", &[0xff; 5], false, 1).expect("scan").is_empty());
        assert!(dir.path().join("s.corrupt-1").exists());
    }
}

#[cfg(unix)]
#[test]
fn a_store_that_may_not_be_written_is_not_set_aside() {
    use std::os::unix::fs::PermissionsExt as _;

    for kind in KINDS {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let (store, _) = kind.open(&path, 1 << 20).expect("opens");
        store.insert(b"k", b"v").expect("inserts");
        store.sync().expect("sync");
        drop(store);
        let modes = |mode: u32| {
            for place in [&path, dir.path()] {
                std::fs::set_permissions(place, std::fs::Permissions::from_mode(mode)).expect("permissions");
            }
        };
        modes(0o500);
        // The superuser may write all the same.
        let refused = std::fs::write(dir.path().join("probe"), b"").is_err();
        let opened = kind.open(&path, 1 << 20).map(|(_, renewed)| renewed);
        modes(0o700);
        assert!(!dir.path().join("s.corrupt-1").exists(), "{kind}");
        match opened {
            Ok(renewed) => assert!(!renewed && !refused, "{kind}"),
            Err(error) => assert!(error.to_string().contains("nothing in it was changed"), "{error}"),
        }
        let (store, renewed) = kind.open(&path, 1 << 20).expect("opens");
        assert!(!renewed && store.get(b"k").expect("reads").is_some(), "{kind}");
    }
}

#[test]
fn a_full_disk_is_no_damage() {
    for kind in [ErrorKind::StorageFull, ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem] {
        let (error, cause) = (std::io::Error::other("opening"), std::io::Error::from(kind));
        assert!(matches!(Refused::of(&error, Some(&cause)), Refused::Failed(_)), "{kind}");
        assert!(matches!(Refused::of(&fjall::Error::Io(cause), None), Refused::Failed(_)), "{kind}");
    }
    assert!(matches!(Refused::of(&std::io::Error::from_raw_os_error(24), None), Refused::Failed(_)));
    for kind in [ErrorKind::UnexpectedEof, ErrorKind::InvalidData, ErrorKind::NotFound] {
        assert!(matches!(Refused::of(&std::io::Error::from(kind), None), Refused::Damaged(_)), "{kind}");
    }
}

/// Past the cache, a fold must not grow memory with the number of rows.
#[cfg(target_os = "linux")]
#[test]
fn stores_stay_within_a_bound_of_memory() {
    fn resident_bytes() -> u64 {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
        statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("pages") * 4_096
    }
    for kind in KINDS {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, _) = kind.open(&dir.path().join("s"), 8 << 20).expect("opens");
        let before = resident_bytes();
        for n in 0_u64..300_000 {
            let key = blake3::hash(&n.to_be_bytes());
            store.insert(key.as_bytes(), &[0x55; 200]).expect("insert");
        }
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < 400 << 20, "{kind} grew by {} MiB", grown >> 20);
    }
}

#[test]
fn a_store_that_is_open_is_never_set_aside() {
    for kind in KINDS {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let (store, _) = kind.open(&path, 1 << 20).expect("opens");
        store.insert(b"k", b"v").expect("inserts");
        let refused = kind.open(&path, 1 << 20).map(|_| ()).expect_err("is in use").to_string();
        assert!(refused.contains("used by another process"), "{refused}");
        assert_eq!(store.get(b"k").expect("reads").as_deref(), Some(&b"v"[..]));
        assert!(path.exists() && !dir.path().join("s.corrupt-1").exists());
    }
}

/// Keys that are longer than fjall takes, beside short ones.
#[test]
fn a_key_may_be_of_any_length() {
    let long = |end: &str| [&vec![b'm'; 70_000], end.as_bytes()].concat();
    for kind in KINDS {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, _) = kind.open(&dir.path().join("s"), 1 << 20).expect("opens");
        let before = store.insert_new(&long("a"), b"1").expect("inserts");
        assert_eq!(before, None);
        for key in [b"a".to_vec(), b"z".to_vec(), vec![b'm'; 65_534], vec![b'm'; 65_535]] {
            store.insert(&key, b"2").expect("inserts");
        }
        store.batch(&[(long("b"), b"3".to_vec())]).expect("inserts");
        let read = |key: &[u8]| store.get(key).expect("reads");
        assert_eq!(store.insert_new(&long("a"), b"4").expect("looks"), Some(b"1".to_vec()));
        assert_eq!((read(&long("b")), read(&long("c"))), (Some(b"3".to_vec()), None), "{kind}");
        let found = store.scan(b"b", b"y", false, 10).expect("scans");
        let mut found: Vec<Vec<u8>> = found.into_iter().map(|(key, _)| key).collect();
        assert_eq!(found[0].len(), 65_534);
        found.sort();
        assert_eq!(found, [vec![b'm'; 65_534], vec![b'm'; 65_535], long("a"), long("b")], "{kind}");
        let of_long = store.scan(&long(""), &long("c"), true, 10).expect("scans");
        assert_eq!(of_long.len(), 2, "{kind}");
        assert!(of_long.iter().any(|(key, _)| *key == long("a")), "{kind}");
        store.remove(&long("a")).expect("removes");
        assert_eq!(read(&long("a")), None);
    }
}
