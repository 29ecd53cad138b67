//! What a view is: a pure function from facts to insert-only rows.

use pedigraph_proto::wire::{Entry, Fact};
use pedigraph_proto::{Event, Nanos, TenantId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::key::Key;
use crate::root::RowSink;
use crate::store::Store;
use crate::views::Error;

/// Rows that one read of a fold brings at most.
const FOLD_SCAN_ROWS_MAX: usize = 100_000;

/// One fact where it stands in the ledger.
#[derive(Clone, Copy, Debug)]
pub struct FactAt<'a> {
    /// Whose it is.
    pub tenant: &'a TenantId,
    /// Index of its entry in the tenant's log.
    pub index: u64,
    /// Position among the entry's facts, over all chunks.
    pub ordinal: u32,
    /// The leaf, decoded.
    pub entry: &'a Entry,
    /// The leaf's hash.
    pub leaf_hash: &'a [u8; 32],
    /// When it happened: the fact's own time, else the entry's.
    pub occurred_at: Nanos,
    /// The fact.
    pub fact: &'a Fact,
    /// What it says.
    pub event: &'a Event,
}

/// One entry where it stands in the ledger, before its facts.
#[derive(Clone, Copy, Debug)]
pub struct EntryAt<'a> {
    /// Whose it is.
    pub tenant: &'a TenantId,
    /// Index in the tenant's log.
    pub index: u64,
    /// The leaf, decoded.
    pub entry: &'a Entry,
    /// The leaf's hash.
    pub leaf_hash: &'a [u8; 32],
}

/// What one entry of a commit came to, after its facts.
#[derive(Clone, Debug)]
pub struct EntrySummary {
    /// The leaf, decoded.
    pub entry: Entry,
    /// Code of a reject.
    pub code: Option<String>,
    /// Number of changes for subscribers.
    pub changes: u32,
}

/// One tenant's part of one commit, after all its facts.
#[derive(Clone, Copy, Debug)]
pub struct CommitAt<'a> {
    /// Whose it is.
    pub tenant: &'a TenantId,
    /// Number of the commit in the journal.
    pub seq: u64,
    /// Its time.
    pub time: Nanos,
    /// Size of the tenant's log after it.
    pub next_index: u64,
    /// Its entries of this tenant, in order.
    pub entries: &'a [EntrySummary],
    /// Its duplicates by source.
    pub duplicates: &'a [(String, u64)],
}

/// What precedes the value of every row: where it comes from. Readers compare `index` with their bound and `time` with
/// `at`, and order by (time, event, ordinal).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// Index of the entry that proves the row.
    pub(crate) index: u64,
    /// 0 = the entry itself, n + 1 = its n-th fact, `u32::MAX` = its commit.
    pub(crate) ordinal: u32,
    /// When it happened.
    pub(crate) time: i64,
    /// Event id.
    pub(crate) event: [u8; 16],
}

impl Stamp {
    /// Of the entry itself.
    pub(crate) fn of_entry(index: u64, entry: &Entry) -> Stamp {
        let event = entry.event_id.as_ref().try_into().unwrap_or_default();
        Stamp { index, ordinal: 0, time: entry.occurred_at, event }
    }

    /// The order of facts that does not depend on arrival: (time, event id, ordinal).
    pub(crate) fn order(&self) -> (i64, [u8; 16], u32) {
        (self.time, self.event, self.ordinal)
    }

    fn earlier_than(&self, other: &Stamp) -> bool {
        (self.index, self.ordinal) < (other.index, other.ordinal)
    }
}

/// A row's value with where it comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamped<T> {
    /// Where it comes from.
    pub(crate) stamp: Stamp,
    /// The value.
    pub(crate) value: T,
}

impl<T: DeserializeOwned> Stamped<T> {
    /// Reads a row's bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Stamped<T>, Error> {
        let (stamp, rest) = split_stamp(bytes)?;
        let value = postcard::from_bytes(rest).map_err(|error| Error::Store(format!("row: {error}")))?;
        Ok(Stamped { stamp, value })
    }
}

/// What a fold may do: read rows of its own view, insert rows. Every insert is hashed into the view root.
///
/// After a crash the store may hold rows of facts that will be folded again. So a fold sees only rows of strictly earlier
/// facts, whatever the store holds, and inserting the same row again changes nothing.
pub struct Rows<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) sink: &'a mut RowSink,
    pub(crate) stamp: Stamp,
    pub(crate) buffer: &'a mut Vec<u8>,
}

