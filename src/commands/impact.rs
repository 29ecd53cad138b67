//! `pedigraph impact`: what contains a package or is concerned by a vulnerability, and where that runs.

use clap::Args;
use serde_json::json;

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
                rows.push(row);
            }
        }
        let mut columns = vec![
            ("STATE", "/state"),
            ("ENVIRONMENT", "/environment"),
            ("SERVICE", "/service"),
            ("ARTIFACT", "/artifactRef"),
            ("COMPONENT", "/components/0/purl"),
            ("PATH", "/components/0/path"),
            ("SINCE", "/since"),
            ("ENTRY", "/proof/index"),
        ];
        if !is_package {
            columns.splice(6..6, [("VERDICT", "/verdict/status"), ("WHY", "/why"), ("FIXED IN", "/fixedIn")]);
        }
        answer(self.client.output, &body, &rows, &columns);
        if self.client.output == Format::Table {
            let at_least = |name: &str| body["atLeast"].as_array().is_some_and(|names| names.contains(&json!(name)));
            let count = |name: &str| {
                let count = field(&body, &format!("/counts/{name}"));
                if at_least(name) { format!("at least {count}") } else { count }
            };
            let cleared = if is_package { String::new() } else { format!(", {} cleared", count("cleared")) };
            say(&format!(
                "{} deployed{cleared}, {} running of which it is not known, {} not deployed",
                count("deployed"),
                count("unknown"),
                count("notDeployed")
            ));
        }
        self.limit.say_if_cut(&body);
        server.up_to_date()
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
}
