//! Kafka as a source: one consumer on one OS thread of its own.
//!
//! Where to read from stands in the ledger alone, committed in the same write as the entries. Kafka's committed offsets
//! are written afterwards for lag tools and never read. The rules that make each message end up exactly once:
//!
//! - An assignment starts at the ledger's position, a partition that the ledger does not know at its beginning.
//! - Each assignment of a partition has an epoch. The writer drops what was fetched in another one, and every offset
//!   below the next: what a rewind, a zombie or a late batch brings is fetched again or is there already.
//! - A position that the broker no longer has (`auto.offset.reset=error`) is lost data and stops the process; an
//!   operator who accepts the loss sets `auto.offset.reset=earliest` once.
//!
//! The client does not show a topic's uuid, so a position is keyed by (cluster id, topic, partition). A topic that was
//! deleted and made again is noticed as long as it is shorter than the position; a longer one is read on from there.
//! Give a recreated topic another name.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pedigraph_proto::TenantId;
use pedigraph_proto::message::{Body, Code, Message, Refused, Reject};
use pedigraph_proto::wire;
use rdkafka::bindings::rd_kafka_resp_err_t as RespErr;
use rdkafka::consumer::base_consumer::BaseConsumer;
use rdkafka::consumer::{CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use serde::Deserialize;

use crate::Error;
use crate::clock::now;
use crate::intake::{Entrance, Job, Origin, Queue};

/// Messages and bytes that are handed on at once.
const JOB_MESSAGES_MAX: usize = 256;
const JOB_BYTES_MAX: usize = 512 << 10;
/// How long a poll waits when there is nothing: also how soon a stop is noticed.
const POLL: Duration = Duration::from_millis(100);
/// How long a full queue is waited for before the partitions are paused: pausing throws away what the client
/// prefetched.
const FULL_MAX: Duration = Duration::from_secs(1);
/// How often Kafka is told the positions, for lag tools.
const COMMIT_INTERVAL: Duration = Duration::from_secs(5);
/// How long an assignment, or a broker, is waited for in silence, and how often it is said after that.
const SILENT_MAX: Duration = Duration::from_secs(2);
const SAY_INTERVAL: Duration = Duration::from_secs(10);
/// Longest wait for what is under way when partitions are taken away.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Kafka's default session timeout, milliseconds.
const SESSION_TIMEOUT_MS: u64 = 45_000;

/// What intake depends on; not to be set from outside.
const RESERVED: [(&str, &str); 3] =
    [("enable.auto.commit", "false"), ("enable.auto.offset.store", "false"), ("group.protocol", "classic")];
/// What may be overridden.
const DEFAULTS: [(&str, &str); 12] = [
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("check.crcs", "true"),
    ("queued.max.messages.kbytes", "24576"),
    ("queued.min.messages", "10000"),
    ("fetch.queue.backoff.ms", "20"),
    // A message of 16 MiB and its headers must fit, so that it is recorded, if only as too large.
    ("fetch.message.max.bytes", "17825792"),
    ("statistics.interval.ms", "1000"),
    ("topic.metadata.refresh.interval.ms", "60000"),
    ("reconnect.backoff.max.ms", "2000"),
    ("client.id", "pedigraph"),
];

/// One Kafka cluster to read from.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Bootstrap servers, `host:port`, comma-separated.
    pub brokers: String,
    /// Consumer group.
    pub group: String,
    /// Topics.
    pub topics: Vec<Topic>,
    /// librdkafka settings as they are: TLS, SASL, timeouts.
    pub options: BTreeMap<String, String>,
}

/// A topic and what is known of its messages beforehand.
#[derive(Clone, Debug, Default)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// The tenant of all that arrives here.
    pub tenant: TenantId,
    /// Decoder to use instead of detecting.
    pub format: Option<String>,
    /// Subject artifact where a message names none.
    pub subject: Option<String>,
}

