//! Large parts: `blobs/<2 hex>/<64 hex>` for facts, `bodies/…` for bodies, named by the SHA-256 of what is in it: one
//! zstd frame, then a skippable frame with the CRC-32 of the first. Any zstd tool unpacks it; the CRC finds the flipped
//! bits that a decoder does not care about.
//!
//! Facts and bodies are apart because bodies are erased and senders choose their bytes: a body that equals the facts of
//! another entry must not take those with it. A body that was erased is one skippable frame that says so; it stays
//! erased, whoever sends the same bytes again.
//!
//! A crash between a blob and its entry leaves a blob that nothing names. Before a blob gets its name an empty file
//! `incoming/<next seq>-<digest>` says from which commit on an entry may name it; the file goes once one does. So
//! opening the ledger need look at neither all blobs nor all entries to find such orphans ([`collect`]).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use sha2::{Digest as _, Sha256};

use crate::bodies::erasing::{self, Target};
use crate::files::storage::{self, Access, Storage, StoredFile, lock};
use crate::read::lookup;
use crate::read::open_ledger::OpenLedger;
use crate::{Content, Error, Hash, Part};

const ZSTD_LEVEL: i32 = 3;
const PIECE_BYTES: usize = 64 << 10;
const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;
const TRAILER_BYTES: usize = 12;
/// Journal that is read, when a ledger is opened, to find out whether new blobs are named.
const COLLECT_BYTES_MAX: u64 = 128 << 20;
/// What an erased body's file holds: a zstd skippable frame. Every stored blob is longer.
const ERASED: &[u8; 16] = b"\x51\x2a\x4d\x18\x08\0\0\0erased\n\0";

/// Content-addressed blobs, zstd on disk, durable when `put` returns.
#[derive(Clone)]
pub struct Blobs {
    shared: Arc<OpenLedger>,
    content: Content,
    dir: PathBuf,
    storage: Arc<dyn Storage>,
    /// Held while a blob gets its name or is erased.
    naming: Arc<Mutex<()>>,
}

impl Blobs {
    pub(crate) fn new(shared: &Arc<OpenLedger>, content: Content, storage: Arc<dyn Storage>) -> Blobs {
        let (dir, naming) = (dir_of(&shared.dir, content), Arc::clone(&shared.naming));
        Blobs { shared: Arc::clone(shared), content, dir, storage, naming }
    }

