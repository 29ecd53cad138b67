//! Which ids the ledger knows, without a time limit.
//!
//! Three layers, asked in this order: a [`Filter`] that says "surely new" of nearly every new id; the ids of the newest
//! entries in memory; an exact index on disk. The index is derived: a follower of the writer adds sorted runs to it off
//! the commit path, each run together with the ledger position it reaches, in one atomic step. After a crash it is
//! behind, never wrong, and [`Known::open`] reads the rest from the ledger before intake starts. When it is missing, unreadable,
//! ahead of the ledger or of another ledger, it is built anew.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use pedigraph_ledger::{Commit, Reader};
use pedigraph_proto::fact::{Event, decode_chunk};
use pedigraph_proto::message::Code;
use pedigraph_proto::protobuf::Message as _;
use pedigraph_proto::wire::{Entry, Status};
use pedigraph_proto::{EventId, TenantId};
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::decide::{Key, Version, key};
use crate::filter::Filter;

/// Ids in memory before they become a run of the index; also what a crash leaves to be read from the ledger again.
const RUN_IDS: usize = 32_768;
/// Runs that wait for the follower; at one more the writer waits too.
const RUNS_WAITING_MAX: usize = 4;
/// Journal bytes read at once while catching up.
const CATCH_UP_BYTES: usize = 8 << 20;
/// Memory of the index's blocks, bytes.
const CACHE_BYTES: u64 = 8 << 20;
/// Version of the index's rows.
const FORMAT: u8 = 1;
/// The row that says how far the index reaches; sorts before every key.
const POSITION_KEY: [u8; 1] = [0];

/// A key is a hash already.
#[derive(Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut word = [0; 8];
        // Other bytes than the filter's, so that what passes it is still spread evenly.
        for (to, from) in word.iter_mut().zip(bytes.iter().skip(16)) {
            *to = *from;
        }
        self.0 = u64::from_le_bytes(word);
    }

    fn write_usize(&mut self, _length_prefix: usize) {}
}

/// The entries of one id that are not yet in the index.
struct Recent {
    /// Whether the index or an older run has entries of this id.
    continues: bool,
    first: Version,
    more: Vec<Version>,
}

type Recents = HashMap<Key, Recent, BuildHasherDefault<KeyHasher>>;

/// Ids on their way to the index.
struct Run {
    ids: Recents,
    /// Every commit below it is in the index once this run is.
    next_seq: u64,
}

/// What the writer knows; it belongs to the writer's thread.
pub(crate) struct Known {
    filter: Filter,
    recent: Recents,
    /// Handed over and perhaps not yet in the index, oldest first.
    waiting: VecDeque<Arc<Run>>,
    index: Arc<Index>,
    follower: Option<Follower>,
}

impl Known {
    /// Opens the index in `dir` and brings it up to the ledger.
    pub(crate) fn open(dir: &Path, reader: &Reader) -> Result<Known, Error> {
        let (index, position) = Index::open_or_rebuild(dir, reader)?;
        let index = Arc::new(index);
        let filter = index.filter()?;
        let follower = Follower::start(Arc::clone(&index), reader.clone())?;
        let (recent, waiting) = (Recents::default(), VecDeque::new());
        let mut known = Known { filter, recent, waiting, index, follower: Some(follower) };
        known.catch_up(reader, position)?;
        Ok(known)
    }

    fn catch_up(&mut self, reader: &Reader, mut seq: u64) -> Result<(), Error> {
        loop {
            let commits = reader.commits(seq, CATCH_UP_BYTES)?;
            let Some(last) = commits.last() else { return Ok(()) };
            seq = last.seq + 1;
            for commit in &commits {
                self.follow(commit, reader)?;
            }
        }
    }

    fn follow(&mut self, commit: &Commit, reader: &Reader) -> Result<(), Error> {
        for entry in &commit.entries {
            let (key, version) = version_of(entry, reader)?;
            let continues = !self.versions(&key)?.is_empty();
            self.note(&key, version, continues);
        }
        self.committed(commit.seq + 1)
    }

    /// The entries of an id, those of this very batch included.
    pub(crate) fn versions(&self, key: &Key) -> Result<Vec<Version>, Error> {
        if !self.filter.may_hold(key) {
            return Ok(Vec::new());
        }
        let runs = self.waiting.iter().map(|run| &run.ids).chain([&self.recent]);
        let in_memory = runs.filter_map(|ids| ids.get(key));
        let mut versions: Vec<Version> =
            in_memory.flat_map(|recent| recent.more.iter().chain([&recent.first])).copied().collect();
        // A run stays in memory until after it is in the index: the same entry may be met twice.
        for stored in self.index.versions(key)? {
            if !versions.iter().any(|version| version.index == stored.index) {
                versions.push(stored);
            }
        }
        Ok(versions)
    }

    /// Adds an entry that is about to be appended. `continues`: [`Known::versions`] named an earlier one.
    pub(crate) fn note(&mut self, key: &Key, version: Version, continues: bool) {
        match self.recent.get_mut(key) {
            Some(recent) => recent.more.push(version),
            None => {
                if !continues {
                    self.filter.insert(key);
                }
                self.recent.insert(*key, Recent { continues, first: version, more: Vec::new() });
            }
        }
    }

