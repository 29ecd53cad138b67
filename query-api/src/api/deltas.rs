//! Lists of verdicts, and of where they differ along `parent` edges (SPEC §5, "SBOM–verdict links" and "VEX deltas").
//!
//! They are as of what the view of deltas has come to: it does wide work in small steps beside the facts.

use axum::extract::{Path, State};
use axum::response::Response;
use pedigraph_projector::answers::{VerdictLinks, VexDeltas};

use crate::access::scope::{Access, TokenScope};
use crate::answer::deltas::{deltas_along, verdicts_of_artifact, verdicts_of_sbom};
use crate::app::App;
use crate::problem::Problem;
use crate::question::check_vulnerability;
use crate::read::Read;
use crate::route::Routes;

/// Their routes.
pub fn routes() -> Routes {
    Routes::new()
        .get("/api/v1/vex-deltas", Access::Needs(TokenScope::LineageRead), along)
        .get("/api/v1/vulnerabilities/{id}/deltas", Access::Needs(TokenScope::LineageRead), of_vulnerability)
        .get("/api/v1/vulnerabilities/{id}/verdicts", Access::Needs(TokenScope::LineageRead), verdicts)
        .get("/api/v1/sboms/{sbomVersionId}/verdicts", Access::Needs(TokenScope::LineageRead), of_sbom)
        .get("/api/v1/artifacts/{digest}/verdicts", Access::Needs(TokenScope::LineageRead), of_artifact)
}

async fn along(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    let reference = "a digest, repository:tag or environment/service";
    let from = read.params.need("from", reference)?.to_owned();
    let to = read.params.need("to", reference)?.to_owned();
    app.list(read.of_deltas(), move |scope, read, fresh| {
        let (deltas, next) = deltas_along(scope, &from, &to, read.after.as_deref(), read.page_size)?;
        Ok(VexDeltas { deltas, next_page_token: read.next(fresh, next) })
    })
    .await
}

async fn of_vulnerability(State(app): State<App>, Path(id): Path<String>, read: Read) -> Result<Response, Problem> {
    let id = check_vulnerability(&id)?.to_owned();
    app.list(read.of_deltas(), move |scope, read, fresh| {
        let (deltas, next) = scope.deltas_of(&id, read.after.as_deref(), read.page_size)?;
        Ok(VexDeltas { deltas, next_page_token: read.next(fresh, next) })
    })
    .await
}

async fn verdicts(State(app): State<App>, Path(id): Path<String>, read: Read) -> Result<Response, Problem> {
    let id = check_vulnerability(&id)?.to_owned();
    app.list(read.of_deltas(), move |scope, read, fresh| {
        let (verdicts, next) = scope.verdicts_of(&id, read.after.as_deref(), read.page_size)?;
        Ok(VerdictLinks { verdicts, next_page_token: read.next(fresh, next) })
    })
    .await
}

async fn of_sbom(State(app): State<App>, Path(sbom): Path<String>, read: Read) -> Result<Response, Problem> {
    app.list(read.of_deltas(), move |scope, read, fresh| {
        let (verdicts, next) = verdicts_of_sbom(scope, &sbom, read.after.as_deref(), read.page_size)?;
        Ok(VerdictLinks { verdicts, next_page_token: read.next(fresh, next) })
    })
    .await
}

async fn of_artifact(State(app): State<App>, Path(reference): Path<String>, read: Read) -> Result<Response, Problem> {
    app.list(read.of_deltas(), move |scope, read, fresh| {
        let (verdicts, next) = verdicts_of_artifact(scope, &reference, read.after.as_deref(), read.page_size)?;
        Ok(VerdictLinks { verdicts, next_page_token: read.next(fresh, next) })
    })
    .await
}
