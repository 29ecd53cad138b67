//! `pedigraph env`: what runs in an environment, and its changes.

use clap::Args;
use serde_json::{Value, json};

use crate::arguments::{Client, Clocks};
use crate::client::escape;
use crate::output::answer;

/// `pedigraph env`
#[derive(Args, Debug)]
pub(crate) struct Env {
    /// The environment; without it, all are listed.
    name: Option<String>,
    /// Its changes instead of what runs.
    #[arg(long)]
    changes: bool,
    /// Also services that were removed.
    #[arg(long)]
    include_removed: bool,
    #[command(flatten)]
    clocks: Clocks,
    #[command(flatten)]
    client: Client,
}

impl Env {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let server = self.client.server();
        let Some(name) = &self.name else {
            let body = server.get("/api/v1/environments", &self.clocks.query())?;
            let rows = body["environments"].as_array().cloned().unwrap_or_default();
            let columns = [("ENVIRONMENT", "/environment"), ("SERVICES", "/services"), ("LAST CHANGE", "/lastChange")];
            answer(self.client.output, &body, &rows, &columns);
            return Ok(());
        };
        let path = format!("/api/v1/environments/{}", escape(name));
        if self.changes {
            let body = server.get(&format!("{path}/changes"), &self.clocks.query())?;
            let rows = body["changes"].as_array().cloned().unwrap_or_default();
            let columns = [
                ("AT", "/at"),
                ("SERVICE", "/service"),
                ("KIND", "/kind"),
                ("FROM", "/from"),
                ("TO", "/to"),
                ("REASON", "/reason"),
                ("ENTRY", "/proof/index"),
            ];
            answer(self.client.output, &body, &rows, &columns);
            return Ok(());
        }
        let mut query = vec![("includeRemoved", self.include_removed.then_some("true"))];
        query.extend(self.clocks.query());
        let body = server.get(&path, &query)?;
        let columns = [
            ("SERVICE", "/service"),
            ("ARTIFACT", "/artifactRef"),
            ("DIGEST", "/digest"),
            ("WEIGHT", "/weight"),
            ("SINCE", "/since"),
            ("ACTOR", "/actor"),
            ("ENTRY", "/proof/index"),
        ];
        answer(self.client.output, &body, &running_rows(&body), &columns);
        Ok(())
    }
}

fn running_rows(body: &Value) -> Vec<Value> {
    let mut rows = Vec::new();
    for service in body["services"].as_array().into_iter().flatten() {
        let running = service["running"].as_array().cloned().unwrap_or_default();
        let running = if running.is_empty() { vec![json!({})] } else { running };
        for mut row in running {
            row["service"] = service["service"].clone();
            rows.push(row);
        }
    }
    rows
}
