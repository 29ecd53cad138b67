//! What an entry changes for subscribers: a pure function from facts (SPEC §8, `subscribe`).

use pedigraph_proto::fact::{Artifact, Control, Deploy, Evidence, Family, Source, Work};
use pedigraph_proto::wire::{Entry, Fact};
use pedigraph_proto::{Event, Nanos};

use super::answers::ViewChange;

/// Changes of one entry that are listed; more become one `bulk` change.
pub(crate) const CHANGES_PER_ENTRY_MAX: u32 = 1_000;
/// Changes that can be asked for again.
pub(crate) const CHANGES_KEPT: u64 = 100_000;

/// Number of changes of an event.
pub(crate) fn count(event: &Event) -> u32 {
    u32::try_from(subjects(event).len()).unwrap_or(u32::MAX)
}

/// Number of changes that an entry with so many shows.
pub(crate) fn count_shown(changes: u32) -> u32 {
    if changes > CHANGES_PER_ENTRY_MAX { 1 } else { changes }
}

/// The changes of an entry, gathered from its facts in their order; the first has n = 1, as what comes after (0, 0) is
/// everything.
pub(crate) struct Changes<'e> {
    index: u64,
    entry: &'e Entry,
    total: u32,
    listed: Vec<ViewChange>,
}

impl<'e> Changes<'e> {
    /// None yet.
    pub(crate) fn of(index: u64, entry: &'e Entry) -> Changes<'e> {
        Changes { index, entry, total: 0, listed: Vec::new() }
    }

    /// More of its facts.
    pub(crate) fn add(&mut self, facts: &[Fact]) {
        for fact in facts {
            let Some(event) = &fact.event else { continue };
            let at = if fact.occurred_at == 0 { self.entry.occurred_at } else { fact.occurred_at };
            for subject in subjects(event) {
                if self.is_bulk() {
                    return;
                }
                self.total += 1;
                let (view, change) = (view_of(event).to_owned(), event.kebab().to_owned());
                let (index, n, occurred_at) = (self.index, self.total, Nanos(at));
                self.listed.push(ViewChange { index, n, view, subject, change, occurred_at, verdict: None });
            }
        }
    }

    /// There are too many to list, so further facts change nothing.
    pub(crate) fn is_bulk(&self) -> bool {
        self.total > CHANGES_PER_ENTRY_MAX
    }

    /// All of them, or the one that stands for too many.
    pub(crate) fn listed(mut self) -> Vec<ViewChange> {
        if !self.is_bulk() {
            return self.listed;
        }
        let first = self.listed.swap_remove(0);
        let subject = self.entry.subjects.first().cloned().unwrap_or_default();
        vec![ViewChange { n: 1, subject, change: "bulk".into(), ..first }]
    }
}

fn view_of(event: &Event) -> &'static str {
    match event.family() {
        Family::Source(_) | Family::Work(_) => "lineage",
        Family::Artifact(event) => match event {
            Artifact::ArtifactSigned(_) => "evidence",
            Artifact::ArtifactPackaged(_)
            | Artifact::ArtifactPublished(_)
            | Artifact::ArtifactDeleted(_)
            | Artifact::ArtifactDownloaded(_)
            | Artifact::TagObserved(_)
            | Artifact::ImageObserved(_)
            | Artifact::AliasObserved(_) => "lineage",
        },
        Family::Evidence(event) => view_of_evidence(event),
        Family::Deploy(_) => "deployments",
        Family::Control(_) => "intake",
    }
}

