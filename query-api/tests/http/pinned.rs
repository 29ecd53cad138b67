//! Each page has an address of its answer: it shows the same, whatever comes in later and however late it is opened.

use crate::pages::check_page;
use crate::world::{World, deployed};

/// The address of the answer on a page.
fn pinned(page: &str) -> Option<String> {
    let link = page.split("\" rel=\"bookmark\"").next().filter(|before| before.len() < page.len())?;
    Some(link.rsplit('"').next().unwrap_or_default().replace("&amp;", "&"))
}

/// What a page says, without what says of which moment it is.
fn content(page: &str) -> String {
    let main = page.split("<main id=\"content\">").nth(1).and_then(|rest| rest.split("</main>").next()).expect("main");
    let words = main.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
    let text: Vec<&str> = words.flat_map(str::split_whitespace).collect();
    text.join(" ")
}

fn world() -> World {
    let world = World::new();
    let day =
        |day: u32, service: &str, tag: &str| deployed(&format!("2026-01-{day:02}T00:00:00Z"), "prod", service, tag);
    world.append(&[day(1, "cart", "1"), day(2, "till", "1"), day(3, "cart", "2"), day(4, "desk", "1")]);
    world
}

#[tokio::test]
async fn what_comes_in_later_does_not_change_the_answer() {
    let world = world();
    let client = world.client();
    let mut known = Vec::new();
    for path in [
        "/environments/prod",
        "/environments",
        "/environments/prod?at=2026-01-02T12:00:00Z",
        "/entries?pageSize=2",
        "/entries?type=ServiceDeployed&pageSize=1",
        "/search?q=car+t",
    ] {
        let page = check_page(&client.get(path).await);
        known.push((path, content(&page), pinned(&page).expect("an address")));
    }
    world.append(&[
        deployed("2026-01-01T12:00:00Z", "prod", "cart", "3"),
        deployed("2026-02-01T00:00:00Z", "new", "x", "1"),
    ]);
    for (path, said, address) in known {
        assert!(address.contains("asOf=3"), "{address}");
        let page = check_page(&client.get(&address).await);
        // A form has further fields, and a page of a fixed moment is not kept up to date.
        assert_eq!(content(&page), said, "{path} by {address}");
        assert_eq!(pinned(&page).as_ref(), Some(&address), "the address of the same answer");
        let now = content(&check_page(&client.get(path).await));
        assert!(path.starts_with("/search") || now != said, "{path} did not change: what is shown here shows nothing");
    }
}

#[tokio::test]
async fn the_address_of_a_further_page_leads_to_that_page() {
    let client = world().client();
    for path in ["/entries?pageSize=2", "/environments/prod?pageSize=1&at=1m", "/environments?pageSize=1"] {
        let mut address = path.to_owned();
        for turn in 0..5 {
            let page = check_page(&client.get(&address).await);
            let same = check_page(&client.get(&pinned(&page).expect("an address")).await);
            assert_eq!(content(&same), content(&page), "{address}");
            let next = page.split(" rel=\"next\"").next().filter(|before| before.len() < page.len());
            let Some(next) = next.and_then(|before| before.rsplit("href=\"").next()) else { break };
            address = next.trim_end_matches('"').replace("&amp;", "&");
            assert!(turn < 4, "{path} goes on and on");
        }
    }
}

#[tokio::test]
async fn ages_are_moments_in_the_address() {
    let client = world().client();
    for path in [
        "/environments/prod?at=2h",
        "/on-call",
        "/artifacts/prod@%7B1h%7D%2Fcart",
        "/compare?a=prod@%7B2h%7D/cart&b=prod/till",
    ] {
        let page = client.get_with(path, &[("accept", "text/html")]).await.text();
        let Some(address) = pinned(&page) else {
            assert!(page.contains("status 4"), "{path} has no address");
            continue;
        };
        assert!(!address.contains("%7B2h") && !address.contains("%7B1h") && !address.contains("at=2h"), "{address}");
        assert!(!path.starts_with("/on-call") || address.contains("at=20"), "what happened until when: {address}");
    }
    assert_eq!(pinned(&check_page(&client.get("/freshness").await)), None, "how the server is, is no answer");
    assert_eq!(pinned(&check_page(&World::new().client().get("/").await)), None, "there is nothing yet");
}

#[tokio::test]
async fn commands_have_a_button() {
    let page = check_page(&world().client().get("/environments/prod").await);
    let shown =
        "<code>pedigraph env prod</code> <button class=\"plain copy\" type=\"button\" aria-label=\"Copy the command\">";
    assert!(page.contains(shown), "{page}");
}
