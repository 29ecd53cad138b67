//! Lines under late arrivals: whatever came in which order, what is known as of an entry is what a plain recomputation
//! from the events up to it says, and what the same events in order say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use pedigraph_projector::answers::Direction;
use pedigraph_projector::store::{MemStore, Store as _};
use pedigraph_projector::{AsOf, Error, Moment, Scope, Views};
use pedigraph_proto::event::{
    AliasObserved, ArtifactPublished, DigestKind, ImageObserved, PlatformManifest, SbomAttached, ServiceDeployed,
    TagObserved,
};
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{Event, TenantId};
use semver::Version;

use crate::book::{Book, MINUTE, NEW_YEAR, Said, digest, packaged, said};
use crate::watched::Watched;
use crate::world::{Random, seed};

const NAMES: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
const TAGS: [&str; 10] =
    ["1.0.0", "1.0.1", "1.1.0", "1.1.0-alpine3.20", "1.2.0-alpine3.19", "2.0.0", "2.0.1", "latest", "edge", "1.0"];
const REPOSITORIES: [&str; 2] = ["r.io/kiln", "r.io/oven"];

/// What one event of the plain history says: its own word for an artifact.
#[derive(Clone, Debug)]
struct Called {
    name: &'static str,
    minute: i64,
    published: bool,
    repository: &'static str,
    tag: &'static str,
}

impl Called {
    fn random(random: &mut Random, minute: i64) -> Called {
        Called {
            name: NAMES[random.below(NAMES.len())],
            minute,
            published: random.below(4) > 0,
            repository: REPOSITORIES[random.below(5) / 4],
            tag: TAGS[random.below(TAGS.len())],
        }
    }

    fn said(&self, n: usize) -> Said {
        let reference = format!("{}:{}", self.repository, self.tag);
        if self.published {
            let event = ArtifactPublished {
                artifact_digest: digest(self.name),
                artifact_ref: reference,
                ..ArtifactPublished::default()
            };
            return said(&n.to_string(), self.minute, event);
        }
        Said { id: n.to_string(), ..packaged(self.name, self.minute, |event| event.artifact_ref = reference) }
    }
}

/// A repository and a tag.
type Tag = (&'static str, &'static str);

/// A version as the events say, and where it stands.
struct Plain {
    digest: String,
    line: (String, String),
    created: i64,
    published: i64,
    version: Option<(Version, bool)>,
    tags: Vec<(Tag, (i64, usize))>,
}

fn variant(tag: &str) -> Option<&'static str> {
    tag.starts_with(|c: char| c.is_ascii_digit()).then(|| if tag.contains("alpine") { "alpine" } else { "" })
}

/// The release that a tag names, and whether it is the one without a variant.
fn version(tag: &str) -> Option<(Version, bool)> {
    let (release, plain) = tag.split_once('-').map_or((tag, true), |(release, _)| (release, false));
    Some((Version::parse(release).ok()?, plain))
}

fn plain(name: &str, events: &[Called]) -> Option<Plain> {
    let of: Vec<(usize, &Called)> = events.iter().enumerate().filter(|(_, event)| event.name == name).collect();
    let created = of.iter().map(|(_, event)| event.minute).min()?;
    let published = of.iter().filter(|(_, event)| event.published).map(|(_, event)| event.minute).min();
    let earliest = of.iter().min_by_key(|(_, event)| (!event.published, event.minute, event.repository))?;
    let repository = earliest.1.repository;
    let here = || of.iter().filter(|(_, event)| event.repository == repository).map(|(_, event)| event.tag);
    let greatest = here()
        .filter_map(|tag| Some((version(tag)?, tag)))
        .max_by(|(a, tag_a), (b, tag_b)| a.cmp(b).then_with(|| tag_a.cmp(tag_b)));
    let shortest = || here().filter_map(variant).min_by_key(|variant| (variant.len(), *variant));
    let of_version = greatest.as_ref().and_then(|(_, tag)| variant(tag)).or_else(shortest).unwrap_or_default();
    let mut tags: BTreeMap<Tag, (i64, usize)> = BTreeMap::new();
    for (index, event) in &of {
        let first = tags.entry((event.repository, event.tag)).or_insert((event.minute, *index));
        *first = (*first).min((event.minute, *index));
    }
    Some(Plain {
        digest: digest(name),
        line: (repository.to_owned(), of_version.to_owned()),
        created,
        published: published.unwrap_or(created),
        version: greatest.map(|(version, _)| version),
        tags: tags.into_iter().collect(),
    })
}

