//! The write path from its sources to the ledger, in one process: a mock Kafka cluster, real directories, no sleeping.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, or when patience ends"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pedigraph_ledger::{LogId, Options, Reader};
use pedigraph_processor::kafka::Topic;
use pedigraph_processor::mock::Cluster;
use pedigraph_processor::producer::Producer;
use pedigraph_processor::{Config, Processor, QueueLimits, erasures, files, kafka};
use pedigraph_proto::canonical::{decode_entry, sha256};
use pedigraph_proto::fact::decode_chunk;
use pedigraph_proto::message::{Body, Code, Message, Receipt, Redaction, Refused, Status, Submitted};
use pedigraph_proto::wire::{self, Origin};
use pedigraph_proto::{TenantId, event};
use proptest::prelude::*;
use rdkafka::consumer::{BaseConsumer, Consumer};

const PATIENCE: Duration = Duration::from_secs(30);
const TOPIC: &str = "pedigraph.cd";

/// An event of CDEvents with an id and something to tell it from another of the same id.
fn event(id: &str, note: &str) -> String {
    format!(
        r#"{{"context":{{"version":"0.4.1","id":"{id}","source":"/ci/shop","type":"dev.cdevents.service.deployed.0.2.0","timestamp":"2023-03-20T14:27:05.315384Z"}},"subject":{{"id":"cart","source":"/cluster","type":"service","content":{{"environment":{{"id":"prod"}},"artifactId":"pkg:oci/cart@sha256%3A{}"}}}},"customData":{{"note":"{note}"}}}}"#,
        hex::encode(sha256(note.as_bytes()))
    )
}

fn message(body: impl Into<Bytes>) -> Message {
    Message {
        tenant: TenantId::default(),
        origin: Origin { kind: "http".to_owned(), topic: "/api/v1/events".to_owned(), ..Origin::default() },
        source: "http".to_owned(),
        headers: Vec::new(),
        body: Body::Bytes(body.into()),
        subject: None,
        format: None,
        broker_time: None,
        replay_of: None,
    }
}

fn from_kafka(cluster: &Cluster) -> kafka::Config {
    // The mock does not take a static member back before its session ends, as Kafka does: members are dynamic here.
    let options = [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "200"), ("group.instance.id", "")];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let topics = vec![Topic { name: TOPIC.to_owned(), ..Topic::default() }];
    let (brokers, group) = (cluster.bootstrap(), "pedigraph".to_owned());
    kafka::Config { brokers, group, topics, options, accept_gaps: Vec::new() }
}

struct Node {
    processor: Processor,
    reader: Reader,
}

impl Node {
    fn open(dir: &Path, adjust: impl FnOnce(&mut Config)) -> Node {
        let options = Options { segment_bytes: 1 << 20, ..Options::default() };
        let writer = pedigraph_ledger::open(&dir.join("ledger"), &options).unwrap();
        let reader = writer.reader();
        let mut config = Config::new(dir);
        adjust(&mut config);
        Node { processor: pedigraph_processor::start(writer, config).unwrap(), reader }
    }

    /// Over a disk that writes nothing before the gate is opened.
    fn behind_a_closed_gate(config: Config) -> (Node, Arc<gate::Gate>) {
        let gate = Arc::new(gate::Gate::default());
        let storage = Arc::new(gate::Gated(Arc::clone(&gate)));
        let options = Options { segment_bytes: 1 << 20, ..Options::default() };
        let work = pedigraph_ledger::Work::Background;
        let writer = pedigraph_ledger::open_with(&config.dir.join("ledger"), &options, storage, work).unwrap();
        let reader = writer.reader();
        gate.close();
        (Node { processor: pedigraph_processor::start(writer, config).unwrap(), reader }, gate)
    }

    fn submit(&self, message: Message) -> Receipt {
        match self.processor.intake().submit_blocking(message).unwrap() {
            Submitted::One(receipt) => receipt,
            Submitted::Batch(receipts) => panic!("a batch of {}", receipts.len()),
        }
    }

    fn wait_for(&self, what: &str, met: impl Fn(&Node) -> bool) {
        let started = Instant::now();
        let mut seq = 0;
        while !met(self) {
            assert!(
                started.elapsed() < PATIENCE,
                "{what}: {:?}, {:?}",
                self.processor.counters(),
                self.processor.kafka_sources()
            );
            seq = self.reader.wait(seq, Duration::from_millis(20));
        }
    }

    fn size(&self) -> u64 {
        self.reader.head(&LogId::default_log()).size
    }

    fn wait_for_size(&self, size: u64) {
        self.wait_for(&format!("{size} entries"), |node| node.size() >= size);
        assert_eq!(self.size(), size);
    }

    fn leaf(&self, index: u64) -> wire::Entry {
        let entry = self.reader.entry(&LogId::default_log(), index).unwrap().unwrap();
        decode_entry(&entry.leaf).expect("canonical")
    }

    fn leaves(&self) -> Vec<wire::Entry> {
        (0..self.size()).map(|index| self.leaf(index)).collect()
    }
}

/// Every coordinate once, each partition without a gap, each id once.
fn check_each_once(leaves: &[wire::Entry], messages: usize) {
    let mut offsets: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for leaf in leaves {
        let origin = leaf.origin.as_ref().unwrap();
        offsets.entry(origin.partition).or_default().push(origin.offset);
        assert!(ids.insert(leaf.id.clone()), "{} twice", leaf.id);
        assert_eq!(leaf.status(), wire::Status::Accepted, "{leaf:?}");
    }
    for (partition, offsets) in offsets {
        assert!(offsets.iter().copied().eq(0..offsets.len() as u64), "partition {partition}: {offsets:?}");
    }
    assert_eq!(leaves.len(), messages);
}

fn produce(producer: &Producer, ids: std::ops::Range<usize>) {
    for n in ids {
        let partition = i32::try_from(n % 4).unwrap();
        producer.send_to(TOPIC, partition, &[], Some(event(&format!("e{n}"), "x").as_bytes())).unwrap();
    }
    producer.flush().unwrap();
}

#[test]
fn what_is_produced_is_recorded_once_whenever_the_process_dies() {
    const ROUNDS: usize = 6;
    const EACH: usize = 300;
    let cluster = Cluster::start(&[TOPIC]).unwrap();
    let producer = Producer::new(&cluster.bootstrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        let node = Node::open(dir.path(), |config| {
            config.kafka.push(from_kafka(&cluster));
            config.workers = 1 + round % 3;
        });
        let before = node.size();
        produce(&producer, round * EACH..(round + 1) * EACH);
        // Dies somewhere in the middle: what comes later is for the next round.
        node.wait_for("some entries", |node| node.size() > before);
        drop(node);
    }
    let node = Node::open(dir.path(), |config| config.kafka.push(from_kafka(&cluster)));
    node.wait_for_size((ROUNDS * EACH) as u64);
    node.processor.shutdown();
    check_each_once(&node.leaves(), ROUNDS * EACH);
    assert_eq!(node.processor.failure(), None);
}

#[test]
fn partitions_that_another_member_took_and_gave_back_are_read_on() {
    let cluster = Cluster::start(&[TOPIC]).unwrap();
    let producer = Producer::new(&cluster.bootstrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path(), |config| config.kafka.push(from_kafka(&cluster)));
    produce(&producer, 0..400);
    node.wait_for_size(400);
    let partitions = |node: &Node| node.processor.kafka_sources()[0].partitions.len();
    assert_eq!(partitions(&node), 4);

    let other: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap())
        .set("group.id", "pedigraph")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "200")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .create()
        .unwrap();
    other.subscribe(&[TOPIC]).unwrap();
    node.wait_for("the other member has partitions", |node| {
        other.poll(Duration::from_millis(20));
        partitions(node) == 2 && other.assignment().unwrap().count() == 2
    });
    produce(&producer, 400..800);
    node.wait_for("half of what came", |node| {
        other.poll(Duration::from_millis(20));
        node.size() >= 600
    });
    drop(other);
    node.wait_for_size(800);
    node.wait_for("all partitions are back", |node| partitions(node) == 4);
    produce(&producer, 800..900);
    node.wait_for_size(900);
    node.processor.shutdown();
    check_each_once(&node.leaves(), 900);
}

