//! Ledger → fold → rows → answers. One runner, one file per view, one read handle.
//!
//! The views are a pure function of the ledger (DESIGN §3.4): folds have no clock, no randomness and no I/O but reads of
//! their own rows. This crate knows nothing about HTTP, Kafka or foreign formats, and never reads bodies.

pub mod answers;
mod changes;
pub mod components;
pub mod deployments;
mod folder;
mod intake;
pub mod key;
pub mod lineage;
mod marker;
mod recorded;
mod root;
mod scope;
pub mod store;
pub mod view;
pub mod views;

pub use views::{AsOf, Error, Folded, Moment, Options, Scope, Views, fold_into_memory, rebuild};
