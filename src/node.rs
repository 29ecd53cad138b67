//! The server roles: a write node, a read node, or both in one process (DESIGN §1).

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use pedigraph_ledger::{Options, Publisher, Reader, Writer};
use pedigraph_processor::{Processor, kafka};
use pedigraph_projector::Views;
use pedigraph_proto::TenantId;
use pedigraph_query_api as api;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::Config;
use crate::output::{Exit, Failure, put, say};
use crate::telemetry;

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
    let _telemetry = telemetry::start("info,librdkafka=warn")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let node = Node::start(role, config, config.listen).await?;
        put(&format!("listening on http://{}", node.address));
        let stopped = tokio::select! {
            () = interrupted() => Ok(()),
            failure = node.failed() => Err(failure),
        };
        node.stop().await?;
        stopped
    })
}

/// Resolves on SIGINT or SIGTERM.
pub(crate) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => {
            let _interrupt = tokio::signal::ctrl_c().await;
        }
    }
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

struct Write {
    processor: Arc<Processor>,
    publisher: std::thread::JoinHandle<()>,
}

impl Node {
    /// Starts the parts of a role; answers when the server listens.
    pub(crate) async fn start(role: Role, config: &Config, listen: SocketAddr) -> anyhow::Result<Node> {
        api::check_bind(listen).map_err(|e| Failure::new(Exit::Usage, e))?;
        let (stop, stopping) = watch::channel(false);
        let (write, reader) = open(role, config, &stopping)?;
        let views = (role != Role::Write).then(|| open_views(config, &reader)).transpose()?;
        let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let address = listener.local_addr()?;
        let router = api::router(api_config(config, reader, views.clone(), write.as_ref())?);
        let server = tokio::spawn(api::serve(listener, router, stopping));
        Ok(Node { address, write, views, stop, server })
    }

    /// Resolves when the writer cannot go on.
    pub(crate) async fn failed(&self) -> anyhow::Error {
        match &self.write {
            None => std::future::pending().await,
            Some(write) => {
                let reason = write.processor.failed().await;
                let text = format!("the ledger cannot be written: {reason}; start again, start-up repairs what can be repaired");
                Failure::new(Exit::Poisoned, text)
            }
        }
    }

    /// The processor, on a write node.
    pub(crate) fn processor(&self) -> Option<&Arc<Processor>> {
        self.write.as_ref().map(|write| &write.processor)
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
                let _it_has_logged = write.publisher.join();
            }
            self.views.map_or(Ok(()), |views| views.close())
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
    let options = Options { name: config.name.clone(), segment_bytes: config.segment_bytes };
    let writer = pedigraph_ledger::open(&dir, &options).with_context(|| format!("cannot open {}", dir.display()))?;
    let reader = writer.reader();
    let publisher = publish_checkpoints(&writer, config, stopping.clone())?;
    let processor = pedigraph_processor::start(writer, processor_config(config)?)?;
    Ok((Some(Write { processor: Arc::new(processor), publisher }), reader))
}

/// A thread that signs what has become durable, each interval and once more at the end.
fn publish_checkpoints(
    writer: &Writer,
    config: &Config,
    stopping: watch::Receiver<bool>,
) -> anyhow::Result<std::thread::JoinHandle<()>> {
    let mut publisher = Publisher::new(writer)?;
    let interval = Duration::from_millis(config.checkpoint_interval_ms.max(100));
    let reader = writer.reader();
    let publish = move || {
        let mut seq = 0;
        while !*stopping.borrow() {
            let next = reader.wait(seq, interval);
            if next > seq && !published(&mut publisher) {
                return;
            }
            seq = next;
            std::thread::park_timeout(interval);
        }
        published(&mut publisher);
    };
    Ok(std::thread::Builder::new().name("checkpoints".to_owned()).spawn(publish)?)
}

fn published(publisher: &mut Publisher) -> bool {
    match publisher.publish(now_ns()) {
        Ok(_) => true,
        Err(error) => {
            tracing::error!(%error, "no checkpoint could be published; none will be until the next start");
            false
        }
    }
}

fn open_views(config: &Config, reader: &Reader) -> anyhow::Result<Views> {
    let dir = config.data.join("views");
    let options = pedigraph_projector::Options { cache_bytes: config.view_cache_mib << 20 };
    Views::open(&dir, reader.clone(), &options).with_context(|| format!("cannot open {}", dir.display()))
}

/// The one clock of the process: nanoseconds since 1970 UTC.
#[expect(clippy::disallowed_methods, reason = "the shell reads the clock; everything inside takes time as an argument")]
pub(crate) fn now_ns() -> i64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX)
}
