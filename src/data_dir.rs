//! The ledger in a data directory.

use std::path::{Path, PathBuf};

use pedigraph_ledger::Reader;

use crate::output::{Exit, Failure};

/// Where a ledger is below a data directory.
pub(crate) fn ledger_dir(data: &Path) -> PathBuf {
    let below = data.join("ledger");
    if below.is_dir() { below } else { data.to_owned() }
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

/// For reading; its server may be running.
pub(crate) fn open_ledger(data: &Path) -> anyhow::Result<Reader> {
    Ok(pedigraph_ledger::open_reader(&existing_ledger(data)?)?)
}
