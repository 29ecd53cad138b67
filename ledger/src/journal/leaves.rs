//! The hashes of a batch's leaves. A second thread hashes a large batch ahead of the writer, which encodes what is
//! hashed already and helps only when nothing is.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use crate::tree::merkle::leaf_hash;
use crate::{Hash, NewEntry};

/// Leaves of a batch from which on two threads hash them, bytes: what costs more than to wake a thread.
const SHARED_BYTES_MIN: usize = 256 << 10;
/// Leaves that a thread takes at a time.
const PART_ENTRIES: usize = 32;

/// The entries of a batch, and the hashes of their leaves as they are found.
pub(crate) struct Leaves {
    entries: Vec<NewEntry>,
    parts: Vec<OnceLock<Vec<Hash>>>,
    /// The first part that nobody has taken.
    next: AtomicUsize,
}

impl Leaves {
    fn new(entries: Vec<NewEntry>) -> Leaves {
        let parts = entries.chunks(PART_ENTRIES).map(|_| OnceLock::new()).collect();
        Leaves { entries, parts, next: AtomicUsize::new(0) }
    }

    /// Each entry with its hash, in order.
    pub(crate) fn hashed(&self) -> impl Iterator<Item = (&NewEntry, Hash)> {
        let parts = (0..self.parts.len()).map(|part| (self.entries_of(part), self.hashes_of(part)));
        parts.flat_map(|(entries, hashes)| entries.iter().zip(hashes.iter().copied()))
    }

    fn entries_of(&self, part: usize) -> &[NewEntry] {
        self.entries.chunks(PART_ENTRIES).nth(part).unwrap_or_default()
    }

    /// The hashes of a part; while another thread finds them, those of later parts are found here.
    fn hashes_of(&self, part: usize) -> &[Hash] {
        while self.parts[part].get().is_none() && self.hash_next() {}
        self.hash(part)
    }

    /// Hashes the first part that nobody has taken; false when there is none.
    fn hash_next(&self) -> bool {
        let part = self.next.fetch_add(1, Ordering::Relaxed);
        let is_there = part < self.parts.len();
        if is_there {
            self.hash(part);
        }
        is_there
    }

    /// Waits for who is doing it, or does it.
    fn hash(&self, part: usize) -> &[Hash] {
        self.parts[part].get_or_init(|| self.entries_of(part).iter().map(|new| leaf_hash(&new.leaf)).collect())
    }
}

/// The second thread.
pub(crate) struct Hasher(Option<HasherThread>);

struct HasherThread {
    batches: SyncSender<Arc<Leaves>>,
    thread: JoinHandle<()>,
}

impl Hasher {
    /// Whoever asks for a hash finds it.
    pub(crate) fn inline() -> Hasher {
        Hasher(None)
    }

    /// With a thread for large batches.
    pub(crate) fn with_thread() -> io::Result<Hasher> {
        let (batches, waiting) = mpsc::sync_channel::<Arc<Leaves>>(1);
        let work = move || waiting.into_iter().for_each(|leaves| while leaves.hash_next() {});
        let thread = std::thread::Builder::new().name("ledger-hash".into()).spawn(work)?;
        Ok(Hasher(Some(HasherThread { batches, thread })))
    }

    /// Begins to hash a batch's leaves.
    pub(crate) fn start(&self, entries: Vec<NewEntry>) -> Arc<Leaves> {
        let leaves = Arc::new(Leaves::new(entries));
        if let Some(HasherThread { batches, .. }) = &self.0
            && leaves.entries.iter().map(|new| new.leaf.len()).sum::<usize>() >= SHARED_BYTES_MIN
        {
            // A thread that is not done with the batch before is not needed.
            drop(batches.try_send(Arc::clone(&leaves)));
        }
        leaves
    }
}

impl Drop for Hasher {
    fn drop(&mut self) {
        if let Some(HasherThread { batches, thread }) = self.0.take() {
            drop(batches);
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogId;
    use bytes::Bytes;

    #[test]
    fn two_threads_find_the_hashes_that_one_finds() {
        let hasher = Hasher::with_thread().unwrap();
        for entries in [0, 1, PART_ENTRIES, PART_ENTRIES + 1, 1000] {
            let leaf = |n: usize| Bytes::from(n.to_le_bytes().repeat(100));
            let entry = |n| NewEntry { log: LogId::default_log(), leaf: leaf(n), facts: Vec::new(), body: None };
            let entries: Vec<_> = (0..entries).map(entry).collect();
            let expected: Vec<_> = entries.iter().map(|new| (new.leaf.clone(), leaf_hash(&new.leaf))).collect();
            for hasher in [&hasher, &Hasher::inline()] {
                let leaves = hasher.start(entries.clone());
                let found: Vec<_> = leaves.hashed().map(|(new, hash)| (new.leaf.clone(), hash)).collect();
                assert!(found == expected, "{} entries", entries.len());
            }
        }
    }
}
