//! Verdicts: what each reads, and that the order in which things become known means nothing.

use pedigraph_projector::answers::Verdict;
use pedigraph_projector::store::Budget;
use pedigraph_projector::{Affecting, AsOf, ImpactQuestion, Moment, Scope};
use pedigraph_proto::event::{
    AdvisoryPublished, AffectedPackage, AffectedRange, ArtifactKind, ArtifactPublished, Component, ComponentsListed,
    DigestKind, Finding, ImageObserved, PlatformManifest, RangeEvent, SbomAttached, ScanCompleted, ServiceDeployed,
    VexIssued, VexStatement, VexStatus,
};
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{Nanos, canonical};

use crate::book::{Book, MINUTE, NEW_YEAR, Said, digest, said};
use crate::budget::Counted;

const CVE: &str = "CVE-2026-0001";

fn minute(n: i64) -> String {
    Nanos(NEW_YEAR + n * MINUTE).to_string()
}

/// An SBOM of an artifact with some packages, each a purl or `name@version` of one for npm.
fn sbom(name: &str, at: i64, packages: &[String]) -> Said {
    sbom_with(name, at, packages, |_| {})
}

fn sbom_with(name: &str, at: i64, packages: &[String], with: impl FnOnce(&mut SbomAttached)) -> Said {
    let purl =
        |package: &String| if package.starts_with("pkg:") { package.clone() } else { format!("pkg:npm/{package}") };
    let mut purls: Vec<String> = packages.iter().map(purl).collect();
    purls.sort();
    let components: Vec<Component> = purls.into_iter().map(|purl| Component { purl, ..Component::default() }).collect();
    let set = canonical::component_set(components.iter()).to_string();
    let mut attached = SbomAttached {
        artifact_digest: digest(name),
        sbom_digest: digest(&format!("sbom of {name} {at}")),
        tool: "lister".to_owned(),
        component_set: set.clone(),
        component_count: u32::try_from(components.len()).expect("few"),
        ..SbomAttached::default()
    };
    with(&mut attached);
    let listed = ComponentsListed { component_set: set, first: 0, components };
    let id = format!("sbom {name} {at}");
    Said { id, minute: at, facts: vec![Fact::now(attached), Fact::now(listed)] }
}

fn statement(issuer: &str, document: &str, at: i64, product: &str, status: VexStatus) -> Said {
    let product_digests = if product.starts_with("sha256:") { vec![product.to_owned()] } else { vec![] };
    let statement = VexStatement {
        vulnerability: CVE.to_owned(),
        product: product.to_owned(),
        product_digests,
        status: status.into(),
        ..VexStatement::default()
    };
    let event = VexIssued {
        issuer: issuer.to_owned(),
        document_id: document.to_owned(),
        document_version: at.to_string(),
        document_time: minute(at),
        statements: vec![statement],
        ..VexIssued::default()
    };
    said(&format!("{issuer} {document} {at}"), at, event)
}

fn scan(name: &str, at: i64, purls: &[&str]) -> Said {
    let finding = |purl: &&str| Finding { vulnerability: CVE.into(), purl: (*purl).to_owned(), ..Finding::default() };
    let event = ScanCompleted {
        artifact_digest: digest(name),
        scanner: "looker".to_owned(),
        scan_id: format!("{name} {at}"),
        findings: purls.iter().map(finding).collect(),
        ..ScanCompleted::default()
    };
    said(&format!("scan {name} {at}"), at, event)
}

