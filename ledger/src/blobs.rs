//! Large parts: `blobs/<2 hex>/<64 hex>`, one zstd frame each, named by the SHA-256 of what is in it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::storage::{Access, Storage, StoredFile};
use crate::{Error, Hash, Part};

const ZSTD_LEVEL: i32 = 3;
const PIECE_BYTES: usize = 64 << 10;

/// Content-addressed blobs, zstd on disk, durable when `put` returns.
#[derive(Clone)]
pub struct Blobs {
    dir: PathBuf,
    storage: Arc<dyn Storage>,
}

impl Blobs {
    pub(crate) fn new(ledger: &Path, storage: Arc<dyn Storage>) -> Blobs {
        Blobs { dir: ledger.join("blobs"), storage }
    }

    /// Stores the bytes (once) and makes them durable.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put(&self, bytes: &[u8]) -> Result<Part, Error> {
        let digest = crate::tree::digest(bytes);
        if self.has(&digest) {
            // Another thread may have given it its name and not yet made that durable.
            self.sync_name(&digest)?;
            return Ok(Part::Blob { digest, size: bytes.len() as u64 });
        }
        self.put_stream(&mut &bytes[..], u64::MAX)
    }

    /// Streams a reader into the store; refuses more than `limit` bytes.
    ///
    /// # Errors
    /// [`Error::Refused`] beyond the limit, [`Error::Io`] from the reader or the disk; a half-written file is removed.
    pub fn put_stream(&self, from: &mut dyn Read, limit: u64) -> Result<Part, Error> {
        let incoming = self.dir.join("incoming");
        if !incoming.is_dir() {
            self.storage.create_dir(&incoming)?;
        }
        let tmp = incoming.join(uuid::Uuid::new_v4().to_string());
        let outcome = self.write(from, limit, &tmp);
        match outcome {
            Ok((digest, size)) => self.place(&tmp, digest, size),
            Err(error) => {
                drop(self.storage.remove(&tmp));
                Err(error)
            }
        }
    }

    /// Opens a blob for streaming; `None` when it is not there. Reading ends in an error, not in the end of the stream, when the
    /// bytes are not those of the digest.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(&self, digest: &Hash) -> Result<Option<Box<dyn Read + Send>>, Error> {
        match File::open(self.path(digest)) {
            Ok(file) => Ok(Some(Box::new(Checked {
                from: zstd::Decoder::new(file)?.single_frame(),
                hasher: Sha256::new(),
                digest: *digest,
            }))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether a blob is stored.
    pub fn has(&self, digest: &Hash) -> bool {
        self.path(digest).exists()
    }

    pub(crate) fn path(&self, digest: &Hash) -> PathBuf {
        let name = digest.to_string();
        self.dir.join(&name[..2]).join(name)
    }

    /// Hashes and compresses into a file, durable when this returns.
    fn write(&self, from: &mut dyn Read, limit: u64, tmp: &Path) -> Result<(Hash, u64), Error> {
        let file = self.storage.create(tmp, Access::Shared)?;
        let mut packed = zstd::Encoder::new(Appending { file: &*file, offset: 0 }, ZSTD_LEVEL)?;
        packed.include_checksum(true)?;
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
        packed.finish()?;
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
        self.storage.rename(tmp, &path)?;
        self.sync_name(&digest)?;
        Ok(Part::Blob { digest, size })
    }

    /// Both directories, always: another thread, or a process that was killed, may have made them and not synced them.
    fn sync_name(&self, digest: &Hash) -> io::Result<()> {
        self.storage.sync_dir(&self.dir)?;
        self.path(digest).parent().map_or(Ok(()), |dir| self.storage.sync_dir(dir))
    }
}

/// A file written from its start.
struct Appending<'a> {
    file: &'a dyn StoredFile,
    offset: u64,
}

impl Write for Appending<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes whose digest is compared at the end.
struct Checked<R> {
    from: R,
    hasher: Sha256,
    digest: Hash,
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
            false => {
                Err(io::Error::new(io::ErrorKind::InvalidData, format!("blob {} has digest {found}", self.digest)))
            }
        }
    }
}
