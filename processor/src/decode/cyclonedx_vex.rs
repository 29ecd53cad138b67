//! Vulnerabilities of a CycloneDX document: VEX where they are analysed, findings where they are only listed.

use std::borrow::Cow;

use pedigraph_proto::Purl;
use pedigraph_proto::event::{Finding, VexStatement, VexStatus};
use pedigraph_proto::message::Reject;
use pedigraph_proto::protobuf::Message as _;
use pedigraph_proto::vers::Range;
use serde::Deserialize;

use super::budget::Budget;
use super::components::{Components, Resolved};
use super::facts::{self, aliases, first_time};
use super::read::{List, Obj, Text, Unread, clip};
use super::severity::{self, Severity};

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
    rejected: Text<'a>,
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
    score: Unread,
    method: Unread,
    vector: Unread,
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
    #[serde(borrow)]
    versions: List<Obj<Version<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Version<'a> {
    #[serde(borrow)]
    version: Text<'a>,
    #[serde(borrow)]
    range: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
}

/// A vulnerability until all components are known.
pub(super) struct Vulnerability {
    id: String,
    aliases: Vec<String>,
    severity: String,
    recommendation: String,
    analysis: Option<Box<VexStatement>>,
    /// Its record was withdrawn: it is no vulnerability.
    rejected: bool,
    affects: Vec<(String, Versions)>,
}

/// The thing that the document describes, as far as it is known.
pub(super) struct Subject {
    /// Digest of the artifact.
    pub(super) artifact: Option<String>,
    /// Other digests of the same image.
    pub(super) others: Vec<String>,
    /// Purl of the root component.
    pub(super) purl: Option<String>,
    /// Key of the package that the root component is.
    pub(super) package: Option<String>,
    /// The document says what it describes: it has a root component.
    pub(super) is_described: bool,
    /// Version of the root component; empty when it has none.
    pub(super) version: String,
    /// Serial number of the document, by which BOM-Links into it name it.
    pub(super) serial_number: String,
}

impl Subject {
    /// What statements on it call it.
    fn product(&self) -> Option<&str> {
        self.artifact.as_deref().or(self.purl.as_deref())
    }

    fn digests(&self) -> Vec<String> {
        self.artifact.iter().chain(&self.others).cloned().collect()
    }
}

/// Most references or responses of one vulnerability.
const LIST_MAX: usize = 10_000;

impl Vulnerability {
    /// Copies what is needed out of the reader's buffer.
    pub(super) fn of(read: &Read<'_>) -> Vulnerability {
        let references = read.references.0.iter().filter_map(|Obj(reference)| reference.id.get());
        let affects = read.affects.0.iter().map(|Obj(affected)| affected);
        let affects =
            affects.filter_map(|affected| Some((affected.reference.get()?, Versions::of(&affected.versions))));
        Vulnerability {
            id: read.id.owned(),
            aliases: aliases(references),
            severity: worst(&read.ratings),
            recommendation: read.recommendation.owned(),
            analysis: read.analysis.0.state.get().map(|_| Box::new(statement(&read.analysis.0))),
            rejected: read.rejected.get().is_some(),
            affects: affects.take(LIST_MAX).map(|(name, versions)| (clip(name).to_owned(), versions)).collect(),
        }
    }

    /// Memory that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        let texts = [&self.id, &self.severity, &self.recommendation].map(String::len).iter().sum::<usize>();
        let aliases = self.aliases.iter().map(|alias| size_of::<String>() + alias.len()).sum::<usize>();
        let analysis = self.analysis.as_ref().map_or(0, |said| size_of::<VexStatement>() + said.encoded_len());
        let affects = self.affects.iter().map(|(name, versions)| name.len() + versions.bytes());
        let affects = affects.sum::<usize>() + self.affects.len() * size_of::<(String, Versions)>();
        size_of::<Vulnerability>() + texts + aliases + analysis + affects
    }

    /// Whether it is listed as a scanner lists it, without an analysis.
    pub(super) fn is_listed_only(&self) -> bool {
        self.analysis.is_none()
    }
}

/// What a list of versions says of the one that is installed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reach {
    /// It is affected, or may be; what the analysis says is about it.
    Affected,
    /// It is not affected, whatever the analysis says.
    Unaffected,
    /// Only other versions are named, and as not affected: an analysis that clears those does not clear this one.
    Unnamed,
    /// Other versions are named as affected: nothing is said of this one.
    Elsewhere,
}

