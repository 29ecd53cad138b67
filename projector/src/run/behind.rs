//! Tenants that are behind the commits folded in order, since a part of a commit took more than one step, or since much
//! of a step was theirs and there was more to fold. Each goes on in turns, in the order of its own log, while the
//! others go on with the commits.

use std::collections::BTreeMap;
use std::ops::Bound;

use pedigraph_proto::TenantId;

use super::piece::Piece;

/// What is begun, and whose turn it is.
#[derive(Default)]
pub(super) struct Behind {
    pieces: BTreeMap<TenantId, Piece>,
    last: String,
}

impl Behind {
    /// Keeps what is folded in part.
    pub(super) fn keep(&mut self, piece: Piece) {
        self.pieces.insert(piece.part.tenant.clone(), piece);
    }

    /// Takes what was kept.
    pub(super) fn take(&mut self, tenant: &TenantId) -> Option<Piece> {
        self.pieces.remove(tenant)
    }

    /// Whose turn comes next, of these: the first after the one that had the last.
    pub(super) fn next<T>(&mut self, names: &BTreeMap<String, T>) -> Option<TenantId> {
        let later = names.range::<str, _>((Bound::Excluded(self.last.as_str()), Bound::Unbounded)).next();
        let (name, _) = later.or_else(|| names.first_key_value())?;
        self.last.clone_from(name);
        TenantId::new(name)
    }
}

#[cfg(test)]
mod tests;
