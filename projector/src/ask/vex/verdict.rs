//! The verdict on an artifact and a vulnerability, with all that was said (SPEC §5, "Consensus").

use std::collections::{BTreeMap, BTreeSet};

use pedigraph_proto::{Digest, EventId, Nanos, canonical, json};

use super::consensus::{self, Consensus, ONE};
use super::heard::{Heard, Hearing};
use super::said::{Case, StatementAt};
use crate::ask::answers::{Explained, PlatformVerdict, Proof, Verdict, VerdictSummary};
use crate::ask::identity::Graph;
use crate::ask::scope::{FIRST_SCAN_ROWS, Scope};
use crate::error::Error;

/// Findings of replaced scans of one part that a verdict looks at: with one more, what is read of a store at once.
const SUPERSEDED_LOOKS_MAX: usize = FIRST_SCAN_ROWS - 1;

/// What was heard of an artifact, part by part.
pub(crate) struct Whole {
    /// Canonical digest.
    pub(crate) digest: String,
    /// By platform: one where the artifact is no index.
    parts: Vec<(PlatformVerdict, Hearing)>,
    is_index: bool,
    pub(crate) consensus: Option<Consensus>,
    /// Canonical digests of all that was listened to, also where nothing of it counts.
    asked: Vec<String>,
    /// Statements of versions of documents that are replaced, each once.
    superseded: BTreeSet<StatementAt>,
}

impl Scope {
    /// Whether anything names an artifact, at any moment.
    pub fn is_known(&self, digest: &str) -> Result<bool, Error> {
        Ok(Graph::new(self).known_profile(digest)?.is_some())
    }

    /// The verdict on an artifact and a vulnerability; `None` where nobody says anything about both.
    pub fn verdict(&self, digest: &str, vulnerability: &str) -> Result<Option<Verdict>, Error> {
        let case = Case::of(self, vulnerability)?;
        let whole = case.whole(digest)?;
        case.verdict(&whole)
    }

    /// The entries of all that is said of some artifacts and a vulnerability, whether it counts or not: what the replay
    /// hash of a verdict on one of them covers, and that of a delta between two.
    pub fn heard(&self, digests: &[&str], vulnerability: &str) -> Result<Vec<Proof>, Error> {
        let (case, mut entries) = (Case::of(self, vulnerability)?, BTreeSet::new());
        for digest in digests {
            entries.extend(case.whole(digest)?.entries());
        }
        entries.into_iter().map(|index| self.proof(index)).collect()
    }
}

