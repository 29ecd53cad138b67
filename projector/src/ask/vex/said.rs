//! What is said of one vulnerability, read as it is needed: statements with their documents, findings, advisories.
//!
//! It costs rows by what is said of the vulnerability about the very artifact and the packages in it, and one row for
//! each package that anybody names with it; nothing is read of other artifacts.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use pedigraph_proto::advisory::packages_of;
use pedigraph_proto::event::AffectedPackage;
use pedigraph_proto::{Nanos, Purl};

use super::consensus::Role;
use super::names::{FEW_NAMES, Vulnerability, is_cve};
use super::subjects::{Subject, Subjects};
use crate::ask::contents::Current;
use crate::ask::identity::stamp_at_end;
use crate::ask::kept::{Kept, once};
use crate::ask::scope::{Clocks, Scope};
use crate::ask::sets::Component;
use crate::error::Error;
use crate::facts::components;
use crate::facts::components::rows::{KEYS, PACKAGES};
use crate::facts::findings::issue_order;
use crate::facts::findings::rows::{
    ADVISORIES, Advisory, DOCUMENTS, DocumentKey, Found, Issue, SAID, STATEMENTS, Statement, said_of, table, target,
    unreadable,
};
use crate::facts::lineage;
use crate::rows::encoded::Encoded;
use crate::rows::stamp::Stamp;
use crate::store::key::{Key, KeyReader};

/// Packages that are named with a vulnerability, up to which each is looked for in the SBOMs.
const FEW_PACKAGES_MAX: usize = 256;

/// What is said under one name of a vulnerability about one kind of target, up to which it is read at once. It is what a
/// verdict may read in vain where it is about others.
const FEW_SAID_MAX: usize = 8;

/// What is said under one name about one kind of target, as keys go on after both; `None` where it is much.
type FewSaid = Option<Arc<Vec<Vec<u8>>>>;
/// Where a statement stands: entry, fact, statement.
pub(super) type StatementAt = (u64, u32, u32);

/// A statement as a row points to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Pointer {
    pub(super) document: DocumentKey,
    pub(super) at: StatementAt,
}

/// A version of a document with where it came in.
#[derive(Clone, Debug)]
pub(super) struct Issued {
    pub(super) issue: Issue,
    pub(super) index: u64,
    /// Another version holds.
    pub(super) is_replaced: bool,
}

/// A finding of a current scan.
#[derive(Clone, Debug)]
pub(super) struct ScanFinding {
    pub(super) scanner: String,
    pub(super) found: Found,
    pub(super) time: i64,
    pub(super) index: u64,
}

/// An advisory in the state that holds, with the packages of one name that it names.
#[derive(Clone, Debug)]
pub(super) struct Advised {
    pub(super) advisory: Advisory,
    pub(super) affected: Vec<AffectedPackage>,
    pub(super) time: i64,
    pub(super) index: u64,
}

/// What was read of what is said of one vulnerability, whatever artifact is asked. It holds for every bound up to the
/// next entry that says something of it.
pub(crate) struct Said {
    pub(super) vulnerability: Vulnerability,
    few: Kept<(String, u8), FewSaid>,
    packages: Kept<u8, Option<Arc<BTreeSet<String>>>>,
    issues: Kept<(DocumentKey, u64), Option<Arc<Issued>>>,
    statements: Kept<StatementAt, Option<Arc<Statement>>>,
    on_packages: Kept<(String, String), Arc<Vec<Pointer>>>,
    advisories: Kept<String, Arc<Vec<Advised>>>,
}

impl Said {
    /// Of a vulnerability with these names.
    pub(crate) fn called(vulnerability: Vulnerability) -> Said {
        Said {
            vulnerability,
            few: Kept::default(),
            packages: Kept::default(),
            issues: Kept::default(),
            statements: Kept::default(),
            on_packages: Kept::default(),
            advisories: Kept::default(),
        }
    }

    /// All of its names in keys.
    pub(crate) fn names(&self) -> &BTreeSet<String> {
        &self.vulnerability.keys
    }

    /// How many things it keeps.
    pub(crate) fn kept(&self) -> usize {
        let (packages, documents) = (self.on_packages.lock().len(), self.issues.lock().len());
        let few: usize = self.few.lock().values().flatten().map(|few| few.len()).sum();
        few + packages + documents + self.statements.lock().len() + self.advisories.lock().len()
    }
}

