//! What one question may cost, and that no text in a question brings the server to fail.

use std::sync::Arc;
use std::time::Duration;

use pedigraph_projector::store::{Budget, Meter};
use pedigraph_proto::event::{ArtifactPackaged, RunFinished, ServiceDeployed};
use pedigraph_query_api::Limits;
use pedigraph_query_api::app::App;
use pedigraph_query_api::limits::OfRead;
use pedigraph_query_api::problem::Problem;

use crate::world::{Client, Sent, World, deployed, sent};

/// What may stand in a part of an address.
const PIECES: &[&str] = &[
    "prod",
    "cart",
    "example.org/cart",
    "1",
    "~",
    "#",
    "@{",
    "}",
    "@",
    "/",
    ":",
    "..",
    " ",
    "+",
    "%",
    "?",
    "&",
    "=",
    "é",
    "\u{0}",
    "\u{1}",
    "\u{7}",
    "\u{1b}",
    "\r",
    "\n",
    "\t",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "\u{feff}",
    "😀",
    "sha256:",
    "abcdef0123456789",
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775807",
    "-1",
    "0",
    "2h",
    "999999999999w",
    "2026-08-14T12:47Z",
    "9999-12-31T23:59:59Z",
    "1969-12-31T23:59:59Z",
    "pkg:npm/left-pad",
    "@1.3.0",
    "pkg:oci/a@sha256",
    "vers:npm/<1",
    ">=",
    "*",
    "|",
    "CVE-2026-1",
    "night\u{1}shift",
    "true",
    "both",
];

/// Parameters that a route may read.
const PARAMETERS: &[&str] = &[
    "at",
    "asOf",
    "minIndex",
    "pageSize",
    "pageToken",
    "limit",
    "from",
    "to",
    "status",
    "subject",
    "type",
    "ref",
    "q",
    "purl",
    "versions",
    "env",
    "maxDepth",
    "direction",
    "includeVerdicts",
    "includeBadges",
    "includeRemoved",
    "views",
];

/// Runs as no system numbers them.
const RUNS: &[&str] = &["night\u{1}shift", "nul\u{0}run", "bell\u{7}", "two\r\nlines", "del\u{7f}next\u{85}line"];

