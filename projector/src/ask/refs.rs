//! What a reference leads to: digests, short digests, tags, purls, commits, and what runs somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use pedigraph_proto::{ArtifactRef, Digest, Nanos, Purl};

use super::answers::{Candidate, Found, Proof, Running};
use super::changes::Numbered;
use super::environment_diff::EnvironmentSide;
use super::identity::{Graph, fields};
use super::scope::{Clocks, Scope};
use crate::error::Error;
use crate::facts::deployments::rows::{REFERENCE, by_artifact, reference_key, unreadable};
use crate::facts::lineage::rows::{from_its_begin, from_its_end, table};
use crate::store::key::Key;

/// Hex digits that a short digest has at least.
pub const SHORT_DIGEST_MIN: usize = 6;
/// Hex digits that a short commit has at least.
pub const SHORT_COMMIT_MIN: usize = 7;
/// Candidates of one answer.
pub const CANDIDATES_MAX: usize = 20;
/// Candidates that are looked for: one more says that there are more.
pub(super) const CANDIDATES_SOUGHT: usize = CANDIDATES_MAX + 1;

/// Marks of a moment that are looked at in one reference: names have some of their own.
const MARKS_MAX: usize = 8;

/// Changes that `prod~n` goes back at most where it means all of an environment.
const WHOLE_BACK_MAX: usize = 1_000;

/// What a reference led to.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Target {
    /// An artifact, by its canonical digest.
    Artifact(String),
    /// Something that runs, or ran.
    Running(Box<Place>),
}

/// Something that runs, or ran, somewhere.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Place {
    pub(super) environment: String,
    pub(super) service: String,
    pub(super) artifact_ref: String,
    pub(super) digest: Option<String>,
    pub(super) since: Nanos,
    pub(super) proof: Proof,
    /// What else runs there, such as a canary.
    pub(super) beside: Vec<String>,
}

/// Which state of an environment is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum When {
    Now,
    /// So many changes ago.
    Back(usize),
    /// Right after the change that this ledger entry proves.
    Number(u64),
    At(Nanos),
}

impl Scope {
    /// The environment that a reference names as a whole, with its moment, such as `prod` and `prod@{2h}`; `None` for
    /// all else.
    pub fn whole_environment(&self, reference: &str) -> Result<Option<EnvironmentSide>, Error> {
        Graph::new(self).whole(reference)
    }
}

