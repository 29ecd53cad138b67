//! How versions are ordered, kind by kind: what `vers:` ranges and advisories compare with.
//!
//! A version that an order cannot read is never guessed at: comparing it gives nothing. Numbers may have any length.

use std::borrow::Cow;
use std::cmp::Ordering;

use rpm_version::Evr;

/// Longest version that is compared, bytes.
pub const VERSION_BYTES_MAX: usize = 256;

/// How versions of one kind of package are ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// Semantic Versioning 2.0.0, section 11. A `v` in front, and fewer or more than three numbers are read too; `1`
    /// and `1.0.0` are equal.
    Semver,
    /// As [`Scheme::Semver`] in any case, as NuGet compares.
    Nuget,
    /// RubyGems: `1.0.rc1` comes before `1.0`.
    Gem,
    /// Composer: stabilities `dev`, `alpha`, `beta`, `RC`, none, `patch`, each with numbers.
    Composer,
    /// PEP 440.
    Pypi,
    /// Maven's version order specification (POM reference).
    Maven,
    /// deb-version(7).
    Debian,
    /// rpm-version(7): epoch, version and release by rpmvercmp.
    Rpm,
    /// Alpine's apk: numbers, letter, suffixes, commit, revision.
    Apk,
    /// Numbers and words in turn; a longer version is the higher one.
    Generic,
}

impl Scheme {
    /// The order of the versions of packages whose purls have a type.
    pub fn of_purl_type(kind: &str) -> Option<Scheme> {
        Some(match kind {
            "npm" | "cargo" | "golang" | "hex" | "pub" | "swift" | "github" | "githubactions" | "bitnami" | "julia" => {
                Scheme::Semver
            }
            "nuget" => Scheme::Nuget,
            "gem" => Scheme::Gem,
            "composer" => Scheme::Composer,
            "pypi" => Scheme::Pypi,
            "maven" => Scheme::Maven,
            "deb" => Scheme::Debian,
            "rpm" => Scheme::Rpm,
            "apk" => Scheme::Apk,
            "generic" | "cran" | "hackage" => Scheme::Generic,
            _ => return None,
        })
    }

    /// The order of the versions of an ecosystem of OSV, with or without its release: `Debian:12`, `Maven`.
    pub fn of_ecosystem(ecosystem: &str) -> Option<Scheme> {
        let (name, rest) = ecosystem.split_once(':').unwrap_or((ecosystem, ""));
        Some(match name {
            "npm" | "crates.io" | "Go" | "Hex" | "Pub" | "SwiftURL" | "GitHub Actions" | "Bitnami" | "Julia"
            | "Bioconductor" | "Kubernetes" => Scheme::Semver,
            "NuGet" => Scheme::Nuget,
            "RubyGems" => Scheme::Gem,
            "Packagist" => Scheme::Composer,
            "PyPI" => Scheme::Pypi,
            "Maven" => Scheme::Maven,
            "Debian" | "Ubuntu" | "Echo" => Scheme::Debian,
            "AlmaLinux" | "Azure Linux" | "Mageia" | "openEuler" | "openSUSE" | "Photon OS" | "Red Hat"
            | "Rocky Linux" | "SUSE" => Scheme::Rpm,
            "Alpine" | "Alpaquita" | "BellSoft Hardened Containers" | "Chainguard" | "MinimOS" | "Wolfi" => Scheme::Apk,
            "CRAN" | "Hackage" => Scheme::Generic,
            // Patched packages of others, whose ecosystem follows.
            "Root" if !rest.starts_with("Root") => return Scheme::of_ecosystem(rest),
            _ => return None,
        })
    }

    /// Compares two versions; `None` where one of them cannot be read in this order. What can be read is ordered
    /// totally.
    pub fn compare(self, a: &str, b: &str) -> Option<Ordering> {
        let (a, b) = (self.spelled(a)?, self.spelled(b)?);
        let (a, b) = (a.as_ref(), b.as_ref());
        Some(match self {
            Scheme::Semver | Scheme::Nuget => semver(a)?.cmp(&semver(b)?),
            Scheme::Gem => padded(&gem(a)?, &gem(b)?, &Segment::Number(ZERO)),
            Scheme::Composer => composer(a)?.cmp(&composer(b)?),
            Scheme::Pypi => pypi(a)?.cmp(&pypi(b)?),
            Scheme::Maven => padded(&maven(a)?, &maven(b)?, &Token::Null),
            Scheme::Debian => {
                let ((a_epoch, a, a_revision), (b_epoch, b, b_revision)) = (debian(a)?, debian(b)?);
                let version = || debian_part(a, b).then_with(|| debian_part(a_revision, b_revision));
                a_epoch.cmp(&b_epoch).then_with(version)
            }
            Scheme::Rpm => rpm(a)?.cmp(&rpm(b)?),
            Scheme::Apk => apk(a)?.cmp(&apk(b)?),
            Scheme::Generic => generic(a).cmp(&generic(b)),
        })
    }

