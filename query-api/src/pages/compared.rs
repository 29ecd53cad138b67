//! The parts of a comparison.

use std::collections::BTreeMap;

use maud::{Markup, html};
use pedigraph_projector::answers::{
    Added, BuildInputs, Compare, Item, ReachabilityChange, SbomDiff, Sides, VerdictChange,
};

use crate::link::encoded;
use crate::pages::deltas::{verdict, why};
use crate::pages::frame::{at_moment, proof, short, table, text, time};
use crate::pages::impact::words;
use crate::pages::names::wrapped;
use crate::read::Read;

/// Rows of one table.
const ROWS_MAX: usize = 500;

/// What was asked.
pub(super) struct Asked<'a> {
    /// The first reference, as it was given.
    pub(super) a: &'a str,
    /// The second.
    pub(super) b: &'a str,
    /// Which part is shown.
    pub(super) tab: Tab,
    /// What is the same on both sides is left out.
    pub(super) only: bool,
    /// The moment.
    pub(super) read: &'a Read,
}

impl Asked<'_> {
    /// The same question of another part.
    pub(super) fn of(&self, tab: Tab, only: bool) -> String {
        let only = if only { "&only=true" } else { "" };
        let sides = format!("a={}&b={}", encoded(self.a), encoded(self.b));
        at_moment(&format!("/compare?{sides}&tab={}{only}", tab.word()), self.read)
    }

    /// The same question with its sides swapped.
    pub(super) fn swapped(&self) -> String {
        Asked { a: self.b, b: self.a, ..*self }.of(self.tab, self.only)
    }
}

/// A part of a comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tab {
    /// What SBOMs say.
    Components,
    /// What all that is said comes to.
    Verdicts,
    /// Whether vulnerable code is reached.
    Reachability,
    /// Commit, run, materials.
    Inputs,
    /// Tests.
    Tests,
    /// Attestations and signatures.
    Attestations,
    /// Where each was deployed.
    Deployments,
}

impl Tab {
    /// Each of them.
    pub const ALL: [Tab; 7] = [
        Tab::Components,
        Tab::Verdicts,
        Tab::Reachability,
        Tab::Inputs,
        Tab::Tests,
        Tab::Attestations,
        Tab::Deployments,
    ];

    /// As addresses name it.
    pub fn word(self) -> &'static str {
        match self {
            Tab::Components => "components",
            Tab::Verdicts => "verdicts",
            Tab::Reachability => "reachability",
            Tab::Inputs => "inputs",
            Tab::Tests => "tests",
            Tab::Attestations => "attestations",
            Tab::Deployments => "deployments",
        }
    }

    /// The part of a word.
    pub fn of(word: &str) -> Option<Tab> {
        Tab::ALL.into_iter().find(|tab| tab.word() == word)
    }

    /// All words, for an error.
    pub fn words() -> String {
        Tab::ALL.map(Tab::word).join(", ")
    }

    /// As people read it.
    pub fn title(self) -> &'static str {
        match self {
            Tab::Components => "Components",
            Tab::Verdicts => "Verdicts",
            Tab::Reachability => "Reachability",
            Tab::Inputs => "Build inputs",
            Tab::Tests => "Tests",
            Tab::Attestations => "Attestations",
            Tab::Deployments => "Deployments",
        }
    }

    /// Whether it has rows of what is the same on both sides; the others are lists of changes.
    pub fn tells_what_is_the_same(self) -> bool {
        matches!(self, Tab::Inputs | Tab::Tests | Tab::Attestations | Tab::Deployments)
    }

    /// How many changes, or things on either side where the answer tells no changes.
    pub fn count(self, compare: &Compare) -> usize {
        let both = |sides: &Sides<Vec<Item>>| sides.a.len() + sides.b.len();
        match self {
            Tab::Components => changed_components(&compare.diff.sbom_diff),
            Tab::Verdicts => compare.diff.vex_diff.len(),
            Tab::Reachability => compare.diff.reachability_diff.len(),
            Tab::Inputs => inputs(&compare.build_inputs).iter().filter(|input| input.of != Of::Both).count(),
            Tab::Tests => both(&compare.tests),
            Tab::Attestations => both(&compare.attestations),
            Tab::Deployments => both(&compare.deployments),
        }
    }
}

fn changed_components(diff: &SbomDiff) -> usize {
    diff.added.len()
        + diff.removed.len()
        + diff.version_changed.len()
        + diff.license_changed.len()
        + diff.content_changed.len()
}