/// How a source does.
#[derive(Clone, Debug, Default)]
pub struct KafkaHealth {
    /// The cluster's id, once it was reached.
    pub cluster: Option<String>,
    /// The last error, until a message arrives again.
    pub last_error: Option<String>,
    /// The queue is full, and nothing is fetched until there is room.
    pub paused: bool,
    /// The assigned partitions.
    pub partitions: Vec<PartitionState>,
}

/// Where one partition is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionState {
    /// Topic.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// Next offset that the ledger does not have; `None` before the first message.
    pub position: Option<u64>,
    /// Next offset that the broker will give, as last heard.
    pub end: Option<u64>,
    /// Broker's time of the newest durable message, milliseconds since 1970 UTC.
    pub recorded_ms: Option<i64>,
}

impl PartitionState {
    /// Messages on the broker that are not in the ledger; `None` while the end is not known.
    pub fn lag_messages(&self) -> Option<u64> {
        Some(self.end?.saturating_sub(self.position.unwrap_or_default()))
    }

    /// How old the newest durable message is while there are newer ones, milliseconds; 0 when there are none.
    pub fn lag_ms(&self, now_ms: i64) -> Option<i64> {
        match self.lag_messages()? {
            0 => Some(0),
            _ => Some(now_ms.saturating_sub(self.recorded_ms?).max(0)),
        }
    }
}

/// Stands for "not known" in the atomics below.
const UNKNOWN: u64 = u64::MAX;

/// One partition, shared by the source that reads it and the writer.
pub(crate) struct Partition {
    key: Bytes,
    topic: Arc<Topic>,
    number: i32,
    /// The assignment it is read in; 0 when it is not assigned.
    epoch: AtomicU64,
    /// Next offset after what the writer decided on, and the time of that message; only the writer sets them.
    decided: AtomicU64,
    decided_ms: AtomicI64,
    /// Next offset after what is durable, and the time of that message.
    durable: AtomicU64,
    durable_ms: AtomicI64,
    /// Messages between the source and the disk.
    in_flight: AtomicUsize,
    end: AtomicU64,
}

impl Partition {
    /// The key of its position in the ledger.
    pub(crate) fn key(&self) -> &Bytes {
        &self.key
    }

    /// The position to commit with what was decided.
    pub(crate) fn decided(&self) -> Position {
        Position { next: self.decided.load(Ordering::Acquire), time_ms: self.decided_ms.load(Ordering::Acquire) }
    }

    /// What was decided up to a position is on disk.
    pub(crate) fn durable_to(&self, position: Position) {
        self.durable_ms.store(position.time_ms, Ordering::Release);
        self.durable.store(position.next, Ordering::Release);
    }

    fn durable(&self) -> Option<u64> {
        known(self.durable.load(Ordering::Acquire))
    }

    fn state(&self) -> PartitionState {
        PartitionState {
            topic: self.topic.name.clone(),
            partition: self.number,
            position: self.durable(),
            end: known(self.end.load(Ordering::Acquire)),
            recorded_ms: Some(self.durable_ms.load(Ordering::Acquire)).filter(|ms| *ms > 0),
        }
    }
}

fn known(offset: u64) -> Option<u64> {
    (offset != UNKNOWN).then_some(offset)
}

/// How far a partition is.
#[derive(Clone, Copy)]
pub(crate) struct Position {
    /// The next offset.
    pub(crate) next: u64,
    /// Broker's time of the message before it, milliseconds since 1970 UTC.
    time_ms: i64,
}

/// Where and in which assignment a message was fetched.
pub(crate) struct Fetched {
    pub(crate) partition: Arc<Partition>,
    epoch: u64,
    offset: u64,
    time_ms: i64,
    /// Why the message is refused whatever its body says.
    pub(crate) reject: Option<Reject>,
}

impl Fetched {
    fn new(partition: &Arc<Partition>, offset: u64, time_ms: i64, reject: Option<Reject>) -> Fetched {
        partition.in_flight.fetch_add(1, Ordering::AcqRel);
        let epoch = partition.epoch.load(Ordering::Acquire);
        Fetched { partition: Arc::clone(partition), epoch, offset, time_ms, reject }
    }

