//! View roots that the ledger recorded, held against those that this fold came to (DESIGN §3.4).
//!
//! A root is recorded after the commit that it is of, by the process that writes the ledger. Whoever folds the ledger
//! meets the record later, so the roots of the newest commits are kept until then. What a comparison came to is stored
//! with the progress of its step: an alarm must outlive the process that raised it.

use std::collections::VecDeque;

use pedigraph_proto::event::ViewRootRecorded;
use serde::{Deserialize, Serialize};

use super::progress::ROWS_VERSION;
use crate::ask::answers::{ComparedRoot, ViewRoots};
use crate::error::Error;
use crate::rows::root::RootState;
use crate::store::Store;

/// Commits whose roots are kept, 2 KiB each: a record that names an older one is not compared.
pub(crate) const COMMITS_KEPT_MAX: usize = 1_024;
/// Records of roots that wait until every tenant has come to where they are of.
const WAITING_MAX: usize = 256;
/// Key of the row with the outcome; no tenant's key begins so.
const ROOTS_KEY: &[u8] = &[0, b'r'];

/// A row: key and value.
type Pair = (Vec<u8>, Vec<u8>);

/// The outcome as it is stored.
#[derive(Default, Serialize, Deserialize)]
struct Row {
    compared: u64,
    mismatched: u64,
    other_version: u64,
    out_of_reach: u64,
    last: Option<ComparedRoot>,
    first_mismatch: Option<ComparedRoot>,
}

/// The roots of the newest commits, and what was compared.
pub(crate) struct Roots {
    /// Number of commits that are folded, and the root then; ascending.
    kept: VecDeque<(u64, RootState)>,
    /// Of commits that are not folded for every tenant yet: index, and the record.
    waiting: Vec<(u64, ViewRootRecorded)>,
    outcome: ViewRoots,
    changed: bool,
}

impl Roots {
    /// Goes on from what the store holds, or from nothing.
    pub(crate) fn open(store: &dyn Store, next_seq: u64, root: &RootState) -> Result<Roots, Error> {
        let stored = store.get(ROOTS_KEY)?.and_then(|bytes| postcard::from_bytes::<Row>(&bytes).ok());
        // Without progress the rows are folded from the beginning, and everything is compared anew.
        let row = stored.filter(|_| next_seq > 0).unwrap_or_default();
        let Row { compared, mismatched, other_version, out_of_reach, last, first_mismatch } = row;
        let outcome = ViewRoots { compared, mismatched, other_version, out_of_reach, last, first_mismatch };
        let kept = VecDeque::from([(next_seq, root.clone())]);
        Ok(Roots { kept, waiting: Vec::new(), outcome, changed: false })
    }

    /// Keeps the root after a commit.
    pub(crate) fn folded(&mut self, next_seq: u64, root: &RootState) {
        let mut kept = match self.kept.len() < COMMITS_KEPT_MAX {
            true => RootState::default(),
            false => self.kept.pop_front().map(|(_, oldest)| oldest).unwrap_or_default(),
        };
        kept.clone_from(root);
        self.kept.push_back((next_seq, kept));
    }

    /// Adds what a tenant's part of a commit came to, which was folded after later commits.
    pub(crate) fn late(&mut self, seq: u64, units: &RootState) {
        let from = self.kept.partition_point(|(next_seq, _)| *next_seq <= seq);
        self.kept.range_mut(from..).for_each(|(_, root)| root.add_all(units));
    }

    /// Takes a root that entry `index` recorded, while everything below commit `whole` is folded.
    pub(crate) fn take(&mut self, index: u64, recorded: ViewRootRecorded, whole: u64) {
        if recorded.next_seq <= whole {
            self.compare(index, &recorded);
        } else if self.waiting.len() < WAITING_MAX {
            self.waiting.push((index, recorded));
        } else {
            self.outcome.out_of_reach += 1;
            self.changed = true;
        }
    }

    /// Compares what has waited for everything below commit `whole`.
    pub(crate) fn compare_waiting(&mut self, whole: u64) {
        for (index, recorded) in
            self.waiting.extract_if(.., |(_, recorded)| recorded.next_seq <= whole).collect::<Vec<_>>()
        {
            self.compare(index, &recorded);
        }
    }