#[test]
fn whatever_arrives_on_kafka_ends_as_an_entry_and_the_flow_goes_on() {
    let cluster = Cluster::with_partitions(&[(TOPIC, 1)]).unwrap();
    let producer = Producer::new(&cluster.bootstrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path(), |config| {
        config.kafka.push(from_kafka(&cluster));
        config.limits.event_bytes_max = 100_000;
    });
    let good = |id: &str| event(id, "x").into_bytes();
    let send = |headers: &[(&str, &[u8])], value: Option<&[u8]>| producer.send_to(TOPIC, 0, headers, value).unwrap();
    send(&[], Some(&good("first")));
    send(&[], None);
    send(&[], Some(b"{\"context\":"));
    send(&[], Some("[".repeat(10_000).as_bytes()));
    send(&[], Some(&vec![b' '; 100_001]));
    send(&[("pedigraph-subject", b"\xff\xfe")], Some(&good("header")));
    send(&[("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")], Some(&good("traced")));
    send(&[], Some(&good(&"i".repeat(2_049))));
    send(&[], Some(&good("last")));
    producer.flush().unwrap();
    node.wait_for_size(9);
    let leaves = node.leaves();
    assert!(leaves.iter().enumerate().all(|(n, leaf)| leaf.origin.as_ref().unwrap().offset == n as u64));
    let ends: Vec<wire::Status> = leaves.iter().map(wire::Entry::status).collect();
    assert_eq!((ends[0], ends[6], ends[8]), (wire::Status::Accepted, wire::Status::Accepted, wire::Status::Accepted));
    let rejected: Vec<usize> = (0..9).filter(|n| ends[*n] == wire::Status::Rejected).collect();
    assert_eq!(rejected, [1, 2, 3, 4, 5, 7]);
    // What was counted is final once everything was acknowledged, which comes after it can be read.
    node.processor.shutdown();
    assert_eq!(node.processor.counters().messages(Status::Rejected), 6);
    let health = &node.processor.kafka_sources();
    assert!(health.is_empty(), "{health:?}");
}

#[test]
fn duplicates_conflicts_and_rejects_end_as_specified_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::open(dir.path(), |_| {});
    for restarted in [false, true] {
        if restarted {
            drop(node);
            node = Node::open(dir.path(), |_| {});
        }
        let first = node.submit(message(event("a", "1")));
        let again = node.submit(message(event("a", "1")));
        let conflict = node.submit(message(event("a", "2")));
        let conflict_again = node.submit(message(event("a", "2")));
        let third = node.submit(message(event("a", "3")));
        let broken = node.submit(message("{\"context\":"));
        let broken_again = node.submit(message("{\"context\":"));
        let status = if restarted { Status::Duplicate } else { Status::Accepted };
        let entry = |fresh| if restarted { Status::Duplicate } else { fresh };
        assert_eq!((first.status, first.index), (status, 0));
        assert_eq!((again.status, again.index, again.leaf_hash), (Status::Duplicate, 0, first.leaf_hash));
        assert_eq!((conflict.status, conflict.index), (entry(Status::Conflict), 1));
        assert_eq!(conflict.conflicts_with, if restarted { None } else { Some(0) });
        assert_eq!((conflict_again.status, conflict_again.index), (Status::Duplicate, 1));
        assert_eq!((third.status, third.index), (entry(Status::Conflict), 2));
        assert_eq!((broken.status, broken.index), (entry(Status::Rejected), 3));
        assert_eq!((broken_again.status, broken_again.index), (Status::Duplicate, 3));
        assert_eq!(broken_again.reject.unwrap().code, Code::MalformedJson);
        assert_eq!(node.leaf(2).conflicts_with, Some(0));
        assert_eq!(node.size(), 4);
    }
    let duplicates: u64 = node
        .reader
        .commits(0, usize::MAX)
        .unwrap()
        .iter()
        .flat_map(|commit| &commit.duplicates)
        .map(|(_, _, n)| n)
        .sum();
    assert_eq!(duplicates, 3 + 7);
}

#[test]
fn a_batch_is_answered_in_order_and_a_reject_never_blocks_acceptance() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path(), |_| {});
    let lines = [event("a", "1"), "nonsense".to_owned(), event("a", "1"), event("a", "2"), event("b", "1")].join("\n");
    let mut batch = message(lines);
    batch.headers.push(("content-type".to_owned(), Some(Bytes::from("application/x-ndjson"))));
    let Submitted::Batch(receipts) = node.processor.intake().submit_blocking(batch).unwrap() else { panic!("one") };
    let ends: Vec<_> = receipts.iter().map(|receipt| (receipt.status, receipt.index)).collect();
    let want = [
        (Status::Accepted, 0),
        (Status::Rejected, 1),
        (Status::Duplicate, 0),
        (Status::Conflict, 2),
        (Status::Accepted, 3),
    ];
    assert_eq!(ends, want);
    // The same event alone is the same event.
    assert_eq!(node.submit(message(event("b", "1"))).status, Status::Duplicate);
    // Refused for a limit, then accepted when the limit is higher.
    drop(node);
    let node = Node::open(dir.path(), |config| config.limits.event_bytes_max = 10);
    assert_eq!(node.submit(message(event("c", "1"))).reject.unwrap().code, Code::TooLarge);
    drop(node);
    let node = Node::open(dir.path(), |_| {});
    let mut replay = message(event("c", "1"));
    replay.replay_of = Some(4);
    let accepted = node.submit(replay);
    assert_eq!(accepted.status, Status::Accepted);
    assert_eq!(node.leaf(accepted.index).replay_of, Some(4));
}

#[test]
fn what_the_ledger_says_of_itself_is_recorded_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let tenant = TenantId::default();
    let root = |root: &str| event::ViewRootRecorded {
        view_schema: 3,
        next_seq: 5,
        root: root.to_owned(),
        ..event::ViewRootRecorded::default()
    };
    let node = Node::open(dir.path(), |_| ());
    // The id is taken by a forger first: refused, and not in the way.
    let forged = r#"{"specversion":"1.0","id":"view-root/3/5","source":"pedigraph","type":"com.example.x"}"#;
    assert_eq!(node.submit(message(forged)).reject.unwrap().code, Code::ControlEventForbidden);
    node.submit(message(event("a", "x")));
    let first = node.processor.record_blocking(&tenant, root("a")).unwrap();
    assert_eq!((first.status, first.index), (Status::Accepted, 2));
    node.submit(message(event("b", "x")));
    let again = node.processor.record_blocking(&tenant, root("a")).unwrap();
    assert_eq!(again, Receipt { status: Status::Duplicate, ..first.clone() });
    node.processor.shutdown();
    let stopped = node.processor.record_blocking(&tenant, root("a"));
    assert!(matches!(stopped, Err(pedigraph_processor::Error::Stopping)), "{stopped:?}");
    drop(node);

    let node = Node::open(dir.path(), |_| ());
    let again = node.processor.record_blocking(&tenant, root("a")).unwrap();
    assert_eq!(again, Receipt { status: Status::Duplicate, ..first });
    let other = node.processor.record_blocking(&tenant, root("b")).unwrap();
    assert_eq!((other.status, other.index, other.conflicts_with), (Status::Conflict, 4, Some(2)));
    let large = event::KeyRotated { note: "n".repeat(200_000), ..event::KeyRotated::default() };
    assert_eq!(node.processor.record_blocking(&tenant, large).unwrap().index, 5);
    let leaf = node.leaf(2);
    assert_eq!((leaf.r#type.as_str(), leaf.source.as_str()), ("ViewRootRecorded", "pedigraph"));
    assert_eq!(leaf.origin.unwrap().kind, "pedigraph");
    let entry = node.reader.entry(&LogId::default_log(), 2).unwrap().unwrap();
    let body = node.reader.part(&entry.body.unwrap()).unwrap().unwrap();
    assert_eq!(leaf.body_digest, sha256(&body)[..]);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap()["nextSeq"], 5);
}

