//! The read handle: it starts the runner, says how far everything is, and gives each question its scope.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use pedigraph_ledger::{LogId, Reader};
use pedigraph_proto::event::ViewRootRecorded;
use pedigraph_proto::{Nanos, TenantId, fact};
use tokio::sync::watch;

use super::decoded::Decoded;
use super::deriver::DerivedProgress;
use super::directory::{Options, lock, open_store};
use super::entry::decode_leaf;
use super::folder::Folder;
use super::marker;
use super::progress::ROWS_VERSION;
use super::recorded::COMMITS_KEPT_MAX;
use super::runner::run;
use super::trace::CommitContext;
use super::visible::{Inner, Readable, Renewal, Visible};
use crate::ask::answers::{ViewChange, ViewProgress, ViewRoots};
use crate::ask::scope::{AsOf, Moment, Scope, Shared};
use crate::ask::subscribed::{CHANGES_KEPT, Changes};
use crate::derived::{self, DerivedViews};
use crate::error::Error;
use crate::facts::ViewSet;
use crate::store::{Budget, MemStore, Meter, Store, StoreKind};

/// Entries that one read of changes looks at.
const ENTRIES_PER_CHANGES_READ_MAX: u64 = 100_000;

/// What is kept on disk; absent for views in memory.
pub(super) struct Kept {
    dir: PathBuf,
    store: Arc<dyn Store>,
    kind: StoreKind,
    /// Held until the store is closed.
    _lock: fs::File,
}

struct Handle {
    inner: Arc<Inner>,
    kept: Option<Kept>,
    runner: Mutex<Option<JoinHandle<()>>>,
    decoded: Decoded,
}

/// The views of a ledger in one directory: a runner thread folds what is durable, any thread reads.
#[derive(Clone)]
pub struct Views(Arc<Handle>);

/// Which changes a subscriber is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangesOf {
    /// Those that facts say.
    Facts,
    /// Those of verdicts and deltas as well.
    All,
}

impl Views {
    /// Opens (creating if absent) the views, compares them with the ledger, rebuilds when in doubt, starts the runner.
    pub fn open(dir: &Path, ledger: Reader, options: &Options) -> Result<Views, Error> {
        let lock = lock(dir)?;
        let (store, kind) = open_store(dir, &ledger, options)?;
        marker::set_running(dir, kind).map_err(|error| Error::Store(format!("marker: {error}")))?;
        let kept = Kept { dir: dir.to_owned(), store: store.clone(), kind, _lock: lock };
        Views::start(store, Some(kept), ledger, derived::all())
    }

    /// Views in memory, folded from the beginning.
    pub fn in_memory(ledger: Reader) -> Result<Views, Error> {
        Views::in_store(Arc::new(MemStore::default()), ledger)
    }

    /// Views of a ledger in an empty store of the caller's, which nobody else writes.
    pub fn in_store(store: Arc<dyn Store>, ledger: Reader) -> Result<Views, Error> {
        Views::start(store, None, ledger, derived::all())
    }

    /// As [`Views::in_store`], with these derived views.
    pub(super) fn start(
        store: Arc<dyn Store>,
        kept: Option<Kept>,
        reader: Reader,
        derived: DerivedViews,
    ) -> Result<Views, Error> {
        let views = Arc::new(ViewSet::default());
        let derived = Arc::new(derived);
        let folder = Folder::open(store.clone(), views.clone(), derived.clone())?;
        let renewal = Arc::new(Renewal::default());
        let readable = Arc::new(Readable::new(store.clone(), renewal.clone()));
        let inner = Arc::new(Inner {
            reader,
            derived,
            store,
            shared: RwLock::new(Arc::new(Shared { store: readable.clone(), views })),
            readable: Mutex::new(readable),
            renewal,
            visible: RwLock::new(Visible::of(&folder)),
            moved: watch::Sender::new(0),
            stop: AtomicBool::new(false),
            fault: Mutex::new(None),
            faults: AtomicU64::new(0),
            dir: kept.as_ref().map(|kept| kept.dir.clone()),
            commit_context: OnceLock::new(),
        });
        let running = inner.clone();
        let spawned = std::thread::Builder::new()
            .name("fold".into())
            .spawn(move || run(&running, folder))
            .map_err(|error| Error::Store(format!("runner: {error}")))?;
        Ok(Views(Arc::new(Handle { inner, kept, runner: Mutex::new(Some(spawned)), decoded: Decoded::new() })))
    }

    /// From now on steps are spans that link to the commits which they make visible.
    pub fn link_commits(&self, contexts: CommitContext) {
        let _set_once = self.0.inner.commit_context.set(contexts);
    }

