//! Vulnerabilities of a CycloneDX document: VEX where they are analysed, findings where they are only listed.

use pedigraph_proto::event::{Component, Finding, VexStatement, VexStatus};
use pedigraph_proto::message::Reject;
use serde::Deserialize;

use super::components::{Components, Resolved};
use super::facts::{Budget, aliases, canonical_purl, canonical_time};
use super::read::{List, Obj, Text, clip};

/// A vulnerability as a document writes it.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Read<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    references: List<Obj<Reference<'a>>>,
    #[serde(borrow)]
    ratings: List<Obj<Rating<'a>>>,
    #[serde(borrow)]
    recommendation: Text<'a>,
    #[serde(borrow)]
    analysis: Obj<Analysis<'a>>,
    #[serde(borrow)]
    affects: List<Obj<Affected<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Reference<'a> {
    #[serde(borrow)]
    id: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Rating<'a> {
    #[serde(borrow)]
    severity: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Analysis<'a> {
    #[serde(borrow)]
    state: Text<'a>,
    #[serde(borrow)]
    justification: Text<'a>,
    #[serde(borrow)]
    response: List<Text<'a>>,
    #[serde(borrow)]
    detail: Text<'a>,
    #[serde(borrow)]
    first_issued: Text<'a>,
    #[serde(borrow)]
    last_updated: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Affected<'a> {
    #[serde(borrow, rename = "ref")]
    reference: Text<'a>,
}

/// A vulnerability until all components are known.
pub(super) struct Vulnerability {
    id: String,
    aliases: Vec<String>,
    severity: String,
    recommendation: String,
    analysis: Option<VexStatement>,
    affects: Vec<String>,
}

/// The thing that the document describes, as far as it is known.
pub(super) struct Subject {
    /// Digest of the artifact.
    pub(super) artifact: Option<String>,
    /// Purl of the root component.
    pub(super) purl: Option<String>,
}

/// Most references or responses of one vulnerability.
const LIST_MAX: usize = 10_000;

impl Vulnerability {
    /// Copies what is needed out of the reader's buffer.
    pub(super) fn of(read: &Read<'_>) -> Vulnerability {
        let references = read.references.0.iter().filter_map(|Obj(reference)| reference.id.get());
        let affects = read.affects.0.iter().filter_map(|Obj(affected)| affected.reference.get());
        Vulnerability {
            id: read.id.owned(),
            aliases: aliases(references),
            severity: worst(&read.ratings),
            recommendation: read.recommendation.owned(),
            analysis: read.analysis.0.state.get().map(|_| statement(&read.analysis.0)),
            affects: affects.take(LIST_MAX).map(|name| clip(name).to_owned()).collect(),
        }
    }
}

fn worst(ratings: &List<Obj<Rating<'_>>>) -> String {
    const WORST_FIRST: [&str; 7] = ["critical", "high", "medium", "low", "info", "none", "unknown"];
    let given = |word: &&&str| ratings.0.iter().any(|Obj(rating)| rating.severity.as_str().eq_ignore_ascii_case(word));
    WORST_FIRST.iter().find(given).map_or_else(String::new, |word| (*word).to_owned())
}

/// The status of an analysis; the document's own words are kept where ours differ.
fn statement(analysis: &Analysis<'_>) -> VexStatement {
    let state = analysis.state.as_str();
    let status = match state {
        "resolved" | "resolved_with_pedigree" => VexStatus::Fixed,
        "exploitable" => VexStatus::Affected,
        "in_triage" => VexStatus::UnderInvestigation,
        "false_positive" | "not_affected" => VexStatus::NotAffected,
        _ => VexStatus::Unspecified,
    };
    let raw_justification = analysis.justification.as_str();
    let justification = match raw_justification {
        "code_not_present" => "vulnerable_code_not_present",
        "code_not_reachable" => "vulnerable_code_not_in_execute_path",
        other if other.starts_with("protected_") => "inline_mitigations_already_exist",
        other => clip(other),
    };
    let responses: Vec<&str> = analysis.response.0.iter().take(16).map(Text::as_str).collect();
    VexStatement {
        status: status.into(),
        raw_status: if state == "not_affected" { String::new() } else { clip(state).to_owned() },
        justification: justification.to_owned(),
        impact: analysis.detail.owned(),
        action: clip(&responses.join(", ")).to_owned(),
        time: canonical_time(analysis.last_updated.or(&analysis.first_issued).as_str()),
        ..VexStatement::default()
    }
}

