//! Lists of verdicts, and of where they differ along `parent` edges (SPEC §5, "SBOM–verdict links" and "VEX deltas"): rows
//! say where there is one, and what it is is computed from what is said.
//!
//! They go by `asOf` alone. A scope for them shows no more than the view of deltas has come to.

use std::collections::BTreeSet;
use std::rc::Rc;

use pedigraph_proto::{Digest, Nanos, canonical};
use serde::{Deserialize, Serialize};

use super::answers::{
    Proof, Rationale, VerdictCounts, VerdictHere, VerdictLink, VerdictMoved, VexDelta, ViewChange, VulnBadges,
};
use super::diff::changed_along;
use super::identity::Graph;
use super::scope::{Clocks, Scope};
use super::subscribed::CHANGES_PER_ENTRY_MAX;
use super::vex::said::Case;
use super::vex::subjects::Subjects;
use crate::error::Error;
use crate::facts::components::rows::{LINKS, table as components_table};
use crate::facts::deltas::rows::{LOOKED_INTO, Standing, differing, judged};
use crate::facts::deltas::{Deltas, unreadable};
use crate::facts::findings::rows::{SCANS, key_name, table as findings_table};
use crate::store::key::{Key, KeyReader};

/// Verdicts that the answer about an artifact shows; the list of them alone has the rest.
pub(crate) const VERDICTS_HERE_MAX: usize = 25;
/// Vulnerabilities that the answer about an artifact looks at for them: some had a verdict once and have none now.
pub(crate) const LOOKS_HERE_MAX: usize = 100;
/// Things that one page looks at: most of them had a verdict or a delta once and have none now.
const LOOKS_MAX: usize = 5_000;
/// SBOMs of one artifact that are listed with its verdict.
const SBOMS_LISTED_MAX: usize = 100;

/// Where a page ended: (from, to, vulnerability), or (artifact, vulnerability).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct After(String, String);

impl After {
    fn read(bytes: Option<&[u8]>) -> Result<After, Error> {
        bytes.map_or_else(
            || Ok(After::default()),
            |bytes| postcard::from_bytes(bytes).map_err(|_| Error::foreign_page()),
        )
    }

    fn write(&self) -> Result<Vec<u8>, Error> {
        postcard::to_stdvec(self).map_err(|error| Error::Store(format!("token: {error}")))
    }
}

/// A page with the token of the next one.
type Listed<T> = (Vec<T>, Option<Vec<u8>>);

