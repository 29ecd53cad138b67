//! `/entries/{index}`: one ledger entry: its leaf, its proof, its body.

use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};

use crate::access::scope::{Access, TokenScope};
use crate::answer::entry::{EntryRow, entry_row, facts_of, unknown_entry};
use crate::app::App;
use crate::pages::frame::{Frame, artifact_link, command, page, status, text, time};
use crate::pages::proof::{path_of, section};
use crate::problem::Problem;
use crate::read::Read;
use crate::route::Routes;
use crate::tenant::log_of;

/// Facts that a page shows.
const FACTS_MAX: usize = 10;

/// Its route.
pub fn routes() -> Routes {
    Routes::new().get("/entries/{index}", Access::Needs(TokenScope::LineageRead), entry)
}

async fn entry(State(app): State<App>, Path(index): Path<u64>, read: Read) -> Result<Response, Problem> {
    let ledger = app.ledger().clone();
    app.page(read.volatile(), move |_, read, fresh| {
        let log = log_of(&read.tenant)?;
        let row = entry_row(&ledger, &log, index)?.ok_or_else(|| unknown_entry(index))?;
        let path = path_of(&ledger, &log, index)?;
        let facts = facts_of(&ledger, &log, index, FACTS_MAX)?;
        let (title, json) = (format!("Entry {index}"), format!("/api/v1/entries/{index}"));
        let frame = Frame { title: &title, json: &json, command: &format!("pedigraph log proof {index}"), read };
        let next = fresh.as_of.filter(|newest| index < *newest).map(|_| index + 1);
        let content = html! {
            (head(&row, read))
            (facts_list(&row, &facts))
            (section(path.as_ref(), index, read.tenant.as_str()))
            (tail(&row, next))
        };
        Ok(page(&frame, "", fresh, &content))
    })
    .await
}

fn head(row: &EntryRow, read: &Read) -> Markup {
    html! {
        h1 { "Entry " (row.index) ": " bdi { (row.kind) } }
        p .lead { "The leaf names the event; its hash is in the tree that every checkpoint signs." }
        @if row.status == "rejected" {
            p .warn {
                "It was not understood: " code { (row.code.as_deref().unwrap_or_default()) } ". Once the decoder reads it, drive it again: "
                (command(&format!("pedigraph rejects replay {}", row.index))) ". Its received bytes are kept below."
            }
        }
        (leaf(row, read))
    }
}

/// What it says: the first facts, each as it is recorded.
fn facts_list(row: &EntryRow, facts: &[String]) -> Markup {
    let more = u64::from(row.facts_count).saturating_sub(facts.len() as u64);
    html! {
        h2 id="facts" { "Facts" }
        @if facts.is_empty() { p .empty { "none that can be shown" } }
        @if !facts.is_empty() { p .lead { "As they are recorded; what has no value is left out." } }
        @for fact in facts { pre tabindex="0" { code { (fact) } } }
        @if more > 0 {
            p { (more) " more; " a href={ "/api/v1/entries/" (row.index) "/body" } { "the received bytes" } " have all of them." }
        }
    }
}

fn tail(row: &EntryRow, next: Option<u64>) -> Markup {
    html! {
        h2 { "Body" }
        p { a href={ "/api/v1/entries/" (row.index) "/body" } { "The " (row.body_size) " received bytes" } ", digest " code { (row.body_digest) } }
        p {
            @if let Some(before) = row.index.checked_sub(1) { a href={ "/entries/" (before) } rel="prev" { "Entry " (before) } " · " }
            @match next { Some(after) => a href={ "/entries/" (after) } rel="next" { "Entry " (after) }, None => "the newest" }
            " · " a href="/entries" { "All entries" }
        }
    }
}

fn leaf(row: &EntryRow, read: &Read) -> Markup {
    let subjects: Vec<&String> =
        if row.subjects.is_empty() { row.subject.iter().collect() } else { row.subjects.iter().collect() };
    html! {
        dl {
            dt { "Status" } dd { (status(&row.status)) @if let Some(code) = &row.code { " " code { (code) } } }
            @if let Some(reason) = &row.reason { dt { "Reason" } dd { (reason) } }
            @for (name, index) in [("Conflicts with", row.conflicts_with), ("Replay of", row.replay_of)] {
                @if let Some(index) = index { dt { (name) } dd { a href={ "/entries/" (index) } { "#" (index) } } }
            }
            dt { "Leaf hash" } dd { code { (row.leaf_hash) } }
            dt { "Event id" } dd { code { (row.event_id) } }
            dt { "Source" } dd { (text(&row.source)) }
            dt { "Id" } dd { (text(&row.id)) }
            dt { "Happened" } dd { (time(row.occurred_at)) }
            dt { "Recorded" } dd { (time(row.recorded_at)) }
            dt { "Came from" } dd { (row.origin.kind) " " bdi { (row.origin.topic) } @if let Some(partition) = row.origin.partition { "[" (partition) "]" }
                @if let Some(offset) = row.origin.offset { " at offset " (offset) } }
            @if !subjects.is_empty() {
                dt { "Subjects" } dd { @for digest in subjects { (artifact_link(digest, digest, read)) " " } }
            }
            dt { "Facts" } dd { (row.facts_count) @if !row.format.is_empty() { ", read by " (row.format) } }
        }
    }
}
