//! A line of versions: a row each, the newest first, with lanes beside them and badges. What is said by the lanes is said
//! in words in the rows too, and in the table of edges.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use maud::{Markup, html};
use pedigraph_projector::answers::{Edge, Lineage, Node};

use crate::lanes::{Row, Version, rows};
use crate::link::encoded;
use crate::pages::badges::{NAMES_MAX, badges};
use crate::pages::frame::{artifact_link, at_moment, proof, short, text, time};
use crate::pages::gutter::{Gutter, Signs};
use crate::pages::names::wrapped;
use crate::rails::{Ends, Kind, Rails, Tie, beside};
use crate::read::Read;

/// Rows of one list: many small ones, and few large ones, are both slow to scroll.
const PART_ROWS: usize = 100;

/// Edges of one relationship.
fn ends<'a>(edges: &'a [Edge], relationship: &str) -> Ends<'a> {
    let of_it = edges.iter().filter(|edge| edge.relationship == relationship);
    Ends::of(of_it.map(|edge| (edge.from.as_str(), edge.to.as_str())))
}

/// The versions that edges of `parent` join with one, as a list.
pub struct Versions<'a> {
    lineage: &'a Lineage,
    nodes: Vec<&'a Node>,
    parents: Ends<'a>,
    builds: Ends<'a>,
    bases: Ends<'a>,
    rows: Vec<Row<'a>>,
}

impl<'a> Versions<'a> {
    /// Of the artifact that a lineage was asked for.
    pub fn of(lineage: &'a Lineage) -> Versions<'a> {
        let of = |relationship: &str| ends(&lineage.edges, relationship);
        let (parents, builds, bases) = (of("parent"), of("build"), of("base"));
        let joined = joined(&lineage.artifact.digest, &parents);
        let nodes: Vec<&Node> = lineage.nodes.iter().filter(|node| joined.contains(node.digest.as_str())).collect();
        let version = |node: &&'a Node| {
            let id = node.digest.as_str();
            Version { id, parents: parents.from.get(id).cloned().unwrap_or_default() }
        };
        let versions: Vec<Version<'a>> = nodes.iter().map(version).collect();
        let rows = rows(&versions, &lineage.artifact.digest);
        Versions { lineage, nodes, parents, builds, bases, rows }
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// At most so many rows, among them that of the artifact that was asked for.
    pub fn window(&self, most: usize) -> Range<usize> {
        let here = self.rows.iter().position(|row| self.is_here(row)).unwrap_or(0);
        let last = self.rows.len().saturating_sub(most);
        let first = if here < most { 0 } else { (here - most / 2).min(last) };
        first..self.rows.len().min(first + most)
    }

    /// The newest of them.
    pub fn newest(&self) -> Option<&'a Node> {
        self.rows.first().map(|row| self.nodes[row.version])
    }

    /// The oldest of them that come from others which the answer does not have.
    pub fn oldest_cut(&self) -> Option<&'a Node> {
        self.rows.iter().rev().find(|row| self.goes_on(row)).map(|row| self.nodes[row.version])
    }

    /// Some of the rows, in lists that browsers lay out when they come near.
    pub fn list(&self, shown: Range<usize>, read: &Read) -> Markup {
        let shown = self.rows.get(shown).unwrap_or_default();
        let beside = Beside::of(self, shown);
        let rows: Vec<(usize, &Row<'_>)> = shown.iter().enumerate().collect();
        html! {
            div .versions {
                @for part in rows.chunks(PART_ROWS) {
                    ol { @for (place, row) in part { (self.row(row, *place, &beside, read)) } }
                }
            }
        }
    }

    fn is_here(&self, row: &Row<'_>) -> bool {
        self.nodes[row.version].digest == self.lineage.artifact.digest
    }

    /// Whether it has a parent that the answer leaves out: every version but the first of a line has one.
    fn goes_on(&self, row: &Row<'_>) -> bool {
        let node = self.nodes[row.version];
        let without = !self.parents.from.contains_key(node.digest.as_str());
        self.lineage.truncated.is_some() && without && node.sequence_number > 1
    }

    fn row(&self, row: &Row<'_>, place: usize, beside: &Beside<'_>, read: &Read) -> Markup {
        let (node, here, goes_on) = (self.nodes[row.version], self.is_here(row), self.goes_on(row));
        let id = node.digest.as_str();
        let builds = [&self.builds.from, &self.builds.to].into_iter().filter_map(|of| of.get(id)).flatten();
        let builds = builds.copied().collect::<Vec<_>>();
        let base = beside.leads_off(self, id, Kind::Base);
        let signs = Signs { here, base, build: beside.leads_off(self, id, Kind::Build), goes_on };
        let parents = self.parents.from.get(id).map(|all| all.join(" "));
        html! {
            li id={ "v-" (id) } aria-current=[here.then_some("true")] data-parents=[parents] {
                (beside.gutter.draw(row, beside.rails.of(place), signs))
                div .said {
                    div .head {
                        (artifact_link(id, &node.artifact_ref, read))
                        @if here { " " strong .chip { "this one" } }
                        " " span .soft { "#" (node.sequence_number) " · " (time(node.created_at)) } " "
                        (badges(node, read))
                    }
                    details {
                        summary { "Details" span .unseen { " of " (node.artifact_ref) } }
                        (self.opened(row, &builds, read))
                    }
                    @if goes_on { p .on { a href=(older_than(id, read)) { "Older versions" } " follow." } }
                }
            }
        }
    }

    fn opened(&self, row: &Row<'_>, builds: &[&str], read: &Read) -> Markup {
        let node = self.nodes[row.version];
        let id = node.digest.as_str();
        let parents = ends_of(&self.parents.from, id);
        let ends = |title: &str, ends: &[&str]| self.ends(title, id, ends, read);
        let unresolved = self.lineage.unresolved.iter().filter(|base| base.derived == id);
        html! {
            dl {
                dt { "Digest" } dd .mono { (id) }
                dt { "Created" } dd { (time(node.created_at)) ", said by " (text(&node.source)) " " (proof(&node.proof)) }
                (ends("Parents", parents))
                @if !row.undrawn.is_empty() { dt { "Not drawn" } dd { (row.undrawn.len()) " of its parents have no line" } }
                (ends("Children", ends_of(&self.parents.to, id)))
                (ends("Base", ends_of(&self.bases.from, id)))
                @for base in unresolved { dt { "Base" } dd { (wrapped(&base.reference)) ", digest unknown " (proof(&base.proof)) } }
                (ends("Base of", ends_of(&self.bases.to, id)))
                (ends("Built with", builds))
                @if let Some(hash) = &node.replay_hash { dt { "Replay hash" } dd .mono { (hash) } }
            }
            p {
                @for parent in parents.iter().take(NAMES_MAX) {
                    @let address = format!("/compare?a={}&b={}", encoded(parent), encoded(id));
                    a href=(at_moment(&address, read)) { "Compare with " (self.name(parent)) } " · "
                }
                a href=(around(id, read)) { "Versions around it" } " · "
                a href=(at_moment(&format!("/artifacts/{}/card", encoded(id)), read)) { "Card with its proof" }
            }
        }
    }

    /// What stands at the other ends of some edges of a version.
    fn ends(&self, title: &str, of: &str, ends: &[&str], read: &Read) -> Markup {
        let more = ends.len().saturating_sub(NAMES_MAX);
        html! {
            @if !ends.is_empty() {
                dt { (title) }
                dd {
                    @for (n, digest) in ends.iter().take(NAMES_MAX).enumerate() {
                        @if n > 0 { ", " }
                        (artifact_link(digest, &self.name(digest), read))
                    }
                    @if more > 0 {
                        @let all = at_moment(&format!("/artifacts/{}", encoded(of)), read);
                        " and " a href={ (all) "#edges" } { (more) " more" }
                    }
                }
            }
        }
    }

    fn name(&self, digest: &str) -> String {
        let node = self.lineage.nodes.iter().find(|node| node.digest == digest);
        node.map_or_else(|| short(digest), |node| node.artifact_ref.clone())
    }
}

