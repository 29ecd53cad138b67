//! The read handle and the runner behind it.

use std::path::Path;
use std::time::Duration;

use pedigraph_ledger::Reader;
use pedigraph_proto::{Nanos, TenantId};

use crate::answers::{Intake, ViewChange, ViewProgress};

/// What went wrong and what the caller does about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed or its rows cannot be read: the views must be rebuilt.
    #[error("store: {0}")]
    Store(String),
    /// The ledger cannot be read.
    #[error("ledger: {0}")]
    Ledger(#[from] pedigraph_ledger::Error),
    /// The question breaks a limit or names what is not a moment; the text says what to change.
    #[error("{0}")]
    Question(String),
}

/// How views are kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of sled's cache.
    pub cache_bytes: u64,
}

/// What was known: an index (inclusive) or a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AsOf {
    /// Entries up to and with this index.
    Index(u64),
    /// Entries recorded no later.
    Time(Nanos),
}

/// Both clocks of a question (DESIGN §3.6); absent: now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moment {
    /// When it happened, inclusive.
    pub at: Option<Nanos>,
    /// When we knew it, inclusive.
    pub as_of: Option<AsOf>,
}

/// The views of a ledger in one directory: a runner thread folds what is durable, any thread reads.
#[derive(Clone)]
pub struct Views(());

impl Views {
    /// Opens (creating if absent) the views, compares them with the ledger, rebuilds when in doubt, starts the runner.
    pub fn open(_dir: &Path, _ledger: Reader, _options: &Options) -> Result<Views, Error> {
        unimplemented!()
    }
    /// Stops the runner after the step at hand and flushes.
    pub fn close(&self) -> Result<(), Error> {
        unimplemented!()
    }
    /// The ledger read handle.
    pub fn ledger(&self) -> &Reader {
        unimplemented!()
    }
    /// Number of entries of a tenant that are visible.
    pub fn visible(&self, _tenant: &TenantId) -> u64 {
        unimplemented!()
    }
    /// Waits until an index is visible; `false` when the time ran out.
    pub async fn wait_visible(&self, _tenant: &TenantId, _index: u64, _timeout: Duration) -> bool {
        unimplemented!()
    }
    /// How far each view is, for one tenant; `now_ns` for ages.
    pub fn progress(&self, _tenant: &TenantId, _now_ns: i64) -> Vec<ViewProgress> {
        unimplemented!()
    }
    /// Age in milliseconds of the oldest entry not yet visible; 0 when none.
    pub fn lag_ms(&self, _tenant: &TenantId, _now_ns: i64) -> u64 {
        unimplemented!()
    }
    /// A consistent scope for one question.
    pub fn at(&self, _tenant: &TenantId, _moment: Moment) -> Result<Scope, Error> {
        unimplemented!()
    }
    /// Changes after (index, n), oldest first, at most `limit`; `None` when that is older than the last 100,000 changes.
    pub fn changes(&self, _tenant: &TenantId, _after: (u64, u32), _limit: usize) -> Result<Option<Vec<ViewChange>>, Error> {
        unimplemented!()
    }
    /// Position of the newest visible change, to start a live stream from.
    pub fn newest_change(&self, _tenant: &TenantId) -> (u64, u32) {
        unimplemented!()
    }
    /// The view root at the head, `sha256:` and hex, with the seq of the commit it is for.
    pub fn root(&self) -> (u64, String) {
        unimplemented!()
    }
}

/// One question's tenant and moment; readers ignore rows at or above its bound.
#[derive(Clone)]
pub struct Scope(());

impl Scope {
    /// The newest index that the answers use (`Pedigraph-As-Of`); `None` for an empty log.
    pub fn as_of(&self) -> Option<u64> {
        unimplemented!()
    }
    /// Counts of intake.
    pub fn intake(&self) -> Result<Intake, Error> {
        unimplemented!()
    }
    /// Indexes of entries with this status (`conflict`, `rejected`), ascending from `from`.
    pub fn entries_by_status(&self, _status: &str, _from: u64, _limit: usize) -> Result<Vec<u64>, Error> {
        unimplemented!()
    }
    /// Indexes of entries that are about a digest, ascending from `from`.
    pub fn entries_by_subject(&self, _digest: &str, _from: u64, _limit: usize) -> Result<Vec<u64>, Error> {
        unimplemented!()
    }
}