impl Case<'_> {
    /// What is said of an artifact, and of the manifests under it where it is an index: the verdict is the most cautious
    /// of theirs (SPEC §2.3).
    pub(crate) fn whole(&self, digest: &str) -> Result<Whole, Error> {
        let digest = self.scope.canonical_digest(digest)?;
        let mut whole = Whole::of(digest.clone());
        for member in &self.subjects.graph.below(&digest)?.members {
            if self.subjects.graph.known_profile(&member.digest)?.is_some_and(|profile| profile.aside) {
                continue;
            }
            whole.is_index = true;
            let is_index = !self.subjects.graph.below(&member.digest)?.members.is_empty();
            self.listen(&mut whole, (&member.platform, &member.digest), is_index)?;
        }
        let is_index = whole.is_index;
        self.listen(&mut whole, ("", &digest), is_index)?;
        let verdicts: Vec<Consensus> = whole.parts.iter().filter_map(|(_, hearing)| hearing.consensus).collect();
        whole.consensus = consensus::of_parts(&verdicts);
        Ok(whole)
    }

    /// Adds what is said of a part; of an index only where anything of it counts.
    fn listen(&self, whole: &mut Whole, (name, digest): (&str, &str), is_index: bool) -> Result<(), Error> {
        let mut hearing = if is_index { self.hear_index(digest)? } else { self.hear(digest)? };
        whole.asked.push(digest.to_owned());
        whole.superseded.append(&mut hearing.superseded);
        if !is_index || hearing.heard.iter().any(|heard| heard.counts) {
            whole.parts.push((platform(name, digest, &hearing), hearing));
        }
        Ok(())
    }

    /// `None` where nothing was said.
    pub(crate) fn verdict(&self, whole: &Whole) -> Result<Option<Verdict>, Error> {
        if whole.parts.iter().all(|(_, hearing)| hearing.heard.is_empty()) {
            return Ok(None);
        }
        let replay_hash = self.replay_hash(whole)?;
        let mut explanation = Vec::new();
        let several = whole.parts.len() > 1;
        for (part, hearing) in &whole.parts {
            for heard in &hearing.heard {
                explanation.push((heard, if several { called(part).clone() } else { String::new() }));
            }
        }
        explanation.sort_by(|(a, of_a), (b, of_b)| {
            (!a.counts, of_a, -a.time, &a.issuer, a.index).cmp(&(!b.counts, of_b, -b.time, &b.issuer, b.index))
        });
        let explanation = explanation
            .into_iter()
            .map(|(heard, platform)| self.explained(heard, platform))
            .collect::<Result<_, _>>()?;
        let (superseded, at_least) = self.superseded_scans_of(whole)?;
        Ok(Some(Verdict {
            digest: whole.digest.clone(),
            vulnerability: self.vulnerability().name.clone(),
            aliases: self.vulnerability().aliases.clone(),
            summary: self.summary(whole, &replay_hash),
            platforms: if whole.is_index { whole.parts.iter().map(|(part, _)| part.clone()).collect() } else { vec![] },
            explanation,
            explanation_cut: 0,
            next_page_token: None,
            superseded: superseded + whole.superseded.len() as u64,
            superseded_at_least: at_least,
            replay_hash,
        }))
    }

    /// Scans that found it and are replaced, of all that was listened to, and whether there may be more.
    fn superseded_scans_of(&self, whole: &Whole) -> Result<(u64, bool), Error> {
        let (mut count, mut at_least) = (0, false);
        for digest in &whole.asked {
            let subject = self.subjects.of(digest)?;
            let (scans, cut) = self.superseded_scans(&subject, SUPERSEDED_LOOKS_MAX)?;
            count += scans;
            at_least |= cut;
        }
        Ok((count, at_least))
    }

    /// What was said comes to this; `unknown` where none of it counts.
    fn summary(&self, whole: &Whole, replay_hash: &str) -> VerdictSummary {
        let tenant = self.scope.tenant().as_str().as_bytes();
        let raw = |text: &str| text.parse::<Digest>().map(|digest| digest.to_bytes()).unwrap_or_default();
        let name = self.vulnerability().name.as_bytes();
        let id = canonical::derived_id(&[tenant, &raw(&whole.digest), name, &raw(replay_hash)]);
        VerdictSummary {
            status: status_word(whole.consensus, "unknown"),
            confidence: whole.consensus.map_or(0.0, |found| part_of_one(found.confidence)),
            consensus_projection_id: id.to_string(),
            conflict: whole.consensus.is_some_and(|found| found.conflict),
        }
    }

    /// The short form, for lists.
    pub(crate) fn summary_of(&self, whole: &Whole) -> Result<VerdictSummary, Error> {
        Ok(self.summary(whole, &self.replay_hash(whole)?))
    }

    /// Over the events of all that was heard, whether it counts or not.
    fn replay_hash(&self, whole: &Whole) -> Result<String, Error> {
        self.subjects.graph.replay_hash(&whole.digest, whole.heard().map(|heard| heard.index))
    }

    fn explained(&self, heard: &Heard, platform: String) -> Result<Explained, Error> {
        Ok(Explained {
            issuer: heard.issuer.clone(),
            kind: if heard.is_finding { "finding" } else { "vex" }.to_owned(),
            status: json::vex_status::word(heard.status),
            raw_status: heard.raw_status.clone(),
            weight: part_of_one(heard.weight),
            justification: heard.justification.clone(),
            impact: heard.impact.clone(),
            action: heard.action.clone(),
            time: Nanos(heard.time),
            applies: heard.counts,
            reason: heard.reason.clone(),
            components: heard.components.iter().cloned().collect(),
            components_cut: 0,
            fixed_version: heard.fixed.clone(),
            severity: heard.severity.clone(),
            platform,
            proof: self.subjects.graph.proof(heard.index)?,
        })
    }
}

