//! Static copies of one log, which any web server can serve and any tlog client verifies.

use std::fs;
use std::path::Path;

use crate::files::storage::{self, Access, LocalFiles, Storage as _};
use crate::tree::tile::tiles_of;
use crate::{Error, LogId, Reader, TilesCheck, Trust, verify_tiles};

/// Writes a static tlog-tiles copy of one log (checkpoint, tiles, bundles, the partials of its checkpoint, the chain of
/// keys) that any web server can serve; returns the number of files. Tiles first: who sees the checkpoint finds
/// everything that it implies.
///
/// # Errors
/// [`Error::Refused`] when the log has no checkpoint, [`Error::Corrupt`], [`Error::Io`].
pub fn mirror(reader: &Reader, log: &LogId, dir: &Path) -> Result<u64, Error> {
    let checkpoint = reader.checkpoint(log).ok_or_else(|| Error::Refused(format!("log {log} has no checkpoint")))?;
    let mut files = 1;
    for tile in tiles_of(checkpoint.size) {
        let path = tile.path();
        let bytes = reader.resource(log, &path)?.ok_or_else(|| Error::Corrupt(format!("log {log} lacks {path}")))?;
        let file = dir.join(&path);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        LocalFiles.create(&file, Access::Public)?.write_at(&bytes, 0)?;
        files += 1;
    }
    fs::create_dir_all(dir)?;
    let chain = reader.key_chain();
    if !chain.is_empty() {
        storage::replace(&LocalFiles, &dir.join("keys"), chain.as_bytes(), Access::Public)?;
        files += 1;
    }
    storage::replace(&LocalFiles, &dir.join("checkpoint"), &checkpoint.note, Access::Public)?;
    Ok(files)
}

/// Checks a static copy against a verifier key, or one that it leads to by the copy's chain of keys: the signature,
/// every bundle, every tile, the root. Returns the tree's size. [`verify_tiles`] can more.
///
/// # Errors
/// [`Error::Refused`] when the checkpoint is not by the key, [`Error::Corrupt`] naming the first file that is missing
/// or wrong.
pub fn verify_mirror(dir: &Path, vkey: &str) -> Result<u64, Error> {
    let trust = Trust { vkey: Some(vkey.to_owned()), ..Trust::default() };
    let fetch = |path: &str| read_mirror(dir, path);
    let check = TilesCheck { trust: &trust, older: None, resume: None };
    let verified = verify_tiles(&fetch, &check, &mut |_, _| {})?;
    verified.fault.map_or(Ok(verified.entries), |fault| Err(Error::Corrupt(fault)))
}

/// A resource of a static copy; `None` when the copy lacks it.
///
/// # Errors
/// [`Error::Io`].
pub fn read_mirror(dir: &Path, path: &str) -> Result<Option<Vec<u8>>, Error> {
    Ok(storage::read_if_there(&dir.join(path))?)
}
