//! Proofs that need no server: C2SP tlog-proof v1.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::notes::policy::{Trust, Trusted};
use crate::tree::merkle::{inclusion_holds, leaf_hash};
use crate::{Error, Hash};

/// Largest proof file, bytes: 63 hashes, a checkpoint with 100 signatures, and room for extra data.
pub const PROOF_BYTES_MAX: usize = 1 << 20;
/// Most hashes of a proof (tlog-witness; a tree of 2^63 entries has no more).
pub(crate) const HASHES_MAX: usize = 63;

/// An entry that a proof shows to be in a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proved {
    /// The entry's index.
    pub index: u64,
    /// RFC 6962 leaf hash of its bytes.
    pub leaf_hash: Hash,
    /// The checkpoint that covers it.
    pub checkpoint: Trusted,
}

/// Checks a tlog-proof of an entry, whose leaf bytes are given, offline.
///
/// # Errors
/// [`Error::Refused`] says which part does not hold: form, signature, quorum, inclusion.
pub fn verify_proof(proof: &str, entry: &[u8], trust: &Trust) -> Result<Proved, Error> {
    let Parts { index, hashes, checkpoint } =
        parse(proof).ok_or_else(|| Error::Refused("the proof is not a c2sp.org/tlog-proof@v1".into()))?;
    let checkpoint = trust.checkpoint(checkpoint)?;
    let leaf_hash = leaf_hash(entry);
    if index >= checkpoint.size {
        return Err(Error::Refused(format!("the checkpoint has {} entries, none with index {index}", checkpoint.size)));
    }
    match inclusion_holds(&leaf_hash, index, checkpoint.size, &hashes, &checkpoint.root) {
        true => Ok(Proved { index, leaf_hash, checkpoint }),
        false => Err(Error::Refused(format!(
            "the entry's hash {leaf_hash} does not lead to the signed root {} at index {index}: it is another entry, or the proof was changed",
            checkpoint.root
        ))),
    }
}

pub(crate) struct Parts<'a> {
    pub(crate) index: u64,
    pub(crate) hashes: Vec<Hash>,
    pub(crate) checkpoint: &'a str,
}

pub(crate) fn parse(proof: &str) -> Option<Parts<'_>> {
    if proof.len() > PROOF_BYTES_MAX {
        return None;
    }
    let (head, checkpoint) = proof.split_once("\n\n")?;
    let mut lines = head.strip_prefix("c2sp.org/tlog-proof@v1\n")?.split('\n');
    let mut line = lines.next()?;
    if let Some(extra) = line.strip_prefix("extra ") {
        BASE64_STANDARD.decode(extra).ok()?;
        line = lines.next()?;
    }
    let digits = line.strip_prefix("index ")?;
    let index: u64 = digits.parse().ok().filter(|index: &u64| index.to_string() == digits)?;
    let hashes: Vec<Hash> = lines.map(parse_hash).collect::<Option<_>>()?;
    (hashes.len() <= HASHES_MAX).then_some(Parts { index, hashes, checkpoint })
}

fn parse_hash(line: &str) -> Option<Hash> {
    BASE64_STANDARD.decode(line).ok()?.try_into().ok().map(Hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notes::note;
    use crate::notes::signer::sign_note;
    use crate::{SecretKey, Signer as _};
    use proptest::prelude::*;

    fn made() -> (String, Trust) {
        let key = SecretKey::parse(&hex::encode([9; 32])).unwrap();
        let (left, right) = (leaf_hash(b"left"), leaf_hash(b"right"));
        let body = note::body("a.example", 2, &crate::tree::merkle::node_hash(&left, &right));
        let note = sign_note(&body, "a.example", &key).unwrap();
        let proof = format!("c2sp.org/tlog-proof@v1\nindex 1\n{}\n\n{note}", BASE64_STANDARD.encode(left.0));
        let vkey = note::vkey("a.example", &key.public_key());
        (proof, Trust { vkey: Some(vkey), ..Trust::default() })
    }

    #[test]
    fn a_proof_shows_its_entry_and_no_other() {
        let (proof, trust) = made();
        let proved = verify_proof(&proof, b"right", &trust).unwrap();
        assert_eq!((proved.index, proved.checkpoint.size), (1, 2));
        let extra = proof.replace("index", "extra AAAA\nindex");
        assert!(verify_proof(&extra, b"right", &trust).is_ok());
        assert!(verify_proof(&proof, b"left", &trust).is_err());
        assert!(verify_proof(&proof, b"right", &Trust::default()).is_err());
    }

    #[test]
    fn every_changed_character_is_refused() {
        let (proof, trust) = made();
        for (at, c) in proof.char_indices() {
            let other = if c == 'A' { 'B' } else { 'A' };
            let changed = format!("{}{other}{}", &proof[..at], &proof[at + c.len_utf8()..]);
            assert!(verify_proof(&changed, b"right", &trust).is_err(), "{changed:?}");
            assert!(verify_proof(&proof[..at], b"right", &trust).is_err(), "cut at {at}");
        }
        for change in [
            proof.replace("index 1", "index 01"),
            proof.replace("index 1", "index 5"),
            proof.replace("index", "extra %\nindex"),
            proof.replace('\n', "\r\n"),
        ] {
            assert!(verify_proof(&change, b"right", &trust).is_err(), "{change:?}");
        }
    }

    proptest! {
        #[test]
        fn hostile_proofs_never_panic(head in "(c2sp.org/tlog-proof@v1\n)?(index [0-9]{1,25}\n)?.{0,80}", tail in "\n\n.{0,80}") {
            let text = head + &tail;
            let _refused_or_not = (parse(&text).is_some(), verify_proof(&text, b"", &made().1).is_err());
        }
    }
}
