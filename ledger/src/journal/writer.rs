//! The one writer: a batch becomes frames, the frames one write and one `fdatasync`, and then it is durable, visible
//! and acknowledged, in this order. While one batch goes to the disk (`write_queue.rs`) the next may be encoded.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::bodies::blobs::{self, Blobs};
use crate::bodies::erase;
use crate::derived::deriver::Deriver;
use crate::derived::index::CommitPlace;
use crate::files::storage::{LocalFiles, PAGE_BYTES, Pages, Rooms, Storage, StoredFile, to_usize};
use crate::journal::fold::{Touched, Vectors};
use crate::journal::frame::{self, CommitFrame, HEAD_BYTES, Kind, REF_BYTES};
use crate::journal::leaves::Hasher;
use crate::journal::meta::Meta;
use crate::journal::recover::{Recovered, recover, zero_sectors};
use crate::journal::segment::{self, Segment};
use crate::journal::spare::{self, Entered, Pace, Spare};
use crate::journal::write_queue::{BatchWrite, WriteQueue};
use crate::publish::{keys, stored};
use crate::read::open_ledger::{LAG_ENTRIES_MAX, Landed, OpenLedger, Recent};
use crate::tree::merkle::{self, WIDTH, digest};
use crate::{
    Batch, Content, Error, Hash, INLINE_BYTES_MAX, LEAF_BYTES_MAX, LogId, Options, Part, PartRef, Reader, Receipt,
    Signer,
};

/// Largest batch, bytes of frames.
const BATCH_BYTES_MAX: usize = 1 << 30;
/// Largest key of a position and name of a source, bytes.
const KEY_BYTES_MAX: usize = 4096;
/// Facts chunks of one entry.
const FACTS_MAX: usize = 65_535;
/// Batches that are encoded and not durable: while one is written the next one waits, so that a slow write does not
/// stop the encoding.
pub const UNDER_WAY_MAX: usize = 2;
/// Memory of written batches that is kept for the next ones.
const ROOMS_MAX: usize = 2;
/// Smallest and largest segment.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 30;
/// The first segment is small, each next one eight times as large up to the chosen size: a new ledger opens at once.
const FIRST_SEGMENT_BYTES: u64 = 1 << 20;
const SEGMENT_GROWTH: u64 = 8;
/// Facts chunks whose place is remembered, so that the same facts are stored once.
const FACTS_REMEMBERED: usize = 8192;
/// Smaller chunks are stored each time: a reference to one costs about as much to find as the bytes to write.
const REMEMBERED_BYTES_MIN: usize = 512;

/// Who prepares segments and writes derived files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// Threads of the writer's own.
    Background,
    /// The caller of [`Writer::append`], after the batch is durable: every effect in one order, for tests.
    Inline,
}

/// The single writer of a ledger directory.
pub struct Writer {
    pub(crate) shared: Arc<OpenLedger>,
    pub(crate) storage: Arc<dyn Storage>,
    /// Who signs, unless the key is in its file.
    pub(crate) signer: Option<Arc<dyn Signer>>,
    /// The state after all that was submitted.
    vectors: Vectors,
    segment: Segment,
    file: Arc<dyn StoredFile>,
    /// Where the next batch begins in the segment.
    offset: u64,
    /// What the page in which the next batch begins holds before it: whole pages are written.
    page: Bytes,
    rooms: Rooms,
    facts: RememberedFacts,
    epoch: u64,
    poisoned: bool,
    given_back: Option<Batch>,
    work: Work,
    hasher: Hasher,
    writes: WriteQueue,
    /// The batches that the disk has not written yet, oldest first.
    under_way: VecDeque<UnderWay>,
    /// Receipts of batches that are durable, for [`Writer::landed`].
    receipts: VecDeque<Vec<Receipt>>,
    pace: Arc<Pace>,
    spare: Option<Spare>,
    deriver: Option<Deriver>,
    deriving: Option<JoinHandle<()>>,
    /// Held until the writer is gone; the kernel releases it when the process dies.
    _lock: Lock,
}

