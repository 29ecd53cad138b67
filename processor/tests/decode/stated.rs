//! What single documents state of identity, versions, sources and times, whatever tool wrote them (SPEC §2.3, §3.1,
//! §5).

use serde_json::Value;

use super::*;

/// The facts of a message as JSON without what is empty, each with its name.
fn facts(message: &Message) -> Vec<(&'static str, Value)> {
    let decoded = match run(message, &Limits::default()) {
        Ok(decoded) => decoded,
        Err(rejected) => panic!("{}: {}", rejected.reject.code.as_str(), rejected.reject.reason),
    };
    let events = decoded.facts.iter().map(|fact| fact.event.as_ref().expect("a fact has an event"));
    events.map(|event| (event.name(), pruned(event.to_json().expect("JSON")).unwrap_or(Value::Null))).collect()
}

fn named(all: &[(&'static str, Value)], name: &str) -> Vec<Value> {
    all.iter().filter(|(of, _)| *of == name).map(|(_, value)| value.clone()).collect()
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}

/// The digests of each alias fact.
fn aliases(message: &Message) -> Vec<Vec<String>> {
    let facts = named(&facts(message), "AliasObserved");
    let lists = facts.iter().map(|fact| fact["digests"].as_array().expect("a list"));
    lists.map(|list| list.iter().map(|digest| digest.as_str().expect("text").to_owned()).collect()).collect()
}

fn hex(pair: &str, digits: usize) -> String {
    pair.repeat(digits / 2)
}

fn sha256_of(pair: &str) -> String {
    format!("sha256:{}", hex(pair, 64))
}

fn bom(component: &str, rest: &str) -> Message {
    message(
        format!(r#"{{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{{"component":{component}}}{rest}}}"#)
            .as_bytes(),
    )
}

fn provenance(kind: &str, predicate: &str) -> Value {
    let statement = format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://slsa.dev/provenance/{kind}","subject":[
        {{"name":"app","digest":{{"sha256":"{}"}}}}],"predicate":{predicate}}}"#,
        hex("c1", 64)
    );
    facts(&message(statement.as_bytes())).remove(0).1
}

