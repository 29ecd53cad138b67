//! What was read of sets of components for a question.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use pedigraph_proto::Purl;

use crate::error::Error;
use crate::facts::components::rows::Known;

/// Sets whose contents one question keeps: artifacts of one build often share theirs.
pub(super) const CONTENTS_KEPT_MAX: usize = 16;
/// Components that one question keeps: sets of one line share most of theirs, and each set is searched again and again.
pub(super) const COMPONENTS_KEPT_MAX: usize = 20_000;

/// What was read of contents for a question.
#[derive(Default)]
pub(crate) struct ReadContents {
    pub(super) sets: Mutex<BTreeMap<u32, Arc<Contents>>>,
    pub(super) components: Mutex<BTreeMap<u32, Arc<Component>>>,
}

/// A component, and its purl, which is taken apart once for a question: sets share most of theirs.
#[derive(Default, Debug)]
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

/// What is kept, or is read now; what was kept before goes when there is too much of it.
pub(super) fn kept<T>(
    all: &Mutex<BTreeMap<u32, Arc<T>>>,
    number: u32,
    most: usize,
    read: impl FnOnce() -> Result<T, Error>,
) -> Result<Arc<T>, Error> {
    if let Some(known) = all.lock().get(&number) {
        return Ok(known.clone());
    }
    let found = Arc::new(read()?);
    let mut all = all.lock();
    if all.len() >= most {
        all.clear();
    }
    all.insert(number, found.clone());
    Ok(found)
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
