//! Where an artifact comes from: bases among materials, labels of its own, runs and commits, per platform.

use pedigraph_projector::answers::Hop;
use pedigraph_projector::{Found, Scope};
use pedigraph_proto::event::{
    ArtifactPublished, AttestationAttached, DigestKind, ImageObserved, Material, PlatformManifest, RunFinished,
    ServiceDeployed,
};

use crate::book::{Book, Said, digest, packaged, said};

fn hop(scope: &Scope, reference: &str, kind: &str) -> Hop {
    let Found::One(trace) = scope.trace(reference).expect("read") else { panic!("{reference} is not one") };
    trace.hops.into_iter().find(|hop| hop.kind == kind).expect("a hop")
}

fn bases(scope: &Scope, name: &str) -> Vec<String> {
    scope.artifact(&digest(name)).expect("read").expect("known").lineage.bases
}

fn material(name: &str) -> Material {
    Material { uri: format!("pkg:docker/{name}?platform=linux%2Famd64"), digest: digest(name), tool: false }
}

fn provenance(name: &str, minute: i64, with: impl FnOnce(&mut AttestationAttached)) -> Said {
    let mut event = AttestationAttached {
        artifact_digests: vec![digest(name)],
        predicate_type: "https://slsa.dev/provenance/v1".into(),
        ..Default::default()
    };
    with(&mut event);
    said(&format!("provenance {name}"), minute, event)
}

fn image(name: &str, minute: i64, with: impl FnOnce(&mut ImageObserved)) -> Said {
    let mut event =
        ImageObserved { digest: digest(name), digest_kind: DigestKind::Manifest.into(), ..Default::default() };
    with(&mut event);
    said(&format!("image {name} {minute}"), minute, event)
}

fn built_in_stages(name: &str, minute: i64) -> Said {
    provenance(name, minute, |event| {
        let frontend = Material { tool: true, ..material("docker/dockerfile@1.9") };
        event.materials = vec![frontend, material("rust@1.90"), material("debian@12.8")];
    })
}

#[test]
fn of_the_stages_of_a_build_the_last_is_the_base() {
    let layers = |ids: &[&str]| ids.iter().map(|id| format!("sha256:{id}")).collect::<Vec<_>>();
    let book = Book::of(&[
        image("debian@12.8", 1, |event| event.diff_ids = layers(&["11"])),
        image("rust@1.90", 1, |event| event.diff_ids = layers(&["11", "12"])),
        image("by layers", 2, |event| event.diff_ids = layers(&["11", "19"])),
        built_in_stages("by layers", 3),
        image("by name", 2, |event| event.base_ref = "debian:12.8".into()),
        built_in_stages("by name", 3),
        built_in_stages("by nothing", 3),
        provenance("by being alone", 3, |event| {
            let frontend = Material { tool: true, ..material("docker/dockerfile@1.9") };
            event.materials = vec![frontend, material("debian@12.8")];
        }),
    ]);
    let scope = book.scope();
    for name in ["by layers", "by name", "by being alone"] {
        assert_eq!(bases(&scope, name), [digest("debian@12.8")], "{name}");
    }
    assert_eq!(bases(&scope, "by nothing"), [""; 0]);
    let below = scope.lineage(&digest("debian@12.8"), 1, pedigraph_projector::answers::Direction::Down);
    let edges = below.expect("read").expect("known").edges;
    let mut derived: Vec<&str> = edges.iter().map(|edge| edge.to.as_str()).collect();
    derived.sort_unstable();
    let mut want = ["by layers", "by name", "by being alone", "rust@1.90"].map(digest);
    want.sort();
    assert_eq!(derived, want, "both sides of an edge know the same");
}

