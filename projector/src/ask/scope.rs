//! One question's tenant and moment, and bounded reads of rows that it may see.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use pedigraph_proto::{Nanos, TenantId};
use serde::de::DeserializeOwned;

use super::answers::Proof;
use super::groups::Groups;
use super::sets::ReadContents;
use crate::error::Error;
use crate::facts::ViewSet;
use crate::facts::entries::rows::{EntryRow, EntryRows, entries_prefix};
use crate::rows::stamp::{Stamp, Stamped, split_stamp};
use crate::store::digest;
use crate::store::key::{Key, KeyReader};
use crate::store::{Meter, Metered, Store};

/// Rows fetched from the store at once.
const SCAN_ROWS: usize = 256;
/// Rows fetched first: most answers need few.
pub(super) const FIRST_SCAN_ROWS: usize = 16;
/// Rows fetched first where one or two do.
pub(super) const FEW_ROWS: usize = 2;

/// Rows with their keys.
pub(crate) type Keyed<T> = Vec<(Vec<u8>, Stamped<T>)>;

/// What questions share: the rows and what views keep in memory.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) views: Arc<ViewSet>,
}

impl Shared {
    /// The same, where what is read is counted.
    pub(crate) fn metered(&self, meter: Arc<Meter>) -> Shared {
        Shared { store: Arc::new(Metered { store: self.store.clone(), meter }), views: self.views.clone() }
    }
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

/// One question's tenant and moment; readers ignore rows at or above its bound.
#[derive(Clone)]
pub struct Scope {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tenant: TenantId,
    /// Rows of entries at or above it are not seen.
    pub(crate) bound: u64,
    /// Rows of the view of deltas at or above it are not seen.
    pub(crate) deltas_bound: u64,
    /// Rows of commits at or above it are not seen.
    pub(crate) seq_bound: u64,
    /// Duplicates since the newest entry, by source, where all entries are seen.
    pub(crate) duplicates: Arc<BTreeMap<String, u64>>,
    /// Rows of facts that happened later are not seen.
    pub(crate) at: Option<Nanos>,
    /// When it was asked; ages in references count back from it.
    pub(crate) now: Option<Nanos>,
    /// What it has read.
    pub(crate) meter: Arc<Meter>,
    /// Groups of digests that were read for it; they do not change with `at`.
    pub(crate) groups: Arc<Groups>,
    /// What was read of contents for it; it does not change with `at` either.
    pub(crate) contents: Arc<ReadContents>,
    /// Tags by which something was deployed that may be a change and is not marked so, once they were read.
    pub(crate) unmarked: Arc<OnceLock<Arc<BTreeSet<String>>>>,
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