#[test]
fn what_is_erased_is_gone_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let tenant = TenantId::default();
    let node = Node::open(dir.path(), |_| ());
    let large = |id: &str| event(id, &"large ".repeat(20_000));
    for body in [event("a", "first"), large("b"), event("c", "third")] {
        assert_eq!(node.submit(message(body)).status, Status::Accepted);
    }
    let asked = |indexes: &[u64], reason: &str| erasures(&node.reader, &tenant, indexes, reason, "tester");
    assert!(matches!(asked(&[9], "why"), Err(pedigraph_processor::Error::Refused(_))));
    assert!(matches!(asked(&[0], ""), Err(pedigraph_processor::Error::Refused(_))));
    let events = asked(&[1, 0, 1], "personal data").unwrap();
    assert_eq!(events.len(), 2, "one for each body");
    // What does not fit is refused before it reaches the writer, which goes on.
    let other = event::BodyErased { indexes: vec![2], ..events[0].clone() };
    let refused = node.processor.record_blocking(&tenant, other);
    assert!(matches!(refused, Err(pedigraph_processor::Error::Refused(_))), "{refused:?}");
    for event in events {
        assert_eq!(node.processor.record_blocking(&tenant, event).unwrap().status, Status::Accepted);
    }
    let body = |index| {
        let entry = node.reader.entry(&LogId::default_log(), index).unwrap().unwrap();
        node.reader.part(&entry.body.unwrap()).unwrap()
    };
    assert_eq!((body(0), body(1), body(2).is_some()), (None, None, true));
    assert!(asked(&[0, 1], "again").unwrap().is_empty(), "both are gone already");
    assert_eq!(node.leaf(3).r#type, "BodyErased");
    // Sent again it is a duplicate, and its bytes are not kept.
    assert_eq!(node.submit(message(large("b"))).status, Status::Duplicate);
    assert_eq!(body(1), None);
    node.processor.shutdown();
    drop(node);
    let verified = pedigraph_ledger::verify(&dir.path().join("ledger"), &mut |_, _| {}).unwrap();
    assert_eq!((verified.fault, verified.entries), (None, 5));
}

#[test]
fn a_full_queue_pauses_kafka_and_refuses_requests_and_loses_nothing() {
    let cluster = Cluster::start(&[TOPIC]).unwrap();
    let producer = Producer::new(&cluster.bootstrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path());
    config.kafka.push(from_kafka(&cluster));
    config.queue = QueueLimits { messages_max: 20, ..QueueLimits::default() };
    let (node, gate) = Node::behind_a_closed_gate(config);
    produce(&producer, 0..2_000);
    node.wait_for("Kafka is paused", |node| node.processor.kafka_sources()[0].paused);
    assert_eq!(node.size(), 0);
    // Requests find the room that Kafka may not fill until that is full too; whoever stops waiting takes nothing back.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let intake = node.processor.intake();
    let refused = (0..100).find_map(|n| {
        let waiting = intake.submit(message(event(&format!("h{n}"), "x")));
        let waited = runtime.block_on(async { tokio::time::timeout(Duration::from_millis(10), waiting).await });
        waited.ok()
    });
    assert_eq!(refused, Some(Err(Refused::Busy)));
    gate.open();
    let queued = |node: &Node| node.processor.counters().queue_messages();
    node.wait_for("everything is recorded", |node| {
        let kafka = node.processor.kafka_sources();
        let read: u64 = kafka[0].partitions.iter().filter_map(|partition| partition.position).sum();
        read == 2_000 && queued(node) == 0 && !kafka[0].paused
    });
    node.processor.shutdown();
    let kafka: Vec<_> =
        node.leaves().into_iter().filter(|leaf| leaf.origin.as_ref().unwrap().kind == "kafka").collect();
    check_each_once(&kafka, 2_000);
}

/// Bytes that take a decoder as long as some hundred small events, at a ratio that is allowed.
fn slow_body(n: usize) -> Vec<u8> {
    let line = |m: usize| format!("{:4096}{}\n", "", hex::encode(sha256(format!("{n} {m}").as_bytes())));
    let text: String = (0..10_000).map(line).collect();
    zstd::encode_all(text.as_bytes(), 1).unwrap()
}

#[test]
fn a_small_event_does_not_wait_for_slow_ones() {
    const SLOW: usize = 12;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path(), |_| {});
    let intake = node.processor.intake();
    let slow: Vec<Message> = (0..SLOW).map(|n| message(slow_body(n))).collect();
    let senders: Vec<_> = slow
        .into_iter()
        .map(|slow| {
            let intake = intake.clone();
            std::thread::spawn(move || intake.submit_blocking(slow).unwrap())
        })
        .collect();
    node.wait_for("a queue", |node| node.processor.counters().slow_messages() == SLOW as u64);
    let small = node.submit(message(event("small", &"x".repeat(3_000))));
    assert_eq!(small.status, Status::Accepted);
    assert!(small.index < 4, "{} slow ones were decoded before it", small.index);
    senders.into_iter().for_each(|sender| drop(sender.join().unwrap()));
    assert_eq!(node.size(), SLOW as u64 + 1);
}

#[test]
fn what_is_slow_on_kafka_holds_up_its_own_partition_alone() {
    let cluster = Cluster::start(&[TOPIC]).unwrap();
    let producer = Producer::new(&cluster.bootstrap()).unwrap();
    let send = |partition: i32, body: &[u8]| producer.send_to(TOPIC, partition, &[], Some(body)).unwrap();
    for n in 0..6 {
        send(0, &slow_body(n));
        send(0, event(&format!("behind-{n}"), "x").as_bytes());
    }
    for n in 0..60 {
        send(1 + n % 3, event(&format!("beside-{n}"), "x").as_bytes());
    }
    producer.flush().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path(), |config| config.kafka.push(from_kafka(&cluster)));
    node.wait_for_size(72);
    node.processor.shutdown();
    let mut offsets: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    let leaves = node.leaves();
    for leaf in &leaves {
        let origin = leaf.origin.as_ref().unwrap();
        offsets.entry(origin.partition).or_default().push(origin.offset);
    }
    assert!(offsets[&0].iter().copied().eq(0..12), "{offsets:?}");
    assert!((1..4).all(|partition| offsets[&partition].iter().copied().eq(0..20)), "{offsets:?}");
    let last_beside = leaves.iter().rposition(|leaf| leaf.origin.as_ref().unwrap().partition != 0).unwrap();
    let slow_before = leaves[..last_beside].iter().filter(|leaf| leaf.origin.as_ref().unwrap().partition == 0).count();
    assert!(slow_before < 6, "{slow_before} messages of the slow partition came before the last of the others");
}

