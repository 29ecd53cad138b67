//! The commands, one file each: arguments, and what is done with them. `cli` names them all.

pub(crate) mod backup;
pub(crate) mod compare;
pub(crate) mod config;
pub(crate) mod deltas;
pub(crate) mod demo;
pub(crate) mod diff;
pub(crate) mod env;
pub(crate) mod export;
pub(crate) mod impact;
pub(crate) mod key;
pub(crate) mod lanes;
pub(crate) mod log;
pub(crate) mod publish;
pub(crate) mod rebuild;
pub(crate) mod rejects;
pub(crate) mod restore;
pub(crate) mod service;
pub(crate) mod token;
pub(crate) mod topics;
pub(crate) mod trace;
pub(crate) mod verdict;
pub(crate) mod verify;
