//! Which of two tags is the higher version, one order for lines and for kinds of change (SPEC §3.1, §6): semver, else
//! one numbering scheme. What git says of a commit after a tag, and the variant of an image, are no part of the
//! version.

use std::cmp::{Ordering, Reverse};

use semver::Version;

/// Longest tag that is compared, bytes; a longer one is not a version.
const TAG_BYTES_MAX: usize = 128;

/// Words behind a version that say how finished it is, not which variant; `rc`, `m`, `r` and `p` are too short to be
/// one.
const STAGES: [&str; 16] = [
    "alpha",
    "beta",
    "pre",
    "preview",
    "dev",
    "snapshot",
    "milestone",
    "nightly",
    "canary",
    "build",
    "rev",
    "patch",
    "hotfix",
    "final",
    "release",
    "dirty",
];

/// Orders two tags of one repository; `None` where they are not versions of one scheme, or equal as versions.
pub(crate) fn compare(from: &str, to: &str) -> Option<Ordering> {
    if from.len() > TAG_BYTES_MAX || to.len() > TAG_BYTES_MAX {
        return None;
    }
    let (from, to) = (Parts::of(from), Parts::of(to));
    let release = match (from.semver(), to.semver()) {
        (Some(from), Some(to)) => semver_order(&from, &to),
        _ if from.version == to.version => Ordering::Equal,
        _ => numbering(&from.version, &to.version)?,
    };
    let order = release.then_with(|| from.since.cmp(&to.since)).then_with(|| {
        let one_variant = from.variant() == to.variant();
        if one_variant { natural(&from.variant_text(), &to.variant_text()) } else { Ordering::Equal }
    });
    order.is_ne().then_some(order)
}

/// The variant that a tag names, in lower case; empty for none, `None` for a tag that does not begin with a version.
pub(crate) fn variant(tag: &str) -> Option<String> {
    begins_with_version(tag).then(|| Parts::of(tag).variant())
}

/// A tag that is a semantic version, a leading `v` allowed; build metadata does not count. Equal versions of several
/// variants are in an order of their own: without one first, then by their numbers.
#[derive(Clone, Debug)]
pub(crate) struct TagVersion {
    release: Version,
    since: Since,
    variant: Vec<String>,
}

impl TagVersion {
    /// `None` for what is no version.
    pub(crate) fn parse(tag: &str) -> Option<TagVersion> {
        if tag.len() > TAG_BYTES_MAX {
            return None;
        }
        let parts = Parts::of(tag);
        let variant = parts.variant.iter().map(|part| part.to_ascii_lowercase()).collect();
        Some(TagVersion { release: parts.semver()?, since: parts.since, variant })
    }

    /// The variant, as [`variant`] has it.
    pub(crate) fn variant(&self) -> String {
        variant_of(self.variant.iter().map(String::as_str))
    }

    /// Bytes that sort as versions do, equal where they are equal, none the beginning of another's: for keys of rows.
    pub(crate) fn sort_key(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(16);
        let numbers = [self.release.major, self.release.minor, self.release.patch];
        numbers.into_iter().for_each(|number| push_number(&mut key, number));
        key.push(u8::from(self.release.pre.is_empty()));
        for identifier in self.release.pre.split('.').filter(|_| !self.release.pre.is_empty()) {
            key.push(if is_number(identifier) { 1 } else { 2 });
            push_natural(&mut key, identifier);
        }
        key.push(0);
        push_number(&mut key, self.since.commits);
        key.push(self.since.dirty.into());
        // More parts come first; a tag has fewer than 255.
        key.push(u8::MAX - u8::try_from(self.variant.len()).unwrap_or(u8::MAX));
        push_natural(&mut key, &self.variant.join("-"));
        key
    }
}

/// A number after how many bytes it has.
fn push_number(key: &mut Vec<u8>, number: u64) {
    let bytes = number.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    key.push(u8::try_from(bytes.len() - zeros).unwrap_or(u8::MAX));
    key.extend_from_slice(&bytes[zeros..]);
}

/// As [`natural`] orders texts.
fn push_natural(key: &mut Vec<u8>, text: &str) {
    for run in runs(text) {
        match run {
            Run::Text(text) => {
                key.push(1);
                text.bytes().for_each(|byte| {
                    key.extend_from_slice(if byte == 0 { &[0, 1] } else { std::slice::from_ref(&byte) })
                });
                key.extend_from_slice(&[0, 0]);
            }
            Run::Number((len, digits)) => {
                key.extend_from_slice(&[2, u8::try_from(len).unwrap_or(u8::MAX)]);
                key.extend_from_slice(digits.as_bytes());
            }
        }
    }
    key.push(0);
}

impl Ord for TagVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_variant = |version: &TagVersion| Reverse(version.variant.len());
        semver_order(&self.release, &other.release)
            .then_with(|| self.since.cmp(&other.since))
            .then_with(|| by_variant(self).cmp(&by_variant(other)))
            .then_with(|| natural(&self.variant.join("-"), &other.variant.join("-")))
    }
}

