//! The in-memory twin.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use parking_lot::RwLock;

use super::{Row, Store};
use crate::error::Error;

/// An ordered map in memory; for tests, and for comparing a rebuild with what is stored.
#[derive(Debug, Default)]
pub struct MemStore(RwLock<BTreeMap<Vec<u8>, Vec<u8>>>);

impl Store for MemStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.read().get(key).cloned())
    }

    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.0.write().insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn insert_new(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match self.0.write().entry(key.to_vec()) {
            Entry::Occupied(there) => Ok(Some(there.get().clone())),
            Entry::Vacant(free) => {
                free.insert(value.to_vec());
                Ok(None)
            }
        }
    }

    fn remove(&self, key: &[u8]) -> Result<(), Error> {
        self.0.write().remove(key);
        Ok(())
    }

    fn batch(&self, rows: &[Row]) -> Result<(), Error> {
        self.0.write().extend(rows.iter().cloned());
        Ok(())
    }

    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, limit: usize) -> Result<Vec<Row>, Error> {
        if from >= to {
            return Ok(vec![]);
        }
        let rows = self.0.read();
        let range = rows.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
        let owned = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
        Ok(if reverse { range.rev().take(limit).map(owned).collect() } else { range.take(limit).map(owned).collect() })
    }

    fn flush(&self) -> Result<(), Error> {
        Ok(())
    }
}
