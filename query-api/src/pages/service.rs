//! `/environments/{env}/services/{service}`: one service of an environment: what runs there, and what ran before.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};
use pedigraph_projector::answers::Running;
use pedigraph_projector::{LanePast, ServiceHere, Spell};
use pedigraph_proto::ArtifactRef;

use crate::access::scope::{Access, TokenScope};
use crate::answer::environment::service_of;
use crate::app::App;
use crate::link::encoded;
use crate::pages::evidence_pack;
use crate::pages::frame::{
    Frame, as_of_known, at_moment, copied, environment_link, live, moment_options, page, place_of, proof, quoted,
    rest_of, running_link, table, text, time,
};
use crate::problem::Problem;
use crate::read::Read;
use crate::route::Routes;

/// Spells of each lane.
const SPELLS: usize = 20;

/// Its route.
pub fn routes() -> Routes {
    Routes::new().get("/environments/{env}/services/{service}", Access::Needs(TokenScope::LineageRead), service)
}

/// The page of a service.
pub fn address(environment: &str, service: &str, read: &Read) -> String {
    at_moment(&format!("/environments/{}/services/{}", encoded(environment), encoded(service)), read)
}

async fn service(
    State(app): State<App>,
    Path((environment, name)): Path<(String, String)>,
    read: Read,
) -> Result<Response, Problem> {
    app.page(read, move |scope, read, fresh| {
        let here = service_of(scope, &environment, &name, SPELLS)?;
        let place = format!("{environment}/{name}");
        let json =
            at_moment(&format!("/api/v1/environments/{}/services/{}", encoded(&environment), encoded(&name)), read);
        let named = format!("{} --env {}", quoted(&name), quoted(&environment));
        let command = format!("pedigraph service {named}{}", moment_options(read));
        let title = format!("{name} in {environment}");
        let content = html! {
            h1 { bdi { (name) } " in " (environment_link(&environment, read)) }
            @if here.service.state.frozen { p { span .chip { "frozen" } " Deployments are not allowed." } }
            (live("service", read, &parts(&here, &place, read)))
        };
        Ok(page(&Frame { title: &title, json: &json, command: &command, read }, "", fresh, &content))
    })
    .await
}

fn parts(here: &ServiceHere, place: &str, read: &Read) -> Markup {
    let rows: Vec<Markup> = here.service.state.running.iter().map(|running| running_row(running, read)).collect();
    let columns = ["Artifact", "Share", "Since", "Where", "How", "By", "Proof"];
    html! {
        @if rows.is_empty() && !here.service.state.running_at_least { p { "Nothing runs there: it was removed." } }
        @else { (table("What runs", "Each with its share of the traffic", &columns, &rows)) }
        @if let Some(rest) = rest_of(&here.service.state, rows.len()) { p { (rest) "." } }
        (evidence_pack::button(&digests(here), read))
        @for lane in &here.lanes { (before(lane, here, place, read)) (past(lane, here, read)) }
        @if here.lanes_cut > 0 { p { "The past of " @if here.lanes_at_least { "at least " } (here.lanes_cut) " more clusters or namespaces is not shown." } }
    }
}

/// Of what runs, each once.
fn digests(here: &ServiceHere) -> Vec<&str> {
    let digests: BTreeSet<&str> = here.service.state.running.iter().filter_map(|run| run.digest.as_deref()).collect();
    digests.into_iter().collect()
}

fn running_row(running: &Running, read: &Read) -> Markup {
    html! {
        th scope="row" { (running_link(running.digest.as_deref(), &running.artifact_ref, read)) }
        td { (running.weight) " %" }
        td { (time(running.since)) }
        td { (place_of(running.cluster.as_deref(), running.namespace.as_deref())) }
        td { (running.strategy.as_deref().unwrap_or_default()) }
        td { @for who in [&running.actor, &running.run].into_iter().flatten() { (text(who)) " " } }
        td { (proof(&running.proof)) }
    }
}

/// What to go back to: what ran before what runs now. That it was good nobody recorded, and nothing here says so.
fn before(lane: &LanePast, here: &ServiceHere, place: &str, read: &Read) -> Markup {
    let Some(spell) = &lane.before else { return html! {} };
    let now = lane.spells.first().filter(|spell| spell.until.is_none());
    let pair = now.and_then(|now| Some((spell.digest.as_deref()?, now.digest.as_deref()?)));
    let several = here.lanes.len() > 1;
    html! {
        section .rollback aria-label={ "What ran before in " (place) } {
            h2 {
                "What ran before"
                @if several { " in " bdi { (place_named(lane)) } }
            }
            p {
                (running_link(spell.digest.as_deref(), &spell.artifact_ref, read))
                " ran from " (time(spell.since))
                @if let Some(until) = spell.until { " until " (time(until)) }
                " " (proof(&spell.proof))
            }
            p { "To deploy it again, name it by its digest: " (copied(&pinned(spell), "Copy the reference")) }
            @if spell.digest.is_none() { p .warn { "Its digest is unknown: the tag may point at something else by now." } }
            @if let Some((before, now)) = pair {
                @let address = format!("/compare?a={}&b={}", encoded(before), encoded(now));
                p { a href=(at_moment(&address, read)) { "Compare it with what runs now" } }
            }
        }
    }
}

fn place_named(lane: &LanePast) -> String {
    let place = place_of(lane.cluster.as_deref(), lane.namespace.as_deref());
    if place.is_empty() { "no named cluster".to_owned() } else { place }
}

/// `repository@sha256:…`; the reference as it is where the digest is not known.
fn pinned(spell: &Spell) -> String {
    let (Some(digest), Some(reference)) = (&spell.digest, ArtifactRef::parse(&spell.artifact_ref)) else {
        return spell.digest.clone().unwrap_or_else(|| spell.artifact_ref.clone());
    };
    if reference.repository.is_empty() || reference.repository.starts_with("pkg:") {
        return digest.clone();
    }
    format!("{}@{digest}", reference.repository)
}

/// All that ran alone, newest first.
fn past(lane: &LanePast, here: &ServiceHere, read: &Read) -> Markup {
    let rows: Vec<Markup> = lane.spells.iter().map(|spell| spell_row(spell, read)).collect();
    let columns = ["Since", "Until", "Artifact", "Change", "Why", "Proof"];
    let several = here.lanes.len() > 1;
    let caption = match several {
        true => format!("In {}, newest first", place_named(lane)),
        false => "What ran alone, newest first".to_owned(),
    };
    html! {
        (table("What ran when", &caption, &columns, &rows))
        @if lane.cut { p { "Older ones are not shown. Ask for an earlier moment: " a href=(earlier(lane, read)) { "the oldest of these" } "." } }
    }
}

/// The same page at the moment of the oldest spell.
fn earlier(lane: &LanePast, read: &Read) -> String {
    let path = read.uri.split('?').next().unwrap_or_default();
    let at = lane.spells.last().map(|spell| encoded(&spell.since.to_string())).unwrap_or_default();
    as_of_known(&format!("{path}?at={at}"), read)
}

fn spell_row(spell: &Spell, read: &Read) -> Markup {
    html! {
        td { (time(spell.since)) }
        td { @match spell.until { Some(until) => (time(until)), None => span .good { "now" } } }
        th scope="row" { (running_link(spell.digest.as_deref(), &spell.artifact_ref, read)) }
        td { span .chip { (spell.kind) } }
        td { @if let Some(reason) = &spell.reason { (text(reason)) } }
        td { (proof(&spell.proof)) }
    }
}