/// Opens (creating if absent) a ledger for writing: takes the lock, recovers, cuts an uncommitted tail, refuses what
/// DESIGN §4 names.
///
/// # Errors
/// [`Error::Locked`], [`Error::Corrupt`] when something acknowledged is missing or changed, [`Error::Refused`] for
/// unusable options, [`Error::Io`].
pub fn open(dir: &Path, options: &Options) -> Result<Writer, Error> {
    open_with(dir, options, Arc::new(LocalFiles), Work::Background)
}

/// [`open`] with another storage.
pub fn open_with(dir: &Path, options: &Options, storage: Arc<dyn Storage>, work: Work) -> Result<Writer, Error> {
    if !SEGMENT_BYTES.contains(&options.segment_bytes) {
        return Err(Error::Refused(format!(
            "segments of {} bytes: {SEGMENT_BYTES:?} are possible",
            options.segment_bytes
        )));
    }
    storage.create_dir(dir)?;
    let lock = take_lock(dir)?;
    let meta = match Meta::load(dir)? {
        Some(meta) => meta,
        None => create(dir, options, &*storage)?,
    };
    remove_leftovers(dir, &*storage)?;
    keys::finish_rotation(dir, &meta.keys, &*storage)?;
    let mut segments = segment::list(dir)?;
    if segments.is_empty() {
        segments.push(first_segment(dir, &meta, &*storage)?);
    }
    erase::finish_interrupted(dir, &meta, &segments, &*storage)?;
    let recovered = recover(dir, &meta, &*storage, segments)?;
    start(dir, meta, recovered, storage, options.signer.clone(), work, lock)
}

/// The lock of the one writer.
pub(crate) struct Lock(File);

impl Drop for Lock {
    /// Closing the file would not do: a child process that is just being started, such as a signer, has it open too.
    fn drop(&mut self) {
        drop(self.0.unlock());
    }
}

/// Keeps every other writer out until it is dropped.
pub(crate) fn take_lock(dir: &Path) -> Result<Lock, Error> {
    let file = File::options().create(true).truncate(false).write(true).mode(0o640).open(dir.join("LOCK"))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(dir.to_owned())),
        Err(TryLockError::Error(e)) => Err(e.into()),
    }
}

/// The key, then the description: a directory with a description has had a key.
fn create(dir: &Path, options: &Options, storage: &dyn Storage) -> Result<Meta, Error> {
    let remains = !segment::list(dir)?.is_empty() || dir.join("logs").exists();
    if remains {
        return Err(Error::Corrupt(format!(
            "{} has a journal or logs but no file `ledger`; restore that file from a copy",
            dir.display()
        )));
    }
    let public_key = match &options.signer {
        Some(signer) => signer.public_key(),
        None => keys::create_key(dir, storage)?.public_key(),
    };
    let meta = Meta::new(options, public_key)?;
    storage.create_dir(&segment::dir_of(dir))?;
    meta.store(storage, dir)?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        storage.sync_dir(parent)?;
    }
    Ok(meta)
}

fn first_segment(dir: &Path, meta: &Meta, storage: &dyn Storage) -> Result<Segment, Error> {
    let capacity = meta.segment_bytes.min(FIRST_SEGMENT_BYTES);
    spare::make(dir, capacity, storage)?;
    spare::enter(dir, meta, &Vectors::default(), 0, 0, storage).map(|entered| entered.segment)
}

