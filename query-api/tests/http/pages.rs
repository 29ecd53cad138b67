//! Pages: complete without scripts, strict about what they load, and what events say stays text.

use pedigraph_proto::event::{
    ArtifactPackaged, ArtifactPublished, ChangeMerged, EnvironmentChanged, VexIssued, VexStatement, VexStatus,
};

use crate::world::{Answer, World, deployed, sent};

pub(crate) fn check_page(answer: &Answer) -> String {
    let text = answer.text();
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{text}");
    let csp = answer.header("content-security-policy").expect("a policy");
    assert!(
        csp.contains("default-src 'none'") && csp.contains("script-src 'self';") && !csp.contains("unsafe"),
        "{csp}"
    );
    for part in [
        "<!DOCTYPE html>",
        "<html lang=\"en\">",
        "href=\"#content\"",
        "<main id=\"content\">",
        "<label for=\"q\">",
        "<h1>",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let scripts = text.matches("<script").count();
    assert_eq!(text.matches("<script type=\"module\" src=\"/assets/").count(), scripts, "{text}");
    let hidden =
        |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}');
    assert!(!text.contains(hidden), "{text:?}");
    assert!(!text.contains("javascript:") && !text.contains(" style=") && !text.contains(" onclick"), "{text}");
    text
}

#[tokio::test]
async fn names_hide_nothing_on_pages_and_are_what_they_are_in_json() {
    let world = World::new();
    let (service, odd) = ("till\u{202e}dorp\n", "pro\u{200b}d\u{9b}31m");
    world.append(&[
        deployed("2026-01-02T00:00:00Z", odd, service, "1"),
        deployed("2026-01-03T00:00:00Z", odd, "שלום", "1"),
    ]);
    let client = world.client();
    let encoded = "pro%E2%80%8Bd%C2%9B31m";
    for path in ["/", "/environments", "/on-call", "/entries", "/entries/0", "/overview", "/search?q=%E2%80%AEnothing"]
    {
        check_page(&client.get(path).await);
    }
    let page = check_page(&client.get(&format!("/environments/{encoded}")).await);
    assert!(page.contains("<h1>pro[U+200B]d[U+009B]31m</h1>") && page.contains("till[U+202E]dorp[U+000A]"), "{page}");
    let whole = client.get(&format!("/environments/{encoded}/services/till%E2%80%AEdorp%0A")).await;
    check_page(&whole);
    let h1 = "<h1><bdi>till[U+202E]dorp[U+000A]</bdi> in <a";
    assert!(String::from_utf8_lossy(&whole.bytes).contains(h1), "a name stands by itself");
    let body = client.get(&format!("/api/v1/environments/{encoded}")).await.json();
    assert_eq!((&body["environment"], &body["services"][0]["service"]), (&odd.into(), &service.into()));
}

#[tokio::test]
async fn an_empty_server_says_how_to_begin() {
    let world = World::new();
    let text = check_page(&world.client().get("/").await);
    assert!(text.contains("Send a first event") && text.contains("the ledger is empty"), "{text}");
    let style = text.split("href=\"/assets/").nth(1).and_then(|rest| rest.split('"').next()).expect("a stylesheet");
    let style = world.client().get(&format!("/assets/{style}")).await;
    assert_eq!(style.header("content-type"), Some("text/css; charset=utf-8"));
    assert!(style.header("cache-control").is_some_and(|cache| cache.contains("immutable")));
    assert_eq!(world.client().get("/assets/other/style.css").await.problem(), (404, "NOT_FOUND".into()));
}

