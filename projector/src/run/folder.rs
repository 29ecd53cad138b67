//! Folding: commits in, rows and then progress out. Normal operation, rebuilds and comparisons all run this.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pedigraph_ledger::{Commit, Reader};
use pedigraph_proto::TenantId;

use super::behind::Behind;
use super::commit::CommitIn;
use super::deriver::{APART_ROWS, DerivedProgress, Deriver, Turn};
use super::entry::EntryId;
use super::piece::{Folding, Piece};
use super::progress::{LogProgress, Progress};
use super::recorded::Roots;
use crate::ask::scope::Shared;
use crate::derived::DerivedViews;
use crate::error::Error;
use crate::facts::ViewSet;
use crate::rows::inserter::Then;
use crate::rows::root::RootState;
use crate::rows::sink::RowSink;
use crate::store::Store;

/// Bytes of journal of a step that are as much work as a row. A step of 1 MiB does 65,536 rows for commits in their order:
/// several times what so much of small entries takes. What does not fit is done in turns of its tenant's own, so that
/// nobody waits for another one's wide entry.
const BYTES_PER_ROW: usize = 16;

/// The part of a step's rows that is a turn of all who are behind: 16,384 of a step of 1 MiB.
const TURNS_PER_STEP: u64 = 4;
/// The part of a step's rows that is much for one tenant: 4,096 of a step of 1 MiB, a quarter of a turn.
const MUCH_OF_STEP: u64 = 16;
/// The part of a step's rows that is little for everybody: 1,024 of a step of 1 MiB.
const LITTLE_OF_STEP: u64 = 64;
/// The part of a turn that is one tenant's before the next one goes on.
const TENANTS_PER_TURN: u64 = 4;
/// Bytes of journal that a tenant's turn reads at once, and what that is as work.
const READ_BYTES: usize = 256 << 10;
const READ_WORK: u64 = 256;

/// Folds commits into a store.
pub(crate) struct Folder {
    folding: Folding,
    progress: Progress,
    roots: Roots,
    behind: Behind,
    /// Rows that the step at hand spent on commits in their order, by tenant.
    took: BTreeMap<TenantId, u64>,
    /// Tenants that the step at hand folds, and how many of their entries are in steps before.
    moved: BTreeMap<TenantId, u64>,
    /// What the step at hand may spend on commits in their order.
    rows_max: u64,
    /// What is spent when it has.
    end: u64,
    /// Views that stand apart were behind when the step at hand began.
    apart_waits: bool,
    /// What the last step spent, where views that stand apart have the next one for it.
    apart_has: Option<u64>,
}

impl Folder {
    /// Goes on from what the store holds, or from nothing.
    pub(crate) fn open(
        store: Arc<dyn Store>,
        views: Arc<ViewSet>,
        derived: Arc<DerivedViews>,
    ) -> Result<Folder, Error> {
        let progress = Progress::read(store.as_ref())?.unwrap_or_default();
        let sink = RowSink::new(store.clone(), RootState::from_bytes(&progress.root).unwrap_or_default());
        for view in views.all() {
            view.opened(store.as_ref(), &|tenant| progress.next_of(tenant))?;
        }
        let roots = Roots::open(store.as_ref(), progress.next_seq, sink.root())?;
        let shared = Arc::new(Shared { store: store.clone(), views: views.clone() });
        let deriver = Deriver::open(&shared, derived, &progress)?;
        let folding = Folding::new(store, views, sink, deriver);
        let (behind, took, moved) = (Behind::default(), BTreeMap::new(), BTreeMap::new());
        let (rows_max, end, apart_waits, apart_has) = (0, 0, false, None);
        Ok(Folder { folding, progress, roots, behind, took, moved, rows_max, end, apart_waits, apart_has })
    }

    /// Goes past some entries, which are counted as not readable.
    pub(crate) fn set_aside(&mut self, entries: BTreeSet<EntryId>) {
        self.folding.set_aside = entries;
    }

