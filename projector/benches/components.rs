//! How fast SBOMs fold and what they cost, beside the ceiling: sled inserts of the same rows.
//!
//! `cargo bench -p pedigraph-projector --bench components`; `PEDIGRAPH_BENCH_SETS` sets the number of distinct SBOMs.
//! Every version of a line shares 95 % of its 300 components with the one before; parsing is not part of it.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::sync::Arc;
use std::time::Instant;

use pedigraph_projector::fold_into;
use pedigraph_projector::store::{MemStore, Row, SledStore, Store};
use pedigraph_projector::{Affecting, ImpactQuestion};
use pedigraph_proto::event::{Component, ComponentsListed, SbomAttached};
use pedigraph_proto::{Event, canonical};
use world::{Random, SECOND, Sent, World, scope, seed};

#[path = "../tests/world/mod.rs"]
mod world;

const COMPONENTS: usize = 300;
const VERSIONS: usize = 25;
const PACKAGES: usize = 20_000;
const CACHE_BYTES: u64 = 256 << 20;
const STEP_BYTES: usize = 4 << 20;

fn main() {
    let sets = std::env::var("PEDIGRAPH_BENCH_SETS").ok().and_then(|n| n.parse().ok()).unwrap_or(5_000);
    let mut random = Random(seed());
    let mut first = World::new();
    let documents = documents(sets, &mut random);
    for chunk in documents.chunks(500) {
        first.append(chunk);
    }
    let rows_once = fold("distinct SBOMs", &first, sets);
    let again: Vec<Sent> = documents.iter().map(resent).collect();
    for chunk in again.chunks(500) {
        first.append(chunk);
    }
    let rows_twice = fold("each sent twice", &first, sets * 2);
    let size = |rows: &[Row]| rows.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    println!(
        "  rows of the components view: {} per distinct SBOM, {} B",
        rows_once.len() / sets,
        size(&rows_once) / sets
    );
    let (rows, bytes) = (rows_twice.len() - rows_once.len(), size(&rows_twice) - size(&rows_once));
    println!("  the same SBOM again: {:.1} rows, {} B", per(rows, sets), bytes / sets);
    queries(&first);
}

fn per(count: usize, of: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / f64::from(u32::try_from(of).unwrap_or(u32::MAX))
}

/// Folds into sled and prints documents per second beside the ceiling; returns the rows of the components view.
fn fold(name: &str, world: &World, documents: usize) -> Vec<Row> {
    let dir = world.dir.path().join(name.replace(' ', "-"));
    let (store, _) = SledStore::open(&dir, CACHE_BYTES).expect("a store");
    let store = Arc::new(store);
    let seconds = timed(|| {
        fold_into(store.clone(), &world.writer.reader(), STEP_BYTES).expect("folded");
    });
    let (all, disk_bytes) = (every_row(store.as_ref()), store.disk_bytes());
    let (raw, _) = SledStore::open(&dir.join("raw"), CACHE_BYTES).expect("a store");
    let raw_seconds = timed(|| {
        all.iter().for_each(|(key, value)| raw.insert(key, value).expect("inserted"));
        raw.flush().expect("flushed");
    });
    let memory = timed(|| {
        fold_into(Arc::new(MemStore::default()), &world.writer.reader(), STEP_BYTES).expect("folded");
    });
    let rate = |seconds: f64| per(documents, 1) / seconds;
    println!(
        "{name}: {:.0} documents/s into sled, ceiling {:.0} (raw inserts of its {} rows), {:.0} into memory; {} KB on disk",
        rate(seconds),
        rate(raw_seconds),
        all.len(),
        rate(memory),
        disk_bytes / 1_024
    );
    all.into_iter().filter(|(key, _)| key.starts_with(b"default\0\0c")).collect()
}

#[expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
fn timed(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64()
}

fn every_row(store: &dyn Store) -> Vec<Row> {
    let (mut rows, mut from) = (Vec::new(), vec![]);
    loop {
        let page = store.scan(&from, &[0xff; 8], false, 4_096).expect("scanned");
        let Some((last, _)) = page.last() else { return rows };
        from = [last.as_slice(), &[0]].concat();
        rows.extend(page);
    }
}

