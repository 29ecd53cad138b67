//! What decoding may take: memory by the bytes of the input, and time that grows no faster than they do.
//!
//! Every decoder gets documents made large in every way that a sender can: lists repeated, alike and each element its
//! own, or filled with the smallest elements; texts lengthened beside them; all lists at once; values nested.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::*;

/// Memory at the peak, for each byte of the input. A statement of the smallest size takes four bytes in a document and
/// some hundred in a fact, twice that while its list grows; the budget of facts (32 for each byte) bounds how many.
const PEAK_PER_BYTE: u64 = 96;
/// And besides: what the budget of facts allows any message, twice while its lists grow; or one list that is held whole,
/// the largest there may be, while it grows.
const PEAK_BESIDES: u64 = 40 << 20;
/// Memory that is allocated in all, whether or not it was given back, with the facts taken one by one: a list doubles
/// while it grows, and a fact is made of what was read.
const TOTAL_PER_BYTE: u64 = 128;
/// And besides.
const TOTAL_BESIDES: u64 = 64 << 20;
/// What a document four times as long may take in all: four times as much, and what lists double.
const TOTAL_RATIO_MAX: u64 = 7;
/// Below this nothing is compared. Bytes.
const TOTAL_MIN: u64 = 2 << 20;
/// What a document four times as long may take in time: four times as much, and as much again for the machine.
const TIME_RATIO_MAX: u32 = 10;
/// Below this nothing is compared.
const TIME_MIN: Duration = Duration::from_millis(5);

/// A number that each copy of an element replaces by its own.
const NUMBER: &str = "00000000";

/// A digest, its number in the last digits.
fn digest() -> String {
    "ab".repeat(28) + NUMBER
}

fn bom() -> String {
    let digest = digest();
    format!(
        r#"{{"bomFormat":"CycloneDX","specVersion":"1.6","serialNumber":"urn:uuid:7","version":3,
        "metadata":{{"timestamp":"2026-02-03T04:05:06Z","tools":[{{"name":"t"}}],"authors":[{{"name":"a"}}],"component":{{
        "bom-ref":"root","type":"container","name":"r.example/pay","version":"9","properties":[
        {{"name":"aquasecurity:trivy:RepoDigest","value":"r.example/pay@sha256:{digest}"}},
        {{"name":"aquasecurity:trivy:ImageID","value":"sha256:{digest}"}},
        {{"name":"aquasecurity:trivy:DiffID","value":"sha256:{digest}"}}]}}}},
        "components":[{{"bom-ref":"c-{NUMBER}","type":"library","group":"g","name":"c","version":"1.{NUMBER}",
        "purl":"pkg:npm/c@1.{NUMBER}","hashes":[{{"alg":"SHA-256","content":"{digest}"}}],
        "licenses":[{{"license":{{"id":"MIT"}}}}],"components":[{{"name":"inner-{NUMBER}"}}]}}],
        "dependencies":[{{"ref":"c-{NUMBER}","dependsOn":["c-{NUMBER}","root"]}}],
        "vulnerabilities":[{{"id":"CVE-{NUMBER}","references":[{{"id":"GHSA-{NUMBER}"}}],"ratings":[{{"severity":"low"}}],
        "recommendation":"r","analysis":{{"state":"not_affected","detail":"d","response":["update"]}},
        "affects":[{{"ref":"c-{NUMBER}"}},{{"ref":"urn:cdx:7/3#c-{NUMBER}"}}]}},
        {{"id":"CVE-2-{NUMBER}","affects":[{{"ref":"pkg:npm/z","versions":[{{"version":"1.{NUMBER}"}},
        {{"range":"vers:npm/<2","status":"unaffected"}}]}}]}}]}}"#
    )
}

