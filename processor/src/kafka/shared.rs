//! What the consumer's thread, the client's callbacks and the outside share of a source.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use pedigraph_proto::message::Refused;
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::partition::{Partition, Positions};
use super::sight::{Sight, Standing};
use super::{Accept, Config, KafkaHealth, PartitionState, Topic, lock};
use crate::intake::{Job, Queue};
use crate::record::Recorder;

/// Longest wait for what is under way when partitions are taken away.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Kafka's default session timeout, milliseconds.
const SESSION_TIMEOUT_MS: u64 = 45_000;

/// What the consumer's thread, its callbacks and the outside share.
pub(super) struct Shared {
    topics: HashMap<String, Arc<Topic>>,
    pub(super) accept_gaps: Vec<Accept>,
    pub(super) queue: Arc<Queue>,
    positions: Arc<Positions>,
    pub(super) recorder: Recorder,
    pub(super) cluster: OnceLock<String>,
    pub(super) assigned: Mutex<Vec<Arc<Partition>>>,
    last_error: Mutex<Option<String>>,
    pub(super) stopped: Mutex<Option<String>>,
    pub(super) paused: AtomicBool,
    drain_max: Duration,
    pub(super) stopping: AtomicBool,
    pub(super) abandoned: AtomicBool,
    /// Messages that the client gave out.
    pub(super) given: AtomicU64,
    /// Some partition is doubted.
    looks: AtomicBool,
    /// Jobs of partitions that have their share of the queue, in order. Those are paused, so there are no more of them
    /// than were fetched together.
    held: Mutex<Vec<Job>>,
    /// Whether there are any: asked for each message.
    holds_any: AtomicBool,
}

impl Shared {
    pub(super) fn new(config: &Config, queue: Arc<Queue>, positions: Arc<Positions>, recorder: Recorder) -> Shared {
        let topics = config.topics.iter().map(|topic| (topic.name.clone(), Arc::new(topic.clone()))).collect();
        let session_ms = config.options.get("session.timeout.ms").and_then(|ms| ms.parse().ok());
        Shared {
            topics,
            accept_gaps: config.accept_gaps.clone(),
            queue,
            positions,
            recorder,
            cluster: OnceLock::new(),
            assigned: Mutex::default(),
            last_error: Mutex::default(),
            stopped: Mutex::default(),
            paused: AtomicBool::new(false),
            drain_max: DRAIN_MAX.min(Duration::from_millis(session_ms.unwrap_or(SESSION_TIMEOUT_MS) / 2)),
            stopping: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            given: AtomicU64::new(0),
            looks: AtomicBool::new(false),
            held: Mutex::default(),
            holds_any: AtomicBool::new(false),
        }
    }

    pub(super) fn health(&self) -> KafkaHealth {
        KafkaHealth {
            cluster: self.cluster.get().cloned(),
            last_error: lock(&self.last_error).clone(),
            stopped: lock(&self.stopped).clone(),
            paused: self.paused.load(Ordering::Acquire),
            partitions: lock(&self.assigned).iter().map(|partition| self.state(partition)).collect(),
        }
    }

    fn state(&self, partition: &Arc<Partition>) -> PartitionState {
        PartitionState { is_held: self.holds(partition), ..partition.state() }
    }

    /// Keeps a job back; the thread pauses its partition.
    pub(super) fn hold(&self, job: Job) {
        lock(&self.held).push(job);
        self.holds_any.store(true, Ordering::Release);
    }

    /// Whether jobs of a partition are kept back.
    pub(super) fn holds(&self, partition: &Arc<Partition>) -> bool {
        self.holds_any.load(Ordering::Acquire) && lock(&self.held).iter().any(|job| is_of(job, partition))
    }

    /// Hands on what was kept back and finds ample room; tells of which partitions nothing is kept back any more.
    pub(super) fn release(&self) -> Vec<Arc<Partition>> {
        if !self.holds_any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut held = lock(&self.held);
        let (mut kept, mut gone) = (Vec::<Job>::new(), Vec::<Arc<Partition>>::new());
        for job in held.drain(..) {
            let Some(partition) = job.partition().cloned() else { continue };
            let is_behind = kept.iter().any(|earlier| is_of(earlier, &partition));
            if is_behind || !self.queue.has_ample_room(&job) {
                kept.push(job);
            } else if let Err((Refused::Busy | Refused::NoRoom, back)) = self.queue.push(job) {
                kept.push(*back);
            } else if !gone.iter().any(|other| Arc::ptr_eq(other, &partition)) {
                gone.push(partition);
            }
        }
        gone.retain(|partition| !kept.iter().any(|job| is_of(job, partition)));
        self.holds_any.store(!kept.is_empty(), Ordering::Release);
        *held = kept;
        gone
    }

