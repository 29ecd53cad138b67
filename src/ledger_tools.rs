//! The commands that read a ledger themselves and need no server.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use pedigraph_ledger::{LogId, Reader};
use pedigraph_projector::answers::ViewRoots;
use pedigraph_proto::TenantId;
use serde_json::{Value, json};

use crate::cli::Client;
use crate::client::Server;
use crate::ledger_stats::Stats;
use crate::offline::Stopped;
use crate::output::{Exit, Failure, answer, progress_bar, put, put_bytes, say};

/// Bytes of the views' cache while they are rebuilt.
const CACHE_BYTES: u64 = 256 << 20;
/// Bytes of journal that are folded at once.
const STEP_BYTES: usize = 4 << 20;

/// Where a ledger is below a data directory.
pub(crate) fn ledger_dir(data: &Path) -> PathBuf {
    let below = data.join("ledger");
    if below.is_dir() { below } else { data.to_owned() }
}

/// `pedigraph rebuild`
#[derive(Args, Debug)]
pub(crate) struct Rebuild {
    /// Data directory of a server that is stopped (with --check it may run).
    #[arg(long, env = "PEDIGRAPH_DATA", default_value = "pedigraph-data")]
    data: PathBuf,
    /// Only fold in memory and print the view root, changing nothing.
    #[arg(long)]
    check: bool,
}

impl Rebuild {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let ledger = open_ledger(&self.data)?;
        let bar = progress_bar(ledger.next_seq(), "commits");
        let mut progress = |done, _| bar.set_position(done);
        let options = pedigraph_projector::Options { cache_bytes: CACHE_BYTES };
        let folded = if self.check {
            pedigraph_projector::fold_into_memory(&ledger, STEP_BYTES)?
        } else {
            pedigraph_projector::rebuild(&self.data.join("views"), &ledger, &options, &mut progress)?
        };
        bar.finish_and_clear();
        put(&format!("{}  after {} commits", folded.root, folded.commits));
        told_of_recorded(&folded.recorded)
    }
}

/// Says what the roots in the ledger came to; a difference is a fault.
fn told_of_recorded(roots: &ViewRoots) -> anyhow::Result<()> {
    let ViewRoots { compared, mismatched, other_version, out_of_reach, .. } = roots;
    say(&format!("{compared} recorded view roots compared, {mismatched} differ"));
    if *other_version > 0 {
        say(&format!("{other_version} more are of another version of the views and cannot be compared"));
    }
    if *out_of_reach > 0 {
        say(&format!("{out_of_reach} more were recorded too long after their commit and cannot be compared"));
    }
    match &roots.first_mismatch {
        None => Ok(()),
        Some(first) => Err(Failure::error(Exit::VerificationFailed, format!("first difference: {first}"))),
    }
}

/// The ledger in a data directory, which must be there.
pub(crate) fn existing_ledger(data: &Path) -> anyhow::Result<PathBuf> {
    let dir = ledger_dir(data);
    if !dir.join("journal").is_dir() {
        let text = format!("{} holds no ledger; name the data directory", dir.display());
        return Err(Failure::error(Exit::NotFound, text));
    }
    Ok(dir)
}

fn open_ledger(data: &Path) -> anyhow::Result<Reader> {
    Ok(pedigraph_ledger::open_reader(&existing_ledger(data)?)?)
}

/// A log: in a data directory, or a server's.
#[derive(Args, Debug)]
pub(crate) struct Place {
    /// Use this data directory instead of asking a server.
    #[arg(long, env = "PEDIGRAPH_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// The tenant whose log it is.
    #[arg(long, default_value = "default")]
    pub(crate) tenant: String,
    /// The server.
    #[arg(long, env = "PEDIGRAPH_URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
    /// Bearer token, for a server that asks for one.
    #[arg(long, env = "PEDIGRAPH_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl Place {
    pub(crate) fn server(&self) -> Server {
        Server::new(&self.url, self.token.clone())
    }
}

