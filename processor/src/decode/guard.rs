//! What is checked before a byte is parsed: UTF-8, depth, and how far compressed bytes may grow.

use std::io::{self, Read};

use pedigraph_proto::message::{Code, Reject};
use sha2::{Digest as _, Sha256};

use crate::limits::Limits;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Decompressed bytes that any input may come to: the ratio says nothing of tiny inputs.
const RATIO_FREE_BYTES: u64 = 64 << 10;
/// Memory that an xz stream may ask for, bytes.
const XZ_MEMORY_BYTES_MAX: u64 = 96 << 20;
/// Largest zstd window, as a power of two: 32 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 25;

/// The bytes as text without a byte order mark, if they are UTF-8 and not too deep.
pub(super) fn text<'a>(bytes: &'a [u8], limits: &Limits) -> Result<&'a str, Reject> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| not_utf8(error.valid_up_to()))?;
    check_depth(bytes, limits.json_depth_max)?;
    Ok(text)
}

fn not_utf8(offset: usize) -> Reject {
    Reject::new(Code::MalformedJson, format!("not UTF-8 at byte {offset}"))
}

/// Refuses JSON that nests deeper than the limit, before a recursive reader sees it.
pub(super) fn check_depth(bytes: &[u8], depth_max: usize) -> Result<(), Reject> {
    // Most input has fewer brackets in all than the limit allows at once, and counting them is almost free.
    if opening_brackets(bytes) <= depth_max {
        return Ok(());
    }
    let mut scan = DepthScan::default();
    if scan.feed(bytes, depth_max) { Ok(()) } else { Err(too_deep(depth_max)) }
}

/// Counts `{` and `[`, in sums of a byte each so that the compiler can do many at once.
fn opening_brackets(bytes: &[u8]) -> usize {
    let opens = |byte: &u8| u8::from(byte | 0x20 == b'{');
    let chunks = bytes.chunks(255);
    chunks.map(|chunk| usize::from(chunk.iter().fold(0_u8, |sum, byte| sum.wrapping_add(opens(byte))))).sum()
}

fn too_deep(depth_max: usize) -> Reject {
    Reject::new(Code::TooDeep, format!("nested deeper than {depth_max} levels"))
}

/// Counts nesting over pieces of a document.
#[derive(Default)]
struct DepthScan {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl DepthScan {
    /// False once the depth is more than the limit.
    fn feed(&mut self, bytes: &[u8], depth_max: usize) -> bool {
        for &byte in bytes {
            match (self.in_string, byte) {
                (true, _) if self.escaped => self.escaped = false,
                (true, b'\\') => self.escaped = true,
                (_, b'"') => self.in_string = !self.in_string,
                (true, _) => {}
                (false, b'{' | b'[') => self.depth += 1,
                (false, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
                (false, _) => {}
            }
            if self.depth > depth_max {
                return false;
            }
        }
        true
    }
}

/// How a body is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Packing {
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Packing {
    /// By the first bytes, else by the name of a content encoding; refuses an encoding that is not known.
    pub(super) fn of(head: &[u8], encoding: Option<&str>) -> Result<Option<Packing>, Reject> {
        if let Some(packing) = Packing::by_magic(head) {
            return Ok(Some(packing));
        }
        match encoding.map(|name| name.trim().to_ascii_lowercase()).as_deref() {
            // A gateway that decoded the body may leave the header: bytes that are not compressed are taken as they are.
            None | Some("" | "identity" | "gzip" | "x-gzip" | "zstd" | "bzip2" | "x-bzip2" | "xz") => Ok(None),
            Some(other) => {
                let reason = format!("content encoding {other:?} is not supported; use gzip, zstd, bzip2 or xz");
                Err(Reject::new(Code::UnsupportedFormat, reason))
            }
        }
    }

    fn by_magic(head: &[u8]) -> Option<Packing> {
        match head {
            [0x1f, 0x8b, ..] => Some(Packing::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Packing::Zstd),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Packing::Bzip2),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Packing::Xz),
            _ => None,
        }
    }

    fn reader<'a>(self, input: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        let input = io::BufReader::with_capacity(64 << 10, input);
        Ok(match self {
            Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
            Packing::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
            Packing::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(input)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
            Packing::Xz => {
                let stream =
                    liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES_MAX, liblzma::stream::CONCATENATED)
                        .map_err(io::Error::other)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
            }
        })
    }
}

/// A reject on its way through a reader's error.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.reason)]
struct Refusal(Reject);

pub(super) fn refuse(reject: Reject) -> io::Error {
    io::Error::other(Refusal(reject))
}

/// The reject that an error of a [`Guarded`] reader carries; the error itself when the disk failed.
pub(super) fn reject_of(error: io::Error) -> Result<Reject, io::Error> {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Refusal>()) {
        Some(Refusal(reject)) => Ok(reject.clone()),
        None => Err(error),
    }
}

