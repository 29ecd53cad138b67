//! Overwrites known shapes of secrets with `*` before anything is hashed or stored: same length, so offsets stay true.
//!
//! Configured members of JSON are overwritten too, whatever they hold ([`Fields`]).
//!
//! Two layers: the received bytes ([`redact`], [`redact_file`]), before a decoder sees them; and whatever is made of
//! them in the end ([`text`], [`chunk`]), since base64 and escapes may hide a secret until they are undone, and since
//! what somebody signed in base64 is kept as it came. What names a message stays one of a kind ([`Namer`]).
//!
//! Shapes are strict: a false match would change bytes that somebody signed. Each needs a fixed prefix, an alphabet, a
//! length, and something before it that could not be part of a longer token; so the base64 of a signature or of an
//! envelope's payload is never touched by chance. What is looked into is not compressed any more. What all of it covers
//! and what not is told in docs/redaction.md.

mod chunk;
mod fields;
mod namer;
mod plain;
mod rules;
#[cfg(test)]
mod samples;
mod search;

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;

pub(crate) use chunk::{chunk, is_suspect};
pub use fields::Fields;
pub(crate) use namer::Namer;
use plain::Plain;
pub(crate) use rules::VERSION;
use rules::{Rule, SECRET_BYTES_MAX};
pub(crate) use search::is_hex_and_dashes;
use search::{Needle, for_needles};

/// Bytes of a file that are looked at together; neighbours overlap by twice the longest secret.
const WINDOW_BYTES: usize = 1 << 20;
/// How far after a prefix an escape makes the plain form worth looking at, bytes.
const NEAR_BYTES: usize = 300;

/// The bytes with secrets overwritten, and how many there were; `None` when there are none, which costs a vectorized
/// search.
pub(crate) fn redact(bytes: &Bytes, fields: &Fields) -> Option<(Bytes, u32)> {
    overwritten(bytes, fields).map(|(redacted, count)| (redacted.into(), count))
}

/// As [`redact`], for a text of its own.
pub(crate) fn text(text: &str) -> Option<(String, u32)> {
    document(text, &Fields::default())
}

/// As [`redact`], for a document that stood in another one.
pub(crate) fn document(text: &str, fields: &Fields) -> Option<(String, u32)> {
    let (redacted, count) = overwritten(text.as_bytes(), fields)?;
    // Whole characters are overwritten: shapes begin and end at ASCII.
    Some((String::from_utf8_lossy(&redacted).into_owned(), count))
}

fn overwritten(bytes: &[u8], fields: &Fields) -> Option<(Vec<u8>, u32)> {
    let Some((redacted, count)) = fields.overwritten(bytes) else {
        let edits = edits(bytes, fields);
        return (!edits.is_empty()).then(|| edited(bytes.to_vec(), &edits));
    };
    let edits = edits(&redacted, fields);
    let (redacted, more) = edited(redacted, &edits);
    Some((redacted, count.saturating_add(more)))
}

fn edited(mut bytes: Vec<u8>, edits: &[Edit]) -> (Vec<u8>, u32) {
    edits.iter().for_each(|edit| bytes[edit.at..edit.at + edit.bytes.len()].copy_from_slice(&edit.bytes));
    (bytes, edits.iter().map(|edit| edit.secrets).fold(0, u32::saturating_add))
}

/// Overwrites secrets of a spooled document in place, after `before` has seen it as it came; how many there were. A
/// crash in between is harmless: what was overwritten is not met again, and the document is handed in anew.
pub(crate) fn redact_file(
    file: &mut File,
    fields: &Fields,
    mut before: impl FnMut(&mut File) -> io::Result<()>,
) -> io::Result<u32> {
    let size = file.metadata()?.len();
    // Memory of its own for each window costs more than to look through it: the system gives it as zeros.
    let mut window = Vec::with_capacity(usize::try_from(size).unwrap_or(WINDOW_BYTES).min(WINDOW_BYTES));
    let (mut start, mut count) = (0, overwrite_fields(file, size, (fields, &mut window), &mut before)?);
    while start < size {
        read_window(file, start, &mut window)?;
        for edit in edits(&window, fields) {
            if count == 0 {
                before(file)?;
            }
            file.seek(SeekFrom::Start(start + edit.at as u64))?;
            file.write_all(&edit.bytes)?;
            count = count.saturating_add(edit.secrets);
        }
        start += (WINDOW_BYTES - 2 * SECRET_BYTES_MAX) as u64;
    }
    Ok(count)
}

