//! The graph around an artifact, within limits that are said.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::answers::{Direction, Lineage, Node, Shown, Truncated, UnresolvedBase};
use super::edges::{BREADTH_MAX, Link, Links, Relation, UnknownBase};
use super::identity::{Graph, Profile};
use crate::error::Error;

/// Nodes of one answer.
pub const NODES_MAX: usize = 1_000;

/// Nodes at the greatest depth of one answer whose edges are looked for, to others that are shown and to say how much is
/// beyond: each costs as much as one that is followed.
const BEYOND_MAX: usize = 100;

/// Where a walk may go from a node. The products of one build around the start are one group; above it only what leads
/// to them, below it only what comes from them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Way {
    Group,
    Up,
    Down,
}

struct Walk<'g, 'a> {
    graph: &'g Graph<'a>,
    depth_max: usize,
    nodes: BTreeMap<String, Rc<Profile>>,
    visited: BTreeSet<(String, Way)>,
    todo: VecDeque<(Rc<Profile>, Way, usize)>,
    links: BTreeMap<(String, String), Link>,
    unknown: BTreeSet<UnknownBase>,
    left_out: BTreeMap<String, BTreeSet<(String, String)>>,
    cut_by: BTreeSet<&'static str>,
    /// Nodes that were reached when half of the question's budget was used: the rest is for saying what they are. And at
    /// the greatest depth those beyond [`BEYOND_MAX`].
    not_followed: BTreeSet<String>,
    /// Nodes at the greatest depth that were looked at.
    beyond: usize,
    /// Of some node more was left out than is counted.
    uncounted: bool,
    /// Nodes without badges or replay hash.
    not_described: u64,
}

impl Graph<'_> {
    pub(super) fn lineage(
        &self,
        start: &Rc<Profile>,
        depth_max: usize,
        direction: Direction,
        shown: Shown,
    ) -> Result<Lineage, Error> {
        let mut walk = Walk {
            graph: self,
            depth_max,
            nodes: BTreeMap::new(),
            visited: BTreeSet::new(),
            todo: VecDeque::new(),
            links: BTreeMap::new(),
            unknown: BTreeSet::new(),
            left_out: BTreeMap::new(),
            cut_by: BTreeSet::new(),
            not_followed: BTreeSet::new(),
            beyond: 0,
            uncounted: false,
            not_described: 0,
        };
        let way = match direction {
            Direction::Both => Way::Group,
            Direction::Up => Way::Up,
            Direction::Down => Way::Down,
        };
        walk.reach(start, way, 0);
        while let Some((node, way, depth)) = walk.todo.pop_front() {
            walk.beyond += usize::from(depth >= depth_max);
            let limit = match () {
                () if self.scope.meter.is_half_spent() => Some("cost"),
                () if walk.beyond > BEYOND_MAX => Some("maxDepth"),
                () => None,
            };
            if let Some(limit) = limit {
                walk.cut_by.insert(limit);
                walk.not_followed.insert(node.digest.clone());
            } else {
                walk.visit(&node, way, depth)?;
            }
        }
        walk.answer(start, shown)
    }
}

impl Walk<'_, '_> {
    fn reach(&mut self, node: &Rc<Profile>, way: Way, depth: usize) {
        // Who may go everywhere need not go again one way.
        let covered = self.visited.contains(&(node.digest.clone(), Way::Group));
        if !covered && self.visited.insert((node.digest.clone(), way)) {
            self.nodes.insert(node.digest.clone(), node.clone());
            self.todo.push_back((node.clone(), way, depth));
        }
    }

    fn visit(&mut self, node: &Rc<Profile>, way: Way, depth: usize) -> Result<(), Error> {
        if matches!(way, Way::Group | Way::Up) {
            let found = self.graph.links_in(node)?;
            self.follow(node, found, way, depth, Way::Up)?;
        }
        if matches!(way, Way::Group | Way::Down) {
            let found = self.graph.links_out(node)?;
            self.follow(node, found, way, depth, Way::Down)?;
        }
        Ok(())
    }

