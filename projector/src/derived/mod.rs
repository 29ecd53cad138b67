//! Views that are derived from rows of facts as of an index (DESIGN §5): lists that nobody could compute while asking.
//! They may ask, and nothing that asks knows them: the shapes of their rows and keys are in `facts`.

mod deltas;
mod lines;
mod touched;
mod undescribed;

use std::collections::BTreeSet;

use pedigraph_proto::TenantId;

use crate::ask::Scope;
use crate::error::Error;
use crate::facts::view::FactAt;
use crate::rows::Rows;
use crate::rows::told::Told;

/// Keys that an entry touches which are looked at together.
const KEYS_AT_ONCE: usize = 64;

/// A view that is derived: from what a fact touches, as of the entry that holds the fact.
///
/// Its rows are a function of the ledger alone: of the rows below and at an entry, and of its own rows below it. They are
/// only inserted, with the entry's stamp, whose ordinal is the number of the step in the entry, from 1, of steps that
/// write anything: a later row supersedes an earlier one for who sees both, and what earlier steps of an entry wrote is
/// seen by it. A crash leaves rows at or above what the view has come to, which nobody sees and which are written again
/// with the same values.
pub(crate) trait Derived: Send + Sync {
    /// Name in freshness, metrics and `rebuild --check`.
    fn name(&self) -> &'static str;
    /// Another version: the rows of this view alone are removed and derived anew.
    fn version(&self) -> u32;
    /// Its key space: [`facts::derived_key`](crate::facts::derived_key) of this byte.
    fn byte(&self) -> u8;
    /// Whether answers that do not use it go on without it, however far it is behind. It may look at rows of the views
    /// before it in [`all`], which have come further.
    fn stands_apart(&self) -> bool {
        false
    }
    /// What it found since it was made, to be counted.
    fn found(&self) -> u64 {
        0
    }
    /// Adds keys of what a fact touches, in the view's own encoding. Reads nothing. What folding the fact told is absent
    /// when it is read again from the ledger: then there may be more keys, of which nothing comes.
    fn touches(&self, fact: &FactAt<'_>, told: Option<&Told>, touched: &mut BTreeSet<Vec<u8>>);
    /// What may have to be worked off since an entry touches some keys, in the view's own encoding: from rows of facts
    /// alone. It gets at most [`Derived::keys_at_once`] of them.
    fn subjects(&self, at: &DerivedAt<'_>, keys: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Error> {
        let _ = at;
        Ok(keys)
    }
    /// Keys of one entry that are looked at together, so that what is around several is walked once.
    fn keys_at_once(&self) -> usize {
        KEYS_AT_ONCE
    }
    /// One bounded step for one subject of one entry. `cursor` is where the last step for it ended, empty at first; gives
    /// the next one, and `None` when the subject is done. It reads and writes about [`DerivedAt::rows_max`] rows; where
    /// steps end hangs on rows alone, so that it is the same each time. Subjects of an entry come in ascending order. For
    /// one of which the entry changes nothing nothing is written: it leaves no trace, and need not be one.
    fn step(
        &self,
        at: &DerivedAt<'_>,
        subject: &[u8],
        cursor: &[u8],
        rows: &mut Rows<'_>,
    ) -> Result<Option<Vec<u8>>, Error>;
}

/// What a step of a derived view may look at.
pub(crate) struct DerivedAt<'a> {
    /// Whose it is.
    pub(crate) tenant: &'a TenantId,
    /// What was known before the entry. The view's own rows are read through this alone.
    pub(crate) before: &'a Scope,
    /// What is known with the entry. It may show what a crash left of the view's own rows of the entry.
    pub(crate) after: &'a Scope,
    /// About how many rows one step reads and writes.
    pub(crate) rows_max: usize,
}

impl DerivedAt<'_> {
    /// Of the entry.
    pub(crate) fn index(&self) -> u64 {
        self.before.bound
    }
}

/// The derived views of one set of rows.
pub(crate) type DerivedViews = Vec<Box<dyn Derived>>;

/// Every derived view, in the order in which they are derived.
pub(crate) fn all() -> DerivedViews {
    vec![Box::new(lines::LineOrder), Box::new(undescribed::UndescribedLanes), Box::new(deltas::VexDeltas::default())]
}
