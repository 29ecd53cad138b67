//! SBOM contents and impact from a real ledger, compared with a plain map.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pedigraph_projector::answers::{Direction, FixCount, FixProgress, Impact};
use pedigraph_projector::store::{Budget, Meter};
use pedigraph_projector::{Affecting, Error, Found, ImpactQuestion, Scope};
use pedigraph_proto::event::{
    AliasObserved, ArtifactPublished, Component, ComponentsListed, DigestKind, ImageObserved, PlatformManifest,
    SbomAttached, ServiceDeployed,
};
use pedigraph_proto::{Event, canonical};
use proptest::prelude::*;
use world::{Random, SECOND, Sent, World, scope, seed};

/// 2000-01-01T00:00:00Z: earlier times count as absent.
const YEAR_2000: i64 = 946_684_800 * SECOND;

#[path = "components/reached.rs"]
mod reached;
mod world;

fn component(purl: &str) -> Component {
    Component { purl: purl.to_owned(), name: "x".to_owned(), ..Component::default() }
}

fn digest(n: usize) -> String {
    format!("sha256:{n:064x}")
}

/// The facts of one SBOM, its components in slices of `slice`.
fn sbom(artifact: &str, document: &str, tool: &str, mut components: Vec<Component>, slice: usize) -> Vec<Event> {
    components.sort_by(|a, b| a.purl.cmp(&b.purl));
    let set = canonical::component_set(components.iter()).to_string();
    let attached = SbomAttached {
        artifact_digest: artifact.to_owned(),
        sbom_digest: document.to_owned(),
        tool: tool.to_owned(),
        component_set: set.clone(),
        ..SbomAttached::default()
    };
    let mut facts: Vec<Event> = vec![attached.into()];
    for (n, slice_of) in components.chunks(slice).enumerate() {
        let first = u32::try_from(n * slice).expect("small");
        facts.push(ComponentsListed { component_set: set.clone(), first, components: slice_of.to_vec() }.into());
    }
    facts
}

fn sent(n: usize, time: i64, events: Vec<Event>) -> Sent {
    Sent { time: YEAR_2000 + time * SECOND * 10_000_000, id: n.to_string(), events }
}

fn deployed(environment: &str, service: &str, digest: &str) -> Event {
    let (environment, service) = (environment.to_owned(), service.to_owned());
    ServiceDeployed { environment, service, artifact_digest: digest.to_owned(), ..ServiceDeployed::default() }.into()
}

fn ask(scope: &Scope, purl: &str, versions: Option<&str>, environment: Option<&str>) -> Impact {
    let mut whole: Option<Impact> = None;
    let mut after = None;
    loop {
        let (versions, environment) = (versions.map(str::to_owned), environment.map(str::to_owned));
        let of = Affecting::Package { purl: purl.to_owned(), versions };
        let question = ImpactQuestion { of, environment, limit: 3, after, progress: true };
        let (page, next) = scope.impact(&question).expect("answered");
        whole = Some(match whole.take() {
            None => page,
            Some(mut whole) => {
                whole.deployed.extend(page.deployed);
                whole.unknown.extend(page.unknown);
                if let Some(rows) = &mut whole.not_deployed {
                    rows.extend(page.not_deployed.unwrap_or_default());
                }
                whole
            }
        });
        after = next;
        if after.is_none() {
            return whole.expect("a page");
        }
    }
}

fn package(purl: &str, versions: Option<&str>) -> Affecting {
    Affecting::Package { purl: purl.to_owned(), versions: versions.map(str::to_owned) }
}

