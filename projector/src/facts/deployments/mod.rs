//! What is told to run where: the fold of the deploy family.

use std::collections::{BTreeMap, BTreeSet};

use pedigraph_proto::event::{
    CanaryChanged, ConfigChanged, FlagChanged, FreezeChanged, ServiceDeployed, ServiceRemoved, Strategy,
};
use pedigraph_proto::fact::{Deploy, Family};
use pedigraph_proto::{ArtifactRef, Digest, Nanos, TenantId};
use serde::de::DeserializeOwned;

use self::head::{Count, Head, HeadRow, Known, Runs, SOUGHT_ROWS_MAX, enough};
use self::rows::{
    ABOUT_ELSE, ABOUT_FREEZE, ABOUT_LANE, BESIDE, BY_REFERENCE, BY_TIME, CANDIDATES, CHANGES, CHANGES_OF_ENTRY, CONFIG,
    CONFIG_OF, DELETION, DIGEST, Effect, FIRST_IN, FLAG, FREEZE, HEADS, KNOWN, Keys, LANE_ROWS, LANES, LANES_RUNNING,
    Lane, LaneFact, NEWEST_CHANGE, NEWEST_SETTING, REFERENCE, REFERENCE_OF_DIGEST, SERVICES, SERVICES_RUNNING, SHARED,
    SHARED_BY, Setting, Stamp, TAGGED, TURNS, UNMARKED, What, by_artifact, lane_rest, read_stamp, reference_key,
    settings, table, unreadable,
};
use crate::error::Error;
use crate::facts::lineage;
use crate::facts::view::{FactAt, View};
use crate::rows::text::Text;
use crate::rows::{Found, Rows};
use crate::store::key::{Key, KeyReader};

mod beside;
pub(crate) mod head;
pub(crate) mod rows;

/// Deployments by one tag after a moment that are looked at one by one when it is told late where the tag pointed then;
/// where there are more, each lane's first is sought.
const DEPLOYED_AFTER_MAX: usize = 1_024;
/// Lanes in which it is sought, and those that have one. When there are more they are not marked as changes, and who
/// asks for changes in a lane that was deployed to by the tag looks at all of its rows.
const LANES_SOUGHT_MAX: usize = 8_192;
const LANES_AFTER_MAX: usize = 1_024;
/// Rows of a lane that say only a reference which are looked at one by one where one was taken for a repetition of
/// one with a digest, and it is told late where the tag pointed then.
const BESIDE_MAX: usize = 256;
/// Rows of an artifact that are read to see whether it is new in an environment.
const FIRST_IN_MAX: usize = 8;

/// The fold of the deploy family.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deployments;

impl View for Deployments {
    fn name(&self) -> &'static str {
        "deployments"
    }

    fn fold(&self, at: &FactAt<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
        match at.event.family() {
            Family::Deploy(event) => Fold { at, stamp: stamp_of(at) }.of(event, rows),
            Family::Source(_) | Family::Work(_) | Family::Artifact(_) | Family::Evidence(_) | Family::Control(_) => {
                Ok(())
            }
        }
    }
}

fn stamp_of(at: &FactAt<'_>) -> Stamp {
    Stamp { time: at.occurred_at, index: at.index, ordinal: at.ordinal }
}

/// The rows next to a fact's place.
struct Around<T> {
    before: Option<(Stamp, T)>,
    after: Option<(Stamp, T)>,
}

/// One fact being folded.
struct Fold<'a> {
    at: &'a FactAt<'a>,
    stamp: Stamp,
}

