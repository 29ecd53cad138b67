//! The one thread that writes and syncs the journal, so that the next batch is encoded while this one goes to the disk. For a batch it
//! makes one write and one `fdatasync`, and no other call that does anything.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;

use bytes::Bytes;

use crate::storage::StoredFile;

/// A write that makes a batch durable.
pub(crate) struct Job {
    pub(crate) file: Arc<dyn StoredFile>,
    pub(crate) offset: u64,
    pub(crate) pages: Bytes,
}

impl Job {
    /// The commit point. Before the sync returns nobody may know of the batch; after a failed one nobody can tell whether it
    /// is on disk, and trying again would not: the kernel forgets what it failed to write.
    fn carry_out(&self) -> io::Result<()> {
        self.file.write_pages(&self.pages, self.offset)?;
        self.file.sync()
    }
}

/// Who writes. At most one job is under way.
pub(crate) enum Disk {
    /// The caller, at once.
    Inline(Option<io::Result<()>>),
    Thread {
        jobs: SyncSender<Job>,
        outcomes: Receiver<io::Result<()>>,
        thread: JoinHandle<()>,
    },
}

impl Disk {
    pub(crate) fn inline() -> Disk {
        Disk::Inline(None)
    }

    pub(crate) fn thread() -> io::Result<Disk> {
        let (jobs, waiting) = mpsc::sync_channel::<Job>(1);
        let (done, outcomes) = mpsc::sync_channel(1);
        let work = move || {
            for job in waiting {
                if done.send(job.carry_out()).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("ledger-journal".into()).spawn(work)?;
        Ok(Disk::Thread { jobs, outcomes, thread })
    }

    /// Begins a job; the one before is finished.
    pub(crate) fn start(&mut self, job: Job) -> io::Result<()> {
        match self {
            Disk::Inline(outcome) => *outcome = Some(job.carry_out()),
            Disk::Thread { jobs, .. } => jobs.send(job).map_err(|_| gone())?,
        }
        Ok(())
    }

    /// Waits for the job that is under way.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match self {
            Disk::Inline(outcome) => outcome.take().unwrap_or_else(|| Err(gone())),
            Disk::Thread { outcomes, .. } => outcomes.recv().map_err(|_| gone())?,
        }
    }

    /// Ends the thread once its job is done.
    pub(crate) fn close(self) {
        if let Disk::Thread { jobs, thread, .. } = self {
            drop(jobs);
            drop(thread.join());
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that writes the journal is gone")
}
