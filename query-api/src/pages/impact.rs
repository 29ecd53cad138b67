//! `/components/impact?purl=` and `/vulnerabilities/{id}`: what is affected, and where it runs.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};
use pedigraph_projector::answers::{FixCount, Impact, ImpactRow, UnknownRow};

use crate::access::scope::{Access, TokenScope};
use crate::answer::impact::impact_of;
use crate::app::App;
use crate::link::encoded;
use crate::pages::csv;
use crate::pages::frame::{
    Frame, artifact_link, asked_again, at_moment, environment_link, further, how_to_send, moment_options, next_page,
    page, proof, quoted, table, time, verdict_address,
};
use crate::pages::names::wrapped;
use crate::problem::Problem;
use crate::question;
use crate::read::Read;
use crate::route::Routes;

const RUNS: [&str; 6] = ["Environment", "Service", "Artifact", "As", "Since", "Proof"];
const RESTS: [&str; 4] = ["Artifact", "As", "Known since", "Proof"];
const CLEARED: [&str; 4] = ["Artifact", "Runs in", "As", "Proof"];
const UNKNOWN: [&str; 4] = ["Environment", "Service", "Artifact", "Why"];

/// Their routes.
pub fn routes() -> Routes {
    Routes::new().get("/components/impact", Access::Needs(TokenScope::LineageRead), component).get(
        "/vulnerabilities/{id}",
        Access::Needs(TokenScope::LineageRead),
        vulnerability,
    )
}

async fn vulnerability(State(app): State<App>, Path(id): Path<String>, read: Read) -> Result<Response, Problem> {
    let question = question::vulnerability(&read, &id)?;
    if csv::is_asked(&read)? {
        return csv::answer(&app, read, question, format!("/vulnerabilities/{}", encoded(&id))).await;
    }
    app.page(read, move |scope, read, fresh| {
        let (impact, next) = impact_of(scope, &question)?;
        let path = format!("/vulnerabilities/{}", encoded(&id));
        let next = read.next(fresh, next).map(|token| next_page(&path, &token, read));
        let json = at_moment(&format!("/api/v1/vulnerabilities/{}/impact", encoded(&id)), read);
        let command = format!("pedigraph impact {}{}", quoted(&id), moment_options(read));
        let frame = Frame { title: &id, json: &json, command: &command, read };
        let csv = csv::address(&path, read);
        let asked = Asked { text: &id, progress: question.progress, progress_at: None, csv: &csv, read };
        Ok(page(&frame, "", fresh, &content(&impact, &asked, next.as_deref())))
    })
    .await
}

async fn component(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    let question = question::impact(&read)?;
    if csv::is_asked(&read)? {
        return csv::answer(&app, read, question, "/components/impact".to_owned()).await;
    }
    app.page(read, move |scope, read, fresh| {
        let (impact, next) = impact_of(scope, &question)?;
        let next = read.next(fresh, next).map(|token| next_page("/components/impact", &token, read));
        let purl = impact.purl.as_deref().unwrap_or_default();
        let (told, option) = if question.progress { ("&progress=true", " --progress") } else { ("", "") };
        let address = at_moment(&format!("/api/v1/components/impact?purl={}{told}", encoded(purl)), read);
        let command = format!("pedigraph impact {}{option}{}", quoted(purl), moment_options(read));
        let frame = Frame { title: purl, json: &address, command: &command, read };
        let with_progress = (!question.progress).then(|| with_progress(read));
        let csv = csv::address("/components/impact", read);
        let progress_at = with_progress.as_deref();
        let asked = Asked { text: purl, progress: question.progress, progress_at, csv: &csv, read };
        Ok(page(&frame, "", fresh, &content(&impact, &asked, next.as_deref())))
    })
    .await
}

/// The same page of a package, which also tells how far fixes are rolled out.
fn with_progress(read: &Read) -> String {
    format!("{}progress=true", asked_again("/components/impact", read, &["progress"]))
}

/// What a page is about.
struct Asked<'a> {
    /// The text that was asked for.
    text: &'a str,
    /// It tells how far fixes are rolled out.
    progress: bool,
    /// Where the same is told with it, if it is not here.
    progress_at: Option<&'a str>,
    /// Where the same is a table for spreadsheets.
    csv: &'a str,
    /// The moment.
    read: &'a Read,
}

