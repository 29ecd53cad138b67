//! Lines of versions: rank, order and derived parents (SPEC §3.1), from rows that say since when they hold. What writes
//! them and what asks them read them the same way.

pub(crate) mod after;
mod blocks;
mod parents;
mod ranks;
pub(crate) mod rows;
#[cfg(test)]
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use pedigraph_proto::TenantId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::rows::{
    FoundBy, InLine, LineId, Membership, Pos, SINCE_BYTES, calls_end_key, member_key, moved_key, of_line, read_pos,
    table,
};
use crate::error::Error;
use crate::rows::Rows;
use crate::rows::stamp::{Stamp, Stamped, split_stamp};
use crate::store::key::{Key, KeyReader};
use crate::store::{Row, Store};

/// Rows that a seek reads at first; when it has to go on past those that are not seen, so many times more each time, up
/// to a limit.
const SEEK_ROWS: usize = 1;
const MORE_ROWS: usize = 4;
const SCAN_ROWS: usize = 64;

/// Which way along a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Goes {
    /// To what was created earlier.
    Down,
    /// To what was created later.
    Up,
}

/// Bytes of keys and of rows.
type Written = BTreeMap<Vec<u8>, Vec<u8>>;
/// The last row of some, with its key.
type Last<T> = Option<(Vec<u8>, Stamped<T>)>;

/// Lines as they are below some (index, ordinal), with what is being written there.
pub(crate) struct Lines<'a> {
    store: &'a dyn Store,
    tenant: &'a TenantId,
    below: (u64, u32),
    /// Of what is being written, with its stamp.
    written: RefCell<Written>,
    stamp: Option<Stamp>,
}

