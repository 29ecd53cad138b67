//! Every kind of question, with what it should take and which rows it may read.

use serde_json::Value;

use crate::mix::{ENVIRONMENTS, Mix};
use crate::said::{LARGE_VERSIONS, OF_THOUSAND, THOUSAND_PACKAGE};

/// One kind of question.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Milliseconds at 10,000 artifacts that half and 99 of 100 should take at most; none: it is only shown.
    pub(crate) target: Option<(f64, f64)>,
    /// The n-th of them.
    pub(crate) path: fn(Mix, u64) -> String,
    /// Rows that the answer shows: what it reads may grow with these, and with nothing else.
    pub(crate) shown: fn(&[u8]) -> usize,
    /// How many it may read.
    pub(crate) rows: Rows,
}

/// Rows of the views that an answer may be read from.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    /// However little it shows.
    pub(crate) fixed: u64,
    /// For each row that it shows.
    pub(crate) each: u64,
}

const HOVER: Option<(f64, f64)> = Some((1.0, 5.0));
const ONE_THING: Option<(f64, f64)> = Some((2.0, 8.0));
const LINEAGE: Option<(f64, f64)> = Some((5.0, 15.0));
const WIDE_LINEAGE: Option<(f64, f64)> = Some((15.0, 40.0));
const LIST: Option<(f64, f64)> = Some((10.0, 25.0));
const PAST_LIST: Option<(f64, f64)> = Some((50.0, 90.0));
const VERDICT: Option<(f64, f64)> = Some((2.0, 5.0));
const DIFF: Option<(f64, f64)> = Some((10.0, 20.0));
const THOUSAND: Option<(f64, f64)> = Some((25.0, 50.0));
const IMPACT: Option<(f64, f64)> = Some((5.0, 20.0));

const fn kind(
    name: &'static str,
    target: Option<(f64, f64)>,
    path: fn(Mix, u64) -> String,
    shown: fn(&[u8]) -> usize,
    (fixed, each): (u64, u64),
) -> Kind {
    Kind { name, target, path, shown, rows: Rows { fixed, each } }
}

/// All of them.
pub(crate) const KINDS: &[Kind] = &[
    kind("artifact", ONE_THING, artifact, of_artifact, (180, 8)),
    kind("artifact of the long line", ONE_THING, artifact_of_long_line, of_artifact, (180, 8)),
    kind("hover", HOVER, hover, of_hover, (140, 8)),
    kind("hover, long line", HOVER, hover_of_long_line, of_hover, (140, 8)),
    kind("inputs of a replay hash", ONE_THING, inputs, of_inputs, (60, 3)),
    // Of two that have nothing in common, all that is above both is looked at, up to a limit.
    kind("compare, any two", LIST, compare, of_compare, (16_000, 40)),
    kind("trace of a digest", ONE_THING, trace, hops, (60, 10)),
    kind("trace of environment/service", ONE_THING, trace_of_service, hops, (60, 8)),
    kind("resolve: a tag", ONE_THING, resolve_tag, candidates, (16, 4)),
    kind("resolve: begin of a digest", ONE_THING, resolve_digest, candidates, (16, 4)),
    kind("resolve: a service", ONE_THING, resolve_service, candidates, (24, 6)),
    kind("resolve: a commit", ONE_THING, resolve_commit, candidates, (24, 8)),
    kind("resolve: nothing", ONE_THING, resolve_nothing, candidates, (16, 8)),
    kind("lineage, depth 10, long line", LINEAGE, lineage_of_long_line, of_lineage, (300, 45)),
    kind("lineage, depth 10, any line", LINEAGE, lineage, of_lineage, (300, 45)),
    kind("lineage of the base of half", WIDE_LINEAGE, lineage_of_base, of_lineage, (2_000, 33)),
    kind("environment now", LIST, environment, services, (40, 1)),
    kind("environment now, restless", LIST, restless, services, (40, 1)),
    kind("changes, first page", LIST, changes, of_changes, (60, 27)),
    kind("changes, restless", LIST, restless_changes, of_changes, (60, 27)),
    kind("environments", LIST, environments, of_environments, (24, 20)),
    kind("environment beside another", LIST, environment_diff, services, (160, 12)),
    kind("environment beside its past", PAST_LIST, environment_diff_at, services, (160, 24)),
    kind("environment at", PAST_LIST, environment_at, services, (100, 12)),
    kind("environment asOf", PAST_LIST, environment_as_of, services, (100, 12)),
    kind("environment at, asOf", PAST_LIST, environment_at_as_of, services, (100, 12)),
    kind("last known good", ONE_THING, last_known_good, of_good, (80, 60)),
    kind("impact: nobody has it", IMPACT, impact_of_nothing, of_impact, (150, 3)),
    kind("impact: rare", IMPACT, impact_of_rare, of_impact, (150, 5)),
    kind("impact: everybody has it", IMPACT, impact_of_common, of_impact, (14_000, 5)),
    kind("impact: range of versions", IMPACT, impact_of_range, of_impact, (150, 15)),
    kind("impact: range, a thousand", THOUSAND, impact_of_thousand, of_impact, (12_000, 15)),
    kind("impact: CVE, a thousand", THOUSAND, impact_of_vulnerability, of_impact, (16_000, 12)),
    kind("verdict with explanation", VERDICT, verdict, explanation, (100, 10)),
    kind("diff, 2,000 components each", DIFF, diff, of_diff, (15_500, 1)),
    kind("page: start", None, |_, _| "/".to_owned(), lines_of_tables, (60, 60)),
    kind("page: environment", None, |mix, n| page(&environment(mix, n)), lines_of_tables, (120, 9)),
    kind("page: artifact", None, |mix, n| page(&artifact(mix, n)), of_artifact_page, (430, 30)),
    kind("page: search", None, search, lines_of_tables, (24, 8)),
    kind("page: impact", None, |mix, n| page(&impact_of_common(mix, n)), of_impact_page, (14_000, 5)),
];

