//! A small Kafka producer for the demo, the tests and `publish`.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::Error;

/// How long [`Producer::flush`] waits.
const FLUSH_MAX: Duration = Duration::from_secs(30);
/// How long a full queue is served before it is tried again.
const SERVE: Duration = Duration::from_millis(20);

/// Sends messages and keeps their order within a partition.
pub struct Producer(BaseProducer);

impl Producer {
    /// A producer for these bootstrap servers.
    ///
    /// # Errors
    /// [`Error::Kafka`] for servers that cannot be names.
    pub fn new(brokers: &str) -> Result<Producer, Error> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("enable.idempotence", "true").set("linger.ms", "2");
        config.set("message.max.bytes", "20000000");
        Ok(Producer(config.create()?))
    }

    /// Queues one message; waits while the queue is full.
    ///
    /// # Errors
    /// [`Error::Kafka`] when it can never be sent, such as for its size.
    pub fn send(&self, topic: &str, key: &[u8], headers: &[(&str, &[u8])], value: &[u8]) -> Result<(), Error> {
        self.send_record(BaseRecord::to(topic).key(key).payload(value).headers(owned(headers)))
    }

    /// Queues one message for a partition; a value of `None` is Kafka's null.
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub fn send_to(
        &self,
        topic: &str,
        partition: i32,
        headers: &[(&str, &[u8])],
        value: Option<&[u8]>,
    ) -> Result<(), Error> {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).headers(owned(headers));
        record.payload = value;
        self.send_record(record)
    }

    fn send_record(&self, mut record: BaseRecord<'_, [u8], [u8]>) -> Result<(), Error> {
        loop {
            match self.0.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => record = back,
                Err((error, _)) => return Err(error.into()),
            }
            self.0.poll(SERVE);
        }
    }

    /// Waits until all that was queued is with the broker.
    ///
    /// # Errors
    /// [`Error::Kafka`] when it is not within 30 seconds.
    pub fn flush(&self) -> Result<(), Error> {
        Ok(self.0.flush(FLUSH_MAX)?)
    }
}

fn owned(headers: &[(&str, &[u8])]) -> OwnedHeaders {
    let add = |owned: OwnedHeaders, (key, value): &(&str, &[u8])| owned.insert(Header { key, value: Some(*value) });
    headers.iter().fold(OwnedHeaders::new(), add)
}
