//! What a digest contains: its current SBOMs, their components, and the way to each.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use pedigraph_proto::Purl;
use pedigraph_proto::vers::Range;

use super::answers::ComponentPath;
use super::identity::Graph;
use super::kept::once_of;
use super::scope::{Clocks, Scope};
use super::sets::{BOUND_KEPT_MAX, COMPONENTS_KEPT_MAX, CONTENTS_KEPT_MAX, Component, Contents, Placed};
use crate::error::Error;
use crate::facts::components::rows::{
    BINDINGS, Bound, COMPONENTS, Known, PAGES, PageRow, SET_PAGES, digest_text, table, table_key, unreadable,
};
use crate::rows::stamp::{Stamp, Stamped, split_stamp};
use crate::store::key::Key;

/// SBOMs of one digest that are read; of more, the first in the ledger's time count.
const SBOMS_MAX: usize = 10_000;
/// Slices of a set that are read at once.
const SLICES_READ: usize = 64;
/// Components of one path; a longer way is shown as none.
const PATH_MAX: usize = 64;

/// An SBOM that counts: the newest of its tool and root component.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Current {
    pub(super) set: u32,
    pub(super) reference: String,
    /// Digest of the document.
    pub(super) document: String,
    /// Of the event that bound it to the digest.
    pub(super) stamp: Stamp,
    /// Of the event that brought the document; another one where the document was linked to the digest later.
    pub(super) written: Stamp,
}

/// The order of SBOMs of one thing: time, version of the document, index, ordinal.
type Written = (i64, u32, u64, u32);

/// How much of an artifact is described by SBOMs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Described {
    Whole,
    /// And why not all of it.
    Partly(String),
    Nothing,
}

impl Described {
    /// Whether as much of another artifact is described: all, some or nothing.
    pub(super) fn is_as_much_as(&self, other: &Described) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// Why it is not known what an artifact contains: it has no SBOM, and, if it is an index, neither have some of the
    /// manifests under it; `None` when all of it is described.
    pub(super) fn why_not(self) -> Option<String> {
        match self {
            Described::Whole => None,
            Described::Partly(why) => Some(why),
            Described::Nothing => Some("no SBOM of it is known".to_owned()),
        }
    }
}

