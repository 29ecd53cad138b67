//! The whole system as its users meet it: `cargo bench --bench system`.
//!
//! Starts `pedigraph up` as a process of its own and speaks HTTP to it. Each figure stands beside the ceiling measured
//! in the same run. Arguments: `[artifacts] [seconds]`, 100,000 and 20 by default.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark measures time and prints"
)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const RATE: u64 = 5_000;
const BATCH: u64 = 50;

struct Up {
    child: Child,
    url: String,
    _dir: tempfile::TempDir,
}

impl Drop for Up {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Up {
    fn start() -> Up {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_pedigraph"))
            .args(["up", "--listen", "127.0.0.1:0", "--data"])
            .arg(dir.path().join("data"))
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").expect("the listening line").to_owned();
        Up { child, url, _dir: dir }
    }

    fn memory_mib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}

fn digest(n: u64) -> String {
    format!("sha256:{n:064x}")
}

/// A deployment of one of 2,000 services, about 2.3 KB as real CDEvents are.
fn event(n: u64, tag: &str) -> String {
    let service = n % 2_000;
    let custom = "x".repeat(1_400);
    format!(
        r#"{{"specversion":"1.0","id":"{tag}-{n}","source":"/bench","type":"dev.cdevents.service.deployed.0.3.0","time":"2026-01-01T00:00:{:02}.{:09}Z","datacontenttype":"application/json","data":{{"context":{{"specversion":"0.5.1","id":"{tag}-{n}","source":"/bench","type":"dev.cdevents.service.deployed.0.3.0","timestamp":"2026-01-01T00:00:00Z"}},"subject":{{"id":"service-{service}","source":"/bench","content":{{"environment":{{"id":"prod"}},"artifactId":"pkg:oci/service-{service}@{}?repository_url=registry.example/service-{service}&tag=1.0.{n}"}}}},"customData":{{"note":"{custom}"}}}}}}"#,
        n / 1_000_000_000 % 60,
        n % 1_000_000_000,
        digest(n).replace(':', "%3A"),
    )
}

fn post(agent: &ureq::Agent, url: &str, path: &str, kind: &str, body: &str) -> u16 {
    let mut answer = agent.post(format!("{url}{path}")).header("content-type", kind).send(body).unwrap();
    answer.body_mut().read_to_vec().unwrap();
    answer.status().as_u16()
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |p: usize| times[(times.len() - 1) * p / 100].as_secs_f64() * 1e3;
    format!(
        "p50 {:.2} ms  p90 {:.2} ms  p99 {:.2} ms  max {:.2} ms  (n {})",
        at(50),
        at(90),
        at(99),
        at(100),
        times.len()
    )
}

/// What one durable write of 4 KiB costs into a file that was written before, as the journal does it.
fn fdatasync_times(n: usize) -> Vec<Duration> {
    use std::os::unix::fs::FileExt;
    let file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let block = vec![0u8; 4096];
    for i in 0..n {
        file.write_all_at(&block, i as u64 * 4096).unwrap();
    }
    file.sync_all().unwrap();
    let time = |i: usize| {
        let start = Instant::now();
        file.write_all_at(&[1u8; 4096], i as u64 * 4096).unwrap();
        file.sync_data().unwrap();
        start.elapsed()
    };
    (0..n).map(time).collect()
}

fn receipts(up: &Up) {
    let agent = agent();
    let time = |n: u64| {
        let body = event(n, "receipt");
        let start = Instant::now();
        assert_eq!(post(&agent, &up.url, "/api/v1/events", "application/cloudevents+json", &body), 201);
        start.elapsed()
    };
    let times: Vec<Duration> = (0..500).map(time).collect();
    println!("ceiling  fdatasync of 4 KiB            {}", percentiles(fdatasync_times(500)));
    println!("figure   HTTP receipt, one event       {}", percentiles(times));
}

/// Sends `rate` events a second as ndjson until told to stop.
fn load(
    url: String,
    rate: u64,
    tag: &'static str,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let (agent, start) = (agent(), Instant::now());
        let mut n = 0;
        while !stop.load(Ordering::Relaxed) {
            let due = Duration::from_secs_f64(n as f64 / rate as f64);
            if let Some(early) = due.checked_sub(start.elapsed()) {
                std::thread::sleep(early);
            }
            let lines: Vec<String> = (n..n + BATCH).map(|i| event(i, tag)).collect();
            let status = post(&agent, &url, "/api/v1/events", "application/x-ndjson", &lines.join("\n"));
            assert!(status == 201 || status == 200, "{status}");
            n += BATCH;
            sent.store(n, Ordering::Relaxed);
        }
    })
}

