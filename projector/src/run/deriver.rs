//! Derived views, each with a progress, a root and a version of its own: entry by entry of each tenant's log, in bounded
//! turns, so that no tenant's wide entry holds up another's.
//!
//! The progress of a view is how far it is behind the facts, tenant by tenant; it is written in the batch that ends a
//! step, with that of the facts. What is done of an entry that is not finished is forgotten at a restart and done again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use pedigraph_ledger::{LogId, Reader};
use pedigraph_proto::{TenantId, fact};
use serde::{Deserialize, Serialize};

use super::entry::{EntryId, decode_leaf};
use super::progress::Progress;
use crate::ask::scope::{Scope, Shared};
use crate::derived::{Derived, DerivedAt, DerivedViews};
use crate::error::Error;
use crate::facts::derived_key;
use crate::facts::view::FactAt;
use crate::rows::Rows;
use crate::rows::root::RootState;
use crate::rows::sink::{RowSink, Unit};
use crate::rows::stamp::{Stamp, happened};
use crate::rows::told::Told;
use crate::store::key::KeyReader;
use crate::store::{Budget, Meter, Remembered, Row, Store};

/// Rows that all steps of all views read and write before facts go on.
const TURN_ROWS: u64 = 16_384;
/// Rows of them for one tenant before the next one has its turn.
const TENANT_ROWS: u64 = 2_048;
/// The same of a view that stands apart. It looks after so many whether facts wait, which come first.
pub(super) const APART_ROWS: u64 = 512;
/// About how many rows one step reads and writes.
const STEP_ROWS: usize = 512;
/// Rows that are kept of one entry at most, from turn to turn.
const SEEN_ROWS_MAX: u64 = 65_536;
/// Bytes of touched keys that wait in memory, by view; what comes beyond is read from the ledger when its turn comes.
const WAITING_BYTES_MAX: usize = 8 << 20;
/// What is kept of a touched key besides its bytes.
const KEY_BYTES: usize = 48;
/// Rows that are read at once to remove those of another version.
const REMOVED_AT_ONCE: usize = 1_024;

/// Key of a view's progress row; no tenant's key begins so.
fn progress_key(view: &dyn Derived) -> Vec<u8> {
    vec![0, b'd', view.byte()]
}

/// How far a view is, as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    /// The index that is derived next, of tenants that are behind the facts.
    behind: BTreeMap<String, u64>,
    root: Vec<u8>,
}

/// How far a view is, for readers.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct DerivedProgress {
    pub(super) name: &'static str,
    /// Answers that do not use it do not wait for it.
    pub(super) stands_apart: bool,
    /// The index that is derived next, of tenants that are behind the facts.
    pub(super) behind: BTreeMap<TenantId, u64>,
    /// `sha256:` and hex.
    pub(super) root: String,
}

impl DerivedProgress {
    /// The index that is derived next, of a tenant of which so many entries are folded.
    pub(super) fn next_of(&self, tenant: &TenantId, folded: u64) -> u64 {
        self.behind.get(tenant).copied().unwrap_or(folded)
    }
}

/// Derives every view.
pub(super) struct Deriver {
    views: Arc<DerivedViews>,
    lanes: Vec<Lane>,
}

/// What one view does.
struct Lane {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    sink: RowSink,
    meter: Arc<Meter>,
    behind: BTreeMap<TenantId, Behind>,
    waiting_bytes: usize,
    /// Who had the last turn.
    last: Option<TenantId>,
    /// Work that is no row, as rows.
    work: u64,
    buffer: Vec<u8>,
    /// Of the entry at which the last turn ended: the next one reads it no second time.
    seen: Option<Seen>,
    /// Filled and emptied again by each fact.
    touched: BTreeSet<Vec<u8>>,
    /// What may change the progress was done since it was last looked at.
    changed: bool,
    /// The progress is in the store as it is shown.
    is_written: bool,
    shown: Arc<DerivedProgress>,
}

/// What was known before an entry and with it, with what was read of that.
struct Seen {
    before: Scope,
    after: Scope,
    /// What is spent when it has grown enough.
    until: u64,
}

