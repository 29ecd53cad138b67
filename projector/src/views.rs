//! The read handle and the runner behind it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use pedigraph_ledger::{Commit, LogId, Reader};
use pedigraph_proto::event::ViewRootRecorded;
use pedigraph_proto::{Nanos, TenantId, fact};
use tokio::sync::watch;

use crate::answers::{ViewChange, ViewProgress, ViewRoots};
use crate::changes::{self, CHANGES_KEPT};
use crate::folder::{CommitIn, EntryIn, Folder, Progress, ROWS_VERSION, ViewSet, decode_leaf};
use crate::intake::CHANGES;
use crate::marker;
use crate::recorded::COMMITS_KEPT_MAX;
pub use crate::scope::Scope;
use crate::scope::Shared;
use crate::store::{MemStore, SledStore, Store, wait_unlocked};

/// Bytes of journal that one step reads at most: what becomes visible together.
const STEP_BYTES_MAX: usize = 1 << 20;
/// How long the runner waits for a commit before it looks whether it should stop.
const WAIT: Duration = Duration::from_millis(50);
/// Steps between two flushes while there is more to fold.
const STEPS_PER_FLUSH: u32 = 64;
/// Entries that one read of changes looks at.
const ENTRIES_PER_CHANGES_READ_MAX: u64 = 100_000;

/// What went wrong and what the caller does about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed or its rows cannot be read: the views must be rebuilt.
    #[error("store: {0}")]
    Store(String),
    /// The ledger cannot be read.
    #[error("ledger: {0}")]
    Ledger(#[from] pedigraph_ledger::Error),
    /// The question breaks a limit or names what is not a moment; the text says what to change.
    #[error("{0}")]
    Question(String),
}

/// How views are kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of sled's cache.
    pub cache_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options { cache_bytes: 256 << 20 }
    }
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

/// What readers may see.
#[derive(Clone, Default)]
struct Visible {
    next_seq: u64,
    sizes: BTreeMap<TenantId, u64>,
    root: String,
    recorded: ViewRoots,
}

impl Visible {
    fn of(folder: &Folder) -> Visible {
        let progress = folder.progress();
        let size = |(name, log): (&String, &crate::folder::LogProgress)| Some((TenantId::new(name)?, log.next));
        Visible {
            next_seq: progress.next_seq,
            sizes: progress.logs.iter().filter_map(size).collect(),
            root: progress.root(),
            recorded: folder.roots().outcome().clone(),
        }
    }
}

struct Inner {
    reader: Reader,
    shared: Arc<Shared>,
    visible: RwLock<Visible>,
    moved: watch::Sender<u64>,
    stop: AtomicBool,
    fault: Mutex<Option<String>>,
}

/// What is kept on disk; absent for views in memory.
struct Kept {
    dir: PathBuf,
    store: Arc<SledStore>,
    /// Held until the store is closed.
    _lock: fs::File,
}

struct Handle {
    inner: Arc<Inner>,
    kept: Option<Kept>,
    runner: Mutex<Option<JoinHandle<()>>>,
}

/// The views of a ledger in one directory: a runner thread folds what is durable, any thread reads.
#[derive(Clone)]
pub struct Views(Arc<Handle>);

impl Views {
    /// Opens (creating if absent) the views, compares them with the ledger, rebuilds when in doubt, starts the runner.
    pub fn open(dir: &Path, ledger: Reader, options: &Options) -> Result<Views, Error> {
        let lock = lock(dir)?;
        let store = open_store(dir, &ledger, options)?;
        marker::set_running(dir).map_err(|error| Error::Store(format!("marker: {error}")))?;
        let kept = Kept { dir: dir.to_owned(), store: store.clone(), _lock: lock };
        Views::start(store, Some(kept), ledger)
    }

    /// Views in memory, folded from the beginning.
    pub fn in_memory(ledger: Reader) -> Result<Views, Error> {
        Views::start(Arc::new(MemStore::default()), None, ledger)
    }

