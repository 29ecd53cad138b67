//! The whole system in one process, with a story in it, in a temporary directory.

mod story;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use pedigraph_processor::{mock, producer};
use pedigraph_proto::{Nanos, TenantId};

use self::story::Told;
use crate::config::{Config, TOPICS};
use crate::issuers::{self, Issuer};
use crate::node::{Node, Role, interrupted, now_ns};
use crate::output::{put, say};
use crate::telemetry;

/// The mock cluster keeps 5 MiB a partition: never be further than this ahead of the ledger, bytes.
const AHEAD_BYTES_MAX: usize = 1 << 20;
/// Time between messages of the live trickle.
const TRICKLE: Duration = Duration::from_secs(2);
/// How long the ledger may take to catch up before the demo says that something is wrong.
const CATCH_UP: Duration = Duration::from_secs(60);

/// `pedigraph demo`
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Address of API and pages; if it is taken and was not asked for, another port is used.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Play the story on this Kafka (host:port) instead of a cluster inside this process; the topics must exist.
    #[arg(long)]
    kafka: Option<String>,
    /// Another seed gives other digests and ids.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Further deployments to publish after the story.
    #[arg(long, default_value_t = 0)]
    events: u64,
    /// Stop once the story is told, instead of waiting for Ctrl-C.
    #[arg(long)]
    once: bool,
}

/// Tells the story and keeps a trickle going until interrupted.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let _telemetry = telemetry::start("warn,librdkafka=error,fjall=error")?;
    let directory = Directory::new()?;
    let cluster = match &arguments.kafka {
        None => Some(mock::Cluster::start(&TOPICS).context("cannot start the in-process Kafka cluster")?),
        Some(_) => None,
    };
    let brokers =
        cluster.as_ref().map_or_else(|| arguments.kafka.clone().unwrap_or_default(), mock::Cluster::bootstrap);
    let mut config =
        Config { data: directory.0.clone(), segment_bytes: 8 << 20, view_cache_mib: 64, ..Config::default() };
    config.kafka.brokers.clone_from(&brokers);
    config.issuers = vec![Issuer { name: story::MAKER.to_owned(), role: issuers::Role::Producer, ..Issuer::default() }];
    if arguments.kafka.is_some() {
        config.kafka.group = format!("pedigraph-demo-{}", std::process::id());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(play(arguments, &config, &brokers))
}

/// Removed when the demo ends.
struct Directory(PathBuf);

impl Directory {
    fn new() -> anyhow::Result<Directory> {
        let path = std::env::temp_dir().join(format!("pedigraph-demo-{}-{}", std::process::id(), now_ns()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Directory(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _left_for_the_system_to_clean = std::fs::remove_dir_all(&self.0);
    }
}

async fn play(arguments: &Arguments, config: &Config, brokers: &str) -> anyhow::Result<()> {
    let interrupted = interrupted()?;
    let node = start(arguments, config).await?;
    let producer = producer::Producer::new(brokers)?;
    let told = tokio::select! {
        told = tell(arguments, &node, &producer) => told,
        () = interrupted => Ok(()),
        failure = node.failed() => Err(failure),
    };
    drop(producer);
    told?;
    node.stop().await
}

/// Tells the story, and goes on with it unless that is enough.
async fn tell(arguments: &Arguments, node: &Node, producer: &producer::Producer) -> anyhow::Result<()> {
    let story = story::tell(arguments.seed, whole_second(now_ns()), arguments.events);
    // The roles of issuers are an entry too.
    let mut teller = Teller { node, producer, expected: 1, ahead: 0 };
    for message in &story.messages {
        teller.tell(message).await?;
    }
    teller.caught_up().await?;
    introduce(&node.address, &story);
    if arguments.once {
        return Ok(());
    }
    let mut n = arguments.events;
    loop {
        tokio::time::sleep(TRICKLE).await;
        teller.tell(&story::trickle(arguments.seed, whole_second(now_ns()), n)).await?;
        n += 1;
    }
}

fn whole_second(now_ns: i64) -> Nanos {
    Nanos(now_ns / 1_000_000_000 * 1_000_000_000)
}

async fn start(arguments: &Arguments, config: &Config) -> anyhow::Result<Node> {
    let listen = arguments.listen.unwrap_or(config.listen);
    let free = std::net::TcpListener::bind(listen).is_ok();
    if free || arguments.listen.is_some() {
        return Node::start(Role::Both, config, listen).await;
    }
    say(&format!("{listen} is taken: using another port"));
    Node::start(Role::Both, config, SocketAddr::new(listen.ip(), 0)).await
}

/// Produces without running away from the ledger.
struct Teller<'a> {
    node: &'a Node,
    producer: &'a producer::Producer,
    expected: u64,
    ahead: usize,
}

impl Teller<'_> {
    async fn tell(&mut self, message: &Told) -> anyhow::Result<()> {
        let headers: Vec<(&str, &[u8])> = message.headers.iter().map(|(k, v)| (k.as_str(), v.as_bytes())).collect();
        self.producer.send(message.topic, message.key.as_bytes(), &headers, &message.value)?;
        self.expected += 1;
        self.ahead += message.value.len();
        if self.ahead > AHEAD_BYTES_MAX {
            self.caught_up().await?;
        }
        Ok(())
    }

    /// Waits until all that was told is in the views.
    async fn caught_up(&mut self) -> anyhow::Result<()> {
        self.producer.flush()?;
        let views = self.node.views().context("the demo has views")?;
        let last = self.expected.saturating_sub(1);
        if !views.wait_visible(&TenantId::default(), last, CATCH_UP).await {
            anyhow::bail!("the ledger did not take in {} messages within {CATCH_UP:?}", self.expected);
        }
        self.ahead = 0;
        Ok(())
    }
}

fn introduce(address: &SocketAddr, story: &story::Story) {
    let url = format!("http://{address}");
    let program = std::env::args().next().unwrap_or_else(|| "pedigraph".to_owned());
    let (library, vulnerability) = (crate::client::escape(story.library), story::VULNERABILITY);
    put(&format!("listening on {url}"));
    put(&format!(
        "\nPedigraph is running with a story in it. Open {url}\n\n\
         The canary that went wrong   {url}/artifacts/{}\n\
         What runs in production      {url}/environments/prod\n\
         Who contains log4j-core      {url}/components/impact?purl={library}\n\
         Who is hit by log4shell      {url}/vulnerabilities/{vulnerability}\n\n\
         Try:\n  \
         {program} trace prod/search --url {url}\n  \
         {program} impact {} --url {url}\n  \
         {program} impact {vulnerability} --url {url}\n  \
         {program} lanes prod/search --url {url}\n  \
         {program} verdict prod/thumbnails {vulnerability} --url {url}\n  \
         {program} env prod --changes --url {url}\n\n\
         New deployments trickle in. Ctrl-C ends it and removes everything.",
        story.canary, story.library
    ));
}
