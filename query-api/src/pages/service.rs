//! `/environments/{env}/services/{service}`: one service of an environment: what runs there, and what ran before.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};
use pedigraph_projector::answers::Running;
use pedigraph_projector::{
    Because, LaneGood, LanePast, PassedOver, Ran, RemovedNothing, SOUGHT_MAX, ServiceHere, Spell, WhyNot,
};
use pedigraph_proto::ArtifactRef;

use crate::access::scope::{Access, TokenScope};
use crate::answer::environment::{last_known_good_of, service_of};
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
        let good = last_known_good_of(scope, &environment, &name)?;
        let place = format!("{environment}/{name}");
        let json =
            at_moment(&format!("/api/v1/environments/{}/services/{}", encoded(&environment), encoded(&name)), read);
        let named = format!("{} --env {}", quoted(&name), quoted(&environment));
        let command = format!("pedigraph service {named}{}", moment_options(read));
        let title = format!("{name} in {environment}");
        let content = html! {
            h1 { bdi { (name) } " in " (environment_link(&environment, read)) }
            @if here.service.state.frozen { p { span .chip { "frozen" } " Deployments are not allowed." } }
            (live("service", read, &parts(&here, &good.lanes, &place, read)))
        };
        Ok(page(&Frame { title: &title, json: &json, command: &command, read }, "", fresh, &content))
    })
    .await
}

fn parts(here: &ServiceHere, lanes: &[LaneGood], place: &str, read: &Read) -> Markup {
    let rows: Vec<Markup> = here.service.state.running.iter().map(|running| running_row(running, read)).collect();
    let columns = ["Artifact", "Share", "Since", "Where", "How", "By", "Proof"];
    html! {
        @if rows.is_empty() && !here.service.state.running_at_least { p { "Nothing runs there: it was removed." } }
        @else { (table("What runs", "Each with its share of the traffic", &columns, &rows)) }
        @if let Some(rest) = rest_of(&here.service.state, rows.len()) { p { (rest) "." } }
        @for removal in &here.removed_nothing { (removed_nothing(removal)) }
        @if here.removed_nothing_cut > 0 { p { (here.removed_nothing_cut) " more removals ended nothing." } }
        (evidence_pack::button(&digests(here), read))
        @for lane in lanes { (good(lane, lanes.len() > 1, place, read)) }
        @for lane in &here.lanes { (past(lane, here, read)) }
        @if here.lanes_cut > 0 { p { "The past of " @if here.lanes_at_least { "at least " } (here.lanes_cut) " more clusters or namespaces is not shown." } }
    }
}

/// A removal that ended nothing, since it named a place where nothing ran.
fn removed_nothing(removal: &RemovedNothing) -> Markup {
    let place = place_of(removal.cluster.as_deref(), removal.namespace.as_deref());
    html! {
        p .warn {
            "A removal " (time(removal.at)) @if let Some(actor) = &removal.actor { " by " (text(actor)) } " ended nothing: "
            @if place.is_empty() { "it names no cluster or namespace, and each deployment does" }
            @else { "nothing was ever deployed in " (place) }
            " " (proof(&removal.proof))
            ". To end what runs elsewhere, send it again with the cluster and namespace of the deployment."
        }
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

/// What to go back to, and why; decision 023 says what "good" means.
fn good(lane: &LaneGood, several: bool, place: &str, read: &Read) -> Markup {
    let here = place_named(lane.cluster.as_deref(), lane.namespace.as_deref());
    let label = if several { format!("{place} in {here}") } else { place.to_owned() };
    html! {
        section .rollback aria-label={ "Last known good of " (label) } {
            h2 { "Last known good" @if several { " in " bdi { (here) } } }
            p { (why(lane, read)) }
            @if let Some(good) = &lane.last_known_good { (go_back(good, lane.running.as_ref(), read)) }
            @if !lane.passed_over.is_empty() {
                p { "Passed over:" }
                ul { @for passed in &lane.passed_over { li { (passed_over(passed, read)) } } }
            }
            @if lane.passed_over_cut > 0 { p { (lane.passed_over_cut) " more were passed over and are not listed." } }
        }
    }
}

fn why(lane: &LaneGood, read: &Read) -> Markup {
    let good = |good: &Ran| running_link(good.digest.as_deref(), &good.artifact_ref, read);
    html! {
        @match (lane.reason, &lane.last_known_good) {
            (Because::CameByRollback, Some(ran)) => {
                "What runs now, " (good(ran)) ", came by a rollback at " (time(ran.since)) " " (proof(&ran.proof))
                ": it is the last known good itself."
            }
            (_, Some(ran)) => {
                (good(ran)) " ran from " (time(ran.since))
                @if let Some(until) = ran.until { " until " (time(until)) }
                " " (proof(&ran.proof)) ", and no rollback left it."
            }
            (Because::SearchEnded, None) => {
                "Unknown: there are more than " (SOUGHT_MAX) " changes since, and older ones were not looked at."
            }
            (Because::NothingRanBefore, None) => "There is none: nothing else ran alone here before.",
            (_, None) => "There is none: all that ran before was passed over.",
        }
    }
}

/// How to name it in a deployment, and what is other than what runs now. Nothing is rolled back from here.
fn go_back(good: &Ran, running: Option<&Ran>, read: &Read) -> Markup {
    let runs = running.and_then(|running| running.digest.as_deref());
    let pair = good.digest.as_deref().zip(runs).filter(|(good, runs)| good != runs);
    html! {
        p { "To deploy it again, name it by its digest: " (copied(&pinned(good), "Copy the reference")) }
        @if good.digest.is_none() { p .warn { "Its digest is unknown: the tag may point at something else by now." } }
        @if let Some((good, runs)) = pair {
            @let address = format!("/compare?a={}&b={}", encoded(good), encoded(runs));
            p { a href=(at_moment(&address, read)) { "Compare it with what runs now" } }
        }
    }
}

fn passed_over(passed: &PassedOver, read: &Read) -> Markup {
    let why = match passed.why {
        WhyNot::LeftByRollback => "was left by a rollback at",
        WhyNot::CanaryTakenBack => "was a canary and was taken back at",
        WhyNot::RunsNow => "runs now; it ran before since",
        WhyNot::NotNamed => "is not known: its deployment names no artifact, at",
    };
    html! {
        (running_link(passed.digest.as_deref(), &passed.artifact_ref, read))
        " " (why) " " (time(passed.at)) " " (proof(&passed.proof))
    }
}

fn place_named(cluster: Option<&str>, namespace: Option<&str>) -> String {
    let place = place_of(cluster, namespace);
    if place.is_empty() { "no named cluster".to_owned() } else { place }
}

/// `repository@sha256:…`; the reference as it is where the digest is not known.
fn pinned(ran: &Ran) -> String {
    let (Some(digest), Some(reference)) = (&ran.digest, ArtifactRef::parse(&ran.artifact_ref)) else {
        return ran.digest.clone().unwrap_or_else(|| ran.artifact_ref.clone());
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
        true => format!("In {}, newest first", place_named(lane.cluster.as_deref(), lane.namespace.as_deref())),
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