impl Reach {
    /// Whether an analysis (or a listing without one) says anything of what it reaches.
    fn takes(self, analysis: Option<&VexStatement>) -> bool {
        match self {
            Reach::Affected => true,
            Reach::Unaffected => analysis.is_some_and(is_clear),
            Reach::Unnamed => !analysis.is_some_and(is_clear),
            Reach::Elsewhere => false,
        }
    }
}

/// The versions that an `affects` names. Only exact versions and `vers:` ranges that can be compared limit anything.
#[derive(Default)]
struct Versions(Vec<Named>);

struct Named {
    which: Which,
    unaffected: bool,
}

enum Which {
    Exact(String),
    Range(String),
}

impl Versions {
    fn of(list: &List<Obj<Version<'_>>>) -> Versions {
        let entries = list.0.iter().take(LIST_MAX).map(|Obj(entry)| Named {
            which: match entry.version.get() {
                Some(version) => Which::Exact(clip(version).to_owned()),
                None => Which::Range(entry.range.owned()),
            },
            unaffected: entry.status.as_str().eq_ignore_ascii_case("unaffected"),
        });
        Versions(entries.collect())
    }

    fn bytes(&self) -> usize {
        let named = self.0.iter().map(|named| match &named.which {
            Which::Exact(text) | Which::Range(text) => size_of::<Named>() + text.len(),
        });
        named.sum()
    }

    /// What they say of one version: affected where they contradict each other or cannot be compared.
    fn reach(&self, installed: &str, kind: &str) -> Reach {
        if installed.is_empty() || self.0.is_empty() {
            return Reach::Affected;
        }
        let (mut unaffected, mut open) = (false, false);
        for entry in &self.0 {
            match entry.which.covers(installed, kind) {
                Some(true) if !entry.unaffected => return Reach::Affected,
                Some(true) => unaffected = true,
                Some(false) => {}
                None => open |= !entry.unaffected,
            }
        }
        match (unaffected, open, self.0.iter().all(|entry| entry.unaffected)) {
            (true, _, _) => Reach::Unaffected,
            (false, true, _) => Reach::Affected,
            (false, false, true) => Reach::Unnamed,
            (false, false, false) => Reach::Elsewhere,
        }
    }
}

impl Which {
    /// Whether it covers a version; `None` when that cannot be told.
    fn covers(&self, installed: &str, kind: &str) -> Option<bool> {
        match self {
            Which::Exact(version) => Some(version == installed),
            Which::Range(range) => Range::parse(range, kind).ok()?.tells(installed),
        }
    }
}

/// The worst word of its ratings; where none says more than that it is not known, what they come to.
fn worst(ratings: &List<Obj<Rating<'_>>>) -> String {
    const WORST_FIRST: [&str; 7] = ["critical", "high", "medium", "low", "info", "none", "unknown"];
    let given = |word: &&&str| ratings.0.iter().any(|Obj(rating)| rating.severity.as_str().eq_ignore_ascii_case(word));
    let word = WORST_FIRST.iter().find(given).copied().unwrap_or_default();
    severity::said_or(word, || ratings.0.iter().map(|Obj(rating)| rating.rated()).max().unwrap_or_default())
}

impl Rating<'_> {
    /// What its score, else its vector comes to; that of another method than CVSS 3 or 4 says nothing.
    fn rated(&self) -> Severity {
        let version = match self.method.read::<String>().as_str() {
            "CVSSv3" => "CVSS:3.0",
            "CVSSv31" => "CVSS:3.1",
            "CVSSv4" => "CVSS:4.0",
            _ => return Severity::Unsaid,
        };
        let by_score = self.score.read::<Option<f64>>().map_or(Severity::Unsaid, Severity::of_score);
        by_score.or(match self.vector.read::<String>().as_str() {
            whole if whole.starts_with("CVSS:") => Severity::of_vector(whole),
            metrics => Severity::of_vector(&format!("{version}/{}", clip(metrics))),
        })
    }
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
        time: first_time(&[&analysis.last_updated, &analysis.first_issued]),
        ..VexStatement::default()
    }
}

/// What a document says of vulnerabilities, while it is collected.
struct Said<'b> {
    statements: Vec<VexStatement>,
    findings: Vec<Finding>,
    budget: &'b Budget,
}

