//! The inserting thread: chunks of rows go to the store beside the fold that makes them.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::thread::JoinHandle;

use crate::error::Error;
use crate::store::{Row, Store};

/// Chunks that may wait for the inserting thread.
const CHUNKS_WAITING_MAX: usize = 8;

pub(super) enum Work {
    Rows(Vec<u8>),
    /// A step ends with rows that become visible together; then this is done.
    Step(Vec<Row>, Then),
    Report,
}

/// What is done when a step is in the store.
pub(crate) type Then = Box<dyn FnOnce() + Send>;

/// Inserts rows on a thread of its own. Rows that a fold reads again must be waited for.
pub(super) struct Inserter {
    store: Arc<dyn Store>,
    work: Option<SyncSender<Work>>,
    /// One for each step and each report.
    pub(super) results: Receiver<Result<(), Error>>,
    thread: Option<JoinHandle<()>>,
}

impl Inserter {
    pub(super) fn new(store: Arc<dyn Store>) -> Inserter {
        let (work, todo) = sync_channel(CHUNKS_WAITING_MAX);
        let (done, results) = channel();
        let inserting = store.clone();
        let thread = std::thread::spawn(move || {
            let mut result = Ok(());
            while let Ok(work) = todo.recv() {
                if let Some(result) = carried_out(inserting.as_ref(), work, &mut result) {
                    let _ = done.send(result);
                }
            }
        });
        Inserter { store, work: Some(work), results, thread: Some(thread) }
    }

    /// The rows are inserted here when the thread has enough to do: their order does not matter.
    pub(super) fn rows(&self, chunk: Vec<u8>) -> Result<(), Error> {
        match self.sender().try_send(Work::Rows(chunk)) {
            Err(TrySendError::Full(Work::Rows(chunk))) => insert_sorted(self.store.as_ref(), &chunk),
            sent => {
                sent.expect("the inserting thread lives as long as this");
                Ok(())
            }
        }
    }

    pub(super) fn send(&self, work: Work) {
        self.sender().send(work).expect("the inserting thread lives as long as this");
    }

    fn sender(&self) -> &SyncSender<Work> {
        self.work.as_ref().expect("present until dropped")
    }
}

impl Drop for Inserter {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A panic in the store is a fault like others.
fn carried_out(store: &dyn Store, work: Work, result: &mut Result<(), Error>) -> Option<Result<(), Error>> {
    let answers = !matches!(work, Work::Rows(_));
    let panicked = match catch_unwind(AssertUnwindSafe(|| carry_out(store, work, result))) {
        Ok(answer) => return answer,
        Err(panicked) => Err(Error::Panicked(panic_text(panicked.as_ref()))),
    };
    if answers {
        *result = Ok(());
        return Some(panicked);
    }
    *result = panicked;
    None
}

/// What a panic says.
pub(crate) fn panic_text(panicked: &(dyn Any + Send)) -> String {
    let text = panicked.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panicked.downcast_ref::<&str>().copied()).unwrap_or("it does not say why").to_owned()
}

/// After a fault nothing is carried out until it was reported, to a fold that stops then. `Some` answers a step or a
/// report.
fn carry_out(store: &dyn Store, work: Work, result: &mut Result<(), Error>) -> Option<Result<(), Error>> {
    match work {
        Work::Rows(chunk) => {
            if result.is_ok() {
                *result = insert_sorted(store, &chunk);
            }
            return None;
        }
        Work::Step(last, then) => {
            if result.is_ok() {
                *result = store.batch(&last);
            }
            if result.is_ok() {
                then();
            }
        }
        Work::Report => {}
    }
    Some(std::mem::replace(result, Ok(())))
}

/// In the order of keys, so that inserts that follow each other touch the same pages of the store.
fn insert_sorted(store: &dyn Store, chunk: &[u8]) -> Result<(), Error> {
    let mut rows = rows_of(chunk);
    rows.sort_by_key(|(key, _)| *key);
    rows.into_iter().try_for_each(|(key, value)| store.insert(key, value))
}

pub(super) fn lengths(key: &[u8], value: &[u8]) -> [u8; 16] {
    let mut lengths = [0; 16];
    lengths[..8].copy_from_slice(&(key.len() as u64).to_be_bytes());
    lengths[8..].copy_from_slice(&(value.len() as u64).to_be_bytes());
    lengths
}

pub(super) fn push_row(chunk: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    chunk.extend_from_slice(&lengths(key, value));
    chunk.extend_from_slice(key);
    chunk.extend_from_slice(value);
}

fn rows_of(mut chunk: &[u8]) -> Vec<(&[u8], &[u8])> {
    fn length(chunk: &mut &[u8]) -> Option<usize> {
        let (bytes, rest) = chunk.split_first_chunk::<8>()?;
        *chunk = rest;
        usize::try_from(u64::from_be_bytes(*bytes)).ok()
    }
    let mut rows = Vec::new();
    while let (Some(key_len), Some(value_len)) = (length(&mut chunk), length(&mut chunk)) {
        let (key, rest) = chunk.split_at(key_len);
        let (value, rest) = rest.split_at(value_len);
        rows.push((key, value));
        chunk = rest;
    }
    rows
}
