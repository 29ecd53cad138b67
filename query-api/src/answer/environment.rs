//! What runs where, and what changed.

use pedigraph_projector::answers::{Change, Page, ServiceIn};
use pedigraph_projector::{EnvironmentDiffPage, EnvironmentPage, EnvironmentSide, LastKnownGood, Scope, ServiceHere};

use crate::answer::error::{Error, Missing, quoted};

/// A page of an environment's services, and the key of the next one.
pub fn environment_of(
    scope: &Scope,
    name: &str,
    include_removed: bool,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<EnvironmentPage, Error> {
    match scope.environment_page(name, include_removed, after, limit)? {
        Some(page) => Ok(page),
        None => Err(unknown(scope, name)?),
    }
}

/// A page of an environment's changes, newest first.
pub fn changes_of(scope: &Scope, name: &str, after: Option<&[u8]>, limit: usize) -> Result<Page<Change>, Error> {
    match scope.changes(name, after, limit)? {
        Some(changes) => Ok(changes),
        None => Err(unknown(scope, name)?),
    }
}

/// Two environments side by side, or one at two moments: a page of services, and the key of the next one.
pub fn environment_diff_of(
    scope: &Scope,
    sides: (&EnvironmentSide, &EnvironmentSide),
    only_changes: bool,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<EnvironmentDiffPage, Error> {
    if sides.0 == sides.1 {
        let allowed = "an environment other than the first, or from and to two moments".to_owned();
        return Err(Error::Parameter { name: "with", allowed });
    }
    match scope.environment_diff(sides, only_changes, after, limit)? {
        Some(page) => Ok(page),
        None => {
            for side in [sides.0, sides.1] {
                // Says which of both it is.
                environment_of(&scope.when(side.at), &side.environment, false, None, 1)?;
            }
            Err(unknown(scope, &sides.0.environment)?)
        }
    }
}

/// A service of an environment, with at most `spells` of each lane's past.
pub fn service_of(scope: &Scope, environment: &str, service: &str, spells: usize) -> Result<ServiceHere, Error> {
    if let Some(here) = scope.service_here(environment, service, spells)? {
        return Ok(here);
    }
    Err(nothing_deployed(scope, environment, service))
}

/// What runs of a service in each environment that has it, and the key of the next page.
pub fn service_anywhere(
    scope: &Scope,
    service: &str,
    include_removed: bool,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Page<ServiceIn>, Error> {
    match scope.service_anywhere(service, include_removed, after, limit)? {
        Some(page) => Ok(page),
        None => Err(never_deployed(service)),
    }
}

/// An error for an environment that nobody has named.
pub fn check_named(scope: &Scope, environment: &str) -> Result<(), Error> {
    if scope.environment_is_named(environment)? { Ok(()) } else { Err(unknown(scope, environment)?) }
}

/// What to go back to in one environment, lane by lane.
pub fn last_known_good_of(scope: &Scope, environment: &str, service: &str) -> Result<LastKnownGood, Error> {
    if let Some(good) = scope.last_known_good(environment, service)? {
        return Ok(good);
    }
    Err(nothing_deployed(scope, environment, service))
}

/// The same in each environment in which it runs, and the key of the next page.
pub fn last_known_good_anywhere(
    scope: &Scope,
    service: &str,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Page<LastKnownGood>, Error> {
    let known = scope.last_known_good_anywhere(service, after, limit)?;
    known.ok_or_else(|| never_deployed(service))
}

/// Which of both is not there.
fn nothing_deployed(scope: &Scope, environment: &str, service: &str) -> Error {
    if let Err(error) = environment_of(scope, environment, false, None, 1) {
        return error;
    }
    let detail = format!("nothing was deployed as {} in {}", quoted(service), quoted(environment));
    Error::missing(Missing::Reference, detail)
}

fn never_deployed(service: &str) -> Error {
    let detail = format!("nothing was deployed as {}; /api/v1/resolve?q= looks for it", quoted(service));
    Error::missing(Missing::Reference, detail)
}

/// Nobody has named it, or only later than the question's moment.
fn unknown(scope: &Scope, name: &str) -> Result<Error, Error> {
    let (what, quoted) = (Missing::Environment, quoted(name));
    if let Some(at) = scope.at()
        && let Some(first) = scope.when(None).first_change(name)?
    {
        let detail = format!("nothing had happened in {quoted} by {at}: its first change was at {first}");
        return Ok(Error::Missing { what, detail, first_at: Some(first) });
    }
    let known = scope.as_of().map_or_else(|| "the ledger is empty".to_owned(), |index| format!("as of entry {index}"));
    let detail = format!("no deployment names {quoted} ({known}); /api/v1/environments lists them");
    Ok(Error::missing(what, detail))
}
