//! What contains a purl and where it runs, against a plain recomputation from the events, under late arrivals, at any
//! moment, page by page.
#![expect(clippy::wildcard_enum_match_arm, reason = "the plain recomputation picks the facts that it needs")]

use std::collections::{BTreeMap, BTreeSet};

/// When, and what runs since then: nothing, or a digest that may not be known.
type Newest = ((i64, usize), Option<Option<String>>);

use pedigraph_projector::answers::{Impact, ImpactRow};
use pedigraph_projector::{Affecting, AsOf, ImpactQuestion, Moment, Scope, Views};
use pedigraph_proto::event::{AliasObserved, SbomAttached, ServiceDeployed, ServiceRemoved, TagObserved};
use pedigraph_proto::{Event, Nanos, TenantId};

use crate::world::{Random, SECOND, Sent, World, seed};
use crate::{YEAR_2000, component, digest, index, sbom};

const ARTIFACTS: usize = 7;
const REPOSITORY: &str = "r.example/app";

/// What one event says, as the recomputation reads it.
#[derive(Clone, Debug)]
enum Said {
    Sbom { artifact: String, document: String, tool: String, purls: BTreeSet<String> },
    Link { artifact: String, document: String },
    Deployed { lane: (String, String), digest: Option<String>, tag: String },
    Removed { lane: (String, String) },
    Tagged { tag: String, digest: String },
    Index { index: String, manifests: Vec<String> },
    Same { n: usize },
}

fn long(n: usize) -> String {
    format!("sha512:{n:0128x}")
}

fn purl(package: usize, version: usize) -> String {
    format!("pkg:npm/p{package}@{version}.0.0")
}

fn some_digest(random: &mut Random) -> String {
    let n = random.below(ARTIFACTS);
    match random.below(5) {
        0 => long(n),
        1 => digest(100 + random.below(2)),
        _ => digest(n),
    }
}

/// One event; its document, where it is one, goes by its place.
fn some_event(random: &mut Random, place: usize) -> Said {
    let lane = (format!("env{}", random.below(3)), format!("service{}", random.below(3)));
    let tag = format!("t{}", random.below(3));
    match random.below(12) {
        0..=3 => {
            let named = if random.below(5) == 0 { String::new() } else { some_digest(random) };
            let purls = (0..random.below(4)).map(|_| purl(random.below(3), random.below(3))).collect();
            let tool = format!("tool{}", random.below(2));
            Said::Sbom { artifact: named, document: digest(1_000 + place), tool, purls }
        }
        4 => {
            let document = digest(1_000 + random.below(40));
            Said::Link { artifact: some_digest(random), document }
        }
        5 | 6 => Said::Deployed { lane, digest: Some(some_digest(random)), tag: String::new() },
        7 => Said::Deployed { lane, digest: None, tag },
        8 => Said::Removed { lane },
        9 => Said::Tagged { tag, digest: digest(random.below(ARTIFACTS)) },
        10 => {
            let manifests = (0..1 + random.below(3)).map(|_| digest(random.below(ARTIFACTS))).collect();
            Said::Index { index: digest(100 + random.below(2)), manifests }
        }
        _ => Said::Same { n: random.below(ARTIFACTS) },
    }
}

fn facts(said: &Said) -> Vec<Event> {
    match said {
        Said::Sbom { artifact, document, tool, purls } => {
            sbom(artifact, document, tool, purls.iter().map(|purl| component(purl)).collect(), 2)
        }
        Said::Link { artifact, document } => {
            let (artifact_digest, sbom_digest) = (artifact.clone(), document.clone());
            vec![SbomAttached { artifact_digest, sbom_digest, ..SbomAttached::default() }.into()]
        }
        Said::Deployed { lane: (environment, service), digest, tag } => {
            let artifact_ref = if tag.is_empty() { String::new() } else { format!("{REPOSITORY}:{tag}") };
            let (environment, service) = (environment.clone(), service.clone());
            let artifact_digest = digest.clone().unwrap_or_default();
            let event = ServiceDeployed { environment, service, artifact_ref, artifact_digest, ..Default::default() };
            vec![event.into()]
        }
        Said::Removed { lane: (environment, service) } => {
            let (environment, service) = (environment.clone(), service.clone());
            vec![ServiceRemoved { environment, service, ..ServiceRemoved::default() }.into()]
        }
        Said::Tagged { tag, digest } => {
            let (repository, tag, digest) = (REPOSITORY.to_owned(), tag.clone(), digest.clone());
            vec![TagObserved { repository, tag, digest }.into()]
        }
        Said::Index { index: of, manifests } => {
            let number = |text: &str| usize::from_str_radix(&text[7..], 16).expect("a small digest");
            let listed: Vec<(usize, &str)> = manifests.iter().map(|manifest| (number(manifest), "")).collect();
            vec![index(number(of), &listed)]
        }
        Said::Same { n } => vec![AliasObserved { digests: vec![digest(*n), long(*n)] }.into()],
    }
}

