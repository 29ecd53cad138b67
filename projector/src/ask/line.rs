//! Lines of versions: rank, and the one derived parent of each (SPEC §3.1).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::identity::{Graph, LINE_MEMBERS_MAX, Order, Profile, fields};
use super::scope::Clocks;
use super::tag_order::TagVersion;
use crate::error::Error;
use crate::facts::lineage::rows::table;
use crate::rows::stamp::Stamp;

/// Versions after one that are looked at for the next that is free of something.
const NEXT_VERSIONS_MAX: usize = 1_000;

/// How a parent was found when none was declared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Derived {
    Semver,
    Tag,
    Order,
}

/// An artifact with the indexes above it.
type Kin = BTreeSet<String>;

/// A line: its members by (createdAt, digest), and their derived parents.
#[derive(Debug)]
pub(super) struct Line {
    rank: BTreeMap<String, u64>,
    /// child → (parent, how, what proves it).
    parents: BTreeMap<String, (String, Derived, Stamp)>,
    /// parent → children.
    children: BTreeMap<String, Vec<String>>,
    /// Artifacts of the repository beyond the limit.
    pub(super) cut: bool,
}

impl Line {
    pub(super) fn parent(&self, child: &str) -> Option<&(String, Derived, Stamp)> {
        self.parents.get(child)
    }

    /// The versions after one, by rank.
    pub(super) fn after(&self, digest: &str) -> Vec<&str> {
        let Some(rank) = self.rank.get(digest) else { return vec![] };
        let mut later: Vec<(u64, &str)> =
            self.rank.iter().filter(|(_, n)| *n > rank).map(|(digest, n)| (*n, digest.as_str())).collect();
        later.sort_unstable();
        later.into_iter().map(|(_, digest)| digest).collect()
    }

    pub(super) fn children(&self, parent: &str) -> &[String] {
        self.children.get(parent).map(Vec::as_slice).unwrap_or_default()
    }
}

impl Graph<'_> {
    /// The line of an artifact; it is the only member where no repository is known.
    pub(super) fn line(&self, profile: &Profile) -> Result<Rc<Line>, Error> {
        if let Some(line) = self.lines.borrow().get(&profile.line).filter(|_| !profile.line.repository.is_empty()) {
            return Ok(line.clone());
        }
        let (members, cut) = self.members(profile)?;
        let kin = members.iter().map(|member| self.kin(member)).collect::<Result<Vec<Kin>, Error>>()?;
        let apart = |a: usize, b: usize| {
            self.scope.spend(1)?;
            Ok(kin[a].is_disjoint(&kin[b]))
        };
        let line = Rc::new(line_of(&members, &apart, cut)?);
        self.lines.borrow_mut().insert(profile.line.clone(), line.clone());
        Ok(line)
    }

    /// The first of the next [`NEXT_VERSIONS_MAX`] versions of an artifact's line that passes, as answers refer to it.
    /// A lower version that came later, such as a patch of an older one, is no next version.
    pub(crate) fn next_version(
        &self,
        digest: &str,
        mut passes: impl FnMut(&str) -> Result<bool, Error>,
    ) -> Result<Option<String>, Error> {
        let Some(profile) = self.profile(digest)? else { return Ok(None) };
        let line = self.line(&profile)?;
        let mut looked_at = 0;
        for later in line.after(&profile.digest) {
            let Some(later) = self.profile(later)? else { continue };
            if later.version.as_ref().zip(profile.version.as_ref()).is_some_and(|(later, here)| later < here) {
                continue;
            }
            if passes(&later.digest)? {
                return Ok(Some(later.reference.clone()));
            }
            looked_at += 1;
            if looked_at == NEXT_VERSIONS_MAX {
                break;
            }
        }
        Ok(None)
    }

    /// An artifact and the indexes that list it: manifests of one index are one version, and never each other's
    /// parents.
    fn kin(&self, member: &Profile) -> Result<Kin, Error> {
        let above = self.above(&member.digest)?.members.into_iter().map(|above| above.digest);
        Ok(above.chain([member.digest.clone()]).collect())
    }

    /// Rank by (createdAt, digest) in its line, from 1.
    pub(super) fn sequence_number(&self, profile: &Profile) -> Result<u64, Error> {
        Ok(self.line(profile)?.rank.get(&profile.digest).copied().unwrap_or(0))
    }

    fn members(&self, profile: &Profile) -> Result<(Vec<Rc<Profile>>, bool), Error> {
        if profile.line.repository.is_empty() {
            return Ok((vec![Rc::new(profile.clone())], false));
        }
        let prefix = self.key(table::LINE).text(&profile.line.repository);
        let limit = LINE_MEMBERS_MAX + 1;
        let mut rows = self.scope.keyed::<()>(&prefix, &prefix.prefix_end(), false, Clocks::Known, limit)?;
        let cut = rows.len() == limit;
        rows.truncate(LINE_MEMBERS_MAX);
        let mut members = BTreeMap::new();
        for (key, _) in &rows {
            let Some(digest) = of_line(key) else { continue };
            if let Some(member) = self.profile(&digest)?.filter(|member| member.line == profile.line) {
                members.insert((member.created.time, member.digest.clone()), member);
            }
        }
        Ok((members.into_values().collect(), cut))
    }
}

