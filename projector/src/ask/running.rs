//! What runs in one place, and the places in order: what impact reads of deployments.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::rc::Rc;

use pedigraph_proto::Nanos;
use serde::{Deserialize, Serialize};

use super::scope::{Clocks, Scope};
use super::services::lanes_of_heads;
use super::timeline::{self, Artifact, Row};
use crate::error::Error;
use crate::facts::deployments::rows::{HEADS, Keys, Lane, table_key, unreadable};
use crate::store::key::Key;

/// Bytes of a lane's key that a page's key repeats: a key travels in an address.
pub(super) const KEY_BYTES_MAX: usize = 1_024;
/// Deployments under one name that are read at once: most are few, and where they are many they are to few lanes.
const NAMES_AT_ONCE: usize = 4;
/// Lanes that are read at once.
const LANES_AT_ONCE: usize = 64;

/// Something that runs, and where.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct RunsIn {
    pub(super) lane: Lane,
    pub(super) artifact: Rc<Artifact>,
    pub(super) since: Nanos,
    /// Index of the entry that changed it last.
    pub(super) proof: u64,
}

impl RunsIn {
    /// By environment, service, since, what runs; then by where.
    pub(super) fn place(&self) -> (&str, &str, Nanos, &str, &Lane) {
        (&self.lane.environment, &self.lane.service, self.since, &self.artifact.reference, &self.lane)
    }
}

/// A lane in the order of keys: the beginning of its key, and how many lanes before it begin so.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct LanePlace {
    pub(super) beginning: Vec<u8>,
    pub(super) alike: u32,
}

/// Where a list goes on: at this candidate, after so many of its rows.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) enum Place {
    /// At the beginning.
    #[default]
    Start,
    /// At what a set is bound to.
    Subject { set: u32, subject: String, rows: u32 },
    /// At an artifact that is named itself.
    Artifact { digest: String, rows: u32 },
    /// At something that runs.
    Lane { at: LanePlace, rows: u32 },
    /// Nowhere.
    End,
}

impl Place {
    /// The same candidate, after so many of its rows.
    pub(super) fn after(&self, rows: usize) -> Place {
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        match self {
            Place::Start => Place::Start,
            Place::End => Place::End,
            Place::Subject { set, subject, .. } => Place::Subject { set: *set, subject: subject.clone(), rows },
            Place::Artifact { digest, .. } => Place::Artifact { digest: digest.clone(), rows },
            Place::Lane { at, .. } => Place::Lane { at: at.clone(), rows },
        }
    }

    /// How many rows of its candidate were shown.
    pub(super) fn rows(&self) -> usize {
        let rows = match self {
            Place::Start | Place::End => 0,
            Place::Subject { rows, .. } | Place::Artifact { rows, .. } | Place::Lane { rows, .. } => *rows,
        };
        usize::try_from(rows).unwrap_or(usize::MAX)
    }
}

/// What visits one candidate after the other.
pub(super) type Visit<'v, T> = &'v mut dyn FnMut(Place, T) -> Result<ControlFlow<()>, Error>;

impl Scope {
    /// What runs in a lane now, or at the question's moment.
    pub(super) fn runs_in(&self, lane: &Lane) -> Result<Vec<RunsIn>, Error> {
        Ok(runs_by(lane, &self.newest_rows(lane)?.rows))
    }

    /// Where an artifact runs, by any of its digests: found by what was deployed under one of them, or under a tag of it
    /// alone.
    pub(super) fn runs_of(&self, digest: &str) -> Result<Vec<RunsIn>, Error> {
        let group = self.aliases_of(digest)?;
        let mut lanes = BTreeSet::new();
        for digest in &group {
            for prefix in self.deployed_as(digest)? {
                self.lanes_under(&prefix, &mut lanes)?;
            }
        }
        let mut runs = Vec::new();
        for lane in lanes {
            let of_it = |run: &RunsIn| run.artifact.digest.as_ref().is_some_and(|digest| group.contains(digest));
            runs.extend(self.runs_in(&lane)?.into_iter().filter(of_it));
        }
        Ok(runs)
    }

    /// Names of the environments in which something runs under one of these digests; `true` when not every lane was
    /// looked at to which any of them was deployed. An environment is looked at until it is found.
    pub(super) fn environments_running(
        &self,
        digests: &BTreeSet<String>,
        lanes_max: usize,
    ) -> Result<(BTreeSet<String>, bool), Error> {
        let (mut found, mut looked_at) = (BTreeSet::new(), 0);
        let cut = self.each_lane_of(digests, |lane| {
            if found.contains(&lane.environment) {
                return Ok(Some(true));
            }
            if looked_at == lanes_max {
                return Ok(None);
            }
            looked_at += 1;
            let runs = !self.runs_under(lane, digests)?.is_empty();
            if runs {
                found.insert(lane.environment.clone());
            }
            Ok(Some(runs))
        })?;
        Ok((found, cut))
    }

