//! `/environments`: where something was deployed; `/environments/{env}`: what runs there, and what changed.

use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};
use pedigraph_projector::answers::{Change, Deletion, Environment, EnvironmentSummary, Page, Running, ServiceState};

use pedigraph_projector::Scope;

use crate::access::scope::{Access, TokenScope};
use crate::answer::environment::{changes_of, environment_of};
use crate::answer::error::Error;
use crate::app::App;
use crate::link::encoded;
use crate::pages::environments_compared::is_plain;
use crate::pages::frame::{
    Frame, artifact_link, as_of_known, at_moment, environment_link, live, moment_options, moment_query, page,
    place_chip, proof, quoted, rest_of, table, text, time,
};
use crate::pages::names::wrapped;
use crate::pages::{evidence_pack, service, timeline};
use crate::problem::Problem;
use crate::read::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, Read};
use crate::route::Routes;

const CHANGES: usize = 50;
/// Things of one service that run and are listed; its own page has more.
const RUNNING_MAX: usize = 100;
/// Bytes of the names in an address.
const ADDRESS_BYTES_MAX: usize = 1_024;

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
            (environments_table(&page_of.rows, read))
            @if let Some(next) = next { p { a href=(next) rel="next" { "Next page" } } }
        };
        let json = format!("/api/v1/environments{}", moment_query(read));
        let frame = Frame { title: "Environments", json: &json, command: "pedigraph env", read };
        Ok(page(&frame, "", fresh, &content))
    })
    .await
}

/// The same list, further on.
fn next_page(token: &str, read: &Read) -> String {
    at_moment(&format!("/environments?pageSize={}&pageToken={}", read.page_size, encoded(token)), read)
}

/// Where something was deployed.
pub fn environments_table(environments: &[EnvironmentSummary], read: &Read) -> Markup {
    let rows: Vec<Markup> = environments.iter().map(|environment| environment_row(environment, read)).collect();
    let columns = ["Environment", "Services", "Last change", "Deleted"];
    table("Environments", "Where something was deployed", &columns, &rows)
}

fn environment_row(environment: &EnvironmentSummary, read: &Read) -> Markup {
    html! {
        th scope="row" { (environment_link(&environment.environment, read)) }
        td { (environment.services) }
        td { @if let Some(at) = environment.last_change { (time(at)) } }
        td { @if let Some(deletion) = &environment.deletion { (deleted(deletion)) } }
    }
}

/// When an environment was deleted, who says so, and the entry.
fn deleted(deletion: &Deletion) -> Markup {
    html! { (time(deletion.at)) " by " (text(&deletion.source)) " " (proof(&deletion.proof)) }
}

async fn environment(State(app): State<App>, Path(name): Path<String>, read: Read) -> Result<Response, Problem> {
    app.page(read, move |scope, read, fresh| {
        let is_free = read.params.get("pageSize").is_none() && read.page_size == PAGE_SIZE_DEFAULT;
        let limit = if is_free { PAGE_SIZE_MAX } else { read.page_size };
        let (environment, next) = environment_of(scope, &name, false, read.after.as_deref(), limit)?;
        let next = read.next(fresh, next).map(|token| {
            let path = format!("/environments/{}?pageSize={limit}&pageToken={}", encoded(&name), encoded(&token));
            at_moment(&path, read)
        });
        let changes = changes_of(scope, &name, None, CHANGES)?;
        let reached = later_changes(scope, &name, read)?;
        let json = format!("/api/v1/environments/{}{}", encoded(&name), moment_query(read));
        let command = format!("pedigraph env {}{}", quoted(&name), moment_options(read));
        let frame = Frame { title: &environment.environment, json: &json, command: &command, read };
        let content =
            content(&environment, next.as_deref(), &changes, reached.as_deref().unwrap_or(&changes.rows), read);
        Ok(page(&frame, "", fresh, &content))
    })
    .await
}

/// At an earlier moment: the newest changes of all, where they go back that far, so that one can go forward again.
fn later_changes(scope: &Scope, name: &str, read: &Read) -> Result<Option<Vec<Change>>, Error> {
    let Some(at) = read.moment.at else { return Ok(None) };
    let rows = changes_of(&scope.when(None), name, None, CHANGES)?.rows;
    Ok(rows.last().is_some_and(|oldest| oldest.at <= at).then_some(rows))
}

fn content(
    environment: &Environment,
    next: Option<&str>,
    changes: &Page<Change>,
    reached: &[Change],
    read: &Read,
) -> Markup {
    let around = Around { environment: &environment.environment, changes: &changes.rows, read };
    let rows: Vec<Markup> = environment.services.iter().flat_map(|service| service_rows(service, &around)).collect();
    let columns = ["Service", "Artifact", "Share", "Since", "How", "By", "Proof"];
    html! {
        h1 { (environment.environment) }
        p .lead { @match environment.at { Some(at) => { "At " (time(at)) }, None => "The newest state that is known" } }
        @if let Some(deletion) = &environment.deletion {
            p .warn { "It was deleted at " (deleted(deletion)) ". What ran there by then is still shown." }
        }
        (timeline::control(&environment.environment, reached, read))
        (compare_links(&environment.environment, read))
        (evidence_pack::environment_button(&environment.environment, read))
        (live("running", read, &table("What runs", "By service", &columns, &rows)))
        @if let Some(next) = next { p { a href=(next) rel="next" { "More services" } } }
        (live("changes", read, &timeline::changes(&environment.environment, changes, read)))
    }
}

