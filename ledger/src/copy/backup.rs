//! Copies of a ledger: made while its writer runs, brought up to date later, and turned back into a ledger.
//!
//! A copy is a ledger directory without derived files. It holds what was durable at one commit. Every file of it is
//! replaced by renaming, blobs before the segments that name them, segments in their order, checkpoints last; so it
//! verifies at each moment, whatever is interrupted: a new one has no file `ledger` before it is whole, and one that is
//! brought up to date is its old or a newer state.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use crate::bodies::{blobs, erase};
use crate::derived::index;
use crate::files::storage::{self, Access, LocalFiles, Storage, StoredFile};
use crate::journal::fold::{ReadBatch, Vectors};
use crate::journal::keys::chain_path;
use crate::journal::meta;
use crate::journal::segment::{self, Scan, Segment, Step};
use crate::journal::writer::take_lock;
use crate::publish::{checkpoint, keys};
use crate::read::lookup;
use crate::read::open_ledger::OpenLedger;
use crate::read::reader::fold_durable;
use crate::verify::check::is_written;
use crate::{Checkpoint, Content, Error, Hash, LogId, Signer};

/// Directories of blobs.
const STORES: [&str; 2] = ["blobs", "bodies"];
/// Bytes that are copied at once.
const PIECE_BYTES: usize = 1 << 20;
/// What a copy says of the segments it holds, so that the next run need not read them again.
const COPIED: &str = "copied";
const COPIED_LINE: &str = "pedigraph copied 1";
/// Times that a ledger is copied because bodies were erased meanwhile.
const ROUNDS_MAX: usize = 16;

/// Whether a copy gets the key that signs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyCopy {
    /// It does not: the key must be kept elsewhere, and given when the copy is restored.
    Without,
    /// It does: who has the copy can sign in the ledger's name.
    With,
}

/// What a copy holds now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copied {
    /// Commits.
    pub commits: u64,
    /// Entries of each log.
    pub logs: Vec<(LogId, u64)>,
    /// Files that were written, and their bytes: what was there already is not written again.
    pub files_written: u64,
    /// Bytes of those files.
    pub bytes_written: u64,
    /// Whether the key is there.
    pub has_key: bool,
}

/// What a restore is told beside the copy.
#[derive(Clone, Default, Debug)]
pub struct RestoreOptions {
    /// The file of the ledger's key, for a copy without it.
    pub key: Option<PathBuf>,
    /// Who signs, when the newest key is in no file.
    pub signer: Option<Arc<dyn Signer>>,
    /// Published checkpoints (signed notes) that the restored ledger must cover.
    pub checkpoints: Vec<String>,
}

/// Copies a ledger, which may be being written, to a directory that is empty or holds an older copy of it. Durable when
/// this returns. `progress(bytes of journal done, in all)`.
///
/// # Errors
/// [`Error::Refused`] when `to` holds something else or something newer, [`Error::Corrupt`] when the ledger does not
/// verify where it is copied, [`Error::Locked`], [`Error::Io`].
pub fn backup(from: &Path, to: &Path, key: KeyCopy, progress: &mut dyn FnMut(u64, u64)) -> Result<Copied, Error> {
    backup_with(from, to, key, progress, &LocalFiles)
}

/// [`backup`] through another storage.
///
/// # Errors
/// As [`backup`].
pub fn backup_with(
    from: &Path,
    to: &Path,
    key: KeyCopy,
    progress: &mut dyn FnMut(u64, u64),
    storage: &dyn Storage,
) -> Result<Copied, Error> {
    let mut source = FoldedLedger::of(from)?;
    refuse_nested(from, to)?;
    let key = match key {
        KeyCopy::Without => None,
        KeyCopy::With => Some(source.key(&keys::key_path(from))?),
    };
    storage.create_dir(to)?;
    let _lock = take_lock(to)?;
    check_prefix(&source, to)?;
    let mut seen = Seen::load(to)?;
    let mut written = Written::default();
    for _ in 0..ROUNDS_MAX {
        let unsettled = source.unsettled_from()?;
        let (mut copy, now) = copy_all(&source, to, seen, storage, progress)?;
        if let Some(key) = &key {
            copy.put(&keys::key_path(to), key, Access::Private)?;
        }
        copy.put(&to.join(COPIED), now.text().as_bytes(), Access::Shared)?;
        copy.written += written;
        let newer = FoldedLedger::of(from)?;
        let erased = newer.erased_since(unsettled)?;
        if erased.is_empty() {
            return copy.finish();
        }
        // What was copied may lack bytes that no commit in the copy says are gone, or have some that a commit says are.
        written = copy.written;
        seen = now;
        seen.forget(&newer.segments, &erased);
        source = newer;
    }
    Err(Error::Refused(
        "bodies were erased each time that the ledger was copied; copy it again when that is over".into(),
    ))
}

