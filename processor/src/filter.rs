//! A filter in memory that says "surely new" of nearly every new id, so that the index on disk is asked only about
//! repetitions: split-block Bloom filters of one cache line a block, in generations.

use crate::decide::Key;

/// Bits per id at the planned fill. With a new generation at half of the ids so far, at most 2.7 bytes per id, once
/// there are twice [`FIRST_IDS`].
const BITS_PER_ID: usize = 14;
/// Ids that the first generation is made for, in 3.7 MB: few generations, since each adds to the false "maybe"s and to
/// the time.
const FIRST_IDS: usize = 2_097_152;
const BLOCK_BITS: usize = 512;

/// One cache line; an id sets one bit in each word.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Block([u64; 8]);

struct Generation {
    blocks: Vec<Block>,
    ids: usize,
    ids_max: usize,
}

/// The ids seen so far, with about one false "maybe" in a hundred.
#[derive(Default)]
pub(crate) struct Filter {
    generations: Vec<Generation>,
}

impl Filter {
    /// A filter whose first generation has room for half as many ids again.
    pub(crate) fn for_ids(ids: usize) -> Filter {
        Filter { generations: vec![Generation::new((ids + ids / 2).max(FIRST_IDS))] }
    }

    /// False: surely never inserted.
    pub(crate) fn may_hold(&self, key: &Key) -> bool {
        let (place, bits) = halves(key);
        self.generations.iter().any(|generation| generation.may_hold(place, bits))
    }

    /// Adds an id.
    pub(crate) fn insert(&mut self, key: &Key) {
        if self.generations.last().is_none_or(|newest| newest.ids >= newest.ids_max) {
            let ids: usize = self.generations.iter().map(|generation| generation.ids).sum();
            self.generations.push(Generation::new((ids / 2).max(FIRST_IDS)));
        }
        let (place, bits) = halves(key);
        if let Some(newest) = self.generations.last_mut() {
            newest.insert(place, bits);
        }
    }

    /// Takes in the ids of another filter, whose room is used first.
    pub(crate) fn join(&mut self, other: Filter) {
        self.generations.extend(other.generations);
    }

    /// Memory of all generations, bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.generations.iter().map(|generation| generation.blocks.len() * BLOCK_BITS / 8).sum()
    }
}

/// The key is a SHA-256, so any of its bytes are as good as another hash: where, and which bits.
fn halves(key: &Key) -> (u64, u64) {
    let (mut place, mut bits) = ([0; 8], [0; 8]);
    place.copy_from_slice(&key[..8]);
    bits.copy_from_slice(&key[8..16]);
    (u64::from_le_bytes(place), u64::from_le_bytes(bits))
}

impl Generation {
    fn new(ids_max: usize) -> Generation {
        let blocks = vec![Block::default(); (ids_max * BITS_PER_ID).div_ceil(BLOCK_BITS)];
        Generation { blocks, ids: 0, ids_max }
    }

    fn block(&self, place: u64) -> usize {
        let scaled = (u128::from(place) * self.blocks.len() as u128) >> 64;
        usize::try_from(scaled).unwrap_or_default()
    }

    fn may_hold(&self, place: u64, bits: u64) -> bool {
        let block = &self.blocks[self.block(place)];
        let missing = |(n, word): (usize, &u64)| word & bit(bits, n) == 0;
        !block.0.iter().enumerate().any(missing)
    }

    fn insert(&mut self, place: u64, bits: u64) {
        let block = self.block(place);
        for (n, word) in self.blocks[block].0.iter_mut().enumerate() {
            *word |= bit(bits, n);
        }
        self.ids += 1;
    }
}

/// The bit of the n-th word: six bits of the hash each.
fn bit(bits: u64, n: usize) -> u64 {
    1 << ((bits >> (6 * n)) & 63)
}

#[cfg(test)]
mod tests {
    use pedigraph_proto::canonical::sha256;

    use super::*;

    #[test]
    fn nothing_inserted_is_missed_and_little_else_is_met() {
        const IDS: u32 = 5_000_000;
        let key = |n: u32| sha256(&n.to_le_bytes());
        let mut filter = Filter::for_ids(0);
        for (ids, n) in (1..).zip(0..IDS) {
            filter.insert(&key(n));
            assert!(ids < 2 * FIRST_IDS || filter.bytes() * 10 <= ids * 27, "{} bytes for {ids}", filter.bytes());
        }
        assert!((0..IDS).step_by(97).all(|n| filter.may_hold(&key(n))));
        let met = (IDS..IDS + 100_000).filter(|&n| filter.may_hold(&key(n))).count();
        assert!(met < 2_000, "{met} of 100000 new ids would ask the disk");
    }
}
