//! Lines of versions, as of each entry (SPEC §3.1): ranks that a late version moves, and the derived parent of each.
//!
//! What an artifact is a version of is a function of facts as of an index. An entry that changes that for some
//! artifacts is worked off one artifact after the other: first its rows change, then the parents of all whose parent
//! may be another one are found again. After each artifact the rows are right for what was changed so far, and after
//! the last for the entry. Who may have another parent: what comes next in any of the orders by which parents are
//! found, what the change takes a parent from, and what was published between, when it comes late.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Derived, DerivedAt, touched};
use crate::ask::line::Versions;
use crate::error::Error;
use crate::facts::lines::Lines;
use crate::facts::lines::after::{Change, Page};
use crate::facts::lines::rows::{BYTE, FoundBy, Version};
use crate::facts::view::FactAt;
use crate::rows::Rows;
use crate::rows::told::Told;

/// About how many rows it costs to find a parent again.
const ROWS_PER_PARENT: usize = 8;

/// What keys of what is touched begin with: digests that are joined to others, and those of which anything else is said.
const JOINED: u8 = b'j';
const NAMED: u8 = b'n';

/// The view of lines.
pub(crate) struct LineOrder;

/// Where a step ended: how much of what a change does is done.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
enum Phase {
    /// Nothing yet.
    #[default]
    Rows,
    /// Those near it up to a digest.
    Near(String),
    /// Its children before, from here on.
    Orphans(Vec<u8>),
    /// What was published between, from here on.
    Behind(Vec<u8>),
}

impl Derived for LineOrder {
    fn name(&self) -> &'static str {
        "lines"
    }

    fn version(&self) -> u32 {
        7
    }

    fn byte(&self) -> u8 {
        BYTE
    }

    fn touches(&self, fact: &FactAt<'_>, told: Option<&Told>, touched: &mut BTreeSet<Vec<u8>>) {
        match told {
            Some(told) => {
                touched.extend(told.joined.iter().map(|digest| key(JOINED, digest)));
                touched.extend(told.versions.difference(&told.joined).map(|digest| key(NAMED, digest)));
            }
            None => touched::digests(fact.event, &mut |digest| {
                touched.insert(key(JOINED, &digest));
            }),
        }
    }

    fn subjects(&self, at: &DerivedAt<'_>, keys: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Error> {
        let versions = Versions::new(at.before, at.after);
        let (mut changed, mut joined) = (BTreeSet::new(), BTreeSet::new());
        for key in &keys {
            let Some((kind, digest)) = key.split_first() else { continue };
            let digest = std::str::from_utf8(digest).unwrap_or_default();
            match *kind {
                JOINED => drop(joined.insert(digest)),
                _ => drop(changed.insert(versions.canonical(digest)?)),
            }
        }
        changed.extend(versions.changed_with_all(&joined)?);
        Ok(changed.into_iter().map(String::into_bytes).collect())
    }

    fn step(
        &self,
        at: &DerivedAt<'_>,
        subject: &[u8],
        cursor: &[u8],
        rows: &mut Rows<'_>,
    ) -> Result<Option<Vec<u8>>, Error> {
        let Ok(artifact) = std::str::from_utf8(subject) else { return Ok(None) };
        let versions = Versions::new(at.before, at.after);
        let change = versions.change(artifact)?;
        if change.is_none() {
            return Ok(None);
        }
        let phase = if cursor.is_empty() { Phase::default() } else { read(cursor)? };
        let lines = Lines::written_at(rows.store, at.tenant, rows.stamp);
        let left = (at.rows_max / ROWS_PER_PARENT).max(1);
        let next = Step { versions: &versions, lines: &lines, change: &change, left }.go_on(phase)?;
        lines.insert_into(rows)?;
        next.map(|next| write(&next)).transpose()
    }
}

fn key(kind: u8, digest: &str) -> Vec<u8> {
    [&[kind], digest.as_bytes()].concat()
}

