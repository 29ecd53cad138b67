//! What is heard about one artifact: which statements and findings are about it, and which of them count (SPEC §5).

use std::collections::{BTreeMap, BTreeSet};

use pedigraph_proto::advisory::{self, Covers, Qualified, is_of_another_release, qualified, source_of};
use pedigraph_proto::event::{AffectedPackage, Verification, VexStatus};
use pedigraph_proto::{ArtifactRef, Purl, repository_key};

use super::consensus::{self, Consensus, OF_FINDINGS, Rank, Role, Voice};
use super::said::{Case, Issued, Pointer, StatementAt};
use super::subjects::{OwnPurl, Subject};
use crate::ask::contents::{Current, is_asked_for};
use crate::ask::scope::Scope;
use crate::error::Error;
use crate::facts::findings::rows::{Statement, image_of_hub, target};
use crate::facts::findings::{IssueOrder, issue_order};

/// Why it is not known whether a component is in the range that a purl names.
const NOT_COMPARED: &str = "its version cannot be compared by the range";

/// Something that somebody says, as far as it is about an artifact.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// Of a statement; else the scanner, or the advisory.
    pub(crate) issuer: String,
    pub(crate) is_finding: bool,
    /// Of an advisory, and not of a scanner.
    is_advisory: bool,
    pub(crate) status: VexStatus,
    pub(crate) raw_status: String,
    /// In ten thousandths; 0 for what does not count.
    pub(crate) weight: u32,
    pub(crate) justification: String,
    pub(crate) impact: String,
    pub(crate) action: String,
    /// When it was said.
    pub(crate) time: i64,
    pub(crate) counts: bool,
    /// Why it counts or does not.
    pub(crate) reason: String,
    /// Purls of the components that it is about; none: the whole artifact.
    pub(crate) components: BTreeSet<String>,
    /// The same as they are compared: without qualifiers, which each tool gives as it likes.
    compared: BTreeSet<String>,
    /// Of a finding: a version that is free of it.
    pub(crate) fixed: String,
    pub(crate) severity: String,
    pub(crate) index: u64,
    voice: Option<Speaks>,
}

/// How a statement that is about the artifact speaks.
#[derive(Clone, Debug)]
struct Speaks {
    rank: Rank,
    role: Option<Role>,
    unsigned: bool,
    /// (product, subcomponent), for each of its subcomponents: the latest statement of an issuer on each counts.
    on: BTreeSet<(String, String)>,
    order: Order,
}

/// What is said about one artifact, and what it comes to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hearing {
    pub(crate) heard: Vec<Heard>,
    /// Statements on it of versions of documents that are replaced.
    pub(super) superseded: BTreeSet<StatementAt>,
    pub(crate) consensus: Option<Consensus>,
    /// Why it is not known whether it is affected, where that cannot be told.
    pub(crate) unclear: Option<String>,
    /// Components, as they are compared, of which an advisory does not tell whether it concerns them, and why.
    untold: BTreeMap<String, String>,
}

