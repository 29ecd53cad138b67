//! The part of `/compare` for environments: what runs in one and in another, or in one at two moments, side by side.

use maud::{Markup, html};
use pedigraph_projector::answers::{EnvironmentSummary, Running};
use pedigraph_projector::{Compared, ComparedService, EnvironmentDiff, EnvironmentSide, Scope};

use crate::answer::environment::environment_diff_of;
use crate::answer::error::Error;
use crate::fresh::Fresh;
use crate::link::encoded;
use crate::pages::compared::Asked;
use crate::pages::frame::{
    as_of_known, at_moment, environment_link, moment_options, next_page, not_listed, place_chip, proof, quoted,
    running_link, table, time,
};
use crate::read::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};

/// Other environments that are named where only one side is.
const OTHERS_MAX: usize = 20;
/// Things of one service that run on a side and are listed.
const RUNNING_MAX: usize = 20;
/// How long ago what is offered as the other moment is.
const AGES: [(&str, &str); 3] = [("1h", "an hour"), ("24h", "a day"), ("7d", "a week")];

/// Both sides, where each names an environment as a whole.
pub(super) fn sides(scope: &Scope, asked: &Asked<'_>) -> Result<Option<(EnvironmentSide, EnvironmentSide)>, Error> {
    let Some(a) = scope.whole_environment(asked.a)? else { return Ok(None) };
    Ok(scope.whole_environment(asked.b)?.map(|b| (a, b)))
}

/// As JSON, and in a terminal.
pub(super) fn same_elsewhere((a, b): &(EnvironmentSide, EnvironmentSide), asked: &Asked<'_>) -> (String, String) {
    let only = if asked.only { "&onlyChanges=true" } else { "" };
    let mut query = format!("?with={}{only}", encoded(&b.environment));
    let mut options = format!(" --with {}", quoted(&b.environment));
    for (name, side) in [("from", a), ("to", b)] {
        // What is the question's own moment is not said twice.
        if let Some(at) = side.at.filter(|_| side.at != asked.read.moment.at) {
            query.push_str(&format!("&{name}={}", encoded(&at.to_string())));
            options.push_str(&format!(" --{name} {at}"));
        }
    }
    if asked.only {
        options.push_str(" --only-changes");
    }
    let json = format!("/api/v1/environments/{}/diff{query}", encoded(&a.environment));
    let command = format!("pedigraph env {}{options}{}", quoted(&a.environment), moment_options(asked.read));
    (at_moment(&json, asked.read), command)
}

/// The comparison.
pub(super) fn content(
    scope: &Scope,
    (a, b): &(EnvironmentSide, EnvironmentSide),
    asked: &Asked<'_>,
    fresh: &Fresh,
) -> Result<Markup, Error> {
    let read = asked.read;
    if a == b {
        return Ok(html! {
            p .warn role="status" {
                "Both sides are one environment at one moment. Name another environment, or a moment of one of them, such as "
                code { (a.environment) "@{2h}" } "."
            }
        });
    }
    let limit = if read.page_size == PAGE_SIZE_DEFAULT { PAGE_SIZE_MAX } else { read.page_size };
    let (diff, next) = environment_diff_of(scope, (a, b), asked.only, read.after.as_deref(), limit)?;
    let next = read.next(fresh, next).map(|token| next_page("/compare", &token, read));
    let rows: Vec<Markup> = diff.services.iter().map(|service| row(service, asked)).collect();
    let columns = ["Service", "How", "A", "B"];
    Ok(html! {
        p .lead { "A is " (side(a, asked)) ", B is " (side(b, asked)) "." }
        (counts(&diff))
        p .soft {
            @if asked.only { "What is the same on both sides is left out. " a href=(asked.of(asked.tab, false)) { "Show all" } }
            @else { a href=(asked.of(asked.tab, true)) { "Only changes" } }
        }
        @if rows.is_empty() && asked.only {
            p { "Nothing is different" @if next.is_some() { " among the services that were compared so far" } "." }
        } @else {
            (table("Services", "What runs on each side, by service", &columns, &rows))
        }
        @if let Some(next) = next { p { "More services follow. " a href=(next) rel="next" { "Next page" } } }
    })
}

fn side(side: &EnvironmentSide, asked: &Asked<'_>) -> Markup {
    html! {
        @match side.at {
            None => (environment_link(&side.environment, asked.read)),
            Some(at) => {
                @let address = format!("/environments/{}?at={}", encoded(&side.environment), encoded(&at.to_string()));
                a href=(as_of_known(&address, asked.read)) { (side.environment) } " at " (time(at))
            }
        }
    }
}

