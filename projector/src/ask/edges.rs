//! Edges of one artifact, computed from rows (SPEC §3.1).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use pedigraph_proto::Nanos;
use serde::de::DeserializeOwned;

use super::identity::{BaseRow, Graph, Products, Profile, fields, read_stamp, second_and_third};
use super::joined::ALIASES_MAX;
use super::scope::Clocks;
use crate::error::Error;
use crate::facts::deployments::rows::unreadable;
use crate::facts::lineage::rows::{BaseClaim, BaseMethod, FirstWith, RunId, role, table};
use crate::facts::lines::rows::FoundBy;
use crate::rows::stamp::{Stamp, Stamped};
use crate::store::key::{Key, KeyReader};

/// Edges of one node, of one relationship and side, that are followed.
pub const BREADTH_MAX: usize = 250;
/// Rows of one kind of edge at one artifact that are read.
pub(super) const EDGE_ROWS_MAX: usize = 2_000;
/// Products of one run, or artifacts of one commit and pipeline, that are joined.
pub(super) const PRODUCTS_MAX: usize = 1_000;
/// Different layers of one digest that are looked at.
const LAYERS_MAX: usize = 64;
/// What may be derived from an artifact that is looked at, the newest first: some of it is not, since a tag pointed
/// elsewhere when it was built, or a material is no base.
const LOOKED_AT_MAX: usize = 2 * BREADTH_MAX;
/// What may be derived from an artifact that is counted.
const COUNTED_MAX: usize = 4 * BREADTH_MAX;
/// Rows that are read at once where each may differ.
const DIFFERENT_AT_ONCE: usize = 4;
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
    /// What may be derived from it and was not looked at.
    pub(super) more: BTreeSet<String>,
    /// There is more than is counted.
    pub(super) uncounted: bool,
    /// Some list was longer than its limit.
    pub(super) cut: bool,
}

impl Links {
    /// More than is listed or counted was left out.
    fn tell_cut(&mut self, cut: bool) {
        self.cut |= cut;
        self.uncounted |= cut;
    }

    fn add(&mut self, from: &str, to: &str, relation: Relation, method: Method, index: u64) {
        if from != to {
            self.links.push(Link { from: from.to_owned(), to: to.to_owned(), relation, method, index });
        }
    }
}

