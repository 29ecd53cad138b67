//! What was read of sets of components for a question.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use pedigraph_proto::Purl;

use super::kept::Kept;
use crate::facts::components::rows::{Bound, Known};
use crate::rows::stamp::Stamped;

/// Sets whose contents one question keeps: artifacts of one build often share theirs.
pub(super) const CONTENTS_KEPT_MAX: usize = 16;
/// Components that one question keeps: sets of one line share most of theirs, and each set is searched again and again.
pub(super) const COMPONENTS_KEPT_MAX: usize = 20_000;

/// Artifacts of which one question keeps to which SBOMs they are bound.
pub(super) const BOUND_KEPT_MAX: usize = 4_096;

/// What was read of contents for a question.
#[derive(Default)]
pub(crate) struct ReadContents {
    pub(super) sets: Kept<u32, Arc<Contents>>,
    pub(super) components: Kept<u32, Arc<Component>>,
    /// By digest, as it was asked for.
    pub(super) bound: Kept<String, Arc<Vec<Stamped<Bound>>>>,
}

/// A component, and its purl, which is taken apart once for a question: sets share most of theirs.
#[derive(Debug)]
pub(super) struct Component {
    known: Known,
    parsed: OnceLock<Option<Purl>>,
}

impl Component {
    pub(super) fn of(known: Known) -> Component {
        Component { known, parsed: OnceLock::new() }
    }

    /// `None` where it has none, or what no purl is.
    pub(super) fn parsed(&self) -> Option<&Purl> {
        self.parsed.get_or_init(|| Purl::parse(&self.known.purl)).as_ref()
    }
}

impl Deref for Component {
    type Target = Known;

    fn deref(&self) -> &Known {
        &self.known
    }
}

/// One component where it stands in a set.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Placed {
    pub(super) ordinal: u32,
    pub(super) component: u32,
    pub(super) depends_on: Vec<u32>,
}

/// A set with the shortest ways into it.
pub(super) struct Contents {
    /// By ordinal.
    pub(super) entries: Vec<Placed>,
    /// By entry: reached, and from which entry.
    pub(super) reached: Vec<Option<Option<usize>>>,
    /// (component, place), ascending.
    pub(super) places: Vec<(u32, usize)>,
}
