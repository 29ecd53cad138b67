//! Who waits for whom before a message is decoded.
//!
//! What is small and plain goes the quick lane; what is large or compressed, so that its size does not tell what it
//! comes to, the slow one; spooled documents one of their own. Each lane has its own workers, so nothing in one waits
//! for another. In a lane Kafka and everybody else are taken in turn: Kafka partition by partition, everybody else
//! tenant by tenant.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
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

/// Whose a job is: in turn with others of its kind it is decoded, and with them it shares the queue.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Whose {
    /// A request's, or a document's.
    Tenant(TenantId),
    /// A Kafka partition's, by the key of its position.
    Partition(Bytes),
}

/// The jobs of one lane. There are no more queues in it than jobs.
pub(crate) struct Lane<J> {
    kafka: Turns<J>,
    requests: Turns<J>,
    kafka_next: bool,
}

impl<J> Default for Lane<J> {
    fn default() -> Self {
        Lane { kafka: Turns::default(), requests: Turns::default(), kafka_next: false }
    }
}

impl<J> Lane<J> {
    /// Puts a job behind the others of the same.
    pub(crate) fn push(&mut self, whose: Whose, job: J) {
        match whose {
            Whose::Tenant(_) => self.requests.push(whose, job),
            Whose::Partition(_) => self.kafka.push(whose, job),
        }
    }

    /// The job whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<J> {
        self.kafka_next = !self.kafka_next;
        if self.kafka_next {
            self.kafka.pop().or_else(|| self.requests.pop())
        } else {
            self.requests.pop().or_else(|| self.kafka.pop())
        }
    }
}

/// Jobs of several, taken in turn.
struct Turns<J> {
    jobs: HashMap<Whose, VecDeque<J>>,
    /// Those with jobs, the next one first.
    order: VecDeque<Whose>,
}

impl<J> Default for Turns<J> {
    fn default() -> Self {
        Turns { jobs: HashMap::new(), order: VecDeque::new() }
    }
}

impl<J> Turns<J> {
    fn push(&mut self, whose: Whose, job: J) {
        let jobs = self.jobs.entry(whose.clone()).or_default();
        if jobs.is_empty() {
            self.order.push_back(whose);
        }
        jobs.push_back(job);
    }

    fn pop(&mut self) -> Option<J> {
        let whose = self.order.pop_front()?;
        let jobs = self.jobs.get_mut(&whose)?;
        let job = jobs.pop_front();
        if jobs.is_empty() {
            self.jobs.remove(&whose);
        } else {
            self.order.push_back(whose);
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
        let mut push = |name: &'static str| lane.push(Whose::Tenant(TenantId::new(name).unwrap()), name);
        (0..100).for_each(|_| push("crowd"));
        push("one");
        push("two");
        let mut push = |name: &'static str| lane.push(Whose::Partition(name.into()), name);
        (0..3).for_each(|_| push("backlog"));
        push("small");
        let order: Vec<&str> = std::iter::from_fn(|| lane.pop()).collect();
        assert_eq!(order[..8], ["backlog", "crowd", "small", "one", "backlog", "two", "backlog", "crowd"]);
        assert_eq!(order.len(), 106);
        let is_empty = |turns: &Turns<_>| turns.jobs.is_empty() && turns.order.is_empty();
        assert!(is_empty(&lane.kafka) && is_empty(&lane.requests), "who has no jobs takes no place");
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
