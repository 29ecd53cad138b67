//! What a vulnerability is called: its aliases are one vulnerability, but two CVEs never merge (SPEC §5).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use pedigraph_proto::Nanos;

use crate::ask::identity::stamp_at_end;
use crate::ask::kept::{Kept, once};
use crate::ask::scope::{Clocks, Scope};
use crate::error::Error;
use crate::facts::findings::rows::{
    ADVISORIES, ALIASES, Advisory, NAMES, STATE_ALIASES, alias, key_name, table, unreadable,
};
use crate::rows::stamp::Stamp;
use crate::store::key::{Key, KeyReader};

/// Names of one vulnerability that are read at once; most have fewer.
pub(crate) const FEW_NAMES: usize = 16;
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
    /// All names of the vulnerability that an id names: as [`Names::of`].
    pub(crate) fn vulnerability(&self, id: &str) -> Result<Vulnerability, Error> {
        Names::new(self).of(id)
    }

    /// Whether anybody names a vulnerability so, as a name in keys.
    pub(crate) fn names_vulnerability(&self, name: &str) -> Result<bool, Error> {
        Ok(self.get::<String>(&table(&self.tenant, NAMES).text(name), Clocks::Both)?.is_some())
    }

    /// As [`Names::with_joined`].
    pub(crate) fn with_joined_names(&self, names: BTreeSet<String>) -> Result<BTreeSet<String>, Error> {
        Names::new(self).with_joined(names)
    }

    /// Names that are joined to one, through names that are no CVE.
    pub(crate) fn joined_names(&self, start: &str) -> Result<BTreeSet<String>, Error> {
        Names::new(self).joined(start)
    }

    /// Names that somebody at any time joined to one directly, each with who says so.
    fn aliases_beside(&self, name: &str, beside: Beside) -> Result<Vec<(String, u8)>, Error> {
        let prefix = table(&self.tenant, ALIASES).text(name);
        let (cves, end) = (prefix.clone().text_prefix(CVE), prefix.prefix_end());
        let read = |from: &Key, to: &Key, limit: usize| {
            let rows = self.keyed::<()>(from, to, false, Clocks::Known, limit)?;
            let other = |key: &[u8]| {
                let mut reader = KeyReader::after(key, &prefix);
                reader.text().zip(reader.byte())
            };
            rows.iter().map(|(key, _)| other(key).ok_or_else(unreadable)).collect::<Result<Vec<_>, Error>>()
        };
        let few = read(&prefix, &end, FEW_NAMES)?;
        if few.len() < FEW_NAMES {
            return Ok(few.into_iter().filter(|(other, _)| is_cve(other) == (beside == Beside::Cves)).collect());
        }
        let after = cves.prefix_end();
        match beside {
            Beside::Cves => read(&cves, &after, usize::MAX),
            Beside::Others => Ok([read(&prefix, &cves, usize::MAX)?, read(&after, &end, usize::MAX)?].concat()),
        }
    }

    /// Where the aliases stand of the state of an advisory that holds: the one with the greatest `modified` that is known.
    /// Names follow `asOf` only. A state that withdraws the advisory says too what it was called, and what it hit until
    /// then is found by that.
    fn held_state(&self, advisory: &str) -> Result<Option<Key>, Error> {
        let states = table(&self.tenant, ADVISORIES).text(advisory);
        let newest = self.keyed::<Advisory>(&states, &states.prefix_end(), true, Clocks::Known, 1)?.pop();
        let Some((key, _)) = newest else { return Ok(None) };
        let Stamp { time, index, ordinal } = stamp_at_end(&key).ok_or_else(unreadable)?;
        Ok(Some(table(&self.tenant, STATE_ALIASES).text(advisory).time(Nanos(time)).number(index).ordinal(ordinal)))
    }

    fn shown_name(&self, key: &str) -> Result<String, Error> {
        let known = self.get::<String>(&table(&self.tenant, NAMES).text(key), Clocks::Known)?;
        let known = known.map(|row| row.value).filter(|_| !is_cve(key));
        Ok(known.unwrap_or_else(|| key.to_owned()))
    }
}

/// What vulnerabilities are called, for a question about several: each name is read once, however many share it.
pub(crate) struct Names<'a> {
    scope: &'a Scope,
    /// By each of them, names that are no CVE and are joined to each other.
    joined: Kept<String, Rc<BTreeSet<String>>>,
    /// CVEs beside these, by the first of them.
    cves: Kept<String, Rc<BTreeSet<String>>>,
    shown: Kept<String, String>,
    /// By advisory, where the aliases of the state that holds stand.
    states: Kept<String, Option<Rc<Key>>>,
}

