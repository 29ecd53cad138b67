//! `/compare?a=&b=`: two artifacts side by side, in parts, or two environments; what is the same on both sides can be left
//! out.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use pedigraph_projector::Scope;
use pedigraph_projector::answers::{Candidate, Compare, Edge, Node};

use crate::access::scope::{Access, TokenScope};
use crate::answer::error::Error;
use crate::answer::lineage::{artifact_of, compare_of};
use crate::app::App;
use crate::link::encoded;
use crate::pages::badges::{NAMES_MAX, badges};
use crate::pages::compared::{Asked, Tab, tab};
use crate::pages::frame::{
    Frame, artifact_link, at_moment, command, moment_fields, moment_options, page, proof, quoted, search_address,
    short, table, time,
};
use crate::pages::names::wrapped;
use crate::pages::{environments_compared, evidence_pack};
use crate::problem::Problem;
use crate::read::Read;
use crate::route::Routes;

/// Its route.
pub fn routes() -> Routes {
    Routes::new().get("/compare", Access::Needs(TokenScope::LineageRead), compare)
}

async fn compare(State(app): State<App>, read: Read) -> Result<Response, Problem> {
    let (a, b) = (trimmed(&read, "a"), trimmed(&read, "b"));
    let tab = match read.params.get("tab") {
        None => Tab::Components,
        Some(word) => Tab::of(word).ok_or_else(|| Problem::parameter("tab", &Tab::words()))?,
    };
    let only = read.params.flag("only", false)?;
    app.page(read, move |scope, read, fresh| {
        let asked = Asked { a: &a, b: &b, tab, only, read };
        let sides = environments_compared::sides(scope, &asked)?;
        let (json, command) = match &sides {
            Some(sides) => environments_compared::same_elsewhere(sides, &asked),
            None => same_elsewhere(&asked),
        };
        let content = match &sides {
            Some(sides) => match environments_compared::content(scope, sides, &asked, fresh) {
                Err(error) if is_refused(&error) => refused(&error, &asked),
                content => content?,
            },
            None => artifacts(scope, &asked)?,
        };
        let content = html! {
            h1 { "Compare" }
            (form(&asked))
            (content)
        };
        Ok(page(&Frame { title: "Compare", json: &json, command: &command, read }, "", fresh, &content))
    })
    .await
}

/// Two artifacts, or what is missing of the question.
fn artifacts(scope: &Scope, asked: &Asked<'_>) -> Result<Markup, Problem> {
    if !asked.a.is_empty() && !asked.b.is_empty() {
        return match compare_of(scope, asked.a, asked.b) {
            Ok(compare) => Ok(compared(&compare, asked)),
            Err(error) if is_refused(&error) => Ok(refused(&error, asked)),
            Err(error) => Err(error.into()),
        };
    }
    let Some(known) = [asked.a, asked.b].into_iter().find(|side| !side.is_empty()) else { return Ok(html! {}) };
    if let Some(others) = environments_compared::others(scope, known, asked)? {
        return Ok(others);
    }
    let near = Some(artifact_of(scope, known)).filter(|near| !not_found(near)).transpose()?;
    Ok(html! {
        @match &near {
            Some(near) => (neighbours(&near.node, &near.lineage.parents, &near.lineage.children, asked)),
            None => p .warn { "Nothing that was recorded is called “" bdi { (known) } "”." },
        }
    })
}

/// Whether it is said on the page why there is nothing to compare.
fn is_refused(error: &Error) -> bool {
    matches!(error, Error::Missing { .. } | Error::Ambiguous { .. } | Error::Same(_) | Error::Parameter { .. })
}

fn trimmed(read: &Read, name: &str) -> String {
    read.params.get(name).unwrap_or_default().trim().to_owned()
}

fn not_found<T>(answer: &Result<T, Error>) -> bool {
    matches!(answer, Err(Error::Missing { .. } | Error::Ambiguous { .. } | Error::Parameter { .. }))
}

/// As JSON, and in a terminal; before both sides are known, what can be read of either.
fn same_elsewhere(asked: &Asked<'_>) -> (String, String) {
    if asked.a.is_empty() || asked.b.is_empty() {
        return ("/openapi.json".to_owned(), "pedigraph compare A B".to_owned());
    }
    let query = format!("/api/v1/lineage/compare?a={}&b={}", encoded(asked.a), encoded(asked.b));
    let command = format!("pedigraph compare {} {}{}", quoted(asked.a), quoted(asked.b), moment_options(asked.read));
    (at_moment(&query, asked.read), command)
}

fn form(asked: &Asked<'_>) -> Markup {
    let side = |name: &str, label: &str, value: &str| {
        html! {
            label for={ "side-" (name) } { (label) }
            input id={ "side-" (name) } name=(name) type="text" value=(value) maxlength="4096" placeholder="app:v1.2, prod/cart~1, prod, prod@{2h}";
        }
    };
    html! {
        form .sides action="/compare" method="get" {
            div { (side("a", "Before (A)", asked.a)) }
            div { (side("b", "After (B)", asked.b)) }
            @if asked.tab != Tab::Components { input type="hidden" name="tab" value=(asked.tab.word()); }
            @if asked.only { input type="hidden" name="only" value="true"; }
            (moment_fields(asked.read))
            button type="submit" { "Compare" }
            @if !asked.a.is_empty() || !asked.b.is_empty() { a href=(asked.swapped()) { "Swap A and B" } }
        }
    }
}

