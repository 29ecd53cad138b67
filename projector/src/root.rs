//! The view root: LtHash16 over the rows that folds inserted (Bellare and Micciancio 1997).
//!
//! Each row is expanded to 1,024 lanes of 16 bits (BLAKE3 in its extendable form over key length, key, value) and added
//! lane by lane, so that order, batches and threads do not matter; the root shown is SHA-256 of the lanes.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use pedigraph_proto::canonical;

use crate::store::Store;
use crate::views::Error;

/// Bytes of the state: 1,024 lanes of 16 bits.
pub(crate) const STATE_BYTES: usize = 2_048;
const LANES: usize = STATE_BYTES / 2;
/// Bytes of rows that go to the hashing thread at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that may wait for the hashing thread.
const CHUNKS_WAITING_MAX: usize = 16;

/// The sum of all rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RootState(Box<[u16; LANES]>);

impl Default for RootState {
    fn default() -> Self {
        RootState(Box::new([0; LANES]))
    }
}

impl RootState {
    /// Adds a row.
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(key.len() as u64).to_be_bytes());
        hasher.update(key);
        hasher.update(value);
        let mut expanded = [0; STATE_BYTES];
        hasher.finalize_xof().fill(&mut expanded);
        for (lane, bytes) in self.0.iter_mut().zip(expanded.chunks_exact(2)) {
            *lane = lane.wrapping_add(u16::from_le_bytes([bytes[0], bytes[1]]));
        }
    }

    /// The lanes, little-endian.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|lane| lane.to_le_bytes()).collect()
    }

    /// `None` for another length.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<RootState> {
        let mut state = RootState::default();
        if bytes.len() != STATE_BYTES {
            return None;
        }
        for (lane, bytes) in state.0.iter_mut().zip(bytes.chunks_exact(2)) {
            *lane = u16::from_le_bytes([bytes[0], bytes[1]]);
        }
        Some(state)
    }

    /// The root shown: `sha256:` and hex.
    pub(crate) fn show(&self) -> String {
        pedigraph_proto::Digest::sha256(canonical::sha256(&self.to_bytes())).to_string()
    }
}

enum Work {
    Rows(Arc<Vec<u8>>),
    Report,
}

/// Inserts rows on a thread of its own. Rows that a fold reads again must be waited for.
pub(crate) struct Inserter {
    work: Option<SyncSender<Work>>,
    results: Receiver<Result<(), Error>>,
    thread: Option<JoinHandle<()>>,
}

impl Inserter {
    fn new(store: Arc<dyn Store>) -> Inserter {
        let (work, todo) = sync_channel(CHUNKS_WAITING_MAX);
        let (done, results) = sync_channel(1);
        let thread = std::thread::spawn(move || insert_all(store.as_ref(), &todo, &done));
        Inserter { work: Some(work), results, thread: Some(thread) }
    }

    fn send(&self, work: Work) {
        let sender = self.work.as_ref().expect("present until dropped");
        sender.send(work).expect("the inserting thread lives as long as this");
    }
}

impl Drop for Inserter {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn insert_all(store: &dyn Store, todo: &Receiver<Work>, done: &SyncSender<Result<(), Error>>) {
    let mut result = Ok(());
    while let Ok(work) = todo.recv() {
        match work {
            Work::Rows(chunk) if result.is_ok() => result = each_row(&chunk, |key, value| store.insert(key, value)),
            Work::Rows(_) => {}
            Work::Report => {
                if done.send(std::mem::replace(&mut result, Ok(()))).is_err() {
                    return;
                }
            }
        }
    }
}

/// Where the rows of a fold go: into the store and into the root, each on a thread of its own, since inserting a row costs
/// twice as much as folding it, and expanding it for the root about as much.
pub(crate) struct RowSink {
    inserter: Inserter,
    /// Rows to insert that were not yet handed on.
    waiting: Vec<u8>,
    /// Rows were handed on that may not be in the store yet.
    unsettled: bool,
    /// Hashes of the keys of rows that may not be in the store yet.
    pending: HashSet<u64>,
    root: RootHasher,
}

impl RowSink {
    /// Goes on from a root.
    pub(crate) fn new(store: Arc<dyn Store>, root: RootState) -> RowSink {
        let (inserter, root) = (Inserter::new(store), RootHasher::new(root));
        RowSink { inserter, waiting: Vec::with_capacity(CHUNK_BYTES), unsettled: false, pending: HashSet::new(), root }
    }

    /// Takes a row; it is in the store after [`RowSink::settle`].
    pub(crate) fn insert(&mut self, key: &[u8], value: &[u8]) {
        push_row(&mut self.waiting, key, value);
        self.pending.insert(hash_of(key));
        if self.waiting.len() >= CHUNK_BYTES {
            self.hand_on();
        }
    }

    /// Adds a row to the root that the fold has inserted by itself.
    pub(crate) fn inserted(&mut self, key: &[u8], value: &[u8]) {
        self.root.add(key, value);
    }

