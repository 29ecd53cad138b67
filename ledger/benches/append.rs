//! Durable appends of 1 KiB entries, beside what this machine can do at most in the same run: how fast it hashes, and
//! how long one write with one `fdatasync` of such a batch takes. Leaves are made before the clocks start and freed
//! after. Run with `cargo bench -p pedigraph-ledger --bench append`; set `PEDIGRAPH_BENCH_DIR` to measure another disk
//! than that of the temporary directory. `PEDIGRAPH_BENCH_OPEN=10000000` measures instead how long a ledger of so many
//! short entries takes to open, and in how much memory.
#![expect(clippy::print_stdout, reason = "a benchmark's output is its figures")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first fault")]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pedigraph_ledger::{
    Access, Batch, LocalFiles, LogId, NewEntry, Options, Storage, StoredFile, UNDER_WAY_MAX, Work, leaf_hash, open,
    open_with, verify,
};

/// As the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LEAF_BYTES: usize = 1024;
/// Batch size and number of batches.
const RUNS: [(u32, u32); 4] = [(1, 500), (16, 500), (1024, 800), (4096, 200)];

fn main() {
    let root = std::env::var_os("PEDIGRAPH_BENCH_DIR").map_or_else(tempfile::tempdir, tempfile::tempdir_in).unwrap();
    if let Ok(entries) = std::env::var("PEDIGRAPH_BENCH_OPEN") {
        return open_large(root.path(), entries.parse().unwrap());
    }
    let leaf = vec![7; LEAF_BYTES];
    let hash_rate = hash_rate(&leaf);
    println!("ceiling sha256            {hash_rate:>10.0} leaves/s of {LEAF_BYTES} bytes on one core");
    for (entries, batches) in RUNS {
        run(root.path(), entries, batches, hash_rate);
    }
}

fn run(root: &Path, entries: u32, batches: u32, hash_rate: f64) {
    let dir = root.join(entries.to_string());
    let disk = Arc::new(Disk::default());
    let mut writer =
        open_with(&dir, &Options::default(), Arc::clone(&disk) as Arc<dyn Storage>, Work::Background).unwrap();
    let batches: Vec<_> = (0..batches).map(|n| batch(n, entries)).collect();
    let all = f64::from(entries) * batches.len() as f64;
    let mut probes = probe(root, entries as usize * LEAF_BYTES);

    disk.times().clear();
    let mut latencies = Vec::new();
    let cpu_before = cpu_seconds();
    let start = Instant::now();
    // Batches are encoded while those before them go to the disk, as the processor does with full ones.
    let mut submitted = std::collections::VecDeque::new();
    for batch in &batches {
        submitted.push_back(Instant::now());
        writer.submit(batch.clone()).unwrap();
        while submitted.len() > UNDER_WAY_MAX {
            writer.landed().unwrap().unwrap();
            latencies.push(submitted.pop_front().unwrap().elapsed());
        }
    }
    while let Some(at) = submitted.pop_front() {
        writer.landed().unwrap().unwrap();
        latencies.push(at.elapsed());
    }
    let seconds = start.elapsed().as_secs_f64();
    let mut written = disk.times().clone();
    drop(writer);
    let cpu = cpu_seconds() - cpu_before;

    // Before and after: the disk of a shared machine is not the same a second later.
    probes.extend(probe(root, entries as usize * LEAF_BYTES));
    let sync = percentile_ms(&mut probes, 50);
    let ceiling = f64::from(entries) / (f64::from(entries) / hash_rate).max(sync / 1e3);
    println!("batch {entries:>5}  ceiling     {ceiling:>10.0} entries/s  (write + fdatasync p50 {sync:.2} ms)");
    println!(
        "batch {entries:>5}  figure      {:>10.0} entries/s  ({:.2} of the ceiling; append p50 {:.2} ms, p99 {:.2} ms)",
        all / seconds,
        all / seconds / ceiling,
        percentile_ms(&mut latencies, 50),
        percentile_ms(&mut latencies, 99),
    );
    let on_disk: Duration = written.iter().sum();
    println!(
        "batch {entries:>5}  of which    {:>10} fdatasyncs of the journal, with their writes {:.0} % of the time, p50 {:.2} ms",
        written.len(),
        on_disk.as_secs_f64() / seconds * 100.0,
        percentile_ms(&mut written, 50),
    );
    println!("batch {entries:>5}  cost        {:>10.0} entries per CPU second, tiles and indexes included", all / cpu);
    if entries == 1024 {
        reopen_and_verify(&dir, all, hash_rate);
    }
}

fn batch(n: u32, entries: u32) -> Batch {
    let log = LogId::default_log();
    let entry = |i: u32| {
        let mut leaf = vec![0; LEAF_BYTES];
        leaf.chunks_exact_mut(8)
            .for_each(|eight| eight.copy_from_slice(&((u64::from(n) << 32) + u64::from(i) + 1).to_be_bytes()));
        NewEntry { log: log.clone(), leaf: Bytes::from(leaf), facts: Vec::new(), body: None }
    };
    Batch { time_ns: n.into(), entries: (0..entries).map(entry).collect(), ..Batch::default() }
}

fn percentile_ms(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e3
}