    /// Stores the bytes (once) and makes them durable.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put(&self, bytes: &[u8]) -> Result<Part, Error> {
        let digest = crate::tree::merkle::digest(bytes);
        if self.knows(&digest) {
            // Another thread may have given it its name and not yet made that durable.
            self.sync_name(&digest)?;
            return Ok(Part::Blob { digest, size: bytes.len() as u64 });
        }
        self.put_stream(&mut &bytes[..], u64::MAX)
    }

    /// Streams a reader into the store; refuses more than `limit` bytes.
    ///
    /// # Errors
    /// [`Error::Refused`] beyond the limit, [`Error::Full`], [`Error::Io`] from the reader or the disk; a half-written
    /// file is removed.
    pub fn put_stream(&self, from: &mut dyn Read, limit: u64) -> Result<Part, Error> {
        let incoming = incoming(&self.dir);
        if !incoming.is_dir() {
            self.storage.create_dir(&incoming).map_err(no_room)?;
        }
        let tmp = incoming.join(uuid::Uuid::new_v4().to_string());
        let outcome = self.write(from, limit, &tmp).and_then(|(digest, size)| self.place(&tmp, digest, size));
        outcome.map_err(|error| {
            drop(self.storage.remove(&tmp));
            match error {
                Error::Io(error) => no_room(error),
                other @ (Error::Locked(_)
                | Error::Refused(_)
                | Error::Corrupt(_)
                | Error::Full(_)
                | Error::Fork(_)
                | Error::Signer(_)) => other,
            }
        })
    }

    /// Opens a blob for streaming; `None` when it was erased. Reading ends in an error, not in the end of the stream,
    /// when the bytes are not those of the digest.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it is missing or cut, [`Error::Io`].
    pub fn open(&self, digest: &Hash) -> Result<Option<Box<dyn Read + Send>>, Error> {
        if self.is_gone(digest)? {
            return Ok(None);
        }
        let file = File::open(self.path(digest)).map_err(|why| {
            if why.kind() == io::ErrorKind::NotFound {
                return Error::Corrupt(format!("blob {digest} is missing; restore it from a copy"));
            }
            why.into()
        })?;
        let packed = Packed::open(file).map_err(|why| damaged(digest, &why))?;
        let from = zstd::Decoder::new(packed)?;
        Ok(Some(Box::new(Checked { from, hasher: Sha256::new(), digest: *digest })))
    }

    /// The digest of what a blob's file holds, whatever its checksum says; `None` where there is nothing that can be
    /// unpacked.
    pub(crate) fn digest_as_it_is(&self, digest: &Hash) -> Option<Hash> {
        let mut from = zstd::Decoder::new(File::open(self.path(digest)).ok()?).ok()?;
        let (mut hasher, mut piece) = (Sha256::new(), vec![0; PIECE_BYTES]);
        loop {
            match from.read(&mut piece).ok()? {
                0 => return Some(Hash(hasher.finalize().into())),
                read => hasher.update(&piece[..read]),
            }
        }
    }

    /// Whether a blob is stored, or was until it was erased.
    pub(crate) fn knows(&self, digest: &Hash) -> bool {
        self.path(digest).exists()
    }

    /// Whether a blob was erased, or is being erased just now.
    pub(crate) fn is_gone(&self, digest: &Hash) -> Result<bool, Error> {
        if self.is_erased(digest)? {
            return Ok(true);
        }
        let going = self.content == Content::Body && erasing::is_under_way(&self.shared, &Target::Blob(*digest))?;
        // It may have ended while nobody looked.
        Ok(going || self.is_erased(digest)?)
    }

    /// Whether a blob was erased.
    pub(crate) fn is_erased(&self, digest: &Hash) -> io::Result<bool> {
        is_erased(&self.path(digest))
    }

    fn path(&self, digest: &Hash) -> PathBuf {
        path_in(&self.dir, digest)
    }

    /// Hashes and compresses into a file, durable when this returns.
    fn write(&self, from: &mut dyn Read, limit: u64, tmp: &Path) -> Result<(Hash, u64), Error> {
        let file = self.storage.create(tmp, Access::Shared)?;
        let mut packed =
            zstd::Encoder::new(Appending { file: &*file, offset: 0, crc: crc32fast::Hasher::new() }, ZSTD_LEVEL)?;
        let mut hasher = Sha256::new();
        let mut piece = vec![0; PIECE_BYTES];
        let mut size = 0;
        loop {
            let read = match from.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e.into()),
            };
            size += read as u64;
            if size > limit {
                return Err(Error::Refused(format!("more than {limit} bytes")));
            }
            hasher.update(&piece[..read]);
            packed.write_all(&piece[..read])?;
        }
        let end = packed.finish()?;
        file.write_at(&trailer(end.crc), end.offset)?;
        file.sync()?;
        Ok((Hash(hasher.finalize().into()), size))
    }

    /// Gives a written blob its name. The same blob may be there already; the same bytes replace it.
    fn place(&self, tmp: &Path, digest: Hash, size: u64) -> Result<Part, Error> {
        let path = self.path(&digest);
        if let Some(dir) = path.parent().filter(|dir| !dir.is_dir()) {
            self.storage.create_dir(dir)?;
            self.dir.parent().map_or(Ok(()), |ledger| self.storage.sync_dir(ledger))?;
        }
        let naming = lock(&self.naming);
        match is_erased(&path)? {
            true => self.storage.remove(tmp)?,
            false => {
                if !path.exists() {
                    self.say_unnamed(digest)?;
                }
                self.storage.rename(tmp, &path)?;
            }
        }
        drop(naming);
        self.sync_name(&digest)?;
        Ok(Part::Blob { digest, size })
    }

    /// Not synced: if the power takes this file and not the blob, an orphan stays, which is harmless.
    fn say_unnamed(&self, digest: Hash) -> io::Result<()> {
        let next_seq = self.shared.durable().next_seq;
        let path = incoming(&self.dir).join(format!("{next_seq:020}-{digest}"));
        self.storage.create(&path, Access::Shared)?;
        lock(&self.shared.unnamed).insert((self.content, digest), path);
        Ok(())
    }

    /// Both directories, always: another thread, or a process that was killed, may have made them and not synced them.
    fn sync_name(&self, digest: &Hash) -> io::Result<()> {
        self.storage.sync_dir(&self.dir)?;
        self.path(digest).parent().map_or(Ok(()), |dir| self.storage.sync_dir(dir))
    }
}

