//! Findings of Grype's reports. Real documents are read a second time here, by a reader that
//! shares nothing with the decoder: what one of them has and the other has not is a fault of either.

use pedigraph_proto::event::ScanCompleted;
use serde_json::{Value, json};

use super::*;

fn events<T>(decoded: &Decoded, of: impl Fn(&Event) -> Option<T>) -> Vec<T> {
    decoded.facts.iter().filter_map(|fact| of(fact.event.as_ref().expect("a fact has an event"))).collect()
}

fn scans(decoded: &Decoded) -> Vec<ScanCompleted> {
    events(decoded, |event| if let Event::ScanCompleted(scan) = event { Some(scan.clone()) } else { None })
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
            "vulnerability": {"id": "GHSA-1", "severity": "High", "fix": {"versions": ["1.3", "2.1"], "state": "fixed"}},
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
    assert_eq!(of, [sha256_of("3c"), sha256_of("1a")]);
    for scan in &found {
        assert_eq!((scan.scanner_version.as_str(), scan.target.as_str(), scan.finding_count), ("0.104.0", "", 1));
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
