//! Documents per CPU second of decoding: one CDEvent of 2.3 KB, beside what bounds it, and SBOMs. Run with
//! `cargo bench -p pedigraph-processor --bench decode`.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use pedigraph_processor::decode::decode;
use pedigraph_processor::limits::Limits;
use pedigraph_processor::measure;
use pedigraph_proto::TenantId;
use pedigraph_proto::canonical::sha256;
use pedigraph_proto::message::{Body, Message};
use pedigraph_proto::wire::Origin;

// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What each measurement runs for.
const MEASURED: Duration = Duration::from_millis(700);

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn main() {
    let event = Bytes::from(event());
    let bare = message(&event, &[]);
    let binary = message(
        &event,
        &[
            ("ce_specversion", "1.0"),
            ("ce_id", "271069a8-fc18-44f1-b38f-9d70a1695819"),
            ("ce_source", "/ci/cart"),
            ("ce_type", "dev.cdevents.service.deployed.0.3.0"),
            ("ce_time", "2026-03-20T14:27:05.315384Z"),
            ("content-type", "application/json"),
        ],
    );
    let envelope = Bytes::from(format!(
        r#"{{"specversion":"1.0","id":"1","source":"/ci","type":"dev.cdevents.service.deployed.0.3.0","data":{}}}"#,
        std::str::from_utf8(&event).expect("written above")
    ));
    let structured = message(&envelope, &[("content-type", "application/cloudevents+json")]);

    let (limits, digest) = (Limits::default(), [7; 32]);
    println!("one CDEvent, {} bytes, per CPU second of one core", event.len());
    report("decode, bare", 500, || black_box(decode(&bare, &event, &digest, &limits)).is_ok());
    report("decode, binary CloudEvent", 500, || black_box(decode(&binary, &event, &digest, &limits)).is_ok());
    report("decode, structured CloudEvent", 500, || {
        black_box(decode(&structured, &envelope, &digest, &limits)).is_ok()
    });
    report("ceiling: serde_json to Value", 500, || {
        black_box(serde_json::from_slice::<serde_json::Value>(&event)).is_ok()
    });
    report("ceiling: serde_json skipping all", 500, || {
        black_box(serde_json::from_slice::<serde::de::IgnoredAny>(&event)).is_ok()
    });
    report("ceiling: UTF-8 check", 500, || black_box(std::str::from_utf8(&event)).is_ok());
    report("redaction, nothing to overwrite", 500, || black_box(measure::redacted(&event)).is_none());
    report("ceiling: SHA-256", 500, || black_box(sha256(&event))[0] < u8::MAX || event.is_empty());

    for components in [30, 300, 20_000] {
        let sbom = Bytes::from(sbom(components));
        let message = message(&sbom, &[]);
        // Facts are made when they are asked for.
        let all = || decode(&message, &sbom, &digest, &limits).map_or(0, |decoded| decoded.facts.into_iter().count());
        report(&format!("decode, SBOM of {components} components"), 10_000 / components, || black_box(all()) > 1);
    }
}

fn message(body: &Bytes, headers: &[(&str, &str)]) -> Message {
    let headers = headers.iter().map(|(name, value)| ((*name).into(), Some(Bytes::copy_from_slice(value.as_bytes()))));
    Message {
        tenant: TenantId::default(),
        origin: Origin::default(),
        source: "bench".into(),
        headers: headers.collect(),
        body: Body::Bytes(body.clone()),
        subject: None,
        format: None,
        broker_time: None,
        replay_of: None,
    }
}

/// Custom data, links and an artifact as a pipeline sends them.
fn event() -> String {
    let link = r#"{"linkType":"PATH","from":{"contextId":"5328c37f-bb7e-4bb7-84ea-9f5f85e4a7ce"},"tags":{"team":"shop","stage":"canary"}}"#;
    let links = [link; 6].join(",");
    let padding = "the pipeline's own notes, which lineage does not read; ".repeat(14);
    let digest = "0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427";
    format!(
        r#"{{"context":{{"specversion":"0.5.1","id":"271069a8-fc18-44f1-b38f-9d70a1695819",
"chainId":"4c8cb7dd-3448-41de-8768-eec704e2829b","source":"/ci/cart","type":"dev.cdevents.service.deployed.0.3.0",
"timestamp":"2026-03-20T14:27:05.315384Z","schemaUri":"https://example.org/schema/custom","links":[{links}]}},
"subject":{{"id":"cart","source":"/clusterA/shop","content":{{"environment":{{"id":"prod","source":"/clusters"}},
"artifactId":"pkg:oci/cart@sha256%3A{digest}?repository_url=ghcr.io/acme/cart&tag=1.4.2"}}}},
"customData":{{"cluster":"eu-1","namespace":"shop","strategy":"canary","weight":10,"actor":"mybot","notes":"{padding}"}},
"customDataContentType":"application/json"}}"#
    )
}

/// CycloneDX with a license, a digest and two dependencies for each component.
fn sbom(components: usize) -> String {
    let reference = |n: usize| format!(r#""pkg:npm/%40scope/component-{n}@1.{}.0?package-id={n:016x}""#, n % 13);
    let rows = (0..components).map(|n| {
        format!(
            r#"{{"type":"library","bom-ref":{},"group":"@scope","name":"component-{n}","version":"1.{minor}.0",
"licenses":[{{"license":{{"id":"Apache-2.0"}}}}],"hashes":[{{"alg":"SHA-256","content":"{n:064x}"}}],
"purl":"pkg:npm/%40scope/component-{n}@1.{minor}.0"}}"#,
            reference(n),
            minor = n % 13
        )
    });
    let edges = (0..components).map(|n| {
        let to = [n * 2 + 1, n * 2 + 2].map(reference).join(",");
        format!(r#"{{"ref":{},"dependsOn":[{to}]}}"#, reference(n))
    });
    format!(
        r#"{{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"components":[{}],"dependencies":[{}]}}"#,
        rows.collect::<Vec<_>>().join(","),
        edges.collect::<Vec<_>>().join(",")
    )
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn report(what: &str, at_once: usize, mut once: impl FnMut() -> bool) {
    let mut best = f64::MAX;
    for _ in 0..5 {
        let (mut count, start) = (0_u32, cpu_time());
        while cpu_time() - start < MEASURED / 5 {
            for _ in 0..=at_once {
                assert!(once());
                count += 1;
            }
        }
        best = best.min((cpu_time() - start).as_secs_f64() / f64::from(count));
    }
    println!("{what:<34} {:>12.0}/s {:>8.0} ns", 1.0 / best, best * 1e9);
}

/// CPU time of this thread, which other load on the machine does not change.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanoseconds.unwrap_or_default())
}