impl<'a> Names<'a> {
    pub(crate) fn new(scope: &'a Scope) -> Names<'a> {
        let (joined, cves, shown) = (Kept::default(), Kept::default(), Kept::default());
        Names { scope, joined, cves, shown, states: Kept::default() }
    }

    /// All names of the vulnerability that an id names. An id that two CVEs share counts for both: asked by it, the
    /// smaller CVE is meant. Aliases follow `asOf` only. Reads a row for each pair of names, once.
    pub(crate) fn of(&self, id: &str) -> Result<Vulnerability, Error> {
        let asked = key_name(id);
        let cve = if is_cve(&asked) { None } else { self.cves_of(&asked)?.first().cloned() };
        let keys = self.joined(cve.as_ref().unwrap_or(&asked))?;
        let shown = |key: &String| once(&self.shown, key.as_str(), || self.scope.shown_name(key));
        let mut shown = keys.iter().map(shown).collect::<Result<Vec<_>, _>>()?;
        let first = keys.iter().position(|key| is_cve(key)).unwrap_or(0);
        let name = if shown.is_empty() { id.trim().to_owned() } else { shown.remove(first) };
        Ok(Vulnerability { name, aliases: shown, keys })
    }

    /// Names of vulnerabilities with all names that are joined to them. What a CVE is joined to may be joined to another
    /// one, so each of the names is looked at itself.
    pub(crate) fn with_joined(&self, names: BTreeSet<String>) -> Result<BTreeSet<String>, Error> {
        let mut joined = BTreeSet::new();
        for name in names {
            joined.extend(self.joined(&name)?);
        }
        Ok(joined)
    }

    /// Names that are joined to one, through names that are no CVE: its own CVEs are met and not passed. For a CVE others
    /// are not read: an id may be joined to very many.
    fn joined(&self, start: &str) -> Result<BTreeSet<String>, Error> {
        if !is_cve(start) {
            return Ok(self.others(start)?.union(&*self.cves_of(start)?).cloned().collect());
        }
        let mut all = BTreeSet::from([start.to_owned()]);
        for name in self.beside(start, Beside::Others)? {
            if !all.contains(&name) {
                all.extend(self.others(&name)?.iter().cloned());
            }
        }
        Ok(all)
    }

    /// CVEs beside a name that is none, and beside those that are joined to it.
    fn cves_of(&self, start: &str) -> Result<Rc<BTreeSet<String>>, Error> {
        let others = self.others(start)?;
        once(&self.cves, others.first().map_or(start, String::as_str), || {
            let mut cves = BTreeSet::new();
            for name in others.iter() {
                cves.extend(self.beside(name, Beside::Cves)?);
            }
            Ok(Rc::new(cves))
        })
    }

    /// Names that are no CVE and are joined to one that is none, with it.
    fn others(&self, start: &str) -> Result<Rc<BTreeSet<String>>, Error> {
        if let Some(known) = self.joined.lock().get(start) {
            return Ok(known.clone());
        }
        let mut found = BTreeSet::from([start.to_owned()]);
        let mut todo = vec![start.to_owned()];
        while let Some(name) = todo.pop() {
            for other in self.beside(&name, Beside::Others)? {
                if found.insert(other.clone()) {
                    todo.push(other);
                }
            }
        }
        let found = Rc::new(found);
        self.joined.lock().extend(found.iter().map(|name| (name.clone(), found.clone())));
        Ok(found)
    }

    /// Names that are joined to one directly. What an advisory says counts while the state of it that says so holds.
    fn beside(&self, name: &str, beside: Beside) -> Result<BTreeSet<String>, Error> {
        let mut told: BTreeMap<String, BTreeSet<u8>> = BTreeMap::new();
        for (other, by) in self.scope.aliases_beside(name, beside)? {
            told.entry(other).or_default().insert(by);
        }
        let mut found = BTreeSet::new();
        for (other, by) in told {
            let has = |kind: u8| by.contains(&kind);
            let is_joined = has(alias::SAID)
                || has(alias::BY_FIRST) && (!has(alias::UNSURE_BY_FIRST) || self.says(name, &other)?)
                || has(alias::BY_SECOND) && (!has(alias::UNSURE_BY_SECOND) || self.says(&other, name)?);
            if is_joined {
                found.insert(other);
            }
        }
        Ok(found)
    }

    /// Whether an advisory, in the state that holds, says that it is also called so.
    fn says(&self, advisory: &str, other: &str) -> Result<bool, Error> {
        let state = once(&self.states, advisory, || Ok(self.scope.held_state(advisory)?.map(Rc::new)))?;
        let Some(state) = state else { return Ok(false) };
        Ok(self.scope.get::<()>(&(*state).clone().text(other), Clocks::Known)?.is_some())
    }
}

/// Which of the names beside one are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Cves,
    Others,
}

/// Whether a name in keys is that of a CVE.
pub(crate) fn is_cve(key: &str) -> bool {
    key.starts_with(CVE)
}
