//! `pedigraph log …`: key, entries, proofs, static copies.

mod erase;
mod read;
mod stats;

use std::path::PathBuf;

use clap::Subcommand;
use pedigraph_ledger::{LogId, Reader};

use self::erase::Erase;
use self::read::{FromLog, entries};
use self::stats::Stats;
use crate::arguments::{Client, Limit, log_id};
use crate::data_dir::open_ledger;
use crate::output::say;

/// `pedigraph log …`
#[derive(Subcommand, Debug)]
pub(crate) enum Log {
    /// The newest verifier key: give it to those who check.
    Vkey {
        /// The signed notes by which each key introduced the next, instead: who trusts an older key can follow them.
        #[arg(long)]
        chain: bool,
        #[command(flatten)]
        from: FromLog,
    },
    /// The newest checkpoint.
    Checkpoint(FromLog),
    /// Entries, oldest first.
    Entries {
        /// Begin at this index.
        #[arg(long, default_value_t = 0)]
        from: u64,
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        client: Client,
    },
    /// The inclusion proof of an entry (C2SP tlog-proof), to be checked offline by `verify --proof`.
    Proof {
        /// Ledger index.
        index: u64,
        #[command(flatten)]
        from: FromLog,
    },
    /// Erase the received bytes of entries for good: a server does it while it runs, or a data directory whose server
    /// is stopped. The entries, their proofs and all answers stay; the ledger still verifies.
    #[command(after_long_help = erase::LIMITS)]
    Erase(Erase),
    /// The bytes of an entry as the tree hashes them: its leaf.
    Entry {
        /// Ledger index.
        index: u64,
        #[command(flatten)]
        from: FromLog,
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
            Log::Vkey { chain: false, from } => {
                // Of a log that is not there a key would be made up.
                let is_there = |reader: &Reader, log: &LogId| reader.head(log).size > 0 || log.as_str() == "default";
                from.text("vkey", |reader, log| Ok(is_there(reader, log).then(|| format!("{}\n", reader.vkey(log)))))
            }
            Log::Vkey { chain: true, from } => from.text("keys", |reader, _| Ok(Some(reader.key_chain()))),
            Log::Erase(erase) => erase.run(),
            Log::Stats(stats) => stats.run(),
            Log::Checkpoint(from) => from.text("checkpoint", |reader, log| {
                Ok(reader.checkpoint(log).map(|c| String::from_utf8_lossy(&c.note).into_owned()))
            }),
            Log::Entries { from, limit, client } => entries(&client, from, &limit),
            Log::Proof { index, from } => from.proof(index),
            Log::Entry { index, from } => from.entry(index),
            Log::Mirror { dir, data, tenant } => {
                let written = pedigraph_ledger::mirror(&open_ledger(&data)?, &log_id(&tenant)?, &dir)?;
                say(&format!("{written} files written to {}", dir.display()));
                Ok(())
            }
        }
    }
}
