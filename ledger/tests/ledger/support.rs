//! Small things that all areas use.

use std::path::Path;

use bytes::Bytes;
use pedigraph_ledger::*;

pub(crate) fn log(name: &str) -> LogId {
    LogId::new(name).unwrap()
}

/// Segments of 1 MiB: the pre-written zeros of a test stay small.
pub(crate) fn options() -> Options {
    Options { name: Some("test.example/ledger".into()), segment_bytes: 1 << 20 }
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

pub(crate) fn assert_sound(dir: &Path) -> Verified {
    let verified = verify(dir, &mut |_, _| {}).unwrap();
    assert_eq!(verified.fault, None);
    verified
}
