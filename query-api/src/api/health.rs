//! Probes and metrics. Machines look at the status, people at the lines.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use pedigraph_ledger::LogId;
use pedigraph_projector::answers::ViewRoots;
use pedigraph_proto::{TenantId, message};

use crate::access::scope::{Access, TokenScope};
use crate::answer::freshness::{Freshness, freshness_of};
use crate::app::App;
use crate::layers::OwnBody;
use crate::metrics::{Labels, Readings};
use crate::params::Params;
use crate::percentiles::Percentiles;
use crate::problem::Problem;
use crate::report::{About, Check, SourceLag, SourceState, WriterSign};
use crate::respond::TEXT;
use crate::route::Routes;
use crate::tenant::Tenant;

const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Their routes.
pub fn routes() -> Routes {
    Routes::new().get("/livez", Access::Public, livez).get("/readyz", Access::Public, readyz).get(
        "/metrics",
        Access::Needs(TokenScope::LineageRead),
        metrics,
    )
}

async fn livez() -> &'static str {
    "ok\n"
}

/// A node that takes in and answers does the one also while it cannot do the other: its views may be folded anew, or its
/// disk be full. So whoever only sends, or only asks, can ask for that alone.
async fn readyz(State(app): State<App>, uri: Uri) -> Result<Response, Problem> {
    let params = Params::of(&uri)?;
    let asked = asked_for(&params)?;
    let mut checks = all_checks(&app).await;
    checks.extend(never_ready(&app, asked));
    checks.retain(|check| asked.is_none_or(|asked| check.about == asked));
    let writer = app.config.writer.as_ref().map(|last_sign| last_sign(app.now()));
    let ready = checks.iter().all(|check| check.ok);
    let stale = writer.as_ref().is_some_and(|writer| writer.stale.is_some());
    let text = match params.has("verbose") {
        true => verbose(&checks, writer.as_ref()) + summary(ready, stale),
        false => summary(ready, stale).to_owned(),
    };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response =
        (status, [(header::CONTENT_TYPE, TEXT), (header::CACHE_CONTROL, "no-store")], text).into_response();
    response.extensions_mut().insert(OwnBody);
    Ok(response)
}

/// What is to be ready; everything, if nothing is said.
fn asked_for(params: &Params) -> Result<Option<About>, Problem> {
    match params.once("for")? {
        None => Ok(None),
        Some("intake") => Ok(Some(About::Intake)),
        Some("answers") => Ok(Some(About::Answers)),
        Some(_) => Err(Problem::parameter("for", "intake or answers")),
    }
}

async fn all_checks(app: &App) -> Vec<Check> {
    let mut checks = vec![views_check(app)];
    if let Some(tokens) = &app.config.tokens {
        tokens.refresh(app.now()).await;
        checks.push(tokens.check());
    }
    checks.extend(app.config.views.get().map(|views| roots_check(&views.recorded_roots())));
    checks.extend((app.config.ready)());
    checks
}

/// What a node of another role does, and this one never.
fn never_ready(app: &App, asked: Option<About>) -> Option<Check> {
    let (about, name, detail) = match asked? {
        About::Intake if app.config.write.is_none() => (About::Intake, "intake", "this node only reads"),
        About::Answers if !app.config.expect_views => (About::Answers, "answers", "this node only writes"),
        About::Intake | About::Answers | About::Besides => return None,
    };
    Some(Check { name: name.to_owned(), about, ok: false, detail: detail.to_owned() })
}

/// Views that are folded anew, or far behind, answer, but nobody should be sent to them. A node that never opens views
/// has its readiness from the root's checks alone.
fn views_check(app: &App) -> Check {
    let check = |ok: bool, detail: String| Check { name: "views".to_owned(), about: About::Answers, ok, detail };
    let Some(views) = app.config.views.get() else { return check(!app.config.expect_views, "not open".into()) };
    let visible = |log: &LogId| TenantId::new(log.as_str()).map_or(0, |tenant| views.visible(&tenant));
    // A fault may keep them from ever being folded anew.
    if let Some(fault) = views.fault() {
        let anew = app.at_start.any_rebuilding(visible).map(|state| format!(", while they are folded anew ({state})"));
        let anew = anew.unwrap_or_default();
        return check(false, format!("{fault}; it is tried again{anew}, and answers are old until then"));
    }
    if let Some(state) = app.at_start.any_rebuilding(visible) {
        return check(false, format!("folded anew: {state} entries; answers may be old until then"));
    }
    let lag_ms = views.lag_ms_max(app.now());
    check(lag_ms <= app.limits().ready_lag_ms_max, format!("{lag_ms} ms behind"))
}