    /// Drops what is kept back of these partitions: it is fetched again.
    pub(super) fn let_go(&self, partitions: &[Arc<Partition>]) {
        let mut held = lock(&self.held);
        held.retain(|job| !partitions.iter().any(|partition| is_of(job, partition)));
        self.holds_any.store(!held.is_empty(), Ordering::Release);
    }

    /// The thread looks at the doubted partitions.
    pub(super) fn look(&self) {
        self.looks.store(true, Ordering::Release);
    }

    /// Whether there may be doubted partitions; it is forgotten by asking.
    pub(super) fn looks(&self) -> bool {
        self.looks.load(Ordering::Acquire) && self.looks.swap(false, Ordering::AcqRel)
    }

    /// Nothing more of the partition is taken before the broker was asked what it has.
    pub(super) fn doubt(&self, partition: &Partition) {
        if partition.see(Sight::doubt) {
            self.look();
        }
    }

    /// The client says that a position is gone, but not of which partition.
    pub(super) fn doubt_all(&self) {
        lock(&self.assigned).iter().for_each(|partition| self.doubt(partition));
    }

    pub(super) fn note(&self, error: &KafkaError) {
        let text = error.to_string();
        let mut last = lock(&self.last_error);
        if last.as_ref() != Some(&text) {
            tracing::warn!(error = text, "Kafka");
            *last = Some(text);
        }
    }

    /// Waits until nothing of these partitions is between the source and the disk.
    pub(super) fn wait_for(&self, partitions: &[Arc<Partition>]) -> bool {
        let settled = || partitions.iter().all(|partition| partition.is_quiet());
        self.queue.wait_until(self.drain_max, || settled() || self.abandoned.load(Ordering::Acquire))
    }

    pub(super) fn assign(&self, list: &TopicPartitionList) -> TopicPartitionList {
        let mut from = TopicPartitionList::with_capacity(list.count());
        let cluster = self.cluster.get().map_or("", String::as_str);
        let mut assigned = lock(&self.assigned);
        for element in list.elements() {
            let Some(topic) = self.topics.get(element.topic()) else { continue };
            let partition = self.positions.assign(cluster, topic, element.partition());
            let begin = partition.begin().and_then(|offset| i64::try_from(offset).ok());
            let offset = begin.map_or(Offset::Beginning, Offset::Offset);
            tracing::info!(topic = topic.name, partition = partition.number, ?offset, "assigned");
            let _a_valid_offset = from.add_partition_offset(&topic.name, partition.number, offset);
            assigned.retain(|old| !Arc::ptr_eq(old, &partition));
            assigned.push(partition);
        }
        from
    }

    /// What is under way has a deadline to become durable; after it, or at once when the partitions are lost already,
    /// it is dropped by its epoch, and the next owner reads it.
    pub(super) fn revoke(&self, list: &TopicPartitionList, lost: bool) -> Vec<Arc<Partition>> {
        let is_revoked = |partition: &Arc<Partition>| {
            list.elements().iter().any(|e| e.partition() == partition.number && e.topic() == partition.topic.name)
        };
        let revoked: Vec<_> = lock(&self.assigned).iter().filter(|partition| is_revoked(partition)).cloned().collect();
        self.let_go(&revoked);
        if !lost && !self.wait_for(&revoked) {
            tracing::warn!("partitions were given back before all of their messages were durable; they are read again");
        }
        revoked.iter().for_each(|partition| partition.end_assignment());
        lock(&self.assigned).retain(|partition| !revoked.iter().any(|gone| Arc::ptr_eq(gone, partition)));
        revoked
    }
}

fn is_of(job: &Job, partition: &Arc<Partition>) -> bool {
    job.partition().is_some_and(|of| Arc::ptr_eq(of, partition))
}

/// What Kafka is told, for lag tools only.
pub(super) fn told_positions(partitions: &[Arc<Partition>]) -> Option<TopicPartitionList> {
    let mut positions = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions.iter().filter(|partition| !matches!(partition.standing(), Standing::Lost(_))) {
        let Some(next) = partition.durable().and_then(|position| i64::try_from(position.next).ok()) else { continue };
        let _a_valid_offset =
            positions.add_partition_offset(&partition.topic.name, partition.number, Offset::Offset(next));
    }
    (positions.count() > 0).then_some(positions)
}