impl Scope {
    fn kept_deltas(&self, bound: u64) -> Deltas<'_> {
        Deltas::below(self.shared.store.as_ref(), &self.tenant, (bound, 0))
    }

    /// What is kept as far as its view has come, and the index up to which that is where it is behind the answer.
    fn deltas_so_far(&self) -> (Deltas<'_>, Option<u64>) {
        let bound = self.bound.min(self.deltas_bound);
        (self.kept_deltas(bound), (bound < self.bound).then(|| bound.saturating_sub(1)))
    }

    /// What is kept, where that says all that this question asks: it knows one clock.
    fn deltas_for_all(&self) -> Option<Deltas<'_>> {
        (self.at.is_none() && self.shows_all_deltas()).then(|| self.kept_deltas(self.bound))
    }

    /// Whether anybody looked into an artifact: it, or each manifest under it, has an SBOM or was scanned. Of what nobody
    /// looked into it is not known that nothing is said.
    ///
    /// # Errors
    /// What reading gives.
    pub fn is_looked_into(&self, digest: &str) -> Result<bool, Error> {
        let graph = Graph::new(self);
        let own = |digest: &str| Ok::<bool, Error>(self.is_described(digest)? || self.is_scanned(digest)?);
        if own(digest)? {
            return Ok(true);
        }
        let below = graph.below(digest)?;
        // Indexes that list each other have no manifest that anybody could look into.
        let mut any = false;
        for member in &below.members {
            if graph.below(&member.digest)?.members.is_empty() {
                if !own(&member.digest)? {
                    return Ok(false);
                }
                any = true;
            }
        }
        Ok(any && !below.cut)
    }

    fn is_scanned(&self, digest: &str) -> Result<bool, Error> {
        for alias in self.aliases_of(digest)? {
            let of = findings_table(&self.tenant, SCANS).text(&alias);
            if self.next_key(&of, &of.prefix_end(), Clocks::Known)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the view of deltas shows all that this scope does.
    pub fn shows_all_deltas(&self) -> bool {
        self.deltas_bound >= self.bound
    }

    /// What an entry made of verdicts, and then of deltas, by key (SPEC §8, `subscribe`); more than are listed are one.
    /// The first has this number.
    pub(crate) fn verdicts_moved(
        &self,
        index: u64,
        first: u32,
        happened: impl FnOnce() -> Result<Nanos, Error>,
    ) -> Result<Vec<ViewChange>, Error> {
        let kept = self.kept_deltas(self.deltas_bound.min(self.bound));
        let limit = usize::try_from(CHANGES_PER_ENTRY_MAX).unwrap_or(usize::MAX);
        let (verdicts, deltas) = (kept.changes_in(index, limit + 1)?, kept.changed_deltas_in(index, limit + 1)?);
        if verdicts.is_empty() && deltas.is_empty() {
            return Ok(vec![]);
        }
        let occurred_at = happened()?;
        let told = |subject: String, change: &str, verdict: Option<VerdictMoved>| ViewChange {
            index,
            n: first,
            view: "vex".to_owned(),
            subject,
            change: change.to_owned(),
            occurred_at,
            verdict,
        };
        if verdicts.len() + deltas.len() > limit {
            let subject = verdicts.into_iter().next().map(|((digest, _), _)| digest).unwrap_or_default();
            return Ok(vec![told(subject, "bulk", None)]);
        }
        let mut listed = Vec::new();
        for ((digest, name), change) in verdicts.into_iter().filter(|((_, name), _)| name != LOOKED_INTO) {
            let moved = VerdictMoved {
                vulnerability: self.vulnerability(&name)?.name,
                from: None,
                from_status: change.old.word().to_owned(),
                to_status: change.new.word().to_owned(),
            };
            listed.push(told(digest, "verdict-changed", Some(moved)));
        }
        for ((from, to, name), delta) in deltas {
            let moved = VerdictMoved {
                vulnerability: self.vulnerability(&name)?.name,
                from: Some(from),
                from_status: delta.from.word().to_owned(),
                to_status: delta.to.word().to_owned(),
            };
            listed.push(told(to, if delta.is_any() { "delta-changed" } else { "delta-ended" }, Some(moved)));
        }
        (first..=u32::MAX).zip(&mut listed).for_each(|(n, change)| change.n = n);
        Ok(listed)
    }

    /// How an artifact compares with its parents (SPEC §3.2), as of what the view of deltas has come to: two seeks.
    ///
    /// # Errors
    /// What reading gives.
    pub fn vuln_badges(&self, digest: &str) -> Result<VulnBadges, Error> {
        let (kept, as_of) = self.deltas_so_far();
        let badge = kept.badge(&self.canonical_digest(digest)?)?;
        Ok(VulnBadges { new_vulns: u64::from(badge.new), resolved_vulns: u64::from(badge.resolved), as_of })
    }

    /// How many verdicts on an artifact say what, as of what the view of deltas has come to: two seeks.
    ///
    /// # Errors
    /// What reading gives.
    pub fn verdict_counts(&self, digest: &str) -> Result<VerdictCounts, Error> {
        let (kept, as_of) = self.deltas_so_far();
        let tally = kept.tally(&self.canonical_digest(digest)?)?;
        Ok(VerdictCounts {
            affected: u64::from(tally.affected),
            under_investigation: u64::from(tally.under_investigation),
            fixed: u64::from(tally.fixed),
            not_affected: u64::from(tally.not_affected),
            looked_into: tally.looked_into,
            as_of,
        })
    }

    /// What the verdict on an artifact is, as the view of deltas keeps it; `None` where that does not say so for this
    /// question.
    pub(super) fn kept_standing(&self, digest: &str, vulnerability: &str) -> Result<Option<Standing>, Error> {
        let Some(kept) = self.deltas_for_all() else { return Ok(None) };
        kept.standing(&self.canonical_digest(digest)?, &key_name(vulnerability)).map(Some)
    }

    /// The entry since which the verdict on an artifact is open, or cleared, without a break, as the view of deltas keeps
    /// it; `None` where that does not say so for this question.
    pub(super) fn held_since(&self, digest: &str, vulnerability: &str) -> Result<Option<u64>, Error> {
        let Some(kept) = self.deltas_for_all() else { return Ok(None) };
        kept.held_since(&self.canonical_digest(digest)?, &key_name(vulnerability))
    }

    /// Where verdicts differ along an edge, by vulnerability.
    ///
    /// # Errors
    /// [`Error::Question`] for a token of another list.
    pub fn deltas_along(
        &self,
        from: &str,
        to: &str,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Listed<VexDelta>, Error> {
        let (from, to) = (self.canonical_digest(from)?, self.canonical_digest(to)?);
        let kept = self.kept_deltas(self.bound);
        let (mut found, mut looks, After(mut last, _)) = (Vec::new(), 0, After::read(after)?);
        while let Some(name) = kept.differing_along(&from, &to, &last, 1)?.names.pop_first() {
            if found.len() == limit || looks == LOOKS_MAX {
                return Ok((found, Some(After(last, String::new()).write()?)));
            }
            looks += 1;
            found.extend(self.delta_of(&kept, &from, &to, &name)?);
            last = name;
        }
        Ok((found, None))
    }

    /// Where verdicts on a vulnerability differ along edges, by (from, to) in the order of the store.
    ///
    /// # Errors
    /// [`Error::Question`] for a token of another list.
    pub fn deltas_of(
        &self,
        vulnerability: &str,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Listed<VexDelta>, Error> {
        let name = key_name(&self.vulnerability(vulnerability)?.name);
        let (prefix, kept) = (differing(&self.tenant, &name), self.kept_deltas(self.bound));
        let (mut found, mut looks, mut last) = (Vec::new(), 0, After::read(after)?);
        while let Some((from, to)) = self.two_texts_after(&prefix, &last)? {
            if found.len() == limit || looks == LOOKS_MAX {
                return Ok((found, Some(last.write()?)));
            }
            looks += 1;
            found.extend(self.delta_of(&kept, &from, &to, &name)?);
            last = After(from, to);
        }
        if after.is_none() {
            found.sort_by(|a, b| {
                (&a.from_artifact_digest, &a.to_artifact_digest).cmp(&(&b.from_artifact_digest, &b.to_artifact_digest))
            });
        }
        Ok((found, None))
    }

    fn two_texts_after(&self, prefix: &Key, After(first, second): &After) -> Result<Option<(String, String)>, Error> {
        let from = if first.is_empty() { prefix.clone() } else { prefix.clone().text(first).text(second).prefix_end() };
        let Some(key) = self.next_key(&from, &prefix.prefix_end(), Clocks::Known)? else { return Ok(None) };
        let mut reader = KeyReader::after(&key, prefix);
        reader.text().zip(reader.text()).ok_or_else(unreadable).map(Some)
    }

    /// What holds of a vulnerability along an edge, if anything differs, with why.
    fn delta_of(&self, kept: &Deltas<'_>, from: &str, to: &str, name: &str) -> Result<Option<VexDelta>, Error> {
        let Some((delta, since)) = kept.delta_since(from, to, name)? else { return Ok(None) };
        let (case, graph) = (Case::of(self, name)?, Graph::new(self));
        let (old, new) = (case.whole(from)?, case.whole(to)?);
        let cause = changed_along(self, &case, &old, &new)?;
        let replay_hash = graph.replay_hash(&format!("{from}..{to}"), old.entries().chain(new.entries()))?;
        let raw = |digest: &str| digest.parse::<Digest>().map(|digest| digest.to_bytes()).unwrap_or_default();
        let cve = case.vulnerability().name.clone();
        let id = canonical::derived_id(&[self.tenant.as_str().as_bytes(), &raw(from), &raw(to), cve.as_bytes()]);
        Ok(Some(VexDelta {
            id: id.to_string(),
            from_artifact_digest: from.to_owned(),
            to_artifact_digest: to.to_owned(),
            cve,
            from_status: delta.from.word().to_owned(),
            to_status: delta.to.word().to_owned(),
            rationale: Rationale {
                reason: cause.reason,
                reason_code: cause.reason_code,
                evidence_link: cause.evidence_link,
                metadata: [("fromConfidence", old.confidence()), ("toConfidence", new.confidence())]
                    .into_iter()
                    .filter_map(|(name, confidence)| Some((name.to_owned(), confidence?)))
                    .collect(),
            },
            replay_hash,
            created_at: Nanos(graph.kept_entry(since)?.map(|entry| entry.recorded_at).unwrap_or_default()),
        }))
    }

    /// Verdicts on a vulnerability, by artifact in the order of the store, each with the current SBOMs of the artifact.
    ///
    /// # Errors
    /// [`Error::Question`] for a token of another list.
    pub fn verdicts_of(
        &self,
        vulnerability: &str,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Listed<VerdictLink>, Error> {
        let case = Case::of(self, vulnerability)?;
        let name = key_name(&case.vulnerability().name);
        let (prefix, kept) = (judged(&self.tenant, &name), self.kept_deltas(self.bound));
        let (mut found, mut looks, After(mut last, _)) = (Vec::new(), 0, After::read(after)?);
        while let Some(digest) = self.texts_after(&prefix, &last, 1)?.pop() {
            if found.len() >= limit || looks == LOOKS_MAX {
                return Ok((found, Some(After(last, String::new()).write()?)));
            }
            looks += 1;
            if kept.standing(&digest, &name)? != Standing::None {
                found.extend(self.links_of(&case, &digest)?);
            }
            last = digest;
        }
        Ok((found, None))
    }

    /// Verdicts on an artifact, by vulnerability, each with the SBOM that was asked for if there is one, else with its
    /// current SBOMs.
    ///
    /// # Errors
    /// [`Error::Question`] for a token of another list.
    pub fn verdicts_on(
        &self,
        digest: &str,
        sbom: Option<&str>,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Listed<VerdictLink>, Error> {
        let (digest, kept) = (self.canonical_digest(digest)?, self.kept_deltas(self.bound));
        let subjects = Rc::new(Subjects::new(self));
        let (mut found, mut looks, After(mut last, _)) = (Vec::new(), 0, After::read(after)?);
        while let Some(name) = kept.judged_of(&digest, &last, 1)?.names.pop_first() {
            if found.len() >= limit || looks == LOOKS_MAX {
                return Ok((found, Some(After(last, String::new()).write()?)));
            }
            looks += 1;
            if name != LOOKED_INTO && kept.standing(&digest, &name)? != Standing::None {
                let case = Case::among(&subjects, &name)?;
                match sbom {
                    Some(sbom) => found.push(self.link(&case, &digest, Some(sbom.to_owned()))?),
                    None => found.extend(self.links_of(&case, &digest)?),
                }
            }
            last = name;
        }
        Ok((found, None))
    }

    /// The first verdicts on an artifact, by vulnerability, as they are kept: what each comes to is not computed, so that
    /// it costs some seeks each however much is said. With the index up to which they are true, where their view is
    /// behind, and whether there may be more.
    pub(super) fn verdicts_here(
        &self,
        graph: &Graph<'_>,
        digest: &str,
    ) -> Result<(Vec<VerdictHere>, Option<u64>, bool), Error> {
        let (kept, as_of) = self.deltas_so_far();
        let (mut found, mut looks, mut last) = (Vec::new(), 0, String::new());
        while let Some(name) = kept.judged_of(digest, &last, 1)?.names.pop_first() {
            let standing = kept.standing_since(digest, &name)?.filter(|_| name != LOOKED_INTO);
            if looks == LOOKS_HERE_MAX || (found.len() == VERDICTS_HERE_MAX && standing.is_some()) {
                return Ok((found, as_of, true));
            }
            looks += 1;
            if let Some((standing, since)) = standing {
                let entry = graph.kept_entry(since)?;
                found.push(VerdictHere {
                    cve: self.vulnerability(&name)?.name,
                    verdict_status: standing.word().to_owned(),
                    first_known_at: Nanos(entry.as_ref().map(|entry| entry.recorded_at).unwrap_or_default()),
                    proof: Proof::of(since, entry.as_ref()),
                });
            }
            last = name;
        }
        Ok((found, as_of, false))
    }

    /// A verdict with each current SBOM of the artifact; with none where there is none.
    fn links_of(&self, case: &Case<'_>, digest: &str) -> Result<Vec<VerdictLink>, Error> {
        let mut sboms: BTreeSet<Option<String>> = self.current_sbom_ids(digest)?.into_iter().map(Some).collect();
        if sboms.is_empty() {
            sboms.insert(None);
        }
        let first = self.link(case, digest, None)?;
        let sboms = sboms.into_iter().take(SBOMS_LISTED_MAX);
        Ok(sboms.map(|sbom| VerdictLink { sbom_version_id: sbom, ..first.clone() }).collect())
    }

    fn link(&self, case: &Case<'_>, digest: &str, sbom: Option<String>) -> Result<VerdictLink, Error> {
        let whole = case.whole(digest)?;
        let summary = case.summary_of(&whole)?;
        let newest = whole.entries().max();
        let recorded = newest.map(|index| Graph::new(self).kept_entry(index)).transpose()?.flatten();
        Ok(VerdictLink {
            artifact_digest: digest.to_owned(),
            sbom_version_id: sbom,
            cve: case.vulnerability().name.clone(),
            consensus_projection_id: summary.consensus_projection_id,
            verdict_status: summary.status,
            confidence_score: summary.confidence,
            linked_at: Nanos(recorded.map(|entry| entry.recorded_at).unwrap_or_default()),
        })
    }

    /// Digests of the documents that are an artifact's current SBOMs; of a document that describes none, its own.
    fn current_sbom_ids(&self, digest: &str) -> Result<BTreeSet<String>, Error> {
        let id = |document: String| if document.is_empty() { digest.to_owned() } else { document };
        Ok(self.current_sboms(digest)?.into_iter().map(|current| id(current.document)).collect())
    }

    /// The artifact that an SBOM describes, by the digest of the document: the newest that it was sent for. `None` where
    /// no SBOM has this digest.
    ///
    /// # Errors
    /// What reading gives.
    pub fn described_by(&self, sbom: &str) -> Result<Option<String>, Error> {
        let linked = self.digests_under(&components_table(&self.tenant, LINKS).text(sbom), 1, 1)?;
        if let Some(artifact) = linked.first() {
            return self.canonical_digest(artifact).map(Some);
        }
        let sboms = self.sboms_of(sbom)?;
        let Some(bound) = sboms.iter().rev().find(|row| row.value.set.is_some()) else { return Ok(None) };
        let artifact = Some(bound.value.other.as_str()).filter(|artifact| !artifact.is_empty());
        self.canonical_digest(artifact.unwrap_or(sbom)).map(Some)
    }
}
