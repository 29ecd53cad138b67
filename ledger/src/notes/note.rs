//! Signed notes, verifier keys and checkpoints: C2SP signed-note v1.0.0 with Ed25519 (type 0x01), tlog-checkpoint
//! v1.0.0.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use sha2::{Digest as _, Sha256};

use crate::{Error, Hash};

/// Key type of a log: Ed25519 over the note's text.
pub(crate) const ED25519: u8 = 1;
/// Signature lines that a note may have; Go's client refuses more.
const SIGNATURES_MAX: usize = 100;

/// The verifier key of a name: `name+keyid+base64(type || key)`.
pub(crate) fn vkey(name: &str, key: &[u8; 32]) -> String {
    format!("{name}+{}+{}", hex::encode(key_id(name, ED25519, key)), BASE64_STANDARD.encode(typed(ED25519, key)))
}

/// The public key in a verifier key; `None` when that is malformed.
pub fn public_key(vkey: &str) -> Option<[u8; 32]> {
    parse_vkey(vkey).map(|(_, key)| key)
}

/// Name and public key of a verifier key.
pub(crate) fn parse_vkey(vkey: &str) -> Option<(&str, [u8; 32])> {
    Key::parse(vkey, ED25519).map(|key| (key.name, *key.key.as_bytes()))
}

/// The seed in what follows `PRIVATE+KEY+` (Go's `sumdb/note`): name, key id, base64 of type and seed.
pub(crate) fn go_seed(rest: &str) -> Option<[u8; 32]> {
    let mut fields = rest.splitn(3, '+');
    let (name, id, seed) = (fields.next()?, fields.next()?, BASE64_STANDARD.decode(fields.next()?).ok()?);
    let (&ED25519, seed) = seed.split_first()? else { return None };
    let seed: [u8; 32] = seed.try_into().ok()?;
    let public = *ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key().as_bytes();
    (hex::encode(key_id(name, ED25519, &public)) == id).then_some(seed)
}

/// Checks a signed note against a verifier key and returns its text.
///
/// # Errors
/// [`Error::Refused`] when the key or note is malformed, no line is by this key, or one by this key does not verify.
pub fn verify_note<'a>(note: &'a str, vkey: &str) -> Result<&'a str, Error> {
    let key = Key::parse(vkey, ED25519).ok_or_else(|| refused("verifier key is malformed"))?;
    let (text, signatures) = split(note).ok_or_else(|| refused("note is malformed"))?;
    let ours: Vec<_> =
        signatures.iter().filter(|line| line.name == key.name && line.bytes.starts_with(&key.id)).collect();
    if ours.is_empty() {
        return Err(refused("note has no signature by the given key"));
    }
    for line in ours {
        let good = Signature::from_slice(&line.bytes[4..])
            .is_ok_and(|signature| key.key.verify(text.as_bytes(), &signature).is_ok());
        if !good {
            return Err(refused("signature does not verify"));
        }
    }
    Ok(text)
}

/// Checks a checkpoint whose origin is its key's name, and returns tree size and root.
///
/// # Errors
/// [`Error::Refused`] as [`verify_note`], and when the text is no checkpoint of that origin.
pub fn verify_checkpoint(note: &str, vkey: &str) -> Result<(u64, Hash), Error> {
    let text = verify_note(note, vkey)?;
    let (origin, size, root) = parse_body(text).ok_or_else(|| refused("text is not a checkpoint"))?;
    match vkey.split_once('+') {
        Some((name, _)) if name == origin => Ok((size, root)),
        Some(_) | None => Err(refused("checkpoint is of another origin")),
    }
}

/// The three lines of a checkpoint.
pub(crate) fn body(origin: &str, size: u64, root: &Hash) -> String {
    format!("{origin}\n{size}\n{}\n", BASE64_STANDARD.encode(root.0))
}

/// Origin, size and root of a checkpoint's text.
pub(crate) fn parse_body(text: &str) -> Option<(&str, u64, Hash)> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
    let number: u64 = size.parse().ok()?;
    let root = Hash(BASE64_STANDARD.decode(root).ok()?.try_into().ok()?);
    let extensions_fit = lines.all(|line| !line.is_empty());
    (extensions_fit && !origin.is_empty() && number.to_string() == size).then_some((origin, number, root))
}

/// A verifier key of one type.
pub(crate) struct Key<'a> {
    pub(crate) name: &'a str,
    pub(crate) id: [u8; 4],
    pub(crate) key: VerifyingKey,
}

