//! Two artifacts side by side, and SBOMs of one artifact side by side.

use pedigraph_projector::answers::{Compare, SbomDiff, Sboms};
use pedigraph_projector::store::Budget;
use pedigraph_projector::{Disagreements, Scope};
use pedigraph_proto::event::{
    ArtifactPublished, Component, ComponentsListed, Material, SbomAttached, ServiceDeployed, TestsFinished,
};
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{Event, canonical};

use crate::book::{Book, Said, digest, packaged, said};
use crate::budget::Counted;

fn version(name: &str, at: i64, parents: &[&str]) -> Said {
    packaged(name, at, |event| {
        event.artifact_ref = format!("r.io/{name}:1");
        event.parent_digests = parents.iter().map(|parent| digest(parent)).collect();
    })
}

fn compare(scope: &Scope, a: &str, b: &str) -> Compare {
    scope.compare(&digest(a), &digest(b)).expect("read").expect("known")
}

/// What one digest is called here.
fn name_of(found: &str) -> &'static str {
    let names = ["root", "left", "left-2", "right", "right-2", "right-3", "alone", "join"];
    names.into_iter().find(|name| digest(name) == found).unwrap_or("?")
}

/// `root` has two lines of descendants, which `join` joins.
fn family() -> Vec<Said> {
    vec![
        version("root", 0, &[]),
        version("left", 1, &["root"]),
        version("left-2", 2, &["left"]),
        version("right", 3, &["root"]),
        version("right-2", 4, &["right"]),
        version("right-3", 5, &["right-2"]),
        version("join", 6, &["left-2", "right-3"]),
        version("alone", 7, &[]),
    ]
}

