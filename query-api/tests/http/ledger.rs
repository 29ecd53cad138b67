//! Entries, bodies, proofs and the tlog-tiles paths.

use pedigraph_ledger::{Batch, LogId, NewEntry, inclusion_holds};
use pedigraph_proto::event::MessageRejected;
use pedigraph_proto::wire::Status;

use crate::world::{World, deployed, sent};

fn world() -> World {
    let world = World::new();
    let rejected = MessageRejected { code: "TOO_DEEP".into(), reason: "deeper than 128".into(), ..Default::default() };
    let mut reject = sent("2026-01-02T00:00:00Z", rejected);
    reject.status = Status::Rejected;
    world.append(&[
        deployed("2026-01-01T00:00:00Z", "prod", "cart", "1"),
        reject,
        deployed("2026-01-03T00:00:00Z", "prod", "cart", "2"),
    ]);
    world
}

#[tokio::test]
async fn entries_are_listed_filtered_and_paged() {
    let world = world();
    let client = world.client();
    let indexes = async |query: &str| {
        let answer = client.get(&format!("/api/v1/entries{query}")).await.json();
        let rows = answer["entries"].as_array().expect("entries").clone();
        let token = answer["nextPageToken"].as_str().map(str::to_owned);
        (rows.iter().filter_map(|row| row["index"].as_u64()).collect::<Vec<_>>(), token)
    };
    assert_eq!(indexes("").await, (vec![0, 1, 2], None));
    assert_eq!(indexes("?from=2").await, (vec![2], None));
    assert_eq!(indexes("?status=rejected").await, (vec![1], None));
    assert_eq!(indexes("?status=accepted").await, (vec![0, 2], None));
    assert_eq!(indexes("?type=ServiceDeployed&at=2026-01-02T00:00:00Z").await, (vec![0], None));
    assert_eq!(indexes("?asOf=1").await, (vec![0, 1], None));
    let (first, token) = indexes("?limit=2").await;
    assert_eq!(first, [0, 1]);
    let token = token.expect("a token");
    assert_eq!(indexes(&format!("?limit=2&pageToken={token}")).await, (vec![2], None));
}

#[tokio::test]
async fn an_entry_names_what_happened() {
    let client = world().client();
    let entry = client.get("/api/v1/entries/1").await.json();
    assert_eq!(entry["status"], "rejected");
    assert_eq!(entry["code"], "TOO_DEEP");
    assert_eq!(entry["reason"], "deeper than 128");
    assert_eq!(entry["type"], "MessageRejected");
    assert_eq!(entry["occurredAt"], "2026-01-02T00:00:00Z");
    assert_eq!(entry["recordedAt"], "2027-01-01T00:00:00Z");
    assert_eq!(entry["leafHash"].as_str().map(str::len), Some(64));
    assert!(entry["bodyDigest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")));
}

#[tokio::test]
async fn a_body_comes_back_as_it_was_received_and_is_never_a_page() {
    let world = World::new();
    let mut event = deployed("2026-01-01T00:00:00Z", "prod", "cart", "1");
    event.body = bytes::Bytes::from(vec![b'x'; 60_000]);
    world.append(std::slice::from_ref(&event));
    let answer = world.client().get("/api/v1/entries/0/body").await;
    assert_eq!(answer.bytes, event.body);
    assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    assert_eq!(answer.header("content-length"), Some("60000"));
    assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"entry-0.bin\""));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn proofs_hold_once_a_checkpoint_covers_the_entry() {
    let world = world();
    let client = world.client();
    let pending = client.get("/api/v1/entries/1/proof").await;
    assert_eq!(pending.problem(), (503, "CHECKPOINT_PENDING".into()));
    world.publish_checkpoint();
    let proof = client.get("/api/v1/entries/1/proof").await;
    assert!(proof.text().starts_with("c2sp.org/tlog-proof@v1\nindex 1\n"), "{}", proof.text());
    let checkpoint = client.get("/ledger/default/checkpoint").await;
    assert!(proof.text().ends_with(&checkpoint.text()));
    let ledger = world.views.ledger();
    let log = LogId::default_log();
    let entry = ledger.entry(&log, 1).expect("read").expect("an entry");
    let path = ledger.inclusion(&log, 1, 3).expect("a proof");
    assert!(inclusion_holds(&entry.leaf_hash, 1, 3, &path, &ledger.root_at(&log, 3).expect("a root")));
    let consistency = client.get("/api/v1/proofs/consistency?from=1").await.json();
    assert_eq!((&consistency["from"], &consistency["to"]), (&1.into(), &3.into()));
    assert_eq!(consistency["toRoot"], ledger.head(&log).root.to_string());
}

#[tokio::test]
async fn an_erased_body_is_gone_and_its_entry_stays() {
    let world = world();
    let client = world.client();
    assert_eq!(client.get("/api/v1/entries/0/body").await.status, 200);
    let log = LogId::default_log();
    let saying = NewEntry { log: log.clone(), leaf: "erased".into(), facts: Vec::new(), body: None };
    let erasing = Batch { time_ns: 1, entries: vec![saying], erasures: vec![(log, 0)], ..Batch::default() };
    world.writer.lock().expect("a writer").append(erasing).expect("appended");
    assert_eq!(client.get("/api/v1/entries/0/body").await.problem(), (410, "BODY_ERASED".into()));
    assert_eq!(client.get("/api/v1/entries/3/body").await.problem(), (404, "NOT_FOUND".into()));
    assert_eq!(client.get("/api/v1/entries/1/body").await.status, 200);
    assert_eq!(client.get("/api/v1/entries/0").await.status, 200);
}

#[tokio::test]
async fn the_log_is_laid_out_as_tlog_tiles_says() {
    let world = world();
    world.publish_checkpoint();
    let client = world.client();
    let checkpoint = client.get("/ledger/default/checkpoint").await;
    assert_eq!(checkpoint.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(checkpoint.header("cache-control"), Some("no-cache"));
    assert!(checkpoint.text().starts_with("test.example/ledger/default\n3\n"), "{}", checkpoint.text());
    assert!(client.get("/ledger/default/vkey").await.text().starts_with("test.example/ledger/default+"));
    assert_eq!(client.get("/ledger/default/keys").await.text(), "");
    let tile = client.get("/ledger/default/tile/0/000.p/3").await;
    assert_eq!(tile.bytes.len(), 96);
    assert_eq!(tile.header("content-type"), Some("application/octet-stream"));
    assert_eq!(tile.header("cache-control"), Some("public, max-age=31536000, immutable"));
    let bundle = client.get("/ledger/default/tile/entries/000.p/3").await;
    let first = world.views.ledger().entry(&LogId::default_log(), 0).expect("read").expect("an entry");
    let length = u16::try_from(first.leaf.len()).expect("a leaf").to_be_bytes();
    assert_eq!(bundle.bytes[..2], length);
    assert_eq!(bundle.bytes[2..2 + first.leaf.len()], first.leaf);
    for missing in ["0/000", "0/000.p/4", "0/000.p/0", "0/0", "1/000", "entries/001", "../checkpoint", "0/000.p/03"] {
        let answer = client.get(&format!("/ledger/default/tile/{missing}")).await;
        assert_eq!(answer.problem(), (404, "NOT_FOUND".into()), "{missing}");
    }
}