/// Makes a ledger of a copy, in a directory that is empty or holds an older state of the same ledger. Durable when this
/// returns.
///
/// # Errors
/// [`Error::Refused`] when that would lose what is published, or the key is missing, or `to` holds something else; the
/// text explains. Else as [`backup`].
pub fn restore(
    from: &Path,
    to: &Path,
    options: &RestoreOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Copied, Error> {
    let storage = &LocalFiles;
    let source = FoldedLedger::of(from)?;
    refuse_nested(from, to)?;
    let key = restored_key(&source, from, to, options)?;
    storage.create_dir(to)?;
    let _lock = take_lock(to)?;
    for published in published(&source, to, options)? {
        source.check_covers(&published)?;
    }
    check_prefix(&source, to)?;
    let (mut copy, _) = copy_all(&source, to, Seen::default(), storage, progress)?;
    if let Some(key) = key {
        copy.put(&keys::key_path(to), &key, Access::Private)?;
    }
    copy.finish()
}

/// A ledger as it was at one durable commit.
struct FoldedLedger {
    dir: PathBuf,
    shared: Arc<OpenLedger>,
    vectors: Vectors,
    segments: Vec<Segment>,
    checkpoints: Vec<(LogId, Checkpoint)>,
}

impl FoldedLedger {
    /// The newest one. Its checkpoints were read before the journal, so they are within it.
    fn of(dir: &Path) -> Result<FoldedLedger, Error> {
        let (meta, folded) = fold_durable(dir)?;
        let recovered = folded.recovered;
        let next_seq = recovered.vectors.next_seq;
        let mut segments = recovered.state.segments.clone();
        // A segment without commits may still be replaced by a larger one.
        if segments.len() > 1 {
            segments.pop_if(|last| last.first_seq == next_seq);
        }
        let logs = recovered.state.logs.iter();
        let checkpoints = logs.filter_map(|(log, head)| Some((log.clone(), head.checkpoint.clone()?))).collect();
        let shared = OpenLedger::new(dir, meta, recovered.state, None);
        Ok(FoldedLedger { dir: dir.to_owned(), shared, vectors: recovered.vectors, segments, checkpoints })
    }

    /// Whether a file is that of a body that was erased, or is being erased just now.
    fn is_gone(&self, path: &Path) -> Result<bool, Error> {
        let mut digest = [0; 32];
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let is_body = hex::decode_to_slice(name, &mut digest).is_ok()
            && path == blobs::path_of(&self.dir, Content::Body, &Hash(digest));
        let bodies = || blobs::Blobs::new(&self.shared, Content::Body, Arc::new(LocalFiles));
        Ok(is_body && bodies().is_gone(&Hash(digest))?)
    }

    /// The commit from which on erasures need not have been carried out: that can be the last one, while a writer is at
    /// it.
    fn unsettled_from(&self) -> Result<u64, Error> {
        let next_seq = self.vectors.next_seq;
        let Some(last) = next_seq.checked_sub(1).filter(|_| is_written(&self.dir)) else { return Ok(next_seq) };
        let erasures = lookup::commit(&self.shared, last)?.commit.erasures;
        let settled = erase::targets(&self.shared, &erasures).is_ok_and(|left| left.is_empty());
        Ok(if settled { next_seq } else { last })
    }

    /// What commits from a seq on erased: places in the journal, `None` for a stored body.
    fn erased_since(&self, seq: u64) -> Result<Vec<Option<u64>>, Error> {
        let mut erased = Vec::new();
        for seq in seq..self.vectors.next_seq {
            for (log, index) in lookup::commit(&self.shared, seq)?.commit.erasures {
                erased.extend(lookup::entry(&self.shared, &log, index)?.body.map(|body| body.at));
            }
        }
        Ok(erased)
    }

    fn logs(&self) -> Vec<(LogId, u64)> {
        self.vectors.logs.iter().map(|(log, vector)| (log.clone(), vector.edge.size())).collect()
    }

    /// The bytes of a key file, if it holds this ledger's key.
    fn key(&self, path: &Path) -> Result<Vec<u8>, Error> {
        let bytes = storage::read_if_there(path)?;
        let bytes = bytes.ok_or_else(|| Error::Refused(format!("{} does not exist", path.display())))?;
        match keys::is_key_of(&bytes, &self.shared.meta) {
            true => Ok(bytes),
            false => Err(Error::Refused(format!("{} is not the key of this ledger", path.display()))),
        }
    }

    /// Refuses when a published checkpoint is beyond this state or of another history.
    fn check_covers(&self, published: &Published) -> Result<(), Error> {
        let Published { log, size, root, whence } = published;
        let here = self.vectors.size(log);
        if here < *size {
            return Err(Error::Refused(format!(
                "the copy holds {here} entries of log {log}, but a checkpoint for {size} was published ({whence}). Restoring it would lose the \
                 entries {here} to {}, which were acknowledged, and fork the log: whoever has that checkpoint (clients, witnesses) refuses \
                 every later one. Restore a newer copy",
                size - 1
            )));
        }
        match self.root_of_commit(log, *size)? {
            Some(found) if found == *root => Ok(()),
            Some(found) => Err(Error::Refused(format!(
                "log {log} of the copy has root {found} at size {size}, but a checkpoint with root {root} was published ({whence}): the copy is \
                 of another history"
            ))),
            None => Err(Error::Refused(format!(
                "no commit of the copy has size {size} of log {log}, for which a checkpoint was published ({whence}): the copy is of another history"
            ))),
        }
    }

    /// The root that a commit stated for a size.
    fn root_of_commit(&self, log: &LogId, size: u64) -> Result<Option<Hash>, Error> {
        if size == 0 {
            return Ok(Some(crate::tree::merkle::empty_root()));
        }
        let before = |header: &crate::journal::frame::HeaderFrame| {
            header.logs.iter().find(|(name, _)| name == log).map_or(0, |(_, vector)| vector.edge.size()) < size
        };
        let segment = lookup::segment_where(&self.shared, before)?;
        let mut root = None;
        lookup::scan(&self.shared, segment, |batch| {
            let head = batch.commit.heads.iter().find(|(name, reached, _)| name == log && *reached == size);
            root = head.map(|(.., root)| *root);
            root.is_none()
        })?;
        Ok(root)
    }
}

/// A checkpoint that somebody may have.
struct Published {
    log: LogId,
    size: u64,
    root: Hash,
    /// Where it was found.
    whence: String,
}

/// What is known to be published: the checkpoints of the directory that is restored into, and those given.
fn published(source: &FoldedLedger, to: &Path, options: &RestoreOptions) -> Result<Vec<Published>, Error> {
    let mut notes = Vec::new();
    if let Ok(names) = fs::read_dir(to.join("logs")) {
        for name in names {
            let log = name?.path();
            // What is pending may have been shown to witnesses.
            for path in [log.join("checkpoint"), log.join("pending")] {
                if let Some(bytes) = storage::read_if_there(&path)? {
                    notes.push((String::from_utf8_lossy(&bytes).into_owned(), path.display().to_string()));
                }
            }
        }
    }
    let given = options.checkpoints.iter().map(|text| (text.clone(), "given".to_owned()));
    notes.into_iter().chain(given).map(|(text, whence)| parse_published(source, &text, whence)).collect()
}

fn parse_published(source: &FoldedLedger, text: &str, whence: String) -> Result<Published, Error> {
    let meta = &source.shared.meta;
    let origin = text.lines().next().unwrap_or_default();
    let log = origin.strip_prefix(&meta.name).and_then(|rest| LogId::new(rest.strip_prefix('/')?));
    let log =
        log.ok_or_else(|| Error::Refused(format!("checkpoint ({whence}): {origin:?} is no log of this ledger")))?;
    let (size, root, _) = meta
        .keys
        .verify_checkpoint(text, origin)
        .map_err(|why| Error::Refused(format!("checkpoint ({whence}): {why}")))?;
    Ok(Published { log, size, root, whence })
}

fn restored_key(
    source: &FoldedLedger,
    from: &Path,
    to: &Path,
    options: &RestoreOptions,
) -> Result<Option<Vec<u8>>, Error> {
    if let Some(path) = &options.key {
        return source.key(path).map(Some);
    }
    let newest = source.shared.meta.keys.current();
    if options.signer.as_ref().is_some_and(|signer| signer.public_key() == newest) {
        return Ok(None);
    }
    let there = [from, to].map(keys::key_path).into_iter().find(|path| path.exists());
    let path = there.ok_or_else(|| {
        Error::Refused("the copy was made without the key, so nothing could sign for the ledger: name the key's file (`key` of the ledger's directory, kept apart), or the signer that has it".into())
    })?;
    source.key(&path).map(Some)
}

/// A copy inside of what is copied would not be apart from it.
fn refuse_nested(from: &Path, to: &Path) -> Result<(), Error> {
    let from = from.canonicalize()?;
    let there = to.ancestors().find_map(|dir| dir.canonicalize().ok());
    match there.is_some_and(|there| there.starts_with(&from)) {
        true => Err(Error::Refused(format!("{} is inside of {}: name a place outside", to.display(), from.display()))),
        false => Ok(()),
    }
}

/// Refuses a directory that is neither empty nor an older state of the same ledger.
fn check_prefix(source: &FoldedLedger, to: &Path) -> Result<(), Error> {
    let meta = &source.shared.meta;
    let other = || Error::Refused(format!("{} holds another ledger", to.display()));
    match meta::Meta::load(to)? {
        None if fs::read(partial_path(to)).is_ok_and(|text| text == meta.text().as_bytes()) => return Ok(()),
        None if is_empty(to)? => return Ok(()),
        None => return Err(Error::Refused(format!("{} is not empty and holds no copy of this ledger", to.display()))),
        Some(there) if there.text() != meta.text() => return Err(other()),
        Some(there) if !meta.keys.text.starts_with(&there.keys.text) => {
            let text = format!(
                "the key of {} was replaced after {} was made: copy that one",
                to.display(),
                source.dir.display()
            );
            return Err(Error::Refused(text));
        }
        Some(_) => {}
    }
    if segment::list(to)?.is_empty() {
        return Ok(());
    }
    let target = FoldedLedger::of(to).map_err(|why| {
        Error::Refused(format!(
            "{} holds this ledger, damaged ({why}): move it away, and if it is not a mere copy, pass its published checkpoints when you restore",
            to.display()
        ))
    })?;
    let (there, here) = (target.vectors.next_seq.max(index::indexed_commits(to)), source.vectors.next_seq);
    if there > here {
        return Err(Error::Refused(format!(
            "{} holds {there} commits, more than the {here} to be copied: it is newer, or {} has lost some",
            to.display(),
            source.dir.display()
        )));
    }
    let last = target.vectors.next_seq.checked_sub(1).map(|seq| lookup::commit(&source.shared, seq)).transpose()?;
    match last.is_none_or(|batch| batch.hash == target.vectors.last_commit.0) {
        true => Ok(()),
        false => Err(Error::Refused(format!(
            "{} holds another history of this ledger: commit {} differs; do not write over it before you know which one is true",
            to.display(),
            target.vectors.next_seq - 1
        ))),
    }
}

/// Whether nothing is there but a lock and what an interrupted start left.
fn is_empty(dir: &Path) -> io::Result<bool> {
    for name in fs::read_dir(dir)? {
        let name = name?.file_name();
        if name != "LOCK" && name != "ledger.tmp" {
            return Ok(false);
        }
    }
    Ok(true)
}

fn partial_path(to: &Path) -> PathBuf {
    to.join("ledger.partial")
}

fn copy_all<'a>(
    source: &'a FoldedLedger,
    to: &'a Path,
    seen: Seen,
    storage: &'a dyn Storage,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Copy<'a>, Seen), Error> {
    let mut copy = Copy { source, to, storage, written: Written::default() };
    if meta::Meta::load(to)?.is_none() {
        copy.put(&partial_path(to), source.shared.meta.text().as_bytes(), Access::Private)?;
    }
    for store in STORES {
        copy.blobs(store)?;
    }
    let seen = copy.journal(seen, progress)?;
    // Before the checkpoints that need it.
    let chain = &source.shared.meta.keys.text;
    if !chain.is_empty() {
        copy.put(&chain_path(to), chain.as_bytes(), Access::Shared)?;
    }
    copy.checkpoints()?;
    Ok((copy, seen))
}

