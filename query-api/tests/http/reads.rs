//! Reads: problems, clocks, pages, conditional requests, limits.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use pedigraph_proto::Nanos;

use crate::world::{Client, World, append, deployed};

fn history() -> World {
    let world = World::new();
    world.append(&[
        deployed("2026-01-01T00:00:00Z", "prod", "cart", "1"),
        deployed("2026-01-02T00:00:00Z", "prod", "cart", "2"),
        deployed("2026-01-03T00:00:00Z", "prod", "web", "7"),
        deployed("2026-01-04T00:00:00Z", "prod", "cart", "3"),
    ]);
    world
}

#[tokio::test]
async fn every_error_is_a_problem() {
    let world = World::new();
    let client = world.client();
    let check = async |method: &str, path: &str, status: u16, code: &str| {
        let answer = client.ask(method, path, &[], axum::body::Body::empty()).await;
        assert_eq!(answer.problem(), (status, code.to_owned()), "{method} {path}");
    };
    check("GET", "/nowhere", 404, "NOT_FOUND").await;
    check("GET", "/api/v1/nowhere", 404, "NOT_FOUND").await;
    check("DELETE", "/api/v1/intake", 405, "METHOD_NOT_ALLOWED").await;
    check("GET", "/api/v1/events", 405, "METHOD_NOT_ALLOWED").await;
    check("GET", "/api/v1/entries/first", 400, "BAD_REQUEST").await;
    check("GET", "/api/v1/artifacts/%ff", 400, "BAD_REQUEST").await;
    check("GET", "/api/v1/entries/7", 404, "ENTRY_NOT_FOUND").await;
    check("GET", "/api/v1/entries/7/proof", 404, "ENTRY_NOT_FOUND").await;
    check("GET", "/api/v1/entries?status=duplicate", 400, "INVALID_PARAMETER").await;
    check("GET", "/api/v1/entries?subject=x", 400, "INVALID_PARAMETER").await;
    check("GET", "/api/v1/entries?limit=1001", 400, "INVALID_PARAMETER").await;
    check("GET", "/api/v1/environments?at=yesterday", 400, "INVALID_PARAMETER").await;
    check("GET", "/api/v1/environments?asOf=-1", 400, "INVALID_PARAMETER").await;
    check("GET", "/api/v1/environments/prod?includeRemoved=maybe", 400, "INVALID_PARAMETER").await;
    check("GET", "/api/v1/environments/prod", 404, "ENVIRONMENT_NOT_FOUND").await;
    check("GET", "/api/v1/environments/prod/changes?pageToken=x", 400, "INVALID_PAGE_TOKEN").await;
    check("GET", "/api/v1/lineage/sha256:ab?maxDepth=101", 400, "LINEAGE_DEPTH_EXCEEDED").await;
    check("GET", "/api/v1/lineage/sha256:ab?maxDepth=-1", 400, "INVALID_PARAMETER").await;
    check("GET", "/api/v1/lineage/sha256:ab?direction=left", 400, "INVALID_PARAMETER").await;
    check("GET", "/api/v1/trace", 400, "INVALID_PARAMETER").await;
    check("GET", "/api/v1/resolve", 400, "INVALID_PARAMETER").await;
    check("GET", "/api/v1/components/impact?purl=left-pad", 400, "INVALID_PARAMETER").await;
    check("GET", "/api/v1/components/impact?purl=pkg:npm/a&versions=1", 400, "INVALID_PARAMETER").await;
    let long = "C".repeat(257);
    check("GET", &format!("/api/v1/vulnerabilities/{long}/impact"), 400, "INVALID_PARAMETER").await;
    check("GET", &format!("/api/v1/artifacts/sha256:ab/verdicts/{long}"), 400, "INVALID_PARAMETER").await;
    check("GET", "/api/v1/artifacts/sha256:ab/verdicts/CVE-1", 404, "ARTIFACT_NOT_FOUND").await;
    check("GET", "/api/v1/lineage/diff?from=sha256:ab", 400, "INVALID_PARAMETER").await;
    check("GET", "/api/v1/lineage/diff?from=sha256:ab&to=sha256:cd", 404, "ARTIFACT_NOT_FOUND").await;
    check("GET", "/api/v1/proofs/consistency", 400, "INVALID_PARAMETER").await;
    check("GET", "/api/v1/proofs/consistency?from=0&to=9", 400, "INVALID_PARAMETER").await;
    check("GET", "/api/v1/subscribe?views=everything", 400, "INVALID_PARAMETER").await;
    check("GET", "/api/v1/subscribe?from=x", 400, "INVALID_PARAMETER").await;
    check("GET", "/ledger/other/checkpoint", 404, "NOT_FOUND").await;
    check("GET", "/ledger/default/tile/0/000", 404, "NOT_FOUND").await;
    check("POST", "/api/v1/events", 503, "INTAKE_UNAVAILABLE").await;
}

