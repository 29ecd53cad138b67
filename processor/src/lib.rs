//! Sources → redact → decode → validate → decide → append → ack.
//!
//! Foreign formats stop here: what leaves this crate for the ledger is canonical. It knows nothing about views or
//! queries.
//!
//! Four hops from a source to the disk, each on threads of its own: a source fetches messages; the bounded queue
//! (`intake.rs`) holds them; a worker unpacks, redacts, hashes, decodes and encodes them (`prepare.rs`, `raw.rs`,
//! `redact.rs`, `decode/`); the one writer
//! decides what is new (`decide.rs`, `known_ids.rs`) and appends (`pipeline.rs`). What is acknowledged is durable.

pub mod counters;
pub mod decode;
pub mod files;
pub mod intake;
pub mod kafka;
pub mod limits;
#[doc(hidden)]
pub mod measure;
pub mod mock;
pub mod producer;

mod clock;
mod deaths;
mod decide;
mod disk;
mod filter;
mod known_ids;
mod lanes;
mod open;
mod pipeline;
mod prepare;
mod raw;
mod record;
mod redact;
mod trace;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use pedigraph_ledger::{LogId, Writer};
use pedigraph_proto::message::Receipt;
use pedigraph_proto::{Control, TenantId};
use tokio::sync::watch;

pub use counters::Counters;
pub use intake::{Intake, QueueLimits};
pub use kafka::KafkaHealth;
pub use limits::Limits;
pub use pipeline::BatchLimits;
pub use record::erasures;
pub use redact::Fields;

use deaths::{Deaths, Watch};
use disk::Disk;
use files::{Copies, Taking};
use intake::Queue;
use kafka::{Positions, Source};
use lanes::Way;
use pipeline::{Order, Shell, Unit};
use prepare::Preparer;
use raw::Scratch;
use record::Recorder;

/// What the caller must do: mend the configuration, or stop the process and start it again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be used.
    #[error("configuration: {0}")]
    Config(String),
    /// Kafka's client refuses.
    #[error("Kafka: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] pedigraph_ledger::Error),
    /// The index of known ids.
    #[error("index of known ids: {0}")]
    Index(#[from] fjall::Error),
    /// The disk; or memory, where a reader had none for what it read.
    #[error("{what}: {0}", what = what_failed(.0))]
    Io(#[from] std::io::Error),
    /// What was to be recorded cannot be; nothing was.
    #[error("refused: {0}")]
    Refused(String),
    /// The process is stopping, or failed.
    #[error("nothing can be recorded any more: the process is stopping")]
    Stopping,
    /// A spooled document is not there any more, or is no file.
    #[error("gone: {0}")]
    Gone(String),
    /// What is stored contradicts itself.
    #[error("corrupt: {0}")]
    Corrupt(String),
}

fn what_failed(error: &std::io::Error) -> &'static str {
    if error.kind() == std::io::ErrorKind::OutOfMemory { "memory" } else { "disk" }
}

/// Default of [`Config::reserve_bytes`]: room for some journal segments and the growth of views and indexes meanwhile.
pub const RESERVE_BYTES: u64 = 256 << 20;

/// How to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Directory of what this crate keeps beside the ledger: the index of known ids, which may be deleted while no
    /// process runs, the name of the Kafka member, the key by which redacted names are told apart, and documents while
    /// they are unpacked.
    pub dir: PathBuf,
    /// What a message may be.
    pub limits: Limits,
    /// Bytes of the disk below which new messages are refused, so that what was taken in, and all that is derived from
    /// it, still finds room.
    pub reserve_bytes: u64,
    /// What is between the sources and the disk.
    pub queue: QueueLimits,
    /// When a batch is committed.
    pub batch: BatchLimits,
    /// Threads that decode what is small and plain. One keeps up with one writer on two cores; order is kept with any
    /// number.
    pub workers: usize,
    /// Threads that decode what is large or compressed. Each may hold a decoder's limit of memory.
    pub slow_workers: usize,
    /// Kafka clusters.
    pub kafka: Vec<kafka::Config>,
    /// Directories whose files are taken in.
    pub drops: Vec<files::Drop>,
}

impl Config {
    /// Defaults, no sources but [`Intake`].
    pub fn new(dir: impl Into<PathBuf>) -> Config {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Config {
            dir: dir.into(),
            limits: Limits::default(),
            reserve_bytes: RESERVE_BYTES,
            queue: QueueLimits::default(),
            batch: BatchLimits::default(),
            workers: (cores / 2).clamp(1, 4),
            slow_workers: (cores / 2).clamp(1, 2),
            kafka: Vec::new(),
            drops: Vec::new(),
        }
    }
}

