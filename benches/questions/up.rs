//! The server as a process of its own, on a directory that stays, and HTTP to it on kept connections.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pedigraph");
/// The header by which a question is told the rows that it was read from.
const ROWS_READ: &str = "pedigraph-rows-read";
/// How long is waited for anything.
const WAIT_MAX: Duration = Duration::from_secs(3_600);
const POLL: Duration = Duration::from_millis(5);

/// A running server.
pub(crate) struct Up {
    child: Child,
    /// Where it listens.
    pub(crate) url: String,
    agent: ureq::Agent,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Rows that it was read from; 0 where the answer says nothing.
    pub(crate) rows: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) took: Duration,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Up {
    /// Starts it, and waits until it listens.
    pub(crate) fn start(data: &Path, environment: &[(String, String)]) -> Up {
        let mut child = Command::new(PROGRAM)
            .args(["up", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .envs(environment.iter().cloned())
            .env("RUST_LOG", "warn")
            .env("PEDIGRAPH_VIEW_ROOT_INTERVAL_MS", "0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let url = line.trim().strip_prefix("listening on ").expect("the listening line").to_owned();
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        Up { child, url, agent }
    }

    /// As [`Up::start`], and how long it took until `/readyz` said so.
    pub(crate) fn ready(data: &Path, environment: &[(String, String)]) -> (Up, Duration) {
        let begun = Instant::now();
        let up = Up::start(data, environment);
        until("ready", || (up.get("/readyz").status == 200).then_some(()));
        (up, begun.elapsed())
    }

    /// Power cut of the process.
    pub(crate) fn kill(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }

    /// Asked to end, and waited for.
    pub(crate) fn stop(mut self) -> Duration {
        let begun = Instant::now();
        let id = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("an id");
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it runs");
        let _status = self.child.wait();
        begun.elapsed()
    }

    /// Asks on a connection that is kept.
    pub(crate) fn get(&self, path: &str) -> Answer {
        let begun = Instant::now();
        let request = self.agent.get(format!("{}{path}", self.url)).header(ROWS_READ, "1").header("accept", "*/*");
        let mut answer = request.call().unwrap_or_else(|error| panic!("{path}: {error}"));
        let rows = answer.headers().get(ROWS_READ).and_then(|rows| rows.to_str().ok()?.parse().ok()).unwrap_or(0);
        let bytes = answer.body_mut().with_config().limit(1 << 28).read_to_vec().expect("a body");
        Answer { status: answer.status().as_u16(), rows, bytes, took: begun.elapsed() }
    }

    /// Sends lines of ndjson: all of them are durable, or it ends here.
    pub(crate) fn send(&self, lines: &[String]) {
        let post =
            self.agent.post(format!("{}/api/v1/events", self.url)).header("content-type", "application/x-ndjson");
        let mut answer = post.send(lines.join("\n")).expect("sent");
        let (status, body) =
            (answer.status().as_u16(), answer.body_mut().with_config().limit(1 << 28).read_to_string());
        assert!(matches!(status, 200 | 201), "{status}: {}", cut(&body.unwrap_or_default()));
    }

    /// Entries in the ledger.
    pub(crate) fn size(&self) -> u64 {
        self.get("/api/v1/freshness").json()["head"]["size"].as_u64().expect("a size")
    }

    /// Waits until every view shows what is in the ledger now.
    pub(crate) fn wait_visible(&self) -> u64 {
        let size = self.size();
        until("visible", || {
            let freshness = self.get("/api/v1/freshness").json();
            let views = freshness["views"].as_array()?;
            views.iter().all(|view| view["nextIndex"].as_u64() >= Some(size)).then_some(())
        });
        size
    }

    /// A line of the kernel about its memory, in MiB.
    pub(crate) fn memory_mib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1_024
    }
}

/// Folds the ledger of a stopped server anew; how long it took.
pub(crate) fn rebuild(data: &Path, environment: &[(String, String)]) -> Duration {
    let begun = Instant::now();
    let mut command = Command::new(PROGRAM);
    command.arg("rebuild").arg(data).envs(environment.iter().cloned());
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("the program starts");
    assert!(status.success(), "rebuild: {status}");
    begun.elapsed()
}

/// Bytes that a directory takes on the disk.
pub(crate) fn bytes_in(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let of = |path: PathBuf| match std::fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_dir() => bytes_in(&path),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(|entry| of(entry.path())).sum()
}

/// Waits for something.
pub(crate) fn until<T>(what: &str, there: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = there() {
            return found;
        }
        assert!(begun.elapsed() < WAIT_MAX, "never {what}");
        std::thread::sleep(POLL);
    }
}

fn cut(text: &str) -> &str {
    text.get(..500).unwrap_or(text)
}
