//! Verdicts and deltas as they are kept: what lists say is what is computed from what is said, in whatever order it comes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pedigraph_projector::answers::{Direction, VexDelta};
use pedigraph_projector::store::{MemStore, Store};
use pedigraph_projector::{AsOf, Moment, Scope, Views, fold_into_memory};
use pedigraph_proto::TenantId;
use pedigraph_proto::event::{
    AdvisoryPublished, AffectedPackage, AffectedRange, ArtifactPackaged, Component, ComponentsListed, Finding,
    ImageObserved, IssuerRole, PlatformManifest, PolicyPublished, RangeEvent, SbomAttached, ScanCompleted, VexIssued,
    VexStatement, VexStatus,
};
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{Nanos, canonical};

use crate::book::{Book, MINUTE, NEW_YEAR, Said, digest, packaged, said};

const ARTIFACTS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const NAMES: [&str; 5] = ["CVE-2026-0001", "CVE-2026-0002", "GHSA-1111", "GHSA-2222", "OSV-1"];
const PACKAGES: [&str; 3] = ["left-pad", "right-pad", "pad"];
const STATUSES: [VexStatus; 4] =
    [VexStatus::Affected, VexStatus::NotAffected, VexStatus::Fixed, VexStatus::UnderInvestigation];

fn tenant() -> TenantId {
    TenantId::default()
}

/// Numbers that look random, from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("fits") % below
    }

    fn of<'t, T: ?Sized>(&mut self, some: &[&'t T]) -> &'t T {
        some[self.roll(some.len())]
    }

    fn version(&mut self) -> String {
        format!("1.{}.0", self.roll(3))
    }

    fn minute(&mut self) -> i64 {
        i64::try_from(self.roll(40)).expect("few")
    }
}

fn sbom(of: &str, tool: &str, at: i64, n: usize, packages: &BTreeSet<String>, statements: Vec<VexStatement>) -> Said {
    let components: Vec<Component> =
        packages.iter().map(|purl| Component { purl: purl.clone(), ..Component::default() }).collect();
    let set = canonical::component_set(components.iter()).to_string();
    let attached = SbomAttached {
        artifact_digest: digest(of),
        sbom_digest: digest(&format!("sbom {of} {n}")),
        tool: tool.to_owned(),
        component_set: set.clone(),
        component_count: u32::try_from(components.len()).expect("few"),
        ..SbomAttached::default()
    };
    let listed = ComponentsListed { component_set: set, first: 0, components };
    let mut facts = vec![Fact::now(attached), Fact::now(listed)];
    if !statements.is_empty() {
        facts.push(Fact::now(VexIssued { issuer: tool.to_owned(), statements, ..VexIssued::default() }));
    }
    Said { id: format!("sbom {n}"), minute: at, facts }
}

fn statement(dice: &mut Dice) -> VexStatement {
    let product = match dice.roll(5) {
        0 | 1 => digest(dice.of(&ARTIFACTS)),
        2 => format!("pkg:npm/{}", dice.of(&PACKAGES)),
        3 => format!("pkg:npm/{}@{}", dice.of(&PACKAGES), dice.version()),
        _ => digest("index"),
    };
    let product_digests = if product.starts_with("sha256:") { vec![product.clone()] } else { vec![] };
    let alias = (dice.roll(6) == 0).then(|| dice.of(&NAMES).to_owned());
    let part = (dice.roll(4) == 0).then(|| format!("pkg:npm/{}", dice.of(&PACKAGES)));
    VexStatement {
        vulnerability: dice.of(&NAMES).to_owned(),
        aliases: alias.into_iter().collect(),
        product,
        product_digests,
        subcomponents: part.into_iter().collect(),
        status: STATUSES[dice.roll(4)].into(),
        ..VexStatement::default()
    }
}

fn vex(dice: &mut Dice, n: usize) -> Said {
    let minute = dice.minute();
    let event = VexIssued {
        issuer: dice.of(&["vendor", "team"]).to_owned(),
        document_id: dice.of(&["", "one", "two"]).to_owned(),
        document_version: dice.roll(4).to_string(),
        document_time: Nanos(NEW_YEAR + minute * MINUTE).to_string(),
        statements: (0..=dice.roll(2)).map(|_| statement(dice)).collect(),
        ..VexIssued::default()
    };
    said(&format!("vex {n}"), minute, event)
}

