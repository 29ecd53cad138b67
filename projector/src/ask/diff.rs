//! What changed between two artifacts: components, verdicts, reachability (SPEC §4, `lineage/diff`).

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use pedigraph_proto::Purl;
use pedigraph_proto::advisory::packages_of;
use pedigraph_proto::versions::Scheme;

use super::answers::{
    Added, ContentChanged, Diff, DiffSummary, LicenseChanged, Proof, ReachabilityChange, SbomDiff, VerdictChange,
    VersionChanged,
};
use super::contents::{Described, label};
use super::identity::Graph;
use super::kept::{Kept, once};
use super::licenses;
use super::scope::{Clocks, Scope};
use super::sets::Component;
use super::vex::names::is_cve;
use super::vex::said::Case;
use super::vex::subjects::Subjects;
use super::vex::verdict::Whole;
use crate::error::Error;
use crate::facts::components::rows::Known;
use crate::facts::deltas::rows::none_is_known;
use crate::facts::findings::rows::key_name;
use crate::facts::lineage::rows::{Evidence, EvidenceKind, table};

/// Qualifiers of a purl that name another thing.
const NAMING: [&str; 3] = ["classifier", "type", "repository_url"];

/// What a component is matched by: its purl without version and without qualifiers that name nothing, or what it is
/// called where it has none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Matched {
    Purl(String),
    Named(String, String, String),
}

/// One version of what is matched: a package may lie at several places, each with bytes of its own.
#[derive(Clone)]
struct Version {
    known: Arc<Component>,
    /// Digests of all places.
    digests: BTreeSet<String>,
}

/// Components that are matched by one thing, by version as it is compared.
type Versions = BTreeMap<String, Version>;

/// Components by what they are matched by, each version once.
type Components = BTreeMap<Matched, Versions>;

/// One side.
#[derive(Default)]
struct Side {
    components: Components,
    /// Entries that say what it contains.
    sboms: BTreeSet<u64>,
}

impl Side {
    fn add(&mut self, components: Vec<Arc<Component>>) {
        for known in components {
            let (matched, version) = matched(&known);
            let versions = self.components.entry(matched).or_default();
            let first = || Version { known: known.clone(), digests: BTreeSet::new() };
            let version = versions.entry(version).or_insert_with(first);
            if !known.digest.is_empty() && !version.digests.contains(&known.digest) {
                version.digests.insert(known.digest.clone());
            }
        }
    }

    /// Components whose purl begins with a package: those of it, whatever else names them, and some more.
    fn spelled_as(&self, package: &str) -> impl Iterator<Item = &Versions> {
        let from = Matched::Purl(package.to_owned());
        let begins = move |matched: &Matched| matches!(matched, Matched::Purl(text) if text.starts_with(package));
        self.components.range(from..).take_while(move |(matched, _)| begins(matched)).map(|(_, versions)| versions)
    }
}

impl Scope {
    /// What changed from one artifact to another, both by canonical digest. It costs the components of both, a seek for
    /// each package that anybody says something of, and two verdicts for each vulnerability that is said of either.
    pub fn diff(&self, from: &str, to: &str) -> Result<Diff, Error> {
        Ok(self.diff_with_entries(from, to)?.0)
    }

    /// The same, and the entries that it rests on: what its replay hash covers.
    pub fn proved_diff(&self, from: &str, to: &str) -> Result<(Diff, Vec<Proof>), Error> {
        let (diff, entries) = self.diff_with_entries(from, to)?;
        Ok((diff, entries.into_iter().map(|index| self.proof(index)).collect::<Result<_, _>>()?))
    }

