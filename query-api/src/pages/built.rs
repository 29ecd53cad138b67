//! `/commits/{commit}` and `/runs/{run}`: what was built from them.

use axum::extract::{Path, State};
use axum::response::Response;
use maud::html;

use crate::access::scope::{Access, TokenScope};
use crate::app::App;
use crate::link::encoded;
use crate::pages::frame::{Frame, artifacts, at_moment, further, moment_options, next_page, page, quoted};
use crate::problem::Problem;
use crate::read::Read;
use crate::route::Routes;

/// Their routes.
pub fn routes() -> Routes {
    Routes::new().get("/commits/{commit}", Access::Needs(TokenScope::LineageRead), commit).get(
        "/runs/{run}",
        Access::Needs(TokenScope::LineageRead),
        run,
    )
}

async fn commit(State(app): State<App>, Path(commit): Path<String>, read: Read) -> Result<Response, Problem> {
    app.page(read, move |scope, read, fresh| {
        let built = scope.built_from_commit(&commit, read.after.as_deref(), read.page_size)?;
        let path = format!("/commits/{}", encoded(&commit));
        let next = read.next(fresh, built.next).map(|token| next_page(&path, &token, read));
        let caption = "By commit and digest; an index stands for its manifests";
        let none = "Nothing that was recorded was built from it.";
        let content = html! {
            h1 { "Commit " span .mono { (commit) } }
            (artifacts("What was built from it", caption, none, &built.rows, read))
            (further(next.as_deref()))
        };
        let json = at_moment(&format!("/api/v1/resolve?q={}", encoded(&commit)), read);
        let command = format!("pedigraph trace {}{}", quoted(&commit), moment_options(read));
        let frame = Frame { title: &format!("Commit {commit}"), json: &json, command: &command, read };
        Ok(page(&frame, "", fresh, &content))
    })
    .await
}

async fn run(State(app): State<App>, Path(run): Path<String>, read: Read) -> Result<Response, Problem> {
    app.page(read, move |scope, read, fresh| {
        let built = scope.built_by_run(&run, read.after.as_deref(), read.page_size)?;
        let next = read.next(fresh, built.next);
        let next = next.map(|token| next_page(&format!("/runs/{}", encoded(&run)), &token, read));
        let content = html! {
            h1 { "Run " span .mono { (run) } }
            (artifacts("What it built", "By digest", "No artifact that was recorded was built by it.", &built.rows, read))
            (further(next.as_deref()))
        };
        let json = at_moment(&format!("/api/v1/resolve?q={}", encoded(&run)), read);
        let frame = Frame { title: &format!("Run {run}"), json: &json, command: "", read };
        Ok(page(&frame, "", fresh, &content))
    })
    .await
}