fn documents(sets: usize, random: &mut Random) -> Vec<Sent> {
    let mut documents = Vec::new();
    let mut packages: Vec<(usize, usize)> = Vec::new();
    for n in 0..sets {
        if n % VERSIONS == 0 {
            packages = (0..COMPONENTS).map(|_| (skewed(random, PACKAGES), 0)).collect();
        }
        for _ in 0..COMPONENTS / 20 {
            let changed = random.below(COMPONENTS);
            packages[changed] = (skewed(random, PACKAGES), skewed(random, 10));
        }
        documents.push(sent(n, &packages));
    }
    documents
}

/// Few packages are in many images, many in few.
fn skewed(random: &mut Random, n: usize) -> usize {
    let most = random.below(n) + 1;
    random.below(most)
}

fn sent(n: usize, packages: &[(usize, usize)]) -> Sent {
    let mut components: Vec<Component> = packages.iter().map(component).collect();
    components.sort_by(|a, b| a.purl.cmp(&b.purl));
    let component_set = canonical::component_set(components.iter()).to_string();
    let attached = SbomAttached {
        artifact_digest: format!("sha256:{n:064x}"),
        sbom_digest: format!("sha256:{:064x}", n + (1 << 40)),
        tool: "syft".to_owned(),
        component_set: component_set.clone(),
        ..SbomAttached::default()
    };
    let events = vec![attached.into(), ComponentsListed { component_set, first: 0, components }.into()];
    let time = i64::try_from(n).expect("small") * SECOND + 100_000_000 * SECOND;
    Sent { time, id: n.to_string(), events }
}

fn component((package, version): &(usize, usize)) -> Component {
    let (name, version) = (format!("package-{package}"), format!("{version}.0.0"));
    Component {
        purl: format!("pkg:npm/%40scope/{name}@{version}"),
        name,
        version,
        group: "@scope".to_owned(),
        r#type: "library".to_owned(),
        licenses: vec!["MIT".to_owned()],
        depends_on: vec![],
        ..Component::default()
    }
}

/// The same contents with another serial number, an hour later.
fn resent(document: &Sent) -> Sent {
    let events = document.events.iter().cloned().map(|mut event| {
        if let Event::SbomAttached(attached) = &mut event {
            attached.sbom_digest = format!("{}f", &attached.sbom_digest[..attached.sbom_digest.len() - 1]);
        }
        event
    });
    Sent { time: document.time + 3_600 * SECOND, id: format!("{}-again", document.id), events: events.collect() }
}

fn queries(world: &World) {
    let views = world.views();
    let scope = scope(&views, None, None);
    for (name, purl) in
        [("one version", "pkg:npm/%40scope/package-7@3.0.0"), ("every version", "pkg:npm/%40scope/package-7")]
    {
        let question = ImpactQuestion {
            of: Affecting::Package { purl: purl.to_owned(), versions: None },
            environment: None,
            limit: 100,
            after: None,
            progress: false,
        };
        let mut times: Vec<f64> =
            (0..200).map(|_| timed(|| drop(scope.impact(&question).expect("answered")))).collect();
        times.sort_by(f64::total_cmp);
        let counts = scope.impact(&question).expect("answered").0.counts;
        println!(
            "impact of {name}: p50 {:.2} ms, p99 {:.2} ms, {} artifacts",
            times[100] * 1e3,
            times[198] * 1e3,
            counts.not_deployed
        );
    }
    let digest = format!("sha256:{:064x}", 7);
    let mut times: Vec<f64> =
        (0..200).map(|_| timed(|| drop(scope.components(&digest, None, 100).expect("listed")))).collect();
    times.sort_by(f64::total_cmp);
    println!(
        "100 components of an artifact: p50 {:.2} ms, p99 {:.2} ms (rows in memory)",
        times[100] * 1e3,
        times[198] * 1e3
    );
}