/// The one derived parent of a member, among those of its line by (createdAt, digest).
fn parent<'m>(members: &[&'m Plain], of: usize) -> Option<&'m str> {
    let me = members[of];
    let lower = members.iter().filter(|other| {
        let below = other.version.as_ref().zip(me.version.as_ref()).is_some_and(|(other, me)| other < me);
        below && other.published <= me.published
    });
    let by_version = lower.max_by_key(|other| (other.version.clone(), other.published, other.created, &other.digest));
    if let Some(parent) = by_version {
        return Some(&parent.digest);
    }
    let mut before: Option<usize> = None;
    for (tag, when) in &me.tags {
        let called = members.iter().enumerate().filter(|(at, _)| *at != of).flat_map(|(at, other)| {
            other.tags.iter().filter(|(other, then)| other == tag && then < when).map(move |(_, then)| (*then, at))
        });
        let last = called.max().map(|(_, at)| at);
        before = before.max(last.filter(|at| *at < of));
    }
    let parent = members[before.or(of.checked_sub(1))?];
    let greater = parent.version.as_ref().zip(me.version.as_ref()).is_some_and(|(other, me)| other > me);
    (!greater || parent.published < me.published).then_some(parent.digest.as_str())
}

/// Rank and parent of each, from the events alone.
fn recomputed(events: &[Called]) -> BTreeMap<String, (u64, Option<String>)> {
    let all: Vec<Plain> = NAMES.iter().filter_map(|name| plain(name, events)).collect();
    let lines: BTreeSet<&(String, String)> = all.iter().map(|one| &one.line).collect();
    let mut found = BTreeMap::new();
    for line in lines {
        let mut members: Vec<&Plain> = all.iter().filter(|one| one.line == *line).collect();
        members.sort_by_key(|one| (one.created, &one.digest));
        for (at, member) in members.iter().enumerate() {
            let parent = parent(&members, at).map(str::to_owned);
            found.insert(member.digest.clone(), (at as u64 + 1, parent));
        }
    }
    found
}

fn scope(views: &Views, bound: usize) -> Scope {
    let as_of = bound.checked_sub(1).map(|index| AsOf::Index(index as u64));
    views.at(&TenantId::default(), Moment { at: None, as_of }).expect("a scope")
}

/// Rank and parents of each that is known.
fn answered(scope: &Scope, names: &[&str]) -> BTreeMap<String, (u64, Vec<String>)> {
    let known = names.iter().filter_map(|name| scope.artifact(&digest(name)).expect("read"));
    known.map(|one| (one.node.digest.clone(), (one.node.sequence_number, one.lineage.parents.clone()))).collect()
}

#[test]
fn rank_and_parent_are_those_of_a_plain_recomputation_as_of_any_entry() {
    let mut random = Random(seed());
    for round in 0..100 {
        let mut minutes: Vec<i64> = (1..=28).collect();
        let late = random.below(3);
        for n in (1..minutes.len()).rev() {
            // In order, somewhat late, or in any order.
            let reach = [1, 4, n + 1][late].min(n + 1);
            minutes.swap(n, n - random.below(reach));
        }
        let events: Vec<Called> = minutes.iter().map(|minute| Called::random(&mut random, *minute)).collect();
        let mut book = Book::new();
        let said: Vec<Said> = events.iter().enumerate().map(|(n, event)| event.said(n)).collect();
        said.chunks(1 + random.below(9)).for_each(|commit| book.commit(commit));
        let views = book.views();
        for _ in 0..6 {
            let bound = 1 + random.below(events.len());
            let scope = scope(&views, bound);
            let want = recomputed(&events[..bound]);
            let want: BTreeMap<_, _> =
                want.into_iter().map(|(digest, (rank, parent))| (digest, (rank, Vec::from_iter(parent)))).collect();
            assert_eq!(answered(&scope, &NAMES), want, "round {round}, below {bound} of {events:#?}");
            for (digest, (_, parents)) in &want {
                for parent in parents {
                    let lineage = scope.lineage(parent, 1, Direction::Down).expect("read").expect("known");
                    let is_child = lineage.edges.iter().any(|edge| edge.from == *parent && edge.to == *digest);
                    assert!(is_child, "round {round}, below {bound}: {digest} is no child of {parent} in {events:#?}");
                }
            }
        }
    }
}

