//! What a vulnerability is called: its aliases are one vulnerability, but two CVEs never merge (SPEC §5).

use std::collections::BTreeSet;

use crate::ask::scope::{Clocks, Scope};
use crate::error::Error;
use crate::facts::findings::rows::{ALIASES, NAMES, key_name, table, unreadable};
use crate::store::key::{Key, KeyReader};

/// Names of one vulnerability that are read at once; most have fewer.
const FEW_NAMES: usize = 16;
/// How names of CVEs begin in keys.
const CVE: &str = "CVE-";

/// A vulnerability with all of its names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Vulnerability {
    /// The CVE, else the smallest id.
    pub(crate) name: String,
    /// Its other names, in order.
    pub(crate) aliases: Vec<String>,
    /// All of them as keys have them.
    pub(crate) keys: BTreeSet<String>,
}

impl Scope {
    /// All names of the vulnerability that an id names. An id that two CVEs share counts for both: asked by it, the
    /// smaller CVE is meant. Aliases follow `asOf` only. Reads a row for each pair of names.
    pub(crate) fn vulnerability(&self, id: &str) -> Result<Vulnerability, Error> {
        let asked = key_name(id);
        let mut keys = self.joined_names(&asked)?;
        if !is_cve(&asked)
            && let Some(cve) = keys.iter().find(|key| is_cve(key)).cloned()
        {
            keys = self.joined_names(&cve)?;
        }
        let mut shown = keys.iter().map(|key| self.shown_name(key)).collect::<Result<Vec<_>, _>>()?;
        let first = keys.iter().position(|key| is_cve(key)).unwrap_or(0);
        let name = if shown.is_empty() { id.trim().to_owned() } else { shown.remove(first) };
        Ok(Vulnerability { name, aliases: shown, keys })
    }

    /// Names of vulnerabilities with all names that are joined to them. What a CVE is joined to may be joined to another
    /// one, so each of the names is looked at itself.
    pub(crate) fn with_joined_names(&self, names: BTreeSet<String>) -> Result<BTreeSet<String>, Error> {
        let mut joined = BTreeSet::new();
        for name in names {
            joined.extend(self.joined_names(&name)?);
        }
        Ok(joined)
    }

    /// Names that are joined to one, through names that are no CVE: its own CVEs are met and not passed. For a CVE others
    /// are not read: an id may be joined to very many.
    pub(crate) fn joined_names(&self, start: &str) -> Result<BTreeSet<String>, Error> {
        let mut found = BTreeSet::from([start.to_owned()]);
        let mut todo = vec![start.to_owned()];
        while let Some(name) = todo.pop() {
            for other in self.aliases_beside(&name, is_cve(start))? {
                if found.insert(other.clone()) && !is_cve(&other) {
                    todo.push(other);
                }
            }
        }
        Ok(found)
    }

    /// Names that are joined to one directly, without CVEs where a CVE asks.
    fn aliases_beside(&self, name: &str, of_cve: bool) -> Result<Vec<String>, Error> {
        let prefix = table(&self.tenant, ALIASES).text(name);
        let (cves, end) = (prefix.clone().text_prefix(CVE), prefix.prefix_end());
        let read = |from: &Key, to: &Key, limit: usize| {
            let rows = self.keyed::<()>(from, to, false, Clocks::Known, limit)?;
            let others = rows.iter().map(|(key, _)| KeyReader::after(key, &prefix).text().ok_or_else(unreadable));
            others.collect::<Result<Vec<_>, Error>>()
        };
        let mut all = read(&prefix, &end, FEW_NAMES)?;
        if all.len() == FEW_NAMES {
            all = match of_cve {
                true => [read(&prefix, &cves, usize::MAX)?, read(&cves.prefix_end(), &end, usize::MAX)?].concat(),
                false => read(&prefix, &end, usize::MAX)?,
            };
        }
        all.retain(|other| !(of_cve && is_cve(other)));
        Ok(all)
    }

    fn shown_name(&self, key: &str) -> Result<String, Error> {
        let known = self.get::<String>(&table(&self.tenant, NAMES).text(key), Clocks::Known)?;
        let known = known.map(|row| row.value).filter(|_| !is_cve(key));
        Ok(known.unwrap_or_else(|| key.to_owned()))
    }
}

/// Whether a name in keys is that of a CVE.
pub(crate) fn is_cve(key: &str) -> bool {
    key.starts_with(CVE)
}
