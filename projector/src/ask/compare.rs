//! Two artifacts side by side (SPEC §4, `lineage/compare`): what both come from, the way between them, what each is made
//! of and what is known of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::answers::{Ancestor, BuildInputs, BuildMaterial, Compare, Edge, Item, Shown, Sides};
use super::edges::Link;
use super::identity::{BaseRow, Graph, Profile};
use super::scope::Scope;
use crate::error::Error;
use crate::facts::lineage::rows::{EvidenceKind, table};

/// Artifacts that the search for common ancestors looks above, on both sides together.
const LOOKED_ABOVE_MAX: usize = 500;
/// Common ancestors that one answer lists.
const ANCESTORS_MAX: usize = 20;
/// Materials of one side that one answer lists.
const MATERIALS_MAX: usize = 100;

/// Reads a list of one artifact, and whether it was cut.
type Read<'r> = &'r dyn Fn(&Rc<Profile>) -> Result<(Vec<Item>, bool), Error>;

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Of {
    A,
    B,
}

/// How an artifact was reached from below.
#[derive(Clone, Debug)]
struct Reached {
    steps: u64,
    /// The edge from it to what is nearer; `None` for the one that was asked for.
    down: Option<Link>,
}

/// What lies above each of the two, as far as it was looked at.
struct Search<'g, 'a> {
    graph: &'g Graph<'a>,
    reached: BTreeMap<Of, BTreeMap<String, Reached>>,
    common: BTreeSet<String>,
    todo: VecDeque<(Of, Rc<Profile>)>,
    cut_by: BTreeSet<&'static str>,
}

impl Scope {
    /// Two artifacts side by side, by digest; `None` where nothing is known of one of them. It costs what their diff
    /// costs, what their own answers cost, and the edges above both up to their nearest common ancestors.
    pub fn compare(&self, a: &str, b: &str) -> Result<Option<Compare>, Error> {
        let graph = Graph::new(self);
        let (Some(a), Some(b)) = (graph.profile(a)?, graph.profile(b)?) else { return Ok(None) };
        let search = Search::of(&graph, &a, &b)?;
        let found = search.nearest_first();
        let path = found.first().map(|(digest, ..)| search.path(digest)).unwrap_or_default();
        let mut ancestors = Vec::new();
        for (digest, steps_from_a, steps_from_b) in found.iter().take(ANCESTORS_MAX) {
            let artifact_ref = graph.name_of(digest)?.unwrap_or_else(|| digest.clone());
            let (digest, steps_from_a, steps_from_b) = (digest.clone(), *steps_from_a, *steps_from_b);
            ancestors.push(Ancestor { digest, artifact_ref, steps_from_a, steps_from_b });
        }
        let mut cut = Vec::new();
        let mut both = |name: &str, read: Read<'_>| {
            let mut side = |of: &str, profile| {
                let (items, is_cut) = read(profile)?;
                if is_cut {
                    cut.push(format!("{of}.{name}"));
                }
                Ok::<_, Error>(items)
            };
            Ok::<_, Error>(Sides { a: side("a", &a)?, b: side("b", &b)? })
        };
        let signed = [EvidenceKind::Attestation, EvidenceKind::Signature];
        Ok(Some(Compare {
            a: graph.glance(&a, Shown::ALL)?.node,
            b: graph.glance(&b, Shown::ALL)?.node,
            common_ancestors_cut: found.len().saturating_sub(ANCESTORS_MAX) as u64,
            common_ancestors: ancestors,
            path: path.iter().map(|link| graph.edge(link)).collect::<Result<_, _>>()?,
            truncated: search.cut_by(),
            diff: self.diff(&a.digest, &b.digest)?,
            deployments: both("deployments", &|profile| graph.deployments(profile))?,
            attestations: both("attestations", &|profile| graph.items(profile, &signed))?,
            tests: both("tests", &|profile| graph.items(profile, &[EvidenceKind::Tests]))?,
            gates: Sides::default(),
            build_inputs: Sides { a: graph.build_inputs(&a)?, b: graph.build_inputs(&b)? },
            cut,
        }))
    }
}

impl<'g, 'a> Search<'g, 'a> {
    /// Both sides are looked above by turns, level by level; what both have reached is not looked above.
    fn of(graph: &'g Graph<'a>, a: &Rc<Profile>, b: &Rc<Profile>) -> Result<Search<'g, 'a>, Error> {
        let start =
            |profile: &Rc<Profile>| BTreeMap::from([(profile.digest.clone(), Reached { steps: 0, down: None })]);
        let mut search = Search {
            graph,
            reached: BTreeMap::from([(Of::A, start(a)), (Of::B, start(b))]),
            common: BTreeSet::new(),
            todo: VecDeque::from([(Of::A, a.clone()), (Of::B, b.clone())]),
            cut_by: BTreeSet::new(),
        };
        let mut looked_above = 0;
        while let Some((of, profile)) = search.todo.pop_front() {
            if search.is_above_common(of, &profile.digest) {
                continue;
            }
            let limit = match () {
                () if looked_above == LOOKED_ABOVE_MAX => Some("nodes"),
                () if graph.scope.meter.is_half_spent() => Some("cost"),
                () => None,
            };
            if let Some(limit) = limit {
                search.cut_by.insert(limit);
                break;
            }
            looked_above += 1;
            search.look_above(of, &profile)?;
        }
        Ok(search)
    }

