//! Statements of many subjects and many materials: what they cost is the sum of both, and answers join them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pedigraph_projector::answers::Direction;
use pedigraph_projector::{Found, Moment, Options, Scope, Views, rebuild};
use pedigraph_proto::TenantId;
use pedigraph_proto::event::{
    AttestationAttached, DigestKind, ImageObserved, Material, PlatformManifest, VexIssued, VexStatement,
};
use pedigraph_proto::wire::Fact;

use crate::book::{Book, Said, digest, said};
use crate::watched::Watched;

/// Items of one slice, as the decoder cuts them.
const SLICE: usize = 256;

fn material(name: &str) -> Material {
    Material { uri: format!("https://example.net/{name}.tgz"), digest: digest(name), tool: false }
}

fn image_material(name: &str) -> Material {
    Material { uri: format!("pkg:oci/{name}"), digest: digest(name), tool: false }
}

/// A provenance in as many facts as the decoder makes of it.
fn statement(id: &str, subjects: &[String], materials: &[Material]) -> Said {
    let slices = subjects.len().max(materials.len()).div_ceil(SLICE);
    let slice = |n: usize, of: usize| (n * SLICE).min(of)..((n + 1) * SLICE).min(of);
    let facts = (0..slices).map(|n| {
        let first = n == 0;
        Fact::now(AttestationAttached {
            artifact_digests: subjects[slice(n, subjects.len())].to_vec(),
            materials: materials[slice(n, materials.len())].to_vec(),
            predicate_type: if first { "https://slsa.dev/provenance/v1".into() } else { String::new() },
            repository: if first { "https://git.example/forge".into() } else { String::new() },
            statement_digest: digest(id),
            builder: "https://builder.example/forge".into(),
            invocation: format!("run of {id}"),
            commit: "7c".repeat(20),
            continues: u32::try_from(n).expect("few"),
            material_count: if slices > 1 { u32::try_from(materials.len()).expect("few") } else { 0 },
            ..AttestationAttached::default()
        })
    });
    Said { facts: facts.collect(), ..said(id, 1, AttestationAttached::default()) }
}

/// So many subjects and materials, among these one image, at the end.
fn forged(subjects: usize, materials: usize) -> Said {
    let subjects: Vec<String> = (0..subjects).map(|n| digest(&format!("part {n}"))).collect();
    let mut materials: Vec<Material> = (1..materials).map(|n| material(&format!("source {n}"))).collect();
    materials.push(image_material("anvil"));
    statement("forged", &subjects, &materials)
}

fn bases(scope: &Scope, name: &str) -> Vec<String> {
    scope.artifact(&digest(name)).expect("read").expect("known").lineage.bases
}

/// Rows read by each question, rows written and their bytes, for a statement of so many subjects and materials.
fn cost(subjects: usize, materials: usize) -> Vec<(&'static str, usize)> {
    let book = Book::of(&[forged(subjects, materials)]);
    let store = Arc::new(Watched::default());
    let views = Views::in_store(store.clone(), book.reader()).expect("views");
    assert!(views.wait_folded(book.reader().next_seq()), "{:?}", views.fault());
    let (written, bytes) = (store.written.load(Ordering::Relaxed), store.bytes_written.load(Ordering::Relaxed));
    let scope = views.at(&TenantId::default(), Moment::default()).expect("a scope");
    let (subject, base, source) = (digest("part 3"), digest("anvil"), digest("source 5"));
    let count = |what: &'static str, ask: &dyn Fn()| {
        store.read.store(0, Ordering::Relaxed);
        ask();
        (what, store.read.load(Ordering::Relaxed))
    };
    let lineage = |digest: &str, depth: usize| {
        scope.lineage(digest, depth, Direction::Both).expect("read").expect("known").nodes.len()
    };
    vec![
        ("rows", written),
        ("kilobytes", bytes / 1_000),
        count("artifact of a subject", &|| assert_eq!(bases(&scope, "part 3"), [digest("anvil")])),
        count("artifact of an image among the materials", &|| {
            let image = scope.artifact(&base).expect("read").expect("known");
            assert_eq!(image.lineage.bases, [""; 0]);
        }),
        count("artifact of another material", &|| assert!(scope.artifact(&source).expect("read").is_none())),
        count("trace", &|| assert!(matches!(scope.trace(&subject).expect("read"), Found::One(_)))),
        count("lineage of a subject", &|| assert!(lineage(&subject, 1) > 2)),
        count("lineage of a subject, deep", &|| assert!(lineage(&subject, 10) > 250)),
        count("lineage of a material", &|| assert!(lineage(&base, 1) > 250)),
    ]
}

