//! A commit as folds take it: the part of each tenant, whose facts are fetched chunk by chunk.

use std::collections::BTreeMap;

use bytes::Bytes;
use pedigraph_ledger::{Commit, LogId, Reader};
use pedigraph_proto::{Nanos, TenantId};

use crate::error::Error;

/// An entry to fold.
#[derive(Clone, Debug)]
pub(super) struct EntryIn {
    pub(super) index: u64,
    pub(super) leaf: Bytes,
    pub(super) leaf_hash: [u8; 32],
    pub(super) chunks: usize,
    /// Its place in the commit.
    number: usize,
}

/// A tenant's part of a commit.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) tenant: TenantId,
    pub(super) seq: u64,
    pub(super) time: Nanos,
    pub(super) entries: Vec<EntryIn>,
    /// By source.
    pub(super) duplicates: BTreeMap<String, u64>,
}

/// A commit of the ledger.
#[derive(Clone, Copy)]
pub(super) struct CommitIn<'a> {
    pub(super) reader: &'a Reader,
    pub(super) commit: &'a Commit,
}

impl CommitIn<'_> {
    /// The parts of all tenants, in their order.
    pub(super) fn parts(self) -> impl Iterator<Item = Part> {
        self.parts_of(|_| true).into_values()
    }

    /// The part of one.
    pub(super) fn part_of(self, tenant: &TenantId) -> Option<Part> {
        self.parts_of(|log| log.as_str() == tenant.as_str()).remove(tenant)
    }

    fn parts_of(self, is_asked: impl Fn(&LogId) -> bool) -> BTreeMap<TenantId, Part> {
        let mut parts = BTreeMap::new();
        let (seq, time) = (self.commit.seq, Nanos(self.commit.time_ns));
        for (number, entry) in self.commit.entries.iter().enumerate().filter(|(_, entry)| is_asked(&entry.log)) {
            part(&mut parts, seq, time, &entry.log).entries.push(EntryIn {
                index: entry.index,
                leaf: entry.leaf.clone(),
                leaf_hash: entry.leaf_hash.0,
                chunks: entry.facts.len(),
                number,
            });
        }
        for (log, source, count) in self.commit.duplicates.iter().filter(|(log, ..)| is_asked(log)) {
            *part(&mut parts, seq, time, log).duplicates.entry(source.clone()).or_default() += count;
        }
        parts
    }

    /// A facts chunk of an entry.
    pub(super) fn chunk(self, entry: &EntryIn, chunk: usize) -> Result<Bytes, Error> {
        let part = self.commit.entries.get(entry.number).and_then(|entry| entry.facts.get(chunk));
        let bytes = part.map(|part| self.reader.part(part)).transpose()?.flatten();
        let missing = || format!("facts of entry {} are gone", entry.index);
        bytes.ok_or_else(|| Error::Ledger(pedigraph_ledger::Error::Corrupt(missing())))
    }
}

fn part<'p>(parts: &'p mut BTreeMap<TenantId, Part>, seq: u64, time: Nanos, log: &LogId) -> &'p mut Part {
    // A log's name has the form of a tenant's by contract.
    let tenant = TenantId::new(log.as_str()).unwrap_or_default();
    let new = Part { tenant: tenant.clone(), seq, time, entries: Vec::new(), duplicates: BTreeMap::new() };
    parts.entry(tenant).or_insert(new)
}
