//! What a derived view of verdicts asks: whose verdict may be another one since an entry, what it is now, and which
//! versions stand next to each other. It looks at what was known before an entry and with it, and never at `at`.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::rc::Rc;

use pedigraph_proto::Purl;
use serde::{Deserialize, Serialize};

use super::children::ChildPlace;
use super::edges::Links;
use super::identity::Graph;
use super::kept::{Kept, once_of};
use super::line::Versions;
use super::reach::Reach;
use super::running::Place;
use super::scope::{Clocks, Scope};
use super::vex::candidates::Candidates;
use super::vex::said::Case;
use super::vex::sayings::Sayings;
use super::vex::subjects::Subjects;
use crate::error::Error;
use crate::facts::components::rows::{EXTENDED, SET_SUBJECTS, SETS, table as components_table};
use crate::facts::deltas::rows::{LOOKED_INTO, Standing};
use crate::facts::findings::own_digests;
use crate::facts::findings::rows::{
    ABOUT, ALIASES, DOCUMENTS, DocumentKey, Issue, NAMES, STATEMENTS, Statement, key_name, table, target, unreadable,
};
use crate::rows::text::Text;
use crate::store::key::KeyReader;

/// Vulnerabilities of which a step keeps what it found out.
const CASES_KEPT_MAX: usize = 256;
/// Statements of an entry that are read to find out what it speaks of.
const STATED_READ_MAX: usize = 4_096;

/// What may be concerned, from a place on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct From(Place);

/// A statement as it is said.
#[derive(Debug)]
pub(crate) struct Stated {
    /// Where it stands in its entry.
    pub(crate) at: (u32, u32),
    /// The vulnerability's name in keys.
    pub(crate) name: String,
    product: String,
    digests: Vec<Text>,
}

/// Before an entry, and with it.
pub(crate) struct Standings<'a> {
    before: &'a Scope,
    after: &'a Scope,
    graph_before: Graph<'a>,
    graph: Graph<'a>,
    index: u64,
    subjects: Rc<Subjects<'a>>,
    sayings: &'a Sayings,
    cases: Kept<String, Rc<Case<'a>>>,
    /// Every name of a vulnerability, before the entry and with it.
    called: Kept<String, Rc<[BTreeSet<String>; 2]>>,
    /// By artifact and by names that several CVEs have.
    shared: Kept<(String, BTreeSet<String>), Standing>,
}

impl<'a> Standings<'a> {
    pub(crate) fn new(before: &'a Scope, after: &'a Scope, index: u64, sayings: &'a Sayings) -> Standings<'a> {
        sayings.go_on(&after.tenant, index);
        let (graph_before, graph) = (Graph::new(before), Graph::new(after));
        let subjects = Rc::new(Subjects::new(after));
        let (cases, called, shared) = (Kept::default(), Kept::default(), Kept::default());
        Standings { before, after, graph_before, graph, index, subjects, sayings, cases, called, shared }
    }

    fn case(&self, name: &str) -> Result<Rc<Case<'a>>, Error> {
        let read =
            || Ok(Rc::new(Case::known(&self.subjects, self.sayings.of(self.after, &self.subjects.names, name)?)));
        once_of(CASES_KEPT_MAX, &self.cases, name, read)
    }

    /// The verdict on an artifact. It stands under one digest of it and one name of the vulnerability. Instead of a name
    /// it may be asked whether anybody looked into it.
    pub(crate) fn standing(&self, digest: &str, name: &str) -> Result<Standing, Error> {
        if name == LOOKED_INTO {
            let is_it = self.graph.canonical(digest)? == digest && self.after.is_looked_into(digest)?;
            return Ok(if is_it { Standing::NotAffected } else { Standing::None });
        }
        let case = self.case(name)?;
        if key_name(&case.vulnerability().name) != name || self.graph.canonical(digest)? != digest {
            return Ok(Standing::None);
        }
        let read = || {
            let consensus = case.whole(digest)?.consensus;
            Ok(consensus.map_or(Standing::None, |found| Standing::of(found.status)))
        };
        match case.shared_names()? {
            Some(names) => once_of(CASES_KEPT_MAX, &self.shared, &(digest.to_owned(), names), read),
            None => read(),
        }
    }