    fn diff_with_entries(&self, from: &str, to: &str) -> Result<(Diff, BTreeSet<u64>), Error> {
        let graph = Graph::new(self);
        let mut entries = BTreeSet::new();
        let (before, after) = (self.side(from)?, self.side(to)?);
        entries.extend(before.sboms.iter().chain(&after.sboms));
        let mut undescribed = Vec::new();
        for (side, digest) in [("from", from), ("to", to)] {
            if self.described(digest)? != Described::Whole {
                undescribed.push(side.to_owned());
            }
        }
        // Of a side that nobody described it is not known what came to it or went from it.
        let sbom_diff = match before.sboms.is_empty() || after.sboms.is_empty() {
            true => SbomDiff { undescribed, ..SbomDiff::default() },
            false => SbomDiff { undescribed, ..compared(&before.components, &after.components) },
        };
        let vex_diff = self.vex_diff((from, &before), (to, &after), &mut entries)?;
        let reachability_diff = self.reachability_diff(from, to, &mut entries)?;
        let replay_hash = graph.replay_hash(&format!("{from}..{to}"), entries.iter().copied())?;
        let (from, to) = (from.to_owned(), to.to_owned());
        Ok((Diff { from, to, sbom_diff, vex_diff, reachability_diff, replay_hash }, entries))
    }

    /// All components of an artifact, by what its current SBOMs say.
    fn side(&self, digest: &str) -> Result<Side, Error> {
        let mut side = Side::default();
        for part in self.parts_of(digest)? {
            for current in self.current_sboms(&part)? {
                side.sboms.insert(current.stamp.index);
                side.add(self.contents(current.set)?.all(self)?);
            }
        }
        Ok(side)
    }

    fn vex_diff(
        &self,
        (from, before): (&str, &Side),
        (to, after): (&str, &Side),
        entries: &mut BTreeSet<u64>,
    ) -> Result<Vec<VerdictChange>, Error> {
        let packages: BTreeSet<String> = [before, after].into_iter().flat_map(packages).collect();
        let mut names = self.vulnerabilities_of_packages(&packages)?;
        for digest in [from, to] {
            names.extend(self.vulnerabilities_of(digest)?);
        }
        // Nothing vanishes with a version that nobody looked into.
        let none_is_known = none_is_known(self.is_looked_into(to)?, self.is_looked_into(from)?);
        let (subjects, mut changes) = (Rc::new(Subjects::new(self)), BTreeMap::new());
        // Verdicts that several CVEs have together.
        let shared = Kept::default();
        let (cves, others): (BTreeSet<_>, BTreeSet<_>) = names.into_iter().partition(|name| is_cve(name));
        for name in cves.into_iter().chain(subjects.names.with_joined(others)?).collect::<BTreeSet<_>>() {
            let case = Case::among(&subjects, &name)?;
            // An id that two CVEs share is looked at under each of them.
            if key_name(&case.vulnerability().name) != name {
                continue;
            }
            let both = || Ok::<_, Error>(Rc::new((case.whole(from)?, case.whole(to)?)));
            let verdicts = match case.shared_names()? {
                Some(names) => once(&shared, &names, both)?,
                None => both()?,
            };
            let (old, new) = &*verdicts;
            entries.extend(old.entries().chain(new.entries()));
            if new.consensus.is_none() && !none_is_known {
                continue;
            }
            if let Some(change) = changed(&case, old, new, (before, after)) {
                changes.insert(change.cve.clone(), change);
            }
        }
        Ok(changes.into_values().collect())
    }

    fn reachability_diff(
        &self,
        from: &str,
        to: &str,
        entries: &mut BTreeSet<u64>,
    ) -> Result<Vec<ReachabilityChange>, Error> {
        let (before, after) = (self.reachability(from, entries)?, self.reachability(to, entries)?);
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let none = || (("none".to_owned(), 0), BTreeSet::new());
        let mut changes = Vec::new();
        for name in names {
            let ((from_status, from_paths), from_gates) = before.get(name).cloned().unwrap_or_else(none);
            let ((to_status, to_paths), to_gates) = after.get(name).cloned().unwrap_or_else(none);
            if (&from_status, from_paths, &from_gates) == (&to_status, to_paths, &to_gates) {
                continue;
            }
            changes.push(ReachabilityChange {
                cve: name.clone(),
                from_status,
                to_status,
                paths_removed: from_paths.saturating_sub(to_paths),
                paths_added: to_paths.saturating_sub(from_paths),
                gates_added: to_gates.difference(&from_gates).cloned().collect(),
                gates_removed: from_gates.difference(&to_gates).cloned().collect(),
            });
        }
        Ok(changes)
    }

