//! What changed in an environment: pages of changes, the n-th change, and what ran some changes ago (SPEC §6).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use pedigraph_proto::Nanos;

use super::answers::{Change, Page, Proof};
use super::scope::{Clocks, Scope};
use super::timeline::{self, Artifact, History, Move};
use crate::error::Error;
use crate::facts::deployments::rows::{
    ABOUT_FREEZE, ABOUT_LANE, BY_TIME, DIGEST, FREEZE, Keys, LANE_ROWS, LANES, Lane, LaneFact, REFERENCE,
    REFERENCE_OF_DIGEST, Setting, Stamp, by_artifact, read_stamp, reference_key, settings, table_key, unreadable,
};
use crate::store::key::Key;

/// Most rows of an environment that one page of changes reads; a page may end early there and goes on with its key.
pub const CHANGE_ROWS_MAX: usize = 20_000;
/// Most rows that `#n` counts from an environment's beginning.
pub const NUMBERED_ROWS_MAX: usize = 200_000;
/// Rows of one scan.
const SCAN_ROWS_MAX: usize = 1_024;

impl Scope {
    /// Its changes, newest first; `after` is a page's key. A page that read [`CHANGE_ROWS_MAX`] rows ends there, with a
    /// key to go on.
    pub fn changes(&self, name: &str, after: Option<&[u8]>, limit: usize) -> Result<Option<Page<Change>>, Error> {
        if !self.environment_is_named(name)? {
            return Ok(None);
        }
        let mut page = Page { rows: Vec::new(), next: None };
        let mut end = match after {
            Some(after) => self.mark_after(name, after)?,
            None => self.end_of(&self.table(BY_TIME).text(name)),
        };
        for _ in 0..CHANGE_ROWS_MAX / SCAN_ROWS_MAX {
            let marks = self.marks(name, &end, (limit + 1).clamp(16, SCAN_ROWS_MAX))?;
            let Some(last) = marks.last() else { return Ok(Some(Page { next: None, ..page })) };
            end = last.key(self, name);
            for (mark, change) in self.changes_of(name, &marks)? {
                if page.rows.len() >= limit {
                    return Ok(Some(page));
                }
                page.rows.push(change);
                page.next = Some(mark.page_key(self, name));
            }
            page.next = Some(last.page_key(self, name));
        }
        if self.marks(name, &end, 1)?.is_empty() {
            page.next = None;
        }
        Ok(Some(page))
    }

    /// The n-th change of an environment, 1 = its first (`prod#42`). Counts over at most [`NUMBERED_ROWS_MAX`] rows.
    pub fn numbered_change(&self, name: &str, number: usize) -> Result<Option<Change>, Error> {
        let prefix = self.table(BY_TIME).text(name);
        let marks = self.marks_between(&prefix, &self.end_of(&prefix), false, NUMBERED_ROWS_MAX + 1)?;
        let mut counted = 0;
        for marks in marks[..marks.len().min(NUMBERED_ROWS_MAX)].chunks(SCAN_ROWS_MAX) {
            let changes = self.changes_of(name, marks)?;
            if let Some((_, change)) = changes.get(number.saturating_sub(counted + 1)).filter(|_| number > counted) {
                return Ok(Some(change.clone()));
            }
            counted += changes.len();
        }
        if marks.len() > NUMBERED_ROWS_MAX {
            return Err(Error::Question(format!(
                "{name}#{number} lies too far back to be counted: name a moment instead"
            )));
        }
        Ok(None)
    }

    /// What ran alone in a service `back` changes ago, 0 = what does now (`prod~1`). Of several clusters or namespaces,
    /// the changes count together.
    pub fn last_known(&self, environment: &str, service: &str, back: usize) -> Result<Option<LastKnown>, Error> {
        let mut moves = Vec::new();
        for lane in self.lanes_of(&self.table(LANES).text(environment).text(service))? {
            moves.extend(self.newest_full_moves(&lane, back + 1)?);
        }
        moves.sort_by_key(|change: &Move| std::cmp::Reverse(change.stamp));
        let Some(found) = moves.into_iter().nth(back) else { return Ok(None) };
        let proof = self.proof(found.stamp.index)?;
        Ok(found.to.map(|to| LastKnown {
            artifact_ref: to.reference,
            digest: to.digest,
            since: found.stamp.time,
            proof,
        }))
    }

