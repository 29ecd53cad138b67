//! A service: in which environments it runs, and of one of them lane by lane what ran there before, newest first
//! (SPEC §6).

use std::ops::ControlFlow;

use pedigraph_proto::Nanos;
use serde::Serialize;

use super::answers::{Page, Proof, ServiceIn, ServiceState, is_false, is_zero};
use super::past::Past;
use super::scope::Scope;
use super::shown::{LANES_PER_SERVICE_MAX, LISTED_BYTES_MAX, cut_to_bytes};
use super::timeline::Move;
use crate::error::Error;
use crate::facts::deployments::rows::{LANES, Lane};

/// Lanes (cluster, namespace) of a service of which the past is told.
pub const LANES_TOLD_MAX: usize = 20;
/// Spells of one lane that are told at most.
pub const SPELLS_MAX: usize = 100;

/// A service of an environment, with its past.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceHere {
    /// What runs, as the environment shows it.
    #[serde(flatten)]
    pub service: ServiceIn,
    /// The past of each lane, in the order of their keys.
    pub lanes: Vec<LanePast>,
    /// Lanes of which it is not told.
    #[serde(skip_serializing_if = "is_zero")]
    pub lanes_cut: u64,
    /// Not all lanes were counted: there are more.
    #[serde(skip_serializing_if = "is_false")]
    pub lanes_at_least: bool,
}

/// What ran in one lane.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LanePast {
    /// Cluster, when said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Namespace, when said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// What ran right before what runs now: the newest spell of another artifact. Where nothing runs, what ran last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Spell>,
    /// What came to run alone there, newest first; the first runs now, if anything does.
    pub spells: Vec<Spell>,
    /// There were more, which are older.
    pub cut: bool,
}

/// One artifact that ran alone in a lane for a while.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spell {
    /// `repository:tag` or `repository@digest`.
    pub artifact_ref: String,
    /// Known once the reference resolves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Since when it ran without a break, which may be as a canary beside the one before.
    pub since: Nanos,
    /// Until when; `None`: it does now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Nanos>,
    /// How it came: `deploy`, `promote`, `rollback`, `rollforward`.
    pub kind: &'static str,
    /// Why, when said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Entry that proves it.
    pub proof: Proof,
}

impl Spell {
    /// Bytes of its texts.
    fn texts(&self) -> usize {
        let said = [&self.digest, &self.reason].into_iter().flatten().map(String::len).sum::<usize>();
        self.artifact_ref.len() + said
    }
}

/// What is told of the lanes of a service.
pub(super) struct ToldLanes<T> {
    pub(super) lanes: Vec<T>,
    /// Lanes of which nothing is told, since so many are.
    pub(super) cut: u64,
    /// Not all lanes were counted.
    pub(super) at_least: bool,
}

/// The newest spell of another artifact than the one that runs; where nothing runs the newest.
fn before(spells: &[Spell]) -> Option<&Spell> {
    let runs = spells.first().filter(|spell| spell.until.is_none());
    let is_other = |spell: &&Spell| {
        runs.is_none_or(|runs| match (&runs.digest, &spell.digest) {
            (Some(runs), Some(other)) => runs != other,
            _ => runs.artifact_ref != spell.artifact_ref,
        })
    };
    spells.iter().skip(usize::from(runs.is_some())).find(is_other)
}

/// Tells something of a service as it is in an environment, where there is something to tell.
type TellHere<'t, T> = &'t mut dyn FnMut(&str, ServiceState) -> Result<Option<T>, Error>;

impl Scope {
    /// One service of an environment with at most `spells` of each lane's past; `None` while nothing was deployed there by
    /// this name. It costs what its own lanes cost, and the rows of the changes that are told.
    pub fn service_here(&self, environment: &str, service: &str, spells: usize) -> Result<Option<ServiceHere>, Error> {
        let Some(state) = self.listed_service(environment, service)? else { return Ok(None) };
        let mut told = self.tell_lanes(environment, service, |lane| self.lane_past(lane, spells.min(SPELLS_MAX)))?;
        let mut left = LISTED_BYTES_MAX;
        for past in &mut told.lanes {
            past.cut |= cut_to_bytes(&mut past.spells, &mut left, Spell::texts) > 0;
        }
        let service = ServiceIn { environment: environment.to_owned(), state };
        Ok(Some(ServiceHere { service, lanes: told.lanes, lanes_cut: told.cut, lanes_at_least: told.at_least }))
    }

    /// What is told of the first lanes of a service, in the order of their keys.
    pub(super) fn tell_lanes<T>(
        &self,
        environment: &str,
        service: &str,
        tell: impl Fn(&Lane) -> Result<Option<T>, Error>,
    ) -> Result<ToldLanes<T>, Error> {
        let lanes = self.table(LANES).text(environment).text(service);
        let mut lanes = self.first_lanes(&lanes, LANES_PER_SERVICE_MAX + 1)?;
        let at_least = lanes.len() > LANES_PER_SERVICE_MAX;
        lanes.truncate(LANES_PER_SERVICE_MAX);
        let mut told = ToldLanes { lanes: Vec::new(), cut: 0, at_least };
        for lane in &lanes {
            if told.lanes.len() >= LANES_TOLD_MAX {
                told.cut += 1;
            } else {
                told.lanes.extend(tell(lane)?);
            }
        }
        Ok(told)
    }

    /// What runs of a service in each environment that ever had it, by name: at most `limit` after a page's key; `None`
    /// while nothing was deployed anywhere by this name. It costs what its own lanes cost.
    pub fn service_anywhere(
        &self,
        service: &str,
        include_removed: bool,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Option<Page<ServiceIn>>, Error> {
        self.page_of_environments(service, include_removed, after, limit, &mut |environment, state| {
            Ok(Some(ServiceIn { environment: environment.to_owned(), state }))
        })
    }

    /// What is told of a service in each environment that ever had it, as [`Scope::service_anywhere`] walks over them. A
    /// page ends when half of the question's budget is used, too.
    pub(super) fn page_of_environments<T>(
        &self,
        service: &str,
        include_removed: bool,
        after: Option<&[u8]>,
        limit: usize,
        tell: TellHere<'_, T>,
    ) -> Result<Option<Page<T>>, Error> {
        let after = after.map(std::str::from_utf8).transpose().map_err(|_| Error::foreign_page())?;
        let (mut page, mut is_known) = (Page { rows: Vec::new(), next: None }, after.is_some());
        let mut last = None;
        let walked = self.each_environment_of(service, after, &mut |environment| {
            let Some(state) = self.listed_service(environment, service)? else {
                return Ok(ControlFlow::Continue(()));
            };
            is_known = true;
            let is_listed = include_removed || state.runs();
            // Where it was removed it is passed over, and costs as much.
            if (is_listed && page.rows.len() >= limit) || (last.is_some() && self.meter.is_half_spent()) {
                return Ok(ControlFlow::Break(()));
            }
            last = Some(environment.as_bytes().to_vec());
            if is_listed {
                page.rows.extend(tell(environment, state)?);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        page.next = last.filter(|_| walked.is_break());
        Ok(is_known.then_some(page))
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
                    since: change.since().time,
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
        let before = before(&spells).cloned();
        Ok((!spells.is_empty()).then_some(LanePast { cluster, namespace, before, spells, cut }))
    }
}
