//! Browsers that sign in: a token for a cookie, which is worth what its token is, and nothing to other sites.

use std::sync::atomic::{AtomicI64, Ordering};

use axum::body::Body;
use http_body_util::BodyExt as _;
use pedigraph_query_api::TokenScope;

use crate::access::config;
use crate::pages::check_page;
use crate::world::{Answer, Client, World, deployed};

const READS: [TokenScope; 1] = [TokenScope::LineageRead];

/// Signs in and gives the answer and the cookie.
async fn sign_in(client: &Client, form: &str, more: &[(&str, &str)]) -> (Answer, String) {
    let headers = [&[("content-type", "application/x-www-form-urlencoded"), ("accept", "text/html")], more].concat();
    let answer = client.post("/sign-in", &headers, form.to_owned()).await;
    let cookie = answer.header("set-cookie").unwrap_or_default().to_owned();
    (answer, cookie)
}

/// What a browser sends back of a cookie.
fn sent_back(cookie: &str) -> String {
    cookie.split(';').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_token_is_exchanged_for_a_session() {
    let world = World::new();
    world.append(&[deployed("2026-01-01T00:00:00Z", "prod", "cart", "1")]);
    let client = Client(pedigraph_query_api::router(config(&world, &[("reader", "default", &READS)])));
    let form = check_page(&client.get("/sign-in?next=/entries").await);
    assert!(form.contains("value=\"/entries\"") && form.contains("type=\"password\""), "{form}");
    let (answer, cookie) = sign_in(&client, "token=reader&next=%2Fentries%3Fstatus%3Drejected", &[]).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, Some("/entries?status=rejected")));
    assert!(cookie.contains("; HttpOnly; SameSite=Strict") && !cookie.contains("Secure"), "{cookie}");
    assert!(!cookie.contains("reader"), "{cookie}");
    let (_, secure) = sign_in(&client, "token=reader", &[("origin", "https://localhost")]).await;
    assert!(secure.ends_with("; Secure"), "{secure}");
    let cookie = sent_back(&cookie);
    let with = [("cookie", cookie.as_str())];
    assert_eq!(client.get_with("/api/v1/freshness", &with).await.status, 200);
    let account = check_page(&client.get_with("/account", &with).await);
    assert!(
        account.contains("reader") && account.contains("lineage:read") && account.contains("/sign-out"),
        "{account}"
    );
    let refused = client.get_with("/api/v1/entries/0/body", &with).await;
    assert_eq!(refused.problem(), (403, "SCOPE_MISSING".into()));
    let out = client.post("/sign-out", &[&with[..], &[("origin", "http://localhost")]].concat(), "").await;
    assert!(out.status == 303 && out.header("set-cookie").is_some_and(|cookie| cookie.contains("Max-Age=0")));
    assert_eq!(client.get_with("/api/v1/freshness", &with).await.problem(), (401, "UNAUTHENTICATED".into()));
}

#[tokio::test]
async fn nobody_is_signed_in_by_what_is_no_token_or_sent_elsewhere() {
    let world = World::new();
    let client = Client(pedigraph_query_api::router(config(&world, &[("reader", "default", &READS)])));
    for (form, status) in [("token=other", 401), ("token=", 400), ("", 400), ("token=reade%72%20x", 401)] {
        let (answer, cookie) = sign_in(&client, form, &[]).await;
        assert_eq!((answer.status.as_u16(), cookie.as_str()), (status, ""), "{form}");
        let page = check_page(&answer);
        assert!(page.contains("role=\"alert\"") && !page.contains("reade"), "{page}");
    }
    for next in ["https%3A%2F%2Fevil.test", "%2F%2Fevil.test", "%2F%5Cevil.test", "javascript%3Aalert(1)"] {
        let (answer, _) = sign_in(&client, &format!("token=reader&next={next}"), &[]).await;
        assert_eq!(answer.header("location"), Some("/"), "{next}");
    }
    let (foreign, cookie) = sign_in(&client, "token=reader", &[("origin", "https://evil.test")]).await;
    assert_eq!((foreign.status.as_u16(), cookie.as_str()), (403, ""));
    let long = format!("token={}", "x".repeat(10_000));
    assert_eq!(sign_in(&client, &long, &[]).await.0.status, 413);
    let open = check_page(&world.client().get("/sign-in").await);
    assert!(open.contains("has no tokens") && !open.contains("type=\"password\""), "{open}");
    assert!(check_page(&world.client().get("/account").await).contains("has no tokens"));
}

