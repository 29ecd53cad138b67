//! What an advisory says of an installed component: the evaluation that the OSV schema specifies ("Evaluation"), by the
//! orders of [`crate::versions`], and by releases of distributions (SPEC §5, reading rules).
//!
//! Nothing is called unaffected because it could not be compared: that is [`Covers::Unknown`].

use std::cmp::Ordering;
use std::str::FromStr as _;

use packageurl::PackageUrl;

use crate::event::{AffectedPackage, AffectedRange, RangeEvent};
use crate::ids::{PURL_BYTES_MAX, Purl};
use crate::spelling::{is_major_version, package_url, with_epoch};
use crate::versions::Scheme;

/// What an affected package says of an installed component.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Covers {
    /// It is affected.
    In {
        /// The smallest version above the installed one that fixes it, as the advisory writes it.
        fixed: Option<String>,
    },
    /// It is not affected, or another package.
    Out,
    /// It cannot be told; why, in words for people.
    Unknown(&'static str),
}

/// Why it cannot be told.
mod why {
    pub(super) const NO_RELEASE: &str = "the release of the distribution is not known on both sides";
    pub(super) const NO_TYPE: &str = "packages of this ecosystem have no purl type";
    pub(super) const NO_ORDER: &str = "versions of this ecosystem have no order that is known here";
    pub(super) const NO_VERSION: &str = "the component has no version";
    pub(super) const INSTALLED: &str = "the installed version cannot be compared";
    pub(super) const ADVISORY: &str = "a version that the advisory names cannot be compared";
    pub(super) const COMMITS: &str = "the advisory names commits only";
}

/// Keys (as [`Purl::package_key`] gives them) of the packages under which advisories on a component are found: its own,
/// and for deb, rpm and apk that of the source package which its `upstream` qualifier names.
pub fn packages_of(purl: &Purl) -> Vec<String> {
    if has_one_key(purl) {
        return vec![purl.package_key().to_owned()];
    }
    keys_of(purl)
}

/// Whether its key can only be its own: this is asked of each component of an SBOM, and most are such.
fn has_one_key(purl: &Purl) -> bool {
    // With a subpath, or an empty part, it has that without them too.
    let is_plain = !purl.package().contains('#') && !purl.package().contains("//");
    is_plain && !is_of_distribution(purl.kind())
}

fn keys_of(purl: &Purl) -> Vec<String> {
    let Some(component) = Installed::of(purl) else { return vec![purl.package_key().to_owned()] };
    let mut keys = component.own_keys(purl);
    keys.extend(component.source_key().filter(|key| !keys.contains(key)));
    keys
}

/// The source package that a deb, rpm or apk says it was built from: its key, and its version with epoch.
pub fn source_of(purl: &Purl) -> Option<(String, String)> {
    // Most components are of no distribution, and taking a purl apart costs more than to see that.
    let says_one = is_of_distribution(purl.kind()) && purl.as_str().contains("upstream=");
    let component = says_one.then(|| Installed::of(purl)).flatten()?;
    Some((component.source_key()?, component.source_version()))
}

/// The canonical form of a deb, rpm or apk purl with the source package that a document names beside it, in the qualifier
/// `upstream` as other tools write it: its name, and its version where that is not the package's own.
///
/// `version` is `[epoch:]version[-release]`, or empty where it is not known. `None` where the purl names a source or is
/// its own, and where the name or the version cannot stand in a purl.
pub fn with_upstream(purl: &str, name: &str, version: &str) -> Option<String> {
    let purl = Purl::parse(purl).filter(|purl| is_of_distribution(purl.kind()))?;
    let mut component = Installed::of(&purl)?;
    let is_word = |text: &str| !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '@');
    if component.qualifier("upstream").is_some() || name.is_empty() || !is_word(name) || !is_word(version) {
        return None;
    }
    let same_version = version.is_empty() || without_zero_epoch(&component.version()) == without_zero_epoch(version);
    let upstream = match same_version {
        true if name == component.purl.name() => return None,
        true => name.to_owned(),
        // The package's own epoch is not that of its source.
        false if component.qualifier("epoch").is_some() && !version.contains(':') => format!("{name}@0:{version}"),
        false => format!("{name}@{version}"),
    };
    component.purl.add_qualifier("upstream", upstream).ok()?;
    Some(component.purl.to_string()).filter(|purl| purl.len() <= PURL_BYTES_MAX)
}

/// The purl without version of a package that an advisory names by ecosystem and name; `None` where the ecosystem has
/// no purl type.
pub fn package_purl(ecosystem: &str, name: &str) -> Option<String> {
    let name = name.trim();
    let distribution = ecosystem.split_once(':').map_or(ecosystem, |(distribution, _)| distribution);
    let after_last = |name: &'_ str| name.rfind('/').map_or(0, |slash| slash + 1);
    let parted =
        |name: &str| (name[..after_last(name)].trim_end_matches('/').to_owned(), name[after_last(name)..].to_owned());
    let plain = |kind: &'static str| Some((kind, String::new(), name.to_owned()));
    let of = |kind: &'static str, namespace: &str| Some((kind, namespace.to_owned(), name.to_owned()));
    let within = |kind: &'static str| {
        let (namespace, name) = parted(name);
        Some((kind, namespace, name))
    };
    let (kind, namespace, name) = match distribution {
        "npm" => within("npm"),
        "Go" => within("golang"),
        "Packagist" => within("composer"),
        "GitHub Actions" => within("github"),
        "crates.io" => plain("cargo"),
        "PyPI" => plain("pypi"),
        "RubyGems" => plain("gem"),
        "NuGet" => plain("nuget"),
        "Hex" => plain("hex"),
        "Pub" => plain("pub"),
        "Hackage" => plain("hackage"),
        "CRAN" => plain("cran"),
        "ConanCenter" => plain("conan"),
        "opam" => plain("opam"),
        "Julia" => plain("julia"),
        "Bitnami" => plain("bitnami"),
        "Maven" => name.split_once(':').map(|(group, artifact)| ("maven", group.to_owned(), artifact.to_owned())),
        "SwiftURL" => {
            let place = name.split_once("://").map_or(name, |(_, place)| place);
            let (namespace, name) = parted(place.strip_suffix(".git").unwrap_or(place));
            Some(("swift", namespace, name))
        }
        "Debian" => of("deb", "debian"),
        "Ubuntu" => of("deb", "ubuntu"),
        "Echo" => of("deb", "echo"),
        "Alpine" => of("apk", "alpine"),
        "Wolfi" => of("apk", "wolfi"),
        "Chainguard" => of("apk", "chainguard"),
        "Alpaquita" => of("apk", "alpaquita"),
        "BellSoft Hardened Containers" => of("apk", "bellsoft-hardened-containers"),
        "MinimOS" => of("apk", "minimos"),
        "AlmaLinux" => of("rpm", "almalinux"),
        "Rocky Linux" => of("rpm", "rocky-linux"),
        "Red Hat" => of("rpm", "redhat"),
        "SUSE" => of("rpm", "suse"),
        "openSUSE" => of("rpm", "opensuse"),
        "openEuler" => of("rpm", "openeuler"),
        "Mageia" => of("rpm", "mageia"),
        "Photon OS" => of("rpm", "photon"),
        "Azure Linux" => of("rpm", "azure-linux"),
        _ => None,
    }?;
    key(kind, &namespace, &name)
}

/// What the qualifiers of a purl say of an installed component of the same package.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Qualified {
    /// Nothing against its being meant.
    Same,
    /// Another one is meant.
    Other,
    /// It cannot be told; why, in words for people.
    Unknown(&'static str),
}

