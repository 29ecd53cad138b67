//! The client's callbacks; all run in `poll`, on the consumer's thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rdkafka::ClientContext;
use rdkafka::TopicPartitionList;
use rdkafka::bindings::rd_kafka_resp_err_t as RespErr;
use rdkafka::consumer::base_consumer::BaseConsumer;
use rdkafka::consumer::{CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError;
use serde::Deserialize;

use super::lock;
use super::shared::{Shared, told_positions};
use super::sight::Tick;

/// What they need.
pub(super) struct Context {
    pub(super) shared: Arc<Shared>,
}

impl ClientContext for Context {
    fn stats_raw(&self, statistics: &[u8]) {
        let Ok(statistics) = serde_json::from_slice::<Statistics>(statistics) else { return };
        let given = self.shared.given.load(Ordering::Acquire);
        let is_paused = self.shared.paused.load(Ordering::Acquire);
        for partition in lock(&self.shared.assigned).iter() {
            let topic = statistics.topics.get(partition.topic.name.as_str());
            let said = topic.and_then(|topic| topic.partitions.get(partition.number.to_string().as_str()));
            let is_paused = is_paused || self.shared.holds(partition);
            if said.is_some_and(|said| partition.tick(said.tick(given, is_paused))) {
                tracing::warn!(topic = partition.topic.name, partition = partition.number, "its end moved back");
                self.shared.doubt(partition);
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka");
        self.shared.note(&error);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RespErr, list: &mut TopicPartitionList) {
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let outcome = if kind == RespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let from = self.shared.assign(list);
            if cooperative { consumer.incremental_assign(&from) } else { consumer.assign(&from) }
        } else {
            let lost = consumer.assignment_lost();
            let revoked = self.shared.revoke(list, lost);
            if let Some(positions) = told_positions(&revoked).filter(|_| !lost) {
                let _for_lag_tools_only = consumer.commit(&positions, CommitMode::Async);
            }
            if cooperative { consumer.incremental_unassign(list) } else { consumer.unassign() }
        };
        if let Err(error) = outcome {
            self.shared.note(&error);
        }
    }
}

/// The few fields of librdkafka's statistics that tell the lag.
#[derive(Deserialize)]
struct Statistics<'a> {
    #[serde(borrow)]
    topics: HashMap<&'a str, TopicStatistics<'a>>,
}

#[derive(Deserialize)]
struct TopicStatistics<'a> {
    #[serde(borrow)]
    partitions: HashMap<&'a str, PartitionStatistics>,
}

#[derive(Deserialize)]
struct PartitionStatistics {
    hi_offset: i64,
    ls_offset: i64,
    next_offset: i64,
    fetchq_cnt: i64,
}

impl PartitionStatistics {
    /// A pause throws away what was fetched before, so the next offset says nothing while it lasts.
    fn tick(&self, given: u64, is_paused: bool) -> Tick {
        let next = u64::try_from(self.next_offset).ok().filter(|_| !is_paused);
        Tick { end: self.end(), next, queued: u64::try_from(self.fetchq_cnt).unwrap_or_default(), given }
    }

    /// The last stable offset where there is one: what is above it cannot be read yet.
    fn end(&self) -> Option<u64> {
        u64::try_from(self.ls_offset).or(u64::try_from(self.hi_offset)).ok()
    }
}
