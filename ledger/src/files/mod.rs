//! The files under the ledger: the storage trait, local files, and reading ahead past the page cache.

pub(crate) mod ahead;
pub(crate) mod storage;
