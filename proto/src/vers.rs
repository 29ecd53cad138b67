//! `vers:` ranges (package-url/vers-spec): a scheme and constraints on versions.
//!
//! Schemes: `npm cargo golang semver nuget composer hex pub swift github gem` order as Semantic Versioning does,
//! tolerating missing numbers; `pypi` as PEP 440 without local versions; `generic` compares numbers and words in turn.
//! A range of any other scheme (deb, rpm, maven ...) is refused rather than guessed at.

use std::cmp::Ordering;

/// Most constraints of one range.
pub const CONSTRAINTS_MAX: usize = 256;
/// Longest version that is compared, bytes.
const VERSION_BYTES_MAX: usize = 256;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scheme {
    Semver,
    Pypi,
    Generic,
}

impl Scheme {
    fn of(name: &str) -> Option<Scheme> {
        Some(match name {
            "npm" | "cargo" | "golang" | "semver" | "nuget" | "composer" | "hex" | "pub" | "swift" | "github"
            | "gem" => Scheme::Semver,
            "pypi" => Scheme::Pypi,
            "generic" => Scheme::Generic,
            _ => return None,
        })
    }

    fn compare(self, a: &str, b: &str) -> Ordering {
        match self {
            Scheme::Semver => semver(a).cmp(&semver(b)),
            Scheme::Pypi => pypi(a).cmp(&pypi(b)),
            Scheme::Generic => generic(a).cmp(&generic(b)),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Comparator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A parsed range.
#[derive(Clone, PartialEq, Debug)]
pub struct Range {
    scheme: Scheme,
    /// By version; empty: every version.
    constraints: Vec<(Comparator, String)>,
}

impl Range {
    /// Reads `vers:npm/>=1.0.0|<2.0.0`; the error says what to change. `kind` is the purl's type.
    pub fn parse(text: &str, kind: &str) -> Result<Range, String> {
        let refused = |why: &str| format!("{text:?} is not a range that can be compared: {why}");
        let rest = text.trim().strip_prefix("vers:").ok_or_else(|| refused("write vers:TYPE/CONSTRAINTS"))?;
        let (name, constraints) = rest.split_once('/').ok_or_else(|| refused("write vers:TYPE/CONSTRAINTS"))?;
        let scheme = Scheme::of(name).ok_or_else(|| refused("its scheme is not supported; name exact versions"))?;
        if !matches!(name, "semver" | "generic") && name != kind {
            return Err(refused("its scheme is not the purl's type"));
        }
        let parts: Vec<&str> = constraints.split('|').map(str::trim).filter(|part| !part.is_empty()).collect();
        if parts.is_empty() || parts.len() > CONSTRAINTS_MAX {
            return Err(refused("it has no constraints or too many"));
        }
        if parts == ["*"] {
            return Ok(Range { scheme, constraints: vec![] });
        }
        let mut constraints: Vec<_> = parts.into_iter().map(constraint).collect();
        if constraints.iter().any(|(_, v)| v.is_empty() || v.len() > VERSION_BYTES_MAX || v.contains(['*', '<', '>'])) {
            return Err(refused("a constraint has no version"));
        }
        constraints.sort_by(|a, b| scheme.compare(&a.1, &b.1));
        Ok(Range { scheme, constraints })
    }

    /// Is a version in the range?
    pub fn contains(&self, version: &str) -> bool {
        use Comparator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        if version.is_empty() || version.len() > VERSION_BYTES_MAX {
            return self.constraints.is_empty();
        }
        let holds = |comparator: Comparator, bound: &str| {
            let order = self.scheme.compare(version, bound);
            match comparator {
                Equal => order.is_eq(),
                NotEqual => order.is_ne(),
                Less => order.is_lt(),
                LessOrEqual => order.is_le(),
                Greater => order.is_gt(),
                GreaterOrEqual => order.is_ge(),
            }
        };
        let of = |wanted: Comparator| self.constraints.iter().filter(move |(comparator, _)| *comparator == wanted);
        if of(Equal).any(|(_, bound)| holds(Equal, bound)) {
            return true;
        }
        if of(NotEqual).any(|(_, bound)| !holds(NotEqual, bound)) {
            return false;
        }
        let bounds: Vec<_> = self.constraints.iter().filter(|(c, _)| !matches!(c, Equal | NotEqual)).collect();
        let upper = |c: Comparator| matches!(c, Less | LessOrEqual);
        let (Some(first), Some(last)) = (bounds.first(), bounds.last()) else {
            return of(Equal).next().is_none();
        };
        let below = upper(first.0) && holds(first.0, &first.1);
        let above = !upper(last.0) && holds(last.0, &last.1);
        let between = bounds.windows(2).any(|pair| {
            let interval = !upper(pair[0].0) && upper(pair[1].0);
            interval && holds(pair[0].0, &pair[0].1) && holds(pair[1].0, &pair[1].1)
        });
        below || above || between
    }
}

fn constraint(part: &str) -> (Comparator, String) {
    use Comparator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    let signs =
        [(">=", GreaterOrEqual), ("<=", LessOrEqual), ("!=", NotEqual), (">", Greater), ("<", Less), ("=", Equal)];
    let found = signs.into_iter().find_map(|(sign, comparator)| Some((comparator, part.strip_prefix(sign)?)));
    let (comparator, version) = found.unwrap_or((Equal, part));
    (comparator, percent_decoded(version.trim()))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match code.filter(|_| byte == b'%') {
            Some(code) => {
                bytes.push(code);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// A number of any length, or a word; numbers come first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Part {
    Number(usize, String),
    Word(String),
}

fn part(text: &str) -> Part {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let digits = text.trim_start_matches('0');
        Part::Number(digits.len(), digits.to_owned())
    } else {
        Part::Word(text.to_owned())
    }
}

fn zero() -> Part {
    Part::Number(0, String::new())
}

/// Numbers without trailing zeros, so that `1` and `1.0.0` are equal; then a release after its prereleases.
fn semver(version: &str) -> (Vec<Part>, bool, Vec<Part>) {
    let version = version.strip_prefix(['v', 'V']).unwrap_or(version);
    let version = version.split_once('+').map_or(version, |(version, _)| version);
    let (numbers, prerelease) = version.split_once('-').map_or((version, None), |(n, p)| (n, Some(p)));
    let prerelease: Vec<Part> = prerelease.map(|p| p.split('.').map(part).collect()).unwrap_or_default();
    (trimmed(numbers.split('.').map(part).collect()), prerelease.is_empty(), prerelease)
}

fn trimmed(mut numbers: Vec<Part>) -> Vec<Part> {
    while numbers.last() == Some(&zero()) {
        numbers.pop();
    }
    numbers
}

/// (epoch, release, phase, number of the phase, post, not a development release, its number): phases are development,
/// a, b, rc, final.
type Pep440 = (Part, Vec<Part>, u8, Part, Option<Part>, bool, Part);

fn pypi(version: &str) -> Pep440 {
    let version = version.trim().to_ascii_lowercase();
    let version = version.strip_prefix('v').unwrap_or(&version);
    let version = version.split_once('+').map_or(version, |(version, _)| version);
    let (epoch, version) = version.split_once('!').unwrap_or(("0", version));
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    let (release, mut rest) = version.split_at(end);
    let release = trimmed(release.trim_end_matches('.').split('.').map(part).collect());
    let (mut phase, mut number, mut post, mut dev) = (None, zero(), None, None);
    while let Some((word, value, after)) = suffix(rest) {
        match word {
            "a" | "alpha" => (phase, number) = (Some(1), value),
            "b" | "beta" => (phase, number) = (Some(2), value),
            "c" | "rc" | "pre" | "preview" => (phase, number) = (Some(3), value),
            "post" | "rev" | "r" | "" => post = Some(value),
            "dev" => dev = Some(value),
            _ => {}
        }
        rest = after;
    }
    // A development release of a final version comes before its prereleases.
    let phase = phase.unwrap_or(if dev.is_some() && post.is_none() { 0 } else { 4 });
    (part(epoch), release, phase, number, post, dev.is_none(), dev.unwrap_or_else(zero))
}

/// The next word with its number: `.dev3` is (`dev`, 3); a bare `-1` is (``, 1).
fn suffix(rest: &str) -> Option<(&str, Part, &str)> {
    let rest = rest.trim_start_matches(['.', '-', '_']);
    let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    let digits_from = after.trim_start_matches(['.', '-', '_']);
    let end = digits_from.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits_from.len());
    let (digits, after) = digits_from.split_at(end);
    let number = if digits.is_empty() { zero() } else { part(digits) };
    (!word.is_empty() || !digits.is_empty()).then_some((word, number, after))
}

/// Numbers and words in turn; a longer version is the higher one.
fn generic(version: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = version;
    while let Some(first) = rest.chars().next() {
        let digit = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digit).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        let words = run.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        parts.extend(words.map(part));
        rest = after;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_what_they_say() {
        let check = |range: &str, kind: &str, inside: &[&str], outside: &[&str]| {
            let range = Range::parse(range, kind).expect("a range");
            for version in inside {
                assert!(range.contains(version), "{version} in {range:?}");
            }
            for version in outside {
                assert!(!range.contains(version), "{version} not in {range:?}");
            }
        };
        check("vers:npm/>=1.0.0|<2.0.0", "npm", &["1.0.0", "1.9.9", "v1.2"], &["2.0.0", "0.9", "1.0.0-rc.1", ""]);
        check("vers:npm/<2.0.0|>=1.0.0", "npm", &["1.5.0", "2.0.0-alpha"], &["2.0.0"]);
        check(
            "vers:golang/1.2.3|>=v2.0.0|<2.1.0|>3",
            "golang",
            &["v1.2.3", "2.0.5", "3.0.1"],
            &["1.2.4", "2.1.0", "3.0.0"],
        );
        check("vers:cargo/!=1.0.0", "cargo", &["1.0.1"], &["1.0.0"]);
        check("vers:npm/*", "npm", &["1.0.0", "x", ""], &[]);
        check("vers:npm/1.0.0|2.0.0", "npm", &["1.0.0", "2.0"], &["1.5.0"]);
        check(
            "vers:pypi/<1.0",
            "pypi",
            &["1.0.dev1", "1.0a1", "1.0rc2", "0.9.post1"],
            &["1.0", "1.0.post1", "1!0.1", "1.0.0"],
        );
        check("vers:pypi/>1.0|<=1.0.post2", "pypi", &["1.0.post1", "1.0-2"], &["1.0.post3", "1.0.0"]);
        check("vers:generic/>=1.9|<1.10.0a", "generic", &["1.9", "1.9.9", "1.10.0"], &["1.10.0b", "1.11"]);
        check("vers:npm/>=1.0.0-a%2Bb", "npm", &["1.0.0"], &["0.9.0"]);
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        for range in ["npm/>1", "vers:npm", "vers:deb/>1", "vers:npm/", "vers:npm/>=", "vers:pypi/>1", "vers:npm/1|*"] {
            assert!(Range::parse(range, "npm").is_err(), "{range}");
        }
    }

    #[test]
    fn hostile_versions_do_not_panic() {
        for version in ["%", "é", "....", "-", "+", "!", "1!", "v", "999999999999999999999999999999", "1.é-é"] {
            for scheme in ["npm", "pypi", "generic"] {
                let range = Range::parse(&format!("vers:{scheme}/<1.0"), scheme).expect("a range");
                range.contains(version);
            }
        }
    }
}
