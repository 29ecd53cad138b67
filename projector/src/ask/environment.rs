//! What runs where, now and at any time (SPEC §6).
//!
//! Reading replays the timeline of a lane (environment, cluster, namespace, service) from rows read backwards until
//! they are [`enough`](super::timeline::Enough). A lane's newest state costs a few rows however long its history is,
//! and however often a digest was deployed again: such rows are passed over ([`Scope::lane_rows`]). Where only a tag
//! is named each repetition is read, since the tag may have moved.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use pedigraph_proto::Nanos;

use super::answers::{Environment, EnvironmentSummary, Page, Running, ServiceState};
use super::scope::{Clocks, Scope};
use super::timeline::{self, Artifact, Enough, Row, Run};
use crate::error::Error;
use crate::facts::deployments::rows::{
    BY_TIME, CANDIDATES, CONFIG, CONFIG_OF, FREEZE, Keys, LANE_ROWS, LANES, Lane, LaneFact, SETTINGS, Setting, Stamp,
    VIEW, read_stamp, settings, table_key, unreadable,
};
use crate::rows::stamp::{Stamped, split_stamp};
use crate::store::key::Key;

/// Most (cluster, namespace, service) of an environment that one answer reads.
pub const LANES_MAX: usize = 100_000;
/// Rows of a lane that are read forwards with those of its neighbours; a longer lane is read backwards by itself.
const SHORT_LANE_ROWS: usize = 32;
/// Bytes of an environment's name that a page's key repeats: a key travels in an address.
const KEY_NAME_BYTES_MAX: usize = 1_024;
/// Rows of many lanes that are read at once.
const LANES_SCAN_ROWS_MAX: usize = 256;

impl Scope {
    /// Every environment that was ever named, by name.
    pub fn environments(&self) -> Result<Vec<EnvironmentSummary>, Error> {
        self.environment_names(usize::MAX)?.into_iter().map(|name| self.environment_summary(name)).collect()
    }

    /// Environments by name, at most `limit` after a page's key. What an environment costs depends on what runs there,
    /// so a page ends when half of the question's budget is used, too.
    pub fn environments_page(&self, after: Option<&[u8]>, limit: usize) -> Result<Page<EnvironmentSummary>, Error> {
        let mut page = Page { rows: Vec::new(), next: None };
        let mut names = self.names_after(after)?;
        while let Some(name) = self.next_environment(&mut names)? {
            if page.rows.len() >= limit || (!page.rows.is_empty() && self.meter.is_half_spent()) {
                return Ok(page);
            }
            page.next = Some(names.page_key());
            page.rows.push(self.environment_summary(name)?);
        }
        Ok(Page { next: None, ..page })
    }

    /// One environment; `None` when nobody has named it yet.
    pub fn environment(&self, name: &str, include_removed: bool) -> Result<Option<Environment>, Error> {
        if !self.environment_is_named(name)? {
            return Ok(None);
        }
        let mut services: BTreeMap<String, LaneRuns> = BTreeMap::new();
        for (lane, (running, cut)) in self.lanes_running(name)? {
            let of_service = services.entry(lane.service).or_default();
            of_service.0.extend(running);
            of_service.1 += cut;
        }
        services.retain(|_, (running, _)| include_removed || !running.is_empty());
        let freezes = self.newest_settings(FREEZE, name)?;
        let states = services.into_iter().map(|(service, (running, canaries_cut))| {
            let frozen = is_frozen(freezes.get(""), freezes.get(&service));
            ServiceState { canaries_cut, ..service_state(service, running, frozen) }
        });
        Ok(Some(Environment { environment: name.to_owned(), at: self.at, services: states.collect() }))
    }

    /// Everything that runs, by environment and service.
    pub(crate) fn running_everywhere(&self, environment: Option<&str>) -> Result<Vec<RunningIn>, Error> {
        let names = match environment {
            Some(name) => vec![name.to_owned()],
            None => self.environment_names(usize::MAX)?,
        };
        let mut everywhere = Vec::new();
        for name in &names {
            for (lane, (all, _)) in self.lanes_running(name)? {
                everywhere.extend(all.into_iter().map(|(_, running)| {
                    let (environment, service) = (lane.environment.clone(), lane.service.clone());
                    RunningIn { environment, service, running }
                }));
            }
        }
        Ok(everywhere)
    }

