//! Who writes and syncs the journal. For a batch that is one write and one `fdatasync`, and no other call that does anything. A large
//! batch goes to a thread of its own, so that the next one is encoded meanwhile; a small one is written by the caller: it takes less
//! time to encode than to wake a thread.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;

use bytes::Bytes;

use crate::storage::StoredFile;

/// Bytes of a batch from which on another thread writes it.
const HANDED_ON_BYTES_MIN: usize = 128 << 10;

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

/// The disk of a journal. At most one job is under way.
pub(crate) struct Disk {
    thread: Option<DiskThread>,
    /// How a job went that was carried out at once.
    outcome: Option<io::Result<()>>,
}

struct DiskThread {
    jobs: SyncSender<Job>,
    outcomes: Receiver<io::Result<()>>,
    thread: JoinHandle<()>,
}

impl Disk {
    /// The caller carries out every job at once.
    pub(crate) fn inline() -> Disk {
        Disk { thread: None, outcome: None }
    }

    /// With a thread for large jobs.
    pub(crate) fn with_thread() -> io::Result<Disk> {
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
        Ok(Disk { thread: Some(DiskThread { jobs, outcomes, thread }), outcome: None })
    }

    /// Begins a job; the one before is finished.
    pub(crate) fn start(&mut self, job: Job) -> io::Result<()> {
        match &self.thread {
            Some(thread) if job.pages.len() >= HANDED_ON_BYTES_MIN => thread.jobs.send(job).map_err(|_| gone()),
            Some(_) | None => {
                self.outcome = Some(job.carry_out());
                Ok(())
            }
        }
    }

    /// Waits for the job that is under way.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match (self.outcome.take(), &self.thread) {
            (Some(outcome), _) => outcome,
            (None, Some(thread)) => thread.outcomes.recv().map_err(|_| gone())?,
            (None, None) => Err(gone()),
        }
    }
}

impl Drop for Disk {
    /// Ends the thread once its job is done.
    fn drop(&mut self) {
        if let Some(DiskThread { jobs, thread, .. }) = self.thread.take() {
            drop(jobs);
            drop(thread.join());
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that writes the journal is gone")
}
