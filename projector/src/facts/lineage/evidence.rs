//! What somebody states or found about artifacts: SBOMs, attestations, scans, VEX, tests and the like.

use pedigraph_proto::event::{
    ArtifactKind, AttestationAttached, SbomAttached, ScanCompleted, TestsFinished, VexIssued, VexStatement,
};
use pedigraph_proto::{fact, json};

use super::fold::{Fold, clip, digest, texts};
use super::rows::{Claim, Class, Detail, Evidence, EvidenceKind, table};
use crate::error::Error;
use crate::facts::view::StandsAt;

impl Fold<'_, '_, '_> {
    pub(super) fn of_evidence(&mut self, event: fact::Evidence<'_>) -> Result<(), Error> {
        match event {
            fact::Evidence::SbomAttached(event) => self.sbom(event),
            fact::Evidence::AttestationAttached(event) => self.attestation(event),
            fact::Evidence::ScanCompleted(event) => self.scan(event),
            fact::Evidence::VexIssued(event) => self.vex(event),
            fact::Evidence::TestsFinished(event) => self.tests(event),
            fact::Evidence::ReachabilityAnalyzed(e) => {
                let summary = format!("{} is {} ({} paths)", e.vulnerability, e.status, e.paths);
                self.remark(EvidenceKind::Reachability, (&e.artifact_digest, ""), &e.vulnerability, &summary)
            }
            fact::Evidence::RebuildChecked(e) => {
                let summary = if e.reproducible { "rebuilt alike" } else { "rebuilt with another digest" };
                self.remark(EvidenceKind::Rebuild, (&e.artifact_digest, ""), &e.rebuilt_digest, summary)
            }
            fact::Evidence::ApprovalDecided(e) => {
                let summary = format!("{} for {}{}", e.decision, e.environment, by(&e.actor));
                self.remark(EvidenceKind::Approval, (&e.artifact_digest, ""), &e.decision, &summary)
            }
            fact::Evidence::ComponentsListed(_) => Ok(()),
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
        id: &str,
        summary: &str,
    ) -> Result<(), Error> {
        let Some(subject) = digest(subject) else { return Ok(()) };
        self.name(&subject, Class::Other, reference, 0, "")?;
        let id = clip(if id.is_empty() { kind.word() } else { id });
        self.note(&subject, kind, &Evidence { id, summary: clip(summary), details: vec![] })
    }

    fn sbom(&mut self, event: &SbomAttached) -> Result<(), Error> {
        let subject = match digest(&event.artifact_digest) {
            Some(subject) => {
                let reference = if event.artifact_ref.is_empty() { &event.purl } else { &event.artifact_ref };
                self.name(&subject, Class::Other, reference, event.kind, "")?;
                self.purl(&event.purl, &subject)?;
                subject
            }
            // It is a node of its own, without a line, until an event links it to an artifact (SPEC §2.4).
            None => {
                let Some(sbom) = digest(&event.sbom_digest) else { return Ok(()) };
                self.name(&sbom, Class::Other, "", ArtifactKind::Sbom.into(), "")?;
                sbom
            }
        };
        let mut details = texts(&[
            ("format", &event.format),
            ("specVersion", &event.spec_version),
            ("serialNumber", &event.serial_number),
            ("tool", &event.tool),
            ("uri", &event.uri),
        ]);
        details.push(("components".to_owned(), Detail::Number(event.component_count.into())));
        if event.skipped_count > 0 {
            details.push(("skipped".to_owned(), Detail::Number(event.skipped_count.into())));
        }
        let written = [event.format.as_str(), &event.spec_version].join(" ");
        let by = if event.tool.is_empty() { String::new() } else { format!(" by {}", event.tool) };
        let noun = if event.component_count == 1 { "component" } else { "components" };
        let summary = match (event.component_set.is_empty(), written.trim()) {
            (true, _) => format!("links the SBOM {}", short(&event.sbom_digest)),
            (false, written) => format!("{written}, {} {noun}{by}", event.component_count),
        };
        let id = digest(&event.sbom_digest).unwrap_or_else(|| event.component_set.clone());
        self.note(&subject, EvidenceKind::Sbom, &Evidence { id, summary: clip(&summary), details })
    }

    fn attestation(&mut self, event: &AttestationAttached) -> Result<(), Error> {
        let mut details = texts(&[
            ("predicateType", &event.predicate_type),
            ("statementDigest", &event.statement_digest),
            ("verification", &json::verification::word(event.verification())),
            ("builder", &event.builder),
            ("buildType", &event.build_type),
            ("invocation", &event.invocation),
            ("repository", &event.repository),
            ("commit", &event.commit),
            ("startedOn", &event.started_on),
            ("finishedOn", &event.finished_on),
            ("summary", &event.summary),
        ]);
        if !event.key_ids.is_empty() {
            details.push(("keyIds".to_owned(), Detail::List(event.key_ids.iter().map(|id| clip(id)).collect())));
        }
        if !event.materials.is_empty() {
            details.push(("materials".to_owned(), Detail::Number(event.materials.len() as u64)));
        }
        let by = if event.builder.is_empty() { String::new() } else { format!(" by {}", event.builder) };
        let verified = json::verification::word(event.verification());
        let verified = if verified.is_empty() { String::new() } else { format!(", signature {verified}") };
        let summary = clip(&format!("{}{by}{verified}", event.predicate_type));
        let evidence = Evidence { id: clip(&event.predicate_type), summary, details };
        let claim = Claim {
            commit: event.commit.clone(),
            repository: clip(&event.repository),
            change_id: String::new(),
            run: event.invocation.clone(),
            pipeline: String::new(),
            builder: clip(&event.builder),
            said_by: "provenance".to_owned(),
        };
        let mut subjects: Vec<String> = event.artifact_digests.iter().filter_map(|text| digest(text)).collect();
        subjects.sort();
        subjects.dedup();
        for subject in subjects {
            self.name(&subject, Class::Other, "", 0, "")?;
            self.note(&subject, EvidenceKind::Attestation, &evidence)?;
            self.product(&event.invocation, &subject)?;
            self.claim(&subject, &claim)?;
            self.materials(&subject, &event.materials)?;
        }
        Ok(())
    }

    fn scan(&mut self, event: &ScanCompleted) -> Result<(), Error> {
        for finding in &event.findings {
            let Some(subject) = digest(&event.artifact_digest) else { break };
            self.vulnerability(&finding.vulnerability, &finding.aliases, &subject)?;
        }
        // Later parts of one report add findings and are no scans of their own.
        let Some(subject) = digest(&event.artifact_digest).filter(|_| event.first == 0) else { return Ok(()) };
        self.name(&subject, Class::Other, &event.artifact_ref, 0, "")?;
        let mut details = texts(&[("scanner", &event.scanner), ("scannerVersion", &event.scanner_version)]);
        details.push(("findings".to_owned(), Detail::Number(event.finding_count.into())));
        let summary = clip(&format!("{}: {} findings", event.scanner, event.finding_count));
        let evidence = Evidence { id: clip(&event.scan_id), summary, details };
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
                self.vulnerability(&statement.vulnerability, &statement.aliases, product)?;
            }
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
        let outcome = json::outcome::word(event.outcome());
        let mut details = texts(&[
            ("suite", &event.suite),
            ("outcome", &outcome),
            ("run", &event.run),
            ("url", &event.url),
            ("reason", &event.reason),
            ("environment", &event.environment),
        ]);
        for (name, n) in [("passed", event.passed), ("failed", event.failed), ("skipped", event.skipped)] {
            details.push((name.to_owned(), Detail::Number(n.into())));
        }
        let counts = format!("{} passed, {} failed, {} skipped", event.passed, event.failed, event.skipped);
        let suite = if event.suite.is_empty() { "tests" } else { &event.suite };
        let summary = clip(&format!("{suite}: {outcome} ({counts})"));
        let id = if event.run.is_empty() { clip(suite) } else { clip(&event.run) };
        self.note(&subject, EvidenceKind::Tests, &Evidence { id, summary, details })
    }
}

fn short(digest: &str) -> &str {
    let end = digest.find(':').map_or(12, |colon| colon + 13);
    digest.get(..end).unwrap_or(digest)
}

pub(super) fn by(actor: &str) -> String {
    if actor.is_empty() { String::new() } else { format!(" by {actor}") }
}

fn vex_evidence(event: &VexIssued, statement: &VexStatement) -> Evidence {
    let status = json::vex_status::word(statement.status());
    let details = texts(&[
        ("issuer", &event.issuer),
        ("status", &status),
        ("justification", &statement.justification),
        ("documentId", &event.document_id),
        ("documentVersion", &event.document_version),
        ("time", if statement.time.is_empty() { &event.document_time } else { &statement.time }),
    ]);
    let summary = clip(&format!("{}: {status} says {}", statement.vulnerability, event.issuer));
    Evidence { id: clip(&statement.vulnerability), summary, details }
}
