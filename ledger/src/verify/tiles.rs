//! The full check of a log's tiles and entry bundles, from wherever they are fetched: a directory, a web server.
//!
//! Memory does not grow with the log: what is kept are the newest hashes of each level and a few bundles that are read
//! ahead.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender};

use crate::fault::Stop;
use crate::files::storage::to_usize;
use crate::notes::chain;
use crate::notes::policy::{self, Trust, Trusted};
use crate::tree::merkle::{WIDTH, leaf_hash};
use crate::tree::tile::{self, Of, Tile, tiles_of};
use crate::verify::state::{self, Checked, OldHead, Rows};
use crate::{Error, Fault, Hash, Verified};

/// Bundles that are fetched at the same time: a server that is far away is waited for once for all of them.
const FETCHES: u64 = 8;
/// Bundles that each of them may be ahead of the check.
const AHEAD: usize = 1;
/// Bundles from one saved state to the next.
const SAVE_EVERY: u64 = 256;
/// Largest checkpoint, bytes.
const CHECKPOINT_BYTES_MAX: usize = 1 << 20;

/// Gives the bytes of a resource below a log's prefix, such as `checkpoint` or `tile/0/000`; `None` where there is none
/// (404).
///
/// [`Error::Io`] when that cannot be found out. It is asked from several threads.
pub type Fetch<'a> = &'a (dyn Fn(&str) -> Result<Option<Vec<u8>>, Error> + Sync);

/// What a copy of a log is checked against.
#[derive(Clone, Copy, Debug)]
pub struct TilesCheck<'a> {
    /// Who must have signed the checkpoint.
    pub trust: &'a Trust,
    /// An older checkpoint, of which the log must be a continuation.
    pub older: Option<&'a str>,
    /// A file in which the check notes how far it came, and from which it goes on. Whoever can write it can make a
    /// check skip entries: it is to be trusted like this program.
    pub resume: Option<&'a Path>,
}

