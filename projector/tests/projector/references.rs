//! What references lead to: a tag that runs, a commit of many builds, a service of several places.

use pedigraph_projector::Found;
use pedigraph_projector::store::Budget;
use pedigraph_proto::event::{ArtifactPublished, ImageObserved, PlatformManifest, ServiceDeployed, ServiceRemoved};

use crate::book::{Book, Said, digest, packaged, said};
use crate::budget::Counted;

fn deployed(id: &str, minute: i64, with: impl FnOnce(&mut ServiceDeployed)) -> Said {
    let mut event =
        ServiceDeployed { environment: "shop".into(), service: "till".into(), ..ServiceDeployed::default() };
    with(&mut event);
    said(id, minute, event)
}

/// An artifact that is called by its reference.
fn published(reference: &str, minute: i64) -> Said {
    let event = ArtifactPublished {
        artifact_digest: digest(reference),
        artifact_ref: reference.to_owned(),
        ..ArtifactPublished::default()
    };
    said(reference, minute, event)
}

#[test]
fn a_tag_that_runs_is_found_though_nobody_said_which_digest_it_is() {
    let only_tag = |event: &mut ServiceDeployed| event.artifact_ref = "quay.example/pos/till:7.2".into();
    let scope = Book::of(&[deployed("1", 1, only_tag)]).scope();
    let Found::One(trace) = scope.trace("quay.example/pos/till:7.2").expect("answered") else { panic!("not found") };
    let hops: Vec<(&str, &str)> = trace.hops.iter().map(|hop| (hop.kind.as_str(), hop.status.as_str())).collect();
    assert_eq!(hops, [("deployment", "found"), ("artifact", "missing")]);
    let candidates = scope.resolve("quay.example/pos/till:7.2").expect("answered").candidates;
    assert_eq!(candidates.iter().map(|found| found.id.as_str()).collect::<Vec<_>>(), ["shop/till"]);
    assert_eq!(scope.trace("quay.example/pos/till:7.3").expect("answered"), Found::Nothing);

    let elsewhere = deployed("2", 2, |event| {
        only_tag(event);
        event.environment = "kiosk".into();
    });
    let gone = deployed("3", 3, |event| event.artifact_ref = "quay.example/pos/till:8.0".into());
    let scope = Book::of(&[deployed("1", 1, only_tag), elsewhere.clone()]).scope();
    let Found::Ambiguous(two) = scope.trace("quay.example/pos/till:7.2").expect("answered") else { panic!("not two") };
    assert_eq!(two.iter().map(|found| found.id.as_str()).collect::<Vec<_>>(), ["kiosk/till", "shop/till"]);
    let scope = Book::of(&[deployed("1", 1, only_tag), elsewhere, gone]).scope();
    assert!(matches!(scope.trace("quay.example/pos/till:7.2").expect("answered"), Found::One(_)), "it runs in one");
}

#[test]
fn a_commit_of_two_artifacts_is_ambiguous_however_often_the_first_one_was_named() {
    let commit = "5f1d7e0c9a3b4e6f8091a2b3c4d5e6f708192a3b";
    let build = |name: &str, n: i64| {
        let mut said = packaged(name, n, |event| event.commit = commit.into());
        said.id = format!("{name} {n}");
        said
    };
    let (first, second) = if digest("engine") < digest("wheel") { ("engine", "wheel") } else { ("wheel", "engine") };
    let mut builds: Vec<Said> = (0..400).map(|n| build(first, n)).collect();
    let alone = Book::of(&builds).scope();
    assert_eq!(alone.artifact_digest(&commit[..10]).expect("answered"), Found::One(digest(first)));
    builds.push(build(second, 500));
    let Found::Ambiguous(found) = Book::of(&builds).scope().artifact_digest(commit).expect("answered") else {
        panic!("two artifacts");
    };
    assert_eq!(found.len(), 2);

    // An index stands for its manifests, through another index too.
    let index = |name: &str, of: &[&str]| {
        let manifest = |name: &&str| PlatformManifest { digest: digest(name), ..PlatformManifest::default() };
        let manifests = of.iter().map(manifest).collect();
        said(name, 3, ImageObserved { digest: digest(name), digest_kind: 1, manifests, ..ImageObserved::default() })
    };
    let nested = Book::of(&[
        build("outer", 1),
        build("left", 2),
        build("right", 3),
        index("outer", &["inner"]),
        index("inner", &["left", "right"]),
    ]);
    assert_eq!(nested.scope().artifact_digest(commit).expect("answered"), Found::One(digest("outer")));
}

