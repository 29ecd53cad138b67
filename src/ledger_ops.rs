//! The commands for running a ledger over years: copies, restoring, what it costs.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use pedigraph_ledger::{Copied, Error, KeyCopy, RestoreOptions};
use serde_json::json;

use crate::config::Config;
use crate::ledger_tools::ledger_dir;
use crate::output::{Exit, Failure, Format, answer, progress_bar, put, say};
use crate::signers;

/// `pedigraph backup`
#[derive(Args, Debug)]
pub(crate) struct Backup {
    /// Where the copy goes: an empty directory, or one with an older copy, which is brought up to date.
    to: PathBuf,
    /// Data directory; its server may be running.
    #[arg(long, env = "PEDIGRAPH_DATA", default_value = "pedigraph-data")]
    data: PathBuf,
    /// Copy the ledger's key too. Without it a copy can be restored only with the key given; with it whoever has the copy can
    /// sign in the ledger's name.
    #[arg(long)]
    with_key: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Backup {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let from = ledger_dir(&self.data);
        let key = if self.with_key { KeyCopy::With } else { KeyCopy::Without };
        let copied = with_progress(|progress| pedigraph_ledger::backup(&from, &self.to, key, progress))?;
        print(self.output, "copied", &copied, &self.to);
        if !copied.has_key {
            let key = from.join("key");
            say(&format!(
                "The copy is without the key: keep {} apart, a restore needs it (or back up with --with-key).",
                key.display()
            ));
        }
        Ok(())
    }
}

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

fn with_progress(work: impl FnOnce(&mut dyn FnMut(u64, u64)) -> Result<Copied, Error>) -> anyhow::Result<Copied> {
    let bar = progress_bar(0, "bytes");
    let outcome = work(&mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    outcome.map_err(|error| {
        if let Error::Corrupt(text) = error {
            return Failure::error(Exit::VerificationFailed, text);
        }
        error.into()
    })
}

fn print(format: Format, what: &str, copied: &Copied, to: &Path) {
    let logs: serde_json::Map<_, _> =
        copied.logs.iter().map(|(log, size)| (log.as_str().to_owned(), json!(size))).collect();
    let body = json!({
        "directory": to, "commits": copied.commits, "logs": logs, "filesWritten": copied.files_written,
        "bytesWritten": copied.bytes_written, "hasKey": copied.has_key,
    });
    if format != Format::Table {
        return answer(format, &body, std::slice::from_ref(&body), &[]);
    }
    let entries: u64 = copied.logs.iter().map(|(_, size)| size).sum();
    put(&format!(
        "{what}: {entries} entries, {} commits in {}; {} files, {} bytes written",
        copied.commits,
        to.display(),
        copied.files_written,
        copied.bytes_written
    ));
}
