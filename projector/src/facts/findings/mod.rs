//! Who says what of which vulnerability: statements, findings, advisories (SPEC §5), and who the issuers are.
//!
//! A fold stays narrow: a statement on a package is one row, however many artifacts hold that package. Whether it is
//! about one of them is found when somebody asks.

use std::collections::{BTreeMap, BTreeSet};

use pedigraph_proto::event::{AdvisoryPublished, Finding, PolicyPublished, ScanCompleted, VexIssued, VexStatement};
use pedigraph_proto::fact::{Control, Evidence, Family};
use pedigraph_proto::time::SKEW_NS_MAX;
use pedigraph_proto::{Nanos, Purl, VULNERABILITY_BYTES_MAX};

use self::rows::{
    ABOUT, ADVISORIES, ALIASES, Advisory, DIFFERS, DOCUMENTS, DocumentKey, Found, ISSUED_ON, Issue, IssuedOn, NAMES,
    OWN, POLICIES, SCANS, STATE_ALIASES, STATEMENTS, Statement, alias, key_name, product_keys, said_of, table, target,
    unreadable, version_order,
};
use crate::error::Error;
use crate::facts::components::rows::clipped;
use crate::facts::view::{FactAt, StandsAt, View};
use crate::facts::{digest, own};
use crate::rows::Rows;
use crate::rows::encoded::Encoded;
use crate::rows::text::Text;
use crate::store::key::{Key, KeyReader};

pub(crate) mod rows;

/// Bytes of a text that a row keeps: facts hold it whole.
const TEXT_BYTES_MAX: usize = 2_048;
/// Things that one SBOM describes which are kept.
const SUBJECTS_MAX: usize = 4;
/// The format whose purls are compared with their releases (SPEC §5).
const CSAF: &str = "csaf";
/// Bytes of a scanner's name, and of what of an artifact it scanned, in keys.
const NAME_BYTES_MAX: usize = 256;

/// The view.
#[derive(Default)]
pub(crate) struct Findings;

impl View for Findings {
    fn name(&self) -> &'static str {
        "vex"
    }

    fn fold(&self, at: &FactAt<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
        let mut fold = Fold { at, rows };
        if let Some((artifact, purl)) = own::called(at.event) {
            fold.own(artifact, &purl)?;
        }
        match at.event.family() {
            Family::Evidence(Evidence::VexIssued(event)) => fold.vex(event),
            Family::Evidence(Evidence::ScanCompleted(event)) => fold.scan(event),
            Family::Evidence(Evidence::AdvisoryPublished(event)) => fold.advisory(event),
            Family::Control(Control::PolicyPublished(event)) => fold.policy(event),
            Family::Source(_)
            | Family::Work(_)
            | Family::Artifact(_)
            | Family::Evidence(_)
            | Family::Deploy(_)
            | Family::Control(_) => Ok(()),
        }
    }
}

/// One fact being folded.
struct Fold<'a, 'b, 'c> {
    at: &'a FactAt<'a>,
    rows: &'b mut Rows<'c>,
}

/// A place in the ledger, below that of a fact.
trait Place {
    /// Index, ordinal.
    fn place(self, at: &FactAt<'_>) -> Self;
}

impl Place for Key {
    fn place(self, at: &FactAt<'_>) -> Key {
        self.number(at.index).ordinal(at.ordinal)
    }
}

impl Fold<'_, '_, '_> {
    fn table(&self, of: u8) -> Key {
        table(self.at.tenant, of)
    }

    /// A time that a document says; one that lies ahead of intake counts as that of intake (SPEC §2.3).
    fn said_time(&self, text: &str) -> Option<Nanos> {
        Nanos::parse(text).map(|time| if self.is_ahead(time) { Nanos(self.at.entry.recorded_at) } else { time })
    }

    fn is_ahead(&self, time: Nanos) -> bool {
        time.0 > self.at.entry.recorded_at.saturating_add(SKEW_NS_MAX)
    }

    /// Whether an advisory is withdrawn. One that is to be so later holds until somebody says again, then, that it is.
    fn is_withdrawn(&self, text: &str) -> bool {
        Nanos::parse(text).map_or(!text.is_empty(), |time| !self.is_ahead(time))
    }

