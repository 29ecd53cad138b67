//! Erasing bodies: the bytes go, the entry and its digest stay.
//!
//! The commit that lists an erasure is durable first; then the bytes go, before anything else is appended. So only the last commit
//! of a journal can be one whose erasures are not carried out, and opening carries them out. A body's frame is overwritten in
//! place, which a power cut can leave half done, so what is to be overwritten stands in `journal/erasing`
//! before, and opening does that first: recovery never meets a torn frame.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::bodies::blobs;
use crate::fault::{Fault, Stop};
use crate::files::storage::{self, Access, Storage};
use crate::journal::frame::{self, HEAD_BYTES, Kind};
use crate::journal::meta::Meta;
use crate::journal::segment::{self, Segment};
use crate::read::lookup::{self, LoneFrame};
use crate::read::shared::Shared;
use crate::{Batch, Content, Error, Hash, INLINE_BYTES_MAX, LogId, PartRef, Reader, Writer};

/// Erasures of one batch.
const ERASURES_MAX: usize = 65_536;
const VERSION_LINE: &str = "pedigraph erasing 1";

/// Bytes that must go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// A body's frame: its journal position and the length of its payload.
    Frame { at: u64, bytes: usize },
    /// A stored body.
    Blob(Hash),
}

/// Refuses erasures that break a rule; returns how many bytes they add to a batch at most.
pub(crate) fn check(batch: &Batch, writer: &Writer) -> Result<usize, Error> {
    let refused = |why: String| Err(Error::Refused(why));
    if batch.erasures.len() > ERASURES_MAX {
        return refused(format!("{} erasures in one batch: at most {ERASURES_MAX}", batch.erasures.len()));
    }
    if !batch.erasures.is_empty() && batch.entries.is_empty() {
        return refused("erasures without an entry that says so".into());
    }
    for (log, index) in &batch.erasures {
        if *index >= writer.size(log) {
            return refused(format!("log {log} has no entry {index} whose body could be erased"));
        }
        if writer.reader().entry(log, *index)?.is_none_or(|entry| entry.body.is_none()) {
            return refused(format!("entry {index} of log {log} has no body"));
        }
    }
    Ok(batch.erasures.len() * (64 + 8))
}

/// What there is still to do for some erasures.
pub(crate) fn targets(shared: &Shared, erasures: &[(LogId, u64)]) -> Result<Vec<Target>, Error> {
    let mut targets = Vec::new();
    for (log, index) in erasures {
        let body = lookup::entry(shared, log, *index)?.body;
        targets.extend(body.map_or(Ok(None), |body| target(shared, &body))?);
    }
    Ok(targets)
}

fn target(shared: &Shared, body: &PartRef) -> Result<Option<Target>, Error> {
    let Some(at) = body.at else {
        let erased = blobs::is_erased(&blobs::path_of(&shared.dir, Content::Body, &body.digest))?;
        return Ok((!erased).then_some(Target::Blob(body.digest)));
    };
    match lookup::frame_at(shared, at)? {
        LoneFrame::Found(Kind::Erased, _) => Ok(None),
        LoneFrame::Found(Kind::Body, payload) if payload.len() as u64 == body.size => {
            Ok(Some(Target::Frame { at, bytes: payload.len() }))
        }
        LoneFrame::Found(..) | LoneFrame::Nothing => Err(Error::Corrupt(format!(
            "the body at journal position {at}, which is to be erased, is damaged; run `verify` to see what is affected"
        ))),
    }
}

/// Makes the bytes go. When this returns they are gone; after a crash they are once the ledger is open again.
pub(crate) fn erase(shared: &Shared, storage: &dyn Storage, targets: &[Target]) -> Result<(), Error> {
    if targets.is_empty() {
        return Ok(());
    }
    let (dir, meta) = (&shared.dir, &shared.meta);
    storage::replace(storage, &path(dir), encode(targets, meta.salt).as_bytes(), Access::Private)?;
    let segments = shared.state().segments.clone();
    carry_out(dir, meta, &segments, storage, &shared.naming, targets)
}

/// Whether bytes are on their way out: their commit is durable, so nobody is to be given what is left of them, or told that it is damaged.
pub(crate) fn is_under_way(shared: &Shared, target: &Target) -> Result<bool, Error> {
    let Some(bytes) = storage::read_if_there(&path(&shared.dir))? else { return Ok(false) };
    let targets = std::str::from_utf8(&bytes).ok().and_then(|text| decode(text, shared.meta.salt));
    Ok(targets.is_some_and(|targets| targets.contains(target)))
}

/// Goes on where a crash came in between. To be called before anything reads the journal.
pub(crate) fn finish_interrupted(
    dir: &Path,
    meta: &Meta,
    segments: &[Segment],
    storage: &dyn Storage,
) -> Result<(), Error> {
    let path = path(dir);
    let Some(bytes) = storage::read_if_there(&path)? else { return Ok(()) };
    let targets = std::str::from_utf8(&bytes).ok().and_then(|text| decode(text, meta.salt)).ok_or_else(|| {
        let why = "is damaged: bodies were being erased, and nobody can tell which; restore the ledger from a copy";
        Error::Corrupt(format!("{} {why}", path.display()))
    })?;
    carry_out(dir, meta, segments, storage, &Mutex::default(), &targets)
}

fn carry_out(
    dir: &Path,
    meta: &Meta,
    segments: &[Segment],
    storage: &dyn Storage,
    naming: &Mutex<()>,
    targets: &[Target],
) -> Result<(), Error> {
    for target in targets {
        match target {
            Target::Frame { at, bytes } => overwrite(dir, meta, segments, storage, *at, *bytes)?,
            Target::Blob(digest) => blobs::erase(dir, digest, storage, naming)?,
        }
    }
    storage.remove(&path(dir))?;
    Ok(storage.sync_dir(&segment::dir_of(dir))?)
}

