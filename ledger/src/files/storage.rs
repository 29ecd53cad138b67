//! The few effects a ledger has on its disk, so that a test can make the n-th one fail or die.
//!
//! Reading is not here: what is read is checked by its reader, whatever the disk did.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, OFlags, SeekFrom};
use rustix::io::Errno;

/// Every way a ledger changes its directory. Nothing is durable before the matching sync. Names are those of the local
/// file system, unless an implementation has its own; files are always its own.
pub trait Storage: Send + Sync {
    /// Creates an empty file, or empties the one that is there; only its owner may read or write it when `private`.
    fn create(&self, path: &Path, access: Access) -> io::Result<Box<dyn StoredFile>>;
    /// Opens an existing file for writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn StoredFile>>;
    /// Opens an existing file for writing whole pages ([`StoredFile::write_pages`]).
    fn open_pages(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        self.open(path)
    }
    /// Renames, replacing what has the new name; durable after [`Storage::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
    /// Creates a directory and its parents; nothing happens to those that are there.
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(path)
    }
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// Who may read a new file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Everybody, as far as the process's umask lets them (mode 0644): copies for a web server.
    Public,
    /// The owner and the group (mode 0640).
    Shared,
    /// The owner alone (mode 0600).
    Private,
}

/// A file opened for writing at given places.
pub trait StoredFile: Send + Sync {
    /// Writes all the bytes at an offset, with one system call unless the kernel writes short.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes what was written durable: one `fdatasync`.
    fn sync(&self) -> io::Result<()>;

    /// [`StoredFile::write_at`] of whole pages, out of memory that starts at a page, in a file of
    /// [`Storage::open_pages`].
    fn write_pages(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_at(bytes, offset)
    }

    /// Gives a file blocks that read as zeros from one offset to another.
    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        self.write_zeros(from, to)
    }

    /// The first offset from which on blocks are given but were not written, so that writing there changes the file's
    /// metadata too; `None` when there is none or it cannot be told.
    fn first_unwritten(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }

    /// Writes zeros from one offset to another, in large pieces.
    fn write_zeros(&self, from: u64, to: u64) -> io::Result<()> {
        let zeros = vec![0; piece_bytes(from, to)];
        each_piece(from, to, |offset, bytes| self.write_at(&zeros[..bytes], offset))
    }
}

/// Directories are for the owner and the group.
const DIR_MODE: u32 = 0o750;
/// Bytes of zeros that are written at once.
const PIECE_BYTES: u64 = 1 << 20;
/// Alignment of file offsets, lengths and memory that every disk takes for direct writes.
pub(crate) const PAGE_BYTES: usize = 4096;
/// Memory that is worth keeping, and may be.
const ROOM_BYTES: std::ops::Range<usize> = 64 << 10..8 << 20;

fn piece_bytes(from: u64, to: u64) -> usize {
    to_usize(PIECE_BYTES.min(to.saturating_sub(from)))
}

fn each_piece(from: u64, to: u64, mut write: impl FnMut(u64, usize) -> io::Result<()>) -> io::Result<()> {
    let mut offset = from;
    while offset < to {
        let bytes = piece_bytes(offset, to);
        write(offset, bytes)?;
        offset += bytes as u64;
    }
    Ok(())
}

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalFiles;

impl Storage for LocalFiles {
    fn create(&self, path: &Path, access: Access) -> io::Result<Box<dyn StoredFile>> {
        let mode = match access {
            Access::Public => 0o644,
            Access::Shared => 0o640,
            Access::Private => 0o600,
        };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(mode);
        // A link that somebody else put there would choose another file.
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        Ok(Box::new(options.open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        Ok(Box::new(OpenOptions::new().write(true).open(path)?))
    }

    /// Past the page cache where the file system allows it.
    fn open_pages(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        let file = OpenOptions::new().write(true).open(path)?;
        let _kept_as_it_is_where_that_cannot_be = set_direct(&file, true);
        Ok(Box::new(file))
    }
}

/// Whether reads and writes go past the page cache.
pub(crate) fn set_direct(file: &File, direct: bool) -> io::Result<()> {
    let mut flags = rustix::fs::fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, direct);
    Ok(rustix::fs::fcntl_setfl(file, flags)?)
}

impl StoredFile for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn write_pages(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.write_all_at(bytes, offset) {
            // What is not a whole number of the disk's blocks goes the usual way, and so does all that follows.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                set_direct(self, false)?;
                self.write_all_at(bytes, offset)
            }
            outcome => outcome,
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, FallocateFlags::empty(), from, to.saturating_sub(from)) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.write_zeros(from, to),
            outcome => Ok(outcome?),
        }
    }

    fn first_unwritten(&self) -> io::Result<Option<u64>> {
        let end = self.metadata()?.len();
        match rustix::fs::seek(self, SeekFrom::Hole(0)) {
            Ok(hole) => Ok((hole < end).then_some(hole)),
            Err(Errno::INVAL | Errno::NXIO | Errno::OPNOTSUPP) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Past the page cache where the file system allows it: zeros are read by nobody, so copying them into memory pages
    /// only to write those out costs more than all else that a journal segment needs.
    fn write_zeros(&self, from: u64, to: u64) -> io::Result<()> {
        let mut zeros = Pages::with_room(piece_bytes(from, to));
        zeros.bytes.resize(zeros.bytes.len() + piece_bytes(from, to), 0);
        let _the_usual_way_where_that_cannot_be = set_direct(self, true);
        let outcome = each_piece(from, to, |offset, bytes| self.write_pages(&zeros.as_ref()[..bytes], offset));
        set_direct(self, false)?;
        outcome
    }
}

/// Bytes that start at a page of memory, so that a disk can fetch them from there.
pub(crate) struct Pages {
    /// What is written, after what is skipped.
    pub(crate) bytes: Vec<u8>,
    start: usize,
    rooms: Rooms,
}

impl Pages {
    /// Nothing yet, and room for so many bytes: with more the memory moves, and may start elsewhere.
    pub(crate) fn with_room(bytes: usize) -> Pages {
        Rooms::keeping(0).pages(bytes)
    }
}

impl AsRef<[u8]> for Pages {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.rooms.keep(std::mem::take(&mut self.bytes));
    }
}

