//! What somebody states or found about artifacts: SBOMs, attestations, scans, VEX, tests and the like.

use pedigraph_proto::event::{ArtifactKind, SbomAttached, ScanCompleted, TestsFinished, VexIssued, VexStatement};
use pedigraph_proto::{ArtifactRef, fact, names_nothing};

use super::fold::{Fold, clip, digest};
use super::rows::{Class, Evidence, EvidenceKind, SbomEvidence, TestsEvidence, VexEvidence, table};
use crate::error::Error;
use crate::facts::view::StandsAt;

/// Gates of one analysis that are kept.
const GATES_MAX: usize = 64;
/// Rows of one statement that find products by every name of a vulnerability; further products are found by its own
/// name alone.
const VEX_NAMES_MAX: usize = 8_192;

impl Fold<'_, '_, '_> {
    pub(super) fn of_evidence(&mut self, event: fact::Evidence<'_>) -> Result<(), Error> {
        match event {
            fact::Evidence::SbomAttached(event) => self.sbom(event),
            fact::Evidence::AttestationAttached(event) => self.attestation(event),
            fact::Evidence::ScanCompleted(event) => self.scan(event),
            fact::Evidence::VexIssued(event) => self.vex(event),
            fact::Evidence::TestsFinished(event) => self.tests(event),
            fact::Evidence::ReachabilityAnalyzed(e) => {
                let (vulnerability, status) = (clip(&e.vulnerability), clip(&e.status));
                let gates = e.gates.iter().take(GATES_MAX).map(|gate| clip(gate)).collect();
                let evidence = Evidence::Reachability { vulnerability, status, paths: e.paths, gates };
                self.remark(EvidenceKind::Reachability, (&e.artifact_digest, ""), &evidence)
            }
            fact::Evidence::RebuildChecked(e) => {
                let rebuilt_digest = clip(&e.rebuilt_digest);
                let evidence = Evidence::Rebuild { rebuilt_digest, reproducible: e.reproducible };
                self.remark(EvidenceKind::Rebuild, (&e.artifact_digest, ""), &evidence)
            }
            fact::Evidence::ApprovalDecided(e) => {
                let (decision, environment, actor) = (clip(&e.decision), clip(&e.environment), clip(&e.actor));
                let evidence = Evidence::Approval { decision, environment, actor };
                self.remark(EvidenceKind::Approval, (&e.artifact_digest, ""), &evidence)
            }
            fact::Evidence::ComponentsListed(_) | fact::Evidence::AdvisoryPublished(_) => Ok(()),
        }
    }

    pub(super) fn note(&mut self, digest: &str, kind: EvidenceKind, evidence: &Evidence) -> Result<(), Error> {
        self.rows.put(self.key(table::EVIDENCE).text(digest).byte(kind.byte()).stamp(self.at), evidence)
    }

    /// Events that only add a piece of evidence to one artifact.
    pub(super) fn remark(
        &mut self,
        kind: EvidenceKind,
        (subject, reference): (&str, &str),
        evidence: &Evidence,
    ) -> Result<(), Error> {
        let Some(subject) = digest(subject) else { return Ok(()) };
        self.name(&subject, Class::Other, reference, 0, "")?;
        self.note(&subject, kind, evidence)
    }

    fn sbom(&mut self, event: &SbomAttached) -> Result<(), Error> {
        let subject = match digest(&event.artifact_digest) {
            Some(subject) => {
                let described = described(event);
                self.named(&described, &subject)?;
                let name = (described.repository.as_str(), described.tag.as_str());
                self.name_as(&subject, Class::Other, name, event.kind, "")?;
                subject
            }
            // It is a node of its own, without a line, until an event links it to an artifact (SPEC §2.4).
            None => {
                let Some(sbom) = digest(&event.sbom_digest) else { return Ok(()) };
                self.name(&sbom, Class::Other, "", ArtifactKind::Sbom.into(), "")?;
                sbom
            }
        };
        let id = if event.sbom_digest.is_empty() { &event.component_set } else { &event.sbom_digest };
        let evidence = SbomEvidence {
            sbom_digest: digest(id).unwrap_or_else(|| clip(id)),
            is_link: event.component_set.is_empty(),
            format: clip(&event.format),
            spec_version: clip(&event.spec_version),
            serial_number: clip(&event.serial_number),
            tool: clip(&event.tool),
            uri: clip(&event.uri),
            components: event.component_count,
            skipped: event.skipped_count,
        };
        self.note(&subject, EvidenceKind::Sbom, &Evidence::Sbom(evidence))
    }

    fn scan(&mut self, event: &ScanCompleted) -> Result<(), Error> {
        for finding in &event.findings {
            let Some(subject) = digest(&event.artifact_digest) else { break };
            self.vulnerability(&finding.vulnerability, &finding.aliases, &subject)?;
        }
        // Later parts of one report add findings and are no scans of their own.
        let Some(subject) = digest(&event.artifact_digest).filter(|_| event.first == 0) else { return Ok(()) };
        self.name(&subject, Class::Other, &event.artifact_ref, event.kind, "")?;
        let evidence = Evidence::Scan {
            scan_id: clip(&event.scan_id),
            scanner: clip(&event.scanner),
            scanner_version: clip(&event.scanner_version),
            findings: event.finding_count,
        };
        self.note(&subject, EvidenceKind::Scan, &evidence)
    }

    fn vex(&mut self, event: &VexIssued) -> Result<(), Error> {
        for (statement, ordinal) in event.statements.iter().zip(event.first..) {
            let mut products: Vec<String> = statement.product_digests.iter().filter_map(|text| digest(text)).collect();
            products.sort();
            products.dedup();
            for product in &products {
                let key = self.key(table::EVIDENCE).text(product).byte(EvidenceKind::Vex.byte()).stamp(self.at);
                self.rows.put(key.number(ordinal.into()), &vex_evidence(event, statement))?;
            }
            // By each name of the vulnerability, products times names: its own name first.
            let names = statement.aliases.len() + 1;
            let named = products.len().min(VEX_NAMES_MAX / names);
            for product in &products[..named] {
                self.vulnerability(&statement.vulnerability, &statement.aliases, product)?;
            }
            for product in &products[named..] {
                self.vulnerability(&statement.vulnerability, &[], product)?;
            }
            self.rows.cut((products.len() - named) * statement.aliases.len());
        }
        // One fact names a digest once, however many statements it has.
        let digests = event.statements.iter().flat_map(|statement| &statement.product_digests);
        let mut named: Vec<String> = digests.filter_map(|text| digest(text)).collect();
        named.sort();
        named.dedup();
        named.iter().try_for_each(|digest| self.name(digest, Class::Other, "", 0, ""))
    }

    fn vulnerability(&mut self, id: &str, aliases: &[String], subject: &str) -> Result<(), Error> {
        for id in aliases.iter().map(String::as_str).chain([id]) {
            if id.is_empty() || id.len() > pedigraph_proto::VULNERABILITY_BYTES_MAX {
                continue;
            }
            let key = self.key(table::VULNERABILITIES).text(&id.to_ascii_uppercase()).text(subject);
            self.rows.put_first(key, &())?;
        }
        Ok(())
    }

    fn tests(&mut self, event: &TestsFinished) -> Result<(), Error> {
        let Some(subject) = digest(&event.artifact_digest) else { return Ok(()) };
        self.name(&subject, Class::Other, &event.artifact_ref, 0, "")?;
        let evidence = TestsEvidence {
            run: clip(&event.run),
            suite: clip(&event.suite),
            outcome: event.outcome,
            passed: event.passed,
            failed: event.failed,
            skipped: event.skipped,
            url: clip(&event.url),
            reason: clip(&event.reason),
            environment: clip(&event.environment),
        };
        self.note(&subject, EvidenceKind::Tests, &Evidence::Tests(evidence))
    }
}

