//! `pedigraph lanes`: the line of versions as a graph of text.

use std::collections::BTreeMap;

use clap::Args;
use pedigraph_query_api::lanes::{Row, Version, rows, text};
use pedigraph_query_api::rails::{Ends, beside};
use serde_json::{Value, json};

use crate::arguments::{Client, Clocks};
use crate::client::escape;
use crate::output::{Format, answer, cut, cut_front, field, printable, put, say, terminal_columns};

/// Steps from the one asked for when nothing is said, as the server's.
const DEPTH_DEFAULT: u32 = 10;
/// Columns of a line where stdout is no terminal.
const COLUMNS_MAX: usize = 400;
/// Columns that what is said of a version has at least, however narrow the terminal and wide the graph.
const SAID_COLUMNS_MIN: usize = 40;
/// Columns that a reference is cut to where a line is too long.
const REFERENCE_COLUMNS_MIN: usize = 24;
/// Hexadecimal digits of a digest.
const DIGEST_CHARS: usize = 12;
/// Names in one word of a line.
const NAMES_MAX: usize = 3;

/// `pedigraph lanes`
#[derive(Args, Debug)]
pub(crate) struct Lanes {
    /// Digest or its beginning, image reference, tag, `prod/service`.
    reference: String,
    /// Steps that are followed in each direction; the server has a limit.
    #[arg(long, value_name = "STEPS", default_value_t = DEPTH_DEFAULT)]
    depth: u32,
    #[command(flatten)]
    clocks: Clocks,
    #[command(flatten)]
    client: Client,
}

impl Lanes {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let depth = self.depth.to_string();
        let mut query = vec![("maxDepth", Some(depth.as_str())), ("direction", Some("both"))];
        query.extend(self.clocks.query());
        let server = self.client.server();
        let body = server.get(&format!("/api/v1/lineage/{}", escape(&self.reference)), &query)?;
        if self.client.output == Format::Table {
            put(&graph(&body, terminal_columns().unwrap_or(COLUMNS_MAX)));
        } else {
            answer(self.client.output, &body, &nodes(&body), &[]);
        }
        if let Some(cut) = body.get("truncated") {
            say(&told_cut(cut, self.depth));
        }
        server.up_to_date()
    }
}

/// Edges of one relationship.
fn edges<'a>(body: &'a Value, relationship: &str) -> Ends<'a> {
    let of_it = list(body, "edges").iter().filter(|edge| edge["relationship"] == relationship);
    Ends::of(of_it.map(|edge| (name(edge, "from"), name(edge, "to"))))
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn name<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// The nodes of an answer, each with the digests of its parents, and the one asked for marked.
fn nodes(body: &Value) -> Vec<Value> {
    let parents = edges(body, "parent").from;
    let with_parents = |node: &Value| {
        let mut node = node.clone();
        node["parents"] = json!(parents.get(name(&node, "digest")).cloned().unwrap_or_default());
        if node["digest"] == body["artifact"]["digest"] {
            node["asked"] = true.into();
        }
        node
    };
    list(body, "nodes").iter().map(with_parents).collect()
}

/// The graph, in lines that are at most so many columns wide.
fn graph(body: &Value, columns: usize) -> String {
    let nodes = list(body, "nodes");
    let (parents, builds, bases) = (edges(body, "parent"), edges(body, "build"), edges(body, "base"));
    let version = |node| {
        let id = name(node, "digest");
        Version { id, parents: parents.from.get(id).cloned().unwrap_or_default() }
    };
    let versions: Vec<Version<'_>> = nodes.iter().map(version).collect();
    let asked = name(&body["artifact"], "digest");
    let rows = rows(&versions, asked);
    let places = rows.iter().enumerate().map(|(place, row)| (versions[row.version].id, place)).collect();
    text(&rows, &beside(rows.len(), &places, &bases, &builds), |row, taken| {
        let node = &nodes[row.version];
        let mut words = verdicts(&node["verdictCounts"]);
        words.extend(badges(&node["badges"]));
        words.extend(around(row, versions[row.version].id, &builds, &bases));
        for base in list(body, "unresolved").iter().filter(|base| base["derived"] == node["digest"]) {
            words.push(format!("base {}, digest unknown", field(base, "/reference")));
        }
        let sign = if versions[row.version].id == asked { "@" } else { "o" };
        (sign, said(node, &words.join("  "), columns.saturating_sub(taken).max(SAID_COLUMNS_MIN)))
    })
}

/// What is said of a version. Where the line is too long its reference is cut in front, then the line at its end.
fn said(node: &Value, words: &str, columns: usize) -> String {
    let digest = short(name(node, "digest"));
    let whole = field(node, "/artifactRef");
    // The digest stands before it.
    let reference = whole.split_once('@').map_or(whole.as_str(), |(repository, _)| repository);
    let after = format!("#{}  {}  {words}", field(node, "/sequenceNumber"), field(node, "/createdAt"));
    let others = digest.chars().count() + 2 + 2 + unicode_width::UnicodeWidthStr::width(after.as_str());
    let left = columns.saturating_sub(others).max(REFERENCE_COLUMNS_MIN);
    let line = format!("{digest}  {}  {after}", cut_front(reference, left));
    cut(line.trim_end(), columns)
}

