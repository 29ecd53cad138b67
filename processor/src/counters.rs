//! What happened, as plain atomics: the root shows them, this crate knows no metrics system.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use pedigraph_proto::message::Status;

use crate::clock::now_ns;

/// Upper bounds of the commit histogram's buckets, microseconds; the last bucket has none.
pub const COMMIT_BUCKETS_US: [u64; 10] = [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 1_000_000];

/// Counts since the start.
#[derive(Default, Debug)]
pub struct Counters {
    accepted: AtomicU64,
    duplicate: AtomicU64,
    conflict: AtomicU64,
    rejected: AtomicU64,
    stale: AtomicU64,
    batches: AtomicU64,
    bytes: AtomicU64,
    commit_us: AtomicU64,
    commit_buckets: [AtomicU64; COMMIT_BUCKETS_US.len() + 1],
    refused_busy: AtomicU64,
    refused_no_room: AtomicU64,
    slow: AtomicU64,
    messages_set_aside: AtomicU64,
    files_set_aside: AtomicU64,
    documents_lost: AtomicU64,
    secrets: AtomicU64,
    pub(crate) id_rows_read: AtomicU64,
    pub(crate) disk_free_bytes: AtomicU64,
    /// When the newest commit was recorded.
    pub(crate) recorded_ns: AtomicI64,
    pub(crate) queue_messages: AtomicU64,
    pub(crate) queue_bytes: AtomicU64,
}

impl Counters {
    /// Messages that ended so, durably.
    pub fn messages(&self, status: Status) -> u64 {
        self.of(status).load(Ordering::Relaxed)
    }

    /// Kafka messages dropped since their partition was taken away or they were fetched twice; they are fetched again
    /// or are in the ledger already.
    pub fn stale(&self) -> u64 {
        self.stale.load(Ordering::Relaxed)
    }

    /// Secrets that were found in messages, those sent again too, and overwritten or kept out of what is told of them.
    pub fn secrets(&self) -> u64 {
        self.secrets.load(Ordering::Relaxed)
    }

    pub(crate) fn found_secrets(&self, count: u32) {
        self.secrets.fetch_add(count.into(), Ordering::Relaxed);
    }

    /// Group commits.
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Received bytes of the messages that were committed.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Time spent in commits.
    pub fn commit_time(&self) -> Duration {
        Duration::from_micros(self.commit_us.load(Ordering::Relaxed))
    }

    /// Commits per bucket of [`COMMIT_BUCKETS_US`], and those above; not cumulative.
    pub fn commit_buckets(&self) -> [u64; COMMIT_BUCKETS_US.len() + 1] {
        std::array::from_fn(|n| self.commit_buckets[n].load(Ordering::Relaxed))
    }

    /// Submissions refused since the queue was full.
    pub fn refused_busy(&self) -> u64 {
        self.refused_busy.load(Ordering::Relaxed)
    }

    /// Submissions refused since the disk is full up to its reserve.
    pub fn refused_no_room(&self) -> u64 {
        self.refused_no_room.load(Ordering::Relaxed)
    }

    /// Messages that went the slow lane: large or compressed.
    pub fn slow_messages(&self) -> u64 {
        self.slow.load(Ordering::Relaxed)
    }

    /// Messages that were not decoded, since the process died over them before.
    pub fn messages_set_aside(&self) -> u64 {
        self.messages_set_aside.load(Ordering::Relaxed)
    }

    /// Files of drop directories that could not be taken in.
    pub fn files_set_aside(&self) -> u64 {
        self.files_set_aside.load(Ordering::Relaxed)
    }

    /// Spooled documents that were gone, or no files any more, before they were read.
    pub fn documents_lost(&self) -> u64 {
        self.documents_lost.load(Ordering::Relaxed)
    }

    /// Rows of the index of known ids that were asked for: at most three a message.
    pub fn id_rows_read(&self) -> u64 {
        self.id_rows_read.load(Ordering::Relaxed)
    }

    /// Bytes that are free on the disk, as last looked at.
    pub fn disk_free_bytes(&self) -> u64 {
        self.disk_free_bytes.load(Ordering::Relaxed)
    }

    /// How far this machine's clock is behind the newest recorded time: recorded times never go back, so that they stand
    /// still until the clock is there.
    pub fn clock_behind(&self) -> Duration {
        let behind = self.recorded_ns.load(Ordering::Relaxed).saturating_sub(now_ns());
        Duration::from_nanos(u64::try_from(behind).unwrap_or_default())
    }

    /// Messages between intake and durability.
    pub fn queue_messages(&self) -> u64 {
        self.queue_messages.load(Ordering::Relaxed)
    }

    /// Bytes between intake and durability.
    pub fn queue_bytes(&self) -> u64 {
        self.queue_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn ended(&self, status: Status, bytes: u64) {
        self.of(status).fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn dropped_stale(&self) {
        self.stale.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused_busy.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn slow(&self) {
        self.slow.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn message_set_aside(&self) {
        self.messages_set_aside.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn file_set_aside(&self) {
        self.files_set_aside.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn document_lost(&self) {
        self.documents_lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused_for_room(&self) {
        self.refused_no_room.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn committed(&self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = COMMIT_BUCKETS_US.partition_point(|bound| *bound < took_us);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.commit_us.fetch_add(took_us, Ordering::Relaxed);
        self.commit_buckets[bucket].fetch_add(1, Ordering::Relaxed);
    }

    fn of(&self, status: Status) -> &AtomicU64 {
        match status {
            Status::Accepted => &self.accepted,
            Status::Duplicate => &self.duplicate,
            Status::Conflict => &self.conflict,
            Status::Rejected => &self.rejected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_ahead_is_behind_what_was_recorded() {
        let counters = Counters::default();
        assert_eq!(counters.clock_behind(), Duration::ZERO, "nothing is recorded");
        counters.recorded_ns.store(now_ns() + 3_600_000_000_000, Ordering::Relaxed);
        let behind = counters.clock_behind().as_secs();
        assert!((3_000..=3_600).contains(&behind), "{behind}");
        counters.recorded_ns.store(i64::MAX, Ordering::Relaxed);
        assert!(counters.clock_behind() > Duration::ZERO);
    }
}
