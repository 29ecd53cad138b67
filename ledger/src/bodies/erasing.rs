//! The file `journal/erasing`: which bytes are on their way out.

use std::path::{Path, PathBuf};

use crate::files::storage;
use crate::journal::segment;
use crate::read::open_ledger::OpenLedger;
use crate::{Error, Hash, INLINE_BYTES_MAX};

const VERSION_LINE: &str = "pedigraph erasing 1";

/// Bytes that must go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// A body's frame: its journal position and the length of its payload.
    Frame { at: u64, bytes: usize },
    /// A stored body.
    Blob(Hash),
}

/// Whether bytes are on their way out: their commit is durable, so nobody is to be given what is left of them, or told
/// that it is damaged.
pub(crate) fn is_under_way(shared: &OpenLedger, target: &Target) -> Result<bool, Error> {
    let Some(bytes) = storage::read_if_there(&path(&shared.dir))? else { return Ok(false) };
    let targets = std::str::from_utf8(&bytes).ok().and_then(|text| decode(text, shared.meta.salt));
    Ok(targets.is_some_and(|targets| targets.contains(target)))
}

pub(crate) fn path(ledger: &Path) -> PathBuf {
    segment::dir_of(ledger).join("erasing")
}

pub(crate) fn encode(targets: &[Target], salt: u32) -> String {
    let line = |target: &Target| match target {
        Target::Frame { at, bytes } => format!("frame {at} {bytes}\n"),
        Target::Blob(digest) => format!("body {digest}\n"),
    };
    let lines: String = std::iter::once(format!("{VERSION_LINE}\n")).chain(targets.iter().map(line)).collect();
    let checksum = checksum(&lines, salt);
    format!("{lines}crc32 {checksum:08x}\n")
}

/// Exactly what is written, or `None`.
pub(crate) fn decode(text: &str, salt: u32) -> Option<Vec<Target>> {
    let lines = text.strip_prefix(VERSION_LINE)?.strip_prefix('\n')?;
    let (lines, _) = lines.split_once("crc32 ")?;
    let targets = lines.lines().map(decode_line).collect::<Option<Vec<_>>>()?;
    (encode(&targets, salt) == text).then_some(targets)
}

fn decode_line(line: &str) -> Option<Target> {
    if let Some(digest) = line.strip_prefix("body ") {
        return Some(Target::Blob(Hash(hex::decode(digest).ok()?.try_into().ok()?)));
    }
    let (at, bytes) = line.strip_prefix("frame ")?.split_once(' ')?;
    let bytes = bytes.parse().ok().filter(|bytes| *bytes <= INLINE_BYTES_MAX)?;
    Some(Target::Frame { at: at.parse().ok()?, bytes })
}

/// From the ledger's salt on: another ledger's file must not be carried out here.
fn checksum(lines: &str, salt: u32) -> u32 {
    let mut crc = crc32fast::Hasher::new_with_initial(salt);
    crc.update(lines.as_bytes());
    crc.finalize()
}
