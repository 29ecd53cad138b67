//! Lineage, traces and the search box (SPEC §4, §6, §8, §9).

use axum::extract::{Path, State};
use axum::response::Response;
use pedigraph_projector::answers::{Candidates, Compare, Direction, Shown, Trace};
use serde::Serialize;

use crate::access::scope::{Access, TokenScope};
use crate::answer::lineage::{DEPTH_DEFAULT, compare_of, diff_of, lineage_of, resolve_of, trace_of};
use crate::app::App;
use crate::cache::Cached;
use crate::link::Linked;
use crate::metrics::{QueryResult, ResultLabel};
use crate::params::Params;
use crate::problem::{Code, Problem};
use crate::read::Read;
use crate::route::Routes;

/// Bytes of the components that differ in a diff: with the verdicts it fits into an answer.
const DIFF_BYTES_MAX: usize = 12 << 20;
/// The same beside all else that a comparison has.
const COMPARED_BYTES_MAX: usize = 6 << 20;

/// Their routes.
pub fn routes() -> Routes {
    Routes::new()
        .get("/api/v1/lineage/{digest}", Access::Needs(TokenScope::LineageRead), lineage)
        .get("/api/v1/lineage/diff", Access::Needs(TokenScope::LineageRead), diff)
        .get("/api/v1/lineage/compare", Access::Needs(TokenScope::LineageRead), compare)
        .get("/api/v1/trace", Access::Needs(TokenScope::LineageRead), trace)
        .get("/api/v1/resolve", Access::Needs(TokenScope::LineageRead), resolve)
}

async fn lineage(State(app): State<App>, Path(reference): Path<String>, read: Read) -> Result<Response, Problem> {
    let answer = ask_lineage(&app, reference, read).await;
    let result = match &answer {
        Ok(_) => QueryResult::Found,
        Err(problem) if problem.status().is_client_error() => QueryResult::Refused,
        Err(_) => QueryResult::Failed,
    };
    app.metrics.graph_queries.get_or_create(&ResultLabel { result }).inc();
    answer
}

async fn ask_lineage(app: &App, reference: String, read: Read) -> Result<Response, Problem> {
    let depth = depth(&read.params, app.limits().depth_max)?;
    let direction = direction(&read.params)?;
    let (badges, verdicts) = (read.params.flag("includeBadges", true)?, read.params.flag("includeVerdicts", true)?);
    let shown = Shown { badges, verdicts };
    app.json(read, move |scope, _, _| Ok(lineage_of(scope, &reference, depth, direction, shown)?)).await
}

fn depth(params: &Params, depth_max: usize) -> Result<usize, Problem> {
    let depth = params.number("maxDepth")?.unwrap_or(DEPTH_DEFAULT);
    if depth <= depth_max {
        return Ok(depth);
    }
    let detail = format!("maxDepth must be at most {depth_max}");
    Err(Problem::new(Code::LineageDepthExceeded, detail).member("maxDepth", depth_max))
}

fn direction(params: &Params) -> Result<Direction, Problem> {
    match params.get("direction") {
        None | Some("both") => Ok(Direction::Both),
        Some("up") => Ok(Direction::Up),
        Some("down") => Ok(Direction::Down),
        Some(_) => Err(Problem::parameter("direction", "up, down or both")),
    }
}

/// What names an artifact in a query.
const REFERENCE: &str = "a digest, repository:tag or environment/service";

async fn compare(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    let a = read.params.need("a", REFERENCE)?.to_owned();
    let b = read.params.need("b", REFERENCE)?.to_owned();
    app.kept_json(Cached::Compare, read, move |scope, _, _| {
        let compare = compare_of(scope, &a, &b)?;
        Ok(Compare { diff: compare.diff.listed(COMPARED_BYTES_MAX), ..compare })
    })
    .await
}

async fn diff(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    let from = read.params.need("from", REFERENCE)?.to_owned();
    let to = read.params.need("to", REFERENCE)?.to_owned();
    let begun = app.now();
    let answer = app.json(read, move |scope, _, _| Ok(diff_of(scope, &from, &to)?.listed(DIFF_BYTES_MAX))).await;
    app.metrics.diff_latency.observe(app.since(begun).as_secs_f64());
    answer
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TimedTrace {
    #[serde(flatten)]
    trace: Trace,
    elapsed_ms: f64,
}

async fn trace(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    let reference = read.params.need("ref", REFERENCE)?.to_owned();
    let (begun, timer) = (app.now(), app.clone());
    app.json(read, move |scope, _, _| {
        let trace = trace_of(scope, &reference)?;
        let elapsed_us = timer.since(begun).as_micros();
        Ok(TimedTrace { trace, elapsed_ms: f64::from(u32::try_from(elapsed_us).unwrap_or(u32::MAX)) / 1e3 })
    })
    .await
}

#[derive(Serialize)]
struct Resolved {
    query: String,
    candidates: Vec<Linked>,
    /// There are more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

async fn resolve(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    let query = read.params.need("q", "a text to look for")?.to_owned();
    app.json(read, move |scope, _, _| {
        let Candidates { candidates, truncated } = resolve_of(scope, &query)?;
        let candidates = candidates.into_iter().map(Linked::from).collect();
        Ok(Resolved { query: query.clone(), candidates, truncated })
    })
    .await
}