/// What an SBOM calls the thing that it describes: where its name has no tag, the version of its root component is the
/// version. A name without any version would make one line of all things that anybody calls so.
fn described(event: &SbomAttached) -> ArtifactRef {
    let reference = if event.artifact_ref.is_empty() { &event.purl } else { &event.artifact_ref };
    let mut described = ArtifactRef::parse(reference).unwrap_or(ArtifactRef {
        repository: String::new(),
        tag: String::new(),
        digest: None,
    });
    let version = Some(&event.root_version).filter(|version| !version.is_empty() && digest(version).is_none());
    if let Some(version) = version {
        if described.repository.is_empty() && !names_nothing(&event.root_name) {
            described.repository = clip(&event.root_name);
        }
        if described.tag.is_empty() && !described.repository.is_empty() {
            described.tag = clip(version);
        }
    }
    described
}

fn vex_evidence(event: &VexIssued, statement: &VexStatement) -> Evidence {
    Evidence::Vex(VexEvidence {
        vulnerability: clip(&statement.vulnerability),
        issuer: clip(&event.issuer),
        status: statement.status,
        justification: clip(&statement.justification),
        document_id: clip(&event.document_id),
        document_version: clip(&event.document_version),
        time: clip(if statement.time.is_empty() { &event.document_time } else { &statement.time }),
    })
}
