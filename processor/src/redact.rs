//! Overwrites known shapes of secrets with `*` before anything is hashed or stored: same length, so offsets stay true.
//!
//! Shapes are strict: a false match would change bytes that somebody signed. Each needs a fixed prefix, an alphabet, a
//! length, and something before it that could not be part of a longer token; so the base64 of a signature or of an
//! envelope's payload is never touched by chance. What is looked into is not compressed any more.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, Match, packed};
use bytes::Bytes;

/// Version of these rules, in the leaf of each entry whose body they changed.
pub(crate) const VERSION: u32 = 1;

/// Longest secret, bytes: a private key with its lines.
const SECRET_BYTES_MAX: usize = 16 << 10;
/// How far after an AWS key id its secret may stand, bytes.
const AWS_PAIR_BYTES_MAX: usize = 300;
/// Bytes of a file that are looked at together; neighbours overlap by twice the longest secret.
const WINDOW_BYTES: usize = 4 << 20;

/// What begins a secret, and how its end is found: `(bytes, end of the prefix)` to the range to overwrite.
type Rule = (&'static str, fn(&[u8], usize) -> Option<Range<usize>>);

const RULES: [Rule; 16] = [
    ("AKIA", aws_key_id),
    ("ASIA", aws_key_id),
    ("ghp_", github_token),
    ("gho_", github_token),
    ("ghu_", github_token),
    ("ghs_", github_token),
    ("ghr_", github_token),
    ("github_pat_", github_fine_grained),
    ("glpat-", gitlab_token),
    ("xoxb-", slack_token),
    ("xoxp-", slack_token),
    ("xoxa-", slack_token),
    ("xoxr-", slack_token),
    ("-----BEGIN ", private_key),
    ("eyJ", json_web_token),
    ("://", url_password),
];

/// Looks for all prefixes at once; none begins like another.
enum Prefixes {
    /// With vector instructions.
    Packed(packed::Searcher),
    /// On processors without them.
    General(AhoCorasick),
    /// Cannot be: there are patterns, and they are few.
    None,
}

static PREFIXES: LazyLock<Prefixes> = LazyLock::new(|| {
    let prefixes = || RULES.iter().map(|(prefix, _)| prefix);
    let packed = packed::Config::new().builder().extend(prefixes()).build().map(Prefixes::Packed);
    let general = || AhoCorasick::new(prefixes()).map_or(Prefixes::None, Prefixes::General);
    packed.unwrap_or_else(general)
});

/// The bytes with secrets overwritten, and how many there were; `None` when there are none, which costs one vectorized
/// pass.
pub(crate) fn redact(bytes: &Bytes) -> Option<(Bytes, u32)> {
    let secrets = secrets(bytes);
    if secrets.is_empty() {
        return None;
    }
    let count = u32::try_from(secrets.len()).unwrap_or(u32::MAX);
    let mut redacted = bytes.to_vec();
    secrets.into_iter().for_each(|secret| redacted[secret].fill(b'*'));
    Some((redacted.into(), count))
}

/// Overwrites secrets of a spooled document in place, after `before` has seen it as it came; how many there were. A
/// crash in between is harmless: what was overwritten is not met again, and the document is handed in anew.
pub(crate) fn redact_file(file: &mut File, mut before: impl FnMut(&mut File) -> io::Result<()>) -> io::Result<u32> {
    let size = file.metadata()?.len();
    let (mut start, mut count) = (0, 0_u32);
    while start < size {
        let window = read_window(file, start)?;
        for secret in secrets(&window) {
            if count == 0 {
                before(file)?;
            }
            file.seek(SeekFrom::Start(start + secret.start as u64))?;
            file.write_all(&vec![b'*'; secret.len()])?;
            count = count.saturating_add(1);
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

fn secrets(bytes: &[u8]) -> Vec<Range<usize>> {
    match &*PREFIXES {
        Prefixes::Packed(searcher) => secrets_at(bytes, searcher.find_iter(bytes)),
        Prefixes::General(searcher) => secrets_at(bytes, searcher.find_iter(bytes)),
        Prefixes::None => Vec::new(),
    }
}

fn secrets_at(bytes: &[u8], hits: impl Iterator<Item = Match>) -> Vec<Range<usize>> {
    let mut secrets: Vec<Range<usize>> = Vec::new();
    for hit in hits {
        let (prefix, rule) = RULES[hit.pattern().as_usize()];
        let starts = prefix == "://" || hit.start() == 0 || !in_token(bytes[hit.start() - 1]);
        if !starts {
            continue;
        }
        if let Some(secret) = rule(bytes, hit.end()) {
            secrets.push(secret);
            if let Some(secret) = aws_secret(bytes, prefix, hit.end()) {
                secrets.push(secret);
            }
        }
    }
    // What was overwritten before is no secret any more: a document that is sent as it was kept is not changed again.
    secrets.retain(|secret| bytes[secret.clone()].iter().any(|byte| *byte != b'*'));
    secrets
}

/// Part of any base64, base64url or word.
fn in_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/_-=".contains(&byte)
}

/// The run of an alphabet from `from` on, if its length is allowed.
fn run(
    bytes: &[u8],
    from: usize,
    lengths: std::ops::RangeInclusive<usize>,
    belongs: fn(u8) -> bool,
) -> Option<Range<usize>> {
    let length = bytes[from..].iter().take(lengths.end() + 1).take_while(|byte| belongs(**byte)).count();
    lengths.contains(&length).then_some(from..from + length)
}

fn aws_key_id(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let id = run(bytes, from, 16..=16, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())?;
    bytes.get(id.end).is_none_or(|next| !in_token(*next)).then_some(id)
}

/// The secret that stands near after a key id: 40 characters of base64 that are not the hex of a commit.
fn aws_secret(bytes: &[u8], prefix: &str, from: usize) -> Option<Range<usize>> {
    if prefix != "AKIA" && prefix != "ASIA" {
        return None;
    }
    let near = &bytes[from..bytes.len().min(from + AWS_PAIR_BYTES_MAX)];
    let secret_char = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    let mut start = 0;
    for run in near.split(|byte| !secret_char(byte)) {
        let mixed = run.iter().any(u8::is_ascii_uppercase) && run.iter().any(u8::is_ascii_lowercase);
        if run.len() == 40 && mixed && !run.iter().all(u8::is_ascii_hexdigit) {
            return Some(from + start..from + start + 40);
        }
        start += run.len() + 1;
    }
    None
}

fn github_token(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    run(bytes, from, 36..=255, |byte| byte.is_ascii_alphanumeric())
}

fn github_fine_grained(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    run(bytes, from, 60..=255, |byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn gitlab_token(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    run(bytes, from, 20..=255, |byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

fn slack_token(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    run(bytes, from, 10..=255, |byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// From after `-----BEGIN … PRIVATE KEY-----` to before `-----END`, or as far as it looks like a key.
fn private_key(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    const LABEL_END: &[u8] = b"PRIVATE KEY-----";
    let label = &bytes[from..bytes.len().min(from + 40)];
    let start = from + label.windows(LABEL_END.len()).position(|window| window == LABEL_END)? + LABEL_END.len();
    let in_key = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=\\\r\n\t :,".contains(byte);
    let length = bytes[start..].iter().take(SECRET_BYTES_MAX).take_while(|byte| in_key(byte)).count();
    (length >= 32).then_some(start..start + length)
}

/// Two base64url parts that begin like JSON and a signature, joined by dots: base64 of anything has no dots.
fn json_web_token(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let part =
        |from, least| run(bytes, from, least..=8_192, |byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    let header = part(from, 10)?;
    if !bytes[header.end..].starts_with(b".eyJ") {
        return None;
    }
    let payload = part(header.end + 1, 10)?;
    if bytes.get(payload.end) != Some(&b'.') {
        return None;
    }
    let signature = part(payload.end + 1, 10)?;
    Some(from..signature.end)
}

/// `user:password@` right after `://`: the password.
fn url_password(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let ends = |byte: &u8| b"/?#@\"'<>\\ \t\r\n,;".contains(byte);
    let length = bytes[from..].iter().take(512).take_while(|byte| !ends(byte)).count();
    if bytes.get(from + length) != Some(&b'@') {
        return None;
    }
    let colon = bytes[from..from + length].iter().position(|byte| *byte == b':')?;
    (colon + 1 < length).then_some(from + colon + 1..from + length)
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
