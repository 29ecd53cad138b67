//! `GET /api/v1/subscribe`: changes as they happen, resumable without gap or repeat (SPEC §8).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use pedigraph_projector::answers::ViewChange;
use pedigraph_projector::{ChangesOf, Moment, Scope, Views};
use pedigraph_proto::{Digest, TenantId};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::access::check::Caller;
use crate::access::scope::{Access, TokenScope};
use crate::app::App;
use crate::params::Params;
use crate::problem::{Code, Problem};
use crate::read::Read;
use crate::route::Routes;
use crate::serve::Stopping;
use crate::shares::Share;
use crate::tenant::log_of;

/// Changes that are read at once.
const CHANGES_MAX: usize = 256;
/// Events that are made before the client takes those before.
const AHEAD_MAX: usize = 8;
/// Time between two looks at the token of a client that takes nothing.
const LOOK: Duration = Duration::from_secs(1);
/// Entries without changes that are passed at once.
const SKIPPED_MAX: u64 = 1_000;
/// What a client waits before it connects again.
const RETRY: Duration = Duration::from_secs(2);
const VIEWS: [&str; 9] =
    ["lineage", "components", "vex", "deployments", "runtime", "evidence", "incidents", "signals", "intake"];

/// Views that are told only to who asks for them.
const LEFT_OUT: [&str; 2] = ["vex", "signals"];

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
    let Some(place) = app.share(&app.subscribers, &read.tenant) else {
        let detail = format!("your share of {} streams at once is used up; close one, or poll", app.subscribers.max());
        return Err(Problem::new(Code::Overloaded, detail).retry_after(10));
    };
    let newest = views.newest_change(&read.tenant, wanted.with());
    // What the ledger does not have was seen in another one: a copy that is ahead, or one that was lost. What only the
    // views do not show yet they will come to.
    let last = app.ledger().head(&log_of(&read.tenant)?).size.saturating_sub(1);
    let beyond = from.is_some_and(|(index, _)| index > last);
    let after = from.filter(|_| !beyond).unwrap_or(newest);
    let stopping = stopping.map(|Extension(stopping)| stopping);
    let heartbeat_at = next_heartbeat(&app);
    let place = Place::new(&app, place);
    let mut subscriber = Subscriber {
        queue: VecDeque::from([greeting()]),
        tenant: read.tenant,
        caller: caller.map(|Extension(caller)| caller),
        app,
        views,
        wanted,
        after,
        heartbeat_at,
        stopping,
        _place: place.clone(),
    };
    if beyond {
        subscriber.reset();
    }
    Ok(response(subscriber, place))
}

/// By the runtime's clock, which tests can stop.
fn next_heartbeat(app: &App) -> Instant {
    Instant::now() + app.limits().heartbeat
}