#[test]
fn impact_says_where_a_package_runs_and_what_is_unknown() {
    let mut world = World::new();
    let left = vec![
        Component { depends_on: vec![1], root_dependency: true, ..component("pkg:npm/app-core@1.0.0") },
        component("pkg:npm/left-pad@1.3.0"),
        component("pkg:npm/left-pad@1.4.0?arch=x"),
    ];
    world.append(&[
        sent(0, 10, sbom(&digest(1), &digest(101), "syft", left, 2)),
        sent(1, 10, sbom(&digest(2), &digest(102), "syft", vec![component("pkg:npm/left-pad@2.0.0")], 10)),
        sent(2, 10, sbom("", &digest(103), "syft", vec![component("pkg:npm/left-pad@1.3.0")], 10)),
        sent(3, 11, vec![deployed("prod", "cart", &digest(1)), deployed("prod", "pay", &digest(9))]),
        sent(4, 11, vec![deployed("staging", "cart", &digest(2))]),
    ]);
    let views = world.views();
    let now = scope(&views, None, None);
    let impact = ask(&now, "pkg:npm/left-pad@1.3.0", None, None);
    let row = &impact.deployed[0];
    assert_eq!((row.environment.as_deref(), row.service.as_deref()), (Some("prod"), Some("cart")));
    assert_eq!(row.components[0].path, ["pkg:npm/app-core@1.0.0", "pkg:npm/left-pad@1.3.0"]);
    assert_eq!(impact.unknown.iter().map(|row| row.service.as_str()).collect::<Vec<_>>(), ["pay"]);
    assert_eq!(impact.not_deployed.expect("all environments")[0].digest, digest(103), "by its own digest");
    assert_eq!((impact.counts.deployed, impact.counts.not_deployed, impact.counts.unknown), (1, 1, 1));

    let ranged = ask(&now, "pkg:npm/left-pad", Some("vers:npm/>=1.4|<3"), None);
    assert_eq!(ranged.deployed.len(), 2);
    assert_eq!(ask(&now, "pkg:npm/left-pad", None, Some("staging")).deployed.len(), 1);
    assert_eq!(ask(&now, "pkg:npm/left-pad", None, Some("staging")).not_deployed, None);
    assert_eq!(ask(&scope(&views, None, Some(2)), "pkg:npm/left-pad@1.3.0", None, None).counts.not_deployed, 2);
    let refused =
        ImpactQuestion { of: package("left-pad", None), environment: None, limit: 1, after: None, progress: true };
    assert!(matches!(now.impact(&refused), Err(Error::Question(_))));
    let refused = ImpactQuestion { of: package("pkg:alpm/arch/x", Some("vers:alpm/>1")), ..refused };
    assert!(matches!(now.impact(&refused), Err(Error::Question(_))));

    let listed = now.components(&digest(1), Some("pkg:npm/app-core@1.0.0"), 1).expect("listed");
    assert_eq!(listed[0].purl, "pkg:npm/left-pad@1.3.0");
    assert_eq!(now.components(&digest(103), None, 10).expect("listed").len(), 1);
}

#[test]
fn packages_are_found_by_what_people_call_them() {
    let mut world = World::new();
    let of = |purls: &[&str]| purls.iter().map(|purl| component(purl)).collect::<Vec<_>>();
    let log4j = "pkg:maven/org.apache.logging.log4j/log4j";
    let first = of(&[&format!("{log4j}-core@2.14.1"), &format!("{log4j}-core@2.15.0"), &format!("{log4j}-api@2.14.1")]);
    let second = of(&["pkg:npm/%40angular/core@17.0.0", "pkg:npm/core@1.0.0", "pkg:pypi/Django@4.2"]);
    world.append(&[
        sent(0, 10, sbom(&digest(1), &digest(101), "syft", first, 2)),
        sent(1, 11, sbom(&digest(2), &digest(102), "syft", second, 10)),
        sent(2, 12, vec![deployed("prod", "core", &digest(1))]),
    ]);
    let views = world.views();
    let now = scope(&views, None, None);
    let found = |query: &str| -> Vec<String> {
        let found = now.resolve(query).expect("answered").candidates.into_iter();
        found.filter(|candidate| candidate.kind == "purl").map(|candidate| candidate.id).collect()
    };
    assert_eq!(found("log4j-core"), [format!("{log4j}-core")]);
    for query in ["log4j-core 2.14.1", "Log4j-Core@2.14.1", "org.apache.logging.log4j:log4j-core:2.14.1"] {
        assert_eq!(found(query), [format!("{log4j}-core@2.14.1")], "{query}");
    }
    assert_eq!(found("org.apache.logging.log4j/log4j-api"), [format!("{log4j}-api")]);
    assert_eq!(found("log4j"), [format!("{log4j}-api"), format!("{log4j}-core")], "what begins so");
    assert_eq!(found("django"), ["pkg:pypi/django"]);
    assert_eq!(found("@angular/core"), ["pkg:npm/%40angular/core"]);
    assert_eq!(found("core"), ["pkg:npm/%40angular/core", "pkg:npm/core"], "beside the service of that name");
    assert_eq!(found("prod"), [""; 0], "an environment");
    for none in ["lo", "log5j", "org.other:log4j-core", "a b c d e"] {
        assert_eq!(found(none), [""; 0], "{none}");
    }
    let before = scope(&views, None, Some(0));
    assert!(before.resolve("django").expect("answered").candidates.is_empty(), "nobody knew it");
    assert_eq!(before.resolve("log4j-api").expect("answered").candidates.len(), 1);
}