    /// Compares an installed version with the end of a range. What the end does not name does not count: a local part
    /// in PEP 440, the release of an RPM, the revision of an apk. So `1.0+cpu` is in all that ends with `1.0`.
    pub fn compare_to_bound(self, version: &str, bound: &str) -> Option<Ordering> {
        let without = |mark: &str| match version.split_once(mark) {
            Some((named, _)) if !bound.contains(mark) => named,
            Some(_) | None => version,
        };
        let version = match self {
            Scheme::Pypi => without("+"),
            Scheme::Rpm => without("-"),
            Scheme::Apk => without("-r"),
            Scheme::Semver
            | Scheme::Nuget
            | Scheme::Gem
            | Scheme::Composer
            | Scheme::Maven
            | Scheme::Debian
            | Scheme::Generic => version,
        };
        self.compare(version, bound)
    }

    /// Whether a version can be compared at all.
    pub fn reads(self, version: &str) -> bool {
        self.compare(version, version).is_some()
    }

    /// The version as it is compared: without white space around it, in lower case where case does not count.
    fn spelled(self, version: &str) -> Option<Cow<'_, str>> {
        let version = version.trim();
        if version.is_empty() || version.len() > VERSION_BYTES_MAX {
            return None;
        }
        let any_case = matches!(self, Scheme::Nuget | Scheme::Composer | Scheme::Pypi | Scheme::Maven);
        Some(if any_case { Cow::Owned(version.to_ascii_lowercase()) } else { Cow::Borrowed(version) })
    }
}

/// A number of any length: how many digits it has without zeros in front, and these.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Number<'a>(usize, &'a str);

const ZERO: Number<'static> = Number(0, "");

/// The number that a text is.
fn number(text: &str) -> Option<Number<'_>> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = text.trim_start_matches('0');
    Some(Number(digits.len(), digits))
}

/// The digits at the beginning of a text, and the rest.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// The letters at the beginning of a text, and the rest.
fn letters(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len()))
}

/// Dotted numbers without zeros at the end, so that `1` and `1.0.0` are equal.
fn release(text: &str) -> Option<Vec<Number<'_>>> {
    let mut numbers = text.split('.').map(number).collect::<Option<Vec<_>>>()?;
    while numbers.last() == Some(&ZERO) {
        numbers.pop();
    }
    Some(numbers)
}

/// Compares element by element, as if the shorter list went on with `nothing`.
fn padded<T: Ord>(a: &[T], b: &[T], nothing: &T) -> Ordering {
    let mut orders = (0..a.len().max(b.len())).map(|n| a.get(n).unwrap_or(nothing).cmp(b.get(n).unwrap_or(nothing)));
    orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// An identifier of a prerelease: numbers come before words.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Identifier<'a> {
    Number(Number<'a>),
    Word(&'a str),
}

fn identifier(text: &str) -> Identifier<'_> {
    number(text).map_or(Identifier::Word(text), Identifier::Number)
}

/// The numbers; whether it is a release; its prerelease. Build metadata does not count.
fn semver(version: &str) -> Option<(Vec<Number<'_>>, bool, Vec<Identifier<'_>>)> {
    // Go calls its own releases go1.22.1.
    let version = version.strip_prefix(['v', 'V', '=']).or_else(|| version.strip_prefix("go")).unwrap_or(version);
    let version = version.split_once('+').map_or(version, |(version, _)| version);
    let (numbers, prerelease) = version.split_once('-').map_or((version, None), |(n, p)| (n, Some(p)));
    let numbers = release(numbers)?;
    let Some(prerelease) = prerelease else { return Some((numbers, true, vec![])) };
    let usable = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic());
    let parts = prerelease.split('.');
    parts.clone().all(usable).then(|| (numbers, false, parts.map(identifier).collect()))
}

