//! What a check found wrong, and where.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use crate::{Error, Hash, LogId};

/// Logs whose entries are named when many are affected.
const LOGS_NAMED_MAX: usize = 8;

/// Where a check failed, as far as it can be said.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fault {
    /// What is not as it must be.
    pub what: String,
    /// The log that the index is of, where a ledger of several was checked.
    pub log: Option<LogId>,
    /// The first entry that is not proved any more.
    pub index: Option<u64>,
    /// The hash that must be there.
    pub expected: Option<Hash>,
    /// The hash that is there.
    pub found: Option<Hash>,
    /// What cannot be believed because of it.
    pub affected: String,
}

impl Fault {
    /// Of an entry.
    pub(crate) fn of_entry(log: &LogId, index: u64, what: String, affected: impl Into<String>) -> Fault {
        Fault { what, log: Some(log.clone()), index: Some(index), affected: affected.into(), ..Fault::default() }
    }

    /// Of the first of some entries.
    pub(crate) fn of_entries(what: String, ranges: &BTreeMap<LogId, Range<u64>>) -> Fault {
        let first = ranges.first_key_value();
        Fault {
            what,
            log: first.map(|(log, _)| log.clone()),
            index: first.map(|(_, range)| range.start),
            affected: ranges_text(ranges),
            ..Fault::default()
        }
    }

    /// With the hash that must be there and the one that is.
    pub(crate) fn hashes(self, expected: Hash, found: Hash) -> Fault {
        Fault { expected: Some(expected), found: Some(found), ..self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let (Some(expected), Some(found)) = (self.expected, self.found) {
            write!(f, ": expected {expected}, found {found}")?;
        }
        write!(f, "; affected: {}", self.affected)
    }
}

/// Ranges of entries, in words.
pub(crate) fn ranges_text(ranges: &BTreeMap<LogId, Range<u64>>) -> String {
    let text = |(log, range): (&LogId, &Range<u64>)| match range.end.saturating_sub(range.start) {
        1 => format!("entry {} of log {log}", range.start),
        _ => format!("entries {} to {} of log {log}", range.start, range.end.saturating_sub(1)),
    };
    let named: Vec<_> = ranges.iter().take(LOGS_NAMED_MAX).map(text).collect();
    match ranges.len().saturating_sub(LOGS_NAMED_MAX) {
        0 if named.is_empty() => "no entry".into(),
        0 => named.join(", "),
        more => format!("{}, and entries of {more} more logs", named.join(", ")),
    }
}

/// Why a check ends early.
#[derive(Debug)]
pub(crate) enum Stop {
    Fault(Box<Fault>),
    Error(Error),
}

impl Stop {
    /// An error that names a fault of an entry's is that fault.
    pub(crate) fn of_entry(error: Error, log: &LogId, index: u64) -> Stop {
        match fault_text(error) {
            Ok(why) => {
                let affected = format!("entry {index} of log {log}");
                Fault::of_entry(log, index, format!("{affected}: {why}"), affected).into()
            }
            Err(error) => error.into(),
        }
    }
}

/// The text of an error that names a fault; `Err` when it says nothing about what is stored.
pub(crate) fn fault_text(error: Error) -> Result<String, Error> {
    if let Error::Corrupt(why) = error { Ok(why) } else { Err(error) }
}

impl From<Box<Fault>> for Stop {
    fn from(fault: Box<Fault>) -> Stop {
        Stop::Fault(fault)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Fault(Box::new(fault))
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Error(error)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Stop {
        Stop::Error(error.into())
    }
}