    /// What runs in a lane under one of these digests.
    pub(super) fn runs_under(&self, lane: &Lane, digests: &BTreeSet<String>) -> Result<Vec<RunsIn>, Error> {
        let mut runs = self.runs_in(lane)?;
        runs.retain(|run| run.artifact.digest.as_ref().is_some_and(|own| digests.contains(own)));
        Ok(runs)
    }

    /// Visits lanes to which one of these digests was ever deployed, by a few rows each: those of one name under which it
    /// was, then those of the next. The visit says whether to go past the rest of the lane's environment, or, with
    /// `None`, to end; then it is `true`.
    pub(super) fn each_lane_of(
        &self,
        digests: &BTreeSet<String>,
        mut visit: impl FnMut(&Lane) -> Result<Option<bool>, Error>,
    ) -> Result<bool, Error> {
        for digest in digests {
            for prefix in self.deployed_as(digest)? {
                if self.each_lane_under(&prefix, &mut visit)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether there is any lane under these beginnings of keys.
    pub(super) fn has_lanes(&self, prefixes: &[Key]) -> Result<bool, Error> {
        for prefix in prefixes {
            if !self.keyed::<()>(prefix, &prefix.prefix_end(), false, Clocks::Both, 1)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Visits the lanes in keys of the form (..., lane, stamp), as [`Scope::each_lane_of`] does.
    pub(super) fn each_lane_under(
        &self,
        prefix: &Key,
        visit: &mut impl FnMut(&Lane) -> Result<Option<bool>, Error>,
    ) -> Result<bool, Error> {
        let (mut from, end) = (prefix.clone(), prefix.prefix_end());
        loop {
            let rows = self.keyed::<()>(&from, &end, false, Clocks::Both, NAMES_AT_ONCE)?;
            for (key, _) in &rows {
                if key.as_slice() < from.as_bytes() {
                    continue;
                }
                let lane = lane_of(key)?;
                let Some(past) = visit(&lane)? else { return Ok(true) };
                let here = if past { prefix.clone().text(&lane.environment) } else { prefix.clone().lane(&lane) };
                from = here.prefix_end();
            }
            if rows.len() < NAMES_AT_ONCE {
                return Ok(false);
            }
        }
    }

    /// The lanes in keys of the form (..., lane, stamp).
    pub(super) fn lanes_under(&self, prefix: &Key, lanes: &mut BTreeSet<Lane>) -> Result<(), Error> {
        let mut take = |lane: &Lane| {
            lanes.insert(lane.clone());
            Ok(Some(false))
        };
        self.each_lane_under(prefix, &mut take).map(drop)
    }

    /// Lanes of one environment or of all in the order of their names, from a place on, with what runs in each.
    pub(super) fn each_lane(
        &self,
        environment: Option<&str>,
        from: &Place,
        visit: Visit<'_, Vec<RunsIn>>,
    ) -> Result<(), Error> {
        let table = self.table(HEADS);
        let all = environment.map_or_else(|| table.clone(), |name| table.clone().text(name));
        let (mut next, mut alike) = match from {
            Place::Start => (all.clone(), 0),
            Place::Lane { at, .. } => (table.clone().bytes(&at.beginning), at.alike),
            Place::Subject { .. } | Place::Artifact { .. } | Place::End => return Ok(()),
        };
        let (mut beginning, mut passed) = (Vec::new(), 0_u32);
        loop {
            let heads = self.shared.store.scan(next.as_bytes(), all.prefix_end().as_bytes(), false, LANES_AT_ONCE)?;
            let Some((last, _)) = heads.last() else { return Ok(()) };
            next = Key::from_bytes(last).byte(0);
            let lanes = lanes_of_heads(&heads)?;
            let newest = self.newest_of(&lanes, &heads)?;
            for (((key, _), lane), newest) in heads.iter().zip(lanes).zip(newest) {
                let rest = key.get(table.as_bytes().len()..).unwrap_or_default();
                let here = &rest[..rest.len().min(KEY_BYTES_MAX)];
                passed = if here == beginning.as_slice() { passed.saturating_add(1) } else { 0 };
                here.clone_into(&mut beginning);
                if alike > 0 {
                    alike -= 1;
                    continue;
                }
                let at = LanePlace { beginning: beginning.clone(), alike: passed };
                if visit(Place::Lane { at, rows: 0 }, runs_by(&lane, &newest.rows))?.is_break() {
                    return Ok(());
                }
            }
        }
    }
}

/// The lane in a key of the form (kind of name, name, lane, stamp).
fn lane_of(key: &[u8]) -> Result<Lane, Error> {
    let mut reader = table_key(key)?;
    reader.byte().and_then(|_| reader.text()).ok_or_else(unreadable)?;
    Lane::read(&mut reader).ok_or_else(unreadable)
}

/// What runs in a lane by its newest rows.
fn runs_by(lane: &Lane, rows: &[Row]) -> Vec<RunsIn> {
    let running = timeline::replay(rows).0.running().into_iter();
    let running = running.map(|run| RunsIn {
        lane: lane.clone(),
        artifact: run.artifact,
        since: run.since.time,
        proof: run.row.stamp.index,
    });
    running.collect()
}
