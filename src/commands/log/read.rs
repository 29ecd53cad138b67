//! The commands that print something of a log: from a data directory, or a server's.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use pedigraph_ledger::{LogId, Reader};

use crate::arguments::{Client, Limit, LogLocation, log_id};
use crate::data_dir::open_ledger;
use crate::output::{Exit, Failure, answer, put_bytes};

/// Where `log` commands read, and where they write.
#[derive(Args, Debug)]
pub(crate) struct FromLog {
    #[command(flatten)]
    location: LogLocation,
    /// Write to this file instead of stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl FromLog {
    pub(super) fn text(
        &self,
        path: &str,
        local: impl Fn(&Reader, &LogId) -> anyhow::Result<Option<String>>,
    ) -> anyhow::Result<()> {
        let log = log_id(&self.location.tenant)?;
        let text = match &self.location.data {
            Some(data) => local(&open_ledger(data)?, &log)?,
            None => Some(self.ask(&format!("/ledger/{}/{path}", self.location.tenant))?),
        };
        let none = || Failure::error(Exit::NotFound, format!("there is no log {:?}", self.location.tenant));
        self.write(text.ok_or_else(none)?.as_bytes())
    }

    pub(super) fn proof(&self, index: u64) -> anyhow::Result<()> {
        let log = log_id(&self.location.tenant)?;
        let text = match &self.location.data {
            Some(data) => open_ledger(data)?.tlog_proof(&log, index)?,
            None => Some(self.ask(&format!("/api/v1/entries/{index}/proof"))?),
        };
        let none = || Failure::error(Exit::NotFound, format!("no checkpoint covers entry {index} yet"));
        self.write(text.ok_or_else(none)?.as_bytes())
    }

    /// From the data directory, or out of the published bundle that holds it.
    pub(super) fn entry(&self, index: u64) -> anyhow::Result<()> {
        let log = log_id(&self.location.tenant)?;
        let leaf = match &self.location.data {
            Some(data) => open_ledger(data)?.entry(&log, index)?.map(|entry| entry.leaf.to_vec()),
            None => self.published_entry(index)?,
        };
        let none = || Failure::error(Exit::NotFound, format!("no entry {index} is published (yet)"));
        self.write(&leaf.ok_or_else(none)?)
    }

    fn published_entry(&self, index: u64) -> anyhow::Result<Option<Vec<u8>>> {
        let prefix = format!("/ledger/{}", self.location.tenant);
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
        Ok(self.location.server().fetch(path, &[])?.ok(&self.location.url)?.body)
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

pub(super) fn entries(client: &Client, from: u64, limit: &Limit) -> anyhow::Result<()> {
    let (server, from) = (client.server(), from.to_string());
    let body = server.list("/api/v1/entries", &[("from", Some(&from))], &["entries"], limit.rows())?;
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
    limit.say_if_cut(&body);
    server.up_to_date()
}
