//! `pedigraph rejects …`: look at what was rejected, drive it again.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde_json::{Value, json};

use super::publish::results;
use crate::arguments::Client;
use crate::client::Server;
use crate::output::{Exit, Failure, answer, printable, put_bytes, say};

/// HTTP status of bytes that are no longer kept.
const GONE: u16 = 410;

/// `pedigraph rejects …`
#[derive(Subcommand, Debug)]
pub(crate) enum Rejects {
    /// Rejected messages, oldest first.
    List {
        /// Begin at this ledger index.
        #[arg(long, default_value_t = 0)]
        from: u64,
        #[command(flatten)]
        client: Client,
    },
    /// The received bytes of one, on stdout.
    Show {
        /// Ledger index of the reject.
        index: u64,
        #[command(flatten)]
        client: Client,
    },
    /// Drive one again, or all, through today's decoders.
    Replay {
        /// Ledger index of the reject; none: all of them.
        index: Option<u64>,
        #[command(flatten)]
        client: Client,
    },
}

impl Rejects {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Rejects::List { from, client } => {
                let server = client.server();
                let body = rejects(&server, from)?;
                let rows = body["entries"].as_array().cloned().unwrap_or_default();
                let columns = [
                    ("INDEX", "/index"),
                    ("CODE", "/code"),
                    ("RECORDED", "/recordedAt"),
                    ("ORIGIN", "/origin/topic"),
                    ("BYTES", "/bodySize"),
                    ("REASON", "/reason"),
                ];
                answer(client.output, &body, &rows, &columns);
                server.up_to_date()
            }
            Rejects::Show { index, client } => {
                let server = client.server();
                let answer = server.fetch(&format!("/api/v1/entries/{index}/body"), &[])?.ok(&server.base)?;
                put_bytes(&answer.body);
                Ok(())
            }
            Rejects::Replay { index, client } => replay(&client, index),
        }
    }
}

/// All of them.
fn rejects(server: &Server, from: u64) -> anyhow::Result<Value> {
    let from = from.to_string();
    server.list("/api/v1/entries", &[("status", Some("rejected")), ("from", Some(&from))], &["entries"], None)
}

fn replay(client: &Client, index: Option<u64>) -> anyhow::Result<()> {
    let server = client.server();
    let rows = match index {
        Some(index) => replay_one(&server, index)?,
        None => replay_all(&server)?,
    };
    let columns =
        [("REJECT", "/file"), ("STATUS", "/status"), ("INDEX", "/index"), ("CODE", "/code"), ("REASON", "/detail")];
    answer(client.output, &json!({ "results": rows }), &rows, &columns);
    still_rejected(&rows)?;
    // Of a list that is an older state some may be missing.
    server.up_to_date()
}

fn replay_one(server: &Server, index: u64) -> anyhow::Result<Vec<Value>> {
    let answer = server.post(&format!("/api/v1/rejects/{index}/replay"), &[], &[] as &[u8])?;
    results(answer, &server.base, &index.to_string())
}

/// One whose bytes were erased stays as it is, and the others go on.
fn replay_all(server: &Server) -> anyhow::Result<Vec<Value>> {
    let all = rejects(server, 0)?;
    let indexes = all["entries"].as_array().into_iter().flatten().filter_map(|row| row["index"].as_u64());
    let mut rows = Vec::new();
    for index in indexes {
        let answer = server.patiently(|| server.post(&format!("/api/v1/rejects/{index}/replay"), &[], &[] as &[u8]))?;
        if answer.status == GONE {
            say(&format!("entry {index} cannot be replayed: its bytes were erased"));
            continue;
        }
        rows.extend(results(answer, &server.base, &index.to_string())?);
    }
    Ok(rows)
}

/// Exit code 1, and how many have which code.
fn still_rejected(rows: &[Value]) -> anyhow::Result<()> {
    let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows.iter().filter(|row| row["status"] == "rejected") {
        *codes.entry(row["code"].as_str().unwrap_or("no code")).or_default() += 1;
    }
    if codes.is_empty() {
        return Ok(());
    }
    let rejected: usize = codes.values().sum();
    let codes: Vec<_> = codes.into_iter().map(|(code, count)| format!("{count} {}", printable(code))).collect();
    let text = format!("{rejected} of {} still rejected: {}", rows.len(), codes.join(", "));
    Err(Failure::error(Exit::Error, format!("{text}; docs/reject-codes.md says what to change")))
}