#[tokio::test]
async fn an_environment_is_a_page_and_markup_in_events_is_text() {
    let world = World::new();
    world.append(&[
        deployed("2026-01-01T00:00:00Z", "prod", "<script>alert(1)</script>", "1"),
        deployed("2026-01-02T00:00:00Z", "prod", "cart", "2"),
    ]);
    let client = world.client();
    let text = check_page(&client.get("/environments/prod").await);
    assert!(text.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && text.contains("example.org/cart:2"), "{text}");
    assert!(
        text.contains("as of index 1, 0 ms behind") && text.contains("href=\"/api/v1/environments/prod\""),
        "{text}"
    );
    assert!(text.contains("pedigraph env prod<"), "{text}");
    let then = check_page(&client.get("/environments/prod?at=2026-01-01T12:00:00Z&asOf=1").await);
    assert!(then.contains("pedigraph env prod --at 2026-01-01T12:00:00Z --as-of 1"), "{then}");
    assert!(check_page(&client.get("/").await).contains("/environments/prod"));
    assert!(check_page(&client.get("/freshness").await).contains("deployments"));
    let entry = check_page(&client.get("/entries/0").await);
    assert!(entry.contains("ServiceDeployed") && entry.contains("/api/v1/entries/0/body"), "{entry}");
}

#[tokio::test]
async fn a_browser_gets_problems_as_pages_and_a_machine_as_json() {
    let client = World::new().client();
    let browser = [("accept", "text/html,*/*")];
    let page = client.get_with("/environments/prod", &browser).await;
    assert_eq!(page.status, 404);
    assert!(check_page(&page).contains("ENVIRONMENT_NOT_FOUND"));
    assert_eq!(client.get("/environments/prod").await.problem(), (404, "ENVIRONMENT_NOT_FOUND".into()));
    assert_eq!(client.get_with("/api/v1/nowhere", &browser).await.problem(), (404, "NOT_FOUND".into()));
    let search = client.get("/search").await;
    assert_eq!((search.status.as_u16(), search.header("location")), (303, Some("/")));
}