fn any(mix: Mix, n: u64) -> u64 {
    mix.bases() + mix.draw("asked", n, mix.artifacts - mix.bases())
}

fn long(mix: Mix, n: u64) -> u64 {
    mix.of_long_line(mix.draw("asked", n, u64::MAX))
}

fn artifact(mix: Mix, n: u64) -> String {
    format!("/api/v1/artifacts/{}", mix.digest(any(mix, n)))
}

fn artifact_of_long_line(mix: Mix, n: u64) -> String {
    format!("/api/v1/artifacts/{}", mix.digest(long(mix, n)))
}

fn hover(mix: Mix, n: u64) -> String {
    format!("{}/hover", artifact(mix, n))
}

fn hover_of_long_line(mix: Mix, n: u64) -> String {
    format!("{}/hover", artifact_of_long_line(mix, n))
}

fn inputs(mix: Mix, n: u64) -> String {
    format!("{}/inputs", artifact(mix, n))
}

/// What is the same twice is another question: the base.
fn compare(mix: Mix, n: u64) -> String {
    let (a, b) = (any(mix, n), any(mix, n + 1));
    let b = if a == b { 0 } else { b };
    format!("/api/v1/lineage/compare?a={}&b={}", mix.digest(a), mix.digest(b))
}

fn trace(mix: Mix, n: u64) -> String {
    format!("/api/v1/trace?ref={}", mix.digest(any(mix, n)))
}

fn trace_of_service(mix: Mix, n: u64) -> String {
    format!("/api/v1/trace?ref=env-{}/service-{}", n % ENVIRONMENTS, mix.draw("service", n, mix.services()))
}

fn resolve_tag(mix: Mix, n: u64) -> String {
    format!("/api/v1/resolve?q={}", mix.reference(any(mix, n)))
}

fn resolve_digest(mix: Mix, n: u64) -> String {
    format!("/api/v1/resolve?q={}", &mix.digest(any(mix, n))[7..17])
}

fn resolve_service(mix: Mix, n: u64) -> String {
    format!("/api/v1/resolve?q=service-{}", mix.draw("service", n, mix.services()))
}

fn resolve_commit(mix: Mix, n: u64) -> String {
    format!("/api/v1/resolve?q={}", mix.commit(any(mix, n)))
}

fn resolve_nothing(_: Mix, n: u64) -> String {
    format!("/api/v1/resolve?q=nothing-{n}")
}

