//! What an event costs does not grow with how much is known of the same thing: for histories that say very much of one
//! thing, each states the rows that folding and deriving all of it reads, at a size and at four times it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pedigraph_proto::event::{
    AliasObserved, ArtifactPublished, CanaryChanged, DigestKind, ImageObserved, PlatformManifest, ServiceDeployed,
    TagObserved,
};
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{Digest, Event, canonical};

use crate::derived;
use crate::error::Error;
use crate::run::rebuild::fold_to_head;
use crate::run::test_log::Log;
use crate::store::{MemStore, Row, Store};

/// Counts rows that are read.
#[derive(Default)]
struct Counted {
    rows: MemStore,
    read: AtomicU64,
}

impl Store for Counted {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.read.fetch_add(1, Ordering::Relaxed);
        self.rows.get(key)
    }

    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.rows.insert(key, value)
    }

    fn insert_new(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.rows.insert_new(key, value)
    }

    fn remove(&self, key: &[u8]) -> Result<(), Error> {
        self.rows.remove(key)
    }

    fn batch(&self, rows: &[Row]) -> Result<(), Error> {
        self.rows.batch(rows)
    }

    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, limit: usize) -> Result<Vec<Row>, Error> {
        let rows = self.rows.scan(from, to, reverse, limit)?;
        self.read.fetch_add(rows.len() as u64 + 1, Ordering::Relaxed);
        Ok(rows)
    }

    fn flush(&self) -> Result<(), Error> {
        self.rows.flush()
    }
}

/// 2026-01-01T00:00:00Z.
const NEW_YEAR: i64 = 1_767_225_600_000_000_000;

fn digest(name: &str) -> String {
    Digest::sha256(canonical::sha256(name.as_bytes())).to_string()
}

/// Rows that are read to fold a history and to derive these views of it.
fn rows(events: &[Event], views: &[&str]) -> u64 {
    let mut log = Log::new();
    for (n, events) in events.chunks(250).enumerate() {
        let second = |at: usize| NEW_YEAR + i64::try_from(250 * n + at).expect("small") * 1_000_000_000;
        let entry = |(at, event): (usize, &Event)| ("ash", vec![vec![Fact::at(second(at), event.clone())]]);
        log.commit(events.iter().enumerate().map(entry).collect(), &[]);
    }
    let store = Arc::new(Counted::default());
    let mut derived = derived::all();
    derived.retain(|view| views.contains(&view.name()));
    fold_to_head(store.clone(), &log.reader(), 1 << 20, derived, &mut |_, _| ()).expect("folded");
    store.read.load(Ordering::Relaxed)
}

/// The same of each event of a history of so many, by the views that answers are bound by.
fn rows_each(history: &dyn Fn(usize) -> Vec<Event>, len: usize) -> u64 {
    let events = history(len);
    rows(&events, &["lines", "undescribed"]) / events.len() as u64
}

/// What each event costs at a size and at four times it: at most so many rows, and hardly more in the longer history.
fn flat(what: &str, len: usize, most: u64, history: impl Fn(usize) -> Vec<Event>) {
    let (small, large) = (rows_each(&history, len), rows_each(&history, 4 * len));
    eprintln!("{what}: {small} and {large} rows an event");
    assert!(small <= most && large <= most, "{what}: {small} and {large} rows an event, at most {most}");
    assert!(large <= small + small / 4 + 16, "{what}: {small} rows an event, {large} at four times the size");
}

fn tag(tag: String, digest: String) -> Event {
    TagObserved { repository: "r.io/evil".to_owned(), tag, digest }.into()
}

fn image(digest: String, kind: DigestKind, manifests: Vec<String>) -> ImageObserved {
    let manifests = manifests.into_iter().map(|digest| PlatformManifest { digest, ..Default::default() }).collect();
    ImageObserved { digest, digest_kind: kind.into(), manifests, ..Default::default() }
}

fn deployed(service: String, reference: &str) -> Event {
    let (environment, artifact_ref) = ("harbour".to_owned(), reference.to_owned());
    ServiceDeployed { service, environment, artifact_ref, ..Default::default() }.into()
}

