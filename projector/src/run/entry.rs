//! An entry of some tenant's log.

use pedigraph_proto::wire::Entry;
use pedigraph_proto::{TenantId, canonical};

/// A tenant and an index in its log.
pub(crate) type EntryId = (TenantId, u64);

/// An entry decoded without its facts, for callers outside a fold.
pub(crate) fn decode_leaf(leaf: &[u8]) -> Entry {
    canonical::decode_entry(leaf).unwrap_or_default()
}
