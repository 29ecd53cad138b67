//! The components of an SBOM while it is read, and the set that they become: sorted, without repetition, with ordinals.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use pedigraph_proto::canonical::sha256;
use pedigraph_proto::event;
use pedigraph_proto::protobuf::Message as _;
use pedigraph_proto::{Digest, advisory};
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::encoded::{Encoded, compare, decoded, field, put_text, texts};
use super::facts::{count, versioned_purl};
use super::read::{Lax, List, Obj, Text, absent, clip, clip_to};
use super::set::ComponentSet;

/// Longest license name or expression that is kept, bytes.
const LICENSE_BYTES_MAX: usize = 1_024;
/// Most licenses of one component.
const LICENSES_MAX: usize = 64;

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
    pub(super) source: Source<'a>,
}

/// The source package that Trivy names beside the purl of a distribution's package: advisories of distributions are on
/// those. Read from the properties of a component as they come, since a component may have very many.
#[derive(Default)]
pub(super) struct Source<'a> {
    name: Text<'a, false>,
    epoch: Text<'a, false>,
    version: Text<'a, false>,
    release: Text<'a, false>,
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

impl<'a> Hash<'a> {
    /// A hash as a document writes it.
    pub(super) fn new(alg: Text<'a>, content: Text<'a>) -> Hash<'a> {
        Hash { alg, content }
    }
}

impl<'a> LicenseChoice<'a> {
    /// A license expression.
    pub(super) fn expression(expression: Text<'a>) -> LicenseChoice<'a> {
        LicenseChoice { expression, ..LicenseChoice::default() }
    }
}

impl<'a> Property<'a> {
    /// A property as a document writes it.
    pub(super) fn new(name: Text<'a>, value: Text<'a>) -> Property<'a> {
        Property { name, value }
    }
}

impl<'a> Source<'a> {
    /// What SPDX has as `sourceInfo`: `built package from: openssl 3.0.11-1~deb12u1`.
    pub(super) fn of_info(info: &str) -> Source<'a> {
        let said = info.strip_prefix("built package from:").unwrap_or_default().trim();
        let (name, version) = said.split_once(' ').unwrap_or((said, ""));
        let text = |text: &str| Text(Some(text.trim().to_owned().into()));
        Source { name: text(name), version: text(version), ..Source::default() }
    }

    /// The canonical purl with it, where that does not name it by itself.
    fn added_to(&self, purl: &str) -> Option<String> {
        let name = self.name.get()?;
        let epoch = self.epoch.get().map(|epoch| format!("{epoch}:")).unwrap_or_default();
        let release = self.release.get().map(|release| format!("-{release}")).unwrap_or_default();
        let version = self.version.get().map(|version| format!("{epoch}{version}{release}"));
        advisory::with_upstream(purl, name, &version.unwrap_or_default())
    }

    fn take(&mut self, name: &str, value: Text<'a, false>) {
        match name.strip_prefix("aquasecurity:trivy:Src") {
            Some("Name") => self.name = value,
            Some("Epoch") => self.epoch = value,
            Some("Version") => self.version = value,
            Some("Release") => self.release = value,
            Some(_) | None => {}
        }
    }
}

/// A property of a component, of whatever type its parts are.
#[derive(Deserialize, Default)]
#[serde(default)]
struct LaxProperty<'a> {
    #[serde(borrow)]
    name: Text<'a, false>,
    #[serde(borrow)]
    value: Text<'a, false>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Source<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SourceVisitor;
        impl<'de> Visitor<'de> for SourceVisitor {
            type Value = Source<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of properties")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Source<'de>, A::Error> {
                let mut source = Source::default();
                while let Some(Lax(property)) = seq.next_element::<Lax<LaxProperty<'de>>>()? {
                    source.take(property.name.as_str(), property.value);
                }
                Ok(source)
            }
            absent!(visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64), visit_str(&str));
            absent!(unit);
            absent!(map);
        }
        deserializer.deserialize_any(SourceVisitor)
    }
}

