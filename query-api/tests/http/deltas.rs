//! Lists of verdicts and deltas over HTTP, and in streams.

use pedigraph_proto::event::{ArtifactPublished, SbomAttached, VexIssued, VexStatement, VexStatus};

use crate::streams::{ids, open, read_until};
use crate::world::{Client, Sent, World, sent};

const CVE: &str = "CVE-2026-0001";

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

fn said(at: &str, digit: &str, status: VexStatus) -> Sent {
    let statement = VexStatement {
        vulnerability: CVE.into(),
        product: digest(digit),
        product_digests: vec![digest(digit)],
        status: status.into(),
        ..VexStatement::default()
    };
    let event = VexIssued { issuer: "vendor".into(), statements: vec![statement], ..VexIssued::default() };
    sent(at, event)
}

/// Two versions, of which the first is affected and the second is not.
pub(crate) fn world() -> World {
    let world = World::new();
    let sbom = SbomAttached {
        artifact_digest: digest("2"),
        sbom_digest: digest("5"),
        component_set: "set".into(),
        ..SbomAttached::default()
    };
    world.append(&[
        published("2026-01-02T00:00:00Z", "2", "1.0.0"),
        published("2026-01-03T00:00:00Z", "3", "1.1.0"),
        said("2026-01-04T00:00:00Z", "2", VexStatus::Affected),
        said("2026-01-05T00:00:00Z", "3", VexStatus::NotAffected),
        sent("2026-01-06T00:00:00Z", sbom),
    ]);
    world
}

async fn get(client: &Client, path: &str) -> serde_json::Value {
    client.get(path).await.json()
}

#[tokio::test]
async fn deltas_are_listed_by_edge_and_by_vulnerability_and_counted_in_badges() {
    let client = world().client();
    let along =
        get(&client, "/api/v1/vex-deltas?from=example.org/cart:1.0.0&to=example.org/cart:1.1.0&minIndex=4").await;
    let delta = &along["deltas"][0];
    assert_eq!(
        (&delta["cve"], &delta["fromStatus"], &delta["toStatus"]),
        (&CVE.into(), &"affected".into(), &"not_affected".into())
    );
    assert_eq!((&delta["fromArtifactDigest"], &delta["toArtifactDigest"]), (&digest("2").into(), &digest("3").into()));
    assert_eq!(delta["rationale"]["reasonCode"], "statement_changed");
    assert_eq!(delta["rationale"]["evidenceLink"], "/api/v1/entries/3");
    assert!(delta["replayHash"].as_str().is_some_and(|hash| hash.starts_with("sha256:")), "{delta}");
    assert_eq!(along, get(&client, &format!("/api/v1/vulnerabilities/{}/deltas", CVE.to_lowercase())).await);
    let before = get(&client, &format!("/api/v1/vulnerabilities/{CVE}/deltas?asOf=2")).await;
    let (count, to) = (before["deltas"].as_array().map(Vec::len), &before["deltas"][0]["toStatus"]);
    assert_eq!((count, to), (Some(1), &"none".into()));
    let badges = |digit: &str| format!("/api/v1/artifacts/{}", digest(digit));
    let (old, new) = (get(&client, &badges("2")).await, get(&client, &badges("3")).await);
    assert_eq!((&old["badges"]["newVulns"], &old["badges"]["resolvedVulns"]), (&1.into(), &0.into()));
    assert_eq!((&new["badges"]["newVulns"], &new["badges"]["resolvedVulns"]), (&0.into(), &1.into()));
    let metrics = client.get("/metrics").await.text();
    assert!(metrics.contains("# TYPE vex_deltas_created_total counter"), "{metrics}");
}

#[tokio::test]
async fn verdicts_are_listed_by_vulnerability_and_by_sbom_a_page_at_a_time() {
    let client = world().client();
    let all = get(&client, &format!("/api/v1/vulnerabilities/{CVE}/verdicts?minIndex=4")).await;
    let verdicts = all["verdicts"].as_array().expect("a list");
    let statuses: Vec<&str> = verdicts.iter().filter_map(|verdict| verdict["verdictStatus"].as_str()).collect();
    assert_eq!(statuses, ["affected", "not_affected"]);
    assert_eq!((&verdicts[0]["sbomVersionId"], verdicts[1].get("sbomVersionId")), (&digest("5").into(), None));
    let exact = get(&client, &format!("/api/v1/artifacts/{}/verdicts/{CVE}", digest("2"))).await;
    assert_eq!(verdicts[0]["consensusProjectionId"], exact["consensusProjectionId"]);
    let of_sbom = get(&client, &format!("/api/v1/sboms/{}/verdicts", digest("5"))).await;
    assert_eq!(of_sbom["verdicts"], serde_json::json!([verdicts[0]]));
    let first = get(&client, &format!("/api/v1/vulnerabilities/{CVE}/verdicts?limit=1")).await;
    let token = first["nextPageToken"].as_str().expect("there is more");
    let rest = get(&client, &format!("/api/v1/vulnerabilities/{CVE}/verdicts?limit=1&pageToken={token}")).await;
    assert_eq!((&first["verdicts"][0], &rest["verdicts"][0]), (&verdicts[0], &verdicts[1]));
}