fn advisory(at: i64, package: &str, fixed: &str) -> Said {
    let event = |introduced: &str, fixed: &str| RangeEvent {
        introduced: introduced.to_owned(),
        fixed: fixed.to_owned(),
        ..RangeEvent::default()
    };
    let range = AffectedRange { r#type: "SEMVER".into(), events: vec![event("0", ""), event("", fixed)] };
    let affected = AffectedPackage {
        ecosystem: "npm".into(),
        name: package.to_owned(),
        purl: format!("pkg:npm/{package}"),
        ranges: vec![range],
        ..AffectedPackage::default()
    };
    let event = AdvisoryPublished {
        id: "GHSA-aaaa-bbbb-cccc".into(),
        aliases: vec![CVE.to_owned()],
        modified: minute(at),
        affected_count: 1,
        affected: vec![affected],
        ..AdvisoryPublished::default()
    };
    said(&format!("advisory {package} {at}"), at, event)
}

fn deployed(name: &str, at: i64, service: &str) -> Said {
    let event = ServiceDeployed {
        environment: "quay".into(),
        service: service.to_owned(),
        artifact_digest: digest(name),
        ..ServiceDeployed::default()
    };
    said(&format!("deployed {name} {service} {at}"), at, event)
}

fn verdict(scope: &Scope, name: &str) -> Verdict {
    scope.verdict(&digest(name), CVE).expect("read").expect("somebody says something")
}

fn impact(scope: &Scope) -> pedigraph_projector::answers::Impact {
    let of = Affecting::Vulnerability(CVE.to_owned());
    scope
        .impact(&ImpactQuestion { of, environment: None, limit: 100, after: None, progress: true })
        .expect("answered")
        .0
}

fn status_of(verdict: &Verdict) -> (&str, f64) {
    (verdict.summary.status.as_str(), verdict.summary.confidence)
}

/// Packages that fill an SBOM.
fn fill(n: usize) -> Vec<String> {
    (0..n).map(|n| format!("filler-{n:05}@1.0.{n}")).collect()
}

#[test]
fn who_says_what_comes_to_one_verdict() {
    let left_pad = "pkg:npm/left-pad@1.3.0";
    let events = [
        sbom("app", 1, &["left-pad@1.3.0".to_owned(), "right-pad@2.0.0".to_owned()]),
        deployed("app", 2, "cart"),
        scan("app", 3, &[left_pad]),
    ];
    let mut book = Book::of(&events);
    assert_eq!(status_of(&verdict(&book.scope(), "app")), ("affected", 1.0));
    book.commit(&[statement("vendor", "doc", 4, &digest("app"), VexStatus::NotAffected)]);
    let cleared = verdict(&book.scope(), "app");
    assert_eq!(status_of(&cleared), ("not_affected", 0.5455), "0.6 of 1.1");
    assert!(cleared.summary.conflict && cleared.explanation.iter().all(|said| said.applies), "{cleared:?}");
    assert_eq!(impact(&book.scope()).cleared[0].environment.as_deref(), Some("quay"));
    book.commit(&[advisory(5, "right-pad", "2.1.0")]);
    let again = verdict(&book.scope(), "app");
    // Who clears the whole artifact is heard on each of its components.
    assert_eq!((status_of(&again), again.explanation.len()), (("not_affected", 0.5455), 3), "{again:?}");
    assert_eq!((again.vulnerability.as_str(), again.aliases.len()), (CVE, 1));
    // A newer version of the document says nothing of it any more.
    book.commit(&[statement("vendor", "doc", 6, &digest("other"), VexStatus::NotAffected)]);
    let open = verdict(&book.scope(), "app");
    assert_eq!((status_of(&open), open.superseded), (("affected", 1.0), 1), "{open:?}");
    let listed = impact(&book.scope());
    let row = &listed.deployed[0];
    let purls: Vec<&str> = row.components.iter().map(|component| component.purl.as_str()).collect();
    assert_eq!(purls, [left_pad, "pkg:npm/right-pad@2.0.0"]);
    assert_eq!(row.verdict.as_ref().map(|found| found.status.as_str()), Some("affected"));
    assert_eq!((listed.counts.deployed, listed.counts.cleared, listed.counts.not_deployed), (1, 1, 0), "{listed:?}");
}

/// A state of an advisory on nothing, modified at a minute, with other names.
fn state_of(id: &str, at: i64, aliases: &[&str], withdrawn: bool) -> Said {
    let event = AdvisoryPublished {
        id: id.to_owned(),
        aliases: aliases.iter().map(|&alias| alias.to_owned()).collect(),
        modified: minute(at),
        withdrawn: if withdrawn { minute(at) } else { String::new() },
        ..AdvisoryPublished::default()
    };
    said(&format!("{id} {at}"), at, event)
}

#[test]
fn an_alias_that_a_corrected_advisory_no_longer_names_joins_no_more() {
    const GHSA: &str = "GHSA-1111-1111-1111";
    const OTHER: &str = "GHSA-2222-2222-2222";
    let found = scan("app", 1, &["pkg:npm/left-pad@1.3.0"]);
    let mut book = Book::new();
    let names = |book: &Book, as_of: Option<u64>, id: &str| {
        let moment = Moment { as_of: as_of.map(AsOf::Index), ..Moment::default() };
        let scope = book.views().at(&pedigraph_proto::TenantId::default(), moment).expect("a scope");
        let found = scope.verdict(&digest("app"), id).expect("read");
        found.map(|found| [vec![found.vulnerability], found.aliases].concat().join(" "))
    };
    let all = Some(format!("{CVE} {GHSA} {OTHER}"));
    book.commit(&[found, state_of(GHSA, -60, &[CVE, OTHER], false)]);
    assert_eq!(names(&book, None, OTHER), all);
    book.commit(&[state_of(GHSA, -65, &[], false)]);
    assert_eq!(names(&book, None, OTHER), all, "that was an earlier state");
    book.commit(&[state_of(GHSA, -50, &[OTHER], false)]);
    assert_eq!((names(&book, None, CVE), names(&book, None, GHSA)), (Some(CVE.to_owned()), None));
    assert_eq!(names(&book, Some(2), OTHER), all, "as it was known then");
    book.commit(&[state_of(OTHER, -49, &[CVE], false)]);
    assert_eq!(names(&book, None, GHSA), all, "by way of the other one");
    book.commit(&[state_of(OTHER, -40, &[CVE], true)]);
    assert_eq!(names(&book, None, GHSA), all, "what is withdrawn is called as it was");
    book.commit(&[state_of(OTHER, -30, &[], true)]);
    assert_eq!((names(&book, None, OTHER), names(&book, Some(5), OTHER)), (None, all));
}

#[test]
fn an_advisory_that_says_it_was_modified_far_ahead_is_corrected_by_the_next_state() {
    for far in ["2099-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "9999-12-31T23:59:59Z"] {
        let mut typo = advisory(-60, "left-pad", "9.0.0");
        if let Some(pedigraph_proto::Event::AdvisoryPublished(event)) = &mut typo.facts[0].event {
            event.modified = far.to_owned();
        }
        let mut book = Book::of(&[sbom("app", -90, &["left-pad@1.3.0".to_owned()]), typo]);
        let hit = |book: &Book| book.scope().verdict(&digest("app"), CVE).expect("read").is_some();
        assert!(hit(&book), "{far}: nobody knows better yet");
        book.commit(&[advisory(2, "left-pad", "1.2.0")]);
        assert!(!hit(&book), "{far}: the feed goes on");
    }
}

#[test]
fn the_checksum_of_a_generic_package_names_the_artifact_in_statements() {
    let stated = |checksum: &str| {
        let product = format!("pkg:generic/kiln@1.0?checksum={checksum}");
        let fixed = statement("vendor", "doc", 2, &product, VexStatus::Fixed);
        let book = Book::of(&[scan("kiln", 1, &["pkg:npm/left-pad@1.3.0"]), fixed]);
        let found = verdict(&book.scope(), "kiln");
        (found.summary.status, found.explanation.len())
    };
    assert_eq!(stated(&digest("kiln")), ("fixed".to_owned(), 2));
    assert_eq!(stated(&digest("other")), ("affected".to_owned(), 1));
}

/// Of one document and one time.
fn stated_twice(times: [i64; 2]) -> String {
    let mut both = statement("vendor", "doc", 2, &digest("app"), VexStatus::Affected);
    if let Some(pedigraph_proto::Event::VexIssued(event)) = &mut both.facts[0].event {
        let fixed = VexStatement { status: VexStatus::Fixed.into(), ..event.statements[0].clone() };
        event.statements.push(fixed);
        event.statements.iter_mut().zip(times).for_each(|(statement, at)| statement.time = minute(at));
    }
    verdict(&Book::of(&[both]).scope(), "app").summary.status
}

#[test]
fn of_two_statements_of_a_document_the_later_counts_and_of_one_time_the_one_that_comes_later() {
    assert_eq!(stated_twice([3, 1]), "affected", "by its own time, wherever it stands");
    assert_eq!(stated_twice([1, 3]), "fixed");
    assert_eq!(stated_twice([2, 2]), "fixed", "OpenVEX: each overrides those before it");
}

#[test]
fn what_an_sbom_says_lives_with_it_and_no_other_version_replaces_it() {
    let listed = ["left-pad@1.3.0".to_owned()];
    let of = |name: &str, at: i64, status: VexStatus| {
        let mut attached = sbom(name, at, &listed);
        attached.facts.extend(statement("lister", "urn:uuid:one", at, &digest(name), status).facts);
        attached
    };
    let mut book = Book::of(&[of("app", 1, VexStatus::Affected), of("other", 2, VexStatus::Affected)]);
    for name in ["app", "other"] {
        let found = verdict(&book.scope(), name);
        assert_eq!((status_of(&found), found.superseded), (("affected", 1.0), 0), "{name}: {found:?}");
    }
    book.commit(&[of("app", 3, VexStatus::Fixed)]);
    for (name, status, said) in [("app", "fixed", 2), ("other", "affected", 1)] {
        let found = verdict(&book.scope(), name);
        assert_eq!((status_of(&found), found.explanation.len()), ((status, 1.0), said), "{name}: {found:?}");
    }
}

#[test]
fn what_newer_ones_replace_is_counted_once_also_of_an_index() {
    let manifest = |name: &str| PlatformManifest { digest: digest(name), ..PlatformManifest::default() };
    let index = ImageObserved {
        digest: digest("index"),
        digest_kind: DigestKind::Index.into(),
        manifests: vec![manifest("amd"), manifest("arm")],
        ..ImageObserved::default()
    };
    let found = "pkg:npm/left-pad@1.3.0";
    let mut later = statement("vendor", "doc", 1, &digest("index"), VexStatus::Affected);
    if let Some(pedigraph_proto::Event::VexIssued(event)) = &mut later.facts[0].event {
        event.statements[0].time = minute(5);
    }
    let replaced = statement("vendor", "doc", 2, &digest("index"), VexStatus::Affected);
    let holds = statement("vendor", "doc", 3, &digest("index"), VexStatus::Fixed);
    let book =
        Book::of(&[said("index", 0, index), later, replaced, holds, scan("index", 1, &[found]), scan("index", 2, &[])]);
    assert_eq!(verdict(&book.scope(), "index").superseded, 3, "two statements and a scan");
    assert_eq!(verdict(&book.scope(), "amd").superseded, 2);
    let moment = Moment { at: Some(Nanos(NEW_YEAR + 4 * MINUTE)), ..Moment::default() };
    let then = book.views().at(&pedigraph_proto::TenantId::default(), moment).expect("a scope");
    assert_eq!(verdict(&then, "index").superseded, 2, "what is not yet said is not yet replaced");
}

#[test]
fn a_component_that_is_cleared_clears_no_other() {
    let purls = ["pkg:npm/left-pad@1.3.0", "pkg:npm/right-pad@2.0.0"];
    let mut cleared = statement("vendor", "doc", 3, &digest("app"), VexStatus::NotAffected);
    if let Some(pedigraph_proto::Event::VexIssued(event)) = &mut cleared.facts[0].event {
        event.statements[0].subcomponents = vec!["pkg:npm/left-pad".to_owned()];
    }
    let packages = ["left-pad@1.3.0".to_owned(), "right-pad@2.0.0".to_owned()];
    let book = Book::of(&[sbom("app", 1, &packages), scan("app", 2, &purls), cleared.clone()]);
    assert_eq!(status_of(&verdict(&book.scope(), "app")), ("affected", 1.0));
    let book = Book::of(&[sbom("app", 1, &packages), scan("app", 2, &purls[..1]), cleared]);
    assert_eq!(status_of(&verdict(&book.scope(), "app")), ("not_affected", 0.5455));
}

#[test]
fn a_scanner_and_an_sbom_need_not_agree_on_qualifiers() {
    let mut cleared = statement("vendor", "doc", 3, &digest("app"), VexStatus::NotAffected);
    if let Some(pedigraph_proto::Event::VexIssued(event)) = &mut cleared.facts[0].event {
        event.statements[0].subcomponents = vec!["pkg:npm/left-pad@1.3.0".to_owned()];
    }
    let found = scan("app", 2, &["pkg:npm/left-pad@1.3.0?vcs_url=https:%2F%2Fgit.example%2Fpad"]);
    let book = Book::of(&[sbom("app", 1, &["left-pad@1.3.0".to_owned()]), found, cleared]);
    assert_eq!(status_of(&verdict(&book.scope(), "app")), ("not_affected", 0.5455));
}

#[test]
fn an_advisory_is_found_by_each_spelling_of_a_package() {
    let mut spelled = advisory(2, "newtonsoft.json", "13.0.1");
    if let Some(pedigraph_proto::Event::AdvisoryPublished(event)) = &mut spelled.facts[0].event {
        let package = &mut event.affected[0];
        (package.ecosystem, package.name) = ("NuGet".to_owned(), "Newtonsoft.Json".to_owned());
        package.purl = "pkg:nuget/newtonsoft.json".to_owned();
    }
    let listed = ["pkg:nuget/Newtonsoft.Json@12.0.3".to_owned()];
    let book = Book::of(&[sbom("app", 1, &listed), spelled]);
    assert_eq!(status_of(&verdict(&book.scope(), "app")), ("affected", 1.0));
    assert_eq!(impact(&book.scope()).counts.not_deployed, 1);
}

/// Tools write names and versions of one package differently: (as one SBOM lists it, as others write it).
const SPELLINGS: [(&str, &str); 6] = [
    ("pkg:nuget/Newtonsoft.Json@12.0.3", "pkg:nuget/newtonsoft.json@12.0.3"),
    ("pkg:pypi/zope.interface@5.0", "pkg:pypi/zope-interface@5.0"),
    ("pkg:golang/example.com/kiln@v1.2.3", "pkg:golang/example.com/kiln@1.2.3"),
    ("pkg:composer/symfony/kiln@v5.4.0", "pkg:composer/symfony/kiln@5.4.0"),
    ("pkg:rpm/rhel/vim@9.0-1.el9?epoch=2", "pkg:rpm/redhat/vim@9.0-1.el9?epoch=2"),
    ("pkg:deb/debian/vim@9.0-1?epoch=2", "pkg:deb/debian/vim@2:9.0-1"),
];

#[test]
fn a_package_is_the_same_in_each_spelling_of_its_name_and_version() {
    for (one, other) in SPELLINGS.into_iter().flat_map(|(one, other)| [(one, other), (other, one)]) {
        let of = |name: &str, at: i64, purl: &str| sbom(name, at, &[purl.to_owned(), "left-pad@1.0.0".to_owned()]);
        let clears = statement("vendor", "doc", 3, other, VexStatus::NotAffected);
        let mut on_part = statement("other", "doc", 3, &digest("app"), VexStatus::Fixed);
        if let Some(pedigraph_proto::Event::VexIssued(event)) = &mut on_part.facts[0].event {
            event.statements[0].subcomponents = vec![other.to_owned()];
        }
        let found = scan("app", 2, &[other]);
        let book = Book::of(&[of("app", 1, one), of("twin", 1, other), found, clears, on_part]);
        let verdict = verdict(&book.scope(), "app");
        assert_eq!(
            verdict.explanation.iter().filter(|said| said.weight > 0.0).count(),
            3,
            "{one} {other}: {verdict:?}"
        );
        let question = ImpactQuestion {
            of: Affecting::Package { purl: other.to_owned(), versions: None },
            environment: None,
            limit: 100,
            after: None,
            progress: false,
        };
        let (who, _) = book.scope().impact(&question).expect("answered");
        assert_eq!(who.counts.not_deployed, 2, "{other} asked for, {one} listed");
        let diff = book.scope().diff(&digest("app"), &digest("twin")).expect("computed").sbom_diff;
        assert_eq!((diff.summary.unchanged, diff.version_changed.len()), (2, 0), "{one} {other}: {diff:?}");
    }
}

#[test]
fn ranges_of_distributions_read_the_epoch_wherever_it_stands() {
    let book = Book::of(&[sbom("app", 1, &["pkg:deb/debian/vim@9.0-1?epoch=2".to_owned()])]);
    let hits = |range: &str| {
        let of = Affecting::Package { purl: "pkg:deb/debian/vim".to_owned(), versions: Some(range.to_owned()) };
        let question = ImpactQuestion { of, environment: None, limit: 100, after: None, progress: false };
        book.scope().impact(&question).expect("answered").0.counts.not_deployed
    };
    assert_eq!((hits("vers:deb/>=2:8.0"), hits("vers:deb/>=10.0"), hits("vers:deb/<9.1")), (1, 1, 0));
}

#[test]
fn an_index_is_as_bad_as_the_worst_of_its_manifests() {
    let manifest = |name: &str, platform: &str| PlatformManifest {
        digest: digest(name),
        platform: platform.to_owned(),
        artifact_type: String::new(),
    };
    let index = ImageObserved {
        digest: digest("index"),
        digest_kind: 1,
        manifests: vec![manifest("arm", "linux/arm64"), manifest("amd", "linux/amd64")],
        ..ImageObserved::default()
    };
    let events = [said("index", 1, index), scan("arm", 2, &[]), deployed("index", 3, "cart")];
    let mut book = Book::of(&events);
    assert!(book.scope().verdict(&digest("index"), CVE).expect("read").is_none(), "a scan without it says nothing");
    book.commit(&[scan("amd", 4, &["pkg:npm/left-pad@1.3.0"])]);
    let found = verdict(&book.scope(), "index");
    let platforms: Vec<_> = found.platforms.iter().map(|part| (part.platform.as_str(), part.status.as_str())).collect();
    assert_eq!(status_of(&found), ("affected", 1.0));
    assert_eq!(platforms, [("linux/amd64", "affected"), ("linux/arm64", "unknown")]);
    assert_eq!(impact(&book.scope()).deployed[0].digest, digest("index"), "what is said of a manifest");
    book.commit(&[statement("vendor", "doc", 5, &digest("index"), VexStatus::Fixed)]);
    assert_eq!(status_of(&verdict(&book.scope(), "arm")), ("fixed", 1.0), "what is said of its index holds for it");
    assert_eq!(status_of(&verdict(&book.scope(), "amd")), ("fixed", 0.5455));
}

#[test]
fn the_fix_of_what_runs_by_an_index_is_an_index() {
    let index = |version: i64| {
        let part = |platform: &str| PlatformManifest {
            digest: digest(&format!("{platform} {version}")),
            platform: platform.to_owned(),
            artifact_type: String::new(),
        };
        let name = format!("index {version}");
        let event = ImageObserved {
            digest: digest(&name),
            digest_kind: DigestKind::Index.into(),
            artifact_ref: format!("r.io/app:{version}.0.0"),
            manifests: ["linux/amd64", "linux/arm64"].map(part).to_vec(),
            ..ImageObserved::default()
        };
        said(&name, version, event)
    };
    let lists = |version: i64, platform: &str, package: &str| {
        sbom(&format!("{platform} {version}"), 10 + version, &[package.to_owned()])
    };
    let mut book = Book::of(&[advisory(0, "left-pad", "1.4.0"), index(1), index(2), index(3)]);
    book.commit(&["linux/amd64", "linux/arm64"].map(|platform| lists(1, platform, "left-pad@1.3.0")));
    book.commit(&[lists(2, "linux/amd64", "left-pad@1.4.0"), lists(2, "linux/arm64", "left-pad@1.3.0")]);
    book.commit(&["linux/amd64", "linux/arm64"].map(|platform| lists(3, platform, "left-pad@1.4.0")));
    book.commit(&[deployed("index 1", 20, "cart"), deployed("index 3", 21, "till")]);
    let found = impact(&book.scope());
    let [row] = found.deployed.as_slice() else { panic!("one runs: {:?}", found.deployed) };
    assert_eq!(row.fixed_in.as_deref(), Some("r.io/app:3.0.0"), "of the second one platform is hit");
    let progress = row.fix_progress.expect("told");
    assert_eq!((progress.in_environment.fixed, progress.in_environment.lanes), (1, 2));
}

/// A scanner that pulled an image by its tag knows the index and the config, and ties the two (`ImageObserved` of the
/// index with the config of one platform).
#[test]
fn what_is_known_to_list_manifests_takes_no_config_away_from_its_manifest() {
    let manifest = |name: &str, platform: &str| PlatformManifest {
        digest: digest(name),
        platform: platform.to_owned(),
        artifact_type: String::new(),
    };
    let image = |name: &str, config: &str| ImageObserved {
        digest: digest(name),
        config_digest: digest(config),
        ..ImageObserved::default()
    };
    let listed = ImageObserved {
        digest: digest("index"),
        digest_kind: DigestKind::Index.into(),
        manifests: vec![manifest("arm", "linux/arm64"), manifest("amd", "linux/amd64")],
        ..ImageObserved::default()
    };
    let own =
        |name: &str, config: &str| ImageObserved { digest_kind: DigestKind::Manifest.into(), ..image(name, config) };
    let events = [
        said("arm", 1, own("arm", "arm config")),
        said("amd", 2, own("amd", "amd config")),
        said("pulled", 3, image("index", "arm config")),
        scan("arm config", 4, &["pkg:npm/left-pad@1.3.0"]),
        sbom("arm", 5, &["only-arm@1.0.0".to_owned()]),
        sbom("amd", 6, &["only-amd@1.0.0".to_owned()]),
        deployed("arm", 7, "by manifest"),
        deployed("arm config", 8, "by config"),
        said("index", 9, listed),
    ];
    for turns in 0..events.len() {
        let mut events = events.to_vec();
        events.rotate_left(turns);
        let mut book = Book::of(&events);
        let scope = book.scope();
        let found = impact(&scope);
        let services: Vec<_> = found.deployed.iter().filter_map(|row| row.service.as_deref()).collect();
        assert_eq!(services, ["by config", "by manifest"], "{turns} turns");
        assert_eq!(scope.artifact(&digest("arm config")).expect("read").expect("known").node.digest, digest("arm"));
        let of = Affecting::Package { purl: "pkg:npm/only-amd".to_owned(), versions: None };
        let question = ImpactQuestion { of, environment: None, limit: 100, after: None, progress: false };
        let counts = scope.impact(&question).expect("answered").0.counts;
        assert_eq!((counts.deployed, counts.unknown), (0, 0), "{turns} turns: an arm64 image holds no part of amd64");
        assert_eq!(status_of(&verdict(&scope, "index")).0, "affected");
        book.commit(&[]);
    }
}

#[test]
fn a_verdict_costs_what_is_said_of_the_artifact() {
    let world = |artifacts: i64| {
        let mut events = vec![advisory(0, "left-pad", "1.4.0")];
        for n in 0..artifacts {
            let mut packages = fill(600);
            packages.push("left-pad@1.3.0".to_owned());
            packages.push(format!("own-{n}@1.0.0"));
            let name = format!("app {n}");
            events.push(sbom(&name, n + 1, &packages));
            events.push(scan(&name, n + 1, &["pkg:npm/left-pad@1.3.0"]));
            events.push(statement("vendor", &format!("doc {n}"), n + 1, &digest(&name), VexStatus::NotAffected));
        }
        // One artifact is scanned every hour.
        events.extend((0..artifacts).map(|n| scan("app 0", artifacts + n, &["pkg:npm/left-pad@1.3.0"])));
        Counted::of(&events)
    };
    let (small, large) = (world(30), world(300));
    let rows = |counted: &Counted, name: &str| {
        let (scope, meter) = counted.scope(Budget::NONE);
        assert_eq!(status_of(&verdict(&scope, name)), ("not_affected", 0.5455));
        meter.rows()
    };
    for name in ["app 0", "app 7"] {
        let (few, many) = (rows(&small, name), rows(&large, name));
        println!("verdict of {name}: {few} rows among 30 artifacts, {many} among 300");
        assert!(many <= few + few / 4 && many <= 120, "{name}: {few} rows, {many} at ten times the size");
    }
}

#[test]
fn who_names_very_many_packages_makes_no_verdict_expensive() {
    let world = |packages: i64| {
        let mut listed = fill(500);
        listed.push("left-pad@1.3.0".to_owned());
        let mut events = vec![sbom("app", 1, &listed), advisory(2, "left-pad", "1.4.0")];
        let wide =
            |n: i64| statement("wide", &format!("doc {n}"), 3, &format!("pkg:npm/other-{n:05}"), VexStatus::Fixed);
        events.extend((0..packages).map(wide));
        events.push(statement("vendor", "doc", 4, "pkg:npm/left-pad@1.3.0", VexStatus::NotAffected));
        Counted::of(&events)
    };
    for packages in [500, 5_000] {
        let (scope, meter) = world(packages).scope(Budget::NONE);
        assert_eq!(status_of(&verdict(&scope, "app")), ("affected", 0.5102), "0.5 of 0.98");
        println!("verdict where {packages} packages are named: {} rows", meter.rows());
        assert!(meter.rows() < 500 * 3 + 1_000, "{} rows", meter.rows());
    }
}

#[test]
fn the_order_in_which_things_become_known_means_nothing() {
    let events = [
        sbom("app", 1, &["left-pad@1.3.0".to_owned(), "right-pad@2.0.0".to_owned()]),
        sbom("late", 8, &["left-pad@1.4.0".to_owned()]),
        deployed("app", 2, "cart"),
        scan("app", 3, &["pkg:npm/left-pad@1.3.0"]),
        scan("app", 4, &["pkg:npm/right-pad@2.0.0"]),
        statement("vendor", "doc", 4, "pkg:npm/left-pad@1.3.0", VexStatus::NotAffected),
        statement("vendor", "doc", 6, "pkg:npm/left-pad", VexStatus::Affected),
        statement("other", "doc", 5, &digest("app"), VexStatus::UnderInvestigation),
        advisory(5, "left-pad", "1.4.0"),
        advisory(7, "left-pad", "1.5.0"),
    ];
    let told = |events: &[Said]| {
        let book = Book::of(events);
        let views = book.views();
        let mut told = Vec::new();
        for at in [None, Some(3), Some(4), Some(5), Some(6), Some(7), Some(8)] {
            let at = at.map(|minutes| Nanos(NEW_YEAR + minutes * MINUTE));
            let moment = Moment { at, ..Moment::default() };
            let scope = views.at(&pedigraph_proto::TenantId::default(), moment).expect("a scope");
            for name in ["app", "late"] {
                let found = scope.verdict(&digest(name), CVE).expect("read");
                let said = |found: Verdict| {
                    let mut said: Vec<_> = found
                        .explanation
                        .iter()
                        .map(|said| {
                            (said.issuer.clone(), said.status.clone(), said.applies, said.time, said.components.clone())
                        })
                        .collect();
                    said.sort();
                    (found.summary.status, found.summary.confidence, found.replay_hash, said)
                };
                told.push(format!("{at:?} {name} {:?}", found.map(said)));
            }
        }
        told
    };
    let in_order = told(&events);
    for step in [3, 7, 9] {
        // Each event once, in steps that share no factor with their number.
        let shuffled: Vec<Said> = (0..events.len()).map(|n| events[(n * step + 5) % events.len()].clone()).collect();
        assert_eq!(told(&shuffled), in_order, "in steps of {step}");
        let backwards: Vec<Said> = shuffled.into_iter().rev().collect();
        assert_eq!(told(&backwards), in_order, "backwards in steps of {step}");
    }
}

#[test]
fn a_statement_of_csaf_clears_no_other_release() {
    let status_of = |stated: VexStatus, format: &str, named: &str, installed: &str| {
        let product = format!("pkg:rpm/redhat/curl{named}");
        let statement =
            VexStatement { vulnerability: CVE.to_owned(), product, status: stated.into(), ..VexStatement::default() };
        let event = VexIssued {
            issuer: "vendor".to_owned(),
            format: format.to_owned(),
            statements: vec![statement],
            ..VexIssued::default()
        };
        let mut book = Book::new();
        book.commit(&[
            sbom("ship", 1, &[format!("pkg:rpm/redhat/curl@7.61.1-30?{installed}")]),
            said("vendor's", 2, event),
            deployed("ship", 3, "quay"),
        ]);
        let found = impact(&book.scope());
        let (verdict, counts) = (verdict(&book.scope(), "ship"), found.counts);
        let why = found.unknown.first().map(|row| row.why.clone()).unwrap_or_default();
        (verdict.summary.status, counts.cleared, counts.unknown, why)
    };
    let status =
        |format: &str, named: &str, installed: &str| status_of(VexStatus::NotAffected, format, named, installed);
    let is_unclear = |(status, cleared, unknown, why): (String, u64, u64, String)| {
        (status.as_str(), cleared, unknown) == ("unknown", 0, 1) && why.contains("release")
    };
    assert_eq!(status("csaf", "?distro=redhat-8", "distro=redhat-8.8"), ("not_affected".into(), 1, 0, String::new()));
    let other = status("csaf", "?distro=redhat-8", "distro=redhat-9.2");
    assert_eq!((other.0.as_str(), other.1), ("unknown", 0), "it is of another release");
    for (named, installed) in [("", "distro=redhat-9.2"), ("@7.61.1-30", "distro=redhat-8.8"), ("?distro=redhat-8", "")]
    {
        let said = status("csaf", named, installed);
        assert!(is_unclear(said.clone()), "{named} {installed}: {said:?}");
    }
    assert_eq!(status("csaf", "", "arch=x86_64").0, "not_affected", "neither says a release");
    let elsewhere = status("openvex", "?distro=redhat-8", "distro=redhat-9.2");
    assert_eq!((elsewhere.0.as_str(), elsewhere.1), ("unknown", 0), "nobody cleared it in this release");
    let hit = status_of(VexStatus::Affected, "openvex", "?distro=redhat-8", "distro=redhat-9.2");
    assert_eq!(hit.0, "affected", "qualifiers of other formats are ignored where they would make it safer");
    for installed in ["", "distro=redhat-8.8"] {
        assert_eq!(status("openvex", "?distro=redhat-8", installed).0, "not_affected", "no other release: {installed}");
    }
}

/// A document with statements on so many packages that nothing has.
fn strangers(from: usize, packages: usize) -> Said {
    let statement = |n: usize| VexStatement {
        vulnerability: CVE.to_owned(),
        product: format!("pkg:npm/stranger-{n}"),
        status: VexStatus::Affected.into(),
        ..VexStatement::default()
    };
    let event = VexIssued {
        issuer: "talker".to_owned(),
        document_id: format!("from {from}"),
        statements: (from..from + packages).map(statement).collect(),
        ..VexIssued::default()
    };
    said(&format!("strangers from {from}"), 9, event)
}

#[test]
fn who_names_very_many_packages_that_nothing_has_makes_no_question_expensive() {
    let rows = |documents: usize| {
        let mut events = vec![
            sbom("buoy", 1, &["valve@1.0.0".to_owned(), "screen@2.0.0".to_owned()]),
            statement("vendor", "doc", 2, "pkg:npm/valve@1.0.0", VexStatus::Affected),
        ];
        events.extend((0..documents).map(|n| strangers(n * 1_000, 1_000)));
        let counted = Counted::of(&events);
        let (scope, meter) = counted.scope(Budget::NONE);
        let found = impact(&scope);
        assert_eq!((found.counts.not_deployed, found.at_least), (1, vec![]), "the one that has a package is found");
        meter.rows()
    };
    let (few, many) = (rows(1), rows(20));
    assert!(many <= few && many < 1_500, "{few} rows of 1,000 packages, {many} of 20,000");
}

#[test]
fn what_is_found_in_more_artifacts_than_a_question_may_look_at_is_listed_in_part_and_said_so() {
    let events: Vec<Said> = (0..2_000).map(|n| scan(&format!("hull {n}"), n, &["pkg:npm/valve@1.0.0"])).collect();
    let counted = Counted::of(&events);
    let (scope, _) = counted.scope(Budget::NONE);
    assert_eq!((impact(&scope).counts.not_deployed, impact(&scope).at_least), (2_000, vec![]));
    let (scope, _) = counted.scope(Budget { rows_max: 9_000, ..Budget::NONE });
    let found = impact(&scope);
    assert!(found.not_deployed.is_some_and(|rows| rows.len() == 100), "a page of them");
    assert!(found.at_least.contains(&"notDeployed".to_owned()), "{:?}", found.at_least);
}

fn comes_to(events: &[Said], name: &str) -> Option<String> {
    let verdict = Book::of(events).scope().verdict(&digest(name), CVE).expect("answered");
    verdict.map(|verdict| verdict.summary.status)
}

#[test]
fn a_range_that_a_purl_names_is_held_against_the_installed_version() {
    let ranged = |range: &str| format!("pkg:npm/rope?vers={}", range.replace('<', "%3C").replace('>', "%3E"));
    let of = |version: &str, said: &[(&str, VexStatus)]| {
        let mut events = vec![sbom("ship", 1, &[format!("rope@{version}")])];
        for (n, (range, status)) in said.iter().enumerate() {
            events.push(statement("maker", &format!("document {n}"), 2, &ranged(range), *status));
        }
        comes_to(&events, "ship")
    };
    let affected = [("vers:npm/<7.0.0", VexStatus::Affected)];
    assert_eq!(of("6.1.0", &affected).as_deref(), Some("affected"));
    assert_eq!(of("7.0.0", &affected).as_deref(), Some("unknown"), "nothing counts of what names other versions");
    let both = [("vers:npm/<6.0.0", VexStatus::Affected), ("vers:npm/>=6.0.0", VexStatus::Fixed)];
    assert_eq!(of("5.9.0", &both).as_deref(), Some("affected"), "neither replaces the other");
    assert_eq!(of("6.1.0", &both).as_deref(), Some("fixed"));
    assert_eq!(of("no version", &affected).as_deref(), Some("unknown"), "it cannot be told, and is not safe");
    assert_eq!(of("6.1.0", &[("vers:deb/<7", VexStatus::Fixed)]).as_deref(), Some("unknown"), "another order");
}

#[test]
fn an_image_is_called_by_the_purl_of_its_repository() {
    let published = |name: &str, reference: &str, kind: ArtifactKind| {
        let event = ArtifactPublished {
            artifact_digest: digest(name),
            artifact_ref: reference.to_owned(),
            kind: kind.into(),
            ..ArtifactPublished::default()
        };
        said(&format!("published {name}"), 1, event)
    };
    let image = published("shop", "ghcr.io/acme/shop:1.0", ArtifactKind::ContainerImage);
    let hub = published("proxy", "nginx:1.25", ArtifactKind::ContainerImage);
    let package = published("kit", "ghcr.io/acme/kit:1.0", ArtifactKind::Package);
    let of = |product: &str, name: &str| {
        let events = [image.clone(), hub.clone(), package.clone()];
        let vex = statement("maker", "d", 2, product, VexStatus::Affected);
        // Whichever came first.
        let before = comes_to(&[&events[..], std::slice::from_ref(&vex)].concat(), name);
        assert_eq!(comes_to(&[&[vex][..], &events].concat(), name), before, "{product}");
        before
    };
    let affected = Some("affected".to_owned());
    assert_eq!(of("pkg:oci/shop?repository_url=ghcr.io/acme/shop", "shop"), affected);
    let no_such = Some("unknown".to_owned());
    assert_eq!(of("pkg:oci/shop?repository_url=ghcr.io/other/shop", "shop"), no_such);
    assert_eq!(of("pkg:oci/nginx?repository_url=docker.io/library/nginx", "proxy"), affected);
    assert_eq!(of("pkg:oci/nginx?repository_url=index.docker.io/library/nginx", "proxy"), affected);
    assert_eq!(of("pkg:oci/kit?repository_url=ghcr.io/acme/kit", "kit"), None, "it is no image");
}

#[test]
fn a_package_that_was_observed_is_called_by_its_purl() {
    let purl = "pkg:npm/%40acme/till@1.0.0";
    let observed = |kind: DigestKind| {
        let event = ImageObserved {
            digest: digest("till"),
            digest_kind: kind.into(),
            artifact_ref: purl.to_owned(),
            ..ImageObserved::default()
        };
        let events = [said("seen", 1, event), statement("maker", "d", 2, purl, VexStatus::Affected)];
        let book = Book::of(&events);
        let found = book.scope().resolve(purl).expect("answered").candidates.into_iter().find_map(|found| found.digest);
        (comes_to(&events, "till"), found)
    };
    assert_eq!(observed(DigestKind::Package), (Some("affected".to_owned()), Some(digest("till"))));
    assert_eq!(observed(DigestKind::Unspecified).0, None, "nobody says that it is one");
}

#[test]
fn an_image_scanned_under_another_tag_is_the_same_root() {
    let scanned = |root: &str, at: i64, kind: ArtifactKind, packages: &[&str]| {
        let packages: Vec<String> = packages.iter().map(|name| (*name).to_owned()).collect();
        sbom_with("shop", at, &packages, |event| (event.root_name, event.kind) = (root.to_owned(), kind.into()))
    };
    let contains = |kind: ArtifactKind, second: &str| {
        let events = [scanned("r.io/shop:1.0", 1, kind, &["keep@1", "gone@1"]), scanned(second, 2, kind, &["keep@1"])];
        let listed = Book::of(&events).scope().components(&digest("shop"), None, 10).expect("listed");
        listed.into_iter().map(|component| component.purl).collect::<Vec<_>>()
    };
    assert_eq!(contains(ArtifactKind::ContainerImage, "r.io/shop:latest"), ["pkg:npm/keep@1"]);
    assert_eq!(contains(ArtifactKind::ContainerImage, "r.io/other:1.0").len(), 2, "another repository");
    assert_eq!(contains(ArtifactKind::Package, "r.io/shop:latest").len(), 2, "of a package the name is what it is");
}

#[test]
fn sboms_of_two_platforms_of_one_index_stand_beside_each_other() {
    let scanned = |at: i64, purl: &str, packages: &[&str]| {
        let packages: Vec<String> = packages.iter().map(|name| (*name).to_owned()).collect();
        sbom_with("shop", at, &packages, |event| {
            (event.purl, event.kind) = (purl.to_owned(), ArtifactKind::ContainerImage.into());
        })
    };
    let contains = |second: &str| {
        let first = scanned(1, "pkg:oci/shop?arch=amd64&tag=1", &["keep@1", "gone@1"]);
        let events = [first, scanned(2, second, &["keep@1"])];
        Book::of(&events).scope().components(&digest("shop"), None, 10).expect("listed").len()
    };
    assert_eq!(contains("pkg:oci/shop?arch=arm64&tag=1"), 2);
    assert_eq!(contains("pkg:oci/shop?arch=amd64&tag=2"), 1, "the same platform under another tag");
}

#[test]
fn an_advisory_that_is_to_be_withdrawn_later_still_holds() {
    let holds = |withdrawn: &str| {
        let mut state = advisory(2, "left-pad", "1.4.0");
        let Some(pedigraph_proto::Event::AdvisoryPublished(event)) = &mut state.facts[0].event else {
            panic!("an advisory")
        };
        event.withdrawn = withdrawn.to_owned();
        let scope = Book::of(&[sbom("app", 1, &["left-pad@1.3.0".to_owned()]), state]).scope();
        scope.verdict(&digest("app"), CVE).expect("answered").is_some()
    };
    assert!(holds(""));
    assert!(!holds(&minute(2)));
    assert!(holds("2099-01-01T00:00:00Z"), "it is not that late");
    assert!(!holds("odd"), "it says that it is");
}

#[test]
fn what_nobody_described_is_not_said_to_have_lost_or_gained_anything() {
    let shop = sbom("one", 1, &["rope@1".to_owned()]);
    let found = statement("maker", "d", 2, "pkg:npm/rope@1", VexStatus::Affected);
    let only = said("two", 3, ImageObserved { digest: digest("two"), digest_kind: 2, ..ImageObserved::default() });
    let scope = Book::of(&[shop.clone(), found.clone(), only]).scope();
    let diff = scope.diff(&digest("one"), &digest("two")).expect("computed");
    assert_eq!((diff.sbom_diff.undescribed.as_slice(), diff.sbom_diff.removed.len()), (&["to".to_owned()][..], 0));
    assert_eq!(diff.vex_diff, [], "that nothing is said of it means nothing");
    let back = scope.diff(&digest("two"), &digest("one")).expect("computed");
    assert_eq!((back.sbom_diff.undescribed.as_slice(), back.sbom_diff.added.len()), (&["from".to_owned()][..], 0));
    assert_eq!(back.vex_diff[0].reason_code, "statement_added", "no component is known to have come");
    let scope = Book::of(&[shop, found, sbom("two", 4, &["line@1".to_owned()])]).scope();
    let diff = scope.diff(&digest("one"), &digest("two")).expect("computed");
    assert_eq!((diff.sbom_diff.undescribed.len(), diff.sbom_diff.summary.removed), (0, 1));
    assert_eq!(diff.vex_diff[0].reason_code, "component_removed");
}

#[test]
fn very_many_issuers_cost_what_they_are() {
    let by_issuers = |count: i64| {
        let mut events = vec![sbom("ship", 1, &["rope@1".to_owned()])];
        events
            .extend((0..count).map(|n| statement(&format!("maker {n}"), "d", 2, &digest("ship"), VexStatus::Affected)));
        let (scope, meter) = Counted::of(&events).scope(Budget::NONE);
        let verdict = scope.verdict(&digest("ship"), CVE).expect("answered").expect("a verdict");
        assert_eq!(verdict.explanation.len(), usize::try_from(count).expect("few"));
        meter.rows()
    };
    let (few, many) = (by_issuers(50), by_issuers(500));
    assert!(many <= 11 * few, "{few} rows for 50, {many} for 500");
}

#[test]
fn very_many_cves_that_share_an_id_cost_what_they_are() {
    let joined = |count: i64| {
        let mut events = vec![sbom("one", 1, &["rope@1".to_owned()]), sbom("two", 1, &["line@1".to_owned()])];
        events.extend((0..count).map(|n| {
            let mut advisory = advisory(2, "rope", "2.0.0");
            advisory.id = format!("advisory {n}");
            if let Some(pedigraph_proto::Event::AdvisoryPublished(event)) = &mut advisory.facts[0].event {
                event.id = format!("GO-2026-{n:04}");
                event.aliases = vec![format!("CVE-2026-{n:04}"), "GHSA-shared".to_owned()];
            }
            advisory
        }));
        // One of them has something of its own.
        events.push(statement("maker", "d", 3, &digest("one"), VexStatus::NotAffected));
        let (scope, meter) = Counted::of(&events).scope(Budget::NONE);
        let changes = scope.diff(&digest("one"), &digest("two")).expect("answered").vex_diff;
        let status = |cve: &str| changes.iter().find(|change| change.cve == cve).map(|change| &*change.from_status);
        assert_eq!((status(CVE), status("CVE-2026-0002")), (Some("not_affected"), Some("affected")));
        assert_eq!(changes.len(), usize::try_from(count).expect("few"));
        meter.rows()
    };
    let (few, many) = (joined(20), joined(200));
    assert!(many <= 20 * few, "{few} rows for 20, {many} for 200");
    assert!(many <= 100_000, "{many} rows");
}

#[test]
fn what_clears_one_component_says_nothing_of_one_that_cannot_be_compared() {
    let comes_to = |more: &str, product: &str| {
        let mut cleared = statement("vendor", "doc", 3, &digest("ship"), VexStatus::NotAffected);
        if let Some(pedigraph_proto::Event::VexIssued(event)) = &mut cleared.facts[0].event {
            event.statements[0].subcomponents = [product.to_owned()].into_iter().filter(|of| !of.is_empty()).collect();
        }
        let listed = ["rope@1.0.0".to_owned(), more.to_owned()];
        let book =
            Book::of(&[sbom("ship", 1, &listed), advisory(2, "rope", "2.0.0"), cleared, deployed("ship", 4, "s")]);
        let counts = impact(&book.scope()).counts;
        (verdict(&book.scope(), "ship").summary.status, counts.cleared, counts.unknown)
    };
    let rope = "pkg:npm/rope@1.0.0";
    assert_eq!(comes_to("line@1.0.0", rope), ("not_affected".to_owned(), 1, 0));
    assert_eq!(comes_to("rope@1.5.0", rope), ("affected".to_owned(), 0, 0));
    assert_eq!(comes_to("rope@main-branch", rope), ("unknown".to_owned(), 0, 1));
    assert_eq!(comes_to("rope@main-branch", ""), ("not_affected".to_owned(), 1, 0), "the whole artifact is cleared");
}

#[test]
fn an_advisory_concerns_what_is_the_package_itself() {
    let of = |name: &str, at: i64, purl: &str| {
        sbom_with(name, at, &["line@1.0.0".to_owned()], |event| event.purl = purl.to_owned())
    };
    let events = [of("old", 1, "pkg:npm/rope@1.0.0"), of("new", 2, "pkg:npm/rope@2.0.0"), deployed("old", 3, "cart")];
    let mut all = events.to_vec();
    all.push(advisory(4, "rope", "2.0.0"));
    // Whichever came first.
    for events in [all.clone(), all.into_iter().rev().collect()] {
        let book = Book::of(&events);
        assert_eq!(verdict(&book.scope(), "old").summary.status, "affected");
        assert_eq!(book.scope().verdict(&digest("new"), CVE).expect("answered"), None);
        let found = impact(&book.scope());
        assert_eq!((found.deployed.len(), found.counts.not_deployed), (1, 0), "{found:?}");
        assert_eq!(found.deployed[0].components[0].purl, "pkg:npm/rope@1.0.0");
        for (versions, count) in [(None, 2), (Some("vers:npm/<2.0.0"), 1), (Some("vers:npm/>3"), 0)] {
            let of = Affecting::Package {
                purl: "pkg:npm/rope".to_owned(),
                versions: versions.map(|range| range.to_owned()),
            };
            let question = ImpactQuestion { of, environment: None, limit: 100, after: None, progress: false };
            let counts = book.scope().impact(&question).expect("answered").0.counts;
            assert_eq!(counts.deployed + counts.not_deployed, count, "{versions:?}");
        }
    }
}

#[test]
fn a_tag_that_a_purl_names_limits_what_clears() {
    let published = |tag: &str| {
        let event = ArtifactPublished {
            artifact_digest: digest(tag),
            artifact_ref: format!("docker.io/acme/shop:{tag}"),
            kind: ArtifactKind::ContainerImage.into(),
            ..ArtifactPublished::default()
        };
        said(&format!("published {tag}"), 1, event)
    };
    let of = |product: &str, status: VexStatus| {
        let events = [published("v1"), published("v2"), statement("maker", "d", 2, product, status)];
        let reversed: Vec<Said> = events.iter().rev().cloned().collect();
        let all = ["v1", "v2"].map(|name| comes_to(&events, name).is_some_and(|word| word != "unknown"));
        assert_eq!(["v1", "v2"].map(|name| comes_to(&reversed, name).is_some_and(|word| word != "unknown")), all);
        all
    };
    let oci = "pkg:oci/shop?repository_url=docker.io/acme/shop";
    assert_eq!(of(oci, VexStatus::NotAffected), [true, true]);
    assert_eq!(of(&format!("{oci}&tag=v1"), VexStatus::NotAffected), [true, false]);
    assert_eq!(of(&format!("{oci}&tag=v1"), VexStatus::Affected), [true, true], "it is not called safe");
    for status in [VexStatus::Affected, VexStatus::Fixed] {
        assert_eq!(of("pkg:docker/acme/shop", status), [true, true]);
        assert_eq!(of("pkg:docker/acme/shop@v1", status), [true, false]);
        assert_eq!(of("pkg:docker/other/shop@v1", status), [false, false]);
        assert_eq!(of("pkg:docker/acme/shop@v1?repository_url=ghcr.io", status), [false, false]);
    }
}

#[test]
fn a_source_package_of_csaf_is_whatever_is_built_from_it() {
    let status = |format: &str, product: &str| {
        let event = VexIssued {
            issuer: "vendor".to_owned(),
            format: format.to_owned(),
            statements: vec![VexStatement {
                vulnerability: CVE.to_owned(),
                product: product.to_owned(),
                status: VexStatus::Affected.into(),
                ..VexStatement::default()
            }],
            ..VexIssued::default()
        };
        let libs = "pkg:rpm/redhat/rope-libs@3.0-1.el9?arch=x86_64&upstream=rope-2.0-1.el9.src.rpm";
        let events = [sbom("ship", 1, &[libs.to_owned()]), said("vendor's", 2, event)];
        let status = comes_to(&events, "ship");
        let listed = impact(&Book::of(&events).scope()).counts.not_deployed;
        assert_eq!(listed == 1, status.as_deref() == Some("affected"), "{product}");
        status
    };
    let affected = Some("affected".to_owned());
    assert_eq!(status("csaf", "pkg:rpm/redhat/rope?arch=src"), affected);
    assert_eq!(status("csaf", "pkg:rpm/redhat/rope@2.0-1.el9?arch=src"), affected);
    assert_ne!(status("csaf", "pkg:rpm/redhat/rope@1.9-1.el9?arch=src"), affected, "of another version");
    assert_ne!(status("csaf", "pkg:rpm/redhat/rope?arch=x86_64"), affected, "it is not installed");
    assert_ne!(status("openvex", "pkg:rpm/redhat/rope?arch=src"), affected);
}

#[test]
fn an_advisory_was_known_since_it_was_published() {
    let mut event = advisory(6, "rope", "2.0.0");
    if let Some(pedigraph_proto::Event::AdvisoryPublished(event)) = &mut event.facts[0].event {
        event.published = minute(3);
    }
    let book = Book::of(&[sbom("ship", 1, &["rope@1.0.0".to_owned()]), event]);
    let at = |n: i64| {
        let scope = book.scope().when(Some(Nanos(NEW_YEAR + n * MINUTE)));
        scope.verdict(&digest("ship"), CVE).expect("answered").map(|verdict| verdict.summary.status)
    };
    assert_eq!((at(2), at(3), at(7)), (None, Some("affected".to_owned()), Some("affected".to_owned())));
}