fn spdx() -> String {
    let digest = digest();
    format!(
        r#"{{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","name":"pay","documentNamespace":"https://x/7",
        "creationInfo":{{"created":"2026-02-03T04:05:06Z","creators":["Tool: t-1.{NUMBER}"]}},
        "documentDescribes":["SPDXRef-root","SPDXRef-r-{NUMBER}"],"packages":[{{"SPDXID":"SPDXRef-root","name":"r.example/pay",
        "primaryPackagePurpose":"CONTAINER","attributionTexts":["ImageID: sha256:{digest}","DiffID: sha256:{digest}",
        "RepoDigest: r.example/pay@sha256:{digest}"],"annotations":[{{"comment":"DiffID: sha256:{digest}"}}]}},
        {{"SPDXID":"SPDXRef-r-{NUMBER}","name":"root-{NUMBER}","checksums":[{{"algorithm":"SHA256","checksumValue":"{digest}"}},
        {{"algorithm":"SHA512","checksumValue":"{digest}{digest}"}}]}},
        {{"SPDXID":"SPDXRef-{NUMBER}","name":"c","versionInfo":"1.{NUMBER}","licenseConcluded":"NOASSERTION",
        "licenseDeclared":"MIT","checksums":[{{"algorithm":"SHA1","checksumValue":"{}"}}],"externalRefs":[
        {{"referenceCategory":"PACKAGE-MANAGER","referenceType":"purl","referenceLocator":"pkg:npm/c@1.{NUMBER}"}},
        {{"referenceCategory":"PACKAGE-MANAGER","referenceType":"purl","referenceLocator":"pkg:npm/d@1.{NUMBER}"}}]}}],
        "relationships":[{{"spdxElementId":"SPDXRef-DOCUMENT","relationshipType":"DESCRIBES","relatedSpdxElement":"SPDXRef-r-{NUMBER}"}},
        {{"spdxElementId":"SPDXRef-{NUMBER}","relationshipType":"DEPENDENCY_OF","relatedSpdxElement":"SPDXRef-root"}}]}}"#,
        "5c".repeat(16) + NUMBER
    )
}

fn advisory() -> String {
    format!(
        r#"{{"schema_version":"1.7.0","id":"GHSA-1","modified":"2026-02-03T04:05:06Z","aliases":["CVE-{NUMBER}"],
        "summary":"s","severity":[{{"type":"CVSS_V3","score":"9.8"}}],"affected":[{{"package":{{"ecosystem":"npm",
        "name":"p-{NUMBER}"}},"severity":[{{"score":"9.8"}}],"ranges":[{{"type":"SEMVER","events":[
        {{"introduced":"1.{NUMBER}"}},{{"fixed":"2.{NUMBER}"}}]}}],"versions":["1.{NUMBER}"],
        "ecosystem_specific":{{"severity":"high"}}}}],"references":[{{"url":"https://x"}}]}}"#
    )
}

fn vex() -> String {
    let digest = digest();
    format!(
        r#"{{"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://x/1","author":"a","version":"3",
        "timestamp":"2026-02-03T04:05:06Z","statements":[{{"vulnerability":{{"name":"CVE-{NUMBER}","aliases":["GHSA-{NUMBER}"]}},
        "status":"not_affected","impact_statement":"i","action_statement":"a","subcomponents":["pkg:npm/s@{NUMBER}"],
        "products":["pkg:npm/p@{NUMBER}",{{"@id":"pkg:oci/p","hashes":{{"sha-256":"{digest}"}},
        "subcomponents":[{{"@id":"pkg:npm/s@{NUMBER}"}}]}}]}}]}}"#
    )
}

fn csaf() -> String {
    let digest = digest();
    format!(
        r#"{{"document":{{"csaf_version":"2.0","publisher":{{"name":"a"}},"tracking":{{"id":"1","version":"3",
        "current_release_date":"2026-02-03T04:05:06Z"}}}},"product_tree":{{"branches":[{{"category":"vendor","name":"v","branches":[
        {{"category":"product_version_range","name":"r","product":{{"name":"p","product_id":"p-{NUMBER}",
        "product_identification_helper":{{"purl":"pkg:npm/p@{NUMBER}","purls":["pkg:npm/q@{NUMBER}"],"hashes":[{{"file_hashes":[
        {{"algorithm":"sha256","value":"{digest}"}},{{"algorithm":"sha512","value":"{digest}{digest}"}}]}}]}}}}}}]}}],
        "full_product_names":[{{"name":"f","product_id":"f-{NUMBER}","product_identification_helper":{{"cpe":"c"}}}}],
        "relationships":[{{"full_product_name":{{"name":"r","product_id":"r-{NUMBER}"}},"product_reference":"p-{NUMBER}",
        "relates_to_product_reference":"f-{NUMBER}"}}],"product_paths":[{{"beginning_product_reference":"r-{NUMBER}",
        "full_product_name":{{"product_id":"s-{NUMBER}"}},"subpaths":[{{"next_product_reference":"f-{NUMBER}"}}]}}],
        "product_groups":[{{"group_id":"g-{NUMBER}","product_ids":["r-{NUMBER}","p-{NUMBER}"]}}]}},
        "vulnerabilities":[{{"cve":"CVE-{NUMBER}","ids":[{{"text":"GHSA-{NUMBER}"}}],"product_status":{{
        "known_not_affected":["r-{NUMBER}"],"known_affected":["p-{NUMBER}"],"fixed":["s-{NUMBER}"]}},
        "flags":[{{"label":"l","product_ids":["r-{NUMBER}"],"group_ids":["g-{NUMBER}"]}}],
        "threats":[{{"category":"impact","details":"i","product_ids":["r-{NUMBER}"],"group_ids":["g-{NUMBER}"]}}],
        "remediations":[{{"details":"d","product_ids":["p-{NUMBER}"],"group_ids":["g-{NUMBER}"]}}]}}]}}"#
    )
}