/// The browser adds the cookie by itself: what changes something must come from a page of ours.
#[tokio::test]
async fn another_site_changes_nothing_with_a_session() {
    let world = World::new();
    let client = Client(pedigraph_query_api::router(config(&world, &[("ops", "default", &TokenScope::ALL)])));
    let cookie = sent_back(&sign_in(&client, "token=ops", &[]).await.1);
    let post = async |more: &[(&str, &str)]| {
        let headers = [&[("cookie", cookie.as_str())], more].concat();
        client.post("/api/v1/rejects/0/replay", &headers, "").await.problem()
    };
    let ours = (404, "ENTRY_NOT_FOUND".to_owned());
    assert_eq!(post(&[("origin", "http://localhost")]).await, ours);
    assert_eq!(post(&[("sec-fetch-site", "same-origin")]).await, ours);
    for foreign in [
        &[][..],
        &[("origin", "https://evil.test")],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "none")],
    ] {
        assert_eq!(post(foreign).await, (403, "ORIGIN_NOT_ALLOWED".into()), "{foreign:?}");
    }
    // A token in the request says that no browser added it by itself.
    assert_eq!(post(&[("authorization", "Bearer ops")]).await, ours);
    assert_eq!(post(&[("authorization", "Bearer other")]).await, (401, "UNAUTHENTICATED".into()));
}

#[tokio::test]
async fn a_session_sees_its_tenant_alone_and_ends_with_its_token_or_its_time() {
    static NOW: AtomicI64 = AtomicI64::new(0);
    let world = World::new();
    world.append(&[deployed("2026-01-01T00:00:00Z", "prod", "cart", "1")]);
    let both = [("ours", "default", &READS[..]), ("theirs", "other", &READS[..])];
    let mut config_of = config(&world, &both);
    config_of.clock = || NOW.load(Ordering::SeqCst);
    let client = Client(pedigraph_query_api::router(config_of));
    let ours = sent_back(&sign_in(&client, "token=ours", &[]).await.1);
    let theirs = sent_back(&sign_in(&client, "token=theirs", &[]).await.1);
    let status = async |cookie: &str, path: &str| client.get_with(path, &[("cookie", cookie)]).await.status.as_u16();
    assert_eq!(status(&ours, "/api/v1/environments/prod").await, 200);
    assert_eq!(status(&theirs, "/api/v1/environments/prod").await, 404);
    assert_eq!(status("pedigraph_session=guessed", "/api/v1/freshness").await, 401);
    let stream = client.open("GET", "/api/v1/subscribe", &[("cookie", &ours)], Body::empty()).await;
    let mut stream = stream.into_body();
    assert!(stream.frame().await.is_some());
    config(&world, &both[1..]);
    NOW.store(2_000_000_000, Ordering::SeqCst);
    assert_eq!((status(&ours, "/").await, status(&theirs, "/").await), (401, 200));
    world.append(&[deployed("2026-01-02T00:00:00Z", "prod", "cart", "2")]);
    while let Some(frame) = stream.frame().await {
        let data = frame.expect("good").into_data().expect("data");
        assert!(!String::from_utf8_lossy(&data).contains("id: 1-"), "{data:?}");
    }
    NOW.store(13 * 3_600 * 1_000_000_000, Ordering::SeqCst);
    assert_eq!(status(&theirs, "/").await, 401);
}

#[tokio::test]
async fn a_stream_ends_when_its_owner_signs_out() {
    let world = World::new();
    let client = Client(pedigraph_query_api::router(config(&world, &[("ours", "default", &READS)])));
    let cookie = sent_back(&sign_in(&client, "token=ours", &[]).await.1);
    let stream = client.open("GET", "/api/v1/subscribe", &[("cookie", &cookie)], Body::empty()).await;
    let mut stream = stream.into_body();
    assert!(stream.frame().await.is_some());
    client.post("/sign-out", &[("cookie", &cookie), ("sec-fetch-site", "same-origin")], "").await;
    world.append(&[deployed("2026-01-01T00:00:00Z", "prod", "cart", "1")]);
    assert!(stream.frame().await.is_none());
}
