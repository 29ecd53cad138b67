//! What an artifact is like at a glance (SPEC §3.2): badges, and the hash over what is known of it.

use std::rc::Rc;

use super::answers::{Badges, Node, Shown};
use super::contents::Described;
use super::identity::{Graph, Profile};
use super::inputs::{Current, NODE_EVENTS_MAX, Signed};
use super::shown::{cut_to, cut_to_bytes};
use crate::error::Error;

/// Environments that one badge names.
const ENVIRONMENTS_MAX: usize = 32;
/// Bytes of these names.
const ENVIRONMENTS_BYTES_MAX: usize = 2_048;
/// Places to which an artifact was deployed that a badge, and a card, looks at.
pub(super) const LANES_MAX: usize = 256;
/// What is asked of an artifact at least: digest, commit, run, SBOM.
const ASKED: u8 = 4;

/// A node with what is known of it at a glance.
#[derive(Debug)]
pub(super) struct Glance {
    pub(super) node: Node,
    /// Some of it was left out: there is more than is read for it.
    pub(super) cut: bool,
    pub(super) current: Current,
}

impl Graph<'_> {
    /// The node of an artifact with its replay hash, and what else is asked for.
    pub(super) fn glance(&self, profile: &Rc<Profile>, shown: Shown) -> Result<Glance, Error> {
        let current = self.current_events(profile, NODE_EVENTS_MAX)?;
        let mut node = self.node(profile)?;
        if !current.cut {
            node.replay_hash = Some(self.replay_hash(&profile.digest, current.entries.keys().copied())?);
        }
        let mut cut = current.cut;
        if shown.badges {
            let badges = self.badges(profile, &current)?;
            cut |= badges.signature_status.is_none();
            node.badges = Some(badges);
        }
        if shown.verdicts {
            node.verdict_counts = Some(self.scope.verdict_counts(&profile.digest)?);
        }
        Ok(Glance { node, cut, current })
    }

    /// All badges are made here.
    fn badges(&self, profile: &Rc<Profile>, current: &Current) -> Result<Badges, Error> {
        let digests = self.with_above(profile)?;
        let mut signed = Some(current.signed).filter(|_| !current.cut);
        for digest in digests.iter().filter(|digest| !profile.group.contains(digest)) {
            signed = match (signed, self.signed(digest, NODE_EVENTS_MAX)?) {
                (Some(Signed::Valid), _) | (_, Some(Signed::Valid)) => Some(Signed::Valid),
                (Some(own), Some(above)) => Some(own.max(above)),
                (None, _) | (_, None) => None,
            };
        }
        let sbom = current.sboms > 0 || self.scope.described(&profile.digest)? == Described::Whole;
        let (environments, at_least) = self.scope.environments_running(&digests, LANES_MAX)?;
        let mut environments: Vec<String> = environments.into_iter().collect();
        let cut = cut_to(ENVIRONMENTS_MAX, &mut environments);
        // An answer may have a thousand nodes, each of which is shown with its names.
        let mut left = ENVIRONMENTS_BYTES_MAX;
        let cut = cut + cut_to_bytes(&mut environments, &mut left, String::len);
        let vulns = self.scope.vuln_badges(&profile.digest)?;
        Ok(Badges {
            new_vulns: vulns.new_vulns,
            resolved_vulns: vulns.resolved_vulns,
            vulns_as_of: vulns.as_of,
            signature_status: signed.map(|signed| signed.word().to_owned()),
            sbom,
            deployed_in: environments,
            deployed_in_cut: cut,
            deployed_in_at_least: at_least,
            completeness: self.completeness(profile, sbom)?,
        })
    }

    /// As the artifact's own answer has commit and run.
    fn completeness(&self, profile: &Profile, sbom: bool) -> Result<f64, Error> {
        let claims = self.claims(profile)?;
        let run = claims.iter().any(|claim| !claim.value.run.id.is_empty());
        let commit = claims.iter().any(|claim| !claim.value.commit.is_empty());
        let commit = commit || (run && self.commit_of_runs(&claims)?.is_some());
        let known = 1 + u8::from(commit) + u8::from(run) + u8::from(sbom);
        Ok(f64::from(known) / f64::from(ASKED))
    }
}