#[test]
fn what_a_statement_costs_is_the_sum_of_its_subjects_and_materials() {
    let costs = [1, 2, 4].map(|times| cost(300 * times, 260 * times));
    let [one, two, four] = costs;
    for (((what, one), (_, two)), (_, four)) in one.into_iter().zip(two).zip(four) {
        eprintln!("{what}: {one} {two} {four}");
        let linear = one + 3 * two.saturating_sub(one);
        assert!(four <= linear + linear / 10 + 64, "{what}: {one}, {two} and {four} at once, twice and four times");
    }
    // A product of both would be 1.2 million rows.
    let (_, rows) = cost(1_200, 1_040)[0];
    assert!(rows <= 8 * (1_200 + 1_040), "{rows} rows");
}

#[test]
fn subjects_and_materials_meet_whatever_facts_they_stand_in() {
    let names = |what: &str, n: usize| (0..n).map(|n| format!("{what} {n}")).collect::<Vec<_>>();
    let subjects: Vec<String> = names("part", 600).iter().map(|name| digest(name)).collect();
    let mut materials: Vec<Material> = names("source", 700).iter().map(|name| material(name)).collect();
    materials[690] = image_material("anvil");
    let one_base = Book::of(&[statement("one", &subjects, &materials)]);
    let scope = one_base.scope();
    for part in ["part 0", "part 300", "part 599"] {
        assert_eq!(bases(&scope, part), [digest("anvil")], "{part}");
        let artifact = scope.artifact(&digest(part)).expect("read").expect("known");
        let [said] = artifact.attestations.as_slice() else { panic!("{:?}", artifact.attestations) };
        assert_eq!(said.details["materials"], 700);
        assert_eq!(said.details["predicateType"], "https://slsa.dev/provenance/v1");
        assert_eq!(artifact.commit.expect("a commit").id, "7c".repeat(20));
        assert_eq!(artifact.run.expect("a run").details["repository"], "https://git.example/forge");
    }
    // Of two images none is the base, though they stand in facts of their own.
    materials[3] = image_material("hammer");
    let two = Book::of(&[statement("two", &subjects, &materials)]).scope();
    assert_eq!(bases(&two, "part 300"), [""; 0]);
    // But where the image itself says so.
    let annotated = ImageObserved {
        digest: digest("part 300"),
        digest_kind: DigestKind::Manifest.into(),
        base_digest: digest("hammer"),
        ..ImageObserved::default()
    };
    let book = Book::of(&[statement("two", &subjects, &materials), said("image", 2, annotated)]);
    let scope = book.scope();
    assert_eq!(bases(&scope, "part 300"), [digest("hammer")]);
    let derived = |of: &str| {
        let below = scope.lineage(&digest(of), 1, Direction::Down).expect("read").expect("known");
        below.edges.iter().map(|edge| edge.to.clone()).collect::<Vec<_>>()
    };
    assert_eq!(derived("hammer"), [digest("part 300")], "both sides of an edge know the same");
    assert_eq!(derived("anvil"), [""; 0]);
}

/// As ledgers have it that were written before: every subject meets every material in some fact, none goes on.
#[test]
fn facts_that_repeat_their_statement_give_the_answers_that_they_gave() {
    let fact = |subjects: &[&str], materials: &[Material]| {
        Fact::now(AttestationAttached {
            artifact_digests: subjects.iter().map(|name| digest(name)).collect(),
            materials: materials.to_vec(),
            predicate_type: "https://slsa.dev/provenance/v1".into(),
            statement_digest: digest("old"),
            ..AttestationAttached::default()
        })
    };
    let (anvil, hammer) = (image_material("anvil"), image_material("hammer"));
    let facts = vec![
        fact(&["a", "b"], &[anvil.clone(), material("iron")]),
        fact(&["a", "b"], std::slice::from_ref(&hammer)),
        fact(&["c"], &[anvil, material("iron")]),
        fact(&["c"], &[hammer]),
    ];
    let scope = Book::of(&[Said { facts, ..said("old", 1, AttestationAttached::default()) }]).scope();
    let mut both = vec![digest("anvil"), digest("hammer")];
    both.sort();
    for name in ["a", "b", "c"] {
        assert_eq!(bases(&scope, name), both, "each fact was a build by itself");
        let artifact = scope.artifact(&digest(name)).expect("read").expect("known");
        let materials: Vec<_> = artifact.attestations.iter().map(|said| said.details["materials"].clone()).collect();
        assert_eq!(materials, [1, 2]);
    }
}