impl<'a> Lines<'a> {
    /// As they are known below an index.
    pub(crate) fn below(store: &'a dyn Store, tenant: &'a TenantId, bound: u64) -> Lines<'a> {
        Lines { store, tenant, below: (bound, 0), written: RefCell::default(), stamp: None }
    }

    /// As they are before a step that writes rows with this stamp, and with those.
    pub(crate) fn written_at(store: &'a dyn Store, tenant: &'a TenantId, stamp: Stamp) -> Lines<'a> {
        let below = (stamp.index, stamp.ordinal);
        Lines { store, tenant, below, written: RefCell::default(), stamp: Some(stamp) }
    }

    /// The rows that were written, to be inserted; of several with one key the last.
    pub(crate) fn insert_into(self, rows: &mut Rows<'_>) -> Result<(), Error> {
        self.written.into_inner().iter().try_for_each(|(key, value)| rows.sink.insert(key, value))
    }

    fn key(&self, line: &LineId, table: u8) -> Key {
        of_line(self.tenant, line, table)
    }

    fn put(&self, key: Key, value: &impl Serialize) -> Result<(), Error> {
        let unwritable = |error| Error::Store(format!("row: {error}"));
        let stamp = self.stamp.ok_or_else(|| Error::Store("lines: a question writes nothing".to_owned()))?;
        let bytes = postcard::to_extend(&stamp, Vec::new()).map_err(unwritable)?;
        let bytes = postcard::to_extend(value, bytes).map_err(unwritable)?;
        self.written.borrow_mut().insert(key.as_bytes().to_vec(), bytes);
        Ok(())
    }

    /// Inserts a row that holds from now on.
    fn put_since(&self, key: Key, value: &impl Serialize) -> Result<(), Error> {
        self.put(key.since(self.below), value)
    }

    /// Visits seen rows of `from <= key < to` until told to stop; `first_rows` are read at first.
    fn each(
        &self,
        (from, to): (&[u8], &[u8]),
        reverse: bool,
        first_rows: usize,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let (mut from, mut to, mut limit) = (from.to_vec(), to.to_vec(), first_rows.max(1));
        loop {
            let stored = self.store.scan(&from, &to, reverse, limit)?;
            let last = stored.last().filter(|_| stored.len() == limit).map(|(key, _)| key.clone());
            for (key, bytes) in self.with_written(stored, (&from, &to), last.as_ref(), reverse)? {
                if visit(&key, &bytes)?.is_break() {
                    return Ok(());
                }
            }
            let Some(last) = last else { return Ok(()) };
            if reverse {
                to = last;
            } else {
                from = [last.as_slice(), &[0]].concat();
            }
            limit = (limit * MORE_ROWS).min(SCAN_ROWS);
        }
    }

    /// Rows of the store that are seen, and what is being written among them, up to the last one that was read.
    fn with_written(
        &self,
        mut stored: Vec<Row>,
        (from, to): (&[u8], &[u8]),
        last: Option<&Vec<u8>>,
        reverse: bool,
    ) -> Result<Vec<Row>, Error> {
        let mut unreadable = None;
        stored.retain(|(_, bytes)| match split_stamp(bytes) {
            Ok((stamp, _)) => (stamp.index, stamp.ordinal) < self.below,
            Err(error) => {
                unreadable = Some(error);
                false
            }
        });
        if let Some(error) = unreadable {
            return Err(error);
        }
        let written = self.written.borrow();
        if written.is_empty() {
            return Ok(stored);
        }
        let range = match (last, reverse) {
            (None, _) => (Bound::Included(from), Bound::Excluded(to)),
            (Some(last), false) => (Bound::Included(from), Bound::Included(last.as_slice())),
            (Some(last), true) => (Bound::Included(last.as_slice()), Bound::Excluded(to)),
        };
        if from < to {
            let of_range = written.range::<[u8], _>(range);
            stored.extend(of_range.map(|(key, bytes)| (key.clone(), bytes.clone())));
        }
        stored.sort_by(|(a, _), (b, _)| if reverse { b.cmp(a) } else { a.cmp(b) });
        Ok(stored)
    }

    /// The last seen row of `from <= key < to`, with its key.
    fn last<T: DeserializeOwned>(&self, from: &Key, to: &Key) -> Result<Last<T>, Error> {
        let last = self.last_row(from, to)?;
        last.map(|(key, bytes)| Ok((key, Stamped::decode(&bytes)?))).transpose()
    }

    /// The same as it is stored.
    fn last_row(&self, from: &Key, to: &Key) -> Result<Option<Row>, Error> {
        let mut found = None;
        self.each((from.as_bytes(), to.as_bytes()), true, SEEK_ROWS, |key, bytes| {
            found = Some((key.to_vec(), bytes.to_vec()));
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// The newest seen row of what keys that go on with since say.
    fn newest<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, Error> {
        Ok(self.last(key, &self.end_of(key))?.map(|(_, row)| row.value))
    }

    /// Visits the newest seen row of each thing whose keys, without since, lie in `from <= key < to`.
    fn each_newest(
        &self,
        (from, to): (&Key, &Key),
        reverse: bool,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let mut at_hand: Option<(Vec<u8>, Vec<u8>)> = None;
        let mut ended = false;
        self.each((from.as_bytes(), to.as_bytes()), reverse, 2, |key, bytes| {
            let (thing, _) = key.split_at(key.len().saturating_sub(SINCE_BYTES));
            if let Some((known, newest)) = at_hand.as_mut()
                && known.as_slice() == thing
            {
                if !reverse {
                    *newest = bytes.to_vec();
                }
                return Ok(ControlFlow::Continue(()));
            }
            let before = at_hand.replace((thing.to_vec(), bytes.to_vec()));
            // Backwards the first row of a thing is its newest one.
            let known = if reverse { at_hand.clone() } else { before };
            let Some((thing, newest)) = known else { return Ok(ControlFlow::Continue(())) };
            let flow = visit(&thing, &newest)?;
            ended = flow.is_break();
            Ok(flow)
        })?;
        if let Some((thing, newest)) = at_hand.filter(|_| !reverse && !ended) {
            let _ended = visit(&thing, &newest)?;
        }
        Ok(())
    }

    /// What an artifact is a version of.
    pub(crate) fn membership(&self, digest: &str) -> Result<Option<Membership>, Error> {
        self.newest(&member_key(self.tenant, digest))
    }

    /// Where the rows of tags end that count of a digest; `None` while all do.
    pub(crate) fn calls_end(&self, digest: &str) -> Result<Option<Vec<u8>>, Error> {
        self.newest(&calls_end_key(self.tenant, digest))
    }

    /// They end elsewhere.
    pub(crate) fn put_calls_end(&self, digest: &str, end: &[u8]) -> Result<(), Error> {
        self.put_since(calls_end_key(self.tenant, digest), &end)
    }

    /// The end of what is known of a thing. What is being written has the very bound as its since.
    fn end_of(&self, key: &Key) -> Key {
        key.clone().since((self.below.0, self.below.1.saturating_add(1)))
    }

    /// The derived parent of a version.
    pub(crate) fn parent(&self, line: &LineId, child: &str) -> Result<Option<(String, FoundBy)>, Error> {
        Ok(self.newest::<Option<(String, FoundBy)>>(&self.key(line, table::PARENT).text(child))?.flatten())
    }

    /// Notes, once, that the entry gives a version another derived parent.
    fn note_moved(&self, child: &str) -> Result<(), Error> {
        let key = moved_key(self.tenant, self.below.0).text(child);
        if let Some(row) = self.store.get(key.as_bytes())? {
            let stamp = split_stamp(&row)?.0;
            if (stamp.index, stamp.ordinal) < self.below {
                return Ok(());
            }
        }
        self.put(key, &())
    }

    /// Versions to which an entry gave another derived parent, after one of them, at most `limit`.
    pub(crate) fn moved_in(&self, index: u64, after: &str, limit: usize) -> Result<Vec<String>, Error> {
        let prefix = moved_key(self.tenant, index);
        let (from, end) = (prefix.after_text(after), prefix.prefix_end());
        let rows = self.store.scan(from.as_bytes(), end.as_bytes(), false, limit)?;
        let unreadable = || Error::Store("lines: a key cannot be read".to_owned());
        rows.iter().map(|(key, _)| KeyReader::after(key, &prefix).text().ok_or_else(unreadable)).collect()
    }

    /// Whether an entry gave a version another derived parent.
    pub(crate) fn is_moved_in(&self, index: u64, digest: &str) -> Result<bool, Error> {
        Ok(self.store.get(moved_key(self.tenant, index).text(digest).as_bytes())?.is_some())
    }

    /// Versions whose derived parent is this one, after one of them, at most `limit`.
    pub(crate) fn children(
        &self,
        line: &LineId,
        parent: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let prefix = self.key(line, table::CHILD).text(parent);
        let mut children = Vec::new();
        self.each_newest((&prefix.after_text(after), &prefix.prefix_end()), false, |key, bytes| {
            if children.len() == limit {
                return Ok(ControlFlow::Break(()));
            }
            let digest = KeyReader::after(key, &prefix).text();
            if Stamped::<bool>::decode(bytes)?.value {
                children.extend(digest);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(children)
    }

    /// Visits the versions of a line before or after a place, the nearest first.
    pub(crate) fn each_place(
        &self,
        line: &LineId,
        from: &Pos,
        way: Goes,
        mut visit: impl FnMut(Pos) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let prefix = self.key(line, table::PLACE);
        let here = prefix.clone().pos(from);
        let (range, reverse) = match way {
            Goes::Down => ((prefix.clone(), here), true),
            Goes::Up => ((here.prefix_end(), prefix.prefix_end()), false),
        };
        self.each_newest((&range.0, &range.1), reverse, |key, bytes| {
            let mut reader = KeyReader::after(key, &prefix);
            match (read_pos(&mut reader), Stamped::<rows::Place>::decode(bytes)?.value.there) {
                (Some(pos), true) => visit(pos),
                (Some(_) | None, _) => Ok(ControlFlow::Continue(())),
            }
        })
    }
}
