//! `/artifacts/{digest}/lanes`: the versions around one, or those that it comes from. A long line is read in parts: each
//! ends with a link to the next, which a module follows while somebody scrolls.

use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};
use pedigraph_projector::answers::{Direction, Lineage, Shown};

use crate::access::scope::{Access, TokenScope};
use crate::answer::lineage::lineage_of;
use crate::app::App;
use crate::link::encoded;
use crate::pages::artifact::{cut, edges_table};
use crate::pages::frame::{Frame, at_moment, moment_options, page, quoted};
use crate::pages::names::wrapped;
use crate::pages::versions::{Versions, around, legend, older_than};
use crate::problem::Problem;
use crate::read::Read;
use crate::route::Routes;

/// Steps in one direction: a part of a line that does not branch has a hundred rows, the first of them that of the part
/// before.
const STEPS: usize = 100;
/// Rows of a page: what has more is wide rather than long.
const ROWS_MAX: usize = 1_000;

/// Its route.
pub fn routes() -> Routes {
    Routes::new().get("/artifacts/{digest}/lanes", Access::Needs(TokenScope::LineageRead), lanes)
}

async fn lanes(State(app): State<App>, Path(reference): Path<String>, read: Read) -> Result<Response, Problem> {
    let (direction, word) = match read.params.get("direction") {
        None | Some("both") => (Direction::Both, "both"),
        Some("up") => (Direction::Up, "up"),
        Some(_) => return Err(Problem::parameter("direction", "up or both")),
    };
    let steps = if direction == Direction::Both { STEPS / 2 } else { STEPS };
    let depth = steps.min(app.limits().depth_max);
    app.page(read, move |scope, read, fresh| {
        let lineage = lineage_of(scope, &reference, depth, direction, Shown::ALL)?;
        let digest = &lineage.artifact.digest;
        let json = format!("/api/v1/lineage/{}?maxDepth={depth}&direction={word}", encoded(digest));
        let command = format!("pedigraph lanes {} --depth {depth}{}", quoted(digest), moment_options(read));
        let title = format!("Versions of {}", lineage.artifact.artifact_ref);
        let json = at_moment(&json, read);
        let frame = Frame { title: &title, json: &json, command: &command, read };
        Ok(page(&frame, "", fresh, &content(&lineage, direction, &json, read)))
    })
    .await
}

fn content(lineage: &Lineage, direction: Direction, json: &str, read: &Read) -> Markup {
    let versions = Versions::of(lineage);
    let shown = versions.window(ROWS_MAX);
    let here = &lineage.artifact;
    let left_out = versions.count() - shown.len();
    html! {
        h1 { "Versions of " bdi { (wrapped(&here.artifact_ref)) } }
        p .lead {
            @if direction == Direction::Up { "Those that it comes from, newest first. " } @else { "Those around it, newest first. " }
            a href=(at_moment(&format!("/artifacts/{}", encoded(&here.digest)), read)) { "Its page" } " · "
            @if direction == Direction::Up { a href=(around(&here.digest, read)) { "Also newer ones" } }
            @else { a href=(older_than(&here.digest, read)) { "Only what it comes from" } }
            @if let Some(newest) = versions.newest().filter(|newest| newest.digest != here.digest && direction == Direction::Both) {
                " · " a href=(around(&newest.digest, read)) { "Go to the newest of these" }
            }
        }
        (legend())
        p .tools hidden { button type="button" data-mute="" aria-pressed="false" { "Mute what is not an ancestor" } " " span role="status" {} }
        (versions.list(shown, read))
        @if left_out > 0 { p .warn { (left_out) " more versions are reached and not shown; ask for one further away." } }
        @match versions.oldest_cut() {
            Some(oldest) => p .older { a href=(older_than(&oldest.digest, read)) rel="next" { "Load older versions" } },
            None => @if lineage.truncated.is_none() { p .soft { "No older version is known." } },
        }
        (cut(lineage))
        details .twin {
            summary { "The same as a table" }
            (edges_table(lineage, "Edges", json, read))
        }
    }
}