fn digest(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

const COMMIT: &str = "5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed";
const MERGED: &str = "0ddba11f00d0ddba11f00d0ddba11f00d0ddba11";

/// Everything that the box takes, once; an environment and a run with names that need escapes.
fn everything() -> World {
    let world = World::new();
    let packaged = ArtifactPackaged {
        artifact_digest: digest("3"),
        artifact_ref: "example.org/till:7".into(),
        commit: COMMIT.into(),
        repository: "https://git.test/till".into(),
        run: "job/7?x=é#1".into(),
        ..ArtifactPackaged::default()
    };
    let published = ArtifactPublished {
        artifact_digest: digest("3"),
        artifact_ref: "example.org/till:7".into(),
        ..ArtifactPublished::default()
    };
    let merged =
        ChangeMerged { commit: MERGED.into(), repository: "https://git.test/till".into(), ..Default::default() };
    let statement = VexStatement {
        vulnerability: "CVE-2031-4711".into(),
        product: digest("3"),
        product_digests: vec![digest("3")],
        status: VexStatus::Affected.into(),
        ..VexStatement::default()
    };
    let vex = VexIssued { issuer: "us".into(), statements: vec![statement], ..VexIssued::default() };
    world.append(&[
        sent("2026-01-01T00:00:00Z", packaged),
        sent("2026-01-01T00:00:01Z", published),
        sent("2026-01-01T00:00:02Z", merged),
        sent("2026-01-01T00:00:03Z", vex),
        deployed("2026-01-02T00:00:00Z", "eu/blue #1%", "till", "7"),
    ]);
    world
}

/// Follows redirects; the last page and how many steps it took.
async fn followed(client: &crate::world::Client, path: &str) -> (String, Answer) {
    let mut path = path.to_owned();
    for _ in 0..3 {
        let answer = client.get(&path).await;
        match answer.header("location") {
            Some(next) if answer.status == 303 => path = next.to_owned(),
            _ => return (path, answer),
        }
    }
    panic!("{path} leads on and on");
}

#[tokio::test]
async fn the_box_ends_on_a_page_whatever_is_typed() {
    let client = everything().client();
    let check = async |typed: &str, path: &str, says: &str| {
        let query: String = typed.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let (ended, answer) = followed(&client, &format!("/search?q={query}")).await;
        let text = check_page(&answer);
        assert!(ended == path || (path.is_empty() && ended.starts_with("/search")), "{typed} ended at {ended}");
        assert!(answer.status == 200 && text.contains(says), "{typed}: {text}");
    };
    let artifact = format!("/artifacts/{}", digest("3"));
    check(&digest("3"), &artifact, "example.org/till:7").await;
    check("sha256:33333333", &artifact, "example.org/till:7").await;
    check("example.org/till:7", &artifact, "example.org/till:7").await;
    // An environment, and what runs alone in it.
    check("eu/blue #1%", "", "/environments/eu%2Fblue%20%231%25").await;
    check("till", "/environments/eu%2Fblue%20%231%25/services/till", "till in").await;
    check(MERGED, &format!("/commits/{MERGED}"), "pedigraph publish FILE").await;
    check(COMMIT, "", &format!("/commits/{COMMIT}")).await;
    check("job/7?x=é#1", "/runs/job%2F7%3Fx%3D%C3%A9%231", "example.org/till:7").await;
    check("cve-2031-4711", "/vulnerabilities/cve-2031-4711", "example.org/till:7").await;
    check("CVE-2031-1", "/vulnerabilities/CVE-2031-1", "pedigraph publish FILE").await;
    check("pkg:deb/debian/g++", "/components/impact?purl=pkg:deb%2Fdebian%2Fg%252B%252B", "pedigraph publish FILE")
        .await;
    check("no/such:thing", "", "was found by this name").await;
}

#[tokio::test]
async fn links_of_candidates_are_escaped_and_keep_the_moment() {
    let client = everything().client();
    let environment = followed(&client, "/environments/eu%2Fblue%20%231%25").await.1;
    assert!(check_page(&environment).contains("<h1>eu/blue #1%</h1>"), "{}", environment.text());
    let found = client.get("/api/v1/resolve?q=eu/blue%20%231%25").await.json();
    let hrefs: Vec<_> = found["candidates"].as_array().expect("a list").iter().map(|found| &found["href"]).collect();
    assert_eq!(hrefs[0], "/environments/eu%2Fblue%20%231%25", "{found}");
    let at = "at=2026-03-01T00:00:00Z";
    let only = client.get(&format!("/search?q=CVE-2031-4711&{at}")).await;
    assert_eq!(only.header("location"), Some(format!("/vulnerabilities/CVE-2031-4711?{at}").as_str()));
    let page = check_page(&client.get(&format!("/commits/{COMMIT}?{at}")).await);
    assert!(page.contains(&format!("/artifacts/{}?{at}", digest("3"))), "{page}");
    assert!(page.contains("--at 2026-03-01T00:00:00Z"), "{page}");
}

#[tokio::test]
async fn a_deleted_environment_says_when_by_whom_and_by_which_entry() {
    let world = World::new();
    let gone =
        |deleted: bool| EnvironmentChanged { environment: "pr-17".into(), deleted, ..EnvironmentChanged::default() };
    world.append(&[
        deployed("2026-01-02T00:00:00Z", "pr-17", "cart", "1"),
        sent("2026-01-03T00:00:00Z", gone(true)),
        sent("2026-01-05T00:00:00Z", gone(false)),
    ]);
    let client = world.client();
    for (path, is_deleted) in [
        ("/environments?at=2026-01-04T00:00:00Z", true),
        ("/environments/pr-17?at=2026-01-04T00:00:00Z", true),
        ("/environments?at=2026-01-02T00:00:00Z", false),
        ("/environments/pr-17", false),
    ] {
        let page = check_page(&client.get(path).await);
        let said = "<time datetime=\"2026-01-03T00:00:00Z\"";
        let told = page.split(said).nth(1).is_some_and(|rest| rest.contains(" by /test <a href=\"/entries/1\""));
        assert_eq!(told, is_deleted, "{path}: {page}");
    }
    let body = client.get("/api/v1/environments/pr-17?at=2026-01-04T00:00:00Z").await.json();
    assert_eq!((&body["deletion"]["source"], &body["deletion"]["at"]), (&"/test".into(), &body["deletedAt"]));
}
