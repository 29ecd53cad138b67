//! The components of an SBOM while it is read, and the set that they become: sorted, without repetition, with ordinals.

use std::collections::HashMap;

use pedigraph_proto::Digest;
use pedigraph_proto::event::Component as Listed;
use serde::Deserialize;

use super::facts::{canonical_purl, count};
use super::read::{List, Obj, Text, clip_to};

/// Longest license name or expression that is kept, bytes.
const LICENSE_BYTES_MAX: usize = 1_024;
/// Most licenses of one component.
const LICENSES_MAX: usize = 64;
/// Most dependencies of one component, so that it fits into a fact.
const DEPENDENCIES_MAX: usize = 65_536;

/// A component as a document writes it.
#[derive(Default)]
pub(super) struct Component<'a> {
    pub(super) bom_ref: Text<'a>,
    pub(super) kind: Text<'a>,
    pub(super) group: Text<'a>,
    pub(super) name: Text<'a>,
    pub(super) version: Text<'a>,
    pub(super) purl: Text<'a>,
    pub(super) hashes: List<Obj<Hash<'a>>>,
    pub(super) licenses: List<Obj<LicenseChoice<'a>>>,
    pub(super) properties: List<Obj<Property<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Hash<'a> {
    #[serde(borrow)]
    alg: Text<'a>,
    #[serde(borrow)]
    content: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct LicenseChoice<'a> {
    #[serde(borrow)]
    license: Obj<License<'a>>,
    #[serde(borrow)]
    expression: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct License<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Property<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    value: Text<'a>,
}

impl Component<'_> {
    /// The strongest digest that is given, weaker ones only where nothing else is.
    pub(super) fn digest(&self) -> Option<Digest> {
        const STRONGEST_FIRST: [&str; 6] = ["sha512", "sha384", "sha256", "blake3", "sha1", "md5"];
        let rank = |digest: &Digest| STRONGEST_FIRST.iter().position(|alg| *alg == digest.algorithm()).unwrap_or(3);
        let digests = self.hashes.0.iter();
        let digests = digests.filter_map(|Obj(hash)| Digest::from_parts(hash.alg.as_str(), hash.content.as_str()).ok());
        digests.min_by_key(|digest| (rank(digest), digest.to_string()))
    }

    /// A property's value.
    pub(super) fn property(&self, name: &str) -> Option<&str> {
        let found = self.properties.0.iter().find(|Obj(property)| property.name.as_str() == name);
        found.and_then(|Obj(property)| property.value.get())
    }

    /// `group/name`, or the name alone.
    pub(super) fn full_name(&self) -> String {
        match self.group.get() {
            Some(group) => format!("{group}/{}", self.name.as_str()),
            None => self.name.owned(),
        }
    }

    fn licenses(&self) -> Vec<String> {
        let names = self.licenses.0.iter().filter_map(|Obj(choice)| {
            let license = &choice.license.0;
            choice.expression.or(&license.id).or(&license.name).get()
        });
        let mut names: Vec<String> =
            names.take(LICENSES_MAX).map(|name| clip_to(name, LICENSE_BYTES_MAX).to_owned()).collect();
        names.sort();
        names.dedup();
        names.shrink_to_fit();
        names
    }
}

/// The components read so far. References between them are numbered, whether what they name came yet or not.
pub(super) struct Components {
    limit: usize,
    listed: Vec<Listed>,
    /// The number of each component's own reference; [`NO_REFERENCE`] when it has none.
    own: Vec<u32>,
    references: HashMap<Box<str>, u32>,
    edges: Vec<(u32, u32)>,
    root: Option<u32>,
    skipped: u32,
}

const NO_REFERENCE: u32 = u32::MAX;

impl Components {
    /// No components yet, and never more than `limit`.
    pub(super) fn new(limit: usize) -> Components {
        Components {
            limit,
            listed: Vec::new(),
            own: Vec::new(),
            references: HashMap::new(),
            edges: Vec::new(),
            root: None,
            skipped: 0,
        }
    }

    /// The limit.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// How many components have something that could only be kept as text.
    pub(super) fn skipped(&self) -> u32 {
        self.skipped
    }

