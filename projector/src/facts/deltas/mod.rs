//! Verdicts and deltas as they are kept: what holds below some (index, ordinal). What writes them and what asks them
//! read them the same way.

pub(crate) mod rows;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use pedigraph_proto::TenantId;
use serde::de::DeserializeOwned;

use self::rows::{
    Badge, Change, Delta, LOOKED_INTO, Standing, Tally, badges, changed, changed_deltas, deltas, differing, judged,
    standings, tallies,
};
use super::newest_below;
use crate::error::Error;
use crate::rows::Rows;
use crate::rows::stamp::Stamped;
use crate::store::key::{Key, KeyReader};
use crate::store::{Row, Store};

/// Some vulnerabilities of a longer list, by name, and where it goes on.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) names: BTreeSet<String>,
    /// There is more after this one.
    pub(crate) until: Option<String>,
}

/// What holds of each of some vulnerabilities, by name, and where it goes on.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) held: BTreeMap<String, T>,
    /// There is more after this one.
    pub(crate) until: Option<String>,
}

impl<T: Copy + Default> Page<T> {
    /// What holds of one of them, or of one of which nothing is kept.
    pub(crate) fn of(&self, name: &str) -> T {
        self.held.get(name).copied().unwrap_or_default()
    }

    /// Which they are.
    pub(crate) fn names(&self) -> Names {
        Names { names: self.held.keys().cloned().collect(), until: self.until.clone() }
    }
}

/// Rows that are read at once where what holds of each of several is one row or a few.
const ROWS_AT_ONCE: usize = 64;
/// Changes of one verdict among which a break is looked for.
const CHANGES_LOOKED_THROUGH_MAX: usize = 64;

/// (artifact, vulnerability).
pub(crate) type Judged = (String, String);
/// (from, to, vulnerability).
pub(crate) type Edge = (String, String, String);

/// Verdicts and deltas as they are below some (index, ordinal), with what one step makes of them.
pub(crate) struct Deltas<'a> {
    store: &'a dyn Store,
    tenant: &'a TenantId,
    below: (u64, u32),
    made: RefCell<Made>,
}

/// What a step makes of them: what is put once, and what holds from then on.
#[derive(Default)]
struct Made {
    standings: BTreeMap<Judged, Change>,
    deltas: BTreeMap<Edge, Delta>,
    badges: BTreeMap<String, Badge>,
    tallies: BTreeMap<String, Tally>,
}

