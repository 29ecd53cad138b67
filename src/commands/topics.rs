//! `pedigraph topics`: where each source partition stands.

use clap::Args;
use serde_json::{Value, json};

use crate::arguments::Client;
use crate::output::{Exit, Failure, answer};

/// `pedigraph topics`
#[derive(Args, Debug)]
pub(crate) struct Topics {
    #[command(flatten)]
    client: Client,
}

impl Topics {
    /// Exit code 6 when what follows on a position is gone.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let fresh = self.client.server().get("/api/v1/freshness", &[])?;
        let rows: Vec<Value> = fresh["sources"].as_array().into_iter().flatten().map(with_state).collect();
        let columns = [
            ("TOPIC", "/name"),
            ("PARTITION", "/partition"),
            ("POSITION", "/position"),
            ("END", "/end"),
            ("LAG", "/lagMessages"),
            ("STATE", "/state"),
            ("ADVICE", "/advice"),
        ];
        answer(self.client.output, &json!({ "sources": rows }), &rows, &columns);
        let lost = rows.iter().filter(|row| row["state"] == "lost").count();
        if lost == 0 {
            return Ok(());
        }
        Err(Failure::error(
            Exit::Stale,
            format!("{lost} of {} partitions stand still: their positions are gone", rows.len()),
        ))
    }
}

/// The server names only states that are out of the ordinary.
fn with_state(row: &Value) -> Value {
    let mut row = row.clone();
    if row.get("state").is_none() {
        row["state"] = "read".into();
    }
    row
}
