//! Two environments side by side, or one at two moments: service by service what runs on each side (SPEC §6, `diff`).
//!
//! Both are walked in the order of their services' keys and merged, so a page costs what its services cost on both
//! sides, and the heads of one read beyond. Services that are the same count for a page's size too, shown or not: no
//! page walks on and on.

use std::collections::BTreeSet;

use pedigraph_proto::{ArtifactRef, Nanos};
use serde::{Deserialize, Serialize};

use super::answers::Running;
use super::environment::Passed;
use super::identity::Graph;
use super::scope::Scope;
use super::services::Walk;
use super::shown::{Depth, ServiceRuns, cut_listed};
use crate::error::Error;
use crate::facts::deployments::rows::{UNKNOWN, reference_key};
use crate::store::key::Key;

/// Services that one page compares at most, whatever is asked for.
pub const COMPARED_MAX: usize = 1_000;

/// An environment at a moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentSide {
    /// Its name.
    pub environment: String,
    /// The moment; absent: the newest known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Nanos>,
}

/// How a service on one side is to the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Compared {
    /// The same artifacts run with the same shares.
    Same,
    /// Others, or with other shares.
    Different,
    /// It runs on the first side alone.
    OnlyFrom,
    /// It runs on the second side alone.
    OnlyTo,
}

/// A service on both sides.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComparedService {
    /// Its name.
    pub service: String,
    /// How it compares.
    pub state: Compared,
    /// What runs on the first side: at most [`RUNNING_MAX`](super::shown::RUNNING_MAX). All of it is compared.
    pub from: Vec<Running>,
    /// How many more run there.
    #[serde(skip_serializing_if = "super::answers::is_zero")]
    pub from_cut: u64,
    /// What runs on the second.
    pub to: Vec<Running>,
    /// How many more run there.
    #[serde(skip_serializing_if = "super::answers::is_zero")]
    pub to_cut: u64,
    /// Not every place to which it was ever deployed was looked at: more may run on either side, and how it compares is
    /// said of the others.
    #[serde(skip_serializing_if = "super::answers::is_false")]
    pub running_at_least: bool,
    /// Deployments of canaries on both sides that were left out, since more ran than one answer tells apart.
    #[serde(skip_serializing_if = "super::answers::is_zero")]
    pub canaries_cut: u64,
}

/// How many services compare how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComparedCounts {
    /// Those that are the same.
    pub same: u64,
    /// Those that are not.
    pub different: u64,
    /// Those on the first side alone.
    pub only_from: u64,
    /// Those on the second side alone.
    pub only_to: u64,
}

/// `GET /api/v1/environments/{env}/diff` (SPEC §6).
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentDiff {
    /// The first side.
    pub from: EnvironmentSide,
    /// The second.
    pub to: EnvironmentSide,
    /// By service.
    pub services: Vec<ComparedService>,
    /// Of all services up to the end of this page.
    pub counts: ComparedCounts,
    /// More services follow: there are at least so many.
    pub at_least: bool,
}

/// Some services of two environments, and the key of the next page.
pub type EnvironmentDiffPage = (EnvironmentDiff, Option<Vec<u8>>);

/// Where a page goes on.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Position {
    /// The key of each side's list; `None` where nothing of it was passed.
    from: Option<Vec<u8>>,
    to: Option<Vec<u8>>,
    /// Before it.
    counts: ComparedCounts,
}

