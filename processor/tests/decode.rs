//! Decoding as its callers see it: bytes and headers in, facts or a reject out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use expect_test::{Expect, expect};
use pedigraph_processor::decode::{self, Rejected, Unpacked, decode, decode_stream, split, unpack};
use pedigraph_processor::limits::Limits;
use pedigraph_proto::canonical::{component_set, sha256};
use pedigraph_proto::message::{Body, Code, Message};
use pedigraph_proto::protobuf::Message as _;
use pedigraph_proto::wire::{Fact, Origin};
use pedigraph_proto::{Event, TenantId};
use proptest::prelude::*;

#[path = "decode/advisories.rs"]
mod advisories;
#[path = "decode/bounds.rs"]
mod bounds;
#[path = "decode/hostile.rs"]
mod hostile;
#[path = "decode/spdx.rs"]
mod spdx;
#[path = "decode/stated.rs"]
mod stated;
#[path = "decode/vex.rs"]
mod vex;

const DIGEST: &str = "sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427";
const OTHER: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn message(body: &[u8]) -> Message {
    Message {
        tenant: TenantId::default(),
        origin: Origin::default(),
        source: "test".into(),
        headers: vec![],
        body: Body::Bytes(Bytes::copy_from_slice(body)),
        subject: None,
        format: None,
        broker_time: None,
        replay_of: None,
    }
}

fn with_headers(body: &[u8], headers: &[(&str, &str)]) -> Message {
    let headers = headers.iter().map(|(name, value)| ((*name).into(), Some(Bytes::copy_from_slice(value.as_bytes()))));
    Message { headers: headers.collect(), ..message(body) }
}

fn bytes_of(message: &Message) -> Bytes {
    match &message.body {
        Body::Bytes(bytes) => bytes.clone(),
        Body::Null => Bytes::new(),
        Body::File { .. } => panic!("no test spools through the message"),
    }
}

/// What was decoded, with all of its facts.
#[derive(Debug)]
struct Decoded {
    facts: Vec<Fact>,
    rest: decode::Decoded,
}

impl Decoded {
    fn of(mut decoded: decode::Decoded) -> Decoded {
        let count = decoded.facts.count();
        let facts: Vec<Fact> = std::mem::take(&mut decoded.facts).into_iter().collect();
        assert_eq!(facts.len(), count);
        Decoded { facts, rest: decoded }
    }
}

impl std::ops::Deref for Decoded {
    type Target = decode::Decoded;
    fn deref(&self) -> &decode::Decoded {
        &self.rest
    }
}

/// Unpacks and decodes as a worker does: in memory what fits, from a file what does not.
fn run(message: &Message, limits: &Limits) -> Result<Decoded, Box<Rejected>> {
    let body = bytes_of(message);
    let result = match unpack(message, &mut Cursor::new(&body), limits, tempfile::tempfile).expect("the disk works") {
        Ok(Unpacked::Plain) => decode(message, &body, &sha256(&body), limits),
        Ok(Unpacked::Whole(bytes)) => decode(message, &bytes, &sha256(&bytes), limits),
        Ok(Unpacked::Large(mut file)) => decode_stream(message, &mut file, &[7; 32], limits).expect("the disk works"),
        Err(reject) => {
            let (source, id) = ("document".to_owned(), "sha256:".to_owned());
            Err(Box::new(Rejected { reject, source, id, hashed_attributes: vec![], format: "", signed_secrets: 0 }))
        }
    };
    let result = result.map(Decoded::of);
    if let Ok(decoded) = &result {
        check_bounds(&decoded.facts);
    }
    result
}

fn run_stream(message: &Message, body: &[u8], limits: &Limits) -> Result<Decoded, Box<Rejected>> {
    decode_stream(message, &mut Cursor::new(body), &sha256(body), limits)
        .expect("memory does not fail")
        .map(Decoded::of)
}

/// What holds for the facts of every message.
fn check_bounds(facts: &[Fact]) {
    assert!(!facts.is_empty(), "a message has a fact");
    let mut named = None;
    for fact in facts {
        assert!(fact.encoded_len() < 1 << 20, "a fact of {} bytes", fact.encoded_len());
        let event = fact.event.as_ref().expect("a fact has an event");
        if let Event::SbomAttached(sbom) = event {
            named = Some(sbom.component_set.clone());
        }
        if let Event::ComponentsListed(listed) = event {
            assert_eq!(Some(&listed.component_set), named.as_ref(), "a set follows the fact that names it");
            assert!(listed.components.len() <= 512);
        }
        if let Event::ScanCompleted(scan) = event {
            assert!(scan.findings.len() <= 512);
        }
        if let Event::VexIssued(vex) = event {
            assert!(vex.statements.len() <= 512);
        }
        if let Event::AdvisoryPublished(advisory) = event {
            assert!(advisory.affected.len() <= 512);
        }
        if let Event::AttestationAttached(statement) = event {
            assert!(statement.artifact_digests.len() + statement.materials.len() <= 512);
        }
    }
}

/// Facts as lines of JSON without what is empty.
fn show(result: &Result<Decoded, Box<Rejected>>) -> String {
    let mut out = String::new();
    match result {
        Ok(decoded) => {
            let time = decoded.time.map(|(time, source)| format!(" {time} {source:?}")).unwrap_or_default();
            writeln!(out, "{} {} {}{time}", decoded.format, decoded.source, decoded.id).expect("a string grows");
            for fact in &decoded.facts {
                let event = fact.event.as_ref().expect("a fact has an event");
                let json = pruned(event.to_json().expect("facts serialize")).unwrap_or_default();
                writeln!(out, "{} {json}", event.name()).expect("a string grows");
            }
        }
        Err(rejected) => {
            let code = rejected.reject.code.as_str();
            writeln!(out, "{code} {} {} {}", rejected.format, rejected.source, rejected.reject.reason)
                .expect("a string grows");
        }
    }
    out
}

fn pruned(value: serde_json::Value) -> Option<serde_json::Value> {
    use serde_json::Value;
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter_map(|(name, value)| Some((name, pruned(value)?)));
            Some(Value::Object(kept.collect())).filter(|object| object.as_object().is_some_and(|o| !o.is_empty()))
        }
        Value::Array(list) if list.is_empty() => None,
        Value::Array(list) => Some(Value::Array(list.into_iter().filter_map(pruned).collect())),
        Value::String(text) if text.is_empty() => None,
        Value::Bool(false) | Value::Null => None,
        Value::Number(number) if number.as_u64() == Some(0) => None,
        other @ (Value::Bool(_) | Value::Number(_) | Value::String(_)) => Some(other),
    }
}

fn check(message: &Message, want: Expect) {
    want.assert_eq(&show(&run(message, &Limits::default())));
}

#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn corpora() -> Option<PathBuf> {
    let root = std::env::var_os("PEDIGRAPH_CORPORA").map(PathBuf::from);
    let root = root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora"));
    if root.is_dir() {
        return Some(root);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "no corpora at {}: set PEDIGRAPH_CORPORA", root.display());
    println!("skipped: no corpora at {}", root.display());
    None
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a corpus can be listed") {
            let path = entry.expect("a corpus can be listed").path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

#[test]
fn every_corpus_document_is_accepted_or_rejected_with_the_right_code() {
    let Some(root) = corpora() else { return };
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for folder in
        ["cdevents/conformance", "cyclonedx", "csaf", "github", "grype", "openvex", "osv", "slsa", "trivy", "trustify"]
    {
        for path in files(&root.join(folder)) {
            let bytes = std::fs::read(&path).expect("a corpus can be read");
            let result = run(&message(&bytes), &Limits::default());
            let word = match &result {
                Ok(decoded) => format!("accepted as {}", decoded.format),
                Err(rejected) => rejected.reject.code.as_str().to_owned(),
            };
            if std::env::var_os("SHOW").is_some() {
                println!("{word} {} {}", path.display(), show(&result).chars().take(600).collect::<String>());
            }
            *counts.entry(format!("{folder}: {word}")).or_default() += 1;
        }
    }
    let table: String = counts.iter().map(|(what, count)| format!("{what}: {count}\n")).collect();
    println!("{table}");
    expect![[r#"
        cdevents/conformance: accepted as cdevents: 45
        csaf: UNSUPPORTED_FORMAT: 8
        csaf: accepted as csaf: 19
        cyclonedx: accepted as cyclonedx: 118
        github: UNSUPPORTED_FORMAT: 137
        grype: MALFORMED_JSON: 2
        grype: SUBJECT_MISSING: 2
        grype: accepted as grype: 1
        openvex: accepted as openvex: 9
        osv: accepted as osv: 696
        slsa: DIGEST_INVALID: 1
        slsa: accepted as dsse: 59
        slsa: accepted as sigstore: 4
        trivy: SUBJECT_MISSING: 5
        trivy: accepted as cyclonedx: 1
        trivy: accepted as trivy: 9
        trustify: UNSUPPORTED_FORMAT: 33
        trustify: accepted as csaf: 30
        trustify: accepted as osv: 2
        trustify: accepted as spdx: 6
    "#]]
    .assert_eq(&table);
}

/// A CDEvent with a type, a subject id, content and custom data.
fn cdevent(kind: &str, subject: &str, content: &str, custom: &str) -> Vec<u8> {
    format!(
        r#"{{"context":{{"specversion":"0.5.1","id":"e1","source":"/ci","type":"dev.cdevents.{kind}",
        "timestamp":"2026-03-20T14:27:05Z"}},"subject":{{"id":"{subject}","content":{content}}},"customData":{custom}}}"#
    )
    .into_bytes()
}

