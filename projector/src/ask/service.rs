//! A service: in which environments it runs, and of one of them lane by lane what ran there before, newest first
//! (SPEC §6).

use std::cell::RefCell;
use std::ops::ControlFlow;

use pedigraph_proto::Nanos;
use serde::Serialize;

use super::answers::{Page, Proof, ServiceIn, ServiceState, is_false, is_zero};
use super::past::Past;
use super::scope::{Clocks, Scope};
use super::shown::{LANES_PER_SERVICE_MAX, LISTED_BYTES_MAX, cut_to_bytes};
use super::timeline::Move;
use crate::error::Error;
use crate::facts::deployments::rows::{Effect, Keys as _, LANE_ROWS, LANES, Lane, LaneFact};

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
    /// Removals of what never ran: they named another cluster or namespace than any deployment, or none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed_nothing: Vec<RemovedNothing>,
    /// Such as are not listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub removed_nothing_cut: u64,
}

/// The newest removal in a cluster and namespace where nothing was ever deployed by the service's name. It ends nothing
/// elsewhere: two clusters that both call an environment `prod` are two (SPEC §2).
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RemovedNothing {
    /// Cluster, when said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Namespace, when said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// When.
    pub at: Nanos,
    /// By whom, when said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Entry that proves it.
    pub proof: Proof,
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
        let removed = RefCell::new(Vec::new());
        let mut told = self.tell_lanes(environment, service, |lane| {
            let past = self.lane_past(lane, spells.min(SPELLS_MAX))?;
            if past.is_none() {
                removed.borrow_mut().extend(self.removed_nothing(lane)?);
            }
            Ok(past)
        })?;
        let mut left = LISTED_BYTES_MAX;
        for past in &mut told.lanes {
            past.cut |= cut_to_bytes(&mut past.spells, &mut left, Spell::texts) > 0;
        }
        let service = ServiceIn { environment: environment.to_owned(), state };
        let ToldLanes { lanes, cut: lanes_cut, at_least: lanes_at_least } = told;
        let mut removed_nothing = removed.into_inner();
        let removed_nothing_cut = removed_nothing.len().saturating_sub(LANES_TOLD_MAX) as u64;
        removed_nothing.truncate(LANES_TOLD_MAX);
        Ok(Some(ServiceHere { service, lanes, lanes_cut, lanes_at_least, removed_nothing, removed_nothing_cut }))
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
        let (cluster, namespace) = (said(&lane.cluster), said(&lane.namespace));
        let before = before(&spells).cloned();
        Ok((!spells.is_empty()).then_some(LanePast { cluster, namespace, before, spells, cut }))
    }

    /// The newest removal in a lane in which nothing ever ran.
    fn removed_nothing(&self, lane: &Lane) -> Result<Option<RemovedNothing>, Error> {
        let group = self.table(LANE_ROWS).lane(lane);
        let newest = self.keyed::<LaneFact>(&group, &group.clone().until(self.at), true, Clocks::Both, 1)?.pop();
        let Some((_, row)) = newest.filter(|(_, row)| row.value.effect() == Effect::Remove) else { return Ok(None) };
        if !self.newest_moves(lane, 1, |_| true)?.is_empty() {
            return Ok(None);
        }
        Ok(Some(RemovedNothing {
            cluster: said(&lane.cluster),
            namespace: said(&lane.namespace),
            at: Nanos(row.stamp.time),
            actor: said(&row.value.actor),
            proof: self.proof(row.stamp.index)?,
        }))
    }
}

fn said(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
