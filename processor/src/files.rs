//! A directory that is watched: its files are a source.
//!
//! A file in it is complete once it has its name: write it elsewhere on the same file system, or under a name that
//! begins with a dot, and rename it. When its entry is durable it is moved to `done/` or `rejected/`. A crash in between
//! leaves it where it was; read again it is a duplicate. What cannot be read, and what is no regular file, is named in
//! the log and moved to `unreadable/`; the others go on. Who may write here may not be who runs this: nothing in the
//! directory is opened through a link, and nothing of ours is kept in it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use pedigraph_proto::TenantId;
use pedigraph_proto::message::{Body, Message, Receipt, Refused, Submitted};
use pedigraph_proto::wire::Origin;

use crate::counters::Counters;
use crate::intake::Intake;
use crate::limits::Limits;
use crate::open::{self, Folder};
use crate::{Error, Processor};

/// How often a watched directory is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Names of one directory that are told apart from new ones after they could not be taken in; more are told again.
const SAID_MAX: usize = 1_024;

/// What is known of files beforehand.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The tenant of all of them.
    pub tenant: TenantId,
    /// The subject artifact.
    pub subject: Option<String>,
    /// Decoder to use instead of detecting.
    pub format: Option<String>,
}

/// A watched directory.
#[derive(Clone, Debug)]
pub struct Drop {
    /// The directory; made if it is not there.
    pub dir: PathBuf,
    /// What is known of its files.
    pub given: Given,
}

/// What one file came to.
#[derive(Clone, Debug)]
pub struct Published {
    /// The file.
    pub path: PathBuf,
    /// One receipt for each of its messages.
    pub receipts: Vec<Receipt>,
}

/// Where large documents are copied before they are handed in, since the processor redacts and removes what it is
/// given: in the data directory, which is nobody else's.
#[derive(Clone, Debug)]
pub(crate) struct Copies {
    dir: PathBuf,
}

impl Copies {
    /// In a directory of their own; what an earlier process left in it goes, since the originals are still there.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Copies> {
        open::dir(&dir)?;
        for file in fs::read_dir(&dir)? {
            let file = file?;
            if file.file_type()?.is_file() {
                fs::remove_file(file.path())?;
            } else {
                tracing::warn!(path = %file.path().display(), "what is no file of ours is left alone");
            }
        }
        Ok(Copies { dir })
    }

    fn make(&self) -> io::Result<(File, PathBuf)> {
        static COPIES: AtomicU64 = AtomicU64::new(0);
        let path = self.dir.join(format!("copy-{}", COPIES.fetch_add(1, Ordering::Relaxed)));
        Ok((open::new(&path)?, path))
    }
}

/// A watched directory's way into the ledger.
#[derive(Clone)]
pub(crate) struct Taking {
    drop: Drop,
    intake: Intake,
    limits: Limits,
    copies: Copies,
    counters: Arc<Counters>,
}

impl Drop {
    /// Takes in what is there now and moves it away; returns what each file came to.
    ///
    /// # Errors
    /// When the directory cannot be read, or the intake stops; what was not moved is taken in again next time.
    pub fn take(&self, processor: &Processor) -> io::Result<Vec<Published>> {
        processor.taking(self).take(&mut BTreeSet::new())
    }
}

impl Taking {
    pub(crate) fn new(drop: Drop, intake: Intake, limits: Limits, copies: Copies, counters: Arc<Counters>) -> Taking {
        Taking { drop, intake, limits, copies, counters }
    }

    /// `said`: names that could not be taken in and are still there; they are not tried again before they were gone.
    fn take(&self, said: &mut BTreeSet<OsString>) -> io::Result<Vec<Published>> {
        let folder = Folder::open(&self.drop.dir)?;
        let names = names_in(&self.drop.dir, &folder)?;
        said.retain(|name| names.contains(name));
        let mut all = Vec::new();
        for name in &names {
            if said.contains(name) {
                continue;
            }
            match self.take_one(&folder, name) {
                Ok(published) => all.push(published),
                Err(Failed::Stopping(error)) => return Err(error),
                Err(Failed::File(error)) => self.set_aside(&folder, name, &error, said),
            }
        }
        Ok(all)
    }

    fn take_one(&self, folder: &Folder, name: &OsStr) -> Result<Published, Failed> {
        let message = self.message(folder.file(name)?, &name.to_string_lossy())?;
        let receipts = self.submit(message)?;
        let is_rejected = receipts.iter().any(|receipt| receipt.reject.is_some());
        let to = folder.folder(if is_rejected { "rejected" } else { "done" })?;
        folder.move_to(&to, name)?;
        Ok(Published { path: self.drop.dir.join(name), receipts })
    }

