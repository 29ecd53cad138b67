//! The events by which an artifact is known to be what it is now: what its replay hash covers (SPEC §3.2). They are its
//! own: never deployments, those of its parents, or statements on packages.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use pedigraph_proto::EventId;
use pedigraph_proto::canonical::REPLAY_RULES;
use pedigraph_proto::event::Verification;

use super::answers::{Input, Inputs, Proof};
use super::identity::{Graph, Profile};
use super::scope::{Clocks, Scope};
use crate::error::Error;
use crate::facts::findings::rows::{DocumentKey, ISSUED_ON, IssuedOn, table as findings, unreadable};
use crate::facts::lineage::rows::{Evidence, EvidenceKind, class, table};

/// Events of one artifact that are read for its node; the list of all of them is an answer of its own.
pub(super) const NODE_EVENTS_MAX: usize = 10_000;

/// What an event says of an artifact; the first word that fits is shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum InputKind {
    Build,
    Publication,
    Sbom,
    Scan,
    Attestation,
    Signature,
    Vex,
}

impl InputKind {
    fn word(self) -> &'static str {
        match self {
            InputKind::Build => "build",
            InputKind::Publication => "publication",
            InputKind::Sbom => "sbom",
            InputKind::Scan => "scan",
            InputKind::Attestation => "attestation",
            InputKind::Signature => "signature",
            InputKind::Vex => "vex",
        }
    }
}

/// How well the signatures of an artifact are known, best last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(super) enum Signed {
    #[default]
    No,
    Unverified,
    Invalid,
    Valid,
}

impl Signed {
    pub(super) fn word(self) -> &'static str {
        match self {
            Signed::No => "none",
            Signed::Unverified => "unverified",
            Signed::Invalid => "invalid",
            Signed::Valid => "valid",
        }
    }

    /// What a row of evidence says of it. What a registry only keeps beside an image was not looked at.
    fn by(evidence: &Evidence, kind: EvidenceKind) -> Signed {
        let Evidence::Stated { verification, .. } = evidence else {
            return if kind == EvidenceKind::Signature { Signed::Unverified } else { Signed::No };
        };
        match Verification::try_from(*verification).unwrap_or_default() {
            Verification::Valid => Signed::Valid,
            Verification::Invalid => Signed::Invalid,
            Verification::Unverified => Signed::Unverified,
            Verification::None | Verification::Unspecified => Signed::No,
        }
    }
}

/// The current events of one artifact.
#[derive(Default, Debug)]
pub(super) struct Current {
    /// By index of the entry.
    pub(super) entries: BTreeMap<u64, InputKind>,
    pub(super) sboms: u64,
    pub(super) scans: u64,
    pub(super) attestations: u64,
    /// By its own signatures alone.
    pub(super) signed: Signed,
    /// There are more than were asked for.
    pub(super) cut: bool,
}

impl Current {
    fn add(&mut self, index: u64, kind: InputKind) {
        let known = self.entries.entry(index).or_insert(kind);
        *known = kind.min(*known);
    }
}

impl Scope {
    /// The events that the replay hash of an artifact covers, all of them; `None` when nothing is known of it.
    pub fn inputs(&self, digest: &str) -> Result<Option<Inputs>, Error> {
        let graph = Graph::new(self);
        let Some(profile) = graph.profile(digest)? else { return Ok(None) };
        let current = graph.current_events(&profile, usize::MAX)?;
        let mut inputs = Vec::new();
        for (index, kind) in &current.entries {
            let Some(entry) = graph.kept_entry(*index)? else { continue };
            let Some(id) = EventId::from_slice(&entry.event_id) else { continue };
            let proof = Proof::of(*index, Some(&entry));
            inputs.push(Input { event_id: id.to_string(), kind: kind.word().to_owned(), proof });
        }
        let replay_hash = graph.replay_hash(&profile.digest, current.entries.into_keys())?;
        Ok(Some(Inputs {
            digest: profile.digest.clone(),
            aliases: profile.group.iter().skip(1).cloned().collect(),
            rules: REPLAY_RULES.to_owned(),
            subject: profile.digest.clone(),
            inputs,
            replay_hash,
        }))
    }
}

