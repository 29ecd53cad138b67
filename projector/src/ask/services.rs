//! What runs in an environment, service by service: a row for each lane, in the order of their keys.
//!
//! The row is the lane's [`Head`], written over by each fact. It does where the question may see all of it and its rows
//! are [`enough`](super::timeline::Enough); else the lane's rows are read. Where that is so of most lanes, as with
//! `at`, they are read forwards at once, which costs much less than going back from each lane's end.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::answers::{Environment, ServiceState};
use super::environment::{LANES_MAX, LaneRuns, Newest, Passed, is_frozen, too_many_lanes};
use super::scope::{Clocks, Scope};
use super::shown::{Depth, ServiceRuns};
use super::timeline::{Enough, Row};
use crate::error::Error;
use crate::facts::deployments::head::Head;
use crate::facts::deployments::rows::{
    CONFIG, FREEZE, HEADS, Keys, LANE_ROWS, Lane, LaneFact, Setting, Stamp, reference_key, table_key, unreadable,
};
use crate::rows::stamp::{Stamped, split_stamp};
use crate::store;
use crate::store::key::Key;

/// Rows of a lane that are read forwards with those of its neighbours; a longer lane is read backwards by itself.
const SHORT_LANE_ROWS: usize = 32;
/// Rows of many lanes that are read at once, as many as are asked for.
const SCAN_ROWS_MIN: usize = 16;
const SCAN_ROWS_MAX: usize = 256;

/// Some services of an environment, and the key of the next page.
pub type EnvironmentPage = (Environment, Option<Vec<u8>>);

impl Scope {
    /// One environment with all that runs there; `None` when nobody has named it yet.
    pub fn environment(&self, name: &str, include_removed: bool) -> Result<Option<Environment>, Error> {
        if !self.environment_is_named(name)? {
            return Ok(None);
        }
        let (mut walk, mut services) = (self.walk(name, None, usize::MAX, Depth::WHOLE)?.0, Vec::new());
        while let Some(runs) = walk.next_service()? {
            if include_removed || runs.runs() {
                services.push(runs.whole());
            }
        }
        Ok(Some(self.environment_of(name, services)?))
    }

    /// At most `limit` services of an environment after a page's key, of each what one answer lists. A page ends when
    /// half of the question's budget is used, too, or when it has read as many lanes as it may.
    pub fn environment_page(
        &self,
        name: &str,
        include_removed: bool,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Option<EnvironmentPage>, Error> {
        if !self.environment_is_named(name)? {
            return Ok(None);
        }
        let (mut walk, mut passed) = self.walk(name, after, limit, Depth::LISTED)?;
        let (mut services, mut next, mut begun) = (Vec::new(), None, false);
        while let Some(runs) = walk.next_service()? {
            let is_listed = include_removed || runs.runs();
            // What was removed is passed over, and costs as much.
            if (is_listed && services.len() >= limit) || (begun && walk.is_spent()) {
                next = Some(passed.page_key());
                break;
            }
            passed.pass(&runs.service);
            begun = true;
            if is_listed {
                services.push(runs.listed());
            }
        }
        Ok(Some((self.environment_of(name, services)?, next)))
    }

    /// By name: walks go by keys, which differ from names where a name ends with a digest.
    fn environment_of(&self, name: &str, mut services: Vec<ServiceState>) -> Result<Environment, Error> {
        services.sort_by(|a, b| a.service.cmp(&b.service));
        let deletion = self.deletion(name)?;
        let deleted_at = deletion.as_ref().map(|deletion| deletion.at);
        Ok(Environment { environment: name.to_owned(), at: self.at, deleted_at, deletion, services })
    }

    /// How many services of an environment run, service by service.
    pub(super) fn count_running(&self, environment: &str) -> Result<u64, Error> {
        let (mut walk, mut count) = (self.walk(environment, None, usize::MAX, Depth::LISTED)?.0, 0);
        while let Some(runs) = walk.next_service()? {
            count += u64::from(runs.runs());
        }
        Ok(count)
    }

    /// What runs of one service; `None` while nothing was deployed there by this name.
    pub(super) fn runs_of_service(
        &self,
        environment: &str,
        service: &str,
        depth: Depth,
    ) -> Result<Option<ServiceRuns>, Error> {
        let of_service = self.table(HEADS).text(environment).text(service);
        let range = (of_service.clone(), of_service.prefix_end());
        let runs = self.walk_over(environment, range, SCAN_ROWS_MAX, depth)?.next_service()?;
        // A key has not all of a long name.
        Ok(runs.map(|runs| ServiceRuns { service: service.to_owned(), ..runs }))
    }

    /// A walk over the services of an environment from a page's key on.
    pub(super) fn walk<'s>(
        &'s self,
        environment: &'s str,
        after: Option<&[u8]>,
        limit: usize,
        depth: Depth,
    ) -> Result<(Walk<'s>, Passed), Error> {
        let prefix = self.table(HEADS).text(environment);
        let (from, mut passed, skip) = Passed::from(&prefix, after)?;
        // That a service is complete is told by the next one.
        let scan_rows = limit.saturating_add(2).clamp(SCAN_ROWS_MIN, SCAN_ROWS_MAX);
        let mut walk = self.walk_over(environment, (from, prefix.prefix_end()), scan_rows, depth)?;
        for _ in 0..skip {
            let Some(service) = walk.next_service()? else { break };
            passed.pass(&service.service);
        }
        Ok((walk, passed))
    }

