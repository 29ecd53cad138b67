//! Vulnerabilities as JSON and as pages: what is hit, what is cleared, who says so, and what changed.

use std::collections::BTreeSet;

use pedigraph_proto::event::{
    ArtifactPublished, Finding, IssuerRole, PolicyPublished, ScanCompleted, ServiceDeployed, VexIssued, VexStatement,
    VexStatus,
};

use crate::world::{Sent, World, sent};

const CVE: &str = "CVE-2030-1234";

fn digest(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

fn published(digit: &str) -> Sent {
    let artifact_ref = format!("example.org/shop/oven:{digit}.0.0");
    let event = ArtifactPublished { artifact_digest: digest(digit), artifact_ref, ..ArtifactPublished::default() };
    sent("2026-01-01T00:00:00Z", event)
}

fn scan(digit: &str, purl: &str) -> Sent {
    let finding = Finding {
        vulnerability: CVE.into(),
        aliases: vec!["GHSA-0000-1111-2222".into()],
        purl: purl.into(),
        ..Finding::default()
    };
    let event = ScanCompleted {
        artifact_digest: digest(digit),
        scanner: "<b>looker</b>".into(),
        findings: vec![finding],
        ..ScanCompleted::default()
    };
    sent("2026-01-02T00:00:00Z", event)
}

fn cleared(digit: &str, issuer: &str) -> Sent {
    let statement = VexStatement {
        vulnerability: CVE.into(),
        product: digest(digit),
        product_digests: vec![digest(digit)],
        status: VexStatus::NotAffected.into(),
        justification: "vulnerable_code_not_present".into(),
        ..VexStatement::default()
    };
    let event = VexIssued { issuer: issuer.into(), statements: vec![statement], ..VexIssued::default() };
    sent("2026-01-03T00:00:00Z", event)
}

fn deployed(digit: &str, service: &str) -> Sent {
    let event = ServiceDeployed {
        environment: "kitchen".into(),
        service: service.into(),
        artifact_digest: digest(digit),
        ..ServiceDeployed::default()
    };
    sent("2026-01-04T00:00:00Z", event)
}

/// 1 and 2 run and were found, 2 is cleared by its maker; 3 runs nowhere; 4 runs, and nobody knows what it is.
fn world() -> World {
    let world = World::new();
    let found = ["1", "2", "3"].map(|digit| scan(digit, "pkg:npm/oven-door@1.0.0"));
    world.append(&["1", "2", "3", "4"].map(published));
    world.append(&found);
    world.append(&[cleared("2", "maker"), deployed("1", "bread"), deployed("2", "cake"), deployed("4", "soup")]);
    world
}

#[tokio::test]
async fn what_is_hit_is_told_apart_from_what_is_cleared_and_unknown() {
    let world = world();
    let client = world.client();
    for id in [CVE, "ghsa-0000-1111-2222"] {
        let impact = client.get(&format!("/api/v1/vulnerabilities/{id}/impact")).await.json();
        let services = |list: &str| -> Vec<String> {
            let rows = impact[list].as_array().expect("a list").iter();
            rows.map(|row| row["service"].as_str().unwrap_or("-").to_owned()).collect()
        };
        assert_eq!(
            (impact["vulnerability"].as_str(), &impact["aliases"][0]),
            (Some(CVE), &"GHSA-0000-1111-2222".into())
        );
        assert_eq!(services("deployed"), ["bread"]);
        assert_eq!(services("cleared"), ["cake"]);
        assert_eq!(services("unknown"), ["soup"]);
        assert_eq!(impact["notDeployed"][0]["digest"], digest("3"));
        assert_eq!(impact["deployed"][0]["verdict"]["status"], "affected");
        assert_eq!(impact["cleared"][0]["verdict"]["confidence"], 0.5455);
        assert_eq!(impact["counts"], serde_json::json!({"deployed": 1, "notDeployed": 1, "cleared": 1, "unknown": 1}));
        assert_eq!(impact["known"], true);
    }
    let page = client.get(&format!("/vulnerabilities/{CVE}")).await.text();
    for part in ["bread", "cake", "soup", "not affected", "GHSA-0000-1111-2222"] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

/// A typing error must not read as if nothing were hit.
#[tokio::test]
async fn an_environment_or_a_vulnerability_that_nobody_names_is_not_safe() {
    let world = world();
    let client = world.client();
    for path in [
        "/api/v1/vulnerabilities/CVE-2026-0001/impact?env=Kitchen",
        "/api/v1/components/impact?purl=pkg:npm/oven-door&env=kitchn",
    ] {
        let answer = client.get(path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["code"].as_str()),
            (404, Some("ENVIRONMENT_NOT_FOUND")),
            "{path}"
        );
    }
    assert_eq!(client.get(&format!("/vulnerabilities/{CVE}?env=kitchn")).await.status, 404);
    let unnamed = client.get("/api/v1/vulnerabilities/CVE-2026-000/impact").await.json();
    assert_eq!((&unnamed["known"], &unnamed["counts"]["deployed"]), (&false.into(), &0.into()));
    let page = client.get("/vulnerabilities/CVE-2026-000").await.text();
    assert!(page.contains("Nothing that was recorded names it. This does not say that it is safe."), "{page}");
}

#[tokio::test]
async fn what_was_cleared_for_a_while_is_known_since_it_is_hit_again() {
    let world = world();
    let at = |n: usize| format!("2026-01-{n:02}T00:00:00Z");
    let says = |status: VexStatus, n: usize| {
        let statement = VexStatement {
            vulnerability: CVE.into(),
            product: digest("1"),
            product_digests: vec![digest("1")],
            status: status.into(),
            ..VexStatement::default()
        };
        let (document_id, document_version) = ("one".into(), n.to_string());
        let statements = vec![statement];
        let event =
            VexIssued { issuer: "maker".into(), document_id, document_version, statements, ..VexIssued::default() };
        sent(&at(n), event)
    };
    let statuses = [VexStatus::NotAffected, VexStatus::Fixed, VexStatus::Affected, VexStatus::UnderInvestigation];
    for (n, status) in (11..).zip(statuses) {
        world.append(&[says(status, n)]);
    }
    let client = world.client();
    let impact =
        async |as_of: usize| client.get(&format!("/api/v1/vulnerabilities/{CVE}/impact?asOf={as_of}")).await.json();
    let recorded =
        async |index: usize| client.get(&format!("/api/v1/entries/{index}")).await.json()["recordedAt"].clone();
    // The entries of the statements are the last four.
    let begun = impact(10).await["deployed"][0]["firstKnownAt"].clone();
    assert_eq!(begun, recorded(8).await, "since it runs");
    for (as_of, list, since) in [(11, "cleared", 11), (12, "cleared", 11), (13, "deployed", 13), (14, "deployed", 13)] {
        let row = impact(as_of).await[list]
            .as_array()
            .and_then(|rows| rows.iter().find(|row| row["digest"] == digest("1").as_str()).cloned());
        assert_eq!(row.expect("a row")["firstKnownAt"], recorded(since).await, "as of {as_of}");
    }
}

#[tokio::test]
async fn who_says_what_is_shown_and_never_as_markup() {
    let client = world().client();
    let path = format!("artifacts/{}/verdicts/{CVE}", digest("2"));
    let verdict = client.get(&format!("/api/v1/{path}")).await.json();
    assert_eq!((&verdict["status"], &verdict["conflict"]), (&"not_affected".into(), &true.into()));
    assert_eq!(verdict["explanation"].as_array().map(Vec::len), Some(2), "{verdict}");
    assert!(verdict["replayHash"].as_str().is_some_and(|hash| hash.starts_with("sha256:")), "{verdict}");
    let page = client.get(&format!("/{path}")).await.text();
    assert!(page.contains("&lt;b&gt;looker&lt;/b&gt;") && !page.contains("<b>looker"), "{page}");
    let none = client.get(&format!("/api/v1/artifacts/{}/verdicts/{CVE}", digest("4"))).await;
    assert_eq!(none.problem(), (404, "VERDICT_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn who_says_very_much_takes_no_verdict_away() {
    let world = world();
    let statement = |n: usize| VexStatement {
        vulnerability: CVE.into(),
        product_digests: vec![digest("2")],
        status: VexStatus::Affected.into(),
        // As long as decoders take it.
        impact: "\u{1}".repeat(if n < 300 { 16 << 10 } else { 0 }),
        ..VexStatement::default()
    };
    let said = |n: usize| {
        let event = VexIssued { issuer: format!("issuer {n}"), statements: vec![statement(n)], ..VexIssued::default() };
        sent("2026-01-03T00:00:00Z", event)
    };
    world.append(&(0..1_200).map(said).collect::<Vec<_>>());
    let client = world.client();
    let path = format!("artifacts/{}/verdicts/{CVE}", digest("2"));
    let verdict = client.get(&format!("/api/v1/{path}")).await.json();
    let listed = verdict["explanation"].as_array().map_or(0, Vec::len) as u64;
    let cut = verdict["explanationCut"].as_u64();
    assert_eq!((verdict["status"].as_str(), Some(1_202 - listed)), (Some("affected"), cut));
    assert!((50..=1_000).contains(&listed), "{listed}");
    for size in ["", "&pageSize=700"] {
        let (mut issuers, mut token, mut pages) = (BTreeSet::new(), String::new(), 0);
        loop {
            let body = client.get(&format!("/api/v1/{path}?{token}{size}")).await.json();
            let said = body["explanation"].as_array().cloned().unwrap_or_default();
            assert_eq!(body["replayHash"], verdict["replayHash"]);
            let read = issuers.len();
            issuers.extend(said.iter().map(|said| said["issuer"].as_str().expect("a name").to_owned()));
            assert_eq!(issuers.len(), read + said.len(), "nobody twice");
            pages += 1;
            let Some(next) = body["nextPageToken"].as_str() else { break };
            assert!(pages < 100 && !said.is_empty(), "{pages}");
            token = format!("pageToken={next}");
        }
        assert_eq!(issuers.len(), 1_202, "every voice is on some page");
    }
    let first = verdict["nextPageToken"].as_str().expect("there is more");
    let other = client.get(&format!("/api/v1/artifacts/{}/verdicts/{CVE}?pageToken={first}", digest("1"))).await;
    assert_eq!(other.problem(), (400, "INVALID_PAGE_TOKEN".to_owned()));
    let page = client.get(&format!("/{path}")).await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains(&format!("{} more are not listed. The verdict is of all.", 1_202 - listed)));
}

#[tokio::test]
async fn where_roles_are_configured_only_who_has_one_clears() {
    let world = world();
    let role = IssuerRole { issuer: "somebody".into(), role: "producer".into(), ..IssuerRole::default() };
    world.append(&[sent("2026-01-05T00:00:00Z", PolicyPublished { issuers: vec![role], next_index: 10 })]);
    let impact = world.client().get(&format!("/api/v1/vulnerabilities/{CVE}/impact")).await.json();
    assert_eq!((impact["counts"]["deployed"].as_u64(), impact["counts"]["cleared"].as_u64()), (Some(2), Some(0)));
    assert_eq!(impact["deployed"][1]["verdict"]["status"], "not_affected", "it is shown with its verdict: {impact}");
    let role = IssuerRole { issuer: "maker".into(), role: "producer".into(), ..IssuerRole::default() };
    world.append(&[sent("2026-01-06T00:00:00Z", PolicyPublished { issuers: vec![role], next_index: 11 })]);
    let impact = world.client().get(&format!("/api/v1/vulnerabilities/{CVE}/impact")).await.json();
    assert_eq!(impact["cleared"][0]["verdict"]["confidence"], 0.6667, "1 of 1.5: {impact}");
    let before = format!("/api/v1/vulnerabilities/{CVE}/impact?asOf=11");
    assert_eq!(world.client().get(&before).await.json()["counts"]["cleared"], 0, "as it was known then");
}

#[tokio::test]
async fn a_diff_says_what_changed_and_why() {
    let client = world().client();
    let diff = |from: &str, to: &str| format!("/api/v1/lineage/diff?from={from}&to={to}");
    let answer = client.get(&diff(&digest("1"), &digest("2"))).await.json();
    let change = &answer["vexDiff"][0];
    assert_eq!((&change["cve"], &change["fromStatus"]), (&CVE.into(), &"affected".into()));
    assert_eq!((&change["toStatus"], &change["reasonCode"]), (&"not_affected".into(), &"statement_added".into()));
    let proof = change["evidenceLink"].as_str().expect("a link").to_owned();
    assert_eq!(client.get(&proof).await.json()["type"], "VexIssued", "{proof}");
    let gone = client.get(&diff(&digest("1"), &digest("4"))).await.json();
    assert_eq!(gone["vexDiff"], serde_json::json!([]), "nobody looked into it, so nothing is known to be gone: {gone}");
    assert_eq!(gone["sbomDiff"]["undescribed"], serde_json::json!(["from", "to"]), "{gone}");
    let same = client.get(&diff(&digest("1"), "example.org%2Fshop%2Foven:1.0.0")).await;
    assert_eq!(same.problem(), (400, "LINEAGE_DIFF_INVALID".to_owned()));
}

#[tokio::test]
async fn links_keep_the_moment_of_the_question() {
    let client = world().client();
    let of_artifact = format!("/artifacts/{}", digest("2"));
    let pages = [
        format!("/vulnerabilities/{CVE}"),
        format!("/vulnerabilities/{CVE}/deltas"),
        "/overview?environment=kitchen".to_owned(),
        "/environments".to_owned(),
        "/environments/kitchen".to_owned(),
        format!("{of_artifact}/verdicts/{CVE}"),
        of_artifact,
    ];
    for address in pages {
        let and = if address.contains('?') { '&' } else { '?' };
        let page = client.get(&format!("{address}{and}asOf=10")).await.text();
        let content = page.split("<main").nth(1).and_then(|rest| rest.split("</main>").next()).expect("content");
        let links: Vec<&str> = content.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let lost = links.iter().filter(|link| link.starts_with("/artifacts/") || link.starts_with("/environments/"));
        let lost: Vec<_> = lost.filter(|link| !link.contains("asOf=10")).collect();
        assert!(lost.is_empty(), "{address}: {lost:?}");
    }
}
