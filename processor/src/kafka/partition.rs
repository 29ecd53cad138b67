//! One partition as its source and the writer share it, and its position in the ledger.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use pedigraph_proto::message::Reject;

use super::mark::{Mark, Position};
use super::sight::{Sight, Standing, Tick};
use super::{PartitionState, Topic, lock};

/// Stands for "not known" in the atomics below.
const UNKNOWN: u64 = u64::MAX;

/// One partition.
pub(crate) struct Partition {
    key: Bytes,
    mark_key: Bytes,
    pub(super) topic: Arc<Topic>,
    pub(super) number: i32,
    /// The assignment it is read in; 0 when it is not assigned.
    epoch: AtomicU64,
    /// After what the writer decided on; only the writer sets it.
    decided: Place,
    /// After what is durable.
    durable: Place,
    /// Messages between the source and the disk.
    in_flight: AtomicUsize,
    end: AtomicU64,
    /// Where the client had come to the end and given out all: beyond `durable` there were only control records, aborted
    /// messages and what was compacted away. It rests on statistics, so it is for the lag alone and never a position.
    passed: AtomicU64,
    /// Whether messages are taken as they come, so that `sight` need not be asked for each.
    is_sure: AtomicBool,
    sight: Mutex<Sight>,
}

/// A position that one thread sets and others read.
struct Place {
    next: AtomicU64,
    time_ms: AtomicI64,
    mark: AtomicU64,
}

impl Place {
    fn new(position: Option<Position>) -> Place {
        let Position { next, time_ms, mark } = position.unwrap_or(Position::at(UNKNOWN, Mark::default()));
        Place { next: next.into(), time_ms: time_ms.into(), mark: mark.stored().into() }
    }

    fn set(&self, position: Position) {
        self.mark.store(position.mark.stored(), Ordering::Release);
        self.time_ms.store(position.time_ms, Ordering::Release);
        self.next.store(position.next, Ordering::Release);
    }

    fn get(&self) -> Position {
        Position {
            next: self.next.load(Ordering::Acquire),
            time_ms: self.time_ms.load(Ordering::Acquire),
            mark: Mark::read(self.mark.load(Ordering::Acquire)),
        }
    }

    fn known(&self) -> Option<Position> {
        Some(self.get()).filter(|position| position.next != UNKNOWN)
    }
}

impl Partition {
    /// The key of its position in the ledger.
    pub(crate) fn key(&self) -> &Bytes {
        &self.key
    }

    /// The position to commit with what was decided.
    pub(crate) fn decided(&self) -> Position {
        self.decided.get()
    }

    /// A position as the ledger keeps it: the next offset, and the mark of the message before it.
    pub(crate) fn stored(&self, position: &Position) -> [(Bytes, u64); 2] {
        [(self.key.clone(), position.next), (self.mark_key.clone(), position.mark.stored())]
    }

    /// What was decided up to a position is on disk.
    pub(crate) fn durable_to(&self, position: Position) {
        self.durable.set(position);
    }

    pub(super) fn durable(&self) -> Option<Position> {
        self.durable.known()
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) == 0
    }

    /// The assignment is over: what is under way is dropped.
    pub(super) fn end_assignment(&self) {
        self.epoch.store(0, Ordering::Release);
    }

    pub(super) fn is_sure(&self) -> bool {
        self.is_sure.load(Ordering::Acquire)
    }

    pub(super) fn standing(&self) -> Standing {
        lock(&self.sight).standing
    }

    /// Changes what is thought of the partition.
    pub(super) fn see<T>(&self, change: impl FnOnce(&mut Sight) -> T) -> T {
        let mut sight = lock(&self.sight);
        let outcome = change(&mut sight);
        self.is_sure.store(matches!(sight.standing, Standing::Sure), Ordering::Release);
        outcome
    }

    /// Begins to read, or begins again: tells from which offset, `None`: from the beginning.
    pub(super) fn begin(&self) -> Option<u64> {
        self.end_passed();
        self.see(|sight| sight.begin(self.durable()))
    }

    /// What the client prefetched is thrown away: how far it is says nothing.
    pub(super) fn end_passed(&self) {
        self.passed.store(0, Ordering::Release);
        self.see(Sight::wait_anew);
    }

    /// Begins again, with what was found.
    pub(super) fn begin_at(&self, standing: Standing) {
        self.end_passed();
        self.see(|sight| sight.begin_at(standing));
    }

    /// Takes in what the client's statistics say; tells whether the end moved back.
    pub(super) fn tick(&self, tick: Tick) -> bool {
        let (moved_back, passed) = self.see(|sight| sight.tick(tick, self.durable()));
        for (to, offset) in [(&self.end, tick.end), (&self.passed, passed)] {
            if let Some(offset) = offset {
                to.store(offset, Ordering::Release);
            }
        }
        moved_back
    }

    pub(super) fn state(&self) -> PartitionState {
        let lost = match self.standing() {
            Standing::Lost(lost) => Some(lost),
            Standing::Sure | Standing::Rereading { .. } | Standing::Doubted(_) => None,
        };
        PartitionState {
            topic: self.topic.name.clone(),
            partition: self.number,
            position: self.durable().map(|position| position.next),
            passed: if self.is_sure() && self.is_quiet() { self.passed.load(Ordering::Acquire) } else { 0 },
            end: lost.map(|lost| lost.end).or_else(|| known(self.end.load(Ordering::Acquire))),
            recorded_ms: self.durable().map(|position| position.time_ms).filter(|ms| *ms > 0),
            lost,
            is_held: false,
        }
    }
}

