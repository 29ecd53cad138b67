//! The shell: take a batch → decide → append → ack, on the one thread that owns the ledger's writer. Decoding has
//! happened on the workers before; whoever waits is answered after the one `fdatasync`.
//!
//! What a crash means: before [`Writer::append`] returns nothing was said to anybody, and the positions of the sources
//! are as the last commit left them, so everything is read again. After it the entries, and the positions of the
//! messages they came from, are on disk together; what was not acknowledged is met as a duplicate, or not fetched
//! again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use opentelemetry::trace::SpanContext;
use pedigraph_ledger::{Batch, LogId, NewEntry, Reader, UNDER_WAY_MAX, Writer};
use pedigraph_proto::canonical::sha256;
use pedigraph_proto::message::{Body, Message, Receipt, Redaction, Reject, Status, Submitted};
use pedigraph_proto::protobuf::Message as _;
use pedigraph_proto::wire;
use pedigraph_proto::{EventId, TenantId};
use tokio::sync::oneshot;
use tracing::field::Empty;

use crate::clock::{now, now_ns};
use crate::counters::Counters;
use crate::deaths::Watch;
use crate::decide::{Decision, Version, decide, occurred};
use crate::disk::Disk;
use crate::intake::{Claim, Job, Origin, Queue, Reply, Room, Ticket};
use crate::kafka::{Fetched, Partition, Position, Step};
use crate::known_ids::KnownIds;
use crate::lanes::{Way, Whose};
use crate::prepare::{Prepared, Preparer};
use crate::{Error, decode, limits::Limits, trace};

/// Messages that a worker hands on at once.
const UNIT_MESSAGES_MAX: usize = 256;
/// Trace contexts noted on the span of one batch.
const TRACES_MAX: usize = 64;

/// When a batch is committed.
#[derive(Clone, Debug)]
pub struct BatchLimits {
    /// Entries; one unit of a worker (256) more at most.
    pub entries_max: usize,
    /// Bytes of journal, not counting blobs; one unit more at most.
    pub bytes_max: usize,
    /// How long a batch waits for messages that are known to be under way. One without any is committed at once.
    pub linger: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        BatchLimits { entries_max: 1_024, bytes_max: 1 << 20, linger: Duration::from_millis(10) }
    }
}

/// Prepared messages on their way to the writer.
pub(crate) struct Unit {
    pub(crate) items: Vec<Item>,
    /// A step of a Kafka position, with which the items stand and fall.
    step: Option<Step>,
    /// Room that is given back when the unit is durable.
    claim: Claim,
    way: Way,
    /// The place of this unit among those of its Kafka partition.
    ticket: Option<Ticket>,
    /// The last unit of its job.
    last: bool,
}

impl Unit {
    /// What the ledger says of itself. It never was in the queue: it takes no room there, and is not the last of a job
    /// of it.
    pub(crate) fn own(prepared: Prepared, answer: oneshot::Sender<Submitted>) -> Unit {
        let items = vec![Item { prepared, sender: Sender::Request(Reply::one(answer), 0) }];
        let claim = Claim { room: Room::default(), whose: Whose::Tenant(TenantId::default()) };
        Unit { items, step: None, claim, way: Way::Quick, ticket: None, last: false }
    }

    /// Recorded only together with a step of a position.
    pub(crate) fn with(self, step: Step) -> Unit {
        Unit { step: Some(step), ..self }
    }
}

/// A prepared message and who is told what it came to.
pub(crate) struct Item {
    pub(crate) prepared: Prepared,
    sender: Sender,
}

enum Sender {
    /// The n-th message of a submission.
    Request(Arc<Reply>, usize),
    Kafka(Fetched),
}