#[test]
fn a_package_is_found_by_its_namespace_among_very_many_of_its_name() {
    let mut world = World::new();
    let mut purls: Vec<_> = (0..60).map(|n| component(&format!("pkg:maven/org.a{n}/core@1"))).collect();
    purls.extend((0..60).map(|n| component(&format!("pkg:npm/%40b{n}/corelike-{n}@1"))));
    purls.push(component("pkg:maven/org.z/core@1"));
    purls.push(component("pkg:npm/%40z/corelike-z@1"));
    world.append(&[sent(0, 10, sbom(&digest(1), &digest(101), "syft", purls, 10))]);
    let views = world.views();
    let found = |query: &str| {
        let found = scope(&views, None, None).resolve(query).expect("answered").candidates;
        found.into_iter().map(|candidate| candidate.id).collect::<Vec<_>>()
    };
    assert_eq!(found("org.z:core"), ["pkg:maven/org.z/core"]);
    assert_eq!(found("@z/corelik"), ["pkg:npm/%40z/corelike-z"], "what begins so");
}

#[test]
fn the_newest_sbom_of_each_tool_counts_and_links_bring_contents() {
    let mut world = World::new();
    let link = SbomAttached { artifact_digest: digest(2), sbom_digest: digest(103), ..SbomAttached::default() };
    world.append(&[
        sent(0, 12, sbom(&digest(1), &digest(101), "syft", vec![component("pkg:npm/new@1")], 10)),
        sent(1, 11, sbom(&digest(1), &digest(102), "syft", vec![component("pkg:npm/old@1")], 10)),
        sent(2, 10, sbom(&digest(1), &digest(104), "trivy", vec![component("pkg:npm/other@1")], 10)),
        sent(3, 13, vec![link.into()]),
        sent(4, 11, sbom("", &digest(103), "syft", vec![component("pkg:npm/old@1")], 10)),
    ]);
    let views = world.views();
    let now = scope(&views, None, None);
    let purls = |digest: &str| {
        now.components(digest, None, 10).expect("listed").into_iter().map(|c| c.purl).collect::<Vec<_>>()
    };
    assert_eq!(purls(&digest(1)), ["pkg:npm/new@1", "pkg:npm/other@1"]);
    assert_eq!(purls(&digest(2)), ["pkg:npm/old@1"]);
    let old = ask(&now, "pkg:npm/old", None, None).not_deployed.expect("all");
    assert_eq!(old.iter().map(|row| row.digest.clone()).collect::<Vec<_>>(), [digest(2)]);
    assert_eq!(ask(&scope(&views, None, Some(2)), "pkg:npm/old", None, None).counts.not_deployed, 0);
}

fn published(n: usize, reference: &str) -> Event {
    let (artifact_digest, artifact_ref) = (digest(n), reference.to_owned());
    ArtifactPublished { artifact_digest, artifact_ref, ..ArtifactPublished::default() }.into()
}

/// (artifact, fixedIn) of everything that contains it.
fn fixes(scope: &Scope, versions: Option<&str>) -> BTreeMap<String, Option<String>> {
    let rows = ask(scope, "pkg:npm/left-pad", versions, None).not_deployed.expect("all environments");
    rows.into_iter().map(|row| (row.artifact_ref, row.fixed_in)).collect()
}