/// Anything that changes what a version is: tags, platforms, indexes and their manifests, other digests of it.
fn anything(random: &mut Random, minute: i64, n: usize) -> Said {
    let name = NAMES[random.below(NAMES.len())];
    let repository = REPOSITORIES[random.below(5) / 4].to_owned();
    let tag = TAGS[random.below(TAGS.len())].to_owned();
    let reference = format!("{repository}:{tag}");
    let id = n.to_string();
    let listed = |name: &str, platform: &str| PlatformManifest {
        digest: digest(name),
        platform: platform.to_owned(),
        artifact_type: String::new(),
    };
    let observed = |kind: DigestKind, digest: String| ImageObserved {
        digest,
        digest_kind: kind.into(),
        artifact_ref: reference.clone(),
        ..ImageObserved::default()
    };
    match random.below(7) {
        0 => {
            let (one, other) = (NAMES[random.below(NAMES.len())], NAMES[random.below(NAMES.len())]);
            let platforms = ["linux/amd64", "linux/arm64", "linux/amd64"];
            let manifests = [one, other].into_iter().map(|name| listed(name, platforms[random.below(3)])).collect();
            let event = observed(DigestKind::Index, digest(&format!("index {}", random.below(3))));
            said(&id, minute, ImageObserved { manifests, ..event })
        }
        1 => {
            let platform = ["linux/amd64", "linux/arm64"][random.below(2)].to_owned();
            said(&id, minute, ImageObserved { platform, ..observed(DigestKind::Manifest, digest(name)) })
        }
        2 => {
            let config_digest = digest(&format!("config {}", random.below(4)));
            said(&id, minute, ImageObserved { config_digest, ..observed(DigestKind::Manifest, digest(name)) })
        }
        3 => {
            let alias = digest(&format!("alias {}", random.below(3)));
            said(&id, minute, AliasObserved { digests: vec![digest(name), alias] })
        }
        4 => said(&id, minute, TagObserved { repository, tag, digest: digest(name) }),
        5 => Said { id, ..packaged(name, minute, |event| event.artifact_ref = reference.clone()) },
        _ => {
            let artifact_digest = digest(name);
            said(&id, minute, ArtifactPublished { artifact_digest, artifact_ref: reference, ..Default::default() })
        }
    }
}

#[test]
fn what_came_late_is_as_if_it_had_come_in_time() {
    let mut random = Random(seed() ^ 0x5eed);
    let others = ["index 0", "index 1", "index 2", "config 0", "config 1", "alias 0", "alias 1", "alias 2"];
    let names: Vec<&str> = NAMES.into_iter().chain(others).collect();
    for round in 0..80 {
        let mut minutes: Vec<i64> = (1..=20).collect();
        (1..minutes.len()).rev().for_each(|n| minutes.swap(n, random.below(n + 1)));
        let events: Vec<Said> =
            minutes.iter().enumerate().map(|(n, minute)| anything(&mut random, *minute, n)).collect();
        let mut book = Book::new();
        events.chunks(1 + random.below(7)).for_each(|commit| book.commit(commit));
        let views = book.views();
        for _ in 0..4 {
            let bound = 1 + random.below(events.len());
            let mut in_time = events[..bound].to_vec();
            in_time.sort_by_key(|event| event.minute);
            let straight = Book::of(&in_time);
            let (late, straight) = (scope(&views, bound), straight.scope());
            assert_eq!(answered(&late, &names), answered(&straight, &names), "round {round}, {bound} of {events:#?}");
        }
    }
}

/// Name and root of each view, and its rows.
fn roots(views: &Views) -> Vec<(String, Option<String>)> {
    views.progress(&TenantId::default(), 0).into_iter().map(|view| (view.name, view.root)).collect()
}

#[test]
fn a_crash_between_any_two_rows_of_lines_changes_nothing() {
    let mut random = Random(seed() ^ 0xdead);
    let mut minutes: Vec<i64> = (1..=24).collect();
    (1..minutes.len()).rev().for_each(|n| minutes.swap(n, random.below(n + 1)));
    let events: Vec<Said> = minutes.iter().enumerate().map(|(n, minute)| anything(&mut random, *minute, n)).collect();
    let mut book = Book::new();
    events.chunks(3).for_each(|commit| book.commit(commit));
    let straight = book.views();
    let (want, answers) = (roots(&straight), answered(&scope(&straight, events.len()), &NAMES));
    assert!(want.iter().any(|(name, root)| name == "lines" && root.is_some()));
    for _ in 0..24 {
        let dies_at = random.below(600);
        let store = Arc::new(Watched::default());
        let mut left = dies_at;
        *store.before.lock().expect("not poisoned") = Some(Box::new(move |_, _| match left.checked_sub(1) {
            Some(fewer) => {
                left = fewer;
                Ok(())
            }
            None => Err(Error::Store("died".to_owned())),
        }));
        let dying = Views::in_store(store.clone(), book.reader()).expect("views");
        dying.wait_folded(book.reader().next_seq());
        drop(dying);
        *store.before.lock().expect("not poisoned") = None;
        let again = Views::in_store(store, book.reader()).expect("views");
        assert!(again.wait_folded(book.reader().next_seq()), "{:?}", again.fault());
        assert_eq!(roots(&again), want, "dead at write {dies_at}");
        assert_eq!(answered(&scope(&again, events.len()), &NAMES), answers, "dead at write {dies_at}");
    }
}

