//! A Kafka cluster inside this process: librdkafka's mock, for tests and the demo.
//!
//! It speaks the real protocol on loopback and keeps nothing: at most 5 MiB or 100,000 batches a partition (older ones
//! are dropped), no transactions, no time index. Members of a group are let in at once instead of after three seconds.

use rdkafka::ClientConfig;
use rdkafka::bindings::{rd_kafka_handle_mock_cluster, rd_kafka_mock_group_initial_rebalance_delay_ms};
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer as _};

use crate::Error;

/// A running mock cluster; it ends with this value.
pub struct Cluster {
    owner: BaseProducer<DefaultProducerContext>,
    bootstrap: String,
}

impl Cluster {
    /// Starts one broker with these topics of four partitions each.
    ///
    /// # Errors
    /// [`Error::Kafka`] when it cannot listen on loopback.
    pub fn start(topics: &[&str]) -> Result<Cluster, Error> {
        let topics: Vec<(&str, i32)> = topics.iter().map(|topic| (*topic, 4)).collect();
        Cluster::with_partitions(&topics)
    }

    /// Starts one broker with these topics and numbers of partitions.
    ///
    /// # Errors
    /// [`Error::Kafka`] when it cannot listen on loopback.
    pub fn with_partitions(topics: &[(&str, i32)]) -> Result<Cluster, Error> {
        let owner: BaseProducer = ClientConfig::new().set("test.mock.num.brokers", "1").create()?;
        let bootstrap = {
            let cluster = owner.client().mock_cluster().ok_or_else(|| Error::Config("no mock cluster".to_owned()))?;
            for (topic, partitions) in topics {
                cluster.create_topic(topic, *partitions, 1)?;
            }
            cluster.bootstrap_servers()
        };
        #[expect(
            unsafe_code,
            reason = "the wrapper has no setter; the handle lives as long as its owner, which is borrowed here"
        )]
        unsafe {
            let cluster = rd_kafka_handle_mock_cluster(owner.client().native_ptr());
            rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0);
        }
        Ok(Cluster { owner, bootstrap })
    }

    /// `host:port` of the broker.
    pub fn bootstrap(&self) -> String {
        self.bootstrap.clone()
    }

    /// Takes the broker away, or gives it back.
    ///
    /// # Errors
    /// [`Error::Kafka`].
    pub fn set_reachable(&self, reachable: bool) -> Result<(), Error> {
        let cluster = self.owner.client().mock_cluster().ok_or_else(|| Error::Config("no mock cluster".to_owned()))?;
        let outcome = if reachable { cluster.broker_up(1) } else { cluster.broker_down(1) };
        Ok(outcome?)
    }
}