#[test]
fn the_fix_is_the_next_version_of_the_line_that_is_known_to_be_free() {
    let mut world = World::new();
    let holds = |n: usize, purl: &str| sbom(&digest(n), &digest(100 + n), "syft", vec![component(purl)], 10);
    world.append(&[
        sent(1, 11, vec![published(1, "r.example/app:1.0.0")]),
        sent(2, 12, vec![published(2, "r.example/app:2.0.0")]),
        sent(3, 13, vec![published(3, "r.example/app:1.0.1")]),
        sent(4, 14, vec![published(4, "r.example/app:2.1.0")]),
        sent(5, 15, vec![published(5, "r.example/app:2.2.0")]),
        sent(6, 16, vec![published(6, "r.example/other:9.0.0")]),
        sent(11, 20, holds(1, "pkg:npm/left-pad@1.0.0")),
        sent(12, 20, holds(2, "pkg:npm/left-pad@1.1.0")),
        sent(13, 20, holds(3, "pkg:npm/right-pad@1.0.0")),
        sent(16, 20, holds(6, "pkg:npm/right-pad@1.0.0")),
        // Nobody describes 2.1.0.
        sent(15, 21, holds(5, "pkg:npm/left-pad@3.0.0")),
    ]);
    let views = world.views();
    let app = |version: &str| format!("r.example/app:{version}");
    let now = scope(&views, None, None);
    let want = [("1.0.0", Some("1.0.1")), ("2.0.0", None), ("2.2.0", None)];
    assert_eq!(
        fixes(&now, None),
        want.map(|(here, fix)| (app(here), fix.map(app))).into(),
        "a fix is no lower version"
    );
    let want = [("1.0.0", Some("1.0.1")), ("2.0.0", Some("2.2.0"))];
    assert_eq!(
        fixes(&now, Some("vers:npm/<3.0.0")),
        want.map(|(here, fix)| (app(here), fix.map(app))).into(),
        "what is in the range counts, and what nobody describes is passed over"
    );
    let before = scope(&views, None, Some(7));
    assert_eq!(fixes(&before, None), [("1.0.0", None), ("2.0.0", None)].map(|(v, fix)| (app(v), fix)).into());
}

/// By environment.
type Rollout = BTreeMap<String, Option<FixProgress>>;

/// A line of versions, of which the older half holds it, among services that run other things; rows that were read.
fn rolled_out(others: usize, environment: Option<&str>) -> (Rollout, u64) {
    let mut world = World::new();
    let (mut events, line) = (Vec::new(), 10);
    for n in 1..=line {
        let purl = if n <= line / 2 { "pkg:npm/left-pad@1.0.0" } else { "pkg:npm/right-pad@1.0.0" };
        let at = i64::try_from(n).expect("small");
        events.push(sent(n, at, vec![published(n, &format!("r.example/app:1.{n}.0"))]));
        events.push(sent(100 + n, at, sbom(&digest(n), &digest(100 + n), "syft", vec![component(purl)], 10)));
    }
    // Two places run what holds it, one what is free of it, and one goes from the one to the other.
    for (n, environment, version) in [(1, "a", 1), (2, "b", 5), (3, "c", 7), (4, "d", 2), (5, "d", 10)] {
        events.push(sent(
            200 + n,
            20 + i64::try_from(n).expect("small"),
            vec![deployed(environment, "app", &digest(version))],
        ));
    }
    for n in 0..others {
        let other = 1_000 + n;
        events.push(sent(other, 20, vec![deployed("a", &format!("other-{n}"), &digest(other))]));
    }
    world.append(&events);
    let (views, meter) = (world.views(), Arc::new(Meter::new(Budget::NONE)));
    let impact = ask(&scope(&views, None, None).within(meter.clone()), "pkg:npm/left-pad", None, environment);
    let rows = impact.deployed.into_iter();
    let rows = rows.map(|row| (row.environment.unwrap_or_default(), row.fix_progress)).collect();
    assert!(impact.not_deployed.iter().flatten().all(|row| row.fix_progress.is_none()), "it runs nowhere");
    (rows, meter.rows())
}

