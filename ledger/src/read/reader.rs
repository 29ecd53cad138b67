//! Reading what is durable: commits in order, entries by index, heads, proofs, tiles.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;

use crate::bodies::blobs::{self, Blobs};
use crate::derived::hashes::{self, TileNodes};
use crate::files::storage::LocalFiles;
use crate::journal::keys::Keys;
use crate::journal::meta::Meta;
use crate::journal::recover::{Folded, fold_newest};
use crate::journal::segment;
use crate::notes::chain::Rotation;
use crate::notes::note;
use crate::publish::{checkpoint, keys};
use crate::read::lookup;
use crate::read::open_ledger::{DurableLog, Follower, OpenLedger};
use crate::tree::merkle::{self, consistency_holds, inclusion_holds};
use crate::tree::tile::{self, Of, Tile};
use crate::{Checkpoint, Commit, Content, Entry, Error, Hash, Head, LogId, PartRef, Signer};

/// A read handle; cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Reader(pub(crate) Arc<OpenLedger>);

/// Opens a ledger that another process may be writing, for reading what is durable.
///
/// # Errors
/// [`Error::Refused`] when there is no ledger (yet), [`Error::Corrupt`] when its newest segment contradicts itself or a
/// published checkpoint, [`Error::Io`].
pub fn open_reader(dir: &Path) -> Result<Reader, Error> {
    let (meta, Folded { recovered, scan, .. }) = fold_durable(dir)?;
    let follower = Follower { scan, vectors: recovered.vectors };
    let shared = OpenLedger::new(dir, meta, recovered.state, Some(follower));
    Ok(Reader(shared))
}

/// Folds the newest segment of a ledger that another process may be writing, and makes sure that what was folded is
/// durable.
pub(crate) fn fold_durable(dir: &Path) -> Result<(Meta, Folded), Error> {
    let none = || Error::Refused(format!("{} has no ledger", dir.display()));
    let meta = Meta::load(dir)?.ok_or_else(none)?;
    if segment::list(dir)?.is_empty() {
        return Err(none());
    }
    // A writer may put a larger segment in the place of an empty one between listing and reading: look again once.
    let folded =
        fold_newest(dir, &meta, segment::list(dir)?).or_else(|_| fold_newest(dir, &meta, segment::list(dir)?))?;
    folded.check_published()?;
    // What was folded may be in the writer's page cache only.
    folded.scan.file.sync_data()?;
    Ok((meta, folded))
}

impl Reader {
    /// Ledger directory.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Logs that exist, by name.
    pub fn logs(&self) -> Vec<LogId> {
        self.0.follow();
        self.0.durable().logs.keys().cloned().collect()
    }

    /// The newest durable head; size 0 for a log that does not exist.
    pub fn head(&self, log: &LogId) -> Head {
        self.0.follow();
        let head = self.log_head(log).unwrap_or_else(DurableLog::empty);
        Head { size: head.size, root: head.root, time_ns: head.time_ns }
    }

    /// The seq that the next commit will get.
    pub fn next_seq(&self) -> u64 {
        self.0.follow();
        self.0.durable().next_seq
    }

    /// Blocks until `next_seq() > seq` or the timeout; returns `next_seq()`.
    pub fn wait(&self, seq: u64, timeout: Duration) -> u64 {
        self.0.wait_commit(seq, timeout)
    }

    /// Commits from `seq` on: at least one if there is one, then more up to about `bytes_max` of journal.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when a commit is not where the journal must have it, [`Error::Io`].
    pub fn commits(&self, seq: u64, bytes_max: usize) -> Result<Vec<Commit>, Error> {
        let next_seq = self.next_seq();
        let mut commits = Vec::new();
        let mut bytes = 0;
        for seq in seq..next_seq {
            let batch = lookup::commit(&self.0, seq)?;
            bytes += batch.bytes;
            commits.push(batch.into_commit());
            if bytes >= bytes_max as u64 {
                break;
            }
        }
        Ok(commits)
    }

    /// One entry; `None` at or above the durable size.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it is not in the journal, [`Error::Io`].
    pub fn entry(&self, log: &LogId, index: u64) -> Result<Option<Entry>, Error> {
        match index < self.size(log, index) {
            true => lookup::entry(&self.0, log, index).map(Some),
            false => Ok(None),
        }
    }

