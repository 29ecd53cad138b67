//! What came in: entries by status and subject, and counts.

use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use pedigraph_proto::wire::{Entry, Status};
use pedigraph_proto::{TenantId, control};

use self::rows::{
    BY_STATUS, CHANGES, COUNTERS_MAX, Counters, ENTRIES_PER_ROW, EntryRow, EntryRows, GROUP_COUNTERS, VIEW,
    counters_prefix, entries_prefix, subject_key,
};
use crate::error::Error;
use crate::facts::view::{CommitAt, EntryAt, EntrySummary, FactAt, View};
use crate::rows::Rows;
use crate::store::Store;
use crate::store::key::Key;

pub(crate) mod rows;

/// The view.
#[derive(Default)]
pub(crate) struct Intake {
    /// Counters as the newest commit left them, in groups: to read them waits for rows that are being inserted.
    newest: Mutex<BTreeMap<TenantId, Vec<Counters>>>,
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

    /// What the ledger says of itself did not come in and is not counted. Counters are cumulative, written by each
    /// commit that moves them, so that steps of any size leave the same rows.
    fn fold_commit(&self, at: &CommitAt<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
        put_entries(at, rows)?;
        let moved = counted(at);
        if moved.is_empty() {
            return Ok(());
        }
        let mut newest = self.newest.lock();
        let groups = match newest.entry(at.tenant.clone()) {
            Place::Occupied(groups) => groups.into_mut(),
            Place::Vacant(free) => free.insert(newest_before(at, rows)?),
        };
        for group in count_on(groups, moved) {
            let key = counters_prefix(at.tenant, group).number(at.next_index).number(at.seq);
            rows.put(key, &groups[group])?;
        }
        Ok(())
    }
}

/// Rows of entries, which begin with each commit anew, so that they do not depend on steps.
fn put_entries(at: &CommitAt<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let first = at.next_index.saturating_sub(at.entries.len() as u64);
    for (index, part) in (first..).step_by(ENTRIES_PER_ROW).zip(at.entries.chunks(ENTRIES_PER_ROW)) {
        rows.put(entries_prefix(at.tenant).number(index), &entry_rows(part))?;
    }
    Ok(())
}

fn entry_rows(entries: &[EntrySummary]) -> EntryRows {
    let mut rows = EntryRows::default();
    for EntrySummary { entry, leaf_hash, .. } in entries {
        let known = rows.sources.iter().position(|known| *known == entry.source);
        let source = known.unwrap_or(rows.sources.len());
        if known.is_none() {
            rows.sources.push(entry.source.clone());
        }
        let source = u32::try_from(source).unwrap_or(u32::MAX);
        let event_id = entry.event_id.as_ref().try_into().unwrap_or_default();
        rows.entries.push(EntryRow { leaf_hash: *leaf_hash, source, recorded_at: entry.recorded_at, event_id });
    }
    rows
}

/// By how much a commit moves which counters.
fn counted(at: &CommitAt<'_>) -> BTreeMap<String, u64> {
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
    // It sorts before the others, and so is the first of all.
    if !moved.is_empty() {
        moved.entry(CHANGES.to_owned()).or_default();
    }
    moved
}

/// The newest row of each group from before a commit.
fn newest_before(at: &CommitAt<'_>, rows: &mut Rows<'_>) -> Result<Vec<Counters>, Error> {
    let mut groups = Vec::new();
    while groups.len() <= COUNTERS_MAX / GROUP_COUNTERS {
        let prefix = counters_prefix(at.tenant, groups.len());
        let here = prefix.clone().number(at.next_index).number(at.seq);
        let Some(group) = rows.last_before::<Counters>(&prefix, &here)? else { break };
        groups.push(group);
    }
    Ok(groups)
}

/// Counts, and gives the groups in which that changes something. A new counter goes to the last group.
fn count_on(groups: &mut Vec<Counters>, moved: BTreeMap<String, u64>) -> BTreeSet<usize> {
    let mut changed = BTreeSet::new();
    for (counter, n) in moved {
        let place = groups.iter().enumerate().find_map(|(number, group)| {
            let place = group.iter().position(|(name, _)| *name == counter)?;
            Some((number, place))
        });
        let number = match place {
            Some((number, place)) => {
                groups[number][place].1 += n;
                number
            }
            None if groups.len() * GROUP_COUNTERS >= COUNTERS_MAX => continue,
            None => {
                if groups.last().is_none_or(|last| last.len() >= GROUP_COUNTERS) {
                    groups.push(Counters::new());
                }
                let number = groups.len() - 1;
                groups[number].push((counter, n));
                number
            }
        };
        changed.insert(number);
    }
    changed
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
