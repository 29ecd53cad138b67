//! How much one answer lists of what a sender can make very much of: what runs of a service, what was said of a
//! verdict.
//!
//! Who deploys chooses how many clusters and namespaces a service has. One that runs in very many must not take an
//! environment's answer away from everybody else: what is left out is counted, and what was not looked at is said.

use serde::Serialize;

use super::answers::{Diff, Explained, Running, ServiceState, Verdict};
use crate::error::Error;

/// Things that run of one service and are listed.
pub const RUNNING_MAX: usize = 1_000;
/// Statements and findings of one verdict that are listed.
pub const EXPLANATION_MAX: usize = 1_000;
/// Components of one of them that are listed.
const COMPONENTS_OF_SAID_MAX: usize = 100;
/// Bytes of the texts of such a list: those of a thousand are few, unless somebody makes each as long as it may be.
/// Written as JSON or on a page they may be ten times as long, and an answer may have two such lists.
pub(super) const LISTED_BYTES_MAX: usize = 512 << 10;
/// Lanes (cluster, namespace) of one service that are looked at for a list.
pub const LANES_PER_SERVICE_MAX: usize = 10_000;

/// How far a walk over services goes into each.
#[derive(Clone, Copy)]
pub(super) struct Depth {
    /// Things that run and are kept.
    pub(super) kept_max: usize,
    /// Lanes that are looked at; a service with more is passed over from there on.
    pub(super) lanes_max: usize,
}

impl Depth {
    /// Everything.
    pub(super) const WHOLE: Depth = Depth { kept_max: usize::MAX, lanes_max: usize::MAX };
    /// All that is looked at for a list: what compares it needs more than is listed.
    pub(super) const LOOKED_AT: Depth = Depth { kept_max: usize::MAX, lanes_max: LANES_PER_SERVICE_MAX };
    /// What is listed.
    pub(super) const LISTED: Depth = Depth { kept_max: RUNNING_MAX, lanes_max: LANES_PER_SERVICE_MAX };
}

/// What runs of a service, in one lane or in all of them.
pub(super) struct ServiceRuns {
    pub(super) service: String,
    /// Each with whether it is a canary.
    pub(super) running: Vec<(bool, Running)>,
    /// Things that run beyond these.
    pub(super) running_cut: u64,
    /// Deployments of canaries that a lane left out.
    pub(super) canaries_cut: u64,
    /// Not every lane was looked at.
    pub(super) at_least: bool,
    pub(super) frozen: bool,
}

impl ServiceRuns {
    /// Of a service nothing.
    pub(super) fn none(service: &str, frozen: bool) -> ServiceRuns {
        let service = service.to_owned();
        ServiceRuns { service, running: vec![], running_cut: 0, canaries_cut: 0, at_least: false, frozen }
    }

    /// Whether anything runs, or may.
    pub(super) fn runs(&self) -> bool {
        !self.running.is_empty() || self.at_least
    }

    /// With another of its lanes. Kept are at least the first by place.
    pub(super) fn add(&mut self, lane: ServiceRuns, kept_max: usize) {
        self.running.extend(lane.running);
        self.running_cut += lane.running_cut;
        self.canaries_cut += lane.canaries_cut;
        self.at_least |= lane.at_least;
        if self.running.len() / 2 >= kept_max {
            sort(&mut self.running);
            self.running_cut += cut_to(kept_max, &mut self.running);
        }
    }

    /// As an answer lists it.
    pub(super) fn listed(self) -> ServiceState {
        let mut state = self.whole();
        state.running_cut += cut_listed(&mut state.running);
        state
    }

    /// All that is kept.
    pub(super) fn whole(mut self) -> ServiceState {
        sort(&mut self.running);
        ServiceState {
            service: self.service,
            running: self.running.into_iter().map(|(_, running)| running).collect(),
            running_cut: self.running_cut,
            running_at_least: self.at_least,
            observed: vec![],
            drift: "not_observed".to_owned(),
            frozen: self.frozen,
            canaries_cut: self.canaries_cut,
        }
    }
}

/// What is deployed in full before what shares the traffic, by place.
fn sort(running: &mut [(bool, Running)]) {
    let place = |run: &Running| (run.cluster.clone(), run.namespace.clone(), run.artifact_ref.clone());
    running.sort_by_cached_key(|(canary, run)| (*canary, place(run)));
}