/// Prepares a message, in a span of its sender's trace where spans are collected.
fn prepare(
    preparer: &mut Preparer,
    message: Message,
    reject: Option<Reject>,
    is_traced: bool,
) -> Result<Prepared, Error> {
    if !is_traced {
        return preparer.prepare(message, reject);
    }
    let (span, contexts) = trace::decoding(&message);
    let mut prepared = span.in_scope(|| preparer.prepare(message, reject))?;
    prepared.contexts = contexts;
    Ok(prepared)
}

/// Prepares jobs until the queue is closed.
///
/// # Errors
/// The disk's, from blobs.
pub(crate) fn work(
    mut preparer: Preparer,
    limits: &Limits,
    take: impl Fn() -> Option<Job>,
    hand_on: impl Fn(Unit) -> bool,
) -> Result<(), Error> {
    let is_traced = trace::is_on();
    while let Some(job) = take() {
        let (claim, way, ticket) = (job.claim(), job.way, job.ticket.clone());
        // A job of Kafka is one unit, since its ticket is its place in the order; the source keeps it small.
        let unit_messages_max = if ticket.is_some() { usize::MAX } else { UNIT_MESSAGES_MAX };
        preparer.watch.job(job.messages.len());
        let mut messages = addressed(job, limits, &preparer.watch).peekable();
        let mut last = false;
        while !last {
            let mut items = Vec::with_capacity(messages.size_hint().0.min(unit_messages_max));
            for (message, reject, sender) in messages.by_ref().take(unit_messages_max) {
                match prepare(&mut preparer, message, reject, is_traced) {
                    Ok(prepared) => items.push(Item { prepared, sender }),
                    // Who waits for it learns that there is no answer.
                    Err(Error::Gone(why)) => preparer.lost(&why),
                    Err(error) => return Err(error),
                }
            }
            last = messages.peek().is_none();
            let room = if last { claim.room } else { Room::default() };
            let claim = Claim { room, ..claim.clone() };
            if !hand_on(Unit { items, step: None, claim, way, ticket: ticket.clone(), last }) {
                return Ok(());
            }
        }
        preparer.watch.idle();
    }
    Ok(())
}

/// A message, why it is refused if that is clear already, and whom to tell.
type Addressed = (Message, Option<Reject>, Sender);

/// The messages of a job, batches taken apart.
fn addressed(job: Job, limits: &Limits, watch: &Watch) -> Box<dyn Iterator<Item = Addressed>> {
    let mut messages = job.messages;
    match job.origin {
        Origin::Kafka(fetched) => Box::new(
            messages
                .into_iter()
                .zip(fetched)
                .map(|(message, mut fetched)| (message, fetched.reject.take(), Sender::Kafka(fetched))),
        ),
        Origin::Request(answer) => {
            let elements = messages.first().and_then(|message| split(message, limits, watch));
            let (reply, reject) = match elements {
                Some(Ok(elements)) => {
                    messages = elements;
                    (Reply::batch(answer, messages.len()), None)
                }
                Some(Err(reject)) => (Reply::one(answer), Some(reject)),
                None => (Reply::one(answer), None),
            };
            let to_sender = move |(n, message)| (message, reject.clone(), Sender::Request(Arc::clone(&reply), n));
            Box::new(messages.into_iter().enumerate().map(to_sender))
        }
    }
}

/// Splits a batch; it can end the process as decoding can, so it is noted like that.
fn split(message: &Message, limits: &Limits, watch: &Watch) -> Option<Result<Vec<Message>, Reject>> {
    if !decode::is_batch(message) {
        return None;
    }
    let Body::Bytes(bytes) = &message.body else { return decode::split(message, limits) };
    let watched = match watch.begin(&sha256(bytes), bytes.len() as u64, message.replay_of.is_some()) {
        Ok(watched) => watched,
        Err(reject) => return Some(Err(reject)),
    };
    let elements = decode::split(message, limits);
    watch.end(&watched);
    elements
}

