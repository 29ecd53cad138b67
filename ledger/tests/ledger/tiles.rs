//! Resources, checkpoints and proofs at the sizes where tiles begin and end.

use std::time::Duration;

use pedigraph_ledger::*;

use crate::support::*;

const SIZES: [u64; 8] = [0, 1, 255, 256, 257, 65_535, 65_536, 65_537];

/// RFC 6962 §2.1 over leaf hashes.
fn mth(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => panic!("no leaves"),
        [hash] => *hash,
        _ => {
            let (left, right) = hashes.split_at(hashes.len().next_power_of_two() / 2);
            node_hash(&mth(left), &mth(right))
        }
    }
}

fn leaf(n: u64) -> String {
    format!("leaf {n}")
}

/// The tile of the specification: hash i of tile (L, N) covers leaves (N*256+i) * 256^L and 256^L leaves on.
fn expected_tile(leaves: &[Hash], level: u32, number: u64, width: u64) -> Vec<u8> {
    let span = 256_usize.pow(level);
    let from = usize::try_from(number * 256).unwrap() * span;
    let hashes = leaves[from..].chunks(span).take(usize::try_from(width).unwrap());
    hashes.flat_map(|chunk| mth(chunk).0).collect()
}

#[test]
fn resources_exist_exactly_as_the_sizes_say() {
    let dir = memory_dir();
    let log = LogId::default_log();
    let leaves: Vec<_> = (0..65_537).map(|n| leaf_hash(leaf(n).as_bytes())).collect();
    let mut writer = open_here(dir.path());
    let mut publisher = Publisher::new(&writer).unwrap();
    for size in SIZES {
        while writer.size(&log) < size {
            let from = writer.size(&log);
            writer.append(batch(numbered(from, (size - from).min(4096)))).unwrap();
        }
        let reader = writer.reader();
        if size > 0 {
            // Durable, not published: no resource yet.
            let newest = format!("tile/0/{}", path_number(size, 0));
            assert_eq!(reader.resource(&log, &newest).unwrap(), None, "{newest} before its checkpoint");
            assert_eq!(publisher.publish(1).unwrap(), 1);
        }
        assert_eq!(publisher.publish(2).unwrap(), 0);
        check_resources(&reader, &leaves, size);
        check_resources(&open_reader(dir.path()).unwrap(), &leaves, size);
        let copy = memory_dir();
        mirror(&reader, &log, copy.path()).unwrap();
        assert_eq!(verify_mirror(copy.path(), &reader.vkey(&log)).unwrap(), size);
    }
    check_proofs(&writer.reader(), &leaves);
    drop(writer);
    assert_sound(dir.path());
    // From files alone: nothing is in memory.
    let reader = open_here(dir.path()).reader();
    check_resources(&reader, &leaves, 65_537);
    check_proofs(&reader, &leaves);
}

/// Number and width of the newest tile of a level, as a path.
fn path_number(size: u64, level: u32) -> String {
    let hashes = size / 256_u64.pow(level);
    match hashes % 256 {
        0 => format!("{:03}", hashes / 256 - 1),
        width => format!("{:03}.p/{width}", hashes / 256),
    }
}

