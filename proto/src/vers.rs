//! `vers:` ranges (package-url/vers-spec): a scheme and constraints on versions.
//!
//! Schemes are the types of purls that have an order ([`crate::versions`]), and `semver`. A range of any other scheme
//! (alpm, conan ...), or with a version that its order cannot read, is refused rather than guessed at.

use std::cmp::Ordering;

use crate::versions::{Scheme, VERSION_BYTES_MAX};

/// Most constraints of one range.
pub const CONSTRAINTS_MAX: usize = 256;

/// The order of a scheme of ranges: that of a type of purls, or Semantic Versioning by name.
fn scheme_of(name: &str) -> Option<Scheme> {
    if name == "semver" { Some(Scheme::Semver) } else { Scheme::of_purl_type(name) }
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
        let scheme = scheme_of(name).ok_or_else(|| refused("its scheme is not supported; name exact versions"))?;
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
        if let Some((_, unread)) = constraints.iter().find(|(_, version)| !scheme.reads(version)) {
            return Err(refused(&format!("{unread:?} is no version of its scheme")));
        }
        constraints.sort_by(|a, b| scheme.compare(&a.1, &b.1).unwrap_or(Ordering::Equal));
        Ok(Range { scheme, constraints })
    }

    /// Is a version in the range? One that cannot be compared is only in that of all versions.
    pub fn contains(&self, version: &str) -> bool {
        self.tells(version).unwrap_or(false)
    }

    /// Whether a version is in the range; `None` where it cannot be compared.
    pub fn tells(&self, version: &str) -> Option<bool> {
        let is_told = self.constraints.is_empty() || self.scheme.reads(version);
        is_told.then(|| self.holds(version))
    }

    fn holds(&self, version: &str) -> bool {
        use Comparator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        let holds = |comparator: Comparator, bound: &str| {
            let Some(order) = self.scheme.compare_to_bound(version, bound) else { return false };
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
        check("vers:pypi/<=2.1.0", "pypi", &["2.1.0+cu118", "2.1.0"], &["2.1.1", "not a version"]);
        check("vers:deb/>=1.0-1|<1:0", "deb", &["1.0-1+b1", "9"], &["1.0-1~deb12u1", "1:0-1"]);
        check("vers:rpm/<32:9.11.26-4.el8_4", "rpm", &["32:9.11.26-3.el8", "9.16-1"], &["32:9.11.26-4.el8_4"]);
        check("vers:maven/>=2.0|<2.15.0", "maven", &["2.0-1", "2.15.0-rc1"], &["2.0-rc1", "2.15.0.ga"]);
        check("vers:apk/<3.1.4-r1", "apk", &["3.1.4-r0", "3.1.4_rc1"], &["3.1.4-r1", "3.1.5"]);
        check("vers:gem/<2.0", "gem", &["2.0.0.rc1"], &["2.0.0"]);
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        for range in [
            "npm/>1",
            "vers:npm",
            "vers:deb/>1",
            "vers:npm/",
            "vers:npm/>=",
            "vers:pypi/>1",
            "vers:npm/1|*",
            "vers:npm/<latest",
        ] {
            assert!(Range::parse(range, "npm").is_err(), "{range}");
        }
        assert!(Range::parse("vers:alpm/>1", "alpm").is_err());
        let range = Range::parse("vers:npm/<2", "npm").expect("a range");
        assert_eq!([range.tells("1"), range.tells("2"), range.tells("latest")], [Some(true), Some(false), None]);
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