/// The one writer.
pub(crate) struct Shell {
    pub(crate) ledger: Writer,
    pub(crate) reader: Reader,
    pub(crate) known: KnownIds,
    pub(crate) units: Receiver<Unit>,
    pub(crate) order: Order,
    pub(crate) queue: Arc<Queue>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) disk: Disk,
    pub(crate) limits: BatchLimits,
    /// Set when the process must stop without draining.
    pub(crate) abandoned: Arc<AtomicBool>,
    pub(crate) traced: Arc<trace::Batches>,
}

impl Shell {
    /// Runs until every worker is gone.
    ///
    /// # Errors
    /// The first one: the writer is poisoned, and only opening the ledger again tells what is durable.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        let mut gathered = Gathered::default();
        let mut under_way = VecDeque::new();
        while !self.abandoned.load(Ordering::Acquire) {
            self.gather(&mut gathered, !under_way.is_empty());
            // Beside batches on their way to the disk only a full one is begun: what comes meanwhile makes the next one
            // larger.
            let wait = !gathered.is_full(&self.limits) || self.known.is_due();
            if let Some(begun) = under_way.pop_front_if(|_| wait) {
                self.end(begun)?;
                if under_way.is_empty() {
                    self.known.committed(self.reader.next_seq())?;
                }
                continue;
            }
            if gathered.units.is_empty() {
                return self.known.close(self.reader.next_seq());
            }
            let begun = self.begin(std::mem::take(&mut gathered.units))?;
            gathered = Gathered::default();
            under_way.push_back(begun);
            if under_way.len() > UNDER_WAY_MAX
                && let Some(oldest) = under_way.pop_front()
            {
                self.end(oldest)?;
            }
        }
        Ok(())
    }

    /// Decides on a batch and hands it to the ledger.
    fn begin(&mut self, units: Vec<Unit>) -> Result<Begun, Error> {
        let span = tracing::info_span!("batch", messages = Empty, entries = Empty, duplicates = Empty, index = Empty);
        let entered = span.enter();
        let time_ns = self.ledger.next_time(now_ns());
        self.counters.recorded_ns.store(time_ns, Ordering::Relaxed);
        let mut decided = self.decide(units, time_ns)?;
        decided.record(&span);
        if let Some((log, first)) = decided.first() {
            self.traced.begun(log, first, &span);
        }
        let started = now();
        self.submit(std::mem::take(&mut decided.batch))?;
        drop(entered);
        Ok(Begun { decided, started, span })
    }

    /// Waits until the oldest batch that was begun is durable, and tells everybody.
    fn end(&mut self, begun: Begun) -> Result<(), Error> {
        let Begun { decided, started, span } = begun;
        let _entered = span.enter();
        let receipts = self.ledger.landed()?.unwrap_or_default();
        self.counters.committed(now() - started);
        self.counters.id_rows_read.store(self.known.index_reads(), Ordering::Relaxed);
        self.acknowledge(decided.outcomes, &receipts, &decided.positions, &decided.claims)
    }

    /// Submits; while there is no room for the next segment the batch waits for it.
    fn submit(&mut self, batch: Batch) -> Result<(), Error> {
        let mut waiting = Some(batch);
        let (ledger, disk) = (&mut self.ledger, &self.disk);
        disk.with_room(|| {
            let outcome = ledger.submit(waiting.take().unwrap_or_default());
            waiting = ledger.given_back();
            Ok(outcome?)
        })
    }

    /// Adds what is ready, and, unless a batch is `under_way`, waits for something and a little for what soon will be
    /// ready. Nothing is there afterwards only when nothing more can come, or a batch is under way.
    fn gather(&mut self, gathered: &mut Gathered, under_way: bool) {
        let mut wait = match (under_way, gathered.units.is_empty()) {
            (true, _) => Wait::Not,
            (false, true) => Wait::ForOne,
            (false, false) => Wait::Until(now() + self.limits.linger),
        };
        while !gathered.is_full(&self.limits)
            && let Some(unit) = self.next_unit(wait)
        {
            gathered.entries += unit.items.len();
            gathered.bytes += unit.items.iter().map(|item| item.prepared.journal_bytes()).sum::<usize>();
            gathered.units.push(unit);
            if let Wait::ForOne = wait {
                wait = Wait::Until(now() + self.limits.linger);
            }
        }
    }

    /// The next unit in order.
    fn next_unit(&mut self, wait: Wait) -> Option<Unit> {
        loop {
            if let Some(unit) = self.order.next() {
                return Some(unit);
            }
            let received = match wait {
                Wait::ForOne => self.units.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Wait::Until(deadline) if self.queue.more_under_way() => {
                    self.units.recv_timeout(deadline.saturating_duration_since(now()))
                }
                Wait::Until(_) | Wait::Not => self.units.try_recv().map_err(|_| RecvTimeoutError::Timeout),
            };
            let unit = received.ok()?;
            if unit.last && unit.way == Way::Quick {
                self.queue.received();
            }
            self.order.put(unit);
        }
    }

    fn decide(&mut self, units: Vec<Unit>, time_ns: i64) -> Result<Decided, Error> {
        let mut decided = Decided { batch: Batch { time_ns, ..Batch::default() }, ..Decided::default() };
        let items = units.iter().map(|unit| unit.items.len()).sum();
        decided.outcomes.reserve(items);
        decided.batch.entries.reserve(items);
        for unit in units {
            decided.claims.push(unit.claim);
            if let Some(step) = &unit.step {
                if !step.take_turn() {
                    self.counters.dropped_stale();
                    continue;
                }
                decided.touch(&step.partition);
            }
            for Item { prepared, sender } in unit.items {
                if let Sender::Kafka(fetched) = &sender {
                    if !fetched.take_turn() {
                        self.counters.dropped_stale();
                        continue;
                    }
                    decided.touch(&fetched.partition);
                }
                self.decide_one(prepared, sender, &mut decided)?;
            }
        }
        decided.finish();
        Ok(decided)
    }

    fn decide_one(&mut self, prepared: Prepared, sender: Sender, decided: &mut Decided) -> Result<(), Error> {
        let code = prepared.reject.as_ref().map(|reject| reject.code);
        let known = self.known.ask(&prepared.key, prepared.event_id, code)?;
        let decision = decide(code, &known);
        let (status, conflicts_with) = match decision {
            Decision::Accepted => (Status::Accepted, None),
            Decision::Conflict { with } => (Status::Conflict, Some(with)),
            Decision::Duplicate { .. } => (Status::Duplicate, None),
            Decision::Rejected => (Status::Rejected, None),
        };
        let durable_size = || self.ledger.size(&prepared.log);
        let index = match decision {
            Decision::Duplicate { of } => of,
            Decision::Accepted | Decision::Conflict { .. } | Decision::Rejected => {
                decided.next_index(&prepared.log, durable_size)
            }
        };
        decided.outcomes.push(Outcome {
            sender,
            status,
            log: prepared.log.clone(),
            index,
            event_id: prepared.event_id,
            conflicts_with,
            reject: prepared.reject.clone(),
            redaction: prepared.redaction,
            bytes: prepared.leaf.body_size,
            spool: prepared.spool.clone(),
        });
        decided.trace(&prepared, index);
        if status == Status::Duplicate {
            *decided.duplicates.entry((prepared.log, prepared.source)).or_default() += 1;
            return Ok(());
        }
        let version = Version { event_id: prepared.event_id, index, code };
        self.known.note(&prepared.key, version, &known);
        decided.batch.erasures.extend(prepared.erases.iter().map(|index| (prepared.log.clone(), *index)));
        decided.batch.entries.push(entry(prepared, status, conflicts_with, decided.batch.time_ns));
        Ok(())
    }

    /// Everything here is on disk: positions become visible to the sources, and whoever waits is told.
    fn acknowledge(
        &self,
        outcomes: Vec<Outcome>,
        receipts: &[pedigraph_ledger::Receipt],
        positions: &[(Arc<Partition>, Position)],
        claims: &[Claim],
    ) -> Result<(), Error> {
        positions.iter().for_each(|(partition, position)| partition.durable_to(*position));
        let mut receipts = receipts.iter();
        for outcome in outcomes {
            self.counters.ended(outcome.status, outcome.bytes);
            if let Some(redaction) = &outcome.redaction {
                self.counters.found_secrets(redaction.count);
            }
            if let Some(spool) = &outcome.spool {
                // A crash before this leaves the file to whoever spooled it; handed in again it is a duplicate.
                let _already_gone = std::fs::remove_file(spool);
            }
            let receipt = if outcome.status == Status::Duplicate { None } else { receipts.next() };
            if receipt.is_some_and(|receipt| receipt.index != outcome.index) {
                return Err(Error::Corrupt("the ledger gave an entry another index than it had to get".to_owned()));
            }
            if let Sender::Request(reply, n) = outcome.sender {
                let leaf_hash = match receipt {
                    Some(receipt) => receipt.leaf_hash.0,
                    None => self.leaf_hash(&outcome.log, outcome.index)?,
                };
                let Outcome { status, index, event_id, conflicts_with, reject, redaction, .. } = outcome;
                reply.set(n, Receipt { status, index, leaf_hash, event_id, conflicts_with, reject, redaction });
            }
        }
        claims.iter().for_each(|claim| self.queue.give_back(claim));
        Ok(())
    }

    fn leaf_hash(&self, log: &LogId, index: u64) -> Result<[u8; 32], Error> {
        let entry = self.reader.entry(log, index)?;
        let missing = || Error::Corrupt(format!("entry {index} of log {log} is known but not in the ledger"));
        Ok(entry.ok_or_else(missing)?.leaf_hash.0)
    }
}

