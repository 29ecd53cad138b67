//! The rows of verdicts and deltas: what was held of each artifact, and where that differs along `parent` edges. Keys that
//! go on with since when say what holds from an (index, ordinal) on.

use pedigraph_proto::TenantId;
use pedigraph_proto::event::VexStatus;
use serde::{Deserialize, Serialize};

use crate::facts::derived_key;
use crate::store::key::Key;

/// The view's byte, after that of derived views.
pub(crate) const BYTE: u8 = b'v';

/// Where the name of a vulnerability stands: whether anybody looked into an artifact at all. It comes before all names.
pub(crate) const LOOKED_INTO: &str = "\u{1}";

fn table(tenant: &TenantId, table: u8) -> Key {
    derived_key(tenant, BYTE).byte(table)
}

/// (artifact, vulnerability, since) → [`Standing`].
pub(crate) fn standings(tenant: &TenantId, digest: &str) -> Key {
    table(tenant, b's').text(digest)
}

/// (vulnerability, artifact) → nothing: it had a verdict at some time.
pub(crate) fn judged(tenant: &TenantId, name: &str) -> Key {
    table(tenant, b'j').text(name)
}

/// (from, to, vulnerability, since) → [`Delta`].
pub(crate) fn deltas(tenant: &TenantId, from: &str, to: &str) -> Key {
    table(tenant, b'd').text(from).text(to)
}

/// (vulnerability, from, to) → nothing: there was a delta at some time.
pub(crate) fn differing(tenant: &TenantId, name: &str) -> Key {
    table(tenant, b'v').text(name)
}

/// (artifact, since) → [`Badge`].
pub(crate) fn badges(tenant: &TenantId, digest: &str) -> Key {
    table(tenant, b'b').text(digest)
}

/// (artifact, since) → [`Tally`].
pub(crate) fn tallies(tenant: &TenantId, digest: &str) -> Key {
    table(tenant, b't').text(digest)
}

/// (index, artifact, vulnerability) → [`Change`]: what an entry changed.
pub(crate) fn changed(tenant: &TenantId, index: u64) -> Key {
    table(tenant, b'c').number(index)
}

/// (index, from, to, vulnerability) → [`Delta`]: a delta that an entry changed, as it is since then.
pub(crate) fn changed_deltas(tenant: &TenantId, index: u64) -> Key {
    table(tenant, b'e').number(index)
}

/// What a verdict says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) enum Standing {
    /// There is none.
    #[default]
    None,
    Affected,
    UnderInvestigation,
    Fixed,
    NotAffected,
}

impl Standing {
    /// Of the status that won.
    pub(crate) fn of(status: VexStatus) -> Standing {
        match status {
            VexStatus::Unspecified => Standing::None,
            VexStatus::Affected => Standing::Affected,
            VexStatus::UnderInvestigation => Standing::UnderInvestigation,
            VexStatus::Fixed => Standing::Fixed,
            VexStatus::NotAffected => Standing::NotAffected,
        }
    }

    /// Whether it is or may be affected: what badges count.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Standing::Affected | Standing::UnderInvestigation)
    }

    /// As answers have it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Standing::None => "none",
            Standing::Affected => "affected",
            Standing::UnderInvestigation => "under_investigation",
            Standing::Fixed => "fixed",
            Standing::NotAffected => "not_affected",
        }
    }
}

/// What an entry made of the verdict on an artifact and a vulnerability.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) old: Standing,
    pub(crate) new: Standing,
}

/// Two verdicts along an edge; no delta where they are the same, or where nobody looked into the next version yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Delta {
    pub(crate) from: Standing,
    pub(crate) to: Standing,
}

impl Delta {
    /// Whether they differ.
    pub(crate) fn is_any(self) -> bool {
        self.from != self.to
    }
}

/// How an artifact compares with its parents (SPEC §3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Badge {
    /// Open here and in no parent.
    pub(crate) new: u32,
    /// Open in some parent and not here.
    pub(crate) resolved: u32,
}

/// How many verdicts on an artifact say what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Whether anybody looked into it.
    pub(crate) looked_into: bool,
    pub(crate) affected: u32,
    pub(crate) under_investigation: u32,
    pub(crate) fixed: u32,
    pub(crate) not_affected: u32,
}

impl Tally {
    /// As it is after the verdict on a vulnerability changed.
    pub(crate) fn changed(mut self, name: &str, change: Change) -> Tally {
        if name == LOOKED_INTO {
            self.looked_into = change.new != Standing::None;
            return self;
        }
        self.of(change.old, |count| count.saturating_sub(1));
        self.of(change.new, |count| count.saturating_add(1));
        self
    }

    fn of(&mut self, standing: Standing, count: impl FnOnce(u32) -> u32) {
        let field = match standing {
            Standing::None => return,
            Standing::Affected => &mut self.affected,
            Standing::UnderInvestigation => &mut self.under_investigation,
            Standing::Fixed => &mut self.fixed,
            Standing::NotAffected => &mut self.not_affected,
        };
        *field = count(*field);
    }
}

/// Whether that nothing is said of a vulnerability here means that it is not there: where somebody looked into a version
/// before, it does so only once somebody looked into this one too.
pub(crate) fn none_is_known(looked_into: bool, before_looked_into: bool) -> bool {
    looked_into || !before_looked_into
}
