//! The newest summaries, kept so that most facts are folded without reading rows.

use std::collections::HashMap;

use pedigraph_proto::Nanos;
use serde::de::DeserializeOwned;

use super::naming::{Called, Named};
use super::rows::{FirstCalled, FirstWith};
use crate::error::Error;
use crate::rows::Rows;
use crate::store::key::{Key, KeyReader};

/// Summaries of one kind that are kept at least, and half of those that are kept at most: some ten MiB in all.
const KEPT: usize = 4_096;

/// By the beginning of their keys. Whatever is not here is read from rows; nothing is here that rows do not hold.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) named: Recent<Named>,
    pub(super) called: Recent<Called>,
    pub(super) calls: Recent<FirstCalled>,
    /// By digest: how many rows there are of these.
    pub(super) calls_len: Recent<u64>,
    pub(super) tags: Recent<Pointer>,
    pub(super) layers: Recent<FirstWith>,
}

/// What a tag points at from a fact on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pointer {
    /// The end of the row's key: the fact's stamp.
    pub(super) stamp: [u8; STAMP_BYTES],
    pub(super) digest: String,
}

impl Pointer {
    /// When the fact happened.
    pub(super) fn time(&self) -> Option<Nanos> {
        KeyReader::new(&self.stamp).time()
    }
}

/// Bytes of a stamp at the end of a key: time, index, ordinal.
pub(super) const STAMP_BYTES: usize = 20;

/// Two generations: when the younger is full it becomes the older, and what nobody asked for since then goes.
pub(super) struct Recent<V> {
    younger: HashMap<Key, V>,
    older: HashMap<Key, V>,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Recent { younger: HashMap::new(), older: HashMap::new() }
    }
}

impl<V: Clone> Recent<V> {
    pub(super) fn keep(&mut self, key: Key, value: V) {
        if self.younger.len() >= KEPT {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert(key, value);
    }

    pub(super) fn get(&mut self, key: &Key) -> Option<V> {
        if let Some(value) = self.younger.get(key) {
            return Some(value.clone());
        }
        let value = self.older.remove(key)?;
        self.keep(key.clone(), value.clone());
        Some(value)
    }

    /// The summary of everything that earlier facts say: rows of it begin with `group`.
    pub(super) fn newest(&mut self, group: &Key, rows: &mut Rows<'_>) -> Result<Option<V>, Error>
    where
        V: DeserializeOwned,
    {
        if let Some(known) = self.get(group) {
            return Ok(Some(known));
        }
        Ok(rows.nearest(group, group, &group.prefix_end(), true)?.map(|(_, value)| value))
    }
}
