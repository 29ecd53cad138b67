//! `/artifacts/{digest}`: one artifact version with everything around it, each line with its proof.

use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};
use pedigraph_projector::answers::{Artifact, Direction, Edge, Hop, Item, Lineage, Shown, Tag, Trace, VerdictHere};
use serde_json::Value;

use crate::access::scope::{Access, TokenScope};
use crate::answer::error::Error;
use crate::answer::lineage::{artifact_of, lineage_of, trace_of};
use crate::app::App;
use crate::link::encoded;
use crate::pages::badges::NAMES_MAX;
use crate::pages::evidence_pack;
use crate::pages::frame::{
    Frame, artifact_link, at_moment, moment_options, moment_query, page, proof, quoted, short, status, table, text,
    time, verdict_address,
};
use crate::pages::impact::words;
use crate::pages::names::wrapped;
use crate::pages::versions::{Versions, around, legend, older_than};
use crate::problem::Problem;
use crate::read::Read;
use crate::route::Routes;

/// Steps of lineage in each direction.
const DEPTH: usize = 10;
/// Versions that the page shows.
const VERSIONS_MAX: usize = 50;
/// Edges that a page shows.
const EDGES_MAX: usize = 200;

/// Its route.
pub fn routes() -> Routes {
    Routes::new().get("/artifacts/{digest}", Access::Needs(TokenScope::LineageRead), artifact)
}

async fn artifact(State(app): State<App>, Path(reference): Path<String>, read: Read) -> Result<Response, Problem> {
    app.page(read, move |scope, read, fresh| {
        let artifact = artifact_of(scope, &reference)?;
        let digest = artifact.node.digest.clone();
        let lineage = lineage_of(scope, &digest, DEPTH, Direction::Both, Shown::ALL)?;
        let trace = match trace_of(scope, &digest) {
            Err(Error::Missing { .. } | Error::Ambiguous { .. }) => None,
            trace => Some(trace?),
        };
        let json = format!("/api/v1/artifacts/{}{}", encoded(&digest), moment_query(read));
        let command = format!("pedigraph trace {}{}", quoted(&digest), moment_options(read));
        let frame = Frame { title: &artifact.node.artifact_ref, json: &json, command: &command, read };
        Ok(page(&frame, "", fresh, &content(&artifact, &lineage, trace.as_ref(), read)))
    })
    .await
}

fn content(artifact: &Artifact, lineage: &Lineage, trace: Option<&Trace>, read: &Read) -> Markup {
    html! {
        (head(artifact, read))
        (evidence_pack::button(&[artifact.node.digest.as_str()], read))
        @if let Some(trace) = trace { (trace_table(trace)) }
        (versions(lineage, read))
        (items("Where it runs and ran", "Deployments, newest first", &artifact.deployments))
        (table("Tags", "Names that point or pointed here, newest first", &["Name", "From", "Until", "Proof"], &artifact.tags.iter().map(tag).collect::<Vec<_>>()))
        (edges_table(lineage, "Lineage", &lineage_json(lineage, read), read))
        (cut(lineage))
        (items("SBOMs", "Newest first", &artifact.sboms))
        (items("Attestations and signatures", "Newest first", &artifact.attestations))
        (items("Tests", "Newest first", &artifact.tests))
        (items("Scans", "Newest first", &artifact.scans))
        (verdicts_table(artifact, read))
        (items("VEX statements", "Newest first", &artifact.statements))
        @if !artifact.truncated.is_empty() {
            p .warn { "Cut at the server's limit: " (artifact.truncated.join(", ")) ". The newest rows are shown." }
        }
    }
}

/// The line that it is of, as far as the page shows it.
fn versions(lineage: &Lineage, read: &Read) -> Markup {
    let versions = Versions::of(lineage);
    let shown = versions.window(VERSIONS_MAX);
    let more = versions.count() - shown.len();
    let all = around(&lineage.artifact.digest, read);
    html! {
        section #versions {
            h2 { "Versions" }
            (legend())
            (versions.list(shown, read))
            p {
                @if more > 0 { a href=(all) { (more) " more" } " around it. " } @else { a href=(all) { "More versions around it" } }
                @if let Some(oldest) = versions.oldest_cut() {
                    " · " a href=(older_than(&oldest.digest, read)) rel="next" { "Load older versions" }
                }
            }
        }
    }
}

fn head(artifact: &Artifact, read: &Read) -> Markup {
    let node = &artifact.node;
    let compare = at_moment(&format!("/compare?b={}", encoded(&node.digest)), read);
    let with = |parent: &str| at_moment(&format!("/compare?a={}&b={}", encoded(parent), encoded(&node.digest)), read);
    html! {
        h1 { (node.artifact_ref) }
        p .lead .mono { (node.digest) }
        dl {
            dt { "Kind" } dd { (node.kind) @if let Some(platform) = &node.platform { " · " bdi { (platform) } } }
            dt { "Version" } dd { "number " (node.sequence_number) " of its line, created " (time(node.created_at)) " " (proof(&node.proof)) }
            @if !node.aliases.is_empty() {
                dt { "Also known as" } dd { @for alias in &node.aliases { code { (alias) } " " } }
            }
            @if let Some(commit) = &artifact.commit { dt { "Commit" } dd { (line(commit)) } }
            @if let Some(run) = &artifact.run { dt { "Run" } dd { (line(run)) } }
            dt { "Source" } dd { (text(&node.source)) }
            dt { "Compare" }
            dd {
                @for parent in artifact.lineage.parents.iter().take(NAMES_MAX) {
                    a href=(with(parent)) { "with its parent " (short(parent)) } " · "
                }
                a href=(compare) { "with another version" }
            }
        }
    }
}

