//! Every limit of intake, by name (SPEC §2.4), and what must not be kept. Sizes are bytes.

use std::time::Duration;

use crate::redact::Fields;

/// What intake refuses to exceed.
#[derive(Clone, Debug)]
pub struct Limits {
    /// One event or document in memory.
    pub event_bytes_max: u64,
    /// One document of a format that is not read in pieces, however it came: it is held in memory while it is read, by
    /// the one worker of documents.
    pub whole_bytes_max: u64,
    /// One streamed document.
    pub document_bytes_max: u64,
    /// One document after decompression.
    pub decompressed_bytes_max: u64,
    /// Decompressed bytes per compressed byte.
    pub decompression_ratio_max: u64,
    /// Computing time for unpacking any input. Milliseconds.
    pub unpack_ms: u64,
    /// Computing time for unpacking on top of it, for each mebibyte as it came: bzip2 at a great ratio takes most.
    /// Milliseconds.
    pub unpack_ms_per_mib: u64,
    /// Nested JSON arrays and objects.
    pub json_depth_max: usize,
    /// Components of one SBOM.
    pub components_max: usize,
    /// VEX statements or findings of one document.
    pub statements_max: usize,
    /// Elements of a batch.
    pub batch_elements_max: usize,
    /// CloudEvents attributes or headers of one message.
    pub attributes_max: usize,
    /// One attribute's or header's name.
    pub attribute_name_bytes_max: usize,
    /// One attribute's value.
    pub attribute_bytes_max: usize,
    /// Members, attributes and headers whose values are overwritten.
    pub redact: Fields,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            event_bytes_max: 16 << 20,
            whole_bytes_max: 64 << 20,
            document_bytes_max: 1 << 30,
            decompressed_bytes_max: 1 << 30,
            decompression_ratio_max: 200,
            unpack_ms: 5_000,
            unpack_ms_per_mib: 5_000,
            json_depth_max: 128,
            components_max: 2_000_000,
            statements_max: 1_000_000,
            batch_elements_max: 10_000,
            attributes_max: 256,
            attribute_name_bytes_max: 2_048,
            attribute_bytes_max: 64 << 10,
            redact: Fields::default(),
        }
    }
}

impl Limits {
    /// Computing time for unpacking an input of so many bytes.
    pub(crate) fn unpack_time_max(&self, bytes: u64) -> Duration {
        let by_size = bytes.saturating_mul(self.unpack_ms_per_mib) >> 20;
        Duration::from_millis(self.unpack_ms.saturating_add(by_size))
    }
}
