//! Views whose store cannot be written for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pedigraph_projector::store::{MemStore, Row, Store};
use pedigraph_projector::{Error, Views};

use crate::world::{World, append, deployed};

#[derive(Default)]
struct Failing {
    rows: MemStore,
    full: AtomicBool,
}

impl Failing {
    fn room(&self) -> Result<(), Error> {
        let full = self.full.load(Ordering::Relaxed);
        if full { Err(Error::Store("insert: no room on the device".into())) } else { Ok(()) }
    }
}

impl Store for Failing {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.rows.get(key)
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
        self.rows.scan(from, to, reverse, limit)
    }
    fn flush(&self) -> Result<(), Error> {
        self.rows.flush()
    }
}

#[tokio::test]
async fn views_that_cannot_be_written_are_told_answer_on_and_are_folded_when_there_is_room() {
    let mut world = World::new();
    let store = Arc::new(Failing::default());
    world.views = Views::in_store(store.clone(), world.views.ledger().clone()).expect("views");
    world.append(&[deployed("2026-01-01T00:00:00Z", "yard", "crane", "1")]);
    let client = world.client();
    assert_eq!(client.get("/readyz").await.status, 200);
    store.full.store(true, Ordering::Relaxed);
    append(&world.writer, &[deployed("2026-01-02T00:00:00Z", "yard", "crane", "2")]);
    assert!(!world.views.wait_folded(2), "folding fails");
    let ready = client.get("/readyz?verbose").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("[-]views failed: store: insert: no room on the device; it is tried again"));
    let fresh = client.get("/api/v1/freshness").await.json();
    assert_eq!(fresh["fault"], "store: insert: no room on the device");
    assert_eq!(client.get("/api/v1/environments/yard").await.status, 200, "what was seen is answered");
    assert!(!client.get("/metrics").await.text().contains("pedigraph_view_faults_total 0\n"));
    store.full.store(false, Ordering::Relaxed);
    assert!(world.views.wait_commits(2, Duration::from_secs(120)).await);
    assert_eq!(client.get("/readyz").await.status, 200);
    assert!(client.get("/api/v1/freshness").await.json().get("fault").is_none());
}