/// What is known: events with their times, in the ledger's order, and until when they happened.
struct Known<'a> {
    events: &'a [(i64, Said)],
    at: Option<i64>,
}

impl Known<'_> {
    fn canonical(&self, text: &str) -> String {
        let same = |said: &Said| matches!(said, Said::Same { n } if long(*n) == text).then(|| digest_of(said));
        self.events.iter().find_map(|(_, said)| same(said)).unwrap_or_else(|| text.to_owned())
    }

    /// Unnamed documents that were linked lead to what they were linked to.
    fn is_linked(&self, document: &str) -> bool {
        self.events.iter().any(|(_, said)| matches!(said, Said::Link { document: of, .. } if of == document))
    }

    /// What an artifact contains: the union of the newest document of each tool.
    fn contents(&self, artifact: &str) -> Option<BTreeSet<String>> {
        let mut newest: BTreeMap<&str, ((i64, usize), &BTreeSet<String>)> = BTreeMap::new();
        for (place, (time, said)) in self.events.iter().enumerate() {
            let Said::Sbom { artifact: of, document, tool, purls } = said else { continue };
            let linked = self.events.iter().any(|(_, said)| {
                matches!(said, Said::Link { artifact: to, document: of } if of == document && self.canonical(to) == artifact)
            });
            let own = !of.is_empty() && self.canonical(of) == artifact;
            if own || linked || document == artifact {
                let known = newest.entry(tool).or_insert(((*time, place), purls));
                if known.0 < (*time, place) {
                    *known = ((*time, place), purls);
                }
            }
        }
        let union = || newest.values().flat_map(|(_, purls)| purls.iter().cloned()).collect();
        (!newest.is_empty()).then(union)
    }

    /// Itself, then what an index lists.
    fn parts(&self, text: &str) -> Vec<String> {
        let whole = self.canonical(text);
        let listed = self.events.iter().filter_map(|(_, said)| match said {
            Said::Index { index, manifests } if *index == whole => Some(manifests),
            _ => None,
        });
        let below: BTreeSet<String> = listed.flatten().map(|manifest| self.canonical(manifest)).collect();
        [vec![whole], below.into_iter().collect()].concat()
    }

    fn is_undescribed(&self, text: &str) -> bool {
        let parts = self.parts(text);
        let bare = parts[1..].iter().filter(|part| self.contents(part).is_none()).count();
        self.contents(&parts[0]).is_none() && (parts.len() == 1 || bare > 0)
    }

    /// (environment, service) → the digest that runs there, once it is known.
    fn running(&self) -> BTreeMap<(String, String), Option<String>> {
        let happened = |time: i64| self.at.is_none_or(|at| time <= at);
        let mut newest: BTreeMap<&(String, String), Newest> = BTreeMap::new();
        for (place, (time, said)) in self.events.iter().enumerate().filter(|(_, (time, _))| happened(*time)) {
            let (lane, runs) = match said {
                Said::Deployed { lane, digest, tag } => {
                    (lane, Some(digest.clone().or_else(|| self.tagged(tag, *time))))
                }
                Said::Removed { lane } => (lane, None),
                _ => continue,
            };
            let known = newest.entry(lane).or_insert(((*time, place), runs.clone()));
            if known.0 <= (*time, place) {
                *known = ((*time, place), runs);
            }
        }
        newest.into_iter().filter_map(|(lane, (_, runs))| Some((lane.clone(), runs?))).collect()
    }

    fn tagged(&self, tag: &str, until: i64) -> Option<String> {
        let tags = self.events.iter().enumerate().filter_map(|(place, (time, said))| match said {
            Said::Tagged { tag: of, digest } if of == tag && *time <= until => Some(((*time, place), digest.clone())),
            _ => None,
        });
        tags.max().map(|(_, digest)| digest)
    }

    /// Whatever an SBOM was recorded of.
    fn described(&self) -> BTreeSet<String> {
        let mut described = BTreeSet::new();
        for (_, said) in self.events {
            match said {
                Said::Sbom { artifact, .. } if !artifact.is_empty() => {
                    described.insert(self.canonical(artifact));
                }
                Said::Sbom { document, .. } if !self.is_linked(document) => {
                    described.insert(document.clone());
                }
                Said::Link { artifact, .. } => {
                    described.insert(self.canonical(artifact));
                }
                _ => {}
            }
        }
        described
    }

    /// Whether anything had named an artifact by the moment asked for.
    fn is_there(&self, artifact: &str) -> bool {
        let is_it = |text: &str| self.canonical(text) == artifact;
        self.events.iter().filter(|(time, _)| self.at.is_none_or(|at| *time <= at)).any(|(_, said)| match said {
            Said::Sbom { artifact, document, .. } if artifact.is_empty() => is_it(document),
            Said::Sbom { artifact, .. } => is_it(artifact),
            Said::Link { artifact, document } => is_it(artifact) || is_it(document),
            Said::Deployed { digest, .. } => digest.as_deref().is_some_and(is_it),
            Said::Removed { .. } => false,
            Said::Tagged { digest, .. } => is_it(digest),
            Said::Index { index, manifests } => is_it(index) || manifests.iter().any(|manifest| is_it(manifest)),
            Said::Same { n } => is_it(&digest(*n)),
        })
    }

    fn held(&self, artifact: &str, asked: &BTreeSet<String>) -> Vec<String> {
        let contents = self.contents(artifact).unwrap_or_default();
        contents.intersection(asked).cloned().collect()
    }

    /// Deployed, not deployed, unknown.
    fn impact(&self, asked: &BTreeSet<String>, environment: Option<&str>) -> [Vec<(String, Vec<String>)>; 3] {
        let mut lists: [Vec<(String, Vec<String>)>; 3] = Default::default();
        let mut runs = BTreeSet::new();
        for ((env, service), running) in self.running() {
            let here = format!("{env}/{service} {}", running.as_deref().unwrap_or("?"));
            let parts = running.as_deref().map(|digest| self.parts(digest)).unwrap_or_default();
            runs.extend(parts.iter().cloned());
            let hit = parts.iter().map(|part| self.held(part, asked)).find(|held| !held.is_empty());
            let unknown = running.as_deref().is_none_or(|digest| self.is_undescribed(digest));
            if environment.is_some_and(|asked| asked != env) {
                continue;
            }
            match hit {
                Some(held) => lists[0].push((here, held)),
                None if unknown => lists[2].push((here, vec![])),
                None => {}
            }
        }
        if environment.is_none() {
            let described = self.described().into_iter();
            let idle = described.filter(|artifact| !runs.contains(artifact) && self.is_there(artifact));
            let idle = idle.map(|artifact| (artifact.clone(), self.held(&artifact, asked)));
            lists[1] = idle.filter(|(_, held)| !held.is_empty()).collect();
        }
        lists.iter_mut().for_each(|list| list.sort());
        lists
    }
}

