//! Lines of versions: which artifacts are versions of one thing, in which order, and which is a version at all.

use expect_test::expect;
use pedigraph_projector::answers::Direction;
use pedigraph_proto::Nanos;
use pedigraph_proto::event::{
    ArtifactKind, DigestKind, ImageObserved, PlatformManifest, RunFinished, SbomAttached, ScanCompleted,
    ServiceDeployed, TagObserved,
};

use crate::book::{Book, at, digest, said};
use crate::lineage::{check, edges, published};

#[test]
fn a_build_between_two_releases_stands_between_them() {
    check(
        &[
            published("a", 1, "r.io/till:v0.4.0"),
            published("b", 2, "r.io/till:v0.4.0-7-g1f2e3d4"),
            published("c", 3, "r.io/till:v0.4.0-12-gabcdef0"),
            published("d", 4, "r.io/till:v0.4.1"),
            published("e", 5, "r.io/till:v0.3.9"),
        ],
        &["a", "b", "c", "d", "e"],
        "b",
        expect![[r#"
            e #5 r.io/till:v0.3.9
            d #4 r.io/till:v0.4.1
            c #3 r.io/till:v0.4.0-12-gabcdef0
            b #2 r.io/till:v0.4.0-7-g1f2e3d4
            a #1 r.io/till:v0.4.0
            d -> e parent order 0.6
            c -> d parent semver 0.9
            b -> c parent semver 0.9
            a -> b parent semver 0.9
        "#]],
    );
}

#[test]
fn versions_of_one_moment_go_up_and_not_in_a_circle() {
    let tags = ["1.0.0", "1.1.0", "1.2.0"];
    for names in [["a", "b", "c"], ["c", "a", "b"], ["b", "c", "a"], ["c", "b", "a"]] {
        let events: Vec<_> =
            names.iter().zip(tags).map(|(name, tag)| published(name, 1, &format!("r.io/till:{tag}"))).collect();
        let book = Book::of(&events);
        let parents = names.map(|name| {
            let artifact = book.scope().artifact(&digest(name)).expect("read").expect("known");
            artifact.lineage.parents
        });
        let [lowest, middle, _] = names.map(digest);
        assert_eq!(parents, [vec![], vec![lowest], vec![middle]], "{names:?}");
    }
}

#[test]
fn each_variant_is_a_line_of_its_own() {
    let book = Book::of(&[
        published("plain", 1, "r.io/db:7.0.1"),
        published("slim", 2, "r.io/db:7.0.1-slim"),
        published("old alpine", 3, "r.io/db:7.0.1-alpine3.9"),
        published("alpine", 4, "r.io/db:7.0.1-alpine3.20"),
        published("next", 5, "r.io/db:7.0.2-r1"),
        published("next slim", 6, "r.io/db:7.0.2-slim"),
        published("next alpine", 7, "r.io/db:7.1-alpine3.20"),
        published("both", 8, "r.io/db:7.0.3"),
        published("both", 8, "r.io/db:7.0.3-slim"),
    ]);
    let scope = book.scope();
    let names = ["old alpine", "next alpine", "next slim", "alpine", "plain", "slim", "next", "both"];
    expect![[r#"
        both #3 r.io/db:7.0.3
        next #2 r.io/db:7.0.2-r1
        plain #1 r.io/db:7.0.1
        plain -> next parent semver 0.9
        next -> both parent semver 0.9
    "#]]
    .assert_eq(&edges(&scope, &names, "plain"));
    expect![[r#"
        next slim #2 r.io/db:7.0.2-slim
        slim #1 r.io/db:7.0.1-slim
        slim -> next slim parent semver 0.9
    "#]]
    .assert_eq(&edges(&scope, &names, "slim"));
    expect![[r#"
        next alpine #3 r.io/db:7.1-alpine3.20
        alpine #2 r.io/db:7.0.1-alpine3.20
        old alpine #1 r.io/db:7.0.1-alpine3.9
        alpine -> next alpine parent order 0.6
        old alpine -> alpine parent semver 0.9
    "#]]
    .assert_eq(&edges(&scope, &names, "alpine"));
}

#[test]
fn an_artifact_goes_by_its_newest_tag_and_is_its_greatest_version() {
    let book = Book::of(&[
        published("a", 1, "r.io/till:2.0.0"),
        published("b", 2, "r.io/till:2.1.0"),
        published("c", 3, "r.io/till:3.0.0-rc.1"),
        published("b", 4, "r.io/till:stable"),
        published("c", 5, "r.io/till:3.0.0-rc.1"),
        published("c", 5, "r.io/till:edge"),
    ]);
    expect![[r#"
        c #3 r.io/till:3.0.0-rc.1
        b #2 r.io/till:stable
        a #1 r.io/till:2.0.0
        b -> c parent semver 0.9
        a -> b parent semver 0.9
    "#]]
    .assert_eq(&edges(&book.scope(), &["a", "b", "c"], "b"));
}

#[test]
fn kinds_of_change_follow_the_same_order() {
    let deployed = |minute: i64, tag: &str| {
        let event = ServiceDeployed {
            service: "till".into(),
            environment: "prod".into(),
            artifact_ref: format!("r.io/till:{tag}"),
            artifact_digest: digest(tag),
            ..Default::default()
        };
        said(&format!("deployed {minute}"), minute, event)
    };
    let tags = ["v0.4.0", "v0.4.0-7-g1f2e3d4", "v0.4.1-alpine", "v0.4.0-7-g1f2e3d4", "v0.4.1"];
    let events: Vec<_> = tags.iter().zip(1..).map(|(tag, minute)| deployed(minute, tag)).collect();
    let page = Book::of(&events).scope().changes("prod", None, 10).expect("read").expect("an environment");
    let kinds: Vec<String> = page.rows.iter().rev().map(|row| row.kind.to_string()).collect();
    assert_eq!(kinds, ["deploy", "deploy", "deploy", "rollback", "deploy"]);
}

fn image(name: &str, with: impl FnOnce(&mut ImageObserved)) -> ImageObserved {
    let mut event =
        ImageObserved { digest: digest(name), digest_kind: DigestKind::Manifest.into(), ..Default::default() };
    with(&mut event);
    event
}

fn listed(name: &str, platform: &str) -> PlatformManifest {
    PlatformManifest { digest: digest(name), platform: platform.into(), artifact_type: String::new() }
}

fn index(name: &str, reference: &str, manifests: Vec<PlatformManifest>) -> ImageObserved {
    image(name, |event| {
        event.digest_kind = DigestKind::Index.into();
        event.artifact_ref = reference.into();
        event.manifests = manifests;
    })
}

#[test]
fn one_platform_is_one_line_however_it_is_spelt() {
    let first =
        vec![listed("arm 1", "linux/arm64/v8"), listed("win 1a", "windows/amd64"), listed("win 1b", "windows/amd64")];
    let second =
        vec![listed("arm 2", "linux/arm64"), listed("win 2a", "windows/amd64"), listed("win 2b", "windows/amd64")];
    let book = Book::of(&[
        said("1", 1, index("index 1", "r.io/agent:1.4.0", first)),
        said("2", 2, index("index 2", "r.io/agent:edge", second)),
    ]);
    let scope = book.scope();
    let parents = |name: &str| scope.artifact(&digest(name)).expect("read").expect("known").lineage.parents;
    assert_eq!(parents("arm 2"), [digest("arm 1")]);
    for first in ["win 1a", "win 1b"] {
        assert_eq!(parents(first), [""; 0], "manifests of one index are no versions of each other");
    }
    for second in ["win 2a", "win 2b"] {
        let parents = parents(second);
        assert_eq!(parents.len(), 1);
        assert!([digest("win 1a"), digest("win 1b")].contains(&parents[0]), "{parents:?}");
    }
    let platform = scope.artifact(&digest("arm 1")).expect("read").expect("known").node.platform;
    assert_eq!(platform.as_deref(), Some("linux/arm64"));
}

#[test]
fn signatures_and_caches_are_no_versions_and_no_products() {
    let signature = format!("sha256-{}.sig", &digest("b")["sha256:".len()..]);
    let attestation = format!("sha256-{}.att", &digest("b")["sha256:".len()..]);
    let tagged =
        |name: &str, tag: &str| TagObserved { repository: "r.io/app".into(), tag: tag.into(), digest: digest(name) };
    let cache = image("cache", |event| {
        event.artifact_ref = "r.io/app:buildcache".into();
        event.artifact_type = "application/vnd.buildkit.cacheconfig.v0".into();
    });
    let bundle = image("bundle", |event| {
        event.artifact_type = "application/vnd.dev.sigstore.bundle.v0.3+json".into();
        event.subject_digest = digest("c");
    });
    let products = ["b", "sig", "cache"].map(digest).to_vec();
    let book = Book::of(&[
        published("a", 1, "r.io/app:1"),
        published("b", 2, "r.io/app:2"),
        said("sig", 3, tagged("sig", &signature)),
        said("att", 4, tagged("att", &attestation)),
        said("cache", 5, cache),
        said("bundle", 6, bundle),
        said("run", 7, RunFinished { run: "r7".into(), artifact_digests: products, ..Default::default() }),
        published("c", 8, "r.io/app:3"),
    ]);
    let scope = book.scope();
    expect![[r#"
        c #3 r.io/app:3
        b #2 r.io/app:2
        a #1 r.io/app:1
        b -> c parent order 0.6
        a -> b parent order 0.6
    "#]]
    .assert_eq(&edges(&scope, &["a", "b", "c"], "b"));
    let kinds = |name: &str| -> Vec<String> {
        let artifact = scope.artifact(&digest(name)).expect("read").expect("known");
        artifact.attestations.into_iter().map(|item| format!("{} {}", item.kind, item.id)).collect()
    };
    assert_eq!(kinds("b"), [format!("attestation {}", digest("att")), format!("signature {}", digest("sig"))]);
    assert_eq!(kinds("c"), [format!("signature {}", digest("bundle"))]);
    let cache = scope.artifact(&digest("cache")).expect("read").expect("known").node;
    assert_eq!((cache.kind.as_str(), cache.sequence_number), ("generic", 1));
    assert_eq!(cache.artifact_ref, "r.io/app:buildcache");
}

#[test]
fn constant_build_times_say_nothing_of_the_order() {
    let epoch = Nanos(315_532_800_000_000_000);
    let config = |name: &str, n: i64| {
        let event = image(name, |event| event.digest_kind = DigestKind::Config.into());
        let mut config = said(&format!("config {name}"), n, event);
        config.facts[0].occurred_at = epoch.0;
        config
    };
    let tagged = |name: &str, n: i64, tag: &str| {
        said(
            &format!("tag {name}"),
            n,
            TagObserved { repository: "r.io/fixed".into(), tag: tag.into(), digest: digest(name) },
        )
    };
    let book = Book::of(&[
        config("w", 11),
        tagged("w", 12, "rolling-1"),
        config("x", 21),
        tagged("x", 22, "rolling-2"),
        config("y", 31),
        tagged("y", 32, "rolling-3"),
    ]);
    let scope = book.scope();
    let known = |name: &str| scope.artifact(&digest(name)).expect("read").expect("known");
    assert_eq!(known("w").node.created_at, at(11), "1980 counts as absent");
    assert_eq!(known("x").lineage.parents, [digest("w")]);
    assert_eq!(known("y").lineage.parents, [digest("x")]);
}

#[test]
fn empty_content_joins_nothing() {
    let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let built = |name: &str, n: i64| {
        let digests = vec![empty.to_owned(), digest(name)];
        said(
            &format!("run {name}"),
            n,
            RunFinished { run: format!("run of {name}"), artifact_digests: digests, ..Default::default() },
        )
    };
    let layered = |name: &str, layers: &[&str]| {
        let event = image(name, |event| event.diff_ids = layers.iter().map(ToString::to_string).collect());
        said(&format!("layers {name}"), 5, event)
    };
    let book =
        Book::of(&[built("a", 1), built("b", 2), layered("blank", &[empty]), layered("c", &[empty, "sha256:1"])]);
    let scope = book.scope();
    for name in ["a", "b", "c"] {
        let lineage = scope.lineage(&digest(name), 10, Direction::Both).expect("read").expect("known");
        assert!(lineage.edges.is_empty(), "{name}: {:?}", lineage.edges);
    }
}

#[test]
fn the_version_of_an_sboms_root_is_the_version() {
    let sbom = |name: &str, n: i64, version: &str| {
        let event = SbomAttached {
            artifact_digest: digest(name),
            sbom_digest: digest(&format!("sbom of {name}")),
            component_set: digest("set"),
            root_name: "ledgerd".into(),
            root_version: version.into(),
            kind: ArtifactKind::Generic.into(),
            ..Default::default()
        };
        said(&format!("sbom {name}"), n, event)
    };
    let scan = |name: &str, n: i64| {
        let event = ScanCompleted {
            artifact_digest: digest(name),
            artifact_ref: ".".into(),
            scanner: "trivy".into(),
            kind: ArtifactKind::Generic.into(),
            ..Default::default()
        };
        said(&format!("scan {name}"), n, event)
    };
    let book = Book::of(&[
        sbom("a", 1, "0.9.0"),
        sbom("b", 2, "0.9.1"),
        sbom("c", 3, "0.10.0"),
        scan("here", 4),
        scan("there", 5),
    ]);
    let scope = book.scope();
    expect![[r#"
        c #3 ledgerd:0.10.0
        b #2 ledgerd:0.9.1
        a #1 ledgerd:0.9.0
        b -> c parent semver 0.9
        a -> b parent semver 0.9
    "#]]
    .assert_eq(&edges(&scope, &["a", "b", "c"], "a"));
    let known = |name: &str| scope.artifact(&digest(name)).expect("read").expect("known");
    assert_eq!(known("a").node.kind, "generic");
    for name in ["here", "there"] {
        let folder = known(name);
        assert_eq!((folder.node.kind.as_str(), folder.node.artifact_ref), ("generic", digest(name)));
        assert_eq!(folder.lineage.parents, [""; 0]);
    }
}

#[test]
fn versions_that_one_statement_makes_older_and_that_are_renamed_then_leave_one_by_one() {
    use pedigraph_proto::event::{AliasObserved, ArtifactPackaged, VexIssued, VexStatement};
    let long = format!("sha512:{}", "16".repeat(64));
    let (first, second) = (format!("sha256:{}", "1".repeat(64)), format!("sha256:{}", "2".repeat(64)));
    let listed = |id: &str, minute: i64, artifact: &str| {
        let event = SbomAttached {
            artifact_digest: artifact.to_owned(),
            sbom_digest: digest(id),
            purl: "pkg:npm/part@1.0.0".to_owned(),
            root_name: "part".to_owned(),
            component_set: digest(&format!("set of {id}")),
            ..SbomAttached::default()
        };
        said(id, minute, event)
    };
    let about = |artifact: &str| VexStatement {
        vulnerability: "CVE-2026-1".to_owned(),
        product: artifact.to_owned(),
        product_digests: vec![artifact.to_owned()],
        ..VexStatement::default()
    };
    let vex = VexIssued { statements: vec![about(&first), about(&long)], ..VexIssued::default() };
    let packaged = |artifact: &str, purl: &str| ArtifactPackaged {
        artifact_digest: artifact.to_owned(),
        purl: purl.to_owned(),
        ..ArtifactPackaged::default()
    };
    let events = [
        listed("sbom 1", 29, &first),
        listed("sbom 2", 16, &long),
        said("vex", 5, vex),
        said("alias", 40, AliasObserved { digests: vec![second.clone(), long] }),
        said("packaged 2", 50, packaged(&second, "pkg:generic/app-2@1.2")),
        said("packaged 1", 60, packaged(&first, "pkg:generic/app-1@1.1")),
    ];
    let mut book = Book::new();
    for event in events {
        book.commit(std::slice::from_ref(&event));
        let scope = book.scope();
        assert!(scope.artifact(&first).expect("read").is_some(), "after {}", event.id);
    }
}
