//! Which sets contain a component: a buffer in memory, and packed, immutable segments made of it (notes on layout L4p).
//!
//! Postings are derived from page rows and are no part of the view root: where they are cut does not matter. A crash
//! leaves segments that nothing names, or that cover pages above the progress; opening drops those and buffers their
//! pages again. The manifest row is written after its segments and before merged ones are removed, which happens a
//! merge later, so that a reader who began before finds what it saw.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pedigraph_proto::TenantId;
use serde::{Deserialize, Serialize};

use super::rows::table;
use crate::error::Error;
use crate::store::Store;
use crate::store::key::Key;

/// Pages in the buffer before it becomes a segment.
pub(crate) const BUFFER_PAGES_MAX: u32 = 1_000;
/// Postings in the buffer before it becomes a segment, for large sets.
const BUFFER_POSTINGS_MAX: usize = 1_000_000;
/// Segments of one tier that become one of the next.
const FAN_OUT: usize = 8;
/// Segments of this tier are not merged further, so that no merge is long.
const TIER_MAX: u32 = 2;
/// A packed row ends when it is this long, bytes.
const ROW_BYTES: usize = 4_096;
/// Rows that a merge reads of a segment at once.
const MERGE_ROWS: usize = 64;

const MANIFEST: u8 = b'f';
const SEGMENTS: u8 = b'g';

/// A segment as the manifest names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Segment {
    number: u64,
    tier: u32,
    /// The first page that it does not cover.
    end_page: u32,
}

/// The postings of one tenant.
#[derive(Clone, Default, Debug)]
pub(crate) struct Postings {
    segments: Vec<Segment>,
    /// Replaced by a merged one, still there for readers that began before.
    retired: Vec<Segment>,
    next_segment: u64,
    buffer: HashMap<u32, Vec<u32>>,
    buffered: usize,
    /// The first page that is in no segment.
    sealed_page: u32,
    next_page: u32,
    merges: u64,
}

/// What a reader takes along: the buffer's answer, and the segments to look into.
pub(crate) struct Snapshot {
    found: BTreeSet<u32>,
    segments: Vec<Segment>,
    merges: u64,
}

impl Postings {
    /// Reads the manifest, drops what lies above `pages` (the number of pages that are folded) or is not named.
    pub(crate) fn open(tenant: &TenantId, store: &dyn Store, pages: u32) -> Result<Postings, Error> {
        let named: Vec<Segment> = match store.get(manifest(tenant).as_bytes())? {
            Some(bytes) => postcard::from_bytes(&bytes).map_err(|error| Error::Store(format!("manifest: {error}")))?,
            None => vec![],
        };
        let segments: Vec<Segment> = named.into_iter().take_while(|segment| segment.end_page <= pages).collect();
        let numbers: BTreeSet<u64> = segments.iter().map(|segment| segment.number).collect();
        let (mut from, end) = (table(tenant, SEGMENTS), table(tenant, SEGMENTS).prefix_end());
        let mut next_segment = 0;
        while let Some((key, _)) = store.scan(from.as_bytes(), end.as_bytes(), false, 1)?.pop() {
            let number = row_key(&key)?.0;
            from = table(tenant, SEGMENTS).number(number).prefix_end();
            next_segment = next_segment.max(number + 1);
            if !numbers.contains(&number) {
                remove(tenant, store, number)?;
            }
        }
        let sealed_page = segments.last().map_or(0, |segment| segment.end_page);
        let postings = Postings { segments, next_segment, sealed_page, next_page: sealed_page, ..Postings::default() };
        postings.write_manifest(tenant, store)?;
        Ok(postings)
    }

    /// The first page that must be buffered again after opening.
    pub(crate) fn sealed_page(&self) -> u32 {
        self.sealed_page
    }

    /// Adds a page's components; writes a segment when the buffer is full.
    pub(crate) fn add(
        &mut self,
        tenant: &TenantId,
        store: &dyn Store,
        page: u32,
        set: u32,
        components: &[u32],
    ) -> Result<(), Error> {
        for component in components {
            let sets = self.buffer.entry(*component).or_default();
            if sets.last() != Some(&set) {
                sets.push(set);
            }
        }
        self.buffered += components.len();
        self.next_page = page + 1;
        if self.next_page - self.sealed_page < BUFFER_PAGES_MAX && self.buffered < BUFFER_POSTINGS_MAX {
            return Ok(());
        }
        self.seal(tenant, store)
    }