impl Seen {
    fn is_of(&self, tenant: &TenantId, index: u64, spent: u64) -> bool {
        self.before.tenant() == tenant && self.before.bound == index && spent < self.until
    }
}

/// A tenant whose facts are folded further than the view is derived, or are about to be.
struct Behind {
    next: u64,
    /// Entries of which is known what they touch: from, and up to. Those that touch anything are in `waiting`.
    covered: (u64, u64),
    waiting: BTreeMap<u64, Touched>,
    /// Of the entry whose facts are being folded, unless there is no room for it.
    taking: Option<Touched>,
    unit: Option<Unfinished>,
}

/// What an entry touches.
struct Touched {
    stamp: Stamp,
    keys: BTreeSet<Vec<u8>>,
    bytes: usize,
}

/// An entry that is being derived: from what it touches to subjects, then one of these after the other.
struct Unfinished {
    stamp: Stamp,
    keys: BTreeSet<Vec<u8>>,
    subjects: BTreeSet<Vec<u8>>,
    /// Of the first subject.
    cursor: Vec<u8>,
    /// Steps that wrote rows: the ordinal of the rows of each.
    steps: u32,
    hashed: Unit,
}

/// What a turn looks at besides the rows.
#[derive(Clone, Copy)]
pub(super) struct Turn<'a> {
    pub(super) reader: &'a Reader,
    pub(super) facts: &'a Progress,
    /// Number of a tenant's entries whose rows are in the store.
    pub(super) in_store: &'a dyn Fn(&TenantId) -> u64,
    pub(super) set_aside: &'a BTreeSet<EntryId>,
    /// Rows that each view may read and write.
    pub(super) rows_max: u64,
    /// Whose turn it is: views that stand apart, or those that answers are bound by.
    pub(super) apart: bool,
    /// Rows of one tenant before the next one goes on.
    pub(super) tenant_rows: u64,
    /// Rows after which it ends where a commit waits.
    pub(super) yields_after: u64,
}

impl<'a> Turn<'a> {
    /// The same for views that stand apart.
    pub(super) fn apart(self, rows_max: u64, yields_after: u64) -> Turn<'a> {
        Turn { apart: true, tenant_rows: APART_ROWS, rows_max, yields_after, ..self }
    }

    fn is_of(&self, view: &dyn Derived) -> bool {
        self.apart == view.stands_apart()
    }

    fn yields(&self, spent: u64) -> bool {
        spent >= self.yields_after && self.reader.next_seq() > self.facts.next_seq
    }
}

impl Deriver {
    /// Goes on from what the store holds. A view of another version loses its rows and begins anew.
    pub(super) fn open(shared: &Arc<Shared>, views: Arc<DerivedViews>, facts: &Progress) -> Result<Deriver, Error> {
        let lanes = views.iter().map(|view| Lane::open(shared, view.as_ref(), facts)).collect::<Result<_, _>>()?;
        Ok(Deriver { views, lanes })
    }

    /// The facts of an entry follow, each for [`Deriver::touch`], and then [`Deriver::folded`]. Entries of other tenants
    /// may come in between.
    pub(super) fn begin(&mut self, tenant: &TenantId, stamp: Stamp) {
        self.lanes.iter_mut().for_each(|lane| lane.begin(tenant, stamp));
    }

    /// Takes what a fact touches, with what folding it told.
    pub(super) fn touch(&mut self, fact: &FactAt<'_>, told: &Told) {
        for (view, lane) in self.views.iter().zip(&mut self.lanes) {
            lane.touch(view.as_ref(), fact, told);
        }
    }

    /// The facts of an entry are folded.
    pub(super) fn folded(&mut self, tenant: &TenantId, index: u64) {
        self.lanes.iter_mut().for_each(|lane| lane.folded(tenant, index));
    }

    /// Whether there is anything to derive from these facts, in views that stand apart or in the others.
    pub(super) fn is_behind(&self, facts: &Progress, apart: bool) -> bool {
        let mut lanes = self.views.iter().zip(&self.lanes).filter(|(view, _)| view.stands_apart() == apart);
        lanes.any(|(_, lane)| lane.behind.iter().any(|(tenant, behind)| behind.next < facts.next_of(tenant)))
    }

