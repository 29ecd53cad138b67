//! `/entries/{index}`: one ledger entry: its leaf, its proof, its body.

use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};

use crate::access::scope::{Access, TokenScope};
use crate::answer::entry::{EntryRow, entry_row, unknown_entry};
use crate::app::App;
use crate::pages::frame::{Frame, artifact_link, page, status, text, time};
use crate::problem::Problem;
use crate::read::Read;
use crate::route::Routes;
use crate::tenant::log_of;

/// Its route.
pub fn routes() -> Routes {
    Routes::new().get("/entries/{index}", Access::Needs(TokenScope::LineageRead), entry)
}

async fn entry(State(app): State<App>, Path(index): Path<u64>, read: Read) -> Result<Response, Problem> {
    let ledger = app.ledger().clone();
    app.page(read.volatile(), move |_, read, fresh| {
        let log = log_of(&read.tenant)?;
        let row = entry_row(&ledger, &log, index)?.ok_or_else(|| unknown_entry(index))?;
        let signed = ledger.checkpoint(&log).map_or(0, |checkpoint| checkpoint.size);
        let (title, json) = (format!("Entry {index}"), format!("/api/v1/entries/{index}"));
        let frame = Frame { title: &title, json: &json, command: &format!("pedigraph log proof {index}") };
        let next = fresh.as_of.filter(|newest| index < *newest).map(|_| index + 1);
        Ok(page(&frame, "", fresh, &content(&row, read.tenant.as_str(), signed, next)))
    })
    .await
}

fn content(row: &EntryRow, tenant: &str, signed: u64, next: Option<u64>) -> Markup {
    html! {
        h1 { "Entry " (row.index) ": " (row.kind) }
        p .lead { "The leaf names the event; its hash is in the tree that every checkpoint signs." }
        (leaf(row))
        h2 { "Proof" }
        @if row.index < signed {
            p { a href={ "/api/v1/entries/" (row.index) "/proof" } { "Inclusion proof" } " under the checkpoint of size " (signed) ", checked with the "
                a href={ "/ledger/" (tenant) "/vkey" } { "verifier key" } "." }
        } @else { p { "No checkpoint covers this entry yet; look again in a moment." } }
        h2 { "Body" }
        p { a href={ "/api/v1/entries/" (row.index) "/body" } { "The " (row.body_size) " received bytes" } ", digest " code { (row.body_digest) } }
        p {
            @if let Some(before) = row.index.checked_sub(1) { a href={ "/entries/" (before) } rel="prev" { "Entry " (before) } " · " }
            @match next { Some(after) => a href={ "/entries/" (after) } rel="next" { "Entry " (after) }, None => "the newest" }
        }
    }
}

fn leaf(row: &EntryRow) -> Markup {
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
            dt { "Came from" } dd { (row.origin.kind) " " (row.origin.topic) @if let Some(partition) = row.origin.partition { "[" (partition) "]" }
                @if let Some(offset) = row.origin.offset { " at offset " (offset) } }
            @if !subjects.is_empty() {
                dt { "Subjects" } dd { @for digest in subjects { (artifact_link(digest, digest)) " " } }
            }
            dt { "Facts" } dd { (row.facts_count) @if !row.format.is_empty() { ", read by " (row.format) } }
        }
    }
}
