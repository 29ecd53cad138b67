//! A small derived view over real ledgers: any split and any crash give the same rows and root, and readers are bound.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use pedigraph_proto::event::ArtifactPackaged;
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{Event, TenantId, canonical};

use super::{APART_ROWS, STEP_ROWS, TURN_ROWS, WAITING_BYTES_MAX};
use crate::ask::scope::{Clocks, Moment};
use crate::derived::{Derived, DerivedAt, DerivedViews};
use crate::error::Error;
use crate::facts::view::FactAt;
use crate::facts::{ViewSet, derived_key};
use crate::rows::Rows;
use crate::rows::told::Told;
use crate::run::Views;
use crate::run::folder::Folder;
use crate::run::rebuild::{Folded, fold_to_head};
use crate::run::runner::step;
use crate::run::test_log::{Log, Said};
use crate::store::key::Key;
use crate::store::{MemStore, Row, Store};

const BYTE: u8 = b't';
/// Rows of an entry that is wide: more than one turn of the view.
const WIDE: u64 = TURN_ROWS + 10_000;

/// How often each pipeline was at work so far, over and over: as many rows as its name says behind a slash.
#[derive(Clone, Default)]
struct Works {
    version: u32,
    /// Rows of a step; 0 for as many as it may.
    step_rows: usize,
    gate: Option<Arc<Gate>>,
    apart: bool,
    /// Facts that were read again from the ledger.
    read_again: Arc<AtomicUsize>,
}

/// Stops the view where it writes a row of some number, until it is let on.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self, slot: u64) {
        if slot > TURN_ROWS {
            let shut = self.open.lock().expect("not poisoned");
            drop(self.opened.wait_while(shut, |open| !*open).expect("not poisoned"));
        }
    }

    fn let_on(&self) {
        *self.open.lock().expect("not poisoned") = true;
        self.opened.notify_all();
    }
}

fn row_key(tenant: &TenantId, key: &[u8], slot: u64) -> Key {
    let key = String::from_utf8_lossy(key);
    derived_key(tenant, BYTE).text(key.trim_end_matches('.')).number(slot)
}

impl Derived for Works {
    fn name(&self) -> &'static str {
        "works"
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn byte(&self) -> u8 {
        BYTE
    }

    fn stands_apart(&self) -> bool {
        self.apart
    }

    fn touches(&self, fact: &FactAt<'_>, told: Option<&Told>, touched: &mut BTreeSet<Vec<u8>>) {
        self.read_again.fetch_add(usize::from(told.is_none()), Ordering::SeqCst);
        if let Event::ArtifactPackaged(event) = fact.event {
            touched.insert(event.pipeline.clone().into_bytes());
        }
    }

    fn step(
        &self,
        at: &DerivedAt<'_>,
        key: &[u8],
        cursor: &[u8],
        rows: &mut Rows<'_>,
    ) -> Result<Option<Vec<u8>>, Error> {
        let index = at.before.bound;
        assert!(at.before.kept_entry(index)?.is_none() && at.after.kept_entry(index)?.is_some());
        let slots = String::from_utf8_lossy(key)
            .trim_end_matches('.')
            .split_once('/')
            .map_or(1, |(_, n)| n.parse().expect("n"));
        let from = cursor.try_into().map_or(0, u64::from_be_bytes);
        let rows_max = if self.step_rows == 0 { at.rows_max as u64 } else { self.step_rows as u64 };
        let to = slots.min(from + rows_max);
        for slot in from..to {
            self.gate.iter().for_each(|gate| gate.pass(slot));
            let prefix = row_key(at.tenant, key, slot);
            let last = at.before.keyed::<u64>(&prefix, &prefix.prefix_end(), true, Clocks::Known, 1)?;
            let before = last.first().map_or(0, |(_, row)| row.value);
            rows.put(prefix.number(index), &(before + 1 + u64::from(self.version) * 1_000))?;
        }
        Ok((to < slots).then(|| to.to_be_bytes().to_vec()))
    }
}

