//! What of artifacts statements and findings are held against. Whoever asks about several vulnerabilities reads it once.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use pedigraph_proto::event::PolicyPublished;

use super::names::Names;
use crate::ask::contents::Current;
use crate::ask::identity::{Graph, stamp_at_end};
use crate::ask::kept::{Kept, once_of};
use crate::ask::scope::{Clocks, Scope};
use crate::error::Error;
use crate::facts::findings::rows::{OWN, POLICIES, SCANS, table, unreadable};
use crate::rows::encoded::Encoded;
use crate::store::key::KeyReader;

/// What a purl of an artifact itself says, beside its package: version, repository.
pub(super) type OwnPurl = (String, String, String);

/// A scan: time, index, ordinal, and the digest that it names.
pub(crate) type ScanAt = (i64, u64, u32, String);

/// Artifacts of which this is kept. Of more, it is read again.
const SUBJECTS_KEPT_MAX: usize = 256;

/// Artifacts that a question looks at, and who speaks of them.
pub(crate) struct Subjects<'a> {
    pub(super) scope: &'a Scope,
    pub(super) graph: Graph<'a>,
    pub(crate) names: Names<'a>,
    policy: OnceCell<PolicyPublished>,
    known: Kept<String, Rc<Subject>>,
}

/// What of an artifact statements are held against.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) canonical: String,
    pub(super) digests: Vec<String>,
    /// Digests of the indexes above it, each with its canonical one.
    pub(super) above: BTreeMap<String, String>,
    /// What it is called by purl, and what the indexes above it are: what is said of an index holds for its manifests.
    pub(super) own: Vec<OwnPurl>,
    pub(super) current: Vec<Current>,
    /// The newest scan of each scanner and target.
    pub(super) scans: Vec<((String, String), ScanAt)>,
}

impl<'a> Subjects<'a> {
    pub(crate) fn new(scope: &'a Scope) -> Subjects<'a> {
        let (graph, names) = (Graph::new(scope), Names::new(scope));
        Subjects { scope, graph, names, policy: OnceCell::new(), known: Kept::default() }
    }

    /// The newest roles of issuers below the bound, whatever `at` is.
    pub(super) fn policy(&self) -> Result<&PolicyPublished, Error> {
        if let Some(known) = self.policy.get() {
            return Ok(known);
        }
        let newest = self.scope.newest_summary::<Encoded<PolicyPublished>>(&table(&self.scope.tenant, POLICIES))?;
        Ok(self.policy.get_or_init(|| newest.unwrap_or_default().0))
    }

    /// An artifact by its canonical digest.
    pub(super) fn of(&self, digest: &str) -> Result<Rc<Subject>, Error> {
        once_of(SUBJECTS_KEPT_MAX, &self.known, digest, || self.read(digest).map(Rc::new))
    }

    fn read(&self, digest: &str) -> Result<Subject, Error> {
        let digests = self.scope.aliases_of(digest)?;
        let mut above = BTreeMap::new();
        for member in self.graph.above(digest)?.digests() {
            let aliases = self.scope.aliases_of(member)?;
            above.extend(aliases.into_iter().map(|alias| (alias, member.clone())));
        }
        let named: Vec<String> = digests.iter().chain(above.keys()).cloned().collect();
        Ok(Subject {
            canonical: digest.to_owned(),
            own: self.scope.own_purls(&named)?,
            current: self.scope.current_sboms(digest)?,
            scans: self.scope.newest_scans(&digests)?.into_iter().collect(),
            digests,
            above,
        })
    }
}

impl Scope {
    /// The newest scan of each (scanner, target) of an artifact by all of its digests: two seeks each.
    pub(crate) fn newest_scans(&self, digests: &[String]) -> Result<BTreeMap<(String, String), ScanAt>, Error> {
        let mut newest: BTreeMap<(String, String), ScanAt> = BTreeMap::new();
        for digest in digests {
            let of = table(&self.tenant, SCANS).text(digest);
            let (mut from, end) = (of.clone(), of.prefix_end());
            while let Some(key) = self.next_key(&from, &end, Clocks::Known)? {
                let mut reader = KeyReader::after(&key, &of);
                let (scanner, part) = reader.text().zip(reader.text()).ok_or_else(unreadable)?;
                let of_it = of.clone().text(&scanner).text(&part);
                from = of_it.prefix_end();
                let until = of_it.clone().until(self.at);
                let Some((key, row)) = self.keyed::<()>(&of_it, &until, true, Clocks::Known, 1)?.pop() else {
                    continue;
                };
                let time = stamp_at_end(&key).ok_or_else(unreadable)?.time;
                let scan = (time, row.stamp.index, row.stamp.ordinal, digest.clone());
                let known = newest.entry((scanner, part)).or_insert_with(|| scan.clone());
                *known = scan.max(known.clone());
            }
        }
        Ok(newest)
    }

    /// What an artifact is called by purl, by any of its digests.
    pub(super) fn own_purls(&self, digests: &[String]) -> Result<Vec<OwnPurl>, Error> {
        let mut own = BTreeSet::new();
        for digest in digests {
            let of = table(&self.tenant, OWN).text(digest);
            for (key, _) in self.keyed::<()>(&of, &of.prefix_end(), false, Clocks::Known, usize::MAX)? {
                let mut reader = KeyReader::after(&key, &of);
                let mut text = || reader.text().ok_or_else(unreadable);
                own.insert((text()?, text()?, text()?));
            }
        }
        Ok(own.into_iter().collect())
    }

    /// The packages of these purls.
    pub(super) fn own_packages(&self, digests: &[String]) -> Result<BTreeSet<String>, Error> {
        Ok(self.own_purls(digests)?.into_iter().map(|(package, _, _)| package).collect())
    }
}
