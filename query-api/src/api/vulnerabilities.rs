//! Vulnerabilities: what they concern, where that runs, and who says what of it (SPEC §5, §9).

use axum::extract::{Path, State};
use axum::response::Response;
use pedigraph_projector::{EXPLANATION_MAX, ImpactQuestion};

use crate::access::scope::{Access, TokenScope};
use crate::answer::impact::impact_of;
use crate::answer::lineage::verdict_of;
use crate::app::App;
use crate::problem::Problem;
use crate::question;
use crate::read::Read;
use crate::route::Routes;

/// Their routes.
pub fn routes() -> Routes {
    Routes::new().get("/api/v1/vulnerabilities/{id}/impact", Access::Needs(TokenScope::LineageRead), impact).get(
        "/api/v1/artifacts/{digest}/verdicts/{id}",
        Access::Needs(TokenScope::LineageRead),
        verdict,
    )
}

async fn impact(State(app): State<App>, Path(id): Path<String>, read: Read) -> Result<Response, Problem> {
    let question = question::vulnerability(&read, &id)?;
    app.list(read, move |scope, read, fresh| {
        let (mut impact, next) = impact_of(scope, &ImpactQuestion { limit: read.page_size, ..question.clone() })?;
        impact.next_page_token = read.next(fresh, next);
        Ok(impact)
    })
    .await
}

async fn verdict(
    State(app): State<App>,
    Path((reference, id)): Path<(String, String)>,
    read: Read,
) -> Result<Response, Problem> {
    let id = question::check_vulnerability(&id)?.to_owned();
    app.json(read, move |scope, read, fresh| {
        let limit = read.page_size_or(EXPLANATION_MAX);
        let (mut verdict, next) = verdict_of(scope, (&reference, &id), read.after.as_deref(), limit)?;
        verdict.next_page_token = read.next(fresh, next);
        Ok(verdict)
    })
    .await
}
