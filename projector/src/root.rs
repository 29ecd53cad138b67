//! The view root: LtHash16 over the rows that folds inserted (Bellare and Micciancio 1997).
//!
//! The rows of one entry, and those of one commit of a tenant, are a unit: BLAKE3 in its extendable form over key length,
//! value length, key and value of each, in the order of the fold, expands it to 1,024 lanes of 16 bits. Units are added
//! lane by lane, so that their order, batches and threads do not matter; the root shown is SHA-256 of the lanes.
//! Expanding costs more than hashing: once per entry, not once per row.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::thread::JoinHandle;

use pedigraph_proto::canonical;

use crate::store::{Row, Store};
use crate::views::Error;

/// Bytes of the state: 1,024 lanes of 16 bits.
pub(crate) const STATE_BYTES: usize = 2_048;
const LANES: usize = STATE_BYTES / 2;
/// Bytes of rows that go to the inserting thread at once.
const CHUNK_BYTES: usize = 128 << 10;
/// Chunks that may wait for the inserting thread.
const CHUNKS_WAITING_MAX: usize = 8;

/// The sum of all units.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RootState(Box<[u16; LANES]>);

impl Default for RootState {
    fn default() -> Self {
        RootState(Box::new([0; LANES]))
    }
}

impl RootState {
    /// Adds a unit.
    fn add(&mut self, unit: &blake3::Hasher) {
        let mut expanded = [0; STATE_BYTES];
        unit.finalize_xof().fill(&mut expanded);
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
    /// A step ends with rows that become visible together; then this is done.
    Step(Vec<Row>, Then),
    Report,
}

/// What is done when a step is in the store.
pub(crate) type Then = Box<dyn FnOnce() + Send>;

/// Inserts rows on a thread of its own. Rows that a fold reads again must be waited for.
pub(crate) struct Inserter {
    store: Arc<dyn Store>,
    work: Option<SyncSender<Work>>,
    /// One for each step and each report.
    results: Receiver<Result<(), Error>>,
    thread: Option<JoinHandle<()>>,
}

impl Inserter {
    fn new(store: Arc<dyn Store>) -> Inserter {
        let (work, todo) = sync_channel(CHUNKS_WAITING_MAX);
        let (done, results) = channel();
        let inserting = store.clone();
        let thread = std::thread::spawn(move || {
            let mut result = Ok(());
            while let Ok(work) = todo.recv() {
                if let Some(result) = carry_out(inserting.as_ref(), work, &mut result) {
                    let _ = done.send(result);
                }
            }
        });
        Inserter { store, work: Some(work), results, thread: Some(thread) }
    }

    /// The rows are inserted here when the thread has enough to do: their order does not matter.
    fn rows(&self, chunk: Vec<u8>) -> Result<(), Error> {
        match self.sender().try_send(Work::Rows(chunk)) {
            Err(TrySendError::Full(Work::Rows(chunk))) => insert_sorted(self.store.as_ref(), &chunk),
            sent => {
                sent.expect("the inserting thread lives as long as this");
                Ok(())
            }
        }
    }

    fn send(&self, work: Work) {
        self.sender().send(work).expect("the inserting thread lives as long as this");
    }

