//! `pedigraph service`: in which environments a service runs, and what ran before in one of them.

use clap::Args;
use serde_json::{Value, json};

use crate::arguments::{Client, Clocks, Limit};
use crate::client::{Server, escape};
use crate::commands::env::rest;
use crate::output::{Format, answer, field, say};

/// `pedigraph service`
#[derive(Args, Debug)]
pub(crate) struct Service {
    /// The service.
    name: String,
    /// One environment: what ran alone there, newest first, instead of what runs everywhere.
    #[arg(long, value_name = "ENVIRONMENT")]
    env: Option<String>,
    /// What to go back to, and why: per cluster and namespace the newest that ran before and that no rollback left.
    #[arg(long)]
    last_known_good: bool,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    clocks: Clocks,
    #[command(flatten)]
    client: Client,
}

impl Service {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let server = self.client.server();
        match &self.env {
            _ if self.last_known_good => self.good(&server)?,
            None => self.everywhere(&server)?,
            Some(environment) => self.here(&server, environment)?,
        }
        server.up_to_date()
    }

    fn everywhere(&self, server: &Server) -> anyhow::Result<()> {
        let path = format!("/api/v1/services/{}", escape(&self.name));
        let body = server.list(&path, &self.clocks.query(), &["environments"], self.limit.rows())?;
        let columns = [
            ("ENVIRONMENT", "/environment"),
            ("ARTIFACT", "/artifactRef"),
            ("DIGEST", "/digest"),
            ("WEIGHT", "/weight"),
            ("CLUSTER", "/cluster"),
            ("NAMESPACE", "/namespace"),
            ("SINCE", "/since"),
            ("ENTRY", "/proof/index"),
        ];
        answer(self.client.output, &body, &running(&body), &columns);
        let named = |here: &Value| rest(here, &format!("{}/{}", field(here, "/environment"), field(here, "/service")));
        list(&body, "environments").filter_map(named).for_each(|line| say(&line));
        self.limit.say_if_cut(&body);
        Ok(())
    }

    fn good(&self, server: &Server) -> anyhow::Result<()> {
        let path = format!("/api/v1/services/{}/last-known-good", escape(&self.name));
        let mut query = vec![("env", self.env.as_deref())];
        query.extend(self.clocks.query());
        let body = server.list(&path, &query, &["environments"], self.limit.rows())?;
        let columns = [
            ("ENVIRONMENT", "/environment"),
            ("CLUSTER", "/cluster"),
            ("NAMESPACE", "/namespace"),
            ("STATUS", "/status"),
            ("REASON", "/reason"),
            ("ARTIFACT", "/lastKnownGood/artifactRef"),
            ("DIGEST", "/lastKnownGood/digest"),
            ("SINCE", "/lastKnownGood/since"),
            ("UNTIL", "/lastKnownGood/until"),
            ("ENTRY", "/lastKnownGood/proof/index"),
        ];
        let lanes = rows(list(&body, "environments"), "lanes", &["environment"]);
        answer(self.client.output, &body, &lanes, &columns);
        if self.client.output == Format::Table {
            lanes.iter().flat_map(passed_over).for_each(|line| say(&line));
            list(&body, "environments").filter_map(lanes_cut).for_each(|line| say(&line));
        }
        self.limit.say_if_cut(&body);
        Ok(())
    }

    fn here(&self, server: &Server, environment: &str) -> anyhow::Result<()> {
        let path = format!("/api/v1/environments/{}/services/{}", escape(environment), escape(&self.name));
        let body = server.get(&path, &self.clocks.query())?;
        let columns = [
            ("SINCE", "/since"),
            ("UNTIL", "/until"),
            ("ARTIFACT", "/artifactRef"),
            ("DIGEST", "/digest"),
            ("KIND", "/kind"),
            ("CLUSTER", "/cluster"),
            ("NAMESPACE", "/namespace"),
            ("REASON", "/reason"),
            ("ENTRY", "/proof/index"),
        ];
        answer(self.client.output, &body, &spells(&body), &columns);
        if self.client.output == Format::Table {
            told(&body).iter().for_each(|line| say(line));
        }
        Ok(())
    }
}

fn list<'a>(body: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    body[name].as_array().into_iter().flatten()
}

/// A line for each thing that runs, and one for each environment in which nothing does.
fn running(body: &Value) -> Vec<Value> {
    rows(list(body, "environments"), "running", &["environment"])
}

/// Of all lanes, each with its place.
fn spells(body: &Value) -> Vec<Value> {
    rows(list(body, "lanes"), "spells", &["cluster", "namespace"])
}

/// A line for each item of a list of each holder, and one for a holder without any, with some fields of the holder.
fn rows<'a>(holders: impl Iterator<Item = &'a Value>, items: &str, own: &[&str]) -> Vec<Value> {
    let mut rows = Vec::new();
    for holder in holders {
        let before = rows.len();
        rows.extend(list(holder, items).cloned());
        if rows.len() == before {
            rows.push(json!({}));
        }
        for row in &mut rows[before..] {
            own.iter().for_each(|field| row[*field] = holder[*field].clone());
        }
    }
    rows
}

