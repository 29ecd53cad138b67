//! Single stages of the write path, for the benches only.

use std::path::Path;

use bytes::Bytes;
use pedigraph_ledger::Reader;
use pedigraph_proto::canonical::sha256;
use pedigraph_proto::{EventId, TenantId};

use crate::decide::{Version, decide, key};
use crate::known::Known;
use crate::{Error, redact};

/// Takes in so many new ids as the writer does, without a ledger behind them; returns the memory of the filter, bytes.
///
/// # Errors
/// Those of the index.
pub fn known_ids(dir: &Path, reader: &Reader, ids: u64) -> Result<usize, Error> {
    let mut known = Known::open(dir, reader)?;
    let tenant = TenantId::default();
    for index in 0..ids {
        let id = format!("0c6e2b2e-6b5a-4a3e-9d0f-{index:012}");
        let key = key(&tenant, "/ci/shop/pipelines", &id);
        let event_id = EventId::of(&tenant, "/ci/shop/pipelines", &id, &[7; 32]);
        let versions = known.versions(&key)?;
        std::hint::black_box(decide(event_id, None, &versions));
        known.note(&key, Version { event_id, index, code: None }, !versions.is_empty());
        if index % 512 == 0 {
            known.committed(reader.next_seq())?;
        }
    }
    let bytes = known.filter_bytes();
    known.close(reader.next_seq())?;
    Ok(bytes)
}

/// The redaction pass.
pub fn redacted(bytes: &Bytes) -> Option<Bytes> {
    redact::redact(bytes)
}

/// SHA-256 as the write path does it.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    sha256(bytes)
}