#[test]
fn a_backlog_of_slow_messages_fills_the_share_of_its_partition_alone() {
    const SLOW: usize = 13;
    let cluster = Cluster::start(&[TOPIC]).unwrap();
    let producer = Producer::new(&cluster.bootstrap()).unwrap();
    let send = |partition: i32, body: &[u8]| producer.send_to(TOPIC, partition, &[], Some(body)).unwrap();
    (0..SLOW).for_each(|n| send(2, &slow_body(n)));
    producer.flush().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path(), |config| {
        let mut kafka = from_kafka(&cluster);
        kafka.options.insert("fetch.wait.max.ms".to_owned(), "20".to_owned());
        config.kafka.push(kafka);
        config.queue = QueueLimits { messages_max: 12, ..QueueLimits::default() };
    });
    let partitions = |node: &Node| node.processor.kafka_sources().remove(0).partitions;
    let held = |node: &Node| -> Vec<i32> {
        partitions(node).iter().filter(|state| state.is_held).map(|state| state.partition).collect()
    };
    node.wait_for("a partition is held", |node| held(node) == [2]);
    for n in 0..60 {
        send([0, 1, 3][n % 3], event(&format!("beside-{n}"), "x").as_bytes());
    }
    producer.flush().unwrap();
    let read = |node: &Node, slow: bool| -> u64 {
        let of = partitions(node).into_iter().filter(|state| (state.partition == 2) == slow);
        of.filter_map(|state| state.position).sum()
    };
    node.wait_for("the others are read", |node| read(node, false) == 60);
    let slow = read(&node, true);
    assert!(slow < SLOW as u64 - 3, "{slow} slow ones were recorded before the last of the others");
    assert!(!node.processor.kafka_sources()[0].paused, "the source as a whole was never full");
    node.wait_for_size(SLOW as u64 + 60);
    node.wait_for("it is read on", |node| held(node).is_empty() && read(node, true) == SLOW as u64);
    let recorded = node.leaves().into_iter().filter_map(|leaf| leaf.origin).filter(|origin| origin.partition == 2);
    assert!(recorded.map(|origin| origin.offset).eq(0..SLOW as u64), "in order, each once");
    node.processor.shutdown();
}

#[test]
fn one_tenant_leaves_room_for_another() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path());
    config.queue = QueueLimits { messages_max: 100, ..QueueLimits::default() };
    let (node, gate) = Node::behind_a_closed_gate(config);
    let intake = node.processor.intake();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let sent = |tenant: &str, n: usize| {
        let message =
            Message { tenant: TenantId::new(tenant).unwrap(), ..message(event(&format!("{tenant}-{n}"), "x")) };
        let waiting = intake.submit(message);
        runtime.block_on(async { tokio::time::timeout(Duration::from_millis(1), waiting).await.ok() })
    };
    let fill = |tenant: &str| (0..200).take_while(|n| sent(tenant, *n).is_none()).count();
    let crowd = fill("crowd");
    assert!((70..=80).contains(&crowd), "one alone has three quarters, not {crowd}");
    let second = fill("second");
    assert!((10..=22).contains(&second), "a second one has most of what is left, not {second}");
    assert!(fill("third") > 0, "and there is room for a third");
    gate.open();
    node.wait_for("everything is recorded", |node| node.processor.counters().queue_messages() == 0);
    node.processor.shutdown();
}

#[test]
fn large_bodies_become_blobs_and_the_same_components_are_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path(), |_| {});
    let component =
        |n: usize| format!(r#"{{"type":"library","name":"lib{n}","version":"1.{n}","purl":"pkg:npm/lib{n}@1.{n}"}}"#);
    let components = (0..3_000).map(component).collect::<Vec<_>>().join(",");
    let sbom = |serial: u8| {
        format!(
            r#"{{"bomFormat":"CycloneDX","specVersion":"1.6","serialNumber":"urn:uuid:3e671687-395b-41f5-a30f-a58921a69b7{serial}","version":1,"components":[{components}]}}"#
        )
    };
    let parts = |index: u64| node.reader.entry(&LogId::default_log(), index).unwrap().unwrap();
    let (one, two) = (node.submit(message(sbom(1))), node.submit(message(sbom(2))));
    assert_eq!((one.status, two.status), (Status::Accepted, Status::Accepted));
    let (one, two) = (parts(one.index), parts(two.index));
    assert!(one.body.as_ref().unwrap().size > 65_536);
    assert_ne!(one.body, two.body);
    assert_eq!(one.facts[1..], two.facts[1..], "the chunks of components are the same");
    assert!(one.facts.len() >= 2 && one.facts[0] != two.facts[0]);
    let body = node.reader.part(one.body.as_ref().unwrap()).unwrap().unwrap();
    assert_eq!(body, sbom(1).as_bytes());

    let path = dir.path().join("spooled");
    std::fs::write(&path, sbom(1)).unwrap();
    let size = sbom(1).len() as u64;
    let spooled = Message { body: Body::File { path: path.clone(), size }, ..message("") };
    assert_eq!(node.submit(spooled).status, Status::Duplicate, "spooled or not, the same bytes are the same event");
    assert!(!path.exists());
}

#[test]
fn an_event_is_the_same_however_it_was_compressed() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path(), |_| {});
    let token = format!("ghp_{}", "a1B2".repeat(9));
    let stored = |index: u64| {
        let entry = node.reader.entry(&LogId::default_log(), index).unwrap().unwrap();
        node.reader.part(&entry.body.unwrap()).unwrap().unwrap()
    };
    let sbom = r#"{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"name":"a"}]}"#;
    for (n, plain) in [event("packed", &token), sbom.to_owned()].into_iter().enumerate() {
        let mut packed = message(gzip(plain.as_bytes()));
        packed.headers.push(("content-encoding".to_owned(), Some(Bytes::from("gzip"))));
        let first = node.submit(packed);
        assert_eq!((first.status, first.index), (Status::Accepted, n as u64));
        for body in [plain.clone().into_bytes(), zstd::encode_all(plain.as_bytes(), 3).unwrap()] {
            let again = node.submit(message(body));
            assert_eq!((again.status, again.event_id, again.index), (Status::Duplicate, first.event_id, first.index));
        }
        let path = dir.path().join("spooled");
        std::fs::write(&path, gzip(plain.as_bytes())).unwrap();
        let size = std::fs::metadata(&path).unwrap().len();
        let spooled = Message { body: Body::File { path: path.clone(), size }, ..message("") };
        assert_eq!(node.submit(spooled).status, Status::Duplicate);
        assert!(!path.exists());
        assert_eq!(stored(first.index), plain.replace(&token, &format!("ghp_{}", "*".repeat(36))).as_bytes());
    }
    assert_eq!(node.leaf(1).id, format!("sha256:{}", hex::encode(sha256(sbom.as_bytes()))));
}

#[test]
fn what_cannot_be_unpacked_is_kept_as_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path(), |config| config.limits.event_bytes_max = 100_000);
    let stored = |index: u64| {
        let entry = node.reader.entry(&LogId::default_log(), index).unwrap().unwrap();
        node.reader.part(&entry.body.unwrap()).unwrap().unwrap()
    };
    // Too large for memory at a ratio that is allowed, and no document that is streamed.
    let noise: String = (0..2_000).map(|n| hex::encode(sha256(format!("{n}").as_bytes()))).collect();
    let refused = [
        (gzip(&vec![b' '; 1 << 24]), Code::DecompressionLimit),
        (gzip(event("cut", "x").as_bytes())[..40].to_vec(), Code::MalformedJson),
        (gzip(event("large", &noise).as_bytes()), Code::TooLarge),
    ];
    for (body, code) in refused {
        let receipt = node.submit(message(body.clone()));
        assert_eq!(receipt.reject.unwrap().code, code);
        assert_eq!(stored(receipt.index), body, "{code:?}");
        assert_eq!(node.leaf(receipt.index).id, format!("sha256:{}", hex::encode(sha256(&body))));
        assert_eq!(node.submit(message(body)).status, Status::Duplicate);
    }
    let component = |n: usize| format!(r#"{{"name":"{}"}}"#, hex::encode(sha256(format!("{n}").as_bytes())));
    let components = (0..3_000).map(component).collect::<Vec<_>>().join(",");
    let sbom = format!(r#"{{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{components}]}}"#);
    let path = dir.path().join("spooled");
    std::fs::write(&path, gzip(sbom.as_bytes())).unwrap();
    let spooled = Message { body: Body::File { path: path.clone(), size: 0 }, ..message("") };
    let receipt = node.submit(spooled);
    assert_eq!(receipt.status, Status::Accepted);
    assert!(stored(receipt.index) == sbom.as_bytes());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

#[test]
fn secrets_are_gone_before_anything_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path(), |_| {});
    let token = format!("ghp_{}", "a1B2".repeat(9));
    let receipt = node.submit(message(event("a", &token)));
    let leaf = node.leaf(receipt.index);
    assert_eq!(leaf.redaction_version, 2);
    let entry = node.reader.entry(&LogId::default_log(), receipt.index).unwrap().unwrap();
    let body = node.reader.part(&entry.body.unwrap()).unwrap().unwrap();
    assert_eq!(leaf.body_digest, sha256(&body).as_slice());
    assert!(!String::from_utf8_lossy(&body).contains(&token));
    assert_eq!(node.submit(message(event("a", &token))).status, Status::Duplicate);
}

