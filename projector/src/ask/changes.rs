//! What changed in an environment: pages of changes, the change of an entry, and what ran some changes ago (SPEC §6).

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use pedigraph_proto::Nanos;

use super::answers::{Change, Page, Proof};
use super::environment::{candidate_stamp, is_frozen};
use super::past::Past;
use super::scope::{Clocks, Scope};
use super::timeline::{self, Move, Run};
use crate::error::Error;
use crate::facts::deployments::rows::{
    ABOUT_FREEZE, ABOUT_LANE, BY_TIME, CHANGES, CHANGES_OF_ENTRY, FREEZE, Keys, LANES, Lane, Setting, Stamp,
    read_stamp, settings, table_key, unreadable,
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
    /// Its changes, newest first; `after` is a page's key. A page ends when it is full or nothing is left, and when
    /// half of the question's budget is used, too. Read are the candidates for changes, not what repeats.
    pub fn changes(&self, name: &str, after: Option<&[u8]>, limit: usize) -> Result<Option<Page<Change>>, Error> {
        if !self.environment_is_named(name)? {
            return Ok(None);
        }
        let mut page = Page { rows: Vec::new(), next: None };
        let prefix = self.marks_of(name)?;
        let mut end = self.end_of_marks(name, &prefix)?;
        if let Some(after) = after {
            end = self.mark_after(&prefix, after)?.min(end);
        }
        let mut scan_rows = limit.saturating_add(1).clamp(16, SCAN_ROWS_MAX);
        loop {
            let marks = self.marks(&prefix, &end, scan_rows)?;
            scan_rows = scan_rows.saturating_mul(2).min(LONG_SCAN_ROWS_MAX);
            let Some(last) = marks.last() else { return Ok(Some(Page { next: None, ..page })) };
            end = last.key(&prefix);
            for (mark, moved) in self.moved(name, &marks)? {
                if page.rows.len() >= limit || (!page.rows.is_empty() && self.meter.is_half_spent()) {
                    return Ok(Some(page));
                }
                page.rows.push(self.change_of(mark, moved)?);
                page.next = Some(mark.page_key(&prefix));
            }
            if self.meter.is_half_spent() {
                page.next = Some(last.page_key(&prefix));
                return Ok(Some(page));
            }
        }
    }

    /// When the first change of an environment happened.
    pub fn first_change(&self, name: &str) -> Result<Option<Nanos>, Error> {
        let prefix = self.marks_of(name)?;
        let (mut from, mut scan_rows) = (prefix.clone(), 16);
        loop {
            let rows = self.keyed::<()>(&from, &self.end_of(&prefix), false, Clocks::Known, scan_rows)?;
            let marks = rows.iter().map(|(key, _)| Mark::read(key).ok_or_else(unreadable));
            let marks = marks.collect::<Result<Vec<_>, _>>()?;
            let Some(last) = marks.last() else { return Ok(None) };
            if let Some((mark, _)) = self.moved(name, &marks)?.first() {
                return Ok(Some(mark.stamp.time));
            }
            from = last.key(&prefix).byte(0);
            scan_rows = scan_rows.saturating_mul(2).min(LONG_SCAN_ROWS_MAX);
        }
    }

    /// When the newest change of an environment happened.
    pub(super) fn last_change(&self, name: &str) -> Result<Option<Nanos>, Error> {
        let prefix = self.marks_of(name)?;
        let (mut end, mut scan_rows) = (self.end_of_marks(name, &prefix)?, 1);
        loop {
            let marks = self.marks(&prefix, &end, scan_rows)?;
            let Some(last) = marks.last() else { return Ok(None) };
            if let Some((mark, _)) = self.moved(name, &marks)?.first() {
                return Ok(Some(mark.stamp.time));
            }
            end = last.key(&prefix);
            scan_rows = scan_rows.saturating_mul(4).min(LONG_SCAN_ROWS_MAX);
        }
    }

    /// The change of an environment that a ledger entry proves (`prod#42`); of several the last.
    pub fn numbered_change(&self, name: &str, index: u64) -> Result<Option<Change>, Error> {
        let marks = self.numbered_marks(name, index)?;
        let newest = self.moved(name, &marks)?.into_iter().next();
        newest.map(|(mark, moved)| self.change_of(mark, moved)).transpose()
    }

    /// What a ledger entry made run, or more or less of, in an environment or one service of it; of several the last.
    /// `None` where it changed no lane there.
    pub(super) fn numbered_run(
        &self,
        environment: &str,
        service: Option<&str>,
        index: u64,
    ) -> Result<Option<Numbered>, Error> {
        let marks = self.numbered_marks(environment, index)?;
        let moved = self.moved(environment, &marks)?.into_iter().find_map(|(mark, moved)| match moved {
            Moved::Lane(change) if service.is_none_or(|service| service == mark.lane.service) => Some((mark, change)),
            Moved::Lane(_) | Moved::Freeze(_) => None,
        });
        let Some((mark, change)) = moved else { return Ok(None) };
        let rows = self.lane_rows(&mark.lane, Some(&mark.stamp), Some(&mark.stamp))?;
        let (now, beside) = match &change.to {
            Some(to) => timeline::replay(&rows).0.running().into_iter().partition(|run| run.artifact.same(to)),
            None => (vec![], vec![]),
        };
        let proof = self.proof(mark.stamp.index)?;
        Ok(Some(Numbered { service: mark.lane.service.clone(), now: now.into_iter().next(), beside, proof }))
    }

    fn numbered_marks(&self, name: &str, index: u64) -> Result<Vec<Mark>, Error> {
        match self.is_unmarked(|key| key.text(name))? {
            true => self.all_of_entry(name, index),
            false => self.marks_of_entry(name, index),
        }
    }

    fn marks_of_entry(&self, name: &str, index: u64) -> Result<Vec<Mark>, Error> {
        let prefix = self.table(CHANGES_OF_ENTRY).text(name).number(index);
        let mut marks = Vec::new();
        for (key, _) in self.keyed::<()>(&prefix, &prefix.prefix_end(), true, Clocks::Known, SCAN_ROWS_MAX)? {
            let mut reader = table_key(&key)?;
            reader.text().and_then(|_| reader.number()).ok_or_else(unreadable)?;
            let mark = Mark::read_rest(&mut reader).ok_or_else(unreadable)?;
            marks.extend(self.at.is_none_or(|at| mark.stamp.time <= at).then_some(mark));
        }
        Ok(marks)
    }

    /// The same where not all that may be changes are marked so.
    fn all_of_entry(&self, name: &str, index: u64) -> Result<Vec<Mark>, Error> {
        let prefix = self.table(BY_TIME).text(name);
        let mut marks = Vec::new();
        self.each::<()>(&prefix, &self.end_of(&prefix), true, Clocks::Known, |key, row| {
            if row.stamp.index == index {
                marks.push(Mark::read(key).ok_or_else(unreadable)?);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(marks)
    }

    /// What ran alone in each lane of a service `back` changes of that lane ago, 0 = what does now (`prod~1`): the same
    /// rollout in the next cluster is no change of this one. Where a lane's newest change is a removal, it is counted
    /// from there; such lanes are left out while the service runs in another one.
    pub fn last_known(&self, environment: &str, service: &str, back: usize) -> Result<Vec<LastKnown>, Error> {
        if back > BACK_MAX {
            return Err(Error::Question(format!("~{back} goes too far back: at most ~{BACK_MAX}, or name a moment")));
        }
        let mut lanes = Vec::new();
        for lane in self.lanes_of(&self.table(LANES).text(environment).text(service))? {
            // Each may be followed by a removal.
            let most = back.saturating_add(1).saturating_mul(2);
            let moves = self.newest_moves(&lane, most, Move::is_end_of_spell)?;
            let Some(runs) = moves.first().map(Move::is_full) else { continue };
            let mut alone = moves.into_iter().filter(Move::is_full);
            let found = back.checked_sub(usize::from(!runs)).and_then(|back| alone.nth(back));
            lanes.push((lane, runs, found));
        }
        let any_runs = lanes.iter().any(|(_, runs, _)| *runs);
        let counted = lanes.into_iter().filter(|(_, runs, _)| *runs || !any_runs);
        let known = counted.filter_map(|(lane, _, found)| {
            let found = found?;
            let to = found.to.as_ref()?;
            Some(self.proof(found.stamp.index).map(|proof| LastKnown {
                cluster: lane.cluster,
                namespace: lane.namespace,
                artifact_ref: to.reference.clone(),
                digest: to.digest.clone(),
                since: found.since().time,
                proof,
            }))
        });
        known.collect()
    }

    /// Up to `back` newest moves of a kind, such as those that changed what runs alone.
    pub(super) fn newest_moves(&self, lane: &Lane, back: usize, wanted: fn(&Move) -> bool) -> Result<Vec<Move>, Error> {
        let prefix = self.candidates(lane)?;
        let Some(known_until) = self.known_until(lane)? else { return Ok(vec![]) };
        let end = prefix.clone().until(Some(known_until));
        let mut rows_max = back.saturating_mul(2).max(16);
        loop {
            let newest = self.keyed::<()>(&prefix, &end, true, Clocks::Known, rows_max)?;
            let first = newest.last().map(|(key, _)| candidate_stamp(key)).transpose()?;
            let rows = self.lane_rows(lane, first.as_ref(), None)?;
            let moves: Vec<Move> = timeline::replay(&rows).1.into_iter().rev().filter(wanted).collect();
            let exact = moves.iter().filter(|change| first.is_some_and(|first| change.stamp >= first)).count();
            if exact >= back || newest.len() < rows_max {
                return Ok(moves.into_iter().take(back).collect());
            }
            rows_max = rows_max.saturating_mul(4);
        }
    }

    /// Where the rows lie that may be changes of an environment: those that are marked so, or all.
    fn marks_of(&self, environment: &str) -> Result<Key, Error> {
        let unmarked = self.is_unmarked(|key| key.text(environment))?;
        Ok(self.table(if unmarked { BY_TIME } else { CHANGES }).text(environment))
    }

    /// The exclusive end of the marks of an environment: what came in later and happened later is not looked at.
    fn end_of_marks(&self, environment: &str, prefix: &Key) -> Result<Key, Error> {
        let all = self.table(BY_TIME).text(environment);
        if *prefix == all {
            return Ok(self.end_of(prefix));
        }
        let newest = self.newest_change(environment)?;
        Ok(newest.map_or_else(|| prefix.clone(), |newest| prefix.clone().until(Some(newest))))
    }

    fn marks(&self, prefix: &Key, end: &Key, limit: usize) -> Result<Vec<Mark>, Error> {
        let rows = self.keyed::<()>(prefix, end, true, Clocks::Known, limit)?;
        rows.iter().map(|(key, _)| Mark::read(key).ok_or_else(unreadable)).collect()
    }

    /// Where a page ended, as the exclusive end of the next one.
    fn mark_after(&self, prefix: &Key, after: &[u8]) -> Result<Key, Error> {
        let key = [prefix.as_bytes(), after].concat();
        let mark = Mark::read(&key).filter(|mark| mark.key(prefix).as_bytes() == key);
        let mark = mark.ok_or_else(Error::foreign_page)?;
        Ok(mark.key(prefix))
    }

    /// The marks that are changes, in the order of the marks. Each lane's window of rows is read once.
    fn moved<'m>(&self, environment: &str, marks: &'m [Mark]) -> Result<Vec<(&'m Mark, Moved)>, Error> {
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
        let mut found = Vec::new();
        for mark in marks {
            let moved = match mark.about {
                ABOUT_LANE => moves.remove(&(&mark.lane, mark.stamp)).map(Moved::Lane),
                ABOUT_FREEZE => self.freeze_change(environment, mark)?.map(Moved::Freeze),
                _ => None,
            };
            found.extend(moved.map(|moved| (mark, moved)));
        }
        Ok(found)
    }

    fn change_of(&self, mark: &Mark, moved: Moved) -> Result<Change, Error> {
        let lane = &mark.lane;
        let (kind, from, to, reason) = match moved {
            Moved::Lane(change) => {
                let kind = change.kind(&Past { scope: self, lane })?;
                (kind, change.from.clone(), change.to.clone(), change.reason().to_owned())
            }
            Moved::Freeze(setting) => (if setting.frozen { "freeze" } else { "unfreeze" }, None, None, setting.reason),
        };
        Ok(Change {
            at: mark.stamp.time,
            service: lane.service.clone(),
            from: from.as_ref().map(|artifact| artifact.reference.clone()),
            from_digest: from.and_then(|artifact| artifact.digest.clone()),
            to: to.as_ref().map(|artifact| artifact.reference.clone()),
            to_digest: to.and_then(|artifact| artifact.digest.clone()),
            kind: kind.to_owned(),
            reason: (!reason.is_empty()).then_some(reason),
            proof: self.proof(mark.stamp.index)?,
        })
    }

    /// A freeze of what is frozen already is no change. That a service is let off the freeze of its environment is one.
    fn freeze_change(&self, environment: &str, mark: &Mark) -> Result<Option<Setting>, Error> {
        let key = settings(&self.tenant, FREEZE, environment, &mark.lane.service);
        let Some(row) = self.get::<Setting>(&key.moment(&mark.stamp), Clocks::Both)? else {
            return Ok(None);
        };
        let service = mark.lane.service.as_str();
        let before = self.newest_setting(FREEZE, environment, service, Some(&mark.stamp))?;
        let everywhere = match service {
            "" => None,
            _ => self.newest_setting(FREEZE, environment, "", Some(&mark.stamp))?,
        };
        let own = (mark.stamp, row.value);
        let is_other = before.as_ref().is_some_and(|(_, before)| before.frozen) != own.1.frozen;
        let was = is_frozen(everywhere.as_ref(), before.as_ref());
        let is_let_off = was && !is_frozen(everywhere.as_ref(), Some(&own));
        Ok((is_other || is_let_off).then_some(own.1))
    }
}

/// A change before it is told.
enum Moved {
    Lane(Move),
    Freeze(Setting),
}

/// What runs right after a change that is named by its entry.
pub(super) struct Numbered {
    pub(super) service: String,
    /// What the change made run; `None` after a removal.
    pub(super) now: Option<Run>,
    /// What else runs in its lane then.
    pub(super) beside: Vec<Run>,
    /// The entry.
    pub(super) proof: Proof,
}

/// What ran in a lane of a service some changes ago.
#[derive(Clone, PartialEq, Debug)]
pub struct LastKnown {
    /// Empty where none was said.
    pub cluster: String,
    /// Empty where none was said.
    pub namespace: String,
    /// `repository:tag` or `repository@digest`.
    pub artifact_ref: String,
    /// Known once the reference resolves.
    pub digest: Option<String>,
    /// Since when it ran without a break, as in [`super::service::Spell`].
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

    fn key(&self, prefix: &Key) -> Key {
        prefix.clone().moment(&self.stamp).byte(self.about).lane(&self.lane)
    }

    /// The key without what every key of the list begins with.
    fn page_key(&self, prefix: &Key) -> Vec<u8> {
        self.key(prefix).as_bytes().get(prefix.as_bytes().len()..).unwrap_or_default().to_vec()
    }
}