/// A copy that is being made.
struct Copy<'a> {
    source: &'a FoldedLedger,
    to: &'a Path,
    storage: &'a dyn Storage,
    written: Written,
}

#[derive(Clone, Copy, Default)]
struct Written {
    files: u64,
    bytes: u64,
}

impl std::ops::AddAssign for Written {
    fn add_assign(&mut self, more: Written) {
        (self.files, self.bytes) = (self.files + more.files, self.bytes + more.bytes);
    }
}

impl Copy<'_> {
    /// Writes a small file unless it is there with the same bytes.
    fn put(&mut self, path: &Path, bytes: &[u8], access: Access) -> Result<(), Error> {
        if storage::read_if_there(path)?.is_some_and(|there| there == bytes) {
            return Ok(());
        }
        storage::replace(self.storage, path, bytes, access)?;
        self.wrote(bytes.len() as u64);
        Ok(())
    }

    fn wrote(&mut self, bytes: u64) {
        self.written += Written { files: 1, bytes };
    }

    /// All blobs there are: at least those that entries name, since a blob is durable before its entry.
    fn blobs(&mut self, store: &str) -> Result<(), Error> {
        let (from, to) = (self.source.dir.join(store), self.to.join(store));
        let Ok(folders) = fs::read_dir(&from) else { return Ok(()) };
        for folder in folders {
            let folder = folder?;
            if folder.file_name() == "incoming" || !folder.path().is_dir() {
                continue;
            }
            let there = to.join(folder.file_name());
            let mut wrote = false;
            for file in fs::read_dir(folder.path())? {
                let file = file?;
                // The marker of an erased body before it has its name.
                if file.path().extension().is_some() {
                    continue;
                }
                wrote |= self.blob(&file.path(), &there.join(file.file_name()), &to.join("incoming"))?;
            }
            if wrote {
                [&there, &to, &self.to.to_owned()].iter().try_for_each(|dir| self.storage.sync_dir(dir))?;
            }
        }
        Ok(())
    }

    /// Copies one blob unless it is there. What it holds never changes, but for an erased body's.
    fn blob(&mut self, from: &Path, to: &Path, incoming: &Path) -> Result<bool, Error> {
        let file = match File::open(from) {
            // Collected meanwhile: no entry names it.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file?,
        };
        let bytes = file.metadata()?.len();
        if fs::metadata(to).is_ok_and(|there| there.len() == bytes) {
            return Ok(false);
        }
        // A file that shrank is an erased body's, or damaged.
        let whole = if blobs::is_erased(from)? { Ok(()) } else { blobs::check_file(&file) };
        if whole.is_err() && self.source.is_gone(from)? {
            // The next round finds what stands there then.
            return Ok(false);
        }
        whole.map_err(|why| Error::Corrupt(format!("{}: {why}; restore it from an older copy", from.display())))?;
        for dir in [Some(incoming), to.parent()].into_iter().flatten() {
            if !dir.is_dir() {
                self.storage.create_dir(dir)?;
            }
        }
        let tmp = incoming.join(to.file_name().unwrap_or_default());
        let target = self.storage.create(&tmp, Access::Shared)?;
        let mut offset = 0;
        while offset < bytes {
            let piece = segment::read_at(&file, offset, PIECE_BYTES)?;
            if piece.is_empty() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            target.write_at(&piece, offset)?;
            offset += piece.len() as u64;
        }
        target.sync()?;
        self.storage.rename(&tmp, to)?;
        self.wrote(bytes);
        Ok(true)
    }

    fn journal(&mut self, seen: Seen, progress: &mut dyn FnMut(u64, u64)) -> Result<Seen, Error> {
        let source = self.source;
        let dir = segment::dir_of(self.to);
        if !dir.is_dir() {
            self.storage.create_dir(&dir)?;
            self.storage.sync_dir(self.to)?;
        }
        let mut now = Seen::default();
        let mut vectors: Option<Vectors> = None;
        let total = source.segments.last().map_or(0, Segment::end);
        for (n, segment) in source.segments.iter().enumerate() {
            let next = source.segments.get(n + 1).map(|next| next.first_seq);
            let changed_ns = changed_ns(&segment::path_of(&source.dir, segment.first_seq))?;
            if next.is_some() && seen.has(segment, changed_ns, self.to) {
                vectors = None;
            } else {
                let end_seq = next.unwrap_or(source.vectors.next_seq);
                vectors = Some(self.segment(segment, end_seq, vectors)?);
            }
            if next.is_some() {
                now.0.insert(segment.first_seq, changed_ns);
            }
            progress(segment.end(), total);
        }
        Ok(now)
    }

    /// Copies one segment: its header, its batches up to a seq, and zeros. Whatever is copied is folded first.
    fn segment(&mut self, segment: &Segment, end_seq: u64, before: Option<Vectors>) -> Result<Vectors, Error> {
        let tmp = segment::dir_of(self.to).join("copied.tmp");
        // A body that is erased meanwhile is half overwritten for a moment.
        let again = |error: &Error| matches!(error, Error::Corrupt(_));
        let vectors = match self.copy_segment(segment, end_seq, before.as_ref(), &tmp) {
            Err(error) if again(&error) => self.copy_segment(segment, end_seq, before.as_ref(), &tmp)?,
            outcome => outcome?,
        };
        self.storage.rename(&tmp, &segment::path_of(self.to, segment.first_seq))?;
        self.storage.sync_dir(&segment::dir_of(self.to))?;
        self.wrote(segment.capacity);
        Ok(vectors)
    }

    fn copy_segment(
        &self,
        segment: &Segment,
        end_seq: u64,
        before: Option<&Vectors>,
        tmp: &Path,
    ) -> Result<Vectors, Error> {
        let (dir, meta) = (&self.source.dir, &self.source.shared.meta);
        let corrupt =
            |why: &str| Err(Error::Corrupt(format!("segment {:020}: {why}; run `verify`", segment.first_seq)));
        let (header, start) = segment::read_header(dir, meta, segment)?;
        let mut vectors = Vectors::from_header(&header);
        if before.is_some_and(|before| *before != vectors) {
            return corrupt("its header states another state than the commits before it lead to");
        }
        let mut scan = Scan::open(dir, meta, *segment, start)?;
        let file = self.storage.create(tmp, Access::Shared)?;
        let head = segment::read_at(&scan.file, 0, crate::files::storage::to_usize(start))?;
        let mut out = Appending { file: &*file, offset: 0, pending: head };
        while vectors.next_seq < end_seq
            && let Step::Batch { bytes, at } = scan.step()?
        {
            vectors.fold(&ReadBatch::parse(&bytes, at)?)?;
            out.put(&bytes)?;
        }
        if vectors.next_seq != end_seq {
            return corrupt(&format!("commit {} is damaged", vectors.next_seq));
        }
        let end = out.flush()?;
        file.write_zeros(end, segment.capacity)?;
        file.sync()?;
        Ok(vectors)
    }

    fn checkpoints(&mut self) -> Result<(), Error> {
        for (log, checkpoint) in &self.source.checkpoints {
            let there = checkpoint::load(self.to, log)?;
            if there.as_ref().is_some_and(|there| there.size > checkpoint.size) {
                continue;
            }
            let dir = index::log_dir(self.to, log);
            if !dir.is_dir() {
                self.storage.create_dir(&dir)?;
                self.storage.sync_dir(&self.to.join("logs"))?;
                self.storage.sync_dir(self.to)?;
            }
            self.put(&checkpoint::path(self.to, log), &checkpoint.note, Access::Shared)?;
        }
        Ok(())
    }

    /// From here on it is a ledger.
    fn finish(mut self) -> Result<Copied, Error> {
        if meta::Meta::load(self.to)?.is_none() {
            self.storage.rename(&partial_path(self.to), &self.to.join(meta::FILE))?;
            self.storage.sync_dir(self.to)?;
            if let Some(parent) = self.to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                self.storage.sync_dir(parent)?;
            }
            self.wrote(0);
        }
        Ok(Copied {
            commits: self.source.vectors.next_seq,
            logs: self.source.logs(),
            files_written: self.written.files,
            bytes_written: self.written.bytes,
            has_key: keys::key_path(self.to).exists(),
        })
    }
}

