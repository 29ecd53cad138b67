//! `/vulnerabilities/{id}/deltas`: where the verdict on a vulnerability differs from one version to the next.

use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};
use pedigraph_projector::answers::VexDelta;

use crate::access::scope::{Access, TokenScope};
use crate::app::App;
use crate::link::encoded;
use crate::pages::frame::{
    Frame, artifact_link, at_moment, further, next_page, page, quoted, short, table, time, verdict_address,
};
use crate::pages::impact::words;
use crate::problem::Problem;
use crate::question::check_vulnerability;
use crate::read::Read;
use crate::route::Routes;

/// Its route.
pub fn routes() -> Routes {
    Routes::new().get("/vulnerabilities/{id}/deltas", Access::Needs(TokenScope::LineageRead), deltas)
}

async fn deltas(State(app): State<App>, Path(id): Path<String>, read: Read) -> Result<Response, Problem> {
    let id = check_vulnerability(&id)?.to_owned();
    app.page(read.of_deltas(), move |scope, read, fresh| {
        let (deltas, next) = scope.deltas_of(&id, read.after.as_deref(), read.page_size)?;
        let path = format!("/vulnerabilities/{}/deltas", encoded(&id));
        let next = read.next(fresh, next).map(|token| next_page(&path, &token, read));
        let json = at_moment(&format!("/api/v1{path}"), read);
        // The list knows one clock.
        let known = read.params.get("asOf").map(|known| format!(" --as-of {}", quoted(known))).unwrap_or_default();
        let command = format!("pedigraph deltas {}{known}", quoted(&id));
        let frame = Frame { title: &format!("Changes of {id}"), json: &json, command: &command, read };
        let impact = at_moment(&format!("/vulnerabilities/{}", encoded(&id)), read);
        let content = html! {
            h1 { "Where verdicts on " span .mono { (id) } " change" }
            p .lead {
                "From one version of an artifact to the next. " a href=(impact) { "What it affects now" }
            }
            (shown(&deltas, next.is_some(), read))
            (further(next.as_deref()))
        };
        Ok(page(&frame, "", fresh, &content))
    })
    .await
}

fn shown(deltas: &[VexDelta], goes_on: bool, read: &Read) -> Markup {
    let rows: Vec<Markup> = deltas.iter().map(|delta| row(delta, read)).collect();
    html! {
        @if rows.is_empty() && goes_on {
            p .empty { "None among the versions that were looked at for this page." }
        } @else if rows.is_empty() {
            p .empty { "No version of what was recorded has another verdict on it than the version before." }
        } @else {
            (table(
                "Changes",
                "By older version, newer version",
                &["From version", "To version", "Before", "After", "Why", "Known since", "Compare"],
                &rows,
            ))
        }
    }
}

fn row(delta: &VexDelta, read: &Read) -> Markup {
    let (from, to) = (&delta.from_artifact_digest, &delta.to_artifact_digest);
    let compare = format!("/compare?a={}&b={}&tab=verdicts", encoded(from), encoded(to));
    html! {
        th scope="row" { (artifact_link(from, &short(from), read)) }
        td { (artifact_link(to, &short(to), read)) }
        td { (verdict(&delta.from_status, from, &delta.cve, read)) }
        td { (verdict(&delta.to_status, to, &delta.cve, read)) }
        td { (why(&delta.rationale.reason, &delta.rationale.reason_code, delta.rationale.evidence_link.as_deref())) }
        td { (time(delta.created_at)) }
        td { a href=(at_moment(&compare, read)) { "Both" } }
    }
}

/// A status with the way to who says so; where nobody says anything there is none.
pub(super) fn verdict(status: &str, digest: &str, id: &str, read: &Read) -> Markup {
    html! {
        @if status == "none" { "no verdict" } @else { a href=(verdict_address(digest, id, read)) { (words(status)) } }
    }
}

/// The cause of a change, and the page of the entry that proves it.
pub(super) fn why(reason: &str, code: &str, evidence: Option<&str>) -> Markup {
    let entry =
        evidence.and_then(|link| link.strip_prefix("/api/v1/entries/")).filter(|rest| rest.parse::<u64>().is_ok());
    html! {
        bdi { (reason) } " " span .chip { (words(code)) }
        @if let Some(entry) = entry { " " a href={ "/entries/" (entry) } { "#" (entry) } }
    }
}
