//! `/on-call`: what changed in the last 24 hours, in every environment, and the way to what ran at a moment.

use std::cmp::Reverse;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use pedigraph_projector::answers::{Change, Page, Running};
use pedigraph_projector::{Error, Scope};
use pedigraph_proto::Nanos;

use crate::access::scope::{Access, TokenScope};
use crate::app::App;
use crate::link::encoded;
use crate::pages::frame::{
    Frame, as_of_known, at_moment, environment_link, how_to_send, live, moment_query, next_page, page, proof,
    running_link, table, text, time,
};
use crate::pages::timeline::side;
use crate::problem::Problem;
use crate::read::{PAGE_SIZE_DEFAULT, Read};
use crate::route::Routes;

/// How far back the page goes, nanoseconds.
const WINDOW_NS: i64 = 24 * 3_600 * 1_000_000_000;
/// Environments of one page when nothing is said.
const ENVIRONMENTS_MAX: usize = 50;
/// Changes of one environment.
const CHANGES_MAX: usize = 50;
/// Rows of a list of the page.
const ROWS_MAX: usize = 300;
/// Services of an environment among which canaries are looked for.
const SERVICES_MAX: usize = 100;

/// Its route.
pub fn routes() -> Routes {
    Routes::new().get("/on-call", Access::Needs(TokenScope::LineageRead), on_call)
}

async fn on_call(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    let asked = Asked::of(&read);
    if let Asked::Then(address) = &asked {
        return Ok(Redirect::to(address).into_response());
    }
    app.page(read.volatile(), move |scope, read, fresh| {
        let recent = Recent::of(scope, read)?;
        let next = recent.next.clone().and_then(|key| read.next(fresh, Some(key)));
        let next = next.map(|token| next_page("/on-call", &token, read));
        let json = format!("/api/v1/environments{}", moment_query(read));
        let frame = Frame { title: "On call", json: &json, command: "pedigraph env ENVIRONMENT", read };
        Ok(page(&frame, "", fresh, &content(&recent, &asked, next.as_deref(), read)))
    })
    .await
}

/// What the form asks: what ran somewhere at a moment.
#[derive(Clone)]
enum Asked {
    Nothing,
    /// Where it is answered.
    Then(String),
    /// Why it cannot be.
    Odd(&'static str),
}

impl Asked {
    fn of(read: &Read) -> Asked {
        let environment = read.params.get("environment").map(str::trim).filter(|name| !name.is_empty());
        let moment = read.params.time("moment", read.now);
        match (environment, moment) {
            (None, Ok(None)) => Asked::Nothing,
            (_, Err(_)) => {
                Asked::Odd("The moment is a time, such as 2026-08-14T12:47:00Z, or an age, such as 20m, 3h or 2d.")
            }
            (None, Ok(Some(_))) => Asked::Odd("Name the environment, too."),
            (Some(_), Ok(None)) => Asked::Odd("Say the moment, too: when the alert began."),
            (Some(name), Ok(Some(at))) => {
                let address = format!("/environments/{}?at={}", encoded(name), encoded(&at.to_string()));
                Asked::Then(as_of_known(&address, read))
            }
        }
    }
}

/// A change with where it was.
struct Changed {
    environment: String,
    change: Change,
}

/// A canary that runs.
struct Canary {
    environment: String,
    service: String,
    running: Running,
}

/// What changed, newest first, as far as one page shows it.
struct Recent {
    changes: Vec<Changed>,
    canaries: Vec<Canary>,
    /// How many more there are.
    canaries_cut: usize,
    /// Environments of which more changed than is shown.
    more_in: Vec<String>,
    /// Environments that were not looked at, since one question may not cost more.
    left_out: Vec<String>,
    environments: usize,
    /// Key of the page with further environments.
    next: Option<Vec<u8>>,
}

impl Recent {
    fn of(scope: &Scope, read: &Read) -> Result<Recent, Problem> {
        let limit = if read.page_size == PAGE_SIZE_DEFAULT { ENVIRONMENTS_MAX } else { read.page_size };
        let Page { rows, next } = scope.environments_page(read.after.as_deref(), limit)?;
        let until = read.moment.at.unwrap_or(read.now);
        let mut recent = Recent {
            changes: vec![],
            canaries: vec![],
            canaries_cut: 0,
            more_in: vec![],
            left_out: vec![],
            environments: rows.len(),
            next,
        };
        let since = Nanos(until.0.saturating_sub(WINDOW_NS));
        let moved = rows.into_iter().filter(|environment| environment.last_change.is_some_and(|at| at >= since));
        for environment in moved.map(|environment| environment.environment) {
            match recent.add(scope, &environment, since) {
                Err(Error::TooExpensive { .. }) => recent.left_out.push(environment),
                added => added?,
            }
        }
        recent.changes.sort_by_key(|changed| Reverse((changed.change.at, changed.change.proof.index)));
        if recent.changes.len() > ROWS_MAX {
            let cut = recent.changes.split_off(ROWS_MAX).into_iter().map(|changed| changed.environment);
            recent.more_in.extend(cut);
        }
        recent.canaries_cut = recent.canaries.len().saturating_sub(ROWS_MAX);
        recent.canaries.truncate(ROWS_MAX);
        recent.more_in.sort();
        recent.more_in.dedup();
        Ok(recent)
    }

