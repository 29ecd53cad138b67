//! From a batch's bytes to entries, and from entries to the state of all logs. Recovery, followers and `verify` fold
//! here; the writer builds its commits with the same [`Touched`] edges.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::files::storage::to_usize;
use crate::journal::frame::{self, CommitFrame, Found, HeaderFrame, Kind, LogNames, LogVector};
use crate::journal::segment::{self, Walk};
use crate::tree::merkle::{Edge, leaf_hash};
use crate::{Entry, Error, Fault, Hash, LogId, PartRef};

/// The state after a commit: what a segment's header stores in full.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Vectors {
    pub(crate) next_seq: u64,
    pub(crate) last_commit: LastCommit,
    pub(crate) epoch: u64,
    pub(crate) time_ns: i64,
    pub(crate) logs: BTreeMap<LogId, LogVector>,
    pub(crate) positions: BTreeMap<Bytes, u64>,
}

/// Hash of the last commit, zeros before the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LastCommit(pub(crate) Hash);

impl Default for LastCommit {
    fn default() -> Self {
        LastCommit(Hash([0; 32]))
    }
}

/// The edges of the logs that a batch touches, beside those it started from: a failed write leaves the old ones as they
/// are.
#[derive(Default)]
pub(crate) struct Touched {
    logs: Vec<(LogId, Edge)>,
    places: BTreeMap<LogId, usize>,
    last: usize,
}

/// A batch read back, with the hashes that its commit must state.
#[derive(Debug)]
pub(crate) struct ReadBatch {
    /// Journal position of its first byte.
    pub(crate) at: u64,
    /// Its length.
    pub(crate) bytes: u64,
    /// Entries and the journal positions of their frames.
    pub(crate) entries: Vec<(u64, Entry)>,
    pub(crate) commit: CommitFrame,
    /// Hash of the commit frame.
    pub(crate) hash: Hash,
    /// SHA-256 over the references found.
    refs: Hash,
}

impl Touched {
    /// The edge of a log, first copied from the state.
    pub(crate) fn edge(&mut self, log: &LogId, from: &Vectors) -> &mut Edge {
        // Mostly the same log as before.
        if self.logs.get(self.last).is_none_or(|(name, _)| name != log) {
            self.last = *self.places.entry(log.clone()).or_insert_with(|| {
                let edge = from.logs.get(log).map(|vector| vector.edge.clone()).unwrap_or_default();
                self.logs.push((log.clone(), edge));
                self.logs.len() - 1
            });
        }
        &mut self.logs[self.last].1
    }

    /// (log, size, root) by log, as a commit states them.
    pub(crate) fn heads(&self) -> Vec<(LogId, u64, Hash)> {
        let head = |place: &usize| {
            let (log, edge) = &self.logs[*place];
            (log.clone(), edge.size(), edge.root())
        };
        self.places.values().map(head).collect()
    }
}

impl Vectors {
    /// The state that a segment starts from.
    pub(crate) fn from_header(header: &HeaderFrame) -> Vectors {
        Vectors {
            next_seq: header.first_seq,
            last_commit: LastCommit(header.previous),
            epoch: header.epoch,
            time_ns: header.time_ns,
            logs: header.logs.iter().cloned().collect(),
            positions: header.positions.iter().cloned().collect(),
        }
    }

    /// The header of a segment that starts here.
    pub(crate) fn header(&self, uuid: [u8; 16], base: u64, capacity: u64) -> HeaderFrame {
        HeaderFrame {
            uuid,
            first_seq: self.next_seq,
            base,
            capacity,
            previous: self.last_commit.0,
            epoch: self.epoch,
            time_ns: self.time_ns,
            logs: self.logs.iter().map(|(log, vector)| (log.clone(), vector.clone())).collect(),
            positions: self.positions.iter().map(|(key, next)| (key.clone(), *next)).collect(),
        }
    }

    pub(crate) fn size(&self, log: &LogId) -> u64 {
        self.logs.get(log).map_or(0, |vector| vector.edge.size())
    }