#[test]
fn a_receipt_and_its_leaf_say_what_was_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path(), |_| {});
    let secrets = format!("ghp_{} glpat-{}", "b2C3".repeat(9), "q".repeat(22));
    let sent = event("two secrets", &secrets);
    let want = Some(Redaction { rules: 2, count: 2, received_digest: sha256(sent.as_bytes()) });
    let receipt = node.submit(message(sent.clone()));
    assert_eq!(receipt.redaction, want);
    let leaf = node.leaf(receipt.index);
    assert_eq!((leaf.redaction_version, leaf.redaction_count), (2, 2));
    assert_eq!(leaf.received_digest, sha256(sent.as_bytes()).as_slice());
    assert_ne!(leaf.received_digest, leaf.body_digest);
    // Compressed and in a file it is the same event, about whose bytes the same is said.
    let path = dir.path().join("spooled");
    std::fs::write(&path, gzip(sent.as_bytes())).unwrap();
    let again = node.submit(Message { body: Body::File { path: path.clone(), size: 0 }, ..message("") });
    assert_eq!((again.status, again.redaction), (Status::Duplicate, want));
    std::fs::write(&path, &sent).unwrap();
    let again = node.submit(Message { body: Body::File { path, size: 0 }, ..message("") });
    assert_eq!((again.status, again.redaction), (Status::Duplicate, want));
    // Nothing of what is kept is a secret any more, and nothing is said of what has none.
    let entry = node.reader.entry(&LogId::default_log(), receipt.index).unwrap().unwrap();
    let kept = node.reader.part(&entry.body.unwrap()).unwrap().unwrap();
    let again = node.submit(message(kept));
    assert_eq!((again.status, again.redaction), (Status::Duplicate, None));
    let plain = node.submit(message(event("plain", "x")));
    assert_eq!(plain.redaction, None);
    assert!(node.leaf(plain.index).received_digest.is_empty());
}

/// A token of npm, which nobody finds in this file.
fn token(seed: &str) -> String {
    format!("npm_{}", seed.repeat(36 / seed.len()))
}

fn with_headers(headers: &[(&str, &str)], body: impl Into<Bytes>) -> Message {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), Some(Bytes::from((*value).to_owned()))));
    Message { headers: headers.collect(), ..message(body) }
}

impl Node {
    /// Everything of an entry that answers are made of: leaf and facts.
    fn told(&self, index: u64) -> String {
        let entry = self.reader.entry(&LogId::default_log(), index).unwrap().unwrap();
        let parts = entry.facts.iter().map(|part| self.reader.part(part).unwrap().unwrap());
        let bytes = [entry.leaf.clone()].into_iter().chain(parts);
        bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect()
    }

    fn body(&self, index: u64) -> Bytes {
        let entry = self.reader.entry(&LogId::default_log(), index).unwrap().unwrap();
        self.reader.part(&entry.body.unwrap()).unwrap().unwrap()
    }
}

/// One message in each way that a name can come, with a secret in the name.
fn named_with(secret: &str) -> Vec<Message> {
    let kind = ("ce_type", "com.example.thing");
    let escaped = event(&format!("job npm{}u005f{}", '\\', &secret[4..]), "x");
    let quoted = format!("https://ci:{secret}@ci.example");
    vec![
        message(event(&format!("job-{secret}"), "x").replace("job-", "job=")),
        message(escaped),
        with_headers(&[("ce_id", &format!("7 {secret}")), ("ce_source", "/ci"), kind, ("ce_specversion", "1.0")], "x"),
        with_headers(&[("ce_id", "7"), ("ce_source", &quoted), kind, ("ce_specversion", "1.0")], "x"),
        with_headers(
            &[("ce-id", &format!("8%20{secret}")), ("ce-source", "/ci"), ("ce-type", "t"), ("ce-specversion", "1.0")],
            "x",
        ),
        Message { subject: Some(secret.to_owned()), ..message("{}") },
        with_headers(&[("pedigraph-subject", secret)], "[]"),
    ]
}

#[test]
fn names_that_differ_only_in_a_secret_are_two_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (token("a1B2"), token("c3D4"));
    let node = Node::open(dir.path(), |_| {});
    let mut receipts = Vec::new();
    for (first, second) in named_with(&one).into_iter().zip(named_with(&other)) {
        let (first, second) = (node.submit(first), node.submit(second));
        assert_eq!(second.index, first.index + 1, "{:?}", node.leaf(first.index));
        let (a, b) = (node.leaf(first.index), node.leaf(second.index));
        assert!((&a.source, &a.id) != (&b.source, &b.id) && a.conflicts_with.is_none() && b.conflicts_with.is_none());
        assert!(a.redaction_count == 1 && a.redaction_version == 2, "{a:?}");
        for (index, secret) in [(first.index, &one), (second.index, &other)] {
            let told = node.told(index);
            assert!(!told.contains(&secret[4..]) && told.contains("#redacted-"), "{told}");
            assert!(!String::from_utf8_lossy(&node.body(index)).contains(&secret[4..]));
        }
        receipts.push(first);
    }
    node.processor.shutdown();
    drop(node);
    let node = Node::open(dir.path(), |_| {});
    for (again, first) in named_with(&one).into_iter().zip(receipts) {
        let again = node.submit(again);
        assert_eq!((again.status, again.index, again.event_id), (Status::Duplicate, first.index, first.event_id));
    }
}

#[test]
fn what_was_signed_is_kept_as_it_came_and_told_without_its_secrets() {
    use base64::Engine as _;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path(), |_| {});
    let secret = token("e5F6");
    let statement = format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"name":"a","digest":{{"sha256":"{}"}}}}],"predicateType":"https://slsa.dev/provenance/v1","predicate":{{"buildDefinition":{{"buildType":"https://build.example/{secret}","resolvedDependencies":[{{"uri":"git+https://ci:{secret}@git.example/a","digest":{{"gitCommit":"{}"}}}}]}}}}}}"#,
        "ab".repeat(32),
        "cd".repeat(20)
    );
    let payload = base64::engine::general_purpose::STANDARD.encode(statement);
    let sent = format!(
        r#"{{"payloadType":"application/vnd.in-toto+json","payload":"{payload}","signatures":[{{"sig":"bm9uZQ=="}}]}}"#
    );
    let receipt = node.submit(message(sent.clone()));
    assert_eq!(receipt.status, Status::Accepted);
    let leaf = node.leaf(receipt.index);
    assert!(!node.told(receipt.index).contains(&secret[4..]), "{}", node.told(receipt.index));
    assert_eq!(node.body(receipt.index), sent, "nobody could check the signature else");
    assert_eq!((leaf.redaction_version, leaf.redaction_count), (2, 2));
    assert_eq!(leaf.received_digest, leaf.body_digest, "which says that the secret is in the bytes still");
    assert_eq!(receipt.redaction.map(|redaction| redaction.received_digest), Some(sha256(sent.as_bytes())));
}

