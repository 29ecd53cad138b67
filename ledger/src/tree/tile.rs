//! tlog-tiles v0.1.0: resource paths, widths and bundles. Pure.

use crate::tree::merkle::{WIDTH, node_hash};
use crate::{Hash, LEAF_BYTES_MAX};

/// A resource below a log, not yet known to exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tile {
    pub(crate) of: Of,
    pub(crate) number: u64,
    /// 1 to 255 for a partial one, 256 for a full one.
    pub(crate) width: u64,
}

/// What a tile holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Of {
    /// Hashes of a level, 0 to 63.
    Level(u8),
    /// Entry bundles.
    Entries,
}

impl Tile {
    /// Parses `tile/<L>/<N>[.p/<W>]` and `tile/entries/<N>[.p/<W>]`; `None` for every other spelling.
    pub(crate) fn parse(path: &str) -> Option<Tile> {
        let (of, number) = path.strip_prefix("tile/")?.split_once('/')?;
        let of = match of {
            "entries" => Of::Entries,
            level => Of::Level(decimal(level).filter(|l| *l <= 63).and_then(|l| u8::try_from(l).ok())?),
        };
        let (number, width) = match number.split_once(".p/") {
            Some((number, width)) => (number, decimal(width).filter(|w| (1..WIDTH).contains(w))?),
            None => (number, WIDTH),
        };
        let tile = Tile { of, number: parse_number(number)?, width };
        // One spelling each: `x000/001` for 1 would be a second one.
        (tile.path() == path).then_some(tile)
    }

    /// The resource's path below its log.
    pub(crate) fn path(&self) -> String {
        let number = number_path(self.number);
        let of = match self.of {
            Of::Level(level) => level.to_string(),
            Of::Entries => "entries".to_owned(),
        };
        match self.width {
            WIDTH => format!("tile/{of}/{number}"),
            width => format!("tile/{of}/{number}.p/{width}"),
        }
    }

    /// Whether the resource may exist for a tree of `size`. A partial one may for every width that a tree up to this
    /// size had.
    pub(crate) fn exists_at(&self, size: u64) -> bool {
        let level = match self.of {
            Of::Level(level) => u32::from(level),
            Of::Entries => 0,
        };
        let hashes = size.checked_shr(8 * level).unwrap_or(0);
        let end = self.number.checked_mul(WIDTH).and_then(|from| from.checked_add(self.width));
        end.is_some_and(|end| end <= hashes)
    }
}

/// The tiles and bundles, full and partial, that a static copy of a tree needs.
pub(crate) fn tiles_of(size: u64) -> impl Iterator<Item = Tile> {
    let levels = (0..8_u8).map(Of::Level).chain([Of::Entries]);
    levels.flat_map(move |of| {
        let level = match of {
            Of::Level(level) => level,
            Of::Entries => 0,
        };
        let hashes = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
        let full = (0..hashes / WIDTH).map(move |number| Tile { of, number, width: WIDTH });
        let partial = Tile { of, number: hashes / WIDTH, width: hashes % WIDTH };
        full.chain((partial.width > 0).then_some(partial))
    })
}

/// The bundle that holds an entry of a log of a size, as a path below the log; `None` when there is no such entry.
pub fn bundle_path(index: u64, size: u64) -> Option<String> {
    (index < size).then(|| bundle_of(index, size).path())
}

/// An entry out of the bundle at [`bundle_path`]; `None` when the bytes are not that bundle's.
pub fn entry_of_bundle(bytes: &[u8], index: u64, size: u64) -> Option<&[u8]> {
    let at = usize::try_from(index % WIDTH).ok()?;
    split_bundle(bytes, bundle_of(index, size).width)?.get(at).copied()
}

fn bundle_of(index: u64, size: u64) -> Tile {
    let from = index - index % WIDTH;
    Tile { of: Of::Entries, number: index / WIDTH, width: size.saturating_sub(from).min(WIDTH) }
}

/// The root of a full tile: the hash that stands for it one level up.
pub(crate) fn tile_root(hashes: &[Hash]) -> Hash {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    row[0]
}

/// Appends a tile's bytes.
pub(crate) fn put_hashes(out: &mut Vec<u8>, hashes: &[Hash]) {
    hashes.iter().for_each(|hash| out.extend_from_slice(&hash.0));
}

/// A tile's bytes.
pub(crate) fn encode_hashes(hashes: &[Hash]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of_val(hashes));
    put_hashes(&mut bytes, hashes);
    bytes
}

