//! The ledger's secret key in its file, and who signs with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Error;
use crate::files::storage::{self, Access, Storage};
use crate::journal::keys::Keys;
use crate::journal::meta::Meta;
use crate::notes::signer::{SecretKey, Signer};

const KEY_LINE: &str = "pedigraph ledger key 1 ed25519 ";

/// Puts a new secret key in the place of the old one, or removes the one of a rotation that did not happen.
pub(crate) fn finish_rotation(dir: &Path, keys: &Keys, storage: &dyn Storage) -> Result<(), Error> {
    let [path, next_path, old_path, half_made] = ["key", "key.next", "key.old", "key.tmp"].map(|name| dir.join(name));
    let retired = read_key(&path)?.is_some_and(|key| keys.signed_until(&key.public_key()).is_some());
    if !retired && ![&next_path, &old_path, &half_made].iter().any(|path| path.exists()) {
        return Ok(());
    }
    // The chain may have been read from memory only: no secret goes before it is on the disk.
    storage.sync_dir(dir)?;
    if retired {
        storage.rename(&path, &old_path)?;
    }
    match read_key(&next_path)? {
        Some(next) if next.public_key() == keys.current() => storage.rename(&next_path, &path)?,
        Some(_) | None => remove(&next_path, storage)?,
    }
    storage.sync_dir(dir)?;
    remove(&old_path, storage)?;
    remove(&half_made, storage)?;
    Ok(storage.sync_dir(dir)?)
}

/// Who signs for a ledger: who was named, or the key in its file.
pub(crate) fn signer(
    dir: &Path,
    current: &[u8; 32],
    named: Option<&Arc<dyn Signer>>,
) -> Result<Arc<dyn Signer>, Error> {
    let found = match named {
        Some(named) => Some(Arc::clone(named)),
        None => read_key(&key_path(dir))?.map(|key| Arc::new(key) as Arc<dyn Signer>),
    };
    let ours = found.filter(|signer| signer.public_key() == *current);
    let what = || {
        match named {
        Some(_) => "the configured signer has another key than this ledger; name the one of its newest key, or rotate to it first (`pedigraph key rotate`)".into(),
        None => format!("{} is missing or not this ledger's key; restore it from a copy, or name the signer that has it", key_path(dir).display()),
    }
    };
    ours.ok_or_else(|| Error::Corrupt(what()))
}

/// Makes the ledger's key, or takes the one that a crash left before the ledger's description was written.
pub(crate) fn create_key(dir: &Path, storage: &dyn Storage) -> Result<SecretKey, Error> {
    if let Some(key) = read_key(&key_path(dir))? {
        return Ok(key);
    }
    let key = SecretKey::generate()?;
    write_key(&key_path(dir), &key, storage)?;
    Ok(key)
}

fn read_key(path: &Path) -> Result<Option<SecretKey>, Error> {
    Ok(storage::read_if_there(path)?.and_then(|bytes| parse_key(&bytes)))
}

pub(crate) fn parse_key(bytes: &[u8]) -> Option<SecretKey> {
    SecretKey::parse(std::str::from_utf8(bytes).ok()?.strip_prefix(KEY_LINE)?.strip_suffix('\n')?)
}

pub(crate) fn write_key(path: &Path, key: &SecretKey, storage: &dyn Storage) -> Result<(), Error> {
    let text = format!("{KEY_LINE}{}\n", hex::encode(key.seed()));
    Ok(storage::replace(storage, path, text.as_bytes(), Access::Private)?)
}

/// Removes a secret, if it is there, overwriting it first.
fn remove(path: &Path, storage: &dyn Storage) -> Result<(), Error> {
    let Ok(there) = std::fs::metadata(path) else { return Ok(()) };
    let file = storage.open(path)?;
    file.write_zeros(0, there.len())?;
    file.sync()?;
    Ok(storage.remove(path)?)
}

/// Whether a file's bytes are the newest key of a ledger.
pub(crate) fn is_key_of(bytes: &[u8], meta: &Meta) -> bool {
    parse_key(bytes).is_some_and(|key| key.public_key() == meta.keys.current())
}

/// The file of the ledger's key.
pub(crate) fn key_path(dir: &Path) -> PathBuf {
    dir.join("key")
}