/// Forgets that nothing named these blobs: a durable commit does.
pub(crate) fn named(shared: &OpenLedger, storage: &dyn Storage, blobs: &[(Content, Hash)]) {
    if blobs.is_empty() {
        return;
    }
    let mut unnamed = lock(&shared.unnamed);
    for path in blobs.iter().filter_map(|blob| unnamed.remove(blob)) {
        // One that stays is looked at when the ledger is opened, and its blob found to be named.
        drop(storage.remove(&path));
    }
}

/// Removes what a crash left of blobs: half-written ones, and new ones that no commit names. Before anything is stored,
/// so that none is met that a batch is about to name.
pub(crate) fn collect(shared: &OpenLedger, storage: &dyn Storage) -> Result<(), Error> {
    for content in [Content::Facts, Content::Body] {
        let mut unnamed = Vec::new();
        for path in files_in(&incoming(&dir_of(&shared.dir, content)))? {
            match unnamed_by(&path) {
                Some((seq, digest)) => unnamed.push((seq, digest, path)),
                None => storage.remove(&path)?,
            }
        }
        let Some(from) = unnamed.iter().map(|(seq, ..)| *seq).min() else { continue };
        let Some(named) = named_since(shared, content, from) else { continue };
        for (_, digest, path) in unnamed {
            if !named.contains(&digest) {
                remove_orphan(&path_of(&shared.dir, content, &digest), storage)?;
            }
            storage.remove(&path)?;
        }
    }
    Ok(())
}

fn remove_orphan(path: &Path, storage: &dyn Storage) -> io::Result<()> {
    if !path.exists() || is_erased(path)? {
        return Ok(());
    }
    tracing::info!(blob = %path.display(), "no entry names this blob: a crash came first; it is removed");
    storage.remove(path)?;
    path.parent().map_or(Ok(()), |dir| storage.sync_dir(dir))
}

/// Blobs that commits from a seq on name; `None` when that is too much to read, or cannot be read: orphans are
/// harmless.
fn named_since(shared: &OpenLedger, content: Content, from: u64) -> Option<BTreeSet<Hash>> {
    let next_seq = shared.durable().next_seq;
    let mut named = BTreeSet::new();
    let mut bytes = 0;
    for seq in from..next_seq {
        let batch = lookup::commit(shared, seq).ok()?;
        let parts = batch.entries.iter().flat_map(|(_, entry)| entry.facts.iter().chain(&entry.body));
        named.extend(parts.filter(|part| part.at.is_none() && part.content == content).map(|part| part.digest));
        bytes += batch.bytes;
        if bytes > COLLECT_BYTES_MAX {
            return None;
        }
    }
    Some(named)
}

/// The seq and digest in the name of a file that says that nothing names a blob.
fn unnamed_by(path: &Path) -> Option<(u64, Hash)> {
    let (seq, digest) = path.file_name()?.to_str()?.split_once('-').filter(|(seq, _)| seq.len() == 20)?;
    let mut hash = [0; 32];
    hex::decode_to_slice(digest, &mut hash).ok()?;
    Some((seq.parse().ok()?, Hash(hash)))
}

