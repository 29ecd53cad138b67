//! What of artifacts statements and findings are held against. Whoever asks about several vulnerabilities reads it once.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use pedigraph_proto::event::PolicyPublished;

use super::said::{OwnPurl, ScanAt};
use crate::ask::contents::Current;
use crate::ask::identity::Graph;
use crate::ask::kept::{Kept, once};
use crate::ask::scope::Scope;
use crate::error::Error;
use crate::facts::findings::rows::{POLICIES, table};
use crate::rows::encoded::Encoded;

/// Artifacts of which this is kept. Of more, it is read again.
const SUBJECTS_KEPT_MAX: usize = 256;

/// Artifacts that a question looks at, and who speaks of them.
pub(crate) struct Subjects<'a> {
    pub(super) scope: &'a Scope,
    pub(super) graph: Graph<'a>,
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
        Subjects { scope, graph: Graph::new(scope), policy: OnceCell::new(), known: Kept::default() }
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
        if self.known.lock().len() >= SUBJECTS_KEPT_MAX {
            self.known.lock().clear();
        }
        once(&self.known, digest, || self.read(digest).map(Rc::new))
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
