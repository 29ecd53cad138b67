//! Rows of one lane that name one artifact by several of its digests: a manifest and its config, SHA-256 and SHA-512 of
//! one file (SPEC §2.3). Deployed by turns they are no changes.
//!
//! The fold compares rows as they stand, which tells candidates for changes too often and never too seldom. Here, where
//! rows are read, each is joined to those after it.

use std::rc::Rc;

use pedigraph_proto::ArtifactRef;

use super::scope::Scope;
use super::timeline::{Artifact, Row};
use crate::error::Error;
use crate::facts::deployments::rows::reference_key;

/// Rows after one to which it is joined, the nearest first: what runs by turns is near.
const LATER_MAX: usize = 16;

impl Scope {
    /// What a row names, under the digest by which the rows after it know it; `later` has them, the nearest last. Digests
    /// are looked up only where the names that are said beside them do not tell two things apart.
    pub(super) fn joined(&self, artifact: Option<Rc<Artifact>>, later: &[Row]) -> Result<Option<Rc<Artifact>>, Error> {
        let Some(mut artifact) = artifact else { return Ok(None) };
        let Some(digest) = artifact.digest.clone() else { return Ok(Some(artifact)) };
        for other in later.iter().rev().take(LATER_MAX).filter_map(|row| row.artifact.as_ref()) {
            let Some(known) = &other.digest else { continue };
            let is_one = *known == digest
                || (may_be_one(&artifact.reference, &other.reference) && self.aliases_of(&digest)?.contains(known));
            if is_one {
                let key = other.key().filter(|key| *key != digest).map(Rc::from);
                if key.is_some() {
                    Rc::make_mut(&mut artifact).joined = key;
                }
                break;
            }
        }
        Ok(Some(artifact))
    }
}

/// Whether what two rows with different digests are called may be one artifact: not where both name tags, and others.
fn may_be_one(a: &str, b: &str) -> bool {
    let is_tagged = |reference: &str| ArtifactRef::parse(reference).is_some_and(|named| !named.tag.is_empty());
    a == b || !is_tagged(a) || !is_tagged(b) || reference_key(a) == reference_key(b)
}