#[test]
fn a_reject_tells_no_secret_and_keeps_its_name_when_it_is_driven_again() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path(), |_| {});
    let secret = token("g7H8");
    let bad = event(&format!("job {secret}"), "x").replace("sha256%3A", &format!("sha256%3A{secret}-"));
    let bad = with_headers(
        &[("ce_subject", &secret), ("content-type", "application/json")],
        bad.replace("\"context\"", "\"id\":7,\"context\""),
    );
    let bad = Message { format: Some(format!("as {secret}")), ..bad };
    let receipt = node.submit(bad);
    let reject = receipt.reject.expect("there is no such format");
    let told = node.told(receipt.index);
    assert!(!reject.reason.contains(&secret[4..]) && !told.contains(&secret[4..]), "{} {told}", reject.reason);

    let unreadable = with_headers(
        &[("ce_id", &format!("9 {secret}")), ("ce_source", "/ci"), ("ce_type", "t"), ("ce_specversion", "7")],
        "x",
    );
    let first = node.submit(unreadable);
    let entry = node.reader.entry(&LogId::default_log(), first.index).unwrap().unwrap();
    let facts = decode_chunk(node.reader.part(&entry.facts[0]).unwrap().unwrap()).unwrap();
    let Some(wire::fact::Event::MessageRejected(kept)) = facts[0].event.clone() else { panic!("{facts:?}") };
    let headers: Vec<_> = kept.attributes.iter().map(|kept| (kept.name.as_str(), kept.value.as_str())).collect();
    let again = Message { replay_of: Some(first.index), ..with_headers(&headers, node.body(first.index)) };
    assert_eq!(node.submit(again).event_id, first.event_id, "it has the name that it had");
    // Nobody else chooses a name in this way.
    let forged = [&headers[..], &[("pedigraph-named-id", "9 other#redacted-0")]].concat();
    let forged: Vec<_> =
        forged.into_iter().filter(|(name, value)| *name != "pedigraph-named-id" || value.contains("other")).collect();
    let forged = Message { replay_of: Some(first.index), ..with_headers(&forged, node.body(first.index)) };
    assert!(!node.leaf(node.submit(forged).index).id.contains("other"));
}

#[test]
fn a_batch_that_cannot_be_taken_apart_is_told_without_its_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path(), |_| {});
    let secret = token("j9K1");
    let batch = with_headers(&[("content-type", "application/cloudevents-batch+json")], format!(r#""{secret}""#));
    let receipt = node.submit(batch);
    let reason = receipt.reject.expect("it is no list").reason;
    assert!(!reason.contains(&secret[4..]) && !node.told(receipt.index).contains(&secret[4..]), "{reason}");
}

#[test]
fn an_id_of_2048_bytes_fits_into_the_leaf_and_a_longer_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path(), |_| {});
    let id = |length: usize| "n".repeat(length);
    let receipt = node.submit(message(event(&id(2_048), "x")));
    assert_eq!((receipt.status, node.leaf(receipt.index).id), (Status::Accepted, id(2_048)));
    let receipt = node.submit(message(event(&id(2_049), "x")));
    assert_eq!(receipt.reject.map(|reject| reject.code), Some(Code::TooLarge));
    assert!(node.leaf(receipt.index).id.starts_with("sha256:"));
}

#[test]
fn a_drop_directory_is_emptied_into_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let inbox = dir.path().join("inbox");
    std::fs::create_dir_all(&inbox).unwrap();
    std::fs::write(inbox.join("a.json"), event("a", "1")).unwrap();
    std::fs::write(inbox.join("b.ndjson"), [event("b", "1"), event("c", "1")].join("\n")).unwrap();
    std::fs::write(inbox.join("c.json"), "nonsense").unwrap();
    std::fs::write(inbox.join(".half"), "not yet").unwrap();
    let node = Node::open(dir.path(), |_| {});
    let drop = files::Drop { dir: inbox.clone(), given: files::Given::default() };
    let taken = drop.take(&node.processor).unwrap();
    assert_eq!(taken.iter().map(|file| file.receipts.len()).collect::<Vec<_>>(), [1, 2, 1]);
    assert!(inbox.join("done/a.json").exists() && inbox.join("done/b.ndjson").exists());
    assert!(inbox.join("rejected/c.json").exists() && inbox.join(".half").exists());
    // A crash before the move: the file is still there.
    std::fs::rename(inbox.join("done/a.json"), inbox.join("a.json")).unwrap();
    let taken = drop.take(&node.processor).unwrap();
    assert_eq!(taken[0].receipts[0].status, Status::Duplicate);
    assert_eq!(node.size(), 4);
}

/// What is in a directory, by name.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn nothing_in_a_drop_directory_leads_elsewhere_or_holds_up_the_others() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let (inbox, outside) = (dir.path().join("inbox"), dir.path().join("outside"));
    std::fs::create_dir_all(inbox.join("lost+found")).unwrap();
    std::fs::create_dir_all(&outside).unwrap();
    let precious = outside.join("precious.json");
    std::fs::write(&precious, event("precious", "1")).unwrap();
    // As somebody would place them who may write here and nowhere else.
    symlink(&outside, inbox.join(".spool")).unwrap();
    symlink(&outside, inbox.join("rejected")).unwrap();
    symlink(&precious, inbox.join("a-link.json")).unwrap();
    symlink("/dev/zero", inbox.join("b-device.json")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        inbox.join("c-pipe.json"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    std::fs::write(inbox.join("d.json"), event("d", "1")).unwrap();
    std::fs::write(inbox.join("precious.json"), "x".repeat(2_000)).unwrap();
    let endless = std::fs::File::create(inbox.join("e-sparse.json")).unwrap();
    endless.set_len(1 << 40).unwrap();
    let node = Node::open(dir.path(), |config| {
        config.limits.event_bytes_max = 1_000;
        config.limits.document_bytes_max = 100_000;
    });
    let drop = files::Drop { dir: inbox.clone(), given: files::Given::default() };
    let taken = drop.take(&node.processor).unwrap();
    assert_eq!(taken.iter().map(|file| file.path.clone()).collect::<Vec<_>>(), [inbox.join("d.json")]);
    assert_eq!(
        std::fs::read(&precious).unwrap(),
        event("precious", "1").as_bytes(),
        "it was neither moved nor changed"
    );
    assert_eq!(names(&outside), ["precious.json"]);
    let set_aside = ["a-link.json", "b-device.json", "c-pipe.json", "e-sparse.json", "precious.json", "rejected"];
    assert_eq!(names(&inbox.join("unreadable")), set_aside, "the link is in nobody's way any more");
    assert_eq!(node.processor.counters().files_set_aside(), 6);
    assert!(names(&dir.path().join("copies")).is_empty());
    assert_eq!(drop.take(&node.processor).unwrap().len(), 0);
    // d.json, and the large one, which is none of the formats.
    assert_eq!(node.size(), 2);
}

#[test]
fn a_document_that_is_gone_before_it_is_read_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path(), |_| {});
    let (gone, link, outside) = (dir.path().join("gone"), dir.path().join("link"), dir.path().join("outside"));
    std::fs::write(&outside, event("secret", "ghp_0123456789abcdefghijABCDEFGHIJ012345")).unwrap();
    std::os::unix::fs::symlink(&outside, &link).unwrap();
    let before = std::fs::read(&outside).unwrap();
    for path in [gone, link, dir.path().join("ledger")] {
        let spooled = Message { body: Body::File { path, size: 10 }, ..message("") };
        assert!(node.processor.intake().submit_blocking(spooled).is_err(), "nobody is told that it is recorded");
    }
    assert_eq!(std::fs::read(&outside).unwrap(), before, "nothing was redacted through a link");
    assert_eq!(node.processor.counters().documents_lost(), 3);
    assert_eq!(node.submit(message(event("after", "1"))).status, Status::Accepted);
    node.wait_for("room", |node| node.processor.counters().queue_messages() == 0);
    assert_eq!(node.processor.failure(), None);
}