    /// What was analysed last of each vulnerability: status, paths, gates.
    fn reachability(&self, digest: &str, entries: &mut BTreeSet<u64>) -> Result<Analysed, Error> {
        let (graph, mut newest) = (Graph::new(self), BTreeMap::new());
        for alias in self.aliases_of(digest)? {
            let of = graph.key(table::EVIDENCE).text(&alias).byte(EvidenceKind::Reachability.byte());
            for row in self.rows::<Evidence>(&of, Clocks::Both, usize::MAX)? {
                let Evidence::Reachability { vulnerability, status, paths, gates } = row.value else { continue };
                let name = self.vulnerability(&vulnerability)?.name;
                let known = newest.entry(name).or_insert_with(|| (row.stamp.order(), Default::default()));
                if known.0 <= row.stamp.order() {
                    *known = (row.stamp.order(), (row.stamp.index, (status, paths), gates));
                }
            }
        }
        Ok(newest
            .into_iter()
            .map(|(name, (_, (index, said, gates)))| {
                entries.insert(index);
                (name, (said, gates.into_iter().collect()))
            })
            .collect())
    }
}

/// A vulnerability whose verdict is another one, and why.
fn changed(case: &Case<'_>, old: &Whole, new: &Whole, sides: (&Side, &Side)) -> Option<VerdictChange> {
    (old.status_word() != new.status_word()).then(|| change_of(case, old, new, sides))
}

/// The first cause of component, statement, finding.
fn change_of(case: &Case<'_>, old: &Whole, new: &Whole, sides: (&Side, &Side)) -> VerdictChange {
    let cause = by_component(old, new, sides).or_else(|| by_statement(old, new)).or_else(|| by_finding(old, new));
    let (reason_code, reason, index) = cause.unwrap_or_else(|| {
        let index = new.entries().chain(old.entries()).max();
        ("statement_changed", "what is said of it weighs otherwise".to_owned(), index)
    });
    VerdictChange {
        cve: case.vulnerability().name.clone(),
        from_status: old.status_word(),
        to_status: new.status_word(),
        reason,
        reason_code: reason_code.to_owned(),
        evidence_link: index.map(|index| format!("/api/v1/entries/{index}")),
    }
}

/// Why the verdict on a vulnerability is another one along an edge, whether or not it is now. It reads of both sides what
/// is said and the packages that it is about.
pub(super) fn changed_along(scope: &Scope, case: &Case<'_>, old: &Whole, new: &Whole) -> Result<VerdictChange, Error> {
    let named: BTreeSet<&String> = old.components().into_iter().chain(new.components()).collect();
    let packages: BTreeSet<String> =
        named.iter().filter_map(|purl| Purl::parse(purl)).map(|purl| purl.package_key().to_owned()).collect();
    let side = |digest: &str| {
        let mut side = Side::default();
        for part in scope.parts_of(digest)? {
            for current in scope.current_sboms(&part)? {
                side.sboms.insert(current.stamp.index);
                let contents = scope.contents(current.set)?;
                for package in &packages {
                    side.add(contents.of_key(scope, package)?);
                }
            }
        }
        Ok::<_, Error>(side)
    };
    let (before, after) = (side(&old.digest)?, side(&new.digest)?);
    Ok(change_of(case, old, new, (&before, &after)))
}

/// By vulnerability: status and paths, gates.
type Analysed = BTreeMap<String, ((String, u32), BTreeSet<String>)>;