#[test]
fn how_far_a_fix_is_rolled_out_is_counted_by_the_places_of_its_line() {
    let (rows, _) = rolled_out(0, None);
    let alone = FixCount { lanes: 1, fixed: 0 };
    let half = Some(FixProgress { lanes: 4, fixed: 2, in_environment: alone, at_least: false });
    assert_eq!(rows, BTreeMap::from([("a".to_owned(), half), ("b".to_owned(), half)]));
}

#[test]
fn how_far_a_fix_is_rolled_out_costs_nothing_for_what_else_runs() {
    // Of one environment: the others are in another one, whose undescribed things are not listed.
    let read = |others: usize| rolled_out(others, Some("b")).1;
    let (few, many) = (read(10), read(200));
    eprintln!("rows read for the impact of a line in four places: {few} among 10 others, {many} among 200");
    assert!(many <= few + few / 2, "{few} {many}");
}

/// Documents of a generated history: artifact, tool, time, purls.
type Document = (usize, usize, i64, BTreeSet<(usize, usize)>);

fn purl((package, version): (usize, usize)) -> String {
    format!("pkg:npm/p{package}@{version}.0.0")
}

/// artifact → what it contains as of some documents.
fn model(documents: &[Document]) -> BTreeMap<usize, BTreeSet<String>> {
    let mut newest: BTreeMap<(usize, usize), (i64, usize, &Document)> = BTreeMap::new();
    for (n, document) in documents.iter().enumerate() {
        let key = (document.2, n);
        let at = newest.entry((document.0, document.1)).or_insert((key.0, key.1, document));
        if (at.0, at.1) < key {
            *at = (key.0, key.1, document);
        }
    }
    let mut model: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for ((artifact, _), (.., document)) in newest {
        model.entry(artifact).or_default().extend(document.3.iter().map(|p| purl(*p)));
    }
    model
}

