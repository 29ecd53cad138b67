//! The ledger from outside: what is acknowledged stays, what is changed is found, what clients ask for is there.

mod basics;
mod fault;
mod support;
mod sweep;