    fn seal(&mut self, tenant: &TenantId, store: &dyn Store) -> Result<(), Error> {
        let segment = Segment { number: self.next_segment, tier: 0, end_page: self.next_page };
        let sorted: BTreeMap<u32, &Vec<u32>> = self.buffer.iter().map(|(component, sets)| (*component, sets)).collect();
        let mut writer = SegmentWriter::new(tenant, store, segment.number);
        for (component, sets) in sorted {
            writer.add(component, sets.clone())?;
        }
        writer.finish()?;
        self.next_segment += 1;
        self.segments.push(segment);
        self.write_manifest(tenant, store)?;
        self.buffer.clear();
        self.buffered = 0;
        self.sealed_page = self.next_page;
        self.merge(tenant, store)
    }

    /// Merges the newest segments of one tier when there are enough of them, then those of the next.
    fn merge(&mut self, tenant: &TenantId, store: &dyn Store) -> Result<(), Error> {
        for tier in 0..TIER_MAX {
            let of_tier = self.segments.iter().rev().take_while(|segment| segment.tier == tier).count();
            if of_tier < FAN_OUT {
                return Ok(());
            }
            for segment in std::mem::take(&mut self.retired) {
                remove(tenant, store, segment.number)?;
            }
            let merged = self.segments.split_off(self.segments.len() - FAN_OUT);
            let number = self.next_segment;
            merge_into(tenant, store, &merged, number)?;
            self.next_segment += 1;
            self.segments.push(Segment { number, tier: tier + 1, end_page: self.sealed_page });
            self.write_manifest(tenant, store)?;
            self.retired = merged;
            self.merges += 1;
        }
        Ok(())
    }

    fn write_manifest(&self, tenant: &TenantId, store: &dyn Store) -> Result<(), Error> {
        let value = postcard::to_stdvec(&self.segments).map_err(|error| Error::Store(format!("manifest: {error}")))?;
        store.insert(manifest(tenant).as_bytes(), &value)
    }

    /// The buffer's sets of some components, and the segments as they are.
    pub(crate) fn snapshot(&self, components: &[u32]) -> Snapshot {
        let sets = components.iter().filter_map(|component| self.buffer.get(component)).flatten();
        Snapshot { found: sets.copied().collect(), segments: self.segments.clone(), merges: self.merges }
    }

    /// Are the segments of a snapshot still all there?
    pub(crate) fn still_has(&self, snapshot: &Snapshot) -> bool {
        self.merges <= snapshot.merges + 1
    }
}

impl Snapshot {
    /// At least all sets that contain one of the components (ascending), at most `limit` of them and a few more.
    pub(crate) fn sets(
        &self,
        tenant: &TenantId,
        store: &dyn Store,
        components: &[u32],
        limit: usize,
    ) -> Result<BTreeSet<u32>, Error> {
        let mut found = self.found.clone();
        for segment in &self.segments {
            for component in components {
                if found.len() > limit {
                    return Ok(found);
                }
                segment_sets(tenant, store, segment.number, *component, &mut found)?;
            }
        }
        Ok(found)
    }
}

/// A component's rows of a segment: the last row that begins at or before it, and those after it that begin with it.
fn segment_sets(
    tenant: &TenantId,
    store: &dyn Store,
    number: u64,
    component: u32,
    found: &mut BTreeSet<u32>,
) -> Result<(), Error> {
    let segment = table(tenant, SEGMENTS).number(number);
    let here = segment.clone().number(u64::from(component));
    let before = store.scan(segment.as_bytes(), here.as_bytes(), true, 1)?;
    let mut from = here.clone();
    for (_, row) in before {
        take(&row, component, found)?;
    }
    loop {
        let rows = store.scan(from.as_bytes(), here.prefix_end().as_bytes(), false, MERGE_ROWS)?;
        for (_, row) in &rows {
            take(row, component, found)?;
        }
        match rows.last() {
            Some((key, _)) if rows.len() == MERGE_ROWS => {
                let (_, component, part) = row_key(key)?;
                from = segment.clone().number(component).number(part + 1);
            }
            _ => return Ok(()),
        }
    }
}

