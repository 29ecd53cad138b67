//! A store as one question reads it: what it reads is counted against a budget, and it ends when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{Row, Store};
use crate::error::Error;

/// Rows that are read between two looks at the budget and at whether to stop. It bounds what a question reads above its
/// budget, and how long it goes on after it was told to stop.
pub const ROWS_PER_CHECK: usize = 256;

/// What one question may read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Rows of the store, and one more for each time that they are looked for. A comparison of two things in memory counts
    /// as a row where the number of such could grow with the square of the rows.
    pub rows_max: u64,
    /// Bytes of their keys and values, which bounds the memory of a question too.
    pub bytes_max: u64,
}

impl Budget {
    /// For who asks about everything, such as tests and the process itself.
    pub const NONE: Budget = Budget { rows_max: u64::MAX, bytes_max: u64::MAX };
}

/// What one question has read of its budget, and whether it is to end. Nothing here has a clock: who has one, and who
/// knows whether anybody still waits for the answer, calls [`Meter::stop`].
#[derive(Debug)]
pub struct Meter {
    budget: Budget,
    rows: AtomicU64,
    bytes: AtomicU64,
    stopped: AtomicBool,
}

impl Meter {
    /// Nothing is read yet.
    pub fn new(budget: Budget) -> Meter {
        Meter { budget, rows: AtomicU64::new(0), bytes: AtomicU64::new(0), stopped: AtomicBool::new(false) }
    }

    /// Ends the question's reads within [`ROWS_PER_CHECK`] rows.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether it was told to stop.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Rows that were read so far.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Bytes that were read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether more than a quarter of the budget is used: what is looked for to be listed then ends here, so that some of
    /// it can be listed.
    pub fn is_quarter_spent(&self) -> bool {
        self.rows() > self.budget.rows_max / 4 || self.bytes() > self.budget.bytes_max / 4
    }

    /// Whether more than half of the budget is used: a list that can go on in a next page ends here.
    pub fn is_half_spent(&self) -> bool {
        self.rows() > self.budget.rows_max / 2 || self.bytes() > self.budget.bytes_max / 2
    }

    /// Whether more than three quarters of the budget is used: what is not asked for by name is left out from here on.
    pub fn is_mostly_spent(&self) -> bool {
        let most = |max: u64| max - max / 4;
        self.rows() > most(self.budget.rows_max) || self.bytes() > most(self.budget.bytes_max)
    }

    /// Whether a read was refused since it was too much.
    pub fn is_overspent(&self) -> bool {
        self.rows() > self.budget.rows_max || self.bytes() > self.budget.bytes_max
    }

    /// Counts what was read; an error once it is too much, and once the question was told to stop.
    pub(crate) fn spend(&self, rows: u64, bytes: u64) -> Result<(), Error> {
        let rows = self.rows.fetch_add(rows, Ordering::Relaxed).saturating_add(rows);
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if self.is_stopped() {
            return Err(Error::Stopped);
        }
        if rows > self.budget.rows_max || bytes > self.budget.bytes_max {
            let Budget { rows_max, bytes_max } = self.budget;
            return Err(Error::TooExpensive { rows, rows_max, bytes, bytes_max });
        }
        Ok(())
    }
}

/// The rows of a store, counted.
pub(crate) struct Metered {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) meter: Arc<Meter>,
}

impl Store for Metered {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let value = self.store.get(key)?;
        self.meter.spend(1, (key.len() + value.as_ref().map_or(0, Vec::len)) as u64)?;
        Ok(value)
    }

    fn insert(&self, _key: &[u8], _value: &[u8]) -> Result<(), Error> {
        Err(writes_nothing())
    }

    fn insert_new(&self, _key: &[u8], _value: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Err(writes_nothing())
    }

    fn remove(&self, _key: &[u8]) -> Result<(), Error> {
        Err(writes_nothing())
    }

    fn batch(&self, _rows: &[Row]) -> Result<(), Error> {
        Err(writes_nothing())
    }

    /// In parts, so that a scan with a large limit ends in time too.
    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, limit: usize) -> Result<Vec<Row>, Error> {
        if limit <= ROWS_PER_CHECK {
            let rows = self.store.scan(from, to, reverse, limit)?;
            self.meter.spend(rows.len() as u64 + 1, bytes_of(&rows))?;
            return Ok(rows);
        }
        let (mut from, mut to, mut rows) = (from.to_vec(), to.to_vec(), Vec::new());
        loop {
            let part_max = limit.saturating_sub(rows.len()).min(ROWS_PER_CHECK);
            let part = self.store.scan(&from, &to, reverse, part_max)?;
            self.meter.spend(part.len() as u64 + 1, bytes_of(&part))?;
            let full = part.len() == part_max;
            rows.extend(part);
            let Some((last, _)) = rows.last().filter(|_| full && rows.len() < limit) else { return Ok(rows) };
            match reverse {
                true => to.clone_from(last),
                false => from = [last.as_slice(), &[0]].concat(),
            }
        }
    }

    fn flush(&self) -> Result<(), Error> {
        Err(writes_nothing())
    }
}

fn bytes_of(rows: &[Row]) -> u64 {
    rows.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() as u64
}

fn writes_nothing() -> Error {
    Error::Store("a question writes nothing".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemStore;

    fn metered(rows: u16, budget: Budget) -> Metered {
        let store = MemStore::default();
        for n in 0..rows {
            store.insert(&n.to_be_bytes(), &[7; 10]).expect("in memory");
        }
        Metered { store: Arc::new(store), meter: Arc::new(Meter::new(budget)) }
    }

    #[test]
    fn a_scan_in_parts_is_the_scan() {
        let metered = metered(1_000, Budget::NONE);
        for reverse in [false, true] {
            for limit in [0, 1, 255, 256, 257, 512, 999, 1_000, 1_001, usize::MAX] {
                let all = |store: &dyn Store| store.scan(&[0], &[1, 200, 0], reverse, limit).expect("in memory");
                assert_eq!(all(&metered), all(metered.store.as_ref()), "{reverse} {limit}");
            }
        }
    }

    #[test]
    fn no_more_is_read_than_the_budget_and_one_part() {
        let few = metered(5_000, Budget { rows_max: 1_000, ..Budget::NONE });
        let error = few.scan(&[], &[0xff], false, usize::MAX).expect_err("too many rows");
        assert!(matches!(error, Error::TooExpensive { rows_max: 1_000, .. }), "{error}");
        assert!(few.meter.rows() <= 1_000 + ROWS_PER_CHECK as u64, "{}", few.meter.rows());
        let small = metered(5_000, Budget { bytes_max: 12 * 600, ..Budget::NONE });
        assert!(matches!(small.scan(&[], &[0xff], true, 4_000), Err(Error::TooExpensive { .. })));
        assert!(small.meter.bytes() <= 12 * (600 + ROWS_PER_CHECK as u64), "{}", small.meter.bytes());
        let seeks = metered(0, Budget { rows_max: 10, ..Budget::NONE });
        let looks = (0..20).take_while(|_| seeks.get(b"absent").is_ok()).count();
        assert_eq!(looks, 10, "what is not there costs as well");
    }

    #[test]
    fn a_question_that_was_told_to_stop_reads_no_more() {
        let metered = metered(100, Budget::NONE);
        metered.meter.stop();
        assert!(matches!(metered.get(&[0, 1]), Err(Error::Stopped)));
        assert!(matches!(metered.scan(&[], &[9], false, 3), Err(Error::Stopped)));
        assert!(metered.insert(b"key", b"value").is_err(), "a question writes nothing");
    }
}
