//! The bounded queue in front of the one writer, and the ways into it.
//!
//! What is in the queue counts until it is durable, so the limits bound all memory between a source and the disk. Kafka
//! may fill a share of it only, and so may one tenant, and of Kafka's share one partition: behind a backlog another's
//! message still finds room, and is taken in turn. What waits for whom before it is decoded is said in `lanes.rs`. Nothing
//! depends on who waits for an answer: a message whose sender went away is recorded all the same.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pedigraph_proto::message::{Body, Message, Receipt, Refused, Submitted};
use tokio::sync::oneshot;

use crate::counters::Counters;
use crate::kafka::{Fetched, Partition};
use crate::lanes::{Lane, Way, Whose};

/// What one tenant's requests, or one Kafka partition, may fill, as a multiple of what is free for its kind: so one
/// alone gets three quarters, several get equal shares, and whoever comes new finds room.
const SHARE_OF_FREE: u64 = 3;
/// Of its share what a partition may have when it is read on, after it was held: a pause throws away what the client
/// prefetched, so it is worth its price only for a while.
const AMPLE_PART: u64 = 2;

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
                Err((Refused::Busy | Refused::NoRoom, back)) => job = *back,
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
    let whose = Whose::Tenant(message.tenant.clone());
    (Job::new(vec![message], Origin::Request(answer), whose), receiver)
}

/// Messages that came together and are handed on together.
pub(crate) struct Job {
    pub(crate) messages: Vec<Message>,
    pub(crate) origin: Origin,
    pub(crate) whose: Whose,
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
    /// Messages of these that go the slow lane.
    pub(crate) slow: usize,
}

impl Room {
    fn is_none(&self) -> bool {
        (self.messages, self.bytes) == (0, 0)
    }

    fn add(&mut self, other: Room) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.slow += other.slow;
    }

    fn take(&mut self, other: Room) {
        self.messages -= other.messages;
        self.bytes -= other.bytes;
        self.slow -= other.slow;
    }
}

impl Job {
    pub(crate) fn new(messages: Vec<Message>, origin: Origin, whose: Whose) -> Job {
        let bytes = messages.iter().map(|message| bytes_of(&message.body)).sum();
        let way = messages.first().map_or(Way::Quick, Way::of);
        let room = Room { messages: messages.len(), bytes, slow: if way == Way::Slow { messages.len() } else { 0 } };
        Job { messages, origin, whose, way, ticket: None, room }
    }

    pub(crate) fn claim(&self) -> Claim {
        Claim { room: self.room, whose: self.whose.clone() }
    }

    /// The Kafka partition that all of it is of.
    pub(crate) fn partition(&self) -> Option<&Arc<Partition>> {
        match &self.origin {
            Origin::Kafka(fetched) => fetched.first().map(|first| &first.partition),
            Origin::Request(_) => None,
        }
    }
}

/// Who has room in the queue.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) room: Room,
    pub(crate) whose: Whose,
}

fn bytes_of(body: &Body) -> u64 {
    match body {
        Body::Bytes(bytes) => bytes.len() as u64,
        Body::Null | Body::File { .. } => 0,
    }
}

