//! One fact being folded, and how texts and digests are kept.

use super::memory::Memory;
use super::rows::key;
use super::said::Said;
pub(super) use crate::facts::digest;
use crate::facts::view::FactAt;
use crate::rows::Rows;
use crate::store::key::Key;

/// Bytes of a text that a row keeps.
const TEXT_BYTES_MAX: usize = 512;

/// One fact being folded.
pub(super) struct Fold<'a, 'b, 'c> {
    pub(super) at: &'a FactAt<'a>,
    pub(super) rows: &'b mut Rows<'c>,
    pub(super) memory: &'b mut Memory,
    pub(super) said: Said,
}

impl Fold<'_, '_, '_> {
    pub(super) fn key(&self, table: u8) -> Key {
        key(self.at.tenant, table)
    }
}

/// A text that a row keeps: long ones are clipped, since facts hold them whole.
pub(super) fn clip(text: &str) -> String {
    text.char_indices().take_while(|(at, _)| *at < TEXT_BYTES_MAX).map(|(_, letter)| letter).collect()
}