    /// A turn of the views that answers are bound by. Each has its part of the budget: facts wait no longer however many
    /// views there are.
    pub(super) fn turn<'a>(
        &self,
        reader: &'a Reader,
        facts: &'a Progress,
        in_store: &'a dyn Fn(&TenantId) -> u64,
        set_aside: &'a BTreeSet<EntryId>,
    ) -> Turn<'a> {
        let rows_max = TURN_ROWS / self.lanes.len().max(1) as u64;
        let (apart, tenant_rows, yields_after) = (false, TENANT_ROWS, rows_max);
        Turn { reader, facts, in_store, set_aside, rows_max, apart, tenant_rows, yields_after }
    }

    /// Derives what is in the store, within the budget. `folding` is told the entry at hand.
    pub(super) fn derive(&mut self, turn: &Turn<'_>, folding: &mut Option<EntryId>) -> Result<(), Error> {
        for at in 0..self.lanes.len() {
            let Some((before, [lane, ..])) = self.lanes.split_at_mut_checked(at) else { break };
            let view = self.views[at].as_ref();
            if !turn.is_of(view) {
                continue;
            }
            // What a view looks at of those before it is there.
            let come_to = |tenant: &TenantId| {
                let in_store = (turn.in_store)(tenant);
                before.iter().map(|lane| lane.next_of(tenant, in_store)).fold(in_store, u64::min)
            };
            let in_store: &dyn Fn(&TenantId) -> u64 = if view.stands_apart() { &come_to } else { turn.in_store };
            lane.derive(view, &Turn { in_store, ..*turn }, folding)?;
        }
        Ok(())
    }

    /// The progress rows that changed since the last time, to be written with this progress of the facts.
    pub(super) fn rows(&mut self, facts: &Progress) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        for (view, lane) in self.views.iter().zip(&mut self.lanes) {
            rows.extend(lane.row(view.as_ref(), facts)?);
        }
        Ok(rows)
    }

    /// How far each view is, as of the last [`Deriver::rows`].
    pub(super) fn shown(&self) -> Vec<Arc<DerivedProgress>> {
        self.lanes.iter().map(|lane| lane.shown.clone()).collect()
    }
}

impl Lane {
    fn open(shared: &Arc<Shared>, view: &dyn Derived, facts: &Progress) -> Result<Lane, Error> {
        let store = shared.store.clone();
        let stored = store.get(&progress_key(view))?.and_then(|bytes| postcard::from_bytes::<Stored>(&bytes).ok());
        let ahead = |stored: &Stored| stored.behind.iter().any(|(name, next)| *next >= facts.next_of_name(name));
        let fits = |stored: &Stored| facts.next_seq > 0 && stored.version == view.version() && !ahead(stored);
        let known = stored.filter(fits);
        let (behind, root) = match known {
            Some(stored) => (stored.behind, RootState::from_bytes(&stored.root).unwrap_or_default()),
            None => {
                remove_rows(store.as_ref(), view)?;
                (facts.logs.keys().map(|name| (name.clone(), 0)).collect(), RootState::default())
            }
        };
        let meter = Arc::new(Meter::new(Budget::NONE));
        let behind: BTreeMap<TenantId, u64> =
            behind.into_iter().filter_map(|(name, next)| Some((TenantId::new(&name)?, next))).collect();
        let shown = DerivedProgress {
            name: view.name(),
            stands_apart: view.stands_apart(),
            behind: behind.clone(),
            root: root.show(),
        };
        Ok(Lane {
            sink: RowSink::at_once(store.clone(), root),
            shared: Arc::new(shared.metered(meter.clone())),
            store,
            meter,
            behind: behind.into_iter().map(|(tenant, next)| (tenant, Behind::at(next))).collect(),
            waiting_bytes: 0,
            last: None,
            work: 0,
            buffer: Vec::new(),
            seen: None,
            touched: BTreeSet::new(),
            changed: true,
            is_written: false,
            shown: Arc::new(shown),
        })
    }

