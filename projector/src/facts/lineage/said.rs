//! What one fact calls digests, joined with what earlier facts call them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::memory::Recent;
use super::naming::{Called, Named, Source};
use super::rows::FirstCalled;
use crate::error::Error;
use crate::facts::view::FactAt;
use crate::rows::Rows;
use crate::store::key::{Key, KeyReader};

/// What one fact calls digests, until all of it is known: a fact may name a digest several times, and writes one row.
#[derive(Default)]
pub(super) struct Said {
    pub(super) named: BTreeMap<Key, Change<Named>>,
    pub(super) called: BTreeMap<Key, Change<Called>>,
    pub(super) calls: BTreeMap<Key, Change<FirstCalled>>,
    /// By the key of what it is called in that repository: the greatest tag of this fact.
    pub(super) shown: BTreeMap<(Key, Source), (Key, String)>,
}

/// A summary before and after a fact.
pub(super) struct Change<V> {
    pub(super) before: Option<V>,
    pub(super) now: V,
}

impl<V: PartialEq> Change<V> {
    /// It says something else, or more.
    pub(super) fn is_new(&self) -> bool {
        self.before.as_ref() != Some(&self.now)
    }
}

/// The digest of a key of any of these tables.
fn digest_of(key: &Key) -> Option<String> {
    let mut reader = KeyReader::after_view(key.as_bytes())?;
    reader.byte()?;
    reader.text()
}

/// The key of the state from this fact on.
pub(super) fn up_to_here(key: Key, at: &FactAt<'_>) -> Key {
    key.number(at.index).ordinal(at.ordinal)
}

/// Joins what a fact says with what is known; `true` when nothing was known before it, and this says it first.
pub(super) fn say<V: DeserializeOwned + Clone>(
    said: &mut BTreeMap<Key, Change<V>>,
    (recent, rows): (&mut Recent<V>, &mut Rows<'_>),
    key: Key,
    new: V,
    join: impl Fn(&mut V, V),
) -> Result<bool, Error> {
    if let Some(change) = said.get_mut(&key) {
        join(&mut change.now, new);
        return Ok(false);
    }
    let before = recent.newest(&key, rows)?;
    let is_first = before.is_none();
    let now = match before.clone() {
        None => new,
        Some(mut now) => {
            join(&mut now, new);
            now
        }
    };
    said.insert(key, Change { before, now });
    Ok(is_first)
}

/// A row where a summary changed; tells of digests that may be another version since then, by what of it `decides`.
pub(super) fn write<V: Serialize + Clone + PartialEq, D: PartialEq>(
    said: BTreeMap<Key, Change<V>>,
    recent: &mut Recent<V>,
    (at, rows): (&FactAt<'_>, &mut Rows<'_>),
    decides: impl Fn(&V) -> D,
) -> Result<(), Error> {
    for (key, change) in said {
        let is_new = change.is_new();
        let Change { before, now } = change;
        if is_new {
            rows.put_in(&key, up_to_here(key.clone(), at), &now)?;
            if before.as_ref().map(&decides) != Some(decides(&now)) {
                rows.sink.told.versions.extend(digest_of(&key));
            }
        }
        recent.keep(key, now);
    }
    Ok(())
}
