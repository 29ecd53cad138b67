//! A store in memory that counts what is read and written, and fails on demand.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use pedigraph_projector::Error;
use pedigraph_projector::store::{MemStore, Row, Store};

/// Counts rows, and the bytes of those that are written.
#[derive(Default)]
pub(crate) struct Watched {
    rows: MemStore,
    pub(crate) read: AtomicUsize,
    /// Rows of facts.
    pub(crate) written: AtomicUsize,
    /// Rows of derived views: those are written in turns, which nobody waits for.
    pub(crate) derived: AtomicUsize,
    pub(crate) bytes_written: AtomicUsize,
    /// What is done before a row is written; it may fail or panic.
    pub(crate) before: Mutex<Option<Before>>,
}

/// Gets the key and how it is written.
pub(crate) type Before = Box<dyn FnMut(&[u8], Write) -> Result<(), Error> + Send>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Write {
    /// By the thread that inserts, or by the fold.
    Insert,
    /// By the fold.
    InsertNew,
    /// With the progress of a step.
    Batch,
}

impl Watched {
    fn writes(&self, key: &[u8], value: &[u8], how: Write) -> Result<(), Error> {
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = before.as_mut() {
            before(key, how)?;
        }
        let is_derived = key.starts_with(b"default\0\0D");
        let count = if is_derived { &self.derived } else { &self.written };
        count.fetch_add(1, Ordering::Relaxed);
        self.bytes_written.fetch_add(key.len() + value.len(), Ordering::Relaxed);
        Ok(())
    }
}

impl Store for Watched {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.read.fetch_add(1, Ordering::Relaxed);
        self.rows.get(key)
    }
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.writes(key, value, Write::Insert)?;
        self.rows.insert(key, value)
    }
    fn insert_new(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.writes(key, value, Write::InsertNew)?;
        self.rows.insert_new(key, value)
    }
    fn remove(&self, key: &[u8]) -> Result<(), Error> {
        self.rows.remove(key)
    }
    fn batch(&self, rows: &[Row]) -> Result<(), Error> {
        rows.iter().try_for_each(|(key, value)| self.writes(key, value, Write::Batch))?;
        self.rows.batch(rows)
    }
    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, limit: usize) -> Result<Vec<Row>, Error> {
        let rows = self.rows.scan(from, to, reverse, limit)?;
        self.read.fetch_add(rows.len() + 1, Ordering::Relaxed);
        Ok(rows)
    }
    fn flush(&self) -> Result<(), Error> {
        self.rows.flush()
    }
}
