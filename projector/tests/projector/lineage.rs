//! Lineage from a real ledger: edges, names, traces, tags over time and both clocks.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use pedigraph_projector::Found;
use pedigraph_projector::answers::Direction;
use pedigraph_projector::{AsOf, ChangesOf, Moment, Scope};
use pedigraph_proto::event::{
    ArtifactPublished, AttestationAttached, ChangeMerged, Component, ComponentsListed, DigestKind, HistoryEntry,
    ImageObserved, Material, PlatformManifest, RunFinished, SbomAttached, ServiceDeployed, TagObserved, TestsFinished,
};
use pedigraph_proto::{Nanos, TenantId};

use crate::book::{Book, Said, at, digest, packaged, said};

/// Digests back to the names that tests speak.
pub(crate) fn named(names: &[&str], text: &str) -> String {
    names.iter().fold(text.to_owned(), |text, name| text.replace(&digest(name), name))
}

pub(crate) fn edges(scope: &Scope, names: &[&str], start: &str) -> String {
    let lineage = scope.lineage(&digest(start), 10, Direction::Both).expect("read").expect("known");
    let mut text = String::new();
    for node in &lineage.nodes {
        text.push_str(&format!("{} #{} {}\n", node.digest, node.sequence_number, node.artifact_ref));
    }
    for edge in &lineage.edges {
        let (from, to) = (&edge.from, &edge.to);
        text.push_str(&format!("{from} -> {to} {} {} {}\n", edge.relationship, edge.method, edge.confidence));
    }
    for base in &lineage.unresolved {
        text.push_str(&format!("{} on {} unresolved\n", base.derived, base.reference));
    }
    if let Some(truncated) = &lineage.truncated {
        text.push_str(&format!("cut: {truncated:?}\n"));
    }
    named(names, &text)
}

pub(crate) fn check(events: &[Said], names: &[&str], start: &str, want: Expect) {
    want.assert_eq(&edges(&Book::of(events).scope(), names, start));
}

pub(crate) fn published(name: &str, minute: i64, reference: &str) -> Said {
    let event =
        ArtifactPublished { artifact_digest: digest(name), artifact_ref: reference.into(), ..Default::default() };
    said(&format!("published {name} {reference}"), minute, event)
}

