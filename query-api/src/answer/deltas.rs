//! Lists of verdicts and deltas, by references.

use pedigraph_projector::Scope;
use pedigraph_projector::answers::{VerdictLink, VexDelta};
use pedigraph_proto::Digest;

use super::error::{Error, Missing, quoted};
use super::lineage::{different, of_named};

/// Rows of a page with the token of the next one.
type Listed<T> = (Vec<T>, Option<Vec<u8>>);

/// Where verdicts differ between two artifacts, one of which is a parent of the other.
pub fn deltas_along(
    scope: &Scope,
    from: &str,
    to: &str,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Listed<VexDelta>, Error> {
    let (from, to) = different(scope, from, to)?;
    Ok(scope.deltas_along(&from, &to, after, limit)?)
}

/// Verdicts on the artifact that a reference names, each with its current SBOMs.
pub fn verdicts_of_artifact(
    scope: &Scope,
    reference: &str,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Listed<VerdictLink>, Error> {
    of_named(scope, Missing::Artifact, reference, |digest| {
        scope.is_known(digest)?.then(|| scope.verdicts_on(digest, None, after, limit)).transpose()
    })
}

/// Verdicts on the artifact that an SBOM describes.
pub fn verdicts_of_sbom(
    scope: &Scope,
    sbom: &str,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Listed<VerdictLink>, Error> {
    let allowed = || "the digest of an SBOM document, such as sha256:…".to_owned();
    let parse = |_| Error::Parameter { name: "sbomVersionId", allowed: allowed() };
    let sbom = sbom.trim().parse::<Digest>().map_err(parse)?.to_string();
    let unknown =
        || Error::missing(Missing::Artifact, format!("nothing that was recorded is an SBOM {}", quoted(&sbom)));
    let artifact = scope.described_by(&sbom)?.ok_or_else(unknown)?;
    Ok(scope.verdicts_on(&artifact, Some(&sbom), after, limit)?)
}