/// How many services are how; of a page that is not the last, at least so many.
fn counts(diff: &EnvironmentDiff) -> Markup {
    let counts = &diff.counts;
    let at_least = if diff.at_least { "at least " } else { "" };
    html! {
        p .counts {
            strong { (at_least) (counts.different) " different" } ", " (at_least) (counts.only_from) " only in A, "
            (at_least) (counts.only_to) " only in B, " (at_least) (counts.same) " the same"
        }
    }
}

fn row(service: &ComparedService, asked: &Asked<'_>) -> Markup {
    let how = match service.state {
        Compared::Same => html! { span .soft { "same" } },
        Compared::Different => html! { span .chip.warn { "different" } },
        Compared::OnlyFrom => html! { span .chip { "only in A" } },
        Compared::OnlyTo => html! { span .chip { "only in B" } },
    };
    let cell = |running: &[Running], cut: u64| {
        html! {
            @if running.is_empty() { span .soft { "does not run" } }
            @for (n, run) in running.iter().take(RUNNING_MAX).enumerate() { @if n > 0 { br; } (runs(run, asked)) }
            @if let Some(rest) = not_listed(running, cut, RUNNING_MAX, false) { br; (rest) }
        }
    };
    html! {
        th scope="row" { (service.service) }
        td {
            (how)
            @if service.state == Compared::Different {
                @if let Some(address) = pair(&service.from, &service.to, asked) { br; a href=(address) { "Compare both" } }
            }
            @if service.running_at_least { br; "as far as it was looked at" }
            @if service.canaries_cut > 0 { br; (service.canaries_cut) " canaries are not listed" }
        }
        td { (cell(&service.from, service.from_cut)) }
        td { (cell(&service.to, service.to_cut)) }
    }
}

fn runs(run: &Running, asked: &Asked<'_>) -> Markup {
    html! {
        (running_link(run.digest.as_deref(), &run.artifact_ref, asked.read))
        @if run.weight < 100 { " " span .chip { (run.weight) " %" } }
        (place_chip(run))
        br; span .soft { "since " (time(run.since)) } " " (proof(&run.proof))
    }
}

/// The comparison of what has the greatest share on each side, where these are two.
fn pair(from: &[Running], to: &[Running], asked: &Asked<'_>) -> Option<String> {
    let main = |side: &[Running]| {
        let main = side.iter().max_by_key(|run| run.weight)?;
        Some(main.digest.clone().unwrap_or_else(|| main.artifact_ref.clone()))
    };
    let (a, b) = (main(from)?, main(to)?);
    (a != b).then(|| at_moment(&format!("/compare?a={}&b={}", encoded(&a), encoded(&b)), asked.read))
}

/// What the other side may be, where one is an environment: the same at another moment, or another one.
pub(super) fn others(scope: &Scope, name: &str, asked: &Asked<'_>) -> Result<Option<Markup>, Error> {
    let Some(side) = scope.whole_environment(name)? else { return Ok(None) };
    let page = scope.environments_page(None, OTHERS_MAX + 1)?;
    let others: Vec<&EnvironmentSummary> =
        page.rows.iter().filter(|other| other.environment != side.environment).take(OTHERS_MAX).collect();
    let known = page.rows.len().saturating_sub(1);
    Ok(Some(html! {
        p { "One side is the environment " (environment_link(&side.environment, asked.read)) ". Name the other one above, or choose:" }
        ul {
            @if is_plain(&side.environment) && side.at.is_none() {
                @for (age, words) in AGES { li { a href=(before(&side.environment, age, asked)) { "how it was " (words) " ago" } } }
            }
            @for other in others.iter().filter(|other| is_plain(&other.environment)) {
                li { a href=(Asked { a: name, b: &other.environment, ..*asked }.of(asked.tab, asked.only)) { "the environment " (other.environment) } }
            }
            @if page.next.is_some() || known > OTHERS_MAX { li { a href=(at_moment("/environments", asked.read)) { "all environments" } } }
        }
    }))
}

/// An environment as it was, beside how it is.
fn before(name: &str, age: &str, asked: &Asked<'_>) -> String {
    Asked { a: &format!("{name}@{{{age}}}"), b: name, ..*asked }.of(asked.tab, asked.only)
}

/// Whether a name can be written as a reference: these marks stand for moments there.
pub(super) fn is_plain(name: &str) -> bool {
    !name.contains(['~', '#', '@']) && name.trim() == name
}
