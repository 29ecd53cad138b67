//! Badges and replay hashes: what counts as an event of an artifact, what each costs, and that order means nothing.

use pedigraph_projector::answers::{Badges, Direction, Inputs, Shown};
use pedigraph_projector::store::Budget;
use pedigraph_projector::{Moment, Scope};
use pedigraph_proto::event::{
    ArtifactPublished, ArtifactSigned, AttestationAttached, Component, ComponentsListed, DigestKind, ImageObserved,
    PlatformManifest, RunFinished, SbomAttached, ScanCompleted, ServiceDeployed, Verification, VexIssued, VexStatement,
    VexStatus,
};
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{EventId, Nanos, TenantId, canonical};

use crate::book::{Book, MINUTE, NEW_YEAR, Said, digest, packaged, said};
use crate::budget::Counted;
use crate::world::{Random, seed};

fn sbom(name: &str, at: i64) -> Said {
    let components = vec![Component { purl: "pkg:npm/rope@1.0.0".into(), ..Component::default() }];
    let set = canonical::component_set(components.iter()).to_string();
    let attached = SbomAttached {
        artifact_digest: digest(name),
        sbom_digest: digest(&format!("sbom of {name} {at}")),
        tool: "lister".to_owned(),
        component_set: set.clone(),
        component_count: 1,
        ..SbomAttached::default()
    };
    let listed = ComponentsListed { component_set: set, first: 0, components };
    Said { id: format!("sbom {name} {at}"), minute: at, facts: vec![Fact::now(attached), Fact::now(listed)] }
}

fn scan(name: &str, at: i64, scanner: &str) -> Said {
    let event = ScanCompleted { artifact_digest: digest(name), scanner: scanner.to_owned(), ..Default::default() };
    said(&format!("scan {name} {scanner} {at}"), at, event)
}

fn vex(document: &str, at: i64, product: &str) -> Said {
    let digests = if product.starts_with("sha256:") { vec![product.to_owned()] } else { vec![] };
    let statement = VexStatement {
        vulnerability: "CVE-2026-0007".to_owned(),
        product: product.to_owned(),
        product_digests: digests,
        status: VexStatus::NotAffected.into(),
        ..VexStatement::default()
    };
    let event = VexIssued {
        issuer: "maker".to_owned(),
        document_id: document.to_owned(),
        document_version: at.to_string(),
        document_time: moment(at).to_string(),
        statements: vec![statement],
        ..VexIssued::default()
    };
    said(&format!("vex {document} {at}"), at, event)
}

fn attested(name: &str, at: i64, verification: Verification) -> Said {
    let event = AttestationAttached {
        artifact_digests: vec![digest(name)],
        predicate_type: "https://slsa.dev/provenance/v1".to_owned(),
        verification: verification.into(),
        commit: "9b2f64c0a17f5e3d8c1b0a99887766554433221".to_owned(),
        ..AttestationAttached::default()
    };
    said(&format!("attested {name} {at}"), at, event)
}

fn published(name: &str, at: i64, tag: &str) -> Said {
    let event = ArtifactPublished {
        artifact_digest: digest(name),
        artifact_ref: format!("r.io/rope:{tag}"),
        ..Default::default()
    };
    said(&format!("published {name} {at}"), at, event)
}

fn deployed(name: &str, at: i64, environment: &str) -> Said {
    let event = ServiceDeployed {
        environment: environment.to_owned(),
        service: "rope".to_owned(),
        artifact_digest: digest(name),
        ..ServiceDeployed::default()
    };
    said(&format!("deployed {name} {environment} {at}"), at, event)
}

/// The time of an event of [`rope`]: before the ledger began, so that no document is of a time to come.
fn moment(minute: i64) -> Nanos {
    Nanos(NEW_YEAR + (minute - 100) * MINUTE)
}

/// Of `rope` everything that counts and everything that does not.
fn rope() -> Vec<Said> {
    let run = RunFinished {
        run: "https://ci.example/7".into(),
        outcome: 1,
        artifact_digests: vec![digest("rope")],
        ..RunFinished::default()
    };
    let signed = ArtifactSigned { artifact_digest: digest("rope"), signer: "maker".into(), ..Default::default() };
    let events = vec![
        published("before", 0, "1.0.0"),
        packaged("rope", 1, |event| event.parent_digests = vec![digest("before")]),
        said("run", 2, run),
        published("rope", 3, "1.1.0"),
        sbom("rope", 4),
        sbom("rope", 5),
        scan("rope", 6, "looker"),
        scan("rope", 7, "looker"),
        scan("rope", 6, "other"),
        attested("rope", 8, Verification::Unverified),
        said("signed", 9, signed),
        vex("whole", 10, &digest("rope")),
        vex("whole", 11, &digest("rope")),
        vex("withdrawn", 10, &digest("rope")),
        vex("withdrawn", 11, &digest("another")),
        vex("package", 12, "pkg:npm/rope@1.0.0"),
        deployed("rope", 13, "prod"),
        deployed("rope", 13, "lab"),
        sbom("before", 14),
        deployed("before", 14, "lab"),
    ];
    events.into_iter().map(|event| Said { minute: event.minute - 100, ..event }).collect()
}

