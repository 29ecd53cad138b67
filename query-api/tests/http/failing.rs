//! Views whose store cannot be written or read for a while, and views that are folded anew.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use pedigraph_projector::store::{MemStore, Row, Store};
use pedigraph_projector::{Error, Views};
use pedigraph_proto::TenantId;
use pedigraph_proto::event::ServiceDeployed;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::streams::{ids, open, read_until};
use crate::world::{Answer, Client, Sent, World, append, deployed, sent};
use crate::{events, packs};

#[derive(Default)]
struct Failing {
    rows: MemStore,
    full: AtomicBool,
    /// Folding panics until the views are folded anew.
    panics: AtomicBool,
    /// Nothing can be read by a question.
    unreadable: AtomicBool,
    hold: Mutex<Option<Hold>>,
    anew: Mutex<Option<UnboundedSender<()>>>,
}

/// Holds up one question at one of its reads.
struct Hold {
    reads_before: usize,
    reached: UnboundedSender<()>,
    go: mpsc::Receiver<()>,
}

impl Failing {
    fn room(&self) -> Result<(), Error> {
        assert!(!self.panics.load(Ordering::Relaxed), "a fold that cannot do it");
        let full = self.full.load(Ordering::Relaxed);
        if full { Err(Error::Store("insert: no room on the device".into())) } else { Ok(()) }
    }

    /// Reads as the thread at hand does: only questions are held up.
    fn read<T>(&self, read: impl FnOnce(&MemStore) -> Result<T, Error>) -> Result<T, Error> {
        if std::thread::current().name() != Some("fold") {
            if self.unreadable.load(Ordering::Relaxed) {
                return Err(Error::Store("get: input/output error".into()));
            }
            if let Some(hold) = self.next_hold() {
                hold.reached.send(()).expect("the test waits");
                hold.go.recv().expect("the test goes on");
            }
        }
        read(&self.rows)
    }

    fn next_hold(&self) -> Option<Hold> {
        let mut slot = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        let hold = slot.take()?;
        if hold.reads_before == 0 {
            return Some(hold);
        }
        *slot = Some(Hold { reads_before: hold.reads_before - 1, ..hold });
        None
    }
}

impl Store for Failing {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.read(|rows| rows.get(key))
    }
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.room()?;
        self.rows.insert(key, value)
    }
    fn insert_new(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.room()?;
        self.rows.insert_new(key, value)
    }
    fn remove(&self, key: &[u8]) -> Result<(), Error> {
        self.rows.remove(key)
    }
    fn batch(&self, rows: &[Row]) -> Result<(), Error> {
        self.room()?;
        self.rows.batch(rows)
    }
    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, limit: usize) -> Result<Vec<Row>, Error> {
        self.read(|rows| rows.scan(from, to, reverse, limit))
    }
    fn flush(&self) -> Result<(), Error> {
        self.rows.flush()
    }
    fn renew(&self, anew: bool) -> Result<(), Error> {
        if anew && self.panics.swap(false, Ordering::Relaxed) {
            let told = self.anew.lock().unwrap_or_else(PoisonError::into_inner).take();
            told.expect("the test waits").send(()).expect("the test waits");
        }
        self.rows.renew(anew)
    }
}

/// A world whose views are kept in that store.
fn world() -> (World, Arc<Failing>) {
    let mut world = World::new();
    let store = Arc::new(Failing::default());
    world.views = Views::in_store(store.clone(), world.views.ledger().clone()).expect("views");
    (world, store)
}

/// What is asked for in these tests.
fn crane() -> Sent {
    let (environment, service) = ("yard".into(), "crane".into());
    let (artifact_ref, artifact_digest) = ("example.org/crane:1".into(), packs::digest("1"));
    let event = ServiceDeployed { environment, service, artifact_ref, artifact_digest, ..Default::default() };
    sent("2026-01-01T00:00:00Z", event)
}

