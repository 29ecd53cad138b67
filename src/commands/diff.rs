//! `pedigraph diff`: what changed between two artifacts.

use clap::Args;
use serde_json::{Value, json};

use crate::arguments::{Client, Clocks};
use crate::output::{Exit, Failure, Format, answer, field, say};

/// `pedigraph diff`
#[derive(Args, Debug)]
pub(crate) struct Diff {
    /// Digest or its beginning, image reference, tag, `prod/service`.
    from: String,
    /// The same.
    to: String,
    /// Exit code 1 when anything differs.
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    clocks: Clocks,
    #[command(flatten)]
    client: Client,
}

/// What differs, where it stands in the answer, and in which fields it says from what to what.
const LISTS: [(&str, &str, &str, &str); 7] = [
    ("added", "/sbomDiff/added", "", "/version"),
    ("removed", "/sbomDiff/removed", "/version", ""),
    ("version", "/sbomDiff/versionChanged", "/fromVersion", "/toVersion"),
    ("license", "/sbomDiff/licenseChanged", "/fromLicense", "/toLicense"),
    ("content", "/sbomDiff/contentChanged", "/fromDigest", "/toDigest"),
    ("verdict", "/vexDiff", "/fromStatus", "/toStatus"),
    ("reached", "/reachabilityDiff", "/fromStatus", "/toStatus"),
];

impl Diff {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let mut query = vec![("from", Some(self.from.as_str())), ("to", Some(self.to.as_str()))];
        query.extend(self.clocks.query());
        let server = self.client.server();
        let body = server.get("/api/v1/lineage/diff", &query)?;
        let rows = rows(&body);
        let unknown = undescribed(&body["sbomDiff"]);
        let columns = [
            ("WHAT", "/what"),
            ("OF", "/of"),
            ("FROM", "/from"),
            ("TO", "/to"),
            ("WHY", "/reason"),
            ("PROOF", "/proof"),
        ];
        answer(self.client.output, &body, &rows, &columns);
        if self.client.output == Format::Table {
            if let Some(cut) = cut_of(&body["sbomDiff"]) {
                say(&cut);
            }
            let unchanged = field(&body, "/sbomDiff/summary/unchanged");
            say(&format!("{} differences; {unchanged} components are the same", rows.len()));
            if let Some(unknown) = &unknown {
                say(unknown);
            }
        }
        server.up_to_date()?;
        if self.exit_code && !rows.is_empty() {
            return Err(Failure::error(Exit::Error, format!("{} differences", rows.len())));
        }
        if let Some(unknown) = unknown.filter(|_| self.exit_code) {
            return Err(Failure::error(Exit::Error, unknown));
        }
        Ok(())
    }
}

/// How much of a diff is not listed.
pub(crate) fn cut_of(sbom_diff: &Value) -> Option<String> {
    sbom_diff.get("cut").map(|_| format!("more: {} components that differ are not shown", field(sbom_diff, "/cut")))
}

/// What to say of sides of which it is not known what they contain.
pub(crate) fn undescribed(sbom_diff: &Value) -> Option<String> {
    let sides: Vec<&str> = sbom_diff["undescribed"].as_array()?.iter().filter_map(Value::as_str).collect();
    (!sides.is_empty()).then(|| {
        let sides = sides.join(" and ");
        format!(
            "what \"{sides}\" contains is not known, or not all of it: send its SBOM; that nothing differs is not known"
        )
    })
}

fn rows(body: &Value) -> Vec<Value> {
    let mut rows = Vec::new();
    for (what, list, from, to) in LISTS {
        for item in body.pointer(list).and_then(Value::as_array).into_iter().flatten() {
            let name =
                ["/purl", "/cve", "/name"].iter().map(|pointer| field(item, pointer)).find(|text| !text.is_empty());
            let mut row = json!({"what": what, "of": name});
            for (column, pointer) in [("from", from), ("to", to), ("reason", "/reason"), ("proof", "/evidenceLink")] {
                if let Some(value) = item.pointer(pointer).filter(|_| !pointer.is_empty()) {
                    row[column] = value.clone();
                }
            }
            rows.push(row);
        }
    }
    rows
}
