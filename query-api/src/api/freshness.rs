//! How fresh everything is, and what came in (SPEC §8, §9).

use crate::access::scope::{Access, TokenScope};
use crate::answer::freshness::freshness_of;
use crate::app::App;
use crate::problem::Problem;
use crate::read::Read;
use crate::route::Routes;
use axum::extract::State;
use axum::response::Response;

/// Their routes.
pub fn routes() -> Routes {
    Routes::new().get("/api/v1/freshness", Access::Needs(TokenScope::LineageRead), freshness).get(
        "/api/v1/intake",
        Access::Needs(TokenScope::LineageRead),
        intake,
    )
}

async fn freshness(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    let (server, tenant) = (app.clone(), read.tenant.clone());
    match app.config.expect_views {
        true => app.json(read.volatile(), move |_, read, _| freshness_of(&server, &read.tenant)).await,
        // A write node knows its sources and the ledger's head.
        false => app.ledger_json(read.volatile(), move |_, _| freshness_of(&server, &tenant)).await,
    }
}

/// Duplicates are counted and add no entry, so the index alone does not name this answer.
async fn intake(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    app.json(read.volatile(), |scope, _, _| Ok(scope.intake()?)).await
}
