//! Intake: what goes to the processor, what is refused before, how it is answered.

use std::sync::{Arc, Mutex};

use pedigraph_ledger::{Batch, LogId, Writer};
use pedigraph_proto::message::{Body, Message, Receipt, Refused, Status, Submitted};
use pedigraph_proto::{EventId, message};
use pedigraph_query_api::{Erasure, NotErased, Pending, WriteNode};

use crate::world::{Client, Sent, World, append, deployed, recorded};

/// A write node that does this with each message.
struct Writes<F>(F);

impl<F: Fn(Message) -> Submitted + Send + Sync + 'static> WriteNode for Writes<F> {
    fn publish(&self, message: Message) -> Pending<Result<Submitted, Refused>> {
        let submitted = self.0(message);
        Box::pin(async { Ok(submitted) })
    }
    fn erase(&self, _: Erasure) -> Pending<Result<Vec<Receipt>, NotErased>> {
        Box::pin(async { Err(NotErased::Stopping) })
    }
    fn refuses(&self) -> Option<Refused> {
        None
    }
}

/// Takes every message as one deployment with these bytes into the ledger, and keeps what it saw.
fn takes(writer: Arc<Mutex<Writer>>, seen: Arc<Mutex<Vec<Message>>>) -> impl WriteNode {
    Writes(move |message: Message| {
        let body = bytes_of(&message.body);
        seen.lock().expect("a list").push(message);
        let sent = Sent { body, ..deployed("2026-01-01T00:00:00Z", "prod", "cart", "1") };
        let appended = append(&writer, &[sent]).remove(0);
        Submitted::One(Receipt { leaf_hash: appended.leaf_hash.0, ..receipt(Status::Accepted, appended.index) })
    })
}

fn receipt(status: Status, index: u64) -> Receipt {
    Receipt {
        status,
        index,
        leaf_hash: [0; 32],
        event_id: EventId::from_slice(&[0; 16]).expect("16 bytes"),
        conflicts_with: None,
        reject: None,
        redaction: None,
    }
}

fn bytes_of(body: &message::Body) -> bytes::Bytes {
    match body {
        Body::Null => bytes::Bytes::new(),
        Body::Bytes(bytes) => bytes.clone(),
        Body::File { path, .. } => std::fs::read(path).expect("a spooled document").into(),
    }
}

pub(crate) fn client(
    world: &World,
    change: impl FnOnce(&mut pedigraph_query_api::Config),
) -> (Client, Arc<Mutex<Vec<Message>>>) {
    let seen: Arc<Mutex<Vec<Message>>> = Arc::default();
    let mut config = world.config();
    config.write = Some(Arc::new(takes(world.writer.clone(), Arc::clone(&seen))));
    change(&mut config);
    (Client(pedigraph_query_api::router(config)), seen)
}

