//! Statements about artifacts, with their materials: both lists once each, since their product is not bounded by the
//! size of what was sent. `ask/statements.rs` joins them.

use std::collections::{BTreeMap, BTreeSet};

use pedigraph_proto::event::{ArtifactKind, AttestationAttached, Material};

use super::fold::{Fold, clip, digest};
use super::origin::{base_repository, commits_among, named_material};
use super::rows::{
    AttestationEvidence, BaseClaim, BaseMethod, Claim, Class, Evidence, EvidenceKind, RunId, Statement, StatementId,
    key_text, table,
};
use crate::error::Error;
use crate::facts::view::StandsAt;
use crate::store::key::Key;

/// Materials of one fact by digest and method.
type Materials = BTreeMap<(String, BaseMethod), BaseClaim>;

impl Fold<'_, '_, '_> {
    pub(super) fn attestation(&mut self, event: &AttestationAttached) -> Result<(), Error> {
        // What goes on with a fact that is not there stands by itself.
        let ordinal = self.at.ordinal.checked_sub(event.continues).unwrap_or(self.at.ordinal);
        let statement = StatementId { index: self.at.index, ordinal };
        let (run, commit) = (self.run_id(&event.invocation, &event.builder), key_text(&event.commit));
        if ordinal == self.at.ordinal {
            let value = Statement { evidence: evidence_of(event), claim: claim_of(event, &run) };
            self.rows.put(statement.key(self.key(table::STATEMENTS)), &value)?;
        }
        let subjects: BTreeSet<String> = event.artifact_digests.iter().filter_map(|text| digest(text)).collect();
        let with_materials = event.material_count > 0 || !event.materials.is_empty();
        let commits = if event.commit.is_empty() { commits_among(&event.materials) } else { BTreeSet::new() };
        // A part of a statement does not show all that it says of its subjects.
        let in_parts = event.continues > 0 || event.material_count > 0;
        let with_origin = in_parts || !claim_of(event, &run).says_nothing() || !commits.is_empty();
        for subject in &subjects {
            if with_origin {
                self.rows.put(self.key(table::STATED_ORIGINS).text(subject).stamp(self.at), &ordinal)?;
            }
            let stated = Evidence::Stated { ordinal, verification: event.verification };
            self.note(subject, EvidenceKind::Attestation, &stated)?;
            self.product(&run, subject)?;
            self.built_from(subject, &commit, "")?;
            if with_materials {
                let key = statement.key(self.key(table::SUBJECTS)).text(subject);
                self.put_of_statement(key, &())?;
                self.rows.put(self.key(table::STATED_MATERIALS).text(subject).stamp(self.at), &ordinal)?;
            }
        }
        let materials = materials_of(&event.materials);
        self.stated_names(&subjects, &materials)?;
        self.stated_materials(statement, &materials)?;
        for (commit, uri) in commits {
            let key = statement.key(self.key(table::SOURCES)).text(&key_text(commit)).text(&clip(uri));
            self.put_of_statement(key, &())?;
        }
        Ok(())
    }

    /// Facts that go on with a statement may name again what one before them names.
    fn put_of_statement(&mut self, key: Key, value: &impl serde::Serialize) -> Result<(), Error> {
        self.rows.put(key.ordinal(self.at.ordinal), value)
    }

    /// One fact names a digest once, as a subject or as an image that went into another one.
    fn stated_names(&mut self, subjects: &BTreeSet<String>, materials: &Materials) -> Result<(), Error> {
        let mut named: BTreeMap<&String, String> = BTreeMap::new();
        for ((material, method), claim) in materials {
            let itself = subjects.len() == 1 && subjects.contains(material);
            if *method == BaseMethod::Image && !itself {
                named.insert(material, base_repository(claim));
            }
        }
        for (image, repository) in &named {
            self.name_as(image, Class::Other, (repository, ""), ArtifactKind::ContainerImage.into(), "")?;
        }
        let others = subjects.iter().filter(|subject| !named.contains_key(subject));
        others.into_iter().try_for_each(|subject| self.name(subject, Class::Other, "", 0, ""))
    }

    fn stated_materials(&mut self, statement: StatementId, materials: &Materials) -> Result<(), Error> {
        for ((material, method), claim) in materials {
            let key = statement.key(self.key(table::MATERIALS)).byte(*method as u8).text(material);
            self.put_of_statement(key, claim)?;
            let key = self.key(table::USES).text(material).stamp(self.at).byte(*method as u8);
            self.rows.put(key, &statement.ordinal)?;
        }
        Ok(())
    }
}

fn materials_of(materials: &[Material]) -> Materials {
    let named = materials.iter().filter_map(named_material);
    named.map(|(material, claim)| ((material, claim.method), claim)).collect()
}

fn evidence_of(event: &AttestationAttached) -> AttestationEvidence {
    let here = u32::try_from(event.materials.len()).unwrap_or(u32::MAX);
    AttestationEvidence {
        predicate_type: clip(&event.predicate_type),
        statement_digest: clip(&event.statement_digest),
        verification: event.verification,
        builder: clip(&event.builder),
        build_type: clip(&event.build_type),
        invocation: clip(&event.invocation),
        repository: clip(&event.repository),
        commit: clip(&event.commit),
        started_on: clip(&event.started_on),
        finished_on: clip(&event.finished_on),
        summary: clip(&event.summary),
        key_ids: event.key_ids.iter().map(|id| clip(id)).collect(),
        materials: event.material_count.max(here),
    }
}

fn claim_of(event: &AttestationAttached, run: &RunId) -> Claim {
    Claim {
        commit: key_text(&event.commit),
        repository: clip(&event.repository),
        change_id: String::new(),
        run: run.clone(),
        pipeline: String::new(),
        builder: clip(&event.builder),
        said_by: "provenance".to_owned(),
    }
}
