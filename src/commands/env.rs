//! `pedigraph env`: what runs in an environment, and its changes.

use clap::Args;
use serde_json::{Value, json};

use crate::arguments::{Client, Clocks, Limit};
use crate::client::{Server, escape};
use crate::output::{Format, answer, field, say};

/// Newest changes among which the reason of a freeze is looked for.
const FREEZE_CHANGES_MAX: usize = 1_000;

/// `pedigraph env`
#[derive(Args, Debug)]
pub(crate) struct Env {
    /// The environment; without it, all are listed.
    name: Option<String>,
    /// Its changes instead of what runs, newest first.
    #[arg(long)]
    changes: bool,
    /// Also services that were removed.
    #[arg(long)]
    include_removed: bool,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    clocks: Clocks,
    #[command(flatten)]
    client: Client,
}

impl Env {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let server = self.client.server();
        match &self.name {
            None => self.list(&server)?,
            Some(name) if self.changes => self.changes(&server, name)?,
            Some(name) => self.running(&server, name)?,
        }
        server.up_to_date()
    }

    fn list(&self, server: &Server) -> anyhow::Result<()> {
        let body = server.list("/api/v1/environments", &self.clocks.query(), &["environments"], self.limit.rows())?;
        let rows = body["environments"].as_array().cloned().unwrap_or_default();
        let columns = [("ENVIRONMENT", "/environment"), ("SERVICES", "/services"), ("LAST CHANGE", "/lastChange")];
        answer(self.client.output, &body, &rows, &columns);
        self.limit.say_if_cut(&body);
        Ok(())
    }

    fn changes(&self, server: &Server, name: &str) -> anyhow::Result<()> {
        let body = self.newest_changes(server, name, self.limit.rows())?;
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
        self.limit.say_if_cut(&body);
        Ok(())
    }

    fn newest_changes(&self, server: &Server, name: &str, limit: Option<usize>) -> anyhow::Result<Value> {
        let path = format!("/api/v1/environments/{}/changes", escape(name));
        server.list(&path, &self.clocks.query(), &["changes"], limit)
    }

    fn running(&self, server: &Server, name: &str) -> anyhow::Result<()> {
        let mut query = vec![("includeRemoved", self.include_removed.then_some("true"))];
        query.extend(self.clocks.query());
        let path = format!("/api/v1/environments/{}", escape(name));
        let mut body = server.get(&path, &query)?;
        if body.get("nextPageToken").is_some() {
            body = server.list(&path, &query, &["services"], None)?;
        }
        let mut columns = vec![
            ("SERVICE", "/service"),
            ("ARTIFACT", "/artifactRef"),
            ("DIGEST", "/digest"),
            ("WEIGHT", "/weight"),
            ("SINCE", "/since"),
            ("ACTOR", "/actor"),
            ("ENTRY", "/proof/index"),
        ];
        let frozen = is_frozen(&body);
        if frozen {
            columns.insert(1, ("FROZEN", "/frozen"));
        }
        answer(self.client.output, &body, &running_rows(&body), &columns);
        if frozen && self.client.output == Format::Table {
            let changes = self.newest_changes(server, name, Some(FREEZE_CHANGES_MAX))?;
            freezes(&body, &changes).iter().for_each(|line| say(line));
        }
        for cut in services(&body).filter(|service| service.get("canariesCut").is_some()) {
            let (name, count) = (field(cut, "/service"), field(cut, "/canariesCut"));
            say(&format!("more: {count} deployments of canaries of {name} are not shown"));
        }
        Ok(())
    }
}

fn services(body: &Value) -> impl Iterator<Item = &Value> {
    body["services"].as_array().into_iter().flatten()
}

fn is_frozen(body: &Value) -> bool {
    services(body).any(|service| service["frozen"] == true)
}

fn running_rows(body: &Value) -> Vec<Value> {
    let mut rows = Vec::new();
    for service in services(body) {
        let running = service["running"].as_array().cloned().unwrap_or_default();
        let running = if running.is_empty() { vec![json!({})] } else { running };
        for mut row in running {
            row["service"] = service["service"].clone();
            if service["frozen"] == true {
                row["frozen"] = "frozen".into();
            }
            rows.push(row);
        }
    }
    rows
}

/// What is frozen, since when and why, as far as the newest changes say it: the whole environment in one line, else
/// service by service.
fn freezes(body: &Value, changes: &Value) -> Vec<String> {
    let environment = field(body, "/environment");
    let whole = freeze_of(changes, "").map(|freeze| format!("{environment} is frozen{}", told(freeze)));
    let alone = |service: &Value| {
        let name = field(service, "/service");
        match freeze_of(changes, &name) {
            Some(freeze) => Some(format!("{environment}/{name} is frozen{}", told(freeze))),
            None if whole.is_some() => None,
            None => Some(format!("{environment}/{name} is frozen, since before its newest changes")),
        }
    };
    let services = services(body).filter(|service| service["frozen"] == true).filter_map(alone);
    whole.clone().into_iter().chain(services).collect()
}

/// The change that froze a service (without a name: the environment), unless a later one let it off.
fn freeze_of<'a>(changes: &'a Value, service: &str) -> Option<&'a Value> {
    let mut changes = changes["changes"].as_array().into_iter().flatten();
    let newest = changes.find(|change| {
        let kind = change["kind"].as_str();
        change["service"].as_str().unwrap_or_default() == service && matches!(kind, Some("freeze" | "unfreeze"))
    })?;
    (newest["kind"] == "freeze").then_some(newest)
}

fn told(freeze: &Value) -> String {
    let reason = freeze.get("reason").map_or_else(String::new, |_| format!(": {}", field(freeze, "/reason")));
    format!(" since {} [entry {}]{reason}", field(freeze, "/at"), field(freeze, "/proof/index"))
}
