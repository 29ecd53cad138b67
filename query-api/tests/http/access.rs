//! Who may ask what: every route of the list against no token, a wrong one, wrong scopes and the right one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pedigraph_proto::TenantId;
use pedigraph_proto::event::ArtifactPublished;
use pedigraph_proto::message::{Message, Receipt, Refused, Submitted};
use pedigraph_query_api::access::scope::Access;
use pedigraph_query_api::access::tokens::{Token, hash};
use pedigraph_query_api::route::Route;
use pedigraph_query_api::routes;
use pedigraph_query_api::{Class, Config, Erasure, NotErased, Pending, TokenScope, Tokens, WriteNode};

use crate::world::{Answer, Client, World, deployed, sent};

/// A world whose tokens are `name = scopes`, the token being its name.
pub(crate) fn config(world: &World, tokens: &[(&str, &str, &[TokenScope])]) -> Config {
    let table = |(name, tenant, scopes): &(&str, &str, &[TokenScope])| {
        let scopes = scopes.iter().copied().collect::<BTreeSet<_>>();
        let tenant = TenantId::new(tenant).expect("a tenant");
        Token { name: (*name).into(), tenant, scopes, sha256: hash(name), expires: None }.to_toml()
    };
    let path = world.dir.path().join("tokens");
    std::fs::write(&path, tokens.iter().map(table).collect::<String>()).expect("written");
    // All routes with all tokens are more than anybody asks in a second.
    let rates = Class::ALL.map(|class| (class, 0)).into();
    Config { tokens: Some(Arc::new(Tokens::open(&path).expect("tokens"))), rates, ..world.config() }
}

/// A token for each scope, and for each one that has all but it.
fn client(world: &World) -> Client {
    let (only, all_but) = (TokenScope::ALL.map(only), TokenScope::ALL.map(all_but));
    let others = TokenScope::ALL.map(|scope| TokenScope::ALL.into_iter().filter(|s| *s != scope).collect::<Vec<_>>());
    let ones = TokenScope::ALL.map(|scope| [scope]);
    let tokens = only.iter().zip(&ones).map(|(name, scopes)| (name.as_str(), "default", &scopes[..]));
    let more = all_but.iter().zip(&others).map(|(name, scopes)| (name.as_str(), "default", &scopes[..]));
    Client(pedigraph_query_api::router(config(world, &tokens.chain(more).collect::<Vec<_>>())))
}

fn only(scope: TokenScope) -> String {
    format!("only {}", scope.as_str())
}

fn all_but(scope: TokenScope) -> String {
    format!("all but {}", scope.as_str())
}

fn path_of(route: &Route) -> String {
    let tile = if route.access == Access::Bundles { "000.p/1" } else { "0/000.p/1" };
    let filled = route.path.replace("{tenant}", "default").replace("{*path}", tile).replace("{index}", "0");
    let filled = filled
        .replace("{env}", "prod")
        .replace("{service}", "cart")
        .replace("{version}/{name}", "x/style.css")
        .replace("{digest}", &format!("sha256:{:064x}", 1));
    let filled = filled.replace("{commit}", "0a1b2c3").replace("{run}", "7").replace("{id}", "CVE-2031-1");
    let filled = filled.replace("{sbomVersionId}", &format!("sha256:{:064x}", 1));
    assert!(!filled.contains('{'), "say here what stands for the parameter in {filled}");
    filled
}

/// Status, code and scope of the answer's head; its body may have no end.
async fn ask(client: &Client, route: &Route, token: Option<&str>) -> (u16, String, Option<String>) {
    let header = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = header.iter().map(|value| ("authorization", value.as_str())).collect();
    let (method, path) = (route.method.to_uppercase(), path_of(route));
    let response = client.open(&method, &path, &headers, Body::empty()).await;
    let status = response.status().as_u16();
    if status != 401 && status != 403 {
        return (status, String::new(), None);
    }
    let answer = client.ask(&method, &path, &headers, Body::empty()).await;
    let challenge = answer.header("www-authenticate") == Some("Bearer realm=\"pedigraph\"");
    assert_eq!(challenge, status == 401, "{method} {path}");
    let (_, code) = answer.problem();
    (status, code, answer.json()["scope"].as_str().map(str::to_owned))
}

