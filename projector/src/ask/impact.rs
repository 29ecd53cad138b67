//! What contains a purl, and where that runs (SPEC §5, `components/impact`).

use std::collections::{BTreeMap, BTreeSet};

use pedigraph_proto::vers::Range;
use pedigraph_proto::{Nanos, Purl};

use super::answers::{ComponentPath, Impact, ImpactCounts, ImpactRow, Running, UnknownRow};
use super::contents::Contents;
use super::environment::RunningIn;
use super::identity::Graph;
use super::scope::Scope;
use crate::error::Error;
use crate::facts::components::rows::{LINKS, PACKAGES, SET_SUBJECTS, clipped, table};

/// Most different components (versions, and the same version described otherwise) that one question may match.
pub const MATCHES_MAX: usize = 20_000;
/// Most component sets, and most artifacts, that one question may reach.
pub const SETS_MAX: usize = 100_000;
/// Most matching components that one row lists.
pub const PATHS_PER_ROW_MAX: usize = 100;

/// A question about a purl.
#[derive(Clone, PartialEq, Debug)]
pub struct ImpactQuestion {
    /// A purl, with or without version.
    pub purl: String,
    /// A `vers:` range.
    pub versions: Option<String>,
    /// Only this environment.
    pub environment: Option<String>,
    /// Rows per list.
    pub limit: usize,
    /// Where the last page ended.
    pub after: Option<Vec<u8>>,
}

/// An artifact that contains it.
#[derive(Clone, PartialEq, Debug)]
struct Affected {
    reference: String,
    /// Current sets that contain it.
    sets: BTreeSet<u32>,
    /// The newest of the entries that say so now.
    proof: u64,
    /// When an entry that says so was recorded first.
    known_at: Nanos,
}

impl Scope {
    /// What contains a purl and where that runs, with the next page's key. Each list is a page of its own, cut at the
    /// same offset; counts are exact. A question that reaches more than [`SETS_MAX`] sets or artifacts is refused.
    pub fn impact(&self, question: &ImpactQuestion) -> Result<(Impact, Option<Vec<u8>>), Error> {
        let offset = offset(question.after.as_deref())?;
        let purl = Purl::parse(&question.purl);
        let purl = purl.ok_or_else(|| Error::Question(format!("{:?} is not a purl", question.purl)))?;
        let range = question.versions.as_deref().map(|range| Range::parse(range, purl.kind()));
        let range = range.transpose().map_err(Error::Question)?;
        let matches = self.matching(&purl, range.as_ref())?;
        let affected = self.affected(&matches)?;
        let mut answer = Answer { scope: self, matches, affected, contents: BTreeMap::new(), graph: Graph::new(self) };
        let running = self.running_everywhere(question.environment.as_deref())?;
        let sorted = answer.sort(running)?;
        let not_deployed = question.environment.is_none().then_some(&sorted.not_deployed);
        let counts = ImpactCounts {
            deployed: sorted.deployed.len() as u64,
            not_deployed: not_deployed.map_or(0, Vec::len) as u64,
            cleared: 0,
            unknown: sorted.unknown.len() as u64,
        };
        let page = |len: usize| offset.min(len)..offset.saturating_add(question.limit).min(len);
        let deployed = sorted.deployed[page(sorted.deployed.len())].iter();
        let deployed = deployed.map(|(run, digest)| answer.deployed_row(run, digest)).collect::<Result<_, _>>()?;
        let not_deployed = match not_deployed {
            Some(digests) => {
                let rows = digests[page(digests.len())].iter().map(|(_, digest)| answer.row(digest));
                Some(rows.collect::<Result<_, _>>()?)
            }
            None => None,
        };
        let unknown = sorted.unknown[page(sorted.unknown.len())].to_vec();
        let end = offset.saturating_add(question.limit) as u64;
        let more = [counts.deployed, counts.not_deployed, counts.unknown].iter().any(|count| *count > end);
        let next = more.then(|| end.to_be_bytes().to_vec());
        let (purl, versions) = (purl.to_string(), question.versions.clone());
        let impact =
            Impact { purl, versions, deployed, not_deployed, cleared: vec![], unknown, counts, next_page_token: None };
        Ok((impact, next))
    }

    /// Numbers of the components that are asked for, ascending.
    fn matching(&self, purl: &Purl, range: Option<&Range>) -> Result<Vec<u32>, Error> {
        let prefix = table(&self.tenant, PACKAGES).text(clipped(purl.package()));
        let (numbers, cut) = self.numbered(&prefix, MATCHES_MAX)?;
        if cut {
            return Err(too_many("components match", MATCHES_MAX));
        }
        let mut matching = Vec::new();
        for number in numbers {
            let component = Purl::parse(&self.known(number)?.purl);
            if component.is_some_and(|component| is_asked_for(purl, range, &component)) {
                matching.push(number);
            }
        }
        matching.sort_unstable();
        Ok(matching)
    }

