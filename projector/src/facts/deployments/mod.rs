//! What is told to run where: the fold of the deploy family.

use pedigraph_proto::event::{
    CanaryChanged, ConfigChanged, FlagChanged, FreezeChanged, ServiceDeployed, ServiceRemoved, Strategy,
};
use pedigraph_proto::fact::{Deploy, Family};
use pedigraph_proto::{ArtifactRef, Digest};
use serde::de::DeserializeOwned;

use self::rows::{
    ABOUT_ELSE, ABOUT_FREEZE, ABOUT_LANE, BY_TIME, CANDIDATES, CHANGES, CHANGES_OF_ENTRY, CONFIG, CONFIG_OF, DIGEST,
    Effect, FLAG, FREEZE, Keys, LANE_ROWS, LANES, Lane, LaneFact, REFERENCE, REFERENCE_OF_DIGEST, Setting, Stamp, What,
    by_artifact, read_stamp, reference_key, settings, table, unreadable,
};
use crate::error::Error;
use crate::facts::view::{FactAt, View};
use crate::rows::Rows;
use crate::store::key::{Key, KeyReader};

pub(crate) mod rows;

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
    before: Option<T>,
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
                self.named(name, ABOUT_ELSE, &Lane::default(), rows)
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
        self.named(environment, about, &Lane::of(environment, service, "", ""), rows)?;
        let lane = Lane::of(environment, service, "", "");
        let group = settings(self.at.tenant, topic, environment, service);
        if topic == FREEZE {
            let thawed = Setting::default();
            let around = self.around::<Setting>(&group, rows)?;
            if around.before.unwrap_or(thawed).frozen != setting.frozen {
                self.candidate(&self.stamp, about, &lane, rows)?;
            }
            if let Some((stamp, _)) = around.after.filter(|(_, after)| after.frozen != setting.frozen) {
                self.candidate(&stamp, about, &lane, rows)?;
            }
        }
        rows.put_in(&group, group.clone().moment(&self.stamp), setting)
    }

    /// The rows before and after this fact's place in a group, among those of earlier facts.
    fn around<T: DeserializeOwned>(&self, group: &Key, rows: &mut Rows<'_>) -> Result<Around<T>, Error> {
        let here = group.clone().moment(&self.stamp);
        let before = rows.nearest::<T>(group, group, &here, true)?.map(|(_, row)| row);
        let Some((key, row)) = rows.nearest::<T>(group, &here, &group.prefix_end(), false)? else {
            return Ok(Around { before, after: None });
        };
        let place = key.get(group.as_bytes().len()..).unwrap_or_default();
        let stamp = read_stamp(&mut KeyReader::new(place)).ok_or_else(unreadable)?;
        Ok(Around { before, after: Some((stamp, row)) })
    }

    /// A row that may be a change, this fact's or a later one; the first fact that finds so tells since when it is
    /// known.
    fn candidate(&self, stamp: &Stamp, about: u8, lane: &Lane, rows: &mut Rows<'_>) -> Result<(), Error> {
        let key = |of: u8| table(self.at.tenant, of).text(&lane.environment);
        if about == ABOUT_LANE {
            rows.put_first(table(self.at.tenant, CANDIDATES).lane(lane).moment(stamp), &())?;
        }
        rows.put_first(key(CHANGES).moment(stamp).byte(about).lane(lane), &())?;
        let of_entry = key(CHANGES_OF_ENTRY).number(stamp.index).moment(stamp).byte(about).lane(lane);
        rows.put_first(of_entry, &()).map(drop)
    }

    fn lane_row(&self, lane: &Lane, fact: &LaneFact, rows: &mut Rows<'_>) -> Result<(), Error> {
        let tenant = self.at.tenant;
        rows.put_first(table(tenant, LANES).lane(lane), &())?;
        let group = table(tenant, LANE_ROWS).lane(lane);
        let around = self.around::<LaneFact>(&group, rows)?;
        if !around.before.is_some_and(|before| fact.repeats(&before)) {
            self.candidate(&self.stamp, ABOUT_LANE, lane, rows)?;
        }
        if let Some((stamp, _)) = around.after.filter(|(_, after)| !after.repeats(fact)) {
            self.candidate(&stamp, ABOUT_LANE, lane, rows)?;
        }
        rows.put_in(&group, group.clone().moment(&self.stamp), fact)?;
        if fact.effect() == Effect::Full && !fact.digest.is_empty() && !fact.config_digest.is_empty() {
            let key = table(tenant, CONFIG_OF).lane(lane).text(&fact.digest).moment(&self.stamp);
            rows.put(key, &fact.config_digest)?;
        }
        self.named(&lane.environment, ABOUT_LANE, lane, rows)?;
        let ends = fact.what == What::Removed || (fact.what == What::Canary && fact.weight == 0);
        if ends { Ok(()) } else { self.artifact_rows(lane, fact, rows) }
    }

    fn artifact_rows(&self, lane: &Lane, fact: &LaneFact, rows: &mut Rows<'_>) -> Result<(), Error> {
        let row = |class: u8, artifact: &str| {
            let key = by_artifact(self.at.tenant, class, artifact).lane(lane);
            key.moment(&self.stamp)
        };
        let class = if fact.digest.is_empty() { REFERENCE } else { REFERENCE_OF_DIGEST };
        if !fact.reference.is_empty() {
            rows.put(row(class, &reference_key(&fact.reference)), &())?;
        }
        if !fact.digest.is_empty() {
            rows.put(row(DIGEST, &fact.digest), &())?;
        }
        Ok(())
    }

    /// The environment was named, by this.
    fn named(&self, environment: &str, about: u8, lane: &Lane, rows: &mut Rows<'_>) -> Result<(), Error> {
        let key = table(self.at.tenant, BY_TIME).text(environment).moment(&self.stamp);
        rows.put(key.byte(about).lane(lane), &())
    }
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
