//! What runs where, and what changed (SPEC §6, §9).

use axum::extract::{Path, State};
use axum::response::Response;
use pedigraph_projector::answers::{Change, EnvironmentSummary};
use serde::Serialize;

use crate::access::scope::{Access, TokenScope};
use crate::answer::environment::{changes_of, environment_of};
use crate::app::App;
use crate::problem::Problem;
use crate::read::Read;
use crate::route::Routes;

/// Their routes.
pub fn routes() -> Routes {
    Routes::new()
        .get("/api/v1/environments", Access::Needs(TokenScope::LineageRead), list)
        .get("/api/v1/environments/{env}", Access::Needs(TokenScope::LineageRead), one)
        .get("/api/v1/environments/{env}/changes", Access::Needs(TokenScope::LineageRead), changes)
}

#[derive(Serialize)]
struct Environments {
    environments: Vec<EnvironmentSummary>,
}

async fn list(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    app.json(read, |scope, _, _| Ok(Environments { environments: scope.environments()? })).await
}

async fn one(State(app): State<App>, Path(name): Path<String>, read: Read) -> Result<Response, Problem> {
    let removed = read.params.flag("includeRemoved", false)?;
    app.json(read, move |scope, _, _| Ok(environment_of(scope, &name, removed)?)).await
}

/// A page of changes.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    /// Newest first.
    pub changes: Vec<Change>,
    /// Where the list goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

async fn changes(State(app): State<App>, Path(name): Path<String>, read: Read) -> Result<Response, Problem> {
    app.json(read, move |scope, read, fresh| {
        let page = changes_of(scope, &name, read.after.as_deref(), read.page_size)?;
        Ok(Changes { changes: page.rows, next_page_token: read.next(fresh, page.next) })
    })
    .await
}