fn pack_of_it() -> String {
    format!(r#"{{"artifactDigests":["{}"],"sign":false}}"#, packs::digest("1"))
}

fn held_up(store: &Failing, reads_before: usize) -> (UnboundedReceiver<()>, mpsc::Sender<()>) {
    let (reached, when_reached) = unbounded_channel();
    let (let_go, go) = mpsc::channel();
    *store.hold.lock().expect("not poisoned") = Some(Hold { reads_before, reached, go });
    (when_reached, let_go)
}

/// Has the views folded anew, since folding a further event panics; resolves when it has begun.
async fn fold_anew(world: &World, store: &Failing, version: usize) {
    let (told, mut when_told) = unbounded_channel();
    *store.anew.lock().expect("not poisoned") = Some(told);
    store.panics.store(true, Ordering::Relaxed);
    append(&world.writer, &[deployed("2026-01-02T00:00:00Z", "yard", "crane", &version.to_string())]);
    tokio::time::timeout(Duration::from_secs(60), when_told.recv()).await.expect("in time").expect("told");
}

async fn until_folded(world: &World) {
    assert!(
        world.views.wait_commits(&TenantId::default(), world.views.ledger().next_seq(), Duration::from_secs(120)).await
    );
}

/// Asks while the views are folded anew from the n-th read of the question on; `None` if it has fewer reads.
async fn asked_meanwhile(world: &World, store: &Failing, client: &Client, path: &str, n: usize) -> Option<Answer> {
    let (mut reached, go) = held_up(store, n);
    let (asking, method) = (client.clone(), if path.ends_with("/export") { "POST" } else { "GET" });
    let path = path.to_owned();
    let asked = tokio::spawn(async move { asking.ask(method, &path, &[], pack_of_it().into()).await });
    let held = tokio::time::timeout(Duration::from_secs(60), async {
        tokio::select! {
            reached = reached.recv() => reached.is_some(),
            () = async { while !asked.is_finished() { tokio::task::yield_now().await } } => false,
        }
    });
    if held.await.expect("in time") {
        fold_anew(world, store, n + 2).await;
        go.send(()).expect("the question waits");
        return Some(asked.await.expect("no panic"));
    }
    *store.hold.lock().expect("not poisoned") = None;
    None
}

#[tokio::test]
async fn a_question_that_a_rebuild_ends_is_told_so_and_to_ask_again() {
    let (world, store) = world();
    world.append(&[crane()]);
    world.publish_checkpoint();
    let client = Client(pedigraph_query_api::router(packs::config(&world)));
    for path in [
        "/api/v1/environments/yard",
        "/api/v1/trace?ref=yard/crane",
        "/api/v1/resolve?q=crane",
        "/environments/yard",
        "/api/v1/lineage/export",
    ] {
        let mut ended = 0;
        for n in [0, 1, 4] {
            let Some(answer) = asked_meanwhile(&world, &store, &client, path, n).await else { continue };
            ended += 1;
            assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, Some("2")), "{path} {n}");
            assert!(answer.text().contains("ended this question unanswered"), "{path} {}", answer.text());
            if !path.starts_with("/environments") {
                assert_eq!(answer.problem().1, "VIEWS_UNAVAILABLE", "{path} {n}");
            }
            until_folded(&world).await;
        }
        assert!(ended > 1, "{path} was held up {ended} times");
        let method = if path.ends_with("/export") { "POST" } else { "GET" };
        assert_eq!(client.ask(method, path, &[], pack_of_it().into()).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_pack_on_its_way_and_a_stream_go_on_when_the_views_are_folded_anew() {
    let (world, store) = world();
    world.append(&[crane()]);
    world.publish_checkpoint();
    let client = Client(pedigraph_query_api::router(packs::config(&world)));
    let made = client.post("/api/v1/lineage/export", &[], pack_of_it()).await.json();
    let (path, bytes) = (made["downloadUrl"].as_str().expect("a path").to_owned(), made["bytes"].as_u64());
    let pack = client.open("GET", &path, &[], axum::body::Body::empty()).await;
    let mut stream = open(&client, "/api/v1/subscribe?from=0-0", &[]).await;
    assert_eq!(ids(&read_until(&mut stream, "id: 0-1").await), ["0-1"]);

    let (mut reached, go) = held_up(&store, 0);
    append(&world.writer, &[deployed("2026-01-01T12:00:00Z", "yard", "crane", "1b")]);
    reached.recv().await.expect("the stream reads");
    fold_anew(&world, &store, 2).await;
    let resumed = [("last-event-id", "0-1")];
    let mut resumed = open(&client, "/api/v1/subscribe", &resumed).await;
    go.send(()).expect("the stream waits");
    until_folded(&world).await;
    append(&world.writer, &[deployed("2026-01-03T00:00:00Z", "yard", "crane", "3")]);
    assert_eq!(ids(&read_until(&mut stream, "id: 3-1").await), ["1-1", "2-1", "3-1"], "no gap, nothing twice");
    assert_eq!(ids(&read_until(&mut resumed, "id: 3-1").await), ["1-1", "2-1", "3-1"], "and no reset");
    assert_eq!(Some(Answer::of(pack).await.bytes.len() as u64), bytes, "the pack is whole");
}

#[tokio::test]
async fn a_store_that_cannot_be_read_is_no_fault_of_the_question() {
    let (world, store) = world();
    world.append(&[deployed("2026-01-01T00:00:00Z", "yard", "crane", "1")]);
    let client = world.client();
    store.unreadable.store(true, Ordering::Relaxed);
    for path in ["/api/v1/environments/yard", "/api/v1/trace?ref=yard/crane", "/api/v1/environments"] {
        let answer = client.get(path).await;
        assert_eq!(answer.problem(), (503, "VIEWS_UNAVAILABLE".into()), "{path}");
        assert!(answer.header("retry-after").is_some() && !answer.text().contains("input/output"), "{}", answer.text());
    }
    store.unreadable.store(false, Ordering::Relaxed);
    assert_eq!(client.get("/api/v1/environments/yard").await.status, 200);
}

#[tokio::test]
async fn views_that_cannot_be_written_are_told_answer_on_and_are_folded_when_there_is_room() {
    let (world, store) = world();
    world.append(&[deployed("2026-01-01T00:00:00Z", "yard", "crane", "1")]);
    let client = events::client(&world, |_| ()).0;
    assert_eq!(client.get("/readyz").await.status, 200);
    store.full.store(true, Ordering::Relaxed);
    append(&world.writer, &[deployed("2026-01-02T00:00:00Z", "yard", "crane", "2")]);
    assert!(!world.views.wait_folded(2), "folding fails");
    let ready = client.get("/readyz?verbose").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("[-]views failed: store: insert: no room on the device; it is tried again"));
    let intake = client.get("/readyz?verbose&for=intake").await;
    assert_eq!((intake.status.as_u16(), intake.text().as_str()), (200, "ready\n"), "views keep nobody from sending");
    let answers = client.get("/readyz?for=answers").await;
    assert_eq!((answers.status.as_u16(), answers.text().as_str()), (503, "not ready\n"));
    let fresh = client.get("/api/v1/freshness").await.json();
    assert_eq!(fresh["fault"], "store: insert: no room on the device");
    assert_eq!(client.get("/api/v1/environments/yard").await.status, 200, "what was seen is answered");
    assert!(!client.get("/metrics").await.text().contains("pedigraph_view_faults_total 0\n"));
    store.full.store(false, Ordering::Relaxed);
    assert!(world.views.wait_commits(&TenantId::default(), 2, Duration::from_secs(120)).await);
    assert_eq!(client.get("/readyz").await.status, 200);
    assert!(client.get("/api/v1/freshness").await.json().get("fault").is_none());
}
