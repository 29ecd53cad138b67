//! `pedigraph impact`: what contains a package, and where that runs.

use clap::Args;
use serde_json::json;

use crate::arguments::{Client, Clocks, Limit};
use crate::output::{Exit, Failure, Format, answer, field, say};

/// Lists of the answer that are shown; each is cut at the limit.
const LISTS: [&str; 3] = ["deployed", "unknown", "notDeployed"];

/// `pedigraph impact`
#[derive(Args, Debug)]
pub(crate) struct Impact {
    /// A package URL, with or without version.
    purl: String,
    /// A range, such as vers:npm/<4.17.21.
    #[arg(long)]
    versions: Option<String>,
    /// Only this environment.
    #[arg(long)]
    env: Option<String>,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    clocks: Clocks,
    #[command(flatten)]
    client: Client,
}

impl Impact {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        if !self.purl.starts_with("pkg:") {
            let text = format!("{:?} is not a package URL; write pkg:type/namespace/name@version", self.purl);
            return Err(Failure::error(Exit::Usage, text));
        }
        let mut query = vec![
            ("purl", Some(self.purl.as_str())),
            ("versions", self.versions.as_deref()),
            ("env", self.env.as_deref()),
        ];
        query.extend(self.clocks.query());
        let server = self.client.server();
        let body = server.list("/api/v1/components/impact", &query, &LISTS, self.limit.rows())?;
        let mut rows = Vec::new();
        for state in LISTS {
            for row in body[state].as_array().into_iter().flatten() {
                let mut row = row.clone();
                row["state"] = json!(state);
                rows.push(row);
            }
        }
        let columns = [
            ("STATE", "/state"),
            ("ENVIRONMENT", "/environment"),
            ("SERVICE", "/service"),
            ("ARTIFACT", "/artifactRef"),
            ("COMPONENT", "/components/0/purl"),
            ("PATH", "/components/0/path"),
            ("SINCE", "/since"),
            ("ENTRY", "/proof/index"),
        ];
        answer(self.client.output, &body, &rows, &columns);
        if self.client.output == Format::Table {
            let at_least = |name: &str| body["atLeast"].as_array().is_some_and(|names| names.contains(&json!(name)));
            let count = |name: &str| {
                let count = field(&body, &format!("/counts/{name}"));
                if at_least(name) { format!("at least {count}") } else { count }
            };
            say(&format!(
                "{} deployed, {} running with unknown contents, {} not deployed",
                count("deployed"),
                count("unknown"),
                count("notDeployed")
            ));
        }
        self.limit.say_if_cut(&body);
        server.up_to_date()
    }
}