/// Common ancestors with the steps from each side.
type Ancestors = Vec<(&'static str, u64, u64)>;
/// Both ends of each edge.
type Path = Vec<(&'static str, &'static str)>;

fn ways(scope: &Scope, a: &str, b: &str) -> (Ancestors, Path) {
    let found = compare(scope, a, b);
    assert_eq!((found.truncated, found.common_ancestors_cut), (None, 0));
    let ancestors = found.common_ancestors.iter();
    let ancestors = ancestors.map(|one| (name_of(&one.digest), one.steps_from_a, one.steps_from_b)).collect();
    (ancestors, found.path.iter().map(|edge| (name_of(&edge.from), name_of(&edge.to))).collect())
}

#[test]
fn common_ancestors_are_the_nearest_and_the_path_leads_through_the_first() {
    let scope = Book::of(&family()).scope();
    let (ancestors, path) = ways(&scope, "left-2", "right-3");
    assert_eq!(ancestors, [("root", 2, 3)]);
    let expected = [("left", "left-2"), ("root", "left"), ("root", "right"), ("right", "right-2")];
    assert_eq!(path, [&expected[..], &[("right-2", "right-3")]].concat());
    assert_eq!(ways(&scope, "root", "right-2"), (vec![("root", 0, 2)], vec![("root", "right"), ("right", "right-2")]));
    assert_eq!(ways(&scope, "right-2", "root"), (vec![("root", 2, 0)], vec![("right", "right-2"), ("root", "right")]));
    assert_eq!(ways(&scope, "join", "left"), (vec![("left", 2, 0)], vec![("left-2", "join"), ("left", "left-2")]));
    assert_eq!(ways(&scope, "join", "alone"), (vec![], vec![]));
}

#[test]
fn evidence_and_what_each_was_made_of_stand_side_by_side() {
    let mut events = family();
    let material = Material { uri: "pkg:docker/debian@12".into(), digest: digest("debian"), ..Material::default() };
    events.push(packaged("built", 8, |event| {
        event.commit = "0c5a9f3e7b1d2c4e6f8091a2b3c4d5e6f7081920".into();
        event.run = "https://ci.example/9".into();
        event.materials = vec![material];
    }));
    let tests =
        TestsFinished { artifact_digest: digest("root"), suite: "unit".into(), passed: 3, ..Default::default() };
    events.push(said("tests", 9, tests));
    let deployed = ServiceDeployed {
        environment: "prod".into(),
        service: "cart".into(),
        artifact_digest: digest("built"),
        ..ServiceDeployed::default()
    };
    events.push(said("deployed", 10, deployed));
    let found = compare(&Book::of(&events).scope(), "root", "built");
    assert_eq!((found.tests.a.len(), found.tests.b.len()), (1, 0));
    assert_eq!((found.deployments.a.len(), found.deployments.b.len()), (0, 1));
    assert!(found.gates.a.is_empty() && found.gates.b.is_empty() && found.cut.is_empty());
    let (a, b) = (&found.build_inputs.a, &found.build_inputs.b);
    assert!(a.commit.is_none() && a.run.is_none() && a.materials.is_empty());
    assert_eq!(b.commit.as_ref().map(|item| item.id.as_str()), Some("0c5a9f3e7b1d2c4e6f8091a2b3c4d5e6f7081920"));
    assert_eq!(b.run.as_ref().map(|item| item.id.as_str()), Some("https://ci.example/9"));
    let materials: Vec<_> = b.materials.iter().map(|one| (one.uri.as_str(), one.digest.clone())).collect();
    assert_eq!(materials, [("pkg:docker/debian@12", digest("debian"))]);
    assert!(found.a.badges.is_some() && found.b.replay_hash.is_some());
    assert_eq!((found.diff.from, found.diff.to), (digest("root"), digest("built")));
}

/// A line of versions.
fn line(len: i64) -> Counted {
    let version = |n: i64| {
        let event = ArtifactPublished {
            artifact_digest: digest(&format!("v{n}")),
            artifact_ref: format!("r.io/buoy:1.{n}.0"),
            ..ArtifactPublished::default()
        };
        said(&format!("v{n}"), n, event)
    };
    Counted::of(&(0..len).map(version).collect::<Vec<_>>())
}

#[test]
fn the_search_costs_the_way_between_and_ends_at_a_limit_that_is_told() {
    let cost = |len: i64| {
        let counted = line(len);
        let (scope, meter) = counted.scope(Budget::NONE);
        let found = compare(&scope, &format!("v{}", len - 6), &format!("v{}", len - 1));
        assert_eq!((found.path.len(), found.truncated, found.common_ancestors.len()), (5, None, 1));
        meter.rows()
    };
    let (short, long) = (cost(300), cost(3_000));
    assert!(short <= 500 && long <= short + short / 4, "{short} {long}");
    let counted = line(2_000);
    let (scope, meter) = counted.scope(Budget::NONE);
    let found = compare(&scope, "v1", "v1999");
    assert_eq!((found.truncated.as_deref(), found.path.len()), (Some("nodes"), 0));
    assert!(meter.rows() <= 500 * 30, "{}", meter.rows());
    let (scope, _) = counted.scope(Budget { rows_max: 2_000, ..Budget::NONE });
    assert_eq!(compare(&scope, "v1000", "v1999").truncated.as_deref(), Some("cost"));
}

fn sbom(name: &str, tool: &str, at: i64, purls: &[&str]) -> Said {
    let mut purls = purls.to_vec();
    purls.sort_unstable();
    let component = |purl: &&str| match purl.starts_with("pkg:") {
        true => Component { purl: (*purl).to_owned(), ..Component::default() },
        false => Component { name: (*purl).to_owned(), version: "1".to_owned(), ..Component::default() },
    };
    let components: Vec<Component> = purls.iter().map(component).collect();
    let set = canonical::component_set(components.iter()).to_string();
    let attached = SbomAttached {
        artifact_digest: digest(name),
        sbom_digest: digest(&format!("{tool} {at}")),
        tool: tool.to_owned(),
        component_set: set.clone(),
        component_count: u32::try_from(components.len()).expect("few"),
        ..SbomAttached::default()
    };
    let listed = ComponentsListed { component_set: set, first: 0, components };
    Said { id: format!("{tool} {at}"), minute: at, facts: vec![Fact::now(attached), Fact::now(listed)] }
}

fn sboms(events: &[Said], told: Disagreements) -> Sboms {
    Book::of(events).scope().sboms(&digest("app"), told).expect("read").expect("known")
}

#[test]
fn sboms_that_count_disagree_by_package_and_version() {
    let events = [
        sbom("app", "one", 0, &["pkg:npm/gone@1.0.0"]),
        sbom("app", "one", 1, &["pkg:npm/rope@1.0.0?foo=bar", "pkg:npm/knot@1.0.0", "bare"]),
        sbom("app", "two", 2, &["pkg:npm/rope@1.0.0", "pkg:npm/knot@2.0.0", "bare"]),
    ];
    let found = sboms(&events, Disagreements::Told);
    let shown: Vec<(&str, bool)> = found.sboms.iter().map(|sbom| (sbom.item.id.as_str(), sbom.current)).collect();
    let (old, one, two) = (digest("one 0"), digest("one 1"), digest("two 2"));
    assert_eq!(shown, [(two.as_str(), true), (one.as_str(), true), (old.as_str(), false)]);
    let differ = found.disagreements.expect("told");
    let said: Vec<_> = differ.iter().map(|one| (one.purl.as_str(), &one.listed_in[..], &one.not_in[..])).collect();
    let (one, two) = ([one], [two]);
    assert_eq!(said, [("pkg:npm/knot@1.0.0", &one[..], &two[..]), ("pkg:npm/knot@2.0.0", &two[..], &one[..])]);
    assert_eq!(found.disagreements_total, Some(2));
    let left = sboms(&events, Disagreements::Left);
    assert_eq!((left.sboms.len(), left.disagreements, left.disagreements_total), (3, None, None));
    let alone = sboms(&events[..2], Disagreements::Told);
    assert_eq!((alone.disagreements, alone.disagreements_total), (Some(vec![]), Some(0)), "one disagrees with nobody");
}

#[test]
fn of_very_many_sboms_the_newest_are_compared_and_the_count_is_told() {
    let mut events: Vec<Said> =
        (0..200).map(|n| sbom("app", &format!("tool-{n}"), n, &["pkg:npm/rope@1.0.0"])).collect();
    events.insert(7, sbom("app", "newest", 300, &["pkg:npm/rope@1.0.0", "pkg:npm/knot@1.0.0"]));
    let book = Book::of(&events);
    let found = book.scope().sboms(&digest("app"), Disagreements::Told).expect("read").expect("known");
    assert_eq!((found.compared, found.current_total), (Some(50), Some(201)));
    let differ = found.disagreements.expect("told");
    let said: Vec<_> = differ.iter().map(|one| (one.purl.as_str(), &one.listed_in[..], one.not_in.len())).collect();
    assert_eq!(said, [("pkg:npm/knot@1.0.0", &[digest("newest 300")][..], 49)]);
    let large: Vec<String> = (0..4_000).map(|n| format!("pkg:npm/part-{n}@1.0.0")).collect();
    let large: Vec<&str> = large.iter().map(String::as_str).collect();
    let counted = Counted::of(&[sbom("app", "a", 1, &large), sbom("app", "b", 0, &["pkg:npm/rope@1.0.0"])]);
    let (scope, _) = counted.scope(Budget { rows_max: 3_000, ..Budget::NONE });
    let found = scope.sboms(&digest("app"), Disagreements::Told).expect("an answer").expect("known");
    assert_eq!((found.compared, found.current_total), (Some(0), Some(2)), "what cannot be read is said");
}

#[test]
fn a_diff_that_is_too_long_for_an_answer_has_the_first_of_each_list() {
    let parts = |kind: &str| (0..200).map(|n| format!("pkg:{kind}/part-{n:03}@1.0.0")).collect::<Vec<String>>();
    let listed = |name: &str, at: i64, kind: &str| {
        let purls = parts(kind);
        sbom(name, "tool", at, &purls.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let book = Book::of(&[listed("app", 0, "npm"), listed("next", 1, "pypi")]);
    let diff = || book.scope().diff(&digest("app"), &digest("next")).expect("read");
    let (whole, cut) = (diff().listed(1 << 20), diff().listed(10 << 10));
    assert_eq!((whole.sbom_diff.added.len(), whole.sbom_diff.cut), (200, 0));
    let all = &cut.sbom_diff;
    let listed = [all.added.len(), all.removed.len()];
    assert!(listed.iter().all(|len| (10..50).contains(len)), "{listed:?}");
    assert_eq!((all.summary.added, all.summary.removed), (200, 200));
    assert_eq!(all.cut, 400 - listed.iter().sum::<usize>() as u64);
    assert_eq!(cut.replay_hash, whole.replay_hash);
}

#[test]
fn disagreements_are_cut_and_counted() {
    let purls = |kind: &str| (0..700).map(|n| format!("pkg:{kind}/part-{n:03}@1.0.0")).collect::<Vec<String>>();
    let listed = |tool: &str, at: i64, kind: &str| {
        let purls = purls(kind);
        sbom("app", tool, at, &purls.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let found = sboms(&[listed("one", 0, "npm"), listed("two", 1, "pypi")], Disagreements::Told);
    assert_eq!((found.disagreements.map(|all| all.len()), found.disagreements_total), (Some(1_000), Some(1_400)));
}

/// What two artifacts with these components differ by.
fn between(before: &[Component], after: &[Component]) -> SbomDiff {
    let listed = |name: &str, components: &[Component]| {
        let mut said = sbom(name, "tool", 0, &[]);
        let (set, count) = (canonical::component_set(components.iter()).to_string(), components.len());
        for fact in &mut said.facts {
            match &mut fact.event {
                Some(Event::SbomAttached(event)) => {
                    (event.component_set, event.component_count) = (set.clone(), u32::try_from(count).expect("few"));
                }
                Some(Event::ComponentsListed(event)) => {
                    (event.component_set, event.components) = (set.clone(), components.to_vec());
                }
                _ => {}
            }
        }
        Said { id: format!("sbom of {name}"), ..said }
    };
    let book = Book::of(&[listed("app", before), listed("next", after)]);
    book.scope().diff(&digest("app"), &digest("next")).expect("read").sbom_diff
}

fn of_purl(purl: &str) -> Component {
    Component { purl: purl.to_owned(), ..Component::default() }
}

#[test]
fn the_epoch_of_an_rpm_is_a_part_of_its_version() {
    let of = |version: &str, epoch: &str| of_purl(&format!("pkg:rpm/redhat/bind@{version}?arch=x86_64{epoch}"));
    let changed = |from: Component, to: Component| {
        let found = between(&[from], &[to]);
        let pairs = found.version_changed.into_iter().map(|one| (one.from_version, one.to_version));
        (found.summary.unchanged, pairs.collect::<Vec<_>>())
    };
    let told = |from: &str, to: &str| (0, vec![(from.to_owned(), to.to_owned())]);
    assert_eq!(changed(of("9-1", "&epoch=31"), of("9-1", "&epoch=32")), told("31:9-1", "32:9-1"));
    assert_eq!(changed(of("1-1", "&epoch=1"), of("2-1", "")), told("1:1-1", "2-1"));
    assert_eq!(changed(of("9-1", "&epoch=0"), of("9-1", "")), (1, vec![]), "an absent epoch is 0");
    assert_eq!(changed(of("9-1", "&epoch=2"), of("2:9-1", "")), (1, vec![]), "wherever it is written");
}

#[test]
fn of_a_package_at_several_places_each_content_counts() {
    let of = |algorithm: &str, content: &str| Component {
        digest: format!("{algorithm}:{content}"),
        ..of_purl("pkg:maven/g/a@1.0.0")
    };
    let changed = |before: &[Component], after: &[Component]| {
        let found = between(before, after);
        let pairs = found.content_changed.into_iter().map(|one| (one.from_digest, one.to_digest));
        (found.summary.unchanged, pairs.collect::<Vec<_>>())
    };
    let [x, y, z] = ["11", "22", "33"].map(|content| of("sha1", content));
    let swapped = (0, vec![("sha1:22".to_owned(), "sha1:33".to_owned())]);
    assert_eq!(changed(&[x.clone(), y.clone()], &[x.clone(), z.clone()]), swapped);
    assert_eq!(changed(&[x.clone(), y.clone()], &[x.clone(), y]), (1, vec![]));
    assert_eq!(changed(&[x.clone(), of("md5", "44")], &[x, of("sha512", "55")]), (1, vec![]), "of one algorithm");
}

#[test]
fn a_changed_version_names_which_of_several_things_it_is_of() {
    let jar = |version: &str, qualifiers: &str| of_purl(&format!("pkg:maven/io.netty/epoll@{version}{qualifiers}"));
    let found = between(
        &[jar("4.1.100", "?classifier=linux-x86_64"), jar("4.1.100", "?type=jar")],
        &[jar("4.1.118", "?classifier=linux-x86_64"), jar("4.1.90", "")],
    );
    let changed: Vec<_> =
        found.version_changed.iter().map(|one| (one.purl.as_str(), one.to_version.as_str())).collect();
    let expected =
        [("pkg:maven/io.netty/epoll", "4.1.90"), ("pkg:maven/io.netty/epoll?classifier=linux-x86_64", "4.1.118")];
    assert_eq!(changed, expected);
}
