//! One service of an environment: what runs there, and lane by lane what ran there before, newest first (SPEC §6).

use pedigraph_proto::Nanos;

use super::answers::{Proof, ServiceState};
use super::past::Past;
use super::scope::Scope;
use super::timeline::Move;
use crate::error::Error;
use crate::facts::deployments::rows::{LANES, Lane};

/// Lanes (cluster, namespace) of a service of which the past is told.
pub const LANES_TOLD_MAX: usize = 20;
/// Spells of one lane that are told at most.
pub const SPELLS_MAX: usize = 100;

/// A service of an environment, with its past.
#[derive(Clone, PartialEq, Debug)]
pub struct ServiceHere {
    /// What runs, as the environment shows it.
    pub state: ServiceState,
    /// The past of each lane, in the order of their keys.
    pub lanes: Vec<LanePast>,
    /// Lanes of which it is not told.
    pub lanes_cut: usize,
}

/// What ran in one lane.
#[derive(Clone, PartialEq, Debug)]
pub struct LanePast {
    /// Cluster, when said.
    pub cluster: Option<String>,
    /// Namespace, when said.
    pub namespace: Option<String>,
    /// What ran alone there, newest first; the first runs now, if anything does.
    pub spells: Vec<Spell>,
    /// There were more, which are older.
    pub cut: bool,
}

/// One artifact that ran alone in a lane for a while.
#[derive(Clone, PartialEq, Debug)]
pub struct Spell {
    /// `repository:tag` or `repository@digest`.
    pub artifact_ref: String,
    /// Known once the reference resolves.
    pub digest: Option<String>,
    /// Since when.
    pub since: Nanos,
    /// Until when; `None`: it does now.
    pub until: Option<Nanos>,
    /// How it came: `deploy`, `promote`, `rollback`, `rollforward`.
    pub kind: &'static str,
    /// Why, when said.
    pub reason: Option<String>,
    /// Entry that proves it.
    pub proof: Proof,
}

impl LanePast {
    /// What ran right before what runs now: the newest spell of another artifact. Where nothing runs, what ran last.
    pub fn before(&self) -> Option<&Spell> {
        let runs = self.spells.first().filter(|spell| spell.until.is_none());
        let is_other = |spell: &&Spell| {
            runs.is_none_or(|runs| match (&runs.digest, &spell.digest) {
                (Some(runs), Some(other)) => runs != other,
                _ => runs.artifact_ref != spell.artifact_ref,
            })
        };
        self.spells.iter().skip(usize::from(runs.is_some())).find(is_other)
    }
}

impl Scope {
    /// One service of an environment with at most `spells` of each lane's past; `None` while nothing was deployed there by
    /// this name. It costs what its own lanes cost, and the rows of the changes that are told.
    pub fn service_here(&self, environment: &str, service: &str, spells: usize) -> Result<Option<ServiceHere>, Error> {
        let Some(state) = self.service(environment, service)? else { return Ok(None) };
        let lanes = self.lanes_of(&self.table(LANES).text(environment).text(service))?;
        let mut known = Vec::new();
        let mut cut = 0_usize;
        for lane in &lanes {
            if known.len() >= LANES_TOLD_MAX {
                cut += 1;
            } else if let Some(past) = self.lane_past(lane, spells.min(SPELLS_MAX))? {
                known.push(past);
            }
        }
        Ok(Some(ServiceHere { state, lanes: known, lanes_cut: cut }))
    }

    /// The past of a lane; `None` where nothing ever ran alone there.
    fn lane_past(&self, lane: &Lane, most: usize) -> Result<Option<LanePast>, Error> {
        // Each may be followed by a removal.
        let moves = self.newest_moves(lane, most.saturating_add(1).saturating_mul(2), Move::is_end_of_spell)?;
        let (mut spells, mut until, mut cut) = (Vec::new(), None, false);
        for change in &moves {
            if let Some(to) = change.to.as_ref().filter(|_| change.is_full()) {
                cut = spells.len() == most;
                if cut {
                    break;
                }
                spells.push(Spell {
                    artifact_ref: to.reference.clone(),
                    digest: to.digest.clone(),
                    since: change.stamp.time,
                    until,
                    kind: change.kind(&Past { scope: self, lane })?,
                    reason: Some(change.reason().to_owned()).filter(|reason| !reason.is_empty()),
                    proof: self.proof(change.stamp.index)?,
                });
            }
            until = Some(change.stamp.time);
        }
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let (cluster, namespace) = (text(&lane.cluster), text(&lane.namespace));
        Ok((!spells.is_empty()).then_some(LanePast { cluster, namespace, spells, cut }))
    }
}
