//! Ranks: each version keeps how many were before it when it came. What came or left later, not at the end of the line,
//! has a running number; such late changes are packed into immutable runs by place, of 16, 64, 256 … of them. So those
//! with a number in (a, b] below a place are counted by reading a few rows of a few runs, whatever the line's length.

use std::ops::ControlFlow;

use super::Lines;
use super::rows::{Chunk, Head, InLine, Late, LineId, PackedLate, Place, Pos, StoredChunk, StoredLate, table};
use crate::error::Error;
use crate::rows::stamp::{Stamped, split_stamp};
use crate::store::key::Key;

/// Late changes in the shortest run; fewer are read one by one.
const RUN: u64 = 16;
/// Runs that make one of the next level.
const FAN_OUT: u64 = 4;
/// Levels of runs: the longest have 65,536 late changes, which bounds what one change may pack.
const LEVELS: u8 = 7;
/// Late changes in one row of a run.
const CHUNK: usize = 64;
/// Levels whose runs, of 16 and of 64, are one row each.
const ONE_ROW_LEVELS: u8 = 2;

impl Lines<'_> {
    /// The rank of a version, 1 = first; `None` where it is no version of the line.
    pub(crate) fn rank(&self, line: &LineId, pos: &Pos) -> Result<Option<u64>, Error> {
        let known = self.newest::<Place>(&self.key(line, table::PLACE).pos(pos))?;
        let Some(place) = known.filter(|place| place.there) else { return Ok(None) };
        let below = self.below_of(line, pos, &place, self.head(line)?.late)?;
        Ok(Some(below + 1))
    }

    fn head(&self, line: &LineId) -> Result<Head, Error> {
        Ok(self.newest(&self.key(line, table::HEAD))?.unwrap_or_default())
    }

    /// A version takes a place.
    pub(crate) fn come(&self, line: &LineId, pos: &Pos) -> Result<(), Error> {
        let mut head = self.head(line)?;
        let below = if self.is_late(&head, pos) { self.count_below(line, pos, head.late)? } else { head.members };
        head.members += 1;
        self.change(line, pos, head, below, true)
    }

    /// A version leaves its place.
    pub(crate) fn leave(&self, line: &LineId, pos: &Pos) -> Result<(), Error> {
        let mut head = self.head(line)?;
        let below = self.count_below(line, pos, head.late)?;
        head.members = head.members.saturating_sub(1);
        self.change(line, pos, head, below, false)
    }

    fn is_late(&self, head: &Head, pos: &Pos) -> bool {
        head.top.as_ref().is_some_and(|top| top > pos)
    }

    fn change(&self, line: &LineId, pos: &Pos, mut head: Head, below: u64, there: bool) -> Result<(), Error> {
        if self.is_late(&head, pos) {
            head.late += 1;
            let late = Late { pos: pos.clone(), left: !there };
            self.put(self.key(line, table::LATE).number(head.late), &late)?;
            self.pack(line, head.late)?;
        } else {
            head.top = Some(pos.clone());
        }
        let place = Place { there, below, late: head.late };
        self.put_since(self.key(line, table::PLACE).pos(pos), &place)?;
        self.put_since(self.key(line, table::HEAD), &head)
    }

    /// Versions before a place at which there may be none, by the nearest one before it that there ever was.
    fn count_below(&self, line: &LineId, pos: &Pos, late: u64) -> Result<u64, Error> {
        let prefix = self.key(line, table::PLACE);
        let mut nearest = None;
        self.each_newest((&prefix, &prefix.clone().pos(pos)), true, |key, bytes| {
            let mut reader = crate::store::key::KeyReader::after(key, &prefix);
            nearest = super::rows::read_pos(&mut reader).zip(Some(Stamped::<Place>::decode(bytes)?.value));
            Ok(ControlFlow::Break(()))
        })?;
        let Some((before, place)) = nearest else { return Ok(0) };
        Ok(self.below_of(line, &before, &place, late)? + u64::from(place.there))
    }

    /// Versions before a place after so many late changes, by what was known when its row was written.
    fn below_of(&self, line: &LineId, pos: &Pos, place: &Place, late: u64) -> Result<u64, Error> {
        let moved = self.late_below(line, pos, place.late, late)?;
        let lost = || Error::Store("lines: more left than came".to_owned());
        place.below.checked_add_signed(moved).ok_or_else(lost)
    }

    /// What late changes with a number in (from, to] below a place come to.
    fn late_below(&self, line: &LineId, pos: &Pos, from: u64, to: u64) -> Result<i64, Error> {
        let (mut at, mut sum) = (from, 0);
        while at < to {
            match longest_run(at, to) {
                Some((level, len)) => {
                    sum += self.run_below(line, pos, level, at / len)?;
                    at += len;
                }
                None => {
                    let end = to.min((at / RUN + 1) * RUN);
                    let single = self.lates(line, at, end)?;
                    sum += single.iter().filter(|late| late.is_below(pos)).map(PackedLate::weight).sum::<i64>();
                    at = end;
                }
            }
        }
        Ok(sum)
    }

    fn run_below(&self, line: &LineId, pos: &Pos, level: u8, run: u64) -> Result<i64, Error> {
        let prefix = self.run_key(line, level, run);
        // The one row of a short run is looked up in the same way for every place, so that who asks for several ranks
        // reads it once.
        let end = if level < ONE_ROW_LEVELS { prefix.prefix_end() } else { prefix.clone().pos(pos) };
        let Some((_, row)) = self.last_row(&prefix, &end)? else { return Ok(0) };
        let unreadable = |error| Error::Store(format!("lines: a run cannot be read: {error}"));
        let chunk: StoredChunk<'_> = postcard::from_bytes(split_stamp(&row)?.1).map_err(unreadable)?;
        let below = chunk.changes.iter().take_while(|late| late.is_below(pos));
        Ok(chunk.before + below.map(StoredLate::weight).sum::<i64>())
    }

    fn run_key(&self, line: &LineId, level: u8, run: u64) -> Key {
        self.key(line, table::RUN).byte(level).number(run)
    }

    /// Late changes with a number in (from, to].
    fn lates(&self, line: &LineId, from: u64, to: u64) -> Result<Vec<PackedLate>, Error> {
        let prefix = self.key(line, table::LATE);
        let (first, end) = (prefix.clone().number(from + 1), prefix.number(to + 1));
        let (mut lates, mut number) = (Vec::new(), from);
        let rows = usize::try_from(to - from).unwrap_or(usize::MAX);
        self.each((first.as_bytes(), end.as_bytes()), false, rows, |_, bytes| {
            let late = Stamped::<Late>::decode(bytes)?.value;
            number += 1;
            lates.push(PackedLate { time: late.pos.time, digest: late.pos.digest, number, left: late.left });
            Ok(if number == to { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(lates)
    }

    /// Writes the runs that end with a late change.
    fn pack(&self, line: &LineId, number: u64) -> Result<(), Error> {
        let mut len = RUN;
        for level in 0..LEVELS {
            if !number.is_multiple_of(len) {
                break;
            }
            let run = number / len - 1;
            let mut changes = match level {
                0 => self.lates(line, number - len, number)?,
                _ => self.packed_before(line, level - 1, run * FAN_OUT)?,
            };
            changes.sort_unstable();
            self.write_run(line, level, run, &changes)?;
            len *= FAN_OUT;
        }
        Ok(())
    }

    /// The late changes of the runs that make one of the next level.
    fn packed_before(&self, line: &LineId, level: u8, first: u64) -> Result<Vec<PackedLate>, Error> {
        let prefix = self.key(line, table::RUN).byte(level);
        let (from, to) = (prefix.clone().number(first), prefix.number(first + FAN_OUT));
        let mut changes = Vec::new();
        self.each((from.as_bytes(), to.as_bytes()), false, CHUNK, |_, bytes| {
            changes.extend(Stamped::<Chunk>::decode(bytes)?.value.changes);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(changes)
    }

    fn write_run(&self, line: &LineId, level: u8, run: u64, changes: &[PackedLate]) -> Result<(), Error> {
        let mut before = 0;
        for changes in changes.chunks(CHUNK) {
            let Some(first) = changes.first() else { continue };
            let digest = first.digest.clone();
            let key = self.run_key(line, level, run).pos(&Pos { time: first.time, digest }).number(first.number);
            self.put(key, &Chunk { before, changes: changes.to_vec() })?;
            before += changes.iter().map(PackedLate::weight).sum::<i64>();
        }
        Ok(())
    }
}

/// The level and length of the longest run that begins after so many late changes and ends no later.
fn longest_run(at: u64, to: u64) -> Option<(u8, u64)> {
    let lengths = (0..LEVELS).scan(RUN, |len, level| {
        let this = *len;
        *len *= FAN_OUT;
        Some((level, this))
    });
    lengths.take_while(|(_, len)| at.is_multiple_of(*len) && at + len <= to).last()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::facts::lines::world::{LINE, World, next};

    fn pos(time: i64) -> Pos {
        Pos { time, digest: pedigraph_proto::Digest::sha256([time.to_le_bytes()[0]; 32]).to_string() }
    }

    fn change(world: &mut World, time: i64, comes: bool) {
        world.write(|lines| if comes { lines.come(&LINE, &pos(time)) } else { lines.leave(&LINE, &pos(time)) });
    }

    /// The rank of a place, and how many rows were read for it.
    fn rank(world: &World, time: i64, bound: u64) -> (Option<u64>, u64) {
        world.read(bound, |lines| lines.rank(&LINE, &pos(time)))
    }

    #[test]
    fn ranks_are_those_of_a_set_whatever_comes_and_leaves_in_whatever_order() {
        for seed in 0..60 {
            let (mut state, mut world) = (seed, World::default());
            let (mut there, mut history) = (BTreeSet::new(), vec![BTreeSet::new()]);
            for _ in 0..(20 + seed * 17) {
                let time = next(&mut state).cast_signed() % 200;
                let comes = there.insert(time);
                if !comes {
                    there.remove(&time);
                }
                change(&mut world, time, comes);
                history.push(there.clone());
            }
            for _ in 0..200 {
                let bound = usize::try_from(next(&mut state)).expect("small") % history.len();
                let time = next(&mut state).cast_signed() % 200;
                let want = history[bound].contains(&time).then(|| history[bound].range(..=time).count() as u64);
                assert_eq!(rank(&world, time, bound as u64).0, want, "seed {seed}, {time} below {bound}");
            }
        }
    }

    #[test]
    fn a_rank_is_read_from_few_rows_however_long_the_line() {
        let most = |len: i64, time: fn(i64, i64) -> i64| {
            let mut world = World::default();
            (0..len).for_each(|n| change(&mut world, time(n, len), true));
            let read = |n: i64| {
                let (rank, rows) = rank(&world, time(n, len), world.index);
                assert_eq!(rank, Some(time(n, len).unsigned_abs() + 1));
                rows
            };
            (0..len).step_by(7).map(read).max().expect("some")
        };
        let in_order = |n: i64, _: i64| n;
        let reversed = |n: i64, len: i64| len - 1 - n;
        assert_eq!((most(2_000, in_order), most(20_000, in_order)), (4, 4));
        let (short, long) = (most(2_000, reversed), most(20_000, reversed));
        assert!(short <= 110 && long <= 130, "{short} {long}");
    }

    #[test]
    fn a_range_of_late_changes_is_few_runs() {
        for (from, to) in [(0, 1_000_000), (1, 999_999), (13, 700_003), (65_535, 65_537), (5, 9)] {
            let (mut at, mut pieces) = (from, 0);
            while at < to {
                let run = longest_run(at, to);
                assert!(run.is_none_or(|(_, len)| at + len <= to && at % len == 0));
                at = run.map_or(to.min((at / RUN + 1) * RUN), |(_, len)| at + len);
                pieces += 1;
            }
            assert_eq!(at, to);
            assert!(pieces <= 52, "{from} {to}: {pieces}");
        }
    }
}
