//! Pages over much at once: the ledger, who is on call, and the overview; each says what it leaves out.

use pedigraph_proto::event::{ArtifactPublished, MessageRejected, ServiceDeployed, VexIssued, VexStatement, VexStatus};
use pedigraph_proto::wire::Status;

use crate::pages::check_page;
use crate::world::{Sent, World, deployed, recorded, sent};

fn digest(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

fn rejected(at: &str, code: &str) -> Sent {
    let event = MessageRejected { code: code.into(), reason: "<b>bad</b>".into(), ..MessageRejected::default() };
    Sent { status: Status::Rejected, ..sent(at, event) }
}

/// Addresses of entries on a page, in its order.
fn entries_of(page: &str) -> Vec<u64> {
    let links = page.split("<th scope=\"row\"><a href=\"/entries/").skip(1);
    links.filter_map(|rest| rest.split('"').next()?.parse().ok()).collect()
}

/// The address of the next page.
fn next_of(page: &str) -> Option<String> {
    let link = page.split("rel=\"next\"").next()?.rsplit("<a href=\"").next()?;
    page.contains("rel=\"next\"").then(|| link.split('"').next().unwrap_or_default().replace("&amp;", "&"))
}

#[tokio::test]
async fn the_ledger_is_read_back_from_its_newest_entry() {
    let world = World::new();
    let day = |day: u32| deployed(&format!("2026-01-{day:02}T00:00:00Z"), "prod", "cart", &day.to_string());
    world.append(&[
        day(1),
        rejected("2026-01-02T00:00:00Z", "TOO_DEEP"),
        day(3),
        day(4),
        rejected("2026-01-05T00:00:00Z", "TOO_LARGE"),
    ]);
    let client = world.client();
    let page = check_page(&client.get("/entries").await);
    assert_eq!(entries_of(&page), [4, 3, 2, 1, 0]);
    assert!(page.contains("data-live=\"entries\""), "{page}");
    let page = check_page(&client.get("/entries?status=rejected").await);
    assert_eq!(entries_of(&page), [4, 1]);
    assert!(
        page.contains("TOO_DEEP") && page.contains("&lt;b&gt;bad") && page.contains("pedigraph rejects replay 4"),
        "{page}"
    );
    assert_eq!(
        entries_of(&check_page(&client.get("/entries?type=ServiceDeployed&at=2026-01-03T00:00:00Z").await)),
        [2, 0]
    );
    let (mut seen, mut address) = (vec![], "/entries?pageSize=2".to_owned());
    loop {
        let page = check_page(&client.get(&address).await);
        seen.extend(entries_of(&page));
        assert_eq!(page.contains("data-live"), !address.contains("pageToken"), "{address}");
        world.append(&[day(6 + u32::try_from(seen.len()).expect("few"))]);
        match next_of(&page) {
            Some(next) => address = next,
            None => break,
        }
    }
    assert_eq!(seen, [4, 3, 2, 1, 0], "what comes in meanwhile moves nothing");
    for odd in ["status=duplicate", "subject=no-such-thing", "subject=%3Cscript%3E"] {
        let page = check_page(&client.get(&format!("/entries?{odd}")).await);
        assert!(page.contains("role=\"alert\"") && entries_of(&page).is_empty() && !page.contains("<script>"), "{odd}");
    }
}

#[tokio::test]
async fn a_subject_may_be_named_as_elsewhere() {
    let world = World::new();
    let published = |digit: &str, tag: &str| ArtifactPublished {
        artifact_digest: digest(digit),
        artifact_ref: format!("example.org/cart:{tag}"),
        ..ArtifactPublished::default()
    };
    let first = sent("2026-01-01T00:00:00Z", published("1", "1"));
    world.append(&[first, sent("2026-01-02T00:00:00Z", published("2", "2"))]);
    let client = world.client();
    let named = check_page(&client.get("/entries?subject=example.org/cart:1").await);
    let by_digest = check_page(&client.get(&format!("/entries?subject={}", digest("1"))).await);
    assert_eq!(entries_of(&named), entries_of(&by_digest));
    assert!(named.contains(&format!("/api/v1/entries?subject={}", digest("1"))), "{named}");
}

#[tokio::test]
async fn an_entry_shows_its_facts_and_the_way_to_the_root() {
    let world = World::new();
    let days = (1..=5).map(|day| deployed(&format!("2026-01-{day:02}T00:00:00Z"), "prod", "cart", &day.to_string()));
    world.append(&days.collect::<Vec<_>>());
    let client = world.client();
    assert!(check_page(&client.get("/entries/4").await).contains("No checkpoint covers this entry yet"));
    world.publish_checkpoint();
    let page = check_page(&client.get("/entries/4").await);
    assert!(page.contains("&quot;environment&quot;: &quot;prod&quot;") && !page.contains("configDigest"), "{page}");
    let proof = client.get("/api/v1/entries/4/proof").await.text();
    let checkpoint: Vec<&str> = proof.split("\n\n").nth(1).expect("a checkpoint").lines().collect();
    assert_eq!(
        (checkpoint[1], page.matches("data-step=").count()),
        ("5", proof.lines().position(str::is_empty).expect("a line") - 2)
    );
    assert!(page.contains("id=\"way\" data-index=\"4\" data-tenant=\"default\""), "{page}");
}

#[tokio::test]
async fn who_is_on_call_sees_the_last_day_of_every_environment() {
    let world = World::new();
    world.append(&[
        deployed("2026-01-01T00:00:00Z", "prod", "cart", "1"),
        deployed("2026-01-02T10:00:00Z", "prod", "cart", "2"),
        deployed("2026-01-02T11:00:00Z", "test", "cart", "3"),
        deployed("2026-01-02T12:00:00Z", "eu/blue", "till", "4"),
    ]);
    let mut config = world.config();
    config.clock = recorded;
    let client = crate::world::Client(pedigraph_query_api::router(config));
    let quiet = check_page(&client.get("/on-call").await);
    assert!(quiet.contains("Nothing changed in these 24 hours") && quiet.contains(">3 environments</a>"), "{quiet}");
    let then = check_page(&client.get("/on-call?at=2026-01-02T11:30:00Z").await);
    let at = |text: &str| then.find(text).unwrap_or_else(|| panic!("{text} in {then}"));
    assert!(at("example.org/cart:3") < at("example.org/cart:2"), "newest first");
    assert!(!then.contains("cart:1<") || then.contains("cart:1</a></td>"), "{then}");
    assert!(!then.contains("till") && !then.contains("data-live"), "{then}");
    let few = check_page(&client.get("/on-call?at=2026-01-03T00:00:00Z&pageSize=1").await);
    assert!(few.contains("till") && !few.contains("cart:2"), "{few}");
    let next = next_of(&few).expect("further environments");
    assert!(check_page(&client.get(&next).await).contains("example.org/cart:2"), "{next}");
}

#[tokio::test]
async fn what_ran_at_a_moment_is_asked_with_a_form() {
    let world = World::new();
    world.append(&[deployed("2026-01-01T00:00:00Z", "eu/blue", "cart", "1")]);
    let mut config = world.config();
    config.clock = recorded;
    let client = crate::world::Client(pedigraph_query_api::router(config));
    let to = async |query: &str| client.get(&format!("/on-call?{query}")).await.header("location").map(str::to_owned);
    let wanted = "/environments/eu%2Fblue?at=2026-12-31T22:00:00Z";
    assert_eq!(to("environment=eu%2Fblue&moment=2h").await.as_deref(), Some(wanted));
    assert_eq!(to("environment=+eu%2Fblue+&moment=2026-12-31T22:00Z").await.as_deref(), Some(wanted));
    for odd in ["environment=prod&moment=soon", "environment=prod", "moment=2h"] {
        let page = check_page(&client.get(&format!("/on-call?{odd}")).await);
        assert!(page.contains("role=\"alert\""), "{odd}");
    }
}

fn affected(product: &str) -> VexIssued {
    let statement = VexStatement {
        vulnerability: "CVE-2031-4711".into(),
        product: product.into(),
        product_digests: vec![product.into()],
        status: VexStatus::Affected.into(),
        ..VexStatement::default()
    };
    VexIssued { issuer: "us".into(), statements: vec![statement], ..VexIssued::default() }
}

#[tokio::test]
async fn the_overview_counts_what_runs_in_production_and_lists_what_is_missing() {
    let world = World::new();
    let client = world.client();
    assert!(check_page(&client.get("/overview").await).contains("No environment is named as one of production"));
    let published = ArtifactPublished {
        artifact_digest: digest("1"),
        artifact_ref: "example.org/cart:1".into(),
        ..ArtifactPublished::default()
    };
    world.append(&[
        sent("2026-01-01T00:00:00Z", published),
        sent("2026-01-01T00:00:01Z", affected(&digest("1"))),
        deployed("2026-01-02T00:00:00Z", "eu-prod", "cart", "1"),
        deployed("2026-01-02T00:00:00Z", "eu-prod", "till", "1"),
        deployed("2026-01-02T00:00:00Z", "staging", "lab", "1"),
    ]);
    let page = check_page(&client.get("/overview").await);
    for said in [
        "Of all 2 things that run",
        "0 of 2 (0 %)",
        "its digest is not known",
        "CVE-2031-4711",
        "Nobody looked into 2 of 2 things",
        "no SBOM describes all of it",
    ] {
        assert!(page.contains(said), "{said} in {page}");
    }
    assert!(!page.contains(">lab<"), "{page}");
    let first = check_page(&client.get("/overview?environment=eu-prod&pageSize=1").await);
    assert!(first.contains("Of 1 of the things") && !first.contains("till"), "{first}");
    let second = check_page(&client.get(&next_of(&first).expect("a next page")).await);
    assert!(second.contains("till"), "{second}");
    let cut = check_page(&client.get("/overview?pageSize=1").await);
    assert!(cut.contains("More runs in: <a href=\"/overview?environment=eu-prod\""), "{cut}");
    let unknown = client.get("/overview?environment=none").await;
    assert_eq!(unknown.problem(), (404, "ENVIRONMENT_NOT_FOUND".into()));
}

#[tokio::test]
async fn what_is_open_is_counted_though_only_cleared_verdicts_are_listed() {
    let world = World::new();
    let statement = |n: usize| VexStatement {
        vulnerability: format!("CVE-2031-{n:04}"),
        product: digest("1"),
        product_digests: vec![digest("1")],
        status: if n < 40 { VexStatus::Fixed } else { VexStatus::Affected }.into(),
        ..VexStatement::default()
    };
    let said = VexIssued { issuer: "us".into(), statements: (0..43).map(statement).collect(), ..VexIssued::default() };
    let runs = ServiceDeployed {
        environment: "prod".into(),
        service: "cart".into(),
        artifact_digest: digest("1"),
        ..ServiceDeployed::default()
    };
    world.append(&[sent("2026-01-01T00:00:01Z", said), sent("2026-01-02T00:00:00Z", runs)]);
    let page = check_page(&world.client().get("/overview").await);
    assert!(page.contains("3 more</a>") && !page.contains("Nobody says of any of these"), "{page}");
    assert!(page.contains("The severity of 3 more was not looked into"), "{page}");
}
