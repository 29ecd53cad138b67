//! Answers that are kept for a while are given again only while nothing can have changed them.

use pedigraph_proto::event::{
    ArtifactPublished, PolicyPublished, SbomAttached, ServiceDeployed, VexIssued, VexStatement, ViewRootRecorded,
};
use pedigraph_proto::wire::Status;
use serde_json::Value;

use crate::world::{Client, Sent, World, sent};

fn digest(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

fn published(at: &str, digit: &str, tag: &str) -> Sent {
    let event = ArtifactPublished {
        artifact_digest: digest(digit),
        artifact_ref: format!("example.org/cart:{tag}"),
        ..ArtifactPublished::default()
    };
    sent(at, event)
}

fn deployed(at: &str, digit: &str) -> Sent {
    let event = ServiceDeployed {
        environment: "prod".into(),
        service: "cart".into(),
        artifact_digest: digest(digit),
        ..ServiceDeployed::default()
    };
    sent(at, event)
}

fn world() -> World {
    let world = World::new();
    world.append(&[published("2026-01-02T00:00:00Z", "2", "latest"), deployed("2026-01-03T00:00:00Z", "2")]);
    world
}

/// (hits, misses) of what is kept.
async fn counted(client: &Client, of: &str) -> (u64, u64) {
    let metrics = client.get("/metrics").await.text();
    let value = |result: &str| {
        let name = format!("pedigraph_kept_answers_total{{of=\"{of}\",result=\"{result}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in {metrics}"))
    };
    (value("hit"), value("miss"))
}

fn hover(reference: &str) -> String {
    format!("/api/v1/artifacts/{reference}/hover")
}

#[tokio::test]
async fn a_card_is_answered_from_what_is_kept_with_the_same_bytes_and_tag() {
    let client = world().client();
    let first = client.get(&hover(&digest("2"))).await;
    let again = client.get(&hover(&digest("2"))).await;
    assert_eq!((first.status, &first.bytes), (again.status, &again.bytes));
    for header in ["etag", "pedigraph-as-of", "content-type", "cache-control"] {
        assert_eq!(first.header(header), again.header(header), "{header}");
    }
    assert_eq!(counted(&client, "hover").await, (1, 1));
    let metrics = client.get("/metrics").await.text();
    assert!(metrics.contains("sbom_lineage_hover_cache_hits_total 1\n"), "{metrics}");
    let etag = first.header("etag").expect("a tag");
    let known = client.get_with(&hover(&digest("2")), &[("if-none-match", etag)]).await;
    assert_eq!((known.status.as_u16(), known.bytes.len()), (304, 0));
}