    /// The entry says something of a vulnerability, or what it is called.
    pub(crate) fn forget(&self, name: &str) -> Result<(), Error> {
        self.sayings.forget(&self.after.tenant, Some(&self.joined_before_or_after(name)?));
        Ok(())
    }

    /// Statements of an entry hold since this one, or do no longer.
    pub(crate) fn forget_stated(&self, entry: u64) -> Result<(), Error> {
        let of = table(&self.after.tenant, STATEMENTS).number(entry);
        let limit = STATED_READ_MAX + 1;
        let stated = self.after.keyed::<Statement>(&of, &of.prefix_end(), false, Clocks::Known, limit)?;
        let few = stated.len() <= STATED_READ_MAX;
        let names: BTreeSet<String> = stated.into_iter().map(|(_, row)| row.value.vulnerability).collect();
        let names = if few { Some(self.after.with_joined_names(names)?) } else { None };
        self.sayings.forget(&self.after.tenant, names.as_ref());
        Ok(())
    }

    /// Every name that a vulnerability has, also those that two share.
    pub(crate) fn joined(&self, name: &str) -> Result<BTreeSet<String>, Error> {
        Ok(self.called(name)?[1].clone())
    }

    /// The same, with those that it had before the entry: an advisory may take back that two names are one.
    pub(crate) fn joined_before_or_after(&self, name: &str) -> Result<BTreeSet<String>, Error> {
        let called = self.called(name)?;
        let [before, after] = &*called;
        Ok(before.union(after).cloned().collect())
    }

    /// Whether a vulnerability has other names since the entry.
    pub(crate) fn is_called_otherwise(&self, name: &str) -> Result<bool, Error> {
        let called = self.called(name)?;
        let [before, after] = &*called;
        Ok(before != after)
    }

    fn called(&self, name: &str) -> Result<Rc<[BTreeSet<String>; 2]>, Error> {
        let read = || Ok(Rc::new([self.before.joined_names(name)?, self.after.joined_names(name)?]));
        once_of(CASES_KEPT_MAX, &self.called, name, read)
    }

    /// Whether a statement or scan of an entry joins a name to another one.
    pub(crate) fn is_joined_here(&self, name: &str) -> Result<bool, Error> {
        let prefix = table(&self.after.tenant, ALIASES).text(name);
        let aliases = self.after.rows::<()>(&prefix, Clocks::Known, usize::MAX)?;
        Ok(aliases.iter().any(|row| row.stamp.index == self.index))
    }

    /// The next name of a vulnerability after one.
    pub(crate) fn name_after(&self, after: &str) -> Result<Option<String>, Error> {
        let prefix = table(&self.after.tenant, NAMES);
        Ok(self.after.texts_after(&prefix, after, 1)?.pop())
    }

    /// An artifact, and the indexes above it.
    pub(crate) fn with_above(&self, digest: &str) -> Result<BTreeSet<String>, Error> {
        let canonical = self.graph.canonical(digest)?;
        let mut found: BTreeSet<String> = self.graph.above(&canonical)?.digests().cloned().collect();
        found.insert(canonical);
        Ok(found)
    }

    /// An artifact, what is under it, and the indexes above all of these.
    pub(crate) fn with_kin(&self, digest: &str) -> Result<BTreeSet<String>, Error> {
        let mut found = self.with_above(digest)?;
        for below in self.graph.below(digest)?.digests() {
            found.extend(self.with_above(below)?);
        }
        Ok(found)
    }

