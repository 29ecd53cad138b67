//! `pedigraph log erase`: the received bytes of entries, for good.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use pedigraph_proto::TenantId;
use pedigraph_proto::message::Receipt;
use serde_json::{Value, json};

use crate::arguments::{LogLocation, no_tenant};
use crate::offline::Stopped;
use crate::output::{put, say};

/// What it cannot do, at the end of its help.
pub(super) const LIMITS: &str = "\
What goes: the received bytes (bodies) of these entries, on the disk of this node, for good.

What stays, and why:
  facts, answers, pages    they are made again from the ledger at any time, and each leaf names their digest
  leaves (source, id, subject digests, times, origin)
                           the tree hashes them: without one of them no proof or checkpoint would hold
  tiles and mirrors        they are made of the leaves, and others hold them
  backups, messages in Kafka, the sender's files
                           make each backup anew; delete the others where they are

If a secret is in what stays: revoke it where it was issued. The reason is recorded and stays too: do not quote the
secret. The runbook has more (A secret was recorded), docs/redaction.md says what is overwritten beforehand.";

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
    location: LogLocation,
}

impl Erase {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let said_by = match &self.location.data {
            Some(data) => self.in_directory(&Stopped { data: data.clone(), config: self.config.clone() })?.len(),
            None => self.on_server()?,
        };
        if said_by == 0 {
            say("nothing to erase: these bytes are gone already");
        }
        Ok(())
    }

    /// Indexes of the entries that say so.
    fn in_directory(&self, ledger: &Stopped) -> anyhow::Result<Vec<Receipt>> {
        let (_, signer) = ledger.ledger()?;
        let tenant = TenantId::new(&self.location.tenant).ok_or_else(|| no_tenant(&self.location.tenant))?;
        let receipts = ledger.record(signer, |processor, _| {
            Ok(processor.erase_blocking(&tenant, &self.indexes, &self.reason, &self.actor)?)
        })?;
        receipts.iter().for_each(|receipt| tell(receipt.index));
        Ok(receipts)
    }

    /// One request for each, and how many entries say that something was erased; those before one that fails are
    /// erased, and told.
    fn on_server(&self) -> anyhow::Result<usize> {
        let server = self.location.server();
        let body = json!({ "reason": self.reason, "actor": self.actor }).to_string();
        let mut said_by = 0;
        for index in &self.indexes {
            let path = format!("/api/v1/entries/{index}/erase");
            let answer = server.post(&path, &[("content-type", "application/json")], body.as_bytes())?;
            let answer: Value = serde_json::from_slice(&answer.ok(&self.location.url)?.body)?;
            let receipts = answer["receipts"].as_array().context("the server's answer has no receipts")?;
            let said = receipts.iter().filter_map(|receipt| receipt["index"].as_u64());
            said_by += said.inspect(|index| tell(*index)).count();
        }
        Ok(said_by)
    }
}

fn tell(index: u64) {
    put(&format!("erased, which entry {index} says"));
}
