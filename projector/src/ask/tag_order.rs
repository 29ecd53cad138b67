//! Whether one tag is a higher version than another: semver, or one numbering scheme (SPEC §6).

use std::cmp::Ordering;

use semver::Version;

/// Longest tag that is compared, bytes; a longer one is not a version.
const TAG_BYTES_MAX: usize = 128;

/// Orders two tags of one repository; `None` where they are not versions of one scheme, or equal as versions.
pub(crate) fn compare(from: &str, to: &str) -> Option<Ordering> {
    if from.len() > TAG_BYTES_MAX || to.len() > TAG_BYTES_MAX {
        return None;
    }
    let order = match (semver(from), semver(to)) {
        (Some(from), Some(to)) => from.cmp_precedence(&to),
        _ => numbering(from, to)?,
    };
    order.is_ne().then_some(order)
}

fn semver(tag: &str) -> Option<Version> {
    Version::parse(tag.strip_prefix(['v', 'V']).unwrap_or(tag)).ok()
}

/// `v1690` and `v1694`, `release_12` and `release_13`, `2026.8` and `2026.8.1`: the same text around the numbers, and at
/// most more dotted numbers at the end.
fn numbering(from: &str, to: &str) -> Option<Ordering> {
    if is_hash(from) || is_hash(to) {
        return None;
    }
    let (from, to) = (runs(from), runs(to));
    let numbered = from.iter().any(|run| matches!(run, Run::Number(_)));
    let common = from.iter().zip(&to).all(|(a, b)| match (a, b) {
        (Run::Text(a), Run::Text(b)) => a == b,
        (Run::Number(_), Run::Number(_)) => true,
        (Run::Text(_), Run::Number(_)) | (Run::Number(_), Run::Text(_)) => false,
    });
    let shorter = from.len().min(to.len());
    let ends_in_number = matches!(from.get(shorter.checked_sub(1)?)?, Run::Number(_));
    let rest = if from.len() > shorter { &from[shorter..] } else { &to[shorter..] };
    let dotted = rest.iter().all(|run| matches!(run, Run::Number(_) | Run::Text(".")));
    let one_scheme = numbered && common && (rest.is_empty() || (dotted && ends_in_number));
    one_scheme.then(|| from.cmp(&to))
}

/// A commit or another hash: its digits do not count up.
fn is_hash(tag: &str) -> bool {
    let hex = tag.bytes().all(|b| b.is_ascii_hexdigit());
    let letters = tag.bytes().any(|b| b.is_ascii_alphabetic());
    hex && (7..=128).contains(&tag.len()) && (letters || tag.len() >= 32)
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Run<'a> {
    Text(&'a str),
    /// Without leading zeros, after its length, so that numbers of any length compare.
    Number((usize, &'a str)),
}

fn runs(tag: &str) -> Vec<Run<'_>> {
    let mut runs = Vec::new();
    let mut rest = tag;
    while let Some(first) = rest.bytes().next() {
        let digits = first.is_ascii_digit();
        let end = rest.bytes().position(|b| b.is_ascii_digit() != digits).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        let number = run.trim_start_matches('0');
        runs.push(if digits { Run::Number((number.len(), number)) } else { Run::Text(run) });
        rest = after;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_one_scheme_compare() {
        let check = |from: &str, to: &str, want: Option<Ordering>| {
            assert_eq!(compare(from, to), want, "{from} {to}");
            assert_eq!(compare(to, from), want.map(Ordering::reverse), "{to} {from}");
        };
        check("1.2.3", "1.10.0", Some(Ordering::Less));
        check("v1.2.3", "1.2.4", Some(Ordering::Less));
        check("1.2.3-rc.1", "1.2.3", Some(Ordering::Less));
        check("v1690", "v1694", Some(Ordering::Less));
        check("v999", "v1000", Some(Ordering::Less));
        check("release_99", "release_100", Some(Ordering::Less));
        check("2026.8", "2026.8.1", Some(Ordering::Less));
        check("1.2-alpine", "1.3-alpine", Some(Ordering::Less));
        check("build-2026-08-14-7", "build-2026-08-15-1", Some(Ordering::Less));
        check("v1", "release_2", None);
        check("1.2.0", "1.2.0", None);
        check("1.2", "1.2-alpine", None);
        check("latest", "stable", None);
        check("ed44845a2bd8d296ab6de637e57b85610623e8ae", "f46f242fa6b431e0086e76799732e9ce18bdc3cc", None);
        check("e123456", "e123457", None);
        check("", "1", None);
        check("99999999999999999999999999", "100000000000000000000000000", Some(Ordering::Less));
    }
}