/// Ids of those events that count.
const COUNTING: [&str; 9] = [
    "packaged rope",
    "run",
    "published rope 3",
    "sbom rope 5",
    "scan rope looker 7",
    "scan rope other 6",
    "attested rope 8",
    "signed",
    "vex whole 11",
];

fn id(of: &str) -> String {
    EventId::of(&TenantId::default(), "test", of, &canonical::sha256(of.as_bytes())).to_string()
}

fn inputs(scope: &Scope, name: &str) -> Inputs {
    scope.inputs(&digest(name)).expect("read").expect("known")
}

fn badges(scope: &Scope, name: &str) -> Badges {
    scope.artifact(&digest(name)).expect("read").expect("known").node.badges.expect("badges")
}

#[test]
fn a_replay_hash_covers_what_is_current_of_the_artifact_itself() {
    let scope = Book::of(&rope()).scope();
    let found = inputs(&scope, "rope");
    let kinds: Vec<(&str, &str)> =
        found.inputs.iter().map(|input| (input.event_id.as_str(), input.kind.as_str())).collect();
    let words = ["build", "build", "publication", "sbom", "scan", "scan", "attestation", "signature", "vex"];
    let counting: Vec<String> = COUNTING.iter().map(|of| id(of)).collect();
    let expected: Vec<(&str, &str)> = counting.iter().map(String::as_str).zip(words).collect();
    assert_eq!(kinds, expected);
    let mut ids = counting.clone();
    ids.sort();
    let text = serde_json::json!({"eventIds": ids, "rules": "1", "subject": digest("rope")}).to_string();
    let hash = pedigraph_proto::Digest::sha256(canonical::sha256(text.as_bytes())).to_string();
    assert_eq!((found.replay_hash.as_str(), found.rules.as_str()), (hash.as_str(), "1"));
    let artifact = scope.artifact(&digest("rope")).expect("read").expect("known");
    assert_eq!(artifact.node.replay_hash, Some(hash.clone()));
    let lineage = scope.lineage(&digest("rope"), 3, Direction::Both).expect("read").expect("known");
    assert_eq!(lineage.artifact.replay_hash, Some(hash));
}

#[test]
fn order_of_arrival_changes_no_hash() {
    let hash = |events: &[Said]| {
        let mut book = Book::new();
        events.chunks(3).for_each(|events| book.commit(events));
        inputs(&book.scope(), "rope").replay_hash
    };
    let (mut events, known) = (rope(), hash(&rope()));
    let mut random = Random(seed());
    for _ in 0..5 {
        (1..events.len()).rev().for_each(|n| events.swap(n, random.below(n + 1)));
        assert_eq!(hash(&events), known);
    }
}

#[test]
fn a_replay_hash_is_as_of_an_entry_and_at_a_moment() {
    let counted = Counted::of(&rope());
    let kinds = |moment: Moment| -> Vec<String> {
        let found = inputs(&counted.scope_at(moment, Budget::NONE).0, "rope");
        found.inputs.into_iter().map(|input| input.event_id).collect()
    };
    let then = kinds(Moment { at: Some(moment(10)), as_of: None });
    assert!(then.contains(&id("vex whole 10")) && then.contains(&id("vex withdrawn 10")), "{then:?}");
    assert!(!then.contains(&id("vex whole 11")), "{then:?}");
    let (scope, _) = counted.scope_as_of(4, Budget::NONE);
    let known: Vec<String> = inputs(&scope, "rope").inputs.into_iter().map(|input| input.event_id).collect();
    assert_eq!(known, ["packaged rope", "run", "published rope 3", "sbom rope 4"].map(id));
}

#[test]
fn badges_say_what_is_known_at_a_glance() {
    let scope = Book::of(&rope()).scope();
    let rope = badges(&scope, "rope");
    assert_eq!(rope.signature_status.as_deref(), Some("unverified"));
    assert_eq!((rope.sbom, rope.completeness), (true, 1.0));
    assert_eq!((rope.deployed_in, rope.deployed_in_cut, rope.deployed_in_at_least), (vec!["prod".into()], 0, false));
    let before = badges(&scope, "before");
    assert_eq!(before.signature_status.as_deref(), Some("none"));
    assert_eq!((before.sbom, before.completeness, before.deployed_in), (true, 0.5, vec!["lab".to_owned()]));
    let other = badges(&scope, "another");
    assert_eq!((other.sbom, other.completeness, other.deployed_in.len()), (false, 0.25, 0));
}

