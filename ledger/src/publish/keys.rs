//! The ledger's keys: the one it was created with and those that followed, each introduced by the one before.
//!
//! A rotation is a signed note by the old and the new key. Replacing the file `keys`, which holds all of them, is its commit
//! point: before that the new key is nobody's, after that the old one signs nothing any more and its secret is removed. A crash in
//! between is mended when the ledger is opened. Who trusts any key of the chain can follow it to the newest.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::files::storage::{self, Access, Storage};
use crate::journal::meta::Meta;
use crate::notes::note;
use crate::notes::signer::{SecretKey, Signer};
use crate::{Error, Hash, Options, Trust, Work, open_with};

const KEY_LINE: &str = "pedigraph ledger key 1 ed25519 ";
const ROTATION_LINE: &str = "pedigraph key rotation 1";

/// One key introduced by the key before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rotation {
    /// 1, 2, 3 … within the ledger.
    pub sequence: u64,
    /// Commits that the journal had: the old key has signed nothing that is newer.
    pub commits: u64,
    /// The key that signed until then, Ed25519.
    pub old: [u8; 32],
    /// The key that signs since.
    pub new: [u8; 32],
    /// The signed note that says so.
    pub note: String,
}

/// The public keys of a ledger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Keys {
    genesis: [u8; 32],
    pub(crate) rotations: Vec<Rotation>,
    /// The file `keys`.
    pub(crate) text: String,
}

impl Keys {
    /// Those of a new ledger.
    pub(crate) fn new(genesis: [u8; 32]) -> Keys {
        Keys { genesis, rotations: Vec::new(), text: String::new() }
    }

    /// Reads and checks the chain of a ledger.
    pub(crate) fn load(dir: &Path, meta: &Meta) -> Result<Keys, Error> {
        let genesis = meta.public_key;
        let Some(bytes) = storage::read_if_there(&chain_path(dir))? else { return Ok(Keys::new(genesis)) };
        let wrong = |why: &str| Error::Corrupt(format!("{}: {why}; restore it from a copy", chain_path(dir).display()));
        let text = String::from_utf8(bytes).map_err(|_| wrong("not a chain of keys"))?;
        let chain = parse_chain(&text, &meta.name).map_err(|why| wrong(&why))?;
        let foreign = chain.iter().any(|(uuid, _)| *uuid != meta.uuid.to_string());
        let rotations: Vec<_> = chain.into_iter().map(|(_, rotation)| rotation).collect();
        match rotations.first() {
            Some(first) if !foreign && first.old == genesis && first.sequence == 1 => {
                Ok(Keys { genesis, rotations, text })
            }
            Some(_) | None => Err(wrong("the chain does not begin with this ledger's first key")),
        }
    }

    /// The key that signs now.
    pub(crate) fn current(&self) -> [u8; 32] {
        self.rotations.last().map_or(self.genesis, |rotation| rotation.new)
    }

    /// All, the oldest first.
    pub(crate) fn all(&self) -> impl DoubleEndedIterator<Item = [u8; 32]> {
        std::iter::once(self.genesis).chain(self.rotations.iter().map(|rotation| rotation.new))
    }

    /// Checks a stored checkpoint, which may be by an older key: size, root, and the key.
    pub(crate) fn verify_checkpoint(&self, text: &str, origin: &str) -> Result<(u64, Hash, [u8; 32]), Error> {
        let mut outcome = Err(Error::Refused("the ledger has no key".into()));
        for key in self.all().rev() {
            match note::verify_checkpoint(text, &note::vkey(origin, &key)) {
                Ok((size, root)) => return Ok((size, root, key)),
                // The newest key's answer is the one to give.
                Err(why) => outcome = outcome.or(Err(why)),
            }
        }
        outcome
    }

    /// The number of commits that a key may have signed heads of; `None`: it is the newest.
    pub(crate) fn signed_until(&self, key: &[u8; 32]) -> Option<u64> {
        self.rotations.iter().find(|rotation| rotation.old == *key).map(|rotation| rotation.commits)
    }
}

