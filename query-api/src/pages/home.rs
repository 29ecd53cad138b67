//! `/`: the search box, how fresh everything is, what came in last, and how to begin.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use crate::access::scope::{Access, TokenScope};
use crate::answer::entry::{EntryRow, entry_row};
use crate::answer::freshness::{Freshness, freshness_of};
use crate::app::App;
use crate::pages::environment::environments_table;
use crate::pages::frame::{Frame, artifact_link, at_moment, command, live, page, short, status, table, text, time};
use crate::problem::Problem;
use crate::read::Read;
use crate::route::Routes;
use crate::tenant::log_of;
use pedigraph_projector::Error;
use pedigraph_projector::answers::{EnvironmentSummary, Page};

const RECENT: u64 = 15;
/// Environments on the first page. The list has the others.
const ENVIRONMENTS_MAX: usize = 20;

/// Its route.
pub fn routes() -> Routes {
    Routes::new().get("/", Access::Needs(TokenScope::LineageRead), home)
}

async fn home(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    let server = app.clone();
    app.page(read.volatile(), move |scope, read, fresh| {
        let freshness = freshness_of(&server, &read.tenant)?;
        let environments = match scope.environments_page(None, ENVIRONMENTS_MAX) {
            Err(Error::TooExpensive { .. }) => None,
            environments => Some(environments?),
        };
        let recent = recent(&server, read, fresh.as_of)?;
        let frame = Frame { title: "Start", json: "/api/v1/freshness", command: "pedigraph trace REF", read };
        Ok(page(&frame, "", fresh, &content(&freshness, environments.as_ref(), &recent, read)))
    })
    .await
}

fn recent(app: &App, read: &Read, as_of: Option<u64>) -> Result<Vec<EntryRow>, Problem> {
    let Some(newest) = as_of else { return Ok(Vec::new()) };
    let log = log_of(&read.tenant)?;
    let rows = (newest.saturating_sub(RECENT - 1)..=newest).rev().map(|index| entry_row(app.ledger(), &log, index));
    Ok(rows.filter_map(Result::transpose).collect::<Result<_, _>>()?)
}

fn content(
    freshness: &Freshness,
    environments: Option<&Page<EnvironmentSummary>>,
    recent: &[EntryRow],
    read: &Read,
) -> Markup {
    html! {
        h1 { "What is this running thing, and where does it come from?" }
        p .lead { "Paste a digest, a tag, a commit, a package, a vulnerability, a service or an environment into the box above." }
        (live("state", read, &state(freshness)))
        (live("recent", read, &lists(environments, recent, read)))
    }
}

fn state(freshness: &Freshness) -> Markup {
    html! {
        p {
            span .chip { (freshness.head.size) " entries" } " "
            span .chip { "signed up to " (freshness.head.checkpoint_size) } " "
            span .chip { (freshness.views.len()) " views, at most " (slowest_ms(freshness)) " ms behind" }
        }
    }
}

fn lists(environments: Option<&Page<EnvironmentSummary>>, recent: &[EntryRow], read: &Read) -> Markup {
    html! {
        @if recent.is_empty() { (first_event()) } @else {
            @if let Some(environments) = environments {
                (environments_table(&environments.rows, read))
                @if environments.next.is_some() { p { a href=(at_moment("/environments", read)) { "All environments" } } }
            } @else {
                p .warn { "More runs than this page can count; search for an environment or a service by its name." }
            }
            (table("Newest entries", "What came in last, newest first", &["Entry", "What", "Status", "About", "When"], &recent.iter().map(|entry| row(entry, read)).collect::<Vec<_>>()))
            p { a href=(at_moment("/entries", read)) { "All entries" } }
        }
    }
}

fn slowest_ms(freshness: &Freshness) -> u64 {
    freshness.views.iter().map(|view| view.lag_ms).max().unwrap_or(0)
}

fn row(entry: &EntryRow, read: &Read) -> Markup {
    html! {
        th scope="row" { a href={ "/entries/" (entry.index) } { "#" (entry.index) } }
        td { (entry.kind) }
        td { (status(&entry.status)) @if let Some(code) = &entry.code { " " code { (code) } } }
        td { @match &entry.subject { Some(digest) => (artifact_link(digest, &short(digest), read)), None => (text(&entry.source)) } }
        td { (time(entry.occurred_at)) }
    }
}

fn first_event() -> Markup {
    const EVENT: &str = r#"curl -X POST http://HOST:PORT/api/v1/events \
  -H 'content-type: application/cloudevents+json' \
  -d '{"specversion":"1.0","id":"1","source":"/first","type":"io.pedigraph.service-deployed.v1",
       "datacontenttype":"application/json",
       "data":{"environment":"prod","service":"cart","artifactRef":"example.org/cart:1.0"}}'"#;
    html! {
        section {
            h2 { "Send a first event" }
            p { "Nothing has been recorded yet. Three ways to begin:" }
            pre tabindex="0" { code { (EVENT) } }
            pre tabindex="0" { (command("pedigraph publish FILE")) }
            pre tabindex="0" { (command("pedigraph demo")) }
        }
    }
}