impl Key<'_> {
    /// `None` for a malformed key and for a key of another type.
    pub(crate) fn parse(vkey: &str, kind: u8) -> Option<Key<'_>> {
        let mut fields = vkey.splitn(3, '+');
        let (name, id, key) = (fields.next()?, fields.next()?, fields.next()?);
        let key = BASE64_STANDARD.decode(key).ok()?;
        let (&found, key) = key.split_first()?;
        let key: [u8; 32] = key.try_into().ok()?;
        let stated = found == kind && hex::encode(key_id(name, kind, &key)) == id;
        let key = VerifyingKey::from_bytes(&key).ok()?;
        (stated && name_fits(name)).then_some(Key { name, id: key_id(name, kind, key.as_bytes()), key })
    }
}

/// One signature line.
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    /// Key id, then the signature.
    pub(crate) bytes: Vec<u8>,
}

/// Text and signature lines; the last blank line parts them.
pub(crate) fn split(note: &str) -> Option<(&str, Vec<Line<'_>>)> {
    if note.chars().any(|c| c.is_ascii_control() && c != '\n') {
        return None;
    }
    let blank = note.rfind("\n\n")?;
    let (text, lines) = (&note[..=blank], &note[blank + 2..]);
    let lines: Vec<_> = lines.strip_suffix('\n')?.split('\n').collect();
    if lines.len() > SIGNATURES_MAX {
        return None;
    }
    Some((text, lines.into_iter().map(parse_line).collect::<Option<_>>()?))
}

pub(crate) fn parse_line(line: &str) -> Option<Line<'_>> {
    let (name, bytes) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    let bytes = BASE64_STANDARD.decode(bytes).ok()?;
    (name_fits(name) && bytes.len() > 4).then_some(Line { name, bytes })
}

fn name_fits(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c == '+')
}

pub(crate) fn key_id(name: &str, kind: u8, key: &[u8; 32]) -> [u8; 4] {
    let mut hasher = Sha256::new();
    hasher.update(name.as_bytes());
    hasher.update(b"\n");
    hasher.update(typed(kind, key));
    let [a, b, c, d, ..] = <[u8; 32]>::from(hasher.finalize());
    [a, b, c, d]
}

fn typed(kind: u8, key: &[u8; 32]) -> [u8; 33] {
    let mut typed = [kind; 33];
    typed[1..].copy_from_slice(key);
    typed
}

fn refused(why: &str) -> Error {
    Error::Refused(why.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Signer as _;
    use crate::notes::signer::sign_note;
    use proptest::prelude::*;

    const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    #[test]
    fn the_specifications_vector_verifies() {
        assert_eq!(verify_note(NOTE, VKEY).unwrap(), "This is an example message.\n");
        let unknown = "\u{2014} other.example AAAAAAAA\n";
        assert!(verify_note(&format!("{NOTE}{unknown}"), VKEY).is_ok());
    }

    #[test]
    fn what_is_refused() {
        let table = [
            NOTE.replace("example message", "other message"),
            NOTE.replace("Uw2QOkn8", "Uw2QOkn9"),
            NOTE.replace("\u{2014}", "-"),
            NOTE.replace("message.\n", "message.\r\n"),
            NOTE.trim_end().to_owned(),
            format!("{NOTE}\n"),
            "\n\n".to_owned(),
            String::new(),
            format!("{NOTE}{}", "\u{2014} x AAAAAAAA\n".repeat(100)),
        ];
        for note in table {
            assert!(verify_note(&note, VKEY).is_err(), "{note:?}");
        }
        for key in ["", "a+b", "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"] {
            assert!(verify_note(NOTE, key).is_err(), "{key:?}");
        }
    }

    #[test]
    fn checkpoints_name_their_key() {
        let key = crate::SecretKey::parse(&"07".repeat(32)).unwrap();
        let public = key.public_key();
        let root = crate::tree::merkle::empty_root();
        let text = body("a.example/default", 0, &root);
        assert_eq!(text, "a.example/default\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n");
        let note = sign_note(&text, "a.example/default", &key).unwrap();
        assert_eq!(verify_checkpoint(&note, &vkey("a.example/default", &public)).unwrap(), (0, root));
        assert!(verify_checkpoint(&note, &vkey("b.example/default", &public)).is_err());
        let other = sign_note(&text, "b.example/default", &key).unwrap();
        assert!(verify_checkpoint(&other, &vkey("b.example/default", &public)).is_err());
        let zeros = sign_note(&text.replace("\n0\n", "\n00\n"), "a.example/default", &key).unwrap();
        assert!(verify_checkpoint(&zeros, &vkey("a.example/default", &public)).is_err());
    }

    proptest! {
        #[test]
        fn hostile_notes_never_panic(note in ".{0,200}", key in ".{0,60}") {
            let _ = (verify_note(&note, VKEY), verify_note(NOTE, &key), parse_body(&note));
        }
    }
}