/// A cause: reason code, reason, entry.
type Cause = (&'static str, String, Option<u64>);

/// What a component is matched by, and its version.
pub(super) fn matched(known: &Component) -> (Matched, String) {
    match known.parsed() {
        Some(purl) => {
            let mut text = purl.package_key().to_owned();
            for (name, value) in naming(purl) {
                text.push_str(&format!(";{name}={value}"));
            }
            (Matched::Purl(text), version_with_epoch(purl, purl.version_key()).into_owned())
        }
        None => {
            let Known { kind, group, name, version, .. } = &**known;
            (Matched::Named(kind.clone(), group.clone(), name.clone()), version.clone())
        }
    }
}

/// Qualifiers of a purl that name another thing, with their values.
fn naming(purl: &Purl) -> impl Iterator<Item = (&'static str, String)> + '_ {
    // What Maven takes where none is written is not written by all.
    let is_default = |name: &str, value: &str| name == "type" && purl.kind() == "maven" && value == "jar";
    let value = |name| purl.qualifier(name).map(|value| (name, value));
    NAMING.into_iter().filter_map(value).filter(move |(name, value)| !is_default(name, value))
}

/// A version with the epoch that its purl has as a qualifier, as RPMs have it: an epoch of 0 is none.
fn version_with_epoch<'v>(purl: &'v Purl, version: &'v str) -> Cow<'v, str> {
    let ordered = purl.ordered_version();
    match ordered.split_once(':') {
        Some((epoch, rest)) if matches!(purl.kind(), "rpm" | "deb") => match epoch.trim_start_matches('0') {
            "" => Cow::Owned(rest.to_owned()),
            _ => ordered,
        },
        Some(_) | None => Cow::Borrowed(version),
    }
}

fn packages(side: &Side) -> impl Iterator<Item = String> {
    let of_purl = |known: &Arc<Component>| known.parsed().map(packages_of);
    side.components.values().flat_map(|versions| versions.values()).map(|one| &one.known).filter_map(of_purl).flatten()
}

/// Versions on both sides cancel first; the rest is paired in the order of versions, and what is left is added or
/// removed.
fn compared(before: &Components, after: &Components) -> SbomDiff {
    let mut diff = SbomDiff::default();
    let (mut unchanged, none) = (0, BTreeMap::new());
    let all: BTreeSet<&Matched> = before.keys().chain(after.keys()).collect();
    for matched in all {
        let (old, new) = (before.get(matched).unwrap_or(&none), after.get(matched).unwrap_or(&none));
        for (version, was) in old {
            let Some(is) = new.get(version) else { continue };
            unchanged += u64::from(!contents_changed(was, is, &mut diff));
        }
        let (gone, come) = (only_in(old, new), only_in(new, old));
        let pairs = gone.len().min(come.len());
        for (was, is) in gone.iter().zip(&come).take(pairs) {
            diff.version_changed.push(VersionChanged {
                purl: without_version(is),
                name: name_of(is),
                from_version: version_of(was),
                to_version: version_of(is),
            });
            license_changed(was, is, &mut diff);
        }
        diff.removed.extend(gone.iter().skip(pairs).map(|known| item(known)));
        diff.added.extend(come.iter().skip(pairs).map(|known| item(known)));
    }
    diff.added.sort_by(by_item);
    diff.removed.sort_by(by_item);
    diff.version_changed.sort_by(|a, b| (&a.purl, &a.name, &a.from_version).cmp(&(&b.purl, &b.name, &b.from_version)));
    diff.license_changed.sort_by(|a, b| (&a.purl, &a.name).cmp(&(&b.purl, &b.name)));
    diff.content_changed.sort_by(|a, b| (&a.purl, &a.name).cmp(&(&b.purl, &b.name)));
    diff.summary = DiffSummary {
        added: diff.added.len() as u64,
        removed: diff.removed.len() as u64,
        version_changed: diff.version_changed.len() as u64,
        license_changed: diff.license_changed.len() as u64,
        content_changed: diff.content_changed.len() as u64,
        unchanged,
    };
    diff
}

fn by_item(a: &Added, b: &Added) -> Ordering {
    (&a.purl, &a.name, &a.version).cmp(&(&b.purl, &b.name, &b.version))
}

/// Versions of a package that one side has and the other has not, in their order.
fn only_in<'s>(side: &'s Versions, other: &Versions) -> Vec<&'s Arc<Component>> {
    let only = side.iter().filter(|(version, _)| !other.contains_key(*version));
    let mut only: Vec<_> = only.map(|(_, one)| &one.known).collect();
    only.sort_by(|a, b| version_order(a, b));
    only
}