#[test]
fn long_names_of_a_run_are_not_repeated_for_each_subject() {
    let subjects: Vec<String> = (0..200).map(|n| digest(&format!("part {n}"))).collect();
    let with = |length: usize| {
        let event = AttestationAttached {
            artifact_digests: subjects.clone(),
            invocation: format!("run {}", "é".repeat(length / 2)),
            builder: "b".repeat(length),
            commit: "c".repeat(length),
            ..AttestationAttached::default()
        };
        let book = Book::of(&[said("long", 1, event)]);
        let store = Arc::new(Watched::default());
        let views = Views::in_store(store.clone(), book.reader()).expect("views");
        assert!(views.wait_folded(book.reader().next_seq()), "{:?}", views.fault());
        let scope = views.at(&TenantId::default(), Moment::default()).expect("a scope");
        let joined = scope.lineage(&subjects[0], 2, Direction::Both).expect("read").expect("known").nodes.len();
        assert_eq!(joined, 200, "one run made them all");
        store.bytes_written.load(Ordering::Relaxed)
    };
    let (short, long) = (with(400), with(40_000));
    assert!(long < 2 * short + 200_000, "{short} bytes of rows with names of 400 bytes, {long} with 40,000");
}

fn rows_and_cut(event: impl Into<pedigraph_proto::Event>) -> (usize, u64) {
    let book = Book::of(&[said("many", 1, event)]);
    let store = Arc::new(Watched::default());
    let views = Views::in_store(store.clone(), book.reader()).expect("views");
    assert!(views.wait_folded(book.reader().next_seq()), "{:?}", views.fault());
    (store.written.load(Ordering::Relaxed), views.cut_rows())
}

#[test]
fn names_that_multiply_within_one_fact_have_a_limit_and_the_rest_is_counted() {
    let listed = |n: usize| PlatformManifest {
        digest: digest(&format!("manifest {n}")),
        platform: "linux/s390x".into(),
        artifact_type: String::new(),
    };
    let index = ImageObserved {
        digest: digest("kit"),
        digest_kind: DigestKind::Index.into(),
        artifact_ref: "r.example/kit:1".into(),
        tags: (0..299).map(|n| format!("t{n}")).collect(),
        manifests: (0..300).map(listed).collect(),
        ..ImageObserved::default()
    };
    let (rows, cut) = rows_and_cut(index);
    // 300 tags; of each of the 300 manifests 4,096 / 301 of them.
    assert_eq!(cut, 300 * (300 - 13));
    assert!(rows < 5 * 4_096, "{rows} rows");

    let statement = |products: usize| VexStatement {
        vulnerability: "CVE-2026-31337".into(),
        aliases: (0..63).map(|n| format!("VENDOR-{n}")).collect(),
        product_digests: (0..products).map(|n| digest(&format!("product {n}"))).collect(),
        ..VexStatement::default()
    };
    let vex = |products: usize| VexIssued { statements: vec![statement(products)], ..VexIssued::default() };
    assert_eq!(rows_and_cut(vex(128)).1, 0);
    let (rows, cut) = rows_and_cut(vex(1_128));
    assert_eq!(cut, 1_000 * 63);
    assert!(rows < 8_192 + 8 * 1_128, "{rows} rows");
}

/// What every other tenant waits for, in rows: the decoder takes no more subjects and materials.
#[test]
fn the_largest_statement_has_as_many_rows_as_are_folded_in_a_moment() {
    let subjects: Vec<String> = (0..8_192).map(|n| digest(&format!("part {n}"))).collect();
    let materials: Vec<Material> = (0..16_384).map(|n| image_material(&format!("image-{n}"))).collect();
    let book = Book::of(&[statement("largest", &subjects, &materials)]);
    let store = Arc::new(Watched::default());
    let views = Views::in_store(store.clone(), book.reader()).expect("views");
    assert!(views.wait_folded(book.reader().next_seq()), "{:?}", views.fault());
    let rows = store.written.load(Ordering::Relaxed);
    assert!((100_000..170_000).contains(&rows), "{rows} rows");
    let dir = book.dir.path().join("views");
    let folded =
        rebuild(&dir, &book.reader(), &Options { cache_bytes: 16 << 20, store: None }, &mut |_, _| ()).expect("folds");
    assert_eq!(folded.root, views.root().1);
}