    /// Up to `back` newest moves that changed what runs alone.
    fn newest_full_moves(&self, lane: &Lane, back: usize) -> Result<Vec<Move>, Error> {
        let prefix = self.table(LANE_ROWS).lane(lane);
        let end = self.end_of(&prefix);
        let mut rows_max = back.saturating_mul(2).max(16);
        loop {
            let newest = self.keyed::<LaneFact>(&prefix, &end, true, Clocks::Both, rows_max)?;
            let first = newest.last().map(|(_, row)| Stamp::from(row.stamp));
            let rows = self.lane_rows(lane, first.as_ref(), &end)?;
            let moves: Vec<Move> = timeline::replay(&rows).1.into_iter().rev().filter(Move::is_full).collect();
            let exact = moves.iter().filter(|change| first.is_some_and(|first| change.stamp >= first)).count();
            if exact >= back || newest.len() < rows_max {
                return Ok(moves.into_iter().take(back).collect());
            }
            rows_max = rows_max.saturating_mul(4);
        }
    }

    fn marks(&self, environment: &str, end: &Key, limit: usize) -> Result<Vec<Mark>, Error> {
        self.marks_between(&self.table(BY_TIME).text(environment), end, true, limit)
    }

    fn marks_between(&self, from: &Key, end: &Key, reverse: bool, limit: usize) -> Result<Vec<Mark>, Error> {
        let rows = self.keyed::<()>(from, end, reverse, Clocks::Both, limit)?;
        rows.iter().map(|(key, _)| Mark::read(key).ok_or_else(unreadable)).collect()
    }

    /// Where a page ended, as the exclusive end of the next one.
    fn mark_after(&self, environment: &str, after: &[u8]) -> Result<Key, Error> {
        let prefix = self.table(BY_TIME).text(environment);
        let key = [prefix.as_bytes(), after].concat();
        let mark = Mark::read(&key).filter(|mark| mark.key(self, environment).as_bytes() == key);
        let refused = || Error::Question("the page token is not one of this list: begin again without it".to_owned());
        let mark = mark.ok_or_else(refused)?;
        Ok(mark.key(self, environment).min(self.end_of(&prefix)))
    }

    /// The marks that are changes, in the order of the marks. Each lane's window of rows is read once.
    fn changes_of<'m>(&self, environment: &str, marks: &'m [Mark]) -> Result<Vec<(&'m Mark, Change)>, Error> {
        let mut windows: BTreeMap<&Lane, (Stamp, Stamp)> = BTreeMap::new();
        for mark in marks.iter().filter(|mark| mark.about == ABOUT_LANE) {
            let window = windows.entry(&mark.lane).or_insert((mark.stamp, mark.stamp));
            *window = (window.0.min(mark.stamp), window.1.max(mark.stamp));
        }
        let mut moves: BTreeMap<(&Lane, Stamp), Move> = BTreeMap::new();
        for (lane, (first, last)) in windows {
            let end = self.table(LANE_ROWS).lane(lane).moment(&last).prefix_end();
            let (_, replayed) = timeline::replay(&self.lane_rows(lane, Some(&first), &end)?);
            moves.extend(replayed.into_iter().map(|change| ((lane, change.stamp), change)));
        }
        let mut changes = Vec::new();
        for mark in marks {
            let change = match mark.about {
                ABOUT_LANE => self.lane_change(moves.remove(&(&mark.lane, mark.stamp)), &mark.lane)?,
                ABOUT_FREEZE => self.freeze_change(environment, mark)?,
                _ => None,
            };
            changes.extend(change.map(|change| (mark, change)));
        }
        Ok(changes)
    }

    fn lane_change(&self, change: Option<Move>, lane: &Lane) -> Result<Option<Change>, Error> {
        let Some(change) = change else { return Ok(None) };
        let kind = change.kind(&Past { scope: self, lane })?.to_owned();
        Ok(Some(Change {
            at: change.stamp.time,
            service: lane.service.clone(),
            from: change.from.map(|artifact| artifact.reference),
            to: change.to.map(|artifact| artifact.reference),
            kind,
            reason: (!change.reason.is_empty()).then_some(change.reason),
            proof: self.proof(change.stamp.index)?,
        }))
    }

    /// A freeze of what is frozen already is no change.
    fn freeze_change(&self, environment: &str, mark: &Mark) -> Result<Option<Change>, Error> {
        let key = settings(&self.tenant, FREEZE, environment, &mark.lane.service);
        let Some(row) = self.get::<Setting>(&key.moment(&mark.stamp), Clocks::Both)? else {
            return Ok(None);
        };
        let here = Some(&mark.stamp);
        let before = self.newest_setting(FREEZE, environment, &mark.lane.service, here)?;
        let frozen = row.value.frozen;
        if before.is_some_and(|(_, before)| before.frozen) == frozen {
            return Ok(None);
        }
        Ok(Some(Change {
            at: mark.stamp.time,
            service: mark.lane.service.clone(),
            from: None,
            to: None,
            kind: if frozen { "freeze" } else { "unfreeze" }.to_owned(),
            reason: (!row.value.reason.is_empty()).then_some(row.value.reason),
            proof: self.proof(mark.stamp.index)?,
        }))
    }
}