/// Whether a purl that a CSAF document names means an installed component of the same package: `distro`, `epoch` and
/// `upstream` must not differ where both have them, and a release that one of them lacks tells nothing (SPEC §5).
pub fn qualified(named: &Purl, installed: &Purl) -> Qualified {
    let (Some(named), Some(component)) = (Installed::of(named), Installed::of(installed)) else {
        return Qualified::Same;
    };
    let both = |name: &str| named.qualifier(name).zip(component.qualifier(name));
    let other_epoch = both("epoch").is_some_and(|(named, installed)| named != installed);
    let other_source = named.source().zip(component.source()).is_some_and(|((name, version), (of, of_version))| {
        name != of || (!version.is_empty() && !of_version.is_empty() && version != of_version)
    });
    if other_epoch || other_source {
        return Qualified::Other;
    }
    match releases_of(&named, &component) {
        Some(Agreement::Agrees) | None => Qualified::Same,
        Some(Agreement::Contradicts) => Qualified::Other,
        Some(Agreement::Lacks) => Qualified::Unknown(why::NO_RELEASE),
    }
}

/// Whether a purl names a release of a distribution, and an installed component is of another one.
pub fn is_of_another_release(named: &Purl, installed: &Purl) -> bool {
    if !is_of_distribution(named.kind()) {
        return false;
    }
    let both = Installed::of(named).zip(Installed::of(installed));
    both.is_some_and(|(named, component)| releases_of(&named, &component) == Some(Agreement::Contradicts))
}

/// What the releases of two packages are to each other; `None` where neither says one.
fn releases_of(named: &Installed<'_>, component: &Installed<'_>) -> Option<Agreement> {
    let (wanted, found) = (named.qualifier("distro"), component.qualifier("distro"));
    if wanted.is_none() && found.is_none() {
        return None;
    }
    let release = |of: &Installed<'_>, distro: Option<&str>| distro.and_then(Release::of).or_else(|| of.built_for());
    Some(of_releases(release(named, wanted), release(component, found)))
}

/// Whether an installed component is one of the versions that an affected package names.
pub fn covers(package: &AffectedPackage, installed: &Purl) -> Covers {
    let Some(component) = Installed::of(installed) else { return Covers::Out };
    let named = Purl::parse(&package.purl).map(|purl| purl.package_key().to_owned());
    let Some(named) = named.or_else(|| package_purl(&package.ecosystem, &package.name)) else {
        return Covers::Unknown(why::NO_TYPE);
    };
    let version = if component.own_keys(installed).contains(&named) {
        component.version()
    } else if component.source_key().as_ref() == Some(&named) {
        component.source_version()
    } else {
        return Covers::Out;
    };
    let agreement = if component.is_of_distribution() {
        agree(&package.ecosystem, component.qualifier("distro").unwrap_or_default())
    } else {
        Agreement::Agrees
    };
    let order = Scheme::of_ecosystem(&package.ecosystem).or_else(|| Scheme::of_purl_type(component.purl.ty()));
    match (agreement, evaluate(package, order, &version)) {
        (Agreement::Contradicts, _) => Covers::Out,
        (Agreement::Lacks, Covers::In { .. }) => Covers::Unknown(why::NO_RELEASE),
        (Agreement::Agrees | Agreement::Lacks, covers) => covers,
    }
}

/// An installed component, taken apart.
struct Installed<'a> {
    purl: PackageUrl<'a>,
}

impl<'a> Installed<'a> {
    fn of(purl: &'a Purl) -> Option<Installed<'a>> {
        Some(Installed { purl: PackageUrl::from_str(purl.as_str()).ok()? })
    }

    fn is_of_distribution(&self) -> bool {
        is_of_distribution(self.purl.ty())
    }

    fn qualifier(&self, name: &str) -> Option<&str> {
        self.purl.qualifiers().iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_ref())
    }

    /// With a subpath, that of the package without it too, unless that is another one.
    fn own_keys(&self, purl: &Purl) -> Vec<String> {
        let own = purl.package_key().to_owned();
        let is_part = self.purl.ty() != "golang" || !self.purl.subpath().is_some_and(is_major_version);
        let whole = self.key(self.purl.name()).filter(|key| is_part && *key != own);
        [own].into_iter().chain(whole).collect()
    }

    fn source_key(&self) -> Option<String> {
        self.source().and_then(|(name, _)| self.key(name))
    }

    /// The key of a package of its kind and namespace.
    fn key(&self, name: &str) -> Option<String> {
        key(self.purl.ty(), self.purl.namespace().unwrap_or_default(), name)
    }

    /// Name of the source package and its version, which is empty where it is not given: `openssl@3.0.11-1`,
    /// `glibc-2.34-60.el9.src.rpm`.
    fn source(&self) -> Option<(&str, &str)> {
        let upstream = self.qualifier("upstream").filter(|_| self.is_of_distribution())?;
        if let Some(file) = upstream.strip_suffix(".src.rpm") {
            let (rest, _) = file.rsplit_once('-')?;
            let (name, _) = rest.rsplit_once('-')?;
            return Some((name, &file[name.len() + 1..]));
        }
        Some(upstream.split_once('@').unwrap_or((upstream, "")))
    }

    /// The release that the version of an RPM says it was built for: 9 of `1.2-3.el9`, 9.2 of `1.2-3.el9_2`.
    fn built_for(&self) -> Option<Release> {
        let version = self.purl.version().filter(|_| self.purl.ty() == "rpm")?;
        let tag = version.rsplit('.').find_map(|part| part.strip_prefix("el"))?;
        tag.starts_with(|first: char| first.is_ascii_digit()).then(|| Release::of(&tag.replace('_', ".")))?
    }

    fn version(&self) -> String {
        self.with_epoch(self.purl.version().unwrap_or_default())
    }

    fn source_version(&self) -> String {
        match self.source() {
            Some((_, version)) if !version.is_empty() => self.with_epoch(version),
            Some(_) | None => self.version(),
        }
    }

    /// The version as it is compared.
    fn with_epoch(&self, version: &str) -> String {
        match (self.purl.ty(), version.rsplit_once('-')) {
            // Bitnami counts how often it packed a version behind it: that is no prerelease.
            ("bitnami", Some((upstream, times))) if times.bytes().all(|byte| byte.is_ascii_digit()) => {
                upstream.to_owned()
            }
            (kind, _) => with_epoch(kind, version, || self.qualifier("epoch").map(str::to_owned)).into_owned(),
        }
    }
}

fn without_zero_epoch(version: &str) -> &str {
    version.strip_prefix("0:").unwrap_or(version)
}

/// The key of a package.
fn key(kind: &str, namespace: &str, name: &str) -> Option<String> {
    let purl = package_url(kind, namespace, name, None)?;
    Purl::parse(&purl.to_string()).map(|purl| purl.package_key().to_owned())
}

/// Whether a type of packages is that of a distribution, which has releases and is built from source packages.
fn is_of_distribution(kind: &str) -> bool {
    matches!(kind, "deb" | "rpm" | "apk")
}