fn of_line(key: &[u8]) -> Option<String> {
    let mut reader = fields(key)?;
    reader.text()?;
    reader.text()
}

/// Whether two members are no kin. Of thousands that all are kin each is held against all others, so it counts.
type Apart<'a> = &'a dyn Fn(usize, usize) -> Result<bool, Error>;

/// The first of some members that is no kin of another.
fn first_apart(some: impl Iterator<Item = usize>, of: usize, apart: Apart<'_>) -> Result<Option<usize>, Error> {
    for one in some {
        if apart(one, of)? {
            return Ok(Some(one));
        }
    }
    Ok(None)
}

/// `members` by (createdAt, digest).
fn line_of(members: &[Rc<Profile>], apart: Apart<'_>, cut: bool) -> Result<Line, Error> {
    let rank = members.iter().zip(1..).map(|(member, n)| (member.digest.clone(), n)).collect();
    let semver = by_semver(members, apart)?;
    let tag = by_tag(members, apart)?;
    let mut parents = BTreeMap::new();
    let mut children: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (at, member) in members.iter().enumerate() {
        let derived = semver.get(&at).map(|parent| (*parent, Derived::Semver));
        let derived = derived.or_else(|| tag.get(&at).map(|parent| (*parent, Derived::Tag)));
        let derived = match derived {
            Some(derived) => Some(derived),
            None => first_apart((0..at).rev(), at, apart)?.map(|parent| (parent, Derived::Order)),
        };
        let Some((parent, how)) = derived else { continue };
        let parent = &members[parent].digest;
        parents.insert(member.digest.clone(), (parent.clone(), how, member.created));
        children.entry(parent.clone()).or_default().push(member.digest.clone());
    }
    Ok(Line { rank, parents, children, cut })
}

/// The greatest lower version that was published no later; of several digests of one version the newest.
fn by_semver(members: &[Rc<Profile>], apart: Apart<'_>) -> Result<BTreeMap<usize, usize>, Error> {
    let mut order: Vec<usize> = (0..members.len()).filter(|at| members[*at].version.is_some()).collect();
    order.sort_by_key(|at| (members[*at].published, *at));
    let mut seen: BTreeMap<&TagVersion, usize> = BTreeMap::new();
    let mut parents = BTreeMap::new();
    for together in order.chunk_by(|a, b| members[*a].published == members[*b].published) {
        for at in together {
            if let Some(version) = &members[*at].version {
                seen.insert(version, *at);
            }
        }
        for at in together {
            let Some(version) = &members[*at].version else { continue };
            let lower = seen.range::<&TagVersion, _>(..version).rev().map(|(_, parent)| *parent);
            if let Some(parent) = first_apart(lower, *at, apart)? {
                parents.insert(*at, parent);
            }
        }
    }
    Ok(parents)
}

/// What a tag of this version pointed at before; of several tags the newest of these. Only from an older to a newer
/// version, so that a tag that moves back makes no circle.
fn by_tag(members: &[Rc<Profile>], apart: Apart<'_>) -> Result<BTreeMap<usize, usize>, Error> {
    let mut moves: BTreeMap<(&str, &str), BTreeSet<(Order, usize)>> = BTreeMap::new();
    for (at, member) in members.iter().enumerate() {
        for tagged in &member.tags {
            let tag = (tagged.repository.as_str(), tagged.tag.as_str());
            moves.entry(tag).or_default().insert((tagged.stamp.order(), at));
        }
    }
    let mut parents: BTreeMap<usize, usize> = BTreeMap::new();
    for moved in moves.values() {
        let (mut placed, mut earlier) = (BTreeSet::new(), Vec::new());
        for (_, at) in moved {
            if placed.insert(*at)
                && let Some(before) = first_apart(earlier.iter().rev().copied(), *at, apart)?
                && before < *at
            {
                let parent = parents.entry(*at).or_insert(before);
                *parent = (*parent).max(before);
            }
            earlier.push(*at);
        }
    }
    Ok(parents)
}
