//! A kept list: lanes in which something runs that nobody has described, as of any index, and how much. Changes have
//! running numbers, and the whole list is written again where it has changed by a part of its length: so it is read
//! from a few rows more than it is long, however often lanes came and left.

pub(crate) mod rows;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use pedigraph_proto::TenantId;
use serde::de::DeserializeOwned;

use self::rows::{Bare, Change, Copied, Head, change_key, copy_key, head_key, lane_key};
use super::newest_below;
use crate::error::Error;
use crate::rows::Rows;
use crate::rows::stamp::Stamped;
use crate::store::Store;
use crate::store::key::Key;

/// Lanes in one row of a whole list.
const LANES_A_ROW: usize = 64;
/// Rows that are read at once.
const ROWS_AT_ONCE: usize = 16;
/// The whole list is written again after so many changes at least, and after this part of its length.
const CHANGES_MIN: u64 = 32;
const PART: u64 = 8;

/// The list as it is below some (index, ordinal).
pub(crate) struct Undescribed<'a> {
    store: &'a dyn Store,
    tenant: &'a TenantId,
    below: (u64, u32),
}

impl<'a> Undescribed<'a> {
    /// As it is known below an index.
    pub(crate) fn below(store: &'a dyn Store, tenant: &'a TenantId, bound: u64) -> Undescribed<'a> {
        Undescribed { store, tenant, below: (bound, 0) }
    }

    fn newest<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, Error> {
        Ok(newest_below(self.store, key, self.below)?.map(|row| row.value))
    }

    /// Writes what runs in a lane that nobody has described, if that was another before.
    pub(crate) fn write(rows: &mut Rows<'_>, tenant: &TenantId, lane: &[u8], bare: Bare) -> Result<(), Error> {
        let stamp = rows.stamp;
        let list = Undescribed { store: rows.store, tenant, below: (stamp.index, stamp.ordinal) };
        let key = lane_key(tenant, lane);
        let before = list.newest::<Bare>(&key)?.unwrap_or_default();
        if before == bare {
            return Ok(());
        }
        let mut head = list.newest::<Head>(&head_key(tenant))?.unwrap_or_default();
        head.changes += 1;
        head.lanes = (head.lanes + u64::from(bare.is_any())).saturating_sub(u64::from(before.is_any()));
        let change = Change { lane: lane.to_vec(), bare };
        if head.changes - head.copied >= CHANGES_MIN.max(head.lanes / PART) {
            list.copy(rows, head.changes, &change)?;
            head.copied = head.changes;
        }
        rows.put(change_key(tenant).number(head.changes), &change)?;
        rows.put(key.since(list.below), &bare)?;
        rows.put(head_key(tenant).since(list.below), &head)
    }

    /// Writes the whole list, with one more change.
    fn copy(&self, rows: &mut Rows<'_>, changes: u64, change: &Change) -> Result<(), Error> {
        let mut lanes = Vec::new();
        self.each_changed((&[], None), Some(change), |lane, bare| {
            lanes.push((lane.to_vec(), bare));
            Ok(ControlFlow::Continue(()))
        })?;
        for lanes in lanes.chunks(LANES_A_ROW) {
            let Some((first, _)) = lanes.first() else { continue };
            rows.put(copy_key(self.tenant, changes).bytes(first), &Copied { lanes: lanes.to_vec() })?;
        }
        Ok(())
    }

    /// Visits the lanes from a place on that begin like this, in the order of their keys.
    pub(crate) fn each(
        &self,
        from: &[u8],
        begins: &[u8],
        visit: impl FnMut(&[u8], Bare) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let end = (!begins.is_empty()).then(|| Key::from_bytes(begins).prefix_end());
        self.each_changed((from.max(begins), end.as_ref().map(Key::as_bytes)), None, visit)
    }

    /// As [`Undescribed::each`], up to an end, with one more change.
    fn each_changed(
        &self,
        (from, end): (&[u8], Option<&[u8]>),
        one_more: Option<&Change>,
        mut visit: impl FnMut(&[u8], Bare) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let head = self.newest::<Head>(&head_key(self.tenant))?.unwrap_or_default();
        let mut changed = self.changed(&head)?;
        changed.extend(one_more.map(|change| (change.lane.clone(), change.bare)));
        let is_asked = |lane: &[u8]| lane >= from && end.is_none_or(|end| lane < end);
        let mut pending = changed.iter().filter(|(lane, _)| is_asked(lane)).peekable();
        let mut ended = false;
        self.each_copied(&head, from, |lane, bare| {
            if end.is_some_and(|end| lane >= end) {
                return Ok(ControlFlow::Break(()));
            }
            while let Some((before, bare)) = pending.next_if(|(next, _)| next.as_slice() < lane) {
                ended = ended || (bare.is_any() && visit(before, *bare)?.is_break());
            }
            if !ended && is_asked(lane) && !changed.contains_key(lane) {
                ended = visit(lane, bare)?.is_break();
            }
            Ok(if ended { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        for (lane, bare) in pending {
            ended = ended || (bare.is_any() && visit(lane, *bare)?.is_break());
        }
        Ok(())
    }

    /// What changed since the whole list was written last.
    fn changed(&self, head: &Head) -> Result<BTreeMap<Vec<u8>, Bare>, Error> {
        let prefix = change_key(self.tenant);
        let (from, to) = (prefix.clone().number(head.copied + 1), prefix.number(head.changes + 1));
        let limit = usize::try_from(head.changes - head.copied).unwrap_or(usize::MAX);
        let rows = self.store.scan(from.as_bytes(), to.as_bytes(), false, limit)?;
        let changes = rows.iter().map(|(_, bytes)| {
            let change = Stamped::<Change>::decode(bytes)?.value;
            Ok((change.lane, change.bare))
        });
        changes.collect()
    }

    /// Visits what was written last as the whole list, from the row on that may hold a place.
    fn each_copied(
        &self,
        head: &Head,
        from: &[u8],
        mut visit: impl FnMut(&[u8], Bare) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let prefix = copy_key(self.tenant, head.copied);
        let here = prefix.clone().bytes(from).byte(0);
        let before = self.store.scan(prefix.as_bytes(), here.as_bytes(), true, 1)?.pop();
        let mut from = before.map_or_else(|| prefix.as_bytes().to_vec(), |(key, _)| key);
        let end = prefix.prefix_end();
        loop {
            let page = self.store.scan(&from, end.as_bytes(), false, ROWS_AT_ONCE)?;
            for (_, bytes) in &page {
                for (lane, bare) in Stamped::<Copied>::decode(bytes)?.value.lanes {
                    if visit(&lane, bare)?.is_break() {
                        return Ok(());
                    }
                }
            }
            match page.last().filter(|_| page.len() == ROWS_AT_ONCE) {
                Some((last, _)) => from = [last.as_slice(), &[0]].concat(),
                None => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::rows::root::RootState;
    use crate::rows::sink::RowSink;
    use crate::rows::stamp::Stamp;
    use crate::store::{Budget, MemStore, Meter, Metered};

    type List = BTreeMap<Vec<u8>, Bare>;

    fn write(store: &Arc<MemStore>, index: u64, lane: &[u8], bare: Bare) {
        let stamp = Stamp { index, ordinal: 1, time: 0 };
        let mut sink = RowSink::at_once(store.clone(), RootState::default());
        let mut rows = Rows { store: store.as_ref(), sink: &mut sink, stamp, buffer: &mut Vec::new() };
        Undescribed::write(&mut rows, &TenantId::default(), lane, bare).expect("in memory");
    }

    /// The list, and the rows that were read for it.
    fn read(store: &Arc<MemStore>, bound: u64, from: &[u8], begins: &[u8]) -> (List, u64) {
        let meter = Arc::new(Meter::new(Budget::NONE));
        let metered = Metered { store: store.clone(), meter: meter.clone() };
        let (mut found, mut last) = (List::new(), Vec::new());
        let tenant = TenantId::default();
        let list = Undescribed::below(&metered, &tenant, bound);
        let visited = list.each(from, begins, |lane, bare| {
            assert!(found.is_empty() || last.as_slice() < lane, "in order, each once");
            last = lane.to_vec();
            found.insert(lane.to_vec(), bare);
            Ok(ControlFlow::Continue(()))
        });
        visited.expect("in memory");
        (found, meter.rows())
    }

    /// Numbers that look random, from a seed.
    fn next(state: &mut u64, below: u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % below
    }

    fn lane(n: u64) -> Vec<u8> {
        Key::from_bytes(&[]).text(&format!("env {}", n % 3)).text(&n.to_string()).as_bytes().to_vec()
    }

    #[test]
    fn the_list_is_that_of_a_map_as_of_any_index_from_any_place() {
        for seed in 0..20 {
            let (mut state, store, mut list) = (seed, Arc::default(), List::new());
            let mut history = vec![list.clone()];
            for index in 0..(50 + seed * 30) {
                let lane = lane(next(&mut state, 20 + seed * 10));
                let wholly = u32::try_from(next(&mut state, 3)).expect("small");
                let bare = Bare { wholly, partly: 0 };
                write(&store, index, &lane, bare);
                if bare.is_any() {
                    list.insert(lane, bare)
                } else {
                    list.remove(&lane)
                };
                history.push(list.clone());
            }
            for _ in 0..50 {
                let bound = usize::try_from(next(&mut state, history.len() as u64)).expect("small");
                let from = if next(&mut state, 2) == 0 { vec![] } else { lane(next(&mut state, 30)) };
                let begins = match next(&mut state, 4) {
                    3 => vec![],
                    n => Key::from_bytes(&[]).text(&format!("env {n}")).as_bytes().to_vec(),
                };
                let mut want = history[bound].clone();
                want.retain(|lane, _| *lane >= from && lane.starts_with(&begins));
                assert_eq!(read(&store, bound as u64, &from, &begins).0, want, "seed {seed} below {bound}");
            }
        }
    }

    #[test]
    fn it_is_read_from_little_more_rows_than_a_part_of_its_length() {
        let (store, bare) = (Arc::default(), Bare { wholly: 1, partly: 0 });
        let mut index = 0;
        let mut write = |n: u64, bare: Bare| {
            write(&store, index, &lane(n), bare);
            index += 1;
            index
        };
        let full = (0..2_000).map(|n| write(n, bare)).max().expect("some");
        let gone = (0..1_999).map(|n| write(n, Bare::default())).max().expect("some");
        for (bound, len) in [(full, 2_000), (gone, 1)] {
            let (found, rows) = read(&store, bound, &[], &[]);
            assert_eq!(found.len(), len);
            assert!(rows <= 48 + len as u64 / 6, "{rows} rows for {len}");
        }
        assert!(read(&store, full, &lane(7), &lane(7)).1 <= 300);
    }
}