/// A part in which words come before numbers.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Segment<'a> {
    Word(&'a str),
    Number(Number<'a>),
}

/// Numbers and words in turn; without zeros at the end, nor before the first word.
fn gem(version: &str) -> Option<Vec<Segment<'_>>> {
    let (version, mut prerelease) = version.split_once('-').map_or((version, ""), |(v, p)| (v, p));
    // A platform is no prerelease.
    const PLATFORMS: [&str; 8] = ["x86", "x64", "arm", "aarch64", "java", "universal", "mswin", "mingw"];
    if PLATFORMS.iter().any(|platform| prerelease.starts_with(platform)) {
        prerelease = "";
    }
    number(digits(version).0)?;
    let mut segments = Vec::new();
    let mut words_from = None;
    let marked = [version, if prerelease.is_empty() { "" } else { "pre" }, prerelease];
    for part in marked.into_iter().flat_map(|part| part.split(['.', '-'])).filter(|part| !part.is_empty()) {
        let mut rest = part;
        while !rest.is_empty() {
            let (digits, after) = digits(rest);
            if let Some(number) = number(digits) {
                segments.push(Segment::Number(number));
                rest = after;
                continue;
            }
            let (word, after) = letters(rest);
            if word.is_empty() {
                return None;
            }
            words_from.get_or_insert(segments.len());
            segments.push(Segment::Word(word));
            rest = after;
        }
    }
    let mut words = segments.split_off(words_from.unwrap_or(segments.len()));
    for list in [&mut segments, &mut words] {
        while list.last() == Some(&Segment::Number(ZERO)) {
            list.pop();
        }
    }
    segments.append(&mut words);
    Some(segments)
}

/// Numbers, stability, its numbers, whether it is no development version of that.
type Composer<'a> = (Vec<Number<'a>>, u8, Vec<Number<'a>>, bool);

fn composer<'a>(version: &'a str) -> Option<Composer<'a>> {
    const FINAL: u8 = 4;
    let version = version.strip_prefix('v').unwrap_or(version);
    let version = version.split_once(['+', '#']).map_or(version, |(version, _)| version);
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    let (numbers, rest) = version.split_at(end);
    let numbers = release(if rest.is_empty() { numbers } else { numbers.strip_suffix('.').unwrap_or(numbers) })?;
    let rest = rest.strip_prefix(['-', '_']).unwrap_or(rest);
    let (word, mut rest) = letters(rest);
    let stability = match word {
        "" | "stable" => FINAL,
        "dev" if rest.is_empty() => return Some((numbers, 0, vec![], true)),
        "a" | "alpha" => 1,
        "b" | "beta" => 2,
        "rc" => 3,
        "p" | "pl" | "patch" => FINAL + 1,
        _ => return None,
    };
    let without_separator = |rest: &'a str| rest.strip_prefix(['.', '-']).unwrap_or(rest);
    let mut counted = Vec::new();
    while let Some(found) = number(digits(without_separator(rest)).0).filter(|_| !word.is_empty()) {
        counted.push(found);
        rest = digits(without_separator(rest)).1;
    }
    let is_dev = without_separator(rest) == "dev";
    (rest.is_empty() || is_dev).then_some((numbers, stability, counted, !is_dev))
}

/// Epoch, release, phase, number of the phase, post, not a development release, its number, local part. Phases are
/// development, a, b, rc, final.
type Pep440<'a> = (Number<'a>, Vec<Number<'a>>, u8, Number<'a>, Option<Number<'a>>, bool, Number<'a>, Vec<Segment<'a>>);

fn pypi(version: &str) -> Option<Pep440<'_>> {
    const PHASES: [(&str, u8); 8] =
        [("alpha", 1), ("a", 1), ("beta", 2), ("b", 2), ("c", 3), ("rc", 3), ("preview", 3), ("pre", 3)];
    let version = version.strip_prefix('v').unwrap_or(version);
    let (version, local) = version.split_once('+').map_or((version, None), |(v, local)| (v, Some(local)));
    let (epoch, version) = match version.split_once('!') {
        Some((epoch, version)) => (number(epoch)?, version),
        None => (ZERO, version),
    };
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    // A dot before a word is what parts it from the numbers.
    let end = if end < version.len() && version[..end].ends_with('.') { end - 1 } else { end };
    let (numbers, rest) = version.split_at(end);
    let numbers = release(numbers)?;
    let (phase, rest) = labelled(rest, &PHASES);
    let implicit = rest.strip_prefix('-').map(digits).and_then(|(digits, rest)| Some((number(digits)?, rest)));
    let (post, rest) = match implicit {
        Some((number, rest)) => (Some((0, number)), rest),
        None => labelled(rest, &[("post", 0), ("rev", 0), ("r", 0)]),
    };
    let (dev, rest) = labelled(rest, &[("dev", 0)]);
    if !rest.is_empty() {
        return None;
    }
    let local = match local {
        Some(local) => local.split(['.', '-', '_']).map(local_part).collect::<Option<Vec<_>>>()?,
        None => vec![],
    };
    // A development release of a final version comes before its prereleases.
    let bare = (if dev.is_some() && post.is_none() { 0 } else { 4 }, ZERO);
    let (phase, phase_number) = phase.unwrap_or(bare);
    let (post, dev) = (post.map(|(_, number)| number), dev.map(|(_, number)| number));
    Some((epoch, numbers, phase, phase_number, post, dev.is_none(), dev.unwrap_or(ZERO), local))
}

