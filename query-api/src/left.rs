//! Directories for files on their way, and what an earlier process left in them.

use std::path::Path;

/// Creates a directory and removes the files in it that have such names. What is no file, such as `lost+found` on a
/// disk of its own, or cannot be removed is named in the log and left alone: nothing of it is ever opened. How many
/// those are is returned.
pub(crate) fn prepare_dir(dir: &Path, is_left: impl Fn(&str) -> bool) -> std::io::Result<usize> {
    std::fs::create_dir_all(dir)?;
    let mut left_alone = 0;
    for file in std::fs::read_dir(dir)? {
        let file = file?;
        if !is_left(&file.file_name().to_string_lossy()) {
            continue;
        }
        // Of a link this is the link itself.
        let removed = match file.file_type() {
            Ok(kind) if kind.is_dir() => Err(std::io::ErrorKind::IsADirectory.into()),
            Ok(_) => std::fs::remove_file(file.path()),
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            tracing::warn!(%error, path = %file.path().display(), "what is in the way here is left alone");
            left_alone += 1;
        }
    }
    Ok(left_alone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_left_alone_and_counted() {
        let dir = tempfile::tempdir().expect("a directory");
        let (at, outside) = (dir.path().join("packs"), dir.path().join("outside"));
        std::fs::create_dir_all(at.join("lost+found")).expect("made");
        std::fs::write(at.join("draft-1"), "x").expect("written");
        std::fs::write(&outside, "y").expect("written");
        std::os::unix::fs::symlink(&outside, at.join("link")).expect("a link");
        assert_eq!(prepare_dir(&at, |_| true).expect("prepared"), 1);
        assert_eq!(std::fs::read_dir(&at).expect("read").count(), 1, "only the directory stays");
        assert_eq!(std::fs::read(&outside).expect("read"), b"y", "a link goes, not what it leads to");
    }
}