impl<'a> Deltas<'a> {
    /// As they are known below an index, or before a step: below its (index, ordinal).
    pub(crate) fn below(store: &'a dyn Store, tenant: &'a TenantId, below: (u64, u32)) -> Deltas<'a> {
        Deltas { store, tenant, below, made: RefCell::default() }
    }

    fn newest<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, Error> {
        Ok(newest_below(self.store, key, self.below)?.map(|row| row.value))
    }

    /// What an artifact's verdict is.
    pub(crate) fn standing(&self, digest: &str, name: &str) -> Result<Standing, Error> {
        if let Some(change) = self.made.borrow().standings.get(&(digest.to_owned(), name.to_owned())) {
            return Ok(change.new);
        }
        Ok(self.newest(&standings(self.tenant, digest).text(name))?.unwrap_or_default())
    }

    /// What an artifact's verdict is, if there is one, and the entry since which it is.
    pub(crate) fn standing_since(&self, digest: &str, name: &str) -> Result<Option<(Standing, u64)>, Error> {
        let key = standings(self.tenant, digest).text(name);
        let row = newest_below::<Standing>(self.store, &key, self.below)?;
        Ok(row.filter(|row| row.value != Standing::None).map(|row| (row.value, row.stamp.index)))
    }

    /// The entry since which an artifact's verdict is open, or since which it is cleared, without a break; `None` where
    /// there is none, or where more changed than is looked through.
    pub(crate) fn held_since(&self, digest: &str, name: &str) -> Result<Option<u64>, Error> {
        let key = standings(self.tenant, digest).text(name);
        let end = key.clone().since(self.below);
        let rows = self.store.scan(key.as_bytes(), end.as_bytes(), true, CHANGES_LOOKED_THROUGH_MAX)?;
        let all = rows.len() < CHANGES_LOOKED_THROUGH_MAX;
        let (mut since, mut ended, mut held) = (None, false, Standing::None);
        for (_, bytes) in rows {
            let row = Stamped::<Standing>::decode(&bytes)?;
            held = if since.is_none() { row.value } else { held };
            ended = row.value == Standing::None || row.value.is_open() != held.is_open();
            if ended {
                break;
            }
            since = Some(row.stamp.index);
        }
        Ok(since.filter(|_| ended || all))
    }

    /// What differs along an edge.
    pub(crate) fn delta(&self, from: &str, to: &str, name: &str) -> Result<Delta, Error> {
        let edge = (from.to_owned(), to.to_owned(), name.to_owned());
        if let Some(delta) = self.made.borrow().deltas.get(&edge) {
            return Ok(*delta);
        }
        Ok(self.newest(&deltas(self.tenant, from, to).text(name))?.unwrap_or_default())
    }

    /// What differs along an edge, and the entry since which it does.
    pub(crate) fn delta_since(&self, from: &str, to: &str, name: &str) -> Result<Option<(Delta, u64)>, Error> {
        let key = deltas(self.tenant, from, to).text(name);
        let row = newest_below::<Delta>(self.store, &key, self.below)?;
        Ok(row.filter(|row| row.value.is_any()).map(|row| (row.value, row.stamp.index)))
    }

    /// How an artifact compares with its parents.
    pub(crate) fn badge(&self, digest: &str) -> Result<Badge, Error> {
        if let Some(badge) = self.made.borrow().badges.get(digest) {
            return Ok(*badge);
        }
        Ok(self.newest(&badges(self.tenant, digest))?.unwrap_or_default())
    }

    /// How many verdicts on an artifact say what.
    pub(crate) fn tally(&self, digest: &str) -> Result<Tally, Error> {
        if let Some(tally) = self.made.borrow().tallies.get(digest) {
            return Ok(*tally);
        }
        Ok(self.newest(&tallies(self.tenant, digest))?.unwrap_or_default())
    }

    /// Vulnerabilities of which an artifact ever had a verdict, after one, about `limit`: one seek each.
    pub(crate) fn judged_of(&self, digest: &str, after: &str, limit: usize) -> Result<Names, Error> {
        self.names(&standings(self.tenant, digest), after, limit)
    }

    /// What holds of each vulnerability of which an artifact ever had a verdict, after one, at most `limit`: as
    /// [`Deltas::judged_of`] and [`Deltas::standing`] say, from a row each where verdicts seldom change.
    pub(crate) fn standings_of(&self, digest: &str, after: &str, limit: usize) -> Result<Page<Standing>, Error> {
        let prefix = standings(self.tenant, digest);
        let mut page = self.newest_of_each(&prefix, (&prefix.after_text(after), &prefix.prefix_end()), limit)?;
        let made = self.made.borrow();
        if !made.standings.is_empty() {
            for (name, held) in &mut page.held {
                let judged = (digest.to_owned(), name.clone());
                *held = made.standings.get(&judged).map_or(*held, |change: &Change| change.new);
            }
        }
        Ok(page)
    }

    /// What differs along an edge of each vulnerability after one and up to one, or up to the last.
    pub(crate) fn deltas_of(
        &self,
        (from, to): (&str, &str),
        after: &str,
        until: Option<&str>,
    ) -> Result<Page<Delta>, Error> {
        let prefix = deltas(self.tenant, from, to);
        let end = until.map_or(prefix.clone(), |until| prefix.clone().text(until)).prefix_end();
        self.newest_of_each(&prefix, (&prefix.after_text(after), &end), usize::MAX)
    }

    /// What holds of each name after the prefix within a range. Of a name whose rows go on beyond those that are read at
    /// once the newest one is looked up, and the others are passed over.
    fn newest_of_each<T: DeserializeOwned>(
        &self,
        prefix: &Key,
        (from, end): (&Key, &Key),
        limit: usize,
    ) -> Result<Page<T>, Error> {
        let mut page = Page { held: BTreeMap::new(), until: None };
        let mut from = from.clone();
        loop {
            let rows = self.store.scan(from.as_bytes(), end.as_bytes(), false, ROWS_AT_ONCE)?;
            let goes_on = rows.len() == ROWS_AT_ONCE;
            let mut last = None;
            for (key, bytes) in rows {
                let name = KeyReader::after(&key, prefix).text().ok_or_else(unreadable)?;
                if self.sees(&bytes)? {
                    if page.held.len() == limit && !page.held.contains_key(&name) {
                        page.until = page.held.last_key_value().map(|(last, _)| last.clone());
                        return Ok(page);
                    }
                    page.held.insert(name.clone(), Stamped::decode(&bytes)?.value);
                }
                last = Some(name);
            }
            let Some(last) = last.filter(|_| goes_on) else { return Ok(page) };
            let thing = prefix.clone().text(&last);
            if let (Some(held), Some(newest)) = (page.held.get_mut(&last), self.newest(&thing)?) {
                *held = newest;
            }
            from = thing.prefix_end();
        }
    }

    /// Vulnerabilities that ever differed along an edge, after one.
    pub(crate) fn differing_along(&self, from: &str, to: &str, after: &str, limit: usize) -> Result<Names, Error> {
        self.names(&deltas(self.tenant, from, to), after, limit)
    }

    /// Vulnerabilities of which an entry changed the verdict on an artifact, after one.
    pub(crate) fn changed_of(&self, index: u64, digest: &str, after: &str, limit: usize) -> Result<Names, Error> {
        self.names(&changed(self.tenant, index).text(digest), after, limit)
    }

    fn names(&self, prefix: &Key, after: &str, limit: usize) -> Result<Names, Error> {
        let mut found = Names { names: BTreeSet::new(), until: None };
        let (mut from, end) = (prefix.after_text(after), prefix.prefix_end());
        while let Some((key, bytes)) = self.first(&from, &end)? {
            let name = KeyReader::after(&key, prefix).text().ok_or_else(unreadable)?;
            from = prefix.clone().text(&name).prefix_end();
            // The first row of a thing is its oldest one: if that is not seen, none is.
            if !self.sees(&bytes)? {
                continue;
            }
            found.names.insert(name.clone());
            if found.names.len() == limit {
                found.until = Some(name);
                break;
            }
        }
        Ok(found)
    }

    fn first(&self, from: &Key, end: &Key) -> Result<Option<Row>, Error> {
        Ok(self.store.scan(from.as_bytes(), end.as_bytes(), false, 1)?.pop())
    }

    fn sees(&self, bytes: &[u8]) -> Result<bool, Error> {
        let stamp = crate::rows::stamp::split_stamp(bytes)?.0;
        Ok((stamp.index, stamp.ordinal) < self.below)
    }

    /// What an entry changed of the verdict on an artifact and a vulnerability.
    pub(crate) fn change(&self, index: u64, digest: &str, name: &str) -> Result<Change, Error> {
        let key = changed(self.tenant, index).text(digest).text(name);
        let Some(bytes) = self.store.get(key.as_bytes())? else { return Ok(Change::default()) };
        if !self.sees(&bytes)? {
            return Ok(Change::default());
        }
        Ok(Stamped::decode(&bytes)?.value)
    }

    /// The first artifact after one of which an entry changed a verdict.
    pub(crate) fn changed_after(&self, index: u64, after: &str) -> Result<Option<String>, Error> {
        let prefix = changed(self.tenant, index);
        let Some((key, _)) = self.first(&prefix.after_text(after), &prefix.prefix_end())? else { return Ok(None) };
        Ok(Some(KeyReader::after(&key, &prefix).text().ok_or_else(unreadable)?))
    }

    /// What an entry made of verdicts, by (artifact, vulnerability), at most `limit`.
    pub(crate) fn changes_in(&self, index: u64, limit: usize) -> Result<Vec<(Judged, Change)>, Error> {
        let prefix = changed(self.tenant, index);
        self.each_in(&prefix, limit, |reader| reader.text().zip(reader.text()))
    }

    /// What an entry made of deltas, by (from, to, vulnerability), at most `limit`.
    pub(crate) fn changed_deltas_in(&self, index: u64, limit: usize) -> Result<Vec<(Edge, Delta)>, Error> {
        let prefix = changed_deltas(self.tenant, index);
        self.each_in(&prefix, limit, |reader| Some((reader.text()?, reader.text()?, reader.text()?)))
    }

    fn each_in<K, T: DeserializeOwned>(
        &self,
        prefix: &Key,
        limit: usize,
        read: impl Fn(&mut KeyReader<'_>) -> Option<K>,
    ) -> Result<Vec<(K, T)>, Error> {
        let (mut found, end) = (Vec::new(), prefix.prefix_end());
        for (key, bytes) in self.store.scan(prefix.as_bytes(), end.as_bytes(), false, limit)? {
            if self.sees(&bytes)? {
                let key = read(&mut KeyReader::after(&key, prefix)).ok_or_else(unreadable)?;
                found.push((key, Stamped::decode(&bytes)?.value));
            }
        }
        Ok(found)
    }

    /// Whether anybody looked into an artifact: that nothing is said of it is known.
    pub(crate) fn is_looked_into(&self, digest: &str) -> Result<bool, Error> {
        Ok(self.standing(digest, LOOKED_INTO)? != Standing::None)
    }

    /// Whether an entry changed any verdict on an artifact.
    pub(crate) fn is_changed(&self, index: u64, digest: &str) -> Result<bool, Error> {
        Ok(!self.changed_of(index, digest, "", 1)?.names.is_empty())
    }

    /// Makes the verdict on an artifact another one.
    pub(crate) fn stands(&self, digest: &str, name: &str, new: Standing) -> Result<(), Error> {
        let old = self.standing(digest, name)?;
        if old != new {
            let change = Change { old, new };
            let tally = self.tally(digest)?.changed(name, change);
            let mut made = self.made.borrow_mut();
            made.tallies.insert(digest.to_owned(), tally);
            made.standings.insert((digest.to_owned(), name.to_owned()), change);
        }
        Ok(())
    }

    /// Makes what differs along an edge another.
    pub(crate) fn differs(&self, from: &str, to: &str, name: &str, delta: Delta) -> Result<(), Error> {
        self.differs_from(self.delta(from, to, name)?, (from, to, name), delta);
        Ok(())
    }

    /// The same where it is known what was kept of it before the step.
    pub(crate) fn differs_from(&self, kept: Delta, (from, to, name): (&str, &str, &str), delta: Delta) {
        let delta = if delta.is_any() { delta } else { Delta::default() };
        let mut made = self.made.borrow_mut();
        let edge = (from.to_owned(), to.to_owned(), name.to_owned());
        if made.deltas.get(&edge).copied().unwrap_or(kept) != delta {
            made.deltas.insert(edge, delta);
        }
    }

    /// Makes how an artifact compares with its parents another.
    pub(crate) fn compares(&self, digest: &str, badge: Badge) -> Result<(), Error> {
        if self.badge(digest)? != badge {
            self.made.borrow_mut().badges.insert(digest.to_owned(), badge);
        }
        Ok(())
    }

    /// Inserts what the step made, each thing once; gives the number of deltas.
    pub(crate) fn insert_into(&self, rows: &mut Rows<'_>) -> Result<u64, Error> {
        let (tenant, index) = (self.tenant, self.below.0);
        let made = self.made.take();
        let found = made.deltas.values().filter(|delta| delta.is_any()).count() as u64;
        for ((digest, name), change) in made.standings {
            rows.put(standings(tenant, &digest).text(&name).since(self.below), &change.new)?;
            if name != LOOKED_INTO {
                rows.put_first(judged(tenant, &name).text(&digest), &())?;
            }
            rows.put(changed(tenant, index).text(&digest).text(&name), &change)?;
        }
        for ((from, to, name), delta) in made.deltas {
            rows.put(deltas(tenant, &from, &to).text(&name).since(self.below), &delta)?;
            rows.put_first(differing(tenant, &name).text(&from).text(&to), &())?;
            rows.put(changed_deltas(tenant, index).text(&from).text(&to).text(&name), &delta)?;
        }
        for (digest, badge) in made.badges {
            rows.put(badges(tenant, &digest).since(self.below), &badge)?;
        }
        for (digest, tally) in made.tallies {
            rows.put(tallies(tenant, &digest).since(self.below), &tally)?;
        }
        Ok(found)
    }
}

pub(crate) fn unreadable() -> Error {
    Error::Store("deltas: a key cannot be read".to_owned())
}