/// Where `log` commands read, and where they write.
#[derive(Args, Debug)]
pub(crate) struct Source {
    #[command(flatten)]
    place: Place,
    /// Write to this file instead of stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// `pedigraph log …`
#[derive(Subcommand, Debug)]
pub(crate) enum Log {
    /// The newest verifier key: give it to those who check.
    Vkey {
        /// The signed notes by which each key introduced the next, instead: who trusts an older key can follow them.
        #[arg(long)]
        chain: bool,
        #[command(flatten)]
        source: Source,
    },
    /// The newest checkpoint.
    Checkpoint(Source),
    /// Entries, oldest first.
    Entries {
        /// Begin at this index.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// How many.
        #[arg(long, default_value_t = 100)]
        limit: u64,
        #[command(flatten)]
        client: Client,
    },
    /// The inclusion proof of an entry (C2SP tlog-proof), to be checked offline by `verify --proof`.
    Proof {
        /// Ledger index.
        index: u64,
        #[command(flatten)]
        source: Source,
    },
    /// Erase the received bytes of entries for good: a server does it while it runs, or a data directory whose server is stopped. The
    /// entries, their proofs and all answers stay; the ledger still verifies.
    Erase(Erase),
    /// The bytes of an entry as the tree hashes them: its leaf.
    Entry {
        /// Ledger index.
        index: u64,
        #[command(flatten)]
        source: Source,
    },
    /// What the ledger costs: entries, bytes, files, and how it grows by the day.
    Stats(Stats),
    /// Write a static tlog-tiles copy that any web server can serve and any tlog tool verifies.
    Mirror {
        /// The directory to write.
        dir: PathBuf,
        /// Data directory to read.
        #[arg(long, env = "PEDIGRAPH_DATA", default_value = "pedigraph-data")]
        data: PathBuf,
        /// The tenant whose log it is.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
}

impl Log {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Log::Vkey { chain: false, source } => {
                source.text("vkey", |reader, log| Ok(Some(format!("{}\n", reader.vkey(log)))))
            }
            Log::Vkey { chain: true, source } => source.text("keys", |reader, _| Ok(Some(reader.key_chain()))),
            Log::Erase(erase) => erase.run(),
            Log::Stats(stats) => stats.run(),
            Log::Checkpoint(source) => source.text("checkpoint", |reader, log| {
                Ok(reader.checkpoint(log).map(|c| String::from_utf8_lossy(&c.note).into_owned()))
            }),
            Log::Entries { from, limit, client } => entries(&client, from, limit),
            Log::Proof { index, source } => source.proof(index),
            Log::Entry { index, source } => source.entry(index),
            Log::Mirror { dir, data, tenant } => {
                let written = pedigraph_ledger::mirror(&open_ledger(&data)?, &log_id(&tenant)?, &dir)?;
                say(&format!("{written} files written to {}", dir.display()));
                Ok(())
            }
        }
    }
}

/// `pedigraph log erase`
#[derive(Args, Debug)]
pub(crate) struct Erase {
    /// Ledger indexes of the entries.
    #[arg(required = true)]
    indexes: Vec<u64>,
    /// Why: it is recorded, with the digest of what was erased.
    #[arg(long)]
    reason: String,
    /// Who; recorded too.
    #[arg(long, env = "USER", default_value = "")]
    actor: String,
    /// The server's TOML file, which names its signer; with --data.
    #[arg(long, env = "PEDIGRAPH_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

impl Erase {
    fn run(&self) -> anyhow::Result<()> {
        let said_by = match &self.place.data {
            Some(data) => self.in_directory(&Stopped { data: data.clone(), config: self.config.clone() })?,
            None => self.on_server()?,
        };
        if said_by.is_empty() {
            say("nothing to erase: these bytes are gone already");
        }
        said_by.iter().for_each(|index| put(&format!("erased, which entry {index} says")));
        Ok(())
    }

    /// Indexes of the entries that say so.
    fn in_directory(&self, ledger: &Stopped) -> anyhow::Result<Vec<u64>> {
        let (_, signer) = ledger.ledger()?;
        let tenant = TenantId::new(&self.place.tenant).ok_or_else(|| no_tenant(&self.place.tenant))?;
        let receipts = ledger.record(signer, |processor, _| {
            Ok(processor.erase_blocking(&tenant, &self.indexes, &self.reason, &self.actor)?)
        })?;
        Ok(receipts.iter().map(|receipt| receipt.index).collect())
    }

