//! What questions cost while events flow in: `cargo bench --bench questions -- --artifacts 10000`.
//!
//! Fills a ledger with the mix of [`mix`], asks every kind of question of [`kinds`] over HTTP on kept connections, while
//! `--rate` events a second come in, and prints what half and 99 of 100 took beside what they should, the rows that were
//! read, memory, bytes on the disk, how fast events were taken in, folded and folded anew, and how long a start takes.
//! `docs/benchmarks.md` says how to read it. `--help` lists the options.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark measures time and prints")]

mod kinds;
mod mix;
mod said;
mod up;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kinds::{KINDS, Kind};
use mix::Mix;
use up::Up;

const HELP: &str = "options:
  --artifacts N    of the filling: about 4.3 events each [10000]
  --store NAME     what the views are kept in: views.store of the configuration [the default]
  --seed N         of everything that is drawn [1]
  --duration S     seconds of questions, shared by their kinds [120]
  --rate N         events a second that come in meanwhile; 0: none [1000]
  --only TEXT      only kinds of questions whose name has this text
  --data DIR       kept, and not filled again if it is there; else a temporary directory
  --no-rebuild     without folding everything anew";

/// Lines of one request.
const BATCH: usize = 2_000;
/// Questions of a kind before it is measured.
const WARM: u64 = 3;

struct Options {
    mix: Mix,
    store: Option<String>,
    duration: Duration,
    rate: u64,
    only: String,
    data: Option<PathBuf>,
    rebuild: bool,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Options {
        let mut options = Options {
            mix: Mix { seed: 1, artifacts: 10_000 },
            store: None,
            duration: Duration::from_secs(120),
            rate: 1_000,
            only: String::new(),
            data: None,
            rebuild: true,
        };
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| stop(&format!("{name} needs a value")));
            match name.as_str() {
                "--artifacts" => options.mix.artifacts = number(&value()).max(100),
                "--seed" => options.mix.seed = number(&value()),
                "--store" => options.store = Some(value()),
                "--duration" => options.duration = Duration::from_secs(number(&value())),
                "--rate" => options.rate = number(&value()),
                "--only" => options.only = value(),
                "--data" => options.data = Some(PathBuf::from(value())),
                "--no-rebuild" => options.rebuild = false,
                // Cargo says so to every bench.
                "--bench" => {}
                _ => stop(&format!("{name} is no option")),
            }
        }
        options
    }

    /// For the server and for `rebuild`.
    fn environment(&self) -> Vec<(String, String)> {
        self.store.iter().map(|store| ("PEDIGRAPH_VIEWS_STORE".to_owned(), store.clone())).collect()
    }

    fn kinds(&self) -> Vec<&'static Kind> {
        KINDS.iter().filter(|kind| kind.name.contains(&self.only)).collect()
    }

    /// By how much more than at 10,000 artifacts a question may take.
    fn more(&self) -> f64 {
        match self.mix.artifacts {
            0..=10_000 => 1.0,
            10_001..=100_000 => 1.5,
            100_001.. => 2.0,
        }
    }
}

fn number(text: &str) -> u64 {
    text.replace('_', "").parse().unwrap_or_else(|_| stop(&format!("{text:?} is no number")))
}

fn stop(why: &str) -> ! {
    println!("{why}\n{HELP}");
    std::process::exit(2)
}

fn main() {
    let options = Options::parse(std::env::args().skip(1));
    let temporary = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let data = options.data.clone().unwrap_or_else(|| temporary.path().join("data"));
    let is_filled = data.exists();
    let store = options.store.as_deref().unwrap_or("the default");
    println!("{} artifacts, seed {}, views in {store}", options.mix.artifacts, options.mix.seed);
    let (up, took) = Up::ready(&data, &options.environment());
    if is_filled {
        println!("figure   filled before; ready after {:.2} s with {} entries", took.as_secs_f64(), up.size());
    } else {
        fill(&up, &options);
    }
    sizes(&up, &data);
    ask(&up, &options);
    println!(
        "figure   memory after questions       {} MiB, peak {} MiB",
        up.memory_mib("VmRSS"),
        up.memory_mib("VmHWM")
    );
    restarts(up, &data, &options);
}