#[test]
fn what_processes_died_over_is_set_aside_however_it_comes_and_can_be_driven_again() {
    let cluster = Cluster::start(&[TOPIC]).unwrap();
    let producer = Producer::new(&cluster.bootstrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let poison = ["a", "b", "c"].map(|id| event(id, "x"));
    let line = |event: &String| format!("{} 2\n", hex::encode(sha256(event.as_bytes())));
    std::fs::write(dir.path().join("decoder-deaths"), poison.iter().map(line).collect::<String>()).unwrap();
    let node = Node::open(dir.path(), |config| config.kafka.push(from_kafka(&cluster)));
    producer.send_to(TOPIC, 0, &[], Some(poison[0].as_bytes())).unwrap();
    producer.send_to(TOPIC, 0, &[], Some(event("next", "x").as_bytes())).unwrap();
    producer.flush().unwrap();
    node.wait_for_size(2);
    let path = dir.path().join("spooled");
    std::fs::write(&path, &poison[1]).unwrap();
    let size = poison[1].len() as u64;
    let spooled = node.submit(Message { body: Body::File { path: path.clone(), size }, ..message("") });
    let sent = node.submit(message(poison[2].clone()));
    for (index, body) in [(0, &poison[0]), (spooled.index, &poison[1]), (sent.index, &poison[2])] {
        let entry = node.reader.entry(&LogId::default_log(), index).unwrap().unwrap();
        assert_eq!(node.leaf(index).status(), wire::Status::Rejected);
        assert_eq!(node.reader.part(&entry.body.unwrap()).unwrap().unwrap(), body.as_bytes(), "its bytes are kept");
    }
    assert_eq!(sent.reject.unwrap().code, Code::DecoderDied);
    assert_eq!(node.submit(message(poison[2].clone())).status, Status::Duplicate);
    assert_eq!(node.processor.counters().messages_set_aside(), 4);
    let replayed = Message { replay_of: Some(sent.index), ..message(poison[2].clone()) };
    assert_eq!(node.submit(replayed).status, Status::Accepted, "the decoder was mended");
    drop(node);
    let node = Node::open(dir.path(), |_| {});
    assert_eq!(node.submit(message(poison[2].clone())).status, Status::Duplicate);
    assert_eq!(node.processor.counters().messages_set_aside(), 0, "it is under no suspicion any more");
}

/// Bytes in each form in which they come to be unpacked or taken apart, with their names.
fn packed_and_several(dir: &Path) -> Vec<(&'static str, Vec<u8>, Message)> {
    let lines = [event("b", "x"), event("c", "x")].join("\n").into_bytes();
    let batch = |body: &[u8]| {
        let headers = vec![("content-type".to_owned(), Some(Bytes::from("application/x-ndjson")))];
        Message { headers, ..message(body.to_vec()) }
    };
    let (packed, packed_lines, path) = (gzip(event("a", "x").as_bytes()), gzip(&lines), dir.join("spooled"));
    let spooled = gzip(event("d", "x").as_bytes());
    std::fs::write(&path, &spooled).unwrap();
    let document = Message { body: Body::File { path, size: spooled.len() as u64 }, ..message("") };
    vec![
        ("packed", packed.clone(), message(packed)),
        ("lines", lines.clone(), batch(&lines)),
        ("packed lines", packed_lines.clone(), batch(&packed_lines)),
        ("a packed document", spooled, document),
    ]
}

#[test]
fn what_processes_died_over_before_it_was_decoded_is_set_aside_as_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let poison = packed_and_several(dir.path());
    let line = |(_, bytes, _): &(_, Vec<u8>, _)| format!("{} 2\n", hex::encode(sha256(bytes)));
    std::fs::write(dir.path().join("decoder-deaths"), poison.iter().map(line).collect::<String>()).unwrap();
    let node = Node::open(dir.path(), |_| {});
    for (name, bytes, message) in &poison {
        let refused = node.submit(message.clone());
        assert_eq!(refused.reject.map(|reject| reject.code), Some(Code::DecoderDied), "{name}");
        let entry = node.reader.entry(&LogId::default_log(), refused.index).unwrap().unwrap();
        assert_eq!(node.reader.part(&entry.body.unwrap()).unwrap().unwrap(), bytes, "{name} is kept as it came");
        let replayed =
            Message { replay_of: Some(refused.index), body: Body::Bytes(bytes.clone().into()), ..message.clone() };
        let statuses: Vec<Status> = match node.processor.intake().submit_blocking(replayed).unwrap() {
            Submitted::One(receipt) => vec![receipt.status],
            Submitted::Batch(receipts) => receipts.iter().map(|receipt| receipt.status).collect(),
        };
        let want: &[Status] = match *name {
            "packed" | "a packed document" => &[Status::Accepted],
            "lines" => &[Status::Accepted; 2],
            // The same lines again.
            _ => &[Status::Duplicate; 2],
        };
        assert_eq!(statuses, want, "{name}");
    }
    assert_eq!(node.processor.counters().messages_set_aside(), 4);
    drop(node);
    let node = Node::open(dir.path(), |_| {});
    let (_, _, again) = poison.into_iter().next().unwrap();
    assert_eq!(node.submit(again).status, Status::Duplicate, "it is under no suspicion any more");
}

#[test]
fn unpacking_has_a_time_by_the_size_of_its_input() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path(), |config| {
        (config.limits.unpack_ms, config.limits.unpack_ms_per_mib) = (0, 0);
    });
    let packed = gzip(event("packed", "x").as_bytes());
    let reject = node.submit(message(packed.clone())).reject.unwrap();
    assert_eq!(reject.code, Code::DecompressionLimit);
    assert!(reject.reason.contains("longer than 0 ms"), "{}", reject.reason);
    let path = dir.path().join("spooled");
    std::fs::write(&path, &packed).unwrap();
    let spooled = Message { body: Body::File { path, size: packed.len() as u64 }, ..message("") };
    assert_eq!(node.submit(spooled).status, Status::Duplicate, "the same reject");
    assert_eq!(node.submit(message(event("packed", "x"))).status, Status::Accepted, "plain bytes need no time");
}

/// The partitions whose position is gone.
fn lost(node: &Node) -> Vec<(i32, kafka::Lost)> {
    let partitions = node.processor.kafka_sources().into_iter().flat_map(|source| source.partitions);
    partitions.filter_map(|state| Some((state.partition, state.lost?))).collect()
}

/// A partition whose second message the mock dropped before anybody read it: it keeps 5 MiB.
fn cut_off(producer: &Producer, dir: &Path, cluster: &Cluster) {
    let node = Node::open(dir, |config| config.kafka.push(from_kafka(cluster)));
    producer.send_to(TOPIC, 0, &[], Some(event("a", "1").as_bytes())).unwrap();
    producer.flush().unwrap();
    node.wait_for_size(1);
    drop(node);
    let padding = "x".repeat(900_000);
    for n in 0..12 {
        producer.send_to(TOPIC, 0, &[], Some(event(&format!("b{n}"), &padding).as_bytes())).unwrap();
        producer.flush().unwrap();
    }
}

