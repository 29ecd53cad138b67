//! Durable appends of 1 KiB entries, beside what this machine can do at most in the same run: how fast it hashes, and how long
//! one write with one `fdatasync` of such a batch takes. Run with `cargo bench -p pedigraph-ledger --bench append`; set
//! `PEDIGRAPH_BENCH_DIR` to measure another disk than that of the temporary directory.
#![expect(clippy::print_stdout, reason = "a benchmark's output is its figures")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first fault")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pedigraph_ledger::{Batch, LogId, NewEntry, Options, leaf_hash, open, verify};

const LEAF_BYTES: usize = 1024;
/// Batch size and number of batches.
const RUNS: [(u32, u32); 4] = [(1, 500), (16, 500), (1024, 200), (4096, 50)];

fn main() {
    let root = std::env::var_os("PEDIGRAPH_BENCH_DIR").map_or_else(tempfile::tempdir, tempfile::tempdir_in).unwrap();
    let leaf = vec![7; LEAF_BYTES];
    let hash_rate = hash_rate(&leaf);
    println!("ceiling sha256            {hash_rate:>10.0} leaves/s of {LEAF_BYTES} bytes on one core");
    for (entries, batches) in RUNS {
        run(root.path(), entries, batches, hash_rate);
    }
}

fn run(root: &Path, entries: u32, batches: u32, hash_rate: f64) {
    let sync = sync_p50(root, entries as usize * LEAF_BYTES);
    let ceiling = f64::from(entries) / (f64::from(entries) / hash_rate).max(sync.as_secs_f64());
    let sync_ms = sync.as_secs_f64() * 1e3;
    println!("batch {entries:>5}  ceiling     {ceiling:>10.0} entries/s  (write + fdatasync p50 {sync_ms:.2} ms)");

    let dir = root.join(entries.to_string());
    let mut writer = open(&dir, &Options::default()).unwrap();
    let log = LogId::default_log();
    let mut latencies = Vec::new();
    let cpu_before = cpu_seconds();
    let start = Instant::now();
    for n in 0..batches {
        let leaf = |i: u32| {
            let mut leaf = vec![0; LEAF_BYTES];
            leaf.chunks_exact_mut(8)
                .for_each(|eight| eight.copy_from_slice(&((u64::from(n) << 32) + u64::from(i) + 1).to_be_bytes()));
            NewEntry { log: log.clone(), leaf: Bytes::from(leaf), facts: Vec::new(), body: None }
        };
        let batch = Batch { time_ns: n.into(), entries: (0..entries).map(leaf).collect(), ..Batch::default() };
        let before = Instant::now();
        writer.append(batch).unwrap();
        latencies.push(before.elapsed());
    }
    let seconds = start.elapsed().as_secs_f64();
    drop(writer);
    let cpu = cpu_seconds() - cpu_before;
    latencies.sort_unstable();
    let all = f64::from(entries * batches);
    let percentile =
        |percent: usize| latencies[(latencies.len() * percent / 100).min(latencies.len() - 1)].as_secs_f64() * 1e3;
    println!(
        "batch {entries:>5}  figure      {:>10.0} entries/s  ({:.2} of the ceiling; append p50 {:.2} ms, p99 {:.2} ms; {:.0} entries per CPU second with tiles)",
        all / seconds,
        all / seconds / ceiling,
        percentile(50),
        percentile(99),
        all / cpu,
    );
    if entries == 1024 {
        reopen_and_verify(&dir, all, hash_rate);
    }
    fs::remove_dir_all(&dir).unwrap();
}

fn reopen_and_verify(dir: &Path, entries: f64, hash_rate: f64) {
    let start = Instant::now();
    drop(open(dir, &Options::default()).unwrap());
    println!("open                      {:>10.1} ms for {entries} entries", start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    let verified = verify(dir, &mut |_, _| {}).unwrap();
    assert_eq!(verified.fault, None);
    let rate = entries / start.elapsed().as_secs_f64();
    println!("verify                    {rate:>10.0} entries/s  ({:.2} of the ceiling)", rate / hash_rate);
}

fn hash_rate(leaf: &[u8]) -> f64 {
    let rounds = 200_000_u32;
    let start = Instant::now();
    for _ in 0..rounds {
        std::hint::black_box(leaf_hash(std::hint::black_box(leaf)));
    }
    f64::from(rounds) / start.elapsed().as_secs_f64()
}

/// The median time of one write and one `fdatasync` into a file that was written before, as the journal's segments are.
fn sync_p50(root: &Path, bytes: usize) -> Duration {
    let path = root.join("probe");
    let file = File::create(&path).unwrap();
    file.write_all_at(&vec![0; 64 << 20], 0).unwrap();
    file.sync_all().unwrap();
    let data = vec![1; bytes];
    let mut times: Vec<_> = (0..(64 << 20) / bytes.max(1 << 20) as u64)
        .map(|n| {
            let start = Instant::now();
            file.write_all_at(&data, n * data.len() as u64).unwrap();
            file.sync_data().unwrap();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    fs::remove_file(path).unwrap();
    times[times.len() / 2]
}

/// User and system time of all threads of this process, in seconds.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}