    /// Artifacts whose current SBOMs contain one of the components, by canonical digest.
    fn affected(&self, matches: &[u32]) -> Result<BTreeMap<String, Affected>, Error> {
        let mut sets = self.sets_with(matches)?;
        let unknown =
            sets.iter().map(|set| Ok((*set, !self.set_has(*set, matches)?))).collect::<Result<Vec<_>, Error>>()?;
        unknown.iter().filter(|(_, unknown)| *unknown).for_each(|(set, _)| {
            sets.remove(set);
        });
        let mut subjects: BTreeSet<String> = BTreeSet::new();
        for set in &sets {
            let prefix = table(&self.tenant, SET_SUBJECTS).number(u64::from(*set));
            subjects.extend(self.digests_under(&prefix, 0, SETS_MAX)?);
            if subjects.len() > SETS_MAX {
                return Err(too_many("artifacts contain it", SETS_MAX));
            }
        }
        let mut affected = BTreeMap::new();
        for subject in subjects {
            let linked = self.digests_under(&table(&self.tenant, LINKS).text(&subject), 1, SETS_MAX)?;
            let digests = if linked.is_empty() { vec![subject] } else { linked };
            for digest in digests {
                let digest = self.canonical_digest(&digest)?;
                if affected.contains_key(&digest) {
                    continue;
                }
                if let Some(found) = self.affected_one(&digest, &sets)? {
                    affected.insert(digest, found);
                }
            }
        }
        Ok(affected)
    }

    /// Postings know no `asOf`: of a set with slices that this scope does not see, what it does see is looked through.
    fn set_has(&self, set: u32, matches: &[u32]) -> Result<bool, Error> {
        if self.sees_whole_set(set)? {
            return Ok(true);
        }
        let contents = self.contents(set)?;
        Ok(matches.iter().any(|component| contents.place(*component).is_some()))
    }

    fn affected_one(&self, digest: &str, sets: &BTreeSet<u32>) -> Result<Option<Affected>, Error> {
        let current: Vec<_> = self.current_sboms(digest)?.into_iter().filter(|sbom| sets.contains(&sbom.set)).collect();
        let Some(newest) = current.iter().max_by_key(|sbom| sbom.stamp.order()) else { return Ok(None) };
        let all = self.sboms_of(digest)?;
        let says_so = all.iter().filter(|row| row.value.set.is_none_or(|set| sets.contains(&set)));
        let first = says_so.map(|row| row.stamp.index).min().unwrap_or(newest.stamp.index);
        let said = current.iter().map(|sbom| &sbom.reference).find(|reference| !reference.is_empty()).cloned();
        Ok(Some(Affected {
            reference: self.name_of(digest)?.or(said).unwrap_or_else(|| digest.to_owned()),
            sets: current.iter().map(|sbom| sbom.set).collect(),
            proof: newest.stamp.index,
            known_at: self.recorded_at(first)?,
        }))
    }

    fn recorded_at(&self, index: u64) -> Result<Nanos, Error> {
        Ok(Nanos(self.entry_row(index)?.map_or(0, |row| row.recorded_at)))
    }

    fn sets_with(&self, matches: &[u32]) -> Result<BTreeSet<u32>, Error> {
        let components = &self.shared.views.components;
        loop {
            let snapshot = match components.tenants.lock().get(&self.tenant) {
                Some(memory) => memory.postings.snapshot(matches),
                None => return Ok(BTreeSet::new()),
            };
            let sets = snapshot.sets(&self.tenant, self.shared.store.as_ref(), matches, SETS_MAX);
            // A reader so slow that two merges passed may have missed rows that the second one removed.
            let complete = components.tenants.lock().get(&self.tenant).is_some_and(|m| m.postings.still_has(&snapshot));
            if !complete {
                continue;
            }
            let sets = sets?;
            return if sets.len() > SETS_MAX { Err(too_many("component sets contain it", SETS_MAX)) } else { Ok(sets) };
        }
    }
}

fn too_many(what: &str, limit: usize) -> Error {
    Error::Question(format!("more than {limit} {what}: name a version or a narrower range"))
}

fn offset(after: Option<&[u8]>) -> Result<usize, Error> {
    let Some(after) = after else { return Ok(0) };
    let offset = after.try_into().ok().and_then(|bytes| usize::try_from(u64::from_be_bytes(bytes)).ok());
    offset.ok_or_else(|| Error::Question("the page token is not one of this list: begin again without it".to_owned()))
}

/// Type, namespace, name and subpath are the same; so is the version where one is given; two `pkg:oci` with different
/// repositories are not.
fn is_asked_for(asked: &Purl, range: Option<&Range>, component: &Purl) -> bool {
    let same = asked.package() == component.package();
    let exact = asked.version().is_empty() || asked.version() == component.version();
    let ranged = range.is_none_or(|range| range.contains(component.version()));
    same && exact && ranged && same_repository(asked, component)
}

