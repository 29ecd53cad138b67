//! Ledger → fold → rows → answers. `store` and `rows` are the ground, `facts` folds, `run` drives the folds,
//! `ask` answers.
//!
//! The views are a pure function of the ledger (DESIGN §3.4): folds have no clock, no randomness and no I/O but reads
//! of their own rows. This crate knows nothing about HTTP, Kafka or foreign formats, and never reads bodies.

pub mod ask;
mod error;
mod facts;
mod rows;
mod run;
pub mod store;

pub use ask::{AsOf, Found, ImpactQuestion, Moment, Scope, answers};
pub use error::Error;
pub use run::{CommitContext, Folded, Options, Views, fold_into, fold_into_memory, rebuild};