fn files_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(names) => names.map(|name| Ok(name?.path())).collect(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

fn incoming(dir: &Path) -> PathBuf {
    dir.join("incoming")
}

/// No entry names a blob that is being stored.
fn no_room(error: io::Error) -> Error {
    Error::while_preparing("a blob", error)
}

/// Erases a body: zeros over its bytes, then, in its place, a file that says so. Doing it again is harmless.
pub(crate) fn erase(ledger: &Path, digest: &Hash, storage: &dyn Storage, naming: &Mutex<()>) -> io::Result<()> {
    let path = path_of(ledger, Content::Body, digest);
    let _named_by_nobody_else = lock(naming);
    if is_erased(&path)? {
        return Ok(());
    }
    if let Some(dir) = path.parent().filter(|dir| !dir.is_dir()) {
        storage.create_dir(dir)?;
    }
    if let Ok(old) = fs::metadata(&path) {
        let file = storage.open(&path)?;
        file.write_zeros(0, old.len())?;
        file.sync()?;
    }
    storage::replace(storage, &path, ERASED, Access::Shared)
}

/// Whether a file says that its blob was erased.
pub(crate) fn is_erased(path: &Path) -> io::Result<bool> {
    // Mostly told without opening it.
    match fs::metadata(path) {
        Ok(file) if file.len() == ERASED.len() as u64 => Ok(fs::read(path)? == ERASED),
        Ok(_) => Ok(false),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// The file of a blob.
pub(crate) fn path_of(ledger: &Path, content: Content, digest: &Hash) -> PathBuf {
    path_in(&dir_of(ledger, content), digest)
}

fn dir_of(ledger: &Path, content: Content) -> PathBuf {
    ledger.join(match content {
        Content::Facts => "blobs",
        Content::Body => "bodies",
    })
}

fn path_in(dir: &Path, digest: &Hash) -> PathBuf {
    let name = digest.to_string();
    dir.join(&name[..2]).join(name)
}

/// A file written from its start.
struct Appending<'a> {
    file: &'a dyn StoredFile,
    offset: u64,
    crc: crc32fast::Hasher,
}

impl Write for Appending<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        self.crc.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A zstd skippable frame that holds a checksum.
fn trailer(crc: crc32fast::Hasher) -> [u8; TRAILER_BYTES] {
    let [c0, c1, c2, c3] = crc.finalize().to_le_bytes();
    let [m0, m1, m2, m3] = SKIPPABLE_MAGIC.to_le_bytes();
    [m0, m1, m2, m3, 4, 0, 0, 0, c0, c1, c2, c3]
}

/// The compressed bytes of a blob's file, whose checksum is compared at the end.
struct Packed {
    file: io::Take<File>,
    crc: crc32fast::Hasher,
    trailer: [u8; TRAILER_BYTES],
}

impl Packed {
    fn open(file: File) -> io::Result<Packed> {
        let bytes =
            file.metadata()?.len().checked_sub(TRAILER_BYTES as u64).ok_or_else(|| invalid("blob is cut".into()))?;
        let mut trailer = [0; TRAILER_BYTES];
        file.read_exact_at(&mut trailer, bytes)?;
        Ok(Packed { file: file.take(bytes), crc: crc32fast::Hasher::new(), trailer })
    }
}

impl Read for Packed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        self.crc.update(&into[..read]);
        match read {
            0 if !into.is_empty() && trailer(self.crc.clone()) != self.trailer => {
                Err(invalid("blob's checksum is wrong".into()))
            }
            read => Ok(read),
        }
    }
}

/// Compares the checksum at the end of a blob's file, without unpacking it.
pub(crate) fn check_file(file: &File) -> io::Result<()> {
    io::copy(&mut Packed::open(file.try_clone()?)?, &mut io::sink()).map(drop)
}

/// Bytes whose digest is compared at the end.
struct Checked<R> {
    from: R,
    hasher: Sha256,
    digest: Hash,
}

/// A blob that cannot be unpacked is a damaged file, not a failing writer.
pub(crate) fn damaged(digest: &Hash, why: &io::Error) -> Error {
    Error::Corrupt(format!("blob {digest}: {why}; restore it from a copy"))
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(into)?;
        self.hasher.update(&into[..read]);
        if read > 0 || into.is_empty() {
            return Ok(read);
        }
        let found = Hash(self.hasher.clone().finalize().into());
        match found == self.digest {
            true => Ok(0),
            false => Err(invalid(format!("blob {} has digest {found}", self.digest))),
        }
    }
}