/// Everything that was there before questions are asked.
fn fill(up: &Up, options: &Options) {
    let (begun, mut sent, mut lines) = (Instant::now(), 0, Vec::with_capacity(BATCH));
    let mut said = Instant::now();
    for line in options.mix.filling() {
        lines.push(line);
        if lines.len() == BATCH {
            up.send(&lines);
            sent += lines.len();
            lines.clear();
        }
        if said.elapsed() > Duration::from_secs(15) {
            said = Instant::now();
            println!("         {sent} events sent after {:.0} s", begun.elapsed().as_secs_f64());
        }
    }
    up.send(&lines);
    sent += lines.len();
    let durable = begun.elapsed().as_secs_f64();
    let size = up.wait_visible();
    let visible = begun.elapsed().as_secs_f64();
    println!("figure   {sent} events, {size} entries");
    println!("figure   taken in                     {:.0} events/s", sent as f64 / durable);
    println!(
        "figure   folded beside it             {:.0} events/s, {:.1} s behind at the end",
        sent as f64 / visible,
        visible - durable
    );
}

fn sizes(up: &Up, data: &std::path::Path) {
    let (ledger, views, size) = (up::bytes_in(&data.join("ledger")), up::bytes_in(&data.join("views")), up.size());
    println!("figure   ledger, views on disk        {} and {} bytes an entry", ledger / size, views / size);
    println!(
        "figure   memory after the fold        {} MiB, peak {} MiB",
        up.memory_mib("VmRSS"),
        up.memory_mib("VmHWM")
    );
}

/// Events that come in until told to stop; how many there were.
fn flow(url: String, options: &Options, stop: Arc<AtomicBool>) -> Option<std::thread::JoinHandle<(u64, f64)>> {
    let (rate, mut lines) = (options.rate, options.mix.flow());
    // A tenth of a second each.
    let batch = usize::try_from(rate / 10).ok().filter(|batch| *batch > 0)?;
    Some(std::thread::spawn(move || {
        let (agent, begun) = (ureq::Agent::new_with_defaults(), Instant::now());
        let sent = AtomicU64::new(0);
        while !stop.load(Ordering::Relaxed) {
            let due = Duration::from_secs_f64(sent.load(Ordering::Relaxed) as f64 / rate as f64);
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
            let lines: Vec<String> = lines.by_ref().take(batch).collect();
            let post = agent.post(format!("{url}/api/v1/events")).header("content-type", "application/x-ndjson");
            post.send(lines.join("\n")).expect("sent").body_mut().read_to_vec().expect("an answer");
            sent.fetch_add(batch as u64, Ordering::Relaxed);
        }
        let sent = sent.into_inner();
        (sent, sent as f64 / begun.elapsed().as_secs_f64())
    }))
}

/// Each kind for its share of the time.
fn ask(up: &Up, options: &Options) {
    let kinds = options.kinds();
    let stop = Arc::new(AtomicBool::new(false));
    let flowing = flow(up.url.clone(), options, stop.clone());
    println!(
        "{:<30} {:>9} {:>9} {:>9} {:>4} {:>9} {:>9} {:>9} {:>8}",
        "question", "p50 ms", "p99 ms", "should", "", "rows p50", "rows max", "allowed", "asked"
    );
    for kind in &kinds {
        one_kind(up, options, kind, options.duration / u32::try_from(kinds.len().max(1)).expect("few kinds"));
    }
    stop.store(true, Ordering::Relaxed);
    if let Some((sent, rate)) = flowing.map(|flowing| flowing.join().expect("it sent")) {
        let begun = Instant::now();
        up.wait_visible();
        println!(
            "figure   meanwhile came in            {sent} events, {rate:.0} events/s; {:.1} s behind",
            begun.elapsed().as_secs_f64()
        );
    }
}