#[tokio::test]
async fn an_event_is_passed_on_and_visible_when_asked_for() {
    let world = World::new();
    let (client, seen) = client(&world, |_| ());
    let headers = [
        ("content-type", "application/json"),
        ("Ce-Type", "x"),
        ("authorization", "Bearer secret"),
        ("pedigraph-subject", "sha256:ab"),
        ("idempotency-key", "k"),
    ];
    let answer = client.post("/api/v1/events?wait=visible&format=cyclonedx", &headers, r#"{"a":1}"#).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.json()["index"], 0);
    assert_eq!(answer.json()["status"], "accepted");
    assert_eq!(answer.json()["visible"], true);
    assert_eq!(answer.header("location"), Some("/api/v1/entries/0"));
    assert_eq!(client.get("/api/v1/environments/prod").await.status, 200);
    assert_eq!(client.get("/api/v1/entries/0/body").await.text(), r#"{"a":1}"#);
    let message = seen.lock().expect("a list").remove(0);
    let mut names: Vec<_> = message.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["ce-type", "content-type", "idempotency-key", "pedigraph-subject"]);
    assert_eq!((message.subject.as_deref(), message.format.as_deref()), (Some("sha256:ab"), Some("cyclonedx")));
    assert_eq!((message.source.as_str(), message.origin.topic.as_str()), ("http", "/api/v1/events"));
}

/// A node that only writes has no views to wait for; what it has made durable it must not call an error.
#[tokio::test]
async fn a_node_without_views_gives_the_receipt_all_the_same() {
    let world = World::new();
    for expect_views in [false, true] {
        let (client, _) = client(&world, |config| {
            config.views = pedigraph_query_api::LateViews::default();
            config.expect_views = expect_views;
        });
        let answer = client.post("/api/v1/events?wait=visible", &[], r#"{"a":2}"#).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["visible"]), (201, &false.into()), "{}", answer.text());
    }
}

/// Counts every message as a duplicate of entry 0.
fn repeats(writer: Arc<Mutex<Writer>>) -> impl WriteNode {
    Writes(move |_| {
        let mut writer = writer.lock().expect("a writer");
        let (time_ns, log) = (writer.next_time(recorded()), LogId::default_log());
        let duplicates = vec![(log, "/test".to_owned(), 1)];
        writer.append(Batch { time_ns, duplicates, ..Batch::default() }).expect("appended");
        Submitted::One(receipt(Status::Duplicate, 0))
    })
}

#[tokio::test]
async fn a_duplicate_that_waits_is_counted_when_it_is_answered() {
    let world = World::new();
    world.append(&[deployed("2026-01-01T00:00:00Z", "prod", "cart", "1")]);
    let (client, _) = client(&world, |config| config.write = Some(Arc::new(repeats(world.writer.clone()))));
    for count in 1..=20 {
        let answer = client.post("/api/v1/events?wait=visible", &[], "{}").await;
        assert_eq!((answer.status.as_u16(), &answer.json()["visible"]), (200, &true.into()), "{}", answer.text());
        assert_eq!(client.get("/api/v1/intake").await.json()["byStatus"]["duplicate"], count);
    }
}

const MANY: usize = 4_000;

/// Takes every message as the deployments of very many services.
fn takes_many(writer: Arc<Mutex<Writer>>) -> impl WriteNode {
    Writes(move |_| {
        let service = |n| deployed("2026-01-01T00:00:00Z", "prod", &format!("cart-{n}"), "1");
        let appended = append(&writer, &(0..MANY).map(service).collect::<Vec<_>>());
        Submitted::Batch(appended.iter().map(|appended| receipt(Status::Accepted, appended.index)).collect())
    })
}

/// Derived views come after the facts, and a question is bound by the slowest of them.
#[tokio::test]
async fn whoever_waited_sees_everything_that_was_sent() {
    let world = World::new();
    let (client, _) = client(&world, |config| config.write = Some(Arc::new(takes_many(world.writer.clone()))));
    let answer = client.post("/api/v1/events?wait=visible", &[], "{}").await;
    let index = MANY - 1;
    assert_eq!((answer.status.as_u16(), &answer.json()["visible"]), (201, &true.into()), "{}", answer.text());
    let shown = client.get("/api/v1/environments/prod?limit=1000").await;
    assert_eq!(shown.headers["pedigraph-as-of"], index.to_string());
}

#[tokio::test]
async fn what_cannot_be_an_event_is_refused_and_not_recorded() {
    let world = World::new();
    let (client, seen) = client(&world, |config| {
        config.limits.event_bytes_max = 10;
        config.limits.intake_bytes_max = 1 << 20;
    });
    let json = ("content-type", "application/json");
    let large = client.post("/api/v1/events", &[json], "01234567890").await;
    assert_eq!(large.problem(), (413, "TOO_LARGE".into()));
    let parts = futures_util::stream::iter(["01234", "56789", "0"].map(Ok::<_, std::io::Error>));
    let streamed = client.post("/api/v1/events", &[json], axum::body::Body::from_stream(parts)).await;
    assert_eq!(streamed.problem(), (413, "TOO_LARGE".into()));
    let form = client.post("/api/v1/events", &[("content-type", "application/x-www-form-urlencoded")], "a").await;
    assert_eq!(form.problem(), (415, "UNSUPPORTED_MEDIA_TYPE".into()));
    let coded = client.post("/api/v1/events", &[json, ("content-encoding", "br")], "a").await;
    assert_eq!(coded.problem(), (415, "UNSUPPORTED_MEDIA_TYPE".into()));
    let twice = client.post("/api/v1/events?subject=a&subject=b", &[json], "a").await;
    assert_eq!(twice.problem(), (400, "INVALID_PARAMETER".into()));
    let waiting = client.post("/api/v1/events?wait=long", &[json], "a").await;
    assert_eq!(waiting.problem(), (400, "INVALID_PARAMETER".into()));
    assert!(seen.lock().expect("a list").is_empty());
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up() {
    let world = World::new();
    let (client, seen) = client(&world, |config| config.limits.body_idle_max = std::time::Duration::from_millis(20));
    let body = axum::body::Body::from_stream(futures_util::stream::pending::<Result<&str, std::io::Error>>());
    let answer = client.post("/api/v1/events", &[], body).await;
    assert_eq!(answer.problem(), (408, "REQUEST_TIMEOUT".into()));
    assert!(seen.lock().expect("a list").is_empty());
}

#[tokio::test]
async fn a_document_is_spooled_and_leaves_nothing_behind() {
    let world = World::new();
    let (client, seen) = client(&world, |config| config.limits.document_bytes_max = 70_000);
    let parts = futures_util::stream::iter((0..60).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1_000])));
    let body = axum::body::Body::from_stream(parts);
    let answer = client.post("/api/v1/documents?subject=sha256:ab", &[], body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let message = seen.lock().expect("a list").remove(0);
    assert!(matches!(message.body, Body::File { size: 60_000, .. }), "{:?}", message.body);
    let parts = futures_util::stream::iter((0..71).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1_000])));
    let large = client.post("/api/v1/documents", &[], axum::body::Body::from_stream(parts)).await;
    assert_eq!(large.problem(), (413, "TOO_LARGE".into()));
    let left = std::fs::read_dir(world.dir.path().join("spool")).expect("a directory").count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn only_rejects_are_driven_again() {
    let world = World::new();
    let (client, seen) = client(&world, |_| ());
    world.append(&[deployed("2026-01-01T00:00:00Z", "prod", "cart", "1")]);
    let accepted = client.post("/api/v1/rejects/0/replay", &[], "").await;
    assert_eq!(accepted.problem(), (409, "NOT_A_REJECT".into()));
    let rejected =
        Sent { status: pedigraph_proto::wire::Status::Rejected, ..deployed("2026-01-02T00:00:00Z", "prod", "a", "1") };
    world.append(std::slice::from_ref(&rejected));
    assert_eq!(client.post("/api/v1/rejects/1/replay", &[], "").await.status, 201);
    let message = seen.lock().expect("a list").remove(0);
    assert_eq!(message.replay_of, Some(1));
    assert_eq!(bytes_of(&message.body), rejected.body);
    assert_eq!(client.post("/api/v1/rejects/9/replay", &[], "").await.problem(), (404, "ENTRY_NOT_FOUND".into()));
}
