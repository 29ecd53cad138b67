//! What is known of each artifact that runs, from the answers that its own page is made of.

use std::collections::BTreeMap;

use pedigraph_projector::answers::{Running, Verdict, VerdictHere};
use pedigraph_projector::{Error, Found, Scope};

use crate::problem::Problem;

/// Verdicts that are looked into for their severity.
const VERDICTS_MAX: usize = 200;
/// Hops of a trace that lead to the source; the others are evidence on the way.
const TO_SOURCE: [&str; 3] = ["artifact", "run", "commit"];
/// As scanners and advisories say it, worst first; the last is what nobody says.
pub(super) const SEVERITIES: [&str; 5] = ["critical", "high", "medium", "low", "unknown"];

/// Something that runs.
pub(super) struct Thing {
    pub(super) environment: String,
    pub(super) service: String,
    pub(super) running: Running,
}

/// One artifact.
#[derive(Default)]
pub(super) struct Of {
    /// SBOMs describe all of it.
    pub(super) sbom: bool,
    /// `valid`, `invalid`, `unverified`, `none`; empty where there is more than is read for it.
    pub(super) signature: String,
    /// Some attestation is recorded.
    pub(super) attested: bool,
    /// Hops on the way to its source that are missing or contradict each other.
    pub(super) gaps: Vec<String>,
    /// Some scan is recorded.
    pub(super) scanned: bool,
    /// Vulnerabilities that it is said to have, worst first, among the first verdicts on it.
    pub(super) open: Vec<Open>,
    /// How many it is said to have.
    pub(super) open_count: usize,
}

/// A vulnerability that is not cleared.
pub(super) struct Open {
    pub(super) id: String,
    pub(super) status: String,
    /// Place in [`SEVERITIES`].
    pub(super) severity: usize,
}

/// All artifacts that run.
#[derive(Default)]
pub(super) struct Known {
    by_digest: BTreeMap<String, Of>,
    /// Things that were looked at, from the first on.
    pub(super) seen: usize,
    /// Verdicts whose severity was not looked into.
    pub(super) unrated: usize,
    rated: usize,
}

impl Known {
    /// Looks at each, until one question may not read more.
    pub(super) fn of(scope: &Scope, things: &[Thing]) -> Result<Known, Problem> {
        let mut known = Known::default();
        for thing in things {
            if let Some(digest) = &thing.running.digest
                && !known.by_digest.contains_key(digest)
            {
                match known.look_at(scope, digest) {
                    Ok(of) => drop(known.by_digest.insert(digest.clone(), of)),
                    Err(Error::TooExpensive { .. }) if known.seen > 0 => return Ok(known),
                    Err(error) => return Err(error.into()),
                }
            }
            known.seen += 1;
        }
        Ok(known)
    }

    /// What is known of a thing; `None` where its digest is not.
    pub(super) fn get(&self, thing: &Thing) -> Option<&Of> {
        self.by_digest.get(thing.running.digest.as_ref()?)
    }

    /// Each artifact.
    pub(super) fn artifacts(&self) -> impl Iterator<Item = (&str, &Of)> {
        self.by_digest.iter().map(|(digest, of)| (digest.as_str(), of))
    }

    fn look_at(&mut self, scope: &Scope, digest: &str) -> Result<Of, Error> {
        let Some(card) = scope.hover(digest)? else {
            return Ok(Of { gaps: vec!["artifact".to_owned()], ..Of::default() });
        };
        let (badges, counts) = (card.node.badges, card.node.verdict_counts);
        let gaps = match scope.trace(digest)? {
            Found::One(trace) => {
                let gaps = trace.hops.into_iter().filter(|hop| hop.status != "found").map(|hop| hop.kind);
                gaps.filter(|kind| TO_SOURCE.contains(&kind.as_str())).collect()
            }
            Found::Ambiguous(_) | Found::Nothing => vec!["artifact".to_owned()],
        };
        let open_count = counts.map_or(0, |counts| counts.affected + counts.under_investigation);
        let open_count = usize::try_from(open_count).unwrap_or(usize::MAX);
        // All that is known of an artifact is read only where something of it is shown.
        let artifact = if open_count > 0 { scope.artifact(digest)? } else { None };
        let mut open = Vec::new();
        for verdict in artifact.map(|artifact| artifact.verdicts).unwrap_or_default() {
            if matches!(verdict.verdict_status.as_str(), "affected" | "under_investigation") {
                open.push(self.rated(scope, digest, verdict)?);
            }
        }
        self.unrated += open_count.saturating_sub(open.len());
        open.sort_by(|a, b| (a.severity, &a.id).cmp(&(b.severity, &b.id)));
        Ok(Of {
            sbom: badges.as_ref().is_some_and(|badges| badges.sbom),
            signature: badges.and_then(|badges| badges.signature_status).unwrap_or_default(),
            attested: card.counts.attestations > 0,
            scanned: card.counts.scans > 0,
            gaps,
            open,
            open_count,
        })
    }

    fn rated(&mut self, scope: &Scope, digest: &str, of: VerdictHere) -> Result<Open, Error> {
        let mut severity = SEVERITIES.len() - 1;
        if self.rated < VERDICTS_MAX {
            self.rated += 1;
            severity = scope.verdict(digest, &of.cve)?.map_or(severity, |verdict| worst(&verdict));
        } else {
            self.unrated += 1;
        }
        Ok(Open { id: of.cve, status: of.verdict_status, severity })
    }
}

/// The worst that anybody says whose word counts.
fn worst(verdict: &Verdict) -> usize {
    let said = verdict.explanation.iter().filter(|said| said.applies).map(|said| severity_of(&said.severity));
    said.min().unwrap_or(SEVERITIES.len() - 1)
}

/// The place of a word in [`SEVERITIES`]; scores are read as CVSS v3 rates them.
fn severity_of(word: &str) -> usize {
    let word = word.trim().to_ascii_lowercase();
    if let Ok(score) = word.parse::<f64>() {
        return [9.0, 7.0, 4.0, 0.1].iter().position(|least| score >= *least).unwrap_or(SEVERITIES.len() - 1);
    }
    match word.as_str() {
        "moderate" => 2,
        "negligible" | "minor" | "unimportant" => 3,
        "important" => 1,
        word => SEVERITIES.iter().position(|known| *known == word).unwrap_or(SEVERITIES.len() - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::{SEVERITIES, severity_of};

    #[test]
    fn severities_are_words_or_scores() {
        let read = ["CRITICAL", "9.8", "High", "moderate", "4.0", "low", "0.1", "0", "", "bad"];
        let read = read.map(|word| SEVERITIES[severity_of(word)]);
        let want = ["critical", "critical", "high", "medium", "medium", "low", "low", "unknown", "unknown", "unknown"];
        assert_eq!(read, want);
    }
}
