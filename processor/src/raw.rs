//! A message's bytes on their way into the ledger, in memory or in a file: what is done to both before they are stored.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use pedigraph_proto::canonical::sha256;
use pedigraph_proto::message::{Body, Message, Redaction, Reject};
use sha2::{Digest as _, Sha256};

use crate::decode::{Decoded, Rejected, Unpacked, decode, decode_stream, unpack};
use crate::limits::Limits;
use crate::redact;

/// Bytes read from a spooled document at once.
const READ_BYTES: usize = 256 << 10;

/// The bytes of a message.
pub(crate) enum Raw {
    Memory(Bytes),
    /// Open for reading and writing.
    File(File),
}

impl Raw {
    /// Takes them out of a message.
    pub(crate) fn take(body: &mut Body) -> io::Result<Raw> {
        match body {
            Body::Null => Ok(Raw::Memory(Bytes::new())),
            Body::Bytes(bytes) => Ok(Raw::Memory(std::mem::take(bytes))),
            Body::File { path, .. } => Ok(Raw::File(OpenOptions::new().read(true).write(true).open(path)?)),
        }
    }

    /// Goes back to the first byte.
    pub(crate) fn rewind(&mut self) -> io::Result<()> {
        match self {
            Raw::Memory(_) => Ok(()),
            Raw::File(file) => file.rewind(),
        }
    }

    /// Undoes compression. What is over the limits before it is unpacked is left to the decoder to refuse.
    pub(crate) fn unpack(
        &mut self,
        message: &Message,
        limits: &Limits,
        scratch: &Scratch,
    ) -> io::Result<Result<Unpacked, Reject>> {
        match self {
            Raw::Memory(bytes) if bytes.len() as u64 > limits.event_bytes_max => Ok(Ok(Unpacked::Plain)),
            Raw::Memory(bytes) => unpack(message, &mut io::Cursor::new(bytes), limits, || scratch.file()),
            Raw::File(file) => unpack(message, file, limits, || scratch.file()),
        }
    }

    /// Overwrites secrets, and says so if there were any.
    pub(crate) fn redact(&mut self) -> io::Result<Option<Redaction>> {
        let mut received_digest = [0; 32];
        let count = match self {
            Raw::Memory(bytes) => {
                let Some((redacted, count)) = redact::redact(bytes) else { return Ok(None) };
                received_digest = sha256(bytes);
                *bytes = redacted;
                count
            }
            Raw::File(file) => redact::redact_file(file, |file| {
                received_digest = hash(file)?.0.finalize().into();
                Ok(())
            })?,
        };
        Ok((count > 0).then_some(Redaction { rules: redact::VERSION, count, received_digest }))
    }

    /// The hash so far of all bytes, and how many they are.
    pub(crate) fn hash(&mut self) -> io::Result<(Sha256, u64)> {
        match self {
            Raw::Memory(bytes) => Ok((Sha256::new_with_prefix(&*bytes), bytes.len() as u64)),
            Raw::File(file) => hash(file),
        }
    }

    /// Reads the message, which is not compressed; `digest` is that of the bytes.
    pub(crate) fn decode(
        &mut self,
        message: &Message,
        digest: &[u8; 32],
        limits: &Limits,
    ) -> io::Result<Result<Decoded, Box<Rejected>>> {
        match self {
            Raw::Memory(bytes) => Ok(decode(message, bytes, digest, limits)),
            Raw::File(file) => decode_stream(message, file, digest, limits),
        }
    }
}

fn hash(file: &mut File) -> io::Result<(Sha256, u64)> {
    let (mut hasher, mut size) = (Sha256::new(), 0);
    let mut buffer = vec![0; READ_BYTES];
    file.rewind()?;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((hasher, size));
        }
        hasher.update(&buffer[..read]);
        size += read as u64;
    }
}

/// Where documents are unpacked that are too large for memory: files without a name, so that none is left by a crash.
#[derive(Clone)]
pub(crate) struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    pub(crate) fn new(dir: PathBuf) -> Scratch {
        Scratch { dir }
    }

    fn file(&self) -> io::Result<File> {
        static FILES: AtomicU64 = AtomicU64::new(0);
        let name = format!("unpacking-{}", FILES.fetch_add(1, Ordering::Relaxed));
        let path = self.dir.join(name);
        // One of the same name was left by a process that died right here: it is empty.
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(file)
    }
}
