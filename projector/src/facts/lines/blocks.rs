//! Blocks of the versions of a line, in their order, with the earliest publication in each, so that the greatest lower
//! version which was published by then is found by reading a few rows, whatever the line's length and the order in
//! which its versions were published. About one in 16 versions begins a block, one in 256 a block of the next level,
//! and so on. Only what finds parents reads them, always as they are now. The first block of a level has no row.

use std::ops::ControlFlow;

use pedigraph_proto::Nanos;

use super::Lines;
use super::parents::versioned;
use super::rows::{InLine, LineId, Pos, SINCE_BYTES, Version, table};
use crate::error::Error;
use crate::store::key::Key;

/// Levels of blocks: one of the highest has about 65,536 versions.
const LEVELS: u8 = 4;
/// One in so many, as a power of two, begins a block of the next level.
const FAN_OUT_BITS: u32 = 4;

/// A block that has a row.
struct Block {
    /// Where its first version stands: the end of that one's key.
    start: Vec<u8>,
    /// `None` when all of it left.
    earliest: Option<i64>,
}

/// Where a version stands among those of its line, as the end of its key.
pub(super) fn place(number: &[u8], published: i64, pos: &Pos) -> Vec<u8> {
    Key::from_bytes(number).time(Nanos(published)).pos(pos).as_bytes().to_vec()
}

