//! What runs where, and what changed.

use pedigraph_projector::Scope;
use pedigraph_projector::answers::{Change, Environment, Page};

use crate::answer::error::{Error, Missing, quoted};

/// One environment.
pub fn environment_of(scope: &Scope, name: &str, include_removed: bool) -> Result<Environment, Error> {
    scope.environment(name, include_removed)?.ok_or_else(|| unknown(name))
}

/// A page of an environment's changes, newest first.
pub fn changes_of(scope: &Scope, name: &str, after: Option<&[u8]>, limit: usize) -> Result<Page<Change>, Error> {
    scope.changes(name, after, limit)?.ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Error {
    let detail = format!("no deployment names {}; /api/v1/environments lists them", quoted(name));
    Error::missing(Missing::Environment, detail)
}