    /// Whether [`Known::committed`] has something to do: nothing is noted before it.
    pub(crate) fn is_due(&self) -> bool {
        self.recent.len() >= RUN_IDS
    }

    /// Everything noted so far is durable, and `next_seq` is the ledger's next commit.
    pub(crate) fn committed(&mut self, next_seq: u64) -> Result<(), Error> {
        if self.is_due() { self.hand_over(next_seq) } else { Ok(()) }
    }

    fn hand_over(&mut self, next_seq: u64) -> Result<(), Error> {
        let ids = std::mem::replace(&mut self.recent, Recents::with_capacity_and_hasher(RUN_IDS, <_>::default()));
        let run = Arc::new(Run { ids, next_seq });
        let Some(follower) = &self.follower else { return Ok(()) };
        follower.take(Arc::clone(&run))?;
        self.waiting.push_back(run);
        let indexed = follower.indexed_seq.load(Ordering::Acquire);
        while self.waiting.front().is_some_and(|run| run.next_seq <= indexed) {
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Writes what is in memory to the index, so that the next start has nothing to catch up with.
    pub(crate) fn close(mut self, next_seq: u64) -> Result<(), Error> {
        if !self.recent.is_empty() {
            self.hand_over(next_seq)?;
        }
        self.follower.take().map_or(Ok(()), Follower::finish)
    }

    /// Memory of the filter, bytes.
    pub(crate) fn filter_bytes(&self) -> usize {
        self.filter.bytes()
    }
}

/// What a leaf says of its id. The code of a reject stands in its fact.
fn version_of(entry: &pedigraph_ledger::Entry, reader: &Reader) -> Result<(Key, Version), Error> {
    let unreadable = || Error::Corrupt(format!("entry {} of log {} is not a leaf", entry.index, entry.log));
    let leaf = Entry::decode(entry.leaf.clone()).map_err(|_| unreadable())?;
    let tenant = TenantId::new(&leaf.tenant).ok_or_else(unreadable)?;
    let event_id = EventId::from_slice(&leaf.event_id).ok_or_else(unreadable)?;
    let code = match leaf.status() {
        Status::Rejected => Some(code_of(entry, reader)?.ok_or_else(unreadable)?),
        Status::Unspecified | Status::Accepted | Status::Conflict => None,
    };
    Ok((key(&tenant, &leaf.source, &leaf.id), Version { event_id, index: entry.index, code }))
}

fn code_of(entry: &pedigraph_ledger::Entry, reader: &Reader) -> Result<Option<Code>, Error> {
    let Some(part) = entry.facts.first() else { return Ok(None) };
    let facts = reader.part(part)?.and_then(decode_chunk).unwrap_or_default();
    let Some(Event::MessageRejected(rejected)) = facts.into_iter().next().and_then(|fact| fact.event) else {
        return Ok(None);
    };
    Ok(Code::ALL.iter().copied().find(|code| code.as_str() == rejected.code))
}

/// The exact index: `key` → the first entry, `key ‖ index` → each later one.
struct Index {
    rows: Keyspace,
    _database: Database,
}

impl Index {
    fn open_or_rebuild(dir: &Path, reader: &Reader) -> Result<(Index, u64), Error> {
        let reason = match Index::open(dir) {
            Ok(index) => match index.position(reader) {
                Ok(position) => return Ok((index, position)),
                Err(reason) => reason,
            },
            Err(reason) => reason,
        };
        if dir.exists() {
            tracing::warn!(%reason, "the index of known ids is built anew from the ledger");
            fs::remove_dir_all(dir)?;
        }
        Ok((Index::open(dir)?, 0))
    }

    fn open(dir: &Path) -> Result<Index, Error> {
        let database = Database::builder(dir).cache_size(CACHE_BYTES).worker_threads(1).open()?;
        let rows = database.keyspace("known", KeyspaceCreateOptions::default)?;
        Ok(Index { rows, _database: database })
    }

    /// The next commit to index; an error when the index does not belong to this ledger.
    fn position(&self, reader: &Reader) -> Result<u64, Error> {
        let doubtful = |why: &str| Error::Corrupt(format!("the index {why}"));
        let Some(row) = self.rows.get(POSITION_KEY)? else {
            return if self.rows.is_empty()? { Ok(0) } else { Err(doubtful("does not say how far it reaches")) };
        };
        let (seq, rest) = row.split_first_chunk::<8>().ok_or_else(|| doubtful("is cut"))?;
        let seq = u64::from_be_bytes(*seq);
        if seq > reader.next_seq() {
            return Err(doubtful("is ahead of the ledger"));
        }
        if rest != check_of(seq, reader)? {
            return Err(doubtful("is of another ledger or format"));
        }
        Ok(seq)
    }

    /// A filter that holds every id of the index.
    fn filter(&self) -> Result<Filter, Error> {
        let mut filter = Filter::for_ids(self.rows.approximate_len());
        for row in self.rows.iter() {
            if let Ok(key) = <&Key>::try_from(&*row.key()?) {
                filter.insert(key);
            }
        }
        Ok(filter)
    }

    fn versions(&self, key: &Key) -> Result<Vec<Version>, Error> {
        // The store's own filter answers for ids it does not have; only a repetition pays for the scan.
        if !self.rows.contains_key(key)? {
            return Ok(Vec::new());
        }
        let rows = self.rows.prefix(key);
        rows.map(|row| read_version(&row.value()?)).collect()
    }

    /// Adds a run and the position it reaches as one sorted table. A crash leaves all of it or nothing.
    fn add(&self, run: &Run, check: &[u8]) -> Result<(), Error> {
        let mut ids: Vec<(&Key, &Recent)> = run.ids.iter().collect();
        ids.sort_unstable_by_key(|(key, _)| *key);
        let mut table = self.rows.start_ingestion()?;
        table.write(POSITION_KEY, [&run.next_seq.to_be_bytes(), check].concat())?;
        for (key, recent) in ids {
            if recent.continues {
                table.write(
                    [key.as_slice(), &recent.first.index.to_be_bytes()].concat(),
                    write_version(&recent.first),
                )?;
            } else {
                table.write(key.as_slice(), write_version(&recent.first))?;
            }
            for version in &recent.more {
                table.write([key.as_slice(), &version.index.to_be_bytes()].concat(), write_version(version))?;
            }
        }
        Ok(table.finish()?)
    }
}

/// Binds a position to this ledger's history: what the commit before it says of the logs it changed.
fn check_of(seq: u64, reader: &Reader) -> Result<Vec<u8>, Error> {
    let mut hasher = Sha256::new_with_prefix([FORMAT]);
    let before = seq.checked_sub(1).map(|seq| reader.commits(seq, 0)).transpose()?;
    for (log, size, root) in before.iter().flatten().take(1).flat_map(|commit| &commit.heads) {
        hasher.update(log.as_str());
        hasher.update(size.to_be_bytes());
        hasher.update(root.0);
    }
    Ok(hasher.finalize().to_vec())
}

/// Event id, index, and the code's number or 0.
fn write_version(version: &Version) -> [u8; 25] {
    let mut bytes = [0; 25];
    bytes[..16].copy_from_slice(version.event_id.as_bytes());
    bytes[16..24].copy_from_slice(&version.index.to_be_bytes());
    let number = Code::ALL.iter().position(|code| Some(*code) == version.code).map_or(0, |n| n + 1);
    bytes[24] = u8::try_from(number).unwrap_or(u8::MAX);
    bytes
}

fn read_version(bytes: &[u8]) -> Result<Version, Error> {
    let cut = || Error::Corrupt("a row of the index of known ids is cut".to_owned());
    let (event_id, rest) = bytes.split_at_checked(16).ok_or_else(cut)?;
    let (index, code) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
    let number = usize::from(*code.first().ok_or_else(cut)?);
    let event_id = EventId::from_slice(event_id).ok_or_else(cut)?;
    let code = number.checked_sub(1).and_then(|n| Code::ALL.get(n)).copied();
    Ok(Version { event_id, index: u64::from_be_bytes(*index), code })
}

/// The thread that adds runs to the index.
struct Follower {
    runs: SyncSender<Arc<Run>>,
    thread: JoinHandle<()>,
    /// Commits below it are in the index.
    indexed_seq: Arc<AtomicU64>,
    failed: Arc<Mutex<Option<Error>>>,
}

impl Follower {
    fn start(index: Arc<Index>, reader: Reader) -> io::Result<Follower> {
        let (runs, waiting) = sync_channel::<Arc<Run>>(RUNS_WAITING_MAX);
        let failed = Arc::new(Mutex::new(None));
        let indexed_seq = Arc::new(AtomicU64::new(0));
        let (slot, indexed) = (Arc::clone(&failed), Arc::clone(&indexed_seq));
        let work = move || {
            if let Err(error) = follow(&index, &reader, &waiting, &indexed) {
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        };
        let thread = std::thread::Builder::new().name("known-ids".to_owned()).spawn(work)?;
        Ok(Follower { runs, thread, indexed_seq, failed })
    }

    fn take(&self, run: Arc<Run>) -> Result<(), Error> {
        self.runs.send(run).map_err(|_| self.error())
    }

    fn error(&self) -> Error {
        let stopped = || Error::Corrupt("the index of known ids stopped".to_owned());
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_else(stopped)
    }

    fn finish(self) -> Result<(), Error> {
        drop(self.runs);
        let _panicked_and_said_so = self.thread.join();
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

fn follow(index: &Index, reader: &Reader, runs: &Receiver<Arc<Run>>, indexed: &AtomicU64) -> Result<(), Error> {
    while let Ok(run) = runs.recv() {
        index.add(&run, &check_of(run.next_seq, reader)?)?;
        indexed.store(run.next_seq, Ordering::Release);
    }
    Ok(())
}
