//! The rows of what came in: entries by status and subject, and cumulative counters.

use pedigraph_proto::TenantId;
use serde::{Deserialize, Serialize};

use crate::store::key::Key;

pub(crate) const VIEW: u8 = b'e';
pub(crate) const ENTRIES: u8 = b'e';
pub(crate) const BY_STATUS: u8 = b's';
pub(crate) const BY_SUBJECT: u8 = b'd';
pub(crate) const COUNTERS: u8 = b'c';
/// Counter of changes for subscribers.
pub(crate) const CHANGES: &str = "changes";
/// Different counters that one answer reads, and that are kept in memory.
pub(crate) const COUNTERS_MAX: usize = 10_000;

/// What is kept of an entry beside its facts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct EntryRow {
    pub(crate) leaf_hash: [u8; 32],
    pub(crate) source: String,
    pub(crate) recorded_at: i64,
    pub(crate) conflict: bool,
}

/// Key of an entry's row.
pub(crate) fn entry_key(tenant: &TenantId, index: u64) -> Key {
    Key::new(tenant, VIEW).byte(ENTRIES).number(index)
}

pub(crate) fn counter_prefix(tenant: &TenantId) -> Key {
    Key::new(tenant, VIEW).byte(COUNTERS)
}

pub(crate) fn subject_key(tenant: &TenantId, digest: &str) -> Key {
    Key::new(tenant, VIEW).byte(BY_SUBJECT).text(digest)
}