fn start(
    dir: &Path,
    meta: Meta,
    recovered: Recovered,
    storage: Arc<dyn Storage>,
    signer: Option<Arc<dyn Signer>>,
    work: Work,
    lock: Lock,
) -> Result<Writer, Error> {
    let Recovered { vectors, state, segment, offset, erasures } = recovered;
    let path = segment::path_of(dir, segment.first_seq);
    let file = storage.open_pages(&path)?.into();
    let epoch = vectors.epoch.saturating_add(1);
    let shared = OpenLedger::new(dir, meta, state, None);
    // Every other commit's were carried out before the commit after it was made.
    erase::erase(&shared, &*storage, &erase::targets(&shared, &erasures)?)?;
    blobs::collect(&shared, &*storage)?;
    stored::publish_empty_default(&shared, &*storage, signer.as_ref())?;
    stored::check_older(&Reader(Arc::clone(&shared)))?;
    let (hasher, writes) = match work {
        Work::Background => (Hasher::with_thread()?, WriteQueue::with_thread()?),
        Work::Inline => (Hasher::inline(), WriteQueue::inline()),
    };
    let mut writer = Writer {
        deriver: Some(Deriver::new(Arc::clone(&shared), Arc::clone(&storage))),
        shared,
        storage,
        signer,
        vectors,
        segment,
        file,
        offset,
        page: page_before(&path, offset)?,
        rooms: Rooms::keeping(ROOMS_MAX),
        facts: RememberedFacts::default(),
        epoch,
        poisoned: false,
        given_back: None,
        work,
        hasher,
        writes,
        under_way: VecDeque::new(),
        receipts: VecDeque::new(),
        pace: Arc::default(),
        spare: None,
        deriving: None,
        _lock: lock,
    };
    writer.start_work()?;
    Ok(writer)
}

/// What the page at an offset of a file holds before it.
fn page_before(path: &Path, offset: u64) -> io::Result<Bytes> {
    let bytes = offset % PAGE_BYTES as u64;
    Ok(segment::read_at(&File::open(path)?, offset - bytes, to_usize(bytes))?.into())
}

/// Half-made files of a crash. The spare segment itself is kept: it has its name only when it is whole.
fn remove_leftovers(dir: &Path, storage: &dyn Storage) -> Result<(), Error> {
    let journal = segment::dir_of(dir);
    if !journal.is_dir() {
        storage.create_dir(&journal)?;
        storage.sync_dir(dir)?;
    }
    for name in fs::read_dir(&journal)? {
        let path = name?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            storage.remove(&path)?;
        }
    }
    Ok(())
}

impl Writer {
    /// The commit time to use for a batch made at `now_ns`: never lower than the last commit's.
    pub fn next_time(&self, now_ns: i64) -> i64 {
        now_ns.max(self.vectors.time_ns)
    }

    /// Size of a log, counting all that was submitted; 0 for one that does not exist.
    pub fn size(&self, log: &LogId) -> u64 {
        self.vectors.size(log)
    }

    /// Positions as what was submitted last left them: opaque key to next offset.
    pub fn positions(&self) -> &BTreeMap<Bytes, u64> {
        &self.vectors.positions
    }

    /// The shared store of large facts chunks.
    pub fn blobs(&self) -> Blobs {
        Blobs::new(&self.shared, Content::Facts, Arc::clone(&self.storage))
    }

    /// The shared store of large bodies. What was erased there is not stored again.
    pub fn bodies(&self) -> Blobs {
        Blobs::new(&self.shared, Content::Body, Arc::clone(&self.storage))
    }

    /// A reader of the same ledger in this process: sees each commit as soon as it is durable.
    pub fn reader(&self) -> Reader {
        Reader(Arc::clone(&self.shared))
    }

    /// Appends one batch durably: [`Writer::submit`], then [`Writer::landed`] until this batch has. Its receipts come
    /// back.
    ///
    /// # Errors
    /// As [`Writer::submit`].
    pub fn append(&mut self, batch: Batch) -> Result<Vec<Receipt>, Error> {
        self.submit(batch)?;
        let mut last = Vec::new();
        while let Some(receipts) = self.landed()? {
            last = receipts;
        }
        Ok(last)
    }

