//! Change streams: resumable without gap or repeat.

use std::time::Duration;

use axum::body::Body;
use futures_util::StreamExt as _;
use pedigraph_proto::canonical;
use pedigraph_proto::event::{DigestKind, ImageObserved, ScanCompleted};

use crate::world::{Client, World, deployed, sent};

/// Reads frames until one has the text.
pub(crate) async fn read_until(stream: &mut axum::body::BodyDataStream, text: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(text) {
        let part = tokio::time::timeout(Duration::from_secs(10), stream.next()).await;
        let part = part.unwrap_or_else(|_| panic!("no {text:?} after {seen:?}")).expect("not ended").expect("a part");
        seen.push_str(&String::from_utf8_lossy(&part));
    }
    seen
}

pub(crate) fn ids(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("id: ")).collect()
}

pub(crate) async fn open(client: &Client, path: &str, headers: &[(&str, &str)]) -> axum::body::BodyDataStream {
    let response = client.open("GET", path, headers, Body::empty()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    response.into_body().into_data_stream()
}

#[tokio::test]
async fn a_stream_goes_on_where_its_client_was() {
    let world = World::new();
    let client = world.client();
    world
        .append(&[1, 2, 3].map(|day| deployed(&format!("2026-01-0{day}T00:00:00Z"), "prod", "cart", &day.to_string())));
    let mut all = open(&client, "/api/v1/subscribe?from=0", &[]).await;
    let seen = read_until(&mut all, "id: 2-1").await;
    assert_eq!(ids(&seen), ["1-1", "2-1"]);
    assert!(seen.contains("event: deployments") && seen.contains("\"change\":\"service-deployed\""), "{seen}");
    let mut resumed = open(&client, "/api/v1/subscribe?from=0", &[("last-event-id", "1-1")]).await;
    assert_eq!(ids(&read_until(&mut resumed, "id: 2-1").await), ["2-1"]);
    let mut live = open(&client, "/api/v1/subscribe", &[]).await;
    world.append(&[deployed("2026-01-04T00:00:00Z", "prod", "cart", "4")]);
    assert_eq!(ids(&read_until(&mut live, "id: 3-1").await), ["3-1"]);
    assert_eq!(ids(&read_until(&mut all, "id: 3-1").await), ["3-1"]);
}

#[tokio::test]
async fn a_stream_opened_on_an_empty_ledger_sees_the_first_change() {
    let world = World::new();
    let mut live = open(&world.client(), "/api/v1/subscribe", &[]).await;
    read_until(&mut live, "connected").await;
    world.append(&[1, 2].map(|day| deployed(&format!("2026-01-0{day}T00:00:00Z"), "prod", "cart", &day.to_string())));
    assert_eq!(ids(&read_until(&mut live, "id: 1-1").await), ["0-1", "1-1"]);
}

#[tokio::test]
async fn a_stream_carries_only_what_was_asked_for_and_a_heartbeat() {
    let world = World::new();
    let mut config = world.config();
    config.limits.heartbeat = Duration::from_millis(50);
    let client = Client(pedigraph_query_api::router(config));
    world.append(&[1, 2].map(|day| deployed(&format!("2026-01-0{day}T00:00:00Z"), "prod", "cart", &day.to_string())));
    let mut other = open(&client, "/api/v1/subscribe?from=0&views=vex,signals", &[]).await;
    let seen = read_until(&mut other, "event: heartbeat").await;
    assert!(seen.contains("\"index\":1") && ids(&seen).is_empty(), "{seen}");
    assert!(seen.contains("retry: 2000"), "{seen}");
}

#[tokio::test]
async fn a_stream_about_an_artifact_carries_what_is_said_of_each_of_its_digests() {
    let world = World::new();
    let digest = |name: &str| pedigraph_proto::Digest::sha256(canonical::sha256(name.as_bytes())).to_string();
    let scanned = |name: &str| {
        let (artifact_digest, scanner) = (digest(name), "trivy".to_owned());
        sent("2026-01-02T00:00:00Z", ScanCompleted { artifact_digest, scanner, ..ScanCompleted::default() })
    };
    let image = ImageObserved {
        digest: digest("manifest"),
        digest_kind: DigestKind::Manifest.into(),
        config_digest: digest("config"),
        ..ImageObserved::default()
    };
    world.append(&[sent("2026-01-01T00:00:00Z", image), scanned("config"), scanned("other"), scanned("manifest")]);
    for name in ["manifest", "config"] {
        let path = format!("/api/v1/subscribe?from=0&views=evidence&subject={}", digest(name));
        let mut stream = open(&world.client(), &path, &[]).await;
        assert_eq!(ids(&read_until(&mut stream, "id: 3-1").await), ["1-1", "3-1"], "{name}");
    }
}

#[tokio::test]
async fn streams_are_limited_and_give_their_place_back() {
    let world = World::new();
    let mut config = world.config();
    config.limits.subscribers_max = 1;
    let client = Client(pedigraph_query_api::router(config));
    let first = open(&client, "/api/v1/subscribe", &[]).await;
    assert_eq!(client.get("/api/v1/subscribe").await.problem(), (503, "OVERLOADED".into()));
    drop(first);
    drop(open(&client, "/api/v1/subscribe", &[]).await);
    assert!(client.get("/metrics").await.text().contains("pedigraph_stream_subscribers 0\n"));
}

#[tokio::test]
async fn who_has_seen_what_is_not_there_reads_the_state_anew() {
    let world = World::new();
    let client = world.client();
    let mut empty = open(&client, "/api/v1/subscribe", &[("last-event-id", "7-1")]).await;
    assert_eq!(ids(&read_until(&mut empty, "event: reset").await), ["0-0"]);
    world.append(&[1, 2].map(|day| deployed(&format!("2026-01-0{day}T00:00:00Z"), "prod", "cart", &day.to_string())));
    assert_eq!(ids(&read_until(&mut empty, "id: 1-1").await), ["0-1", "1-1"]);
    let mut resumed = open(&client, "/api/v1/subscribe", &[("last-event-id", "0-0")]).await;
    assert_eq!(ids(&read_until(&mut resumed, "id: 1-1").await), ["0-1", "1-1"]);
    let mut ahead = open(&client, "/api/v1/subscribe", &[("last-event-id", "2-1")]).await;
    let seen = read_until(&mut ahead, "event: reset").await;
    assert!(seen.contains("\"index\":1") && ids(&seen) == ["1"], "{seen}");
    world.append(&[deployed("2026-01-03T00:00:00Z", "prod", "cart", "3")]);
    assert_eq!(ids(&read_until(&mut ahead, "id: 2-1").await), ["2-1"]);
    let mut at_head = open(&client, "/api/v1/subscribe?from=2", &[]).await;
    let seen = read_until(&mut at_head, "connected").await;
    assert!(!seen.contains("reset"), "{seen}");
}
