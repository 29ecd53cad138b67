//! `/freshness`: where every source, the ledger and every view stand.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use pedigraph_projector::answers::ViewProgress;

use crate::access::scope::{Access, TokenScope};
use crate::answer::freshness::{Freshness, freshness_of};
use crate::app::App;
use crate::pages::frame::{Frame, page, table, time};
use crate::percentiles::{BUCKETS_MS, Percentiles};
use crate::problem::Problem;
use crate::read::Read;
use crate::report::SourceLag;
use crate::route::Routes;

/// Its route.
pub fn routes() -> Routes {
    Routes::new().get("/freshness", Access::Needs(TokenScope::LineageRead), freshness)
}

async fn freshness(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    let server = app.clone();
    app.page(read.volatile(), move |_, read, fresh| {
        let freshness = freshness_of(&server, &read.tenant)?;
        let command = "curl -s $PEDIGRAPH_URL/api/v1/freshness";
        let frame = Frame { title: "Freshness", json: "/api/v1/freshness", command, read };
        let counts = server.config.end_to_end.durable_to_visible_counts();
        let content = html! { (content(&freshness)) (histogram(&counts)) };
        Ok(page(&frame, "", fresh, &content))
    })
    .await
}

fn content(freshness: &Freshness) -> Markup {
    let roots = &freshness.view_roots;
    html! {
        h1 { "Freshness" }
        dl {
            dt { "Ledger" } dd { (freshness.head.size) " entries" }
            dt { "Signed" } dd { "up to " (freshness.head.checkpoint_size) @if let Some(at) = freshness.head.checkpoint_at { ", " (time(at)) } }
            dt { "View roots" } dd { (roots.compared) " compared, " (roots.mismatched) " differed" @if let Some(last) = roots.last.as_ref().filter(|last| !last.equal) { ": " (last) } }
            dt { "Durable to visible" } dd { (percentiles(freshness.end_to_end_ms)) }
            dt { "Event to visible" } dd { (percentiles(freshness.event_to_visible_ms)) }
        }
        (table("Sources", "By partition", &["Source", "Next offset", "End", "Behind"], &freshness.sources.iter().map(source).collect::<Vec<_>>()))
        (table("Views", "What the answers are read from", &["View", "Next index", "Behind", "Root"], &freshness.views.iter().map(view).collect::<Vec<_>>()))
    }
}

fn percentiles(of: Percentiles) -> String {
    let told = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), span);
    format!("median {}, p90 {}, p99 {}", told(of.p50), told(of.p90), told(of.p99))
}

/// A time span in the largest unit of which it has two or more: what is recorded later than it happened may take days.
fn span(ms: f64) -> String {
    let units = [(86_400_000.0, "d"), (3_600_000.0, "h"), (60_000.0, "min"), (1_000.0, "s")];
    let (size, unit) = units.into_iter().find(|(size, _)| ms >= 2.0 * size).unwrap_or((1.0, "ms"));
    format!("{:.1} {unit}", ms / size)
}

/// Of the picture of times, in its own units: width and distance of its bars, and height of the highest.
const BAR: usize = 56;
const GAP: usize = 8;
const HEIGHT: usize = 120;

/// The newest times from durable to visible, as a picture and as a table; nothing before the first.
fn histogram(counts: &[usize]) -> Markup {
    let all: usize = counts.iter().sum();
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let names: Vec<String> = (0..counts.len()).map(bucket).collect();
    let rows = names.iter().zip(counts).map(|(name, count)| {
        let percent = (count * 100).checked_div(all).unwrap_or(0);
        html! { th scope="row" { (name) } td { (count) } td { (percent) " %" } }
    });
    let (width, foot) = (counts.len() * (BAR + GAP), HEIGHT + 20);
    html! {
        @if all > 0 {
            h2 { "From durable to visible" }
            svg .chart role="img" aria-label={ "Times of the newest " (all) " entries; the table below has the same" } viewBox={ "0 0 " (width) " " (foot + 20) } {
                @for (n, count) in counts.iter().enumerate() {
                    @let (x, high) = (n * (BAR + GAP), count * HEIGHT / most);
                    rect .bar x=(x) y=(HEIGHT + 16 - high) width=(BAR) height=(high) {}
                    @if *count > 0 { text x=(x + BAR / 2) y=(HEIGHT + 12 - high) text-anchor="middle" { (count) } }
                    text x=(x + BAR / 2) y=(foot + 14) text-anchor="middle" { (names[n]) }
                }
                line x1="0" x2=(width) y1=(HEIGHT + 16) y2=(HEIGHT + 16) {}
            }
            (table("Times by size", &format!("Of the newest {all} entries"), &["Until visible", "Entries", "Part"], &rows.collect::<Vec<_>>()))
        }
    }
}

/// What a bucket is called.
fn bucket(n: usize) -> String {
    match BUCKETS_MS.get(n) {
        Some(end) => format!("≤ {}", short_span(*end)),
        None => format!("> {}", short_span(BUCKETS_MS[BUCKETS_MS.len() - 1])),
    }
}

fn short_span(ms: f64) -> String {
    if ms < 1_000.0 { format!("{ms} ms") } else { format!("{} s", ms / 1_000.0) }
}

fn source(source: &SourceLag) -> Markup {
    html! {
        th scope="row" { bdi { (source.name) } @if let Some(partition) = source.partition { "[" (partition) "]" } }
        td { (source.position) }
        td { @if let Some(end) = source.end { (end) } }
        td {
            @if let Some(messages) = source.lag_messages { (messages) " messages" }
            @if let Some(ms) = source.lag_ms { ", " (ms) " ms" }
            @if let Some(advice) = &source.advice { " " strong { (advice) } }
        }
    }
}

fn view(view: &ViewProgress) -> Markup {
    html! {
        th scope="row" { (view.name) }
        td { (view.next_index) }
        td { (view.lag_entries) " entries, " (view.lag_ms) " ms" }
        td .mono { (view.root.as_deref().unwrap_or_default()) }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn spans_are_told_in_units_that_people_read() {
        let told = [0.24, 1_999.0, 2_000.0, 119_000.0, 150_000.0, 9_000_000.0, 2_592_002_283.4].map(super::span);
        assert_eq!(told, ["0.2 ms", "1999.0 ms", "2.0 s", "119.0 s", "2.5 min", "2.5 h", "30.0 d"]);
    }
}
