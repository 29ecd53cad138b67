//! `/artifacts/{digest}/verdicts/{id}`: what an artifact and a vulnerability come to, and everybody who says something.

use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};
use pedigraph_projector::EXPLANATION_MAX;
use pedigraph_projector::answers::{Explained, PlatformVerdict, Verdict};

use crate::access::scope::{Access, TokenScope};
use crate::answer::lineage::verdict_of;
use crate::app::App;
use crate::link::encoded;
use crate::pages::frame::{
    Frame, PAGING, artifact_link, asked_again, at_moment, moment_options, page, proof, quoted, table, time,
};
use crate::pages::impact::words;
use crate::problem::Problem;
use crate::question::check_vulnerability;
use crate::read::Read;
use crate::route::Routes;

/// Its route.
pub fn routes() -> Routes {
    Routes::new().get("/artifacts/{digest}/verdicts/{id}", Access::Needs(TokenScope::LineageRead), verdict)
}

async fn verdict(
    State(app): State<App>,
    Path((reference, id)): Path<(String, String)>,
    read: Read,
) -> Result<Response, Problem> {
    let id = check_vulnerability(&id)?.to_owned();
    app.page(read, move |scope, read, fresh| {
        let limit = read.page_size_or(EXPLANATION_MAX);
        let (mut verdict, next) = verdict_of(scope, (&reference, &id), read.after.as_deref(), limit)?;
        verdict.next_page_token = read.next(fresh, next);
        let path = format!("/api/v1/artifacts/{}/verdicts/{}", encoded(&reference), encoded(&id));
        let command = format!("pedigraph verdict {} {}{}", quoted(&reference), quoted(&id), moment_options(read));
        let frame = Frame { title: &verdict.vulnerability, json: &at_moment(&path, read), command: &command, read };
        let here = format!("/artifacts/{}/verdicts/{}", encoded(&reference), encoded(&id));
        Ok(page(&frame, "", fresh, &content(&verdict, &here, read)))
    })
    .await
}

fn content(verdict: &Verdict, here: &str, read: &Read) -> Markup {
    let said: Vec<Markup> = verdict.explanation.iter().map(row).collect();
    let platforms: Vec<Markup> = verdict.platforms.iter().map(|part| platform(part, read)).collect();
    html! {
        h1 { bdi { (verdict.vulnerability) } ": " (words(&verdict.summary.status)) }
        p .lead {
            "Of " (artifact_link(&verdict.digest, &verdict.digest, read)) ", with confidence "
            (format!("{:.4}", verdict.summary.confidence))
            @if verdict.summary.conflict { "; not everybody says the same" }
            "."
        }
        @if !platforms.is_empty() {
            (table("By platform", "The most cautious is that of the whole", &["Platform", "Verdict", "Confidence"], &platforms))
        }
        (table(
            "Who says what",
            "What counts first; each with its weight and the reason why it counts or does not",
            &["Who", "Says", "Weight", "Of", "Why", "Since", "Proof"],
            &said,
        ))
        @if let Some(token) = &verdict.next_page_token {
            p .warn {
                (verdict.explanation_cut) " more are not listed. The verdict is of all. "
                a href={ (asked_again(here, read, &PAGING)) "pageToken=" (encoded(token)) } { "Next page" }
            }
        }
        @if verdict.superseded > 0 {
            p {
                "Replaced by newer ones and not listed: " @if verdict.superseded_at_least { "at least " }
                (verdict.superseded) " statements of older versions of documents and earlier scans."
            }
        }
        p { "Replay hash: " span .mono { (verdict.replay_hash) } }
    }
}

fn row(said: &Explained) -> Markup {
    let status = if said.status.is_empty() { &said.raw_status } else { &said.status };
    html! {
        th scope="row" { (said.issuer) " (" (said.kind) ")" }
        td { (words(status)) @if !said.justification.is_empty() { ": " (words(&said.justification)) } }
        td { (format!("{:.2}", said.weight)) }
        td {
            @if said.components.is_empty() { "the artifact" }
            @for component in &said.components { span .mono { (component) } br; }
            @if said.components_cut > 0 { "and " (said.components_cut) " more" br; }
            @if !said.platform.is_empty() { "in " (said.platform) }
        }
        td {
            (said.reason)
            @if !said.impact.is_empty() { br; (said.impact) }
            @if !said.fixed_version.is_empty() { br; "fixed in " (said.fixed_version) }
        }
        td { (time(said.time)) }
        td { (proof(&said.proof)) }
    }
}

fn platform(part: &PlatformVerdict, read: &Read) -> Markup {
    let name = if part.platform.is_empty() { &part.digest } else { &part.platform };
    html! {
        th scope="row" { (artifact_link(&part.digest, name, read)) }
        td { (words(&part.status)) }
        td { @if let Some(confidence) = part.confidence { (format!("{confidence:.4}")) } }
    }
}