/// In the order of the package's kind; what cannot be compared there, as numbers and words.
fn version_order(a: &Component, b: &Component) -> Ordering {
    let scheme = a.parsed().and_then(|purl| Scheme::of_purl_type(purl.kind()));
    let (a, b) = (ordered_version(a), ordered_version(b));
    let compared = scheme.and_then(|scheme| scheme.compare(&a, &b));
    compared.or_else(|| Scheme::Generic.compare(&a, &b)).unwrap_or(Ordering::Equal).then_with(|| a.cmp(&b))
}

fn ordered_version(known: &Component) -> Cow<'_, str> {
    known.parsed().map_or(Cow::Borrowed(&known.version), Purl::ordered_version)
}

/// Whether the same version has other licences or another content.
fn contents_changed(was: &Version, is: &Version, diff: &mut SbomDiff) -> bool {
    let license = license_changed(&was.known, &is.known, diff);
    let content = other_digests(&was.digests, &is.digests);
    if let Some((from_digest, to_digest)) = content {
        diff.content_changed.push(ContentChanged {
            purl: is.known.purl.clone(),
            name: name_of(&is.known),
            version: version_of(&is.known),
            from_digest: from_digest.to_owned(),
            to_digest: to_digest.to_owned(),
        });
    }
    license || content.is_some()
}

/// What became what, by the first algorithm that both sides have and of which they have other digests: those that only
/// one side has go first.
fn other_digests<'d>(was: &'d BTreeSet<String>, is: &'d BTreeSet<String>) -> Option<(&'d str, &'d str)> {
    let algorithm = |digest: &'d String| digest.split_once(':').map(|(algorithm, _)| algorithm);
    let algorithms: BTreeSet<&str> = was.iter().filter_map(algorithm).collect();
    algorithms.into_iter().find_map(|wanted| {
        let of = |all: &'d BTreeSet<String>| -> BTreeSet<&'d str> {
            all.iter().filter(|digest| algorithm(digest) == Some(wanted)).map(String::as_str).collect()
        };
        let (was, is) = (of(was), of(is));
        let shown = |own: &BTreeSet<&'d str>, other: &BTreeSet<&'d str>| {
            own.difference(other).next().or_else(|| own.first()).copied()
        };
        (was != is).then(|| shown(&was, &is).zip(shown(&is, &was))).flatten()
    })
}

fn license_changed(was: &Component, is: &Component, diff: &mut SbomDiff) -> bool {
    let changed = !licenses::same(&was.licenses, &is.licenses);
    if changed {
        diff.license_changed.push(LicenseChanged {
            purl: is.purl.clone(),
            name: name_of(is),
            version: version_of(is),
            from_license: licenses::shown(&was.licenses),
            to_license: licenses::shown(&is.licenses),
        });
    }
    changed
}

fn item(known: &Component) -> Added {
    Added {
        purl: Some(known.purl.clone()).filter(|purl| !purl.is_empty()),
        name: if known.name.is_empty() { label(known) } else { known.name.clone() },
        version: version_of(known),
        license: licenses::shown(&known.licenses),
    }
}

fn version_of(known: &Component) -> String {
    match known.parsed() {
        Some(purl) if !purl.version().is_empty() => version_with_epoch(purl, purl.version()).into_owned(),
        Some(_) | None => known.version.clone(),
    }
}