/// Comparisons of an environment: with now, or with how it was, and with another one.
fn compare_links(name: &str, read: &Read) -> Markup {
    let with_now = |moment: &str| {
        let then = format!("{name}@{{{moment}}}");
        as_of_known(&format!("/compare?a={}&b={}", encoded(&then), encoded(name)), read)
    };
    html! {
        @if is_plain(name) {
            p {
                "Compare with "
                @match read.moment.at {
                    Some(at) => a href=(with_now(&at.to_string())) { "how it is now" },
                    None => a href=(with_now("24h")) { "how it was a day ago" },
                }
                " · "
                a href=(at_moment(&format!("/compare?a={}", encoded(name)), read)) { "another environment or moment" }
            }
        }
    }
}

/// What a row of a service is shown among.
struct Around<'a> {
    environment: &'a str,
    changes: &'a [Change],
    read: &'a Read,
}

fn service_rows(service: &ServiceState, around: &Around<'_>) -> Vec<Markup> {
    let listed = service.running.iter().take(RUNNING_MAX);
    listed.map(|running| service_row(service, running, around)).chain(rest_row(service, around)).collect()
}

/// How much of a service that runs is not listed.
fn rest_row(service: &ServiceState, around: &Around<'_>) -> Option<Markup> {
    let rest = rest_of(service, RUNNING_MAX)?;
    Some(html! {
        th scope="row" { (service_link(around.environment, &service.service, around.read)) }
        td colspan="6" { (rest) }
    })
}

fn service_row(service: &ServiceState, running: &Running, around: &Around<'_>) -> Markup {
    html! {
        th scope="row" {
            (service_link(around.environment, &service.service, around.read))
            @if service.frozen { " " span .chip { "frozen" } }
            (place_chip(running))
        }
        td {
            (artifact(&running.artifact_ref, running.digest.as_deref(), around.read))
            (beside(service, running, around.read))
            (before(service, running, around))
        }
        td {
            (running.weight) " %"
            @if running.weight < 100 { br; progress value=(running.weight) max="100" aria-label="Share" {} }
            @if service.canaries_cut > 0 { br; (service.canaries_cut) " canaries are not listed" }
        }
        td { (time(running.since)) }
        td { (running.strategy.as_deref().unwrap_or_default()) }
        td { @for who in [&running.actor, &running.run].into_iter().flatten() { (text(who)) " " } }
        td { (proof(&running.proof)) }
    }
}

/// A link to a service. Names as long as early versions took them lead nowhere: no address can be so long.
fn service_link(environment: &str, service: &str, read: &Read) -> Markup {
    let has_address = !service.is_empty() && environment.len() + service.len() <= ADDRESS_BYTES_MAX;
    html! { @if has_address { a href=(service::address(environment, service, read)) { (service) } } @else { (service) } }
}

/// Of what runs alone after something else: the comparison with that (`prod/cart~1`), where the names can be written so.
fn before(service: &ServiceState, running: &Running, around: &Around<'_>) -> Markup {
    let place = format!("{}/{}", around.environment, service.service);
    let all_is_listed = service.running_cut == 0 && !service.running_at_least;
    let alone = service.running.len() == 1 && all_is_listed && running.digest.is_some();
    let replaced = |change: &Change| {
        change.service == service.service && change.kind != "canary" && change.from.is_some() && change.to.is_some()
    };
    html! {
        @if alone && is_plain(&place) && around.changes.iter().any(replaced) {
            @let address = format!("/compare?a={}~1&b={}", encoded(&place), encoded(&place));
            br; a href=(at_moment(&address, around.read)) { "Compare with what ran before" }
        }
    }
}

/// Of what runs beside others: the comparison with what has the greatest share, of what is known.
fn beside(service: &ServiceState, running: &Running, read: &Read) -> Markup {
    let main = service.running.iter().max_by_key(|other| other.weight).and_then(|main| main.digest.as_deref());
    let pair = main.zip(running.digest.as_deref()).filter(|(main, here)| main != here);
    html! {
        @if let Some((main, here)) = pair {
            @let address = format!("/compare?a={}&b={}", encoded(main), encoded(here));
            br; a href=(at_moment(&address, read)) { "Compare with what runs beside it" }
        }
    }
}

fn artifact(reference: &str, digest: Option<&str>, read: &Read) -> Markup {
    html! { @match digest { Some(digest) => (artifact_link(digest, reference, read)), None => { (wrapped(reference)) " " span .chip { "digest unknown" } } } }
}
