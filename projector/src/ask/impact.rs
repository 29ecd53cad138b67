//! What contains a purl, or what a vulnerability concerns, and where that runs (SPEC §5, `components/impact` and
//! `vulnerabilities/{id}/impact`).
//!
//! Four lists, each a walk over candidates from a place on: artifacts that hold it, by the sets that do; things that
//! run, by name, where more sets hold it than a page can look at; and what runs undescribed. The first page counts each
//! list as well; the next ones repeat its counts from the token, and read what they show.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::rc::Rc;

use pedigraph_proto::vers::Range;
use pedigraph_proto::{Nanos, Purl};
use serde::{Deserialize, Serialize};

use super::answers::{ComponentPath, Impact, ImpactCounts, ImpactRow, UnknownRow};
use super::contents::Described;
use super::reach::{Class, Reach};
use super::rollout::Rollouts;
use super::running::{Place, RunsIn};
use super::scope::Scope;
use super::vex::said::Case;
use crate::error::Error;
use crate::facts::components::rows::clipped;
use crate::facts::findings::rows::key_name;

/// Most matching components that one row lists.
pub const PATHS_PER_ROW_MAX: usize = 100;
/// Rows up to which counts are exact (SPEC §5). A purl that more sets hold is looked for among what runs.
pub const COUNTED_MAX: u64 = 10_000;
/// Candidates that one page looks at for one list, whether they are of it or not.
const LOOKS_MAX: usize = 20_000;
/// Versions that one page looks at to find which is free of what is asked for, over all of its rows.
const FIX_LOOKS_MAX: usize = 200;
/// Versions after one that are looked at for the next that is free of it.
const FIX_LOOKS_PER_ROW_MAX: usize = 100;

/// What is asked for.
#[derive(Clone, PartialEq, Debug)]
pub enum Affecting {
    /// A package.
    Package {
        /// A purl, with or without version.
        purl: String,
        /// A `vers:` range.
        versions: Option<String>,
    },
    /// A vulnerability, by any of its names.
    Vulnerability(String),
}

/// A question about a package or a vulnerability.
#[derive(Clone, PartialEq, Debug)]
pub struct ImpactQuestion {
    /// What is asked for.
    pub of: Affecting,
    /// Only this environment.
    pub environment: Option<String>,
    /// Rows per list.
    pub limit: usize,
    /// Where the last page ended.
    pub after: Option<Vec<u8>>,
    /// Tell how far fixes are rolled out: it costs what runs of the newest versions of each line.
    pub progress: bool,
}

/// Where a page ended, with what its first one counted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Token {
    deployed: Goes,
    not_deployed: Goes,
    cleared: Goes,
    unknown: Goes,
}

/// How a list goes on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Goes {
    /// Where.
    next: Place,
    /// Rows that were shown.
    shown: u64,
    /// Rows that the first page counted.
    count: u64,
    /// There may be more rows than it counted.
    at_least: bool,
}

/// What holds what is asked for, and the place where something runs of which it is a part; none where it runs nowhere.
type Holder = (Option<Rc<RunsIn>>, String);
/// Where a list begins, and what takes what it shows of a candidate: of the artifacts that it leads to.
type List<'l> = (Place, &'l mut dyn FnMut(&Place, &[String]) -> Result<ControlFlow<()>, Error>);

/// One list of one page.
struct Listed<T> {
    rows: Vec<T>,
    goes: Goes,
}

