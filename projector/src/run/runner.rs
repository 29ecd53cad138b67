//! The one runner: it waits for commits, folds them step by step, and lets readers see them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use pedigraph_ledger::{Commit, LogId, Reader};
use pedigraph_proto::{Nanos, TenantId};

use super::folder::{CommitIn, EntryIn, Folder};
use super::recovery::{Recovery, caught};
use super::trace;
use super::visible::{Inner, Visible};
use crate::error::Error;

/// Bytes of journal that one step reads at most: what becomes visible together.
pub(super) const STEP_BYTES_MAX: usize = 1 << 20;
/// How long the runner waits for a commit before it looks whether it should stop.
const WAIT: Duration = Duration::from_millis(50);
/// Steps between two flushes while there is more to fold.
const STEPS_PER_FLUSH: u32 = 64;

/// Folds until it is told to stop, whatever fails meanwhile.
pub(super) fn run(inner: &Arc<Inner>, folder: Folder) {
    let mut recovery = Recovery::default();
    let mut next = Some(folder);
    while let Some(mut folder) = next.take() {
        let Err(fault) = caught(&mut folder, |folder| fold_on(inner, folder)) else { return };
        // Its thread still holds the store.
        drop(folder);
        next = recovery.recover(inner, fault);
    }
}

/// Waits for commits, folds them, lets readers see them. The one loop of this crate.
fn fold_on(inner: &Arc<Inner>, folder: &mut Folder) -> Result<(), Error> {
    let mut unflushed = 0;
    while !inner.stop.load(Ordering::Acquire) {
        let next = folder.progress().next_seq;
        let idle = inner.reader.wait(next, WAIT) <= next;
        if idle {
            folder.settle()?;
            flush_idle(inner, &mut unflushed)?;
        } else {
            run_step(inner, folder, &mut unflushed)?;
        }
    }
    folder.settle()
}

fn flush_idle(inner: &Inner, unflushed: &mut u32) -> Result<(), Error> {
    if std::mem::take(unflushed) > 0 { inner.store.flush() } else { Ok(()) }
}

fn run_step(inner: &Arc<Inner>, folder: &mut Folder, unflushed: &mut u32) -> Result<(), Error> {
    let contexts = inner.commit_context.get();
    let span = trace::span(contexts);
    let folded = span.in_scope(|| step(&inner.reader, folder, STEP_BYTES_MAX))?;
    trace::link(&span, contexts, &folded);
    let showing = inner.clone();
    folder.finish_step(|folder| {
        let visible = Visible::of(folder);
        Box::new(move || {
            *showing.fault.lock() = None;
            *showing.visible.write() = visible;
            showing.moved.send_modify(|n| *n += 1);
            // The span ends when readers see what it folded.
            drop(span);
        })
    })?;
    *unflushed += 1;
    if *unflushed >= STEPS_PER_FLUSH { flush_idle(inner, unflushed) } else { Ok(()) }
}

/// What one step folds: commits → facts, chunk by chunk → rows. Returns the commits.
pub(super) fn step(reader: &Reader, folder: &mut Folder, bytes_max: usize) -> Result<Vec<Commit>, Error> {
    let commits = reader.commits(folder.progress().next_seq, bytes_max)?;
    if commits.is_empty() {
        return Err(Error::Store("the ledger gave no commit where it has one".into()));
    }
    for commit in &commits {
        folder.fold_commit(&commit_in(commit), &|entry, chunk| fetch(reader, commit, entry, chunk))?;
    }
    Ok(commits)
}

fn fetch(reader: &Reader, commit: &Commit, entry: usize, chunk: usize) -> Result<Bytes, Error> {
    let part = commit.entries.get(entry).and_then(|entry| entry.facts.get(chunk));
    let bytes = part.map(|part| reader.part(part)).transpose()?.flatten();
    let missing = || Error::Ledger(pedigraph_ledger::Error::Corrupt(format!("facts of entry {entry} are gone")));
    bytes.ok_or_else(missing)
}

fn commit_in(commit: &Commit) -> CommitIn {
    let entry_in = |entry: &pedigraph_ledger::Entry| EntryIn {
        tenant: tenant_of(&entry.log),
        index: entry.index,
        leaf: entry.leaf.clone(),
        leaf_hash: entry.leaf_hash.0,
        chunks: entry.facts.len(),
    };
    let duplicate = |(log, source, n): &(LogId, String, u64)| (tenant_of(log), source.clone(), *n);
    CommitIn {
        seq: commit.seq,
        time: Nanos(commit.time_ns),
        entries: commit.entries.iter().map(entry_in).collect(),
        duplicates: commit.duplicates.iter().map(duplicate).collect(),
    }
}

/// A log's name has the form of a tenant's by contract.
fn tenant_of(log: &LogId) -> TenantId {
    TenantId::new(log.as_str()).unwrap_or_default()
}