/// What ran in a service some changes ago.
#[derive(Clone, PartialEq, Debug)]
pub struct LastKnown {
    /// `repository:tag` or `repository@digest`.
    pub artifact_ref: String,
    /// Known once the reference resolves.
    pub digest: Option<String>,
    /// When it came to run alone.
    pub since: Nanos,
    /// Entry that proves it.
    pub proof: Proof,
}

/// A row of [`BY_TIME`].
#[derive(Clone, PartialEq, Eq, Debug)]
struct Mark {
    stamp: Stamp,
    about: u8,
    lane: Lane,
}

impl Mark {
    fn read(key: &[u8]) -> Option<Mark> {
        let mut reader = table_key(key).ok()?;
        reader.text()?;
        let stamp = read_stamp(&mut reader)?;
        Some(Mark { stamp, about: reader.byte()?, lane: Lane::read(&mut reader)? })
    }

    fn key(&self, scope: &Scope, environment: &str) -> Key {
        let key = scope.table(BY_TIME).text(environment).moment(&self.stamp);
        key.byte(self.about).lane(&self.lane)
    }

    /// The key without what every key of the list begins with.
    fn page_key(&self, scope: &Scope, environment: &str) -> Vec<u8> {
        let prefix = scope.table(BY_TIME).text(environment).as_bytes().len();
        self.key(scope, environment).as_bytes().get(prefix..).unwrap_or_default().to_vec()
    }
}

/// What a lane's past says, from rows by artifact.
struct Past<'a> {
    scope: &'a Scope,
    lane: &'a Lane,
}

impl Past<'_> {
    /// Prefixes under which rows of the same artifact lie, each with whether its rows must resolve to the digest.
    fn prefixes(&self, artifact: &Artifact) -> Vec<(Key, bool)> {
        let prefix = |class, text: &str| by_artifact(&self.scope.tenant, class, text);
        let reference = reference_key(&artifact.reference);
        match &artifact.digest {
            Some(digest) => vec![(prefix(DIGEST, digest), false), (prefix(REFERENCE, &reference), true)],
            None if artifact.reference == timeline::UNKNOWN => vec![],
            None => [REFERENCE, REFERENCE_OF_DIGEST].map(|class| (prefix(class, &reference), false)).into(),
        }
    }

    /// Is there a row of the artifact before a moment among `from <= key < to`?
    fn any(&self, from: &Key, to: &Key, before: &Stamp, resolving: Option<&Artifact>) -> Result<bool, Error> {
        let mut found = false;
        self.scope.each::<()>(from, to, false, Clocks::Both, |_, row| {
            let stamp = Stamp::from(row.stamp);
            let same = match resolving.filter(|_| stamp < *before) {
                Some(artifact) => {
                    let digest = self.scope.resolved(&artifact.reference, stamp.time)?;
                    artifact.same(&Artifact { reference: artifact.reference.clone(), digest })
                }
                None => true,
            };
            found = stamp < *before && same;
            Ok(if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(found)
    }
}

impl History for Past<'_> {
    fn ran_here(&self, artifact: &Artifact, before: &Stamp) -> Result<bool, Error> {
        for (prefix, resolve) in self.prefixes(artifact) {
            let here = prefix.lane(self.lane);
            let to = here.clone().moment(before);
            if self.any(&here, &to, before, resolve.then_some(artifact))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn ran_elsewhere(&self, artifact: &Artifact, before: &Stamp) -> Result<bool, Error> {
        for (prefix, resolve) in self.prefixes(artifact) {
            let here = prefix.clone().text(&self.lane.environment);
            let resolving = resolve.then_some(artifact);
            let lower = self.any(&prefix, &here, before, resolving)?;
            if lower || self.any(&here.prefix_end(), &prefix.prefix_end(), before, resolving)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn line_order(&self, from: &Artifact, to: &Artifact) -> Result<Option<Ordering>, Error> {
        match (&from.digest, &to.digest) {
            (Some(from), Some(to)) => self.scope.line_order(from, to),
            _ => Ok(None),
        }
    }
}
