//! The bounded queue in front of the one writer, and the ways into it.
//!
//! What is in the queue counts until it is durable, so the limits bound all memory between a source and the disk. Kafka
//! may fill a share of it only: behind a backlog an HTTP request still finds room, and is taken first in turn. Nothing
//! depends on who waits for an answer: a message whose sender went away is recorded all the same.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pedigraph_proto::message::{Body, Message, Receipt, Refused, Submitted};
use tokio::sync::oneshot;

use crate::counters::Counters;
use crate::kafka::Fetched;

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
    let entrance = if matches!(message.body, Body::File { .. }) { Entrance::Documents } else { Entrance::Requests };
    (Job::new(vec![message], Origin::Request(answer), entrance), receiver)
}

/// Messages that came together and are handed on together.
pub(crate) struct Job {
    pub(crate) messages: Vec<Message>,
    pub(crate) origin: Origin,
    pub(crate) entrance: Entrance,
    /// Its place among the jobs of Kafka, once it is taken.
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

/// Numbers the jobs of Kafka as they are taken: they are recorded in this order, however many workers there are.
pub(crate) type Ticket = u64;

/// Room in the queue.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Room {
    pub(crate) messages: usize,
    pub(crate) bytes: u64,
}

impl Job {
    pub(crate) fn new(messages: Vec<Message>, origin: Origin, entrance: Entrance) -> Job {
        let bytes = messages.iter().map(|message| bytes_of(&message.body)).sum();
        let room = Room { messages: messages.len(), bytes };
        Job { messages, origin, entrance, ticket: None, room }
    }
}

fn bytes_of(body: &Body) -> u64 {
    match body {
        Body::Bytes(bytes) => bytes.len() as u64,
        Body::Null | Body::File { .. } => 0,
    }
}

/// What is taken in turn, so that no kind of source can starve another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entrance {
    Requests,
    Kafka,
    /// Spooled documents, which may take long and so have a worker of their own.
    Documents,
}

/// The bounded queue.
pub(crate) struct Queue {
    limits: QueueLimits,
    counters: Arc<Counters>,
    contents: Mutex<Contents>,
    /// A job came, or the queue was closed.
    came: Condvar,
    /// Room was given back, or the queue was closed.
    left: Condvar,
    /// Jobs of the two quick entrances that the writer has not received yet: while there are any, a batch may wait for
    /// more.
    under_way: AtomicUsize,
}