/// The key that a log's verifier key leads to by a chain of rotations (the file `keys`), as a verifier key of the same log.
///
/// # Errors
/// [`Error::Refused`] when the key is malformed, a rotation is not signed by its old and its new key, or the chain does not
/// contain the key.
pub fn follow_keys(chain: &str, vkey: &str) -> Result<String, Error> {
    key_successors(chain, vkey).map(|mut keys| keys.pop().unwrap_or_default())
}

/// Checks something by the trusted keys, or else by those that they lead to: `chain` gets the rotations where there are any. A chain
/// that is given is followed further, but not left for another: then an old key has introduced two.
///
/// # Errors
/// Those of `check` for the trusted keys, and of `chain`; [`Error::Refused`] for another chain than the one that is given.
pub fn following<T>(
    trust: &Trust,
    chain: impl FnOnce() -> Result<Option<Vec<u8>>, Error>,
    check: impl Fn(&Trust) -> Result<T, Error>,
) -> Result<T, Error> {
    let why = match check(trust) {
        Err(why) => why,
        checked => return checked,
    };
    // Another server may answer anything here: what is no chain from these keys is as good as none.
    let found = String::from_utf8(chain()?.unwrap_or_default()).unwrap_or_default();
    if found.is_empty() {
        return Err(why);
    }
    if !found.starts_with(trust.chain.as_deref().unwrap_or_default()) {
        return Err(Error::Refused("the log's chain of keys is not a continuation of the one that is given".into()));
    }
    check(&Trust { chain: Some(found), ..trust.clone() }).map_err(|_| why)
}

/// Refuses a newest checkpoint by a key that had been replaced when an older checkpoint was signed: a replaced key signs nothing newer.
pub(crate) fn in_order(chain: &str, older: &str, newest: &str) -> Result<(), Error> {
    let later = key_successors(chain, newest).unwrap_or_default();
    match older != newest && later.iter().any(|key| key == older) {
        true => Err(Error::Refused(
            "the checkpoint is by a key that had been replaced when the older checkpoint was signed".into(),
        )),
        false => Ok(()),
    }
}

/// The given key and those that followed it, as verifier keys of the same log, the oldest first.
///
/// # Errors
/// As [`follow_keys`].
pub fn key_successors(chain: &str, vkey: &str) -> Result<Vec<String>, Error> {
    let refused = |why: &str| Error::Refused(format!("chain of keys: {why}"));
    let (name, trusted) = note::parse_vkey(vkey).ok_or_else(|| refused("the verifier key is malformed"))?;
    let (prefix, _) = name.rsplit_once('/').ok_or_else(|| refused("the verifier key is of no log"))?;
    let rotations = parse_chain(chain, prefix).map_err(|why| refused(&why))?;
    let newer: Vec<_> =
        rotations.iter().map(|(_, rotation)| rotation).skip_while(|rotation| rotation.old != trusted).collect();
    let is_last = rotations.last().is_none_or(|(_, rotation)| rotation.new == trusted);
    if newer.is_empty() && !is_last {
        return Err(refused("it does not contain the given key"));
    }
    let keys = newer.iter().map(|rotation| note::vkey(name, &rotation.new));
    Ok(std::iter::once(vkey.to_owned()).chain(keys).collect())
}