#[tokio::test]
async fn a_request_id_is_echoed_and_named_in_problems() {
    let client = World::new().client();
    let answer = client.get_with("/nowhere", &[("x-request-id", "run-7")]).await;
    assert_eq!(answer.header("x-request-id"), Some("run-7"));
    assert_eq!(answer.json()["instance"], "run-7");
    let wrong_method = client.ask("PUT", "/api/v1/events", &[], axum::body::Body::empty()).await;
    assert_eq!(wrong_method.header("allow"), Some("POST"));
}

#[tokio::test]
async fn other_hosts_and_sites_are_refused() {
    let client = World::new().client();
    let rebound = client.get_with("/api/v1/intake", &[("host", "evil.test")]).await;
    assert_eq!(rebound.problem(), (421, "HOST_NOT_ALLOWED".into()));
    let here = ("host", "localhost:8080");
    assert_eq!(client.get_with("/api/v1/intake", &[here]).await.status, 200);
    let forged = client.post("/api/v1/events", &[here, ("origin", "http://evil.test")], "{}").await;
    assert_eq!(forged.problem(), (403, "ORIGIN_NOT_ALLOWED".into()));
}

#[tokio::test]
async fn an_environment_follows_both_clocks() {
    let world = history();
    let client = world.client();
    let versions = async |query: &str| {
        let answer = client.get(&format!("/api/v1/environments/prod{query}")).await;
        let services = answer.json()["services"].as_array().expect("services").clone();
        let line =
            |s: &serde_json::Value| format!("{} {}", s["service"], s["running"][0]["artifactRef"]).replace('"', "");
        (services.iter().map(line).collect::<Vec<_>>().join(", "), answer.header("pedigraph-as-of").map(str::to_owned))
    };
    let (now, as_of) = versions("").await;
    assert_eq!(now, "cart example.org/cart:3, web example.org/web:7");
    assert_eq!(as_of.as_deref(), Some("3"));
    assert_eq!(versions("?at=2026-01-02T12:00:00Z").await.0, "cart example.org/cart:2");
    let (known, as_of) = versions("?asOf=0").await;
    assert_eq!((known.as_str(), as_of.as_deref()), ("cart example.org/cart:1", Some("0")));
    let list = client.get("/api/v1/environments").await.json();
    assert_eq!(list["environments"][0]["environment"], "prod");
}