    /// Takes over a commit that is durable.
    pub(crate) fn adopt(&mut self, touched: Touched, commit: &CommitFrame, hash: Hash) {
        self.next_seq = commit.seq + 1;
        self.last_commit = LastCommit(hash);
        self.epoch = commit.epoch;
        self.time_ns = commit.time_ns;
        self.positions.extend(commit.positions.iter().cloned());
        for (log, edge) in touched.logs {
            self.logs.insert(log, LogVector { edge, time_ns: commit.time_ns });
        }
    }

    /// Checks a batch against the state before it: chain, clock, indexes, roots, references. Takes it over if all hold.
    pub(crate) fn fold(&mut self, batch: &ReadBatch) -> Result<(), Error> {
        self.follow(batch).map_err(|fault| Error::Corrupt(format!("{fault}; {RESTORE}")))
    }

    /// The same, for those who want to know where a fault is.
    pub(crate) fn follow(&mut self, batch: &ReadBatch) -> Result<(), Box<Fault>> {
        let touched = self.check(batch)?;
        self.adopt(touched, &batch.commit, batch.hash);
        Ok(())
    }

    fn check(&self, batch: &ReadBatch) -> Result<Touched, Box<Fault>> {
        let commit = &batch.commit;
        let fault = |what: String| {
            let what = format!("commit {} at journal position {}: {what}", commit.seq, batch.at);
            Fault::of_entries(what, &batch.ranges())
        };
        let corrupt = |what: String| Err(Box::new(fault(what)));
        if commit.seq != self.next_seq {
            return corrupt(format!("expected seq {}", self.next_seq));
        }
        if commit.previous != self.last_commit.0 {
            let fault = fault("it was made to follow another commit than the one before it".into());
            return Err(Box::new(fault.hashes(commit.previous, self.last_commit.0)));
        }
        if commit.time_ns < self.time_ns || commit.epoch < self.epoch {
            return corrupt("time or epoch decreases".into());
        }
        if commit.entries as usize != batch.entries.len() {
            return corrupt(format!("it was made for {} entries, {} are there", commit.entries, batch.entries.len()));
        }
        if commit.refs != batch.refs {
            let fault = fault("the references of its entries are not those it was made for".into());
            return Err(Box::new(fault.hashes(commit.refs, batch.refs)));
        }
        if let Some((log, index)) = commit.erasures.iter().find(|(log, index)| *index >= self.size(log)) {
            return corrupt(format!("erases the body of entry {index} of log {log}, which was not there before it"));
        }
        let mut touched = Touched::default();
        for (at, entry) in &batch.entries {
            let edge = touched.edge(&entry.log, self);
            if edge.size() != entry.index {
                let what = format!("entry at {at} has index {} of log {}", entry.index, entry.log);
                let fault = fault(format!("{what}, expected {}", edge.size()));
                return Err(Box::new(Fault { log: Some(entry.log.clone()), index: Some(edge.size()), ..fault }));
            }
            edge.push(entry.leaf_hash);
        }
        self.check_heads(&touched.heads(), commit, fault)?;
        Ok(touched)
    }

    fn check_heads(
        &self,
        heads: &[(LogId, u64, Hash)],
        commit: &CommitFrame,
        fault: impl Fn(String) -> Fault,
    ) -> Result<(), Box<Fault>> {
        let names = |heads: &[(LogId, u64, Hash)]| heads.iter().map(|(log, ..)| log.clone()).collect::<Vec<_>>();
        if names(heads) != names(&commit.heads) {
            return Err(Box::new(fault("the logs that changed are not those it states".into())));
        }
        let Some(((log, stated, expected), (_, size, found))) =
            commit.heads.iter().zip(heads).find(|(stated, found)| stated != found)
        else {
            return Ok(());
        };
        let what = format!("log {log}: states the root of {stated} entries, {size} entries have another root");
        let fault = fault(what).hashes(*expected, *found);
        Err(Box::new(Fault { log: Some(log.clone()), index: Some(self.size(log)), ..fault }))
    }
}

const RESTORE: &str = "the journal was changed or the disk is failing: restore the journal from a copy, or run `verify` to see what is affected";

impl ReadBatch {
    /// Checks the frames' checksums, then parses.
    pub(crate) fn read(bytes: &Bytes, at: u64, salt: u32) -> Result<ReadBatch, Error> {
        match segment::walk(bytes, &mut 0, salt) {
            Walk::Commit => ReadBatch::parse(bytes, at),
            Walk::Nothing | Walk::Short | Walk::Bad => {
                Err(Error::Corrupt(format!("batch at journal position {at}: a checksum is wrong; {RESTORE}")))
            }
        }
    }

