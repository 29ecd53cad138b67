//! What is told to run where: the fold of the deploy family.

use pedigraph_proto::event::{
    CanaryChanged, ConfigChanged, FlagChanged, FreezeChanged, ServiceDeployed, ServiceRemoved, Strategy,
};
use pedigraph_proto::fact::{Deploy, Family};
use pedigraph_proto::{ArtifactRef, Digest};

use self::rows::{
    ABOUT_ELSE, ABOUT_FREEZE, ABOUT_LANE, BY_TIME, CONFIG, DIGEST, FLAG, FREEZE, Keys, LANE_ROWS, LANES, Lane,
    LaneFact, REFERENCE, REFERENCE_OF_DIGEST, Setting, Stamp, What, by_artifact, reference_key, settings, table,
};
use crate::error::Error;
use crate::facts::view::{FactAt, View};
use crate::rows::Rows;

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
        let key = settings(self.at.tenant, topic, environment, service);
        rows.put(key.moment(&self.stamp), setting)
    }

    fn lane_row(&self, lane: &Lane, fact: &LaneFact, rows: &mut Rows<'_>) -> Result<(), Error> {
        let tenant = self.at.tenant;
        rows.put_first(table(tenant, LANES).lane(lane), &())?;
        rows.put(table(tenant, LANE_ROWS).lane(lane).moment(&self.stamp), fact)?;
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