impl Graph<'_> {
    /// The current events of an artifact, by any of its digests. Without any it costs eight seeks for each digest; then
    /// a row for each event, but for what was superseded: two seeks for each scanner, three for each document of
    /// statements. Beyond `limit` events it ends.
    pub(super) fn current_events(&self, profile: &Profile, limit: usize) -> Result<Current, Error> {
        let mut current = Current::default();
        for sbom in self.scope.current_sboms(&profile.digest)? {
            current.sboms += 1;
            current.add(sbom.stamp.index, InputKind::Sbom);
        }
        for (_, index, ..) in self.scope.newest_scans(&profile.group)?.into_values() {
            current.scans += 1;
            current.add(index, InputKind::Scan);
        }
        for digest in &profile.group {
            self.made_by(digest, limit, &mut current)?;
            self.signed_by(digest, limit, &mut current)?;
            self.issued_on(digest, limit, &mut current)?;
        }
        Ok(current)
    }

    /// Builds and publications of a digest.
    fn made_by(&self, digest: &str, limit: usize, current: &mut Current) -> Result<(), Error> {
        let kind = |of: u8| if of == class::PUBLISHED { InputKind::Publication } else { InputKind::Build };
        for of in [class::BUILD, class::PUBLISHED] {
            let prefix = self.key(table::CLAIMS).text(digest).byte(of);
            self.scope.each::<()>(&prefix, &prefix.prefix_end(), false, Clocks::Both, |_, row| {
                current.add(row.stamp.index, kind(of));
                Ok(more(current, limit))
            })?;
        }
        let prefix = self.key(table::MADE).text(digest);
        self.scope.each::<u8>(&prefix, &prefix.prefix_end(), false, Clocks::Both, |_, row| {
            current.add(row.stamp.index, kind(row.value));
            Ok(more(current, limit))
        })
    }

    fn signed_by(&self, digest: &str, limit: usize, current: &mut Current) -> Result<(), Error> {
        self.each_signed(digest, |index, kind, signed| {
            let of = if kind == EvidenceKind::Attestation { InputKind::Attestation } else { InputKind::Signature };
            let before = current.entries.len();
            current.add(index, of);
            current.attestations += u64::from(current.entries.len() > before);
            current.signed = signed.max(current.signed);
            more(current, limit)
        })
    }

    /// How well the signatures of a digest are known; `None` when there are more than so many.
    pub(super) fn signed(&self, digest: &str, limit: usize) -> Result<Option<Signed>, Error> {
        let (mut best, mut rows) = (Signed::No, 0);
        self.each_signed(digest, |_, _, signed| {
            best = signed.max(best);
            rows += 1;
            if rows > limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(Some(best).filter(|_| rows <= limit))
    }

    /// Attestations and signatures of a digest: the entry, which of the two, how well it is known.
    fn each_signed(
        &self,
        digest: &str,
        mut visit: impl FnMut(u64, EvidenceKind, Signed) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        for kind in [EvidenceKind::Attestation, EvidenceKind::Signature] {
            let prefix = self.key(table::EVIDENCE).text(digest).byte(kind.byte());
            self.scope.each::<Evidence>(&prefix, &prefix.prefix_end(), false, Clocks::Both, |_, row| {
                Ok(visit(row.stamp.index, kind, Signed::by(&row.value, kind)))
            })?;
        }
        Ok(())
    }

    /// Documents with statements on a digest that hold: from one to the next by a seek, however many versions each has.
    fn issued_on(&self, digest: &str, limit: usize, current: &mut Current) -> Result<(), Error> {
        let of = findings(&self.scope.tenant, ISSUED_ON).text(digest);
        let (mut from, end) = (of.clone(), of.prefix_end());
        while let Some(key) = self.scope.next_key(&from, &end, Clocks::Known)? {
            let rest = key.get(of.as_bytes().len()..).and_then(|rest| rest.first_chunk::<16>());
            let document: DocumentKey = *rest.ok_or_else(unreadable)?;
            let of_it = of.clone().bytes(&document);
            from = of_it.prefix_end();
            let Some(holds) = self.scope.holding_issue(&document)? else { continue };
            let here = of_it.number(holds);
            let parts = self.scope.keyed::<IssuedOn>(&here, &here.prefix_end(), false, Clocks::Known, usize::MAX)?;
            let at = self.scope.at.map_or(i64::MAX, |at| at.0);
            let mut in_force = parts.iter().filter(|(_, row)| row.value.from <= at);
            let counts = match in_force.next() {
                None => false,
                Some((_, row)) => !row.value.in_sbom || self.is_of_current_sbom(&document, holds, current)?,
            };
            if counts {
                current.add(holds, InputKind::Vex);
            }
            if more(current, limit).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Whether the SBOM is current that a document of statements is part of: for this artifact, or for what it describes.
    fn is_of_current_sbom(&self, document: &DocumentKey, index: u64, current: &Current) -> Result<bool, Error> {
        if current.entries.get(&index) == Some(&InputKind::Sbom) {
            return Ok(true);
        }
        let Some(issue) = self.scope.issue(document, index)? else { return Ok(false) };
        for subject in &issue.subjects {
            if self.scope.current_sboms(subject)?.iter().any(|sbom| sbom.written.index == index) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn more(current: &mut Current, limit: usize) -> ControlFlow<()> {
    current.cut = current.entries.len() > limit;
    if current.cut { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