/// Verdicts that are open as words. Where nobody looked into a version, the badge of its SBOM says enough.
fn verdicts(counts: &Value) -> Vec<String> {
    let named = [("affected", "affected"), ("underInvestigation", "under investigation")];
    let counted = named.into_iter().filter_map(|(name, word)| Some((counts[name].as_u64()?, word)));
    counted.filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect()
}

/// Badges as words; what is as nobody need look at it has none.
fn badges(badges: &Value) -> Vec<String> {
    if !badges.is_object() {
        return vec!["not described".to_owned()];
    }
    let count = |name: &str| badges[name].as_u64().unwrap_or(0);
    let mut words = Vec::new();
    for (sign, what) in [("+", "new"), ("\u{2212}", "resolved")] {
        let changed = count(if what == "new" { "newVulns" } else { "resolvedVulns" });
        if changed > 0 {
            words.push(format!("{sign}{changed} {what}"));
        }
    }
    if badges.get("vulnsAsOf").is_some() {
        words.push(format!("vulnerabilities as of entry {}", count("vulnsAsOf")));
    }
    words.push(match badges["signatureStatus"].as_str() {
        Some("valid") => "signed".to_owned(),
        Some("none") => "unsigned".to_owned(),
        Some(other) => format!("signature {}", printable(other)),
        None => "signature not looked at".to_owned(),
    });
    words.push(if badges["sbom"] == true { "SBOM".to_owned() } else { "no SBOM".to_owned() });
    let environments: Vec<&str> = list(badges, "deployedIn").iter().filter_map(Value::as_str).collect();
    let more = count("deployedInCut") + environments.len().saturating_sub(NAMES_MAX) as u64;
    if !environments.is_empty() || more > 0 {
        let names: Vec<String> = environments.iter().take(NAMES_MAX).map(|name| printable(name)).collect();
        words.push(format!("in {}{}", names.join(", "), and_more(more)));
    }
    if badges["deployedInAtLeast"] == true {
        words.push("may run in more".to_owned());
    }
    words
}

