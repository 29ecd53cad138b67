//! fjall 3: a log-structured tree, for views that are too large for sled. Rows are appended to a journal and sorted in
//! memory; a thread of its own writes and merges tables.
//!
//! What a crash leaves is always what was written up to some moment: the journal is ordered and checked, and synced
//! before a table that holds the same rows. So progress, which is written last, is never ahead of its rows, and views are
//! trusted after a loss of power too.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fjall::compaction::Leveled;
use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use parking_lot::{Mutex, RwLock};

use super::opening::{self, Refused};
use super::{Row, Store};
use crate::error::Error;

/// Rows that are inserted between two looks whether the threads that write tables keep up.
const INSERTS_PER_LOOK: u64 = 256;
/// Full tables in memory, and tables that are not yet merged, at which inserting waits. It is well below where fjall
/// itself would wait: for ever, if the thread that writes tables ended over a full disk.
const FULL_IN_MEMORY_MAX: usize = 2;
const TABLES_UNMERGED_MAX: usize = 16;
/// When to look again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Threads that write and merge tables. With two, the one waits for the other to merge by asking it all the time, which
/// costs a core: a mix of events folds in 12 s instead of 8 s.
const WORKERS: usize = 1;
/// Bytes of a table on disk, small so that no merge is so long that full tables in memory wait for it.
const MERGED_TABLE_BYTES: u64 = 16 << 20;
/// Of the memory that is given, what one table takes that is being filled; there may be [`FULL_IN_MEMORY_MAX`] more, and
/// one that is written. The rest is the cache.
const CACHE_BYTES_PER_TABLE_BYTE: u64 = 16;
const TABLE_BYTES_MIN: u64 = 1 << 20;
const TABLE_BYTES_MAX: u64 = 64 << 20;
/// Of all journals together; they hold what is not yet in tables.
const JOURNAL_BYTES_MIN: u64 = 64 << 20;
const JOURNAL_BYTES_MAX: u64 = 512 << 20;

/// Bytes of a key as fjall has it, at most. A longer one is stored as its beginning and its hash, so that it is that long,
/// as no other key is, and stands whole before its value. Such keys that are equal up to the hash are not in order.
const KEY_BYTES_MAX: usize = 65_535;
const KEY_BEGINNING_BYTES: usize = KEY_BYTES_MAX - blake3::OUT_LEN;

/// A store in a directory of its own, locked to this process.
pub struct FjallStore {
    /// Absent while it could not be opened again after a fault.
    open: RwLock<Option<Open>>,
    dir: PathBuf,
    cache_bytes: u64,
    /// Held while it is looked whether a key is new.
    looking: Mutex<()>,
    inserts: AtomicU64,
}

struct Open {
    rows: Keyspace,
    database: Database,
}

impl FjallStore {
    /// Opens or creates the store; `true` when one that could not be opened was set aside.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<(FjallStore, bool), Error> {
        let (open, renewed) = opening::open(dir, || open_once(dir, cache_bytes))?;
        let (open, dir) = (RwLock::new(Some(open)), dir.to_owned());
        Ok((FjallStore { open, dir, cache_bytes, looking: Mutex::default(), inserts: 0.into() }, renewed))
    }

    fn with<T>(&self, step: &str, act: impl FnOnce(&Open) -> fjall::Result<T>) -> Result<T, Error> {
        let open = self.open.read();
        let open = open.as_ref().ok_or_else(|| fault(step, "the store could not be opened again yet"))?;
        act(open).map_err(|error| fault(step, error))
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let look = self.inserts.fetch_add(1, Ordering::Relaxed).is_multiple_of(INSERTS_PER_LOOK);
        self.with("insert", |open| {
            if look {
                open.wait_for_tables()?;
            }
            open.rows.insert(&*stored_key(key), &*stored_value(key, value))
        })
    }
}

impl Open {
    fn wait_for_tables(&self) -> fjall::Result<()> {
        let behind = || {
            let (full, unmerged) = (self.rows.sealed_memtable_count(), self.rows.l0_table_count());
            full >= FULL_IN_MEMORY_MAX || unmerged >= TABLES_UNMERGED_MAX
        };
        while behind() {
            // Fails once the thread that this waits for has failed.
            self.database.persist(PersistMode::Buffer)?;
            std::thread::park_timeout(LOOK_AGAIN);
        }
        Ok(())
    }
}