    fn set_aside(&self, folder: &Folder, name: &OsStr, error: &io::Error, said: &mut BTreeSet<OsString>) {
        let path = self.drop.dir.join(name);
        tracing::warn!(%error, path = %path.display(), "a file of the drop directory is not taken in: it is set aside");
        self.counters.file_set_aside();
        let moved = folder.folder("unreadable").and_then(|to| folder.move_to(&to, name));
        if let Err(error) = moved {
            tracing::warn!(%error, path = %path.display(), "it stays where it is, and is not tried again");
            if said.len() < SAID_MAX {
                said.insert(name.to_owned());
            }
        }
    }

    fn submit(&self, message: Message) -> Result<Vec<Receipt>, Failed> {
        let stopped = |refused: Refused| Failed::Stopping(io::Error::other(refused.to_string()));
        Ok(match self.intake.submit_blocking(message).map_err(stopped)? {
            Submitted::One(receipt) => vec![receipt],
            Submitted::Batch(receipts) => receipts,
        })
    }

    fn message(&self, mut file: File, name: &str) -> io::Result<Message> {
        let mut bytes = Vec::new();
        (&mut file).take(self.limits.event_bytes_max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 <= self.limits.event_bytes_max {
            return Ok(self.new_message(name, Body::Bytes(Bytes::from(bytes))));
        }
        drop(bytes);
        file.rewind()?;
        let (mut copy, path) = self.copies.make()?;
        let max = self.limits.document_bytes_max;
        let size = match io::copy(&mut file.take(max + 1), &mut copy) {
            Ok(size) if size <= max => size,
            outcome => {
                let _nobody_needs_it = fs::remove_file(&path);
                return Err(outcome.err().unwrap_or_else(|| io::Error::other(format!("it has more than {max} bytes"))));
            }
        };
        Ok(self.new_message(name, Body::File { path, size }))
    }

    fn new_message(&self, name: &str, body: Body) -> Message {
        let given = &self.drop.given;
        // Lines of a file with this ending are events, as over HTTP; anything else is told by its content.
        let lines =
            name.ends_with(".ndjson").then(|| ("content-type".to_owned(), Some(Bytes::from("application/x-ndjson"))));
        Message {
            tenant: given.tenant.clone(),
            origin: Origin { kind: "file".to_owned(), topic: name.to_owned(), ..Origin::default() },
            source: "file".to_owned(),
            headers: lines.into_iter().collect(),
            body,
            subject: given.subject.clone(),
            format: given.format.clone(),
            broker_time: None,
            replay_of: None,
        }
    }

    pub(crate) fn watch(self) -> Result<Watch, Error> {
        open::dir(&self.drop.dir)?;
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let stopped = Arc::clone(&stop);
        let run = move || {
            let (mut failed, mut said) = (false, BTreeSet::new());
            while !stop_within(&stopped, LOOK_INTERVAL) {
                let outcome = self.take(&mut said);
                if let (Err(error), false) = (&outcome, failed) {
                    tracing::warn!(%error, dir = %self.drop.dir.display(), "the drop directory cannot be taken in");
                }
                failed = outcome.is_err();
            }
        };
        let thread = std::thread::Builder::new().name("files".to_owned()).spawn(run)?;
        Ok(Watch { stop, thread })
    }
}

/// Why a file was not taken in.
enum Failed {
    /// Nothing more is.
    Stopping(io::Error),
    /// This one cannot be.
    File(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed::File(error)
    }
}

/// Complete files, and what else is no directory, by name.
fn names_in(dir: &Path, folder: &Folder) -> io::Result<BTreeSet<OsString>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if !name.as_encoded_bytes().starts_with(b".") && folder.holds(&name) {
            names.insert(name);
        }
    }
    Ok(names)
}

/// A watching thread.
pub(crate) struct Watch {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: JoinHandle<()>,
}

impl Watch {
    pub(crate) fn stop(self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        let _panicked_and_said_so = self.thread.join();
    }
}

fn stop_within(stop: &(Mutex<bool>, Condvar), timeout: Duration) -> bool {
    let stopped = stop.0.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = stop.1.wait_timeout_while(stopped, timeout, |stopped| !*stopped);
    *waited.unwrap_or_else(PoisonError::into_inner).0
}
