//! The store behind the views: sled, and an in-memory twin that passes the same conformance suite; and how much of
//! either one question reads.

pub mod key;
mod mem;
mod metered;
mod sled_store;

pub use mem::MemStore;
pub(crate) use metered::Metered;
pub use metered::{Budget, Meter, ROWS_PER_CHECK};
pub use sled_store::SledStore;

use crate::error::Error;

/// How often, and after how long each time, what another holder has locked is tried again: five seconds in all.
const LOCK_LOOKS_MAX: u32 = 100;
const LOCK_LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_millis(50);

/// Tries for some seconds to get what another holder, which may be just ending, has locked. `look` answers `None` while
/// it is locked; so does this when it stayed so.
pub(crate) fn wait_unlocked<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..LOCK_LOOKS_MAX {
        if let Some(found) = look() {
            return Some(found);
        }
        std::thread::park_timeout(LOCK_LOOK_INTERVAL);
    }
    look()
}

/// Rows that are read at once to remove them all.
const REMOVED_AT_ONCE: usize = 1_024;

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// An ordered map of bytes. No sled type crosses this line.
pub trait Store: Send + Sync {
    /// One value.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;
    /// One insert; may be lost in a crash until [`Store::flush`].
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error>;
    /// One insert unless the key is there; then its value.
    fn insert_new(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, Error>;
    /// Removes a key.
    fn remove(&self, key: &[u8]) -> Result<(), Error>;
    /// A few inserts that become visible together.
    fn batch(&self, rows: &[Row]) -> Result<(), Error>;
    /// At most `limit` rows of `from <= key < to`, ascending, or descending when `reverse`.
    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, limit: usize) -> Result<Vec<Row>, Error>;
    /// Writes out what is buffered.
    fn flush(&self) -> Result<(), Error>;
    /// After a fault: goes on with what was written, as after a crash, or with nothing when `anew`. A store that holds
    /// files opens them again, since one that failed to write answers nothing any more.
    fn renew(&self, anew: bool) -> Result<(), Error> {
        let some = || if anew { self.scan(&[], &[0xff], false, REMOVED_AT_ONCE) } else { Ok(vec![]) };
        let mut rows = some()?;
        while !rows.is_empty() {
            rows.iter().try_for_each(|(key, _)| self.remove(key))?;
            rows = some()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
