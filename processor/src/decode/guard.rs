//! What is checked before a byte is parsed: size, UTF-8 and depth.

use std::io::{self, Read};

use pedigraph_proto::message::{Code, Reject};

use super::ReadSeek;
use crate::limits::Limits;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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
pub(super) fn opening_brackets(bytes: &[u8]) -> usize {
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

/// A document that is read in pieces: bounded, UTF-8 without byte order mark, not too deep.
pub(super) struct Guarded<'a> {
    inner: &'a mut dyn ReadSeek,
    size: u64,
    size_max: u64,
    depth_max: usize,
    depth: DepthScan,
    utf8: Utf8Scan,
    head: Vec<u8>,
}

impl<'a> Guarded<'a> {
    /// Reads `input` from its beginning.
    pub(super) fn new(input: &'a mut dyn ReadSeek, limits: &Limits) -> io::Result<Guarded<'a>> {
        input.rewind()?;
        let mut guarded = Guarded {
            inner: input,
            size: 0,
            size_max: limits.document_bytes_max,
            depth_max: limits.json_depth_max,
            depth: DepthScan::default(),
            utf8: Utf8Scan::default(),
            head: Vec::new(),
        };
        guarded.skip_byte_order_mark()?;
        Ok(guarded)
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
        let read = self.inner.read(buffer)?;
        let bytes = &buffer[..read];
        self.size += read as u64;
        if self.size > self.size_max {
            return Err(refuse(super::too_large(self.size_max)));
        }
        if !self.depth.feed(bytes, self.depth_max) {
            return Err(refuse(too_deep(self.depth_max)));
        }
        let utf8_ok = if read == 0 { buffer.is_empty() || self.utf8.ends_whole() } else { self.utf8.feed(bytes) };
        if !utf8_ok {
            return Err(refuse(Reject::new(Code::MalformedJson, "not UTF-8")));
        }
        Ok(read)
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