/// What the ranges and the list of versions say of one version.
fn evaluate(package: &AffectedPackage, order: Option<Scheme>, version: &str) -> Covers {
    let ranges: Vec<&AffectedRange> = package.ranges.iter().filter(|range| range.r#type != "GIT").collect();
    let same = |listed: &String| {
        let equal = || order.and_then(|order| order.compare_to_bound(version, listed)) == Some(Ordering::Equal);
        listed == version || equal()
    };
    let is_listed = !version.is_empty() && package.versions.iter().any(same);
    let said: Vec<Result<bool, &'static str>> = ranges.iter().map(|range| in_range(range, order, version)).collect();
    if is_listed || said.contains(&Ok(true)) {
        return Covers::In { fixed: fixed(&ranges, order, version) };
    }
    if let Some(why) = said.into_iter().find_map(Result::err) {
        return Covers::Unknown(why);
    }
    if !package.versions.is_empty() {
        let is_readable = !version.is_empty() && order.is_none_or(|order| order.reads(version));
        return if is_readable { Covers::Out } else { Covers::Unknown(why::INSTALLED) };
    }
    if ranges.is_empty() && !package.ranges.is_empty() { Covers::Unknown(why::COMMITS) } else { Covers::Out }
}

/// Whether a version is in a range; else why that cannot be told.
fn in_range(range: &AffectedRange, order: Option<Scheme>, version: &str) -> Result<bool, &'static str> {
    if holds_all(range) {
        return Ok(true);
    }
    let order = order_of(range, order, version)?;
    let at_least = |bound: &str| order.compare_to_bound(version, bound).is_some_and(Ordering::is_ge);
    let above = |bound: &str| order.compare_to_bound(version, bound).is_some_and(Ordering::is_gt);
    let mut limits = range.events.iter().map(|event| event.limit.as_str()).filter(|limit| !limit.is_empty()).peekable();
    if limits.peek().is_some() && !limits.any(|limit| limit == "*" || !at_least(limit)) {
        return Ok(false);
    }
    // The last event that the version has reached tells; of several at one version, the one that is written last.
    let reached = range.events.iter().filter_map(|event| match Bound::of(event)? {
        Bound::Introduced(bound) => (bound == "0" || at_least(bound)).then_some((bound, true)),
        Bound::Fixed(bound) => at_least(bound).then_some((bound, false)),
        Bound::LastAffected(bound) => above(bound).then_some((bound, false)),
    });
    let from_start = |(bound, is_affected): &(&str, bool)| *is_affected && *bound == "0";
    let last = reached.max_by(|a, b| match (from_start(a), from_start(b)) {
        (false, false) => order.compare(a.0, b.0).unwrap_or(Ordering::Equal),
        (a, b) => b.cmp(&a),
    });
    Ok(last.is_some_and(|(_, is_affected)| is_affected))
}

/// Whether a range has every version, so that nothing is to be compared.
fn holds_all(range: &AffectedRange) -> bool {
    let is_open = |event: &RangeEvent| {
        event.fixed.is_empty() && event.last_affected.is_empty() && (event.limit.is_empty() || event.limit == "*")
    };
    range.events.iter().any(|event| event.introduced == "0") && range.events.iter().all(is_open)
}

/// An order that reads the version and all that the range names.
fn order_of(range: &AffectedRange, order: Option<Scheme>, version: &str) -> Result<Scheme, &'static str> {
    let semver = (range.r#type == "SEMVER").then_some(Scheme::Semver);
    if semver.or(order).is_none() {
        return Err(why::NO_ORDER);
    }
    if version.is_empty() {
        return Err(why::NO_VERSION);
    }
    let reading = || semver.into_iter().chain(order).filter(|order| order.reads(version));
    let reads_all = |order: &Scheme| {
        let limits = range.events.iter().map(|event| event.limit.as_str()).filter(|limit| !matches!(*limit, "" | "*"));
        range.events.iter().filter_map(Bound::of).map(Bound::version).chain(limits).all(|bound| order.reads(bound))
    };
    let unread = if reading().next().is_some() { why::ADVISORY } else { why::INSTALLED };
    reading().find(reads_all).ok_or(unread)
}

