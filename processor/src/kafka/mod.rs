//! Kafka as a source: one consumer on one OS thread of its own.
//!
//! Where to read from stands in the ledger alone, committed in the same write as the entries. Kafka's committed offsets
//! are written afterwards for lag tools and never read. The rules that make each message end up exactly once:
//!
//! - An assignment starts at the ledger's position, a partition that the ledger does not know at its beginning.
//! - Each assignment of a partition has an epoch. The writer drops what was fetched in another one, and every offset
//!   below the next: what a rewind, a zombie or a late batch brings is fetched again or is there already.
//! - A partition whose position is gone (`sight.rs` says how that is found) stops, alone and loudly: what follows on
//!   the position nobody can give any more. An operator accepts the gap ([`Accept`]): it becomes an entry, in the same
//!   commit as the position that leads over it.
//!
//! The client does not show a topic's uuid, so a position is keyed by (cluster id, topic, partition), and beside it
//! stands a mark of the last message before it, by which a topic that was made anew is noticed
//! (`docs/decisions/013-a-mark-beside-each-position.md` says what it cannot see).

mod context;
mod fetch;
mod mark;
mod options;
mod partition;
mod reading;
mod shared;
mod sight;
mod source;
mod wait;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pedigraph_proto::TenantId;

pub(crate) use mark::Position;
pub(crate) use options::instance_id;
pub(crate) use partition::{Fetched, Partition, Positions, Step};
pub use sight::{Cause, Lost};
pub(crate) use source::Source;

/// One Kafka cluster to read from.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Bootstrap servers, `host:port`, comma-separated.
    pub brokers: String,
    /// Consumer group.
    pub group: String,
    /// Topics.
    pub topics: Vec<Topic>,
    /// librdkafka settings as they are: TLS, SASL, timeouts.
    pub options: BTreeMap<String, String>,
    /// Partitions that are read on if their position is gone.
    pub accept_gaps: Vec<Accept>,
}

/// That the gap is accepted when the position of a partition, or of any of a topic's, is gone: it is recorded, once in
/// the life of a process until messages come again, and all that the partition has is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accept {
    /// The topic.
    pub topic: String,
    /// The partition; `None`: all of them.
    pub partition: Option<i32>,
}

impl Accept {
    fn is_for(&self, topic: &str, partition: i32) -> bool {
        self.topic == topic && self.partition.is_none_or(|number| number == partition)
    }
}

impl FromStr for Accept {
    type Err = String;

    /// `TOPIC` or `TOPIC/PARTITION`.
    fn from_str(text: &str) -> Result<Accept, String> {
        let (topic, partition) = text.split_once('/').map_or((text, None), |(topic, number)| (topic, Some(number)));
        let partition = partition.map(|number| number.parse::<u16>().map(i32::from)).transpose();
        match partition {
            Ok(partition) if !topic.is_empty() => Ok(Accept { topic: topic.to_owned(), partition }),
            Ok(_) | Err(_) => Err(format!("{text:?} is not TOPIC or TOPIC/PARTITION")),
        }
    }
}

/// A topic and what is known of its messages beforehand.
#[derive(Clone, Debug, Default)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// The tenant of all that arrives here.
    pub tenant: TenantId,
    /// Decoder to use instead of detecting.
    pub format: Option<String>,
    /// Subject artifact where a message names none.
    pub subject: Option<String>,
}

/// How a source does.
#[derive(Clone, Debug, Default)]
pub struct KafkaHealth {
    /// The cluster's id, once it was reached.
    pub cluster: Option<String>,
    /// The last error, until a message arrives again.
    pub last_error: Option<String>,
    /// Why nothing is read any more, until the process starts again.
    pub stopped: Option<String>,
    /// The queue is full, and nothing is fetched until there is room.
    pub paused: bool,
    /// The assigned partitions.
    pub partitions: Vec<PartitionState>,
}

/// Where one partition is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionState {
    /// Topic.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// Next offset that the ledger does not have; `None` before the first message.
    pub position: Option<u64>,
    /// Below this offset there is nothing more to read, as the client last said: control records and aborted messages
    /// are no lag.
    passed: u64,
    /// Next offset that the broker will give, as last heard.
    pub end: Option<u64>,
    /// Broker's time of the newest durable message, milliseconds since 1970 UTC.
    pub recorded_ms: Option<i64>,
    /// That its position is gone and it stands still.
    pub lost: Option<Lost>,
    /// That it has its share of the queue, and is read on when it has less: the others are read meanwhile.
    pub is_held: bool,
}

impl PartitionState {
    /// Messages on the broker that are not in the ledger; `None` while the end is not known.
    pub fn lag_messages(&self) -> Option<u64> {
        let from = self.lost.map_or(self.position.unwrap_or_default().max(self.passed), |lost| lost.oldest);
        Some(self.end?.saturating_sub(from))
    }

    /// How old the newest durable message is while there are newer ones, milliseconds; 0 when there are none.
    pub fn lag_ms(&self, now_ms: i64) -> Option<i64> {
        match self.lag_messages()? {
            0 => Some(0),
            _ => Some(now_ms.saturating_sub(self.recorded_ms?).max(0)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accepted_gap_names_a_topic_or_one_of_its_partitions() {
        let accept = |text: &str| text.parse::<Accept>();
        assert!(accept("a.b").unwrap().is_for("a.b", 7));
        assert!(accept("a.b/7").unwrap().is_for("a.b", 7));
        assert!(!accept("a.b/7").unwrap().is_for("a.b", 8) && !accept("a").unwrap().is_for("a.b", 7));
        assert!(["", "/1", "a/", "a/b", "a/-1", "a/1/2"].iter().all(|text| accept(text).is_err()));
    }
}