impl Fold<'_> {
    fn of(&self, event: Deploy<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
        match event {
            Deploy::ServiceDeployed(event) => self.deployed(event, rows),
            Deploy::ServiceRemoved(event) => self.removed(event, rows),
            Deploy::CanaryChanged(event) => self.canary(event, rows),
            Deploy::FlagChanged(event) => self.flag(event, rows),
            Deploy::ConfigChanged(event) => self.config(event, rows),
            Deploy::FreezeChanged(event) => self.freeze(event, rows),
            Deploy::EnvironmentChanged(event) => {
                let name = if event.environment.is_empty() { &event.name } else { &event.environment };
                let setting = Setting { frozen: event.deleted, ..Setting::default() };
                self.setting_row(DELETION, name, "", &setting, rows)
            }
        }
    }

    fn deployed(&self, event: &ServiceDeployed, rows: &mut Rows<'_>) -> Result<(), Error> {
        let lane = Lane::of(&event.environment, &event.service, &event.cluster, &event.namespace);
        let (reference, digest) = normalize(&event.artifact_ref, &event.artifact_digest);
        let fact = LaneFact {
            what: What::Deployed,
            reference,
            digest,
            config_digest: event.config_digest.clone(),
            strategy: strategy_name(event.strategy()).to_owned(),
            weight: event.weight,
            group: event.canary_group.clone(),
            actor: event.actor.clone(),
            run: event.run.clone(),
            reason: event.reason.clone(),
            rollback: event.rollback,
        };
        self.lane_row(&lane, &fact, rows)
    }

    fn removed(&self, event: &ServiceRemoved, rows: &mut Rows<'_>) -> Result<(), Error> {
        let lane = Lane::of(&event.environment, &event.service, &event.cluster, &event.namespace);
        let (actor, reason) = (event.actor.clone(), event.reason.clone());
        let fact = LaneFact { what: What::Removed, actor, reason, ..LaneFact::default() };
        self.lane_row(&lane, &fact, rows)
    }

    fn canary(&self, event: &CanaryChanged, rows: &mut Rows<'_>) -> Result<(), Error> {
        let lane = Lane::of(&event.environment, &event.service, &event.cluster, &event.namespace);
        let (reference, digest) = normalize(&event.artifact_ref, &event.artifact_digest);
        let fact = LaneFact {
            what: What::Canary,
            reference,
            digest,
            weight: event.weight,
            group: event.canary_group.clone(),
            actor: event.actor.clone(),
            reason: event.reason.clone(),
            ..LaneFact::default()
        };
        self.lane_row(&lane, &fact, rows)
    }

    fn flag(&self, event: &FlagChanged, rows: &mut Rows<'_>) -> Result<(), Error> {
        let (name, value, actor) = (event.flag.clone(), event.value.clone(), event.actor.clone());
        let setting = Setting { name, value, actor, ..Setting::default() };
        self.setting_row(FLAG, &event.environment, &event.service, &setting, rows)
    }

    fn config(&self, event: &ConfigChanged, rows: &mut Rows<'_>) -> Result<(), Error> {
        let (name, actor) = (event.config_digest.clone(), event.actor.clone());
        let setting = Setting { name, actor, ..Setting::default() };
        self.setting_row(CONFIG, &event.environment, &event.service, &setting, rows)
    }

    fn freeze(&self, event: &FreezeChanged, rows: &mut Rows<'_>) -> Result<(), Error> {
        let (reason, actor) = (event.reason.clone(), event.actor.clone());
        let setting = Setting { frozen: event.frozen, reason, actor, ..Setting::default() };
        self.setting_row(FREEZE, &event.environment, &event.service, &setting, rows)
    }

    fn setting_row(
        &self,
        topic: u8,
        environment: &str,
        service: &str,
        setting: &Setting,
        rows: &mut Rows<'_>,
    ) -> Result<(), Error> {
        let about = if topic == FREEZE { ABOUT_FREEZE } else { ABOUT_ELSE };
        let lane = Lane::of(environment, service, "", "");
        self.named(environment, about, &lane, rows)?;
        let group = settings(self.at.tenant, topic, environment, service);
        if topic == FREEZE {
            let thawed = Setting::default();
            let around = self.around::<Setting>(&group, rows)?;
            // A service that is let off may have been frozen with its environment, whatever was said of itself.
            let may_be_let_off = !service.is_empty() && !setting.frozen;
            if may_be_let_off || around.before.map_or(thawed, |(_, before)| before).frozen != setting.frozen {
                self.candidate(&self.stamp, about, &lane, rows)?;
            }
            if let Some((stamp, _)) = around.after.filter(|(_, after)| after.frozen != setting.frozen) {
                self.candidate(&stamp, about, &lane, rows)?;
            }
        }
        let newest = table(self.at.tenant, NEWEST_SETTING).byte(topic).text(environment).text(service);
        let known = rows.nearest::<i64>(&newest, &newest, &newest.prefix_end(), true)?;
        if known.is_none_or(|(_, known)| known < self.stamp.time.0) {
            let key = newest.clone().number(self.stamp.index).ordinal(self.stamp.ordinal);
            rows.put_first(key, &self.stamp.time.0)?;
        }
        rows.put_in(&group, group.clone().moment(&self.stamp), setting)
    }

    /// The rows before and after this fact's place in a group, among those of earlier facts.
    fn around<T: DeserializeOwned>(&self, group: &Key, rows: &mut Rows<'_>) -> Result<Around<T>, Error> {
        let here = group.clone().moment(&self.stamp);
        let before = rows.nearest::<T>(group, group, &here, true)?;
        let after = rows.nearest::<T>(group, &here, &group.prefix_end(), false)?;
        let placed = |found: Option<(Vec<u8>, T)>| {
            found.map(|(key, row)| Ok::<_, Error>((stamp_after(&key, group)?, row))).transpose()
        };
        Ok(Around { before: placed(before)?, after: placed(after)? })
    }

    /// A row that may be a change, this fact's or a later one; the first fact that finds so tells since when it is
    /// known.
    fn candidate(&self, stamp: &Stamp, about: u8, lane: &Lane, rows: &mut Rows<'_>) -> Result<(), Error> {
        let key = |of: u8| table(self.at.tenant, of).text(&lane.environment);
        if about == ABOUT_LANE {
            rows.put_first(table(self.at.tenant, CANDIDATES).lane(lane).moment(stamp), &())?;
            rows.sink.told.lanes.insert(lane_rest(lane));
        }
        rows.put_first(key(CHANGES).moment(stamp).byte(about).lane(lane), &())?;
        let of_entry = key(CHANGES_OF_ENTRY).number(stamp.index).moment(stamp).byte(about).lane(lane);
        rows.put_first(of_entry, &())?;
        let newest = key(NEWEST_CHANGE);
        let known = rows.nearest::<()>(&newest, &newest, &newest.prefix_end(), true)?;
        let known = known.map(|(key, ())| newest_change_at(&key)).transpose()?;
        if known.is_none_or(|known| known < stamp.time) {
            let key = newest.clone().number(self.stamp.index).ordinal(self.stamp.ordinal).time(stamp.time);
            rows.put_first(key, &())?;
        }
        Ok(())
    }

    fn lane_row(&self, lane: &Lane, fact: &LaneFact, rows: &mut Rows<'_>) -> Result<(), Error> {
        let tenant = self.at.tenant;
        let head = self.head(lane, rows)?;
        let group = table(tenant, LANE_ROWS).lane(lane);
        let in_order = head.newest().is_none_or(|newest| newest < self.stamp);
        let candidate = match (in_order, head.rows.last()) {
            (true, None) => true,
            (true, Some(last)) => !self.repeats(lane, (self.stamp, fact), (last.stamp(), &last.fact), rows)?,
            (false, _) => self.is_late_candidate(&group, lane, fact, rows)?,
        };
        if candidate {
            self.candidate(&self.stamp, ABOUT_LANE, lane, rows)?;
        }
        let last = head.rows.last().filter(|_| in_order && !candidate).map(|last| &last.fact);
        let again = last.is_some_and(|last| (&last.reference, &last.digest) == (&fact.reference, &fact.digest));
        rows.put_in(&group, group.clone().moment(&self.stamp), fact)?;
        self.renew_head(lane, head, in_order.then_some((fact, candidate)), rows)?;
        if fact.effect() == Effect::Full && !fact.digest.is_empty() && !fact.config_digest.is_empty() {
            let key = table(tenant, CONFIG_OF).lane(lane).text(&fact.digest).moment(&self.stamp);
            rows.put(key, &fact.config_digest)?;
        }
        self.named(&lane.environment, ABOUT_LANE, lane, rows)?;
        self.note_shares(lane, fact, rows)?;
        let ends = fact.what == What::Removed || (fact.what == What::Canary && fact.weight == 0);
        if ends { Ok(()) } else { self.artifact_rows(lane, fact, again, rows) }
    }

    /// Where more than one thing may run, what does hangs on more of the tags by which it was deployed than what each of
    /// these is: such lanes are found by their tags. Of a lane that gets its first share all rows are read once.
    fn note_shares(&self, lane: &Lane, fact: &LaneFact, rows: &mut Rows<'_>) -> Result<(), Error> {
        let tenant = self.at.tenant;
        let shares = |fact: &LaneFact| matches!(fact.effect(), Effect::Share | Effect::End);
        let by_tag = |reference: &str| table(tenant, SHARED_BY).text(&reference_key(reference)).lane(lane);
        let shared = table(tenant, SHARED).lane(lane);
        if shares(fact) && rows.put_first(shared.clone(), &())? {
            rows.each_in(&table(tenant, LANE_ROWS).lane(lane), |rows, before: LaneFact| {
                if before.is_by_tag() {
                    rows.put_first(by_tag(&before.reference), &())?;
                }
                Ok(())
            })?;
        }
        if fact.is_by_tag() && (shares(fact) || rows.get::<()>(&shared)?.is_some()) {
            rows.put_first(by_tag(&fact.reference), &())?;
        }
        Ok(())
    }

    /// Whether a row that is not the newest of its lane may be a change; so may be the row after it.
    fn is_late_candidate(&self, group: &Key, lane: &Lane, fact: &LaneFact, rows: &mut Rows<'_>) -> Result<bool, Error> {
        let around = self.around::<LaneFact>(group, rows)?;
        if let Some((stamp, after)) = &around.after
            && !self.repeats(lane, (*stamp, after), (self.stamp, fact), rows)?
        {
            self.candidate(stamp, ABOUT_LANE, lane, rows)?;
        }
        match &around.before {
            Some((stamp, before)) => Ok(!self.repeats(lane, (self.stamp, fact), (*stamp, before), rows)?),
            None => Ok(true),
        }
    }

    /// Whether a row is no change right after another, as far as is known where tags pointed.
    fn repeats(
        &self,
        lane: &Lane,
        (stamp, fact): (Stamp, &LaneFact),
        (before_stamp, before): (Stamp, &LaneFact),
        rows: &mut Rows<'_>,
    ) -> Result<bool, Error> {
        if fact.repeats_beside(before) {
            let (alone, digest) = match fact.digest.as_str() {
                "" => (stamp.time, &before.digest),
                _ => (before_stamp.time, &fact.digest),
            };
            return self.is_said_beside(lane, (&fact.reference, alone), digest, rows);
        }
        if !fact.repeats_tag(before) {
            return Ok(fact.repeats(before));
        }
        match tag_at(self.at.tenant, &fact.reference, stamp.time, rows)? {
            None => Ok(true),
            Some((since, _)) if since <= before_stamp.time => Ok(true),
            Some((_, digest)) => {
                let then = tag_at(self.at.tenant, &fact.reference, before_stamp.time, rows)?;
                Ok(then.map(|(_, digest)| digest).unwrap_or_default() == digest)
            }
        }
    }

    /// Whether a reference alone meant a digest at a time; that this counted is kept.
    fn is_said_beside(
        &self,
        lane: &Lane,
        (reference, time): (&str, Nanos),
        digest: &str,
        rows: &mut Rows<'_>,
    ) -> Result<bool, Error> {
        let meant = tag_at(self.at.tenant, reference, time, rows)?.map(|(_, digest)| digest);
        let is_same = meant.as_deref() == Some(digest);
        if is_same {
            rows.put_first(table(self.at.tenant, BESIDE).text(&reference_key(reference)).lane(lane), &())?;
        }
        Ok(is_same)
    }

    /// The lane's head as earlier facts made it. Of a new lane it is empty, and the lane is told.
    fn head(&self, lane: &Lane, rows: &mut Rows<'_>) -> Result<Head, Error> {
        let tenant = self.at.tenant;
        let head = match rows.head::<Head>(&table(tenant, HEADS).lane(lane))? {
            Found::Known(head) => return Ok(head),
            Found::Nothing => Head::default(),
            Found::Later => self.sought_head(lane, rows)?,
        };
        if rows.put_first(table(tenant, LANES).lane(lane), &())? {
            rows.put_first(table(tenant, SERVICES).text(&lane.service).text(&lane.environment), &())?;
        }
        Ok(head)
    }

    /// Writes the head with this fact, which is the newest of its lane where `newest` has it.
    fn renew_head(
        &self,
        lane: &Lane,
        mut head: Head,
        newest: Option<(&LaneFact, bool)>,
        rows: &mut Rows<'_>,
    ) -> Result<(), Error> {
        let before = head.runs;
        if let Some((fact, candidate)) = newest {
            let row = HeadRow::of(&self.stamp, fact.clone(), candidate, self.at.leaf_hash.copied());
            head.push(row, beside::drop_told);
        } else if head.begins_after(&self.stamp) {
            return Ok(());
        } else {
            head = self.head_with_this(lane, rows)?;
        }
        rows.put_head(&table(self.at.tenant, HEADS).lane(lane), &head)?;
        let known = table(self.at.tenant, KNOWN).lane(lane).number(self.stamp.index).ordinal(self.stamp.ordinal);
        rows.put_head(&known, &Known::of(&head))?;
        self.count_running(lane, before, head.runs, rows)
    }

    /// The head of a lane from its rows: as [`Scope::lane_rows`](crate::Scope) reads them.
    fn sought_head(&self, lane: &Lane, rows: &mut Rows<'_>) -> Result<Head, Error> {
        let group = table(self.at.tenant, LANE_ROWS).lane(lane);
        let candidates = table(self.at.tenant, CANDIDATES).lane(lane);
        let mut newest_first = Vec::<HeadRow>::new();
        let take = |found: &mut Vec<HeadRow>, end: &Key, rows: &mut Rows<'_>| -> Result<(), Error> {
            if let Some((key, fact)) = rows.nearest::<LaneFact>(&group, &group, end, true)? {
                found.push(HeadRow::of(&stamp_after(&key, &group)?, fact, false, None));
            }
            Ok(())
        };
        take(&mut newest_first, &group.prefix_end(), rows)?;
        let mut end = candidates.prefix_end();
        let whole = loop {
            if enough(newest_first.iter()).is_some() || newest_first.len() >= SOUGHT_ROWS_MAX {
                break false;
            }
            let Some((key, ())) = rows.nearest(&candidates, &candidates, &end, true)? else { break true };
            let stamp = stamp_after(&key, &candidates)?;
            let here = group.clone().moment(&stamp);
            end = candidates.clone().moment(&stamp);
            if newest_first.last().is_none_or(|row| row.stamp() > stamp) {
                take(&mut newest_first, &here.prefix_end(), rows)?;
            }
            if let Some(row) = newest_first.last_mut() {
                row.candidate = true;
            }
            take(&mut newest_first, &here, rows)?;
        };
        newest_first.reverse();
        Ok(Head::of(newest_first, whole))
    }

    /// Of a lane a row was deployed by a tag that points elsewhere at its time than was known, up to another time.
    fn resolves_anew(
        &self,
        lane: &Lane,
        first: &Stamp,
        until: Option<Nanos>,
        rows: &mut Rows<'_>,
    ) -> Result<(), Error> {
        self.candidate(first, ABOUT_LANE, lane, rows)?;
        if let Some(until) = until {
            self.next_is_candidate(lane, |group| group.time(until), rows)?;
        }
        // Whether something runs does not hang on tags.
        let runs = self.head(lane, rows)?.runs;
        let head = Head { runs, ..self.head_with_this(lane, rows)? };
        rows.put_head(&table(self.at.tenant, HEADS).lane(lane), &head)
    }

    /// In a lane each row that says only a reference, up to a time, may be a change, and so may the one after it, where
    /// it was taken for a repetition of one that says a digest beside it. `false` where there are too many of them.
    fn each_is_candidate(
        &self,
        reference: &str,
        lane: &Lane,
        until: Option<Nanos>,
        rows: &mut Rows<'_>,
    ) -> Result<bool, Error> {
        let tenant = self.at.tenant;
        let beside = table(tenant, BESIDE).text(reference).lane(lane);
        if rows.nearest::<()>(&beside, &beside, &beside.prefix_end(), true)?.is_none() {
            return Ok(true);
        }
        let all = by_artifact(tenant, REFERENCE, reference);
        let alone = all.clone().lane(lane);
        let (from, end) = (alone.clone().time(self.stamp.time), alone.clone().before(until));
        let found = rows.earlier(&all, &from, &end, BESIDE_MAX)?;
        for key in &found {
            let stamp = stamp_after(key, &alone)?;
            self.candidate(&stamp, ABOUT_LANE, lane, rows)?;
            self.next_is_candidate(lane, |group| group.moment(&stamp).prefix_end(), rows)?;
        }
        Ok(found.len() < BESIDE_MAX)
    }

    /// The first row of a lane from a key on may be a change.
    fn next_is_candidate(&self, lane: &Lane, from: impl Fn(Key) -> Key, rows: &mut Rows<'_>) -> Result<(), Error> {
        let group = table(self.at.tenant, LANE_ROWS).lane(lane);
        let next = rows.nearest::<LaneFact>(&group, &from(group.clone()), &group.prefix_end(), false)?;
        next.map_or(Ok(()), |(key, _)| self.candidate(&stamp_after(&key, &group)?, ABOUT_LANE, lane, rows))
    }

    /// The head of a lane from its rows, those of this fact too.
    fn head_with_this(&self, lane: &Lane, rows: &mut Rows<'_>) -> Result<Head, Error> {
        let stamp = rows.stamp;
        rows.stamp.ordinal = stamp.ordinal.saturating_add(1);
        let head = self.sought_head(lane, rows);
        rows.stamp = stamp;
        head
    }

    /// Counts services that run, where one begins or ends to.
    fn count_running(&self, lane: &Lane, before: Runs, after: Runs, rows: &mut Rows<'_>) -> Result<(), Error> {
        let of_environment = table(self.at.tenant, SERVICES_RUNNING).text(&lane.environment);
        let of_service = table(self.at.tenant, LANES_RUNNING).text(&lane.environment).text(&lane.service);
        let (mut before, mut after) = (Count::of(before), Count::of(after));
        for group in [of_service, of_environment] {
            if before == after {
                break;
            }
            let known = rows.nearest::<Count>(&group, &group, &group.prefix_end(), true)?;
            let known = known.map(|(_, count)| count).unwrap_or_default();
            let now = known.with(before, after);
            let key = group.clone().number(self.stamp.index).ordinal(self.stamp.ordinal);
            rows.put_in(&group, key, &now)?;
            (before, after) = (known.as_one(), now.as_one());
        }
        Ok(())
    }

    /// Under what it names; `again` where the row before named the same, which is not new in the environment then.
    fn artifact_rows(&self, lane: &Lane, fact: &LaneFact, again: bool, rows: &mut Rows<'_>) -> Result<(), Error> {
        let class = if fact.digest.is_empty() { REFERENCE } else { REFERENCE_OF_DIGEST };
        if !fact.reference.is_empty() {
            let reference = reference_key(&fact.reference);
            self.artifact_row(class, &reference, lane, rows)?;
            match class {
                REFERENCE => self.by_reference(&reference, lane, rows)?,
                _ if again => {}
                _ => self.first_in(class, &reference, lane, rows)?,
            }
        }
        if !fact.digest.is_empty() {
            self.artifact_row(DIGEST, &fact.digest, lane, rows)?;
            if !again {
                self.first_in(DIGEST, &fact.digest, lane, rows)?;
            }
        }
        Ok(())
    }

    fn artifact_row(&self, class: u8, artifact: &str, lane: &Lane, rows: &mut Rows<'_>) -> Result<(), Error> {
        let group = by_artifact(self.at.tenant, class, artifact);
        let key = group.clone().lane(lane).moment(&self.stamp);
        if class != REFERENCE {
            return rows.put(key, &());
        }
        if rows.nearest::<()>(&group, &group, &group.prefix_end(), false)?.is_none() {
            self.first_by_tag(artifact, rows)?;
        }
        rows.put_in(&group, key, &())
    }

    /// It is the first deployment by a tag alone: whatever the tag pointed at so far may be deployed by it.
    fn first_by_tag(&self, reference: &str, rows: &mut Rows<'_>) -> Result<(), Error> {
        let Some(tag) = ArtifactRef::parse(reference).filter(|reference| !reference.tag.is_empty()) else {
            return Ok(());
        };
        let group = lineage::rows::key(self.at.tenant, lineage::rows::table::TAGS);
        rows.each_in(&group.text(&tag.repository_key()).text(&tag.tag), |rows, Text(digest)| {
            if !digest.is_empty() {
                rows.put_first(table(self.at.tenant, TAGGED).text(&digest).text(reference), &())?;
            }
            Ok(())
        })
    }

    /// Among an artifact's rows only two are needed to tell where it ran before: the first, and the first in another
    /// environment. Both of earlier facts, they come before this one whatever a question may see of it.
    fn first_in(&self, class: u8, artifact: &str, lane: &Lane, rows: &mut Rows<'_>) -> Result<(), Error> {
        let group = table(self.at.tenant, FIRST_IN).byte(class).text(artifact);
        let here = group.clone().moment(&self.stamp);
        let mut others = BTreeSet::new();
        for key in rows.earlier(&group, &group, &here, FIRST_IN_MAX)? {
            let environment = environment_after(&key, &group)?;
            if environment == lane.environment {
                return Ok(());
            }
            others.insert(environment);
        }
        if others.len() > 1 {
            return Ok(());
        }
        rows.put_in(&group, here.text(&lane.environment), &())
    }

    /// A row that says only a reference, and where another environment has its turn: before it, or after it.
    fn by_reference(&self, reference: &str, lane: &Lane, rows: &mut Rows<'_>) -> Result<(), Error> {
        let group = table(self.at.tenant, BY_REFERENCE).text(reference);
        let turn = |stamp: &Stamp, environment: &str| {
            table(self.at.tenant, TURNS).text(reference).moment(stamp).text(environment)
        };
        let here = group.clone().moment(&self.stamp);
        let before = rows.nearest::<()>(&group, &group, &here, true)?;
        let after = rows.nearest::<()>(&group, &here, &group.prefix_end(), false)?;
        // At once, since the next one by the same reference looks for it.
        rows.put_first(here.lane(lane), &())?;
        if let Some((key, ())) = before
            && environment_after(&key, &group)? != lane.environment
        {
            rows.put_first(turn(&self.stamp, &lane.environment), &())?;
        }
        if let Some((key, ())) = after {
            let (stamp, environment) = (stamp_after(&key, &group)?, environment_after(&key, &group)?);
            if environment != lane.environment {
                rows.put_first(turn(&stamp, &environment), &())?;
            }
        }
        Ok(())
    }

    /// The environment was named, by this.
    fn named(&self, environment: &str, about: u8, lane: &Lane, rows: &mut Rows<'_>) -> Result<(), Error> {
        let key = table(self.at.tenant, BY_TIME).text(environment).moment(&self.stamp);
        rows.put(key.byte(about).lane(lane), &())
    }
}

