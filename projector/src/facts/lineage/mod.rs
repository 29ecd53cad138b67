//! Artifacts, what they come from and what is said of them: small rows keyed by what they are about.
//!
//! Everything else is computed from them when asked, so that a late fact changes earlier answers and arrival order
//! means nothing (DESIGN §3.5).

use parking_lot::Mutex;
use pedigraph_proto::TenantId;
use pedigraph_proto::fact::Family;

use self::fold::Fold;
use self::memory::Memory;
use self::said::Said;
use crate::error::Error;
use crate::facts::view::{FactAt, View};
use crate::facts::{digest, own};
use crate::rows::Rows;
use crate::store::Store;

mod artifact;
mod deploy;
mod evidence;
mod fold;
mod image;
mod memory;
mod names;
pub(crate) mod naming;
mod origin;
pub(crate) mod rows;
mod said;
mod statement;
pub(crate) mod tag_order;
mod work;

/// The view of artifacts, lineage and evidence.
#[derive(Default)]
pub(crate) struct LineageFacts {
    memory: Mutex<Memory>,
}

impl View for LineageFacts {
    fn name(&self) -> &'static str {
        "lineage"
    }

    fn opened(&self, _store: &dyn Store, _next: &dyn Fn(&TenantId) -> u64) -> Result<(), Error> {
        *self.memory.lock() = Memory::default();
        Ok(())
    }

    fn fold(&self, at: &FactAt<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
        let mut memory = self.memory.lock();
        let mut fold = Fold { at, rows, memory: &mut memory, said: Said::default() };
        match at.event.family() {
            Family::Source(event) => fold.of_source(event),
            Family::Work(event) => fold.of_work(event),
            Family::Artifact(event) => fold.of_artifact(event),
            Family::Evidence(event) => fold.of_evidence(event),
            Family::Deploy(event) => fold.of_deploy(event),
            Family::Control(_) => Ok(()),
        }?;
        if let Some((named, purl)) = own::called(at.event)
            && let Some(named) = digest(named)
        {
            fold.purl(&purl, &named)?;
        }
        fold.write_names()
    }
}
