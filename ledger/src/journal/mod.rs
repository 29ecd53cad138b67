//! The journal: its frames and segments, the fold over them, the one writer, and how it starts.

pub(crate) mod fold;
pub(crate) mod frame;
pub(crate) mod keys;
pub(crate) mod leaves;
pub(crate) mod meta;
pub(crate) mod recover;
pub(crate) mod segment;
pub(crate) mod spare;
pub(crate) mod write_queue;
pub(crate) mod writer;