/// Replaces the ledger's key by a new one, which is the given signer's, or one in the file `key`. No other process may have the ledger
/// open for writing. `options` name the signer of the old key, unless that is in the file. The entry that says so is the caller's.
///
/// # Errors
/// As [`open`](fn@crate::open); [`Error::Signer`] when one of them does not sign: nothing has changed then.
pub fn rotate_key(
    dir: &Path,
    options: &Options,
    new: Option<Arc<dyn Signer>>,
    storage: Arc<dyn Storage>,
) -> Result<Rotation, Error> {
    let writer = open_with(dir, options, Arc::clone(&storage), Work::Inline)?;
    let meta = &writer.shared.meta;
    let old = signer(dir, &meta.keys.current(), options.signer.as_ref())?;
    let mut made = None;
    let new = match new {
        Some(new) => new,
        None => {
            let key = SecretKey::generate()?;
            made = Some(key.clone());
            Arc::new(key)
        }
    };
    let rotation = Rotation {
        sequence: meta.keys.rotations.len() as u64 + 1,
        commits: writer.shared.state().next_seq,
        old: old.public_key(),
        new: new.public_key(),
        note: String::new(),
    };
    if meta.keys.all().any(|key| key == rotation.new) {
        return Err(Error::Refused("the new key is or was a key of this ledger; make another".into()));
    }
    let note = encode(meta, &rotation, &*old, &*new)?;
    if let Some(key) = made {
        write_key(&dir.join("key.next"), &key, &*storage)?;
    }
    let blank = if meta.keys.text.is_empty() { "" } else { "\n" };
    let text = format!("{}{blank}{note}", meta.keys.text);
    // The commit point.
    storage::replace(&*storage, &chain_path(dir), text.as_bytes(), Access::Shared)?;
    let keys = Keys::load(dir, meta)?;
    finish_rotation(dir, &keys, &*storage)?;
    Ok(Rotation { note, ..rotation })
}

/// Puts a new secret key in the place of the old one, or removes the one of a rotation that did not happen.
pub(crate) fn finish_rotation(dir: &Path, keys: &Keys, storage: &dyn Storage) -> Result<(), Error> {
    let [path, next_path, old_path, half_made] = ["key", "key.next", "key.old", "key.tmp"].map(|name| dir.join(name));
    let retired = read_key(&path)?.is_some_and(|key| keys.signed_until(&key.public_key()).is_some());
    if !retired && ![&next_path, &old_path, &half_made].iter().any(|path| path.exists()) {
        return Ok(());
    }
    // The chain may have been read from memory only: no secret goes before it is on the disk.
    storage.sync_dir(dir)?;
    if retired {
        storage.rename(&path, &old_path)?;
    }
    match read_key(&next_path)? {
        Some(next) if next.public_key() == keys.current() => storage.rename(&next_path, &path)?,
        Some(_) | None => remove(&next_path, storage)?,
    }
    storage.sync_dir(dir)?;
    remove(&old_path, storage)?;
    remove(&half_made, storage)?;
    Ok(storage.sync_dir(dir)?)
}

/// Who signs for a ledger: who was named, or the key in its file.
pub(crate) fn signer(
    dir: &Path,
    current: &[u8; 32],
    named: Option<&Arc<dyn Signer>>,
) -> Result<Arc<dyn Signer>, Error> {
    let found = match named {
        Some(named) => Some(Arc::clone(named)),
        None => read_key(&key_path(dir))?.map(|key| Arc::new(key) as Arc<dyn Signer>),
    };
    let ours = found.filter(|signer| signer.public_key() == *current);
    let what = || {
        match named {
        Some(_) => "the configured signer has another key than this ledger; name the one of its newest key, or rotate to it first (`pedigraph key rotate`)".into(),
        None => format!("{} is missing or not this ledger's key; restore it from a copy, or name the signer that has it", key_path(dir).display()),
    }
    };
    ours.ok_or_else(|| Error::Corrupt(what()))
}

/// Makes the ledger's key, or takes the one that a crash left before the ledger's description was written.
pub(crate) fn create_key(dir: &Path, storage: &dyn Storage) -> Result<SecretKey, Error> {
    if let Some(key) = read_key(&key_path(dir))? {
        return Ok(key);
    }
    let key = SecretKey::generate()?;
    write_key(&key_path(dir), &key, storage)?;
    Ok(key)
}

pub(crate) fn encode(meta: &Meta, rotation: &Rotation, old: &dyn Signer, new: &dyn Signer) -> Result<String, Error> {
    let text = rotation_text(&meta.uuid.to_string(), rotation);
    let lines = note::line(&text, &meta.name, old)? + &note::line(&text, &meta.name, new)?;
    Ok(format!("{text}\n{lines}"))
}