fn local_part(part: &str) -> Option<Segment<'_>> {
    let usable = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    usable.then(|| number(part).map_or(Segment::Word(part), Segment::Number))
}

/// A word of a list with the number that follows it, 0 where none does, and the rest: `.dev3` is (`dev`, 3). Longer words
/// stand before shorter ones that they begin with.
fn labelled<'a>(text: &'a str, words: &[(&str, u8)]) -> (Option<(u8, Number<'a>)>, &'a str) {
    const SEPARATORS: [char; 3] = ['.', '-', '_'];
    let label = text.strip_prefix(SEPARATORS).unwrap_or(text);
    let found = words.iter().find_map(|(word, meaning)| Some((*meaning, label.strip_prefix(word)?)));
    let Some((meaning, after)) = found else { return (None, text) };
    let (counted, rest) = digits(after.strip_prefix(SEPARATORS).unwrap_or(after));
    (Some((meaning, number(counted).unwrap_or(ZERO))), rest)
}

/// A token of a Maven version: qualifiers before a release, nothing, qualifiers after one, numbers.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Token<'a> {
    Before(u8),
    Null,
    ServicePack,
    Word(&'a str),
    Hyphen(Number<'a>),
    Dot(Number<'a>),
}

/// Tokens between dots, hyphens, and digits and letters, without those that mean nothing before a hyphen or qualifier
/// or at the end.
fn maven(version: &str) -> Option<Vec<Token<'_>>> {
    if !version.bytes().any(|byte| byte.is_ascii_digit()) || version.contains(char::is_whitespace) {
        return None;
    }
    let (mut tokens, mut rest, mut dot) = (Vec::new(), version, true);
    loop {
        let (token, after) = digits(rest);
        let (token, after) = if token.is_empty() {
            let end = rest.find(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '_')).unwrap_or(rest.len());
            rest.split_at(end)
        } else {
            (token, after)
        };
        let counted = if token.is_empty() { Some(ZERO) } else { number(token) };
        tokens.push(match counted {
            Some(number) if dot => Token::Dot(number),
            Some(number) => Token::Hyphen(number),
            None => qualifier(token, after.starts_with(|c: char| c.is_ascii_digit())),
        });
        let Some(separator) = after.chars().next() else { break };
        // From digits to letters and back there is a hyphen that nobody writes.
        let written = matches!(separator, '.' | '-' | '_');
        dot = separator == '.';
        rest = if written { &after[1..] } else { after };
    }
    let mut kept: Vec<Token<'_>> = Vec::with_capacity(tokens.len());
    for token in tokens.into_iter().rev() {
        let means_nothing = matches!(token, Token::Null | Token::Hyphen(ZERO) | Token::Dot(ZERO));
        if !means_nothing || matches!(kept.last(), Some(Token::Dot(_) | Token::Null)) {
            kept.push(token);
        }
    }
    kept.reverse();
    Some(kept)
}

fn qualifier(word: &str, before_digit: bool) -> Token<'_> {
    match word {
        "alpha" => Token::Before(0),
        "a" if before_digit => Token::Before(0),
        "beta" => Token::Before(1),
        "b" if before_digit => Token::Before(1),
        "milestone" => Token::Before(2),
        "m" if before_digit => Token::Before(2),
        "rc" | "cr" => Token::Before(3),
        "snapshot" => Token::Before(4),
        "ga" | "final" | "release" => Token::Null,
        "sp" => Token::ServicePack,
        word => Token::Word(word),
    }
}

/// Epoch, upstream version and revision.
fn debian(version: &str) -> Option<(Number<'_>, &str, &str)> {
    let (epoch, version) = match version.split_once(':') {
        Some((epoch, version)) => (number(epoch)?, version),
        None => (ZERO, version),
    };
    // No revision is the same as 0.
    let (upstream, revision) = version.rsplit_once('-').unwrap_or((version, "0"));
    let usable = |byte: u8| byte.is_ascii_alphanumeric() || b".+-~:_".contains(&byte);
    let has_both = !upstream.is_empty() && !revision.is_empty();
    (has_both && version.bytes().all(usable)).then_some((epoch, upstream, revision))
}