#[test]
fn a_service_of_two_places_is_ambiguous_only_where_they_run_different_things() {
    let in_cluster = |cluster: &str, name: &str, minute: i64| {
        deployed(&format!("{cluster} {minute}"), minute, |event| {
            event.cluster = cluster.into();
            event.artifact_digest = digest(name);
        })
    };
    let same = [in_cluster("oslo", "a", 1), in_cluster("porto", "a", 2), in_cluster("quito", "a", 3)];
    let one = Book::of(&same).scope();
    assert_eq!(one.artifact_digest("shop/till").expect("answered"), Found::One(digest("a")));
    let differ = [&same[..], &[in_cluster("porto", "b", 4)]].concat();
    let Found::Ambiguous(found) = Book::of(&differ).scope().artifact_digest("shop/till").expect("answered") else {
        panic!("they differ");
    };
    let labels: Vec<bool> = found.iter().map(|candidate| candidate.label.contains("porto")).collect();
    assert_eq!(labels, [false, true, false], "{found:?}");
}

#[test]
fn a_repository_is_found_by_what_people_call_it() {
    let manifests = vec![PlatformManifest { digest: digest("quay.example/pos/till:7.3"), ..Default::default() }];
    let index = ImageObserved {
        digest: digest("index of 7.3"),
        artifact_ref: "quay.example/pos/till:7.3".to_owned(),
        digest_kind: 1,
        manifests,
        ..ImageObserved::default()
    };
    let mut events = vec![
        published("quay.example/pos/till:7.2", 2),
        published("quay.example/pos/till:7.3", 3),
        said("index", 4, index),
        published("quay.example/back/till:1.0", 5),
        published("quay.example/pos/drawer:1.0", 6),
    ];
    let found = |events: &[Said], query: &str| {
        let found = Book::of(events).scope().resolve(query).expect("answered").candidates;
        found.into_iter().map(|found| (found.kind, found.id)).collect::<Vec<_>>()
    };
    let artifact = |name: &str| ("artifact".to_owned(), digest(name));
    for query in ["quay.example/pos/till", "pos/till"] {
        assert_eq!(found(&events, query), [artifact("index of 7.3")], "{query}");
    }
    assert_eq!(found(&events, "till"), [artifact("quay.example/back/till:1.0"), artifact("index of 7.3")]);
    assert_eq!(found(&events, "drawer"), [artifact("quay.example/pos/drawer:1.0")]);
    assert_eq!(found(&events, "ill"), [], "a name is not found by its end alone");
    events.push(deployed("runs", 7, |event| event.artifact_digest = digest("quay.example/back/till:1.0")));
    assert_eq!(found(&events, "till"), [("service".to_owned(), "shop/till".to_owned())], "what runs goes before");
}

#[test]
fn a_name_is_found_among_very_many_that_end_so() {
    let read = |others: i64| {
        let mut events = vec![published("quay.example/pos/till:7.2", 1)];
        events.extend((0..others).map(|n| published(&format!("quay.example/a{n}/till:7.2"), 2 + n)));
        let counted = Counted::of(&events);
        ["pos/till", "pos/till:7.2"].map(|query| {
            let (scope, meter) = counted.scope(Budget::NONE);
            let found = scope.resolve(query).expect("answered").candidates;
            assert_eq!(found.first().map(|found| &found.id), Some(&digest("quay.example/pos/till:7.2")), "{query}");
            assert_eq!(found.len(), 1, "{query}: {found:?}");
            meter.rows()
        })
    };
    assert_eq!(read(30), read(300), "what others are called is not read");
}

fn runs(id: &str, environment: &str, service: &str, name: &str) -> Said {
    deployed(id, 1, |event| {
        (event.environment, event.service) = (environment.to_owned(), service.to_owned());
        event.artifact_digest = digest(name);
    })
}