#[test]
fn labels_of_the_base_are_the_bases() {
    let (own, of_base) = ("0f1e2d3c".repeat(5), "9a8b7c6d".repeat(5));
    let labelled = |name: &str, commit: &str, layers: &[&str]| {
        let (commit, layers) = (commit.to_owned(), layers.iter().map(ToString::to_string).collect());
        image(name, 1, |event| {
            event.commit = commit;
            event.diff_ids = layers;
        })
    };
    let book = Book::of(&[
        labelled("distro", &of_base, &["sha256:21"]),
        labelled("app", &of_base, &["sha256:21", "sha256:22"]),
        packaged("app", 2, |event| event.commit = own.clone()),
        labelled("bare", &of_base, &["sha256:21", "sha256:23"]),
        labelled("stranger", &of_base, &["sha256:31"]),
        packaged("stranger", 2, |event| event.commit = own.clone()),
    ]);
    let scope = book.scope();
    let commit = |name: &str| {
        let hop = hop(&scope, &digest(name), "commit");
        (hop.status, hop.id)
    };
    assert_eq!(commit("app"), ("found".to_owned(), Some(own.clone())));
    assert_eq!(commit("bare"), ("missing".to_owned(), None));
    assert_eq!(commit("distro"), ("found".to_owned(), Some(of_base)));
    assert_eq!(commit("stranger"), ("conflict".to_owned(), Some(own)), "no base explains its label");
}

#[test]
fn two_builds_of_one_digest_that_name_two_sources_are_a_conflict() {
    let (own, other) = ("0f1e2d3c".repeat(5), "9a8b7c6d".repeat(5));
    let built = |name: &str, minute: i64, repository: &str, commit: &str, run: &str| {
        provenance(name, minute, |event| {
            event.repository = repository.to_owned();
            event.commit = commit.to_owned();
            event.invocation = run.to_owned();
        })
    };
    let book = Book::of(&[
        built("app", 1, "https://git.example/shop", &own, "run-1"),
        built("app", 9, "https://git.example/other/shop", &other, "run-2"),
        // Built again from the same commit, and a mirror of it.
        built("again", 1, "https://git.example/shop", &own, "run-3"),
        built("again", 9, "https://mirror.example/shop", &own, "run-4"),
        packaged("own", 1, |event| {
            event.repository = "https://git.example/shop".to_owned();
            event.commit = own.clone();
        }),
        built("own", 9, "https://git.example/other/shop", &other, "run-5"),
        // A label may be the base's.
        built("labelled", 1, "https://git.example/shop", &own, "run-6"),
        image("labelled", 9, |event| {
            event.repository = "https://git.example/distribution".to_owned();
            event.commit = other.clone();
        }),
    ]);
    let scope = book.scope();
    let status = |name: &str| ["run", "commit"].map(|kind| hop(&scope, &digest(name), kind).status);
    assert_eq!(status("app"), ["conflict", "conflict"]);
    assert_eq!(status("again"), ["found", "found"]);
    assert_eq!(status("own"), ["found", "found"], "a provenance may be that of a repository of pipelines");
    let reason = |name: &str| hop(&scope, &digest(name), "commit").reason.unwrap_or_default();
    assert_eq!(reason("own"), format!("also named: {own} of https://git.example/shop (packaged)"));
    assert_eq!(status("labelled"), ["found", "found"]);
    for named in [&own, &other, "https://git.example/shop", "https://git.example/other/shop"] {
        assert!(reason("app").contains(named), "{}", reason("app"));
    }
    assert_eq!((reason("again"), reason("labelled")), (String::new(), String::new()));
}

#[test]
fn the_same_number_of_two_jobs_is_two_runs() {
    let finished = |source: &str, name: &str, minute: i64| {
        let event = RunFinished {
            run: "17".into(),
            run_source: source.into(),
            pipeline: format!("build {name}"),
            artifact_digests: vec![digest(name), digest(&format!("{name} sources"))],
            ..Default::default()
        };
        said(&format!("finished {name}"), minute, event)
    };
    let alone = |name: &str, source: &str| {
        packaged(name, 9, |event| {
            event.run = "https://ci.example/jobs/9".into();
            event.run_source = source.into();
        })
    };
    let book = Book::of(&[
        finished("/job/till", "till", 1),
        finished("/job/stock", "stock", 2),
        alone("x", "a"),
        alone("y", "b"),
    ]);
    let scope = book.scope();
    let joined = |name: &str| -> usize {
        let lineage = scope.lineage(&digest(name), 3, pedigraph_projector::answers::Direction::Both);
        lineage.expect("read").expect("known").nodes.len()
    };
    assert_eq!((joined("till"), joined("stock")), (2, 2));
    assert_eq!(joined("x"), 2, "an address is one run, whoever tells of it");
    assert_eq!(hop(&scope, &digest("till"), "run").summary, "build till 17");
    let found = scope.resolve("17").expect("read").candidates;
    let labels: Vec<&str> =
        found.iter().filter(|found| found.kind == "run").map(|found| found.label.as_str()).collect();
    assert_eq!(labels, ["run 17 of /job/stock", "run 17 of /job/till"]);
    assert_eq!(scope.built_by_run("17", None, 10).expect("read").rows.len(), 4);
}