    /// The index that is derived next, of a tenant of which so many entries are in the store.
    fn next_of(&self, tenant: &TenantId, in_store: u64) -> u64 {
        self.behind.get(tenant).map_or(in_store, |behind| behind.next)
    }

    fn begin(&mut self, tenant: &TenantId, stamp: Stamp) {
        let index = stamp.index;
        let behind = self.behind.entry(tenant.clone()).or_insert_with(|| Behind::at(index));
        if behind.waiting.is_empty() && behind.covered.1 <= behind.next {
            behind.covered = (index, index);
        }
        let room = behind.covered.1 == index && self.waiting_bytes <= WAITING_BYTES_MAX;
        behind.taking = room.then(|| Touched { stamp, keys: BTreeSet::new(), bytes: 0 });
    }

    fn touch(&mut self, view: &dyn Derived, fact: &FactAt<'_>, told: &Told) {
        let Some(behind) = self.behind.get_mut(fact.tenant) else { return };
        let Some(taking) = &mut behind.taking else { return };
        let bytes = taking.touch(view, fact, Some(told), &mut self.touched);
        self.waiting_bytes += bytes;
        if self.waiting_bytes > WAITING_BYTES_MAX {
            self.waiting_bytes -= taking.bytes;
            behind.taking = None;
        }
    }

    fn folded(&mut self, tenant: &TenantId, index: u64) {
        self.changed = true;
        let Some(behind) = self.behind.get_mut(tenant) else { return };
        let Some(touched) = behind.taking.take() else { return };
        behind.covered.1 = index + 1;
        if !touched.keys.is_empty() {
            behind.waiting.insert(index, touched);
        }
    }

    fn derive(&mut self, view: &dyn Derived, turn: &Turn<'_>, folding: &mut Option<EntryId>) -> Result<(), Error> {
        let begun = self.spent();
        while self.spent() - begun < turn.rows_max && !turn.yields(self.spent() - begun) {
            let Some(tenant) = self.next_tenant(turn) else { return Ok(()) };
            let Some(mut behind) = self.behind.remove(&tenant) else { return Ok(()) };
            self.changed = true;
            self.derive_of(view, turn, &tenant, &mut behind, folding)?;
            if behind.next < turn.facts.next_of(&tenant) || behind.expects() {
                self.behind.insert(tenant.clone(), behind);
            }
            self.last = Some(tenant);
        }
        Ok(())
    }

    /// One turn of one tenant.
    fn derive_of(
        &mut self,
        view: &dyn Derived,
        turn: &Turn<'_>,
        tenant: &TenantId,
        behind: &mut Behind,
        folding: &mut Option<EntryId>,
    ) -> Result<(), Error> {
        let (begun, end) = (self.spent(), (turn.in_store)(tenant));
        while behind.next < end && self.spent() - begun < turn.tenant_rows {
            *folding = Some((tenant.clone(), behind.next));
            let Some(mut unit) = self.next_unit(view, turn, tenant, behind, end)? else { continue };
            if self.go_on(view, tenant, &mut unit, begun + turn.tenant_rows)? {
                behind.next += 1;
            } else {
                behind.unit = Some(unit);
            }
        }
        *folding = None;
        Ok(())
    }

    /// The entry to derive next; `None` moves over entries that touch nothing.
    fn next_unit(
        &mut self,
        view: &dyn Derived,
        turn: &Turn<'_>,
        tenant: &TenantId,
        behind: &mut Behind,
        end: u64,
    ) -> Result<Option<Unfinished>, Error> {
        if let Some(unit) = behind.unit.take() {
            return Ok(Some(unit));
        }
        let (from, to) = behind.covered;
        if !(from..to).contains(&behind.next) {
            self.work += 1;
            let touched = self.read(view, turn, tenant, behind.next)?;
            return Ok(Some(Unfinished::of(touched)));
        }
        match behind.waiting.pop_first() {
            Some((index, touched)) if index < end => {
                self.waiting_bytes -= touched.bytes;
                behind.next = index;
                Ok(Some(Unfinished::of(touched)))
            }
            later => {
                behind.waiting.extend(later);
                behind.next = end.min(to);
                Ok(None)
            }
        }
    }

