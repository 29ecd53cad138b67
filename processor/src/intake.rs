//! The bounded queue in front of the one writer, and the ways into it.
//!
//! What is in the queue counts until it is durable, so the limits bound all memory between a source and the disk. Kafka
//! may fill a share of it only, and so may one tenant: behind a backlog another's request still finds room, and is
//! taken in turn. What waits for whom before it is decoded is said in `lanes.rs`. Nothing
//! depends on who waits for an answer: a message whose sender went away is recorded all the same.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pedigraph_proto::TenantId;
use pedigraph_proto::message::{Body, Message, Receipt, Refused, Submitted};
use tokio::sync::oneshot;

use crate::counters::Counters;
use crate::kafka::{Fetched, Partition};
use crate::lanes::{Lane, Way};

/// What one tenant's requests may fill, as a multiple of what is free: so one alone gets three quarters, several get
/// equal shares, and whoever comes new finds room.
const TENANT_OF_FREE: u64 = 3;

/// Limits of what is between the sources and the disk.
#[derive(Clone, Debug)]
pub struct QueueLimits {
    /// Messages; the elements of a batch count as one.
    pub messages_max: usize,
    /// Bytes of bodies in memory. One message larger than all of it is let into an empty queue.
    pub bytes_max: u64,
    /// The part of both, in percent, that Kafka may fill.
    pub kafka_percent: u64,
}

impl Default for QueueLimits {
    fn default() -> Self {
        QueueLimits { messages_max: 16_384, bytes_max: 64 << 20, kafka_percent: 50 }
    }
}

/// Where messages are handed in. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    queue: Arc<Queue>,
}

impl Intake {
    pub(crate) fn new(queue: Arc<Queue>) -> Intake {
        Intake { queue }
    }

    /// Hands in one message (or batch) and waits until it is durable.
    ///
    /// When the returned future is dropped the message is recorded all the same.
    ///
    /// # Errors
    /// [`Refused::Busy`] when the queue is full, [`Refused::NoRoom`], [`Refused::Stopping`]; then nothing is recorded,
    /// unless the process stopped while the message was under way: sending it again makes a duplicate at worst.
    pub async fn submit(&self, message: Message) -> Result<Submitted, Refused> {
        self.enqueue(message)?.await.map_err(|_| Refused::Stopping)
    }

    /// [`Intake::submit`] for a thread outside of any runtime; a full queue, or a full disk, is waited for.
    ///
    /// # Errors
    /// [`Refused::Stopping`].
    pub fn submit_blocking(&self, message: Message) -> Result<Submitted, Refused> {
        let (mut job, receiver) = request(message);
        loop {
            self.queue.wait_for_room(&job)?;
            match self.queue.push(job) {
                Ok(()) => return receiver.blocking_recv().map_err(|_| Refused::Stopping),
                Err((Refused::Busy | Refused::NoRoom, back)) => job = back,
                Err((refused, _)) => return Err(refused),
            }
        }
    }

    fn enqueue(&self, message: Message) -> Result<oneshot::Receiver<Submitted>, Refused> {
        let (job, receiver) = request(message);
        self.queue.push(job).map_err(|(refused, _)| refused)?;
        Ok(receiver)
    }

    /// Why everything is refused now, so that a large body need not be received first.
    pub fn refuses(&self) -> Option<Refused> {
        self.queue.refuses()
    }
}

fn request(message: Message) -> (Job, oneshot::Receiver<Submitted>) {
    let (answer, receiver) = oneshot::channel();
    (Job::new(vec![message], Origin::Request(answer), Entrance::Requests), receiver)
}

/// Messages that came together and are handed on together.
pub(crate) struct Job {
    pub(crate) messages: Vec<Message>,
    pub(crate) origin: Origin,
    pub(crate) entrance: Entrance,
    pub(crate) way: Way,
    /// Its place among the jobs of its Kafka partition, once it is queued.
    pub(crate) ticket: Option<Ticket>,
    /// Its room in the queue, given back when all of it is durable.
    pub(crate) room: Room,
}