    /// For the writer: false when the message must be dropped, since its assignment is over or its offset is behind.
    /// Gaps are legal: compaction and transaction markers leave them.
    pub(crate) fn take_turn(&self) -> bool {
        let partition = &self.partition;
        let stale = partition.epoch.load(Ordering::Acquire) != self.epoch;
        let behind = known(partition.decided.load(Ordering::Acquire)).is_some_and(|next| self.offset < next);
        if stale || behind {
            return false;
        }
        partition.decided.store(self.offset + 1, Ordering::Release);
        partition.decided_ms.store(self.time_ms, Ordering::Release);
        true
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        self.partition.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Every partition of every source, by the key of its position.
pub(crate) struct Positions {
    at_start: BTreeMap<Bytes, u64>,
    partitions: Mutex<HashMap<Bytes, Arc<Partition>>>,
    epochs: AtomicU64,
}

impl Positions {
    pub(crate) fn new(at_start: BTreeMap<Bytes, u64>) -> Positions {
        Positions { at_start, partitions: Mutex::default(), epochs: AtomicU64::new(0) }
    }

    /// Begins an assignment of a partition.
    fn assign(&self, cluster: &str, topic: &Arc<Topic>, number: i32) -> Arc<Partition> {
        let key = position_key(cluster, &topic.name, number);
        let mut partitions = lock(&self.partitions);
        let position = self.at_start.get(&key).copied().unwrap_or(UNKNOWN);
        let partition = partitions.entry(key.clone()).or_insert_with(|| {
            Arc::new(Partition {
                key,
                topic: Arc::clone(topic),
                number,
                epoch: AtomicU64::new(0),
                decided: AtomicU64::new(position),
                decided_ms: AtomicI64::new(0),
                durable: AtomicU64::new(position),
                durable_ms: AtomicI64::new(0),
                in_flight: AtomicUsize::new(0),
                end: AtomicU64::new(UNKNOWN),
            })
        });
        partition.epoch.store(self.epochs.fetch_add(1, Ordering::AcqRel) + 1, Ordering::Release);
        Arc::clone(partition)
    }
}

/// Cluster id, topic, topic uuid (not shown by this client, so empty) and partition, each preceded by its length as 2
/// bytes big-endian; the partition as 4 bytes big-endian.
pub(crate) fn position_key(cluster: &str, topic: &str, partition: i32) -> Bytes {
    let mut key = Vec::with_capacity(12 + cluster.len() + topic.len());
    for part in [cluster.as_bytes(), topic.as_bytes(), b"", &partition.to_be_bytes()] {
        key.extend_from_slice(&u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
        key.extend_from_slice(part);
    }
    key.into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running source.
pub(crate) struct Source {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the consumer's thread, its callbacks and the outside share.
struct Shared {
    topics: HashMap<String, Arc<Topic>>,
    queue: Arc<Queue>,
    positions: Arc<Positions>,
    cluster: OnceLock<String>,
    assigned: Mutex<Vec<Arc<Partition>>>,
    last_error: Mutex<Option<String>>,
    paused: AtomicBool,
    drain_max: Duration,
    stopping: AtomicBool,
    abandoned: AtomicBool,
}

impl Source {
    /// Starts to read. `fail` is told what the process cannot go on after.
    pub(crate) fn start(
        config: &Config,
        instance: &str,
        queue: Arc<Queue>,
        positions: Arc<Positions>,
        fail: impl Fn(String) + Send + 'static,
    ) -> Result<Source, Error> {
        let topics = config.topics.iter().map(|topic| (topic.name.clone(), Arc::new(topic.clone()))).collect();
        let session_ms = config.options.get("session.timeout.ms").and_then(|ms| ms.parse().ok());
        let shared = Arc::new(Shared {
            topics,
            queue,
            positions,
            cluster: OnceLock::new(),
            assigned: Mutex::default(),
            last_error: Mutex::default(),
            paused: AtomicBool::new(false),
            drain_max: DRAIN_MAX.min(Duration::from_millis(session_ms.unwrap_or(SESSION_TIMEOUT_MS) / 2)),
            stopping: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
        });
        let context = Context { shared: Arc::clone(&shared) };
        let consumer: BaseConsumer<Context> = client_config(config, instance)?.create_with_context(context)?;
        let names: Vec<String> = config.topics.iter().map(|topic| topic.name.clone()).collect();
        let (brokers, group) = (config.brokers.clone(), config.group.clone());
        let reading = Reading { consumer, brokers, group, shared: Arc::clone(&shared), batch: Fetch::default() };
        let run = move || {
            if let Err(reason) = reading.run(&names) {
                fail(reason);
            }
        };
        let thread = std::thread::Builder::new().name("kafka".to_owned()).spawn(run)?;
        Ok(Source { shared, thread: Some(thread) })
    }

    pub(crate) fn health(&self) -> KafkaHealth {
        KafkaHealth {
            cluster: self.shared.cluster.get().cloned(),
            last_error: lock(&self.shared.last_error).clone(),
            paused: self.shared.paused.load(Ordering::Acquire),
            partitions: lock(&self.shared.assigned).iter().map(|partition| partition.state()).collect(),
        }
    }

    /// Fetches nothing more, waits until what was fetched is durable, tells Kafka, leaves.
    pub(crate) fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
    }

    /// Leaves at once.
    pub(crate) fn abandon(&self) {
        self.shared.abandoned.store(true, Ordering::Release);
        self.stop();
    }

    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _panicked_and_said_so = thread.join();
        }
    }
}

fn client_config(config: &Config, instance: &str) -> Result<ClientConfig, Error> {
    let mut client = ClientConfig::new();
    DEFAULTS.iter().for_each(|(name, value)| {
        client.set(*name, *value);
    });
    for (name, value) in &config.options {
        if RESERVED.iter().any(|(reserved, _)| reserved == name) {
            return Err(Error::Config(format!(
                "Kafka option {name} cannot be set: where to read from stands in the ledger"
            )));
        }
        client.set(name, value);
    }
    RESERVED.iter().for_each(|(name, value)| {
        client.set(*name, *value);
    });
    client.set("bootstrap.servers", &config.brokers).set("group.id", &config.group);
    if !config.options.contains_key("group.instance.id") {
        client.set("group.instance.id", instance);
    }
    Ok(client)
}

/// The static member's name, kept beside the ledger, so that a restart is known to be the same member and waits for
/// nobody.
pub(crate) fn instance_id(dir: &Path) -> Result<String, Error> {
    let path = dir.join("kafka-instance-id");
    let stored = fs::read_to_string(&path).unwrap_or_default();
    if let Ok(id) = stored.trim().parse::<uuid::Uuid>() {
        return Ok(id.to_string());
    }
    let id = uuid::Uuid::new_v4().to_string();
    let unfinished = dir.join("kafka-instance-id.tmp");
    let mut file = fs::File::create(&unfinished)?;
    file.write_all(id.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, &path)?;
    Ok(id)
}

/// Messages that were fetched and not yet handed on.
#[derive(Default)]
struct Fetch {
    bytes: Vec<u8>,
    messages: Vec<(Message, std::ops::Range<usize>)>,
    fetched: Vec<Fetched>,
}

/// The consumer's thread.
struct Reading {
    consumer: BaseConsumer<Context>,
    brokers: String,
    group: String,
    shared: Arc<Shared>,
    batch: Fetch,
}

impl Reading {
    /// Reads until told to stop; an error is one that the process cannot go on after.
    fn run(mut self, topics: &[String]) -> Result<(), String> {
        if !self.find_cluster() {
            return Ok(());
        }
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        self.consumer.subscribe(&names).map_err(|error| format!("cannot subscribe to {topics:?}: {error}"))?;
        let (mut commit_at, mut wait) = (now() + COMMIT_INTERVAL, Some(Wait::since(now())));
        while !self.shared.stopping.load(Ordering::Acquire) {
            self.poll(if self.batch.messages.is_empty() { POLL } else { Duration::ZERO })?;
            if !self.batch.messages.is_empty() {
                continue;
            }
            self.say_wait(&mut wait);
            if now() >= commit_at {
                self.tell_positions(CommitMode::Async);
                commit_at = now() + COMMIT_INTERVAL;
            }
        }
        if !self.shared.abandoned.load(Ordering::Acquire) {
            self.drain();
            self.tell_positions(CommitMode::Sync);
        }
        Ok(())
    }

    /// Positions are keyed by the cluster's id, so nothing can be read before it is known.
    fn find_cluster(&self) -> bool {
        let mut wait = Wait::since(now());
        while !self.shared.stopping.load(Ordering::Acquire) {
            if let Some(cluster) = self.consumer.client().fetch_cluster_id(POLL * 5) {
                return self.shared.cluster.set(cluster).is_ok();
            }
            if let Some(Err(error)) = self.consumer.poll(POLL) {
                self.shared.note(&error);
            }
            if wait.is_due(now()) {
                tracing::info!(
                    brokers = self.brokers,
                    seconds = wait.seconds(now()),
                    "waiting for a Kafka broker to answer"
                );
            }
        }
        false
    }

    /// Says that no partition is assigned, while it lasts, and once that some are.
    fn say_wait(&self, wait: &mut Option<Wait>) {
        let partitions = lock(&self.shared.assigned).len();
        if partitions == 0 {
            let waiting = wait.get_or_insert_with(|| Wait::since(now()));
            if waiting.is_due(now()) {
                let (group, seconds) = (&self.group, waiting.seconds(now()));
                tracing::info!(
                    group,
                    seconds,
                    "waiting for the Kafka group to assign partitions; a member that died keeps its own until its session ends"
                );
            }
        } else if let Some(waited) = wait.take() {
            tracing::info!(
                group = self.group,
                partitions,
                seconds = waited.seconds(now()),
                "Kafka assigned partitions"
            );
        }
    }

    fn poll(&mut self, timeout: Duration) -> Result<(), String> {
        match self.consumer.poll(timeout) {
            None => self.hand_on(),
            Some(Ok(message)) => {
                add(&mut self.batch, &self.shared, &message);
                drop(message);
                if self.batch.is_full() { self.hand_on() } else { Ok(()) }
            }
            Some(Err(error)) => self.endure(&error),
        }
    }

    fn endure(&self, error: &KafkaError) -> Result<(), String> {
        self.shared.note(error);
        if let KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) =
            error
        {
            return Err(format!(
                "Kafka no longer has the messages after the ledger's position ({error}): they were deleted before they were \
                 read, or the topic was made again. To accept the loss and go on with the oldest message there is, set the \
                 Kafka option auto.offset.reset=earliest for one start"
            ));
        }
        if let KafkaError::MessageConsumptionFatal(code) = error {
            return Err(format!("Kafka refuses this consumer: {code}"));
        }
        // Everything else passes, or stays visible in the health of the source until it does.
        Ok(())
    }

    /// Hands on what was fetched. While the queue is full the consumer is still polled, so that it stays in its group.
    fn hand_on(&mut self) -> Result<(), String> {
        let Some(mut job) = self.batch.take() else { return Ok(()) };
        loop {
            match self.shared.queue.push(job) {
                Ok(()) => break,
                // The messages stay on the broker and the ledger's position before them.
                Err((Refused::Stopping | Refused::TooLarge(_), _)) => break,
                Err((Refused::Busy | Refused::NoRoom, back)) => job = back,
            }
            let stopping = self.shared.stopping.load(Ordering::Acquire);
            // A full queue empties; a full disk may not.
            if self.shared.abandoned.load(Ordering::Acquire) || stopping && self.shared.queue.refuses().is_some() {
                break;
            }
            if !self.shared.queue.wait_for_kafka_room(job.room.bytes, FULL_MAX) {
                self.poll_paused()?;
            }
        }
        self.resume()
    }

    fn poll_paused(&mut self) -> Result<(), String> {
        if !self.shared.paused.swap(true, Ordering::AcqRel) {
            self.set_paused(true)?;
        }
        match self.consumer.poll(POLL) {
            None => Ok(()),
            // Fetched before the pause took hold: it must not be skipped.
            Some(Ok(message)) => {
                add(&mut self.batch, &self.shared, &message);
                Ok(())
            }
            Some(Err(error)) => self.endure(&error),
        }
    }

    fn resume(&self) -> Result<(), String> {
        if self.shared.paused.swap(false, Ordering::AcqRel) { self.set_paused(false) } else { Ok(()) }
    }

    fn set_paused(&self, paused: bool) -> Result<(), String> {
        let assignment = self.consumer.assignment().map_err(|error| error.to_string())?;
        let outcome = if paused { self.consumer.pause(&assignment) } else { self.consumer.resume(&assignment) };
        outcome.map_err(|error| format!("cannot pause or resume: {error}"))
    }

    fn drain(&mut self) {
        if let Err(reason) = self.hand_on() {
            tracing::warn!(reason, "what was fetched last is fetched again at the next start");
        }
        let partitions = lock(&self.shared.assigned).clone();
        self.shared.wait_for(&partitions);
    }

    /// For lag tools only: losing it costs nothing.
    fn tell_positions(&self, mode: CommitMode) {
        let partitions = lock(&self.shared.assigned).clone();
        if let Some(positions) = durable_positions(&partitions) {
            let _told_next_time = self.consumer.commit(&positions, mode);
        }
    }
}

/// A wait that is said after a while, and again while it lasts.
struct Wait {
    since: Instant,
    said: Option<Instant>,
}

impl Wait {
    fn since(since: Instant) -> Wait {
        Wait { since, said: None }
    }

