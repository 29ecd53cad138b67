//! Checkpoints: who signs them, who witnesses them, and the keys they are signed with.

pub(crate) mod checkpoint;
pub(crate) mod keys;
pub(crate) mod publisher;
pub(crate) mod rotate;
pub(crate) mod stored;
pub(crate) mod witness;
pub(crate) mod witnesses;