/// Checks a copy of a log completely: signature and policy, every entry bundle, every tile, the root, the older
/// checkpoint. `progress(entries done, entries in all)`.
///
/// # Errors
/// [`Error::Refused`] when a checkpoint is not what the trust demands, [`Error::Io`]; faults are in the result.
pub fn verify_tiles(
    fetch: Fetch<'_>,
    check: &TilesCheck<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Verified, Error> {
    let head = newest(fetch, check.trust)?;
    let old = check.older.map(|older| older_head(fetch, older, check.trust, &head)).transpose()?;
    let start = check.resume.map(|file| state::load(file, &head.vkey, old, head.size)).transpose()?.flatten();
    let resumed = start.as_ref().map_or(0, |start| start.rows.size());
    let mut walk = Walk { fetch, head: &head, old, tiles: 0, state: start.unwrap_or_default() };
    let fault = match walk.all(check.resume, progress) {
        Ok(()) => None,
        Err(Stop::Fault(fault)) => Some(*fault),
        Err(Stop::Error(error)) => return Err(error),
    };
    if let (None, Some(file)) = (&fault, check.resume) {
        state::remove(file)?;
    }
    let mut verified = Verified {
        entries: walk.state.rows.size(),
        believed: resumed,
        bytes: walk.state.bytes,
        fault: fault.as_ref().map(ToString::to_string),
        first_fault: fault,
        ..Verified::default()
    };
    if verified.fault.is_none() {
        verified.checks = checks(&walk, check, resumed);
    }
    Ok(verified)
}

fn checks(walk: &Walk<'_>, check: &TilesCheck<'_>, resumed: u64) -> Vec<String> {
    let Trusted { origin, size, root, .. } = walk.head;
    let mut checks = vec![format!("the checkpoint of {origin} for {size} entries is signed by the log's key")];
    checks.extend(walk.head.cosigned_by(check.trust));
    checks.push(format!("{} entries hash to the root {root} that it signs", walk.state.rows.size()));
    checks.push(format!("{} tiles have the hashes that the entries lead to", walk.tiles));
    if let (Some(old), Some(file)) = (walk.old, check.resume)
        && old.size <= resumed
    {
        checks.push(format!("the older checkpoint was compared in an earlier run, says {}", file.display()));
    } else if let Some(old) = walk.old {
        checks.push(format!("the first {} entries have the root that the older checkpoint signs", old.size));
    }
    if let (1.., Some(file)) = (resumed, check.resume) {
        checks.push(format!(
            "entries below {resumed} and their tiles were read in an earlier run, says {}, which is believed",
            file.display()
        ));
    }
    checks
}

fn newest(fetch: Fetch<'_>, trust: &Trust) -> Result<Trusted, Error> {
    let bytes = fetch("checkpoint")?.ok_or_else(|| Error::Refused("there is no checkpoint".into()))?;
    if bytes.len() > CHECKPOINT_BYTES_MAX {
        return Err(Error::Refused(format!("the checkpoint has more than {CHECKPOINT_BYTES_MAX} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| Error::Refused("the checkpoint is not UTF-8".into()))?;
    policy::following(trust, || fetch("keys"), |trust| trust.checkpoint(&text))
}

fn older_head(fetch: Fetch<'_>, older: &str, trust: &Trust, head: &Trusted) -> Result<OldHead, Error> {
    let signed = policy::following(trust, || fetch("keys"), |trust| trust.signed(older));
    let old = signed.map_err(|error| Error::Refused(format!("the older checkpoint: {error}")))?;
    if old.origin != head.origin {
        return Err(Error::Refused(format!("the older checkpoint is of {}, the log is {}", old.origin, head.origin)));
    }
    if old.vkey != head.vkey {
        let found = fetch("keys")?.and_then(|chain| String::from_utf8(chain).ok());
        let chain = trust.chain.clone().or(found).unwrap_or_default();
        chain::in_order(&chain, &old.vkey, &head.vkey)?;
    }
    Ok(OldHead { size: old.size, root: old.root })
}

/// A check under way.
struct Walk<'a> {
    fetch: Fetch<'a>,
    head: &'a Trusted,
    old: Option<OldHead>,
    tiles: u64,
    state: Checked,
}

impl Walk<'_> {
    fn all(&mut self, resume: Option<&Path>, progress: &mut dyn FnMut(u64, u64)) -> Result<(), Stop> {
        self.old_size_fits()?;
        let (fetch, size) = (self.fetch, self.head.size);
        let (first, end) = (self.state.rows.size() / WIDTH, size.div_ceil(WIDTH));
        progress(self.state.rows.size(), size);
        std::thread::scope(|scope| {
            let lanes: Vec<_> = (0..FETCHES)
                .map(|lane| {
                    let (send, bundles) = mpsc::sync_channel(AHEAD);
                    scope.spawn(move || read_bundles(fetch, size, first + lane..end, &send));
                    bundles
                })
                .collect();
            // Dropping the lanes at the first fault ends the threads that read.
            self.bundles(first..end, lanes, resume, progress)
        })?;
        self.partial_tiles()?;
        let root = self.state.rows.root();
        if root != self.head.root {
            return Err(Stop::from(Fault {
                what: "entries and tiles agree with each other, but not with the signed root".into(),
                expected: Some(self.head.root),
                found: Some(root),
                affected: format!("which of the {size} entries was changed cannot be said; compare with another copy"),
                ..Fault::default()
            }));
        }
        Ok(())
    }

    fn bundles(
        &mut self,
        numbers: std::ops::Range<u64>,
        lanes: Vec<Receiver<Result<Bundle, Stop>>>,
        resume: Option<&Path>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Stop> {
        for (number, lane) in numbers.zip(lanes.iter().cycle()) {
            let bundle = lane.recv().map_err(|_| std::io::Error::other("a reading thread panicked"))?;
            self.bundle(&bundle?)?;
            progress(self.state.rows.size(), self.head.size);
            if let Some(file) = resume
                && (number + 1).is_multiple_of(SAVE_EVERY)
                && self.state.rows.size().is_multiple_of(WIDTH)
            {
                state::save(file, &self.head.vkey, self.old, &self.state)?;
            }
        }
        Ok(())
    }

    fn bundle(&mut self, bundle: &Bundle) -> Result<(), Stop> {
        let from = bundle.number * WIDTH;
        if let Some(tile) = bundle.other_tile.as_deref() {
            return Err(self.blame(bundle, tile));
        }
        let end = from + bundle.hashes.len() as u64;
        if let Some(old) = self.old.filter(|old| (from + 1..=end).contains(&old.size)) {
            let root = self.state.rows.root_with(&bundle.hashes[..to_usize(old.size - from)]);
            same_history(old, root)?;
        }
        (self.tiles, self.state.bytes) = (self.tiles + 1, self.state.bytes + bundle.bytes);
        for hash in &bundle.hashes {
            // Rows are complete only after a whole bundle; each tile that becomes full is compared on the way.
            for (level, number, hashes) in self.state.rows.push(*hash) {
                let tile = Tile { of: Of::Level(level), number, width: WIDTH };
                self.compare(&tile, &hashes)?;
            }
        }
        Ok(())
    }

    fn partial_tiles(&mut self) -> Result<(), Stop> {
        for tile in tiles_of(self.head.size).filter(|tile| tile.width < WIDTH) {
            match tile.of {
                // Compared with its bundle.
                Of::Level(0) | Of::Entries => {}
                Of::Level(level) => {
                    let row = self.state.rows.level(level).to_vec();
                    self.compare(&tile, &row)?;
                }
            }
        }
        Ok(())
    }

    /// Compares a tile above the lowest with what the entries lead to.
    fn compare(&mut self, tile: &Tile, expected: &[Hash]) -> Result<(), Stop> {
        let Of::Level(level @ 1..) = tile.of else { return Ok(()) };
        let found = tile_hashes(self.fetch, tile)?;
        self.tiles += 1;
        let Some(at) = expected.iter().zip(&found).position(|(expected, found)| expected != found) else {
            return Ok(());
        };
        let span = WIDTH.pow(u32::from(level));
        let first = (tile.number * WIDTH + at as u64) * span;
        Err(Stop::from(Fault {
            what: format!("{} has another hash at {at} than the entries lead to", tile.path()),
            index: Some(first),
            expected: Some(expected[at]),
            found: Some(found[at]),
            affected: format!("entries {first} to {}, or this tile alone", first + span - 1),
            ..Fault::default()
        }))
    }

    /// A bundle and its tile disagree: the level above, or the signed root, says which of them is as it was.
    fn blame(&self, bundle: &Bundle, tile: &[Hash]) -> Stop {
        let at = bundle.hashes.iter().zip(tile).position(|(entry, tile)| entry != tile).unwrap_or_default();
        let index = bundle.number * WIDTH + at as u64;
        let stated = |hashes: &[Hash]| match hashes.len() as u64 {
            WIDTH => self.above(bundle.number) == Some(tile::tile_root(hashes)),
            _ => self.state.rows.root_with(hashes) == self.head.root,
        };
        let of = |of| Tile { of, number: bundle.number, width: bundle.hashes.len() as u64 }.path();
        let (bundle_path, tile_path) = (of(Of::Entries), of(Of::Level(0)));
        let affected = match (stated(tile), stated(&bundle.hashes)) {
            (true, _) => format!("entry {index} in {bundle_path}: its bytes were changed"),
            (false, true) => format!("{tile_path} alone; the entries are those that the tile above it states"),
            (false, false) => format!("entry {index} in {bundle_path}, or {tile_path}"),
        };
        Stop::from(Fault {
            what: format!("entry {index} of {bundle_path} does not have the hash that {tile_path} states"),
            index: Some(index),
            expected: tile.get(at).copied(),
            found: bundle.hashes.get(at).copied(),
            affected,
            ..Fault::default()
        })
    }

    /// The hash that stands for a full lowest tile in the level above.
    fn above(&self, number: u64) -> Option<Hash> {
        let hashes = self.head.size / WIDTH;
        let first = number - number % WIDTH;
        let tile = Tile { of: Of::Level(1), number: number / WIDTH, width: (hashes - first).min(WIDTH) };
        tile_hashes(self.fetch, &tile).ok()?.get(to_usize(number - first)).copied()
    }

    fn old_size_fits(&self) -> Result<(), Stop> {
        match self.old {
            Some(old) if old.size > self.head.size => Err(Stop::from(Fault {
                what: format!(
                    "the log has shrunk: the older checkpoint signs {} entries, the present one {}",
                    old.size, self.head.size
                ),
                index: Some(self.head.size),
                affected: format!("entries {} to {} are gone", self.head.size, old.size - 1),
                ..Fault::default()
            })),
            Some(old) if old.size == 0 => same_history(old, Rows::default().root()),
            Some(_) | None => Ok(()),
        }
    }
}

fn same_history(old: OldHead, found: Hash) -> Result<(), Stop> {
    if old.root == found {
        return Ok(());
    }
    Err(Stop::from(Fault {
        what: format!(
            "the log is not a continuation of the older checkpoint: its first {} entries have another root",
            old.size
        ),
        expected: Some(old.root),
        found: Some(found),
        affected: format!(
            "one of the entries below {}: history was rewritten, or the log's key signed two histories; keep both checkpoints, they prove it",
            old.size
        ),
        ..Fault::default()
    }))
}

/// A bundle that was read.
struct Bundle {
    number: u64,
    hashes: Vec<Hash>,
    bytes: u64,
    /// The hashes of its tile, when they are others.
    other_tile: Option<Vec<Hash>>,
}

/// Reads every [`FETCHES`]th bundle of a range, in order.
fn read_bundles(fetch: Fetch<'_>, size: u64, numbers: std::ops::Range<u64>, send: &SyncSender<Result<Bundle, Stop>>) {
    for number in numbers.step_by(to_usize(FETCHES)) {
        // The checking side stops listening at the first fault.
        if send.send(read_bundle(fetch, number, (size - number * WIDTH).min(WIDTH))).is_err() {
            return;
        }
    }
}

fn read_bundle(fetch: Fetch<'_>, number: u64, width: u64) -> Result<Bundle, Stop> {
    let tile = Tile { of: Of::Entries, number, width };
    let (bytes, stored) = resource(fetch, &tile)?;
    let leaves = tile::split_bundle(&bytes, stored)
        .ok_or_else(|| damaged(&tile, &format!("does not hold exactly {stored} entries")))?;
    let leaves = &leaves[..to_usize(width)];
    let hashes: Vec<_> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
    let bytes = leaves.iter().map(|leaf| leaf.len() as u64).sum();
    let stated = tile_hashes(fetch, &Tile { of: Of::Level(0), ..tile })?;
    let other_tile = (stated != hashes).then_some(stated);
    Ok(Bundle { number, hashes, bytes, other_tile })
}

fn tile_hashes(fetch: Fetch<'_>, tile: &Tile) -> Result<Vec<Hash>, Stop> {
    let (bytes, stored) = resource(fetch, tile)?;
    let (hashes, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() || hashes.len() as u64 != stored {
        return Err(damaged(tile, &format!("has {} bytes, not those of {stored} hashes", bytes.len())));
    }
    Ok(hashes.iter().take(to_usize(tile.width)).map(|hash| Hash(*hash)).collect())
}

/// A resource and its width: a partial one may have been dropped once the full one is there (tlog-tiles).
fn resource(fetch: Fetch<'_>, tile: &Tile) -> Result<(Vec<u8>, u64), Stop> {
    if let Some(bytes) = fetch(&tile.path())? {
        return Ok((bytes, tile.width));
    }
    let full = Tile { width: WIDTH, ..*tile };
    let bytes = if tile.width < WIDTH { fetch(&full.path())? } else { None };
    bytes.map(|bytes| (bytes, WIDTH)).ok_or_else(|| damaged(tile, "is missing"))
}

fn damaged(tile: &Tile, why: &str) -> Stop {
    let span = match tile.of {
        Of::Level(level) => WIDTH.pow(u32::from(level.min(7))),
        Of::Entries => 1,
    };
    let first = tile.number.saturating_mul(WIDTH).saturating_mul(span);
    let last = first.saturating_add(tile.width.saturating_mul(span)).saturating_sub(1);
    let affected = match tile.of {
        Of::Entries => format!("entries {first} to {last}"),
        Of::Level(_) => format!("the proofs of entries {first} to {last}"),
    };
    let what = format!("{} {why}", tile.path());
    Stop::from(Fault { what, index: Some(first), affected, ..Fault::default() })
}
