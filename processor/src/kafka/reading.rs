//! The consumer's thread: fetches, hands on, tells Kafka, and looks after partitions whose position is doubted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pedigraph_proto::event::GapAccepted;
use pedigraph_proto::message::{Refused, Submitted};
use rdkafka::consumer::base_consumer::BaseConsumer;
use rdkafka::consumer::{CommitMode, Consumer, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::context::Context;
use super::fetch::{Fetch, add};
use super::partition::{Partition, Step};
use super::shared::{Shared, told_positions};
use super::sight::{Doubt, Lost, Standing, Verdict, judge};
use super::wait::Wait;
use super::{Config, lock};
use crate::clock::now;
use crate::intake::Job;

/// How long a poll waits when there is nothing: also how soon a stop is noticed.
const POLL: Duration = Duration::from_millis(100);
/// How long a full queue is waited for before the partitions are paused: pausing throws away what the client
/// prefetched.
const FULL_MAX: Duration = Duration::from_secs(1);
/// How long a partition that has its share of the queue, all of it quick, is waited for before it alone is paused: this
/// long the others wait with it. Room is given back much sooner, unless the disk is slow.
const SHARE_MAX: Duration = Duration::from_millis(200);
/// How often Kafka is told the positions, for lag tools.
const COMMIT_INTERVAL: Duration = Duration::from_secs(5);
/// How often the broker is asked about a doubted partition, and how long it may take to answer.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
const ASK_MAX: Duration = Duration::from_secs(2);

/// The thread.
pub(super) struct Reading {
    consumer: BaseConsumer<Context>,
    brokers: String,
    group: String,
    shared: Arc<Shared>,
    batch: Fetch,
    look_at: Instant,
    /// Accepted gaps on their way to the ledger.
    accepting: Vec<Accepting>,
}

/// An accepted gap that is not durable yet.
struct Accepting {
    partition: Arc<Partition>,
    to: u64,
    answer: oneshot::Receiver<Submitted>,
}

impl Reading {
    pub(super) fn new(consumer: BaseConsumer<Context>, config: &Config, shared: Arc<Shared>) -> Reading {
        let (brokers, group) = (config.brokers.clone(), config.group.clone());
        let (batch, accepting) = (Fetch::default(), Vec::new());
        Reading { consumer, brokers, group, shared, batch, look_at: now(), accepting }
    }

    /// Reads until told to stop; an error is one that this source cannot go on after.
    pub(super) fn run(mut self, topics: &[String]) -> Result<(), String> {
        if !self.find_cluster() {
            return Ok(());
        }
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        self.consumer.subscribe(&names).map_err(|error| format!("cannot subscribe to {topics:?}: {error}"))?;
        let (mut commit_at, mut wait) = (now() + COMMIT_INTERVAL, Some(Wait::since(now())));
        while !self.shared.stopping.load(Ordering::Acquire) {
            self.release()?;
            self.poll(if self.batch.messages.is_empty() { POLL } else { Duration::ZERO })?;
            if !self.batch.messages.is_empty() {
                continue;
            }
            self.say_wait(&mut wait);
            self.look_after()?;
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
        if let KafkaError::MessageConsumption(code) = error
            && is_of_position(*code)
        {
            self.shared.doubt_all();
        }
        if let KafkaError::MessageConsumptionFatal(code) = error {
            return Err(format!("Kafka refuses this consumer: {code}"));
        }
        // Everything else passes, or stays visible in the health of the source until it does.
        Ok(())
    }

    /// Hands on what was fetched.
    fn hand_on(&mut self) -> Result<(), String> {
        for job in self.batch.take() {
            self.hand_on_job(job)?;
        }
        self.resume()
    }

    /// While the queue is full the consumer is still polled, so that it stays in its group; a partition that has its
    /// share of the queue is held, and the others are read on.
    fn hand_on_job(&mut self, mut job: Job) -> Result<(), String> {
        if job.partition().is_some_and(|partition| self.shared.holds(partition)) {
            self.shared.hold(job);
            return Ok(());
        }
        loop {
            match self.shared.queue.push(job) {
                Ok(()) => return Ok(()),
                // The messages stay on the broker and the ledger's position before them.
                Err((Refused::Stopping | Refused::TooLarge(_), _)) => return Ok(()),
                Err((Refused::Busy | Refused::NoRoom, back)) => job = *back,
            }
            let stopping = self.shared.stopping.load(Ordering::Acquire);
            // A full queue empties; a full disk may not.
            if self.shared.abandoned.load(Ordering::Acquire) || stopping && self.shared.queue.refuses().is_some() {
                return Ok(());
            }
            let share_max = if self.shared.queue.is_slow(&job) { Duration::ZERO } else { SHARE_MAX };
            if self.shared.queue.has_room_within(share_max, &job) {
                continue;
            }
            if self.shared.queue.is_for_its_share(&job) {
                return self.hold(job);
            }
            if !self.shared.queue.has_room_within(FULL_MAX, &job) {
                self.poll_paused()?;
            }
        }
    }

    /// Reads nothing more of a job's partition until the queue has much less of it.
    fn hold(&self, job: Job) -> Result<(), String> {
        let Some(partition) = job.partition().cloned() else { return Ok(()) };
        partition.end_passed();
        self.shared.hold(job);
        self.pause(&list_of(&partition), true)
    }

    /// Hands on what is held, as far as there is room, and reads those partitions on.
    fn release(&self) -> Result<(), String> {
        for partition in self.shared.release() {
            partition.end_passed();
            let is_read = !self.shared.paused.load(Ordering::Acquire);
            if is_read && !matches!(partition.standing(), Standing::Lost(_)) {
                self.pause(&list_of(&partition), false)?;
            }
        }
        Ok(())
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

    /// Pauses or resumes what is assigned; what is lost or held stays paused.
    fn set_paused(&self, paused: bool) -> Result<(), String> {
        let mut list = TopicPartitionList::new();
        for partition in lock(&self.shared.assigned).iter() {
            partition.end_passed();
            if !matches!(partition.standing(), Standing::Lost(_)) && !self.shared.holds(partition) {
                list.add_partition(&partition.topic.name, partition.number);
            }
        }
        self.pause(&list, paused)
    }

    fn pause(&self, list: &TopicPartitionList, paused: bool) -> Result<(), String> {
        let outcome = if paused { self.consumer.pause(list) } else { self.consumer.resume(list) };
        outcome.map_err(|error| format!("cannot pause or resume: {error}"))
    }

    fn drain(&mut self) {
        if let Err(reason) = self.hand_on() {
            tracing::warn!(reason, "what was fetched last is fetched again at the next start");
        }
        let partitions = lock(&self.shared.assigned).clone();
        // What is held stays on the broker, and the ledger's position before it.
        self.shared.let_go(&partitions);
        self.shared.wait_for(&partitions);
    }

    /// For lag tools only: losing it costs nothing.
    fn tell_positions(&self, mode: CommitMode) {
        let partitions = lock(&self.shared.assigned).clone();
        if let Some(positions) = told_positions(&partitions) {
            let _told_next_time = self.consumer.commit(&positions, mode);
        }
    }

    /// Asks the broker about doubted partitions, and goes on where a gap was recorded.
    fn look_after(&mut self) -> Result<(), String> {
        self.go_on()?;
        if now() < self.look_at || !self.shared.looks() {
            return Ok(());
        }
        self.look_at = now() + LOOK_INTERVAL;
        let partitions = lock(&self.shared.assigned).clone();
        for partition in partitions {
            if let Standing::Doubted(doubt) = partition.standing() {
                self.look_at_doubted(&partition, doubt)?;
            }
        }
        Ok(())
    }

    /// What is under way must be durable first: only then the position is known.
    fn look_at_doubted(&mut self, partition: &Arc<Partition>, doubt: Doubt) -> Result<(), String> {
        let verdict = match partition.is_quiet().then(|| self.offsets(partition)).flatten() {
            Some((oldest, end)) => judge(partition.durable(), doubt, oldest, end),
            None => Verdict::Doubted(doubt),
        };
        match verdict {
            Verdict::Doubted(doubt) => {
                partition.see(|sight| sight.standing = Standing::Doubted(doubt));
                self.shared.look();
                Ok(())
            }
            Verdict::Read { from, standing } => {
                self.read_from(partition, from, standing);
                Ok(())
            }
            Verdict::Lost(lost) => self.lose(partition, lost),
        }
    }

    /// The oldest offset that the broker has and the next one it will give.
    fn offsets(&self, partition: &Partition) -> Option<(u64, u64)> {
        match self.consumer.fetch_watermarks(&partition.topic.name, partition.number, ASK_MAX) {
            Ok((oldest, end)) => u64::try_from(oldest).ok().zip(u64::try_from(end).ok()),
            Err(error) => {
                self.shared.note(&error);
                None
            }
        }
    }

    /// Reads a partition from an offset on, and thinks so of it.
    fn read_from(&self, partition: &Arc<Partition>, from: u64, standing: Standing) {
        partition.begin_at(standing);
        if let Err(error) = self.restart(partition, from) {
            self.shared.note(&error);
            partition.begin_at(Standing::Doubted(Doubt::default()));
            self.shared.look();
        }
    }

    /// Takes it away from the client and gives it back: once its position was gone the client refuses to seek.
    fn restart(&self, partition: &Arc<Partition>, from: u64) -> Result<(), KafkaError> {
        let mut one = TopicPartitionList::new();
        let offset_of = |offset: u64| Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
        one.add_partition_offset(&partition.topic.name, partition.number, offset_of(from))?;
        if matches!(self.consumer.rebalance_protocol(), RebalanceProtocol::Cooperative) {
            self.consumer.incremental_unassign(&one)?;
            return self.consumer.incremental_assign(&one);
        }
        // Without cooperation only the whole assignment can be given: the others begin again where they are.
        for other in lock(&self.shared.assigned).iter().filter(|other| !Arc::ptr_eq(other, partition)) {
            let offset = other.begin().map_or(Offset::Beginning, offset_of);
            one.add_partition_offset(&other.topic.name, other.number, offset)?;
        }
        self.consumer.assign(&one)
    }

    /// Stops the partition and says so; where the gap is accepted already it is recorded.
    fn lose(&mut self, partition: &Arc<Partition>, lost: Lost) -> Result<(), String> {
        let (topic, number) = (&partition.topic.name, partition.number);
        let is_accepted = self.shared.accept_gaps.iter().any(|accept| accept.is_for(topic, number));
        let is_first = partition.see(|sight| {
            sight.standing = Standing::Lost(lost);
            sight.accepted_to.is_none_or(|to| to == lost.position)
        });
        self.pause(&list_of(partition), true)?;
        tracing::error!(topic, partition = number, what = lost.what(), "the position of a partition is gone");
        if !is_accepted || !is_first {
            tracing::error!(topic, partition = number, advice = lost.advice(topic, number), "it stands still");
            return Ok(());
        }
        match self.record(partition, &lost) {
            Ok(answer) => {
                let to = lost.oldest;
                self.accepting.push(Accepting { partition: Arc::clone(partition), to, answer });
            }
            Err(error) => tracing::warn!(%error, topic, partition = number, "the gap could not be recorded"),
        }
        Ok(())
    }

    fn record(&self, partition: &Arc<Partition>, lost: &Lost) -> Result<oneshot::Receiver<Submitted>, crate::Error> {
        let event = GapAccepted {
            cluster: self.shared.cluster.get().cloned().unwrap_or_default(),
            topic: partition.topic.name.clone(),
            partition: u32::try_from(partition.number).unwrap_or_default(),
            from: lost.position,
            to: lost.oldest,
            end: lost.end,
            reason: lost.what(),
            next_index: 0,
        };
        let step = Step::over_gap(partition, lost.position, lost.oldest);
        self.shared.recorder.step_over_gap(&partition.topic.tenant, event, step)
    }

    /// Reads on behind the gaps that are durable by now.
    fn go_on(&mut self) -> Result<(), String> {
        let mut waiting = Vec::new();
        for mut accepting in std::mem::take(&mut self.accepting) {
            match accepting.answer.try_recv() {
                Err(TryRecvError::Empty) => waiting.push(accepting),
                Ok(_) => {
                    let Accepting { partition, to, .. } = accepting;
                    tracing::info!(
                        topic = partition.topic.name,
                        partition = partition.number,
                        to,
                        "its gap is recorded"
                    );
                    partition.see(|sight| sight.accepted_to = Some(to));
                    self.read_from(&partition, to, Standing::Sure);
                    self.pause(&list_of(&partition), false)?;
                }
                // The assignment was over, or the process stops.
                Err(TryRecvError::Closed) => {
                    accepting.partition.begin_at(Standing::Doubted(Doubt::default()));
                    self.shared.look();
                }
            }
        }
        self.accepting = waiting;
        Ok(())
    }
}

fn list_of(partition: &Partition) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition(&partition.topic.name, partition.number);
    list
}

/// Whether an error says that a position may be gone.
fn is_of_position(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as E;
    matches!(code, E::AutoOffsetReset | E::OffsetOutOfRange | E::LogTruncation)
}
