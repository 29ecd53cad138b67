//! What a stranger checks a copy against: keys, policies, older checkpoints; what he is told; where he goes on.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pedigraph_ledger::*;

use crate::support::*;

/// A log, its copies at two sizes, and its key.
struct Copies {
    dir: tempfile::TempDir,
    vkey: String,
}

impl Copies {
    fn of(sizes: [u64; 2]) -> Copies {
        let dir = memory_dir();
        let mut writer = open_here(&dir.path().join("ledger"));
        let mut publisher = Publisher::new(&writer).unwrap();
        let log = LogId::default_log();
        for (size, name) in sizes.into_iter().zip(["old", "new"]) {
            while writer.size(&log) < size {
                let from = writer.size(&log);
                writer.append(batch(numbered(from, (size - from).min(4096)))).unwrap();
            }
            publisher.publish(1).unwrap();
            mirror(&writer.reader(), &log, &dir.path().join(name)).unwrap();
        }
        let vkey = writer.reader().vkey(&log);
        Copies { dir, vkey }
    }

    fn trust(&self) -> Trust {
        Trust { vkey: Some(self.vkey.clone()), ..Trust::default() }
    }

    fn new_copy(&self) -> std::path::PathBuf {
        self.dir.path().join("new")
    }

    fn older(&self) -> String {
        fs::read_to_string(self.dir.path().join("old/checkpoint")).unwrap()
    }