fn content(impact: &Impact, asked: &Asked<'_>, next: Option<&str>) -> Markup {
    let (counts, read) = (impact.counts, asked.read);
    let at_least = |list: &str| if impact.at_least.iter().any(|name| name == list) { "at least " } else { "" };
    let elsewhere = impact.not_deployed.as_deref().unwrap_or_default();
    let of = impact.vulnerability.as_deref();
    let runs: Vec<Markup> = impact.deployed.iter().map(|row| deployed(row, of, asked.progress, read)).collect();
    let mut running = columns(&RUNS, of);
    if asked.progress {
        running.insert(running.len() - 1, "Fix rolled out");
    }
    let rests: Vec<Markup> = elsewhere.iter().map(|row| not_deployed(row, of, read)).collect();
    let cleared: Vec<Markup> = impact.cleared.iter().map(|row| cleared_row(row, of, read)).collect();
    let unknown: Vec<Markup> = impact.unknown.iter().map(|row| unknown_row(row, read)).collect();
    html! {
        h1 { span .mono { (of.unwrap_or(asked.text)) } }
        @if let Some(aliases) = impact.aliases.as_deref().filter(|aliases| !aliases.is_empty()) {
            p { "Also called " @for (n, alias) in aliases.iter().enumerate() { @if n > 0 { ", " } bdi { (alias) } } "." }
        }
        p .lead {
            (if of.is_some() { "Affects what runs in " } else { "Runs in " })
            (at_least("deployed")) (number(counts.deployed, "place", "places"))
            (if of.is_some() { ", and " } else { ", and is in " })
            (at_least("notDeployed")) (number(counts.not_deployed, "artifact that runs", "artifacts that run"))
            " nowhere."
            @if of.is_some() {
                " Cleared: " (at_least("cleared")) (number(counts.cleared, "place or artifact", "places or artifacts")) "."
            }
            " Nobody knows about " (at_least("unknown"))
            (number(counts.unknown, "thing that runs", "things that run")) ": that is not said to be safe."
        }
        @if counts.deployed + counts.not_deployed + counts.cleared == 0 {
            p .empty {
                (match (of.is_some(), impact.known) {
                    (true, true) => "No scan, statement or advisory that was recorded concerns an artifact that is known.",
                    (true, false) => "Nothing that was recorded names it. This does not say that it is safe.",
                    (false, true) => "No SBOM that was recorded lists what is asked for, though other versions of it.",
                    (false, false) => "No SBOM that was recorded lists it. This does not say that nobody has it.",
                })
            }
            (how_to_send())
        }
        p .tools {
            @if let Some(id) = of {
                @let address = format!("/vulnerabilities/{}/deltas", encoded(id));
                a href=(at_moment(&address, asked.read)) { "Where the verdict changes from version to version" } " · "
            }
            a href=(asked.csv) download="impact.csv" { "As CSV" }
        }
        (bars(&impact.deployed, read))
        (table("Where it runs", "By environment and service", &running, &runs))
        @if let Some(address) = asked.progress_at {
            p { a href=(address) { "Show how far fixes are rolled out" } }
        }
        @if of.is_some() {
            (table("Cleared", "Fixed or not affected, as somebody says who may", &columns(&CLEARED, of), &cleared))
        }
        (table("In artifacts that run nowhere", "By name", &columns(&RESTS, of), &rests))
        (table("Running, and unknown", "No SBOM was recorded, or versions cannot be compared", &UNKNOWN, &unknown))
        (further(next))
    }
}

/// How far the fix is rolled out in each environment of these rows, as bars.
fn bars(rows: &[ImpactRow], read: &Read) -> Markup {
    let mut bars: BTreeMap<&str, (FixCount, bool)> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for row in rows {
        let (Some(environment), Some(progress)) = (row.environment.as_deref(), row.fix_progress) else { continue };
        // Rows of one line in one environment tell the same numbers.
        if seen.insert((environment, row.fixed_in.as_deref().unwrap_or_default())) {
            let (count, at_least) = bars.entry(environment).or_default();
            count.lanes += progress.in_environment.lanes;
            count.fixed += progress.in_environment.fixed;
            *at_least |= progress.at_least;
        }
    }
    let row = |(environment, (count, at_least)): (&&str, &(FixCount, bool))| {
        html! {
            th scope="row" { (environment_link(environment, read)) }
            td { progress value=(count.fixed) max=(count.lanes) aria-label={ "Fixed in " (environment) } {} }
            td { @if *at_least { "at least " } (count.fixed) " of " (count.lanes) " places" }
        }
    };
    let rows: Vec<Markup> = bars.iter().filter(|(_, (count, _))| count.lanes > 0).map(row).collect();
    html! {
        @if !rows.is_empty() {
            (table("How far the fix is", "Places that run a version which is free of it, of those on this page", &["Environment", "Fixed", "Places"], &rows))
        }
    }
}

