//! Artifacts, what they come from and what is said of them: small rows keyed by what they are about.
//!
//! Everything else is computed from them when asked, so that a late fact changes earlier answers and arrival order
//! means nothing (DESIGN §3.5).

use pedigraph_proto::fact::Family;

use self::fold::Fold;
use crate::error::Error;
use crate::facts::view::{FactAt, View};
use crate::rows::Rows;

mod artifact;
mod deploy;
mod evidence;
mod fold;
mod image;
mod names;
mod origin;
pub(crate) mod rows;
mod statement;
mod work;

/// The view of artifacts, lineage and evidence.
#[derive(Default)]
pub(crate) struct LineageFacts;

impl View for LineageFacts {
    fn name(&self) -> &'static str {
        "lineage"
    }

    fn fold(&self, at: &FactAt<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
        let mut fold = Fold { at, rows };
        match at.event.family() {
            Family::Source(event) => fold.of_source(event),
            Family::Work(event) => fold.of_work(event),
            Family::Artifact(event) => fold.of_artifact(event),
            Family::Evidence(event) => fold.of_evidence(event),
            Family::Deploy(event) => fold.of_deploy(event),
            Family::Control(_) => Ok(()),
        }
    }
}
