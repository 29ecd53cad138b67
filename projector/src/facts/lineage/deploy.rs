//! Deployments as evidence of what they deploy.

use pedigraph_proto::ArtifactRef;
use pedigraph_proto::event::{CanaryChanged, ServiceDeployed};
use pedigraph_proto::fact::Deploy;

use super::fold::{Fold, clip, digest};
use super::rows::{Class, DeploymentEvidence, Evidence, EvidenceKind, table};
use crate::error::Error;
use crate::facts::view::StandsAt;

impl Fold<'_, '_, '_> {
    pub(super) fn of_deploy(&mut self, event: Deploy<'_>) -> Result<(), Error> {
        match event {
            Deploy::ServiceDeployed(event) => self.deployed(event),
            Deploy::CanaryChanged(event) => self.canary(event),
            Deploy::EnvironmentChanged(_)
            | Deploy::ServiceRemoved(_)
            | Deploy::FlagChanged(_)
            | Deploy::ConfigChanged(_)
            | Deploy::FreezeChanged(_) => Ok(()),
        }
    }

    fn deployed(&mut self, event: &ServiceDeployed) -> Result<(), Error> {
        let evidence = DeploymentEvidence {
            canary: false,
            environment: clip(&event.environment),
            service: clip(&event.service),
            cluster: clip(&event.cluster),
            namespace: clip(&event.namespace),
            artifact_ref: clip(&event.artifact_ref),
            config_digest: clip(&event.config_digest),
            strategy: event.strategy,
            actor: clip(&event.actor),
            run: clip(&event.run),
            reason: clip(&event.reason),
            url: clip(&event.url),
            weight: event.weight,
            rollback: event.rollback,
        };
        self.deployment(&event.artifact_digest, &event.artifact_ref, &Evidence::Deployment(evidence))
    }

    fn canary(&mut self, event: &CanaryChanged) -> Result<(), Error> {
        let evidence = DeploymentEvidence {
            canary: true,
            environment: clip(&event.environment),
            service: clip(&event.service),
            cluster: clip(&event.cluster),
            namespace: clip(&event.namespace),
            artifact_ref: clip(&event.artifact_ref),
            actor: clip(&event.actor),
            reason: clip(&event.reason),
            weight: event.weight,
            ..DeploymentEvidence::default()
        };
        self.deployment(&event.artifact_digest, &event.artifact_ref, &Evidence::Deployment(evidence))
    }

    fn deployment(&mut self, subject: &str, reference: &str, evidence: &Evidence) -> Result<(), Error> {
        let parsed = ArtifactRef::parse(reference);
        let named = parsed.as_ref().and_then(|r| r.digest.as_ref()).map(ToString::to_string);
        if let Some(subject) = digest(subject).or(named) {
            self.name(&subject, Class::Other, reference, 0, "")?;
            return self.note(&subject, EvidenceKind::Deployment, evidence);
        }
        let Some(parsed) = parsed else { return Ok(()) };
        let key = self.key(table::DEPLOYED_TAGS).text(&parsed.repository_key()).text(&parsed.tag).stamp(self.at);
        self.rows.put(key, evidence)
    }
}