    /// Begins to append one batch. It is encoded while those before it go to the disk. Returns when at most
    /// [`UNDER_WAY_MAX`] are not durable, this one among them.
    /// After [`Error::Io`] the writer is poisoned and every later call fails. After [`Error::Full`] the
    /// batch can be had back by [`Writer::given_back`], for another try.
    ///
    /// Bodies that the batch erases are gone from the disk when this returns; after a crash, when the ledger is open
    /// again.
    ///
    /// A batch without entries, positions and duplicates writes nothing. One that is larger than a segment gets a
    /// segment as large as it needs.
    ///
    /// # Errors
    /// [`Error::Refused`] when the batch breaks a limit, and [`Error::Full`] when there is no room for another segment:
    /// nothing was written of it and the writer goes on; [`Error::Io`] when it is unknown whether what was submitted is
    /// durable: the process must stop, and opening the ledger again tells.
    pub fn submit(&mut self, batch: Batch) -> Result<(), Error> {
        let bytes_max = match self.find_room(&batch) {
            Ok(bytes_max) => bytes_max,
            Err(error) => {
                self.given_back = matches!(error, Error::Full(_)).then_some(batch);
                return Err(error);
            }
        };
        if writes_nothing(&batch) {
            self.land()?;
            self.receipts.push_back(Vec::new());
            return Ok(());
        }
        if !batch.erasures.is_empty() {
            self.land()?;
        }
        self.pace.set_busy(true);
        let targets = erase::targets(&self.shared, &batch.erasures)?;
        let (staged, job) = self.encode(batch, bytes_max);
        // The next one goes to the disk before anybody hears of the last one: the disk is what is waited for.
        let before = if self.under_way.len() < UNDER_WAY_MAX { None } else { self.wait_for_disk()? };
        let outcome = self.writes.start(job);
        self.poison_unless_ok(outcome.map_err(Error::from))?;
        self.under_way.push_back(staged);
        before.map_or(Ok(()), |before| self.show(before))?;
        if targets.is_empty() {
            return Ok(());
        }
        self.land()?;
        let outcome = erase::erase(&self.shared, &*self.storage, &targets).and_then(|()| self.read_page());
        self.poison_unless_ok(outcome)
    }

    /// Waits until the oldest batch that was submitted is durable, and gives its receipts, once; `None` when there is
    /// none.
    ///
    /// # Errors
    /// [`Error::Io`] as [`Writer::submit`].
    pub fn landed(&mut self) -> Result<Option<Vec<Receipt>>, Error> {
        if self.receipts.is_empty() {
            self.land_one()?;
        }
        Ok(self.receipts.pop_front())
    }

    /// Makes all that was submitted durable and visible.
    fn land(&mut self) -> Result<(), Error> {
        while !self.under_way.is_empty() {
            self.land_one()?;
        }
        Ok(())
    }

    fn land_one(&mut self) -> Result<(), Error> {
        let landed = self.wait_for_disk()?;
        self.pace.set_busy(!self.under_way.is_empty());
        landed.map_or(Ok(()), |landed| self.show(landed))
    }

    /// The oldest batch that was under way, which is durable now.
    fn wait_for_disk(&mut self) -> Result<Option<UnderWay>, Error> {
        let Some(staged) = self.under_way.pop_front() else { return Ok(None) };
        let outcome = self.writes.finish().map_err(Error::from);
        self.poison_unless_ok(outcome).map(|()| Some(staged))
    }

    /// Shows what is durable.
    fn show(&mut self, staged: UnderWay) -> Result<(), Error> {
        let UnderWay { place, frames, entries, tiles, commit, blobs } = staged;
        let receipt =
            |(log, entry): &(LogId, Recent), index: u64| Receipt { log: log.clone(), index, leaf_hash: entry.hash };
        self.receipts.push_back(entries.iter().map(|(entry, index)| receipt(entry, *index)).collect());
        let mut landed = entries.into_iter().map(|(entry, _)| entry);
        let (seq, heads) = (commit.seq, &commit.heads);
        self.shared.land(Landed { seq, place, frames, heads, entries: &mut landed, tiles });
        blobs::named(&self.shared, &*self.storage, &blobs);
        if self.work == Work::Inline {
            let outcome = self.deriver.as_mut().map_or(Ok(()), Deriver::step);
            self.poison_unless_ok(outcome)?;
        }
        Ok(())
    }