fn same_repository(asked: &Purl, component: &Purl) -> bool {
    if asked.kind() != "oci" {
        return true;
    }
    let urls = asked.qualifier("repository_url").zip(component.qualifier("repository_url"));
    urls.is_none_or(|(asked, component)| asked == component)
}

/// An answer being made.
struct Answer<'a> {
    scope: &'a Scope,
    matches: Vec<u32>,
    affected: BTreeMap<String, Affected>,
    /// Sets that were read for this answer.
    contents: BTreeMap<u32, Contents>,
    /// Lines and versions that were read for this answer.
    graph: Graph<'a>,
}

/// The lists before they are cut into pages.
struct Sorted {
    /// What runs, with the digest that contains it.
    deployed: Vec<(RunningIn, String)>,
    /// (reference, digest).
    not_deployed: Vec<(String, String)>,
    unknown: Vec<UnknownRow>,
}

impl Answer<'_> {
    fn sort(&self, mut running: Vec<RunningIn>) -> Result<Sorted, Error> {
        running.sort_by(|a, b| place(a).cmp(&place(b)));
        let mut runs = BTreeSet::new();
        let mut sorted = Sorted { deployed: vec![], not_deployed: vec![], unknown: vec![] };
        for run in running {
            let Some(digest) = run.running.digest.clone() else {
                sorted.unknown.push(unknown(run, "its tag is not known to lead to a digest"));
                continue;
            };
            let parts = self.scope.parts_of(&digest)?;
            let hit = parts.iter().find(|part| self.affected.contains_key(*part)).cloned();
            let undescribed = if hit.is_some() { None } else { self.scope.undescribed(&digest)? };
            runs.extend(parts);
            match (hit, undescribed) {
                (Some(part), _) => sorted.deployed.push((run, part)),
                (None, Some(why)) => sorted.unknown.push(unknown(run, &why)),
                (None, None) => {}
            }
        }
        let idle = self.affected.iter().filter(|(digest, _)| !runs.contains(*digest));
        sorted.not_deployed = idle.map(|(digest, found)| (found.reference.clone(), digest.clone())).collect();
        sorted.not_deployed.sort();
        Ok(sorted)
    }

    /// Is an artifact known to contain none of what is asked for? What nobody described is not said to be free of
    /// anything, and of an index neither is one of whose manifests nobody described.
    fn is_free(&self, digest: &str) -> Result<bool, Error> {
        let parts = self.scope.parts_of(digest)?;
        if parts.iter().any(|part| self.affected.contains_key(part)) {
            return Ok(false);
        }
        Ok(self.scope.undescribed(digest)?.is_none())
    }

    fn deployed_row(&mut self, run: &RunningIn, part: &str) -> Result<ImpactRow, Error> {
        let Running { artifact_ref, digest, since, proof, .. } = run.running.clone();
        let row = self.row(part)?;
        Ok(ImpactRow {
            environment: Some(run.environment.clone()),
            service: Some(run.service.clone()),
            artifact_ref,
            digest: digest.unwrap_or(row.digest),
            since: Some(since),
            first_known_at: row.first_known_at.max(self.scope.recorded_at(proof.index)?),
            ..row
        })
    }

    fn row(&mut self, digest: &str) -> Result<ImpactRow, Error> {
        let Some(found) = self.affected.get(digest).cloned() else {
            return Err(Error::Store("components: an affected artifact is gone".to_owned()));
        };
        let mut components: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for set in &found.sets {
            if !self.contents.contains_key(set) {
                self.contents.insert(*set, self.scope.contents(*set)?);
            }
            let contents = &self.contents[set];
            for place in self.matches.iter().filter_map(|component| contents.place(*component)) {
                if components.len() < PATHS_PER_ROW_MAX {
                    let (purl, path) = contents.labelled(self.scope, place)?;
                    components.entry(purl).or_insert(path);
                }
            }
        }
        Ok(ImpactRow {
            environment: None,
            service: None,
            artifact_ref: found.reference,
            digest: digest.to_owned(),
            since: None,
            components: components.into_iter().map(|(purl, path)| ComponentPath { purl, path }).collect(),
            first_known_at: found.known_at,
            fixed_in: self.graph.next_version(digest, |later| self.is_free(later))?,
            proof: self.scope.proof(found.proof)?,
        })
    }
}

/// By environment, service, since; then by what runs.
fn place(run: &RunningIn) -> (&str, &str, Nanos, &str) {
    (&run.environment, &run.service, run.running.since, &run.running.artifact_ref)
}

fn unknown(run: RunningIn, why: &str) -> UnknownRow {
    let Running { artifact_ref, digest, .. } = run.running;
    UnknownRow { environment: run.environment, service: run.service, digest, artifact_ref, why: why.to_owned() }
}