#[tokio::test]
async fn pages_are_pinned_to_their_first_index() {
    let world = history();
    let client = world.client();
    let path = "/api/v1/environments/prod/changes?pageSize=2";
    let first = client.get(path).await;
    let token = first.json()["nextPageToken"].as_str().expect("a token").to_owned();
    world.append(&[deployed("2026-01-05T00:00:00Z", "prod", "cart", "4")]);
    let second = client.get(&format!("{path}&pageToken={token}")).await;
    assert_eq!(second.header("pedigraph-as-of"), Some("3"));
    let to = |answer: &serde_json::Value| {
        answer["changes"].as_array().expect("changes").iter().map(|c| c["to"].to_string()).collect::<Vec<_>>()
    };
    let seen = [to(&first.json()), to(&second.json())].concat().join(" ");
    for tag in ["cart:3", "web:7", "cart:2", "cart:1"] {
        assert_eq!(seen.matches(tag).count(), 1, "{tag} in {seen}");
    }
    assert!(!seen.contains("cart:4"), "{seen}");
    let other = client.get(&format!("/api/v1/environments/test/changes?pageToken={token}")).await;
    assert_eq!(other.problem(), (400, "INVALID_PAGE_TOKEN".into()));
}

#[tokio::test]
async fn who_asks_is_told_how_many_rows_an_answer_was_read_from() {
    let world = history();
    let client = world.client();
    let counted = async |path: &str| -> u64 {
        let answer = client.get_with(path, &[("pedigraph-rows-read", "?")]).await;
        answer.header("pedigraph-rows-read").and_then(|rows| rows.parse().ok()).unwrap_or(0)
    };
    let before = counted("/api/v1/environments/prod").await;
    assert!((1..100).contains(&before), "{before}");
    assert_eq!(counted("/api/v1/environments/prod").await, before, "the same question reads the same");
    assert!(counted("/environments/prod").await > before, "the page has its changes too");
    assert_eq!(client.get("/api/v1/environments/prod").await.header("pedigraph-rows-read"), None);
    let one = |n: u32| deployed(&format!("2026-02-01T00:00:00.{n:03}Z"), "prod", &format!("s{n}"), "1");
    world.append(&(0..200).map(one).collect::<Vec<_>>());
    assert!(counted("/api/v1/environments/prod").await > before + 200, "each service is read");
}

#[tokio::test]
async fn an_unchanged_answer_is_not_sent_again() {
    let world = history();
    let client = world.client();
    let first = client.get("/api/v1/environments/prod").await;
    assert_eq!(first.header("cache-control"), Some("private, no-cache"));
    assert_eq!(first.header("pedigraph-lag-ms"), Some("0"));
    let etag = first.header("etag").expect("an ETag").to_owned();
    let again = client.get_with("/api/v1/environments/prod", &[("if-none-match", &etag)]).await;
    assert_eq!((again.status.as_u16(), again.bytes.len()), (304, 0));
    assert_eq!(again.header("pedigraph-as-of"), Some("3"));
    world.append(&[deployed("2026-01-05T00:00:00Z", "prod", "cart", "4")]);
    let later = client.get_with("/api/v1/environments/prod", &[("if-none-match", &etag)]).await;
    assert_eq!(later.status, 200);
    let counts = client.get("/api/v1/intake").await.header("etag").expect("named by its bytes").to_owned();
    assert_eq!(client.get_with("/api/v1/intake", &[("if-none-match", &counts)]).await.status, 304);
}

static NOW: AtomicI64 = AtomicI64::new(0);

fn set_now(time: &str) {
    NOW.store(Nanos::parse(time).expect("a time").0, Ordering::Relaxed);
}

/// An age counts back from the moment of the question, and what it is compared with is not taken for the answer of
/// another moment.
#[tokio::test]
async fn an_age_is_counted_from_the_question_and_gives_no_stale_304() {
    let world = history();
    let client = Client(pedigraph_query_api::router(pedigraph_query_api::Config {
        clock: || NOW.load(Ordering::Relaxed),
        ..world.config()
    }));
    let paths =
        ["/api/v1/environments/prod?at=90m", "/api/v1/trace?ref=prod@%7B90m%7D/cart", "/environments/prod?at=90m"];
    for path in paths {
        set_now("2026-01-02T01:00:00Z");
        let first = client.get(path).await;
        let text = first.text().replace("<wbr>", "");
        assert!(text.contains("example.org/cart:1"), "{path}: {text}");
        set_now("2026-01-02T02:00:00Z");
        let etag = first.header("etag").expect("an ETag").to_owned();
        let second = client.get_with(path, &[("if-none-match", &etag)]).await;
        assert_eq!(second.status, 200, "{path}");
        let text = second.text().replace("<wbr>", "");
        assert!(text.contains("example.org/cart:2"), "{path}: {text}");
    }
    let known = client.get("/api/v1/environments/prod?asOf=2h").await;
    assert_eq!(known.problem(), (404, "ENVIRONMENT_NOT_FOUND".into()), "nothing was recorded then");
}

