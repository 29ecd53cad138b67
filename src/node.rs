//! The server roles: a write node, a read node, or both in one process (DESIGN §1).

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context;
use pedigraph_ledger::{Options, Publisher, Reader, Signer, Witnesses};
use pedigraph_processor::{Intake, Processor, files, kafka};
use pedigraph_projector::Views;
use pedigraph_proto::TenantId;
use pedigraph_proto::message::{Message, Receipt, Refused, Submitted};
use pedigraph_query_api as api;
pub(crate) use pedigraph_query_api::app::system_clock as now_ns;
use rustix::fs::Mode;
use tokio::sync::watch;

use crate::config::{Config, Kafka};
use crate::listeners::{self, Listeners};
use crate::output::{Exit, Failure, put, say};
use crate::{heartbeat, issuers, metrics, offline, signers, telemetry, view_roots, witnesses};

/// How long threads that read may go on after everything else has ended.
const THREADS_END_MAX: Duration = Duration::from_secs(1);

/// Which parts run in this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Sources, validation, ledger.
    Write,
    /// Views, queries, pages.
    Read,
    /// All of it.
    Both,
}

/// Runs until interrupted, or until the writer fails.
pub(crate) fn run(role: Role, config: &Config) -> anyhow::Result<()> {
    // What this process writes is for its user and the group, whatever writes it: journal, views, indexes, spools.
    let theirs = rustix::process::umask(Mode::RWXO | Mode::WGRP);
    rustix::process::umask(theirs | Mode::RWXO | Mode::WGRP);
    let _telemetry = telemetry::start("info,librdkafka=warn,fjall=warn,lsm_tree=warn,sled=warn")?;
    say(&format!("pedigraph {} on {}", env!("CARGO_PKG_VERSION"), config.data.display()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let mut interrupted = std::pin::pin!(interrupted()?);
        let node = tokio::select! {
            node = Node::start(role, config, config.listen) => node?,
            // Nothing was promised to anybody yet; what is written so far is read again as after a loss of power.
            () = &mut interrupted => return Ok(()),
        };
        put(&format!("listening on http://{}", node.address));
        let stopped = tokio::select! {
            () = interrupted => Ok(()),
            failure = node.failed() => Err(failure),
        };
        node.stop().await?;
        stopped
    });
    // A read that still runs has nobody left to answer.
    runtime.shutdown_timeout(THREADS_END_MAX);
    ended
}

/// Listens for SIGINT and SIGTERM from now on; what it gives back resolves when one of them came, also before it is
/// asked.
pub(crate) fn interrupted() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// A running process: what was started and how to stop it.
pub(crate) struct Node {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    write: Option<Write>,
    views: Option<Views>,
    stop: watch::Sender<bool>,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

/// The write half.
struct Write {
    processor: Arc<Processor>,
    publisher: std::thread::JoinHandle<()>,
    heartbeat: std::thread::JoinHandle<()>,
    /// Times that no checkpoint was signed.
    unsigned: Arc<AtomicU64>,
    no_room: NoRoom,
    witnesses: Option<Arc<Witnesses>>,
    /// The ledger's key, for evidence packs.
    signer: Arc<dyn Signer>,
    /// What a witness said that knows another history.
    forked: watch::Receiver<Option<String>>,
}

/// Why checkpoints, or the files that are derived from the journal, have to wait for room on the disk.
type NoRoom = Arc<Mutex<Option<String>>>;

impl Node {
    /// Starts the parts of a role. The server answers `/livez` while the views are still being compared or rebuilt.
    pub(crate) async fn start(role: Role, config: &Config, listen: SocketAddr) -> anyhow::Result<Node> {
        let usage = |why: String| Failure::error(Exit::Usage, why);
        let tokens = config.tokens.as_deref().map(api::Tokens::open).transpose().map_err(usage)?.map(Arc::new);
        let listeners = Listeners::bind(listen, config.probe_listen, tokens.as_ref()).await?;
        let address = listeners.address()?;
        let (stop, stopping) = watch::channel(false);
        let (write, reader) = open(role, config, &stopping)?;
        let late = Arc::new(OnceLock::new());
        let mut api_config = api_config(role, config, &reader, &late, write.as_ref())?;
        api_config.tokens = tokens;
        let end_to_end = api_config.end_to_end.clone();
        let server = listeners.serve(api::App::new(api_config), &stopping);
        let views = match role {
            Role::Write => None,
            Role::Read | Role::Both => Some(open_views(config, reader).await?),
        };
        if let Some(views) = &views {
            let _set_once = late.set(views.clone());
            if let Some(write) = &write {
                if telemetry::has_exporter() {
                    let processor = Arc::clone(&write.processor);
                    views.link_commits(Arc::new(move |log, first| processor.commit_context(log, first)));
                }
                view_roots::spawn(views.clone(), Arc::clone(&write.processor), config.view_root_interval_ms, &stop);
            }
            tokio::spawn(api::watch_end_to_end(views.clone(), TenantId::default(), end_to_end, now_ns));
        }
        Ok(Node { address, write, views, stop, server })
    }