    fn walk_over<'s>(
        &'s self,
        environment: &'s str,
        (from, end): (Key, Key),
        scan_rows: usize,
        depth: Depth,
    ) -> Result<Walk<'s>, Error> {
        let frozen = self.newest_setting(FREEZE, environment, "", None)?;
        let (of_last, read) = ((String::new(), 0), VecDeque::new());
        Ok(Walk { scope: self, environment, frozen, depth, from, end, scan_rows, lanes: 0, of_last, read })
    }

    /// Rows from which follows what runs in a lane now, or at the question's moment.
    pub(super) fn newest_rows(&self, lane: &Lane) -> Result<Newest, Error> {
        let head = self.shared.store.get(self.table(HEADS).lane(lane).as_bytes())?;
        let newest = head.map(|bytes| self.by_head(&bytes)).transpose()?.flatten();
        newest.map_or_else(|| self.sought_rows(lane), Ok)
    }

    fn sought_rows(&self, lane: &Lane) -> Result<Newest, Error> {
        if let Some(known) = self.known_rows(lane)? {
            return Ok(known);
        }
        Ok(Newest { rows: self.lane_rows(lane, None, None)?, all_read: false, leaves: vec![] })
    }

    /// The rows of a head; `None` where they do not do for this question.
    fn by_head(&self, bytes: &[u8]) -> Result<Option<Newest>, Error> {
        if split_stamp(bytes)?.0.index >= self.bound {
            return Ok(None);
        }
        let head = Stamped::<Head>::decode(bytes)?.value;
        if self.at.is_some_and(|at| head.newest().is_some_and(|newest| newest.time > at)) {
            return Ok(None);
        }
        for row in head.rows.iter().filter(|row| row.fact.is_by_tag()) {
            let unmarked = self.unmarked_tags()?;
            if !unmarked.is_empty() && unmarked.contains(&reference_key(&row.fact.reference)) {
                return Ok(None);
            }
        }
        let leaves: Vec<_> = head.rows.iter().filter_map(|row| Some((row.stamp().index, row.leaf_hash?))).collect();
        let all_read = leaves.len() == head.rows.len();
        let rows = head.rows.into_iter().map(|row| (row.stamp(), row.fact)).collect();
        let (rows, exact) = self.exact_rows(rows)?;
        Ok((exact || head.whole).then_some(Newest { rows, all_read, leaves }))
    }

    /// The rows of a lane's head as it was known; `None` where they do not do for this question: they know no `at`, nor
    /// what was told of tags since.
    fn known_rows(&self, lane: &Lane) -> Result<Option<Newest>, Error> {
        let Some(known) = self.known_head(lane)? else {
            return Ok(Some(Newest { rows: vec![], all_read: true, leaves: vec![] }));
        };
        let (group, mut rows) = (self.table(LANE_ROWS).lane(lane), Vec::new());
        if known.stamps().any(|stamp| self.at.is_some_and(|at| stamp.time > at)) {
            return Ok(None);
        }
        for stamp in known.stamps() {
            let Some(row) = self.get::<LaneFact>(&group.clone().moment(&stamp), Clocks::Both)? else {
                return Ok(None);
            };
            if row.value.is_by_tag() {
                return Ok(None);
            }
            rows.push((stamp, row.value));
        }
        let (rows, exact) = self.exact_rows(rows)?;
        Ok((exact || known.whole).then_some(Newest { rows, all_read: known.all_read, leaves: vec![] }))
    }

    /// What runs in each lane of some heads, but for those of which nothing was said by the question's moment.
    fn lanes_running(
        &self,
        environment: &str,
        frozen: Option<&(Stamp, Setting)>,
        heads: &[store::Row],
    ) -> Result<Vec<ServiceRuns>, Error> {
        let lanes = lanes_of_heads(heads)?;
        let (Some(first), Some(last)) = (lanes.first(), lanes.last()) else { return Ok(vec![]) };
        let services = (first.service.as_str(), last.service.as_str());
        let configs = self.newest_settings(CONFIG, environment, services)?;
        let freezes = self.newest_settings(FREEZE, environment, services)?;
        let mut running = Vec::new();
        for (lane, newest) in lanes.iter().zip(self.newest_of(&lanes, heads)?) {
            if !newest.rows.is_empty() {
                let runs: LaneRuns = self.lane_running(lane, &newest, configs.get(&lane.service))?;
                let frozen = is_frozen(frozen, freezes.get(&lane.service));
                let of = ServiceRuns::none(&lane.service, frozen);
                running.push(ServiceRuns { running: runs.0, canaries_cut: runs.1, ..of });
            }
        }
        Ok(running)
    }

    /// As [`Scope::newest_rows`], of lanes that follow each other, of which the heads are at hand.
    pub(super) fn newest_of(&self, lanes: &[Lane], heads: &[store::Row]) -> Result<Vec<Newest>, Error> {
        let by_heads = heads.iter().map(|(_, bytes)| self.by_head(bytes)).collect::<Result<Vec<_>, Error>>()?;
        let unknown = by_heads.iter().filter(|newest| newest.is_none()).count();
        let forwards = self.at.is_some() && 2 * unknown > lanes.len();
        let mut recent = match lanes.first().zip(lanes.last()) {
            Some((first, last)) if forwards => self.recent(first, last)?,
            Some(_) | None => BTreeMap::new(),
        };
        let newest = lanes.iter().zip(by_heads).map(|(lane, newest)| match (newest, recent.remove(lane)) {
            (Some(newest), _) | (None, Some(newest)) => Ok(newest),
            (None, None) => self.sought_rows(lane),
        });
        newest.collect()
    }

    /// The short ones of some lanes that follow each other, read forwards; the rest of a long lane is jumped over. Where
    /// most of those before were long it ends.
    fn recent(&self, first: &Lane, last: &Lane) -> Result<BTreeMap<Lane, Newest>, Error> {
        let table = self.table(LANE_ROWS);
        let mut from = table.clone().lane(first).as_bytes().to_vec();
        let end = table.lane(last).prefix_end();
        let (mut lanes, mut page_rows) = (Vec::<Recent>::new(), SCAN_ROWS_MAX);
        loop {
            let page = self.shared.store.scan(&from, end.as_bytes(), false, page_rows)?;
            for (key, bytes) in &page {
                self.take_recent(&mut lanes, key, bytes)?;
            }
            let (Some((key, _)), Some(last)) = (page.last(), lanes.last()) else { break };
            if 2 * lanes.iter().filter(|recent| !recent.is_short()).count() > lanes.len() {
                // The last one may go on.
                lanes.pop();
                break;
            }
            if last.is_short() {
                from = [key.as_slice(), &[0]].concat();
                page_rows = SCAN_ROWS_MAX;
            } else {
                from = last.prefix.prefix_end().as_bytes().to_vec();
                page_rows = SHORT_LANE_ROWS + 1;
            }
        }
        let short = lanes.into_iter().filter(Recent::is_short);
        let newest = short.map(|recent| {
            let rows = self.exact_rows(recent.seen)?.0;
            Ok((recent.lane, Newest { rows, all_read: true, leaves: vec![] }))
        });
        newest.collect()
    }

    fn take_recent(&self, lanes: &mut Vec<Recent>, key: &[u8], bytes: &[u8]) -> Result<(), Error> {
        if lanes.last().is_none_or(|last| !key.starts_with(last.prefix.as_bytes())) {
            let lane = Lane::read(&mut table_key(key)?).ok_or_else(unreadable)?;
            let prefix = self.table(LANE_ROWS).lane(&lane);
            lanes.push(Recent { lane, prefix, read: 0, seen: vec![] });
        }
        let Some(recent) = lanes.last_mut() else { return Ok(()) };
        recent.read += 1;
        if recent.is_short() && self.sees(&split_stamp(bytes)?.0, Clocks::Both) {
            let row = Stamped::<LaneFact>::decode(bytes)?;
            recent.seen.push((Stamp::from(row.stamp), row.value));
        }
        Ok(())
    }

    /// Of a lane's newest rows those from which its newest state follows, and whether they are enough for that.
    fn exact_rows(&self, seen: Vec<(Stamp, LaneFact)>) -> Result<(Vec<Row>, bool), Error> {
        let (mut rows, mut enough, mut exact) = (Vec::new(), Enough::default(), false);
        for (stamp, fact) in seen.into_iter().rev() {
            let artifact = self.joined(self.artifact_of(&fact, stamp.time)?, &rows)?;
            let row = Row { stamp, fact: Rc::new(fact), artifact };
            exact = enough.with(&row);
            rows.push(row);
            if exact {
                break;
            }
        }
        rows.reverse();
        Ok((rows, exact))
    }
}

