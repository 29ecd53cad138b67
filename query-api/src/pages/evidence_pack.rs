//! `/evidence-packs`: a button makes an evidence pack of what a page shows; `/evidence-packs/{digest}` has it, and says
//! how it is checked.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use pedigraph_projector::AsOf;
use pedigraph_proto::Nanos;
use serde_json::Value;

use crate::access::scope::{Access, TokenScope};
use crate::api::exports::{Asked, AskedEnvironment, exported};
use crate::app::App;
use crate::link::encoded;
use crate::pages::form;
use crate::pages::frame::{command, notice, time};
use crate::params::Params;
use crate::problem::{Code, Problem};
use crate::rates::Class;
use crate::read::Read;
use crate::route::Routes;
use crate::tenant::Tenant;

/// Most bytes of the form: names of some hundred artifacts.
const FORM_BYTES_MAX: usize = 64 << 10;
/// Artifacts of one button.
const ARTIFACTS_MAX: usize = 100;
/// The field that names an artifact.
const FIELD: &str = "artifact";

/// Their routes.
pub fn routes() -> Routes {
    let access = Access::Needs(TokenScope::LineageExport);
    let makes = Routes::new().post("/evidence-packs", access, make);
    let shows = Routes::new().get("/evidence-packs/{digest}", access, made);
    Routes::new().merge(Class::Export, makes).merge(Class::Graph, shows)
}

/// The button, for who may make one.
pub fn button(digests: &[&str], read: &Read) -> Markup {
    let shown = &digests[..digests.len().min(ARTIFACTS_MAX)];
    let left_out = digests.len() - shown.len();
    html! {
        @if read.may_export && !shown.is_empty() {
            form .tools action="/evidence-packs" method="post" aria-label="Evidence pack" {
                @for digest in shown { input type="hidden" name=(FIELD) value=(digest); }
                button type="submit" { "Make an evidence pack" }
                span .soft {
                    "All that is known of " (if shown.len() == 1 { "it" } else { "them" }) " by now, with proofs, in one file"
                    @if left_out > 0 { "; of the first " (shown.len()) " artifacts, without " (left_out) " more" }
                }
            }
        }
    }
}

/// The button for what runs in an environment at the moment of the page.
pub fn environment_button(environment: &str, read: &Read) -> Markup {
    let as_of = read.moment.as_of.map(|as_of| match as_of {
        AsOf::Index(index) => index.to_string(),
        AsOf::Time(time) => time.to_string(),
    });
    let fields = [("environment", Some(environment.to_owned())), ("at", read.moment.at.map(|at| at.to_string()))];
    html! {
        @if read.may_export {
            form .tools action="/evidence-packs" method="post" aria-label="Evidence pack" {
                @for (name, value) in fields.into_iter().chain([("asOf", as_of)]) {
                    @if let Some(value) = value { input type="hidden" name=(name) value=(value); }
                }
                button type="submit" { "Make an evidence pack" }
                span .soft { "What runs here at this moment, with the entry and the proof of each deployment, in one file" }
            }
        }
    }
}

/// The environment that a form names.
fn environment_in(fields: &Params) -> Option<AskedEnvironment> {
    let of = |name: &str| fields.get(name).map(str::to_owned);
    let as_of = of("asOf").map(Value::String);
    Some(AskedEnvironment { name: of("environment")?, at: of("at"), as_of, ..AskedEnvironment::default() })
}

async fn make(State(app): State<App>, Tenant(tenant): Tenant, body: Body) -> Result<Response, Problem> {
    let fields = form::values(body, FORM_BYTES_MAX).await?;
    let named = fields.0.iter().filter(|(name, value)| name == FIELD && !value.is_empty());
    let artifact_digests: Vec<String> = named.map(|(_, digest)| digest.clone()).collect();
    let environment = environment_in(&fields);
    if artifact_digests.is_empty() && environment.is_none() {
        return Err(Problem::parameter(FIELD, "the digest of an artifact, at least one, or an environment"));
    }
    // A node without the ledger's key makes one that the checkpoint proves all the same.
    let sign = app.config.signer.is_some();
    let asked = Asked { artifact_digests, environment, include_attestations: true, sign, since: None };
    let exported = exported(&app, &tenant, asked).await?;
    Ok(Redirect::to(&format!("/evidence-packs/{}", encoded(&exported.bundle_digest))).into_response())
}

async fn made(State(app): State<App>, Tenant(tenant): Tenant, Path(digest): Path<String>) -> Result<Response, Problem> {
    let found = app.packs.find(&tenant, &digest, app.now());
    let gone = || Problem::new(Code::NotFound, "there is no such pack, or no longer; make it again");
    let (bytes, expires_ns) = found.ok_or_else(gone)?;
    let address = format!("/api/v1/exports/{}", encoded(&digest));
    let content = html! {
        h1 { "Evidence pack" }
        p .lead { "One file with answers, documents, the entries behind them and their proofs. It is checked without this server." }
        p { a href=(address) download="evidence-pack.zip" { "Fetch evidence-pack.zip" } " (" (bytes) " bytes)" }
        dl {
            dt { "Digest" } dd .mono { (digest) }
            dt { "Kept until" } dd { (time(Nanos(expires_ns))) }
            dt { "Check it" } dd { (command("pedigraph verify evidence-pack.zip")) }
        }
    };
    Ok(notice("Evidence pack", &content))
}