fn take(row: &[u8], component: u32, found: &mut BTreeSet<u32>) -> Result<(), Error> {
    for (here, sets) in unpack(row)? {
        if here == component {
            found.extend(sets);
        }
    }
    Ok(())
}

fn manifest(tenant: &TenantId) -> Key {
    table(tenant, MANIFEST)
}

/// (segment, first component, part) of a packed row's key.
fn row_key(key: &[u8]) -> Result<(u64, u64, u64), Error> {
    let read = || {
        let mut reader = crate::store::key::KeyReader::after_view(key)?;
        reader.byte()?;
        Some((reader.number()?, reader.number()?, reader.number()?))
    };
    read().ok_or_else(|| Error::Store("components: a segment's key cannot be read".to_owned()))
}

fn remove(tenant: &TenantId, store: &dyn Store, number: u64) -> Result<(), Error> {
    let segment = table(tenant, SEGMENTS).number(number);
    loop {
        let rows = store.scan(segment.as_bytes(), segment.prefix_end().as_bytes(), false, MERGE_ROWS)?;
        for (key, _) in &rows {
            store.remove(key)?;
        }
        if rows.len() < MERGE_ROWS {
            return Ok(());
        }
    }
}

/// Packs components in ascending order into rows of about [`ROW_BYTES`]; a long list goes on in further rows.
struct SegmentWriter<'a> {
    store: &'a dyn Store,
    segment: Key,
    row: Vec<u8>,
    /// First component and part of the row at hand.
    begins: (u32, u64),
    last: u32,
    parts: u64,
}

impl<'a> SegmentWriter<'a> {
    fn new(tenant: &TenantId, store: &'a dyn Store, number: u64) -> SegmentWriter<'a> {
        let segment = table(tenant, SEGMENTS).number(number);
        SegmentWriter { store, segment, row: Vec::new(), begins: (0, 0), last: 0, parts: 0 }
    }

    fn add(&mut self, component: u32, mut sets: Vec<u32>) -> Result<(), Error> {
        sets.sort_unstable();
        sets.dedup();
        self.parts = 0;
        for sets in sets.chunks(ROW_BYTES / 4) {
            if self.row.len() >= ROW_BYTES || (self.parts > 0 && !self.row.is_empty()) {
                self.finish()?;
            }
            if self.row.is_empty() {
                self.begins = (component, self.parts);
                self.last = 0;
            }
            pack(&mut self.row, component - self.last, sets);
            self.last = component;
            self.parts += 1;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        if self.row.is_empty() {
            return Ok(());
        }
        let key = self.segment.clone().number(u64::from(self.begins.0)).number(self.begins.1);
        self.store.insert(key.as_bytes(), &self.row)?;
        self.row.clear();
        Ok(())
    }
}

fn merge_into(tenant: &TenantId, store: &dyn Store, segments: &[Segment], number: u64) -> Result<(), Error> {
    let mut writer = SegmentWriter::new(tenant, store, number);
    let mut readers: Vec<SegmentReader<'_>> =
        segments.iter().map(|segment| SegmentReader::new(tenant, store, segment.number)).collect::<Result<_, _>>()?;
    while let Some(component) = readers.iter().filter_map(SegmentReader::component).min() {
        let mut sets = Vec::new();
        for reader in &mut readers {
            while reader.component() == Some(component) {
                sets.extend(reader.pop()?);
            }
        }
        writer.add(component, sets)?;
    }
    writer.finish()
}

/// Reads a segment's components in order.
struct SegmentReader<'a> {
    store: &'a dyn Store,
    from: Vec<u8>,
    end: Key,
    /// Read and not yet taken, last first.
    waiting: Vec<(u32, Vec<u32>)>,
}

impl<'a> SegmentReader<'a> {
    fn new(tenant: &TenantId, store: &'a dyn Store, number: u64) -> Result<SegmentReader<'a>, Error> {
        let segment = table(tenant, SEGMENTS).number(number);
        let from = segment.as_bytes().to_vec();
        let mut reader = SegmentReader { store, from, end: segment.prefix_end(), waiting: vec![] };
        reader.fill()?;
        Ok(reader)
    }

    fn component(&self) -> Option<u32> {
        self.waiting.last().map(|(component, _)| *component)
    }

    fn pop(&mut self) -> Result<Vec<u32>, Error> {
        let sets = self.waiting.pop().map(|(_, sets)| sets).unwrap_or_default();
        if self.waiting.is_empty() {
            self.fill()?;
        }
        Ok(sets)
    }

    fn fill(&mut self) -> Result<(), Error> {
        let rows = self.store.scan(&self.from, self.end.as_bytes(), false, MERGE_ROWS)?;
        for (_, row) in &rows {
            self.waiting.extend(unpack(row)?);
        }
        self.waiting.reverse();
        if let Some((last, _)) = rows.last() {
            self.from = [last.as_slice(), &[0]].concat();
        }
        Ok(())
    }
}

/// Appends: component minus the one before, number of sets, the first set, differences.
fn pack(row: &mut Vec<u8>, component: u32, sets: &[u32]) {
    varint(row, component);
    varint(row, u32::try_from(sets.len()).unwrap_or(u32::MAX));
    let mut before = 0;
    for set in sets {
        varint(row, set - before);
        before = *set;
    }
}

fn unpack(mut row: &[u8]) -> Result<Vec<(u32, Vec<u32>)>, Error> {
    let short = || Error::Store("components: a packed row cannot be read".to_owned());
    let (mut all, mut component) = (Vec::new(), 0_u32);
    while !row.is_empty() {
        component = component.checked_add(read_varint(&mut row).ok_or_else(short)?).ok_or_else(short)?;
        let count = read_varint(&mut row).ok_or_else(short)?;
        let (mut sets, mut set) = (Vec::new(), 0_u32);
        for _ in 0..count {
            set = set.checked_add(read_varint(&mut row).ok_or_else(short)?).ok_or_else(short)?;
            sets.push(set);
        }
        all.push((component, sets));
    }
    Ok(all)
}

fn varint(bytes: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}

fn read_varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0_u32;
    for shift in (0..35).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::MemStore;

