//! The rotation of a ledger's key.
//!
//! Replacing the file `keys`, which holds the whole chain, is its commit point: before that the new key is nobody's,
//! after that the old one signs nothing any more and its secret is removed. A crash in between is mended when the
//! ledger is opened.

use std::path::Path;
use std::sync::Arc;

use crate::files::storage::{self, Access, Storage};
use crate::journal::keys::chain_path;
use crate::notes::chain::{self, Rotation};
use crate::publish::keys::{finish_rotation, signer, write_key};
use crate::{Error, Options, SecretKey, Signer, Work, open_with};

/// Replaces the ledger's key by a new one, which is the given signer's, or one in the file `key`. No other process may
/// have the ledger open for writing. `options` name the signer of the old key, unless that is in the file. The entry
/// that says so is the caller's.
///
/// # Errors
/// As [`open`](fn@crate::open); [`Error::Signer`] when one of them does not sign: nothing has changed then.
pub fn rotate_key(
    dir: &Path,
    options: &Options,
    new: Option<Arc<dyn Signer>>,
    storage: Arc<dyn Storage>,
) -> Result<Rotation, Error> {
    let writer = open_with(dir, options, Arc::clone(&storage), Work::Inline)?;
    let meta = &writer.shared.meta;
    let old = signer(dir, &meta.keys.current(), options.signer.as_ref())?;
    let mut made = None;
    let new = match new {
        Some(new) => new,
        None => {
            let key = SecretKey::generate()?;
            made = Some(key.clone());
            Arc::new(key)
        }
    };
    let rotation = Rotation {
        sequence: meta.keys.rotations.len() as u64 + 1,
        commits: writer.shared.durable().next_seq,
        old: old.public_key(),
        new: new.public_key(),
        note: String::new(),
    };
    if meta.keys.all().any(|key| key == rotation.new) {
        return Err(Error::Refused("the new key is or was a key of this ledger; make another".into()));
    }
    let note = chain::encode((&meta.uuid.to_string(), &meta.name), &rotation, &*old, &*new)?;
    if let Some(key) = made {
        write_key(&dir.join("key.next"), &key, &*storage)?;
    }
    let blank = if meta.keys.text.is_empty() { "" } else { "\n" };
    let text = format!("{}{blank}{note}", meta.keys.text);
    // The commit point.
    storage::replace(&*storage, &chain_path(dir), text.as_bytes(), Access::Shared)?;
    let keys = meta.read_keys(dir)?;
    finish_rotation(dir, &keys, &*storage)?;
    Ok(Rotation { note, ..rotation })
}
