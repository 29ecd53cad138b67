//! Where a vulnerability may be: components that some statement or advisory names, and artifacts that are named
//! themselves. It may say too much and never too little: each verdict is computed from what is said.

use std::cell::Cell;
use std::collections::BTreeSet;

use pedigraph_proto::Purl;
use pedigraph_proto::advisory::{Covers, source_of};

use super::heard::covers;
use super::said::Case;
use crate::ask::scope::{Clocks, Scope};
use crate::error::Error;
use crate::facts::components::rows::clipped;
use crate::facts::findings::rows::{product_keys, said_of, target, unreadable};
use crate::facts::lineage;
use crate::store::key::KeyReader;

/// Where a vulnerability may be.
#[derive(Default)]
pub(crate) struct Candidates {
    /// Numbers of components.
    pub(crate) components: BTreeSet<u32>,
    /// There may be more than were looked for: the counts of who lists them are lower bounds.
    pub(crate) cut: bool,
    /// Canonical digests of artifacts that are named by digest or purl, or are under an index that is.
    pub(crate) named: BTreeSet<String>,
    /// Whether of anything that may be hit it cannot be told: somebody makes a statement, which may clear a part alone,
    /// or a version cannot be compared.
    pub(crate) may_be_unclear: bool,
}

impl Candidates {
    /// Others too.
    pub(crate) fn add(&mut self, others: Candidates) {
        self.components.extend(others.components);
        self.named.extend(others.named);
        self.cut |= others.cut;
        self.may_be_unclear |= others.may_be_unclear;
    }

    /// Whether to look for more, which a quarter of a question's budget is for.
    fn goes_on(&mut self, scope: &Scope) -> bool {
        let spent = scope.meter.is_quarter_spent();
        self.tell_cut(spent);
        !spent
    }

    /// Of what is not looked for nothing is said, and so nothing is called safe.
    fn tell_cut(&mut self, cut: bool) {
        self.cut |= cut;
        self.may_be_unclear |= cut;
    }
}

impl Case<'_> {
    /// It costs rows by the digests that are named with the vulnerability, by the packages that are named with it or by
    /// those that are known at all, whichever are fewer, by the versions of those that are both, and by the artifacts
    /// that are called by such a purl.
    pub(crate) fn candidates(&self) -> Result<Candidates, Error> {
        let mut found = Candidates::default();
        self.advised_on(&mut found)?;
        for kind in [target::DIGEST, target::FINDING] {
            self.named_by_digest(kind, &mut found)?;
        }
        let (packages, cut) = self.packages_known(target::PACKAGE)?;
        found.tell_cut(cut);
        for package in &packages {
            if !found.goes_on(self.scope) {
                break;
            }
            found.may_be_unclear = true;
            let versions = self.versions_named(package)?;
            let is_named = |version: &str| versions.contains("") || versions.contains(clipped(version));
            self.named_by(package, is_named, &mut found)?;
        }
        Ok(found)
    }

    fn named_by_digest(&self, kind: u8, found: &mut Candidates) -> Result<(), Error> {
        for name in &self.vulnerability().keys {
            let mut after = String::new();
            while found.goes_on(self.scope)
                && let Some(digest) = self.target_after(name, kind, &after)?
            {
                found.may_be_unclear |= kind == target::DIGEST;
                self.subjects.graph.add_whole(&digest, &mut found.named)?;
                after = digest;
            }
        }
        Ok(())
    }

    /// What a statement on a purl may be about.
    pub(crate) fn stated_on(&self, purl: &Purl, found: &mut Candidates) -> Result<(), Error> {
        for (package, version) in product_keys(purl) {
            self.named_by(&package, |named| version.is_empty() || clipped(named) == version, found)?;
        }
        Ok(())
    }

    /// What the advisories in the state that holds may concern.
    pub(crate) fn advised_on(&self, found: &mut Candidates) -> Result<(), Error> {
        let unclear = Cell::new(false);
        let (packages, cut) = self.packages_known(target::ADVISORY)?;
        found.tell_cut(cut);
        for package in &packages {
            if !found.goes_on(self.scope) {
                break;
            }
            let advisories = self.advisories(package)?;
            let concerns = |purl: &Purl| {
                advisories.iter().map(|advised| covers(&advised.affected, purl)).fold(false, |is_hit, covers| {
                    unclear.set(unclear.get() || matches!(covers, Covers::Unknown(_)));
                    is_hit || !matches!(covers, Covers::Out)
                })
            };
            for known_as in [package].into_iter().chain(&self.made_from(package)?) {
                self.components_of(known_as, found, concerns)?;
            }
            let called = Purl::parse(package);
            for (version, digest) in self.scope.artifacts_called(package)? {
                let is_it =
                    called.as_ref().and_then(|purl| purl.with_version(&version)).is_some_and(|own| concerns(&own));
                if is_it {
                    self.subjects.graph.add_whole(&digest, &mut found.named)?;
                }
            }
        }
        found.may_be_unclear |= unclear.get();
        Ok(())
    }

    /// Components and artifacts of a package and of some versions.
    fn named_by(&self, package: &str, is_named: impl Fn(&str) -> bool, found: &mut Candidates) -> Result<(), Error> {
        self.components_of(package, found, |purl| is_named(purl.version_key()))?;
        // A source package is whatever is built from it.
        for built in &self.made_from(package)? {
            let of_source = |purl: &Purl| source_of(purl).is_some_and(|(_, of)| is_named(purl.version_key_of(&of)));
            self.components_of(built, found, of_source)?;
        }
        for (version, digest) in self.scope.artifacts_called(package)? {
            // A statement with a version may be on an artifact of which only the package is known.
            if version.is_empty() || is_named(&version) {
                self.subjects.graph.add_whole(&digest, &mut found.named)?;
            }
        }
        Ok(())
    }

    /// Versions that statements on a package name; nothing for statements on all of them.
    fn versions_named(&self, package: &str) -> Result<BTreeSet<String>, Error> {
        let mut versions = BTreeSet::new();
        for name in &self.vulnerability().keys {
            let of = said_of(&self.scope.tenant, name, target::PACKAGE, package);
            versions.extend(self.scope.texts_under(&of, usize::MAX)?);
        }
        Ok(versions)
    }

    fn components_of(
        &self,
        package: &str,
        found: &mut Candidates,
        is_named: impl Fn(&Purl) -> bool,
    ) -> Result<(), Error> {
        let Some(purl) = Purl::parse(package) else { return Ok(()) };
        let (numbers, of_more) = self.scope.matching(&purl, None)?;
        found.cut |= of_more;
        for number in numbers {
            if self.scope.known(number)?.parsed().is_some_and(&is_named) {
                found.components.insert(number);
            }
        }
        Ok(())
    }
}

impl Scope {
    /// (version, digest) of artifacts that are called by a purl of a package.
    pub(crate) fn artifacts_called(&self, package: &str) -> Result<Vec<(String, String)>, Error> {
        let of = lineage::rows::key(&self.tenant, lineage::rows::table::PURLS).text(package);
        let rows = self.keyed::<()>(&of, &of.prefix_end(), false, Clocks::Known, usize::MAX)?;
        let read = |key: &[u8]| {
            let mut reader = KeyReader::after(key, &of);
            reader.text().zip(reader.text())
        };
        rows.iter().map(|(key, _)| read(key).ok_or_else(unreadable)).collect()
    }
}
