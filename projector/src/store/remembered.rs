//! A store whose scans are remembered, for who asks the same of it twice: as of two bounds, which rows are told apart by.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Row, Store};
use crate::error::Error;

/// What scans gave: by first key, end, direction and limit.
type Scans = HashMap<(Vec<u8>, Vec<u8>, bool, usize), Vec<Row>>;

/// The rows of a store, each range of which is read once. What is inserted after that may not be seen: it is for those
/// who would not look at it anyway. What it keeps is bounded by what one turn reads.
pub(crate) struct Remembered {
    store: Arc<dyn Store>,
    scans: Mutex<Scans>,
}

impl Remembered {
    pub(crate) fn new(store: Arc<dyn Store>) -> Remembered {
        Remembered { store, scans: Mutex::default() }
    }
}

impl Store for Remembered {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.store.get(key)
    }

    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.store.insert(key, value)
    }

    fn insert_new(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.store.insert_new(key, value)
    }

    fn remove(&self, key: &[u8]) -> Result<(), Error> {
        self.store.remove(key)
    }

    fn batch(&self, rows: &[Row]) -> Result<(), Error> {
        self.store.batch(rows)
    }

    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, limit: usize) -> Result<Vec<Row>, Error> {
        let range = (from.to_vec(), to.to_vec(), reverse, limit);
        if let Some(rows) = self.scans.lock().get(&range) {
            return Ok(rows.clone());
        }
        let rows = self.store.scan(from, to, reverse, limit)?;
        self.scans.lock().insert(range, rows.clone());
        Ok(rows)
    }

    fn flush(&self) -> Result<(), Error> {
        self.store.flush()
    }
}
