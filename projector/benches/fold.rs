//! How fast the ledger is folded, beside raw single inserts of the same rows into the same kind of store, in one run:
//! `cargo bench -p pedigraph-projector --bench fold`. `PEDIGRAPH_BENCH_EVENTS` sets the number of events.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a bench measures time and prints it")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pedigraph_projector::fold_into;
use pedigraph_projector::store::{Row, SledStore, Store};
use pedigraph_projector::{Error, Moment, Options, Scope, Views, rebuild};
use pedigraph_proto::TenantId;
use pedigraph_proto::event::{ArtifactPackaged, ArtifactPublished, ServiceDeployed, TestsFinished};

#[path = "../tests/projector/book.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod book;

use book::{Book, Said, digest, said};

/// The same as in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CACHE_BYTES: u64 = 256 << 20;
const STEP_BYTES: usize = 1 << 20;
const ROUNDS: usize = 3;

/// Keeps every insert in order.
#[derive(Default)]
struct Recorder {
    rows: Mutex<Vec<Row>>,
    inner: pedigraph_projector::store::MemStore,
}

impl Store for Recorder {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.inner.get(key)
    }
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.rows.lock().expect("one thread").push((key.to_vec(), value.to_vec()));
        self.inner.insert(key, value)
    }
    fn insert_new(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let there = self.inner.insert_new(key, value)?;
        if there.is_none() {
            self.rows.lock().expect("one thread").push((key.to_vec(), value.to_vec()));
        }
        Ok(there)
    }
    fn remove(&self, key: &[u8]) -> Result<(), Error> {
        self.inner.remove(key)
    }
    fn batch(&self, rows: &[Row]) -> Result<(), Error> {
        self.inner.batch(rows)
    }
    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, limit: usize) -> Result<Vec<Row>, Error> {
        self.inner.scan(from, to, reverse, limit)
    }
    fn flush(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// The life of versions of many services: built, published, tested, deployed.
fn event(n: i64) -> Said {
    let (version, app) = (n / 4, n / 4 % 500);
    let (artifact, reference) = (digest(&format!("v{version}")), format!("registry.example/app-{app}:1.{version}.0"));
    match n % 4 {
        0 => {
            let event = ArtifactPackaged {
                artifact_digest: artifact,
                artifact_ref: reference,
                commit: digest(&format!("commit {version}"))[7..47].to_owned(),
                run: format!("https://ci.example/runs/{version}"),
                pipeline: "release".into(),
                repository: format!("https://git.example/app-{app}"),
                ..Default::default()
            };
            said(&format!("{n}"), n, event)
        }
        1 => {
            let event = ArtifactPublished { artifact_digest: artifact, artifact_ref: reference, ..Default::default() };
            said(&format!("{n}"), n, event)
        }
        2 => {
            let event =
                TestsFinished { artifact_digest: artifact, suite: "e2e".into(), passed: 10, ..Default::default() };
            said(&format!("{n}"), n, event)
        }
        _ => {
            let event = ServiceDeployed {
                service: format!("app-{app}"),
                environment: "prod".into(),
                artifact_digest: artifact,
                artifact_ref: reference,
                ..Default::default()
            };
            said(&format!("{n}"), n, event)
        }
    }
}

/// Time on a processor of this thread, which a busy machine distorts less; zero where the kernel does not tell.
fn on_cpu() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(told.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

/// Time on a processor of all threads of this process, in steps of 10 ms: the folding thread hands its rows to one that
/// inserts.
fn all_on_cpu() -> Duration {
    let told = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = told.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    Duration::from_millis(fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10)
}

fn best(mut run: impl FnMut(usize) -> Duration) -> f64 {
    (0..ROUNDS).map(|round| run(round).as_secs_f64()).fold(f64::INFINITY, f64::min)
}

fn main() {
    let events: i64 = std::env::var("PEDIGRAPH_BENCH_EVENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(40_000);
    let mut book = Book::new();
    let all: Vec<Said> = (0..events).map(event).collect();
    all.chunks(1_024).for_each(|events| book.commit(events));
    let reader = book.reader();

    let recorder = Arc::new(Recorder::default());
    let root = fold_into(recorder.clone(), &reader, STEP_BYTES).expect("folds").root;
    let rows = std::mem::take(&mut *recorder.rows.lock().expect("one thread"));
    let bytes: usize = rows.iter().map(|(key, value)| key.len() + value.len()).sum();
    println!("{events} events, {} rows, {} bytes a row", rows.len(), bytes / rows.len());

    let (mut ceiling_cpu, mut figure_cpu) = (Duration::MAX, Duration::MAX);
    let (mut ceiling_all, mut figure_all) = (Duration::MAX, Duration::MAX);
    let ceiling = best(|round| {
        let path = book.dir.path().join(format!("raw-{round}"));
        let (store, _) = SledStore::open(&path, CACHE_BYTES).expect("opens");
        let (begun, begun_cpu, begun_all) = (Instant::now(), on_cpu(), all_on_cpu());
        rows.iter().for_each(|(key, value)| store.insert(key, value).expect("inserts"));
        store.flush().expect("flushes");
        ceiling_cpu = ceiling_cpu.min(on_cpu() - begun_cpu);
        ceiling_all = ceiling_all.min(all_on_cpu() - begun_all);
        begun.elapsed()
    });
    let figure = best(|round| {
        let (store, _) = SledStore::open(&book.dir.path().join(format!("fold-{round}")), CACHE_BYTES).expect("opens");
        let (begun, begun_cpu, begun_all) = (Instant::now(), on_cpu(), all_on_cpu());
        assert_eq!(fold_into(Arc::new(store), &reader, STEP_BYTES).expect("folds").root, root);
        figure_cpu = figure_cpu.min(on_cpu() - begun_cpu);
        figure_all = figure_all.min(all_on_cpu() - begun_all);
        begun.elapsed()
    });
    let memory = best(|_| {
        let begun = Instant::now();
        fold_into(Arc::new(pedigraph_projector::store::MemStore::default()), &reader, STEP_BYTES).expect("folds");
        begun.elapsed()
    });
    let begun = Instant::now();
    let options = Options { cache_bytes: CACHE_BYTES, store: None };
    rebuild(&book.dir.path().join("views"), &reader, &options, &mut |_, _| ()).expect("rebuilds");
    let rebuilt = begun.elapsed().as_secs_f64();

    long_line();
    wide_environment();

    #[expect(clippy::cast_precision_loss, reason = "a rate for a person")]
    let (rows, events) = (rows.len() as f64, events as f64);
    println!("ceiling: {:.0} raw single inserts/s", rows / ceiling);
    println!(
        "fold:    {:.0} rows/s, {:.0} events/s, {:.2} of the ceiling (must reach 0.8)",
        rows / figure,
        events / figure,
        ceiling / figure
    );
    let ratio = ceiling_cpu.as_secs_f64() / figure_cpu.as_secs_f64();
    println!(
        "processor time: {ceiling_cpu:.2?} inserting raw rows, {figure_cpu:.2?} on the folding thread ({ratio:.2})"
    );
    println!(
        "processor time of all threads: {ceiling_all:.2?} inserting raw rows, {figure_all:.2?} folding ({:.2})",
        ceiling_all.as_secs_f64() / figure_all.as_secs_f64()
    );
    println!("in memory: {:.0} rows/s; rebuild with sync: {:.0} events/s", rows / memory, events / rebuilt);
}

/// A ledger of these events, and views that have folded all of it.
fn folded(events: Vec<Said>) -> (Book, Views) {
    let mut book = Book::new();
    events.chunks(1_024).for_each(|events| book.commit(events));
    let options = Options { cache_bytes: CACHE_BYTES, store: None };
    let views = Views::open(&book.dir.path().join("views"), book.reader(), &options).expect("opens");
    assert!(views.wait_folded(book.reader().next_seq()));
    (book, views)
}

/// Everything that is known, as of the head.
fn now(views: &Views) -> Scope {
    views.at(&TenantId::default(), Moment::default()).expect("a scope")
}

/// A line of thousands of versions: one question about one of them reads the whole line.
fn long_line() {
    const VERSIONS: i64 = 5_000;
    let version = |n: i64| {
        let (artifact_digest, artifact_ref) = (digest(&format!("v{n}")), format!("registry.example/app:1.{n}.0"));
        said(&format!("{n}"), n, ArtifactPublished { artifact_digest, artifact_ref, ..Default::default() })
    };
    let (_book, views) = folded((0..VERSIONS).map(version).collect());
    let scope = now(&views);
    let asked = digest("v2500");
    let took = best(|_| {
        let begun = Instant::now();
        scope.lineage(&asked, 10, pedigraph_projector::answers::Direction::Both).expect("read").expect("known");
        begun.elapsed()
    });
    println!("lineage in a line of {VERSIONS} versions: {:.1} ms", took * 1_000.0);
}

/// An environment of thousands of services, each deployed a few times.
fn wide_environment() {
    const SERVICES: i64 = 2_000;
    let deployed = |n: i64| {
        let (service, artifact_ref) = (format!("app-{}", n % SERVICES), format!("registry.example/app:1.{n}.0"));
        let artifact_digest = digest(&format!("v{n}"));
        let environment = "prod".to_owned();
        let event = ServiceDeployed { service, environment, artifact_digest, artifact_ref, ..Default::default() };
        said(&format!("{n}"), n, event)
    };
    let (_book, views) = folded((0..SERVICES * 3).map(deployed).collect());
    let scope = now(&views);
    let took = best(|_| {
        let begun = Instant::now();
        let environment = scope.environment("prod", false).expect("read").expect("named");
        assert_eq!(i64::try_from(environment.services.len()), Ok(SERVICES));
        begun.elapsed()
    });
    println!("environment of {SERVICES} services: {:.1} ms", took * 1_000.0);
}
