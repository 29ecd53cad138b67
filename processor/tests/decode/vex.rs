//! VEX of CSAF documents, and findings of Grype's reports. Real documents are read a second time here, by a reader that
//! shares nothing with the decoder: what one of them has and the other has not is a fault of either.

use pedigraph_proto::Purl;
use pedigraph_proto::event::{ScanCompleted, VexIssued, VexStatement, VexStatus};
use serde_json::{Value, json};

use super::*;

/// What one statement says: vulnerability, product, components, status, justification, impact.
type Said = [String; 6];

fn events<T>(decoded: &Decoded, of: impl Fn(&Event) -> Option<T>) -> Vec<T> {
    decoded.facts.iter().filter_map(|fact| of(fact.event.as_ref().expect("a fact has an event"))).collect()
}

fn issued(decoded: &Decoded) -> Vec<VexIssued> {
    events(decoded, |event| if let Event::VexIssued(vex) = event { Some(vex.clone()) } else { None })
}

fn statements(decoded: &Decoded) -> Vec<VexStatement> {
    issued(decoded).into_iter().flat_map(|vex| vex.statements).collect()
}

fn scans(decoded: &Decoded) -> Vec<ScanCompleted> {
    events(decoded, |event| if let Event::ScanCompleted(scan) = event { Some(scan.clone()) } else { None })
}

fn word(status: VexStatus) -> &'static str {
    match status {
        VexStatus::Affected => "affected",
        VexStatus::NotAffected => "not_affected",
        VexStatus::Fixed => "fixed",
        VexStatus::UnderInvestigation => "under_investigation",
        VexStatus::Unspecified => "?",
    }
}

fn said(statement: &VexStatement) -> Said {
    [
        statement.vulnerability.clone(),
        statement.product.clone(),
        statement.subcomponents.join(" "),
        word(statement.status()).to_owned(),
        statement.justification.clone(),
        statement.impact.clone(),
    ]
}

/// A CSAF document as plain JSON.
struct Walked {
    /// Each object that has a product id, in the order of the document.
    products: Vec<Value>,
    /// The same of relationships: id, component, product.
    related: BTreeMap<String, (String, String)>,
}

impl Walked {
    fn of(tree: &Value) -> Walked {
        let mut walked = Walked { products: vec![], related: BTreeMap::new() };
        walked.walk(tree);
        for relationship in tree["relationships"].as_array().into_iter().flatten() {
            let [id, component, product] = [
                &relationship["full_product_name"]["product_id"],
                &relationship["product_reference"],
                &relationship["relates_to_product_reference"],
            ]
            .map(|value| value.as_str().expect("a reference is text").to_owned());
            walked.related.insert(id, (component, product));
        }
        walked
    }

