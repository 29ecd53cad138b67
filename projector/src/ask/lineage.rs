//! Questions about artifacts: what a reference names, one artifact, its lineage, its trace.

use std::ops::ControlFlow;

use pedigraph_proto::canonical;

use super::answers::{Artifact, Candidates, Direction, Found, Lineage, Shown, Trace};
use super::identity::Graph;
use super::refs::Target;
use super::scope::Scope;
use crate::error::Error;
use crate::facts::lineage::rows;

/// Artifacts, and changes of one environment, that a state hash covers.
const STATE_ROWS_MAX: usize = 1_000_000;

impl Scope {
    /// The canonical digest that a reference names: digest, short digest, `repository:tag`, `prod/service`, `app:v1.2`.
    pub fn artifact_digest(&self, reference: &str) -> Result<Found<String>, Error> {
        let graph = Graph::new(self);
        Ok(match graph.target(reference)? {
            Found::One(Target::Artifact(digest)) => Found::One(digest),
            Found::One(Target::Running(place)) => match place.digest {
                Some(digest) => Found::One(graph.canonical(&digest)?),
                None => Found::Nothing,
            },
            Found::Ambiguous(candidates) => Found::Ambiguous(candidates),
            Found::Nothing => Found::Nothing,
        })
    }

    /// The order of two artifacts of one line, as their sequence numbers have it.
    pub(crate) fn line_order(&self, from: &str, to: &str) -> Result<Option<std::cmp::Ordering>, Error> {
        let graph = Graph::new(self);
        let (Some(from), Some(to)) = (graph.known_profile(from)?, graph.known_profile(to)?) else { return Ok(None) };
        let one_line = !from.line.repository.is_empty() && from.line == to.line && from.digest != to.digest;
        let order = (from.created.time, &from.digest).cmp(&(to.created.time, &to.digest));
        Ok(one_line.then_some(order))
    }

    /// One artifact by digest or alias.
    pub fn artifact(&self, digest: &str) -> Result<Option<Artifact>, Error> {
        let graph = Graph::new(self);
        graph.profile(digest)?.map(|profile| graph.artifact(&profile)).transpose()
    }

    /// The graph around an artifact, with all that nodes have.
    pub fn lineage(&self, digest: &str, depth: usize, direction: Direction) -> Result<Option<Lineage>, Error> {
        self.lineage_shown(digest, depth, direction, Shown::ALL)
    }

    /// The graph around an artifact, whose nodes have what is to be shown.
    pub fn lineage_shown(
        &self,
        digest: &str,
        depth: usize,
        direction: Direction,
        shown: Shown,
    ) -> Result<Option<Lineage>, Error> {
        let graph = Graph::new(self);
        graph.profile(digest)?.map(|profile| graph.lineage(&profile, depth, direction, shown)).transpose()
    }

    /// From a running thing back to its source.
    pub fn trace(&self, reference: &str) -> Result<Found<Trace>, Error> {
        let graph = Graph::new(self);
        let (place, digest) = match graph.target(reference)? {
            Found::Nothing => return Ok(Found::Nothing),
            Found::Ambiguous(candidates) => return Ok(Found::Ambiguous(candidates)),
            Found::One(Target::Artifact(digest)) => (None, Some(digest)),
            Found::One(Target::Running(place)) => {
                let digest = place.digest.clone();
                (Some(place), digest)
            }
        };
        let profile = digest.map(|digest| graph.profile(&digest)).transpose()?.flatten();
        graph.trace(reference, place.as_deref(), profile.as_ref()).map(Found::One)
    }

    /// What a text may name, best first, at most 20.
    pub fn resolve(&self, query: &str) -> Result<Candidates, Error> {
        Graph::new(self).resolve(query)
    }

    /// Canonical digests of every artifact after `after`, at most `limit`, in the order of keys.
    pub fn artifacts(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, Error> {
        let graph = Graph::new(self);
        let mut found = Vec::new();
        let names = graph.key(rows::table::NAMES);
        let from = after.map_or_else(|| names.clone(), |after| names.clone().text(after).prefix_end());
        graph.each_digest(from, &names.prefix_end(), |digest| {
            if graph.canonical(digest)? == digest && graph.profile(digest)?.is_some() {
                found.push(digest.to_owned());
            }
            Ok(if found.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(found)
    }

    /// The state hash (DESIGN §3.5): SHA-256 over what is true at the head, without index, recorded time, proof and
    /// intake. It reads everything: for tests.
    pub fn state_hash(&self) -> Result<String, Error> {
        let mut text = String::new();
        for digest in self.artifacts(None, STATE_ROWS_MAX)? {
            if let Some(artifact) = self.artifact(&digest)? {
                push_stated(&mut text, &artifact)?;
            }
            push_stated(&mut text, &self.components(&digest, None, STATE_ROWS_MAX)?)?;
            if let Some(lineage) = self.lineage(&digest, 1, Direction::Both)? {
                push_stated(&mut text, &lineage)?;
            }
        }
        for summary in self.environments()? {
            push_stated(&mut text, &self.environment(&summary.environment, true)?)?;
            let changes = self.changes(&summary.environment, None, STATE_ROWS_MAX)?;
            push_stated(&mut text, &changes.map(|page| page.rows))?;
        }
        Ok(pedigraph_proto::Digest::sha256(canonical::sha256(text.as_bytes())).to_string())
    }
}

fn push_stated(text: &mut String, answer: &impl serde::Serialize) -> Result<(), Error> {
    let mut value = serde_json::to_value(answer).map_err(|error| Error::Store(format!("state: {error}")))?;
    forget_positions(&mut value);
    text.push_str(&value.to_string());
    text.push('\n');
    Ok(())
}

/// Removes what depends on where in the ledger a fact stands.
fn forget_positions(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            for name in ["proof", "index", "firstKnownAt", "recordedAt"] {
                fields.remove(name);
            }
            fields.values_mut().for_each(forget_positions);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(forget_positions),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}