/// What the answers of one kind came to.
#[derive(Default)]
struct Seen {
    times_ms: Vec<f64>,
    rows: Vec<u64>,
    /// Rows that the answer shows which was read from most, and what was asked for it.
    shown: u64,
    costliest: String,
    /// The last status that was no answer.
    refused: Option<u16>,
}

impl Seen {
    fn add(&mut self, kind: &Kind, path: &str, answer: &up::Answer) {
        self.times_ms.push(answer.took.as_secs_f64() * 1e3);
        if answer.status >= 400 {
            self.refused = Some(answer.status);
            return;
        }
        if self.rows.last().is_none_or(|most| answer.rows > *most) {
            self.shown = (kind.shown)(&answer.bytes) as u64;
            path.clone_into(&mut self.costliest);
        }
        let at = self.rows.partition_point(|rows| *rows <= answer.rows);
        self.rows.insert(at, answer.rows);
    }
}

fn one_kind(up: &Up, options: &Options, kind: &Kind, duration: Duration) {
    let path = |n| (kind.path)(options.mix, n);
    (0..WARM).for_each(|n| drop(up.get(&path(n))));
    let (begun, mut seen) = (Instant::now(), Seen::default());
    for n in WARM.. {
        let path = path(n);
        seen.add(kind, &path, &up.get(&path));
        if begun.elapsed() >= duration {
            break;
        }
    }
    say(kind, &mut seen, options.more());
}

/// A line of the table.
fn say(kind: &Kind, seen: &mut Seen, more: f64) {
    seen.times_ms.sort_by(f64::total_cmp);
    let (p50, p99) = (at(&seen.times_ms, 50), at(&seen.times_ms, 99));
    let (should, met) = match kind.target.map(|(half, most)| (half * more, most * more)) {
        None => (String::new(), ""),
        Some((half, most)) => (format!("{half} / {most}"), if p50 < half && p99 < most { "yes" } else { "NO" }),
    };
    let (rows_p50, rows_max) = (at(&seen.rows, 50), at(&seen.rows, 100));
    let allowed = kind.rows.fixed + kind.rows.each * seen.shown;
    let refused = seen.refused.map(|status| format!("  some answered {status}")).unwrap_or_default();
    println!(
        "{:<30} {p50:>9.2} {p99:>9.2} {should:>9} {met:>4} {rows_p50:>9} {rows_max:>9} {allowed:>9} {:>8}{refused}",
        kind.name,
        seen.times_ms.len()
    );
    if rows_max > allowed {
        println!("         read from more rows than allowed: {}", seen.costliest);
    }
}

/// The smallest that so many of 100 do not exceed.
fn at<T: Copy + Default>(sorted: &[T], percent: usize) -> T {
    sorted.get((sorted.len() * percent).div_ceil(100).max(1) - 1).copied().unwrap_or_default()
}

fn restarts(up: Up, data: &std::path::Path, options: &Options) {
    let environment = options.environment();
    let stopped = up.stop();
    println!("figure   stopped                      {:.2} s", stopped.as_secs_f64());
    let (mut up, clean) = Up::ready(data, &environment);
    println!("figure   start to ready, clean        {:.2} s", clean.as_secs_f64());
    let flow: Vec<String> =
        options.mix.first_deployments().take(50).map(|line| line.replace("first-", "again-")).collect();
    up.send(&flow);
    up.wait_visible();
    up.kill();
    let (up, killed) = Up::ready(data, &environment);
    println!("figure   start to ready, after kill   {:.2} s, {} MiB", killed.as_secs_f64(), up.memory_mib("VmRSS"));
    let size = up.size();
    up.stop();
    if options.rebuild {
        let took = up::rebuild(data, &environment).as_secs_f64();
        println!("figure   folded anew                  {:.0} entries/s, {took:.1} s", size as f64 / took);
    }
}