/// The members that are configured, of all of a file: their names may stand far before them.
fn overwrite_fields(
    file: &mut File,
    size: u64,
    (fields, window): (&Fields, &mut Vec<u8>),
    before: &mut impl FnMut(&mut File) -> io::Result<()>,
) -> io::Result<u32> {
    let Some(mut scan) = fields.scan() else { return Ok(0) };
    let mut start = 0;
    while start < size {
        read_window(file, start, window)?;
        let earlier = scan.overwritten;
        if window.is_empty() {
            break;
        }
        if scan.feed(window) {
            if earlier == 0 {
                before(file)?;
            }
            file.seek(SeekFrom::Start(start))?;
            file.write_all(window)?;
        }
        start += window.len() as u64;
    }
    Ok(scan.overwritten)
}

fn read_window(file: &mut File, start: u64, window: &mut Vec<u8>) -> io::Result<()> {
    window.clear();
    file.seek(SeekFrom::Start(start))?;
    file.take(WINDOW_BYTES as u64).read_to_end(window)?;
    Ok(())
}

/// Bytes to write over as many others.
struct Edit {
    at: usize,
    bytes: Vec<u8>,
    /// How many secrets are gone then.
    secrets: u32,
}

/// What is to be overwritten.
fn edits(bytes: &[u8], fields: &Fields) -> Vec<Edit> {
    let mut found = found(bytes);
    let encoded = std::mem::take(&mut found.base64);
    let stars = |secret: Range<usize>| Edit { at: secret.start, bytes: vec![b'*'; secret.len()], secrets: 1 };
    let mut edits: Vec<Edit> = secrets(bytes, found).into_iter().map(stars).collect();
    edits.extend(encoded.into_iter().filter_map(|text| encoded_edit(bytes, text, fields)));
    edits
}

/// The data of an event in base64, which nobody signed, with stars in it, if it is written as this would write it.
fn encoded_edit(bytes: &[u8], text: Range<usize>, fields: &Fields) -> Option<Edit> {
    let engine = if text.len().is_multiple_of(4) { &STANDARD } else { &STANDARD_NO_PAD };
    let data = engine.decode(&bytes[text.clone()]).ok()?;
    let (mut data, of_fields) = fields.overwritten(&data).unwrap_or((data, 0));
    let secrets = secrets(&data, found(&data));
    secrets.iter().for_each(|secret| data[secret.clone()].fill(b'*'));
    let edited = engine.encode(data).into_bytes();
    let secrets = u32::try_from(secrets.len()).unwrap_or(u32::MAX).saturating_add(of_fields);
    (secrets > 0 && edited.len() == text.len()).then_some(Edit { at: text.start, bytes: edited, secrets })
}

/// Where secrets stand, apart from each other and in order.
fn secrets(bytes: &[u8], mut found: Found) -> Vec<Range<usize>> {
    if found.is_escaped {
        let plain = Plain::of(bytes);
        let there = self::found(&plain.bytes).secrets;
        found.secrets.extend(there.iter().map(|secret| plain.back(secret)));
    }
    let mut secrets = joined(found.secrets);
    // What was overwritten before is no secret any more: a document that is sent as it was kept is not changed again.
    secrets.retain(|secret| bytes[secret.clone()].iter().any(|byte| *byte != b'*'));
    secrets
}