    /// What an entry touches, from the ledger.
    fn read(&mut self, view: &dyn Derived, turn: &Turn<'_>, tenant: &TenantId, index: u64) -> Result<Touched, Error> {
        let gone = || Error::Store(format!("{tenant}: entry {index} is not in the ledger"));
        let log = LogId::new(tenant.as_str()).ok_or_else(gone)?;
        let found = turn.reader.entry(&log, index)?.ok_or_else(gone)?;
        let entry = decode_leaf(&found.leaf);
        let mut touched = Touched { stamp: Stamp::of_entry(index, &entry), keys: BTreeSet::new(), bytes: 0 };
        if turn.set_aside.contains(&(tenant.clone(), index)) {
            return Ok(touched);
        }
        let mut ordinal = 0;
        for part in &found.facts {
            let bytes = turn.reader.part(part)?.ok_or_else(gone)?;
            for fact in fact::decode_chunk(bytes).unwrap_or_default() {
                if let Some(event) = &fact.event {
                    let occurred_at = happened(fact.occurred_at, &entry);
                    let at = FactAt { tenant, index, ordinal, entry: &entry, leaf_hash: None, occurred_at, event };
                    touched.touch(view, &at, None, &mut self.touched);
                }
                ordinal += 1;
            }
        }
        self.work += u64::from(ordinal);
        Ok(touched)
    }

    /// Steps of an entry, until so much is spent; whether it is done.
    fn go_on(&mut self, view: &dyn Derived, tenant: &TenantId, unit: &mut Unfinished, end: u64) -> Result<bool, Error> {
        let seen = self.seen.take().filter(|seen| seen.is_of(tenant, unit.stamp.index, self.spent()));
        let seen = seen.unwrap_or_else(|| self.look(tenant, unit.stamp.index));
        let at = DerivedAt { tenant, before: &seen.before, after: &seen.after, rows_max: STEP_ROWS };
        self.sink.swap_unit(&mut unit.hashed);
        while self.spent() < end {
            self.work += 1;
            if !unit.keys.is_empty() {
                let keys = std::iter::from_fn(|| unit.keys.pop_first()).take(view.keys_at_once()).collect();
                unit.subjects.extend(view.subjects(&at, keys)?);
            } else if let Some(subject) = unit.subjects.first() {
                let (store, sink, buffer) = (self.store.as_ref(), &mut self.sink, &mut self.buffer);
                let (written, ordinal) = (sink.put(), unit.steps.saturating_add(1));
                let mut rows = Rows { store, sink, stamp: Stamp { ordinal, ..unit.stamp }, buffer };
                let next = view.step(&at, subject, &unit.cursor, &mut rows)?;
                // What writes nothing leaves no trace: more may be touched at another time.
                unit.steps = if self.sink.put() > written { ordinal } else { unit.steps };
                if next.is_none() {
                    unit.subjects.pop_first();
                }
                unit.cursor = next.unwrap_or_default();
            } else {
                self.sink.end_unit();
                return Ok(true);
            }
        }
        self.sink.swap_unit(&mut unit.hashed);
        self.seen = Some(seen);
        Ok(false)
    }

    fn look(&self, tenant: &TenantId, index: u64) -> Seen {
        let store: Arc<dyn Store> = Arc::new(Remembered::new(self.shared.store.clone()));
        let shared = Arc::new(Shared { store, views: self.shared.views.clone() });
        let (before, after) = (self.scope(&shared, tenant, index), self.scope(&shared, tenant, index + 1));
        Seen { before, after, until: self.spent() + SEEN_ROWS_MAX }
    }

    fn scope(&self, shared: &Arc<Shared>, tenant: &TenantId, bound: u64) -> Scope {
        Scope {
            shared: shared.clone(),
            tenant: tenant.clone(),
            bound,
            deltas_bound: bound,
            // Counters of what came in go by commits, which have no meaning here.
            seq_bound: 0,
            at: None,
            now: None,
            meter: self.meter.clone(),
            duplicates: Arc::default(),
            groups: Arc::default(),
            contents: Arc::default(),
            unmarked: Arc::default(),
        }
    }

    /// Rows that were read and written so far, and what else is work.
    fn spent(&self) -> u64 {
        self.meter.rows() + self.sink.put() + self.work
    }