    /// What an artifact is called by purl; an image's own digest is found without.
    fn own(&mut self, artifact: &str, purl: &str) -> Result<(), Error> {
        let (Some(digest), Some(purl)) = (digest(artifact), Purl::parse(purl)) else { return Ok(()) };
        let version = if purl.digest().is_some() { "".into() } else { purl.ordered_version() };
        let repository =
            if purl.is_image() { purl.qualifier("repository_url").unwrap_or_default() } else { String::new() };
        let key = self.table(OWN).text(&digest).text(clipped(purl.package_key())).text(clipped(&version));
        self.rows.put_first(key.text(clip_to(&repository, NAME_BYTES_MAX)), &())?;
        Ok(())
    }

    /// Names of one vulnerability, as a statement or a scan gives them: each alias is joined to the first name, so that
    /// many cost as many rows.
    fn name(&mut self, id: &str, aliases: &[String]) -> Result<Option<String>, Error> {
        let Some(name) = vulnerability_name(id) else { return Ok(None) };
        self.rows.put_first(self.table(NAMES).text(&name), &id.trim())?;
        for alias in aliases {
            if let Some(other) = self.other_name(&name, alias)? {
                self.alias(&name, &other, [alias::SAID, alias::SAID])?;
            }
        }
        Ok(Some(name))
    }

    fn other_name(&mut self, name: &str, alias: &str) -> Result<Option<String>, Error> {
        let Some(other) = vulnerability_name(alias).filter(|other| other != name) else { return Ok(None) };
        self.rows.put_first(self.table(NAMES).text(&other), &alias.trim())?;
        Ok(Some(other))
    }

    fn alias(&mut self, name: &str, other: &str, [here, there]: [u8; 2]) -> Result<(), Error> {
        self.rows.put_first(self.table(ALIASES).text(name).text(other).byte(here), &())?;
        self.rows.put_first(self.table(ALIASES).text(other).text(name).byte(there), &())?;
        Ok(())
    }

    fn about(&mut self, kind: u8, of: &str, name: &str) -> Result<(), Error> {
        self.rows.put_first(self.table(ABOUT).byte(kind).text(of).text(name), &())?;
        Ok(())
    }

    fn vex(&mut self, event: &VexIssued) -> Result<(), Error> {
        let issued = self.said_time(&event.document_time).unwrap_or(self.at.occurred_at);
        let document = self.document(event, issued)?;
        let mut on: BTreeMap<String, i64> = BTreeMap::new();
        for (statement, n) in event.statements.iter().zip(event.first..) {
            let Some(from) = self.statement(statement, (document, issued), n)? else { continue };
            for digest in digests_of(statement) {
                let first = on.entry(digest).or_insert(from.0);
                *first = from.0.min(*first);
            }
        }
        for (digest, from) in on {
            let key = self.table(ISSUED_ON).text(&digest).bytes(&document).place(self.at);
            self.rows.put(key, &IssuedOn { from, in_sbom: is_of_sbom(self.at) })?;
        }
        Ok(())
    }

    /// A version of a document, with the greatest version of it so far. A document without an id replaces nothing.
    fn document(&mut self, event: &VexIssued, issued: Nanos) -> Result<DocumentKey, Error> {
        let document = document_key(event, self.at);
        let group = self.table(DOCUMENTS).bytes(&document);
        let known = self.rows.nearest::<Issue>(&group, &group, &group.prefix_end(), true)?;
        let own = (clip(&event.document_version), issued.0, self.at.index, self.at.ordinal);
        let here = group.clone().number(self.at.index);
        if known.as_ref().is_some_and(|(key, known)| key.starts_with(here.as_bytes()) && known.version == own.0) {
            // Another part of the same document.
            return Ok(document);
        }
        let greatest = match known {
            Some((_, known)) if issue_order(&known.greatest, &own).is_gt() => known.greatest,
            Some(_) | None => own.clone(),
        };
        let in_sbom = is_of_sbom(self.at);
        let subjects = self.at.entry.subjects.iter().take(if in_sbom { SUBJECTS_MAX } else { 0 });
        let issue = Issue {
            issuer: clip(&event.issuer),
            id: clip(&event.document_id),
            version: own.0,
            time: own.1,
            source: clip(&self.at.entry.source),
            verification: event.verification,
            in_sbom,
            by_release: event.format == CSAF,
            subjects: subjects.cloned().collect(),
            greatest,
        };
        let key = group.clone().place(self.at);
        self.rows.put_in(&group, key, &issue)?;
        Ok(document)
    }

