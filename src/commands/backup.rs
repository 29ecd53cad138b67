//! `pedigraph backup`: a copy of a ledger whose server may be running.

use std::path::{Path, PathBuf};

use clap::Args;
use pedigraph_ledger::{Copied, Error, KeyCopy};
use serde_json::json;

use crate::data_dir::ledger_dir;
use crate::output::{Exit, Failure, Format, answer, progress_bar, put, say};

/// `pedigraph backup`
#[derive(Args, Debug)]
pub(crate) struct Backup {
    /// Where the copy goes: an empty directory, or one with an older copy, which is brought up to date.
    to: PathBuf,
    /// Data directory; its server may be running.
    #[arg(long, env = "PEDIGRAPH_DATA", default_value = "pedigraph-data")]
    data: PathBuf,
    /// Copy the ledger's key too. Without it a copy can be restored only with the key given; with it whoever has the
    /// copy can sign in the ledger's name.
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

pub(super) fn with_progress(
    work: impl FnOnce(&mut dyn FnMut(u64, u64)) -> Result<Copied, Error>,
) -> anyhow::Result<Copied> {
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

pub(super) fn print(format: Format, what: &str, copied: &Copied, to: &Path) {
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
