//! What is known for a question of digests that are one artifact, and of indexes and manifests joined to it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::rows::stamp::Stamp;

/// What was read of groups for a question.
#[derive(Default)]
pub(crate) struct Groups {
    /// By each of their digests.
    pub(super) groups: Mutex<HashMap<String, Arc<Group>>>,
    /// By canonical digest: what is above, and what is below.
    pub(super) above: Mutex<HashMap<String, Arc<Members>>>,
    pub(super) below: Mutex<HashMap<String, Arc<Members>>>,
    /// The same one level on.
    pub(super) next_above: Mutex<HashMap<String, Arc<Next>>>,
    pub(super) next_below: Mutex<HashMap<String, Arc<Next>>>,
    /// All rows of a digest; `None` where it has many.
    pub(super) few: Mutex<HashMap<String, Option<Arc<Vec<Joined>>>>>,
}

/// What another digest is to a digest.
#[derive(Clone, Debug)]
pub(super) struct Joined {
    pub(super) role: u8,
    pub(super) other: String,
    /// As the fact writes it.
    pub(super) platform: String,
    pub(super) stamp: Stamp,
}

/// Every digest of one artifact.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Group {
    /// The canonical digest first, then the others in order.
    pub(crate) digests: Vec<String>,
    /// More digests are called the same than an artifact may have.
    pub(crate) cut: bool,
}

/// An index or manifest joined to an artifact.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Member {
    /// How many indexes lie between, 1 = none.
    pub(crate) level: usize,
    /// Canonical.
    pub(crate) digest: String,
    /// As the index that lists it says; empty where it says none.
    pub(crate) platform: String,
}

/// What is joined to an artifact on one side, by level and digest.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Members {
    pub(crate) members: Vec<Member>,
    /// There is more below the last level, or beside the last member.
    pub(crate) cut: bool,
}

impl Member {
    /// What a sentence calls it.
    pub(super) fn shown(&self) -> &str {
        if self.platform.is_empty() { &self.digest } else { &self.platform }
    }
}

impl Members {
    pub(super) fn digests(&self) -> impl Iterator<Item = &String> {
        self.members.iter().map(|member| &member.digest)
    }
}

/// Canonical digests of what is joined to an artifact itself, with platforms, as rows have them.
#[derive(Default)]
pub(super) struct Next {
    pub(super) others: Vec<(String, String)>,
    /// There is more.
    pub(super) cut: bool,
}

/// Which way from an index to its manifests, or back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Way {
    Below,
    Above,
}