/// Events are made beside the connection: who takes none is looked after all the same.
fn response(subscriber: Subscriber, place: Place) -> Response {
    let (sender, receiver) = mpsc::channel(AHEAD_MAX);
    tokio::spawn(subscriber.run(sender));
    let events = stream::unfold((receiver, place), async |(mut receiver, place)| {
        let event = receiver.recv().await?;
        Some((Ok::<_, Infallible>(event), (receiver, place)))
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
    subject: Option<Subject>,
}

/// What changes are told of.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Subject {
    /// As it is written.
    Named(String),
    /// An artifact, by any of its digests: a manifest and its config are one.
    Digest(String),
}

impl Subject {
    fn of(text: &str) -> Subject {
        text.parse::<Digest>().map_or_else(|_| Subject::Named(text.to_owned()), |of| Subject::Digest(of.to_string()))
    }

    /// Everything by which changes may name it, as it is known now.
    fn names(&self, scope: &Scope) -> Result<Vec<String>, Problem> {
        match self {
            Subject::Named(name) => Ok(vec![name.clone()]),
            Subject::Digest(digest) => Ok(scope.aliases_of(digest)?),
        }
    }
}

impl Wanted {
    fn of(params: &Params) -> Result<Wanted, Problem> {
        let views: Vec<String> =
            params.get("views").unwrap_or_default().split(',').map(|v| v.trim().to_owned()).collect();
        let views: Vec<String> = views.into_iter().filter(|view| !view.is_empty()).collect();
        if views.iter().any(|view| !VIEWS.contains(&view.as_str())) {
            return Err(Problem::parameter("views", &format!("some of {}, separated by commas", VIEWS.join(", "))));
        }
        Ok(Wanted { views, subject: params.get("subject").map(Subject::of) })
    }

    /// Verdicts and deltas are told to who asks for them.
    fn with(&self) -> ChangesOf {
        if self.views.iter().any(|view| view == "vex") { ChangesOf::All } else { ChangesOf::Facts }
    }

    fn is_of_views(&self, change: &ViewChange) -> bool {
        let by_default = self.views.is_empty() && !LEFT_OUT.contains(&change.view.as_str());
        by_default || self.views.contains(&change.view)
    }

    /// Which of some changes are wanted. What a subject is called is read for all of them at once, and only where there
    /// are any.
    fn of_changes(
        &self,
        changes: Vec<ViewChange>,
        scope: impl FnOnce() -> Result<Scope, Problem>,
    ) -> Result<Vec<ViewChange>, Problem> {
        let mut wanted: Vec<ViewChange> = changes.into_iter().filter(|change| self.is_of_views(change)).collect();
        if let Some(subject) = self.subject.as_ref().filter(|_| !wanted.is_empty()) {
            let names = subject.names(&scope()?)?;
            wanted.retain(|change| names.contains(&change.subject));
        }
        Ok(wanted)
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

/// A place among the streams. A stream's body and the maker of its events both have it, and who ends first gives it
/// back: the other may be a client that takes nothing.
#[derive(Clone)]
struct Place(Arc<Mutex<Option<Counted>>>);

impl Place {
    fn new(app: &App, share: Share) -> Place {
        app.metrics.subscribers.inc();
        Place(Arc::new(Mutex::new(Some(Counted { app: app.clone(), _share: share }))))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Counted while it is held.
struct Counted {
    app: App,
    _share: Share,
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
    _place: Place,
}

impl Subscriber {
    /// Makes events until nobody is there to take them, or none may be made.
    async fn run(mut self, to: mpsc::Sender<Event>) {
        loop {
            let event = tokio::select! {
                event = self.next() => event,
                () = to.closed() => return,
            };
            let Some(event) = event else { return };
            let Some(room) = self.room(&to).await else { return };
            room.send(event);
        }
    }

    /// Room for an event, once the client took others; `None` when there is no client, or none that may have it.
    async fn room<'to>(&self, to: &'to mpsc::Sender<Event>) -> Option<mpsc::Permit<'to, Event>> {
        loop {
            tokio::select! {
                room = to.reserve() => return room.ok(),
                () = tokio::time::sleep(LOOK) => {
                    if !self.is_allowed().await {
                        return None;
                    }
                }
                () = stopped(self.stopping.clone()) => return None,
            }
        }
    }

    /// The next event; `None` when the server stops, the views cannot be read, or the token is good no more.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if !self.queue.is_empty() {
                return if self.is_allowed().await { self.queue.pop_front() } else { None };
            }
            // Read before the changes, so that whatever becomes visible after them ends the wait.
            let visible = self.views.visible_with(&self.tenant, self.wanted.with());
            if self.fill(visible).await? {
                continue;
            }
            let heartbeat = self.wait(visible).await?;
            self.queue.extend(heartbeat);
        }
    }

    /// Asked before each event, as a stream lives longer than the check at its beginning.
    async fn is_allowed(&self) -> bool {
        let (Some(caller), Some(tokens)) = (&self.caller, &self.app.config.tokens) else { return true };
        tokens.refresh(self.app.now()).await;
        let now = self.app.now();
        match caller.session {
            Some(key) => self.app.sessions.find(&key, tokens, now).is_some(),
            None => tokens.still_has(&caller.token, now),
        }
    }

    /// Reads on; whether there was anything, also if nothing of it is wanted.
    async fn fill(&mut self, visible: u64) -> Option<bool> {
        let (views, tenant, after) = (self.views.clone(), self.tenant.clone(), self.after);
        let (lane, limits) = (Some(&self.tenant), self.app.limits().of_answer());
        let wanted = self.wanted.clone();
        let read = self.app.blocking_of(lane, limits, move |meter| {
            let Some(changes) = views.changes(&tenant, after, CHANGES_MAX, wanted.with())? else { return Ok(None) };
            let last = changes.last().map(|last| (last.index, last.n));
            let scope = || Ok(views.at(&tenant, Moment::default())?.within(meter.clone()));
            Ok(Some((last, wanted.of_changes(changes, scope)?)))
        });
        let changes = match read.await {
            // Once they are folded as far again, the stream goes on where it was.
            Err(problem) if problem.is_of_views() => return Some(false),
            changes => changes.ok()?,
        };
        let Some((last, changes)) = changes else {
            self.reset();
            return Some(true);
        };
        match last {
            Some(last) => self.after = last,
            None => return Some(self.skip_unchanging(visible)),
        }
        self.queue.extend(changes.iter().filter_map(event_of));
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
        self.after = self.views.newest_change(&self.tenant, self.wanted.with());
        let (index, n) = self.after;
        // Before the first entry nothing of it is known.
        let id = if n == 0 { format!("{index}-{n}") } else { index.to_string() };
        let data = json!({ "index": index }).to_string();
        self.queue.push_back(Event::default().event("reset").id(id).data(data));
    }

    /// Waits for the views to move on; an event when a heartbeat is due, an end when the server stops.
    async fn wait(&mut self, visible: u64) -> Option<Option<Event>> {
        tokio::select! {
            () = self.moved(visible) => Some(None),
            () = tokio::time::sleep_until(self.heartbeat_at) => Some(Some(self.heartbeat())),
            () = stopped(self.stopping.clone()) => None,
        }
    }

    /// Waits until more is shown, for as long as a heartbeat at most.
    async fn moved(&self, visible: u64) {
        let (views, timeout) = (&self.views, self.app.limits().heartbeat);
        match self.wanted.with() {
            ChangesOf::Facts => views.wait_visible(&self.tenant, visible, timeout).await,
            ChangesOf::All => views.wait_deltas(&self.tenant, visible, timeout).await,
        };
    }

    /// Carries no id: a client resumes after the last change that it saw.
    fn heartbeat(&mut self) -> Event {
        self.heartbeat_at = next_heartbeat(&self.app);
        let size = self.views.visible_with(&self.tenant, self.wanted.with());
        let data = json!({ "index": size.checked_sub(1), "size": size });
        Event::default().event("heartbeat").data(data.to_string())
    }
}

/// Resolves when the server stops.
async fn stopped(stopping: Option<Stopping>) {
    match stopping {
        Some(mut stopping) => stopping.wait().await,
        None => std::future::pending().await,
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