    /// After the journal was changed in place.
    fn read_page(&mut self) -> Result<(), Error> {
        self.shared.durable().forget_frames();
        self.page = page_before(&segment::path_of(&self.shared.dir, self.segment.first_seq), self.offset)?;
        Ok(())
    }

    /// The batch that the last [`Writer::submit`] found no room for.
    pub fn given_back(&mut self) -> Option<Batch> {
        self.given_back.take()
    }

    /// Goes on in a new segment when the batch may not fit into this one. Returns how many bytes the batch has at most.
    fn find_room(&mut self, batch: &Batch) -> Result<usize, Error> {
        self.check_usable()?;
        let bytes_max = check(batch, self)?;
        if !writes_nothing(batch) && self.offset + bytes_max as u64 > self.segment.capacity {
            // The new segment's header states what is durable.
            self.land()?;
            let outcome = self.enter_next_segment(bytes_max as u64);
            self.poison_unless_ok(outcome)?;
        }
        Ok(bytes_max)
    }

    fn check_usable(&mut self) -> Result<(), Error> {
        let failed = match self.work {
            Work::Background => {
                let ready = |state: &crate::read::open_ledger::Durable| {
                    state.lag_entries < LAG_ENTRIES_MAX || state.failed.is_some() || state.full.is_some()
                };
                let state = self.shared.wait_until(ready);
                if let Some(why) = state.full.clone().filter(|_| state.lag_entries >= LAG_ENTRIES_MAX) {
                    return Err(Error::Full(why));
                }
                state.failed.clone()
            }
            Work::Inline => None,
        };
        self.poisoned |= failed.is_some();
        match (self.poisoned, failed) {
            (false, _) => Ok(()),
            (true, None) => {
                Err(io::Error::other("an earlier write failed; stop the process, starting it again repairs").into())
            }
            (true, Some(why)) => {
                Err(io::Error::other(format!("derived files cannot be written ({why}); stop the process")).into())
            }
        }
    }

    fn poison_unless_ok<T>(&mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        self.poisoned |= outcome.as_ref().is_err_and(|error| !matches!(error, Error::Full(_)));
        outcome
    }

    /// Turns a batch into frames and takes over the state after it: a failure from here on poisons.
    fn encode(&mut self, mut batch: Batch, bytes_max: usize) -> (UnderWay, BatchWrite) {
        let blobs = blobs_named(&batch);
        let count = batch.entries.len();
        let leaves = self.hasher.start(std::mem::take(&mut batch.entries));
        let pages = self.rooms.pages(self.page.len() + bytes_max + PAGE_BYTES);
        let mut draft =
            PendingCheckpoint::new(pages, &self.page, self.segment.base + self.offset, self.shared.meta.salt);
        let mut touched = Touched::default();
        let mut refs = Sha256::new();
        let (mut entries, mut tiles) = (Vec::with_capacity(count), Vec::new());
        for (new, hash) in leaves.hashed() {
            let facts: Vec<_> = new.facts.iter().map(|part| draft.put_facts(part, &mut self.facts)).collect();
            let body = new.body.as_ref().map(|part| draft.put_part(Content::Body, part));
            let edge = touched.edge(&new.log, &self.vectors);
            entries.push(((new.log.clone(), Recent { at: draft.here(), hash }), edge.size()));
            draft.put(Kind::Entry, |out| {
                frame::put_entry(out, &new.log, edge.size(), &new.leaf);
                let from = out.len();
                frame::put_refs(out, &facts, body.as_ref());
                refs.update(&out[from..]);
            });
            if let Some(root) = edge.push(hash) {
                tiles.push((new.log.clone(), edge.size() / WIDTH - 1, root));
            }
        }
        let (commit, hash) = self.put_commit(&mut draft, batch, count, &touched, Hash(refs.finalize().into()));
        self.vectors.adopt(touched, &commit, hash);
        let (frames, job) = self.finish_draft(draft);
        let place = CommitPlace {
            at: self.segment.base + self.offset,
            bytes: u32::try_from(frames.len()).expect("append refuses larger batches"),
            time_ns: commit.time_ns,
        };
        self.offset += frames.len() as u64;
        (UnderWay { place, frames, entries, tiles, commit, blobs }, job)
    }

