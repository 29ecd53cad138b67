//! How far a check of a copy came: the newest hashes of each level, and the file in which they outlive an interruption.
//! What a directory's check notes besides is in `verify/resume.rs`.

use std::fmt::Write as _;
use std::path::Path;
use std::str::Split;

use crate::files::storage::{self, Access, LocalFiles};
use crate::tree::merkle::{self, Edge, WIDTH, node_hash};
use crate::tree::tile;
use crate::{Error, Hash};

const MAGIC: &str = "pedigraph verify state 1";
/// Levels of tiles that a log of less than 2^64 entries can have.
const LEVELS: usize = 8;

/// An older checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OldHead {
    pub(crate) size: u64,
    pub(crate) root: Hash,
}

/// What is known to be good.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Checked {
    pub(crate) rows: Rows,
    /// Bytes of entries that were hashed.
    pub(crate) bytes: u64,
}

/// The hashes of the newest, not yet full tile of each level.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Rows {
    size: u64,
    levels: [Vec<Hash>; LEVELS],
}

impl Default for Rows {
    fn default() -> Rows {
        Rows { size: 0, levels: std::array::from_fn(|_| Vec::new()) }
    }
}

impl Rows {
    /// Leaves so far.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of the level's newest tile.
    pub(crate) fn level(&self, level: u8) -> &[Hash] {
        &self.levels[usize::from(level)]
    }

    /// Adds a leaf; returns the tiles that are full now, as (level, number, hashes), lowest first.
    pub(crate) fn push(&mut self, leaf: Hash) -> Vec<(u8, u64, Vec<Hash>)> {
        self.size += 1;
        let (mut hash, mut count, mut full) = (leaf, self.size, Vec::new());
        for (level, row) in (0_u8..).zip(&mut self.levels) {
            row.push(hash);
            if !count.is_multiple_of(WIDTH) {
                break;
            }
            hash = tile::tile_root(row);
            count /= WIDTH;
            full.push((level, count - 1, std::mem::take(row)));
        }
        full
    }

    /// The root of the tree.
    pub(crate) fn root(&self) -> Hash {
        self.root_with(&[])
    }

    /// The root of the tree with a few leaves more.
    pub(crate) fn root_with(&self, leaves: &[Hash]) -> Hash {
        let lowest: Vec<_> = self.levels[0].iter().chain(leaves).copied().collect();
        let rows = self.levels.iter().skip(1).rev().map(Vec::as_slice).chain([&lowest[..]]);
        let mut subtrees = Vec::new();
        for row in rows {
            let mut edge = Edge::default();
            for hash in row {
                edge.push(*hash);
            }
            subtrees.extend_from_slice(edge.stack());
        }
        // Two neighbours of the same height become one here, as in the tree.
        let joined = subtrees.into_iter().rev().reduce(|right, left| node_hash(&left, &right));
        joined.unwrap_or_else(merkle::empty_root)
    }

    /// `None` unless each level has as many hashes as a tree of the size.
    fn restore(size: u64, levels: [Vec<Hash>; LEVELS]) -> Option<Rows> {
        let mut hashes = size;
        for row in &levels {
            if row.len() as u64 != hashes % WIDTH {
                return None;
            }
            hashes /= WIDTH;
        }
        Some(Rows { size, levels })
    }
}

/// Reads the state of an interrupted check of the same log against the same older checkpoint; `None` when there is
/// none.
///
/// # Errors
/// [`Error::Refused`] when the file is no such state, [`Error::Io`].
pub(crate) fn load(file: &Path, vkey: &str, old: Option<OldHead>, size: u64) -> Result<Option<Checked>, Error> {
    let Some((stated_key, stated_old, checked)) = read(file, decode)? else { return Ok(None) };
    if stated_key != vkey {
        return Err(Error::Refused(format!("{} is of the log {stated_key}; name another file", file.display())));
    }
    // A log may have been longer than its checkpoint is now only if it shrank: then nothing noted is of use.
    Ok((stated_old == old && checked.rows.size <= size).then_some(checked))
}

/// Reads a file that holds a state; `None` when there is none. A file that holds anything else is never overwritten.
///
/// # Errors
/// [`Error::Refused`] when the file is no such state, [`Error::Io`].
pub(crate) fn read<T>(file: &Path, decode: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Error> {
    let Some(bytes) = storage::read_if_there(file)? else { return Ok(None) };
    let state = std::str::from_utf8(&bytes).ok().and_then(decode).ok_or_else(|| {
        Error::Refused(format!(
            "{} is not the state of an interrupted check; name another file, or delete it",
            file.display()
        ))
    });
    state.map(Some)
}

/// Writes the state, durably.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn save(file: &Path, vkey: &str, old: Option<OldHead>, checked: &Checked) -> Result<(), Error> {
    write(file, &encode(vkey, old, checked))
}

/// Writes a state, durably.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn write(file: &Path, text: &str) -> Result<(), Error> {
    let file = Path::new(".").join(file);
    Ok(storage::replace(&LocalFiles, &file, text.as_bytes(), Access::Private)?)
}

/// The check is done.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn remove(file: &Path) -> Result<(), Error> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn encode(vkey: &str, old: Option<OldHead>, checked: &Checked) -> String {
    let mut text = format!("{MAGIC}\nkey {vkey}\nolder {}\n", head_text(old));
    let _infallible = writeln!(text, "size {}\nbytes {}", checked.rows.size, checked.bytes);
    put_levels(&mut text, &checked.rows);
    sealed(text)
}

