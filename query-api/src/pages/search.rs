//! `/search?q=`: what a text may name; straight to the page when there is only one thing.

use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use pedigraph_projector::answers::{Candidate, Candidates};

use crate::access::scope::{Access, TokenScope};
use crate::answer::lineage::resolve_of;
use crate::app::App;
use crate::link::{encoded, page_of};
use crate::pages::frame::{Frame, at_moment, how_to_send, moment_options, page, quoted, table, text};
use crate::problem::Problem;
use crate::read::Read;
use crate::route::Routes;

/// Its route.
pub fn routes() -> Routes {
    Routes::new().get("/search", Access::Needs(TokenScope::LineageRead), search)
}

async fn search(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    let query = read.params.get("q").unwrap_or_default().trim().to_owned();
    if query.is_empty() {
        return Ok(Redirect::to("/").into_response());
    }
    let only = Arc::new(OnceLock::new());
    let found = Arc::clone(&only);
    let answer = app.page(read, move |scope, read, fresh| {
        let candidates = resolve_of(scope, &query)?;
        if let Some(page) = only_page(&candidates.candidates) {
            found.get_or_init(|| at_moment(&page, read));
        }
        let json = at_moment(&format!("/api/v1/resolve?q={}", encoded(&query)), read);
        let command = format!("pedigraph trace {}{}", quoted(&query), moment_options(read));
        let frame = Frame { title: &query, json: &json, command: &command, read };
        Ok(page(&frame, &query, fresh, &content(&query, &candidates, read)))
    });
    let answer = answer.await?;
    Ok(only.get().map_or(answer, |address| Redirect::to(address).into_response()))
}

/// The page of the only candidate, which is never this one.
fn only_page(candidates: &[Candidate]) -> Option<String> {
    match candidates {
        [only] => page_of(only),
        _ => None,
    }
}

fn content(query: &str, found: &Candidates, read: &Read) -> Markup {
    let Candidates { candidates, truncated } = found;
    let rows: Vec<Markup> = candidates.iter().map(|candidate| row(candidate, read)).collect();
    html! {
        h1 { "Results for “" bdi { (query) } "”" }
        @if candidates.is_empty() {
            p {
                "No artifact, environment, service, commit, run, package or vulnerability was found by this name: workloads "
                "and what else events name are not searched. A digest may be cut to its first hex digits; a tag needs its "
                "repository, as in " code { "app:v1.2" } "; a package goes by its name, as in " code { "log4j-core 2.14.1" }
                ", or its purl, as in " code { "pkg:npm/left-pad" } "."
            }
            (how_to_send())
        } @else {
            (table("Candidates", "Best first", &["Kind", "Name", "Id"], &rows))
            @if *truncated {
                p { "More than these have this name. Write more of it: the repository before a tag, the environment before a "
                    "service, more digits of a digest." }
            }
        }
    }
}

fn row(candidate: &Candidate, read: &Read) -> Markup {
    html! {
        td { span .chip { (candidate.kind) } }
        th scope="row" {
            @match page_of(candidate) {
                Some(page) => a href=(at_moment(&page, read)) { (candidate.label) },
                None => (text(&candidate.label)),
            }
        }
        td .mono { (candidate.id) }
    }
}