fn history() -> World {
    let world = World::new();
    let mut events = vec![
        deployed("2026-01-01T00:00:00Z", "prod", "cart", "1"),
        deployed("2026-01-02T00:00:00Z", "prod", "cart", "2"),
        deployed("2026-01-03T00:00:00Z", "prod/eu", "web", "7"),
    ];
    for (n, run) in RUNS.iter().enumerate() {
        let (artifact_digest, run) = (format!("sha256:{n:064x}"), (*run).to_owned());
        let event = ArtifactPackaged { artifact_digest, run: run.clone(), ..Default::default() };
        events.push(sent(&format!("2026-01-04T00:00:{n:02}Z"), event));
        let event = RunFinished { run, outcome: 1, ..Default::default() };
        events.push(sent(&format!("2026-01-05T00:00:{n:02}Z"), event));
    }
    world.append(&events);
    world
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Texts from pieces, the same for a seed.
struct Texts(fastrand::Rng);

impl Texts {
    fn text(&mut self) -> String {
        (0..self.0.usize(0..5)).map(|_| PIECES[self.0.usize(0..PIECES.len())]).collect()
    }

    fn address(&mut self, template: &str) -> String {
        let mut address = String::new();
        for segment in template.split('/').skip(1) {
            address.push('/');
            if segment.starts_with('{') { address.push_str(&escaped(&self.text())) } else { address.push_str(segment) }
        }
        for n in 0..self.0.usize(0..4) {
            let name = PARAMETERS[self.0.usize(0..PARAMETERS.len())];
            address.push(if n == 0 { '?' } else { '&' });
            address.push_str(&format!("{name}={}", escaped(&self.text())));
        }
        address
    }
}

#[tokio::test]
async fn no_text_in_a_question_brings_the_server_to_fail() {
    let seed = std::env::var("PEDIGRAPH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_129);
    println!("PEDIGRAPH_SEED={seed}");
    let mut texts = Texts(fastrand::Rng::with_seed(seed));
    let world = history();
    let mut config = world.config();
    config.limits.min_index_wait = Duration::ZERO;
    let client = Client(pedigraph_query_api::router(config));
    for route in pedigraph_query_api::routes::all().listed().iter().filter(|route| route.method == "get") {
        for _ in 0..150 {
            let address = texts.address(route.path);
            let answer = client.open("GET", &address, &[], axum::body::Body::empty()).await;
            assert_ne!(answer.status(), 500, "{address}");
        }
    }
}

#[tokio::test]
async fn numbers_and_control_characters_are_answered() {
    let client = history().client();
    for reference in
        ["prod~18446744073709551615/cart", "prod~99999999999999999999/cart", "prod/cart~18446744073709551615"]
    {
        let answer = client.get(&format!("/api/v1/trace?ref={}", escaped(reference))).await;
        assert_eq!(answer.problem(), (400, "INVALID_PARAMETER".into()), "{reference}");
    }
    for reference in ["prod#18446744073709551615/cart", "prod#99999999999999999999"] {
        let answer = client.get(&format!("/api/v1/trace?ref={}", escaped(reference))).await;
        assert_eq!(answer.problem(), (404, "REFERENCE_NOT_FOUND".into()), "{reference}");
    }
    for run in RUNS {
        let run_escaped = escaped(run);
        let found = client.get(&format!("/search?q={run_escaped}")).await;
        let location = found.header("location").unwrap_or_default();
        assert!(found.status == 303 && location.starts_with("/runs/"), "{run:?} {} {}", found.status, found.text());
        let page = client.get(location).await;
        assert_eq!(page.status, 200, "{run:?} {}", page.text());
        let candidates = client.get(&format!("/api/v1/resolve?q={run_escaped}")).await.json();
        assert_eq!(candidates["candidates"][0]["id"], *run);
    }
}

#[tokio::test]
async fn a_question_that_costs_too_much_says_what_to_narrow() {
    let world = history();
    let asked = |change: fn(&mut Limits)| {
        let mut config = world.config();
        change(&mut config.limits);
        Client(pedigraph_query_api::router(config))
    };
    let few_rows = asked(|limits| limits.read_rows_max = 2);
    let few_bytes = asked(|limits| limits.read_bytes_max = 20);
    let paths = [
        "/api/v1/environments/prod",
        "/api/v1/environments/prod/changes",
        "/api/v1/trace?ref=prod/cart",
        "/api/v1/resolve?q=cart",
        "/api/v1/components/impact?purl=pkg:npm/left-pad",
        "/api/v1/lineage/prod%2Fcart",
        "/api/v1/artifacts/prod%2Fcart",
        "/api/v1/intake",
    ];
    for client in [&few_rows, &few_bytes] {
        for path in paths {
            let answer = client.get(path).await;
            assert_eq!(answer.problem(), (422, "QUERY_TOO_EXPENSIVE".into()), "{path}");
            let body = answer.json();
            assert!(body["detail"].as_str().is_some_and(|text| text.contains("narrow it")), "{body}");
            assert!(body["rowsRead"].is_u64() && body["rowsMax"].is_u64() && body["bytesMax"].is_u64(), "{body}");
        }
        let page = client.get("/environments/prod").await;
        assert_eq!(page.status, 422, "{}", page.text());
        let home = client.get("/").await;
        assert!(home.status == 200 && home.text().contains("More runs than this page can count"), "{}", home.text());
    }
    let metrics = few_rows.get("/metrics").await.text();
    let ended = |end: &str| metrics.contains(&format!("pedigraph_reads_total{{end=\"{end}\"}} 0"));
    assert!(!ended("budget") && ended("time") && ended("gone") && ended("refused"), "{metrics}");

    let no_turn = asked(|limits| limits.reads_waiting_max = 0);
    let answer = no_turn.get("/api/v1/resolve?q=cart").await;
    assert_eq!((answer.problem(), answer.header("retry-after")), ((503, "OVERLOADED".into()), Some("1")));
}

/// A read that goes on until it is told to end, and tells that it did.
fn endless(ended: std::sync::mpsc::Sender<()>) -> impl FnOnce(&Arc<Meter>) -> Result<(), Problem> + Send + 'static {
    move |meter| {
        while !meter.is_stopped() {
            std::thread::yield_now();
        }
        ended.send(()).expect("somebody waits");
        Ok(())
    }
}

#[tokio::test]
async fn a_read_ends_with_its_time_and_with_its_client() {
    let world = history();
    let app = App::new(world.config());
    let (ended, when_ended) = std::sync::mpsc::channel();
    let limits = |time_max| OfRead { budget: Budget::NONE, time_max };
    let late = app.blocking_of(None, limits(Duration::from_millis(1)), endless(ended.clone())).await;
    assert_eq!(late.expect_err("no time").code(), "QUERY_TOO_EXPENSIVE");
    when_ended.recv().expect("the thread ended");
    let asked = app.blocking_of(None, limits(Duration::from_secs(3_600)), endless(ended));
    assert!(tokio::time::timeout(Duration::from_millis(5), asked).await.is_err(), "the client goes away");
    when_ended.recv().expect("the thread ended");
    let metrics = app.metrics.text();
    for line in ["{end=\"time\"} 1", "{end=\"gone\"} 1"] {
        assert!(metrics.contains(&format!("pedigraph_reads_total{line}")), "{metrics}");
    }
}

fn sites(count: usize, name: impl Fn(usize) -> String) -> World {
    let world = World::new();
    let events: Vec<Sent> =
        (0..count).map(|n| deployed(&format!("2026-02-01T00:00:{n:02}Z"), &name(n), "door", "1")).collect();
    world.append(&events);
    world
}

async fn all_pages(client: &Client, path: &str, list: &str) -> (Vec<serde_json::Value>, usize) {
    let (mut rows, mut pages, mut token) = (Vec::new(), 0, None::<String>);
    loop {
        let address = token.as_ref().map_or_else(|| path.to_owned(), |token| format!("{path}&pageToken={token}"));
        let answer = client.get(&address).await;
        assert_eq!(answer.status, 200, "{}", answer.text().chars().take(500).collect::<String>());
        let body = answer.json();
        rows.extend(body[list].as_array().expect("a list").clone());
        pages += 1;
        token = body["nextPageToken"].as_str().map(str::to_owned);
        if token.is_none() {
            return (rows, pages);
        }
    }
}

#[tokio::test]
async fn a_list_ends_by_bytes_as_well_as_by_rows() {
    let world = sites(30, |n| format!("site-{n:02}-{}", "x".repeat(4_000)));
    let mut config = world.config();
    config.limits.answer_bytes_max = 20_000;
    let small = Client(pedigraph_query_api::router(config));
    for (path, list) in
        [("/api/v1/environments?pageSize=100", "environments"), ("/api/v1/entries?limit=100", "entries")]
    {
        let (rows, pages) = all_pages(&small, path, list).await;
        let (whole, one) = all_pages(&world.client(), path, list).await;
        assert_eq!((rows.len(), one), (30, 1), "{path}");
        assert_eq!(rows, whole, "{path}");
        assert!(list != "environments" || pages >= 7, "{pages} pages");
    }
    let (rows, pages) = all_pages(&world.client(), "/api/v1/environments?pageSize=9", "environments").await;
    assert_eq!((rows.len(), pages), (30, 4));
}

#[tokio::test]
async fn the_services_of_an_environment_are_one_page_unless_they_are_too_large() {
    let world = World::new();
    let service =
        |n: usize| deployed("2026-02-01T00:00:00Z", "yard", &format!("crane-{n:03}-{}", "y".repeat(300)), "1");
    world.append(&(0..60).map(service).collect::<Vec<_>>());
    let mut config = world.config();
    config.limits.answer_bytes_max = 30_000;
    let small = Client(pedigraph_query_api::router(config));
    let path = "/api/v1/environments/yard?includeRemoved=true";
    let (whole, one) = all_pages(&world.client(), path, "services").await;
    let (rows, pages) = all_pages(&small, path, "services").await;
    assert_eq!((whole.len(), one), (60, 1));
    assert!(rows == whole && pages > 1, "{} rows in {pages} pages", rows.len());
    let (rows, pages) = all_pages(&world.client(), &format!("{path}&pageSize=25"), "services").await;
    assert!(rows == whole && pages == 3, "{} rows in {pages} pages", rows.len());
}

#[tokio::test]
async fn the_changes_of_a_large_environment_are_cut_and_never_refused() {
    const SERVICES: usize = 300;
    let world = World::new();
    let deployed = |environment: usize, n: usize| {
        let event = ServiceDeployed {
            environment: format!("e{environment}"),
            service: format!("service-{n:03}"),
            artifact_ref: "example.org/sidecar:1".to_owned(),
            ..ServiceDeployed::default()
        };
        sent(&format!("2026-02-01T0{environment}:{:02}:{:02}Z", n / 60, n % 60), event)
    };
    for environment in 0..4 {
        world.append(&(0..SERVICES).map(|n| deployed(environment, n)).collect::<Vec<_>>());
    }
    let mut config = world.config();
    config.limits.read_rows_max = 6_000;
    let client = Client(pedigraph_query_api::router(config));
    for environment in ["e0", "e2"] {
        let page = client.get(&format!("/environments/{environment}")).await;
        assert_eq!(page.status, 200, "{}", page.text());
        // A service has a link, too; the changes are a table, and marks on a line of time.
        let services = 2 * SERVICES + 2 * 50;
        assert_eq!(page.text().matches("service-").count(), services, "all services, and the newest changes");
        assert!(page.text().contains("Older changes"), "{}", page.text());
        let path = format!("/api/v1/environments/{environment}/changes?pageSize=1000");
        let (rows, pages) = all_pages(&client, &path, "changes").await;
        assert_eq!(rows.len(), SERVICES);
        assert!((2..20).contains(&pages), "{pages} pages");
    }
}

#[tokio::test]
async fn pages_show_a_part_of_many_and_long_environments() {
    let world = sites(25, |n| if n == 0 { "a".repeat(60_000) } else { format!("site-{n:02}") });
    let client = world.client();
    let home = client.get("/").await;
    assert_eq!(home.status, 200);
    assert!(home.bytes.len() < 100_000, "{} bytes", home.bytes.len());
    assert!(home.text().contains("All environments") && home.text().contains("60000 bytes"));
    let then = client.get("/?asOf=24").await.text();
    assert!(then.contains("href=\"/environments?asOf=24\""), "the same moment: {then}");
    let first = client.get("/environments?pageSize=20").await.text();
    assert!(first.contains("/environments/site-19") && !first.contains("/environments/site-21"), "{first}");
    let (_, link) = first.split_once("href=\"/environments?").expect("a next page");
    let next = link.split('"').next().expect("an address").replace("&amp;", "&");
    let second = client.get(&format!("/environments?{next}")).await.text();
    assert!(second.contains("/environments/site-21") && !second.contains("Next page"), "{second}");
    let (rows, pages) = all_pages(&client, "/api/v1/environments?pageSize=1", "environments").await;
    assert_eq!((rows.len(), pages), (25, 25), "a long name is passed like any other");
}

#[tokio::test]
async fn any_answer_is_known_only_where_there_is_one() {
    let client = history().client();
    let any = [("if-none-match", "*")];
    for path in ["/api/v1/environments/prod", "/api/v1/environments", "/api/v1/entries/0", "/environments/prod"] {
        assert_eq!(client.get_with(path, &any).await.status, 304, "{path}");
    }
    for path in
        ["/api/v1/environments/nowhere", "/api/v1/artifacts/sha256:ab", "/api/v1/entries/77", "/environments/none"]
    {
        assert_eq!(client.get_with(path, &any).await.status, 404, "{path}");
    }
}