    /// Stops the runner after the step at hand and flushes.
    pub fn close(&self) -> Result<(), Error> {
        self.0.close()
    }

    /// The ledger read handle.
    pub fn ledger(&self) -> &Reader {
        &self.0.inner.reader
    }

    /// Why nothing is folded, while that is so: the store or the ledger failed, or a fold panicked. It is tried again.
    pub fn fault(&self) -> Option<String> {
        self.0.inner.fault.lock().clone()
    }

    /// Deltas that the view of these found since these views were opened; found anew where it is derived anew.
    pub fn deltas_created(&self) -> u64 {
        self.0.inner.derived.iter().map(|view| view.found()).sum()
    }

    /// How often folding failed since these views were opened.
    pub fn faults(&self) -> u64 {
        self.0.inner.faults.load(Ordering::Relaxed)
    }

    /// Leaves, facts chunks and facts that this version could not read, such as those of a newer one, and went past.
    pub fn unreadable(&self) -> u64 {
        self.0.inner.visible.read().unreadable
    }

    /// Rows that limits left out: of names and products that multiply within one fact.
    pub fn cut_rows(&self) -> u64 {
        self.0.inner.visible.read().cut
    }

    /// Number of entries of a tenant that answers show: what the slowest view has come to.
    pub fn visible(&self, tenant: &TenantId) -> u64 {
        self.0.inner.visible.read().shown(tenant)
    }

    /// Number of entries of a tenant of which such changes are shown.
    pub fn visible_with(&self, tenant: &TenantId, with: ChangesOf) -> u64 {
        let visible = self.0.inner.visible.read();
        match with {
            ChangesOf::Facts => visible.shown(tenant),
            ChangesOf::All => visible.shown_by_all(tenant),
        }
    }

    /// Waits until answers show an index; `false` when the time ran out.
    pub async fn wait_visible(&self, tenant: &TenantId, index: u64, timeout: Duration) -> bool {
        self.wait_until(timeout, |visible| visible.shown(tenant) > index).await
    }

    /// Waits until lists of verdicts and deltas show an index; `false` when the time ran out.
    pub async fn wait_deltas(&self, tenant: &TenantId, index: u64, timeout: Duration) -> bool {
        self.wait_until(timeout, |visible| visible.shown_by_all(tenant) > index).await
    }

    async fn wait_until(&self, timeout: Duration, seen: impl Fn(&Visible) -> bool) -> bool {
        let mut moved = self.0.inner.moved.subscribe();
        let seen = moved.wait_for(|_| seen(&self.0.inner.visible.read()));
        matches!(tokio::time::timeout(timeout, seen).await, Ok(Ok(_)))
    }

    /// Waits until a tenant's facts of every commit below `seq` are folded; `false` when the time ran out.
    pub async fn wait_commits(&self, tenant: &TenantId, seq: u64, timeout: Duration) -> bool {
        self.wait_until(timeout, |visible| visible.seq_of(tenant) >= seq).await
    }

