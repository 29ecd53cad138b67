//! What is said of vulnerabilities, and what it comes to (SPEC §5). All of it is computed when asked, from the rows of
//! what is said: a late fact, an alias that is learned later or a withdrawn document changes every answer at once.

mod about;
pub(super) mod candidates;
pub(super) mod consensus;
mod heard;
pub(super) mod names;
pub(super) mod said;
pub(crate) mod sayings;
pub(super) mod subjects;
pub(super) mod verdict;