    /// Whether it is time to say it.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.said.map_or(self.since + SILENT_MAX, |said| said + SAY_INTERVAL);
        if due {
            self.said = Some(now);
        }
        due
    }

    fn seconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.since).as_secs()
    }
}

fn durable_positions(partitions: &[Arc<Partition>]) -> Option<TopicPartitionList> {
    let mut positions = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        let Some(next) = partition.durable().and_then(|next| i64::try_from(next).ok()) else { continue };
        let _a_valid_offset =
            positions.add_partition_offset(&partition.topic.name, partition.number, Offset::Offset(next));
    }
    (positions.count() > 0).then_some(positions)
}

fn add(batch: &mut Fetch, shared: &Shared, message: &BorrowedMessage<'_>) {
    let Some(partition) = shared.partition_of(batch, message) else { return };
    let Ok(offset) = u64::try_from(message.offset()) else { return };
    let time_ms = message.timestamp().to_millis();
    let (headers, reject) = headers_of(message);
    batch.fetched.push(Fetched::new(&partition, offset, time_ms.unwrap_or_default(), reject));
    let start = batch.bytes.len();
    batch.bytes.extend_from_slice(message.payload().unwrap_or_default());
    let range = start..batch.bytes.len();
    let body = if message.payload().is_some() { Body::Bytes(Bytes::new()) } else { Body::Null };
    let topic = &partition.topic;
    let message = Message {
        tenant: topic.tenant.clone(),
        origin: wire::Origin {
            kind: "kafka".to_owned(),
            cluster: shared.cluster.get().cloned().unwrap_or_default(),
            topic: topic.name.clone(),
            partition: u32::try_from(partition.number).unwrap_or_default(),
            offset,
        },
        source: topic.name.clone(),
        headers,
        body,
        subject: None,
        format: topic.format.clone(),
        broker_time: time_ms.and_then(|ms| ms.checked_mul(1_000_000)),
        replay_of: None,
    };
    batch.messages.push((with_default_subject(message, topic), range));
}

