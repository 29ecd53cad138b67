//! What runs where, and what changed (SPEC §6, §9).

use axum::extract::{Path, State};
use axum::response::Response;
use pedigraph_projector::answers::{Change, Environment, EnvironmentSummary, ServiceIn};
use pedigraph_projector::{EnvironmentDiff, EnvironmentSide, LastKnownGood, SPELLS_MAX};
use serde::Serialize;

use crate::access::scope::{Access, TokenScope};
use crate::answer::environment::{
    changes_of, environment_diff_of, environment_of, last_known_good_anywhere, last_known_good_of, service_anywhere,
    service_of,
};
use crate::app::App;
use crate::problem::Problem;
use crate::read::{PAGE_SIZE_DEFAULT, Read};
use crate::route::Routes;

/// Their routes.
pub fn routes() -> Routes {
    Routes::new()
        .get("/api/v1/environments", Access::Needs(TokenScope::LineageRead), list)
        .get("/api/v1/environments/{env}", Access::Needs(TokenScope::LineageRead), one)
        .get("/api/v1/environments/{env}/changes", Access::Needs(TokenScope::LineageRead), changes)
        .get("/api/v1/environments/{env}/diff", Access::Needs(TokenScope::LineageRead), diff)
        .get("/api/v1/environments/{env}/services/{service}", Access::Needs(TokenScope::LineageRead), service_here)
        .get("/api/v1/services/{service}", Access::Needs(TokenScope::LineageRead), service)
        .get("/api/v1/services/{service}/last-known-good", Access::Needs(TokenScope::LineageRead), last_known_good)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Environments {
    environments: Vec<EnvironmentSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

async fn list(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    app.list(read, |scope, read, fresh| {
        let page = scope.environments_page(read.after.as_deref(), read.page_size)?;
        Ok(Environments { environments: page.rows, next_page_token: read.next(fresh, page.next) })
    })
    .await
}

async fn one(State(app): State<App>, Path(name): Path<String>, read: Read) -> Result<Response, Problem> {
    let removed = read.params.flag("includeRemoved", false)?;
    let all_at_once = read.params.get("pageSize").is_none();
    app.list(read, move |scope, read, fresh| {
        // Without a size all services are one page, unless they are larger than an answer may be.
        let limit = if all_at_once && read.page_size == PAGE_SIZE_DEFAULT { usize::MAX } else { read.page_size };
        let (environment, next) = environment_of(scope, &name, removed, read.after.as_deref(), limit)?;
        Ok(Services { environment, next_page_token: read.next(fresh, next) })
    })
    .await
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Services {
    #[serde(flatten)]
    environment: Environment,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
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
    app.list(read, move |scope, read, fresh| {
        let page = changes_of(scope, &name, read.after.as_deref(), read.page_size)?;
        Ok(Changes { changes: page.rows, next_page_token: read.next(fresh, page.next) })
    })
    .await
}

/// A page of a comparison.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Diff {
    #[serde(flatten)]
    diff: EnvironmentDiff,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

async fn diff(State(app): State<App>, Path(name): Path<String>, read: Read) -> Result<Response, Problem> {
    let only_changes = read.params.flag("onlyChanges", false)?;
    // As everywhere, what happened after the question's own moment is not seen.
    let moment = |of: &str| {
        let at = read.params.time(of, read.now)?;
        Ok::<_, Problem>(at.into_iter().chain(read.moment.at).min())
    };
    let from = EnvironmentSide { environment: name.clone(), at: moment("from")? };
    let to = EnvironmentSide { environment: read.params.get("with").unwrap_or(&name).to_owned(), at: moment("to")? };
    app.list(read, move |scope, read, fresh| {
        let (diff, next) =
            environment_diff_of(scope, (&from, &to), only_changes, read.after.as_deref(), read.page_size)?;
        Ok(Diff { diff, next_page_token: read.next(fresh, next) })
    })
    .await
}

async fn service_here(
    State(app): State<App>,
    Path((environment, name)): Path<(String, String)>,
    read: Read,
) -> Result<Response, Problem> {
    app.json(read, move |scope, _, _| Ok(service_of(scope, &environment, &name, SPELLS_MAX)?)).await
}

/// A service in each environment that has it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Service {
    service: String,
    environments: Vec<ServiceIn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

async fn service(State(app): State<App>, Path(name): Path<String>, read: Read) -> Result<Response, Problem> {
    let removed = read.params.flag("includeRemoved", false)?;
    app.list(read, move |scope, read, fresh| {
        let page = service_anywhere(scope, &name, removed, read.after.as_deref(), read.page_size)?;
        Ok(Service { service: name.clone(), environments: page.rows, next_page_token: read.next(fresh, page.next) })
    })
    .await
}

/// What to go back to, in one environment or in each in which the service runs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Good {
    service: String,
    environments: Vec<LastKnownGood>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

async fn last_known_good(State(app): State<App>, Path(name): Path<String>, read: Read) -> Result<Response, Problem> {
    let environment = read.params.once("env")?.filter(|name| !name.is_empty()).map(str::to_owned);
    app.list(read, move |scope, read, fresh| {
        let (environments, next) = match &environment {
            Some(environment) => (vec![last_known_good_of(scope, environment, &name)?], None),
            None => {
                let page = last_known_good_anywhere(scope, &name, read.after.as_deref(), read.page_size)?;
                (page.rows, page.next)
            }
        };
        Ok(Good { service: name.clone(), environments, next_page_token: read.next(fresh, next) })
    })
    .await
}
