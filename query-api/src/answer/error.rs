//! Why a question has no answer.

use pedigraph_projector::answers::Candidate;
use pedigraph_proto::Nanos;

/// Longest piece of a question that is repeated in an error, characters.
const QUOTED_CHARS_MAX: usize = 200;

/// What is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missing {
    /// An artifact.
    Artifact,
    /// The artifact of a lineage question.
    Lineage,
    /// What a reference leads to.
    Reference,
    /// An environment.
    Environment,
    /// What somebody says of an artifact and a vulnerability.
    Verdict,
    /// A ledger entry.
    Entry,
    /// The body of an entry that came without one.
    Body,
}

/// Why a question has no answer; the texts say what to change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not there.
    #[error("{detail}")]
    Missing {
        /// What.
        what: Missing,
        /// Its name, and where to look.
        detail: String,
        /// When it first happened, where the question's moment is before that.
        first_at: Option<Nanos>,
    },
    /// The reference names several things.
    #[error("{detail}")]
    Ambiguous {
        /// The reference, and how many things it may be.
        detail: String,
        /// They.
        candidates: Vec<Candidate>,
    },
    /// A part of the question has a value that is not allowed.
    #[error("{name} must be {allowed}")]
    Parameter {
        /// Which part.
        name: &'static str,
        /// What is allowed.
        allowed: String,
    },
    /// Both sides of a diff are one artifact.
    #[error("{0} names the same artifact on both sides")]
    Same(String),
    /// A leaf of the ledger cannot be read.
    #[error("the leaf of entry {0} cannot be read")]
    Leaf(u64),
    /// The views cannot be read, or the question breaks one of their limits.
    #[error(transparent)]
    Views(#[from] pedigraph_projector::Error),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] pedigraph_ledger::Error),
}

impl Error {
    /// What is not there, at any moment.
    pub fn missing(what: Missing, detail: String) -> Error {
        Error::Missing { what, detail, first_at: None }
    }
}

/// A piece of a question as it is repeated in an error.
pub(crate) fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(QUOTED_CHARS_MAX).collect::<String>())
}
