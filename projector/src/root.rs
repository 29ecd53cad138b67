//! The view root: LtHash16 over the rows that folds inserted (Bellare and Micciancio 1997).
//!
//! Each row is expanded to 1,024 lanes of 16 bits (BLAKE3 in its extendable form over key length, key, value) and added
//! lane by lane, so that order, batches and threads do not matter; the root shown is SHA-256 of the lanes.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use pedigraph_proto::canonical;

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
    Rows(Vec<u8>),
    Report,
}

/// Adds rows on a thread of its own, since expanding a row costs about as much as inserting it.
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
        self.chunk.extend_from_slice(&(key.len() as u64).to_be_bytes());
        self.chunk.extend_from_slice(&(value.len() as u64).to_be_bytes());
        self.chunk.extend_from_slice(key);
        self.chunk.extend_from_slice(value);
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
        self.send(Work::Rows(chunk));
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
            Work::Rows(chunk) => add_chunk(&mut state, &chunk),
            Work::Report => {
                if done.send(state.clone()).is_err() {
                    return;
                }
            }
        }
    }
}

fn add_chunk(state: &mut RootState, mut chunk: &[u8]) {
    fn length(chunk: &mut &[u8]) -> Option<usize> {
        let (bytes, rest) = chunk.split_first_chunk::<8>()?;
        *chunk = rest;
        usize::try_from(u64::from_be_bytes(*bytes)).ok()
    }
    while let (Some(key_len), Some(value_len)) = (length(&mut chunk), length(&mut chunk)) {
        let (key, rest) = chunk.split_at(key_len);
        let (value, rest) = rest.split_at(value_len);
        state.add(key, value);
        chunk = rest;
    }
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
