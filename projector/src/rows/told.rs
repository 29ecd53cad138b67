//! What folding a fact tells those who derive from it, so that they look at nothing that it left as it was.

use std::collections::BTreeSet;

/// What one fact changed. It is not kept: who reads the fact again from the ledger looks at all that it touches.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Digests of which it wrote what decides which versions they are: names, tags, what they are joined to.
    pub(crate) versions: BTreeSet<String>,
    /// Those of them that it joined to others: what indexes above them say may be another for all below them.
    pub(crate) joined: BTreeSet<String>,
    /// Those of them of which it says what is one with them, or below them.
    pub(crate) covers: BTreeSet<String>,
    /// Digests of which it says what they contain.
    pub(crate) contents: BTreeSet<String>,
    /// References with a tag that it moved.
    pub(crate) tags: BTreeSet<String>,
    /// What the keys of lanes end with in which something else may run since then.
    pub(crate) lanes: BTreeSet<Vec<u8>>,
}
