//! Edges of one artifact, computed from rows (SPEC §3.1).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use pedigraph_proto::Nanos;

use super::identity::{ALIASES_MAX, BaseRow, Graph, Products, Profile, fields};
use super::line::Derived;
use super::scope::Clocks;
use crate::error::Error;
use crate::facts::lineage::rows::{BaseClaim, BaseMethod, RunId, role, table};
use crate::rows::stamp::{Stamp, Stamped};
use crate::store::key::Key;

/// Rows of one kind of edge at one artifact that are read.
pub(super) const EDGE_ROWS_MAX: usize = 2_000;
/// Products of one run, or artifacts of one commit and pipeline, that are joined.
pub(super) const PRODUCTS_MAX: usize = 1_000;
/// Images with the same layers that are looked at for a base.
const SAME_LAYERS_MAX: usize = 64;
/// How far apart products of one commit and pipeline may be.
const SAME_BUILD_NS: i64 = 3_600_000_000_000;

/// Which relationship, in the order in which ties are broken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Relation {
    Parent,
    Base,
    Build,
}

impl Relation {
    pub(super) fn word(self) -> &'static str {
        match self {
            Relation::Parent => "parent",
            Relation::Base => "base",
            Relation::Build => "build",
        }
    }
}

/// How an edge is known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Method {
    Declared,
    Semver,
    Tag,
    Order,
    Index,
    Run,
    Commit,
    Provenance,
    Annotation,
    Layers,
    History,
}

impl Method {
    pub(super) fn word(self) -> &'static str {
        match self {
            Method::Declared => "declared",
            Method::Semver => "semver",
            Method::Tag => "tag",
            Method::Order => "order",
            Method::Index => "index",
            Method::Run => "run",
            Method::Commit => "commit",
            Method::Provenance => "provenance",
            Method::Annotation => "annotation",
            Method::Layers => "layers",
            Method::History => "history",
        }
    }

    /// In hundredths, so that it can be compared exactly.
    pub(super) fn percent(self) -> u8 {
        match self {
            Method::Declared | Method::Index | Method::Provenance => 100,
            Method::Annotation => 95,
            Method::Semver | Method::Run => 90,
            Method::Tag | Method::Layers => 80,
            Method::History => 70,
            Method::Order => 60,
            Method::Commit => 50,
        }
    }
}

/// An edge between two known artifacts, canonical digests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Link {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) relation: Relation,
    pub(super) method: Method,
    pub(super) index: u64,
}

impl Link {
    /// Greater is stronger.
    pub(super) fn strength(&self) -> (u8, std::cmp::Reverse<Relation>, std::cmp::Reverse<Method>) {
        (self.method.percent(), std::cmp::Reverse(self.relation), std::cmp::Reverse(self.method))
    }
}

/// A base that is named by a tag whose digest at build time is not known.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct UnknownBase {
    pub(super) derived: String,
    /// `repository:tag`.
    pub(super) reference: String,
    pub(super) index: u64,
}

/// The edges of one artifact on one side, and what is missing or cut there.
#[derive(Clone, Default, Debug)]
pub(super) struct Links {
    pub(super) links: Vec<Link>,
    pub(super) unknown: Vec<UnknownBase>,
    /// Some list was longer than its limit.
    pub(super) cut: bool,
}

impl Links {
    fn add(&mut self, from: &str, to: &str, relation: Relation, method: Method, index: u64) {
        if from != to {
            self.links.push(Link { from: from.to_owned(), to: to.to_owned(), relation, method, index });
        }
    }
}

type Pairs = Vec<(String, Stamp)>;
/// Repository key and tag, and how the fact writes them.
type FromRow = ((String, String), Stamped<String>);
/// Hashes of every prefix of an image's layers, shortest first.
pub(super) type Chain = Vec<[u8; 32]>;

