//! What a pack says of vulnerabilities: the verdicts on an artifact with all that was said, and what changed since each
//! of its parents, in verdicts and in contents. Each answer names the entries that its replay hash covers.

use std::collections::BTreeSet;

use pedigraph_projector::answers::{Artifact, Diff, Proof, Verdict, VerdictLink, VexDelta};
use pedigraph_projector::{Error, Scope};
use serde::Serialize;

/// Links of verdicts to SBOMs that the answer about one artifact lists.
const VERDICTS_MAX: usize = 5_000;
/// Deltas that are listed along one edge.
const DELTAS_MAX: usize = 5_000;
/// Rows of a list that are asked for at once.
const PAGE_ROWS: usize = 500;

/// `answers/….verdicts.json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Verdicts {
    digest: String,
    /// By vulnerability.
    verdicts: Vec<Verdict>,
    /// Each with every current SBOM of the artifact.
    links: Vec<VerdictLink>,
    /// Verdicts that are listed.
    count: usize,
    /// There may be more.
    at_least: bool,
}

/// `answers/….changes.json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Changes {
    digest: String,
    /// By digest of the parent.
    parents: Vec<Since>,
    /// Parents that are listed.
    count: usize,
    /// There may be more.
    at_least: bool,
}

/// What changed since one parent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Since {
    from: String,
    to: String,
    diff: Resting<Diff>,
    deltas: Vec<Resting<VexDelta>>,
    /// Deltas that are listed.
    count: usize,
    /// There may be more.
    at_least: bool,
}

/// An answer with the entries that its replay hash covers.
#[derive(Serialize)]
struct Resting<T> {
    #[serde(flatten)]
    answer: T,
    inputs: Vec<Input>,
}

#[derive(Serialize)]
struct Input {
    proof: Proof,
}

impl<T> Resting<T> {
    fn on(answer: T, proofs: Vec<Proof>) -> Resting<T> {
        Resting { answer, inputs: proofs.into_iter().map(|proof| Input { proof }).collect() }
    }
}

/// The verdicts on an artifact.
pub(super) fn verdicts_of(scope: &Scope, digest: &str) -> Result<Verdicts, Error> {
    let (links, at_least) = pages(VERDICTS_MAX, |after, limit| scope.verdicts_on(digest, None, after, limit))?;
    let names: BTreeSet<&String> = links.iter().map(|link| &link.cve).collect();
    let mut verdicts = Vec::new();
    for name in names {
        verdicts.extend(scope.verdict(digest, name)?);
    }
    Ok(Verdicts { digest: digest.to_owned(), count: verdicts.len(), verdicts, links, at_least })
}

/// What changed since the parents of an artifact.
pub(super) fn changes_of(scope: &Scope, artifact: &Artifact) -> Result<Changes, Error> {
    let (digest, lineage) = (artifact.node.digest.clone(), &artifact.lineage);
    let parents = lineage.parents.iter().map(|parent| since(scope, parent, &digest)).collect::<Result<Vec<_>, _>>()?;
    Ok(Changes {
        digest,
        count: parents.len(),
        parents,
        at_least: artifact.truncated.iter().any(|list| list == "lineage"),
    })
}

fn since(scope: &Scope, from: &str, to: &str) -> Result<Since, Error> {
    let (diff, proofs) = scope.proved_diff(from, to)?;
    let (listed, at_least) = pages(DELTAS_MAX, |after, limit| scope.deltas_along(from, to, after, limit))?;
    let mut deltas = Vec::new();
    for delta in listed {
        let heard = scope.heard(&[from, to], &delta.cve)?;
        deltas.push(Resting::on(delta, heard));
    }
    let diff = Resting::on(diff, proofs);
    Ok(Since { from: from.to_owned(), to: to.to_owned(), diff, count: deltas.len(), deltas, at_least })
}

/// The rows of a list up to `most` or a page more, and whether it goes on.
fn pages<T>(
    most: usize,
    mut page: impl FnMut(Option<&[u8]>, usize) -> Result<(Vec<T>, Option<Vec<u8>>), Error>,
) -> Result<(Vec<T>, bool), Error> {
    let (mut rows, mut after) = (Vec::new(), None);
    while rows.len() < most {
        let (found, next) = page(after.as_deref(), PAGE_ROWS.min(most - rows.len()))?;
        rows.extend(found);
        after = next;
        if after.is_none() {
            return Ok((rows, false));
        }
    }
    Ok((rows, true))
}
