//! Deployments as evidence of what they deploy.

use pedigraph_proto::event::{CanaryChanged, ServiceDeployed};
use pedigraph_proto::fact::Deploy;
use pedigraph_proto::{ArtifactRef, json};

use super::fold::{Fold, clip, digest, texts};
use super::rows::{Class, Detail, Evidence, EvidenceKind, table};
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
        let strategy = json::strategy::word(event.strategy());
        let mut details = texts(&[
            ("environment", &event.environment),
            ("service", &event.service),
            ("cluster", &event.cluster),
            ("namespace", &event.namespace),
            ("artifactRef", &event.artifact_ref),
            ("configDigest", &event.config_digest),
            ("strategy", &strategy),
            ("actor", &event.actor),
            ("run", &event.run),
            ("reason", &event.reason),
            ("url", &event.url),
        ]);
        if event.weight > 0 {
            details.push(("weight".to_owned(), Detail::Number(event.weight.into())));
        }
        if event.rollback {
            details.push(("rollback".to_owned(), Detail::Flag(true)));
        }
        let by = if event.actor.is_empty() { String::new() } else { format!(" by {}", event.actor) };
        let summary = clip(&format!("{} in {}{by}", event.service, event.environment));
        let id = clip(&format!("{}@{}", event.service, event.environment));
        self.deployment(&event.artifact_digest, &event.artifact_ref, &Evidence { id, summary, details })
    }

    fn canary(&mut self, event: &CanaryChanged) -> Result<(), Error> {
        let mut details = texts(&[
            ("environment", &event.environment),
            ("service", &event.service),
            ("artifactRef", &event.artifact_ref),
            ("actor", &event.actor),
            ("reason", &event.reason),
        ]);
        details.push(("weight".to_owned(), Detail::Number(event.weight.into())));
        let summary = clip(&format!("{} in {}, canary at {} %", event.service, event.environment, event.weight));
        let id = clip(&format!("{}@{}", event.service, event.environment));
        self.deployment(&event.artifact_digest, &event.artifact_ref, &Evidence { id, summary, details })
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