impl Store for FjallStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let stored = stored_key(key);
        let found = self.with("get", |open| open.rows.get(&*stored))?;
        found.map(|value| Ok(row(&stored, &value)?.1)).transpose()
    }

    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.put(key, value)
    }

    fn insert_new(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let _looking = self.looking.lock();
        let there = self.get(key)?;
        if there.is_none() {
            self.put(key, value)?;
        }
        Ok(there)
    }

    fn remove(&self, key: &[u8]) -> Result<(), Error> {
        self.with("remove", |open| open.rows.remove(&*stored_key(key)))
    }

    fn batch(&self, rows: &[Row]) -> Result<(), Error> {
        self.with("batch", |open| {
            // Whoever sees these rows has them after the process ended.
            let mut batch = open.database.batch().durability(Some(PersistMode::Buffer));
            for (key, value) in rows {
                batch.insert(&open.rows, &*stored_key(key), &*stored_value(key, value));
            }
            batch.commit()
        })
    }

    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, limit: usize) -> Result<Vec<Row>, Error> {
        if from >= to {
            return Ok(vec![]);
        }
        let (low, high) = (Bound::Included(beginning(from)), beginning(to));
        let after = [high, &[0xff; blake3::OUT_LEN]].concat();
        let high = if high == to { Bound::Excluded(high) } else { Bound::Included(after.as_slice()) };
        let inside = |found: &Result<Row, Error>| found.as_ref().map_or(true, |(key, _)| &**key >= from && &**key < to);
        self.with("scan", |open| {
            let mut range = open.rows.range::<&[u8], _>((low, high));
            let next = || if reverse { range.next_back() } else { range.next() };
            let rows = std::iter::from_fn(next).map(|found| {
                let (key, value) = found.into_inner().map_err(|error| fault("scan", error))?;
                row(&key, &value)
            });
            Ok(rows.filter(inside).take(limit).collect())
        })?
    }

    /// Synced, so that a loss of power costs what came after.
    fn flush(&self) -> Result<(), Error> {
        self.with("flush", |open| open.database.persist(PersistMode::SyncData))
    }

    fn sync(&self) -> Result<(), Error> {
        self.with("sync", |open| open.database.persist(PersistMode::SyncAll))
    }

    /// After a failed write fjall takes no more until it is opened again.
    fn renew(&self, anew: bool) -> Result<(), Error> {
        let mut open = self.open.write();
        opening::close(open.take(), &self.dir, anew)?;
        let opened = opening::open_unlocked(&self.dir, || open_once(&self.dir, self.cache_bytes))?;
        *open = Some(opened.map_err(|refused| fault("open", refused.reason()))?);
        Ok(())
    }
}

fn open_once(dir: &Path, cache_bytes: u64) -> Result<Open, Refused> {
    let refused = |error: fjall::Error| match matches!(error, fjall::Error::Locked) {
        true => Refused::Locked,
        false => Refused::of(&error, None),
    };
    let table_bytes = (cache_bytes / CACHE_BYTES_PER_TABLE_BYTE).clamp(TABLE_BYTES_MIN, TABLE_BYTES_MAX);
    let tables_bytes = table_bytes.saturating_mul(FULL_IN_MEMORY_MAX as u64 + 2);
    let database = Database::builder(dir)
        .cache_size(cache_bytes.saturating_sub(tables_bytes))
        .max_journaling_size((cache_bytes / 2).clamp(JOURNAL_BYTES_MIN, JOURNAL_BYTES_MAX))
        .worker_threads(WORKERS);
    let database = database.open().map_err(refused)?;
    let options = || {
        KeyspaceCreateOptions::default()
            .max_memtable_size(table_bytes)
            .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(MERGED_TABLE_BYTES)))
            .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
            // Single rows go to the kernel with the progress that follows them.
            .manual_journal_persist(true)
    };
    let rows = database.keyspace("rows", options).map_err(refused)?;
    Ok(Open { rows, database })
}

fn fault(step: &str, error: impl Display) -> Error {
    Error::Store(format!("{step}: {error}"))
}

/// What a key and its stored key begin with alike.
fn beginning(key: &[u8]) -> &[u8] {
    if key.len() < KEY_BYTES_MAX { key } else { &key[..KEY_BEGINNING_BYTES] }
}

fn stored_key(key: &[u8]) -> Cow<'_, [u8]> {
    match key.len() < KEY_BYTES_MAX {
        true => Cow::Borrowed(key),
        false => Cow::Owned([beginning(key), blake3::hash(key).as_bytes()].concat()),
    }
}

fn stored_value<'v>(key: &[u8], value: &'v [u8]) -> Cow<'v, [u8]> {
    match key.len() < KEY_BYTES_MAX {
        true => Cow::Borrowed(value),
        false => Cow::Owned([&(key.len() as u64).to_be_bytes()[..], key, value].concat()),
    }
}

/// A row as it was inserted.
fn row(key: &[u8], value: &[u8]) -> Result<Row, Error> {
    if key.len() < KEY_BYTES_MAX {
        return Ok((key.to_vec(), value.to_vec()));
    }
    let long = value.split_first_chunk().and_then(|(length, rest)| {
        let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
        rest.split_at_checked(length)
    });
    let (key, value) = long.ok_or_else(|| fault("read", "a long key is cut"))?;
    Ok((key.to_vec(), value.to_vec()))
}