    fn follow(&mut self, from: &Profile, found: Links, way: Way, depth: usize, onward: Way) -> Result<(), Error> {
        self.unknown.extend(found.unknown);
        if found.cut {
            self.cut_by.insert("breadth");
        }
        self.uncounted |= found.uncounted;
        for digest in found.more {
            self.left_out.entry(digest.clone()).or_default().insert((from.digest.clone(), digest));
        }
        let mut followed: BTreeMap<Relation, BTreeSet<String>> = BTreeMap::new();
        for link in found.links {
            let next = if onward == Way::Up { link.from.clone() } else { link.to.clone() };
            let of_relation = followed.entry(link.relation).or_default();
            of_relation.insert(next.clone());
            let too_wide = of_relation.len() > BREADTH_MAX;
            let new = !self.nodes.contains_key(&next);
            let limit = match () {
                () if new && depth >= self.depth_max => Some("maxDepth"),
                () if new && too_wide => Some("breadth"),
                () if new && self.nodes.len() >= NODES_MAX => Some("nodes"),
                () if new && self.graph.scope.meter.is_half_spent() => Some("cost"),
                () => None,
            };
            if let Some(limit) = limit {
                self.cut_by.insert(limit);
                self.left_out.entry(next).or_default().insert((link.from, link.to));
                continue;
            }
            let next_way = if way == Way::Group && link.relation == Relation::Build { Way::Group } else { onward };
            self.keep(link);
            if depth < self.depth_max
                && let Some(next) = self.graph.profile(&next)?
            {
                self.reach(&next, next_way, depth + 1);
            }
        }
        Ok(())
    }

    /// Unique by (from, to): the strongest stays.
    fn keep(&mut self, link: Link) {
        let ends = (link.from.clone(), link.to.clone());
        match self.links.get(&ends) {
            Some(known) if known.strength() >= link.strength() => {}
            Some(_) | None => {
                self.links.insert(ends, link);
            }
        }
    }

    fn answer(mut self, start: &Profile, shown: Shown) -> Result<Lineage, Error> {
        // What was beyond one way's limit may have been reached another way.
        self.left_out.retain(|digest, _| !self.nodes.contains_key(digest));
        let mut nodes = self.described(start, shown)?;
        nodes.sort_by(|a, b| {
            let newest_first = (b.sequence_number, b.created_at).cmp(&(a.sequence_number, a.created_at));
            newest_first.then_with(|| a.digest.cmp(&b.digest))
        });
        let edges = self.links.values().map(|link| self.graph.edge(link)).collect::<Result<_, _>>()?;
        let shown = nodes.iter().find(|node| node.digest == start.digest).cloned();
        let artifact = shown.map_or_else(|| self.graph.node(start), Ok)?;
        let unresolved = self.unresolved()?;
        Ok(Lineage { artifact, nodes, edges, unresolved, truncated: self.truncated() })
    }

    /// The nodes with what is known of them at a glance, the one asked for first, until most of the question's budget is
    /// used: then the rest is shown plain.
    fn described(&mut self, start: &Profile, shown: Shown) -> Result<Vec<Node>, Error> {
        let (first, rest): (Vec<_>, Vec<_>) = self.nodes.values().partition(|node| node.digest == start.digest);
        let mut nodes = Vec::new();
        for profile in first.into_iter().chain(rest) {
            if self.graph.scope.meter.is_mostly_spent() {
                self.cut_by.insert("cost");
                self.not_described += 1;
                nodes.push(self.graph.node(profile)?);
                continue;
            }
            let glance = self.graph.glance(profile, shown)?;
            if glance.cut {
                self.cut_by.insert("events");
                self.not_described += 1;
            }
            nodes.push(glance.node);
        }
        Ok(nodes)
    }

    fn unresolved(&self) -> Result<Vec<UnresolvedBase>, Error> {
        let mut bases: BTreeMap<(&str, &str), UnresolvedBase> = BTreeMap::new();
        for unknown in &self.unknown {
            let key = (unknown.derived.as_str(), unknown.reference.as_str());
            if let Entry::Vacant(free) = bases.entry(key) {
                let (derived, reference) = (unknown.derived.clone(), unknown.reference.clone());
                free.insert(UnresolvedBase { derived, reference, proof: self.graph.proof(unknown.index)? });
            }
        }
        Ok(bases.into_values().collect())
    }

    fn truncated(&self) -> Option<Truncated> {
        let by: Vec<&str> = self.cut_by.iter().copied().collect();
        let (nodes, edges) = (self.left_out.len() as u64, self.left_out.values().map(|edges| edges.len() as u64).sum());
        let not_followed = self.not_followed.len() as u64;
        let not_described = self.not_described;
        let cut = nodes > 0 || not_followed > 0 || not_described > 0 || self.cut_by.contains("breadth");
        let at_least = self.uncounted;
        cut.then(|| Truncated { nodes, edges, at_least, not_followed, not_described, by: by.join(",") })
    }
}