#[test]
fn a_position_that_the_broker_lost_stops_its_partition_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::with_partitions(&[(TOPIC, 2)]).unwrap();
    let producer = Producer::new(&cluster.bootstrap()).unwrap();
    cut_off(&producer, dir.path(), &cluster);
    let node = Node::open(dir.path(), |config| config.kafka.push(from_kafka(&cluster)));
    node.wait_for("its position is gone", |node| !lost(node).is_empty());
    let (partition, gap) = lost(&node)[0];
    assert_eq!((partition, gap.cause, gap.position, gap.end), (0, kafka::Cause::Deleted, 1, 13));
    assert!(gap.oldest > 1 && gap.advice(TOPIC, 0).contains("--accept-gap pedigraph.cd/0"));
    producer.send_to(TOPIC, 1, &[], Some(event("other", "1").as_bytes())).unwrap();
    producer.flush().unwrap();
    node.wait_for_size(2);
    assert_eq!(node.submit(message(event("h", "1"))).status, Status::Accepted);
    assert_eq!((node.processor.failure(), node.processor.kafka_sources()[0].stopped.clone()), (None, None));
    assert_eq!(lost(&node).len(), 1);
    node.processor.shutdown();
}

#[test]
fn an_accepted_gap_is_an_entry_and_what_there_is_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::with_partitions(&[(TOPIC, 2)]).unwrap();
    let producer = Producer::new(&cluster.bootstrap()).unwrap();
    cut_off(&producer, dir.path(), &cluster);
    let accepting = |other: &str| {
        let accept_gaps = vec![other.parse().unwrap()];
        Node::open(dir.path(), |config| config.kafka.push(kafka::Config { accept_gaps, ..from_kafka(&cluster) }))
    };
    let node = accepting("pedigraph.cd/1");
    node.wait_for("that of another partition is not accepted", |node| !lost(node).is_empty());
    let gap = lost(&node)[0].1;
    assert_eq!(node.size(), 1);
    drop(node);

    let node = accepting("pedigraph.cd");
    let entries = 2 + gap.end - gap.oldest;
    node.wait_for_size(entries);
    node.wait_for("nothing is lost any more", |node| lost(node).is_empty());
    let leaf = node.leaf(1);
    let id = "/pedigraph.cd/0/1/1";
    assert!(leaf.r#type == "GapAccepted" && leaf.source == "pedigraph" && leaf.id.ends_with(id), "{leaf:?}");
    let entry = node.reader.entry(&LogId::default_log(), 1).unwrap().unwrap();
    let body: serde_json::Value =
        serde_json::from_slice(&node.reader.part(&entry.body.unwrap()).unwrap().unwrap()).unwrap();
    assert_eq!((&body["topic"], &body["from"], &body["to"]), (&TOPIC.into(), &1.into(), &gap.oldest.into()));
    let offsets = node.leaves().iter().skip(2).map(|leaf| leaf.origin.as_ref().unwrap().offset).collect::<Vec<_>>();
    assert!(offsets.iter().copied().eq(gap.oldest..gap.end), "{offsets:?}");
    node.processor.shutdown();
    drop(node);

    // The position leads over the gap; nothing is accepted again.
    let node = Node::open(dir.path(), |config| config.kafka.push(from_kafka(&cluster)));
    producer.send_to(TOPIC, 0, &[], Some(event("after", "1").as_bytes())).unwrap();
    producer.flush().unwrap();
    node.wait_for_size(entries + 1);
    assert!(lost(&node).is_empty());
}

#[test]
fn a_broker_that_is_away_is_waited_for() {
    let cluster = Cluster::with_partitions(&[(TOPIC, 1)]).unwrap();
    let producer = Producer::new(&cluster.bootstrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path(), |config| config.kafka.push(from_kafka(&cluster)));
    producer.send_to(TOPIC, 0, &[], Some(event("a", "1").as_bytes())).unwrap();
    node.wait_for_size(1);
    cluster.set_reachable(false).unwrap();
    node.wait_for("the error shows", |node| node.processor.kafka_sources()[0].last_error.is_some());
    assert_eq!(node.submit(message(event("h", "1"))).status, Status::Accepted);
    cluster.set_reachable(true).unwrap();
    producer.send_to(TOPIC, 0, &[], Some(event("b", "1").as_bytes())).unwrap();
    node.wait_for_size(3);
}

#[test]
fn the_index_of_known_ids_is_rebuilt_when_in_doubt() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path(), |_| {});
    assert_eq!(node.submit(message(event("a", "1"))).status, Status::Accepted);
    node.processor.shutdown();
    drop(node);
    let known = dir.path().join("known");
    let again = |why: &str| {
        let node = Node::open(dir.path(), |_| {});
        let receipt = node.submit(message(event("a", "1")));
        assert_eq!((receipt.status, receipt.index), (Status::Duplicate, 0), "{why}");
        node.processor.shutdown();
    };
    again("as it is");
    std::fs::remove_dir_all(&known).unwrap();
    again("missing");
    std::fs::remove_dir_all(&known).unwrap();
    std::fs::create_dir_all(&known).unwrap();
    std::fs::write(known.join("version"), "garbage").unwrap();
    again("garbage");
    // Another ledger's: ahead, or the same length with another history.
    std::fs::remove_dir_all(dir.path().join("ledger")).unwrap();
    let node = Node::open(dir.path(), |_| {});
    assert_eq!(node.submit(message(event("a", "1"))).status, Status::Accepted);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    /// Any sequence of ids, bytes and restarts ends as a plain map says.
    #[test]
    fn known_ids_behave_like_a_map(steps in prop::collection::vec((0u8..6, 0u8..4, prop::bool::weighted(0.05)), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let mut node = Node::open(dir.path(), |_| {});
        let mut model: BTreeMap<u8, Vec<(u8, u64)>> = BTreeMap::new();
        for (id, bytes, restart) in steps {
            if restart {
                drop(node);
                node = Node::open(dir.path(), |_| {});
            }
            let receipt = node.submit(message(event(&format!("id{id}"), &format!("v{bytes}"))));
            let known = model.entry(id).or_default();
            match (known.iter().find(|(b, _)| *b == bytes), known.first()) {
                (Some((_, index)), _) => prop_assert_eq!((receipt.status, receipt.index), (Status::Duplicate, *index)),
                (None, Some((_, first))) => {
                    prop_assert_eq!((receipt.status, receipt.conflicts_with), (Status::Conflict, Some(*first)));
                }
                (None, None) => prop_assert_eq!(receipt.status, Status::Accepted),
            }
            if receipt.status != Status::Duplicate {
                known.push((bytes, receipt.index));
            }
        }
    }
}

/// Storage whose syncs wait while a gate is closed.
mod gate {
    use std::io;
    use std::path::Path;
    use std::sync::{Arc, Condvar, Mutex};

    use pedigraph_ledger::{Access, LocalFiles, Storage, StoredFile};

    #[derive(Default)]
    pub(super) struct Gate(Mutex<bool>, Condvar);

    impl Gate {
        pub(super) fn close(&self) {
            *self.0.lock().unwrap() = true;
        }
        pub(super) fn open(&self) {
            *self.0.lock().unwrap() = false;
            self.1.notify_all();
        }
        fn pass(&self) {
            drop(self.1.wait_while(self.0.lock().unwrap(), |closed| *closed).unwrap());
        }
    }

    pub(super) struct Gated(pub(super) Arc<Gate>);

    impl Storage for Gated {
        fn create(&self, path: &Path, access: Access) -> io::Result<Box<dyn StoredFile>> {
            Ok(Box::new(GatedFile(LocalFiles.create(path, access)?, Arc::clone(&self.0))))
        }
        fn open(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
            Ok(Box::new(GatedFile(LocalFiles.open(path)?, Arc::clone(&self.0))))
        }
    }

    struct GatedFile(Box<dyn StoredFile>, Arc<Gate>);

    impl StoredFile for GatedFile {
        fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
            self.0.write_at(bytes, offset)
        }
        fn sync(&self) -> io::Result<()> {
            self.1.pass();
            self.0.sync()
        }
    }
}