#[test]
fn what_somebody_calls_an_environment_does_not_take_the_name_of_something_else() {
    let commit = "5f1d7e0c9a3b4e6f8091a2b3c4d5e6f708192a3b";
    let own = digest("till");
    let till = said(
        "tagged",
        1,
        ArtifactPublished {
            artifact_digest: own.clone(),
            artifact_ref: "quay.example/pos/till:7.2".to_owned(),
            ..ArtifactPublished::default()
        },
    );
    let built = packaged("till", 1, |event| event.commit = commit.into());
    let names = [own.as_str(), &own[..19], &commit[..10], "pos/till:7.2"];
    let mut events = vec![till, built];
    events.extend(names.iter().map(|name| runs(name, name, "x", "other")));
    let scope = Book::of(&events).scope();
    assert_eq!(scope.artifact_digest(&own).expect("answered"), Found::One(own.clone()), "a digest is one thing");
    let pinned = format!("quay.example/elsewhere@{own}");
    assert_eq!(scope.artifact_digest(&pinned).expect("answered"), Found::One(own.clone()));
    for name in &names[1..] {
        let Found::Ambiguous(found) = scope.artifact_digest(name).expect("answered") else { panic!("{name}") };
        let ids: Vec<&str> = found.iter().map(|candidate| candidate.id.as_str()).collect();
        assert_eq!(ids, [format!("{name}/x").as_str(), &own], "{name}");
        let listed = scope.resolve(name).expect("answered").candidates;
        assert!(listed.iter().any(|candidate| candidate.id == own), "{name}: {listed:?}");
    }
    // A digest that nobody knows is not what an environment of that name runs.
    let unknown = digest("nothing");
    let scope = Book::of(&[runs("1", &unknown, "x", "other")]).scope();
    assert_eq!(scope.artifact_digest(&unknown).expect("answered"), Found::Nothing);
}

#[test]
fn slashes_and_marks_in_names_are_read_in_each_way_that_something_is_called() {
    let all = [runs("1", "y/prod", "till", "a"), runs("2", "y", "prod/till", "b"), runs("3", "y", "a#1", "c")];
    let scope = Book::of(&all).scope();
    let Found::Ambiguous(found) = scope.artifact_digest("y/prod/till").expect("answered") else { panic!("two places") };
    let labels: Vec<&str> = found.iter().map(|candidate| candidate.label.as_str()).collect();
    assert_eq!(labels, ["prod/till in y", "till in y/prod"]);
    assert_eq!(scope.resolve("y/prod/till").expect("answered").candidates.len(), 2);
    assert_eq!(scope.artifact_digest("y/a#1").expect("answered"), Found::One(digest("c")), "a mark of its own name");
    let scope = Book::of(&all[..1]).scope();
    assert_eq!(scope.artifact_digest("y/prod/till").expect("answered"), Found::One(digest("a")));
    assert_eq!(scope.artifact_digest("y/prod/till~1").expect("answered"), Found::Nothing, "nothing ran before");
}

#[test]
fn more_candidates_than_are_listed_are_told() {
    let many = |count: usize| {
        let events: Vec<Said> = (0..count).map(|n| runs(&n.to_string(), &format!("env-{n:02}"), "till", "a")).collect();
        let found = Book::of(&events).scope().resolve("till").expect("answered");
        (found.candidates.len(), found.truncated)
    };
    assert_eq!((many(20), many(21), many(40)), ((20, false), (20, true), (20, true)));
}

#[test]
fn a_digest_is_found_behind_the_scheme_of_a_runtime() {
    let scope = Book::of(&[published("r.example/k:1", 1)]).scope();
    let digest = digest("r.example/k:1");
    for asked in [format!("docker://{digest}"), format!("docker-pullable://r.example/k@{digest}")] {
        let Found::One(trace) = scope.trace(&asked).expect("answered") else { panic!("{asked} is not found") };
        assert_eq!(trace.artifact.expect("known").digest, digest, "{asked}");
    }
}