/// Jobs of what Kafka gave: one for each run of quick messages of a partition and for each slow message, since each
/// partition has an order of its own and what is slow holds up nothing but its own partition.
pub(crate) fn jobs_of_kafka(messages: Vec<Message>, fetched: Vec<Fetched>) -> Vec<Job> {
    let job = |messages: Vec<Message>, fetched: Vec<Fetched>| {
        let key = fetched.first().map(|first| first.partition.key().clone());
        Job::new(messages, Origin::Kafka(fetched), Whose::Partition(key.unwrap_or_default()))
    };
    let is_one = messages.len() == 1 || messages.iter().all(|message| Way::of(message) == Way::Quick);
    if is_one && fetched.windows(2).all(|pair| Arc::ptr_eq(&pair[0].partition, &pair[1].partition)) {
        return vec![job(messages, fetched)];
    }
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
    parts.into_iter().map(|part| job(part.messages, part.fetched)).collect()
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
    /// What each tenant's requests and each Kafka partition have, while they have any.
    used_by: HashMap<Whose, Room>,
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

    /// Puts a job behind the others of the same, or gives it back.
    pub(crate) fn push(&self, job: Job) -> Result<(), (Refused, Box<Job>)> {
        let mut contents = self.contents();
        if contents.closed {
            return Err((Refused::Stopping, Box::new(job)));
        }
        if contents.disk == Space::Short {
            self.counters.refused_for_room();
            return Err((Refused::NoRoom, Box::new(job)));
        }
        let claim = job.claim();
        if !self.has_room(&contents, &claim) {
            self.counters.refused();
            return Err((Refused::Busy, Box::new(job)));
        }
        contents.add(&claim);
        self.show(&contents);
        match job.way {
            Way::Quick => drop(self.under_way.fetch_add(1, Ordering::Relaxed)),
            Way::Slow => self.counters.slow(),
            Way::Documents => {}
        }
        self.came_into(job.way).notify_one();
        contents.queue(job);
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

    /// Waits for room for a job, at most so long; false when there is none yet.
    pub(crate) fn has_room_within(&self, timeout: Duration, job: &Job) -> bool {
        let claim = job.claim();
        let full = |contents: &mut Contents| !contents.closed && !self.has_room(contents, &claim);
        let waited = self.left.wait_timeout_while(self.contents(), timeout, full);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Whether a job finds no room only since its sender has its share already: others would find some.
    pub(crate) fn is_for_its_share(&self, job: &Job) -> bool {
        let (claim, contents) = (job.claim(), self.contents());
        self.is_open(&contents, &claim) && !self.has_share(&contents, &claim, 1)
    }

    /// Whether some of what its sender has in the queue is slow, so that room is not given back soon.
    pub(crate) fn is_slow(&self, job: &Job) -> bool {
        self.contents().used_by.get(&job.whose).is_some_and(|used| used.slow > 0)
    }

    /// Whether there is room for a job, and its sender has much less than its share.
    pub(crate) fn has_ample_room(&self, job: &Job) -> bool {
        let (claim, contents) = (job.claim(), self.contents());
        self.is_open(&contents, &claim) && self.has_share(&contents, &claim, AMPLE_PART)
    }

    fn has_room(&self, contents: &Contents, claim: &Claim) -> bool {
        self.is_open(contents, claim) && self.has_share(contents, claim, 1)
    }

    /// Whether there is room for another of this kind.
    fn is_open(&self, contents: &Contents, claim: &Claim) -> bool {
        let (used, max) = self.of_kind(contents, &claim.whose);
        let bytes_fit = used.bytes == 0 || used.bytes.saturating_add(claim.room.bytes) <= max.bytes;
        used.messages < max.messages && bytes_fit && contents.disk == Space::Enough
    }

    /// What all of a kind have, and may have.
    fn of_kind(&self, contents: &Contents, whose: &Whose) -> (Room, Room) {
        let (limits, percent) = (&self.limits, self.limits.kafka_percent);
        match whose {
            Whose::Tenant(_) => {
                let max = Room { messages: limits.messages_max, bytes: limits.bytes_max, ..Room::default() };
                (contents.used, max)
            }
            Whose::Partition(_) => {
                let messages = usize::try_from((limits.messages_max as u64 * percent).div_ceil(100));
                let (messages, bytes) = (messages.unwrap_or(usize::MAX), limits.bytes_max / 100 * percent);
                (contents.kafka_used, Room { messages, bytes, ..Room::default() })
            }
        }
    }

    /// Whether a sender may have more of what is free, when it has a `part`-th of its share at most.
    fn has_share(&self, contents: &Contents, claim: &Claim, part: u64) -> bool {
        let mine = contents.used_by.get(&claim.whose).copied().unwrap_or_default();
        let (used, max) = self.of_kind(contents, &claim.whose);
        let free_bytes = max.bytes.saturating_sub(used.bytes);
        let free_messages = max.messages.saturating_sub(used.messages) as u64;
        let bytes_fit =
            mine.bytes == 0 || mine.bytes.saturating_add(claim.room.bytes) <= SHARE_OF_FREE * free_bytes / part;
        bytes_fit && (mine.messages as u64) <= SHARE_OF_FREE * free_messages / part
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
        if let Some(partition) = job.partition().cloned() {
            let next = self.places.entry(partition.key().clone()).or_default();
            job.ticket = Some(Ticket { partition, place: *next });
            *next += 1;
        }
        self.lane(job.way).push(job.whose.clone(), job);
    }

    fn add(&mut self, claim: &Claim) {
        self.shares(claim).for_each(|used| used.add(claim.room));
    }

    fn remove(&mut self, claim: &Claim) {
        self.shares(claim).for_each(|used| used.take(claim.room));
        if self.used_by.get(&claim.whose).is_some_and(Room::is_none) {
            self.used_by.remove(&claim.whose);
        }
    }

    /// What a claim counts in: the whole, its kind, and its sender's part.
    fn shares(&mut self, claim: &Claim) -> impl Iterator<Item = &mut Room> {
        let kind = match claim.whose {
            Whose::Tenant(_) => None,
            Whose::Partition(_) => Some(&mut self.kafka_used),
        };
        let part = self.used_by.entry(claim.whose.clone()).or_default();
        [&mut self.used, part].into_iter().chain(kind)
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