/// Starts everything. Answers once the known ids are up to the ledger; a broker that is away is waited for in the
/// background.
///
/// # Errors
/// [`Error`]; nothing runs then.
pub fn start(writer: Writer, config: Config) -> Result<Processor, Error> {
    open::dir(&config.dir)?;
    let reader = writer.reader();
    let known = known_ids::KnownIds::open(&config.dir.join("known"), &reader)?;
    let positions = Arc::new(Positions::new(writer.positions().clone()));
    let counters = Arc::new(Counters::default());
    counters.recorded_ns.store(writer.next_time(i64::MIN), Ordering::Relaxed);
    let queue = Arc::new(Queue::new(config.queue.clone(), Arc::clone(&counters)));
    let fatal = Fatal(Arc::new(watch::channel(None).0));
    let disk = Disk {
        dir: config.dir.clone(),
        reserve_bytes: config.reserve_bytes,
        queue: Arc::clone(&queue),
        counters: Arc::clone(&counters),
    };
    disk.look();
    let (blobs, bodies, namer) = (writer.blobs(), writer.bodies(), redact::Namer::open(&config.dir)?);
    let (hand_on, units) = channel::<Unit>();
    let deaths = Deaths::open(&config.dir, Arc::clone(&counters))?;
    let preparer = |n: usize| {
        let scratch = Scratch::new(config.dir.clone());
        let parts = (blobs.clone(), bodies.clone());
        Preparer::new(config.limits.clone(), parts, scratch, disk.clone(), Watch::new(&deaths, n), namer.clone())
    };
    let mut processor = Processor {
        counters,
        queue,
        fatal,
        abandoned: Arc::new(AtomicBool::new(false)),
        sources: Mutex::default(),
        drops: Mutex::default(),
        copies: Copies::open(config.dir.join("copies"))?,
        limits: config.limits.clone(),
        recorder: Recorder::new(preparer(0), reader.clone(), hand_on.clone()),
        threads: Mutex::default(),
        traced: Arc::default(),
    };
    let ways = [(Way::Quick, config.workers), (Way::Slow, config.slow_workers), (Way::Documents, 1)];
    let ways = ways.into_iter().flat_map(|(way, workers)| std::iter::repeat_n(way, workers.max(1)));
    for (n, way) in ways.enumerate() {
        processor.start_worker(way, preparer(n), config.limits.clone(), hand_on.clone())?;
    }
    drop(hand_on);
    let shell = Shell {
        ledger: writer,
        reader,
        known,
        units,
        order: Order::default(),
        queue: Arc::clone(&processor.queue),
        counters: Arc::clone(&processor.counters),
        disk: disk.clone(),
        limits: config.batch.clone(),
        abandoned: Arc::clone(&processor.abandoned),
        traced: Arc::clone(&processor.traced),
    };
    processor.spawn("writer", move || shell.run())?;
    processor.spawn("disk", move || {
        disk.watch();
        Ok(())
    })?;
    processor.start_sources(&config, &positions)?;
    Ok(processor)
}

/// A running write path. Dropping it without [`Processor::shutdown`] stops at once, as a crash would: nothing
/// acknowledged is lost, nothing is drained.
pub struct Processor {
    counters: Arc<Counters>,
    queue: Arc<Queue>,
    fatal: Fatal,
    abandoned: Arc<AtomicBool>,
    traced: Arc<trace::Batches>,
    sources: Mutex<Vec<Source>>,
    drops: Mutex<Vec<files::Watch>>,
    copies: Copies,
    limits: Limits,
    recorder: Recorder,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Processor {
    /// Where messages are handed in.
    pub fn intake(&self) -> Intake {
        Intake::new(Arc::clone(&self.queue))
    }

    /// Appends what the ledger says of itself, in order with everything else, and waits until it is durable. The same
    /// thing recorded again is a duplicate and adds no entry. The bodies that a `BodyErased` names are gone from the
    /// disk then: see [`erasures`].
    ///
    /// # Errors
    /// [`Error::Refused`] when a named entry has no such body; [`Error::Stopping`]; the disk's when the event is large.
    pub async fn record(&self, tenant: &TenantId, event: impl Into<Control>) -> Result<Receipt, Error> {
        record::receipt(self.recorder.send(tenant, event.into())?.await)
    }

    /// [`Processor::record`] for a thread outside of any runtime.
    ///
    /// # Errors
    /// As for [`Processor::record`].
    pub fn record_blocking(&self, tenant: &TenantId, event: impl Into<Control>) -> Result<Receipt, Error> {
        record::receipt(self.recorder.send(tenant, event.into())?.blocking_recv())
    }

    /// Makes the bodies of some entries go: records an event for each (see [`erasures`]), whose receipts come back when
    /// the bytes are gone from the disk. For a thread outside of any runtime.
    ///
    /// # Errors
    /// [`Error::Refused`] when an entry is not there or has no body, or the reason is empty or too long; and as for
    /// [`Processor::record`]: those before are erased then.
    pub fn erase_blocking(
        &self,
        tenant: &TenantId,
        indexes: &[u64],
        reason: &str,
        actor: &str,
    ) -> Result<Vec<Receipt>, Error> {
        let events = erasures(self.recorder.reader(), tenant, indexes, reason, actor)?;
        events.into_iter().map(|event| self.record_blocking(tenant, event)).collect()
    }

    /// What happened since the start.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The span context of the commit that began with an entry, while it is remembered; for whoever makes it visible.
    pub fn commit_context(&self, log: &LogId, first: u64) -> Option<opentelemetry::trace::SpanContext> {
        self.traced.of(log, first)
    }

    /// How each Kafka cluster does, in the order of the configuration.
    pub fn kafka_sources(&self) -> Vec<KafkaHealth> {
        lock(&self.sources).iter().map(Source::health).collect()
    }

    /// Resolves with the reason when nothing can be recorded any more. The process must exit: only opening the ledger
    /// again tells what is durable.
    pub async fn failed(&self) -> Arc<str> {
        let mut failed = self.fatal.0.subscribe();
        let reason = failed.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_else(|| "stopped".into())
    }

    /// The reason of [`Processor::failed`], if it failed.
    pub fn failure(&self) -> Option<Arc<str>> {
        self.fatal.0.borrow().clone()
    }

    /// For a part of the write path that runs elsewhere and failed, such as who signs checkpoints: all of it stops at
    /// once, as after a failure of its own.
    pub fn fail(&self, reason: &str) {
        self.stopper()(reason);
    }

    /// Takes in nothing more, waits until all that was taken in is durable and every sender was told, leaves Kafka.
    pub fn shutdown(&self) {
        lock(&self.drops).drain(..).for_each(files::Watch::stop);
        let mut sources = std::mem::take(&mut *lock(&self.sources));
        sources.iter().for_each(Source::stop);
        sources.iter_mut().for_each(Source::join);
        self.queue.close();
        self.recorder.close();
        self.join();
    }

    fn taking(&self, drop: &files::Drop) -> Taking {
        let (limits, copies) = (self.limits.clone(), self.copies.clone());
        Taking::new(drop.clone(), self.intake(), limits, copies, Arc::clone(&self.counters))
    }

    fn join(&self) {
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            let _panicked_and_said_so = thread.join();
        }
    }

