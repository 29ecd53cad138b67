//! Artifacts, their lineage, traces and what a text may name.

use pedigraph_projector::answers::{
    Artifact, Candidate, Candidates, Compare, Diff, Direction, Hover, Inputs, Lineage, Sboms, Shown, Trace, Verdict,
};
use pedigraph_projector::{CANDIDATES_MAX, Disagreements, Error as Views, Found, Scope};
use pedigraph_proto::Digest;

use crate::answer::error::{Error, Missing, quoted};

/// How far lineage is followed when nothing is said.
pub const DEPTH_DEFAULT: usize = 10;
/// Longest search text or reference, bytes.
pub const REFERENCE_BYTES_MAX: usize = 4_096;

/// Things of another kind that an error names, where a reference leads to no artifact.
const MEANT_MAX: usize = 3;

/// The graph around whatever a reference names.
pub fn lineage_of(
    scope: &Scope,
    reference: &str,
    depth: usize,
    direction: Direction,
    shown: Shown,
) -> Result<Lineage, Error> {
    of_named(scope, Missing::Lineage, reference, |digest| scope.lineage_shown(digest, depth, direction, shown))
}

/// The events that the replay hash covers of the artifact that a reference names.
pub fn inputs_of(scope: &Scope, reference: &str) -> Result<Inputs, Error> {
    of_named(scope, Missing::Artifact, reference, |digest| scope.inputs(digest))
}

/// A card of the artifact that a reference names.
pub fn hover_of(scope: &Scope, reference: &str) -> Result<Hover, Error> {
    of_named(scope, Missing::Artifact, reference, |digest| scope.hover(digest))
}

/// From a running thing back to its source.
pub fn trace_of(scope: &Scope, reference: &str) -> Result<Trace, Error> {
    check_reference("ref", reference)?;
    match scope.trace(reference)? {
        Found::One(trace) => Ok(trace),
        Found::Ambiguous(candidates) => Err(ambiguous(reference, candidates)),
        Found::Nothing => Err(unknown(scope, Missing::Reference, reference)),
    }
}

/// The artifact that a reference names.
pub fn artifact_of(scope: &Scope, reference: &str) -> Result<Artifact, Error> {
    of_named(scope, Missing::Artifact, reference, |digest| scope.artifact(digest))
}

/// The verdict on the artifact that a reference names, and a vulnerability, with at most so much of what was said after a
/// page's key; and the key of the next page.
pub fn verdict_of(
    scope: &Scope,
    (reference, vulnerability): (&str, &str),
    after: Option<&[u8]>,
    limit: usize,
) -> Result<(Verdict, Option<Vec<u8>>), Error> {
    // What an artifact is does not change with time, what a name leads to does.
    let digest = match reference.trim().parse::<Digest>() {
        Ok(digest) => Some(digest.to_string()),
        Err(_) => digest_of(scope, reference)?,
    };
    let digest = digest.ok_or_else(|| unknown(scope, Missing::Artifact, reference))?;
    if let Some(verdict) = scope.verdict(&digest, vulnerability)? {
        return Ok(verdict.listed(after, limit)?);
    }
    if !scope.is_known(&digest)? {
        return Err(unknown(scope, Missing::Artifact, reference));
    }
    let (artifact, id) = (quoted(reference), quoted(vulnerability));
    let detail = format!("no statement and no finding is about {artifact} and {id}; this does not say that it is safe");
    Err(Error::missing(Missing::Verdict, detail))
}

/// What changed between the artifacts that two references name.
pub fn diff_of(scope: &Scope, from: &str, to: &str) -> Result<Diff, Error> {
    let (old, new) = different(scope, from, to)?;
    Ok(scope.diff(&old, &new)?)
}

/// The artifacts that two references name, side by side.
pub fn compare_of(scope: &Scope, a: &str, b: &str) -> Result<Compare, Error> {
    let (first, second) = different(scope, a, b)?;
    scope.compare(&first, &second)?.ok_or_else(|| unknown(scope, Missing::Artifact, a))
}

/// The SBOMs of the artifact that a reference names.
pub fn sboms_of(scope: &Scope, reference: &str, told: Disagreements) -> Result<Sboms, Error> {
    of_named(scope, Missing::Artifact, reference, |digest| scope.sboms(digest, told))
}