impl Scope {
    /// What contains a purl, or what a vulnerability concerns, and where that runs, with the next page's key. Each list
    /// goes on by itself; counts are exact up to [`COUNTED_MAX`] and named in `atLeast` beyond. A list that fits the
    /// first page is sorted, others come in the order of the store.
    pub fn impact(&self, question: &ImpactQuestion) -> Result<(Impact, Option<Vec<u8>>), Error> {
        let token = question.after.as_deref().map_or_else(|| Ok(Token::first()), Token::read)?;
        let (purl, versions, reach) = match &question.of {
            Affecting::Package { purl, versions } => {
                let purl = Purl::parse(purl).ok_or_else(|| Error::Question(format!("{purl:?} is not a purl")))?;
                // A purl may have the range itself.
                let versions = versions.clone().or_else(|| purl.qualifier("vers"));
                let range = versions.as_deref().map(|range| Range::parse(range, purl.kind()));
                let range = range.transpose().map_err(Error::Question)?;
                (Some(purl.to_string()), versions, Reach::of(self, &purl, range.as_ref())?)
            }
            Affecting::Vulnerability(id) => (None, None, Reach::of_case(self, Case::of(self, id)?)?),
        };
        let page = Page { reach: &reach, question, counting: question.after.is_none() };
        let goes_on = token.unknown.clone();
        let [deployed, not_deployed, cleared] = page.holders(token)?;
        let unknown = page.unknown(goes_on)?;
        let next = Token {
            deployed: deployed.goes,
            not_deployed: not_deployed.goes,
            cleared: cleared.goes,
            unknown: unknown.goes,
        };
        let mut rows =
            RowMaker { reach: &reach, progress: question.progress, fix_looks: 0, rollouts: Rollouts::default() };
        let mut made = |list: &[Holder]| -> Result<Vec<ImpactRow>, Error> {
            list.iter().map(|(run, part)| rows.made(run.as_deref(), part)).collect()
        };
        let (deployed, mut idle, cleared) = (made(&deployed.rows)?, made(&not_deployed.rows)?, made(&cleared.rows)?);
        if page.counting && next.not_deployed.next == Place::End {
            idle.sort_by(|a, b| (&a.artifact_ref, &a.digest).cmp(&(&b.artifact_ref, &b.digest)));
        }
        let named = reach.case().map(|case| case.vulnerability());
        let impact = Impact {
            purl,
            versions,
            known: self.anybody_names(&question.of)?,
            vulnerability: named.map(|named| named.name.clone()),
            aliases: named.map(|named| named.aliases.clone()),
            deployed,
            not_deployed: question.environment.is_none().then_some(idle),
            cleared,
            unknown: unknown.rows,
            counts: next.counts(),
            at_least: next.at_least(),
            next_page_token: None,
        };
        Ok((impact, next.write()?))
    }
}

impl Scope {
    /// Whether anybody named a vulnerability, or anything is, has or is made from a package, in whatever version.
    fn anybody_names(&self, of: &Affecting) -> Result<bool, Error> {
        match of {
            Affecting::Package { purl, .. } => match Purl::parse(purl) {
                Some(purl) => {
                    let package = clipped(purl.package_key());
                    Ok(self.known_package(package)?.as_deref() == Some(package))
                }
                None => Ok(false),
            },
            Affecting::Vulnerability(id) => self.names_vulnerability(&key_name(id)),
        }
    }
}

impl Token {
    fn first() -> Token {
        let start = Goes { next: Place::Start, shown: 0, count: 0, at_least: false };
        Token { deployed: start.clone(), not_deployed: start.clone(), cleared: start.clone(), unknown: start }
    }

    fn read(bytes: &[u8]) -> Result<Token, Error> {
        postcard::from_bytes(bytes).map_err(|_| Error::foreign_page())
    }

    /// `None` where no list goes on.
    fn write(&self) -> Result<Option<Vec<u8>>, Error> {
        if self.lists().iter().all(|(_, goes)| goes.next == Place::End) {
            return Ok(None);
        }
        postcard::to_stdvec(self).map(Some).map_err(|error| Error::Store(format!("page token: {error}")))
    }

    fn lists(&self) -> [(&'static str, &Goes); 4] {
        [
            ("deployed", &self.deployed),
            ("notDeployed", &self.not_deployed),
            ("cleared", &self.cleared),
            ("unknown", &self.unknown),
        ]
    }

    fn counts(&self) -> ImpactCounts {
        ImpactCounts {
            deployed: self.deployed.count,
            not_deployed: self.not_deployed.count,
            cleared: self.cleared.count,
            unknown: self.unknown.count,
        }
    }

    fn at_least(&self) -> Vec<String> {
        let lists = self.lists().into_iter().filter(|(_, goes)| goes.at_least);
        lists.map(|(name, _)| name.to_owned()).collect()
    }
}

/// One page being read.
struct Page<'a> {
    reach: &'a Reach<'a>,
    question: &'a ImpactQuestion,
    /// It is the first one.
    counting: bool,
}

