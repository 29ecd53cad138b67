//! Folding: commits in, rows and then progress out. Normal operation, rebuilds and comparisons all run this.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use pedigraph_proto::wire::{Entry, Fact, Status};
use pedigraph_proto::{Event, Nanos, TenantId, canonical, fact};

use super::progress::{LogProgress, PROGRESS_KEY, Progress};
use super::recorded::Roots;
use crate::ask::subscribed;
use crate::error::Error;
use crate::facts::ViewSet;
use crate::facts::view::{CommitAt, EntryAt, EntrySummary, FactAt};
use crate::rows::Rows;
use crate::rows::inserter::Then;
use crate::rows::root::RootState;
use crate::rows::sink::RowSink;
use crate::rows::stamp::{Stamp, happened};
use crate::store::Store;

/// An entry to fold; its facts are fetched chunk by chunk.
#[derive(Clone, Debug)]
pub(crate) struct EntryIn {
    pub(crate) tenant: TenantId,
    pub(crate) index: u64,
    pub(crate) leaf: Bytes,
    pub(crate) leaf_hash: [u8; 32],
    pub(crate) chunks: usize,
}

/// A tenant and an index in its log.
pub(crate) type EntryId = (TenantId, u64);

/// A commit to fold.
#[derive(Clone, Debug)]
pub(crate) struct CommitIn {
    pub(crate) seq: u64,
    pub(crate) time: Nanos,
    pub(crate) entries: Vec<EntryIn>,
    pub(crate) duplicates: Vec<(TenantId, String, u64)>,
}

/// Fetches a facts chunk of a commit: number of the entry in it, number of the chunk.
pub(crate) type FetchChunk<'a> = &'a dyn Fn(usize, usize) -> Result<Bytes, Error>;

/// Folds commits into a store.
pub(crate) struct Folder {
    store: Arc<dyn Store>,
    views: Arc<ViewSet>,
    progress: Progress,
    sink: RowSink,
    roots: Roots,
    buffer: Vec<u8>,
    /// Entries whose folding panicked again and again: they are gone past.
    set_aside: BTreeSet<EntryId>,
    /// The entry that is being folded.
    folding: Option<EntryId>,
}

impl Folder {
    /// Goes on from what the store holds, or from nothing.
    pub(crate) fn open(store: Arc<dyn Store>, views: Arc<ViewSet>) -> Result<Folder, Error> {
        let progress = Progress::read(store.as_ref())?.unwrap_or_default();
        let mut sink = RowSink::new(store.clone(), RootState::from_bytes(&progress.root).unwrap_or_default());
        sink.cut(progress.cut);
        for view in views.all() {
            view.opened(store.as_ref(), &|tenant| progress.next_of(tenant))?;
        }
        let roots = Roots::open(store.as_ref(), progress.next_seq, sink.root())?;
        let (set_aside, folding) = (BTreeSet::new(), None);
        Ok(Folder { store, views, progress, sink, roots, buffer: Vec::new(), set_aside, folding })
    }

    /// Goes past some entries, which are counted as not readable.
    pub(crate) fn set_aside(&mut self, entries: BTreeSet<EntryId>) {
        self.set_aside = entries;
    }