    fn walk(&mut self, value: &Value) {
        match value {
            Value::Array(list) => list.iter().for_each(|element| self.walk(element)),
            Value::Object(members) if members.contains_key("product_id") => self.products.push(value.clone()),
            Value::Object(members) => members.values().for_each(|member| self.walk(member)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn name(&self, id: &str) -> String {
        let Some(product) = self.products.iter().find(|product| product["product_id"] == id) else {
            return id.to_owned();
        };
        let helper = &product["product_identification_helper"];
        let purl = helper["purl"].as_str().map(|purl| Purl::canonical(purl).unwrap_or_else(|| purl.to_owned()));
        let text = |value: &Value| value.as_str().map(str::to_owned);
        purl.or_else(|| text(&helper["cpe"])).or_else(|| text(&product["name"])).expect("a product has a name")
    }

    /// Product and component of an id.
    fn named(&self, id: &str) -> (String, String) {
        let Some((mut component, mut product)) = self.related.get(id).cloned() else {
            return (self.name(id), String::new());
        };
        while let Some((further, _)) = self.related.get(&component) {
            component = further.clone();
        }
        while let Some((_, further)) = self.related.get(&product) {
            product = further.clone();
        }
        (self.name(&product), self.name(&component))
    }
}

/// The text of the first element of a list that names an id.
fn first_of(list: &Value, id: &str, text: &str, fits: impl Fn(&Value) -> bool) -> String {
    let mut elements = list.as_array().into_iter().flatten().filter(|element| fits(element));
    let found = elements.find(|element| element["product_ids"].as_array().is_some_and(|ids| ids.contains(&id.into())));
    found.and_then(|element| element[text].as_str()).unwrap_or_default().to_owned()
}

/// `rhel-9` of `cpe:/o:redhat:enterprise_linux:9::baseos`, and of what is built for it.
fn release_of(product: &str) -> Option<String> {
    let rest = product.strip_prefix("cpe:/o:redhat:").or_else(|| product.strip_prefix("cpe:/a:redhat:"))?;
    let built_for = rest.split("::el").nth(1).map(str::to_owned);
    let (name, version) = rest.split_once(':')?;
    let version = || version.split(':').next().map(str::to_owned);
    let release = match name {
        "enterprise_linux" | "rhel_eus" | "rhel_aus" | "rhel_tus" | "rhel_e4s" | "rhel_els" => {
            built_for.or_else(version)
        }
        name if name.starts_with("rhel_") => built_for,
        _ => None,
    };
    release.map(|release| format!("rhel-{release}"))
}

/// A package by both names of its distribution, as a product.
fn of_release(component: &str, release: &str) -> Vec<(String, String)> {
    let Some(rest) = component.strip_prefix("pkg:rpm/redhat/") else { return vec![] };
    let end = if rest.contains('?') { "&" } else { "?" };
    let named = ["redhat", "rhel"].map(|by| format!("pkg:rpm/{by}/{rest}{end}distro={release}"));
    named.map(|purl| (Purl::canonical(&purl).expect("a purl"), String::new())).to_vec()
}

/// Everything that a CSAF document says, and the remediations that must be told with it.
fn everything_said(document: &Value) -> BTreeMap<Said, BTreeSet<String>> {
    const LISTS: [(&str, &str); 7] = [
        ("first_affected", "affected"),
        ("known_affected", "affected"),
        ("last_affected", "affected"),
        ("known_not_affected", "not_affected"),
        ("first_fixed", "fixed"),
        ("fixed", "fixed"),
        ("under_investigation", "under_investigation"),
    ];
    let walked = Walked::of(&document["product_tree"]);
    let mut all: BTreeMap<Said, BTreeSet<String>> = BTreeMap::new();
    for vulnerability in document["vulnerabilities"].as_array().into_iter().flatten() {
        let cve = vulnerability["cve"].as_str().expect("all of the corpora have one");
        for (list, status) in LISTS {
            for id in vulnerability["product_status"][list].as_array().into_iter().flatten() {
                let id = id.as_str().expect("an id is text");
                let (mut product, mut component) = walked.named(id);
                // No artifact is called by a CPE: an image is one by its own digest.
                if product.starts_with("cpe:") && Purl::parse(&component).and_then(|purl| purl.digest()).is_some() {
                    (product, component) = (component, String::new());
                }
                let (mut justification, mut impact, mut actions) = (String::new(), String::new(), BTreeSet::new());
                if status == "not_affected" {
                    justification = first_of(&vulnerability["flags"], id, "label", |_| true);
                    let of_impact = |threat: &Value| threat["category"] == "impact";
                    impact = first_of(&vulnerability["threats"], id, "details", of_impact);
                } else {
                    let remedies = vulnerability["remediations"].as_array().into_iter().flatten();
                    let of_it = |remedy: &&Value| {
                        let ids = remedy["product_ids"].as_array();
                        ids.is_none_or(|ids| ids.contains(&id.into()))
                    };
                    actions.extend(
                        remedies.filter(of_it).filter_map(|remedy| remedy["details"].as_str()).map(str::to_owned),
                    );
                }
                // Of a release of Red Hat Enterprise Linux the packages are meant, wherever they are.
                let packages = release_of(&product).map_or_else(Vec::new, |release| of_release(&component, &release));
                let named = if packages.is_empty() { vec![(product, component)] } else { packages };
                for (product, component) in named {
                    let [status, justification, impact] = [status, &justification, &impact].map(str::to_owned);
                    let said = [cve.to_owned(), product, component, status, justification, impact];
                    all.entry(said).or_default().extend(actions.clone());
                }
            }
        }
    }
    all
}

#[test]
fn every_csaf_document_states_what_it_says_of_each_product_and_nothing_else() {
    let Some(root) = corpora() else { return };
    let (mut documents, mut count, mut silent) = (0, 0, 0);
    for path in files(&root.join("csaf/csaf")).into_iter().chain(files(&root.join("trustify/ds3/csaf"))) {
        let bytes = std::fs::read(&path).expect("a corpus can be read");
        let document: Value = serde_json::from_slice(&bytes).expect("JSON");
        let result = run(&message(&bytes), &Limits::default());
        let decoded = result.as_ref().unwrap_or_else(|_| panic!("{}: {}", path.display(), show(&result)));
        let stated = statements(decoded);
        let want = everything_said(&document);
        let have: BTreeSet<Said> = stated.iter().map(said).collect();
        assert_eq!(have, want.keys().cloned().collect(), "{}", path.display());
        for statement in &stated {
            for action in &want[&said(statement)] {
                assert!(statement.action.contains(action.as_str()), "{}: {action}", path.display());
            }
        }
        let about = &document["document"];
        for vex in issued(decoded) {
            let head = [&vex.issuer, &vex.document_id, &vex.document_version, &vex.format];
            let wanted = [&about["publisher"]["name"], &about["tracking"]["id"], &about["tracking"]["version"]];
            assert_eq!(
                head.map(|text| Value::from(text.as_str())),
                [wanted[0].clone(), wanted[1].clone(), wanted[2].clone(), "csaf".into()]
            );
            let time = about["tracking"]["current_release_date"].as_str().expect("a time");
            assert_eq!(pedigraph_proto::Nanos::parse(&vex.document_time), pedigraph_proto::Nanos::parse(time));
        }
        (documents, count, silent) = (documents + 1, count + stated.len(), silent + usize::from(stated.is_empty()));
    }
    assert_eq!((documents, silent), (49, 1), "one is an informational advisory");
    println!("{count} statements of {documents} documents");
}

#[test]
fn every_match_of_a_grype_report_is_a_finding() {
    let Some(root) = corpora() else { return };
    let mut reports = 0;
    for path in files(&root.join("grype")).into_iter().filter(|path| path.to_string_lossy().contains("Json")) {
        let bytes = std::fs::read(&path).expect("a corpus can be read");
        let report: Value = serde_json::from_slice(&bytes).expect("JSON");
        let message = Message { subject: Some(DIGEST.into()), ..message(&bytes) };
        let decoded = run(&message, &Limits::default()).expect("accepted");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let want = report["matches"].as_array().expect("matches").iter().map(|of| {
            let (vulnerability, artifact) = (&of["vulnerability"], &of["artifact"]);
            let fix = &vulnerability["fix"];
            [
                text(&vulnerability["id"]),
                text(&artifact["name"]),
                text(&artifact["version"]),
                text(&artifact["purl"]),
                text(&fix["versions"][0]),
                text(&fix["state"]),
                text(&vulnerability["severity"]).to_lowercase(),
            ]
        });
        let want: Vec<_> = want.collect();
        for scan in scans(&decoded) {
            let have = scan.findings.iter().cloned().map(|finding| {
                [
                    finding.vulnerability,
                    finding.package_name,
                    finding.installed_version,
                    finding.purl,
                    finding.fixed_version,
                    finding.status,
                    finding.severity,
                ]
            });
            assert_eq!(have.collect::<Vec<_>>(), want, "{}", path.display());
            assert_eq!((scan.scanner.as_str(), scan.artifact_digest.as_str()), ("grype", DIGEST));
        }
        reports += 1;
    }
    assert_eq!(reports, 3);
}

fn sha256_of(pair: &str) -> String {
    format!("sha256:{}", pair.repeat(32))
}

/// A report of one match, scanned from `source`.
fn grype(source: Value) -> Message {
    let report = json!({
        "matches": [{
            "vulnerability": {"id": "GHSA-1", "severity": "High",
                "fix": {"versions": ["1.3", "2.1"], "state": "fixed"}},
            "relatedVulnerabilities": [{"id": "CVE-2026-1"}, {"id": "GHSA-1"}, {"id": "RHSA-2026:1"}],
            "artifact": {"name": "p", "version": "1.0", "purl": "pkg:npm/%40a/p@1.0"}
        }],
        "ignoredMatches": [{"vulnerability": {"id": "CVE-2026-9"}, "artifact": {"name": "q"}}],
        "source": source,
        "descriptor": {"name": "grype", "version": "0.104.0", "timestamp": "2026-05-04T03:02:01+02:00"}
    });
    message(report.to_string().as_bytes())
}

#[test]
fn a_grype_report_is_a_scan_by_every_digest_that_registries_know() {
    let target = json!({
        "userInput": "hub.example/ledger:4.2", "imageID": sha256_of("2b"), "manifestDigest": sha256_of("1a"),
        "repoDigests": [format!("hub.example/ledger@{}", sha256_of("3c")), format!("m.example/l@{}", sha256_of("1a"))],
        "tags": ["hub.example/ledger:4.2"], "layers": [{"digest": sha256_of("5e")}],
        "labels": {"org.opencontainers.image.revision": "abc", "other": 7},
        "architecture": "arm64", "architectureVariant": "v8", "os": "linux"
    });
    let decoded = run(&grype(json!({"type": "image", "target": target})), &Limits::default()).expect("accepted");
    assert_eq!(decoded.time.map(|(time, _)| time.to_string()).as_deref(), Some("2026-05-04T01:02:01Z"));
    let found = scans(&decoded);
    let of: Vec<_> = found.iter().map(|scan| scan.artifact_digest.clone()).collect();
    assert_eq!(of, [sha256_of("1a"), sha256_of("3c")], "what was scanned, and what was pulled");
    let parts: Vec<_> = found.iter().map(|scan| scan.target.clone()).collect();
    assert_eq!(parts, [sha256_of("2b"), sha256_of("2b")], "what was pulled may be the index of several");
    for scan in &found {
        assert_eq!((scan.scanner_version.as_str(), scan.finding_count), ("0.104.0", 1));
        assert_eq!(scan.kind(), pedigraph_proto::event::ArtifactKind::ContainerImage);
        let [finding] = scan.findings.as_slice() else { panic!("what is ignored does not count: {scan:?}") };
        assert_eq!(finding.aliases, ["CVE-2026-1"], "an advisory of a distribution is no alias");
        assert_eq!((finding.fixed_version.as_str(), finding.status.as_str()), ("1.3", "fixed"));
        assert_eq!((finding.severity.as_str(), finding.purl.as_str()), ("high", "pkg:npm/%40a/p@1.0"));
    }
    let images =
        events(&decoded, |event| if let Event::ImageObserved(image) = event { Some(image.clone()) } else { None });
    let config = &images[0];
    assert_eq!((config.digest.as_str(), config.commit.as_str()), (sha256_of("2b").as_str(), "abc"));
    assert_eq!((config.platform.as_str(), &config.diff_ids), ("linux/arm64", &vec![sha256_of("5e")]));
    let beside: Vec<_> = images[1..].iter().map(|image| (image.digest.clone(), image.config_digest.clone())).collect();
    assert_eq!(beside, [(sha256_of("3c"), sha256_of("2b")), (sha256_of("1a"), sha256_of("2b"))]);
    assert_eq!(images[1].tags, ["4.2"]);
}

/// Whose scan it is: what the report names, else what was given.
#[test]
fn a_grype_report_is_of_the_best_digest_that_it_names() {
    let scan = |source: &Value, subject: Option<&str>| {
        let message = Message { subject: subject.map(str::to_owned), ..grype(source.clone()) };
        run(&message, &Limits::default())
            .map(|decoded| scans(&decoded).remove(0))
            .map_err(|rejected| rejected.reject.code)
    };
    let image = |target: Value| json!({"type": "image", "target": target});
    let (manifest, config) = (sha256_of("1a"), sha256_of("2b"));
    let both = image(json!({"manifestDigest": manifest, "imageID": config, "userInput": "docker:ledger:4.2"}));
    let found = scan(&both, None).expect("accepted");
    assert_eq!((found.artifact_digest, found.artifact_ref.as_str()), (manifest.clone(), "ledger:4.2"));
    assert_eq!(scan(&both, Some(&config)).expect("accepted").artifact_digest, config);
    let pulled = image(json!({"manifestDigest": manifest, "imageID": config, "userInput": "hub.example/ledger:4.2",
        "tags": ["hub.example/ledger:4.2"], "repoDigests": [format!("hub.example/ledger@{}", sha256_of("3c"))]}));
    let found = scan(&pulled, None).expect("accepted");
    let reference = format!("hub.example/ledger@{manifest}");
    assert_eq!((found.artifact_digest, found.artifact_ref), (manifest.clone(), reference), "the tag is the index's");
    let alone = scan(&image(json!({"imageID": config, "userInput": "out/ledger.tar"})), None).expect("accepted");
    assert_eq!((alone.artifact_digest, alone.artifact_ref.as_str()), (config.clone(), ""));
    assert_eq!(scan(&image(json!({"userInput": "ledger:4.2"})), None), Err(Code::SubjectMissing));

    let kind = |kind: &str, target: &str| {
        let source = json!({"type": kind, "target": target});
        assert_eq!(scan(&source, None), Err(Code::SubjectMissing), "{kind}");
        let scan = scan(&source, Some(&config)).expect("accepted");
        (scan.kind().as_str_name(), scan.target, scan.artifact_ref)
    };
    let (generic, unknown) = ("ARTIFACT_KIND_GENERIC", "ARTIFACT_KIND_UNSPECIFIED");
    let none = String::new;
    assert_eq!(kind("directory", "."), (generic, none(), none()));
    assert_eq!(kind("directory", "/tmp/x81/services/ledger"), (generic, "services/ledger".into(), none()));
    assert_eq!(kind("file", "target/ledger.jar"), (generic, "target/ledger.jar".into(), none()));
    assert_eq!(kind("sbom-file", "npm.cdx.json"), (unknown, "npm.cdx.json".into(), none()));
    assert_eq!(kind("unknown", "unknown"), (unknown, none(), none()));
    assert_eq!(kind("purl", "pkg:npm/p@1"), (generic, "pkg:npm/p@1".into(), none()));
}

/// govulncheck does not know what it is run for.
#[test]
fn a_product_that_stands_there_for_want_of_one_is_none() {
    let part = json!({"@id": "pkg:golang/golang.org%2Fx%2Fnet@v0.1.0"});
    let products = json!([{"@id": "Unknown Product", "subcomponents": [part]}]);
    let vex = |products: Value, subject: Option<&str>| {
        let said = json!({"vulnerability": {"name": "GO-2026-1"}, "products": products, "status": "affected"});
        let document = json!({"@context": "https://openvex.dev/ns/v0.2.0", "@id": "govulncheck/vex:1",
            "author": "Unknown Author", "version": 1, "statements": [said]});
        let sent = Message { subject: subject.map(str::to_owned), ..message(document.to_string().as_bytes()) };
        let decoded = run(&sent, &Limits::default()).map_err(|rejected| rejected.reject.code)?;
        let texts = |said: VexStatement| (said.product, said.product_digests.join(" "), said.subcomponents.join(" "));
        Ok(statements(&decoded).into_iter().map(texts).collect::<Vec<_>>())
    };
    let text = str::to_owned;
    let net = "pkg:golang/golang.org/x/net@v0.1.0";
    assert_eq!(vex(products.clone(), Some(DIGEST)), Ok(vec![(text(DIGEST), text(DIGEST), text(net))]));
    assert_eq!(vex(json!(["Unknown Product"]), Some(DIGEST)), Ok(vec![(text(DIGEST), text(DIGEST), text(""))]));
    assert_eq!(vex(products, None), Err(Code::SubjectMissing));
    let named = json!([{"@id": "Unknown Product", "identifiers": {"purl": "pkg:npm/a@1"}}]);
    assert_eq!(vex(named, Some(DIGEST)), Ok(vec![(text("pkg:npm/a@1"), text(""), text(""))]));
}

#[test]
fn a_trivy_scan_of_a_part_of_an_artifact_says_which_part() {
    let target = |kind: &str, name: &str| {
        let report = json!({"SchemaVersion": 2, "ArtifactName": name, "ArtifactType": kind, "Results": []});
        let message = Message { subject: Some(DIGEST.into()), ..message(report.to_string().as_bytes()) };
        scans(&run(&message, &Limits::default()).expect("accepted")).remove(0).target
    };
    assert_eq!(target("container_image", "ledger:4.2"), "");
    assert_eq!(target("filesystem", "."), "");
    assert_eq!(target("filesystem", "services/ledger"), "services/ledger");
    assert_eq!(target("repository", "https://git.example/bank/ledger"), "https://git.example/bank/ledger");
    assert_eq!(target("cyclonedx", "npm.cdx.json"), "npm.cdx.json");
}

#[test]
fn findings_of_an_sboms_part_do_not_end_those_of_another_part() {
    let target = |kind: &str, purl: &str, hash: &str| {
        let hashes = json!([{"alg": "SHA-256", "content": &hash[7..]}]);
        let root = json!({"type": kind, "name": "ledger", "purl": purl, "hashes": hashes});
        let bom = json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "metadata": {"component": root},
            "vulnerabilities": [{"id": "CVE-2026-1"}]});
        let message = Message { subject: Some(DIGEST.into()), ..message(bom.to_string().as_bytes()) };
        scans(&run(&message, &Limits::default()).expect("accepted")).remove(0).target
    };
    let (other, npm) = (sha256_of("1a"), "pkg:npm/ledger-web@4.2");
    assert_eq!(target("application", npm, &other), npm);
    assert_eq!(target("application", "", &other), "ledger");
    assert_eq!(target("application", npm, DIGEST), "", "the artifact itself");
    assert_eq!(target("container", "", &other), "");
}

#[test]
fn what_trivy_calls_not_affected_is_no_finding() {
    let of = |status: &str| {
        let report = json!({"SchemaVersion": 2, "ArtifactName": "x", "ArtifactType": "container_image",
            "Results": [{"Vulnerabilities": [{"VulnerabilityID": "CVE-2026-1", "PkgName": "p", "Status": status}]}]});
        let message = Message { subject: Some(DIGEST.into()), ..message(report.to_string().as_bytes()) };
        scans(&run(&message, &Limits::default()).expect("accepted")).remove(0).finding_count
    };
    assert_eq!([of("not_affected"), of("NOT_AFFECTED")], [0, 0]);
    for status in ["", "affected", "fixed", "under_investigation", "will_not_fix", "fix_deferred", "end_of_life"] {
        assert_eq!(of(status), 1, "{status}");
    }
}

#[test]
fn openvex_without_products_is_of_all_subjects_of_its_statement() {
    let statement = |statements: Value| {
        let vex = json!({"@context": "https://openvex.dev/ns/v0.2.0", "author": "a", "statements": statements});
        let subjects = [DIGEST, OTHER].map(|digest| json!({"name": "x", "digest": {"sha256": &digest[7..]}}));
        json!({"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://openvex.dev/ns/v0.2.0",
            "subject": subjects, "predicate": vex})
    };
    let said = |document: &Value| {
        let decoded = run(&message(document.to_string().as_bytes()), &Limits::default()).expect("accepted");
        let all = statements(&decoded).into_iter();
        all.map(|said| (said.product, said.product_digests)).collect::<Vec<_>>()
    };
    let of = |product: &str, digests: &[&str]| {
        (product.to_owned(), digests.iter().map(|digest| (*digest).to_owned()).collect::<Vec<_>>())
    };
    let one = json!({"vulnerability": {"name": "CVE-2026-1"}, "status": "affected"});
    assert_eq!(said(&statement(json!([one]))), [of(DIGEST, &[DIGEST]), of(OTHER, &[OTHER])]);
    let named = json!({"vulnerability": {"name": "CVE-2026-1"}, "status": "affected", "products": ["pkg:npm/p@1"]});
    assert_eq!(said(&statement(json!([named]))), [of("pkg:npm/p@1", &[])]);
    let few = Limits { statements_max: 3, ..Limits::default() };
    let rejected = run(&message(statement(json!([one, one])).to_string().as_bytes()), &few).expect_err("4 statements");
    assert_eq!(rejected.reject.code, Code::TooManyItems);
}

#[test]
fn a_component_that_openvex_names_by_its_hash_alone_is_no_whole_product() {
    let vex = json!({"@context": "https://openvex.dev/ns/v0.2.0", "author": "a", "statements": [{
        "vulnerability": {"name": "CVE-2026-1"}, "status": "not_affected", "products": [
            {"@id": "pkg:npm/p@1", "subcomponents": [{"hashes": {"sha-256": &DIGEST[7..], "sha-1": "x"}}]}]}]});
    let decoded = run(&message(vex.to_string().as_bytes()), &Limits::default()).expect("accepted");
    assert_eq!(statements(&decoded)[0].subcomponents, [DIGEST]);
}

/// A document with a product tree, and one vulnerability for each list of statuses.
fn csaf(tree: Value, vulnerabilities: Value) -> Value {
    json!({
        "document": {
            "category": "csaf_vex", "csaf_version": "2.0",
            "publisher": {"category": "vendor", "name": "Acme", "namespace": "https://acme.example"},
            "tracking": {"id": "ACME-1", "version": "2", "current_release_date": "2026-05-04T03:02:01Z"}
        },
        "product_tree": tree,
        "vulnerabilities": vulnerabilities
    })
}

fn product(id: &str, helper: Value) -> Value {
    json!({"product_id": id, "name": format!("the {id}"), "product_identification_helper": helper})
}

fn relationship(id: &str, component: &str, of: &str) -> Value {
    json!({"category": "default_component_of", "full_product_name": {"product_id": id, "name": format!("the {id}")},
        "product_reference": component, "relates_to_product_reference": of})
}

/// The statements of a document, each as `product < components: status`.
fn lines(document: &Value) -> Vec<String> {
    let result = run(&message(document.to_string().as_bytes()), &Limits::default());
    let decoded = result.as_ref().unwrap_or_else(|_| panic!("{}", show(&result)));
    assert_eq!(decoded.format, "csaf");
    let line = |said: VexStatement| {
        let parts = said.subcomponents.iter().map(|part| format!(" < {part}")).collect::<String>();
        let why = [&said.justification, &said.impact, &said.action].map(|text| text.replace('\n', "+"));
        let why = why.iter().filter(|text| !text.is_empty()).map(|text| format!(" ({text})")).collect::<String>();
        format!("{}{parts}: {}{why}", said.product, word(said.status()))
    };
    statements(decoded).into_iter().map(line).collect()
}

#[test]
fn of_a_product_that_csaf_has_in_two_lists_the_most_cautious_one_comes_last_and_counts() {
    let tree = json!({"full_product_names": [product("a", json!({"purl": "pkg:npm/a@1"}))]});
    let lists = ["known_affected", "under_investigation", "fixed", "known_not_affected"];
    for (n, cautious) in lists.iter().enumerate() {
        for other in &lists[n + 1..] {
            let said = said_of(tree.clone(), json!({*cautious: ["a"], *other: ["a"]}));
            let last = said.last().expect("two statements");
            let wanted = cautious.strip_prefix("known_").unwrap_or(cautious);
            assert!(said.len() == 2 && last.ends_with(&format!(": {wanted}")), "{cautious} {other}: {said:?}");
        }
    }
}

/// The lines of a document of one vulnerability.
fn said_of(tree: Value, status: Value) -> Vec<String> {
    lines(&csaf(tree, json!([{"cve": "CVE-2026-1", "product_status": status}])))
}

#[test]
fn a_product_is_called_by_its_purl_else_its_digest_else_its_cpe_else_its_name() {
    let (one, other) = (sha256_of("1a"), "2b".repeat(64));
    let hashes = json!([{"filename": "f", "file_hashes": [
        {"algorithm": "sha256", "value": &one[7..]}, {"algorithm": "SHA-512", "value": other},
        {"algorithm": "md5", "value": "x"}]}]);
    let names = json!([
        product("a", json!({"purl": "pkg:NPM/left-pad@1.3.0", "cpe": "cpe:/a:a:a", "hashes": hashes})),
        product("b", json!({"cpe": "cpe:/a:b:b", "hashes": hashes})),
        product("c", json!({"cpe": "cpe:/a:c:c"})),
        product("d", json!({"skus": ["7"]})),
        {"product_id": "e"},
        product("f", json!({"purls": ["pkg:npm/f@1", "pkg:npm/g@1"]}))
    ]);
    let document = csaf(
        json!({"full_product_names": names}),
        json!([{"cve": "CVE-2026-1", "product_status": {"fixed": ["a", "b", "c", "d", "e", "f", "g"]}}]),
    );
    let decoded = run(&message(document.to_string().as_bytes()), &Limits::default()).expect("accepted");
    let all = statements(&decoded);
    let called: Vec<_> = all.iter().map(|said| said.product.as_str()).collect();
    assert_eq!(called, ["pkg:npm/left-pad@1.3.0", &one, "cpe:/a:c:c", "the d", "e", "pkg:npm/f@1", "pkg:npm/g@1", "g"]);
    assert_eq!(all[0].product_digests, [one.clone(), format!("sha512:{other}")]);
    let aliases =
        events(&decoded, |event| if let Event::AliasObserved(alias) = event { Some(alias.clone()) } else { None });
    assert_eq!(aliases.len(), 1, "SHA-256 and SHA-512 of one file");
}

#[test]
fn of_nested_relationships_the_outermost_is_the_product_and_the_innermost_the_component() {
    let tree = json!({
        "full_product_names": [
            product("library", json!({"purl": "pkg:npm/library@1"})),
            product("program", json!({"purl": "pkg:npm/program@2"})),
            product("image", json!({"purl": format!("pkg:oci/image@{}", sha256_of("1a").replace(':', "%3A"))}))
        ],
        "relationships": [
            relationship("inside", "library", "program"),
            relationship("both", "inside", "image"),
            relationship("outside", "program", "image"),
            relationship("other", "library", "outside")
        ]
    });
    let image = format!("pkg:oci/image@{}", sha256_of("1a"));
    let component = format!("{image} < pkg:npm/library@1: fixed");
    assert_eq!(
        said_of(tree, json!({"fixed": ["inside", "both", "other", "library"]})),
        ["pkg:npm/program@2 < pkg:npm/library@1: fixed", &component, &component, "pkg:npm/library@1: fixed"]
    );
    // CSAF 2.1 has paths in their place.
    let path = |id: &str, from: &str, steps: &[&str]| {
        let steps: Vec<_> =
            steps.iter().map(|to| json!({"category": "installed_on", "next_product_reference": to})).collect();
        let named = json!({"product_id": id, "name": id});
        json!({"beginning_product_reference": from, "subpaths": steps, "full_product_name": named})
    };
    let mut document = csaf(
        json!({
            "full_product_names":
                [product("a", json!({"purls": ["pkg:npm/a@1"]})), product("b", json!({})), product("c", json!({}))],
            "product_paths": [path("abc", "a", &["b", "c"]), path("ab", "a", &["b"]), path("ab-c", "ab", &["c"]),
                path("none", "a", &[])]
        }),
        json!([{"cve": "CVE-2026-1", "product_status": {"known_affected": ["abc", "ab-c", "ab", "none"]}}]),
    );
    document["document"]["csaf_version"] = "2.1".into();
    assert_eq!(
        lines(&document),
        [
            "the c < pkg:npm/a@1: affected",
            "the c < pkg:npm/a@1: affected",
            "the b < pkg:npm/a@1: affected",
            "none: affected"
        ]
    );
}

#[test]
fn a_purl_that_does_not_say_which_versions_are_meant_clears_none() {
    let branch =
        |category: &str, name: &str, more: Value| json!({"category": category, "name": name, "branches": [more]});
    let of = |category: &str, purl: &str| {
        let leaf = json!({"category": category, "name": "vers:npm/<2", "product": product("p", json!({"purl": purl}))});
        json!({"branches": [branch("vendor", "Acme", branch("product_name", "p", leaf))]})
    };
    let open = || of("product_version_range", "pkg:rpm/suse/p");
    assert_eq!(said_of(open(), json!({"known_affected": ["p"]})), ["pkg:rpm/suse/p: affected"], "of another order");
    assert_eq!(said_of(open(), json!({"under_investigation": ["p"]})), ["pkg:rpm/suse/p: under_investigation"]);
    assert_eq!(said_of(open(), json!({"known_not_affected": ["p"]})), ["the p: not_affected"]);
    assert_eq!(said_of(open(), json!({"fixed": ["p"]})), ["the p: fixed"]);
    assert_eq!(said_of(of("product_version_range", "pkg:npm/p@1"), json!({"fixed": ["p"]})), ["pkg:npm/p@1: fixed"]);
    assert_eq!(said_of(of("product_version", "pkg:npm/p"), json!({"fixed": ["p"]})), ["pkg:npm/p: fixed"]);
    let mut nested = of("architecture", "pkg:rpm/suse/p");
    nested["branches"][0]["branches"][0]["category"] = "product_version_range".into();
    assert_eq!(said_of(nested.clone(), json!({"fixed": ["p"]})), ["the p: fixed"]);
    nested["relationships"] = json!([relationship("r", "p", "image")]);
    assert_eq!(said_of(nested.clone(), json!({"fixed": ["r"]})), ["image < the p: fixed"]);
    assert_eq!(said_of(nested, json!({"last_affected": ["r"]})), ["image < pkg:rpm/suse/p: affected"]);
}

#[test]
fn a_branch_says_which_versions_of_a_purl_are_meant() {
    let of = |category: &str, name: &str, purl: &str| {
        let leaf = json!({"category": category, "name": name, "product": product("p", json!({"purl": purl}))});
        let above = |category: &str, beneath: Value| json!({"category": category, "name": "p", "branches": [beneath]});
        let tree = json!({"branches": [above("vendor", above("product_name", leaf))]});
        said_of(tree, json!({"fixed": ["p"]})).remove(0)
    };
    for (name, purl) in
        [("7.0.0", "pkg:npm/p@7.0.0"), ("v7", "pkg:npm/p@v7"), ("p", "pkg:npm/p"), ("7 of p", "pkg:npm/p")]
    {
        assert_eq!(of("product_version", name, "pkg:npm/p"), format!("{purl}: fixed"));
    }
    assert_eq!(of("product_version", "8", "pkg:npm/p@7"), "pkg:npm/p@7: fixed", "its own goes before");
    assert_eq!(of("product_version", "8", "pkg:oci/p"), "pkg:oci/p: fixed", "the version of an image is a digest");
    let range = of("product_version_range", "vers:npm/>=6|<7.0.0", "pkg:npm/p");
    assert_eq!(range, "pkg:npm/p?vers=vers:npm%2F%3E%3D6%7C%3C7.0.0: fixed");
    for words in ["<7.0.0", "vers:npm/>=six", "vers:deb/<7"] {
        assert_eq!(of("product_version_range", words, "pkg:npm/p"), "the p: fixed", "{words}");
    }
}

#[test]
fn packages_of_a_release_of_red_hat_are_meant_wherever_they_are_installed() {
    let said = |cpe: &str, purl: &str| {
        let names = json!([product("os", json!({"cpe": cpe})), product("p", json!({"purl": purl}))]);
        let tree = json!({"full_product_names": names, "relationships": [relationship("os:p", "p", "os")]});
        said_of(tree, json!({"known_affected": ["os:p"]}))
    };
    let openssl = "pkg:rpm/redhat/openssl@3.0.7-24.el9?arch=x86_64";
    let both = |release: &str| {
        ["redhat", "rhel"]
            .map(|name| format!("pkg:rpm/{name}/openssl@3.0.7-24.el9?arch=x86_64&distro=rhel-{release}: affected"))
    };
    assert_eq!(said("cpe:/o:redhat:enterprise_linux:9::baseos", openssl), both("9"));
    assert_eq!(said("cpe:2.3:a:redhat:enterprise_linux:9:*:*:*:*:*:*:*", openssl), both("9"));
    assert_eq!(said("cpe:/a:redhat:rhel_eus:9.2::appstream", openssl), both("9.2"));
    assert_eq!(said("cpe:/a:redhat:rhel_software_collections:3::el7", openssl), both("7"));
    for other in
        ["cpe:/a:redhat:openshift:4.12::el9", "cpe:/a:redhat:rhel_software_collections:3", "cpe:/o:suse:sles:15"]
    {
        assert_eq!(said(other, openssl), [format!("{other} < {openssl}: affected")]);
    }
    let maven = "pkg:maven/org.acme/core@1";
    let product = "cpe:/o:redhat:enterprise_linux:9";
    assert_eq!(
        said(product, maven),
        [format!("{product} < {maven}: affected")],
        "it is no package of the distribution"
    );
}

#[test]
fn an_image_of_a_product_that_is_a_cpe_is_the_product() {
    let said = |product_of: Value, purl: &str| {
        let names = json!([product("suite", product_of), product("p", json!({"purl": purl}))]);
        let tree = json!({"full_product_names": names, "relationships": [relationship("suite:p", "p", "suite")]});
        said_of(tree, json!({"fixed": ["suite:p"]}))
    };
    let image = format!("pkg:oci/operator@{DIGEST}?arch=amd64");
    let cpe = json!({"cpe": "cpe:/a:redhat:migration_toolkit_applications:6.2::el8"});
    assert_eq!(said(cpe.clone(), &image), [format!("{image}: fixed")]);
    let name = cpe["cpe"].as_str().expect("text");
    assert_eq!(said(cpe.clone(), "pkg:oci/operator?tag=1"), [format!("{name} < pkg:oci/operator?tag=1: fixed")]);
    let called = json!({"purl": "pkg:generic/suite@6.2"});
    assert_eq!(said(called, &image), [format!("pkg:generic/suite@6.2 < {image}: fixed")], "it may be called so");
}

#[test]
fn flags_threats_and_remediations_are_told_of_their_products() {
    let tree = json!({
        "full_product_names": [{"product_id": "a"}, {"product_id": "b"}, {"product_id": "c"}],
        "product_groups": [{"group_id": "g", "product_ids": ["b", "c"]}]
    });
    let vulnerability = json!({
        "ids": [{"system_name": "Bugs", "text": "7"}, {"system_name": "GitHub", "text": "GHSA-1"},
            {"text": "CVE-2026-8"}],
        "product_status": {"known_not_affected": ["a", "b"], "known_affected": ["c"], "first_affected": ["c"],
            "recommended": ["a"], "unknown": ["b"]},
        "flags": [{"label": "component_not_present", "product_ids": ["a"]},
            {"label": "vulnerable_code_not_present", "group_ids": ["g", "h"]}],
        "threats": [{"category": "exploit_status", "details": "none"}, {"category": "impact", "details": "Moderate"},
            {"category": "impact", "details": "small", "product_ids": ["a"], "group_ids": ["g"]}],
        "remediations": [{"category": "vendor_fix", "details": "update", "group_ids": ["g"]},
            {"category": "workaround", "details": "wait"}, {"details": "", "product_ids": ["c"]}]
    });
    // Whichever comes first.
    for names in [["product_tree", "vulnerabilities"], ["vulnerabilities", "product_tree"]] {
        let document = csaf(tree.clone(), json!([vulnerability.clone()]));
        let [first, second] = names.map(|name| format!("\"{name}\":{}", document[name]));
        let text = format!("{{{first},\"document\":{},{second}}}", document["document"]);
        let decoded = run(&message(text.as_bytes()), &Limits::default()).expect("accepted");
        let all = statements(&decoded);
        let told = |n: usize| {
            [all[n].product.clone(), all[n].justification.clone(), all[n].impact.clone(), all[n].action.clone()]
        };
        assert_eq!(all.len(), 3);
        assert_eq!(told(0), ["c", "", "", "update\nwait"]);
        assert_eq!(told(1), ["a", "component_not_present", "small", ""]);
        assert_eq!(told(2), ["b", "vulnerable_code_not_present", "small", ""]);
        assert_eq!((all[0].raw_status.as_str(), all[1].raw_status.as_str()), ("known_affected", "known_not_affected"));
        assert_eq!((all[0].vulnerability.as_str(), &all[0].aliases), ("GHSA-1", &vec!["CVE-2026-8".to_owned()]));
        let vex = issued(&decoded).remove(0);
        assert_eq!([vex.issuer, vex.document_id, vex.document_version], ["Acme", "ACME-1", "2"]);
    }
}

/// A newer version may take back all that an older one said.
#[test]
fn a_document_that_says_nothing_of_products_is_accepted() {
    let mut document = csaf(json!({}), json!([]));
    document["document"]["category"] = "csaf_withdrawn".into();
    assert_eq!(lines(&document), [""; 0]);
    document.as_object_mut().expect("an object").retain(|name, _| name == "document");
    assert_eq!(lines(&document), [""; 0]);
    document["document"]["tracking"] = Value::Null;
    document["document"]["publisher"]["name"] = "".into();
    let decoded = run(&message(document.to_string().as_bytes()), &Limits::default()).expect("accepted");
    let vex = issued(&decoded).remove(0);
    assert_eq!((vex.issuer.as_str(), &vex.document_id[..7]), ("https://acme.example", "sha256:"));
}

#[test]
fn what_is_no_csaf_document_is_not_taken_for_one() {
    for document in [
        json!({"dataType": "CVE_RECORD", "dataVersion": "5.1", "cveMetadata": {}, "containers": {}}),
        json!({"version": "2.1.0", "runs": [{"artifacts": []}]}),
        json!({"document": "csaf_version", "vulnerabilities": []}),
        json!({"document": {"title": "t"}, "vulnerabilities": []}),
        json!({"csaf_version": "2.0"}),
        json!({"canonical_url": "https://x/provider-metadata.json", "metadata_version": "2.0", "publisher": {}}),
    ] {
        let found = run(&message(document.to_string().as_bytes()), &Limits::default());
        let code = found.as_ref().map(|found| found.format).map_err(|rejected| rejected.reject.code);
        assert_eq!(code, Err(Code::UnsupportedFormat), "{document}");
    }
    let refused = |document: &Value| {
        let found = run(&message(document.to_string().as_bytes()), &Limits::default());
        found.map(|found| found.facts).expect_err("refused").reject.code
    };
    let with = |version: Value| {
        let mut document = csaf(json!({}), json!([]));
        document["document"]["csaf_version"] = version;
        document
    };
    assert_eq!(refused(&with("1.2".into())), Code::UnsupportedVersion);
    assert_eq!(refused(&with("2.2".into())), Code::UnsupportedVersion);
    assert_eq!(refused(&with(Value::Null)), Code::SchemaViolation);
    assert_eq!(refused(&with(json!(2.0))), Code::SchemaViolation);
    assert_eq!(refused(&json!({"document": 7, "product_tree": {}})), Code::SchemaViolation);
    assert_eq!(refused(&json!({"document": null, "product_tree": {}})), Code::SchemaViolation);
}

#[test]
fn products_that_say_nothing_are_called_by_their_ids() {
    let check = |tree: Value, status: Value, want: &[&str]| assert_eq!(said_of(tree.clone(), status), want, "{tree}");
    let products = |list: Value| json!({ "full_product_names": list });
    check(json!({}), json!({}), &[]);
    check(json!({"branches": null, "relationships": null, "product_groups": null}), json!({"fixed": null}), &[]);
    check(json!({"branches": [{}, null], "full_product_names": [{}]}), json!({"fixed": ["", null]}), &[]);
    check(json!({}), json!({"fixed": ["x", "x"], "known_affected": ["x"]}), &["x: fixed", "x: affected"]);
    let twice = [product("a", json!({"purl": "pkg:npm/a@1"})), product("a", json!({"purl": "pkg:npm/b@1"}))];
    let again = [relationship("a", "x", "y")];
    let twice = json!({"full_product_names": twice, "relationships": again});
    check(twice, json!({"fixed": ["a"]}), &["pkg:npm/a@1: fixed"]);
    let groups = json!([{"group_id": "g", "product_ids": ["g", "g"]}, {"group_id": "g", "product_ids": []}, {}]);
    check(json!({ "product_groups": groups }), json!({"fixed": ["g"]}), &["g: fixed"]);
    check(products(json!([product("a", json!({"purl": "pkg:%%"}))])), json!({"fixed": ["a"]}), &["pkg:%%: fixed"]);
    let hashes = json!([{}, {"file_hashes": [{}, {"algorithm": "sha256", "value": "1"}]}]);
    check(products(json!([product("a", json!({ "hashes": hashes }))])), json!({"fixed": ["a"]}), &["the a: fixed"]);
}

#[test]
fn relationships_that_lead_nowhere_or_in_circles_are_products_of_their_own() {
    let check = |links: &[Value], ids: &[&str], want: &[&str]| {
        assert_eq!(said_of(json!({ "relationships": links }), json!({ "fixed": ids })), want, "{links:?}");
    };
    let link = relationship;
    check(&[json!({}), json!({"full_product_name": null})], &[], &[]);
    check(&[link("r", "x", "y")], &["r"], &["y < x: fixed"]);
    check(&[link("r", "", "y"), link("s", "x", "")], &["r", "s"], &["the r: fixed", "the s: fixed"]);
    check(&[link("r", "r", "r")], &["r"], &["the r: fixed"]);
    check(&[link("r", "x", "x")], &["r"], &["x: fixed"]);
    let around = [link("r", "x", "s"), link("s", "x", "t"), link("t", "x", "s")];
    check(&around, &["r", "s", "t", "x"], &["the r: fixed", "the s: fixed", "the t: fixed", "x: fixed"]);
    check(&[link("r", "s", "y"), link("s", "r", "y")], &["r"], &["the r: fixed"]);
}

#[test]
fn long_chains_and_deep_branches_are_read_once() {
    let count = 100_000;
    let chain = |component: &dyn Fn(usize) -> String, of: &dyn Fn(usize) -> String| {
        let links: Vec<_> = (0..count).map(|n| relationship(&format!("r{n}"), &component(n), &of(n))).collect();
        let ids: Vec<_> = (0..count).step_by(10).map(|n| format!("r{n}")).collect();
        said_of(json!({"relationships": links}), json!({"fixed": ids}))
    };
    let outwards = chain(&|_| "x".into(), &|n| format!("r{}", n + 1));
    assert!(outwards.len() == count / 10 && outwards.iter().all(|line| line == "r100000 < x: fixed"));
    let inwards = chain(&|n| if n == 0 { "x".into() } else { format!("r{}", n - 1) }, &|_| "y".into());
    assert!(inwards.len() == count / 10 && inwards.iter().all(|line| line == "y < x: fixed"));
    let around = chain(&|_| "x".into(), &|n| format!("r{}", (n + 1) % count));
    assert!(around.len() == count / 10 && around[7] == "the r70: fixed");

    let deep = |levels: usize| {
        let branches =
            (0..levels).fold(json!({"product": {"product_id": "p"}}), |inner, _| json!({"branches": [inner]}));
        let document =
            csaf(json!({"branches": [branches]}), json!([{"cve": "CVE-1", "product_status": {"fixed": ["p"]}}]));
        let found = run(&message(document.to_string().as_bytes()), &Limits::default());
        found.map(|found| statements(&found).len()).map_err(|rejected| rejected.reject.code)
    };
    assert_eq!(deep(55), Ok(1));
    assert_eq!(deep(2_000), Err(Code::TooDeep));
}

#[test]
fn what_multiplies_is_refused() {
    let refused = |document: &Value, limits: &Limits| {
        let found = run(&message(document.to_string().as_bytes()), limits);
        found.map(|found| found.facts.len()).expect_err("refused").reject.code
    };
    let few = Limits { statements_max: 2, ..Limits::default() };
    let status = |ids: Vec<String>| json!([{"cve": "CVE-1", "product_status": {"fixed": ids}}]);
    let three = ["a", "b", "c"].map(str::to_owned).to_vec();
    assert_eq!(refused(&csaf(json!({}), status(three)), &few), Code::TooManyItems);
    let named =
        json!({"full_product_names": [product("a", json!({"purls": ["pkg:npm/a@1", "pkg:npm/b@1", "pkg:npm/c@1"]}))]});
    assert_eq!(refused(&csaf(named, status(vec!["a".into()])), &few), Code::TooManyItems);

    let purls: Vec<_> = (0..257).map(|n| format!("pkg:npm/p@{n}")).collect();
    let named = json!({"full_product_names": [product("a", json!({"purls": purls}))]});
    assert_eq!(refused(&csaf(named, json!([])), &Limits::default()), Code::TooManyItems);

    let ids: Vec<_> = (0..5_000).map(|n| format!("p{n}")).collect();
    let tree = json!({"product_groups": [{"group_id": "g", "product_ids": ids}]});
    let flags: Vec<_> = (0..4_000).map(|_| json!({"label": "component_not_present", "group_ids": ["g"]})).collect();
    let grouped =
        csaf(tree, json!([{"cve": "CVE-1", "product_status": {"known_not_affected": ["p0"]}, "flags": flags}]));
    assert_eq!(refused(&grouped, &Limits::default()), Code::TooManyItems);

    // Each of many products with a long text beside.
    let ids: Vec<_> = (0..8_000).map(|n| format!("p{n}")).collect();
    let long = json!([{"cve": "CVE-1", "product_status": {"known_not_affected": ids},
        "threats": [{"category": "impact", "details": "x".repeat(60_000), "product_ids": ids}]}]);
    assert_eq!(refused(&csaf(json!({}), long), &Limits::default()), Code::TooLarge);
}

/// A document of that many components of seven platforms, all of them fixed.
fn large_csaf(count: usize) -> Vec<u8> {
    let mut out =
        String::from(r#"{"document":{"csaf_version":"2.0","publisher":{"name":"v"}},"product_tree":{"branches":["#);
    let name =
        |n: usize| format!("enterprise-platform-{}:component-with-a-long-name-{n}-0:4.18.0-{n}.el8.x86_64", n % 7);
    for n in 0..count {
        let (comma, name) = (if n == 0 { "" } else { "," }, name(n));
        let helper = format!(r#"{{"purl":"pkg:rpm/vendor/component-{n}@4.18.0-{n}.el8?arch=x86_64"}}"#);
        let version = format!(
            r#""category":"product_version","name":"{name}","product":{{"name":"{name}","product_id":"c-{name}",
            "product_identification_helper":{helper}}}"#
        );
        write!(out, r#"{comma}{{"category":"architecture","name":"x86_64","branches":[{{{version}}}]}}"#)
            .expect("grows");
    }
    out += r#"],"relationships":["#;
    for n in 0..count {
        let (comma, name, platform) = (if n == 0 { "" } else { "," }, name(n), n % 7);
        write!(
            out,
            r#"{comma}{{"category":"default_component_of","product_reference":"c-{name}",
            "relates_to_product_reference":"platform-{platform}","full_product_name":
            {{"name":"{name} as a component of platform {platform}","product_id":"r-{name}"}}}}"#
        )
        .expect("grows");
    }
    let ids: Vec<_> = (0..count).map(|n| format!("\"r-{}\"", name(n))).collect();
    let ids = ids.join(",");
    write!(
        out,
        r#"]}},"vulnerabilities":[{{"cve":"CVE-2026-1","product_status":{{"fixed":[{ids}]}},
        "remediations":[{{"details":"update","product_ids":[{ids}]}}],
        "threats":[{{"category":"impact","details":"Important","product_ids":[{ids}]}}]}}]}}"#
    )
    .expect("grows");
    out.into_bytes()
}

