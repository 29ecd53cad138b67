//! Kafka → durable ledger beside what its stages cost one by one, from one run.
//!
//! `cargo bench -p pedigraph-processor --bench kafka [-- EVENTS]`. The mock cluster and the producer run in a child
//! process, so that CPU seconds are those of the write path alone: all of its threads, librdkafka's included.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a bench reads the clock, prints, and stops at the first surprise"
)]

mod cpu;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pedigraph_ledger::{Batch, LogId, NewEntry, Options, Part};
use pedigraph_processor::kafka::Topic;
use pedigraph_processor::mock::Cluster;
use pedigraph_processor::producer::Producer;
use pedigraph_processor::{Config, Limits, decode, kafka, measure};
use pedigraph_proto::TenantId;
use pedigraph_proto::fact::encode_chunk;
use pedigraph_proto::message::{Body, Message};
use pedigraph_proto::protobuf::Message as _;
use pedigraph_proto::wire::{Entry, Origin, TimeSource};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message as _;

/// The same as in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TOPIC: &str = "pedigraph.cd";
/// The mock keeps 5 MiB a partition.
const EACH_PARTITION: usize = 2_000;
const CHILD: &str = "PEDIGRAPH_BENCH_MOCK";

fn main() {
    let events = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(200_000);
    if std::env::var_os(CHILD).is_some() {
        return serve_mock(events);
    }
    println!("{events} CDEvents of {} bytes, CPU microseconds per event unless said otherwise\n", event(0).len());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg(events.to_string())
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut bootstrap = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut bootstrap).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ceiling = if only("stages") { stages(bootstrap.trim(), events, dir.path()) } else { 0.0 };
    whole(bootstrap.trim(), events, dir.path(), ceiling);
    drop(child.stdin.take());
    child.wait().unwrap();
    if only("receipts") {
        receipts(dir.path());
    }
}

