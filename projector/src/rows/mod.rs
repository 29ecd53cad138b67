//! What a fold writes: rows with their stamps, inserted on a thread of its own and hashed into the view root.

pub(crate) mod encoded;
pub(crate) mod inserter;
pub(crate) mod root;
pub(crate) mod sink;
pub(crate) mod stamp;
pub(crate) mod text;
pub(crate) mod told;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::sink::RowSink;
use self::stamp::{Stamp, Stamped, split_stamp};
use crate::error::Error;
use crate::store::Store;
use crate::store::key::Key;

/// Rows that are read at once to pass over what a crash left.
const NEAREST_PAGE_ROWS: usize = 64;

/// A head row as a fold finds it.
pub(crate) enum Found<T> {
    /// There is none.
    Nothing,
    /// As earlier facts left it.
    Known(T),
    /// As this fact or a later one left it before a crash: what it said before is to be sought.
    Later,
}

/// What a fold may do: read rows of its own view, insert rows. Every insert is hashed into the view root.
///
/// After a crash the store may hold rows of facts that will be folded again. So a fold sees only rows of strictly
/// earlier facts, whatever the store holds, and inserting the same row again changes nothing.
pub(crate) struct Rows<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) sink: &'a mut RowSink,
    pub(crate) stamp: Stamp,
    pub(crate) buffer: &'a mut Vec<u8>,
}

impl Rows<'_> {
    /// Inserts a row (postcard, after its stamp). Inserting a key twice with another value is a fault of the fold: end
    /// keys with [`Key::stamp`] where each fact has a row of its own, else use [`Rows::put_first`].
    pub(crate) fn put(&mut self, key: Key, value: &impl Serialize) -> Result<(), Error> {
        self.encode(value)?;
        self.sink.insert(key.as_bytes(), self.buffer)
    }

    /// Inserts a row unless an earlier fact did; `true` when it is the first.
    pub(crate) fn put_first(&mut self, key: Key, value: &impl Serialize) -> Result<bool, Error> {
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

    /// Counts rows that a limit leaves out.
    pub(crate) fn cut(&mut self, rows: usize) {
        self.sink.cut(rows as u64);
    }

    /// As [`Rows::put`], where the rows of a group are read again by [`Rows::nearest`].
    pub(crate) fn put_in(&mut self, group: &Key, key: Key, value: &impl Serialize) -> Result<(), Error> {
        self.put(key, value)?;
        self.sink.note_group(group.as_bytes());
        Ok(())
    }

    /// Visits all rows of a group of earlier facts, in order, as [`Rows::nearest`] finds them.
    pub(crate) fn each_in<T: DeserializeOwned>(
        &mut self,
        group: &Key,
        mut visit: impl FnMut(&mut Self, T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (mut next, end) = (group.clone(), group.prefix_end());
        while let Some((key, row)) = self.nearest(group, &next, &end, false)? {
            next = Key::from_bytes(&key).byte(0);
            visit(self, row)?;
        }
        Ok(())
    }

    /// The first row of an earlier fact in `from <= key < to`, or the last when `reverse`, with its key. Rows there
    /// were put by [`Rows::put_in`] of the group; those of later facts, which a crash may have left, are passed over.
    pub(crate) fn nearest<T: DeserializeOwned>(
        &mut self,
        group: &Key,
        from: &Key,
        to: &Key,
        reverse: bool,
    ) -> Result<Option<(Vec<u8>, T)>, Error> {
        self.sink.settle_key(group.as_bytes())?;
        let (mut from, mut to, mut page_rows) = (from.as_bytes().to_vec(), to.as_bytes().to_vec(), 1);
        loop {
            let page = self.store.scan(&from, &to, reverse, page_rows)?;
            for (key, bytes) in &page {
                if split_stamp(bytes)?.0.earlier_than(&self.stamp) {
                    return Ok(Some((key.clone(), Stamped::<T>::decode(bytes)?.value)));
                }
            }
            let Some((last, _)) = page.last().filter(|_| page.len() == page_rows) else { return Ok(None) };
            if reverse {
                to.clone_from(last);
            } else {
                from = [last.as_slice(), &[0]].concat();
            }
            page_rows = NEAREST_PAGE_ROWS;
        }
    }

    /// At most `limit` keys of earlier facts' rows in `from <= key < to`, which were put by [`Rows::put_in`] of the group.
    pub(crate) fn earlier(&mut self, group: &Key, from: &Key, to: &Key, limit: usize) -> Result<Vec<Vec<u8>>, Error> {
        self.sink.settle_key(group.as_bytes())?;
        let (mut from, mut found, mut page_rows) = (from.as_bytes().to_vec(), Vec::new(), 1);
        loop {
            let page = self.store.scan(&from, to.as_bytes(), false, page_rows)?;
            for (key, bytes) in &page {
                if found.len() < limit && split_stamp(bytes)?.0.earlier_than(&self.stamp) {
                    found.push(key.clone());
                }
            }
            let last = page.last().filter(|_| page.len() == page_rows && found.len() < limit);
            let Some((last, _)) = last else { return Ok(found) };
            from = [last.as_slice(), &[0]].concat();
            page_rows = NEAREST_PAGE_ROWS;
        }
    }

    /// Writes a head row: what was there is gone, and it is in no root, since what it says follows from other rows. It is
    /// read by [`Rows::head`] before, which waits for the one before it.
    pub(crate) fn put_head(&mut self, key: &Key, value: &impl Serialize) -> Result<(), Error> {
        self.encode(value)?;
        self.sink.write_over(key.as_bytes(), self.buffer)
    }

    /// Reads a head row.
    pub(crate) fn head<T: DeserializeOwned>(&mut self, key: &Key) -> Result<Found<T>, Error> {
        self.sink.settle_key(key.as_bytes())?;
        let Some(bytes) = self.store.get(key.as_bytes())? else { return Ok(Found::Nothing) };
        if split_stamp(&bytes)?.0.earlier_than(&self.stamp) {
            return Ok(Found::Known(Stamped::<T>::decode(&bytes)?.value));
        }
        Ok(Found::Later)
    }

    fn encode(&mut self, value: &impl Serialize) -> Result<(), Error> {
        self.buffer.clear();
        let unwritable = |error| Error::Store(format!("row: {error}"));
        let buffer = postcard::to_extend(&self.stamp, std::mem::take(self.buffer)).map_err(unwritable)?;
        *self.buffer = postcard::to_extend(value, buffer).map_err(unwritable)?;
        Ok(())
    }

    /// Reads a row of an earlier fact.
    pub(crate) fn get<T: DeserializeOwned>(&mut self, key: &Key) -> Result<Option<T>, Error> {
        Ok(self.stamped(key)?.map(|row| row.value))
    }

    /// As [`Rows::get`], with where the row comes from.
    pub(crate) fn stamped<T: DeserializeOwned>(&mut self, key: &Key) -> Result<Option<Stamped<T>>, Error> {
        if self.stamp_of(key)?.is_none() {
            return Ok(None);
        }
        self.store.get(key.as_bytes())?.map(|bytes| Stamped::<T>::decode(&bytes)).transpose()
    }

    /// Reads the last row that begins with `prefix` and is below `to`. The caller's keys must tell by themselves that
    /// such a row is of an earlier step, since stamps are not compared.
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