/// As large as the largest that a vendor is known to have published.
#[test]
fn a_csaf_document_of_23_mb_takes_memory_by_what_it_states() {
    let bytes = large_csaf(22_677);
    assert!(bytes.len() > 20_000_000, "{}", bytes.len());
    let (decoded, memory) = streamed_memory(&bytes);
    println!("CSAF: {} bytes of document, {memory} bytes at the peak", bytes.len());
    assert_eq!(statements(&decoded).len(), 22_677);
    assert!(memory < 60_000_000, "{memory}");
}

/// Where a scanner has no word, or says that it does not know, its ratings say it.
#[test]
fn what_a_scanner_has_no_word_for_is_read_from_its_vectors() {
    let worst = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H";
    let severity = |document: &Value| {
        let message = Message { subject: Some(DIGEST.into()), ..message(document.to_string().as_bytes()) };
        let found = scans(&run(&message, &Limits::default()).expect("accepted")).remove(0);
        found.findings.into_iter().next().expect("a finding").severity
    };
    let trivy = |word: &str, cvss: Value| {
        let found = json!({"VulnerabilityID": "CVE-2026-1", "PkgName": "p", "Severity": word, "CVSS": cvss});
        severity(&json!({"SchemaVersion": 2, "Results": [{"Vulnerabilities": [found]}]}))
    };
    let vendors = json!({"nvd": {"V2Vector": "AV:N/AC:L/Au:N/C:P/I:P/A:P", "V3Vector": worst}, "x": 7, "redhat": {}});
    assert_eq!(trivy("UNKNOWN", vendors.clone()), "critical");
    assert_eq!(trivy("LOW", vendors), "low");
    assert_eq!((trivy("UNKNOWN", json!({})), trivy("", json!([1]))), ("unknown".into(), String::new()));
    let grype = |word: &str, cvss: Value| {
        let found = json!({"id": "CVE-2026-1", "severity": word, "cvss": cvss});
        let matches = json!([{"vulnerability": found, "artifact": {"name": "p", "version": "1"}}]);
        severity(&json!({"matches": matches, "descriptor": {"name": "grype"}, "source": {"type": "directory"}}))
    };
    assert_eq!(grype("Unknown", json!([{"vector": worst, "version": "3.1"}, 7])), "critical");
    assert_eq!(grype("Negligible", json!([{"vector": worst}])), "negligible");
    let cyclonedx = |ratings: Value| {
        let vulnerability = json!({"id": "CVE-2026-1", "ratings": ratings});
        let root = json!({"component": {"type": "container", "name": "app"}});
        severity(
            &json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "metadata": root, "vulnerabilities": [vulnerability]}),
        )
    };
    assert_eq!(
        cyclonedx(json!([{"score": 7.5, "method": "CVSSv31", "vector": worst}])),
        "high",
        "the score as it is said"
    );
    assert_eq!(cyclonedx(json!([{"method": "CVSSv31", "vector": worst}])), "critical");
    assert_eq!(cyclonedx(json!([{"method": "CVSSv31", "vector": worst.trim_start_matches("CVSS:3.1/")}])), "critical");
    assert_eq!(cyclonedx(json!([{"severity": "unknown", "score": 5, "method": "CVSSv4"}])), "medium");
    assert_eq!(cyclonedx(json!([{"score": 9.9, "method": "OWASP"}, {"score": 9.9}])), "");
    assert_eq!(cyclonedx(json!([{"severity": "low"}, {"score": 9.9, "method": "CVSSv31"}])), "low");
}