/// An event that begins or ends what is affected.
enum Bound<'a> {
    Introduced(&'a str),
    Fixed(&'a str),
    LastAffected(&'a str),
}

impl<'a> Bound<'a> {
    fn of(event: &'a RangeEvent) -> Option<Bound<'a>> {
        match (event.introduced.as_str(), event.fixed.as_str(), event.last_affected.as_str()) {
            ("", "", "") => None,
            ("", "", last) => Some(Bound::LastAffected(last)),
            ("", fixed, _) => Some(Bound::Fixed(fixed)),
            (introduced, _, _) => Some(Bound::Introduced(introduced)),
        }
    }

    fn version(self) -> &'a str {
        match self {
            Bound::Introduced(version) | Bound::Fixed(version) | Bound::LastAffected(version) => version,
        }
    }
}

/// The smallest version above the installed one that fixes it.
fn fixed(ranges: &[&AffectedRange], order: Option<Scheme>, version: &str) -> Option<String> {
    let fixes = ranges.iter().filter_map(|range| Some((range, order_of(range, order, version).ok()?)));
    let fixes = fixes.flat_map(|(range, order)| range.events.iter().map(move |event| (order, event.fixed.as_str())));
    let above = fixes.filter(|(order, fixed)| order.compare_to_bound(version, fixed) == Some(Ordering::Less));
    let smallest = above.min_by(|(order, a), (_, b)| order.compare(a, b).unwrap_or(Ordering::Equal));
    smallest.map(|(_, fixed)| fixed.to_owned())
}

/// What the release of an ecosystem and that of a component are to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Agreement {
    Agrees,
    Contradicts,
    /// One of them has none, or not as exactly.
    Lacks,
}

fn agree(ecosystem: &str, distro: &str) -> Agreement {
    let (distribution, release) = ecosystem.split_once(':').unwrap_or((ecosystem, ""));
    match distribution {
        // Patched packages of others, whose ecosystem follows.
        "Root" if !release.starts_with("Root") => return agree(release, distro),
        // These have no releases.
        "Wolfi" | "Chainguard" | "MinimOS" | "Echo" | "Root" => return Agreement::Agrees,
        _ => {}
    }
    of_releases(Release::of_ecosystem(distribution, release), Release::of(distro))
}

/// A release that is as exact as the wanted one, or more, tells whether it is that.
fn of_releases(wanted: Option<Release>, found: Option<Release>) -> Agreement {
    let (Some(wanted), Some(found)) = (wanted, found) else { return Agreement::Lacks };
    match (wanted, found) {
        (Release::Numbers(wanted), Release::Numbers(found)) => {
            let same = wanted.iter().zip(&found).all(|(a, b)| a == b);
            match (same, found.len() < wanted.len()) {
                (false, _) => Agreement::Contradicts,
                (true, true) => Agreement::Lacks,
                (true, false) => Agreement::Agrees,
            }
        }
        (Release::Rolling(wanted), Release::Rolling(found)) if wanted == found => Agreement::Agrees,
        (Release::Rolling(_) | Release::Numbers(_), Release::Rolling(_) | Release::Numbers(_)) => {
            Agreement::Contradicts
        }
    }
}

/// A release of a distribution.
#[derive(PartialEq, Eq, Debug)]
enum Release {
    /// `12`, `3.18`, `15 SP5`.
    Numbers(Vec<String>),
    /// One that goes on for ever.
    Rolling(&'static str),
}

/// Releases that have names only.
const ROLLING: [(&str, &str); 6] = [
    ("sid", "sid"),
    ("unstable", "sid"),
    ("edge", "edge"),
    ("stream", "stream"),
    ("tumbleweed", "tumbleweed"),
    ("rawhide", "rawhide"),
];

/// Names of releases of Debian and Ubuntu that have numbers.
const CODE_NAMES: [(&str, &str); 25] = [
    ("wheezy", "7"),
    ("jessie", "8"),
    ("stretch", "9"),
    ("buster", "10"),
    ("bullseye", "11"),
    ("bookworm", "12"),
    ("trixie", "13"),
    ("forky", "14"),
    ("duke", "15"),
    ("precise", "12.04"),
    ("trusty", "14.04"),
    ("xenial", "16.04"),
    ("bionic", "18.04"),
    ("focal", "20.04"),
    ("groovy", "20.10"),
    ("hirsute", "21.04"),
    ("impish", "21.10"),
    ("jammy", "22.04"),
    ("kinetic", "22.10"),
    ("lunar", "23.04"),
    ("mantic", "23.10"),
    ("noble", "24.04"),
    ("oracular", "24.10"),
    ("plucky", "25.04"),
    ("questing", "25.10"),
];

impl Release {
    /// The release in the name of an ecosystem, of what stands behind the distribution. `None` where the numbers there
    /// are versions of something else: they must not contradict the release that a component is of.
    fn of_ecosystem(distribution: &str, text: &str) -> Option<Release> {
        match distribution {
            "Red Hat" => Release::of_red_hat(text),
            "SUSE" if !is_of_suse_linux(text) => None,
            _ => Release::of(text),
        }
    }

    /// `enterprise_linux:9::appstream`, `rhel_e4s:8.6::baseos`, `openshift:4.12::el8`: a CPE without its beginning.
    /// Behind a product stands what it runs on; its own version is a release only where it is the distribution itself.
    fn of_red_hat(cpe: &str) -> Option<Release> {
        if let Some((_, built_for)) = cpe.split_once("::el") {
            return Release::of(built_for);
        }
        let Some((product, rest)) = cpe.split_once(':') else { return Release::of(cpe) };
        let streams = ["rhel_eus", "rhel_aus", "rhel_tus", "rhel_e4s", "rhel_els", "rhel_extras"];
        let is_distribution = ["enterprise_linux"].iter().chain(&streams).any(|name| product.starts_with(name));
        Release::of(rest.split(':').next()?).filter(|_| is_distribution)
    }

    /// Reads `12`, `v3.18`, `debian-12.5`, `22.04:LTS`, `Pro:FIPS:18.04:LTS`, `22.03-LTS-SP3`,
    /// `Linux Enterprise Module for Python 3 15 SP5`, `bookworm`, `debian-sid`.
    fn of(text: &str) -> Option<Release> {
        let text = text.to_ascii_lowercase();
        let words = || text.split(|c: char| !c.is_ascii_alphabetic());
        let meaning = |names: &[(&str, &'static str)]| {
            words().find_map(|word| Some(names.iter().find(|(name, _)| *name == word)?.1))
        };
        if let Some(rolling) = meaning(&ROLLING) {
            return Some(Release::Rolling(rolling));
        }
        let named = meaning(&CODE_NAMES);
        let (numbers, pack) = release_numbers(named.unwrap_or(&text))?;
        let parts = numbers.split('.').chain([pack]).filter(|part| !part.is_empty());
        Some(Release::Numbers(parts.map(|part| part.trim_start_matches('0').to_owned()).collect()))
    }
}

/// Whether a product of SUSE has the releases of its Linux: `Linux Enterprise Server 15 SP5`, `Package Hub 15 SP5`,
/// `Manager Client Tools for SLE 15`, but not `Manager Server Module 4.3`, `Enterprise Storage 7`.
fn is_of_suse_linux(product: &str) -> bool {
    let of_itself = ["Manager", "Storage", "OpenStack", "CaaS", "Cloud Application"];
    let has = |word: &&str| product.contains(*word);
    product.contains(" SP") || product.contains("SLE ") || !of_itself.iter().any(has)
}

/// The numbers of a release, and that of its service pack; each is empty or begins with a digit.
///
/// Names have other numbers too (`Module for Python 3 15 SP5`, `FIPS-140:18.04`): of those that stand alone it is the
/// last one before a service pack, else the last one; one within a word only where no other is there.
fn release_numbers(text: &str) -> Option<(&str, &str)> {
    let begins = |part: &&str| part.trim_start_matches('v').starts_with(|first: char| first.is_ascii_digit());
    let text = text.rsplit(':').find(begins).unwrap_or(text);
    let numbers = Number::all(text);
    let pack = numbers.iter().position(|number| number.is_pack(text));
    let before_pack = &numbers[..pack.unwrap_or(numbers.len())];
    let alone = before_pack.iter().rfind(|number| number.stands_alone(text));
    let release = alone.or(before_pack.first()).or(numbers.first())?;
    Some((release.of(text), pack.map_or("", |pack| numbers[pack].of(text))))
}

/// Where in a text digits with dots between them stand.
#[derive(Clone, Copy)]
struct Number {
    start: usize,
    end: usize,
}

impl Number {
    fn all(text: &str) -> Vec<Number> {
        let mut all: Vec<Number> = Vec::new();
        for (at, byte) in text.bytes().enumerate() {
            match all.last_mut().filter(|last| last.end == at) {
                Some(last) if byte.is_ascii_digit() || byte == b'.' => last.end += 1,
                None if byte.is_ascii_digit() => all.push(Number { start: at, end: at + 1 }),
                Some(_) | None => {}
            }
        }
        all
    }

    fn of<'t>(&self, text: &'t str) -> &'t str {
        text[self.start..self.end].trim_end_matches('.')
    }

    /// It is no part of a word, but for the `v` before a version.
    fn stands_alone(&self, text: &str) -> bool {
        let is_letter = |c: char| c.is_alphanumeric();
        let before = &text[..self.start];
        let before = before.strip_suffix('v').unwrap_or(before);
        !before.ends_with(is_letter) && !self.is_pack(text)
    }

    /// `SP5`, `sp 5` of a release before it.
    fn is_pack(&self, text: &str) -> bool {
        let word = text[..self.start].trim_end_matches(' ').strip_suffix("sp");
        word.is_some_and(|before| !before.ends_with(|c: char| c.is_alphabetic()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn qualifiers_of_a_named_purl_tell_releases_epochs_and_sources_apart() {
        let said = |named: &str, installed: &str| {
            let purl = |qualifiers: &str| Purl::parse(&format!("pkg:rpm/redhat/x@1{qualifiers}")).expect("a purl");
            qualified(&purl(named), &purl(installed))
        };
        let unknown = Qualified::Unknown(why::NO_RELEASE);
        for (named, installed, want) in [
            ("", "", Qualified::Same),
            ("?arch=src", "?arch=x86_64", Qualified::Same),
            ("?distro=redhat-8", "?distro=redhat-8.8", Qualified::Same),
            ("?distro=redhat-8.8", "?distro=redhat-8", unknown),
            ("?distro=redhat-8", "?distro=redhat-9.2", Qualified::Other),
            ("?distro=redhat-8", "", unknown),
            ("", "?distro=redhat-8", unknown),
            ("?epoch=1", "?epoch=2", Qualified::Other),
            ("?epoch=1", "", Qualified::Same),
            ("?upstream=y-1-2.src.rpm", "?upstream=y-1-2.src.rpm", Qualified::Same),
            ("?upstream=y", "?upstream=y-1-2.src.rpm", Qualified::Same),
            ("?upstream=z", "?upstream=y-1-2.src.rpm", Qualified::Other),
            ("?distro=redhat-8&epoch=1", "?distro=redhat-8&epoch=2", Qualified::Other),
        ] {
            assert_eq!(said(named, installed), want, "{named} {installed}");
        }
    }

    /// Events as `introduced`, `fixed`, `last_affected`, `limit` by their first letter: `i0 f1.2`.
    fn range(kind: &str, events: &str) -> AffectedRange {
        let event = |text: &str| {
            let mut event = RangeEvent::default();
            let field = match text.as_bytes()[0] {
                b'i' => &mut event.introduced,
                b'f' => &mut event.fixed,
                b'l' => &mut event.last_affected,
                _ => &mut event.limit,
            };
            *field = text[1..].to_owned();
            event
        };
        AffectedRange { r#type: kind.to_owned(), events: events.split(' ').map(event).collect() }
    }

    fn package(ecosystem: &str, name: &str, ranges: &[(&str, &str)], versions: &[&str]) -> AffectedPackage {
        AffectedPackage {
            ecosystem: ecosystem.to_owned(),
            name: name.to_owned(),
            purl: package_purl(ecosystem, name).unwrap_or_default(),
            ranges: ranges.iter().map(|(kind, events)| range(kind, events)).collect(),
            versions: versions.iter().map(|version| (*version).to_owned()).collect(),
        }
    }

    fn of(package: &AffectedPackage, purl: &str) -> Covers {
        covers(package, &Purl::parse(purl).expect("a purl"))
    }

    fn affected(fixed: &str) -> Covers {
        Covers::In { fixed: Some(fixed.to_owned()).filter(|fixed| !fixed.is_empty()) }
    }

    /// What the schema's examples and its algorithm say of versions of one npm package.
    #[test]
    fn events_are_evaluated_as_the_schema_says() {
        let check = |kind: &str, events: &str, inside: &[(&str, &str)], outside: &[&str]| {
            let package = package("npm", "left-pad", &[(kind, events)], &[]);
            for (version, fixed) in inside {
                assert_eq!(of(&package, &format!("pkg:npm/left-pad@{version}")), affected(fixed), "{version} {events}");
            }
            for version in outside {
                assert_eq!(of(&package, &format!("pkg:npm/left-pad@{version}")), Covers::Out, "{version} {events}");
            }
        };
        check("SEMVER", "i0", &[("0.0.0-0", ""), ("9.9.9", ""), ("latest", "")], &[]);
        check("SEMVER", "i0 f1.0.2", &[("0.0.0-a", "1.0.2"), ("1.0.2-rc1", "1.0.2")], &["1.0.2", "3.0.0"]);
        let two = "i1.0.0 f1.0.2 i3.0.0 f3.2.5";
        check("SEMVER", two, &[("1.0.1", "1.0.2"), ("3.0.0", "3.2.5")], &["0.9.0", "1.0.2", "2.0.0", "3.2.5"]);
        check("ECOSYSTEM", "f3.2.5 i3.0.0 f1.0.2 i1.0.0", &[("1.0.1", "1.0.2"), ("3.0.0", "3.2.5")], &["2.0.0"]);
        check("ECOSYSTEM", "i0 l2.1.214", &[("2.1.214", ""), ("1.0.0", "")], &["2.1.215", "2.2.0"]);
        check("SEMVER", "i1.0.0 L2.0.0", &[("1.0.0", ""), ("1.9.9", "")], &["2.0.0", "0.9.9"]);
        check("SEMVER", "i0 L1.0.0 L*", &[("5.0.0", "")], &[]);
        check("SEMVER", "i0 L1.0.0 L3.0.0", &[("2.0.0", "")], &["3.0.0"]);
        check("SEMVER", "i0 f0", &[], &["0.0.0", "1.0.0"]);
        check("SEMVER", "i0 f1.0.0 i1.0.0 f2.0.0", &[("1.0.0", "2.0.0"), ("0.5.0", "1.0.0")], &["2.0.0"]);
        check("SEMVER", "i1.0.0 l1.5.0 i2.0.0", &[("1.5.0", ""), ("2.0.0", "")], &["1.5.1"]);
        check("SEMVER", "f1.0.0", &[], &["0.5.0"]);
    }

    #[test]
    fn versions_are_exact_and_any_range_is_enough() {
        let listed = package("PyPI", "jinja2", &[("GIT", "i0 fabc")], &["2.0", "2.1rc1"]);
        assert_eq!(of(&listed, "pkg:pypi/jinja2@2.0"), affected(""));
        assert_eq!(of(&listed, "pkg:pypi/Jinja2@2.0.0"), affected(""), "equal in the order");
        assert_eq!(of(&listed, "pkg:pypi/jinja2@2.1.c1"), affected(""));
        assert_eq!(of(&listed, "pkg:pypi/jinja2@2.1"), Covers::Out);
        assert_eq!(of(&listed, "pkg:pypi/jinja2@custom-build"), Covers::Unknown(why::INSTALLED));
        let several = package("npm", "x", &[("SEMVER", "i1.0.0 f1.2.0"), ("SEMVER", "i2.0.0 f2.1.0")], &["9.0.0"]);
        assert_eq!(of(&several, "pkg:npm/x@1.1.0"), affected("1.2.0"));
        assert_eq!(of(&several, "pkg:npm/x@2.0.0"), affected("2.1.0"));
        assert_eq!(of(&several, "pkg:npm/x@9.0.0"), affected(""));
        assert_eq!(of(&several, "pkg:npm/x@1.2.0"), Covers::Out);
        let last = package("PyPI", "torch", &[("ECOSYSTEM", "i0 l2.1.0")], &[]);
        assert_eq!(of(&last, "pkg:pypi/torch@2.1.0%2Bcu118"), affected(""), "a local build of the last affected one");
    }

    #[test]
    fn what_cannot_be_compared_is_never_out() {
        let ranged = package("npm", "x", &[("SEMVER", "i1.0.0 f1.2.0")], &[]);
        assert_eq!(of(&ranged, "pkg:npm/x@main"), Covers::Unknown(why::INSTALLED));
        assert_eq!(of(&ranged, "pkg:npm/x"), Covers::Unknown(why::NO_VERSION));
        let foreign = package("npm", "x", &[("ECOSYSTEM", "i1.0.0 funknown")], &[]);
        assert_eq!(of(&foreign, "pkg:npm/x@1.1.0"), Covers::Unknown(why::ADVISORY));
        let either = package("npm", "x", &[("ECOSYSTEM", "i1.0.0 funknown"), ("SEMVER", "i0 f2.0.0")], &[]);
        assert_eq!(of(&either, "pkg:npm/x@1.1.0"), affected("2.0.0"), "another range tells");
        assert_eq!(of(&either, "pkg:npm/x@2.1.0"), Covers::Unknown(why::ADVISORY));
        let git = package("npm", "x", &[("GIT", "i0 fdeadbeef")], &[]);
        assert_eq!(of(&git, "pkg:npm/x@1.0.0"), Covers::Unknown(why::COMMITS));
        let unordered = package("ConanCenter", "zlib", &[("ECOSYSTEM", "i1.0 f1.3")], &[]);
        assert_eq!(of(&unordered, "pkg:conan/zlib@1.2"), Covers::Unknown(why::NO_ORDER));
        let untyped = package("Android", "platform/art", &[("ECOSYSTEM", "i0")], &[]);
        assert_eq!(of(&untyped, "pkg:generic/art@1"), Covers::Unknown(why::NO_TYPE));
        assert_eq!(of(&ranged, "pkg:npm/y@1.1.0"), Covers::Out, "another package");
        assert_eq!(of(&package("npm", "x", &[], &[]), "pkg:npm/x@1.0.0"), Covers::Out, "the schema's algorithm");
    }

    #[test]
    fn kinds_have_their_own_orders() {
        let check = |ecosystem: &str, name: &str, events: &str, purl: &str, want: Covers| {
            assert_eq!(of(&package(ecosystem, name, &[("ECOSYSTEM", events)], &[]), purl), want, "{purl}");
        };
        check("Go", "golang.org/x/net", "i0 f0.7.0", "pkg:golang/golang.org/x/net@v0.6.0", affected("0.7.0"));
        check("Go", "golang.org/x/net", "i0 f0.7.0", "pkg:golang/golang.org/x/net@v0.6.0#http2", affected("0.7.0"));
        check("Go", "stdlib", "i0 f1.20.5 i1.21.0-0 f1.21.3", "pkg:golang/stdlib@go1.21.1", affected("1.21.3"));
        let log4j = "i2.0-beta9 f2.15.0";
        let maven = |version: &str| format!("pkg:maven/org.apache.logging.log4j/log4j-core@{version}");
        let name = "org.apache.logging.log4j:log4j-core";
        check("Maven", name, log4j, &maven("2.14.1"), affected("2.15.0"));
        check("Maven", name, log4j, &maven("2.0-beta8"), Covers::Out);
        check("Maven", name, log4j, &maven("2.0-rc1"), affected("2.15.0"));
        check("RubyGems", "rails", "i0 f7.0.0", "pkg:gem/rails@7.0.0.rc1", affected("7.0.0"));
        check(
            "Packagist",
            "symfony/http-kernel",
            "i0 f5.4.0",
            "pkg:composer/symfony/http-kernel@5.4.0-RC1",
            affected("5.4.0"),
        );
        check("Bitnami", "apache", "i0 f2.4.58", "pkg:bitnami/apache@2.4.57-3?arch=amd64", affected("2.4.58"));
        check("Bitnami", "apache", "i0 f2.4.57", "pkg:bitnami/apache@2.4.57-3", Covers::Out);
        check("PyPI", "zope-interface", "i0 f5.0", "pkg:pypi/zope.interface@4.0", affected("5.0"));
        check("NuGet", "Newtonsoft.Json", "i0 f13.0.1", "pkg:nuget/Newtonsoft.Json@12.0.3", affected("13.0.1"));
    }

    #[test]
    fn packages_of_distributions_have_epochs_and_sources() {
        let openssl = package("Debian:12", "openssl", &[("ECOSYSTEM", "i0 f3.0.11-1~deb12u2")], &[]);
        let check = |package: &AffectedPackage, purl: &str, want: Covers| assert_eq!(of(package, purl), want, "{purl}");
        let fixed = affected("3.0.11-1~deb12u2");
        check(&openssl, "pkg:deb/debian/openssl@3.0.11-1~deb12u1?distro=debian-12", fixed.clone());
        check(&openssl, "pkg:deb/debian/libssl3@3.0.11-1~deb12u1?distro=debian-12&upstream=openssl", fixed.clone());
        // A rebuild of the binary has a version of its own.
        let rebuilt =
            "pkg:deb/debian/libssl3@3.0.11-1~deb12u2%2Bb1?distro=debian-12&upstream=openssl%403.0.11-1~deb12u1";
        check(&openssl, rebuilt, fixed);
        check(&openssl, "pkg:deb/debian/libssl3@3.0.11-1~deb12u1?distro=debian-12&upstream=other", Covers::Out);
        check(&openssl, "pkg:deb/debian/openssl@1:3.0.0?distro=debian-12", Covers::Out);
        check(&openssl, "pkg:deb/debian/openssl@3.0.0?distro=debian-12&epoch=1", Covers::Out);

        let bind = package("AlmaLinux:8", "bind", &[("ECOSYSTEM", "i0 f32:9.11.26-4.el8_4")], &[]);
        let fixed = affected("32:9.11.26-4.el8_4");
        check(&bind, "pkg:rpm/almalinux/bind@9.11.26-3.el8?epoch=32&distro=almalinux-8.4", fixed.clone());
        check(&bind, "pkg:rpm/alma/bind@32:9.11.26-3.el8?distro=alma-8.4", fixed.clone());
        check(&bind, "pkg:rpm/almalinux/bind@9.16.0-3.el8?distro=almalinux-8.4", fixed.clone());
        check(&bind, "pkg:rpm/almalinux/bind@9.11.26-4.el8_4?epoch=32&distro=almalinux-8.4", Covers::Out);
        let part =
            "pkg:rpm/almalinux/bind-libs@9.11.26-3.el8?epoch=32&distro=almalinux-8&upstream=bind-9.11.26-3.el8.src.rpm";
        check(&bind, part, fixed);
    }

    #[test]
    fn releases_must_not_contradict() {
        let check = |ecosystem: &str, purl: &str, want: Covers| {
            let package = package(ecosystem, "x", &[("ECOSYSTEM", "i0 f2")], &[]);
            assert_eq!(of(&package, purl), want, "{ecosystem} {purl}");
        };
        let (inside, unknown) = (affected("2"), Covers::Unknown(why::NO_RELEASE));
        for distro in ["debian-12", "debian-12.5", "bookworm", "debian-bookworm", "12"] {
            check("Debian:12", &format!("pkg:deb/debian/x@1?distro={distro}"), inside.clone());
            check("Debian:11", &format!("pkg:deb/debian/x@1?distro={distro}"), Covers::Out);
            check("Debian:sid", &format!("pkg:deb/debian/x@1?distro={distro}"), Covers::Out);
            check("Debian", &format!("pkg:deb/debian/x@1?distro={distro}"), unknown.clone());
            check("Debian", &format!("pkg:deb/debian/x@2?distro={distro}"), Covers::Out);
        }
        check("Debian:12", "pkg:deb/debian/x@1", unknown.clone());
        check("Debian:12", "pkg:deb/debian/x@2", Covers::Out);
        check("Debian:12", "pkg:deb/debian/x@1?distro=somewhere", unknown.clone());
        check("Debian:sid", "pkg:deb/debian/x@1?distro=debian-unstable", inside.clone());
        check("Ubuntu:22.04:LTS", "pkg:deb/ubuntu/x@1?distro=ubuntu-22.04", inside.clone());
        check("Ubuntu:22.04:LTS", "pkg:deb/ubuntu/x@1?distro=jammy", inside.clone());
        check("Ubuntu:22.04:LTS", "pkg:deb/ubuntu/x@1?distro=ubuntu-22.10", Covers::Out);
        check("Ubuntu:Pro:18.04:LTS", "pkg:deb/ubuntu/x@1?distro=ubuntu-18.04", inside.clone());
        check("Ubuntu:22.04:LTS", "pkg:deb/debian/x@1?distro=debian-12", Covers::Out);
        check("Alpine:v3.18", "pkg:apk/alpine/x@1?distro=alpine-3.18.4", inside.clone());
        check("Alpine:v3.18", "pkg:apk/alpine/x@1?distro=3.18.4", inside.clone());
        check("Alpine:v3.18", "pkg:apk/alpine/x@1?distro=alpine-3.19.0", Covers::Out);
        check("Alpine:v3.18", "pkg:apk/alpine/x@1?distro=alpine-edge", Covers::Out);
        check("Alpine:v3.18", "pkg:apk/alpine/x@1?distro=alpine-3", unknown.clone());
        check("AlmaLinux:9", "pkg:rpm/almalinux/x@1-1?distro=almalinux-9.3", inside.clone());
        check("AlmaLinux:9", "pkg:rpm/almalinux/x@1-1?distro=almalinux-8.9", Covers::Out);
        check("Rocky Linux:9", "pkg:rpm/rocky/x@1-1?distro=rocky-9.3", inside.clone());
        check("Red Hat:enterprise_linux:9::appstream", "pkg:rpm/rhel/x@1-1?distro=rhel-9.2", inside.clone());
        check("Red Hat:openshift:4.12::el8", "pkg:rpm/redhat/x@1-1?distro=rhel-8.6", inside.clone());
        check("Red Hat:rhel_aus:8.4::appstream", "pkg:rpm/redhat/x@1-1?distro=rhel-8.6", Covers::Out);
        check("SUSE:Linux Enterprise Server 15 SP5", "pkg:rpm/sles/x@1-1?distro=sles-15.5", inside.clone());
        check("SUSE:Linux Enterprise Server 15 SP5", "pkg:rpm/sles/x@1-1?distro=sles-15.4", Covers::Out);
        check("openSUSE:Tumbleweed", "pkg:rpm/opensuse/x@1-1?distro=opensuse-tumbleweed-20240101", inside.clone());
        check("openSUSE:Leap 15.5", "pkg:rpm/opensuse/x@1-1?distro=opensuse-leap-15.5", inside.clone());
        check("Wolfi", "pkg:apk/wolfi/x@1-r0", inside);
    }

    /// Names of ecosystems as osv.dev has them, and the release that each is of.
    #[test]
    fn names_of_ecosystems_have_the_release_in_them() {
        let sp = |release: &str| Some(release.split('.').map(str::to_owned).collect::<Vec<_>>());
        for (ecosystem, want) in [
            ("Red Hat:9", "9"),
            ("Red Hat:enterprise_linux:9::appstream", "9"),
            ("Red Hat:enterprise_linux:10.0", "10."),
            ("Red Hat:enterprise_linux_eus:9.2::baseos", "9.2"),
            ("Red Hat:rhel_e4s:8.6::baseos", "8.6"),
            ("Red Hat:rhel_eus:8.6::baseos", "8.6"),
            ("Red Hat:rhel_tus:8.4::nfv", "8.4"),
            ("Red Hat:rhel_aus:7.7", "7.7"),
            ("Red Hat:rhel_els:6", "6"),
            ("Red Hat:rhel_extras_rt:7", "7"),
            ("Red Hat:rhel_software_collections:3::el7", "7"),
            ("Red Hat:openshift:4.12::el8", "8"),
            ("Red Hat:3scale_amp:2.11::el7", "7"),
            ("Red Hat:jboss_enterprise_application_platform:7.4::el9", "9"),
            ("Red Hat:ansible_automation_platform:2.4", ""),
            ("Red Hat:openstack:16.1", ""),
            ("Red Hat:amq_streams:2", ""),
            ("Red Hat:rhel_software_collections:3", ""),
            ("SUSE:Linux Enterprise Server 15 SP5", "15.5"),
            ("SUSE:Linux Enterprise Server 12 SP5-LTSS", "12.5"),
            ("SUSE:Linux Enterprise Server 15 SP2-BCL", "15.2"),
            ("SUSE:Linux Enterprise Server 15", "15"),
            ("SUSE:Linux Enterprise Server for SAP Applications 15 SP4", "15.4"),
            ("SUSE:Linux Enterprise Server for SAP Applications 16.0", "16."),
            ("SUSE:Linux Enterprise High Performance Computing 15 SP3-ESPOS", "15.3"),
            ("SUSE:Linux Enterprise Module for Python 3 15 SP5", "15.5"),
            ("SUSE:Linux Enterprise Module for Python 2 15 SP1", "15.1"),
            ("SUSE:Linux Enterprise Module for Web and Scripting 12", "12"),
            ("SUSE:Linux Enterprise Module for SUSE Manager Server 4.3", ""),
            ("SUSE:Linux Enterprise Live Patching 15 SP4", "15.4"),
            ("SUSE:Linux Enterprise Micro 5.3", "5.3"),
            ("SUSE:Linux Micro 6.0", "6."),
            ("SUSE:Package Hub 15 SP5", "15.5"),
            ("SUSE:Manager Client Tools for SLE 15", "15"),
            ("SUSE:Manager Server Module 4.3", ""),
            ("SUSE:Enterprise Storage 7.1", ""),
            ("SUSE:OpenStack Cloud 9", ""),
            ("openSUSE:Leap 15.5", "15.5"),
            ("openSUSE:Leap Micro 5.3", "5.3"),
            ("openSUSE:Backports SLE-15-SP5", "15.5"),
            ("openEuler:22.03-LTS-SP3", "22.3.3"),
            ("openEuler:24.03-LTS", "24.3"),
            ("Rocky Linux:8", "8"),
            ("AlmaLinux:9", "9"),
            ("Mageia:9", "9"),
            ("Ubuntu:22.04:LTS", "22.4"),
            ("Ubuntu:24.10", "24.10"),
            ("Ubuntu:Pro:18.04:LTS", "18.4"),
            ("Ubuntu:Pro:FIPS-updates:20.04:LTS", "20.4"),
            ("Ubuntu:Pro:Realtime:22.04:LTS", "22.4"),
            ("Debian:12", "12"),
            ("Alpine:v3.18", "3.18"),
            ("Alpaquita:23", "23"),
            ("Photon OS:3.0", "3."),
            ("Azure Linux:2", "2"),
            ("Debian", ""),
        ] {
            let (distribution, text) = ecosystem.split_once(':').unwrap_or((ecosystem, ""));
            let numbers = match Release::of_ecosystem(distribution, text) {
                Some(Release::Numbers(numbers)) => Some(numbers),
                Some(Release::Rolling(name)) => panic!("{ecosystem} is {name}"),
                None => None,
            };
            assert_eq!(numbers, sp(want).filter(|_| !want.is_empty()), "{ecosystem}");
        }
    }

    #[test]
    fn releases_of_components_are_read_from_their_distro() {
        for (distro, want) in [
            ("debian-12.5", "12.5"),
            ("rhel-8.6", "8.6"),
            ("el9", "9"),
            ("alpine-3.20_alpha20240329", "3.20"),
            ("amazon-2 (Karoo)", "2"),
            ("amzn-2023", "2023"),
            ("sles-15.5", "15.5"),
            ("sle-micro-5.3", "5.3"),
            ("opensuse-leap-15.5", "15.5"),
            ("openEuler-22.03-LTS-SP3", "22.3.3"),
            ("SUSE Linux Enterprise Module for Python 3 15 SP5", "15.5"),
            ("cbl-mariner-2.0.20220426", "2..20220426"),
            ("ubuntu-22.04", "22.4"),
            ("v3.18", "3.18"),
            ("fedora-39", "39"),
        ] {
            let want = want.split('.').map(str::to_owned).collect();
            assert_eq!(Release::of(distro), Some(Release::Numbers(want)), "{distro}");
        }
    }

    #[test]
    fn a_source_package_beside_a_purl_goes_into_it() {
        let check = |purl: &str, name: &str, version: &str, want: Option<&str>| {
            assert_eq!(with_upstream(purl, name, version).as_deref(), want, "{purl} {name} {version}");
        };
        let (libssl, libc) = ("pkg:deb/debian/libssl3@3.0.11-1?distro=debian-12", "pkg:deb/debian/libc6@2.36-9");
        let with = |purl: &str, upstream: &str| format!("{purl}&upstream={upstream}");
        check(libssl, "openssl", "", Some(&with(libssl, "openssl")));
        check(libssl, "openssl", "3.0.11-1", Some(&with(libssl, "openssl")));
        check(libssl, "openssl", "0:3.0.11-1", Some(&with(libssl, "openssl")));
        check(libssl, "openssl", "3.0.10-1", Some(&with(libssl, "openssl%403.0.10-1")));
        check(libssl, "openssl", "1:3.0.11-1", Some(&with(libssl, "openssl%401:3.0.11-1")));
        check(libssl, "libssl3", "3.0.11-1", None);
        check(libc, "libc6", "2.36-8", Some("pkg:deb/debian/libc6@2.36-9?upstream=libc6%402.36-8"));
        check(
            "pkg:apk/alpine/libcrypto3@3.1.0-r0",
            "openssl",
            "3.1.0-r0",
            Some("pkg:apk/alpine/libcrypto3@3.1.0-r0?upstream=openssl"),
        );
        let acl = "pkg:rpm/centos/libacl@2.2.53-1.el8?epoch=1";
        check(acl, "acl", "1:2.2.53-1.el8", Some(&with(acl, "acl")));
        // The source has no epoch: it must not be given that of the package.
        check(acl, "acl", "2.2.53-1.el8", Some(&with(acl, "acl%400:2.2.53-1.el8")));
        for other in ["pkg:npm/a@1", "pkg:deb/debian/a@1?upstream=b", "no purl"] {
            check(other, "openssl", "1", None);
        }
        for bad in ["", "a b", "a@b", "a\n", &"a".repeat(PURL_BYTES_MAX)] {
            check(libssl, bad, "", None);
            check(libssl, "a", &format!("{bad} "), None);
        }
    }

    #[test]
    fn packages_are_found_by_their_keys() {
        let check = |purl: &str, want: &[&str]| assert_eq!(packages_of(&Purl::parse(purl).expect("a purl")), want);
        check("pkg:npm/%40a/b@1?x=y", &["pkg:npm/%40a/b"]);
        check("pkg:golang/example.com/a@v1#cmd/x", &["pkg:golang/example.com/a/cmd/x", "pkg:golang/example.com/a"]);
        check("pkg:golang/example.com/a@v2#v2", &["pkg:golang/example.com/a/v2"]);
        check(
            "pkg:deb/debian/libssl3@3?upstream=openssl%403.0.11-1&distro=debian-12",
            &["pkg:deb/debian/libssl3", "pkg:deb/debian/openssl"],
        );
        check("pkg:deb/debian/openssl@3?upstream=openssl", &["pkg:deb/debian/openssl"]);
        check(
            "pkg:rpm/rhel/glibc-common@2.34-60.el9?upstream=glibc-2.34-60.el9.src.rpm",
            &["pkg:rpm/redhat/glibc-common", "pkg:rpm/redhat/glibc"],
        );
        check("pkg:npm/x@1?upstream=y", &["pkg:npm/x"]);
        check("pkg:pypi/zope.interface@5", &["pkg:pypi/zope-interface"]);
        check("pkg:nuget/Newtonsoft.Json@13", &["pkg:nuget/newtonsoft.json"]);
    }

    #[test]
    fn packages_are_named_by_ecosystem() {
        for (ecosystem, name, want) in [
            ("npm", "@a/b", "pkg:npm/%40a/b"),
            ("npm", "left-pad", "pkg:npm/left-pad"),
            ("Go", "github.com/Azure/go", "pkg:golang/github.com/azure/go"),
            ("Go", "stdlib", "pkg:golang/stdlib"),
            ("Maven:https://maven.google.com", "g.h:a", "pkg:maven/g.h/a"),
            ("PyPI", "Jinja2", "pkg:pypi/jinja2"),
            ("crates.io", "time", "pkg:cargo/time"),
            ("Packagist", "a/b", "pkg:composer/a/b"),
            ("SwiftURL", "https://github.com/apple/swift-nio.git", "pkg:swift/github.com/apple/swift-nio"),
            ("GitHub Actions", "tj-actions/changed-files", "pkg:github/tj-actions/changed-files"),
            ("Debian:12", "openssl", "pkg:deb/debian/openssl"),
            ("Ubuntu:Pro:18.04:LTS", "openssl", "pkg:deb/ubuntu/openssl"),
            ("Alpine:v3.18", "openssl", "pkg:apk/alpine/openssl"),
            ("AlmaLinux:9", "bind", "pkg:rpm/almalinux/bind"),
            ("Bitnami", "apache", "pkg:bitnami/apache"),
        ] {
            assert_eq!(package_purl(ecosystem, name).as_deref(), Some(want), "{ecosystem} {name}");
        }
        for (ecosystem, name) in
            [("Linux", "Kernel"), ("npm", ""), ("Maven", "no-group"), ("", "x"), ("Packagist", "x")]
        {
            assert_eq!(package_purl(ecosystem, name), None, "{ecosystem} {name}");
        }
    }

    proptest! {
        /// With one fix after one introduction, what is affected is what lies between.
        #[test]
        fn one_range_is_an_interval(a in 0_u32..30, b in 0_u32..30, version in 0_u32..30) {
            let package = package("npm", "x", &[("SEMVER", &format!("i1.{a}.0 f1.{b}.0"))], &[]);
            let inside = of(&package, &format!("pkg:npm/x@1.{version}.0")) != Covers::Out;
            // An end before its beginning ends nothing.
            prop_assert_eq!(inside, version >= a && (version < b || b < a));
        }

        /// What is told without taking a purl apart is what it comes to.
        #[test]
        fn one_key_is_that_of_the_whole_purl(
            kind in "(npm|maven|golang|pypi|nuget|deb|rpm|apk|oci|generic|docker|github|cargo|composer|gem|swift|[a-z]{2,6})",
            namespace in "(%40|@)?[a-zA-Z0-9._~+-]{0,8}(/\\PC{1,5})?",
            name in "[a-zA-Z0-9]\\PC{0,8}",
            rest in "(@[0-9a-z.+-]{1,8})?([?](arch=x|repository_url=r.example/x|distro=debian-12|upstream=y))?(#a/b)?",
        ) {
            let purl = format!("pkg:{kind}/{namespace}/{name}{rest}").replace("//", "/");
            if let Some(purl) = Purl::parse(&purl) {
                prop_assert_eq!(packages_of(&purl), keys_of(&purl), "{:?}", purl);
            }
        }

        #[test]
        fn no_advisory_panics(
            ecosystem in "(Debian|Root|Maven|npm|PyPI|Red Hat|\\\\PC{0,6})(:\\\\PC{0,12})?",
            name in "\\\\PC{0,12}",
            bounds in proptest::collection::vec("[ifl]\\\\PC{0,8}", 1..5),
            version in "\\\\PC{0,12}",
            distro in "[a-z0-9. -]{0,12}",
        ) {
            let events: Vec<String> = bounds.iter().map(|bound| bound.replace(' ', "")).collect();
            let package = package(&ecosystem, &name, &[("SEMVER", &events.join(" ")), ("X", &events.join(" "))], &[&version]);
            for purl in [
                package.purl.clone(),
                format!("pkg:deb/debian/{name}@{version}?distro={distro}&upstream={name}@{version}"),
                format!("pkg:rpm/rhel/x@{version}?epoch={version}&upstream={version}-{name}.src.rpm"),
            ] {
                let Some(purl) = Purl::parse(&purl) else { continue };
                let _ = (covers(&package, &purl), packages_of(&purl));
            }
        }
    }
}
