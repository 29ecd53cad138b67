//! What an entry changes for subscribers: a pure function from facts (SPEC §8, `subscribe`).

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

/// The changes of an entry, the first with n = 1: what comes after (0, 0) is everything.
pub(crate) fn of_entry<'a>(index: u64, entry: &Entry, facts: impl Iterator<Item = &'a Fact>) -> Vec<ViewChange> {
    let mut changes = Vec::new();
    let mut total = 0_u32;
    for fact in facts {
        let Some(event) = &fact.event else { continue };
        let at = Nanos(if fact.occurred_at == 0 { entry.occurred_at } else { fact.occurred_at });
        for subject in subjects(event) {
            total = total.saturating_add(1);
            let n = total;
            let (view, change) = (view_of(event).to_owned(), kebab(event.name()));
            if total <= CHANGES_PER_ENTRY_MAX {
                changes.push(ViewChange { index, n, view, subject, change, occurred_at: at });
            }
        }
    }
    if total <= CHANGES_PER_ENTRY_MAX {
        return changes;
    }
    let first = changes.swap_remove(0);
    let subject = entry.subjects.first().cloned().unwrap_or_default();
    vec![ViewChange { n: 1, subject, change: "bulk".into(), ..first }]
}

fn kebab(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

fn view_of(event: &Event) -> &'static str {
    match event {
        Event::SbomAttached(_) | Event::ComponentsListed(_) => "components",
        Event::VexIssued(_) | Event::ReachabilityAnalyzed(_) => "vex",
        Event::AttestationAttached(_)
        | Event::ArtifactSigned(_)
        | Event::ScanCompleted(_)
        | Event::TestsFinished(_)
        | Event::RebuildChecked(_)
        | Event::ApprovalDecided(_) => "evidence",
        Event::EnvironmentChanged(_)
        | Event::ServiceDeployed(_)
        | Event::ServiceRemoved(_)
        | Event::CanaryChanged(_)
        | Event::FlagChanged(_)
        | Event::ConfigChanged(_)
        | Event::FreezeChanged(_) => "deployments",
        Event::OpaqueReceived(_)
        | Event::MessageRejected(_)
        | Event::KeyRotated(_)
        | Event::ViewRootRecorded(_)
        | Event::BodyErased(_) => "intake",
        Event::ChangeMerged(_)
        | Event::RefUpdated(_)
        | Event::RepositoryObserved(_)
        | Event::RunStarted(_)
        | Event::RunFinished(_)
        | Event::StepFinished(_)
        | Event::ArtifactPackaged(_)
        | Event::ArtifactPublished(_)
        | Event::ArtifactDeleted(_)
        | Event::ArtifactDownloaded(_)
        | Event::TagObserved(_)
        | Event::ImageObserved(_)
        | Event::AliasObserved(_) => "lineage",
    }
}

/// One subject per change: an event about several things changes each.
fn subjects(event: &Event) -> Vec<String> {
    let placed = |service: &str, environment: &str| match service {
        "" => vec![environment.to_owned()],
        _ => vec![format!("{service}@{environment}")],
    };
    match event {
        Event::ComponentsListed(_) | Event::KeyRotated(_) | Event::ViewRootRecorded(_) | Event::BodyErased(_) => vec![],
        Event::EnvironmentChanged(e) => vec![e.environment.clone()],
        Event::ServiceDeployed(e) => placed(&e.service, &e.environment),
        Event::ServiceRemoved(e) => placed(&e.service, &e.environment),
        Event::CanaryChanged(e) => placed(&e.service, &e.environment),
        Event::FlagChanged(e) => placed(&e.service, &e.environment),
        Event::ConfigChanged(e) => placed(&e.service, &e.environment),
        Event::FreezeChanged(e) => placed(&e.service, &e.environment),
        Event::VexIssued(e) => e.statements.iter().map(|s| s.vulnerability.clone()).collect(),
        Event::ChangeMerged(e) => vec![if e.commit.is_empty() { e.change_id.clone() } else { e.commit.clone() }],
        Event::RefUpdated(e) => vec![format!("{}@{}", e.r#ref, e.repository)],
        Event::RepositoryObserved(e) => vec![e.repository.clone()],
        Event::RunStarted(e) => vec![e.run.clone()],
        Event::RunFinished(e) if e.artifact_digests.is_empty() => vec![e.run.clone()],
        Event::StepFinished(e) => vec![e.step.clone()],
        Event::OpaqueReceived(e) => vec![e.event_type.clone()],
        Event::MessageRejected(e) => vec![e.code.clone()],
        Event::AttestationAttached(e) if e.artifact_digests.is_empty() => vec![e.statement_digest.clone()],
        Event::TestsFinished(e) if e.artifact_digest.is_empty() => vec![e.run.clone()],
        Event::TagObserved(e) if e.digest.is_empty() => vec![format!("{}:{}", e.repository, e.tag)],
        Event::RunFinished(_)
        | Event::ArtifactPackaged(_)
        | Event::ArtifactPublished(_)
        | Event::ArtifactSigned(_)
        | Event::ArtifactDeleted(_)
        | Event::ArtifactDownloaded(_)
        | Event::TagObserved(_)
        | Event::ImageObserved(_)
        | Event::AliasObserved(_)
        | Event::SbomAttached(_)
        | Event::AttestationAttached(_)
        | Event::ScanCompleted(_)
        | Event::TestsFinished(_)
        | Event::ReachabilityAnalyzed(_)
        | Event::RebuildChecked(_)
        | Event::ApprovalDecided(_) => event.subject_digests().into_iter().map(str::to_owned).collect(),
    }
}
