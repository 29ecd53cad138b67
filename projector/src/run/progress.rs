//! How far the views are: the row that follows the rows of every step, and the version of them all.

use std::collections::BTreeMap;

use pedigraph_proto::TenantId;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::rows::root::RootState;
use crate::store::Store;

/// Version of the rows. Another version is wiped and folded anew.
pub(crate) const ROWS_VERSION: u32 = 5;
/// Key of the progress row; no tenant's key begins so.
pub(super) const PROGRESS_KEY: &[u8] = &[0];

/// How far one tenant's log is folded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct LogProgress {
    /// The index that is folded next.
    pub(crate) next: u64,
    /// Leaf hash of the entry before.
    pub(crate) leaf_hash: [u8; 32],
}

/// How far everything is folded; the last row of every step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Progress {
    version: u32,
    /// The commit that is folded next.
    pub(crate) next_seq: u64,
    /// By tenant.
    pub(crate) logs: BTreeMap<String, LogProgress>,
    /// Leaves, facts chunks and facts that this program could not read and went past.
    pub(crate) unreadable: u64,
    /// Rows that limits on what multiplies left out.
    pub(crate) cut: u64,
    pub(super) root: Vec<u8>,
}

impl Default for Progress {
    fn default() -> Self {
        let root = RootState::default().to_bytes();
        Progress { version: ROWS_VERSION, next_seq: 0, logs: BTreeMap::new(), unreadable: 0, cut: 0, root }
    }
}

impl Progress {
    /// The stored progress; `None` when there is none or it is of another version.
    pub(crate) fn read(store: &dyn Store) -> Result<Option<Progress>, Error> {
        let Some(bytes) = store.get(PROGRESS_KEY)? else { return Ok(None) };
        let progress = postcard::from_bytes::<Progress>(&bytes).ok();
        Ok(progress.filter(|p| p.version == ROWS_VERSION && RootState::from_bytes(&p.root).is_some()))
    }

    /// Number of entries of a tenant that are folded.
    pub(crate) fn next_of(&self, tenant: &TenantId) -> u64 {
        self.logs.get(tenant.as_str()).map_or(0, |log| log.next)
    }

    /// The view root, `sha256:` and hex.
    pub(crate) fn root(&self) -> String {
        RootState::from_bytes(&self.root).unwrap_or_default().show()
    }
}
