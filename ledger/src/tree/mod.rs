//! RFC 6962 trees and their tiles: pure functions on hashes.

pub(crate) mod merkle;
pub(crate) mod tile;