#[tokio::test]
async fn a_moment_before_the_first_change_is_told_from_an_unknown_name() {
    let client = history().client();
    let early = client.get("/api/v1/environments/prod/changes?at=2025-12-31T00:00:00Z").await;
    assert_eq!(early.problem(), (404, "ENVIRONMENT_NOT_FOUND".into()));
    assert_eq!(early.json()["firstAt"], "2026-01-01T00:00:00Z");
    let detail = early.json()["detail"].to_string();
    assert!(detail.contains("by 2025-12-31T00:00:00Z") && detail.contains("2026-01-01T00:00:00Z"), "{detail}");
    let unknown = client.get("/api/v1/environments/lab?at=2025-12-31T00:00:00Z").await.json();
    assert!(unknown["detail"].to_string().contains("no deployment names"), "{unknown}");
    let early = client.get("/api/v1/trace?ref=prod/cart&at=2025-12-31T00:00:00Z").await.json();
    assert!(early["detail"].to_string().contains("came later"), "{early}");
}

/// Purls have plus signs, and so have times.
#[tokio::test]
async fn a_plus_in_a_query_is_a_plus_sign() {
    let world = World::new();
    world.append(&[deployed("2026-01-02T00:00:00Z", "on call", "a+b", "1")]);
    let client = world.client();
    for purl in ["pkg:deb/debian/g++-12", "pkg:deb/debian/g%2B%2B-12"] {
        let named = client.get(&format!("/api/v1/resolve?q={purl}")).await.json();
        assert_eq!(named["candidates"][0]["label"], "pkg:deb/debian/g%2B%2B-12", "{named}");
    }
    let found = client.get("/api/v1/resolve?q=on%20call/a+b").await.json();
    assert_eq!(found["query"], "on call/a+b");
    assert_eq!(found["candidates"][0]["id"], "on call/a+b", "{found}");
    assert_eq!(client.get("/api/v1/environments/on%20call?at=2026-01-02T01:00:00+00:30").await.status, 200);
    let page = client.get("/search?q=on+call%2Fa%2Bb+").await;
    assert_eq!((page.status.as_u16(), page.header("location")), (303, Some("/environments/on%20call/services/a%2Bb")));
}

/// Views that show half of what the ledger held when the server started.
fn half_folded() -> (World, World) {
    let (whole, views) = (history(), World::new());
    views.append(&[
        deployed("2026-01-01T00:00:00Z", "prod", "cart", "1"),
        deployed("2026-01-02T00:00:00Z", "prod", "cart", "2"),
    ]);
    (whole, views)
}