/// Items without purl carry their name.
fn name_of(known: &Component) -> Option<String> {
    known.purl.is_empty().then(|| known.name.clone())
}

/// The purl without its version: with the qualifiers that name another thing.
fn without_version(known: &Component) -> String {
    let Some(purl) = known.parsed() else { return String::new() };
    let named = naming(purl).try_fold(None, |of: Option<Purl>, (name, value)| {
        let of = of.or_else(|| Purl::parse(purl.package()))?;
        Some(Some(of.with_qualifier(name, &value)?))
    });
    named.flatten().map_or_else(|| purl.package().to_owned(), |named| named.as_str().to_owned())
}

/// A component that what is said is about came, went or changed its version. Of a side that nobody described none is
/// known to have done so.
fn by_component(old: &Whole, new: &Whole, (before, after): (&Side, &Side)) -> Option<Cause> {
    if before.sboms.is_empty() || after.sboms.is_empty() {
        return None;
    }
    let named: BTreeSet<&String> = old.components().into_iter().chain(new.components()).collect();
    let index = |side: &Side| side.sboms.last().copied();
    for purl in named {
        let Some(purl) = Purl::parse(purl) else { continue };
        let of = |side: &Side| -> Versions {
            let is_it = |known: &Component| known.parsed().is_some_and(|own| own.package_key() == purl.package_key());
            let all = side.spelled_as(purl.package_key()).flatten().filter(|(_, one)| is_it(&one.known));
            all.map(|(version, one)| (version.clone(), one.clone())).collect()
        };
        let (was, is) = (of(before), of(after));
        if was.keys().eq(is.keys()) {
            continue;
        }
        let package = purl.package();
        let last = |all: Versions| all.into_values().map(|one| one.known).max_by(|a, b| version_order(a, b));
        return Some(match (last(was), last(is)) {
            (None, Some(known)) => ("component_added", format!("{package} {} came", version_of(&known)), index(after)),
            (Some(known), None) => {
                let reason = format!("{package} {} went", version_of(&known));
                ("component_removed", reason, index(after).or(index(before)))
            }
            (Some(from), Some(to)) => {
                let up = version_order(&from, &to).is_lt();
                let code = if up { "component_upgraded" } else { "component_downgraded" };
                (code, format!("{package} {} became {}", version_of(&from), version_of(&to)), index(after))
            }
            (None, None) => continue,
        });
    }
    None
}

fn by_statement(old: &Whole, new: &Whole) -> Option<Cause> {
    let (was, is) = (old.statements(), new.statements());
    let gone: Vec<_> = was.iter().filter(|(said, _)| !is.contains_key(*said)).collect();
    let come: Vec<_> = is.iter().filter(|(said, _)| !was.contains_key(*said)).collect();
    match (gone.first(), come.first()) {
        (_, Some(((issuer, status), index))) => {
            let changed = gone.iter().any(|((other, _), _)| other == issuer);
            let code = if changed { "statement_changed" } else { "statement_added" };
            Some((code, format!("{issuer} says {}", status.replace('_', " ")), Some(**index)))
        }
        (Some(((issuer, status), index)), None) => {
            let reason = format!("{issuer} no longer says {}", status.replace('_', " "));
            Some(("statement_withdrawn", reason, Some(**index)))
        }
        (None, None) => None,
    }
}

fn by_finding(old: &Whole, new: &Whole) -> Option<Cause> {
    let (was, is) = (old.findings(), new.findings());
    let come = is.iter().find(|(source, _)| !was.contains_key(*source));
    if let Some((source, index)) = come {
        return Some(("finding_appeared", format!("{source} found it"), Some(*index)));
    }
    let gone = was.iter().find(|(source, _)| !is.contains_key(*source));
    gone.map(|(source, index)| ("finding_disappeared", format!("{source} no longer finds it"), Some(*index)))
}