    /// Appends the commit frame; returns it with its hash.
    fn put_commit(
        &self,
        draft: &mut PendingCheckpoint,
        batch: Batch,
        entries: usize,
        touched: &Touched,
        refs: Hash,
    ) -> (CommitFrame, Hash) {
        let commit = CommitFrame {
            seq: self.vectors.next_seq,
            previous: self.vectors.last_commit.0,
            epoch: self.epoch,
            time_ns: self.next_time(batch.time_ns),
            entries: u32::try_from(entries).expect("a batch has fewer bytes"),
            zero_sectors: zero_sectors(draft.frames(), self.offset),
            refs,
            heads: touched.heads(),
            positions: batch.positions,
            duplicates: batch.duplicates,
            erasures: batch.erasures,
        };
        let start = draft.frames().len() + HEAD_BYTES;
        draft.put(Kind::Commit, |out| commit.put(out));
        let hash = frame::commit_hash(&draft.frames()[start..]);
        (commit, hash)
    }

    /// The frames, and the write of the whole pages that hold them: with the bytes before them in the first page, and
    /// zeros behind them in the last one. The kernel, which need not have these pages in memory, would have to read
    /// them if only a part were written.
    fn finish_draft(&mut self, mut draft: PendingCheckpoint) -> (Bytes, BatchWrite) {
        let (before, bytes) = (self.page.len(), draft.frames().len());
        let end = self.offset + bytes as u64;
        let page_end = end.next_multiple_of(PAGE_BYTES as u64).min(self.segment.capacity);
        let padding = to_usize(page_end.saturating_sub(end));
        draft.pages.bytes.resize(draft.pages.bytes.len() + padding, 0);
        let pages = Bytes::from_owner(draft.pages);
        let written = before + bytes;
        self.page = pages.slice(written - to_usize(end % PAGE_BYTES as u64)..written);
        let job =
            BatchWrite { file: Arc::clone(&self.file), offset: self.offset - before as u64, pages: pages.clone() };
        (pages.slice(before..written), job)
    }

    /// Goes on in a new segment that holds at least `bytes` of batch. The rest of the old one stays zeros.
    fn enter_next_segment(&mut self, bytes: u64) -> Result<(), Error> {
        let dir = &self.shared.dir;
        let made = match self.spare.take() {
            Some(spare) => spare.finish(),
            None => spare::make(dir, self.next_capacity(), &*self.storage),
        };
        made.map_err(|error| Error::while_preparing("the next journal segment", error))?;
        // A segment without commits has the name that the next one would get, and is replaced.
        let empty = self.segment.first_seq == self.vectors.next_seq;
        let base = if empty { self.segment.base } else { self.segment.end() };
        let Entered { segment, file, header } =
            spare::enter(dir, &self.shared.meta, &self.vectors, base, bytes, &*self.storage)?;
        (self.segment, self.offset, self.file) = (segment, header.len() as u64, file.into());
        self.page = Bytes::from(header).split_off(to_usize(self.offset / PAGE_BYTES as u64) * PAGE_BYTES);
        self.shared.durable().enter_segment(segment);
        if self.work == Work::Background {
            self.start_spare()?;
        }
        Ok(())
    }

    fn next_capacity(&self) -> u64 {
        self.segment.capacity.saturating_mul(SEGMENT_GROWTH).min(self.shared.meta.segment_bytes)
    }

    fn start_work(&mut self) -> Result<(), Error> {
        match self.work {
            Work::Inline => self.deriver.as_mut().map_or(Ok(()), |deriver| {
                deriver.backfill()?;
                deriver.step()
            }),
            Work::Background => {
                let deriver = self.deriver.take().expect("work starts once");
                self.deriving =
                    Some(std::thread::Builder::new().name("ledger-derive".into()).spawn(move || deriver.run())?);
                self.start_spare()
            }
        }
    }

