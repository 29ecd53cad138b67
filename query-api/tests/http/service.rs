//! A service: where it runs, what runs there, and what to go back to.

use pedigraph_proto::event::{ArtifactPublished, ServiceDeployed, ServiceRemoved, TestsFinished};
use serde_json::{Value, json};

use crate::pages::check_page;
use crate::world::{Client, Sent, World, deployed, sent};

fn digest(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

fn published(at: &str, tag: &str) -> Sent {
    let event = ArtifactPublished {
        artifact_digest: digest(tag),
        artifact_ref: format!("example.org/cart:{tag}"),
        ..ArtifactPublished::default()
    };
    sent(at, event)
}

#[tokio::test]
async fn the_last_known_good_is_named_by_its_digest() {
    let world = World::new();
    world.append(&[
        published("2026-01-01T00:00:00Z", "1"),
        published("2026-01-01T00:00:01Z", "2"),
        deployed("2026-01-02T00:00:00Z", "prod", "cart", "1"),
        deployed("2026-01-03T00:00:00Z", "prod", "cart", "2"),
        deployed("2026-01-03T00:00:00Z", "prod", "<b>alone", "9"),
        deployed("2026-01-04T00:00:00Z", "prod", "till", "8"),
        deployed("2026-01-05T00:00:00Z", "prod", "till", "9"),
    ]);
    let client = world.client();
    let page = check_page(&client.get("/environments/prod/services/cart").await);
    let reference = format!("<code>example.org/cart@{}</code>", digest("1"));
    let compare = format!("/compare?a={}&amp;b={}", digest("1"), digest("2"));
    for part in [
        "Last known good",
        "and no rollback left it.",
        reference.as_str(),
        compare.as_str(),
        "from <time datetime=\"2026-01-02T00:00:00Z\"",
        "until <time datetime=\"2026-01-03T00:00:00Z\"",
        "<code>pedigraph service cart --env prod</code>",
        "href=\"/entries/2\"",
        "data-live=\"service\"",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    let alone = check_page(&client.get("/environments/prod/services/%3Cb%3Ealone").await);
    assert!(alone.contains("&lt;b&gt;alone") && alone.contains("There is none: nothing else ran alone"), "{alone}");
    let unknown = check_page(&client.get("/environments/prod/services/till").await);
    assert!(
        unknown.contains("<code>example.org/till:8</code>") && unknown.contains("Its digest is unknown"),
        "{unknown}"
    );
    let then = check_page(&client.get("/environments/prod/services/cart?at=2026-01-02T12:00:00Z").await);
    assert!(then.contains("There is none: nothing else ran alone") && !then.contains("data-live"), "{then}");
    let environment = check_page(&client.get("/environments/prod").await);
    assert!(environment.contains("href=\"/environments/prod/services/cart\""), "{environment}");
    for (path, code) in [
        ("/environments/prod/services/nothing", "REFERENCE_NOT_FOUND"),
        ("/environments/nowhere/services/cart", "ENVIRONMENT_NOT_FOUND"),
    ] {
        assert_eq!(client.get(path).await.problem(), (404, code.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn a_change_of_a_tag_that_stays_leads_to_what_ran() {
    let world = World::new();
    let latest = |day: u32, tag: &str| {
        let event = ServiceDeployed {
            environment: "prod".into(),
            service: "cart".into(),
            artifact_ref: "example.org/cart:latest".into(),
            artifact_digest: digest(tag),
            ..ServiceDeployed::default()
        };
        sent(&format!("2026-01-{day:02}T00:00:00Z"), event)
    };
    world.append(&[latest(1, "1"), latest(2, "2"), latest(3, "3")]);
    let client = world.client();
    let changes = client.get("/api/v1/environments/prod/changes").await.json();
    let newest = &changes["changes"][0];
    assert_eq!((&newest["fromDigest"], &newest["toDigest"]), (&digest("2").into(), &digest("3").into()), "{changes}");
    let page = check_page(&client.get("/environments/prod").await);
    let (old, new) = (digest("1").replace(':', "%3A"), digest("2").replace(':', "%3A"));
    let compare =
        [format!("/compare?a={old}&amp;b={new}"), format!("/compare?a={}&amp;b={}", digest("1"), digest("2"))];
    assert!(compare.iter().any(|address| page.contains(address)), "{page}");
    assert!(!page.contains("/search?q=example.org"), "a tag may name another artifact today: {page}");
}

#[tokio::test]
async fn each_cluster_has_a_past_of_its_own() {
    let world = World::new();
    let in_cluster = |day: u32, cluster: &str, tag: &str| {
        let event = ServiceDeployed {
            environment: "prod".into(),
            service: "cart".into(),
            cluster: cluster.into(),
            artifact_ref: format!("example.org/cart:{tag}"),
            artifact_digest: digest(tag),
            ..ServiceDeployed::default()
        };
        sent(&format!("2026-01-{day:02}T00:00:00Z"), event)
    };
    let nowhere = ServiceRemoved { environment: "prod".into(), service: "cart".into(), ..ServiceRemoved::default() };
    world.append(&[in_cluster(1, "north", "1"), in_cluster(2, "south", "2"), in_cluster(3, "south", "3")]);
    world.append(&[sent("2026-01-04T00:00:00Z", nowhere)]);
    let client = world.client();
    let page = check_page(&client.get("/environments/prod/services/cart").await);
    assert!(page.contains("ended nothing: it names no cluster or namespace, and each deployment does"), "{page}");
    let body = client.get("/api/v1/environments/prod/services/cart").await.json();
    assert_eq!(body["removedNothing"][0]["at"], "2026-01-04T00:00:00Z", "{body}");
    assert!(page.contains("Last known good in south") && page.contains("Last known good in north"), "{page}");
    assert_eq!(page.matches("There is none: nothing else ran alone").count(), 1, "{page}");
    assert!(page.contains("In north, newest first") && page.contains("In south, newest first"), "{page}");
}

#[tokio::test]
async fn a_service_is_told_for_each_environment_and_with_its_past() {
    let world = World::new();
    let gone = ServiceRemoved { environment: "old".into(), service: "cart".into(), ..ServiceRemoved::default() };
    world.append(&[
        published("2026-01-01T00:00:00Z", "1"),
        published("2026-01-01T00:00:01Z", "2"),
        deployed("2026-01-02T00:00:00Z", "prod", "cart", "1"),
        deployed("2026-01-02T00:00:00Z", "old", "cart", "1"),
        deployed("2026-01-02T00:00:00Z", "test", "cart", "2"),
        deployed("2026-01-02T00:00:00Z", "test", "till", "9"),
        deployed("2026-01-03T00:00:00Z", "prod", "cart", "2"),
        sent("2026-01-03T00:00:00Z", gone),
    ]);
    let client = world.client();
    let body = client.get("/api/v1/environments/prod/services/cart").await.json();
    assert_eq!((&body["environment"], &body["service"]), (&"prod".into(), &"cart".into()));
    assert_eq!(body["running"][0]["digest"], digest("2"));
    let lane = &body["lanes"][0];
    assert_eq!(
        (&lane["before"]["digest"], &lane["before"]["until"]),
        (&digest("1").into(), &"2026-01-03T00:00:00Z".into())
    );
    let spells = lane["spells"].as_array().expect("a list");
    assert_eq!(spells.iter().map(|spell| spell["digest"].clone()).collect::<Vec<_>>(), [digest("2"), digest("1")]);
    assert_eq!((&lane["cut"], body.get("lanesCut")), (&false.into(), None));

    let named = |body: &Value| -> Vec<String> {
        let environments = body["environments"].as_array().expect("a list").iter();
        environments.map(|here| here["environment"].as_str().expect("a name").to_owned()).collect()
    };
    let all = client.get("/api/v1/services/cart").await.json();
    assert_eq!((named(&all), all.get("nextPageToken")), (vec!["prod".to_owned(), "test".to_owned()], None));
    let removed = client.get("/api/v1/services/cart?includeRemoved=true").await.json();
    assert_eq!(named(&removed), ["old", "prod", "test"]);
    assert_eq!(removed["environments"][0]["running"], json!([]));
    let then = client.get("/api/v1/services/cart?at=2026-01-02T12:00:00Z").await.json();
    assert_eq!(named(&then), ["old", "prod", "test"]);
    let mut pages = Vec::new();
    let mut next = Some(String::new());
    while let Some(token) = next {
        let token = if token.is_empty() { token } else { format!("&pageToken={token}") };
        let page = client.get(&format!("/api/v1/services/cart?pageSize=1{token}")).await.json();
        pages.extend(named(&page));
        next = page["nextPageToken"].as_str().map(str::to_owned);
    }
    assert_eq!(pages, ["prod", "test"], "each once, and no page behind the last one");
    for (path, code) in [
        ("/api/v1/services/nothing", "REFERENCE_NOT_FOUND"),
        ("/api/v1/environments/prod/services/nothing", "REFERENCE_NOT_FOUND"),
        ("/api/v1/environments/nowhere/services/cart", "ENVIRONMENT_NOT_FOUND"),
    ] {
        assert_eq!(client.get(path).await.problem(), (404, code.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn the_last_known_good_says_why_and_what_it_passed_over() {
    let world = World::new();
    world.append(&[
        published("2026-01-01T00:00:00Z", "1"),
        deployed("2026-01-02T00:00:00Z", "prod", "cart", "1"),
        deployed("2026-01-03T00:00:00Z", "prod", "cart", "2"),
        deployed("2026-01-04T00:00:00Z", "prod", "cart", "1"),
        deployed("2026-01-05T00:00:00Z", "test", "cart", "2"),
        deployed("2026-01-06T00:00:00Z", "test", "till", "2"),
    ]);
    let client = world.client();
    let path = "/api/v1/services/cart/last-known-good";
    let body = client.get(&format!("{path}?env=prod")).await.json();
    let lane = &body["environments"][0]["lanes"][0];
    assert_eq!((&lane["status"], &lane["reason"]), (&"known".into(), &"cameByRollback".into()), "{body}");
    assert_eq!((&lane["lastKnownGood"], &lane["running"]["digest"]), (&lane["running"], &digest("1").into()));
    assert_eq!((&lane["running"]["proof"]["index"], &lane["running"]["kind"]), (&3.into(), &"rollback".into()));
    let passed = &lane["passedOver"][0];
    assert_eq!(
        (&passed["artifactRef"], &passed["why"], &passed["proof"]["index"]),
        (&"example.org/cart:2".into(), &"leftByRollback".into(), &3.into())
    );
    let page = check_page(&client.get("/environments/prod/services/cart").await);
    for part in ["it is the last known good itself", "Passed over:", "was left by a rollback at", "href=\"/entries/3\""]
    {
        assert!(page.contains(part), "{part} in {page}");
    }
    for (question, reason) in
        [("at=2026-01-03T12:00:00Z", "ranBefore"), ("asOf=2", "ranBefore"), ("asOf=1", "nothingRanBefore")]
    {
        let then = client.get(&format!("{path}?env=prod&{question}")).await.json();
        assert_eq!(then["environments"][0]["lanes"][0]["reason"], reason, "{question}: {then}");
    }
    let all = client.get(path).await.json();
    let reasons =
        ["/environments/0/lanes/0/reason", "/environments/1/lanes/0/reason"].map(|at| all.pointer(at).cloned());
    assert_eq!(reasons, [Some("cameByRollback".into()), Some("nothingRanBefore".into())]);
    let first = client.get(&format!("{path}?pageSize=1")).await.json();
    let token = first["nextPageToken"].as_str().expect("more");
    let next = client.get(&format!("{path}?pageSize=1&pageToken={token}")).await.json();
    assert_eq!(next["environments"][0]["environment"], "test");
    for (path, code) in [
        ("/api/v1/services/nothing/last-known-good", "REFERENCE_NOT_FOUND"),
        ("/api/v1/services/nothing/last-known-good?env=prod", "REFERENCE_NOT_FOUND"),
        ("/api/v1/services/cart/last-known-good?env=nowhere", "ENVIRONMENT_NOT_FOUND"),
    ] {
        assert_eq!(client.get(path).await.problem(), (404, code.to_owned()), "{path}");
    }
}

/// A service in very many namespaces.
fn fleet(service: &str, places: usize) -> Vec<Sent> {
    let in_namespace = |n: usize| {
        let event = ServiceDeployed {
            environment: "prod".into(),
            service: service.into(),
            namespace: format!("{n:04}{}", "/&".repeat(200)),
            artifact_ref: format!("example.org/{service}:1"),
            artifact_digest: digest("1"),
            ..ServiceDeployed::default()
        };
        sent(&format!("2026-01-02T00:{:02}:{:02}Z", n / 60, n % 60), event)
    };
    (0..places).map(in_namespace).collect()
}

#[tokio::test]
async fn a_service_in_very_many_places_takes_no_answer_away() {
    let world = World::new();
    world.append(&fleet("cart", 1_050));
    world.append(&[deployed("2026-01-03T00:00:00Z", "prod", "till", "9")]);
    let client = world.client();
    let body = client.get("/api/v1/environments/prod").await.json();
    let cart = &body["services"][0];
    assert_eq!((cart["running"].as_array().map(Vec::len), &cart["runningCut"]), (Some(1_000), &50.into()));
    assert_eq!(body["services"][1].get("runningCut"), None, "{body}");
    let all = client.get("/api/v1/services/cart").await.json();
    assert_eq!(all["environments"][0]["runningCut"], 50);
    let page = check_page(&client.get("/environments/prod").await);
    assert!(page.contains("950 more run that are not listed") && page.contains("till"), "{}", page.len());
    let page = check_page(&client.get("/environments/prod/services/cart").await);
    assert!(page.contains("50 more run that are not listed."), "{}", page.len());
    assert!(check_page(&client.get("/overview").await).contains("More runs in:"));
    assert!(check_page(&client.get("/").await).contains("/environments/prod"));
}

#[tokio::test]
async fn a_page_that_is_too_large_is_made_with_fewer_rows() {
    let world = World::new();
    let services: Vec<Sent> = (0..8).flat_map(|n| fleet(&format!("s{n}"), 50)).collect();
    world.append(&services);
    let mut config = world.config();
    config.limits.answer_bytes_max = 600 << 10;
    let client = Client(pedigraph_query_api::router(config));
    let (mut path, mut pages, mut found) = ("/environments/prod".to_owned(), 0, 0);
    loop {
        let answer = client.get(&path).await;
        assert_eq!(answer.status, 200, "{path}");
        let page = answer.text();
        found += (0..8).filter(|n| page.contains(&format!("services/s{n}\""))).count();
        pages += 1;
        let Some((before, _)) = page.split_once("\" rel=\"next\"") else { break };
        path = before.rsplit_once("href=\"").expect("an address").1.replace("&amp;", "&");
    }
    assert!(pages > 1 && found == 8, "{pages} pages, {found} services");
}

#[tokio::test]
async fn long_texts_take_no_answer_away() {
    let world = World::new();
    let long = "\u{1}".repeat(48 << 10);
    let spell = |n: usize| {
        let event = ServiceDeployed {
            environment: "prod".into(),
            service: "cart".into(),
            artifact_ref: format!("example.org/cart:{n}"),
            reason: long.clone(),
            ..ServiceDeployed::default()
        };
        sent(&format!("2026-01-02T00:00:{n:02}Z"), event)
    };
    let tests = |n: usize| {
        let event = TestsFinished {
            artifact_digest: digest("1"),
            suite: format!("suite {n}"),
            reason: long.clone(),
            url: format!("https://ci.test/{}{n}", "x".repeat(4_000)),
            outcome: 1,
            ..TestsFinished::default()
        };
        sent("2026-01-03T00:00:00Z", event)
    };
    let somewhere = |n: usize| {
        let event = ServiceDeployed {
            environment: format!("{n:02}{}", "e".repeat(900)),
            service: "cart".into(),
            artifact_digest: digest("1"),
            ..ServiceDeployed::default()
        };
        sent("2026-01-04T00:00:00Z", event)
    };
    let mut events: Vec<Sent> = (0..60).map(spell).collect();
    events.extend((0..100).map(tests));
    events.extend((0..10).map(somewhere));
    world.append(&events);
    let client = world.client();
    let here = client.get("/api/v1/environments/prod/services/cart").await.json();
    let lane = &here["lanes"][0];
    assert_eq!((lane["spells"].as_array().map(Vec::len), &lane["cut"]), (Some(10), &true.into()));
    assert_eq!(client.get("/environments/prod/services/cart").await.status, 200);
    let artifact = client.get(&format!("/api/v1/artifacts/{}", digest("1"))).await;
    assert!(artifact.bytes.len() < 2 << 20, "{}", artifact.bytes.len());
    let artifact = artifact.json();
    let badges = &artifact["badges"];
    let named = badges["deployedIn"].as_array().map(Vec::len);
    assert_eq!((named, &badges["deployedInCut"]), (Some(2), &8.into()), "a node is small");
}