/// Overwrites a frame with one of zeros that is as long.
fn overwrite(
    dir: &Path,
    meta: &Meta,
    segments: &[Segment],
    storage: &dyn Storage,
    at: u64,
    bytes: usize,
) -> Result<(), Error> {
    let mut erased = Vec::new();
    frame::write(&mut erased, meta.salt, Kind::Erased, |out| out.resize(HEAD_BYTES + bytes, 0));
    let end = at.saturating_add(erased.len() as u64);
    let inside = |segment: &&Segment| segment.base < at && end <= segment.end();
    let segment = segments.iter().find(inside).ok_or_else(|| {
        Error::Corrupt(format!(
            "journal position {at}, where a body is to be erased, is in no segment; restore the journal from a copy"
        ))
    })?;
    let file = storage.open(&segment::path_of(dir, segment.first_seq))?;
    file.write_at(&erased, at - segment.base)?;
    Ok(file.sync()?)
}

/// Erased bodies as a full check meets them: what is erased must be listed by a commit, and what is listed must be erased.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Erased {
    /// Bodies in the journal that are erased and that no commit so far has listed.
    pub(crate) unlisted: BTreeSet<(LogId, u64)>,
    /// Stored bodies that are erased, with the first entry that names each.
    pub(crate) blobs: BTreeMap<Hash, (LogId, u64)>,
    /// Stored bodies whose erasure was listed: for which entry, and by which commit.
    pub(crate) listed_blobs: BTreeMap<Hash, (LogId, u64, u64)>,
    /// Listed erasures whose bytes were there when they were looked for: log, index, seq of the commit.
    pub(crate) late: Vec<(LogId, u64, u64)>,
    /// Number of bodies found erased.
    pub(crate) count: u64,
}

impl Erased {
    /// A body without its bytes.
    pub(crate) fn met(&mut self, log: &LogId, index: u64, body: &PartRef) {
        self.count += 1;
        match body.at {
            Some(_) => drop(self.unlisted.insert((log.clone(), index))),
            None => drop(self.blobs.entry(body.digest).or_insert_with(|| (log.clone(), index))),
        }
    }

    /// A commit that lists erasures.
    pub(crate) fn listed(&mut self, reader: &Reader, seq: u64, erasures: &[(LogId, u64)]) -> Result<(), Stop> {
        for (log, index) in erasures {
            if self.unlisted.remove(&(log.clone(), *index)) {
                continue;
            }
            match body_of(reader, log, *index)? {
                None => {
                    let what = format!("commit {seq} erases the body of entry {index} of log {log}, which has none");
                    return Err(Fault::of_entry(log, *index, what, format!("what commit {seq} says")).into());
                }
                Some(PartRef { at: None, digest, .. }) => {
                    self.listed_blobs.insert(digest, (log.clone(), *index, seq));
                }
                Some(_) => self.late.push((log.clone(), *index, seq)),
            }
        }
        Ok(())
    }

    /// At the end. The last commit of a writer at work, `busy`, may be under way.
    pub(crate) fn finish(&self, reader: &Reader, busy: Option<u64>) -> Result<(), Stop> {
        let unlisted_blob = self.blobs.iter().find(|(digest, _)| !self.listed_blobs.contains_key(digest));
        if let Some((log, index)) = self.unlisted.first().or(unlisted_blob.map(|(_, entry)| entry)) {
            let what = format!("the body of entry {index} of log {log} is erased, but no commit says so");
            let affected = format!("that body alone: its bytes are lost; {RESTORE}");
            let expected = body_of(reader, log, *index)?.map(|body| body.digest);
            return Err(Fault { expected, ..Fault::of_entry(log, *index, what, affected) }.into());
        }
        for (log, index, seq) in self.late.iter().filter(|(.., seq)| busy != Some(*seq)) {
            let Some(body) = body_of(reader, log, *index)? else { continue };
            if reader.part_as_it_is(&body).map_err(|error| Stop::of_entry(error, log, *index))?.is_some() {
                let what = format!("commit {seq} erased the body of entry {index} of log {log}");
                return Err(still_there(log, *index, format!("{what}, but its bytes are still there"), body.digest));
            }
        }
        for (digest, (log, index, seq)) in self.listed_blobs.iter().filter(|(_, (.., seq))| busy != Some(*seq)) {
            if !reader.blobs(Content::Body).is_erased(digest)? {
                let what = format!("commit {seq} erased the body {digest} of entry {index} of log {log}");
                return Err(still_there(log, *index, format!("{what}, but its file does not say so"), *digest));
            }
        }
        Ok(())
    }
}

fn body_of(reader: &Reader, log: &LogId, index: u64) -> Result<Option<PartRef>, Stop> {
    // Folding found that there is such an entry, whatever the newest state says.
    let entry = lookup::entry(&reader.0, log, index).map_err(|error| Stop::of_entry(error, log, index))?;
    Ok(entry.body)
}

fn still_there(log: &LogId, index: u64, what: String, found: Hash) -> Stop {
    Fault { found: Some(found), ..Fault::of_entry(log, index, what, format!("that body alone: {REDO}")) }.into()
}

const REDO: &str =
    "the next start carries it out if a crash came in between, else the journal was changed: restore it from a copy";
const RESTORE: &str = "restore it from a copy";

fn path(ledger: &Path) -> PathBuf {
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