impl Scope {
    /// At most `limit` services of two environments, or of one at two moments, after a page's key; with `only_changes`
    /// those that are the same are counted and left out. `None` where nobody had named one of both by its moment. A page
    /// ends when half of the question's budget is used, too.
    pub fn environment_diff(
        &self,
        (from, to): (&EnvironmentSide, &EnvironmentSide),
        only_changes: bool,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Option<EnvironmentDiffPage>, Error> {
        let (before, then) = (self.when(from.at), self.when(to.at));
        if !before.environment_is_named(&from.environment)? || !then.environment_is_named(&to.environment)? {
            return Ok(None);
        }
        let limit = limit.clamp(1, COMPARED_MAX);
        let begin = after.map(|key| postcard::from_bytes(key).map_err(|_| Error::foreign_page())).transpose()?;
        let begin: Position = begin.unwrap_or_default();
        let (mut counts, mut services, mut next) = (begin.counts, Vec::new(), None);
        let mut a = Listed::of(&before, &from.environment, begin.from, limit)?;
        let mut b = Listed::of(&then, &to.environment, begin.to, limit)?;
        let mut compared = 0;
        while let Some(first) = first_of(&a, &b) {
            if compared >= limit || (compared > 0 && (a.walk.is_spent() || b.walk.is_spent())) {
                let position = Position { from: a.page_key(), to: b.page_key(), counts };
                next = Some(postcard::to_allocvec(&position).map_err(|_| Error::foreign_page())?);
                break;
            }
            compared += 1;
            let (left, right) = (a.take(&first)?, b.take(&first)?);
            let service = self.compared(left, right)?;
            counts.add(service.state);
            if !only_changes || service.state != Compared::Same {
                services.push(service);
            }
        }
        services.sort_by(|a, b| a.service.cmp(&b.service));
        let diff = EnvironmentDiff { from: from.clone(), to: to.clone(), services, counts, at_least: next.is_some() };
        Ok(Some((diff, next)))
    }

    fn compared(&self, from: Option<ServiceRuns>, to: Option<ServiceRuns>) -> Result<ComparedService, Error> {
        let name = from.as_ref().or(to.as_ref()).map(|runs| runs.service.clone()).unwrap_or_default();
        let sides = || [&from, &to].into_iter().flatten();
        let canaries_cut = sides().map(|runs| runs.canaries_cut).sum();
        let running_at_least = sides().any(|runs| runs.at_least);
        let runs = |side: Option<ServiceRuns>| side.map(|side| side.whole().running).unwrap_or_default();
        let (mut from, mut to) = (runs(from), runs(to));
        let state = match (from.is_empty(), to.is_empty()) {
            (false, true) => Compared::OnlyFrom,
            (true, false) => Compared::OnlyTo,
            (false, false) | (true, true) if self.are_same(&from, &to)? => Compared::Same,
            (false, false) | (true, true) => Compared::Different,
        };
        let (from_cut, to_cut) = (cut_listed(&mut from), cut_listed(&mut to));
        Ok(ComparedService { service: name, state, from, from_cut, to, to_cut, running_at_least, canaries_cut })
    }

    /// Whether the same artifacts run with the same shares, wherever. Digests are looked up only where they are not
    /// the same as they stand.
    fn are_same(&self, from: &[Running], to: &[Running]) -> Result<bool, Error> {
        let plain = |digest: &str| Ok(digest.to_owned());
        if Shares::of(from, &plain)?.equal(&Shares::of(to, &plain)?) {
            return Ok(true);
        }
        let graph = Graph::new(self);
        let canonical = |digest: &str| graph.canonical(digest);
        Ok(Shares::of(from, &canonical)?.equal(&Shares::of(to, &canonical)?))
    }
}

impl ComparedCounts {
    fn add(&mut self, state: Compared) {
        let count = match state {
            Compared::Same => &mut self.same,
            Compared::Different => &mut self.different,
            Compared::OnlyFrom => &mut self.only_from,
            Compared::OnlyTo => &mut self.only_to,
        };
        *count = count.saturating_add(1);
    }
}

/// One side, as far as it was walked.
struct Listed<'s> {
    walk: Walk<'s>,
    passed: Passed,
    /// Whether anything was passed.
    begun: bool,
    /// The next service of which something runs, with the key by which sides are ordered.
    next: Option<(Key, ServiceRuns)>,
}