    /// The entry that is being folded.
    pub(crate) fn folding(&self) -> Option<&EntryId> {
        self.folding.as_ref()
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(crate) fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Folds one commit. Nothing of it is visible before [`Folder::finish_step`].
    pub(crate) fn fold_commit(&mut self, commit: &CommitIn, fetch: FetchChunk<'_>) -> Result<(), Error> {
        let mut folded: BTreeMap<TenantId, Vec<EntrySummary>> = BTreeMap::new();
        for (number, entry) in commit.entries.iter().enumerate() {
            let summary = self.fold_entry(entry, &|chunk| fetch(number, chunk))?;
            folded.entry(entry.tenant.clone()).or_default().push(summary);
        }
        let mut duplicates: BTreeMap<TenantId, Vec<(String, u64)>> = BTreeMap::new();
        for (tenant, source, count) in &commit.duplicates {
            duplicates.entry(tenant.clone()).or_default().push((source.clone(), *count));
            folded.entry(tenant.clone()).or_default();
        }
        for (tenant, entries) in &folded {
            let duplicates = duplicates.get(tenant).map(Vec::as_slice).unwrap_or_default();
            self.fold_commit_of(commit, tenant, entries, duplicates)?;
        }
        self.progress.next_seq = commit.seq + 1;
        self.roots.folded(self.progress.next_seq, self.sink.root());
        Ok(())
    }

    fn fold_commit_of(
        &mut self,
        commit: &CommitIn,
        tenant: &TenantId,
        entries: &[EntrySummary],
        duplicates: &[(String, u64)],
    ) -> Result<(), Error> {
        let next_index = self.progress.next_of(tenant);
        let at = CommitAt { tenant, seq: commit.seq, next_index, entries, duplicates };
        let index = next_index.saturating_sub(1);
        let stamp = Stamp { index, ordinal: u32::MAX, time: commit.time.0 };
        let views = self.views.clone();
        views.all().iter().try_for_each(|view| view.fold_commit(&at, &mut self.rows(stamp)))?;
        self.sink.end_unit();
        Ok(())
    }

    fn fold_entry(
        &mut self,
        entry_in: &EntryIn,
        chunk: &dyn Fn(usize) -> Result<Bytes, Error>,
    ) -> Result<EntrySummary, Error> {
        let (tenant, index, leaf_hash) = (&entry_in.tenant, entry_in.index, &entry_in.leaf_hash);
        let expected = self.progress.next_of(tenant);
        if index != expected {
            return Err(Error::Store(format!("{tenant}: entry {index} came where {expected} is next")));
        }
        let decoded = canonical::decode_entry(&entry_in.leaf);
        if decoded.is_none() {
            self.count_unreadable(tenant, index, "leaf");
        }
        let entry = decoded.unwrap_or_default();
        let mut summary = EntrySummary { entry, code: None, changes: 0, unknown_facts: 0 };
        let log = LogProgress { next: index + 1, leaf_hash: *leaf_hash };
        self.folding = Some((tenant.clone(), index));
        if self.folding.as_ref().is_some_and(|entry| self.set_aside.contains(entry)) {
            self.count_unreadable(tenant, index, "set aside, since folding it panicked");
            self.progress.logs.insert(tenant.as_str().to_owned(), log);
            self.folding = None;
            return Ok(summary);
        }
        let at = EntryAt { tenant, index, entry: &summary.entry, leaf_hash };
        let stamp = Stamp::of_entry(index, &summary.entry);
        let views = self.views.clone();
        views.all().iter().try_for_each(|view| view.fold_entry(&at, &mut self.rows(stamp)))?;
        let mut ordinal = 0;
        for number in 0..entry_in.chunks {
            let Some(facts) = fact::decode_chunk(chunk(number)?) else {
                self.count_unreadable(tenant, index, "facts chunk");
                continue;
            };
            for fact in &facts {
                self.fold_fact(entry_in, &mut summary, ordinal, fact)?;
                ordinal += 1;
            }
        }
        if summary.unknown_facts > 0 {
            self.progress.unreadable += u64::from(summary.unknown_facts) - 1;
            self.count_unreadable(tenant, index, "facts of an unknown type");
        }
        self.sink.end_unit();
        summary.changes = subscribed::count_shown(summary.changes);
        self.progress.logs.insert(tenant.as_str().to_owned(), log);
        self.folding = None;
        Ok(summary)
    }

    fn fold_fact(
        &mut self,
        entry_in: &EntryIn,
        summary: &mut EntrySummary,
        ordinal: u32,
        fact: &Fact,
    ) -> Result<(), Error> {
        let Some(event) = &fact.event else {
            summary.unknown_facts = summary.unknown_facts.saturating_add(1);
            return Ok(());
        };
        // Older versions took this from senders: only what was rejected is counted as such.
        if let (Event::MessageRejected(rejected), Status::Rejected) = (event, summary.entry.status()) {
            summary.code = Some(rejected.code.clone());
        }
        if let Event::ViewRootRecorded(recorded) = event {
            self.roots.compare(entry_in.index, recorded);
        }
        summary.changes = summary.changes.saturating_add(subscribed::count(event));
        let occurred_at = happened(fact.occurred_at, &summary.entry);
        let at = FactAt {
            tenant: &entry_in.tenant,
            index: entry_in.index,
            ordinal,
            entry: &summary.entry,
            occurred_at,
            event,
        };
        let of_entry = Stamp::of_entry(entry_in.index, &summary.entry);
        let stamp = Stamp { ordinal: ordinal.saturating_add(1), time: occurred_at.0, ..of_entry };
        let views = self.views.clone();
        views.all().iter().try_for_each(|view| view.fold(&at, &mut self.rows(stamp)))
    }

    /// Ends a step: progress is written after its rows, then what `show` gives is called. Only then is what was folded
    /// visible, and a crash before folds it again. That happens beside the next step; a fault in it is told by the next
    /// end, or by [`Folder::settle`].
    pub(crate) fn finish_step(&mut self, show: impl FnOnce(&Folder) -> Then) -> Result<(), Error> {
        self.progress.root = self.sink.root().to_bytes();
        self.progress.cut = self.sink.cut(0);
        let unwritable = |error| Error::Store(format!("progress: {error}"));
        let value = postcard::to_stdvec(&self.progress).map_err(unwritable)?;
        let mut last = vec![(PROGRESS_KEY.to_vec(), value)];
        last.extend(self.roots.row()?);
        let shown = show(self);
        self.sink.end_step(last, shown)
    }

    /// Waits until every step that was finished is visible.
    pub(crate) fn settle(&mut self) -> Result<(), Error> {
        self.sink.settle()
    }

    fn rows(&mut self, stamp: Stamp) -> Rows<'_> {
        Rows { store: self.store.as_ref(), sink: &mut self.sink, stamp, buffer: &mut self.buffer }
    }

    fn count_unreadable(&mut self, tenant: &TenantId, index: u64, what: &str) {
        self.progress.unreadable += 1;
        tracing::warn!(%tenant, index, what, "views: not readable by this version, gone past");
    }
}

/// An entry decoded without its facts, for callers outside a fold.
pub(crate) fn decode_leaf(leaf: &[u8]) -> Entry {
    canonical::decode_entry(leaf).unwrap_or_default()
}