/// Anything that changes where something runs that nobody has described.
fn run_or_described(random: &mut Random) -> Event {
    let name = digest(NAMES[random.below(NAMES.len())]);
    let sbom_digest = digest(&format!("alias {}", random.below(3)));
    let (service, environment) = (format!("service {}", random.below(3)), format!("env {}", random.below(2)));
    let artifact_ref = format!("{}:{}", REPOSITORIES[0], TAGS[random.below(TAGS.len())]);
    let deployed = ServiceDeployed { service, environment, artifact_ref, ..ServiceDeployed::default() };
    match random.below(5) {
        0 => SbomAttached { artifact_digest: name, sbom_digest, ..SbomAttached::default() }.into(),
        1 => SbomAttached { artifact_digest: name, component_set: sbom_digest, ..SbomAttached::default() }.into(),
        2 => SbomAttached { component_set: sbom_digest.clone(), sbom_digest, ..SbomAttached::default() }.into(),
        3 => ServiceDeployed { artifact_digest: name, ..deployed }.into(),
        _ => deployed.into(),
    }
}

/// Entries of several facts each, about anything, in any order.
fn mixed(random: &mut Random, commits: usize) -> Book {
    let mut book = Book::new();
    for commit in 0..commits {
        let entries = 0..=random.below(3);
        let entry = |entry| {
            let minute = |random: &mut Random| 1 + i64::try_from(random.below(30)).expect("small");
            let begins = minute(random);
            let mut said = anything(random, begins, commit * 10 + entry);
            for _ in 0..random.below(4) {
                let when = minute(random);
                let more = anything(random, when, 0).facts.into_iter();
                said.facts.extend(more.map(|fact| Fact { occurred_at: NEW_YEAR + when * MINUTE, ..fact }));
                said.facts.push(Fact::at(NEW_YEAR + when * MINUTE, run_or_described(random)));
            }
            said
        };
        book.commit(&entries.map(entry).collect::<Vec<Said>>());
    }
    book
}

/// While it folds, a fact tells what it changes. After a restart all that it touches is looked at.
#[test]
fn what_is_derived_again_from_the_ledger_is_what_was_derived_while_folding() {
    const PROGRESS_OF_VIEWS: [&[u8]; 2] = [&[0, b'd', b'l'], &[0, b'd', b'u']];
    let mut random = Random(seed() ^ 0xb07);
    for round in 0..60 {
        let book = mixed(&mut random, 12);
        let store = Arc::new(MemStore::default());
        let folded = || {
            let views = Views::in_store(store.clone(), book.reader()).expect("views");
            assert!(views.wait_folded(book.reader().next_seq()), "{:?}", views.fault());
            let roots = roots(&views);
            views.close().expect("closed");
            (roots, store.scan(b"default\0\0D", b"default\0\0E", false, usize::MAX).expect("in memory"))
        };
        let told = folded();
        PROGRESS_OF_VIEWS.iter().for_each(|key| store.remove(key).expect("in memory"));
        let read = folded();
        assert_eq!(told.0, read.0, "round {round}");
        assert!(told.1 == read.1, "round {round}: {} and {} rows", told.1.len(), read.1.len());
    }
}

fn published(n: i64) -> ArtifactPublished {
    let (artifact_digest, artifact_ref) = (digest(&format!("v{n}")), format!("r.io/kiln:1.{n}.0"));
    ArtifactPublished { artifact_digest, artifact_ref, ..ArtifactPublished::default() }
}

fn deployed(n: i64) -> ServiceDeployed {
    let ArtifactPublished { artifact_digest, artifact_ref, .. } = published(n);
    let (service, environment) = ("kiln".to_owned(), "prod".to_owned());
    ServiceDeployed { service, environment, artifact_digest, artifact_ref, ..ServiceDeployed::default() }
}

#[test]
fn what_is_sent_again_costs_next_to_nothing() {
    const TIMES: i64 = 200;
    let again: [(&str, Event); 2] = [("publication", published(29).into()), ("deployment", deployed(29).into())];
    for (what, event) in again {
        let mut book = Book::new();
        let begins = (0..30).flat_map(|n| [said("", n, published(n)), said("", n, deployed(n))]);
        book.commit(&begins.collect::<Vec<Said>>());
        let store = Arc::new(Watched::default());
        let views = Views::in_store(store.clone(), book.reader()).expect("views");
        assert!(views.wait_folded(book.reader().next_seq()));
        let (read, derived) = (store.read.load(Relaxed), store.derived.load(Relaxed));
        book.commit(&(0..TIMES).map(|n| said("again", 40 + n, event.clone())).collect::<Vec<Said>>());
        assert!(views.wait_folded(book.reader().next_seq()));
        assert_eq!(store.derived.load(Relaxed), derived, "{what}");
        let each = (store.read.load(Relaxed) - read) as u64 / TIMES.unsigned_abs();
        assert!(each <= 4, "{what}: {each} rows read each time");
    }
}