    /// Waits until a key's row is in the store, if it was taken.
    pub(crate) fn settle_key(&mut self, key: &[u8]) -> Result<(), Error> {
        if self.pending.contains(&hash_of(key)) { self.settle() } else { Ok(()) }
    }

    /// Waits until every row that was taken is in the store.
    pub(crate) fn settle(&mut self) -> Result<(), Error> {
        self.hand_on();
        self.pending.clear();
        if !std::mem::take(&mut self.unsettled) {
            return Ok(());
        }
        self.inserter.send(Work::Report);
        self.inserter.results.recv().expect("the inserting thread lives as long as this")
    }

    /// The root with every row so far.
    pub(crate) fn root(&mut self) -> RootState {
        self.hand_on();
        self.root.state()
    }

    fn hand_on(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let chunk = Arc::new(std::mem::replace(&mut self.waiting, Vec::with_capacity(CHUNK_BYTES)));
        self.inserter.send(Work::Rows(chunk.clone()));
        self.root.send(Work::Rows(chunk));
        self.unsettled = true;
    }
}

/// Two keys of one hash cost a wait, no more.
fn hash_of(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.finish()
}

fn push_row(chunk: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    chunk.extend_from_slice(&(key.len() as u64).to_be_bytes());
    chunk.extend_from_slice(&(value.len() as u64).to_be_bytes());
    chunk.extend_from_slice(key);
    chunk.extend_from_slice(value);
}

/// Adds rows to a root on a thread of its own.
pub(crate) struct RootHasher {
    chunk: Vec<u8>,
    work: Option<SyncSender<Work>>,
    states: Receiver<RootState>,
    thread: Option<JoinHandle<()>>,
}

impl RootHasher {
    /// Goes on from a state.
    pub(crate) fn new(state: RootState) -> RootHasher {
        let (work, todo) = sync_channel(CHUNKS_WAITING_MAX);
        let (done, states) = sync_channel(1);
        let thread = std::thread::spawn(move || add_all(state, &todo, &done));
        RootHasher { chunk: Vec::with_capacity(CHUNK_BYTES), work: Some(work), states, thread: Some(thread) }
    }

    /// Adds a row.
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        push_row(&mut self.chunk, key, value);
        if self.chunk.len() >= CHUNK_BYTES {
            self.send_chunk();
        }
    }

    /// The state with every row so far.
    pub(crate) fn state(&mut self) -> RootState {
        self.send_chunk();
        self.send(Work::Report);
        self.states.recv().expect("the hashing thread lives as long as this")
    }

    fn send_chunk(&mut self) {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_BYTES));
        self.send(Work::Rows(Arc::new(chunk)));
    }

    fn send(&self, work: Work) {
        let sender = self.work.as_ref().expect("present until dropped");
        sender.send(work).expect("the hashing thread lives as long as this");
    }
}

impl Drop for RootHasher {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn add_all(mut state: RootState, todo: &Receiver<Work>, done: &SyncSender<RootState>) {
    while let Ok(work) = todo.recv() {
        match work {
            Work::Rows(chunk) => {
                let added: Result<(), Error> = each_row(&chunk, |key, value| {
                    state.add(key, value);
                    Ok(())
                });
                debug_assert!(added.is_ok(), "adding cannot fail");
            }
            Work::Report => {
                if done.send(state.clone()).is_err() {
                    return;
                }
            }
        }
    }
}

fn each_row(mut chunk: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), Error>) -> Result<(), Error> {
    fn length(chunk: &mut &[u8]) -> Option<usize> {
        let (bytes, rest) = chunk.split_first_chunk::<8>()?;
        *chunk = rest;
        usize::try_from(u64::from_be_bytes(*bytes)).ok()
    }
    while let (Some(key_len), Some(value_len)) = (length(&mut chunk), length(&mut chunk)) {
        let (key, rest) = chunk.split_at(key_len);
        let (value, rest) = rest.split_at(value_len);
        visit(key, value)?;
        chunk = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_chunks_do_not_matter_and_content_does() {
        let rows: Vec<(Vec<u8>, Vec<u8>)> = (0_u32..500).map(|n| (n.to_be_bytes().to_vec(), vec![1; 300])).collect();
        let mut straight = RootState::default();
        rows.iter().for_each(|(key, value)| straight.add(key, value));
        let mut hasher = RootHasher::new(RootState::default());
        for (n, (key, value)) in rows.iter().rev().enumerate() {
            hasher.add(key, value);
            if n % 97 == 0 {
                hasher.state();
            }
        }
        assert_eq!(hasher.state(), straight);
        assert_eq!(RootState::from_bytes(&straight.to_bytes()), Some(straight.clone()));
        let (mut split_early, mut split_late) = (RootState::default(), RootState::default());
        split_early.add(b"a", b"bc");
        split_late.add(b"ab", b"c");
        assert_ne!(split_early, split_late);
    }
}
