//! What was being decoded when a process died.
//!
//! A decoder can end the process: by no stack left, no memory left, or by the kernel that kills it for having too much.
//! So can what comes before it, unpacking and taking a batch apart, which is named by the bytes as they came.
//! The message comes again at the next start, and would end that one too. So each worker says in its slot of a small
//! file what it decodes, by one write that nothing syncs: it outlives the process, though not a power cut. What a
//! process died over [`DEATHS_MAX`] times is set aside as a reject of its own code, and can be driven again once the
//! decoder is mended. Small messages that Kafka hands over together are named together, as one job; after a death over
//! a job each message is named, until the process ends.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pedigraph_proto::message::{Code, Reject};

use crate::counters::Counters;
use crate::open;

/// Deaths over one message after which it is not tried again.
const DEATHS_MAX: u32 = 2;
/// Messages that are remembered; of more, those with the fewest deaths are forgotten.
const SUSPECTS_MAX: usize = 64;
/// A message of at least so many bytes is named even among others of its job.
const NAMED_BYTES_MIN: u64 = 64 << 10;
/// Bytes of a slot: what it holds, and the digest of a message.
const SLOT_BYTES: usize = 64;
/// Slots that are read at the start, whatever the number of workers was.
const SLOTS_MAX: usize = 64;
/// A worker that decodes nothing.
const IDLE: u8 = 0;
/// A worker that decodes messages which it does not name.
const JOB: u8 = 1;
/// A worker that decodes the message whose digest follows.
const MESSAGE: u8 = 2;

/// A message's digest, of the bytes that are kept.
type Digest = [u8; 32];

/// The file of slots, and who is under suspicion.
pub(crate) struct Deaths {
    slots: File,
    list: PathBuf,
    suspects: Mutex<Vec<(Digest, u32)>>,
    /// Whether there are any: looked at for each message.
    has_suspects: AtomicBool,
    /// Whether the last process died over a job, so that each message is named.
    names_all: bool,
    counters: Arc<Counters>,
}

impl Deaths {
    /// Reads what the last process left in `dir`, and begins anew.
    pub(crate) fn open(dir: &Path, counters: Arc<Counters>) -> io::Result<Arc<Deaths>> {
        let list = dir.join("decoder-deaths");
        let mut suspects = read_list(&list)?;
        // Never cut, so that a slot is written in place.
        let slots = open::own().truncate(false).open(dir.join("decoding"))?;
        let mut left = vec![0; SLOTS_MAX * SLOT_BYTES];
        let read = read_to_end(&slots, &mut left)?;
        let died: Vec<Slot> = left[..read].chunks_exact(SLOT_BYTES).map(Slot::read).collect();
        for digest in died.iter().filter_map(|slot| slot.message) {
            tracing::error!(digest = hex::encode(digest), "the process died while it decoded this message");
            blame(&mut suspects, digest);
        }
        let deaths = Deaths {
            has_suspects: AtomicBool::new(!suspects.is_empty()),
            names_all: died.iter().any(|slot| slot.kind == JOB),
            slots,
            list,
            suspects: Mutex::new(suspects),
            counters,
        };
        // The list first: a death in between blames one message twice, which another death would have done.
        if died.iter().any(|slot| slot.message.is_some()) {
            deaths.write_list()?;
        }
        deaths.slots.write_all_at(&vec![0; SLOTS_MAX * SLOT_BYTES], 0)?;
        Ok(Arc::new(deaths))
    }

    fn deaths_of(&self, digest: &Digest) -> u32 {
        if !self.has_suspects.load(Ordering::Relaxed) {
            return 0;
        }
        let suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        suspects.iter().find(|(suspect, _)| suspect == digest).map_or(0, |(_, deaths)| *deaths)
    }

    /// A suspect was decoded after all.
    fn clear(&self, digest: &Digest) {
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        suspects.retain(|(suspect, _)| suspect != digest);
        self.has_suspects.store(!suspects.is_empty(), Ordering::Relaxed);
        drop(suspects);
        if let Err(error) = self.write_list() {
            tracing::warn!(%error, "a message that was decoded after all stays under suspicion");
        }
    }