/// Ranges that overlap as one: the token in a password is no second secret.
fn joined(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, range| {
        let overlaps = next.start < range.end;
        if overlaps {
            range.end = range.end.max(next.end);
        }
        overlaps
    });
    ranges
}

/// What one pass finds.
#[derive(Default)]
struct Found {
    secrets: Vec<Range<usize>>,
    /// Escapes stand where they may hide some.
    is_escaped: bool,
    /// The data of events, in base64.
    base64: Vec<Range<usize>>,
}

fn found(bytes: &[u8]) -> Found {
    let mut found = Found::default();
    for_needles(bytes, |needle, start, end| match needle {
        Needle::Prefix(rule) => found.prefix(rule, bytes, start, end),
        Needle::DataBase64 => found.base64.extend(base64_after(bytes, end)),
        Needle::Escape => found.is_escaped |= may_hide(&bytes[start..]),
    });
    found
}

impl Found {
    fn prefix(&mut self, rule: &Rule, bytes: &[u8], start: usize, end: usize) {
        self.is_escaped = self.is_escaped || rule.begins(bytes, start, end) && is_escaped_after(rule, bytes, end);
        let secret = rule.secret(bytes, end).filter(|secret| rule.begins(bytes, start, secret.end));
        if let Some(secret) = secret {
            self.secrets.push(secret);
            self.secrets.extend(rule.pair(bytes, end));
        }
    }
}