fn rotation_text(uuid: &str, rotation: &Rotation) -> String {
    let Rotation { sequence, commits, old, new, note: _ } = rotation;
    let (old, new) = (BASE64_STANDARD.encode(old), BASE64_STANDARD.encode(new));
    format!("{ROTATION_LINE}\nledger {uuid}\nsequence {sequence}\ncommits {commits}\nold {old}\nnew {new}\n")
}

/// The rotations of a chain with the ledger that each names: every note signed by both of its keys under the ledger's name, each
/// beginning where the one before ends.
pub(crate) fn parse_chain(text: &str, name: &str) -> Result<Vec<(String, Rotation)>, String> {
    let mut chain: Vec<(String, Rotation)> = Vec::new();
    let starts: Vec<_> = text.match_indices(ROTATION_LINE).map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).map(|start| start - 1).chain([text.len()]);
    let notes: Vec<_> = starts.iter().zip(ends).map(|(start, end)| text.get(*start..end).unwrap_or_default()).collect();
    if notes.join("\n") != text {
        return Err("it has other text".into());
    }
    for note in notes {
        let (uuid, rotation) = parse_rotation(note).ok_or("a rotation is malformed")?;
        for key in [&rotation.old, &rotation.new] {
            note::verify_note(note, &note::vkey(name, key))
                .map_err(|why| format!("rotation {}: {why}", rotation.sequence))?;
        }
        if let Some((ledger, before)) = chain.last() {
            let follows = before.sequence.checked_add(1) == Some(rotation.sequence) && before.new == rotation.old;
            if !follows || *ledger != uuid || rotation.commits < before.commits {
                return Err(format!("rotation {} does not follow the one before", rotation.sequence));
            }
        }
        chain.push((uuid, rotation));
    }
    Ok(chain)
}

fn parse_rotation(note: &str) -> Option<(String, Rotation)> {
    let (text, _) = note.split_once("\n\n")?;
    let mut lines = text.split('\n').skip(1);
    let mut value = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
    let uuid = value("ledger")?.to_owned();
    let (sequence, commits) = (value("sequence")?.parse().ok()?, value("commits")?.parse().ok()?);
    let mut key = |name: &str| -> Option<[u8; 32]> { BASE64_STANDARD.decode(value(name)?).ok()?.try_into().ok() };
    let rotation = Rotation { sequence, commits, old: key("old")?, new: key("new")?, note: note.to_owned() };
    // Exactly what is written.
    (rotation_text(&uuid, &rotation) == format!("{text}\n")).then_some((uuid, rotation))
}

fn read_key(path: &Path) -> Result<Option<SecretKey>, Error> {
    Ok(storage::read_if_there(path)?.and_then(|bytes| parse_key(&bytes)))
}

pub(crate) fn parse_key(bytes: &[u8]) -> Option<SecretKey> {
    SecretKey::parse(std::str::from_utf8(bytes).ok()?.strip_prefix(KEY_LINE)?.strip_suffix('\n')?)
}

fn write_key(path: &Path, key: &SecretKey, storage: &dyn Storage) -> Result<(), Error> {
    let text = format!("{KEY_LINE}{}\n", hex::encode(key.seed()));
    Ok(storage::replace(storage, path, text.as_bytes(), Access::Private)?)
}

/// Removes a secret, if it is there, overwriting it first.
fn remove(path: &Path, storage: &dyn Storage) -> Result<(), Error> {
    let Ok(there) = std::fs::metadata(path) else { return Ok(()) };
    let file = storage.open(path)?;
    file.write_zeros(0, there.len())?;
    file.sync()?;
    Ok(storage.remove(path)?)
}

/// The file of the chain.
pub(crate) fn chain_path(dir: &Path) -> PathBuf {
    dir.join("keys")
}

/// Whether a file's bytes are the newest key of a ledger.
pub(crate) fn is_key_of(bytes: &[u8], meta: &Meta) -> bool {
    parse_key(bytes).is_some_and(|key| key.public_key() == meta.keys.current())
}

/// The file of the ledger's key.
pub(crate) fn key_path(dir: &Path) -> PathBuf {
    dir.join("key")
}
