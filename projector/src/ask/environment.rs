//! What runs where, now and at any time (SPEC §6).
//!
//! Reading replays the timeline of a lane (environment, cluster, namespace, service) from its head, which is one row
//! ([`Scope::newest_rows`]), or from rows read backwards until they are [`enough`](super::timeline::Enough). A lane's
//! newest state costs a few rows however long its history is, and however often a digest, or a tag that did not move, was
//! deployed again: such rows are passed over ([`Scope::lane_rows`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use pedigraph_proto::Nanos;

use super::answers::{Deletion, EnvironmentSummary, Page, Proof, Running, ServiceState};
use super::scope::{Clocks, FEW_ROWS, Scope};
use super::shown::{Depth, ServiceRuns};
use super::timeline::{self, Artifact, Enough, Row, Run};
use crate::error::Error;
use crate::facts::deployments::head::{Count, Known};
use crate::facts::deployments::newest_change_at;
use crate::facts::deployments::rows::{
    BY_TIME, CANDIDATES, CONFIG_OF, DELETION, KNOWN, Keys, LANE_ROWS, Lane, LaneFact, NEWEST_CHANGE, NEWEST_SETTING,
    REFERENCE, SERVICES_RUNNING, SETTINGS, Setting, Stamp, UNMARKED, VIEW, by_artifact, read_stamp, settings,
    table_key, unreadable,
};
use crate::store::key::Key;

