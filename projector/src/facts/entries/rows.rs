//! The rows of what came in: entries by place, status and subject, and cumulative counters.

use pedigraph_proto::TenantId;
use serde::{Deserialize, Serialize};

use crate::store::key::Key;

pub(crate) const VIEW: u8 = b'e';
/// index of the first of some entries of one commit → [`EntryRows`].
pub(crate) const ENTRIES: u8 = b'e';
/// status, index → (), but for what was accepted.
pub(crate) const BY_STATUS: u8 = b's';
/// digest, index, 0 or the number of the fact → ().
pub(crate) const BY_SUBJECT: u8 = b'd';
/// number of a group of counters, size of the log after a commit, the commit's seq → [`Counters`] of the group.
pub(crate) const COUNTERS: u8 = b'c';
/// Counter of changes for subscribers, the first of the first group.
pub(crate) const CHANGES: &str = "changes";
/// Different counters that are kept, and that one answer reads.
pub(crate) const COUNTERS_MAX: usize = 10_000;
/// Counters of one group: a commit writes a row for each group of which it moves any.
pub(crate) const GROUP_COUNTERS: usize = 32;
/// Entries of one row: who wants one of them reads as many.
pub(crate) const ENTRIES_PER_ROW: usize = 16;

/// A group of counters, in the order of their first appearance.
pub(crate) type Counters = Vec<(String, u64)>;

/// What is kept of some entries that follow each other, beside their facts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct EntryRows {
    /// What the entries name by number.
    pub(crate) sources: Vec<String>,
    pub(crate) entries: Vec<EntryRow>,
}

/// What is kept of an entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct EntryRow {
    pub(crate) leaf_hash: [u8; 32],
    /// Number in [`EntryRows::sources`].
    pub(crate) source: u32,
    pub(crate) recorded_at: i64,
    pub(crate) event_id: [u8; 16],
}

/// Prefix of the rows of entries.
pub(crate) fn entries_prefix(tenant: &TenantId) -> Key {
    Key::new(tenant, VIEW).byte(ENTRIES)
}

/// Prefix of the rows of a group of counters.
pub(crate) fn counters_prefix(tenant: &TenantId, group: usize) -> Key {
    Key::new(tenant, VIEW).byte(COUNTERS).number(group as u64)
}

pub(crate) fn subject_key(tenant: &TenantId, digest: &str) -> Key {
    Key::new(tenant, VIEW).byte(BY_SUBJECT).text(digest)
}
