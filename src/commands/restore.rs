//! `pedigraph restore`: a ledger made of a copy.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use pedigraph_ledger::RestoreOptions;

use super::backup::{print, with_progress};
use crate::config::Config;
use crate::data_dir::ledger_dir;
use crate::output::{Exit, Failure, Format};
use crate::signers;

/// `pedigraph restore`
#[derive(Args, Debug)]
pub(crate) struct Restore {
    /// The copy that `pedigraph backup` made.
    from: PathBuf,
    /// Data directory to restore into: empty, or with an older state of the same ledger; its server is stopped.
    #[arg(long, env = "PEDIGRAPH_DATA", default_value = "pedigraph-data")]
    data: PathBuf,
    /// The ledger's key, where the copy is without it.
    #[arg(long)]
    key: Option<PathBuf>,
    /// A checkpoint that was published (a file, may be given several times): a copy that does not reach it is refused.
    #[arg(long)]
    checkpoint: Vec<PathBuf>,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Restore {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let to = self.data.join("ledger");
        refuse_foreign(&self.data, &to)?;
        let read =
            |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
        let checkpoints = self.checkpoint.iter().map(read).collect::<anyhow::Result<_>>()?;
        let signer = signers::configured(&Config::default())?;
        let options = RestoreOptions { key: self.key.clone(), signer, checkpoints };
        let from = ledger_dir(&self.from);
        let copied = with_progress(|progress| pedigraph_ledger::restore(&from, &to, &options, progress))?;
        let verified = pedigraph_ledger::verify(&to, &mut |_, _| {})?;
        if let Some(fault) = verified.fault {
            return Err(Failure::error(Exit::VerificationFailed, format!("restored, but it does not verify: {fault}")));
        }
        print(self.output, "restored and verified", &copied, &to);
        Ok(())
    }
}

/// Views and known ids that are left of a ledger which is gone may be of another one.
fn refuse_foreign(data: &Path, ledger: &Path) -> anyhow::Result<()> {
    let names = match std::fs::read_dir(data) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        names => names.with_context(|| format!("cannot read {}", data.display()))?,
    };
    if ledger.exists() || names.count() == 0 {
        return Ok(());
    }
    let text = format!("{} is not empty and holds no ledger; name an empty directory", data.display());
    Err(Failure::error(Exit::Usage, text))
}