/// Most (cluster, namespace, service) of an environment that one answer reads.
pub const LANES_MAX: usize = 100_000;
/// Bytes of an environment's name that a page's key repeats: a key travels in an address.
const KEY_NAME_BYTES_MAX: usize = 1_024;

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
            page.next = Some(names.passed.page_key());
            page.rows.push(self.environment_summary(name)?);
        }
        Ok(Page { next: None, ..page })
    }

    /// One service of an environment with all that runs of it, also when it was removed; `None` while nothing was
    /// deployed there by this name. Read are its own lanes, and not the environment.
    pub(super) fn service(&self, environment: &str, service: &str) -> Result<Option<ServiceState>, Error> {
        Ok(self.runs_of_service(environment, service, Depth::WHOLE)?.map(ServiceRuns::whole))
    }

    /// The same as a list shows it.
    pub(super) fn listed_service(&self, environment: &str, service: &str) -> Result<Option<ServiceState>, Error> {
        Ok(self.runs_of_service(environment, service, Depth::LISTED)?.map(ServiceRuns::listed))
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

    /// Whether anybody named an environment by the question's moment. One seek.
    pub fn environment_is_named(&self, name: &str) -> Result<bool, Error> {
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
        let (from, passed, alike) = Passed::from(&self.table(BY_TIME), after)?;
        let mut names = Names { from, passed };
        while names.passed.alike < alike && self.next_name(&mut names)?.is_some() {}
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
        names.passed.pass(&name);
        Ok(Some(name))
    }

    /// Whether anything was said of a lane by this moment.
    pub(super) fn is_lane_known(&self, lane: &Lane) -> Result<bool, Error> {
        let rows = self.table(LANE_ROWS).lane(lane);
        Ok(!self.keyed::<()>(&rows, &self.end_of(&rows), false, Clocks::Both, 1)?.is_empty())
    }

    pub(super) fn environment_summary(&self, environment: String) -> Result<EnvironmentSummary, Error> {
        let services = match self.services_running(&environment)? {
            Some(services) => services,
            None => self.count_running(&environment)?,
        };
        let last_change = self.last_change(&environment)?;
        let deletion = self.deletion(&environment)?;
        let deleted_at = deletion.as_ref().map(|deletion| deletion.at);
        Ok(EnvironmentSummary { environment, services, last_change, deleted_at, deletion })
    }

    /// The deletion of an environment; `None` where anything named it later, such as a deployment.
    pub(super) fn deletion(&self, environment: &str) -> Result<Option<Deletion>, Error> {
        let newest = self.newest_setting(DELETION, environment, "", None)?;
        let Some((stamp, _)) = newest.filter(|(_, setting)| setting.frozen) else { return Ok(None) };
        let all = self.table(BY_TIME).text(environment);
        let later = all.clone().moment(&stamp).prefix_end();
        let named = self.keyed::<()>(&later, &self.end_of(&all), false, Clocks::Both, 1)?;
        if !named.is_empty() {
            return Ok(None);
        }
        let entry = self.kept_entry(stamp.index)?;
        let proof = Proof::of(stamp.index, entry.as_ref());
        let source = entry.map(|entry| entry.source).unwrap_or_default();
        Ok(Some(Deletion { at: stamp.time, source, proof }))
    }

    /// Whether about so many services run in all environments at most, from the rows that count them; not where there are
    /// more environments.
    pub(super) fn runs_at_most(&self, services: u64, environments: usize) -> Result<bool, Error> {
        let (mut names, mut running, mut passed) = (self.names_after(None)?, 0, 0);
        while let Some(name) = self.next_name(&mut names)? {
            (running, passed) = (running + self.counted_services(&name)?.run, passed + 1);
            if running > services || passed > environments {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How many services run, from the row that counts them; `None` where that does not tell: it knows no `at` but the
    /// end, nor which of several canaries ended.
    fn services_running(&self, environment: &str) -> Result<Option<u64>, Error> {
        if let Some(at) = self.at {
            let named = self.table(BY_TIME).text(environment);
            let later = named.clone().time(at).prefix_end();
            if !self.shared.store.scan(later.as_bytes(), named.prefix_end().as_bytes(), false, 1)?.is_empty() {
                return Ok(None);
            }
        }
        let count = self.counted_services(environment)?;
        Ok((count.unsure == 0).then_some(count.run))
    }

    /// How many services of an environment run, whatever `at` is.
    fn counted_services(&self, environment: &str) -> Result<Count, Error> {
        Ok(self.newest_summary(&self.table(SERVICES_RUNNING).text(environment))?.unwrap_or_default())
    }

    pub(super) fn lanes_of(&self, prefix: &Key) -> Result<Vec<Lane>, Error> {
        let lanes = self.first_lanes(prefix, LANES_MAX + 1)?;
        if lanes.len() > LANES_MAX { Err(too_many_lanes()) } else { Ok(lanes) }
    }

    /// At most `limit` lanes, in the order of their keys.
    pub(super) fn first_lanes(&self, prefix: &Key, limit: usize) -> Result<Vec<Lane>, Error> {
        let rows = self.keyed::<()>(prefix, &prefix.prefix_end(), false, Clocks::Known, limit)?;
        rows.iter().map(|(key, _)| Lane::read(&mut table_key(key)?).ok_or_else(unreadable)).collect()
    }

    /// When the newest row of a lane happened that is known: what came in since then and happened later is not looked at.
    /// `None` while nothing is known of the lane.
    pub(super) fn known_until(&self, lane: &Lane) -> Result<Option<Nanos>, Error> {
        let newest = self.known_head(lane)?.and_then(|known| known.stamps().next_back());
        Ok(newest.map(|newest| self.at.map_or(newest.time, |at| at.min(newest.time))))
    }

    /// The rows of a lane's head as it was known.
    pub(super) fn known_head(&self, lane: &Lane) -> Result<Option<Known>, Error> {
        self.newest_summary(&self.table(KNOWN).lane(lane))
    }

    /// When the newest row of an environment happened that may be a change, as far as is known and asked.
    pub(super) fn newest_change(&self, environment: &str) -> Result<Option<Nanos>, Error> {
        let prefix = self.table(NEWEST_CHANGE).text(environment);
        let known = prefix.clone().number(self.bound);
        let newest = self.keyed::<()>(&prefix, &known, true, Clocks::Known, 1)?.pop();
        let newest = newest.map(|(key, _)| newest_change_at(&key)).transpose()?;
        Ok(newest.map(|newest| self.at.map_or(newest, |at| at.min(newest))))
    }

    /// Tags by which something was deployed that may be a change, and is no candidate: see [`UNMARKED`].
    pub(super) fn unmarked_tags(&self) -> Result<Arc<BTreeSet<String>>, Error> {
        if let Some(known) = self.unmarked.get() {
            return Ok(known.clone());
        }
        let (prefix, mut tags) = (self.table(UNMARKED), BTreeSet::new());
        self.each::<()>(&prefix, &prefix.prefix_end(), false, Clocks::Known, |key, _| {
            tags.insert(table_key(key)?.text().ok_or_else(unreadable)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(self.unmarked.get_or_init(|| Arc::new(tags)).clone())
    }

    /// Whether something was deployed by one of them, under what a key of a lane begins with.
    pub(super) fn is_unmarked(&self, under: impl Fn(Key) -> Key) -> Result<bool, Error> {
        for tag in self.unmarked_tags()?.iter() {
            let rows = under(by_artifact(&self.tenant, REFERENCE, tag));
            if !self.keyed::<()>(&rows, &rows.prefix_end(), false, Clocks::Known, 1)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The rows of a lane that may be changes.
    pub(super) fn candidates(&self, lane: &Lane) -> Result<Key, Error> {
        let unmarked = self.is_unmarked(|key| key.lane(lane))?;
        Ok(self.table(if unmarked { LANE_ROWS } else { CANDIDATES }).lane(lane))
    }

    /// Rows of a lane that replay to exact states from `first` on (absent: to the exact newest state), ascending, up
    /// to and with `last` (absent: all that are seen). Read are the last row, the candidates for changes, and the row
    /// before each: whatever lies between repeats the row before it. So two rows and a candidate for each change,
    /// however often it was repeated. Where candidates do not tell all, every row is one.
    pub(super) fn lane_rows(
        &self,
        lane: &Lane,
        first: Option<&Stamp>,
        last: Option<&Stamp>,
    ) -> Result<Vec<Row>, Error> {
        let known_until = match last {
            Some(_) => None,
            None => match self.known_until(lane)? {
                None => return Ok(vec![]),
                known => known,
            },
        };
        let up_to = |prefix: &Key| match last {
            Some(last) => prefix.clone().moment(last).prefix_end(),
            None => prefix.clone().until(known_until),
        };
        let (group, candidates) = (self.table(LANE_ROWS).lane(lane), self.candidates(lane)?);
        let (mut rows, mut enough) = (Vec::<Row>::new(), Enough::default());
        let mut take = |rows: &mut Vec<Row>, end: &Key| -> Result<bool, Error> {
            let Some((_, row)) = self.keyed::<LaneFact>(&group, end, true, Clocks::Both, 1)?.pop() else {
                return Ok(false);
            };
            let stamp = Stamp::from(row.stamp);
            let artifact = self.joined(self.artifact_of(&row.value, stamp.time)?, rows)?;
            let row = Row { stamp, fact: Rc::new(row.value), artifact };
            let done = first.is_none_or(|first| stamp < *first) && enough.with(&row);
            rows.push(row);
            Ok(done)
        };
        if take(&mut rows, &up_to(&group))? {
            return Ok(rows);
        }
        self.each_by::<()>(FEW_ROWS, (&candidates, &up_to(&candidates)), true, Clocks::Known, |key, _| {
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
    pub(super) fn artifact_of(&self, fact: &LaneFact, time: Nanos) -> Result<Option<Rc<Artifact>>, Error> {
        let resolved = if fact.digest.is_empty() { self.resolved(&fact.reference, time)? } else { None };
        Ok(fact.artifact(resolved).map(Rc::new))
    }

    pub(super) fn resolved(&self, reference: &str, time: Nanos) -> Result<Option<String>, Error> {
        if reference.is_empty() { Ok(None) } else { self.tagged_digest(reference, time) }
    }

    pub(super) fn lane_running(
        &self,
        lane: &Lane,
        newest: &Newest,
        config: Option<&(Stamp, Setting)>,
    ) -> Result<LaneRuns, Error> {
        let (state, _) = timeline::replay(&newest.rows);
        let stable = state.stable.clone();
        let running = state.running().into_iter().map(|run| {
            let canary = stable.as_ref().is_none_or(|stable| !stable.artifact.same(&run.artifact));
            let run = if newest.all_read { run } else { self.newest_config(lane, run)? };
            let proof = match newest.proof(run.row.stamp.index) {
                Some(proof) => proof,
                None => self.proof(run.row.stamp.index)?,
            };
            Ok((canary, running(lane, run, config, proof)))
        });
        Ok((running.collect::<Result<_, Error>>()?, state.cut))
    }

    /// The newest setting of a topic by service, of services up to and with another; jumps from one service's rows to
    /// the next one's.
    pub(super) fn newest_settings(
        &self,
        topic: u8,
        environment: &str,
        (first, last): (&str, &str),
    ) -> Result<BTreeMap<String, (Stamp, Setting)>, Error> {
        let prefix = self.table(SETTINGS).byte(topic).text(environment);
        let (mut from, end) = (prefix.clone().text(first), prefix.clone().text(last).prefix_end());
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
        let end = match before {
            Some(before) => prefix.clone().moment(before),
            None => {
                let newest = self.table(NEWEST_SETTING).byte(topic).text(environment).text(service);
                let Some(newest) = self.newest_summary::<i64>(&newest)?.map(Nanos) else { return Ok(None) };
                prefix.clone().until(Some(self.at.map_or(newest, |at| at.min(newest))))
            }
        };
        let newest = self.keyed::<Setting>(&prefix, &end, true, Clocks::Both, 1)?.pop();
        newest.map(|(_, row)| Ok((Stamp::from(row.stamp), row.value))).transpose()
    }
}

/// A walk over the names of environments.
struct Names {
    /// Where it goes on.
    from: Key,
    passed: Passed,
}

/// How far a list of names is told.
#[derive(Default)]
pub(super) struct Passed {
    /// The name that was passed last, as far as its beginning goes when it is long.
    last: String,
    /// Its beginning.
    beginning: String,
    /// How many names with this beginning were passed.
    alike: u64,
}

impl Passed {
    /// Where a list of names under a prefix goes on after a page's key, and how many names are to be passed there.
    pub(super) fn from(prefix: &Key, after: Option<&[u8]>) -> Result<(Key, Passed, u64), Error> {
        let Some(after) = after else { return Ok((prefix.clone(), Passed::default(), 0)) };
        let (beginning, alike) = read_page_key(after).ok_or_else(Error::foreign_page)?;
        let (from, passed) = match alike {
            None => (prefix.clone().text(&beginning).prefix_end(), 1),
            Some(_) => (prefix.clone().text_prefix(&beginning), 0),
        };
        let passed = Passed { last: beginning.clone(), beginning, alike: passed };
        Ok((from, passed, alike.unwrap_or(0)))
    }

    pub(super) fn pass(&mut self, name: &str) {
        let beginning = &name[..name.floor_char_boundary(KEY_NAME_BYTES_MAX)];
        self.alike = if self.alike > 0 && self.beginning == beginning { self.alike + 1 } else { 1 };
        beginning.clone_into(&mut self.beginning);
        name.clone_into(&mut self.last);
    }

    /// The last name; of a long one its beginning, then FF, which no text has, and the count of names alike.
    pub(super) fn page_key(&self) -> Vec<u8> {
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

fn running(lane: &Lane, run: Run, config: Option<&(Stamp, Setting)>, proof: Proof) -> Running {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let set = config.filter(|(set, _)| run.config.as_ref().is_none_or(|(said, _)| said < set));
    let config_digest = match set {
        Some((_, setting)) => text(&setting.name),
        None => run.config.and_then(|(_, digest)| text(&digest)),
    };
    Running {
        artifact_ref: run.artifact.reference.clone(),
        digest: run.artifact.digest.clone(),
        weight: run.weight,
        since: run.since.time,
        strategy: text(&run.row.fact.strategy),
        config_digest,
        actor: text(&run.row.fact.actor),
        run: text(&run.row.fact.run),
        cluster: text(&lane.cluster),
        namespace: text(&lane.namespace),
        proof,
    }
}

/// A service is frozen by itself, or with its environment unless it was let off later.
pub(super) fn is_frozen(everywhere: Option<&(Stamp, Setting)>, own: Option<&(Stamp, Setting)>) -> bool {
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

/// Rows from which follows what runs in a lane, ascending.
pub(super) struct Newest {
    pub(super) rows: Vec<Row>,
    /// None was passed over that names a configuration of its own.
    pub(super) all_read: bool,
    /// Indexes of entries with their leaf hashes, as far as they are known.
    pub(super) leaves: Vec<(u64, [u8; 32])>,
}

impl Newest {
    /// The proof of an entry of the rows, where it is at hand.
    pub(super) fn proof(&self, index: u64) -> Option<Proof> {
        let (_, leaf_hash) = self.leaves.iter().find(|(of, _)| *of == index)?;
        Some(Proof::by_leaf(index, leaf_hash))
    }
}

/// What runs in a lane, each with whether it is a canary; how many deployments of canaries were left out.
pub(super) type LaneRuns = (Vec<(bool, Running)>, u64);

pub(super) fn too_many_lanes() -> Error {
    Error::Question(format!("more than {LANES_MAX} services run here: ask for one service"))
}
