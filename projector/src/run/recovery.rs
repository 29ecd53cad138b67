//! What is done when folding fails: the store is opened again after a while, in the end the views are folded anew, and an
//! entry whose folding always panics is set aside. It is told each time, and readers go on with what they see.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::aside::SetAside;
use super::entry::EntryId;
use super::folder::Folder;
use super::visible::{Inner, Visible};
use crate::error::Error;
use crate::rows::inserter::panic_text;

/// How long it is waited before what failed is tried again; twice as long after each time, up to the longest.
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Times that the store may fail at one place before the views are folded anew: a full disk is no reason, damage is.
const STORE_FAULTS_BEFORE_ANEW: u32 = 8;
/// Times that one entry may panic: then the views are folded anew, and if it panics then, anew without it.
const PANICS_BEFORE_ANEW: u32 = 2;
const PANICS_BEFORE_SET_ASIDE: u32 = 3;

/// What failed, and which entry it is said to be the fault of.
pub(super) struct Fault {
    error: Error,
    entry: Option<EntryId>,
    seq: u64,
}

/// Runs a fold; a panic is a fault of the entry that was being folded.
pub(super) fn caught(folder: &mut Folder, fold: impl FnOnce(&mut Folder) -> Result<(), Error>) -> Result<(), Fault> {
    let done = catch_unwind(AssertUnwindSafe(|| fold(folder)));
    let (error, entry) = match done {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => (error, None),
        Err(panicked) => (Error::Panicked(panic_text(panicked.as_ref())), folder.folding().cloned()),
    };
    let progress = folder.progress();
    // A tenant that is behind stays at its commit while the others go on.
    let seq = entry.as_ref().map_or(progress.next_seq, |(tenant, _)| progress.seq_of(tenant));
    Err(Fault { error, entry, seq })
}

/// What failed so far, and how often at the place where it failed last.
#[derive(Default)]
pub(super) struct Recovery {
    place: Option<(u64, Option<EntryId>)>,
    times: u32,
    set_aside: SetAside,
}

impl Recovery {
    /// Nothing failed so far; what the last process set aside stays so.
    pub(super) fn open(inner: &Inner, folder: &mut Folder) -> Recovery {
        let set_aside = SetAside::open(inner.dir.as_deref(), &inner.reader);
        folder.set_aside(set_aside.entries());
        Recovery { set_aside, ..Recovery::default() }
    }

    /// Tells a fault and makes the views fit to be folded again; `None` when it is to stop meanwhile.
    pub(super) fn recover(&mut self, inner: &Inner, mut fault: Fault) -> Option<Folder> {
        loop {
            let place = Some((fault.seq, fault.entry.clone()));
            self.times = if self.place == place { self.times.saturating_add(1) } else { 1 };
            self.place = place;
            self.tell(inner, &fault);
            self.wait(inner)?;
            match catch_unwind(AssertUnwindSafe(|| inner.renewal.during(|| self.begin_again(inner, &fault)))) {
                Ok(Ok(folder)) => return Some(folder),
                Ok(Err(error)) => fault = Fault { error, entry: None, ..fault },
                Err(panicked) => {
                    let error = Error::Panicked(panic_text(panicked.as_ref()));
                    fault = Fault { error, entry: None, ..fault };
                }
            }
        }
    }

    fn tell(&self, inner: &Inner, fault: &Fault) {
        let (error, seq, times) = (&fault.error, fault.seq, self.times);
        match &fault.entry {
            Some((tenant, index)) => {
                tracing::error!(%error, seq, times, %tenant, index, "views: folding failed, it is tried again");
            }
            None => tracing::error!(%error, seq, times, "views: folding failed, it is tried again"),
        }
        inner.faults.fetch_add(1, Ordering::Relaxed);
        *inner.fault.lock() = Some(error.to_string());
    }

    fn wait(&self, inner: &Inner) -> Option<()> {
        let mut left = WAIT_FIRST.saturating_mul(1 << self.times.saturating_sub(1).min(16)).min(WAIT_MAX);
        while !left.is_zero() {
            if inner.stop.load(Ordering::Acquire) {
                return None;
            }
            let part = left.min(WAIT_FIRST);
            std::thread::park_timeout(part);
            left -= part;
        }
        Some(())
    }

    fn begin_again(&mut self, inner: &Inner, fault: &Fault) -> Result<Folder, Error> {
        let panicked = matches!(fault.error, Error::Panicked(_));
        let before_anew = if panicked { PANICS_BEFORE_ANEW } else { STORE_FAULTS_BEFORE_ANEW };
        // In between it goes on from what is there: who folds anew each time never gets anywhere.
        let anew = self.times >= before_anew && (panicked || self.times.is_multiple_of(before_anew));
        if let Some((tenant, index)) = fault.entry.as_ref().filter(|_| self.times >= PANICS_BEFORE_SET_ASIDE) {
            tracing::error!(%tenant, index, "views: an entry is set aside, since folding it panics");
            self.set_aside.add((tenant.clone(), *index), &inner.reader);
        }
        match fault.error {
            Error::Ledger(_)
            | Error::Question(_)
            | Error::TooExpensive { .. }
            | Error::Stopped
            | Error::FoldedAnew
            | Error::Unreadable(_) => {}
            Error::Store(_) | Error::Panicked(_) => {
                if anew {
                    tracing::warn!("views: folding anew");
                    inner.begin_anew();
                }
                inner.store.renew(anew)?;
            }
        }
        let views = inner.shared.read().views.clone();
        let mut folder = Folder::open(Arc::clone(&inner.store), views, Arc::clone(&inner.derived))?;
        folder.set_aside(self.set_aside.entries());
        // The store may have lost what it showed last, as after a crash.
        if inner.visible.read().is_beyond(folder.progress()) {
            inner.begin_anew();
        }
        *inner.visible.write() = Visible::of(&folder);
        Ok(folder)
    }
}
