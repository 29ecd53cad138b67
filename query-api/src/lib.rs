//! The HTTP side of Pedigraph: REST, server-sent events, plain server-rendered pages, metrics and probes.
//!
//! Everything that is answered comes from the views' read handle or from the ledger's; everything that is taken in goes
//! to a function that the root hands over. This crate knows no source, no decoder and no store, and it never waits for
//! a disk on a thread of the async runtime: all blocking reads pass one gate ([`gate`]). Specification: SPEC §2.1, §2.2,
//! §4, §6, §8, §9; problems are RFC 9457, the log's paths are C2SP tlog-tiles.

pub mod access;
pub mod answer;
pub mod api;
pub mod app;
pub mod behind;
mod browser;
pub mod cache;
mod compress;
pub mod fresh;
pub mod gate;
pub mod host;
pub mod json;
pub mod lanes;
pub mod layers;
mod left;
pub mod limits;
pub mod link;
pub mod metrics;
pub mod openapi;
pub mod pack;
pub mod pages;
pub mod params;
pub mod percentiles;
pub mod problem;
pub mod question;
pub mod rails;
pub mod rates;
pub mod read;
pub mod reads;
pub mod report;
pub mod respond;
pub mod route;
pub mod routes;
pub mod serve;
pub mod server;
pub mod shares;
pub mod tenant;
pub mod token;
mod trace;
mod unread;
pub mod write_node;

pub use access::scope::TokenScope;
pub use access::tokens::Tokens;
pub use app::{App, Config, ExtraMetrics, LastSign, LateViews, Ready, Sources, prepare_spool};
pub use host::check_bind;
pub use limits::Limits;
pub use percentiles::{EndToEnd, watch_end_to_end};
pub use rates::{Class, Rates};
pub use report::{About, Check, SourceLag, SourceState, WriterSign};
pub use routes::router;
pub use server::{serve, serve_probes};
pub use write_node::{Erasure, NotErased, Pending, WriteNode};