impl Scope {
    /// Components of an artifact by purl, at most `limit` after the given purl. Components without purl go by their
    /// name.
    pub fn components(&self, digest: &str, after: Option<&str>, limit: usize) -> Result<Vec<ComponentPath>, Error> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for part in self.parts_of(&digest_text(digest))? {
            for current in self.current_sboms(&part)? {
                let contents = self.contents(current.set)?;
                for (place, purl) in contents.after(self, after, limit)? {
                    if let Entry::Vacant(vacant) = found.entry(purl) {
                        vacant.insert(contents.path(self, place)?);
                    }
                }
            }
        }
        let rows = found.into_iter().map(|(purl, path)| ComponentPath { purl, path });
        Ok(rows.take(limit).collect())
    }

    /// How much of an artifact is described.
    pub(super) fn described(&self, digest: &str) -> Result<Described, Error> {
        let graph = Graph::new(self);
        if self.is_described(digest)? {
            return Ok(Described::Whole);
        }
        let below = graph.below(digest)?;
        let (mut described, mut bare) = (Vec::new(), Vec::new());
        for member in &below.members {
            // What is under a described index is described with it.
            let of_described = graph.above(&member.digest)?.digests().any(|above| described.contains(above));
            if of_described || self.is_described(&member.digest)? {
                described.push(member.digest.clone());
            } else if graph.below(&member.digest)?.members.is_empty() {
                bare.push(member.clone());
            }
        }
        let partly = |why: String| Described::Partly(why);
        Ok(match bare.first() {
            _ if described.is_empty() => Described::Nothing,
            _ if below.cut => partly("it is an index of more manifests than are looked through".to_owned()),
            Some(first) if bare.len() == 1 => partly(format!("no SBOM of {} is known", first.shown())),
            Some(first) => partly(format!("no SBOM of {} and {} more of it is known", first.shown(), bare.len() - 1)),
            None => Described::Whole,
        })
    }

    /// Whether an artifact has any current SBOM.
    pub(super) fn is_described(&self, digest: &str) -> Result<bool, Error> {
        self.any_sbom(digest, |bound| Ok(bound.set.is_some() || self.linked_sbom(&bound.sbom)?.is_some()))
    }

    /// Whether any of the SBOMs that are bound to a digest or an alias of it passes; reads no further than the first.
    pub(super) fn any_sbom(&self, digest: &str, passes: impl Fn(&Bound) -> Result<bool, Error>) -> Result<bool, Error> {
        if digest.is_empty() {
            return Ok(false);
        }
        let known = self.contents.bound.lock().get(digest).cloned();
        if let Some(known) = known {
            return known.iter().try_fold(false, |found, row| Ok(found || passes(&row.value)?));
        }
        let mut found = false;
        for alias in self.aliases_of(digest)? {
            let bound = table(&self.tenant, BINDINGS).text(&alias);
            self.each::<Bound>(&bound, &bound.prefix_end(), false, Clocks::Known, |_, row| {
                found = passes(&row.value)?;
                Ok(if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
            if found {
                break;
            }
        }
        Ok(found)
    }

    /// The newest SBOM of each (tool, root component), by event time; links stand for the SBOM that they name.
    pub(super) fn current_sboms(&self, digest: &str) -> Result<Vec<Current>, Error> {
        self.current_among(&self.sboms_of(digest)?)
    }

    /// As [`Scope::current_sboms`], of all SBOMs of an artifact.
    pub(super) fn current_among(&self, sboms: &[Stamped<Bound>]) -> Result<Vec<Current>, Error> {
        let mut newest: BTreeMap<(String, String), (Written, Current)> = BTreeMap::new();
        for Stamped { stamp, value: bound } in sboms {
            let (stamp, document) = (*stamp, bound.other.clone());
            let resolved = match bound.set {
                Some(_) => Some((stamp, bound.clone())),
                None => self.linked_sbom(&bound.sbom)?,
            };
            let Some((written, Bound { set: Some(set), tool, root, reference, version, .. })) = resolved else {
                continue;
            };
            let (time, index, ordinal) = written.order();
            let (of, order) = ((tool, root), (time, version, index, ordinal));
            let known = newest.get(&of).is_some_and(|(known, _)| *known >= order);
            if !known {
                newest.insert(of, (order, Current { set, reference, document, stamp, written }));
            }
        }
        Ok(newest.into_values().map(|(_, current)| current).collect())
    }

    /// The newest description that an SBOM's own digest is bound to.
    fn linked_sbom(&self, sbom: &str) -> Result<Option<(Stamp, Bound)>, Error> {
        let sboms = self.sboms_of(sbom)?;
        let newest = sboms.iter().rev().find(|row| row.value.set.is_some());
        Ok(newest.map(|row| (row.stamp, row.value.clone())))
    }

    /// Every SBOM bound to a digest or an alias of it, by event time.
    pub(super) fn sboms_of(&self, digest: &str) -> Result<Arc<Vec<Stamped<Bound>>>, Error> {
        if digest.is_empty() {
            return Ok(Arc::default());
        }
        once_of(BOUND_KEPT_MAX, &self.contents.bound, digest, || self.read_sboms_of(digest).map(Arc::new))
    }

    fn read_sboms_of(&self, digest: &str) -> Result<Vec<Stamped<Bound>>, Error> {
        let mut rows = Vec::new();
        for alias in self.aliases_of(digest)? {
            rows.extend(self.rows::<Bound>(&table(&self.tenant, BINDINGS).text(&alias), Clocks::Known, SBOMS_MAX)?);
        }
        rows.sort_by_key(|row| row.stamp.order());
        Ok(rows)
    }

    /// A set as far as this scope knows it.
    pub(super) fn contents(&self, set: u32) -> Result<Arc<Contents>, Error> {
        once_of(CONTENTS_KEPT_MAX, &self.contents.sets, &set, || self.read_contents(set).map(Arc::new))
    }

    fn read_contents(&self, set: u32) -> Result<Contents, Error> {
        let prefix = table(&self.tenant, SET_PAGES).number(u64::from(set));
        let (mut entries, mut roots) = (Vec::new(), Vec::new());
        for page in self.rows::<u32>(&prefix, Clocks::Known, usize::MAX)? {
            let key = table(&self.tenant, PAGES).number(u64::from(page.value));
            let Some(row) = self.get::<PageRow>(&key, Clocks::Known)? else { continue };
            let PageRow { first, components, depends_on, roots: direct, .. } = row.value;
            roots.extend(direct);
            let mut depends_on = depends_on.into_iter();
            entries.extend((first..=u32::MAX).zip(components).map(|(ordinal, component)| Placed {
                ordinal,
                component,
                depends_on: depends_on.next().unwrap_or_default(),
            }));
        }
        entries.sort_by_key(|entry| entry.ordinal);
        let reached = reach(&entries, &roots);
        let mut places: Vec<(u32, usize)> = entries.iter().map(|entry| entry.component).zip(0..).collect();
        places.sort_unstable();
        Ok(Contents { entries, reached, places })
    }

    /// Was every slice of a set, as far as any is stored, known as of this scope?
    pub(super) fn sees_whole_set(&self, set: u32) -> Result<bool, Error> {
        let prefix = table(&self.tenant, SET_PAGES).number(u64::from(set));
        let (mut from, end) = (prefix.as_bytes().to_vec(), prefix.prefix_end());
        loop {
            let rows = self.shared.store.scan(&from, end.as_bytes(), false, SLICES_READ)?;
            for (_, row) in &rows {
                if !self.sees(&split_stamp(row)?.0, Clocks::Known) {
                    return Ok(false);
                }
            }
            match rows.last().filter(|_| rows.len() == SLICES_READ) {
                Some((key, _)) => from = [key.as_slice(), &[0]].concat(),
                None => return Ok(true),
            }
        }
    }

    /// A component by its number.
    pub(super) fn known(&self, component: u32) -> Result<Arc<Component>, Error> {
        once_of(COMPONENTS_KEPT_MAX, &self.contents.components, &component, || {
            let key = table(&self.tenant, COMPONENTS).number(u64::from(component));
            let known = self.get::<Known>(&key, Clocks::Known)?.map(|row| row.value);
            Ok(Arc::new(Component::of(known.unwrap_or_default())))
        })
    }

    /// Digests in keys of the form (..., digest, stamp), each once, ascending.
    pub(super) fn digests_under(&self, prefix: &Key, skip: usize, limit: usize) -> Result<Vec<String>, Error> {
        let mut digests: Vec<String> = Vec::new();
        self.each::<()>(prefix, &prefix.prefix_end(), false, Clocks::Known, |key, _| {
            let mut reader = table_key(key)?;
            match skip {
                0 => reader.number().map(|_| ()),
                _ => reader.text().map(|_| ()),
            }
            .ok_or_else(unreadable)?;
            let digest = reader.text().ok_or_else(unreadable)?;
            if digests.last() != Some(&digest) {
                digests.push(digest);
            }
            let full = digests.len() > limit;
            Ok(if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(digests)
    }
}

/// What a component is called: its purl, else its name and version.
pub(super) fn label(known: &Known) -> String {
    match (known.purl.as_str(), known.version.as_str()) {
        ("", "") => known.name.clone(),
        ("", version) => format!("{}@{version}", known.name),
        (purl, _) => purl.to_owned(),
    }
}

impl Contents {
    /// Up to `limit` places after a label. A set is sorted by purl, so those with one are found without reading all.
    fn after(&self, scope: &Scope, after: Option<&str>, limit: usize) -> Result<Vec<(usize, String)>, Error> {
        let mut found = Vec::new();
        let (mut low, mut high) = (0, self.entries.len());
        if let Some(after) = after {
            while low < high {
                let middle = low + (high - low) / 2;
                let known = scope.known(self.entries[middle].component)?;
                if known.purl.as_str() <= after { low = middle + 1 } else { high = middle }
            }
        }
        let nameless = self.nameless(scope)?;
        // Those without purl stand first in the set and are labelled by name, so each of them is looked at.
        for place in (0..nameless).chain(low.max(nameless)..self.entries.len()) {
            let label = self.label(scope, place)?;
            if after.is_none_or(|after| label.as_str() > after) {
                found.push((place, label));
            }
            if place >= nameless && found.len() >= limit + nameless {
                break;
            }
        }
        Ok(found)
    }

    /// All components.
    pub(super) fn all(&self, scope: &Scope) -> Result<Vec<Arc<Component>>, Error> {
        self.entries.iter().map(|entry| scope.known(entry.component)).collect()
    }

    /// Components of a package, found in the order of the set: by so many reads as the logarithm of its size, twice,
    /// and one for each that is found.
    pub(super) fn of_package(&self, scope: &Scope, package: &str) -> Result<Vec<Arc<Component>>, Error> {
        let base = package.split('#').next().unwrap_or_default();
        // What may follow a package in a purl: nothing or a subpath, qualifiers or a version.
        let ranges = [(base.to_owned(), format!("{base}$")), (format!("{base}?"), format!("{base}A"))];
        let mut found = Vec::new();
        for (from, to) in ranges {
            for place in self.lower_bound(scope, &from)?..self.entries.len() {
                let known = scope.known(self.entries[place].component)?;
                if known.purl.as_str() >= to.as_str() {
                    break;
                }
                if known.parsed().is_some_and(|purl| purl.package() == package) {
                    found.push(known);
                }
            }
        }
        Ok(found)
    }

    /// The same in all spellings of the package's name.
    pub(super) fn of_key(&self, scope: &Scope, key: &str) -> Result<Vec<Arc<Component>>, Error> {
        let mut found = self.of_package(scope, key)?;
        if Purl::parse(key).is_none_or(|purl| purl.has_spellings()) {
            for package in scope.packages_beside(key)? {
                // Of a distribution's package those that are made from it stand there too.
                if Purl::parse(&package).is_some_and(|purl| purl.package_key() == key) {
                    found.extend(self.of_package(scope, &package)?);
                }
            }
        }
        Ok(found)
    }

    /// Where a component with this very purl stands first.
    pub(super) fn place_of(&self, scope: &Scope, purl: &str) -> Result<Option<usize>, Error> {
        let place = self.lower_bound(scope, purl)?;
        let Some(entry) = self.entries.get(place) else { return Ok(None) };
        Ok((scope.known(entry.component)?.purl == purl).then_some(place))
    }

    /// The first place whose purl is not below a text.
    fn lower_bound(&self, scope: &Scope, text: &str) -> Result<usize, Error> {
        let (mut low, mut high) = (0, self.entries.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let below = scope.known(self.entries[middle].component)?.purl.as_str() < text;
            if below { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    /// Number of components without purl: they come first in a set.
    fn nameless(&self, scope: &Scope) -> Result<usize, Error> {
        let (mut low, mut high) = (0, self.entries.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if scope.known(self.entries[middle].component)?.purl.is_empty() { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    /// Where a component stands, with the shortest way first.
    pub(super) fn place(&self, component: u32) -> Option<usize> {
        let first = self.places.partition_point(|(other, _)| *other < component);
        let places = self.places[first..].iter().take_while(|(other, _)| *other == component);
        places.map(|(_, place)| *place).min_by_key(|place| (self.ways(*place).is_none(), *place))
    }

    /// Where some components stand, of which numbers are given, ascending.
    pub(super) fn places_of(&self, components: &[u32]) -> Vec<usize> {
        if components.len() < self.places.len() {
            return components.iter().filter_map(|component| self.place(*component)).collect();
        }
        let mut asked: Vec<u32> = self.places.iter().map(|(component, _)| *component).collect();
        asked.dedup();
        asked.retain(|component| components.binary_search(component).is_ok());
        asked.into_iter().filter_map(|component| self.place(component)).collect()
    }

    fn ways(&self, place: usize) -> Option<Vec<usize>> {
        let (mut way, mut here) = (vec![place], place);
        while let Some(from) = self.reached.get(here).copied().flatten()? {
            if way.len() == PATH_MAX {
                return None;
            }
            way.push(from);
            here = from;
        }
        way.reverse();
        Some(way)
    }

    fn label(&self, scope: &Scope, place: usize) -> Result<String, Error> {
        let known = scope.known(self.entries[place].component)?;
        Ok(label(&known))
    }

    /// What stands there and the way to it.
    pub(super) fn labelled(&self, scope: &Scope, place: usize) -> Result<(String, Vec<String>), Error> {
        Ok((self.label(scope, place)?, self.path(scope, place)?))
    }

    /// The shortest way from what the described thing depends on directly; empty where none is known.
    pub(super) fn path(&self, scope: &Scope, place: usize) -> Result<Vec<String>, Error> {
        let way = self.ways(place).unwrap_or_default();
        way.into_iter().map(|place| self.label(scope, place)).collect()
    }
}

/// Breadth first from the direct dependencies; where none is marked, from what nothing depends on.
fn reach(entries: &[Placed], roots: &[u32]) -> Vec<Option<Option<usize>>> {
    let mut reached = vec![None; entries.len()];
    if roots.is_empty() && entries.iter().all(|entry| entry.depends_on.is_empty()) {
        return reached;
    }
    let place = |ordinal: u32| {
        let place = entries.partition_point(|entry| entry.ordinal < ordinal);
        (entries.get(place)?.ordinal == ordinal).then_some(place)
    };
    let mut first: Vec<usize> = roots.iter().filter_map(|ordinal| place(*ordinal)).collect();
    if first.is_empty() {
        let mut needed = vec![false; entries.len()];
        entries.iter().flat_map(|entry| &entry.depends_on).filter_map(|to| place(*to)).for_each(|to| needed[to] = true);
        first = (0..entries.len()).filter(|place| !needed[*place]).collect();
    }
    first.sort_unstable();
    let mut waiting: VecDeque<usize> = VecDeque::new();
    for root in first {
        if reached[root].is_none() {
            reached[root] = Some(None);
            waiting.push_back(root);
        }
    }
    while let Some(from) = waiting.pop_front() {
        for to in entries[from].depends_on.iter().filter_map(|to| place(*to)) {
            if reached[to].is_none() {
                reached[to] = Some(Some(from));
                waiting.push_back(to);
            }
        }
    }
    reached
}

/// Type, namespace, name and subpath are the same; so is the version where one is given; two `pkg:oci` with different
/// repositories are not.
pub(super) fn is_asked_for(asked: &Purl, range: Option<&Range>, component: &Purl) -> bool {
    let same = asked.package_key() == component.package_key();
    let exact = asked.version().is_empty() || asked.version_key() == component.version_key();
    let ranged = range.is_none_or(|range| range.contains(&component.ordered_version()));
    same && exact && ranged && same_repository(asked, component)
}

fn same_repository(asked: &Purl, component: &Purl) -> bool {
    if asked.kind() != "oci" {
        return true;
    }
    let urls = asked.qualifier("repository_url").zip(component.qualifier("repository_url"));
    urls.is_none_or(|(asked, component)| asked == component)
}
