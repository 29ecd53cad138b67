//! The hashes of tiles, wherever they are: in memory, in the file of their level, or in the journal.
//!
//! Tile files are derived and not trusted: who builds a proof from them checks it against the durable root.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::derived::index;
use crate::files::storage::{lock, to_usize};
use crate::read::lookup;
use crate::read::open_ledger::OpenLedger;
use crate::tree::merkle::{Nodes, WIDTH, leaf_hash, node_hash};
use crate::tree::tile;
use crate::{Error, Hash, LogId};

/// The first `width` hashes of a tile; all of them exist at the durable size.
pub(crate) fn hashes(shared: &OpenLedger, log: &LogId, level: u8, number: u64, width: u64) -> Result<Vec<Hash>, Error> {
    if let Some(mut hashes) = index::stored_tile(&shared.dir, log, level, number) {
        hashes.truncate(to_usize(width));
        return Ok(hashes);
    }
    not_stored(shared, log, level, number, width)
}

/// The same, of a tile that is not in the file of its level.
pub(crate) fn not_stored(
    shared: &OpenLedger,
    log: &LogId,
    level: u8,
    number: u64,
    width: u64,
) -> Result<Vec<Hash>, Error> {
    match level.checked_sub(1) {
        None => leaf_hashes(shared, log, number, width),
        Some(below) => tile_roots(shared, log, below, number, width),
    }
}

fn leaf_hashes(shared: &OpenLedger, log: &LogId, number: u64, width: u64) -> Result<Vec<Hash>, Error> {
    let from = number * WIDTH;
    {
        let state = shared.durable();
        let head = state.logs.get(log).filter(|head| head.recent_from <= from);
        if let Some(head) = head {
            let start = to_usize(from - head.recent_from);
            return Ok(head.recent.range(start..start + to_usize(width)).map(|entry| entry.hash).collect());
        }
    }
    Ok(lookup::leaves(shared, log, from, width)?.iter().map(|leaf| leaf_hash(leaf)).collect())
}

/// The roots of full tiles one level below. Kept while the tile is partial: each costs 255 hashes.
fn tile_roots(shared: &OpenLedger, log: &LogId, below: u8, number: u64, width: u64) -> Result<Vec<Hash>, Error> {
    let key = (log.clone(), below + 1);
    let kept = lock(&shared.partials).get(&key).filter(|(n, _)| *n == number).map(|(_, roots)| roots.clone());
    let mut roots = kept.unwrap_or_default();
    for child in number * WIDTH + roots.len() as u64..number * WIDTH + width {
        let known = if below == 0 { shared.durable().tile_root(log, child) } else { None };
        roots.push(match known {
            Some(root) => root,
            None => tile::tile_root(&hashes(shared, log, below, child, WIDTH)?),
        });
    }
    lock(&shared.partials).insert(key, (number, roots.clone()));
    roots.truncate(to_usize(width));
    Ok(roots)
}

/// The first `width` leaves of a bundle, encoded. Bundles are not stored: that would write every entry to the disk
/// twice.
pub(crate) fn bundle(shared: &OpenLedger, log: &LogId, number: u64, width: u64) -> Result<Bytes, Error> {
    let leaves = lookup::leaves(shared, log, number * WIDTH, width)?;
    let mut bytes = Vec::with_capacity(leaves.iter().map(|leaf| leaf.len() + 2).sum());
    leaves.iter().for_each(|leaf| tile::put_bundled(&mut bytes, leaf));
    Ok(bytes.into())
}

/// A log's nodes, out of tiles that are read once.
pub(crate) struct TileNodes<'a> {
    shared: &'a OpenLedger,
    log: &'a LogId,
    size: u64,
    tiles: BTreeMap<(u8, u64), Vec<Hash>>,
}

impl<'a> TileNodes<'a> {
    /// Of the tree of a size that is durable.
    pub(crate) fn new(shared: &'a OpenLedger, log: &'a LogId, size: u64) -> Self {
        TileNodes { shared, log, size, tiles: BTreeMap::new() }
    }

    fn tile(&mut self, level: u8, number: u64) -> Result<&[Hash], Error> {
        if !self.tiles.contains_key(&(level, number)) {
            let width = ((self.size >> (8 * level)) - number * WIDTH).min(WIDTH);
            let hashes = hashes(self.shared, self.log, level, number, width)?;
            self.tiles.insert((level, number), hashes);
        }
        Ok(&self.tiles[&(level, number)])
    }
}

impl Nodes for TileNodes<'_> {
    fn node(&mut self, level: u32, index: u64) -> Result<Hash, Error> {
        let tile_level = u8::try_from(level / 8).expect("levels are below 64");
        let within = level % 8;
        let first = index << within;
        let start = to_usize(first % WIDTH);
        let hashes = self.tile(tile_level, first / WIDTH)?;
        Ok(subtree(&hashes[start..start + (1 << within)]))
    }
}

/// The root over a power of two of hashes.
fn subtree(hashes: &[Hash]) -> Hash {
    match hashes {
        [hash] => *hash,
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            node_hash(&subtree(left), &subtree(right))
        }
    }
}
