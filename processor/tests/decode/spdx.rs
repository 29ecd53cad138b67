//! SPDX documents: real ones compared with what a reader that shares nothing with the decoder finds, and what single
//! documents state.

use serde_json::Value;

use super::*;

/// What is kept of an SBOM: the facts that name it, and its components in order.
struct Sbom {
    heads: Vec<Value>,
    components: Vec<Value>,
    /// The facts of other kinds.
    others: Vec<Event>,
}

impl Sbom {
    fn of(message: &Message) -> Sbom {
        let decoded = run(message, &Limits::default());
        let decoded = decoded.unwrap_or_else(|rejected| panic!("{}", rejected.reject.reason));
        assert_eq!(decoded.format, "spdx");
        let mut sbom = Sbom { heads: vec![], components: vec![], others: vec![] };
        for event in decoded.facts.iter().map(|fact| fact.event.clone().expect("a fact has an event")) {
            let json = event.to_json().expect("facts serialize");
            if matches!(event, Event::SbomAttached(_)) {
                sbom.heads.push(pruned(json).unwrap_or_default());
            } else if matches!(event, Event::ComponentsListed(_)) {
                sbom.components.extend(list(&json, "components").iter().cloned());
            } else {
                sbom.others.push(event);
            }
        }
        assert_eq!(number(&sbom.heads[0]["componentCount"]), sbom.components.len());
        sbom
    }

    fn component(&self, name: &str) -> &Value {
        self.components.iter().find(|component| component["name"] == name).expect("a component of that name")
    }

    /// Names of what a component depends on.
    fn depends(&self, name: &str) -> Vec<&str> {
        let ordinals = list(self.component(name), "dependsOn").iter().map(number);
        ordinals.map(|n| self.components[n]["name"].as_str().expect("a name")).collect()
    }

    fn direct(&self) -> Vec<&str> {
        let direct = self.components.iter().filter(|component| component["rootDependency"] == true);
        direct.map(|component| component["name"].as_str().expect("a name")).collect()
    }

    fn digests(&self) -> Vec<&str> {
        self.heads.iter().map(|head| head["artifactDigest"].as_str().unwrap_or_default()).collect()
    }
}