#[test]
fn the_address_of_a_run_finds_its_attempts_the_newest_first() {
    let run = |name: &str, run: &str| packaged(name, 1, |event| event.run = format!("https://github.com/acme/{run}"));
    let book = Book::of(&[
        run("a", "cart/actions/runs/77/attempts/2"),
        run("b", "cart/actions/runs/77/attempts/10"),
        run("c", "cart/actions/runs/778/attempts/1"),
    ]);
    let found = |id: &str| {
        let found = book.scope().resolve(&format!("https://github.com/acme/cart/actions/runs/{id}")).expect("read");
        let runs = found.candidates.into_iter().filter(|one| one.kind == "run");
        runs.map(|one| one.id.replace("https://github.com/acme/cart/actions/runs/", "")).collect::<Vec<_>>()
    };
    assert_eq!(found("77"), ["77/attempts/10", "77/attempts/2"]);
    assert_eq!(found("77/"), found("77"));
    assert_eq!(found("77/attempts/2"), ["77/attempts/2"], "what is named whole is that alone");
    assert!(found("7").is_empty());
}

#[test]
fn an_index_shows_the_provenance_of_its_manifests_by_platform() {
    let listed = |name: &str, platform: &str| PlatformManifest {
        digest: digest(name),
        platform: platform.into(),
        artifact_type: String::new(),
    };
    let index = image("index", 1, |event| {
        event.digest_kind = DigestKind::Index.into();
        event.artifact_ref = "r.io/till:3.1.0".into();
        event.manifests = vec![listed("amd", "linux/amd64"), listed("arm", "linux/arm64/v8")];
    });
    let of_platform = |name: &str, run: &str| {
        let run = run.to_owned();
        provenance(name, 2, |event| {
            event.commit = "5e6f7a8b".repeat(5);
            event.builder = "https://builder.example".into();
            event.invocation = run;
            event.materials = vec![material("debian@12.8")];
        })
    };
    let deployed = ServiceDeployed {
        service: "till".into(),
        environment: "shop".into(),
        artifact_digest: digest("index"),
        ..Default::default()
    };
    let debian = ArtifactPublished {
        artifact_digest: digest("debian@12.8"),
        artifact_ref: "debian:12.8".into(),
        ..Default::default()
    };
    let book = Book::of(&[
        index,
        said("debian", 1, debian),
        of_platform("amd", "run/1"),
        of_platform("arm", "run/2"),
        said("deployed", 3, deployed),
    ]);
    let scope = book.scope();
    let summary = |kind: &str| {
        let hop = hop(&scope, "shop/till", kind);
        assert_eq!(hop.status, "found", "{kind} {:?}", hop.reason);
        hop.summary
    };
    assert!(summary("attestations").contains("(linux/a"), "{}", summary("attestations"));
    assert!(summary("attestations").ends_with("(and 1 more)"));
    assert_eq!(summary("commit"), format!("{} (linux/amd64, linux/arm64)", "5e6f7a8b".repeat(5)));
    assert!(summary("run").contains("linux/amd64") && summary("run").contains("linux/arm64"), "{}", summary("run"));
    let base = "debian:12.8 (by provenance, linux/amd64), debian:12.8 (by provenance, linux/arm64)";
    assert_eq!(summary("base"), base);
    assert_eq!(bases(&scope, "index"), [digest("debian@12.8")]);
    let attestations = scope.artifact(&digest("index")).expect("read").expect("known").attestations;
    let mut platforms: Vec<_> = attestations.iter().map(|item| item.details["platform"].to_string()).collect();
    platforms.sort();
    assert_eq!(platforms, ["\"linux/amd64\"", "\"linux/arm64\""]);
    let of_one = scope.artifact(&digest("arm")).expect("read").expect("known").attestations;
    assert_eq!(of_one.len(), 1, "a manifest has its own and its index's, not its neighbour's");
}

