//! SBOM contents: component sets, stored once, and what contains a purl (SPEC §5; notes on layout L4p).

use crate::answers::{ComponentPath, Impact};
use crate::views::{Error, Scope};

/// A question about a purl.
#[derive(Clone, PartialEq, Debug)]
pub struct ImpactQuestion {
    /// A purl, with or without version.
    pub purl: String,
    /// A `vers:` range.
    pub versions: Option<String>,
    /// Only this environment.
    pub environment: Option<String>,
    /// Rows per list.
    pub limit: usize,
    /// Where the last page ended.
    pub after: Option<Vec<u8>>,
}

/// The view.
#[derive(Default)]
pub(crate) struct Components;

impl crate::view::View for Components {
    fn name(&self) -> &'static str {
        "components"
    }

    fn fold(&self, _at: &crate::view::FactAt<'_>, _rows: &mut crate::view::Rows<'_>) -> Result<(), Error> {
        Ok(())
    }
}

impl Scope {
    /// What contains a purl and where that runs, with the next page's key.
    pub fn impact(&self, _question: &ImpactQuestion) -> Result<(Impact, Option<Vec<u8>>), Error> {
        unimplemented!()
    }
    /// Components of an artifact by purl, at most `limit` after the given purl.
    pub fn components(&self, _digest: &str, _after: Option<&str>, _limit: usize) -> Result<Vec<ComponentPath>, Error> {
        unimplemented!()
    }
}
