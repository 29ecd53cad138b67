//! What a question reads grows with its answer, and not with history: each states its rows, at a size and at ten times it.

use pedigraph_projector::answers::Direction;
use pedigraph_projector::store::Budget;
use pedigraph_projector::{Error, Scope};
use pedigraph_proto::event::{ArtifactPublished, ConfigChanged, FreezeChanged, ImageObserved, ServiceDeployed};

use crate::book::{Said, at, digest, packaged, said};
use crate::budget::Counted;

fn published(name: &str, minute: i64, reference: &str) -> Said {
    let event = ArtifactPublished {
        artifact_digest: digest(name),
        artifact_ref: reference.to_owned(),
        ..ArtifactPublished::default()
    };
    said(&format!("published {name}"), minute, event)
}

fn deployed(id: &str, minute: i64, service: &str, name: &str) -> Said {
    let event = ServiceDeployed {
        environment: "harbour".to_owned(),
        service: service.to_owned(),
        artifact_digest: digest(name),
        ..ServiceDeployed::default()
    };
    said(id, minute, event)
}

/// A line of versions in order, the last of which runs.
fn line(len: i64) -> Vec<Said> {
    let version = |n: i64| published(&format!("v{n}"), n, &format!("r.io/buoy:1.{n}.0"));
    let mut events: Vec<Said> = (0..len).map(version).collect();
    events.push(deployed("now", len, "buoy", &format!("v{}", len - 1)));
    events
}

/// So many images that one after the other came to run in each of so many services.
fn rolled_out(times: i64, services: i64) -> Counted {
    let mut events = Vec::new();
    for n in 0..times {
        let name = format!("image {n}");
        events.extend((0..services).map(|m| deployed(&format!("{n} {m}"), n, &format!("vessel-{m}"), &name)));
    }
    Counted::of(&events)
}

/// Rows that a question reads.
fn rows<T: std::fmt::Debug>(counted: &Counted, ask: impl Fn(&Scope) -> Result<Option<T>, Error>) -> u64 {
    let (scope, meter) = counted.scope(Budget::NONE);
    let answer = ask(&scope).expect("answered");
    assert!(answer.is_some(), "it is known");
    meter.rows()
}

/// What it reads at both sizes: at most so many rows, and hardly more where there is ten times as much.
fn flat(what: &str, (small, large): (u64, u64), most: u64) {
    assert!(small <= most && large <= most, "{what}: {small} and {large} rows, at most {most}");
    assert!(large <= small + small / 4 + 16, "{what}: {small} rows, {large} at ten times the size");
}

#[test]
fn a_version_costs_the_same_in_a_long_line() {
    let (small, large) = (Counted::of(&line(300)), Counted::of(&line(3_000)));
    let both = |name: &str, of: fn(&Scope, &str) -> Result<Option<String>, Error>| {
        let ask = |counted: &Counted, len: i64| {
            let name = match name {
                "middle" => format!("v{}", len / 2),
                _ => format!("v{}", len - 1),
            };
            rows(counted, |scope| of(scope, &digest(&name)))
        };
        (ask(&small, 300), ask(&large, 3_000))
    };
    let artifact = |scope: &Scope, digest: &str| Ok(scope.artifact(digest)?.map(|found| format!("{found:?}")));
    let lineage =
        |scope: &Scope, digest: &str| Ok(scope.lineage(digest, 10, Direction::Both)?.map(|found| format!("{found:?}")));
    let trace = |scope: &Scope, digest: &str| Ok(Some(format!("{:?}", scope.trace(digest)?)));
    flat("artifact at the end of a line", both("last", artifact), 80);
    flat("artifact in the middle of a line", both("middle", artifact), 80);
    flat("lineage of depth 10 in a line", both("middle", lineage), 21 * 41);
    flat("trace of a digest", both("last", trace), 50);
}