/// The canonical digests of what two references name: two artifacts.
pub(super) fn different(scope: &Scope, from: &str, to: &str) -> Result<(String, String), Error> {
    let digest = |reference: &str| {
        of_named(scope, Missing::Artifact, reference, |digest| {
            scope.is_known(digest)?.then(|| scope.canonical_digest(digest)).transpose()
        })
    };
    let (old, new) = match (digest(from), digest(to)) {
        // Where one may be several things and the other is not there at all, the other is what was mistyped.
        (Err(Error::Ambiguous { .. }), Err(missing @ Error::Missing { .. })) => return Err(missing),
        (old, new) => (old?, new?),
    };
    if old == new {
        return Err(Error::Same(old));
    }
    Ok((old, new))
}

/// What is answered about the artifact that a reference names; nothing is answered about what is not known.
pub(super) fn of_named<T>(
    scope: &Scope,
    what: Missing,
    reference: &str,
    ask: impl FnOnce(&str) -> Result<Option<T>, Views>,
) -> Result<T, Error> {
    let answer = digest_of(scope, reference)?.map(|digest| ask(&digest)).transpose()?.flatten();
    answer.ok_or_else(|| unknown(scope, what, reference))
}

/// Nothing has this name, or only later than the question's moment.
fn unknown(scope: &Scope, what: Missing, reference: &str) -> Error {
    let quoted = quoted(reference);
    if let Some(at) = scope.at() {
        match scope.when(None).trace(reference) {
            Ok(Found::One(_) | Found::Ambiguous(_)) => {
                let later = format!("nothing was known as {quoted} by {at}: what it names today came later");
                return Error::missing(what, later);
            }
            Err(error @ (Views::TooExpensive { .. } | Views::Stopped)) => return error.into(),
            Ok(Found::Nothing) | Err(_) => {}
        }
    }
    let meant = match scope.resolve(reference) {
        Ok(found) => found.candidates,
        Err(error @ (Views::TooExpensive { .. } | Views::Stopped)) => return error.into(),
        Err(_) => vec![],
    };
    // A purl and a vulnerability are things to ask about, whether anybody knows them or not.
    let is_known = |candidate: &&Candidate| !["purl", "vulnerability"].contains(&candidate.kind.as_str());
    let told = meant.iter().filter(is_known).take(MEANT_MAX);
    let told = told.map(|candidate| format!("{} {}", candidate.kind, candidate.id));
    Error::missing(
        what,
        match told.collect::<Vec<_>>().as_slice() {
            [] => format!("nothing that was recorded names {quoted}; try /api/v1/resolve?q="),
            told => format!("{quoted} is no whole reference; what has this name: {}", told.join(", ")),
        },
    )
}

fn digest_of(scope: &Scope, reference: &str) -> Result<Option<String>, Error> {
    check_reference("digest", reference)?;
    match scope.artifact_digest(reference)? {
        Found::One(digest) => Ok(Some(digest)),
        Found::Nothing => Ok(None),
        Found::Ambiguous(candidates) => Err(ambiguous(reference, candidates)),
    }
}

fn check_reference(name: &'static str, reference: &str) -> Result<(), Error> {
    if reference.trim().is_empty() || reference.len() > REFERENCE_BYTES_MAX {
        let allowed = "a digest, a short digest, repository:tag or environment/service".to_owned();
        return Err(Error::Parameter { name, allowed });
    }
    Ok(())
}

fn ambiguous(reference: &str, candidates: Vec<Candidate>) -> Error {
    let count = match candidates.len() {
        many if many > CANDIDATES_MAX => format!("more than {CANDIDATES_MAX}"),
        few => few.to_string(),
    };
    let detail = format!("{} may be {count} things; ask for one of the candidates", quoted(reference));
    Error::Ambiguous { detail, candidates: candidates.into_iter().take(CANDIDATES_MAX).collect() }
}

/// What a text may name, best first.
pub fn resolve_of(scope: &Scope, query: &str) -> Result<Candidates, Error> {
    if query.len() > REFERENCE_BYTES_MAX {
        return Err(Error::Parameter { name: "q", allowed: format!("at most {REFERENCE_BYTES_MAX} bytes") });
    }
    Ok(scope.resolve(query)?)
}
