//! The HTTP side of Pedigraph: REST, server-sent events, plain server-rendered pages, metrics and probes.
//!
//! Everything that is answered comes from the views' read handle or from the ledger's; everything that is taken in goes
//! to a function that the root hands over. This crate knows no source, no decoder and no store, and it never waits for a
//! disk on a thread of the async runtime: all blocking reads pass one gate ([`app`]).
//! Specification: SPEC §2.1, §2.2, §4, §6, §8, §9; problems are RFC 9457, the log's paths are C2SP tlog-tiles.

pub mod access;
pub mod api;
pub mod app;
pub mod host;
pub mod layers;
pub mod metrics;
pub mod openapi;
pub mod pack;
pub mod pages;
pub mod percentiles;
pub mod problem;
pub mod read;
pub mod routes;
pub mod serve;
pub mod token;

pub use access::TokenScope;
pub use access::tokens::Tokens;
pub use app::{
    Check, Config, Erase, Erasure, ExtraMetrics, Intake, LateViews, Limits, Ready, Refuses, SourceLag, Sources,
    prepare_spool,
};
pub use host::check_bind;
pub use percentiles::{EndToEnd, watch_end_to_end};
pub use routes::router;
pub use serve::serve;