#[tokio::test]
async fn answers_say_when_the_views_are_folded_anew() {
    let (whole, half) = half_folded();
    let config = pedigraph_query_api::Config { views: half.config().views, ..whole.config() };
    let client = Client(pedigraph_query_api::router(config));
    let old = client.get("/api/v1/environments/prod").await;
    assert_eq!((old.status.as_u16(), old.header("pedigraph-rebuilding")), (200, Some("2/4")));
    let page = client.get("/environments/prod").await;
    assert!(page.text().contains("show 2 of 4 entries"), "{}", page.text());
    let exact = client.get("/api/v1/environments/prod?asOf=1").await;
    assert_eq!((exact.status.as_u16(), exact.header("pedigraph-rebuilding")), (200, None));
    for path in ["/api/v1/environments/lab", "/api/v1/trace?ref=lab/cart", "/api/v1/artifacts/sha256:abcdef"] {
        let unknown = client.get(path).await;
        assert_eq!(unknown.problem(), (503, "PROJECTION_BEHIND".into()), "{path}");
        assert!(unknown.header("retry-after").is_some() && unknown.json()["detail"].to_string().contains("2 of 4"));
        let exact = client.get(&format!("{path}{}asOf=1", if path.contains('?') { '&' } else { '?' })).await;
        assert_eq!(exact.status, 404, "{path}: no entry that is yet to be folded matters");
    }
    assert_eq!(client.get("/api/v1/freshness").await.json()["rebuilding"]["of"], 4);
    let ready = client.get("/readyz?verbose").await;
    assert!(ready.status == 503 && ready.text().contains("[-]views failed: folded anew: 2/4"), "{}", ready.text());
}

#[tokio::test]
async fn a_404_waits_for_what_the_ledger_holds() {
    let (whole, half) = (World::new(), World::new());
    let mut config = pedigraph_query_api::Config { views: half.config().views, ..whole.config() };
    config.limits.min_index_wait = Duration::from_millis(20);
    let impatient = Client(pedigraph_query_api::router(config.clone()));
    config.limits.min_index_wait = Duration::from_secs(60);
    let patient = Client(pedigraph_query_api::router(config));
    let event = deployed("2026-01-01T00:00:00Z", "prod", "cart", "1");
    append(&whole.writer, std::slice::from_ref(&event));
    let behind = impatient.get("/api/v1/environments/prod").await;
    assert_eq!(behind.problem(), (503, "PROJECTION_BEHIND".into()));
    let list = impatient.get("/api/v1/environments").await;
    assert_eq!((list.status.as_u16(), list.header("pedigraph-rebuilding")), (200, None), "lag is no rebuilding");
    let asked = tokio::spawn(async move { patient.get("/api/v1/environments/prod").await.status.as_u16() });
    tokio::task::yield_now().await;
    half.append(&[event]);
    assert_eq!(asked.await.expect("an answer"), 200);
    assert_eq!(impatient.get("/api/v1/environments/lab").await.problem(), (404, "ENVIRONMENT_NOT_FOUND".into()));
}

