//! `pedigraph key …`: look at the key that signs checkpoints, replace it.

use std::path::Path;
use std::sync::Arc;

use clap::Subcommand;
use pedigraph_ledger::{LocalFiles, LogId, Options, Signer, open_reader, public_key, rotate_key};

use crate::offline::Stopped;
use crate::output::{Exit, Failure, put, say};
use crate::signers::VARIABLE;

/// `pedigraph key …`
#[derive(Subcommand, Debug)]
pub(crate) enum Key {
    /// The newest verifier key of each log, where its secret is, and how many keys there were before.
    Show {
        #[command(flatten)]
        ledger: Stopped,
    },
    /// Replace the ledger's key, signed by the old one, and record that. The server must be stopped.
    Rotate {
        #[command(flatten)]
        ledger: Stopped,
        /// The new key is that of the configured signer (PEDIGRAPH_LEDGER_KEY or signer-command) and the old one in the
        /// ledger's file. Without this the new key is made there.
        #[arg(long)]
        to_signer: bool,
    },
}

impl Key {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        match self {
            Key::Show { ledger } => show(ledger),
            Key::Rotate { ledger, to_signer: false } => rotate_into_file(ledger),
            Key::Rotate { ledger, to_signer: true } => rotate_to_signer(ledger),
        }
    }
}

fn show(ledger: &Stopped) -> anyhow::Result<()> {
    let (dir, signer) = ledger.ledger()?;
    let reader = open_reader(&dir)?;
    reader.logs().iter().for_each(|log| put(&reader.vkey(log)));
    let signed_by = match &signer {
        Some(signer) if is_newest(&reader.vkey(&LogId::default_log()), &**signer) => "signed by the configured signer",
        Some(_) => "the configured signer has another key: `pedigraph key rotate --to-signer` changes to it",
        None if dir.join("key").is_file() => "signed by the key in the ledger's file `key`",
        None => "no secret key here: name its signer",
    };
    say(&format!("{signed_by}; {} rotations so far", reader.rotations().len()));
    Ok(())
}

fn rotate_into_file(ledger: &Stopped) -> anyhow::Result<()> {
    let (dir, signer) = ledger.ledger()?;
    rotate(ledger, &dir, signer, None)
}

fn rotate_to_signer(ledger: &Stopped) -> anyhow::Result<()> {
    let (dir, signer) = ledger.ledger()?;
    let none = || Failure::error(Exit::Usage, format!("no signer is configured: set {VARIABLE} or signer-command"));
    rotate(ledger, &dir, None, Some(signer.ok_or_else(none)?))
}

fn rotate(
    ledger: &Stopped,
    dir: &Path,
    old: Option<Arc<dyn Signer>>,
    new: Option<Arc<dyn Signer>>,
) -> anyhow::Result<()> {
    // A rotation before this one may not be in the logs yet.
    ledger.record(old.clone(), |_, _| Ok(()))?;
    let options = Options { signer: old.clone(), ..Options::default() };
    let rotation = rotate_key(dir, &options, new.clone(), Arc::new(LocalFiles))?;
    ledger.record(new, |_, _| Ok(()))?;
    say(&format!("key {} of this ledger signs now, introduced by the one before", rotation.sequence + 1));
    if old.is_some() {
        say(&format!("the old signer is not needed any more: unset {VARIABLE} and signer-command"));
    }
    let reader = open_reader(dir)?;
    reader.logs().iter().for_each(|log| put(&reader.vkey(log)));
    Ok(())
}

/// Whether a signer has the key of a verifier key.
fn is_newest(vkey: &str, signer: &dyn Signer) -> bool {
    public_key(vkey) == Some(signer.public_key())
}