/// `till` in the shop, of a cluster.
fn version(minute: i64, cluster: &str, name: &str) -> Said {
    deployed(&format!("{minute} {cluster} {name}"), minute, |event| {
        (event.cluster, event.artifact_digest) = (cluster.to_owned(), digest(name));
        event.artifact_ref = format!("quay.example/pos/till:{name}");
    })
}

fn found(scope: &pedigraph_projector::Scope, reference: &str) -> Option<String> {
    match scope.artifact_digest(reference).expect("answered") {
        Found::One(digest) => Some(digest),
        Found::Nothing => None,
        Found::Ambiguous(of) => panic!("{reference} may be {of:?}"),
    }
}

#[test]
fn a_numbered_change_is_the_one_that_its_entry_proves() {
    // All of one moment, and of two clusters.
    let all =
        [version(1, "", "1"), version(1, "", "2"), version(1, "", "3"), version(1, "b", "4"), version(1, "", "5")];
    let scope = Book::of(&all).scope();
    for (number, name) in ["1", "2", "3", "4", "5"].into_iter().enumerate() {
        for reference in [format!("shop#{number}"), format!("shop/till#{number}")] {
            let Found::One(trace) = scope.trace(&reference).expect("answered") else { panic!("{reference}") };
            let hop = &trace.hops[0];
            let wanted = format!("till in shop runs quay.example/pos/till:{name}");
            assert_eq!(hop.summary, wanted, "{reference}");
            assert_eq!(hop.proof.as_ref().map(|proof| proof.index), Some(number as u64), "{reference}");
        }
    }
}

#[test]
fn what_ran_before_a_removal_is_one_change_back() {
    let removed = ServiceRemoved { environment: "shop".into(), service: "till".into(), ..ServiceRemoved::default() };
    let mut all = vec![version(1, "", "1"), version(2, "", "2"), said("removed", 3, removed)];
    let scope = Book::of(&all).scope();
    let of =
        |scope, references: &[&str]| references.iter().map(|reference| found(scope, reference)).collect::<Vec<_>>();
    let wanted = [None, None, Some(digest("2")), Some(digest("1")), None];
    assert_eq!(of(&scope, &["shop", "shop~0", "shop~1", "shop/till~2", "shop~3"]), wanted);
    all.push(version(4, "b", "3"));
    let scope = Book::of(&all).scope();
    let wanted = [Some(digest("3")), None];
    assert_eq!(of(&scope, &["shop~0", "shop~1"]), wanted, "where it runs in one cluster, others do not count");
}

#[test]
fn each_cluster_goes_back_by_itself() {
    let rollout = |minute: i64, name: &str| ["a", "b", "c"].map(|cluster| version(minute, cluster, name));
    let mut all = [rollout(1, "1"), rollout(2, "2")].concat();
    let scope = Book::of(&all).scope();
    let names = ["shop~0", "shop~1", "shop~2"].map(|reference| found(&scope, reference));
    assert_eq!(names, [Some(digest("2")), Some(digest("1")), None]);
    all.push(version(3, "b", "3"));
    let Found::Ambiguous(of) = Book::of(&all).scope().artifact_digest("shop~1").expect("answered") else {
        panic!("the clusters differ")
    };
    let labels: Vec<&str> = of.iter().map(|candidate| candidate.label.as_str()).collect();
    let wanted = [("1", "a"), ("2", "b"), ("1", "c")]
        .map(|(name, cluster)| format!("quay.example/pos/till:{name} in shop ({cluster})"));
    assert_eq!(labels, wanted);
}

#[test]
fn a_mark_without_digits_is_a_part_of_a_name() {
    let all = [
        runs("1", "y", "c#-api", "a"),
        runs("2", "team#blue", "web", "b"),
        runs("3", "y", "f#7", "c"),
        deployed("4", 2, |event| {
            (event.environment, event.service) = ("y".into(), "c#-api".into());
            event.artifact_digest = digest("d");
        }),
    ];
    let scope = Book::of(&all).scope();
    let names = ["y/c#-api", "y/c#-api~1", "y/c#-api#0", "team#blue", "team#blue/web", "y/f#7", "y#2/f#7"];
    let digests = names.map(|reference| found(&scope, reference).unwrap_or_default());
    assert_eq!(digests, ["d", "a", "a", "b", "b", "c", "c"].map(digest));
}
