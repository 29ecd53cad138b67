//! RFC 6962 §2 Merkle trees over SHA-256: the right edge that grows, proofs from a source of nodes, and their checks.
//!
//! Pure: hashes in, hashes out.

use sha2::{Digest as _, Sha256};

use crate::{Error, Hash};

/// Hashes of a full tile, entries of a full bundle.
pub(crate) const WIDTH: u64 = 256;

/// `SHA-256(0x00 || leaf)`.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(leaf);
    Hash(hasher.finalize().into())
}

/// `SHA-256(0x01 || left || right)`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut block = [1; 65];
    block[1..33].copy_from_slice(&left.0);
    block[33..].copy_from_slice(&right.0);
    Hash(Sha256::digest(block).into())
}

/// SHA-256 of bytes as they are: the digest of a part.
pub(crate) fn digest(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}

/// The root of a tree without leaves: SHA-256 of nothing.
pub(crate) fn empty_root() -> Hash {
    digest(&[])
}

/// What a tree needs to grow: the roots of its full subtrees, largest first; one per set bit of the size.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Edge {
    size: u64,
    stack: Vec<Hash>,
}

impl Edge {
    /// `None` unless there is one hash per set bit of the size, which is one that a log can have.
    pub(crate) fn restore(size: u64, stack: Vec<Hash>) -> Option<Edge> {
        let count = usize::try_from(size.count_ones()).ok()?;
        (stack.len() == count && size < 1 << 62).then_some(Edge { size, stack })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn stack(&self) -> &[Hash] {
        &self.stack
    }

    /// Adds a leaf. If it is the last one of a tile of leaves: the root over that tile.
    pub(crate) fn push(&mut self, leaf: Hash) -> Option<Hash> {
        let (mut hash, mut tile_root) = (leaf, None);
        for height in 1..=self.size.trailing_ones() {
            let left = self.stack.pop().expect("one subtree per set bit of the size");
            hash = node_hash(&left, &hash);
            if height == WIDTH.ilog2() {
                tile_root = Some(hash);
            }
        }
        self.stack.push(hash);
        self.size += 1;
        tile_root
    }

    pub(crate) fn root(&self) -> Hash {
        let mut subtrees = self.stack.iter().rev();
        match subtrees.next() {
            None => empty_root(),
            Some(last) => subtrees.fold(*last, |right, left| node_hash(left, &right)),
        }
    }
}

/// Where the hashes of full subtrees come from.
pub(crate) trait Nodes {
    /// The root of leaves `index << level .. (index + 1) << level`, all of which exist.
    fn node(&mut self, level: u32, index: u64) -> Result<Hash, Error>;
}

/// The root of leaves `from..to`; `from` is a multiple of the largest power of two below their number.
pub(crate) fn root_of(nodes: &mut dyn Nodes, from: u64, to: u64) -> Result<Hash, Error> {
    let count = to - from;
    if count == 0 {
        return Ok(empty_root());
    }
    if count.is_power_of_two() {
        return nodes.node(count.trailing_zeros(), from / count);
    }
    let middle = from + split(count);
    let left = root_of(nodes, from, middle)?;
    Ok(node_hash(&left, &root_of(nodes, middle, to)?))
}

/// RFC 6962 §2.1.1, leaf sibling first. The caller holds `index < size`.
pub(crate) fn inclusion(nodes: &mut dyn Nodes, index: u64, size: u64) -> Result<Vec<Hash>, Error> {
    let (mut from, mut to) = (0, size);
    let mut path = Vec::new();
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            path.push(root_of(nodes, middle, to)?);
            to = middle;
        } else {
            path.push(root_of(nodes, from, middle)?);
            from = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// RFC 6962 §2.1.2. The caller holds `old <= new`.
pub(crate) fn consistency(nodes: &mut dyn Nodes, old: u64, new: u64) -> Result<Vec<Hash>, Error> {
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let (mut from, mut to) = (0, new);
    let mut path = Vec::new();
    while to != old {
        let middle = from + split(to - from);
        if old <= middle {
            path.push(root_of(nodes, middle, to)?);
            to = middle;
        } else {
            path.push(root_of(nodes, from, middle)?);
            from = middle;
        }
    }
    // The verifier knows the old root; it needs this subtree only when it is not the whole old tree.
    if from != 0 {
        path.push(root_of(nodes, from, to)?);
    }
    path.reverse();
    Ok(path)
}

/// Whether the proof shows the leaf at `index` of the tree of `size` (RFC 9162 §2.1.3.2).
pub fn inclusion_holds(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && hash == *root
}

/// Whether the proof shows that the tree `old` is a prefix of the tree `new`, each (size, root) (RFC 9162 §2.1.4.2).
pub fn consistency_holds(old: (u64, Hash), new: (u64, Hash), proof: &[Hash]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size == 0 {
        return proof.is_empty() && old_root == empty_root();
    }
    if old_size == new_size {
        return proof.is_empty() && old_root == new_root;
    }
    if old_size > new_size {
        return false;
    }
    let (mut node, mut last) = (old_size - 1, new_size - 1);
    let shift = node.trailing_ones();
    (node, last) = (node >> shift, last >> shift);
    let (first, path) = match (old_size.is_power_of_two(), proof.split_first()) {
        (true, _) => (&old_root, proof),
        (false, Some((first, path))) => (first, path),
        (false, None) => return false,
    };
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && old_hash == old_root && new_hash == new_root
}

/// The largest power of two below `count`, which is at least 2.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 6962 §2.1, word for word.
    fn mth(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let k = leaves.len().next_power_of_two() / 2;
                node_hash(&mth(&leaves[..k]), &mth(&leaves[k..]))
            }
        }
    }

    struct Plain<'a>(&'a [Hash]);
    impl Nodes for Plain<'_> {
        fn node(&mut self, level: u32, index: u64) -> Result<Hash, Error> {
            let from = usize::try_from(index << level).unwrap();
            Ok(mth(&self.0[from..from + (1 << level)]))
        }
    }

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|i| leaf_hash(&i.to_be_bytes())).collect()
    }

    fn root(all: &[Hash], size: u64) -> Hash {
        mth(&all[..usize::try_from(size).unwrap()])
    }

    fn check_pair(all: &[Hash], old: u64, new: u64) {
        let mut nodes = Plain(all);
        let proof = consistency(&mut nodes, old, new).unwrap();
        let (old_root, new_root) = (root(all, old), root(all, new));
        assert!(consistency_holds((old, old_root), (new, new_root), &proof), "{old} {new}");
        if 0 < old && old < new {
            assert!(!consistency_holds((old, new_root), (new, new_root), &proof));
            assert!(!consistency_holds((old, old_root), (new, old_root), &proof));
            let mut longer = proof.clone();
            longer.push(old_root);
            assert!(!consistency_holds((old, old_root), (new, new_root), &longer));
            assert!(!consistency_holds((old, old_root), (new, new_root), &proof[1..]));
        }
        if old < new {
            let proof = inclusion(&mut nodes, old, new).unwrap();
            let leaf = &all[usize::try_from(old).unwrap()];
            assert!(inclusion_holds(leaf, old, new, &proof, &new_root), "{old} {new}");
            assert!(!inclusion_holds(&new_root, old, new, &proof, &new_root) || new == 1);
            assert!(!inclusion_holds(leaf, old + 1, new, &proof, &new_root));
        }
    }

    #[test]
    fn edges_and_proofs_equal_the_recursion_for_all_small_sizes() {
        let all = leaves(70);
        let mut edge = Edge::default();
        for size in 0..=70 {
            assert_eq!(edge.root(), root(&all, size));
            assert_eq!(Edge::restore(size, edge.stack().to_vec()), Some(edge.clone()));
            (0..=size).for_each(|old| check_pair(&all, old, size));
            if size < 70 {
                assert_eq!(edge.push(all[usize::try_from(size).unwrap()]), None);
            }
        }
    }

    #[test]
    fn the_last_leaf_of_a_tile_gives_its_root() {
        let all = leaves(3 * WIDTH + 1);
        let mut edge = Edge::default();
        let roots: Vec<_> = all.iter().filter_map(|leaf| edge.push(*leaf)).collect();
        let expected: Vec<_> = all.chunks_exact(256).map(mth).collect();
        assert_eq!(roots, expected);
    }

    proptest! {
        #[test]
        fn proofs_equal_the_recursion_for_random_sizes(new in 1_u64..700, part in 0.0_f64..1.0) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a test's random share")]
            let old = (new as f64 * part) as u64;
            check_pair(&leaves(new), old, new);
        }

        #[test]
        fn proof_checks_never_panic(index in any::<u64>(), size in any::<u64>(), length in 0_usize..70) {
            let hash = empty_root();
            let proof = vec![hash; length];
            inclusion_holds(&hash, index, size, &proof, &hash);
            consistency_holds((index, hash), (size, hash), &proof);
        }
    }
}