impl Page<'_> {
    /// The lists of what holds it: where it runs, what runs nowhere, and of a vulnerability what is cleared. The first
    /// page finds them in one walk, and other pages where they go on at one place. Where it is contained in very many
    /// sets, most of which run nowhere, what runs is looked at instead.
    fn holders(&self, token: Token) -> Result<[Listed<Holder>; 3], Error> {
        if self.counting {
            self.reach.read_fleet()?;
        }
        let Token { deployed, not_deployed: idle, cleared, .. } = token;
        let mut takers = [self.taker(&deployed), self.taker(&idle), self.taker(&cleared)];
        let [running, nowhere, clear] = &mut takers;
        let (by_lane, asks_idle) = (self.is_by_lane(&deployed), self.question.environment.is_none());
        if by_lane {
            self.each_lane(&deployed.next, running)?;
        }
        let mut runs = |here: &Place, parts: &[String]| Ok(running.take(here, self.running(parts, Class::Open)?));
        let mut idles = |here: &Place, parts: &[String]| Ok(nowhere.take(here, self.idle(parts, Class::Open)?));
        let mut clears = |here: &Place, parts: &[String]| {
            let mut rows = self.running(parts, Class::Cleared)?;
            if asks_idle {
                rows.extend(self.idle(parts, Class::Cleared)?);
            }
            Ok(clear.take(here, rows))
        };
        let mut lists: Vec<List<'_>> = Vec::new();
        if !by_lane {
            lists.push((deployed.next.clone(), &mut runs));
        }
        if asks_idle {
            lists.push((idle.next.clone(), &mut idles));
        }
        if self.reach.case().is_some() {
            lists.push((cleared.next.clone(), &mut clears));
        }
        while let Some(from) = lists.first().map(|(from, _)| from.clone()) {
            let (mut here, rest): (Vec<_>, Vec<_>) = lists.into_iter().partition(|(place, _)| *place == from);
            self.each_artifact(&from, &mut here)?;
            lists = rest;
        }
        let [running, nowhere, clear] = takers;
        let mut running = running.listed(deployed, self.reach.cut);
        if self.counting && running.goes.next == Place::End {
            running
                .rows
                .sort_by(|(a, _), (b, _)| a.as_ref().map(|run| run.place()).cmp(&b.as_ref().map(|run| run.place())));
        }
        let none = |goes: Goes| Listed { rows: vec![], goes: Goes { next: Place::End, ..goes } };
        let nowhere = if asks_idle { nowhere.listed(idle, self.reach.cut) } else { none(idle) };
        let clear = match self.reach.case() {
            Some(_) => clear.listed(cleared, self.reach.cut),
            None => none(cleared),
        };
        Ok([running, nowhere, clear])
    }

    fn is_by_lane(&self, deployed: &Goes) -> bool {
        match deployed.next {
            Place::Start => self.reach.sets.len() as u64 > COUNTED_MAX,
            Place::Lane { .. } => true,
            Place::Subject { .. } | Place::Artifact { .. } | Place::End => false,
        }
    }

    fn each_lane(&self, from: &Place, running: &mut Taker<'_, Holder>) -> Result<(), Error> {
        self.reach.scope.each_lane(self.question.environment.as_deref(), from, &mut |here, runs| {
            let mut rows = Vec::new();
            for run in runs {
                let Some(digest) = &run.artifact.digest else { continue };
                let Some(part) = self.reach.contained(digest)?.part.clone() else { continue };
                if self.reach.class_running(digest)? == Class::Open {
                    rows.push((Some(Rc::new(run)), part));
                }
            }
            Ok(running.take(&here, rows))
        })
    }

    /// Artifacts that hold it, until none of the lists goes on.
    fn each_artifact(&self, from: &Place, lists: &mut [List<'_>]) -> Result<(), Error> {
        let mut ended = vec![false; lists.len()];
        self.reach.each_subject(from, &mut |here, parts| {
            for ((_, list), ended) in lists.iter_mut().zip(&mut ended) {
                *ended = *ended || list(&here, &parts)?.is_break();
            }
            Ok(if ended.contains(&false) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })
    }

    /// Where parts run, and whatever they are parts of, that are of a class.
    fn running(&self, parts: &[String], class: Class) -> Result<Vec<Holder>, Error> {
        let (mut rows, environment) = (Vec::new(), self.question.environment.as_deref());
        for part in parts {
            for run in self.reach.shown_by(part)? {
                let here = environment.is_none_or(|environment| environment == run.lane.environment);
                let whole = run.artifact.digest.as_deref().unwrap_or(part);
                if here && self.reach.class_running(whole)? == class {
                    rows.push((Some(run), part.clone()));
                }
            }
        }
        Ok(rows)
    }

    /// Which of these artifacts run nowhere and are of a class. What they hold does not change with `at`, but before
    /// anything of one had happened it was not there (SPEC §3.1).
    fn idle(&self, digests: &[String], class: Class) -> Result<Vec<Holder>, Error> {
        let mut rows = Vec::new();
        for digest in digests {
            if self.reach.scope.at.is_some() && !self.reach.graph.is_there(digest)? {
                continue;
            }
            if !self.reach.is_running(digest)? && self.reach.class(digest)? == class {
                rows.push((None, digest.clone()));
            }
        }
        Ok(rows)
    }

    /// What runs and of which it cannot be told: of a vulnerability what nobody can compare, then what was described by
    /// nobody. What runs now is in a kept list of these, from which rows that are not shown are counted without a look
    /// at them.
    fn unknown(&self, from: Goes) -> Result<Listed<UnknownRow>, Error> {
        let (mut taker, environment) = (self.taker(&from), self.question.environment.as_deref());
        let scope = self.reach.scope;
        let (mut lanes_from, mut goes_on) = (from.next.clone(), true);
        if self.reach.may_be_unclear && !matches!(from.next, Place::Lane { .. } | Place::End) {
            lanes_from = Place::Start;
            self.reach.each_subject(&from.next, &mut |here, parts| {
                let taken = taker.take(&here, self.unclear_rows(&parts)?);
                goes_on = taken.is_continue();
                Ok(taken)
            })?;
        }
        // Who names artifacts with it says something of what nobody described.
        let may_count = !self.reach.names_artifacts();
        if goes_on && scope.at.is_none() {
            scope.each_undescribed(environment, &lanes_from, &mut |here, (lane, bare)| {
                if taker.is_full() && bare.partly == 0 && may_count {
                    return Ok(taker.count(&here, bare.wholly));
                }
                Ok(taker.take(&here, self.unknown_rows(scope.runs_in(&lane)?)?))
            })?;
        } else if goes_on {
            scope.each_lane(environment, &lanes_from, &mut |here, runs| {
                Ok(taker.take(&here, self.unknown_rows(runs)?))
            })?;
        }
        let mut listed = taker.listed(from, false);
        if self.counting && listed.goes.next == Place::End {
            let place = |row: &UnknownRow| (row.environment.clone(), row.service.clone(), row.artifact_ref.clone());
            listed.rows.sort_by_key(place);
        }
        Ok(listed)
    }

    /// Of a vulnerability: what runs and of which nobody can tell whether it is affected.
    fn unclear_rows(&self, parts: &[String]) -> Result<Vec<UnknownRow>, Error> {
        let mut rows = Vec::new();
        for (run, part) in self.running(parts, Class::Unclear)? {
            let Some(run) = run else { continue };
            let whole = run.artifact.digest.clone().unwrap_or(part);
            let unclear = self.reach.verdict(&whole)?.and_then(|whole| whole.unclear().cloned());
            let why = match unclear {
                Some(why) => why,
                None => format!("nothing is known of {}", self.reach.unknown_part(&whole)?.unwrap_or_default()),
            };
            rows.push(UnknownRow {
                environment: run.lane.environment.clone(),
                service: run.lane.service.clone(),
                digest: run.artifact.digest.clone(),
                artifact_ref: run.artifact.reference.clone(),
                why,
            });
        }
        Ok(rows)
    }

    fn unknown_rows(&self, runs: Vec<RunsIn>) -> Result<Vec<UnknownRow>, Error> {
        let rows: Vec<Option<UnknownRow>> =
            runs.into_iter().map(|run| self.unknown_row(run)).collect::<Result<_, _>>()?;
        Ok(rows.into_iter().flatten().collect())
    }

    fn unknown_row(&self, run: RunsIn) -> Result<Option<UnknownRow>, Error> {
        let why = match &run.artifact.digest {
            None => Some("its tag is not known to lead to a digest".to_owned()),
            Some(digest) => {
                let described = self.reach.described(digest)?;
                let is_listed = match (self.reach.case().is_some(), &described) {
                    (_, Described::Whole) => false,
                    // Another list has it as soon as anything that is said of it counts.
                    (true, _) => self.reach.class_running(digest)? != Class::Free,
                    // What nobody described holds nothing that is known, but it may be it itself, by its own purl.
                    (false, Described::Nothing) if !self.reach.names_artifacts() => false,
                    (false, Described::Nothing | Described::Partly(_)) => self.reach.contained(digest)?.part.is_some(),
                };
                described.why_not().filter(|_| !is_listed)
            }
        };
        let RunsIn { lane, artifact, .. } = run;
        Ok(why.map(|why| UnknownRow {
            environment: lane.environment,
            service: lane.service,
            digest: artifact.digest.clone(),
            artifact_ref: artifact.reference.clone(),
            why,
        }))
    }

    fn taker<T>(&self, from: &Goes) -> Taker<'_, T> {
        let skip = from.next.rows();
        Taker { page: self, skip, looks: 0, rows: vec![], counted: 0, more: None, stopped: false }
    }
}