/// The columns of a table, and of a vulnerability the verdict before the last.
fn columns(names: &[&'static str], of: Option<&str>) -> Vec<&'static str> {
    let mut columns = names.to_vec();
    if of.is_some() {
        columns.insert(columns.len() - 1, "Verdict");
    }
    columns
}

fn number(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

fn deployed(row: &ImpactRow, of: Option<&str>, progress: bool, read: &Read) -> Markup {
    html! {
        th scope="row" { @if let Some(name) = &row.environment { (environment_link(name, read)) } }
        td { (row.service.as_deref().unwrap_or_default()) }
        td { (artifact_link(&row.digest, &row.artifact_ref, read)) }
        td { (components(row)) }
        td { @if let Some(since) = row.since { (time(since)) } }
        (verdict(row, of, read))
        @if progress { td { (rollout(row, of)) } }
        td { (proof(&row.proof)) }
    }
}

fn cleared_row(row: &ImpactRow, of: Option<&str>, read: &Read) -> Markup {
    html! {
        th scope="row" { (artifact_link(&row.digest, &row.artifact_ref, read)) }
        td {
            @match &row.environment {
                Some(name) => { (environment_link(name, read)) " / " bdi { (row.service.as_deref().unwrap_or_default()) } }
                None => "nowhere",
            }
        }
        td { (components(row)) }
        (verdict(row, of, read))
        td { (proof(&row.proof)) }
    }
}

fn not_deployed(row: &ImpactRow, of: Option<&str>, read: &Read) -> Markup {
    html! {
        th scope="row" { (artifact_link(&row.digest, &row.artifact_ref, read)) }
        td { (components(row)) }
        td { (time(row.first_known_at)) }
        (verdict(row, of, read))
        td { (proof(&row.proof)) }
    }
}

/// What the verdict is, with the way to who says so; and the next version that is free of it.
fn verdict(row: &ImpactRow, of: Option<&str>, read: &Read) -> Markup {
    let Some((verdict, id)) = row.verdict.as_ref().zip(of) else { return html! {} };
    html! {
        td {
            a href=(verdict_address(&row.digest, id, read)) { (words(&verdict.status)) }
            @if verdict.conflict { " (disputed)" }
            @if let Some(fixed) = &row.fixed_in { br; "free of it: " bdi { (fixed) } }
        }
    }
}

/// How far the fix is rolled out in the environment of a row, as a text and a bar; of a package with what fixes it,
/// which a vulnerability says beside its verdict.
fn rollout(row: &ImpactRow, of: Option<&str>) -> Markup {
    let Some(progress) = &row.fix_progress else { return html! {} };
    let (here, environment) = (progress.in_environment, row.environment.as_deref().unwrap_or_default());
    let at_least = if progress.at_least { "at least " } else { "" };
    let text = format!("{at_least}{} of {} in {environment}", here.fixed, here.lanes);
    html! {
        // A bar without an end would say that something is going on.
        @if here.lanes > 0 { progress value=(here.fixed) max=(here.lanes) aria-label="Fix rolled out" {} br; }
        (text)
        @if progress.lanes > here.lanes { br; (at_least) (progress.fixed) " of " (progress.lanes) " everywhere" }
        @if of.is_none() { @if let Some(fixed) = &row.fixed_in { br; "free of it: " bdi { (fixed) } } }
    }
}

/// A status as people read it.
pub(super) fn words(status: &str) -> String {
    status.replace('_', " ")
}

fn unknown_row(row: &UnknownRow, read: &Read) -> Markup {
    html! {
        th scope="row" { (environment_link(&row.environment, read)) }
        td { (row.service) }
        td {
            @match &row.digest {
                Some(digest) => (artifact_link(digest, &row.artifact_ref, read)),
                None => (row.artifact_ref),
            }
        }
        td { (row.why) }
    }
}

/// Each match with the way to it through the SBOM's dependencies.
fn components(row: &ImpactRow) -> Markup {
    html! {
        @for component in &row.components {
            span .mono { (wrapped(&component.purl)) }
            @if component.path.len() > 1 { " by " (wrapped(&component.path.join(" → "))) }
            br;
        }
        @if row.components_cut > 0 { "and " (row.components_cut) " more" }
    }
}