    fn check(&self, older: Option<&str>, resume: Option<&Path>) -> Verified {
        let (trust, copy) = (self.trust(), self.new_copy());
        let fetch = |path: &str| read_mirror(&copy, path);
        verify_tiles(&fetch, &TilesCheck { trust: &trust, older, resume }, &mut |_, _| {}).unwrap()
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn every_size_continues_every_older_one() {
    for sizes in [[0, 0], [0, 1], [1, 1], [1, 300], [255, 256], [256, 256], [256, 512], [300, 513], [256, 70_000]] {
        let copies = Copies::of(sizes);
        let older = copies.older();
        let verified = copies.check(Some(&older), None);
        assert_eq!((verified.fault, verified.entries), (None, sizes[1]), "{sizes:?}");
        assert!(verified.checks.iter().any(|check| check.contains("older checkpoint")), "{:?}", verified.checks);
    }
}

#[test]
fn a_fault_is_named_with_index_hashes_and_what_it_affects() {
    let copies = Copies::of([300, 1000]);
    let copy = copies.new_copy();
    // "leaf 256" is the first entry of its bundle: two bytes of length, then the text.
    let table: [(&str, usize, Option<u64>, &str); 5] = [
        ("tile/entries/001", 3, Some(256), "entry 256 in tile/entries/001: its bytes were changed"),
        ("tile/entries/003.p/232", 3, Some(768), "entry 768 in tile/entries/003.p/232: its bytes were changed"),
        ("tile/0/001", 33, Some(257), "tile/0/001 alone"),
        ("tile/0/003.p/232", 1, Some(768), "tile/0/003.p/232 alone"),
        ("tile/1/000.p/3", 70, Some(512), "entries 512 to 767, or this tile alone"),
    ];
    for (path, at, index, affected) in table {
        let before = fs::read(copy.join(path)).unwrap();
        flip(&copy.join(path), at);
        let fault = copies.check(None, None).first_fault.unwrap();
        assert_eq!(fault.index, index, "{path}: {fault}");
        assert!(fault.affected.contains(affected), "{path}: {fault}");
        assert!(fault.expected.is_some() && fault.found.is_some() && fault.expected != fault.found, "{path}");
        fs::remove_file(copy.join(path)).unwrap();
        let fault = copies.check(None, None).first_fault.unwrap();
        assert!(fault.what.contains(path) && fault.what.contains("is missing"), "{fault}");
        fs::write(copy.join(path), &before).unwrap();
    }
    assert_eq!(copies.check(None, None).fault, None);
}

#[test]
fn a_partial_resource_may_have_become_full() {
    let copies = Copies::of([300, 1000]);
    let older = copies.older();
    let copy = copies.new_copy();
    // What a server has that dropped the partials of the older size.
    fs::write(copy.join("checkpoint"), &older).unwrap();
    for path in ["tile/1/000.p/1", "tile/0/001", "tile/entries/001"] {
        let old = copies.dir.path().join("old").join(path);
        if old.exists() {
            fs::copy(old, copy.join(path)).unwrap();
        }
    }
    let verified = copies.check(None, None);
    assert_eq!((verified.fault, verified.entries), (None, 300));
}

#[test]
fn another_history_is_no_continuation() {
    let copies = Copies::of([300, 1000]);
    let other = Copies::of([300, 1000]);
    let older = other.older();
    let trust = copies.trust();
    let copy = copies.new_copy();
    let fetch = |path: &str| read_mirror(&copy, path);
    let by_another_key =
        verify_tiles(&fetch, &TilesCheck { trust: &trust, older: Some(&older), resume: None }, &mut |_, _| {});
    assert!(matches!(by_another_key, Err(Error::Refused(_))));

    // The same key over another history: entries 10 and 11 changed places.
    let fork = fork_of(&copies, |n| {
        if n == 10 {
            11
        } else if n == 11 {
            10
        } else {
            n
        }
    });
    let fault = copies.check(Some(&fork), None).first_fault.unwrap();
    assert!(fault.what.contains("not a continuation"), "{fault}");
    assert!(fault.expected.is_some() && fault.expected != fault.found);

    let newer = fs::read_to_string(copies.new_copy().join("checkpoint")).unwrap();
    fs::write(copies.new_copy().join("checkpoint"), copies.older()).unwrap();
    let fault = copies.check(Some(&newer), None).first_fault.unwrap();
    assert_eq!(fault.index, Some(300));
    assert!(fault.what.contains("has shrunk"), "{fault}");
}

/// A checkpoint for 300 entries of another history, signed by the log's own key.
fn fork_of(copies: &Copies, swap: fn(u64) -> u64) -> String {
    let ledger = copies.dir.path().join("ledger");
    let dir = memory_dir();
    // The description and the key make the log what it is.
    for name in ["key", "ledger"] {
        fs::copy(ledger.join(name), dir.path().join(name)).unwrap();
    }
    let mut writer = open_here(dir.path());
    let entries: Vec<_> = numbered(0, 300);
    let swapped = (0..300).map(|n| entries[usize::try_from(swap(n)).unwrap()].clone()).collect();
    writer.append(batch(swapped)).unwrap();
    Publisher::new(&writer).unwrap().publish(1).unwrap();
    let note = writer.reader().checkpoint(&LogId::default_log()).unwrap().note;
    String::from_utf8(note.to_vec()).unwrap()
}

#[test]
fn a_check_goes_on_where_it_ended() {
    let copies = Copies::of([300, 140_000]);
    let (trust, older, copy) = (copies.trust(), copies.older(), copies.new_copy());
    let state = copies.dir.path().join("state");
    let check = TilesCheck { trust: &trust, older: Some(&older), resume: Some(&state) };
    let ends_at = |path: &str| match path {
        "tile/entries/540" => Err(Error::Io(std::io::Error::other("the line is dead"))),
        path => read_mirror(&copy, path),
    };
    assert!(matches!(verify_tiles(&ends_at, &check, &mut |_, _| {}), Err(Error::Io(_))));
    assert!(state.exists());

    let bundles = AtomicUsize::new(0);
    let counting = |path: &str| {
        bundles.fetch_add(usize::from(path.starts_with("tile/entries/")), Ordering::Relaxed);
        read_mirror(&copy, path)
    };
    let first = Cell::new(None);
    let mut progress = |done, _| first.set(first.get().or(Some(done)));
    let verified = verify_tiles(&counting, &check, &mut progress).unwrap();
    assert_eq!((verified.fault, verified.entries), (None, 140_000));
    assert_eq!(first.get(), Some(131_072));
    assert_eq!(bundles.into_inner(), 547 - 512);
    assert!(verified.checks.iter().any(|check| check.contains("which is believed")), "{:?}", verified.checks);
    assert!(!state.exists(), "a finished check leaves no state");

    // For another older checkpoint the first entries are needed again.
    assert!(verify_tiles(&ends_at, &check, &mut |_, _| {}).is_err());
    let anew = TilesCheck { older: None, ..check };
    let first = Cell::new(None);
    verify_tiles(&counting_nothing(&copy), &anew, &mut |done, _| first.set(first.get().or(Some(done)))).unwrap();
    assert_eq!(first.get(), Some(0));

    // A file that is no state is never overwritten, and a state of another log is not used.
    fs::write(&state, "my diary").unwrap();
    assert!(matches!(verify_tiles(&counting_nothing(&copy), &check, &mut |_, _| {}), Err(Error::Refused(_))));
    assert_eq!(fs::read_to_string(&state).unwrap(), "my diary");
}

fn counting_nothing(copy: &Path) -> impl Fn(&str) -> Result<Option<Vec<u8>>, Error> + Sync {
    move |path| read_mirror(copy, path)
}

#[test]
fn only_what_the_checkpoint_implies_is_asked_for_and_once() {
    let copies = Copies::of([300, 1000]);
    let (trust, copy) = (copies.trust(), copies.new_copy());
    let asked = Mutex::new(BTreeMap::new());
    let fetch = |path: &str| {
        *asked.lock().unwrap().entry(path.to_owned()).or_insert(0) += 1;
        read_mirror(&copy, path)
    };
    verify_tiles(&fetch, &TilesCheck { trust: &trust, older: None, resume: None }, &mut |_, _| {}).unwrap();
    let asked = asked.into_inner().unwrap();
    let mut expected: Vec<_> =
        files(&copy).iter().map(|file| file.strip_prefix(&copy).unwrap().to_str().unwrap().to_owned()).collect();
    expected.sort();
    assert_eq!(asked.keys().cloned().collect::<Vec<_>>(), expected);
    assert!(asked.values().all(|times| *times == 1), "{asked:?}");
}

#[test]
fn a_hostile_server_only_makes_the_check_fail() {
    let copies = Copies::of([300, 1000]);
    let (trust, copy) = (copies.trust(), copies.new_copy());
    let garbage: [&[u8]; 4] = [b"", b"\xff", &[0; 8193], &[0xff; 70_000]];
    for bytes in garbage {
        for prefix in ["checkpoint", "tile/0/", "tile/1/", "tile/entries/"] {
            let used = AtomicBool::new(false);
            let fetch = |path: &str| match path.starts_with(prefix) {
                true => {
                    used.store(true, Ordering::Relaxed);
                    Ok(Some(bytes.to_vec()))
                }
                false => read_mirror(&copy, path),
            };
            let check = TilesCheck { trust: &trust, older: None, resume: None };
            let found = verify_tiles(&fetch, &check, &mut |_, _| {});
            assert!(found.map_or(true, |verified| verified.fault.is_some()), "{prefix}");
            assert!(used.into_inner());
        }
    }
}

#[test]
fn a_ledger_is_compared_with_an_older_checkpoint_and_a_key() {
    let copies = Copies::of([300, 1000]);
    let reader = open_reader(&copies.dir.path().join("ledger")).unwrap();
    let against = |trust: &Trust, older: &str| {
        let mut verified = Verified::default();
        verify_against(&reader, trust, Some(older), &mut verified).map(|()| verified)
    };
    let verified = against(&copies.trust(), &copies.older()).unwrap();
    assert_eq!((verified.fault, verified.checks.len()), (None, 2));
    let fork = fork_of(&copies, |n| n ^ 1);
    let fault = against(&Trust::default(), &fork).unwrap().first_fault.unwrap();
    assert!(fault.what.contains("not a continuation"), "{fault}");
    let other = Copies::of([0, 1]);
    assert!(matches!(against(&other.trust(), &copies.older()), Err(Error::Refused(_))));
    assert!(matches!(against(&Trust::default(), &other.older()), Err(Error::Refused(_))));
}

#[test]
fn an_entry_is_found_in_its_published_bundle() {
    let copies = Copies::of([300, 1000]);
    for index in [0, 255, 256, 999] {
        let path = bundle_path(index, 1000).unwrap();
        let bundle = fs::read(copies.new_copy().join(path)).unwrap();
        assert_eq!(entry_of_bundle(&bundle, index, 1000), Some(format!("leaf {index}").as_bytes()));
        assert_eq!(entry_of_bundle(&bundle[1..], index, 1000), None);
    }
    assert_eq!(bundle_path(1000, 1000), None);
}