/// Statements of what is analysed, findings of the rest: one for each thing affected.
pub(super) fn split(
    vulnerabilities: &[Vulnerability],
    components: &Components,
    subject: &Subject,
    budget: &Budget,
) -> Result<(Vec<VexStatement>, Vec<Finding>), Reject> {
    let mut said = Said { statements: Vec::new(), findings: Vec::new(), budget };
    let index = components.index();
    for vulnerability in vulnerabilities.iter().filter(|vulnerability| vulnerability.says_something()) {
        // A vulnerability that names nothing is about the thing described.
        let nothing = [(String::new(), Versions::default())];
        let affects = if vulnerability.affects.is_empty() { &nothing[..] } else { &vulnerability.affects[..] };
        for (reference, versions) in affects {
            let affected = match local(reference, &subject.serial_number) {
                Some(own) => Affects::of(&own, &index.resolve(&own), subject),
                None => Affects::elsewhere(reference, subject),
            };
            said.of(affected, versions, vulnerability)?;
        }
    }
    facts::cautious_last(&mut said.statements);
    Ok((said.statements, said.findings))
}

impl Said<'_> {
    /// Says a vulnerability of a thing, as far as the listed versions let it. A package elsewhere that is named without
    /// a version is each of the versions and ranges listed; by a range that cannot be compared it is any: only what
    /// clears nobody may be said of it then.
    fn of(&mut self, affected: Affects, versions: &Versions, vulnerability: &Vulnerability) -> Result<(), Reject> {
        let purl = Purl::parse(&affected.purl);
        let (kind, of_purl) = purl.as_ref().map_or(("", ""), |purl| (purl.kind(), purl.version()));
        let installed = if affected.version.is_empty() { of_purl } else { &affected.version };
        let any_version = installed.is_empty() && affected.is_of_package() && !versions.0.is_empty();
        let Some(purl) = purl.as_ref().filter(|_| any_version) else {
            let reach = versions.reach(installed, kind);
            return self.say(affected, reach, vulnerability);
        };
        let mut any = false;
        for entry in &versions.0 {
            let reach = if entry.unaffected { Reach::Unaffected } else { Reach::Affected };
            match affected.versions_of(purl, &entry.which) {
                Some(named) => self.say(named, reach, vulnerability)?,
                None => any = true,
            }
        }
        if any { self.say(affected, Reach::Unnamed, vulnerability) } else { Ok(()) }
    }

    fn say(&mut self, affected: Affects, reach: Reach, vulnerability: &Vulnerability) -> Result<(), Reject> {
        let analysis = vulnerability.analysis.as_deref();
        if !reach.takes(analysis) {
            return Ok(());
        }
        let texts = affected.bytes() + vulnerability.name_bytes();
        if let Some(analysis) = analysis {
            self.budget.take_bytes::<VexStatement>(texts + analysis.encoded_len(), 1)?;
            self.statements.push(affected.statement(analysis, vulnerability));
        } else {
            self.budget.take_bytes::<Finding>(texts + vulnerability.rating_bytes(), 1)?;
            self.findings.push(affected.finding(vulnerability));
        }
        Ok(())
    }
}

impl Vulnerability {
    /// A rejected one is no finding, and affects nothing; that something is not affected by it stays true.
    fn says_something(&self) -> bool {
        !self.rejected || self.analysis.as_deref().is_some_and(is_clear)
    }

    /// Bytes of the names by which every statement and finding of it calls it.
    fn name_bytes(&self) -> usize {
        self.id.len() + self.aliases.iter().map(|alias| size_of::<String>() + alias.len()).sum::<usize>()
    }

    /// Bytes of what every finding of it says beside.
    fn rating_bytes(&self) -> usize {
        self.severity.len() + self.recommendation.len()
    }
}

/// Whether an analysis says that there is nothing to fear.
fn is_clear(analysis: &VexStatement) -> bool {
    matches!(analysis.status(), VexStatus::NotAffected | VexStatus::Fixed)
}

/// The reference of an element in this document: itself, or that of a BOM-Link `urn:cdx:serial/version#ref` with this
/// document's serial number; `None` for an element of another document.
fn local<'r>(reference: &'r str, serial_number: &str) -> Option<Cow<'r, str>> {
    let Some(link) = reference.strip_prefix("urn:cdx:") else { return Some(Cow::Borrowed(reference)) };
    let (document, element) = link.split_once('#')?;
    let serial = document.split('/').next().unwrap_or_default();
    let own = serial_number.strip_prefix("urn:uuid:").unwrap_or(serial_number);
    (!own.is_empty() && serial.eq_ignore_ascii_case(own)).then(|| decoded(element))
}