impl Case<'_> {
    /// What is said about an artifact by its canonical digest; of an index, what is said of it alone.
    pub(crate) fn hear(&self, digest: &str) -> Result<Hearing, Error> {
        let about = self.subjects.of(digest)?;
        let mut hearing = Hearing::default();
        self.statements(&about, &mut hearing)?;
        self.scanned(&about, &mut hearing)?;
        self.advised(&about, &mut hearing)?;
        weigh(self.scope, &mut hearing, None)?;
        Ok(hearing)
    }

    /// What is said of the contents of an index itself, as a scan or an SBOM of it has them: what its manifests contain
    /// counts for it (SPEC §2.3). It says nothing where nothing of it counts.
    pub(crate) fn hear_index(&self, digest: &str) -> Result<Hearing, Error> {
        let mut about = (*self.subjects.of(digest)?).clone();
        let mut hearing = Hearing::default();
        self.scanned(&about, &mut hearing)?;
        self.advised(&about, &mut hearing)?;
        let own = about.current.clone();
        if own.is_empty() && hearing.heard.is_empty() {
            return Ok(hearing);
        }
        for member in self.subjects.graph.below(digest)?.digests() {
            about.current.extend(self.scope.current_sboms(member)?);
        }
        self.statements(&about, &mut hearing)?;
        let found = hearing.heard.iter().filter(|heard| is_finding(heard)).flat_map(|heard| &heard.components);
        let mut named: BTreeSet<String> = found.map(|purl| compared(purl)).collect();
        for heard in hearing.heard.iter().filter(|heard| heard.voice.is_some()) {
            for component in &heard.components {
                if self.is_held(&own, component)? {
                    named.insert(compared(component));
                }
            }
        }
        let is_named = |component: &String| named.contains(&compared(component));
        let is_of_it = |heard: &Heard| heard.components.is_empty() || heard.components.iter().any(is_named);
        hearing.heard.retain(|heard| heard.is_finding || is_of_it(heard));
        weigh(self.scope, &mut hearing, Some(named))?;
        Ok(hearing)
    }

    fn statements(&self, about: &Subject, hearing: &mut Hearing) -> Result<(), Error> {
        let mut ranked: BTreeMap<Pointer, (Rank, String)> = BTreeMap::new();
        let mut add = |found: &[Pointer], rank: Rank, product: &str| {
            for pointer in found {
                let known = ranked.entry(*pointer).or_insert_with(|| (rank, product.to_owned()));
                if rank < known.0 {
                    *known = (rank, product.to_owned());
                }
            }
        };
        for digest in &about.digests {
            add(&self.on_digest(digest)?, Rank::Digest, &about.canonical);
        }
        for (digest, canonical) in &about.above {
            add(&self.on_digest(digest)?, Rank::Index, canonical);
        }
        for (package, version, _) in &about.own {
            if self.may_name(package)? {
                let purl = Purl::parse(package);
                let version = purl.as_ref().map_or(version.as_str(), |purl| purl.version_key_of(version));
                add(&self.on_package(package, version)?, Rank::Purl, package);
            }
        }
        for package in self.packages_in(target::PACKAGE, about)?.iter() {
            for current in &about.current {
                for known in self.components(current, package)?.iter() {
                    let Some(component) = known.parsed() else { continue };
                    add(&self.on_package(package, component.version_key())?, Rank::Component, package);
                    if let Some((_, version)) = source_of(component).filter(|(source, _)| source == package) {
                        add(&self.on_package(package, component.version_key_of(&version))?, Rank::Component, package);
                    }
                }
            }
        }
        for (pointer, (rank, product)) in ranked {
            self.statement_of(about, pointer, (rank, &product), hearing)?;
        }
        Ok(())
    }

    fn statement_of(
        &self,
        about: &Subject,
        pointer: Pointer,
        (rank, product): (Rank, &str),
        hearing: &mut Hearing,
    ) -> Result<(), Error> {
        let Some(issued) = self.issued(&pointer.document, pointer.at.0)? else { return Ok(()) };
        // That it was said by now is told without reading it.
        if issued.is_replaced && self.scope.at.is_none() {
            hearing.superseded.insert(pointer.at);
            return Ok(());
        }
        let Some(statement) = self.statement(pointer.at)? else { return Ok(()) };
        if self.scope.at.is_some_and(|at| statement.from > at.0) {
            return Ok(());
        }
        if issued.is_replaced {
            hearing.superseded.insert(pointer.at);
            return Ok(());
        }
        let (role, signs) = self.role(&issued.issue)?;
        let unsigned = signs && issued.issue.verification() != Verification::Valid;
        let mut heard = heard_of(&statement, &issued);
        match self.fits(about, &statement, &issued, rank)? {
            Ok(fit) => {
                // Two purls of one package, with and without version, are two products, and so are two ranges.
                let product = match Purl::parse(&statement.product).filter(|purl| purl.digest().is_none()) {
                    Some(purl) => {
                        let range = purl.qualifier("vers").unwrap_or_default();
                        format!("{}@{}{range}", purl.package_key(), purl.version_key())
                    }
                    None => product.to_owned(),
                };
                let on = match fit.subcomponents.as_slice() {
                    [] => BTreeSet::from([(product, String::new())]),
                    parts => parts.iter().map(|part| (product.clone(), part.clone())).collect(),
                };
                heard.components = fit.components;
                let version = (issued.issue.version.clone(), issued.issue.time, issued.index, 0);
                let order = (statement.time, version, pointer.at);
                heard.voice = Some(Speaks { rank: fit.rank, role, unsigned, on, order });
            }
            Err(Misfit { reason, may_fit }) => {
                if may_fit {
                    hearing.unclear.get_or_insert_with(|| format!("{} may mean {reason}", heard.issuer));
                }
                heard.reason = reason;
            }
        }
        hearing.heard.push(heard);
        Ok(())
    }

    /// How a statement is about an artifact, or why it is not.
    fn fits(
        &self,
        about: &Subject,
        statement: &Statement,
        issued: &Issued,
        rank: Rank,
    ) -> Result<Result<Fit, Misfit>, Error> {
        let misfit = |reason: String| Ok(Err(Misfit { reason, may_fit: false }));
        if issued.issue.in_sbom && !self.sbom_is_current(about, issued)? {
            return misfit("the SBOM that it is part of was replaced by a newer one".to_owned());
        }
        if statement.status() == VexStatus::Unspecified {
            return misfit(format!("its status {:?} is none that counts", statement.raw_status));
        }
        let mut fit = Fit { rank, components: BTreeSet::new(), subcomponents: vec![] };
        let purl = Purl::parse(&statement.product);
        match (rank, &purl) {
            (Rank::Purl | Rank::VersionedPurl, Some(purl)) => {
                if !self.is_any_own(about, purl, statement)? {
                    return misfit("its purl names another repository, tag or version".to_owned());
                }
                fit.rank = if purl.version().is_empty() { Rank::Purl } else { Rank::VersionedPurl };
            }
            (Rank::Component | Rank::VersionedComponent, Some(purl)) => {
                match self.held(about, purl, (statement, issued))?.components_or("its SBOM has no such component") {
                    Ok(components) => fit.components = components,
                    Err(misfit) => return Ok(Err(misfit)),
                }
                fit.rank = if purl.version().is_empty() { Rank::Component } else { Rank::VersionedComponent };
            }
            _ => {}
        }
        if statement.subcomponents.is_empty() {
            return Ok(Ok(fit));
        }
        let (parts, there) = self.subcomponents(about, statement, issued)?;
        let components = parts.components_or("its SBOM has none of the subcomponents");
        Ok(components.map(|components| Fit { components, subcomponents: there, ..fit }))
    }

    /// What an artifact holds of the subcomponents that a statement names, and which of these it does.
    fn subcomponents(
        &self,
        about: &Subject,
        statement: &Statement,
        issued: &Issued,
    ) -> Result<(Held, Vec<String>), Error> {
        let (mut parts, mut there) = (Held::default(), Vec::new());
        for subcomponent in &statement.subcomponents {
            let Some(purl) = Purl::parse(subcomponent) else { continue };
            let held = self.held(about, &purl, (statement, issued))?;
            if !held.components.is_empty() {
                there.push(subcomponent.clone());
            }
            parts.components.extend(held.components);
            parts.unclear = parts.unclear.or(held.unclear);
        }
        Ok((parts, there))
    }

    /// The components that a purl of a statement names. A source package of a CSAF document is whatever is built from it.
    fn held(&self, about: &Subject, purl: &Purl, of: (&Statement, &Issued)) -> Result<Held, Error> {
        let ((statement, issued), mut held) = (of, Held::default());
        let (by_release, clears) = (issued.issue.by_release, clears(statement.status()));
        let is_source = by_release && purl.qualifier("arch").as_deref() == Some("src");
        for current in &about.current {
            for known in self.components(current, purl.package_key())?.iter() {
                let Some(component) = known.parsed() else { continue };
                let source = if is_source { source_of(component) } else { None };
                let source = source.filter(|(source, _)| source == purl.package_key());
                let version = match source {
                    Some((_, version)) => version.into(),
                    None if is_asked_for(purl, None, component) => component.ordered_version(),
                    None => continue,
                };
                let meant = match purl.names_version(&version) {
                    Some(true) if by_release => qualified(purl, component),
                    // Who clears it in one release has not cleared it in another.
                    Some(true) if clears && is_of_another_release(purl, component) => Qualified::Other,
                    Some(true) => Qualified::Same,
                    Some(false) => Qualified::Other,
                    None => Qualified::Unknown(NOT_COMPARED),
                };
                match meant {
                    Qualified::Same => drop(held.components.insert(known.purl.clone())),
                    Qualified::Other => {}
                    Qualified::Unknown(why) => {
                        held.unclear.get_or_insert_with(|| format!("{}: {why}", known.purl));
                    }
                }
            }
        }
        Ok(held)
    }

    /// Whether a purl of a statement names an artifact, as it or an index above it is called.
    fn is_any_own(&self, about: &Subject, purl: &Purl, statement: &Statement) -> Result<bool, Error> {
        let clears = clears(statement.status());
        for own in about.own.iter().filter(|own| is_own(purl, own)) {
            if self.has_tag(about, purl, own, clears)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the tag that a purl names ever pointed at an image: a `pkg:docker` names it as its version, and a `pkg:oci`
    /// in a qualifier, which limits what clears and nothing else.
    fn has_tag(&self, about: &Subject, purl: &Purl, own: &OwnPurl, clears: bool) -> Result<bool, Error> {
        let (package, _, repository) = own;
        let named = ArtifactRef::parse(purl.as_str()).filter(|named| purl.is_image() && !named.tag.is_empty());
        let by_version = purl.package_key() != package;
        let Some(named) = named.filter(|_| by_version || clears) else { return Ok(true) };
        if repository.is_empty() {
            return Ok(true);
        }
        for digest in about.digests.iter().chain(about.above.keys()) {
            if self.scope.was_tagged(digest, &repository_key(repository), &named.tag)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the SBOM that came in the same entry is current for what it describes.
    fn sbom_is_current(&self, about: &Subject, issued: &Issued) -> Result<bool, Error> {
        let came = |current: &Current| current.written.index == issued.index;
        if about.current.iter().any(came) {
            return Ok(true);
        }
        for subject in &issued.issue.subjects {
            let canonical = self.scope.canonical_digest(subject)?;
            if canonical != about.canonical && self.scope.current_sboms(&canonical)?.iter().any(came) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn scanned(&self, about: &Subject, hearing: &mut Hearing) -> Result<(), Error> {
        for finding in self.findings(about)? {
            let named = Purl::parse(&finding.found.purl).map(|purl| purl.to_string());
            let name = || match (finding.found.name.as_str(), finding.found.installed.as_str()) {
                ("", _) => String::new(),
                (name, "") => name.to_owned(),
                (name, version) => format!("{name}@{version}"),
            };
            let component = named.unwrap_or_else(name);
            hearing.heard.push(Heard {
                issuer: finding.scanner,
                is_finding: true,
                status: VexStatus::Affected,
                raw_status: finding.found.status,
                components: Some(component).filter(|name| !name.is_empty()).into_iter().collect(),
                fixed: finding.found.fixed,
                severity: finding.found.severity,
                time: finding.time,
                index: finding.index,
                ..Heard::nothing()
            });
        }
        Ok(())
    }

    fn advised(&self, about: &Subject, hearing: &mut Hearing) -> Result<(), Error> {
        for package in self.packages_in(target::ADVISORY, about)?.iter() {
            let mut components = own_components(about, package);
            for current in &about.current {
                components.extend(self.components(current, package)?.iter().map(|known| known.purl.clone()));
            }
            if components.is_empty() {
                continue;
            }
            for advised in self.advisories(package)?.iter() {
                let mut heard = Heard {
                    issuer: advised.advisory.id.clone(),
                    is_finding: true,
                    is_advisory: true,
                    status: VexStatus::Affected,
                    severity: advised.advisory.severity.clone(),
                    time: advised.time,
                    index: advised.index,
                    ..Heard::nothing()
                };
                let mut unclear = None;
                for component in &components {
                    let Some(purl) = Purl::parse(component) else { continue };
                    match covers(&advised.affected, &purl) {
                        Covers::In { fixed } => {
                            heard.components.insert(component.clone());
                            if let Some(fixed) = fixed {
                                heard.fixed = fixed;
                            }
                        }
                        Covers::Out => {}
                        Covers::Unknown(why) => {
                            let why = format!("{component}: {why}");
                            hearing.untold.insert(compared(component), format!("{} may concern {why}", heard.issuer));
                            unclear = Some(why);
                        }
                    }
                }
                if !heard.components.is_empty() {
                    hearing.heard.push(heard);
                } else if let Some(why) = unclear {
                    let why = format!("{} may concern {why}", advised.advisory.id);
                    // A finding of which it cannot be told whether it is one.
                    hearing.heard.push(Heard { status: VexStatus::Unspecified, reason: why.clone(), ..heard });
                    hearing.unclear.get_or_insert(why);
                }
            }
        }
        Ok(())
    }
}

/// What an artifact holds of what a purl names.
#[derive(Default)]
struct Held {
    /// Purls of components.
    components: BTreeSet<String>,
    /// A component of which it cannot be told whether it is meant, and why.
    unclear: Option<String>,
}

impl Held {
    /// The components; where there is none, why it cannot be told whether there is, else what there is none of.
    fn components_or(self, none: &str) -> Result<BTreeSet<String>, Misfit> {
        if !self.components.is_empty() {
            return Ok(self.components);
        }
        let may_fit = self.unclear.is_some();
        Err(Misfit { reason: self.unclear.unwrap_or_else(|| none.to_owned()), may_fit })
    }
}

/// Why a statement is not about an artifact.
struct Misfit {
    reason: String,
    /// It may be, which cannot be told.
    may_fit: bool,
}

/// How a statement fits.
struct Fit {
    rank: Rank,
    components: BTreeSet<String>,
    /// Those of its subcomponents that are there.
    subcomponents: Vec<String>,
}

impl Heard {
    fn nothing() -> Heard {
        Heard {
            issuer: String::new(),
            is_finding: false,
            is_advisory: false,
            status: VexStatus::Unspecified,
            raw_status: String::new(),
            weight: 0,
            justification: String::new(),
            impact: String::new(),
            action: String::new(),
            time: 0,
            counts: false,
            reason: String::new(),
            components: BTreeSet::new(),
            compared: BTreeSet::new(),
            fixed: String::new(),
            severity: String::new(),
            index: 0,
            voice: None,
        }
    }
}

fn heard_of(statement: &Statement, issued: &Issued) -> Heard {
    Heard {
        issuer: issued.issue.issuer.clone(),
        status: statement.status(),
        raw_status: statement.raw_status.clone(),
        justification: statement.justification.clone(),
        impact: statement.impact.clone(),
        action: statement.action.clone(),
        time: statement.time,
        index: issued.index,
        ..Heard::nothing()
    }
}

/// What counts of what was heard, and what it comes to: for each component that is named by itself, then the most
/// cautious of them, since who clears one component says nothing of another. Which are named may be given. It is counted
/// as rows what is looked at for each of them.
fn weigh(scope: &Scope, hearing: &mut Hearing, named: Option<BTreeSet<String>>) -> Result<(), Error> {
    drop_earlier(&mut hearing.heard);
    for heard in &mut hearing.heard {
        heard.compared = heard.components.iter().map(|purl| compared(purl)).collect();
    }
    let untold = std::mem::take(&mut hearing.untold);
    let named = named.unwrap_or_else(|| {
        let counting = hearing.heard.iter().filter(|heard| speaks(heard));
        counting.flat_map(|heard| heard.compared.iter().cloned()).collect()
    });
    let (mut of_all, mut about) = (Vec::new(), BTreeMap::<String, Vec<usize>>::new());
    for (n, heard) in hearing.heard.iter().enumerate() {
        if heard.compared.is_empty() {
            of_all.push(n);
        }
        for component in heard.compared.iter().filter(|component| named.contains(*component)) {
            about.entry(component.clone()).or_default().push(n);
        }
    }
    let parts: Vec<String> = if named.is_empty() { vec![String::new()] } else { named.into_iter().collect() };
    let mut verdicts = Vec::new();
    for component in &parts {
        let of_it = about.get(component).map(Vec::as_slice).unwrap_or_default();
        scope.spend((of_all.len() + of_it.len()) as u64)?;
        verdicts.extend(verdict_on(&mut hearing.heard, of_all.iter().chain(of_it).copied()));
    }
    hearing.consensus = consensus::of_parts(&verdicts);
    // What clears one component says nothing of another of which it cannot be told.
    let is_safe = hearing.consensus.is_some_and(|found| !found.is_open());
    let is_of_all = of_all.iter().any(|n| speaks(&hearing.heard[*n]));
    let is_told = |component: &String| is_of_all || parts.contains(component);
    if let Some((_, why)) = untold.into_iter().find(|(component, _)| is_safe && !is_told(component)) {
        (hearing.consensus, hearing.unclear) = (None, Some(why));
    }
    for heard in &mut hearing.heard {
        if heard.counts {
            heard.reason.clear();
        }
        if heard.reason.is_empty() {
            heard.reason = why(heard).to_owned();
        }
    }
    Ok(())
}

/// Whether a status says that it is safe.
fn clears(status: VexStatus) -> bool {
    matches!(status, VexStatus::Fixed | VexStatus::NotAffected)
}

/// What an artifact itself is of a package, by its own purls.
fn own_components(about: &Subject, package: &str) -> BTreeSet<String> {
    let of_package = about.own.iter().filter(|(own, version, _)| own == package && !version.is_empty());
    let with_version = |version: &str| Purl::parse(package)?.with_version(version).map(|purl| purl.to_string());
    of_package.filter_map(|(_, version, _)| with_version(version)).collect()
}

/// Why something counts.
fn why(heard: &Heard) -> &'static str {
    match heard.voice.as_ref().map(|voice| voice.rank) {
        Some(Rank::Digest) => "names this digest",
        Some(Rank::Index) => "names an index that lists this digest",
        Some(Rank::VersionedPurl) => "names the artifact's purl with its version",
        Some(Rank::Purl) => "names the artifact's purl",
        Some(Rank::VersionedComponent) => "names a component with its version",
        Some(Rank::Component) => "names a component",
        None if is_finding(heard) && heard.is_advisory => "names this version",
        None if is_finding(heard) => "the newest scan found it",
        None => "says nothing that counts",
    }
}

/// Whether it is a voice, or a part of one.
fn speaks(heard: &Heard) -> bool {
    heard.voice.is_some() || is_finding(heard)
}

fn is_finding(heard: &Heard) -> bool {
    heard.is_finding && heard.status == VexStatus::Affected
}

/// For one (issuer, product, subcomponent) the latest statement counts.
fn drop_earlier(all: &mut [Heard]) {
    let mut latest: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    for (n, heard) in all.iter().enumerate() {
        let Some(voice) = &heard.voice else { continue };
        for (product, part) in &voice.on {
            let known = latest.entry((heard.issuer.clone(), product.clone(), part.clone())).or_insert(n);
            let of_known = all[*known].voice.as_ref();
            if of_known.is_none_or(|known| order(&known.order, &voice.order).is_lt()) {
                *known = n;
            }
        }
    }
    let counting: BTreeSet<usize> = latest.into_values().collect();
    for (n, heard) in all.iter_mut().enumerate() {
        if heard.voice.is_some() && !counting.contains(&n) {
            heard.voice = None;
            heard.reason = "a later statement of the same issuer on the same thing replaces it".to_owned();
        }
    }
}

/// The order of statements of one issuer on one thing: by time, version of the document, place.
type Order = (i64, IssueOrder, StatementAt);

fn order(a: &Order, b: &Order) -> std::cmp::Ordering {
    a.0.cmp(&b.0).then_with(|| issue_order(&a.1, &b.1)).then_with(|| a.2.cmp(&b.2))
}

/// The verdict by what is said of one component, or of the whole where none is named; marks what counts for it.
fn verdict_on(all: &mut [Heard], of_it: impl Iterator<Item = usize>) -> Option<Consensus> {
    let (mut issuers, mut findings) = (BTreeMap::<String, Vec<usize>>::new(), Vec::new());
    for n in of_it {
        if all[n].voice.is_some() {
            issuers.entry(all[n].issuer.clone()).or_default().push(n);
        }
        if is_finding(&all[n]) {
            findings.push(n);
        }
    }
    let mut voices: Vec<Voice> = issuers.into_values().filter_map(|said| voice_of(all, &said)).collect();
    for n in &findings {
        (all[*n].counts, all[*n].weight) = (true, OF_FINDINGS);
    }
    if !findings.is_empty() {
        voices.push(Voice { status: VexStatus::Affected, weight: OF_FINDINGS, has_role: false });
    }
    consensus::of_voices(&voices)
}

/// The one voice of an issuer, of what it says: of the best rank the most cautious status.
fn voice_of(all: &mut [Heard], said: &[usize]) -> Option<Voice> {
    let speaking = || said.iter().filter_map(|n| Some((&all[*n], all[*n].voice.as_ref()?)));
    let rank = speaking().map(|(_, voice)| voice.rank).min()?;
    let best = || speaking().filter(|(_, voice)| voice.rank == rank);
    let status = best().map(|(heard, _)| heard.status).min_by_key(|status| status.caution())?;
    let weight_of = |voice: &Speaks| consensus::weight(voice.role.unwrap_or_default(), rank, voice.unsigned);
    let counting = || best().filter(|(heard, _)| heard.status == status);
    let weight = counting().map(|(_, voice)| weight_of(voice)).max().unwrap_or_default();
    let has_role = counting().any(|(_, voice)| voice.role.is_some());
    for n in said {
        let heard = &mut all[*n];
        let Some(voice) = &heard.voice else { continue };
        if voice.rank == rank && heard.status == status {
            (heard.counts, heard.weight) = (true, heard.weight.max(weight));
        } else if !heard.counts {
            heard.reason = match voice.rank == rank {
                true => "the same issuer is more cautious elsewhere".to_owned(),
                false => "the same issuer says something closer to the artifact".to_owned(),
            };
        }
    }
    Some(Voice { status, weight, has_role })
}

/// What the packages that an advisory names say of an installed one: in the range of any of them, it is affected.
pub(super) fn covers(affected: &[AffectedPackage], installed: &Purl) -> Covers {
    let mut best = Covers::Out;
    for package in affected {
        match advisory::covers(package, installed) {
            covered @ Covers::In { .. } => return covered,
            Covers::Out => {}
            unknown @ Covers::Unknown(_) => best = unknown,
        }
    }
    best
}

/// Whether a purl names an artifact that is called so: the version where it gives one, and of images the repository. An
/// image of Docker Hub that is known by its repository is also called by a `pkg:docker`, whose version is a tag.
fn is_own(purl: &Purl, (package, version, repository): &OwnPurl) -> bool {
    let named = |purl: &Purl| purl.qualifier("repository_url").unwrap_or_default();
    let is_there = |named: &str| repository_key(named) == repository_key(repository);
    if purl.package_key() != package {
        let image = image_of_hub(purl).filter(|image| image.package_key() == package);
        return image.is_some_and(|image| is_there(&named(&image)));
    }
    let repository_fits = || {
        let named = named(purl);
        !purl.is_image() || named.is_empty() || repository.is_empty() || is_there(&named)
    };
    purl.names_version(version) == Some(true) && repository_fits()
}

/// A component as it is compared: type, namespace, name, version and subpath; of images also the repository.
fn compared(component: &str) -> String {
    match Purl::parse(component) {
        Some(purl) => {
            let repository =
                if purl.is_image() { purl.qualifier("repository_url").unwrap_or_default() } else { String::new() };
            format!("{}@{} {repository}", purl.package_key(), purl.version_key())
        }
        None => component.to_owned(),
    }
}