/// The message's own header goes before what the topic says.
fn with_default_subject(mut message: Message, topic: &Topic) -> Message {
    let names_one = message.headers.iter().any(|(name, _)| name == "pedigraph-subject");
    message.subject = topic.subject.clone().filter(|_| !names_one);
    message
}

type ReadHeaders = (Vec<(String, Option<Bytes>)>, Option<Reject>);

fn headers_of(message: &BorrowedMessage<'_>) -> ReadHeaders {
    let Some(headers) = message.headers() else { return (Vec::new(), None) };
    let mut read = Vec::with_capacity(headers.count());
    for n in 0..headers.count() {
        // The client panics on a name that is not UTF-8; nothing but that can panic here.
        match catch_unwind(AssertUnwindSafe(|| headers.try_get(n))) {
            Ok(Some(header)) => read.push((header.key.to_ascii_lowercase(), header.value.map(Bytes::copy_from_slice))),
            Ok(None) => {}
            Err(_) => return (read, Some(Reject::new(Code::MalformedEnvelope, "the name of a header is not UTF-8"))),
        }
    }
    (read, None)
}

impl Fetch {
    fn is_full(&self) -> bool {
        self.messages.len() >= JOB_MESSAGES_MAX || self.bytes.len() >= JOB_BYTES_MAX
    }

