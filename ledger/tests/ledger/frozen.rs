//! Format version 1 is frozen: a ledger that was written once must open for ever, and what is written today has the
//! same bytes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use pedigraph_ledger::*;

use crate::support::*;

/// A ledger directory: a line `<path> <base64 of the zstd-compressed content>` for each file. It is never written
/// again; a new version of the format gets a file of its own. Made by the test below with
/// `PEDIGRAPH_TEST_FIXTURE_TO=FILE`, from a `ledger` file written by hand.
const VERSION_1: &str = include_str!("fixtures/version-1.txt");
/// Log, root and leaf hashes, computed from the leaves by other code than this crate's.
const EXPECTED: [(&str, &str, &[&str]); 2] = [
    (
        "b",
        "71da4bcf9f98706baacb3af13a2f9aa135e4c7d9d68fc2d41f24912039ee4c75",
        &[
            "713ed7c65d24e93161de8b5e988ddcd25edc8f3459de699637c46eba56863b2a",
            "3c39e74f8161e742f0876a2a17d34bada605bf19905dd1298f2b069302398b77",
        ],
    ),
    (
        "default",
        "3ec016b05356c4cef1458ba5b10eb47c10a9434e85dc3055913a26acf00d367e",
        &[
            "a17999e42f2a106cb64eb4e68dec6f600bada7283cd665a4b3c1f94dce794e71",
            "589d820ceb695656cbbf921ebcad1546d0b0f271b22d574f258c7b6dc51eb199",
            "fca0a05a047f6876016ff842c5c7c0feb04aabcf18a16154b9353345465b7089",
            "db2f9d2d70af8a417f4e7543b77851c880b1c055984260beb3ae299354b68c3c",
            "c45a40ff55aaa3c517366b62382d32df8a5fbbd34a6031dac0844ec25cc80965",
            "5ecba7c58d1ac282fd4b37110a188f018bafaf89a773b95f9216f4daca9f4cc8",
            "7754aca9aa1cccd4461fb2477e8e7cb82558d34115a7e22b70b79dcca1395a13",
        ],
    ),
];
/// Verifier keys of the log `default` by the first key and by its successor, computed likewise.
const VKEYS: [&str; 2] = [
    "test.example/frozen/default+0534e2f0+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c",
    "test.example/frozen/default+d569f292+AYE5dw6ofRdfVqNUZsNMfszLjYqRtO43ol32D1uPybOU",
];
/// Secrets of these keys.
const SEEDS: [[u8; 32]; 2] = [[1; 32], [2; 32]];
/// A body that takes so much of a segment that the next batch begins another one.
const LARGE: usize = 64_000;

fn fixture() -> BTreeMap<String, Vec<u8>> {
    let file = |line: &str| {
        let (path, content) = line.split_once(' ').unwrap();
        (path.to_owned(), zstd::decode_all(&BASE64_STANDARD.decode(content).unwrap()[..]).unwrap())
    };
    VERSION_1.lines().map(file).collect()
}

