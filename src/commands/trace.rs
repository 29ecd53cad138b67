//! `pedigraph trace`: from what runs back to its source.

use clap::Args;
use serde_json::Value;

use crate::arguments::{Client, Clocks};
use crate::output::{Format, answer, field, put};

/// `pedigraph trace`
#[derive(Args, Debug)]
pub(crate) struct Trace {
    /// Digest or its beginning, image reference, tag, commit, purl, `prod/service`, `prod~1/service`,
    /// `prod@{2h}/service`.
    reference: String,
    #[command(flatten)]
    clocks: Clocks,
    #[command(flatten)]
    client: Client,
}

impl Trace {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let mut query = vec![("ref", Some(self.reference.as_str()))];
        query.extend(self.clocks.query());
        let server = self.client.server();
        let body = server.get("/api/v1/trace", &query)?;
        if self.client.output == Format::Table {
            put(&trace_text(&body));
        } else {
            let hops = body["hops"].as_array().cloned().unwrap_or_default();
            answer(self.client.output, &body, &hops, &[]);
        }
        server.up_to_date()
    }
}

fn trace_text(body: &Value) -> String {
    let mut text = format!("{}\n", field(body, "/ref"));
    if let Some(artifact) = body.get("artifact") {
        text.push_str(&format!("{}  {}\n", field(artifact, "/artifactRef"), field(artifact, "/digest")));
    }
    for hop in body["hops"].as_array().into_iter().flatten() {
        let mark = match hop["status"].as_str() {
            Some("found") => "ok     ",
            Some("conflict") => "CONFLICT",
            _ => "missing",
        };
        let when = hop.get("occurredAt").map_or_else(String::new, |_| format!("  {}", field(hop, "/occurredAt")));
        let proof = hop.get("proof").map_or_else(String::new, |_| format!("  [entry {}]", field(hop, "/proof/index")));
        text.push_str(&format!("  {mark} {:<13} {}{when}{proof}\n", field(hop, "/kind"), field(hop, "/summary")));
        if hop.get("reason").is_some() {
            text.push_str(&format!("                        {}\n", field(hop, "/reason")));
        }
    }
    let verdict = if body["complete"] == true { "complete" } else { "incomplete" };
    text.push_str(&format!("{verdict}, traced in {} ms", field(body, "/elapsedMs")));
    text
}
