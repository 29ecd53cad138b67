//! Answers travel compressed where that is worth it and tells nobody anything.

use std::io::Read as _;

use crate::world::{Answer, Client, World, deployed};

const GZIP: (&str, &str) = ("accept-encoding", "gzip, br");

fn world() -> World {
    let world = World::new();
    let one = |n: u32| deployed(&format!("2026-01-01T00:{n:02}:00Z"), "prod", &format!("service-{n}"), "1");
    world.append(&(0..40).map(one).collect::<Vec<_>>());
    world
}

fn is_compressed(answer: &Answer) -> bool {
    assert!(matches!(answer.header("content-encoding"), None | Some("gzip")));
    answer.header("content-encoding").is_some()
}

async fn unpacked(client: &Client, path: &str) -> (usize, Vec<u8>) {
    let answer = client.get_with(path, &[GZIP]).await;
    assert!(is_compressed(&answer), "{path}");
    assert!(answer.header("vary").is_some_and(|vary| vary.contains("accept-encoding")), "{path}");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&*answer.bytes).read_to_end(&mut bytes).expect("gzip");
    (answer.bytes.len(), bytes)
}

#[tokio::test]
async fn text_is_compressed_where_that_is_asked_for_and_worth_it() {
    let client = world().client();
    let style = client.get("/").await.text();
    let style = style.split("href=\"/assets/").nth(1).and_then(|rest| rest.split('"').next()).expect("a stylesheet");
    let style = format!("/assets/{style}");
    for path in ["/environments/prod", "/api/v1/environments/prod", "/openapi.json", &style, "/entries?q=secret"] {
        let plain = client.get(path).await;
        assert!(!is_compressed(&plain), "{path}");
        let (packed, bytes) = unpacked(&client, path).await;
        assert!(bytes == plain.bytes, "{path}: other bytes");
        assert!(packed * 2 < bytes.len(), "{path}: {packed} of {}", bytes.len());
        let etag = plain.header("etag");
        assert!(etag.is_none_or(|etag| etag.starts_with("W/")), "{path}: both have one tag, so it is a weak one");
    }
    let known = client.get("/api/v1/environments/prod").await;
    let etag = known.header("etag").expect("a tag").to_owned();
    let again = client.get_with("/api/v1/environments/prod", &[GZIP, ("if-none-match", &etag)]).await;
    assert_eq!((again.status.as_u16(), again.bytes.len(), is_compressed(&again)), (304, 0, false));
}

#[tokio::test]
async fn the_rest_is_not() {
    let world = world();
    world.publish_checkpoint();
    let client = world.client();
    for path in [
        "/api/v1/entries/0",
        "/api/v1/entries/0/body",
        "/livez",
        "/metrics",
        "/ledger/default/checkpoint",
        "/ledger/default/tile/0/000.p/40",
        "/sign-in?next=/entries",
        "/account",
        "/environments/nowhere",
    ] {
        let answer = client.get_with(path, &[GZIP, ("accept", "text/html")]).await;
        assert!(!is_compressed(&answer), "{path}: {}", answer.status);
    }
    let stream = client.open("GET", "/api/v1/subscribe", &[GZIP], axum::body::Body::empty()).await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert!(!stream.headers().contains_key("content-encoding"));
    for (site, compressed) in [("cross-site", false), ("same-site", false), ("same-origin", true), ("none", true)] {
        let answer = client.get_with("/environments/prod", &[GZIP, ("sec-fetch-site", site)]).await;
        assert_eq!(is_compressed(&answer), compressed, "{site}");
    }
}
