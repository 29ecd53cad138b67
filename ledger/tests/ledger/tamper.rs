//! Whatever byte of a ledger or of a copy is changed, the check says so.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use pedigraph_ledger::*;

use crate::fault::random;
use crate::support::*;

/// Two logs, full tiles of two levels, blobs, bodies, checkpoints, several segments.
fn rich_ledger(dir: &Path) {
    let mut writer = open_here(dir);
    let mut publisher = Publisher::new(&writer).unwrap();
    let (a, b) = (log("default"), log("b"));
    for n in 0..12_u64 {
        let mut entries: Vec<_> =
            (0..100).map(|i| entry(if i % 9 == 0 { &b } else { &a }, format!("{n} {i} {}", "x".repeat(900)))).collect();
        entries[1].body = Some(Part::Inline(format!("body {n}").into()));
        entries[2].facts = vec![Part::Inline("same facts".into())];
        entries[3].body = Some(writer.bodies().put(format!("blob {}", n % 3).repeat(50).as_bytes()).unwrap());
        writer.append(batch(entries)).unwrap();
        if n == 7 {
            publisher.publish(1).unwrap();
        }
    }
}

fn found_by_verify(dir: &Path) -> bool {
    match verify(dir, &mut |_, _| {}) {
        Ok(verified) => verified.fault.is_some(),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_flipped_bit_in_any_file_is_found() {
    let dir = memory_dir();
    rich_ledger(dir.path());
    let verified = assert_sound(dir.path());
    assert_eq!((verified.entries, verified.blobs), (1200, 3));
    let ours = ["LOCK", "key", "derived", "spare"];
    let mut flips = 0;
    for path in files(dir.path()) {
        if ours.contains(&path.file_name().unwrap().to_str().unwrap()) {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let ends = [0, 1, bytes.len() as u64 - 1, bytes.len() as u64 / 2];
        let picks = if path.extension().is_some_and(|e| e == "seg") { 60 } else { 4 };
        let random = (0..picks).map(|n| random(n + bytes.len() as u64) % bytes.len() as u64);
        for at in ends.into_iter().chain(random) {
            let mut flipped = bytes.clone();
            flipped[usize::try_from(at).unwrap()] ^= 1 << (at % 8);
            fs::write(&path, flipped).unwrap();
            assert!(found_by_verify(dir.path()), "byte {at} of {}", path.display());
            flips += 1;
        }
        fs::write(&path, &bytes).unwrap();
    }
    assert!(flips > 200, "{flips}");
    assert_sound(dir.path());
}

#[test]
fn every_bit_of_a_batch_and_of_a_blob_counts() {
    let dir = memory_dir();
    let mut writer = open_here(dir.path());
    let blob = writer.blobs().put(b"some bytes some bytes some bytes").unwrap();
    let new = NewEntry { body: Some(Part::Inline("b".into())), facts: vec![blob], ..entry(&log("default"), "leaf") };
    writer.append(Batch { entries: vec![new], positions: vec![("p".into(), 1)], ..Batch::default() }).unwrap();
    drop(writer);
    assert_sound(dir.path());
    let blob = files(&dir.path().join("blobs")).pop().unwrap();
    for path in [segments(dir.path()).remove(0), blob.clone()] {
        let bytes = fs::read(&path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 10;
        for bit in 0..used.min(bytes.len()) * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, flipped).unwrap();
            assert!(found_by_verify(dir.path()), "bit {bit} of {}", path.display());
        }
        fs::write(&path, &bytes).unwrap();
    }
    fs::remove_file(blob).unwrap();
    let fault = verify(dir.path(), &mut |_, _| {}).unwrap().fault.unwrap();
    assert!(format!("{fault:?}").contains("entry 0 of log default: blob "), "{fault:?}");
}

#[test]
fn missing_and_added_things_are_found() {
    type Change = fn(&Path);
    let table: [(&str, Change); 5] = [
        ("a blob is cut", |dir| fs::write(files(&dir.join("bodies")).pop().unwrap(), "short").unwrap()),
        ("a blob is gone", |dir| fs::remove_file(files(&dir.join("bodies")).pop().unwrap()).unwrap()),
        ("a tile that no entry implies", |dir| {
            let file = fs::File::options().write(true).open(dir.join("logs/default/hashes-0")).unwrap();
            file.write_all_at(&[1; 8192], file.metadata().unwrap().len()).unwrap();
        }),
        ("a segment is gone", |dir| fs::remove_file(segments(dir).remove(0)).unwrap()),
        ("two segments changed places", |dir| {
            let all = segments(dir);
            let (first, second) = (fs::read(&all[0]).unwrap(), fs::read(&all[1]).unwrap());
            fs::write(&all[0], second).unwrap();
            fs::write(&all[1], first).unwrap();
        }),
    ];
    for (what, change) in table {
        let dir = memory_dir();
        rich_ledger(dir.path());
        change(dir.path());
        assert!(found_by_verify(dir.path()), "{what}");
    }
}

#[test]
fn a_changed_copy_is_refused() {
    let (dir, copy) = (memory_dir(), memory_dir());
    rich_ledger(dir.path());
    let reader = open_reader(dir.path()).unwrap();
    let a = log("default");
    let vkey = reader.vkey(&a);
    let count = mirror(&reader, &a, copy.path()).unwrap();
    let all = files(copy.path());
    assert_eq!(count, all.len() as u64);
    assert_eq!(verify_mirror(copy.path(), &vkey).unwrap(), reader.checkpoint(&a).unwrap().size);
    assert!(verify_mirror(copy.path(), &reader.vkey(&log("b"))).is_err());
    for path in all {
        let bytes = fs::read(&path).unwrap();
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            fs::write(&path, flipped).unwrap();
            assert!(verify_mirror(copy.path(), &vkey).is_err(), "byte {at} of {}", path.display());
        }
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(verify_mirror(copy.path(), &vkey).is_err(), "{} cut", path.display());
        fs::remove_file(&path).unwrap();
        assert!(verify_mirror(copy.path(), &vkey).is_err(), "{} gone", path.display());
        fs::write(&path, &bytes).unwrap();
    }
}
