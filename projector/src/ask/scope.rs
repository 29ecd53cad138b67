//! One question's tenant and moment, and bounded reads of rows that it may see.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::Mutex;
use pedigraph_proto::{Nanos, TenantId};
use serde::de::DeserializeOwned;

use super::answers::Proof;
use crate::error::Error;
use crate::facts::ViewSet;
use crate::facts::entries::rows::{EntryRow, entry_key};
use crate::rows::stamp::{Stamp, Stamped, split_stamp};
use crate::store::key::Key;
use crate::store::{Meter, Metered, Row, Store};

/// Rows fetched from the store at once.
const SCAN_ROWS: usize = 256;
/// Rows fetched first: most answers need few.
const FIRST_SCAN_ROWS: usize = 16;

/// Rows with their keys.
pub(crate) type Keyed<T> = Vec<(Vec<u8>, Stamped<T>)>;

/// What questions share: the rows and what views keep in memory.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) views: Arc<ViewSet>,
}

/// Which clocks a read follows (SPEC §5, "the clocks here").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Clocks {
    /// `at` and `asOf`.
    Both,
    /// `asOf` only: identity, and what a digest contains.
    Known,
}

/// What was known: an index (inclusive) or a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AsOf {
    /// Entries up to and with this index; above the head the head is used.
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

/// Every digest of one artifact.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Group {
    /// The canonical digest first, then the others in order.
    pub(crate) digests: Vec<String>,
    /// More digests are called the same than an artifact may have.
    pub(crate) cut: bool,
}

/// One question's tenant and moment; readers ignore rows at or above its bound.
#[derive(Clone)]
pub struct Scope {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tenant: TenantId,
    /// Rows of entries at or above it are not seen.
    pub(crate) bound: u64,
    /// Rows of commits at or above it are not seen.
    pub(crate) seq_bound: u64,
    /// Rows of facts that happened later are not seen.
    pub(crate) at: Option<Nanos>,
    /// When it was asked; ages in references count back from it.
    pub(crate) now: Option<Nanos>,
    /// What it has read.
    pub(crate) meter: Arc<Meter>,
    /// Groups of digests that were read for it; they do not change with `at`.
    pub(crate) groups: Arc<Mutex<BTreeMap<String, Arc<Group>>>>,
}

impl Scope {
    /// The newest index that the answers use (`Pedigraph-As-Of`); `None` for an empty log.
    pub fn as_of(&self) -> Option<u64> {
        self.bound.checked_sub(1)
    }

    /// The moment of `at=`; absent: now.
    pub fn at(&self) -> Option<Nanos> {
        self.at
    }

