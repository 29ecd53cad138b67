//! Files as a source: one file, a directory, standard input, and a directory that is watched.
//!
//! A file in a watched directory is complete once it has its name: write it elsewhere on the same file system, or under
//! a name that begins with a dot, and rename it. When its entry is durable it is moved to `done/` or `rejected/`. A
//! crash in between leaves it where it was; read again it is a duplicate.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use pedigraph_proto::TenantId;
use pedigraph_proto::message::{Body, Message, Receipt, Refused, Status, Submitted};
use pedigraph_proto::wire::Origin;

use crate::Error;
use crate::intake::Intake;
use crate::limits::Limits;

/// How often a watched directory is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Where large documents are copied before they are handed in, since the processor redacts and removes what it is
/// given.
const SPOOL: &str = ".spool";

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

/// Hands in a file, or each file of a directory in the order of the names, and waits until it is durable. `spool` holds
/// copies of large documents for so long.
///
/// # Errors
/// When a file cannot be read, or the intake stops.
pub fn publish(
    intake: &Intake,
    path: &Path,
    given: &Given,
    limits: &Limits,
    spool: &Path,
) -> io::Result<Vec<Published>> {
    let files = if path.is_dir() { files_in(path)? } else { vec![path.to_owned()] };
    let publish_one = |path: PathBuf| {
        let message = message(&path, given, limits, spool)?;
        Ok(Published { receipts: submit(intake, message)?, path })
    };
    files.into_iter().map(publish_one).collect()
}

/// Hands in all that can be read, such as standard input, as one message named `name`.
///
/// # Errors
/// When it cannot be read, is larger than one event may be, or the intake stops.
pub fn publish_reader(
    intake: &Intake,
    name: &str,
    from: impl Read,
    given: &Given,
    limits: &Limits,
) -> io::Result<Vec<Receipt>> {
    let mut bytes = Vec::new();
    from.take(limits.event_bytes_max + 1).read_to_end(&mut bytes)?;
    submit(intake, new_message(name, given, Body::Bytes(bytes.into())))
}

fn submit(intake: &Intake, message: Message) -> io::Result<Vec<Receipt>> {
    let stopped = |refused: Refused| io::Error::other(refused.to_string());
    Ok(match intake.submit_blocking(message).map_err(stopped)? {
        Submitted::One(receipt) => vec![receipt],
        Submitted::Batch(receipts) => receipts,
    })
}

fn message(path: &Path, given: &Given, limits: &Limits, spool: &Path) -> io::Result<Message> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let size = fs::metadata(path)?.len();
    if size <= limits.event_bytes_max {
        return Ok(new_message(&name, given, Body::Bytes(Bytes::from(fs::read(path)?))));
    }
    fs::create_dir_all(spool)?;
    let copy = spool.join(&*name);
    fs::copy(path, &copy)?;
    Ok(new_message(&name, given, Body::File { path: copy, size }))
}

fn new_message(name: &str, given: &Given, body: Body) -> Message {
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

/// Complete files, by name.
fn files_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

impl Drop {
    /// Takes in what is there now and moves it away; returns what each file came to.
    ///
    /// # Errors
    /// When the directory cannot be read or written, or the intake stops; what was not moved is taken in again next
    /// time.
    pub fn take(&self, intake: &Intake, limits: &Limits) -> io::Result<Vec<Published>> {
        let mut all = Vec::new();
        for path in files_in(&self.dir)? {
            let published = publish(intake, &path, &self.given, limits, &self.dir.join(SPOOL))?;
            let rejected = published.iter().flat_map(|file| &file.receipts).any(|receipt| receipt.reject.is_some());
            self.move_away(&path, if rejected { "rejected" } else { "done" })?;
            all.extend(published);
        }
        Ok(all)
    }

    fn move_away(&self, path: &Path, to: &str) -> io::Result<()> {
        let dir = self.dir.join(to);
        fs::create_dir_all(&dir)?;
        fs::rename(path, dir.join(path.file_name().unwrap_or_default()))
    }

    pub(crate) fn watch(&self, intake: Intake, limits: Limits) -> Result<Watch, Error> {
        fs::create_dir_all(&self.dir)?;
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let (stopped, drop) = (Arc::clone(&stop), self.clone());
        let run = move || {
            let mut failed = false;
            while !stop_within(&stopped, LOOK_INTERVAL) {
                let outcome = drop.take(&intake, &limits);
                if let (Err(error), false) = (&outcome, failed) {
                    tracing::warn!(%error, dir = %drop.dir.display(), "the drop directory cannot be taken in");
                }
                failed = outcome.is_err();
            }
        };
        let thread = std::thread::Builder::new().name("files".to_owned()).spawn(run)?;
        Ok(Watch { stop, thread })
    }
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

/// Whether everything of a file is recorded as it was meant.
impl Published {
    /// True when none of its messages was rejected.
    pub fn is_accepted(&self) -> bool {
        !self.receipts.iter().any(|receipt| receipt.status == Status::Rejected)
    }
}
