//! What came in: entries by status and subject, and counts.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use pedigraph_proto::wire::{Entry, Status};
use pedigraph_proto::{TenantId, control};

use self::rows::{BY_STATUS, CHANGES, COUNTERS_MAX, EntryRow, VIEW, counter_prefix, entry_key, subject_key};
use crate::error::Error;
use crate::facts::view::{CommitAt, EntryAt, FactAt, View};
use crate::rows::Rows;
use crate::store::Store;
use crate::store::key::Key;

pub(crate) mod rows;

/// The view.
#[derive(Default)]
pub(crate) struct Intake {
    /// Counters as the newest commit left them, by the beginning of their keys: to read one waits for rows that are
    /// being inserted.
    newest: Mutex<HashMap<Vec<u8>, u64>>,
}

impl View for Intake {
    fn name(&self) -> &'static str {
        "intake"
    }

    fn opened(&self, _store: &dyn Store, _next: &dyn Fn(&TenantId) -> u64) -> Result<(), Error> {
        self.newest.lock().clear();
        Ok(())
    }

    fn fold_entry(&self, at: &EntryAt<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
        let entry = at.entry;
        let row = EntryRow {
            leaf_hash: *at.leaf_hash,
            source: entry.source.clone(),
            recorded_at: entry.recorded_at,
            conflict: entry.status() == Status::Conflict,
        };
        rows.put(entry_key(at.tenant, at.index), &row)?;
        if entry.status() != Status::Accepted {
            let key = Key::new(at.tenant, VIEW).byte(BY_STATUS).text(status_name(entry)).number(at.index);
            rows.put(key, &())?;
        }
        for subject in &entry.subjects {
            rows.put(subject_key(at.tenant, subject).number(at.index).number(0), &())?;
        }
        Ok(())
    }

    /// The leaf lists the first subjects only; the rest is found in the facts.
    fn fold(&self, at: &FactAt<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
        if at.entry.subject_count == 0 {
            return Ok(());
        }
        let mut unlisted: Vec<&str> = at.event.subject_digests();
        unlisted.retain(|subject| !at.entry.subjects.iter().any(|listed| listed == subject));
        unlisted.sort_unstable();
        unlisted.dedup();
        for subject in unlisted {
            rows.put(subject_key(at.tenant, subject).number(at.index).number(u64::from(at.ordinal) + 1), &())?;
        }
        Ok(())
    }

    /// What the ledger says of itself did not come in and is not counted. Counters are cumulative, one row per commit
    /// that moved them, so that steps of any size leave the same rows.
    fn fold_commit(&self, at: &CommitAt<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
        let mut moved: BTreeMap<String, u64> = BTreeMap::new();
        let mut count = |counter: String, n: u64| *moved.entry(counter).or_default() += n;
        for summary in at.entries {
            let entry = &summary.entry;
            if said_by_ledger(entry) {
                continue;
            }
            count(format!("status:{}", status_name(entry)), 1);
            count(format!("source:{}", source_name(entry)), 1);
            if !entry.format.is_empty() {
                count(format!("format:{}", entry.format), 1);
            }
            if let Some(code) = &summary.code {
                count(format!("code:{code}"), 1);
            }
            count(CHANGES.to_owned(), u64::from(summary.changes));
        }
        for (source, n) in at.duplicates {
            count("status:duplicate".to_owned(), *n);
            count(format!("source:{source}"), *n);
        }
        let mut newest = self.newest.lock();
        for (counter, n) in moved {
            let prefix = counter_prefix(at.tenant).text(&counter);
            let key = prefix.clone().number(at.next_index).number(at.seq);
            let before = match newest.get(prefix.as_bytes()) {
                Some(before) => *before,
                None => rows.last_before::<u64>(&prefix, &key)?.unwrap_or(0),
            };
            if newest.len() >= COUNTERS_MAX {
                newest.clear();
            }
            newest.insert(prefix.as_bytes().to_vec(), before + n);
            rows.put(key, &(before + n))?;
        }
        Ok(())
    }
}

fn status_name(entry: &Entry) -> &'static str {
    match entry.status() {
        Status::Accepted => "accepted",
        Status::Conflict => "conflict",
        Status::Rejected => "rejected",
        Status::Unspecified => "unknown",
    }
}

fn said_by_ledger(entry: &Entry) -> bool {
    entry.origin.as_ref().is_some_and(|origin| origin.kind == control::SOURCE)
}

/// The Kafka topic, else the kind of origin: file names and paths would be too many.
fn source_name(entry: &Entry) -> &str {
    match &entry.origin {
        Some(origin) if origin.kind == "kafka" => &origin.topic,
        Some(origin) => &origin.kind,
        None => "unknown",
    }
}