fn search(_: Mix, n: u64) -> String {
    format!("/search?q=service-{}", n % 7)
}

/// Where people see the same.
fn page(path: &str) -> String {
    path.replace("/api/v1", "")
}

fn lineage_of_long_line(mix: Mix, n: u64) -> String {
    format!("/api/v1/lineage/{}?maxDepth=10", mix.digest(long(mix, n)))
}

fn lineage(mix: Mix, n: u64) -> String {
    format!("/api/v1/lineage/{}?maxDepth=10", mix.digest(any(mix, n)))
}

fn lineage_of_base(mix: Mix, _: u64) -> String {
    format!("/api/v1/lineage/{}?maxDepth=1", mix.digest(0))
}

fn environment(_: Mix, n: u64) -> String {
    format!("/api/v1/environments/env-{}", n % ENVIRONMENTS)
}

/// A page of what runs in two of them; most of it differs.
fn environment_diff(mix: Mix, n: u64) -> String {
    format!("{}/diff?with=env-{}", environment(mix, n), (n + 1) % ENVIRONMENTS)
}

fn environment_diff_at(mix: Mix, n: u64) -> String {
    format!("{}/diff?from={}", environment(mix, n), mix.moment(n))
}

/// Where the same is deployed again and again.
fn restless(_: Mix, _: u64) -> String {
    "/api/v1/environments/restless".to_owned()
}

fn changes(mix: Mix, n: u64) -> String {
    format!("{}/changes", environment(mix, n))
}

fn restless_changes(mix: Mix, n: u64) -> String {
    format!("{}/changes", restless(mix, n))
}

fn environments(_: Mix, _: u64) -> String {
    "/api/v1/environments".to_owned()
}

fn environment_at(mix: Mix, n: u64) -> String {
    format!("{}?at={}", environment(mix, n), mix.moment(n))
}

fn last_known_good(mix: Mix, n: u64) -> String {
    let (environment, service) = mix.lane(any(mix, n));
    format!("/api/v1/services/{service}/last-known-good?env={environment}")
}

/// An entry of the filling, which had about four for each artifact.
fn index(mix: Mix, n: u64) -> u64 {
    mix.artifacts + mix.draw("index", n, mix.artifacts * 3)
}

fn environment_as_of(mix: Mix, n: u64) -> String {
    format!("{}?asOf={}", environment(mix, n), index(mix, n))
}

fn environment_at_as_of(mix: Mix, n: u64) -> String {
    format!("{}?at={}&asOf={}", environment(mix, n), mix.moment(n), index(mix, n))
}

fn impact(purl: &str) -> String {
    format!("/api/v1/components/impact?purl={purl}")
}

fn impact_of_nothing(_: Mix, n: u64) -> String {
    impact(&format!("pkg:npm/nobody-{n}"))
}

fn impact_of_common(_: Mix, _: u64) -> String {
    impact("pkg:npm/everywhere")
}

fn impact_of_rare(mix: Mix, n: u64) -> String {
    impact(&mix.rare(mix.draw("rare", n, mix.artifacts)))
}

fn impact_of_range(_: Mix, n: u64) -> String {
    let from = n % 190;
    format!("{}&versions=vers:npm/%3E=1.{from}.0%7C%3C1.{}.0", impact("pkg:npm/ranged"), from + 3)
}

/// All but the newest version of it.
fn impact_of_thousand(_: Mix, _: u64) -> String {
    format!("{}&versions=vers:npm/%3E=1.0.0%7C%3C1.49.0", impact(THOUSAND_PACKAGE))
}

fn impact_of_vulnerability(_: Mix, _: u64) -> String {
    format!("/api/v1/vulnerabilities/{OF_THOUSAND}/impact")
}

fn verdict(mix: Mix, n: u64) -> String {
    let (artifact, vulnerability) = mix.concerned(n);
    format!("/api/v1/artifacts/{artifact}/verdicts/{vulnerability}")
}

/// Of two versions, which are another two in the next question.
fn diff(mix: Mix, n: u64) -> String {
    let (from, by) = (n % LARGE_VERSIONS, 1 + n / LARGE_VERSIONS % (LARGE_VERSIONS - 1));
    let to = (from + by) % LARGE_VERSIONS;
    format!("/api/v1/lineage/diff?from={}&to={}", mix.large_digest(from), mix.large_digest(to))
}

