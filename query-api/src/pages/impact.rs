//! `/components/impact?purl=` and `/vulnerabilities/{id}`: what is affected, and where it runs.

use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};
use pedigraph_projector::answers::{Impact, ImpactRow, UnknownRow};

use crate::access::scope::{Access, TokenScope};
use crate::app::App;
use crate::link::encoded;
use crate::pages::frame::{
    Frame, artifact_link, artifacts, at_moment, environment_link, further, how_to_send, moment_options, next_page,
    page, proof, quoted, table, time,
};
use crate::problem::Problem;
use crate::question;
use crate::read::Read;
use crate::route::Routes;

const RUNS: [&str; 6] = ["Environment", "Service", "Artifact", "As", "Since", "Proof"];
const RESTS: [&str; 4] = ["Artifact", "As", "Known since", "Proof"];
const UNKNOWN: [&str; 4] = ["Environment", "Service", "Artifact", "Why"];

/// Their routes.
pub fn routes() -> Routes {
    Routes::new().get("/components/impact", Access::Needs(TokenScope::LineageRead), component).get(
        "/vulnerabilities/{id}",
        Access::Needs(TokenScope::LineageRead),
        vulnerability,
    )
}

async fn vulnerability(State(app): State<App>, Path(id): Path<String>, read: Read) -> Result<Response, Problem> {
    app.page(read, move |scope, read, fresh| {
        let named = scope.named_for_vulnerability(&id, read.after.as_deref(), read.page_size)?;
        let path = format!("/vulnerabilities/{}", encoded(&id));
        let next = read.next(fresh, named.next).map(|token| next_page(&path, &token, read));
        let none = "No scan and no statement that was recorded names it for an artifact.";
        let caption = "By digest; the artifact's page has what each report says, and where it runs";
        let content = html! {
            h1 { (id) }
            (artifacts("Artifacts that a scan or a statement names it for", caption, none, &named.rows, read))
            (further(next.as_deref()))
        };
        let json = at_moment(&format!("/api/v1/resolve?q={}", encoded(&id)), read);
        let frame = Frame { title: &id, json: &json, command: "" };
        Ok(page(&frame, "", fresh, &content))
    })
    .await
}

async fn component(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    let question = question::impact(&read)?;
    app.page(read, move |scope, read, fresh| {
        let (impact, next) = scope.impact(&question)?;
        let next = read.next(fresh, next).map(|token| next_page("/components/impact", &token, read));
        let address = at_moment(&format!("/api/v1/components/impact?purl={}", encoded(&impact.purl)), read);
        let command = format!("pedigraph impact {}{}", quoted(&impact.purl), moment_options(read));
        let frame = Frame { title: &impact.purl, json: &address, command: &command };
        Ok(page(&frame, "", fresh, &content(&impact, next.as_deref())))
    })
    .await
}

fn content(impact: &Impact, next: Option<&str>) -> Markup {
    let counts = impact.counts;
    let at_least = |list: &str| if impact.at_least.iter().any(|name| name == list) { "at least " } else { "" };
    let elsewhere = impact.not_deployed.as_deref().unwrap_or_default();
    let runs: Vec<Markup> = impact.deployed.iter().map(deployed).collect();
    let rests: Vec<Markup> = elsewhere.iter().map(not_deployed).collect();
    let unknown: Vec<Markup> = impact.unknown.iter().map(unknown_row).collect();
    html! {
        h1 { span .mono { (impact.purl) } }
        p .lead {
            "Runs in " (at_least("deployed")) (number(counts.deployed, "place", "places")) ", and is in "
            (at_least("notDeployed")) (number(counts.not_deployed, "artifact that runs", "artifacts that run"))
            " nowhere. Nobody knows what is in " (at_least("unknown"))
            (number(counts.unknown, "thing that runs", "things that run")) "."
        }
        @if counts.deployed + counts.not_deployed == 0 {
            p .empty { "No SBOM that was recorded lists it." }
            (how_to_send())
        }
        (table("Where it runs", "By environment and service", &RUNS, &runs))
        (table("In artifacts that run nowhere", "By name", &RESTS, &rests))
        (table("Running, contents unknown", "No SBOM was recorded for these", &UNKNOWN, &unknown))
        (further(next))
    }
}

fn number(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

fn deployed(row: &ImpactRow) -> Markup {
    html! {
        th scope="row" { @if let Some(name) = &row.environment { (environment_link(name)) } }
        td { (row.service.as_deref().unwrap_or_default()) }
        td { (artifact_link(&row.digest, &row.artifact_ref)) }
        td { (components(row)) }
        td { @if let Some(since) = row.since { (time(since)) } }
        td { (proof(&row.proof)) }
    }
}

fn not_deployed(row: &ImpactRow) -> Markup {
    html! {
        th scope="row" { (artifact_link(&row.digest, &row.artifact_ref)) }
        td { (components(row)) }
        td { (time(row.first_known_at)) }
        td { (proof(&row.proof)) }
    }
}

fn unknown_row(row: &UnknownRow) -> Markup {
    html! {
        th scope="row" { (environment_link(&row.environment)) }
        td { (row.service) }
        td {
            @match &row.digest {
                Some(digest) => (artifact_link(digest, &row.artifact_ref)),
                None => (row.artifact_ref),
            }
        }
        td { (row.why) }
    }
}

/// Each match with the way to it through the SBOM's dependencies.
fn components(row: &ImpactRow) -> Markup {
    html! {
        @for component in &row.components {
            span .mono { (component.purl) }
            @if component.path.len() > 1 { " by " (component.path.join(" → ")) }
            br;
        }
        @if row.components_cut > 0 { "and " (row.components_cut) " more" }
    }
}