/// Text whose percent-encoding, as a fragment of a URN needs it, is undone.
fn decoded(text: &str) -> Cow<'_, str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let pair = tail.get(..2).filter(|_| byte == b'%').and_then(|pair| hex::decode(pair).ok());
        rest = if pair.is_some() { &tail[2..] } else { tail };
        bytes.push(pair.map_or(byte, |pair| pair[0]));
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
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
    /// It is nothing that the document lists.
    elsewhere: bool,
}

impl Affects {
    fn of(reference: &str, resolved: &Resolved<'_>, subject: &Subject) -> Affects {
        match resolved {
            Resolved::Root => Affects::root(subject),
            Resolved::Unknown if reference.is_empty() => Affects::root(subject),
            Resolved::Unknown => Affects::elsewhere(reference, subject),
            Resolved::Component([purl, name, version]) => {
                let own = (if purl.is_empty() { *name } else { *purl }).to_owned();
                let [purl, name, version] = [purl, name, version].map(|text| (*text).to_owned());
                Affects { purl, name, version, ..Affects::part(own, subject) }
            }
        }
    }

    /// A part of the thing described: what is said of it is about the part there, and says nothing of it elsewhere. Where
    /// the thing is not known it is about the part, wherever that is.
    fn part(own: String, subject: &Subject) -> Affects {
        let Some(product) = subject.product() else { return Affects { product: own, ..Affects::default() } };
        Affects {
            product: product.to_owned(),
            product_digests: subject.digests(),
            subcomponents: vec![own],
            ..Affects::default()
        }
    }

    /// Something that this document does not list: a purl, or an element of another document, which may be named by its
    /// purl there. A VEX document lists no components: where it says what it is of, another package is a part of that.
    fn elsewhere(reference: &str, subject: &Subject) -> Affects {
        let element = reference.strip_prefix("urn:cdx:").and_then(|link| Some(decoded(link.split_once('#')?.1)));
        let element = element.unwrap_or(Cow::Borrowed(reference));
        let Some(purl) = Purl::parse(&element) else {
            return Affects { product: reference.to_owned(), name: reference.to_owned(), ..Affects::default() };
        };
        let (version, text) = (purl.version().to_owned(), purl.to_string());
        let is_root = subject.package.as_deref() == Some(purl.package_key());
        let is_alone = !subject.is_described || is_root || purl.is_image();
        let part = match is_alone {
            true => Affects { product: text.clone(), ..Affects::default() },
            false => Affects::part(text.clone(), subject),
        };
        Affects { purl: text, version, elsewhere: true, ..part }
    }

    /// Bytes of its texts.
    fn bytes(&self) -> usize {
        let lists = self.product_digests.iter().chain(&self.subcomponents);
        let lists = lists.map(|text| size_of::<String>() + text.len()).sum::<usize>();
        [&self.product, &self.purl, &self.name, &self.version].map(String::len).iter().sum::<usize>() + lists
    }

    /// It is a package that the document does not list, or what is described, and called by its purl.
    fn is_of_package(&self) -> bool {
        self.product == self.purl || self.elsewhere
    }

    /// One version of the package, or those of a range; `None` where its purl says more than type and name, and where
    /// versions cannot be compared by the range.
    fn versions_of(&self, purl: &Purl, which: &Which) -> Option<Affects> {
        let named = match which {
            Which::Exact(version) => purl.with_version(version),
            Which::Range(range) => purl.with_range(range),
        };
        let named = named.filter(|_| purl.package() == purl.as_str())?;
        let (own, version) = (named.to_string(), named.version().to_owned());
        let (product, subcomponents) = match self.subcomponents.is_empty() {
            true => (own.clone(), vec![]),
            false => (self.product.clone(), vec![own.clone()]),
        };
        let product_digests = self.product_digests.clone();
        Some(Affects { product, product_digests, subcomponents, purl: own, version, ..Affects::default() })
    }

    fn root(subject: &Subject) -> Affects {
        Affects {
            product: subject.product().unwrap_or_default().to_owned(),
            product_digests: subject.digests(),
            purl: subject.purl.clone().unwrap_or_default(),
            version: subject.version.clone(),
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
