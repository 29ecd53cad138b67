//! What views cost: rows and bytes of each table per event of a mix, and what each store makes of them on disk. `cargo bench -p pedigraph-projector --bench sizes`; `PEDIGRAPH_BENCH_ARTIFACTS` sets the number of artifacts.
//!
//! Each artifact is packaged with its run and commit from a base, described by an SBOM that shares 95 % with the version
//! before, published and deployed; of ten SBOMs one is sent again, with another serial number. Then some are sent again,
//! and some for artifacts that nothing else names. A table is printed by the two bytes that its keys have after the
//! tenant: view and table, as `facts/*/rows.rs` name them.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a bench measures time and prints it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use pedigraph_projector::fold_into;
use pedigraph_projector::store::{MemStore, Store, StoreKind};
use pedigraph_proto::event::{
    ArtifactPackaged, ArtifactPublished, Component, ComponentsListed, SbomAttached, ServiceDeployed,
};
use pedigraph_proto::wire::Fact;

#[path = "../tests/projector/book.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod book;

use book::{Book, Said, digest, said};

/// The same as in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KINDS: [StoreKind; 2] = [StoreKind::Sled, StoreKind::Fjall];
const CACHE_BYTES: u64 = 64 << 20;
const STEP_BYTES: usize = 1 << 20;
const LINES: usize = 100;
const COMPONENTS: usize = 60;
/// Events of a commit, where nothing else is said.
const COMMIT_EVENTS: usize = 256;
/// Commits of one event each, to see what one costs that comes alone.
const ALONE: usize = 4_000;

fn main() {
    let artifacts = std::env::var("PEDIGRAPH_BENCH_ARTIFACTS").ok().and_then(|n| n.parse().ok()).unwrap_or(5_000);
    let mut book = Book::new();
    let mix: Vec<Said> = (0..artifacts).flat_map(events_of).collect();
    mix.chunks(COMMIT_EVENTS).for_each(|events| book.commit(events));
    println!("{} events of {artifacts} artifacts, {} B of ledger an event", mix.len(), ledger_bytes(&book) / mix.len());
    let before = folded(&book);
    print_tables(&before, mix.len());
    let again: Vec<Said> = (0..artifacts).step_by(5).map(|n| sbom(n, "again")).collect();
    let ledger_before = ledger_bytes(&book);
    again.chunks(COMMIT_EVENTS).for_each(|events| book.commit(events));
    let after = folded(&book);
    let ledger = (ledger_bytes(&book) - ledger_before) / again.len();
    println!("an SBOM sent again: {ledger} B of ledger");
    print_tables(&grown(&before, &after), again.len());
    let others: Vec<Said> = (0..artifacts).step_by(5).map(for_another).collect();
    let ledger_before = ledger_bytes(&book);
    others.chunks(COMMIT_EVENTS).for_each(|events| book.commit(events));
    let ledger = (ledger_bytes(&book) - ledger_before) / others.len();
    println!("an SBOM sent for another artifact: {ledger} B of ledger");
    print_tables(&grown(&after, &folded(&book)), others.len());
    let again = [again, others].concat();
    backends(&book, mix.len() + again.len());
    alone(&mut book);
}

fn events_of(n: usize) -> Vec<Said> {
    let (artifact, line, minute) = (digest(&format!("v{n}")), n % LINES, i64::try_from(n).expect("few"));
    let reference = format!("registry.example/shop/app-{line}:1.{n}.0");
    let packaged = ArtifactPackaged {
        artifact_digest: artifact.clone(),
        artifact_ref: reference.clone(),
        commit: digest(&format!("commit {n}"))[7..47].to_owned(),
        run: format!("https://ci.example/shop/app-{line}/runs/{n}"),
        pipeline: "release".into(),
        repository: format!("https://git.example/shop/app-{line}"),
        base_digest: digest(&format!("base {}", n / 1_000)),
        base_ref: "registry.example/base/debian:12".into(),
        ..Default::default()
    };
    let published =
        ArtifactPublished { artifact_digest: artifact.clone(), artifact_ref: reference.clone(), ..Default::default() };
    let deployed = ServiceDeployed {
        service: format!("app-{line}"),
        environment: format!("env-{}", n / LINES % 10),
        artifact_digest: artifact,
        artifact_ref: reference,
        ..Default::default()
    };
    let mut events = vec![
        said(&format!("{n} packaged"), minute, packaged),
        sbom(n, "first"),
        said(&format!("{n} published"), minute, published),
        said(&format!("{n} deployed"), minute, deployed),
    ];
    if n % 10 == 3 {
        events.push(sbom(n, "repeated"));
    }
    events
}

/// The SBOM of an artifact; with another serial number it is another document of the same content.
fn sbom(n: usize, serial: &str) -> Said {
    let (line, version) = (n % LINES, n / LINES);
    let component = |place: usize| {
        let release = (version + place) / 20;
        let purl = format!("pkg:npm/part-{}@1.{release}.0", (line * 7 + place * 13) % 900);
        let name = purl[8..purl.len() - 4].to_owned();
        Component { purl, name, version: format!("1.{release}.0"), ..Default::default() }
    };
    let set = digest(&format!("set {line} {version}"));
    let attached = SbomAttached {
        artifact_digest: digest(&format!("v{n}")),
        sbom_digest: digest(&format!("sbom {n} {serial}")),
        format: "cyclonedx".into(),
        spec_version: "1.6".into(),
        serial_number: format!("urn:uuid:{}", &digest(serial)[7..43]),
        tool: "syft".into(),
        component_set: set.clone(),
        component_count: u32::try_from(COMPONENTS).expect("few"),
        ..Default::default()
    };
    let components = (0..COMPONENTS).map(component).collect();
    let listed = ComponentsListed { component_set: set, first: 0, components };
    let facts = vec![Fact::now(attached), Fact::now(listed)];
    Said { id: format!("{n} sbom {serial}"), minute: i64::try_from(n).expect("few"), facts }
}