    fn look_above(&mut self, of: Of, profile: &Profile) -> Result<(), Error> {
        let found = self.graph.links_in(profile)?;
        if found.cut {
            self.cut_by.insert("breadth");
        }
        let mut links = found.links;
        // Of several edges from one the strongest is the way.
        links.sort_by(|a, b| a.from.cmp(&b.from).then_with(|| b.strength().cmp(&a.strength())));
        links.dedup_by(|second, first| second.from == first.from);
        let steps = self.reached[&of].get(&profile.digest).map_or(0, |reached| reached.steps) + 1;
        for link in links {
            let Some(above) = self.graph.profile(&link.from)? else { continue };
            if self.reached[&of].contains_key(&above.digest) {
                continue;
            }
            if let Some(reached) = self.reached.get_mut(&of) {
                reached.insert(above.digest.clone(), Reached { steps, down: Some(link) });
            }
            if self.reached.values().all(|reached| reached.contains_key(&above.digest)) {
                self.common.insert(above.digest.clone());
            }
            self.todo.push_back((of, above));
        }
        Ok(())
    }

    /// Whether an artifact, or what leads down from it to where its side began, is common: all above that is.
    fn is_above_common(&self, of: Of, digest: &str) -> bool {
        let mut here = Some(digest);
        while let Some(digest) = here {
            if self.common.contains(digest) {
                return true;
            }
            here = self.reached[&of].get(digest).and_then(|reached| reached.down.as_ref()).map(|link| link.to.as_str());
        }
        false
    }

    /// Common ancestors with the steps from each side; none that was found to lie above another one.
    fn nearest_first(&self) -> Vec<(String, u64, u64)> {
        let below = |of: Of, digest: &str| {
            let down = self.reached[&of].get(digest).and_then(|reached| reached.down.as_ref());
            down.is_some_and(|link| self.is_above_common(of, &link.to))
        };
        let nearest = self.common.iter().filter(|digest| !(below(Of::A, digest) || below(Of::B, digest)));
        let steps = |of: Of, digest: &str| self.reached[&of].get(digest).map_or(0, |reached| reached.steps);
        let mut found: Vec<(String, u64, u64)> =
            nearest.map(|digest| (digest.clone(), steps(Of::A, digest), steps(Of::B, digest))).collect();
        found.sort_by(|a, b| (a.1 + a.2, &a.0).cmp(&(b.1 + b.2, &b.0)));
        found
    }

    /// The edges from `a` up to a common ancestor, then those down to `b`.
    fn path(&self, ancestor: &str) -> Vec<Link> {
        let down = |of: Of| {
            let (mut links, mut here) = (Vec::new(), ancestor.to_owned());
            while let Some(link) = self.reached[&of].get(&here).and_then(|reached| reached.down.clone()) {
                here.clone_from(&link.to);
                links.push(link);
            }
            links
        };
        let (mut path, rest) = (down(Of::A), down(Of::B));
        path.reverse();
        path.extend(rest);
        path
    }

    fn cut_by(&self) -> Option<String> {
        let by: Vec<&str> = self.cut_by.iter().copied().collect();
        Some(by.join(",")).filter(|by| !by.is_empty())
    }
}

impl Graph<'_> {
    /// An edge as answers show it.
    pub(super) fn edge(&self, link: &Link) -> Result<Edge, Error> {
        Ok(Edge {
            from: link.from.clone(),
            to: link.to.clone(),
            relationship: link.relation.word().to_owned(),
            method: link.method.word().to_owned(),
            confidence: f64::from(link.method.percent()) / 100.0,
            proof: self.proof(link.index)?,
        })
    }

    fn build_inputs(&self, profile: &Rc<Profile>) -> Result<BuildInputs, Error> {
        let claims = self.claims(profile)?;
        let mut cut = false;
        let mut rows = self.base_claims(profile, &mut cut)?;
        for statement in self.statements_of(table::STATED_MATERIALS, &profile.group, &mut cut)? {
            // Each statement is of a bounded length: all of it is read while few are wanted.
            if rows.len() > MATERIALS_MAX {
                cut = true;
                break;
            }
            let materials = self.materials_of(statement)?;
            cut |= materials.cut;
            rows.extend(materials.rows);
        }
        let material = |(digest, row): BaseRow| BuildMaterial { uri: row.value.reference, digest };
        let materials: BTreeSet<BuildMaterial> = rows.into_iter().map(material).collect();
        Ok(BuildInputs {
            commit: self.commit_item(&claims)?,
            run: self.run_item(&claims)?,
            materials_cut: materials.len().saturating_sub(MATERIALS_MAX) as u64,
            materials_at_least: cut,
            materials: materials.into_iter().take(MATERIALS_MAX).collect(),
        })
    }
}