    /// Blocks until every view shows every commit below `seq`; `false` when folding failed before, or was stopped.
    pub fn wait_folded(&self, seq: u64) -> bool {
        let inner = &self.0.inner;
        let mut folded: Option<BTreeMap<TenantId, u64>> = None;
        loop {
            let is_shown = {
                let visible = inner.visible.read();
                if folded.is_none() && visible.whole_seq() >= seq {
                    folded = Some(visible.sizes.clone());
                }
                folded
                    .as_ref()
                    .is_some_and(|sizes| sizes.iter().all(|(tenant, size)| visible.shown_by_all(tenant) >= *size))
            };
            if is_shown {
                return true;
            }
            if inner.stop.load(Ordering::Acquire) || inner.fault.lock().is_some() {
                return false;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// How far each view is, for one tenant; `now_ns` for ages.
    pub fn progress(&self, tenant: &TenantId, now_ns: i64) -> Vec<ViewProgress> {
        let visible = self.0.inner.visible.read().clone();
        let (folded, size) = (visible.folded(tenant), log_of(tenant).map_or(0, |log| self.ledger().head(&log).size));
        let of_view = |name: &str, next_index: u64, root: Option<String>| ViewProgress {
            name: name.to_owned(),
            next_index,
            lag_entries: size.saturating_sub(next_index),
            lag_ms: self.age_ms(tenant, next_index, now_ns),
            root,
        };
        let views = self.0.inner.shared.read().views.clone();
        // What one has come to that is behind is nothing to compare.
        let root = visible.behind.is_empty().then(|| visible.root.clone());
        let facts = views.all().map(|view| of_view(view.name(), folded, root.clone()));
        let root_of = |view: &DerivedProgress| view.behind.is_empty().then(|| view.root.clone());
        let derived = visible.derived.iter();
        let derived = derived.map(|view| of_view(view.name, view.next_of(tenant, folded), root_of(view)));
        facts.into_iter().chain(derived).collect()
    }

    /// Age in milliseconds of the oldest entry that answers do not show yet; 0 when none.
    pub fn lag_ms(&self, tenant: &TenantId, now_ns: i64) -> u64 {
        self.age_ms(tenant, self.visible(tenant), now_ns)
    }

    /// As [`Views::lag_ms`], of lists of verdicts and deltas.
    pub fn lag_ms_of_deltas(&self, tenant: &TenantId, now_ns: i64) -> u64 {
        let shown = self.0.inner.visible.read().shown_by_all(tenant);
        self.age_ms(tenant, shown, now_ns)
    }

    /// Age of an entry, 0 when there is no such entry yet.
    fn age_ms(&self, tenant: &TenantId, index: u64, now_ns: i64) -> u64 {
        let Some(log) = log_of(tenant) else { return 0 };
        if self.ledger().head(&log).size <= index {
            return 0;
        }
        let Ok(Some(entry)) = self.ledger().entry(&log, index) else { return 0 };
        let age_ns = now_ns.saturating_sub(decode_leaf(&entry.leaf).recorded_at);
        u64::try_from(age_ns / 1_000_000).unwrap_or(0)
    }

    /// The greatest [`Views::lag_ms`] of any tenant.
    pub fn lag_ms_max(&self, now_ns: i64) -> u64 {
        let tenants = self.ledger().logs().into_iter().filter_map(|log| TenantId::new(log.as_str()));
        tenants.map(|tenant| self.lag_ms(&tenant, now_ns)).max().unwrap_or(0)
    }

    /// A consistent scope for one question, which may read all that there is; see [`Scope::within`].
    pub fn at(&self, tenant: &TenantId, moment: Moment) -> Result<Scope, Error> {
        self.scope(tenant, moment, false)
    }

    /// The same for a question of lists of verdicts and deltas: it sees no more than the view of these has come to.
    pub fn at_deltas(&self, tenant: &TenantId, moment: Moment) -> Result<Scope, Error> {
        self.scope(tenant, moment, true)
    }

    fn scope(&self, tenant: &TenantId, moment: Moment, of_deltas: bool) -> Result<Scope, Error> {
        let inner = &self.0.inner;
        // In this order: what is folded anew ends the rows from before, after it shows nothing any more.
        let shared = inner.shared.read().clone();
        let (shown, by_all, seq_bound, duplicates) = {
            let state = inner.visible.read();
            let duplicates = state.duplicates.get(tenant).cloned();
            (state.shown(tenant), state.shown_by_all(tenant), state.seq_of(tenant), duplicates)
        };
        let visible = if of_deltas { by_all } else { shown };
        let known = match (moment.as_of, log_of(tenant)) {
            (None, _) | (_, None) => visible,
            (Some(AsOf::Index(index)), _) => index.saturating_add(1),
            (Some(AsOf::Time(time)), Some(log)) => inner.reader.size_at(&log, time.0)?,
        };
        let bound = known.min(visible);
        let (deltas_bound, duplicates) =
            (bound.min(by_all), duplicates.filter(|_| bound == visible).unwrap_or_default());
        let meter = Arc::new(Meter::new(Budget::NONE));
        let (tenant, at, contents) = (tenant.clone(), moment.at, Arc::default());
        let (groups, unmarked) = (Arc::default(), Arc::default());
        Ok(Scope {
            shared,
            tenant,
            bound,
            deltas_bound,
            seq_bound,
            duplicates,
            at,
            now: None,
            meter,
            groups,
            contents,
            unmarked,
        })
    }

    /// Changes after (index, n), oldest first, at most `limit`; `None` when that is older than the last 100,000
    /// changes. Those of verdicts and deltas come after those of the facts of an entry, where they are wanted, and then
    /// no entry is shown before the view of deltas shows it.
    pub fn changes(
        &self,
        tenant: &TenantId,
        after: (u64, u32),
        limit: usize,
        with: ChangesOf,
    ) -> Result<Option<Vec<ViewChange>>, Error> {
        let scope = self.scope(tenant, Moment::default(), with == ChangesOf::All)?;
        let newest = scope.change_count()?;
        let seen = scope.change_count_after(after.0)?.unwrap_or(newest);
        if newest.saturating_sub(seen) > CHANGES_KEPT {
            return Ok(None);
        }
        let mut found = Vec::new();
        let end = scope.bound.min(after.0.saturating_add(ENTRIES_PER_CHANGES_READ_MAX));
        for index in after.0..end {
            let of_entry = self.0.decoded.get(tenant, index, || self.changes_of(tenant, index))?;
            found.extend(of_entry.iter().filter(|change| (change.index, change.n) > after).cloned());
            if with == ChangesOf::All {
                let first = of_entry.last().map_or(1, |last| last.n + 1);
                let moved = scope.verdicts_moved(index, first, || self.happened(tenant, index))?;
                found.extend(moved.into_iter().filter(|change| (change.index, change.n) > after));
            }
            if found.len() >= limit {
                break;
            }
        }
        found.truncate(limit);
        Ok(Some(found))
    }

    /// Position of the newest visible change, to start a live stream from.
    pub fn newest_change(&self, tenant: &TenantId, with: ChangesOf) -> (u64, u32) {
        let visible = self.visible_with(tenant, with);
        (visible.saturating_sub(1), if visible == 0 { 0 } else { u32::MAX })
    }

    /// The view root, `sha256:` and hex, with the seq of the newest commit that it is of; while a tenant is behind, it is
    /// of no commit as a whole.
    pub fn root(&self) -> (u64, String) {
        let visible = self.0.inner.visible.read();
        (visible.whole_seq().saturating_sub(1), visible.root.clone())
    }

    /// The view roots that the ledger recorded, held against those of these views.
    pub fn recorded_roots(&self) -> ViewRoots {
        self.0.inner.visible.read().recorded.clone()
    }

    /// The root at the head as an event to record in a tenant's log; `None` before the first commit, and while the
    /// views are so far behind that whoever folds the record would no longer have the root to compare.
    pub fn root_to_record(&self, tenant: &TenantId) -> Option<ViewRootRecorded> {
        let visible = self.0.inner.visible.read();
        let behind = self.ledger().next_seq().saturating_sub(visible.next_seq);
        let is_whole = visible.next_seq > 0 && visible.behind.is_empty();
        let in_reach = is_whole && behind < COMMITS_KEPT_MAX as u64 / 2;
        in_reach.then(|| ViewRootRecorded {
            view_schema: ROWS_VERSION,
            next_seq: visible.next_seq,
            next_index: visible.sizes.get(tenant).copied().unwrap_or(0),
            root: visible.root.clone(),
        })
    }

    /// Number of visible entries of all tenants.
    pub fn visible_in_all(&self) -> u64 {
        self.0.inner.visible.read().sizes.values().sum()
    }

    /// When the event of an entry happened.
    fn happened(&self, tenant: &TenantId, index: u64) -> Result<Nanos, Error> {
        let Some(log) = log_of(tenant) else { return Ok(Nanos(0)) };
        let entry = self.ledger().entry(&log, index)?;
        Ok(Nanos(entry.map(|entry| decode_leaf(&entry.leaf).occurred_at).unwrap_or_default()))
    }

    fn changes_of(&self, tenant: &TenantId, index: u64) -> Result<Vec<ViewChange>, Error> {
        let Some(log) = log_of(tenant) else { return Ok(vec![]) };
        let Some(entry) = self.ledger().entry(&log, index)? else { return Ok(vec![]) };
        let leaf = decode_leaf(&entry.leaf);
        let mut changes = Changes::of(index, &leaf);
        // One chunk at a time, and none that only counts: an entry may have many, and is one change then.
        for part in &entry.facts {
            if let Some(bytes) = self.ledger().part(part)? {
                changes.add(&fact::decode_chunk(bytes).unwrap_or_default());
            }
            if changes.is_bulk() {
                break;
            }
        }
        Ok(changes.listed())
    }
}

impl Handle {
    fn close(&self) -> Result<(), Error> {
        self.inner.stop.store(true, Ordering::Release);
        let Some(runner) = self.runner.lock().take() else { return Ok(()) };
        runner.join().map_err(|_| Error::Store("the runner panicked".into()))?;
        match &self.kept {
            Some(kept) if self.inner.fault.lock().is_none() => close_kept(kept),
            // What a store that failed holds is not trusted by another process.
            Some(kept) => {
                marker::set_broken(&kept.dir, kept.kind).map_err(|error| Error::Store(format!("marker: {error}")))
            }
            None => Ok(()),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "views: not closed well, the next start will tell");
        }
    }
}

fn close_kept(kept: &Kept) -> Result<(), Error> {
    kept.store.sync()?;
    marker::set_clean(&kept.dir, kept.kind).map_err(|error| Error::Store(format!("marker: {error}")))
}

fn log_of(tenant: &TenantId) -> Option<LogId> {
    LogId::new(tenant.as_str())
}