    pub(super) fn table(&self, table: u8) -> Key {
        self.key(VIEW).byte(table)
    }

    /// The exclusive end of rows under a prefix that goes on with a time: after `at`, where it is asked for.
    pub(super) fn end_of(&self, prefix: &Key) -> Key {
        match self.at {
            Some(at) => prefix.clone().time(at).prefix_end(),
            None => prefix.prefix_end(),
        }
    }

    pub(super) fn environment_is_named(&self, name: &str) -> Result<bool, Error> {
        let prefix = self.table(BY_TIME).text(name);
        Ok(!self.keyed::<()>(&prefix, &self.end_of(&prefix), false, Clocks::Both, 1)?.is_empty())
    }

    /// At most `limit` names of environments.
    pub(super) fn environment_names(&self, limit: usize) -> Result<Vec<String>, Error> {
        let (mut walk, mut names) = (self.names_after(None)?, Vec::new());
        while names.len() < limit
            && let Some(name) = self.next_environment(&mut walk)?
        {
            names.push(name);
        }
        Ok(names)
    }

    /// Where the list of environments goes on after a page's key.
    fn names_after(&self, after: Option<&[u8]>) -> Result<Names, Error> {
        let start = self.table(BY_TIME);
        let Some(after) = after else {
            return Ok(Names { from: start, last: String::new(), beginning: String::new(), alike: 0 });
        };
        let (beginning, alike) = read_page_key(after).ok_or_else(foreign_page)?;
        let Some(alike) = alike else {
            let from = start.text(&beginning).prefix_end();
            return Ok(Names { from, last: beginning.clone(), beginning, alike: 1 });
        };
        let from = start.text_prefix(&beginning);
        let mut names = Names { from, last: beginning.clone(), beginning, alike: 0 };
        while names.alike < alike && self.next_name(&mut names)?.is_some() {}
        Ok(names)
    }

