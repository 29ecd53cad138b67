//! How far the views are: the row that follows the rows of every step, and the version of them all.

use std::collections::BTreeMap;

use pedigraph_proto::TenantId;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::rows::root::RootState;
use crate::store::{Row, Store};

/// Version of the rows. Another version is wiped and folded anew.
pub(crate) const ROWS_VERSION: u32 = 19;
/// Keys of the progress row, and of the row of the root; no tenant's key begins so.
const PROGRESS_KEY: &[u8] = &[0];
const ROOT_KEY: &[u8] = &[0, b'l'];

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
    /// Tenants of whom not every commit below `next_seq` is folded: the one that is next for each.
    pub(super) behind: BTreeMap<String, u64>,
    /// Leaves, facts chunks and facts that this program could not read and went past.
    pub(crate) unreadable: u64,
    /// Rows that limits on what multiplies left out.
    pub(crate) cut: u64,
    /// Duplicates by tenant and source since the tenant's newest entry: they have no row of their own, and are counted
    /// with the entry that comes next.
    pub(crate) duplicates: BTreeMap<String, BTreeMap<String, u64>>,
    /// Has a row of its own, since it is large and a step may leave it as it is.
    #[serde(skip)]
    pub(super) root: Vec<u8>,
}

impl Default for Progress {
    fn default() -> Self {
        let root = RootState::default().to_bytes();
        Progress {
            version: ROWS_VERSION,
            next_seq: 0,
            logs: BTreeMap::new(),
            behind: BTreeMap::new(),
            unreadable: 0,
            cut: 0,
            duplicates: BTreeMap::new(),
            root,
        }
    }
}

impl Progress {
    /// The stored progress; `None` when there is none or it is of another version.
    pub(crate) fn read(store: &dyn Store) -> Result<Option<Progress>, Error> {
        let Some(bytes) = store.get(PROGRESS_KEY)? else { return Ok(None) };
        let progress = postcard::from_bytes::<Progress>(&bytes).ok().filter(|p| p.version == ROWS_VERSION);
        let root = store.get(ROOT_KEY)?.unwrap_or_else(|| RootState::default().to_bytes());
        Ok(progress.filter(|_| RootState::from_bytes(&root).is_some()).map(|progress| Progress { root, ..progress }))
    }

    /// The rows to store, with a root: that one only when it is another than before.
    pub(super) fn rows(&mut self, root: &RootState) -> Result<Vec<Row>, Error> {
        let root = root.to_bytes();
        let unwritable = |error| Error::Store(format!("progress: {error}"));
        let mut rows = vec![(PROGRESS_KEY.to_vec(), postcard::to_stdvec(self).map_err(unwritable)?)];
        if self.root != root {
            rows.push((ROOT_KEY.to_vec(), root.clone()));
            self.root = root;
        }
        Ok(rows)
    }

    /// Number of entries of a tenant that are folded.
    pub(crate) fn next_of(&self, tenant: &TenantId) -> u64 {
        self.next_of_name(tenant.as_str())
    }

    /// As [`Progress::next_of`], by a tenant's name.
    pub(super) fn next_of_name(&self, name: &str) -> u64 {
        self.logs.get(name).map_or(0, |log| log.next)
    }

    /// Whether a tenant has turns of its own.
    pub(super) fn is_behind(&self, tenant: &TenantId) -> bool {
        self.behind.contains_key(tenant.as_str())
    }

    /// The commit that is folded next for a tenant.
    pub(super) fn seq_of(&self, tenant: &TenantId) -> u64 {
        self.behind.get(tenant.as_str()).copied().unwrap_or(self.next_seq)
    }

    /// The commit below which everything of everybody is folded.
    pub(super) fn whole_seq(&self) -> u64 {
        self.behind.values().copied().min().unwrap_or(self.next_seq)
    }

    /// The view root, `sha256:` and hex.
    pub(crate) fn root(&self) -> String {
        RootState::from_bytes(&self.root).unwrap_or_default().show()
    }
}