fn of_kind(kind: &str, predicate: &str) -> String {
    let digest = digest();
    let link = format!(r#"{{"name":"app-{NUMBER}","digest":{{"sha256":"{digest}","sha512":"{digest}{digest}"}}}}"#);
    format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","predicateType":"{kind}","subject":[{link}],"predicate":{predicate}}}"#
    )
}

fn provenance() -> String {
    let digest = digest();
    let slsa = format!(
        r#"{{"buildDefinition":{{"buildType":"https://b/1","externalParameters":{{"source":{{"uri":"git+https://g/a"}}}},
        "resolvedDependencies":[{{"uri":"pkg:docker/alpine@{NUMBER}","digest":{{"sha256":"{digest}"}}}},
        {{"uri":"git+https://g/a@{NUMBER}","digest":{{"gitCommit":"{}"}}}}]}},
        "runDetails":{{"builder":{{"id":"https://b"}},"metadata":{{"invocationId":"https://b/7"}}}}}}"#,
        "5c".repeat(20)
    );
    of_kind("https://slsa.dev/provenance/v1", &slsa)
}

/// An envelope around a statement that is not packed yet.
fn around(statement: &str) -> String {
    format!(
        r#"{{"payloadType":"application/vnd.in-toto+json","payload":{statement},"signatures":[{{"keyid":"k-{NUMBER}","sig":"s"}}]}}"#
    )
}

/// What is stated about artifacts, in envelopes and without.
fn statements() -> Vec<(&'static str, String)> {
    let tests = r#"{"result":"PASSED","url":"https://t/1","passedTests":["a"],"failedTests":["b"]}"#;
    let (provenance, bom, vex) = (provenance(), bom(), vex());
    let bundle = format!(
        r#"{{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","dsseEnvelope":{}}}"#,
        around(&provenance)
    );
    let lines = format!("[{},{}]", around(&provenance), of_kind("https://cyclonedx.org/bom", &bom));
    vec![
        ("in-toto", of_kind("https://cyclonedx.org/bom", &bom)),
        ("in-toto", of_kind("https://openvex.dev/ns", &vex)),
        ("in-toto", of_kind("https://in-toto.io/attestation/test-result/v0.1", tests)),
        ("dsse", around(&provenance)),
        ("in-toto", provenance),
        ("sigstore", bundle),
        ("jsonl", lines),
        ("cyclonedx", bom),
        ("openvex", vex),
        ("csaf", csaf()),
        ("in-toto", of_kind("https://spdx.dev/Document", &spdx())),
        ("spdx", spdx()),
        ("osv", advisory()),
    ]
}

/// Events, of our own types and of others.
fn events() -> Vec<(&'static str, String)> {
    let digest = digest();
    let scan = format!(
        r#"{{"artifactDigest":"sha256:{digest}","scanner":"s","findings":[{{"vulnerability":"CVE-{NUMBER}","aliases":["a"],
        "purl":"pkg:npm/p@{NUMBER}"}}]}}"#
    );
    let own = |kebab: &str, data: &str| {
        format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"io.pedigraph.{kebab}.v1","data":{data}}}"#)
    };
    let issued = format!(
        r#"{{"issuer":"i","documentId":"d","statements":[{{"vulnerability":"CVE-{NUMBER}","product":"pkg:npm/p@{NUMBER}",
        "productDigests":["sha256:{digest}"],"impact":"i","subcomponents":["pkg:npm/s@{NUMBER}"]}}]}}"#
    );
    let published = format!(
        r#"{{"id":"GHSA-1","aliases":["CVE-{NUMBER}"],"affected":[{{"ecosystem":"npm","name":"p","purl":"pkg:npm/p-{NUMBER}",
        "ranges":[{{"type":"SEMVER","events":[{{"introduced":"{NUMBER}"}}]}}],"versions":["{NUMBER}"]}}]}}"#
    );
    let attached = format!(
        r#"{{"artifactDigests":["sha256:{digest}"],"subjectNames":["n"],"predicateType":"p","keyIds":["k"],
        "materials":[{{"uri":"u-{NUMBER}","digest":"sha256:{digest}"}}]}}"#
    );
    let cdevent = cdevent(
        "artifact.published.0.3.0",
        &format!("pkg:oci/pay@sha256%3A{digest}?repository_url=r.example/pay&tag=1"),
        r#"{"user":"u","sbom":{"uri":"https://s/1"}}"#,
        &format!(
            r#"{{"run":"1","flags":["a"],"parentDigests":["sha256:{digest}"],"artifactDigest":"sha512:{digest}{digest}"}}"#
        ),
    );
    let unknown = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","list":["x"],"data":{"a":[1]}}"#;
    vec![
        ("pedigraph", own("scan-completed", &scan)),
        ("pedigraph", own("vex-issued", &issued)),
        ("pedigraph", own("advisory-published", &published)),
        ("pedigraph", own("attestation-attached", &attached)),
        ("cloudevents", unknown.to_owned()),
        ("cdevents", String::from_utf8(cdevent).expect("text")),
    ]
}

