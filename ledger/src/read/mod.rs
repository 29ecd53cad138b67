//! The open ledger that all handles share, and reading from it.

pub(crate) mod lookup;
pub(crate) mod open_ledger;
pub(crate) mod reader;
