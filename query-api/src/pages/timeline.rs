//! The changes of an environment over time: a table, the same as marks on a line, and the way to the state at any moment.

use maud::{Markup, html};
use pedigraph_projector::answers::{Change, Page};
use pedigraph_proto::Nanos;

use crate::link::encoded;
use crate::pages::frame::{as_of_known, at_moment, proof, running_link, table, text, time};
use crate::read::{PAGE_SIZE_MAX, Read};

/// Units of the line that marks stand on.
const WIDTH: u32 = 1_000;

/// A form for the moment, which a module makes a slider over the changes that are shown.
pub fn control(name: &str, changes: &[Change], read: &Read) -> Markup {
    let address = format!("/environments/{}", encoded(name));
    let known = read.params.get("asOf");
    let now = as_of_known(&address, read);
    let at = read.moment.at.map(field_of).unwrap_or_default();
    html! {
        form .moment action=(address) method="get" data-timeline="" {
            div {
                label for="at" { "At (UTC)" }
                input id="at" name="at" type="datetime-local" value=(at) step="1";
            }
            @if let Some(known) = known { input type="hidden" name="asOf" value=(known); }
            button type="submit" { "Show" }
            @if read.moment.at.is_some() { a href=(now) { "Back to now" } }
            @if let [newest, _, ..] = changes {
                a href=(moment(name, before(newest.at), read)) { "Before the newest change" }
            }
        }
        (marks(changes))
    }
}

/// As a field for a moment takes it.
fn field_of(at: Nanos) -> String {
    at.to_string().split(['.', 'Z']).next().unwrap_or_default().to_owned()
}

/// The newest changes, and where the others are.
pub fn changes(name: &str, page: &Page<Change>, read: &Read) -> Markup {
    let rows: Vec<Markup> = page.rows.iter().map(|change| row(name, change, read)).collect();
    let older = page.rows.last().filter(|_| page.next.is_some());
    let json = format!("/api/v1/environments/{}/changes?pageSize={PAGE_SIZE_MAX}", encoded(name));
    let columns = ["When", "Service", "Change", "From", "To", "Why", "State then", "Proof"];
    html! {
        div #changes { (table("Changes", "Newest first", &columns, &rows)) }
        @if let Some(oldest) = older {
            p {
                "These are the newest. "
                a href={ (then(name, oldest, read)) "#changes" } rel="next" { "Older changes" } " · "
                a href=(at_moment(&json, read)) { "more as JSON" }
            }
        }
    }
}

/// The environment as it was at a change.
fn then(name: &str, change: &Change, read: &Read) -> String {
    moment(name, change.at, read)
}

fn moment(name: &str, at: Nanos, read: &Read) -> String {
    as_of_known(&format!("/environments/{}?at={}", encoded(name), encoded(&at.to_string())), read)
}

/// Right before a moment, of which there may be several changes.
fn before(at: Nanos) -> Nanos {
    Nanos(at.0.saturating_sub(1))
}

/// What a side of a change is called and where it leads: to what ran, whatever its tag names today.
pub fn side(reference: Option<&str>, digest: Option<&str>, read: &Read) -> Markup {
    html! { @if let Some(reference) = reference { (running_link(digest, reference, read)) } }
}

fn row(name: &str, change: &Change, read: &Read) -> Markup {
    let Change { from, from_digest, to, to_digest, .. } = change;
    let pair = from_digest.as_ref().or(from.as_ref()).zip(to_digest.as_ref().or(to.as_ref()));
    html! {
        td { (time(change.at)) }
        th scope="row" { (change.service) }
        td { span .chip { (change.kind) } }
        td { (side(from.as_deref(), from_digest.as_deref(), read)) }
        td {
            (side(to.as_deref(), to_digest.as_deref(), read))
            @if let Some((from, to)) = pair.filter(|(from, to)| from != to) {
                @let address = format!("/compare?a={}&b={}", encoded(from), encoded(to));
                br; a href=(at_moment(&address, read)) { "Compare both" }
            }
        }
        td { @if let Some(reason) = &change.reason { (text(reason)) } }
        td { a href=(then(name, change, read)) { "Show" } }
        td { (proof(&change.proof)) }
    }
}

/// The changes as marks on a line of time; the table says the same.
fn marks(changes: &[Change]) -> Markup {
    let (Some(newest), Some(oldest)) = (changes.first(), changes.last()) else { return html! {} };
    if newest.at == oldest.at {
        return html! {};
    }
    let x = |change: &Change| place(change.at.0, oldest.at.0, newest.at.0);
    html! {
        svg .marks viewBox={ "-10 0 " (WIDTH + 20) " 24" } preserveAspectRatio="none" role="img" aria-label="Changes over time; the table below lists them" {
            path .parent d={ "M0 12H" (WIDTH) } {}
            @for change in changes {
                path .mark d={ "M" (x(change)) " 4V20" } data-moment=(change.at) { title { (change.service) ": " (change.kind) } }
            }
        }
        p .ends { span { (time(oldest.at)) } span { (changes.len()) " changes" } span { (time(newest.at)) } }
    }
}

/// Where a moment stands between two others, in units of the line.
fn place(at: i64, from: i64, to: i64) -> u32 {
    let span = i128::from(to) - i128::from(from);
    let passed = (i128::from(at) - i128::from(from)) * i128::from(WIDTH);
    u32::try_from(passed.checked_div(span).unwrap_or(0)).unwrap_or(0).min(WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_where_their_time_is() {
        assert_eq!([place(0, 0, 10), place(5, 0, 10), place(10, 0, 10)], [0, 500, 1_000]);
        assert_eq!([place(5, 5, 5), place(i64::MAX, i64::MIN, i64::MAX), place(-1, 0, 10)], [0, 1_000, 0]);
    }

    #[test]
    fn a_field_for_a_moment_has_no_zone() {
        let at = Nanos::parse("2026-08-14T12:47:03.5Z").expect("a time");
        assert_eq!(field_of(at), "2026-08-14T12:47:03");
    }
}
