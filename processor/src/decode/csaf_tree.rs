//! The products of a CSAF document: its `product_tree`.
//!
//! The ids of products mean something in their document alone; here they are numbers. A product of a relationship (in
//! CSAF 2.1 also of a path) is one product as a component of another: asked for it, the tree names the outermost
//! product and the innermost component (SPEC §5). Of two products of one id the first one counts, and what goes round
//! in circles is a product of its own.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::{Digest, PURL_BYTES_MAX, Purl};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::budget::Budget;
use super::facts::{Aliases, named_digest};
use super::read::{Each, List, Members, Obj, Object, Text, clip_to, refused, skip};

/// Most purls of one product: what is said of it is said again for each.
const PURLS_MAX: usize = 256;
/// Most digests of one product.
const DIGESTS_MAX: usize = 64;
/// What an id takes beside its text, about: its node, its place among the numbers, its ends, its names.
const NODE_BYTES: usize = 256;

/// A product's id, as a number.
pub(super) type Number = u32;

/// All products and ids, while the document is read.
pub(super) struct Tree<'g> {
    budget: &'g Budget,
    numbers: HashMap<Rc<str>, Number>,
    nodes: Vec<Node>,
    /// Those that branches brought, in their order.
    of_branches: Vec<Number>,
    groups: HashMap<Rc<str>, Vec<Number>>,
    aliases: Aliases,
}

/// What is known of an id.
struct Node {
    id: Rc<str>,
    /// `None` for one that is only referred to.
    product: Option<Box<Product>>,
    /// Of a relationship: the component, and what it is a component of.
    path: Option<(Number, Number)>,
}

/// What the document says of one product.
#[derive(Default)]
struct Product {
    /// Canonical where they parse; those that name a version, or a range of them, come first.
    purls: Vec<String>,
    /// How many of the purls do.
    exact: usize,
    digests: Vec<String>,
    /// Its CPE, else its name.
    name: String,
    /// It is a range of versions, which its purls do not say.
    is_range: bool,
}

/// What an id stands for.
pub(super) struct Named<'t> {
    /// Names of the product: one each where it has several.
    pub(super) products: Cow<'t, [String]>,
    /// Digests of the product.
    pub(super) digests: &'t [String],
    /// Names of the component that alone is meant; empty where the product is.
    pub(super) components: &'t [String],
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct FullName<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    product_id: Text<'a>,
    #[serde(borrow)]
    product_identification_helper: Obj<Helper<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Helper<'a> {
    #[serde(borrow)]
    cpe: Text<'a>,
    /// Of CSAF 2.0.
    #[serde(borrow)]
    purl: Text<'a>,
    /// Of CSAF 2.1.
    #[serde(borrow)]
    purls: List<Text<'a>>,
    #[serde(borrow)]
    hashes: List<Obj<File<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct File<'a> {
    #[serde(borrow)]
    file_hashes: List<Obj<Hash<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Hash<'a> {
    #[serde(borrow)]
    algorithm: Text<'a>,
    #[serde(borrow)]
    value: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Relationship<'a> {
    #[serde(borrow)]
    full_product_name: Obj<FullName<'a>>,
    #[serde(borrow)]
    product_reference: Text<'a>,
    #[serde(borrow)]
    relates_to_product_reference: Text<'a>,
}

/// Of CSAF 2.1: a chain of relationships, from the component outwards.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Path<'a> {
    #[serde(borrow)]
    full_product_name: Obj<FullName<'a>>,
    #[serde(borrow)]
    beginning_product_reference: Text<'a>,
    #[serde(borrow)]
    subpaths: List<Obj<Step<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Step<'a> {
    #[serde(borrow)]
    next_product_reference: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Group<'a> {
    #[serde(borrow)]
    group_id: Text<'a>,
    #[serde(borrow)]
    product_ids: List<Text<'a>>,
}