    /// Compares a root that entry `index` recorded.
    fn compare(&mut self, index: u64, recorded: &ViewRootRecorded) {
        self.changed = true;
        if recorded.view_schema != ROWS_VERSION {
            self.outcome.other_version += 1;
            return;
        }
        let at = self.kept.binary_search_by_key(&recorded.next_seq, |(next_seq, _)| *next_seq);
        let Some((_, own)) = at.ok().and_then(|at| self.kept.get(at)) else {
            self.outcome.out_of_reach += 1;
            return;
        };
        let own = own.show();
        let equal = own == recorded.root;
        let seq = recorded.next_seq.saturating_sub(1);
        let compared = ComparedRoot { index, seq, root: recorded.root.clone(), own, equal };
        self.outcome.compared += 1;
        if !equal {
            tracing::error!(index, seq, recorded = compared.root, own = compared.own, "views: not the recorded root");
            self.outcome.mismatched += 1;
            self.outcome.first_mismatch.get_or_insert_with(|| compared.clone());
        }
        self.outcome.last = Some(compared);
    }

    /// What was compared so far.
    pub(crate) fn outcome(&self) -> &ViewRoots {
        &self.outcome
    }

    /// The row to store when something was compared since the last time.
    pub(crate) fn row(&mut self) -> Result<Option<Pair>, Error> {
        if !std::mem::take(&mut self.changed) {
            return Ok(None);
        }
        let ViewRoots { compared, mismatched, other_version, out_of_reach, last, first_mismatch } =
            self.outcome.clone();
        let row = Row { compared, mismatched, other_version, out_of_reach, last, first_mismatch };
        let value = postcard::to_stdvec(&row).map_err(|error| Error::Store(format!("view roots: {error}")))?;
        Ok(Some((ROOTS_KEY.to_vec(), value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemStore;

    fn state(n: u8) -> RootState {
        RootState::from_bytes(&[n; crate::rows::root::STATE_BYTES]).expect("of the right length")
    }

    fn record(next_seq: u64, n: u8) -> ViewRootRecorded {
        ViewRootRecorded { view_schema: ROWS_VERSION, next_seq, root: state(n).show(), next_index: 0 }
    }

    #[test]
    fn only_what_is_in_reach_and_of_this_version_is_compared() {
        let store = MemStore::default();
        let mut roots = Roots::open(&store, 5, &state(5)).expect("in memory");
        roots.compare(7, &record(5, 5));
        roots.compare(8, &record(4, 4));
        roots.compare(9, &record(6, 6));
        roots.compare(10, &ViewRootRecorded { view_schema: ROWS_VERSION + 1, ..record(5, 6) });
        for n in 0..COMMITS_KEPT_MAX as u64 {
            roots.folded(6 + n, &state(6));
        }
        assert_eq!(roots.kept.len(), COMMITS_KEPT_MAX);
        roots.compare(11, &record(5, 5));
        roots.compare(12, &record(6, 6));
        let outcome = roots.outcome().clone();
        let counts = (outcome.compared, outcome.mismatched, outcome.out_of_reach, outcome.other_version);
        assert_eq!(counts, (2, 0, 3, 1), "{outcome:?}");
        assert_eq!(outcome.last.map(|last| (last.index, last.seq, last.equal)), Some((12, 5, true)));
    }

    #[test]
    fn a_difference_is_kept_over_a_restart_and_forgotten_by_a_rebuild() {
        let store = MemStore::default();
        let mut roots = Roots::open(&store, 5, &state(5)).expect("in memory");
        roots.compare(7, &record(5, 4));
        roots.compare(8, &record(5, 5));
        let (key, value) = roots.row().expect("written").expect("something changed");
        assert!(roots.row().expect("written").is_none());
        store.insert(&key, &value).expect("in memory");
        let again = Roots::open(&store, 6, &state(6)).expect("in memory");
        assert_eq!(again.outcome(), roots.outcome());
        assert_eq!((again.outcome().compared, again.outcome().mismatched), (2, 1));
        let first = again.outcome().first_mismatch.clone().expect("a mismatch");
        assert_eq!((first.index, first.seq, first.equal), (7, 4, false));
        assert_eq!((first.root, first.own), (state(4).show(), state(5).show()));
        let anew = Roots::open(&store, 0, &RootState::default()).expect("in memory");
        assert_eq!(anew.outcome(), &ViewRoots::default());
    }
}