#[test]
fn what_is_deployed_and_named_again_and_again_costs_what_it_is() {
    let again = |times: i64| {
        let mut events = vec![published("kept", 0, "r.io/keel:2.0.0")];
        events.extend((1..=times).map(|n| deployed(&format!("d{n}"), n, "keel", "kept")));
        events.push(published("kept", times + 1, "r.io/keel:2.0.1"));
        Counted::of(&events)
    };
    let (small, large) = (again(300), again(3_000));
    let artifact = |counted: &Counted| rows(counted, |scope| scope.artifact(&digest("kept")));
    flat("artifact that is deployed again and again", (artifact(&small), artifact(&large)), 250);
    for counted in [&small, &large] {
        let (scope, _) = counted.scope(Budget::NONE);
        let known = scope.artifact(&digest("kept")).expect("read").expect("known");
        assert_eq!(known.node.artifact_ref, "r.io/keel:2.0.1", "a publication is not lost behind mentions");
    }
}

#[test]
fn the_last_known_good_costs_the_changes_since_it() {
    let (small, large) = (rolled_out(300, 1), rolled_out(3_000, 1));
    let good = |counted: &Counted| rows(counted, |scope| scope.last_known_good("harbour", "vessel-0"));
    flat("last known good of a service that is deployed again and again", (good(&small), good(&large)), 140);
    let (scope, _) = large.scope(Budget::NONE);
    let known = scope.last_known_good("harbour", "vessel-0").expect("read").expect("known");
    let good = known.lanes[0].last_known_good.as_ref().expect("something ran before");
    assert_eq!(good.digest, Some(digest("image 2998")));
}

#[test]
fn a_base_under_everything_costs_what_is_shown_of_it() {
    let under = |times: i64| {
        let mut events = vec![published("base", 0, "r.io/hull:3")];
        for n in 0..times {
            let name = format!("on {n}");
            events.push(packaged(&name, n + 1, |event| event.artifact_ref = format!("r.io/ship-{n}:1.0.0")));
            let image = ImageObserved { digest: digest(&name), digest_kind: 1, ..ImageObserved::default() };
            events.push(said(&format!("seen {n}"), n + 1, ImageObserved { base_digest: digest("base"), ..image }));
        }
        events.push(published("base", times + 9, "r.io/hull:3.1.0"));
        Counted::of(&events)
    };
    let (small, large) = (under(400), under(4_000));
    let lineage = |counted: &Counted| rows(counted, |scope| scope.lineage(&digest("base"), 1, Direction::Down));
    flat("a base and 250 of its descendants", (lineage(&small), lineage(&large)), 250 * 43);
    let artifact = |counted: &Counted| rows(counted, |scope| scope.artifact(&digest("base")));
    flat("the base itself", (artifact(&small), artifact(&large)), 80);
    let (scope, _) = large.scope(Budget::NONE);
    let base = scope.artifact(&digest("base")).expect("read").expect("known");
    assert_eq!(base.node.artifact_ref, "r.io/hull:3.1.0");
    let shown = scope.lineage(&digest("base"), 1, Direction::Down).expect("read").expect("known");
    let cut = shown.truncated.expect("cut");
    assert_eq!(shown.nodes.len(), 251);
    assert!(cut.nodes + cut.edges > 0, "what is left out is counted: {cut:?}");
}

#[test]
fn a_search_reads_what_it_finds() {
    let fleet = |services: i64| {
        let mut events = Vec::new();
        for n in 0..services {
            let name = format!("image {n}");
            events.push(published(&name, n, &format!("r.io/fleet-{n}:1.0.0")));
            events.push(deployed(&format!("d{n}"), n + 1, &format!("vessel-{n}"), &name));
        }
        Counted::of(&events)
    };
    let (small, large) = (fleet(200), fleet(2_000));
    for text in
        ["vessel-7", "r.io/fleet-7:1.0.0", "fleet-7:1.0.0", &digest("image 7"), &digest("image 7")[..20], "none"]
    {
        let resolve = |counted: &Counted| rows(counted, |scope| scope.resolve(text).map(Some));
        flat(&format!("resolve {text:?}"), (resolve(&small), resolve(&large)), 24);
    }
}