    /// The bytes of a part; `None` when it is a body that was erased.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the bytes are missing or not those of the digest, [`Error::Io`].
    pub fn part(&self, part: &PartRef) -> Result<Option<Bytes>, Error> {
        match self.part_as_it_is(part)? {
            Some(bytes) if bytes.len() as u64 != part.size || merkle::digest(&bytes) != part.digest => {
                Err(Error::Corrupt(format!("part {} has other bytes; restore it from a copy", part.digest)))
            }
            bytes => Ok(bytes),
        }
    }

    /// The bytes that are in a part's place, not compared with its digest.
    pub(crate) fn part_as_it_is(&self, part: &PartRef) -> Result<Option<Bytes>, Error> {
        match (&part.bytes, part.at) {
            (Some(bytes), _) => Ok(Some(bytes.clone())),
            (None, Some(at)) => lookup::inline_part(&self.0, part, at),
            (None, None) => self.blob(part),
        }
    }

    /// Opens a part for streaming; `None` when it is a body that was erased. See [`Blobs::open`] for what reading
    /// tells.
    ///
    /// # Errors
    /// As [`Reader::part`].
    pub fn open_part(&self, part: &PartRef) -> Result<Option<Box<dyn Read + Send>>, Error> {
        match part.at {
            None => self.blobs(part.content).open(&part.digest),
            Some(_) => Ok(self.part(part)?.map(|bytes| Box::new(std::io::Cursor::new(bytes)) as Box<dyn Read + Send>)),
        }
    }

    fn blob(&self, part: &PartRef) -> Result<Option<Bytes>, Error> {
        let blobs = self.blobs(part.content);
        let Some(from) = blobs.open(&part.digest)? else { return Ok(None) };
        let mut bytes = Vec::new();
        // One byte more than there should be: enough to see that it is another blob, whatever was packed.
        match from.take(part.size.saturating_add(1)).read_to_end(&mut bytes) {
            Ok(_) => Ok(Some(bytes.into())),
            Err(_) if blobs.is_gone(&part.digest)? => Ok(None),
            Err(why) => Err(blobs::damaged(&part.digest, &why)),
        }
    }

    pub(crate) fn blobs(&self, content: Content) -> Blobs {
        Blobs::new(&self.0, content, Arc::new(LocalFiles))
    }

