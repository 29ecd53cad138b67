//! `/artifacts/{digest}/card`: what a card says of an artifact while somebody points at it, and what proves it. It is a
//! small page of its own; a module shows its part beside links to artifacts.

use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};
use pedigraph_projector::answers::{Hover, RunsHere};

use crate::access::scope::{Access, TokenScope};
use crate::answer::lineage::hover_of;
use crate::app::App;
use crate::fresh::{Fresh, Sealed};
use crate::link::encoded;
use crate::pages::badges::badges;
use crate::pages::frame::{Frame, artifact_link, at_moment, moment_options, page, proof, quoted, text, time};
use crate::pages::names::wrapped;
use crate::problem::Problem;
use crate::read::Read;
use crate::route::Routes;

/// Places that a card names.
const PLACES_MAX: usize = 4;

/// Its route.
pub fn routes() -> Routes {
    Routes::new().get("/artifacts/{digest}/card", Access::Needs(TokenScope::LineageRead), card)
}

async fn card(State(app): State<App>, Path(reference): Path<String>, read: Read) -> Result<Response, Problem> {
    app.page(read.sealed(), move |scope, read, fresh| {
        let hover = hover_of(scope, &reference)?;
        let json = at_moment(&format!("/api/v1/artifacts/{}/hover", encoded(&hover.node.digest)), read);
        let command = format!("pedigraph trace {}{}", quoted(&hover.node.digest), moment_options(read));
        let frame = Frame { title: &hover.node.artifact_ref, json: &json, command: &command, read };
        let content = html! {
            h1 { (wrapped(&hover.node.artifact_ref)) }
            (shown(&hover, fresh, read))
        };
        Ok(page(&frame, "", fresh, &content))
    })
    .await
}

fn shown(hover: &Hover, fresh: &Fresh, read: &Read) -> Markup {
    let node = &hover.node;
    html! {
        article .card {
            p .name { (artifact_link(&node.digest, &node.artifact_ref, read)) }
            p { (badges(node, read)) }
            dl {
                dt { "Digest" } dd .mono { (node.digest) }
                dt { "Version" } dd { "number " (node.sequence_number) " of its line" @if let Some(platform) = &node.platform { ", " bdi { (platform) } } }
                dt { "Created" } dd { (time(node.created_at)) }
                dt { "Source" } dd { (text(&node.source)) }
                @if let Some(tag) = &hover.tag {
                    dt { "Tag" } dd { (wrapped(&tag.name)) @if tag.until.is_some() { ", no longer" } }
                }
                @if !hover.running.is_empty() { dt { "Runs" } dd { (runs(hover, read)) } }
                dt { "Evidence" } dd { (evidence(hover)) }
                @if let Some(hash) = &node.replay_hash { dt { "Replay hash" } dd .mono { (hash) } }
                (proved(hover, fresh.checkpoint))
            }
        }
    }
}

fn runs(hover: &Hover, read: &Read) -> Markup {
    let place = |runs: &RunsHere| {
        let address = at_moment(&format!("/environments/{}", encoded(&runs.environment)), read);
        html! { a href=(address) { (runs.environment) } " / " (runs.service) " since " (time(runs.since)) br; }
    };
    let more = hover.running_cut + hover.running.len().saturating_sub(PLACES_MAX) as u64;
    html! {
        @for runs in hover.running.iter().take(PLACES_MAX) { (place(runs)) }
        @if more > 0 { "and " (more) " more" }
        @if hover.running_at_least { " (not every place was looked at)" }
    }
}

fn evidence(hover: &Hover) -> String {
    let counts = &hover.counts;
    let at_least = if counts.at_least { "at least " } else { "" };
    let word = |count: u64, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
    format!(
        "{at_least}{}, {}, {}",
        word(counts.sboms, "SBOM", "SBOMs"),
        word(counts.scans, "scan", "scans"),
        word(counts.attestations, "attestation", "attestations")
    )
}

/// The entry behind it, its leaf, and the checkpoint that covers it.
fn proved(hover: &Hover, checkpoint: Option<Sealed>) -> Markup {
    let of = &hover.node.proof;
    html! {
        dt { "Proof" }
        dd {
            "entry " (proof(of)) ", leaf " span .mono { (of.leaf_hash) } br;
            @match checkpoint.filter(|checkpoint| of.index < checkpoint.size) {
                Some(checkpoint) => {
                    span .good { "included" } " in the checkpoint of size " (checkpoint.size) ", "
                    @match checkpoint.cosignatures { 0 => "no witness cosigned it", 1 => "cosigned by 1 witness", more => { "cosigned by " (more) " witnesses" } }
                    " · " a href={ "/api/v1/entries/" (of.index) "/proof" } { "inclusion proof" }
                }
                None => { span .warn { "not yet" } " in a checkpoint; look again in a moment" }
            }
        }
    }
}
