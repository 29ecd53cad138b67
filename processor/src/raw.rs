//! A message's bytes on their way into the ledger, in memory or in a file: what is done to both before they are stored.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pedigraph_proto::canonical::sha256;
use pedigraph_proto::message::{Body, Code, Message, Redaction, Reject};
use sha2::{Digest as _, Sha256};

use crate::clock::thread_time;
use crate::decode::{Decoded, ReadSeek, Rejected, Unpacked, decode, decode_stream, is_compressed, unpack};
use crate::limits::Limits;
use crate::{open, redact};

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
            Body::File { path, .. } => Ok(Raw::File(open::existing(path)?)),
        }
    }

    /// Goes back to the first byte.
    pub(crate) fn rewind(&mut self) -> io::Result<()> {
        match self {
            Raw::Memory(_) => Ok(()),
            Raw::File(file) => file.rewind(),
        }
    }

    /// Whether there is something to unpack.
    pub(crate) fn is_compressed(&mut self) -> io::Result<bool> {
        match self {
            Raw::Memory(bytes) => Ok(is_compressed(bytes)),
            Raw::File(file) => {
                let mut head = Vec::new();
                file.rewind()?;
                file.take(8).read_to_end(&mut head)?;
                Ok(is_compressed(&head))
            }
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
            Raw::Memory(bytes) if !is_compressed(bytes) => {
                unpack(message, &mut io::Cursor::new(bytes), limits, || scratch.file())
            }
            Raw::Memory(bytes) => in_time(message, &mut io::Cursor::new(bytes), limits, scratch),
            Raw::File(file) => in_time(message, file, limits, scratch),
        }
    }

    /// Overwrites secrets, and says so if there were any; beside it the bytes as they came, if they are no more than
    /// an event may have.
    pub(crate) fn redact(&mut self, limits: &Limits) -> io::Result<Option<(Redaction, Option<Bytes>)>> {
        let (mut received_digest, mut received) = ([0; 32], None);
        let count = match self {
            Raw::Memory(bytes) => {
                let Some((redacted, count)) = redact::redact(bytes, &limits.redact) else { return Ok(None) };
                received_digest = sha256(bytes);
                received = Some(std::mem::replace(bytes, redacted));
                count
            }
            Raw::File(file) => redact::redact_file(file, &limits.redact, |file| {
                received_digest = hash(file)?.0.finalize().into();
                received = small(file, limits.event_bytes_max)?;
                Ok(())
            })?,
        };
        let redaction = Redaction { rules: redact::VERSION, count, received_digest };
        Ok((count > 0).then_some((redaction, received)))
    }

    /// All of them, if they are no more than this.
    pub(crate) fn small(&mut self, bytes_max: u64) -> io::Result<Option<Bytes>> {
        match self {
            Raw::Memory(bytes) => Ok((bytes.len() as u64 <= bytes_max).then(|| bytes.clone())),
            Raw::File(file) => small(file, bytes_max),
        }
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

/// Unpacks within the time that an input of this size has.
fn in_time(
    message: &Message,
    input: &mut dyn ReadSeek,
    limits: &Limits,
    scratch: &Scratch,
) -> io::Result<Result<Unpacked, Reject>> {
    let bytes = input.seek(SeekFrom::End(0))?;
    let time_max = limits.unpack_time_max(bytes);
    let mut timed = Timed { input, until: thread_time() + time_max, is_over: false };
    let unpacked = unpack(message, &mut timed, limits, || scratch.file());
    if timed.is_over {
        let reason =
            format!("unpacking takes longer than {} ms, which is the time for {bytes} bytes", time_max.as_millis());
        return Ok(Err(Reject::new(Code::DecompressionLimit, reason)));
    }
    unpacked
}

/// What is read for as long as its thread has computing time left: a busy machine takes none of it away.
struct Timed<'a> {
    input: &'a mut dyn ReadSeek,
    until: Duration,
    is_over: bool,
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.is_over = self.is_over || thread_time() >= self.until;
        if self.is_over { Err(io::Error::other("out of time")) } else { self.input.read(buffer) }
    }
}

impl Seek for Timed<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.input.seek(to)
    }
}

/// All of a file that is no larger.
fn small(file: &mut File, bytes_max: u64) -> io::Result<Option<Bytes>> {
    if file.metadata()?.len() > bytes_max {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes.into()))
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
        let file = open::new(&path)?;
        std::fs::remove_file(&path)?;
        Ok(file)
    }
}
