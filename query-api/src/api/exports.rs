//! Evidence packs: made on demand, kept for a while, fetched by their digest (SPEC §4).

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use pedigraph_ledger::Signer;
use pedigraph_projector::{AsOf, Moment};
use pedigraph_proto::message::Refused;
use pedigraph_proto::{Nanos, TenantId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::access::scope::{Access, TokenScope};
use crate::api::body;
use crate::api::stream::{Place, stream_of};
use crate::app::App;
use crate::pack::environment;
use crate::pack::error::Error;
use crate::pack::write::{Plan, Question, Written, checkpoint_of, plan};
use crate::params::Params;
use crate::problem::{Code, Problem};
use crate::rates::Class;
use crate::read::moment_of;
use crate::route::Routes;
use crate::tenant::Tenant;
use crate::tenant::log_of;

/// Largest question, bytes.
const QUESTION_BYTES_MAX: usize = 64 << 10;

/// Their routes.
pub fn routes() -> Routes {
    let access = Access::Needs(TokenScope::LineageExport);
    let downloads = Routes::new().get("/api/v1/exports/{digest}", access, download);
    Routes::new().post("/api/v1/lineage/export", access, export).merge(Class::Packs, downloads)
}

/// The body of `POST /api/v1/lineage/export`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Asked {
    #[serde(default)]
    pub(crate) artifact_digests: Vec<String>,
    #[serde(default)]
    pub(crate) environment: Option<AskedEnvironment>,
    #[serde(default = "yes")]
    pub(crate) include_attestations: bool,
    #[serde(default = "yes")]
    pub(crate) sign: bool,
    #[serde(default)]
    pub(crate) since: Option<u64>,
}

/// What runs in an environment, at a moment of both clocks.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AskedEnvironment {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) at: Option<String>,
    /// A time, or an index, as a text or a number.
    #[serde(default)]
    pub(crate) as_of: Option<Value>,
    #[serde(default)]
    pub(crate) page_token: Option<String>,
    #[serde(default)]
    pub(crate) page_size: Option<usize>,
}

impl AskedEnvironment {
    /// The times are read as those of a query.
    fn parse(self, now: Nanos) -> Result<environment::Asked, Problem> {
        let as_of = self.as_of.map(|as_of| as_of.as_str().map_or_else(|| as_of.to_string(), str::to_owned));
        let named = [("at", self.at), ("asOf", as_of)].into_iter();
        let params = Params(named.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect());
        Ok(environment::Asked {
            name: self.name,
            moment: moment_of(&params, now)?,
            page_token: self.page_token.filter(|token| !token.is_empty()),
            services_max: self.page_size.unwrap_or(environment::SERVICES_MAX),
        })
    }
}

fn yes() -> bool {
    true
}

/// A pack that was made.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Exported {
    download_url: String,
    pub(crate) bundle_digest: String,
    expires_at: Nanos,
    bytes: u64,
}

async fn export(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let asked = question(&app, &tenant, &headers, body).await?;
    Ok(Json(exported(&app, &tenant, asked).await?).into_response())
}

/// Makes a pack, and keeps it to be fetched.
pub(crate) async fn exported(app: &App, tenant: &TenantId, asked: Asked) -> Result<Exported, Problem> {
    let signer = signer(app, asked.sign)?;
    if matches!(app.config.write.as_ref().and_then(|write| write.refuses()), Some(Refused::NoRoom)) {
        let advice = "the server's disk is full up to its reserve; ask again when the operator has made room";
        return Err(Problem::new(Code::InsufficientStorage, advice).retry_after(30));
    }
    let Some(place) = app.share(&app.exports, tenant) else {
        return Err(Problem::new(Code::Overloaded, "too many packs are being made; try again").retry_after(5));
    };
    let plan = planned(app, tenant, asked).await?;
    let (spool, of, clock) = (app.clone(), tenant.clone(), app.config.clock);
    // Not under the time limit of reads: what a pack may hold is limited instead.
    let task = tokio::task::spawn_blocking(move || {
        let _place = place;
        make(&spool, plan, signer.as_ref(), &of, clock())
    });
    let (written, expires_ns) = task.await.map_err(|error| Problem::internal("an export panicked", &error))??;
    Ok(Exported {
        download_url: format!("/api/v1/exports/{}", written.digest),
        bundle_digest: written.digest,
        expires_at: Nanos(expires_ns),
        bytes: written.bytes,
    })
}

