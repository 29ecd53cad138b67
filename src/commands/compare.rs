//! `pedigraph compare`: two artifacts side by side.

use clap::Args;
use serde_json::{Value, json};

use crate::arguments::{Client, Clocks};
use crate::commands::diff::undescribed;
use crate::output::{Format, answer, field, say};

/// `pedigraph compare`
#[derive(Args, Debug)]
pub(crate) struct Compare {
    /// Digest or its beginning, image reference, tag, `prod/cart`.
    a: String,
    /// The same.
    b: String,
    #[command(flatten)]
    clocks: Clocks,
    #[command(flatten)]
    client: Client,
}

/// What the two nodes are compared by: a word for people, and where it stands in a node.
const FIELDS: [(&str, &str); 9] = [
    ("artifact", "/artifactRef"),
    ("digest", "/digest"),
    ("version of its line", "/sequenceNumber"),
    ("created", "/createdAt"),
    ("runs in", "/badges/deployedIn"),
    ("signature", "/badges/signatureStatus"),
    ("SBOM", "/badges/sbom"),
    ("completeness", "/badges/completeness"),
    ("replay hash", "/replayHash"),
];

/// Lists that are compared by their length, and where they stand, both sides under them.
const LISTS: [(&str, &str); 5] = [
    ("deployments", "/deployments"),
    ("attestations", "/attestations"),
    ("tests", "/tests"),
    ("gates", "/gates"),
    ("materials", "/buildInputs/{}/materials"),
];

impl Compare {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let mut query = vec![("a", Some(self.a.as_str())), ("b", Some(self.b.as_str()))];
        query.extend(self.clocks.query());
        let server = self.client.server();
        let body = server.get("/api/v1/lineage/compare", &query)?;
        answer(self.client.output, &body, &rows(&body), &[("WHAT", "/what"), ("A", "/a"), ("B", "/b")]);
        if self.client.output == Format::Table {
            told(&body);
        }
        server.up_to_date()
    }
}

fn rows(body: &Value) -> Vec<Value> {
    let both = |what: &str, of: &dyn Fn(&str) -> Value| json!({"what": what, "a": of("a"), "b": of("b")});
    let mut rows = Vec::new();
    for (what, pointer) in FIELDS {
        rows.push(both(what, &|side| shown(body.pointer(&format!("/{side}{pointer}")))));
    }
    for (what, pointer) in [("commit", "commit"), ("run", "run")] {
        rows.push(both(what, &|side| shown(body.pointer(&format!("/buildInputs/{side}/{pointer}/id")))));
    }
    for (what, pointer) in LISTS {
        let list = |side: &str| match pointer.contains("{}") {
            true => pointer.replace("{}", side),
            false => format!("{pointer}/{side}"),
        };
        rows.push(both(what, &|side| body.pointer(&list(side)).and_then(Value::as_array).map_or(0, Vec::len).into()));
    }
    rows
}

/// A value in a cell: a list as its members.
fn shown(value: Option<&Value>) -> Value {
    match value {
        None => Value::Null,
        Some(Value::Array(items)) => {
            let words: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            words.join(", ").into()
        }
        Some(value) => value.clone(),
    }
}

/// What they have in common, and what differs in them.
fn told(body: &Value) {
    let ancestors = body["commonAncestors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let steps = body["path"].as_array().map_or(0, Vec::len);
    match ancestors.first() {
        Some(nearest) => say(&format!("both come from {}, {steps} steps apart", field(nearest, "/artifactRef"))),
        None => say("no common ancestor is known"),
    }
    if let Some(by) = body["truncated"].as_str() {
        say(&format!("the search for common ancestors ended at a limit ({by}): there may be nearer ones"));
    }
    let count = |pointer: &str| body.pointer(pointer).and_then(Value::as_array).map_or(0, Vec::len);
    let components = ["added", "removed", "versionChanged", "licenseChanged", "contentChanged"];
    let components: usize = components.iter().map(|list| count(&format!("/diff/sbomDiff/{list}"))).sum();
    let cut = body.pointer("/diff/sbomDiff/cut").and_then(Value::as_u64).unwrap_or(0);
    let components = u64::try_from(components).unwrap_or(u64::MAX).saturating_add(cut);
    let (verdicts, reached) = (count("/diff/vexDiff"), count("/diff/reachabilityDiff"));
    say(&format!(
        "{components} components, {verdicts} verdicts and {reached} analyses of reachability differ; see pedigraph diff"
    ));
    if let Some(unknown) = undescribed(&body["diff"]["sbomDiff"]) {
        say(&unknown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_stand_in_each_row_and_what_is_absent_is_empty() {
        let body = json!({
            "a": {"artifactRef": "r.io/cart:1", "badges": {"deployedIn": ["lab", "prod"], "sbom": true}},
            "b": {"artifactRef": "r.io/cart:2"},
            "deployments": {"a": [{}, {}], "b": []},
            "buildInputs": {"a": {"commit": {"id": "0c5a"}, "materials": [{}]}, "b": {"materials": []}},
        });
        let rows = rows(&body);
        let row = |what: &str| rows.iter().find(|row| row["what"] == what).cloned().unwrap_or_default();
        assert_eq!(row("artifact"), json!({"what": "artifact", "a": "r.io/cart:1", "b": "r.io/cart:2"}));
        assert_eq!(row("runs in"), json!({"what": "runs in", "a": "lab, prod", "b": null}));
        assert_eq!(row("commit"), json!({"what": "commit", "a": "0c5a", "b": null}));
        assert_eq!(row("deployments"), json!({"what": "deployments", "a": 2, "b": 0}));
        assert_eq!(row("materials"), json!({"what": "materials", "a": 1, "b": 0}));
        assert_eq!(rows.len(), FIELDS.len() + 2 + LISTS.len());
    }
}