#[test]
fn parents_are_declared_else_semver_else_the_tag_else_the_order() {
    check(
        &[
            published("a", 1, "r.io/app:1.0.0"),
            published("b", 2, "r.io/app:2.0.0"),
            published("c", 3, "r.io/app:1.1.0"),
            published("d", 4, "r.io/app:edge"),
            published("e", 5, "r.io/app:edge"),
            packaged("f", 6, |event| {
                event.artifact_ref = "r.io/app:3.0.0".into();
                event.parent_digests = vec![digest("c")];
            }),
        ],
        &["a", "b", "c", "d", "e", "f"],
        "c",
        expect![[r#"
            f #6 r.io/app:3.0.0
            e #5 r.io/app:edge
            d #4 r.io/app:edge
            c #3 r.io/app:1.1.0
            a #1 r.io/app:1.0.0
            d -> e parent tag 0.8
            c -> d parent order 0.6
            c -> f parent declared 1
            a -> c parent semver 0.9
        "#]],
    );
}

#[test]
fn an_index_is_joined_to_its_manifests_and_a_config_is_its_manifest() {
    let manifest = |name: &str, platform: &str| PlatformManifest {
        digest: digest(name),
        platform: platform.into(),
        artifact_type: String::new(),
    };
    let index = ImageObserved {
        digest: digest("index"),
        digest_kind: DigestKind::Index.into(),
        artifact_ref: "r.io/app:1.0.0".into(),
        manifests: vec![manifest("amd", "linux/amd64"), manifest("arm", "linux/arm64")],
        ..Default::default()
    };
    let config = ImageObserved {
        digest: digest("amd"),
        digest_kind: DigestKind::Manifest.into(),
        config_digest: digest("amd config"),
        ..Default::default()
    };
    let names = ["index", "amd config", "amd", "arm"];
    let book = Book::of(&[said("1", 1, index), said("2", 2, config)]);
    let scope = book.scope();
    expect![[r#"
        index #1 r.io/app:1.0.0
        amd #1 r.io/app:1.0.0
        arm #1 r.io/app:1.0.0
        index -> amd build index 1
        index -> arm build index 1
    "#]]
    .assert_eq(&edges(&scope, &names, "amd config"));
    let artifact = scope.artifact(&digest("amd config")).expect("read").expect("known");
    assert_eq!(artifact.node.digest, digest("amd"));
    assert_eq!(artifact.node.aliases, [digest("amd config")]);
    assert_eq!(artifact.node.platform.as_deref(), Some("linux/amd64"));
}

#[test]
fn a_config_of_several_manifests_merges_none() {
    let manifest = |name: &str| ImageObserved {
        digest: digest(name),
        digest_kind: DigestKind::Manifest.into(),
        config_digest: digest("config"),
        ..Default::default()
    };
    let config =
        ImageObserved { digest: digest("config"), digest_kind: DigestKind::Config.into(), ..Default::default() };
    check(
        &[said("1", 1, manifest("m1")), said("2", 2, manifest("m2")), said("3", 3, config)],
        &["config", "m1", "m2"],
        "config",
        expect![[r#"
            config #1 config
            m2 #1 m2
            m1 #1 m1
            config -> m2 build index 1
            config -> m1 build index 1
        "#]],
    );
}

#[test]
fn products_of_one_run_or_commit_are_one_group() {
    let built = |name: &str, minute: i64, run: &str, commit: &str| {
        packaged(name, minute, |event| {
            event.run = run.into();
            event.commit = commit.into();
            event.pipeline = "release".into();
        })
    };
    let finished = RunFinished { run: "r1".into(), artifact_digests: vec![digest("c")], ..Default::default() };
    check(
        &[
            built("a", 1, "r1", "c1"),
            built("b", 2, "r1", "c1"),
            said("run", 3, finished),
            built("d", 50, "r2", "c1"),
            built("e", 70, "r3", "c1"),
        ],
        &["a", "b", "c", "d", "e"],
        "b",
        expect![[r#"
            d #1 d
            c #1 c
            b #1 b
            a #1 a
            a -> d build commit 0.5
            a -> c build run 0.9
            a -> b build run 0.9
        "#]],
    );
}

#[test]
fn bases_come_from_materials_annotations_layers_and_history() {
    let image = |name: &str, with: fn(&mut ImageObserved)| {
        let mut event = ImageObserved {
            digest: digest(name),
            digest_kind: DigestKind::Manifest.into(),
            platform: "linux/amd64".into(),
            ..Default::default()
        };
        with(&mut event);
        event
    };
    let index = ImageObserved {
        digest: digest("os index"),
        digest_kind: DigestKind::Index.into(),
        artifact_ref: "os:1".into(),
        manifests: vec![
            PlatformManifest { digest: digest("os"), platform: "linux/amd64".into(), artifact_type: String::new() },
            PlatformManifest { digest: digest("os arm"), platform: "linux/arm64".into(), artifact_type: String::new() },
        ],
        ..Default::default()
    };
    let provenance = AttestationAttached {
        artifact_digests: vec![digest("by material")],
        predicate_type: "https://slsa.dev/provenance/v1".into(),
        materials: vec![
            Material {
                uri: format!("pkg:docker/os@{}", digest("os index")),
                digest: String::new(),
                ..Default::default()
            },
            Material {
                uri: "https://example.org/source.tgz".into(),
                digest: digest("a tarball"),
                ..Default::default()
            },
        ],
        ..Default::default()
    };
    // One image alone among the materials of a build is its base; of several it takes more than a list to know.
    let rebuilt = AttestationAttached {
        artifact_digests: vec![digest("by material")],
        predicate_type: "https://slsa.dev/provenance/v1".into(),
        materials: vec![Material { uri: "pkg:docker/gone@1".into(), digest: digest("gone"), ..Default::default() }],
        ..Default::default()
    };
    let os = image("os", |event| event.diff_ids = vec!["sha256:1".into()]);
    let middle = image("middle", |event| event.diff_ids = vec!["sha256:1".into(), "sha256:2".into()]);
    let layered =
        image("by layers", |event| event.diff_ids = vec!["sha256:1".into(), "sha256:2".into(), "sha256:3".into()]);
    let annotated = image("by annotation", |event| event.base_digest = digest("os"));
    let history = image("by history", |event| {
        let from = |image: &str| HistoryEntry { created_by: format!("FROM {image}"), ..HistoryEntry::default() };
        event.history = vec![from("os:1"), from("elsewhere/os:2")];
    });
    let names =
        ["os index", "os arm", "os", "middle", "by layers", "by annotation", "by history", "by material", "gone"];
    let book = Book::of(&[
        said("1", 1, index),
        said("2", 2, os),
        said("3", 3, middle),
        said("4", 4, layered),
        said("5", 5, annotated),
        said("6", 6, history),
        said("7", 7, image("by material", |_| ())),
        said("8", 8, provenance),
        said("9", 9, rebuilt),
    ]);
    let scope = book.scope();
    expect![[r#"
        by material #1 by material
        by history #1 by history
        by annotation #1 by annotation
        by layers #1 by layers
        middle #1 middle
        os index #1 os:1
        os #1 os:1
        os arm #1 os:1
        os index -> os build index 1
        os index -> os arm build index 1
        os index -> by history base history 0.7
        os index -> by material base provenance 1
        os -> by annotation base annotation 0.95
        os -> middle base layers 0.8
        os -> by history base history 0.7
        os -> by material base provenance 1
        middle -> by layers base layers 0.8
    "#]]
    .assert_eq(&edges(&scope, &names, "os index"));
    let above = scope.lineage(&digest("by material"), 1, Direction::Up).expect("read").expect("known");
    let bases: Vec<&str> = above.edges.iter().map(|edge| edge.from.as_str()).collect();
    assert!(bases.contains(&digest("gone").as_str()), "a base that only provenance names");
    assert!(!bases.contains(&digest("a tarball").as_str()));
}

fn story() -> Vec<Said> {
    let change = ChangeMerged {
        commit: "4ba3d9ab".repeat(5),
        repository: "https://git.example/app".into(),
        title: "Faster carts".into(),
        change_id: "77".into(),
        ..Default::default()
    };
    let run = RunFinished { run: "ci/9".into(), pipeline: "release".into(), outcome: 1, ..Default::default() };
    let sbom = SbomAttached {
        artifact_digest: digest("cart"),
        sbom_digest: digest("cart sbom"),
        format: "cyclonedx".into(),
        spec_version: "1.6".into(),
        tool: "syft".into(),
        component_set: digest("set"),
        component_count: 12,
        ..Default::default()
    };
    let tests = TestsFinished {
        artifact_digest: digest("cart"),
        suite: "e2e".into(),
        outcome: 1,
        passed: 40,
        ..Default::default()
    };
    let deployed = ServiceDeployed {
        service: "cart".into(),
        environment: "prod".into(),
        artifact_ref: "r.io/cart:1.2.0".into(),
        actor: "ann".into(),
        ..Default::default()
    };
    vec![
        said("deploy", 30, deployed),
        packaged("cart", 10, |event| {
            event.artifact_ref = "r.io/cart:1.2.0".into();
            event.commit = "4ba3d9ab".repeat(5);
            event.run = "ci/9".into();
        }),
        said("change", 5, change),
        said("run", 12, run),
        said("sbom", 13, sbom),
        said("tests", 14, tests),
    ]
}

#[test]
fn a_trace_leads_from_an_environment_to_the_commit_and_says_what_to_send() {
    let book = Book::of(&story());
    let scope = book.scope();
    let trace = |reference: &str| match scope.trace(reference).expect("read") {
        Found::One(trace) => {
            let hops = trace.hops.iter().map(|hop| {
                let reason = hop.reason.as_ref().map(|reason| format!(" [{reason}]")).unwrap_or_default();
                format!("{}: {} {}{reason}\n", hop.kind, hop.status, hop.summary)
            });
            named(&["cart"], &hops.collect::<String>())
        }
        Found::Ambiguous(_) | Found::Nothing => "Nothing".to_owned(),
    };
    expect![[r#"
        deployment: found cart in prod runs r.io/cart:1.2.0
        artifact: found r.io/cart:1.2.0
        attestations: missing no attestation or signature [send a DSSE envelope or in-toto statement whose subject is cart]
        sbom: found cyclonedx 1.6, 12 components by syft
        scans: missing no scan [send a scanner's report with subject cart]
        tests: found e2e: success (40 passed, 0 failed, 0 skipped)
        run: found release ci/9: success
        commit: found 4ba3d9ab4ba3 Faster carts
        base: missing no base image is known [send SLSA provenance with materials, or image-observed {digest: cart, baseDigest or diffIds}]
    "#]].assert_eq(&trace("prod/cart"));
    assert!(trace("cart:1.2.0").contains("commit: found"));
    assert!(trace(&digest("cart")[7..15]).contains("commit: found"));
    assert!(trace("4ba3d9ab").contains("artifact: found"));
    assert_eq!(trace("nothing:here"), "Nothing");
    let kinds = |query: &str| -> Vec<String> {
        scope.resolve(query).expect("read").candidates.into_iter().map(|candidate| candidate.kind).collect()
    };
    assert_eq!(kinds("prod"), ["environment", "service", "artifact"]);
    assert_eq!(kinds("cart"), ["service"]);
    assert_eq!(kinds("ci/9"), ["run"]);
    assert_eq!(kinds("4ba3d9ab"), ["artifact", "commit"]);
    assert_eq!(kinds("CVE-2026-1"), ["vulnerability"]);
}

#[test]
fn an_artifact_lists_what_is_known_of_it_with_its_tags_over_time() {
    let mut events = story();
    events.push(published("cart 2", 60, "r.io/cart:1.2.0"));
    let book = Book::of(&events);
    let scope = book.scope();
    let artifact = scope.artifact(&digest("cart")).expect("read").expect("known");
    let tags: Vec<_> = artifact.tags.iter().map(|tag| (tag.name.as_str(), tag.from, tag.until)).collect();
    assert_eq!(tags, [("r.io/cart:1.2.0", at(10), Some(at(60)))]);
    assert_eq!(artifact.deployments.len(), 1);
    assert_eq!(artifact.sboms[0].summary, "cyclonedx 1.6, 12 components by syft");
    assert_eq!(artifact.commit.expect("a commit").summary, "4ba3d9ab4ba3 Faster carts");
    assert_eq!(artifact.lineage.children, [digest("cart 2")]);
}

#[test]
fn both_clocks_are_inclusive() {
    let tag = |name: &str| TagObserved { repository: "r.io/app".into(), tag: "live".into(), digest: digest(name) };
    let mut book = Book::new();
    book.commit(&[said("1", 10, tag("a"))]);
    book.commit(&[said("2", 20, tag("b"))]);
    book.commit(&[said("late", 15, tag("c"))]);
    let views = book.views();
    let ask = |at: Option<Nanos>, as_of: Option<AsOf>| {
        let scope = views.at(&TenantId::default(), Moment { at, as_of }).expect("a scope");
        match scope.artifact_digest("app:live").expect("read") {
            Found::One(digest) => named(&["a", "b", "c"], &digest),
            Found::Ambiguous(_) | Found::Nothing => "Nothing".to_owned(),
        }
    };
    assert_eq!(ask(None, None), "b");
    assert_eq!(ask(Some(at(20)), None), "b");
    assert_eq!(ask(Some(at(19)), None), "c");
    assert_eq!(ask(Some(at(19)), Some(AsOf::Index(1))), "a");
    assert_eq!(ask(Some(at(15)), Some(AsOf::Index(2))), "c");
    assert_eq!(ask(None, Some(AsOf::Index(0))), "a");
    assert_eq!(ask(Some(at(9)), None), "Nothing");
    let recorded = |minute: i64| AsOf::Time(Nanos(crate::book::NEW_YEAR + minute * crate::book::MINUTE));
    assert_eq!(ask(None, Some(recorded(1))), "a");
    assert_eq!(ask(None, Some(recorded(2))), "b");
    let head = views.at(&TenantId::default(), Moment { at: None, as_of: Some(AsOf::Index(99)) }).expect("a scope");
    assert_eq!(head.as_of(), Some(2));
}

#[test]
fn a_graph_says_what_it_cut() {
    let events: Vec<Said> = (0..30).map(|n| published(&format!("v{n}"), n, &format!("r.io/app:1.{n}.0"))).collect();
    let scope = Book::of(&events).scope();
    let lineage = scope.lineage(&digest("v10"), 3, Direction::Both).expect("read").expect("known");
    assert_eq!(lineage.nodes.len(), 7);
    let truncated = lineage.truncated.expect("cut");
    assert_eq!((truncated.nodes, truncated.edges, truncated.by.as_str()), (2, 2, "maxDepth"));
}

#[test]
fn intake_is_counted_and_changes_are_told() {
    let rejected = pedigraph_proto::event::MessageRejected { code: "MALFORMED_JSON".into(), ..Default::default() };
    let mut book = Book::new();
    book.commit(&[packaged("a", 1, |_| ()), said("bad", 2, rejected)]);
    book.duplicates("http", 3);
    book.commit(&[published("a", 3, "r.io/app:1")]);
    let views = book.views();
    let scope = views.at(&TenantId::default(), Moment::default()).expect("a scope");
    let intake = scope.intake().expect("read");
    assert_eq!(intake.total, 6);
    let counts: BTreeMap<&str, u64> = intake.by_status.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!(counts, BTreeMap::from([("accepted", 2), ("duplicate", 3), ("rejected", 1)]));
    assert_eq!(intake.by_code["MALFORMED_JSON"], 1);
    assert_eq!(intake.by_source["http"], 6);
    assert_eq!(scope.entries_by_status("rejected", 0..u64::MAX, false, 9).expect("read"), [1]);
    assert_eq!(scope.entries_by_subject(&digest("a"), 0..u64::MAX, false, 9).expect("read"), [0, 2]);
    assert_eq!(scope.entries_by_subject(&digest("a"), 1..u64::MAX, false, 9).expect("read"), [2]);
    let before = views.at(&TenantId::default(), Moment { at: None, as_of: Some(AsOf::Index(0)) }).expect("a scope");
    assert_eq!(before.intake().expect("read").total, 0, "counted with the commit as a whole");
    let changes =
        |after| views.changes(&TenantId::default(), after, 10, ChangesOf::Facts).expect("read").expect("kept");
    let told: Vec<_> =
        changes((0, u32::MAX)).into_iter().map(|change| (change.index, change.n, change.change)).collect();
    assert_eq!(told, [(1, 1, "message-rejected".to_owned()), (2, 1, "artifact-published".to_owned())]);
    assert!(changes(views.newest_change(&TenantId::default(), ChangesOf::Facts)).is_empty());
}

#[test]
fn what_a_sender_once_said_of_rejects_is_not_counted_as_one() {
    let forged = pedigraph_proto::event::MessageRejected { code: "MADE_UP".into(), ..Default::default() };
    let mut entry = packaged("a", 1, |_| ());
    entry.facts.push(pedigraph_proto::wire::Fact::now(forged));
    let intake = Book::of(&[entry]).scope().intake().expect("read");
    assert_eq!((intake.total, intake.by_code.len()), (1, 0), "{:?}", intake.by_code);
}

#[test]
fn the_first_change_of_an_empty_ledger_is_told_and_none_twice() {
    let mut book = Book::new();
    let empty = book.views().newest_change(&TenantId::default(), ChangesOf::Facts);
    book.commit(&[packaged("a", 1, |_| ()), packaged("b", 2, |_| ())]);
    let views = book.views();
    let changes = |after| -> Vec<(u64, u32)> {
        let changes = views.changes(&TenantId::default(), after, 10, ChangesOf::Facts).expect("read").expect("kept");
        changes.into_iter().map(|change| (change.index, change.n)).collect()
    };
    assert_eq!(changes(empty), [(0, 1), (1, 1)]);
    assert_eq!(changes((0, 1)), [(1, 1)]);
    assert_eq!(changes((0, u32::MAX)), [(1, 1)]);
}

#[test]
fn a_name_is_shown_as_used_and_found_however_it_is_written() {
    let tag = TagObserved { repository: "shop/cart".into(), tag: "edge".into(), digest: digest("a") };
    let from = ImageObserved {
        digest: digest("derived"),
        digest_kind: DigestKind::Manifest.into(),
        base_ref: "shop/cart:1.0.0".into(),
        ..Default::default()
    };
    let unknown = ImageObserved {
        digest: digest("other"),
        digest_kind: DigestKind::Manifest.into(),
        base_ref: "shop/gone:1".into(),
        ..Default::default()
    };
    let book = Book::of(&[
        published("a", 1, "shop/cart:1.0.0"),
        published("b", 2, "docker.io/shop/cart:1.1.0"),
        said("tag", 3, tag),
        said("from", 4, from),
        said("unknown", 5, unknown),
    ]);
    let scope = book.scope();
    let names = ["a", "b", "derived", "other"];
    expect![[r#"
        b #2 docker.io/shop/cart:1.1.0
        derived #1 derived
        a #1 shop/cart:edge
        a -> derived base history 0.7
        a -> b parent semver 0.9
    "#]]
    .assert_eq(&edges(&scope, &names, "a"));
    assert!(edges(&scope, &names, "other").contains("other on shop/gone:1 unresolved"));
    for reference in ["shop/cart:1.0.0", "docker.io/shop/cart:1.0.0", "index.docker.io/shop/cart:edge", "cart:edge"] {
        assert_eq!(scope.artifact_digest(reference).expect("read"), Found::One(digest("a")), "{reference}");
    }
    let tags = scope.artifact(&digest("a")).expect("read").expect("known").tags;
    let tags: Vec<&str> = tags.iter().map(|tag| tag.name.as_str()).collect();
    assert_eq!(tags, ["shop/cart:edge", "shop/cart:1.0.0"]);
}

#[test]
fn what_a_deployment_calls_a_digest_is_found_unless_the_tag_says_otherwise() {
    let deployed = |name: &str, minute: i64, tag: &str| {
        let event = ServiceDeployed {
            service: "cart".into(),
            environment: "prod".into(),
            artifact_ref: format!("r.io/cart:{tag}"),
            artifact_digest: digest(name),
            ..Default::default()
        };
        said(&format!("deployed {name} {tag}"), minute, event)
    };
    let book = Book::of(&[
        deployed("a", 10, "1"),
        deployed("b", 20, "1"),
        deployed("a", 11, "2"),
        published("c", 5, "r.io/cart:2"),
        said(
            "untagged",
            12,
            ServiceDeployed {
                service: "pay".into(),
                environment: "prod".into(),
                artifact_ref: "r.io/pay".into(),
                artifact_digest: digest("p"),
                ..Default::default()
            },
        ),
    ]);
    let views = book.views();
    let ask = |reference: &str, minute: i64| {
        let moment = Moment { at: Some(at(minute)), as_of: None };
        let scope = views.at(&TenantId::default(), moment).expect("a scope");
        match scope.artifact_digest(reference).expect("read") {
            Found::One(digest) => named(&["a", "b", "c", "p"], &digest),
            Found::Ambiguous(_) | Found::Nothing => "Nothing".to_owned(),
        }
    };
    assert_eq!(ask("r.io/cart:1", 9), "Nothing");
    assert_eq!(ask("r.io/cart:1", 10), "a");
    assert_eq!(ask("cart:1", 30), "b");
    assert_eq!(ask("r.io/cart:2", 30), "c", "a publication binds, a deployment only names");
    assert_eq!(ask("r.io/pay:latest", 30), "Nothing", "no tag was said");
    let scope = book.scope();
    assert!(scope.artifact(&digest("a")).expect("read").expect("known").tags.is_empty());
    let found = scope.resolve("r.io/cart:1").expect("read").candidates;
    assert_eq!(found.first().and_then(|found| found.digest.clone()), Some(digest("b")));
    assert!(matches!(scope.trace("r.io/cart:1").expect("read"), Found::One(_)));
}

#[test]
fn the_state_hash_covers_contents() {
    let with = |purl: &str| {
        let component = Component { purl: purl.into(), ..Default::default() };
        let attached = SbomAttached {
            artifact_digest: digest("a"),
            sbom_digest: digest("sbom"),
            component_set: digest("set"),
            component_count: 1,
            ..Default::default()
        };
        let listed =
            ComponentsListed { component_set: digest("set"), components: vec![component], ..Default::default() };
        let mut event = said("sbom", 1, attached);
        event.facts.push(pedigraph_proto::wire::Fact::now(listed));
        Book::of(&[event]).scope().state_hash().expect("read")
    };
    assert_eq!(with("pkg:npm/a@1"), with("pkg:npm/a@1"));
    assert_ne!(with("pkg:npm/a@1"), with("pkg:npm/a@2"));
}
