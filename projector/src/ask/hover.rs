//! One small answer about an artifact: what a card shows while somebody points at it (SPEC §4).

use std::collections::BTreeSet;

use super::answers::{EvidenceCounts, Hover, RunsHere, Shown};
use super::badges::LANES_MAX;
use super::identity::Graph;
use super::running::RunsIn;
use super::scope::Scope;
use crate::error::Error;

/// Places that a card lists.
const PLACES_MAX: usize = 10;

impl Scope {
    /// What a card shows of an artifact; `None` when nothing is known of it.
    pub fn hover(&self, digest: &str) -> Result<Option<Hover>, Error> {
        let graph = Graph::new(self);
        let Some(profile) = graph.profile(digest)? else { return Ok(None) };
        let glance = graph.glance(&profile, Shown::ALL)?;
        let digests = graph.with_above(&profile)?;
        let (runs, at_least) = self.running_under(&digests, LANES_MAX)?;
        let cut = runs.len().saturating_sub(PLACES_MAX);
        let places = runs.iter().take(PLACES_MAX).map(|run| graph.runs_here(run));
        let current = &glance.current;
        Ok(Some(Hover {
            tag: graph.newest_tag(&profile)?,
            running: places.collect::<Result<_, _>>()?,
            running_cut: cut as u64,
            running_at_least: at_least,
            counts: EvidenceCounts {
                sboms: current.sboms,
                scans: current.scans,
                attestations: current.attestations,
                at_least: current.cut,
            },
            node: glance.node,
        }))
    }

    /// What runs under one of these digests, by place, in at most so many lanes; `true` when there are more lanes to
    /// which any of them was deployed.
    fn running_under(&self, digests: &BTreeSet<String>, lanes_max: usize) -> Result<(Vec<RunsIn>, bool), Error> {
        let (mut runs, mut lanes) = (Vec::new(), BTreeSet::new());
        let cut = self.each_lane_of(digests, |lane| {
            if !lanes.insert(lane.clone()) {
                return Ok(Some(false));
            }
            if lanes.len() > lanes_max {
                return Ok(None);
            }
            runs.extend(self.runs_under(lane, digests)?);
            Ok(Some(false))
        })?;
        runs.sort_by(|a, b| a.place().cmp(&b.place()));
        Ok((runs, cut))
    }
}

impl Graph<'_> {
    fn runs_here(&self, run: &RunsIn) -> Result<RunsHere, Error> {
        Ok(RunsHere {
            environment: run.lane.environment.clone(),
            service: run.lane.service.clone(),
            artifact_ref: run.artifact.reference.clone(),
            since: run.since,
            proof: self.proof(run.proof)?,
        })
    }
}