/// A document that is read in pieces: decompressed, bounded, UTF-8 without byte order mark, not too deep.
pub(super) struct Guarded<'a> {
    inner: Box<dyn Read + 'a>,
    packed: Option<Packing>,
    size: u64,
    size_max: u64,
    limit: Code,
    depth_max: usize,
    depth: DepthScan,
    utf8: Utf8Scan,
    hasher: Option<Sha256>,
    head: Vec<u8>,
}

impl<'a> Guarded<'a> {
    /// Reads `input` of `packed_size` bytes. With `hash`, the digest of what comes out is kept.
    pub(super) fn new(
        input: impl Read + 'a,
        packed: Option<Packing>,
        packed_size: u64,
        limits: &Limits,
    ) -> io::Result<Guarded<'a>> {
        let by_ratio = packed_size.saturating_mul(limits.decompression_ratio_max).max(RATIO_FREE_BYTES);
        let (inner, size_max, limit) = match packed {
            Some(packing) => {
                let size_max = by_ratio.min(limits.decompressed_bytes_max);
                (packing.reader(input)?, size_max, Code::DecompressionLimit)
            }
            None => (Box::new(input) as Box<dyn Read + 'a>, limits.document_bytes_max, Code::TooLarge),
        };
        let mut guarded = Guarded {
            inner,
            packed,
            size: 0,
            size_max,
            limit,
            depth_max: limits.json_depth_max,
            depth: DepthScan::default(),
            utf8: Utf8Scan::default(),
            hasher: packed.map(|_| Sha256::new()),
            head: Vec::new(),
        };
        guarded.skip_byte_order_mark()?;
        Ok(guarded)
    }

    /// Digest of what came out, when that differs from what went in.
    pub(super) fn digest(&mut self) -> Option<[u8; 32]> {
        self.hasher.take().map(|hasher| hasher.finalize().into())
    }

    fn skip_byte_order_mark(&mut self) -> io::Result<()> {
        let mut head = [0; 3];
        let mut filled = 0;
        while filled < head.len() {
            match self.read_checked(&mut head[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        if head[..filled] != *BYTE_ORDER_MARK {
            self.head = head[..filled].to_vec();
        }
        Ok(())
    }

    fn read_checked(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer).map_err(|error| self.corrupt(error))?;
        let bytes = &buffer[..read];
        self.size += read as u64;
        if self.size > self.size_max {
            let reason = format!("more than {} bytes", self.size_max);
            return Err(refuse(Reject::new(self.limit, reason)));
        }
        if !self.depth.feed(bytes, self.depth_max) {
            return Err(refuse(too_deep(self.depth_max)));
        }
        let utf8_ok = if read == 0 { buffer.is_empty() || self.utf8.ends_whole() } else { self.utf8.feed(bytes) };
        if !utf8_ok {
            return Err(refuse(Reject::new(Code::MalformedJson, "not UTF-8")));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        Ok(read)
    }

    /// An error of a decompressor is the sender's, unless the disk below it failed: that one has an error number.
    fn corrupt(&self, error: io::Error) -> io::Error {
        match self.packed {
            Some(packing) if error.raw_os_error().is_none() => {
                let reason = format!("{packing:?} data is damaged or asks for too much memory: {error}");
                refuse(Reject::new(Code::MalformedJson, reason))
            }
            _ => error,
        }
    }
}

impl Read for Guarded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.head.is_empty() {
            return self.read_checked(buffer);
        }
        let length = self.head.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.head[..length]);
        self.head.drain(..length);
        Ok(length)
    }
}

/// Checks UTF-8 over pieces of a document.
#[derive(Default)]
struct Utf8Scan {
    /// The beginning of a character that the last piece cut.
    cut: Vec<u8>,
}

impl Utf8Scan {
    fn feed(&mut self, mut bytes: &[u8]) -> bool {
        while !self.cut.is_empty() {
            let Some((&first, rest)) = bytes.split_first() else { return true };
            self.cut.push(first);
            bytes = rest;
            match std::str::from_utf8(&self.cut) {
                Ok(_) => self.cut.clear(),
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return false,
            }
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => true,
            Err(error) if error.error_len().is_none() => {
                self.cut.extend_from_slice(&bytes[error.valid_up_to()..]);
                true
            }
            Err(_) => false,
        }
    }

    fn ends_whole(&self) -> bool {
        self.cut.is_empty()
    }
}

/// Decompresses a body that is in memory.
pub(super) fn unpacked(body: &[u8], packing: Packing, limits: &Limits) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let guarded = Guarded::new(body, Some(packing), body.len() as u64, limits)?;
    guarded.take(limits.event_bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limits.event_bytes_max {
        return Err(refuse(super::too_large(limits.event_bytes_max)));
    }
    Ok(bytes)
}