pub(super) fn cut_to<T>(most: usize, list: &mut Vec<T>) -> u64 {
    let cut = list.len().saturating_sub(most);
    list.truncate(most);
    cut as u64
}

/// Cuts a list to what one answer may have of a service; how many were left out.
pub(super) fn cut_listed(running: &mut Vec<Running>) -> u64 {
    let names = |run: &Running| {
        let optional = [&run.digest, &run.strategy, &run.config_digest, &run.actor, &run.run];
        let place = [&run.cluster, &run.namespace];
        let names = optional.into_iter().chain(place).flatten().map(String::len).sum::<usize>();
        names + run.artifact_ref.len()
    };
    let mut left = LISTED_BYTES_MAX;
    cut_to(RUNNING_MAX, running) + cut_to_bytes(running, &mut left, names)
}

impl Verdict {
    /// As an answer lists it: of very much that was said the first, which is what counts, or at most `limit` after a page's
    /// key; with the key of the next page. What it comes to, and the replay hash, are of all.
    ///
    /// # Errors
    /// When the key is none of this list.
    pub fn listed(mut self, after: Option<&[u8]>, limit: usize) -> Result<(Verdict, Option<Vec<u8>>), Error> {
        let passed = after.map_or(Some(0), |key| Some(u64::from_be_bytes(key.try_into().ok()?)));
        let passed = passed.and_then(|passed| usize::try_from(passed).ok());
        let passed = passed.filter(|passed| *passed <= self.explanation.len()).ok_or_else(Error::foreign_page)?;
        self.explanation.drain(..passed);
        for said in &mut self.explanation {
            said.components_cut = cut_to(COMPONENTS_OF_SAID_MAX, &mut said.components);
        }
        let texts = |said: &Explained| {
            let texts = [&said.issuer, &said.raw_status, &said.justification, &said.impact, &said.action, &said.reason];
            let of_finding = [&said.fixed_version, &said.severity, &said.platform];
            texts.into_iter().chain(of_finding).chain(&said.components).map(String::len).sum()
        };
        let mut left = LISTED_BYTES_MAX;
        let all = self.explanation.len();
        self.explanation_cut = cut_to(limit.min(EXPLANATION_MAX), &mut self.explanation);
        // However long the first is: there is always a next page.
        let mut is_first = true;
        let bytes = |said: &Explained| if std::mem::take(&mut is_first) { 0 } else { texts(said) };
        self.explanation_cut += cut_to_bytes(&mut self.explanation, &mut left, bytes);
        let next = passed + self.explanation.len();
        let more = self.explanation.len() < all;
        Ok((self, more.then(|| (next as u64).to_be_bytes().to_vec())))
    }
}

impl Diff {
    /// As an answer lists it: where its components are longer than so many bytes of JSON, the first of each list. The
    /// summary and the replay hash are of all.
    pub fn listed(mut self, bytes_max: usize) -> Diff {
        let all = &mut self.sbom_diff;
        if written_bytes(all) > bytes_max {
            let mut left = [bytes_max / 5; 5];
            all.cut = cut_to_bytes(&mut all.version_changed, &mut left[0], written_bytes)
                + cut_to_bytes(&mut all.added, &mut left[1], written_bytes)
                + cut_to_bytes(&mut all.removed, &mut left[2], written_bytes)
                + cut_to_bytes(&mut all.license_changed, &mut left[3], written_bytes)
                + cut_to_bytes(&mut all.content_changed, &mut left[4], written_bytes);
        }
        self
    }
}

/// How many bytes a value has as JSON, which is not kept.
pub(super) fn written_bytes(value: &impl Serialize) -> usize {
    struct Counted(usize);
    impl std::io::Write for Counted {
        fn write(&mut self, part: &[u8]) -> std::io::Result<usize> {
            self.0 += part.len();
            Ok(part.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counted = Counted(0);
    // What cannot be written is not answered either.
    serde_json::to_writer(&mut counted, value).map_or(usize::MAX, |()| counted.0)
}

/// Cuts a list to those whose texts fit into what is left of some bytes; how many were left out.
pub(super) fn cut_to_bytes<T>(list: &mut Vec<T>, left: &mut usize, mut bytes_of: impl FnMut(&T) -> usize) -> u64 {
    let mut fits = |item: &T| {
        let rest = left.checked_sub(bytes_of(item));
        *left = rest.unwrap_or(0);
        rest.is_some()
    };
    let fitting = list.iter().take_while(|item| fits(item)).count();
    cut_to(fitting, list)
}