fn rows(answer: &Value, lists: &[&str]) -> usize {
    lists.iter().map(|list| answer[list].as_array().map_or(0, Vec::len)).sum()
}

fn lists(answer: &[u8], names: &[&str]) -> usize {
    rows(&serde_json::from_slice(answer).unwrap_or_default(), names)
}

fn of_artifact(answer: &[u8]) -> usize {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    rows(&answer, &["tags", "sboms", "attestations", "tests", "scans", "deployments", "verdicts", "statements"])
        + rows(&answer["lineage"], &["parents", "children", "bases"])
}

fn of_hover(answer: &[u8]) -> usize {
    lists(answer, &["running"])
}

fn of_inputs(answer: &[u8]) -> usize {
    lists(answer, &["inputs"])
}

/// What stands side by side, the steps between, what differs and what does not.
fn of_compare(answer: &[u8]) -> usize {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let side = |side: &str| rows(&answer["deployments"], &[side]) + rows(&answer["attestations"], &[side]);
    let summary = answer["diff"]["sbomDiff"]["summary"].as_object();
    let components: u64 = summary.into_iter().flat_map(|counts| counts.values()).filter_map(Value::as_u64).sum();
    let components = usize::try_from(components).unwrap_or(usize::MAX);
    rows(&answer, &["commonAncestors", "path"]) + side("a") + side("b") + components
}

fn hops(answer: &[u8]) -> usize {
    lists(answer, &["hops"])
}

fn candidates(answer: &[u8]) -> usize {
    lists(answer, &["candidates"])
}

fn of_lineage(answer: &[u8]) -> usize {
    lists(answer, &["nodes", "edges"])
}

fn services(answer: &[u8]) -> usize {
    lists(answer, &["services"])
}

fn of_changes(answer: &[u8]) -> usize {
    lists(answer, &["changes"])
}

/// Lanes, and what was passed over in each.
fn of_good(answer: &[u8]) -> usize {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let lanes = |here: &Value| here["lanes"].as_array().cloned().unwrap_or_default();
    let lanes: Vec<Value> = answer["environments"].as_array().into_iter().flatten().flat_map(lanes).collect();
    lanes.iter().map(|lane| 1 + rows(lane, &["passedOver"])).sum()
}

fn of_environments(answer: &[u8]) -> usize {
    lists(answer, &["environments"])
}

/// What is listed, and what is counted of those who have it; of what nobody has described most is counted unseen.
fn of_impact(answer: &[u8]) -> usize {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let counts = &answer["counts"];
    let counted = ["deployed", "notDeployed"].map(|list| counts[list].as_u64().unwrap_or(0)).iter().sum::<u64>();
    usize::try_from(counted).unwrap_or(usize::MAX).saturating_add(rows(&answer, &["unknown"]))
}

fn explanation(answer: &[u8]) -> usize {
    lists(answer, &["explanation"])
}

fn of_diff(answer: &[u8]) -> usize {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let changed = ["added", "removed", "versionChanged", "licenseChanged", "contentChanged"];
    rows(&answer["sbomDiff"], &changed) + rows(&answer, &["vexDiff", "reachabilityDiff"])
}

/// As [`of_impact`]: the numbers stand in the sentence above the lists.
fn of_impact_page(answer: &[u8]) -> usize {
    let answer = String::from_utf8_lossy(answer);
    let sentence = answer.split_once("Runs in ").and_then(|(_, rest)| rest.split_once(" nowhere"));
    let words = sentence.map_or("", |(sentence, _)| sentence).split_whitespace();
    words.filter_map(|word| word.parse::<usize>().ok()).sum::<usize>() + lines_of_tables(answer.as_bytes())
}

/// Of a page with versions: their rows too, each with badges.
fn of_artifact_page(answer: &[u8]) -> usize {
    const VERSION: &[u8] = b"<li id=\"v-";
    lines_of_tables(answer) + answer.windows(VERSION.len()).filter(|bytes| *bytes == VERSION).count()
}

/// Of a page.
fn lines_of_tables(answer: &[u8]) -> usize {
    answer.windows(4).filter(|bytes| bytes == b"<tr>").count()
}
