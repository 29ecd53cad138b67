//! Small things that all areas use.

use std::path::Path;

use bytes::Bytes;
use pedigraph_ledger::*;

pub(crate) fn log(name: &str) -> LogId {
    LogId::new(name).unwrap()
}

/// Segments of 1 MiB: the pre-written zeros of a test stay small.
pub(crate) fn options() -> Options {
    Options { name: Some("test.example/ledger".into()), segment_bytes: 1 << 20, ..Options::default() }
}

pub(crate) fn open_here(dir: &Path) -> Writer {
    open(dir, &options()).unwrap()
}

pub(crate) fn entry(log: &LogId, leaf: impl Into<Bytes>) -> NewEntry {
    NewEntry { log: log.clone(), leaf: leaf.into(), facts: Vec::new(), body: None }
}

pub(crate) fn batch(entries: Vec<NewEntry>) -> Batch {
    Batch { time_ns: 1, entries, ..Batch::default() }
}

/// `count` entries of the log `default`, numbered from `from`.
pub(crate) fn numbered(from: u64, count: u64) -> Vec<NewEntry> {
    let log = LogId::default_log();
    (from..from + count).map(|n| entry(&log, format!("leaf {n}"))).collect()
}

/// A directory in memory, for tests that ask nothing of the disk.
pub(crate) fn memory_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// The segment files, oldest first.
pub(crate) fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let names = std::fs::read_dir(dir.join("journal")).unwrap().map(|name| name.unwrap().path());
    let mut all: Vec<_> = names.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
    all.sort();
    all
}

/// All files below a directory.
pub(crate) fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for name in std::fs::read_dir(dir).unwrap() {
        let path = name.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.push(path);
        }
    }
    all.sort();
    all
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(file, target).unwrap();
    }
}

pub(crate) fn assert_sound(dir: &Path) -> Verified {
    let verified = verify(dir, &mut |_, _| {}).unwrap();
    assert_eq!(verified.fault, None);
    verified
}

pub(crate) fn newest_checkpoint(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("logs/default/checkpoint")).unwrap()
}

/// Where the checksums of a ledger's frames start.
pub(crate) fn salt_of(dir: &Path) -> u32 {
    let meta = std::fs::read_to_string(dir.join("ledger")).unwrap();
    meta.lines().find_map(|line| line.strip_prefix("salt ")).unwrap().parse().unwrap()
}

/// Makes the checksum of the frame at an offset that of what it holds.
pub(crate) fn mend_checksum(bytes: &mut [u8], at: usize, salt: u32) {
    let len = u32::from_le_bytes(*bytes[at..].first_chunk().unwrap()) as usize;
    let mut crc = crc32fast::Hasher::new_with_initial(salt);
    crc.update(&bytes[at + 8..at + 8 + len]);
    bytes[at + 4..at + 8].copy_from_slice(&crc.finalize().to_le_bytes());
}
