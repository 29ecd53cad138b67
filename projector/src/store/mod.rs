//! The store behind the views: sled or fjall, and an in-memory twin, which pass the same conformance suite; and how much
//! of either one question reads.

pub(crate) mod digest;
mod fjall_store;
pub mod key;
mod mem;
mod metered;
mod opening;
mod remembered;
mod sled_store;

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

pub use fjall_store::FjallStore;
pub use mem::MemStore;
pub(crate) use metered::Metered;
pub use metered::{Budget, Meter, ROWS_PER_CHECK};
pub(crate) use remembered::Remembered;
pub use sled_store::SledStore;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What keeps the views on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// sled: nothing in the background, for views of some gigabytes.
    #[default]
    Sled,
    /// fjall: smaller and faster to write, for larger ones.
    Fjall,
}

impl StoreKind {
    /// Opens or creates a store in a directory of its own, with about so many bytes of memory; `true` when one that
    /// could not be opened was set aside.
    pub fn open(self, dir: &Path, cache_bytes: u64) -> Result<(Arc<dyn Store>, bool), Error> {
        Ok(match self {
            StoreKind::Sled => {
                let (store, renewed) = SledStore::open(dir, cache_bytes)?;
                (Arc::new(store), renewed)
            }
            StoreKind::Fjall => {
                let (store, renewed) = FjallStore::open(dir, cache_bytes)?;
                (Arc::new(store), renewed)
            }
        })
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StoreKind::Sled => "sled",
            StoreKind::Fjall => "fjall",
        })
    }
}

impl FromStr for StoreKind {
    type Err = String;

    fn from_str(text: &str) -> Result<StoreKind, String> {
        match text {
            "sled" => Ok(StoreKind::Sled),
            "fjall" => Ok(StoreKind::Fjall),
            _ => Err("a store is sled or fjall".to_owned()),
        }
    }
}

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

/// An ordered map of bytes. No type of a store's crosses this line.
pub trait Store: Send + Sync {
    /// One value.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;
    /// One insert; may be lost in a crash until [`Store::flush`].
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error>;
    /// One insert unless the key is there; then its value. No two threads insert the same key at a time.
    fn insert_new(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, Error>;
    /// Removes a key.
    fn remove(&self, key: &[u8]) -> Result<(), Error>;
    /// A few inserts that become visible together.
    fn batch(&self, rows: &[Row]) -> Result<(), Error>;
    /// At most `limit` rows of `from <= key < to`, ascending, or descending when `reverse`.
    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, limit: usize) -> Result<Vec<Row>, Error>;
    /// Writes out what is buffered.
    fn flush(&self) -> Result<(), Error>;
    /// Writes out everything so that it outlives a loss of power.
    fn sync(&self) -> Result<(), Error> {
        self.flush()
    }
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