/// Takes rows of one candidate after the other until the page is full and counted.
struct Taker<'p, T> {
    page: &'p Page<'p>,
    /// Rows of the first candidate that an earlier page showed.
    skip: usize,
    looks: usize,
    rows: Vec<T>,
    counted: u64,
    /// Where the next page goes on.
    more: Option<Place>,
    /// Before the last candidate.
    stopped: bool,
}

impl<T> Taker<'_, T> {
    fn take(&mut self, here: &Place, rows: Vec<T>) -> ControlFlow<()> {
        let (all, skip) = (rows.len(), std::mem::take(&mut self.skip));
        for (n, row) in rows.into_iter().enumerate().skip(skip) {
            self.counted += 1;
            if self.rows.len() < self.page.question.limit {
                self.rows.push(row);
            } else if self.more.is_none() {
                self.more = Some(here.after(n));
            }
        }
        self.looked(here, all)
    }

    /// All rows of the page are there.
    fn is_full(&self) -> bool {
        self.skip == 0 && self.rows.len() == self.page.question.limit
    }

    /// As [`Taker::take`] when the page is full, of so many rows.
    fn count(&mut self, here: &Place, rows: u32) -> ControlFlow<()> {
        self.counted += u64::from(rows);
        if rows > 0 {
            self.more.get_or_insert_with(|| here.after(0));
        }
        self.looked(here, usize::try_from(rows).unwrap_or(usize::MAX))
    }

    /// A candidate with so many rows was looked at.
    fn looked(&mut self, here: &Place, all: usize) -> ControlFlow<()> {
        self.looks += 1;
        let full = match self.page.counting {
            true => self.counted > COUNTED_MAX,
            false => self.rows.len() == self.page.question.limit,
        };
        if full || self.looks == LOOKS_MAX || self.page.reach.scope.meter.is_half_spent() {
            self.more.get_or_insert_with(|| here.after(all));
            self.stopped = true;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn listed(self, from: Goes, cut: bool) -> Listed<T> {
        let shown = from.shown + self.rows.len() as u64;
        let (count, at_least) = match self.page.counting {
            true => (self.counted.min(COUNTED_MAX), self.stopped || cut),
            false => (from.count, from.at_least),
        };
        // All that were counted are shown: no page is left that would be empty.
        let next = self.more.filter(|_| at_least || shown < count).unwrap_or(Place::End);
        Listed { rows: self.rows, goes: Goes { next, shown, count, at_least } }
    }
}

/// Rows as answers show them.
struct RowMaker<'a> {
    reach: &'a Reach<'a>,
    /// How far fixes are rolled out is told.
    progress: bool,
    /// Versions that were looked at for this page.
    fix_looks: usize,
    rollouts: Rollouts,
}