fn check_resources(reader: &Reader, leaves: &[Hash], size: u64) {
    let log = LogId::default_log();
    let (published, root) =
        verify_checkpoint(std::str::from_utf8(&reader.checkpoint(&log).unwrap().note).unwrap(), &reader.vkey(&log))
            .unwrap();
    assert_eq!(published, size);
    let prefix = &leaves[..usize::try_from(size).unwrap()];
    if size > 0 {
        assert_eq!(root, mth(prefix));
    }
    for level in 0..=3 {
        let hashes = size / 256_u64.pow(level);
        for number in [0, 1, 254, 255, 256] {
            for width in [1, 2, 17, 254, 255, 256] {
                let suffix = if width == 256 { String::new() } else { format!(".p/{width}") };
                let path = format!("tile/{level}/{number:03}{suffix}");
                let found = reader.resource(&log, &path).unwrap();
                let exists = number * 256 + width <= hashes;
                assert_eq!(found.is_some(), exists, "{path} at {size}");
                if let Some(found) = found {
                    assert_eq!(found, expected_tile(prefix, level, number, width), "{path} at {size}");
                }
                if level == 0 {
                    check_bundle(reader, number, width, &suffix, exists);
                }
            }
        }
    }
    for path in [
        "tile/4/000.p/1",
        "tile/63/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "checkpoint",
        "../default/checkpoint",
        "tile/0/x001/000",
    ] {
        assert_eq!(reader.resource(&log, path).unwrap(), None, "{path}");
    }
    assert_eq!(reader.resource(&LogId::new("none").unwrap(), "tile/0/000.p/1").unwrap(), None);
}

fn check_bundle(reader: &Reader, number: u64, width: u64, suffix: &str, exists: bool) {
    let found = reader.resource(&LogId::default_log(), &format!("tile/entries/{number:03}{suffix}")).unwrap();
    let expected = exists.then(|| {
        let entries = (number * 256..number * 256 + width).map(leaf);
        entries
            .flat_map(|leaf| [&u16::try_from(leaf.len()).unwrap().to_be_bytes()[..], leaf.as_bytes()].concat())
            .collect::<Vec<_>>()
    });
    assert_eq!(found.map(Vec::from), expected, "bundle {number}{suffix}");
}

fn check_proofs(reader: &Reader, leaves: &[Hash]) {
    let log = LogId::default_log();
    let size = leaves.len() as u64;
    let root = reader.head(&log).root;
    for index in [0, 1, 255, 256, 300, 65_535, 65_536] {
        let proof = reader.inclusion(&log, index, size).unwrap();
        assert!(inclusion_holds(&leaves[usize::try_from(index).unwrap()], index, size, &proof, &root));
        let text = reader.tlog_proof(&log, index).unwrap().unwrap();
        let note = reader.checkpoint(&log).unwrap().note;
        let head = format!("c2sp.org/tlog-proof@v1\nindex {index}\n");
        let lines = text.strip_prefix(&head).unwrap().strip_suffix(std::str::from_utf8(&note).unwrap()).unwrap();
        assert_eq!(lines.matches('\n').count(), proof.len() + 1);
    }
    for old in SIZES {
        let old_root = reader.root_at(&log, old).unwrap();
        if old > 0 {
            assert_eq!(old_root, mth(&leaves[..usize::try_from(old).unwrap()]));
        }
        assert!(consistency_holds((old, old_root), (size, root), &reader.consistency(&log, old, size).unwrap()));
    }
    assert!(matches!(reader.inclusion(&log, 5, 5), Err(Error::Refused(_))));
    assert!(matches!(reader.inclusion(&log, 5, size + 1), Err(Error::Refused(_))));
    assert!(matches!(reader.consistency(&log, 6, 5), Err(Error::Refused(_))));
    assert!(matches!(reader.root_at(&log, size + 1), Err(Error::Refused(_))));
    assert_eq!(reader.tlog_proof(&log, size).unwrap(), None);
    assert_eq!(reader.wait(0, Duration::ZERO), reader.next_seq());
}

#[test]
fn a_new_ledger_has_the_checkpoint_of_the_empty_tree() {
    let dir = memory_dir();
    let writer = open_here(dir.path());
    let log = LogId::default_log();
    let note = writer.reader().checkpoint(&log).unwrap().note;
    let text = "test.example/ledger/default\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n";
    assert!(note.starts_with(text.as_bytes()));
    assert!(writer.reader().vkey(&log).starts_with("test.example/ledger/default+"));
    assert_eq!(writer.reader().checkpoint(&LogId::new("none").unwrap()), None);
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(dir.path().join("key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
