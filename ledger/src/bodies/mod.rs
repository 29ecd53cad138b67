//! Blobs beside the journal, and the erasure of bodies.

pub(crate) mod blobs;
pub(crate) mod erase;
pub(crate) mod erasing;
