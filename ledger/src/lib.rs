//! The append-only, tamper-evident ledger: one journal per directory, one RFC 6962 tree per tenant log.
//!
//! Opaque bytes in, opaque bytes out: this crate knows nothing about events, facts, tenants' rights, Kafka or HTTP.
//! Specifications: C2SP tlog-tiles v0.1.0, tlog-checkpoint v1.0.0, signed-note v1.0.0, tlog-proof v1,
//! tlog-cosignature v1 (Ed25519), tlog-witness v1.0.0, tlog-policy, RFC 6962 §2.
//!
//! What holds, and where:
//!
//! 1. One write and one `fdatasync` make a batch durable; nothing is visible before ([`Writer::append`],
//!    `journal/writer.rs`).
//! 2. Only the journal, the blobs, the key and the checkpoints are primary. Tiles and indexes are derived from the
//!    journal (`derived/`), never trusted when read (`read/`) and may be deleted while no writer runs. Entry bundles
//!    are cut out of the journal when somebody asks for one.
//! 3. Recovery (`journal/recover.rs`) folds the newest segment with the code that a follower and `verify` use
//!    (`journal/fold.rs`). It cuts an uncommitted tail and refuses everything else.
//! 4. A body's bytes go only after the commit that says so is durable, and then surely (`bodies/erase.rs`).
//! 5. A checkpoint is signed only for a durable size, once per size, and is on disk before anybody, a witness included,
//!    can read it (`publish/publisher.rs`).
//!
//! The files are described byte by byte in `docs/ledger-format.md`.

mod bodies;
mod copy;
mod derived;
mod entry;
mod error;
mod fault;
mod files;
mod journal;
#[cfg(test)]
mod mutate;
mod notes;
mod publish;
mod read;
mod tree;
mod verify;

pub use bodies::blobs::Blobs;
pub use copy::backup::{Copied, KeyCopy, RestoreOptions, backup, backup_with, restore};
pub use copy::mirror::{mirror, read_mirror, verify_mirror};
pub(crate) use entry::Content;
pub use entry::{
    Batch, Checkpoint, Commit, Entry, Hash, Head, INLINE_BYTES_MAX, LEAF_BYTES_MAX, LogId, NewEntry, Part, PartRef,
    Receipt,
};
pub use error::Error;
pub use fault::Fault;
pub use files::storage::{Access, LocalFiles, Storage, StoredFile};
pub use journal::meta::Options;
pub use journal::writer::{UNDER_WAY_MAX, Work, Writer, open, open_with};
pub use notes::chain::{Rotation, follow_keys, key_successors};
pub use notes::cosign::Cosignature;
pub use notes::note::{public_key, verify_checkpoint, verify_note};
pub use notes::policy::following;
pub use notes::policy::{POLICY_BYTES_MAX, POLICY_LINES_MAX, Policy, PolicyLog, Trust, Trusted, Witness};
pub use notes::proof::{PROOF_BYTES_MAX, Proved, verify_proof};
pub use notes::signer::{CommandSigner, SecretKey, Signer, signature_holds};
pub use publish::publisher::Publisher;
pub use publish::rotate::rotate_key;
pub use publish::witness::{Failure, Reply, WITNESS_ANSWER_BYTES_MAX};
pub use publish::witnesses::{Mode, Status, Transport, WITNESSES_MAX, WitnessStatus, Witnesses};
pub use read::reader::{Reader, open_reader};
pub use tree::merkle::{consistency_holds, inclusion_holds, leaf_hash, node_hash};
pub use tree::tile::{bundle_path, entry_of_bundle};
pub use verify::against::verify_against;
pub use verify::check::{Verified, verify, verify_with};
pub use verify::tiles::{Fetch, TilesCheck, verify_tiles};
