//! A file read ahead of whoever checks it, past the page cache and into memory that is used again: what the full check
//! reads once takes no memory from others on the machine, and costs no new pages.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender};

use bytes::Bytes;

use crate::files::storage::{self, PAGE_BYTES, Rooms, to_usize};

/// Bytes read at once.
const PIECE_BYTES: usize = 4 << 20;
/// Room before each piece for the rest of the one before it.
const REST_BYTES: usize = 2 << 20;
/// Pieces read that nobody has asked for yet.
const PIECES_AHEAD: usize = 2;
/// Pieces of memory that are kept to be used again.
const KEPT_MAX: usize = 6;

/// Memory for pieces.
pub(crate) fn rooms() -> Rooms {
    Rooms::keeping(KEPT_MAX)
}

/// Memory with what was read into it.
struct Piece {
    bytes: Vec<u8>,
    read: std::ops::Range<usize>,
    rooms: Rooms,
}

impl Piece {
    fn new(rooms: &Rooms) -> Piece {
        const BYTES: usize = REST_BYTES + PIECE_BYTES + PAGE_BYTES;
        let mut bytes = rooms.take(BYTES);
        bytes.resize(BYTES, 0);
        let start = storage::to_page(&bytes) + REST_BYTES;
        Piece { bytes, read: start..start, rooms: rooms.clone() }
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.read.clone()]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.rooms.keep(std::mem::take(&mut self.bytes));
    }
}

/// A file that a thread reads from an offset on.
pub(crate) struct Ahead {
    pieces: Receiver<io::Result<Piece>>,
}

impl Ahead {
    /// Begins to read at an offset.
    pub(crate) fn of(path: &Path, offset: u64, rooms: Rooms) -> io::Result<Ahead> {
        let file = File::open(path)?;
        let _the_usual_way_where_that_cannot_be = storage::set_direct(&file, true);
        let (send, pieces) = mpsc::sync_channel(PIECES_AHEAD);
        std::thread::Builder::new().name("ledger-read".into()).spawn(move || read(&file, offset, &rooms, &send))?;
        Ok(Ahead { pieces })
    }

    /// What was not used of the bytes so far, and the bytes after them: at least as many when it is long. The same at
    /// the end of the file.
    pub(crate) fn after(&self, rest: Bytes) -> io::Result<Bytes> {
        if rest.len() <= REST_BYTES {
            let Ok(piece) = self.pieces.recv() else { return Ok(rest) };
            let mut piece = piece?;
            let from = piece.read.start - rest.len();
            piece.bytes[from..piece.read.start].copy_from_slice(&rest);
            piece.read.start = from;
            return Ok(Bytes::from_owner(piece));
        }
        let mut long = Vec::with_capacity(rest.len() * 2 + PIECE_BYTES);
        long.extend_from_slice(&rest);
        while long.len() < rest.len() * 2
            && let Ok(piece) = self.pieces.recv()
        {
            long.extend_from_slice(piece?.as_ref());
        }
        Ok(long.into())
    }
}

/// Up to the end of the file or the first fault, or until nobody listens any more.
fn read(file: &File, mut offset: u64, rooms: &Rooms, send: &SyncSender<io::Result<Piece>>) {
    loop {
        let piece = read_piece(file, offset, Piece::new(rooms));
        let bytes = match &piece {
            Ok(piece) if piece.read.is_empty() => return,
            Ok(piece) => piece.read.len() as u64,
            Err(_) => 0,
        };
        if send.send(piece).is_err() || bytes == 0 {
            return;
        }
        offset += bytes;
    }
}

/// Reads from an offset up to the end of a piece, which begins at a page.
fn read_piece(file: &File, offset: u64, mut piece: Piece) -> io::Result<Piece> {
    let skipped = to_usize(offset % PAGE_BYTES as u64);
    let start = piece.read.start;
    let into = &mut piece.bytes[start..start + PIECE_BYTES];
    let read = loop {
        match file.read_at(into, offset - skipped as u64) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // Not every file system that takes the flag reads so.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput && storage::set_direct(file, false).is_ok() => {
                break file.read_at(into, offset - skipped as u64)?;
            }
            read => break read?,
        }
    };
    piece.read = start + skipped.min(read)..start + read;
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_once_and_in_order_however_much_of_it_is_left_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        let all: Vec<u8> = (0..u32::try_from(PIECE_BYTES).expect("fits")).flat_map(u32::to_le_bytes).skip(3).collect();
        std::fs::write(&path, &all).expect("written");
        let rooms = rooms();
        for (offset, used) in
            [(0, PIECE_BYTES), (1, 1 << 20), (PAGE_BYTES + 7, PIECE_BYTES - 1), (5_000_001, 17), (all.len(), 1)]
        {
            let ahead = Ahead::of(&path, offset as u64, rooms.clone()).expect("opens");
            let (mut found, mut rest) = (Vec::new(), Bytes::new());
            loop {
                let before = rest.len();
                rest = ahead.after(rest).expect("read");
                if rest.len() == before {
                    break;
                }
                found.extend_from_slice(&rest.split_to(used.min(rest.len())));
            }
            found.extend_from_slice(&rest);
            assert!(found == all[offset..], "from {offset}, using {used} at once");
        }
    }
}