impl Graph<'_> {
    /// Edges that lead to an artifact.
    pub(super) fn links_in(&self, profile: &Profile) -> Result<Links, Error> {
        let mut links = Links::default();
        self.parents_in(profile, &mut links)?;
        self.bases_in(profile, &mut links)?;
        self.indexes_in(profile, &mut links)?;
        self.products(profile, &mut links)?;
        links.links.retain(|link| link.to == profile.digest);
        Ok(links)
    }

    /// Edges that lead from an artifact.
    pub(super) fn links_out(&self, profile: &Profile) -> Result<Links, Error> {
        let mut links = Links::default();
        self.children_out(profile, &mut links)?;
        self.derived_out(profile, &mut links)?;
        self.manifests_out(profile, &mut links)?;
        self.products(profile, &mut links)?;
        links.links.retain(|link| link.from == profile.digest);
        Ok(links)
    }

    /// The second text of keys that begin with (table, digest), for each digest of the group; the first proof of each.
    fn pairs(&self, profile: &Profile, table: u8, cut: &mut bool) -> Result<Pairs, Error> {
        let mut pairs: BTreeMap<String, Stamp> = BTreeMap::new();
        for digest in &profile.group {
            let prefix = self.key(table).text(digest);
            let rows = self.scope.keyed::<()>(&prefix, &prefix.prefix_end(), false, Clocks::Both, EDGE_ROWS_MAX)?;
            *cut |= rows.len() == EDGE_ROWS_MAX;
            for (key, row) in rows {
                let Some(other) = second_text(&key) else { continue };
                earliest(&mut pairs, other, row.stamp);
            }
        }
        Ok(pairs.into_iter().collect())
    }

    /// Declared parents that are known artifacts.
    fn declared(&self, profile: &Profile, cut: &mut bool) -> Result<Vec<(Rc<Profile>, Stamp)>, Error> {
        let mut declared = Vec::new();
        for (parent, stamp) in self.pairs(profile, table::PARENTS, cut)? {
            if let Some(parent) = self.profile(&parent)?.filter(|parent| parent.digest != profile.digest) {
                declared.push((parent, stamp));
            }
        }
        Ok(declared)
    }

    fn parents_in(&self, profile: &Profile, links: &mut Links) -> Result<(), Error> {
        let declared = self.declared(profile, &mut links.cut)?;
        for (parent, stamp) in &declared {
            links.add(&parent.digest, &profile.digest, Relation::Parent, Method::Declared, stamp.index);
        }
        if !declared.is_empty() {
            return Ok(());
        }
        let line = self.line(profile)?;
        links.cut |= line.cut;
        if let Some((parent, how, stamp)) = line.parent(&profile.digest) {
            links.add(parent, &profile.digest, Relation::Parent, method_of(*how), stamp.index);
        }
        Ok(())
    }

    fn children_out(&self, profile: &Profile, links: &mut Links) -> Result<(), Error> {
        for (child, stamp) in self.pairs(profile, table::CHILDREN, &mut links.cut)? {
            if let Some(child) = self.profile(&child)? {
                links.add(&profile.digest, &child.digest, Relation::Parent, Method::Declared, stamp.index);
            }
        }
        let line = self.line(profile)?;
        links.cut |= line.cut;
        for child in line.children(&profile.digest) {
            let Some(child) = self.profile(child)? else { continue };
            if !self.declared(&child, &mut links.cut)?.is_empty() {
                continue;
            }
            if let Some((parent, how, stamp)) = line.parent(&child.digest) {
                links.add(parent, &child.digest, Relation::Parent, method_of(*how), stamp.index);
            }
        }
        Ok(())
    }

    /// An index and its platform manifests; a config that several manifests name and these.
    fn indexes_in(&self, profile: &Profile, links: &mut Links) -> Result<(), Error> {
        let mut above = self.alias_rows(profile, role::INDEX)?;
        // Its own config is an alias, and no edge.
        above.extend(self.alias_rows(profile, role::CONFIG)?);
        for (above, stamp) in above {
            if let Some(above) = self.profile(&above)? {
                links.add(&above.digest, &profile.digest, Relation::Build, Method::Index, stamp.index);
            }
        }
        Ok(())
    }

    fn manifests_out(&self, profile: &Profile, links: &mut Links) -> Result<(), Error> {
        let mut below = self.alias_rows(profile, role::PLATFORM)?;
        below.extend(self.alias_rows(profile, role::MANIFEST)?);
        for (below, stamp) in below {
            if let Some(below) = self.profile(&below)? {
                links.add(&profile.digest, &below.digest, Relation::Build, Method::Index, stamp.index);
            }
        }
        Ok(())
    }

    fn alias_rows(&self, profile: &Profile, role: u8) -> Result<Pairs, Error> {
        let mut pairs = BTreeMap::new();
        for digest in &profile.group {
            let prefix = self.key(table::ALIAS).text(digest).byte(role);
            let rows = self.scope.keyed::<()>(&prefix, &prefix.prefix_end(), false, Clocks::Known, ALIASES_MAX)?;
            for (key, row) in rows {
                let other = fields(&key).and_then(|mut reader| {
                    reader.text()?;
                    reader.byte()?;
                    reader.text()
                });
                if let Some(other) = other {
                    earliest(&mut pairs, other, row.stamp);
                }
            }
        }
        Ok(pairs.into_iter().collect())
    }

    /// The first product of a run, or of one commit and pipeline within an hour, and each other.
    fn products(&self, profile: &Profile, links: &mut Links) -> Result<(), Error> {
        for run in self.runs_of(profile, &mut links.cut)? {
            let prefix = run.key(self.key(table::PRODUCTS));
            let products = self.group_of(&prefix, 2, &mut links.cut)?;
            join(&products, Method::Run, links);
        }
        for (commit, pipeline) in self.builds_of(profile, &mut links.cut)? {
            let prefix = self.key(table::BUILT_FROM).text(&commit).text(&pipeline);
            let products = self.group_of(&prefix, 2, &mut links.cut)?;
            let mut rest = products.as_slice();
            while let Some((first, _)) = rest.first() {
                let end = first.created.time.saturating_add(SAME_BUILD_NS);
                let within = rest.iter().take_while(|(product, _)| product.created.time <= end).count();
                join(&rest[..within], Method::Commit, links);
                rest = &rest[within..];
            }
        }
        Ok(())
    }

    fn runs_of(&self, profile: &Profile, cut: &mut bool) -> Result<BTreeSet<RunId>, Error> {
        let mut runs = BTreeSet::new();
        for digest in &profile.group {
            let prefix = self.key(table::RUNS).text(digest);
            let rows = self.scope.keyed::<()>(&prefix, &prefix.prefix_end(), false, Clocks::Both, EDGE_ROWS_MAX)?;
            *cut |= rows.len() == EDGE_ROWS_MAX;
            runs.extend(rows.iter().filter_map(|(key, _)| {
                let (id, source) = second_and_third(key)?;
                Some(RunId { id, source })
            }));
        }
        Ok(runs)
    }

    fn builds_of(&self, profile: &Profile, cut: &mut bool) -> Result<BTreeSet<(String, String)>, Error> {
        let mut builds = BTreeSet::new();
        for digest in &profile.group {
            let prefix = self.key(table::COMMITS).text(digest);
            let rows = self.scope.keyed::<()>(&prefix, &prefix.prefix_end(), false, Clocks::Both, EDGE_ROWS_MAX)?;
            *cut |= rows.len() == EDGE_ROWS_MAX;
            builds.extend(rows.iter().filter_map(|(key, _)| {
                let mut reader = fields(key)?;
                reader.text()?;
                Some((reader.text()?, reader.text()?)).filter(|(_, pipeline)| !pipeline.is_empty())
            }));
        }
        Ok(builds)
    }

    /// Artifacts whose digests come after `skip` texts in keys that begin with `prefix`, by (createdAt, digest).
    /// Each group is read once: every product of a run asks for the same.
    fn group_of(&self, prefix: &Key, skip: usize, cut: &mut bool) -> Result<Rc<Products>, Error> {
        let known = self.products.borrow().get(prefix).cloned();
        let (products, products_cut) = match known {
            Some(known) => known,
            None => {
                let mut products_cut = false;
                let products = Rc::new(self.read_group_of(prefix, skip, &mut products_cut)?);
                self.products.borrow_mut().insert(prefix.clone(), (products.clone(), products_cut));
                (products, products_cut)
            }
        };
        *cut |= products_cut;
        Ok(products)
    }

    fn read_group_of(&self, prefix: &Key, skip: usize, cut: &mut bool) -> Result<Products, Error> {
        let rows = self.scope.keyed::<()>(prefix, &prefix.prefix_end(), false, Clocks::Both, EDGE_ROWS_MAX)?;
        *cut |= rows.len() == EDGE_ROWS_MAX;
        let mut found: BTreeMap<String, Stamp> = BTreeMap::new();
        for (key, row) in rows {
            let digest = fields(&key).and_then(|mut reader| {
                (0..skip).try_for_each(|_| reader.text().map(drop))?;
                reader.text()
            });
            if let Some(digest) = digest {
                earliest(&mut found, self.canonical(&digest)?, row.stamp);
            }
        }
        *cut |= found.len() > PRODUCTS_MAX;
        let mut products = Vec::new();
        for (digest, stamp) in found.into_iter().take(PRODUCTS_MAX) {
            products.extend(self.profile(&digest)?.filter(|product| !product.aside).map(|product| (product, stamp)));
        }
        products.sort_by(|(a, _), (b, _)| (a.created.time, &a.digest).cmp(&(b.created.time, &b.digest)));
        Ok(products)
    }

    pub(super) fn bases_in(&self, profile: &Profile, links: &mut Links) -> Result<(), Error> {
        let claims = self.base_claims(profile, &mut links.cut)?;
        let direct = claims.iter().filter(|(_, row)| !is_material(row.value.method));
        let materials = self.material_bases(profile, &claims, &mut links.cut)?;
        for (base, row) in direct.chain(&materials) {
            self.claimed_base(profile, base, row, links)?;
        }
        for (base, index) in self.layer_bases(profile)? {
            links.add(&base, &profile.digest, Relation::Base, Method::Layers, index);
        }
        self.history_bases(profile, links)
    }

    /// What facts about an artifact alone name by digest as its base, or as a material of its build.
    pub(super) fn base_claims(&self, profile: &Profile, cut: &mut bool) -> Result<Vec<BaseRow>, Error> {
        let mut claims = Vec::new();
        for digest in &profile.group {
            let prefix = self.key(table::BASES).text(digest);
            let rows =
                self.scope.keyed::<BaseClaim>(&prefix, &prefix.prefix_end(), false, Clocks::Both, EDGE_ROWS_MAX)?;
            *cut |= rows.len() == EDGE_ROWS_MAX;
            claims.extend(rows.into_iter().filter_map(|(key, row)| Some((second_text(&key)?, row))));
        }
        Ok(claims)
    }

    /// A base that a fact names. A base named by an index is also the manifest of the derived image's platform.
    fn claimed_base(
        &self,
        derived: &Profile,
        base: &str,
        row: &Stamped<BaseClaim>,
        links: &mut Links,
    ) -> Result<(), Error> {
        let index = row.stamp.index;
        let Some(base) = self.profile(base)? else { return Ok(()) };
        let Some(method) = base_method(row.value.method, &base) else { return Ok(()) };
        links.add(&base.digest, &derived.digest, Relation::Base, method, index);
        for manifest in self.platform_of(&base, derived)? {
            links.add(&manifest, &derived.digest, Relation::Base, method, index);
        }
        Ok(())
    }

    fn derived_out(&self, profile: &Profile, links: &mut Links) -> Result<(), Error> {
        let mut named: Vec<(String, Option<String>)> =
            profile.group.iter().map(|digest| (digest.clone(), None)).collect();
        for above in self.above(&profile.digest)?.members {
            for digest in &self.group(&above.digest)?.digests {
                named.push((digest.clone(), Some(above.platform.clone())));
            }
        }
        for (digest, platform) in named {
            let prefix = self.key(table::DERIVED).text(&digest);
            let rows =
                self.scope.keyed::<BaseClaim>(&prefix, &prefix.prefix_end(), false, Clocks::Both, EDGE_ROWS_MAX)?;
            links.cut |= rows.len() == EDGE_ROWS_MAX;
            for (key, row) in rows {
                let Some(derived) = second_text(&key) else { continue };
                let Some(derived) = self.profile(&derived)? else { continue };
                let fits = platform.as_ref().is_none_or(|platform| same_platform(platform, &derived.line.platform));
                if is_material(row.value.method) && !self.is_material_base(&derived, &digest)? {
                    continue;
                }
                if let Some(method) = base_method(row.value.method, profile).filter(|_| fits) {
                    links.add(&profile.digest, &derived.digest, Relation::Base, method, row.stamp.index);
                }
            }
            self.stated_out(profile, &digest, platform.as_deref(), links)?;
        }
        self.layer_derived(profile, links)?;
        self.history_derived(profile, links)
    }

    /// What statements say was made of an artifact, which one of them calls `material`. Where there are too many, the
    /// newest count.
    fn stated_out(
        &self,
        profile: &Profile,
        material: &str,
        platform: Option<&str>,
        links: &mut Links,
    ) -> Result<(), Error> {
        let mut found = Vec::new();
        for (statement, claim, stamp) in self.uses_of(material, &mut links.cut)? {
            let Some(method) = base_method(claim, profile) else { continue };
            let left = EDGE_ROWS_MAX - found.len();
            if left == 0 {
                links.cut = true;
                break;
            }
            let derived = self.stated_derived(statement, material, left, &mut links.cut)?;
            found.extend(derived.into_iter().map(|derived| (derived, method, stamp.index)));
        }
        for (derived, method, index) in found.iter().rev() {
            if platform.is_none_or(|platform| same_platform(platform, &derived.line.platform)) {
                links.add(&profile.digest, &derived.digest, Relation::Base, *method, *index);
            }
        }
        Ok(())
    }

    /// The image whose layers are the longest proper prefix of this one's; of several the first by (createdAt, digest).
    fn layer_bases(&self, profile: &Profile) -> Result<Vec<(String, u64)>, Error> {
        let mut bases = BTreeMap::new();
        for (chain, stamp) in self.chains(profile)? {
            for prefix in chain.iter().rev().skip(1) {
                if let Some(base) = self.first_with_layers(prefix, profile)? {
                    bases.insert(base, stamp.index);
                    break;
                }
            }
        }
        Ok(bases.into_iter().collect())
    }

    fn first_with_layers(&self, hash: &[u8; 32], not: &Profile) -> Result<Option<String>, Error> {
        let prefix = self.key(table::CHAIN).bytes(hash);
        let rows = self.scope.keyed::<()>(&prefix, &prefix.prefix_end(), false, Clocks::Known, SAME_LAYERS_MAX)?;
        let mut found = BTreeSet::new();
        for digest in rows.iter().filter_map(|(key, _)| layer_digest(key)) {
            if let Some(base) = self.profile(&digest)?.filter(|base| base.digest != not.digest) {
                found.insert((base.created.time, base.digest.clone()));
            }
        }
        Ok(found.into_iter().next().map(|(_, digest)| digest))
    }

    /// Hashes of every prefix of the image's layers, shortest first.
    pub(super) fn chains(&self, profile: &Profile) -> Result<Vec<(Chain, Stamp)>, Error> {
        let mut chains = Vec::new();
        for digest in &profile.group {
            let prefix = self.key(table::LAYERS).text(digest);
            let rows = self.scope.rows::<Chain>(&prefix, Clocks::Known, SAME_LAYERS_MAX)?;
            chains.extend(rows.into_iter().map(|row| (row.value, row.stamp)));
        }
        Ok(chains)
    }

    fn layer_derived(&self, profile: &Profile, links: &mut Links) -> Result<(), Error> {
        for (chain, _) in self.chains(profile)? {
            let Some(whole) = chain.last() else { continue };
            let prefix = self.key(table::PREFIX).bytes(whole);
            let rows = self.scope.keyed::<()>(&prefix, &prefix.prefix_end(), false, Clocks::Known, EDGE_ROWS_MAX)?;
            links.cut |= rows.len() == EDGE_ROWS_MAX;
            for digest in rows.iter().filter_map(|(key, _)| layer_digest(key)) {
                let Some(derived) = self.profile(&digest)? else { continue };
                for (base, index) in self.layer_bases(&derived)? {
                    links.add(&base, &derived.digest, Relation::Base, Method::Layers, index);
                }
            }
        }
        Ok(())
    }

    /// Bases named by tag, resolved at build time. Where a base is named by digest too, a tag that leads nowhere says
    /// nothing.
    fn history_bases(&self, profile: &Profile, links: &mut Links) -> Result<(), Error> {
        let by_digest = links.links.iter().any(|link| link.relation == Relation::Base && link.to == profile.digest);
        for ((repository, tag), row) in self.tagged_bases(profile, &mut links.cut)? {
            let bases = self.bases_of_tag(profile, &repository, &tag)?;
            if bases.is_empty() && !by_digest {
                let (derived, reference) = (profile.digest.clone(), row.value.clone());
                links.unknown.push(UnknownBase { derived, reference, index: row.stamp.index });
            }
            for base in bases {
                links.add(&base, &profile.digest, Relation::Base, Method::History, row.stamp.index);
            }
        }
        Ok(())
    }

    /// Repository key and tag of each base that is named by a tag.
    pub(super) fn tagged_bases(&self, profile: &Profile, cut: &mut bool) -> Result<Vec<FromRow>, Error> {
        let mut named = Vec::new();
        for digest in &profile.group {
            let prefix = self.key(table::FROM).text(digest);
            let rows = self.scope.keyed::<String>(&prefix, &prefix.prefix_end(), false, Clocks::Both, EDGE_ROWS_MAX)?;
            *cut |= rows.len() == EDGE_ROWS_MAX;
            named.extend(rows.into_iter().filter_map(|(key, row)| Some((second_and_third(&key)?, row))));
        }
        Ok(named)
    }

    pub(super) fn bases_of_tag(&self, derived: &Profile, repository: &str, tag: &str) -> Result<Vec<String>, Error> {
        let built = Nanos(derived.created.time);
        let Some((base, _)) = self.scope.tag_at(repository, tag, built)? else { return Ok(vec![]) };
        let Some(base) = self.profile(&base)?.filter(|base| base.digest != derived.digest) else { return Ok(vec![]) };
        let mut bases = vec![base.digest.clone()];
        bases.extend(self.platform_of(&base, derived)?);
        Ok(bases)
    }

    /// The manifests of an index that are for the platform of a derived image.
    fn platform_of(&self, index: &Profile, derived: &Profile) -> Result<Vec<String>, Error> {
        let mut manifests = Vec::new();
        for below in self.below(&index.digest)?.members {
            if same_platform(&below.platform, &derived.line.platform) && below.digest != derived.digest {
                manifests.extend(self.profile(&below.digest)?.map(|manifest| manifest.digest.clone()));
            }
        }
        Ok(manifests)
    }

    fn history_derived(&self, profile: &Profile, links: &mut Links) -> Result<(), Error> {
        let tags: BTreeSet<(&str, &str)> =
            profile.tags.iter().map(|tagged| (tagged.repository.as_str(), tagged.tag.as_str())).collect();
        for (repository, tag) in tags {
            let prefix = self.key(table::FROM_OF).text(repository).text(tag);
            let rows = self.scope.keyed::<()>(&prefix, &prefix.prefix_end(), false, Clocks::Both, EDGE_ROWS_MAX)?;
            links.cut |= rows.len() == EDGE_ROWS_MAX;
            for (key, row) in rows {
                let Some(derived) = third_text(&key) else { continue };
                let Some(derived) = self.profile(&derived)? else { continue };
                if self.bases_of_tag(&derived, repository, tag)?.contains(&profile.digest) {
                    let index = row.stamp.index;
                    links.add(&profile.digest, &derived.digest, Relation::Base, Method::History, index);
                }
            }
        }
        Ok(())
    }
}