#[test]
fn an_environment_costs_a_row_for_each_service_that_is_shown() {
    let fleet = |services: i64, times: i64| {
        let mut events = vec![published("old", 0, "r.io/fleet:1.0.0"), published("new", 0, "r.io/fleet:1.1.0")];
        for n in 0..services {
            let service = format!("vessel-{n:05}");
            events.push(deployed(&format!("{n}"), 1, &service, "old"));
            events.extend((0..times).map(|m| deployed(&format!("{n} {m}"), 2 + m, &service, "new")));
        }
        Counted::of(&events)
    };
    let (small, large, restless) = (fleet(200, 1), fleet(2_000, 1), fleet(200, 10));
    let all = |counted: &Counted| rows(counted, |scope| scope.environment("harbour", false));
    assert!(all(&small) <= 200 + 24 && all(&restless) <= 200 + 24, "{} {}", all(&small), all(&restless));
    assert!(all(&large) <= 2_000 + 48, "{}", all(&large));
    let page =
        |counted: &Counted| rows(counted, |scope| scope.environment_page("harbour", false, Some(b"vessel-00100"), 50));
    flat("a page of services", (page(&small), page(&large)), 50 + 24);
    flat("a page of services that are deployed again and again", (page(&small), page(&restless)), 50 + 24);
    let list = |counted: &Counted| rows(counted, |scope| scope.environments_page(None, 10).map(Some));
    flat("the list of environments", (list(&small), list(&large)), 48);
    flat("the list of environments, restless", (list(&small), list(&restless)), 48);
    let (scope, _) = large.scope(Budget::NONE);
    let environment = scope.environment("harbour", false).expect("read").expect("named");
    assert!(environment.services.iter().all(|state| state.running.len() == 1));
    let list = scope.environments_page(None, 10).expect("read").rows;
    assert_eq!((list[0].services, environment.services.len()), (2_000, 2_000));
}

#[test]
fn what_is_deployed_again_by_a_tag_alone_costs_what_it_changed() {
    let again = |times: i64| {
        let event = |n: i64, tag: &str| ServiceDeployed {
            environment: "harbour".to_owned(),
            service: format!("vessel-{}", n % 3),
            artifact_ref: format!("r.io/vessel:{tag}"),
            ..ServiceDeployed::default()
        };
        let mut events: Vec<Said> = (0..3).map(|n| said(&format!("old {n}"), n, event(n, "1.0.0"))).collect();
        events.push(published("first", 2, "r.io/vessel:stable"));
        events.extend((3..times).map(|n| said(&format!("{n}"), n, event(n, "stable"))));
        let late = ArtifactPublished {
            artifact_digest: digest("second"),
            artifact_ref: "r.io/vessel:stable".to_owned(),
            ..ArtifactPublished::default()
        };
        events.push(said("late", times / 2, late));
        Counted::of(&events)
    };
    let (small, large) = (again(300), again(3_000));
    let both = |ask: &dyn Fn(&Counted) -> u64| (ask(&small), ask(&large));
    let now = |counted: &Counted| rows(counted, |scope| scope.environment("harbour", false));
    flat("environment", both(&now), 48);
    let then = |counted: &Counted| {
        rows(counted, |scope| scope.when(Some(pedigraph_proto::Nanos(i64::MAX))).environment("harbour", false))
    };
    flat("environment at a moment", both(&then), 48);
    let list = |counted: &Counted| rows(counted, |scope| scope.environments_page(None, 10).map(Some));
    flat("the list of environments", both(&list), 60);
    let changes = |counted: &Counted| rows(counted, |scope| scope.changes("harbour", None, 100));
    flat("changes", both(&changes), 9 * 50);
    for counted in [&small, &large] {
        let (scope, _) = counted.scope(Budget::NONE);
        let changes = scope.changes("harbour", None, 100).expect("read").expect("named").rows;
        assert_eq!(changes.len(), 9, "each of three services came to run three artifacts: {changes:?}");
    }
}