/// The scope that a route needs; `None`: none. Written anew here, so that a route's own word is held against something.
fn wanted(path: &str, method: &str) -> Option<TokenScope> {
    let open = [
        "/livez",
        "/readyz",
        "/openapi.json",
        "/assets/{version}/{name}",
        "/favicon.ico",
        "/sign-in",
        "/sign-out",
        "/api/v1/proofs/consistency",
    ];
    match path {
        path if open.contains(&path) => None,
        "/ledger/{tenant}/tile/entries/{*path}" | "/api/v1/entries/{index}/body" => Some(TokenScope::LedgerRead),
        path if path.starts_with("/ledger/") => None,
        "/api/v1/entries/{index}/erase" | "/api/v1/rejects/{index}/replay" => Some(TokenScope::Admin),
        "/api/v1/lineage/export" | "/api/v1/exports/{digest}" => Some(TokenScope::LineageExport),
        path if path.starts_with("/evidence-packs") => Some(TokenScope::LineageExport),
        "/api/v1/events" | "/api/v1/documents" => Some(TokenScope::EventsWrite),
        _ if method == "get" => Some(TokenScope::LineageRead),
        _ => panic!("say here who may {method} {path}"),
    }
}

#[tokio::test]
async fn every_route_lets_in_whom_it_should_and_nobody_else() {
    let world = World::new();
    world.append(&[deployed("2026-01-01T00:00:00Z", "prod", "cart", "1")]);
    world.publish_checkpoint();
    let client = client(&world);
    for route in routes::all().listed() {
        let (shown, wanted) = (format!("{} {}", route.method, route.path), wanted(route.path, route.method));
        let unauthenticated = (401, "UNAUTHENTICATED".to_owned(), None);
        // Whoever has any token sees what it may do.
        if route.path == "/account" {
            assert_eq!(ask(&client, route, None).await, unauthenticated, "{shown}");
            assert_eq!(ask(&client, route, Some("bad")).await, unauthenticated, "{shown}");
            for scope in TokenScope::ALL {
                assert!(!matches!(ask(&client, route, Some(&only(scope))).await.0, 401 | 403), "{shown}");
            }
            continue;
        }
        let Some(scope) = wanted else {
            assert!(matches!(route.access, Access::Public | Access::Hashes), "{shown}");
            assert!(!matches!(ask(&client, route, None).await.0, 401 | 403), "{shown}");
            // Where a token chooses the log, a bad one must not choose another.
            let bad = ask(&client, route, Some("bad")).await;
            assert_eq!(bad.0 == 401, route.access == Access::Hashes, "{shown}: {bad:?}");
            continue;
        };
        assert_eq!(ask(&client, route, None).await, unauthenticated, "{shown}");
        assert_eq!(ask(&client, route, Some("bad")).await, unauthenticated, "{shown}");
        let refused = (403, "SCOPE_MISSING".to_owned(), Some(scope.as_str().to_owned()));
        assert_eq!(ask(&client, route, Some(&all_but(scope))).await, refused, "{shown}");
        for other in TokenScope::ALL {
            let answer = ask(&client, route, Some(&only(other))).await;
            assert_eq!(answer == refused, other != scope, "{shown} with {other:?}: {answer:?}");
            assert!(other != scope || !matches!(answer.0, 401 | 403), "{shown}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn what_does_not_exist_is_not_told_to_strangers() {
    let world = World::new();
    let client = client(&world);
    let token = format!("Bearer {}", only(TokenScope::Admin));
    for (method, path, status) in [("GET", "/nowhere", 404), ("DELETE", "/api/v1/events", 405), ("GET", "/a/b/c", 404)]
    {
        assert_eq!(client.ask(method, path, &[], Body::empty()).await.problem().0, 401, "{path}");
        assert_eq!(
            client.ask(method, path, &[("authorization", &token)], Body::empty()).await.problem().0,
            status,
            "{path}"
        );
    }
    let open = world.client();
    assert_eq!(open.get("/nowhere").await.problem(), (404, "NOT_FOUND".into()));
}

/// A path with escapes is another route and the same file.
#[tokio::test]
async fn bundles_have_no_back_door() {
    let world = World::new();
    world.append(&[deployed("2026-01-01T00:00:00Z", "prod", "cart", "1")]);
    world.publish_checkpoint();
    let client = client(&world);
    let token = format!("Bearer {}", only(TokenScope::LedgerRead));
    let bundle = client.get_with("/ledger/default/tile/entries/000.p/1", &[("authorization", &token)]).await;
    assert_eq!(bundle.status, 200);
    assert_eq!(bundle.header("cache-control"), Some("private, max-age=31536000, immutable"));
    assert_eq!(client.get("/ledger/default/tile/0/000.p/1").await.bytes.len(), 32);
    for path in [
        "%65ntries/000.p/1",
        "entries%2F000.p/1",
        "/entries/000.p/1",
        "./entries/000.p/1",
        "0/../entries/000.p/1",
        "Entries/000.p/1",
    ] {
        for headers in [&[][..], &[("authorization", token.as_str())]] {
            let answer = client.get_with(&format!("/ledger/default/tile/{path}"), headers).await;
            assert!(matches!(answer.problem().0, 401 | 404), "{path}: {}", answer.text());
        }
    }
    let public = Config { public_ledger: true, ..config(&world, &[]) };
    let public = Client(pedigraph_query_api::router(public));
    assert_eq!(public.get("/ledger/default/tile/entries/000.p/1").await.bytes, bundle.bytes);
}

#[tokio::test]
async fn a_token_is_of_one_tenant() {
    let world = World::new();
    world.append(&[deployed("2026-01-01T00:00:00Z", "prod", "cart", "1")]);
    world.publish_checkpoint();
    let scopes = [TokenScope::LineageRead, TokenScope::LedgerRead];
    let client = Client(pedigraph_query_api::router(config(
        &world,
        &[("ours", "default", &scopes), ("theirs", "other", &scopes)],
    )));
    let get =
        async |path: &str, token: &str| client.get_with(path, &[("authorization", &format!("Bearer {token}"))]).await;
    assert_eq!(get("/api/v1/environments/prod", "ours").await.status, 200);
    assert_eq!(get("/api/v1/environments/prod", "theirs").await.problem(), (404, "ENVIRONMENT_NOT_FOUND".into()));
    for path in ["/api/v1/entries/0", "/api/v1/entries/0/body", "/api/v1/entries/0/proof", "/entries/0"] {
        assert_eq!(get(path, "ours").await.status, 200, "{path}");
        assert_eq!(get(path, "theirs").await.problem(), (404, "ENTRY_NOT_FOUND".into()), "{path}");
    }
    let bundle = "/ledger/default/tile/entries/000.p/1";
    assert_eq!(get(bundle, "theirs").await.problem(), (403, "SCOPE_MISSING".into()));
    assert_eq!(get("/ledger/other/tile/entries/000.p/1", "theirs").await.problem(), (404, "NOT_FOUND".into()));
    for nothing in ["checkpoint", "vkey", "keys", "tile/0/000.p/1"] {
        assert_eq!(
            client.get(&format!("/ledger/other/{nothing}")).await.problem(),
            (404, "NOT_FOUND".into()),
            "{nothing}"
        );
    }
    let consistency = async |token: &str| get("/api/v1/proofs/consistency?from=0", token).await.json();
    assert_eq!(consistency("ours").await["origin"], "test.example/ledger/default");
    assert_eq!(consistency("theirs").await["origin"], "test.example/ledger/other");
    let metrics = async |token: &str| get("/metrics", token).await.text();
    assert!(metrics("ours").await.contains("\npedigraph_ledger_entries 1.0\n"));
    assert!(metrics("theirs").await.contains("\npedigraph_ledger_entries 0.0\n"));
}

/// Notes who erases.
struct Erases(Arc<Mutex<Vec<String>>>);

impl WriteNode for Erases {
    fn publish(&self, _: Message) -> Pending<Result<Submitted, Refused>> {
        Box::pin(async { Err(Refused::Stopping) })
    }
    fn erase(&self, erasure: Erasure) -> Pending<Result<Vec<Receipt>, NotErased>> {
        self.0.lock().expect("no panic").push(erasure.actor);
        Box::pin(async { Ok(Vec::new()) })
    }
    fn refuses(&self) -> Option<Refused> {
        None
    }
}

/// An erasure is recorded for ever: so is whose token it was, whatever the body says.
#[tokio::test]
async fn an_erasure_names_the_token() {
    let world = World::new();
    world.append(&[deployed("2026-01-01T00:00:00Z", "prod", "cart", "1")]);
    let actors = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&actors);
    let guarded =
        Config { write: Some(Arc::new(Erases(heard))), ..config(&world, &[("ops", "default", &[TokenScope::Admin])]) };
    let open = Config { tokens: None, ..guarded.clone() };
    for config in [guarded, open] {
        let client = Client(pedigraph_query_api::router(config));
        for body in [r#"{"reason": "asked"}"#, r#"{"reason": "asked", "actor": "me"}"#] {
            let headers = [("authorization", "Bearer ops"), ("content-type", "application/json")];
            assert_eq!(client.post("/api/v1/entries/0/erase", &headers, body).await.status, 200);
        }
    }
    assert_eq!(*actors.lock().expect("no panic"), ["token ops", "me (token ops)", "", "me"]);
}

#[tokio::test]
async fn a_browser_is_asked_for_a_token_where_it_asks_for_a_page() {
    let world = World::new();
    let client = client(&world);
    let asked = async |path: &str, accept: &str| {
        let answer = client.get_with(path, &[("accept", accept)]).await;
        // A browser that is challenged for a password shows no page.
        assert_eq!(
            (answer.status.as_u16(), answer.header("www-authenticate")),
            (401, Some("Bearer realm=\"pedigraph\""))
        );
        answer.text()
    };
    let page = asked("/entries?status=rejected&at=2h", "text/html,*/*").await;
    assert!(page.contains("<form class=\"fields\" action=\"/sign-in\" method=\"post\""), "{page}");
    assert!(page.contains("value=\"/entries?status=rejected&amp;at=2h\""), "{page}");
    assert!(asked("/nowhere", "text/html,*/*").await.contains("/sign-in"));
    assert!(!asked("/", "*/*").await.contains("/sign-in"));
    assert!(!asked("/api/v1/freshness", "text/html,*/*").await.contains("/sign-in"));
    let password = format!("Basic {}", STANDARD.encode(format!("me:{}", only(TokenScope::LineageRead))));
    let page = client.get_with("/", &[("accept", "text/html"), ("authorization", &password)]).await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let in_url = client.get(&format!("/?token={0}&access_token={0}", "only%20lineage:read")).await;
    assert_eq!(in_url.problem().0, 401);
}

/// With a password in the browser another site could write; with tokens the server has any name.
#[tokio::test]
async fn another_site_writes_nothing_with_the_browser_s_password() {
    let world = World::new();
    let client = client(&world);
    let password = format!("Basic {}", STANDARD.encode(format!(":{}", only(TokenScope::Admin))));
    let post = async |more: &[(&str, &str)]| {
        let headers = [&[("host", "pedigraph.corp.test"), ("authorization", &password)], more].concat();
        client.post("/api/v1/rejects/0/replay", &headers, "").await.problem()
    };
    assert_eq!(post(&[]).await, (404, "ENTRY_NOT_FOUND".into()));
    assert_eq!(post(&[("origin", "https://pedigraph.corp.test")]).await, (404, "ENTRY_NOT_FOUND".into()));
    for foreign in [("origin", "https://evil.test"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
        assert_eq!(post(&[foreign]).await, (403, "ORIGIN_NOT_ALLOWED".into()), "{foreign:?}");
    }
}

#[tokio::test]
async fn a_stream_ends_when_its_token_is_taken_away() {
    use http_body_util::BodyExt as _;
    static NOW: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(0);
    let world = World::new();
    let mut config = config(&world, &[("ours", "default", &[TokenScope::LineageRead])]);
    config.clock = || NOW.load(std::sync::atomic::Ordering::SeqCst);
    let client = Client(pedigraph_query_api::router(config));
    let response = client.open("GET", "/api/v1/subscribe", &[("authorization", "Bearer ours")], Body::empty()).await;
    let mut body = response.into_body();
    let greeting = body.frame().await.expect("a frame").expect("good").into_data().expect("data");
    assert!(greeting.starts_with(b":") || greeting.starts_with(b"retry"), "{greeting:?}");
    world.append(&[deployed("2026-01-01T00:00:00Z", "prod", "cart", "1")]);
    let change = body.frame().await.expect("a frame").expect("good").into_data().expect("data");
    assert!(String::from_utf8_lossy(&change).contains("id: 0-"), "{change:?}");
    std::fs::write(world.dir.path().join("tokens"), "").expect("written");
    NOW.store(2_000_000_000, std::sync::atomic::Ordering::SeqCst);
    world.append(&[deployed("2026-01-02T00:00:00Z", "prod", "cart", "2")]);
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        rest.extend(frame.expect("good").into_data().expect("data"));
    }
    assert!(!String::from_utf8_lossy(&rest).contains("id: 1-"), "{}", String::from_utf8_lossy(&rest));
}

/// A question of a class, as method and path.
fn question_of(class: Class) -> (&'static str, String) {
    if class == Class::Waiters {
        return ("POST", "/api/v1/events?wait=visible".to_owned());
    }
    let all = routes::all();
    let route = all.listed().iter().find(|route| route.class == Some(class)).expect("a route");
    (if route.method == "get" { "GET" } else { "POST" }, path_of(route))
}

/// Asks until the answer is 429, as it must be for the second question within a second.
async fn refused(client: &Client, method: &str, path: &str, token: &str) -> Option<Answer> {
    for _ in 0..50 {
        let response = client.open(method, path, &[("authorization", &format!("Bearer {token}"))], Body::empty()).await;
        if response.status() == 429 {
            return Some(Answer::of(response).await);
        }
    }
    None
}

#[tokio::test]
async fn each_class_has_a_rate_of_which_no_tenant_takes_another_s() {
    let world = World::new();
    world.append(&[deployed("2026-01-01T00:00:00Z", "prod", "cart", "1")]);
    for class in Class::ALL {
        let mut config = config(&world, &[("a", "a", &TokenScope::ALL), ("b", "b", &TokenScope::ALL)]);
        config.rates = Class::ALL.map(|other| (other, u32::from(other == class))).into();
        let client = Client(pedigraph_query_api::router(config));
        let (method, path) = question_of(class);
        let answer = refused(&client, method, &path, "a").await;
        if class == Class::Probes {
            assert!(answer.is_none(), "probes are always answered");
            continue;
        }
        let answer = answer.unwrap_or_else(|| panic!("{path} is never refused"));
        assert_eq!(answer.problem(), (429, "RATE_LIMITED".into()), "{path}");
        assert_eq!((answer.header("retry-after"), answer.json()["class"].as_str()), (Some("1"), Some(class.as_str())));
        if class != Class::Open {
            let b = client.open(method, &path, &[("authorization", "Bearer b")], Body::empty()).await;
            assert_ne!(b.status(), 429, "{path} for another tenant");
        }
        let metrics = client.get_with("/metrics", &[("authorization", "Bearer b")]).await.text();
        let line = format!("pedigraph_http_refused_total{{class=\"{}\"}} 1\n", class.as_str());
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
}

/// Places of one kind are shared: who has many leaves as many to others.
#[tokio::test]
async fn a_tenant_s_streams_leave_places_to_others() {
    let world = World::new();
    let mut config = config(&world, &[("a", "a", &TokenScope::ALL), ("b", "b", &TokenScope::ALL)]);
    config.limits.subscribers_max = 8;
    let client = Client(pedigraph_query_api::router(config));
    let open = async |token: &str| {
        let authorization = format!("Bearer {token}");
        client.open("GET", "/api/v1/subscribe", &[("authorization", &authorization)], Body::empty()).await
    };
    let mut held = Vec::new();
    for (token, places) in [("a", 4), ("b", 2)] {
        for _ in 0..places {
            let response = open(token).await;
            assert_eq!(response.status(), 200, "{token}");
            held.push(response);
        }
        assert_eq!(Answer::of(open(token).await).await.problem(), (503, "OVERLOADED".into()), "{token}");
    }
}

#[tokio::test]
async fn a_tenant_s_answers_that_nobody_reads_leave_room_to_others() {
    let world = World::new();
    let mut config = config(&world, &[("a", "a", &TokenScope::ALL), ("b", "b", &TokenScope::ALL)]);
    let ask = async |client: &Client, token: &str| {
        let authorization = format!("Bearer {token}");
        client.open("GET", "/api/v1/environments", &[("authorization", &authorization)], Body::empty()).await
    };
    let one = Answer::of(ask(&Client(pedigraph_query_api::router(config.clone())), "a").await).await.bytes.len();
    config.limits.unread_bytes_max = 8 * one;
    let client = Client(pedigraph_query_api::router(config));
    let mut unread = Vec::new();
    for (token, answers) in [("a", 4), ("b", 2)] {
        for _ in 0..answers {
            let response = ask(&client, token).await;
            assert_eq!(response.status(), 200, "{token}");
            unread.push(response);
        }
        let refused = Answer::of(ask(&client, token).await).await;
        assert_eq!((refused.problem(), refused.header("retry-after")), ((503, "OVERLOADED".into()), Some("5")));
    }
    let held = async |bytes: usize| {
        let metrics = client.get_with("/metrics", &[("authorization", "Bearer b")]).await.text();
        let line = format!("pedigraph_http_unread_bytes {bytes}.0\n");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    };
    held(6 * one).await;
    let taken = Answer::of(unread.remove(0)).await;
    drop(unread);
    held(one).await;
    assert_eq!(ask(&client, "a").await.status(), 200);
    drop(taken);
    held(0).await;
}

#[tokio::test]
async fn a_tenant_s_bodies_that_never_end_leave_room_to_others() {
    let world = World::new();
    let mut config = config(&world, &[("a", "a", &TokenScope::ALL), ("b", "b", &TokenScope::ALL)]);
    config.write = Some(Arc::new(Erases(Arc::default())));
    config.limits.intake_bytes_max = 100;
    let client = Client(pedigraph_query_api::router(config));
    let send = async |token: &str, body: Body| {
        let authorization = format!("Bearer {token}");
        client.ask("POST", "/api/v1/events", &[("authorization", &authorization)], body).await.problem().1
    };
    let (tell, is_held) = tokio::sync::oneshot::channel();
    let begun = futures_util::stream::iter([Ok::<_, std::io::Error>(" ".repeat(50))]);
    // More is asked for when what came before is held.
    let never = futures_util::stream::once(async move {
        tell.send(()).expect("somebody waits");
        std::future::pending().await
    });
    let endless = Body::from_stream(futures_util::StreamExt::chain(begun, never));
    let mut slow = std::pin::pin!(send("a", endless));
    tokio::select! {
        answered = &mut slow => panic!("{answered}"),
        held = is_held => held.expect("told"),
    }
    assert_eq!(send("a", Body::from(" ")).await, "OVERLOADED");
    assert_eq!(send("b", Body::from(" ".repeat(25))).await, "NOT_READY", "it was read, and refused for another reason");
    assert_eq!(send("b", Body::from(" ".repeat(51))).await, "OVERLOADED");
}

#[tokio::test]
async fn a_stream_that_nobody_reads_loses_its_place_with_its_token() {
    let world = World::new();
    let days = (1..=28).map(|day| deployed(&format!("2026-01-{day:02}T00:00:00Z"), "prod", "cart", &day.to_string()));
    world.append(&days.collect::<Vec<_>>());
    let stays = ("stays", "default", &TokenScope::ALL[..]);
    let gone = ("gone", "default", &TokenScope::ALL[..]);
    let client = Client(pedigraph_query_api::router(config(&world, &[stays, gone])));
    let headers = [("authorization", "Bearer gone")];
    let unread = client.open("GET", "/api/v1/subscribe?from=0", &headers, Body::empty()).await;
    assert_eq!(unread.status(), 200);
    let places = async |line: &str| {
        let metrics = client.get_with("/metrics", &[("authorization", "Bearer stays")]).await.text();
        metrics.contains(&format!("pedigraph_stream_subscribers {line}\n"))
    };
    assert!(places("1").await);
    config(&world, &[stays]);
    let given_back = async { while !places("0").await {} };
    tokio::time::timeout(std::time::Duration::from_secs(30), given_back).await.expect("given back");
    drop(unread);
}

#[tokio::test]
async fn what_is_kept_of_one_tenant_is_never_given_to_another_or_to_who_may_not_ask() {
    let world = World::new();
    let artifact = format!("sha256:{}", "7".repeat(64));
    let published = ArtifactPublished {
        artifact_digest: artifact.clone(),
        artifact_ref: "example.org/cart:1".into(),
        ..ArtifactPublished::default()
    };
    world.append(&[sent("2026-01-01T00:00:00Z", published)]);
    let read = &[TokenScope::LineageRead][..];
    let tokens =
        [("ours", "default", read), ("theirs", "other", read), ("writer", "default", &[TokenScope::EventsWrite])];
    let client = Client(pedigraph_query_api::router(config(&world, &tokens)));
    let ask = async |token: &str| {
        let path = format!("/api/v1/artifacts/{artifact}/hover");
        client.get_with(&path, &[("authorization", &format!("Bearer {token}"))]).await
    };
    let (first, kept) = (ask("ours").await, ask("ours").await);
    assert_eq!((first.status.as_u16(), &first.bytes), (200, &kept.bytes));
    assert_eq!(ask("theirs").await.problem(), (404, "ARTIFACT_NOT_FOUND".into()));
    assert_eq!(ask("writer").await.problem(), (403, "SCOPE_MISSING".into()));
    assert_eq!(ask("nobody").await.problem(), (401, "UNAUTHENTICATED".into()));
}
