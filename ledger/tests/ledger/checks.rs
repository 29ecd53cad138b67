//! What the check of a data directory says of each kind of fault, and where an interrupted one goes on.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use pedigraph_ledger::*;
use sha2::{Digest as _, Sha256};

use crate::support::*;

/// Entries of the log `default` in each batch; the log `other` has one more.
const OF_BATCH: u64 = 40;
const BATCHES: u64 = 15;
const ENTRIES: u64 = OF_BATCH * BATCHES;
const ENTRY: u8 = 1;
const COMMIT: u8 = 4;
const HEADER: u8 = 6;

fn digest(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}

/// Of equal lengths: what changes places fits.
fn leaf(n: u64) -> Vec<u8> {
    format!("leaf {n:04} {}", "x".repeat(400)).into()
}

fn small() -> Options {
    Options { segment_bytes: 64 << 10, ..options() }
}

/// Two logs, full tiles, bodies and facts in the journal and beside it, erased bodies, a checkpoint, segments of a few
/// batches.
struct Lab {
    dir: tempfile::TempDir,
    default: LogId,
    /// The checkpoint before the newest one.
    older: String,
}

impl Lab {
    fn new() -> Lab {
        let mut lab = Lab { dir: memory_dir(), default: log("default"), older: String::new() };
        let mut writer = open(lab.path(), &small()).unwrap();
        let mut publisher = Publisher::new(&writer).unwrap();
        for n in 0..BATCHES {
            lab.append(&mut writer, n);
            if n == 3 || n == 7 {
                publisher.publish(1).unwrap();
            }
            if n == 3 {
                lab.older = newest_checkpoint(lab.path());
            }
        }
        drop(writer);
        assert_sound(lab.path());
        assert!(segments(lab.path()).len() > 4);
        lab
    }

    fn append(&self, writer: &mut Writer, n: u64) {
        let mut entries: Vec<_> = (0..OF_BATCH).map(|i| entry(&self.default, leaf(n * OF_BATCH + i))).collect();
        entries[1].body = Some(Part::Inline(format!("a body {n:04}").into()));
        entries[2].body = Some(Part::Inline(format!("bodies {n:04}").into()));
        entries[3].facts = vec![Part::Inline(format!("facts {n:04}").into())];
        entries[4].body = Some(writer.bodies().put(format!("stored {n:04}").as_bytes()).unwrap());
        entries[5].facts = vec![writer.blobs().put(format!("stored facts {n:04}").as_bytes()).unwrap()];
        entries.push(entry(&log("other"), format!("other {n}")));
        // The bodies of a batch that is several segments before.
        let erasures = n
            .checked_sub(9)
            .map(|old| [(self.default.clone(), old * OF_BATCH + 1), (self.default.clone(), old * OF_BATCH + 4)]);
        writer.append(Batch { erasures: erasures.into_iter().flatten().collect(), ..batch(entries) }).unwrap();
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn fault(&self) -> Fault {
        let verified = verify(self.path(), &mut |_, _| {}).unwrap();
        let fault = verified.first_fault.unwrap();
        assert_eq!(verified.fault, Some(fault.to_string()));
        fault
    }

    /// The frame whose payload holds some bytes.
    fn frame(&self, holds: &[u8]) -> Frame {
        let holds_it = |frame: &Frame| frame.payload().windows(holds.len()).any(|bytes| bytes == holds);
        let all = segments(self.path()).into_iter().flat_map(|segment| frames(&segment));
        all.into_iter().find(holds_it).unwrap()
    }

    fn commits(&self) -> Vec<Frame> {
        let all = segments(self.path()).into_iter().flat_map(|segment| frames(&segment));
        all.filter(|frame| frame.kind() == COMMIT).collect()
    }

    /// Changes a segment, asks, and puts the segment back.
    fn fault_after(&self, frame: &Frame, change: impl FnOnce(&mut Vec<u8>)) -> Fault {
        let before = fs::read(&frame.segment).unwrap();
        let mut bytes = before.clone();
        change(&mut bytes);
        assert!(bytes != before);
        fs::write(&frame.segment, bytes).unwrap();
        let fault = self.fault();
        fs::write(&frame.segment, before).unwrap();
        fault
    }
}

/// A frame of a segment: length, checksum, type, payload.
#[derive(Clone)]
struct Frame {
    segment: PathBuf,
    at: usize,
    bytes: Vec<u8>,
}

impl Frame {
    fn kind(&self) -> u8 {
        self.bytes[8]
    }

