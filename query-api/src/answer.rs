//! The functions that answer, used by REST, pages and packs alike: a scope or the ledger and a question in, an answer
//! out.
//!
//! Nothing here knows of HTTP: what cannot be answered is an [`Error`](error::Error), which each user words for its
//! reader.

pub mod deltas;
pub mod entries;
pub mod entry;
pub mod environment;
pub mod error;
pub mod freshness;
pub mod impact;
pub mod lineage;
