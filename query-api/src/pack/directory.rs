//! What a zip says of its files besides their names and bytes. Nothing of it may mean anything, as nothing of it is
//! signed: not what makes a file a link, a program or hidden, not what one reader heeds and another does not.
//!
//! Three things may differ and are nobody's statement: by which version of a program it was made, the time of a file,
//! and whether it is for its owner alone (modes 0644 and 0600, as a plain file or without a kind).

use std::io::{Read, Seek, SeekFrom};

/// Bytes of a row of the directory before its name.
const ROW_BYTES: usize = 46;
/// Bytes of the header before a file, before its name.
const HEADER_BYTES: usize = 30;
/// Unix: modes are in the upper half of the attributes.
const HOST: u64 = 3;
const MODES: [u64; 4] = [0o100_644, 0o100_600, 0o644, 0o600];
/// Versions of the format that stored and deflated files need.
const VERSIONS: [u64; 2] = [10, 20];

/// Checks each row of a directory of `bytes` bytes at `start`, and the header that it leads to. An error says what is
/// wrong in the row of that name.
pub(crate) fn check<R: Read + Seek>(from: &mut R, start: u64, bytes: u64) -> Result<(), (String, &'static str)> {
    let cut = |_| (String::new(), "the directory cannot be read");
    from.seek(SeekFrom::Start(start)).map_err(cut)?;
    let mut all = Vec::new();
    from.take(bytes).read_to_end(&mut all).map_err(cut)?;
    let mut rest = &all[..];
    while !rest.is_empty() {
        let (row, name, after) = row_of(rest).ok_or((String::new(), "the directory is damaged"))?;
        let named = |why| (String::from_utf8_lossy(name).into_owned(), why);
        is_plain(row).map_err(named)?;
        let mut header = vec![0; HEADER_BYTES + name.len()];
        let at = number(row, 42, 4);
        from.seek(SeekFrom::Start(at)).and_then(|_| from.read_exact(&mut header)).map_err(|_| named("is cut off"))?;
        // From the version that is needed to the length of the name both say the same in the same order.
        let same = header.starts_with(b"PK\x03\x04") && header[4..28] == row[6..30] && header[HEADER_BYTES..] == *name;
        if !same || number(&header, 28, 2) != 0 {
            return Err(named("the directory says something else than the header before the file"));
        }
        rest = after;
    }
    Ok(())
}

/// The first row, its name, and what comes after.
fn row_of(rest: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (row, after) = rest.split_at_checked(ROW_BYTES)?;
    let (name, after) = after.split_at_checked(usize::try_from(number(row, 28, 2)).ok()?)?;
    row.starts_with(b"PK\x01\x02").then_some((row, name, after))
}

/// What a plain file's row says, whoever made it.
fn is_plain(row: &[u8]) -> Result<(), &'static str> {
    let wrong = [
        (number(row, 5, 1) != HOST, "it was not made for Unix"),
        (!VERSIONS.contains(&number(row, 6, 2)), "it needs another version of the format"),
        (number(row, 8, 2) != 0, "it has flags"),
        (![0, 8].contains(&number(row, 10, 2)), "it is neither stored nor deflated"),
        (number(row, 30, 4) != 0, "it has extra fields or a comment"),
        (number(row, 34, 2) != 0, "it is on another disk"),
        (number(row, 36, 2) != 0, "it has internal attributes"),
        (number(row, 38, 2) != 0 || !MODES.contains(&number(row, 40, 2)), "it has attributes that no plain file has"),
    ];
    wrong.into_iter().find(|(is_wrong, _)| *is_wrong).map_or(Ok(()), |(_, why)| Err(why))
}

/// A number in little-endian bytes.
fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}
