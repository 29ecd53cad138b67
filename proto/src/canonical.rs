//! Canonical bytes and the hashes over them.

use std::collections::BTreeSet;

use prost::Message;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::event::Component;
use crate::ids::{Digest, EventId};
use crate::wire::Entry;

/// Version of [`Entry`] and of a facts chunk that this program writes.
pub const FORMAT_VERSION: u32 = 1;
/// Most facts in one chunk.
pub const FACTS_PER_CHUNK_MAX: usize = 4_096;
/// Most subjects that a leaf lists.
pub const LEAF_SUBJECTS_MAX: usize = 64;
/// Longest source or id that a leaf names, bytes.
pub const LEAF_NAME_BYTES_MAX: usize = 2_048;

/// Version of the rules by which replay hashes are made (SPEC §3.2).
pub const REPLAY_RULES: &str = "1";

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Reads a leaf, refusing bytes that do not re-encode to themselves: unknown fields, defaults written out, fields out
/// of order (DESIGN §4).
pub fn decode_entry(bytes: &[u8]) -> Option<Entry> {
    let entry = Entry::decode(bytes).ok()?;
    (entry.encode_to_vec() == bytes).then_some(entry)
}

/// SHA-256 over the digests of facts chunks, in order: what the leaf names as `facts_digest`.
pub fn facts_digest<'a>(chunks: impl Iterator<Item = &'a [u8; 32]>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    chunks.for_each(|digest| hasher.update(digest));
    hasher.finalize().into()
}

/// What an answer about a subject rests on, as one digest: SHA-256 over the canonical JSON (RFC 8785) of the ids of
/// events, sorted, the version of the rules and the subject (SPEC §3.2).
pub fn replay_hash(subject: &str, events: &BTreeSet<EventId>) -> Digest {
    // Ids and digests have no letter that JSON escapes, and ids sort as their texts do.
    let ids = events.iter().map(|id| format!("\"{id}\"")).collect::<Vec<_>>().join(",");
    let text = format!("{{\"eventIds\":[{ids}],\"rules\":\"{REPLAY_RULES}\",\"subject\":\"{subject}\"}}");
    Digest::sha256(sha256(text.as_bytes()))
}

/// The name of a component set. The components must be in set order: see `evidence.proto`.
pub fn component_set<'a>(components: impl Iterator<Item = &'a Component>) -> Digest {
    let mut name = ComponentSetName::default();
    components.for_each(|component| name.add(&component.encode_to_vec()));
    name.digest()
}

/// Names a component set whose components come as their canonical bytes, in set order.
#[derive(Default)]
pub struct ComponentSetName(Sha256);

impl ComponentSetName {
    /// Takes in the next component.
    pub fn add(&mut self, component: &[u8]) {
        self.0.update((component.len() as u64).to_be_bytes());
        self.0.update(component);
    }

    /// The name.
    pub fn digest(self) -> Digest {
        Digest::sha256(self.0.finalize().into())
    }
}

/// A derived id: UUIDv5 in the namespace UUIDv5(nil, `pedigraph`) of the parts, each preceded by its length as 8 bytes
/// big-endian; digests as their raw bytes (SPEC §2.3).
pub fn derived_id(parts: &[&[u8]]) -> Uuid {
    let namespace = Uuid::new_v5(&Uuid::nil(), b"pedigraph");
    let mut name = Vec::new();
    for part in parts {
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part);
    }
    Uuid::new_v5(&namespace, &name)
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn only_canonical_leaves_are_read() {
        let entry = Entry { version: 1, tenant: "default".into(), ..Entry::default() };
        let bytes = entry.encode_to_vec();
        assert_eq!(decode_entry(&bytes), Some(entry));
        let unknown_field = [bytes.as_slice(), &[0xf8, 0x07, 0x01]].concat();
        assert_eq!(decode_entry(&unknown_field), None);
        let default_written_out = [bytes.as_slice(), &[0x98, 0x01, 0x00]].concat();
        assert_eq!(decode_entry(&default_written_out), None);
        assert_eq!(decode_entry(&bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn parts_of_a_derived_id_do_not_run_together() {
        assert_ne!(derived_id(&[b"ab", b"c"]), derived_id(&[b"a", b"bc"]));
    }
}