    /// Since when it is in force; `None` where it names no vulnerability.
    fn statement(
        &mut self,
        statement: &VexStatement,
        (document, issued): (DocumentKey, Nanos),
        n: u32,
    ) -> Result<Option<Nanos>, Error> {
        let Some(name) = self.name(&statement.vulnerability, &statement.aliases)? else { return Ok(None) };
        let own_time = self.said_time(&statement.time).unwrap_or(issued);
        let (own, digests) = (own_digests(&statement.product), digests_of(statement));
        let row = Statement {
            document,
            product: clip_to(&statement.product, pedigraph_proto::PURL_BYTES_MAX).to_owned(),
            subcomponents: statement.subcomponents.clone(),
            status: statement.status,
            raw_status: clip(&statement.raw_status),
            justification: clip(&statement.justification),
            impact: clip(&statement.impact),
            action: clip(&statement.action),
            time: own_time.0,
            from: own_time.max(issued).0,
            vulnerability: name.clone(),
            digests: digests.iter().filter(|digest| !own.contains(digest)).cloned().map(Text).collect(),
        };
        let end = |key: Key, at: &FactAt<'_>| key.bytes(&document).place(at).ordinal(n);
        self.rows.put(self.table(STATEMENTS).place(self.at).ordinal(n), &row)?;
        for digest in digests {
            self.rows.put(end(said_of(self.at.tenant, &name, target::DIGEST, &digest), self.at), &())?;
            self.about(target::DIGEST, &digest, &name)?;
        }
        if let Some(purl) = Purl::parse(&statement.product).filter(|purl| purl.digest().is_none()) {
            for (package, version) in product_keys(&purl) {
                let key = said_of(self.at.tenant, &name, target::PACKAGE, &package).text(&version);
                self.rows.put(end(key, self.at), &())?;
                self.about(target::PACKAGE, &package, &name)?;
            }
        }
        Ok(Some(own_time.max(issued)))
    }

    fn scan(&mut self, event: &ScanCompleted) -> Result<(), Error> {
        let Some(digest) = digest(&event.artifact_digest) else { return Ok(()) };
        let (scanner, part) = (clip_to(&event.scanner, NAME_BYTES_MAX), clip_to(&event.target, NAME_BYTES_MAX));
        if event.first == 0 {
            let key = self.table(SCANS).text(&digest).text(scanner).text(part).stamp(self.at);
            self.rows.put(key, &())?;
        }
        for (finding, n) in event.findings.iter().zip(event.first..) {
            let Some(name) = self.name(&finding.vulnerability, &finding.aliases)? else { continue };
            let key = said_of(self.at.tenant, &name, target::FINDING, &digest)
                .text(scanner)
                .text(part)
                .time(self.at.occurred_at);
            self.rows.put(key.place(self.at).ordinal(n), &found(finding))?;
            self.about(target::FINDING, &digest, &name)?;
        }
        Ok(())
    }

    fn advisory(&mut self, event: &AdvisoryPublished) -> Result<(), Error> {
        let Some(name) = self.name(&event.id, &[])? else { return Ok(()) };
        let modified = self.said_time(&event.modified).unwrap_or(self.at.occurred_at);
        if event.first == 0 {
            let state = Advisory {
                id: event.id.clone(),
                published: self.said_time(&event.published).unwrap_or(modified).0.min(modified.0),
                withdrawn: self.is_withdrawn(&event.withdrawn),
                severity: clip(&event.severity),
            };
            let key = self.table(ADVISORIES).text(&name).time(modified).place(self.at);
            self.rows.put(key, &state)?;
            self.names_of_state(&name, &event.aliases, modified)?;
        }
        for (affected, n) in event.affected.iter().zip(event.first..) {
            let Some(purl) = Purl::parse(&affected.purl) else { continue };
            let package = clipped(purl.package_key());
            // Places are those of the first part of the advisory, so that its state leads to all of them.
            let key = said_of(self.at.tenant, &name, target::ADVISORY, package)
                .text(&name)
                .time(modified)
                .number(self.at.index);
            self.rows.put(key.ordinal(self.at.ordinal).ordinal(n), &Encoded(affected))?;
            self.about(target::ADVISORY, package, &name)?;
        }
        Ok(())
    }