impl Lines<'_> {
    /// The greatest version below this one that was published no later and is no kin.
    pub(super) fn greatest_lower(&self, of: &Version, version: &[u8]) -> Result<Option<String>, Error> {
        let mut end = version.to_vec();
        let mut level = 0;
        loop {
            let block = self.block_before(&of.line, level.max(1), &end)?;
            let start = block.as_ref().map(|block| block.start.clone()).unwrap_or_default();
            // Of the first block it is not known.
            if block.is_some_and(|block| block.earliest.is_none_or(|earliest| earliest > of.published)) && level > 0 {
                end = start;
                if level < LEVELS && self.begins_block(&of.line, level + 1, &end)? {
                    level += 1;
                }
            } else if level > 1 {
                level -= 1;
            } else {
                let found = self.lower_between(of, (&start, &end))?;
                if found.is_some() || start.is_empty() {
                    return Ok(found);
                }
                (end, level) = (start, 1);
            }
        }
    }

    fn lower_between(&self, of: &Version, (start, end): (&[u8], &[u8])) -> Result<Option<String>, Error> {
        let prefix = self.key(&of.line, table::VERSION);
        let mut found = None;
        self.each_newest((&prefix.clone().bytes(start), &prefix.clone().bytes(end)), true, |key, bytes| {
            let lower = versioned(key, bytes, prefix.as_bytes().len())?;
            if let Some(lower) = lower.filter(|lower| lower.published <= of.published)
                && self.is_apart(of, &lower.digest)?
            {
                found = Some(lower.digest);
                return Ok(ControlFlow::Break(()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// A version came to this place: the blocks around it are right again.
    pub(super) fn came_to_blocks(&self, line: &LineId, place: &[u8], published: i64) -> Result<(), Error> {
        let height = self.height(line, place);
        for level in 1..=LEVELS {
            if level <= height && !self.begins_block(line, level, place)? {
                self.split(line, level, place)?;
                continue;
            }
            match self.block_at(line, level, place)? {
                Some(block) if block.earliest.is_none_or(|earliest| earliest > published) => {
                    self.put_block(line, level, &block.start, Some(published))?;
                }
                // Nothing changes here, so nothing does above.
                _ if level >= height => return Ok(()),
                _ => {}
            }
        }
        Ok(())
    }

    /// A version left this place.
    pub(super) fn left_blocks(&self, line: &LineId, place: &[u8], published: i64) -> Result<(), Error> {
        for level in 1..=LEVELS {
            let Some(block) = self.block_at(line, level, place)? else { return Ok(()) };
            if block.earliest != Some(published) {
                return Ok(());
            }
            let earliest = self.earliest(line, level, &block.start)?;
            if earliest == block.earliest {
                return Ok(());
            }
            self.put_block(line, level, &block.start, earliest)?;
        }
        Ok(())
    }

    /// A block begins here, and the one that it was in ends.
    fn split(&self, line: &LineId, level: u8, place: &[u8]) -> Result<(), Error> {
        let before = self.block_before(line, level, place)?;
        self.put_block(line, level, place, self.earliest(line, level, place)?)?;
        if let Some(before) = before {
            // It ends where this one begins now.
            let earliest = self.earliest(line, level, &before.start)?;
            if earliest != before.earliest {
                self.put_block(line, level, &before.start, earliest)?;
            }
        }
        Ok(())
    }

    /// The earliest publication in a block, from the level below.
    fn earliest(&self, line: &LineId, level: u8, start: &[u8]) -> Result<Option<i64>, Error> {
        let end = self.next_block(line, level, start)?;
        let mut earliest: Option<i64> = None;
        let mut take = |published: Option<i64>| {
            earliest = [earliest, published].into_iter().flatten().min();
        };
        if level == 1 {
            let prefix = self.key(line, table::VERSION);
            let end = end.map_or_else(|| prefix.prefix_end(), |end| prefix.clone().bytes(&end));
            self.each_newest((&prefix.clone().bytes(start), &end), false, |key, bytes| {
                take(versioned(key, bytes, prefix.as_bytes().len())?.map(|version| version.published));
                Ok(ControlFlow::Continue(()))
            })?;
            return Ok(earliest);
        }
        let mut from = Some(start.to_vec());
        while let Some(at) = from.filter(|at| end.as_ref().is_none_or(|end| at < end)) {
            take(self.block_at(line, level - 1, &at)?.and_then(|block| block.earliest));
            from = self.next_block(line, level - 1, &at)?;
        }
        Ok(earliest)
    }

    /// Where the next block after a place begins.
    fn next_block(&self, line: &LineId, level: u8, place: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let prefix = self.blocks(line, level);
        let mut next = None;
        let from = prefix.clone().bytes(place).prefix_end();
        self.each((from.as_bytes(), prefix.prefix_end().as_bytes()), false, 1, |key, _| {
            next = Some(start_of(key, &prefix));
            Ok(ControlFlow::Break(()))
        })?;
        Ok(next)
    }

    /// The last block that begins before a place, if it has a row.
    fn block_before(&self, line: &LineId, level: u8, place: &[u8]) -> Result<Option<Block>, Error> {
        let prefix = self.blocks(line, level);
        self.last_block(&prefix, &prefix.clone().bytes(place))
    }

    /// The block that a place is in, if it has a row.
    fn block_at(&self, line: &LineId, level: u8, place: &[u8]) -> Result<Option<Block>, Error> {
        let prefix = self.blocks(line, level);
        self.last_block(&prefix, &prefix.clone().bytes(place).prefix_end())
    }

    fn last_block(&self, prefix: &Key, end: &Key) -> Result<Option<Block>, Error> {
        let last = self.last::<Option<i64>>(prefix, end)?;
        Ok(last.map(|(key, row)| Block { start: start_of(&key, prefix), earliest: row.value }))
    }

    fn begins_block(&self, line: &LineId, level: u8, place: &[u8]) -> Result<bool, Error> {
        Ok(self.newest::<Option<i64>>(&self.blocks(line, level).bytes(place))?.is_some())
    }

    fn put_block(&self, line: &LineId, level: u8, start: &[u8], earliest: Option<i64>) -> Result<(), Error> {
        self.put_since(self.blocks(line, level).bytes(start), &earliest)
    }

    fn blocks(&self, line: &LineId, level: u8) -> Key {
        self.key(line, table::BLOCK).byte(level)
    }

    /// How many levels of blocks begin with what comes here now. No sender chooses it, since nobody knows before at
    /// which index an entry will stand.
    fn height(&self, line: &LineId, place: &[u8]) -> u8 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(line).update(&self.below.0.to_be_bytes()).update(place);
        let [first, second, third, ..] = *hasher.finalize().as_bytes();
        let zeros = u32::from_be_bytes([first, second, third, 0xff]).leading_zeros();
        u8::try_from(zeros / FAN_OUT_BITS).map_or(LEVELS, |height| height.min(LEVELS))
    }
}

fn start_of(key: &[u8], prefix: &Key) -> Vec<u8> {
    let end = key.len().saturating_sub(SINCE_BYTES);
    key.get(prefix.as_bytes().len()..end).unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::facts::lines::after::Change;
    use crate::facts::lines::world::{self, LINE};

    /// Versions by number, with when they were published, as they come and leave.
    #[derive(Default)]
    struct World {
        rows: world::World,
        there: BTreeMap<u32, i64>,
    }

    fn version(number: u32, published: i64) -> Version {
        let digest = pedigraph_proto::Digest::sha256([number.to_be_bytes(); 8].concat().try_into().expect("32 bytes"));
        let (number, pos) = (number.to_be_bytes().to_vec(), Pos { time: published, digest: digest.to_string() });
        let (tags, above) = (BTreeSet::new(), BTreeSet::new());
        Version { line: LINE, pos, published, version: Some(number), tags, above }
    }

    impl World {
        /// Comes, is published at another time, or leaves.
        fn change(&mut self, number: u32, published: Option<i64>) {
            let old = match published {
                Some(published) => self.there.insert(number, published),
                None => self.there.remove(&number),
            };
            let (old, new) = (old.map(|time| version(number, time)), published.map(|time| version(number, time)));
            let digest = version(number, 0).pos.digest;
            self.rows.write(|lines| lines.change_to(&Change { digest, old, new, calls_ends: vec![] }));
        }

        /// Which is the greatest lower one for a version published then, and how many rows were read for it.
        fn greatest_lower(&self, number: u32, published: i64) -> (Option<String>, u64) {
            let of = version(number, published);
            self.rows.read(self.rows.index, |lines| lines.greatest_lower(&of, &number.to_be_bytes()))
        }

        fn expected(&self, number: u32, published: i64) -> Option<String> {
            let lower = self.there.range(..number).rev().find(|(_, time)| **time <= published);
            lower.map(|(number, time)| version(*number, *time).pos.digest)
        }
    }

    fn next(state: &mut u64, below: u64) -> u64 {
        world::next(state) % below
    }

    #[test]
    fn the_greatest_lower_version_is_that_of_a_plain_search_whatever_comes_and_leaves() {
        for seed in 0..40 {
            let (mut state, mut world) = (seed, World::default());
            for _ in 0..(20 + 40 * seed) {
                let number = u32::try_from(next(&mut state, 400)).expect("small");
                let published = (next(&mut state, 4) > 0).then(|| next(&mut state, 1_000).cast_signed());
                if published.is_some() || world.there.contains_key(&number) {
                    world.change(number, published);
                }
            }
            for number in (0..401).step_by(7) {
                let published = next(&mut state, 1_100).cast_signed() - 50;
                let found = world.greatest_lower(number, published).0;
                assert_eq!(found, world.expected(number, published), "seed {seed}, {number} published at {published}");
            }
        }
    }

    #[test]
    fn it_is_found_from_few_rows_in_whatever_order_versions_were_published() {
        let most = |len: u32, published: fn(u32, u32) -> u32| {
            let mut world = World::default();
            (0..len).for_each(|number| world.change(number, Some(published(number, len).into())));
            let read = |number: u32| {
                let at = i64::from(published(number, len));
                let (found, rows) = world.greatest_lower(number, at);
                assert_eq!(found, world.expected(number, at));
                rows
            };
            (0..len).step_by(13).map(read).max().expect("some")
        };
        let (in_order, reversed) = (|number: u32, _: u32| number, |number: u32, len: u32| len - number);
        // Old lines get their patches after all that is newer.
        let patches = |number: u32, len: u32| if number < len / 2 { len + number } else { number };
        for published in [in_order, reversed, patches] {
            let (short, long) = (most(2_000, published), most(20_000, published));
            assert!(short <= 400 && long <= 500, "{short} and {long} rows");
        }
    }
}