    /// Artifacts that are joined to others since the entry says what a digest is.
    pub(crate) fn joined_otherwise(&self, touched: &str) -> Result<BTreeSet<String>, Error> {
        let around = |graph: &Graph<'_>| {
            // The first is the one under which verdicts stand.
            let group = graph.group(touched)?.digests.clone();
            let mut found = graph.group_with_configs(touched)?;
            found.extend(graph.above(touched)?.digests().cloned());
            found.extend(graph.below(touched)?.digests().cloned());
            Ok::<_, Error>((group, found))
        };
        let ((group_before, before), (group, after)) = (around(&self.graph_before)?, around(&self.graph)?);
        if group_before == group && before == after {
            return Ok(BTreeSet::new());
        }
        Ok(before.union(&after).cloned().collect())
    }

    /// What an SBOM is bound to by its components, since those were added to in the entry.
    pub(crate) fn bound_to(&self, set: &str) -> Result<BTreeSet<String>, Error> {
        let tenant = &self.after.tenant;
        let Some(known) = self.after.get::<u32>(&components_table(tenant, SETS).text(set), Clocks::Known)? else {
            return Ok(BTreeSet::new());
        };
        let number = u64::from(known.value);
        let extended = components_table(tenant, EXTENDED).number(number);
        if known.stamp.index == self.index || self.after.get::<()>(&extended, Clocks::Known)?.is_none() {
            return Ok(BTreeSet::new());
        }
        let bound = self.after.texts_under(&components_table(tenant, SET_SUBJECTS).number(number), usize::MAX)?;
        bound.iter().map(|subject| self.graph.canonical(subject)).collect()
    }

    /// Entries of SBOMs that count for an artifact since the entry and did not, or the other way round: what they say of
    /// others goes with them.
    pub(crate) fn other_sboms(&self, digest: &str) -> Result<BTreeSet<u64>, Error> {
        let entries = |scope: &Scope| {
            let current = scope.current_sboms(&scope.canonical_digest(digest)?)?;
            Ok::<BTreeSet<u64>, Error>(current.iter().map(|current| current.written.index).collect())
        };
        let (before, after) = (entries(self.before)?, entries(self.after)?);
        Ok(before.symmetric_difference(&after).copied().collect())
    }

    /// The entry of the version of a document that another one replaces since the entry.
    pub(crate) fn replaced_document(&self, document: &DocumentKey) -> Result<Option<u64>, Error> {
        let holds = |scope: &Scope| {
            let newest = scope.newest_summary::<Issue>(&table(&scope.tenant, DOCUMENTS).bytes(document))?;
            Ok::<Option<u64>, Error>(newest.map(|newest| newest.greatest.2))
        };
        let (before, after) = (holds(self.before)?, holds(self.after)?);
        Ok(before.filter(|_| before != after))
    }

    /// Everything that anybody says of an artifact or of a package in it.
    pub(crate) fn names_of(&self, digest: &str) -> Result<BTreeSet<String>, Error> {
        let named = self.after.vulnerabilities_in(digest)?;
        self.after.with_joined_names(named)
    }

    /// What is said of an artifact itself, by its digests and purls.
    pub(crate) fn own_names_of(&self, digest: &str) -> Result<BTreeSet<String>, Error> {
        let named = self.after.vulnerabilities_of(digest)?;
        self.after.with_joined_names(named)
    }

    /// What scanners found in an artifact at any time.
    pub(crate) fn scanned_names_of(&self, digest: &str) -> Result<BTreeSet<String>, Error> {
        let mut named = BTreeSet::new();
        for alias in self.after.aliases_of(digest)? {
            let of = table(&self.after.tenant, ABOUT).byte(target::FINDING).text(&alias);
            named.extend(self.after.texts_under(&of, usize::MAX)?);
        }
        self.after.with_joined_names(named)
    }

    /// The first statement of an entry after a place in it.
    pub(crate) fn stated_after(&self, entry: u64, after: Option<(u32, u32)>) -> Result<Option<Stated>, Error> {
        let of = table(&self.after.tenant, STATEMENTS).number(entry);
        let from = match after {
            Some((ordinal, n)) => of.clone().ordinal(ordinal).ordinal(n).prefix_end(),
            None => of.clone(),
        };
        let row = self.after.keyed::<Statement>(&from, &of.prefix_end(), false, Clocks::Known, 1)?.pop();
        let Some((key, row)) = row else { return Ok(None) };
        let mut reader = KeyReader::after(&key, &of);
        let at = reader.ordinal().zip(reader.ordinal()).ok_or_else(unreadable)?;
        let Statement { vulnerability: name, product, digests, .. } = row.value;
        Ok(Some(Stated { at, name, product, digests }))
    }

    /// Artifacts that a statement may be about, from a place on, about `limit`; and where it goes on.
    pub(crate) fn stated_on(
        &self,
        stated: &Stated,
        from: &From,
        limit: usize,
    ) -> Result<(BTreeSet<String>, Option<From>), Error> {
        let case = self.case(&stated.name)?;
        let mut concerned = Candidates::default();
        let purl = Purl::parse(&stated.product);
        let own = own_digests(&stated.product);
        for digest in stated.digests.iter().map(|text| &text.0).chain(&own) {
            self.graph.add_whole(digest, &mut concerned.named)?;
        }
        if let Some(purl) = purl.filter(|purl| purl.digest().is_none()) {
            case.stated_on(&purl, &mut concerned)?;
        }
        self.reached(concerned, from, limit)
    }

    /// Artifacts with a component that an advisory concerns, or did before the entry.
    pub(crate) fn advised_on(
        &self,
        name: &str,
        from: &From,
        limit: usize,
    ) -> Result<(BTreeSet<String>, Option<From>), Error> {
        let mut concerned = Candidates::default();
        for scope in [self.before, self.after] {
            Case::of(scope, name)?.advised_on(&mut concerned)?;
        }
        self.reached(concerned, from, limit)
    }

    /// Artifacts that may have a verdict on a vulnerability.
    pub(crate) fn concerned_by(
        &self,
        name: &str,
        from: &From,
        limit: usize,
    ) -> Result<(BTreeSet<String>, Option<From>), Error> {
        let mut concerned = self.case(name)?.candidates()?;
        // What was said under a name that it lost concerned them up to now.
        let called = self.called(name)?;
        let [before, after] = &*called;
        if !before.is_subset(after) {
            concerned.add(Case::of(self.before, name)?.candidates()?);
        }
        self.reached(concerned, from, limit)
    }

    fn reached(
        &self,
        concerned: Candidates,
        from: &From,
        limit: usize,
    ) -> Result<(BTreeSet<String>, Option<From>), Error> {
        let (mut found, mut next) = (BTreeSet::new(), None);
        Reach::of_candidates(self.after, concerned)?.each_subject(&from.0, &mut |here, digests| {
            if found.len() >= limit {
                next = Some(From(here));
                return Ok(ControlFlow::Break(()));
            }
            for digest in digests {
                found.extend(self.with_above(&digest)?);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((found, next))
    }

    /// Artifacts that are other versions, or declare other parents, since an entry names a digest. Others have other
    /// parents only together with these: what is found does not hang on how many digests are looked at.
    pub(crate) fn versions_changed_with(&self, touched: &str) -> Result<BTreeSet<String>, Error> {
        let mut changed = BTreeSet::new();
        let versions = Versions::new(self.before, self.after);
        for digest in versions.changed_with(touched)? {
            let is_another = !versions.change(&digest)?.is_none();
            if is_another || self.graph_before.stands_as(&digest)? != self.graph.stands_as(&digest)? {
                changed.insert(digest);
            }
        }
        Ok(changed)
    }

    /// The parents of a version, before the entry and with it.
    pub(crate) fn parents(&self, digest: &str) -> Result<[BTreeSet<String>; 2], Error> {
        Ok([parents_of(&self.graph_before, digest)?, parents_of(&self.graph, digest)?])
    }

    /// Versions to which the entry gave another derived parent, after one of them, at most `limit`.
    pub(crate) fn moved_after(&self, after: &str, limit: usize) -> Result<Vec<String>, Error> {
        self.graph.moved_in(self.index, after, limit)
    }

    /// Whether the entry gave a version another derived parent.
    pub(crate) fn is_moved(&self, digest: &str) -> Result<bool, Error> {
        self.graph.is_moved_in(self.index, digest)
    }

    /// The versions that have this one as a parent, from a place on, about `limit`; and where it goes on. `with` the entry
    /// or before it.
    pub(crate) fn children(
        &self,
        with: bool,
        digest: &str,
        from: ChildPlace,
        limit: usize,
    ) -> Result<(Vec<String>, Option<ChildPlace>), Error> {
        let graph = if with { &self.graph } else { &self.graph_before };
        graph.children_from(digest, from, limit)
    }
}

fn parents_of(graph: &Graph<'_>, digest: &str) -> Result<BTreeSet<String>, Error> {
    let Some(profile) = graph.known_profile(digest)?.filter(|profile| profile.digest == digest) else {
        return Ok(BTreeSet::new());
    };
    let mut links = Links::default();
    graph.parents_in(&profile, &mut links)?;
    Ok(links.links.into_iter().map(|link| link.from).collect())
}