/// What the table does not show: that nothing runs, that several things share the traffic, and what is left out.
fn told(body: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let running: Vec<&Value> = list(body, "running").collect();
    if running.is_empty() && body["runningAtLeast"] != true {
        lines.push("nothing runs there now: it was removed".to_owned());
    }
    for run in running.iter().filter(|run| run["weight"].as_u64().is_some_and(|weight| weight < 100)) {
        lines.push(format!("runs with {} % of the traffic: {}", field(run, "/weight"), field(run, "/artifactRef")));
    }
    lines.extend(rest(body, &field(body, "/service")));
    if body["frozen"] == true {
        lines.push("frozen: deployments are not allowed".to_owned());
    }
    if list(body, "lanes").any(|lane| lane["cut"] == true) {
        lines.push("more: older ones are not shown; ask for an earlier moment with --at".to_owned());
    }
    lines.extend(lanes_cut(body));
    lines.extend(list(body, "removedNothing").map(removed_nothing));
    if let Some(cut) = body["removedNothingCut"].as_u64() {
        lines.push(format!("more: {cut} other removals ended nothing"));
    }
    lines
}

/// A removal that ended nothing, since it named a place where nothing ran.
fn removed_nothing(removal: &Value) -> String {
    let named = ["cluster", "namespace"].map(|name| match removal[name].as_str() {
        Some(place) => format!("{name} {place}"),
        None => format!("no {name}"),
    });
    let (at, entry, place) = (field(removal, "/at"), field(removal, "/proof/index"), named.join(" and "));
    format!(
        "the removal at {at} (entry {entry}) ended nothing: it names {place}, where nothing was ever deployed; \
         send it again with those of the deployment"
    )
}

fn lanes_cut(of: &Value) -> Option<String> {
    let at_least = if of["lanesAtLeast"] == true { "at least " } else { "" };
    let line = || format!("more: {at_least}{} clusters or namespaces are not shown", field(of, "/lanesCut"));
    of.get("lanesCut").map(|_| line())
}

/// A line for each thing that was passed over in a lane, and one for those that are not listed.
fn passed_over(lane: &Value) -> Vec<String> {
    let places = ["/environment", "/cluster", "/namespace"].map(|name| field(lane, name));
    let place = places.iter().filter(|place| !place.is_empty()).cloned().collect::<Vec<_>>().join(" / ");
    let line = |passed: &Value| {
        let why = match passed["why"].as_str() {
            Some("leftByRollback") => "was left by a rollback",
            Some("canaryTakenBack") => "was a canary and was taken back",
            Some("runsNow") => "runs now",
            Some("notNamed") => "is not named by its deployment",
            other => other.unwrap_or_default(),
        };
        let (artifact, at, entry) =
            (field(passed, "/artifactRef"), field(passed, "/at"), field(passed, "/proof/index"));
        format!("passed over in {place}: {artifact} {why}, {at} [entry {entry}]")
    };
    let cut = lane
        .get("passedOverCut")
        .map(|_| format!("passed over in {place}: {} more are not listed", field(lane, "/passedOverCut")));
    list(lane, "passedOver").map(line).chain(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_that_ended_nothing_says_what_to_send() {
        let body = json!({
            "running": [{"artifactRef": "r.io/cart:1", "weight": 100}],
            "removedNothing": [{"namespace": "shop", "at": "2026-01-02T00:00:00Z", "proof": {"index": 7}}],
        });
        let line = "the removal at 2026-01-02T00:00:00Z (entry 7) ended nothing: it names no cluster and namespace shop, \
                    where nothing was ever deployed; send it again with those of the deployment";
        assert_eq!(told(&body), [line]);
    }

    #[test]
    fn what_is_no_row_of_a_table_is_told_beneath_it() {
        let spell = json!({"artifactRef": "r.io/cart:1", "since": "2026-01-02T00:00:00Z"});
        let body = json!({
            "running": [{"artifactRef": "r.io/cart:1", "weight": 90}, {"artifactRef": "r.io/cart:2", "weight": 10}],
            "lanes": [{"cluster": "oslo", "spells": [spell], "cut": true}],
            "lanesCut": 3,
        });
        assert_eq!(spells(&body)[0]["cluster"], "oslo");
        assert_eq!(
            told(&body),
            [
                "runs with 90 % of the traffic: r.io/cart:1",
                "runs with 10 % of the traffic: r.io/cart:2",
                "more: older ones are not shown; ask for an earlier moment with --at",
                "more: 3 clusters or namespaces are not shown",
            ]
        );
        let passed = json!({"artifactRef": "r.io/cart:2", "why": "leftByRollback", "at": "2026-01-03T00:00:00Z", "proof": {"index": 7}});
        let lane = json!({"environment": "prod", "cluster": "oslo", "passedOver": [passed], "passedOverCut": 2});
        assert_eq!(
            passed_over(&lane),
            [
                "passed over in prod / oslo: r.io/cart:2 was left by a rollback, 2026-01-03T00:00:00Z [entry 7]",
                "passed over in prod / oslo: 2 more are not listed",
            ]
        );
        assert_eq!(told(&json!({"running": [], "lanes": []})), ["nothing runs there now: it was removed"]);
        let empty = json!({"environments": [{"environment": "prod", "running": []}]});
        assert_eq!(running(&empty), [json!({"environment": "prod"})]);
    }
}