fn join(products: &[(Rc<Profile>, Stamp)], method: Method, links: &mut Links) {
    let Some(((first, _), others)) = products.split_first() else { return };
    for (other, stamp) in others {
        links.add(&first.digest, &other.digest, Relation::Build, method, stamp.index);
    }
}

fn earliest(pairs: &mut BTreeMap<String, Stamp>, other: String, stamp: Stamp) {
    let known = pairs.entry(other).or_insert(stamp);
    if stamp.order() < known.order() {
        *known = stamp;
    }
}

fn method_of(derived: Derived) -> Method {
    match derived {
        Derived::Semver => Method::Semver,
        Derived::Tag => Method::Tag,
        Derived::Order => Method::Order,
    }
}

/// A material that is not said to be an image is a base only when it is known as one.
fn base_method(claim: BaseMethod, base: &Profile) -> Option<Method> {
    match claim {
        BaseMethod::Declared | BaseMethod::Image => Some(Method::Provenance),
        BaseMethod::Material => is_image(base).then_some(Method::Provenance),
        BaseMethod::Annotation => Some(Method::Annotation),
        BaseMethod::Tool => None,
    }
}

pub(super) fn is_image(profile: &Profile) -> bool {
    super::identity::kind_word(profile.line.kind) == "container_image"
}

pub(super) fn is_material(claim: BaseMethod) -> bool {
    matches!(claim, BaseMethod::Image | BaseMethod::Material)
}

pub(super) fn same_platform(manifest: &str, derived: &str) -> bool {
    !derived.is_empty() && manifest == derived
}

fn second_text(key: &[u8]) -> Option<String> {
    let mut reader = fields(key)?;
    reader.text()?;
    reader.text()
}

fn second_and_third(key: &[u8]) -> Option<(String, String)> {
    let mut reader = fields(key)?;
    reader.text()?;
    Some((reader.text()?, reader.text()?))
}

fn third_text(key: &[u8]) -> Option<String> {
    second_and_third_reader(key)?.text()
}

fn second_and_third_reader(key: &[u8]) -> Option<crate::store::key::KeyReader<'_>> {
    let mut reader = fields(key)?;
    reader.text()?;
    reader.text()?;
    Some(reader)
}

/// The digest in a key that has a hash before it.
fn layer_digest(key: &[u8]) -> Option<String> {
    let mut reader = fields(key)?;
    (0..4).try_for_each(|_| reader.number().map(drop))?;
    reader.text()
}
