//! One tenant's part of a commit, folded as far as a budget goes: nothing of it counts before all of it is folded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pedigraph_proto::event::ViewRootRecorded;
use pedigraph_proto::wire::{Fact, Status};
use pedigraph_proto::{Event, canonical, fact};

use super::commit::{CommitIn, EntryIn, Part};
use super::deriver::Deriver;
use super::entry::EntryId;
use super::progress::Progress;
use crate::ask::subscribed;
use crate::error::Error;
use crate::facts::ViewSet;
use crate::facts::view::{CommitAt, EntryAt, EntrySummary, FactAt};
use crate::rows::Rows;
use crate::rows::root::RootState;
use crate::rows::sink::{RowSink, Unit};
use crate::rows::stamp::{Stamp, happened};
use crate::store::Store;

/// Bytes of a facts chunk that are as much work as a row.
const BYTES_PER_ROW: usize = 64;

/// How far a tenant's part of a commit is folded. It is in memory alone: after a restart the part is folded again, which
/// inserts the same rows.
pub(super) struct Piece {
    pub(super) part: Part,
    /// Duplicates that are counted with its entries, by source: also those of commits before it without any.
    pub(super) duplicates: BTreeMap<String, u64>,
    /// The index that is folded next.
    pub(super) next: u64,
    /// Leaf hash of the entry before, when it is of this part.
    pub(super) last: Option<[u8; 32]>,
    /// The units so far.
    pub(super) root: RootState,
    pub(super) unreadable: u64,
    pub(super) cut: u64,
    pub(super) recorded: Vec<(u64, ViewRootRecorded)>,
    entries: Vec<EntrySummary>,
    open: Option<Open>,
}

/// An entry that is being folded, before its chunk and fact of these numbers.
struct Open {
    summary: EntrySummary,
    unit: Unit,
    chunk: usize,
    fact: usize,
    ordinal: u32,
}

impl Piece {
    /// Of a part of the tenant's next commit.
    pub(super) fn of(part: Part, progress: &Progress) -> Piece {
        let (tenant, mut duplicates) = (&part.tenant, part.duplicates.clone());
        for (source, count) in progress.duplicates.get(tenant.as_str()).into_iter().flatten() {
            *duplicates.entry(source.clone()).or_default() += count;
        }
        Piece {
            next: progress.next_of(tenant),
            part,
            duplicates,
            last: None,
            root: RootState::default(),
            unreadable: 0,
            cut: 0,
            recorded: Vec::new(),
            entries: Vec::new(),
            open: None,
        }
    }
}

/// What folding works with.
pub(super) struct Folding {
    pub(super) store: Arc<dyn Store>,
    pub(super) views: Arc<ViewSet>,
    pub(super) sink: RowSink,
    pub(super) deriver: Deriver,
    buffer: Vec<u8>,
    /// Work that is no row, as rows.
    work: u64,
    /// Entries whose folding panicked again and again: they are gone past.
    pub(super) set_aside: BTreeSet<EntryId>,
    /// The entry that is being folded.
    pub(super) entry: Option<EntryId>,
}

impl Folding {
    /// With nothing folded.
    pub(super) fn new(store: Arc<dyn Store>, views: Arc<ViewSet>, sink: RowSink, deriver: Deriver) -> Folding {
        let (buffer, set_aside) = (Vec::new(), BTreeSet::new());
        Folding { store, views, sink, deriver, buffer, work: 0, set_aside, entry: None }
    }

    /// Rows that were put so far, and what else is work.
    pub(super) fn spent(&self) -> u64 {
        self.sink.put() + self.work
    }

    /// Counts what is no row.
    pub(super) fn worked(&mut self, rows: u64) {
        self.work += rows;
    }