    fn add(&mut self, scope: &Scope, environment: &str, since: Nanos) -> Result<(), Error> {
        let Some(page) = scope.changes(environment, None, CHANGES_MAX)? else { return Ok(()) };
        let read = page.rows.len();
        let changes: Vec<Change> = page.rows.into_iter().take_while(|change| change.at >= since).collect();
        if page.next.is_some() && changes.len() == read {
            self.more_in.push(environment.to_owned());
        }
        if changes.iter().any(|change| change.kind == "canary") {
            self.canaries.extend(canaries(scope, environment)?);
        }
        let named = |change| Changed { environment: environment.to_owned(), change };
        self.changes.extend(changes.into_iter().map(named));
        Ok(())
    }
}

/// The canaries among the first services of an environment.
fn canaries(scope: &Scope, environment: &str) -> Result<Vec<Canary>, Error> {
    let Some((found, _)) = scope.environment_page(environment, false, None, SERVICES_MAX)? else { return Ok(vec![]) };
    let of_service = found.services.into_iter().flat_map(|service| {
        let is_canary = |running: &Running| running.strategy.as_deref() == Some("canary") || running.weight < 100;
        let some = service.running.iter().any(is_canary);
        let named =
            move |running| Canary { environment: environment.to_owned(), service: service.service.clone(), running };
        service.running.into_iter().filter(move |_| some).map(named)
    });
    Ok(of_service.collect())
}

fn content(recent: &Recent, asked: &Asked, next: Option<&str>, read: &Read) -> Markup {
    html! {
        h1 { "On call" }
        p .lead {
            "What changed in the 24 hours " @match read.moment.at { Some(at) => { "before " (time(at)) }, None => "until now" }
            ", newest first, over "
            a href=(at_moment("/environments", read)) { (recent.environments) @if recent.environments == 1 { " environment" } @else { " environments" } } "."
        }
        (form(asked, read))
        (live("canaries", read, &canary_table(recent, read)))
        (live("changes", read, &change_table(recent, read)))
        @if let Some(next) = next {
            p { "These are the environments up to one of " (recent.environments) " by name. " a href=(next) rel="next" { "Further environments" } }
        }
    }
}

fn form(asked: &Asked, read: &Read) -> Markup {
    let get = |name: &str| read.params.get(name).unwrap_or_default();
    html! {
        form .fields action="/on-call" method="get" aria-label="What ran at a moment" {
            label { "What was running in" input name="environment" type="text" value=(get("environment")) placeholder="prod" maxlength="1024"; }
            label .wide { "at the moment of the alert" input name="moment" type="text" value=(get("moment")) placeholder="2026-08-14T12:47Z or 20m" maxlength="64"; }
            @if let Some(known) = read.params.get("asOf") { input type="hidden" name="asOf" value=(known); }
            button type="submit" { "Show what ran" }
        }
        @if let Asked::Odd(why) = asked { p .bad role="alert" { (why) } }
    }
}

fn change_table(recent: &Recent, read: &Read) -> Markup {
    let rows: Vec<Markup> = recent.changes.iter().map(|changed| change_row(changed, read)).collect();
    html! {
        @if rows.is_empty() {
            p .empty { "Nothing changed in these 24 hours, as far as was recorded." }
            (how_to_send())
        } @else {
            (table("Changes", "Newest first", &["When", "Environment", "Service", "Change", "From", "To", "Why", "Proof"], &rows))
        }
        @if !recent.more_in.is_empty() {
            p { "More changed than is shown in: " @for name in &recent.more_in { (environment_link(name, read)) " " } }
        }
        @if !recent.left_out.is_empty() {
            p .warn {
                "Not looked at, since one question may not cost more: " @for name in &recent.left_out { (environment_link(name, read)) " " }
                a href=(at_moment("/on-call?pageSize=5", read)) { "Look at five environments at a time" }
            }
        }
    }
}

fn change_row(changed: &Changed, read: &Read) -> Markup {
    let change = &changed.change;
    html! {
        td { (time(change.at)) }
        td { (environment_link(&changed.environment, read)) }
        th scope="row" { (change.service) }
        td { span .chip { (change.kind) } }
        td { (side(change.from.as_deref(), change.from_digest.as_deref(), read)) }
        td { (side(change.to.as_deref(), change.to_digest.as_deref(), read)) }
        td { @if let Some(reason) = &change.reason { (text(reason)) } }
        td { (proof(&change.proof)) }
    }
}

fn canary_table(recent: &Recent, read: &Read) -> Markup {
    let row = |canary: &Canary| {
        let running = &canary.running;
        html! {
            td { (environment_link(&canary.environment, read)) }
            th scope="row" { (canary.service) }
            td { (running_link(running.digest.as_deref(), &running.artifact_ref, read)) }
            td { (running.weight) " %" }
            td { (time(running.since)) }
            td { (proof(&running.proof)) }
        }
    };
    let rows: Vec<Markup> = recent.canaries.iter().map(row).collect();
    let columns = ["Environment", "Service", "Artifact", "Share", "Since", "Proof"];
    html! {
        @if !rows.is_empty() { (table("Canaries", "What takes a part of the traffic, beside what has the rest", &columns, &rows)) }
        @if recent.canaries_cut > 0 { p { (recent.canaries_cut) " more are not listed; the pages of the environments have them." } }
    }
}
