//! The one writer: a batch becomes frames, the frames one write and one `fdatasync`, and then it is durable, visible and
//! acknowledged, in this order.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::blobs::{self, Blobs};
use crate::derive::Deriver;
use crate::erase;
use crate::fold::{Touched, Vectors};
use crate::frame::{self, CommitFrame, HEAD_BYTES, Kind, REF_BYTES};
use crate::keys;
use crate::meta::Meta;
use crate::publish;
use crate::recover::{Recovered, recover, zero_sectors};
use crate::segment::{self, Segment};
use crate::shared::{CommitPlace, LAG_ENTRIES_MAX, Landed, Recent, Shared};
use crate::storage::{Access, LocalFiles, PAGE_BYTES, Storage, StoredFile};
use crate::tree::{self, digest, leaf_hash};
use crate::{
    Batch, Content, Error, Hash, INLINE_BYTES_MAX, LEAF_BYTES_MAX, LogId, NewEntry, Options, Part, PartRef, Reader,
    Receipt, Signer,
};

/// Largest batch, bytes of frames.
const BATCH_BYTES_MAX: usize = 1 << 30;
/// Largest key of a position and name of a source, bytes.
const KEY_BYTES_MAX: usize = 4096;
/// Facts chunks of one entry.
const FACTS_MAX: usize = 65_535;
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
    pub(crate) shared: Arc<Shared>,
    pub(crate) storage: Arc<dyn Storage>,
    /// Who signs, unless the key is in its file.
    pub(crate) signer: Option<Arc<dyn Signer>>,
    vectors: Vectors,
    segment: Segment,
    file: Box<dyn StoredFile>,
    /// Where the next batch begins in the segment.
    offset: u64,
    /// The frames of one batch; kept for its allocation.
    frames: Vec<u8>,
    facts: RememberedFacts,
    epoch: u64,
    poisoned: bool,
    given_back: Option<Batch>,
    work: Work,
    spare: Option<JoinHandle<io::Result<()>>>,
    deriver: Option<Deriver>,
    deriving: Option<JoinHandle<()>>,
    /// Held until the writer is gone; the kernel releases it when the process dies.
    _lock: Lock,
}

