//! What the process tells of itself.

use serde::Serialize;

/// Where a source partition stands (SPEC §9, `freshness`).
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceLag {
    /// Topic, `http`, directory.
    pub name: String,
    /// Kafka partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    /// The next offset.
    pub position: u64,
    /// The source's end, when it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<u64>,
    /// `end - position`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_messages: Option<u64>,
    /// Age of the oldest message not yet durable, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
}

/// One line of `/readyz?verbose`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// Short name.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// A few words for a person; may be empty.
    pub detail: String,
}