#[test]
fn commits_contradict_only_within_one_repository_and_all_are_listed_where_none_is_the_source() {
    let (ours, theirs) = ("1a2b3c4d".repeat(5), "5d6e7f80".repeat(5));
    let claimed = |repository: &str| {
        let (repository, commit) = (repository.to_owned(), theirs.clone());
        provenance("app", 3, |event| {
            event.repository = repository;
            event.commit = commit;
        })
    };
    let built = packaged("app", 2, |event| {
        event.repository = "https://git.example/shop/app.git".into();
        event.commit = ours.clone();
    });
    let status = |repository: &str| {
        let book = Book::of(&[built.clone(), claimed(repository)]);
        hop(&book.scope(), &digest("app"), "commit").status
    };
    assert_eq!(status("git@git.example:shop/app"), "conflict");
    assert_eq!(status(""), "conflict");
    assert_eq!(status("https://git.example/shop/pipelines"), "found");
    let unsaid = provenance("unsaid", 1, |event| {
        let commit = |name: &str, hash: &str| Material {
            uri: format!("git+https://git.example/shop/{name}"),
            digest: format!("sha1:{hash}"),
            tool: false,
        };
        event.materials = vec![commit("app", &ours), commit("pipelines", &theirs)];
    });
    let hop = hop(&Book::of(&[unsaid]).scope(), &digest("unsaid"), "commit");
    assert_eq!(hop.status, "found");
    assert!(hop.summary.contains(&ours) && hop.summary.contains(&theirs), "{}", hop.summary);
}

#[test]
fn a_run_that_tells_of_itself_goes_before_another_number_of_it() {
    let finished = RunFinished { run: "nightly-7".into(), outcome: 1, ..RunFinished::default() };
    let statement = AttestationAttached {
        artifact_digests: vec![digest("tool")],
        predicate_type: "https://slsa.dev/provenance/v1".into(),
        builder: "https://ci.example/runner".into(),
        invocation: "nightly-7".into(),
        ..AttestationAttached::default()
    };
    let events = [
        packaged("tool", 1, |event| event.run = "nightly-7".into()),
        said("end", 2, finished),
        said("slsa", 3, statement),
    ];
    let run = |events: &[Said]| {
        let artifact = Book::of(events).scope().artifact(&digest("tool")).expect("answered").expect("known");
        artifact.run.expect("a run").summary
    };
    assert_eq!(run(&events), "nightly-7: success");
    assert_eq!(run(&events[..1]), "nightly-7", "one that nobody tells of is still named");
}

#[test]
fn of_two_bases_by_one_method_no_order_of_arrival_decides() {
    let of = |base: &str, minute: i64| {
        let mut said = provenance("app", minute, |event| {
            event.builder = format!("https://ci.example/{base}");
            event.materials = vec![Material { uri: format!("pkg:docker/{base}@1"), ..material(base) }];
        });
        said.id = base.to_owned();
        said
    };
    let app = image("app", 5, |event| event.artifact_ref = "r.example/app:1".into());
    let base = |bases: [Said; 2]| {
        let book = Book::of(&[&[image("b1", 1, |_| {}), image("b2", 2, |_| {}), app.clone()], &bases[..]].concat());
        hop(&book.scope(), &digest("app"), "base").id
    };
    let first = base([of("b1", 10), of("b2", 20)]);
    assert!(first.is_some());
    assert_eq!(first, base([of("b2", 20), of("b1", 10)]));
}
