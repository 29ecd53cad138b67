//! From a running thing back to its source, hop by hop; what is missing says what to send.
//!
//! A trace begins with what was declared. The hop before it, `workload`, needs what was seen running; while no event
//! says that, the hop is left out, since one that nothing can fill would make every trace incomplete.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::answers::{Hop, Item, Proof, Trace};
use super::claims::Claimed;
use super::edges::{Link, Method, Relation};
use super::identity::{Graph, Profile, kind_word};
use super::refs::Place;
use super::scope::Scope;
use crate::error::Error;
use crate::facts::lineage::rows::{Claim, EvidenceKind};

impl Graph<'_> {
    /// The trace of an artifact, or of what runs somewhere.
    pub(super) fn trace(
        &self,
        reference: &str,
        place: Option<&Place>,
        profile: Option<&Rc<Profile>>,
    ) -> Result<Trace, Error> {
        let mut hops = Vec::new();
        if let Some(place) = place {
            hops.push(declared(place));
        }
        let artifact = match profile {
            None => {
                hops.push(unknown_artifact(place));
                None
            }
            Some(profile) => {
                self.hops_of(profile, place.is_none(), &mut hops)?;
                Some(self.node(profile)?)
            }
        };
        let complete = hops.iter().all(|hop| hop.status == "found");
        Ok(Trace { reference: reference.to_owned(), artifact, hops, complete })
    }

    fn hops_of(&self, profile: &Rc<Profile>, with_deployment: bool, hops: &mut Vec<Hop>) -> Result<(), Error> {
        let digest = &profile.digest;
        if with_deployment {
            let reason = format!("send service-deployed {{service, environment, artifactDigest: {digest}}}");
            hops.push(newest("deployment", self.deployments(profile)?.0, "deployed nowhere", reason));
        }
        hops.push(self.artifact_hop(profile)?);
        let signed = [EvidenceKind::Attestation, EvidenceKind::Signature];
        let reason = format!("send a DSSE envelope or in-toto statement whose subject is {digest}");
        hops.push(newest("attestations", self.items(profile, &signed)?.0, "no attestation or signature", reason));
        let reason = format!("send a CycloneDX or SPDX document with subject {digest}");
        hops.push(newest("sbom", self.items(profile, &[EvidenceKind::Sbom])?.0, "no SBOM", reason));
        let reason = format!("send a scanner's report with subject {digest}");
        hops.push(newest("scans", self.items(profile, &[EvidenceKind::Scan])?.0, "no scan", reason));
        let reason = format!("send tests-finished {{artifactDigest: {digest}, outcome}}");
        hops.push(newest("tests", self.items(profile, &[EvidenceKind::Tests])?.0, "no tests", reason));
        let claims = self.claims(profile)?;
        let reason = format!("send artifact-packaged {{artifactDigest: {digest}, run}} or SLSA provenance");
        let contradicting = contradicting(self.scope, &claims)?;
        let run = origin("run", self.run_item(&claims)?, "no run is known", reason);
        hops.push(several("runs", run, &contradicting, |claim| claim.run.id.clone()));
        hops.push(self.commit_hop(profile, &claims, &contradicting)?);
        if kind_word(profile.line.kind) == "container_image" {
            hops.push(self.base_hop(profile)?);
        }
        Ok(())
    }

    fn artifact_hop(&self, profile: &Profile) -> Result<Hop, Error> {
        let created = &profile.created;
        Ok(Hop {
            kind: "artifact".to_owned(),
            status: "found".to_owned(),
            id: Some(profile.digest.clone()),
            summary: profile.reference.clone(),
            occurred_at: Some(pedigraph_proto::Nanos(created.time)),
            reason: None,
            proof: Some(self.proof(created.index)?),
        })
    }

    /// Two builds may not name two commits: one of them is wrong, and it is not ours to choose.
    fn commit_hop(&self, profile: &Profile, claims: &[Claimed], contradicting: &[&Claimed]) -> Result<Hop, Error> {
        let digest = &profile.digest;
        let reason = format!("send artifact-packaged {{artifactDigest: {digest}, commit}} or SLSA provenance");
        let hop = origin("commit", self.commit_item(claims)?, "no commit is known", reason);
        let named = |claim: &Claim| match claim.repository.as_str() {
            "" => claim.commit.clone(),
            repository => format!("{} of {repository}", claim.commit),
        };
        let hop = several("commits", hop, contradicting, named);
        if hop.status != "found" {
            return Ok(hop);
        }
        let is_other = |claim: &&Claimed| {
            let (commit, shown) = (&claim.value.commit, hop.id.as_deref().unwrap_or_default());
            says_what_was_built(claim) && !commit.starts_with(shown) && !shown.starts_with(commit.as_str())
        };
        let others: BTreeSet<String> = claims
            .iter()
            .filter(is_other)
            .map(|claim| format!("{} ({})", named(&claim.value), claim.value.said_by))
            .collect();
        let reason =
            (!others.is_empty()).then(|| format!("also named: {}", others.into_iter().collect::<Vec<_>>().join(", ")));
        Ok(Hop { reason, ..hop })
    }

    fn base_hop(&self, profile: &Profile) -> Result<Hop, Error> {
        let found = self.links_in(profile)?;
        let mut bases: Vec<_> = found.links.iter().filter(|link| link.relation == Relation::Base).collect();
        // Of equally strong ones no order of arrival decides.
        bases.sort_by(|a, b| b.strength().cmp(&a.strength()).then_with(|| (&a.from, a.index).cmp(&(&b.from, b.index))));
        let Some(best) = bases.first() else {
            return match self.base_below(profile)? {
                Some(hop) => Ok(hop),
                None => self.base_not_known(profile, &found.unknown),
            };
        };
        let base = self.profile(&best.from)?;
        let reference = base.as_ref().map_or(best.from.clone(), |base| base.reference.clone());
        let hop = Hop {
            kind: "base".to_owned(),
            status: "found".to_owned(),
            id: Some(best.from.clone()),
            summary: format!("{reference} (by {})", best.method.word()),
            occurred_at: base.map(|base| pedigraph_proto::Nanos(base.created.time)),
            reason: None,
            proof: Some(self.proof(best.index)?),
        };
        match self.base_contradiction(&bases)? {
            Some(reason) => Ok(conflict(hop, reason)),
            None => Ok(hop),
        }
    }

    /// The bases of what an index lists, by platform.
    fn base_below(&self, profile: &Profile) -> Result<Option<Hop>, Error> {
        let mut best: BTreeMap<String, Link> = BTreeMap::new();
        for (link, platform) in self.bases_below(profile)? {
            let known = best.get(&platform);
            if known.is_none_or(|known| (link.strength(), &known.from) > (known.strength(), &link.from)) {
                best.insert(platform, link);
            }
        }
        let Some(first) = best.values().max_by_key(|link| link.strength()).cloned() else { return Ok(None) };
        let mut named: Vec<String> = Vec::new();
        for (platform, link) in &best {
            let reference = self.profile(&link.from)?.map_or(link.from.clone(), |base| base.reference.clone());
            let platform = if platform.is_empty() { "a manifest" } else { platform };
            named.push(format!("{reference} (by {}, {platform})", link.method.word()));
        }
        let occurred_at = self.profile(&first.from)?.map(|base| pedigraph_proto::Nanos(base.created.time));
        Ok(Some(Hop {
            kind: "base".to_owned(),
            status: "found".to_owned(),
            id: Some(first.from.clone()),
            summary: named.join(", "),
            occurred_at,
            reason: None,
            proof: Some(self.proof(first.index)?),
        }))
    }

    fn base_not_known(&self, profile: &Profile, unknown: &[super::edges::UnknownBase]) -> Result<Hop, Error> {
        let Some(named) = unknown.first() else {
            let reason = format!(
                "send SLSA provenance with materials, or image-observed {{digest: {}, baseDigest or diffIds}}",
                profile.digest
            );
            return Ok(missing("base", "no base image is known", reason));
        };
        let reference = &named.reference;
        let reason = format!("the digest of {reference} at build time is not known: send tag-observed for it");
        let hop = missing("base", reference, reason);
        Ok(Hop { id: Some(reference.clone()), proof: Some(self.proof(named.index)?), ..hop })
    }

    /// An annotation that names one base by digest and, by tag, another.
    fn base_contradiction(&self, bases: &[&super::edges::Link]) -> Result<Option<String>, Error> {
        let by = |method: Method| bases.iter().filter(move |link| link.method == method);
        let by_digest: BTreeSet<&str> = by(Method::Annotation).map(|link| link.from.as_str()).collect();
        let by_tag: BTreeSet<&str> = by(Method::History).map(|link| link.from.as_str()).collect();
        if by_digest.is_empty() || by_tag.is_empty() || !by_digest.is_disjoint(&by_tag) {
            return Ok(None);
        }
        let list = |digests: &BTreeSet<&str>| digests.iter().copied().collect::<Vec<_>>().join(", ");
        Ok(Some(format!("the base is {} by digest and {} by tag at build time", list(&by_digest), list(&by_tag))))
    }
}

