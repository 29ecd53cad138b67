//! What changed in an environment: pages of changes, the change of an entry, and what ran some changes ago (SPEC §6).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use pedigraph_proto::Nanos;

use super::answers::{Change, Page, Proof};
use super::environment::candidate_stamp;
use super::scope::{Clocks, Scope};
use super::timeline::{self, Artifact, History, Move};
use crate::error::Error;
use crate::facts::deployments::rows::{
    ABOUT_FREEZE, ABOUT_LANE, CANDIDATES, CHANGES, CHANGES_OF_ENTRY, DIGEST, FREEZE, Keys, LANES, Lane, REFERENCE,
    REFERENCE_OF_DIGEST, Setting, Stamp, by_artifact, read_stamp, reference_key, settings, table_key, unreadable,
};
use crate::store::key::{Key, KeyReader};

/// Changes that `~n` goes back at most.
pub const BACK_MAX: usize = 100_000;
/// Candidates of the first scan of a page.
const SCAN_ROWS_MAX: usize = 1_024;
/// Candidates of the last ones. Each scan doubles: a lane's rows below a scan are read until its state is known, so
/// that many small scans of a tag that is deployed again and again would read them over and over.
const LONG_SCAN_ROWS_MAX: usize = 65_536;

impl Scope {
    /// Its changes, newest first; `after` is a page's key. A page ends when it is full or nothing is left. Read are the
    /// candidates for changes, not what repeats.
    pub fn changes(&self, name: &str, after: Option<&[u8]>, limit: usize) -> Result<Option<Page<Change>>, Error> {
        if !self.environment_is_named(name)? {
            return Ok(None);
        }
        let mut page = Page { rows: Vec::new(), next: None };
        let prefix = self.table(CHANGES).text(name);
        let mut end = match after {
            Some(after) => self.mark_after(name, after)?,
            None => self.end_of(&prefix),
        };
        let mut scan_rows = limit.saturating_add(1).clamp(16, SCAN_ROWS_MAX);
        loop {
            let marks = self.marks(&prefix, &end, scan_rows)?;
            scan_rows = scan_rows.saturating_mul(2).min(LONG_SCAN_ROWS_MAX);
            let Some(last) = marks.last() else { return Ok(Some(Page { next: None, ..page })) };
            end = last.key(self, name);
            for (mark, change) in self.changes_of(name, &marks)? {
                if page.rows.len() >= limit {
                    return Ok(Some(page));
                }
                page.rows.push(change);
                page.next = Some(mark.page_key(self, name));
            }
        }
    }

    /// When the first change of an environment happened.
    pub fn first_change(&self, name: &str) -> Result<Option<Nanos>, Error> {
        let prefix = self.table(CHANGES).text(name);
        let (mut from, mut scan_rows) = (prefix.clone(), 16);
        loop {
            let rows = self.keyed::<()>(&from, &self.end_of(&prefix), false, Clocks::Known, scan_rows)?;
            let marks = rows.iter().map(|(key, _)| Mark::read(key).ok_or_else(unreadable));
            let marks = marks.collect::<Result<Vec<_>, _>>()?;
            let Some(last) = marks.last() else { return Ok(None) };
            if let Some((_, change)) = self.changes_of(name, &marks)?.first() {
                return Ok(Some(change.at));
            }
            from = last.key(self, name).byte(0);
            scan_rows = scan_rows.saturating_mul(2).min(LONG_SCAN_ROWS_MAX);
        }
    }

    /// The change of an environment that a ledger entry proves (`prod#42`); of several the last.
    pub fn numbered_change(&self, name: &str, index: u64) -> Result<Option<Change>, Error> {
        let prefix = self.table(CHANGES_OF_ENTRY).text(name).number(index);
        let mut marks = Vec::new();
        for (key, _) in self.keyed::<()>(&prefix, &prefix.prefix_end(), true, Clocks::Known, SCAN_ROWS_MAX)? {
            let mut reader = table_key(&key)?;
            reader.text().and_then(|_| reader.number()).ok_or_else(unreadable)?;
            let mark = Mark::read_rest(&mut reader).ok_or_else(unreadable)?;
            marks.extend(self.at.is_none_or(|at| mark.stamp.time <= at).then_some(mark));
        }
        Ok(self.changes_of(name, &marks)?.into_iter().next().map(|(_, change)| change))
    }

    /// What ran alone in a service `back` changes ago, 0 = what does now (`prod~1`). Of several clusters or namespaces,
    /// the changes count together.
    pub fn last_known(&self, environment: &str, service: &str, back: usize) -> Result<Option<LastKnown>, Error> {
        if back > BACK_MAX {
            return Err(Error::Question(format!("~{back} goes too far back: at most ~{BACK_MAX}, or name a moment")));
        }
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
        let prefix = self.table(CANDIDATES).lane(lane);
        let end = self.end_of(&prefix);
        let mut rows_max = back.saturating_mul(2).max(16);
        loop {
            let newest = self.keyed::<()>(&prefix, &end, true, Clocks::Known, rows_max)?;
            let first = newest.last().map(|(key, _)| candidate_stamp(key)).transpose()?;
            let rows = self.lane_rows(lane, first.as_ref(), None)?;
            let moves: Vec<Move> = timeline::replay(&rows).1.into_iter().rev().filter(Move::is_full).collect();
            let exact = moves.iter().filter(|change| first.is_some_and(|first| change.stamp >= first)).count();
            if exact >= back || newest.len() < rows_max {
                return Ok(moves.into_iter().take(back).collect());
            }
            rows_max = rows_max.saturating_mul(4);
        }
    }

    fn marks(&self, prefix: &Key, end: &Key, limit: usize) -> Result<Vec<Mark>, Error> {
        let rows = self.keyed::<()>(prefix, end, true, Clocks::Known, limit)?;
        rows.iter().map(|(key, _)| Mark::read(key).ok_or_else(unreadable)).collect()
    }

    /// Where a page ended, as the exclusive end of the next one.
    fn mark_after(&self, environment: &str, after: &[u8]) -> Result<Key, Error> {
        let prefix = self.table(CHANGES).text(environment);
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
            let (_, replayed) = timeline::replay(&self.lane_rows(lane, Some(&first), Some(&last))?);
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

/// A row of [`CHANGES`].
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
        Mark::read_rest(&mut reader)
    }

    fn read_rest(reader: &mut KeyReader<'_>) -> Option<Mark> {
        Some(Mark { stamp: read_stamp(reader)?, about: reader.byte()?, lane: Lane::read(reader)? })
    }

    fn key(&self, scope: &Scope, environment: &str) -> Key {
        let key = scope.table(CHANGES).text(environment).moment(&self.stamp);
        key.byte(self.about).lane(&self.lane)
    }

    /// The key without what every key of the list begins with.
    fn page_key(&self, scope: &Scope, environment: &str) -> Vec<u8> {
        let prefix = scope.table(CHANGES).text(environment).as_bytes().len();
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
