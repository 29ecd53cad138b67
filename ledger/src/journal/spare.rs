//! The next journal segment, made while the present one is written.
//!
//! Its blocks are given to it at once. Zeros are written into them only while the journal is idle: a disk that writes
//! zeros has less time for batches, and what a batch overwrites need not be zeros on the disk. It is only faster:
//! writing where nothing was written before changes the file's metadata too, which makes a later `fdatasync` two disk
//! writes instead of one (docs/decisions/011).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::{fs, io};

use crate::Error;
use crate::files::storage::{Access, PAGE_BYTES, Storage, StoredFile, lock};
use crate::journal::fold::Vectors;
use crate::journal::meta::Meta;
use crate::journal::segment::{self, Segment};

/// Zeros that are written at once: what a batch may have to wait for.
const ZEROS_BYTES: u64 = 256 << 10;

/// The thread that makes the next segment.
pub(crate) struct Spare {
    making: JoinHandle<io::Result<()>>,
    pace: Arc<Pace>,
}

/// When zeros may be written.
#[derive(Default)]
pub(crate) struct Pace {
    state: Mutex<PaceState>,
    changed: Condvar,
}

#[derive(Default)]
struct PaceState {
    /// A batch is under way.
    busy: bool,
    /// The segment is needed as it is.
    wanted: bool,
}

impl Pace {
    /// Says whether a batch is under way.
    pub(crate) fn set_busy(&self, busy: bool) {
        let was_busy = std::mem::replace(&mut lock(&self.state).busy, busy);
        if was_busy && !busy {
            self.changed.notify_all();
        }
    }

    /// Waits until no batch is under way; false when the segment is needed.
    fn wait_idle(&self) -> bool {
        let waiting = self.changed.wait_while(lock(&self.state), |state| state.busy && !state.wanted);
        !waiting.unwrap_or_else(PoisonError::into_inner).wanted
    }
}

impl Spare {
    /// Begins to make a segment of so many bytes.
    pub(crate) fn start(dir: &Path, capacity: u64, storage: Arc<dyn Storage>, pace: Arc<Pace>) -> io::Result<Spare> {
        lock(&pace.state).wanted = false;
        let (dir, own) = (dir.to_owned(), Arc::clone(&pace));
        let work = move || {
            let file = allocate(&dir, capacity, &*storage)?;
            write_zeros(&*file, capacity, || own.wait_idle())
        };
        Ok(Spare { making: std::thread::Builder::new().name("ledger-segment".into()).spawn(work)?, pace })
    }

    /// Waits until the segment can be entered, not until its zeros are written.
    pub(crate) fn finish(self) -> io::Result<()> {
        lock(&self.pace.state).wanted = true;
        self.pace.changed.notify_all();
        self.making.join().map_err(|_| io::Error::other("the thread that prepares segments panicked"))?
    }
}

/// Makes the segment at once, with its zeros.
pub(crate) fn make(dir: &Path, capacity: u64, storage: &dyn Storage) -> io::Result<()> {
    let file = allocate(dir, capacity, storage)?;
    write_zeros(&*file, capacity, || true)
}

/// The spare file, which has its name only when all of its blocks are its own.
fn allocate(dir: &Path, capacity: u64, storage: &dyn Storage) -> io::Result<Box<dyn StoredFile>> {
    let path = path(dir);
    if fs::metadata(&path).is_ok_and(|file| file.len() == capacity) {
        return storage.open(&path);
    }
    let tmp = path.with_extension("tmp");
    let file = storage.create(&tmp, Access::Shared)?;
    file.allocate(0, capacity)?;
    file.sync()?;
    storage.rename(&tmp, &path)?;
    Ok(file)
}

/// Writes the zeros that are missing while `go_on` says so, and makes that durable if all are: whoever cannot wait for
/// zeros does not wait for a sync of some.
fn write_zeros(file: &dyn StoredFile, capacity: u64, go_on: impl Fn() -> bool) -> io::Result<()> {
    let Some(mut offset) = file.first_unwritten()? else { return Ok(()) };
    while offset < capacity {
        if !go_on() {
            return Ok(());
        }
        let end = capacity.min(offset + ZEROS_BYTES);
        file.write_zeros(offset, end)?;
        offset = end;
    }
    file.sync()
}

fn path(dir: &Path) -> PathBuf {
    segment::dir_of(dir).join("spare")
}

/// A segment that can be written.
pub(crate) struct Entered {
    pub(crate) segment: Segment,
    pub(crate) file: Box<dyn StoredFile>,
    /// Its first bytes.
    pub(crate) header: Vec<u8>,
}

/// Makes the spare the segment that starts at this state. Its header is durable before it has a segment's name, so a
/// crash leaves no segment or one without commits; the state it states was durable before.
pub(crate) fn enter(
    dir: &Path,
    meta: &Meta,
    vectors: &Vectors,
    base: u64,
    bytes: u64,
    storage: &dyn Storage,
) -> Result<Entered, Error> {
    let tmp = segment::dir_of(dir).join("entered.tmp");
    let entered = prepare(dir, meta, vectors, base, bytes, storage, &tmp).map_err(|error| {
        drop(storage.remove(&tmp));
        Error::while_preparing("the next journal segment", error)
    })?;
    // From here on a failure poisons: the segment may have its name, and then the old one must not grow.
    storage.rename(&tmp, &segment::path_of(dir, vectors.next_seq))?;
    storage.sync_dir(&segment::dir_of(dir))?;
    Ok(entered)
}

fn prepare(
    dir: &Path,
    meta: &Meta,
    vectors: &Vectors,
    base: u64,
    bytes: u64,
    storage: &dyn Storage,
    tmp: &Path,
) -> io::Result<Entered> {
    storage.rename(&path(dir), tmp)?;
    let spare_bytes = fs::metadata(tmp)?.len();
    let measure = segment::encode_header(&vectors.header(*meta.uuid.as_bytes(), base, spare_bytes)).len() as u64;
    let capacity = spare_bytes.max((measure + bytes).next_multiple_of(PAGE_BYTES as u64));
    let header = segment::encode_header(&vectors.header(*meta.uuid.as_bytes(), base, capacity));
    let file = storage.open(tmp)?;
    if capacity > spare_bytes {
        file.allocate(spare_bytes, capacity)?;
    }
    file.write_at(&header, 0)?;
    file.sync()?;
    let segment = Segment { first_seq: vectors.next_seq, base, capacity };
    Ok(Entered { segment, file: storage.open_pages(tmp)?, header })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::storage::LocalFiles;

    const BYTES: u64 = 3 << 20;

    fn zeros(dir: &Path) -> Option<u64> {
        let bytes = fs::read(path(dir)).unwrap();
        assert!(bytes.len() as u64 == BYTES && bytes.iter().all(|byte| *byte == 0));
        LocalFiles.open(&path(dir)).unwrap().first_unwritten().unwrap()
    }

    #[test]
    fn a_segment_that_is_needed_does_not_wait_for_its_zeros() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(segment::dir_of(dir.path())).unwrap();
        let pace = Arc::<Pace>::default();
        pace.set_busy(true);
        let spare = Spare::start(dir.path(), BYTES, Arc::new(LocalFiles), Arc::clone(&pace)).unwrap();
        spare.finish().unwrap();
        // Where a file system cannot give blocks without writing them, they are written.
        assert!([None, Some(0)].contains(&zeros(dir.path())));
        // What is missing is written later.
        pace.set_busy(false);
        make(dir.path(), BYTES, &LocalFiles).unwrap();
        assert_eq!(zeros(dir.path()), None);
    }
}
