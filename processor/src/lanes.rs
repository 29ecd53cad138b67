//! Who waits for whom before a message is decoded.
//!
//! What is small and plain goes the quick lane; what is large or compressed, so that its size does not tell what it
//! comes to, the slow one; spooled documents one of their own. Each lane has its own workers, so nothing in one waits
//! for another. In a lane Kafka and everybody else are taken in turn, and everybody else tenant by tenant.

use std::collections::{HashMap, VecDeque};

use pedigraph_proto::TenantId;
use pedigraph_proto::message::{Body, Message};

use crate::decode::is_compressed;

/// Largest body of the quick lane, bytes: some milliseconds of a decoder.
pub(crate) const QUICK_BYTES_MAX: usize = 256 << 10;

/// Who decodes a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// Small and plain.
    Quick,
    /// Large or compressed.
    Slow,
    /// Spooled to a file, since it may be larger than memory.
    Documents,
}

impl Way {
    /// That of one message.
    pub(crate) fn of(message: &Message) -> Way {
        match &message.body {
            Body::File { .. } => Way::Documents,
            Body::Bytes(bytes) if bytes.len() > QUICK_BYTES_MAX || is_compressed(bytes) => Way::Slow,
            Body::Bytes(_) | Body::Null => Way::Quick,
        }
    }
}

/// The jobs of one lane. There are no more queues in it than jobs.
pub(crate) struct Lane<J> {
    kafka: VecDeque<J>,
    tenants: HashMap<TenantId, VecDeque<J>>,
    /// Tenants with jobs, the next one first.
    turns: VecDeque<TenantId>,
    kafka_next: bool,
}

impl<J> Default for Lane<J> {
    fn default() -> Self {
        Lane { kafka: VecDeque::new(), tenants: HashMap::new(), turns: VecDeque::new(), kafka_next: false }
    }
}

impl<J> Lane<J> {
    /// Puts a job of Kafka's behind the others.
    pub(crate) fn push_kafka(&mut self, job: J) {
        self.kafka.push_back(job);
    }

    /// Puts a tenant's job behind its others.
    pub(crate) fn push(&mut self, tenant: TenantId, job: J) {
        let jobs = self.tenants.entry(tenant.clone()).or_default();
        if jobs.is_empty() {
            self.turns.push_back(tenant);
        }
        jobs.push_back(job);
    }

    /// The job whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<J> {
        self.kafka_next = !self.kafka_next;
        if self.kafka_next {
            self.kafka.pop_front().or_else(|| self.pop_request())
        } else {
            self.pop_request().or_else(|| self.kafka.pop_front())
        }
    }

    fn pop_request(&mut self) -> Option<J> {
        let tenant = self.turns.pop_front()?;
        let jobs = self.tenants.get_mut(&tenant)?;
        let job = jobs.pop_front();
        if jobs.is_empty() {
            self.tenants.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        job
    }
}

#[cfg(test)]
mod tests {
    use pedigraph_proto::wire;

    use super::*;

    fn message(body: Vec<u8>) -> Message {
        Message {
            tenant: TenantId::default(),
            origin: wire::Origin::default(),
            source: String::new(),
            headers: Vec::new(),
            body: Body::Bytes(body.into()),
            subject: None,
            format: None,
            broker_time: None,
            replay_of: None,
        }
    }

    #[test]
    fn tenants_are_taken_in_turn_however_much_one_of_them_queued() {
        let mut lane = Lane::default();
        let mut push = |name: &'static str| lane.push(TenantId::new(name).unwrap(), name);
        (0..100).for_each(|_| push("crowd"));
        push("one");
        push("two");
        lane.push_kafka("kafka");
        lane.push_kafka("kafka");
        let order: Vec<&str> = std::iter::from_fn(|| lane.pop()).collect();
        assert_eq!(order[..6], ["kafka", "crowd", "kafka", "one", "two", "crowd"]);
        assert_eq!(order.len(), 104);
        assert!(lane.tenants.is_empty() && lane.turns.is_empty(), "a tenant without jobs takes no place");
    }

    #[test]
    fn what_is_large_or_compressed_is_slow() {
        let way = |body: &[u8]| Way::of(&message(body.to_vec()));
        assert_eq!(way(&[b' '; QUICK_BYTES_MAX]), Way::Quick);
        assert_eq!(way(&[b' '; QUICK_BYTES_MAX + 1]), Way::Slow);
        for head in [&[0x1f, 0x8b, 8][..], &[0x28, 0xb5, 0x2f, 0xfd], b"BZh9", &[0xfd, b'7', b'z', b'X', b'Z', 0]] {
            assert_eq!(way(head), Way::Slow, "{head:?}");
        }
    }
}