    fn sender(&self) -> &SyncSender<Work> {
        self.work.as_ref().expect("present until dropped")
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

/// After a fault nothing is carried out until it was reported, to a fold that stops then. `Some` answers a step or a report.
fn carry_out(store: &dyn Store, work: Work, result: &mut Result<(), Error>) -> Option<Result<(), Error>> {
    match work {
        Work::Rows(chunk) => {
            if result.is_ok() {
                *result = insert_sorted(store, &chunk);
            }
            return None;
        }
        Work::Step(last, then) => {
            if result.is_ok() {
                *result = store.batch(&last);
            }
            if result.is_ok() {
                then();
            }
        }
        Work::Report => {}
    }
    Some(std::mem::replace(result, Ok(())))
}

/// In the order of keys, so that inserts that follow each other touch the same pages of the store.
fn insert_sorted(store: &dyn Store, chunk: &[u8]) -> Result<(), Error> {
    let mut rows = rows_of(chunk);
    rows.sort_by_key(|(key, _)| *key);
    rows.into_iter().try_for_each(|(key, value)| store.insert(key, value))
}

/// Where the rows of a fold go: into the root, and on a thread of its own, since that costs more than folding, into the
/// store. A step is folded while the one before it is inserted.
pub(crate) struct RowSink {
    inserter: Inserter,
    /// Rows to insert that were not yet handed on.
    waiting: Vec<u8>,
    /// Rows were handed on of which no answer will tell that they are in the store.
    unsettled: bool,
    /// Answers that are not yet received: of the step before, mostly.
    due: u32,
    /// Hashes of the keys of rows that may not be in the store yet: of this step, and of the one before.
    pending: [HashSet<u64>; 2],
    /// The unit at hand, and whether it has rows.
    unit: (blake3::Hasher, bool),
    root: RootState,
}

impl RowSink {
    /// Goes on from a root.
    pub(crate) fn new(store: Arc<dyn Store>, root: RootState) -> RowSink {
        RowSink {
            inserter: Inserter::new(store),
            waiting: Vec::with_capacity(CHUNK_BYTES),
            unsettled: false,
            due: 0,
            pending: Default::default(),
            unit: (blake3::Hasher::new(), false),
            root,
        }
    }

    /// Takes a row; it is in the store after [`RowSink::settle`].
    pub(crate) fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.inserted(key, value);
        push_row(&mut self.waiting, key, value);
        self.pending[0].insert(hash_of(key));
        if self.waiting.len() >= CHUNK_BYTES { self.hand_on() } else { Ok(()) }
    }

    /// Adds a row to the root that the fold has inserted by itself.
    pub(crate) fn inserted(&mut self, key: &[u8], value: &[u8]) {
        let (hasher, any) = &mut self.unit;
        hasher.update(&lengths(key, value)).update(key).update(value);
        *any = true;
    }

    /// Ends a unit: every row since the one before. Where units end must not depend on steps.
    pub(crate) fn end_unit(&mut self) {
        let (hasher, any) = &mut self.unit;
        if std::mem::take(any) {
            self.root.add(hasher);
            hasher.reset();
        }
    }

    /// Waits until a key's row is in the store, if it was taken.
    pub(crate) fn settle_key(&mut self, key: &[u8]) -> Result<(), Error> {
        let hash = hash_of(key);
        if self.pending.iter().any(|step| step.contains(&hash)) { self.settle() } else { Ok(()) }
    }

    /// Waits until every row that was taken is in the store, and every step that was ended.
    pub(crate) fn settle(&mut self) -> Result<(), Error> {
        self.hand_on()?;
        self.pending.iter_mut().for_each(HashSet::clear);
        if std::mem::take(&mut self.unsettled) {
            self.inserter.send(Work::Report);
            self.due += 1;
        }
        self.receive()
    }

    /// Ends a step: when its rows are in the store `last` follows, in one batch, and `then` is called. Waits for the step before,
    /// and tells its fault.
    pub(crate) fn end_step(&mut self, last: Vec<Row>, then: Then) -> Result<(), Error> {
        self.hand_on()?;
        self.receive()?;
        self.inserter.send(Work::Step(last, then));
        (self.due, self.unsettled) = (1, false);
        self.pending.swap(0, 1);
        self.pending[0].clear();
        Ok(())
    }

    /// Every answer that is due.
    fn receive(&mut self) -> Result<(), Error> {
        while self.due > 0 {
            self.due -= 1;
            self.inserter.results.recv().expect("the inserting thread lives as long as this")?;
        }
        Ok(())
    }

    /// The root with every unit so far.
    pub(crate) fn root(&self) -> &RootState {
        &self.root
    }

    fn hand_on(&mut self) -> Result<(), Error> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.waiting, Vec::with_capacity(CHUNK_BYTES));
        self.unsettled = true;
        self.inserter.rows(chunk)
    }
}

/// Two keys of one hash cost a wait, no more.
fn hash_of(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.finish()
}

fn lengths(key: &[u8], value: &[u8]) -> [u8; 16] {
    let mut lengths = [0; 16];
    lengths[..8].copy_from_slice(&(key.len() as u64).to_be_bytes());
    lengths[8..].copy_from_slice(&(value.len() as u64).to_be_bytes());
    lengths
}