fn read(cursor: &[u8]) -> Result<Phase, Error> {
    postcard::from_bytes(cursor).map_err(|error| Error::Store(format!("lines: cursor: {error}")))
}

fn write(cursor: &Phase) -> Result<Vec<u8>, Error> {
    postcard::to_stdvec(cursor).map_err(|error| Error::Store(format!("lines: cursor: {error}")))
}

/// One step.
struct Step<'s, 'a> {
    versions: &'s Versions<'a>,
    lines: &'s Lines<'s>,
    change: &'s Change,
    /// Parents that may still be found again.
    left: usize,
}

impl Step<'_, '_> {
    /// Goes on with a change, as far as the step goes; `None` when it is done.
    fn go_on(&mut self, mut phase: Phase) -> Result<Option<Phase>, Error> {
        while self.left > 0 {
            // Each costs a little, also where nothing changes.
            self.left -= 1;
            let next = match phase {
                Phase::Rows => {
                    self.lines.change_to(self.change)?;
                    Some(Phase::Near(String::new()))
                }
                Phase::Near(after) => Some(self.near(&after)?),
                Phase::Orphans(from) => {
                    let page = self.lines.orphans(self.change, &from, self.left.max(1))?;
                    self.page(page, Phase::Orphans, Some(Phase::Behind(vec![])))?
                }
                Phase::Behind(from) => {
                    let page = self.lines.behind(self.change, &from, self.left.max(1))?;
                    self.page(page, Phase::Behind, None)?
                }
            };
            let Some(next) = next else { return Ok(None) };
            phase = next;
        }
        Ok(Some(phase))
    }

    fn near(&mut self, after: &str) -> Result<Phase, Error> {
        let near = self.lines.near(self.change)?;
        let mut last = after;
        for (digest, how) in near.iter().filter(|(digest, _)| digest.as_str() > after) {
            if self.left == 0 {
                return Ok(Phase::Near(last.to_owned()));
            }
            let is_itself = *digest == self.change.digest && self.change.old.is_some();
            if is_itself && !self.change.counts_anew() {
                self.left = self.left.saturating_sub(1);
                let place = |other: &str| Ok(self.versions.after(other)?.map(|version| version.pos));
                self.lines.find_parent_by_change(self.change, &place, &|| self.versions.tags_after(digest))?;
            } else if !self.is_found_before(digest, *how)? {
                self.find_again(digest)?;
            }
            last = digest;
        }
        Ok(Phase::Orphans(vec![]))
    }

    fn page(&mut self, page: Page, more: fn(Vec<u8>) -> Phase, then: Option<Phase>) -> Result<Option<Phase>, Error> {
        page.digests.iter().try_for_each(|digest| self.find_again(digest))?;
        Ok(page.next.map_or(then, |next| Some(more(next))))
    }

    /// Whether it has a parent that a change cannot take away which may be found in this way at most.
    fn is_found_before(&self, digest: &str, how: FoundBy) -> Result<bool, Error> {
        if how == FoundBy::Semver {
            return Ok(false);
        }
        for version in [&self.change.old, &self.change.new].into_iter().flatten() {
            if self.lines.parent(&version.line, digest)?.is_some_and(|(_, known)| known < how) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Finds the parent of a version again, if it is one of a line that the change is about. One that changes itself in
    /// this entry has its turn too, if it had none.
    fn find_again(&mut self, digest: &str) -> Result<(), Error> {
        self.left = self.left.saturating_sub(1);
        let is_of_change = |line| {
            let mut versions = [&self.change.old, &self.change.new].into_iter().flatten();
            versions.any(|version| version.line == line)
        };
        let known = self.lines.membership(digest)?.and_then(|known| known.line);
        let version: Option<Version> = self.versions.after(digest)?;
        match version.filter(|version| is_of_change(version.line) && known == Some(version.line)) {
            Some(version) => self.lines.find_parent_again(&version, &|| self.versions.tags_after(digest)),
            None => Ok(()),
        }
    }
}