/// The part that was asked for.
pub(super) fn tab(compare: &Compare, asked: &Asked<'_>) -> Markup {
    match asked.tab {
        Tab::Components => components(&compare.diff.sbom_diff, asked),
        Tab::Verdicts => verdicts(compare, asked),
        Tab::Reachability => reachability(&compare.diff.reachability_diff, asked),
        Tab::Inputs => build_inputs(&compare.build_inputs, asked),
        Tab::Tests => items("Tests", &compare.tests, asked),
        Tab::Attestations => items("Attestations and signatures", &compare.attestations, asked),
        Tab::Deployments => items("Deployments", &compare.deployments, asked),
    }
}

/// A table whose rows have a limit that is said.
fn bounded(title: &str, caption: &str, columns: &[&str], rows: &[Markup], asked: &Asked<'_>) -> Markup {
    let shown = &rows[..rows.len().min(ROWS_MAX)];
    let json = format!("/api/v1/lineage/compare?a={}&b={}", encoded(asked.a), encoded(asked.b));
    html! {
        (table(title, caption, columns, shown))
        @if rows.len() > shown.len() { p { a href=(at_moment(&json, asked.read)) { (rows.len() - shown.len()) " more as JSON" } } }
    }
}

fn components(diff: &SbomDiff, asked: &Asked<'_>) -> Markup {
    let name = |purl: Option<&str>, name: Option<&str>| {
        let shown = purl.filter(|purl| !purl.is_empty()).or(name).unwrap_or_default();
        html! { th scope="row" .mono { (wrapped(shown)) } }
    };
    let item = |kind: &str, class: &str, item: &Added| {
        let (from, to) = if kind == "removed" { (item.version.as_str(), "") } else { ("", item.version.as_str()) };
        html! { (name(item.purl.as_deref(), Some(&item.name))) td { span .chip .(class) { (kind) } } td { (from) } td { (to) } td { (item.license) } }
    };
    let mut rows: Vec<Markup> = diff.added.iter().map(|added| item("added", "bad", added)).collect();
    rows.extend(diff.removed.iter().map(|removed| item("removed", "good", removed)));
    rows.extend(diff.version_changed.iter().map(|of| html! {
        (name(Some(&of.purl), of.name.as_deref())) td { span .chip { "version" } } td { (of.from_version) } td { (of.to_version) } td {}
    }));
    rows.extend(diff.license_changed.iter().map(|of| html! {
        (name(Some(&of.purl), of.name.as_deref())) td { span .chip .warn { "licence" } } td { (of.from_license) } td { (of.to_license) } td { (of.version) }
    }));
    rows.extend(diff.content_changed.iter().map(|of| html! {
        (name(Some(&of.purl), of.name.as_deref())) td { span .chip .warn { "content" } } td .mono { (of.from_digest) } td .mono { (of.to_digest) } td { (of.version) }
    }));
    let sum = diff.summary;
    let unknown = diff.undescribed.iter().map(|side| if side == "from" { "A" } else { "B" }).collect::<Vec<_>>();
    html! {
        @if !unknown.is_empty() {
            p .warn {
                "What " (unknown.join(" and ")) " contains is not known, or not all of it: no SBOM describes "
                @if unknown.len() == 1 { "it" } @else { "them" } ". What differs there is not listed."
            }
        }
        p .soft {
            (sum.added) " added, " (sum.removed) " removed, " (sum.version_changed) " of another version, "
            (sum.license_changed) " of another licence, " (sum.content_changed) " of another content; " (sum.unchanged) " are the same and are not listed."
        }
        (bounded("Components", "What current SBOMs say, by kind of change and package", &["Component", "Change", "A", "B", "Licence or version"], &rows, asked))
    }
}

fn verdicts(compare: &Compare, asked: &Asked<'_>) -> Markup {
    let row = |change: &VerdictChange| {
        let address = at_moment(&format!("/vulnerabilities/{}", encoded(&change.cve)), asked.read);
        html! {
            th scope="row" { a href=(address) { (change.cve) } }
            td { (verdict(&change.from_status, &compare.a.digest, &change.cve, asked.read)) }
            td { (verdict(&change.to_status, &compare.b.digest, &change.cve, asked.read)) }
            td { (why(&change.reason, &change.reason_code, change.evidence_link.as_deref())) }
        }
    };
    let rows: Vec<Markup> = compare.diff.vex_diff.iter().map(row).collect();
    let caption = "Vulnerabilities whose verdict is another one; those with the same are not listed";
    bounded("Verdicts", caption, &["Vulnerability", "A", "B", "Why"], &rows, asked)
}