    /// The entry that is being folded.
    pub(crate) fn folding(&self) -> Option<&EntryId> {
        self.folding.entry.as_ref()
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(crate) fn roots(&self) -> &Roots {
        &self.roots
    }

    /// How far derived views are, as of the last step that was finished.
    pub(crate) fn derived(&self) -> Vec<Arc<DerivedProgress>> {
        self.folding.deriver.shown()
    }

    /// Whether more is to be folded than the step at hand did.
    pub(crate) fn has_more(&self, reader: &Reader) -> bool {
        !self.progress.behind.is_empty() || self.progress.next_seq < reader.next_seq()
    }

    /// Whether there is anything to do without another commit.
    pub(crate) fn has_work(&self) -> bool {
        !self.progress.behind.is_empty() || self.derives()
    }

    /// Whether derived views are behind the facts.
    fn derives(&self) -> bool {
        self.is_behind(false) || self.is_behind(true)
    }

    fn is_behind(&self, apart: bool) -> bool {
        self.folding.deriver.is_behind(&self.progress, apart)
    }

    /// Whether the step that begins is for views that stand apart: every second one while they are behind, and all while
    /// there is nothing else to do.
    pub(crate) fn is_apart(&self, reader: &Reader) -> bool {
        let alone = !self.has_more(reader) && !self.is_behind(false);
        self.apart_waits && (alone || self.apart_has.is_some())
    }

    /// Derives views that stand apart: as much as the facts before them took, and on until a commit waits.
    pub(crate) fn derive_apart(&mut self, reader: &Reader) -> Result<(), Error> {
        self.folding.sink.settle_steps()?;
        let facts_took = self.apart_has.take().unwrap_or(0);
        self.turn(reader, |turn| turn.apart(turn.rows_max, facts_took.clamp(1, turn.rows_max)))
    }

    /// Derives within a turn's budget what answers are bound by. With more to fold it derives from steps that are in the
    /// store already, so as not to wait; else from this one too, so that it becomes visible together. Views that stand
    /// apart go on with it where they have little to do, and else have the next step.
    pub(crate) fn derive(&mut self, reader: &Reader, more_to_fold: bool) -> Result<(), Error> {
        if !self.derives() {
            return Ok(());
        }
        if more_to_fold {
            self.folding.sink.settle_steps()?;
        } else {
            self.folding.sink.settle()?;
            self.moved.clear();
        }
        self.turn(reader, |turn| turn)?;
        if !self.apart_waits {
            self.turn(reader, |turn| turn.apart(APART_ROWS.min(turn.rows_max), 0))?;
        }
        self.apart_has = self.is_behind(true).then(|| self.took_so_far());
        Ok(())
    }

    fn turn(&mut self, reader: &Reader, of: impl for<'a> FnOnce(Turn<'a>) -> Turn<'a>) -> Result<(), Error> {
        let (facts, moved) = (&self.progress, &self.moved);
        let in_store = |tenant: &TenantId| moved.get(tenant).copied().unwrap_or_else(|| facts.next_of(tenant));
        let turn = of(self.folding.deriver.turn(reader, facts, &in_store, &self.folding.set_aside));
        self.folding.deriver.derive(&turn, &mut self.folding.entry)
    }

    /// A step begins that folds about so many bytes of journal. Where the last one left commits, tenants that took much
    /// of it go on in turns from here, so that nobody waits for all that one of them sent.
    pub(crate) fn begin_step(&mut self, bytes_max: usize, left_commits: bool) {
        let took = std::mem::take(&mut self.took);
        let much = took.into_iter().filter(|(_, rows)| left_commits && *rows > self.rows_max / MUCH_OF_STEP);
        for (tenant, _) in much {
            self.progress.behind.entry(tenant.as_str().to_owned()).or_insert(self.progress.next_seq);
        }
        self.rows_max = (bytes_max / BYTES_PER_ROW) as u64;
        self.end = self.folding.spent() + self.rows_max;
        self.apart_waits = self.is_behind(true);
    }

    /// Folds the next commit, but for tenants that are behind: those have turns of their own ([`Folder::catch_up`]).
    /// Nothing of it is visible before [`Folder::finish_step`].
    pub(crate) fn fold_commit(&mut self, reader: &Reader, commit: &Commit) -> Result<(), Error> {
        let commit_in = CommitIn { reader, commit };
        for part in commit_in.parts() {
            if self.progress.is_behind(&part.tenant) {
                continue;
            }
            let (tenant, before) = (part.tenant.clone(), self.folding.spent());
            let mut piece = Piece::of(part, &self.progress);
            let folded = self.folding.go_on(commit_in, &mut piece, self.end)?;
            *self.took.entry(tenant).or_default() += self.folding.spent() - before;
            if folded {
                self.finish(piece);
            } else {
                self.progress.behind.insert(piece.part.tenant.as_str().to_owned(), commit.seq);
                self.behind.keep(piece);
            }
        }
        self.progress.next_seq = commit.seq + 1;
        self.roots.folded(self.progress.next_seq, self.folding.sink.root());
        Ok(())
    }