#[test]
fn a_bare_cdevent_has_its_own_name_and_time() {
    let custom = r#"{"cluster":"eu-1","namespace":"shop","strategy":"blue-green","weight":10,"actor":"bot",
        "flags":["a=1","b"],"configDigest":"SHA256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427",
        "region":7,"unknown":{"x":[]}}"#;
    let content = format!(r#"{{"environment":{{"id":"prod"}},"artifactId":"pkg:oci/cart@{DIGEST}?tag=1.4.2"}}"#);
    check(
        &message(&cdevent("service.deployed.0.3.0", "cart", &content, custom)),
        expect![[r#"
            cdevents /ci e1 2026-03-20T14:27:05Z Producer
            ServiceDeployed {"actor":"bot","artifactDigest":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","artifactRef":"cart:1.4.2","cluster":"eu-1","configDigest":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","environment":"prod","flags":["a=1","b"],"namespace":"shop","service":"cart","strategy":"blue_green","weight":10}
        "#]],
    );
    let content = content.replace("pkg:oci/cart@", "ghcr.io/acme/cart@").replace("?tag=1.4.2", "");
    check(
        &message(&cdevent("service.rolledback.0.2.0", "cart", &content, "\"aGk=\"")),
        expect![[r#"
        cdevents /ci e1 2026-03-20T14:27:05Z Producer
        ServiceDeployed {"artifactDigest":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","artifactRef":"ghcr.io/acme/cart@sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","environment":"prod","rollback":true,"service":"cart"}
    "#]],
    );
    check(
        &message(&cdevent("service.removed.0.3.0", "cart", r#"{"environment":{"id":"prod"}}"#, "null")),
        expect![[r#"
        cdevents /ci e1 2026-03-20T14:27:05Z Producer
        ServiceRemoved {"environment":"prod","service":"cart"}
    "#]],
    );
}

#[test]
fn artifacts_of_cdevents_are_named_by_purl_reference_or_digest() {
    let change = r#"{"change":{"id":"6ce7a1fc92c21dc99e00682e1cba39597f35dd54","source":"https://git.example/a/b"},
        "sbom":{"uri":"https://sbom.example/1"}}"#;
    let custom = format!(r#"{{"parentDigests":["{OTHER}"],"platform":"linux/amd64","run":"r1","kind":"model"}}"#);
    let purl = format!("pkg:oci/cart@sha256%3A{}?repository_url=ghcr.io/acme/cart&tag=v1", &DIGEST[7..]);
    check(
        &message(&cdevent("artifact.packaged.0.3.0", &purl, change, &custom)),
        expect![[r#"
            cdevents /ci e1 2026-03-20T14:27:05Z Producer
            ArtifactPackaged {"artifactDigest":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","artifactRef":"ghcr.io/acme/cart:v1","changeId":"6ce7a1fc92c21dc99e00682e1cba39597f35dd54","commit":"6ce7a1fc92c21dc99e00682e1cba39597f35dd54","kind":"model","parentDigests":["sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"],"platform":"linux/amd64","purl":"pkg:oci/cart@sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427?repository_url=ghcr.io%2Facme%2Fcart&tag=v1","repository":"https://git.example/a/b","run":"r1","runSource":"/ci","sbomUri":"https://sbom.example/1"}
        "#]],
    );
    check(
        &message(&cdevent("artifact.published.0.3.0", &purl, r#"{"user":"bot"}"#, "{}")),
        expect![[r#"
        cdevents /ci e1 2026-03-20T14:27:05Z Producer
        ArtifactPublished {"actor":"bot","artifactDigest":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","artifactRef":"ghcr.io/acme/cart:v1","kind":"container_image","purl":"pkg:oci/cart@sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427?repository_url=ghcr.io%2Facme%2Fcart&tag=v1"}
        TagObserved {"digest":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","repository":"ghcr.io/acme/cart","tag":"v1"}
    "#]],
    );
    check(
        &message(&cdevent("artifact.signed.0.3.0", DIGEST, r#"{"signature":"MEY"}"#, "[]")),
        expect![[r#"
        cdevents /ci e1 2026-03-20T14:27:05Z Producer
        ArtifactSigned {"artifactDigest":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","artifactRef":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","signature":"MEY"}
    "#]],
    );
    check(
        &message(&cdevent("artifact.deleted.0.1.0", "pkg:npm/left-pad@1.3.0", "{}", "{}")),
        expect![[r#"
        cdevents /ci e1 2026-03-20T14:27:05Z Producer
        ArtifactDeleted {"artifactRef":"pkg:npm/left-pad@1.3.0"}
    "#]],
    );
    check(
        &message(&cdevent("artifact.downloaded.0.2.0", "no digest at all", "{}", "{}")),
        expect![[r#"
        cdevents /ci e1 2026-03-20T14:27:05Z Producer
        ArtifactDownloaded {"artifactRef":"no digest at all"}
    "#]],
    );
}

#[test]
fn a_generic_package_is_the_artifact_of_its_checksum() {
    let id = format!("pkg:generic/cart@1.0?checksum={DIGEST}");
    let subjects = |message: &Message| -> Vec<String> {
        let decoded = run(message, &Limits::default()).expect("accepted");
        let event = decoded.facts.first().and_then(|fact| fact.event.clone()).expect("an event");
        if let Event::VexIssued(vex) = &event {
            return vex.statements[0].product_digests.clone();
        }
        event.subject_digests().into_iter().map(str::to_owned).collect()
    };
    assert_eq!(subjects(&message(&cdevent("artifact.packaged.0.3.0", &id, "{}", "{}"))), [DIGEST]);
    let vex = format!(
        r#"{{"@context":"https://openvex.dev/ns/v0.2.0","author":"a","statements":[{{"vulnerability":{{"name":"CVE-2026-1"}},
        "status":"fixed","products":[{{"@id":"{id}"}}]}}]}}"#
    );
    assert_eq!(subjects(&message(vex.as_bytes())), [DIGEST]);
}

#[test]
fn a_cdevent_of_an_image_without_a_digest_is_of_what_stands_beside_it_or_refused() {
    for id in
        ["pkg:oci/cart?repository_url=ghcr.io/acme/cart&tag=v1", "pkg:docker/acme/cart@v1", "ghcr.io/acme/cart:v1"]
    {
        for kind in ["packaged", "published", "signed", "deleted", "downloaded"] {
            let event = |custom: &str| cdevent(&format!("artifact.{kind}.0.3.0"), id, "{}", custom);
            let refused = run(&message(&event("{}")), &Limits::default()).expect_err("nothing would find it");
            assert_eq!(refused.reject.code, Code::SubjectMissing, "{kind} {id}");
            let of = |message: &Message| {
                let decoded = run(message, &Limits::default()).expect("accepted");
                let event = decoded.facts.first().and_then(|fact| fact.event.clone()).expect("an event");
                event.subject_digests().into_iter().map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(of(&message(&event(&format!(r#"{{"artifactDigest":"{DIGEST}"}}"#)))), [DIGEST], "{kind} {id}");
            let beside = Message { subject: Some(DIGEST.to_owned()), ..message(&event("{}")) };
            assert_eq!(of(&beside), [DIGEST], "{kind} {id}");
        }
    }
}

#[test]
fn work_sources_and_tests_of_cdevents_are_read_in_old_and_new_words() {
    let run = r#"{"pipelineName":"main","url":"https://ci.example/1","outcome":"failure","errors":"no"}"#;
    check(
        &message(&cdevent("pipelinerun.finished.0.2.0", "r1", run, "{}")),
        expect![[r#"
            cdevents /ci e1 2026-03-20T14:27:05Z Producer
            RunFinished {"errors":"no","outcome":"failure","pipeline":"main","run":"r1","runSource":"/ci","url":"https://ci.example/1"}
        "#]],
    );
    let built = format!(r#"{{"artifactId":"ghcr.io/acme/cart@{DIGEST}"}}"#);
    check(
        &message(&cdevent("build.finished.0.3.0", "b1", &built, r#"{"commit":"abc"}"#)),
        expect![[r#"
            cdevents /ci e1 2026-03-20T14:27:05Z Producer
            RunFinished {"artifactDigests":["sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427"],"commit":"abc","run":"b1","runSource":"/ci"}
        "#]],
    );
    check(
        &message(&cdevent("build.queued.0.3.0", "b1", "{}", "{}")),
        expect![[r#"
            cdevents /ci e1 2026-03-20T14:27:05Z Producer
            RunStarted {"queued":true,"run":"b1","runSource":"/ci"}
        "#]],
    );
    let task = r#"{"taskName":"lint","pipelineRun":{"id":"r1"},"outcome":"Succeeded"}"#;
    check(
        &message(&cdevent("taskrun.finished.0.2.0", "t1", task, "{}")),
        expect![[r#"
            cdevents /ci e1 2026-03-20T14:27:05Z Producer
            StepFinished {"name":"lint","outcome":"success","run":"r1","runSource":"/ci","step":"t1"}
        "#]],
    );
    let test = r#"{"outcome":"fail","reason":"x","environment":{"id":"dev"},"testSuite":{"id":"1","name":"Auth"}}"#;
    check(
        &message(&cdevent("testsuite.finished.0.1.0", "s1", test, "{}")),
        expect![[r#"
            cdevents /ci e1 2026-03-20T14:27:05Z Producer
            TestsFinished {"environment":"dev","outcome":"failure","reason":"x","run":"s1","runSource":"/ci","suite":"Auth"}
        "#]],
    );
    let skipped = r#"{"testSuiteRun":{"id":"s1"},"testCase":{"id":"c","name":"Login"}}"#;
    check(
        &message(&cdevent("testcaserun.skipped.0.2.0", "c1", skipped, "{}")),
        expect![[r#"
            cdevents /ci e1 2026-03-20T14:27:05Z Producer
            TestsFinished {"outcome":"skipped","run":"s1","runSource":"/ci","suite":"Login"}
        "#]],
    );
    let branch = r#"{"repository":{"id":"acme/cart","source":"https://git.example/"}}"#;
    check(
        &message(&cdevent("branch.deleted.0.3.0", "feature", branch, "{}")),
        expect![[r#"
        cdevents /ci e1 2026-03-20T14:27:05Z Producer
        RefUpdated {"deleted":true,"ref":"feature","repository":"https://git.example/acme/cart"}
    "#]],
    );
    check(
        &message(&cdevent("change.merged.0.3.0", "42", branch, "{}")),
        expect![[r#"
        cdevents /ci e1 2026-03-20T14:27:05Z Producer
        ChangeMerged {"changeId":"42","repository":"https://git.example/acme/cart"}
    "#]],
    );
    let repository = r#"{"name":"cart","owner":"acme","uri":"https://git.example/acme/cart"}"#;
    check(
        &message(&cdevent("repository.created.0.3.0", "cart", repository, "{}")),
        expect![[r#"
        cdevents /ci e1 2026-03-20T14:27:05Z Producer
        RepositoryObserved {"name":"cart","owner":"acme","repository":"https://git.example/acme/cart","url":"https://git.example/acme/cart"}
    "#]],
    );
    check(
        &message(&cdevent("environment.modified.0.3.0", "prod", r#"{"name":"Production"}"#, "{}")),
        expect![[r#"
        cdevents /ci e1 2026-03-20T14:27:05Z Producer
        EnvironmentChanged {"environment":"prod","name":"Production"}
    "#]],
    );
    check(
        &message(&cdevent("incident.detected.0.3.0", "i", "{}", "{}")),
        expect![[r#"
        cdevents /ci e1 2026-03-20T14:27:05Z Producer
        OpaqueReceived {"eventType":"dev.cdevents.incident.detected.0.3.0","mediaType":"application/json"}
    "#]],
    );
    check(
        &message(&cdevent("service.deployed.1.0.0", "i", "{}", "{}")),
        expect![[r#"
        cdevents /ci e1 2026-03-20T14:27:05Z Producer
        OpaqueReceived {"eventType":"dev.cdevents.service.deployed.1.0.0","mediaType":"application/json"}
    "#]],
    );
}

const BINARY: [(&str, &str); 5] = [
    ("ce_specversion", "1.0"),
    ("ce_id", "1"),
    ("ce_source", "/ci"),
    ("ce_time", "2026-03-20T14:27:05Z"),
    ("content-type", "application/json"),
];

fn binary(kind: &str, more: &[(&str, &str)], body: &[u8]) -> Message {
    let headers = [&BINARY[..], &[("ce_type", kind)], more].concat();
    with_headers(body, &headers)
}

#[test]
fn an_event_means_the_same_in_every_mode() {
    let data = r#"{"service":"cart","environment":"prod","artifactRef":"ghcr.io/acme/cart:1","strategy":"canary"}"#;
    let kind = "io.pedigraph.service-deployed.v1";
    let binary = binary(kind, &[("ce_subject", "cart")], data.as_bytes());
    check(
        &binary,
        expect![[r#"
        pedigraph /ci 1 2026-03-20T14:27:05Z Producer
        ServiceDeployed {"artifactRef":"ghcr.io/acme/cart:1","environment":"prod","service":"cart","strategy":"canary"}
    "#]],
    );
    let decoded = run(&binary, &Limits::default()).expect("accepted");
    expect![[r#"
        [
            (
                "id",
                "1",
            ),
            (
                "source",
                "/ci",
            ),
            (
                "subject",
                "cart",
            ),
            (
                "time",
                "2026-03-20T14:27:05Z",
            ),
            (
                "type",
                "io.pedigraph.service-deployed.v1",
            ),
        ]
    "#]]
    .assert_debug_eq(&decoded.hashed_attributes);

    let structured = format!(
        r#"{{"specversion":"1.0","id":"1","source":"/ci","type":"{kind}","time":"2026-03-20T14:27:05Z","data":{data}}}"#
    );
    let same = |message: &Message| {
        let result = run(message, &Limits::default()).expect("accepted");
        assert_eq!((&result.facts, &result.source, &result.id), (&decoded.facts, &decoded.source, &decoded.id));
        assert_eq!(result.time, decoded.time);
    };
    same(&message(structured.as_bytes()));
    same(&message(format!("\u{feff} {structured}\n").as_bytes()));
    same(&with_headers(structured.as_bytes(), &[("content-type", "Application/CloudEvents+JSON; charset=utf-8")]));
    same(&with_headers(structured.as_bytes(), &[("ce_id", "1"), ("ce_source", "/ci"), ("ce_type", kind)]));
    let base64 = structured.replace(&format!("\"data\":{data}"), &format!("\"data_base64\":\"{}\"", base64(data)));
    same(&message(base64.as_bytes()));
    let quoted = serde_json::to_string(data).expect("a string is JSON");
    same(&message(structured.replace(&format!("\"data\":{data}"), &format!("\"data\":{quoted}")).as_bytes()));
    same(&message(&[b"\0\0\0\0\x07", structured.as_bytes()].concat()));

    let event = decoded.facts[0].event.clone().expect("a fact has an event");
    let Event::ServiceDeployed(deployed) = event else { panic!("{event:?}") };
    let headers = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "%2Fci"), ("ce-type", kind)];
    let headers =
        [&headers[..], &[("ce-time", "2026-03-20T14:27:05Z"), ("content-type", "application/protobuf")]].concat();
    same(&with_headers(&deployed.encode_to_vec(), &headers));
    for frame in [&b"\0\0\0\0\x07\0"[..], b"\0\0\0\0\x07\x02\0"] {
        same(&with_headers(&[frame, &deployed.encode_to_vec()].concat(), &headers));
    }
    for packed in [gzip(structured.as_bytes()), zstd::encode_all(structured.as_bytes(), 3).expect("memory")] {
        same(&message(&packed));
        same(&with_headers(&packed, &[("content-type", "application/cloudevents+json"), ("content-encoding", "gzip")]));
    }
}

#[test]
fn attributes_in_http_headers_may_be_quoted_and_are_percent_encoded_but_not_those_of_kafka() {
    let kind = "io.pedigraph.service-removed.v1";
    let data = br#"{"service":"till","environment":"qa"}"#;
    let event = |prefix: &str, id: &str, kind: &str| {
        let headers = [("specversion", "\"1.0\""), ("id", id), ("source", "\"/shops/caf%C3%A9\""), ("type", kind)];
        let mut headers: Vec<_> = headers.map(|(name, value)| (format!("{prefix}{name}"), value)).to_vec();
        headers.push(("content-type".into(), "application/json"));
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        run(&with_headers(data, &headers), &Limits::default())
    };
    let named = |id: &str| {
        let decoded = event("ce-", id, &format!("\"{kind}\"")).expect("accepted");
        assert_eq!((decoded.format, decoded.source.as_str()), ("pedigraph", "/shops/café"));
        decoded.id.clone()
    };
    assert_eq!(named("\"a b\""), "a b");
    assert_eq!(named(r#""say \"%22\\%41\"""#), r#"say ""\A""#, "unquoted first, then percent-decoded, once");
    assert_eq!(named("%2522"), "%22");
    for no_quoted_string in ["a\"b\"", "\"a", "\"a\"b\"", r#""a\""#, "\""] {
        assert_eq!(named(no_quoted_string), no_quoted_string);
    }
    let refused = event("ce_", "7", kind).expect_err("Kafka's values are not quoted");
    assert_eq!(refused.reject.code, Code::UnsupportedVersion, "{}", refused.reject.reason);
}

#[test]
fn names_of_events_and_attributes_may_have_2048_bytes() {
    let event = |id: usize, name: usize| {
        let (id, name) = ("i".repeat(id), "n".repeat(name));
        format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t","{name}":true}}"#).into_bytes()
    };
    let code = |message: &Message| run(message, &Limits::default()).err().map(|rejected| rejected.reject.code);
    assert_eq!(code(&message(&event(2_048, 2_048))), None);
    assert_eq!(code(&message(&event(1, 2_049))), Some(Code::TooLarge));
    let header = |length: usize| binary("t", &[(&format!("ce_{}", "n".repeat(length)), "1")], b"{}");
    assert_eq!(code(&header(2_045)), None, "with its prefix");
    assert_eq!(code(&header(2_046)), Some(Code::TooLarge));
}

#[test]
fn json_that_cannot_be_held_is_no_malformed_json() {
    let limits = Limits::default();
    let accepted = [
        r#"{"bomFormat":"CycloneDX","specVersion":"1.6","note":"half \udc12","sum":-3e777,"components":[{"name":"a","weight":4e500,"x":"\ud812!"}]}"#.to_owned(),
        r#"{"@context":"https://openvex.dev/ns","tooling":"\ud9ab","statements":[{"products":["a"],"status_notes":"\ud800"}]}"#.to_owned(),
        format!(r#"{{"SchemaVersion":2,"ArtifactName":"\u0061","Score":9e1000,"Metadata":{{"ImageID":"{DIGEST}"}},"Results":[{{"Vulnerabilities":[{{"CVSS":1e999}}]}}]}}"#),
        r#"{"specversion":"1.0","id":"7","source":"/s","type":"com.example","ratio":8e888,"word":"\ud855","data":{"n":5e555,"s":"\udddd"}}"#.to_owned(),
        String::from_utf8(cdevent("environment.created.0.3.0", "qa", r#"{"name":-6e666,"\udabc":1}"#, r#"{"weight":1e309,"any":"\udead"}"#)).expect("text"),
    ];
    for document in &accepted {
        for result in [
            run(&message(document.as_bytes()), &limits),
            run_stream(&message(document.as_bytes()), document.as_bytes(), &limits),
        ] {
            assert!(result.is_ok(), "{document}: {}", show(&result));
        }
    }
    let odd_names =
        r#"{"bomFormat":"CycloneDX","specVersion":"1.6","\udbfe":1,"components":[{"x\udfff":7,"name":"b"}]}"#;
    run(&message(odd_names.as_bytes()), &limits).expect("a name that is not read");
    let refused = [
        r#"{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"name":"a\ud8ff"}]}"#,
        r#"{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"version":2e400}]}"#,
        r#"{"@context":"https://openvex.dev/ns","author":"\udfff","statements":[]}"#,
        r#"{"specversion":"1.0","id":"x\ud800\u0041","source":"/s","type":"t"}"#,
        r#"{"_type":"\ud800","predicateType":"x"}"#,
    ];
    for document in refused {
        let rejected = run(&message(document.as_bytes()), &limits).expect_err("refused");
        assert_eq!(rejected.reject.code, Code::SchemaViolation, "{document}: {}", rejected.reject.reason);
        assert!(rejected.reject.reason.contains("line 1 column "), "it names the place: {}", rejected.reject.reason);
    }
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    writer.write_all(bytes).expect("memory");
    writer.finish().expect("memory")
}

#[test]
fn own_events_are_normalized_like_foreign_ones() {
    let tag = format!(r#"{{"repository":"nginx","tag":"1","digest":"{}"}}"#, DIGEST.to_uppercase());
    check(
        &binary("io.pedigraph.tag-observed.v1", &[], tag.as_bytes()),
        expect![[r#"
        pedigraph /ci 1 2026-03-20T14:27:05Z Producer
        TagObserved {"digest":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","repository":"nginx","tag":"1"}
    "#]],
    );
    let gone = br#"{"repository":"pkg:npm/a","tag":"1"}"#;
    check(
        &binary("io.pedigraph.tag-observed.v1", &[("ce_subject", DIGEST)], gone),
        expect![[r#"
        pedigraph /ci 1 2026-03-20T14:27:05Z Producer
        TagObserved {"repository":"pkg:npm/a","tag":"1"}
    "#]],
    );
    let tests = br#"{"suite":"e2e","outcome":"success"}"#;
    check(
        &binary("io.pedigraph.tests-finished.v1", &[("ce_subject", DIGEST)], tests),
        expect![[r#"
        pedigraph /ci 1 2026-03-20T14:27:05Z Producer
        TestsFinished {"artifactDigest":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","outcome":"success","suite":"e2e"}
    "#]],
    );
    let deployed = format!(r#"{{"service":"s","environment":"e","artifactRef":"nginx@{DIGEST}"}}"#);
    check(
        &binary("io.pedigraph.service-deployed.v1", &[], deployed.as_bytes()),
        expect![[r#"
        pedigraph /ci 1 2026-03-20T14:27:05Z Producer
        ServiceDeployed {"artifactDigest":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","artifactRef":"nginx@sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","environment":"e","service":"s"}
    "#]],
    );
}

#[test]
fn the_image_id_of_a_pod_names_the_digest_of_what_is_deployed() {
    let named = |digest: &str, reference: &str| {
        let data =
            format!(r#"{{"service":"s","environment":"e","artifactDigest":"{digest}","artifactRef":"{reference}"}}"#);
        let decoded = run(&binary("io.pedigraph.service-deployed.v1", &[], data.as_bytes()), &Limits::default());
        let decoded = decoded.unwrap_or_else(|rejected| panic!("{data}: {}", rejected.reject.reason));
        let Some(Event::ServiceDeployed(deployed)) = decoded.facts.iter().find_map(|fact| fact.event.clone()) else {
            panic!("{data}: no deployment")
        };
        (deployed.artifact_digest, deployed.artifact_ref)
    };
    let at = format!("r.example/k@{DIGEST}");
    let bare = DIGEST.trim_start_matches("sha256:");
    for (digest, reference, shown) in [
        (format!("docker-pullable://{at}"), "r.example/k:1", "r.example/k:1"),
        (format!("docker://{DIGEST}"), "r.example/k:1", "r.example/k:1"),
        (at.clone(), "", at.as_str()),
        (bare.to_owned(), &format!("r.example/k:1@{DIGEST}"), "r.example/k:1"),
        (String::new(), &format!("docker://{DIGEST}"), DIGEST),
    ] {
        assert_eq!(named(&digest, reference), (DIGEST.to_owned(), shown.to_owned()), "{digest} {reference}");
    }
}

#[test]
fn what_has_no_decoder_is_kept_as_opaque() {
    check(
        &binary("com.example.thing", &[], b"<xml/>"),
        expect![[r#"
        cloudevents /ci 1 2026-03-20T14:27:05Z Producer
        OpaqueReceived {"eventType":"com.example.thing","mediaType":"application/json"}
    "#]],
    );
    check(
        &binary("dev.cdeventsx.tool-thing.done.0.1.0", &[], b"{}"),
        expect![[r#"
        cloudevents /ci 1 2026-03-20T14:27:05Z Producer
        OpaqueReceived {"eventType":"dev.cdeventsx.tool-thing.done.0.1.0","mediaType":"application/json"}
    "#]],
    );
    check(
        &binary("io.pedigraph.components-listed.v1", &[], b"{}"),
        expect![[r#"
        cloudevents /ci 1 2026-03-20T14:27:05Z Producer
        OpaqueReceived {"eventType":"io.pedigraph.components-listed.v1","mediaType":"application/json"}
    "#]],
    );
    let tombstone = Message { body: Body::Null, ..binary("com.example.thing", &[], b"") };
    check(
        &tombstone,
        expect![[r#"
        cloudevents /ci 1 2026-03-20T14:27:05Z Producer
        OpaqueReceived {"eventType":"com.example.thing","mediaType":"application/json"}
    "#]],
    );
    let mut headers = binary("com.example.thing", &[], b"{}");
    headers.headers.push(("ce_extension".into(), None));
    headers.headers.push(("trace".into(), Some(Bytes::from_static(b"\xff\xfe"))));
    check(
        &headers,
        expect![[r#"
        cloudevents /ci 1 2026-03-20T14:27:05Z Producer
        OpaqueReceived {"eventType":"com.example.thing","mediaType":"application/json"}
    "#]],
    );
}

#[test]
fn a_control_event_comes_from_no_source() {
    let forbidden = |message: &Message| {
        let refused = run(message, &Limits::default()).expect_err("only the ledger itself says this");
        assert_eq!(refused.reject.code, Code::ControlEventForbidden, "{refused:?}");
    };
    let kinds = [
        "key-rotated.v1",
        "view-root-recorded.v1",
        "body-erased.v1",
        "gap-accepted.v1",
        "body-erased.v2",
        "key-rotated",
        "message-rejected.v1",
        "message-rejected.v3",
    ];
    for kind in kinds {
        let kind = format!("io.pedigraph.{kind}");
        forbidden(&binary(&kind, &[], b"{}"));
        forbidden(&binary(&kind, &[], br#"{"code":"TOO_DEEP","reason":"said by a pipeline"}"#));
        let http = [("ce-specversion", "1.0"), ("ce-id", "9"), ("ce-source", "/s"), ("ce-type", &kind)];
        for media_type in ["application/json", "application/protobuf"] {
            let headers = [&http[..], &[("content-type", media_type)]].concat();
            forbidden(&with_headers(b"\x0a\x08TOO_DEEP", &headers));
        }
        forbidden(&Message { body: Body::Null, ..binary(&kind, &[], b"") });
        let event =
            format!(r#"{{"specversion":"1.0","id":"7","source":"/s","type":"{kind}","data":{{"sequence":1}}}}"#);
        forbidden(&message(event.as_bytes()));
        forbidden(&Message { format: Some("cloudevents".into()), ..message(event.as_bytes()) });
        for (media_type, body) in
            [("application/cloudevents-batch+json", format!("[{event}]")), ("application/x-ndjson", event)]
        {
            let batch = with_headers(body.as_bytes(), &[("content-type", media_type)]);
            let elements = split(&batch, &Limits::default()).expect("a batch").expect("well-formed");
            assert_eq!(elements.len(), 1);
            elements.iter().for_each(forbidden);
        }
    }
    // Bound to a topic, or forced by a header, the reader of our own events has no type to read.
    for kind in ["pedigraph", "PEDIGRAPH"] {
        let forced = Message { format: Some(kind.into()), ..message(b"\x0a\x08TOO_DEEP") };
        assert_eq!(run(&forced, &Limits::default()).expect_err("no type").reject.code, Code::UnsupportedFormat);
    }
    let as_ledger =
        message(br#"{"specversion":"1.0","id":"key-rotated/1","source":"pedigraph","type":"com.example.x"}"#);
    forbidden(&as_ledger);
    let refused = run(&as_ledger, &Limits::default()).expect_err("forbidden");
    assert_eq!(refused.source, "document", "not even the reject has the ledger's name");
    assert!(refused.id.starts_with("sha256:"), "{}", refused.id);
    let cdevent = r#"{"context":{"version":"0.4.1","id":"1","source":"pedigraph","type":"dev.cdevents.service.removed.0.2.0",
        "timestamp":"2023-03-20T14:27:05Z"},"subject":{"id":"s","type":"service","content":{"environment":{"id":"e"}}}}"#;
    forbidden(&message(cdevent.as_bytes()));
    let other = message(cdevent.replace("pedigraph", "pedigraph2").as_bytes());
    assert!(run(&other, &Limits::default()).is_ok());
}

#[test]
fn a_document_in_an_event_is_about_the_events_subject() {
    let bom = r#"{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"library","name":"a"}]}"#;
    let event = format!(
        r#"{{"specversion":"1.0","id":"7","source":"/s","type":"org.example.sbom","subject":"{}",
        "datacontenttype":"application/vnd.cyclonedx+json","data":{bom}}}"#,
        DIGEST.to_uppercase()
    );
    check(
        &message(event.as_bytes()),
        expect![[r#"
        cyclonedx /s 7
        SbomAttached {"artifactDigest":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","componentCount":1,"componentSet":"sha256:756627eb1df1ce1963dc41837a61e079d69aad220374334c2f48b255ae8171d6","format":"cyclonedx","sbomDigest":"sha256:0f91816b7ba86a3e93a5dd496a250f611164b5cbbaca671b1ca4ce5893ba2ce7","specVersion":"1.6"}
        ComponentsListed {"componentSet":"sha256:756627eb1df1ce1963dc41837a61e079d69aad220374334c2f48b255ae8171d6","components":[{"name":"a","type":"library"}]}
    "#]],
    );
    let beside = Message { subject: Some(DIGEST.into()), ..message(bom.as_bytes()) };
    check(
        &beside,
        expect![[r#"
        cyclonedx document sha256:0f91816b7ba86a3e93a5dd496a250f611164b5cbbaca671b1ca4ce5893ba2ce7@sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427
        SbomAttached {"artifactDigest":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","componentCount":1,"componentSet":"sha256:756627eb1df1ce1963dc41837a61e079d69aad220374334c2f48b255ae8171d6","format":"cyclonedx","sbomDigest":"sha256:0f91816b7ba86a3e93a5dd496a250f611164b5cbbaca671b1ca4ce5893ba2ce7","specVersion":"1.6"}
        ComponentsListed {"componentSet":"sha256:756627eb1df1ce1963dc41837a61e079d69aad220374334c2f48b255ae8171d6","components":[{"name":"a","type":"library"}]}
    "#]],
    );
}

const BOM: &str = r#"{"bomFormat":"CycloneDX","specVersion":"1.6","serialNumber":"urn:uuid:1","version":2,
"metadata":{"timestamp":"2026-01-02T03:04:05+01:00","tools":{"components":[{"name":"syft"}]},"authors":[{"name":"Acme"}],
 "component":{"bom-ref":"root","type":"container","name":"ghcr.io/acme/cart","version":"DIGEST"}},
"components":[
 {"bom-ref":"b","type":"library","name":"b","version":"2","purl":"pkg:npm/b@2","licenses":[{"license":{"id":"MIT"}}],
  "components":[{"bom-ref":"c","type":"file","name":"c","hashes":[{"alg":"MD5","content":"bad"},
   {"alg":"SHA-1","content":"6CE7A1FC92C21DC99E00682E1CBA39597F35DD54"}]}]},
 {"bom-ref":"a","type":"library","group":"g","name":"a","version":null,"purl":"pkg:NPM/a@1","licenses":[{"expression":"MIT OR Apache-2.0"}]},
 {"bom-ref":"a2","type":"library","group":"g","name":"a","purl":"pkg:npm/a@1","licenses":[{"license":{"name":"Own"}}]},
 {"type":"library","name":"bad","purl":"not a purl"}],
"dependencies":[{"ref":"root","dependsOn":["b","gone"]},{"ref":"b","dependsOn":["c","a2","a","b"]}],
"vulnerabilities":[
 {"id":"CVE-2026-1","references":[{"id":"GHSA-1"}],"analysis":{"state":"not_affected","justification":"code_not_reachable",
  "response":["update"],"detail":"no"},"affects":[{"ref":"urn:cdx:1/2#a"}]},
 {"id":"CVE-2026-2","analysis":{"state":"resolved"},"affects":[{"ref":"root"},{"ref":"pkg:npm/z@9"}]},
 {"id":"CVE-2026-3","ratings":[{"severity":"low"},{"severity":"high"}],"affects":[{"ref":"b"}]}]}"#;

#[test]
fn an_sbom_becomes_a_sorted_set_with_its_dependencies_and_vex() {
    let bom = BOM.replace("DIGEST", DIGEST);
    check(
        &message(bom.as_bytes()),
        expect![[r#"
            cyclonedx document sha256:399d7ea17756d3690de1c8e14986c46cbf9509ddf41e9ef798cbdfa8c516fbe1 2026-01-02T02:04:05Z Payload
            SbomAttached {"artifactDigest":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","artifactRef":"ghcr.io/acme/cart@sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","componentCount":4,"componentSet":"sha256:c006a7af3dbfbd65606acbf267aa8e957d61d6b719f52284bb4b1faf7b5ed5e3","documentVersion":2,"format":"cyclonedx","kind":"container_image","rootName":"ghcr.io/acme/cart","sbomDigest":"sha256:399d7ea17756d3690de1c8e14986c46cbf9509ddf41e9ef798cbdfa8c516fbe1","serialNumber":"urn:uuid:1","skippedCount":1,"specVersion":"1.6","tool":"syft"}
            ComponentsListed {"componentSet":"sha256:c006a7af3dbfbd65606acbf267aa8e957d61d6b719f52284bb4b1faf7b5ed5e3","components":[{"digest":"sha1:6ce7a1fc92c21dc99e00682e1cba39597f35dd54","name":"c","type":"file"},{"name":"bad","purl":"not a purl","type":"library"},{"group":"g","licenses":["MIT OR Apache-2.0","Own"],"name":"a","purl":"pkg:npm/a@1","type":"library"},{"dependsOn":[2],"licenses":["MIT"],"name":"b","purl":"pkg:npm/b@2","rootDependency":true,"type":"library","version":"2"}]}
            VexIssued {"documentId":"urn:uuid:1","documentTime":"2026-01-02T02:04:05Z","documentVersion":"2","format":"cyclonedx","issuer":"Acme","statements":[{"action":"update","aliases":["GHSA-1"],"impact":"no","justification":"vulnerable_code_not_in_execute_path","product":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","productDigests":["sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427"],"status":"not_affected","subcomponents":["pkg:npm/a@1"],"vulnerability":"CVE-2026-1"},{"product":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","productDigests":["sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427"],"rawStatus":"resolved","status":"fixed","vulnerability":"CVE-2026-2"},{"product":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","productDigests":["sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427"],"rawStatus":"resolved","status":"fixed","subcomponents":["pkg:npm/z@9"],"vulnerability":"CVE-2026-2"}],"verification":"none"}
            ScanCompleted {"artifactDigest":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","artifactRef":"ghcr.io/acme/cart@sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","findingCount":1,"findings":[{"installedVersion":"2","packageName":"b","purl":"pkg:npm/b@2","severity":"high","vulnerability":"CVE-2026-3"}],"kind":"container_image","scanId":"sha256:399d7ea17756d3690de1c8e14986c46cbf9509ddf41e9ef798cbdfa8c516fbe1","scanner":"syft"}
        "#]],
    );

    // The set depends on what is in it, not on the order that a tool writes.
    let decoded = run(&message(bom.as_bytes()), &Limits::default()).expect("accepted");
    let Some(Event::ComponentsListed(listed)) = &decoded.facts[1].event else { panic!("{:?}", decoded.facts[1]) };
    assert_eq!(component_set(listed.components.iter()).to_string(), listed.component_set);
    let mut shuffled: serde_json::Value = serde_json::from_str(&bom).expect("JSON");
    shuffled["components"].as_array_mut().expect("a list").reverse();
    shuffled["dependencies"].as_array_mut().expect("a list").reverse();
    let again = run(&message(shuffled.to_string().as_bytes()), &Limits::default()).expect("accepted");
    assert_eq!(again.facts[1], decoded.facts[1]);
}

#[test]
fn a_version_that_stands_beside_a_purl_alone_goes_into_it() {
    let purl = |purl: &str, version: &str| {
        let component = format!(r#"{{"name":"x","purl":"{purl}","version":"{version}"}}"#);
        let bom = format!(r#"{{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{component}]}}"#);
        let decoded = run(&message(bom.as_bytes()), &Limits::default()).expect("accepted");
        let Some(Event::ComponentsListed(listed)) = &decoded.facts[1].event else { panic!("{:?}", decoded.facts[1]) };
        listed.components[0].purl.clone()
    };
    assert_eq!(purl("pkg:npm/%40a/b?arch=x", "1.0"), "pkg:npm/%40a/b@1.0?arch=x");
    assert_eq!(purl("pkg:npm/b@2", "1.0"), "pkg:npm/b@2", "its own goes before");
    assert_eq!(purl("pkg:oci/b", "1.0"), "pkg:oci/b", "the version of an image is a digest");
    assert_eq!(purl("no purl", "1.0"), "no purl");
}

/// As Trivy writes them: advisories of distributions are on source packages.
#[test]
fn the_source_package_beside_a_purl_is_in_the_purl_of_the_component() {
    let purls = |components: &str| {
        let bom = format!(r#"{{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{components}]}}"#);
        let decoded = run(&message(bom.as_bytes()), &Limits::default()).expect("accepted");
        let Some(Event::ComponentsListed(listed)) = &decoded.facts[1].event else { panic!("{:?}", decoded.facts[1]) };
        listed.components.iter().map(|component| component.purl.clone()).collect::<Vec<_>>()
    };
    let property = |name: &str, value: &str| format!(r#"{{"name":"aquasecurity:trivy:{name}","value":{value}}}"#);
    let of = |purl: &str, properties: &[String]| {
        purls(&format!(r#"{{"name":"x","purl":"{purl}","properties":[{}]}}"#, properties.join(",")))
    };
    let deb = "pkg:deb/debian/libssl3@3.0.11-1~deb12u1?distro=debian-12";
    let (name, version) = (property("SrcName", r#""openssl""#), property("SrcVersion", r#""3.0.11""#));
    let (release, epoch) = (property("SrcRelease", r#""1~deb12u1""#), property("SrcEpoch", r#""1""#));
    let parts = [property("PkgType", r#""debian""#), name.clone(), version.clone(), release.clone()];
    assert_eq!(of(deb, &parts), [format!("{deb}&upstream=openssl")]);
    let parts = [name.clone(), epoch, version.clone(), release];
    assert_eq!(of(deb, &parts), [format!("{deb}&upstream=openssl%401:3.0.11-1~deb12u1")]);
    let of_syft = format!("{deb}&upstream=openssl%403");
    assert_eq!(of(&of_syft, std::slice::from_ref(&name)), [of_syft.as_str()], "the purl says it");
    assert_eq!(of("pkg:npm/x@1", std::slice::from_ref(&name)), ["pkg:npm/x@1"]);
    // Nobody has to have properties of these types.
    let odd = [property("SrcName", "7"), r#""x""#.to_owned(), "null".to_owned(), r#"{"name":[1]}"#.to_owned()];
    assert_eq!(of(deb, &odd), [deb]);
    assert_eq!(purls(&format!(r#"{{"name":"x","purl":"{deb}","properties":{{"SrcName":"a"}}}}"#)), [deb]);
}

#[test]
fn the_subject_of_an_sbom_is_found_where_tools_put_it() {
    let subject = |component: &str, outside: Option<&str>| {
        let bom = format!(
            r#"{{"components":[],"metadata":{{"component":{component}}},"specVersion":"1.4","bomFormat":"CycloneDX"}}"#
        );
        let message = Message { subject: outside.map(Into::into), ..message(bom.as_bytes()) };
        let decoded = run(&message, &Limits::default()).expect("accepted");
        match &decoded.facts[0].event {
            Some(Event::SbomAttached(sbom)) => sbom.artifact_digest.clone(),
            other => panic!("{other:?}"),
        }
    };
    let hex = &DIGEST[7..];
    assert_eq!(subject(&format!(r#"{{"purl":"pkg:oci/a@sha256%3A{hex}"}}"#), None), DIGEST);
    assert_eq!(subject(&format!(r#"{{"purl":"pkg:oci/a@sha256%3A{hex}"}}"#), Some(OTHER)), OTHER);
    assert_eq!(subject(&format!(r#"{{"version":"{DIGEST}"}}"#), None), DIGEST);
    assert_eq!(subject(&format!(r#"{{"hashes":[{{"alg":"SHA-256","content":"{hex}"}}]}}"#), None), DIGEST);
    let property = |name: &str, value: &str| format!(r#"{{"name":"aquasecurity:trivy:{name}","value":"{value}"}}"#);
    let (image, repository) = (property("ImageID", DIGEST), property("RepoDigest", &format!("a/b@{OTHER}")));
    assert_eq!(subject(&format!(r#"{{"properties":[{image}]}}"#), None), DIGEST);
    assert_eq!(subject(&format!(r#"{{"properties":[{image},{repository}]}}"#), None), OTHER);
    assert_eq!(subject(r#"{"name":"app","version":"1"}"#, None), "");
}

#[test]
fn openvex_of_both_versions_is_read() {
    let new = format!(
        r#"{{"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://x/1","author":"Acme","version":3,
        "timestamp":"2026-01-02T03:04:05Z","statements":[
        {{"vulnerability":{{"name":"CVE-1","aliases":["GHSA-1"]}},"status":"not_affected","justification":"component_not_present",
          "products":[{{"@id":"pkg:oci/a@sha256%3A{0}","hashes":{{"sha-256":"{0}","sha-1":"x"}},
          "subcomponents":[{{"@id":"pkg:NPM/b@1"}}]}},{{"@id":"https://x/p","identifiers":{{"purl":"pkg:npm/c@1"}}}}]}},
        {{"vulnerability":"CVE-2","status":"odd","products":["pkg:npm/c@2"],"timestamp":"2026-02-02T00:00:00Z"}}]}}"#,
        &DIGEST[7..]
    );
    check(
        &message(new.as_bytes()),
        expect![[r#"
        openvex document sha256:eb51fbdc7b2003c5235d47175cc92c9d828dfbc9969c6f7c51c059f984e6d800 2026-01-02T03:04:05Z Payload
        VexIssued {"documentId":"https://x/1","documentTime":"2026-01-02T03:04:05Z","documentVersion":"3","format":"openvex","issuer":"Acme","statements":[{"aliases":["GHSA-1"],"justification":"component_not_present","product":"pkg:oci/a@sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","productDigests":["sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427"],"status":"not_affected","subcomponents":["pkg:npm/b@1"],"vulnerability":"CVE-1"},{"aliases":["GHSA-1"],"justification":"component_not_present","product":"pkg:npm/c@1","status":"not_affected","vulnerability":"CVE-1"},{"product":"pkg:npm/c@2","rawStatus":"odd","time":"2026-02-02T00:00:00Z","vulnerability":"CVE-2"}],"verification":"none"}
    "#]],
    );
    let old = r#"{"@context":"https://openvex.dev/ns","author":"A","version":"1","statements":[
        {"vulnerability":"CVE-2","status":"fixed"}]}"#;
    check(
        &Message { subject: Some(DIGEST.into()), ..message(old.as_bytes()) },
        expect![[r#"
        openvex document sha256:21efbf2399bc5107c024afb2775a0f06c123f62b252d28ad6508fe4644ef762c@sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427
        VexIssued {"documentId":"sha256:21efbf2399bc5107c024afb2775a0f06c123f62b252d28ad6508fe4644ef762c","documentVersion":"1","format":"openvex","issuer":"A","statements":[{"product":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","productDigests":["sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427"],"status":"fixed","vulnerability":"CVE-2"}],"verification":"none"}
    "#]],
    );
}

fn statement(version: &str, predicate_type: &str, predicate: &str) -> String {
    format!(
        r#"{{"_type":"https://in-toto.io/Statement/{version}","predicateType":"{predicate_type}","subject":[
        {{"name":"app","digest":{{"sha1":"6ce7a1fc92c21dc99e00682e1cba39597f35dd54","sha256":"{}"}}}},
        {{"name":"bad","digest":{{"sha256":"12"}}}}],"predicate":{predicate}}}"#,
        &DIGEST[7..]
    )
}

fn envelope(statement: &str) -> String {
    let payload = base64(statement);
    format!(
        r#"{{"payloadType":"application/vnd.in-toto+json","payload":"{payload}","signatures":[{{"keyid":"k1","sig":"MEY="}}]}}"#
    )
}

const SLSA_1: &str = r#"{"buildDefinition":{"buildType":"https://b/1","externalParameters":{"workflow":
{"repository":"https://git.example/a/b","ref":"refs/heads/main"}},"resolvedDependencies":[
{"uri":"pkg:docker/alpine@3","digest":{"sha256":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}},
{"uri":"git+https://git.example/a/b@refs/heads/main","digest":{"gitCommit":"6ce7a1fc92c21dc99e00682e1cba39597f35dd54"}}]},
"runDetails":{"builder":{"id":"https://builder"},"metadata":{"invocationId":"https://run/1","startedOn":"2026-01-01T00:00:00Z"}}}"#;
const SLSA_02: &str = r#"{"builder":{"id":"https://builder"},"buildType":"https://b/1","invocation":{"configSource":
{"uri":"git+https://git.example/a/b@refs/heads/main","digest":{"sha1":"6ce7a1fc92c21dc99e00682e1cba39597f35dd54"}}},
"metadata":{"buildInvocationID":"9-1","buildFinishedOn":"2026-01-01T00:00:00Z"},"materials":[{"uri":"x","digest":{}}]}"#;

#[test]
fn attestations_of_every_wrapping_say_the_same() {
    let slsa_1 = statement("v1", "https://slsa.dev/provenance/v1", SLSA_1);
    let slsa_02 = statement("v0.1", "https://slsa.dev/provenance/v0.2", SLSA_02);
    check(
        &message(slsa_1.as_bytes()),
        expect![[r#"
        in-toto document sha256:259819d65678037983f05652a32082bccc18b6bd0d64bf0c65480b9a6541e6e4 2026-01-01T00:00:00Z Payload
        AttestationAttached {"artifactDigests":["sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427"],"buildType":"https://b/1","builder":"https://builder","commit":"6ce7a1fc92c21dc99e00682e1cba39597f35dd54","invocation":"https://run/1","materials":[{"digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","uri":"pkg:docker/alpine@3"},{"digest":"gitCommit:6ce7a1fc92c21dc99e00682e1cba39597f35dd54","uri":"git+https://git.example/a/b@refs/heads/main"}],"predicateType":"https://slsa.dev/provenance/v1","repository":"https://git.example/a/b","startedOn":"2026-01-01T00:00:00Z","statementDigest":"sha256:259819d65678037983f05652a32082bccc18b6bd0d64bf0c65480b9a6541e6e4","subjectNames":["app"],"verification":"none"}
    "#]],
    );
    check(
        &message(envelope(&slsa_02).as_bytes()),
        expect![[r#"
        dsse document sha256:3a93378b6e4508a34dcf2945b3c6715542acc1a7345cf614bc0caa09692673e9 2026-01-01T00:00:00Z Payload
        AttestationAttached {"artifactDigests":["sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427"],"buildType":"https://b/1","builder":"https://builder","commit":"6ce7a1fc92c21dc99e00682e1cba39597f35dd54","finishedOn":"2026-01-01T00:00:00Z","invocation":"9-1","keyIds":["k1"],"materials":[{"uri":"x"}],"predicateType":"https://slsa.dev/provenance/v0.2","repository":"https://git.example/a/b","statementDigest":"sha256:1cd05ad77ab7206493214b889aea60e6866156b7697e828835e06b579ee1c75b","subjectNames":["app"],"verification":"unverified"}
    "#]],
    );
    let bundle = format!(
        r#"{{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","dsseEnvelope":{}}}"#,
        envelope(&slsa_1)
    );
    let vsa =
        r#"{"verifier":{"id":"https://v"},"verificationResult":"PASSED","verifiedLevels":["SLSA_BUILD_LEVEL_3"]}"#;
    let vsa = statement("v1", "https://slsa.dev/verification_summary/v1", vsa);
    let tests = statement(
        "v1",
        "https://in-toto.io/attestation/test-result/v0.1",
        r#"{"result":"FAILED","failedTests":["a"]}"#,
    );
    let lines = format!("{}\r\n\n{bundle}\n{vsa}\n{tests}\n", envelope(&slsa_02));
    check(
        &message(lines.as_bytes()),
        expect![[r#"
        jsonl document sha256:71100216098047b9037c2da1bd9b3129003bc39b5b1da0e700090c1e62407374 2026-01-01T00:00:00Z Payload
        AttestationAttached {"artifactDigests":["sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427"],"buildType":"https://b/1","builder":"https://builder","commit":"6ce7a1fc92c21dc99e00682e1cba39597f35dd54","finishedOn":"2026-01-01T00:00:00Z","invocation":"9-1","keyIds":["k1"],"materials":[{"uri":"x"}],"predicateType":"https://slsa.dev/provenance/v0.2","repository":"https://git.example/a/b","statementDigest":"sha256:1cd05ad77ab7206493214b889aea60e6866156b7697e828835e06b579ee1c75b","subjectNames":["app"],"verification":"unverified"}
        AttestationAttached {"artifactDigests":["sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427"],"buildType":"https://b/1","builder":"https://builder","commit":"6ce7a1fc92c21dc99e00682e1cba39597f35dd54","invocation":"https://run/1","keyIds":["k1"],"materials":[{"digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","uri":"pkg:docker/alpine@3"},{"digest":"gitCommit:6ce7a1fc92c21dc99e00682e1cba39597f35dd54","uri":"git+https://git.example/a/b@refs/heads/main"}],"predicateType":"https://slsa.dev/provenance/v1","repository":"https://git.example/a/b","startedOn":"2026-01-01T00:00:00Z","statementDigest":"sha256:259819d65678037983f05652a32082bccc18b6bd0d64bf0c65480b9a6541e6e4","subjectNames":["app"],"verification":"unverified"}
        AttestationAttached {"artifactDigests":["sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427"],"builder":"https://v","predicateType":"https://slsa.dev/verification_summary/v1","statementDigest":"sha256:326b672c6d1fcb57dbec0976ac77240a7cd21db73468a062a2d6f745c5a6ac2e","subjectNames":["app"],"summary":"PASSED SLSA_BUILD_LEVEL_3","verification":"none"}
        AttestationAttached {"artifactDigests":["sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427"],"predicateType":"https://in-toto.io/attestation/test-result/v0.1","statementDigest":"sha256:a9555990f114b3a0d58f33c342d3cbc2ccc2efa6d711907768fdf294fcbccf9e","subjectNames":["app"],"verification":"none"}
        TestsFinished {"artifactDigest":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","failed":1,"outcome":"failure"}
    "#]],
    );
    let sbom = statement("v1", "https://cyclonedx.org/bom", &BOM.replace("DIGEST", OTHER));
    let decoded = run(&message(envelope(&sbom).as_bytes()), &Limits::default()).expect("accepted");
    let names: Vec<_> = decoded.facts.iter().filter_map(|fact| fact.event.as_ref()).map(Event::name).collect();
    assert_eq!(names, ["AttestationAttached", "SbomAttached", "ComponentsListed", "VexIssued", "ScanCompleted"]);
    let Some(Event::SbomAttached(sbom)) = &decoded.facts[1].event else { panic!("{:?}", decoded.facts[1]) };
    assert_eq!(sbom.artifact_digest, DIGEST, "a signed statement's subject counts, not what the document says");
}

/// A provenance of so many subjects and materials.
fn provenance_of(subjects: usize, materials: usize) -> String {
    let subjects = (0..subjects).map(|n| format!(r#"{{"name":"s{n}","digest":{{"sha256":"{n:064x}"}}}}"#));
    let materials = (0..materials).map(|n| format!(r#"{{"uri":"m{n}","digest":{{"sha256":"{n:064x}"}}}}"#));
    format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://slsa.dev/provenance/v0.2","subject":[{}],
        "predicate":{{"builder":{{"id":"https://b/7"}},"materials":[{}]}}}}"#,
        subjects.collect::<Vec<_>>().join(","),
        materials.collect::<Vec<_>>().join(",")
    )
}

#[test]
fn many_subjects_and_materials_are_said_once_each_in_facts_that_go_on() {
    let statement = provenance_of(600, 300);
    let decoded = run(&message(statement.as_bytes()), &Limits::default()).expect("accepted");
    let said: Vec<_> = decoded
        .facts
        .iter()
        .map(|fact| match &fact.event {
            Some(Event::AttestationAttached(e)) => e,
            other => panic!("{other:?}"),
        })
        .collect();
    let shapes: Vec<_> = said
        .iter()
        .map(|e| (e.artifact_digests.len(), e.materials.len(), e.continues, e.material_count, e.predicate_type.len()))
        .collect();
    let whole = "https://slsa.dev/provenance/v0.2".len();
    assert_eq!(shapes, [(256, 256, 0, 300, whole), (256, 44, 1, 300, 0), (88, 0, 2, 300, 0)]);
    assert!(said.iter().all(|e| e.statement_digest == said[0].statement_digest && e.builder == "https://b/7"));
    let digests: BTreeSet<&String> = said.iter().flat_map(|e| &e.artifact_digests).collect();
    let materials: BTreeSet<&String> = said.iter().flat_map(|e| &e.materials).map(|m| &m.digest).collect();
    assert_eq!((digests.len(), materials.len()), (600, 300));
}

#[test]
fn a_statement_of_more_subjects_or_materials_than_views_fold_in_a_moment_is_refused() {
    for (subjects, materials) in [(8_193, 1), (1, 16_385)] {
        let refused = run(&message(provenance_of(subjects, materials).as_bytes()), &Limits::default());
        let refused = refused.expect_err("too many");
        assert_eq!(refused.reject.code, Code::TooManyItems);
        assert!(refused.reject.reason.contains("at most 8192 and 16384"), "{}", refused.reject.reason);
    }
}

/// As `base64` and mail programs print it.
#[test]
fn an_envelope_may_have_its_payload_in_lines() {
    let said = |document: &str| {
        let decoded = run(&message(document.as_bytes()), &Limits::default()).expect("accepted");
        decoded.facts.iter().map(|fact| fact.event.clone()).collect::<Vec<_>>()
    };
    let plain = statement("v1", "https://slsa.dev/provenance/v1", SLSA_1);
    let payload = base64(&plain);
    for end in ["\\n", "\\r\\n"] {
        let lines: Vec<&str> =
            payload.as_bytes().chunks(76).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        let in_lines = envelope(&plain).replace(&payload, &(lines.join(end) + end));
        assert_eq!(said(&in_lines), said(&envelope(&plain)));
    }
    let rejected = run(&message(envelope(&plain).replace(&payload, "e30 =").as_bytes()), &Limits::default());
    assert_eq!(rejected.expect_err("no base64").reject.code, Code::SchemaViolation);
}

#[test]
fn oci_documents_are_images_by_their_own_digest() {
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[
        {{"digest":"{DIGEST}","platform":{{"os":"linux","architecture":"arm64","variant":"v8"}}}},
        {{"digest":"{OTHER}","platform":{{"os":"unknown","architecture":"unknown"}},
          "annotations":{{"vnd.docker.reference.type":"attestation-manifest"}}}},{{"digest":"sha256:1"}}],
        "annotations":{{"org.opencontainers.image.base.digest":"{OTHER}","org.opencontainers.image.base.name":"alpine:3",
        "org.opencontainers.image.created":"2026-01-01T00:00:00Z","org.opencontainers.image.revision":"abc"}}}}"#
    );
    check(
        &message(index.as_bytes()),
        expect![[r#"
            oci-index document sha256:1f56e05a5a34375cc9ae5f67e6604a53169610fab1cc1d38b4382908ff9133dc 2026-01-01T00:00:00Z Payload
            ImageObserved {"baseDigest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","baseRef":"alpine:3","commit":"abc","created":"2026-01-01T00:00:00Z","digest":"sha256:1f56e05a5a34375cc9ae5f67e6604a53169610fab1cc1d38b4382908ff9133dc","digestKind":"index","manifests":[{"digest":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","platform":"linux/arm64"},{"artifactType":"attestation-manifest","digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","platform":"unknown/unknown"}]}
        "#]],
    );
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"{DIGEST}"}},
        "layers":[{{"digest":"{OTHER}"}}]}}"#
    );
    check(
        &message(manifest.as_bytes()),
        expect![[r#"
        oci-manifest document sha256:479894ffc3029eade47f813f8e5c77ef09f9f96b1e3af7bfd01752d55f314500
        ImageObserved {"configDigest":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","digest":"sha256:479894ffc3029eade47f813f8e5c77ef09f9f96b1e3af7bfd01752d55f314500","digestKind":"manifest","layerDigests":["sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]}
    "#]],
    );
    let referrer = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/x",
        "config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{OTHER}"}},"layers":[],
        "subject":{{"digest":"{DIGEST}"}}}}"#
    );
    check(
        &message(referrer.as_bytes()),
        expect![[r#"
        oci-manifest document sha256:0f26da7ca668c1326020f9e0261fad11728a2382641f117d1176cf7ba19ac2ac
        ImageObserved {"artifactType":"application/x","digest":"sha256:0f26da7ca668c1326020f9e0261fad11728a2382641f117d1176cf7ba19ac2ac","digestKind":"package","subjectDigest":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427"}
    "#]],
    );
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","created":"2026-01-01T00:00:00Z","rootfs":{{"diff_ids":["{DIGEST}"]}},
        "history":[{{"created_by":"ADD","created":"2026-01-01T00:00:00Z"}},{{"created_by":"CMD","empty_layer":true}}],
        "config":{{"Labels":{{"org.opencontainers.image.source":"https://git.example/a","x":1}}}}}}"#
    );
    check(
        &message(config.as_bytes()),
        expect![[r#"
        oci-config document sha256:f0c8169e69088e4a1d5520e494e3509bd8e44c956384d0f0936ea321fd57014c 2026-01-01T00:00:00Z Payload
        ImageObserved {"created":"2026-01-01T00:00:00Z","diffIds":["sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427"],"digest":"sha256:f0c8169e69088e4a1d5520e494e3509bd8e44c956384d0f0936ea321fd57014c","digestKind":"config","history":[{"created":"2026-01-01T00:00:00Z","createdBy":"ADD"},{"createdBy":"CMD","emptyLayer":true}],"platform":"linux/amd64","repository":"https://git.example/a"}
    "#]],
    );
}

#[test]
fn a_trivy_report_ties_the_digests_of_its_image_together() {
    let report = format!(
        r#"{{"SchemaVersion":2,"Trivy":{{"Version":"0.60"}},"CreatedAt":"2026-01-01T00:00:00Z","ArtifactName":"x",
        "ArtifactType":"container_image","Metadata":{{"ImageID":"{DIGEST}","DiffIDs":["{OTHER}"],
        "RepoDigests":["ghcr.io/a/b@{OTHER}"],"RepoTags":["ghcr.io/a/b:1","other:2"]}},
        "Results":[{{"Vulnerabilities":null}},{{"Vulnerabilities":[{{"VulnerabilityID":"CVE-1","PkgName":"p",
        "VendorIDs":["GHSA-1","RHSA-1"],"PkgIdentifier":{{"PURL":"pkg:npm/p@1"}},"InstalledVersion":"1","FixedVersion":"2",
        "Severity":"HIGH","Status":"fixed"}}]}}]}}"#
    );
    check(
        &message(report.as_bytes()),
        expect![[r#"
            trivy document sha256:265f12005204470aeb61cd8ebcc036bb9cf8335cec5cb0dd48ecb1b83dd27d72 2026-01-01T00:00:00Z Payload
            ScanCompleted {"artifactDigest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","artifactRef":"ghcr.io/a/b@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","findingCount":1,"findings":[{"aliases":["GHSA-1"],"fixedVersion":"2","installedVersion":"1","packageName":"p","purl":"pkg:npm/p@1","severity":"high","status":"fixed","vulnerability":"CVE-1"}],"kind":"container_image","scanId":"sha256:265f12005204470aeb61cd8ebcc036bb9cf8335cec5cb0dd48ecb1b83dd27d72","scanner":"trivy","scannerVersion":"0.60","target":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427"}
            ScanCompleted {"artifactDigest":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","artifactRef":"ghcr.io/a/b@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","findingCount":1,"findings":[{"aliases":["GHSA-1"],"fixedVersion":"2","installedVersion":"1","packageName":"p","purl":"pkg:npm/p@1","severity":"high","status":"fixed","vulnerability":"CVE-1"}],"kind":"container_image","scanId":"sha256:265f12005204470aeb61cd8ebcc036bb9cf8335cec5cb0dd48ecb1b83dd27d72","scanner":"trivy","scannerVersion":"0.60","target":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427"}
            ImageObserved {"diffIds":["sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"],"digest":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","digestKind":"config"}
            ImageObserved {"artifactRef":"ghcr.io/a/b@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","configDigest":"sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427","digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","tags":["1"]}
        "#]],
    );
}

#[test]
fn a_batch_is_split_into_the_elements_own_bytes() {
    let elements = [r#"{"specversion":"1.0", "id":"1"}"#, r#"{ "a" : [1,2] }"#, "3"];
    let batch = format!("\u{feff} [{}, {} ,\n{}] ", elements[0], elements[1], elements[2]);
    let headers = [("content-type", "application/CloudEvents-batch+json"), ("ce-id", "x"), ("traceparent", "t")];
    let bodies = |message: &Message| {
        let split = split(message, &Limits::default()).expect("a batch").expect("well-formed");
        split.iter().map(|element| String::from_utf8(bytes_of(element).to_vec()).expect("UTF-8")).collect::<Vec<_>>()
    };
    let message_of = with_headers(batch.as_bytes(), &headers);
    assert_eq!(bodies(&message_of), elements);
    let first = &split(&message_of, &Limits::default()).expect("a batch").expect("well-formed")[0];
    let names: Vec<_> = first.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["traceparent", "content-type"]);
    assert_eq!(bodies(&with_headers(&gzip(batch.as_bytes()), &headers)), elements);

    let lines = format!("{}\r\n\n{}\n{}", elements[0], elements[1], elements[2]);
    let lines = with_headers(lines.as_bytes(), &[("content-type", "application/x-ndjson; charset=utf-8")]);
    assert_eq!(bodies(&lines), elements);

    let small = Limits { batch_elements_max: 2, ..Limits::default() };
    for (message, code) in [
        (message_of.clone(), Code::TooManyItems),
        (lines.clone(), Code::TooManyItems),
        (with_headers(b"{}", &headers), Code::MalformedEnvelope),
        (with_headers(b"[{]", &headers), Code::MalformedJson),
        (Message { body: Body::Null, ..message_of.clone() }, Code::MalformedEnvelope),
    ] {
        let reject = split(&message, &small).expect("a batch").expect_err("refused");
        assert_eq!(reject.code, code, "{}", reject.reason);
    }
    assert!(split(&message(b"{}"), &small).is_none());
}

#[test]
fn every_rejection_has_its_code() {
    let limits = Limits {
        components_max: 3,
        statements_max: 2,
        attributes_max: 8,
        attribute_bytes_max: 100,
        ..Limits::default()
    };
    let bom = |rest: &str| format!(r#"{{"bomFormat":"CycloneDX","specVersion":"1.6",{rest}}}"#).into_bytes();
    let event =
        |rest: &str| format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t",{rest}}}"#).into_bytes();
    let own = |kebab: &str, data: &str| {
        format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"io.pedigraph.{kebab}.v1","data":{data}}}"#)
            .into_bytes()
    };
    let own_event = |kebab: &str, rest: &str| {
        format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"io.pedigraph.{kebab}.v1",{rest}}}"#)
            .into_bytes()
    };
    let tag_alone = r#"{"artifactRef":"r.example/z:1","suite":"e2e","signature":"s"}"#;
    let bare = format!(r#"{{"artifactDigest":"{}"}}"#, "ab".repeat(32));
    let bare_sbom = format!(r#"{{"artifactDigest":"{}","sbomDigest":"{DIGEST}"}}"#, "ab".repeat(32));
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep_bom = bom(&format!(r#""x":{deep}"#));
    let deep_object = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    let subject = |subject: &str| Message { subject: Some(subject.into()), ..message(&bom(r#""components":[]"#)) };
    let forced = |format: &str, body: &[u8]| Message { format: Some(format.into()), ..message(body) };
    let null_header = |name: &str, value: Option<&'static [u8]>| {
        let mut message = binary("t", &[], b"{}");
        message.headers.retain(|(known, _)| known != name);
        message.headers.push((name.into(), value.map(Bytes::from_static)));
        message
    };
    let five = [r#"{"name":"c"}"#; 5].join(",");
    let long = "x".repeat(101);
    let products = vec!["\"a\""; 8_000].join(",");
    let multiplied = format!(
        r#"{{"@context":"https://openvex.dev/ns","statements":[{{"impact_statement":"{}","products":[{products}]}}]}}"#,
        "x".repeat(60_000)
    );
    let resources: Vec<_> = (0..16_385).map(|n| format!(r#"{{"uri":"u","digest":{{"sha256":"{n:064x}"}}}}"#)).collect();
    let joined = format!(
        r#"{{"predicateType":"https://slsa.dev/provenance/v0.2","subject":[{0}],"predicate":{{"materials":[{0}]}}}}"#,
        resources.join(",")
    );
    let trivy = |rest: &str| format!(r#"{{"SchemaVersion":2,"ArtifactName":"fs","Results":[]{rest}}}"#).into_bytes();
    let table: Vec<(&str, Code, Message)> = vec![
        ("nothing", Code::MalformedEnvelope, message(b"")),
        ("a null value", Code::MalformedEnvelope, Message { body: Body::Null, ..message(b"") }),
        ("no JSON", Code::MalformedJson, message(b"hello")),
        ("truncated JSON", Code::MalformedJson, message(&BOM.as_bytes()[..BOM.len() / 2])),
        ("truncated event", Code::MalformedJson, message(br#"{"context":{"type":"dev.cdevents.x"#)),
        ("no UTF-8", Code::MalformedJson, message(b"{\"a\":\"\xff\"}")),
        ("two documents", Code::MalformedJson, message(b"{}\n{}")),
        ("damaged gzip", Code::MalformedJson, message(&gzip(b"{}")[..12])),
        ("an unknown object", Code::UnsupportedFormat, message(b"{\"a\":1}")),
        ("a list", Code::UnsupportedFormat, message(b"[{}]")),
        ("a number", Code::UnsupportedFormat, message(b"7")),
        ("SPDX 3", Code::UnsupportedFormat, message(br#"{"@context":"https://spdx.org/rdf/3.0.1/x","@graph":[]}"#)),
        (
            "XML",
            Code::UnsupportedFormat,
            message(b"<?xml version='1.0'?><bom xmlns='http://cyclonedx.org/schema/bom/1.4'/>"),
        ),
        ("framed protobuf", Code::UnsupportedFormat, message(b"\0\0\0\0\x01\0\x0a\x01a")),
        ("an unknown forced format", Code::UnsupportedFormat, forced("swid", b"{}")),
        ("an unknown encoding", Code::UnsupportedFormat, with_headers(b"{}", &[("content-encoding", "br")])),
        (
            "avro events",
            Code::UnsupportedFormat,
            with_headers(b"x", &[("content-type", "application/cloudevents+avro")]),
        ),
        ("10,000 lists", Code::TooDeep, message(deep.as_bytes())),
        ("10,000 objects", Code::TooDeep, message(deep_object.as_bytes())),
        ("10,000 lists in a bom", Code::TooDeep, message(&deep_bom)),
        ("10,000 lists in data", Code::TooDeep, message(&event(&format!(r#""data":{deep}"#)))),
        ("10,000 lists as text", Code::TooDeep, message(&event(&format!(r#""data":"{deep}""#)))),
        ("10,000 lists packed", Code::TooDeep, message(&zstd::encode_all(deep.as_bytes(), 1).expect("memory"))),
        ("no id", Code::MalformedEnvelope, message(br#"{"specversion":"1.0","source":"/s","type":"t"}"#)),
        ("id a number", Code::MalformedEnvelope, message(br#"{"specversion":"1.0","id":1,"source":"/s","type":"t"}"#)),
        (
            "a claimed event",
            Code::MalformedEnvelope,
            with_headers(b"{}", &[("content-type", "application/cloudevents+json")]),
        ),
        ("data twice", Code::MalformedEnvelope, message(&event(r#""data":{},"data_base64":"e30=""#))),
        ("bad base64", Code::MalformedEnvelope, message(&event(r#""data_base64":"*""#))),
        ("id null in a header", Code::MalformedEnvelope, null_header("ce_id", None)),
        ("id not UTF-8 in a header", Code::MalformedEnvelope, null_header("ce_id", Some(b"\xff"))),
        ("time not UTF-8 in a header", Code::MalformedEnvelope, null_header("ce_time", Some(b"\xff"))),
        ("half of the headers", Code::MalformedEnvelope, with_headers(b"{}", &[("ce_type", "t")])),
        (
            "CloudEvents 2",
            Code::UnsupportedVersion,
            message(br#"{"specversion":"2.0","id":"1","source":"/s","type":"t"}"#),
        ),
        ("CycloneDX 2", Code::UnsupportedVersion, message(br#"{"bomFormat":"CycloneDX","specVersion":"2.0"}"#)),
        (
            "OpenVEX 1",
            Code::UnsupportedVersion,
            message(br#"{"@context":"https://openvex.dev/ns/v1.0.0","statements":[]}"#),
        ),
        ("Trivy 3", Code::UnsupportedVersion, message(br#"{"SchemaVersion":3,"ArtifactName":"x"}"#)),
        (
            "statement v2",
            Code::UnsupportedVersion,
            message(br#"{"_type":"https://in-toto.io/Statement/v2","predicateType":"x"}"#),
        ),
        (
            "a manifest of schema 1",
            Code::UnsupportedVersion,
            message(br#"{"schemaVersion":1,"config":{},"layers":[]}"#),
        ),
        ("another bomFormat", Code::SchemaViolation, message(br#"{"bomFormat":"Other","specVersion":"1.6"}"#)),
        ("no specVersion", Code::SchemaViolation, message(br#"{"bomFormat":"CycloneDX"}"#)),
        ("no bomFormat", Code::SchemaViolation, message(br#"{"specVersion":"1.4","components":[]}"#)),
        ("components a string", Code::SchemaViolation, message(&bom(r#""components":"x""#))),
        ("a component a number", Code::SchemaViolation, message(&bom(r#""components":[1]"#))),
        ("vulnerabilities an object", Code::SchemaViolation, message(&bom(r#""vulnerabilities":{}"#))),
        ("statements missing", Code::SchemaViolation, message(br#"{"@context":"https://openvex.dev/ns"}"#)),
        (
            "another payload type",
            Code::SchemaViolation,
            message(br#"{"payloadType":"text/plain","payload":"e30=","signatures":[]}"#),
        ),
        (
            "payload no base64",
            Code::SchemaViolation,
            message(br#"{"payloadType":"application/vnd.in-toto+json","payload":"*"}"#),
        ),
        (
            "no predicateType",
            Code::SchemaViolation,
            message(br#"{"_type":"https://in-toto.io/Statement/v1","subject":[]}"#),
        ),
        ("a deployment nowhere", Code::SchemaViolation, message(&cdevent("service.deployed.0.3.0", "a", "{}", "{}"))),
        ("no subject id", Code::SchemaViolation, message(&cdevent("environment.created.0.3.0", "", "{}", "{}"))),
        ("content a string", Code::SchemaViolation, message(&cdevent("environment.created.0.3.0", "a", "\"x\"", "{}"))),
        ("an own event of a wrong type", Code::SchemaViolation, message(&own("service-deployed", r#"{"service":7}"#))),
        (
            "an own event of a wrong enum",
            Code::SchemaViolation,
            message(&own("service-deployed", r#"{"strategy":"slow"}"#)),
        ),
        ("an own event that names nothing", Code::SchemaViolation, message(&own("service-deployed", "{}"))),
        ("an own event without data", Code::SchemaViolation, message(&own_event("change-merged", r#""time":null"#))),
        ("an own event with null", Code::SchemaViolation, message(&own("change-merged", "null"))),
        ("an own event without a body", Code::SchemaViolation, binary("io.pedigraph.run-started.v1", &[], b"")),
        ("an own scan of nothing", Code::SubjectMissing, message(&own("scan-completed", "{}"))),
        ("an own scan of a tag", Code::SubjectMissing, message(&own("scan-completed", tag_alone))),
        ("own tests of a tag", Code::SubjectMissing, message(&own("tests-finished", tag_alone))),
        ("a build of a tag", Code::SubjectMissing, message(&own("artifact-packaged", tag_alone))),
        ("a signature of a tag", Code::SubjectMissing, message(&own("artifact-signed", tag_alone))),
        ("an own SBOM of a tag", Code::SubjectMissing, message(&own("sbom-attached", tag_alone))),
        ("an own scan of bare hex", Code::DigestInvalid, message(&own("scan-completed", &bare))),
        ("an own SBOM of bare hex", Code::DigestInvalid, message(&own("sbom-attached", &bare_sbom))),
        ("a scan of a folder", Code::SubjectMissing, message(&trivy(""))),
        (
            "VEX of nothing",
            Code::SubjectMissing,
            message(br#"{"@context":"https://openvex.dev/ns","statements":[{"status":"fixed"}]}"#),
        ),
        ("a subject that is no digest", Code::DigestInvalid, subject("cart")),
        ("a subject of a wrong length", Code::DigestInvalid, subject("sha256:12")),
        (
            "an event's subject of a wrong length",
            Code::DigestInvalid,
            message(&event(r#""subject":"sha256:12","data":{}"#)),
        ),
        (
            "no subject is valid",
            Code::DigestInvalid,
            message(br#"{"predicateType":"x","subject":[{"digest":{"sha256":"1"}}]}"#),
        ),
        ("a claim check", Code::DatarefForbidden, message(&event(r#""dataref":"https://x/1""#))),
        ("statements that multiply", Code::TooLarge, message(multiplied.as_bytes())),
        ("more subjects than views fold at once", Code::TooManyItems, message(joined.as_bytes())),
        ("five components", Code::TooManyItems, message(&bom(&format!(r#""components":[{five}]"#)))),
        ("three vulnerabilities", Code::TooManyItems, message(&bom(r#""vulnerabilities":[{},{},{}]"#))),
        (
            "three findings",
            Code::TooManyItems,
            message(br#"{"SchemaVersion":2,"Results":[{"Vulnerabilities":[{},{},{}]}]}"#),
        ),
        ("nine attributes", Code::TooManyItems, message(&event(r#""a":1,"b":1,"c":1,"d":1,"e":1"#))),
        ("nine headers", Code::TooManyItems, with_headers(b"{}", &[("a", "1"); 9])),
        ("a long attribute", Code::TooLarge, message(&event(&format!(r#""subject":"{long}""#)))),
        ("a long extension", Code::TooLarge, message(&event(&format!(r#""unknown":"{long}""#)))),
        ("a long extension that is a list", Code::TooLarge, message(&event(&format!(r#""unknown":["{long}"]"#)))),
        ("a long header", Code::TooLarge, with_headers(b"{}", &[("a", &long)])),
        ("a large body", Code::TooLarge, message(&vec![b' '; (16 << 20) + 1])),
        ("a gzip bomb", Code::DecompressionLimit, message(&gzip(&vec![b' '; 4 << 20]))),
        (
            "a zstd bomb",
            Code::DecompressionLimit,
            message(&zstd::encode_all(&vec![b' '; 4 << 20][..], 3).expect("memory")),
        ),
    ];
    for (what, code, message) in table {
        let limits = if what.contains("multipl") || what.contains("times") { &Limits::default() } else { &limits };
        match run(&message, limits) {
            Ok(decoded) => panic!("{what}: accepted as {}: {:?}", decoded.format, decoded.facts),
            Err(rejected) => {
                assert_eq!(rejected.reject.code, code, "{what}: {}", rejected.reject.reason);
                assert!(!rejected.source.is_empty() && !rejected.id.is_empty(), "{what} is named");
            }
        }
    }
}

/// Documents in which `VALUE` stands where a string is read, and lists and objects of them.
const READ_AS_TEXT: [&str; 31] = [
    r#"{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"purl":VALUE}]}"#,
    r#"{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"name":VALUE}]}"#,
    r#"{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"version":VALUE}]}"#,
    r#"{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"group":VALUE}]}"#,
    r#"{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"bom-ref":VALUE}]}"#,
    r#"{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"hashes":[{"alg":"MD5","content":VALUE}]}]}"#,
    r#"{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"licenses":[{"expression":VALUE}]}]}"#,
    r#"{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"licenses":[{"license":{"id":VALUE}}]}]}"#,
    r#"{"bomFormat":"CycloneDX","specVersion":"1.6","serialNumber":VALUE}"#,
    r#"{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{"timestamp":VALUE}}"#,
    r#"{"bomFormat":"CycloneDX","specVersion":"1.6","dependencies":[{"ref":VALUE}]}"#,
    r#"{"bomFormat":"CycloneDX","specVersion":"1.6","dependencies":[{"ref":"a","dependsOn":[VALUE]}]}"#,
    r#"{"bomFormat":"CycloneDX","specVersion":"1.6","vulnerabilities":[{"id":VALUE}]}"#,
    r#"{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{"component":{"purl":"pkg:npm/a@1"}},"vulnerabilities":[{"analysis":{"state":VALUE}}]}"#,
    r#"{"@context":"https://openvex.dev/ns","statements":[{"products":["a"],"status":VALUE}]}"#,
    r#"{"@context":"https://openvex.dev/ns","statements":[{"products":["a"],"vulnerability":{"name":VALUE}}]}"#,
    r#"{"@context":"https://openvex.dev/ns","statements":[{"products":[{"@id":"a","identifiers":{"purl":VALUE}}]}]}"#,
    r#"{"SchemaVersion":2,"Metadata":{"ImageID":"DIGEST"},"Results":[{"Vulnerabilities":[{"VulnerabilityID":VALUE}]}]}"#,
    r#"{"SchemaVersion":2,"Metadata":{"ImageID":"DIGEST","RepoTags":[VALUE]},"Results":[]}"#,
    r#"{"matches":[],"source":{"type":"image","target":{"imageID":"DIGEST","userInput":VALUE}}}"#,
    r#"{"matches":[{"artifact":{"purl":VALUE}}],"source":{"type":"image","target":{"imageID":"DIGEST"}}}"#,
    r#"{"document":{"csaf_version":"2.0","publisher":{"name":VALUE}}}"#,
    r#"{"document":{"csaf_version":"2.0"},"vulnerabilities":[{"product_status":{"fixed":[VALUE]}}]}"#,
    r#"{"document":{"csaf_version":"2.0"},"product_tree":{"branches":[{"product":{"product_id":VALUE}}]}}"#,
    r#"{"document":{"csaf_version":"2.0"},"product_tree":{"relationships":[{"product_reference":VALUE}]}}"#,
    r#"{"predicateType":"x","subject":[{"name":VALUE,"digest":{"sha1":"da39a3ee5e6b4b0d3255bfef95601890afd80709"}}]}"#,
    r#"{"predicateType":"https://slsa.dev/provenance/v1","subject":[{"digest":{"sha1":"da39a3ee5e6b4b0d3255bfef95601890afd80709"}}],"predicate":{"runDetails":{"builder":{"id":VALUE}}}}"#,
    r#"{"schemaVersion":2,"manifests":[{"digest":VALUE}]}"#,
    r#"{"schemaVersion":2,"config":{"digest":VALUE},"layers":[]}"#,
    r#"{"schemaVersion":2,"manifests":[],"annotations":{"org.opencontainers.image.source":VALUE}}"#,
    r#"{"architecture":VALUE,"os":"linux","rootfs":{"diff_ids":["DIGEST"]}}"#,
];

#[test]
fn a_wrong_type_where_we_read_is_refused_and_null_is_not() {
    for document in READ_AS_TEXT {
        let document = document.replace("DIGEST", DIGEST);
        for value in ["null", "\"\"", "\"x\"", "\"pkg:%%\""] {
            let found = run(&message(document.replace("VALUE", value).as_bytes()), &Limits::default());
            assert!(found.is_ok(), "{document} {value}: {}", show(&found));
        }
        for value in ["7", "0.5", "true", "[\"x\"]", "{\"x\":1}"] {
            let found = run(&message(document.replace("VALUE", value).as_bytes()), &Limits::default());
            let code = found.as_ref().err().map(|rejected| rejected.reject.code);
            assert_eq!(code, Some(Code::SchemaViolation), "{document} {value}: {}", show(&found));
        }
    }
    // What a build type or a tool fills as it likes is read where it is what we know.
    let free = r#"{"predicateType":"https://slsa.dev/provenance/v1","subject":[{"digest":{"sha1":"da39a3ee5e6b4b0d3255bfef95601890afd80709"}}],
        "predicate":{"buildDefinition":{"externalParameters":{"source":{"uri":7},"workflow":"x"}}}}"#;
    run(&message(free.as_bytes()), &Limits::default()).expect("accepted");
}

/// A document of that many components, written piece by piece.
fn write_large_bom(out: &mut dyn Write, components: usize, head_first: bool) {
    let head = r#""bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1"#;
    let start = if head_first { format!("{{ {head}, ") } else { "{ ".to_owned() };
    write!(out, "{start}\n \"components\": [").expect("writes");
    for number in 0..components {
        let separator = if number == 0 { "" } else { "," };
        write!(
            out,
            r#"{separator}
    {{
      "bom-ref": "pkg:npm/%40scope/component-{number}@1.{number}.0?package-id={number:016x}",
      "type": "library",
      "group": "@scope",
      "name": "component-{number}",
      "version": "1.{number}.0",
      "description": "{}",
      "licenses": [ {{ "license": {{ "id": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" }} }} ],
      "purl": "pkg:npm/%40scope/component-{number}@1.{number}.0",
      "hashes": [ {{ "alg": "SHA-256", "content": "{number:064x}" }} ],
      "properties": [ {{ "name": "syft:location:0:path", "value": "/app/node_modules/component-{number}/package.json" }} ]
    }}"#,
            "what it does, at some length; ".repeat(8)
        )
        .expect("writes");
    }
    write!(out, "\n ],\n \"dependencies\": [").expect("writes");
    for number in 0..components {
        let separator = if number == 0 { "" } else { "," };
        let reference =
            |number: usize| format!("\"pkg:npm/%40scope/component-{number}@1.{number}.0?package-id={number:016x}\"");
        let to = [number * 2 + 1, number * 2 + 2].map(reference).join(", ");
        write!(out, "{separator}\n  {{ \"ref\": {}, \"dependsOn\": [{to}] }}", reference(number)).expect("writes");
    }
    let end = if head_first { String::new() } else { format!(", {head}") };
    write!(out, "\n ]{end} }}\n").expect("writes");
}

#[test]
fn a_streamed_document_says_the_same_as_one_in_memory() {
    let limits = Limits::default();
    for head_first in [true, false] {
        let mut bytes = Vec::new();
        write_large_bom(&mut bytes, 700, head_first);
        let whole = run(&message(&bytes), &limits);
        assert_eq!(show(&whole), show(&run_stream(&message(&bytes), &bytes, &limits)));
        assert_eq!(whole.as_ref().expect("accepted").facts.len(), 3, "two slices of 512 and 188 components");
    }
    let Some(root) = corpora() else { return };
    for path in ["cyclonedx", "trivy", "grype", "openvex", "csaf", "trustify/ds3/csaf", "cdevents/conformance"]
        .iter()
        .flat_map(|name| files(&root.join(name)))
    {
        let bytes = std::fs::read(&path).expect("a corpus can be read");
        let (whole, streamed) = (run(&message(&bytes), &limits), run_stream(&message(&bytes), &bytes, &limits));
        assert_eq!(show(&whole), show(&streamed), "{}", path.display());
        let packed = gzip(&bytes);
        assert_eq!(show(&whole), show(&run(&message(&packed), &limits)), "{} packed", path.display());
    }
}

#[test]
fn every_packing_is_unpacked_in_pieces() {
    let mut bytes = Vec::new();
    write_large_bom(&mut bytes, 100, true);
    let want = run(&message(&bytes), &Limits::default()).expect("accepted").facts;
    let want_streamed =
        decode_stream(&message(b""), &mut Cursor::new(&bytes), &[7; 32], &Limits::default()).expect("memory");
    let want_streamed = Decoded::of(want_streamed.expect("accepted")).facts;
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    bzip2.write_all(&bytes).expect("memory");
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
    xz.write_all(&bytes).expect("memory");
    let packed = [
        gzip(&bytes),
        [gzip(&bytes[..900]), gzip(&bytes[900..])].concat(),
        zstd::encode_all(&bytes[..], 19).expect("memory"),
        bzip2.finish().expect("memory"),
        xz.finish().expect("memory"),
    ];
    for packed in packed {
        let decoded = run(&message(&packed), &Limits::default()).expect("accepted");
        assert_eq!(decoded.facts, want);
        assert_eq!(decoded.id, format!("sha256:{}", hex::encode(sha256(&bytes))), "named by what was packed");
        // Too large for memory: the same from a file, and nothing else may be so large.
        let limits = Limits { event_bytes_max: 1_000, ..Limits::default() };
        assert_eq!(run(&message(&packed), &limits).expect("accepted").facts, want_streamed);
    }
    let limits = Limits { event_bytes_max: 1_000, ..Limits::default() };
    let rejected = run(&message(&gzip(&cdevent("service.deployed.0.3.0", &"x".repeat(1_000), "{}", "{}"))), &limits);
    assert_eq!(rejected.expect_err("refused").reject.code, Code::TooLarge);
    // What is packed twice is what was packed once: no format of ours.
    let rejected = run(&message(&gzip(&gzip(&bytes))), &Limits::default());
    assert_eq!(rejected.expect_err("refused").reject.code, Code::MalformedJson);
}

const CHILD: &str = "PEDIGRAPH_TEST_LARGE_BOM";

/// Runs in a process of its own, since the peak of memory is a process's.
fn decode_large_bom(path: &Path) -> String {
    let mut file = std::fs::File::open(path).expect("the parent wrote it");
    let size = file.seek(SeekFrom::End(0)).expect("a file seeks");
    let limits = Limits::default();
    let decoded = decode_stream(&message(b""), &mut file, &[0; 32], &limits).expect("reads").expect("accepted");
    let Some(Event::SbomAttached(sbom)) = &decoded.facts.heads()[0].event else { panic!("{:?}", decoded.facts) };
    let components = sbom.component_count;
    assert_eq!(decoded.facts.into_iter().count() - 1, (components as usize).div_ceil(512));
    let mut status = String::new();
    std::fs::File::open("/proc/self/status").expect("Linux").read_to_string(&mut status).expect("reads");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux");
    let kib: u64 = peak.trim().trim_end_matches("kB").trim().parse().expect("a number");
    let figures = format!("{size} bytes, {components} components, {kib} KiB at the peak");
    assert!(size > 50_000_000 && kib < 30_000, "{figures}");
    figures
}

#[test]
fn a_50_mb_sbom_takes_less_than_30_mb() {
    if let Some(path) = std::env::var_os(CHILD) {
        return println!("{}", decode_large_bom(Path::new(&path)));
    }
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut out = std::io::BufWriter::new(&mut file);
    write_large_bom(&mut out, 50_000, true);
    out.flush().expect("writes");
    drop(out);
    let output = std::process::Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "a_50_mb_sbom_takes_less_than_30_mb", "--nocapture"])
        .env(CHILD, file.path())
        .output()
        .expect("this test runs again");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A Trivy report of that many findings, written piece by piece.
fn write_large_report(out: &mut dyn Write, findings: usize) {
    let head = r#"{"SchemaVersion":2,"ArtifactName":"ghcr.io/acme/pay:3","CreatedAt":"2026-02-03T04:05:06Z","Metadata":{"RepoDigests":"#;
    write!(out, "{head}[\"ghcr.io/acme/pay@{OTHER}\"]}},\"Results\":[").expect("writes");
    for number in 0..findings {
        // A target for each hundred findings.
        let opens = match number {
            0 => r#"{"Target":"a","Vulnerabilities":["#,
            _ if number % 100 == 0 => r#"]},{"Class":"os-pkgs","Vulnerabilities":["#,
            _ => ",",
        };
        write!(
            out,
            r#"{opens}{{"VulnerabilityID":"CVE-2026-{number}","PkgName":"lib{number}","InstalledVersion":"1.{number}","FixedVersion":"2.0","Severity":"HIGH",
            "PkgIdentifier":{{"PURL":"pkg:deb/debian/lib{number}@1.{number}?arch=amd64"}},"Title":"lib: a title","Description":"{text}","References":["{link}","{link}"]}}"#,
            text = "what may happen, told at length; ".repeat(24),
            link = "https://example.org/advisories/what-may-happen",
        )
        .expect("writes");
    }
    write!(out, "]}}]}}").expect("writes");
}

/// An OpenVEX document of that many statements, written piece by piece.
fn write_large_vex(out: &mut dyn Write, statements: usize) {
    write!(out, r#"{{"@context":"https://openvex.dev/ns/v0.2.0","author":"acme","statements":["#).expect("writes");
    for number in 0..statements {
        let separator = if number == 0 { "" } else { "," };
        write!(
            out,
            r#"{separator}{{"vulnerability":{{"name":"CVE-2025-{number}"}},"products":[{{"@id":"pkg:oci/pay@{OTHER}"}}],"status":"not_affected",
            "justification":"vulnerable_code_not_present","status_notes":"{}"}}"#,
            "who looked at it, and how; ".repeat(30)
        )
        .expect("writes");
    }
    // Its version comes last, and is a string as in older documents.
    write!(out, r#"],"@id":"https://acme.example/vex/9","version":"4","timestamp":"2026-01-02T03:04:05Z"}}"#)
        .expect("writes");
}

#[test]
fn findings_and_statements_are_streamed_as_they_are_read_in_memory() {
    let limits = Limits::default();
    let (mut report, mut vex) = (Vec::new(), Vec::new());
    write_large_report(&mut report, 1_030);
    write_large_vex(&mut vex, 515);
    for (bytes, format, facts) in [(&report, "trivy", 3), (&vex, "openvex", 2)] {
        let (whole, streamed) = (run(&message(bytes), &limits), run_stream(&message(bytes), bytes, &limits));
        assert_eq!(show(&whole), show(&streamed));
        let decoded = streamed.expect("accepted");
        assert_eq!((decoded.format, decoded.facts.len()), (format, facts));
        let few = Limits { statements_max: 514, ..Limits::default() };
        for refused in [run(&message(bytes), &few), run_stream(&message(bytes), bytes, &few)] {
            assert_eq!(refused.expect_err("refused").reject.code, Code::TooManyItems);
        }
    }
}

/// Decodes a document as it would be from a file, and says what that took.
fn streamed_memory(bytes: &[u8]) -> (Decoded, u64) {
    let mut decoded = None;
    let memory = allocation_counter::measure(|| {
        let streamed = decode_stream(&message(b""), &mut Cursor::new(bytes), &[3; 32], &Limits::default());
        decoded = Some(streamed.expect("memory does not fail").expect("accepted"));
    });
    (Decoded::of(decoded.expect("set")), memory.bytes_max)
}

#[test]
fn a_report_of_100_mb_takes_memory_by_what_it_states() {
    let mut bytes = Vec::new();
    write_large_report(&mut bytes, 90_000);
    assert!(bytes.len() > 100_000_000, "{}", bytes.len());
    let (decoded, memory) = streamed_memory(&bytes);
    println!("Trivy: {} bytes of report, {memory} bytes at the peak", bytes.len());
    assert_eq!(decoded.facts.len(), 90_000_usize.div_ceil(512));
    assert!(memory < 60_000_000, "{memory}");
    bytes.clear();
    write_large_vex(&mut bytes, 100_000);
    assert!(bytes.len() > 100_000_000, "{}", bytes.len());
    let (decoded, memory) = streamed_memory(&bytes);
    println!("OpenVEX: {} bytes of document, {memory} bytes at the peak", bytes.len());
    assert_eq!(decoded.facts.len(), 100_000_usize.div_ceil(512));
    assert!(memory < 100_000_000, "{memory}");
}

#[test]
fn a_document_of_any_format_may_be_larger_than_an_event() {
    let padding = " ".repeat(20 << 20);
    let documents = [
        (statement("v1", "https://slsa.dev/provenance/v1", SLSA_1), "in-toto"),
        (envelope(&statement("v1", "https://slsa.dev/provenance/v1", SLSA_1)), "dsse"),
        (format!(r#"{{"schemaVersion":2,"manifests":[{{"digest":"{OTHER}"}}]}}"#), "oci-index"),
        (BOM.replace("DIGEST", DIGEST), "cyclonedx"),
    ];
    for (document, format) in documents {
        let small = run(&message(document.as_bytes()), &Limits::default()).expect("accepted");
        let large = document.replacen('{', &format!("{{{padding}"), 1).into_bytes();
        let streamed = run_stream(&message(&large), &large, &Limits::default()).expect("accepted");
        assert_eq!((streamed.format, streamed.facts.len()), (format, small.facts.len()));
        // What is held whole while it is read has a limit of its own; what is not, has not.
        let few = Limits { whole_bytes_max: 20 << 20, ..Limits::default() };
        let code = run_stream(&message(&large), &large, &few).err().map(|rejected| rejected.reject.code);
        assert_eq!(code, (format != "cyclonedx").then_some(Code::TooLarge), "{format}");
    }
    let event =
        [&cdevent("service.deployed.0.3.0", "cart", r#"{"environment":{"id":"prod"}}"#, "{}")[..], padding.as_bytes()];
    let event = event.concat();
    let refused = run_stream(&message(&event), &event, &Limits::default()).expect_err("an event is no document");
    assert_eq!(refused.reject.code, Code::TooLarge);
}

/// Documents of every format to cut and to damage.
fn samples() -> Vec<Vec<u8>> {
    let mut samples = vec![
        BOM.replace("DIGEST", DIGEST).into_bytes(),
        envelope(&statement("v1", "https://slsa.dev/provenance/v1", SLSA_1)).into_bytes(),
        statement("v0.1", "https://slsa.dev/provenance/v0.2", SLSA_02).into_bytes(),
        cdevent("service.deployed.0.3.0", "cart", r#"{"environment":{"id":"prod"}}"#, r#"{"weight":1,"flags":["a"]}"#),
        gzip(BOM.as_bytes()),
    ];
    let Some(root) = corpora() else { return samples };
    let folders = ["cdevents/conformance", "cyclonedx/spec", "openvex", "csaf", "slsa", "trivy", "grype"];
    let paths = folders.iter().flat_map(|folder| files(&root.join(folder)));
    samples.extend(paths.step_by(5).map(|path| std::fs::read(path).expect("a corpus can be read")));
    samples.retain(|sample| sample.len() < 200_000);
    samples
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        magic in prop::sample::select(vec![&b""[..], b"\x1f\x8b\x08", b"BZh9", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"\0\0\0\0\x01", b"{"]),
        kind in prop::sample::select(vec!["application/json", "application/cloudevents+json", "application/protobuf", "application/x-ndjson"]),
        own in prop::sample::select(Event::KEBAB_NAMES.to_vec()),
    ) {
        let body = [magic, &bytes].concat();
        let limits = Limits::default();
        let _ = run(&message(&body), &limits);
        let _ = run_stream(&message(&body), &body, &limits);
        let _ = run(&with_headers(&body, &[("content-type", kind)]), &limits);
        let _ = split(&with_headers(&body, &[("content-type", kind)]), &limits);
        let kind_header = format!("io.pedigraph.{own}.v1");
        let _ = run(&binary(&kind_header, &[], &body), &limits);
        let protobuf = with_headers(&body, &[("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_source", "s"),
            ("ce_type", &kind_header), ("content-type", "application/protobuf")]);
        let _ = run(&protobuf, &limits);
    }
}

#[test]
fn cut_and_damaged_documents_never_panic() {
    let samples = samples();
    let limits = Limits::default();
    // Wrong types and characters where values begin, and cuts everywhere.
    let damage: [&[u8]; 8] = [b"1", b"\"", b"{}", b"[]", b"null", b"\xff", b"-1e999", b"\"\\ud800\""];
    for sample in &samples {
        let values: Vec<usize> =
            sample.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at + 1).collect();
        let step = (values.len() / 60).max(1);
        for at in values.iter().copied().step_by(step) {
            let _ = run(&message(&sample[..at]), &limits);
            for piece in damage {
                let mutated = [&sample[..at], piece, b",\"x\":", &sample[at..]].concat();
                let _ = run(&message(&mutated), &limits);
                let end = sample[at..]
                    .iter()
                    .position(|byte| matches!(byte, b',' | b'}'))
                    .map_or(sample.len(), |end| at + end);
                let replaced = [&sample[..at], piece, &sample[end..]].concat();
                let _ = run(&message(&replaced), &limits);
            }
        }
    }
}

#[test]
fn long_strings_and_lists_still_fit_into_facts() {
    let long = "x".repeat(200_000);
    let many = vec![format!("\"{}\"", "y".repeat(9_000)); 300].join(",");
    let event = format!(
        r#"{{"context":{{"id":"1","source":"/s","type":"dev.cdevents.service.deployed.0.3.0"}},"subject":{{"id":"cart",
        "content":{{"environment":{{"id":"prod"}},"artifactId":"a"}}}},"customData":{{"reason":"{long}","unread":"{long}"}}}}"#
    );
    run(&message(event.as_bytes()), &Limits::default()).expect("accepted");
    // Of what names an event's own things nothing is cut.
    for name in [r#""id":"cart""#, r#""id":"prod""#, r#""artifactId":"a""#, r#""reason""#] {
        let (field, _) = name.split_once(':').unwrap_or((r#""actor""#, ""));
        let text = if name == r#""reason""# { field.to_owned() } else { format!(r#"{field}:"{long}""#) };
        let refused = run(&message(event.replacen(name, &text, 1).as_bytes()), &Limits::default());
        assert_eq!(refused.expect_err("too long").reject.code, Code::TooLarge, "{name}");
    }
    let vex = format!(
        r#"{{"@context":"https://openvex.dev/ns","author":"a","statements":[{{"impact_statement":"{long}","vulnerability":
        {{"name":"{long}","aliases":[{many}]}},"products":[{{"@id":"{long}","subcomponents":[{many}]}}]}}]}}"#
    );
    let decoded = run(&message(vex.as_bytes()), &Limits::default()).expect("accepted");
    assert_eq!(decoded.facts.len(), 3, "300 subcomponents in statements of 128");
    let component = format!(
        r#"{{"name":"{long}","version":"{long}","purl":"{long}","group":"{long}","type":"{long}","licenses":[{}]}}"#,
        vec![format!(r#"{{"expression":"{long}"}}"#); 9].join(",")
    );
    let bom = format!(r#"{{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{component},{{"name":"b"}}]}}"#);
    run(&message(bom.as_bytes()), &Limits::default()).expect("accepted");
}

#[test]
fn a_list_says_how_to_send_what_is_in_it() {
    let rejected = run(&message(b"[{}]"), &Limits::default()).expect_err("a list").reject;
    assert!(rejected.reason.contains("application/cloudevents-batch+json"), "{}", rejected.reason);
}
