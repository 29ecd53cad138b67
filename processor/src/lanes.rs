//! Who waits for whom before a message is decoded.
//!
//! What is small and plain goes the quick lane; what is large or compressed, so that its size does not tell what it
//! comes to, the slow one; spooled documents one of their own. Each lane has its own workers, so nothing in one waits
//! for another. In a lane Kafka and everybody else are taken in turn, and everybody else tenant by tenant.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use pedigraph_proto::TenantId;
use pedigraph_proto::message::{Body, Message};

use crate::decode::is_compressed;
use crate::intake::{Entrance, Job, Origin};
use crate::kafka::{Fetched, Partition};

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
#[derive(Default)]
pub(crate) struct Lane {
    kafka: VecDeque<Job>,
    tenants: HashMap<TenantId, VecDeque<Job>>,
    /// Tenants with jobs, the next one first.
    turns: VecDeque<TenantId>,
    kafka_next: bool,
}

impl Lane {
    /// Puts a job behind those of the same sender.
    pub(crate) fn push(&mut self, job: Job) {
        match job.entrance {
            Entrance::Kafka => self.kafka.push_back(job),
            Entrance::Requests => {
                let tenant = job.tenant();
                let jobs = self.tenants.entry(tenant.clone()).or_default();
                if jobs.is_empty() {
                    self.turns.push_back(tenant);
                }
                jobs.push_back(job);
            }
        }
    }

    /// The job whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<Job> {
        self.kafka_next = !self.kafka_next;
        if self.kafka_next {
            self.kafka.pop_front().or_else(|| self.pop_request())
        } else {
            self.pop_request().or_else(|| self.kafka.pop_front())
        }
    }

    fn pop_request(&mut self) -> Option<Job> {
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

/// Takes a job of Kafka's apart: one for each run of quick messages of a partition and for each slow message, since
/// each partition has an order of its own and what is slow holds up nothing but its own partition.
pub(crate) fn apart(job: Job) -> Vec<Job> {
    let Origin::Kafka(fetched) = &job.origin else { return vec![job] };
    let way = job.messages.first().map_or(Way::Quick, Way::of);
    let is_one = job.messages.len() == 1 || job.messages.iter().all(|message| Way::of(message) == Way::Quick);
    if is_one && fetched.windows(2).all(|pair| Arc::ptr_eq(&pair[0].partition, &pair[1].partition)) {
        return vec![Job { way, ..job }];
    }
    let Job { messages, origin: Origin::Kafka(fetched), entrance, .. } = job else { return Vec::new() };
    let mut parts: Vec<Part> = Vec::new();
    for (mut message, fetched) in messages.into_iter().zip(fetched) {
        let way = Way::of(&message);
        let last = parts.iter_mut().rev().find(|part| Arc::ptr_eq(&part.partition, &fetched.partition));
        match last {
            Some(last) if (last.way, way) == (Way::Quick, Way::Quick) => last.add(message, fetched),
            Some(_) | None => {
                if way == Way::Slow {
                    keep_apart(&mut message.body);
                }
                let partition = Arc::clone(&fetched.partition);
                parts.push(Part { way, partition, messages: vec![message], fetched: vec![fetched] });
            }
        }
    }
    let job = |part: Part| Job { way: part.way, ..Job::new(part.messages, Origin::Kafka(part.fetched), entrance) };
    parts.into_iter().map(job).collect()
}

/// Messages of one partition that become a job.
struct Part {
    way: Way,
    partition: Arc<Partition>,
    messages: Vec<Message>,
    fetched: Vec<Fetched>,
}

impl Part {
    fn add(&mut self, message: Message, fetched: Fetched) {
        self.messages.push(message);
        self.fetched.push(fetched);
    }
}

/// The bodies of a job share one allocation, which a slow one would hold for as long as it takes.
fn keep_apart(body: &mut Body) {
    if let Body::Bytes(bytes) = body {
        *bytes = Bytes::copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use pedigraph_proto::wire;
    use tokio::sync::oneshot;

    use super::*;

    fn message(tenant: &str, body: Vec<u8>) -> Message {
        Message {
            tenant: TenantId::new(tenant).unwrap(),
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

    fn job(tenant: &str) -> Job {
        Job::new(vec![message(tenant, Vec::new())], Origin::Request(oneshot::channel().0), Entrance::Requests)
    }

    #[test]
    fn tenants_are_taken_in_turn_however_much_one_of_them_queued() {
        let mut lane = Lane::default();
        (0..100).for_each(|_| lane.push(job("crowd")));
        lane.push(job("one"));
        lane.push(job("two"));
        let order: Vec<TenantId> = std::iter::from_fn(|| lane.pop()).map(|job| job.tenant()).collect();
        let names: Vec<&str> = order.iter().map(TenantId::as_str).collect();
        assert_eq!(names[..4], ["crowd", "one", "two", "crowd"]);
        assert_eq!(names.len(), 102);
        assert!(lane.tenants.is_empty() && lane.turns.is_empty(), "a tenant without jobs takes no place");
    }

    #[test]
    fn what_is_large_or_compressed_is_slow() {
        let way = |body: &[u8]| Way::of(&message("t", body.to_vec()));
        assert_eq!(way(&[b' '; QUICK_BYTES_MAX]), Way::Quick);
        assert_eq!(way(&[b' '; QUICK_BYTES_MAX + 1]), Way::Slow);
        for head in [&[0x1f, 0x8b, 8][..], &[0x28, 0xb5, 0x2f, 0xfd], b"BZh9", &[0xfd, b'7', b'z', b'X', b'Z', 0]] {
            assert_eq!(way(head), Way::Slow, "{head:?}");
        }
    }
}