/// The lanes of some heads.
pub(super) fn lanes_of_heads(heads: &[store::Row]) -> Result<Vec<Lane>, Error> {
    heads.iter().map(|(key, _)| Lane::read(&mut table_key(key)?).ok_or_else(unreadable)).collect()
}

/// A walk over the services of an environment.
pub(super) struct Walk<'s> {
    scope: &'s Scope,
    environment: &'s str,
    /// The freeze of all of it.
    frozen: Option<(Stamp, Setting)>,
    depth: Depth,
    from: Key,
    end: Key,
    scan_rows: usize,
    /// How many lanes were read.
    lanes: usize,
    /// The service of the last of them, and how many of that.
    of_last: (String, usize),
    read: VecDeque<ServiceRuns>,
}

impl Walk<'_> {
    /// The next service of which something was said.
    pub(super) fn next_service(&mut self) -> Result<Option<ServiceRuns>, Error> {
        let Some(mut service) = self.next_lane(None)? else { return Ok(None) };
        while let Some(lane) = self.next_lane(Some(&service.service))? {
            service.add(lane, self.depth.kept_max);
        }
        Ok(Some(service))
    }

    /// Whether a page is to end here, since it may not read more.
    pub(super) fn is_spent(&self) -> bool {
        let further = self.depth.lanes_max.saturating_add(self.scan_rows);
        self.scope.meter.is_half_spent() || self.lanes.saturating_add(further) > LANES_MAX
    }

    /// What runs in the next lane, if it is of this service.
    fn next_lane(&mut self, of: Option<&str>) -> Result<Option<ServiceRuns>, Error> {
        while self.read.is_empty() {
            if !self.read_on()? {
                return Ok(None);
            }
        }
        let next = self.read.front();
        let wanted = next.is_some_and(|next| of.is_none_or(|service| next.service == service));
        Ok(if wanted { self.read.pop_front() } else { None })
    }

    /// Reads some lanes; `false` when there are no more. The rest of a service with more than are looked at is jumped
    /// over.
    fn read_on(&mut self) -> Result<bool, Error> {
        let (from, end) = (self.from.as_bytes(), self.end.as_bytes());
        let rows = self.scan_rows.min(self.depth.lanes_max - self.of_last.1);
        let heads = self.scope.shared.store.scan(from, end, false, rows)?;
        let Some((last, _)) = heads.last() else { return Ok(false) };
        self.lanes += heads.len();
        if self.lanes > LANES_MAX {
            return Err(too_many_lanes());
        }
        self.from = Key::from_bytes(last).byte(0);
        self.read.extend(self.scope.lanes_running(self.environment, self.frozen.as_ref(), &heads)?);
        for lane in lanes_of_heads(&heads)? {
            if lane.service != self.of_last.0 {
                self.of_last = (lane.service, 0);
            }
            self.of_last.1 += 1;
        }
        if self.of_last.1 >= self.depth.lanes_max {
            self.jump()?;
        }
        Ok(true)
    }

    /// Leaves out the rest of the last service's lanes, and says so where there are any.
    fn jump(&mut self) -> Result<(), Error> {
        let (scope, service) = (self.scope, &self.of_last.0);
        let after = scope.table(HEADS).text(self.environment).text(service).prefix_end();
        if !scope.shared.store.scan(self.from.as_bytes(), after.as_bytes(), false, 1)?.is_empty() {
            let own = scope.newest_setting(FREEZE, self.environment, service, None)?;
            let none = ServiceRuns::none(service, is_frozen(self.frozen.as_ref(), own.as_ref()));
            self.read.push_back(ServiceRuns { at_least: true, ..none });
        }
        (self.from, self.of_last) = (after, (String::new(), 0));
        Ok(())
    }
}

/// A lane as it is read forwards.
struct Recent {
    lane: Lane,
    /// Of its rows.
    prefix: Key,
    /// Rows that were read, seen or not.
    read: usize,
    /// All rows that are seen, ascending, if the lane is short.
    seen: Vec<(Stamp, LaneFact)>,
}

impl Recent {
    fn is_short(&self) -> bool {
        self.read <= SHORT_LANE_ROWS
    }
}
