//! What voices come to: one verdict (SPEC §5, "Consensus"). Pure.

use std::collections::BTreeMap;

use pedigraph_proto::event::VexStatus;

/// A whole weight: weights and confidences are counted in ten thousandths, so that sums are exact.
pub(super) const ONE: u32 = 10_000;
/// Weight of what speaks of a component of the artifact only.
const OF_COMPONENT: u32 = 8_000;
/// Weight of what should be signed and is not, or not verifiably.
const UNSIGNED: u32 = 7_000;
/// Weight of all findings together.
pub(super) const OF_FINDINGS: u32 = 5_000;
/// What a statement is about, best first: the artifact by digest, by purl, a component of it. Within each the narrower
/// goes first: the digest itself before its index, a purl that names the version before one that does not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Rank {
    Digest,
    Index,
    VersionedPurl,
    Purl,
    VersionedComponent,
    Component,
}

/// Who an issuer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Role {
    Producer,
    Supplier,
    #[default]
    Other,
}

impl Role {
    pub(super) fn parse(word: &str) -> Option<Role> {
        match word {
            "producer" => Some(Role::Producer),
            "supplier" => Some(Role::Supplier),
            "other" => Some(Role::Other),
            _ => None,
        }
    }

    fn weight(self) -> u32 {
        match self {
            Role::Producer => ONE,
            Role::Supplier => 9_000,
            Role::Other => 6_000,
        }
    }
}

/// The weight of a statement.
pub(super) fn weight(role: Role, rank: Rank, unsigned: bool) -> u32 {
    let of_component = matches!(rank, Rank::VersionedComponent | Rank::Component);
    let weight = if of_component { times(role.weight(), OF_COMPONENT) } else { role.weight() };
    if unsigned { times(weight, UNSIGNED) } else { weight }
}

fn times(a: u32, b: u32) -> u32 {
    a * b / ONE
}

/// A voice: an issuer, or all findings together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Voice {
    pub(super) status: VexStatus,
    pub(super) weight: u32,
    /// It is an issuer with a configured role.
    pub(super) has_role: bool,
}

/// What voices come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Consensus {
    pub(crate) status: VexStatus,
    /// Winning sum over all, in ten thousandths, half up.
    pub(crate) confidence: u32,
    /// The voices differ.
    pub(crate) conflict: bool,
    /// Somebody with a configured role says so.
    pub(crate) by_role: bool,
}

impl Consensus {
    /// It is affected, or this is looked into.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.status, VexStatus::Affected | VexStatus::UnderInvestigation)
    }
}

/// The status with the greatest sum; of equal ones the more cautious. `None` without a voice.
pub(super) fn of_voices(voices: &[Voice]) -> Option<Consensus> {
    let mut sums: BTreeMap<usize, (u64, bool)> = BTreeMap::new();
    for voice in voices {
        let sum = sums.entry(voice.status.caution()).or_default();
        sum.0 += u64::from(voice.weight);
        sum.1 |= voice.has_role;
    }
    let total: u64 = sums.values().map(|(sum, _)| sum).sum();
    let best = sums.iter().min_by_key(|(caution, (sum, _))| (std::cmp::Reverse(*sum), **caution));
    let (caution, (sum, by_role)) = best?;
    let confidence = (2 * sum * u64::from(ONE) + total) / (2 * total).max(1);
    Some(Consensus {
        status: VexStatus::CAUTIOUS_FIRST.get(*caution).copied()?,
        confidence: u32::try_from(confidence).unwrap_or(ONE),
        conflict: sums.len() > 1,
        by_role: *by_role,
    })
}

/// What parts of a thing come to: the most cautious status of any; its confidence is the lowest among those with it.
pub(crate) fn of_parts(parts: &[Consensus]) -> Option<Consensus> {
    let worst = parts.iter().map(|part| part.status.caution()).min()?;
    let with_it: Vec<_> = parts.iter().filter(|part| part.status.caution() == worst).collect();
    Some(Consensus {
        status: VexStatus::CAUTIOUS_FIRST.get(worst).copied()?,
        confidence: with_it.iter().map(|part| part.confidence).min()?,
        conflict: parts.iter().any(|part| part.conflict),
        // Who clears one part does not clear another one.
        by_role: parts.iter().all(|part| part.by_role),
    })
}

#[cfg(test)]
mod tests {
    use pedigraph_proto::event::VexStatus::{Affected, Fixed, NotAffected, UnderInvestigation};

    use super::*;

    fn check(voices: &[(VexStatus, u32)], status: VexStatus, confidence: u32, conflict: bool) {
        let voices: Vec<_> =
            voices.iter().map(|(status, weight)| Voice { status: *status, weight: *weight, has_role: false }).collect();
        let found = of_voices(&voices).expect("a verdict");
        assert_eq!((found.status, found.confidence, found.conflict), (status, confidence, conflict), "{voices:?}");
    }

    #[test]
    fn the_greatest_sum_wins_and_ties_go_to_the_more_cautious() {
        check(&[(Affected, OF_FINDINGS)], Affected, 10_000, false);
        check(&[(Affected, OF_FINDINGS), (NotAffected, 6_000)], NotAffected, 5_455, true);
        check(&[(NotAffected, 6_000), (Affected, 6_000)], Affected, 5_000, true);
        check(&[(NotAffected, 6_000), (NotAffected, 4_800), (Affected, 10_000)], NotAffected, 5_192, true);
        check(&[(UnderInvestigation, 10_000), (Fixed, 10_000)], UnderInvestigation, 5_000, true);
        assert_eq!(of_voices(&[]), None);
    }

    #[test]
    fn confidences_round_half_up() {
        // 1 / 16 = 0.0625 exactly; 1 of 32 = 0.03125 is half.
        check(&[(Affected, 31), (Fixed, 1)], Affected, 9_688, true);
        check(&[(Affected, 2), (Fixed, 1)], Affected, 6_667, true);
    }

    #[test]
    fn weights_are_those_of_the_specification() {
        let of = |role, rank, unsigned| weight(role, rank, unsigned);
        assert_eq!(of(Role::Producer, Rank::Digest, false), 10_000);
        assert_eq!(of(Role::Supplier, Rank::Purl, false), 9_000);
        assert_eq!(of(Role::Other, Rank::Component, false), 4_800);
        assert_eq!(of(Role::Other, Rank::VersionedComponent, true), 3_360);
        assert_eq!(of(Role::Supplier, Rank::Component, true), 5_040);
    }

    #[test]
    fn the_most_cautious_part_is_the_whole() {
        let part = |status, confidence| Consensus { status, confidence, conflict: false, by_role: true };
        let parts = [part(NotAffected, 10_000), part(Affected, 7_000), part(Affected, 9_000)];
        assert_eq!(of_parts(&parts), Some(part(Affected, 7_000)));
        assert_eq!(of_parts(&[]), None);
    }
}
