//! The check of a whole ledger, or of what a server shows of one.

pub(crate) mod against;
pub(crate) mod check;
pub(crate) mod damage;
pub(crate) mod erased;
pub(crate) mod open;
pub(crate) mod pending;
pub(crate) mod resume;
pub(crate) mod state;
pub(crate) mod tiles;