    /// Resolves when the writer cannot go on.
    pub(crate) async fn failed(&self) -> anyhow::Error {
        match &self.write {
            None => std::future::pending().await,
            Some(write) => {
                let mut forked = write.forked.clone();
                tokio::select! {
                    reason = write.processor.failed() => {
                        Failure::error(Exit::Poisoned, format!("nothing can be recorded any more: {reason}"))
                    }
                    Ok(why) = forked.wait_for(Option::is_some) => {
                        Failure::error(Exit::Forked, why.as_deref().unwrap_or_default())
                    }
                }
            }
        }
    }

    /// The views, on a read node.
    pub(crate) fn views(&self) -> Option<&Views> {
        self.views.as_ref()
    }

    /// Stops taking in, drains, publishes a last checkpoint, closes the views.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let _nobody_listens = self.stop.send(true);
        self.server.await??;
        tokio::task::spawn_blocking(move || {
            if let Some(write) = self.write {
                write.processor.shutdown();
                write.publisher.thread().unpark();
                let _it_has_logged = write.publisher.join();
                write.heartbeat.thread().unpark();
                let _it_has_logged = write.heartbeat.join();
                // The last checkpoint may have been the one.
                if let Some(why) = write.forked.borrow().as_deref() {
                    return Err(Failure::error(Exit::Forked, why));
                }
            }
            Ok(self.views.map_or(Ok(()), |views| views.close())?)
        })
        .await??;
        Ok(())
    }
}

fn open(role: Role, config: &Config, stopping: &watch::Receiver<bool>) -> anyhow::Result<(Option<Write>, Reader)> {
    let dir = config.data.join("ledger");
    if role == Role::Read {
        let missing = || format!("no ledger at {}; start `pedigraph process` on the same --data first", dir.display());
        return Ok((None, pedigraph_ledger::open_reader(&dir).with_context(missing)?));
    }
    std::fs::create_dir_all(&config.data).with_context(|| format!("cannot create {}", config.data.display()))?;
    let signer = signers::configured(config)?;
    let options = Options { name: config.name.clone(), segment_bytes: config.segment_bytes, signer: signer.clone() };
    let writer = pedigraph_ledger::open(&dir, &options).with_context(|| format!("cannot open {}", dir.display()))?;
    let reader = writer.reader();
    let signer = reader.signer(signer.as_ref())?;
    let witnesses = witnesses::configured(config)?;
    let publisher = witnesses::publisher(&writer, witnesses.as_ref())?;
    let processor = Arc::new(pedigraph_processor::start(writer, processor_config(config)?)?);
    issuers::check(&config.issuers)?;
    let unsigned = Arc::new(AtomicU64::new(0));
    let no_room = NoRoom::default();
    let (fork, forked) = watch::channel(None);
    let checkpoints = Checkpoints {
        publisher,
        processor: Arc::clone(&processor),
        unsigned: Arc::clone(&unsigned),
        no_room: Arc::clone(&no_room),
        fork,
    };
    let publisher = checkpoints.start(reader.clone(), config, stopping.clone())?;
    let heartbeat = heartbeat::start(&config.data, Arc::clone(&processor), reader.clone(), stopping.clone())?;
    Ok((Some(Write { processor, publisher, heartbeat, unsigned, no_room, witnesses, signer, forked }), reader))
}

