//! sled 0.34: single inserts, since a large batch holds a process-wide lock that every reader of every database needs.

use std::fmt::Display;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::{Row, Store, wait_unlocked};
use crate::error::Error;

/// Inserts between two collections of the epoch's garbage. Replaced pages wait in crossbeam's epoch, which collects too
/// seldom by itself for a fold at full speed, so memory would grow with the number of inserts.
const INSERTS_PER_COLLECTION: u64 = 1_024;
/// One flush of the epoch frees a bounded number of bags.
const FLUSHES_PER_COLLECTION: usize = 8;
/// Renamed directories of stores that could not be opened which are kept for a look.
const CORRUPT_KEPT_MAX: u32 = 1_000;

/// A store in a directory of its own, locked to this process.
#[derive(Debug)]
pub struct SledStore {
    /// Absent while it could not be opened again after a fault.
    db: RwLock<Option<sled::Db>>,
    dir: PathBuf,
    cache_bytes: u64,
    inserts: AtomicU64,
}

impl SledStore {
    /// Opens or creates the store. When it cannot be opened, the directory is renamed to `<dir>.corrupt-<n>` and an
    /// empty store is created: views are a cache of the ledger. `true` when that happened.
    ///
    /// A store that is locked is waited for and never set aside: threads of sled's may hold the lock for a moment after
    /// a store of this process was closed, and another process that serves it must not lose it.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<(SledStore, bool), Error> {
        let of = |db| SledStore { db: RwLock::new(Some(db)), dir: dir.to_owned(), cache_bytes, inserts: 0.into() };
        match SledStore::open_unlocked(dir, cache_bytes)? {
            Ok(db) => Ok((of(db), false)),
            Err(reason) => {
                let kept = set_aside(dir).map_err(|error| fault("set aside", error))?;
                tracing::error!(%reason, kept = %kept.display(), "views: the store cannot be opened, starting anew");
                let db = SledStore::open_once(dir, cache_bytes).map_err(Error::Store)?;
                Ok((of(db), true))
            }
        }
    }

    /// The outer error: somebody else holds the store. The inner one: it cannot be opened.
    fn open_unlocked(dir: &Path, cache_bytes: u64) -> Result<Result<sled::Db, String>, Error> {
        let opened = wait_unlocked(|| match SledStore::open_once(dir, cache_bytes) {
            Err(reason) if is_locked(&reason) => None,
            opened => Some(opened),
        });
        let advice = "is used by another process; give each a directory of its own";
        opened.ok_or_else(|| Error::Store(format!("{} {advice}", dir.display())))
    }

    /// sled panics on some damage instead of returning an error.
    fn open_once(dir: &Path, cache_bytes: u64) -> Result<sled::Db, String> {
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .flush_every_ms(None)
            .mode(sled::Mode::HighThroughput);
        catch_unwind(AssertUnwindSafe(|| config.open()))
            .map_err(|_| "sled panicked while opening".to_owned())?
            .map_err(|error| error.to_string())
    }

    fn with<T>(&self, step: &str, act: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, Error> {
        let db = self.db.read();
        let db = db.as_ref().ok_or_else(|| fault(step, "the store could not be opened again yet"))?;
        act(db).map_err(|error| fault(step, error))
    }

    /// Flushes and syncs every file, so that the store outlives a loss of power: sled's own flush does not.
    pub fn sync(&self) -> Result<(), Error> {
        self.flush()?;
        sync_tree(&self.dir).map_err(|error| fault("sync", error))
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.with("size", sled::Db::size_on_disk).unwrap_or(0)
    }

    fn count_insert(&self) {
        if self.inserts.fetch_add(1, Ordering::Relaxed).is_multiple_of(INSERTS_PER_COLLECTION) {
            (0..FLUSHES_PER_COLLECTION).for_each(|_| crossbeam_epoch::pin().flush());
        }
    }
}

impl Store for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.with("get", |db| Ok(db.get(key)?.map(|value| value.to_vec())))
    }

    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.count_insert();
        self.with("insert", |db| db.insert(key, value).map(drop))
    }

    fn insert_new(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.count_insert();
        let swapped = self.with("insert", |db| db.compare_and_swap(key, None::<&[u8]>, Some(value)))?;
        Ok(swapped.err().and_then(|refused| refused.current).map(|there| there.to_vec()))
    }

    fn remove(&self, key: &[u8]) -> Result<(), Error> {
        self.count_insert();
        self.with("remove", |db| db.remove(key).map(drop))
    }

    fn batch(&self, rows: &[Row]) -> Result<(), Error> {
        let mut batch = sled::Batch::default();
        for (key, value) in rows {
            batch.insert(key.as_slice(), value.as_slice());
        }
        self.with("batch", |db| db.apply_batch(batch))
    }

    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, limit: usize) -> Result<Vec<Row>, Error> {
        if from >= to {
            return Ok(vec![]);
        }
        let owned =
            |row: sled::Result<(sled::IVec, sled::IVec)>| row.map(|(key, value)| (key.to_vec(), value.to_vec()));
        self.with("scan", |db| {
            let range = db.range(from..to);
            if reverse { range.rev().take(limit).map(owned).collect() } else { range.take(limit).map(owned).collect() }
        })
    }

    fn flush(&self) -> Result<(), Error> {
        self.with("flush", |db| db.flush().map(drop))
    }

    /// After a failed write sled answers every call with that failure until it is opened again.
    fn renew(&self, anew: bool) -> Result<(), Error> {
        let mut db = self.db.write();
        let before = db.take();
        if catch_unwind(AssertUnwindSafe(|| drop(before))).is_err() {
            tracing::error!("views: sled panicked while it was closed");
        }
        if anew && self.dir.exists() {
            fs::remove_dir_all(&self.dir).map_err(|error| fault("wipe", error))?;
        }
        *db = Some(SledStore::open_unlocked(&self.dir, self.cache_bytes)?.map_err(|reason| fault("open", reason))?);
        Ok(())
    }
}

/// sled has no error of its own for this.
fn is_locked(reason: &str) -> bool {
    reason.contains("could not acquire lock")
}

fn fault(step: &str, error: impl Display) -> Error {
    Error::Store(format!("{step}: {error}"))
}

fn set_aside(dir: &Path) -> io::Result<PathBuf> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let free = (1..CORRUPT_KEPT_MAX).map(|n| dir.with_file_name(format!("{name}.corrupt-{n}"))).find(|p| !p.exists());
    let kept = free.ok_or_else(|| io::Error::other("too many corrupt stores are kept"))?;
    fs::rename(dir, &kept)?;
    Ok(kept)
}

fn sync_tree(dir: &Path) -> io::Result<()> {
    for item in fs::read_dir(dir)? {
        let path = item?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            File::open(&path)?.sync_all()?;
        }
    }
    File::open(dir)?.sync_all()
}
