//! Directories for files on their way, and what an earlier process left in them.

use std::path::Path;

/// Creates a directory and removes the files in it that have such names.
pub(crate) fn prepare_dir(dir: &Path, is_left: impl Fn(&str) -> bool) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    for file in std::fs::read_dir(dir)? {
        let file = file?;
        if is_left(&file.file_name().to_string_lossy()) {
            std::fs::remove_file(file.path())?;
        }
    }
    Ok(())
}
