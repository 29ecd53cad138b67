//! Whether the views show all that a question is about.

use std::collections::BTreeMap;

use pedigraph_ledger::{LogId, Reader};
use pedigraph_projector::{AsOf, Scope};

use crate::fresh::Rebuilding;
use crate::problem::{Code, Problem};

/// Seconds after which it is worth asking views again that lack entries.
const RETRY_SECONDS: u32 = 2;

/// Sizes of all logs when the process started.
pub struct AtStart(BTreeMap<LogId, u64>);

impl AtStart {
    /// As the ledger is now.
    pub fn of(ledger: &Reader) -> AtStart {
        let size = |log: LogId| (log.clone(), ledger.head(&log).size);
        AtStart(ledger.logs().into_iter().map(size).collect())
    }

    /// The first log that is folded anew, given how much of each the views show.
    pub fn any_rebuilding(&self, visible: impl Fn(&LogId) -> u64) -> Option<Rebuilding> {
        self.0.keys().find_map(|log| self.rebuilding(log, visible(log)))
    }

    /// What the views have yet to fold of what was there at the start.
    pub fn rebuilding(&self, log: &LogId, visible: u64) -> Option<Rebuilding> {
        let of = self.0.get(log).copied().unwrap_or(0);
        (visible < of).then_some(Rebuilding { folded: visible, of })
    }
}

/// That views lack entries which a question is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Behind {
    /// Entries that the views show.
    pub visible: u64,
    /// Entries that the question is about: all that the ledger holds, or those that `asOf` means.
    pub asked: u64,
    /// Whether the views are folded anew.
    pub rebuilding: Option<Rebuilding>,
}

impl Behind {
    /// How far a scope is behind the question that it was made for; `None` when it shows all that there is to it.
    ///
    /// # Errors
    /// The ledger's.
    pub fn of(
        scope: &Scope,
        as_of: Option<AsOf>,
        ledger: &Reader,
        log: &LogId,
        start: &AtStart,
    ) -> Result<Option<Behind>, Problem> {
        let head = ledger.head(log).size;
        let asked = match as_of {
            None => head,
            Some(AsOf::Index(index)) => index.saturating_add(1).min(head),
            Some(AsOf::Time(time)) => ledger.size_at(log, time.0)?.min(head),
        };
        let visible = scope.as_of().map_or(0, |index| index + 1);
        let behind = Behind { visible, asked, rebuilding: start.rebuilding(log, visible) };
        Ok((visible < asked).then_some(behind))
    }

    /// The problem in place of "there is no such thing", which nobody can say yet.
    pub fn problem(&self) -> Problem {
        let detail = match self.rebuilding {
            Some(Rebuilding { folded, of }) => format!(
                "not found so far, but the views are being folded anew: {folded} of {of} entries; ask again in a while"
            ),
            None => format!(
                "not found so far, but the views show {} of {} entries; ask again in a moment",
                self.visible, self.asked
            ),
        };
        let problem = Problem::new(Code::ProjectionBehind, detail).retry_after(RETRY_SECONDS);
        problem.member("visible", self.visible).member("asked", self.asked)
    }
}