fn entry(prepared: Prepared, status: Status, conflicts_with: Option<u64>, recorded_at: i64) -> NewEntry {
    let (occurred_at, time_source) = occurred(prepared.said, prepared.broker_time, recorded_at);
    let status = match status {
        Status::Accepted => wire::Status::Accepted,
        Status::Conflict => wire::Status::Conflict,
        Status::Rejected => wire::Status::Rejected,
        Status::Duplicate => wire::Status::Unspecified,
    };
    let mut leaf = prepared.leaf;
    leaf.set_status(status);
    leaf.set_time_source(time_source);
    leaf.occurred_at = occurred_at;
    leaf.recorded_at = recorded_at;
    leaf.conflicts_with = conflicts_with;
    let leaf = leaf.encode_to_vec();
    // Canonical since this encoder alone writes leaves: fields ascending, defaults omitted.
    debug_assert!(pedigraph_proto::canonical::decode_entry(&leaf).is_some(), "a leaf re-encodes to itself");
    NewEntry { log: prepared.log, leaf: leaf.into(), facts: prepared.facts, body: prepared.body }
}

/// How long the next unit is waited for.
#[derive(Clone, Copy)]
enum Wait {
    /// Until there is one, or nothing more can come.
    ForOne,
    /// While more is under way, until then.
    Until(Instant),
    Not,
}

