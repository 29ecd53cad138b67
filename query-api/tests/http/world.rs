//! A ledger with views and the router over both.

use std::sync::{Arc, Mutex, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use pedigraph_ledger::{Batch, Blobs, LogId, NewEntry, Options, Part, Publisher, Receipt, Writer};
use pedigraph_projector::Views;
use pedigraph_proto::event::ServiceDeployed;
use pedigraph_proto::wire::{Entry, Fact, Status};
use pedigraph_proto::{Event, EventId, Nanos, TenantId, canonical, fact};
use pedigraph_query_api::{Config, LateViews};
use prost::Message as _;
use serde_json::Value;
use tower::ServiceExt as _;

/// 2027-01-01: later than every event here.
pub(crate) fn recorded() -> i64 {
    Nanos::parse("2027-01-01").expect("a time").0
}

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) writer: Arc<Mutex<Writer>>,
    pub(crate) views: Views,
}

impl World {
    pub(crate) fn new() -> World {
        let dir = tempfile::tempdir().expect("a directory");
        let options =
            Options { name: Some("test.example/ledger".into()), segment_bytes: 1 << 20, ..Options::default() };
        let writer = pedigraph_ledger::open(&dir.path().join("ledger"), &options).expect("a ledger");
        let views = Views::in_memory(writer.reader()).expect("views");
        World { dir, writer: Arc::new(Mutex::new(writer)), views }
    }

    /// Appends one entry each and waits until the views show them.
    pub(crate) fn append(&self, events: &[Sent]) {
        let receipts = append(&self.writer, events);
        let next_seq = self.writer.lock().expect("a writer").reader().next_seq();
        assert!(receipts.len() == events.len() && self.views.wait_folded(next_seq), "{:?}", self.views.fault());
    }

    pub(crate) fn publish_checkpoint(&self) {
        let mut publisher = Publisher::new(&self.writer.lock().expect("a writer")).expect("a publisher");
        publisher.publish(recorded()).expect("published");
    }

    pub(crate) fn config(&self) -> Config {
        let views: LateViews = Arc::new(OnceLock::from(self.views.clone()));
        let spool = self.dir.path().join("spool");
        pedigraph_query_api::prepare_spool(&spool).expect("a spool directory");
        Config::new(self.views.ledger().clone(), views, spool)
    }

    pub(crate) fn client(&self) -> Client {
        Client(pedigraph_query_api::router(self.config()))
    }
}

pub(crate) fn append(writer: &Mutex<Writer>, events: &[Sent]) -> Vec<Receipt> {
    let mut writer = writer.lock().expect("a writer");
    let time_ns = writer.next_time(recorded());
    let bodies = writer.bodies();
    let entries = events.iter().map(|sent| sent.entry(time_ns, &bodies)).collect();
    writer.append(Batch { time_ns, entries, ..Batch::default() }).expect("appended")
}

/// An event on its way.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) at: String,
    pub(crate) event: Event,
    pub(crate) status: Status,
    pub(crate) body: Bytes,
}

pub(crate) fn sent(at: &str, event: impl Into<Event>) -> Sent {
    let event = event.into();
    let body = format!("{at} {event:?}").into();
    Sent { at: at.to_owned(), event, status: Status::Accepted, body }
}

/// A service that went to an environment with a version.
pub(crate) fn deployed(at: &str, environment: &str, service: &str, tag: &str) -> Sent {
    sent(
        at,
        ServiceDeployed {
            environment: environment.into(),
            service: service.into(),
            artifact_ref: format!("example.org/{service}:{tag}"),
            ..ServiceDeployed::default()
        },
    )
}

impl Sent {
    fn entry(&self, recorded_at: i64, bodies: &Blobs) -> NewEntry {
        let chunk = fact::encode_chunk(vec![Fact::now(self.event.clone())]);
        let body_digest = canonical::sha256(&self.body);
        let leaf = Entry {
            version: 1,
            event_id: EventId::of(&TenantId::default(), "/test", &self.at, &body_digest).as_bytes().to_vec().into(),
            status: self.status.into(),
            r#type: self.event.name().to_owned(),
            tenant: "default".to_owned(),
            source: "/test".to_owned(),
            id: self.at.clone(),
            occurred_at: Nanos::parse(&self.at).expect("a time").0,
            recorded_at,
            time_source: 1,
            body_digest: body_digest.to_vec().into(),
            body_size: self.body.len() as u64,
            facts_digest: canonical::facts_digest([canonical::sha256(&chunk)].iter()).to_vec().into(),
            facts_count: 1,
            ..Entry::default()
        };
        let is_small = self.body.len() <= 1 << 10;
        let body = if is_small { Part::Inline(self.body.clone()) } else { bodies.put(&self.body).expect("stored") };
        let (facts, body) = (vec![Part::Inline(chunk)], Some(body));
        NewEntry { log: LogId::default_log(), leaf: leaf.encode_to_vec().into(), facts, body }
    }
}

/// Asks the router without a socket.
#[derive(Clone)]
pub(crate) struct Client(pub(crate) Router);

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Client {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], Body::empty()).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask("GET", path, headers, Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        self.ask("POST", path, headers, body.into()).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Answer {
        Answer::of(self.open(method, path, headers, body).await).await
    }

    /// The response with its body unread.
    pub(crate) async fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> axum::response::Response {
        let request = Request::builder().method(method).uri(path);
        let named = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
        let request = if named { request } else { request.header("host", "localhost") };
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.0.clone().oneshot(request.body(body).expect("a request")).await.expect("an answer")
    }
}

impl Answer {
    pub(crate) async fn of(response: axum::response::Response) -> Answer {
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        Answer { status, headers, bytes }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    /// Its bytes as a text; where lines of a page may break, and what is a name by itself, is no part of it.
    pub(crate) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        ["<wbr>", "<bdi>", "</bdi>"].iter().fold(text.into_owned(), |text, mark| text.replace(mark, ""))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Checks that it is a problem in full, and gives (status, code).
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text());
        let body = self.json();
        for name in ["type", "title", "detail", "code", "instance"] {
            assert!(body[name].as_str().is_some_and(|text| !text.is_empty()), "{name} in {body}");
        }
        assert_eq!(body["status"], self.status.as_u16());
        assert_eq!(body["instance"].as_str(), self.header("x-request-id"));
        assert_eq!(self.header("cache-control"), Some("no-store"));
        (self.status.as_u16(), body["code"].as_str().unwrap_or_default().to_owned())
    }
}