/// What a claim says of the source.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Said<'c> {
    /// The platform that it is for.
    platform: &'c str,
    repository: String,
    commit: &'c str,
    /// A provenance says it.
    is_provenance: bool,
}

/// Claims that cannot all be true: different commits for one platform, of one repository, of one that is not said, or of
/// two provenances (decision 025). A shortened commit is the same; what only went into a build or what a run says in
/// passing contradicts nothing.
fn contradicting<'c>(scope: &Scope, claims: &'c [Claimed]) -> Result<Vec<&'c Claimed>, Error> {
    let counts =
        |claim: &&Claimed| claim.value.said_by != "run" && !claim.is_material() && !claim.value.commit.is_empty();
    let said_by = |claim: &'c Claimed| Said {
        platform: &claim.platform,
        repository: source_key(&claim.value.repository),
        commit: &claim.value.commit,
        is_provenance: claim.value.said_by == "provenance",
    };
    // However often it is said again, each is held against the others once.
    let said: BTreeSet<Said<'_>> = claims.iter().filter(counts).map(said_by).collect();
    let mut contradicted = BTreeSet::new();
    for one in &said {
        scope.spend(said.len() as u64)?;
        if said.iter().any(|other| one.contradicts(other)) {
            contradicted.insert(one.clone());
        }
    }
    Ok(claims.iter().filter(counts).filter(|claim| contradicted.contains(&said_by(claim))).collect())
}

