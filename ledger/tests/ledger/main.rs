//! The ledger from outside: what is acknowledged stays, what is changed is found, what clients ask for is there.
#![expect(clippy::unwrap_used, reason = "a test stops at the first fault")]

mod backup;
mod basics;
mod checks;
mod copies;
mod erase;
mod fault;
mod frozen;
mod full;
mod keys;
mod model;
mod proofs;
mod recovery;
mod support;
mod sweep;
mod tamper;
mod tiles;
mod witness;
