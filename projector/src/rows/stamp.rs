//! Where a row comes from: what precedes the value of every row.

use pedigraph_proto::Nanos;
use pedigraph_proto::wire::Entry;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The one order of facts about one thing: [`Stamp::order`].
pub(crate) type Order = (i64, u64, u32);

/// What precedes the value of every row: where it comes from. Readers compare `index` with their bound and `time` with
/// `at`, and order by [`Stamp::order`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// Index of the entry that proves the row.
    pub(crate) index: u64,
    /// 0 = the entry itself, n + 1 = its n-th fact, `u32::MAX` = its commit.
    pub(crate) ordinal: u32,
    /// When it happened.
    pub(crate) time: i64,
}

impl Stamp {
    /// Of the entry itself.
    pub(crate) fn of_entry(index: u64, entry: &Entry) -> Stamp {
        Stamp { index, ordinal: 0, time: happened(0, entry).0 }
    }

    /// The one order of facts about one thing (SPEC §2.3): by time; of equal times by index, so that the later arrival
    /// wins, since clocks of one second are common and a hash would be a coin toss; then by the place in the entry.
    /// Where documents have a version it stands between time and index. Only at equal times does arrival matter. Keys
    /// that end with time, index and ordinal sort so.
    pub(crate) fn order(&self) -> Order {
        (self.time, self.index, self.ordinal)
    }

    pub(super) fn earlier_than(&self, other: &Stamp) -> bool {
        (self.index, self.ordinal) < (other.index, other.ordinal)
    }
}

/// When a fact happened: its own time, else its entry's. A time before 2000 counts as absent (SPEC §2.3), in ledgers
/// that were written before that rule too.
pub(crate) fn happened(said: i64, entry: &Entry) -> Nanos {
    [said, entry.occurred_at].into_iter().find_map(Nanos::of).unwrap_or(Nanos(entry.recorded_at))
}

/// A row's value with where it comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamped<T> {
    /// Where it comes from.
    pub(crate) stamp: Stamp,
    /// The value.
    pub(crate) value: T,
}

impl<T: DeserializeOwned> Stamped<T> {
    /// Reads a row's bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Stamped<T>, Error> {
        let (stamp, rest) = split_stamp(bytes)?;
        let value = postcard::from_bytes(rest).map_err(|error| Error::Store(format!("row: {error}")))?;
        Ok(Stamped { stamp, value })
    }
}

/// The stamp of a row's bytes, and its value's bytes.
pub(crate) fn split_stamp(bytes: &[u8]) -> Result<(Stamp, &[u8]), Error> {
    postcard::take_from_bytes::<Stamp>(bytes).map_err(|error| Error::Store(format!("row: {error}")))
}
