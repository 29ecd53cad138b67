//! One artifact: what is known of it, a card, the events behind its replay hash, its SBOMs (SPEC §3.2, §4, §5, §9).

use axum::extract::{Path, State};
use axum::response::Response;
use pedigraph_projector::Disagreements;

use crate::access::scope::{Access, TokenScope};
use crate::answer::lineage::{artifact_of, hover_of, inputs_of, sboms_of};
use crate::app::App;
use crate::cache::Cached;
use crate::problem::Problem;
use crate::read::Read;
use crate::route::Routes;

/// Their routes.
pub fn routes() -> Routes {
    Routes::new()
        .get("/api/v1/artifacts/{digest}", Access::Needs(TokenScope::LineageRead), artifact)
        .get("/api/v1/artifacts/{digest}/hover", Access::Needs(TokenScope::LineageRead), hover)
        .get("/api/v1/artifacts/{digest}/inputs", Access::Needs(TokenScope::LineageRead), inputs)
        .get("/api/v1/artifacts/{digest}/sboms", Access::Needs(TokenScope::LineageRead), sboms)
}

async fn artifact(State(app): State<App>, Path(reference): Path<String>, read: Read) -> Result<Response, Problem> {
    app.json(read, move |scope, _, _| Ok(artifact_of(scope, &reference)?)).await
}

async fn hover(State(app): State<App>, Path(reference): Path<String>, read: Read) -> Result<Response, Problem> {
    app.kept_json(Cached::Hover, read.sealed(), move |scope, _, _| Ok(hover_of(scope, &reference)?)).await
}

async fn inputs(State(app): State<App>, Path(reference): Path<String>, read: Read) -> Result<Response, Problem> {
    app.json(read, move |scope, _, _| Ok(inputs_of(scope, &reference)?)).await
}

async fn sboms(State(app): State<App>, Path(reference): Path<String>, read: Read) -> Result<Response, Problem> {
    let told = if read.params.flag("disagreements", false)? { Disagreements::Told } else { Disagreements::Left };
    app.json(read, move |scope, _, _| Ok(sboms_of(scope, &reference, told)?)).await
}