    #[test]
    fn hostile_rows_are_errors() {
        assert!(unpack(&[0x80]).is_err());
        assert!(unpack(&[1, 2, 3]).is_err());
        assert!(unpack(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(unpack(&[1, 0xff, 0xff, 0xff, 0xff, 0x0f]).is_err());
    }

    fn check(pages: &[Vec<u32>], open_at: usize) {
        let (tenant, store) = (TenantId::default(), MemStore::default());
        let mut postings = Postings::open(&tenant, &store, 0).expect("empty");
        let mut model: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for (page, components) in (0..).zip(pages) {
            let at = usize::try_from(page).expect("small");
            if at == open_at {
                postings = Postings::open(&tenant, &store, page).expect("reopened");
                for page in postings.sealed_page()..page {
                    let components = &pages[usize::try_from(page).expect("small")];
                    postings.add(&tenant, &store, page, page / 2, components).expect("in memory");
                }
            }
            postings.add(&tenant, &store, page, page / 2, components).expect("in memory");
            for component in components {
                model.entry(*component).or_default().insert(page / 2);
            }
        }
        for (component, want) in &model {
            let wanted = [*component];
            let found = postings.snapshot(&wanted).sets(&tenant, &store, &wanted, usize::MAX).expect("in memory");
            assert_eq!(&found, want, "component {component}");
        }
    }

    #[test]
    fn many_segments_and_merges_hold_what_a_map_holds() {
        let pages: Vec<Vec<u32>> =
            (0..70_000_u32).map(|page| vec![0, 1 + page % 7, 100 + page % 9_973, 1_000_000 + page]).collect();
        check(&pages, 66_500);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn postings_are_as_in_a_map(
            pages in prop::collection::vec(prop::collection::vec(0_u32..300, 0..20), 900..4_000),
            open_at in 0_usize..4_000,
        ) {
            check(&pages, open_at);
        }
    }
}
