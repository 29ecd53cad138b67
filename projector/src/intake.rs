//! What came in: entries by status and subject, and counts (SPEC §9, `GET /api/v1/intake`).

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use parking_lot::Mutex;
use pedigraph_proto::wire::{Entry, Status};
use pedigraph_proto::{TenantId, control};
use serde::{Deserialize, Serialize};

use crate::answers;
use crate::key::{Key, KeyReader};
use crate::scope::{Clocks, Scope};
use crate::store::Store;
use crate::view::{CommitAt, EntryAt, FactAt, Rows, View};
use crate::views::Error;

const VIEW: u8 = b'e';
const ENTRIES: u8 = b'e';
const BY_STATUS: u8 = b's';
const BY_SUBJECT: u8 = b'd';
const COUNTERS: u8 = b'c';
/// Counter of changes for subscribers.
pub(crate) const CHANGES: &str = "changes";
/// Different counters that one answer reads, and that are kept in memory.
const COUNTERS_MAX: usize = 10_000;

/// What is kept of an entry beside its facts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct EntryRow {
    pub(crate) leaf_hash: [u8; 32],
    pub(crate) source: String,
    pub(crate) recorded_at: i64,
    pub(crate) conflict: bool,
}

/// Key of an entry's row.
pub(crate) fn entry_key(tenant: &TenantId, index: u64) -> Key {
    Key::new(tenant, VIEW).byte(ENTRIES).number(index)
}

fn counter_prefix(tenant: &TenantId) -> Key {
    Key::new(tenant, VIEW).byte(COUNTERS)
}

/// The view.
#[derive(Default)]
pub(crate) struct Intake {
    /// Counters as the newest commit left them, by the beginning of their keys: to read one waits for rows that are being inserted.
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

    /// What the ledger says of itself did not come in and is not counted. Counters are cumulative, one row per commit that moved them, so that steps of any size leave the same rows.
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

fn subject_key(tenant: &TenantId, digest: &str) -> Key {
    Key::new(tenant, VIEW).byte(BY_SUBJECT).text(digest)
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

impl Scope {
    /// Counts of intake.
    pub fn intake(&self) -> Result<answers::Intake, Error> {
        let mut intake = answers::Intake::default();
        for (counter, n) in self.counters()? {
            let Some((kind, name)) = counter.split_once(':') else { continue };
            let list = match kind {
                "status" => &mut intake.by_status,
                "code" => &mut intake.by_code,
                "format" => &mut intake.by_format,
                _ => &mut intake.by_source,
            };
            list.insert(name.to_owned(), n);
        }
        intake.total = intake.by_status.values().sum();
        Ok(intake)
    }

    /// Indexes of entries with this status (`conflict`, `rejected`), ascending from `from`.
    pub fn entries_by_status(&self, status: &str, from: u64, limit: usize) -> Result<Vec<u64>, Error> {
        let prefix = self.key(VIEW).byte(BY_STATUS).text(status);
        self.indexes(&prefix, from, limit)
    }

    /// Indexes of entries that are about a digest, ascending from `from`.
    pub fn entries_by_subject(&self, digest: &str, from: u64, limit: usize) -> Result<Vec<u64>, Error> {
        self.indexes(&subject_key(&self.tenant, digest), from, limit)
    }

    fn indexes(&self, prefix: &Key, from: u64, limit: usize) -> Result<Vec<u64>, Error> {
        let mut indexes: Vec<u64> = Vec::new();
        let start = prefix.clone().number(from);
        self.each::<()>(&start, &prefix.prefix_end(), false, Clocks::Known, |_, row| {
            if indexes.last() != Some(&row.stamp.index) {
                if indexes.len() == limit {
                    return Ok(ControlFlow::Break(()));
                }
                indexes.push(row.stamp.index);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(indexes)
    }

    /// Every counter as of the bound: one seek per counter.
    fn counters(&self) -> Result<Vec<(String, u64)>, Error> {
        let prefix = counter_prefix(&self.tenant);
        let mut from = prefix.clone();
        let mut counters = Vec::new();
        while counters.len() < COUNTERS_MAX {
            let next = self.shared.store.scan(from.as_bytes(), prefix.prefix_end().as_bytes(), false, 1)?;
            let Some((key, _)) = next.first() else { break };
            let Some(name) = counter_name(key) else { return Err(Error::Store("counter: no name".into())) };
            let of_counter = prefix.clone().text(&name);
            if let Some(n) = self.counter(&name)? {
                counters.push((name, n));
            }
            from = of_counter.prefix_end();
        }
        Ok(counters)
    }

    /// A counter's value as of the bound.
    pub(crate) fn counter(&self, name: &str) -> Result<Option<u64>, Error> {
        let prefix = counter_prefix(&self.tenant).text(name);
        let to = prefix.clone().number(self.bound.saturating_add(1));
        let mut value = None;
        self.each::<u64>(&prefix, &to, true, Clocks::Known, |key, row| {
            if counter_seq(key).is_none_or(|seq| seq >= self.seq_bound) {
                return Ok(ControlFlow::Continue(()));
            }
            value = Some(row.value);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(value)
    }

    /// A counter's value after the first commit that holds `index`.
    pub(crate) fn counter_after(&self, name: &str, index: u64) -> Result<Option<u64>, Error> {
        let prefix = counter_prefix(&self.tenant).text(name);
        let from = prefix.clone().number(index.saturating_add(1));
        let row = self.keyed::<u64>(&from, &prefix.prefix_end(), false, Clocks::Known, 1)?;
        Ok(row.first().map(|(_, row)| row.value))
    }
}

fn counter_name(key: &[u8]) -> Option<String> {
    let mut reader = KeyReader::after_view(key)?;
    reader.byte()?;
    reader.text()
}

fn counter_seq(key: &[u8]) -> Option<u64> {
    let mut reader = KeyReader::after_view(key)?;
    reader.byte()?;
    reader.text()?;
    reader.number()?;
    reader.number()
}