    fn start_spare(&mut self) -> Result<(), Error> {
        let (dir, storage) = (&self.shared.dir, Arc::clone(&self.storage));
        self.spare = Some(Spare::start(dir, self.next_capacity(), storage, Arc::clone(&self.pace))?);
        Ok(())
    }
}

fn writes_nothing(batch: &Batch) -> bool {
    batch.entries.is_empty() && batch.positions.is_empty() && batch.duplicates.is_empty()
}

/// The blobs that a batch names.
fn blobs_named(batch: &Batch) -> Vec<(Content, Hash)> {
    let blob = |content, part: &Part| match part {
        Part::Blob { digest, .. } => Some((content, *digest)),
        Part::Inline(_) | Part::Hashed { .. } => None,
    };
    let of_entries = batch.entries.iter().flat_map(|new| {
        let facts = new.facts.iter().filter_map(|part| blob(Content::Facts, part));
        facts.chain(new.body.iter().filter_map(|part| blob(Content::Body, part)))
    });
    of_entries.collect()
}

impl Drop for Writer {
    /// Lets the derived files catch up, so that the next opening finds them whole.
    fn drop(&mut self) {
        // Whoever submitted it and did not wait does not hear of it; the next opening finds it, whole or not at all.
        let _nobody_waits = self.land();
        self.shared.change(|state| state.stop = true);
        if let Some(deriving) = self.deriving.take() {
            drop(deriving.join());
        }
        if let Some(spare) = self.spare.take() {
            drop(spare.finish());
        }
    }
}

/// A batch that is encoded and goes to the disk.
struct UnderWay {
    place: CommitPlace,
    frames: Bytes,
    /// Entries with their indexes.
    entries: Vec<((LogId, Recent), u64)>,
    /// Tiles of leaves that it fills: log, number, root.
    tiles: Vec<(LogId, u64, Hash)>,
    commit: CommitFrame,
    /// The blobs that it names.
    blobs: Vec<(Content, Hash)>,
}

/// The frames of a batch while it is encoded, behind what their first page holds already.
struct PendingCheckpoint {
    pages: Pages,
    /// Where they begin.
    from: usize,
    /// The journal position of that.
    at: u64,
    salt: u32,
}

impl PendingCheckpoint {
    fn new(mut pages: Pages, page: &[u8], at: u64, salt: u32) -> PendingCheckpoint {
        pages.bytes.extend_from_slice(page);
        let from = pages.bytes.len();
        PendingCheckpoint { pages, from, at, salt }
    }

    /// The frames so far.
    fn frames(&self) -> &[u8] {
        &self.pages.bytes[self.from..]
    }

    /// The journal position of the next one.
    fn here(&self) -> u64 {
        self.at + self.frames().len() as u64
    }

    fn put(&mut self, kind: Kind, fill: impl FnOnce(&mut Vec<u8>)) {
        frame::write(&mut self.pages.bytes, self.salt, kind, fill);
    }

    /// Appends a facts chunk unless the journal has it.
    fn put_facts(&mut self, part: &Part, seen: &mut RememberedFacts) -> PartRef {
        let Some((bytes, digest)) = inline(part) else { return self.put_part(Content::Facts, part) };
        if bytes.len() < REMEMBERED_BYTES_MIN {
            return self.put_inline(Content::Facts, bytes, digest);
        }
        if let Some(at) = seen.places.get(&digest) {
            return PartRef { digest, size: bytes.len() as u64, at: Some(*at), content: Content::Facts, bytes: None };
        }
        let written = self.put_inline(Content::Facts, bytes, digest);
        written.at.into_iter().for_each(|at| seen.remember(digest, at));
        written
    }