/// Who sent a job.
pub(crate) enum Origin {
    /// Somebody who waits for the answer.
    Request(oneshot::Sender<Submitted>),
    /// A Kafka source, with where each message was fetched.
    Kafka(Vec<Fetched>),
}

/// Numbers the jobs of one Kafka partition: they are recorded in this order, however many workers there are.
#[derive(Clone)]
pub(crate) struct Ticket {
    pub(crate) partition: Arc<Partition>,
    pub(crate) place: u64,
}

/// Room in the queue.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Room {
    pub(crate) messages: usize,
    pub(crate) bytes: u64,
}

impl Room {
    fn is_none(&self) -> bool {
        (self.messages, self.bytes) == (0, 0)
    }
}

impl Job {
    pub(crate) fn new(messages: Vec<Message>, origin: Origin, entrance: Entrance) -> Job {
        let bytes = messages.iter().map(|message| bytes_of(&message.body)).sum();
        let room = Room { messages: messages.len(), bytes };
        let way = messages.first().map_or(Way::Quick, Way::of);
        Job { messages, origin, entrance, way, ticket: None, room }
    }

    /// Whose it is; of Kafka's, that of the first message.
    pub(crate) fn tenant(&self) -> TenantId {
        self.messages.first().map_or_else(TenantId::default, |message| message.tenant.clone())
    }

    pub(crate) fn claim(&self) -> Claim {
        Claim { room: self.room, entrance: self.entrance, tenant: self.tenant() }
    }
}

/// Who has room in the queue.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) room: Room,
    pub(crate) entrance: Entrance,
    pub(crate) tenant: TenantId,
}

fn bytes_of(body: &Body) -> u64 {
    match body {
        Body::Bytes(bytes) => bytes.len() as u64,
        Body::Null | Body::File { .. } => 0,
    }
}

/// Takes a job of Kafka's apart: one for each run of quick messages of a partition and for each slow message, since
/// each partition has an order of its own and what is slow holds up nothing but its own partition.
fn apart(job: Job) -> Vec<Job> {
    let Origin::Kafka(fetched) = &job.origin else { return vec![job] };
    let is_one = job.messages.len() == 1 || job.messages.iter().all(|message| Way::of(message) == Way::Quick);
    if is_one && fetched.windows(2).all(|pair| Arc::ptr_eq(&pair[0].partition, &pair[1].partition)) {
        return vec![job];
    }
    let Job { messages, origin: Origin::Kafka(fetched), entrance, .. } = job else { return Vec::new() };
    let mut parts: Vec<Part> = Vec::new();
    for (mut message, fetched) in messages.into_iter().zip(fetched) {
        let way = Way::of(&message);
        let last = parts.iter_mut().rev().find(|part| Arc::ptr_eq(&part.partition, &fetched.partition));
        match last {
            Some(last) if (last.way, way) == (Way::Quick, Way::Quick) => last.add(message, fetched),
            Some(_) | None => {
                if way == Way::Slow {
                    keep_apart(&mut message.body);
                }
                let partition = Arc::clone(&fetched.partition);
                parts.push(Part { way, partition, messages: vec![message], fetched: vec![fetched] });
            }
        }
    }
    let job = |part: Part| Job::new(part.messages, Origin::Kafka(part.fetched), entrance);
    parts.into_iter().map(job).collect()
}

/// Messages of one partition that become a job.
struct Part {
    way: Way,
    partition: Arc<Partition>,
    messages: Vec<Message>,
    fetched: Vec<Fetched>,
}

impl Part {
    fn add(&mut self, message: Message, fetched: Fetched) {
        self.messages.push(message);
        self.fetched.push(fetched);
    }
}

/// The bodies of a job share one allocation, which a slow one would hold for as long as it takes.
fn keep_apart(body: &mut Body) {
    if let Body::Bytes(bytes) = body {
        *bytes = Bytes::copy_from_slice(bytes);
    }
}

