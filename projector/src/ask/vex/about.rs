//! Which vulnerabilities anybody names with an artifact, or with packages.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};

use pedigraph_proto::advisory::packages_of;

use crate::ask::identity::Graph;
use crate::ask::scope::{Clocks, Scope};
use crate::error::Error;
use crate::facts::components::rows::clipped;
use crate::facts::findings::rows::{ABOUT, table, target, unreadable};
use crate::store::key::{Key, KeyReader};

impl Scope {
    /// Names of vulnerabilities that anybody names with an artifact itself, by any of its digests, those of the indexes
    /// above it, of the manifests under it and the indexes above these, or its own purls: one row each.
    pub(crate) fn vulnerabilities_of(&self, digest: &str) -> Result<BTreeSet<String>, Error> {
        let graph = Graph::new(self);
        let mut digests: BTreeSet<String> = BTreeSet::new();
        let below = graph.below(digest)?;
        // What is said of an index above a part of it holds for that part.
        let parts: Vec<&str> = below.digests().map(String::as_str).chain([digest]).collect();
        for part in parts {
            digests.extend(self.aliases_of(part)?);
            for above in graph.above(part)?.digests() {
                if !digests.contains(above) {
                    digests.extend(self.aliases_of(above)?);
                }
            }
        }
        let mut names = BTreeSet::new();
        for digest in &digests {
            for kind in [target::DIGEST, target::FINDING] {
                self.names_under(&table(&self.tenant, ABOUT).byte(kind).text(digest), &mut names)?;
            }
        }
        let packages: BTreeSet<String> = self.own_packages(&digests.into_iter().collect::<Vec<_>>())?;
        names.extend(self.vulnerabilities_of_packages(&packages)?);
        Ok(names)
    }

    /// As [`Scope::vulnerabilities_of`], with those that anybody names with a package in its current SBOMs.
    pub(crate) fn vulnerabilities_in(&self, digest: &str) -> Result<BTreeSet<String>, Error> {
        let mut packages = BTreeSet::new();
        for part in self.parts_of(digest)? {
            for current in self.current_sboms(&part)? {
                for known in self.contents(current.set)?.all(self)? {
                    packages.extend(known.parsed().into_iter().flat_map(packages_of));
                }
            }
        }
        let mut names = self.vulnerabilities_of(digest)?;
        names.extend(self.vulnerabilities_of_packages(&packages)?);
        Ok(names)
    }

    /// Names of vulnerabilities that anybody names with packages. It goes from one package that both have to the next:
    /// seeks for as many as the fewer of the two, and a row for each name.
    pub(crate) fn vulnerabilities_of_packages(&self, packages: &BTreeSet<String>) -> Result<BTreeSet<String>, Error> {
        let clipped: BTreeSet<&str> = packages.iter().map(|package| clipped(package)).collect();
        let mut names = BTreeSet::new();
        for kind in [target::PACKAGE, target::ADVISORY] {
            let of = table(&self.tenant, ABOUT).byte(kind);
            let end = of.prefix_end();
            let mut next = clipped.first().copied();
            while let Some(package) = next {
                let Some(key) = self.next_key(&of.clone().text(package), &end, Clocks::Known)? else { break };
                let found = KeyReader::after(&key, &of).text().ok_or_else(unreadable)?;
                if clipped.contains(found.as_str()) {
                    self.names_under(&of.clone().text(&found), &mut names)?;
                }
                next = clipped.range::<str, _>((Excluded(found.as_str()), Unbounded)).next().copied();
            }
        }
        Ok(names)
    }

    fn names_under(&self, of: &Key, names: &mut BTreeSet<String>) -> Result<(), Error> {
        for (key, _) in self.keyed::<()>(of, &of.prefix_end(), false, Clocks::Known, usize::MAX)? {
            names.insert(KeyReader::after(&key, of).text().ok_or_else(unreadable)?);
        }
        Ok(())
    }
}
