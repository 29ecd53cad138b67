//! A component set: components in their order with ordinals, which become facts one slice after another.

use pedigraph_proto::canonical::ComponentSetName;
use pedigraph_proto::event::{Component, ComponentsListed};
use pedigraph_proto::protobuf::Message as _;
use pedigraph_proto::wire::Fact;

use super::encoded::{Encoded, decoded};
use super::facts::{FACT_BYTES_MAX, ITEMS_BYTES_MAX, Slices, count};

/// Most dependencies of one component, so that it fits into a fact.
const DEPENDENCIES_MAX: usize = 65_536;

/// A component set. Its components are encoded: as structs those of a large document would not fit into memory.
#[derive(Clone, Debug)]
pub(super) struct ComponentSet {
    name: String,
    encoded: Encoded,
    /// Numbers in `encoded` by ordinal.
    order: Vec<u32>,
    /// Ordinals of a component and of one that it depends on, sorted.
    edges: Vec<(u32, u32)>,
    /// Of each component whether the described thing depends on it.
    from_root: Vec<bool>,
    /// The ordinals at which slices begin.
    slices: Vec<u32>,
    too_large: bool,
}

impl ComponentSet {
    /// Names the set and divides it into slices.
    pub(super) fn new(encoded: Encoded, order: Vec<u32>, edges: Vec<(u32, u32)>, from_root: Vec<bool>) -> ComponentSet {
        let (name, slices) = (String::new(), Vec::new());
        let mut set = ComponentSet { name, encoded, order, edges, from_root, slices, too_large: false };
        let (mut name, mut slices, mut large) = (ComponentSetName::default(), Slices::default(), Vec::new());
        let mut component = Vec::new();
        for ordinal in 0..set.count() {
            set.encode(ordinal, &mut component);
            name.add(&component);
            if slices.begins(component.len()) {
                set.slices.push(ordinal);
            }
            if component.len() > ITEMS_BYTES_MAX {
                large.push(set.slices.len() - 1);
            }
        }
        set.name = name.digest().to_string();
        set.too_large =
            large.into_iter().filter_map(|slice| set.fact(slice)).any(|fact| fact.encoded_len() >= FACT_BYTES_MAX);
        set
    }

    /// The set's name: a digest.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// How many components it has.
    pub(super) fn count(&self) -> u32 {
        count(self.order.len())
    }

    /// How many facts it comes to.
    pub(super) fn facts_count(&self) -> usize {
        self.slices.len()
    }

    /// Whether one of its facts is beyond the bound which every fact keeps.
    pub(super) fn too_large(&self) -> bool {
        self.too_large
    }

    /// The fact of the n-th slice; `None` after the last one.
    pub(super) fn fact(&self, slice: usize) -> Option<Fact> {
        let first = *self.slices.get(slice)?;
        let end = self.slices.get(slice + 1).copied().unwrap_or(self.count());
        let component = |ordinal| {
            let (depends_on, root_dependency) = self.links(ordinal);
            Component { depends_on, root_dependency, ..decoded(self.encoded.get(self.order[ordinal as usize])) }
        };
        let components = (first..end).map(component).collect();
        Some(Fact::now(ComponentsListed { component_set: self.name.clone(), first, components }))
    }

    /// Writes a component with all that is known of it.
    fn encode(&self, ordinal: u32, component: &mut Vec<u8>) {
        component.clear();
        component.extend_from_slice(self.encoded.get(self.order[ordinal as usize]));
        let (depends_on, root_dependency) = self.links(ordinal);
        // These fields follow what is encoded.
        if root_dependency || !depends_on.is_empty() {
            let links = Component { depends_on, root_dependency, ..Component::default() };
            component.extend_from_slice(&links.encode_to_vec());
        }
    }

    /// What a component depends on, and whether the described thing depends on it.
    fn links(&self, ordinal: u32) -> (Vec<u32>, bool) {
        let edges = &self.edges[self.edges.partition_point(|(from, _)| *from < ordinal)..];
        let of_it = edges.iter().take_while(|(from, _)| *from == ordinal).take(DEPENDENCIES_MAX).count();
        (edges[..of_it].iter().map(|(_, to)| *to).collect(), self.from_root[ordinal as usize])
    }
}