/// What is taken in turn, so that no kind of source can starve another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entrance {
    Requests,
    Kafka,
}

/// The bounded queue.
pub(crate) struct Queue {
    limits: QueueLimits,
    counters: Arc<Counters>,
    contents: Mutex<Contents>,
    /// A job came into a lane, or the queue was closed: one for each lane, so that nobody wakes in vain.
    came: [Condvar; 3],
    /// Room was given back, or the queue was closed.
    left: Condvar,
    /// Jobs of the quick lane that the writer has not received yet: while there are any, a batch may wait for more.
    under_way: AtomicUsize,
}

#[derive(Default)]
struct Contents {
    quick: Lane<Job>,
    slow: Lane<Job>,
    documents: Lane<Job>,
    used: Room,
    kafka_used: Room,
    /// What requests of each tenant have, while they have any.
    tenants_used: HashMap<TenantId, Room>,
    /// The next place of each Kafka partition.
    places: HashMap<Bytes, u64>,
    disk: Space,
    closed: bool,
}

/// Whether the disk has more room than what is kept in reserve.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Space {
    /// It has.
    #[default]
    Enough,
    /// It has not: nothing new is taken in.
    Short,
}

impl Queue {
    pub(crate) fn new(limits: QueueLimits, counters: Arc<Counters>) -> Queue {
        let (came, left) = (Default::default(), Condvar::new());
        Queue { limits, counters, contents: Mutex::default(), came, left, under_way: AtomicUsize::new(0) }
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // The contents are whole between any two statements under the lock, so a panic elsewhere does not spoil it.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing is taken in now, however small.
    pub(crate) fn refuses(&self) -> Option<Refused> {
        let contents = self.contents();
        match (contents.closed, contents.disk) {
            (true, _) => Some(Refused::Stopping),
            (false, Space::Short) => Some(Refused::NoRoom),
            (false, Space::Enough) => None,
        }
    }

    /// Puts a job at the end of its entrance, or gives it back.
    pub(crate) fn push(&self, job: Job) -> Result<(), (Refused, Job)> {
        let mut contents = self.contents();
        if contents.closed {
            return Err((Refused::Stopping, job));
        }
        if contents.disk == Space::Short {
            self.counters.refused_for_room();
            return Err((Refused::NoRoom, job));
        }
        let claim = job.claim();
        if !self.has_room(&contents, &claim) {
            self.counters.refused();
            return Err((Refused::Busy, job));
        }
        contents.add(&claim);
        self.show(&contents);
        for job in apart(job) {
            match job.way {
                Way::Quick => drop(self.under_way.fetch_add(1, Ordering::Relaxed)),
                Way::Slow => self.counters.slow(),
                Way::Documents => {}
            }
            self.came_into(job.way).notify_one();
            contents.queue(job);
        }
        Ok(())
    }

    /// Waits until a job would find room.
    pub(crate) fn wait_for_room(&self, job: &Job) -> Result<(), Refused> {
        let (claim, mut contents) = (job.claim(), self.contents());
        while !contents.closed && !self.has_room(&contents, &claim) {
            contents = self.left.wait(contents).unwrap_or_else(PoisonError::into_inner);
        }
        if contents.closed { Err(Refused::Stopping) } else { Ok(()) }
    }

    /// Waits for room for a job of Kafka's, at most so long; false when there is none yet.
    pub(crate) fn wait_for_kafka_room(&self, bytes: u64, timeout: Duration) -> bool {
        let (room, entrance, tenant) = (Room { messages: 0, bytes }, Entrance::Kafka, TenantId::default());
        let claim = Claim { room, entrance, tenant };
        let full = |contents: &mut Contents| !contents.closed && !self.has_room(contents, &claim);
        let waited = self.left.wait_timeout_while(self.contents(), timeout, full);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn has_room(&self, contents: &Contents, claim: &Claim) -> bool {
        let (limits, bytes) = (&self.limits, claim.room.bytes);
        let (used, percent) = match claim.entrance {
            Entrance::Kafka => (contents.kafka_used, limits.kafka_percent),
            Entrance::Requests => (contents.used, 100),
        };
        let messages_fit = (used.messages as u64) * 100 < limits.messages_max as u64 * percent;
        let bytes_fit = used.bytes == 0 || used.bytes.saturating_add(bytes) <= limits.bytes_max / 100 * percent;
        messages_fit && bytes_fit && contents.disk == Space::Enough && self.has_share(contents, claim)
    }

    /// Whether a tenant's requests may have more of what is free.
    fn has_share(&self, contents: &Contents, claim: &Claim) -> bool {
        let mine = match claim.entrance {
            Entrance::Kafka => return true,
            Entrance::Requests => contents.tenants_used.get(&claim.tenant).copied().unwrap_or_default(),
        };
        let free_bytes = self.limits.bytes_max.saturating_sub(contents.used.bytes);
        let free_messages = self.limits.messages_max.saturating_sub(contents.used.messages) as u64;
        let bytes_fit = mine.bytes == 0 || mine.bytes.saturating_add(claim.room.bytes) <= TENANT_OF_FREE * free_bytes;
        bytes_fit && (mine.messages as u64) <= TENANT_OF_FREE * free_messages
    }

    /// The next job of a lane; `None` once the queue is closed and has none in it.
    pub(crate) fn take(&self, way: Way) -> Option<Job> {
        let mut contents = self.contents();
        loop {
            if let Some(job) = contents.lane(way).pop() {
                return Some(job);
            }
            if contents.closed {
                return None;
            }
            contents = self.came_into(way).wait(contents).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn came_into(&self, way: Way) -> &Condvar {
        match way {
            Way::Quick => &self.came[0],
            Way::Slow => &self.came[1],
            Way::Documents => &self.came[2],
        }
    }

    /// The writer received a job of the quick lane.
    pub(crate) fn received(&self) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the writer will soon receive more.
    pub(crate) fn more_under_way(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) > 0
    }

    /// A job, or a part of it, is durable or was dropped.
    pub(crate) fn give_back(&self, claim: &Claim) {
        let mut contents = self.contents();
        contents.remove(claim);
        self.show(&contents);
        drop(contents);
        self.left.notify_all();
    }

    /// Waits until a condition on what is outside holds; looked at again whenever room was given back.
    pub(crate) fn wait_until(&self, timeout: Duration, mut met: impl FnMut() -> bool) -> bool {
        let waited = self.left.wait_timeout_while(self.contents(), timeout, |_| !met());
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// What the disk has now; returns what it had.
    pub(crate) fn set_space(&self, space: Space) -> Space {
        let before = std::mem::replace(&mut self.contents().disk, space);
        self.left.notify_all();
        before
    }

    /// Waits for a while, or until the queue is closed; whether it is.
    pub(crate) fn wait_closed(&self, timeout: Duration) -> bool {
        let waited = self.left.wait_timeout_while(self.contents(), timeout, |contents| !contents.closed);
        waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    /// Nothing more comes in; what is in is still taken out.
    pub(crate) fn close(&self) {
        self.contents().closed = true;
        self.came.iter().for_each(Condvar::notify_all);
        self.left.notify_all();
    }

    /// Closes and forgets what is queued: whoever waits learns that the process stops.
    pub(crate) fn abandon(&self) {
        let mut contents = self.contents();
        contents.closed = true;
        let dropped = (
            std::mem::take(&mut contents.quick),
            std::mem::take(&mut contents.slow),
            std::mem::take(&mut contents.documents),
        );
        drop(contents);
        drop(dropped);
        self.came.iter().for_each(Condvar::notify_all);
        self.left.notify_all();
    }

    fn show(&self, contents: &Contents) {
        self.counters.queue_messages.store(contents.used.messages as u64, Ordering::Relaxed);
        self.counters.queue_bytes.store(contents.used.bytes, Ordering::Relaxed);
    }
}

impl Contents {
    fn lane(&mut self, way: Way) -> &mut Lane<Job> {
        match way {
            Way::Quick => &mut self.quick,
            Way::Slow => &mut self.slow,
            Way::Documents => &mut self.documents,
        }
    }

    fn queue(&mut self, mut job: Job) {
        if let Origin::Kafka(fetched) = &job.origin
            && let Some(first) = fetched.first()
        {
            let partition = Arc::clone(&first.partition);
            let next = self.places.entry(partition.key().clone()).or_default();
            job.ticket = Some(Ticket { partition, place: *next });
            *next += 1;
        }
        let (lane, tenant) = (self.lane(job.way), job.tenant());
        match job.entrance {
            Entrance::Kafka => lane.push_kafka(job),
            Entrance::Requests => lane.push(tenant, job),
        }
    }

    fn add(&mut self, claim: &Claim) {
        for used in self.shares(claim) {
            used.messages += claim.room.messages;
            used.bytes += claim.room.bytes;
        }
    }

    fn remove(&mut self, claim: &Claim) {
        for used in self.shares(claim) {
            used.messages -= claim.room.messages;
            used.bytes -= claim.room.bytes;
        }
        if claim.entrance == Entrance::Requests && self.tenants_used.get(&claim.tenant).is_some_and(Room::is_none) {
            self.tenants_used.remove(&claim.tenant);
        }
    }

    /// What a claim counts in: the whole, and its sender's part.
    fn shares(&mut self, claim: &Claim) -> [&mut Room; 2] {
        let part = match claim.entrance {
            Entrance::Kafka => &mut self.kafka_used,
            Entrance::Requests => self.tenants_used.entry(claim.tenant.clone()).or_default(),
        };
        [&mut self.used, part]
    }
}

/// Collects the receipts of one submission, which may be committed in several batches, and answers when it has all.
pub(crate) struct Reply {
    batch: bool,
    contents: Mutex<Replying>,
}

struct Replying {
    receipts: Vec<Option<Receipt>>,
    missing: usize,
    answer: Option<oneshot::Sender<Submitted>>,
}

impl Reply {
    /// Answers with a [`Submitted::Batch`] of so many receipts.
    pub(crate) fn batch(answer: oneshot::Sender<Submitted>, messages: usize) -> Arc<Reply> {
        Reply::new(answer, messages, true)
    }

    /// Answers with a [`Submitted::One`].
    pub(crate) fn one(answer: oneshot::Sender<Submitted>) -> Arc<Reply> {
        Reply::new(answer, 1, false)
    }

    fn new(answer: oneshot::Sender<Submitted>, messages: usize, batch: bool) -> Arc<Reply> {
        if messages == 0 {
            let _nobody_waits = answer.send(Submitted::Batch(Vec::new()));
            let contents = Replying { receipts: Vec::new(), missing: 0, answer: None };
            return Arc::new(Reply { batch, contents: Mutex::new(contents) });
        }
        let contents = Replying { receipts: vec![None; messages], missing: messages, answer: Some(answer) };
        Arc::new(Reply { batch, contents: Mutex::new(contents) })
    }

    /// Fills in one receipt; the last one sends the answer.
    pub(crate) fn set(&self, n: usize, receipt: Receipt) {
        let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        contents.receipts[n] = Some(receipt);
        contents.missing -= 1;
        if contents.missing > 0 {
            return;
        }
        let mut receipts: Vec<Receipt> = contents.receipts.drain(..).flatten().collect();
        let submitted = match (self.batch, receipts.len()) {
            (false, 1) => Submitted::One(receipts.swap_remove(0)),
            _ => Submitted::Batch(receipts),
        };
        if let Some(answer) = contents.answer.take() {
            // The sender may have gone away; the entry is durable all the same.
            let _nobody_waits = answer.send(submitted);
        }
    }
}