/// Memory that nobody needs any more, for those who need some next: to get as much from the kernel, which fills it with
/// zeros, takes half as long as to hash it.
#[derive(Clone)]
pub(crate) struct Rooms {
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
    kept_max: usize,
}

impl Rooms {
    /// None yet, and at most so many.
    pub(crate) fn keeping(kept_max: usize) -> Rooms {
        Rooms { kept: Arc::default(), kept_max }
    }

    /// Room for so many bytes; it may hold what was in it before.
    pub(crate) fn take(&self, bytes: usize) -> Vec<u8> {
        let kept = if bytes < ROOM_BYTES.start { None } else { lock(&self.kept).pop() };
        kept.filter(|room| room.capacity() >= bytes).unwrap_or_else(|| Vec::with_capacity(bytes))
    }

    /// Nothing yet, and room for so many bytes.
    pub(crate) fn pages(&self, bytes: usize) -> Pages {
        let mut room = self.take(bytes + PAGE_BYTES);
        room.clear();
        let start = to_page(&room);
        room.resize(start, 0);
        Pages { bytes: room, start, rooms: self.clone() }
    }

    pub(crate) fn keep(&self, room: Vec<u8>) {
        let mut kept = lock(&self.kept);
        if ROOM_BYTES.contains(&room.capacity()) && kept.len() < self.kept_max {
            kept.push(room);
        }
    }
}

/// Bytes from the beginning of a vector's memory to the first page in it.
pub(crate) fn to_page(memory: &[u8]) -> usize {
    memory.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES)
}

/// Replaces a small file so that a crash leaves the old or the new content, and returns when the new one is durable.
pub(crate) fn replace(storage: &dyn Storage, path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let tmp = path.with_extension("tmp");
    let file = storage.create(&tmp, access)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    storage.rename(&tmp, path)?;
    storage.sync_dir(dir)
}

/// The content of a file, `None` when there is none.
pub(crate) fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Locks; a panic of another holder leaves nothing half done here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stored number as a length in memory; what does not fit is larger than anything there is.
pub(crate) fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMS_MAX: usize = 2;

    fn kept(rooms: &Rooms) -> Vec<usize> {
        lock(&rooms.kept).iter().map(Vec::capacity).collect()
    }

    #[test]
    fn memory_is_used_again_and_says_nothing_of_before() {
        let rooms = Rooms::keeping(ROOMS_MAX);
        let mut pages = rooms.pages(100_000);
        let place = pages.bytes.as_ptr();
        pages.bytes.extend_from_slice(&[7; 90_000]);
        drop(pages);
        let mut pages = rooms.pages(80_000);
        assert_eq!((pages.bytes.as_ptr(), pages.as_ref()), (place, &[][..]));
        pages.bytes.resize(pages.bytes.len() + 5, 0);
        assert_eq!(pages.as_ref(), [0; 5]);
        assert_eq!(to_page(pages.as_ref()), 0);
        // Larger than what is kept, than what is worth keeping, and more than is kept.
        drop((pages, rooms.pages(200_000)));
        assert_eq!(kept(&rooms).len(), 2);
        let (small, large) = (rooms.pages(100), rooms.pages(ROOM_BYTES.end));
        assert!(small.bytes.capacity() < ROOM_BYTES.start && large.bytes.capacity() > ROOM_BYTES.end);
        assert_eq!(kept(&rooms).len(), 1, "what is too small was freed");
        drop((small, large, rooms.pages(64 << 10), rooms.pages(64 << 10)));
        assert!(kept(&rooms).len() <= ROOMS_MAX && kept(&rooms).iter().all(|bytes| ROOM_BYTES.contains(bytes)));
    }
}