fn digest_of(said: &Said) -> String {
    if let Said::Same { n } = said { digest(*n) } else { String::new() }
}

/// Pages glued together.
fn glued(scope: &Scope, question: &ImpactQuestion) -> Impact {
    let (mut whole, mut next) = scope.impact(question).expect("answered");
    let counts = whole.counts;
    while let Some(after) = next {
        let (page, further) = scope.impact(&ImpactQuestion { after: Some(after), ..question.clone() }).expect("a page");
        assert!(page.deployed.len() <= question.limit && page.unknown.len() <= question.limit);
        assert_eq!(page.counts, counts, "each page tells the counts of the first");
        whole.deployed.extend(page.deployed);
        whole.unknown.extend(page.unknown);
        whole.not_deployed = whole.not_deployed.map(|rows| [rows, page.not_deployed.unwrap_or_default()].concat());
        next = further;
    }
    whole
}

fn lists(impact: &Impact) -> [Vec<(String, Vec<String>)>; 3] {
    let purls = |row: &ImpactRow| row.components.iter().map(|component| component.purl.clone()).collect();
    let deployed = impact.deployed.iter().map(|row| {
        let (env, service) = (row.environment.as_deref().unwrap_or("-"), row.service.as_deref().unwrap_or("-"));
        (format!("{env}/{service} {}", row.digest), purls(row))
    });
    let idle = impact.not_deployed.iter().flatten().map(|row| (row.digest.clone(), purls(row)));
    let unknown = impact
        .unknown
        .iter()
        .map(|row| (format!("{}/{} {}", row.environment, row.service, row.digest.as_deref().unwrap_or("?")), vec![]));
    let mut lists = [deployed.collect::<Vec<_>>(), idle.collect(), unknown.collect()];
    lists.iter_mut().for_each(|list| list.sort());
    lists
}