impl<'de> Members<'de> for Tree<'_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "branches" => map.next_value_seed(Branches(self)),
            "full_product_names" => {
                let take = |Obj(name): Obj<FullName<'de>>| self.define(&name).map(drop);
                map.next_value_seed(Each::new(take)).map(drop)
            }
            "relationships" => {
                let take = |Obj(of): Obj<Relationship<'de>>| {
                    self.relate(&of.full_product_name.0, &of.product_reference, &of.relates_to_product_reference)
                };
                map.next_value_seed(Each::new(take)).map(drop)
            }
            "product_paths" => {
                let take = |Obj(path): Obj<Path<'de>>| {
                    let Some(Obj(last)) = path.subpaths.0.last() else { return Ok(()) };
                    let (from, to) = (&path.beginning_product_reference, &last.next_product_reference);
                    self.relate(&path.full_product_name.0, from, to)
                };
                map.next_value_seed(Each::new(take)).map(drop)
            }
            "product_groups" => {
                map.next_value_seed(Each::new(|Obj(group): Obj<Group<'de>>| self.group(&group))).map(drop)
            }
            _ => skip(map),
        }
    }
}

/// A list of branches, which have branches.
struct Branches<'t, 'g>(&'t mut Tree<'g>);

impl<'de> DeserializeSeed<'de> for Branches<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Branches<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        loop {
            let first = self.0.of_branches.len();
            let mut branch = Branch { tree: &mut *self.0, narrows: None, name: String::new() };
            if seq.next_element_seed(Object(&mut branch))?.is_none() {
                return Ok(());
            }
            if let Branch { narrows: Some(narrows), name, .. } = branch {
                self.0.narrow(first, narrows, &name).map_err(|reject| refused(&reject))?;
            }
        }
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

struct Branch<'t, 'g> {
    tree: &'t mut Tree<'g>,
    /// What it narrows the products beneath it to, by its name.
    narrows: Option<Narrows>,
    name: String,
}

/// What the name of a branch says of the products beneath it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Narrows {
    Version,
    Range,
}

impl<'de> Members<'de> for Branch<'_, '_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "branches" => map.next_value_seed(Branches(self.tree))?,
            "category" => {
                self.narrows = match map.next_value::<Text<'de>>()?.as_str() {
                    "product_version" => Some(Narrows::Version),
                    "product_version_range" => Some(Narrows::Range),
                    _ => None,
                };
            }
            "name" => self.name = map.next_value::<Text<'de>>()?.whole(),
            "product" => {
                let Obj(product) = map.next_value::<Obj<FullName<'de>>>()?;
                let defined = self.tree.define(&product).map_err(|reject| refused(&reject))?;
                self.tree.of_branches.extend(defined);
            }
            _ => skip(map)?,
        }
        Ok(())
    }
}