#[test]
fn one_signature_that_is_valid_is_enough_and_that_of_an_index_holds_for_what_it_lists() {
    let index = ImageObserved {
        digest: digest("index"),
        digest_kind: DigestKind::Index.into(),
        manifests: vec![PlatformManifest { digest: digest("part"), ..PlatformManifest::default() }],
        ..ImageObserved::default()
    };
    let scope = Book::of(&[
        said("index", 0, index),
        attested("part", 1, Verification::Invalid),
        attested("index", 2, Verification::Valid),
        attested("index", 3, Verification::Invalid),
        attested("alone", 4, Verification::Unverified),
        attested("alone", 5, Verification::Invalid),
        attested("unsigned", 6, Verification::None),
        sbom("part", 7),
        deployed("index", 8, "prod"),
    ])
    .scope();
    let status = |name: &str| badges(&scope, name).signature_status.expect("few");
    assert_eq!(["part", "index", "alone", "unsigned"].map(status), ["valid", "valid", "invalid", "none"]);
    assert!(badges(&scope, "index").sbom, "all that it lists is described");
    assert_eq!(badges(&scope, "part").deployed_in, ["prod"], "what is said of an index holds for what it lists");
}

#[test]
fn environments_are_named_up_to_a_limit_and_counted() {
    let mut events: Vec<Said> = (0..40).map(|n| deployed("rope", n, &format!("ward-{n:02}"))).collect();
    events.push(published("rope", 0, "1.0.0"));
    let found = badges(&Book::of(&events).scope(), "rope");
    assert_eq!((found.deployed_in.len(), found.deployed_in_cut, found.deployed_in_at_least), (32, 8, false));
    assert_eq!(found.deployed_in[0], "ward-00");
    // It ran in so many places and runs in none of them: not every place is looked at.
    let mut events: Vec<Said> = (0..300).map(|n| deployed("rope", n, &format!("ward-{n:03}"))).collect();
    events.extend((0..300).map(|n| deployed("next", 1_000 + n, &format!("ward-{n:03}"))));
    let found = badges(&Book::of(&events).scope(), "rope");
    assert_eq!((found.deployed_in.len(), found.deployed_in_at_least), (0, true));
}

#[test]
fn a_node_costs_a_few_rows_and_where_a_question_has_no_more_to_spend_it_is_shown_plain() {
    let line: Vec<Said> = (0..200)
        .flat_map(|n| {
            let name = format!("v{n}");
            let mut of_it = vec![published(&name, 10 * n, &format!("1.{n}.0")), sbom(&name, 10 * n + 1)];
            of_it.extend([scan(&name, 10 * n + 2, "looker"), attested(&name, 10 * n + 3, Verification::Valid)]);
            of_it
        })
        .collect();
    let counted = Counted::of(&line);
    let cost = |asked: Shown| {
        let (scope, meter) = counted.scope(Budget::NONE);
        let shown = scope.lineage_shown(&digest("v100"), 10, Direction::Both, asked).expect("read").expect("known");
        assert_eq!(shown.nodes.len(), 21);
        assert!(shown.nodes.iter().all(|node| node.replay_hash.is_some()));
        assert!(shown.nodes.iter().all(|node| node.verdict_counts.is_some() == asked.verdicts));
        assert!(shown.nodes.iter().all(|node| node.badges.is_some() == asked.badges));
        meter.rows()
    };
    let (with, without) = (cost(Shown::ALL), cost(Shown::NONE));
    assert!(with <= 21 * 62 && without <= 21 * 48, "{with} {without}");
    let (scope, _) = counted.scope(Budget { rows_max: 2_000, ..Budget::NONE });
    let cut = scope.lineage(&digest("v100"), 100, Direction::Both).expect("never too much").expect("known");
    let truncated = cut.truncated.expect("cut");
    let plain = cut.nodes.iter().filter(|node| node.replay_hash.is_none()).count() as u64;
    assert!(plain > 0 && truncated.not_described == plain, "{truncated:?}");
    assert!(truncated.by.contains("cost"), "{truncated:?}");
    assert!(cut.artifact.badges.is_some(), "the one asked for goes first");
}

#[test]
fn a_node_of_very_many_events_has_no_hash_and_says_so_and_all_of_them_are_listed() {
    let events: Vec<Said> = (0..10_001).map(|n| published("rope", n, "1.0.0")).collect();
    let counted = Counted::of(&events);
    let (scope, meter) = counted.scope(Budget::NONE);
    let artifact = scope.artifact(&digest("rope")).expect("read").expect("known");
    assert_eq!((artifact.node.replay_hash, artifact.truncated), (None, vec!["inputs".to_owned()]));
    assert!(artifact.node.badges.is_some_and(|badges| badges.signature_status.is_none()), "not all was looked at");
    assert!(meter.rows() < 12_000, "{}", meter.rows());
    let lineage = scope.lineage(&digest("rope"), 1, Direction::Both).expect("read").expect("known");
    let truncated = lineage.truncated.expect("cut");
    assert_eq!((truncated.not_described, truncated.by.as_str()), (1, "events"));
    assert_eq!(inputs(&scope, "rope").inputs.len(), events.len());
}