impl PartialOrd for TagVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for TagVersion {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for TagVersion {}

/// How far behind a tag a build is, as git describe says: commits, then changes that are not committed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
struct Since {
    commits: u64,
    dirty: bool,
}

/// A tag taken apart.
#[derive(Debug)]
struct Parts<'a> {
    /// `v1.2.3-rc.1` of `v1.2.3-rc.1-5-gabcdef-alpine3.20`.
    version: String,
    since: Since,
    /// `alpine3.20`.
    variant: Vec<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(tag: &'a str) -> Parts<'a> {
        let mut parts = Parts { version: String::new(), since: Since::default(), variant: Vec::new() };
        let mut rest = tag.split('-').peekable();
        parts.version.push_str(rest.next().unwrap_or_default());
        let versioned = begins_with_version(tag);
        while let Some(part) = rest.next() {
            let commits = part.parse().ok().filter(|_| rest.peek().copied().is_some_and(is_described_commit));
            if let Some(commits) = commits {
                parts.since.commits = commits;
                rest.next();
            } else if part == "dirty" {
                parts.since.dirty = true;
            } else if versioned && is_variant(part) {
                parts.variant.push(part);
            } else {
                parts.version.push('-');
                parts.version.push_str(part);
            }
        }
        parts
    }

    fn semver(&self) -> Option<Version> {
        let mut version = Version::parse(self.version.strip_prefix(['v', 'V']).unwrap_or(&self.version)).ok()?;
        version.build = semver::BuildMetadata::EMPTY;
        Some(version)
    }

    fn variant(&self) -> String {
        variant_of(self.variant.iter().copied())
    }

    fn variant_text(&self) -> String {
        self.variant.join("-").to_ascii_lowercase()
    }
}

/// Whether the first part of a tag is a version; a hash that begins with a digit is none.
fn begins_with_version(tag: &str) -> bool {
    let first = tag.split('-').next().unwrap_or_default();
    first.strip_prefix(['v', 'V']).unwrap_or(first).starts_with(|c: char| c.is_ascii_digit()) && !is_hash(first)
}

/// `gabcdef`: the commit in what git describe writes.
fn is_described_commit(part: &str) -> bool {
    let hex = part.strip_prefix('g').unwrap_or_default();
    (4..=64).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_variant(part: &str) -> bool {
    let letters = part.bytes().take_while(u8::is_ascii_alphabetic).count();
    letters >= 3 && !is_hash(part) && !STAGES.contains(&variant_of([part].into_iter()).as_str())
}

/// Parts without digits and dots, so that a newer Alpine is the same variant.
fn variant_of<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let name = |part: &str| part.chars().filter(|c| !c.is_ascii_digit() && *c != '.').collect::<String>();
    parts.map(name).collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

/// Semver's precedence, but numbers inside of an identifier count: `rc10` comes after `rc9`.
fn semver_order(from: &Version, to: &Version) -> Ordering {
    let release = |version: &Version| (version.major, version.minor, version.patch);
    let pre = |version: &Version| version.pre.as_str().split('.').map(str::to_owned).collect::<Vec<_>>();
    release(from).cmp(&release(to)).then_with(|| match (from.pre.is_empty(), to.pre.is_empty()) {
        (false, false) => {
            let (from, to) = (pre(from), pre(to));
            let differing = from.iter().zip(&to).map(|(a, b)| identifier_order(a, b)).find(|order| order.is_ne());
            differing.unwrap_or_else(|| from.len().cmp(&to.len()))
        }
        (from, to) => from.cmp(&to),
    })
}

/// Numbers are lower than words.
fn identifier_order(from: &str, to: &str) -> Ordering {
    is_number(to).cmp(&is_number(from)).then_with(|| natural(from, to))
}

fn is_number(identifier: &str) -> bool {
    identifier.bytes().all(|b| b.is_ascii_digit())
}

fn natural(from: &str, to: &str) -> Ordering {
    runs(from).cmp(&runs(to))
}

/// `v1690` and `v1694`, `release_12` and `release_13`, `2026.8` and `2026.8.1`: the same text around the numbers, and
/// at most more dotted numbers at the end.
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
    use proptest::prelude::*;

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
        check("1.2-alpine3.9", "1.2-alpine3.20", Some(Ordering::Less));
        check("1.2.0-rc9", "1.2.0-rc10", Some(Ordering::Less));
        check("1.2.0-rc.2", "1.2.0-rc.1.5", Some(Ordering::Greater));
        check("1.2.0-alpha.7", "1.2.0-alpha.beta", Some(Ordering::Less));
        check("2.0.0-debian-12-r9", "2.0.0-debian-12-r10", Some(Ordering::Less));
        check("build-2026-08-14-7", "build-2026-08-15-1", Some(Ordering::Less));
        check("v1", "release_2", None);
        check("1.2.0", "1.2.0", None);
        check("1.2", "1.2-alpine", None);
        check("1.2.0", "1.2.0-alpine", None);
        check("1.2.1-alpine", "1.2.0", Some(Ordering::Greater));
        check("latest", "stable", None);
        check("ed44845a2bd8d296ab6de637e57b85610623e8ae", "f46f242fa6b431e0086e76799732e9ce18bdc3cc", None);
        check("e123456", "e123457", None);
        check("", "1", None);
        check("99999999999999999999999999", "100000000000000000000000000", Some(Ordering::Less));
    }

