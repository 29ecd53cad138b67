//! Pages about versions: a line with its lanes, cards, comparisons, deltas, moments, and tables for spreadsheets.

use pedigraph_proto::event::{
    ArtifactPackaged, ArtifactPublished, CanaryChanged, ServiceDeployed, VexIssued, VexStatement, VexStatus,
};

use crate::pages::check_page;
use crate::world::{Client, Sent, World, sent};

const HOSTILE: &str = "<script>alert(1)</script>";

/// The digest of the n-th version.
fn digest(n: u64) -> String {
    format!("sha256:{n:064x}")
}

fn published(n: u64, repository: &str, tag: &str) -> Sent {
    let event = ArtifactPublished {
        artifact_digest: digest(n),
        artifact_ref: format!("{repository}:{tag}"),
        ..ArtifactPublished::default()
    };
    sent(&format!("2026-01-01T{:02}:{:02}:00Z", n / 60, n % 60), event)
}

/// So many versions, each the parent of the next.
fn line(count: u64) -> World {
    let world = World::new();
    let events: Vec<Sent> = (0..count).map(|n| published(n, "example.org/cart", &format!("1.{n}.0"))).collect();
    world.append(&events);
    world
}

async fn page(client: &Client, path: &str) -> String {
    let answer = client.get(path).await;
    let text = check_page(&answer);
    assert_eq!(answer.status, 200, "{path}: {text}");
    text
}

