//! `pedigraph rejects …`: look at what was rejected, drive it again.

use std::io::Write as _;

use clap::Subcommand;
use serde_json::{Value, json};

use super::publish::results;
use crate::arguments::Client;
use crate::client::Server;
use crate::output::answer;

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
                let rows = rejects(&client.server(), from)?;
                let columns = [
                    ("INDEX", "/index"),
                    ("CODE", "/code"),
                    ("RECORDED", "/recordedAt"),
                    ("ORIGIN", "/origin/topic"),
                    ("BYTES", "/bodySize"),
                    ("REASON", "/reason"),
                ];
                answer(client.output, &json!({ "entries": rows }), &rows, &columns);
                Ok(())
            }
            Rejects::Show { index, client } => {
                let server = client.server();
                let answer = server.fetch(&format!("/api/v1/entries/{index}/body"), &[])?.ok(&server.base)?;
                std::io::stdout().write_all(&answer.body)?;
                Ok(())
            }
            Rejects::Replay { index, client } => replay(&client, index),
        }
    }
}

fn rejects(server: &Server, from: u64) -> anyhow::Result<Vec<Value>> {
    let mut rows = Vec::new();
    let mut from = from.to_string();
    let mut token: Option<String> = None;
    loop {
        let query = [("status", Some("rejected")), ("from", Some(from.as_str())), ("pageToken", token.as_deref())];
        let body = server.get("/api/v1/entries", &query)?;
        rows.extend(body["entries"].as_array().cloned().unwrap_or_default());
        token = body["nextPageToken"].as_str().map(str::to_owned);
        if token.is_none() {
            return Ok(rows);
        }
        "0".clone_into(&mut from);
    }
}

fn replay(client: &Client, index: Option<u64>) -> anyhow::Result<()> {
    let server = client.server();
    let indexes = match index {
        Some(index) => vec![index],
        None => rejects(&server, 0)?.iter().filter_map(|row| row["index"].as_u64()).collect(),
    };
    let mut rows = Vec::new();
    for index in indexes {
        let answer = server.post(&format!("/api/v1/rejects/{index}/replay"), &[], &[] as &[u8])?;
        rows.extend(results(answer, &server.base, &index.to_string())?);
    }
    let columns =
        [("REJECT", "/file"), ("STATUS", "/status"), ("INDEX", "/index"), ("CODE", "/code"), ("REASON", "/detail")];
    crate::output::answer(client.output, &json!({ "results": rows }), &rows, &columns);
    Ok(())
}