fn lay_out(files: &BTreeMap<String, Vec<u8>>, dir: &Path) {
    for (path, content) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn read_all(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let name = |path: &Path| path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
    files(dir).iter().map(|path| (name(path), fs::read(path).unwrap())).collect()
}

fn write_key(dir: &Path, seed: [u8; 32]) {
    fs::write(dir.join("key"), format!("pedigraph ledger key 1 ed25519 {}\n", hex::encode(seed))).unwrap();
}

fn open_small(dir: &Path) -> (Writer, Publisher) {
    let options = Options { segment_bytes: 64 << 10, ..options() };
    let writer = open_with(dir, &options, Arc::new(LocalFiles), Work::Inline).unwrap();
    let publisher = Publisher::new(&writer).unwrap();
    (writer, publisher)
}

fn body(part: Part, leaf: &'static str) -> NewEntry {
    NewEntry { body: Some(part), ..entry(&log("default"), leaf) }
}

/// What the fixture was written by; the directory holds the file `ledger` only.
fn write_version_1(dir: &Path) {
    let default = log("default");
    write_key(dir, SEEDS[0]);
    let (mut writer, mut publisher) = open_small(dir);
    let mut first = body(Part::Inline("the inline body, to be erased".into()), "inline body and facts");
    first.facts = vec![Part::Inline("inline facts".into())];
    let facts = writer.blobs().put(b"facts, facts, facts").unwrap();
    let kept = writer.bodies().put(b"a stored body that is kept").unwrap();
    let gone = writer.bodies().put(b"a stored body, to be erased").unwrap();
    let with_facts = |leaf: &'static str| NewEntry { facts: vec![facts.clone()], ..entry(&log("b"), leaf) };
    let entries = vec![
        first,
        with_facts("facts in a blob"),
        body(kept, "body in a file"),
        body(gone, "another body in a file"),
        with_facts("the same facts"),
    ];
    let positions = vec![(Bytes::from_static(b"topic/0"), 12)];
    let duplicates = vec![(default.clone(), "ci".to_owned(), 3)];
    let time_ns = 1_700_000_000_000_000_000;
    writer.append(Batch { time_ns, entries, positions, duplicates, ..Batch::default() }).unwrap();
    publisher.publish(time_ns).unwrap();
    let large = entry(&default, ["large ".into(), "x".repeat(LARGE)].concat());
    writer.append(Batch { time_ns: time_ns + 1, ..batch(vec![large]) }).unwrap();
    drop((writer, publisher));

    let successor: Arc<dyn Signer> = Arc::new(SecretKey::parse(&hex::encode(SEEDS[1])).unwrap());
    let options = Options { segment_bytes: 64 << 10, ..options() };
    rotate_key(dir, &options, Some(successor), Arc::new(LocalFiles)).unwrap();
    write_key(dir, SEEDS[1]);
    let (mut writer, mut publisher) = open_small(dir);
    writer.append(Batch { time_ns: time_ns + 2, ..batch(vec![entry(&default, "key rotated")]) }).unwrap();
    let erasures = vec![(default.clone(), 0), (default.clone(), 2)];
    let says = batch(vec![entry(&default, "bodies erased")]);
    writer.append(Batch { time_ns: time_ns + 3, erasures, ..says }).unwrap();
    writer.append(Batch { time_ns: time_ns + 4, ..batch(vec![entry(&default, "last")]) }).unwrap();
    publisher.publish(time_ns + 5).unwrap();
}

fn check_content(reader: &Reader) {
    for (name, root, leaves) in EXPECTED {
        let log = log(name);
        let head = reader.head(&log);
        assert_eq!((head.size, head.root.to_string().as_str()), (leaves.len() as u64, root), "{name}");
        for (index, leaf) in (0..).zip(leaves) {
            let entry = reader.entry(&log, index).unwrap().unwrap();
            assert_eq!(entry.leaf_hash.to_string(), *leaf, "{name} {index}");
        }
    }
    let part_of = |name: &str, index: u64| {
        let entry = reader.entry(&log(name), index).unwrap().unwrap();
        let part = entry.body.or_else(|| entry.facts.first().cloned()).unwrap();
        reader.part(&part).unwrap().map(Vec::from)
    };
    assert_eq!(part_of("default", 0), None, "erased");
    assert_eq!(part_of("default", 1).unwrap(), b"a stored body that is kept");
    assert_eq!(part_of("default", 2), None, "erased");
    assert_eq!(part_of("b", 1).unwrap(), b"facts, facts, facts");
    let commits = reader.commits(0, usize::MAX).unwrap();
    let times: Vec<_> = commits.iter().map(|commit| commit.time_ns - 1_700_000_000_000_000_000).collect();
    assert_eq!(times, [0, 1, 2, 3, 4]);
    assert_eq!(commits[0].positions, [(Bytes::from_static(b"topic/0"), 12)]);
    assert_eq!(commits[0].duplicates, [(log("default"), "ci".to_owned(), 3)]);
    assert_eq!(commits[3].erasures, [(log("default"), 0), (log("default"), 2)]);
}

fn check_keys(reader: &Reader) {
    let log = log("default");
    assert_eq!([reader.first_vkey(&log), reader.vkey(&log)], VKEYS);
    assert_eq!(follow_keys(&reader.key_chain(), VKEYS[0]).unwrap(), VKEYS[1]);
    let rotations: Vec<_> = reader.rotations().iter().map(|r| (r.sequence, r.commits)).collect();
    assert_eq!(rotations, [(1, 2)]);
    let checkpoint = reader.checkpoint(&log).unwrap();
    let note = String::from_utf8(checkpoint.note.to_vec()).unwrap();
    let (size, root) = verify_checkpoint(&note, VKEYS[1]).unwrap();
    assert_eq!((size, root.to_string().as_str()), (7, EXPECTED[1].1));
}

#[test]
fn a_ledger_of_version_1_opens_verifies_and_goes_on() {
    let dir = memory_dir();
    lay_out(&fixture(), dir.path());
    assert!(segments(dir.path()).len() > 1, "a header with the state of the segments before is in it");
    assert_sound(dir.path());
    let reader = open_reader(dir.path()).unwrap();
    check_content(&reader);
    check_keys(&reader);
    drop(reader);
    let (mut writer, mut publisher) = open_small(dir.path());
    writer.append(batch(vec![entry(&log("default"), "one more")])).unwrap();
    publisher.publish(1).unwrap();
    assert_eq!(writer.reader().checkpoint(&log("default")).unwrap().size, 8);
    drop((writer, publisher));
    assert_sound(dir.path());
}

#[test]
fn derived_files_of_version_1_may_be_gone() {
    let dir = memory_dir();
    let derived = |path: &str| path == "commits" || path == "derived" || path.ends_with("/positions");
    let mut primary = fixture();
    primary.retain(|path, _| !derived(path));
    lay_out(&primary, dir.path());
    drop(open_small(dir.path()));
    assert_sound(dir.path());
    let reader = open_reader(dir.path()).unwrap();
    check_content(&reader);
    check_keys(&reader);
}

/// Everything but what zstd makes of a blob, which another version of it may make smaller: there the unpacked bytes
/// count.
#[test]
fn what_is_written_today_has_the_bytes_of_version_1() {
    let dir = memory_dir();
    let mut expected = fixture();
    fs::write(dir.path().join("ledger"), &expected["ledger"]).unwrap();
    write_version_1(dir.path());
    let mut written = read_all(dir.path());
    if let Some(to) = std::env::var_os("PEDIGRAPH_TEST_FIXTURE_TO") {
        let mut text = String::new();
        for (path, content) in &written {
            let packed = BASE64_STANDARD.encode(zstd::encode_all(&content[..], 19).unwrap());
            writeln!(text, "{path} {packed}").unwrap();
        }
        fs::write(to, text).unwrap();
        return;
    }
    let unpack = |files: &mut BTreeMap<String, Vec<u8>>| {
        for (path, content) in files {
            if path.starts_with("blobs/") || path.starts_with("bodies/") {
                *content = zstd::decode_all(&content[..]).unwrap();
            }
        }
    };
    unpack(&mut expected);
    unpack(&mut written);
    assert_eq!(written.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (path, content) in &expected {
        let differs = content.iter().zip(&written[path]).position(|(old, new)| old != new);
        assert!(*content == written[path], "{path} is another: first difference at byte {differs:?}");
    }
}