#[tokio::test]
async fn the_answer_about_an_artifact_has_verdicts_and_statements() {
    let client = world().client();
    let artifact = get(&client, &format!("/api/v1/artifacts/{}?minIndex=4", digest("2"))).await;
    let verdict = &artifact["verdicts"][0];
    assert_eq!(artifact["verdicts"].as_array().map(Vec::len), Some(1), "{artifact}");
    assert_eq!((&verdict["cve"], &verdict["verdictStatus"]), (&CVE.into(), &"affected".into()));
    assert_eq!((&verdict["proof"]["index"], &verdict["firstKnownAt"]), (&2.into(), &recorded_at(&client, 2).await));
    assert_eq!((artifact.get("verdictsAsOf"), artifact.get("truncated")), (None, None));
    assert_eq!(artifact["statements"][0]["proof"]["index"], 2);
    let list = get(&client, "/api/v1/artifacts/example.org%2Fcart:1.0.0/verdicts?minIndex=4").await;
    assert_eq!(list, get(&client, &format!("/api/v1/sboms/{}/verdicts", digest("5"))).await);
    let page = client.get(&format!("/artifacts/{}", digest("2"))).await.text();
    assert!(page.contains(&format!("/artifacts/{}/verdicts/{CVE}\">{CVE}</a>", digest("2"))), "{page}");
}

/// When an entry was recorded.
async fn recorded_at(client: &Client, index: u64) -> serde_json::Value {
    get(client, &format!("/api/v1/entries/{index}")).await["recordedAt"].take()
}

#[tokio::test]
async fn what_is_asked_wrongly_is_told() {
    let client = world().client();
    let unknown = digest("9");
    for (path, status, code) in [
        ("/api/v1/vex-deltas".to_owned(), 400, "INVALID_PARAMETER"),
        (format!("/api/v1/vex-deltas?from={0}&to={0}", digest("2")), 400, "LINEAGE_DIFF_INVALID"),
        (format!("/api/v1/vex-deltas?from={}&to={unknown}", digest("2")), 404, "ARTIFACT_NOT_FOUND"),
        ("/api/v1/sboms/nonsense/verdicts".to_owned(), 400, "INVALID_PARAMETER"),
        (format!("/api/v1/sboms/{unknown}/verdicts"), 404, "ARTIFACT_NOT_FOUND"),
        (format!("/api/v1/artifacts/{unknown}/verdicts"), 404, "ARTIFACT_NOT_FOUND"),
        (format!("/api/v1/vulnerabilities/{}/deltas", "x".repeat(300)), 400, "INVALID_PARAMETER"),
        (format!("/api/v1/vulnerabilities/{CVE}/deltas?minIndex=99"), 503, "PROJECTION_BEHIND"),
    ] {
        assert_eq!(client.get(&path).await.problem(), (status, code.into()), "{path}");
    }
    assert_eq!(get(&client, "/api/v1/vulnerabilities/CVE-1999-0001/verdicts").await["verdicts"], serde_json::json!([]));
}

#[tokio::test]
async fn who_asks_for_vex_is_told_verdicts_and_deltas_after_the_facts_of_an_entry() {
    let world = world();
    let client = world.client();
    let mut vex = open(&client, "/api/v1/subscribe?from=1&views=vex", &[]).await;
    let seen = read_until(&mut vex, "id: 3-3").await;
    assert_eq!(ids(&seen), ["2-1", "2-2", "2-3", "3-1", "3-2", "3-3"]);
    for told in ["verdict-changed", "delta-changed", "\"fromStatus\":\"affected\",\"toStatus\":\"not_affected\""] {
        assert!(seen.contains(told), "{told} in {seen}");
    }
    let mut resumed = open(&client, "/api/v1/subscribe?views=vex", &[("last-event-id", "3-2")]).await;
    assert_eq!(ids(&read_until(&mut resumed, "id: 3-3").await), ["3-3"]);
    let mut all = open(&client, "/api/v1/subscribe?from=1", &[]).await;
    assert_eq!(ids(&read_until(&mut all, "id: 4-1").await), ["4-1"], "vex is told only to who asks for it");
    let mut live = open(&client, "/api/v1/subscribe?views=vex", &[]).await;
    read_until(&mut live, "connected").await;
    world.append(&[said("2026-01-07T00:00:00Z", "3", VexStatus::Affected)]);
    assert_eq!(ids(&read_until(&mut live, "delta-").await).first(), Some(&"5-1"));
}
