//! `/search?q=`: what a text may name; straight to the page when there is only one thing.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use pedigraph_projector::answers::Candidate;

use crate::access::scope::{Access, TokenScope};
use crate::app::App;
use crate::link::encoded;
use crate::pages::frame::{Frame, page, quoted, table, text};
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
    if query.len() > crate::answer::lineage::REFERENCE_BYTES_MAX {
        return Err(Problem::parameter("q", "at most 4096 bytes"));
    }
    if let Some(only) = only_one(&app, &read, &query).await? {
        return Ok(Redirect::to(&only).into_response());
    }
    app.page(read, move |scope, _, fresh| {
        let candidates = scope.resolve(&query)?;
        let json = format!("/api/v1/resolve?q={}", encoded(&query));
        let frame = Frame { title: &query, json: &json, command: &format!("pedigraph trace {}", quoted(&query)) };
        Ok(page(&frame, &query, fresh, &content(&query, &candidates)))
    })
    .await
}

async fn only_one(app: &App, read: &Read, query: &str) -> Result<Option<String>, Problem> {
    let (views, tenant, moment, query) = (app.views()?.clone(), read.tenant.clone(), read.moment, query.to_owned());
    let candidates = app.blocking(move || Ok(views.at(&tenant, moment)?.resolve(&query)?)).await?;
    match candidates.as_slice() {
        [only] => Ok(local(&only.href).map(str::to_owned)),
        _ => Ok(None),
    }
}

/// A path of this server, whatever the rows say.
fn local(href: &str) -> Option<&str> {
    let path = href.starts_with('/') && !href.starts_with("//") && !href.contains(['\\', '\n', '\r']);
    (path && href.is_ascii()).then_some(href)
}

fn content(query: &str, candidates: &[Candidate]) -> Markup {
    html! {
        h1 { "Results for “" (query) "”" }
        @if candidates.is_empty() {
            p { "Nothing that was recorded has this name. A digest may be cut to its first hex digits; a tag needs its repository, as in " code { "app:v1.2" } "." }
        } @else {
            (table("Candidates", "Best first", &["Kind", "Name", "Id"], &candidates.iter().map(row).collect::<Vec<_>>()))
        }
    }
}

fn row(candidate: &Candidate) -> Markup {
    html! {
        td { span .chip { (candidate.kind) } }
        th scope="row" { @match local(&candidate.href) { Some(href) => a href=(href) { (candidate.label) }, None => (text(&candidate.label)) } }
        td .mono { (candidate.id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_paths_are_followed() {
        assert_eq!(local("/artifacts/sha256:ab"), Some("/artifacts/sha256:ab"));
        for foreign in ["//evil.test", "https://evil.test", "/\\evil.test", "javascript:1", ""] {
            assert_eq!(local(foreign), None, "{foreign}");
        }
    }
}