    /// One allocation holds the bodies of all messages of a job.
    fn take(&mut self) -> Option<Job> {
        if self.messages.is_empty() {
            return None;
        }
        let capacity = self.bytes.len().min(JOB_BYTES_MAX);
        let bytes = Bytes::from(std::mem::replace(&mut self.bytes, Vec::with_capacity(capacity)));
        let whole = |(mut message, range): (Message, _)| {
            if let Body::Bytes(body) = &mut message.body {
                *body = bytes.slice(range);
            }
            message
        };
        let messages = self.messages.drain(..).map(whole).collect();
        Some(Job::new(messages, Origin::Kafka(std::mem::take(&mut self.fetched)), Entrance::Kafka))
    }
}

impl Shared {
    /// The partition of a message: nearly always that of the one before.
    fn partition_of(&self, batch: &Fetch, message: &BorrowedMessage<'_>) -> Option<Arc<Partition>> {
        let (topic, number) = (message.topic(), message.partition());
        let is_it = |partition: &Arc<Partition>| partition.number == number && partition.topic.name == topic;
        let last = batch.fetched.last().map(|fetched| &fetched.partition).filter(|last| is_it(last));
        last.cloned().or_else(|| lock(&self.assigned).iter().find(|partition| is_it(partition)).cloned())
    }