    fn start(store: Arc<dyn Store>, kept: Option<Kept>, reader: Reader) -> Result<Views, Error> {
        let views = Arc::new(ViewSet::default());
        let folder = Folder::open(store.clone(), views.clone())?;
        let inner = Arc::new(Inner {
            reader,
            shared: Arc::new(Shared { store, views }),
            visible: RwLock::new(Visible::of(&folder)),
            moved: watch::Sender::new(0),
            stop: AtomicBool::new(false),
            fault: Mutex::new(None),
        });
        let (running, broken_dir) = (inner.clone(), kept.as_ref().map(|kept| kept.dir.clone()));
        let spawned = std::thread::Builder::new()
            .name("fold".into())
            .spawn(move || run(&running, folder, broken_dir.as_deref()))
            .map_err(|error| Error::Store(format!("runner: {error}")))?;
        Ok(Views(Arc::new(Handle { inner, kept, runner: Mutex::new(Some(spawned)) })))
    }

    /// Stops the runner after the step at hand and flushes.
    pub fn close(&self) -> Result<(), Error> {
        self.0.close()
    }

    /// The ledger read handle.
    pub fn ledger(&self) -> &Reader {
        &self.0.inner.reader
    }

    /// Why the runner stopped, if it did: the store or the ledger failed.
    pub fn fault(&self) -> Option<String> {
        self.0.inner.fault.lock().clone()
    }

    /// Number of entries of a tenant that are visible.
    pub fn visible(&self, tenant: &TenantId) -> u64 {
        self.0.inner.visible.read().sizes.get(tenant).copied().unwrap_or(0)
    }

    /// Waits until an index is visible; `false` when the time ran out.
    pub async fn wait_visible(&self, tenant: &TenantId, index: u64, timeout: Duration) -> bool {
        let mut moved = self.0.inner.moved.subscribe();
        let seen = moved.wait_for(|_| self.visible(tenant) > index);
        matches!(tokio::time::timeout(timeout, seen).await, Ok(Ok(_)))
    }