fn visible(up: &Up, seconds: u64) {
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let loader = load(up.url.clone(), RATE, "visible", stop.clone(), sent.clone());
    let (agent, start) = (agent(), Instant::now());
    let mut times = Vec::new();
    let mut n = 0;
    while start.elapsed() < Duration::from_secs(seconds) {
        let body = event(n, "probe");
        let begun = Instant::now();
        assert_eq!(post(&agent, &up.url, "/api/v1/events?wait=visible", "application/cloudevents+json", &body), 201);
        times.push(begun.elapsed());
        n += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    let rate = sent.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    loader.join().unwrap();
    println!("goal     event to queryable            p50 < 100 ms, p99 < 500 ms at {RATE} events/s");
    println!("figure   event to queryable            {} at {rate:.0} events/s", percentiles(times));
}

fn fill(up: &Up, artifacts: u64) {
    let (agent, start) = (agent(), Instant::now());
    for first in (0..artifacts).step_by(1_000) {
        let lines: Vec<String> = (first..(first + 1_000).min(artifacts)).map(|n| event(n, "fill")).collect();
        let status = post(&agent, &up.url, "/api/v1/events", "application/x-ndjson", &lines.join("\n"));
        assert!(status == 201 || status == 200, "{status}");
    }
    let newest = agent.get(format!("{}/api/v1/freshness", up.url)).call().unwrap().body_mut().read_to_string().unwrap();
    let index = newest.split("\"index\":").nth(1).and_then(|rest| rest.split(',').next()).unwrap().to_owned();
    let visible = format!("{}/api/v1/intake?minIndex={index}", up.url);
    while agent.get(&visible).call().unwrap().status() != 200 {
        assert!(start.elapsed() < Duration::from_secs(300), "the views never came to index {index}");
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("figure   {artifacts} artifacts over HTTP, visible: {:.0} events/s", artifacts as f64 / seconds);
}

fn questions(up: &Up, artifacts: u64, seconds: u64) {
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let loader = load(up.url.clone(), 500, "flow", stop.clone(), sent);
    let agent = agent();
    let ask = |path: String| {
        let start = Instant::now();
        let mut answer = agent.get(format!("{}{path}", up.url)).call().unwrap();
        answer.body_mut().read_to_vec().unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        start.elapsed()
    };
    let run = |name: &str, path: &dyn Fn(u64) -> String| {
        let (start, mut times, mut n) = (Instant::now(), Vec::new(), 1u64);
        while start.elapsed() < Duration::from_secs(seconds) / 4 {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            times.push(ask(path(n % artifacts)));
        }
        println!("figure   {name:<29} {}", percentiles(times));
    };
    run("GET /livez (HTTP alone)", &|_| "/livez".to_owned());
    run("GET lineage", &|n| format!("/api/v1/lineage/{}", digest(n)));
    run("GET trace", &|n| format!("/api/v1/trace?ref={}", digest(n)));
    run("GET environment, 2,000 services", &|_| "/api/v1/environments/prod".to_owned());
    stop.store(true, Ordering::Relaxed);
    loader.join().unwrap();
}

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let artifacts = numbers.first().copied().unwrap_or(100_000);
    let seconds = numbers.get(1).copied().unwrap_or(20);
    let up = Up::start();
    receipts(&up);
    visible(&up, seconds);
    fill(&up, artifacts);
    questions(&up, artifacts, seconds);
    println!(
        "ceiling  memory                        {} MiB: 2.5 x 256 MiB view cache + 64 MiB queues + 100 MiB",
        640 + 64 + 100
    );
    println!("figure   memory of `up`, peak          {} MiB", up.memory_mib("VmHWM"));
    std::io::stdout().flush().unwrap();
}