/// Compares what is no number and numbers in turn: `~` before the end, the end before letters, letters before others.
fn debian_part(mut a: &str, mut b: &str) -> Ordering {
    let words = |text: &str| text.find(|c: char| c.is_ascii_digit()).unwrap_or(text.len());
    let weight = |byte: u8| match byte {
        b'~' => -1_i16,
        _ if byte.is_ascii_alphabetic() => i16::from(byte),
        _ => i16::from(byte) + 256,
    };
    while !a.is_empty() || !b.is_empty() {
        let ((a_word, a_rest), (b_word, b_rest)) = (a.split_at(words(a)), b.split_at(words(b)));
        let ends = |word: &str| word.bytes().map(weight).chain([0]).collect::<Vec<_>>();
        let ((a_digits, a_rest), (b_digits, b_rest)) = (digits(a_rest), digits(b_rest));
        let numbers = || number(a_digits).unwrap_or(ZERO).cmp(&number(b_digits).unwrap_or(ZERO));
        let order = ends(a_word).cmp(&ends(b_word)).then_with(numbers);
        if order.is_ne() {
            return order;
        }
        (a, b) = (a_rest, b_rest);
    }
    Ordering::Equal
}

/// Epoch, version and release; without an epoch it is 0.
fn rpm(version: &str) -> Option<Evr<'_>> {
    let (epoch, version) = version.split_once(':').unwrap_or(("0", version));
    let (version, release) = version.rsplit_once('-').unwrap_or((version, ""));
    let usable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let readable = number(epoch).is_some() && !version.is_empty() && usable(version) && usable(release);
    readable.then(|| Evr::new(epoch, version, release))
}

