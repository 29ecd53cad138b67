//! Entries whose folding panicked again and again, remembered beside the rows: a process that folds anew goes past them
//! at once, where it would panic as often again. Another version tries them again.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pedigraph_ledger::{LogId, Reader};
use pedigraph_proto::{Digest, TenantId};

use super::entry::EntryId;
use super::marker;
use super::progress::ROWS_VERSION;

const FILE: &str = "set-aside";
/// Entries that are remembered: of more, folding goes wrong in another way.
const ENTRIES_MAX: usize = 1_024;

/// Who is set aside, and where it is remembered; nowhere for views in memory.
#[derive(Default)]
pub(super) struct SetAside {
    dir: Option<PathBuf>,
    entries: BTreeSet<EntryId>,
}

impl SetAside {
    /// What the last process left, as far as this version wrote it of this ledger.
    pub(super) fn open(dir: Option<&Path>, reader: &Reader) -> SetAside {
        let text = dir.and_then(|dir| fs::read_to_string(dir.join(FILE)).ok()).unwrap_or_default();
        let lines = text.strip_prefix(&head()).unwrap_or_default().lines().take(ENTRIES_MAX);
        let entries: BTreeSet<EntryId> = lines.filter_map(|line| entry_of(line, reader)).collect();
        for (tenant, index) in &entries {
            tracing::warn!(%tenant, index, "views: an entry stays set aside, since folding it panicked before");
        }
        SetAside { dir: dir.map(Path::to_owned), entries }
    }

    pub(super) fn entries(&self) -> BTreeSet<EntryId> {
        self.entries.clone()
    }

    /// Adds one. Where that cannot be written, the next process finds out by itself.
    pub(super) fn add(&mut self, entry: EntryId, reader: &Reader) {
        let is_new = self.entries.insert(entry);
        let Some(dir) = self.dir.as_deref().filter(|_| is_new) else { return };
        if let Err(error) = self.write(dir, reader) {
            tracing::warn!(%error, "views: what is set aside is not remembered");
        }
    }

    fn write(&self, dir: &Path, reader: &Reader) -> io::Result<()> {
        let line = |entry: &EntryId| Some(format!("{} {} {}\n", entry.0, entry.1, leaf_hash(entry, reader)?));
        let lines = self.entries.iter().take(ENTRIES_MAX).filter_map(line);
        marker::write(dir, FILE, &std::iter::once(head()).chain(lines).collect::<String>())
    }
}

/// The first line: rows of another version are folded by other code.
fn head() -> String {
    format!("{} {ROWS_VERSION}\n", env!("CARGO_PKG_VERSION"))
}

/// Tenant, index and leaf hash, if the ledger has this entry.
fn entry_of(line: &str, reader: &Reader) -> Option<EntryId> {
    let mut words = line.split(' ');
    let entry = (TenantId::new(words.next()?)?, words.next()?.parse().ok()?);
    (leaf_hash(&entry, reader)? == words.next()?).then_some(entry)
}

fn leaf_hash((tenant, index): &EntryId, reader: &Reader) -> Option<String> {
    let entry = reader.entry(&LogId::new(tenant.as_str())?, *index).ok()??;
    Some(Digest::sha256(entry.leaf_hash.0).to_string())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use pedigraph_ledger::{Batch, NewEntry, Options, Writer};

    use super::*;

    fn ledger(dir: &Path, leaf: &'static [u8]) -> Writer {
        let mut writer = pedigraph_ledger::open(dir, &Options::default()).expect("a ledger");
        let (log, leaf) = (LogId::default_log(), Bytes::from_static(leaf));
        let entries = vec![NewEntry { log, leaf, facts: Vec::new(), body: None }];
        writer.append(Batch { time_ns: 1, entries, ..Batch::default() }).expect("appended");
        writer
    }

    #[test]
    fn who_is_set_aside_is_remembered_by_the_same_version_for_the_same_ledger() {
        let dir = tempfile::tempdir().expect("a directory");
        let (one, other) = (ledger(&dir.path().join("one"), b"1"), ledger(&dir.path().join("other"), b"2"));
        let entry = (TenantId::default(), 0);
        let open = |ledger: &Writer| SetAside::open(Some(dir.path()), &ledger.reader()).entries();
        assert!(open(&one).is_empty());
        SetAside::open(Some(dir.path()), &one.reader()).add(entry.clone(), &one.reader());
        assert_eq!(open(&one), BTreeSet::from([entry]));
        assert!(open(&other).is_empty(), "its entry of this index is another one");
        let path = dir.path().join(FILE);
        let text = fs::read_to_string(&path).expect("it is there");
        fs::write(&path, text.replacen(&head(), "0.0.9 1\n", 1)).expect("written");
        assert!(open(&one).is_empty(), "another version may be able to");
        fs::write(&path, [0xff, b'\n']).expect("written");
        assert!(open(&one).is_empty(), "garbage sets nothing aside");
    }

    #[test]
    fn views_in_memory_remember_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = ledger(dir.path(), b"1");
        let mut set_aside = SetAside::open(None, &ledger.reader());
        set_aside.add((TenantId::default(), 0), &ledger.reader());
        assert_eq!(set_aside.entries().len(), 1);
    }
}
