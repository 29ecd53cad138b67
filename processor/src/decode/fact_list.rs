//! What a message states, without ever having all facts of a large SBOM at once.

use std::iter::Peekable;
use std::vec;

use pedigraph_proto::message::Reject;
use pedigraph_proto::protobuf::Message as _;
use pedigraph_proto::wire::Fact;

use super::facts::{self, FACT_BYTES_MAX};
use super::lengths::Fit;
use super::set::ComponentSet;

/// Facts in order. Components stay packed and become facts when it is their turn.
#[derive(Clone, Debug, Default)]
pub struct FactList {
    facts: Vec<Fact>,
    /// Each with how many of `facts` come before its own.
    sets: Vec<(usize, ComponentSet)>,
    /// How many facts the sets come to.
    of_sets: usize,
}

impl FactList {
    /// How many facts there are.
    pub fn count(&self) -> usize {
        self.facts.len() + self.of_sets
    }

    /// The facts but `ComponentsListed`: those that say what the message is and which artifacts it is about.
    pub fn heads(&self) -> &[Fact] {
        &self.facts
    }

    /// Appends the components of a set.
    pub(super) fn push_set(&mut self, set: ComponentSet) {
        self.of_sets += set.facts_count();
        self.sets.push((self.facts.len(), set));
    }

    /// Appends what another part of the message states.
    pub(super) fn append(&mut self, other: FactList) {
        let before = self.facts.len();
        self.facts.extend(other.facts);
        self.of_sets += other.of_sets;
        self.sets.extend(other.sets.into_iter().map(|(at, set)| (before + at, set)));
    }

    /// Writes commits as everybody does.
    pub(super) fn spell_commits(&mut self) {
        self.facts.iter_mut().filter_map(|fact| fact.event.as_mut()).for_each(facts::spell_commits);
    }

    /// Cuts and refuses texts as [`Fit`] says; components were cut when they were read.
    pub(super) fn fit(&mut self) -> Result<(), Reject> {
        self.facts.iter_mut().filter_map(|fact| fact.event.as_mut()).try_for_each(Fit::fit)
    }

    /// Whether one of the facts is beyond the bound which every fact keeps.
    pub(super) fn too_large(&self) -> bool {
        self.facts.iter().any(|fact| fact.encoded_len() >= FACT_BYTES_MAX)
            || self.sets.iter().any(|(_, set)| set.too_large())
    }
}

impl From<Vec<Fact>> for FactList {
    fn from(facts: Vec<Fact>) -> FactList {
        FactList { facts, ..FactList::default() }
    }
}

impl Extend<Fact> for FactList {
    fn extend<I: IntoIterator<Item = Fact>>(&mut self, facts: I) {
        self.facts.extend(facts);
    }
}

impl IntoIterator for FactList {
    type Item = Fact;
    type IntoIter = Facts;
    fn into_iter(self) -> Facts {
        Facts { facts: self.facts.into_iter(), given: 0, sets: self.sets.into_iter().peekable(), slice: 0 }
    }
}

/// The facts of a [`FactList`], one after another.
pub struct Facts {
    facts: vec::IntoIter<Fact>,
    /// How many of `facts` were given.
    given: usize,
    sets: Peekable<vec::IntoIter<(usize, ComponentSet)>>,
    /// The next slice of the first set.
    slice: usize,
}

impl Iterator for Facts {
    type Item = Fact;
    fn next(&mut self) -> Option<Fact> {
        while let Some((_, set)) = self.sets.peek().filter(|(at, _)| *at == self.given) {
            if let Some(fact) = set.fact(self.slice) {
                self.slice += 1;
                return Some(fact);
            }
            self.slice = 0;
            self.sets.next();
        }
        self.given += 1;
        self.facts.next()
    }
}