async fn question(app: &App, tenant: &TenantId, headers: &HeaderMap, body: Body) -> Result<Asked, Problem> {
    let too_large = || {
        Problem::new(Code::TooLarge, format!("the question is larger than {QUESTION_BYTES_MAX} bytes"))
            .member("limitBytes", QUESTION_BYTES_MAX)
    };
    body::check_length(headers, QUESTION_BYTES_MAX as u64).map_err(|_| too_large())?;
    let held = body::read(app, tenant, headers, body).await?;
    if held.bytes.len() > QUESTION_BYTES_MAX {
        return Err(too_large());
    }
    let unreadable = |error: serde_json::Error| {
        let example = r#"{"artifactDigests":["sha256:…"],"includeAttestations":true,"sign":true}"#;
        Problem::new(Code::BadRequest, format!("the body must be like {example}: {error}"))
    };
    let asked: Asked = serde_json::from_slice(&held.bytes).map_err(unreadable)?;
    if asked.artifact_digests.is_empty() && asked.environment.is_none() {
        return Err(Problem::parameter("artifactDigests", "at least one digest, or else an environment"));
    }
    Ok(asked)
}

fn signer(app: &App, sign: bool) -> Result<Option<Arc<dyn Signer>>, Problem> {
    if !sign {
        return Ok(None);
    }
    let none = || {
        let advice = "this node does not have the ledger's key; ask a node that runs `pedigraph up`, or ask with sign=false: entries and documents are proved by the checkpoint all the same";
        Problem::new(Code::SigningUnavailable, advice)
    };
    app.config.signer.clone().map(Some).ok_or_else(none)
}

/// Everything that can be refused is refused here, before anything is written.
async fn planned(app: &App, tenant: &TenantId, asked: Asked) -> Result<Plan, Problem> {
    let (views, log, ledger) = (app.views()?.clone(), log_of(tenant)?, app.ledger().clone());
    let checkpoint = checkpoint_of(&ledger, &log)?;
    let newest = checkpoint.size.saturating_sub(1);
    // The plan says so when they are still behind.
    let _in_time = views.wait_deltas(tenant, newest, app.limits().min_index_wait).await;
    let (of, limits, now) = (tenant.clone(), app.limits().export, Nanos(app.now()));
    let Asked { artifact_digests, environment, include_attestations, sign: _, since } = asked;
    let environment = environment.map(|environment| environment.parse(now)).transpose()?;
    app.blocking_of(Some(tenant), app.limits().of_export(), move |meter| {
        let at = |moment| Ok(views.at(&of, moment)?.asked_at(now).within(meter.clone()));
        let scope = at(Moment { at: None, as_of: Some(AsOf::Index(newest)) })?;
        let environment = environment.map(|environment| environment.scoped(newest, at)).transpose()?;
        let question = Question { artifacts: artifact_digests, include_attestations, since };
        Ok(plan(&ledger, &log, &scope, checkpoint, &question, environment.as_ref(), &limits)?)
    })
    .await
}

fn make(
    app: &App,
    plan: Plan,
    signer: Option<&Arc<dyn Signer>>,
    tenant: &TenantId,
    now_ns: i64,
) -> Result<(Written, i64), Problem> {
    let failed = |error: std::io::Error| Problem::internal("a pack cannot be kept", &error);
    let draft = app.packs.draft().map_err(failed)?;
    let written = plan.write(signer, &draft.file)?;
    let expires_ns = app.packs.keep(&draft, &written, tenant, now_ns).map_err(failed)?;
    app.metrics.export_bytes(written.bytes);
    Ok((written, expires_ns))
}

async fn download(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    Path(digest): Path<String>,
) -> Result<Response, Problem> {
    let now_ns = app.now();
    let place = Place::take(&app, &tenant)?;
    let (opened, bytes) = app
        .clone()
        .blocking(move || {
            let failed = |error: std::io::Error| Problem::internal("a pack cannot be read", &error);
            let gone = || Problem::new(Code::NotFound, "there is no such pack, or no longer; export it again");
            app.packs.open(&tenant, &digest, now_ns).map_err(failed)?.ok_or_else(gone)
        })
        .await?;
    let mut response = stream_of(place, Box::new(opened), bytes).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"evidence-pack.zip\""));
    Ok(response)
}

/// Why no pack was made; what failed here is logged here.
impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        match error {
            Error::Answer(error) => error.into(),
            Error::TooLarge { detail, limit, of } => {
                Problem::new(Code::LineageExportTooLarge, detail).member("limit", limit).member("of", of)
            }
            Error::Behind => Problem::new(Code::ProjectionBehind, error.to_string()).retry_after(1),
            Error::NoCheckpoint => Problem::new(Code::CheckpointPending, error.to_string()).retry_after(1),
            Error::Signer(why) => {
                tracing::warn!(why, "a pack was not signed");
                let advice = "the signer of the ledger's key did not answer; try again, or ask with sign=false";
                Problem::new(Code::SigningUnavailable, advice).retry_after(5)
            }
            Error::Failed(why) => Problem::internal("a pack cannot be written", &why),
        }
    }
}