/// A token of an apk version, lowest first: suffixes before a release, the end, and what goes on after it.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Apk<'a> {
    Before(usize),
    End,
    Revision(Number<'a>),
    Commit(&'a str),
    SuffixNumber(Number<'a>),
    After(usize),
    Letter(u8),
    /// Digits that begin with 0 are those behind a decimal point.
    Fraction(&'a str),
    Number(Number<'a>),
}

fn apk(version: &str) -> Option<Vec<Apk<'_>>> {
    const BEFORE: [&str; 4] = ["alpha", "beta", "pre", "rc"];
    const AFTER: [&str; 5] = ["cvs", "svn", "git", "hg", "p"];
    let (first, mut rest) = digits(version);
    let mut tokens = vec![Apk::Number(number(first)?)];
    while let Some(after) = rest.strip_prefix('.') {
        let (found, after) = digits(after);
        let number = number(found)?;
        tokens.push(if found.starts_with('0') { Apk::Fraction(found) } else { Apk::Number(number) });
        rest = after;
    }
    if let Some(letter) = rest.bytes().next().filter(u8::is_ascii_lowercase) {
        tokens.push(Apk::Letter(letter));
        rest = &rest[1..];
    }
    while let Some(after) = rest.strip_prefix('_') {
        let (word, after) = letters(after);
        let before = BEFORE.iter().position(|known| *known == word).map(Apk::Before);
        tokens.push(before.or_else(|| AFTER.iter().position(|known| *known == word).map(Apk::After))?);
        let (found, after) = digits(after);
        tokens.extend(number(found).map(Apk::SuffixNumber));
        rest = after;
    }
    if let Some(after) = rest.strip_prefix('~') {
        let (commit, after) = after.split_at(after.find('-').unwrap_or(after.len()));
        let is_hex = !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        tokens.push(Some(Apk::Commit(commit)).filter(|_| is_hex)?);
        rest = after;
    }
    if let Some(after) = rest.strip_prefix("-r") {
        tokens.push(Apk::Revision(number(after)?));
        rest = "";
    }
    tokens.push(Apk::End);
    rest.is_empty().then_some(tokens)
}

fn generic(version: &str) -> Vec<Identifier<'_>> {
    let (mut parts, mut rest) = (Vec::new(), version);
    while let Some(first) = rest.chars().next() {
        let is_digit = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != is_digit).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        parts.extend(run.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(identifier));
        rest = after;
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Scheme; 10] = [
        Scheme::Semver,
        Scheme::Nuget,
        Scheme::Gem,
        Scheme::Composer,
        Scheme::Pypi,
        Scheme::Maven,
        Scheme::Debian,
        Scheme::Rpm,
        Scheme::Apk,
        Scheme::Generic,
    ];

    /// Versions from the lowest to the highest; those that are equal stand in one text with `=` between them.
    #[track_caller]
    fn ascending(scheme: Scheme, versions: &[&str]) {
        let ranked = versions.iter().enumerate().flat_map(|(rank, same)| same.split(" = ").map(move |v| (rank, v)));
        let ranked: Vec<(usize, &str)> = ranked.collect();
        for (a_rank, a) in &ranked {
            for (b_rank, b) in &ranked {
                assert_eq!(scheme.compare(a, b), Some(a_rank.cmp(b_rank)), "{scheme:?}: {a} and {b}");
            }
        }
    }

    #[track_caller]
    fn unreadable(scheme: Scheme, versions: &[&str]) {
        for version in versions {
            assert_eq!(scheme.compare(version, "1"), None, "{scheme:?}: {version}");
            assert_eq!(scheme.compare("1", version), None, "{scheme:?}: {version}");
        }
    }

    /// Semantic Versioning 2.0.0, section 11; pseudo-versions of Go.
    #[test]
    fn semantic_versions() {
        ascending(
            Scheme::Semver,
            &[
                "0 = 0.0 = v0.0.0",
                "0.0.1",
                "1.0.0-0",
                "1.0.0-2.1",
                "1.0.0-10",
                "1.0.0-alpha",
                "1.0.0-alpha.1",
                "1.0.0-alpha.beta",
                "1.0.0-beta",
                "1.0.0-beta.2",
                "1.0.0-beta.11",
                "1.0.0-rc.1 = 1.0.0-rc.1+build.7",
                "1 = 1.0.0 = v1.0.0 = 1.0.0+20130313144700 = 1.0.0.0",
                "1.0.0.1",
                "1.2",
                "1.10.0",
                "1.22.1 = go1.22.1",
                "2.0.0 = 2.0.0+incompatible",
                "99999999999999999999999999.0.0",
            ],
        );
        ascending(Scheme::Semver, &["0.0.0-20200910000000-aaaaaaaaaaaa", "0.0.0-20201203163018-be400aefbc4c", "0.0.0"]);
        unreadable(
            Scheme::Semver,
            &["", " ", "x", "1.x", "*", "latest", "(devel)", "1..2", "1.", "1.0-", "1.0-a..b", "1.0-a b", "v", "1.0a"],
        );
        let long = format!("1.{}", "0".repeat(VERSION_BYTES_MAX));
        unreadable(Scheme::Semver, &[long.as_str()]);
    }

    #[test]
    fn nuget_compares_labels_in_any_case() {
        ascending(Scheme::Nuget, &["1.0.0-Alpha = 1.0.0-alpha", "1.0.0-BETA.2", "1.0.0-beta.10", "1.0.0", "1.0.0.1"]);
    }

    /// Gem::Version's own cases.
    #[test]
    fn gems() {
        ascending(
            Scheme::Gem,
            &[
                "0.beta.1 = 0.0.beta.1",
                "0.pre = 0-0",
                "1.8.2.a",
                "1.8.2.a9",
                "1.8.2.a10",
                "1.8.2.b",
                "1.8.2 = 1.8.2.0 = 1.8.2-x86_64-linux = 1.8.2-java",
                "1.8.2.1",
                "1.9.3.alpha.5",
                "1.9.3",
                "2.0.0.pre1 = 2.0.0.pre.1 = 2.0.0-1",
                "2.0.0.rc1",
                "2.0.0.rc2",
                "2.0.0.rc10",
                "2 = 2.0.0",
                "10",
            ],
        );
        unreadable(Scheme::Gem, &["junk", "1.2\n3", "a.1", "1.é", "1 2"]);
    }

    /// Composer's stabilities and PHP's version_compare.
    #[test]
    fn composer_stabilities() {
        ascending(
            Scheme::Composer,
            &[
                "1.0.0-dev",
                "1.0.0-alpha",
                "1.0.0-alpha1-dev",
                "1.0.0-alpha1 = 1.0.0a1 = v1.0-ALPHA.1",
                "1.0.0-beta2 = 1.0.0b2",
                "1.0.0-beta10",
                "1.0.0-RC1 = 1.0.0rc1",
                "1 = 1.0.0 = 1.0.0.0 = 1.0.0-stable = 1.0.0+build",
                "1.0.0-patch1 = 1.0.0-p1 = 1.0.0pl1",
                "1.0.1",
            ],
        );
        unreadable(Scheme::Composer, &["dev-master", "1.x-dev", "8.x-1.0", "1.0-foo", "master"]);
    }

    /// PEP 440, "Summary of permitted suffixes and relative ordering" and its examples.
    #[test]
    fn python_versions() {
        ascending(
            Scheme::Pypi,
            &[
                "0.9",
                "1.dev0",
                "1.0.dev456 = 1.0-DEV_456",
                "1.0a1.dev1",
                "1.0a1 = 1.0alpha1 = 1.0.a.1 = 1.0-a1 = v1.0a1",
                "1.0a1.post2 = 1.0a1post2 = 1.0a1-2",
                "1.0a2.dev456",
                "1.0a12.dev456",
                "1.0a12",
                "1.0b1.dev456",
                "1.0b2",
                "1.0b2.post345.dev456",
                "1.0b2.post345 = 1.0b2-345",
                "1.0rc1.dev456",
                "1.0rc1 = 1.0c1 = 1.0.pre1 = 1.0preview1",
                "1 = 1.0 = 1.0.0 = 01.0",
                "1.0+abc.5",
                "1.0+abc.7",
                "1.0+5 = 1.0+05",
                "1.0+5.a",
                "1.0.post456.dev34",
                "1.0.post456 = 1.0-456 = 1.0.rev456 = 1.0r456",
                "1.0.15",
                "1.1.dev1",
                "2004",
                "1!0.1",
            ],
        );
        unreadable(
            Scheme::Pypi,
            &["2004d", "1.0-SNAPSHOT", "french toast", "1.0+", "1.0+a+b", "!1", "1.0-", ".", "1._a1", "1.-1"],
        );
    }

    /// Maven's ComparableVersion: the lists of its tests and of its specification.
    #[test]
    fn maven_versions() {
        ascending(
            Scheme::Maven,
            &[
                "1-alpha2snapshot",
                "1-alpha2 = 1-alpha-2 = 1-a2",
                "1-alpha-123",
                "1-beta-2",
                "1-beta123",
                "1-m2",
                "1-m11",
                "1-rc",
                "1-cr2 = 1-rc2",
                "1-rc123",
                "1-SNAPSHOT = 1-snapshot",
                "1 = 1.0 = 1.0.0 = 1-0 = 1.ga = 1-final = 1.release = 1. = 1- = 1.0-0",
                "1-sp",
                "1-sp2",
                "1-sp123",
                "1-abc",
                "1-def",
                "1-foo = 1.0.0-foo.0.0 = 1.foo",
                "1-pom-1",
                "1-1-snapshot",
                "1-1 = 1.0-1",
                "1-2",
                "1-123",
            ],
        );
        ascending(
            Scheme::Maven,
            &[
                "2.0", "2.0.a", "2-1", "2.0.2", "2.0.123", "2.1.0", "2.1-a", "2.1b", "2.1-c", "2.1-1", "2.1.0.1",
                "2.2", "2.123", "11.a2", "11.a11", "11.b2", "11.b11", "11.m2", "11.m11", "11", "11.a", "11b", "11c",
                "11m",
            ],
        );
        ascending(Scheme::Maven, &["0.9", "4.1.0.Beta1", "4.1.0.Final = 4.1", "20040616", "99999999999999999999"]);
        unreadable(Scheme::Maven, &["${project.version}", "LATEST", "1 2"]);
    }

    /// deb-version(7), and dpkg's own cases.
    #[test]
    fn debian_versions() {
        ascending(
            Scheme::Debian,
            &[
                "0 = 0:0 = 0:0-0 = 0-00",
                "0.0~~",
                "0.0~~a",
                "0.0~",
                "0.0",
                "0.0a",
                "0.0+",
                "1.0~beta1~svn1245",
                "1.0~beta1",
                "1.0",
                "1.0-1~deb12u1",
                "1.0-1",
                "1.0-1+b1",
                "1.0.1",
                "1.2.3",
                "1.10-1",
                "3.0.11-1~deb12u2",
                "3.0.11-1",
                "1:0.1",
                "1:1.0:2-3",
            ],
        );
        unreadable(Scheme::Debian, &["a:1", ":1", "1 0", "1.0-é", "-1", "1.0-"]);
    }

    /// rpm's own cases (tests/rpmvercmp.at) and epochs.
    #[test]
    fn rpm_versions() {
        ascending(
            Scheme::Rpm,
            &[
                "1.0~rc1~git123",
                "1.0~rc1",
                "1.0~rc2",
                "1.0 = 0:1.0 = 1_0",
                "1.0-1.el9",
                "1.0-2.el9 = 1.0-02.el9",
                "1.0-2.el9_2",
                "1.0^git1",
                "1.0.1",
                "1.1",
                "2.50",
                "5.5p1",
                "5.5p2",
                "5.5p10",
                "10xyz",
                "10.1xyz",
                "20101121",
                "1:0.5",
                "32:9.11.4-26.P2.el7",
            ],
        );
        unreadable(Scheme::Rpm, &["a:1", ":1", "-1", "1 0", "é"]);
    }

    /// apk-tools' test/version.data.
    #[test]
    fn apk_versions() {
        ascending(
            Scheme::Apk,
            &[
                "0.1.0_alpha_pre2",
                "0.1.0_alpha",
                "0.1.0_alpha2",
                "0.1.0_beta",
                "0.1.0_rc1",
                "0.1.0",
                "0.1.0-r0",
                "0.1.0-r10",
                "0.1.0_git20200101",
                "0.1.0_p1",
                "0.1.0a",
                "0.1.0b",
                "0.1.0.1",
                "1.0",
                "1.01",
                "1.1",
                "1.10",
                "2.0.4~abc-r1",
                "3.18.4-r0",
                "20080716",
            ],
        );
        unreadable(Scheme::Apk, &["1.0-1", "1.0_foo", "a1", "1.0-r", "1..0", "1.0A", "1.0~xyz"]);
    }

    #[test]
    fn other_versions() {
        ascending(Scheme::Generic, &["1", "1.2-3", "1.9", "1.10", "1.10.0", "1.10.0a", "1.11"]);
    }

    /// What the end of a range does not name does not count.
    #[test]
    fn bounds() {
        let check = |scheme: Scheme, version: &str, bound: &str, want: Ordering| {
            assert_eq!(scheme.compare_to_bound(version, bound), Some(want), "{scheme:?}: {version} to {bound}");
        };
        check(Scheme::Pypi, "2.1.0+cu118", "2.1.0", Ordering::Equal);
        check(Scheme::Pypi, "2.31.0", "2.31.0+root.io.1", Ordering::Less);
        check(Scheme::Rpm, "1.0-3.el9", "1.0", Ordering::Equal);
        check(Scheme::Rpm, "1.0-3.el9", "1.0-4.el9", Ordering::Less);
        check(Scheme::Apk, "1.2.3-r5", "1.2.3", Ordering::Equal);
        check(Scheme::Apk, "1.2.3-r5", "1.2.3-r6", Ordering::Less);
        check(Scheme::Debian, "1.0-1", "1.0", Ordering::Greater);
    }

    #[test]
    fn kinds_of_packages_have_their_order() {
        for (ecosystem, purl_type) in [
            ("npm", "npm"),
            ("Go", "golang"),
            ("crates.io", "cargo"),
            ("PyPI", "pypi"),
            ("Maven:https://maven.google.com", "maven"),
            ("Debian:12", "deb"),
            ("Ubuntu:22.04:LTS", "deb"),
            ("AlmaLinux:9", "rpm"),
            ("Red Hat:enterprise_linux:9::appstream", "rpm"),
            ("Alpine:v3.18", "apk"),
            ("RubyGems", "gem"),
            ("Packagist", "composer"),
            ("NuGet", "nuget"),
            ("Bitnami", "bitnami"),
            ("Root:Alpine:3.18", "apk"),
        ] {
            let order = Scheme::of_ecosystem(ecosystem);
            assert!(order.is_some(), "{ecosystem}");
            assert_eq!(order, Scheme::of_purl_type(purl_type), "{ecosystem}");
        }
        for unknown in ["", "Linux", "Android", "Root", "Root:Root:npm", "debian"] {
            assert_eq!(Scheme::of_ecosystem(unknown), None, "{unknown}");
        }
        assert_eq!(Scheme::of_purl_type("alpm"), None);
    }

    proptest! {
        /// Whatever the texts, an order is one: equal to itself, the other way round the reverse, and transitive.
        #[test]
        fn every_order_is_total(
            texts in proptest::collection::vec(
                "v?([0-2]{1,2}:|[01]!)?[0-2]{1,2}([.~^_+-]{0,2}([0-2]{1,2}|a|b|rc|alpha|beta|post|dev|ga|sp|final|r1|p1|git|x)){0,4}",
                3,
            ),
        ) {
            for scheme in ALL {
                let of = |a: usize, b: usize| scheme.compare(&texts[a], &texts[b]);
                for text in &texts {
                    let itself = scheme.compare(text, text);
                    prop_assert!(matches!(itself, None | Some(Ordering::Equal)));
                    prop_assert_eq!(itself.is_some(), scheme.reads(text));
                }
                for [a, b, c] in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
                    let (ab, bc, ac) = (of(a, b), of(b, c), of(a, c));
                    prop_assert_eq!(ab, of(b, a).map(Ordering::reverse), "{:?} {:?}", scheme, &texts);
                    let (Some(ab), Some(bc), Some(ac)) = (ab, bc, ac) else { continue };
                    if ab.is_le() && bc.is_le() {
                        prop_assert!(ac.is_le(), "{:?} {:?}", scheme, [&texts[a], &texts[b], &texts[c]]);
                        prop_assert_eq!(ac.is_eq(), ab.is_eq() && bc.is_eq(), "{:?} {:?}", scheme, &texts);
                    }
                }
            }
        }

        #[test]
        fn no_text_panics(a in "\\PC{0,24}", b in "[0-9a-zA-Z.~^+:!_ é-]{0,24}") {
            for scheme in ALL {
                let _ = (scheme.compare(&a, &b), scheme.compare_to_bound(&b, &a), scheme.compare(&b, &b));
            }
        }
    }
}
