//! Head rows: what runs in a lane now, in one row that each fact about the lane writes anew.
//!
//! A head keeps the newest rows of its lane, as many as its newest state follows from, without those that repeat or tell
//! nothing any more of what runs. Where
//! tags resolve is not known here, and a tag that is observed late changes it: so readers look whether these rows are
//! enough, and seek in the lane's rows where they are not, as they do where a head is newer than what they may see.

use pedigraph_proto::Nanos;
use serde::{Deserialize, Serialize};

use super::rows::{Effect, LaneFact, Stamp, reference_key};

/// Rows that a head keeps: of a lane with many canaries the newest.
const ROWS_MAX: usize = 16;
/// Rows that are sought for a head when a fact comes late.
pub(super) const SOUGHT_ROWS_MAX: usize = 64;

/// What a lane's newest state follows from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Ascending.
    pub(crate) rows: Vec<HeadRow>,
    /// Before the first of them nothing was said of the lane that still tells what runs.
    pub(crate) whole: bool,
    pub(crate) runs: Runs,
}

/// Which rows a lane's head has: for who asks what was known when it had these.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Known {
    /// Of each row time, index and ordinal, ascending; the last is the newest of the lane.
    stamps: Vec<(i64, u64, u32)>,
    /// Before the first of them nothing was said of the lane that still tells what runs.
    pub(crate) whole: bool,
    /// None was passed over that names a configuration of its own.
    pub(crate) all_read: bool,
}

impl Known {
    pub(super) fn of(head: &Head) -> Known {
        Known {
            stamps: head.rows.iter().map(|row| (row.time, row.index, row.ordinal)).collect(),
            whole: head.whole,
            all_read: head.rows.iter().all(|row| row.leaf_hash.is_some()),
        }
    }

    pub(crate) fn stamps(&self) -> impl DoubleEndedIterator<Item = Stamp> + '_ {
        self.stamps.iter().map(|(time, index, ordinal)| Stamp { time: Nanos(*time), index: *index, ordinal: *ordinal })
    }
}

/// A row of a lane as a head keeps it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct HeadRow {
    time: i64,
    index: u64,
    ordinal: u32,
    pub(crate) fact: LaneFact,
    /// It may be a change.
    pub(super) candidate: bool,
    /// Leaf hash of its entry. Absent where the row was sought: then rows between it and the next may be left out that
    /// name a configuration.
    pub(crate) leaf_hash: Option<[u8; 32]>,
}

/// Whether anything runs in a lane, as far as that can be told without knowing where tags resolve.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) enum Runs {
    #[default]
    Nothing,
    /// Canaries beside nothing.
    Canaries,
    /// Something that was deployed in full.
    Stable,
    /// Canaries of which one ended: which, only its digest may tell.
    Unsure,
}

impl Runs {
    /// After one more fact.
    fn after(self, fact: &LaneFact) -> Runs {
        match (fact.effect(), self) {
            (Effect::Remove, _) => Runs::Nothing,
            (Effect::Full, _) if fact.names() => Runs::Stable,
            (Effect::Share, Runs::Nothing | Runs::Unsure) if fact.names() => Runs::Canaries,
            (Effect::End, Runs::Canaries) => Runs::Unsure,
            (Effect::Full | Effect::Share | Effect::End, runs) => runs,
        }
    }
}

impl LaneFact {
    /// Whether it says itself what it deploys.
    fn names(&self) -> bool {
        self.artifact(None).is_some()
    }

    /// Whether what runs after it does not hang on what ran before.
    fn anchors(&self) -> bool {
        match self.effect() {
            Effect::Remove => true,
            Effect::Full => self.names(),
            Effect::Share | Effect::End => false,
        }
    }

    /// Whether a full deployment may be of one artifact with the next one.
    fn may_be_as(&self, next: &LaneFact) -> bool {
        match (self.digest.is_empty(), next.digest.is_empty()) {
            (false, false) => self.digest == next.digest,
            (true, false) => true,
            (_, true) => self.reference.is_empty() || reference_key(&self.reference) == reference_key(&next.reference),
        }
    }
}

impl HeadRow {
    pub(super) fn of(stamp: &Stamp, fact: LaneFact, candidate: bool, leaf_hash: Option<[u8; 32]>) -> HeadRow {
        HeadRow { time: stamp.time.0, index: stamp.index, ordinal: stamp.ordinal, fact, candidate, leaf_hash }
    }

    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { time: Nanos(self.time), index: self.index, ordinal: self.ordinal }
    }
}