/// What stands beside the rows of one list.
struct Beside<'a> {
    gutter: Gutter,
    rails: Rails,
    /// Places of the rows by digest.
    places: BTreeMap<&'a str, usize>,
}

impl<'a> Beside<'a> {
    fn of(versions: &Versions<'a>, shown: &[Row<'_>]) -> Beside<'a> {
        let places = shown.iter().enumerate().map(|(place, row)| (versions.nodes[row.version].digest.as_str(), place));
        let places: BTreeMap<&str, usize> = places.collect();
        let rails = beside(shown.len(), &places, &versions.bases, &versions.builds);
        Beside { gutter: Gutter::of(shown, &rails), rails, places }
    }

    /// Whether something that a version is built on, or with, has no rail to it.
    fn leads_off(&self, versions: &Versions<'_>, id: &str, kind: Kind) -> bool {
        let tied = |kind: Kind, hub: &str, end: &str| {
            let tie = self.places.get(hub).zip(self.places.get(end));
            tie.is_some_and(|(hub, end)| self.rails.has(&Tie { kind, hub: *hub, end: *end }))
        };
        match kind {
            Kind::Base => ends_of(&versions.bases.from, id).iter().any(|base| !tied(Kind::Base, base, id)),
            Kind::Build => {
                ends_of(&versions.builds.from, id).iter().any(|hub| !tied(Kind::Build, hub, id))
                    || ends_of(&versions.builds.to, id).iter().any(|end| !tied(Kind::Build, id, end))
            }
        }
    }
}

/// Where the versions stand that one comes from.
pub fn older_than(digest: &str, read: &Read) -> String {
    at_moment(&format!("/artifacts/{}/lanes?direction=up", encoded(digest)), read)
}

/// Where all stand that a list leaves out.
pub fn around(digest: &str, read: &Read) -> String {
    at_moment(&format!("/artifacts/{}/lanes", encoded(digest)), read)
}

fn ends_of<'e, 'a>(ends: &'e BTreeMap<&'a str, Vec<&'a str>>, id: &str) -> &'e [&'a str] {
    ends.get(id).map(Vec::as_slice).unwrap_or_default()
}

/// What edges of `parent` join with one, whichever way.
fn joined<'a>(start: &'a str, parents: &Ends<'a>) -> BTreeSet<&'a str> {
    let (mut found, mut todo) = (BTreeSet::new(), vec![start]);
    while let Some(digest) = todo.pop() {
        if found.insert(digest) {
            let ends = [&parents.from, &parents.to].into_iter().filter_map(|of| of.get(digest));
            todo.extend(ends.flatten());
        }
    }
    found
}

/// What the lines mean.
pub fn legend() -> Markup {
    let line = |class: &str, word: &str| {
        html! {
            span .key {
                svg .lane width="28" height="10" viewBox="0 0 28 10" aria-hidden="true" { path class=(class) d="M0 5H28" {} }
                " " (word)
            }
        }
    };
    html! {
        p .legend {
            (line("parent", "parent: the version before")) " "
            (line("build", "build: products of one build")) " "
            (line("base", "base: built on")) " "
            span .keys hidden { kbd { "j" } " " kbd { "k" } " rows, " kbd { "[" } " parent, " kbd { "]" } " child, " kbd { "i" } " card" }
        }
    }
}
