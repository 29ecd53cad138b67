//! Erased bodies as a full check meets them.

use std::collections::{BTreeMap, BTreeSet};

use crate::fault::{Fault, Stop};
use crate::read::lookup;
use crate::{Content, Hash, LogId, PartRef, Reader};

/// Erased bodies as a full check meets them: what is erased must be listed by a commit, and what is listed must be
/// erased.
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