/// The child: a cluster that holds all events before the first is read.
fn serve_mock(events: usize) {
    let partitions = i32::try_from(events.div_ceil(EACH_PARTITION)).unwrap();
    let cluster = Cluster::with_partitions(&[(TOPIC, partitions)]).unwrap();
    let producer = Producer::new(&cluster.bootstrap()).unwrap();
    for n in 0..events {
        producer.send_to(TOPIC, (n / EACH_PARTITION) as i32, &[], Some(event(n).as_bytes())).unwrap();
    }
    producer.flush().unwrap();
    println!("{}", cluster.bootstrap());
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

fn event(n: usize) -> String {
    let steps: Vec<String> = (0..12)
        .map(|step| format!(r#"{{"name":"step-{step}","image":"registry.example.com/ci/runner:{n}","exitCode":0,"durationMs":{},"labels":["team:payments","tier:gold"]}}"#, n * 7 + step))
        .collect();
    format!(
        r#"{{"context":{{"version":"0.4.1","id":"271069a8-fc18-44f1-b38f-{n:012}","source":"https://ci.example.com/shop/cart","type":"dev.cdevents.service.deployed.0.2.0","timestamp":"2023-03-20T14:27:05.315384Z","chainId":"4c8cb7dd-3448-41de-8768-eec704e2829b"}},"subject":{{"id":"cart","source":"/cluster/prod-eu-1","type":"service","content":{{"environment":{{"id":"prod","source":"/cluster"}},"artifactId":"pkg:oci/cart@sha256:{:064x}?repository_url=registry.example.com/shop/cart&tag=1.{n}"}}}},"customData":{{"pipeline":"shop/cart/release","attempt":1,"steps":[{}]}},"customDataContentType":"application/json"}}"#,
        n,
        steps.join(",")
    )
}

/// For looking at one part with a profiler.
fn only(part: &str) -> bool {
    std::env::var("ONLY").map_or(true, |only| only.split(',').any(|name| name == part))
}

fn us_each(events: usize, work: impl FnOnce()) -> f64 {
    let before = cpu::seconds();
    work();
    (cpu::seconds() - before) * 1e6 / events as f64
}

fn message(body: Bytes) -> Message {
    Message {
        tenant: TenantId::default(),
        origin: Origin { kind: "http".to_owned(), topic: "/api/v1/events".to_owned(), ..Origin::default() },
        source: "http".to_owned(),
        headers: Vec::new(),
        body: Body::Bytes(body),
        subject: None,
        format: None,
        broker_time: None,
        replay_of: None,
    }
}

fn client(bootstrap: &str) -> kafka::Config {
    let topics = vec![Topic { name: TOPIC.to_owned(), ..Topic::default() }];
    let (brokers, group, options) = (bootstrap.to_owned(), "bench".to_owned(), BTreeMap::new());
    kafka::Config { brokers, group, topics, options, accept_gaps: Vec::new() }
}

/// Each stage alone; the sum is the ceiling.
fn stages(bootstrap: &str, events: usize, dir: &Path) -> f64 {
    let consume = us_each(events, || consume(bootstrap, events));
    let bodies: Vec<Bytes> = (0..20_000).map(|n| Bytes::from(event(n))).collect();
    let rounds = 5;
    let each = |work: &mut dyn FnMut(&Bytes)| {
        us_each(bodies.len() * rounds, || (0..rounds).for_each(|_| bodies.iter().for_each(&mut *work)))
    };
    let limits = Limits::default();
    let sha256 = each(&mut |body| {
        std::hint::black_box(measure::digest(body));
    });
    let template = message(Bytes::new());
    let parse = each(&mut |body| {
        std::hint::black_box(decode::decode(&template, body, &[0; 32], &limits).unwrap());
    });
    let decoded = decode::decode(&template, &bodies[0], &[0; 32], &limits).unwrap();
    let encode = each(&mut |_| {
        std::hint::black_box(encoded(&decoded));
    });
    let redact = each(&mut |body| {
        std::hint::black_box(measure::redacted(body));
    });
    let known = us_each(events, || {
        let mut known = measure::KnownIds::open(&dir.join("stage-known")).unwrap();
        known.take_in(0..events as u64).unwrap();
        known.close().unwrap();
    });
    let (leaf, facts) = encoded(&decoded);
    let append = us_each(events, || append(&dir.join("stage-append"), events, &leaf, &facts, &bodies));
    let sum = consume + parse + sha256 + encode + known + append;
    println!(
        "consume {consume:.2} + parse {parse:.2} + SHA-256 {sha256:.2} + encode {encode:.2} + duplicate check {known:.2} + append {append:.2} = {sum:.2}"
    );
    println!("(redaction {redact:.2})");
    println!("ceiling: {:.0} events per CPU second\n", 1e6 / sum);
    sum
}

fn consume(bootstrap: &str, events: usize) {
    let consumer: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "ceiling")
        .set("auto.offset.reset", "earliest")
        .set("check.crcs", "true")
        .set("fetch.queue.backoff.ms", "20")
        .set("queued.min.messages", "10000")
        .set("queued.max.messages.kbytes", "24576")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    consumer.subscribe(&[TOPIC]).unwrap();
    let mut seen = 0;
    while seen < events {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        std::hint::black_box(message.payload().unwrap().len());
        seen += 1;
    }
}

fn encoded(decoded: &decode::Decoded) -> (Bytes, Bytes) {
    let leaf = Entry {
        version: 1,
        event_id: Bytes::from_static(&[1; 16]),
        status: 1,
        r#type: "ServiceDeployed".to_owned(),
        tenant: "default".to_owned(),
        source: decoded.source.clone(),
        id: decoded.id.clone(),
        subjects: vec![format!("sha256:{:064x}", 1)],
        occurred_at: 1,
        recorded_at: 2,
        time_source: TimeSource::Producer.into(),
        origin: Some(Origin { kind: "kafka".to_owned(), topic: TOPIC.to_owned(), ..Origin::default() }),
        body_digest: Bytes::from_static(&[1; 32]),
        facts_digest: Bytes::from_static(&[1; 32]),
        format: "cdevents".to_owned(),
        ..Entry::default()
    };
    (leaf.encode_to_vec().into(), encode_chunk(decoded.facts.clone().into_iter().collect()))
}

/// Batches as the pipeline makes them.
fn append(dir: &Path, events: usize, leaf: &Bytes, facts: &Bytes, bodies: &[Bytes]) {
    let mut writer = pedigraph_ledger::open(dir, &Options::default()).unwrap();
    let log = LogId::new("default").unwrap();
    let mut done = 0;
    while done < events {
        let n = 400.min(events - done);
        let entry = |k: usize| NewEntry {
            log: log.clone(),
            leaf: leaf.clone(),
            // A fact of its own each, as real events have.
            facts: vec![Part::Inline([facts, (done + k).to_string().as_bytes()].concat().into())],
            body: Some(Part::Inline(bodies[(done + k) % bodies.len()].clone())),
        };
        let batch = Batch { time_ns: 1, entries: (0..n).map(entry).collect(), ..Batch::default() };
        writer.append(batch).unwrap();
        done += n;
    }
}

fn whole(bootstrap: &str, events: usize, dir: &Path, ceiling_us: f64) {
    let data = dir.join("whole");
    let writer = pedigraph_ledger::open(&data.join("ledger"), &Options::default()).unwrap();
    let reader = writer.reader();
    let mut config = Config::new(&data);
    config.kafka.push(client(bootstrap));
    let (started, cpu_before) = (Instant::now(), cpu::seconds());
    let processor = pedigraph_processor::start(writer, config).unwrap();
    let (log, mut seq, mut first) = (LogId::new("default").unwrap(), 0, None);
    while reader.head(&log).size < events as u64 {
        seq = reader.wait(seq, Duration::from_secs(60));
        first.get_or_insert_with(Instant::now);
    }
    let wall = first.unwrap().elapsed();
    let counters = std::sync::Arc::clone(processor.counters());
    processor.shutdown();
    let cpu_us = (cpu::seconds() - cpu_before) * 1e6 / events as f64;
    println!(
        "Kafka -> durable ledger: {cpu_us:.2}; {:.0} events per CPU second = {:.2} of the ceiling; {:.0} events/s of wall time; {} batches, {:.2} ms a commit; start to first commit {:.0} ms\n",
        1e6 / cpu_us,
        ceiling_us / cpu_us,
        events as f64 / wall.as_secs_f64(),
        counters.batches(),
        counters.commit_time().as_secs_f64() * 1e3 / counters.batches() as f64,
        (first.unwrap() - started).as_secs_f64() * 1e3,
    );
    drop(processor);
    let started = Instant::now();
    let writer = pedigraph_ledger::open(&data.join("ledger"), &Options::default()).unwrap();
    let opened = started.elapsed();
    let processor = pedigraph_processor::start(writer, Config::new(&data)).unwrap();
    println!("open again: ledger {opened:.2?}, all {:.2?}\n", started.elapsed());
    processor.shutdown();
}

fn median(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

fn receipts(dir: &Path) {
    const ROUNDS: usize = 500;
    let file = std::fs::File::create(dir.join("fdatasync")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![0; ROUNDS * 4_096], 0).unwrap();
    file.sync_all().unwrap();
    let fdatasync = |n: usize| {
        let started = Instant::now();
        std::os::unix::fs::FileExt::write_all_at(&file, &[1; 4_096], n as u64 * 4_096).unwrap();
        file.sync_data().unwrap();
        started.elapsed()
    };
    let data = dir.join("receipts");
    let writer = pedigraph_ledger::open(&data.join("ledger"), &Options::default()).unwrap();
    let processor = pedigraph_processor::start(writer, Config::new(&data)).unwrap();
    let intake = processor.intake();
    let submit = |n: usize| {
        let message = message(event(n).into());
        let started = Instant::now();
        intake.submit_blocking(message).unwrap();
        started.elapsed()
    };
    // In turn, so that both meet the same disk.
    let (mut floors, mut receipts) = (Vec::new(), Vec::new());
    for n in 0..ROUNDS {
        floors.push(fdatasync(n));
        receipts.push(submit(n));
    }
    let ((floor, floor_99), (receipt, receipt_99)) = (median(floors), median(receipts));
    println!(
        "receipt of one event: p50 {receipt:.2?} p99 {receipt_99:.2?}; fdatasync p50 {floor:.2?} p99 {floor_99:.2?}\n"
    );
    processor.shutdown();
}
