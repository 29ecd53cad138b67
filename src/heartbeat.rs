//! The writer's sign of life: a file in the data directory by which a read node knows that the writer lives and where
//! its sources stand.
//!
//! The ledger says nothing while nothing comes. Whether its writer is idle or dead, and how much waits on the broker,
//! only the writer knows; a thread of its own says it once a second. The file is replaced as a whole and never synced:
//! after a power cut it may be garbled, and what is garbled, old or of another ledger is said to be so and not
//! believed.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use pedigraph_ledger::{LogId, Reader};
use pedigraph_processor::Processor;
use pedigraph_proto::Nanos;
use pedigraph_query_api::app::system_clock as now_ns;
use pedigraph_query_api::{SourceLag, WriterSign};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::files::{read_small, replace};
use crate::metrics;

const INTERVAL: Duration = Duration::from_secs(1);
/// A writer that has said nothing for as long is called silent, nanoseconds.
pub(crate) const SILENCE_NS_MAX: i64 = 10_000_000_000;
/// Largest file that is read, bytes: 100,000 partitions fit.
const FILE_BYTES_MAX: usize = 16 << 20;
const VERSION: u32 = 1;

/// What the file holds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Heartbeat {
    version: u32,
    /// Origin of the default log of the ledger that is written.
    ledger: String,
    pid: u32,
    /// Nanoseconds since 1970 UTC.
    at_ns: i64,
    /// Commits that are durable.
    commits: u64,
    sources: Vec<SourceLag>,
}

/// The file of a data directory.
fn path_of(data: &Path) -> PathBuf {
    data.join("writer.json")
}

/// The thread that gives the sign until the node stops, and once more then.
pub(crate) fn start(
    data: &Path,
    processor: Arc<Processor>,
    reader: Reader,
    stopping: watch::Receiver<bool>,
) -> anyhow::Result<JoinHandle<()>> {
    let path = path_of(data);
    let mut was_written = true;
    let beat = move || loop {
        let is_last = *stopping.borrow();
        let written = write(&path, &heartbeat(&processor, &reader));
        if let Err(error) = &written
            && was_written
        {
            tracing::warn!(error = format!("{error:#}"), "no sign of life: read nodes will call this writer silent");
        }
        was_written = written.is_ok();
        if is_last {
            return;
        }
        std::thread::park_timeout(INTERVAL);
    };
    Ok(std::thread::Builder::new().name("heartbeat".to_owned()).spawn(beat)?)
}

fn heartbeat(processor: &Processor, reader: &Reader) -> Heartbeat {
    let at_ns = now_ns();
    Heartbeat {
        version: VERSION,
        ledger: reader.origin(&LogId::default_log()),
        pid: std::process::id(),
        at_ns,
        commits: reader.next_seq(),
        sources: metrics::sources(processor, at_ns),
    }
}

fn write(path: &Path, heartbeat: &Heartbeat) -> anyhow::Result<()> {
    replace(path, &serde_json::to_vec(heartbeat)?)
}

/// What the writer of the ledger said last, as of now.
pub(crate) fn last_sign(data: &Path, reader: &Reader, now_ns: i64) -> WriterSign {
    let ledger = reader.origin(&LogId::default_log());
    match read(&path_of(data), &ledger) {
        Ok(heartbeat) => sign_of(heartbeat, now_ns),
        Err(why) => WriterSign { stale: Some(why), ..WriterSign::default() },
    }
}

fn read(path: &Path, ledger: &str) -> Result<Heartbeat, String> {
    let file = path.display();
    if fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return Err(format!("{file} is not there: no writer has run on this data directory since it was made"));
    }
    let bytes = read_small(path, FILE_BYTES_MAX).map_err(|error| format!("{error:#}"))?;
    let heartbeat: Heartbeat =
        serde_json::from_slice(&bytes).map_err(|error| format!("{file} is garbled and not believed: {error}"))?;
    match heartbeat.version == VERSION && heartbeat.ledger == ledger {
        true => Ok(heartbeat),
        false => Err(format!("{file} is of another version or another ledger, {}, and not believed", heartbeat.ledger)),
    }
}

/// Positions stay true when the writer is silent; how much waits at its sources nobody knows then.
fn sign_of(heartbeat: Heartbeat, now_ns: i64) -> WriterSign {
    let stale = stale(&heartbeat, now_ns);
    let of = |source: SourceLag| match stale {
        None => source,
        Some(_) => SourceLag { end: None, lag_messages: None, lag_ms: None, ..source },
    };
    WriterSign {
        heartbeat_at: Nanos::of(heartbeat.at_ns),
        sources: heartbeat.sources.into_iter().map(of).collect(),
        stale,
    }
}

fn stale(heartbeat: &Heartbeat, now_ns: i64) -> Option<String> {
    let (pid, at) = (heartbeat.pid, Nanos(heartbeat.at_ns));
    let age_ns = now_ns.saturating_sub(heartbeat.at_ns);
    if age_ns > SILENCE_NS_MAX {
        let seconds = age_ns / 1_000_000_000;
        return Some(format!("silent since {at}, {seconds} s ago (process {pid}); what came since is not recorded"));
    }
    (age_ns < -SILENCE_NS_MAX).then(|| format!("its clock is ahead: it says that it is {at} (process {pid})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_NS: i64 = 1_790_000_000_000_000_000;

    fn heartbeat() -> Heartbeat {
        let source = |partition, position, end| SourceLag {
            name: "builds".to_owned(),
            partition: Some(partition),
            position,
            end: Some(end),
            lag_messages: Some(end - position),
            lag_ms: Some(1_500),
            state: None,
            advice: None,
        };
        let sources = vec![source(0, 40, 41), source(3, 7, 19)];
        Heartbeat {
            version: VERSION,
            ledger: "shop.example/default".to_owned(),
            pid: 77,
            at_ns: AT_NS,
            commits: 5,
            sources,
        }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = path_of(dir.path());
        assert!(read(&path, "shop.example/default").unwrap_err().contains("is not there"));
        write(&path, &heartbeat()).unwrap();
        assert_eq!(read(&path, "shop.example/default"), Ok(heartbeat()));
        assert!(read(&path, "other.example/default").unwrap_err().contains("another ledger"));
        let whole = fs::read(&path).unwrap();
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(read(&path, "shop.example/default").unwrap_err().contains("garbled"), "{cut} bytes");
        }
        write(&path, &Heartbeat { version: VERSION + 1, ..heartbeat() }).unwrap();
        assert!(read(&path, "shop.example/default").unwrap_err().contains("another version"));
    }

    #[test]
    fn an_old_sign_keeps_positions_and_says_since_when_it_is_old() {
        let fresh = sign_of(heartbeat(), AT_NS + SILENCE_NS_MAX);
        assert_eq!((fresh.stale, fresh.sources), (None, heartbeat().sources));
        let old = sign_of(heartbeat(), AT_NS + SILENCE_NS_MAX + 3_000_000_001);
        assert!(old.stale.unwrap().starts_with("silent since 2026-09-21T14:13:20Z, 13 s ago (process 77)"));
        let lags: Vec<_> =
            old.sources.iter().map(|row| (row.position, row.end, row.lag_messages, row.lag_ms)).collect();
        assert_eq!(lags, [(40, None, None, None), (7, None, None, None)]);
        let ahead = sign_of(heartbeat(), AT_NS - SILENCE_NS_MAX - 1);
        assert!(ahead.stale.unwrap().contains("clock is ahead"));
    }
}
