//! Limits cut lists and say so; they decide no answer, and what stands behind one costs no more than what is shown.

use pedigraph_projector::answers::Direction;
use pedigraph_projector::store::Budget;
use pedigraph_projector::{Affecting, AsOf, ImpactQuestion, Moment};
use pedigraph_proto::Nanos;
use pedigraph_proto::event::{
    ChangeMerged, DigestKind, Finding, ImageObserved, PlatformManifest, RunFinished, ScanCompleted, ServiceDeployed,
    TagObserved,
};
use pedigraph_proto::wire::Fact;

use crate::book::{Book, MINUTE, NEW_YEAR, Said, digest, packaged, said};
use crate::budget::{Counted, sbom};

fn index_of(name: &str, manifests: impl Iterator<Item = String>) -> Said {
    let manifest = |name: String| PlatformManifest { digest: digest(&name), ..PlatformManifest::default() };
    let event = ImageObserved {
        digest: digest(name),
        digest_kind: DigestKind::Index.into(),
        manifests: manifests.map(manifest).collect(),
        ..ImageObserved::default()
    };
    said(&format!("index {name}"), 0, event)
}

fn deployed(n: i64, name: &str) -> Said {
    let event = ServiceDeployed {
        environment: "yard".to_owned(),
        service: format!("crane-{n}"),
        artifact_digest: digest(name),
        ..ServiceDeployed::default()
    };
    said(&format!("deployed {name} {n}"), 10 + n, event)
}

/// Rows that impact reads, and how many places run it.
fn impact(counted: &Counted, moment: Moment) -> (u64, u64) {
    let (scope, meter) = counted.scope_at(moment, Budget::NONE);
    let purl = "pkg:npm/valve@4.0.1".to_owned();
    let of = Affecting::Package { purl, versions: None };
    let question = ImpactQuestion { of, environment: None, limit: 100, after: None, progress: true };
    let (answer, next) = scope.impact(&question).expect("answered");
    assert_eq!((next, answer.counts.not_deployed), (None, 0));
    (meter.rows(), answer.counts.deployed)
}

#[test]
fn many_manifests_of_one_index_are_asked_for_once_each_wherever_it_runs() {
    const LANES: i64 = 20;
    let of = |manifests: i64| {
        let mut events = vec![index_of("whole", (0..manifests).map(|n| format!("part {n}")))];
        events.extend((0..manifests).map(|n| sbom(&format!("part {n}"), n)));
        events.extend((0..LANES).map(|n| deployed(n, "whole")));
        Counted::of(&events)
    };
    let then = Moment { at: Some(Nanos(NEW_YEAR + 1_000_000 * MINUTE)), as_of: None };
    for (manifests, counted) in [(60, of(60)), (600, of(600))] {
        for moment in [Moment::default(), then] {
            let (rows, shown) = impact(&counted, moment);
            assert_eq!(shown, 20, "the index is shown once for each lane");
            assert!(rows <= 15 * manifests + 200, "{rows} rows for {manifests} manifests");
        }
    }
}

#[test]
fn no_manifest_of_a_large_index_is_left_out_of_what_it_contains() {
    let manifests = || (0..1_500).map(|n| format!("part {n}"));
    let last = manifests().max_by_key(|name| digest(name)).expect("some");
    let counted = Counted::of(&[index_of("whole", manifests()), sbom(&last, 1), deployed(1, "whole")]);
    assert_eq!(impact(&counted, Moment::default()).1, 1, "{last} stands last in the order of digests");
}

#[test]
fn a_graph_tells_of_manifests_and_products_that_it_has_no_room_for() {
    let index = index_of("whole", (0..2_200).map(|n| format!("part {n}")));
    let scope = Book::of(&[index]).scope();
    let graph = scope.lineage(&digest("whole"), 1, Direction::Down).expect("read").expect("known");
    let cut = graph.truncated.expect("cut");
    assert!(cut.by.contains("breadth") && cut.at_least && cut.nodes > 0, "{cut:?}");

    let names: Vec<String> = (0..1_100).map(|n| format!("product {n}")).collect();
    let mut events: Vec<Said> = names
        .iter()
        .zip(0..)
        .map(|(name, minute)| packaged(name, minute, |event| event.run = "nightly".to_owned()))
        .collect();
    events.push(said("run", 2_000, RunFinished { run: "nightly".to_owned(), ..RunFinished::default() }));
    let scope = Book::of(&events).scope();
    let last = names.iter().max_by_key(|name| digest(name)).expect("some");
    let graph = scope.lineage(&digest(last), 1, Direction::Up).expect("read").expect("known");
    let made_with = graph.edges.iter().filter(|edge| edge.to == digest(last) && edge.method == "run").count();
    assert_eq!(made_with, 1, "{last} stands last in the order of digests");
    let cut = graph.truncated.expect("cut");
    assert!(cut.by.contains("breadth") && cut.at_least, "{cut:?}");
}

#[test]
fn an_artifact_of_more_tags_than_are_followed_says_that_its_tags_are_cut() {
    let tag = |n: usize| TagObserved {
        repository: "r.io/buoy".to_owned(),
        tag: format!("rc-{n}"),
        digest: digest("popular"),
    };
    let mut tagged = said("tagged", 1, tag(0));
    tagged.facts.extend((1..1_100).map(|n| Fact::now(tag(n))));
    let known = Book::of(&[tagged]).scope().artifact(&digest("popular")).expect("read").expect("known");
    assert!(known.truncated.iter().any(|list| list == "tags"), "{:?}", known.truncated);
}

#[test]
fn what_happened_or_became_known_later_takes_no_place_among_candidates() {
    let merged = |commit: &str, minute: i64| {
        let event = ChangeMerged {
            change_id: format!("change {commit}"),
            commit: commit.to_owned(),
            ..ChangeMerged::default()
        };
        said(commit, minute, event)
    };
    // All of those that came later stand before the one that was first.
    let first = "abcdef12f3e7b1d2c4e6f8091a2b3c4d5e6f7081";
    let mut events = vec![merged(first, 1)];
    events.extend((0..60).map(|n| merged(&format!("abcdef120e7b1d2c4e6f8091a2b3c4d5e6f7{n:04}"), 10 + n)));
    let scan = |n: i64| {
        let finding = Finding { vulnerability: "CVE-2026-0001".to_owned(), ..Finding::default() };
        let event = ScanCompleted {
            artifact_digest: digest("scanned"),
            findings: vec![finding],
            scan_id: n.to_string(),
            ..ScanCompleted::default()
        };
        said(&format!("scan {n}"), 100 + n, event)
    };
    events.extend((0..3).map(scan));
    let counted = Counted::of(&events);
    let as_known = Moment { at: None, as_of: Some(AsOf::Index(0)) };
    let as_it_was = Moment { at: Some(Nanos(NEW_YEAR + 2 * MINUTE)), as_of: None };
    for moment in [as_known, as_it_was] {
        let (scope, _) = counted.scope_at(moment, Budget::NONE);
        let found = scope.resolve("abcdef12").expect("answered").candidates;
        let ids: Vec<&str> = found.iter().map(|found| found.id.as_str()).collect();
        assert_eq!(ids, [first], "{moment:?}");
        assert_eq!(scope.resolve("CVE-2026-0001").expect("answered").candidates[0].label, "nobody names it");
    }
    let (scope, meter) = counted.scope(Budget::NONE);
    let found = scope.resolve("CVE-2026-0001").expect("answered").candidates;
    assert_eq!(found[0].label, "named for one artifact", "however often");
    assert!(meter.rows() < 40, "{} rows", meter.rows());
}
