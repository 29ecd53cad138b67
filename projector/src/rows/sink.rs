//! Where the rows of a fold go: into the view root, and to the inserting thread.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use super::inserter::{Inserter, Then, Work, lengths, push_row};
use super::root::RootState;
use super::told::Told;
use crate::error::Error;
use crate::store::{Row, Store};

/// Bytes of rows that go to the inserting thread at once.
const CHUNK_BYTES: usize = 128 << 10;

/// Where the rows of a fold go: into the root, and on a thread of its own, since that costs more than folding, into the
/// store. A step is folded while the one before it is inserted.
pub(crate) struct RowSink {
    way: Way,
    /// Rows to insert that were not yet handed on.
    waiting: Vec<u8>,
    /// Rows were handed on of which no answer will tell that they are in the store.
    unsettled: bool,
    /// Answers that are not yet received: of the step before, mostly.
    due: u32,
    /// Hashes of the keys of rows that may not be in the store yet: of this step, and of the one before.
    pending: [HashSet<u64>; 2],
    unit: Unit,
    root: RootState,
    cut: u64,
    /// Rows that were put so far.
    put: u64,
    /// What the fact at hand changed.
    pub(crate) told: Told,
}

/// How rows come into the store.
enum Way {
    Thread(Inserter),
    /// At once: where each row is read again soon.
    AtOnce(Arc<dyn Store>),
}

/// The rows of one entry, or of one commit of a tenant, so far: hashed, and whether there are any.
#[derive(Default)]
pub(crate) struct Unit {
    hasher: blake3::Hasher,
    any: bool,
}

impl Unit {
    fn end_in(&mut self, root: &mut RootState) {
        if std::mem::take(&mut self.any) {
            root.add(&self.hasher);
            self.hasher.reset();
        }
    }
}

impl RowSink {
    /// Goes on from a root; rows are inserted by a thread.
    pub(crate) fn new(store: Arc<dyn Store>, root: RootState) -> RowSink {
        RowSink::by(Way::Thread(Inserter::new(store)), root)
    }

    /// Goes on from a root; each row is in the store at once, and no step is ended here.
    pub(crate) fn at_once(store: Arc<dyn Store>, root: RootState) -> RowSink {
        RowSink::by(Way::AtOnce(store), root)
    }

    fn by(way: Way, root: RootState) -> RowSink {
        RowSink {
            way,
            waiting: Vec::new(),
            unsettled: false,
            due: 0,
            pending: Default::default(),
            unit: Unit::default(),
            root,
            cut: 0,
            put: 0,
            told: Told::default(),
        }
    }

    /// Counts rows that a limit on what multiplies leaves out.
    pub(crate) fn cut(&mut self, rows: u64) {
        self.cut = self.cut.saturating_add(rows);
    }

    /// How many rows were left out since this was last asked.
    pub(crate) fn take_cut(&mut self) -> u64 {
        std::mem::take(&mut self.cut)
    }

    /// Takes a row; it is in the store after [`RowSink::settle`].
    pub(crate) fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.inserted(key, value);
        self.write_over(key, value)
    }

    /// As [`RowSink::insert`], without a place in the root. One key is not given twice without settling it between.
    pub(crate) fn write_over(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        if let Way::AtOnce(store) = &self.way {
            return store.insert(key, value);
        }
        push_row(&mut self.waiting, key, value);
        self.pending[0].insert(hash_of(key));
        if self.waiting.len() >= CHUNK_BYTES { self.hand_on() } else { Ok(()) }
    }

    /// Number of rows that were put so far, for budgets.
    pub(crate) fn put(&self) -> u64 {
        self.put
    }

    /// Remembers that rows of a group may not be in the store yet, so that [`RowSink::settle_key`] of the group waits.
    pub(crate) fn note_group(&mut self, group: &[u8]) {
        if matches!(self.way, Way::Thread(_)) {
            self.pending[0].insert(hash_of(group));
        }
    }

    /// Adds a row to the root that the fold has inserted by itself.
    pub(crate) fn inserted(&mut self, key: &[u8], value: &[u8]) {
        self.unit.hasher.update(&lengths(key, value)).update(key).update(value);
        self.unit.any = true;
        self.put += 1;
    }

    /// Ends a unit: every row since the one before. Where units end must not depend on steps.
    pub(crate) fn end_unit(&mut self) {
        self.unit.end_in(&mut self.root);
    }

    /// As [`RowSink::end_unit`], for a sum that [`RowSink::add`] takes when all of it is folded.
    pub(crate) fn end_unit_in(&mut self, root: &mut RootState) {
        self.unit.end_in(root);
    }

    /// Adds units to the root.
    pub(crate) fn add(&mut self, units: &RootState) {
        self.root.add_all(units);
    }

    /// Changes the unit at hand for another, to go on with this one later.
    pub(crate) fn swap_unit(&mut self, unit: &mut Unit) {
        std::mem::swap(&mut self.unit, unit);
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
            self.send(Work::Report);
            self.due += 1;
        }
        self.receive()
    }

    /// Waits until every step that was ended is in the store; rows since then may not be.
    pub(crate) fn settle_steps(&mut self) -> Result<(), Error> {
        self.receive()
    }

    /// Ends a step: when its rows are in the store `last` follows, in one batch, and `then` is called. Waits for the
    /// step before, and tells its fault.
    pub(crate) fn end_step(&mut self, last: Vec<Row>, then: Then) -> Result<(), Error> {
        self.hand_on()?;
        self.receive()?;
        self.send(Work::Step(last, then));
        (self.due, self.unsettled) = (1, false);
        self.pending.swap(0, 1);
        self.pending[0].clear();
        Ok(())
    }

    /// Every answer that is due.
    fn receive(&mut self) -> Result<(), Error> {
        let Way::Thread(inserter) = &self.way else { return Ok(()) };
        while self.due > 0 {
            self.due -= 1;
            inserter.results.recv().expect("the inserting thread lives as long as this")?;
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
        let Way::Thread(inserter) = &self.way else { return Ok(()) };
        let chunk = std::mem::replace(&mut self.waiting, Vec::with_capacity(CHUNK_BYTES));
        self.unsettled = true;
        inserter.rows(chunk)
    }

    fn send(&self, work: Work) {
        if let Way::Thread(inserter) = &self.way {
            inserter.send(work);
        }
    }
}

/// Two keys of one hash cost a wait, no more.
fn hash_of(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.finish()
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

    #[test]
    fn what_is_inserted_at_once_is_not_remembered() {
        let store = Arc::new(MemStore::default());
        let mut sink = RowSink::at_once(store.clone(), RootState::default());
        for n in 0..1_000_u32 {
            sink.insert(&n.to_be_bytes(), b"").expect("in memory");
            sink.note_group(&n.to_be_bytes());
            assert!(store.get(&n.to_be_bytes()).expect("in memory").is_some());
        }
        assert!(sink.pending.iter().all(HashSet::is_empty));
    }
}
