//! Artifacts, their lineage and their traces, as JSON and as a page.

use pedigraph_proto::canonical;
use pedigraph_proto::event::{ArtifactPublished, ServiceDeployed};
use serde_json::json;

use crate::world::{Sent, World, sent};

fn published(at: &str, digit: &str, tag: &str) -> Sent {
    sent(
        at,
        ArtifactPublished {
            artifact_digest: digest(digit),
            artifact_ref: format!("example.org/cart:{tag}"),
            ..ArtifactPublished::default()
        },
    )
}

/// Digests that share their first twelve digits.
fn digest(digit: &str) -> String {
    format!("sha256:{}{}", "a".repeat(12), digit.repeat(52))
}

fn world() -> World {
    let world = World::new();
    let deployed = ServiceDeployed {
        environment: "prod".into(),
        service: "cart".into(),
        artifact_digest: digest("2"),
        ..ServiceDeployed::default()
    };
    world.append(&[
        published("2026-01-01T00:00:00Z", "1", "1.0.0"),
        published("2026-01-02T00:00:00Z", "2", "1.1.0"),
        sent("2026-01-03T00:00:00Z", deployed),
    ]);
    world
}

#[tokio::test]
async fn an_artifact_is_found_by_digest_and_by_reference() {
    let client = world().client();
    for reference in [digest("2"), "example.org%2Fcart:1.1.0".to_owned()] {
        let answer = client.get(&format!("/api/v1/artifacts/{reference}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let artifact = answer.json();
        assert_eq!(artifact["digest"], digest("2"));
        assert_eq!(artifact["artifactRef"], "example.org/cart:1.1.0");
        assert_eq!(artifact["lineage"]["parents"][0], digest("1"));
        assert_eq!(artifact["deployments"].as_array().map(Vec::len), Some(1), "{artifact}");
    }
    let unknown = client.get(&format!("/api/v1/artifacts/{}", digest("9"))).await;
    assert_eq!(unknown.problem(), (404, "ARTIFACT_NOT_FOUND".into()));
}

#[tokio::test]
async fn lineage_has_its_edges_and_says_when_it_knows_nothing() {
    let client = world().client();
    let answer = client.get(&format!("/api/v1/lineage/{}?maxDepth=5", digest("2"))).await.json();
    assert_eq!(answer["nodes"].as_array().map(Vec::len), Some(2), "{answer}");
    assert_eq!(answer["edges"][0]["relationship"], "parent");
    assert_eq!(answer["edges"][0]["method"], "semver");
    let unknown = client.get(&format!("/api/v1/lineage/{}", digest("9"))).await;
    assert_eq!(unknown.problem(), (404, "LINEAGE_NOT_FOUND".into()));
    let before = client.get(&format!("/api/v1/lineage/{}?asOf=0", digest("2"))).await;
    assert_eq!(before.problem(), (404, "LINEAGE_NOT_FOUND".into()));
    let metrics = client.get("/metrics").await.text();
    assert!(metrics.contains("sbom_lineage_graph_queries_total{result=\"found\"} 1\n"), "{metrics}");
    assert!(metrics.contains("sbom_lineage_graph_queries_total{result=\"refused\"} 2\n"), "{metrics}");
}

#[tokio::test]
async fn a_trace_leads_from_the_running_thing_and_names_what_is_missing() {
    let client = world().client();
    let trace = client.get("/api/v1/trace?ref=prod/cart").await;
    assert_eq!(trace.status, 200, "{}", trace.text());
    let trace = trace.json();
    assert_eq!(trace["ref"], "prod/cart");
    assert_eq!(trace["artifact"]["digest"], digest("2"));
    assert_eq!(trace["complete"], false);
    assert!(trace["elapsedMs"].is_number());
    let unknown = client.get("/api/v1/trace?ref=nothing-of-this-name").await;
    assert_eq!(unknown.problem(), (404, "REFERENCE_NOT_FOUND".into()));
    let ambiguous = client.get(&format!("/api/v1/trace?ref=sha256:{}", "a".repeat(12))).await;
    assert_eq!(ambiguous.problem(), (400, "AMBIGUOUS_REFERENCE".into()));
    assert_eq!(ambiguous.json()["candidates"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn an_artifact_is_a_page() {
    let client = world().client();
    let page = client.get(&format!("/artifacts/{}", digest("2"))).await;
    assert_eq!(page.status, 200, "{}", page.text());
    let text = page.text();
    for part in
        ["example.org/cart:1.1.0", "Lineage", "semver", "Trace", "href=\"/entries/1\"", "pedigraph trace sha256:"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    let found = client.get(&format!("/search?q={}", digest("2"))).await;
    assert_eq!(found.header("location"), Some(format!("/artifacts/{}", digest("2")).as_str()), "{}", found.text());
}

#[tokio::test]
async fn impact_of_a_component_nobody_has_is_empty_and_unknown_is_never_safe() {
    let answer = world().client().get("/api/v1/components/impact?purl=pkg:npm/left-pad").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let impact = answer.json();
    assert_eq!(impact["counts"]["deployed"], 0);
    assert_eq!(impact["counts"]["unknown"], 1, "{impact}");
    assert_eq!(impact["known"], false, "nobody lists it in any version");
}

#[tokio::test]
async fn nodes_have_a_replay_hash_and_badges_where_they_are_asked_for() {
    let client = world().client();
    let artifact = client.get(&format!("/api/v1/artifacts/{}", digest("2"))).await.json();
    let expected = json!({
        "newVulns": 0, "resolvedVulns": 0, "signatureStatus": "none", "sbom": false, "deployedIn": ["prod"],
        "completeness": 0.25,
    });
    assert_eq!(artifact["badges"], expected, "{artifact}");
    let lineage = format!("/api/v1/lineage/{}", digest("2"));
    let with = client.get(&lineage).await.json();
    let without = client.get(&format!("{lineage}?includeBadges=false")).await.json();
    assert_eq!(with["artifact"]["badges"], expected);
    assert!(without["artifact"].get("badges").is_none(), "{without}");
    for answer in [&with, &without] {
        assert_eq!(answer["artifact"]["replayHash"], artifact["replayHash"]);
        assert!(answer["nodes"].as_array().expect("nodes").iter().all(|node| node["replayHash"].is_string()));
    }
    let refused = client.get(&format!("{lineage}?includeBadges=perhaps")).await;
    assert_eq!(refused.problem(), (400, "INVALID_PARAMETER".into()));
}

#[tokio::test]
async fn a_stranger_can_make_the_replay_hash_anew() {
    let client = world().client();
    let answer = client.get(&format!("/api/v1/artifacts/{}/inputs", digest("2"))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let found = answer.json();
    let inputs = found["inputs"].as_array().expect("inputs");
    let kinds: Vec<_> = inputs.iter().map(|input| input["kind"].as_str().expect("a kind")).collect();
    assert_eq!(kinds, ["publication"], "a deployment is none, nor what names its parent");
    for input in inputs {
        let entry = client.get(&format!("/api/v1/entries/{}", input["proof"]["index"])).await.json();
        assert_eq!((&entry["eventId"], &entry["leafHash"]), (&input["eventId"], &input["proof"]["leafHash"]));
    }
    let mut ids: Vec<_> = inputs.iter().map(|input| input["eventId"].as_str().expect("an id")).collect();
    ids.sort_unstable();
    let text = json!({"eventIds": ids, "rules": found["rules"], "subject": found["subject"]}).to_string();
    let hash = pedigraph_proto::Digest::sha256(canonical::sha256(text.as_bytes())).to_string();
    assert_eq!((found["replayHash"].as_str(), found["rules"].as_str()), (Some(hash.as_str()), Some("1")));
    assert_eq!((&found["digest"], &found["subject"]), (&digest("2").into(), &digest("2").into()));
    let unknown = client.get(&format!("/api/v1/artifacts/{}/inputs", digest("9"))).await;
    assert_eq!(unknown.problem(), (404, "ARTIFACT_NOT_FOUND".into()));
    let ambiguous = client.get(&format!("/api/v1/artifacts/sha256:{}/inputs", "a".repeat(12))).await;
    assert_eq!(ambiguous.problem(), (400, "AMBIGUOUS_REFERENCE".into()));
}

#[tokio::test]
async fn a_card_says_what_it_is_and_where_it_runs() {
    let client = world().client();
    for reference in [digest("2"), "prod%2Fcart".to_owned()] {
        let answer = client.get(&format!("/api/v1/artifacts/{reference}/hover")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let card = answer.json();
        assert_eq!(card["digest"], digest("2"));
        assert_eq!(card["tag"]["name"], "example.org/cart:1.1.0");
        assert_eq!(card["badges"]["deployedIn"], json!(["prod"]));
        assert_eq!(
            (&card["running"][0]["service"], &card["running"][0]["proof"]["index"]),
            (&"cart".into(), &2.into())
        );
        assert_eq!(card["counts"], json!({"sboms": 0, "scans": 0, "attestations": 0}));
        assert!(card["replayHash"].is_string() && card["proof"]["leafHash"].is_string(), "{card}");
        assert!(answer.bytes.len() < 2_048, "{}", answer.bytes.len());
    }
    let unknown = client.get(&format!("/api/v1/artifacts/{}/hover", digest("9"))).await;
    assert_eq!(unknown.problem(), (404, "ARTIFACT_NOT_FOUND".into()));
}

#[tokio::test]
async fn two_artifacts_stand_side_by_side() {
    let client = world().client();
    let path = format!("/api/v1/lineage/compare?a={}&b=prod/cart", digest("1"));
    let answer = client.get(&path).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let found = answer.json();
    assert_eq!((&found["a"]["digest"], &found["b"]["digest"]), (&digest("1").into(), &digest("2").into()));
    assert_eq!(found["b"]["badges"]["deployedIn"], json!(["prod"]));
    let nearest = json!([{
        "digest": digest("1"), "artifactRef": "example.org/cart:1.0.0", "stepsFromA": 0, "stepsFromB": 1,
    }]);
    assert_eq!(found["commonAncestors"], nearest);
    assert_eq!((&found["path"][0]["from"], &found["path"][0]["to"]), (&digest("1").into(), &digest("2").into()));
    let counts = |list: &str| ["a", "b"].map(|side| found[list][side].as_array().map(Vec::len));
    assert_eq!(counts("deployments"), [Some(0), Some(1)]);
    for list in ["attestations", "tests", "gates"] {
        assert_eq!(counts(list), [Some(0), Some(0)], "{list}");
    }
    assert_eq!(found["buildInputs"], json!({"a": {"materials": []}, "b": {"materials": []}}));
    let diff = client.get(&format!("/api/v1/lineage/diff?from={}&to={}", digest("1"), digest("2"))).await.json();
    assert_eq!(found["diff"], diff);
    assert_eq!(client.get(&path).await.bytes, answer.bytes, "what is kept is the same");
}

#[tokio::test]
async fn what_cannot_be_compared_is_refused() {
    let client = world().client();
    let compare = async |query: String| client.get(&format!("/api/v1/lineage/compare?{query}")).await.problem();
    let (known, unknown) = (digest("2"), digest("9"));
    assert_eq!(compare(format!("a={known}&b=prod/cart")).await, (400, "LINEAGE_DIFF_INVALID".into()));
    assert_eq!(compare(format!("a={known}")).await, (400, "INVALID_PARAMETER".into()));
    assert_eq!(compare(format!("a={known}&b={unknown}")).await, (404, "ARTIFACT_NOT_FOUND".into()));
    assert_eq!(compare(format!("a={unknown}&b={known}")).await, (404, "ARTIFACT_NOT_FOUND".into()));
    assert_eq!(compare(format!("a=sha256:{}&b={known}", "a".repeat(12))).await, (400, "AMBIGUOUS_REFERENCE".into()));
    let several = format!("sha256:{}", "a".repeat(12));
    for query in [format!("a={several}&b=stagging"), format!("a=stagging&b={several}")] {
        assert_eq!(compare(query.clone()).await, (404, "ARTIFACT_NOT_FOUND".into()), "one of them is not there");
        let page = client.get(&format!("/compare?{query}")).await.text();
        assert!(page.contains("nothing that was recorded names &quot;stagging&quot;"), "{page}");
    }
    let before = format!("a={}&b={known}&at=2026-01-01T12:00:00Z", digest("1"));
    assert_eq!(compare(before).await, (404, "ARTIFACT_NOT_FOUND".into()), "nothing of it had happened then");
}

#[tokio::test]
async fn sboms_are_listed_and_disagreements_only_where_they_are_asked_for() {
    let client = world().client();
    let path = format!("/api/v1/artifacts/{}/sboms", digest("2"));
    assert_eq!(client.get(&path).await.json(), json!({"digest": digest("2"), "sboms": []}));
    let told = client.get(&format!("{path}?disagreements=true")).await.json();
    assert_eq!((&told["disagreements"], &told["disagreementsTotal"]), (&json!([]), &json!(0)));
    let refused = client.get(&format!("{path}?disagreements=some")).await;
    assert_eq!(refused.problem(), (400, "INVALID_PARAMETER".into()));
    let unknown = client.get(&format!("/api/v1/artifacts/{}/sboms", digest("9"))).await;
    assert_eq!(unknown.problem(), (404, "ARTIFACT_NOT_FOUND".into()));
}