fn reachability(changes: &[ReachabilityChange], asked: &Asked<'_>) -> Markup {
    let row = |change: &ReachabilityChange| {
        html! {
            th scope="row" { (change.cve) }
            td { (words(&change.from_status)) }
            td { (words(&change.to_status)) }
            td { "+" (change.paths_added) " −" (change.paths_removed) }
            td { @for gate in &change.gates_added { "+ " bdi { (gate) } br; } @for gate in &change.gates_removed { "− " bdi { (gate) } br; } }
        }
    };
    let rows: Vec<Markup> = changes.iter().map(row).collect();
    let caption = "Vulnerabilities whose code is reached otherwise";
    bounded("Reachability", caption, &["Vulnerability", "A", "B", "Paths", "Gates"], &rows, asked)
}

/// On which side something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Of {
    A,
    B,
    Both,
}

impl Of {
    fn word(self) -> &'static str {
        match self {
            Of::A => "only A",
            Of::B => "only B",
            Of::Both => "both",
        }
    }
}

/// What is on either side, by key, and on which.
fn merged<K: Ord, T>(a: impl Iterator<Item = (K, T)>, b: impl Iterator<Item = (K, T)>) -> BTreeMap<K, (Of, T)> {
    let mut all: BTreeMap<K, (Of, T)> = a.map(|(key, of_a)| (key, (Of::A, of_a))).collect();
    for (key, of_b) in b {
        all.entry(key).and_modify(|known| known.0 = Of::Both).or_insert((Of::B, of_b));
    }
    all
}

/// Something that a build was made of.
struct Input {
    kind: &'static str,
    what: String,
    digest: String,
    of: Of,
}

fn inputs(sides: &Sides<BuildInputs>) -> Vec<Input> {
    let of = |side: &BuildInputs| {
        let item = |kind, item: &Item| ((kind, item.id.clone()), String::new());
        let sources =
            side.commit.iter().map(move |of| item("commit", of)).chain(side.run.iter().map(move |of| item("run", of)));
        let materials = side.materials.iter().map(|of| (("material", of.uri.clone()), of.digest.clone()));
        // A material of another digest is another one.
        sources.chain(materials).map(|((kind, what), digest)| ((kind, what, digest), ())).collect::<Vec<_>>()
    };
    let all = merged(of(&sides.a).into_iter(), of(&sides.b).into_iter());
    all.into_iter().map(|((kind, what, digest), (of, ()))| Input { kind, what, digest, of }).collect()
}

fn build_inputs(sides: &Sides<BuildInputs>, asked: &Asked<'_>) -> Markup {
    let all = inputs(sides);
    let kept = all.iter().filter(|input| !asked.only || input.of != Of::Both);
    let rows: Vec<Markup> = kept
        .map(|input| {
            html! {
                th scope="row" { (text(&input.what)) }
                td { span .chip { (input.kind) } }
                td { (input.of.word()) }
                td .mono title=(input.digest) { (short(&input.digest)) }
            }
        })
        .collect();
    let cut = sides.a.materials_cut + sides.b.materials_cut;
    html! {
        (bounded("Build inputs", "Commit, run and materials that builds name", &["What", "Kind", "On", "Digest"], &rows, asked))
        @if cut > 0 { p .warn { (cut) " more materials are not listed." } }
        @if sides.a.materials_at_least || sides.b.materials_at_least { p .warn { "There are more materials than were looked at." } }
    }
}

/// Things of both sides; the same thing on both is one row.
fn items(title: &str, sides: &Sides<Vec<Item>>, asked: &Asked<'_>) -> Markup {
    let of = |side: &'_ [Item]| {
        side.iter()
            .map(|item| ((item.kind.clone(), item.id.clone(), item.summary.clone()), item.clone()))
            .collect::<Vec<_>>()
    };
    let mut all: Vec<(Of, Item)> = merged(of(&sides.a).into_iter(), of(&sides.b).into_iter()).into_values().collect();
    all.retain(|(of, _)| !asked.only || *of != Of::Both);
    all.sort_by_key(|(_, item)| std::cmp::Reverse(item.occurred_at));
    let rows: Vec<Markup> = all
        .iter()
        .map(|(of, item)| {
            html! {
                th scope="row" { (text(&item.summary)) }
                td { (of.word()) }
                td { span .chip { (item.kind) } }
                td { (time(item.occurred_at)) }
                td { (proof(&item.proof)) }
            }
        })
        .collect();
    bounded(title, "Of both, newest first", &["What", "On", "Kind", "When", "Proof"], &rows, asked)
}