/// The text that is the value of a member whose name ends at `from`.
fn base64_after(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let rest = bytes[from..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    let start = bytes.len() - rest.len();
    let length = rest.iter().position(|byte| *byte == b'"')?;
    Some(start..start + length)
}

/// Whether an escape stands for something that a secret has: others, as for `<` and `&`, are common and hide none.
fn may_hide(escape: &[u8]) -> bool {
    let Some(digits) = escape.strip_prefix(b"\\u00") else { return true };
    plain::hex(digits.get(..2)).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_-.:/@+".contains(&byte))
}

/// Whether what follows a prefix that says enough may be written with escapes.
fn is_escaped_after(rule: &Rule, bytes: &[u8], end: usize) -> bool {
    rule.prefix.len() > "://".len() && has_escape(&bytes[end..bytes.len().min(end + NEAR_BYTES)])
}

/// An escaped slash, or any character by its number.
fn has_escape(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|two| matches!(two, [b'\\', b'/' | b'u'] | [b'%', b'0'..=b'9']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &str) {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let got = redact(&bytes, &Fields::default()).map_or(bytes, |(redacted, _)| redacted);
        assert!(redact(&got, &Fields::default()).is_none(), "what is kept is kept as it is");
        assert_eq!(std::str::from_utf8(&got).unwrap(), want);
    }

    #[test]
    fn secrets_are_overwritten_in_place() {
        check(r#"{"k":"AKIAIOSFODNN7EXAMPLE"}"#, r#"{"k":"AKIA****************"}"#);
        check(
            r#"AKIAIOSFODNN7EXAMPLE", "secret": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY""#,
            &format!(r#"AKIA****************", "secret": "{}""#, "*".repeat(40)),
        );
        check(&format!("token ghp_{}!", "a1B2".repeat(9)), &format!("token ghp_{}!", "*".repeat(36)));
        check(&format!("glpat-{}", "x".repeat(20)), &format!("glpat-{}", "*".repeat(20)));
        check("xoxb-123456789012-abc", "xoxb-****************");
        check(r#""https://bob:hunter2@git.example/x""#, r#""https://bob:*******@git.example/x""#);
        let key = format!("\\n{}\\n", "Ab+/".repeat(20));
        check(
            &format!("-----BEGIN RSA PRIVATE KEY-----{key}-----END"),
            &format!("-----BEGIN RSA PRIVATE KEY-----{}-----END", "*".repeat(key.len())),
        );
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.SflKxwRJSMeKKF2QT4fw";
        check(&format!("Bearer {jwt}"), &format!("Bearer eyJ{}", "*".repeat(jwt.len() - 3)));
    }

    #[test]
    fn what_only_looks_alike_is_left_alone() {
        let untouched = |text: &str| check(text, text);
        untouched(
            r#"{"payload":"eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pbyJ9eyJhIjoxfQ==","sig":"MEUCIQDAKIAIOSFODNN7EXAMPLE12"}"#,
        );
        untouched("commit AKIA is not a key, nor da39a3ee5e6b4b0d3255bfef95601890afd80709");
        untouched("https://host:8080/path@2 pkg:oci/app@sha256:aa https://user@host/");
        untouched("-----BEGIN CERTIFICATE-----\\nMIIB\\n-----END CERTIFICATE-----");
        untouched("ghp_short");
    }

    /// How much is overwritten in a file, and what it was whenever that was shown before.
    fn in_file(path: &std::path::Path, fields: &Fields) -> (u32, Vec<Vec<u8>>) {
        let mut file = File::options().read(true).write(true).open(path).unwrap();
        let mut shown = Vec::new();
        let look = |file: &mut File| {
            let mut received = Vec::new();
            file.rewind()?;
            file.read_to_end(&mut received)?;
            shown.push(received);
            Ok(())
        };
        (redact_file(&mut file, fields, look).unwrap(), shown)
    }

    #[test]
    fn a_secret_between_two_windows_of_a_file_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("document");
        let token = format!(" ghp_{}", "a1B2".repeat(9));
        for at in [WINDOW_BYTES - 20, WINDOW_BYTES - 2 * SECRET_BYTES_MAX - 3] {
            let mut text = vec![b' '; 2 * WINDOW_BYTES];
            text[at..at + token.len()].copy_from_slice(token.as_bytes());
            std::fs::write(&path, &text).unwrap();
            assert!(in_file(&path, &Fields::default()) == (1, vec![text.clone()]), "it is shown as it came, once");
            text[at + 5..at + token.len()].fill(b'*');
            assert!(std::fs::read(&path).unwrap() == text);
            assert_eq!(in_file(&path, &Fields::default()), (0, vec![]), "nothing is to be changed");
        }
    }

    #[test]
    fn fields_are_overwritten_with_secrets_and_in_the_data_of_an_event() {
        let fields = Fields::new(["pin"]).unwrap();
        let check = |text: &str, want: &str, secrets: u32| {
            let (redacted, count) = redact(&Bytes::copy_from_slice(text.as_bytes()), &fields).unwrap();
            assert_eq!((std::str::from_utf8(&redacted).unwrap(), count), (want, secrets));
            assert!(redact(&redacted, &fields).is_none(), "what is kept is kept as it is");
        };
        check(r#"{"pin":"x","k":"AKIAIOSFODNN7EXAMPLE"}"#, r#"{"pin":"*","k":"AKIA****************"}"#, 2);
        let event = |data: &str| format!(r#"{{"data_base64":"{}"}}"#, STANDARD.encode(data));
        check(&event(r#"{"pin":"AKIAIOSFODNN7EXAMPLE"}"#), &event(r#"{"pin":"********************"}"#), 1);
    }

    #[test]
    fn a_field_that_stands_in_several_windows_of_a_file_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("document");
        let fields = Fields::new(["a.pin"]).unwrap();
        let of = |byte: &str| {
            let value = byte.repeat(2 * WINDOW_BYTES);
            format!("{{{}\"a\":{{\"pin\":\"{value}\",\"b\":1}},\"pin\":2}}", " ".repeat(WINDOW_BYTES - 10))
        };
        std::fs::write(&path, of("x")).unwrap();
        assert!(in_file(&path, &fields) == (1, vec![of("x").into_bytes()]), "it is shown as it came, once");
        assert!(std::fs::read(&path).unwrap() == of("*").into_bytes());
        assert_eq!(in_file(&path, &fields), (0, vec![]), "nothing is to be changed");
    }
}
