//! Erasing bodies: the bytes go, the entry and its digest stay.
//!
//! The commit that lists an erasure is durable first; then the bytes go, before anything else is appended. So only the
//! last commit of a journal can be one whose erasures are not carried out, and opening carries them out. A body's frame
//! is overwritten in place, which a power cut can leave half done, so what is to be overwritten stands in
//! `journal/erasing` before, and opening does that first: recovery never meets a torn frame.

use std::path::Path;
use std::sync::Mutex;

use crate::bodies::blobs;
use crate::bodies::erasing::{Target, decode, encode, path};
use crate::files::storage::{self, Access, Storage};
use crate::journal::frame::{self, HEAD_BYTES, Kind};
use crate::journal::meta::Meta;
use crate::journal::segment::{self, Segment};
use crate::read::lookup::{self, LoneFrame};
use crate::read::open_ledger::OpenLedger;
use crate::{Batch, Content, Error, LogId, PartRef, Reader};

/// Erasures of one batch.
const ERASURES_MAX: usize = 65_536;

/// Refuses erasures that break a rule; returns how many bytes they add to a batch at most.
pub(crate) fn check(batch: &Batch, reader: &Reader, size: impl Fn(&LogId) -> u64) -> Result<usize, Error> {
    let refused = |why: String| Err(Error::Refused(why));
    if batch.erasures.len() > ERASURES_MAX {
        return refused(format!("{} erasures in one batch: at most {ERASURES_MAX}", batch.erasures.len()));
    }
    if !batch.erasures.is_empty() && batch.entries.is_empty() {
        return refused("erasures without an entry that says so".into());
    }
    for (log, index) in &batch.erasures {
        if *index >= size(log) {
            return refused(format!("log {log} has no entry {index} whose body could be erased"));
        }
        if reader.entry(log, *index)?.is_none_or(|entry| entry.body.is_none()) {
            return refused(format!("entry {index} of log {log} has no body"));
        }
    }
    Ok(batch.erasures.len() * (64 + 8))
}

/// What there is still to do for some erasures.
pub(crate) fn targets(shared: &OpenLedger, erasures: &[(LogId, u64)]) -> Result<Vec<Target>, Error> {
    let mut targets = Vec::new();
    for (log, index) in erasures {
        let body = lookup::entry(shared, log, *index)?.body;
        targets.extend(body.map_or(Ok(None), |body| target(shared, &body))?);
    }
    Ok(targets)
}

fn target(shared: &OpenLedger, body: &PartRef) -> Result<Option<Target>, Error> {
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
pub(crate) fn erase(shared: &OpenLedger, storage: &dyn Storage, targets: &[Target]) -> Result<(), Error> {
    if targets.is_empty() {
        return Ok(());
    }
    let (dir, meta) = (&shared.dir, &shared.meta);
    storage::replace(storage, &path(dir), encode(targets, meta.salt).as_bytes(), Access::Private)?;
    let segments = shared.durable().segments.clone();
    carry_out(dir, meta, &segments, storage, &shared.naming, targets)
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