    /// One request for each; those before one that fails are erased.
    fn on_server(&self) -> anyhow::Result<Vec<u64>> {
        let server = self.place.server();
        let body = json!({ "reason": self.reason, "actor": self.actor }).to_string();
        let mut said_by = Vec::new();
        for index in &self.indexes {
            let path = format!("/api/v1/entries/{index}/erase");
            let answer = server.post(&path, &[("content-type", "application/json")], body.as_bytes())?;
            let answer: Value = serde_json::from_slice(&answer.ok(&self.place.url)?.body)?;
            let receipts = answer["receipts"].as_array().context("the server's answer has no receipts")?;
            said_by.extend(receipts.iter().filter_map(|receipt| receipt["index"].as_u64()));
        }
        Ok(said_by)
    }
}

fn entries(client: &Client, from: u64, limit: u64) -> anyhow::Result<()> {
    let (from, limit) = (from.to_string(), limit.to_string());
    let body = client.server().get("/api/v1/entries", &[("from", Some(&from)), ("limit", Some(&limit))])?;
    let rows = body["entries"].as_array().cloned().unwrap_or_default();
    let columns = [
        ("INDEX", "/index"),
        ("STATUS", "/status"),
        ("TYPE", "/type"),
        ("SUBJECT", "/subject"),
        ("OCCURRED", "/occurredAt"),
        ("LEAF", "/leafHash"),
    ];
    answer(client.output, &body, &rows, &columns);
    Ok(())
}

pub(crate) fn log_id(tenant: &str) -> anyhow::Result<LogId> {
    LogId::new(tenant).ok_or_else(|| no_tenant(tenant))
}

pub(crate) fn no_tenant(name: &str) -> anyhow::Error {
    Failure::error(Exit::Usage, format!("{name:?} is not a tenant: [a-z0-9-]{{1,63}}"))
}

impl Source {
    fn text(
        &self,
        path: &str,
        local: impl Fn(&Reader, &LogId) -> anyhow::Result<Option<String>>,
    ) -> anyhow::Result<()> {
        let log = log_id(&self.place.tenant)?;
        let text = match &self.place.data {
            Some(data) => local(&open_ledger(data)?, &log)?,
            None => Some(self.ask(&format!("/ledger/{}/{path}", self.place.tenant))?),
        };
        let none = || Failure::error(Exit::NotFound, format!("there is no log {:?}", self.place.tenant));
        self.write(text.ok_or_else(none)?.as_bytes())
    }

    fn proof(&self, index: u64) -> anyhow::Result<()> {
        let log = log_id(&self.place.tenant)?;
        let text = match &self.place.data {
            Some(data) => open_ledger(data)?.tlog_proof(&log, index)?,
            None => Some(self.ask(&format!("/api/v1/entries/{index}/proof"))?),
        };
        let none = || Failure::error(Exit::NotFound, format!("no checkpoint covers entry {index} yet"));
        self.write(text.ok_or_else(none)?.as_bytes())
    }

    /// From the data directory, or out of the published bundle that holds it.
    fn entry(&self, index: u64) -> anyhow::Result<()> {
        let log = log_id(&self.place.tenant)?;
        let leaf = match &self.place.data {
            Some(data) => open_ledger(data)?.entry(&log, index)?.map(|entry| entry.leaf.to_vec()),
            None => self.published_entry(index)?,
        };
        let none = || Failure::error(Exit::NotFound, format!("no entry {index} is published (yet)"));
        self.write(&leaf.ok_or_else(none)?)
    }

    fn published_entry(&self, index: u64) -> anyhow::Result<Option<Vec<u8>>> {
        let prefix = format!("/ledger/{}", self.place.tenant);
        let checkpoint = self.ask(&format!("{prefix}/checkpoint"))?;
        let size = checkpoint.split('\n').nth(1).and_then(|size| size.parse().ok()).context("not a checkpoint")?;
        let Some(path) = pedigraph_ledger::bundle_path(index, size) else { return Ok(None) };
        let bundle = self.fetch(&format!("{prefix}/{path}"))?;
        let leaf = pedigraph_ledger::entry_of_bundle(&bundle, index, size);
        Ok(Some(leaf.with_context(|| format!("{path} is not a bundle of this log"))?.to_vec()))
    }

    fn ask(&self, path: &str) -> anyhow::Result<String> {
        Ok(String::from_utf8(self.fetch(path)?)?)
    }

    fn fetch(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        Ok(self.place.server().fetch(path, &[])?.ok(&self.place.url)?.body)
    }

    /// The bytes as they are.
    fn write(&self, bytes: &[u8]) -> anyhow::Result<()> {
        match &self.output {
            Some(file) => std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display())),
            None => {
                put_bytes(bytes);
                Ok(())
            }
        }
    }
}