/// The hashes of a tile file, `None` unless it is a full tile's.
pub(crate) fn decode_full(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    (rest.is_empty() && hashes.len() == 256).then(|| hashes.iter().map(|hash| Hash(*hash)).collect())
}

/// Appends one entry of a bundle: its length in two bytes, big endian, and its bytes.
pub(crate) fn put_bundled(out: &mut Vec<u8>, leaf: &[u8]) {
    let len = u16::try_from(leaf.len()).expect("append refuses longer leaves");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(leaf);
}

/// The entries of a bundle; `None` unless it has exactly `count`.
pub(crate) fn split_bundle(mut bytes: &[u8], count: u64) -> Option<Vec<&[u8]>> {
    const { assert!(LEAF_BYTES_MAX == u16::MAX as usize) };
    let mut leaves = Vec::new();
    for _ in 0..count {
        let (len, rest) = bytes.split_first_chunk()?;
        let (leaf, rest) = rest.split_at_checked(u16::from_be_bytes(*len).into())?;
        leaves.push(leaf);
        bytes = rest;
    }
    bytes.is_empty().then_some(leaves)
}

fn number_path(number: u64) -> String {
    let mut path = format!("{:03}", number % 1000);
    let mut rest = number / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    path
}

fn parse_number(path: &str) -> Option<u64> {
    let mut number = 0_u64;
    for group in path.split('/') {
        let digits = group.strip_prefix('x').unwrap_or(group);
        let all_digits = digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit());
        let value: u64 = all_digits.then(|| digits.parse().ok())??;
        number = number.checked_mul(1000)?.checked_add(value)?;
    }
    Some(number)
}

/// A decimal without leading zeros or sign.
fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let table = [
            ("tile/0/000", Of::Level(0), 0, 256),
            ("tile/63/x001/x234/067.p/255", Of::Level(63), 1_234_067, 255),
            ("tile/entries/x001/000.p/1", Of::Entries, 1000, 1),
        ];
        for (path, of, number, width) in table {
            let tile = Tile { of, number, width };
            assert_eq!((Tile::parse(path), tile.path().as_str()), (Some(tile), path));
        }
    }

    #[test]
    fn other_spellings_are_none() {
        let table = [
            "",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "tile/64/000",
            "tile/00/000",
            "tile/-1/000",
            "tile/+1/000",
            "tile/0/0",
            "tile/0/00",
            "tile/0/0000",
            "tile/0/x000/001",
            "tile/0/001/000",
            "tile/0/x001",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/0/000.p/+1",
            "tile/0/000.p/1/2",
            "tile/0/../000",
            "../tile/0/000",
            "/tile/0/000",
            "tile/0/000/",
            "tile/8/0/000",
            "tile/entries/",
            "tile/data/000",
            "tile/0/\u{661}00",
            "tile/0/é00",
            "tile/0/000.p/\u{661}",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
            "tile/0/000?x",
            "tile/0/%30",
            "tile/0/X001/000",
            "TILE/0/000",
        ];
        for path in table {
            assert_eq!(Tile::parse(path), None, "{path:?}");
        }
    }

    #[test]
    fn the_tiles_of_70000_are_those_of_the_notes() {
        let all: Vec<_> = tiles_of(70_000).collect();
        let count = |of, full: bool| all.iter().filter(|t| t.of == of && (t.width == WIDTH) == full).count();
        assert_eq!((count(Of::Level(0), true), count(Of::Level(1), true), count(Of::Entries, true)), (273, 1, 273));
        let partials: Vec<_> = all.iter().filter(|t| t.width < WIDTH).map(Tile::path).collect();
        assert_eq!(partials, ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1", "tile/entries/273.p/112"]);
        assert_eq!(tiles_of(0).count(), 0);
        assert!(all.iter().all(|t| t.exists_at(70_000)));
    }

    proptest! {
        #[test]
        fn numbers_round_trip(number in any::<u64>(), width in 1..=WIDTH) {
            let tile = Tile { of: Of::Level(3), number, width };
            prop_assert_eq!(Tile::parse(&tile.path()), Some(tile));
            tile.exists_at(number);
        }

        #[test]
        fn hostile_paths_and_bundles_never_panic(path in "(tile/)?.{0,40}", bytes in proptest::collection::vec(any::<u8>(), 0..80), count in 0_u64..9) {
            let _ = (Tile::parse(&path), split_bundle(&bytes, count), decode_full(&bytes));
        }
    }
}
