//! `/environments`: where something was deployed; `/environments/{env}`: what runs there, and what changed.

use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};
use pedigraph_projector::answers::{Change, Environment, EnvironmentSummary, Running, ServiceState};

use crate::access::scope::{Access, TokenScope};
use crate::answer::environment::{changes_of, environment_of};
use crate::app::App;
use crate::link::encoded;
use crate::pages::frame::{
    Frame, artifact_link, at_moment, environment_link, live, moment_options, moment_query, page, proof, quoted, short,
    table, text, time,
};
use crate::problem::Problem;
use crate::read::{PAGE_SIZE_MAX, Read};
use crate::route::Routes;

const CHANGES: usize = 50;

/// Its route.
pub fn routes() -> Routes {
    Routes::new().get("/environments", Access::Needs(TokenScope::LineageRead), environments).get(
        "/environments/{env}",
        Access::Needs(TokenScope::LineageRead),
        environment,
    )
}

async fn environments(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    app.page(read, |scope, read, fresh| {
        let page_of = scope.environments_page(read.after.as_deref(), read.page_size)?;
        let next = read.next(fresh, page_of.next).map(|token| next_page(&token, read));
        let content = html! {
            h1 { "Environments" }
            (environments_table(&page_of.rows))
            @if let Some(next) = next { p { a href=(next) rel="next" { "Next page" } } }
        };
        let json = format!("/api/v1/environments{}", moment_query(read));
        let frame = Frame { title: "Environments", json: &json, command: "pedigraph env" };
        Ok(page(&frame, "", fresh, &content))
    })
    .await
}

/// The same list, further on.
fn next_page(token: &str, read: &Read) -> String {
    at_moment(&format!("/environments?pageSize={}&pageToken={}", read.page_size, encoded(token)), read)
}

/// Where something was deployed.
pub fn environments_table(environments: &[EnvironmentSummary]) -> Markup {
    let rows: Vec<Markup> = environments.iter().map(environment_row).collect();
    table("Environments", "Where something was deployed", &["Environment", "Services", "Last change"], &rows)
}

fn environment_row(environment: &EnvironmentSummary) -> Markup {
    html! {
        th scope="row" { (environment_link(&environment.environment)) }
        td { (environment.services) }
        td { @if let Some(at) = environment.last_change { (time(at)) } }
    }
}

async fn environment(State(app): State<App>, Path(name): Path<String>, read: Read) -> Result<Response, Problem> {
    app.page(read, move |scope, read, fresh| {
        let limit = if read.params.get("pageSize").is_none() { PAGE_SIZE_MAX } else { read.page_size };
        let (environment, next) = environment_of(scope, &name, false, read.after.as_deref(), limit)?;
        let next = read.next(fresh, next).map(|token| {
            let path = format!("/environments/{}?pageSize={limit}&pageToken={}", encoded(&name), encoded(&token));
            at_moment(&path, read)
        });
        let changes = changes_of(scope, &name, None, CHANGES)?;
        let older = changes.next.is_some().then(|| {
            at_moment(&format!("/api/v1/environments/{}/changes?pageSize={PAGE_SIZE_MAX}", encoded(&name)), read)
        });
        let json = format!("/api/v1/environments/{}{}", encoded(&name), moment_query(read));
        let command = format!("pedigraph env {}{}", quoted(&name), moment_options(read));
        let frame = Frame { title: &environment.environment, json: &json, command: &command };
        let content = html! {
            (live("environment", read, &content(&environment, next.as_deref(), &changes.rows)))
            @if let Some(older) = older { p { "These are the newest. " a href=(older) { "More changes as JSON" } } }
        };
        Ok(page(&frame, "", fresh, &content))
    })
    .await
}

fn content(environment: &Environment, next: Option<&str>, changes: &[Change]) -> Markup {
    let rows: Vec<Markup> = environment.services.iter().flat_map(service_rows).collect();
    let columns = ["Service", "Artifact", "Share", "Since", "How", "By", "Proof"];
    html! {
        h1 { (environment.environment) }
        p .lead { @match environment.at { Some(at) => { "At " (time(at)) }, None => "The newest state that is known" } }
        (table("What runs", "By service", &columns, &rows))
        @if let Some(next) = next { p { a href=(next) rel="next" { "More services" } } }
        (table("Changes", "Newest first", &["When", "Service", "Change", "From", "To", "Why", "Proof"], &changes.iter().map(change).collect::<Vec<_>>()))
    }
}

fn service_rows(service: &ServiceState) -> Vec<Markup> {
    service.running.iter().map(|running| service_row(service, running)).collect()
}

fn service_row(service: &ServiceState, running: &Running) -> Markup {
    let place: Vec<&str> = [&running.cluster, &running.namespace].into_iter().flatten().map(String::as_str).collect();
    html! {
        th scope="row" {
            (service.service)
            @if service.frozen { " " span .chip { "frozen" } }
            @if !place.is_empty() { " " span .chip { (place.join("/")) } }
        }
        td { (artifact(&running.artifact_ref, running.digest.as_deref())) }
        td { (running.weight) " %" }
        td { (time(running.since)) }
        td { (running.strategy.as_deref().unwrap_or_default()) }
        td { @for who in [&running.actor, &running.run].into_iter().flatten() { (text(who)) " " } }
        td { (proof(&running.proof)) }
    }
}

fn artifact(reference: &str, digest: Option<&str>) -> Markup {
    html! { @match digest { Some(digest) => (artifact_link(digest, reference)), None => { (reference) " " span .chip { "digest unknown" } } } }
}

fn change(change: &Change) -> Markup {
    let side =
        |side: &Option<String>| html! { @if let Some(side) = side { span .mono title=(side) { (short(side)) } } };
    html! {
        td { (time(change.at)) }
        th scope="row" { (change.service) }
        td { span .chip { (change.kind) } }
        td { (side(&change.from)) }
        td { (side(&change.to)) }
        td { @if let Some(reason) = &change.reason { (text(reason)) } }
        td { (proof(&change.proof)) }
    }
}
