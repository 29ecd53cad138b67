//! `pedigraph verdict`: what an artifact and a vulnerability come to, and who says so.

use clap::Args;
use serde_json::Value;

use crate::arguments::{Client, Clocks};
use crate::client::escape;
use crate::output::{Format, answer, field, put, say};

/// `pedigraph verdict`
#[derive(Args, Debug)]
pub(crate) struct Verdict {
    /// Digest or its beginning, image reference, tag, `prod/service`.
    reference: String,
    /// A vulnerability, by any of its names, such as CVE-2021-44228.
    vulnerability: String,
    /// Everybody who says something, however many.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    clocks: Clocks,
    #[command(flatten)]
    client: Client,
}

impl Verdict {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let query = self.clocks.query();
        let server = self.client.server();
        let path = format!("/api/v1/artifacts/{}/verdicts/{}", escape(&self.reference), escape(&self.vulnerability));
        let body = match self.all {
            true => server.list(&path, &query, &["explanation"], None)?,
            false => server.get(&path, &query)?,
        };
        let said = body["explanation"].as_array().cloned().unwrap_or_default();
        if self.client.output == Format::Table {
            put(&summary(&body));
        }
        let columns = [
            ("WHO", "/issuer"),
            ("KIND", "/kind"),
            ("SAYS", "/status"),
            ("WEIGHT", "/weight"),
            ("OF", "/components/0"),
            ("COUNTS", "/applies"),
            ("WHY", "/reason"),
            ("SINCE", "/time"),
            ("ENTRY", "/proof/index"),
        ];
        answer(self.client.output, &body, &said, &columns);
        if body.get("explanationCut").is_some() {
            let more = field(&body, "/explanationCut");
            say(&format!("more: {more} statements and findings are not shown; --all shows everything"));
        }
        server.up_to_date()
    }
}

fn summary(body: &Value) -> String {
    let mut text = format!(
        "{}  {}\n{}, confidence {}",
        field(body, "/vulnerability"),
        field(body, "/digest"),
        field(body, "/status").replace('_', " "),
        field(body, "/confidence")
    );
    if body["conflict"] == true {
        text.push_str("; not everybody says the same");
    }
    for part in body["platforms"].as_array().into_iter().flatten() {
        let name = if part.get("platform").is_some() { "/platform" } else { "/digest" };
        text.push_str(&format!("\n  {}: {}", field(part, name), field(part, "/status").replace('_', " ")));
    }
    text
}
