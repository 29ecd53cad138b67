//! What contains a component, and where that runs (SPEC §5, §9).

use axum::extract::State;
use axum::response::Response;
use pedigraph_projector::ImpactQuestion;

use crate::access::scope::{Access, TokenScope};
use crate::answer::impact::impact_of;
use crate::app::App;
use crate::problem::Problem;
use crate::question;
use crate::read::Read;
use crate::route::Routes;

/// Its routes.
pub fn routes() -> Routes {
    Routes::new().get("/api/v1/components/impact", Access::Needs(TokenScope::LineageRead), impact)
}

async fn impact(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    let question = question::impact(&read)?;
    app.list(read, move |scope, read, fresh| {
        let (mut impact, next) = impact_of(scope, &ImpactQuestion { limit: read.page_size, ..question.clone() })?;
        impact.next_page_token = read.next(fresh, next);
        Ok(impact)
    })
    .await
}