impl Whole {
    fn of(digest: String) -> Whole {
        Whole { digest, parts: vec![], is_index: false, consensus: None, asked: vec![], superseded: BTreeSet::new() }
    }

    fn heard(&self) -> impl Iterator<Item = &Heard> {
        self.parts.iter().flat_map(|(_, hearing)| &hearing.heard)
    }

    /// The status of the verdict; `none` where there is none.
    pub(crate) fn status_word(&self) -> String {
        status_word(self.consensus, "none")
    }

    /// 0..1; `None` where there is no verdict.
    pub(crate) fn confidence(&self) -> Option<f64> {
        self.consensus.map(|found| part_of_one(found.confidence))
    }

    /// Entries of all that was heard.
    pub(crate) fn entries(&self) -> impl Iterator<Item = u64> {
        self.heard().map(|heard| heard.index)
    }

    /// (issuer, status) of the statements that count, each with its newest entry.
    pub(crate) fn statements(&self) -> BTreeMap<(String, String), u64> {
        let counting = self.heard().filter(|heard| heard.counts && !heard.is_finding);
        newest(counting.map(|heard| ((heard.issuer.clone(), json::vex_status::word(heard.status)), heard.index)))
    }

    /// Scanners and advisories whose findings count, each with its newest entry.
    pub(crate) fn findings(&self) -> BTreeMap<String, u64> {
        let counting = self.heard().filter(|heard| heard.counts && heard.is_finding);
        newest(counting.map(|heard| (heard.issuer.clone(), heard.index)))
    }

    /// Parts of which nothing that counts is said: digest, and what a sentence calls it.
    pub(crate) fn silent_parts(&self) -> impl Iterator<Item = (&String, &String)> {
        let silent = self.parts.iter().filter(|(_, hearing)| hearing.consensus.is_none());
        silent.map(|(part, _)| (&part.digest, called(part)))
    }

    /// Why it is not known whether it is affected, where nothing that counts says so.
    pub(crate) fn unclear(&self) -> Option<&String> {
        let unclear = self.parts.iter().find_map(|(_, hearing)| hearing.unclear.as_ref());
        unclear.filter(|_| self.consensus.is_none())
    }

    /// Index of the first entry of all that counts.
    pub(crate) fn first_known(&self) -> Option<u64> {
        self.heard().filter(|heard| heard.counts).map(|heard| heard.index).min()
    }

    /// Purls of the components that what counts is about.
    pub(crate) fn components(&self) -> BTreeSet<&String> {
        self.heard().filter(|heard| heard.counts).flat_map(|heard| &heard.components).collect()
    }
}

impl Graph<'_> {
    /// The replay hash of an answer about a subject that rests on the events of some entries (SPEC §3.2).
    pub(crate) fn replay_hash(&self, subject: &str, entries: impl Iterator<Item = u64>) -> Result<String, Error> {
        let mut ids = BTreeSet::new();
        for index in entries.collect::<BTreeSet<u64>>() {
            let id = self.kept_entry(index)?.and_then(|entry| EventId::from_slice(&entry.event_id));
            ids.extend(id);
        }
        Ok(canonical::replay_hash(subject, &ids).to_string())
    }
}

fn newest<K: Ord>(said: impl Iterator<Item = (K, u64)>) -> BTreeMap<K, u64> {
    let mut newest = BTreeMap::new();
    for (key, index) in said {
        let known = newest.entry(key).or_insert(index);
        *known = index.max(*known);
    }
    newest
}

fn platform(platform: &str, digest: &str, hearing: &Hearing) -> PlatformVerdict {
    let found = hearing.consensus;
    PlatformVerdict {
        platform: platform.to_owned(),
        digest: digest.to_owned(),
        status: status_word(found, "unknown"),
        confidence: found.map(|found| part_of_one(found.confidence)),
    }
}

/// What a sentence calls a part.
fn called(part: &PlatformVerdict) -> &String {
    if part.platform.is_empty() { &part.digest } else { &part.platform }
}

fn status_word(found: Option<Consensus>, none: &str) -> String {
    found.map_or_else(|| none.to_owned(), |found| json::vex_status::word(found.status))
}

fn part_of_one(ten_thousandths: u32) -> f64 {
    f64::from(ten_thousandths) / f64::from(ONE)
}