#[test]
fn tags_of_one_digest() {
    // More than count as well.
    flat("tags", 300, 60, |len| (0..len).map(|n| tag(format!("t{n}"), digest("evil"))).collect());
    let of_repository = |n: usize| {
        let artifact_ref = format!("evil{n}.example/x/app:1");
        ArtifactPublished { artifact_digest: digest("evil"), artifact_ref, ..Default::default() }.into()
    };
    flat("publications", 300, 60, |len| (0..len).map(of_repository).collect());
}

#[test]
fn configs_of_one_manifest() {
    let of = |n: usize| {
        let image = image(digest("evil"), DigestKind::Manifest, vec![]);
        ImageObserved { config_digest: digest(&format!("config {n}")), ..image }.into()
    };
    flat("configs", 300, 1_000, |len| (0..len).map(of).collect());
}

#[test]
fn manifests_of_one_config() {
    let of = |n: usize| {
        let image = image(digest(&format!("manifest {n}")), DigestKind::Manifest, vec![]);
        ImageObserved { config_digest: digest("config"), artifact_ref: format!("r.io/evil:{n}"), ..image }.into()
    };
    flat("manifests", 300, 1_200, |len| (0..len).map(of).collect());
}

#[test]
fn aliases_of_one_digest() {
    let of = |n: usize| {
        let other = format!("sha512:{}", digest(&format!("alias {n}"))[7..].repeat(2));
        AliasObserved { digests: vec![digest("evil"), other] }.into()
    };
    flat("aliases", 800, 1_400, |len| (0..len).map(of).collect());
}

#[test]
fn indexes_that_list_one_manifest() {
    let of = |n: usize| {
        let manifests = (0..20).map(|m| digest(&format!("{n} {m}"))).chain([digest("one")]).collect();
        image(digest(&format!("index {n}")), DigestKind::Index, manifests).into()
    };
    flat("indexes", 200, 600, |len| (0..len).map(of).collect());
}

/// Four levels of so many indexes, each of which lists all of the next level.
fn nested(wide: usize) -> Vec<Event> {
    let name = |level: usize, n: usize| digest(&format!("{level} {n}"));
    let of = |level: usize, n: usize| {
        let last = || vec![digest("one")];
        let below = if level < 3 { (0..wide).map(|m| name(level + 1, m)).collect() } else { last() };
        image(name(level, n), DigestKind::Index, below).into()
    };
    (0..4).flat_map(|level| (0..wide).map(move |n| of(level, n))).collect()
}

#[test]
fn indexes_within_indexes_are_walked_once_an_event() {
    for wide in [6, 24] {
        let (rows, listed) = (rows_each(&nested, wide), 3 * (wide * wide) as u64);
        eprintln!("nested {wide}: {rows} rows an event, {listed} listed");
        assert!(rows <= 2 * listed + 200, "{rows} rows an event where all indexes list {listed}");
    }
}

#[test]
fn canaries_of_one_lane() {
    let of = |digest: String, weight: usize| {
        let weight = u32::try_from(weight).expect("small");
        let (service, environment) = ("evil".to_owned(), "harbour".to_owned());
        CanaryChanged { service, environment, artifact_digest: digest, weight, ..Default::default() }.into()
    };
    flat("canaries", 300, 60, |len| (0..len).map(|n| of(digest(&format!("canary {n}")), n % 100)).collect());
    flat("steps of one canary", 300, 60, |len| (0..len).map(|n| of(digest("canary"), n * 7 % 100)).collect());
}

#[test]
fn moves_of_a_tag_by_which_many_lanes_were_deployed() {
    let moved = |lanes: usize| {
        let history = move |len: usize| {
            let lanes = (0..lanes).map(|n| deployed(format!("vessel {n}"), "r.io/evil:latest"));
            let moves = (0..len).map(|n| tag("latest".to_owned(), digest(&format!("image {}", n % 50))));
            lanes.chain(moves).collect::<Vec<Event>>()
        };
        let all = |len: usize| rows(&history(len), &["lines", "undescribed"]);
        (all(500) - all(100)) / 400
    };
    let (small, large) = (moved(100), moved(400));
    eprintln!("moves of a tag of 100 lanes and of 400: {small} and {large} rows each");
    assert!(small <= 60 && large <= small + small / 4 + 16, "{small} and {large} rows each");
}
