//! Copies of a ledger: backup, restore, and mirrors of tiles.

pub(crate) mod backup;
pub(crate) mod mirror;
