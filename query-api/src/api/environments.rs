//! What runs where, and what changed (SPEC §6, §9).

use axum::extract::{Path, State};
use axum::response::Response;
use pedigraph_projector::Scope;
use pedigraph_projector::answers::{Change, Environment, EnvironmentSummary};
use serde::Serialize;

use crate::access::{Access, TokenScope};
use crate::app::App;
use crate::problem::{Code, Problem};
use crate::read::Read;
use crate::routes::Routes;

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
    app.json(read, move |scope, _, _| environment_of(scope, &name, removed)).await
}

/// One environment.
pub fn environment_of(scope: &Scope, name: &str, include_removed: bool) -> Result<Environment, Problem> {
    scope.environment(name, include_removed)?.ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Problem {
    let name: String = name.chars().take(200).collect();
    Problem::new(Code::EnvironmentNotFound, format!("no deployment names {name:?}; /api/v1/environments lists them"))
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
        let page = scope.changes(&name, read.after.as_deref(), read.page_size)?.ok_or_else(|| unknown(&name))?;
        Ok(Changes { changes: page.rows, next_page_token: read.next(fresh, page.next) })
    })
    .await
}