/// A number; 0 where it was left out.
fn number(value: &Value) -> usize {
    value.as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or_default()
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

/// The SPDX documents of the corpora, which are packed.
fn documents() -> Option<Vec<(PathBuf, Vec<u8>)>> {
    let all = files(&corpora()?.join("trustify"));
    let packed = all.into_iter().filter(|path| path.components().any(|part| part.as_os_str() == "spdx"));
    Some(packed.map(|path| (path.clone(), std::fs::read(path).expect("a corpus can be read"))).collect())
}

#[test]
fn every_real_document_has_the_components_that_it_lists() {
    let Some(documents) = documents() else { return };
    assert_eq!(documents.len(), 6);
    for (path, packed) in documents {
        let mut plain = Vec::new();
        bzip2::read::MultiBzDecoder::new(packed.as_slice()).read_to_end(&mut plain).expect("bzip2");
        let document: Value = serde_json::from_slice(&plain).expect("JSON");
        let (sbom, streamed) = (Sbom::of(&message(&packed)), run_stream(&message(b""), &plain, &Limits::default()));
        assert_eq!(streamed.expect("accepted").facts.len(), Sbom::of(&message(&plain)).facts(), "{}", path.display());

        let described: BTreeSet<&str> = list(&document, "documentDescribes").iter().filter_map(Value::as_str).collect();
        let parts = list(&document, "packages").iter().filter(|package| !described.contains(text(package, "SPDXID")));
        let parts: Vec<&Value> = parts.collect();
        let purl = |package: &Value| {
            let purl = list(package, "externalRefs").iter().find(|found| found["referenceType"] == "purl");
            purl.map(|found| text(found, "referenceLocator").to_owned()).unwrap_or_default()
        };
        // The same as the decoder's only in how a purl is written canonically.
        let canonical = |purl: String| pedigraph_proto::Purl::canonical(&purl).unwrap_or(purl);
        let want: BTreeSet<(String, &str, &str)> = parts
            .iter()
            .map(|package| (canonical(purl(package)), text(package, "name"), text(package, "versionInfo")))
            .collect();
        let found = sbom
            .components
            .iter()
            .map(|part| (text(part, "purl").to_owned(), text(part, "name"), text(part, "version")));
        let found: Vec<(String, &str, &str)> = found.collect();
        assert_eq!(found.iter().cloned().collect::<BTreeSet<_>>(), want, "{}", path.display());
        assert_eq!(found.len(), want.len(), "{}: no component stands there twice", path.display());
        for package in &parts {
            let (concluded, declared) = (text(package, "licenseConcluded"), text(package, "licenseDeclared"));
            let nothing = ["NOASSERTION", "NONE", ""];
            let license = [concluded, declared].into_iter().find(|license| !nothing.contains(license));
            let said = sbom.components.iter().find(|part| text(part, "purl") == canonical(purl(package)));
            let said: Vec<&str> =
                list(said.expect("it is there"), "licenses").iter().filter_map(Value::as_str).collect();
            assert!(license.is_none_or(|license| said.contains(&license)), "{license:?} of {said:?}");
        }
        // All of them say of every package but the variants of an image that it is in what is described.
        let contained = list(&document, "relationships").iter().filter(|one| one["relationshipType"] == "CONTAINED_BY");
        let contained: BTreeSet<&str> = contained.map(|one| text(one, "spdxElementId")).collect();
        let purls = parts
            .iter()
            .filter(|package| contained.contains(text(package, "SPDXID")))
            .map(|package| canonical(purl(package)));
        let direct = sbom.components.iter().filter(|part| part["rootDependency"] == true);
        assert_eq!(
            direct.map(|part| text(part, "purl").to_owned()).collect::<BTreeSet<_>>(),
            purls.collect::<BTreeSet<_>>()
        );
        println!("{}: {} components, {:?}", path.display(), found.len(), sbom.digests());
    }
}

impl Sbom {
    /// How many facts it came to.
    fn facts(&self) -> usize {
        self.heads.len() + self.components.len().div_ceil(512) + self.others.len()
    }
}

fn document(rest: &str) -> Message {
    let head = r#""spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","documentNamespace":"https://x/7","creationInfo":{
        "created":"2026-02-03T04:05:06Z","creators":["Organization: acme","Tool: syft-1.2.3"]}"#;
    message(format!("{{{head},{rest}}}").as_bytes())
}

