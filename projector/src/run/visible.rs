//! What the runner and the read handle share: the ledger, the rows, and how much of them readers may see.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use pedigraph_ledger::Reader;
use pedigraph_proto::TenantId;
use tokio::sync::watch;

use super::deriver::DerivedProgress;
use super::folder::Folder;
use super::progress::{LogProgress, Progress};
use super::trace::CommitContext;
use crate::ask::answers::ViewRoots;
use crate::ask::scope::Shared;
use crate::derived::DerivedViews;
use crate::error::Error;
use crate::store::{Row, Store};

/// What readers may see.
#[derive(Clone, Default)]
pub(super) struct Visible {
    pub(super) next_seq: u64,
    /// Tenants of whom not every commit below that is folded: the one that is next for each.
    pub(super) behind: BTreeMap<TenantId, u64>,
    /// Entries of each tenant whose facts are folded.
    pub(super) sizes: BTreeMap<TenantId, u64>,
    /// Duplicates since a tenant's newest entry, by source.
    pub(super) duplicates: BTreeMap<TenantId, Arc<BTreeMap<String, u64>>>,
    pub(super) derived: Vec<Arc<DerivedProgress>>,
    pub(super) root: String,
    pub(super) recorded: ViewRoots,
    pub(super) unreadable: u64,
    pub(super) cut: u64,
}

impl Visible {
    pub(super) fn of(folder: &Folder) -> Visible {
        let progress = folder.progress();
        let size = |(name, log): (&String, &LogProgress)| Some((TenantId::new(name)?, log.next));
        let since =
            |(name, counts): (&String, &BTreeMap<String, u64>)| Some((TenantId::new(name)?, Arc::new(counts.clone())));
        Visible {
            next_seq: progress.next_seq,
            behind: progress.behind.iter().filter_map(|(name, seq)| Some((TenantId::new(name)?, *seq))).collect(),
            sizes: progress.logs.iter().filter_map(size).collect(),
            duplicates: progress.duplicates.iter().filter_map(since).collect(),
            derived: folder.derived(),
            root: progress.root(),
            recorded: folder.roots().outcome().clone(),
            unreadable: progress.unreadable,
            cut: progress.cut,
        }
    }

    /// Whether it shows anything that a progress has not come to.
    pub(super) fn is_beyond(&self, progress: &Progress) -> bool {
        let is_beyond = |(tenant, size): (&TenantId, &u64)| progress.next_of(tenant) < *size;
        progress.next_seq < self.next_seq || self.sizes.iter().any(is_beyond)
    }

    /// The commit below which a tenant's facts are folded.
    pub(super) fn seq_of(&self, tenant: &TenantId) -> u64 {
        self.behind.get(tenant).copied().unwrap_or(self.next_seq)
    }

    /// The commit below which everybody's facts are folded.
    pub(super) fn whole_seq(&self) -> u64 {
        self.behind.values().copied().min().unwrap_or(self.next_seq)
    }

    /// Number of a tenant's entries whose facts are folded.
    pub(super) fn folded(&self, tenant: &TenantId) -> u64 {
        self.sizes.get(tenant).copied().unwrap_or(0)
    }

    /// Number of a tenant's entries that the slowest view shows, of those that do not stand apart. Every question is
    /// bound by it, whatever it uses: its answer is as of one index, and these views keep up but for what touches very
    /// much at once.
    pub(super) fn shown(&self, tenant: &TenantId) -> u64 {
        self.shown_by(tenant, |view| !view.stands_apart)
    }

    /// Number of a tenant's entries that every view shows.
    pub(super) fn shown_by_all(&self, tenant: &TenantId) -> u64 {
        self.shown_by(tenant, |_| true)
    }

    fn shown_by(&self, tenant: &TenantId, counts: impl Fn(&DerivedProgress) -> bool) -> u64 {
        let folded = self.folded(tenant);
        let counting = self.derived.iter().filter(|view| counts(view));
        counting.map(|view| view.next_of(tenant, folded)).min().unwrap_or(folded)
    }
}