/// Signs what has become durable.
struct Checkpoints {
    publisher: Publisher,
    processor: Arc<Processor>,
    unsigned: Arc<AtomicU64>,
    no_room: NoRoom,
    fork: watch::Sender<Option<String>>,
}

impl Checkpoints {
    /// A thread that publishes each interval and once more at the end. Before the first time the logs say whose
    /// signature it is.
    fn start(
        mut self,
        reader: Reader,
        config: &Config,
        stopping: watch::Receiver<bool>,
    ) -> anyhow::Result<std::thread::JoinHandle<()>> {
        let interval = Duration::from_millis(config.checkpoint_interval_ms.max(100));
        let (roles, data) = (config.issuers.clone(), config.data.clone());
        let publish = move || {
            if let Err(error) = offline::record_rotation(&self.processor, &reader) {
                tracing::error!(%error, "the new key could not be recorded: no checkpoint before a restart");
                return;
            }
            if let Err(error) = issuers::publish(&roles, &data, &self.processor, &reader) {
                tracing::error!(error = format!("{error:#}"), "the roles of issuers could not be recorded");
            }
            // Once more at the end, unless the disk failed.
            while self.publish() && !*stopping.borrow() {
                std::thread::park_timeout(interval);
            }
        };
        Ok(std::thread::Builder::new().name("checkpoints".to_owned()).spawn(publish)?)
    }

    /// Whether to go on.
    fn publish(&mut self) -> bool {
        let outcome = self.publisher.publish(now_ns());
        self.show_room(outcome.as_ref().err());
        match outcome {
            Ok(_) => true,
            Err(pedigraph_ledger::Error::Signer(why)) => {
                self.unsigned.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(why, "no checkpoint was signed; entries go on, the signer is asked again");
                true
            }
            Err(error @ pedigraph_ledger::Error::Full(_)) => {
                tracing::warn!(%error, "no checkpoint could be published; it is tried again");
                true
            }
            Err(pedigraph_ledger::Error::Fork(why)) => {
                self.fork.send_replace(Some(why));
                false
            }
            // Whether it is on disk nobody can tell, and another try would not: the kernel forgets what it failed to
            // write.
            Err(error) => {
                self.processor.fail(&format!("no checkpoint can be published: {error}"));
                false
            }
        }
    }