    /// A turn of the tenants that are behind.
    pub(crate) fn catch_up(&mut self, reader: &Reader) -> Result<(), Error> {
        let rows = (self.rows_max / TURNS_PER_STEP).max(1);
        let end = self.folding.spent() + rows;
        while self.folding.spent() < end {
            let Some(tenant) = self.behind.next(&self.progress.behind) else { return Ok(()) };
            self.catch_up_of(reader, &tenant, (rows / TENANTS_PER_TURN).max(1))?;
        }
        Ok(())
    }

    fn catch_up_of(&mut self, reader: &Reader, tenant: &TenantId, rows: u64) -> Result<(), Error> {
        // Reading is work, but no turn ends with it.
        let mut end = None;
        while let Some(seq) = self.progress.behind.get(tenant.as_str()).copied() {
            if seq >= self.progress.next_seq {
                self.progress.behind.remove(tenant.as_str());
                return Ok(());
            }
            let commits = reader.commits(seq, READ_BYTES)?;
            self.folding.worked(READ_WORK);
            let end = *end.get_or_insert(self.folding.spent() + rows);
            let end_seq = self.progress.next_seq;
            for commit in commits.iter().take_while(|commit| commit.seq < end_seq) {
                if !self.catch_up_with(tenant, CommitIn { reader, commit }, end)? {
                    return Ok(());
                }
                self.progress.behind.insert(tenant.as_str().to_owned(), commit.seq + 1);
            }
            if commits.is_empty() {
                return Err(Error::Store("the ledger gave no commit where it has one".into()));
            }
        }
        Ok(())
    }

    /// Goes on with a tenant's part of a commit; whether it is done.
    fn catch_up_with(&mut self, tenant: &TenantId, commit: CommitIn<'_>, end: u64) -> Result<bool, Error> {
        let begun = self.behind.take(tenant);
        let piece = begun.or_else(|| Some(Piece::of(commit.part_of(tenant)?, &self.progress)));
        let Some(mut piece) = piece else { return Ok(true) };
        if self.folding.spent() >= end || !self.folding.go_on(commit, &mut piece, end)? {
            self.behind.keep(piece);
            return Ok(false);
        }
        self.roots.late(piece.part.seq, &piece.root);
        self.finish(piece);
        Ok(true)
    }

    /// A tenant's part of a commit is folded: now it counts.
    fn finish(&mut self, piece: Piece) {
        self.folding.sink.add(&piece.root);
        self.progress.unreadable += piece.unreadable;
        self.progress.cut += piece.cut;
        let whole = self.progress.whole_seq();
        for (index, recorded) in piece.recorded {
            self.roots.take(index, recorded, whole);
        }
        let tenant = piece.part.tenant;
        let name = tenant.as_str().to_owned();
        match piece.last {
            Some(leaf_hash) => {
                let before = self.progress.next_of(&tenant);
                self.moved.entry(tenant).or_insert(before);
                self.progress.duplicates.remove(&name);
                self.progress.logs.insert(name, LogProgress { next: piece.next, leaf_hash });
            }
            None => drop(self.progress.duplicates.insert(name, piece.duplicates)),
        }
    }

    /// Whether the step at hand has done what one step should.
    pub(crate) fn is_spent(&self) -> bool {
        self.folding.spent() >= self.end
    }

    /// Whether there was little to do for the commits of the step at hand: they are of tenants that are behind.
    pub(crate) fn did_little(&self) -> bool {
        self.took_so_far() < self.rows_max / LITTLE_OF_STEP
    }

    /// Rows that the step at hand spent on facts.
    fn took_so_far(&self) -> u64 {
        self.folding.spent() - (self.end - self.rows_max)
    }

    /// Ends a step: progress is written after its rows, then what `show` gives is called. Only then is what was folded
    /// visible, and a crash before folds it again. That happens beside the next step; a fault in it is told by the next
    /// end, or by [`Folder::settle`].
    pub(crate) fn finish_step(&mut self, show: impl FnOnce(&Folder) -> Then) -> Result<(), Error> {
        self.roots.compare_waiting(self.progress.whole_seq());
        let mut last = self.progress.rows(self.folding.sink.root())?;
        last.extend(self.roots.row()?);
        last.extend(self.folding.deriver.rows(&self.progress)?);
        self.moved.clear();
        let shown = show(self);
        self.folding.sink.end_step(last, shown)
    }

    /// Waits until every step that was finished is visible.
    pub(crate) fn settle(&mut self) -> Result<(), Error> {
        self.folding.sink.settle()
    }
}