    fn row(&mut self, view: &dyn Derived, facts: &Progress) -> Result<Option<Row>, Error> {
        if !std::mem::take(&mut self.changed) {
            return Ok(None);
        }
        let behind = self.behind.iter().map(|(tenant, behind)| (tenant.clone(), behind.next));
        let behind: BTreeMap<_, _> = behind.filter(|(tenant, next)| *next < facts.next_of(tenant)).collect();
        let root = self.sink.root();
        let shown = DerivedProgress {
            name: view.name(),
            stands_apart: view.stands_apart(),
            behind: behind.clone(),
            root: root.show(),
        };
        if self.is_written && shown == *self.shown {
            return Ok(None);
        }
        self.is_written = true;
        self.shown = Arc::new(shown);
        let stored = Stored {
            version: view.version(),
            behind: behind.iter().map(|(tenant, next)| (tenant.as_str().to_owned(), *next)).collect(),
            root: root.to_bytes(),
        };
        let value = postcard::to_stdvec(&stored).map_err(|error| Error::Store(format!("progress: {error}")))?;
        Ok(Some((progress_key(view), value)))
    }

    /// The first tenant after the one that had the last turn that has anything to derive.
    fn next_tenant(&self, turn: &Turn<'_>) -> Option<TenantId> {
        let after = self.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let until = self.last.as_ref().map_or(Bound::Unbounded, Bound::Included);
        let later = self.behind.range((after, Bound::Unbounded)).chain(self.behind.range((Bound::Unbounded, until)));
        let mut later = later.filter(|(tenant, behind)| behind.next < (turn.in_store)(tenant));
        later.next().map(|(tenant, _)| tenant.clone())
    }
}

impl Behind {
    fn at(next: u64) -> Behind {
        Behind { next, covered: (next, next), waiting: BTreeMap::new(), taking: None, unit: None }
    }

    /// Whether it knows of entries whose facts are not yet visible.
    fn expects(&self) -> bool {
        self.taking.is_some() || self.covered.1 > self.next
    }
}

impl Touched {
    /// Adds what a fact touches; gives its bytes.
    fn touch(
        &mut self,
        view: &dyn Derived,
        fact: &FactAt<'_>,
        told: Option<&Told>,
        touched: &mut BTreeSet<Vec<u8>>,
    ) -> usize {
        view.touches(fact, told, touched);
        let before = self.bytes;
        while let Some(key) = touched.pop_first() {
            let bytes = key.len() + KEY_BYTES;
            self.bytes += if self.keys.insert(key) { bytes } else { 0 };
        }
        self.bytes - before
    }
}

impl Unfinished {
    fn of(touched: Touched) -> Unfinished {
        Unfinished {
            stamp: touched.stamp,
            keys: touched.keys,
            subjects: BTreeSet::new(),
            cursor: Vec::new(),
            steps: 0,
            hashed: Unit::default(),
        }
    }
}

/// Removes the rows of a view, of all tenants. Its progress goes first, so that nobody takes what is left for whole.
fn remove_rows(store: &dyn Store, view: &dyn Derived) -> Result<(), Error> {
    store.remove(&progress_key(view))?;
    let mut from = vec![1];
    while let Some((key, _)) = store.scan(&from, &[0xff], false, 1)?.pop() {
        let name = KeyReader::new(&key).text();
        let tenant = name.as_deref().and_then(TenantId::new);
        let tenant = tenant.ok_or_else(|| Error::Store("a key begins with no tenant".to_owned()))?;
        let rows = derived_key(&tenant, view.byte());
        loop {
            let page = store.scan(rows.as_bytes(), rows.prefix_end().as_bytes(), false, REMOVED_AT_ONCE)?;
            page.iter().try_for_each(|(key, _)| store.remove(key))?;
            if page.len() < REMOVED_AT_ONCE {
                break;
            }
        }
        from = [tenant.as_str().as_bytes(), &[0, 1]].concat();
    }
    Ok(())
}

#[cfg(test)]
mod apart;
#[cfg(test)]
mod flat;
#[cfg(test)]
mod tests;
