//! `/entries`: the ledger from its newest entry back, by status, type and subject.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use pedigraph_projector::{Found, Scope};
use pedigraph_proto::{Digest, Event};

use crate::access::scope::{Access, TokenScope};
use crate::answer::entries::{Filter, Listing, Order};
use crate::answer::entry::EntryRow;
use crate::answer::lineage::REFERENCE_BYTES_MAX;
use crate::api::entries::page_index;
use crate::app::App;
use crate::link::encoded;
use crate::pages::frame::{
    Frame, artifact_link, at_moment, command, how_to_send, live, moment_fields, next_page, page, quoted, short, status,
    table, text, time,
};
use crate::problem::Problem;
use crate::read::Read;
use crate::route::Routes;
use crate::tenant::log_of;

const STATUSES: [&str; 3] = ["accepted", "rejected", "conflict"];

/// Its route.
pub fn routes() -> Routes {
    Routes::new().get("/entries", Access::Needs(TokenScope::LineageRead), entries)
}

/// What of the form cannot be looked for, in words.
type Odd = Option<String>;

async fn entries(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    let before = read.after.as_deref().map(page_index).transpose()?;
    let (ledger, log) = (app.ledger().clone(), log_of(&read.tenant)?);
    app.page(read, move |scope, read, fresh| {
        let (filter, odd) = asked(scope, read)?;
        let size = fresh.as_of.map_or(0, |index| index + 1);
        let end = before.map_or(size, |before| before.min(size));
        let listing = Listing { ledger: &ledger, log: &log, scope, filter: &filter, order: Order::NewestFirst };
        let (rows, left) = if odd.is_some() { (vec![], None) } else { listing.page(0, end, read.page_size)? };
        let key = left.map(|(_, end)| end.to_be_bytes().to_vec());
        let next = read.next(fresh, key).map(|token| next_page("/entries", &token, read));
        let json = json_of(&filter, read);
        let command = command_of(&filter, &json);
        let frame = Frame { title: "Ledger", json: &json, command: &command, read };
        let content = html! {
            h1 { "Ledger" }
            p .lead { "Every message that came in, newest first; none is ever changed or removed. A duplicate adds no entry." }
            (form(read, odd.as_deref()))
            (live("entries", read, &list(&rows, next.as_deref(), odd.is_some() || is_narrowed(&filter), read)))
        };
        Ok(page(&frame, "", fresh, &content))
    })
    .await
}

/// What the form asks for. A subject may be whatever names one artifact.
fn asked(scope: &Scope, read: &Read) -> Result<(Filter, Odd), Problem> {
    let get = |name: &str| read.params.get(name).map(str::to_owned);
    let mut filter = Filter { status: get("status"), subject: None, kind: get("type"), at: read.moment.at };
    if let Some(status) = filter.status.as_ref().filter(|status| !STATUSES.contains(&status.as_str())) {
        let odd = format!("No entry has the status “{status}”: it is accepted, rejected or conflict.");
        return Ok((filter, Some(odd)));
    }
    let Some(subject) = get("subject") else { return Ok((filter, None)) };
    let (digest, odd) = match subject.parse::<Digest>() {
        Ok(digest) => (Some(digest.to_string()), None),
        Err(_) if subject.len() > REFERENCE_BYTES_MAX => (None, Some("The subject is too long.".to_owned())),
        Err(_) => match scope.artifact_digest(&subject)? {
            Found::One(digest) => (Some(digest), None),
            Found::Ambiguous(_) => (None, Some(format!("“{subject}” names several artifacts: give a digest."))),
            Found::Nothing => (None, Some(format!("No artifact that is known is named “{subject}”."))),
        },
    };
    filter.subject = digest;
    Ok((filter, odd))
}

fn is_narrowed(filter: &Filter) -> bool {
    filter.status.is_some() || filter.subject.is_some() || filter.kind.is_some() || filter.at.is_some()
}

fn json_of(filter: &Filter, read: &Read) -> String {
    let given = [("status", &filter.status), ("type", &filter.kind), ("subject", &filter.subject)];
    let given = given.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_ref()?))));
    at_moment(&format!("/api/v1/entries?{}", given.collect::<Vec<_>>().join("&")), read)
}

