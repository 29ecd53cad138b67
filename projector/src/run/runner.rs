//! The one runner: it waits for commits, folds them step by step, and lets readers see them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pedigraph_ledger::{Commit, Reader};

use super::folder::Folder;
use super::recovery::{Recovery, caught};
use super::trace;
use super::visible::{Inner, Visible};
use crate::error::Error;

/// Bytes of journal that one step reads at once: what becomes visible together.
pub(super) const STEP_BYTES_MAX: usize = 1 << 20;
/// How often one step reads so much where little of it is to be folded in order.
const READS_PER_STEP: u32 = 32;
/// How long the runner waits for a commit before it looks whether it should stop.
const WAIT: Duration = Duration::from_millis(50);
/// Steps between two flushes while there is more to fold.
const STEPS_PER_FLUSH: u32 = 64;

/// Folds until it is told to stop, whatever fails meanwhile.
pub(super) fn run(inner: &Arc<Inner>, mut folder: Folder) {
    let mut recovery = Recovery::open(inner, &mut folder);
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
        let wait = if folder.has_work() { Duration::ZERO } else { WAIT };
        let idle = inner.reader.wait(next, wait) <= next && !folder.has_work();
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
    let told = |commit: &Commit| trace::link(&span, contexts, commit);
    span.in_scope(|| step(&inner.reader, folder, STEP_BYTES_MAX, &told))?;
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

/// What one step folds: commits → facts, chunk by chunk → rows; a turn of the tenants that are behind; and what is derived
/// of both. `told` gets each commit.
pub(super) fn step(
    reader: &Reader,
    folder: &mut Folder,
    bytes_max: usize,
    told: &dyn Fn(&Commit),
) -> Result<(), Error> {
    folder.begin_step(bytes_max, folder.progress().next_seq < reader.next_seq());
    if folder.is_apart(reader) {
        return folder.derive_apart(reader);
    }
    for _ in 0..READS_PER_STEP {
        fold_commits(reader, folder, bytes_max, told)?;
        if !folder.did_little() {
            break;
        }
    }
    folder.catch_up(reader)?;
    folder.derive(reader, folder.has_more(reader))
}

/// Folds commits until the step is spent, by one at least if there is one.
fn fold_commits(reader: &Reader, folder: &mut Folder, bytes_max: usize, told: &dyn Fn(&Commit)) -> Result<(), Error> {
    let next = folder.progress().next_seq;
    if next >= reader.next_seq() {
        return Ok(());
    }
    let commits = reader.commits(next, bytes_max)?;
    if commits.is_empty() {
        return Err(Error::Store("the ledger gave no commit where it has one".into()));
    }
    for commit in &commits {
        folder.fold_commit(reader, commit)?;
        told(commit);
        if folder.is_spent() {
            break;
        }
    }
    Ok(())
}
