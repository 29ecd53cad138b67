//! The room on the disk. It is watched, so that new messages are refused while what was taken in can still be written.
//!
//! What was taken in waits when there is no room for it after all: nothing is dropped, and nothing stops.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::Error;
use crate::counters::Counters;
use crate::intake::{Queue, Space};

/// How often the free space is looked at, and a full disk tried again.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// A disk that is watched.
#[derive(Clone)]
pub(crate) struct Disk {
    pub(crate) dir: PathBuf,
    pub(crate) reserve_bytes: u64,
    pub(crate) queue: Arc<Queue>,
    pub(crate) counters: Arc<Counters>,
}

impl Disk {
    /// Looks until the queue is closed.
    pub(crate) fn watch(&self) {
        while !self.queue.wait_closed(LOOK_INTERVAL) {
            self.look();
        }
    }

    /// Compares the free space with the reserve.
    pub(crate) fn look(&self) {
        let free = match rustix::fs::statvfs(&self.dir) {
            Ok(found) => found.f_bavail.saturating_mul(found.f_frsize),
            Err(error) => {
                tracing::warn!(%error, dir = %self.dir.display(), "the free space cannot be read");
                return;
            }
        };
        self.counters.disk_free_bytes.store(free, Ordering::Relaxed);
        self.set(if free < self.reserve_bytes { Space::Short } else { Space::Enough }, free);
    }

    fn set(&self, space: Space, free: u64) {
        let before = self.queue.set_space(space);
        match (before, space) {
            (Space::Enough, Space::Short) => {
                tracing::error!(
                    free,
                    reserve = self.reserve_bytes,
                    "the disk is nearly full: new messages are refused"
                );
            }
            (Space::Short, Space::Enough) => tracing::info!(free, "there is room on the disk again"),
            (Space::Enough, Space::Enough) | (Space::Short, Space::Short) => {}
        }
    }

    /// Does something again while there is no room for it; gives up when the process stops.
    pub(crate) fn with_room<T>(&self, mut work: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
        loop {
            match work() {
                Err(error) if is_full(&error) && !self.queue.wait_closed(LOOK_INTERVAL) => self.set(Space::Short, 0),
                outcome => return outcome,
            }
        }
    }
}

fn is_full(error: &Error) -> bool {
    let kind = match error {
        Error::Ledger(pedigraph_ledger::Error::Full(_)) => return true,
        Error::Io(error) => error.kind(),
        Error::Config(_)
        | Error::Kafka(_)
        | Error::Ledger(_)
        | Error::Index(_)
        | Error::Stopping
        | Error::Gone(_)
        | Error::Refused(_)
        | Error::Corrupt(_) => return false,
    };
    matches!(kind, std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}
