//! What a view is: a pure function from facts to insert-only rows.

use std::collections::BTreeMap;

use pedigraph_proto::wire::Entry;
use pedigraph_proto::{Event, Nanos, TenantId};

use crate::error::Error;
use crate::rows::Rows;
use crate::store::Store;
use crate::store::key::Key;

/// One fact where it stands in the ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FactAt<'a> {
    /// Whose it is.
    pub(crate) tenant: &'a TenantId,
    /// Index of its entry in the tenant's log.
    pub(crate) index: u64,
    /// Position among the entry's facts, over all chunks.
    pub(crate) ordinal: u32,
    /// The leaf, decoded.
    pub(crate) entry: &'a Entry,
    /// The leaf's hash, where it is at hand.
    pub(crate) leaf_hash: Option<&'a [u8; 32]>,
    /// When it happened: the fact's own time, else the entry's.
    pub(crate) occurred_at: Nanos,
    /// What it says.
    pub(crate) event: &'a Event,
}

/// One entry where it stands in the ledger, before its facts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryAt<'a> {
    /// Whose it is.
    pub(crate) tenant: &'a TenantId,
    /// Index in the tenant's log.
    pub(crate) index: u64,
    /// The leaf, decoded.
    pub(crate) entry: &'a Entry,
}

/// What one entry of a commit came to, after its facts.
#[derive(Clone, Debug)]
pub(crate) struct EntrySummary {
    /// The leaf, decoded.
    pub(crate) entry: Entry,
    /// The leaf's hash.
    pub(crate) leaf_hash: [u8; 32],
    /// Code of a reject.
    pub(crate) code: Option<String>,
    /// Number of changes for subscribers.
    pub(crate) changes: u32,
    /// Facts of a type that this version does not know: they were gone past.
    pub(crate) unknown_facts: u32,
}

/// One tenant's part of one commit, after all its facts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CommitAt<'a> {
    /// Whose it is.
    pub(crate) tenant: &'a TenantId,
    /// Number of the commit in the journal.
    pub(crate) seq: u64,
    /// Size of the tenant's log after it.
    pub(crate) next_index: u64,
    /// Its entries of this tenant, in order.
    pub(crate) entries: &'a [EntrySummary],
    /// Duplicates by source: its own, and those of commits before it that had no entry of this tenant.
    pub(crate) duplicates: &'a BTreeMap<String, u64>,
}

/// Keys that say where a fact stands.
pub(crate) trait StandsAt {
    /// Where it stands, last in a key whose rows are all kept: time, index, ordinal.
    #[must_use]
    fn stamp(self, at: &FactAt<'_>) -> Self;
}

impl StandsAt for Key {
    fn stamp(self, at: &FactAt<'_>) -> Key {
        self.time(at.occurred_at).number(at.index).ordinal(at.ordinal)
    }
}

/// A view: its name and its fold.
pub(crate) trait View: Send + Sync {
    /// Name in progress, metrics and streams.
    fn name(&self) -> &'static str;
    /// Called when rows were opened or wiped, before any fold: what a view keeps in memory is made anew from rows below
    /// `next` (the size of each tenant's log that is folded).
    fn opened(&self, store: &dyn Store, next: &dyn Fn(&TenantId) -> u64) -> Result<(), Error> {
        let _ = (store, next);
        Ok(())
    }
    /// Folds an entry, before its facts.
    fn fold_entry(&self, at: &EntryAt<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
        let _ = (at, rows);
        Ok(())
    }
    /// Folds one fact.
    fn fold(&self, at: &FactAt<'_>, rows: &mut Rows<'_>) -> Result<(), Error>;
    /// Folds one tenant's part of a commit, after all its facts. Rows must not depend on how commits are read in steps.
    fn fold_commit(&self, at: &CommitAt<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
        let _ = (at, rows);
        Ok(())
    }
}