/// Opens (creating if absent) a ledger for writing: takes the lock, recovers, cuts an uncommitted tail, refuses what
/// DESIGN §4 names.
///
/// # Errors
/// [`Error::Locked`], [`Error::Corrupt`] when something acknowledged is missing or changed, [`Error::Refused`] for unusable
/// options, [`Error::Io`].
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
    let file = File::options().create(true).truncate(false).write(true).open(dir.join("LOCK"))?;
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
    make_spare(dir, capacity, storage)?;
    enter_spare(dir, meta, &Vectors::default(), 0, 0, storage).map(|(segment, ..)| segment)
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
    let file = storage.open(&segment::path_of(dir, segment.first_seq))?;
    let epoch = vectors.epoch.saturating_add(1);
    let shared = Shared::new(dir, meta, state, None);
    // Every other commit's were carried out before the commit after it was made.
    erase::erase(&shared, &*storage, &erase::targets(&shared, &erasures)?)?;
    blobs::collect(&shared, &*storage)?;
    publish::publish_empty_default(&shared, &*storage, signer.as_ref())?;
    publish::check_older(&Reader(Arc::clone(&shared)))?;
    let mut writer = Writer {
        deriver: Some(Deriver::new(Arc::clone(&shared), Arc::clone(&storage))),
        shared,
        storage,
        signer,
        vectors,
        segment,
        file,
        offset,
        frames: Vec::new(),
        facts: RememberedFacts::default(),
        epoch,
        poisoned: false,
        given_back: None,
        work,
        spare: None,
        deriving: None,
        _lock: lock,
    };
    writer.start_work()?;
    Ok(writer)
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

    /// Size of a log, counting what is durable; 0 for one that does not exist.
    pub fn size(&self, log: &LogId) -> u64 {
        self.vectors.size(log)
    }

    /// Durable positions: opaque key to next offset.
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

    /// Appends one batch durably. After [`Error::Io`] the writer is poisoned and every later call fails. After [`Error::Full`] the
    /// batch can be had back by [`Writer::given_back`], for another try.
    ///
    /// Bodies that the batch erases are gone from the disk when this returns; after a crash, when the ledger is open again.
    ///
    /// A batch without entries, positions and duplicates writes nothing. One that is larger than a segment gets a segment as
    /// large as it needs.
    ///
    /// # Errors
    /// [`Error::Refused`] when the batch breaks a limit, and [`Error::Full`] when there is no room for another segment: nothing was
    /// written and the writer goes on; [`Error::Io`] when it is unknown whether the batch is durable: the process must
    /// stop, and opening the ledger again tells.
    pub fn append(&mut self, batch: Batch) -> Result<Vec<Receipt>, Error> {
        if let Err(error) = self.find_room(&batch) {
            self.given_back = matches!(error, Error::Full(_)).then_some(batch);
            return Err(error);
        }
        if writes_nothing(&batch) {
            return Ok(Vec::new());
        }
        let targets = erase::targets(&self.shared, &batch.erasures)?;
        let staged = self.encode(&batch);
        self.pad_frames();
        // The commit point. Before the sync returns nobody may know of the batch; after a failed one nobody can tell whether it
        // is on disk, and trying again would not: the kernel forgets what it failed to write.
        let outcome = self.file.write_at(&self.frames, self.offset).and_then(|()| self.file.sync());
        self.poison_unless_ok(outcome.map_err(Error::from))?;
        let blobs = blobs_named(&batch);
        let receipts = self.adopt(staged, batch);
        blobs::named(&self.shared, &*self.storage, &blobs);
        let outcome = erase::erase(&self.shared, &*self.storage, &targets);
        self.poison_unless_ok(outcome)?;
        if self.work == Work::Inline {
            let outcome = self.deriver.as_mut().map_or(Ok(()), Deriver::step);
            self.poison_unless_ok(outcome)?;
        }
        Ok(receipts)
    }

    /// The batch that the last [`Writer::append`] found no room for.
    pub fn given_back(&mut self) -> Option<Batch> {
        self.given_back.take()
    }

    /// Goes on in a new segment when the batch may not fit into this one.
    fn find_room(&mut self, batch: &Batch) -> Result<(), Error> {
        self.check_usable()?;
        let bytes_max = check(batch, self)?;
        if writes_nothing(batch) || self.offset + bytes_max as u64 <= self.segment.capacity {
            return Ok(());
        }
        let outcome = self.enter_next_segment(bytes_max as u64);
        self.poison_unless_ok(outcome)
    }

    /// Adds to the frames the zeros behind them up to the end of a page: the kernel, which need not have the page in memory, would
    /// have to read it first if only a part of it were written.
    fn pad_frames(&mut self) {
        let end = self.offset + self.frames.len() as u64;
        let page_end = end.next_multiple_of(PAGE_BYTES as u64).min(self.segment.capacity);
        self.frames.resize(self.frames.len() + frame::to_usize(page_end.saturating_sub(end)), 0);
    }

    fn check_usable(&mut self) -> Result<(), Error> {
        let failed = match self.work {
            Work::Background => {
                let ready = |state: &crate::shared::State| {
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

    /// Fills `frames` with the batch; changes no state.
    fn encode(&mut self, batch: &Batch) -> Staged {
        self.frames.clear();
        let salt = self.shared.meta.salt;
        let start = self.segment.base + self.offset;
        let mut staged = Staged::default();
        let mut refs = Sha256::new();
        for new in &batch.entries {
            let facts: Vec<_> =
                new.facts.iter().map(|part| put_facts(&mut self.frames, salt, start, part, &mut self.facts)).collect();
            let body = new.body.as_ref().map(|part| put_part(&mut self.frames, salt, start, Content::Body, part));
            let edge = staged.touched.edge(&new.log, &self.vectors);
            let hash = leaf_hash(&new.leaf);
            staged.entries.push((start + self.frames.len() as u64, edge.size(), hash));
            frame::write(&mut self.frames, salt, Kind::Entry, |out| {
                frame::put_entry(out, &new.log, edge.size(), &new.leaf);
                let from = out.len();
                frame::put_refs(out, &facts, body.as_ref());
                refs.update(&out[from..]);
            });
            edge.push(hash);
        }
        staged.commit = Some(self.put_commit(batch, &staged.touched, Hash(refs.finalize().into())));
        staged.bytes = self.frames.len();
        staged
    }

    /// Appends the commit frame; returns it with its hash.
    fn put_commit(&mut self, batch: &Batch, touched: &Touched, refs: Hash) -> (CommitFrame, Hash) {
        let commit = CommitFrame {
            seq: self.vectors.next_seq,
            previous: self.vectors.last_commit.0,
            epoch: self.epoch,
            time_ns: self.next_time(batch.time_ns),
            entries: u32::try_from(batch.entries.len()).expect("a batch has fewer bytes"),
            zero_sectors: zero_sectors(&self.frames, self.offset),
            refs,
            heads: touched.heads(),
            positions: batch.positions.clone(),
            duplicates: batch.duplicates.clone(),
            erasures: batch.erasures.clone(),
        };
        let start = self.frames.len() + HEAD_BYTES;
        frame::write(&mut self.frames, self.shared.meta.salt, Kind::Commit, |out| commit.put(out));
        let hash = frame::commit_hash(&self.frames[start..]);
        (commit, hash)
    }

    /// Takes over and shows what is durable.
    fn adopt(&mut self, staged: Staged, batch: Batch) -> Vec<Receipt> {
        let Staged { touched, entries, commit, bytes } = staged;
        let (commit, hash) = commit.expect("encode ends with a commit");
        let bytes = bytes as u64;
        let place = CommitPlace {
            at: self.segment.base + self.offset,
            bytes: u32::try_from(bytes).expect("append refuses larger batches"),
            time_ns: commit.time_ns,
        };
        self.offset += bytes;
        self.vectors.adopt(touched, &commit, hash);
        let receipt = |(new, (_, index, leaf_hash)): (&NewEntry, &(u64, u64, Hash))| Receipt {
            log: new.log.clone(),
            index: *index,
            leaf_hash: *leaf_hash,
        };
        let receipts = batch.entries.iter().zip(&entries).map(receipt).collect();
        let recent =
            |(new, (at, _, hash)): (NewEntry, (u64, u64, Hash))| (new.log, Recent { at, hash, leaf: new.leaf });
        let mut landed = batch.entries.into_iter().zip(entries).map(recent);
        self.shared.land(Landed { seq: commit.seq, place, heads: &commit.heads, entries: &mut landed });
        receipts
    }

    /// Goes on in a new segment that holds at least `bytes` of batch. The rest of the old one stays zeros.
    fn enter_next_segment(&mut self, bytes: u64) -> Result<(), Error> {
        let dir = &self.shared.dir;
        let made = match self.spare.take() {
            Some(making) => {
                making.join().map_err(|_| io::Error::other("the thread that prepares segments panicked"))?
            }
            None => make_spare(dir, self.next_capacity(), &*self.storage),
        };
        made.map_err(|error| Error::while_preparing("the next journal segment", error))?;
        // A segment without commits has the name that the next one would get, and is replaced.
        let empty = self.segment.first_seq == self.vectors.next_seq;
        let base = if empty { self.segment.base } else { self.segment.end() };
        let (segment, offset, file) = enter_spare(dir, &self.shared.meta, &self.vectors, base, bytes, &*self.storage)?;
        (self.segment, self.offset, self.file) = (segment, offset, file);
        self.shared.state().enter_segment(segment);
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
        let (dir, capacity, storage) = (self.shared.dir.clone(), self.next_capacity(), Arc::clone(&self.storage));
        let make = move || make_spare(&dir, capacity, &*storage);
        self.spare = Some(std::thread::Builder::new().name("ledger-segment".into()).spawn(make)?);
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
        self.shared.change(|state| state.stop = true);
        if let Some(deriving) = self.deriving.take() {
            drop(deriving.join());
        }
        if let Some(making) = self.spare.take() {
            drop(making.join());
        }
    }
}

/// A batch that is encoded and not yet durable.
#[derive(Default)]
struct Staged {
    touched: Touched,
    /// Journal position, index and leaf hash of each entry.
    entries: Vec<(u64, u64, Hash)>,
    commit: Option<(CommitFrame, Hash)>,
    /// Length of its frames.
    bytes: usize,
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

/// Appends a facts chunk unless the journal has it.
fn put_facts(out: &mut Vec<u8>, salt: u32, start: u64, part: &Part, seen: &mut RememberedFacts) -> PartRef {
    let Some((bytes, digest)) = inline(part) else { return put_part(out, salt, start, Content::Facts, part) };
    if bytes.len() < REMEMBERED_BYTES_MIN {
        return put_inline(out, salt, start, Content::Facts, bytes, digest);
    }
    if let Some(at) = seen.places.get(&digest) {
        return PartRef { digest, size: bytes.len() as u64, at: Some(*at), content: Content::Facts, bytes: None };
    }
    let written = put_inline(out, salt, start, Content::Facts, bytes, digest);
    written.at.into_iter().for_each(|at| seen.remember(digest, at));
    written
}

fn put_part(out: &mut Vec<u8>, salt: u32, start: u64, content: Content, part: &Part) -> PartRef {
    match part {
        Part::Inline(bytes) => put_inline(out, salt, start, content, bytes, digest(bytes)),
        Part::Hashed { bytes, digest } => put_inline(out, salt, start, content, bytes, *digest),
        Part::Blob { digest, size } => PartRef { digest: *digest, size: *size, at: None, content, bytes: None },
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

fn put_inline(out: &mut Vec<u8>, salt: u32, start: u64, content: Content, bytes: &Bytes, digest: Hash) -> PartRef {
    let at = start + out.len() as u64;
    frame::write(out, salt, content.kind(), |out| out.extend_from_slice(bytes));
    PartRef { digest, size: bytes.len() as u64, at: Some(at), content, bytes: None }
}

/// Refuses what breaks a limit; returns how many bytes the batch has at most.
fn check(batch: &Batch, writer: &Writer) -> Result<usize, Error> {
    let refused = |why: String| Err(Error::Refused(why));
    let (blobs, bodies) = (writer.blobs(), writer.bodies());
    let mut bytes = 1024;
    bytes += erase::check(batch, writer)?;
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
            debug_assert_eq!(*digest, tree::digest(bytes), "a part's digest is that of its bytes");
            Ok(bytes.len())
        }
        Part::Blob { digest, .. } if blobs.knows(digest) => Ok(0),
        Part::Blob { digest, .. } => Err(Error::Refused(format!("blob {digest} is not stored"))),
    }
}

fn spare_path(dir: &Path) -> PathBuf {
    segment::dir_of(dir).join("spare")
}

/// Writes the zeros of the next segment, durable before it has its name. Overwriting what was written once needs no change of
/// the file's metadata, which makes a later `fdatasync` one disk write.
fn make_spare(dir: &Path, capacity: u64, storage: &dyn Storage) -> io::Result<()> {
    let path = spare_path(dir);
    if fs::metadata(&path).is_ok_and(|file| file.len() == capacity) {
        return Ok(());
    }
    let tmp = path.with_extension("tmp");
    let file = storage.create(&tmp, Access::Shared)?;
    file.write_zeros(0, capacity)?;
    file.sync()?;
    storage.rename(&tmp, &path)
}

/// Makes the spare the segment that starts at this state. Its header is durable before it has a segment's name, so a crash
/// leaves no segment or one without commits; the state it states was durable before.
fn enter_spare(
    dir: &Path,
    meta: &Meta,
    vectors: &Vectors,
    base: u64,
    bytes: u64,
    storage: &dyn Storage,
) -> Result<(Segment, u64, Box<dyn StoredFile>), Error> {
    let tmp = segment::dir_of(dir).join("entered.tmp");
    let path = segment::path_of(dir, vectors.next_seq);
    let entered = prepare_entered(dir, meta, vectors, base, bytes, storage, &tmp);
    let (segment, offset, file) = entered.map_err(|error| {
        drop(storage.remove(&tmp));
        Error::while_preparing("the next journal segment", error)
    })?;
    // From here on a failure poisons: the segment may have its name, and then the old one must not grow.
    storage.rename(&tmp, &path)?;
    storage.sync_dir(&segment::dir_of(dir))?;
    Ok((segment, offset, file))
}

fn prepare_entered(
    dir: &Path,
    meta: &Meta,
    vectors: &Vectors,
    base: u64,
    bytes: u64,
    storage: &dyn Storage,
    tmp: &Path,
) -> io::Result<(Segment, u64, Box<dyn StoredFile>)> {
    storage.rename(&spare_path(dir), tmp)?;
    let spare_bytes = fs::metadata(tmp)?.len();
    let measure = segment::encode_header(&vectors.header(*meta.uuid.as_bytes(), base, spare_bytes)).len() as u64;
    let capacity = spare_bytes.max((measure + bytes).next_multiple_of(4096));
    let header = segment::encode_header(&vectors.header(*meta.uuid.as_bytes(), base, capacity));
    let file = storage.open(tmp)?;
    file.write_zeros(spare_bytes, capacity)?;
    file.write_at(&header, 0)?;
    file.sync()?;
    Ok((Segment { first_seq: vectors.next_seq, base, capacity }, header.len() as u64, file))
}