impl RowMaker<'_> {
    fn made(&mut self, run: Option<&RunsIn>, part: &str) -> Result<ImpactRow, Error> {
        match run {
            Some(run) => self.deployed(run, part),
            None => self.row(part, part),
        }
    }

    fn deployed(&mut self, run: &RunsIn, part: &str) -> Result<ImpactRow, Error> {
        let shown = run.artifact.digest.as_deref().unwrap_or(part);
        let row = self.row(part, shown)?;
        let is_told = self.progress && row.fixed_in.is_some();
        let fix_progress = if is_told { self.rollouts.of(self.reach, shown, &run.lane.environment)? } else { None };
        Ok(ImpactRow {
            fix_progress,
            environment: Some(run.lane.environment.clone()),
            service: Some(run.lane.service.clone()),
            artifact_ref: run.artifact.reference.clone(),
            digest: run.artifact.digest.clone().unwrap_or(row.digest),
            since: Some(run.since),
            first_known_at: row.first_known_at.max(self.recorded_at(run.proof)?),
            ..row
        })
    }

    /// The row of a part of what is shown.
    fn row(&mut self, digest: &str, shown: &str) -> Result<ImpactRow, Error> {
        let (scope, held) = (self.reach.scope, self.reach.held(digest)?);
        let all = scope.sboms_of(digest)?;
        let mut first = u64::MAX;
        for row in all.iter() {
            let says_so = row.value.set.map_or(Ok(true), |set| self.reach.holds(set))?;
            first = if says_so { first.min(row.stamp.index) } else { first };
        }
        let current = scope.current_among(&all)?.into_iter().filter(|sbom| held.sets.contains(&sbom.set));
        let current: Vec<_> = current.collect();
        let newest = current.iter().max_by_key(|sbom| sbom.stamp.order()).map(|sbom| sbom.stamp.index);
        let said = current.iter().map(|sbom| &sbom.reference).find(|reference| !reference.is_empty()).cloned();
        let whole = self.reach.verdict(shown)?;
        let heard = whole.as_ref().and_then(|whole| whole.first_known());
        // What is such a package itself is known by whatever names it first.
        let named = || Ok::<_, Error>(self.reach.graph.profile(digest)?.map(|profile| profile.created.index));
        let proof = match newest.or(heard) {
            Some(proof) => proof,
            None => named()?.ok_or_else(|| Error::Store("components: an affected artifact is gone".to_owned()))?,
        };
        let (mut components, mut components_cut) = self.components(&held.sets)?;
        if let Some(named) = whole.as_ref().map(|whole| whole.components()).filter(|named| !named.is_empty()) {
            let sets: Vec<u32> = scope.current_sboms(digest)?.iter().map(|current| current.set).collect();
            components = self.named_components(&named, &sets)?;
            components_cut = named.len().saturating_sub(PATHS_PER_ROW_MAX) as u64;
        }
        let (fixed_in, fix_search_cut) = self.fixed_in(shown)?;
        let named = self.reach.case().zip(whole.as_deref());
        let verdict = named.map(|(case, whole)| case.summary_of(whole)).transpose()?;
        // Known once both are: what it contains, and what is said of that.
        let first = newest.map_or(proof, |newest| first.min(newest)).max(heard.unwrap_or(0));
        let first = self.held_since(shown)?.unwrap_or(first);
        Ok(ImpactRow {
            environment: None,
            service: None,
            artifact_ref: self.reach.graph.name_of(digest)?.or(said).unwrap_or_else(|| digest.to_owned()),
            digest: digest.to_owned(),
            since: None,
            components,
            components_cut,
            verdict,
            first_known_at: self.recorded_at(first)?,
            fixed_in,
            fix_search_cut,
            fix_progress: None,
            proof: self.reach.graph.proof(proof)?,
        })
    }

    /// The entry since which an artifact is hit, or cleared, without a break. Where issuers have roles it is not only the
    /// verdict that says which of these it is.
    fn held_since(&self, digest: &str) -> Result<Option<u64>, Error> {
        match self.reach.case() {
            Some(case) if !case.has_roles()? => self.reach.scope.held_since(digest, &case.vulnerability().name),
            Some(_) | None => Ok(None),
        }
    }

    /// The matching components of some sets, with the way to each, and how many more there are.
    fn components(&mut self, sets: &[u32]) -> Result<(Vec<ComponentPath>, u64), Error> {
        let mut components: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut cut = 0;
        for set in sets {
            let contents = self.reach.scope.contents(*set)?;
            for place in contents.places_of(&self.reach.matches) {
                if components.len() == PATHS_PER_ROW_MAX {
                    cut += 1;
                    continue;
                }
                let (purl, path) = contents.labelled(self.reach.scope, place)?;
                components.entry(purl).or_insert(path);
            }
        }
        Ok((components.into_iter().map(|(purl, path)| ComponentPath { purl, path }).collect(), cut))
    }

    /// Components that somebody names, with the way to each where an SBOM has it.
    fn named_components(&mut self, named: &BTreeSet<&String>, sets: &[u32]) -> Result<Vec<ComponentPath>, Error> {
        let mut components: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for purl in named.iter().take(PATHS_PER_ROW_MAX) {
            let (purl, path) = self.named_component(purl, sets)?;
            components.entry(purl).or_insert(path);
        }
        Ok(components.into_iter().map(|(purl, path)| ComponentPath { purl, path }).collect())
    }

    /// A component that somebody names, as an SBOM calls it that has it, and the way there. Tools write qualifiers as
    /// they like: where no SBOM has the very purl, one of the same package and version is it.
    fn named_component(&mut self, named: &str, sets: &[u32]) -> Result<(String, Vec<String>), Error> {
        let scope = self.reach.scope;
        for set in sets {
            let contents = scope.contents(*set)?;
            if let Some(place) = contents.place_of(scope, named)? {
                return Ok((named.to_owned(), contents.path(scope, place)?));
            }
        }
        let Some(purl) = Purl::parse(named) else { return Ok((named.to_owned(), vec![])) };
        for set in sets {
            let contents = scope.contents(*set)?;
            let key = (purl.package_key(), purl.version_key());
            let same = |other: &Purl| (other.package_key(), other.version_key()) == key;
            let all = contents.of_key(scope, key.0)?;
            let Some(known) = all.iter().find(|known| known.parsed().is_some_and(same)) else { continue };
            if let Some(place) = contents.place_of(scope, &known.purl)? {
                return Ok((known.purl.clone(), contents.path(scope, place)?));
            }
        }
        Ok((named.to_owned(), vec![]))
    }

    /// The next version of its line that is known to be free of it; whether more follow than were looked at. Of what runs
    /// by an index that is an index, all of whose manifests are.
    fn fixed_in(&mut self, digest: &str) -> Result<(Option<String>, bool), Error> {
        let (mut looks, mut cut) = (0, false);
        let next = self.reach.graph.next_version(digest, |later| {
            cut = looks == FIX_LOOKS_PER_ROW_MAX || self.fix_looks == FIX_LOOKS_MAX;
            if cut {
                return Ok(true);
            }
            looks += 1;
            self.fix_looks += usize::from(!self.reach.free.lock().contains_key(later));
            self.reach.is_free(later)
        })?;
        Ok((next.filter(|_| !cut), cut))
    }

    fn recorded_at(&self, index: u64) -> Result<Nanos, Error> {
        Ok(Nanos(self.reach.graph.kept_entry(index)?.map_or(0, |row| row.recorded_at)))
    }
}
