//! The view root: LtHash16 over the rows that folds inserted (Bellare and Micciancio 1997).
//!
//! The rows of one entry, and those of one commit of a tenant, are a unit: BLAKE3 in its extendable form over key
//! length, value length, key and value of each, in the order of the fold, expands it to 1,024 lanes of 16 bits. Units
//! are added lane by lane, so that their order, batches and threads do not matter; the root shown is SHA-256 of the
//! lanes. Expanding costs more than hashing: once per entry, not once per row.

use pedigraph_proto::canonical;

/// Bytes of the state: 1,024 lanes of 16 bits.
pub(crate) const STATE_BYTES: usize = 2_048;
const LANES: usize = STATE_BYTES / 2;

/// The sum of all units.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RootState(Box<[u16; LANES]>);

impl Default for RootState {
    fn default() -> Self {
        RootState(Box::new([0; LANES]))
    }
}

impl RootState {
    /// Adds a unit.
    pub(super) fn add(&mut self, unit: &blake3::Hasher) {
        let mut expanded = [0; STATE_BYTES];
        unit.finalize_xof().fill(&mut expanded);
        for (lane, bytes) in self.0.iter_mut().zip(expanded.chunks_exact(2)) {
            *lane = lane.wrapping_add(u16::from_le_bytes([bytes[0], bytes[1]]));
        }
    }

    /// Adds the units of another sum.
    pub(crate) fn add_all(&mut self, other: &RootState) {
        for (lane, more) in self.0.iter_mut().zip(other.0.iter()) {
            *lane = lane.wrapping_add(*more);
        }
    }

    /// The lanes, little-endian.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|lane| lane.to_le_bytes()).collect()
    }

    /// `None` for another length.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<RootState> {
        let mut state = RootState::default();
        if bytes.len() != STATE_BYTES {
            return None;
        }
        for (lane, bytes) in state.0.iter_mut().zip(bytes.chunks_exact(2)) {
            *lane = u16::from_le_bytes([bytes[0], bytes[1]]);
        }
        Some(state)
    }

    /// The root shown: `sha256:` and hex.
    pub(crate) fn show(&self) -> String {
        pedigraph_proto::Digest::sha256(canonical::sha256(&self.to_bytes())).to_string()
    }
}