    fn write_list(&self) -> io::Result<()> {
        let suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (digest, deaths) in suspects.iter() {
            let _infallible = writeln!(text, "{} {deaths}", hex::encode(digest));
        }
        let new = self.list.with_extension("new");
        open::own().truncate(true).open(&new)?.write_all_at(text.as_bytes(), 0)?;
        fs::rename(&new, &self.list)
    }
}

/// One more death; the list stays bounded.
fn blame(suspects: &mut Vec<(Digest, u32)>, digest: Digest) {
    match suspects.iter_mut().find(|(suspect, _)| *suspect == digest) {
        Some((_, deaths)) => *deaths += 1,
        None => suspects.push((digest, 1)),
    }
    if suspects.len() > SUSPECTS_MAX
        && let Some(least) = (0..suspects.len()).min_by_key(|n| suspects[*n].1)
    {
        suspects.remove(least);
    }
}

/// Lines of a digest and a number; what is not one is left out: at worst a message is tried once more.
fn read_list(list: &Path) -> io::Result<Vec<(Digest, u32)>> {
    let text = match fs::read_to_string(list) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => String::new(),
        Err(error) => return Err(error),
    };
    let line = |line: &str| {
        let (digest, deaths) = line.split_once(' ')?;
        Some((Digest::try_from(hex::decode(digest).ok()?).ok()?, deaths.parse().ok()?))
    };
    Ok(text.lines().filter_map(line).take(SUSPECTS_MAX).collect())
}

fn read_to_end(file: &File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    loop {
        match file.read_at(&mut bytes[read..], read as u64)? {
            0 => return Ok(read),
            more => read += more,
        }
    }
}

/// What a slot held.
struct Slot {
    kind: u8,
    message: Option<Digest>,
}

impl Slot {
    fn read(bytes: &[u8]) -> Slot {
        let kind = bytes[0];
        let digest = || Digest::try_from(&bytes[1..33]).ok();
        Slot { kind, message: (kind == MESSAGE).then(digest).flatten() }
    }
}

/// One worker's slot.
pub(crate) struct Watch {
    deaths: Arc<Deaths>,
    at: u64,
    /// What it holds while no message is named.
    base: u8,
}

impl Watch {
    /// That of the n-th worker.
    pub(crate) fn new(deaths: &Arc<Deaths>, n: usize) -> Watch {
        Watch { deaths: Arc::clone(deaths), at: ((n % SLOTS_MAX) * SLOT_BYTES) as u64, base: IDLE }
    }

    /// A job of so many messages begins.
    pub(crate) fn job(&mut self, messages: usize) {
        if messages > 1 && !self.deaths.names_all {
            self.base = JOB;
            self.write(JOB, &[0; 32]);
        }
    }

    /// The job is done.
    pub(crate) fn idle(&mut self) {
        if std::mem::replace(&mut self.base, IDLE) == JOB {
            self.write(IDLE, &[0; 32]);
        }
    }

    /// A message of so many bytes will be decoded, unless it must not be; `is_replayed`: somebody wants it tried again.
    pub(crate) fn begin(&self, digest: &Digest, bytes: u64, is_replayed: bool) -> Result<Watched, Reject> {
        let deaths = self.deaths.deaths_of(digest);
        if deaths >= DEATHS_MAX && !is_replayed {
            self.deaths.counters.message_set_aside();
            let reason = format!("decoding it ended the process {deaths} times; replay it once the decoder is mended");
            return Err(Reject::new(Code::DecoderDied, reason));
        }
        let is_named = self.base == IDLE || bytes >= NAMED_BYTES_MIN || deaths > 0;
        if is_named {
            self.write(MESSAGE, digest);
        }
        Ok(Watched { digest: *digest, is_named, is_suspect: deaths > 0 })
    }

    /// It is decoded.
    pub(crate) fn end(&self, watched: &Watched) {
        if watched.is_named {
            self.write(self.base, &[0; 32]);
        }
        if watched.is_suspect {
            self.deaths.clear(&watched.digest);
        }
    }

