//! Which ids the ledger knows, without a time limit.
//!
//! Three layers, asked in this order: a [`Filter`] that says "surely new" of nearly every new id; the ids of the newest
//! entries in memory; an exact index on disk. A question costs the same whatever came before: one that sends a million
//! contents under one id is told apart from each by name, never by reading all of them, so there is no number of
//! conflicts after which a duplicate would no longer be found. The index is derived: a follower of the writer adds sorted runs to it off
//! the commit path, each run together with the ledger position it reaches, in one atomic step. After a crash it is
//! behind, never wrong, and [`KnownIds::open`] reads the rest from the ledger before intake starts. When it is missing,
//! unreadable, ahead of the ledger or of another ledger, it is built anew. The filter is made again at every start,
//! beside intake: until it is complete, every question goes on to the index.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fjall::compaction::Leveled;
use fjall::config::{CompressionPolicy, PartitioningPolicy};
use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use pedigraph_ledger::{Commit, Reader};
use pedigraph_proto::fact::{Event, decode_chunk};
use pedigraph_proto::message::Code;
use pedigraph_proto::protobuf::Message as _;
use pedigraph_proto::wire::{Entry, Status};
use pedigraph_proto::{EventId, TenantId};
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::decide::{Key, Known, Version, key};
use crate::filter::Filter;

/// Entries in memory, whatever their ids, before they become a run of the index; also what a crash leaves to be read
/// from the ledger again.
const RUN_ENTRIES: usize = 32_768;
/// Runs that wait for the follower; at one more the writer waits too.
const RUNS_WAITING_MAX: usize = 4;
/// Runs that the store merges at once into its sorted tables.
const TABLES_MERGED: u8 = 32;
/// Size of those tables, bytes.
const TABLE_BYTES: u64 = 8 << 20;
/// Runs not yet merged at which the follower waits for the store: every lookup asks each of them.
const TABLES_UNMERGED_MAX: usize = 64;
/// When to look again whether the store, which does not tell, has merged some.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Looks, a minute of them, after which the follower goes on all the same: slow is better than never.
const LOOKS_MAX: usize = 6_000;
/// Journal bytes read at once while catching up.
const CATCH_UP_BYTES: usize = 8 << 20;
/// Memory of the index's blocks, bytes.
const CACHE_BYTES: u64 = 8 << 20;
/// Version of the index's rows.
const FORMAT: u8 = 4;
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
    /// Whether the index, or an older run, has entries of this id.
    is_earlier_known: bool,
    /// The first entry of this id that says something, wherever it is.
    accepted: Option<u64>,
    first: Version,
    /// Those after the first.
    more: BTreeMap<Content, u64>,
}

impl Recent {
    fn find(&self, content: &Content) -> Option<u64> {
        if content_of(&self.first) == *content { Some(self.first.index) } else { self.more.get(content).copied() }
    }
}

/// What tells the entries of one id apart: the code's number or 0, and the event id.
type Content = [u8; 17];

fn content_of(version: &Version) -> Content {
    let mut content = [0; 17];
    content[0] = version.code.map_or(0, Code::number);
    content[1..].copy_from_slice(version.event_id.as_bytes());
    content
}

type Recents = HashMap<Key, Recent, BuildHasherDefault<KeyHasher>>;

/// Ids on their way to the index.
struct Run {
    ids: Recents,
    /// Every commit below it is in the index once this run is.
    next_seq: u64,
}

/// What the writer knows; it belongs to the writer's thread.
pub(crate) struct KnownIds {
    /// While there is a scan, it holds only the ids since the start.
    filter: Filter,
    scan: Option<Scan>,
    recent: Recents,
    /// Entries of `recent`.
    noted: usize,
    /// Handed over and perhaps not yet in the index, oldest first.
    waiting: VecDeque<Arc<Run>>,
    index: Arc<Index>,
    follower: Option<Follower>,
}