/// What it is, its event, and whether a card shows it.
type Telling = (&'static str, Sent, fn(&Value) -> bool);

/// What changes the card of an artifact, though most of it names others.
fn telling() -> Vec<Telling> {
    let sbom = SbomAttached { artifact_digest: digest("2"), component_set: "set".into(), ..SbomAttached::default() };
    let statement = VexStatement {
        vulnerability: "CVE-2026-0003".into(),
        product: digest("2"),
        product_digests: vec![digest("2")],
        status: 1,
        ..VexStatement::default()
    };
    let vex = VexIssued { issuer: "maker".into(), statements: vec![statement], ..VexIssued::default() };
    vec![
        ("an SBOM of it", sent("2026-02-01T00:00:00Z", sbom), |card| card["counts"]["sboms"] == 1),
        ("a statement on it", sent("2026-02-02T00:00:00Z", vex), |_| true),
        ("another version in its place", deployed("2026-02-03T00:00:00Z", "3"), |card| {
            card["badges"]["deployedIn"] == serde_json::json!([])
        }),
        ("its tag on another version", published("2026-02-04T00:00:00Z", "4", "latest"), |card| {
            card["tag"]["until"].is_string()
        }),
        ("an older version that comes late", published("2026-01-01T00:00:00Z", "1", "old"), |card| {
            card["sequenceNumber"] == 2
        }),
    ]
}

#[tokio::test]
async fn no_stale_card_is_given_once_what_changes_it_is_visible() {
    let world = world();
    let client = world.client();
    let mut before = client.get(&hover(&digest("2"))).await;
    for (what, event, shows) in telling() {
        let kept = client.get(&hover(&digest("2"))).await;
        assert_eq!((&kept.bytes, kept.header("etag")), (&before.bytes, before.header("etag")), "before {what}");
        world.append(&[event]);
        let after = client.get(&hover(&digest("2"))).await;
        assert_ne!(after.bytes, before.bytes, "{what}");
        assert_ne!(after.header("etag"), before.header("etag"), "{what}");
        assert!(shows(&after.json()), "{what}: {}", after.text());
        before = after;
    }
    let (hits, misses) = counted(&client, "hover").await;
    assert_eq!((hits, misses), (5, 6));
}

#[tokio::test]
async fn what_the_ledger_says_of_itself_ends_nothing_but_a_policy_does() {
    let world = world();
    let client = world.client();
    let first = client.get(&hover(&digest("2"))).await;
    let root = ViewRootRecorded { root: digest("a"), ..ViewRootRecorded::default() };
    let rejected = pedigraph_proto::event::MessageRejected { code: "TOO_DEEP".into(), ..Default::default() };
    let rejected = Sent { status: Status::Rejected, ..sent("2026-03-02T00:00:00Z", rejected) };
    world.append(&[sent("2026-03-01T00:00:00Z", root), rejected]);
    let kept = client.get(&hover(&digest("2"))).await;
    assert_eq!(kept.bytes, first.bytes);
    assert_eq!((first.header("pedigraph-as-of"), kept.header("pedigraph-as-of")), (Some("1"), Some("3")));
    assert_ne!(kept.header("etag"), first.header("etag"), "it is as of another entry");
    assert_eq!(counted(&client, "hover").await, (1, 1));
    world.append(&[sent("2026-03-03T00:00:00Z", PolicyPublished::default())]);
    client.get(&hover(&digest("2"))).await;
    assert_eq!(counted(&client, "hover").await, (1, 2));
}

#[tokio::test]
async fn a_kept_card_says_the_newest_checkpoint_that_covers_its_proof() {
    let world = World::new();
    let client = world.client();
    world.append(&[sent("2026-01-01T00:00:00Z", PolicyPublished::default())]);
    world.publish_checkpoint();
    world.append(&[published("2026-01-02T00:00:00Z", "2", "latest")]);
    let uncovered = client.get(&hover(&digest("2"))).await;
    assert_eq!((&uncovered.json()["proof"]["index"], uncovered.json().get("checkpoint")), (&1.into(), None));
    world.publish_checkpoint();
    let etag = uncovered.header("etag").expect("a tag").to_owned();
    let covered = client.get_with(&hover(&digest("2")), &[("if-none-match", &etag)]).await;
    assert_eq!(covered.status.as_u16(), 200, "a tag from before the checkpoint is not that of now");
    assert_eq!(covered.json()["checkpoint"], serde_json::json!({"size": 2, "cosignatures": 0}));
    // What the ledger says of itself ends nothing that is kept, and the checkpoint over it is another one.
    world.append(&[sent("2026-03-01T00:00:00Z", ViewRootRecorded::default())]);
    world.publish_checkpoint();
    assert_eq!(client.get(&hover(&digest("2"))).await.json()["checkpoint"]["size"], 3);
    assert_eq!(counted(&client, "hover").await, (2, 1), "all of it is from what is kept");
}

#[tokio::test]
async fn no_stale_comparison_is_given_once_what_changes_it_is_visible() {
    let world = world();
    world.append(&[published("2026-01-04T00:00:00Z", "4", "next")]);
    let client = world.client();
    let path = format!("/api/v1/lineage/compare?a={}&b={}", digest("2"), digest("4"));
    let before = client.get(&path).await;
    assert_eq!(client.get(&path).await.bytes, before.bytes);
    let statement = VexStatement {
        vulnerability: "CVE-2026-0003".into(),
        product: digest("4"),
        product_digests: vec![digest("4")],
        status: 1,
        ..VexStatement::default()
    };
    let vex = VexIssued { issuer: "maker".into(), statements: vec![statement], ..VexIssued::default() };
    world.append(&[sent("2026-02-01T00:00:00Z", vex)]);
    let after = client.get(&path).await.json();
    assert_eq!(after["diff"]["vexDiff"][0]["cve"], "CVE-2026-0003", "{after}");
    assert_eq!(counted(&client, "compare").await, (1, 2));
}

#[tokio::test]
async fn each_moment_has_its_own_answer_and_what_moves_with_the_clock_is_not_kept() {
    let world = world();
    let client = world.client();
    for (path, expected) in [
        (hover(&digest("2")), (0, 1)),
        (format!("{}?asOf=0", hover(&digest("2"))), (0, 2)),
        (format!("{}?at=2026-01-02T12:00:00Z", hover(&digest("2"))), (0, 3)),
        (format!("{}?asOf=0", hover(&digest("2"))), (1, 3)),
        (format!("{}?at=1h", hover(&digest("2"))), (1, 3)),
        (hover(&digest("9")), (1, 4)),
        (hover(&digest("9")), (1, 5)),
    ] {
        client.get(&path).await;
        assert_eq!(counted(&client, "hover").await, expected, "{path}");
    }
    let then = client.get(&format!("{}?asOf=0", hover(&digest("2")))).await;
    world.append(&[deployed("2026-02-03T00:00:00Z", "3")]);
    let still = client.get(&format!("{}?asOf=0", hover(&digest("2")))).await;
    assert_eq!((&still.bytes, still.header("etag")), (&then.bytes, then.header("etag")), "the past stays");
    assert_eq!(counted(&client, "hover").await, (3, 5));
}