/// The command line lists rejects and all entries; what is between is asked as a program does.
fn command_of(filter: &Filter, json: &str) -> String {
    match (is_narrowed(filter), filter.status.as_deref(), &filter.kind, &filter.subject) {
        (false, ..) => "pedigraph log entries".to_owned(),
        (true, Some("rejected"), None, None) => "pedigraph rejects list".to_owned(),
        (true, ..) => format!("curl -s \"$PEDIGRAPH_URL\"{}", quoted(json)),
    }
}

/// As events stand in entries: the words of their kebab-case names, each with a capital.
fn kinds() -> Vec<String> {
    let capital = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        format!("{}{rest}", first.to_ascii_uppercase())
    };
    let mut kinds: Vec<String> =
        Event::KEBAB_NAMES.iter().map(|kebab| kebab.split('-').map(capital).collect()).collect();
    kinds.sort();
    kinds
}

fn form(read: &Read, odd: Option<&str>) -> Markup {
    let get = |name: &str| read.params.get(name).unwrap_or_default();
    let option = |name: &str, value: &str| html! { option value=(value) selected[get(name) == value] { (value) } };
    html! {
        form .fields action="/entries" method="get" role="search" aria-label="Entries" {
            label { "Status" select name="status" { option value="" { "any" } @for value in STATUSES { (option("status", value)) } } }
            label { "Type" select name="type" { option value="" { "any" } @for value in kinds() { (option("type", &value)) } } }
            label { "About" input name="subject" type="text" value=(get("subject")) placeholder="digest or app:v1.2" maxlength=(REFERENCE_BYTES_MAX); }
            (moment_fields(read))
            button type="submit" { "Show" }
            @if ["status", "type", "subject"].iter().any(|name| read.params.get(name).is_some()) {
                a href=(at_moment("/entries", read)) { "All entries" }
            }
        }
        @if let Some(odd) = odd { p .bad role="alert" { (odd) } }
    }
}

fn list(rows: &[EntryRow], next: Option<&str>, is_narrowed: bool, read: &Read) -> Markup {
    let listed: Vec<Markup> = rows.iter().map(|entry| row(entry, read)).collect();
    html! {
        @if rows.is_empty() {
            @if is_narrowed || next.is_some() {
                p .empty { "No entry " @if next.is_some() { "among those that were looked at " } "is like that." }
            } @else { p .empty { "The ledger is empty." } (how_to_send()) }
        } @else {
            (table("Entries", "Newest first", &["Entry", "Type", "Status", "About", "Happened", "Recorded"], &listed))
        }
        @if let Some(next) = next { p { "Older entries follow. " a href=(next) rel="next" { "Older entries" } } }
    }
}

fn row(entry: &EntryRow, read: &Read) -> Markup {
    let more = entry.subjects.len().saturating_sub(1);
    html! {
        th scope="row" { a href={ "/entries/" (entry.index) } { "#" (entry.index) } }
        td { (entry.kind) }
        td {
            (status(&entry.status))
            @if let Some(code) = &entry.code { " " code { (code) } }
            @if let Some(reason) = &entry.reason { br; small { (reason) } }
            @if entry.status == "rejected" { br; small { "mend the decoder or the event, then " (command(&format!("pedigraph rejects replay {}", entry.index))) } }
            @if let Some(first) = entry.conflicts_with { " with " a href={ "/entries/" (first) } { "#" (first) } }
            @if let Some(first) = entry.replay_of { " replay of " a href={ "/entries/" (first) } { "#" (first) } }
        }
        td {
            @match &entry.subject {
                Some(digest) => { (artifact_link(digest, &short(digest), read)) @if more > 0 { " and " (more) " more" } },
                None => (text(&entry.source)),
            }
        }
        td { (time(entry.occurred_at)) }
        td { (time(entry.recorded_at)) }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn kinds_are_the_names_of_events() {
        for kebab in pedigraph_proto::Event::KEBAB_NAMES {
            let event = pedigraph_proto::Event::from_json(kebab, b"{}").expect("known").expect("empty is valid");
            assert!(super::kinds().contains(&event.name().to_owned()), "{kebab}");
        }
    }
}