impl Said<'_> {
    fn contradicts(&self, other: &Said<'_>) -> bool {
        let one_source = self.repository == other.repository
            || self.repository.is_empty()
            || other.repository.is_empty()
            || (self.is_provenance && other.is_provenance);
        let one_commit = self.commit.starts_with(other.commit) || other.commit.starts_with(self.commit);
        self.platform == other.platform && one_source && !one_commit
    }
}

/// It names the commit that was built, and does not merely label what was.
fn says_what_was_built(claim: &Claimed) -> bool {
    matches!(claim.value.said_by.as_str(), "packaged" | "provenance") && !claim.value.commit.is_empty()
}

/// A hop of which claims that contradict each other name several.
fn several(what: &str, hop: Hop, claims: &[&Claimed], named: impl Fn(&Claim) -> String) -> Hop {
    let said = claims.iter().map(|claim| (named(&claim.value), &claim.value.said_by));
    let named: BTreeMap<String, &String> = said.filter(|(named, _)| !named.is_empty()).collect();
    if named.len() < 2 {
        return hop;
    }
    let named: Vec<String> = named.iter().map(|(named, said_by)| format!("{named} ({said_by})")).collect();
    conflict(hop, format!("several {what} are named: {}", named.join(", ")))
}

/// A repository however its address is written.
fn source_key(repository: &str) -> String {
    let address = repository.strip_prefix("git+").unwrap_or(repository);
    let address = address.split_once("://").map_or(address, |(_, rest)| rest);
    let address = address.split_once('@').map_or(address, |(_, rest)| rest).trim_end_matches('/');
    address.strip_suffix(".git").unwrap_or(address).replacen(':', "/", 1).to_ascii_lowercase()
}

fn declared(place: &Place) -> Hop {
    let reason = (!place.beside.is_empty()).then(|| format!("beside it run {}", place.beside.join(", ")));
    Hop {
        kind: "deployment".to_owned(),
        status: "found".to_owned(),
        id: Some(format!("{}@{}", place.service, place.environment)),
        summary: format!("{} in {} runs {}", place.service, place.environment, place.artifact_ref),
        occurred_at: Some(place.since),
        reason,
        proof: Some(place.proof.clone()),
    }
}

fn unknown_artifact(place: Option<&Place>) -> Hop {
    let named = place.map(|place| place.digest.clone().unwrap_or_else(|| place.artifact_ref.clone()));
    let named = named.unwrap_or_default();
    let reason = format!(
        "{named} leads to no digest at that time: deploy by digest, or send artifact-published or tag-observed for it"
    );
    missing("artifact", &named, reason)
}

fn newest(kind: &str, items: Vec<Item>, nothing: &str, reason: String) -> Hop {
    let more = items.len().saturating_sub(1);
    let Some(item) = items.into_iter().next() else { return missing(kind, nothing, reason) };
    let summary = if more == 0 { item.summary.clone() } else { format!("{} (and {more} more)", item.summary) };
    found(kind, item, summary)
}

fn origin(kind: &str, item: Option<Item>, nothing: &str, reason: String) -> Hop {
    match item {
        None => missing(kind, nothing, reason),
        Some(item) => {
            let summary = item.summary.clone();
            found(kind, item, summary)
        }
    }
}

fn found(kind: &str, item: Item, summary: String) -> Hop {
    Hop {
        kind: kind.to_owned(),
        status: "found".to_owned(),
        id: Some(item.id),
        summary,
        occurred_at: Some(item.occurred_at),
        reason: None,
        proof: Some(item.proof),
    }
}

fn missing(kind: &str, summary: &str, reason: String) -> Hop {
    Hop {
        kind: kind.to_owned(),
        status: "missing".to_owned(),
        id: None,
        summary: summary.to_owned(),
        occurred_at: None,
        reason: Some(reason),
        proof: None::<Proof>,
    }
}

fn conflict(hop: Hop, reason: String) -> Hop {
    Hop { status: "conflict".to_owned(), reason: Some(reason), ..hop }
}
