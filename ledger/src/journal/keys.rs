//! The public keys of a ledger: the one it was created with and those that followed it, from the file `keys`.

use std::path::{Path, PathBuf};

use crate::files::storage;
use crate::notes::chain::{Rotation, parse_chain};
use crate::notes::note;
use crate::{Error, Hash};

/// The public keys of a ledger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Keys {
    genesis: [u8; 32],
    pub(crate) rotations: Vec<Rotation>,
    /// The file `keys`.
    pub(crate) text: String,
}

impl Keys {
    /// Those of a new ledger.
    pub(crate) fn new(genesis: [u8; 32]) -> Keys {
        Keys { genesis, rotations: Vec::new(), text: String::new() }
    }

    /// Reads and checks the chain of the ledger with that uuid, name and first key.
    pub(crate) fn load(dir: &Path, uuid: &str, name: &str, genesis: [u8; 32]) -> Result<Keys, Error> {
        let Some(bytes) = storage::read_if_there(&chain_path(dir))? else { return Ok(Keys::new(genesis)) };
        let wrong = |why: &str| Error::Corrupt(format!("{}: {why}; restore it from a copy", chain_path(dir).display()));
        let text = String::from_utf8(bytes).map_err(|_| wrong("not a chain of keys"))?;
        let chain = parse_chain(&text, name).map_err(|why| wrong(&why))?;
        let foreign = chain.iter().any(|(ledger, _)| ledger != uuid);
        let rotations: Vec<_> = chain.into_iter().map(|(_, rotation)| rotation).collect();
        match rotations.first() {
            Some(first) if !foreign && first.old == genesis && first.sequence == 1 => {
                Ok(Keys { genesis, rotations, text })
            }
            Some(_) | None => Err(wrong("the chain does not begin with this ledger's first key")),
        }
    }

    /// The key that signs now.
    pub(crate) fn current(&self) -> [u8; 32] {
        self.rotations.last().map_or(self.genesis, |rotation| rotation.new)
    }

    /// All, the oldest first.
    pub(crate) fn all(&self) -> impl DoubleEndedIterator<Item = [u8; 32]> {
        std::iter::once(self.genesis).chain(self.rotations.iter().map(|rotation| rotation.new))
    }

    /// Checks a stored checkpoint, which may be by an older key: size, root, and the key.
    pub(crate) fn verify_checkpoint(&self, text: &str, origin: &str) -> Result<(u64, Hash, [u8; 32]), Error> {
        let mut outcome = Err(Error::Refused("the ledger has no key".into()));
        for key in self.all().rev() {
            match note::verify_checkpoint(text, &note::vkey(origin, &key)) {
                Ok((size, root)) => return Ok((size, root, key)),
                // The newest key's answer is the one to give.
                Err(why) => outcome = outcome.or(Err(why)),
            }
        }
        outcome
    }

    /// The number of commits that a key may have signed heads of; `None`: it is the newest.
    pub(crate) fn signed_until(&self, key: &[u8; 32]) -> Option<u64> {
        self.rotations.iter().find(|rotation| rotation.old == *key).map(|rotation| rotation.commits)
    }
}

/// The file of the chain.
pub(crate) fn chain_path(dir: &Path) -> PathBuf {
    dir.join("keys")
}