    /// The number of entries of a log that were recorded at or before a time (commit time).
    ///
    /// # Errors
    /// As [`Reader::commits`].
    pub fn size_at(&self, log: &LogId, time_ns: i64) -> Result<u64, Error> {
        let next_seq = self.next_seq();
        let Some(head) = self.log_head(log) else { return Ok(0) };
        let (mut low, mut high) = (0, next_seq);
        while low < high {
            let middle = low + (high - low) / 2;
            match lookup::commit_time(&self.0, middle)? <= time_ns {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        match low.checked_sub(1) {
            None => Ok(0),
            Some(last) if last + 1 == next_seq => Ok(head.size),
            Some(last) => self.entries_before(log, head.size, lookup::commit_span(&self.0, last)?),
        }
    }

    /// The number of entries up to and in a commit's batch: positions grow with the index.
    fn entries_before(&self, log: &LogId, size: u64, (at, bytes): (u64, u64)) -> Result<u64, Error> {
        let end = at + bytes;
        let (mut low, mut high) = (0, size);
        while low < high {
            let middle = low + (high - low) / 2;
            let place = match lookup::entry_place(&self.0, log, middle) {
                Some(place) => place,
                None => return self.entries_before_slowly(log, end),
            };
            match place < end {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        Ok(low)
    }

    /// The same from the journal's headers and one segment, while the index is missing.
    fn entries_before_slowly(&self, log: &LogId, end: u64) -> Result<u64, Error> {
        let segments = self.0.durable().segments.clone();
        let after = segments.partition_point(|segment| segment.base < end);
        let Some(segment) = segments.get(after.saturating_sub(1)) else { return Ok(0) };
        let (header, _) = segment::read_header(&self.0.dir, &self.0.meta, segment)?;
        let mut size = header.logs.iter().find(|(name, _)| name == log).map_or(0, |(_, vector)| vector.edge.size());
        lookup::scan(&self.0, *segment, |batch| {
            let before = batch.at < end;
            let head = batch.commit.heads.iter().find(|(name, ..)| before && name == log);
            size = head.map_or(size, |(_, size, _)| *size);
            before
        })?;
        Ok(size)
    }

    /// RFC 6962 inclusion proof, leaf sibling first; refused unless index < size <= head size.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::Corrupt`] when the derived tiles do not lead to the durable root.
    pub fn inclusion(&self, log: &LogId, index: u64, size: u64) -> Result<Vec<Hash>, Error> {
        let head = self.head_for(log, size)?;
        if index >= size {
            return Err(Error::Refused(format!("index {index} is not below size {size}")));
        }
        let mut nodes = TileNodes::new(&self.0, log, head.size);
        let proof = merkle::inclusion(&mut nodes, index, size)?;
        let leaf = merkle::Nodes::node(&mut nodes, 0, index)?;
        let root = self.checked_root(&mut nodes, log, size, &head)?;
        match inclusion_holds(&leaf, index, size, &proof, &root) {
            true => Ok(proof),
            false => Err(wrong_tiles(log)),
        }
    }

    /// RFC 6962 consistency proof; refused unless from <= to <= head size.
    ///
    /// # Errors
    /// As [`Reader::inclusion`].
    pub fn consistency(&self, log: &LogId, from: u64, to: u64) -> Result<Vec<Hash>, Error> {
        let head = self.head_for(log, to)?;
        if from > to {
            return Err(Error::Refused(format!("size {from} is above size {to}")));
        }
        let mut nodes = TileNodes::new(&self.0, log, head.size);
        let proof = merkle::consistency(&mut nodes, from, to)?;
        let old = self.checked_root(&mut nodes, log, from, &head)?;
        let new = self.checked_root(&mut nodes, log, to, &head)?;
        match consistency_holds((from, old), (to, new), &proof) {
            true => Ok(proof),
            false => Err(wrong_tiles(log)),
        }
    }

    /// Root at a size.
    ///
    /// # Errors
    /// As [`Reader::inclusion`].
    pub fn root_at(&self, log: &LogId, size: u64) -> Result<Hash, Error> {
        let head = self.head_for(log, size)?;
        self.checked_root(&mut TileNodes::new(&self.0, log, head.size), log, size, &head)
    }

    /// The root at a size, shown to be a prefix of the durable tree: tiles on disk are not believed.
    fn checked_root(
        &self,
        nodes: &mut TileNodes<'_>,
        log: &LogId,
        size: u64,
        head: &DurableLog,
    ) -> Result<Hash, Error> {
        if size == head.size {
            return Ok(head.root);
        }
        let root = merkle::root_of(nodes, 0, size)?;
        let proof = merkle::consistency(nodes, size, head.size)?;
        match consistency_holds((size, root), (head.size, head.root), &proof) {
            true => Ok(root),
            false => Err(wrong_tiles(log)),
        }
    }

    /// The newest published checkpoint (signed note); `None` for a log that does not exist.
    pub fn checkpoint(&self, log: &LogId) -> Option<Checkpoint> {
        if self.0.follows() {
            // The file is replaced in one step by the process that signs.
            return checkpoint::load(&self.0.dir, log).ok().flatten();
        }
        self.0.durable().logs.get(log)?.checkpoint.clone()
    }

    /// The log's newest verifier key, `name+keyid+base64`.
    pub fn vkey(&self, log: &LogId) -> String {
        note::vkey(&self.0.meta.origin(log), &self.keys().current())
    }

    /// The log's first verifier key: all others follow from it by [`Reader::key_chain`].
    pub fn first_vkey(&self, log: &LogId) -> String {
        note::vkey(&self.0.meta.origin(log), &self.0.meta.public_key)
    }

    /// The rotations as signed notes, the oldest first, parted by blank lines; empty while the first key is the newest.
    /// Follow them with [`follow_keys`](crate::follow_keys).
    pub fn key_chain(&self) -> String {
        self.keys().text
    }

    /// The size that a log had when one of its keys was replaced, which is the largest that this key may have signed;
    /// `None` for the newest key and for a stranger's.
    pub(crate) fn size_when_replaced(&self, log: &LogId, vkey: &str) -> Result<Option<u64>, Error> {
        let commits = note::public_key(vkey).and_then(|key| self.keys().signed_until(&key));
        let Some(commits) = commits.filter(|commits| *commits <= self.next_seq()) else { return Ok(None) };
        let Some(last) = commits.checked_sub(1) else { return Ok(Some(0)) };
        let size = self.head(log).size;
        self.entries_before(log, size, lookup::commit_span(&self.0, last)?).map(Some)
    }

    /// The rotations, the oldest first.
    pub fn rotations(&self) -> Vec<Rotation> {
        self.keys().rotations
    }

    /// Who signs in this ledger's name: who is named, or the key in its file.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when that is missing or not the newest key, [`Error::Io`].
    pub fn signer(&self, named: Option<&Arc<dyn Signer>>) -> Result<Arc<dyn Signer>, Error> {
        keys::signer(&self.0.dir, &self.keys().current(), named)
    }

    /// Another process may have rotated the key since this ledger was opened here.
    fn keys(&self) -> Keys {
        let known = &self.0.meta.keys;
        if !self.0.follows() {
            return known.clone();
        }
        self.0.meta.read_keys(&self.0.dir).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the chain of keys");
            known.clone()
        })
    }

    /// The log's origin: first line of its checkpoints, and its key's name.
    pub fn origin(&self, log: &LogId) -> String {
        self.0.meta.origin(log)
    }

    /// The C2SP tlog-proof of an entry under the newest checkpoint that covers it; `None` if none does yet.
    ///
    /// # Errors
    /// As [`Reader::inclusion`].
    pub fn tlog_proof(&self, log: &LogId, index: u64) -> Result<Option<String>, Error> {
        let Some(checkpoint) = self.checkpoint(log).filter(|checkpoint| index < checkpoint.size) else {
            return Ok(None);
        };
        self.tlog_proof_under(log, index, &checkpoint).map(Some)
    }

    /// The C2SP tlog-proof of an entry under one checkpoint of its log, which covers it: for several proofs that must
    /// agree.
    ///
    /// # Errors
    /// As [`Reader::inclusion`].
    pub fn tlog_proof_under(&self, log: &LogId, index: u64, checkpoint: &Checkpoint) -> Result<String, Error> {
        let proof = self.inclusion(log, index, checkpoint.size)?;
        let mut text = format!("c2sp.org/tlog-proof@v1\nindex {index}\n");
        for hash in proof {
            text.push_str(&BASE64_STANDARD.encode(hash.0));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&String::from_utf8_lossy(&checkpoint.note));
        Ok(text)
    }

    /// Any tlog-tiles resource below a log (`tile/0/x001/234.p/5`, `tile/entries/000`) exactly as the specification's
    /// paths; `None` where the path must not exist or is beyond the published checkpoint.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when an entry is not in the journal, [`Error::Io`].
    pub fn resource(&self, log: &LogId, path: &str) -> Result<Option<Bytes>, Error> {
        let Some(tile) = Tile::parse(path) else { return Ok(None) };
        let published = self.checkpoint(log).map_or(0, |checkpoint| checkpoint.size);
        let size = published.min(self.size(log, published.saturating_sub(1)));
        if !tile.exists_at(size) {
            return Ok(None);
        }
        match tile.of {
            Of::Entries => hashes::bundle(&self.0, log, tile.number, tile.width).map(Some),
            Of::Level(level) => {
                let hashes = hashes::hashes(&self.0, log, level, tile.number, tile.width)?;
                Ok(Some(tile::encode_hashes(&hashes).into()))
            }
        }
    }

    /// The durable size, looked up again when it does not cover an index.
    fn size(&self, log: &LogId, index: u64) -> u64 {
        let size = self.log_head(log).map_or(0, |head| head.size);
        if index < size {
            return size;
        }
        self.0.follow();
        self.log_head(log).map_or(0, |head| head.size)
    }

    fn head_for(&self, log: &LogId, size: u64) -> Result<DurableLog, Error> {
        let durable = self.size(log, size.saturating_sub(1));
        match self.log_head(log).filter(|head| size <= head.size) {
            Some(head) => Ok(head),
            None if size == 0 => Ok(DurableLog::empty()),
            None => Err(Error::Refused(format!("size {size} is above {durable}, the size of log {log}"))),
        }
    }

    /// The head without the entries that memory remembers.
    fn log_head(&self, log: &LogId) -> Option<DurableLog> {
        let state = self.0.durable();
        let head = state.logs.get(log)?;
        Some(DurableLog { size: head.size, root: head.root, time_ns: head.time_ns, ..DurableLog::empty() })
    }
}

fn wrong_tiles(log: &LogId) -> Error {
    Error::Corrupt(format!(
        "the tiles of log {log} do not lead to its durable root: derived files were changed; run `verify`, then delete logs/{log}/hashes-* while no writer runs, they are made again"
    ))
}
