//! Questions as the parameters of REST and pages say them.

use pedigraph_projector::{Affecting, ImpactQuestion};
use pedigraph_proto::Purl;

use crate::problem::Problem;
use crate::read::Read;

/// Longest name of a vulnerability, bytes.
const VULNERABILITY_BYTES_MAX: usize = pedigraph_proto::VULNERABILITY_BYTES_MAX;

/// What a vulnerability concerns, and where that runs.
pub fn vulnerability(read: &Read, id: &str) -> Result<ImpactQuestion, Problem> {
    Ok(ImpactQuestion {
        of: Affecting::Vulnerability(check_vulnerability(id)?.to_owned()),
        environment: read.params.get("env").map(str::to_owned),
        limit: read.page_size,
        after: read.after.clone(),
        progress: read.params.flag("progress", true)?,
    })
}

/// The name of a vulnerability as it stands in a path.
pub fn check_vulnerability(id: &str) -> Result<&str, Problem> {
    let id = id.trim();
    if id.is_empty() || id.len() > VULNERABILITY_BYTES_MAX {
        let allowed = "the id of a vulnerability, such as CVE-2021-44228 or GHSA-jfh8-c2jp-5v3q";
        return Err(Problem::parameter("id", allowed));
    }
    Ok(id)
}

/// What contains a component, and where that runs.
pub fn impact(read: &Read) -> Result<ImpactQuestion, Problem> {
    const PURL: &str = "a package URL, such as pkg:npm/left-pad or pkg:npm/left-pad@1.3.0";
    const VERS: &str = "a vers: range, such as vers:npm/<1.3.0";
    let purl = read.params.need("purl", PURL)?;
    Purl::parse(purl).ok_or_else(|| Problem::parameter("purl", PURL))?;
    let versions = read.params.get("versions");
    if versions.is_some_and(|range| !range.starts_with("vers:")) {
        return Err(Problem::parameter("versions", VERS));
    }
    Ok(ImpactQuestion {
        of: Affecting::Package { purl: purl.to_owned(), versions: versions.map(str::to_owned) },
        environment: read.params.get("env").map(str::to_owned),
        limit: read.page_size,
        after: read.after.clone(),
        progress: read.params.flag("progress", false)?,
    })
}