impl<'g> Tree<'g> {
    /// A tree without products.
    pub(super) fn new(budget: &'g Budget) -> Tree<'g> {
        Tree {
            budget,
            numbers: HashMap::new(),
            nodes: Vec::new(),
            of_branches: Vec::new(),
            groups: HashMap::new(),
            aliases: Aliases::default(),
        }
    }

    /// The number of an id, be it one that no product has.
    pub(super) fn number(&mut self, id: &str) -> Result<Number, Reject> {
        if let Some(number) = self.numbers.get(id) {
            return Ok(*number);
        }
        self.budget.hold(NODE_BYTES + 2 * id.len())?;
        let (id, number) = (Rc::<str>::from(id), super::facts::count(self.nodes.len()));
        self.nodes.push(Node { id: id.clone(), product: None, path: None });
        self.numbers.insert(id, number);
        Ok(number)
    }

    /// Notes a product; nothing where its id is missing, or that of another one.
    fn define(&mut self, named: &FullName<'_>) -> Result<Option<Number>, Reject> {
        let Some(id) = named.product_id.get() else { return Ok(None) };
        let number = self.number(id)?;
        let node = &mut self.nodes[number as usize];
        if node.product.is_some() {
            return Ok(None);
        }
        if named.product_identification_helper.0.purls.0.len() > PURLS_MAX {
            return Err(Reject::new(Code::TooManyItems, format!("a product has more than {PURLS_MAX} purls")));
        }
        let product = Product::of(named);
        self.budget.hold(product.bytes())?;
        node.product = Some(Box::new(product));
        for Obj(file) in &named.product_identification_helper.0.hashes.0 {
            self.aliases.note(file.digests());
        }
        Ok(Some(number))
    }

    /// Notes a component of a product; one of which either is missing is a product of its own.
    fn relate(&mut self, named: &FullName<'_>, component: &Text<'_>, product: &Text<'_>) -> Result<(), Reject> {
        let Some(number) = self.define(named)? else { return Ok(()) };
        let (Some(component), Some(product)) = (component.get(), product.get()) else { return Ok(()) };
        let path = (self.number(component)?, self.number(product)?);
        self.nodes[number as usize].path = Some(path);
        Ok(())
    }

    fn group(&mut self, group: &Group<'_>) -> Result<(), Reject> {
        let Some(id) = group.group_id.get().filter(|id| !self.groups.contains_key(*id)) else { return Ok(()) };
        let members = group.product_ids.0.iter().filter_map(Text::get);
        let members = members.map(|id| self.number(id)).collect::<Result<Vec<_>, _>>()?;
        self.budget.hold(NODE_BYTES + id.len() + members.len() * size_of::<Number>())?;
        self.groups.insert(id.into(), members);
        Ok(())
    }

    /// The products of the branches since the n-th are of the version, or the range, that the branch is called by.
    fn narrow(&mut self, first: usize, narrows: Narrows, name: &str) -> Result<(), Reject> {
        for number in &self.of_branches[first..] {
            if let Some(product) = &mut self.nodes[*number as usize].product {
                product.is_range |= narrows == Narrows::Range;
                self.budget.hold(product.narrow(narrows, name))?;
            }
        }
        Ok(())
    }

    /// Which ids mean which products, now that all are known.
    pub(super) fn finish(self) -> (Products, Aliases) {
        let step = |of: fn((Number, Number)) -> Number| {
            let next = self.nodes.iter().map(|node| node.path.map(of));
            ends(&next.collect::<Vec<_>>())
        };
        let (inner, outer) = (step(|(inner, _)| inner), step(|(_, outer)| outer));
        let names = self.nodes.into_iter().map(|node| Names::of(node.product, &node.id));
        (Products { names: names.collect(), inner, outer, groups: self.groups }, self.aliases)
    }
}

/// Where each number comes to when it goes on to the next one, and so on; `None` for what goes round in circles. Each
/// number is looked at once.
fn ends(next: &[Option<Number>]) -> Vec<Option<Number>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Not,
        OnTheWay,
        Done(Option<Number>),
    }
    let mut seen = vec![Seen::Not; next.len()];
    let mut way: Vec<Number> = Vec::new();
    for start in 0..super::facts::count(next.len()) {
        let mut at = start;
        let end = loop {
            match (seen[at as usize], next[at as usize]) {
                (Seen::Done(end), _) => break end,
                (Seen::OnTheWay, _) => break None,
                (Seen::Not, None) => {
                    way.push(at);
                    break Some(at);
                }
                (Seen::Not, Some(next)) => {
                    seen[at as usize] = Seen::OnTheWay;
                    way.push(at);
                    at = next;
                }
            }
        };
        way.drain(..).for_each(|number| seen[number as usize] = Seen::Done(end));
    }
    let end = |seen| if let Seen::Done(end) = seen { end } else { None };
    seen.into_iter().map(end).collect()
}

impl Product {
    fn of(named: &FullName<'_>) -> Product {
        let Obj(helper) = &named.product_identification_helper;
        let purls = std::iter::once(&helper.purl).chain(&helper.purls.0).filter_map(Text::get);
        let (mut exact, mut open, mut digests) = (Vec::new(), Vec::new(), Vec::new());
        for text in purls.filter(|text| text.len() <= PURL_BYTES_MAX) {
            digests.extend(named_digest(text));
            match Purl::parse(text) {
                Some(purl) if purl.version().is_empty() => open.push(purl.to_string()),
                Some(purl) => exact.push(purl.to_string()),
                None => open.push(text.to_owned()),
            }
        }
        let hashes = helper.hashes.0.iter().flat_map(|Obj(file)| file.digests());
        digests.extend(hashes.filter(|digest| !digest.is_of_empty_content()));
        digests.truncate(DIGESTS_MAX);
        digests.dedup();
        let name = helper.cpe.or(&named.name).as_str();
        let exact_count = exact.len();
        Product {
            purls: exact.into_iter().chain(open).collect(),
            exact: exact_count,
            digests: digests.iter().map(Digest::to_string).collect(),
            name: if name.len() <= PURL_BYTES_MAX { name.to_owned() } else { String::new() },
            is_range: false,
        }
    }