#[derive(Default)]
struct Contents {
    requests: VecDeque<Job>,
    kafka: VecDeque<Job>,
    documents: VecDeque<Job>,
    used: Room,
    kafka_used: Room,
    kafka_next: bool,
    tickets: Ticket,
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
        let (came, left) = (Condvar::new(), Condvar::new());
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
        if !self.has_room(&contents, job.room.bytes, job.entrance) {
            self.counters.refused();
            return Err((Refused::Busy, job));
        }
        contents.add(job.room, job.entrance);
        self.show(&contents);
        let quick = match job.entrance {
            Entrance::Requests => &mut contents.requests,
            Entrance::Kafka => &mut contents.kafka,
            Entrance::Documents => {
                contents.documents.push_back(job);
                drop(contents);
                self.came.notify_all();
                return Ok(());
            }
        };
        quick.push_back(job);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        drop(contents);
        self.came.notify_all();
        Ok(())
    }

    /// Waits until a job would find room.
    pub(crate) fn wait_for_room(&self, job: &Job) -> Result<(), Refused> {
        let mut contents = self.contents();
        while !contents.closed && !self.has_room(&contents, job.room.bytes, job.entrance) {
            contents = self.left.wait(contents).unwrap_or_else(PoisonError::into_inner);
        }
        if contents.closed { Err(Refused::Stopping) } else { Ok(()) }
    }

    /// Waits for room for a job of Kafka's, at most so long; false when there is none yet.
    pub(crate) fn wait_for_kafka_room(&self, bytes: u64, timeout: Duration) -> bool {
        let full = |contents: &mut Contents| !contents.closed && !self.has_room(contents, bytes, Entrance::Kafka);
        let waited = self.left.wait_timeout_while(self.contents(), timeout, full);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn has_room(&self, contents: &Contents, bytes: u64, entrance: Entrance) -> bool {
        let limits = &self.limits;
        let (used, percent) = match entrance {
            Entrance::Kafka => (contents.kafka_used, limits.kafka_percent),
            Entrance::Requests | Entrance::Documents => (contents.used, 100),
        };
        let messages_fit = (used.messages as u64) * 100 < limits.messages_max as u64 * percent;
        let bytes_fit = used.bytes == 0 || used.bytes.saturating_add(bytes) <= limits.bytes_max / 100 * percent;
        messages_fit && bytes_fit && contents.disk == Space::Enough
    }

    /// The next job of the quick entrances; `None` once the queue is closed and empty.
    pub(crate) fn take(&self) -> Option<Job> {
        self.take_with(Contents::next_quick)
    }

    /// The next spooled document; `None` once the queue is closed and has none.
    pub(crate) fn take_document(&self) -> Option<Job> {
        self.take_with(|contents| contents.documents.pop_front())
    }

    fn take_with(&self, next: impl Fn(&mut Contents) -> Option<Job>) -> Option<Job> {
        let mut contents = self.contents();
        loop {
            if let Some(job) = next(&mut contents) {
                return Some(job);
            }
            if contents.closed {
                return None;
            }
            contents = self.came.wait(contents).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The writer received a job of the quick entrances.
    pub(crate) fn received(&self) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the writer will soon receive more.
    pub(crate) fn more_under_way(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) > 0
    }

    /// A job, or a part of it, is durable or was dropped.
    pub(crate) fn give_back(&self, room: Room, entrance: Entrance) {
        let mut contents = self.contents();
        contents.remove(room, entrance);
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
        self.came.notify_all();
        self.left.notify_all();
    }

    /// Closes and forgets what is queued: whoever waits learns that the process stops.
    pub(crate) fn abandon(&self) {
        let mut contents = self.contents();
        contents.closed = true;
        let dropped = (
            std::mem::take(&mut contents.requests),
            std::mem::take(&mut contents.kafka),
            std::mem::take(&mut contents.documents),
        );
        drop(contents);
        drop(dropped);
        self.came.notify_all();
        self.left.notify_all();
    }

    fn show(&self, contents: &Contents) {
        self.counters.queue_messages.store(contents.used.messages as u64, Ordering::Relaxed);
        self.counters.queue_bytes.store(contents.used.bytes, Ordering::Relaxed);
    }
}

impl Contents {
    fn next_quick(&mut self) -> Option<Job> {
        self.kafka_next = !self.kafka_next;
        if self.kafka_next {
            self.next_kafka().or_else(|| self.requests.pop_front())
        } else {
            self.requests.pop_front().or_else(|| self.next_kafka())
        }
    }

    fn next_kafka(&mut self) -> Option<Job> {
        let job = self.kafka.pop_front()?;
        self.tickets += 1;
        Some(Job { ticket: Some(self.tickets - 1), ..job })
    }

    fn add(&mut self, room: Room, entrance: Entrance) {
        for used in self.shares(entrance) {
            used.messages += room.messages;
            used.bytes += room.bytes;
        }
    }

    fn remove(&mut self, room: Room, entrance: Entrance) {
        for used in self.shares(entrance) {
            used.messages -= room.messages;
            used.bytes -= room.bytes;
        }
    }

    fn shares(&mut self, entrance: Entrance) -> impl Iterator<Item = &mut Room> {
        let kafka = (entrance == Entrance::Kafka).then_some(&mut self.kafka_used);
        [&mut self.used].into_iter().chain(kafka)
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
