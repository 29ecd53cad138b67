//! How fresh everything is.

use pedigraph_ledger::LogId;
use pedigraph_projector::Views;
use pedigraph_projector::answers::{ViewProgress, ViewRoots};
use pedigraph_proto::{Nanos, TenantId};
use serde::Serialize;

use crate::app::App;
use crate::fresh::Rebuilding;
use crate::percentiles::Percentiles;
use crate::problem::Problem;
use crate::report::{SourceLag, WriterSign};
use crate::tenant::log_of;

/// The ledger's head.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// The last entry's; absent for an empty log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// Number of durable entries.
    pub size: u64,
    /// Size of the newest checkpoint.
    pub checkpoint_size: u64,
    /// When it was signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_at: Option<Nanos>,
}

/// `GET /api/v1/freshness`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Freshness {
    /// The ledger's head.
    pub head: Head,
    /// By name and partition.
    pub sources: Vec<SourceLag>,
    /// The process that writes the ledger, where it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writer: Option<WriterSign>,
    /// By name; none on a node that only writes.
    pub views: Vec<ViewProgress>,
    /// View roots that the ledger recorded, held against those of these views.
    pub view_roots: ViewRoots,
    /// That the views are folded anew, and how far they are; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebuilding: Option<Rebuilding>,
    /// Why nothing is folded, while that is so: it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// From durable to visible.
    pub end_to_end_ms: Percentiles,
    /// From the event's own time to visible: an outage anywhere before intake is in it, and so is the age of old
    /// documents.
    pub event_to_visible_ms: Percentiles,
}

/// How fresh everything is for a tenant.
pub fn freshness_of(app: &App, tenant: &TenantId) -> Result<Freshness, Problem> {
    let views = if app.config.expect_views { Some(app.views()?) } else { None };
    let writer = app.config.writer.as_ref().map(|last_sign| last_sign(app.now()));
    let mut sources = writer.as_ref().map_or_else(|| (app.config.sources)(), |writer| writer.sources.clone());
    sources.sort_by(|a, b| (&a.name, a.partition).cmp(&(&b.name, b.partition)));
    let log = log_of(tenant)?;
    Ok(Freshness {
        head: head_of(app, &log),
        sources,
        writer,
        views: views.map(|views| progress_of(views, tenant, app.now())).unwrap_or_default(),
        view_roots: views.map(Views::recorded_roots).unwrap_or_default(),
        rebuilding: views.and_then(|views| app.at_start.rebuilding(&log, views.visible(tenant))),
        fault: views.and_then(Views::fault),
        end_to_end_ms: app.config.end_to_end.durable_to_visible(),
        event_to_visible_ms: app.config.end_to_end.event_to_visible(),
    })
}

fn head_of(app: &App, log: &LogId) -> Head {
    let size = app.ledger().head(log).size;
    let checkpoint = app.ledger().checkpoint(log);
    Head {
        index: size.checked_sub(1),
        size,
        checkpoint_size: checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size),
        checkpoint_at: checkpoint.and_then(|checkpoint| Nanos::of(checkpoint.at_ns)),
    }
}

fn progress_of(views: &Views, tenant: &TenantId, now_ns: i64) -> Vec<ViewProgress> {
    let mut progress = views.progress(tenant, now_ns);
    progress.sort_by(|a, b| a.name.cmp(&b.name));
    progress
}
