//! Single stages of the write path, for the benches only.

use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use pedigraph_ledger::{Batch, Options, Reader, Writer};
use pedigraph_proto::canonical::sha256;
use pedigraph_proto::{EventId, TenantId};

use crate::decide::{Version, decide, key};
use crate::known_ids;
use crate::{Error, redact};

const SOURCE: &str = "/ci/shop/pipelines";
/// Digest of what each id came with.
const CONTENT: [u8; 32] = [7; 32];
/// More than in a batch of the writer: the ledger's part is not what is measured.
const BATCH_IDS: u64 = 8_192;

/// Ids as the writer knows them, numbered from 0. The ledger behind them has the commits, without entries.
pub struct KnownIds {
    ledger: Writer,
    reader: Reader,
    known: known_ids::KnownIds,
    tenant: TenantId,
}

impl KnownIds {
    /// Opens ledger and index in a directory.
    ///
    /// # Errors
    /// Those of either.
    pub fn open(dir: &Path) -> Result<KnownIds, Error> {
        let ledger = pedigraph_ledger::open(&dir.join("ledger"), &Options::default())?;
        let reader = ledger.reader();
        let known = known_ids::KnownIds::open(&dir.join("known"), &reader)?;
        Ok(KnownIds { ledger, reader, known, tenant: TenantId::default() })
    }

    /// Waits for the filter, which is made beside intake after a start.
    ///
    /// # Errors
    /// Those of the index.
    pub fn complete_filter(&mut self) -> Result<(), Error> {
        self.known.complete_filter()
    }

    /// Takes in ids as new messages: key, event id, question, decision, note.
    ///
    /// # Errors
    /// Those of the ledger and of the index.
    pub fn take_in(&mut self, ids: Range<u64>) -> Result<(), Error> {
        for index in ids {
            let id = name(index);
            let key = key(&self.tenant, SOURCE, &id);
            let event_id = EventId::of(&self.tenant, SOURCE, &id, &CONTENT);
            let known = self.known.ask(&key, event_id, None)?;
            std::hint::black_box(decide(None, &known));
            self.known.note(&key, Version { event_id, index, code: None }, &known);
            if (index + 1) % BATCH_IDS == 0 {
                self.commit(index)?;
            }
        }
        Ok(())
    }

    fn commit(&mut self, index: u64) -> Result<(), Error> {
        let positions = vec![(Bytes::from_static(b"ids"), index)];
        self.ledger.append(Batch { positions, ..Batch::default() })?;
        self.known.committed(self.reader.next_seq())
    }

    /// Whether the id was taken in: the whole question, with the index where the filter cannot tell.
    ///
    /// # Errors
    /// Those of the index.
    pub fn holds(&self, id: u64) -> Result<bool, Error> {
        let event_id = EventId::of(&self.tenant, SOURCE, &name(id), &CONTENT);
        Ok(self.known.ask(&key(&self.tenant, SOURCE, &name(id)), event_id, None)?.same == Some(id))
    }

    /// Whether the filter cannot say that the id is new.
    pub fn asks_the_index(&self, id: u64) -> bool {
        self.known.passes_filter(&key(&self.tenant, SOURCE, &name(id)))
    }

    /// Memory of the filter, bytes.
    pub fn filter_bytes(&self) -> usize {
        self.known.filter_bytes()
    }

    /// As at a clean stop.
    ///
    /// # Errors
    /// Those of the index.
    pub fn close(self) -> Result<(), Error> {
        self.known.close(self.reader.next_seq())
    }
}

fn name(id: u64) -> String {
    format!("0c6e2b2e-6b5a-4a3e-9d0f-{id:012}")
}

/// The redaction pass.
pub fn redacted(bytes: &Bytes) -> Option<Bytes> {
    redact::redact(bytes, &redact::Fields::default()).map(|(redacted, _)| redacted)
}

/// SHA-256 as the write path does it.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    sha256(bytes)
}
