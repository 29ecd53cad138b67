//! Tiles and indexes: made from the journal, never trusted, and made again when they are gone.

pub(crate) mod deriver;
pub(crate) mod hashes;
pub(crate) mod index;
