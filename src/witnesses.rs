//! The witnesses of the ledger's checkpoints: as configured, over HTTP, and what a server shows of them.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pedigraph_ledger::{
    LogId, Mode, POLICY_BYTES_MAX, Policy, Publisher, Reply, Status, Transport, WITNESS_ANSWER_BYTES_MAX, Witnesses,
    Writer,
};
use pedigraph_query_api::{About, Check};

use crate::arguments::WitnessMode;
use crate::client;
use crate::config::Config;
use crate::files::read_small;
use crate::metrics::header;
use crate::output::{Exit, Failure};

/// A publisher of checkpoints with the witnesses that are configured.
pub(crate) fn publisher(writer: &Writer, witnesses: Option<&Arc<Witnesses>>) -> anyhow::Result<Publisher> {
    let publisher = Publisher::new(writer)?;
    Ok(match witnesses {
        Some(witnesses) => publisher.with_witnesses(Arc::clone(witnesses))?,
        None => publisher,
    })
}

/// The witnesses of the policy file that the configuration names; `None`: checkpoints are published without any.
pub(crate) fn configured(config: &Config) -> anyhow::Result<Option<Arc<Witnesses>>> {
    let Some(path) = &config.witness_policy else { return Ok(None) };
    let usage = |why: String| Failure::error(Exit::Usage, format!("{}: {why}", path.display()));
    let policy = read_policy(path)?;
    if policy.witnesses().iter().all(|witness| witness.url.is_none()) {
        return Err(usage("it has no witness with a URL, so nobody can be asked".into()));
    }
    let mode = match config.witness_mode {
        WitnessMode::Publish => Mode::Publish,
        WitnessMode::Hold => Mode::Hold,
    };
    let timeout = Duration::from_millis(config.witness_timeout_ms.max(1));
    let agent = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(timeout));
    // A witness is where the policy says.
    let agent = agent.max_redirects(0).tls_config(client::tls()).build().into();
    let witnesses = Witnesses::new(policy, mode, Box::new(Http(agent))).map_err(|why| usage(why.to_string()))?;
    Ok(Some(Arc::new(witnesses)))
}

/// A C2SP tlog-policy file.
pub(crate) fn read_policy(file: &Path) -> anyhow::Result<Policy> {
    let bytes = read_small(file, POLICY_BYTES_MAX)?;
    Policy::parse(&bytes).map_err(|error| Failure::error(Exit::Usage, format!("{}: {error}", file.display())))
}

struct Http(ureq::Agent);

impl Transport for Http {
    fn post(&self, url: &str, body: &str) -> Result<Reply, String> {
        let request = self.0.post(url).header("content-type", "text/plain; charset=utf-8");
        let mut response = request.send(body).map_err(|why| why.to_string())?;
        let status = response.status().as_u16();
        match response.body_mut().with_config().limit(WITNESS_ANSWER_BYTES_MAX as u64).read_to_vec() {
            Ok(body) => Ok(Reply { status, body }),
            // Not an answer that means anything, but one.
            Err(ureq::Error::BodyExceedsLimit(_)) => Ok(Reply { status, body: Vec::new() }),
            Err(why) => Err(why.to_string()),
        }
    }
}

/// The line of `/readyz`. It never fails: a node that takes in and answers is not sent away for a witness; the alerts
/// say it.
pub(crate) fn check(witnesses: &Witnesses) -> Check {
    let status = witnesses.status();
    let failing =
        status.witnesses.iter().filter_map(|witness| Some(format!("{}: {}", witness.name, witness.failure.as_ref()?)));
    let mut said: Vec<String> = failing.collect();
    said.extend(logs("published without a quorum", &status.below_quorum));
    said.extend(logs("held until there is a quorum", &status.held));
    if said.is_empty() {
        said.push(format!("{} asked, the quorum is reached", status.witnesses.len()));
    }
    Check { name: "witnesses".to_owned(), about: About::Besides, ok: true, detail: said.join("; ") }
}

fn logs<'a>(what: &str, logs: impl IntoIterator<Item = &'a LogId>) -> Option<String> {
    let mut logs = logs.into_iter();
    let first = logs.next()?;
    Some(match logs.count() {
        0 => format!("the checkpoint of {first} is {what}"),
        more => format!("the checkpoints of {first} and {more} more logs are {what}"),
    })
}

/// Prometheus text: how it stands with each witness, and with the checkpoints. Alerts name them, so they exist without
/// any.
pub(crate) fn write(witnesses: Option<&Witnesses>, text: &mut String) {
    let status = witnesses.map(Witnesses::status).unwrap_or_default();
    gauge(text, "pedigraph_checkpoints_below_quorum", "Logs whose published checkpoint the quorum has not cosigned.");
    let _infallible = writeln!(text, "pedigraph_checkpoints_below_quorum {}", status.below_quorum.len());
    gauge(text, "pedigraph_checkpoints_held", "Logs whose newest checkpoint waits for the quorum.");
    let _infallible = writeln!(text, "pedigraph_checkpoints_held {}", status.held.len());
    let name = "pedigraph_witness_cosigned_entries";
    gauge(text, name, "Entries under the checkpoints that a witness cosigned last, of all logs.");
    each(&status, name, text, |(size, _)| size, |sizes| sizes.sum());
    let name = "pedigraph_witness_cosigned_timestamp_seconds";
    gauge(text, name, "When a witness cosigned last, as it states.");
    each(&status, name, text, |(_, time_s)| time_s, |times| times.max().unwrap_or_default());
    let name = "pedigraph_witness_failures_total";
    header(text, name, "counter", "Times that a witness was asked and did not cosign, by kind.");
    for witness in &status.witnesses {
        for (kind, count) in &witness.failures {
            let _infallible =
                writeln!(text, "{name}{{witness=\"{}\",kind=\"{}\"}} {count}", label(&witness.name), kind.as_str());
        }
    }
}

fn gauge(text: &mut String, name: &str, help: &str) {
    header(text, name, "gauge", help);
}

fn each(
    status: &Status,
    name: &str,
    text: &mut String,
    part: fn((u64, u64)) -> u64,
    sum: fn(&mut dyn Iterator<Item = u64>) -> u64,
) {
    for witness in &status.witnesses {
        let value = sum(&mut witness.cosigned.values().map(|cosigned| part(*cosigned)));
        let _infallible = writeln!(text, "{name}{{witness=\"{}\"}} {value}", label(&witness.name));
    }
}

/// A policy's names may have any characters but spaces.
fn label(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"")
}