    #[test]
    fn what_git_describes_comes_after_the_tag_and_before_the_next() {
        let rising = [
            "v0.4.0-rc.1",
            "v0.4.0-rc.1-3-g0f1e2d3",
            "v0.4.0",
            "v0.4.0-2-gdeadbeef",
            "v0.4.0-11-gc0ffee0",
            "v0.4.0-11-gc0ffee0-dirty",
            "v0.4.1-alpha",
            "v0.4.1",
        ];
        for pair in rising.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Some(Ordering::Less), "{pair:?}");
            assert!(TagVersion::parse(pair[0]) < TagVersion::parse(pair[1]), "{pair:?}");
        }
        assert_eq!(compare("v7.1", "v7.1-4-g1a2b3c4"), Some(Ordering::Less), "without a third number too");
        assert_eq!(compare("v7.1-4-g1a2b3c4", "v7.2"), Some(Ordering::Less));
        assert_eq!(compare("v0.4.0-0-g0f1e2d3", "v0.4.0"), None);
    }

    #[test]
    fn a_variant_is_what_follows_the_version_in_words_of_its_own() {
        let check = |tag: &str, want: &str| assert_eq!(variant(tag).as_deref(), Some(want), "{tag}");
        check("5.0.1", "");
        check("5.0.1-bookworm", "bookworm");
        check("5.0.1-alpine3.20", "alpine");
        check("v5.0-Alpine3.19", "alpine");
        check("21.0.4_7-jdk-alpine", "jdk-alpine");
        check("5-windowsservercore-ltsc2022", "windowsservercore-ltsc");
        check("2.0.0-debian-12-r5", "debian");
        for none in ["rc1", "rc.1", "m3", "r1", "p4", "beta2", "SNAPSHOT", "dev.20260101", "build.7", "hotfix1", "a1"] {
            check(&format!("5.0.1-{none}"), "");
        }
        check("v5.0.1-5-gabcdef", "");
        check("v5.0.1-5-gabcdef-slim", "slim");
        check("5.0.1-4f2c1aa", "");
        check("5.0.1-fa52c1a", "");
        assert_eq!(variant("edge-alpine"), None);
        assert_eq!(variant("4ba3d9ab-alpine"), None, "a hash is no version");
        let newer = TagVersion::parse("5.0.1-alpine3.20").expect("a version");
        assert!(TagVersion::parse("5.0.1-alpine3.9").is_some_and(|older| older < newer));
        assert!(TagVersion::parse("5.0.1").is_some_and(|plain| plain > newer), "the tag without a variant names it");
        assert!(TagVersion::parse("5.0.0").is_some_and(|lower| lower < newer));
    }

    /// Tags that are made of few parts, so that many are versions and many are alike.
    fn tag() -> impl Strategy<Value = String> {
        let number = || prop::sample::select(vec!["0", "1", "2", "9", "10", "255", "256", "18446744073709551615"]);
        let part = || {
            prop::sample::select(vec![
                "rc.1",
                "rc1",
                "rc2",
                "rc10",
                "rc.2",
                "alpha",
                "alpha.1",
                "alpha.beta",
                "beta2",
                "0",
                "7",
                "x7z",
                "x07z",
                "3-gabcdef0",
                "12-gabcdef0",
                "dirty",
                "alpine3.9",
                "alpine3.20",
                "slim",
                "jdk-slim",
                "debian-12-r9",
            ])
        };
        let parts = (prop::bool::ANY, number(), number(), number(), prop::collection::vec(part(), 0..4));
        parts.prop_map(|(v, major, minor, patch, parts)| {
            let mut tag = format!("{}{major}.{minor}.{patch}", if v { "v" } else { "" });
            parts.iter().for_each(|part| tag.extend(["-", *part]));
            tag
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_096, ..ProptestConfig::default() })]

        #[test]
        fn bytes_of_versions_sort_as_they_do(one in tag(), other in tag()) {
            if let Some((one, other)) = TagVersion::parse(&one).zip(TagVersion::parse(&other)) {
                let (a, b) = (one.sort_key(), other.sort_key());
                prop_assert_eq!(a.cmp(&b), one.cmp(&other), "{:?} {:?}", one, other);
                prop_assert!(a == b || !a.starts_with(&b), "{:?} {:?}", one, other);
            }
        }
    }
}