    fn note(&self, error: &KafkaError) {
        let text = error.to_string();
        let mut last = lock(&self.last_error);
        if last.as_ref() != Some(&text) {
            tracing::warn!(error = text, "Kafka");
            *last = Some(text);
        }
    }

    /// Waits until nothing of these partitions is between the source and the disk.
    fn wait_for(&self, partitions: &[Arc<Partition>]) -> bool {
        let settled = || partitions.iter().all(|partition| partition.in_flight.load(Ordering::Acquire) == 0);
        self.queue.wait_until(self.drain_max, || settled() || self.abandoned.load(Ordering::Acquire))
    }

    fn assign(&self, list: &TopicPartitionList) -> TopicPartitionList {
        let mut from = TopicPartitionList::with_capacity(list.count());
        let cluster = self.cluster.get().map_or("", String::as_str);
        let mut assigned = lock(&self.assigned);
        for element in list.elements() {
            let Some(topic) = self.topics.get(element.topic()) else { continue };
            let partition = self.positions.assign(cluster, topic, element.partition());
            let next = partition.durable().and_then(|next| i64::try_from(next).ok());
            let offset = next.map_or(Offset::Beginning, Offset::Offset);
            tracing::info!(topic = topic.name, partition = partition.number, ?offset, "assigned");
            let _a_valid_offset = from.add_partition_offset(&topic.name, partition.number, offset);
            assigned.retain(|old| !Arc::ptr_eq(old, &partition));
            assigned.push(partition);
        }
        from
    }