    /// What a state of an advisory says that it is also called. It counts while that state holds: a later one may take it
    /// back. Most never do, so that only of one whose states differ it is asked which holds.
    fn names_of_state(&mut self, name: &str, aliases: &[String], modified: Nanos) -> Result<(), Error> {
        let mut others = BTreeSet::new();
        for alias in aliases {
            others.extend(self.other_name(name, alias)?);
        }
        let mut unsure = BTreeSet::new();
        let differs = self.table(DIFFERS).text(name);
        if self.rows.get::<()>(&differs)?.is_some() {
            unsure.clone_from(&others);
        } else if let Some(before) = self.names_before(name)?.filter(|before| *before != others) {
            // All states so far said the same.
            self.rows.put_first(differs, &())?;
            unsure = before.union(&others).cloned().collect();
        }
        for other in &others {
            self.alias(name, other, [alias::BY_FIRST, alias::BY_SECOND])?;
        }
        for other in &unsure {
            self.alias(name, other, [alias::UNSURE_BY_FIRST, alias::UNSURE_BY_SECOND])?;
        }
        let states = self.table(STATE_ALIASES).text(name);
        let of_state = states.clone().time(modified).place(self.at);
        for other in others.iter().map(String::as_str).chain([""]) {
            self.rows.put_in(&states, of_state.clone().text(other), &())?;
        }
        Ok(())
    }

    /// What one of the earlier states of an advisory says that it is also called; `None` where there is none.
    fn names_before(&mut self, name: &str) -> Result<Option<BTreeSet<String>>, Error> {
        let states = self.table(STATE_ALIASES).text(name);
        let mut end = states.prefix_end();
        let mut names: Option<BTreeSet<String>> = None;
        // Backwards up to the row of no name, which is the first of a state.
        while let Some((key, ())) = self.rows.nearest::<()>(&states, &states, &end, true)? {
            let mut reader = KeyReader::after(&key, &states);
            let state = (reader.time(), reader.number(), reader.ordinal());
            let other = reader.text().filter(|_| state.2.is_some()).ok_or_else(unreadable)?;
            let found = names.get_or_insert_default();
            if other.is_empty() {
                break;
            }
            found.insert(other);
            end = Key::from_bytes(&key);
        }
        Ok(names)
    }

    fn policy(&mut self, event: &PolicyPublished) -> Result<(), Error> {
        self.rows.put(self.table(POLICIES).place(self.at), &Encoded(event))
    }
}

/// Version, time, index, ordinal of a version of a document.
pub(crate) type IssueOrder = (String, i64, u64, u32);

/// The order of versions of one document: by version, then by time, then by arrival.
pub(crate) fn issue_order(a: &IssueOrder, b: &IssueOrder) -> std::cmp::Ordering {
    version_order(&a.0, &b.0).then_with(|| (a.1, a.2, a.3).cmp(&(b.1, b.2, b.3)))
}

/// The entry is an SBOM, and what it says of vulnerabilities a part of it.
fn is_of_sbom(at: &FactAt<'_>) -> bool {
    at.entry.r#type == "SbomAttached"
}

/// The key of the document that statements are from. What an SBOM says lives with that SBOM, and no other document
/// replaces it: the same SBOM may be that of several artifacts.
pub(crate) fn document_key(event: &VexIssued, at: &FactAt<'_>) -> DocumentKey {
    let mut hasher = blake3::Hasher::new();
    let id = if is_of_sbom(at) { "" } else { event.document_id.as_str() };
    let unnamed = if id.is_empty() { at.entry.event_id.as_ref() } else { &[] };
    for part in [event.issuer.as_bytes(), id.as_bytes(), unnamed] {
        hasher.update(&(part.len() as u64).to_be_bytes()).update(part);
    }
    let mut key = [0; 16];
    key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    key
}

/// Digests of a statement's product, each once.
fn digests_of(statement: &VexStatement) -> Vec<String> {
    let named = statement.product_digests.iter().filter_map(|text| digest(text));
    let mut digests: Vec<String> = named.chain(own_digests(&statement.product)).collect();
    digests.sort();
    digests.dedup();
    digests
}

/// Digests that a product names itself.
pub(crate) fn own_digests(product: &str) -> Vec<String> {
    let by_purl = Purl::parse(product).and_then(|purl| purl.named_digest()).map(|digest| digest.to_string());
    digest(product).into_iter().chain(by_purl).collect()
}

pub(crate) fn vulnerability_name(id: &str) -> Option<String> {
    let named = !id.trim().is_empty() && id.len() <= VULNERABILITY_BYTES_MAX;
    named.then(|| key_name(id))
}

fn found(finding: &Finding) -> Found {
    Found {
        purl: clip_to(&finding.purl, pedigraph_proto::PURL_BYTES_MAX).to_owned(),
        name: clip(&finding.package_name),
        installed: clip(&finding.installed_version),
        fixed: clip(&finding.fixed_version),
        severity: clip(&finding.severity),
        status: clip(&finding.status),
    }
}

fn clip(text: &str) -> String {
    clip_to(text, TEXT_BYTES_MAX).to_owned()
}

fn clip_to(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