/// A tag points at a digest: what was deployed by the tag alone may be this. Most tags are deployed by nobody: of those
/// there is nothing to look at for who asks where a digest runs that has very many.
pub(crate) fn tagged(at: &FactAt<'_>, reference: &ArtifactRef, digest: &str, rows: &mut Rows<'_>) -> Result<(), Error> {
    if digest.is_empty() {
        return Ok(());
    }
    let name = reference.keyed().to_string();
    let deployed = by_artifact(at.tenant, REFERENCE, &name);
    if rows.nearest::<()>(&deployed, &deployed, &deployed.prefix_end(), false)?.is_none() {
        return Ok(());
    }
    rows.put_first(table(at.tenant, TAGGED).text(digest).text(&name), &()).map(drop)
}

/// From the fact's time up to another a tag points elsewhere than was known: of what was deployed by it alone then, and
/// right after, each may be a change.
pub(crate) fn tag_moved(
    at: &FactAt<'_>,
    reference: &ArtifactRef,
    until: Option<Nanos>,
    rows: &mut Rows<'_>,
) -> Result<(), Error> {
    let name = reference.keyed().to_string();
    if rows.get::<()>(&table(at.tenant, UNMARKED).text(&name))?.is_some() {
        return Ok(());
    }
    // Which lanes that concerns, who derives from them finds by the tag.
    let lanes = std::mem::take(&mut rows.sink.told.lanes);
    let marked = mark_moved(at, &name, until, rows);
    rows.sink.told.lanes = lanes;
    marked
}