impl Component<'_> {
    /// The strongest digest that is given, weaker ones only where nothing else is.
    pub(super) fn digest(&self) -> Option<Digest> {
        const STRONGEST_FIRST: [&str; 6] = ["sha512", "sha384", "sha256", "blake3", "sha1", "md5"];
        let rank = |digest: &Digest| STRONGEST_FIRST.iter().position(|alg| *alg == digest.algorithm()).unwrap_or(3);
        self.digests().min_by_key(|digest| (rank(digest), digest.to_string()))
    }

    /// All valid digests that are given.
    pub(super) fn digests(&self) -> impl Iterator<Item = Digest> {
        let hashes = self.hashes.0.iter();
        hashes.filter_map(|Obj(hash)| Digest::from_parts(hash.alg.as_str(), hash.content.as_str()).ok())
    }

    /// The values of a property, which may stand there several times.
    pub(super) fn properties<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        let found = self.properties.0.iter().filter(move |Obj(property)| property.name.as_str() == name);
        found.filter_map(|Obj(property)| property.value.get())
    }

    /// `group/name`, or the name alone.
    pub(super) fn full_name(&self) -> String {
        match self.group.get() {
            Some(group) => format!("{group}/{}", self.name.as_str()),
            None => self.name.owned(),
        }
    }

    fn licenses(&self) -> Vec<&str> {
        let names = self.licenses.0.iter().filter_map(|Obj(choice)| {
            let license = &choice.license.0;
            choice.expression.or(&license.id).or(&license.name).get()
        });
        let mut names: Vec<&str> = names.take(LICENSES_MAX).map(|name| clip_to(name, LICENSE_BYTES_MAX)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// The components read so far. References between them are numbered, whether what they name came yet or not.
pub(super) struct Components {
    limit: usize,
    encoded: Encoded,
    /// The number of each component's own reference; [`NONE`] when it has none.
    own: Vec<u32>,
    /// By the first half of their SHA-256: what a document names may be long.
    references: HashMap<[u8; 16], u32>,
    edges: Vec<(u32, u32)>,
    /// What the document describes.
    roots: BTreeSet<u32>,
    skipped: u32,
    /// The component that is being encoded.
    next: Vec<u8>,
}

/// No reference, or no component.
const NONE: u32 = u32::MAX;

impl Components {
    /// No components yet, and never more than `limit`.
    pub(super) fn new(limit: usize) -> Components {
        Components {
            limit,
            encoded: Encoded::default(),
            own: Vec::new(),
            references: HashMap::new(),
            edges: Vec::new(),
            roots: BTreeSet::new(),
            skipped: 0,
            next: Vec::new(),
        }
    }

    /// The limit.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.own.is_empty()
    }

    /// How many components have something that could only be kept as text.
    pub(super) fn skipped(&self) -> u32 {
        self.skipped
    }

    /// Adds a component; false when there are too many.
    pub(super) fn push(&mut self, component: &Component<'_>) -> bool {
        if self.own.len() >= self.limit {
            return false;
        }
        let (mut purl, purl_ok) = versioned_purl(component.purl.as_str(), component.version.as_str());
        if let Some(with_source) = component.source.added_to(&purl) {
            purl = with_source;
        }
        let digest = component.digest();
        let digest_ok = digest.is_some() || component.hashes.0.is_empty();
        self.skipped += u32::from(!purl_ok || !digest_ok);
        self.next.clear();
        put_text(&mut self.next, field::PURL, &purl);
        put_text(&mut self.next, field::NAME, clip(component.name.as_str()));
        put_text(&mut self.next, field::VERSION, clip(component.version.as_str()));
        put_text(&mut self.next, field::GROUP, clip(component.group.as_str()));
        put_text(&mut self.next, field::TYPE, clip(component.kind.as_str()));
        component.licenses().into_iter().for_each(|license| put_text(&mut self.next, field::LICENSES, license));
        put_text(&mut self.next, field::DIGEST, &digest.map(|digest| digest.to_string()).unwrap_or_default());
        self.encoded.push(&self.next);
        let own = component.bom_ref.get().map_or(NONE, |name| self.number(name));
        self.own.push(own);
        true
    }

    /// Names a thing that the document describes; it is no component of itself.
    pub(super) fn add_root(&mut self, reference: &str) {
        if !reference.is_empty() {
            let number = self.number(reference);
            self.roots.insert(number);
        }
    }

    /// How many were added: the place of the next one.
    pub(super) fn count(&self) -> u32 {
        count(self.own.len())
    }

    /// The things that the document describes, as far as they were added as components: each with its place among them,
    /// the first where several follow each other under one reference.
    pub(super) fn roots(&self) -> impl Iterator<Item = (u32, event::Component)> {
        let own = |place: u32| self.own.get(place as usize);
        let is_first = move |place: &u32| *place == 0 || own(*place - 1) != own(*place);
        let places = (0..self.count()).filter(|&place| self.is_root(place)).filter(is_first);
        places.map(|place| (place, decoded(self.encoded.get(place))))
    }

    /// Makes the only component a thing that the document describes, where nothing else is.
    pub(super) fn make_only_one_root(&mut self) {
        let first = self.own.first().copied().filter(|own| *own != NONE);
        let only = first.filter(|first| self.roots.is_empty() && self.own.iter().all(|own| own == first));
        self.roots.extend(only);
    }

    /// Whether there is a component that is nothing of what the document describes.
    pub(super) fn has_parts(&self) -> bool {
        (0..self.count()).any(|place| !self.is_root(place))
    }

    /// Makes a thing that the document describes, at a place, a component.
    pub(super) fn make_part(&mut self, place: u32) {
        if let Some(own) = self.own.get(place as usize) {
            self.roots.remove(own);
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
        let number = count(self.references.len());
        *self.references.entry(short(name)).or_insert(number)
    }

    /// Looks up references, once all components are known.
    pub(super) fn index(&self) -> Index<'_> {
        let mut places = vec![NONE; self.references.len()];
        for (place, own) in (0..).zip(&self.own).filter(|(_, own)| **own != NONE) {
            places[*own as usize] = place;
        }
        Index { components: self, places }
    }

    /// The set in its order: by (purl, name, version, group, type, digest); repetitions become one.
    pub(super) fn into_set(mut self) -> ComponentSet {
        // Ordinal in the set of each reference.
        let mut ordinals = vec![NONE; std::mem::take(&mut self.references).len()];
        let mut order: Vec<u32> = (0..count(self.own.len())).filter(|&place| !self.is_root(place)).collect();
        order.sort_by(|&a, &b| compare(self.encoded.get(a), self.encoded.get(b)));

        let mut set: Vec<u32> = Vec::with_capacity(order.len());
        let mut merged = Vec::new();
        for same in order.chunk_by(|&a, &b| compare(self.encoded.get(a), self.encoded.get(b)).is_eq()) {
            for own in same.iter().map(|&place| self.own[place as usize]).filter(|own| *own != NONE) {
                let ordinal = &mut ordinals[own as usize];
                *ordinal = (*ordinal).min(count(set.len()));
            }
            merged.extend(merge(&self.encoded, same).map(|component| (set.len(), component)));
            set.extend(&same[..1]);
        }
        for (ordinal, component) in merged {
            set[ordinal] = count(self.encoded.count());
            self.encoded.push(&component);
        }
        let (edges, from_root) = link(self.edges, &ordinals, &self.roots, set.len());
        ComponentSet::new(self.encoded, set, edges, from_root)
    }

    fn is_root(&self, place: u32) -> bool {
        let own = self.own[place as usize];
        own != NONE && self.roots.contains(&own)
    }
}

/// A reference, so short that all those of a large document fit into memory.
fn short(name: &str) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&sha256(name.as_bytes())[..16]);
    half
}