fn known(offset: u64) -> Option<u64> {
    (offset != UNKNOWN).then_some(offset)
}

/// Where and in which assignment a message was fetched.
pub(crate) struct Fetched {
    pub(crate) partition: Arc<Partition>,
    epoch: u64,
    offset: u64,
    pub(super) time_ms: i64,
    /// Of the last of a run of messages, so that few are made: by what it is known again.
    pub(super) mark: Option<Mark>,
    /// Why the message is refused whatever its body says.
    pub(crate) reject: Option<Reject>,
}

impl Fetched {
    pub(super) fn new(partition: &Arc<Partition>, offset: u64, time_ms: i64, reject: Option<Reject>) -> Fetched {
        partition.in_flight.fetch_add(1, Ordering::AcqRel);
        let epoch = partition.epoch.load(Ordering::Acquire);
        Fetched { partition: Arc::clone(partition), epoch, offset, time_ms, mark: None, reject }
    }

    /// For the writer: false when the message must be dropped, since its assignment is over or its offset is behind.
    /// Gaps are legal: compaction and transaction markers leave them.
    pub(crate) fn take_turn(&self) -> bool {
        let partition = &self.partition;
        let before = partition.decided.get();
        let stale = partition.epoch.load(Ordering::Acquire) != self.epoch;
        if stale || before.next != UNKNOWN && self.offset < before.next {
            return false;
        }
        let next = self.offset + 1;
        let mark = self.mark.unwrap_or_else(|| before.mark.further(next.saturating_sub(before.next)));
        partition.decided.set(Position { next, time_ms: self.time_ms, mark });
        true
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        self.partition.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A step of a position over an accepted gap, forwards or back.
pub(crate) struct Step {
    pub(crate) partition: Arc<Partition>,
    epoch: u64,
    /// Where the position is before the step.
    from: u64,
    to: u64,
}

impl Step {
    /// From the position to the oldest message that there is.
    pub(super) fn over_gap(partition: &Arc<Partition>, from: u64, to: u64) -> Step {
        let epoch = partition.epoch.load(Ordering::Acquire);
        Step { partition: Arc::clone(partition), epoch, from, to }
    }

    /// For the writer: false when the step must not be made, since the assignment is over or the position moved.
    pub(crate) fn take_turn(&self) -> bool {
        let partition = &self.partition;
        let before = partition.decided.get();
        let stale = partition.epoch.load(Ordering::Acquire) != self.epoch;
        if stale || before.next != self.from {
            return false;
        }
        // The message before the new position is not known.
        partition.decided.set(Position { next: self.to, mark: Mark::default(), ..before });
        true
    }
}

/// Every partition of every source, by the key of its position.
pub(crate) struct Positions {
    at_start: BTreeMap<Bytes, u64>,
    partitions: Mutex<HashMap<Bytes, Arc<Partition>>>,
    epochs: AtomicU64,
}

impl Positions {
    pub(crate) fn new(at_start: BTreeMap<Bytes, u64>) -> Positions {
        Positions { at_start, partitions: Mutex::default(), epochs: AtomicU64::new(0) }
    }

    /// Begins an assignment of a partition.
    pub(super) fn assign(&self, cluster: &str, topic: &Arc<Topic>, number: i32) -> Arc<Partition> {
        let key = position_key(cluster, &topic.name, number);
        let mut partitions = lock(&self.partitions);
        let partition = partitions.entry(key.clone()).or_insert_with(|| Arc::new(self.partition(key, topic, number)));
        partition.epoch.store(self.epochs.fetch_add(1, Ordering::AcqRel) + 1, Ordering::Release);
        Arc::clone(partition)
    }

    fn partition(&self, key: Bytes, topic: &Arc<Topic>, number: i32) -> Partition {
        let mark_key = mark_key(&key);
        let mark = Mark::read(self.at_start.get(&mark_key).copied().unwrap_or_default());
        let position = self.at_start.get(&key).map(|next| Position::at(*next, mark));
        Partition {
            key,
            mark_key,
            topic: Arc::clone(topic),
            number,
            epoch: AtomicU64::new(0),
            decided: Place::new(position),
            durable: Place::new(position),
            in_flight: AtomicUsize::new(0),
            end: AtomicU64::new(UNKNOWN),
            passed: AtomicU64::new(0),
            is_sure: AtomicBool::new(true),
            sight: Mutex::default(),
        }
    }
}

/// Cluster id, topic, topic uuid (not shown by this client, so empty) and partition, each preceded by its length as 2
/// bytes big-endian; the partition as 4 bytes big-endian.
pub(crate) fn position_key(cluster: &str, topic: &str, partition: i32) -> Bytes {
    let mut key = Vec::with_capacity(12 + cluster.len() + topic.len());
    for part in [cluster.as_bytes(), topic.as_bytes(), b"", &partition.to_be_bytes()] {
        key.extend_from_slice(&u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
        key.extend_from_slice(part);
    }
    key.into()
}

/// The key of a position's mark: a fifth part that says so.
fn mark_key(position_key: &[u8]) -> Bytes {
    [position_key, b"\0\x04mark"].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(positions: &Positions) -> Arc<Partition> {
        positions.assign("c", &Arc::new(Topic { name: "t".to_owned(), ..Topic::default() }), 0)
    }

    fn fetched(partition: &Arc<Partition>, offset: u64) -> Fetched {
        Fetched::new(partition, offset, 5, None)
    }

    #[test]
    fn parts_of_a_position_do_not_run_together() {
        assert_ne!(position_key("ab", "c", 0), position_key("a", "bc", 0));
        assert_eq!(position_key("c", "t", 1).as_ref(), b"\0\x01c\0\x01t\0\0\0\x04\0\0\0\x01");
        assert_eq!(mark_key(&position_key("c", "t", 1)).as_ref(), b"\0\x01c\0\x01t\0\0\0\x04\0\0\0\x01\0\x04mark");
    }

    #[test]
    fn a_mark_stays_with_its_message_and_is_found_again_at_the_next_start() {
        let positions = Positions::new(BTreeMap::new());
        let partition = assigned(&positions);
        let mark = Mark::of(5, Some(b"five"));
        let mut marked = fetched(&partition, 5);
        marked.mark = Some(mark);
        assert!(marked.take_turn());
        assert!(fetched(&partition, 9).take_turn());
        let position = partition.decided();
        assert_eq!((position.next, position.mark.offset(position.next)), (10, Some(5)));
        let again = Positions::new(partition.stored(&position).into());
        let found = assigned(&again).durable().unwrap();
        assert_eq!((found.next, found.mark), (10, position.mark));
    }

    #[test]
    fn over_an_accepted_gap_everything_from_there_on_is_taken() {
        let positions = Positions::new(BTreeMap::new());
        let partition = assigned(&positions);
        assert!(fetched(&partition, 8).take_turn());
        partition.durable_to(partition.decided());
        assert!(!fetched(&partition, 0).take_turn(), "behind");
        assert!(!Step::over_gap(&partition, 7, 0).take_turn(), "the position is another one");
        assert!(Step::over_gap(&partition, 9, 0).take_turn());
        assert!((0..3).all(|offset| fetched(&partition, offset).take_turn()));
        let late = Step::over_gap(&partition, 3, 0);
        positions.assign("c", &partition.topic, 0);
        assert!(!late.take_turn(), "another assignment");
    }

    #[test]
    fn what_is_no_message_is_no_lag_and_never_a_position() {
        let partition = assigned(&Positions::new(BTreeMap::new()));
        assert_eq!(partition.begin(), None);
        let first = fetched(&partition, 0);
        assert!(first.take_turn());
        partition.durable_to(partition.decided());
        let lag = || partition.state().lag_messages();
        let tick = Tick { end: Some(3), next: Some(3), ..Tick::default() };
        assert!(!partition.tick(tick) && !partition.tick(tick));
        assert_eq!(lag(), Some(2), "one is under way");
        drop(first);
        assert_eq!((partition.state().position, lag(), partition.decided().next), (Some(1), Some(0), 1));
        assert!(fetched(&partition, 1).take_turn(), "the statistics may be wrong");
        partition.end_passed();
        assert_eq!(lag(), Some(2));
        partition.tick(Tick { end: Some(5), ..tick });
        assert_eq!(lag(), Some(4), "there is more, which was not read");
    }
}