fn view_of_evidence(event: Evidence<'_>) -> &'static str {
    match event {
        Evidence::SbomAttached(_) | Evidence::ComponentsListed(_) => "components",
        Evidence::VexIssued(_) | Evidence::ReachabilityAnalyzed(_) | Evidence::AdvisoryPublished(_) => "vex",
        Evidence::AttestationAttached(_)
        | Evidence::ScanCompleted(_)
        | Evidence::TestsFinished(_)
        | Evidence::RebuildChecked(_)
        | Evidence::ApprovalDecided(_) => "evidence",
    }
}

/// One subject per change: an event about several things changes each.
fn subjects(event: &Event) -> Vec<String> {
    let named = match event.family() {
        Family::Source(event) => Some(of_source(event)),
        Family::Work(event) => of_work(event),
        Family::Artifact(event) => of_artifact(event),
        Family::Evidence(event) => of_evidence(event),
        Family::Deploy(event) => Some(of_deploy(event)),
        Family::Control(event) => Some(of_control(event)),
    };
    named.unwrap_or_else(|| event.subject_digests().into_iter().map(str::to_owned).collect())
}

fn of_source(event: Source<'_>) -> Vec<String> {
    match event {
        Source::ChangeMerged(e) => vec![if e.commit.is_empty() { e.change_id.clone() } else { e.commit.clone() }],
        Source::RefUpdated(e) => vec![format!("{}@{}", e.r#ref, e.repository)],
        Source::RepositoryObserved(e) => vec![e.repository.clone()],
    }
}

/// `None`, here and below: it is about the artifacts that it names.
fn of_work(event: Work<'_>) -> Option<Vec<String>> {
    match event {
        Work::RunStarted(e) => Some(vec![e.run.clone()]),
        Work::RunFinished(e) => e.artifact_digests.is_empty().then(|| vec![e.run.clone()]),
        Work::StepFinished(e) => Some(vec![e.step.clone()]),
    }
}

fn of_artifact(event: Artifact<'_>) -> Option<Vec<String>> {
    match event {
        Artifact::TagObserved(e) => e.digest.is_empty().then(|| vec![format!("{}:{}", e.repository, e.tag)]),
        Artifact::ArtifactPackaged(_)
        | Artifact::ArtifactPublished(_)
        | Artifact::ArtifactSigned(_)
        | Artifact::ArtifactDeleted(_)
        | Artifact::ArtifactDownloaded(_)
        | Artifact::ImageObserved(_)
        | Artifact::AliasObserved(_) => None,
    }
}

fn of_evidence(event: Evidence<'_>) -> Option<Vec<String>> {
    match event {
        Evidence::ComponentsListed(_) => Some(vec![]),
        Evidence::VexIssued(e) => Some(e.statements.iter().map(|s| s.vulnerability.clone()).collect()),
        Evidence::AdvisoryPublished(e) if e.first == 0 => Some(vec![e.id.clone()]),
        Evidence::AdvisoryPublished(_) => Some(vec![]),
        Evidence::AttestationAttached(e) => {
            let nameless = e.artifact_digests.is_empty() && e.continues == 0;
            nameless.then(|| vec![e.statement_digest.clone()])
        }
        Evidence::TestsFinished(e) => e.artifact_digest.is_empty().then(|| vec![e.run.clone()]),
        Evidence::SbomAttached(_)
        | Evidence::ScanCompleted(_)
        | Evidence::ReachabilityAnalyzed(_)
        | Evidence::RebuildChecked(_)
        | Evidence::ApprovalDecided(_) => None,
    }
}

fn of_deploy(event: Deploy<'_>) -> Vec<String> {
    let placed = |service: &str, environment: &str| match service {
        "" => vec![environment.to_owned()],
        _ => vec![format!("{service}@{environment}")],
    };
    match event {
        Deploy::EnvironmentChanged(e) => vec![e.environment.clone()],
        Deploy::ServiceDeployed(e) => placed(&e.service, &e.environment),
        Deploy::ServiceRemoved(e) => placed(&e.service, &e.environment),
        Deploy::CanaryChanged(e) => placed(&e.service, &e.environment),
        Deploy::FlagChanged(e) => placed(&e.service, &e.environment),
        Deploy::ConfigChanged(e) => placed(&e.service, &e.environment),
        Deploy::FreezeChanged(e) => placed(&e.service, &e.environment),
    }
}

fn of_control(event: Control<'_>) -> Vec<String> {
    match event {
        Control::OpaqueReceived(e) => vec![e.event_type.clone()],
        Control::MessageRejected(e) => vec![e.code.clone()],
        Control::KeyRotated(_)
        | Control::ViewRootRecorded(_)
        | Control::BodyErased(_)
        | Control::PolicyPublished(_) => vec![],
        Control::GapAccepted(e) => vec![e.topic.clone()],
    }
}

#[cfg(test)]
mod tests {
    use pedigraph_proto::event::ServiceRemoved;

    use super::*;

    fn removed(service: u32) -> Fact {
        let event = ServiceRemoved { environment: "prod".into(), service: service.to_string(), ..Default::default() };
        Fact::now(event)
    }

    #[test]
    fn more_changes_than_are_listed_are_one_however_the_facts_are_cut() {
        let entry = Entry { subjects: vec!["sha256:ab".into()], ..Entry::default() };
        let facts: Vec<Fact> = (0..=CHANGES_PER_ENTRY_MAX).map(removed).collect();
        let listed = |facts: &[Fact], chunk: usize| {
            let mut changes = Changes::of(7, &entry);
            facts.chunks(chunk).for_each(|chunk| changes.add(chunk));
            changes.listed()
        };
        for chunk in [1, 300, 5_000] {
            let all = listed(&facts[1..], chunk);
            assert_eq!((all.len(), all[0].n, all[999].n), (1_000, 1, 1_000));
            assert_eq!((all[0].subject.as_str(), all[0].change.as_str()), ("1@prod", "service-removed"));
            let one = listed(&facts, chunk);
            assert_eq!((one.len(), one[0].n, one[0].change.as_str()), (1, 1, "bulk"));
            assert_eq!((one[0].subject.as_str(), one[0].view.as_str()), ("sha256:ab", "deployments"));
        }
    }
}
