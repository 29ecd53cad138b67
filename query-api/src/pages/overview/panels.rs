//! The figures, each with the list behind it.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::pages::frame::{artifact_link, environment_link, proof, running_link, table, verdict_address};
use crate::pages::impact::words;
use crate::pages::overview::known::{Known, Of, SEVERITIES, Thing};
use crate::read::Read;

/// Vulnerabilities of an artifact that one row names.
const NAMED_MAX: usize = 10;

/// One kind of evidence.
struct Kind {
    id: &'static str,
    name: &'static str,
    /// What is missing in words, and what to send; empty where it is there.
    missing: fn(&Of) -> String,
    send: &'static str,
}

const KINDS: [Kind; 4] = [
    Kind {
        id: "sbom",
        name: "SBOM",
        missing: |of| if of.sbom { String::new() } else { "no SBOM describes all of it".to_owned() },
        send: "Send a CycloneDX or SPDX document about each.",
    },
    Kind {
        id: "signed",
        name: "Verified signature",
        missing: |of| match of.signature.as_str() {
            "valid" => String::new(),
            "" => "there are more signatures than are read here".to_owned(),
            "none" => "no signature".to_owned(),
            other => format!("a signature, {other}"),
        },
        send: "Sign in the pipeline, and let the verifier's result be sent as artifact-signed.",
    },
    Kind {
        id: "attested",
        name: "Attestation",
        missing: |of| if of.attested { String::new() } else { "no attestation or signature".to_owned() },
        send: "Send provenance (in-toto, SLSA) about each.",
    },
    Kind {
        id: "traceable",
        name: "Traceable to the source",
        missing: |of| {
            if of.gaps.is_empty() { String::new() } else { format!("missing or in conflict: {}", of.gaps.join(", ")) }
        },
        send: "The page of each artifact says hop by hop what to send.",
    },
];

/// Coverage and vulnerabilities of the things that were looked at.
pub(super) fn panels(known: &Known, things: &[Thing], read: &Read) -> Markup {
    let things = things.get(..known.seen).unwrap_or(things);
    let missing: Vec<Vec<(&Thing, String)>> = KINDS.iter().map(|kind| missing_of(kind, known, things)).collect();
    let rows: Vec<Markup> =
        KINDS.iter().zip(&missing).map(|(kind, missing)| coverage(kind, things.len(), missing.len())).collect();
    html! {
        (table("Coverage", "Of what runs, how much has each kind of evidence", &["Evidence", "Have it", "Part", "Missing"], &rows))
        (vulnerable(known, things, read))
        @for (kind, missing) in KINDS.iter().zip(&missing) {
            @if !missing.is_empty() { (missing_list(kind, missing, read)) }
        }
    }
}

fn missing_of<'t>(kind: &Kind, known: &Known, things: &'t [Thing]) -> Vec<(&'t Thing, String)> {
    let of = |thing: &'t Thing| {
        let why = known.get(thing).map_or_else(|| "its digest is not known".to_owned(), kind.missing);
        (!why.is_empty()).then_some((thing, why))
    };
    things.iter().filter_map(of).collect()
}

fn coverage(kind: &Kind, all: usize, missing: usize) -> Markup {
    let have = all.saturating_sub(missing);
    let percent = (have * 100).checked_div(all).unwrap_or(0);
    html! {
        th scope="row" { (kind.name) }
        td { (have) " of " (all) " (" (percent) " %)" }
        td { progress value=(have) max=(all) aria-label={ (kind.name) ": have it" } {} }
        td { @if missing == 0 { "none" } @else { a href={ "#missing-" (kind.id) } { (missing) } } }
    }
}

fn missing_list(kind: &Kind, missing: &[(&Thing, String)], read: &Read) -> Markup {
    let row = |(thing, why): &(&Thing, String)| html! { (place(thing, read)) td { (running_link(thing.running.digest.as_deref(), &thing.running.artifact_ref, read)) } td { (why) } td { (proof(&thing.running.proof)) } };
    let rows: Vec<Markup> = missing.iter().map(row).collect();
    html! {
        div id={ "missing-" (kind.id) } {
            (table(&format!("{}: missing", kind.name), kind.send, &["Environment", "Service", "Artifact", "What is missing", "Proof"], &rows))
        }
    }
}