impl<'s> Listed<'s> {
    fn of(scope: &'s Scope, name: &'s str, after: Option<Vec<u8>>, limit: usize) -> Result<Listed<'s>, Error> {
        let (walk, passed) = scope.walk(name, after.as_deref(), limit, Depth::LOOKED_AT)?;
        let mut listed = Listed { walk, passed, begun: after.is_some(), next: None };
        listed.advance()?;
        Ok(listed)
    }

    fn advance(&mut self) -> Result<(), Error> {
        self.next = None;
        while let Some(service) = self.walk.next_service()? {
            if service.runs() {
                let order = Key::from_bytes(&[]).text(&service.service);
                self.next = Some((order, service));
                break;
            }
            self.pass(&service.service);
        }
        Ok(())
    }

    fn pass(&mut self, service: &str) {
        self.passed.pass(service);
        self.begun = true;
    }

    /// The next service, if it is this one.
    fn take(&mut self, order: &Key) -> Result<Option<ServiceRuns>, Error> {
        let Some((_, service)) = self.next.take_if(|(next, _)| next == order) else { return Ok(None) };
        self.pass(&service.service);
        self.advance()?;
        Ok(Some(service))
    }

    /// Services that were passed and what was passed over between them lie before it.
    fn page_key(&self) -> Option<Vec<u8>> {
        self.begun.then(|| self.passed.page_key())
    }
}

/// What comes first on either side.
fn first_of(a: &Listed<'_>, b: &Listed<'_>) -> Option<Key> {
    let orders = [&a.next, &b.next].into_iter().flatten().map(|(order, _)| order);
    orders.min().cloned()
}

/// What something is called that two sides may have in common while a digest is not known.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Called {
    /// Key of its reference.
    name: String,
    /// Since when it runs; 0 where its tag names a version. A tag of no number, such as `latest`, is a mapping of its time
    /// (SPEC §2.3): it names one thing only where it was read at the same moment.
    since: Nanos,
}

impl Called {
    /// `None` for what has no name.
    fn of(run: &Running) -> Option<Called> {
        let name = reference_key(&run.artifact_ref);
        let tag = ArtifactRef::parse(&run.artifact_ref).map(|reference| reference.tag).unwrap_or_default();
        let is_version = tag.bytes().any(|byte| byte.is_ascii_digit());
        let since = if is_version { Nanos(0) } else { run.since };
        (run.artifact_ref != UNKNOWN).then_some(Called { name, since })
    }
}

/// What runs on a side, each with its share.
#[derive(Default)]
struct Shares {
    digests: BTreeSet<(String, u32)>,
    /// What all of it is called.
    names: BTreeSet<(Called, u32)>,
    /// What that is called of which the digest is not known; `None` for what has no name either.
    nameless: BTreeSet<(Option<Called>, u32)>,
    /// What has a digest.
    known: Vec<(String, Option<Called>, u32)>,
}

impl Shares {
    fn of(running: &[Running], digest_of: &dyn Fn(&str) -> Result<String, Error>) -> Result<Shares, Error> {
        let mut shares = Shares::default();
        for run in running {
            let (called, weight) = (Called::of(run), run.weight);
            if let Some(digest) = &run.digest {
                let digest = digest_of(digest)?;
                shares.digests.insert((digest.clone(), weight));
                shares.known.push((digest, called.clone(), weight));
            } else {
                shares.nameless.insert((called.clone(), weight));
            }
            shares.names.extend(called.map(|called| (called, weight)));
        }
        Ok(shares)
    }

    fn equal(&self, other: &Shares) -> bool {
        self.are_in(other) && other.are_in(self)
    }

    /// One digest, or one name where a digest is not known. What has neither is never the same.
    fn are_in(&self, other: &Shares) -> bool {
        let known = |(digest, called, weight): &(String, Option<Called>, u32)| {
            other.digests.contains(&(digest.clone(), *weight))
                || (called.is_some() && other.nameless.contains(&(called.clone(), *weight)))
        };
        let nameless = |(called, weight): &(Option<Called>, u32)| {
            called.as_ref().is_some_and(|called| other.names.contains(&(called.clone(), *weight)))
        };
        self.known.iter().all(known) && self.nameless.iter().all(nameless)
    }
}