/// Marks what may be a change since a tag moved.
fn mark_moved(at: &FactAt<'_>, name: &str, until: Option<Nanos>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let Some(first) = deployed_after((at.tenant, name), at.occurred_at, until, rows)? else {
        return rows.put_first(table(at.tenant, UNMARKED).text(name), &()).map(drop);
    };
    let fold = Fold { at, stamp: stamp_of(at) };
    for (lane, stamp) in &first {
        if !fold.each_is_candidate(name, lane, until, rows)? {
            return rows.put_first(table(at.tenant, UNMARKED).text(name), &()).map(drop);
        }
        fold.resolves_anew(lane, stamp, until, rows)?;
    }
    Ok(())
}

/// The first row of each lane that says only a reference, from a time on up to another; `None` when there are too many.
fn deployed_after(
    (tenant, reference): (&TenantId, &str),
    from: Nanos,
    until: Option<Nanos>,
    rows: &mut Rows<'_>,
) -> Result<Option<BTreeMap<Lane, Stamp>>, Error> {
    let group = table(tenant, BY_REFERENCE).text(reference);
    let found = rows.earlier(&group, &group.clone().time(from), &group.clone().before(until), DEPLOYED_AFTER_MAX)?;
    let mut first = BTreeMap::new();
    if found.len() < DEPLOYED_AFTER_MAX {
        for key in &found {
            let mut reader = KeyReader::after(key, &group);
            let place = read_stamp(&mut reader).and_then(|stamp| Some((Lane::read(&mut reader)?, stamp)));
            let (lane, stamp) = place.ok_or_else(unreadable)?;
            first.entry(lane).or_insert(stamp);
        }
        return Ok(Some(first));
    }
    let group = by_artifact(tenant, REFERENCE, reference);
    let mut next = group.clone();
    for _ in 0..LANES_SOUGHT_MAX {
        let Some((key, ())) = rows.nearest(&group, &next, &group.prefix_end(), false)? else { return Ok(Some(first)) };
        let lane = Lane::read(&mut KeyReader::after(&key, &group));
        let lane = lane.ok_or_else(unreadable)?;
        let of_lane = group.clone().lane(&lane);
        next = of_lane.prefix_end();
        if let Some((key, ())) =
            rows.nearest(&group, &of_lane.clone().time(from), &of_lane.clone().before(until), false)?
        {
            first.insert(lane, stamp_after(&key, &of_lane)?);
        }
        if first.len() > LANES_AFTER_MAX {
            break;
        }
    }
    Ok(None)
}