fn reopen_and_verify(dir: &Path, entries: f64, hash_rate: f64) {
    let start = Instant::now();
    drop(open(dir, &Options::default()).unwrap());
    println!("open                      {:>10.1} ms for {entries} entries", start.elapsed().as_secs_f64() * 1e3);
    // What this disk gives to one reader, then the check of the same bytes: both without the page cache.
    forget(dir);
    let start = Instant::now();
    let read: usize = journal(dir).iter().map(|segment| read_all(segment)).sum();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "read by one thread        {:>10.0} entries/s, {:.0} MB/s of the disk",
        entries / seconds,
        read as f64 / seconds / 1e6
    );
    forget(dir);
    let cpu_before = cpu_seconds();
    let start = Instant::now();
    let verified = verify(dir, &mut |_, _| {}).unwrap();
    assert_eq!(verified.fault, None);
    let rate = entries / start.elapsed().as_secs_f64();
    let cpu_rate = entries / (cpu_seconds() - cpu_before);
    println!(
        "verify                    {rate:>10.0} entries/s  ({:.2} of SHA-256, must reach 0.5; {cpu_rate:.0} entries per CPU second)",
        rate / hash_rate
    );
}

fn journal(dir: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(dir.join("journal")).unwrap().map(|name| name.unwrap().path());
    names.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).collect()
}

/// Takes the journal out of the page cache.
fn forget(dir: &Path) {
    for segment in journal(dir) {
        let file = File::open(segment).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
}

fn read_all(path: &Path) -> usize {
    const PIECE_BYTES: usize = 1 << 20;
    let (file, mut piece, mut offset) = (File::open(path).unwrap(), vec![0; PIECE_BYTES], 0);
    loop {
        match file.read_at(&mut piece, offset as u64).unwrap() {
            0 => return offset,
            bytes => offset += bytes,
        }
    }
}

/// Opening reads the newest segment alone, so neither time nor memory may grow with the entries before it.
fn open_large(root: &Path, entries: u32) {
    const BATCH: u32 = 4096;
    let dir = root.join("large");
    let log = LogId::default_log();
    let entry = |n: u32| NewEntry {
        log: log.clone(),
        leaf: Bytes::from(n.to_be_bytes().to_vec()),
        facts: Vec::new(),
        body: None,
    };
    let mut writer = open(&dir, &Options::default()).unwrap();
    let mut appended = 0;
    for part in [entries / 10, entries] {
        while appended < part {
            let to = part.min(appended + BATCH);
            let entries = (appended..to).map(entry).collect();
            writer.append(Batch { time_ns: appended.into(), entries, ..Batch::default() }).unwrap();
            appended = to;
        }
        drop(writer);
        let before = resident_mib();
        let (start, cpu_before) = (Instant::now(), cpu_seconds());
        writer = open(&dir, &Options::default()).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "open {appended:>9} entries   {:>7.0} ms  ({:.2} CPU seconds, must be below 2000 ms; resident {:.0} MiB, before {before:.0})",
            seconds * 1e3,
            cpu_seconds() - cpu_before,
            resident_mib(),
        );
    }
}

fn resident_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
}

fn hash_rate(leaf: &[u8]) -> f64 {
    let rounds = 200_000_u32;
    let start = Instant::now();
    for _ in 0..rounds {
        std::hint::black_box(leaf_hash(std::hint::black_box(leaf)));
    }
    f64::from(rounds) / start.elapsed().as_secs_f64()
}

/// Times of one write and one `fdatasync` into a file that was written before, as the journal's segments are.
fn probe(root: &Path, bytes: usize) -> Vec<Duration> {
    let path = root.join("probe");
    let file = File::create(&path).unwrap();
    file.write_all_at(&vec![0; 64 << 20], 0).unwrap();
    file.sync_all().unwrap();
    let data = vec![1; bytes];
    let one = |n: u64| {
        let start = Instant::now();
        file.write_all_at(&data, n * data.len() as u64).unwrap();
        file.sync_data().unwrap();
        start.elapsed()
    };
    let times = (0..(64 << 20) / bytes.max(1 << 20) as u64).map(one).collect();
    fs::remove_file(path).unwrap();
    times
}

/// The real disk, with the times of the journal's writes and syncs.
#[derive(Default)]
struct Disk(Arc<Mutex<Vec<Duration>>>);

impl Disk {
    fn times(&self) -> std::sync::MutexGuard<'_, Vec<Duration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for Disk {
    fn create(&self, path: &Path, access: Access) -> io::Result<Box<dyn StoredFile>> {
        LocalFiles.create(path, access)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        LocalFiles.open(path)
    }

    fn open_pages(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        Ok(Box::new(Timed { file: LocalFiles.open_pages(path)?, times: Arc::clone(&self.0) }))
    }
}

struct Timed {
    file: Box<dyn StoredFile>,
    times: Arc<Mutex<Vec<Duration>>>,
}

impl StoredFile for Timed {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn write_pages(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let start = Instant::now();
        self.file.write_pages(bytes, offset)?;
        self.times.lock().unwrap_or_else(PoisonError::into_inner).push(start.elapsed());
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let start = Instant::now();
        self.file.sync()?;
        // Beside the write that it makes durable.
        self.times
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .last_mut()
            .into_iter()
            .for_each(|time| *time += start.elapsed());
        Ok(())
    }
}

/// User and system time of all threads of this process, in seconds.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}
