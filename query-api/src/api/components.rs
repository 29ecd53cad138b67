//! What contains a component, and where that runs (SPEC §5, §9).

use axum::extract::State;
use axum::response::Response;
use pedigraph_projector::ImpactQuestion;
use pedigraph_proto::Purl;

use crate::access::scope::{Access, TokenScope};
use crate::app::App;
use crate::problem::Problem;
use crate::read::Read;
use crate::route::Routes;

/// Its routes.
pub fn routes() -> Routes {
    Routes::new().get("/api/v1/components/impact", Access::Needs(TokenScope::LineageRead), impact)
}

async fn impact(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    let question = question(&read)?;
    app.json(read, move |scope, read, fresh| {
        let (mut impact, next) = scope.impact(&question)?;
        impact.next_page_token = read.next(fresh, next);
        Ok(impact)
    })
    .await
}

fn question(read: &Read) -> Result<ImpactQuestion, Problem> {
    const PURL: &str = "a package URL, such as pkg:npm/left-pad or pkg:npm/left-pad@1.3.0";
    const VERS: &str = "a vers: range, such as vers:npm/<1.3.0";
    let purl = read.params.need("purl", PURL)?;
    Purl::parse(purl).ok_or_else(|| Problem::parameter("purl", PURL))?;
    let versions = read.params.get("versions");
    if versions.is_some_and(|range| !range.starts_with("vers:")) {
        return Err(Problem::parameter("versions", VERS));
    }
    Ok(ImpactQuestion {
        purl: purl.to_owned(),
        versions: versions.map(str::to_owned),
        environment: read.params.get("env").map(str::to_owned),
        limit: read.page_size,
        after: read.after.clone(),
    })
}
