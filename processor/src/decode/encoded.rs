//! Components as the bytes that the ledger keeps of them: a third of what the same components take as structs.

use std::cmp::Ordering;

use pedigraph_proto::event::Component;
use pedigraph_proto::protobuf::{Message as _, decode_varint, encode_varint};

/// Pieces are filled one after another, so that nothing is copied when they grow in number; the first one is small,
/// since most lists are. Bytes.
const PIECE_BYTES_MIN: usize = 4 << 10;
/// See [`PIECE_BYTES_MIN`].
const PIECE_BYTES_MAX: usize = 1 << 20;

/// Encoded components, numbered from 0 in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Encoded {
    pieces: Vec<Vec<u8>>,
    /// Where each one begins; it ends where the next one of its piece does.
    starts: Vec<Start>,
}

#[derive(Clone, Copy, Debug)]
struct Start {
    piece: u32,
    start: u32,
}

impl Encoded {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.starts.len()
    }

    /// Adds one; a list of 2^32 bytes or pieces would not fit into memory.
    pub(super) fn push(&mut self, component: &[u8]) {
        let room = self.pieces.last().map_or(0, |piece| piece.capacity() - piece.len());
        if room < component.len() || self.pieces.is_empty() {
            let bytes = self.pieces.last().map_or(PIECE_BYTES_MIN, |last| (2 * last.capacity()).min(PIECE_BYTES_MAX));
            self.pieces.push(Vec::with_capacity(bytes.max(component.len())));
        }
        let piece = super::facts::count(self.pieces.len() - 1);
        if let Some(last) = self.pieces.last_mut() {
            self.starts.push(Start { piece, start: super::facts::count(last.len()) });
            last.extend_from_slice(component);
        }
    }

    /// The bytes of one.
    pub(super) fn get(&self, number: u32) -> &[u8] {
        let number = number as usize;
        let Start { piece, start } = self.starts[number];
        let bytes = &self.pieces[piece as usize];
        let next = self.starts.get(number + 1).filter(|next| next.piece == piece);
        &bytes[start as usize..next.map_or(bytes.len(), |next| next.start as usize)]
    }
}

/// A encoded component as a struct.
pub(super) fn decoded(component: &[u8]) -> Component {
    Component::decode(component).expect("only what was encoded is encoded")
}

/// Appends a field with a text; nothing when it is empty, as a default is left out.
pub(super) fn put_text(component: &mut Vec<u8>, field: u8, text: &str) {
    if !text.is_empty() {
        component.push(tag(field));
        encode_varint(text.len() as u64, component);
        component.extend_from_slice(text.as_bytes());
    }
}

/// Field numbers of `Component` in evidence.proto.
pub(super) mod field {
    pub(in super::super) const PURL: u8 = 1;
    pub(in super::super) const NAME: u8 = 2;
    pub(in super::super) const VERSION: u8 = 3;
    pub(in super::super) const GROUP: u8 = 4;
    pub(in super::super) const TYPE: u8 = 5;
    pub(in super::super) const LICENSES: u8 = 6;
    pub(in super::super) const DIGEST: u8 = 7;
}

/// The order of a set, by (purl, name, version, group, type, digest); equal ones are the same component.
pub(super) fn compare(a: &[u8], b: &[u8]) -> Ordering {
    const KEY: [u8; 6] = [field::PURL, field::NAME, field::VERSION, field::GROUP, field::TYPE, field::DIGEST];
    let (mut a, mut b) = (a, b);
    let unequal = |field| take_text(&mut a, field).cmp(take_text(&mut b, field));
    KEY.into_iter().map(unequal).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// Some fields with a text, by ascending number.
pub(super) fn texts<const N: usize>(component: &[u8], fields: [u8; N]) -> [&str; N] {
    let mut rest = component;
    fields.map(|field| std::str::from_utf8(take_text(&mut rest, field)).unwrap_or_default())
}

/// Takes a field with a text off the front, after those before it; empty when it was left out.
fn take_text<'a>(component: &mut &'a [u8], field: u8) -> &'a [u8] {
    while let Some((&found, mut rest)) = component.split_first().filter(|(found, _)| **found <= tag(field)) {
        let length = decode_varint(&mut rest).ok().and_then(|length| usize::try_from(length).ok());
        let Some((text, rest)) = length.and_then(|length| rest.split_at_checked(length)) else { break };
        *component = rest;
        if found == tag(field) {
            return text;
        }
    }
    &[]
}

/// What stands before a text: the field's number and that a length follows.
fn tag(field: u8) -> u8 {
    field << 3 | 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(component: &Component) -> [&str; 6] {
        [&component.purl, &component.name, &component.version, &component.group, &component.r#type, &component.digest]
    }

    fn component() -> impl Strategy<Value = Component> {
        let text = || prop::sample::select(vec!["", "a", "ab", "b", "\0", "é"]).prop_map(str::to_owned);
        let texts = (text(), text(), text(), text(), text(), text(), prop::collection::vec("[a-c]{1,200}", 0..3));
        texts.prop_map(|(purl, name, version, group, r#type, digest, licenses)| Component {
            purl,
            name,
            version,
            group,
            r#type,
            licenses,
            digest,
            ..Component::default()
        })
    }

    proptest! {
        #[test]
        fn packed_components_compare_like_their_texts(a in component(), b in component()) {
            prop_assert_eq!(compare(&a.encode_to_vec(), &b.encode_to_vec()), key(&a).cmp(&key(&b)));
        }

        #[test]
        fn what_was_packed_comes_back(lengths in prop::collection::vec(0_usize..3_000_000, 0..12)) {
            let mut encoded = Encoded::default();
            lengths.iter().zip(1..).for_each(|(length, byte)| encoded.push(&vec![byte; *length]));
            prop_assert_eq!(encoded.count(), lengths.len());
            for ((number, byte), length) in (0..).zip(1..).zip(lengths) {
                prop_assert!(encoded.get(number) == vec![byte; length]);
            }
        }
    }
}