/// Statements of what is analysed, findings of the rest: one for each thing affected.
pub(super) fn split(
    vulnerabilities: &[Vulnerability],
    components: &Components,
    subject: &Subject,
) -> Result<(Vec<VexStatement>, Vec<Finding>), Reject> {
    let (mut statements, mut findings, mut budget) = (Vec::new(), Vec::new(), Budget::default());
    let index = components.index();
    for vulnerability in vulnerabilities {
        // A vulnerability that names nothing is about the thing described.
        let nothing = [String::new()];
        let affects = if vulnerability.affects.is_empty() { &nothing[..] } else { &vulnerability.affects[..] };
        for reference in affects {
            let affected = Affects::of(reference, index.resolve(local(reference)), subject);
            match &vulnerability.analysis {
                Some(analysis) => {
                    let statement = affected.statement(analysis, vulnerability);
                    budget.take(&statement)?;
                    statements.push(statement);
                }
                None => {
                    let finding = affected.finding(vulnerability);
                    budget.take(&finding)?;
                    findings.push(finding);
                }
            }
        }
    }
    Ok((statements, findings))
}

/// `urn:cdx:serial/version#ref` names an element of a document by its reference.
fn local(reference: &str) -> &str {
    let link = reference.strip_prefix("urn:cdx:").and_then(|link| link.split_once('#'));
    link.map_or(reference, |(_, reference)| reference)
}

/// What a vulnerability affects.
#[derive(Default)]
struct Affects {
    product: String,
    product_digests: Vec<String>,
    subcomponents: Vec<String>,
    purl: String,
    name: String,
    version: String,
}

impl Affects {
    fn of(reference: &str, resolved: Resolved, subject: &Subject) -> Affects {
        match resolved {
            Resolved::Root => Affects::root(subject),
            Resolved::Unknown if reference.is_empty() => Affects::root(subject),
            Resolved::Unknown => Affects::elsewhere(reference),
            Resolved::Component(component) => {
                let Component { purl, name, version, .. } = *component;
                let own = if purl.is_empty() { name.clone() } else { purl.clone() };
                let mut affects = Affects { purl, name, version, ..Affects::root(subject) };
                // An analysis inside the SBOM of a known thing is about the component there, and says nothing of the
                // component elsewhere.
                if affects.product.is_empty() {
                    affects.product = own;
                } else {
                    affects.subcomponents = vec![own];
                }
                affects
            }
        }
    }

    /// Something that this document does not list: a purl, or an element of another document.
    fn elsewhere(reference: &str) -> Affects {
        match canonical_purl(local(reference)) {
            (purl, true) => Affects { product: purl.clone(), purl, ..Affects::default() },
            (_, false) => Affects { product: reference.to_owned(), name: reference.to_owned(), ..Affects::default() },
        }
    }

    fn root(subject: &Subject) -> Affects {
        let product = subject.artifact.as_ref().or(subject.purl.as_ref());
        Affects {
            product: product.cloned().unwrap_or_default(),
            product_digests: subject.artifact.iter().cloned().collect(),
            purl: subject.purl.clone().unwrap_or_default(),
            ..Affects::default()
        }
    }

    fn statement(self, analysis: &VexStatement, vulnerability: &Vulnerability) -> VexStatement {
        VexStatement {
            vulnerability: vulnerability.id.clone(),
            aliases: vulnerability.aliases.clone(),
            product: self.product,
            product_digests: self.product_digests,
            subcomponents: self.subcomponents,
            ..analysis.clone()
        }
    }

    fn finding(self, vulnerability: &Vulnerability) -> Finding {
        Finding {
            vulnerability: vulnerability.id.clone(),
            aliases: vulnerability.aliases.clone(),
            purl: self.purl,
            package_name: self.name,
            installed_version: self.version,
            fixed_version: String::new(),
            severity: vulnerability.severity.clone(),
            status: vulnerability.recommendation.clone(),
        }
    }
}