impl KnownIds {
    /// Opens the index in `dir` and brings it up to the ledger.
    pub(crate) fn open(dir: &Path, reader: &Reader) -> Result<KnownIds, Error> {
        let (index, position) = Index::open_or_rebuild(dir, reader)?;
        let index = Arc::new(index);
        let scan = if index.rows.is_empty()? { None } else { Some(Scan::start(Arc::clone(&index))?) };
        let follower = Some(Follower::start(Arc::clone(&index), reader.clone())?);
        let (filter, recent, waiting) = (Filter::default(), Recents::default(), VecDeque::new());
        let mut known = KnownIds { filter, scan, recent, noted: 0, waiting, index, follower };
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
            let known = self.ask(&key, version.event_id, version.code)?;
            self.note(&key, version, &known);
        }
        self.committed(commit.seq + 1)
    }

    /// What is known of an id and of these very bytes under it, what this very batch holds included. At most three rows
    /// of the index are asked for.
    pub(crate) fn ask(&self, key: &Key, event_id: EventId, code: Option<Code>) -> Result<Known, Error> {
        if !self.passes_filter(key) {
            return Ok(Known::default());
        }
        let content = content_of(&Version { event_id, index: 0, code });
        let runs = self.waiting.iter().map(|run| &run.ids).chain([&self.recent]);
        let in_memory = || runs.clone().filter_map(|ids| ids.get(key));
        // A run stays in memory until after it is in the index: what an entry is in both says the same.
        let same = in_memory().find_map(|recent| recent.find(&content));
        let Some(newest) = in_memory().next_back() else { return self.index.ask(key, &content) };
        let same = match same {
            None if in_memory().next().is_some_and(|oldest| oldest.is_earlier_known) => {
                self.index.find(key, &content)?
            }
            same => same,
        };
        Ok(Known { is_known: true, same, accepted: newest.accepted })
    }

    /// Adds an entry that is about to be appended, of which [`KnownIds::ask`] said this.
    pub(crate) fn note(&mut self, key: &Key, version: Version, known: &Known) {
        self.noted += 1;
        let accepted = known.accepted.or(version.code.is_none().then_some(version.index));
        match self.recent.get_mut(key) {
            Some(recent) => {
                recent.accepted = accepted;
                recent.more.insert(content_of(&version), version.index);
            }
            None => {
                if !known.is_known {
                    self.filter.insert(key);
                }
                let is_earlier_known = known.is_known;
                let recent = Recent { is_earlier_known, accepted, first: version, more: BTreeMap::new() };
                self.recent.insert(*key, recent);
            }
        }
    }

    /// Whether [`KnownIds::committed`] has something to do: nothing is noted before it.
    pub(crate) fn is_due(&self) -> bool {
        self.has_run() || self.has_scanned()
    }

    fn has_run(&self) -> bool {
        self.noted >= RUN_ENTRIES
    }

    fn has_scanned(&self) -> bool {
        self.scan.as_ref().is_some_and(Scan::is_finished)
    }

    /// Everything noted so far is durable, and `next_seq` is the ledger's next commit.
    pub(crate) fn committed(&mut self, next_seq: u64) -> Result<(), Error> {
        if self.has_scanned() {
            self.complete_filter()?;
        }
        if self.has_run() { self.hand_over(next_seq) } else { Ok(()) }
    }

    fn hand_over(&mut self, next_seq: u64) -> Result<(), Error> {
        let ids = std::mem::replace(&mut self.recent, Recents::with_capacity_and_hasher(RUN_ENTRIES, <_>::default()));
        self.noted = 0;
        let run = Arc::new(Run { ids, next_seq });
        let Some(follower) = &self.follower else { return Ok(()) };
        follower.take(Arc::clone(&run))?;
        self.waiting.push_back(run);
        let indexed = follower.state.indexed_seq.load(Ordering::Acquire);
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

    /// Whether the filter leaves it open that the id is known.
    pub(crate) fn passes_filter(&self, key: &Key) -> bool {
        self.scan.is_some() || self.filter.may_hold(key)
    }

    /// Waits until the filter holds every id of the index.
    pub(crate) fn complete_filter(&mut self) -> Result<(), Error> {
        let Some(scan) = self.scan.take() else { return Ok(()) };
        self.filter.join(scan.finish()?);
        Ok(())
    }

    /// Rows of the index that were asked for since the start.
    pub(crate) fn index_reads(&self) -> u64 {
        self.index.reads.load(Ordering::Relaxed)
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

/// The exact index: `key` → the first entry; `key ‖ content` → the index of another one; `key ‖ 0` → the index of the
/// first that is no reject, where that is not the first of all. So a row is asked for by name only, which the store's
/// own filters make cheap where it is not there; a scan would read from every one of its tables.
struct Index {
    rows: Keyspace,
    /// Rows that were asked for.
    reads: AtomicU64,
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

    /// The store panics over what it does not expect in its directories: that too is a reason to build it anew.
    fn open(dir: &Path) -> Result<Index, Error> {
        let panicked = |_| Err(Error::Corrupt("the store of the index of known ids cannot be opened".to_owned()));
        catch_unwind(|| Index::open_store(dir)).unwrap_or_else(panicked)
    }

    fn open_store(dir: &Path) -> Result<Index, Error> {
        let database = Database::builder(dir).cache_size(CACHE_BYTES).worker_threads(1).open()?;
        let rows = database.keyspace("known", options)?;
        Ok(Index { rows, reads: AtomicU64::new(0), _database: database })
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

    /// A filter that holds every id of the index, unless it is told to stop.
    fn filter(&self, stop: &AtomicBool) -> Result<Filter, Error> {
        let mut filter = Filter::for_ids(self.rows.approximate_len());
        for row in self.rows.iter().take_while(|_| !stop.load(Ordering::Relaxed)) {
            if let Ok(key) = <&Key>::try_from(&*row.key()?) {
                filter.insert(key);
            }
        }
        Ok(filter)
    }

    /// Makes the next start build it anew.
    fn doubt(&self) -> Result<(), Error> {
        Ok(self.rows.insert(POSITION_KEY, [])?)
    }

    fn get(&self, row: impl AsRef<[u8]>) -> Result<Option<fjall::Slice>, Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Ok(self.rows.get(row)?)
    }

    fn ask(&self, key: &Key, content: &Content) -> Result<Known, Error> {
        let Some(first) = self.get(key)? else { return Ok(Known::default()) };
        let first = read_version(&first)?;
        let same =
            if content_of(&first) == *content { Some(first.index) } else { self.index_in(row_of(key, content))? };
        let accepted = match first.code {
            None => Some(first.index),
            Some(_) => self.index_in(accepted_row_of(key))?,
        };
        Ok(Known { is_known: true, same, accepted })
    }

    /// The entry of an id that has this content.
    fn find(&self, key: &Key, content: &Content) -> Result<Option<u64>, Error> {
        let Some(first) = self.get(key)? else { return Ok(None) };
        let first = read_version(&first)?;
        if content_of(&first) == *content { Ok(Some(first.index)) } else { self.index_in(row_of(key, content)) }
    }

    fn index_in(&self, row: impl AsRef<[u8]>) -> Result<Option<u64>, Error> {
        let Some(value) = self.get(row)? else { return Ok(None) };
        let value = <[u8; 8]>::try_from(&*value).map_err(|_| cut())?;
        Ok(Some(u64::from_be_bytes(value)))
    }

    /// Adds a run and the position it reaches as one sorted table. A crash leaves all of it or nothing.
    fn add(&self, run: &Run, check: &[u8]) -> Result<(), Error> {
        let mut ids: Vec<(&Key, &Recent)> = run.ids.iter().collect();
        ids.sort_unstable_by_key(|(key, _)| *key);
        let mut table = self.rows.start_ingestion()?;
        table.write(POSITION_KEY, [&run.next_seq.to_be_bytes(), check].concat())?;
        for (key, recent) in ids {
            for (row, value) in rows_of(key, recent) {
                table.write(row, value)?;
            }
        }
        Ok(table.finish()?)
    }
}

/// The rows that a run adds of one id, in order.
fn rows_of<'a>(key: &'a Key, recent: &'a Recent) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + 'a {
    let Recent { is_earlier_known, accepted, first, more } = recent;
    let index = |index: &u64| index.to_be_bytes().to_vec();
    let first_row = (!is_earlier_known).then(|| (key.to_vec(), write_version(first).to_vec()));
    // Written again by each run that adds to an id which began with a reject: the same value.
    let accepted = accepted.filter(|accepted| *is_earlier_known || *accepted != first.index);
    let accepted_row = accepted.map(|accepted| (accepted_row_of(key), index(&accepted)));
    let mut contents: Vec<(Content, u64)> = more.iter().map(|(content, index)| (*content, *index)).collect();
    if *is_earlier_known {
        contents.push((content_of(first), first.index));
        contents.sort_unstable();
    }
    let content_rows = contents.into_iter().map(move |(content, of)| (row_of(key, &content), index(&of)));
    first_row.into_iter().chain(accepted_row).chain(content_rows)
}

/// How the store keeps the rows.
fn options() -> KeyspaceCreateOptions {
    // In parts, of which a lookup reads one: else it reads the whole filter and the whole index of a table, a megabyte.
    let parts = PartitioningPolicy::all(true);
    // Of small tables, so that no compaction is so long that many runs wait for it.
    let compaction = Leveled::default().with_l0_threshold(TABLES_MERGED).with_table_target_size(TABLE_BYTES);
    KeyspaceCreateOptions::default()
        .filter_block_partitioning_policy(parts.clone())
        .index_block_partitioning_policy(parts)
        .compaction_strategy(Arc::new(compaction))
        // Hashes do not compress.
        .data_block_compression_policy(CompressionPolicy::disabled())
}

fn row_of(key: &Key, content: &Content) -> Vec<u8> {
    [key.as_slice(), content].concat()
}

/// Sorts between the first entry's row and those of the others.
fn accepted_row_of(key: &Key) -> Vec<u8> {
    [key.as_slice(), &[0]].concat()
}

fn cut() -> Error {
    Error::Corrupt("a row of the index of known ids is cut".to_owned())
}

/// Binds a position to this ledger's history: what the commit before it says of the logs it changed.
fn check_of(seq: u64, reader: &Reader) -> Result<Vec<u8>, Error> {
    check_by(FORMAT, seq, reader)
}

fn check_by(format: u8, seq: u64, reader: &Reader) -> Result<Vec<u8>, Error> {
    let mut hasher = Sha256::new_with_prefix([format]);
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
    bytes[24] = version.code.map_or(0, Code::number);
    bytes
}

fn read_version(bytes: &[u8]) -> Result<Version, Error> {
    let (event_id, rest) = bytes.split_at_checked(16).ok_or_else(cut)?;
    let (index, code) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
    let event_id = EventId::from_slice(event_id).ok_or_else(cut)?;
    let newer =
        |number| Error::Corrupt(format!("the index of known ids has a code {number} that this program does not know"));
    let code = match *code.first().ok_or_else(cut)? {
        0 => None,
        number => Some(Code::of_number(number).ok_or_else(|| newer(number))?),
    };
    Ok(Version { event_id, index: u64::from_be_bytes(*index), code })
}

/// The thread that reads the whole index into a filter; dropping it stops it.
struct Scan {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Filter, Error>>>,
}

impl Scan {
    fn start(index: Arc<Index>) -> io::Result<Scan> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let work = move || {
            let outcome = index.filter(&stopped);
            if outcome.is_err() {
                index.doubt()?;
            }
            outcome
        };
        let thread = std::thread::Builder::new().name("known-filter".to_owned()).spawn(work)?;
        Ok(Scan { stop, thread: Some(thread) })
    }

    fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn finish(mut self) -> Result<Filter, Error> {
        let panicked = || Error::Corrupt("the index of known ids cannot be read".to_owned());
        let outcome = self.thread.take().and_then(|thread| thread.join().ok());
        outcome.unwrap_or_else(|| Err(panicked()))
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _of_no_use_any_more = self.thread.take().map(JoinHandle::join);
    }
}

/// The thread that adds runs to the index; dropping it waits for what it was given.
struct Follower {
    runs: Option<SyncSender<Arc<Run>>>,
    thread: Option<JoinHandle<()>>,
    state: Arc<Followed>,
}

#[derive(Default)]
struct Followed {
    /// Commits below it are in the index.
    indexed_seq: AtomicU64,
    stopping: AtomicBool,
    failed: Mutex<Option<Error>>,
}

impl Follower {
    fn start(index: Arc<Index>, reader: Reader) -> io::Result<Follower> {
        let (runs, waiting) = sync_channel::<Arc<Run>>(RUNS_WAITING_MAX);
        let state = Arc::new(Followed::default());
        let followed = Arc::clone(&state);
        let work = move || {
            let pause = || std::thread::park_timeout(LOOK_AGAIN);
            if let Err(error) = follow(&index, &reader, &waiting, &followed, pause) {
                *followed.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        };
        let thread = std::thread::Builder::new().name("known-ids".to_owned()).spawn(work)?;
        Ok(Follower { runs: Some(runs), thread: Some(thread), state })
    }

    fn take(&self, run: Arc<Run>) -> Result<(), Error> {
        let Some(runs) = &self.runs else { return Err(self.error()) };
        runs.send(run).map_err(|_| self.error())
    }

    fn error(&self) -> Error {
        let stopped = || Error::Corrupt("the index of known ids stopped".to_owned());
        self.state.failed.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_else(stopped)
    }

    fn finish(mut self) -> Result<(), Error> {
        self.stop();
        self.state.failed.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    /// The index is open until the thread ends, and may be opened again after this.
    fn stop(&mut self) {
        self.runs = None;
        self.state.stopping.store(true, Ordering::Relaxed);
        let _panicked_and_said_so = self.thread.take().map(JoinHandle::join);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop();
    }
}

/// `pause` is between two looks whether the store has merged some.
fn follow(
    index: &Index,
    reader: &Reader,
    runs: &Receiver<Arc<Run>>,
    state: &Followed,
    mut pause: impl FnMut(),
) -> Result<(), Error> {
    while let Ok(run) = runs.recv() {
        let may_go_on = || index.rows.l0_table_count() < TABLES_UNMERGED_MAX || state.stopping.load(Ordering::Relaxed);
        (0..LOOKS_MAX).take_while(|_| !may_go_on()).for_each(|_| pause());
        index.add(&run, &check_of(run.next_seq, reader)?)?;
        state.indexed_seq.store(run.next_seq, Ordering::Release);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use pedigraph_ledger::{Batch, LogId, NewEntry, Options, Part, Writer};
    use pedigraph_proto::event::MessageRejected;
    use pedigraph_proto::fact::encode_chunk;
    use pedigraph_proto::wire::Fact;
    use proptest::prelude::*;

    use super::*;

    /// A ledger and what is known of it.
    struct Bed {
        dir: tempfile::TempDir,
        ledger: Writer,
        known: Option<KnownIds>,
    }

    impl Bed {
        fn new() -> Bed {
            let dir = tempfile::tempdir().unwrap();
            let ledger = pedigraph_ledger::open(&dir.path().join("ledger"), &Options::default()).unwrap();
            let mut bed = Bed { dir, ledger, known: None };
            bed.open();
            bed
        }

        fn open(&mut self) {
            self.known = Some(KnownIds::open(&self.dir.path().join("known"), &self.ledger.reader()).unwrap());
        }

        fn known(&mut self) -> &mut KnownIds {
            self.known.as_mut().unwrap()
        }

        fn ask(&mut self, id: u8, version: &Version) -> Known {
            self.known().ask(&key_of(id), version.event_id, version.code).unwrap()
        }

        /// Whether an id has just these entries, each with contents of its own.
        fn holds(&mut self, id: u8, versions: &[Version]) -> bool {
            let unknown = Version { event_id: EventId::from_slice(&[0xff; 16]).unwrap(), index: 0, code: None };
            let asked = |version: &Version| [*version, Version { code: Some(Code::TooLarge), ..*version }];
            let all: Vec<Version> = versions.iter().chain([&unknown]).flat_map(asked).collect();
            all.iter().all(|version| self.ask(id, version) == Known::among(versions, version.event_id, version.code))
        }

        /// As the writer does it: question, note, commit.
        fn append(&mut self, id: u8, index: u64) -> Version {
            self.append_as(id, index, None)
        }

        fn append_as(&mut self, id: u8, index: u64, code: Option<Code>) -> Version {
            let version = version(index, code);
            let known = self.ask(id, &version);
            self.known().note(&key_of(id), version, &known);
            self.ledger.append(Batch { entries: vec![entry(id, &version)], ..Batch::default() }).unwrap();
            version
        }

        /// Entries of one id, in a few commits, of which nothing was noted.
        fn append_unnoted(&mut self, id: u8, versions: &[Version]) {
            for some in versions.chunks(1_000) {
                let entries = some.iter().map(|version| entry(id, version)).collect();
                self.ledger.append(Batch { entries, ..Batch::default() }).unwrap();
            }
        }

        fn hand_over(&mut self) {
            let next_seq = self.ledger.reader().next_seq();
            self.known().hand_over(next_seq).unwrap();
        }

        fn close(&mut self) {
            let next_seq = self.ledger.reader().next_seq();
            self.known.take().unwrap().close(next_seq).unwrap();
        }
    }

    fn version(index: u64, code: Option<Code>) -> Version {
        Version { event_id: EventId::from_slice(&u128::from(index).to_be_bytes()).unwrap(), index, code }
    }

    fn entry(id: u8, version: &Version) -> NewEntry {
        let facts = version.code.into_iter().map(|code| Part::Inline(rejected(code))).collect();
        let leaf = Entry {
            version: 1,
            event_id: Bytes::copy_from_slice(version.event_id.as_bytes()),
            status: version.code.map_or(Status::Accepted, |_| Status::Rejected).into(),
            tenant: TenantId::default().as_str().to_owned(),
            source: "/ci".to_owned(),
            id: id.to_string(),
            ..Entry::default()
        };
        let leaf = Bytes::from(leaf.encode_to_vec());
        NewEntry { log: LogId::default_log(), leaf, facts, body: None }
    }

    fn rejected(code: Code) -> Bytes {
        encode_chunk(vec![Fact::now(MessageRejected { code: code.as_str().to_owned(), ..MessageRejected::default() })])
    }

    fn key_of(id: u8) -> Key {
        key(&TenantId::default(), "/ci", &id.to_string())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
        /// In memory, on the way to the index or in it, before the filter is complete and after, whatever ended the
        /// last process.
        #[test]
        fn every_entry_of_an_id_is_found(steps in prop::collection::vec((0_u8..4, 0_u8..4, 0_u8..10), 1..50)) {
            let mut bed = Bed::new();
            let mut model: BTreeMap<u8, Vec<Version>> = BTreeMap::new();
            for (index, (id, kind, then)) in (0..).zip(steps) {
                let code = [None, None, Some(Code::TooLarge), Some(Code::TooDeep)][usize::from(kind)];
                let version = bed.append_as(id, index, code);
                model.entry(id).or_default().push(version);
                match then {
                    0..3 => bed.hand_over(),
                    3 => bed.known().complete_filter().unwrap(),
                    4 => {
                        bed.close();
                        bed.open();
                    }
                    5 => {
                        bed.known = None;
                        bed.open();
                    }
                    _ => {}
                }
                for id in 0..4 {
                    prop_assert!(bed.holds(id, &model.get(&id).cloned().unwrap_or_default()), "id {}", id);
                }
            }
        }
    }

    /// Rows read by each kind of question about one id with so many contents, half of them in the index.
    fn reads_at(contents: u64) -> [u64; 3] {
        let mut bed = Bed::new();
        let code = |index| (index == 0).then_some(Code::TooDeep);
        let versions: Vec<Version> = (0..contents).map(|index| version(index, code(index))).collect();
        let (earlier, later) = versions.split_at(versions.len() / 2);
        bed.append_unnoted(7, earlier);
        bed.known = None;
        bed.open();
        bed.close();
        bed.open();
        bed.known().complete_filter().unwrap();
        for version in later {
            let known = bed.ask(7, version);
            bed.known().note(&key_of(7), *version, &known);
        }
        let (first, middle) = (versions[0], versions[versions.len() / 4]);
        [first, middle, version(contents, None)].map(|asked| {
            let before = bed.known().index_reads();
            let known = bed.ask(7, &asked);
            assert_eq!((known.same.is_some(), known.accepted), (asked.index < contents, Some(1)), "{asked:?}");
            bed.known().index_reads() - before
        })
    }

    #[test]
    fn a_question_about_an_id_with_many_contents_costs_the_same_as_about_one_with_few() {
        let few = reads_at(1_000);
        assert!(few.iter().all(|reads| *reads <= 3), "{few:?}");
        assert_eq!((reads_at(2_000), reads_at(4_000)), (few, few));
    }

    #[test]
    fn a_start_with_many_conflicts_of_one_id_asks_a_bounded_number_of_rows_for_each() {
        const CONFLICTS: u64 = 20_000;
        let mut bed = Bed::new();
        let versions: Vec<Version> = (0..CONFLICTS).map(|index| version(index, None)).collect();
        bed.append_unnoted(3, &versions);
        // As after a crash: the index has nothing of it.
        bed.known = None;
        bed.open();
        let reads = bed.known().index_reads();
        assert!(reads <= 3 * CONFLICTS, "{reads} rows read for {CONFLICTS} entries");
        for version in versions.iter().step_by(997) {
            assert_eq!(bed.ask(3, version), Known { is_known: true, same: Some(version.index), accepted: Some(0) });
        }
    }

    #[test]
    fn the_filter_is_complete_some_time_after_a_start() {
        let mut bed = Bed::new();
        for id in 0..100 {
            bed.append(id, id.into());
        }
        bed.close();
        bed.open();
        assert!((0..200).all(|id| bed.known().passes_filter(&key_of(id))), "before, it can exclude nothing");
        bed.known().complete_filter().unwrap();
        assert!((0..100).all(|id| bed.known().passes_filter(&key_of(id))));
        let asking = (100..200).filter(|&id| bed.known().passes_filter(&key_of(id))).count();
        assert!(asking < 10, "{asking} of 100 new ids ask the index");
    }

    #[test]
    fn an_index_with_a_damaged_table_is_built_anew_by_the_next_start() {
        let mut bed = Bed::new();
        let versions: Vec<Version> = (0..250).map(|id| bed.append(id, id.into())).collect();
        bed.close();
        let keyspaces = fs::read_dir(bed.dir.path().join("known/keyspaces")).unwrap();
        let tables =
            keyspaces.filter_map(|keyspace| fs::read_dir(keyspace.unwrap().path().join("tables")).ok()).flatten();
        let largest = tables.map(|table| table.unwrap().path()).max_by_key(|path| fs::metadata(path).unwrap().len());
        let path = largest.unwrap();
        let mut table = fs::read(&path).unwrap();
        // Not in the first block, where the position is: a start reads that one at once.
        table[12_000] ^= 1;
        fs::write(&path, table).unwrap();
        bed.open();
        assert!(bed.known().complete_filter().is_err(), "a damaged table is not a shorter one");
        bed.known = None;
        bed.open();
        bed.known().complete_filter().unwrap();
        assert!((0..250).all(|id| bed.holds(id, &versions[usize::from(id)..][..1])));
    }

    #[test]
    fn an_index_whose_store_cannot_be_opened_is_built_anew() {
        let mut bed = Bed::new();
        let versions: Vec<Version> = (0..3).map(|id| bed.append(id, id.into())).collect();
        bed.close();
        let keyspaces = fs::read_dir(bed.dir.path().join("known/keyspaces")).unwrap();
        for tables in keyspaces.map(|keyspace| keyspace.unwrap().path().join("tables")) {
            fs::create_dir_all(tables.join("lost+found")).unwrap();
        }
        bed.open();
        assert!((0..3).all(|id| bed.holds(id, &versions[usize::from(id)..][..1])));
    }

    #[test]
    fn an_index_of_another_format_is_built_anew() {
        let mut bed = Bed::new();
        let versions: Vec<Version> = (0..3).map(|id| bed.append(id, id.into())).collect();
        bed.close();
        let (dir, reader) = (bed.dir.path().join("known"), bed.ledger.reader());
        let index = Index::open(&dir).unwrap();
        let position = index.position(&reader).unwrap();
        assert_eq!(position, 3);
        // As an earlier version wrote it, with a row that would be misread.
        let event_id = EventId::from_slice(&[9; 16]).unwrap();
        let misread = Version { event_id, index: 77, code: Some(Code::TooDeep) };
        index.rows.insert(key_of(1), write_version(&misread)).unwrap();
        let check = check_by(FORMAT - 1, position, &reader).unwrap();
        index.rows.insert(POSITION_KEY, [&position.to_be_bytes()[..], &check].concat()).unwrap();
        drop(index);
        bed.open();
        assert!((0..3).all(|id| bed.holds(id, &versions[usize::from(id)..][..1])));
    }

    #[test]
    fn every_code_comes_back_from_the_index() {
        let event_id = EventId::from_slice(&[4; 16]).unwrap();
        for code in Code::ALL.iter().copied().map(Some).chain([None]) {
            let version = Version { event_id, index: 5, code };
            assert_eq!(read_version(&write_version(&version)).unwrap(), version);
        }
        let mut newer = write_version(&Version { event_id, index: 5, code: None });
        newer[24] = 200;
        assert!(read_version(&newer).is_err(), "a reject is not taken for anything else");
    }

    /// An index whose store merges nothing by itself, with one run for each of some ids.
    fn unmerged(dir: &Path, tables: usize) -> Index {
        let database = Database::builder(dir).worker_threads_unchecked(0).open().unwrap();
        let rows = database.keyspace("known", options).unwrap();
        let index = Index { rows, reads: AtomicU64::new(0), _database: database };
        (0..tables).for_each(|n| index.add(&run_of(n), &[]).unwrap());
        assert_eq!(index.rows.l0_table_count(), tables);
        index
    }

    fn key_of_run(n: usize) -> Key {
        key(&TenantId::default(), "/ci", &n.to_string())
    }

    /// A run of one id, in which the id's number is the entry's.
    fn run_of(n: usize) -> Run {
        let first = version(n as u64, None);
        Run {
            ids: [(
                key_of_run(n),
                Recent { is_earlier_known: false, accepted: Some(n as u64), first, more: BTreeMap::new() },
            )]
            .into_iter()
            .collect(),
            next_seq: 0,
        }
    }

    fn held(index: &Index, n: usize) -> Known {
        index.ask(&key_of_run(n), &content_of(&version(n as u64, None))).unwrap()
    }

    /// Adds one more run to an index of so many tables; how often it looked again, each time with nothing added.
    fn looks_before_one_more(tables: usize, mut then: impl FnMut(usize, &Index, &Followed)) -> usize {
        let (bed, dir) = (Bed::new(), tempfile::tempdir().unwrap());
        let (index, state) = (unmerged(dir.path(), tables), Followed::default());
        let (sender, runs) = sync_channel(1);
        sender.send(Arc::new(run_of(tables))).unwrap();
        drop(sender);
        let mut looks = 0;
        let pause = || {
            assert!(!held(&index, tables).is_known, "it is added while it should wait");
            looks += 1;
            then(looks, &index, &state);
        };
        follow(&index, &bed.ledger.reader(), &runs, &state, pause).unwrap();
        for n in 0..=tables {
            let known = Known { is_known: true, same: Some(n as u64), accepted: Some(n as u64) };
            assert_eq!(held(&index, n), known);
        }
        looks
    }

    #[test]
    fn a_run_waits_until_enough_are_merged() {
        let merge = |looks: usize, index: &Index, _: &Followed| {
            if looks == 3 {
                index.rows.major_compact().unwrap();
                assert!(index.rows.l0_table_count() < TABLES_UNMERGED_MAX);
            }
        };
        assert_eq!(looks_before_one_more(TABLES_UNMERGED_MAX, merge), 3);
        assert_eq!(looks_before_one_more(TABLES_UNMERGED_MAX - 1, |_, _, _| ()), 0, "below the limit nothing waits");
    }

    #[test]
    fn a_run_waits_neither_for_ever_nor_at_a_stop() {
        assert_eq!(looks_before_one_more(TABLES_UNMERGED_MAX, |_, _, _| ()), LOOKS_MAX);
        let stop = |_: usize, _: &Index, state: &Followed| state.stopping.store(true, Ordering::Relaxed);
        assert_eq!(looks_before_one_more(TABLES_UNMERGED_MAX, stop), 1);
    }
}