fn history(random: &mut Random) -> Vec<(i64, Said)> {
    let some = 5 + random.below(45);
    let mut events = Vec::new();
    for place in 0..some {
        let said = some_event(random, place);
        // What is linked is a document that names nothing: who names an artifact and is linked to another as well would be
        // two things.
        let named = |document: &str| {
            events.iter().any(|(_, said)| matches!(said, Said::Sbom { document: of, artifact, .. } if of == document && !artifact.is_empty()))
        };
        if matches!(&said, Said::Link { document, .. } if named(document)) {
            continue;
        }
        let linked = |document: &str| {
            events.iter().any(|(_, said)| matches!(said, Said::Link { document: of, .. } if of == document))
        };
        let said = match said {
            Said::Sbom { document, tool, purls, .. } if linked(&document) => {
                Said::Sbom { artifact: String::new(), document, tool, purls }
            }
            other => other,
        };
        events.push((YEAR_2000 + (10 + i64::try_from(random.below(12)).expect("small")) * 10_000_000 * SECOND, said));
    }
    events
}

fn check(random: &mut Random) {
    let events = history(random);
    let mut world = World::new();
    let sent = |(place, (time, said)): (usize, &(i64, Said))| {
        let events = facts(said);
        Sent { time: *time, id: place.to_string(), events }
    };
    world.append(&events.iter().enumerate().map(sent).collect::<Vec<_>>());
    let views = world.views();
    for _ in 0..6 {
        ask(&events, &views, random);
    }
}

fn ask(events: &[(i64, Said)], views: &Views, random: &mut Random) {
    let known = if random.below(2) == 0 { events.len() } else { 1 + random.below(events.len()) };
    let at = (random.below(2) == 0)
        .then(|| YEAR_2000 + (10 + i64::try_from(random.below(12)).expect("small")) * 10_000_000 * SECOND);
    let environment = (random.below(3) == 0).then(|| format!("env{}", random.below(3)));
    let package = random.below(3);
    let (text, versions, asked): (String, Option<&str>, Vec<usize>) = match random.below(3) {
        0 => (format!("pkg:npm/p{package}"), None, vec![0, 1, 2]),
        1 => (format!("pkg:npm/p{package}@1.0.0"), None, vec![1]),
        _ => (format!("pkg:npm/p{package}"), Some("vers:npm/>=1|<=2"), vec![1, 2]),
    };
    let asked: BTreeSet<String> = asked.into_iter().map(|version| purl(package, version)).collect();
    let moment = Moment { at: at.map(Nanos), as_of: Some(AsOf::Index(known as u64 - 1)) };
    let scope = views.at(&TenantId::default(), moment).expect("a scope");
    let (versions, limit) = (versions.map(str::to_owned), 1 + random.below(5));
    let of = Affecting::Package { purl: text, versions };
    let question = ImpactQuestion { of, environment: environment.clone(), limit, after: None, progress: true };
    let impact = glued(&scope, &question);
    let want = Known { events: &events[..known], at }.impact(&asked, environment.as_deref());
    let shown = || format!("{question:?} as of {known} at {at:?} of {events:#?}");
    assert_eq!(lists(&impact), want, "{}", shown());
    let counts = [impact.counts.deployed, impact.counts.not_deployed, impact.counts.unknown];
    assert_eq!(counts, want.each_ref().map(|list| list.len() as u64), "{}", shown());
    assert!(impact.at_least.is_empty());
}

#[test]
fn impact_is_what_a_plain_recomputation_finds_at_any_moment() {
    let mut random = Random(seed());
    for _ in 0..400 {
        check(&mut random);
    }
}