/// Images, and what a scanner says of one.
fn images() -> Vec<(&'static str, String)> {
    let digest = digest();
    let entry = format!(
        r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{digest}","platform":{{"os":"linux","architecture":"a{NUMBER}"}},
        "annotations":{{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":"sha256:{digest}",
        "io.containerd.image.name":"r.example/pay:t{NUMBER}","org.opencontainers.image.ref.name":"t{NUMBER}"}}}}"#
    );
    let annotations =
        r#""annotations":{"org.opencontainers.image.revision":"c","org.opencontainers.image.base.name":"alpine:3"}"#;
    let report = format!(
        r#"{{"SchemaVersion":2,"Trivy":{{"Version":"1"}},"ArtifactName":"r.example/pay","ArtifactType":"container_image",
        "Metadata":{{"ImageID":"sha256:{digest}","DiffIDs":["sha256:{digest}"],"RepoDigests":["r.example/pay@sha256:{digest}"],
        "RepoTags":["r.example/pay:t{NUMBER}"]}},"Results":[{{"Vulnerabilities":[{{"VulnerabilityID":"CVE-{NUMBER}",
        "VendorIDs":["GHSA-{NUMBER}"],"PkgName":"p","PkgIdentifier":{{"PURL":"pkg:npm/p@{NUMBER}"}},"InstalledVersion":"1"}}]}}]}}"#
    );
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"diff_ids":["sha256:{digest}"]}},
        "history":[{{"created_by":"RUN {NUMBER}"}}],"config":{{"Labels":{{"org.opencontainers.image.source":"https://g/a"}}}}}}"#
    );
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{entry}],{annotations}}}"#);
    let manifest =
        format!(r#"{{"schemaVersion":2,"config":{{"digest":"sha256:{digest}"}},"layers":[{entry}],{annotations}}}"#);
    let matched = format!(
        r#"{{"matches":[{{"vulnerability":{{"id":"GHSA-{NUMBER}","severity":"Low","fix":{{"versions":["1.{NUMBER}"],"state":"fixed"}}}},
        "relatedVulnerabilities":[{{"id":"CVE-{NUMBER}"}}],"artifact":{{"name":"p","version":"1","purl":"pkg:npm/p@{NUMBER}"}}}}],
        "source":{{"type":"image","target":{{"userInput":"p","imageID":"sha256:{digest}","manifestDigest":"sha256:{digest}",
        "tags":["r.example/pay:t{NUMBER}"],"repoDigests":["r.example/pay@sha256:{digest}"],"layers":[{{"digest":"sha256:{digest}"}}]}}}},
        "descriptor":{{"name":"grype","version":"1"}}}}"#
    );
    vec![
        ("trivy", report),
        ("grype", matched),
        ("oci-index", index),
        ("oci-manifest", manifest),
        ("oci-config", config),
    ]
}

/// A small document for each decoder; `NUMBER` stands where copies differ. Payloads of envelopes stand in them as they
/// are, and are packed when they are sent.
fn seeds() -> Vec<(&'static str, String)> {
    [statements(), events(), images()].concat()
}

/// What is sent for a document: payloads are packed, and the elements of a list are lines.
pub(super) fn sent(document: &Value) -> Vec<u8> {
    fn pack(value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let packed = members.iter().map(|(name, member)| match (name.as_str(), member) {
                    ("payload", Value::Object(_)) => (name.clone(), Value::String(base64(&member.to_string()))),
                    _ => (name.clone(), pack(member)),
                });
                Value::Object(packed.collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => value.clone(),
        }
    }
    let Some(lines) = document.as_array() else { return pack(document).to_string().into_bytes() };
    let lines = lines.iter().map(|line| pack(line).to_string());
    lines.collect::<Vec<_>>().join("\n").into_bytes()
}