#[test]
fn what_two_deployers_say_by_turns_with_and_without_the_digest_costs_what_it_changed() {
    let by_turns = |times: i64| {
        let event = |n: i64| ServiceDeployed {
            environment: "harbour".to_owned(),
            service: format!("vessel-{}", n % 3),
            artifact_ref: "r.io/vessel:1.0.0".to_owned(),
            artifact_digest: if (n / 3) % 2 == 0 { String::new() } else { digest("first") },
            ..ServiceDeployed::default()
        };
        let mut events = vec![published("first", 0, "r.io/vessel:1.0.0")];
        events.extend((0..times).map(|n| said(&format!("{n}"), n, event(n))));
        Counted::of(&events)
    };
    let (small, large) = (by_turns(300), by_turns(3_000));
    let both = |ask: &dyn Fn(&Counted) -> u64| (ask(&small), ask(&large));
    flat("environment", both(&|counted| rows(counted, |scope| scope.environment("harbour", false))), 32);
    let list = |counted: &Counted| rows(counted, |scope| scope.environments_page(None, 10).map(Some));
    flat("the list of environments", both(&list), 48);
    flat("changes", both(&|counted| rows(counted, |scope| scope.changes("harbour", None, 100))), 3 * 24);
    for counted in [&small, &large] {
        let (scope, _) = counted.scope(Budget::NONE);
        let changes = scope.changes("harbour", None, 100).expect("read").expect("named").rows;
        assert_eq!(changes.len(), 3, "{changes:?}");
        let running = scope.environment("harbour", false).expect("read").expect("named").services;
        assert!(running.iter().all(|state| state.running[0].digest.as_deref() == Some(digest("first").as_str())));
    }
}

#[test]
fn an_environment_long_ago_costs_a_few_rows_for_each_service_however_often_each_changed() {
    let (small, large) = (rolled_out(40, 60), rolled_out(400, 60));
    let then = |counted: &Counted, times: i64| {
        let (scope, meter) = counted.scope(Budget::NONE);
        let environment = scope.when(Some(at(times / 2))).environment("harbour", false).expect("read");
        assert_eq!(environment.expect("named").services.len(), 60);
        meter.rows()
    };
    let (small, large) = (then(&small, 40), then(&large, 400));
    flat("environment at a moment", (small, large), 60 * 16 + 300);
}

#[test]
fn an_environment_as_it_was_known_long_ago_costs_what_it_is() {
    let (small, large) = (rolled_out(200, 3), rolled_out(2_000, 3));
    let known = |counted: &Counted| {
        let (scope, meter) = counted.scope_as_of(90, Budget::NONE);
        let environment = scope.environment("harbour", false).expect("read").expect("named");
        assert_eq!(environment.services.len(), 3);
        meter.rows()
    };
    flat("environment as of an entry", (known(&small), known(&large)), 24 + 3 * 9);
    let changes = |counted: &Counted| {
        let (scope, meter) = counted.scope_as_of(90, Budget::NONE);
        let page = scope.changes("harbour", None, 10).expect("read").expect("named");
        assert_eq!(page.rows.len(), 10);
        meter.rows()
    };
    flat("changes as of an entry", (changes(&small), changes(&large)), 10 * 40);
    let list = |counted: &Counted| {
        let (scope, meter) = counted.scope_as_of(90, Budget::NONE);
        assert!(scope.environments_page(None, 10).expect("read").rows[0].last_change.is_some());
        meter.rows()
    };
    flat("the list of environments as of an entry", (list(&small), list(&large)), 60);
}

