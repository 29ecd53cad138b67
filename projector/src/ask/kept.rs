//! What is kept for a question, or for several, so that each thing is read once.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::error::Error;

/// What was read, by what it is of.
pub(super) type Kept<K, V> = Mutex<BTreeMap<K, V>>;

/// What is kept; it is read when it is first asked for.
pub(super) fn once<K, Q, V>(kept: &Kept<K, V>, of: &Q, read: impl FnOnce() -> Result<V, Error>) -> Result<V, Error>
where
    K: Ord + Borrow<Q>,
    Q: Ord + ToOwned<Owned = K> + ?Sized,
    V: Clone,
{
    if let Some(known) = kept.lock().get(of) {
        return Ok(known.clone());
    }
    let read = read()?;
    kept.lock().insert(of.to_owned(), read.clone());
    Ok(read)
}
