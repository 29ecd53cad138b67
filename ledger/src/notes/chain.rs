//! Chains of keys: each key but the first is introduced by a note that the one before and itself have signed.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::notes::{note, signer};
use crate::{Error, Signer};

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

/// The key that a log's verifier key leads to by a chain of rotations (the file `keys`), as a verifier key of the same
/// log.
///
/// # Errors
/// [`Error::Refused`] when the key is malformed, a rotation is not signed by its old and its new key, or the chain does
/// not contain the key.
pub fn follow_keys(chain: &str, vkey: &str) -> Result<String, Error> {
    key_successors(chain, vkey).map(|mut keys| keys.pop().unwrap_or_default())
}

/// Refuses a newest checkpoint by a key that had been replaced when an older checkpoint was signed: a replaced key
/// signs nothing newer.
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

/// The note of a rotation, signed by both keys under the name of the ledger with that uuid.
pub(crate) fn encode(
    (uuid, name): (&str, &str),
    rotation: &Rotation,
    old: &dyn Signer,
    new: &dyn Signer,
) -> Result<String, Error> {
    let text = rotation_text(uuid, rotation);
    let lines = signer::line(&text, name, old)? + &signer::line(&text, name, new)?;
    Ok(format!("{text}\n{lines}"))
}

fn rotation_text(uuid: &str, rotation: &Rotation) -> String {
    let Rotation { sequence, commits, old, new, note: _ } = rotation;
    let (old, new) = (BASE64_STANDARD.encode(old), BASE64_STANDARD.encode(new));
    format!("{ROTATION_LINE}\nledger {uuid}\nsequence {sequence}\ncommits {commits}\nold {old}\nnew {new}\n")
}

/// The rotations of a chain with the ledger that each names: every note signed by both of its keys under the ledger's
/// name, each beginning where the one before ends.
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