    /// Decoding goes on where it cannot be written: then a death is not remembered.
    fn write(&self, kind: u8, digest: &Digest) {
        let mut slot = [0; 33];
        slot[0] = kind;
        slot[1..].copy_from_slice(digest);
        let _not_remembered = self.deaths.slots.write_all_at(&slot, self.at);
    }
}

/// A message that is being decoded.
#[must_use]
pub(crate) struct Watched {
    digest: Digest,
    is_named: bool,
    is_suspect: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that runs until it is dropped.
    fn start(dir: &Path) -> (Arc<Deaths>, Watch, Watch) {
        let deaths = Deaths::open(dir, Arc::default()).unwrap();
        let (one, two) = (Watch::new(&deaths, 0), Watch::new(&deaths, 1));
        (deaths, one, two)
    }

    #[test]
    fn what_a_process_died_over_twice_is_not_tried_a_third_time() {
        let dir = tempfile::tempdir().unwrap();
        let (poison, other) = ([7; 32], [8; 32]);
        for _ in 0..DEATHS_MAX {
            let (_, one, two) = start(dir.path());
            let done = two.begin(&other, 10, false).unwrap();
            two.end(&done);
            let _dies = one.begin(&poison, 10, false).unwrap();
        }
        let (deaths, one, _) = start(dir.path());
        let reject = one.begin(&poison, 10, false).err().unwrap();
        assert_eq!(reject.code, Code::DecoderDied);
        assert_eq!(deaths.counters.messages_set_aside(), 1);
        assert!(one.begin(&other, 10, false).is_ok(), "what was decoded at another time is under no suspicion");
        let replayed = one.begin(&poison, 10, true).unwrap();
        one.end(&replayed);
        assert!(one.begin(&poison, 10, false).is_ok(), "decoded after all, it is like any other");
    }

    #[test]
    fn one_that_was_decoded_in_between_is_not_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            let (_, one, _) = start(dir.path());
            let watched = one.begin(&[7; 32], 10, false).unwrap();
            one.end(&watched);
            let _dies = one.begin(&[7; 32], 10, false).unwrap();
        }
    }

    #[test]
    fn a_small_message_of_a_job_is_named_after_one_death_more() {
        let dir = tempfile::tempdir().unwrap();
        let (small, large) = ([7; 32], [9; 32]);
        let (_, mut one, two) = start(dir.path());
        one.job(2);
        let _dies = (one.begin(&small, 10, false).unwrap(), two.begin(&large, NAMED_BYTES_MIN, false).unwrap());
        for deaths in 0..DEATHS_MAX {
            let (deaths_now, mut one, _) = start(dir.path());
            assert_eq!((deaths_now.deaths_of(&small), deaths_now.deaths_of(&large)), (deaths, 1));
            one.job(2);
            let _dies = one.begin(&small, 10, false).unwrap();
        }
        let (_, one, _) = start(dir.path());
        assert!(one.begin(&small, 10, false).is_err());
    }

    #[test]
    fn the_list_is_bounded_and_keeps_the_worst() {
        let mut suspects = Vec::new();
        (0..3).for_each(|_| blame(&mut suspects, [255; 32]));
        (0..200).for_each(|n| blame(&mut suspects, [n; 32]));
        assert_eq!(suspects.len(), SUSPECTS_MAX);
        assert!(suspects.contains(&([255; 32], 3)));
        assert!(suspects.contains(&([199; 32], 1)), "the newest is kept: the list forgets the oldest of the least");
    }

    #[test]
    fn garbage_is_no_suspicion_and_no_reason_not_to_start() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("decoding"), [0xee; 77]).unwrap();
        fs::write(dir.path().join("decoder-deaths"), [b"nonsense\n12 x\n".as_slice(), &[0xff]].concat()).unwrap();
        let (deaths, one, _) = start(dir.path());
        assert!(!deaths.has_suspects.load(Ordering::Relaxed));
        assert!(one.begin(&[0xee; 32], 10, false).is_ok());
    }
}
