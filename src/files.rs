//! Files that commands read whole, or write in one step.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::output::{Exit, Failure};

/// A file that takes the place of another in one step, or goes.
pub(crate) struct Draft {
    path: PathBuf,
    pub(crate) file: File,
}

impl Draft {
    pub(crate) fn beside(target: &Path) -> anyhow::Result<Draft> {
        let name = target.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let path = target.with_file_name(format!(".{name}.{}", std::process::id()));
        let cannot = || format!("cannot write {}", path.display());
        let file = File::options().read(true).write(true).create_new(true).open(&path).with_context(cannot)?;
        Ok(Draft { path, file })
    }

    pub(crate) fn become_file(self, target: &Path) -> anyhow::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, target).with_context(|| format!("cannot write {}", target.display()))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone already when it has become the file.
        let _renamed = fs::remove_file(&self.path);
    }
}

/// Writes a file in one step. It is not synced: after a power cut the file may be garbled or empty.
pub(crate) fn replace(target: &Path, text: &[u8]) -> anyhow::Result<()> {
    let draft = target.with_added_extension("tmp");
    fs::write(&draft, text).with_context(|| format!("cannot write {}", draft.display()))?;
    fs::rename(&draft, target).with_context(|| format!("cannot write {}", target.display()))
}

/// A whole file of at most `most` bytes.
pub(crate) fn read_small(file: &Path, most: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // A pipe would be waited for.
    if fs::metadata(file).is_ok_and(|found| !found.is_file()) {
        return Err(Failure::error(Exit::Usage, format!("{} is no regular file", file.display())));
    }
    let open = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    open.take(most as u64 + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {}", file.display()))?;
    if bytes.len() > most {
        return Err(Failure::error(Exit::Usage, format!("{} has more than {most} bytes", file.display())));
    }
    Ok(bytes)
}
