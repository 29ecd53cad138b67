//! Opening what others may have put where it is: in a drop directory anybody may have made a link, a pipe or a device
//! of a name, which must neither be followed nor waited for.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};

/// A file of this crate's own is for its user and the group.
const MODE: u32 = 0o640;
/// A directory of this crate's own.
const DIR_MODE: u32 = 0o750;

/// A directory whose names others may change while they are looked at.
pub(crate) struct Folder(OwnedFd);

impl Folder {
    /// That of a configured path, of which links are followed.
    pub(crate) fn open(path: &Path) -> io::Result<Folder> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Folder(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// A folder in it, made if it is not there; an error when the name is a link.
    pub(crate) fn folder(&self, name: &str) -> io::Result<Folder> {
        match rustix::fs::mkdirat(&self.0, name, Mode::from_raw_mode(DIR_MODE)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Folder(rustix::fs::openat(&self.0, name, flags, Mode::empty())?))
    }

    /// A regular file in it, for reading.
    pub(crate) fn file(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        regular(File::from(rustix::fs::openat(&self.0, name, flags, Mode::empty())?))
    }

    /// Gives what has a name, whatever it is, the same name in another folder.
    pub(crate) fn move_to(&self, to: &Folder, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, name, &to.0, name)?)
    }

    /// Whether a name leads to a file or anything else that is no directory; of a link, the link itself.
    pub(crate) fn holds(&self, name: &OsStr) -> bool {
        let found = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|found| !rustix::fs::FileType::from_raw_mode(found.st_mode).is_dir())
    }
}

/// Opens a regular file for reading and writing; no link is followed.
pub(crate) fn existing(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK));
    regular(options.open(path)?)
}

/// How a file of this crate's own is opened that may be there; no link is followed.
pub(crate) fn own() -> OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).create(true).mode(MODE).custom_flags(flags(OFlags::NOFOLLOW));
    options
}

/// Makes a file that nobody else has; what a process that died left under the name goes.
pub(crate) fn new(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true).mode(0o600);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(path)?;
            options.open(path)
        }
        made => made,
    }
}

/// Makes a directory and those above it.
pub(crate) fn dir(path: &Path) -> io::Result<()> {
    std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), DIR_MODE).recursive(true).create(path)
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}