#[test]
fn several_digests_of_one_thing_are_aliases_and_sha256_names_it() {
    let (sha256, sha512) = (sha256_of("a1"), format!("sha512:{}", hex("b2", 128)));
    let hashes = |list: &[(&str, &str, usize)]| {
        let list =
            list.iter().map(|(alg, pair, digits)| format!(r#"{{"alg":"{alg}","content":"{}"}}"#, hex(pair, *digits)));
        list.collect::<Vec<_>>().join(",")
    };
    let all = hashes(&[("MD5", "d4", 32), ("SHA-512", "b2", 128), ("SHA-1", "c3", 40), ("SHA-256", "a1", 64)]);
    let document = bom(&format!(r#"{{"type":"file","name":"tool.jar","hashes":[{all}]}}"#), "");
    let found = facts(&document);
    assert_eq!(text(&found[0].1, "artifactDigest"), sha256);
    assert_eq!(aliases(&document), [[sha256.clone(), sha512.clone()]], "MD5 and SHA-1 make nothing one");

    // The manifest's digest in the purl is not that of the file that the hashes are of.
    let other = format!(r#"{{"type":"container","name":"x","purl":"pkg:oci/x@{}","hashes":[{all}]}}"#, sha256_of("e5"));
    assert_eq!(text(&facts(&bom(&other, ""))[0].1, "artifactDigest"), sha256_of("e5"));
    assert_eq!(aliases(&bom(&other, "")), [[sha256.clone(), sha512.clone()]]);
    let twice = hashes(&[("SHA-256", "a1", 64), ("SHA-256", "a2", 64), ("SHA-512", "b2", 128)]);
    let twice = bom(&format!(r#"{{"type":"file","name":"x","hashes":[{twice}]}}"#), "");
    assert_eq!(aliases(&twice), Vec::<Vec<String>>::new(), "what contradicts itself says nothing");

    let map = format!(r#"{{"sha512":"{}","sha1":"{}","sha256":"{}"}}"#, hex("b2", 128), hex("c3", 40), hex("a1", 64));
    let statement = format!(
        r#"{{"predicateType":"https://slsa.dev/provenance/v1","subject":[{{"name":"tool","digest":{map}}}],"predicate":
        {{"buildDefinition":{{"resolvedDependencies":[{{"uri":"https://x/y.tgz","digest":{{"sha256":"{}","sha512":"{}"}}}}]}}}}}}"#,
        hex("0a", 64),
        hex("0b", 128)
    );
    let statement = message(statement.as_bytes());
    assert_eq!(facts(&statement)[0].1["artifactDigests"], serde_json::json!([sha256]));
    let material = [sha256_of("0a"), format!("sha512:{}", hex("0b", 128))];
    assert_eq!(aliases(&statement), [material, [sha256.clone(), sha512.clone()]]);

    let vex = format!(
        r#"{{"@context":"https://openvex.dev/ns","statements":[{{"vulnerability":"CVE-1","status":"fixed",
        "products":[{{"@id":"https://x/tool","hashes":{}}}]}}]}}"#,
        map.replace("sha", "sha-")
    );
    assert_eq!(aliases(&message(vex.as_bytes())), [[sha256, sha512]]);
}

#[test]
fn the_digest_beside_a_manifest_is_that_of_the_same_bytes_in_another_algorithm() {
    let manifest = format!(r#"{{"schemaVersion":2,"config":{{"digest":"{OTHER}"}},"layers":[]}}"#);
    let own = format!("sha256:{}", ::hex::encode(sha256(manifest.as_bytes())));
    let sha512 = format!("sha512:{}", ::hex::encode(<sha2::Sha512 as sha2::Digest>::digest(manifest.as_bytes())));
    let pulled = Message { subject: Some(sha512.clone()), ..message(manifest.as_bytes()) };
    assert_eq!(text(&facts(&pulled)[0].1, "digest"), own);
    assert_eq!(aliases(&pulled), [[own, sha512]]);
    let foreign = format!("sha512:{}", hex("77", 128));
    let pulled = Message { subject: Some(foreign.clone()), ..message(manifest.as_bytes()) };
    assert_eq!(text(&facts(&pulled)[0].1, "digest"), foreign, "who sends it knows better, but nothing makes it one");
    assert_eq!(aliases(&pulled).len(), 0);
}

#[test]
fn an_event_that_names_its_artifact_twice_joins_the_digests() {
    let custom = format!(r#"{{"artifactDigest":"sha512:{}"}}"#, hex("5e", 128));
    let id = format!("ghcr.io/team/ledger@{}", sha256_of("4d"));
    let published = message(&cdevent("artifact.published.0.3.0", &id, "{}", &custom));
    assert_eq!(aliases(&published), [[sha256_of("4d"), format!("sha512:{}", hex("5e", 128))]]);
    let content = format!(r#"{{"environment":{{"id":"prod"}},"artifactId":"{id}"}}"#);
    assert_eq!(aliases(&message(&cdevent("service.deployed.0.3.0", "ledger", &content, &custom))).len(), 1);
}

#[test]
fn empty_content_is_no_subject_alias_product_or_material() {
    let empty = format!("sha256:{}", ::hex::encode(sha256(b"")));
    let digest = |hash: &str| format!(r#"{{"sha256":"{}"}}"#, &hash[7..]);
    let statement = |subjects: &[&str]| {
        let list = subjects.iter().map(|hash| format!(r#"{{"name":"n","digest":{}}}"#, digest(hash)));
        let statement = format!(
            r#"{{"predicateType":"https://slsa.dev/provenance/v0.2","subject":[{}],"predicate":{{"materials":[
            {{"uri":"https://x/empty","digest":{}}}]}}}}"#,
            list.collect::<Vec<_>>().join(","),
            digest(&empty)
        );
        facts(&message(statement.as_bytes())).remove(0).1
    };
    let both = statement(&[&empty, DIGEST]);
    assert_eq!(both["artifactDigests"], serde_json::json!([DIGEST]));
    assert_eq!(both["materials"], serde_json::json!([{"uri": "https://x/empty"}]));
    assert_eq!(statement(&[&empty])["artifactDigests"], Value::Null, "recorded, but joined to nothing");

    let root = format!(r#"{{"type":"file","name":"x","hashes":[{{"alg":"SHA-256","content":"{}"}}]}}"#, &empty[7..]);
    assert_eq!(text(&facts(&bom(&root, ""))[0].1, "artifactDigest"), "");
    let manifest = format!(r#"{{"schemaVersion":2,"config":{{"digest":"{empty}"}},"layers":[]}}"#);
    assert_eq!(text(&facts(&message(manifest.as_bytes()))[0].1, "configDigest"), "");
    let content = format!(r#"{{"environment":{{"id":"prod"}},"artifactId":"r.example/empty:1@{empty}"}}"#);
    let deployed = facts(&message(&cdevent("service.deployed.0.3.0", "s", &content, "{}"))).remove(0).1;
    assert_eq!((text(&deployed, "artifactDigest"), text(&deployed, "artifactRef")), ("", "r.example/empty:1"));
    let event = format!(
        r#"{{"specversion":"1.0","id":"7","source":"/s","type":"org.example.sbom","subject":"{empty}","data":
        {{"bomFormat":"CycloneDX","specVersion":"1.6","components":[]}}}}"#
    );
    assert_eq!(text(&facts(&message(event.as_bytes()))[0].1, "artifactDigest"), "", "accepted, but of no artifact");
    let own = format!(r#"{{"run":"7","artifactDigests":["{empty}","{DIGEST}"]}}"#);
    let own = binary("io.pedigraph.run-finished.v1", &[], own.as_bytes());
    assert_eq!(facts(&own)[0].1["artifactDigests"], serde_json::json!([DIGEST]));
}

#[test]
fn an_sboms_root_is_called_by_its_name_and_version_and_never_latest() {
    let check = |component: &str, want: [&str; 4]| {
        let sbom = facts(&bom(component, "")).remove(0).1;
        let got = ["artifactRef", "rootName", "rootVersion", "kind"].map(|field| text(&sbom, field).to_owned());
        assert_eq!(got, want, "{component}");
    };
    check(
        r#"{"type":"application","name":"ledger","version":"4.10.0"}"#,
        ["ledger:4.10.0", "ledger", "4.10.0", "generic"],
    );
    check(
        r#"{"type":"application","group":"com.bank","name":"ledger","version":"4.2"}"#,
        ["com.bank/ledger:4.2", "com.bank/ledger", "4.2", "generic"],
    );
    check(r#"{"type":"application","name":"ledger"}"#, ["", "ledger", "", "generic"]);
    check(r#"{"type":"application","name":"Ledger App","version":"4.2"}"#, ["", "Ledger App", "4.2", "generic"]);
    check(r#"{"type":"library","name":"@bank/ledger","version":"4.2"}"#, ["", "@bank/ledger", "4.2", "package"]);
    check(r#"{"type":"application","name":".","version":"4.2"}"#, ["", "", "4.2", "generic"]);
    check(r#"{"type":"file","name":"/builds/ledger","version":"4.2"}"#, ["", "", "4.2", "generic"]);
    check(r#"{"type":"application","name":"-"}"#, ["", "", "", "generic"]);
    check(
        r#"{"type":"application","name":"https://git.example/bank/ledger"}"#,
        ["", "https://git.example/bank/ledger", "", "generic"],
    );
    check(r#"{"type":"container","name":"ledger"}"#, ["ledger", "ledger", "", "container_image"]);
    check(
        r#"{"type":"container","name":"r.example/ledger:4.2","version":"4.2"}"#,
        ["r.example/ledger:4.2", "r.example/ledger:4.2", "4.2", "container_image"],
    );
    let digest = sha256_of("1d");
    check(
        &format!(r#"{{"type":"container","name":"ledger:4.2","version":"{digest}"}}"#),
        ["ledger:4.2", "ledger:4.2", "", "container_image"],
    );
    check(
        &format!(r#"{{"type":"container","name":"ledger","purl":"pkg:oci/ledger@{digest}?tag=4.2"}}"#),
        ["ledger:4.2", "ledger", "", "container_image"],
    );
    check(
        &format!(
            r#"{{"type":"application","name":"ledger","purl":"pkg:docker/bank/ledger@{digest}?repository_url=gcr.io&tag=4.2"}}"#
        ),
        ["gcr.io/bank/ledger:4.2", "ledger", "", "container_image"],
    );
    check(
        r#"{"type":"library","name":"ledger","version":"4.2","purl":"pkg:npm/ledger@4.2"}"#,
        ["pkg:npm/ledger@4.2", "ledger", "4.2", "package"],
    );
    check(r#"{"type":"firmware","name":"boot","version":"7"}"#, ["boot:7", "boot", "7", "firmware"]);
}

fn trivy(kind: &str, name: &str, metadata: &str) -> String {
    format!(
        r#"{{"SchemaVersion":2,"ArtifactName":"{name}","ArtifactType":"{kind}","Metadata":{{{metadata}}},"Results":[
        {{"Vulnerabilities":[{{"VulnerabilityID":"CVE-2","PkgName":"p"}}]}}]}}"#
    )
}

#[test]
fn a_scan_of_a_folder_is_of_no_container_image() {
    let check = |kind: &str, name: &str, metadata: &str, want: [&str; 2]| {
        let report = Message { subject: Some(sha256_of("3c")), ..message(trivy(kind, name, metadata).as_bytes()) };
        let scan = facts(&report).remove(0).1;
        assert_eq!([text(&scan, "kind"), text(&scan, "artifactRef")], want, "{kind} {name}");
    };
    let image = format!(r#""ImageID":"{}""#, sha256_of("2b"));
    check("filesystem", ".", "", ["generic", ""]);
    check("repository", "https://git.example/bank/ledger", "", ["generic", ""]);
    check("vm", "disk.img", "", ["generic", ""]);
    check("", "services/ledger", "", ["generic", ""]);
    check("cyclonedx", "sbom.json", "", ["", ""]);
    check("container_image", "ledger", &image, ["container_image", "ledger"]);
    check("", "ledger:4.2", &image, ["container_image", "ledger:4.2"]);
    check("container_image", "out/ledger.tar.gz", &image, ["container_image", ""]);
}

#[test]
fn a_scan_is_found_by_every_digest_that_registries_know_the_image_by() {
    let metadata = format!(
        r#""ImageID":"{0}","RepoTags":["hub.example/ledger:4.2","mirror.example/ledger:4.2"],"RepoDigests":[
        "mirror.example/ledger@{1}","hub.example/ledger@{2}","third.example/ledger@{1}"]"#,
        sha256_of("2b"),
        sha256_of("3c"),
        sha256_of("4d")
    );
    let found = facts(&message(trivy("container_image", "hub.example/ledger:4.2", &metadata).as_bytes()));
    let scans = named(&found, "ScanCompleted");
    let of: Vec<_> = scans.iter().map(|scan| text(scan, "artifactDigest")).collect();
    assert_eq!(of, [sha256_of("3c"), sha256_of("4d"), sha256_of("2b")], "what was pulled may be an index");
    assert!(scans.iter().all(|scan| scan["findingCount"] == 1 && scan["scanId"] == scans[0]["scanId"]));
    let images = named(&found, "ImageObserved");
    let tied = images.iter().filter(|image| text(image, "configDigest") == sha256_of("2b"));
    let tied: Vec<_> = tied.map(|image| (text(image, "artifactRef"), image["tags"].is_array())).collect();
    let reference = |name: &str, digest: &str| format!("{name}.example/ledger@{}", sha256_of(digest));
    assert_eq!(
        tied,
        [
            (reference("mirror", "3c").as_str(), true),
            (reference("hub", "4d").as_str(), true),
            (reference("third", "3c").as_str(), false)
        ]
    );
    assert_eq!(named(&found, "AliasObserved").len(), 0, "one may be an index: they are not known to be one");

    // The same in Trivy's SBOM.
    let property = |name: &str, value: &str| format!(r#"{{"name":"aquasecurity:trivy:{name}","value":"{value}"}}"#);
    let properties = [
        property("ImageID", &sha256_of("2b")),
        property("RepoDigest", &reference("mirror", "3c")),
        property("RepoDigest", &reference("hub", "4d")),
        property("RepoTag", "hub.example/ledger:4.2"),
        property("DiffID", &sha256_of("5e")),
    ];
    let root = format!(r#"{{"type":"container","name":"ledger","properties":[{}]}}"#, properties.join(","));
    let found = facts(&bom(&root, r#","components":[{"name":"a"}]"#));
    let sboms = named(&found, "SbomAttached");
    let of: Vec<_> = sboms.iter().map(|sbom| text(sbom, "artifactDigest")).collect();
    assert_eq!(of, [sha256_of("3c"), sha256_of("4d"), sha256_of("2b")]);
    assert!(sboms.iter().all(|sbom| sbom["componentSet"] == sboms[0]["componentSet"]));
    assert_eq!(named(&found, "ComponentsListed").len(), 1, "the set is stored once");
    let images = named(&found, "ImageObserved");
    let tied = images.iter().filter(|image| text(image, "configDigest") == sha256_of("2b"));
    let tied: Vec<_> = tied.map(|image| (text(image, "artifactRef"), image["tags"].clone())).collect();
    let (mirror, hub) = (reference("mirror", "3c"), reference("hub", "4d"));
    assert_eq!(tied, [(mirror.as_str(), Value::Null), (hub.as_str(), serde_json::json!(["4.2"]))]);
    assert_eq!(images.len(), 3);
}

/// A registry's digest may be that of an index: scans of its platforms do not replace each other there.
#[test]
fn a_scan_of_one_platform_is_a_part_of_what_was_pulled() {
    let (index, config) = (sha256_of("1a"), sha256_of("2b"));
    let of = |metadata: &str, subject: Option<&str>| {
        let report = message(trivy("container_image", "hub.example/ledger:4.2", metadata).as_bytes());
        let scans = named(&facts(&Message { subject: subject.map(str::to_owned), ..report }), "ScanCompleted");
        let texts = scans.iter().map(|scan| ["artifactDigest", "target"].map(|name| text(scan, name).to_owned()));
        texts.collect::<Vec<_>>()
    };
    let pulled = format!(r#""ImageID":"{config}","RepoDigests":["hub.example/ledger@{index}"]"#);
    let own = |digest: &str, part: &str| [digest.to_owned(), part.to_owned()];
    assert_eq!(of(&pulled, None), [own(&index, &config), own(&config, &config)]);
    let other = sha256_of("5e");
    assert_eq!(of(&pulled, Some(&other)), [own(&other, &config)], "who sends it knows better");
    let built = of(&format!(r#""ImageID":"{config}""#), None);
    assert_eq!(built, [own(&config, &config)], "a scan of what was pulled later replaces it");
    assert_eq!(of(&format!(r#""RepoDigests":["hub.example/ledger@{index}"]"#), None), [own(&index, "")]);
}

#[test]
fn what_trivys_sbom_says_of_vulnerabilities_is_said_of_every_digest() {
    let property = |name: &str, value: &str| format!(r#"{{"name":"aquasecurity:trivy:{name}","value":"{value}"}}"#);
    let reference = |name: &str, digest: &str| format!("{name}.example/ledger@{}", sha256_of(digest));
    let properties = [
        property("ImageID", &sha256_of("2b")),
        property("RepoDigest", &reference("mirror", "3c")),
        property("RepoDigest", &reference("hub", "4d")),
    ];
    let root =
        format!(r#"{{"type":"container","name":"ledger","bom-ref":"r","properties":[{}]}}"#, properties.join(","));
    let rest = r#","components":[{"bom-ref":"p","name":"p","purl":"pkg:npm/p@1"}],"vulnerabilities":[
        {"id":"CVE-1","affects":[{"ref":"p"}]},
        {"id":"CVE-2","affects":[{"ref":"p"}],"analysis":{"state":"exploitable"}},
        {"id":"CVE-3","affects":[{"ref":"r"}],"analysis":{"state":"not_affected"}}]"#;
    let found = facts(&bom(&root, rest));
    let scans = named(&found, "ScanCompleted");
    let of = scans.iter().map(|scan| ["artifactDigest", "artifactRef", "target"].map(|name| text(scan, name)));
    let (hub, own) = (reference("hub", "4d"), format!("ledger@{}", sha256_of("3c")));
    let [mirrored, hubs, config] = ["3c", "4d", "2b"].map(sha256_of);
    let want = [[&mirrored, own.as_str(), &config], [&hubs, &hub, &config], [&config, "", &config]];
    assert_eq!(of.collect::<Vec<_>>(), want);
    assert!(scans.iter().all(|scan| scan["findings"].as_array().is_some_and(|found| found.len() == 1)));
    let issued = named(&found, "VexIssued");
    let statements = issued[0]["statements"].as_array().expect("statements");
    assert_eq!(statements.len(), 2);
    for statement in statements {
        assert_eq!(statement["productDigests"], serde_json::json!([mirrored, hubs, config]));
    }
}

#[test]
fn what_a_signed_scan_found_is_found_in_each_of_its_subjects() {
    let statement = |kind: &str, scanner: &str| {
        let text = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","predicateType":"{kind}","subject":[
            {{"name":"a","digest":{{"sha256":"{}"}}}},{{"name":"b","digest":{{"sha256":"{}"}}}}],
            "predicate":{{"scanner":{scanner},"metadata":{{"scanFinishedOn":"2026-01-02T00:00:00Z"}}}}}}"#,
            hex("1a", 64),
            hex("3c", 64)
        );
        named(&facts(&message(text.as_bytes())), "ScanCompleted")
    };
    let told = |scans: &[Value]| {
        let names = ["artifactDigest", "scanner"];
        let texts = |scan: &Value| {
            let [digest, scanner] = names.map(|name| text(scan, name).to_owned());
            let found = &scan["findings"][0];
            [digest, scanner, text(found, "vulnerability").to_owned(), text(found, "severity").to_owned()]
        };
        scans.iter().map(texts).collect::<Vec<_>>()
    };
    let want = |digests: &[&str], scanner: &str, severity: &str| {
        let of = |pair: &&str| [&sha256_of(pair), scanner, "CVE-2", severity].map(str::to_owned);
        digests.iter().map(of).collect::<Vec<_>>()
    };
    let report = trivy("container_image", "hub.example/ledger:4.2", "");
    let cosign = statement(
        "https://cosign.sigstore.dev/attestation/vuln/v1",
        &format!(r#"{{"uri":"pkg:github/aquasecurity/trivy@0.60.0","result":{report}}}"#),
    );
    assert_eq!(told(&cosign), want(&["1a", "3c"], "trivy", ""));
    let list = r#"[{"id":"CVE-2","severity":[{"method":"nvd","score":"9.1"}]}]"#;
    for kind in ["https://in-toto.io/attestation/vulns/v0.1", "https://in-toto.io/attestation/vulns/v0.2"] {
        let own = statement(kind, &format!(r#"{{"uri":"pkg:github/anchore/grype@1","version":"1","result":{list}}}"#));
        assert_eq!(told(&own), want(&["1a", "3c"], "grype", "critical"));
        assert_eq!(statement(kind, r#"{"uri":"https://own.example","result":{"report":1}}"#), [Value::Null; 0]);
        assert_eq!(statement(kind, r#"{"result":[7]}"#), [Value::Null; 0], "it is an attestation still");
    }
}

#[test]
fn a_commit_is_the_same_in_upper_case() {
    let (upper, lower) = ("EF".repeat(20), "ef".repeat(20));
    let own = |name: &str, fields: &str| {
        let data = format!(r#"{{{fields},"commit":"{upper}"}}"#);
        facts(&binary(&format!("io.pedigraph.{name}.v1"), &[], data.as_bytes())).remove(0).1
    };
    let digest = format!(r#""artifactDigest":"{DIGEST}""#);
    for event in [
        own("artifact-packaged", &digest),
        own("change-merged", r#""changeId":"7""#),
        own("ref-updated", r#""repository":"r","ref":"main""#),
        own("run-started", r#""run":"1""#),
        own("run-finished", r#""run":"1""#),
        own("attestation-attached", &format!(r#""predicateType":"p","artifactDigests":["{DIGEST}"]"#)),
        own("image-observed", &format!(r#""digest":"{DIGEST}""#)),
        provenance(
            "v1",
            &format!(
                r#"{{"buildDefinition":{{"resolvedDependencies":[{{"uri":"git+https://g.example/a",
            "digest":{{"gitCommit":"{upper}"}}}}]}}}}"#
            ),
        ),
    ] {
        assert_eq!(text(&event, "commit"), lower, "{event}");
    }
    let custom = format!(r#"{{"commit":"{upper}"}}"#);
    let created = message(&cdevent("branch.created.0.2.0", "main", r#"{"repository":{"id":"r"}}"#, &custom));
    assert_eq!(text(&facts(&created)[0].1, "commit"), lower);
    let merged = message(&cdevent("change.merged.0.2.0", &upper, r#"{"repository":{"id":"r"}}"#, "{}"));
    assert_eq!(
        ["commit", "changeId"].map(|field| text(&facts(&merged)[0].1, field).to_owned()),
        [lower.clone(), lower]
    );
    let tag = own("artifact-packaged", &format!(r#"{digest},"changeId":"Release-7""#));
    assert_eq!(text(&tag, "changeId"), "Release-7", "what is no commit stays as it is");
}

/// A CDEvent with a source in its subject and its context.
fn sourced(kind: &str, id: &str, source: &str, content: &str, custom: &str) -> Value {
    let event = format!(
        r#"{{"context":{{"id":"1","source":"/controller","type":"dev.cdevents.{kind}","timestamp":"2026-03-20T14:27:05Z"}},
        "subject":{{"id":"{id}","source":"{source}","content":{content}}},"customData":{custom}}}"#
    );
    facts(&message(event.as_bytes())).remove(0).1
}

#[test]
fn a_run_is_a_number_of_the_source_that_counts() {
    let check = |fact: &Value, want: [&str; 2]| {
        assert_eq!([text(fact, "run"), text(fact, "runSource")], want, "{fact}");
    };
    check(&sourced("build.finished.0.3.0", "12", "/job/ledger", "{}", "{}"), ["12", "/job/ledger"]);
    check(&sourced("build.finished.0.3.0", "12", "", "{}", "{}"), ["12", "/controller"]);
    check(
        &sourced("pipelinerun.started.0.3.0", "https://ci.example/run/12", "/job/ledger", "{}", "{}"),
        ["https://ci.example/run/12", ""],
    );
    let reference = r#"{"pipelineRun":{"id":"12","source":"/job/parent"},"taskName":"lint"}"#;
    check(&sourced("taskrun.finished.0.2.0", "t", "/job/task", reference, "{}"), ["12", "/job/parent"]);
    let bare = r#"{"pipelineRun":{"id":"12"}}"#;
    check(&sourced("taskrun.finished.0.2.0", "t", "/job/task", bare, "{}"), ["12", "/controller"]);
    let parent = sourced("pipelinerun.started.0.3.0", "13", "/job/ledger", reference, "{}");
    check(&parent, ["13", "/job/ledger"]);
    assert_eq!([text(&parent, "parentRun"), text(&parent, "parentRunSource")], ["12", "/job/parent"]);
    let suite = r#"{"testSuiteRun":{"id":"s12","source":"/job/tests"},"outcome":"success"}"#;
    check(&sourced("testcaserun.finished.0.3.0", "c1", "/job/case", suite, "{}"), ["s12", "/job/tests"]);
    check(&sourced("testsuiterun.finished.0.3.0", "s12", "/job/tests", "{}", "{}"), ["s12", "/job/tests"]);
    let content = r#"{"environment":{"id":"prod"},"artifactId":"ledger:4.2"}"#;
    let deployed = |custom: &str| sourced("service.deployed.0.3.0", "ledger", "/job/ship", content, custom);
    check(&deployed(r#"{"run":"12"}"#), ["12", "/job/ship"]);
    check(&deployed(r#"{"run":"12","runSource":"/job/other"}"#), ["12", "/job/other"]);
    check(&deployed("{}"), ["", ""]);
    let own = binary("io.pedigraph.run-started.v1", &[], br#"{"run":"12","runSource":"/job/own"}"#);
    check(&facts(&own)[0].1, ["12", "/job/own"]);
}

#[test]
fn an_environments_source_is_its_cluster_unless_one_is_named() {
    let environment = r#"{"environment":{"id":"prod","source":"https://k8s.example/eu"}}"#;
    for kind in ["service.deployed.0.3.0", "service.removed.0.3.0", "service.rolledback.0.3.0"] {
        let cluster =
            |content: &str, custom: &str| text(&sourced(kind, "ledger", "/job", content, custom), "cluster").to_owned();
        assert_eq!(cluster(environment, "{}"), "https://k8s.example/eu");
        assert_eq!(cluster(environment, r#"{"cluster":"eu-1"}"#), "eu-1");
        assert_eq!(cluster(r#"{"environment":{"id":"prod"}}"#, "{}"), "", "who deploys is no place");
    }
}

#[test]
fn the_commit_is_the_one_that_the_build_type_calls_the_source() {
    let git = |name: &str, repository: &str, pair: &str| {
        let hash = hex(pair, 40);
        format!(
            r#"{{"name":"{name}","uri":"git+https://git.example/{repository}@refs/heads/main","digest":{{"sha1":"{hash}"}}}}"#
        )
    };
    let (pipeline, app, other) =
        (git("", "ops/pipelines", "1a"), git("", "bank/ledger", "2b"), git("", "bank/lib", "3c"));
    let v1 = |parameters: &str, dependencies: &[&str], rest: &str| {
        let dependencies = dependencies.join(",");
        let statement = provenance(
            "v1",
            &format!(
                r#"{{"buildDefinition":{{"externalParameters":{parameters},"resolvedDependencies":[{dependencies}]}}{rest}}}"#
            ),
        );
        [text(&statement, "repository").to_owned(), text(&statement, "commit").to_owned()]
    };
    let is = |pair: &str| ["https://git.example/bank/ledger".to_owned(), hex(pair, 40)];
    let none = [String::new(), String::new()];
    for parameters in [
        r#"{"workflow":{"repository":"https://git.example/bank/ledger"}}"#,
        r#"{"source":"https://git.example/bank/ledger"}"#,
        r#"{"source":{"uri":"git+https://git.example/bank/ledger@refs/tags/v4"}}"#,
        r#"{"sourceToBuild":{"repository":"https://git.example/bank/ledger"},
            "buildConfigSource":{"repository":"https://git.example/ops/pipelines"}}"#,
        r#"{"configSource":{"uri":"https://git.example/bank/ledger.git#refs/heads/main"}}"#,
    ] {
        assert_eq!(v1(parameters, &[&pipeline, &other, &app], ""), is("2b"), "{parameters}");
    }
    let direct = format!(
        r#"{{"configSource":{{"uri":"https://git.example/bank/ledger.git","digest":{{"sha1":"{}"}}}}}}"#,
        hex("4d", 40)
    );
    assert_eq!(v1(&direct, &[&pipeline], ""), is("4d"));
    let tekton = [
        git("pipeline", "ops/pipelines", "1a"),
        git("task", "ops/tasks", "5e"),
        git("inputs/result", "bank/ledger", "2b"),
    ];
    assert_eq!(v1(r#"{"runSpec":{}}"#, &[&tekton[0], &tekton[1], &tekton[2]], ""), is("2b"));
    assert_eq!(v1(r#"{"runSpec":{}}"#, &[&tekton[0]], ""), none, "a definition is no source");
    let vcs = |revision: &str| {
        let vcs = format!(r#"{{"source":"https://git.example/bank/ledger.git","revision":"{revision}"}}"#);
        v1(
            "{}",
            &[&pipeline, &other],
            &format!(r#","runDetails":{{"metadata":{{"buildkit_metadata":{{"vcs":{vcs}}}}}}}"#),
        )
    };
    assert_eq!(vcs(&hex("6f", 40)), is("6f"));
    assert_eq!(vcs(&format!("{}-dirty", hex("6f", 40)))[1], "", "a changed work tree is not its commit");
    assert_eq!(v1("{}", &[&app], ""), is("2b"), "the only one");
    assert_eq!(v1("{}", &[&app, &pipeline], ""), none, "several, and nobody says which");
    let jar = format!(r#"{{"uri":"https://repo.example/x.jar","digest":{{"sha1":"{}"}}}}"#, hex("7a", 40));
    assert_eq!(v1("{}", &[&jar, &app], ""), is("2b"), "the hash of a file is no commit");
    assert_eq!(v1("{}", &[&jar], ""), none);
    let gitlab = format!(r#"{{"uri":"https://git.example/bank/ledger","digest":{{"sha256":"{}"}}}}"#, hex("8b", 40));
    assert_eq!(v1(r#"{"source":"https://git.example/bank/ledger"}"#, &[&gitlab], ""), is("8b"));

    let old =
        provenance("v0.2", &format!(r#"{{"invocation":{{"configSource":{app}}},"materials":[{pipeline},{app}]}}"#));
    assert_eq!(text(&old, "commit"), hex("2b", 40));
    let oldest =
        provenance("v0.1", &format!(r#"{{"recipe":{{"definedInMaterial":1}},"materials":[{pipeline},{app}]}}"#));
    assert_eq!(text(&oldest, "commit"), hex("2b", 40));
    assert_eq!(oldest["materials"].as_array().map(Vec::len), Some(2), "all are listed whatever is claimed");
}

#[test]
fn a_commit_in_the_uri_of_a_material_counts_where_it_has_no_digest() {
    let checked_out = |uri: &str| {
        let materials = format!(r#"{{"materials":[{{"uri":"{uri}"}}]}}"#);
        let found = provenance("v0.2", &materials);
        [text(&found, "repository").to_owned(), text(&found, "commit").to_owned()]
    };
    let at = |revision: &str| format!("git+https://git.example/bank/ledger@{revision}");
    assert_eq!(
        checked_out(&at(&hex("2B", 40))),
        ["https://git.example/bank/ledger".to_owned(), hex("2b", 40)],
        "without a digest its URI says it"
    );
    assert_eq!(checked_out(&at("refs/heads/main")), [String::new(), String::new()]);
    assert_eq!(checked_out(&at(&hex("2b", 40))[4..]), [String::new(), String::new()], "no checkout by its scheme");
    let source =
        provenance("v0.2", &format!(r#"{{"invocation":{{"configSource":{{"uri":"{}"}}}}}}"#, at(&hex("2b", 40))));
    assert_eq!(text(&source, "commit"), hex("2b", 40));
}

#[test]
fn tools_of_a_build_are_told_from_what_went_into_its_product() {
    let tools = |kind: &str, predicate: &str| -> Vec<String> {
        let statement = provenance(kind, predicate);
        let materials = statement["materials"].as_array().cloned().unwrap_or_default();
        materials.iter().filter(|material| material["tool"] == true).map(|m| text(m, "uri").to_owned()).collect()
    };
    let list = |uris: &[&str]| {
        let list = uris.iter().map(|uri| format!(r#"{{"uri":"{uri}","digest":{{"sha256":"{}"}}}}"#, hex("9c", 64)));
        list.collect::<Vec<_>>().join(",")
    };
    let buildkit = [
        "pkg:docker/docker/dockerfile@1?platform=linux%2Famd64",
        "pkg:docker/golang@1.25?platform=linux%2Famd64",
        "pkg:docker/r.example/frontend@2",
        "pkg:docker/alpine@3.22",
        "pkg:docker/docker/buildkit-syft-scanner@stable-1",
    ];
    let predicate = format!(
        r#"{{"buildType":"https://mobyproject.org/buildkit@v1","invocation":{{"parameters":{{"frontend":"gateway.v0",
        "args":{{"source":"r.example/frontend:2"}}}}}},"materials":[{}]}}"#,
        list(&buildkit)
    );
    assert_eq!(tools("v0.2", &predicate), [buildkit[0], buildkit[2], buildkit[4]]);
    let steps = ["oci://r.example/tekton/git-init", "oci://r.example/kaniko", "git+https://git.example/bank/ledger"];
    let predicate = format!(r#"{{"buildType":"tekton.dev/v1beta1/TaskRun","materials":[{}]}}"#, list(&steps));
    assert_eq!(tools("v0.2", &predicate), steps[..2]);
    let predicate = format!(
        r#"{{"buildDefinition":{{"buildType":"https://tekton.dev/chains/v2/slsa","resolvedDependencies":[
        {},{{"name":"inputs/base","uri":"oci://r.example/base","digest":{{"sha256":"{}"}}}}]}}}}"#,
        list(&steps[..1]),
        hex("ad", 64)
    );
    assert_eq!(tools("v1", &predicate), steps[..1], "an input is what the product is made of");
    let predicate = format!(
        r#"{{"buildDefinition":{{"externalParameters":{{"builderImage":{{"uri":"oci://r.example/builder"}}}},
        "resolvedDependencies":[{}]}}}}"#,
        list(&["oci://r.example/builder", "pkg:oci/base?repository_url=r.example/base"])
    );
    assert_eq!(tools("v1", &predicate), ["oci://r.example/builder"]);
    let google = ["gcr.io/cloud-builders/docker@sha256:HEX".replace("HEX", &hex("be", 64))];
    let predicate = format!(
        r#"{{"buildDefinition":{{"buildType":"https://cloud.google.com/build/gcb-buildtypes/google-worker/v1",
        "resolvedDependencies":[{}]}}}}"#,
        list(&[&google[0]])
    );
    assert_eq!(tools("v1", &predicate), google);
    assert_eq!(tools("v0.2", &format!(r#"{{"materials":[{}]}}"#, list(&["pkg:docker/golang@1.25"]))), [""; 0]);
}

/// What a document with component `pkg:npm/p@3.1.0` says of it in one vulnerability: `finding`, a status, or nothing.
fn said(vulnerability: &str) -> Vec<String> {
    let rest = format!(
        r#","serialNumber":"urn:uuid:3E671687","version":4,"components":[{{"bom-ref":"p-ref","name":"p","version":"3.1.0",
        "purl":"pkg:npm/p@3.1.0"}}],"vulnerabilities":[{{"id":"CVE-3",{vulnerability}}}]"#
    );
    let found = facts(&bom(r#"{"bom-ref":"root","type":"application","name":"app","version":"2.5"}"#, &rest));
    let lists = found.iter().flat_map(|(_, fact)| [&fact["findings"], &fact["statements"]]);
    let all = lists.flat_map(|list| list.as_array().cloned().unwrap_or_default());
    all.map(|said| {
        let of = [text(&said, "purl"), text(&said, "product")].into_iter().find(|of| !of.is_empty());
        let status = said["vulnerability"].as_str().filter(|_| said["rawStatus"].is_null() && said["status"].is_null());
        format!("{} {}", of.unwrap_or("root"), status.map_or_else(|| text(&said, "status"), |_| "finding"))
    })
    .collect()
}

#[test]
fn listed_versions_limit_what_a_vulnerability_affects() {
    let check = |versions: &str, analysis: &str, want: &[&str]| {
        let state =
            if analysis.is_empty() { String::new() } else { format!(r#""analysis":{{"state":"{analysis}"}},"#) };
        let got = said(&format!(r#"{state}"affects":[{{"ref":"p-ref","versions":[{versions}]}}]"#));
        assert_eq!(got, want, "{versions} {analysis}");
    };
    let finding = ["pkg:npm/p@3.1.0 finding"];
    check("", "", &finding);
    check(r#"{"version":"3.1.0","status":"affected"}"#, "", &finding);
    check(r#"{"version":"3.1.0"}"#, "", &finding);
    check(r#"{"version":"3.1.0","status":"unaffected"}"#, "", &[]);
    check(r#"{"version":"3.1.0","status":"unknown"}"#, "", &finding);
    check(r#"{"version":"3.0.9","status":"unaffected"}"#, "", &finding);
    check(r#"{"version":"3.0.9","status":"affected"}"#, "", &[]);
    check(r#"{"range":"vers:npm/>=3.0.0|<3.2.0","status":"affected"}"#, "", &finding);
    check(r#"{"range":"vers:npm/<3.1.0","status":"affected"}"#, "", &[]);
    check(r#"{"range":"vers:semver/>=3.1.0","status":"unaffected"},{"range":"vers:semver/<3.1.0"}"#, "", &[]);
    check(r#"{"range":"before 3.1","status":"affected"}"#, "", &finding);
    check(r#"{"range":"before 3.1"},{"version":"3.1.0","status":"unaffected"}"#, "", &[]);
    check(r#"{"range":"vers:deb/<1","status":"affected"}"#, "", &finding);
    check(r#"{"version":"3.1.0","status":"unaffected"},{"version":"3.1.0","status":"affected"}"#, "", &finding);
    check(r#"{"version":"3.1.0","status":"unaffected"}"#, "exploitable", &[]);
    check(r#"{"version":"3.1.0","status":"unaffected"}"#, "not_affected", &["pkg:npm/p@3.1.0 not_affected"]);
    check(r#"{"version":"3.1.0","status":"affected"}"#, "exploitable", &["pkg:npm/p@3.1.0 affected"]);
    check(r#"{"version":"3.2.0"}"#, "resolved", &[]);
    check(r#"{"version":"3.0.0","status":"unaffected"}"#, "not_affected", &[]);
}

#[test]
fn the_root_and_packages_elsewhere_are_limited_too() {
    let root = |versions: &str| said(&format!(r#""affects":[{{"ref":"root","versions":[{versions}]}}]"#));
    assert_eq!(root(r#"{"version":"2.5","status":"unaffected"}"#), [""; 0]);
    assert_eq!(root(r#"{"version":"2.5"}"#), ["root finding"]);
    let elsewhere = |purl: &str, analysis: &str, versions: &str| {
        said(&format!(r#"{analysis}"affects":[{{"ref":"{purl}","versions":[{versions}]}}]"#))
    };
    let versions = r#"{"version":"1.0"},{"version":"1.1","status":"unaffected"}"#;
    assert_eq!(elsewhere("pkg:npm/q@1.1", "", versions), [""; 0]);
    assert_eq!(elsewhere("pkg:npm/q@1.0", "", versions), ["pkg:npm/q@1.0 finding"]);
    assert_eq!(elsewhere("pkg:npm/q", "", versions), ["pkg:npm/q@1.0 finding"], "each version by itself");
    let resolved = r#""analysis":{"state":"resolved"},"#;
    assert_eq!(elsewhere("pkg:npm/q", resolved, r#"{"version":"1.0"}"#), ["pkg:npm/q@1.0 fixed"]);
    let range = r#"{"range":"vers:npm/<1.2"}"#;
    let ranged = "pkg:npm/q?vers=vers:npm%2F%3C1.2";
    assert_eq!(elsewhere("pkg:npm/q", "", range), [format!("{ranged} finding")]);
    assert_eq!(elsewhere("pkg:npm/q", resolved, range), [format!("{ranged} fixed")]);
    let words = r#"{"range":"before 1.2"}"#;
    assert_eq!(elsewhere("pkg:npm/q", "", words), ["pkg:npm/q finding"], "any version may be in it");
    assert_eq!(elsewhere("pkg:npm/q", resolved, words), [""; 0], "it clears no version that is not in it");
}

/// Product, components and status of each statement of a VEX document whose root is this.
fn stated(root: &str, subject: Option<&str>, affects: &str) -> Vec<[String; 3]> {
    let rest =
        format!(r#","vulnerabilities":[{{"id":"CVE-3","analysis":{{"state":"not_affected"}},"affects":[{affects}]}}]"#);
    let document = if root.is_empty() {
        message(format!(r#"{{"bomFormat":"CycloneDX","specVersion":"1.6"{rest}}}"#).as_bytes())
    } else {
        bom(root, &rest)
    };
    let found = facts(&Message { subject: subject.map(str::to_owned), ..document });
    let issued = named(&found, "VexIssued");
    let all = issued.iter().flat_map(|vex| vex["statements"].as_array().cloned().unwrap_or_default());
    all.map(|said| {
        let parts = said["subcomponents"].as_array().into_iter().flatten();
        let parts: Vec<&str> = parts.filter_map(Value::as_str).collect();
        [text(&said, "product").to_owned(), parts.join(" "), text(&said, "status").to_owned()]
    })
    .collect()
}

#[test]
fn a_root_is_the_version_beside_its_purl() {
    let check = |root: &str, want: &str| {
        assert_eq!(stated(root, None, r#"{"ref":"r"}"#), [[want, "", "not_affected"]], "{root}");
    };
    check(
        r#"{"bom-ref":"r","name":"shop","version":"1.0.0","purl":"pkg:npm/%40acme/shop"}"#,
        "pkg:npm/%40acme/shop@1.0.0",
    );
    check(r#"{"bom-ref":"r","name":"shop","version":"1.0.0","purl":"pkg:npm/shop@1.0.1"}"#, "pkg:npm/shop@1.0.1");
    check(r#"{"bom-ref":"r","name":"shop","purl":"pkg:npm/shop"}"#, "pkg:npm/shop");
    check(r#"{"bom-ref":"r","name":"shop","version":"1","purl":"pkg:oci/shop"}"#, "pkg:oci/shop");
}

#[test]
fn packages_that_a_vex_of_something_does_not_list_are_parts_of_it() {
    let digest = sha256_of("7a");
    let check = |root: &str, subject: Option<&str>, affects: &str, want: &[[&str; 2]]| {
        let said = stated(root, subject, affects);
        let want: Vec<_> = want.iter().map(|[product, part]| [product, part, "not_affected"]).collect();
        assert_eq!(said, want, "{root} {subject:?} {affects}");
    };
    let shop = r#"{"bom-ref":"r","name":"shop","version":"1.0.0","purl":"pkg:npm/shop"}"#;
    let (e, link) = (r#"{"ref":"pkg:npm/e@1"}"#, r#"{"ref":"urn:cdx:3e/1#pkg%3Anpm%2Fe%401"}"#);
    for reference in [e, link] {
        check(shop, Some(&digest), reference, &[[&digest, "pkg:npm/e@1"]]);
        check(shop, None, reference, &[["pkg:npm/shop@1.0.0", "pkg:npm/e@1"]]);
        check(r#"{"name":"shop"}"#, Some(&digest), reference, &[[&digest, "pkg:npm/e@1"]]);
        // Nothing is known of what it is of.
        check(r#"{"name":"shop"}"#, None, reference, &[["pkg:npm/e@1", ""]]);
        check("", None, reference, &[["pkg:npm/e@1", ""]]);
        check("", Some(&digest), reference, &[["pkg:npm/e@1", ""]]);
    }
    check(shop, Some(&digest), r#"{"ref":"pkg:npm/shop@1.1.0"}"#, &[["pkg:npm/shop@1.1.0", ""]]);
    check(shop, Some(&digest), r#"{"ref":"pkg:oci/web?tag=1"}"#, &[["pkg:oci/web?tag=1", ""]]);
    let versions = r#"{"ref":"pkg:npm/e","versions":[{"version":"1"},{"version":"2","status":"unaffected"}]}"#;
    check(shop, Some(&digest), versions, &[[&digest, "pkg:npm/e@1"], [&digest, "pkg:npm/e@2"]]);
}

#[test]
fn the_most_cautious_analysis_of_one_thing_counts_whatever_the_order() {
    let root = r#"{"bom-ref":"r","name":"shop","version":"1.0","purl":"pkg:npm/shop"}"#;
    let check = |said: &[(&str, &str, &str)], want: &[&str]| {
        let of = |(id, state, time): &(&str, &str, &str)| {
            format!(
                r#"{{"id":"{id}","affects":[{{"ref":"r"}}],"analysis":{{"state":"{state}","lastUpdated":"{time}"}}}}"#
            )
        };
        let all = said.iter().map(of).collect::<Vec<_>>().join(",");
        let found = facts(&bom(root, &format!(r#","vulnerabilities":[{all}]"#)));
        let statements = named(&found, "VexIssued")[0]["statements"].clone();
        let statuses: Vec<_> = statements.as_array().expect("statements").iter().map(|s| text(s, "status")).collect();
        assert_eq!(statuses, want, "{said:?}");
    };
    let (now, later) = ("2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z");
    check(&[("CVE-1", "exploitable", ""), ("CVE-1", "not_affected", "")], &["not_affected", "affected"]);
    check(&[("CVE-1", "in_triage", now), ("cve-1", "resolved", now)], &["fixed", "under_investigation"]);
    check(
        &[("CVE-1", "exploitable", ""), ("CVE-2", "not_affected", ""), ("CVE-1", "odd", "")],
        &["", "not_affected", "affected"],
    );
    // What is said later takes back what was said before.
    check(&[("CVE-1", "exploitable", now), ("CVE-1", "resolved", later)], &["affected", "fixed"]);
}

#[test]
fn a_rejected_vulnerability_is_none() {
    let rejected = r#""rejected":"2026-02-03T00:00:00Z","#;
    assert_eq!(said(&format!(r#"{rejected}"affects":[{{"ref":"p-ref"}}]"#)), [""; 0]);
    let analysed =
        |state: &str| said(&format!(r#"{rejected}"analysis":{{"state":"{state}"}},"affects":[{{"ref":"p-ref"}}]"#));
    assert_eq!(analysed("exploitable"), [""; 0]);
    assert_eq!(analysed("not_affected"), ["pkg:npm/p@3.1.0 not_affected"]);
    let rest = r#","components":[{"name":"a"}],"vulnerabilities":[{"id":"CVE-4","rejected":"2026-02-03T00:00:00Z"}]"#;
    let scans = named(&facts(&bom(r#"{"name":"app"}"#, rest)), "ScanCompleted");
    assert_eq!(scans.len(), 1, "a scan without findings ends those of an earlier one");
}

#[test]
fn bom_links_into_the_document_resolve_and_others_name_something_else() {
    let of = |reference: &str| said(&format!(r#""affects":[{{"ref":"{reference}"}}]"#));
    let own = ["pkg:npm/p@3.1.0 finding"];
    assert_eq!(of("p-ref"), own);
    assert_eq!(of("urn:cdx:3e671687/4#p-ref"), own);
    assert_eq!(of("urn:cdx:3e671687/4#p%2Dref"), own);
    assert_eq!(of("urn:cdx:another/1#p-ref"), ["root finding"], "and nothing here");
    assert_eq!(of("urn:cdx:another/1#pkg%3Anpm%2Fq%401.0"), ["pkg:npm/q@1.0 finding"]);
    assert_eq!(of("pkg:npm/q@1.0"), ["pkg:npm/q@1.0 finding"]);
}

#[test]
fn constant_times_count_as_absent() {
    let config = r#"{"architecture":"amd64","os":"linux","created":"1980-01-01T00:00:01Z","rootfs":{"diff_ids":["DIGEST"]},
        "history":[{"created_by":"COPY","created":"1985-10-26T08:15:00Z"}]}"#;
    let config = message(config.replace("DIGEST", DIGEST).as_bytes());
    assert_eq!(run(&config, &Limits::default()).expect("accepted").time, None);
    let image = facts(&config).remove(0).1;
    assert_eq!((text(&image, "created"), text(&image["history"][0], "created")), ("", ""));
    let event = String::from_utf8(cdevent("service.removed.0.3.0", "s", r#"{"environment":{"id":"e"}}"#, "{}"));
    let event = event.expect("UTF-8").replace("2026-03-20T14:27:05Z", "1999-12-31T23:59:59Z");
    assert_eq!(run(&message(event.as_bytes()), &Limits::default()).expect("accepted").time, None);
    let vex = r#"{"@context":"https://openvex.dev/ns","timestamp":"2026-05-06T07:08:09Z","last_updated":"0001-01-01T00:00:00Z",
        "statements":[{"vulnerability":"CVE-5","status":"fixed","products":["pkg:npm/a@1"],"timestamp":"1970-01-01T00:00:00Z"}]}"#;
    let vex = facts(&message(vex.as_bytes())).remove(0).1;
    assert_eq!(text(&vex, "documentTime"), "2026-05-06T07:08:09Z");
    assert_eq!(text(&vex["statements"][0], "time"), "");
    let report = trivy("filesystem", ".", "").replacen('{', r#"{"CreatedAt":"0001-01-01T00:00:00Z","#, 1);
    let report = Message { subject: Some(DIGEST.into()), ..message(report.as_bytes()) };
    assert_eq!(run(&report, &Limits::default()).expect("accepted").time, None);
}

#[test]
fn platforms_are_written_as_containerd_writes_them() {
    let entry = |pair: &str, platform: &str| format!(r#"{{"digest":"{}","platform":{{{platform}}}}}"#, sha256_of(pair));
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{},{},{},{}]}}"#,
        entry("01", r#""os":"linux","architecture":"arm64","variant":"v8""#),
        entry("02", r#""os":"linux","architecture":"arm""#),
        entry("03", r#""os":"windows","architecture":"amd64","os.version":"10.0.17763.6893""#),
        entry("04", r#""os":"windows","architecture":"amd64","os.version":"10.0.20348.3207""#)
    );
    let index = facts(&message(index.as_bytes())).remove(0).1;
    let platforms: Vec<_> = (0..4).map(|n| text(&index["manifests"][n], "platform").to_owned()).collect();
    assert_eq!(platforms, ["linux/arm64", "linux/arm/v7", "windows(10.0.17763)/amd64", "windows(10.0.20348)/amd64"]);
    let config = format!(
        r#"{{"architecture":"amd64","os":"windows","os.version":"10.0.17763.6893","rootfs":{{"diff_ids":["{DIGEST}"]}}}}"#
    );
    assert_eq!(text(&facts(&message(config.as_bytes()))[0].1, "platform"), "windows(10.0.17763)/amd64");
    let packaged = cdevent("artifact.packaged.0.3.0", "ledger:4.2", "{}", r#"{"platform":"linux/x86_64"}"#);
    assert_eq!(text(&facts(&message(&packaged))[0].1, "platform"), "linux/amd64");
    let own = format!(r#"{{"artifactDigest":"{DIGEST}","platform":"linux/aarch64"}}"#);
    let own = binary("io.pedigraph.artifact-published.v1", &[], own.as_bytes());
    assert_eq!(text(&facts(&own)[0].1, "platform"), "linux/arm64");
}

#[test]
fn what_a_registry_keeps_beside_images_says_what_it_is_and_of_what() {
    let image_config = "application/vnd.oci.image.config.v1+json";
    let manifest = |config: &str, layer: &str, rest: &str| {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{config}","digest":"{}"}},"layers":[{{"mediaType":"{layer}",
            "digest":"{}"}}]{rest}}}"#,
            sha256_of("0c"),
            sha256_of("0d")
        );
        facts(&message(text.as_bytes())).remove(0).1
    };
    let helm =
        manifest("application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "");
    assert_eq!(text(&helm, "digestKind"), "package", "no container runs it");
    let empty = "application/vnd.oci.empty.v1+json";
    assert_eq!(
        text(&manifest(empty, "text/plain", r#","artifactType":"application/vnd.acme.rules""#), "digestKind"),
        "package"
    );
    let cosign = "application/vnd.dev.cosign.simplesigning.v1+json";
    let signature = manifest(image_config, cosign, "");
    assert_eq!([text(&signature, "artifactType"), text(&signature, "configDigest")], [cosign, ""]);
    let subject = format!(r#","subject":{{"digest":"{DIGEST}"}}"#);
    let notation = manifest("application/vnd.cncf.notary.signature", "application/jose+json", &subject);
    assert_eq!(text(&notation, "artifactType"), "application/vnd.cncf.notary.signature");
    assert_eq!(text(&notation, "subjectDigest"), DIGEST);
    let cache = "application/vnd.buildkit.cacheconfig.v0";
    let layer = "application/vnd.oci.image.layer.v1.tar+gzip";
    assert_eq!(text(&manifest(cache, layer, ""), "artifactType"), cache);
    let image = manifest(image_config, layer, "");
    assert_eq!([text(&image, "artifactType"), text(&image, "configDigest")], ["", sha256_of("0c").as_str()]);
    assert_eq!([text(&image, "digestKind"), text(&notation, "digestKind")], ["manifest", "manifest"]);

    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"digest":"{}","mediaType":"{layer}"}},{{"digest":"{}","mediaType":"{cache}"}}]}}"#,
        sha256_of("0e"),
        sha256_of("0f")
    );
    let index = facts(&message(index.as_bytes())).remove(0).1;
    assert_eq!(text(&index, "artifactType"), cache);
    assert_eq!(index["manifests"], Value::Null, "layers of a cache are no manifests");

    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"digest":"{DIGEST}","platform":{{"os":"linux","architecture":"amd64"}}}},
        {{"digest":"{OTHER}","annotations":{{"vnd.docker.reference.type":"attestation-manifest",
        "vnd.docker.reference.digest":"{DIGEST}"}}}}]}}"#
    );
    let attestation = facts(&message(index.as_bytes())).remove(1).1;
    assert_eq!(
        ["digest", "subjectDigest", "artifactType"].map(|field| text(&attestation, field)),
        [OTHER, DIGEST, "attestation-manifest"]
    );
}

#[test]
fn whole_names_in_the_index_of_a_layout_are_those_of_its_images() {
    let named = |kind: &str, annotations: &str| {
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.{kind}.v1+json",
            "digest":"{OTHER}","size":1,"annotations":{{{annotations}}}}}]}}"#
        );
        let found = named(&facts(&message(index.as_bytes())), "ImageObserved");
        assert_eq!(text(&found[0], "artifactRef"), "", "the layout's index itself has no name");
        let names = found[1..].iter().map(|image| {
            assert_eq!([text(image, "digest"), text(image, "digestKind")], [OTHER, kind]);
            text(image, "artifactRef").to_owned()
        });
        names.collect::<Vec<_>>()
    };
    let (name, tag) = ("io.containerd.image.name", "org.opencontainers.image.ref.name");
    // As BuildKit and containerd write it, and as Skopeo and Podman do.
    let built =
        format!(r#""{name}":"docker.io/library/shop:1.0","{tag}":"1.0","org.opencontainers.image.created":"x""#);
    assert_eq!(named("index", &built), ["docker.io/library/shop:1.0"]);
    assert_eq!(named("manifest", &format!(r#""{tag}":"localhost/shop:1.0""#)), ["localhost/shop:1.0"]);
    let both = format!(r#""{name}":"r.example:5000/a/shop:1","{tag}":"r.example:5000/a/shop:1""#);
    assert_eq!(named("manifest", &both), ["r.example:5000/a/shop:1"]);
    let pinned = format!(r#""{tag}":"r.example/shop:1@{OTHER}""#);
    assert_eq!(named("manifest", &pinned), ["r.example/shop:1"]);
    let none: [String; 0] = [];
    for other in [
        format!(r#""{tag}":"1.0""#),
        format!(r#""{tag}":"shop:1.0""#),
        format!(r#""{tag}":"r.example/shop""#),
        format!(r#""{tag}":"r.example/shop:1@{DIGEST}""#),
        r#""org.opencontainers.image.base.name":"docker.io/library/alpine:3""#.to_owned(),
    ] {
        assert_eq!(named("manifest", &other), none, "{other}");
    }
    assert_eq!(named("config", &built), none, "a configuration is no image");
}

#[test]
fn subjects_that_are_called_like_images_are_named_by_their_repository() {
    let named = |name: &str| {
        let statement = format!(
            r#"{{"predicateType":"https://slsa.dev/provenance/v1","predicate":{{}},
            "subject":[{{"name":"{name}","digest":{{"sha256":"{}"}}}}]}}"#,
            &DIGEST[7..]
        );
        let all = facts(&message(statement.as_bytes())).into_iter();
        let named: Vec<_> = all.filter(|(kind, _)| *kind == "ImageObserved").collect();
        named.first().map(|(_, image)| (text(image, "artifactRef").to_owned(), image.get("tags").is_some()))
    };
    let of = |repository: &str| Some((format!("{repository}@{DIGEST}"), false));
    assert_eq!(named("ghcr.io/acme/till"), of("ghcr.io/acme/till"));
    assert_eq!(named("ghcr.io/acme/till:1.0"), of("ghcr.io/acme/till"), "a tag may be that of an index");
    assert_eq!(named("pkg:docker/ghcr.io/acme/shop@1.0?platform=linux%2Famd64"), of("ghcr.io/acme/shop"));
    for file in ["till", "dist/till.tar.gz", "pkg:npm/till", "", "a b/c.d"] {
        assert_eq!(named(file), None, "{file}");
    }
}

#[test]
fn where_a_task_or_a_page_of_a_commit_comes_from_is_no_repository_of_the_source() {
    let built = |kind: &str, invocation: &str, materials: &str| {
        let statement = format!(
            r#"{{"predicateType":"https://slsa.dev/provenance/v0.2","subject":[{{"name":"a","digest":{{"sha256":"{}"}}}}],
            "predicate":{{"builder":{{"id":"b"}},"buildType":"{kind}","invocation":{invocation},"materials":[{materials}]}}}}"#,
            &DIGEST[7..]
        );
        let found = facts(&message(statement.as_bytes()));
        let attached = named(&found, "AttestationAttached");
        [text(&attached[0], "repository"), text(&attached[0], "commit")].map(str::to_owned)
    };
    let git = |repository: &str, commit: &str| {
        format!(r#"{{"uri":"git+https://github.com/{repository}.git","digest":{{"sha1":"{}"}}}}"#, hex(commit, 40))
    };
    let catalog = git("tektoncd/catalog", "c4");
    let invocation = format!(r#"{{"configSource":{catalog}}}"#);
    let own = ["https://github.com/acme/shop".to_owned(), hex("a1", 40)];
    let (shop, tekton) = (git("acme/shop", "a1"), "tekton.dev/v1beta1/TaskRun");
    assert_eq!(built(tekton, &invocation, &shop), own);
    assert_eq!(built(tekton, &invocation, &format!("{catalog},{shop}")), own, "the pipeline's is no source");
    let beside = format!(r#"{{"configSource":{shop}}}"#);
    assert_eq!(built(tekton, &beside, &shop), own, "a task that is kept beside what it builds");
    for chains in ["https://tekton.dev/attestations/chains@v2", "https://tekton.dev/attestations/chains/pipelinerun@v2"]
    {
        assert_eq!(built(chains, &invocation, &format!("{catalog},{shop}")), own, "{chains}");
    }
    let at = |repository: &str, commit: &str| {
        let uri = format!("git+https://github.com/{repository}.git@{}", hex(commit, 40));
        format!(r#"{{"uri":"{uri}","digest":{{"sha1":"{}"}}}}"#, hex(commit, 40))
    };
    let pinned = at("tektoncd/catalog", "c4");
    assert_eq!(built(tekton, &invocation, &format!("{pinned},{shop}")), own, "the same place, with its commit");
    let older = format!(r#"{{"configSource":{}}}"#, git("acme/shop", "0b"));
    let both = format!("{},{}", at("acme/shop", "0b"), at("acme/shop", "a1"));
    assert_eq!(built(tekton, &older, &both), own, "another commit of the repository that has the task");
    assert_eq!(built("https://example.com/build", &format!(r#"{{"configSource":{shop}}}"#), &catalog), own);
    let page =
        format!(r#"{{"uri":"https://github.com/acme/shop/commit/{0}","digest":{{"sha1":"{0}"}}}}"#, hex("a1", 40));
    assert_eq!(built("https://cloudbuild.googleapis.com/GoogleHostedWorker@v0.2", "{}", &page), own);
    for page in ["commit", "tree"] {
        let uri = format!("https://gitlab.com/acme/tills/shop/-/{page}/{}", hex("a1", 40));
        let page = format!(r#"{{"uri":"{uri}","digest":{{"sha1":"{}"}}}}"#, hex("a1", 40));
        let own = ["https://gitlab.com/acme/tills/shop".to_owned(), hex("a1", 40)];
        assert_eq!(built("https://example.com/build", "{}", &page), own);
    }
}

#[test]
fn a_bundle_was_made_when_a_log_took_it_in_unless_it_says_so_itself() {
    let time = |material: &str, metadata: &str| {
        let statement = format!(
            r#"{{"predicateType":"https://slsa.dev/provenance/v1","subject":[{{"digest":{{"sha256":"{}"}}}}],
            "predicate":{{"runDetails":{{"metadata":{metadata}}}}}}}"#,
            &DIGEST[7..]
        );
        let bundle = format!(
            r#"{{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{material},
            "dsseEnvelope":{{"payloadType":"application/vnd.in-toto+json","payload":"{}"}}}}"#,
            base64(&statement)
        );
        let decoded = run(&message(bundle.as_bytes()), &Limits::default()).expect("read");
        decoded.time.map(|(time, source)| format!("{time} {source:?}"))
    };
    let entries = |times: &[&str]| {
        let entries: Vec<_> = times.iter().map(|time| format!(r#"{{"integratedTime":{time}}}"#)).collect();
        format!(r#"{{"tlogEntries":[{}]}}"#, entries.join(","))
    };
    let new_year = Some("2026-01-01T00:00:00Z Payload".to_owned());
    assert_eq!(time(&entries(&[r#""1767225600""#]), "{}"), new_year);
    assert_eq!(time(&entries(&["1767225600"]), "{}"), new_year);
    assert_eq!(time(&entries(&["1767225900", r#""1767225600""#, "0"]), "{}"), new_year, "the first log");
    let own = time(&entries(&["1767225600"]), r#"{"finishedOn":"2025-12-31T23:59:00Z"}"#);
    assert_eq!(own.as_deref(), Some("2025-12-31T23:59:00Z Payload"));
    for hostile in ["-1", "0", r#""0""#, "1e300", r#""18446744073709551615""#, "10000000000", r#""x""#, "null", "[]"] {
        assert_eq!(time(&entries(&[hostile]), "{}"), None, "{hostile}");
    }
    for other in ["null", "[]", "7", r#"{"tlogEntries":{}}"#, r#"{"tlogEntries":[7,null,{}]}"#] {
        assert_eq!(time(other, "{}"), None, "{other}");
    }
}

/// A name that no client of a registry could pull joins nothing: else all files of all builds are versions of one image.
#[test]
fn subjects_that_are_no_images_are_in_no_repository() {
    let repository = |name: &str| {
        let statement = format!(
            r#"{{"predicateType":"p","predicate":{{}},"subject":[{{"name":"{name}","digest":{{"sha256":"{}"}}}}]}}"#,
            &DIGEST[7..]
        );
        let images = named(&facts(&message(statement.as_bytes())), "ImageObserved");
        images.first().map(|image| text(image, "artifactRef").split('@').next().unwrap_or_default().to_owned())
    };
    for other in [
        "https://witness.dev/attestations/product/v0.1/file:dist/till",
        "https://witness.dev/attestations/product/v0.1/file:till",
        "https://witness.dev/attestations/git/v0.1/commithash:b94f4fdd",
        "https://example.com/releases/till",
        "https://europe-maven.pkg.dev/acme/shop/till:1.0",
        "git+https://github.com/acme/till",
        "github.com/acme/till",
        "release.d/app.tar.gz",
        "release.d/app",
        "python3.11/lib",
        "build.out/till.tar.gz",
        "firmware.example/kernel.img",
        "reg.example/a%20b",
        "reg.example/a=b",
        "reg.example:web/till",
    ] {
        assert_eq!(repository(other), None, "{other}");
    }
    for (image, name) in [
        ("https://us-docker.pkg.dev/acme/shop/till:1.0", "us-docker.pkg.dev/acme/shop/till"),
        ("https://gcr.io/acme/till", "gcr.io/acme/till"),
        ("https://eu.gcr.io/acme/till:1", "eu.gcr.io/acme/till"),
        ("docker-pullable://r.example/till", "r.example/till"),
        ("oci://r.example/till:1", "r.example/till"),
        ("localhost/till", "localhost/till"),
        ("localhost:5000/till", "localhost:5000/till"),
        ("registry:5000/till:1", "registry:5000/till"),
        ("10.0.0.1/till", "10.0.0.1/till"),
        ("[fd00::1]:5000/till", "[fd00::1]:5000/till"),
        ("ghcr.io/Acme/Till", "ghcr.io/Acme/Till"),
        ("ghcr.io/acme/node.js__old", "ghcr.io/acme/node.js__old"),
        ("r.example/dump.tar:1", "r.example/dump.tar"),
        ("index.docker.io/acme/till", "docker.io/acme/till"),
        ("registry.gitlab.com/acme/till", "registry.gitlab.com/acme/till"),
    ] {
        assert_eq!(repository(image).as_deref(), Some(name), "{image}");
    }
}

#[test]
fn a_subject_that_is_called_by_a_purl_is_that_package() {
    let said = |name: &str| {
        let statement = format!(
            r#"{{"predicateType":"p","predicate":{{}},"subject":[{{"name":"{name}","digest":{{"sha512":"{}"}}}}]}}"#,
            hex("c1", 128)
        );
        let packages = named(&facts(&message(statement.as_bytes())), "ImageObserved");
        packages.first().map(|package| ["artifactRef", "digestKind"].map(|field| text(package, field).to_owned()))
    };
    let is = |purl: &str| Some([purl.to_owned(), "package".to_owned()]);
    assert_eq!(said("pkg:npm/%40acme/till@1.0.0"), is("pkg:npm/%40acme/till@1.0.0"));
    assert_eq!(said("pkg:maven/org.acme/till@1.0?type=jar"), is("pkg:maven/org.acme/till@1.0?type=jar"));
    assert_eq!(said("pkg:npm/till"), None, "every version");
    assert_eq!(said(&format!("pkg:npm/till@1.0.0?note={}", "x".repeat(5_000))), None, "a name that was cut");
}

#[test]
fn buildkit_says_the_platform_in_the_subject_and_the_run_in_its_own_spelling() {
    let said = |version: &str, predicate: &str| {
        let statement = format!(
            r#"{{"predicateType":"https://slsa.dev/provenance/{version}","predicate":{predicate},"subject":[
            {{"name":"pkg:docker/r.example/till@1.0?platform=linux%2Faarch64","digest":{{"sha256":"{}"}}}}]}}"#,
            &DIGEST[7..]
        );
        let all = facts(&message(statement.as_bytes()));
        let (image, statement) = (named(&all, "ImageObserved"), named(&all, "AttestationAttached"));
        (text(&image[0], "platform").to_owned(), text(&statement[0], "invocation").to_owned())
    };
    let arm = |run: &str| ("linux/arm64".to_owned(), run.to_owned());
    assert_eq!(said("v1", r#"{"runDetails":{"metadata":{"invocationID":"one"}}}"#), arm("one"));
    let both = r#"{"runDetails":{"metadata":{"invocationID":"one","invocationId":"two"}}}"#;
    assert_eq!(said("v1", both), arm("two"), "the specification's own spelling");
    assert_eq!(said("v0.2", r#"{"metadata":{"buildInvocationID":"three"}}"#), arm("three"));
}