fn line(item: &Item) -> Markup {
    html! { (text(&item.summary)) " " (details(item)) " " (proof(&item.proof)) }
}

/// Links among the details; the rest is in the JSON.
fn details(item: &Item) -> Markup {
    let links = item.details.values().filter_map(Value::as_str).filter(|value| value.starts_with("http"));
    html! { @for link in links { (text(link)) " " } }
}

fn trace_table(trace: &Trace) -> Markup {
    let word = if trace.complete { "complete" } else { "with gaps" };
    let caption = format!("From the running thing back to its source: {word}");
    table(
        "Trace",
        &caption,
        &["Hop", "Status", "What", "When", "Proof"],
        &trace.hops.iter().map(hop).collect::<Vec<_>>(),
    )
}

fn hop(hop: &Hop) -> Markup {
    html! {
        th scope="row" { (hop.kind) }
        td { (status(&hop.status)) }
        td { (text(&hop.summary)) @if let Some(reason) = &hop.reason { " — " bdi { (wrapped(reason)) } } }
        td { @if let Some(at) = hop.occurred_at { (time(at)) } }
        td { @if let Some(entry) = &hop.proof { (proof(entry)) } }
    }
}

fn tag(tag: &Tag) -> Markup {
    html! {
        th scope="row" { (tag.name) }
        td { (time(tag.from)) }
        td { @match tag.until { Some(until) => (time(until)), None => span .good { "now" } } }
        td { (proof(&tag.proof)) }
    }
}

/// The edges of a lineage: what its picture shows, and what it does not.
pub(super) fn edges_table(lineage: &Lineage, title: &str, json: &str, read: &Read) -> Markup {
    let name = |digest: &str| {
        let node = lineage.nodes.iter().find(|node| node.digest == digest);
        node.map_or_else(|| short(digest), |node| node.artifact_ref.clone())
    };
    let end = |digest: &str| {
        html! {
            @if digest == lineage.artifact.digest { strong { "this" } } @else { (artifact_link(digest, &name(digest), read)) }
        }
    };
    let row = |edge: &Edge| {
        html! {
            td { (end(&edge.from)) }
            td { span .chip { (edge.relationship) } }
            td { (end(&edge.to)) }
            td { (edge.method) }
            td { (format!("{:.2}", edge.confidence)) }
            td { (proof(&edge.proof)) }
        }
    };
    let more = lineage.edges.len().saturating_sub(EDGES_MAX);
    let rows: Vec<Markup> = lineage.edges.iter().take(EDGES_MAX).map(row).collect();
    let columns = ["From", "Edge", "To", "Method", "Confidence", "Proof"];
    html! {
        div #edges { (table(title, "Edges between the artifacts around it, older to newer", &columns, &rows)) }
        @if more > 0 { p { a href=(json) { (more) " more edges as JSON" } } }
    }
}

fn lineage_json(lineage: &Lineage, read: &Read) -> String {
    at_moment(&format!("/api/v1/lineage/{}?maxDepth={DEPTH}", encoded(&lineage.artifact.digest)), read)
}

/// What a lineage leaves out.
pub(super) fn cut(lineage: &Lineage) -> Markup {
    let Some(cut) = &lineage.truncated else { return html! {} };
    html! {
        p .warn {
            "Not shown: " @if cut.at_least { "at least " } (cut.nodes) " artifacts and " (cut.edges)
            " edges beyond the limit of " (cut.by) "."
            @if cut.not_described > 0 { " Without badges: " (cut.not_described) "." }
        }
    }
}

/// What all that is said comes to, each with the way to who says so.
fn verdicts_table(artifact: &Artifact, read: &Read) -> Markup {
    let row = |verdict: &VerdictHere| {
        let address = verdict_address(&artifact.node.digest, &verdict.cve, read);
        html! {
            th scope="row" { a href=(address) { (verdict.cve) } }
            td { (words(&verdict.verdict_status)) }
            td { (time(verdict.first_known_at)) }
            td { (proof(&verdict.proof)) }
        }
    };
    let caption = match artifact.verdicts_as_of {
        Some(index) => format!("By vulnerability, as of index {index}: newer entries are not in it yet"),
        None => "By vulnerability".to_owned(),
    };
    let rows: Vec<Markup> = artifact.verdicts.iter().map(row).collect();
    table("Verdicts", &caption, &["Vulnerability", "Verdict", "Since", "Proof"], &rows)
}

fn items(title: &str, caption: &str, items: &[Item]) -> Markup {
    let row = |item: &Item| {
        html! {
            th scope="row" { (text(&item.summary)) }
            td { span .chip { (item.kind) } }
            td .mono { bdi { (short(&item.id)) } " " bdi { (details(item)) } }
            td { (time(item.occurred_at)) }
            td { (proof(&item.proof)) }
        }
    };
    table(title, caption, &["What", "Kind", "Id", "When", "Proof"], &items.iter().map(row).collect::<Vec<_>>())
}