/// What is not a line: parents without one, bases, what it is the base of, what was built with it.
fn around(row: &Row<'_>, id: &str, builds: &Ends<'_>, bases: &Ends<'_>) -> Vec<String> {
    let digests = |what: &str, all: &[&str]| {
        let names: Vec<String> = all.iter().take(NAMES_MAX).map(|digest| short(digest)).collect();
        let more = all.len().saturating_sub(NAMES_MAX) as u64;
        (!all.is_empty()).then(|| format!("{what} {}{}", names.join(", "), and_more(more)))
    };
    let count = |edges: &BTreeMap<&str, Vec<&str>>| edges.get(id).map_or(0, Vec::len);
    let mut words: Vec<String> = digests("parent", &row.undrawn).into_iter().collect();
    words.extend(bases.from.get(id).and_then(|all| digests("base", all)));
    let counted = [("base of", count(&bases.to)), ("built with", count(&builds.from) + count(&builds.to))];
    words.extend(counted.iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{what} {count}")));
    words
}

fn and_more(count: u64) -> String {
    if count == 0 { String::new() } else { format!(" and {count} more") }
}

/// The beginning of a digest, by which it can be asked for.
fn short(digest: &str) -> String {
    let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    printable(&hex.chars().take(DIGEST_CHARS).collect::<String>())
}

/// What the answer leaves out, and how more of it is seen.
fn told_cut(cut: &Value, depth: u32) -> String {
    let count = |name: &str| cut[name].as_u64().unwrap_or(0);
    let at_least = if cut["atLeast"] == true { "at least " } else { "" };
    let mut left = vec![format!("{at_least}{} versions and {} edges are left out", count("nodes"), count("edges"))];
    if count("notFollowed") > 0 {
        left.push(format!("{} versions are shown without all of their edges", count("notFollowed")));
    }
    if count("notDescribed") > 0 {
        left.push(format!("{} versions are shown without badges", count("notDescribed")));
    }
    let advice = match cut["by"].as_str() {
        Some("maxDepth") => format!("--depth N with more than {depth} shows more"),
        _ => "ask for one of the outermost versions, or with a smaller --depth N".to_owned(),
    };
    format!("more: {} ({}); {advice}", left.join(", "), field(cut, "/by"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(digest: &str, reference: &str, number: u64, badges: Value) -> Value {
        let created = format!("2026-11-{:02}T10:00:00Z", 10 + number);
        let mut node =
            json!({"digest": digest, "artifactRef": reference, "sequenceNumber": number, "createdAt": created});
        if !badges.is_null() {
            node["badges"] = badges;
        }
        node
    }

    fn edge(from: &str, to: &str, relationship: &str) -> Value {
        json!({"from": from, "to": to, "relationship": relationship})
    }

    fn with_verdicts(mut node: Value) -> Value {
        node["verdictCounts"] = json!({"affected": 4, "underInvestigation": 1, "fixed": 2, "notAffected": 0});
        node
    }

    fn line() -> Value {
        let (c, b, a, base) = ("sha256:cccccccccccccc", "sha256:bb", "sha256:aa", "sha256:dd");
        let running = json!({"newVulns": 3, "resolvedVulns": 2, "signatureStatus": "valid", "sbom": true,
            "deployedIn": ["lab", "prod", "qa", "staging"], "deployedInCut": 2, "deployedInAtLeast": true});
        let plain =
            json!({"newVulns": 0, "resolvedVulns": 0, "signatureStatus": "none", "sbom": false, "deployedIn": []});
        json!({
            "artifact": {"digest": b},
            "nodes": [
                with_verdicts(node(c, "r.io/cart:1.2", 3, running)),
                node(b, "r.io/cart@sha256:bb", 2, plain.clone()),
                node(a, "r.io/cart:1.0", 1, json!({"signatureStatus": "invalid", "sbom": true, "vulnsAsOf": 7})),
                node(base, "r.io/base:9", 1, Value::Null),
            ],
            "edges": [edge(a, b, "parent"), edge(b, c, "parent"), edge(a, c, "parent"), edge("sha256:ee", a, "parent"),
                edge(base, a, "base"), edge(base, c, "base"), edge(b, c, "build")],
            "unresolved": [{"derived": b, "reference": "r.io/base:8"}],
        })
    }

    #[test]
    fn a_version_stands_in_a_line_with_its_badges_and_what_is_no_line() {
        let minus = '\u{2212}';
        let expected = format!(
            "\
o   ┈╮╌╮ cccccccccccc  r.io/cart:1.2  #3  2026-11-13T10:00:00Z  4 affected  1 under investigation  +3 new  {minus}2 resolved  signed  SBOM  \
in lab, prod, qa and 3 more  may run in more  base dd  built with 1
├─╮  ┊ ╎
│ @ ┈╯ ╎ bb  r.io/cart  #2  2026-11-12T10:00:00Z  unsigned  no SBOM  built with 1  base r.io/base:8, digest unknown
├─╯    ╎
o   ╌╌╌┤ aa  r.io/cart:1.0  #1  2026-11-11T10:00:00Z  vulnerabilities as of entry 7  signature invalid  SBOM  \
parent ee  base dd
       ╎
o   ╌╌╌╯ dd  r.io/base:9  #1  2026-11-11T10:00:00Z  not described  base of 2"
        );
        assert_eq!(graph(&line(), COLUMNS_MAX), expected);
    }

    #[test]
    fn lines_are_as_wide_as_the_terminal_and_hold_nothing_that_steers_it() {
        let mut body = line();
        let names =
            ["\u{1b}[31m<b>", "\u{202e}\u{5e9}\u{5dc}", "\n\n", &"x".repeat(64 << 10), &"\u{301}".repeat(64 << 10)];
        for hostile in names {
            for pointer in ["/artifactRef", "/createdAt", "/badges/deployedIn/0", "/badges/signatureStatus", "/digest"]
            {
                *body["nodes"][0].pointer_mut(pointer).unwrap() = json!(hostile);
            }
            body["unresolved"][0]["reference"] = json!(hostile);
            for columns in [0, 60, 80, 200] {
                let text = graph(&body, columns);
                assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text}");
                let width = |line: &str| unicode_width::UnicodeWidthStr::width(line);
                assert!(text.lines().all(|line| width(line) <= columns.max(SAID_COLUMNS_MIN + 9)), "{text}");
                assert!(text.len() < 4_096, "{}", text.len());
            }
        }
        // The tag is what tells versions apart: the front of a reference goes.
        body = line();
        body["nodes"][0]["artifactRef"] = json!(format!("r.io/{}/cart:1.2", "x".repeat(99)));
        assert!(graph(&body, 100).contains("xx/cart:1.2  #3"), "{}", graph(&body, 100));
    }

    #[test]
    fn answers_of_any_shape_are_drawn() {
        for body in
            [json!({}), json!([]), json!({"nodes": {}, "edges": 1}), json!({"nodes": [1, null, {}], "edges": [{}]})]
        {
            assert!(graph(&body, 80).lines().count() <= 5);
        }
        let rows = nodes(&line());
        assert_eq!((&rows[1]["asked"], &rows[0]["asked"]), (&json!(true), &Value::Null));
        assert_eq!(rows[0]["parents"], json!(["sha256:bb", "sha256:aa"]));
    }

    #[test]
    fn what_is_left_out_is_told_with_a_way_to_see_it() {
        let told = |cut: Value| told_cut(&cut, 10);
        assert_eq!(
            told(json!({"nodes": 3, "edges": 4, "by": "maxDepth"})),
            "more: 3 versions and 4 edges are left out (maxDepth); --depth N with more than 10 shows more"
        );
        assert_eq!(
            told(json!({"nodes": 9, "edges": 8, "atLeast": true, "notFollowed": 2, "notDescribed": 7, "by": "nodes"})),
            "more: at least 9 versions and 8 edges are left out, 2 versions are shown without all of their edges, \
             7 versions are shown without badges (nodes); ask for one of the outermost versions, or with a smaller \
             --depth N"
        );
    }
}