    fn payload(&self) -> &[u8] {
        &self.bytes[9..]
    }

    fn place(&self) -> Range<usize> {
        self.at..self.at + self.bytes.len()
    }

    /// Where some bytes are in the segment.
    fn find(&self, holds: &[u8]) -> usize {
        self.at + self.bytes.windows(holds.len()).position(|bytes| bytes == holds).unwrap()
    }
}

fn frames(segment: &Path) -> Vec<Frame> {
    let bytes = fs::read(segment).unwrap();
    let (mut at, mut frames) = (16, Vec::new());
    while let Some(head) = bytes[at..].first_chunk()
        && u32::from_le_bytes(*head) > 0
    {
        let end = at + 8 + u32::from_le_bytes(*head) as usize;
        frames.push(Frame { segment: segment.to_owned(), at, bytes: bytes[at..end].to_vec() });
        at = end;
    }
    frames
}

/// Of the log `default`.
fn place(fault: &Fault) -> (Option<u64>, Option<Hash>, Option<Hash>) {
    assert_eq!(fault.log, Some(log("default")), "{fault}");
    (fault.index, fault.expected, fault.found)
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

#[test]
fn the_entry_of_a_damaged_frame_is_named() {
    let lab = Lab::new();
    let entry = lab.frame(b"leaf 0045 ");
    assert_eq!(entry.kind(), ENTRY);
    let at = entry.find(b"leaf 0045 ");
    let fault = lab.fault_after(&entry, |bytes| bytes[at] ^= 1);
    assert_eq!(place(&fault), (Some(45), Some(leaf_hash(&leaf(45))), Some(leaf_hash(&flipped(&leaf(45), 0)))));
    assert!(fault.what.contains("tile/0/000 states"), "{fault}");
    assert_eq!(fault.affected, "entry 45 of log default; all other frames of commit 1 hold");

    // In no full tile: what there is are roots.
    let entry = lab.frame(b"leaf 0590 ");
    let at = entry.find(b"leaf 0590 ");
    let fault = lab.fault_after(&entry, |bytes| bytes[at] ^= 1);
    let root = open_reader(lab.path()).unwrap().head(&lab.default).root;
    assert_eq!((fault.index, fault.expected), (Some(590), Some(root)), "{fault}");
    assert!(fault.found.is_some_and(|found| found != root), "{fault}");
    assert!(fault.what.contains("states the root of 600 entries"), "{fault}");

    // The checksum itself.
    let fault = lab.fault_after(&entry, |bytes| bytes[entry.at + 4] ^= 1);
    assert_eq!(place(&fault), (Some(590), None, None));
    assert!(fault.affected.starts_with("the frame alone"), "{fault}");
}

#[test]
fn the_part_or_commit_of_a_damaged_frame_is_named() {
    let lab = Lab::new();
    for (text, index) in [("bodies 0003", 122), ("facts 0003", 123)] {
        let frame = lab.frame(text.as_bytes());
        let fault = lab.fault_after(&frame, |bytes| bytes[frame.at + 9] ^= 1);
        let found = digest(&flipped(text.as_bytes(), 0));
        assert_eq!(place(&fault), (Some(index), Some(digest(text.as_bytes())), Some(found)));
        assert!(fault.affected.contains(&format!("of entry {index} of log default")), "{fault}");
    }
    for seq in [4, 5, BATCHES - 1] {
        let commits = lab.commits();
        let frame = &commits[usize::try_from(seq).unwrap()];
        let fault = lab.fault_after(frame, |bytes| bytes[frame.at + 9 + 50] ^= 1);
        // The last commit's hash is named by nothing.
        let expected = (seq < BATCHES - 1).then(|| digest(frame.payload()));
        assert_eq!(place(&fault), (Some(seq * OF_BATCH), expected, Some(digest(&flipped(frame.payload(), 50)))));
        let (first, last) = (seq * OF_BATCH, seq * OF_BATCH + OF_BATCH - 1);
        assert_eq!(fault.affected, format!("entries {first} to {last} of log default, entry {seq} of log other"));
    }
}

#[test]
fn damage_that_hides_where_frames_end_is_a_range_up_to_the_next_segment() {
    let lab = Lab::new();
    let all = segments(lab.path());
    // The second segment: its first batch, and where the third begins.
    let first = frames(&all[1]).into_iter().nth(1).unwrap();
    let from = all[1].file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
    let end = all[2].file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
    let entries = |end: u64| {
        let last = OF_BATCH * end - 1;
        let b = if end - from == 1 {
            format!("entry {from} of log other")
        } else {
            format!("entries {from} to {} of log other", end - 1)
        };
        format!("entries {} to {last} of log default, {b}", OF_BATCH * from)
    };
    type Change = fn(&mut Vec<u8>, &Frame);
    let table: [(&str, Change, &str); 3] = [
        ("length", |bytes, frame| bytes[frame.at + 1] ^= 0x40, "the checksum of the frame at offset"),
        (
            "two frames",
            |bytes, frame| (bytes[frame.at + 20], bytes[frame.place().end + 20]) = (255, 255),
            "does not hold",
        ),
        ("zeros", |bytes, frame| bytes[frame.place()].fill(0), "behind its last whole commit"),
    ];
    for (name, change, why) in table {
        let fault = lab.fault_after(&first, |bytes| change(bytes, &first));
        assert_eq!(place(&fault), (Some(from * OF_BATCH), None, None), "{name}");
        assert_eq!(fault.affected, entries(end), "{name}");
        assert!(fault.what.contains(why), "{name}: {fault}");
    }
    let header = frames(&all[1]).remove(0);
    let fault = lab.fault_after(&header, |bytes| bytes[header.at + 30] ^= 1);
    assert_eq!(fault.affected, entries(end), "the header");
    assert!(fault.what.contains("header is damaged"), "{fault}");
    // The end of a segment is gone: the next one's header says what it held.
    let fault = lab.fault_after(&first, |bytes| bytes[first.at..].fill(0));
    assert_eq!(fault.affected, entries(end), "the tail");
    let hashes: Vec<_> = lab.commits().iter().map(|commit| digest(commit.payload())).collect();
    let hash = |seq: u64| Some(hashes[usize::try_from(seq).unwrap()]);
    assert_eq!((fault.expected, fault.found), (hash(end - 1), hash(from - 1)), "{fault}");
    fs::remove_file(&all[1]).unwrap();
    let fault = lab.fault();
    assert!(fault.what.contains("is missing or was cut") && fault.index.is_some(), "{fault}");
}

#[test]
fn what_changed_places_with_good_checksums_is_named() {
    let lab = Lab::new();
    let swap =
        |bytes: &mut Vec<u8>, a: usize, b: usize, count: usize| (0..count).for_each(|n| bytes.swap(a + n, b + n));
    let (first, second) = (lab.frame(b"a body 0014"), lab.frame(b"bodies 0014"));
    let fault = lab.fault_after(&first, |bytes| swap(bytes, first.at, second.at, first.bytes.len()));
    assert_eq!(place(&fault), (Some(561), Some(digest(b"a body 0014")), Some(digest(b"bodies 0014"))));
    assert!(fault.affected.starts_with("the body of entry 561 of log default"), "{fault}");

    // Leaves: only the root tells.
    let (first, second) = (lab.frame(b"leaf 0050 "), lab.frame(b"leaf 0051 "));
    let salt = salt_of(lab.path());
    let fault = lab.fault_after(&first, |bytes| {
        swap(bytes, first.find(b"leaf 0050 "), second.find(b"leaf 0051 "), leaf(50).len());
        [first.at, second.at].into_iter().for_each(|at| mend_checksum(bytes, at, salt));
    });
    let root = open_reader(lab.path()).unwrap().root_at(&lab.default, 80).unwrap();
    assert_eq!((fault.index, fault.expected), (Some(40), Some(root)), "{fault}");
    assert!(fault.found.is_some_and(|found| found != root), "{fault}");
    assert!(fault.affected.contains("entries 40 to 79 of log default"), "{fault}");

    // Whole frames.
    let fault = lab.fault_after(&first, |bytes| swap(bytes, first.at, second.at, first.bytes.len()));
    assert_eq!(place(&fault), (Some(50), None, None));

    // A commit that says something else, with its checksum: the next one names what it said.
    let commit = &lab.commits()[3];
    let next = digest(commit.payload());
    // What it says of its sectors, which nobody else says.
    let fault = lab.fault_after(commit, |bytes| {
        bytes[commit.at + 9 + 60] ^= 1;
        mend_checksum(bytes, commit.at, salt);
    });
    let found = digest(&flipped(commit.payload(), 60));
    assert_eq!((fault.expected, fault.found), (Some(next), Some(found)), "{fault}");

    // A header of another state.
    let header = frames(&segments(lab.path())[2]).remove(0);
    let fault = lab.fault_after(&header, |bytes| {
        bytes[header.at + 9 + 40] ^= 1;
        mend_checksum(bytes, header.at, 0);
    });
    let stated = Hash(*header.payload()[40..].first_chunk().unwrap());
    assert_eq!(
        (fault.expected, fault.found),
        (Some(Hash(flipped(&stated.0, 0).try_into().unwrap())), Some(stated)),
        "{fault}"
    );
}

#[test]
fn a_wrong_derived_file_is_named_with_the_entries_it_stands_for() {
    let lab = Lab::new();
    let fault_of = |path: &str, at: usize| {
        let path = lab.path().join(path);
        let before = fs::read(&path).unwrap();
        fs::write(&path, flipped(&before, at)).unwrap();
        let fault = lab.fault();
        fs::write(&path, before).unwrap();
        fault
    };
    let fault = fault_of("logs/default/hashes-0", 8192 + 33);
    let hash = leaf_hash(&leaf(257));
    assert_eq!(place(&fault), (Some(257), Some(hash), Some(Hash(flipped(&hash.0, 1).try_into().unwrap()))));
    assert!(fault.affected.starts_with("the proofs of entries 256 to 511 of log default"), "{fault}");
    let fault = fault_of("logs/default/positions", 8 * 70);
    assert_eq!(place(&fault), (Some(70), None, None));
    assert!(fault.affected.contains("index alone"), "{fault}");
    let fault = fault_of("commits", 24 * 5);
    assert_eq!(place(&fault), (Some(200), None, None));
    let affected =
        "the index of commits alone, by which entries 200 to 239 of log default, entry 5 of log other are found";
    assert!(fault.affected.starts_with(affected), "{fault}");
    // The signature, and the size.
    let lines = fs::read_to_string(lab.path().join("logs/default/checkpoint")).unwrap();
    for at in [lines.find("320").unwrap(), lines.len() - 5] {
        let fault = fault_of("logs/default/checkpoint", at);
        assert_eq!(place(&fault), (None, None, None));
        assert!(fault.affected.starts_with("the checkpoint alone"), "{fault}");
    }
    fs::write(lab.path().join("logs/default/checkpoint"), "no checkpoint").unwrap();
    let fault = lab.fault();
    assert!(fault.affected.starts_with("the checkpoint alone"), "{fault}");
    // A fault of the entries tells more.
    let entry = lab.frame(b"leaf 0045 ");
    let at = entry.find(b"leaf 0045 ");
    assert_eq!(lab.fault_after(&entry, |bytes| bytes[at] ^= 1).index, Some(45));
}

#[test]
fn a_changed_or_missing_blob_is_named_with_its_entry() {
    let lab = Lab::new();
    let path = |folder: &str, text: &str| {
        let name = digest(text.as_bytes()).to_string();
        lab.path().join(folder).join(&name[..2]).join(name)
    };
    // Facts of entry 245, a body of entry 524: nobody erased it.
    for (folder, text, other, index) in
        [("blobs", "stored facts 0006", "stored facts 0007", 245), ("bodies", "stored 0013", "stored 0012", 524)]
    {
        let (path, other_path) = (path(folder, text), path(folder, other));
        let before = fs::read(&path).unwrap();
        let expected = Some(digest(text.as_bytes()));
        fs::copy(other_path, &path).unwrap();
        assert_eq!(place(&lab.fault()), (Some(index), expected, Some(digest(other.as_bytes()))));
        // The checksum behind the bytes.
        fs::write(&path, flipped(&before, before.len() - 1)).unwrap();
        assert_eq!(place(&lab.fault()), (Some(index), expected, expected));
        fs::write(&path, &before[..10]).unwrap();
        assert_eq!(place(&lab.fault()), (Some(index), expected, None));
        fs::remove_file(&path).unwrap();
        let fault = lab.fault();
        assert_eq!(place(&fault), (Some(index), expected, None));
        assert!(fault.what.contains("is missing"), "{fault}");
        fs::write(&path, before).unwrap();
    }
    assert_sound(lab.path());
}

#[test]
fn a_lost_tail_is_named_by_whoever_knows_of_it() {
    let lab = Lab::new();
    let newest = segments(lab.path()).pop().unwrap();
    let ends = frames(&newest).into_iter().filter(|frame| [COMMIT, HEADER].contains(&frame.kind()));
    let start = ends.rev().nth(1).unwrap().place().end;
    let mut bytes = fs::read(&newest).unwrap();
    bytes[start..].fill(0);
    // What was published of it.
    Publisher::new(&open(lab.path(), &small()).unwrap()).unwrap().publish(1).unwrap();
    fs::write(&newest, &bytes).unwrap();
    let fault = lab.fault();
    assert_eq!(place(&fault), (Some(560), None, None));
    assert_eq!(fault.affected, "entries 560 to 599 of log default are gone");
    // Without the checkpoint the index knows.
    fs::remove_file(lab.path().join("logs/default/checkpoint")).unwrap();
    fs::remove_file(lab.path().join("logs/other/checkpoint")).unwrap();
    let fault = lab.fault();
    assert!(fault.what.contains("the index names commit 14"), "{fault}");
    assert_eq!(fault.affected, "entries 560 to 599 of log default, entry 14 of log other");
    // Without the index what the lost commit did: it erased a body.
    for file in ["commits", "logs/default/positions", "logs/other/positions"] {
        fs::remove_file(lab.path().join(file)).unwrap();
    }
    assert_eq!(place(&lab.fault()), (Some(201), Some(digest(b"a body 0005")), None));
}

#[test]
fn a_rewritten_history_is_told_by_what_was_signed_before() {
    let (lab, fork) = (Lab::new(), memory_dir());
    // The same ledger and key, another entry 100, everything made from that anew.
    for name in ["key", "ledger"] {
        fs::copy(lab.path().join(name), fork.path().join(name)).unwrap();
    }
    let mut writer = open(fork.path(), &small()).unwrap();
    let leaves = (0..ENTRIES).map(|n| entry(&lab.default, leaf(if n == 100 { 9999 } else { n })));
    for entries in leaves.collect::<Vec<_>>().chunks(40) {
        writer.append(batch(entries.to_vec())).unwrap();
    }
    Publisher::new(&writer).unwrap().publish(1).unwrap();
    drop(writer);
    let mut verified = assert_sound(fork.path());
    let reader = open_reader(fork.path()).unwrap();
    let signed = open_reader(lab.path()).unwrap().root_at(&lab.default, 320).unwrap();
    let made = reader.root_at(&lab.default, 320).unwrap();
    verify_against(&reader, &Trust::default(), Some(&newest_checkpoint(lab.path())), &mut verified).unwrap();
    let fault = verified.first_fault.unwrap();
    assert_eq!(place(&fault), (None, Some(signed), Some(made)));
    assert!(fault.affected.contains("below 320"), "{fault}");
    // The older checkpoint in the place of the newer one.
    fs::write(fork.path().join("logs/default/checkpoint"), newest_checkpoint(lab.path())).unwrap();
    let verified = verify(fork.path(), &mut |_, _| {}).unwrap();
    let fault = verified.first_fault.unwrap();
    assert_eq!(place(&fault), (None, Some(signed), Some(made)));
    assert!(fault.affected.contains("history was rewritten"), "{fault}");
}

/// A check that ends in the n-th segment, which is damaged and mended again.
fn ends_in(lab: &Lab, state: &Path, number: usize) {
    let last = frames(&segments(lab.path())[number]).pop().unwrap();
    let before = fs::read(&last.segment).unwrap();
    fs::write(&last.segment, flipped(&before, last.at + 5)).unwrap();
    let verified = verify_with(lab.path(), Some(state), &mut |_, _| {}).unwrap();
    assert!(verified.fault.is_some());
    fs::write(&last.segment, before).unwrap();
}

#[test]
fn a_check_goes_on_at_the_segment_where_it_ended() {
    let lab = Lab::new();
    let whole = assert_sound(lab.path());
    let state = lab.path().with_extension("state");
    let mut believed = Vec::new();
    for number in 1..segments(lab.path()).len() {
        ends_in(&lab, &state, number);
        let mut first = None;
        let verified =
            verify_with(lab.path(), Some(&state), &mut |done, all| first = first.or(Some((done, all)))).unwrap();
        assert_eq!(verified.fault, None);
        assert_eq!(first, Some((verified.believed, whole.entries)));
        let counts = |verified: &Verified| (verified.commits, verified.entries, verified.bytes, verified.blobs);
        assert_eq!(counts(&verified), counts(&whole));
        assert_eq!(verified.checks[1..], whole.checks, "all else is said as ever");
        assert!(verified.checks[0].ends_with("which is believed"), "{:?}", verified.checks);
        assert!(!state.exists(), "a finished check leaves no state");
        believed.push(verified.believed);
    }
    assert!(believed.is_sorted() && believed[0] > 0, "{believed:?}");
}

#[test]
fn segments_that_were_checked_are_not_read_again() {
    let lab = Lab::new();
    let state = lab.path().with_extension("state");
    let entry = lab.frame(b"leaf 0005 ");
    let at = entry.find(b"leaf 0005 ");
    let last = segments(lab.path()).len() - 1;
    ends_in(&lab, &state, last);
    let damaged = flipped(&fs::read(&entry.segment).unwrap(), at);
    fs::write(&entry.segment, damaged).unwrap();
    let verified = verify_with(lab.path(), Some(&state), &mut |_, _| {}).unwrap();
    assert_eq!(verified.fault, None);
    assert!(verified.checks[0].contains("which is believed"), "{:?}", verified.checks);
    assert_eq!(lab.fault().index, Some(5), "a check of all finds it");
    // Nothing was verified before that fault, so nothing is noted.
    let again = verify_with(lab.path(), Some(&state), &mut |_, _| {}).unwrap();
    assert_eq!(again.first_fault.unwrap().index, Some(5));
    assert!(!state.exists());
}

#[test]
fn a_resumed_check_finds_what_it_has_still_to_read() {
    let lab = Lab::new();
    let state = lab.path().with_extension("state");
    // The second tile's first entries are in segments before the one where the check goes on, others behind it.
    let number = segments(lab.path()).iter().position(|path| path.to_str().unwrap().contains("00000010")).unwrap_or(3);
    let tile = lab.path().join("logs/default/hashes-0");
    let positions = lab.path().join("logs/default/positions");
    for (path, at, index) in [(&tile, 8192, 256), (&tile, 32 * 511, 511), (&positions, 8 * 599, 599)] {
        ends_in(&lab, &state, number);
        let before = fs::read(path).unwrap();
        fs::write(path, flipped(&before, at)).unwrap();
        let verified = verify_with(lab.path(), Some(&state), &mut |_, _| {}).unwrap();
        assert!(verified.believed > 256 && verified.believed < 511, "{}", verified.believed);
        assert_eq!(verified.first_fault.unwrap().index, Some(index));
        fs::write(path, before).unwrap();
        fs::remove_file(&state).unwrap();
    }
}

#[test]
fn a_state_that_does_not_fit_is_not_believed() {
    let (lab, other) = (Lab::new(), Lab::new());
    let state = lab.path().with_extension("state");
    let last = segments(lab.path()).len() - 1;
    ends_in(&other, &state, last);
    let refused = |why: &str| match verify_with(lab.path(), Some(&state), &mut |_, _| {}) {
        Err(Error::Refused(text)) => assert!(text.contains(why), "{text}"),
        other => panic!("{other:?}"),
    };
    refused("is of the ledger");
    fs::write(&state, "my diary").unwrap();
    refused("is not the state");
    assert_eq!(fs::read_to_string(&state).unwrap(), "my diary");
    fs::remove_file(&state).unwrap();

    // The same ledger, gone another way since: as a copy that was restored would be.
    let copy = memory_dir();
    copy_dir(lab.path(), copy.path());
    for (dir, leaf) in [(lab.path(), "one"), (copy.path(), "two")] {
        let mut writer = open(dir, &small()).unwrap();
        (0..4).for_each(|n| {
            drop(writer.append(batch(vec![entry(&lab.default, format!("{leaf} {n} {}", "x".repeat(40_000)))])).unwrap())
        });
    }
    ends_in(&lab, &state, segments(lab.path()).len() - 1);
    let verified = verify_with(copy.path(), Some(&state), &mut |_, _| {}).unwrap();
    assert_eq!((verified.fault, verified.believed), (None, 0));
    assert!(verified.checks[0].contains("began anew"), "{:?}", verified.checks);
    assert!(!state.exists());
    // Another checkpoint than the one that was compared: the entries that it signs are needed again.
    for (checkpoint, believes) in [(Some(&lab.older), false), (None, true)] {
        ends_in(&lab, &state, last);
        let path = lab.path().join("logs/default/checkpoint");
        checkpoint.map_or_else(|| fs::remove_file(&path), |text| fs::write(&path, text)).unwrap();
        let verified = verify_with(lab.path(), Some(&state), &mut |_, _| {}).unwrap();
        assert_eq!((verified.fault, verified.believed > 0), (None, believes), "{checkpoint:?}");
    }
}
