//! Artifacts, their lineage, traces and the search box (SPEC §4, §6, §8, §9).

use axum::extract::{Path, State};
use axum::response::Response;
use pedigraph_projector::Scope;
use pedigraph_projector::answers::{Artifact, Candidate, Direction, Lineage, Trace};
use pedigraph_projector::lineage::Found;
use serde::Serialize;

use crate::access::{Access, TokenScope};
use crate::app::App;
use crate::metrics::{QueryResult, ResultLabel};
use crate::problem::{Code, Problem};
use crate::read::{Params, Read};
use crate::routes::Routes;

/// How far lineage is followed when nothing is said.
pub const DEPTH_DEFAULT: usize = 10;
/// Longest search text or reference, bytes.
pub const REFERENCE_BYTES_MAX: usize = 4_096;

/// Their routes.
pub fn routes() -> Routes {
    Routes::new()
        .get("/api/v1/lineage/{digest}", Access::Needs(TokenScope::LineageRead), lineage)
        .get("/api/v1/artifacts/{digest}", Access::Needs(TokenScope::LineageRead), artifact)
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
    read.params.flag("includeVerdicts", true)?;
    read.params.flag("includeBadges", true)?;
    app.json(read, move |scope, _, _| lineage_of(scope, &reference, depth, direction)).await
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

/// The graph around whatever a reference names.
pub fn lineage_of(scope: &Scope, reference: &str, depth: usize, direction: Direction) -> Result<Lineage, Problem> {
    let unknown = || Problem::new(Code::LineageNotFound, unknown_text(reference));
    let digest = digest_of(scope, reference)?.ok_or_else(unknown)?;
    scope.lineage(&digest, depth, direction)?.ok_or_else(unknown)
}

async fn artifact(State(app): State<App>, Path(reference): Path<String>, read: Read) -> Result<Response, Problem> {
    app.json(read, move |scope, _, _| artifact_of(scope, &reference)).await
}

/// The artifact that a reference names.
pub fn artifact_of(scope: &Scope, reference: &str) -> Result<Artifact, Problem> {
    let unknown = || Problem::new(Code::ArtifactNotFound, unknown_text(reference));
    let digest = digest_of(scope, reference)?.ok_or_else(unknown)?;
    scope.artifact(&digest)?.ok_or_else(unknown)
}

fn unknown_text(reference: &str) -> String {
    let reference: String = reference.chars().take(200).collect();
    format!("nothing that was recorded names {reference:?}; try /api/v1/resolve?q=")
}

fn digest_of(scope: &Scope, reference: &str) -> Result<Option<String>, Problem> {
    check_reference("digest", reference)?;
    match scope.artifact_digest(reference)? {
        Found::One(digest) => Ok(Some(digest)),
        Found::Nothing => Ok(None),
        Found::Ambiguous(candidates) => Err(ambiguous(reference, &candidates)),
    }
}

fn check_reference(name: &str, reference: &str) -> Result<(), Problem> {
    if reference.trim().is_empty() || reference.len() > REFERENCE_BYTES_MAX {
        return Err(Problem::parameter(name, "a digest, a short digest, repository:tag or environment/service"));
    }
    Ok(())
}

fn ambiguous(reference: &str, candidates: &[Candidate]) -> Problem {
    let reference: String = reference.chars().take(200).collect();
    let detail = format!("{reference:?} may be {} things; ask for one of the candidates", candidates.len());
    let candidates = serde_json::to_value(candidates).unwrap_or_default();
    Problem::new(Code::AmbiguousReference, detail).member("candidates", candidates)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TimedTrace {
    #[serde(flatten)]
    trace: Trace,
    elapsed_ms: f64,
}

async fn trace(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    let reference = read.params.need("ref", "a digest, repository:tag or environment/service")?.to_owned();
    let (begun, clock) = (app.now(), app.config.clock);
    app.json(read, move |scope, _, _| {
        let trace = trace_of(scope, &reference)?;
        let taken = u64::try_from(clock().saturating_sub(begun)).unwrap_or(0);
        let elapsed_ms = std::time::Duration::from_nanos(taken).as_micros();
        Ok(TimedTrace { trace, elapsed_ms: f64::from(u32::try_from(elapsed_ms).unwrap_or(u32::MAX)) / 1e3 })
    })
    .await
}

/// From a running thing back to its source.
pub fn trace_of(scope: &Scope, reference: &str) -> Result<Trace, Problem> {
    check_reference("ref", reference)?;
    match scope.trace(reference)? {
        Found::One(trace) => Ok(trace),
        Found::Ambiguous(candidates) => Err(ambiguous(reference, &candidates)),
        Found::Nothing => Err(Problem::new(Code::ReferenceNotFound, unknown_text(reference))),
    }
}

#[derive(Serialize)]
struct Resolved {
    query: String,
    candidates: Vec<Candidate>,
}

async fn resolve(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    let query = read.params.need("q", "a text to look for")?.to_owned();
    if query.len() > REFERENCE_BYTES_MAX {
        return Err(Problem::parameter("q", "at most 4096 bytes"));
    }
    app.json(read, move |scope, _, _| {
        let candidates = scope.resolve(&query)?;
        Ok(Resolved { query, candidates })
    })
    .await
}
