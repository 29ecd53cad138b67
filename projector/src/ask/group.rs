//! Which digests are one artifact, and which indexes and manifests stand above and below it (SPEC §2.3).
//!
//! A question about one artifact reads three seeks for each of its digests, and one for each index or manifest joined
//! to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pedigraph_proto::Digest;

use super::groups::{Group, Member, Members, Next, Way};
use super::identity::Graph;
use super::joined::ALIASES_MAX;
use super::scope::Scope;
use crate::error::Error;
use crate::facts::lineage::rows::role;

/// Digests of one artifact. Beyond it, what documents call the same is not followed from any of them, and answers say
/// so.
pub(super) const GROUP_MAX: usize = 64;
/// Rows that say what is the same as one digest, each another digest: so many are too many.
const SAME_ROWS_MAX: usize = GROUP_MAX + 1;
/// Configs of one manifest, which has one by its content: whatever else it is said to have, in the order of digests.
const CONFIGS_MAX: usize = 16;
/// Levels of indexes within indexes that are followed.
pub(super) const LEVELS_MAX: usize = 4;
/// Manifests under one index, and indexes above one manifest, over all levels.
pub(super) const MEMBERS_MAX: usize = 2_000;
/// Manifests that share a config and are one version by that: a config that more of them name joins none, as one without
/// content does, which many things have that are nothing to each other.
const SHARED_MAX: usize = 16;
/// What the members of one walk may list in all: those of whom more would be walked are left out, and answers say so.
const WALKED_MAX: usize = 16_384;
const _: () = assert!(MEMBERS_MAX < ALIASES_MAX, "an index of so many is read in whole");

