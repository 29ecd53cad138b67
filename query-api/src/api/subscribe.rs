//! `GET /api/v1/subscribe`: changes as they happen, resumable without gap or repeat (SPEC §8).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use pedigraph_projector::Views;
use pedigraph_projector::answers::ViewChange;
use pedigraph_proto::{Digest, TenantId};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::access::check::Caller;
use crate::access::scope::{Access, TokenScope};
use crate::app::App;
use crate::params::Params;
use crate::problem::{Code, Problem};
use crate::read::Read;
use crate::route::Routes;
use crate::serve::Stopping;

/// Changes that are read at once.
const CHANGES_MAX: usize = 256;
/// Entries without changes that are passed at once.
const SKIPPED_MAX: u64 = 1_000;
/// What a client waits before it connects again.
const RETRY: Duration = Duration::from_secs(2);
const VIEWS: [&str; 9] =
    ["lineage", "components", "vex", "deployments", "runtime", "evidence", "incidents", "signals", "intake"];

/// Its routes.
pub fn routes() -> Routes {
    Routes::new().get("/api/v1/subscribe", Access::Needs(TokenScope::LineageRead), subscribe)
}

async fn subscribe(
    State(app): State<App>,
    stopping: Option<Extension<Stopping>>,
    caller: Option<Extension<Caller>>,
    headers: HeaderMap,
    read: Read,
) -> Result<Response, Problem> {
    let views = app.views()?.clone();
    let wanted = Wanted::of(&read.params)?;
    let from = start(&headers, &read.params)?;
    let Ok(place) = app.subscribers.clone().try_acquire_owned() else {
        let detail = format!("more than {} streams at once; close one, or poll", app.limits().subscribers_max);
        return Err(Problem::new(Code::Overloaded, detail).retry_after(10));
    };
    let after = from.unwrap_or_else(|| views.newest_change(&read.tenant));
    let stopping = stopping.map(|Extension(stopping)| stopping);
    let heartbeat_at = next_heartbeat(&app);
    let subscriber = Subscriber {
        _counted: Counted::new(&app, place),
        queue: VecDeque::from([greeting()]),
        tenant: read.tenant,
        caller: caller.map(|Extension(caller)| caller),
        app,
        views,
        wanted,
        after,
        heartbeat_at,
        stopping,
    };
    Ok(response(subscriber))
}

/// By the runtime's clock, which tests can stop.
fn next_heartbeat(app: &App) -> Instant {
    Instant::now() + app.limits().heartbeat
}