/// The first SBOM of an artifact, as that of one that nothing else names.
fn for_another(n: usize) -> Said {
    let mut said = sbom(n, "first");
    if let Some(pedigraph_proto::Event::SbomAttached(attached)) = &mut said.facts[0].event {
        attached.artifact_digest = digest(&format!("other {n}"));
    }
    Said { id: format!("{n} sbom for another"), ..said }
}

/// Rows, bytes of keys, bytes of values.
type Sums = [usize; 3];
type Tables = BTreeMap<String, Sums>;

fn folded(book: &Book) -> Tables {
    let store = Arc::new(MemStore::default());
    fold_into(store.clone(), &book.reader(), STEP_BYTES).expect("folds");
    let (mut tables, mut from) = (Tables::new(), vec![]);
    loop {
        let page = store.scan(&from, &[0xff; 8], false, 4_096).expect("in memory");
        let Some((last, _)) = page.last() else { return tables };
        from = [last.as_slice(), &[0]].concat();
        for (key, value) in &page {
            let sums = tables.entry(table_of(key)).or_default();
            *sums = [sums[0] + 1, sums[1] + key.len(), sums[2] + value.len()];
        }
    }
}

fn table_of(key: &[u8]) -> String {
    match key.strip_prefix(b"default\0\0") {
        Some([view, table, ..]) => [char::from(*view), ' ', char::from(*table)].iter().collect(),
        _ => "progress".to_owned(),
    }
}

fn grown(before: &Tables, after: &Tables) -> Tables {
    let less = |(table, sums): (&String, &Sums)| {
        let before = before.get(table).copied().unwrap_or_default();
        (table.clone(), std::array::from_fn(|n| sums[n] - before[n].min(sums[n])))
    };
    after.iter().map(less).filter(|(_, sums)| sums[0] > 0).collect()
}

fn per(sum: usize, of: usize) -> f64 {
    f64::from(u32::try_from(sum).expect("small")) / f64::from(u32::try_from(of).expect("small"))
}

fn print_tables(tables: &Tables, events: usize) {
    println!("table      rows an event   B of a key   B of a value   B an event");
    let mut all = [0; 3];
    for (table, sums) in tables {
        print_sums(table, *sums, events);
        all = std::array::from_fn(|n| all[n] + sums[n]);
    }
    print_sums("all", all, events);
}

fn print_sums(name: &str, [rows, keys, values]: Sums, events: usize) {
    let (rows_each, bytes) = (per(rows, events), per(keys + values, events));
    println!("{name:<10} {rows_each:>13.3} {:>12.1} {:>14.1} {bytes:>12.1}", per(keys, rows), per(values, rows));
}

fn backends(book: &Book, events: usize) {
    for kind in KINDS {
        let dir = book.dir.path().join(kind.to_string());
        measure(&kind.to_string(), book, &dir, events, || kind.open(&dir, CACHE_BYTES).expect("opens").0);
    }
}

fn measure(name: &str, book: &Book, dir: &Path, events: usize, open: impl Fn() -> Arc<dyn Store>) {
    let begun = Instant::now();
    let store = open();
    fold_into(store.clone(), &book.reader(), STEP_BYTES).expect("folds");
    let took = begun.elapsed();
    drop(store);
    let reopened = Instant::now();
    let again = open();
    let reopened = reopened.elapsed();
    drop(again);
    let bytes = disk_bytes(dir);
    println!("{name}: folded in {took:.2?}, {} B an event on disk, opened again in {reopened:.2?}", bytes / events);
}

/// What one more commit costs in sled where it holds one duplicate, and where it holds one SBOM that was sent before.
fn alone(book: &mut Book) {
    let dir = book.dir.path().join("alone");
    let (store, _) = StoreKind::Sled.open(&dir, CACHE_BYTES).expect("opens");
    let fold = |book: &Book| {
        fold_into(store.clone(), &book.reader(), 1).expect("folds");
        disk_bytes(&dir)
    };
    let before = fold(book);
    (0..ALONE).for_each(|_| book.duplicates("http", 1));
    let duplicates = fold(book);
    (0..ALONE).for_each(|n| book.commit(&[sbom(n, "alone")]));
    let sboms = fold(book);
    println!("a duplicate alone: {} B of sled", duplicates.saturating_sub(before) / ALONE);
    println!("an SBOM sent again, alone: {} B of sled", sboms.saturating_sub(duplicates) / ALONE);
}

/// What the files take up, holes not counted.
fn disk_bytes(dir: &Path) -> usize {
    use std::os::unix::fs::MetadataExt;
    let items = fs::read_dir(dir).expect("a directory").map(|item| item.expect("an item").path());
    let bytes = items.map(|path| match fs::metadata(&path) {
        Ok(found) if found.is_dir() => disk_bytes(&path),
        Ok(found) => usize::try_from(found.blocks() * 512).expect("small"),
        // Removed meanwhile.
        Err(_) => 0,
    });
    bytes.sum()
}

fn ledger_bytes(book: &Book) -> usize {
    disk_bytes(&book.dir.path().join("ledger"))
}
