//! Waits that are said after a while.

use std::time::{Duration, Instant};

/// How long an assignment, or a broker, is waited for in silence, and how often it is said after that.
const SILENT_MAX: Duration = Duration::from_secs(2);
const SAY_INTERVAL: Duration = Duration::from_secs(10);

/// A wait that is said after a while, and again while it lasts.
pub(super) struct Wait {
    since: Instant,
    said: Option<Instant>,
}

impl Wait {
    pub(super) fn since(since: Instant) -> Wait {
        Wait { since, said: None }
    }

    /// Whether it is time to say it.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.said.map_or(self.since + SILENT_MAX, |said| said + SAY_INTERVAL);
        if due {
            self.said = Some(now);
        }
        due
    }

    pub(super) fn seconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.since).as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;

    #[test]
    fn a_wait_is_said_after_two_seconds_and_then_every_ten() {
        let start = now();
        let mut wait = Wait::since(start);
        let said = (0..40).filter(|second| wait.is_due(start + Duration::from_secs(*second)));
        assert_eq!(said.collect::<Vec<_>>(), [2, 12, 22, 32]);
        assert_eq!(wait.seconds(start + Duration::from_millis(27_900)), 27);
    }
}
