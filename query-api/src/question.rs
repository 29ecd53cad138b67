//! Questions as the parameters of REST and pages say them.

use pedigraph_projector::ImpactQuestion;
use pedigraph_proto::Purl;

use crate::problem::Problem;
use crate::read::Read;

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
        purl: purl.to_owned(),
        versions: versions.map(str::to_owned),
        environment: read.params.get("env").map(str::to_owned),
        limit: read.page_size,
        after: read.after.clone(),
    })
}