/// Views that differ from what the ledger recorded answer, but nobody should be sent to them.
fn roots_check(roots: &ViewRoots) -> Check {
    let advice = "do not trust the answers of this node: PedigraphViewRootMismatch in deploy/runbook.md";
    let detail = match &roots.last {
        None => "no recorded root was compared yet".to_owned(),
        Some(last) if last.equal => format!("{} compared, {} differed", roots.compared, roots.mismatched),
        Some(last) => format!("{last}; {advice}"),
    };
    Check { name: "view-roots".to_owned(), about: About::Answers, ok: roots.agree(), detail }
}

/// A node whose writer is silent answers on, of all that was recorded, so it stays ready: without it nobody could ask
/// anything just when something is wrong. That its answers are old is said.
fn summary(ready: bool, stale: bool) -> &'static str {
    match (ready, stale) {
        (true, false) => "ready\n",
        (true, true) => "ready, but stale: the writer is silent\n",
        (false, _) => "not ready\n",
    }
}

fn verbose(checks: &[Check], writer: Option<&WriterSign>) -> String {
    let mut text = String::new();
    for check in checks {
        let (mark, word) = if check.ok { ('+', "ok") } else { ('-', "failed") };
        let detail = if check.detail.is_empty() { String::new() } else { format!(": {}", check.detail) };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "[{mark}]{} {word}{detail}", check.name);
    }
    if let Some(writer) = writer {
        let line = match &writer.stale {
            None => "[+]writer ok".to_owned(),
            Some(why) => format!("[!]writer stale: {why}"),
        };
        let _ = writeln!(text, "{line}");
    }
    text
}

/// What is counted by tenant is told of one's own.
async fn metrics(State(app): State<App>, Tenant(tenant): Tenant) -> Result<Response, Problem> {
    let server = app.clone();
    let readings = app.probing(move || readings(&server, &tenant)).await?;
    let mut text = app.metrics.text();
    text.push_str(&readings);
    (app.config.extra_metrics)(&mut text);
    Ok(([(header::CONTENT_TYPE, METRICS), (header::CACHE_CONTROL, "no-store")], text).into_response())
}

/// What is read when it is asked for: the ledger's head, sources, views, intake.
fn readings(app: &App, tenant: &TenantId) -> Result<String, Problem> {
    let mut readings = Readings::default();
    let unread = [(vec![], float(app.unread.held() as u64))];
    readings.gauges("pedigraph_http_unread_bytes", "Bytes of answers that their clients have not taken", unread);
    if let Some(tokens) = &app.config.tokens {
        let usable = f64::from(u8::from(tokens.is_usable()));
        let help = "1 if the file of tokens counts as it is now, 0 if the tokens from before go on";
        readings.gauges("pedigraph_token_file_usable", help, [(vec![], usable)]);
    }
    let is_open = app.config.views.get().is_some();
    if is_open || !app.config.expect_views {
        let fresh = freshness_of(app, tenant)?;
        read_freshness(&mut readings, &fresh);
        read_writer(&mut readings, fresh.writer.as_ref(), app.now());
    }
    if is_open {
        let help = "Leaves, facts chunks and facts in the ledger that this version cannot read and its views went past";
        readings.counters("pedigraph_view_unreadable", help, [(vec![], app.views()?.unreadable())]);
        let help = "Rows that limits left out: of names and products that multiply within one fact";
        readings.counters("pedigraph_view_cut_rows", help, [(vec![], app.views()?.cut_rows())]);
        let help = "How often folding failed since this process started: the store, the ledger or a panic";
        readings.counters("pedigraph_view_faults", help, [(vec![], app.views()?.faults())]);
        let help = "VEX deltas found along parent edges since this process started";
        readings.counters("vex_deltas_created", help, [(vec![], app.views()?.deltas_created())]);
        // While the store of the views fails nothing is read of it, and the metrics that say so are told all the same.
        let _left_out_while_unreadable = read_intake(&mut readings, app, tenant);
    }
    Ok(readings.text())
}