/// When a tag began to point where it did at a time, and where, as far as is known; empty where it was gone.
fn tag_at(
    tenant: &TenantId,
    reference: &str,
    time: Nanos,
    rows: &mut Rows<'_>,
) -> Result<Option<(Nanos, String)>, Error> {
    let Some(reference) = ArtifactRef::parse(reference).filter(|reference| !reference.tag.is_empty()) else {
        return Ok(None);
    };
    let group = lineage::rows::key(tenant, lineage::rows::table::TAGS);
    let group = group.text(&reference.repository_key()).text(&reference.tag);
    let Some((key, Text(digest))) = rows.nearest(&group, &group, &group.clone().until(Some(time)), true)? else {
        return Ok(None);
    };
    Ok(Some((stamp_after(&key, &group)?.time, digest)))
}

/// The stamp with which a key goes on after its group's.
fn stamp_after(key: &[u8], group: &Key) -> Result<Stamp, Error> {
    let place = key.get(group.as_bytes().len()..).unwrap_or_default();
    read_stamp(&mut KeyReader::new(place)).ok_or_else(unreadable)
}

/// The time with which a row of [`NEWEST_CHANGE`] ends.
pub(crate) fn newest_change_at(key: &[u8]) -> Result<Nanos, Error> {
    let (_, time) = key.split_last_chunk::<8>().ok_or_else(unreadable)?;
    KeyReader::new(time).time().ok_or_else(unreadable)
}

