//! Content decoding (RFC 9110 §8.4): gzip, zstd, bzip2 and xz are undone before a message is hashed, redacted or read,
//! so that it is the same event however it was sent.

use std::fs::File;
use std::io::{self, Read, SeekFrom, Write as _};

use bytes::Bytes;
use pedigraph_proto::message::{Code, Message, Reject};

use super::ReadSeek;
use super::guard::{refuse, reject_of};
use crate::limits::Limits;

/// Decompressed bytes that any input may come to: the ratio says nothing of tiny inputs.
const RATIO_FREE_BYTES: u64 = 64 << 10;
/// Memory that an xz stream may ask for, bytes.
const XZ_MEMORY_BYTES_MAX: u64 = 96 << 20;
/// Largest zstd window, as a power of two: 32 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 25;

/// What a body is after content decoding.
#[derive(Debug)]
pub enum Unpacked {
    /// What it was: it is not compressed.
    Plain,
    /// At most [`Limits::event_bytes_max`] bytes.
    Whole(Bytes),
    /// More than that.
    Large(File),
}

/// Undoes the compression of a body; a reject when it is damaged, goes over a limit or is of an unknown encoding.
/// `spool` gives the file for what is too large to be held in memory. An error is the disk's, not the message's.
pub fn unpack(
    message: &Message,
    input: &mut dyn ReadSeek,
    limits: &Limits,
    spool: impl FnOnce() -> io::Result<File>,
) -> io::Result<Result<Unpacked, Reject>> {
    match unpacked(message, input, limits, spool) {
        Ok(unpacked) => Ok(Ok(unpacked)),
        Err(error) => reject_of(error).map(Err),
    }
}

fn unpacked(
    message: &Message,
    input: &mut dyn ReadSeek,
    limits: &Limits,
    spool: impl FnOnce() -> io::Result<File>,
) -> io::Result<Unpacked> {
    let mut head = Vec::new();
    input.rewind()?;
    (&mut *input).take(8).read_to_end(&mut head)?;
    let Some(compression) = Compression::of(&head, content_encoding(message)).map_err(refuse)? else {
        return Ok(Unpacked::Plain);
    };
    let packed_bytes = input.seek(SeekFrom::End(0))?;
    input.rewind()?;
    let mut reader = Unpacking::new(compression, input, packed_bytes, limits)?;
    let mut bytes = Vec::new();
    reader.by_ref().take(limits.event_bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 <= limits.event_bytes_max {
        return Ok(Unpacked::Whole(bytes.into()));
    }
    let mut file = spool()?;
    file.write_all(&bytes)?;
    drop(bytes);
    io::copy(&mut reader, &mut file)?;
    Ok(Unpacked::Large(file))
}

/// Whether bytes will be unpacked: by the first of them alone.
pub(crate) fn is_compressed(bytes: &[u8]) -> bool {
    Compression::by_magic(bytes).is_some()
}

/// The body of a batch without its compression, in memory.
pub(super) fn whole(message: &Message, body: &Bytes, limits: &Limits) -> Result<Bytes, Reject> {
    let too_large = || Err(refuse(super::too_large(limits.event_bytes_max)));
    match unpacked(message, &mut io::Cursor::new(body), limits, too_large).map_err(super::as_reject)? {
        Unpacked::Plain => Ok(body.clone()),
        Unpacked::Whole(bytes) => Ok(bytes),
        Unpacked::Large(_) => Err(super::too_large(limits.event_bytes_max)),
    }
}

fn content_encoding(message: &Message) -> Option<&str> {
    let (_, value) = message.headers.iter().find(|(name, _)| name == "content-encoding")?;
    std::str::from_utf8(value.as_deref()?).ok()
}

/// How a body is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Compression {
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Compression {
    /// By the first bytes, else by the name of a content encoding; refuses an encoding that is not known.
    fn of(head: &[u8], encoding: Option<&str>) -> Result<Option<Compression>, Reject> {
        if let Some(compression) = Compression::by_magic(head) {
            return Ok(Some(compression));
        }
        match encoding.map(|name| name.trim().to_ascii_lowercase()).as_deref() {
            // A gateway that decoded the body may leave the header: bytes that are not compressed are taken as they
            // are.
            None | Some("" | "identity" | "gzip" | "x-gzip" | "zstd" | "bzip2" | "x-bzip2" | "xz") => Ok(None),
            Some(other) => {
                let other = super::read::clip_to(other, 128);
                let reason = format!("content encoding {other:?} is not supported; use gzip, zstd, bzip2 or xz");
                Err(Reject::new(Code::UnsupportedFormat, reason))
            }
        }
    }

    fn by_magic(head: &[u8]) -> Option<Compression> {
        match head {
            [0x1f, 0x8b, ..] => Some(Compression::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Compression::Zstd),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Compression::Bzip2),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Compression::Xz),
            _ => None,
        }
    }

    fn reader<'a>(self, input: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        let input = io::BufReader::with_capacity(64 << 10, input);
        Ok(match self {
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
            Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(input)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
            Compression::Xz => {
                let stream =
                    liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES_MAX, liblzma::stream::CONCATENATED)
                        .map_err(io::Error::other)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
            }
        })
    }
}

/// A decompressor that stops at the limits.
struct Unpacking<'a> {
    compression: Compression,
    inner: Box<dyn Read + 'a>,
    bytes: u64,
    bytes_max: u64,
}

impl<'a> Unpacking<'a> {
    fn new(
        compression: Compression,
        input: impl Read + 'a,
        packed_bytes: u64,
        limits: &Limits,
    ) -> io::Result<Unpacking<'a>> {
        let by_ratio = packed_bytes.saturating_mul(limits.decompression_ratio_max).max(RATIO_FREE_BYTES);
        let bytes_max = by_ratio.min(limits.decompressed_bytes_max);
        Ok(Unpacking { compression, inner: compression.reader(input)?, bytes: 0, bytes_max })
    }

    /// An error of a decompressor is the sender's, unless the disk below it failed: that one has an error number.
    fn corrupt(&self, error: io::Error) -> io::Error {
        if error.raw_os_error().is_some() {
            return error;
        }
        let reason = format!("{:?} data is damaged or asks for too much memory: {error}", self.compression);
        refuse(Reject::new(Code::MalformedJson, reason))
    }
}

impl Read for Unpacking<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer).map_err(|error| self.corrupt(error))?;
        self.bytes += read as u64;
        if self.bytes > self.bytes_max {
            let reason = format!("more than {} bytes", self.bytes_max);
            return Err(refuse(Reject::new(Code::DecompressionLimit, reason)));
        }
        Ok(read)
    }
}
