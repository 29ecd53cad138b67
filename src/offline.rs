//! What is recorded in a ledger whose server is stopped: one process, one writer, no sources.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use pedigraph_ledger::{Hash, LogId, Options, Reader, Signer};
use pedigraph_processor::Processor;
use pedigraph_proto::TenantId;
use pedigraph_proto::event::KeyRotated;

use pedigraph_query_api::app::system_clock as now_ns;

use crate::config::Config;
use crate::data_dir::{existing_ledger, ledger_dir};
use crate::output::say;
use crate::{signers, witnesses};

/// Which ledger, of a server that is stopped.
#[derive(Args, Clone, Debug)]
pub(crate) struct Stopped {
    /// Data directory of a server that is stopped.
    #[arg(long, env = "PEDIGRAPH_DATA", default_value = "pedigraph-data")]
    pub(crate) data: PathBuf,
    /// The server's TOML file, which names its signer.
    #[arg(long, env = "PEDIGRAPH_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

impl Stopped {
    /// Directory and signer.
    pub(crate) fn ledger(&self) -> anyhow::Result<(PathBuf, Option<Arc<dyn Signer>>)> {
        let config = self.config()?;
        Ok((existing_ledger(&self.data)?, signers::configured(&config)?))
    }

    fn config(&self) -> anyhow::Result<Config> {
        let config = self.config.as_deref().map_or_else(|| Ok(Config::default()), Config::read)?;
        Ok(Config { data: self.data.clone(), ..config })
    }

    /// Does something with a running write path, then publishes checkpoints that cover it.
    pub(crate) fn record<T>(
        &self,
        signer: Option<Arc<dyn Signer>>,
        what: impl FnOnce(&Processor, &Reader) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let dir = ledger_dir(&self.data);
        let writer = pedigraph_ledger::open(&dir, &Options { signer, ..Options::default() })?;
        let reader = writer.reader();
        let witnesses = witnesses::configured(&self.config()?)?;
        let mut publisher = witnesses::publisher(&writer, witnesses.as_ref())?;
        let processor = pedigraph_processor::start(writer, pedigraph_processor::Config::new(&self.data))?;
        let outcome = record_rotation(&processor, &reader).and_then(|()| what(&processor, &reader));
        processor.shutdown();
        let done = outcome?;
        match publisher.publish(now_ns()) {
            // The server publishes when its signer answers.
            Err(pedigraph_ledger::Error::Signer(why)) => say(&format!("recorded, but no checkpoint was signed: {why}")),
            published => drop(published.context("cannot publish a checkpoint")?),
        }
        Ok(done)
    }
}

/// Sees to it that every log says which key came last. To be called before anything is published: then a log whose
/// checkpoint is by that key says so already.
pub(crate) fn record_rotation(processor: &Processor, reader: &Reader) -> anyhow::Result<()> {
    let Some(rotation) = reader.rotations().pop() else { return Ok(()) };
    let is_said = |log: &LogId| {
        let note = reader.checkpoint(log).map(|checkpoint| checkpoint.note);
        let text = note.as_deref().and_then(|note| std::str::from_utf8(note).ok());
        text.is_some_and(|text| pedigraph_ledger::verify_checkpoint(text, &reader.vkey(log)).is_ok())
    };
    for log in reader.logs().iter().filter(|log| !is_said(log)) {
        let Some(tenant) = TenantId::new(log.as_str()) else { continue };
        let event = KeyRotated {
            old_key: Hash(rotation.old).to_string(),
            new_key: Hash(rotation.new).to_string(),
            sequence: rotation.sequence,
            note: rotation.note.clone(),
        };
        processor.record_blocking(&tenant, event)?;
    }
    Ok(())
}