impl Graph<'_> {
    /// The canonical digest: the manifest's where exactly one manifest names this config; of several digests of one
    /// thing SHA-256, since an OCI reference may use it.
    pub(super) fn canonical(&self, digest: &str) -> Result<String, Error> {
        let group = self.group(digest)?;
        Ok(group.digests.first().map_or_else(|| digest.to_owned(), Clone::clone))
    }

    /// Every digest of the artifact that a digest names. It is the same from whichever of them one begins.
    pub(super) fn group(&self, digest: &str) -> Result<Arc<Group>, Error> {
        if let Some(known) = self.scope.groups.groups.lock().get(digest) {
            return Ok(known.clone());
        }
        let group = Arc::new(self.read_group(digest)?);
        let mut groups = self.scope.groups.groups.lock();
        for member in &group.digests {
            groups.insert(member.clone(), group.clone());
        }
        Ok(group)
    }

    fn read_group(&self, digest: &str) -> Result<Group, Error> {
        let called_same = self.reached(digest, true)?;
        let cut = called_same.len() > GROUP_MAX;
        let found = if cut { self.reached(digest, false)? } else { called_same };
        let mut digests: Vec<(bool, u8, String)> =
            found.into_iter().map(|(digest, is_config)| (is_config, algorithm_rank(&digest), digest)).collect();
        digests.sort();
        Ok(Group { digests: digests.into_iter().map(|(_, _, digest)| digest).collect(), cut })
    }

    /// Digests that are one with this one, each with whether it is the config of a manifest; stops after [`GROUP_MAX`]
    /// of those that documents call the same.
    fn reached(&self, digest: &str, called_same: bool) -> Result<BTreeMap<String, bool>, Error> {
        let mut found = BTreeMap::from([(digest.to_owned(), false)]);
        let mut todo = vec![digest.to_owned()];
        while let Some(next) = todo.pop() {
            if called_same && found.len() > GROUP_MAX {
                break;
            }
            let manifest = self.only_manifest(&next)?;
            found.insert(next.clone(), manifest.is_some());
            let mut others: Vec<String> = manifest.into_iter().collect();
            if called_same {
                others.extend(self.others(&next, role::SAME, SAME_ROWS_MAX)?);
            }
            for config in self.others(&next, role::CONFIG, CONFIGS_MAX)? {
                if self.only_manifest(&config)?.as_ref() == Some(&next) {
                    others.push(config);
                }
            }
            for other in others {
                if !found.contains_key(&other) {
                    found.insert(other.clone(), false);
                    todo.push(other);
                }
            }
        }
        Ok(found)
    }

    /// The manifest that names this config, where it is one alone: a config that several name merges none of them.
    fn only_manifest(&self, config: &str) -> Result<Option<String>, Error> {
        let mut manifests = self.manifests_with(config)?;
        match (manifests.pop(), manifests.is_empty()) {
            (Some(manifest), true) if self.has_config(&manifest, config)? => Ok(Some(manifest)),
            (Some(_) | None, _) => Ok(None),
        }
    }

    /// Manifests that name a config; more than [`SHARED_MAX`] where they are too many. A scanner calls both a manifest and
    /// the index that lists it what it pulled, so what is known to list manifests is none.
    fn manifests_with(&self, config: &str) -> Result<Vec<String>, Error> {
        let mut manifests = self.others(config, role::MANIFEST, SHARED_MAX + 1)?;
        // Two rows may name one, for two platforms.
        manifests.dedup();
        if manifests.len() > SHARED_MAX {
            return Ok(manifests);
        }
        let mut found = Vec::new();
        for manifest in manifests {
            if !self.lists_any(&manifest)? {
                found.push(manifest);
            }
        }
        Ok(found)
    }

    /// Digests that are one with a digest, or with a config that it is said to have: whether it is a manifest, and what its
    /// configs are one with, changes with what is known of it.
    pub(super) fn group_with_configs(&self, digest: &str) -> Result<BTreeSet<String>, Error> {
        let mut found: BTreeSet<String> = self.group(digest)?.digests.iter().cloned().collect();
        for config in self.others(digest, role::CONFIG, CONFIGS_MAX)? {
            found.extend(self.group(&config)?.digests.iter().cloned());
        }
        Ok(found)
    }

    /// Whether a digest is known to list manifests.
    pub(super) fn lists_any(&self, digest: &str) -> Result<bool, Error> {
        Ok(!self.others(digest, role::PLATFORM, 1)?.is_empty())
    }

    /// What an index lists, also through indexes within it, and the manifests that share a config.
    pub(super) fn below(&self, digest: &str) -> Result<Arc<Members>, Error> {
        self.joined(digest, Way::Below)
    }

    /// Adds an artifact by its canonical digest, and what is under it: what is said of an index holds for its manifests.
    pub(super) fn add_whole(&self, digest: &str, named: &mut BTreeSet<String>) -> Result<(), Error> {
        let canonical = self.scope.canonical_digest(digest)?;
        named.extend(self.below(&canonical)?.digests().cloned());
        named.insert(canonical);
        Ok(())
    }

    /// The indexes that list a manifest, also through others, and the config that it shares.
    pub(super) fn above(&self, digest: &str) -> Result<Arc<Members>, Error> {
        self.joined(digest, Way::Above)
    }

    /// Each is found once for a question. What is found of rows at hand costs as well: it could be as much as the square
    /// of them.
    fn joined(&self, digest: &str, way: Way) -> Result<Arc<Members>, Error> {
        let group = self.group(digest)?;
        let start = group.digests.first().map_or(digest, String::as_str);
        let members = match way {
            Way::Above => &self.scope.groups.above,
            Way::Below => &self.scope.groups.below,
        };
        if let Some(known) = members.lock().get(start) {
            return Ok(known.clone());
        }
        let found = Arc::new(self.find_joined(start, way)?);
        let bytes: usize = found.members.iter().map(|member| member.digest.len() + member.platform.len()).sum();
        self.scope.meter.spend(found.members.len() as u64, bytes as u64)?;
        members.lock().insert(start.to_owned(), found.clone());
        Ok(found)
    }

    /// What is below some artifacts, as [`Graph::below`] of each has it, or more. Each is looked at once, with those that
    /// are as near to any of them.
    pub(super) fn all_below(&self, artifacts: &BTreeSet<String>) -> Result<BTreeSet<String>, Error> {
        let (mut seen, mut here) = (artifacts.clone(), artifacts.clone());
        let mut below = BTreeSet::new();
        for _ in 0..LEVELS_MAX {
            let mut next = BTreeSet::new();
            for digest in &here {
                let under = self.next_to(digest, Way::Below)?;
                let new = under.others.iter().map(|(other, _)| other).filter(|other| seen.insert((*other).clone()));
                next.extend(new.cloned());
            }
            below.extend(next.iter().cloned());
            here = next;
        }
        Ok(below)
    }

    fn find_joined(&self, start: &str, way: Way) -> Result<Members, Error> {
        let start = start.to_owned();
        let mut seen = BTreeSet::from([start.clone()]);
        let mut found = Members::default();
        let (mut level_before, mut walked) = (vec![start], 0);
        for level in 1..=LEVELS_MAX + 1 {
            let mut here: BTreeMap<String, String> = BTreeMap::new();
            for digest in &level_before {
                if walked > WALKED_MAX {
                    found.cut = true;
                    break;
                }
                let next = self.next_to(digest, way)?;
                walked += next.others.len();
                found.cut |= next.cut;
                for (other, platform) in next.others.iter().filter(|(other, _)| !seen.contains(other)) {
                    if !here.contains_key(other) {
                        here.insert(other.clone(), platform.clone());
                    }
                }
            }
            found.cut |= level > LEVELS_MAX && !here.is_empty();
            if here.is_empty() || level > LEVELS_MAX {
                break;
            }
            level_before.clear();
            for (digest, platform) in here {
                if found.members.len() == MEMBERS_MAX {
                    found.cut = true;
                    break;
                }
                seen.insert(digest.clone());
                level_before.push(digest.clone());
                found.members.push(Member { level, digest, platform });
            }
        }
        Ok(found)
    }

    /// One level on. Each is read once for a question, by whatever way it is come to.
    fn next_to(&self, digest: &str, way: Way) -> Result<Arc<Next>, Error> {
        let known = match way {
            Way::Below => &self.scope.groups.next_below,
            Way::Above => &self.scope.groups.next_above,
        };
        if let Some(known) = known.lock().get(digest) {
            return Ok(known.clone());
        }
        let next = Arc::new(self.read_next(digest, way)?);
        known.lock().insert(digest.to_owned(), next.clone());
        Ok(next)
    }

    fn read_next(&self, digest: &str, way: Way) -> Result<Next, Error> {
        let mut next = Next::default();
        // Of one manifest alone the config is an alias, and in the group already.
        let listed = match way {
            Way::Below => role::PLATFORM,
            Way::Above => role::INDEX,
        };
        for member in &self.group(digest)?.digests {
            let (mut related, cut) = self.related(member, listed)?;
            next.cut |= cut;
            match way {
                Way::Above if self.lists_any(member)? => {}
                Way::Above => {
                    for config in self.others(member, role::CONFIG, CONFIGS_MAX)? {
                        if self.manifests_with(&config)?.len() <= SHARED_MAX {
                            related.push((config, String::new()));
                        }
                    }
                }
                Way::Below => {
                    let mut manifests = self.manifests_with(member)?;
                    if manifests.len() > SHARED_MAX {
                        next.cut = true;
                        manifests.clear();
                    }
                    for manifest in manifests {
                        if self.has_config(&manifest, member)? {
                            related.push((manifest, String::new()));
                        }
                    }
                }
            }
            for (other, platform) in related {
                next.others.push((self.canonical(&other)?, platform));
            }
        }
        Ok(next)
    }

    /// Whether a config is one of those that count of a manifest.
    fn has_config(&self, manifest: &str, config: &str) -> Result<bool, Error> {
        Ok(self.others(manifest, role::CONFIG, CONFIGS_MAX)?.iter().any(|known| known == config))
    }
}