fn push_row(chunk: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    chunk.extend_from_slice(&lengths(key, value));
    chunk.extend_from_slice(key);
    chunk.extend_from_slice(value);
}

fn rows_of(mut chunk: &[u8]) -> Vec<(&[u8], &[u8])> {
    fn length(chunk: &mut &[u8]) -> Option<usize> {
        let (bytes, rest) = chunk.split_first_chunk::<8>()?;
        *chunk = rest;
        usize::try_from(u64::from_be_bytes(*bytes)).ok()
    }
    let mut rows = Vec::new();
    while let (Some(key_len), Some(value_len)) = (length(&mut chunk), length(&mut chunk)) {
        let (key, rest) = chunk.split_at(key_len);
        let (value, rest) = rest.split_at(value_len);
        rows.push((key, value));
        chunk = rest;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemStore;

    type Unit = Vec<(Vec<u8>, Vec<u8>)>;

    fn root(units: &[Unit], settle_every: usize) -> RootState {
        let store = Arc::new(MemStore::default());
        let mut sink = RowSink::new(store.clone(), RootState::default());
        for (n, unit) in units.iter().enumerate() {
            unit.iter().for_each(|(key, value)| sink.insert(key, value).expect("in memory"));
            sink.end_unit();
            if n % settle_every == 0 {
                sink.settle().expect("in memory");
            }
        }
        sink.settle().expect("in memory");
        for (key, value) in units.iter().flatten() {
            assert_eq!(store.get(key).expect("in memory").as_ref(), Some(value));
        }
        sink.root().clone()
    }

    #[test]
    fn order_of_units_and_chunks_do_not_matter_and_content_does() {
        let row = |n: u32| (n.to_be_bytes().to_vec(), vec![1; 300]);
        let mut units: Vec<Unit> = (0..500).map(|n| vec![row(2 * n), row(2 * n + 1)]).collect();
        let straight = root(&units, 1_000);
        units.reverse();
        assert_eq!(root(&units, 97), straight);
        assert_eq!(RootState::from_bytes(&straight.to_bytes()), Some(straight.clone()));
        units[7][1].1[0] = 2;
        assert_ne!(root(&units, 97), straight);
        let split = |key: &[u8], value: &[u8]| root(&[vec![(key.to_vec(), value.to_vec())]], 1);
        assert_ne!(split(b"a", b"bc"), split(b"ab", b"c"));
    }

    /// Fails to insert one key.
    struct Failing(MemStore);

    impl Store for Failing {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
            self.0.get(key)
        }
        fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
            if key == b"bad" { Err(Error::Store("no space".into())) } else { self.0.insert(key, value) }
        }
        fn insert_new(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, Error> {
            self.0.insert_new(key, value)
        }
        fn remove(&self, key: &[u8]) -> Result<(), Error> {
            self.0.remove(key)
        }
        fn batch(&self, rows: &[Row]) -> Result<(), Error> {
            self.0.batch(rows)
        }
        fn scan(&self, from: &[u8], to: &[u8], reverse: bool, limit: usize) -> Result<Vec<Row>, Error> {
            self.0.scan(from, to, reverse, limit)
        }
        fn flush(&self) -> Result<(), Error> {
            self.0.flush()
        }
    }

    #[test]
    fn a_step_whose_rows_cannot_be_inserted_is_not_shown_and_the_next_one_tells() {
        let store = Arc::new(Failing(MemStore::default()));
        let shown = Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut sink = RowSink::new(store.clone(), RootState::default());
        let end = |sink: &mut RowSink, key: &[u8], step: u8| {
            let shown = shown.clone();
            sink.insert(key, b"")?;
            let then = Box::new(move || shown.lock().expect("not poisoned").push(step));
            sink.end_step(vec![(b"progress".to_vec(), vec![step])], then)
        };
        end(&mut sink, b"good", 1).expect("the first step");
        end(&mut sink, b"bad", 2).expect("the fault comes later");
        let told = end(&mut sink, b"fine", 3).expect_err("of the step before");
        assert!(told.to_string().contains("no space"), "{told}");
        drop(sink);
        assert_eq!(*shown.lock().expect("not poisoned"), [1]);
        assert_eq!(store.get(b"progress").expect("in memory"), Some(vec![1]));
    }
}