fn advisory(dice: &mut Dice, n: usize) -> Said {
    let event = |introduced: &str, fixed: &str| RangeEvent {
        introduced: introduced.to_owned(),
        fixed: fixed.to_owned(),
        ..RangeEvent::default()
    };
    let package = dice.of(&PACKAGES);
    let range = AffectedRange { r#type: "SEMVER".into(), events: vec![event("0", ""), event("", &dice.version())] };
    let affected = AffectedPackage {
        ecosystem: "npm".into(),
        name: package.to_owned(),
        purl: format!("pkg:npm/{package}"),
        ranges: vec![range],
        ..AffectedPackage::default()
    };
    let minute = dice.minute();
    let alias = (dice.roll(2) == 0).then(|| dice.of(&NAMES).to_owned());
    let event = AdvisoryPublished {
        id: dice.of(&NAMES[2..]).to_owned(),
        aliases: alias.into_iter().collect(),
        modified: Nanos(NEW_YEAR + minute * MINUTE).to_string(),
        withdrawn: if dice.roll(5) == 0 { Nanos(NEW_YEAR).to_string() } else { String::new() },
        affected_count: 1,
        affected: vec![affected],
        ..AdvisoryPublished::default()
    };
    said(&format!("advisory {n}"), minute, event)
}

fn scan(dice: &mut Dice, n: usize) -> Said {
    let of = if dice.roll(6) == 0 { "index" } else { dice.of(&ARTIFACTS) };
    let findings: Vec<Finding> = (0..dice.roll(3))
        .map(|_| Finding {
            vulnerability: dice.of(&NAMES).to_owned(),
            purl: format!("pkg:npm/{}@{}", dice.of(&PACKAGES), dice.version()),
            ..Finding::default()
        })
        .collect();
    let event = ScanCompleted {
        artifact_digest: digest(of),
        scanner: dice.of(&["looker", "finder"]).to_owned(),
        scan_id: n.to_string(),
        findings,
        ..ScanCompleted::default()
    };
    said(&format!("scan {n}"), dice.minute(), event)
}

fn named(dice: &mut Dice, n: usize) -> Said {
    let name = dice.of(&ARTIFACTS);
    let parent = (dice.roll(5) == 0).then(|| digest(dice.of(&ARTIFACTS)));
    let event = ArtifactPackaged {
        artifact_digest: digest(name),
        artifact_ref: format!("r.io/app:1.{}.{}", dice.roll(4), dice.roll(2)),
        purl: if dice.roll(3) == 0 {
            format!("pkg:npm/{}@{}", dice.of(&PACKAGES), dice.version())
        } else {
            String::new()
        },
        parent_digests: parent.into_iter().collect(),
        ..ArtifactPackaged::default()
    };
    said(&format!("packaged {n}"), dice.minute(), event)
}

fn image(dice: &mut Dice, n: usize) -> Said {
    let event = match dice.roll(2) {
        0 => ImageObserved {
            digest: digest(dice.of(&ARTIFACTS)),
            digest_kind: 2,
            config_digest: digest(dice.of(&ARTIFACTS)),
            ..ImageObserved::default()
        },
        _ => ImageObserved {
            digest: digest("index"),
            digest_kind: 1,
            artifact_ref: "r.io/app:1.9.0".into(),
            manifests: vec![PlatformManifest {
                digest: digest(dice.of(&ARTIFACTS)),
                platform: "linux/amd64".into(),
                ..Default::default()
            }],
            ..ImageObserved::default()
        },
    };
    said(&format!("image {n}"), dice.minute(), event)
}

fn event(dice: &mut Dice, n: usize) -> Said {
    match dice.roll(20) {
        0..=5 => named(dice, n),
        6..=9 => {
            let packages: BTreeSet<String> =
                (0..dice.roll(3)).map(|_| format!("pkg:npm/{}@{}", dice.of(&PACKAGES), dice.version())).collect();
            let statements = if dice.roll(4) == 0 { vec![statement(dice)] } else { vec![] };
            let of = if dice.roll(8) == 0 { "index" } else { dice.of(&ARTIFACTS) };
            sbom(of, dice.of(&["one", "two"]), dice.minute(), n, &packages, statements)
        }
        10..=12 => vex(dice, n),
        13..=14 => advisory(dice, n),
        15..=17 => scan(dice, n),
        18 => image(dice, n),
        _ => {
            let issuer = IssuerRole {
                issuer: "vendor".into(),
                role: dice.of(&["producer", "other"]).into(),
                ..Default::default()
            };
            said(&format!("policy {n}"), 1, PolicyPublished { issuers: vec![issuer], ..PolicyPublished::default() })
        }
    }
}

/// Edges between versions, as lineage has them.
fn edges(scope: &Scope) -> BTreeSet<(String, String)> {
    let mut edges = BTreeSet::new();
    for name in ARTIFACTS.iter().chain(&["index"]) {
        let Some(lineage) = scope.lineage(&digest(name), 1, Direction::Both).expect("read") else { continue };
        let parents = lineage.edges.into_iter().filter(|edge| edge.relationship == "parent");
        edges.extend(parents.map(|edge| (edge.from, edge.to)));
    }
    edges
}

fn short(delta: &VexDelta) -> (String, String, String) {
    (delta.cve.clone(), delta.from_status.clone(), delta.to_status.clone())
}

/// Whether an artifact may be affected, by vulnerability.
fn open_in(scope: &Scope, of: &str) -> BTreeSet<String> {
    let named = NAMES.iter().filter_map(|name| scope.verdict(of, name).expect("read"));
    let open = named.filter(|verdict| ["affected", "under_investigation"].contains(&verdict.summary.status.as_str()));
    open.map(|verdict| verdict.vulnerability).collect()
}

/// What is kept is what is computed.
fn check(scope: &Scope, about: &str) {
    let edges = edges(scope);
    let mut of_name: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for (from, to) in &edges {
        let kept = scope.deltas_along(from, to, None, 100).expect("read").0;
        let exact = scope.diff(from, to).expect("computed").vex_diff;
        let exact: Vec<_> =
            exact.into_iter().map(|change| (change.cve, change.from_status, change.to_status)).collect();
        assert_eq!(kept.iter().map(short).collect::<Vec<_>>(), exact, "{about}: {from} to {to}");
        for delta in kept {
            of_name.entry(delta.cve).or_default().insert((from.clone(), to.clone()));
        }
    }
    for name in NAMES {
        let listed = scope.deltas_of(name, None, 100).expect("read").0;
        let along: BTreeSet<(String, String)> =
            listed.into_iter().map(|delta| (delta.from_artifact_digest, delta.to_artifact_digest)).collect();
        let primary = scope.deltas_of(name, None, 1).expect("read").0.first().map(|delta| delta.cve.clone());
        let wanted = primary.and_then(|name| of_name.get(&name).cloned()).unwrap_or_default();
        assert_eq!(along, wanted, "{about}: {name}");
    }
    for name in ARTIFACTS.iter().chain(&["index"]) {
        let of = digest(name);
        if scope.canonical_digest(&of).expect("read") != of {
            continue;
        }
        let listed = scope.verdicts_on(&of, None, None, 100).expect("read").0;
        let listed: BTreeMap<String, String> = listed.into_iter().map(|link| (link.cve, link.verdict_status)).collect();
        let judged = NAMES.iter().filter_map(|name| scope.verdict(&of, name).expect("read"));
        let judged = judged.filter(|verdict| verdict.summary.status != "unknown");
        let exact: BTreeMap<String, String> =
            judged.map(|verdict| (verdict.vulnerability, verdict.summary.status)).collect();
        assert_eq!(listed, exact, "{about}: verdicts on {name}");
        if let Some(artifact) = scope.artifact(&of).expect("read") {
            let here = artifact.verdicts.into_iter().map(|verdict| (verdict.cve, verdict.verdict_status));
            assert_eq!(here.collect::<BTreeMap<_, _>>(), exact, "{about}: verdicts of the answer about {name}");
            assert_eq!(artifact.verdicts_as_of, None);
        }
        let counts = scope.verdict_counts(&of).expect("read");
        let count = |word: &str| exact.values().filter(|status| *status == word).count() as u64;
        assert_eq!(
            [counts.affected, counts.under_investigation, counts.fixed, counts.not_affected],
            ["affected", "under_investigation", "fixed", "not_affected"].map(count),
            "{about}: counts of {name}"
        );
        assert_eq!(counts.looked_into, scope.is_looked_into(&of).expect("read"), "{about}: {name}");
        let here = open_in(scope, &of);
        let parents: BTreeSet<String> =
            edges.iter().filter(|(_, to)| *to == of).flat_map(|(from, _)| open_in(scope, from)).collect();
        let looked_into = |digest: &str| scope.is_looked_into(digest).expect("read");
        let from_known = edges.iter().any(|(from, to)| *to == of && looked_into(from));
        let is_known = |name: &&String| exact.contains_key(*name) || looked_into(&of) || !from_known;
        let resolved = parents.difference(&here).filter(is_known);
        let badges = scope.vuln_badges(&of).expect("read");
        let wanted = (here.difference(&parents).count() as u64, resolved.count() as u64);
        assert_eq!((badges.new_vulns, badges.resolved_vulns), wanted, "{about}: {name}");
    }
}

fn at(views: &Views, as_of: Option<u64>) -> Scope {
    let as_of = as_of.map(AsOf::Index);
    views.at_deltas(&tenant(), Moment { at: None, as_of }).expect("a scope")
}

/// The root of the view, where what facts touch is read again from the ledger.
fn derived_anew(store: &Arc<MemStore>, book: &Book) -> Option<String> {
    store.remove(&[0, b'd', b'v']).expect("removed");
    let views = Views::in_store(store.clone(), book.reader()).expect("opens");
    assert!(views.wait_folded(book.reader().next_seq()), "{:?}", views.fault());
    let root = root_of(&views);
    check(&at(&views, None), "derived anew");
    views.close().expect("closes");
    root
}

fn root_of(views: &Views) -> Option<String> {
    let views = views.progress(&tenant(), NEW_YEAR);
    views.into_iter().find(|view| view.name == "deltas").and_then(|view| view.root)
}

#[test]
fn what_is_kept_is_what_is_computed_whatever_comes_in_whatever_order() {
    let first = std::env::var("PEDIGRAPH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    let histories = std::env::var("PEDIGRAPH_HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(40_u64);
    for seed in first..first + histories {
        let mut dice = Dice(seed);
        let events: Vec<Said> = (0..30 + dice.roll(40)).map(|n| event(&mut dice, n)).collect();
        let mut book = Book::new();
        let mut left = events.as_slice();
        while !left.is_empty() {
            let (now, later) = left.split_at((1 + dice.roll(6)).min(left.len()));
            book.commit(now);
            left = later;
        }
        let store = Arc::new(MemStore::default());
        let views = Views::in_store(store.clone(), book.reader()).expect("opens");
        assert!(views.wait_folded(book.reader().next_seq()), "{:?}", views.fault());
        check(&at(&views, None), &format!("seed {seed}"));
        for _ in 0..3 {
            let index = dice.roll(events.len()) as u64;
            check(&at(&views, Some(index)), &format!("seed {seed} as of {index}"));
        }
        let root = root_of(&views);
        views.close().expect("closes");
        let folded = fold_into_memory(&book.reader(), 2_000).expect("folds").derived;
        let of_folded = folded.into_iter().find(|(name, _)| name == "deltas").map(|(_, root)| root);
        assert_eq!(root, of_folded, "seed {seed}: in other steps");
        assert_eq!(root, derived_anew(&store, &book), "seed {seed}: read again");
    }
}

/// An SBOM of one version makes the parent known that it and another version declare: what is read again looks at the
/// version too, of which folding told nothing.
#[test]
fn what_is_read_again_is_worked_off_in_the_same_steps() {
    let on_parent = VexStatement {
        vulnerability: NAMES[0].to_owned(),
        product: digest("c"),
        product_digests: vec![digest("c")],
        status: VexStatus::Affected.into(),
        ..VexStatement::default()
    };
    let child = |name: &str| packaged(name, 1, |event| event.parent_digests = vec![digest("c")]);
    let book = Book::of(&[child("f"), child("d"), sbom("f", "lister", 2, 1, &BTreeSet::new(), vec![on_parent])]);
    let store = Arc::new(MemStore::default());
    let views = Views::in_store(store.clone(), book.reader()).expect("opens");
    assert!(views.wait_folded(book.reader().next_seq()), "{:?}", views.fault());
    let resolved = |name: &str| at(&views, None).vuln_badges(&digest(name)).expect("read").resolved_vulns;
    assert_eq!((resolved("f"), resolved("d")), (1, 1));
    let root = root_of(&views);
    views.close().expect("closes");
    assert_eq!(root, derived_anew(&store, &book));
}

#[test]
fn deltas_say_why_and_since_when() {
    let left_pad = |version: &str| BTreeSet::from([format!("pkg:npm/left-pad@{version}")]);
    let mut book = Book::of(&[
        packaged("a", 1, |event| event.artifact_ref = "r.io/app:1.0.0".into()),
        sbom("a", "lister", 2, 1, &left_pad("1.0.0"), vec![]),
        packaged("b", 3, |event| event.artifact_ref = "r.io/app:1.1.0".into()),
        sbom("b", "lister", 4, 2, &left_pad("1.2.0"), vec![]),
    ]);
    let mut dice = Dice(1);
    let mut fixed_in = advisory(&mut dice, 9);
    let affected = AffectedPackage {
        ecosystem: "npm".into(),
        name: "left-pad".into(),
        purl: "pkg:npm/left-pad".into(),
        ranges: vec![AffectedRange {
            r#type: "SEMVER".into(),
            events: vec![
                RangeEvent { introduced: "0".into(), ..RangeEvent::default() },
                RangeEvent { fixed: "1.1.0".into(), ..RangeEvent::default() },
            ],
        }],
        ..AffectedPackage::default()
    };
    fixed_in.facts = vec![Fact::now(AdvisoryPublished {
        id: "GHSA-1111".into(),
        aliases: vec!["CVE-2026-0001".into()],
        affected_count: 1,
        affected: vec![affected],
        ..AdvisoryPublished::default()
    })];
    book.commit(&[fixed_in]);
    let views = book.views();
    let scope = at(&views, None);
    let (deltas, next) = scope.deltas_of("ghsa-1111", None, 10).expect("read");
    assert!(next.is_none());
    let [delta] = deltas.as_slice() else { panic!("one: {deltas:?}") };
    assert_eq!(short(delta), ("CVE-2026-0001".into(), "affected".into(), "none".into()));
    assert_eq!((delta.from_artifact_digest.clone(), delta.to_artifact_digest.clone()), (digest("a"), digest("b")));
    assert_eq!(delta.rationale.reason_code, "component_upgraded");
    assert_eq!(delta.rationale.reason, "pkg:npm/left-pad 1.0.0 became 1.2.0");
    assert!(delta.created_at.0 > NEW_YEAR + MINUTE, "the entry of the advisory");
    let badges = |name: &str| scope.vuln_badges(&digest(name)).expect("read");
    assert_eq!((badges("a").new_vulns, badges("a").resolved_vulns), (1, 0));
    assert_eq!((badges("b").new_vulns, badges("b").resolved_vulns, badges("b").as_of), (0, 1, None));
    let links = scope.verdicts_of("CVE-2026-0001", None, 10).expect("read").0;
    assert_eq!(links.len(), 1);
    assert_eq!(links[0].sbom_version_id, Some(digest("sbom a 1")));
    assert_eq!(scope.described_by(&digest("sbom a 1")).expect("read"), Some(digest("a")));
}