#[test]
fn settings_and_shares_that_are_told_again_and_again_cost_the_newest() {
    let history = |times: i64| {
        let mut events = vec![published("stable", 0, "r.io/pump:1.0.0"), deployed("first", 1, "pump", "stable")];
        for n in 0..times {
            let share = ServiceDeployed {
                environment: "harbour".to_owned(),
                service: "pump".to_owned(),
                artifact_digest: digest("canary"),
                weight: 10,
                ..ServiceDeployed::default()
            };
            let by_tag = ServiceDeployed {
                service: "valve".to_owned(),
                artifact_digest: String::new(),
                artifact_ref: "r.io/valve:latest".to_owned(),
                ..share.clone()
            };
            let config = ConfigChanged {
                environment: "harbour".to_owned(),
                service: "pump".to_owned(),
                config_digest: digest(&format!("config {n}")),
                ..ConfigChanged::default()
            };
            let freeze =
                FreezeChanged { environment: "harbour".to_owned(), frozen: n % 2 == 0, ..FreezeChanged::default() };
            events.push(said(&format!("share {n}"), 10 + 4 * n, share));
            events.push(said(&format!("by tag {n}"), 11 + 4 * n, by_tag));
            events.push(said(&format!("config {n}"), 12 + 4 * n, config));
            events.push(said(&format!("freeze {n}"), 13 + 4 * n, freeze));
        }
        Counted::of(&events)
    };
    let (small, large) = (history(60), history(600));
    let at = |index: u64, ask: &dyn Fn(&Scope)| {
        [&small, &large].map(|counted| {
            let (scope, meter) = counted.scope_as_of(index, Budget::NONE);
            ask(&scope);
            meter.rows()
        })
    };
    let environment = |scope: &Scope| {
        let environment = scope.environment("harbour", false).expect("read").expect("named");
        assert_eq!(environment.services.iter().map(|state| state.running.len()).sum::<usize>(), 3, "{environment:?}");
    };
    let list = |scope: &Scope| {
        assert!(scope.environments_page(None, 10).expect("read").rows[0].last_change.is_some());
    };
    for index in [u64::MAX, 60] {
        for (what, ask) in [("environment", &environment as &dyn Fn(&Scope)), ("list", &list)] {
            let [small, large] = at(index, ask);
            flat(&format!("{what} as of {index}"), (small, large), 90);
        }
    }
}

/// One artifact in all services of several environments, in the first one before the others, by digest or by tag.
fn everywhere(services: i64, by_tag: bool) -> Counted {
    let mut events = vec![published("sidecar", 0, "r.io/sidecar:1")];
    for environment in 0..5 {
        for n in 0..services {
            let event = ServiceDeployed {
                environment: format!("quay-{environment}"),
                service: format!("vessel-{n:05}"),
                artifact_digest: if by_tag { String::new() } else { digest("sidecar") },
                artifact_ref: "r.io/sidecar:1".to_owned(),
                ..ServiceDeployed::default()
            };
            events.push(said(&format!("{environment} {n}"), 1 + environment * services + n, event));
        }
    }
    Counted::of(&events)
}

#[test]
fn what_changed_costs_the_same_in_a_large_environment() {
    for by_tag in [false, true] {
        let (small, large) = (everywhere(60, by_tag), everywhere(600, by_tag));
        for (environment, kind) in [("quay-0", "deploy"), ("quay-3", "promote")] {
            let page = |counted: &Counted| rows(counted, |scope| scope.changes(environment, None, 50));
            flat(&format!("changes of {environment}"), (page(&small), page(&large)), 50 * 30);
            let (scope, _) = large.scope(Budget::NONE);
            let shown = scope.changes(environment, None, 1_000).expect("read").expect("named").rows;
            assert!(shown.len() == 600 && shown.iter().all(|change| change.kind == kind), "{environment}: {shown:?}");
        }
    }
}

#[test]
fn a_page_of_changes_ends_before_it_costs_too_much() {
    let large = everywhere(400, true);
    let whole = large.scope(Budget::NONE).0.changes("quay-2", None, 1_000).expect("read").expect("named").rows;
    let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let (scope, _) = large.scope(Budget { rows_max: 8_000, ..Budget::NONE });
        let page = scope.changes("quay-2", after.as_deref(), 1_000).expect("never too much").expect("named");
        found.extend(page.rows);
        (after, pages) = (page.next, pages + 1);
        if after.is_none() {
            break;
        }
    }
    assert!(found == whole && (2..100).contains(&pages), "{} of {} in {pages} pages", found.len(), whole.len());
}