    /// The first key of `from <= key < to` whose row is seen.
    pub(crate) fn next_key(&self, from: &Key, to: &Key, clocks: Clocks) -> Result<Option<Vec<u8>>, Error> {
        let mut found = None;
        self.each_raw(from.as_bytes(), to.as_bytes(), false, 1, |key, bytes| {
            let seen = self.sees(&split_stamp(bytes)?.0, clocks);
            found = seen.then(|| key.to_vec());
            Ok(if seen { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(found)
    }

    /// At most so many keys that begin with this one and whose rows are seen, whatever `at` is.
    pub(crate) fn keys_under(&self, prefix: &Key, limit: usize) -> Result<Vec<Vec<u8>>, Error> {
        let mut keys = Vec::new();
        let first_rows = limit.min(FIRST_SCAN_ROWS);
        self.each_raw(prefix.as_bytes(), prefix.prefix_end().as_bytes(), false, first_rows, |key, bytes| {
            if self.sees(&split_stamp(bytes)?.0, Clocks::Known) {
                keys.push(key.to_vec());
            }
            Ok(if keys.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(keys)
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
        let shared = Arc::new(self.shared.metered(meter.clone()));
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

    /// The newest of the summaries that begin with `prefix`, whose keys go on with the index from which each holds: what
    /// was known below the bound, by one seek.
    pub(crate) fn newest_summary<T: DeserializeOwned>(&self, prefix: &Key) -> Result<Option<T>, Error> {
        let to = prefix.clone().number(self.bound);
        let newest = self.keyed::<T>(prefix, &to, true, Clocks::Known, 1)?.pop();
        Ok(newest.map(|(_, row)| row.value))
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
        visit: impl FnMut(&[u8], Stamped<T>) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        self.each_by(FIRST_SCAN_ROWS, (from, to), reverse, clocks, visit)
    }

    /// The same, with so many rows fetched first.
    pub(super) fn each_by<T: DeserializeOwned>(
        &self,
        first_rows: usize,
        (from, to): (&Key, &Key),
        reverse: bool,
        clocks: Clocks,
        mut visit: impl FnMut(&[u8], Stamped<T>) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        self.each_raw(from.as_bytes(), to.as_bytes(), reverse, first_rows, |key, bytes| {
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
            page_rows = (8 * page_rows).clamp(FIRST_SCAN_ROWS, SCAN_ROWS);
        }
    }

    /// The proof of an entry.
    pub(crate) fn proof(&self, index: u64) -> Result<Proof, Error> {
        Ok(Proof::of(index, self.kept_entry(index)?.as_ref()))
    }

    /// What is kept of an entry below the bound.
    pub(crate) fn kept_entry(&self, index: u64) -> Result<Option<KeptEntry>, Error> {
        Ok(self.entries_with(index)?.and_then(|(first, entries)| KeptEntry::of(index, first, &entries)))
    }

    /// What is kept of the entries that share a row with one below the bound, and the index of the first of them.
    pub(super) fn entries_with(&self, index: u64) -> Result<Option<(u64, EntryRows)>, Error> {
        if index >= self.bound {
            return Ok(None);
        }
        // The row may hold entries above the bound, which are not looked at, and has the stamp of the last of them.
        let (prefix, end) = (entries_prefix(&self.tenant), entries_prefix(&self.tenant).number(index + 1));
        let Some((key, bytes)) = self.shared.store.scan(prefix.as_bytes(), end.as_bytes(), true, 1)?.pop() else {
            return Ok(None);
        };
        let first = KeyReader::after_view(&key).and_then(|mut reader| {
            reader.byte()?;
            reader.number()
        });
        let entries = Stamped::<EntryRows>::decode(&bytes)?.value;
        Ok(first.map(|first| (first, entries)))
    }
}

/// What is kept of an entry beside its facts.
pub(crate) struct KeptEntry {
    pub(crate) leaf_hash: [u8; 32],
    pub(crate) source: String,
    pub(crate) recorded_at: i64,
    pub(crate) event_id: [u8; 16],
}

impl KeptEntry {
    /// Of an entry, among those of a row of which the first is given.
    pub(super) fn of(index: u64, first: u64, row: &EntryRows) -> Option<KeptEntry> {
        let entry = row.entries.get(usize::try_from(index.checked_sub(first)?).ok()?)?;
        let &EntryRow { leaf_hash, source, recorded_at, event_id } = entry;
        let source = usize::try_from(source).ok().and_then(|source| row.sources.get(source));
        Some(KeptEntry { leaf_hash, source: source.cloned().unwrap_or_default(), recorded_at, event_id })
    }
}

impl Proof {
    /// Of an entry whose row was read.
    pub(super) fn of(index: u64, entry: Option<&KeptEntry>) -> Proof {
        entry.map_or(Proof { index, leaf_hash: String::new() }, |entry| Proof::by_leaf(index, &entry.leaf_hash))
    }

    /// Of an entry whose leaf hash is known.
    pub(super) fn by_leaf(index: u64, leaf_hash: &[u8; 32]) -> Proof {
        Proof { index, leaf_hash: digest::hex(leaf_hash) }
    }
}