    /// Parses a whole batch whose frames' checksums were found right. `Err` names what is malformed.
    pub(crate) fn parse(bytes: &Bytes, at: u64) -> Result<ReadBatch, Error> {
        let malformed = |offset: usize| {
            Error::Corrupt(format!("frame at journal position {}: malformed; {RESTORE}", at + offset as u64))
        };
        let mut entries = Vec::new();
        let mut refs = Sha256::new();
        let mut names = LogNames::default();
        let mut offset = 0;
        loop {
            let Found::Frame { kind, payload, bytes: length } = frame::split(&bytes[offset..]) else {
                return Err(malformed(offset));
            };
            match kind {
                Kind::Entry => {
                    let (entry, stated) =
                        parse_entry(bytes, payload, at, &mut names).ok_or_else(|| malformed(offset))?;
                    refs.update(stated);
                    entries.push((at + offset as u64, entry));
                }
                Kind::Commit => {
                    let commit = CommitFrame::take(payload).ok_or_else(|| malformed(offset))?;
                    let hash = frame::commit_hash(payload);
                    let bytes = (offset + length) as u64;
                    return Ok(ReadBatch { at, bytes, entries, commit, hash, refs: Hash(refs.finalize().into()) });
                }
                Kind::Header => return Err(malformed(offset)),
                Kind::Facts | Kind::Body | Kind::Erased => {}
            }
            offset += length;
        }
    }

    /// Which entries it holds, by log, as they say themselves.
    pub(crate) fn ranges(&self) -> BTreeMap<LogId, Range<u64>> {
        let mut ranges = BTreeMap::new();
        for (_, entry) in &self.entries {
            let end = entry.index.saturating_add(1);
            let range = ranges.entry(entry.log.clone()).or_insert(entry.index..end);
            *range = range.start.min(entry.index)..range.end.max(end);
        }
        ranges
    }

    /// The batch as callers see it.
    pub(crate) fn into_commit(self) -> crate::Commit {
        let CommitFrame { seq, time_ns, heads, positions, duplicates, erasures, .. } = self.commit;
        let entries = self.entries.into_iter().map(|(_, entry)| entry).collect();
        crate::Commit { seq, time_ns, entries, heads, positions, duplicates, erasures }
    }
}

/// An entry of a batch, its parts at hand where the batch holds them, and its encoded references.
fn parse_entry<'a>(batch: &Bytes, payload: &'a [u8], at: u64, names: &mut LogNames) -> Option<(Entry, &'a [u8])> {
    let found = frame::take_entry(payload)?;
    let at_hand = |part: PartRef| {
        let offset = part.at.and_then(|part_at| part_at.checked_sub(at));
        let bytes = offset.and_then(|offset| part_bytes(batch, to_usize(offset)));
        PartRef { bytes, ..part }
    };

    let entry = Entry {
        log: names.get(found.log)?,
        index: found.index,
        leaf: batch.slice_ref(found.leaf),
        leaf_hash: leaf_hash(found.leaf),
        facts: found.facts.into_iter().map(at_hand).collect(),
        body: found.body.map(at_hand),
    };
    Some((entry, found.refs))
}

/// The part whose frame starts at an offset of the batch; `None` when it was erased or is elsewhere.
fn part_bytes(batch: &Bytes, offset: usize) -> Option<Bytes> {
    match frame::split(batch.get(offset..)?) {
        Found::Frame { kind: Kind::Facts | Kind::Body, payload, .. } => Some(batch.slice_ref(payload)),
        Found::Frame { .. } | Found::Nothing | Found::Short | Found::Bad => None,
    }
}

/// An entry frame on its own: parts are where they are.
pub(crate) fn parse_lone_entry(payload: &Bytes) -> Option<Entry> {
    let found = frame::take_entry(payload)?;
    Some(Entry {
        log: LogId::new(found.log)?,
        index: found.index,
        leaf: payload.slice_ref(found.leaf),
        leaf_hash: leaf_hash(found.leaf),
        facts: found.facts,
        body: found.body,
    })
}