/// The environment with which a key goes on after its group's and a stamp.
pub(crate) fn environment_after(key: &[u8], group: &Key) -> Result<String, Error> {
    let mut reader = KeyReader::after(key, group);
    read_stamp(&mut reader).and_then(|_| reader.text()).ok_or_else(unreadable)
}

fn strategy_name(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Unspecified => "",
        Strategy::Rolling => "rolling",
        Strategy::Canary => "canary",
        Strategy::BlueGreen => "blue_green",
        Strategy::Recreate => "recreate",
    }
}

/// The reference as answers show it, and the digest; a text that is no reference is kept as it is.
fn normalize(reference: &str, digest: &str) -> (String, String) {
    let parsed = ArtifactRef::parse(reference);
    let named = parsed.as_ref().and_then(|parsed| parsed.digest.clone());
    let digest = digest.parse::<Digest>().ok().or(named).map(|digest| digest.to_string()).unwrap_or_default();
    let untagged = !reference.rsplit('/').next().unwrap_or_default().contains([':', '@']);
    let shown = match parsed {
        None => reference.trim().to_owned(),
        Some(parsed) if untagged && !digest.is_empty() => format!("{}@{digest}", parsed.repository),
        Some(parsed) if parsed.repository.is_empty() => String::new(),
        Some(parsed) => parsed.to_string(),
    };
    (shown, digest)
}
