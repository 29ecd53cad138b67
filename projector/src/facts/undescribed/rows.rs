//! The rows of the list of lanes in which something runs that nobody has described. A lane is the rest of its key among
//! lanes: environment, service, cluster, namespace.

use pedigraph_proto::TenantId;
use serde::{Deserialize, Serialize};

use crate::facts::derived_key;
use crate::store::key::Key;

/// The view's byte, after that of derived views.
pub(crate) const BYTE: u8 = b'u';

/// since → [`Head`].
pub(super) fn head_key(tenant: &TenantId) -> Key {
    derived_key(tenant, BYTE).byte(b'h')
}

/// number → [`Change`].
pub(super) fn change_key(tenant: &TenantId) -> Key {
    derived_key(tenant, BYTE).byte(b'c')
}

/// first lane → [`Copied`]: the whole list after so many changes.
pub(super) fn copy_key(tenant: &TenantId, changes: u64) -> Key {
    derived_key(tenant, BYTE).byte(b'w').number(changes)
}

/// since → [`Bare`]: what runs there.
pub(super) fn lane_key(tenant: &TenantId, lane: &[u8]) -> Key {
    derived_key(tenant, BYTE).byte(b'l').bytes(lane)
}

/// How long the list is, and how it came to be.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) lanes: u64,
    /// So far.
    pub(super) changes: u64,
    /// After so many of them the whole list was written.
    pub(super) copied: u64,
}

/// How much runs in a lane of which it is not known what it contains.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Bare {
    /// Of which nobody described anything.
    pub(crate) wholly: u32,
    /// Indexes of which some manifests are described.
    pub(crate) partly: u32,
}

impl Bare {
    /// A lane is in the list where there is any.
    pub(crate) fn is_any(&self) -> bool {
        *self != Bare::default()
    }
}

/// What runs in a lane is another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Change {
    pub(super) lane: Vec<u8>,
    pub(super) bare: Bare,
}

/// Some lanes of a whole list, in order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Copied {
    pub(super) lanes: Vec<(Vec<u8>, Bare)>,
}