impl Default for Head {
    fn default() -> Head {
        Head { rows: Vec::new(), whole: true, runs: Runs::Nothing }
    }
}

impl Head {
    /// Of the newest rows of a lane, ascending, without such as only repeat.
    pub(super) fn of(rows: Vec<HeadRow>, whole: bool) -> Head {
        let known = whole || rows.first().is_some_and(|first| first.fact.anchors());
        let from = if known { Runs::Nothing } else { Runs::Unsure };
        let runs = rows.iter().fold(from, |runs, row| runs.after(&row.fact));
        let mut head = Head { rows, whole, runs };
        head.drop_old();
        head
    }

    /// When the newest row of the lane happened.
    pub(crate) fn newest(&self) -> Option<Stamp> {
        self.rows.last().map(HeadRow::stamp)
    }

    /// Whether a row from before its own changes nothing here.
    pub(super) fn begins_after(&self, stamp: &Stamp) -> bool {
        let first = self.rows.first().filter(|_| !self.whole);
        first.is_some_and(|first| first.fact.anchors() && *stamp < first.stamp())
    }

    /// A row that is the newest of its lane. `drop_told` drops rows that tell nothing any more of what runs, the first of
    /// which is the first of the lane where it is told so.
    pub(super) fn push(&mut self, row: HeadRow, drop_told: impl FnOnce(&mut Vec<HeadRow>, bool)) {
        self.runs = self.runs.after(&row.fact);
        self.rows.push(row);
        self.drop_repeated();
        drop_told(&mut self.rows, self.whole);
        self.drop_old();
    }

    /// Of rows that repeat each other the last tells all, but for a configuration that a former one names.
    fn drop_repeated(&mut self) {
        let (mut kept, mut config_later) = (Vec::<HeadRow>::with_capacity(self.rows.len()), false);
        while let Some(row) = self.rows.pop() {
            let between = !row.candidate && kept.last().is_some_and(|next| !next.candidate);
            let names_config = !row.fact.config_digest.is_empty();
            if !between || (names_config && !config_later) {
                config_later = !row.candidate && (config_later || names_config);
                kept.push(row);
            }
        }
        kept.reverse();
        self.rows = kept;
    }

    fn drop_old(&mut self) {
        let enough = enough(self.rows.iter().rev()).unwrap_or(self.rows.len()).min(ROWS_MAX);
        let dropped = self.rows.len().saturating_sub(enough);
        self.rows.drain(..dropped);
        self.whole &= dropped == 0;
    }
}

/// How many of a lane's rows, newest first, its newest state follows from; `None` when more are needed.
pub(super) fn enough<'r>(newest_first: impl Iterator<Item = &'r HeadRow>) -> Option<usize> {
    let mut next: Option<&LaneFact> = None;
    for (before, HeadRow { fact, .. }) in newest_first.enumerate() {
        match fact.effect() {
            Effect::Remove => return Some(before + 1),
            Effect::Full if fact.names() => {
                if next.is_some_and(|next| !fact.may_be_as(next)) {
                    return Some(before + 1);
                }
                next = Some(fact);
            }
            Effect::Full | Effect::Share | Effect::End => {}
        }
    }
    None
}

/// How many lanes of a service run, or services of an environment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Count {
    /// Surely.
    pub(crate) run: u64,
    /// Perhaps.
    pub(crate) unsure: u64,
}

impl Count {
    /// Of one lane.
    pub(super) fn of(runs: Runs) -> Count {
        match runs {
            Runs::Nothing => Count::default(),
            Runs::Canaries | Runs::Stable => Count { run: 1, unsure: 0 },
            Runs::Unsure => Count { run: 0, unsure: 1 },
        }
    }

    /// Of many things as one.
    pub(super) fn as_one(self) -> Count {
        let run = self.run.min(1);
        Count { run, unsure: if run == 0 { self.unsure.min(1) } else { 0 } }
    }

    /// With one of its things changed.
    pub(super) fn with(self, before: Count, after: Count) -> Count {
        let changed = |all: u64, before: u64, after: u64| all.saturating_add(after).saturating_sub(before);
        Count {
            run: changed(self.run, before.run, after.run),
            unsure: changed(self.unsure, before.unsure, after.unsure),
        }
    }
}