/// The digests of the rows of a list, in their order.
fn rows(text: &str) -> Vec<&str> {
    text.split("<li id=\"v-").skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[tokio::test]
async fn an_artifact_shows_its_line_newest_first_with_lanes_and_badges() {
    let world = line(3);
    let client = world.client();
    let text = page(&client, &format!("/artifacts/{}", digest(1))).await;
    assert_eq!(rows(&text), [digest(2), digest(1), digest(0)]);
    assert_eq!(text.matches("aria-current=\"true\" data-parents").count(), 1, "{text}");
    assert!(text.contains(&format!("data-parents=\"{}\"", digest(0))), "{text}");
    assert!(text.matches("<svg class=\"lane\"").count() >= 3 && text.contains("no SBOM"), "{text}");
    let compare = format!("/compare?a={}&amp;b={}", digest(0), digest(1));
    assert!(text.contains(&compare) && text.contains("id=\"edges\""), "{text}");
}

#[tokio::test]
async fn a_long_line_is_read_in_parts_until_its_first_version() {
    let world = line(260);
    let client = world.client();
    let (mut seen, mut path) = (Vec::new(), format!("/artifacts/{}/lanes?direction=up", digest(259)));
    for _ in 0..9 {
        let text = page(&client, &path).await;
        let shown = rows(&text);
        // The first row is the last of the part before.
        seen.extend(shown.iter().skip(usize::from(!seen.is_empty())).map(|row| (*row).to_owned()));
        let next = text.split("<p class=\"older\"><a href=\"").nth(1).and_then(|rest| rest.split('"').next());
        let Some(next) = next else {
            assert!(text.contains("No older version is known"), "{text}");
            break;
        };
        assert!(text.contains("Older versions"), "the row says it too");
        path = next.replace("&amp;", "&");
    }
    let want: Vec<String> = (0..260).rev().map(digest).collect();
    assert_eq!(seen, want);
    let around = page(&client, &format!("/artifacts/{}/lanes", digest(130))).await;
    assert_eq!(rows(&around).len(), 101);
    assert!(around.contains("direction=up") && around.contains("pedigraph lanes"), "{around}");
    let refused = client.get(&format!("/artifacts/{}/lanes?direction=down", digest(1))).await;
    assert_eq!(refused.problem(), (400, "INVALID_PARAMETER".into()));
}

#[tokio::test]
async fn what_is_wide_is_shown_in_part_and_the_rest_is_a_link() {
    let world = World::new();
    let child = |n: u64| {
        let event = ArtifactPackaged {
            artifact_digest: digest(n),
            artifact_ref: format!("example.org/cart:1.{n}.0"),
            parent_digests: vec![digest(0)],
            ..ArtifactPackaged::default()
        };
        sent(&format!("2026-01-01T{:02}:{:02}:00Z", n / 60, n % 60), event)
    };
    let mut events = vec![published(0, "example.org/cart", "1.0.0")];
    events.extend((1..120).map(child));
    world.append(&events);
    let text = page(&world.client(), &format!("/artifacts/{}", digest(0))).await;
    let shown = rows(&text);
    assert!(shown.len() == 50 && shown.contains(&digest(0).as_str()), "{} rows", shown.len());
    assert!(text.contains(">70 more</a>"), "{text}");
    assert!(text.contains("Children</dt>") && text.contains("116 more"), "{text}");
}

#[tokio::test]
async fn bases_and_builds_are_stubs_and_words_and_markup_is_text() {
    let world = World::new();
    let event = ArtifactPackaged {
        artifact_digest: digest(2),
        artifact_ref: "example.org/cart:2.0.0".into(),
        base_digest: digest(1),
        base_ref: "example.org/base:1".into(),
        run: HOSTILE.into(),
        ..ArtifactPackaged::default()
    };
    world.append(&[published(1, "example.org/base", "1"), sent("2026-01-02T00:00:00Z", event)]);
    let client = world.client();
    let text = page(&client, &format!("/artifacts/{}", digest(2))).await;
    assert_eq!(rows(&text), [digest(2)], "bases are no versions of its line");
    assert!(text.contains("<path class=\"base\" d=\"M") && text.contains("<dt>Base</dt>"), "{text}");
    let base = page(&client, &format!("/artifacts/{}", digest(1))).await;
    assert!(base.contains("<dt>Base of</dt>"), "{base}");
    for path in ["card", "lanes"] {
        page(&client, &format!("/artifacts/{}/{path}", digest(2))).await;
    }
}

#[tokio::test]
async fn rows_that_belong_together_are_joined_by_rails() {
    let world = World::new();
    let packaged = |n: u64, base: Option<u64>, run: &str| {
        let event = ArtifactPackaged {
            artifact_digest: digest(n),
            artifact_ref: format!("example.org/cart:1.{n}.0"),
            base_digest: base.map(digest).unwrap_or_default(),
            run: run.into(),
            ..ArtifactPackaged::default()
        };
        sent(&format!("2026-01-01T00:{n:02}:00Z"), event)
    };
    world.append(&[
        packaged(1, None, "one"),
        packaged(2, None, "two"),
        packaged(3, Some(1), "three"),
        packaged(4, None, "two"),
    ]);
    let text = page(&world.client(), &format!("/artifacts/{}/lanes", digest(2))).await;
    let of: Vec<&str> = text.split("<li id=\"v-").skip(1).collect();
    let lines = |row: usize, class: &str| -> Vec<&str> {
        let path = format!("<path class=\"{class}\" d=\"");
        let paths = of[row].split(&path).skip(1);
        paths.filter_map(|path| path.split('"').next()).collect()
    };
    assert_eq!(rows(&text), [digest(4), digest(3), digest(2), digest(1)]);
    assert!(lines(0, "build").iter().any(|path| path.contains("V34")), "down from 4: {:?}", lines(0, "build"));
    assert!(lines(1, "build").iter().any(|path| path.ends_with("0V34")), "past 3: {:?}", lines(1, "build"));
    assert!(lines(2, "build").iter().any(|path| path.contains("0V15")), "to 2: {:?}", lines(2, "build"));
    assert!(lines(3, "build").is_empty() && lines(0, "base").is_empty(), "{text}");
    assert!(lines(1, "base").iter().any(|path| path.contains("V34")) && lines(3, "base").len() == 1, "{text}");
}

#[tokio::test]
async fn a_card_says_what_proves_it() {
    let world = line(2);
    let client = world.client();
    let path = format!("/artifacts/{}/card", digest(1));
    let before = page(&client, &path).await;
    assert!(before.contains("not yet") && before.contains("<article class=\"card\">"), "{before}");
    world.publish_checkpoint();
    let after = page(&client, &path).await;
    let hover = client.get(&format!("/api/v1/artifacts/{}/hover", digest(1))).await.json();
    let hash = |pointer: &str| hover.pointer(pointer).and_then(|value| value.as_str()).expect("a hash").to_owned();
    for part in [&hash("/proof/leafHash"), &hash("/replayHash"), "in the checkpoint of size 2", "href=\"/entries/1\""] {
        assert!(after.contains(part), "{part} in {after}");
    }
    assert_eq!(
        client.get(&format!("/artifacts/{}/card", digest(9))).await.problem(),
        (404, "ARTIFACT_NOT_FOUND".into())
    );
}

#[tokio::test]
async fn two_artifacts_are_compared_in_parts() {
    let world = line(2);
    let client = world.client();
    let pair = format!("a={}&b={}", digest(0), digest(1));
    for part in ["components", "verdicts", "reachability", "inputs", "tests", "attestations", "deployments"] {
        let text = page(&client, &format!("/compare?{pair}&tab={part}&only=true")).await;
        assert_eq!(text.matches("aria-current=\"page\"").count(), 1, "{part}: {text}");
        assert!(text.contains("Replay hash of what changed") && text.contains("pedigraph export"), "{text}");
    }
    let text = page(&client, &format!("/compare?{pair}&at=2026-03-01T00:00:00Z")).await;
    let swapped = format!("a={}&amp;b={}&amp;tab=components&amp;at=2026-03-01T00:00:00Z", digest(1), digest(0));
    assert!(text.contains(&swapped), "{text}");
    assert_eq!(client.get(&format!("/compare?{pair}&tab=x")).await.problem(), (400, "INVALID_PARAMETER".into()));
}

#[tokio::test]
async fn what_cannot_be_compared_says_what_to_do() {
    let client = line(2).client();
    let check = async |query: &str, says: &str| {
        let text = page(&client, &format!("/compare{query}")).await;
        assert!(text.contains(says) && text.contains("id=\"side-a\""), "{query}: {text}");
    };
    check("", "Before (A)").await;
    check(&format!("?b={}", digest(1)), &format!("a={}&amp;b={}", digest(0), digest(1))).await;
    check("?b=nothing", "Nothing that was recorded").await;
    check(&format!("?a={0}&b={0}", digest(1)), "same artifact on both sides").await;
    check(&format!("?a={}&b=nothing", digest(1)), "nothing that was recorded names").await;
    check("?a=%3Cscript%3Ealert(1)%3C/script%3E&b=x", "&lt;script&gt;").await;
}

fn said(n: u64, status: VexStatus) -> Sent {
    let statement = VexStatement {
        vulnerability: "CVE-2031-7".into(),
        product: digest(n),
        product_digests: vec![digest(n)],
        status: status.into(),
        ..VexStatement::default()
    };
    let vex = VexIssued {
        issuer: "=us".into(),
        document_id: n.to_string(),
        statements: vec![statement],
        ..VexIssued::default()
    };
    sent("2026-01-03T00:00:00Z", vex)
}

#[tokio::test]
async fn where_a_verdict_changes_is_listed_by_version() {
    let world = line(2);
    world.append(&[said(0, VexStatus::Affected), said(1, VexStatus::Fixed)]);
    let client = world.client();
    let text = page(&client, "/vulnerabilities/CVE-2031-7/deltas?minIndex=3").await;
    assert!(
        text.contains(&format!("/artifacts/{}/verdicts/CVE-2031-7", digest(0))) && text.contains("fixed"),
        "{text}"
    );
    assert!(text.contains("tab=verdicts") && text.contains("pedigraph deltas CVE-2031-7"), "{text}");
    assert!(page(&client, "/vulnerabilities/CVE-2031-7").await.contains("/vulnerabilities/CVE-2031-7/deltas"));
    assert!(page(&client, "/vulnerabilities/CVE-1/deltas").await.contains("No version"));
}

fn deployed(at: &str, service: &str, n: u64) -> Sent {
    let event = ServiceDeployed {
        environment: "prod".into(),
        service: service.into(),
        artifact_digest: digest(n),
        artifact_ref: format!("example.org/cart:1.{n}.0"),
        ..ServiceDeployed::default()
    };
    sent(at, event)
}

#[tokio::test]
async fn a_table_for_spreadsheets_has_no_formulas_and_says_where_it_goes_on() {
    let world = line(2);
    world.append(&[
        said(0, VexStatus::Affected),
        deployed("2026-01-04T00:00:00Z", "=HYPERLINK(\"x\")", 0),
        deployed("2026-01-04T00:00:01Z", "cart\"\r\n", 1),
        deployed("2026-01-04T00:00:02Z", "@x", 0),
    ]);
    let client = world.client();
    let answer = client.get("/vulnerabilities/CVE-2031-7?format=csv").await;
    let text = answer.text();
    assert!(answer.header("content-type").is_some_and(|of| of.starts_with("text/csv")), "{text}");
    assert!(answer.header("content-disposition").is_some_and(|of| of.contains("impact.csv")));
    assert!(text.contains("\"'=HYPERLINK(\"\"x\"\")\"") && text.contains("\"'@x\""), "{text}");
    assert!(text.starts_with("\"list\",\"environment\"") && text.contains("\"deployed\",\"prod\""), "{text}");
    let first = client.get("/vulnerabilities/CVE-2031-7?format=csv&pageSize=1").await.text();
    let next = first.split("goes on at ").nth(1).and_then(|rest| rest.split('"').next()).expect("a way to the rest");
    let second = client.get(next).await;
    assert!(second.text().starts_with("\"list\""), "{}", second.text());
    assert_eq!(client.get("/vulnerabilities/CVE-2031-7?format=xls").await.problem(), (400, "INVALID_PARAMETER".into()));
    assert!(page(&client, "/vulnerabilities/CVE-2031-7").await.contains("format=csv"));
}

#[tokio::test]
async fn an_environment_is_shown_at_any_moment_and_its_changes_lead_to_comparisons() {
    let world = line(3);
    let canary = CanaryChanged {
        environment: "prod".into(),
        service: "cart".into(),
        artifact_digest: digest(2),
        artifact_ref: "example.org/cart:1.2.0".into(),
        weight: 10,
        ..CanaryChanged::default()
    };
    world.append(&[
        deployed("2026-01-04T00:00:00Z", "cart", 0),
        deployed("2026-01-05T00:00:00Z", "cart", 1),
        sent("2026-01-06T00:00:00Z", canary),
    ]);
    let client = world.client();
    let text = page(&client, "/environments/prod").await;
    assert!(text.contains("10 %") && text.contains("value=\"10\" max=\"100\""), "{text}");
    assert!(text.contains(&format!("/compare?a={}&amp;b={}", digest(1), digest(2))), "beside: {text}");
    assert!(text.contains(&format!("/compare?a={}&amp;b={}", digest(0), digest(1))), "what changed: {text}");
    // Another change may be of the same moment.
    assert!(text.contains("href=\"/environments/prod?at=2026-01-05T23:59:59.999999999Z\""), "{text}");
    assert!(text.contains("href=\"/environments/prod?at=2026-01-04T00:00:00Z\""), "{text}");
    // A browser's field has no zone and may have no seconds.
    for at in ["2026-01-04T12:00", "2026-01-04T12:00:00", "2026-01-04T12:00:00Z"] {
        let then = page(&client, &format!("/environments/prod?at={at}")).await;
        assert!(then.contains("value=\"2026-01-04T12:00:00\"") && !then.contains("cart:1.1.0"), "{at}: {then}");
    }
}
