//! Roots and proofs against an implementation of RFC 6962 that nobody here wrote: the same bytes, and each side accepts
//! and refuses what the other does.

use std::path::Path;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use pedigraph_ledger::*;
use proptest::prelude::*;
use sha2::Sha256;

use crate::support::*;

type Theirs = MemoryBackedTree<Sha256, Vec<u8>>;

/// A ledger and the other tree, grown together.
struct Pair {
    writer: Writer,
    theirs: Theirs,
    /// Root at each size at which growing paused.
    stops: Vec<(u64, Hash, RootHash<Sha256>)>,
}

impl Pair {
    fn grow(dir: &Path, steps: &[usize]) -> Pair {
        let mut pair = Pair { writer: open_here(dir), theirs: Theirs::new(), stops: Vec::new() };
        for step in steps {
            let from = pair.theirs.len();
            let leaves: Vec<_> = (0..*step).map(|n| format!("leaf {n} of those from {from}").into_bytes()).collect();
            let entries = leaves.iter().map(|leaf| entry(&LogId::default_log(), leaf.clone())).collect();
            pair.writer.append(batch(entries)).unwrap();
            leaves.into_iter().for_each(|leaf| pair.theirs.push(leaf));
            let head = pair.writer.reader().head(&LogId::default_log());
            pair.stops.push((head.size, head.root, pair.theirs.root()));
        }
        pair
    }

    fn check_inclusion(&self, index: u64, flip: usize) {
        let size = self.theirs.len();
        let (_, root, their_root) = self.stops.last().unwrap();
        let proof = self.writer.reader().inclusion(&LogId::default_log(), index, size).unwrap();
        let at = usize::try_from(index).unwrap();
        assert_eq!(concat(&proof), self.theirs.prove_inclusion(at).as_bytes(), "proof of {index} in {size}");
        let leaf = self.theirs.get(at).unwrap();
        let accepted = |leaf: &Vec<u8>, proof: &[Hash]| {
            let theirs = InclusionProof::from_bytes(concat(proof));
            let they_do = their_root.verify_inclusion(leaf, index, &theirs).is_ok();
            assert_eq!(they_do, inclusion_holds(&leaf_hash(leaf), index, size, proof, root), "{index} in {size}");
            they_do
        };
        assert!(accepted(leaf, &proof));
        assert!(!accepted(&b"another leaf".to_vec(), &proof));
        assert!(!accepted(leaf, &[proof.clone(), vec![*root]].concat()));
        if !proof.is_empty() {
            assert!(!accepted(leaf, &flipped(&proof, flip)));
            assert!(!accepted(leaf, &proof[1..]));
        }
    }

    fn check_consistency(&self, old: usize, flip: usize) {
        let (from, old_root, their_old) = &self.stops[old];
        let (to, new_root, their_new) = self.stops.last().unwrap();
        let proof = self.writer.reader().consistency(&LogId::default_log(), *from, *to).unwrap();
        let their_proof = self.theirs.prove_consistency(usize::try_from(to - from).unwrap());
        assert_eq!(concat(&proof), their_proof.as_bytes(), "{from} to {to}");
        let accepted = |proof: &[Hash]| {
            let theirs = ConsistencyProof::try_from_bytes(concat(proof)).unwrap();
            let they_do = their_new.verify_consistency(their_old, &theirs).is_ok();
            assert_eq!(they_do, consistency_holds((*from, *old_root), (*to, *new_root), proof), "{from} to {to}");
            they_do
        };
        assert!(accepted(&proof));
        if !proof.is_empty() {
            assert!(!accepted(&flipped(&proof, flip)));
            assert!(!accepted(&proof[1..]));
        }
    }
}

fn concat(proof: &[Hash]) -> Vec<u8> {
    proof.iter().flat_map(|hash| hash.0).collect()
}

fn flipped(proof: &[Hash], bit: usize) -> Vec<Hash> {
    let mut changed = proof.to_vec();
    let bit = bit % (proof.len() * 256);
    changed[bit / 256].0[bit / 8 % 32] ^= 1 << (bit % 8);
    changed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn another_implementation_makes_and_takes_the_same_proofs(
        steps in proptest::collection::vec(prop_oneof![1..4_usize, 1..70_usize, 200..700_usize], 1..9),
        picks in proptest::collection::vec((any::<prop::sample::Index>(), any::<usize>()), 12),
    ) {
        let dir = memory_dir();
        let pair = Pair::grow(dir.path(), &steps);
        for (size, root, their_root) in &pair.stops {
            prop_assert_eq!(&root.0[..], &their_root.as_bytes()[..], "root of {}", size);
        }
        let size = usize::try_from(pair.theirs.len()).unwrap();
        for (pick, flip) in &picks {
            pair.check_inclusion(pick.index(size) as u64, *flip);
        }
        for (old, (_, flip)) in (0..pair.stops.len()).zip(&picks) {
            pair.check_consistency(old, *flip);
        }
    }
}
