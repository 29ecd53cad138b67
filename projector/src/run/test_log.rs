//! A ledger in a temporary directory for the tests of this folder: tenants' entries by their facts, chunk by chunk.

use std::collections::BTreeMap;

use pedigraph_ledger::{Batch, INLINE_BYTES_MAX, LogId, NewEntry, Part, Reader, Writer};
use pedigraph_proto::wire::{Entry, Fact};
use pedigraph_proto::{canonical, fact};
use prost::Message as _;

/// A tenant's entry: its facts in chunks.
pub(super) type Said<'a> = (&'a str, Vec<Vec<Fact>>);

pub(super) struct Log {
    _dir: tempfile::TempDir,
    writer: Writer,
    pub(super) sizes: BTreeMap<String, u64>,
}

impl Log {
    pub(super) fn new() -> Log {
        let dir = tempfile::tempdir().expect("a directory");
        let options = pedigraph_ledger::Options { segment_bytes: 1 << 20, ..Default::default() };
        let writer = pedigraph_ledger::open(&dir.path().join("ledger"), &options).expect("a ledger");
        Log { _dir: dir, writer, sizes: BTreeMap::new() }
    }

    /// One commit, with duplicates of tenants.
    pub(super) fn commit(&mut self, entries: Vec<Said<'_>>, duplicates: &[(&str, u64)]) {
        let time_ns = self.writer.next_time(1_800_000_000_000_000_000);
        let entries = entries.into_iter().map(|(tenant, chunks)| self.entry(tenant, chunks, time_ns)).collect();
        let log = |tenant: &str| LogId::new(tenant).expect("a log");
        let duplicates = duplicates.iter().map(|(tenant, count)| (log(tenant), "/test".to_owned(), *count)).collect();
        self.writer.append(Batch { time_ns, entries, duplicates, ..Batch::default() }).expect("appended");
    }

    fn entry(&mut self, tenant: &str, chunks: Vec<Vec<Fact>>, recorded_at: i64) -> NewEntry {
        let size = self.sizes.entry(tenant.to_owned()).or_default();
        *size += 1;
        let id = format!("{tenant}/{size}");
        let facts_count = u32::try_from(chunks.iter().map(Vec::len).sum::<usize>()).expect("few");
        let kind = chunks.iter().flatten().find_map(|fact| fact.event.as_ref()).map_or("none", |event| event.name());
        let chunks: Vec<_> = chunks.into_iter().map(fact::encode_chunk).collect();
        let leaf = Entry {
            version: 1,
            event_id: canonical::sha256(id.as_bytes()).to_vec().into(),
            status: 1,
            r#type: kind.to_owned(),
            tenant: tenant.to_owned(),
            source: "/test".to_owned(),
            id,
            recorded_at,
            facts_digest: canonical::facts_digest(
                chunks.iter().map(|chunk| canonical::sha256(chunk)).collect::<Vec<_>>().iter(),
            )
            .to_vec()
            .into(),
            facts_count,
            ..Entry::default()
        };
        let log = LogId::new(tenant).expect("a log");
        let blobs = self.writer.blobs();
        let part = |chunk: bytes::Bytes| match chunk.len() <= INLINE_BYTES_MAX {
            true => Part::Inline(chunk),
            false => blobs.put(&chunk).expect("a blob"),
        };
        let facts = chunks.into_iter().map(part).collect();
        NewEntry { log, leaf: leaf.encode_to_vec().into(), facts, body: None }
    }

    pub(super) fn reader(&self) -> Reader {
        self.writer.reader()
    }
}
