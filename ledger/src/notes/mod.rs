//! Signed notes and all that checks them without a ledger: keys, cosignatures, policies, proofs.

pub(crate) mod chain;
pub(crate) mod cosign;
pub(crate) mod note;
pub(crate) mod policy;
pub(crate) mod proof;
pub(crate) mod signer;
