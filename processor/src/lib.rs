//! Sources → decode → validate → redact → decide → append → ack.
//!
//! Foreign formats stop here: what leaves this crate for the ledger is canonical. It knows nothing about views or queries.

pub mod decode;
pub mod limits;