fn read_freshness(to: &mut Readings, fresh: &Freshness) {
    to.gauges("pedigraph_ledger_entries", "Durable entries", [(vec![], float(fresh.head.size))]);
    let signed = [(vec![], float(fresh.head.checkpoint_size))];
    to.gauges("pedigraph_ledger_checkpoint_entries", "Entries under the newest checkpoint", signed);
    let view = |name: &str| -> Labels { vec![("view", name.to_owned())] };
    let rows = fresh.views.iter().map(|row| (view(&row.name), float(row.next_index)));
    to.gauges("pedigraph_view_next_index", "Index that a view folds next", rows);
    let rows = fresh.views.iter().map(|row| (view(&row.name), float(row.lag_entries)));
    to.gauges("pedigraph_view_lag_entries", "Durable entries that a view does not show yet", rows);
    let rows = fresh.views.iter().map(|row| (view(&row.name), float(row.lag_ms) / 1e3));
    to.gauges("pedigraph_view_lag_seconds", "Age of the oldest entry that a view does not show yet", rows);
    let compared = [(vec![], fresh.view_roots.compared)];
    to.counters("pedigraph_view_roots_compared", "Recorded view roots that were compared with this node's", compared);
    let mismatched = [(vec![], fresh.view_roots.mismatched)];
    to.counters("pedigraph_view_root_mismatches", "Recorded view roots that this node did not come to", mismatched);
    let source = |row: &SourceLag| -> Labels {
        vec![("source", row.name.clone()), ("partition", row.partition.map_or_else(String::new, |p| p.to_string()))]
    };
    let rows = fresh.sources.iter().filter_map(|row| Some((source(row), float(row.lag_messages?))));
    to.gauges("pedigraph_source_lag_messages", "Messages of a source that are not durable yet", rows);
    let rows = fresh.sources.iter().filter_map(|row| Some((source(row), float(row.lag_ms?) / 1e3)));
    to.gauges("pedigraph_source_lag_seconds", "Age of the oldest message that is not durable yet", rows);
    let is_lost = |row: &SourceLag| f64::from(u8::from(row.state == Some(SourceState::Lost)));
    let rows = fresh.sources.iter().map(|row| (source(row), is_lost(row)));
    to.gauges("pedigraph_source_position_lost", "1 if what follows on the position of a source is gone", rows);
    let durable = percentiles(fresh.end_to_end_ms);
    to.gauges("pedigraph_visible_after_seconds", "Time from durable to visible", durable);
    let event = percentiles(fresh.event_to_visible_ms);
    to.gauges("pedigraph_event_to_visible_seconds", "Time from the event's own time to visible", event);
}

fn percentiles(of: Percentiles) -> impl Iterator<Item = (Labels, f64)> {
    let all = [("0.5", of.p50), ("0.9", of.p90), ("0.99", of.p99)];
    all.into_iter().filter_map(|(quantile, ms)| Some((vec![("quantile", quantile.to_owned())], ms? / 1e3)))
}

fn read_writer(to: &mut Readings, writer: Option<&WriterSign>, now_ns: i64) {
    let Some(writer) = writer else { return };
    let stale = f64::from(u8::from(writer.stale.is_some()));
    let help = "1 if the process that writes the ledger is silent, or what it said cannot be read";
    to.gauges("pedigraph_writer_stale", help, [(vec![], stale)]);
    let age = writer.heartbeat_at.map(|at| float(u64::try_from(now_ns.saturating_sub(at.0)).unwrap_or(0)) / 1e9);
    let help = "Age of the last sign of life of the process that writes the ledger";
    to.gauges("pedigraph_writer_heartbeat_age_seconds", help, age.map(|age| (vec![], age)));
}

fn read_intake(to: &mut Readings, app: &App, tenant: &TenantId) -> Result<(), Problem> {
    let intake = app.views()?.at(tenant, pedigraph_projector::Moment::default())?.intake()?;
    let rows = intake.by_status.into_iter().map(|(status, count)| (vec![("status", status)], count));
    to.counters("pedigraph_intake_messages", "Messages by how they ended, since the ledger began", rows);
    let rows = known_codes(intake.by_code).into_iter().map(|(code, count)| (vec![("code", code.to_owned())], count));
    to.counters("pedigraph_intake_rejects", "Rejected messages by code, since the ledger began", rows);
    Ok(())
}

/// Counts by the codes that this program knows, and all others as one: a ledger may hold what another version wrote,
/// and a label takes only values of a closed list.
fn known_codes(by_code: impl IntoIterator<Item = (String, u64)>) -> BTreeMap<&'static str, u64> {
    let mut known = BTreeMap::new();
    for (code, count) in by_code {
        let label = message::Code::ALL.iter().map(|known| known.as_str()).find(|known| *known == code);
        *known.entry(label.unwrap_or("other")).or_default() += count;
    }
    known
}

/// Counts above 2^53 lose their last digits, which no gauge shows.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_are_known_become_labels() {
        let counted = [("TOO_DEEP", 3), ("\"} 1\npedigraph_up 0", 2), ("NEWER_CODE", 1)];
        let known = known_codes(counted.map(|(code, count)| (code.to_owned(), count)));
        assert_eq!(known, BTreeMap::from([("TOO_DEEP", 3), ("other", 3)]));
    }
}