/// A file that is written from its start in large pieces.
struct Appending<'a> {
    file: &'a dyn StoredFile,
    offset: u64,
    pending: Vec<u8>,
}

impl Appending<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what is pending; returns how many bytes the file has.
    fn flush(&mut self) -> io::Result<u64> {
        self.file.write_at(&self.pending, self.offset)?;
        self.offset += self.pending.len() as u64;
        self.pending.clear();
        Ok(self.offset)
    }
}

/// Whole segments that a copy holds, with the time of the last change of what they were copied from: an older segment
/// changes only when a body in it is erased.
#[derive(Default)]
pub(crate) struct Seen(BTreeMap<u64, u128>);

impl Seen {
    fn load(to: &Path) -> Result<Seen, Error> {
        let bytes = storage::read_if_there(&to.join(COPIED))?.unwrap_or_default();
        // Of a copy that says nothing that is understood, all is copied again.
        Ok(Seen::parse(&bytes).unwrap_or_default())
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Seen> {
        let text = std::str::from_utf8(bytes).ok()?;
        let lines = text.strip_prefix(COPIED_LINE)?.strip_prefix('\n')?.lines();
        let line = |line: &str| {
            let (seq, changed_ns) = line.split_once(' ')?;
            Some((seq.parse().ok()?, changed_ns.parse().ok()?))
        };
        let seen = Seen(lines.map(line).collect::<Option<_>>()?);
        (seen.text() == text).then_some(seen)
    }

    fn has(&self, segment: &Segment, changed_ns: u128, to: &Path) -> bool {
        let whole = || fs::metadata(segment::path_of(to, segment.first_seq)).is_ok_and(|f| f.len() == segment.capacity);
        self.0.get(&segment.first_seq) == Some(&changed_ns) && whole()
    }

    /// Segments that hold one of these places are copied again: the time of a file's change may be too coarse to tell.
    fn forget(&mut self, segments: &[Segment], places: &[Option<u64>]) {
        let holds = |segment: &Segment, at: u64| segment.base <= at && at < segment.end();
        let changed = segments.iter().filter(|segment| places.iter().flatten().any(|at| holds(segment, *at)));
        for segment in changed {
            self.0.remove(&segment.first_seq);
        }
    }

    pub(crate) fn text(&self) -> String {
        let lines: String = self.0.iter().map(|(seq, changed_ns)| format!("{seq} {changed_ns}\n")).collect();
        format!("{COPIED_LINE}\n{lines}")
    }
}

fn changed_ns(path: &Path) -> io::Result<u128> {
    Ok(fs::metadata(path)?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos())
}