    /// The next environment that was named by the question's moment.
    fn next_environment(&self, names: &mut Names) -> Result<Option<String>, Error> {
        while let Some(name) = self.next_name(names)? {
            if self.environment_is_named(&name)? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Jumps from one environment's rows to the next one's.
    fn next_name(&self, names: &mut Names) -> Result<Option<String>, Error> {
        let end = self.table(BY_TIME).prefix_end();
        let next = self.shared.store.scan(names.from.as_bytes(), end.as_bytes(), false, 1)?.pop();
        let Some((key, _)) = next else { return Ok(None) };
        let name = table_key(&key)?.text().ok_or_else(unreadable)?;
        names.from = self.table(BY_TIME).text(&name).prefix_end();
        names.passed(&name);
        Ok(Some(name))
    }

    /// Whether anything was ever deployed there as a service of this name.
    pub(super) fn has_service(&self, environment: &str, service: &str) -> Result<bool, Error> {
        for lane in self.lanes_of(&self.table(LANES).text(environment).text(service))? {
            let rows = self.table(LANE_ROWS).lane(&lane);
            if !self.keyed::<()>(&rows, &self.end_of(&rows), false, Clocks::Both, 1)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn environment_summary(&self, environment: String) -> Result<EnvironmentSummary, Error> {
        let services = self.environment(&environment, false)?.map_or(0, |environment| environment.services.len());
        let newest = self.changes(&environment, None, 1)?.and_then(|page| page.rows.into_iter().next());
        let last_change = newest.map(|change| change.at);
        Ok(EnvironmentSummary { environment, services: services as u64, last_change })
    }

    pub(super) fn lanes_of(&self, prefix: &Key) -> Result<Vec<Lane>, Error> {
        let rows = self.keyed::<()>(prefix, &prefix.prefix_end(), false, Clocks::Known, LANES_MAX + 1)?;
        if rows.len() > LANES_MAX {
            return Err(too_many_lanes());
        }
        rows.iter().map(|(key, _)| Lane::read(&mut table_key(key)?).ok_or_else(unreadable)).collect()
    }

    /// Rows of a lane that replay to exact states from `first` on (absent: to the exact newest state), ascending, up
    /// to and with `last` (absent: all that are seen). Read are the last row, the candidates for changes, and the row
    /// before each: whatever lies between repeats the row before it. So two rows and a candidate for each change,
    /// however often it was repeated.
    pub(super) fn lane_rows(
        &self,
        lane: &Lane,
        first: Option<&Stamp>,
        last: Option<&Stamp>,
    ) -> Result<Vec<Row>, Error> {
        let up_to = |prefix: &Key| match last {
            Some(last) => prefix.clone().moment(last).prefix_end(),
            None => self.end_of(prefix),
        };
        let (group, candidates) = (self.table(LANE_ROWS).lane(lane), self.table(CANDIDATES).lane(lane));
        let (mut rows, mut enough) = (Vec::<Row>::new(), Enough::default());
        let mut take = |rows: &mut Vec<Row>, end: &Key| -> Result<bool, Error> {
            let Some((_, row)) = self.keyed::<LaneFact>(&group, end, true, Clocks::Both, 1)?.pop() else {
                return Ok(false);
            };
            let stamp = Stamp::from(row.stamp);
            let artifact = self.artifact_of(&row.value, stamp.time)?;
            let row = Row { stamp, fact: row.value, artifact };
            let done = first.is_none_or(|first| stamp < *first) && enough.with(&row);
            rows.push(row);
            Ok(done)
        };
        if take(&mut rows, &up_to(&group))? {
            return Ok(rows);
        }
        self.each::<()>(&candidates, &up_to(&candidates), true, Clocks::Known, |key, _| {
            let stamp = candidate_stamp(key)?;
            let here = group.clone().moment(&stamp);
            let unread = rows.last().is_none_or(|row| row.stamp > stamp);
            let done = (unread && take(&mut rows, &here.prefix_end())?) || take(&mut rows, &here)?;
            Ok(if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        rows.reverse();
        Ok(rows)
    }

    /// The configuration that a full deployment of what runs named last: repetitions are not read one by one.
    fn newest_config(&self, lane: &Lane, run: Run) -> Result<Run, Error> {
        let Some(digest) = &run.artifact.digest else { return Ok(run) };
        let prefix = self.table(CONFIG_OF).lane(lane).text(digest);
        let newest = self.keyed::<String>(&prefix, &self.end_of(&prefix), true, Clocks::Both, 1)?.pop();
        let said = newest.map(|(_, row)| (Stamp::from(row.stamp), row.value));
        let said =
            said.filter(|(stamp, _)| *stamp >= run.since && *stamp > run.config.as_ref().map_or(run.since, |c| c.0));
        Ok(Run { config: said.or(run.config), ..run })
    }

    /// What a row names, its tag resolved as of that time.
    fn artifact_of(&self, fact: &LaneFact, time: Nanos) -> Result<Option<Artifact>, Error> {
        let resolved = if fact.digest.is_empty() { self.resolved(&fact.reference, time)? } else { None };
        Ok(fact.artifact(resolved))
    }

    pub(super) fn resolved(&self, reference: &str, time: Nanos) -> Result<Option<String>, Error> {
        if reference.is_empty() { Ok(None) } else { self.tagged_digest(reference, time) }
    }

    /// What runs in each lane of which something was said.
    fn lanes_running(&self, environment: &str) -> Result<Vec<(Lane, LaneRuns)>, Error> {
        let configs = self.newest_settings(CONFIG, environment)?;
        let mut lanes = Vec::new();
        for mut recent in self.recent(environment)? {
            let rows = match recent.is_short() {
                true => self.exact_rows(std::mem::take(&mut recent.seen))?,
                false => self.lane_rows(&recent.lane, None, None)?,
            };
            if !rows.is_empty() {
                let running = self.lane_running(&recent, &rows, configs.get(&recent.lane.service))?;
                lanes.push((recent.lane, running));
            }
        }
        Ok(lanes)
    }

    /// The lanes of an environment in the order of their keys, read forwards at once, which costs much less than going
    /// back from each lane's end; the rest of a long lane is jumped over.
    fn recent(&self, environment: &str) -> Result<Vec<Recent>, Error> {
        let prefix = self.table(LANE_ROWS).text(environment);
        let (mut from, end) = (prefix.as_bytes().to_vec(), prefix.prefix_end());
        let (mut lanes, mut page_rows) = (Vec::<Recent>::new(), LANES_SCAN_ROWS_MAX);
        loop {
            let page = self.shared.store.scan(&from, end.as_bytes(), false, page_rows)?;
            for (key, bytes) in &page {
                self.take_recent(&mut lanes, key, bytes)?;
            }
            if lanes.len() > LANES_MAX {
                return Err(too_many_lanes());
            }
            let (Some((key, _)), Some(last)) = (page.last(), lanes.last()) else { return Ok(lanes) };
            if last.is_short() {
                from = [key.as_slice(), &[0]].concat();
                page_rows = page_rows.saturating_mul(2).min(LANES_SCAN_ROWS_MAX);
            } else {
                from = last.prefix.prefix_end().as_bytes().to_vec();
                page_rows = SHORT_LANE_ROWS + 1;
            }
        }
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

    /// As [`Scope::lane_rows`], for the newest state, from rows that were all read.
    fn exact_rows(&self, seen: Vec<(Stamp, LaneFact)>) -> Result<Vec<Row>, Error> {
        let (mut rows, mut enough) = (Vec::new(), Enough::default());
        for (stamp, fact) in seen.into_iter().rev() {
            let artifact = self.artifact_of(&fact, stamp.time)?;
            let row = Row { stamp, fact, artifact };
            let done = enough.with(&row);
            rows.push(row);
            if done {
                break;
            }
        }
        rows.reverse();
        Ok(rows)
    }

    fn lane_running(
        &self,
        recent: &Recent,
        rows: &[Row],
        config: Option<&(Stamp, Setting)>,
    ) -> Result<LaneRuns, Error> {
        let (state, _) = timeline::replay(rows);
        let stable = state.stable.clone();
        let running = state.running().into_iter().map(|run| {
            let canary = stable.as_ref().is_none_or(|stable| !stable.artifact.same(&run.artifact));
            let run = if recent.is_short() { run } else { self.newest_config(&recent.lane, run)? };
            Ok((canary, self.running(&recent.lane, run, config)?))
        });
        Ok((running.collect::<Result<_, Error>>()?, state.cut))
    }

    fn running(&self, lane: &Lane, run: Run, config: Option<&(Stamp, Setting)>) -> Result<Running, Error> {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let set = config.filter(|(set, _)| run.config.as_ref().is_none_or(|(said, _)| said < set));
        let config_digest = match set {
            Some((_, setting)) => text(&setting.name),
            None => run.config.and_then(|(_, digest)| text(&digest)),
        };
        Ok(Running {
            artifact_ref: run.artifact.reference,
            digest: run.artifact.digest,
            weight: run.weight,
            since: run.since.time,
            strategy: text(&run.row.fact.strategy),
            config_digest,
            actor: text(&run.row.fact.actor),
            run: text(&run.row.fact.run),
            cluster: text(&lane.cluster),
            namespace: text(&lane.namespace),
            proof: self.proof(run.row.stamp.index)?,
        })
    }

    /// The newest setting of a topic by service; jumps from one service's rows to the next one's.
    fn newest_settings(&self, topic: u8, environment: &str) -> Result<BTreeMap<String, (Stamp, Setting)>, Error> {
        let prefix = self.table(SETTINGS).byte(topic).text(environment);
        let (mut from, end) = (prefix.clone(), prefix.prefix_end());
        let mut newest = BTreeMap::new();
        while let Some((key, _)) = self.shared.store.scan(from.as_bytes(), end.as_bytes(), false, 1)?.pop() {
            let mut reader = table_key(&key)?;
            let service = reader.byte().and_then(|_| reader.text()).and_then(|_| reader.text());
            let service = service.ok_or_else(unreadable)?;
            from = prefix.clone().text(&service).prefix_end();
            if let Some(setting) = self.newest_setting(topic, environment, &service, None)? {
                newest.insert(service, setting);
            }
        }
        Ok(newest)
    }

    /// The newest setting of a topic, before a moment where one is given.
    pub(super) fn newest_setting(
        &self,
        topic: u8,
        environment: &str,
        service: &str,
        before: Option<&Stamp>,
    ) -> Result<Option<(Stamp, Setting)>, Error> {
        let prefix = settings(&self.tenant, topic, environment, service);
        let before = before.map(|stamp| prefix.clone().moment(stamp));
        let end = before.unwrap_or_else(|| self.end_of(&prefix));
        let newest = self.keyed::<Setting>(&prefix, &end, true, Clocks::Both, 1)?.pop();
        newest.map(|(_, row)| Ok((Stamp::from(row.stamp), row.value))).transpose()
    }
}

/// A walk over the names of environments.
struct Names {
    /// Where it goes on.
    from: Key,
    /// The name that was passed last, as far as its beginning goes when it is long.
    last: String,
    /// Its beginning.
    beginning: String,
    /// How many names with this beginning were passed.
    alike: u64,
}

impl Names {
    fn passed(&mut self, name: &str) {
        let beginning = &name[..name.floor_char_boundary(KEY_NAME_BYTES_MAX)];
        self.alike = if self.alike > 0 && self.beginning == beginning { self.alike + 1 } else { 1 };
        beginning.clone_into(&mut self.beginning);
        name.clone_into(&mut self.last);
    }

    /// The last name; of a long one its beginning, then FF, which no text has, and the count of names alike.
    fn page_key(&self) -> Vec<u8> {
        let mut key = self.beginning.clone().into_bytes();
        if self.last.len() > self.beginning.len() {
            key.push(0xff);
            key.extend_from_slice(&self.alike.to_be_bytes());
        }
        key
    }
}

/// A name, or the beginning of one with the count of names alike.
fn read_page_key(key: &[u8]) -> Option<(String, Option<u64>)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    match key.iter().position(|byte| *byte == 0xff) {
        None => Some((text(key)?, None)),
        Some(at) => Some((text(&key[..at])?, Some(u64::from_be_bytes(key[at + 1..].try_into().ok()?)))),
    }
}

fn foreign_page() -> Error {
    Error::Question("the page token is not one of this list: begin again without it".to_owned())
}

/// Something that runs, and where.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct RunningIn {
    pub(crate) environment: String,
    pub(crate) service: String,
    pub(crate) running: Running,
}

fn service_state(service: String, mut running: Vec<(bool, Running)>, frozen: bool) -> ServiceState {
    running.sort_by(|(a_canary, a), (b_canary, b)| {
        let place = |run: &Running| (run.cluster.clone(), run.namespace.clone(), run.artifact_ref.clone());
        a_canary.cmp(b_canary).then_with(|| place(a).cmp(&place(b)))
    });
    let running = running.into_iter().map(|(_, running)| running).collect();
    ServiceState { service, running, observed: vec![], drift: "not_observed".to_owned(), frozen, canaries_cut: 0 }
}

/// A service is frozen by itself, or with its environment unless it was let off later.
fn is_frozen(everywhere: Option<&(Stamp, Setting)>, own: Option<&(Stamp, Setting)>) -> bool {
    let with_all = everywhere.filter(|(_, setting)| setting.frozen);
    match (with_all, own) {
        (_, Some((_, own))) if own.frozen => true,
        (Some((all, _)), Some((own, _))) => all > own,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

/// The stamp in the key of a candidate.
pub(super) fn candidate_stamp(key: &[u8]) -> Result<Stamp, Error> {
    let mut reader = table_key(key)?;
    Lane::read(&mut reader).and_then(|_| read_stamp(&mut reader)).ok_or_else(unreadable)
}

/// What runs in a lane, each with whether it is a canary; how many deployments of canaries were left out.
type LaneRuns = (Vec<(bool, Running)>, u64);

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

fn too_many_lanes() -> Error {
    Error::Question(format!("more than {LANES_MAX} services run here: ask for one service"))
}