/// A commit of packages: tenant and pipelines of each entry.
fn commit(log: &mut Log, entries: &[(&'static str, &[&str])]) {
    let mut sizes = log.sizes.clone();
    let said = |(tenant, pipelines): &(&'static str, &[&str])| -> Said<'static> {
        let size = sizes.entry((*tenant).to_owned()).or_default();
        *size += 1;
        let id = format!("{tenant}/{size}");
        let packaged = |pipeline: &&str| ArtifactPackaged {
            artifact_digest: pedigraph_proto::Digest::sha256(canonical::sha256(id.as_bytes())).to_string(),
            pipeline: (*pipeline).to_owned(),
            ..Default::default()
        };
        (*tenant, vec![pipelines.iter().map(packaged).map(Fact::now).collect()])
    };
    let said = entries.iter().map(said).collect();
    log.commit(said, &[]);
}

/// Some entries of two tenants: in one commit each, or all in one.
fn some(commits: usize) -> Log {
    let entries: [(&str, &[&str]); 9] = [
        ("ash", &["build", "test/7"]),
        ("elm", &["build/3"]),
        ("ash", &[]),
        ("ash", &["test/7"]),
        ("elm", &["build/3", "build/3", "ship"]),
        ("ash", &["build", "ship/12", "test/7"]),
        ("elm", &["ship"]),
        ("elm", &[]),
        ("ash", &["build"]),
    ];
    let mut log = Log::new();
    entries.chunks(entries.len().div_ceil(commits)).for_each(|entries| commit(&mut log, entries));
    log
}

fn fold(store: Arc<dyn Store>, log: &Log, step_bytes: usize, view: &Works) -> Result<Folded, Error> {
    let views: DerivedViews = vec![Box::new(view.clone())];
    fold_to_head(store, &log.reader(), step_bytes, views, &mut |_, _| ())
}

fn rows_of(store: &dyn Store) -> Vec<Row> {
    let rows = |tenant: &str| {
        let rows = derived_key(&TenantId::new(tenant).expect("a tenant"), BYTE);
        store.scan(rows.as_bytes(), rows.prefix_end().as_bytes(), false, usize::MAX).expect("in memory")
    };
    ["ash", "elm"].into_iter().flat_map(rows).collect()
}

/// The rows and what folding came to, straight through.
fn straight(log: &Log, view: &Works) -> (Vec<Row>, Folded) {
    let store = Arc::new(MemStore::default());
    let folded = fold(store.clone(), log, 1 << 20, view).expect("folds");
    (rows_of(store.as_ref()), folded)
}

#[test]
fn any_split_in_commits_and_folds_gives_the_same_rows_and_root() {
    let works = Works::default();
    let (rows, folded) = straight(&some(1), &works);
    assert_eq!(works.read_again.load(Ordering::SeqCst), 0, "no fact is read twice");
    assert_eq!(rows.len(), 44, "a row for each slot of each pipeline of each entry");
    let root = &folded.derived[0];
    assert_eq!(root.0, "works");
    assert_ne!(root.1, folded.root, "its root is its own");
    for (step_bytes, step_rows) in [(1, 1), (600, 3), (1 << 20, 2), (1 << 20, 0)] {
        let view = Works { step_rows, ..Works::default() };
        let (rows, folded) = straight(&some(1), &view);
        for commits in [1, 2, 3, 9] {
            let store = Arc::new(MemStore::default());
            let again = fold(store.clone(), &some(commits), step_bytes, &view).expect("folds");
            assert!(
                (&again.derived, rows_of(store.as_ref())) == (&folded.derived, rows.clone()),
                "{commits} {step_bytes}"
            );
        }
    }
    let without = fold_to_head(Arc::new(MemStore::default()), &some(1).reader(), 1 << 20, vec![], &mut |_, _| ());
    assert_eq!(without.expect("folds").root, folded.root, "the root of facts does not know of it");
}

/// Fails from the n-th write on.
struct Failing {
    rows: Arc<MemStore>,
    left: AtomicUsize,
    facts_written: AtomicUsize,
}

impl Failing {
    fn new(rows: &Arc<MemStore>, writes: usize) -> Failing {
        Failing { rows: rows.clone(), left: AtomicUsize::new(writes), facts_written: AtomicUsize::new(0) }
    }

    fn write(&self, key: &[u8]) -> Result<(), Error> {
        let counts = |left: usize| left.checked_sub(1);
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, counts).map_err(|_| Error::Store("died".into()))?;
        let derived = ["ash", "elm"].map(|tenant| derived_key(&TenantId::new(tenant).expect("a tenant"), BYTE));
        // The list of segments of postings is written whenever the components are opened.
        let opens = key.ends_with(&[0, 0, b'c', b'f']);
        let is_fact = key[0] != 0 && !opens && !derived.iter().any(|derived| key.starts_with(derived.as_bytes()));
        self.facts_written.fetch_add(usize::from(is_fact), Ordering::SeqCst);
        Ok(())
    }
}

impl Store for Failing {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.rows.get(key)
    }
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.write(key)?;
        self.rows.insert(key, value)
    }
    fn insert_new(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.write(key)?;
        self.rows.insert_new(key, value)
    }
    fn remove(&self, key: &[u8]) -> Result<(), Error> {
        self.write(key)?;
        self.rows.remove(key)
    }
    fn batch(&self, rows: &[Row]) -> Result<(), Error> {
        self.write(&[0])?;
        self.rows.batch(rows)
    }
    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, limit: usize) -> Result<Vec<Row>, Error> {
        self.rows.scan(from, to, reverse, limit)
    }
    fn flush(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Folds with a store that dies at the n-th write, for each n, then goes on from what it left; gives how many n there are.
fn dies_everywhere(begin: impl Fn() -> Arc<MemStore>, log: &Log, view: &Works) -> usize {
    let (rows, folded) = straight(log, view);
    for writes in 0.. {
        let store = begin();
        let died = fold(Arc::new(Failing::new(&store, writes)), log, 400, view).is_err();
        let again = fold(store.clone(), log, 900, view).expect("folds");
        assert_eq!((&again.root, &again.derived), (&folded.root, &folded.derived), "dead at write {writes}");
        assert!(rows_of(store.as_ref()) == rows, "dead at write {writes}");
        if !died {
            return writes;
        }
    }
    unreachable!("it ends when nothing dies")
}

#[test]
fn a_crash_between_any_two_writes_changes_nothing() {
    let times = dies_everywhere(Arc::default, &some(4), &Works { step_rows: 2, ..Works::default() });
    assert!(times > 50, "{times}");
}

#[test]
fn another_version_derives_this_view_alone_anew_wherever_it_crashes() {
    let (log, old) = (some(9), Works { version: 1, ..Works::default() });
    let new = Works { version: 2, step_rows: 2, ..Works::default() };
    let begin = || {
        let store = Arc::new(MemStore::default());
        fold(store.clone(), &log, 1 << 20, &old).expect("folds");
        store
    };
    dies_everywhere(begin, &log, &new);
    let store = begin();
    let watched = Arc::new(Failing::new(&store, usize::MAX));
    fold(watched.clone(), &log, 1 << 20, &new).expect("folds");
    assert_eq!(watched.facts_written.load(Ordering::SeqCst), 0, "facts are not folded again");
    assert!(new.read_again.load(Ordering::SeqCst) > 0);
    assert_ne!(rows_of(store.as_ref()), straight(&log, &old).0);
    let again = Arc::new(Failing::new(&store, usize::MAX));
    fold(again.clone(), &log, 1 << 20, &new).expect("folds");
    assert!(again.left.load(Ordering::SeqCst) >= usize::MAX - 2, "and it is not derived again");
}

#[test]
fn what_has_no_room_in_memory_is_read_from_the_ledger() {
    let long = format!("build/3{}", ".".repeat(1 << 15));
    let entries = vec![("ash", [long.as_str()]); WAITING_BYTES_MAX / (1 << 15) + 9];
    let entries: Vec<(&str, &[&str])> = entries.iter().map(|(tenant, keys)| (*tenant, keys.as_slice())).collect();
    let (mut many, mut one) = (Log::new(), Log::new());
    entries.iter().for_each(|entry| commit(&mut many, std::slice::from_ref(entry)));
    entries.chunks(100).for_each(|entries| commit(&mut one, entries));
    assert_eq!(straight(&many, &Works::default()).1.derived, straight(&one, &Works::default()).1.derived);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

#[test]
fn questions_are_bound_by_the_slowest_view_and_a_wide_entry_holds_up_its_tenant_alone() {
    let (mut log, gate) = (Log::new(), Arc::new(Gate::default()));
    let (ash, elm) = (TenantId::new("ash").expect("a tenant"), TenantId::new("elm").expect("a tenant"));
    commit(
        &mut log,
        &[("ash", &["build"]), ("ash", &[&format!("wide/{WIDE}")]), ("elm", &["build"]), ("ash", &["build"])],
    );
    let works = Works { gate: Some(gate.clone()), ..Works::default() };
    let views = Views::start(Arc::new(MemStore::default()), None, log.reader(), vec![Box::new(works)]).expect("views");
    let wait = Duration::from_secs(60);
    let next_seq = log.reader().next_seq();
    assert!(runtime().block_on(views.wait_commits(&ash, next_seq, wait)), "its facts are folded");
    assert!(runtime().block_on(views.wait_visible(&elm, 0, wait)));
    assert_eq!((views.visible(&ash), views.visible(&elm)), (1, 1));
    assert!(!runtime().block_on(views.wait_visible(&ash, 1, Duration::ZERO)));
    let as_of = |tenant: &TenantId| views.at(tenant, Moment::default()).expect("a scope").as_of();
    assert_eq!((as_of(&ash), as_of(&elm)), (Some(0), Some(0)));
    assert!(views.lag_ms(&ash, i64::MAX) > 0 && views.lag_ms(&elm, i64::MAX) == 0);
    let of = |name: &str| views.progress(&ash, i64::MAX).into_iter().find(|view| view.name == name).expect("a view");
    assert_eq!((of("intake").next_index, of("intake").lag_entries, of("intake").lag_ms), (3, 0, 0));
    assert_eq!((of("works").next_index, of("works").lag_entries, of("works").root), (1, 2, None));
    gate.let_on();
    assert!(views.wait_folded(log.reader().next_seq()), "{:?}", views.fault());
    assert_eq!(as_of(&ash), Some(2));
    let (_, folded) = straight(&log, &Works::default());
    assert_eq!(of("works").root.as_ref(), folded.derived.first().map(|(_, root)| root));
    assert_eq!(views.root().1, folded.root);
    views.close().expect("closed");
}

#[test]
fn facts_come_before_a_wide_entry_of_a_view_that_stands_apart() {
    let mut log = Log::new();
    let wide = format!("wide/{}", 2 * WIDE);
    commit(&mut log, &[("ash", &[&wide])]);
    let store = Arc::new(MemStore::default());
    let views: DerivedViews = vec![Box::new(Works { apart: true, ..Works::default() })];
    let mut folder = Folder::open(store.clone(), Arc::new(ViewSet::default()), Arc::new(views)).expect("opens");
    let elm = TenantId::new("elm").expect("a tenant");
    let (mut coming, mut alone) = (Vec::new(), Vec::new());
    while folder.has_work() || coming.is_empty() {
        let comes = coming.len() < 20;
        if comes {
            commit(&mut log, &[("elm", &[])]);
        }
        let before = rows_of(store.as_ref()).len();
        loop {
            step(&log.reader(), &mut folder, 1 << 20, &|_| ()).expect("folds");
            folder.finish_step(|_| Box::new(|| {})).expect("written");
            folder.settle().expect("written");
            if !comes || folder.progress().next_of(&elm) > coming.len() as u64 {
                break;
            }
        }
        let derived = (rows_of(store.as_ref()).len() - before) as u64;
        if comes { coming.push(derived) } else { alone.push(derived) }
    }
    let (few, all) = (APART_ROWS + STEP_ROWS as u64, coming.iter().chain(&alone).sum::<u64>());
    assert!(coming.iter().all(|rows| *rows <= few), "{few} while facts wait: {coming:?}");
    assert!(coming[2..].iter().filter(|rows| **rows > 0).count() > 8, "it goes on meanwhile: {coming:?}");
    assert!(alone.len() < 10, "and in large turns when nothing else comes: {alone:?}");
    assert_eq!(all, 2 * WIDE);
}