    /// Its purls that name no version do so now: the one that a branch is called by, or a range that can be compared.
    /// Other names, as of a package or in words, say nothing of versions. How many bytes it takes more.
    fn narrow(&mut self, narrows: Narrows, name: &str) -> usize {
        let is_version = name.trim_start_matches(['v', 'V']).starts_with(|first: char| first.is_ascii_digit());
        if narrows == Narrows::Version && (!is_version || name.contains(char::is_whitespace)) {
            return 0;
        }
        let (exact, open) = self.purls.split_at(self.exact);
        let (mut named, mut left) = (exact.to_vec(), Vec::new());
        for text in open {
            let purl = Purl::parse(text).filter(|purl| !purl.is_image());
            let narrowed = purl.and_then(|purl| match narrows {
                Narrows::Version => purl.with_version(name),
                Narrows::Range => purl.with_range(name),
            });
            match narrowed {
                Some(purl) => named.push(purl.to_string()),
                None => left.push(text.clone()),
            }
        }
        let more = (named.len() - self.exact) * (name.len() + 16);
        self.exact = named.len();
        named.append(&mut left);
        self.purls = named;
        more
    }

    /// Memory that it takes, about.
    fn bytes(&self) -> usize {
        let lists = self.purls.iter().chain(&self.digests).map(|text| size_of::<String>() + text.len());
        size_of::<Product>() + lists.sum::<usize>() + self.name.len()
    }
}

impl File<'_> {
    /// All of one content.
    fn digests(&self) -> impl Iterator<Item = Digest> {
        let hashes = self.file_hashes.0.iter().map(|Obj(hash)| (hash.algorithm.as_str(), hash.value.as_str()));
        hashes.filter_map(|(algorithm, value)| Digest::from_parts(algorithm, value).ok())
    }
}

/// What one id is called.
struct Names {
    /// Purls; and last what stands for it where they do not: a digest, else its CPE, its name, its id.
    names: Vec<String>,
    digests: Vec<String>,
    /// How many of the names may be cleared.
    exact: usize,
    is_range: bool,
}

impl Names {
    fn of(product: Option<Box<Product>>, id: &str) -> Names {
        let product = product.map(|product| *product).unwrap_or_default();
        let other = product.digests.first().cloned().or(Some(product.name).filter(|name| !name.is_empty()));
        let mut names = product.purls;
        names.push(other.unwrap_or_else(|| clip_to(id, PURL_BYTES_MAX).to_owned()));
        Names { names, digests: product.digests, exact: product.exact, is_range: product.is_range }
    }

    /// Its names. Of a range of versions that its purl does not name, only what clears nobody may be said by that purl:
    /// it would clear every version.
    fn said(&self, clears: bool) -> &[String] {
        let purls = if clears && self.is_range { self.exact } else { self.names.len() - 1 };
        if purls > 0 { &self.names[..purls] } else { &self.names[self.names.len() - 1..] }
    }

    /// The release of a distribution that it is, by its CPE alone: no artifact is called so, but packages are of it.
    fn release(&self) -> Option<String> {
        let [cpe] = self.names.as_slice() else { return None };
        release_of(cpe).filter(|_| self.digests.is_empty())
    }

    /// It is called by its CPE alone.
    fn is_cpe(&self) -> bool {
        matches!(self.names.as_slice(), [name] if name.starts_with("cpe:")) && self.digests.is_empty()
    }

