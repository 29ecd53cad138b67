//! `pedigraph env`: what runs in an environment, its changes, and how it compares with another one or with itself at
//! another moment.

use clap::Args;
use serde_json::{Value, json};

use crate::arguments::{Client, Clocks, Limit};
use crate::client::{Server, escape};
use crate::moment;
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
    /// Beside this environment, service by service.
    #[arg(long, value_name = "ENVIRONMENT", requires = "name", conflicts_with_all = ["changes", "include_removed"])]
    with: Option<String>,
    /// Beside itself: how it was at this time, or how long ago.
    #[arg(long, value_name = "TIME", value_parser = moment::parse, requires = "name",
        conflicts_with_all = ["changes", "include_removed"])]
    from: Option<String>,
    /// The moment of the second side; without it now.
    #[arg(long, value_name = "TIME", value_parser = moment::parse, requires = "name",
        conflicts_with_all = ["changes", "include_removed"])]
    to: Option<String>,
    /// Of two sides only what is not the same.
    #[arg(long, requires = "name")]
    only_changes: bool,
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
            Some(name) if self.is_comparison() => self.compared(&server, name)?,
            Some(name) => self.running(&server, name)?,
        }
        server.up_to_date()
    }

    fn list(&self, server: &Server) -> anyhow::Result<()> {
        let body = server.list("/api/v1/environments", &self.clocks.query(), &["environments"], self.limit.rows())?;
        let rows = body["environments"].as_array().cloned().unwrap_or_default();
        let columns = [
            ("ENVIRONMENT", "/environment"),
            ("SERVICES", "/services"),
            ("LAST CHANGE", "/lastChange"),
            ("DELETED", "/deletion/at"),
            ("BY", "/deletion/source"),
            ("ENTRY", "/deletion/proof/index"),
        ];
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

    fn is_comparison(&self) -> bool {
        self.with.is_some() || self.from.is_some() || self.to.is_some() || self.only_changes
    }

    fn compared(&self, server: &Server, name: &str) -> anyhow::Result<()> {
        let mut query = vec![
            ("with", self.with.as_deref()),
            ("from", self.from.as_deref()),
            ("to", self.to.as_deref()),
            ("onlyChanges", self.only_changes.then_some("true")),
        ];
        query.extend(self.clocks.query());
        let path = format!("/api/v1/environments/{}/diff", escape(name));
        let body = server.list(&path, &query, &["services"], self.limit.rows())?;
        let columns = [("SERVICE", "/service"), ("HOW", "/how"), ("A", "/a"), ("B", "/b")];
        answer(self.client.output, &body, &compared_rows(&body), &columns);
        if self.client.output == Format::Table {
            say(&counted(&body));
        }
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
        let body = server.list(&path, &query, &["services"], self.limit.rows())?;
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
        services(&body).filter_map(|service| rest(service, &field(service, "/service"))).for_each(|line| say(&line));
        for cut in services(&body).filter(|service| service.get("canariesCut").is_some()) {
            let (name, count) = (field(cut, "/service"), field(cut, "/canariesCut"));
            say(&format!("more: {count} deployments of canaries of {name} are not shown"));
        }
        self.limit.say_if_cut(&body);
        Ok(())
    }
}

/// How much runs of a service that the answer does not list.
pub(crate) fn rest(service: &Value, name: &str) -> Option<String> {
    let (cut, at_least) = (service["runningCut"].as_u64().unwrap_or(0), service["runningAtLeast"] == true);
    let words = if at_least { "at least " } else { "" };
    (cut > 0 || at_least).then(|| format!("more: {words}{cut} that run of {name} are not shown"))
}

fn services(body: &Value) -> impl Iterator<Item = &Value> {
    body["services"].as_array().into_iter().flatten()
}

/// A line for each service, what runs on a side in one cell.
fn compared_rows(body: &Value) -> Vec<Value> {
    let cell = |running: &Value| {
        let run = |run: &Value| match run["weight"].as_u64() {
            None | Some(100) => field(run, "/artifactRef"),
            Some(weight) => format!("{} ({weight} %)", field(run, "/artifactRef")),
        };
        running.as_array().into_iter().flatten().map(run).collect::<Vec<_>>().join(", ")
    };
    let row = |service: &Value| {
        let how = match service["state"].as_str() {
            Some("onlyFrom") => "only in A",
            Some("onlyTo") => "only in B",
            other => other.unwrap_or_default(),
        };
        json!({"service": service["service"], "how": how, "a": cell(&service["from"]), "b": cell(&service["to"])})
    };
    services(body).map(row).collect()
}

/// Both sides, and how many services are how.
fn counted(body: &Value) -> String {
    let side = |side: &str| match body[side].get("at") {
        Some(_) => format!("{} at {}", field(&body[side], "/environment"), field(&body[side], "/at")),
        None => field(&body[side], "/environment"),
    };
    let at_least = if body["atLeast"] == true { "at least " } else { "" };
    let count = |of: &str| field(&body["counts"], of);
    format!(
        "A is {}, B is {}: {at_least}{} different, {} only in A, {} only in B, {} the same",
        side("from"),
        side("to"),
        count("/different"),
        count("/onlyFrom"),
        count("/onlyTo"),
        count("/same")
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_stand_in_each_line_and_counts_say_whether_more_follow() {
        let run = |reference: &str, weight: u64| json!({"artifactRef": reference, "weight": weight});
        let body = json!({
            "from": {"environment": "prod", "at": "2026-01-02T00:00:00Z"},
            "to": {"environment": "staging"},
            "services": [
                {"service": "cart", "state": "different", "from": [run("r.io/cart:1", 90), run("r.io/cart:2", 10)], "to": [run("r.io/cart:2", 100)]},
                {"service": "till", "state": "onlyFrom", "from": [run("r.io/till:1", 100)], "to": []},
            ],
            "counts": {"same": 3, "different": 1, "onlyFrom": 1, "onlyTo": 0},
            "atLeast": true,
        });
        assert_eq!(
            compared_rows(&body),
            [
                json!({"service": "cart", "how": "different", "a": "r.io/cart:1 (90 %), r.io/cart:2 (10 %)", "b": "r.io/cart:2"}),
                json!({"service": "till", "how": "only in A", "a": "r.io/till:1", "b": ""}),
            ]
        );
        assert_eq!(
            counted(&body),
            "A is prod at 2026-01-02T00:00:00Z, B is staging: at least 1 different, 1 only in A, 0 only in B, 3 the same"
        );
    }
}