/// What some components that are the same come to, if that is not what the first of them says: it has the licenses of
/// all.
fn merge(encoded: &Encoded, same: &[u32]) -> Option<Vec<u8>> {
    let (first, others) = same.split_first()?;
    if others.iter().all(|&other| encoded.get(other) == encoded.get(*first)) {
        return None;
    }
    let mut component = decoded(encoded.get(*first));
    for &other in others {
        component.licenses.extend(decoded(encoded.get(other)).licenses);
        component.licenses.sort();
        component.licenses.dedup();
        component.licenses.truncate(LICENSES_MAX);
    }
    Some(component.encode_to_vec())
}

/// Turns references into ordinals of the set, sorted and without repetition; what names no component of it is left out.
/// What the roots depend on is told apart.
fn link(
    mut edges: Vec<(u32, u32)>,
    ordinals: &[u32],
    roots: &BTreeSet<u32>,
    components: usize,
) -> (Vec<(u32, u32)>, Vec<bool>) {
    let mut from_root = vec![false; components];
    edges.retain_mut(|(from, to)| {
        let is_root = roots.contains(from);
        (*from, *to) = (ordinals[*from as usize], ordinals[*to as usize]);
        if is_root && *to != NONE {
            from_root[*to as usize] = true;
        }
        !is_root && *from != NONE && *to != NONE && from != to
    });
    edges.sort_unstable();
    edges.dedup();
    (edges, from_root)
}

/// Components by their references.
pub(super) struct Index<'a> {
    components: &'a Components,
    /// Of each reference; [`NONE`] when no component has it.
    places: Vec<u32>,
}

impl Index<'_> {
    /// What a reference names.
    pub(super) fn resolve(&self, reference: &str) -> Resolved<'_> {
        let Some(number) = self.components.references.get(&short(reference)) else { return Resolved::Unknown };
        if self.components.roots.contains(number) {
            return Resolved::Root;
        }
        match self.places[*number as usize] {
            NONE => Resolved::Unknown,
            place => {
                let fields = [field::PURL, field::NAME, field::VERSION];
                Resolved::Component(texts(self.components.encoded.get(place), fields))
            }
        }
    }
}

/// What a reference names.
pub(super) enum Resolved<'a> {
    /// The thing that the document describes.
    Root,
    /// A component of it: its purl, name and version.
    Component([&'a str; 3]),
    /// Nothing in this document.
    Unknown,
}