    /// Packages of a distribution, as those of a release of it: what is said of them as its components is said of them
    /// wherever they are installed. Scanners have two names for the distribution.
    fn packages_of(&self, release: &str, clears: bool) -> Vec<String> {
        let mut packages = Vec::new();
        for text in self.said(clears) {
            let Some(rest) = text.strip_prefix("pkg:rpm/redhat/") else { continue };
            for namespace in ["redhat", "rhel"] {
                let purl = Purl::parse(&format!("pkg:rpm/{namespace}/{rest}"));
                packages
                    .extend(purl.and_then(|purl| purl.with_qualifier("distro", release)).map(|purl| purl.to_string()));
            }
        }
        packages
    }
}

/// The release of Red Hat Enterprise Linux that a CPE names: `cpe:/o:redhat:enterprise_linux:9::baseos`,
/// `cpe:/a:redhat:rhel_eus:9.2`, `cpe:/a:redhat:rhel_software_collections:3::el7`.
fn release_of(cpe: &str) -> Option<String> {
    let fields = cpe.strip_prefix("cpe:/").or_else(|| cpe.strip_prefix("cpe:2.3:"))?;
    let fields: Vec<&str> = fields.split(':').collect();
    let [_, "redhat", product, version, rest @ ..] = fields.as_slice() else { return None };
    let of_numbers = |text: &&str| text.starts_with(|first: char| first.is_ascii_digit());
    let built_for = rest.iter().filter_map(|field| field.strip_prefix("el")).find(of_numbers);
    let is_release =
        matches!(*product, "enterprise_linux" | "rhel_eus" | "rhel_aus" | "rhel_tus" | "rhel_e4s" | "rhel_els");
    let release = match product.starts_with("rhel_") || is_release {
        true => built_for.or(Some(*version).filter(|_| is_release).filter(of_numbers)),
        false => None,
    };
    release.map(|release| format!("rhel-{release}"))
}

/// All products of a document.
pub(super) struct Products {
    names: Vec<Names>,
    inner: Vec<Option<Number>>,
    outer: Vec<Option<Number>>,
    groups: HashMap<Rc<str>, Vec<Number>>,
}

impl Products {
    /// How many ids there are.
    pub(super) fn count(&self) -> usize {
        self.names.len()
    }

    /// What an id stands for. `clears` says that there is nothing to fear from it.
    pub(super) fn named(&self, id: Number, clears: bool) -> Named<'_> {
        let ends = (self.outer[id as usize], self.inner[id as usize]);
        let (product, component) = match ends {
            (Some(outer), Some(inner)) if outer != inner => (outer, Some(inner)),
            (Some(outer), Some(_)) => (outer, None),
            // It goes round in circles.
            (None, _) | (_, None) => (id, None),
        };
        let product = &self.names[product as usize];
        let component = component.map(|component| &self.names[component as usize]);
        if let Some(release) = product.release()
            && let Some(packages) = component.map(|component| component.packages_of(&release, clears))
            && !packages.is_empty()
        {
            return Named { products: packages.into(), digests: &[], components: &[] };
        }
        // No artifact is called by a CPE, and a digest is one wherever it is shipped.
        let (product, component) = match component {
            Some(component) if product.is_cpe() && !component.digests.is_empty() => (component, None),
            component => (product, component),
        };
        Named {
            products: product.said(clears).into(),
            digests: &product.digests,
            components: component.map_or(&[], |component| component.said(clears)),
        }
    }

    /// The products of a group; none where nothing is called so.
    pub(super) fn group(&self, id: &str) -> &[Number] {
        self.groups.get(id).map(Vec::as_slice).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_is_gone_once_to_its_end() {
        assert_eq!(ends(&[None, Some(0), Some(1), Some(1)]), [Some(0); 4]);
        assert_eq!(ends(&[Some(1), Some(2), Some(1), None]), [None, None, None, Some(3)]);
        assert_eq!(ends(&[Some(0)]), [None]);
        let long: Vec<Option<Number>> = (1..100_000).map(Some).chain([None]).collect();
        assert!(ends(&long).iter().all(|end| *end == Some(99_999)));
    }
}
