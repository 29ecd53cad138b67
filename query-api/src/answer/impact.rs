//! What contains a package, or what a vulnerability concerns, and where that runs (SPEC §5).

use pedigraph_projector::answers::Impact;
use pedigraph_projector::{ImpactQuestion, Scope};

use crate::answer::environment::check_named;
use crate::answer::error::Error;

/// The answer with the next page's key. An environment that nobody has named is an error: that nothing of it is listed
/// would read as if it were safe.
pub fn impact_of(scope: &Scope, question: &ImpactQuestion) -> Result<(Impact, Option<Vec<u8>>), Error> {
    if let Some(environment) = &question.environment {
        check_named(scope, environment)?;
    }
    Ok(scope.impact(question)?)
}
