//! What an artifact is like at a glance, as chips: each is a word, and a colour beside it.

use maud::{Markup, html};
use pedigraph_projector::answers::{Badges, Node, VerdictCounts};

use crate::pages::frame::environment_link;
use crate::read::Read;

/// Names in one chip.
pub const NAMES_MAX: usize = 3;

/// The chips of a node; one that was not described says so.
pub fn badges(node: &Node, read: &Read) -> Markup {
    let Some(badges) = &node.badges else { return html! { span .chip .warn { "not described" } } };
    html! {
        @if let Some(counts) = node.verdict_counts { (open_verdicts(counts)) }
        (vulnerabilities(badges))
        @match badges.signature_status.as_deref() {
            Some("valid") => span .chip .good { "signed" },
            Some("none") => span .chip { "unsigned" },
            Some("invalid") => span .chip .bad { "signature invalid" },
            Some(other) => span .chip .warn { "signature " bdi { (other) } },
            None => span .chip .warn { "signature not looked at" },
        }
        " "
        @if badges.sbom { span .chip .good { "SBOM" } } @else { span .chip .warn { "no SBOM" } }
        (runs_in(badges, read))
    }
}

/// Verdicts that are open. Where nobody looked into a version, the chip of its SBOM says enough.
fn open_verdicts(counts: VerdictCounts) -> Markup {
    html! {
        @if counts.affected > 0 { span .chip .bad { (counts.affected) " affected" } " " }
        @if counts.under_investigation > 0 { span .chip .warn { (counts.under_investigation) " under investigation" } " " }
    }
}

fn vulnerabilities(badges: &Badges) -> Markup {
    html! {
        @if badges.new_vulns > 0 {
            span .chip .bad title="vulnerabilities that are open here and in no parent" { "+" (badges.new_vulns) " new" } " "
        }
        @if badges.resolved_vulns > 0 {
            span .chip .good title="vulnerabilities that are open in a parent and not here" { "−" (badges.resolved_vulns) " resolved" } " "
        }
        @if let Some(index) = badges.vulns_as_of { span .chip .warn { "vulnerabilities as of entry " (index) } " " }
    }
}

fn runs_in(badges: &Badges, read: &Read) -> Markup {
    let more = badges.deployed_in_cut + badges.deployed_in.len().saturating_sub(NAMES_MAX) as u64;
    html! {
        @if !badges.deployed_in.is_empty() || more > 0 {
            " " span .chip .runs {
                "runs in "
                @for (n, name) in badges.deployed_in.iter().take(NAMES_MAX).enumerate() {
                    @if n > 0 { ", " }
                    (environment_link(name, read))
                }
                @if more > 0 { " and " (more) " more" }
            }
        }
        @if badges.deployed_in_at_least { " " span .chip .warn { "may run in more" } }
    }
}