fn response(subscriber: Subscriber) -> Response {
    let events = stream::unfold(subscriber, async |mut subscriber| {
        let event = subscriber.next().await?;
        Some((Ok::<_, Infallible>(event), subscriber))
    });
    let mut response = Sse::new(events).into_response();
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What a stream is about.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Wanted {
    views: Vec<String>,
    subject: Option<String>,
}

impl Wanted {
    fn of(params: &Params) -> Result<Wanted, Problem> {
        let views: Vec<String> =
            params.get("views").unwrap_or_default().split(',').map(|v| v.trim().to_owned()).collect();
        let views: Vec<String> = views.into_iter().filter(|view| !view.is_empty()).collect();
        if views.iter().any(|view| !VIEWS.contains(&view.as_str())) {
            return Err(Problem::parameter("views", &format!("some of {}, separated by commas", VIEWS.join(", "))));
        }
        let subject = params
            .get("subject")
            .map(|text| text.parse::<Digest>().map_or_else(|_| text.to_owned(), |digest| digest.to_string()));
        Ok(Wanted { views, subject })
    }

    fn is(&self, change: &ViewChange) -> bool {
        (self.views.is_empty() || self.views.contains(&change.view))
            && self.subject.as_ref().is_none_or(|subject| *subject == change.subject)
    }
}

/// Where the client has been: `Last-Event-ID` wins, as a browser sends it with the first `from=` still in the URL.
fn start(headers: &HeaderMap, params: &Params) -> Result<Option<(u64, u32)>, Problem> {
    let last = headers.get("last-event-id").map(|id| String::from_utf8_lossy(id.as_bytes()));
    let advice = "an index, or index-n as in an event's id";
    match last.as_deref().filter(|id| !id.is_empty()) {
        Some(id) => position(id).ok_or_else(|| Problem::parameter("Last-Event-ID", advice)).map(Some),
        None => params.get("from").map(|id| position(id).ok_or_else(|| Problem::parameter("from", advice))).transpose(),
    }
}

/// A bare index means that all of its changes are known.
fn position(id: &str) -> Option<(u64, u32)> {
    match id.trim().split_once('-') {
        None => Some((id.trim().parse().ok()?, u32::MAX)),
        Some((index, n)) => Some((index.parse().ok()?, n.parse().ok()?)),
    }
}

fn greeting() -> Event {
    Event::default().retry(RETRY).comment("connected")
}

/// A place among the streams, counted while it is held.
struct Counted {
    app: App,
    _place: OwnedSemaphorePermit,
}

impl Counted {
    fn new(app: &App, place: OwnedSemaphorePermit) -> Counted {
        app.metrics.subscribers.inc();
        Counted { app: app.clone(), _place: place }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.app.metrics.subscribers.dec();
    }
}

/// One stream: at most [`CHANGES_MAX`] changes ahead of its client.
struct Subscriber {
    app: App,
    views: Views,
    tenant: TenantId,
    caller: Option<Caller>,
    wanted: Wanted,
    after: (u64, u32),
    queue: VecDeque<Event>,
    heartbeat_at: Instant,
    stopping: Option<Stopping>,
    _counted: Counted,
}

impl Subscriber {
    /// The next event; `None` when the server stops, the views cannot be read, or the token is good no more.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if !self.queue.is_empty() {
                return if self.is_allowed().await { self.queue.pop_front() } else { None };
            }
            // Read before the changes, so that whatever becomes visible after them ends the wait.
            let visible = self.views.visible(&self.tenant);
            if self.fill(visible).await? {
                continue;
            }
            let heartbeat = self.wait(visible).await?;
            self.queue.extend(heartbeat);
        }
    }

    /// Asked before each event, as a stream lives longer than the check at its beginning.
    async fn is_allowed(&self) -> bool {
        let (Some(Caller(token)), Some(tokens)) = (&self.caller, &self.app.config.tokens) else { return true };
        tokens.refresh(self.app.now()).await;
        tokens.still_has(token, self.app.now())
    }

    /// Reads on; whether there was anything, also if nothing of it is wanted.
    async fn fill(&mut self, visible: u64) -> Option<bool> {
        let (views, tenant, after) = (self.views.clone(), self.tenant.clone(), self.after);
        let changes = self.app.blocking(move || Ok(views.changes(&tenant, after, CHANGES_MAX)?)).await.ok()?;
        let Some(changes) = changes else {
            self.reset();
            return Some(true);
        };
        match changes.last() {
            Some(last) => self.after = (last.index, last.n),
            None => return Some(self.skip_unchanging(visible)),
        }
        self.queue.extend(changes.iter().filter(|change| self.wanted.is(change)).filter_map(event_of));
        self.app.metrics.changes_sent.inc_by(self.queue.len() as u64);
        Some(true)
    }

    /// Moves over entries that changed nothing, so that they are not looked at again and again.
    fn skip_unchanging(&mut self, visible: u64) -> bool {
        let Some(newest) = visible.checked_sub(1).filter(|newest| *newest > self.after.0) else { return false };
        self.after = (newest.min(self.after.0 + SKIPPED_MAX), u32::MAX);
        self.after.0 < newest
    }

    /// The client must read the state anew: what it missed is no longer kept.
    fn reset(&mut self) {
        self.after = self.views.newest_change(&self.tenant);
        let index = self.after.0;
        let data = json!({ "index": index }).to_string();
        self.queue.push_back(Event::default().event("reset").id(index.to_string()).data(data));
    }

    /// Waits for the views to move on; an event when a heartbeat is due, an end when the server stops.
    async fn wait(&mut self, visible: u64) -> Option<Option<Event>> {
        let stopping = self.stopping.clone();
        let stopped = async move {
            match stopping {
                Some(mut stopping) => stopping.wait().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.views.wait_visible(&self.tenant, visible, self.app.limits().heartbeat) => Some(None),
            () = tokio::time::sleep_until(self.heartbeat_at) => Some(Some(self.heartbeat())),
            () = stopped => None,
        }
    }

    /// Carries no id: a client resumes after the last change that it saw.
    fn heartbeat(&mut self) -> Event {
        self.heartbeat_at = next_heartbeat(&self.app);
        let size = self.views.visible(&self.tenant);
        let data = json!({ "index": size.checked_sub(1), "size": size });
        Event::default().event("heartbeat").data(data.to_string())
    }
}

/// `None` only if the change cannot be written as JSON, which none can.
fn event_of(change: &ViewChange) -> Option<Event> {
    let data = serde_json::to_string(change).ok()?;
    Some(Event::default().id(format!("{}-{}", change.index, change.n)).event(&change.view).data(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read() {
        assert_eq!(position("7-2"), Some((7, 2)));
        assert_eq!(position("7"), Some((7, u32::MAX)));
        for bad in ["", "x", "7-", "-1", "7-x", "7-1-1"] {
            assert_eq!(position(bad), None, "{bad}");
        }
    }
}
