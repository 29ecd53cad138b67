//! The SBOMs of an artifact, and where those that count disagree (SPEC §5).

use std::collections::{BTreeMap, BTreeSet};

use super::answers::{Disagreement, SbomOf, Sboms};
use super::contents::label;
use super::diff::matched;
use super::identity::Graph;
use super::scope::Scope;
use crate::error::Error;
use crate::facts::lineage::rows::EvidenceKind;
use crate::rows::stamp::Stamp;

/// Disagreements that one answer lists.
pub const DISAGREEMENTS_MAX: usize = 1_000;

/// Whether an answer says where SBOMs disagree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disagreements {
    /// It costs all components of those that count.
    Told,
    /// It does not.
    Left,
}

impl Scope {
    /// The SBOMs of an artifact by any of its digests, not those of what it lists; `None` when nothing is known of it.
    pub fn sboms(&self, digest: &str, told: Disagreements) -> Result<Option<Sboms>, Error> {
        let graph = Graph::new(self);
        let Some(profile) = graph.profile(digest)? else { return Ok(None) };
        let current = self.current_sboms(&profile.digest)?;
        let counts = |stamp: &Stamp| current.iter().any(|sbom| sbom.stamp == *stamp);
        let (items, cut) = graph.own_items(&profile, EvidenceKind::Sbom)?;
        let sboms = items.into_iter().map(|(stamp, item)| SbomOf { item, current: counts(&stamp) }).collect();
        let mut answer = Sboms {
            digest: profile.digest.clone(),
            sboms,
            sboms_cut: cut,
            disagreements: None,
            disagreements_total: None,
        };
        if told == Disagreements::Told {
            let mut named = Vec::new();
            for sbom in &current {
                let id = graph.sbom_named(&profile, &sbom.stamp)?.unwrap_or_else(|| sbom.reference.clone());
                named.push((id, sbom.set));
            }
            let all = self.disagreements(&named)?;
            answer.disagreements_total = Some(all.len() as u64);
            answer.disagreements = Some(all.into_iter().take(DISAGREEMENTS_MAX).collect());
        }
        Ok(Some(answer))
    }

    /// What some of these list and others do not, by purl without qualifiers that name nothing: tools write these as
    /// they like.
    fn disagreements(&self, sboms: &[(String, u32)]) -> Result<Vec<Disagreement>, Error> {
        let mut listed: BTreeMap<_, (String, BTreeSet<usize>)> = BTreeMap::new();
        for (n, (_, set)) in sboms.iter().enumerate() {
            for known in self.contents(*set)?.all(self)? {
                let (_, by) = listed.entry(matched(&known)).or_insert_with(|| (label(&known), BTreeSet::new()));
                by.insert(n);
            }
        }
        let ids = |wanted: &dyn Fn(&usize) -> bool| -> Vec<String> {
            let mut ids: Vec<String> = (0..sboms.len()).filter(wanted).map(|n| sboms[n].0.clone()).collect();
            ids.sort();
            ids
        };
        let differ = listed.into_values().filter(|(_, by)| by.len() < sboms.len());
        let mut all: Vec<Disagreement> = differ
            .map(|(purl, by)| Disagreement {
                purl,
                listed_in: ids(&|n| by.contains(n)),
                not_in: ids(&|n| !by.contains(n)),
            })
            .collect();
        all.sort_by(|a, b| a.purl.cmp(&b.purl));
        Ok(all)
    }
}