impl Graph<'_> {
    /// The best reading of a reference. A whole digest names one thing, whatever else somebody gave that name; of other
    /// readings that are several things none goes before the others.
    pub(super) fn target(&self, reference: &str) -> Result<Found<Target>, Error> {
        let reference = reference.trim();
        if let Some(digest) = whole_digest(reference) {
            let known = self.known_digest(digest.as_str())?;
            return Ok(known.map_or(Found::Nothing, |digest| Found::One(Target::Artifact(digest))));
        }
        let place = self.place(reference)?;
        let mut digests = Vec::new();
        for reading in [Graph::by_short_digest, Graph::by_purl, Graph::by_commit, Graph::by_tag] {
            digests = reading(self, reference)?;
            if !digests.is_empty() {
                break;
            }
        }
        match (place, digests.as_slice()) {
            (Found::Nothing, []) => self.runs_by_tag(reference),
            (Found::Nothing, [digest]) => Ok(Found::One(Target::Artifact(digest.clone()))),
            (Found::One(place), _) if digests.iter().all(|digest| place.digest.as_ref() == Some(digest)) => {
                Ok(Found::One(Target::Running(Box::new(place))))
            }
            (place, _) => {
                let mut candidates = candidates_of(place);
                candidates.extend(self.candidates(digests.iter())?);
                Ok(Found::Ambiguous(candidates))
            }
        }
    }

    /// What was deployed by a tag alone, while no event says which digest that is: where it runs.
    fn runs_by_tag(&self, reference: &str) -> Result<Found<Target>, Error> {
        let key = reference_key(reference);
        let mut places = Vec::new();
        for environment in self.environments_of_reference(&key)? {
            let Some(state) = self.scope.environment(&environment, false)? else { continue };
            for service in state.services {
                let running = service.running.into_iter().filter(|run| reference_key(&run.artifact_ref) == key);
                places.extend(main_of(&environment, &service.service, running.collect()));
            }
        }
        Ok(match places.len() {
            0 => Found::Nothing,
            1 => Found::One(Target::Running(Box::new(places.swap_remove(0)))),
            _ => {
                let candidate = |place: &Place| service_candidate(&place.service, &place.environment);
                Found::Ambiguous(places.iter().take(CANDIDATES_SOUGHT).map(candidate).collect())
            }
        })
    }

    /// Environments in which something was deployed by this reference without a digest: a few rows of each.
    fn environments_of_reference(&self, key: &str) -> Result<Vec<String>, Error> {
        let mut environments = Vec::new();
        self.scope.each_lane_under(&by_artifact(&self.scope.tenant, REFERENCE, key), &mut |lane| {
            environments.push(lane.environment.clone());
            Ok((environments.len() < CANDIDATES_SOUGHT).then_some(true))
        })?;
        Ok(environments)
    }

    /// Artifacts as candidates.
    pub(super) fn candidates<'d>(&self, digests: impl Iterator<Item = &'d String>) -> Result<Vec<Candidate>, Error> {
        let mut candidates = Vec::new();
        for digest in digests.take(CANDIDATES_SOUGHT) {
            if let Some(profile) = self.profile(digest)? {
                candidates.push(artifact_candidate(&profile.digest, &profile.reference));
            }
        }
        Ok(candidates)
    }

    /// The canonical digest of an artifact, if it is known.
    fn known_digest(&self, digest: &str) -> Result<Option<String>, Error> {
        Ok(self.profile(digest)?.map(|profile| profile.digest.clone()))
    }

    /// The beginning of a digest, with or without `sha256:`; at most [`CANDIDATES_SOUGHT`].
    pub(super) fn by_short_digest(&self, text: &str) -> Result<Vec<String>, Error> {
        let (algorithm, hex) = text.split_once(':').unwrap_or(("sha256", text));
        let is_hex = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex || hex.len() < SHORT_DIGEST_MIN || !["sha256", "sha512"].contains(&algorithm) {
            return Ok(vec![]);
        }
        let (names, hex) = (self.key(table::NAMES), hex.to_ascii_lowercase());
        let (from, end) = match algorithm {
            "sha256" => names.digests(&hex),
            _ => {
                let prefix = names.text_prefix(&format!("{algorithm}:{hex}"));
                (prefix.clone(), prefix.prefix_end())
            }
        };
        let mut found = BTreeSet::new();
        self.each_digest(from, &end, |digest| {
            if let Some(profile) = self.profile(digest)? {
                found.insert(profile.digest.clone());
            }
            Ok(if found.len() >= CANDIDATES_SOUGHT { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(found.into_iter().collect())
    }

    /// A purl of the artifact itself; without version every version.
    pub(super) fn by_purl(&self, text: &str) -> Result<Vec<String>, Error> {
        let Some(purl) = Purl::parse(text) else { return Ok(vec![]) };
        if let Some(digest) = purl.named_digest() {
            let known = self.known_digest(digest.as_str())?;
            if known.is_some() || purl.is_image() {
                return Ok(known.into_iter().collect());
            }
        }
        let mut prefix = self.key(table::PURLS).text(purl.package_key());
        if !purl.version().is_empty() {
            prefix = prefix.text(purl.version_key());
        }
        self.known(table::PURLS, &prefix, |_| Ok(true))
    }

    /// What a commit, whole or its beginning, was built into. Of an index and its manifests the index stands for all.
    pub(super) fn by_commit(&self, text: &str) -> Result<Vec<String>, Error> {
        let Some(commit) = commit_text(text) else { return Ok(vec![]) };
        let prefix = self.key(table::BUILT_FROM).text_prefix(&commit);
        self.known(table::BUILT_FROM, &prefix, |digest| self.stands_for_itself(digest, &commit))
    }

    /// Whether no index above an artifact was built from the commit too, and stands for it.
    pub(super) fn stands_for_itself(&self, digest: &str, commit: &str) -> Result<bool, Error> {
        for index in &self.above(digest)?.members {
            if self.was_built_from(&index.digest, commit)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn was_built_from(&self, digest: &str, commit: &str) -> Result<bool, Error> {
        for digest in &self.group(digest)?.digests {
            let prefix = self.key(table::COMMITS).text(digest).text_prefix(commit);
            if !self.scope.keyed::<()>(&prefix, &prefix.prefix_end(), false, Clocks::Both, 1)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Artifacts whose digest is the third text in keys that begin with `prefix`, at most
    /// [`CANDIDATES_SOUGHT`] of those that are wanted: from one digest to the next by one seek each, however often each is
    /// named.
    fn known(
        &self,
        table: u8,
        prefix: &Key,
        mut wanted: impl FnMut(&str) -> Result<bool, Error>,
    ) -> Result<Vec<String>, Error> {
        let (mut from, end) = (prefix.clone(), prefix.prefix_end());
        let (mut looked_at, mut found) = (BTreeSet::new(), BTreeSet::new());
        while found.len() < CANDIDATES_SOUGHT {
            let next = self.scope.keyed::<()>(&from, &end, false, Clocks::Both, 1)?;
            let Some((key, _)) = next.first() else { break };
            let texts = fields(key).and_then(|mut reader| Some((reader.text()?, reader.text()?, reader.text()?)));
            let (first, second, digest) = texts.ok_or_else(unreadable)?;
            from = self.key(table).text(&first).text(&second).text(&digest).prefix_end();
            let Some(profile) = self.profile(&digest)? else { continue };
            if looked_at.insert(profile.digest.clone()) && wanted(&profile.digest)? {
                found.insert(profile.digest.clone());
            }
        }
        Ok(found.into_iter().collect())
    }

    /// What a tag points at: of the repository as written, else of any whose name ends so.
    pub(super) fn by_tag(&self, text: &str) -> Result<Vec<String>, Error> {
        let has_tag = |reference: &ArtifactRef| reference.digest.is_none() && !reference.tag.is_empty();
        let Some(reference) = ArtifactRef::parse(text).filter(has_tag) else { return Ok(vec![]) };
        let exact = self.tagged(&reference.repository_key(), &reference.tag)?;
        if exact.is_some() || text.starts_with("pkg:") {
            return Ok(exact.into_iter().collect());
        }
        let name = text.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(text, |(name, _)| name);
        let mut found = BTreeSet::new();
        self.each_repository(name, &reference.tag, |repository| {
            found.extend(self.tagged(repository, &reference.tag)?);
            Ok(if found.len() >= CANDIDATES_SOUGHT { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(found.into_iter().collect())
    }

    /// Visits the repositories whose names are one or end so after a slash, that ever had a tag; of an empty one all of
    /// them but those that are only named in passing. Others are not read.
    pub(super) fn each_repository(
        &self,
        name: &str,
        tag: &str,
        mut visit: impl FnMut(&str) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let prefix = self.key(table::SHORT).text(tag).text_prefix(&from_its_end(name));
        self.scope.each::<()>(&prefix, &prefix.prefix_end(), false, Clocks::Known, |key, _| {
            let parts = fields(key).and_then(|mut reader| reader.text().and_then(|_| reader.text()));
            visit(&from_its_begin(&parts.ok_or_else(unreadable)?))
        })
    }

    fn tagged(&self, repository: &str, tag: &str) -> Result<Option<String>, Error> {
        let moment = self.scope.at.unwrap_or(Nanos(i64::MAX));
        let Some(digest) = self.scope.named_at(repository, tag, moment)? else { return Ok(None) };
        self.known_digest(&digest)
    }

    /// `prod/service`, `prod`, and moments of these: `~1`, `#42`, `@{2h}`, `@{2026-08-14T12:47Z}`. What has such a mark in
    /// its own name is found by it too.
    fn place(&self, reference: &str) -> Result<Found<Place>, Error> {
        let mut found = Vec::new();
        for (name, when) in self.readings(reference)? {
            self.places(&name, when, &mut found)?;
        }
        match found.len() {
            0 => Ok(Found::Nothing),
            1 => Ok(found.swap_remove(0)),
            _ => {
                let candidates = found.into_iter().flat_map(candidates_of);
                Ok(Found::Ambiguous(candidates.take(CANDIDATES_SOUGHT).collect()))
            }
        }
    }

    /// What runs, or ran, in each place that a name may mean.
    fn places(&self, name: &str, when: When, found: &mut Vec<Found<Place>>) -> Result<(), Error> {
        for (environment, service) in splits(name) {
            let here = self.place_in(environment, service, when)?;
            if here != Found::Nothing {
                found.push(here);
            }
        }
        Ok(())
    }

    fn place_in(&self, environment: &str, service: Option<&str>, when: When) -> Result<Found<Place>, Error> {
        let moment = match when {
            When::At(at) => Some(self.scope.at.map_or(at, |bound| bound.min(at))),
            When::Now | When::Back(_) => self.scope.at,
            When::Number(number) => return self.ran_after(environment, service, number),
        };
        let then = self.scope.when(moment);
        let state = match service {
            Some(service) => then.service(environment, service)?,
            None => {
                let mut services = then.environment(environment, true)?.map(|state| state.services).unwrap_or_default();
                if services.len() > 1 {
                    let names: Vec<&str> = services.iter().map(|state| state.service.as_str()).collect();
                    return Ok(Found::Ambiguous(services_of(environment, &names)));
                }
                services.pop()
            }
        };
        let Some(state) = state else { return Ok(Found::Nothing) };
        let service = state.service;
        if let When::Back(back) = when {
            return self.ran_before(environment, &service, back);
        }
        let mains = mains_of(environment, &service, &state.running);
        if let Some(candidates) = self.different_places(environment, &service, &mains)? {
            return Ok(Found::Ambiguous(candidates));
        }
        Ok(main_of(environment, &service, state.running).map_or(Found::Nothing, Found::One))
    }

    /// The environment that a reference names as a whole, and the moment: `prod`, `prod/`, `prod@{2h}`, `prod#42`,
    /// `prod~1` (before its newest change). `None` where nobody has named such an environment, or it has not changed so
    /// often.
    fn whole(&self, reference: &str) -> Result<Option<EnvironmentSide>, Error> {
        let is_named = |name: &str| self.scope.environment_is_named(name);
        for (name, when) in self.readings(reference.trim())? {
            let environment = match (is_named(&name)?, name.strip_suffix('/')) {
                (true, _) => name,
                (false, Some(rest)) if is_named(rest)? => rest.to_owned(),
                (false, _) => continue,
            };
            if let Some(at) = self.moment_of(&environment, when)? {
                return Ok(Some(EnvironmentSide { environment, at }));
            }
        }
        Ok(None)
    }

    /// The moment of an environment that is meant; `None` where it has not changed so often.
    fn moment_of(&self, environment: &str, when: When) -> Result<Option<Option<Nanos>>, Error> {
        Ok(match when {
            When::Now | When::Back(0) => Some(self.scope.at),
            When::At(at) => Some(Some(self.scope.at.map_or(at, |bound| bound.min(at)))),
            When::Number(number) => self.scope.numbered_change(environment, number)?.map(|change| Some(change.at)),
            When::Back(back) if back > WHOLE_BACK_MAX => None,
            When::Back(back) => {
                let changes = self.scope.changes(environment, None, back)?.map(|page| page.rows).unwrap_or_default();
                changes.get(back - 1).map(|change| Some(Nanos(change.at.0.saturating_sub(1))))
            }
        })
    }

    fn ran_before(&self, environment: &str, service: &str, back: usize) -> Result<Found<Place>, Error> {
        let known = self.scope.last_known(environment, service, back)?.into_iter().map(|known| {
            let place = Place {
                environment: environment.to_owned(),
                service: service.to_owned(),
                artifact_ref: known.artifact_ref,
                digest: known.digest,
                since: known.since,
                proof: known.proof,
                beside: vec![],
            };
            ((known.cluster, known.namespace), place)
        });
        let known: Vec<((String, String), Place)> = known.collect();
        if let Some(candidates) = self.different_places(environment, service, &known)? {
            return Ok(Found::Ambiguous(candidates));
        }
        let newest = known.into_iter().map(|(_, place)| place).max_by_key(|place| (place.since, place.proof.index));
        Ok(newest.map_or(Found::Nothing, Found::One))
    }

    /// Right after the change that an entry proves: what it made run itself, and not what another one of the same second
    /// did, or of another cluster. Where it changed something else, what ran then.
    fn ran_after(&self, environment: &str, service: Option<&str>, number: u64) -> Result<Found<Place>, Error> {
        if let Some(Numbered { service, now, beside, proof }) = self.scope.numbered_run(environment, service, number)? {
            let place = now.map(|run| Place {
                environment: environment.to_owned(),
                service,
                artifact_ref: run.artifact.reference.clone(),
                digest: run.artifact.digest.clone(),
                since: run.since.time,
                proof,
                beside: beside.iter().map(|run| beside_it(&run.artifact.reference, run.weight)).collect(),
            });
            return Ok(place.map_or(Found::Nothing, Found::One));
        }
        let Some(change) = self.scope.numbered_change(environment, number)? else { return Ok(Found::Nothing) };
        let changed = Some(change.service.as_str()).filter(|service| !service.is_empty());
        let then = self.scope.when(Some(change.at));
        Graph::new(&then).place_in(environment, service.or(changed), When::Now)
    }

    /// One candidate a place, where the places of a service (cluster, namespace) run different things; else `None`.
    fn different_places(
        &self,
        environment: &str,
        service: &str,
        mains: &[((String, String), Place)],
    ) -> Result<Option<Vec<Candidate>>, Error> {
        let what = |place: &Place| place.digest.clone().unwrap_or_else(|| reference_key(&place.artifact_ref));
        let plain: BTreeSet<String> = mains.iter().map(|(_, place)| what(place)).collect();
        if plain.len() <= 1 {
            return Ok(None);
        }
        // A manifest and its config are one artifact.
        let canonical = |place: &Place| match &place.digest {
            Some(digest) => self.canonical(digest),
            None => Ok(what(place)),
        };
        let one = mains.iter().map(|(_, place)| canonical(place)).collect::<Result<BTreeSet<String>, Error>>()?;
        if one.len() <= 1 {
            return Ok(None);
        }
        let candidate = |((cluster, namespace), place): &((String, String), Place)| {
            let named = [cluster, namespace].into_iter().filter(|name| !name.is_empty()).cloned().collect::<Vec<_>>();
            let at = if named.is_empty() { "no named cluster".to_owned() } else { named.join("/") };
            let label = format!("{} in {environment} ({at})", place.artifact_ref);
            match &place.digest {
                Some(digest) => artifact_candidate(digest, &label),
                None => Candidate { label, ..service_candidate(service, environment) },
            }
        };
        Ok(Some(mains.iter().take(CANDIDATES_SOUGHT).map(candidate).collect()))
    }

    /// Ways to read a reference as a name and a moment; as a name alone where it has no moment, or may have a mark of its
    /// own.
    fn readings(&self, reference: &str) -> Result<Vec<(String, When)>, Error> {
        if let Some((before, rest)) = reference.split_once("@{") {
            let Some((moment, after)) = rest.split_once('}') else { return Ok(vec![]) };
            let at = self.moment(moment)?;
            return Ok(vec![(format!("{before}{after}"), When::At(at))]);
        }
        let marks = reference.match_indices(['~', '#']).filter_map(|(at, mark)| {
            let (before, rest) = (&reference[..at], &reference[at + 1..]);
            let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
            let (number, after) = rest.split_at(digits);
            let when = match (mark, number) {
                ("~", "") => When::Back(1),
                ("~", number) => When::Back(number.parse().unwrap_or(usize::MAX)),
                (_, "") => return None,
                (_, number) => When::Number(number.parse().unwrap_or(u64::MAX)),
            };
            Some((format!("{before}{after}"), when))
        });
        Ok(marks.take(MARKS_MAX).chain([(reference.to_owned(), When::Now)]).collect())
    }

    /// A moment; an age counts back from the question's own moment.
    fn moment(&self, text: &str) -> Result<Nanos, Error> {
        let from = self.scope.at.or(self.scope.now);
        let parsed = match from {
            Some(from) => Nanos::parse_moment(text, from),
            None => Nanos::parse(text),
        };
        parsed.ok_or_else(|| Error::Question(format!("{text:?} is no moment: write 2h, 3d or 2026-08-14T12:47Z")))
    }
}

/// An artifact as a candidate.
pub(super) fn artifact_candidate(digest: &str, reference: &str) -> Candidate {
    Candidate {
        kind: "artifact".to_owned(),
        id: digest.to_owned(),
        label: reference.to_owned(),
        digest: Some(digest.to_owned()),
        environment: None,
    }
}

/// A service as a candidate.
pub(super) fn service_candidate(service: &str, environment: &str) -> Candidate {
    Candidate {
        kind: "service".to_owned(),
        id: format!("{environment}/{service}"),
        label: format!("{service} in {environment}"),
        digest: None,
        environment: Some(environment.to_owned()),
    }
}

/// What a place may be, as candidates.
fn candidates_of(found: Found<Place>) -> Vec<Candidate> {
    match found {
        Found::One(place) => vec![service_candidate(&place.service, &place.environment)],
        Found::Ambiguous(candidates) => candidates,
        Found::Nothing => vec![],
    }
}

/// The digest that a text is, or that an image reference has.
fn whole_digest(text: &str) -> Option<Digest> {
    text.parse::<Digest>().ok().or_else(|| ArtifactRef::parse(text)?.digest)
}

/// A commit hash or the beginning of one, lower case.
pub(super) fn commit_text(text: &str) -> Option<String> {
    let fits = (SHORT_COMMIT_MIN..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    fits.then(|| text.to_ascii_lowercase())
}

/// Every way to read a name as environment and service, since either may have a slash.
fn splits(name: &str) -> Vec<(&str, Option<&str>)> {
    let mut splits = vec![(name, None)];
    splits.extend(name.match_indices('/').map(|(at, _)| (&name[..at], Some(&name[at + 1..]))));
    splits
}

fn services_of(environment: &str, services: &[&str]) -> Vec<Candidate> {
    let candidate = |service: &&str| service_candidate(service, environment);
    services.iter().take(CANDIDATES_SOUGHT).map(candidate).collect()
}

/// What has the most traffic in each place (cluster, namespace).
fn mains_of(environment: &str, service: &str, running: &[Running]) -> Vec<((String, String), Place)> {
    let mut places: BTreeMap<(String, String), Vec<Running>> = BTreeMap::new();
    for run in running {
        let place = (run.cluster.clone().unwrap_or_default(), run.namespace.clone().unwrap_or_default());
        places.entry(place).or_default().push(run.clone());
    }
    let mains = places.into_iter();
    mains.filter_map(|(place, runs)| Some((place, main_of(environment, service, runs)?))).collect()
}

fn beside_it(reference: &str, weight: u32) -> String {
    format!("{reference} at {weight} %")
}

/// What has the most traffic; of equals the newest.
fn main_of(environment: &str, service: &str, mut running: Vec<Running>) -> Option<Place> {
    running.sort_by(|a, b| (b.weight, b.since, &a.artifact_ref).cmp(&(a.weight, a.since, &b.artifact_ref)));
    let mut running = running.into_iter();
    let main = running.next()?;
    Some(Place {
        environment: environment.to_owned(),
        service: service.to_owned(),
        artifact_ref: main.artifact_ref,
        digest: main.digest,
        since: main.since,
        proof: main.proof,
        beside: running.map(|other| beside_it(&other.artifact_ref, other.weight)).collect(),
    })
}