fn package(id: &str, rest: &str) -> String {
    format!(r#"{{"SPDXID":"SPDXRef-{id}","name":"{id}"{rest}}}"#)
}

fn relation(from: &str, kind: &str, to: &str) -> String {
    format!(r#"{{"spdxElementId":"SPDXRef-{from}","relationshipType":"{kind}","relatedSpdxElement":"SPDXRef-{to}"}}"#)
}

fn checksum(algorithm: &str, pair: &str, digits: usize) -> String {
    format!(r#"{{"algorithm":"{algorithm}","checksumValue":"{}"}}"#, pair.repeat(digits / 2))
}

#[test]
fn an_sbom_says_what_it_is_of_and_what_wrote_it() {
    let root = package(
        "app",
        &format!(
            r#","versionInfo":"1.4.2","primaryPackagePurpose":"CONTAINER","checksums":[{},{},{}],"externalRefs":[
            {{"referenceCategory":"SECURITY","referenceType":"cpe23Type","referenceLocator":"cpe:2.3:a:x"}},
            {{"referenceCategory":"PACKAGE_MANAGER","referenceType":"purl","referenceLocator":"pkg:oci/app?repository_url=ghcr.io/acme/app"}}]"#,
            checksum("SHA1", "c3", 40),
            checksum("SHA512", "b2", 128),
            checksum("SHA256", "a1", 64)
        ),
    );
    let part = package("lib", r#","versionInfo":"2","licenseConcluded":"MIT","licenseDeclared":"GPL-2.0-only""#);
    let sbom = document(&format!(
        r#""packages":[{root},{part}],"relationships":[{}]"#,
        relation("DOCUMENT", "DESCRIBES", "app")
    ));
    check(
        &sbom,
        expect![[r#"
            spdx document sha256:965315acc095b29147fc6dbb28031a7562f0b3ec56e3a71642a36c1b2c794ca9 2026-02-03T04:05:06Z Payload
            SbomAttached {"artifactDigest":"sha256:a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1","artifactRef":"ghcr.io/acme/app","componentCount":1,"componentSet":"sha256:1835ac0717824da18ab0e1921503beb2fabb4e75a9945fa69804cb67734d0cb8","format":"spdx","kind":"container_image","purl":"pkg:oci/app?repository_url=ghcr.io%2Facme%2Fapp","rootName":"app","rootVersion":"1.4.2","sbomDigest":"sha256:965315acc095b29147fc6dbb28031a7562f0b3ec56e3a71642a36c1b2c794ca9","serialNumber":"https://x/7","specVersion":"2.3","tool":"syft"}
            ComponentsListed {"componentSet":"sha256:1835ac0717824da18ab0e1921503beb2fabb4e75a9945fa69804cb67734d0cb8","components":[{"licenses":["MIT"],"name":"lib","version":"2"}]}
            AliasObserved {"digests":["sha256:a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1","sha512:b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2"]}
        "#]],
    );
}

#[test]
fn each_described_package_with_a_digest_is_a_subject_of_its_own() {
    let [one, two] = [("one", "a1"), ("two", "d4")]
        .map(|(id, pair)| package(id, &format!(r#","checksums":[{}]"#, checksum("SHA256", pair, 64))));
    let (bare, part) = (package("bare", ""), package("part", ""));
    let packages = format!(r#""packages":[{one},{bare},{part},{two}]"#);
    let describes = r#""documentDescribes":["SPDXRef-two","SPDXRef-bare","SPDXRef-one"]"#;
    for text in [format!("{describes},{packages}"), format!("{packages},{describes}")] {
        let sbom = Sbom::of(&document(&text));
        assert_eq!(sbom.digests(), [format!("sha256:{}", "a1".repeat(32)), format!("sha256:{}", "d4".repeat(32))]);
        assert_eq!(sbom.components.len(), 1, "what is described is no component");
        assert!(sbom.heads.iter().all(|head| head["componentSet"] == sbom.heads[0]["componentSet"]));
        assert!(sbom.others.is_empty(), "they are no aliases: {:?}", sbom.others);
        let outside = Message { subject: Some(OTHER.to_owned()), ..document(&text) };
        assert_eq!(Sbom::of(&outside).digests(), [OTHER]);
    }
    let none = Sbom::of(&document(&format!(r#""documentDescribes":["SPDXRef-bare"],"packages":[{bare},{part}]"#)));
    assert_eq!((none.digests(), text(&none.heads[0], "rootName")), (vec![""], "bare"));
    let alone = Sbom::of(&document(&format!(r#""packages":[{one}]"#)));
    assert_eq!((alone.digests().len(), alone.components.len()), (1, 0), "the only package is described");
    let unsaid = Sbom::of(&document(&format!(r#""packages":[{one},{two}]"#)));
    assert_eq!((unsaid.digests(), unsaid.components.len()), (vec![""], 2));
}

#[test]
fn what_is_described_is_in_what_the_document_was_sent_for_unless_it_is_that() {
    let purl = |purl: &str| {
        let kind = r#""referenceCategory":"PACKAGE-MANAGER","referenceType":"purl""#;
        format!(r#""externalRefs":[{{{kind},"referenceLocator":"{purl}"}}]"#)
    };
    let of = |id: &str, rest: &str| package(id, &format!(r#",{}{rest}"#, purl(&format!("pkg:npm/{id}@1"))));
    let sent = |text: &str| {
        let sbom = Sbom::of(&Message { subject: Some(OTHER.to_owned()), ..document(text) });
        assert_eq!(sbom.digests(), [OTHER]);
        sbom.components.iter().map(|part| text_of(part, "purl")).collect::<Vec<_>>()
    };
    let one = of("one", "");
    assert_eq!(sent(&format!(r#""packages":[{one}]"#)), ["pkg:npm/one@1"], "the only package");
    assert_eq!(sent(&format!(r#""documentDescribes":["SPDXRef-one"],"packages":[{one}]"#)), ["pkg:npm/one@1"]);
    let (two, part) = (of("two", ""), of("part", ""));
    let described = r#""documentDescribes":["SPDXRef-one","SPDXRef-two"]"#;
    assert_eq!(sent(&format!(r#"{described},"packages":[{one},{two}]"#)), ["pkg:npm/one@1", "pkg:npm/two@1"]);
    let root = format!(r#""documentDescribes":["SPDXRef-one"],"packages":[{one},{part}]"#);
    assert_eq!(sent(&root), ["pkg:npm/part@1"], "one of several packages stands for the artifact");
    let digest = OTHER.strip_prefix("sha256:").expect("a digest");
    let own = format!(r#","checksums":[{{"algorithm":"SHA256","checksumValue":"{digest}"}}]"#);
    for itself in [
        of("app", &own),
        of("app", r#","primaryPackagePurpose":"CONTAINER""#),
        of("app", r#","primaryPackagePurpose":"FIRMWARE""#),
        package("app", &format!(",{}", purl("pkg:oci/app?repository_url=ghcr.io/acme/app"))),
        package("app", &format!(r#","attributionTexts":["ImageID: sha256:{}"]"#, "e1".repeat(32))),
        package("app", ""),
    ] {
        assert_eq!(sent(&format!(r#""packages":[{itself}]"#)), Vec::<String>::new(), "{itself}");
    }
    let alone = Sbom::of(&document(&format!(r#""packages":[{one}]"#)));
    assert_eq!(alone.components.len(), 0, "of itself it is the root");
}

fn text_of(value: &Value, name: &str) -> String {
    text(value, name).to_owned()
}

#[test]
fn relationships_run_both_ways_and_stand_anywhere() {
    let packages = ["root", "a", "b", "c", "d", "e", "f"].map(|id| package(id, "")).join(",");
    let relations = [
        relation("root", "DESCRIBED_BY", "DOCUMENT"),
        relation("root", "DEPENDS_ON", "a"),
        relation("b", "DEPENDENCY_OF", "root"),
        relation("a", "CONTAINS", "c"),
        relation("d", "CONTAINED_BY", "a"),
        relation("e", "TEST_DEPENDENCY_OF", "b"),
        relation("b", "DEPENDS_ON", "f"),
        relation("b", "DEPENDS_ON", "gone"),
        relation("f", "GENERATED_FROM", "a"),
        relation("c", "VARIANT_OF", "root"),
        r#"{"spdxElementId":"SPDXRef-c","relationshipType":"DEPENDS_ON","relatedSpdxElement":"NONE"}"#.to_owned(),
    ]
    .join(",");
    let (packages, relations) = (format!(r#""packages":[{packages}]"#), format!(r#""relationships":[{relations}]"#));
    for text in [format!("{packages},{relations}"), format!("{relations},{packages}")] {
        let sbom = Sbom::of(&document(&text));
        assert_eq!(sbom.direct(), ["a", "b"]);
        assert_eq!(sbom.depends("a"), ["c", "d"]);
        assert_eq!(sbom.depends("b"), ["e", "f"]);
        assert_eq!(sbom.depends("c"), Vec::<&str>::new());
        assert_eq!(sbom.components.len(), 6);
    }
}

#[test]
fn packages_become_components() {
    let with = |rest: &str| {
        let packages = [package("root", ""), package("x", rest)].join(",");
        Sbom::of(&document(&format!(r#""documentDescribes":["SPDXRef-root"],"packages":[{packages}]"#)))
    };
    let license = |concluded: &str, declared: &str| {
        let sbom = with(&format!(r#","licenseConcluded":{concluded},"licenseDeclared":{declared}"#));
        list(sbom.component("x"), "licenses")
            .iter()
            .map(|license| license.as_str().expect("text").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(license(r#""MIT""#, r#""Apache-2.0""#), ["MIT"]);
    assert_eq!(license(r#""NOASSERTION""#, r#""Apache-2.0 OR MIT""#), ["Apache-2.0 OR MIT"]);
    assert_eq!(license(r#""NONE""#, r#""NOASSERTION""#), Vec::<String>::new());
    assert_eq!(license("null", r#""MIT""#), ["MIT"]);

    let purl = |locator: &str| {
        format!(r#"{{"referenceCategory":"PACKAGE-MANAGER","referenceType":"purl","referenceLocator":"{locator}"}}"#)
    };
    let refs = |purls: &[&str]| {
        let refs = purls.iter().map(|locator| purl(locator)).collect::<Vec<_>>().join(",");
        let sbom = with(&format!(r#","versionInfo":"NOASSERTION","externalRefs":[{refs}]"#));
        sbom.components.iter().map(|part| text(part, "purl").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(refs(&["pkg:NPM/X@1"]), ["pkg:npm/x@1"]);
    assert_eq!(refs(&["no purl", "pkg:npm/x@1"]), ["pkg:npm/x@1"]);
    assert_eq!(
        refs(&["pkg:rpm/r/x@1?repository_id=a", "pkg:rpm/r/x@1?repository_id=b"]),
        ["pkg:rpm/r/x@1?repository_id=a"]
    );
    assert_eq!(refs(&["pkg:npm/x@1", "pkg:maven/g/x@1"]), ["pkg:maven/g/x@1", "pkg:npm/x@1"], "it is both");
    assert_eq!(refs(&["no purl"]), ["no purl"]);
    let source = |info: &str| {
        let deb = purl("pkg:deb/debian/libssl3@3.0.11-1");
        let sbom = with(&format!(r#","sourceInfo":{info},"externalRefs":[{deb}]"#));
        text(sbom.component("x"), "purl").to_owned()
    };
    let libssl = "pkg:deb/debian/libssl3@3.0.11-1";
    assert_eq!(source(r#""built package from: openssl 3.0.11-1""#), format!("{libssl}?upstream=openssl"));
    assert_eq!(source(r#""built package from: openssl 1:3.0""#), format!("{libssl}?upstream=openssl%401:3.0"));
    for none in [r#""built package from: libssl3 3.0.11-1""#, r#""built package from: ""#, r#""openssl 3""#, "7"] {
        assert_eq!(source(none), libssl, "{none}");
    }

    let sums = [checksum("SHA1", "c3", 40), checksum("SHA256", "a1", 64), checksum("ADLER32", "a1", 8)].join(",");
    let sbom = with(&format!(r#","checksums":[{sums}],"primaryPackagePurpose":"OPERATING-SYSTEM""#));
    assert_eq!(text(sbom.component("x"), "digest"), format!("sha256:{}", "a1".repeat(32)));
    assert_eq!(text(sbom.component("x"), "type"), "operating-system");
}

/// What Trivy says of an image ties its digests together, as in its CycloneDX.
#[test]
fn an_image_of_trivy_is_found_by_every_digest() {
    let (id, pulled) = ("e1".repeat(32), "f2".repeat(32));
    let said = [
        format!("ImageID: sha256:{id}"),
        format!("RepoDigest: ghcr.io/acme/app@sha256:{pulled}"),
        "SchemaVersion: 2".to_owned(),
    ];
    let texts = said.iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(",");
    let comments = said
        .iter()
        .map(|text| format!(r#"{{"annotator":"Tool: trivy","comment":"{text}"}}"#))
        .collect::<Vec<_>>()
        .join(",");
    for rest in [format!(r#","attributionTexts":[{texts}]"#), format!(r#","annotations":[{comments}]"#)] {
        let packages = [package("app", &rest), package("lib", "")].join(",");
        let sbom = Sbom::of(&document(&format!(r#""documentDescribes":["SPDXRef-app"],"packages":[{packages}]"#)));
        let digests = [format!("sha256:{pulled}"), format!("sha256:{id}")];
        assert_eq!(sbom.digests(), digests, "what was pulled may be an index");
        assert!(matches!(&sbom.others[0], Event::ImageObserved(image) if image.digest.ends_with(&id)));
    }
}

/// `GET /repos/{owner}/{repo}/dependency-graph/sbom`.
#[test]
fn the_answer_of_github_is_the_document_in_it() {
    let document = document(&format!(r#""packages":[{},{}]"#, package("a", ""), package("b", "")));
    let inner = String::from_utf8(bytes_of(&document).to_vec()).expect("text");
    let answer = format!(r#"{{"sbom":{inner}}}"#);
    let (of, plain) = (Sbom::of(&message(answer.as_bytes())), Sbom::of(&document));
    assert_eq!(of.components, plain.components);
    let own = |text: &str| format!("sha256:{}", hex::encode(sha256(text.as_bytes())));
    assert_eq!([text(&of.heads[0], "sbomDigest"), text(&plain.heads[0], "sbomDigest")], [own(&answer), own(&inner)]);
    let streamed = run_stream(&message(b""), answer.as_bytes(), &Limits::default()).expect("accepted");
    assert_eq!(streamed.format, "spdx");
    let refused = |text: &str, code: Code| {
        let rejected = run(&message(text.as_bytes()), &Limits::default()).expect_err("refused");
        assert_eq!(rejected.reject.code, code, "{text}");
    };
    refused(r#"{"sbom":{"name":"x"}}"#, Code::UnsupportedFormat);
    refused(r#"{"sbom":{"spdxVersion":"SPDX-3.0"}}"#, Code::UnsupportedVersion);
}

#[test]
fn a_tool_is_named_without_its_version() {
    let check = |creators: &str, want: &str| {
        let head = r#""spdxVersion":"SPDX-2.2","packages":[]"#;
        let sbom = Sbom::of(&message(format!(r#"{{{head},"creationInfo":{{"creators":[{creators}]}}}}"#).as_bytes()));
        assert_eq!(text(&sbom.heads[0], "tool"), want, "{creators}");
        assert_eq!(text(&sbom.heads[0], "specVersion"), "2.2");
    };
    check(r#""Tool: syft-1.2.3""#, "syft");
    check(r#""Tool: apko (v1.1.14)""#, "apko");
    check(r#""Tool: melange (devel)""#, "melange");
    check(r#""Tool: syft-v0.100.0-rc1""#, "syft");
    check(r#""Person: a","Tool: Microsoft.SBOMTool-2.2.7","Tool: other""#, "Microsoft.SBOMTool");
    check(r#""Tool: GitHub.com-Dependency-Graph""#, "GitHub.com-Dependency-Graph");
    check(r#""Tool: syft-[not provided]""#, "syft");
    check(r#""Tool: ko v0.14.1""#, "ko");
    check(r#""Tool: ko-v0.14.1""#, "ko");
    check(r#""Tool: SPDX Tools 3.1""#, "SPDX Tools");
    check(r#""Tool: Mend Renovate""#, "Mend Renovate");
    check(r#""Organization: acme""#, "");
}

#[test]
fn what_is_no_spdx_2_is_rejected_with_the_right_code() {
    let table: Vec<(&str, Code, &str)> = vec![
        ("a newer major version", Code::UnsupportedVersion, r#"{"spdxVersion":"SPDX-3.0","packages":[]}"#),
        ("an older one", Code::UnsupportedVersion, r#"{"spdxVersion":"SPDX-1.2","packages":[]}"#),
        ("no version", Code::SchemaViolation, r#"{"SPDXID":"SPDXRef-DOCUMENT","packages":[]}"#),
        ("a version of something else", Code::SchemaViolation, r#"{"spdxVersion":"2.3","packages":[]}"#),
        ("a version that is no text", Code::SchemaViolation, r#"{"spdxVersion":2.3,"packages":[]}"#),
        ("packages are an object", Code::SchemaViolation, r#"{"spdxVersion":"SPDX-2.3","packages":{}}"#),
        ("a package is a text", Code::SchemaViolation, r#"{"spdxVersion":"SPDX-2.3","packages":["x"]}"#),
        ("a name is a number", Code::SchemaViolation, r#"{"spdxVersion":"SPDX-2.3","packages":[{"name":1}]}"#),
        ("checksums are a map", Code::SchemaViolation, r#"{"spdxVersion":"SPDX-2.3","packages":[{"checksums":{}}]}"#),
        ("relationships are texts", Code::SchemaViolation, r#"{"spdxVersion":"SPDX-2.3","relationships":["x"]}"#),
        ("described is a text", Code::SchemaViolation, r#"{"spdxVersion":"SPDX-2.3","documentDescribes":"x"}"#),
    ];
    for (what, code, document) in table {
        let rejected = run(&message(document.as_bytes()), &Limits::default()).expect_err(what);
        assert_eq!((rejected.reject.code, rejected.format), (code, "spdx"), "{what}: {}", rejected.reject.reason);
    }
    let few = Limits { components_max: 1, ..Limits::default() };
    let packages = [package("a", ""), package("b", "")].join(",");
    let rejected = run(&document(&format!(r#""packages":[{packages}]"#)), &few).expect_err("two packages");
    assert_eq!(rejected.reject.code, Code::TooManyItems);
    let described =
        Sbom::of(&message(br#"{"spdxVersion":"SPDX-2.3","packages":null,"relationships":null,"files":[{}]}"#));
    assert_eq!((described.heads.len(), described.components.len()), (1, 0));
}