/// Units of the next batch.
#[derive(Default)]
struct Gathered {
    units: Vec<Unit>,
    entries: usize,
    bytes: usize,
}

impl Gathered {
    fn is_full(&self, limits: &BatchLimits) -> bool {
        self.entries >= limits.entries_max || self.bytes >= limits.bytes_max
    }
}

/// A batch that the ledger has.
struct Begun {
    decided: Decided,
    started: Instant,
    span: tracing::Span,
}

/// What a batch came to, before it is durable.
#[derive(Default)]
struct Decided {
    batch: Batch,
    outcomes: Vec<Outcome>,
    /// Size of each log that grows, with the entries of this batch.
    sizes: Vec<(LogId, u64)>,
    duplicates: BTreeMap<(LogId, String), u64>,
    partitions: Vec<Arc<Partition>>,
    /// The same, with what was decided of each.
    positions: Vec<(Arc<Partition>, Position)>,
    claims: Vec<Claim>,
    /// Contexts of the senders, with the entry that each message became.
    traces: Vec<(SpanContext, u64)>,
}

struct Outcome {
    sender: Sender,
    status: Status,
    log: LogId,
    index: u64,
    event_id: EventId,
    conflicts_with: Option<u64>,
    reject: Option<Reject>,
    redaction: Option<Redaction>,
    bytes: u64,
    spool: Option<PathBuf>,
}

