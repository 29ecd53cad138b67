//! The button for an evidence pack: for who may make one, and nobody else; it leads to the pack.

use pedigraph_proto::event::ArtifactPublished;
use pedigraph_query_api::{Config, TokenScope, router};

use crate::access;
use crate::packs::{config, digest};
use crate::pages::check_page;
use crate::world::{Answer, Client, World, deployed, sent};

const BUTTON: &str = "<form class=\"tools\" action=\"/evidence-packs\" method=\"post\"";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn world() -> World {
    let world = World::new();
    let published = |at: &str, tag: &str| {
        let event = ArtifactPublished {
            artifact_digest: digest(tag),
            artifact_ref: format!("example.org/cart:{tag}"),
            ..ArtifactPublished::default()
        };
        sent(at, event)
    };
    world.append(&[
        published("2026-01-01T00:00:00Z", "1"),
        published("2026-01-02T00:00:00Z", "2"),
        deployed("2026-01-03T00:00:00Z", "prod", "cart", "2"),
    ]);
    world.publish_checkpoint();
    world
}

/// What the button of a page sends.
fn sent_by(page: &str) -> String {
    let form = page.split(BUTTON).nth(1).and_then(|rest| rest.split("</form>").next()).expect("a button");
    let fields = form.split("<input type=\"hidden\" name=\"artifact\" value=\"").skip(1);
    let fields = fields.map(|field| format!("artifact={}", field.split('"').next().unwrap_or_default()));
    fields.collect::<Vec<_>>().join("&").replace(':', "%3A")
}

async fn press(client: &Client, body: &str, more: &[(&str, &str)]) -> Answer {
    client.post("/evidence-packs", &[&[FORM, ("accept", "text/html")], more].concat(), body.to_owned()).await
}

#[tokio::test]
async fn the_button_leads_to_a_pack_that_can_be_fetched() {
    let world = world();
    let client = Client(router(config(&world)));
    for (path, artifacts) in [
        (format!("/artifacts/{}", digest("1")), 1),
        (format!("/compare?a={}&b={}", digest("1"), digest("2")), 2),
        ("/environments/prod/services/cart".to_owned(), 1),
    ] {
        let page = check_page(&client.get(&path).await);
        let body = sent_by(&page);
        assert_eq!(body.matches("artifact=").count(), artifacts, "{path}: {body}");
        let made = press(&client, &body, &[]).await;
        assert_eq!(made.status, 303, "{}", made.text());
        let page = check_page(&client.get(made.header("location").expect("an address")).await);
        assert!(page.contains("pedigraph verify evidence-pack.zip") && page.contains("Kept until"), "{page}");
        let link =
            page.split("href=\"/api/v1/exports/").nth(1).and_then(|rest| rest.split('"').next()).expect("a link");
        let pack = client.get(&format!("/api/v1/exports/{link}")).await;
        assert_eq!((pack.status.as_u16(), pack.header("content-type")), (200, Some("application/zip")));
        assert!(page.contains(&format!("({} bytes)", pack.bytes.len())), "{page}");
    }
    let page = check_page(&client.get("/environments/prod?at=2026-01-04T00:00:00Z").await);
    for part in
        ["name=\"environment\" value=\"prod\"", "name=\"at\" value=\"2026-01-04T00:00:00Z\"", "Make an evidence pack"]
    {
        assert!(page.contains(part), "{part} in {page}");
    }
    let made = press(&client, "environment=prod&at=2026-01-04T00%3A00%3A00Z", &[]).await;
    assert_eq!(made.status, 303, "{}", made.text());
    let twice = [digest("1"), digest("2")].map(|digest| format!("artifact={digest}")).join("&");
    assert_eq!(press(&client, &twice, &[]).await.status, 303);
    for (body, status) in [("", 400), ("artifact=", 400), ("%ff", 400), ("artifact=sha256:none", 404)] {
        let refused = press(&client, body, &[]).await;
        assert_eq!(refused.status.as_u16(), status, "{body}");
        check_page(&refused);
    }
    let long = format!("artifact={}", "x".repeat(70_000));
    assert_eq!(press(&client, &long, &[]).await.status, 413);
    let gone = client.get_with(&format!("/evidence-packs/{}", digest("9")), &[("accept", "text/html")]).await;
    assert!(gone.status == 404 && check_page(&gone).contains("make it again"));
}

#[tokio::test]
async fn who_may_not_make_one_has_no_button_and_other_sites_press_none() {
    let world = world();
    let reads = [TokenScope::LineageRead];
    let both = [TokenScope::LineageRead, TokenScope::LineageExport];
    let config: Config = access::config(&world, &[("reader", "default", &reads), ("maker", "default", &both)]);
    pedigraph_query_api::pack::spool::prepare(&config.packs_dir).expect("a directory");
    let client = Client(router(config));
    let path = format!("/artifacts/{}", digest("1"));
    let mut tags = Vec::new();
    for (token, has_button) in [("reader", false), ("maker", true)] {
        let page = client.get_with(&path, &[("authorization", &format!("Bearer {token}"))]).await;
        assert_eq!(check_page(&page).contains(BUTTON), has_button, "{token}");
        tags.push(page.header("etag").expect("a tag").to_owned());
    }
    assert_ne!(tags[0], tags[1], "no browser keeps the page of one for the other");
    let body = format!("artifact={}", digest("1"));
    let signed_in = async |token: &str| {
        let answer = client.post("/sign-in", &[FORM], format!("token={token}")).await;
        answer.header("set-cookie").unwrap_or_default().split(';').next().unwrap_or_default().to_owned()
    };
    let (reader, maker) = (signed_in("reader").await, signed_in("maker").await);
    let ours = ("origin", "http://localhost");
    assert_eq!(press(&client, &body, &[("cookie", &reader), ours]).await.status, 403);
    assert_eq!(press(&client, &body, &[("cookie", &maker)]).await.status, 403, "nobody says whose page it was");
    let foreign = ("origin", "https://evil.test");
    assert_eq!(press(&client, &body, &[("cookie", &maker), foreign]).await.status, 403);
    assert_eq!(press(&client, &body, &[ours]).await.status, 401);
    // Without the ledger's key on this node the pack is unsigned, and is made all the same.
    assert_eq!(press(&client, &body, &[("cookie", &maker), ours]).await.status, 303);
}
