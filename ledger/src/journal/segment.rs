//! Journal segments: files of zeros, written from the start, `journal/<first_seq:020>.seg`.
//!
//! A segment is magic and version, a header frame with the full state before its first commit, then batches. A journal
//! position counts the bytes of all segments before and the offset within; it never changes.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustix::buffer::spare_capacity;

use crate::Error;
use crate::files::ahead::Ahead;
use crate::files::storage::{Rooms, to_usize};
use crate::journal::frame::{self, Found, HeaderFrame, Kind};
use crate::journal::meta::Meta;

/// Name and, in the last byte, format version of a segment.
pub(crate) const MAGIC: [u8; 16] = *b"pedigraph-jrnl\0\x01";
/// Bytes read at once when a segment is scanned: the first time, since a follower finds one batch mostly, and at most.
const READ_BYTES_MIN: usize = 128 << 10;
const READ_BYTES_MAX: usize = 4 << 20;

/// Where a segment lies in the journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    pub(crate) first_seq: u64,
    pub(crate) base: u64,
    pub(crate) capacity: u64,
}

impl Segment {
    /// Journal position of the first byte after it.
    pub(crate) fn end(&self) -> u64 {
        self.base.saturating_add(self.capacity)
    }
}

/// The journal's directory.
pub(crate) fn dir_of(ledger: &Path) -> PathBuf {
    ledger.join("journal")
}

/// The segment's file.
pub(crate) fn path_of(ledger: &Path, first_seq: u64) -> PathBuf {
    dir_of(ledger).join(format!("{first_seq:020}.seg"))
}

/// All segments by their first seq. Reads no content: positions follow from the lengths of the files.
pub(crate) fn list(ledger: &Path) -> Result<Vec<Segment>, Error> {
    let mut found: Vec<(u64, u64)> = Vec::new();
    let names = match fs::read_dir(dir_of(ledger)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        names => names?,
    };
    for name in names {
        let name = name?;
        if let Some(first_seq) = name.file_name().to_str().and_then(parse_name) {
            found.push((first_seq, name.metadata()?.len()));
        }
    }
    found.sort_unstable();
    let mut base = 0;
    let place = |(first_seq, capacity)| {
        let segment = Segment { first_seq, base, capacity };
        base = segment.end();
        segment
    };
    Ok(found.into_iter().map(place).collect())
}

fn parse_name(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".seg")?;
    (number.len() == 20 && number.bytes().all(|b| b.is_ascii_digit())).then(|| number.parse().ok())?
}

/// The first bytes of a segment.
pub(crate) fn encode_header(header: &HeaderFrame) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    frame::write(&mut bytes, 0, Kind::Header, |out| header.put(out));
    bytes
}

/// Reads a segment's header and the offset of its first batch.
///
/// A header is durable before its file has its name, so a bad one is never a crash.
pub(crate) fn read_header(ledger: &Path, meta: &Meta, segment: &Segment) -> Result<(HeaderFrame, u64), Error> {
    let path = path_of(ledger, segment.first_seq);
    let corrupt = |why: &str| {
        Error::Corrupt(format!("{}: {why}; restore this file from a copy, or check the disk", path.display()))
    };
    let file = File::open(&path)?;
    let mut size = 4096;
    let (header, end) = loop {
        let bytes = read_at(&file, 0, size.min(to_usize(segment.capacity)))?;
        let rest = bytes.strip_prefix(&MAGIC).ok_or_else(|| corrupt("no segment of format version 1"))?;
        match frame::read(rest, 0) {
            Found::Frame { kind: Kind::Header, payload, bytes } => {
                break (HeaderFrame::take(payload), MAGIC.len() + bytes);
            }
            Found::Short if size < to_usize(segment.capacity) => size = size.saturating_mul(8),
            Found::Short | Found::Nothing | Found::Bad | Found::Frame { .. } => {
                return Err(corrupt("the segment's header is damaged"));
            }
        }
    };
    let header = header.ok_or_else(|| corrupt("the segment's header is damaged"))?;
    if header.uuid != *meta.uuid.as_bytes() {
        return Err(corrupt("the segment is of another ledger"));
    }
    if (header.first_seq, header.base, header.capacity) != (segment.first_seq, segment.base, segment.capacity) {
        return Err(corrupt("the segment is not where its header says: a segment before it is missing or was cut"));
    }
    Ok((header, end as u64))
}

/// Where the first byte lies that is not zero; looks at many at once.
fn first_written(bytes: &[u8]) -> Option<usize> {
    const STRIDE_BYTES: usize = 4096;
    let zero = |stride: &&[u8]| stride.iter().fold(0, |all, byte| all | byte) == 0;
    let from = bytes.chunks(STRIDE_BYTES).take_while(zero).count() * STRIDE_BYTES;
    bytes.get(from..)?.iter().position(|byte| *byte != 0).map(|at| from + at)
}

/// Reads `count` bytes, fewer at the end of the file.
pub(crate) fn read_at(file: &File, offset: u64, count: usize) -> io::Result<Vec<u8>> {
    read_on(file, offset, count, &[])
}

