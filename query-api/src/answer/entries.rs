//! Lists of ledger entries: some of them, in either order, a bounded part at a time.

use pedigraph_ledger::{LogId, Reader};
use pedigraph_projector::Scope;
use pedigraph_proto::Nanos;

use crate::answer::entry::{EntryRow, entry_row};
use crate::answer::error::Error;

/// Entries that one page looks at when a filter lets few through.
const EXAMINED_MAX: usize = 10_000;

/// Which entries are listed.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Filter {
    /// `accepted`, `conflict` or `rejected`.
    pub status: Option<String>,
    /// The digest that they are about.
    pub subject: Option<String>,
    /// The canonical event name.
    pub kind: Option<String>,
    /// They happened no later.
    pub at: Option<Nanos>,
}

/// In which order entries are listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// From the first index on.
    OldestFirst,
    /// Back from the last index.
    NewestFirst,
}

/// Rows, and the indexes (from, and before) that are left where there may be more.
pub type Part = (Vec<EntryRow>, Option<(u64, u64)>);

/// What is listed of which log.
#[derive(Clone, Copy)]
pub struct Listing<'a> {
    /// Where the entries are.
    pub ledger: &'a Reader,
    /// The log.
    pub log: &'a LogId,
    /// What the views show of it.
    pub scope: &'a Scope,
    /// Which of them.
    pub filter: &'a Filter,
    /// In which order.
    pub order: Order,
}

impl Filter {
    fn lets_through(&self, row: &EntryRow) -> bool {
        self.status.as_ref().is_none_or(|status| *status == row.status)
            && self.kind.as_ref().is_none_or(|kind| *kind == row.kind)
            && self.at.is_none_or(|at| row.occurred_at <= at)
    }
}

impl Listing<'_> {
    /// At most `limit` rows of the indexes from `from` to before `end`, and what is left of these when the page is full,
    /// or has looked at as many entries as one page may.
    ///
    /// # Errors
    /// What reading gives.
    pub fn page(&self, from: u64, end: u64, limit: usize) -> Result<Part, Error> {
        let (mut rows, mut examined, mut left) = (Vec::new(), 0, (from, end));
        while examined < EXAMINED_MAX {
            let candidates = self.candidates(left, limit)?;
            if candidates.is_empty() {
                return Ok((rows, None));
            }
            for index in candidates {
                if rows.len() == limit {
                    return Ok((rows, Some(left)));
                }
                examined += 1;
                self.scope.spend(1)?;
                rows.extend(entry_row(self.ledger, self.log, index)?.filter(|row| self.filter.lets_through(row)));
                left = match self.order {
                    Order::OldestFirst => (index + 1, end),
                    Order::NewestFirst => (from, index),
                };
            }
        }
        Ok((rows, Some(left).filter(|(from, end)| from < end)))
    }

    /// Indexes worth looking at, in order.
    fn candidates(&self, (from, end): (u64, u64), limit: usize) -> Result<Vec<u64>, Error> {
        let status = self.filter.status.as_deref().filter(|status| *status != "accepted");
        let (within, newest_first) = (from..end, self.order == Order::NewestFirst);
        Ok(match (&self.filter.subject, status) {
            (Some(subject), _) => self.scope.entries_by_subject(subject, within, newest_first, limit)?,
            (None, Some(status)) => self.scope.entries_by_status(status, within, newest_first, limit)?,
            (None, None) if newest_first => within.rev().take(limit).collect(),
            (None, None) => within.take(limit).collect(),
        })
    }
}
