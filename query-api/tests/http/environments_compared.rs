//! Two environments side by side, and one at two moments: as JSON and as a page.

use crate::pages::check_page;
use crate::world::{World, deployed};

fn world() -> World {
    let world = World::new();
    let day = |day: u32, environment: &str, service: &str, tag: &str| {
        deployed(&format!("2026-01-{day:02}T00:00:00Z"), environment, service, tag)
    };
    world.append(&[
        day(1, "prod", "cart", "1"),
        day(1, "prod", "till", "1"),
        day(1, "prod", "desk", "1"),
        day(2, "staging", "cart", "1"),
        day(2, "staging", "till", "2"),
        day(3, "staging", "<b>new", "1"),
        day(4, "prod", "cart", "2"),
    ]);
    world
}

#[tokio::test]
async fn services_are_merged_page_by_page_and_counted() {
    let client = world().client();
    let answer = client.get("/api/v1/environments/prod/diff?with=staging").await.json();
    let states: Vec<(&str, &str)> = answer["services"]
        .as_array()
        .expect("services")
        .iter()
        .map(|row| (row["service"].as_str().unwrap_or_default(), row["state"].as_str().unwrap_or_default()))
        .collect();
    let all = [("<b>new", "onlyTo"), ("cart", "different"), ("desk", "onlyFrom"), ("till", "different")];
    assert_eq!(states, all);
    assert_eq!(answer["counts"], serde_json::json!({"same": 0, "different": 2, "onlyFrom": 1, "onlyTo": 1}));
    assert_eq!((&answer["atLeast"], answer.get("nextPageToken")), (&false.into(), None));
    assert_eq!(answer["from"], serde_json::json!({"environment": "prod"}));
    let (mut token, mut services) = (String::new(), 0);
    for page in 0..4 {
        let path = format!("/api/v1/environments/prod/diff?with=staging&pageSize=1&pageToken={token}");
        let answer = client.get(&path).await.json();
        services += answer["services"].as_array().map_or(0, Vec::len);
        assert_eq!(answer["atLeast"], page < 3, "{answer}");
        token = answer["nextPageToken"].as_str().unwrap_or_default().to_owned();
        assert_eq!(token.is_empty(), page == 3, "{answer}");
        let counts = answer["counts"].as_object().expect("counts").values().filter_map(serde_json::Value::as_u64);
        assert_eq!(counts.sum::<u64>(), page + 1, "of all up to here");
    }
    assert_eq!(services, 4);
}

#[tokio::test]
async fn one_environment_is_compared_with_itself_at_another_moment() {
    let client = world().client();
    let path = "/api/v1/environments/prod/diff?from=2026-01-02T00:00:00Z&onlyChanges=true";
    let answer = client.get(path).await.json();
    assert_eq!(answer["counts"], serde_json::json!({"same": 2, "different": 1, "onlyFrom": 0, "onlyTo": 0}));
    assert_eq!(answer["services"][0]["service"], "cart");
    assert_eq!(answer["services"].as_array().map(Vec::len), Some(1));
    assert_eq!(answer["from"], serde_json::json!({"environment": "prod", "at": "2026-01-02T00:00:00Z"}));
    let later = client.get(
        "/api/v1/environments/prod/diff?from=2026-01-02T00:00:00Z&to=2026-01-05T00:00:00Z&at=2026-01-03T00:00:00Z",
    );
    let later = later.await.json();
    assert_eq!(later["counts"]["same"], 3, "what happened after the question's moment is not seen: {later}");
    assert_eq!(later["to"]["at"], "2026-01-03T00:00:00Z");
    for (path, problem) in [
        ("/api/v1/environments/prod/diff", (400, "INVALID_PARAMETER")),
        ("/api/v1/environments/prod/diff?with=prod", (400, "INVALID_PARAMETER")),
        ("/api/v1/environments/prod/diff?from=soon", (400, "INVALID_PARAMETER")),
        ("/api/v1/environments/prod/diff?with=nowhere", (404, "ENVIRONMENT_NOT_FOUND")),
        ("/api/v1/environments/nowhere/diff?with=prod", (404, "ENVIRONMENT_NOT_FOUND")),
        ("/api/v1/environments/prod/diff?from=2025-01-01T00:00:00Z", (404, "ENVIRONMENT_NOT_FOUND")),
    ] {
        assert_eq!(client.get(path).await.problem(), (problem.0, problem.1.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn the_page_says_what_is_where_and_leads_on() {
    let client = world().client();
    let page = check_page(&client.get("/compare?a=prod&b=staging").await);
    for part in [
        "<strong>2 different</strong>, 1 only in A, 1 only in B, 0 the same",
        "&lt;b&gt;new",
        "href=\"/compare?a=example.org%2Fcart:2&amp;b=example.org%2Fcart:1\"",
        "href=\"/compare?a=staging&amp;b=prod&amp;tab=components\">Swap A and B",
        "href=\"/compare?a=prod&amp;b=staging&amp;tab=components&amp;only=true\">Only changes",
        "href=\"/api/v1/environments/prod/diff?with=staging\">JSON",
        "<code>pedigraph env prod --with staging</code>",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    let page = check_page(&client.get("/compare?a=prod@%7B2026-01-02T00:00:00Z%7D&b=prod&only=true").await);
    assert!(
        page.contains("1 different</strong>, 0 only in A, 0 only in B, 2 the same") && !page.contains(">till<"),
        "{page}"
    );
    assert!(page.contains("pedigraph env prod --with prod --from 2026-01-02T00:00:00Z --only-changes"), "{page}");
    let first = check_page(&client.get("/compare?a=prod&b=staging&pageSize=2").await);
    assert!(first.contains("at least 1 different") && first.contains("rel=\"next\""), "{first}");
    let nothing = check_page(&client.get("/compare?a=prod@%7B2026-01-05T00:00:00Z%7D&b=prod&only=true").await);
    assert!(nothing.contains("Nothing is different."), "{nothing}");
    for (path, says) in [
        ("/compare?a=prod", "the environment staging"),
        ("/compare?b=prod", "how it was a day ago"),
        ("/compare?a=prod&b=prod", "one environment at one moment"),
        ("/compare?a=prod@%7B2025-01-01T00:00:00Z%7D&b=prod", "nothing had happened"),
        ("/compare?a=prod&b=prod/cart~1", "is no whole reference"),
        ("/compare?a=prod&b=stagging", "nothing that was recorded names &quot;stagging&quot;"),
        ("/environments/prod", "how it was a day ago"),
        (
            "/environments/prod?at=2026-01-02T00:00:00Z",
            "/compare?a=prod@%7B2026-01-02T00:00:00Z%7D&amp;b=prod\">how it is now",
        ),
    ] {
        let page = check_page(&client.get(path).await);
        assert!(page.contains(says), "{says} at {path}: {page}");
    }
}