#[tokio::test]
async fn a_reader_can_wait_for_what_it_wrote() {
    let world = history();
    let mut config = world.config();
    config.limits.min_index_wait = Duration::from_millis(20);
    let client = Client(pedigraph_query_api::router(config));
    assert_eq!(client.get("/api/v1/intake?minIndex=3").await.status, 200);
    let behind = client.get("/api/v1/intake?minIndex=4").await;
    assert_eq!(behind.problem(), (503, "PROJECTION_BEHIND".into()));
    assert_eq!(behind.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn too_much_is_refused_with_advice() {
    let world = history();
    let mut config = world.config();
    config.limits.answer_bytes_max = 100;
    let client = Client(pedigraph_query_api::router(config));
    assert_eq!(client.get("/api/v1/entries").await.problem(), (413, "ANSWER_TOO_LARGE".into()));
    let mut config = world.config();
    config.limits.requests_max = 0;
    let client = Client(pedigraph_query_api::router(config));
    let busy = client.get("/api/v1/entries").await;
    assert_eq!(busy.problem(), (503, "OVERLOADED".into()));
    assert_eq!(busy.header("retry-after"), Some("1"));
    assert_eq!(client.get("/livez").await.status, 200);
}

#[tokio::test]
async fn freshness_and_probes_tell_where_everything_stands() {
    let world = history();
    world.publish_checkpoint();
    let mut config = world.config();
    config.end_to_end.record(12.0, 3_500.0);
    config.sources = std::sync::Arc::new(|| {
        let lag = |partition, position| pedigraph_query_api::SourceLag {
            name: "pedigraph.ci".into(),
            partition: Some(partition),
            position,
            end: Some(9),
            lag_messages: Some(9 - position),
            lag_ms: None,
            state: None,
            advice: None,
        };
        vec![lag(1, 9), lag(0, 4)]
    });
    let client = Client(pedigraph_query_api::router(config));
    let fresh = client.get("/api/v1/freshness").await.json();
    assert_eq!(fresh["head"]["index"], 3);
    assert_eq!(fresh["head"]["size"], 4);
    assert_eq!(fresh["head"]["checkpointSize"], 4);
    assert_eq!(fresh["sources"][0]["position"], 4);
    assert_eq!(fresh["sources"][0]["lagMessages"], 5);
    assert_eq!(fresh["endToEndMs"]["p50"], 12.0);
    assert_eq!(fresh["eventToVisibleMs"]["p99"], 3_500.0);
    assert!(fresh.get("rebuilding").is_none(), "{fresh}");
    assert!(fresh["views"].as_array().is_some_and(|views| views.iter().all(|view| view["nextIndex"] == 4)), "{fresh}");
    assert_eq!(client.get("/livez").await.status, 200);
    assert_eq!(client.get("/readyz").await.status, 200);
    assert_eq!(
        client.get("/readyz?verbose").await.text(),
        "[+]views ok: 0 ms behind\n[+]view-roots ok: no recorded root was compared yet\nready\n"
    );
    let metrics = client.get("/metrics").await.text();
    assert!(metrics.contains("pedigraph_ledger_entries 4.0\n"), "{metrics}");
    assert!(metrics.contains("pedigraph_visible_after_seconds{quantile=\"0.5\"} 0.012\n"), "{metrics}");
    assert!(metrics.contains("pedigraph_event_to_visible_seconds{quantile=\"0.99\"} 3.5\n"), "{metrics}");
    assert!(metrics.contains("pedigraph_intake_messages_total{status=\"accepted\"} 4\n"), "{metrics}");
    assert!(
        metrics.contains("pedigraph_source_lag_messages{source=\"pedigraph.ci\",partition=\"0\"} 5.0\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_node_that_only_writes_is_ready_for_intake_and_never_for_answers() {
    let world = World::new();
    let change = |config: &mut pedigraph_query_api::Config| {
        config.views = pedigraph_query_api::LateViews::default();
        config.expect_views = false;
    };
    let (client, _) = crate::events::client(&world, change);
    for (query, status) in [("", 200), ("?for=intake", 200), ("?for=answers", 503)] {
        assert_eq!(client.get(&format!("/readyz{query}")).await.status, status, "{query}");
    }
}

#[tokio::test]
async fn a_node_is_not_ready_before_its_views_are_open() {
    let world = World::new();
    let mut config = world.config();
    config.views = pedigraph_query_api::LateViews::default();
    config.ready = std::sync::Arc::new(|| {
        vec![pedigraph_query_api::Check {
            name: "ledger".into(),
            about: pedigraph_query_api::About::Intake,
            ok: true,
            detail: String::new(),
        }]
    });
    let client = Client(pedigraph_query_api::router(config));
    let ready = client.get("/readyz?verbose").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.text(), "[-]views failed: not open\n[+]ledger ok\nnot ready\n");
    let ready = async |what: &str| {
        let answer = client.get(&format!("/readyz?verbose&for={what}")).await;
        (answer.status.as_u16(), answer.text())
    };
    assert_eq!(ready("answers").await, (503, "[-]views failed: not open\nnot ready\n".to_owned()));
    let only_reads = "[+]ledger ok\n[-]intake failed: this node only reads\nnot ready\n";
    assert_eq!(ready("intake").await, (503, only_reads.to_owned()));
    let wrong = client.get("/readyz?for=everything").await;
    assert_eq!(wrong.problem(), (400, "INVALID_PARAMETER".into()));
    assert_eq!(client.get("/livez").await.status, 200);
    assert_eq!(client.get("/api/v1/environments").await.problem(), (503, "NOT_READY".into()));
}