/// One question about one vulnerability.
pub(crate) struct Case<'a> {
    pub(super) subjects: Rc<Subjects<'a>>,
    pub(super) scope: &'a Scope,
    said: Arc<Said>,
    found: Kept<(u32, String), Rc<Vec<Arc<Component>>>>,
    also_named: Kept<String, Rc<Vec<String>>>,
}

impl<'a> Case<'a> {
    /// A question about one vulnerability alone.
    pub(crate) fn of(scope: &'a Scope, id: &str) -> Result<Case<'a>, Error> {
        Case::among(&Rc::new(Subjects::new(scope)), id)
    }

    /// One of several questions about the same artifacts.
    pub(crate) fn among(subjects: &Rc<Subjects<'a>>, id: &str) -> Result<Case<'a>, Error> {
        Ok(Case::known(subjects, Arc::new(Said::called(subjects.names.of(id)?))))
    }

    /// The same where what is said was read before: it must hold for the scope, which has no `at`.
    pub(crate) fn known(subjects: &Rc<Subjects<'a>>, said: Arc<Said>) -> Case<'a> {
        let (subjects, scope) = (subjects.clone(), subjects.scope);
        Case { subjects, scope, said, found: Kept::default(), also_named: Kept::default() }
    }

    /// What it is called.
    pub(crate) fn vulnerability(&self) -> &Vulnerability {
        &self.said.vulnerability
    }

    fn table(&self, of: u8) -> Key {
        table(&self.scope.tenant, of)
    }

    /// Of a CVE with very many other names, these, where nothing is said under its own: then all is the same for it as
    /// for any other CVE with them. One seek.
    pub(crate) fn shared_names(&self) -> Result<Option<BTreeSet<String>>, Error> {
        let (cves, others): (Vec<&String>, Vec<&String>) = self.said.names().iter().partition(|name| is_cve(name));
        if others.len() < FEW_NAMES {
            return Ok(None);
        }
        for cve in cves {
            let of = self.table(SAID).text(cve);
            if self.scope.next_key(&of, &of.prefix_end(), Clocks::Known)?.is_some() {
                return Ok(None);
            }
        }
        Ok(Some(others.into_iter().cloned().collect()))
    }

    /// Whether roles of issuers are configured at all: then only who has one clears.
    pub(crate) fn has_roles(&self) -> Result<bool, Error> {
        Ok(self.subjects.policy()?.issuers.iter().any(|issuer| !issuer.role.is_empty()))
    }

    /// The role of who issued a document, if one is configured, and whether it should be signed.
    pub(super) fn role(&self, issue: &Issue) -> Result<(Option<Role>, bool), Error> {
        let fits = |source: &str| source.is_empty() || source == issue.source;
        let issuers = self.subjects.policy()?.issuers.iter();
        let of_it = issuers.filter(|known| known.issuer == issue.issuer && fits(&known.source));
        // What is bound to a source says more than what is not.
        let named = of_it.max_by_key(|known| !known.source.is_empty());
        Ok(named.map_or((None, false), |known| (Role::parse(&known.role), known.signs)))
    }

    /// What is said under a name about one kind of target, if it is little: one seek then, whatever is asked of it.
    fn few(&self, name: &str, kind: u8) -> Result<FewSaid, Error> {
        once(&self.said.few, &(name.to_owned(), kind), || {
            let of = self.table(SAID).text(name).byte(kind);
            let mut keys = self.scope.keys_under(&of, FEW_SAID_MAX + 1)?;
            keys.iter_mut().for_each(|key| drop(key.drain(..of.as_bytes().len())));
            Ok(Some(keys).filter(|keys| keys.len() <= FEW_SAID_MAX).map(Arc::new))
        })
    }

    /// Statements on a digest, or on a purl with its version, in the order of their documents.
    fn pointers(&self, name: &str, kind: u8, on: &[&str]) -> Result<Vec<Pointer>, Error> {
        let of = self.table(SAID).text(name).byte(kind);
        let prefix = on.iter().fold(of.clone(), |key, text| key.text(text));
        let read = |key: &[u8]| {
            let (_, end) = key.split_last_chunk::<32>()?;
            let (document, place) = end.split_first_chunk::<16>()?;
            let mut reader = KeyReader::new(place);
            let at = (reader.number()?, reader.ordinal()?, reader.ordinal()?);
            Some(Pointer { document: *document, at })
        };
        let read = |key: &Vec<u8>| read(key).ok_or_else(unreadable);
        match self.few(name, kind)? {
            Some(few) => few.iter().filter(|key| prefix.goes_on(&of, key)).map(read).collect(),
            None => self.scope.keys_under(&prefix, usize::MAX)?.iter().map(read).collect(),
        }
    }

    /// Statements whose product is a digest.
    pub(super) fn on_digest(&self, digest: &str) -> Result<Vec<Pointer>, Error> {
        self.each_name(|name| self.pointers(name, target::DIGEST, &[digest]))
    }

    /// Statements whose product is a purl of a package, with this version or with none.
    pub(super) fn on_package(&self, package: &str, version: &str) -> Result<Arc<Vec<Pointer>>, Error> {
        let package = components::rows::clipped(package);
        let version = components::rows::clipped(version);
        once(&self.said.on_packages, &(package.to_owned(), version.to_owned()), || {
            let found = self.each_name(|name| {
                let mut found = self.pointers(name, target::PACKAGE, &[package, ""])?;
                if !version.is_empty() {
                    found.extend(self.pointers(name, target::PACKAGE, &[package, version])?);
                }
                Ok(found)
            })?;
            Ok(Arc::new(found))
        })
    }

    fn each_name<T>(&self, read: impl Fn(&str) -> Result<Vec<T>, Error>) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        for name in self.said.names() {
            all.extend(read(name)?);
        }
        Ok(all)
    }

    /// Packages of which something is said, under each name at most so many, by one seek each where they are many.
    pub(super) fn packages(&self, kind: u8, limit: usize) -> Result<BTreeSet<String>, Error> {
        let of_name = |name: &str| match self.few(name, kind)? {
            Some(few) => few.iter().map(|key| KeyReader::new(key).text().ok_or_else(unreadable)).collect(),
            None => self.scope.texts_under(&self.table(SAID).text(name).byte(kind), limit),
        };
        Ok(self.each_name(of_name)?.into_iter().collect())
    }

    /// Packages of which something is said and that an artifact may be or hold. Where very many are named, what its SBOMs
    /// list is looked for instead: it costs seeks for the fewer of the two, so that nobody makes a verdict expensive by what
    /// he says of other packages.
    pub(super) fn packages_in(&self, kind: u8, about: &Subject) -> Result<Arc<BTreeSet<String>>, Error> {
        if let Some(few) = self.few_packages(kind)? {
            return Ok(few);
        }
        let mut listed: BTreeSet<String> = about.own.iter().map(|(package, _, _)| package.clone()).collect();
        for current in &about.current {
            for known in self.scope.contents(current.set)?.all(self.scope)? {
                listed.extend(known.parsed().into_iter().flat_map(packages_of));
            }
        }
        let mut named = BTreeSet::new();
        for package in listed {
            for name in self.said.names() {
                let of = said_of(&self.scope.tenant, name, kind, components::rows::clipped(&package));
                if self.scope.next_key(&of, &of.prefix_end(), Clocks::Known)?.is_some() {
                    named.insert(package);
                    break;
                }
            }
        }
        Ok(Arc::new(named))
    }

    /// Whether a statement may be on a package: told without a look where few are named.
    pub(super) fn may_name(&self, package: &str) -> Result<bool, Error> {
        let few = self.few_packages(target::PACKAGE)?;
        Ok(few.is_none_or(|few| few.contains(components::rows::clipped(package))))
    }

    /// All packages of which something is said; `None` where these are very many.
    fn few_packages(&self, kind: u8) -> Result<Option<Arc<BTreeSet<String>>>, Error> {
        once(&self.said.packages, &kind, || {
            let packages = self.packages(kind, FEW_PACKAGES_MAX + 1)?;
            Ok(Some(packages).filter(|packages| packages.len() <= FEW_PACKAGES_MAX).map(Arc::new))
        })
    }

    /// Packages of which something is said and that something is known to have, or to be. Where very many are named, it
    /// goes from one that is both to the next: it costs seeks for the fewer of the two. It ends when a quarter of the
    /// question's budget is used; then it is `true`.
    pub(super) fn packages_known(&self, kind: u8) -> Result<(BTreeSet<String>, bool), Error> {
        if let Some(few) = self.few_packages(kind)? {
            return Ok(((*few).clone(), false));
        }
        let mut known = BTreeSet::new();
        for name in self.said.names() {
            let said = self.table(SAID).text(name).byte(kind);
            let mut next = self.scope.text_from(&said, "")?;
            while let Some(package) = next.take() {
                if self.scope.meter.is_quarter_spent() {
                    return Ok((known, true));
                }
                let Some(here) = self.scope.known_package(&package)? else { break };
                let is_named = here == package;
                next = match is_named {
                    true => self.scope.texts_after(&said, &package, 1)?.pop(),
                    false => self.scope.text_from(&said, &here)?,
                };
                if is_named {
                    known.insert(package);
                }
            }
        }
        Ok((known, false))
    }

    /// The first digest of which something is said under one name, after one.
    pub(super) fn target_after(&self, name: &str, kind: u8, after: &str) -> Result<Option<String>, Error> {
        Ok(self.scope.texts_after(&self.table(SAID).text(name).byte(kind), after, 1)?.pop())
    }

    /// A statement by its place.
    pub(super) fn statement(&self, at: StatementAt) -> Result<Option<Arc<Statement>>, Error> {
        once(&self.said.statements, &at, || {
            let (index, ordinal, n) = at;
            let key = self.table(STATEMENTS).number(index).ordinal(ordinal).ordinal(n);
            Ok(self.scope.get::<Statement>(&key, Clocks::Known)?.map(|row| Arc::new(row.value)))
        })
    }

    /// The version of a document that came in with an entry; `None` where it was not in force by `at`.
    pub(super) fn issued(&self, document: &DocumentKey, index: u64) -> Result<Option<Arc<Issued>>, Error> {
        once(&self.said.issues, &(*document, index), || Ok(self.read_issued(document, index)?.map(Arc::new)))
    }

    fn read_issued(&self, document: &DocumentKey, index: u64) -> Result<Option<Issued>, Error> {
        let Some(issue) = self.scope.issue(document, index)? else { return Ok(None) };
        let Some(holds) = self.scope.holding_issue(document)? else { return Ok(None) };
        let in_force = self.scope.at.is_none_or(|at| issue.time <= at.0);
        Ok(in_force.then_some(Issued { issue, index, is_replaced: holds != index }))
    }

    /// Findings of the newest scan of each scanner and target.
    pub(super) fn findings(&self, subject: &Subject) -> Result<Vec<ScanFinding>, Error> {
        let mut findings = Vec::new();
        for ((scanner, part), (time, index, _, digest)) in &subject.scans {
            for name in self.said.names() {
                let of = said_of(&self.scope.tenant, name, target::FINDING, digest).text(scanner).text(part);
                let of = of.time(Nanos(*time)).number(*index);
                let rows = self.scope.keyed::<Found>(&of, &of.prefix_end(), false, Clocks::Known, usize::MAX)?;
                findings.extend(rows.into_iter().map(|(_, row)| ScanFinding {
                    scanner: scanner.clone(),
                    found: row.value,
                    time: *time,
                    index: *index,
                }));
            }
        }
        Ok(findings)
    }

    /// Scans of an artifact, by all of its digests, that found it and that a newer one of their scanner and target
    /// replaces, whether that one finds it or not. At most so many findings are looked at, the newest of each scanner;
    /// `true` when there are more.
    pub(super) fn superseded_scans(&self, subject: &Subject, findings_max: usize) -> Result<(u64, bool), Error> {
        let (mut scans, mut left) = (BTreeSet::new(), findings_max);
        let names = self.said.names();
        for ((scanner, part), (time, index, _, _)) in &subject.scans {
            for (digest, name) in subject.digests.iter().flat_map(|digest| names.iter().map(move |name| (digest, name)))
            {
                let of = said_of(&self.scope.tenant, name, target::FINDING, digest).text(scanner).text(part);
                let until = of.clone().time(Nanos(*time)).number(*index);
                let rows = self.scope.keyed::<Found>(&of, &until, true, Clocks::Known, left + 1)?;
                let cut = rows.len() > left;
                let found =
                    rows.into_iter().take(left).map(|(_, row)| (scanner.clone(), part.clone(), row.stamp.index));
                left -= left.min(found.len());
                scans.extend(found);
                if cut {
                    return Ok((scans.len() as u64, true));
                }
            }
        }
        Ok((scans.len() as u64, false))
    }

    /// Advisories on a package, each in the state that holds; none that is withdrawn.
    pub(super) fn advisories(&self, package: &str) -> Result<Arc<Vec<Advised>>, Error> {
        once(&self.said.advisories, package, || self.read_advisories(package).map(Arc::new))
    }

    fn read_advisories(&self, package: &str) -> Result<Vec<Advised>, Error> {
        let package = components::rows::clipped(package);
        let mut advisories = Vec::new();
        for name in self.said.names() {
            let of = said_of(&self.scope.tenant, name, target::ADVISORY, package).text(name);
            let under = self.table(SAID).text(name).byte(target::ADVISORY);
            let any = match self.few(name, target::ADVISORY)? {
                Some(few) => few.iter().any(|key| of.goes_on(&under, key)),
                None => self.scope.next_key(&of, &of.prefix_end(), Clocks::Known)?.is_some(),
            };
            if !any {
                continue;
            }
            let Some((Stamp { time, index, .. }, advisory)) = self.state_of(name)? else { continue };
            if advisory.withdrawn {
                continue;
            }
            let of = of.time(Nanos(time)).number(index);
            let rows = self.scope.keyed::<Encoded<AffectedPackage>>(
                &of,
                &of.prefix_end(),
                false,
                Clocks::Known,
                usize::MAX,
            )?;
            let affected: Vec<AffectedPackage> = rows.into_iter().map(|(_, row)| row.value.0).collect();
            if !affected.is_empty() {
                advisories.push(Advised { advisory, affected, time, index });
            }
        }
        Ok(advisories)
    }

    /// The state of an advisory that holds. One that was modified since a moment was known by then if it had been
    /// published: of what it said before its first state that is known, that one tells most.
    fn state_of(&self, name: &str) -> Result<Option<(Stamp, Advisory)>, Error> {
        let states = self.table(ADVISORIES).text(name);
        let one = |until: &Key, newest: bool| self.scope.keyed::<Advisory>(&states, until, newest, Clocks::Known, 1);
        let mut found = one(&states.clone().until(self.scope.at), true)?.pop();
        if let (None, Some(at)) = (&found, self.scope.at) {
            found = one(&states.prefix_end(), false)?.pop().filter(|(_, row)| row.value.published <= at.0);
        }
        let Some((key, row)) = found else { return Ok(None) };
        Ok(Some((stamp_at_end(&key).ok_or_else(unreadable)?, row.value)))
    }

    /// Components of a set that are of a package, or made from it as a source package.
    pub(super) fn components(&self, current: &Current, package: &str) -> Result<Rc<Vec<Arc<Component>>>, Error> {
        once(&self.found, &(current.set, package.to_owned()), || {
            let contents = self.scope.contents(current.set)?;
            let mut found = contents.of_package(self.scope, package)?;
            for other in self.also_named(package)?.iter() {
                found.extend(contents.of_package(self.scope, other)?);
            }
            Ok(Rc::new(found))
        })
    }

    /// Whether one of some SBOMs lists a component, by its very purl.
    pub(super) fn is_held(&self, sboms: &[Current], purl: &str) -> Result<bool, Error> {
        for current in sboms {
            if self.scope.contents(current.set)?.place_of(self.scope, purl)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Keys of packages that are made from this one as a source package, or are parts of it by a subpath.
    pub(super) fn made_from(&self, package: &str) -> Result<BTreeSet<String>, Error> {
        let also = self.also_named(package)?;
        let keys = also.iter().filter_map(|other| Purl::parse(other)).map(|purl| purl.package_key().to_owned());
        Ok(keys.filter(|key| key != package).collect())
    }

    /// Packages whose advisories stand under this one too: made from it as a source package, or spelled otherwise.
    pub(super) fn also_named(&self, package: &str) -> Result<Rc<Vec<String>>, Error> {
        once(&self.also_named, package, || self.scope.packages_beside(package).map(Rc::new))
    }
}

impl Scope {
    /// Packages of components under whose key others look for them too: made from a package, or spelled otherwise.
    pub(crate) fn packages_beside(&self, key: &str) -> Result<Vec<String>, Error> {
        let of = components::rows::table(&self.tenant, KEYS).text(components::rows::clipped(key));
        let rows = self.keyed::<()>(&of, &of.prefix_end(), false, Clocks::Known, usize::MAX)?;
        rows.iter().map(|(key, _)| KeyReader::after(key, &of).text().ok_or_else(unreadable)).collect()
    }

    /// The version of a document that came in with an entry.
    pub(crate) fn issue(&self, document: &DocumentKey, index: u64) -> Result<Option<Issue>, Error> {
        let own = table(&self.tenant, DOCUMENTS).bytes(document).number(index);
        let row = self.keyed::<Issue>(&own, &own.prefix_end(), false, Clocks::Known, 1)?.pop();
        Ok(row.map(|(_, row)| row.value))
    }

    /// The entry with the version of a document that holds. Now, the newest row says which version is the greatest; at a
    /// moment all that were issued by then are compared.
    pub(crate) fn holding_issue(&self, document: &DocumentKey) -> Result<Option<u64>, Error> {
        let of = table(&self.tenant, DOCUMENTS).bytes(document);
        let Some(at) = self.at else {
            return Ok(self.newest_summary::<Issue>(&of)?.map(|newest| newest.greatest.2));
        };
        let rows = self.keyed::<Issue>(&of, &of.prefix_end(), false, Clocks::Known, usize::MAX)?;
        let issued =
            rows.into_iter().map(|(_, row)| (row.value.version, row.value.time, row.stamp.index, row.stamp.ordinal));
        let issued = issued.filter(|(_, time, _, _)| *time <= at.0);
        Ok(issued.max_by(issue_order).map(|(_, _, index, _)| index))
    }

    /// The first package, from one on in the order of keys, that a component is of, or is made from, or that an artifact
    /// is called by.
    pub(crate) fn known_package(&self, from: &str) -> Result<Option<String>, Error> {
        let of = components::rows::table;
        let called = lineage::rows::key(&self.tenant, lineage::rows::table::PURLS);
        let mut first: Option<(Key, String)> = None;
        for table in [of(&self.tenant, PACKAGES), of(&self.tenant, KEYS), called.clone()] {
            let Some(package) = self.text_from(&table, from)? else { continue };
            // Keys have an order of their own.
            let place = called.clone().text(&package);
            if first.as_ref().is_none_or(|(known, _)| place < *known) {
                first = Some((place, package));
            }
        }
        Ok(first.map(|(_, package)| package))
    }

    /// The first text that follows a beginning in keys, from one on in their order; an empty one is before all.
    fn text_from(&self, prefix: &Key, from: &str) -> Result<Option<String>, Error> {
        self.text_at(prefix, &if from.is_empty() { prefix.clone() } else { prefix.clone().text(from) })
    }

    /// The first text that follows a beginning in keys, from a key on, by one seek.
    fn text_at(&self, prefix: &Key, from: &Key) -> Result<Option<String>, Error> {
        let Some(key) = self.next_key(from, &prefix.prefix_end(), Clocks::Known)? else { return Ok(None) };
        KeyReader::after(&key, prefix).text().ok_or_else(unreadable).map(Some)
    }

    /// At most so many texts that follow a beginning in keys, each once, by one seek each.
    pub(crate) fn texts_under(&self, prefix: &Key, limit: usize) -> Result<Vec<String>, Error> {
        self.texts_after(prefix, "", limit)
    }

    /// The same, after one of them.
    pub(crate) fn texts_after(&self, prefix: &Key, after: &str, limit: usize) -> Result<Vec<String>, Error> {
        let (mut from, mut texts) = (prefix.after_text(after), Vec::new());
        while texts.len() < limit
            && let Some(text) = self.text_at(prefix, &from)?
        {
            from = prefix.clone().text(&text).prefix_end();
            texts.push(text);
        }
        Ok(texts)
    }
}
