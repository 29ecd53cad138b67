//! `pedigraph impact`: what contains a package or is concerned by a vulnerability, and where that runs.

use clap::Args;
use serde_json::{Value, json};

use crate::arguments::{Client, Clocks, Limit};
use crate::client::escape;
use crate::output::{Exit, Failure, Format, answer, field, say};

/// Lists of the answer that are shown; each is cut at the limit.
const LISTS: [&str; 4] = ["deployed", "cleared", "unknown", "notDeployed"];

/// `pedigraph impact`
#[derive(Args, Debug)]
pub(crate) struct Impact {
    /// A vulnerability, such as CVE-2021-44228; or a package URL, with or without version.
    of: String,
    /// Of a package, a range, such as vers:npm/<4.17.21.
    #[arg(long)]
    versions: Option<String>,
    /// Only this environment.
    #[arg(long)]
    env: Option<String>,
    /// Of a package, tell how far its fix is rolled out; of a vulnerability that is always told.
    #[arg(long)]
    progress: bool,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    clocks: Clocks,
    #[command(flatten)]
    client: Client,
}

impl Impact {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let is_package = self.of.starts_with("pkg:");
        if !is_package && (self.versions.is_some() || !names_vulnerability(&self.of)) {
            let text = format!(
                "{:?} is neither a vulnerability, such as CVE-2021-44228, nor a package URL; write \
                 pkg:type/namespace/name@version",
                self.of
            );
            return Err(Failure::error(Exit::Usage, text));
        }
        let mut query = vec![("versions", self.versions.as_deref()), ("env", self.env.as_deref())];
        let path = if is_package {
            query.push(("purl", Some(self.of.as_str())));
            query.push(("progress", self.progress.then_some("true")));
            "/api/v1/components/impact".to_owned()
        } else {
            format!("/api/v1/vulnerabilities/{}/impact", escape(&self.of))
        };
        query.extend(self.clocks.query());
        let server = self.client.server();
        let body = server.list(&path, &query, &LISTS, self.limit.rows())?;
        let mut rows = Vec::new();
        for state in LISTS {
            for row in body[state].as_array().into_iter().flatten() {
                let mut row = row.clone();
                row["state"] = json!(state);
                if let Some(rollout) = rollout(&row).filter(|_| self.client.output == Format::Table) {
                    row["rollout"] = json!(rollout);
                }
                rows.push(row);
            }
        }
        answer(self.client.output, &body, &rows, &columns(is_package, self.progress));
        if self.client.output == Format::Table {
            say(&counted(&body, is_package));
            if body["known"] == json!(false) {
                say(unnamed(is_package));
            }
        }
        self.limit.say_if_cut(&body);
        server.up_to_date()
    }
}

/// Of a vulnerability with who says so and the fix; of a package with its fix where that was asked for.
fn columns(is_package: bool, progress: bool) -> Vec<(&'static str, &'static str)> {
    let mut columns = vec![
        ("STATE", "/state"),
        ("ENVIRONMENT", "/environment"),
        ("SERVICE", "/service"),
        ("ARTIFACT", "/artifactRef"),
        ("COMPONENT", "/components/0/purl"),
        ("PATH", "/components/0/path"),
    ];
    if !is_package {
        columns.extend([("VERDICT", "/verdict/status"), ("WHY", "/why")]);
    }
    if !is_package || progress {
        columns.extend([("FIXED IN", "/fixedIn"), ("ROLLED OUT", "/rollout")]);
    }
    columns.extend([("SINCE", "/since"), ("ENTRY", "/proof/index")]);
    columns
}

/// How far the fix of a row is rolled out where it runs: that of `fixedIn`, or of any other version without it.
fn rollout(row: &Value) -> Option<String> {
    let progress = row.get("fixProgress")?;
    let (here, at_least) = (&progress["inEnvironment"], progress["atLeast"].as_bool().unwrap_or(false));
    let (fixed, lanes) = (here["fixed"].as_u64()?, here["lanes"].as_u64()?);
    let environment = field(row, "/environment");
    Some(format!("{}{fixed} of {lanes} in {environment}", if at_least { "at least " } else { "" }))
}

/// How many rows each list has in all.
fn counted(body: &Value, is_package: bool) -> String {
    let at_least = |name: &str| body["atLeast"].as_array().is_some_and(|names| names.contains(&json!(name)));
    let count = |name: &str| {
        let count = field(body, &format!("/counts/{name}"));
        if at_least(name) { format!("at least {count}") } else { count }
    };
    let cleared = if is_package { String::new() } else { format!(", {} cleared", count("cleared")) };
    format!(
        "{} deployed{cleared}, {} running of which it is not known, {} not deployed",
        count("deployed"),
        count("unknown"),
        count("notDeployed")
    )
}

/// What is told where nobody named what is asked for: a typing error looks like that.
fn unnamed(is_package: bool) -> &'static str {
    match is_package {
        true => "no SBOM that was recorded lists this package in any version; this does not say that nobody has it",
        false => "nothing that was recorded names this vulnerability; this does not say that it is safe",
    }
}

/// Whether a text looks like the id of a vulnerability: a word, a dash, and a number or GitHub's letters, such as
/// CVE-2021-44228, GHSA-jfh8-c2jp-5v3q or ALSA-2022:1234.
fn names_vulnerability(text: &str) -> bool {
    let Some((source, rest)) = text.trim().split_once('-') else { return false };
    let is_word = !source.is_empty() && source.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_number = rest.bytes().any(|byte| byte.is_ascii_digit()) || source.eq_ignore_ascii_case("ghsa");
    is_word && is_number && !rest.contains(['/', '@'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vulnerability_is_told_from_what_was_meant_to_be_a_purl() {
        for id in ["CVE-2021-44228", "cve-2021-44228", "GHSA-jfhx-cxjp-xvxq", "ALSA-2022:1234", "GO-2021-0001"] {
            assert!(names_vulnerability(id), "{id}");
        }
        for other in ["", "not-a-purl", "left-pad", "log4j-core", "app:1.2", "npm/left-pad@1.3.0", "CVE"] {
            assert!(!names_vulnerability(other), "{other}");
        }
    }

    #[test]
    fn how_far_a_fix_is_rolled_out_is_a_short_text() {
        let mut row = json!({"environment": "prod", "fixProgress": {"lanes": 9, "fixed": 5,
            "inEnvironment": {"lanes": 5, "fixed": 3}}});
        assert_eq!(rollout(&row).as_deref(), Some("3 of 5 in prod"));
        row["fixProgress"]["atLeast"] = json!(true);
        assert_eq!(rollout(&row).as_deref(), Some("at least 3 of 5 in prod"));
        assert_eq!(rollout(&json!({"environment": "prod"})), None);
    }
}
