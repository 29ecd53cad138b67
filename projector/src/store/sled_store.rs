//! sled 0.34: single inserts, since a large batch holds a process-wide lock that every reader of every database needs.

use std::fmt::Display;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::opening::{self, Refused};
use super::{Row, Store};
use crate::error::Error;

/// Inserts between two collections of the epoch's garbage. Replaced pages wait in crossbeam's epoch, which collects too
/// seldom by itself for a fold at full speed, so memory would grow with the number of inserts.
const INSERTS_PER_COLLECTION: u64 = 1_024;
/// What sled writes and cleans at once. Of views it leaves less garbage in large segments: 4.8 KB an event of the mix of
/// `benches/sizes.rs` with 4 MiB, 6.0 KB with sled's own 512 KiB.
const SEGMENT_BYTES: usize = 4 << 20;
/// A page in memory takes several times the bytes by which sled counts it, so its cache gets this part of what is given:
/// with 100,000 artifacts of the mix of `docs/benchmarks.md` the server has 0.5 GiB then after the fold, instead of 0.9,
/// and answers as fast.
const CACHE_SHARE: u64 = 4;
/// One flush of the epoch frees a bounded number of bags.
const FLUSHES_PER_COLLECTION: usize = 8;

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
    /// Opens or creates the store; `true` when one that could not be opened was set aside.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<(SledStore, bool), Error> {
        let (db, renewed) = opening::open(dir, || open_once(dir, cache_bytes))?;
        let store = SledStore { db: RwLock::new(Some(db)), dir: dir.to_owned(), cache_bytes, inserts: 0.into() };
        Ok((store, renewed))
    }

    fn with<T>(&self, step: &str, act: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, Error> {
        let db = self.db.read();
        let db = db.as_ref().ok_or_else(|| fault(step, "the store could not be opened again yet"))?;
        act(db).map_err(|error| fault(step, error))
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

    /// sled's own flush does not outlive a loss of power.
    fn sync(&self) -> Result<(), Error> {
        self.flush()?;
        sync_tree(&self.dir).map_err(|error| fault("sync", error))
    }

    /// After a failed write sled answers every call with that failure until it is opened again.
    fn renew(&self, anew: bool) -> Result<(), Error> {
        let mut db = self.db.write();
        opening::close(db.take(), &self.dir, anew)?;
        let opened = opening::open_unlocked(&self.dir, || open_once(&self.dir, self.cache_bytes))?;
        *db = Some(opened.map_err(|refused| fault("open", refused.reason()))?);
        Ok(())
    }
}

fn open_once(dir: &Path, cache_bytes: u64) -> Result<sled::Db, Refused> {
    let config = sled::Config::new()
        .path(dir)
        .cache_capacity(cache_bytes / CACHE_SHARE)
        .segment_size(SEGMENT_BYTES)
        .flush_every_ms(None)
        .mode(sled::Mode::HighThroughput);
    config.open().map_err(|error| {
        // sled has no error of its own for this.
        if error.to_string().contains("could not acquire lock") {
            return Refused::Locked;
        }
        // Which it does not tell as the cause.
        let cause = if let sled::Error::Io(cause) = &error { Some(cause) } else { None };
        Refused::of(&error, cause)
    })
}

fn fault(step: &str, error: impl Display) -> Error {
    Error::Store(format!("{step}: {error}"))
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