/// The bytes that are known of the file from `offset` on, and after them those up to `count` in all, fewer at the end
/// of the file.
fn read_on(file: &File, offset: u64, count: usize, known: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(count);
    bytes.extend_from_slice(known);
    while bytes.len() < count {
        let at = offset + bytes.len() as u64;
        // Into memory that was not filled with zeros before.
        match rustix::io::pread(file, spare_capacity(&mut bytes), at) {
            Ok(0) => break,
            Ok(_) => bytes.truncate(count),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(bytes)
}

/// What comes next in a segment.
#[derive(Debug)]
pub(crate) enum Step {
    /// A whole batch of frames whose checksums hold; its bytes and journal position.
    Batch { bytes: Bytes, at: u64 },
    /// Zeros where the next batch would begin.
    End,
    /// Something else: a torn or damaged batch, or one that is being written.
    Bad,
}

/// Reads the batches of one segment in order.
pub(crate) struct Scan {
    pub(crate) file: Arc<File>,
    pub(crate) segment: Segment,
    salt: u32,
    /// Offset of the next batch.
    pub(crate) offset: u64,
    /// What was read ahead, from `offset` on.
    chunk: Bytes,
    /// How many bytes of it are frames of the next batch whose checksums hold.
    walked: usize,
    /// Bytes to read ahead next: more each time.
    read_bytes: usize,
    /// A thread that reads, for those who read all.
    ahead: Option<Ahead>,
}

impl Scan {
    /// Starts at an offset where a batch begins.
    pub(crate) fn open(ledger: &Path, meta: &Meta, segment: Segment, offset: u64) -> Result<Scan, Error> {
        let file = Arc::new(File::open(path_of(ledger, segment.first_seq))?);
        let (chunk, walked) = (Bytes::new(), 0);
        Ok(Scan { file, segment, salt: meta.salt, offset, chunk, walked, read_bytes: READ_BYTES_MIN, ahead: None })
    }

    /// The same, read ahead to the segment's end.
    pub(crate) fn of_all(
        ledger: &Path,
        meta: &Meta,
        segment: Segment,
        offset: u64,
        rooms: &Rooms,
    ) -> Result<Scan, Error> {
        let ahead = Some(Ahead::of(&path_of(ledger, segment.first_seq), offset, rooms.clone())?);
        Ok(Scan { ahead, ..Scan::open(ledger, meta, segment, offset)? })
    }

    /// The next batch, and steps over it.
    pub(crate) fn step(&mut self) -> io::Result<Step> {
        loop {
            match walk(&self.chunk, &mut self.walked, self.salt) {
                Walk::Commit => return Ok(self.take()),
                Walk::Nothing => return Ok(Step::End),
                Walk::Bad => return Ok(Step::Bad),
                Walk::Short => {}
            }
            let left = to_usize(self.segment.capacity.saturating_sub(self.offset));
            if self.chunk.len() >= left {
                return Ok(if self.chunk.iter().all(|b| *b == 0) { Step::End } else { Step::Bad });
            }
            let bytes = match &self.ahead {
                Some(ahead) => ahead.after(self.chunk.clone())?,
                None => {
                    let want = self.chunk.len().saturating_mul(2).max(self.read_bytes).min(left);
                    read_on(&self.file, self.offset, want, &self.chunk)?.into()
                }
            };
            if bytes.len() <= self.chunk.len() {
                return Ok(Step::Bad);
            }
            self.chunk = bytes;
            self.read_bytes = self.read_bytes.saturating_mul(2).min(READ_BYTES_MAX);
        }
    }

    /// Whether nothing was written where the next batch would begin; reads four bytes.
    pub(crate) fn is_at_end(&self) -> io::Result<bool> {
        let left = to_usize(self.segment.capacity.saturating_sub(self.offset));
        let length = read_at(&self.file, self.offset, left.min(4))?;
        Ok(length.iter().all(|byte| *byte == 0))
    }

    /// Forgets what was read ahead: another process may have written there since.
    pub(crate) fn refresh(&mut self) {
        (self.chunk, self.walked, self.read_bytes, self.ahead) = (Bytes::new(), 0, READ_BYTES_MIN, None);
    }

    /// The offset of the first byte that is not zero, from the next batch on: nothing was written there but by a crash,
    /// a fault or a writer at work.
    pub(crate) fn written_behind(&self) -> io::Result<Option<u64>> {
        let mut offset = self.offset;
        while offset < self.segment.capacity {
            let bytes = read_at(&self.file, offset, READ_BYTES_MAX.min(to_usize(self.segment.capacity - offset)))?;
            if let Some(at) = first_written(&bytes) {
                return Ok(Some(offset + at as u64));
            }
            if bytes.is_empty() {
                break;
            }
            offset += bytes.len() as u64;
        }
        Ok(None)
    }

    /// All bytes from the next batch to the segment's end.
    pub(crate) fn tail(&self) -> io::Result<Vec<u8>> {
        read_at(&self.file, self.offset, to_usize(self.segment.capacity.saturating_sub(self.offset)))
    }

    fn take(&mut self) -> Step {
        let at = self.segment.base + self.offset;
        let bytes = std::mem::take(&mut self.walked);
        self.offset += bytes as u64;
        Step::Batch { bytes: self.chunk.split_to(bytes), at }
    }
}

pub(crate) enum Walk {
    /// The frames up to here are a batch.
    Commit,
    Nothing,
    Short,
    Bad,
}

/// Steps over frames, from where it stopped before, up to the first commit.
pub(crate) fn walk(bytes: &[u8], offset: &mut usize, salt: u32) -> Walk {
    loop {
        match frame::read(&bytes[*offset..], salt) {
            Found::Frame { kind: Kind::Commit, bytes, .. } => {
                *offset += bytes;
                return Walk::Commit;
            }
            Found::Frame { kind: Kind::Header, .. } | Found::Bad => return Walk::Bad,
            Found::Frame { bytes, .. } => *offset += bytes,
            Found::Nothing if *offset == 0 => return Walk::Nothing,
            Found::Nothing => return Walk::Bad,
            Found::Short => return Walk::Short,
        }
    }
}