    fn put_part(&mut self, content: Content, part: &Part) -> PartRef {
        match part {
            Part::Inline(bytes) => self.put_inline(content, bytes, digest(bytes)),
            Part::Hashed { bytes, digest } => self.put_inline(content, bytes, *digest),
            Part::Blob { digest, size } => PartRef { digest: *digest, size: *size, at: None, content, bytes: None },
        }
    }

    fn put_inline(&mut self, content: Content, bytes: &Bytes, digest: Hash) -> PartRef {
        let at = self.here();
        self.put(content.kind(), |out| out.extend_from_slice(bytes));
        PartRef { digest, size: bytes.len() as u64, at: Some(at), content, bytes: None }
    }
}

/// Places of facts chunks that were written lately.
#[derive(Default)]
struct RememberedFacts {
    places: BTreeMap<Hash, u64>,
    order: VecDeque<Hash>,
}

impl RememberedFacts {
    fn remember(&mut self, digest: Hash, at: u64) {
        if self.order.len() >= FACTS_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.places.remove(&oldest);
        }
        self.places.insert(digest, at);
        self.order.push_back(digest);
    }
}

/// The bytes and digest of a part that travels in the journal.
fn inline(part: &Part) -> Option<(&Bytes, Hash)> {
    match part {
        Part::Inline(bytes) => Some((bytes, digest(bytes))),
        Part::Hashed { bytes, digest } => Some((bytes, *digest)),
        Part::Blob { .. } => None,
    }
}

/// Refuses what breaks a limit; returns how many bytes the batch has at most.
fn check(batch: &Batch, writer: &Writer) -> Result<usize, Error> {
    let refused = |why: String| Err(Error::Refused(why));
    let (blobs, bodies) = (writer.blobs(), writer.bodies());
    let mut bytes = 1024;
    bytes += erase::check(batch, &writer.reader(), |log| writer.size(log))?;
    for new in &batch.entries {
        if new.leaf.is_empty() || new.leaf.len() > LEAF_BYTES_MAX {
            return refused(format!("leaf of {} bytes: 1 to {LEAF_BYTES_MAX} are possible", new.leaf.len()));
        }
        if new.facts.len() > FACTS_MAX {
            return refused(format!("{} facts chunks of one entry: at most {FACTS_MAX}", new.facts.len()));
        }
        // Each entry may be the first of its log in the batch, which the commit then names.
        bytes += new.leaf.len() + 2 * HEAD_BYTES + 3 * 64 + 64;
        for part in &new.facts {
            bytes += REF_BYTES + HEAD_BYTES + check_part(part, &blobs)?;
        }
        if let Some(part) = &new.body {
            bytes += REF_BYTES + HEAD_BYTES + check_part(part, &bodies)?;
        }
    }
    for key in batch
        .positions
        .iter()
        .map(|(key, _)| key.len())
        .chain(batch.duplicates.iter().map(|(_, source, _)| source.len()))
    {
        if key > KEY_BYTES_MAX {
            return refused(format!("position key or source name of {key} bytes: at most {KEY_BYTES_MAX}"));
        }
        bytes += key + 128;
    }
    if bytes > BATCH_BYTES_MAX {
        return refused(format!("batch of about {bytes} bytes: at most {BATCH_BYTES_MAX}"));
    }
    Ok(bytes)
}

/// The bytes that a part adds to the journal.
fn check_part(part: &Part, blobs: &Blobs) -> Result<usize, Error> {
    match part {
        Part::Inline(bytes) | Part::Hashed { bytes, .. } if bytes.len() > INLINE_BYTES_MAX => Err(Error::Refused(
            format!("part of {} bytes: larger than {INLINE_BYTES_MAX}, make it a blob", bytes.len()),
        )),
        Part::Inline(bytes) => Ok(bytes.len()),
        Part::Hashed { bytes, digest } => {
            debug_assert_eq!(*digest, merkle::digest(bytes), "a part's digest is that of its bytes");
            Ok(bytes.len())
        }
        Part::Blob { digest, .. } if blobs.knows(digest) => Ok(0),
        Part::Blob { digest, .. } => Err(Error::Refused(format!("blob {digest} is not stored"))),
    }
}
