//! Pages: complete without scripts, strict about what they load, and what events say stays text.

use crate::world::{Answer, World, deployed};

fn check_page(answer: &Answer) -> String {
    let text = answer.text();
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{text}");
    let csp = answer.header("content-security-policy").expect("a policy");
    assert!(csp.contains("default-src 'none'") && !csp.contains("script-src") && !csp.contains("unsafe"), "{csp}");
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
    assert!(!text.contains("<script") && !text.contains(" style=") && !text.contains(" onclick"), "{text}");
    text
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
    assert_eq!(world.client().get("/assets/other.css").await.problem(), (404, "NOT_FOUND".into()));
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
    assert!(text.contains("pedigraph env prod"), "{text}");
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