fn decode(text: &str) -> Option<(String, Option<OldHead>, Checked)> {
    let mut fields = Fields::of(text, MAGIC)?;
    let (vkey, old) = (fields.next("key")?.to_owned(), take_head(fields.next("older")?)?);
    let (size, bytes): (u64, _) = (fields.number("size")?, fields.number("bytes")?);
    // It is noted between two bundles.
    let rows = if size.is_multiple_of(WIDTH) { fields.levels(size)? } else { return None };
    let checked = Checked { rows, bytes };
    // One spelling each, and the checksum of it.
    (encode(&vkey, old, &checked) == text).then_some((vkey, old, checked))
}

/// The lines of a state: each a name and a value.
pub(crate) struct Fields<'a>(Split<'a, char>);

impl<'a> Fields<'a> {
    /// After the first line.
    pub(crate) fn of(text: &'a str, magic: &str) -> Option<Fields<'a>> {
        Some(Fields(text.strip_prefix(magic)?.strip_prefix('\n')?.split('\n')))
    }

    pub(crate) fn next(&mut self, name: &str) -> Option<&'a str> {
        self.0.next()?.strip_prefix(name)?.strip_prefix(' ')
    }

    pub(crate) fn number(&mut self, name: &str) -> Option<u64> {
        self.next(name)?.parse().ok()
    }

    /// What [`put_levels`] wrote for so many leaves.
    pub(crate) fn levels(&mut self, size: u64) -> Option<Rows> {
        let mut levels: [Vec<Hash>; LEVELS] = std::array::from_fn(|_| Vec::new());
        for row in &mut levels {
            let (hashes, rest) = self.next("level")?.as_bytes().as_chunks::<64>();
            if !rest.is_empty() {
                return None;
            }
            *row = hashes.iter().map(|hex| hash(std::str::from_utf8(hex).ok()?)).collect::<Option<_>>()?;
        }
        Rows::restore(size, levels)
    }
}

pub(crate) fn put_levels(text: &mut String, rows: &Rows) {
    for row in &rows.levels {
        let hashes: String = row.iter().map(ToString::to_string).collect();
        let _infallible = writeln!(text, "level {hashes}");
    }
}

/// With a checksum at the end.
pub(crate) fn sealed(mut text: String) -> String {
    let checksum = merkle::digest(text.as_bytes());
    let _infallible = writeln!(text, "checksum {checksum}");
    text
}

pub(crate) fn head_text(head: Option<OldHead>) -> String {
    head.map_or_else(|| "none".into(), |head| format!("{} {}", head.size, head.root))
}

/// Reads what [`head_text`] wrote.
#[expect(clippy::option_option, reason = "no head is something that is written")]
pub(crate) fn take_head(text: &str) -> Option<Option<OldHead>> {
    if text == "none" {
        return Some(None);
    }
    let (size, root) = text.split_once(' ')?;
    Some(Some(OldHead { size: size.parse().ok()?, root: hash(root)? }))
}

pub(crate) fn hash(text: &str) -> Option<Hash> {
    hex::decode(text).ok()?.try_into().ok().map(Hash)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(count: u64) -> Rows {
        let mut rows = Rows::default();
        (0..count).for_each(|n| drop(rows.push(merkle::leaf_hash(&n.to_be_bytes()))));
        rows
    }

    #[test]
    fn roots_are_those_of_the_edge() {
        let mut edge = Edge::default();
        let mut rows = Rows::default();
        for n in 0..1400_u64 {
            assert_eq!(rows.root(), edge.root(), "{n}");
            let leaf = merkle::leaf_hash(&n.to_be_bytes());
            edge.push(leaf);
            assert_eq!(rows.root_with(&[leaf]), edge.root(), "{n}");
            rows.push(leaf);
        }
        let leaves: Vec<_> = (0..512_u64).map(|n| merkle::leaf_hash(&n.to_be_bytes())).collect();
        let mut first = Rows::default();
        leaves[..256].iter().for_each(|leaf| drop(first.push(*leaf)));
        assert_eq!(first.root_with(&leaves[256..]), rows_root(&leaves));
    }

    fn rows_root(leaves: &[Hash]) -> Hash {
        let mut edge = Edge::default();
        for leaf in leaves {
            edge.push(*leaf);
        }
        edge.root()
    }

    /// Of a state's text with one letter changed, or cut anywhere.
    pub(crate) fn no_changed_one_is_read<T: PartialEq + std::fmt::Debug>(
        text: &str,
        decode: impl Fn(&str) -> Option<T>,
    ) {
        for (at, c) in text.char_indices() {
            let other = if c == '0' { '1' } else { '0' };
            assert_eq!(decode(&format!("{}{other}{}", &text[..at], &text[at + 1..])), None, "{at}");
            assert_eq!(decode(&text[..at]), None, "cut at {at}");
        }
    }

    /// A state as it is written.
    pub(crate) fn sample_text() -> String {
        encode(
            "key+1+2",
            Some(OldHead { size: 7, root: merkle::empty_root() }),
            &Checked { rows: rows(1280), bytes: 5 },
        )
    }

    /// What is written for the state in a text.
    pub(crate) fn written_again(text: &str) -> Option<String> {
        decode(text).map(|(vkey, old, checked)| encode(&vkey, old, &checked))
    }

    #[test]
    fn a_state_round_trips_and_no_changed_one_is_read() {
        let old = Some(OldHead { size: 7, root: merkle::empty_root() });
        let checked = Checked { rows: rows(1280), bytes: 5 };
        for old in [None, old] {
            let text = encode("key+1+2", old, &checked);
            assert_eq!(decode(&text), Some(("key+1+2".into(), old, checked.clone())));
            no_changed_one_is_read(&text, decode);
        }
    }

    proptest! {
        #[test]
        fn hostile_states_never_panic(text in "(pedigraph verify state 1\n)?.{0,80}(\nlevel [0-9a-f]{0,70}){0,9}\n.{0,9}") {
            prop_assert_eq!(decode(&text), None);
        }
    }
}