    /// Adds a component; false when there are too many.
    pub(super) fn push(&mut self, component: &Component<'_>) -> bool {
        if self.listed.len() >= self.limit {
            return false;
        }
        let (purl, purl_ok) = canonical_purl(component.purl.as_str());
        let digest = component.digest();
        let digest_ok = digest.is_some() || component.hashes.0.is_empty();
        self.skipped += u32::from(!purl_ok || !digest_ok);
        self.listed.push(Listed {
            purl,
            name: component.name.owned(),
            version: component.version.owned(),
            group: component.group.owned(),
            r#type: component.kind.owned(),
            licenses: component.licenses(),
            digest: digest.map(|digest| digest.to_string()).unwrap_or_default(),
            depends_on: Vec::new(),
            root_dependency: false,
        });
        let own = component.bom_ref.get().map_or(NO_REFERENCE, |name| self.number(name));
        self.own.push(own);
        true
    }

    /// Names the thing that the document describes; it is no component of itself.
    pub(super) fn set_root(&mut self, reference: &str) {
        if !reference.is_empty() {
            self.root = Some(self.number(reference));
        }
    }

    /// Notes that `from` depends on each of `to`.
    pub(super) fn depends<'t>(&mut self, from: &str, to: impl Iterator<Item = &'t str>) {
        if from.is_empty() {
            return;
        }
        let from = self.number(from);
        for name in to.filter(|name| !name.is_empty()) {
            let to = self.number(name);
            self.edges.push((from, to));
        }
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.references.get(name) {
            return *number;
        }
        let number = count(self.references.len());
        self.references.insert(name.into(), number);
        number
    }

    /// Looks up references, once all components are known.
    pub(super) fn index(&self) -> Index<'_> {
        let places = self.own.iter().enumerate().filter(|(_, number)| **number != NO_REFERENCE);
        Index { components: self, places: places.map(|(place, number)| (*number, place)).collect() }
    }

    /// The set in its order: by (purl, name, version, group, type, digest); repetitions become one.
    pub(super) fn into_set(mut self) -> Vec<Listed> {
        let mut order: Vec<usize> = (0..self.listed.len()).filter(|&place| !self.is_root(place)).collect();
        order.sort_by(|&a, &b| key(&self.listed[a]).cmp(&key(&self.listed[b])));
        self.references = HashMap::new();

        let mut set: Vec<Listed> = Vec::with_capacity(order.len());
        // Ordinal in the set of each reference.
        let mut ordinals: HashMap<u32, u32> = HashMap::with_capacity(order.len());
        for place in order {
            let component = std::mem::take(&mut self.listed[place]);
            match set.last_mut() {
                Some(last) if key(last) == key(&component) => merge(last, component),
                _ => set.push(component),
            }
            ordinals.entry(self.own[place]).or_insert(count(set.len() - 1));
        }
        ordinals.remove(&NO_REFERENCE);
        link(&mut set, &self.edges, &ordinals, self.root);
        set
    }

    fn is_root(&self, place: usize) -> bool {
        self.own[place] != NO_REFERENCE && self.root == Some(self.own[place])
    }
}

/// Components by their references.
pub(super) struct Index<'a> {
    components: &'a Components,
    places: HashMap<u32, usize>,
}

impl<'a> Index<'a> {
    /// What a reference names.
    pub(super) fn resolve(&self, reference: &str) -> Resolved<'a> {
        let Some(number) = self.components.references.get(reference) else { return Resolved::Unknown };
        if self.components.root == Some(*number) {
            return Resolved::Root;
        }
        let place = self.places.get(number);
        place.map_or(Resolved::Unknown, |&place| Resolved::Component(&self.components.listed[place]))
    }
}

/// What a reference names.
pub(super) enum Resolved<'a> {
    /// The thing that the document describes.
    Root,
    /// A component of it.
    Component(&'a Listed),
    /// Nothing in this document.
    Unknown,
}

fn key(component: &Listed) -> [&str; 6] {
    [&component.purl, &component.name, &component.version, &component.group, &component.r#type, &component.digest]
}

fn merge(into: &mut Listed, from: Listed) {
    into.licenses.extend(from.licenses);
    into.licenses.sort();
    into.licenses.dedup();
    into.licenses.truncate(LICENSES_MAX);
}

/// Turns references into ordinals; what names no component of the set is left out.
fn link(set: &mut [Listed], edges: &[(u32, u32)], ordinals: &HashMap<u32, u32>, root: Option<u32>) {
    for (from, to) in edges {
        let Some(&to) = ordinals.get(to) else { continue };
        if root == Some(*from) {
            set[to as usize].root_dependency = true;
        } else if let Some(&from) = ordinals.get(from).filter(|&&from| from != to) {
            set[from as usize].depends_on.push(to);
        }
    }
    for component in set {
        component.depends_on.sort_unstable();
        component.depends_on.dedup();
        component.depends_on.truncate(DEPENDENCIES_MAX);
        component.depends_on.shrink_to_fit();
    }
}
