//! Ids taken in, found again and told from new ones, beside plain inserts of the same rows into the same store.
//!
//! `cargo bench -p pedigraph-processor --bench known`; `PEDIGRAPH_BENCH_IDS=100000000` for as many ids,
//! `PEDIGRAPH_BENCH_DIR` for another disk than that of the temporary directory (100 million ids take 10 GB of it).
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a bench reads the clock, prints, and stops at the first surprise"
)]

mod cpu;

use std::fs;
use std::path::Path;
use std::time::Instant;

use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use pedigraph_processor::measure::KnownIds;
use pedigraph_proto::canonical::sha256;

/// The same as in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rows that the plain store is given.
const CEILING_ROWS: u64 = 1_000_000;
/// Bytes of a row's value.
const VALUE_BYTES: usize = 25;
/// Ids that are looked up for a time.
const LOOKUPS: u64 = 100_000;
/// New ids that the filter is asked about.
const ASKED: u64 = 1_000_000;
/// Parts of the whole that are told one by one: what grows with the number of ids shows.
const PARTS: u64 = 10;

fn main() {
    let ids = std::env::var("PEDIGRAPH_BENCH_IDS").map_or(1_000_000, |ids| ids.parse().unwrap());
    let root = std::env::var_os("PEDIGRAPH_BENCH_DIR").map_or_else(tempfile::tempdir, tempfile::tempdir_in).unwrap();
    ceiling(&root.path().join("ceiling"));
    let known = take_in(root.path(), ids);
    look_up(&known, ids);
    close(known);
    println!("on disk                   {:.1} bytes an id", disk_bytes(&root.path().join("known")) as f64 / ids as f64);
    println!("resident at most          {:.0} MB", status_megabytes("VmHWM:"));
    open_again(root.path(), ids);
}

/// The same rows in the same order, one insert each and one flush at the end.
fn ceiling(dir: &Path) {
    let rows: Vec<[u8; 32]> = (0..CEILING_ROWS).map(|n| sha256(&n.to_le_bytes())).collect();
    let database = Database::builder(dir).worker_threads(1).open().unwrap();
    let keyspace = database.keyspace("rows", KeyspaceCreateOptions::default).unwrap();
    let clock = Clock::start();
    for row in rows {
        keyspace.insert(row, [7; VALUE_BYTES]).unwrap();
    }
    database.persist(PersistMode::SyncAll).unwrap();
    drop((keyspace, database));
    println!("ceiling: {CEILING_ROWS} plain inserts, no question asked: {}", clock.each(CEILING_ROWS));
    fs::remove_dir_all(dir).unwrap();
}

fn take_in(dir: &Path, ids: u64) -> KnownIds {
    let mut known = KnownIds::open(dir).unwrap();
    let all = Clock::start();
    for part in 0..PARTS {
        let (from, to) = (ids * part / PARTS, ids * (part + 1) / PARTS);
        let clock = Clock::start();
        known.take_in(from..to).unwrap();
        println!(
            "{to:>11} ids taken in   {}; filter {:.1} MB, resident {:.0} MB, on disk {:.0} MB",
            clock.each(to - from),
            known.filter_bytes() as f64 / 1e6,
            status_megabytes("VmRSS:"),
            disk_bytes(&dir.join("known")) as f64 / 1e6,
        );
    }
    println!("all                       {}", all.each(ids));
    println!("filter                    {}", filter(&known, ids));
    known
}

fn open_again(dir: &Path, ids: u64) {
    let clock = Clock::start();
    let mut known = KnownIds::open(dir).unwrap();
    println!("open again                {clock}");
    let unhelped = Clock::start();
    assert!((ids..ids + LOOKUPS).all(|id| !known.holds(id).unwrap()), "a new id is found");
    println!("a new id without filter   {}", unhelped.each(LOOKUPS));
    known.complete_filter().unwrap();
    println!(
        "filter complete           {clock}; {}, resident {:.0} MB",
        filter(&known, ids),
        status_megabytes("VmRSS:")
    );
    look_up(&known, ids);
    close(known);
}

fn filter(known: &KnownIds, ids: u64) -> String {
    let bytes = known.filter_bytes() as f64;
    format!("{bytes} bytes, {:.2} an id", bytes / ids as f64)
}

fn close(known: KnownIds) {
    let clock = Clock::start();
    known.close().unwrap();
    println!("close                     {clock}");
}

fn look_up(known: &KnownIds, ids: u64) {
    // Far from each other in the index, as keys are hashes, and in the order of arrival too.
    let scattered = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % ids;
    let clock = Clock::start();
    assert!((0..LOOKUPS).all(|n| known.holds(scattered(n)).unwrap()), "a known id is not found");
    println!("a known id found          {}", clock.each(LOOKUPS));
    let clock = Clock::start();
    let asking = (ids..ids + ASKED).filter(|&id| known.asks_the_index(id)).collect::<Vec<_>>();
    println!("a new id, filter          {}", clock.each(ASKED));
    println!("of {ASKED} new ids, {} ask the index: {:.3} %", asking.len(), asking.len() as f64 * 100.0 / ASKED as f64);
    let clock = Clock::start();
    assert!(asking.iter().all(|&id| !known.holds(id).unwrap()), "a new id is found");
    println!("a new id that asks        {}", clock.each(asking.len() as u64));
}

/// Wall time and the CPU time of all threads.
struct Clock {
    started: Instant,
    cpu: f64,
}

impl Clock {
    fn start() -> Clock {
        Clock { started: Instant::now(), cpu: cpu::seconds() }
    }

    fn each(&self, count: u64) -> String {
        let (wall, cpu) = (self.started.elapsed().as_secs_f64(), cpu::seconds() - self.cpu);
        let count = count.max(1) as f64;
        format!(
            "{wall:.2} s, {:.0}/s, {:.2} µs each; {cpu:.2} CPU s, {:.2} µs",
            count / wall,
            wall * 1e6 / count,
            cpu * 1e6 / count
        )
    }
}

impl std::fmt::Display for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} s, {:.2} CPU s", self.started.elapsed().as_secs_f64(), cpu::seconds() - self.cpu)
    }
}

fn status_megabytes(name: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() * 1_024.0 / 1e6
}

/// A file that compaction removes meanwhile counts nothing.
fn disk_bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => disk_bytes(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}