    /// What `/readyz` says of it.
    fn show_room(&self, error: Option<&pedigraph_ledger::Error>) {
        let full = error.filter(|error| matches!(error, pedigraph_ledger::Error::Full(_)));
        let why = full.map(ToString::to_string).or_else(|| self.publisher.derived_waits());
        *self.no_room.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}

async fn open_views(config: &Config, reader: Reader) -> anyhow::Result<Views> {
    let dir = config.data.join("views");
    let options = config.view_options();
    let failed = format!("cannot open {}", dir.display());
    tokio::task::spawn_blocking(move || Views::open(&dir, reader, &options)).await?.context(failed)
}

fn processor_config(config: &Config) -> anyhow::Result<pedigraph_processor::Config> {
    let mut processor = pedigraph_processor::Config::new(&config.data);
    processor.reserve_bytes = config.reserve_bytes();
    processor.limits.redact = config.redacted()?;
    if !config.kafka.brokers.is_empty() {
        processor.kafka.push(kafka_config(&config.kafka)?);
    }
    if let Some(dir) = &config.drop_directory {
        processor.drops.push(files::Drop { dir: dir.clone(), given: files::Given::default() });
    }
    Ok(processor)
}

fn kafka_config(config: &Kafka) -> anyhow::Result<kafka::Config> {
    let topic = |name: &String| {
        let binding = config.bindings.get(name).cloned().unwrap_or_default();
        let tenant = binding.tenant.as_deref().map_or_else(|| Some(TenantId::default()), TenantId::new);
        let no_tenant = || Failure::error(Exit::Usage, format!("topic {name}: a tenant is [a-z0-9-]{{1,63}}"));
        let tenant = tenant.ok_or_else(no_tenant)?;
        Ok(kafka::Topic { name: name.clone(), tenant, format: binding.format, subject: binding.subject })
    };
    Ok(kafka::Config {
        brokers: config.brokers.clone(),
        group: config.group.clone(),
        topics: config.topics.iter().map(topic).collect::<anyhow::Result<_>>()?,
        options: config.options.clone(),
        accept_gaps: config.accept_gaps.clone(),
    })
}

fn api_config(
    role: Role,
    config: &Config,
    reader: &Reader,
    views: &api::LateViews,
    write: Option<&Write>,
) -> anyhow::Result<api::Config> {
    let spool = config.data.join("spool");
    let mut all = api::Config::new(reader.clone(), Arc::clone(views), spool.clone());
    all.expect_views = role != Role::Write;
    all.limits = api::Limits { connections_max: listeners::connections_max(), ..config.reads.limits() };
    all.public_ledger = config.public_ledger;
    all.hosts.clone_from(&config.hosts);
    all.rates.clone_from(&config.rates);
    all.packs_dir = config.data.join("packs");
    let mut left_alone = 0;
    if all.expect_views {
        let dir = &all.packs_dir;
        left_alone += api::pack::spool::prepare(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        all.extra_metrics = Arc::new(move |text| metrics::left_alone(left_alone, text));
    }
    let Some(write) = write else {
        let (data, reader) = (config.data.clone(), reader.clone());
        all.writer = Some(Arc::new(move |now_ns| heartbeat::last_sign(&data, &reader, now_ns)));
        return Ok(all);
    };
    left_alone += prepare_spool(&spool)?;
    all.signer = Some(Arc::clone(&write.signer));
    let processor = Arc::clone(&write.processor);
    all.write = Some(Arc::new(WriteHalf { intake: processor.intake(), processor: Arc::clone(&processor) }));
    let reserve_bytes = config.reserve_bytes();
    all.ready = Arc::new({
        let (processor, no_room) = (Arc::clone(&processor), Arc::clone(&write.no_room));
        let witnesses = write.witnesses.clone();
        move || {
            let no_room = no_room.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let mut checks = metrics::checks(&processor, reserve_bytes, no_room);
            checks.extend(witnesses.as_deref().map(witnesses::check));
            checks
        }
    });
    all.sources = Arc::new({
        let processor = Arc::clone(&processor);
        move || metrics::sources(&processor, now_ns())
    });
    let unsigned = Arc::clone(&write.unsigned);
    let witnesses = write.witnesses.clone();
    all.extra_metrics = Arc::new(move |text| {
        metrics::write(&processor, reserve_bytes, unsigned.load(Ordering::Relaxed), text);
        metrics::left_alone(left_alone, text);
        witnesses::write(witnesses.as_deref(), text);
    });
    Ok(all)
}

fn prepare_spool(dir: &Path) -> anyhow::Result<usize> {
    api::prepare_spool(dir).with_context(|| format!("cannot create {}", dir.display()))
}

/// The write path, as the HTTP side sees it.
struct WriteHalf {
    intake: Intake,
    processor: Arc<Processor>,
}

impl api::WriteNode for WriteHalf {
    fn publish(&self, message: Message) -> api::Pending<Result<Submitted, Refused>> {
        let intake = self.intake.clone();
        Box::pin(async move { intake.submit(message).await })
    }

    fn erase(&self, asked: api::Erasure) -> api::Pending<Result<Vec<Receipt>, api::NotErased>> {
        let processor = Arc::clone(&self.processor);
        let erase = move || processor.erase_blocking(&asked.tenant, &[asked.index], &asked.reason, &asked.actor);
        Box::pin(async move {
            let erased = tokio::task::spawn_blocking(erase).await;
            erased.map_err(|error| api::NotErased::Failed(error.to_string()))?.map_err(not_erased)
        })
    }

    fn refuses(&self) -> Option<Refused> {
        self.intake.refuses()
    }
}

fn not_erased(error: pedigraph_processor::Error) -> api::NotErased {
    use pedigraph_processor::Error;
    if let Error::Refused(why) = error {
        return api::NotErased::Refused(why);
    }
    if matches!(error, Error::Stopping) {
        return api::NotErased::Stopping;
    }
    api::NotErased::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use pedigraph_proto::event::{self, ViewRootRecorded};
    use serde_json::json;

    use super::*;
    use crate::cli::Cli;
    use crate::client::Server;

    /// A wrong root, recorded through the writer, is seen at every place that somebody may look at.
    #[test]
    fn a_root_that_the_views_did_not_come_to_is_an_alarm_everywhere() {
        let dir = tempfile::tempdir().unwrap();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config { data: dir.path().to_owned(), listen, view_root_interval_ms: 0, ..Config::default() };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let node = runtime.block_on(Node::start(Role::Both, &config, listen)).unwrap();
        let (processor, views) = (&node.write.as_ref().unwrap().processor, node.views().unwrap());
        let tenant = TenantId::default();
        let record = |root: ViewRootRecorded| {
            let receipt = processor.record_blocking(&tenant, root).unwrap();
            assert!(runtime.block_on(views.wait_visible(&tenant, receipt.index, Duration::from_secs(30))));
        };
        let server = Server::new(&format!("http://{}", node.address), None);
        let text = |path: &str| {
            let answer = server.fetch(path, &[("verbose", Some(""))]).unwrap();
            (answer.status, String::from_utf8(answer.body).unwrap())
        };
        let key = event::KeyRotated { sequence: 1, ..event::KeyRotated::default() };
        let first = processor.record_blocking(&tenant, key).unwrap();
        assert!(runtime.block_on(views.wait_visible(&tenant, first.index, Duration::from_secs(30))));
        record(views.root_to_record(&tenant).unwrap());
        let (status, ready) = text("/readyz");
        assert!(status == 200 && ready.contains("view-roots ok: 1 compared, 0 differed"), "{ready}");

        let folded = views.root_to_record(&tenant).unwrap();
        let lie = ViewRootRecorded { root: format!("sha256:{}", "0".repeat(64)), ..folded.clone() };
        record(lie.clone());
        let (status, ready) = text("/readyz");
        assert!(status == 503 && ready.contains("[-]view-roots failed: entry 2 recorded sha256:0"), "{ready}");
        assert!(ready.contains(&folded.root) && ready.contains("runbook.md"), "{ready}");
        let metrics = text("/metrics").1;
        for line in ["pedigraph_view_roots_compared_total 2\n", "pedigraph_view_root_mismatches_total 1\n"] {
            assert!(metrics.contains(line), "{metrics}");
        }
        let fresh = &server.get("/api/v1/freshness", &[]).unwrap()["viewRoots"];
        let seq = folded.next_seq - 1;
        let last = json!({"index": 2, "seq": seq, "root": lie.root, "own": folded.root, "equal": false});
        assert_eq!((&fresh["compared"], &fresh["mismatched"], &fresh["last"]), (&2.into(), &1.into(), &last));
        runtime.block_on(node.stop()).unwrap();

        let data = dir.path().to_str().unwrap();
        let check = <Cli as clap::Parser>::try_parse_from(["pedigraph", "rebuild", "--check", "--data", data]).unwrap();
        let failed = check.run().expect_err("a difference is a fault");
        assert_eq!(Exit::of(&failed), Exit::VerificationFailed);
        let said = failed.to_string();
        assert!(said.contains("entry 2") && said.contains(&lie.root) && said.contains(&folded.root), "{said}");
    }
}