/// Pointers to all lists of a document.
fn lists(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(elements) => {
            found.push(at.to_owned());
            elements.iter().enumerate().for_each(|(n, element)| lists(element, &format!("{at}/{n}"), found));
        }
        Value::Object(members) => {
            let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
            members.iter().for_each(|(name, member)| lists(member, &format!("{at}/{}", escaped(name)), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// How the elements of a list are made many.
#[derive(Clone, Copy, Debug)]
enum Fill {
    Alike,
    Numbered,
    With(&'static str),
}

fn fill(document: &mut Value, list: &str, count: usize, fill: Fill) {
    let Some(Value::Array(elements)) = document.pointer_mut(list) else { return };
    let texts: Vec<String> = elements.iter().map(Value::to_string).collect();
    *elements = (0..count)
        .map(|n| {
            let own = || texts[n % texts.len()].as_str();
            let text = match fill {
                Fill::Alike => own().to_owned(),
                Fill::Numbered => own().replace(NUMBER, &format!("{n:08x}")),
                Fill::With(text) => text.to_owned(),
            };
            serde_json::from_str(&text).expect("an element")
        })
        .collect();
}

/// Lengthens the texts beside a list that may be of any length: not those that tell what the document is.
fn lengthen(value: &mut Value, bytes: usize, at: &str, but: &str) {
    match value {
        Value::String(text) if !text.contains("://") && !text.contains("sha") && text.len() < 40 => {
            let _infallible = write!(text, "{}", "x".repeat(bytes));
        }
        Value::Object(members) => {
            for (name, member) in members.iter_mut().filter(|(name, _)| !TELLS.contains(&name.as_str())) {
                lengthen(member, bytes, &format!("{at}/{name}"), but);
            }
        }
        Value::Array(elements) if at != but => {
            elements
                .iter_mut()
                .enumerate()
                .for_each(|(n, element)| lengthen(element, bytes, &format!("{at}/{n}"), but));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {}
    }
}

const TELLS: [&str; 20] = [
    "csaf_version",
    "category",
    "bomFormat",
    "specVersion",
    "specversion",
    "type",
    "state",
    "mediaType",
    "ArtifactType",
    "status",
    "os",
    "bom-ref",
    "ref",
    "id",
    "name",
    "source",
    "SPDXID",
    "spdxElementId",
    "relatedSpdxElement",
    "relationshipType",
];

/// Decodes within the bounds on memory; what it came to does not matter.
#[track_caller]
fn bounded(what: &str, message: &Message) {
    allocates(what, message, false);
}

/// What decoding came to.
pub(super) struct Came {
    /// It is no reject.
    pub(super) is_understood: bool,
    /// Bytes allocated in all.
    total: u64,
}

/// Decodes within the bounds on memory, and takes the facts one by one.
#[track_caller]
pub(super) fn allocates(what: &str, message: &Message, in_pieces: bool) -> Came {
    let (body, limits, mut is_understood) = (bytes_of(message), Limits::default(), false);
    let memory = allocation_counter::measure(|| {
        let decoded = if in_pieces {
            decode_stream(message, &mut Cursor::new(&body), &[7; 32], &limits).expect("memory does not fail")
        } else {
            decode(message, &body, &[7; 32], &limits)
        };
        is_understood = decoded.is_ok_and(|decoded| decoded.facts.into_iter().count() > 0);
    });
    let bytes = body.len() as u64;
    let (peak, total) = (PEAK_BESIDES + PEAK_PER_BYTE * bytes, TOTAL_BESIDES + TOTAL_PER_BYTE * bytes);
    assert!(memory.bytes_max <= peak, "{what}: {} bytes of memory for {bytes} bytes", memory.bytes_max);
    assert!(memory.bytes_total <= total, "{what}: {} bytes allocated in all for {bytes} bytes", memory.bytes_total);
    Came { is_understood, total: memory.bytes_total }
}

/// The seeds as documents.
pub(super) fn documents() -> Vec<(&'static str, Value)> {
    let of = |text: &str| serde_json::from_str(text).expect("a seed is JSON");
    seeds().into_iter().map(|(format, text)| (format, of(&text))).collect()
}

#[test]
fn every_decoder_has_a_seed_that_it_reads() {
    let mut read: Vec<&str> = Vec::new();
    for (format, document) in documents() {
        let decoded = run(&message(&sent(&document)), &Limits::default());
        assert_eq!(decoded.as_ref().map(|decoded| decoded.format).ok(), Some(format), "{}", show(&decoded));
        read.push(format);
    }
    let unread: Vec<&str> = decode::formats().filter(|format| !read.contains(format)).collect();
    assert!(unread.is_empty(), "write a seed for {unread:?}");
}

#[test]
fn memory_of_every_decoder_is_bounded_by_the_bytes_that_came() {
    const FILLS: [Fill; 4] = [Fill::Alike, Fill::Numbered, Fill::With("{}"), Fill::With("\"a\"")];
    for (format, seed) in documents() {
        let mut found = Vec::new();
        lists(&seed, "", &mut found);
        for list in &found {
            for how in FILLS {
                let mut document = seed.clone();
                // The smallest elements are many, so that what they take besides does not count.
                let count = if matches!(how, Fill::With(_)) { 40_000 } else { 4_000 };
                fill(&mut document, list, count, how);
                bounded(&format!("{format}, {list} {how:?}"), &message(&sent(&document)));
            }
            for length in [900, 60_000] {
                let mut document = seed.clone();
                fill(&mut document, list, 2_000, Fill::Numbered);
                lengthen(&mut document, length, "", list);
                bounded(&format!("{format}, {list} beside texts of {length}"), &message(&sent(&document)));
            }
        }
        let mut document = seed.clone();
        found.sort_by_key(|list| std::cmp::Reverse(list.len()));
        found.iter().for_each(|list| fill(&mut document, list, 12, Fill::Numbered));
        bounded(&format!("{format}, all lists"), &message(&sent(&document)));
    }
}

#[test]
fn a_list_within_a_list_is_bounded_too() {
    for (format, seed) in documents() {
        let mut found = Vec::new();
        lists(&seed, "", &mut found);
        for (outer, inner) in found.iter().flat_map(|a| found.iter().map(move |b| (a, b))) {
            if outer == inner || outer.starts_with(inner.as_str()) {
                continue;
            }
            let mut document = seed.clone();
            fill(&mut document, inner, 150, Fill::Numbered);
            fill(&mut document, outer, 150, Fill::Alike);
            bounded(&format!("{format}, {outer} of {inner}"), &message(&sent(&document)));
        }
    }
}

#[test]
fn events_of_our_own_in_protobuf_are_bounded() {
    let headers = |kebab: &str| {
        let kind = format!("io.pedigraph.{kebab}.v1");
        let pairs = [
            ("ce_specversion", "1.0"),
            ("ce_id", "1"),
            ("ce_source", "s"),
            ("ce_type", kind.as_str()),
            ("content-type", "application/protobuf"),
        ];
        with_headers(b"", &pairs).headers
    };
    for kebab in Event::KEBAB_NAMES {
        for field in 1..20_u8 {
            // Empty items, and texts of one byte.
            for item in [&[field << 3 | 2, 0][..], &[field << 3 | 2, 1, b'a']].iter().filter(|_| field < 16) {
                let body = item.repeat(60_000);
                bounded(&format!("{kebab}, field {field}"), &Message { headers: headers(kebab), ..message(&body) });
            }
        }
    }
}

/// CPU time of this thread, which other load on the machine changes least.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanoseconds.unwrap_or_default())
}

fn time_of(message: &Message) -> Duration {
    let (body, begun) = (bytes_of(message), cpu_time());
    let _ = decode(message, &body, &[7; 32], &Limits::default()).map(|decoded| decoded.facts.into_iter().count());
    cpu_time() - begun
}

/// Four times as much of each list takes about four times as long; what is quadratic takes sixteen times.
#[test]
fn time_of_every_decoder_grows_as_the_document_does() {
    for (format, seed) in documents() {
        let mut found = Vec::new();
        lists(&seed, "", &mut found);
        for list in &found {
            let times = [1_500, 3_000, 6_000].map(|count| {
                let mut document = seed.clone();
                fill(&mut document, list, count, Fill::Numbered);
                let message = message(&sent(&document));
                // The least of several runs is the one that nothing disturbed.
                (0..2).map(|_| time_of(&message)).min().unwrap_or_default()
            });
            let most = times[0].max(TIME_MIN) * TIME_RATIO_MAX;
            assert!(times[2] <= most, "{format}, {list}: {times:?} for 1, 2 and 4 times as many");
        }
    }
}

/// As with time: what is allocated in all, of a list with longer texts beside it, and of the smallest elements.
#[test]
fn what_every_decoder_allocates_grows_as_the_document_does() {
    for (format, seed) in documents() {
        let mut found = Vec::new();
        lists(&seed, "", &mut found);
        for (list, how) in found.iter().flat_map(|list| [(list, Fill::Numbered), (list, Fill::With("{}"))]) {
            let what = format!("{format}, {list} {how:?}");
            let totals = [1, 2, 4].map(|times| {
                let mut document = seed.clone();
                match how {
                    // What is said of each element again grows with both.
                    Fill::Numbered => lengthen(&mut document, 15_000 * times, "", list),
                    Fill::Alike | Fill::With(_) => {}
                }
                let count = if matches!(how, Fill::With(_)) { 40_000 } else { 500 };
                fill(&mut document, list, count * times, how);
                allocates(&what, &message(&sent(&document)), false).total
            });
            let most = totals[0].max(TOTAL_MIN) * TOTAL_RATIO_MAX;
            assert!(totals[2] <= most, "{what}: {totals:?} bytes for 1, 2 and 4 times as many");
        }
    }
}

/// Products of one statement that all have the statement's own subcomponents were quadratic.
#[test]
fn what_stands_once_for_many_is_read_once() {
    let of = |count: usize| {
        let list = |what: &str| (0..count).map(|n| format!("\"pkg:npm/{what}{n}@1\"")).collect::<Vec<_>>().join(",");
        let vex = format!(
            r#"{{"@context":"https://openvex.dev/ns","statements":[{{"status":"fixed","products":[{}],"subcomponents":[{}]}}]}}"#,
            list("p"),
            list("s")
        );
        message(vex.as_bytes())
    };
    let (small, large) = (time_of(&of(2_000)), time_of(&of(8_000)));
    assert!(large <= small.max(TIME_MIN) * TIME_RATIO_MAX, "{small:?} and {large:?}");
    bounded("products of many parts", &of(4_000));
}

#[test]
fn the_elements_of_a_batch_do_not_copy_its_headers() {
    let names: Vec<String> = (0..200).map(|n| format!("x-{n}-{}", "h".repeat(300))).collect();
    let mut headers: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    headers.extend([("content-type", "application/x-ndjson"), ("pedigraph-subject", DIGEST), ("traceparent", "t")]);
    let lines = "{}\n".repeat(10_000);
    let batch = with_headers(lines.as_bytes(), &headers);
    let mut elements = Vec::new();
    let memory = allocation_counter::measure(|| {
        elements = split(&batch, &Limits::default()).expect("a batch").expect("well-formed");
    });
    assert_eq!(elements.len(), 10_000);
    let kept: Vec<&str> = elements[9_999].headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(kept, ["traceparent", "pedigraph-subject"]);
    assert!(memory.bytes_max < 16 << 20, "{} bytes for {} bytes", memory.bytes_max, lines.len());
}

/// The text of a name in an event, and what is said of it when it is too long.
#[test]
fn names_have_lengths_and_are_refused_with_both_numbers_or_taken_whole() {
    let own = |kebab: &str, data: String| binary(&format!("io.pedigraph.{kebab}.v1"), &[], data.as_bytes());
    let deployed = |field: &str, bytes: usize| {
        let mut data = serde_json::json!({"service": "s", "environment": "e"});
        data[field] = "n".repeat(bytes).into();
        own("service-deployed", data.to_string())
    };
    let check = |message: &Message, refused: Option<(&str, usize, usize)>| {
        let outcome = run(message, &Limits::default());
        match (outcome, refused) {
            (Ok(_), None) => {}
            (Err(rejected), Some((field, bytes, most))) => {
                assert_eq!(rejected.reject.code, Code::TooLarge);
                let said = format!("{field} has {bytes} bytes, at most {most} are taken");
                assert!(rejected.reject.reason.starts_with(&said), "{}", rejected.reject.reason);
            }
            (outcome, refused) => panic!("{refused:?}: {}", show(&outcome)),
        }
    };
    for field in ["environment", "service", "run", "cluster", "namespace", "region", "actor", "canaryGroup"] {
        check(&deployed(field, 1_024), None);
        check(&deployed(field, 1_025), Some((&format!("{field} of ServiceDeployed"), 1_025, 1_024)));
    }
    check(&deployed("runSource", 2_048), None);
    check(&deployed("runSource", 2_049), Some(("runSource of ServiceDeployed", 2_049, 2_048)));
    check(&deployed("url", 4_096), None);
    check(&deployed("url", 700_000), Some(("url of ServiceDeployed", 700_000, 4_096)));
    let frozen = own("freeze-changed", format!(r#"{{"environment":"{}","frozen":true}}"#, "é".repeat(450_000)));
    check(&frozen, Some(("environment of FreezeChanged", 900_000, 1_024)));
    let flag = own("flag-changed", format!(r#"{{"flag":"{}"}}"#, "f".repeat(1_030)));
    check(&flag, Some(("flag of FlagChanged", 1_030, 1_024)));
    let finding =
        format!(r#"{{"artifactDigest":"{DIGEST}","findings":[{{}},{{"packageName":"{}"}}]}}"#, "p".repeat(3_000));
    check(&own("scan-completed", finding), Some(("packageName of Finding", 3_000, 1_024)));
    let event = |environment: usize| {
        let content = format!(r#"{{"environment":{{"id":"{}"}}}}"#, "e".repeat(environment));
        message(&cdevent("service.removed.0.3.0", "cart", &content, "{}"))
    };
    check(&event(1_024), None);
    check(&event(70_000), Some(("environment of ServiceRemoved", 70_000, 1_024)));
    let labelled = format!(
        r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"org.opencontainers.image.revision":"{}"}}}}"#,
        "r".repeat(5_000)
    );
    check(&message(labelled.as_bytes()), Some(("commit of ImageObserved", 5_000, 1_024)));
    let provenance = statement(
        "v1",
        "https://slsa.dev/provenance/v1",
        &format!(r#"{{"runDetails":{{"builder":{{"id":"{}"}}}}}}"#, "b".repeat(2_100)),
    );
    check(&message(provenance.as_bytes()), Some(("builder of AttestationAttached", 2_100, 2_048)));
}

#[test]
fn what_people_read_is_cut_where_names_are_refused() {
    let data = format!(r#"{{"service":"s","environment":"e","reason":"{}"}}"#, "ü".repeat(3_000));
    let decoded = run(&binary("io.pedigraph.service-removed.v1", &[], data.as_bytes()), &Limits::default());
    let event = decoded.expect("accepted").facts.remove(0).event;
    let Some(Event::ServiceRemoved(removed)) = event else { panic!("{event:?}") };
    assert_eq!(removed.reason, "ü".repeat(2_048));
}

/// An SBOM as the predicate of a statement is said of each of its subjects, with its tool and its names.
#[test]
fn an_sbom_of_many_subjects_is_refused_with_what_to_do() {
    let subjects =
        |count: usize| (0..count).map(|n| format!(r#"{{"digest":{{"sha256":"{n:064x}"}}}}"#)).collect::<Vec<_>>();
    let of = |count: usize, tool: usize| {
        let bom = format!(
            r#"{{"bomFormat":"CycloneDX","specVersion":"1.6","serialNumber":"{0}{0}","metadata":{{"tools":[{{"name":"{0}"}}],
            "component":{{"name":"{0}","version":"{0}"}}}},"components":[{{"name":"c"}}]}}"#,
            "t".repeat(tool)
        );
        let statement = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://cyclonedx.org/bom","subject":[{}],"predicate":{bom}}}"#,
            subjects(count).join(",")
        );
        message(statement.as_bytes())
    };
    let refused = |message: &Message| run(message, &Limits::default()).expect_err("too large").reject;
    assert_eq!(run(&of(6_000, 10), &Limits::default()).expect("accepted").facts.len(), 6_000 + 24 + 1);
    let long = refused(&of(6_000, 100_000));
    assert!(long.reason.starts_with("tool of SbomAttached has 100000 bytes"), "{}", long.reason);
    let many = refused(&of(8_000, 1_000));
    assert_eq!(many.code, Code::TooLarge);
    assert!(many.reason.contains("send one document for each"), "{}", many.reason);
    bounded("an SBOM of many subjects", &of(8_000, 1_000));
}

/// Real documents stay far below the bounds, so that no product is refused for being large.
#[test]
fn real_documents_take_a_part_of_what_they_may() {
    let Some(root) = corpora() else { return };
    let mut most = (0, PathBuf::new());
    for folder in
        ["cdevents/conformance", "cyclonedx", "openvex", "csaf", "trustify/ds3/csaf", "slsa", "trivy", "grype"]
    {
        for path in files(&root.join(folder)) {
            let bytes = std::fs::read(&path).expect("a corpus can be read");
            let message = message(&bytes);
            let body = bytes_of(&message);
            let memory = allocation_counter::measure(|| {
                let _ = decode(&message, &body, &[7; 32], &Limits::default());
            });
            assert!(memory.bytes_max < (1 << 20) + 16 * bytes.len() as u64, "{}: {memory:?}", path.display());
            most = most.max((memory.bytes_max / bytes.len().max(4_096) as u64, path));
        }
    }
    println!("at most {} bytes for each byte: {}", most.0, most.1.display());
}
