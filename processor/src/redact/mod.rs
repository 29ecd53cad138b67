//! Overwrites known shapes of secrets with `*` before anything is hashed or stored: same length, so offsets stay true.
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
pub(crate) use namer::Namer;
use plain::Plain;
pub(crate) use rules::VERSION;
use rules::{Rule, SECRET_BYTES_MAX};
use search::{Needle, for_needles};

/// Bytes of a file that are looked at together; neighbours overlap by twice the longest secret.
const WINDOW_BYTES: usize = 4 << 20;
/// How far after a prefix an escape makes the plain form worth looking at, bytes.
const NEAR_BYTES: usize = 300;

/// The bytes with secrets overwritten, and how many there were; `None` when there are none, which costs a vectorized
/// search.
pub(crate) fn redact(bytes: &Bytes) -> Option<(Bytes, u32)> {
    overwritten(bytes).map(|(redacted, count)| (redacted.into(), count))
}

/// As [`redact`], for a text of its own.
pub(crate) fn text(text: &str) -> Option<(String, u32)> {
    let (redacted, count) = overwritten(text.as_bytes())?;
    // Whole characters are overwritten: shapes begin and end at ASCII.
    Some((String::from_utf8_lossy(&redacted).into_owned(), count))
}

fn overwritten(bytes: &[u8]) -> Option<(Vec<u8>, u32)> {
    let edits = edits(bytes);
    if edits.is_empty() {
        return None;
    }
    let mut redacted = bytes.to_vec();
    edits.iter().for_each(|edit| redacted[edit.at..edit.at + edit.bytes.len()].copy_from_slice(&edit.bytes));
    Some((redacted, edits.iter().map(|edit| edit.secrets).fold(0, u32::saturating_add)))
}

/// Overwrites secrets of a spooled document in place, after `before` has seen it as it came; how many there were. A
/// crash in between is harmless: what was overwritten is not met again, and the document is handed in anew.
pub(crate) fn redact_file(file: &mut File, mut before: impl FnMut(&mut File) -> io::Result<()>) -> io::Result<u32> {
    let size = file.metadata()?.len();
    let (mut start, mut count) = (0, 0_u32);
    while start < size {
        let window = read_window(file, start)?;
        for edit in edits(&window) {
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

fn read_window(file: &mut File, start: u64) -> io::Result<Vec<u8>> {
    let mut window = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.take(WINDOW_BYTES as u64).read_to_end(&mut window)?;
    Ok(window)
}

/// Bytes to write over as many others.
struct Edit {
    at: usize,
    bytes: Vec<u8>,
    /// How many secrets are gone then.
    secrets: u32,
}

/// What is to be overwritten.
fn edits(bytes: &[u8]) -> Vec<Edit> {
    let mut found = found(bytes);
    let encoded = std::mem::take(&mut found.base64);
    let stars = |secret: Range<usize>| Edit { at: secret.start, bytes: vec![b'*'; secret.len()], secrets: 1 };
    let mut edits: Vec<Edit> = secrets(bytes, found).into_iter().map(stars).collect();
    edits.extend(encoded.into_iter().filter_map(|text| encoded_edit(bytes, text)));
    edits
}

/// The data of an event in base64, which nobody signed, with stars in it, if it is written as this would write it.
fn encoded_edit(bytes: &[u8], text: Range<usize>) -> Option<Edit> {
    let engine = if text.len().is_multiple_of(4) { &STANDARD } else { &STANDARD_NO_PAD };
    let data = engine.decode(&bytes[text.clone()]).ok()?;
    let mut redacted = data.clone();
    let secrets = secrets(&data, found(&data));
    secrets.iter().for_each(|secret| redacted[secret.clone()].fill(b'*'));
    let edited = engine.encode(redacted).into_bytes();
    let secrets = u32::try_from(secrets.len()).unwrap_or(u32::MAX);
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
        let is_sure = rule.prefix.len() > "://".len() && rule.begins(bytes, start, end);
        if is_sure && !self.is_escaped {
            self.is_escaped = has_escape(&bytes[end..bytes.len().min(end + NEAR_BYTES)]);
        }
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

/// An escaped slash, or any character by its number.
fn has_escape(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|two| matches!(two, [b'\\', b'/' | b'u'] | [b'%', b'0'..=b'9']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &str) {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let got = redact(&bytes).map_or(bytes, |(redacted, _)| redacted);
        assert!(redact(&got).is_none(), "what is kept is kept as it is");
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

    #[test]
    fn a_secret_between_two_windows_of_a_file_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("document");
        let token = format!(" ghp_{}", "a1B2".repeat(9));
        for at in [WINDOW_BYTES - 20, WINDOW_BYTES - 2 * SECRET_BYTES_MAX - 3] {
            let mut text = vec![b' '; 2 * WINDOW_BYTES];
            text[at..at + token.len()].copy_from_slice(token.as_bytes());
            std::fs::write(&path, &text).unwrap();
            let mut file = File::options().read(true).write(true).open(&path).unwrap();
            let (mut before, mut received) = (0, Vec::new());
            let look = |file: &mut File| {
                before += 1;
                file.rewind()?;
                file.read_to_end(&mut received).map(drop)
            };
            assert_eq!(redact_file(&mut file, look).unwrap(), 1);
            assert!(before == 1 && received == text, "it is shown as it came, once");
            text[at + 5..at + token.len()].fill(b'*');
            assert!(std::fs::read(&path).unwrap() == text);
            assert_eq!(redact_file(&mut file, |_| panic!("there is nothing to change")).unwrap(), 0);
        }
    }
}