    fn rows(&mut self, stamp: Stamp) -> Rows<'_> {
        Rows { store: self.store.as_ref(), sink: &mut self.sink, stamp, buffer: &mut self.buffer }
    }

    fn is_set_aside(&self) -> bool {
        self.entry.as_ref().is_some_and(|entry| self.set_aside.contains(entry))
    }

    /// Goes on with a part of a commit until `end` is spent, by one fact at least; whether all of it is folded.
    pub(super) fn go_on(&mut self, commit: CommitIn<'_>, piece: &mut Piece, end: u64) -> Result<bool, Error> {
        while let Some(entry) = piece.part.entries.get(piece.entries.len()).cloned() {
            let folded = self.fold_entry(commit, &entry, piece, end)?;
            piece.cut += self.sink.take_cut();
            self.entry = None;
            if !folded {
                return Ok(false);
            }
        }
        if !piece.entries.is_empty() {
            self.fold_commit_of(piece)?;
        }
        Ok(true)
    }

    fn fold_commit_of(&mut self, piece: &mut Piece) -> Result<(), Error> {
        let Part { tenant, seq, time, .. } = &piece.part;
        let (entries, duplicates, next_index) = (&piece.entries, &piece.duplicates, piece.next);
        let at = CommitAt { tenant, seq: *seq, next_index, entries, duplicates };
        let stamp = Stamp { index: next_index.saturating_sub(1), ordinal: u32::MAX, time: time.0 };
        let views = self.views.clone();
        views.all().iter().try_for_each(|view| view.fold_commit(&at, &mut self.rows(stamp)))?;
        self.sink.end_unit_in(&mut piece.root);
        Ok(())
    }

    /// Folds an entry on; whether all of it is folded.
    fn fold_entry(
        &mut self,
        commit: CommitIn<'_>,
        entry_in: &EntryIn,
        piece: &mut Piece,
        end: u64,
    ) -> Result<bool, Error> {
        let (tenant, index) = (piece.part.tenant.clone(), entry_in.index);
        if index != piece.next {
            return Err(Error::Store(format!("{tenant}: entry {index} came where {} is next", piece.next)));
        }
        self.entry = Some((tenant.clone(), index));
        let mut open = match piece.open.take() {
            Some(open) => open,
            None if self.spent() >= end => return Ok(false),
            None => self.open_entry(entry_in, piece)?,
        };
        self.sink.swap_unit(&mut open.unit);
        if self.is_set_aside() {
            count_unreadable(piece, entry_in, "set aside, since folding it panicked");
        } else if !self.fold_facts(commit, entry_in, &mut open, piece, end)? {
            self.sink.swap_unit(&mut open.unit);
            piece.open = Some(open);
            return Ok(false);
        }
        self.sink.end_unit_in(&mut piece.root);
        let mut summary = open.summary;
        if summary.unknown_facts > 0 {
            piece.unreadable += u64::from(summary.unknown_facts) - 1;
            count_unreadable(piece, entry_in, "facts of an unknown type");
        }
        summary.changes = subscribed::count_shown(summary.changes);
        piece.entries.push(summary);
        (piece.next, piece.last) = (index + 1, Some(entry_in.leaf_hash));
        self.deriver.folded(&tenant, index);
        Ok(true)
    }

    fn open_entry(&mut self, entry_in: &EntryIn, piece: &mut Piece) -> Result<Open, Error> {
        let index = entry_in.index;
        let decoded = canonical::decode_entry(&entry_in.leaf);
        if decoded.is_none() {
            count_unreadable(piece, entry_in, "leaf");
        }
        let (tenant, leaf_hash) = (&piece.part.tenant, entry_in.leaf_hash);
        let entry = decoded.unwrap_or_default();
        let summary = EntrySummary { entry, leaf_hash, code: None, changes: 0, unknown_facts: 0 };
        let stamp = Stamp::of_entry(index, &summary.entry);
        self.deriver.begin(tenant, stamp);
        let mut open = Open { summary, unit: Unit::default(), chunk: 0, fact: 0, ordinal: 0 };
        if self.is_set_aside() {
            return Ok(open);
        }
        let at = EntryAt { tenant, index, entry: &open.summary.entry };
        let views = self.views.clone();
        views.all().iter().try_for_each(|view| view.fold_entry(&at, &mut self.rows(stamp)))?;
        self.sink.swap_unit(&mut open.unit);
        Ok(open)
    }

    /// Folds facts on, chunk by chunk; whether all of them are folded.
    fn fold_facts(
        &mut self,
        commit: CommitIn<'_>,
        entry_in: &EntryIn,
        open: &mut Open,
        piece: &mut Piece,
        end: u64,
    ) -> Result<bool, Error> {
        while open.chunk < entry_in.chunks {
            let bytes = commit.chunk(entry_in, open.chunk)?;
            let chunk_work = bytes.len() / BYTES_PER_ROW;
            let facts = fact::decode_chunk(bytes).unwrap_or_else(|| {
                count_unreadable(piece, entry_in, "facts chunk");
                vec![]
            });
            let fact_work = (chunk_work / facts.len().max(1)) as u64;
            for fact in facts.iter().skip(open.fact) {
                self.fold_fact(entry_in, open, piece, fact)?;
                self.work += fact_work;
                open.ordinal += 1;
                open.fact += 1;
                if self.spent() >= end && (open.fact < facts.len() || open.chunk + 1 < entry_in.chunks) {
                    return Ok(false);
                }
            }
            (open.chunk, open.fact) = (open.chunk + 1, 0);
        }
        Ok(true)
    }

    fn fold_fact(&mut self, entry_in: &EntryIn, open: &mut Open, piece: &mut Piece, fact: &Fact) -> Result<(), Error> {
        let summary = &mut open.summary;
        let Some(event) = &fact.event else {
            summary.unknown_facts = summary.unknown_facts.saturating_add(1);
            return Ok(());
        };
        // Older versions took this from senders: only what was rejected is counted as such.
        if let (Event::MessageRejected(rejected), Status::Rejected) = (event, summary.entry.status()) {
            summary.code = Some(rejected.code.clone());
        }
        if let Event::ViewRootRecorded(recorded) = event {
            piece.recorded.push((entry_in.index, recorded.clone()));
        }
        summary.changes = summary.changes.saturating_add(subscribed::count(event));
        let occurred_at = happened(fact.occurred_at, &summary.entry);
        let at = FactAt {
            tenant: &piece.part.tenant,
            index: entry_in.index,
            ordinal: open.ordinal,
            entry: &summary.entry,
            leaf_hash: Some(&entry_in.leaf_hash),
            occurred_at,
            event,
        };
        let of_entry = Stamp::of_entry(entry_in.index, &summary.entry);
        let stamp = Stamp { ordinal: open.ordinal.saturating_add(1), time: occurred_at.0, ..of_entry };
        let views = self.views.clone();
        views.all().iter().try_for_each(|view| view.fold(&at, &mut self.rows(stamp)))?;
        self.deriver.touch(&at, &std::mem::take(&mut self.sink.told));
        Ok(())
    }
}

fn count_unreadable(piece: &mut Piece, entry: &EntryIn, what: &str) {
    piece.unreadable += 1;
    tracing::warn!(tenant = %piece.part.tenant, index = entry.index, what, "views: not readable by this version, gone past");
}
