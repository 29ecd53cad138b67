//! Where something runs of which nobody said what it contains: for who derives the list of these lanes, and from that
//! list.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use pedigraph_proto::Nanos;

use super::contents::Described;
use super::identity::Graph;
use super::running::{KEY_BYTES_MAX, LanePlace, Place, Visit};
use super::scope::{Clocks, Scope};
use crate::error::Error;
use crate::facts::components::rows::{LINKS, table};
use crate::facts::deployments::rows::{Lane, REFERENCE, SHARED_BY, by_artifact, unreadable};
use crate::facts::undescribed::Undescribed;
use crate::facts::undescribed::rows::Bare;
use crate::store::key::{Key, KeyReader};

impl Scope {
    /// How much runs in a lane, by the rest of its key, of which it is not known what it contains.
    pub(crate) fn runs_bare(&self, lane: &[u8]) -> Result<Bare, Error> {
        let lane = Lane::read(&mut KeyReader::new(lane)).ok_or_else(unreadable)?;
        let mut bare = Bare::default();
        for run in self.runs_in(&lane)? {
            let described =
                run.artifact.digest.as_ref().map_or(Ok(Described::Nothing), |digest| self.described(digest))?;
            match described {
                Described::Whole => {}
                Described::Nothing => bare.wholly += 1,
                Described::Partly(_) => bare.partly += 1,
            }
        }
        Ok(bare)
    }

    /// As [`Scope::each_lane`], of lanes in which something runs now that nobody has described.
    pub(super) fn each_undescribed(
        &self,
        environment: Option<&str>,
        from: &Place,
        visit: Visit<'_, (Lane, Bare)>,
    ) -> Result<(), Error> {
        let (next, mut alike) = match from {
            Place::Start => (vec![], 0),
            Place::Lane { at, .. } => (at.beginning.clone(), at.alike),
            Place::Subject { .. } | Place::Artifact { .. } | Place::End => return Ok(()),
        };
        let begins = environment.map(|name| Key::from_bytes(&[]).text(name).as_bytes().to_vec()).unwrap_or_default();
        let (mut beginning, mut passed) = (Vec::new(), 0_u32);
        let list = Undescribed::below(self.shared.store.as_ref(), &self.tenant, self.bound);
        list.each(&next, &begins, |rest, bare| {
            let here = &rest[..rest.len().min(KEY_BYTES_MAX)];
            passed = if here == beginning.as_slice() { passed.saturating_add(1) } else { 0 };
            here.clone_into(&mut beginning);
            if alike > 0 {
                alike -= 1;
                return Ok(ControlFlow::Continue(()));
            }
            let lane = Lane::read(&mut KeyReader::new(rest)).ok_or_else(unreadable)?;
            let at = LanePlace { beginning: beginning.clone(), alike: passed };
            visit(Place::Lane { at, rows: 0 }, (lane, bare))
        })
    }

    /// Whether an SBOM that lists components is bound to any digest of an artifact.
    fn lists_components(&self, digest: &str) -> Result<bool, Error> {
        self.any_sbom(digest, |bound| Ok(bound.set.is_some()))
    }
}

/// Lanes in which something else may run undescribed since a tag points elsewhere from a time on. Where it pointed at
/// something before and does now, of both of which as much is described, these are among those in which more than one
/// thing may run: in all others one thing does, of which as much is described as before.
pub(crate) fn lanes_tagged_otherwise(
    before: &Scope,
    after: &Scope,
    reference: &str,
    time: Nanos,
) -> Result<BTreeSet<Lane>, Error> {
    let mut lanes = BTreeSet::new();
    let deployed = by_artifact(after.tenant(), REFERENCE, reference);
    if !after.has_lanes(std::slice::from_ref(&deployed))? {
        return Ok(lanes);
    }
    let (old, new) = (before.tagged_digest(reference, time)?, after.tagged_digest(reference, time)?);
    if old == new {
        return Ok(lanes);
    }
    if let Some((old, new)) = old.zip(new)
        && before.described(&old)?.is_as_much_as(&after.described(&new)?)
    {
        let shared = after.table(SHARED_BY).text(reference);
        after.each::<()>(&shared, &shared.prefix_end(), false, Clocks::Known, |key, _| {
            let mut reader = KeyReader::after(key, &shared);
            lanes.insert(Lane::read(&mut reader).ok_or_else(unreadable)?);
            Ok(ControlFlow::Continue(()))
        })?;
        return Ok(lanes);
    }
    after.lanes_under(&deployed, &mut lanes)?;
    Ok(lanes)
}

/// Whether it is known as before an entry that somebody described a digest itself, and what its own SBOMs list.
pub(crate) fn is_described_as_before(before: &Scope, after: &Scope, digest: &str) -> Result<bool, Error> {
    let itself = |scope: &Scope| Ok::<_, Error>((scope.is_described(digest)?, scope.lists_components(digest)?));
    Ok(itself(before)? == itself(after)?)
}

/// Lanes in which something was ever deployed of which is known what it contains since an entry says so of a digest, or
/// says what it is joined to; or is not known any more.
pub(crate) fn lanes_described_otherwise(before: &Scope, after: &Scope, digest: &str) -> Result<BTreeSet<Lane>, Error> {
    let mut affected = BTreeSet::new();
    for scope in [before, after] {
        affected.extend(described_with(scope, digest)?);
    }
    // Most were never deployed when they are described, and an index may have very many manifests to look at.
    let mut deployed = Vec::new();
    for digest in affected {
        let prefixes = after.deployed_as(&digest)?;
        if after.has_lanes(&prefixes)? {
            deployed.push((digest, prefixes));
        }
    }
    let itself = |scope: &Scope| {
        let graph = Graph::new(scope);
        let (above, below) = (graph.above(digest)?, graph.below(digest)?);
        Ok::<_, Error>((
            scope.aliases_of(digest)?,
            above,
            below,
            scope.is_described(digest)?,
            scope.lists_components(digest)?,
        ))
    };
    let mut lanes = BTreeSet::new();
    if deployed.is_empty() || itself(before)? == itself(after)? {
        return Ok(lanes);
    }
    for (digest, prefixes) in deployed {
        if before.described(&digest)? != after.described(&digest)? {
            prefixes.iter().try_for_each(|prefix| after.lanes_under(prefix, &mut lanes))?;
        }
    }
    Ok(lanes)
}

/// Digests whose contents may be told by what is bound to a digest: its own artifact, those that it is linked to as an
/// SBOM, and every index above these.
fn described_with(scope: &Scope, digest: &str) -> Result<BTreeSet<String>, Error> {
    let graph = Graph::new(scope);
    let mut artifacts: BTreeSet<String> = scope.aliases_of(digest)?.into_iter().collect();
    for sbom in artifacts.clone() {
        let links = table(scope.tenant(), LINKS).text(&sbom);
        for linked in scope.digests_under(&links, 1, usize::MAX)? {
            artifacts.extend(scope.aliases_of(&linked)?);
        }
    }
    let mut digests = artifacts.clone();
    for artifact in &artifacts {
        for above in graph.above(artifact)?.digests() {
            digests.extend(scope.aliases_of(above)?);
        }
    }
    Ok(digests)
}