/// What the other side may be.
fn neighbours(node: &Node, parents: &[String], children: &[String], asked: &Asked<'_>) -> Markup {
    let digest = node.digest.as_str();
    let pair = |a: &str, b: &str| Asked { a, b, ..*asked }.of(asked.tab, asked.only);
    let around = at_moment(&format!("/artifacts/{}/lanes", encoded(digest)), asked.read);
    html! {
        p { "One side is " (artifact_link(digest, &node.artifact_ref, asked.read)) ". Name the other one above, or choose:" }
        ul {
            @for parent in parents.iter().take(NAMES_MAX) { li { a href=(pair(parent, digest)) { "its parent " (short(parent)) } } }
            @for child in children.iter().take(NAMES_MAX) { li { a href=(pair(digest, child)) { "the version after it, " (short(child)) } } }
            li { a href=(around) { "another version of its line" } }
        }
    }
}

/// Why there is nothing to compare, and what to do.
fn refused(error: &Error, asked: &Asked<'_>) -> Markup {
    let candidates: &[Candidate] = if let Error::Ambiguous { candidates, .. } = error { candidates } else { &[] };
    let search = |side: &str| search_address(side, asked.read);
    html! {
        p .warn role="status" { (error) "." }
        @if candidates.is_empty() {
            p { "Look for " a href=(search(asked.a)) { "A" } " or " a href=(search(asked.b)) { "B" } " by search." }
        } @else {
            ul { @for candidate in candidates { li { span .chip { (candidate.kind) } " " bdi { (candidate.label) } " " code { (candidate.id) } } } }
        }
    }
}

fn compared(compare: &Compare, asked: &Asked<'_>) -> Markup {
    html! {
        (sides(compare, asked.read))
        (ancestors(compare, asked.read))
        (tabs(compare, asked))
        (tab(compare, asked))
        @if !compare.cut.is_empty() { p .warn { "Cut at the server's limit: " (compare.cut.join(", ")) ". The newest are shown." } }
        p { "Replay hash of what changed: " span .mono { (compare.diff.replay_hash) } }
        (evidence_pack::button(&[compare.a.digest.as_str(), compare.b.digest.as_str()], asked.read))
        p {
            "The same in a terminal: "
            (command(&format!("pedigraph export {} {}", quoted(&compare.a.digest), quoted(&compare.b.digest))))
        }
    }
}

/// Both artifacts at a glance.
fn sides(compare: &Compare, read: &Read) -> Markup {
    let row = |title: &str, of: &dyn Fn(&Node) -> Markup| {
        html! { th scope="row" { (title) } td { (of(&compare.a)) } td { (of(&compare.b)) } }
    };
    let rows = [
        row("Artifact", &|node| artifact_link(&node.digest, &node.artifact_ref, read)),
        row("Digest", &|node| html! { span .mono title=(node.digest) { (short(&node.digest)) } }),
        row("Version", &|node| html! { "number " (node.sequence_number) " of its line" }),
        row("Created", &|node| html! { (time(node.created_at)) " " (proof(&node.proof)) }),
        row("At a glance", &|node| badges(node, read)),
        row(
            "Replay hash",
            &|node| html! { span .mono { (node.replay_hash.as_deref().map(short).unwrap_or_default()) } },
        ),
    ];
    table("Both", "At a glance", &["", "A", "B"], &rows)
}

/// What both come from, and the way between them.
fn ancestors(compare: &Compare, read: &Read) -> Markup {
    let step = |edge: &Edge| {
        html! {
            li { (artifact_link(&edge.from, &short(&edge.from), read)) " is " span .chip { (edge.relationship) } " of " (artifact_link(&edge.to, &short(&edge.to), read)) " " (proof(&edge.proof)) }
        }
    };
    let more = compare.common_ancestors_cut + compare.common_ancestors.len().saturating_sub(NAMES_MAX) as u64;
    html! {
        @if compare.common_ancestors.is_empty() { p .soft { "No artifact that both come from is known." } } @else {
            p {
                "Both come from "
                @for (n, ancestor) in compare.common_ancestors.iter().take(NAMES_MAX).enumerate() {
                    @if n > 0 { ", " }
                    (artifact_link(&ancestor.digest, &ancestor.artifact_ref, read))
                    " (" (ancestor.steps_from_a) " from A, " (ancestor.steps_from_b) " from B)"
                }
                @if more > 0 { " and " (more) " more" }
                "."
            }
        }
        @if let Some(limit) = &compare.truncated { p .warn { "The search for common ancestors ended at the limit of " (wrapped(limit)) ": there may be nearer ones." } }
        @if !compare.path.is_empty() {
            details { summary { "The way between them, edge by edge: " (compare.path.len()) } ol { @for edge in &compare.path { (step(edge)) } } }
        }
    }
}

/// Each part with how much of it there is.
fn tabs(compare: &Compare, asked: &Asked<'_>) -> Markup {
    html! {
        nav .tabs aria-label="Parts of the comparison" {
            @for part in Tab::ALL {
                @let current = (part == asked.tab).then_some("page");
                a href=(asked.of(part, asked.only)) aria-current=[current] { (part.title()) " " span .count { (part.count(compare)) } }
            }
        }
        @if asked.tab.tells_what_is_the_same() { p .soft {
            @if asked.only { "What is the same on both sides is left out. " a href=(asked.of(asked.tab, false)) { "Show all" } }
            @else { a href=(asked.of(asked.tab, true)) { "Only changes" } }
        } }
    }
}