    /// Blocks until every commit below `seq` is visible; `false` when the runner stopped before.
    pub fn wait_folded(&self, seq: u64) -> bool {
        let inner = &self.0.inner;
        loop {
            if inner.visible.read().next_seq >= seq {
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
        let next_index = self.visible(tenant);
        let size = log_of(tenant).map_or(0, |log| self.ledger().head(&log).size);
        let (lag_ms, root) = (self.lag_ms(tenant, now_ns), self.0.inner.visible.read().root.clone());
        let of_view = |name: &str| ViewProgress {
            name: name.to_owned(),
            next_index,
            lag_entries: size.saturating_sub(next_index),
            lag_ms,
            root: Some(root.clone()),
        };
        self.0.inner.shared.views.all().iter().map(|view| of_view(view.name())).collect()
    }

    /// Age in milliseconds of the oldest entry not yet visible; 0 when none.
    pub fn lag_ms(&self, tenant: &TenantId, now_ns: i64) -> u64 {
        let Some(log) = log_of(tenant) else { return 0 };
        let next = self.visible(tenant);
        if self.ledger().head(&log).size <= next {
            return 0;
        }
        let Ok(Some(entry)) = self.ledger().entry(&log, next) else { return 0 };
        let age_ns = now_ns.saturating_sub(decode_leaf(&entry.leaf).recorded_at);
        u64::try_from(age_ns / 1_000_000).unwrap_or(0)
    }

    /// A consistent scope for one question.
    pub fn at(&self, tenant: &TenantId, moment: Moment) -> Result<Scope, Error> {
        let inner = &self.0.inner;
        let (visible, seq_bound) = {
            let state = inner.visible.read();
            (state.sizes.get(tenant).copied().unwrap_or(0), state.next_seq)
        };
        let known = match (moment.as_of, log_of(tenant)) {
            (None, _) | (_, None) => visible,
            (Some(AsOf::Index(index)), _) => index.saturating_add(1),
            (Some(AsOf::Time(time)), Some(log)) => inner.reader.size_at(&log, time.0)?,
        };
        let bound = known.min(visible);
        Ok(Scope { shared: inner.shared.clone(), tenant: tenant.clone(), bound, seq_bound, at: moment.at })
    }

    /// Changes after (index, n), oldest first, at most `limit`; `None` when that is older than the last 100,000 changes.
    pub fn changes(
        &self,
        tenant: &TenantId,
        after: (u64, u32),
        limit: usize,
    ) -> Result<Option<Vec<ViewChange>>, Error> {
        let scope = self.at(tenant, Moment::default())?;
        let newest = scope.counter(CHANGES)?.unwrap_or(0);
        let seen = scope.counter_after(CHANGES, after.0)?.unwrap_or(newest);
        if newest.saturating_sub(seen) > CHANGES_KEPT {
            return Ok(None);
        }
        let mut found = Vec::new();
        let end = scope.bound.min(after.0.saturating_add(ENTRIES_PER_CHANGES_READ_MAX));
        for index in after.0..end {
            let of_entry = self.changes_of(tenant, index)?;
            found.extend(of_entry.into_iter().filter(|change| (change.index, change.n) > after));
            if found.len() >= limit {
                break;
            }
        }
        found.truncate(limit);
        Ok(Some(found))
    }

    /// Position of the newest visible change, to start a live stream from.
    pub fn newest_change(&self, tenant: &TenantId) -> (u64, u32) {
        let visible = self.visible(tenant);
        (visible.saturating_sub(1), if visible == 0 { 0 } else { u32::MAX })
    }

    /// The view root at the head, `sha256:` and hex, with the seq of the commit it is for.
    pub fn root(&self) -> (u64, String) {
        let visible = self.0.inner.visible.read();
        (visible.next_seq.saturating_sub(1), visible.root.clone())
    }

    /// The view roots that the ledger recorded, held against those of these views.
    pub fn recorded_roots(&self) -> ViewRoots {
        self.0.inner.visible.read().recorded.clone()
    }

    /// The root at the head as an event to record in a tenant's log; `None` before the first commit, and while the views are
    /// so far behind that whoever folds the record would no longer have the root to compare.
    pub fn root_to_record(&self, tenant: &TenantId) -> Option<ViewRootRecorded> {
        let visible = self.0.inner.visible.read();
        let behind = self.ledger().next_seq().saturating_sub(visible.next_seq);
        let in_reach = visible.next_seq > 0 && behind < COMMITS_KEPT_MAX as u64 / 2;
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

    fn changes_of(&self, tenant: &TenantId, index: u64) -> Result<Vec<ViewChange>, Error> {
        let Some(log) = log_of(tenant) else { return Ok(vec![]) };
        let Some(entry) = self.ledger().entry(&log, index)? else { return Ok(vec![]) };
        let mut facts = Vec::new();
        for part in &entry.facts {
            if let Some(bytes) = self.ledger().part(part)? {
                facts.extend(fact::decode_chunk(bytes).unwrap_or_default());
            }
        }
        Ok(changes::of_entry(index, &decode_leaf(&entry.leaf), facts.iter()))
    }
}

impl Handle {
    fn close(&self) -> Result<(), Error> {
        self.inner.stop.store(true, Ordering::Release);
        let Some(runner) = self.runner.lock().take() else { return Ok(()) };
        runner.join().map_err(|_| Error::Store("the runner panicked".into()))?;
        match &self.kept {
            Some(kept) if self.inner.fault.lock().is_none() => close_kept(kept),
            _ => Ok(()),
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
    marker::set_clean(&kept.dir).map_err(|error| Error::Store(format!("marker: {error}")))
}

/// What folding a ledger from its beginning came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Folded {
    /// Number of commits.
    pub commits: u64,
    /// The view root after them, `sha256:` and hex.
    pub root: String,
    /// The roots that the ledger recorded, held against those on the way.
    pub recorded: ViewRoots,
}

/// Wipes the views in a directory and folds the ledger up to its head; `progress` gets (commits folded, commits).
pub fn rebuild(
    dir: &Path,
    ledger: &Reader,
    options: &Options,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Folded, Error> {
    let failed = |error: std::io::Error| Error::Store(format!("marker: {error}"));
    let _lock = lock(dir)?;
    marker::set_broken(dir).map_err(failed)?;
    let store = open_store(dir, ledger, options)?;
    marker::set_running(dir).map_err(failed)?;
    let folded = fold_to_head(store.clone(), ledger, STEP_BYTES_MAX, progress)?;
    store.sync()?;
    marker::set_clean(dir).map_err(failed)?;
    Ok(folded)
}

/// Folds the ledger up to its head into memory, in steps of about `step_bytes` of journal; the root is to be compared with
/// [`Views::root`].
pub fn fold_into_memory(ledger: &Reader, step_bytes: usize) -> Result<Folded, Error> {
    fold_into(Arc::new(MemStore::default()), ledger, step_bytes)
}

/// Folds the ledger up to its head into an empty store, in steps of about `step_bytes` of journal.
pub fn fold_into(store: Arc<dyn Store>, ledger: &Reader, step_bytes: usize) -> Result<Folded, Error> {
    fold_to_head(store, ledger, step_bytes, &mut |_, _| ())
}

fn fold_to_head(
    store: Arc<dyn Store>,
    ledger: &Reader,
    step_bytes: usize,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Folded, Error> {
    let mut folder = Folder::open(store.clone(), Arc::new(ViewSet::default()))?;
    let end = ledger.next_seq();
    while folder.progress().next_seq < end {
        step(ledger, &mut folder, step_bytes)?;
        folder.finish_step(|_| Box::new(|| {}))?;
        progress(folder.progress().next_seq, end);
    }
    folder.settle()?;
    store.flush()?;
    let (commits, root) = (folder.progress().next_seq, folder.progress().root());
    Ok(Folded { commits, root, recorded: folder.roots().outcome().clone() })
}

/// Takes the directory for this process, before anything in it is wiped. A process that is just ending is waited for.
fn lock(dir: &Path) -> Result<fs::File, Error> {
    let failed = |error: std::io::Error| Error::Store(format!("lock: {error}"));
    fs::create_dir_all(dir).map_err(failed)?;
    let file = fs::File::options().create(true).truncate(false).write(true).open(dir.join("LOCK")).map_err(failed)?;
    let locked = wait_unlocked(|| match file.try_lock() {
        Ok(()) => Some(Ok(())),
        Err(fs::TryLockError::WouldBlock) => None,
        Err(fs::TryLockError::Error(error)) => Some(Err(failed(error))),
    });
    let advice = "one process folds and serves a directory; give another one its own --data, or stop the first";
    let in_use = || Error::Store(format!("{} is in use: {advice}", dir.display()));
    locked.ok_or_else(in_use)?.map(|()| file)
}

/// The store as it can be trusted: compared with the ledger, and empty when in doubt.
fn open_store(dir: &Path, ledger: &Reader, options: &Options) -> Result<Arc<SledStore>, Error> {
    let path = dir.join("rows");
    if marker::trusted(dir) {
        let (store, _) = SledStore::open(&path, options.cache_bytes)?;
        match doubt(&store, ledger)? {
            None => return Ok(Arc::new(store)),
            Some(reason) => tracing::warn!(reason, "views: folding anew"),
        }
    } else if path.exists() {
        tracing::warn!(reason = "not closed well", "views: folding anew");
    }
    if path.exists() {
        fs::remove_dir_all(&path).map_err(|error| Error::Store(format!("wipe: {error}")))?;
    }
    Ok(Arc::new(SledStore::open(&path, options.cache_bytes)?.0))
}

/// Why rows cannot be of this ledger; `None` when they can.
fn doubt(store: &dyn Store, ledger: &Reader) -> Result<Option<&'static str>, Error> {
    let Some(progress) = Progress::read(store)? else { return Ok(Some("no progress of this version")) };
    if progress.next_seq > ledger.next_seq() {
        return Ok(Some("ahead of the ledger"));
    }
    for (name, log) in &progress.logs {
        let Some(last) = log.next.checked_sub(1) else { continue };
        let entry = LogId::new(name).map(|log| ledger.entry(&log, last)).transpose()?.flatten();
        if entry.is_none_or(|entry| entry.leaf_hash.0 != log.leaf_hash) {
            return Ok(Some("of another ledger"));
        }
    }
    Ok(None)
}

/// Waits for commits, folds them, lets readers see them. The one loop of this crate.
fn run(inner: &Arc<Inner>, mut folder: Folder, broken_dir: Option<&Path>) {
    let mut unflushed = 0;
    let mut done = Ok(());
    while done.is_ok() && !inner.stop.load(Ordering::Acquire) {
        let next = folder.progress().next_seq;
        let idle = inner.reader.wait(next, WAIT) <= next;
        done = if idle {
            folder.settle().and_then(|()| flush_idle(inner, &mut unflushed))
        } else {
            run_step(inner, &mut folder, &mut unflushed)
        };
    }
    if let Err(error) = done.and_then(|()| folder.settle()) {
        tracing::error!(%error, seq = folder.progress().next_seq, "views: the runner stops");
        *inner.fault.lock() = Some(error.to_string());
        if let (Error::Store(_), Some(dir)) = (&error, broken_dir) {
            let _ = marker::set_broken(dir);
        }
    }
}

fn flush_idle(inner: &Inner, unflushed: &mut u32) -> Result<(), Error> {
    if std::mem::take(unflushed) > 0 { inner.shared.store.flush() } else { Ok(()) }
}

fn run_step(inner: &Arc<Inner>, folder: &mut Folder, unflushed: &mut u32) -> Result<(), Error> {
    step(&inner.reader, folder, STEP_BYTES_MAX)?;
    let showing = inner.clone();
    folder.finish_step(|folder| {
        let visible = Visible::of(folder);
        Box::new(move || {
            *showing.visible.write() = visible;
            showing.moved.send_modify(|n| *n += 1);
        })
    })?;
    *unflushed += 1;
    if *unflushed >= STEPS_PER_FLUSH { flush_idle(inner, unflushed) } else { Ok(()) }
}

/// What one step folds: commits → facts, chunk by chunk → rows.
fn step(reader: &Reader, folder: &mut Folder, bytes_max: usize) -> Result<(), Error> {
    let commits = reader.commits(folder.progress().next_seq, bytes_max)?;
    if commits.is_empty() {
        return Err(Error::Store("the ledger gave no commit where it has one".into()));
    }
    for commit in &commits {
        folder.fold_commit(&commit_in(commit), &|entry, chunk| fetch(reader, commit, entry, chunk))?;
    }
    Ok(())
}

fn fetch(reader: &Reader, commit: &Commit, entry: usize, chunk: usize) -> Result<Bytes, Error> {
    let part = commit.entries.get(entry).and_then(|entry| entry.facts.get(chunk));
    let bytes = part.map(|part| reader.part(part)).transpose()?.flatten();
    let missing = || Error::Ledger(pedigraph_ledger::Error::Corrupt(format!("facts of entry {entry} are gone")));
    bytes.ok_or_else(missing)
}

fn commit_in(commit: &Commit) -> CommitIn {
    let entry_in = |entry: &pedigraph_ledger::Entry| EntryIn {
        tenant: tenant_of(&entry.log),
        index: entry.index,
        leaf: entry.leaf.clone(),
        leaf_hash: entry.leaf_hash.0,
        chunks: entry.facts.len(),
    };
    let duplicate = |(log, source, n): &(LogId, String, u64)| (tenant_of(log), source.clone(), *n);
    CommitIn {
        seq: commit.seq,
        time: Nanos(commit.time_ns),
        entries: commit.entries.iter().map(entry_in).collect(),
        duplicates: commit.duplicates.iter().map(duplicate).collect(),
    }
}

/// A log's name has the form of a tenant's by contract.
fn tenant_of(log: &LogId) -> TenantId {
    TenantId::new(log.as_str()).unwrap_or_default()
}

fn log_of(tenant: &TenantId) -> Option<LogId> {
    LogId::new(tenant.as_str())
}