fn place(thing: &Thing, read: &Read) -> Markup {
    html! { td { (environment_link(&thing.environment, read)) } th scope="row" { (thing.service) } }
}

/// Artifacts that run and have open vulnerabilities, by the worst of each.
fn vulnerable(known: &Known, things: &[Thing], read: &Read) -> Markup {
    let mut places: BTreeMap<&str, Vec<&Thing>> = BTreeMap::new();
    for thing in things {
        if let Some(digest) = &thing.running.digest {
            places.entry(digest).or_default().push(thing);
        }
    }
    let mut open: Vec<(&str, &Of)> = known.artifacts().filter(|(_, of)| of.open_count > 0).collect();
    open.sort_by_key(|(digest, of)| (worst(of), *digest));
    let blind = things.iter().filter(|thing| known.get(thing).is_none_or(|of| !of.sbom && !of.scanned)).count();
    let rows: Vec<Markup> = open.iter().map(|(digest, of)| open_row(digest, of, places.get(digest), read)).collect();
    html! {
        @if open.is_empty() {
            section {
                h2 { "Vulnerable artifacts that run" }
                p { "Nobody says of any of these that it is affected." }
            }
        } @else {
            (table("Vulnerable artifacts that run", "By severity of the worst vulnerability that is not cleared", &["Severity", "Artifacts", "Vulnerabilities"], &by_severity(&open)))
            (table("Which", "The worst first", &["Severity", "Artifact", "Runs in", "Vulnerabilities"], &rows))
        }
        @if blind > 0 {
            p .warn { "Nobody looked into " (blind) " of " (things.len()) " things that run, with neither an SBOM nor a scan: that is not said to be safe." }
        }
        @if known.unrated > 0 { p { "The severity of " (known.unrated) " more was not looked into; the pages of the artifacts say it." } }
    }
}

/// The place of the worst in [`SEVERITIES`].
fn worst(of: &Of) -> usize {
    of.open.first().map_or(SEVERITIES.len() - 1, |open| open.severity.min(SEVERITIES.len() - 1))
}

fn by_severity(open: &[(&str, &Of)]) -> Vec<Markup> {
    let counted = SEVERITIES.iter().enumerate().map(|(at, name)| {
        let artifacts = open.iter().filter(|(_, of)| worst(of) == at).count();
        let all = open.iter().flat_map(|(_, of)| &of.open).filter(|open| open.severity == at).count();
        (name, artifacts, all)
    });
    let told = counted.filter(|(_, artifacts, all)| artifacts + all > 0);
    told.map(|(name, artifacts, all)| html! { th scope="row" { (name) } td { (artifacts) } td { (all) } }).collect()
}

fn open_row(digest: &str, of: &Of, places: Option<&Vec<&Thing>>, read: &Read) -> Markup {
    let places = places.map(Vec::as_slice).unwrap_or_default();
    let name = places.first().map_or(digest, |thing| thing.running.artifact_ref.as_str());
    let more = of.open_count.saturating_sub(of.open.len().min(NAMED_MAX));
    html! {
        td { span .chip { (SEVERITIES[worst(of)]) } }
        th scope="row" { (artifact_link(digest, name, read)) }
        td { @for thing in places { (environment_link(&thing.environment, read)) " / " bdi { (thing.service) } br; } }
        td {
            @for open in of.open.iter().take(NAMED_MAX) {
                a href=(verdict_address(digest, &open.id, read)) { (open.id) } " " (words(&open.status)) ", " (SEVERITIES[open.severity.min(SEVERITIES.len() - 1)]) br;
            }
            @if more > 0 { (artifact_link(digest, &format!("{more} more"), read)) }
        }
    }
}