impl Rows<'_> {
    /// Inserts a row (postcard, after its stamp). Inserting a key twice with another value is a fault of the fold: end keys
    /// with [`Key::stamp`] where each fact has a row of its own, else use [`Rows::put_first`].
    pub fn put(&mut self, key: Key, value: &impl Serialize) -> Result<(), Error> {
        self.encode(value)?;
        self.sink.insert(key.as_bytes(), self.buffer)
    }

    /// Inserts a row unless an earlier fact did; `true` when it is the first.
    pub fn put_first(&mut self, key: Key, value: &impl Serialize) -> Result<bool, Error> {
        self.encode(value)?;
        self.sink.settle_key(key.as_bytes())?;
        if let Some(there) = self.store.insert_new(key.as_bytes(), self.buffer)? {
            if split_stamp(&there)?.0.earlier_than(&self.stamp) {
                return Ok(false);
            }
            // Left by a crash: this fact, or one after it, is folded again.
            self.store.insert(key.as_bytes(), self.buffer)?;
        }
        self.sink.inserted(key.as_bytes(), self.buffer);
        Ok(true)
    }

    fn encode(&mut self, value: &impl Serialize) -> Result<(), Error> {
        self.buffer.clear();
        let unwritable = |error| Error::Store(format!("row: {error}"));
        let buffer = postcard::to_extend(&self.stamp, std::mem::take(self.buffer)).map_err(unwritable)?;
        *self.buffer = postcard::to_extend(value, buffer).map_err(unwritable)?;
        Ok(())
    }

    /// Removes a row of an earlier fact that is superseded, such as a merged segment, once no reader needs it: this is not
    /// part of the view root.
    pub fn discard(&mut self, key: &Key) -> Result<(), Error> {
        self.sink.settle_key(key.as_bytes())?;
        self.store.remove(key.as_bytes())
    }

    /// Reads a row of an earlier fact.
    pub fn get<T: DeserializeOwned>(&mut self, key: &Key) -> Result<Option<T>, Error> {
        if self.stamp_of(key)?.is_none() {
            return Ok(None);
        }
        self.store.get(key.as_bytes())?.map(|bytes| Ok(Stamped::<T>::decode(&bytes)?.value)).transpose()
    }

    /// Reads rows of earlier facts, `from <= key < to`.
    pub fn scan<T: DeserializeOwned>(&mut self, from: &Key, to: &Key) -> Result<Vec<(Vec<u8>, T)>, Error> {
        self.sink.settle()?;
        let mut rows = Vec::new();
        for (key, bytes) in self.store.scan(from.as_bytes(), to.as_bytes(), false, FOLD_SCAN_ROWS_MAX)? {
            if split_stamp(&bytes)?.0.earlier_than(&self.stamp) {
                rows.push((key, Stamped::<T>::decode(&bytes)?.value));
            }
        }
        Ok(rows)
    }

    /// Reads the last row that begins with `prefix` and is below `to`. The caller's keys must tell by themselves that such
    /// a row is of an earlier step, since stamps are not compared.
    pub(crate) fn last_before<T: DeserializeOwned>(&mut self, prefix: &Key, to: &Key) -> Result<Option<T>, Error> {
        self.sink.settle()?;
        let row = self.store.scan(prefix.as_bytes(), to.as_bytes(), true, 1)?;
        row.first().map(|(_, bytes)| Ok(Stamped::<T>::decode(bytes)?.value)).transpose()
    }

    fn stamp_of(&mut self, key: &Key) -> Result<Option<Stamp>, Error> {
        self.sink.settle_key(key.as_bytes())?;
        let Some(bytes) = self.store.get(key.as_bytes())? else { return Ok(None) };
        Ok(Some(split_stamp(&bytes)?.0).filter(|stamp| stamp.earlier_than(&self.stamp)))
    }
}

/// The stamp of a row's bytes, and its value's bytes.
pub(crate) fn split_stamp(bytes: &[u8]) -> Result<(Stamp, &[u8]), Error> {
    postcard::take_from_bytes::<Stamp>(bytes).map_err(|error| Error::Store(format!("row: {error}")))
}

/// A view: its name and its fold.
pub trait View: Send + Sync {
    /// Name in progress, metrics and streams.
    fn name(&self) -> &'static str;
    /// Called when rows were opened or wiped, before any fold: what a view keeps in memory is made anew from rows below
    /// `next` (the size of each tenant's log that is folded).
    fn opened(&self, store: &dyn Store, next: &dyn Fn(&TenantId) -> u64) -> Result<(), Error> {
        let _ = (store, next);
        Ok(())
    }
    /// Folds an entry, before its facts.
    fn fold_entry(&self, at: &EntryAt<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
        let _ = (at, rows);
        Ok(())
    }
    /// Folds one fact.
    fn fold(&self, at: &FactAt<'_>, rows: &mut Rows<'_>) -> Result<(), Error>;
    /// Folds one tenant's part of a commit, after all its facts. Rows must not depend on how commits are read in steps.
    fn fold_commit(&self, at: &CommitAt<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
        let _ = (at, rows);
        Ok(())
    }
}
