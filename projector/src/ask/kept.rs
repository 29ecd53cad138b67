//! What is kept for a question, or for several, so that each thing is read once.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use parking_lot::Mutex;

use crate::error::Error;

/// What was read, by what it is of.
pub(super) type Kept<K, V> = Mutex<HashMap<K, V>>;

/// What is kept; it is read when it is first asked for.
pub(super) fn once<K, Q, V>(kept: &Kept<K, V>, of: &Q, read: impl FnOnce() -> Result<V, Error>) -> Result<V, Error>
where
    K: Eq + Hash + Borrow<Q>,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    V: Clone,
{
    once_of(usize::MAX, kept, of, read)
}

/// The same of at most so many: what was kept before goes when there is too much of it.
pub(super) fn once_of<K, Q, V>(
    most: usize,
    kept: &Kept<K, V>,
    of: &Q,
    read: impl FnOnce() -> Result<V, Error>,
) -> Result<V, Error>
where
    K: Eq + Hash + Borrow<Q>,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    V: Clone,
{
    if let Some(known) = kept.lock().get(of) {
        return Ok(known.clone());
    }
    let read = read()?;
    let mut kept = kept.lock();
    if kept.len() >= most {
        kept.clear();
    }
    kept.insert(of.to_owned(), read.clone());
    Ok(read)
}
