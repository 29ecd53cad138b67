//! The SBOMs of an artifact, and where those that count disagree (SPEC §5).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::answers::{Disagreement, SbomOf, Sboms};
use super::contents::{Current, label};
use super::diff::{Matched, matched};
use super::identity::Graph;
use super::scope::Scope;
use super::sets::Component;
use crate::error::Error;
use crate::facts::lineage::rows::EvidenceKind;
use crate::rows::stamp::Stamp;

/// Disagreements that one answer lists.
pub const DISAGREEMENTS_MAX: usize = 1_000;

/// SBOMs that one answer compares: of more, the newest. Who sends SBOMs by very many tools takes no answer away.
pub const SBOMS_COMPARED_MAX: usize = 50;
/// Components of an SBOM that is compared; a larger one is left out.
const COMPONENTS_COMPARED_MAX: usize = 100_000;

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
            compared: None,
            current_total: None,
        };
        if told == Disagreements::Told {
            answer.current_total = Some(current.len() as u64);
            let mut newest: Vec<&Current> = current.iter().collect();
            newest.sort_by_key(|sbom| Reverse(sbom.written.order()));
            let mut named = Vec::new();
            for sbom in newest.into_iter().take(SBOMS_COMPARED_MAX) {
                let id = graph.sbom_named(&profile, &sbom.stamp)?.unwrap_or_else(|| sbom.reference.clone());
                named.push((id, sbom.set));
            }
            let compared = self.compared_sboms(named)?;
            answer.compared = Some(compared.ids.len() as u64);
            let (total, first) = compared.disagreements();
            (answer.disagreements_total, answer.disagreements) = (Some(total), Some(first));
        }
        Ok(Some(answer))
    }

    /// What each of these lists, as far as one question may read.
    fn compared_sboms(&self, sboms: Vec<(String, u32)>) -> Result<ComparedSboms, Error> {
        let mut compared = ComparedSboms { ids: Vec::new(), listed: BTreeMap::new() };
        for (id, set) in sboms {
            let contents = match self.contents(set) {
                Err(Error::TooExpensive { .. }) => break,
                contents => contents?,
            };
            if contents.entries.len() > COMPONENTS_COMPARED_MAX {
                continue;
            }
            match contents.all(self) {
                Err(Error::TooExpensive { .. }) => break,
                components => compared.add(id, &components?),
            }
            if self.meter.is_half_spent() {
                break;
            }
        }
        Ok(compared)
    }
}

/// SBOMs with what they list.
struct ComparedSboms {
    ids: Vec<String>,
    /// By purl without qualifiers that name nothing, since tools write these as they like: what it is called, and the
    /// places of those that list it.
    listed: BTreeMap<(Matched, String), (String, BTreeSet<usize>)>,
}

impl ComparedSboms {
    fn add(&mut self, id: String, components: &[Arc<Component>]) {
        let place = self.ids.len();
        self.ids.push(id);
        for known in components {
            let (_, by) = self.listed.entry(matched(known)).or_insert_with(|| (label(known), BTreeSet::new()));
            by.insert(place);
        }
    }

    /// How many components some list and others do not, and the first of these by purl.
    fn disagreements(self) -> (u64, Vec<Disagreement>) {
        let mut differ: Vec<_> = self.listed.into_values().filter(|(_, by)| by.len() < self.ids.len()).collect();
        differ.sort();
        let ids = |wanted: &dyn Fn(&usize) -> bool| -> Vec<String> {
            let mut ids: Vec<String> = (0..self.ids.len()).filter(wanted).map(|n| self.ids[n].clone()).collect();
            ids.sort();
            ids
        };
        let total = differ.len() as u64;
        let told = differ.into_iter().take(DISAGREEMENTS_MAX).map(|(purl, by)| Disagreement {
            purl,
            listed_in: ids(&|n| by.contains(n)),
            not_in: ids(&|n| !by.contains(n)),
        });
        (total, told.collect())
    }
}
