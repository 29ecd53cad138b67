//! Static copies of one log, which any web server can serve and any tlog client verifies.

use std::fs;
use std::path::Path;

use crate::frame::to_usize;
use crate::storage::{self, Access, LocalFiles};
use crate::tile::{self, Of, Tile, WIDTH, tiles_of};
use crate::tree::{Edge, leaf_hash};
use crate::{Error, Hash, LogId, Reader, follow_keys, note};

/// Writes a static tlog-tiles copy of one log (checkpoint, tiles, bundles, the partials of its checkpoint, the chain of keys) that any web server
/// can serve; returns the number of files. Tiles first: who sees the checkpoint finds everything that it implies.
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
        fs::write(file, bytes)?;
        files += 1;
    }
    fs::create_dir_all(dir)?;
    let chain = reader.key_chain();
    if !chain.is_empty() {
        storage::replace(&LocalFiles, &dir.join("keys"), chain.as_bytes(), Access::Shared)?;
        files += 1;
    }
    storage::replace(&LocalFiles, &dir.join("checkpoint"), &checkpoint.note, Access::Shared)?;
    Ok(files)
}

/// Checks a static copy against a verifier key, or one that it leads to by the copy's chain of keys: the signature, every bundle, every tile, the root. Returns the tree's size.
///
/// # Errors
/// [`Error::Refused`] when the checkpoint is not by the key, [`Error::Corrupt`] naming the first file that is missing or wrong.
pub fn verify_mirror(dir: &Path, vkey: &str) -> Result<u64, Error> {
    let checkpoint = fs::read_to_string(dir.join("checkpoint"))?;
    let chain = storage::read_if_there(&dir.join("keys"))?.unwrap_or_default();
    let newest = follow_keys(&String::from_utf8_lossy(&chain), vkey)?;
    // One that was made before the log grew under the newest key is still by the given one.
    let (size, root) = note::verify_checkpoint(&checkpoint, &newest)
        .or_else(|why| note::verify_checkpoint(&checkpoint, vkey).map_err(|_| why))?;
    let mut edge = Edge::default();
    let mut rows: Vec<Vec<Hash>> = vec![Vec::new(); 8];
    while edge.size() < size {
        let width = (size - edge.size()).min(WIDTH);
        let tile = Tile { of: Of::Entries, number: edge.size() / WIDTH, width };
        let bytes = read(dir, &tile)?;
        let leaves =
            tile::split_bundle(&bytes, width).ok_or_else(|| wrong(&tile, "does not have its number of entries"))?;
        for leaf in leaves {
            let hash = leaf_hash(leaf);
            edge.push(hash);
            climb(dir, &mut rows, hash, edge.size())?;
        }
    }
    let partials = tiles_of(size).filter(|tile| tile.width < WIDTH);
    for tile in partials {
        if let Of::Level(level) = tile.of {
            compare(dir, &tile, &rows[usize::from(level)])?;
        }
    }
    match edge.root() == root {
        true => Ok(size),
        false => Err(Error::Corrupt(format!("the entries have root {}, the checkpoint signs {root}", edge.root()))),
    }
}

/// Adds a leaf to the rows of hashes and compares each tile that becomes full.
fn climb(dir: &Path, rows: &mut [Vec<Hash>], leaf: Hash, size: u64) -> Result<(), Error> {
    let (mut hash, mut count) = (leaf, size);
    for (level, row) in (0_u8..).zip(rows) {
        row.push(hash);
        if count % WIDTH != 0 {
            break;
        }
        compare(dir, &Tile { of: Of::Level(level), number: count / WIDTH - 1, width: WIDTH }, row)?;
        hash = tile::tile_root(row);
        row.clear();
        count /= WIDTH;
    }
    Ok(())
}

fn compare(dir: &Path, tile: &Tile, hashes: &[Hash]) -> Result<(), Error> {
    let found = read(dir, tile)?;
    let expected = tile::encode_hashes(hashes);
    let wrong_at = expected.chunks(32).zip(found.chunks(32)).position(|(expected, found)| expected != found);
    match wrong_at {
        Some(at) => Err(wrong(tile, &format!("has a wrong hash {at}"))),
        None if found.len() != to_usize(tile.width) * 32 => Err(wrong(tile, "has a wrong length")),
        None => Ok(()),
    }
}

fn read(dir: &Path, tile: &Tile) -> Result<Vec<u8>, Error> {
    storage::read_if_there(&dir.join(tile.path()))?.ok_or_else(|| wrong(tile, "is missing"))
}

fn wrong(tile: &Tile, why: &str) -> Error {
    Error::Corrupt(format!("{} {why}", tile.path()))
}