impl Decided {
    fn touch(&mut self, partition: &Arc<Partition>) {
        if !self.partitions.last().is_some_and(|last| Arc::ptr_eq(last, partition)) {
            self.partitions.push(Arc::clone(partition));
        }
    }

    fn next_index(&mut self, log: &LogId, durable_size: impl FnOnce() -> u64) -> u64 {
        let at = self.sizes.iter().position(|(sized, _)| sized == log).unwrap_or_else(|| {
            self.sizes.push((log.clone(), durable_size()));
            self.sizes.len() - 1
        });
        self.sizes[at].1 += 1;
        self.sizes[at].1 - 1
    }

    fn trace(&mut self, prepared: &Prepared, index: u64) {
        let room = TRACES_MAX.saturating_sub(self.traces.len());
        self.traces.extend(prepared.contexts.iter().take(room).map(|context| (context.clone(), index)));
    }

    /// The first entry.
    fn first(&self) -> Option<(&LogId, u64)> {
        let first = self.outcomes.iter().find(|outcome| outcome.status != Status::Duplicate)?;
        Some((&first.log, first.index))
    }

    fn finish(&mut self) {
        self.partitions.sort_by(|a, b| a.key().cmp(b.key()));
        self.partitions.dedup_by(|a, b| Arc::ptr_eq(a, b));
        self.positions =
            self.partitions.drain(..).map(|partition| (Arc::clone(&partition), partition.decided())).collect();
        let stored = |(partition, position): &(Arc<Partition>, Position)| partition.stored(position);
        self.batch.positions = self.positions.iter().flat_map(stored).collect();
        let duplicates = std::mem::take(&mut self.duplicates);
        self.batch.duplicates = duplicates.into_iter().map(|((log, source), count)| (log, source, count)).collect();
    }

    fn record(&self, span: &tracing::Span) {
        span.record("messages", self.outcomes.len());
        span.record("entries", self.batch.entries.len());
        span.record("duplicates", self.outcomes.len() - self.batch.entries.len());
        if let Some((_, first)) = self.first() {
            span.record("index", i64::try_from(first).unwrap_or(i64::MAX));
        }
        self.traces.iter().for_each(|(sender, index)| trace::link(span, sender, *index));
    }
}

/// Puts the units of each Kafka partition back into the order in which they were queued; all others pass. What waits
/// here still has its room in the queue, which bounds it.
#[derive(Default)]
pub(crate) struct Order {
    ready: VecDeque<Unit>,
    partitions: HashMap<Bytes, Places>,
}

#[derive(Default)]
struct Places {
    next: u64,
    early: BTreeMap<u64, Unit>,
}

impl Order {
    fn put(&mut self, mut unit: Unit) {
        let Some(Ticket { partition, place }) = unit.ticket.take() else { return self.ready.push_back(unit) };
        let places = self.partitions.entry(partition.key().clone()).or_default();
        places.early.insert(place, unit);
        while let Some(unit) = places.early.remove(&places.next) {
            self.ready.push_back(unit);
            places.next += 1;
        }
    }

    fn next(&mut self) -> Option<Unit> {
        self.ready.pop_front()
    }
}