pub(super) struct Inner {
    pub(super) reader: Reader,
    pub(super) derived: Arc<DerivedViews>,
    pub(super) store: Arc<dyn Store>,
    /// What questions read, until the views are folded anew.
    pub(super) shared: RwLock<Arc<Shared>>,
    pub(super) visible: RwLock<Visible>,
    pub(super) moved: watch::Sender<u64>,
    pub(super) stop: AtomicBool,
    /// What failed last, until something was folded after it.
    pub(super) fault: Mutex<Option<String>>,
    /// How often anything failed.
    pub(super) faults: AtomicU64,
    /// Where the views are kept, if they are.
    pub(super) dir: Option<PathBuf>,
    pub(super) commit_context: OnceLock<CommitContext>,
    /// Ends what `shared` reads.
    pub(super) readable: Mutex<Arc<Readable>>,
    /// While the store is opened again.
    pub(super) renewal: Arc<Renewal>,
}

impl Inner {
    /// Ends every question that reads what was there, before the rows are removed.
    pub(super) fn begin_anew(&self) {
        let readable = Arc::new(Readable::new(self.store.clone(), self.renewal.clone()));
        let views = self.shared.read().views.clone();
        *self.visible.write() = Visible::default();
        *self.shared.write() = Arc::new(Shared { store: readable.clone(), views });
        std::mem::replace(&mut *self.readable.lock(), readable).end();
    }
}

/// The rows as one series of questions reads them. When the views are folded anew it ends: a question that began before
/// is told so, and does not take what is missing for an answer.
pub(super) struct Readable {
    store: Arc<dyn Store>,
    ended: AtomicBool,
    renewal: Arc<Renewal>,
}

/// That the store is opened again after a fault. It may have lost what it showed last: until that is known, nothing that
/// is read of it is part of an answer.
#[derive(Default)]
pub(super) struct Renewal {
    is_under_way: AtomicBool,
    lock: RwLock<()>,
}

impl Renewal {
    /// Renews the store; whoever reads meanwhile waits.
    pub(super) fn during<T>(&self, renew: impl FnOnce() -> T) -> T {
        let _waited_for = self.lock.write();
        self.is_under_way.store(true, Ordering::Release);
        let renewed = renew();
        self.is_under_way.store(false, Ordering::Release);
        renewed
    }

    fn wait(&self) {
        if self.is_under_way.load(Ordering::Acquire) {
            drop(self.lock.read());
        }
    }
}

impl Readable {
    pub(super) fn new(store: Arc<dyn Store>, renewal: Arc<Renewal>) -> Readable {
        Readable { store, ended: AtomicBool::new(false), renewal }
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Looks after the read: what was read before the end was whole.
    fn read<T>(&self, read: Result<T, Error>) -> Result<T, Error> {
        if !self.has_ended() {
            self.renewal.wait();
        }
        match self.has_ended() {
            true => Err(Error::FoldedAnew),
            false => read.map_err(|error| Error::Unreadable(error.to_string())),
        }
    }
}

impl Store for Readable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.read(self.store.get(key))
    }

    fn insert(&self, _key: &[u8], _value: &[u8]) -> Result<(), Error> {
        Err(read_only())
    }

    fn insert_new(&self, _key: &[u8], _value: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Err(read_only())
    }

    fn remove(&self, _key: &[u8]) -> Result<(), Error> {
        Err(read_only())
    }

    fn batch(&self, _rows: &[Row]) -> Result<(), Error> {
        Err(read_only())
    }

    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, limit: usize) -> Result<Vec<Row>, Error> {
        self.read(self.store.scan(from, to, reverse, limit))
    }

    fn flush(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn read_only() -> Error {
    Error::Store("questions write nothing".into())
}
