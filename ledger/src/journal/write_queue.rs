//! Who writes and syncs the journal. For a batch that is one write and one `fdatasync`, and no other call that does
//! anything. A large batch goes to a thread of its own, so that the next one is encoded meanwhile; a small one is
//! written by the caller: it takes less time to encode than to wake a thread.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use bytes::Bytes;

use crate::files::storage::StoredFile;

/// Bytes of a batch from which on another thread writes it.
const HANDED_ON_BYTES_MIN: usize = 128 << 10;

/// A write that makes a batch durable.
pub(crate) struct BatchWrite {
    pub(crate) file: Arc<dyn StoredFile>,
    pub(crate) offset: u64,
    pub(crate) pages: Bytes,
}

impl BatchWrite {
    /// The commit point. Before the sync returns nobody may know of the batch; after a failed one nobody can tell
    /// whether it is on disk, and trying again would not: the kernel forgets what it failed to write.
    fn carry_out(&self) -> io::Result<()> {
        self.file.write_pages(&self.pages, self.offset)?;
        self.file.sync()
    }
}

/// The writes of a journal, carried out one after another, in their order, and none after one that failed: a batch
/// whose predecessor may be missing must not reach the disk.
pub(crate) struct WriteQueue {
    thread: Option<QueueThread>,
    begun: VecDeque<Begun>,
}

/// A write whose outcome nobody has asked for.
enum Begun {
    /// The caller carried it out.
    Done(io::Result<()>),
    /// The thread does, or did.
    HandedOn,
}

struct QueueThread {
    batches: Sender<BatchWrite>,
    outcomes: Receiver<io::Result<()>>,
    thread: JoinHandle<()>,
}

impl WriteQueue {
    /// The caller carries out every write at once.
    pub(crate) fn inline() -> WriteQueue {
        WriteQueue { thread: None, begun: VecDeque::new() }
    }

    /// With a thread for large batches.
    pub(crate) fn with_thread() -> io::Result<WriteQueue> {
        let (batches, waiting) = mpsc::channel::<BatchWrite>();
        let (done, outcomes) = mpsc::channel();
        let work = move || {
            for batch in waiting {
                let outcome = batch.carry_out();
                let is_last = outcome.is_err();
                if done.send(outcome).is_err() || is_last {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("ledger-journal".into()).spawn(work)?;
        Ok(WriteQueue { thread: Some(QueueThread { batches, outcomes, thread }), begun: VecDeque::new() })
    }

    /// Begins a write. The caller bounds how many are under way.
    pub(crate) fn start(&mut self, batch: BatchWrite) -> io::Result<()> {
        let begun = match (&self.thread, self.begun.back()) {
            (_, Some(Begun::Done(Err(_)))) => return Err(gone()),
            (Some(thread), before)
                if batch.pages.len() >= HANDED_ON_BYTES_MIN || matches!(before, Some(Begun::HandedOn)) =>
            {
                thread.batches.send(batch).map_err(|_| gone())?;
                Begun::HandedOn
            }
            (Some(_) | None, _) => Begun::Done(batch.carry_out()),
        };
        self.begun.push_back(begun);
        Ok(())
    }

    /// Waits for the oldest write.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match (self.begun.pop_front(), &self.thread) {
            (Some(Begun::Done(outcome)), _) => outcome,
            (Some(Begun::HandedOn), Some(thread)) => thread.outcomes.recv().map_err(|_| gone())?,
            (Some(Begun::HandedOn), None) | (None, _) => Err(gone()),
        }
    }
}

impl Drop for WriteQueue {
    /// Ends the thread once its writes are done.
    fn drop(&mut self) {
        if let Some(QueueThread { batches, thread, .. }) = self.thread.take() {
            drop(batches);
            drop(thread.join());
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that writes the journal is gone")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Condvar, Mutex};

    /// Notes where is written. The first write waits until it may go on; its sync fails when that is wanted.
    #[derive(Default)]
    struct Noting {
        written: Mutex<Vec<u64>>,
        may_go_on: (Mutex<bool>, Condvar),
        fails: bool,
    }

    impl Noting {
        fn go_on(&self) {
            *self.may_go_on.0.lock().unwrap() = true;
            self.may_go_on.1.notify_all();
        }
    }

    impl StoredFile for Noting {
        fn write_at(&self, _: &[u8], offset: u64) -> io::Result<()> {
            let (may, changed) = &self.may_go_on;
            drop(changed.wait_while(may.lock().unwrap(), |may| offset == 0 && !*may).unwrap());
            self.written.lock().unwrap().push(offset);
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            if self.fails { Err(io::Error::other("no more")) } else { Ok(()) }
        }
    }

    /// A large batch, then a small one, then a large one.
    fn begin(writes: &mut WriteQueue, file: &Arc<Noting>) {
        for (offset, bytes) in [(0, HANDED_ON_BYTES_MIN), (1, 1), (2, HANDED_ON_BYTES_MIN)] {
            let file = Arc::clone(file) as Arc<dyn StoredFile>;
            writes.start(BatchWrite { file, offset, pages: vec![0; bytes].into() }).unwrap();
        }
    }

    #[test]
    fn a_small_job_does_not_overtake_a_large_one() {
        let (mut writes, file) = (WriteQueue::with_thread().unwrap(), Arc::new(Noting::default()));
        begin(&mut writes, &file);
        file.go_on();
        (0..3).for_each(|_| writes.finish().unwrap());
        assert_eq!(*file.written.lock().unwrap(), [0, 1, 2]);
    }

    #[test]
    fn nothing_is_written_after_a_failure() {
        let (mut writes, file) =
            (WriteQueue::with_thread().unwrap(), Arc::new(Noting { fails: true, ..Noting::default() }));
        begin(&mut writes, &file);
        file.go_on();
        assert_eq!(writes.finish().unwrap_err().to_string(), "no more");
        (0..2).for_each(|_| assert!(writes.finish().is_err()));
        assert_eq!(*file.written.lock().unwrap(), [0]);
        let mut writes = WriteQueue::inline();
        let job = |offset| BatchWrite { file: Arc::clone(&file) as Arc<dyn StoredFile>, offset, pages: vec![0].into() };
        writes.start(job(3)).unwrap();
        assert!(writes.start(job(4)).is_err());
        assert!(writes.finish().is_err());
        assert_eq!(*file.written.lock().unwrap(), [0, 3]);
    }
}