/// Digests, each with what first proves it.
pub(super) type Pairs = Vec<(String, Stamp)>;
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

    /// Versions that come after an artifact.
    pub(super) fn links_to_children(&self, profile: &Profile) -> Result<Links, Error> {
        let mut links = Links::default();
        self.children_out(profile, &mut links)?;
        links.links.retain(|link| link.from == profile.digest);
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

    /// Digests that follow an artifact's own in a table, each by one seek, however often it is named; the first proof of
    /// each, whatever `at` is.
    fn pairs(&self, profile: &Profile, table: u8, limit: usize, cut: &mut bool) -> Result<Pairs, Error> {
        let mut pairs: BTreeMap<String, Stamp> = BTreeMap::new();
        for digest in &profile.group {
            let different = self.different::<()>(&self.key(table).text(digest), 1, Clocks::Known, limit, cut)?;
            for (mut texts, stamp) in different {
                earliest(&mut pairs, texts.remove(0), stamp);
            }
        }
        Ok(pairs.into_iter().collect())
    }

    /// The first seen row of each that differs in the next `texts` texts after `prefix`: most are few rows, which are read
    /// at once; else by one seek each.
    fn different<T: DeserializeOwned>(
        &self,
        prefix: &Key,
        texts: usize,
        clocks: Clocks,
        limit: usize,
        cut: &mut bool,
    ) -> Result<Vec<(Vec<String>, Stamp)>, Error> {
        let (mut from, end, mut found) = (prefix.clone(), prefix.prefix_end(), Vec::<(Vec<String>, Stamp)>::new());
        loop {
            let rows = self.scope.keyed::<T>(&from, &end, false, clocks, DIFFERENT_AT_ONCE)?;
            for (key, row) in &rows {
                let mut reader = KeyReader::new(&key[prefix.as_bytes().len()..]);
                let read = (0..texts).map(|_| reader.text()).collect::<Option<Vec<String>>>().ok_or_else(unreadable)?;
                if found.last().is_some_and(|(last, _)| *last == read) {
                    continue;
                }
                if found.len() == limit {
                    *cut = true;
                    return Ok(found);
                }
                from = read.iter().fold(prefix.clone(), |key, text| key.text(text)).prefix_end();
                found.push((read, row.stamp));
            }
            if rows.len() < DIFFERENT_AT_ONCE {
                return Ok(found);
            }
        }
    }

    /// Digests that an artifact declares as its parents, known or not, whatever `at` is.
    pub(super) fn declares(&self, profile: &Profile, cut: &mut bool) -> Result<Pairs, Error> {
        self.pairs(profile, table::PARENTS, EDGE_ROWS_MAX, cut)
    }

    /// Declared parents that are known artifacts, whatever `at` is: where there is one, none is derived.
    pub(super) fn declared(&self, profile: &Profile, cut: &mut bool) -> Result<Vec<(Rc<Profile>, Stamp)>, Error> {
        let mut declared = Vec::new();
        for (parent, stamp) in self.declares(profile, cut)? {
            if let Some(parent) = self.known_profile(&parent)?.filter(|parent| parent.digest != profile.digest) {
                declared.push((parent, stamp));
            }
        }
        Ok(declared)
    }

    /// Which parent a version has follows `asOf` only; `at` hides the edge when it, or an end of it, came later.
    fn add_parent(
        &self,
        (parent, child): (&str, &str),
        method: Method,
        stamp: &Stamp,
        links: &mut Links,
    ) -> Result<(), Error> {
        let happened = self.scope.sees(stamp, Clocks::Both);
        if happened && self.profile(parent)?.is_some() && self.profile(child)?.is_some() {
            links.add(parent, child, Relation::Parent, method, stamp.index);
        }
        Ok(())
    }

    pub(super) fn parents_in(&self, profile: &Profile, links: &mut Links) -> Result<(), Error> {
        let declared = self.declared(profile, &mut links.cut)?;
        for (parent, stamp) in &declared {
            self.add_parent((&parent.digest, &profile.digest), Method::Declared, stamp, links)?;
        }
        if !declared.is_empty() {
            return Ok(());
        }
        if let Some((parent, how, stamp)) = self.derived_parent(profile)? {
            self.add_parent((&parent, &profile.digest), method_of(how), &stamp, links)?;
        }
        Ok(())
    }

    fn children_out(&self, profile: &Profile, links: &mut Links) -> Result<(), Error> {
        for (child, stamp) in self.pairs(profile, table::CHILDREN, BREADTH_MAX, &mut links.cut)? {
            let child = self.canonical(&child)?;
            self.add_parent((&profile.digest, &child), Method::Declared, &stamp, links)?;
        }
        let (children, cut) = self.derived_children(profile)?;
        links.cut |= cut;
        for child in children {
            let Some(child) = self.profile(&child)? else { continue };
            if !self.declared(&child, &mut links.cut)?.is_empty() {
                continue;
            }
            if let Some((parent, how, stamp)) = self.derived_parent(&child)? {
                self.add_parent((&parent, &child.digest), method_of(how), &stamp, links)?;
            }
        }
        Ok(())
    }

    /// An index and its platform manifests; a config that several manifests name and these.
    fn indexes_in(&self, profile: &Profile, links: &mut Links) -> Result<(), Error> {
        let mut above = self.alias_rows(profile, role::INDEX, links)?;
        // Its own config is an alias, and no edge; an index has none.
        if !self.lists_any(&profile.digest)? {
            above.extend(self.alias_rows(profile, role::CONFIG, links)?);
        }
        for (above, stamp) in above {
            if let Some(above) = self.profile(&above)? {
                links.add(&above.digest, &profile.digest, Relation::Build, Method::Index, stamp.index);
            }
        }
        Ok(())
    }

    fn manifests_out(&self, profile: &Profile, links: &mut Links) -> Result<(), Error> {
        let mut below = self.alias_rows(profile, role::PLATFORM, links)?;
        for (manifest, stamp) in self.alias_rows(profile, role::MANIFEST, links)? {
            if !self.lists_any(&manifest)? {
                below.push((manifest, stamp));
            }
        }
        for (below, stamp) in below {
            if let Some(below) = self.profile(&below)? {
                links.add(&profile.digest, &below.digest, Relation::Build, Method::Index, stamp.index);
            }
        }
        Ok(())
    }

    /// Of more rows than [`ALIASES_MAX`] the graph says that there are more.
    fn alias_rows(&self, profile: &Profile, role: u8, links: &mut Links) -> Result<Pairs, Error> {
        let mut pairs = BTreeMap::new();
        for digest in &profile.group {
            let rows = self.joined_as(digest, role, ALIASES_MAX)?;
            links.tell_cut(rows.len() == ALIASES_MAX);
            for row in rows {
                earliest(&mut pairs, row.other, row.stamp);
            }
        }
        Ok(pairs.into_iter().collect())
    }

    /// The first product of a run, or of one commit and pipeline within an hour, and each other.
    fn products(&self, profile: &Profile, links: &mut Links) -> Result<(), Error> {
        for run in self.runs_of(profile, &mut links.cut)? {
            let prefix = run.key(self.key(table::PRODUCTS));
            let (products, cut) = self.group_of(&prefix, profile)?;
            links.tell_cut(cut);
            join(&products, Method::Run, links);
        }
        for (commit, pipeline) in self.builds_of(profile, &mut links.cut)? {
            let prefix = self.key(table::BUILT_FROM).text(&commit).text(&pipeline);
            let (products, cut) = self.group_of(&prefix, profile)?;
            links.tell_cut(cut);
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
            for (texts, _) in self.different::<()>(&prefix, 2, Clocks::Both, EDGE_ROWS_MAX, cut)? {
                let [id, source] = <[String; 2]>::try_from(texts).map_err(|_| unreadable())?;
                runs.insert(RunId { id, source });
            }
        }
        Ok(runs)
    }

    /// Commits and pipelines that it is built by.
    fn builds_of(&self, profile: &Profile, cut: &mut bool) -> Result<BTreeSet<(String, String)>, Error> {
        let mut builds = BTreeSet::new();
        for digest in &profile.group {
            let prefix = self.key(table::COMMITS).text(digest);
            for (texts, _) in self.different::<()>(&prefix, 2, Clocks::Both, EDGE_ROWS_MAX, cut)? {
                let [commit, pipeline] = <[String; 2]>::try_from(texts).map_err(|_| unreadable())?;
                if !pipeline.is_empty() {
                    builds.insert((commit, pipeline));
                }
            }
        }
        Ok(builds)
    }

    /// Artifacts whose digests come after `prefix` in keys, by (createdAt, digest); `true` where there are more. Then
    /// the one that is asked for is among them all the same. Each group is read once: every product of a run asks for
    /// it.
    fn group_of(&self, prefix: &Key, of: &Profile) -> Result<(Rc<Products>, bool), Error> {
        let known = self.products.borrow().get(prefix).cloned();
        let (products, cut) = match known {
            Some(known) => known,
            None => {
                let mut cut = false;
                let products = Rc::new(self.read_group_of(prefix, &mut cut)?);
                self.products.borrow_mut().insert(prefix.clone(), (products.clone(), cut));
                (products, cut)
            }
        };
        if !cut || products.iter().any(|(product, _)| product.digest == of.digest) {
            return Ok((products, cut));
        }
        Ok((Rc::new(self.with_product(prefix, &products, of)?), true))
    }

    fn with_product(&self, prefix: &Key, products: &Products, of: &Profile) -> Result<Products, Error> {
        let mut all = products.clone();
        let Some(product) = self.profile(&of.digest)?.filter(|product| !product.aside) else { return Ok(all) };
        for digest in &of.group {
            let rows = prefix.clone().text(digest);
            if let Some((_, row)) = self.scope.keyed::<()>(&rows, &rows.prefix_end(), false, Clocks::Both, 1)?.pop() {
                all.push((product, row.stamp));
                break;
            }
        }
        all.sort_by(by_creation);
        Ok(all)
    }

    fn read_group_of(&self, prefix: &Key, cut: &mut bool) -> Result<Products, Error> {
        let mut found: BTreeMap<String, Stamp> = BTreeMap::new();
        for (mut texts, stamp) in self.different::<()>(prefix, 1, Clocks::Both, PRODUCTS_MAX, cut)? {
            earliest(&mut found, self.canonical(&texts.remove(0))?, stamp);
        }
        let mut products = Vec::new();
        for (digest, stamp) in found {
            products.extend(self.profile(&digest)?.filter(|product| !product.aside).map(|product| (product, stamp)));
        }
        products.sort_by(by_creation);
        Ok(products)
    }

    pub(super) fn bases_in(&self, profile: &Profile, links: &mut Links) -> Result<(), Error> {
        self.find_bases(profile, links, |_, _| true)
    }

    /// Bases by what tells them, the strongest first. Before what may tell more it is asked whether to go on with what can
    /// be known in such a way at best.
    fn find_bases(
        &self,
        profile: &Profile,
        links: &mut Links,
        goes_on: impl Fn(&Links, Method) -> bool,
    ) -> Result<(), Error> {
        let claims = self.base_claims(profile, &mut links.cut)?;
        for (base, row) in claims.iter().filter(|(_, row)| !is_material(row.value.method)) {
            self.claimed_base(profile, base, row, links)?;
        }
        if goes_on(links, Method::Provenance) {
            for (base, row) in self.material_bases(profile, &claims, &mut links.cut)? {
                self.claimed_base(profile, &base, &row, links)?;
            }
        }
        if goes_on(links, Method::Layers) {
            for (base, index) in self.layer_bases(profile)? {
                links.add(&base, &profile.digest, Relation::Base, Method::Layers, index);
            }
        }
        if goes_on(links, Method::History) {
            self.history_bases(profile, links)?;
        }
        Ok(())
    }

    /// The edge from an artifact to what may be derived from it: among these links it is the strongest one.
    fn base_edge(&self, base: &Profile, derived: &Profile) -> Result<Vec<Link>, Error> {
        let mut links = Links::default();
        let is_weaker = |link: &Link, next: Method| link.from != base.digest || link.method.percent() < next.percent();
        self.find_bases(derived, &mut links, |links, next| links.links.iter().all(|link| is_weaker(link, next)))?;
        links.links.retain(|link| link.from == base.digest);
        Ok(links.links)
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

    /// What is derived from an artifact: what may be is found newest first, and what each comes from is what it says
    /// itself, so that an edge is the same from both of its ends.
    fn derived_out(&self, profile: &Profile, links: &mut Links) -> Result<(), Error> {
        let mut shown = BTreeSet::new();
        let candidates = self.derived_candidates(profile, links)?;
        for (looked_at, digest) in candidates.into_iter().enumerate() {
            if shown.len() == BREADTH_MAX || looked_at >= LOOKED_AT_MAX {
                links.more.insert(digest);
                continue;
            }
            let Some(derived) = self.profile(&digest)? else { continue };
            let edge = self.base_edge(profile, &derived)?;
            if !edge.is_empty() && shown.insert(derived.digest.clone()) {
                links.links.extend(edge);
            }
        }
        links.cut |= !links.more.is_empty() || links.uncounted;
        Ok(())
    }

    /// Digests of what may be derived from an artifact, each once, the newest first.
    fn derived_candidates(&self, profile: &Profile, links: &mut Links) -> Result<Vec<String>, Error> {
        let mut found: Vec<(i64, String)> = Vec::new();
        let by_digest = self.with_above(profile)?;
        for digest in &by_digest {
            let named = self.key(table::DERIVED).text(digest);
            links.uncounted |= self.newest_digests(&named, &mut found)?;
            links.uncounted |= self.made_with(digest, &mut found)?;
        }
        for (chain, _) in self.chains(profile)? {
            let Some(whole) = chain.last() else { continue };
            links.uncounted |= self.newest_digests(&self.key(table::PREFIX).bytes(whole), &mut found)?;
        }
        let (moves, moves_cut) = self.moves_to(&by_digest, None)?;
        links.uncounted |= moves_cut;
        let tags: BTreeSet<(&str, &str)> = moves.iter().map(|to| (to.repository.as_str(), to.tag.as_str())).collect();
        for (repository, tag) in tags {
            let from = self.key(table::FROM_OF).text(repository).text(tag);
            links.uncounted |= self.newest_digests(&from, &mut found)?;
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        let mut seen = BTreeSet::new();
        Ok(found.into_iter().filter_map(|(_, digest)| seen.insert(digest.clone()).then_some(digest)).collect())
    }

    /// Digests behind the stamps of keys that begin with `prefix`, the newest first; `true` when there are more than are
    /// counted.
    fn newest_digests(&self, prefix: &Key, found: &mut Vec<(i64, String)>) -> Result<bool, Error> {
        let to = prefix.clone().until(self.scope.at);
        let rows = self.scope.keyed::<()>(prefix, &to, true, Clocks::Known, COUNTED_MAX)?;
        for (key, _) in &rows {
            let mut reader = KeyReader::new(&key[prefix.as_bytes().len()..]);
            let newest = read_stamp(&mut reader).zip(reader.text()).ok_or_else(unreadable)?;
            found.push((newest.0.time, newest.1));
        }
        Ok(rows.len() == COUNTED_MAX)
    }

    /// What statements say was made of something that one of them calls `material`.
    fn made_with(&self, material: &str, found: &mut Vec<(i64, String)>) -> Result<bool, Error> {
        let (mut cut, mut left) = (false, COUNTED_MAX);
        for (statement, claim, stamp) in self.uses_of(material, &mut cut)? {
            if claim == BaseMethod::Tool {
                continue;
            }
            let subjects = self.subjects_of(statement, left, &mut cut)?;
            left -= subjects.len();
            found.extend(subjects.into_iter().map(|subject| (stamp.time, subject)));
            if left == 0 {
                return Ok(true);
            }
        }
        Ok(cut)
    }

    /// The image whose layers are the longest proper prefix of this one's; of several the first that was seen.
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
        let first = self.scope.newest_summary::<FirstWith>(&self.key(table::CHAIN).bytes(hash))?;
        let Some(first) = first else { return Ok(None) };
        let base = self.profile(&first.digest)?.filter(|base| base.digest != not.digest);
        Ok(base.map(|base| base.digest.clone()))
    }

    /// Hashes of every prefix of the image's layers, shortest first.
    pub(super) fn chains(&self, profile: &Profile) -> Result<Vec<(Chain, Stamp)>, Error> {
        let mut chains = Vec::new();
        for digest in &profile.group {
            let prefix = self.key(table::LAYERS).text(digest);
            let rows = self.scope.rows::<Chain>(&prefix, Clocks::Known, LAYERS_MAX)?;
            chains.extend(rows.into_iter().map(|row| (row.value, row.stamp)));
        }
        Ok(chains)
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
        for below in &self.below(&index.digest)?.members {
            if same_platform(&below.platform, &derived.line.platform) && below.digest != derived.digest {
                manifests.extend(self.profile(&below.digest)?.map(|manifest| manifest.digest.clone()));
            }
        }
        Ok(manifests)
    }

    /// Every digest of an artifact and of the indexes above it: what is bound to these is bound to it.
    pub(super) fn with_above(&self, profile: &Profile) -> Result<BTreeSet<String>, Error> {
        let mut digests: BTreeSet<String> = profile.group.iter().cloned().collect();
        for above in &self.above(&profile.digest)?.members {
            digests.extend(self.group(&above.digest)?.digests.iter().cloned());
        }
        Ok(digests)
    }
}

fn by_creation((a, _): &(Rc<Profile>, Stamp), (b, _): &(Rc<Profile>, Stamp)) -> std::cmp::Ordering {
    (a.created.time, &a.digest).cmp(&(b.created.time, &b.digest))
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

fn method_of(found: FoundBy) -> Method {
    match found {
        FoundBy::Semver => Method::Semver,
        FoundBy::Tag => Method::Tag,
        FoundBy::Order => Method::Order,
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
