//! What the process tells of itself.

use pedigraph_proto::Nanos;
use serde::{Deserialize, Serialize};

/// Where a source partition stands (SPEC §9, `freshness`).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceLag {
    /// Topic, `http`, directory.
    pub name: String,
    /// Kafka partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    /// The next offset.
    pub position: u64,
    /// The source's end, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<u64>,
    /// `end - position`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_messages: Option<u64>,
    /// Age of the oldest message not yet durable, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
    /// `lost` while its position is gone and nothing of it is read; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<SourceState>,
    /// What happened then, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// How a source partition does that is not simply read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// What follows on its position is gone.
    Lost,
}

/// What a read node knows of the process that writes the ledger: its last sign of life.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WriterSign {
    /// When it gave it; absent where there is none that can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_at: Option<Nanos>,
    /// Why that says nothing of the present: the writer is silent, or what it left cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale: Option<String>,
    /// Where its sources stand. While it is stale their ends are left out: nobody knows them then.
    #[serde(skip)]
    pub sources: Vec<SourceLag>,
}

/// Which work of a node a check is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum About {
    /// Taking in what is sent to it.
    Intake,
    /// Answering questions.
    Answers,
    /// Something else, such as a source that stands still: whoever sends or asks is served all the same.
    Besides,
}

/// One line of `/readyz?verbose`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// Short name.
    pub name: String,
    /// Which work it is about.
    pub about: About,
    /// Whether it holds.
    pub ok: bool,
    /// A few words for a person; may be empty.
    pub detail: String,
}