    /// Whose.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// At most `limit` known rows (index below the bound) of `from <= key < to`: key, and value without its stamp.
    pub(crate) fn scan(&self, from: &[u8], to: &[u8], reverse: bool, limit: usize) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        self.each_raw(from, to, reverse, limit.min(SCAN_ROWS), |key, bytes| {
            if rows.len() == limit {
                return Ok(ControlFlow::Break(()));
            }
            let (stamp, value) = split_stamp(bytes)?;
            if self.sees(&stamp, Clocks::Known) {
                rows.push((key.to_vec(), value.to_vec()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(rows)
    }

    /// The same question with the moment when it was asked. Without one, references with an age (`prod@{2h}`) are
    /// refused unless `at` is given: nothing here has a clock.
    #[must_use]
    pub fn asked_at(self, now: Nanos) -> Scope {
        Scope { now: Some(now), ..self }
    }

    /// The same question within a budget: whatever is read for it is counted, and ends when there is too much of it or
    /// when the meter says stop.
    #[must_use]
    pub fn within(self, meter: Arc<Meter>) -> Scope {
        let store = Arc::new(Metered { store: self.shared.store.clone(), meter: meter.clone() });
        let shared = Arc::new(Shared { store, views: self.shared.views.clone() });
        Scope { shared, meter, ..self }
    }

    /// Counts work for this question that no row of the store stands for, as so many rows.
    ///
    /// # Errors
    /// [`Error::TooExpensive`] once it is too much, [`Error::Stopped`] once the question was told to end.
    pub fn spend(&self, rows: u64) -> Result<(), Error> {
        self.meter.spend(rows, 0)
    }

    /// The same question at another moment of what happened.
    #[must_use]
    pub fn when(&self, at: Option<Nanos>) -> Scope {
        Scope { at, ..self.clone() }
    }

    /// Whether a row is seen.
    pub(crate) fn sees(&self, stamp: &Stamp, clocks: Clocks) -> bool {
        let happened = clocks == Clocks::Known || self.at.is_none_or(|at| stamp.time <= at.0);
        stamp.index < self.bound && happened
    }

    /// A key of this tenant.
    pub(crate) fn key(&self, view: u8) -> Key {
        Key::new(&self.tenant, view)
    }

    /// One row.
    pub(crate) fn get<T: DeserializeOwned>(&self, key: &Key, clocks: Clocks) -> Result<Option<Stamped<T>>, Error> {
        let Some(bytes) = self.shared.store.get(key.as_bytes())? else { return Ok(None) };
        let seen = self.sees(&split_stamp(&bytes)?.0, clocks);
        if seen { Stamped::decode(&bytes).map(Some) } else { Ok(None) }
    }

    /// At most `limit` rows whose keys begin with `prefix`, ascending.
    pub(crate) fn rows<T: DeserializeOwned>(
        &self,
        prefix: &Key,
        clocks: Clocks,
        limit: usize,
    ) -> Result<Vec<Stamped<T>>, Error> {
        let mut rows = Vec::new();
        self.each(prefix, &prefix.prefix_end(), false, clocks, |_, row| {
            if rows.len() == limit {
                return Ok(ControlFlow::Break(()));
            }
            rows.push(row);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(rows)
    }

    /// At most `limit` rows of `from <= key < to` with their keys.
    pub(crate) fn keyed<T: DeserializeOwned>(
        &self,
        from: &Key,
        to: &Key,
        reverse: bool,
        clocks: Clocks,
        limit: usize,
    ) -> Result<Keyed<T>, Error> {
        let mut rows = Vec::new();
        let first_rows = limit.min(FIRST_SCAN_ROWS);
        self.each_raw(from.as_bytes(), to.as_bytes(), reverse, first_rows, |key, bytes| {
            if rows.len() < limit && self.sees(&split_stamp(bytes)?.0, clocks) {
                rows.push((key.to_vec(), Stamped::decode(bytes)?));
            }
            Ok(if rows.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(rows)
    }

    /// Visits seen rows of `from <= key < to` until told to stop.
    pub(crate) fn each<T: DeserializeOwned>(
        &self,
        from: &Key,
        to: &Key,
        reverse: bool,
        clocks: Clocks,
        mut visit: impl FnMut(&[u8], Stamped<T>) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        self.each_raw(from.as_bytes(), to.as_bytes(), reverse, FIRST_SCAN_ROWS, |key, bytes| {
            if self.sees(&split_stamp(bytes)?.0, clocks) {
                return visit(key, Stamped::decode(bytes)?);
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    fn each_raw(
        &self,
        from: &[u8],
        to: &[u8],
        reverse: bool,
        first_rows: usize,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let (mut from, mut to, mut page_rows) = (from.to_vec(), to.to_vec(), first_rows.max(1));
        loop {
            let page = self.shared.store.scan(&from, &to, reverse, page_rows)?;
            for (key, bytes) in &page {
                if visit(key, bytes)?.is_break() {
                    return Ok(());
                }
            }
            let Some((last, _)) = page.last().filter(|_| page.len() == page_rows) else { return Ok(()) };
            if reverse {
                to.clone_from(last);
            } else {
                from = [last.as_slice(), &[0]].concat();
            }
            page_rows = SCAN_ROWS;
        }
    }

    /// The proof of an entry.
    pub(crate) fn proof(&self, index: u64) -> Result<Proof, Error> {
        let leaf_hash = self.entry_row(index)?.map(|row| row.leaf_hash).unwrap_or_default();
        Ok(Proof { index, leaf_hash: hex(&leaf_hash) })
    }

    /// What is kept of an entry.
    pub(crate) fn entry_row(&self, index: u64) -> Result<Option<EntryRow>, Error> {
        let key = entry_key(&self.tenant, index);
        Ok(self.get::<EntryRow>(&key, Clocks::Known)?.map(|row| row.value))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
        text
    })
}