impl Scope {
    /// The canonical digest of an artifact by digest or alias, without asking whether anything is known of it.
    pub fn canonical_digest(&self, digest: &str) -> Result<String, Error> {
        Graph::new(self).canonical(digest)
    }

    /// The canonical digest of an artifact, then its aliases.
    ///
    /// # Errors
    /// When rows cannot be read.
    pub fn aliases_of(&self, digest: &str) -> Result<Vec<String>, Error> {
        Ok(Graph::new(self).group(digest)?.digests.clone())
    }

    /// What counts as contained in a digest: canonical digests of itself, and of all that an index lists.
    pub(super) fn parts_of(&self, digest: &str) -> Result<Vec<String>, Error> {
        let graph = Graph::new(self);
        let canonical = graph.canonical(digest)?;
        let below = graph.below(&canonical)?;
        Ok([canonical].into_iter().chain(below.digests().cloned()).collect())
    }
}

/// SHA-256 first: it is what OCI references use; then the strongest.
fn algorithm_rank(digest: &str) -> u8 {
    match digest.parse::<Digest>().as_ref().map(Digest::algorithm) {
        Ok("sha256") => 0,
        Ok("sha512") => 1,
        Ok("sha384") => 2,
        Ok("blake3") => 3,
        Ok(_) | Err(_) => 4,
    }
}