    fn start_worker(
        &mut self,
        way: Way,
        preparer: Preparer,
        limits: Limits,
        hand_on: std::sync::mpsc::Sender<Unit>,
    ) -> Result<(), Error> {
        let queue = Arc::clone(&self.queue);
        let hand_on = move |unit| hand_on.send(unit).is_ok();
        let name = match way {
            Way::Quick => "decode",
            Way::Slow => "decode-slow",
            Way::Documents => "documents",
        };
        self.spawn(name, move || pipeline::work(preparer, &limits, || queue.take(way), hand_on))
    }

    fn start_sources(&mut self, config: &Config, positions: &Arc<Positions>) -> Result<(), Error> {
        for (n, kafka) in config.kafka.iter().enumerate() {
            let instance = format!("{}-{n}", kafka::instance_id(&config.dir)?);
            let (queue, positions) = (Arc::clone(&self.queue), Arc::clone(positions));
            let source = Source::start(kafka, &instance, queue, positions, self.recorder.clone())?;
            lock(&self.sources).push(source);
        }
        for drop in &config.drops {
            lock(&self.drops).push(self.taking(drop).watch()?);
        }
        Ok(())
    }

    /// Stops everything without draining, and says why.
    fn stopper(&self) -> impl Fn(&str) + Send + 'static {
        let (fatal, queue, abandoned) = (self.fatal.clone(), Arc::clone(&self.queue), Arc::clone(&self.abandoned));
        let recorder = self.recorder.clone();
        move |reason| {
            tracing::error!(reason, "the write path stops");
            fatal.set(reason);
            abandoned.store(true, Ordering::Release);
            queue.abandon();
            recorder.close();
        }
    }

    /// Runs a part of the path; when it fails, or panics, all of it stops.
    fn spawn(&self, name: &str, run: impl FnOnce() -> Result<(), Error> + Send + 'static) -> Result<(), Error> {
        let stop = self.stopper();
        let guarded = move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
            let reason = match outcome {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "a thread of the write path panicked".to_owned(),
            };
            stop(&reason);
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(guarded)?;
        lock(&self.threads).push(thread);
        Ok(())
    }
}

impl Drop for Processor {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Release);
        self.queue.abandon();
        self.recorder.close();
        let mut sources = std::mem::take(&mut *lock(&self.sources));
        sources.iter().for_each(Source::abandon);
        lock(&self.drops).drain(..).for_each(files::Watch::stop);
        sources.iter_mut().for_each(Source::join);
        self.join();
    }
}

/// The first reason why nothing can be recorded any more.
#[derive(Clone)]
struct Fatal(Arc<watch::Sender<Option<Arc<str>>>>);

impl Fatal {
    fn set(&self, reason: &str) {
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert_with(|| reason.into());
            is_first
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