fn check(documents: &[Document], slice: usize, as_of: usize) {
    let mut world = World::new();
    let entries: Vec<Sent> = documents
        .iter()
        .enumerate()
        .map(|(n, (artifact, tool, time, purls))| {
            let components = purls.iter().map(|p| component(&purl(*p))).collect();
            sent(n, *time, sbom(&digest(*artifact), &digest(1_000_000 + n), &format!("tool{tool}"), components, slice))
        })
        .collect();
    world.append(&entries);
    let views = world.views();
    for known in [documents.len(), as_of.min(documents.len())].into_iter().filter(|known| *known > 0) {
        let scope = scope(&views, None, Some(known as u64 - 1));
        let model = model(&documents[..known]);
        for (artifact, want) in &model {
            let listed = scope.components(&digest(*artifact), None, 1_000).expect("listed");
            assert_eq!(&listed.into_iter().map(|c| c.purl).collect::<BTreeSet<_>>(), want, "artifact {artifact}");
        }
        for package in 0..6 {
            let impact = ask(&scope, &format!("pkg:npm/p{package}"), Some("vers:npm/>=1|<=2"), None);
            // Longer lists than a page come in the order of the store.
            let got: BTreeMap<String, Vec<String>> = impact
                .not_deployed
                .expect("all")
                .into_iter()
                .map(|row| (row.digest, row.components.into_iter().map(|c| c.purl).collect()))
                .collect();
            let asked: BTreeSet<String> = [1, 2].map(|version| purl((package, version))).into();
            let want: BTreeMap<_, _> = model
                .iter()
                .map(|(artifact, purls)| (digest(*artifact), purls.intersection(&asked).cloned().collect::<Vec<_>>()))
                .filter(|(_, purls)| !purls.is_empty())
                .collect();
            assert_eq!(got, want, "package {package} as of {known}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn contents_and_impact_are_as_in_a_map(
        documents in prop::collection::vec(
            (0..6_usize, 0..2_usize, 10..14_i64, prop::collection::btree_set((0..6_usize, 0..4_usize), 0..8)), 1..30),
        slice in 1..9_usize,
        as_of in 0..30_usize,
    ) {
        check(&documents, slice, as_of);
    }
}

#[test]
fn many_sets_answer_from_segments_as_from_the_buffer() {
    let mut random = Random(seed());
    let documents: Vec<Document> =
        (0..9_500).map(|n| (n, 0, 10, (0..3).map(|_| (random.below(6), random.below(400))).collect())).collect();
    check(&documents, 2, 5_000);
}

/// An index that lists others, each with its platform.
fn index(n: usize, listed: &[(usize, &str)]) -> Event {
    let manifest = |(n, platform): &(usize, &str)| PlatformManifest {
        digest: digest(*n),
        platform: (*platform).to_owned(),
        ..PlatformManifest::default()
    };
    let manifests = listed.iter().map(manifest).collect();
    ImageObserved { digest: digest(n), digest_kind: DigestKind::Index.into(), manifests, ..ImageObserved::default() }
        .into()
}

fn running(impact: &Impact) -> Vec<&str> {
    impact.deployed.iter().filter_map(|row| row.service.as_deref()).collect()
}

#[test]
fn what_a_nested_index_runs_is_what_its_manifests_contain_through_four_levels() {
    let mut world = World::new();
    world.append(&[
        sent(0, 10, vec![index(1, &[(2, "")]), index(2, &[(3, "linux/amd64"), (4, "linux/arm64")])]),
        sent(1, 10, sbom(&digest(3), &digest(103), "syft", vec![component("pkg:cargo/ring@0.16.20")], 10)),
        sent(2, 11, vec![deployed("prod", "gateway", &digest(1))]),
        // A chain of five indexes: the fifth level is not looked at, so nothing is said to be free of anything.
        sent(3, 12, (20..25).map(|n| index(n, &[(n + 1, "")])).collect()),
        sent(4, 12, sbom(&digest(25), &digest(125), "syft", vec![component("pkg:cargo/ring@0.17.0")], 10)),
        sent(5, 12, vec![deployed("prod", "deep", &digest(20)), deployed("prod", "shallow", &digest(21))]),
        // Indexes that list each other.
        sent(6, 13, vec![index(30, &[(31, "")]), index(31, &[(30, "")]), deployed("prod", "circle", &digest(30))]),
    ]);
    let views = world.views();
    let now = scope(&views, None, None);
    let impact = ask(&now, "pkg:cargo/ring", None, None);
    assert_eq!(running(&impact), ["gateway", "shallow"]);
    let gateway = impact.deployed.iter().find(|row| row.service.as_deref() == Some("gateway")).expect("it runs");
    assert_eq!(gateway.digest, digest(1), "what runs is the index");
    assert_eq!(impact.unknown.iter().map(|row| row.service.as_str()).collect::<Vec<_>>(), ["circle", "deep"]);
    let purls: Vec<String> =
        now.components(&digest(1), None, 10).expect("listed").into_iter().map(|c| c.purl).collect();
    assert_eq!(purls, ["pkg:cargo/ring@0.16.20"]);

    // Nobody described its other manifest, so nobody knows that it has no other package.
    let other = ask(&now, "pkg:cargo/openssl", None, None);
    let why = other.unknown.iter().find(|row| row.service == "gateway").map(|row| row.why.as_str());
    assert_eq!(why, Some("no SBOM of linux/arm64 is known"));
    let traced = now.trace("prod/gateway").expect("answered");
    let Found::One(traced) = traced else { panic!("{traced:?}") };
    let hop = traced.hops.iter().find(|hop| hop.kind == "sbom").expect("a hop");
    assert_eq!(hop.status, "found", "{hop:?}");
}

#[test]
fn digests_of_one_thing_are_one_artifact_whichever_is_used() {
    let mut world = World::new();
    let long = |n: usize| format!("sha512:{n:0128x}");
    let same = |digests: &[String]| -> Event { AliasObserved { digests: digests.to_vec() }.into() };
    let chain: Vec<Sent> =
        (0..200).map(|n| sent(100 + n, 14, vec![same(&[digest(1_000 + n), digest(1_001 + n)])])).collect();
    world.append(&[
        sent(
            0,
            10,
            [
                sbom(&long(1), &digest(101), "make", vec![component("pkg:pypi/jinja2@3.1.4")], 9),
                vec![same(&[long(1), digest(1)])],
            ]
            .concat(),
        ),
        sent(1, 11, vec![deployed("edge", "kiosk", &digest(1))]),
        sent(2, 12, vec![same(&[format!("md5:{:032x}", 7), digest(7)]), same(&[format!("md5:{:032x}", 7), digest(8)])]),
        sent(3, 12, sbom(&digest(7), &digest(107), "make", vec![component("pkg:pypi/jinja2@2.0")], 9)),
    ]);
    world.append(&chain);
    let views = world.views();
    let now = scope(&views, None, None);
    assert_eq!(running(&ask(&now, "pkg:pypi/jinja2@3.1.4", None, None)), ["kiosk"]);
    let artifact = now.artifact(&long(1)).expect("answered").expect("known");
    assert_eq!((artifact.node.digest, artifact.node.aliases), (digest(1), vec![long(1)]));
    assert_eq!(artifact.sboms.len(), 1, "found by either digest");
    assert!(now.components(&digest(8), None, 9).expect("listed").is_empty(), "MD5 joins nothing");
    // A chain longer than one artifact's digests may be: nobody is joined, from wherever one asks, and it is said.
    for n in [1_000, 1_100, 1_200] {
        let artifact = now.artifact(&digest(n)).expect("answered").expect("known");
        assert_eq!((artifact.node.digest, artifact.node.aliases.len()), (digest(n), 0));
        assert_eq!(artifact.truncated, ["aliases"]);
    }
}

#[test]
fn an_sbom_replaces_the_older_one_of_its_tool_and_of_what_it_describes() {
    let mut world = World::new();
    let of = |document: usize, root: &str, purl: &str| {
        let mut facts = sbom(&digest(1), &digest(document), "cdxgen", vec![component(purl)], 9);
        if let Event::SbomAttached(attached) = &mut facts[0] {
            if root.starts_with("pkg:") {
                attached.purl = root.to_owned()
            } else {
                attached.root_name = root.to_owned()
            }
        }
        facts
    };
    world.append(&[
        sent(0, 10, of(101, "web", "pkg:npm/react@18.0.0")),
        sent(1, 11, of(102, "pkg:maven/org.shop/api@1.0", "pkg:maven/ch.qos.logback/logback-core@1.2.3")),
        sent(2, 12, of(103, "pkg:maven/org.shop/api@1.1", "pkg:maven/ch.qos.logback/logback-core@1.5.0")),
    ]);
    let views = world.views();
    let purls: Vec<String> = scope(&views, None, None)
        .components(&digest(1), None, 9)
        .expect("listed")
        .into_iter()
        .map(|component| component.purl)
        .collect();
    assert_eq!(purls, ["pkg:maven/ch.qos.logback/logback-core@1.5.0", "pkg:npm/react@18.0.0"]);
}

#[test]
fn an_sbom_of_nothing_named_is_a_node_of_its_own_until_it_is_linked() {
    let mut world = World::new();
    let link = SbomAttached { artifact_digest: digest(2), sbom_digest: digest(109), ..SbomAttached::default() };
    world.append(&[
        sent(0, 10, sbom("", &digest(109), "syft", vec![component("pkg:gem/rack@2.2.0")], 9)),
        sent(1, 20, vec![link.into()]),
    ]);
    let views = world.views();
    for as_of in [0, 1] {
        let then = scope(&views, None, Some(as_of));
        let node = then.artifact(&digest(109)).expect("answered").expect("a node").node;
        assert_eq!((node.kind.as_str(), node.sequence_number), ("sbom", 1));
        let lineage = then.lineage(&digest(109), 3, Direction::Both).expect("answered").expect("a node");
        assert_eq!((lineage.nodes.len(), lineage.edges.len()), (1, 0));
        let candidates = then.resolve(&digest(109)).expect("answered").candidates;
        assert_eq!(candidates[0].digest, Some(digest(109)));
        let found = ask(&then, "pkg:gem/rack", None, None).not_deployed.expect("all");
        let of: Vec<String> = found.into_iter().map(|row| row.digest).collect();
        assert_eq!(of, [if as_of == 0 { digest(109) } else { digest(2) }]);
    }
}