    /// What is under way has a deadline to become durable; after it, or at once when the partitions are lost already,
    /// it is dropped by its epoch, and the next owner reads it.
    fn revoke(&self, list: &TopicPartitionList, lost: bool) -> Vec<Arc<Partition>> {
        let is_revoked = |partition: &Arc<Partition>| {
            list.elements().iter().any(|e| e.partition() == partition.number && e.topic() == partition.topic.name)
        };
        let revoked: Vec<_> = lock(&self.assigned).iter().filter(|partition| is_revoked(partition)).cloned().collect();
        if !lost && !self.wait_for(&revoked) {
            tracing::warn!("partitions were given back before all of their messages were durable; they are read again");
        }
        revoked.iter().for_each(|partition| partition.epoch.store(0, Ordering::Release));
        lock(&self.assigned).retain(|partition| !revoked.iter().any(|gone| Arc::ptr_eq(gone, partition)));
        revoked
    }
}

/// The client's callbacks; all run in `poll`, on the consumer's thread.
struct Context {
    shared: Arc<Shared>,
}

impl ClientContext for Context {
    fn stats_raw(&self, statistics: &[u8]) {
        let Ok(statistics) = serde_json::from_slice::<Statistics>(statistics) else { return };
        for partition in lock(&self.shared.assigned).iter() {
            let topic = statistics.topics.get(partition.topic.name.as_str());
            let end = topic.and_then(|topic| topic.partitions.get(partition.number.to_string().as_str()));
            if let Some(end) = end.and_then(PartitionStatistics::end) {
                partition.end.store(end, Ordering::Release);
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka");
        self.shared.note(&error);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RespErr, list: &mut TopicPartitionList) {
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let outcome = if kind == RespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let from = self.shared.assign(list);
            if cooperative { consumer.incremental_assign(&from) } else { consumer.assign(&from) }
        } else {
            let lost = consumer.assignment_lost();
            let revoked = self.shared.revoke(list, lost);
            if let Some(positions) = durable_positions(&revoked).filter(|_| !lost) {
                let _for_lag_tools_only = consumer.commit(&positions, CommitMode::Async);
            }
            if cooperative { consumer.incremental_unassign(list) } else { consumer.unassign() }
        };
        if let Err(error) = outcome {
            self.shared.note(&error);
        }
    }
}

/// The few fields of librdkafka's statistics that tell the lag.
#[derive(Deserialize)]
struct Statistics<'a> {
    #[serde(borrow)]
    topics: HashMap<&'a str, TopicStatistics<'a>>,
}

#[derive(Deserialize)]
struct TopicStatistics<'a> {
    #[serde(borrow)]
    partitions: HashMap<&'a str, PartitionStatistics>,
}

#[derive(Deserialize)]
struct PartitionStatistics {
    hi_offset: i64,
    ls_offset: i64,
}

impl PartitionStatistics {
    /// The last stable offset where there is one: what is above it cannot be read yet.
    fn end(&self) -> Option<u64> {
        u64::try_from(self.ls_offset).or(u64::try_from(self.hi_offset)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_position_do_not_run_together() {
        assert_ne!(position_key("ab", "c", 0), position_key("a", "bc", 0));
        assert_eq!(position_key("c", "t", 1).as_ref(), b"\0\x01c\0\x01t\0\0\0\x04\0\0\0\x01");
    }

    #[test]
    fn a_wait_is_said_after_two_seconds_and_then_every_ten() {
        let start = now();
        let mut wait = Wait::since(start);
        let said = (0..40).filter(|second| wait.is_due(start + Duration::from_secs(*second)));
        assert_eq!(said.collect::<Vec<_>>(), [2, 12, 22, 32]);
        assert_eq!(wait.seconds(start + Duration::from_millis(27_900)), 27);
    }

    #[test]
    fn the_options_that_exactly_once_rests_on_cannot_be_set() {
        let mut config = Config::default();
        config.options.insert("enable.auto.commit".to_owned(), "true".to_owned());
        assert!(client_config(&config, "x").is_err());
        config.options = BTreeMap::from([("security.protocol".to_owned(), "plaintext".to_owned())]);
        let client = client_config(&config, "x").unwrap();
        assert_eq!(client.get("security.protocol"), Some("plaintext"));
        assert_eq!(client.get("auto.offset.reset"), Some("error"));
    }
}
