//! Artifacts, their aliases, tags and evidence; lineage edges; trace; resolve.

use crate::answers::{Artifact, Candidate, Direction, Lineage, Trace};
use crate::views::{Error, Scope};

/// What a reference led to.
#[derive(Clone, PartialEq, Debug)]
pub enum Found<T> {
    /// This.
    One(T),
    /// Several: say which.
    Ambiguous(Vec<Candidate>),
    /// Nothing.
    Nothing,
}

/// The view.
#[derive(Default)]
pub(crate) struct LineageFacts;

impl crate::view::View for LineageFacts {
    fn name(&self) -> &'static str {
        "lineage"
    }

    fn fold(&self, _at: &crate::view::FactAt<'_>, _rows: &mut crate::view::Rows<'_>) -> Result<(), Error> {
        Ok(())
    }
}

impl Scope {
    /// The canonical digest that a reference names: digest, short digest, `repository:tag`, `prod/service`, `app:v1.2`.
    pub fn artifact_digest(&self, _reference: &str) -> Result<Found<String>, Error> {
        unimplemented!()
    }
    /// One artifact by digest or alias.
    pub fn artifact(&self, _digest: &str) -> Result<Option<Artifact>, Error> {
        unimplemented!()
    }
    /// The graph around an artifact.
    pub fn lineage(&self, _digest: &str, _depth: usize, _direction: Direction) -> Result<Option<Lineage>, Error> {
        unimplemented!()
    }
    /// From a running thing back to its source.
    pub fn trace(&self, _reference: &str) -> Result<Found<Trace>, Error> {
        unimplemented!()
    }
    /// What a text may name, best first, at most 20.
    pub fn resolve(&self, _query: &str) -> Result<Vec<Candidate>, Error> {
        unimplemented!()
    }
}
