//! Facts: what an event says, one oneof for all of them, and the names they go by.

use bytes::Bytes;
use prost::Message;

use crate::event;
use crate::ids::Digest;
pub use crate::wire::fact::Event;
use crate::wire::{Fact, Facts};

/// Declares what every event variant needs once, family by family as `facts.proto` numbers them: its canonical name,
/// its CloudEvents type, its two decoders, and its place in its family's enums.
macro_rules! events {
    ($($(#[$doc:meta])* $family:ident { $($variant:ident $kebab:literal),* $(,)? })*) => {
        impl Event {
            /// The canonical name, such as `ArtifactPackaged`.
            pub fn name(&self) -> &'static str {
                match self { $($(Event::$variant(_) => stringify!($variant),)*)* }
            }

            /// The name in kebab-case, such as `artifact-packaged`: what [`Event::from_json`] takes.
            pub fn kebab(&self) -> &'static str {
                match self { $($(Event::$variant(_) => $kebab,)*)* }
            }

            /// The family that the event belongs to, and what it says there.
            pub fn family(&self) -> Family<'_> {
                match self { $($(Event::$variant(event) => Family::$family($family::$variant(event)),)*)* }
            }

            /// [`Event::family`], to change what the event says.
            pub fn family_mut(&mut self) -> change::Family<'_> {
                match self {
                    $($(Event::$variant(event) => change::Family::$family(change::$family::$variant(event)),)*)*
                }
            }

            /// Reads an event of our own type (`io.pedigraph.<kebab>.v1`) from its JSON form. `None` when there is no
            /// such event; the error says what does not fit.
            pub fn from_json(kebab: &str, data: &[u8]) -> Option<Result<Event, serde_json::Error>> {
                match kebab {
                    $($($kebab => Some(serde_json::from_slice::<event::$variant>(data).map(Event::$variant)),)*)*
                    _ => None,
                }
            }

            /// Reads an event of our own type from its protobuf form.
            pub fn from_protobuf(kebab: &str, data: &[u8]) -> Option<Result<Event, prost::DecodeError>> {
                match kebab {
                    $($($kebab => Some(event::$variant::decode(data).map(Event::$variant)),)*)*
                    _ => None,
                }
            }

            /// The JSON form.
            pub fn to_json(&self) -> serde_json::Result<serde_json::Value> {
                match self { $($(Event::$variant(event) => serde_json::to_value(event),)*)* }
            }

            /// Every name in kebab-case, in the order of the contract.
            pub const KEBAB_NAMES: &[&str] = &[$($($kebab),*),*];
        }

        /// An event by its family, so that who cares for one family lists that one's events and no others.
        #[derive(Clone, Copy, PartialEq, Debug)]
        pub enum Family<'a> {
            $($(#[$doc])* $family($family<'a>),)*
        }

        $(
            $(#[$doc])*
            #[derive(Clone, Copy, PartialEq, Debug)]
            pub enum $family<'a> {
                $(#[doc = concat!("See [`event::", stringify!($variant), "`].")] $variant(&'a event::$variant),)*
            }
        )*

        /// The same families, whose events can be changed.
        pub mod change {
            use crate::event;

            /// See [`super::Family`].
            #[derive(PartialEq, Debug)]
            pub enum Family<'a> {
                $($(#[$doc])* $family($family<'a>),)*
            }

            $(
                $(#[$doc])*
                #[derive(PartialEq, Debug)]
                pub enum $family<'a> {
                    $(#[doc = concat!("See [`event::", stringify!($variant), "`].")] $variant(&'a mut event::$variant),)*
                }
            )*
        }

        $($(impl From<event::$variant> for Event {
            fn from(event: event::$variant) -> Event { Event::$variant(event) }
        })*)*
    };
}

events! {
    /// Source code: repositories, refs, changes.
    Source {
        ChangeMerged "change-merged", RefUpdated "ref-updated", RepositoryObserved "repository-observed",
    }
    /// Work of pipelines.
    Work {
        RunStarted "run-started", RunFinished "run-finished", StepFinished "step-finished",
    }
    /// Artifacts themselves: made, published, named.
    Artifact {
        ArtifactPackaged "artifact-packaged", ArtifactPublished "artifact-published",
        ArtifactSigned "artifact-signed", ArtifactDeleted "artifact-deleted",
        ArtifactDownloaded "artifact-downloaded", TagObserved "tag-observed", ImageObserved "image-observed",
        AliasObserved "alias-observed",
    }
    /// What somebody states or found about artifacts.
    Evidence {
        SbomAttached "sbom-attached", ComponentsListed "components-listed",
        AttestationAttached "attestation-attached", ScanCompleted "scan-completed", VexIssued "vex-issued",
        TestsFinished "tests-finished", ReachabilityAnalyzed "reachability-analyzed",
        RebuildChecked "rebuild-checked", ApprovalDecided "approval-decided",
        AdvisoryPublished "advisory-published",
    }
    /// What is told to run where.
    Deploy {
        EnvironmentChanged "environment-changed", ServiceDeployed "service-deployed",
        ServiceRemoved "service-removed", CanaryChanged "canary-changed", FlagChanged "flag-changed",
        ConfigChanged "config-changed", FreezeChanged "freeze-changed",
    }
    /// What the write node says, of messages and of the ledger.
    Control {
        OpaqueReceived "opaque-received", MessageRejected "message-rejected", KeyRotated "key-rotated",
        ViewRootRecorded "view-root-recorded", BodyErased "body-erased", GapAccepted "gap-accepted",
        PolicyPublished "policy-published",
    }
}

impl Event {
    /// The artifacts that the event is about, as written in it; may repeat, may hold what is not a digest.
    pub fn subject_digests(&self) -> Vec<&str> {
        match self.family() {
            Family::Work(Work::RunFinished(e)) => all(&e.artifact_digests),
            Family::Artifact(event) => event.subject_digests(),
            Family::Evidence(event) => event.subject_digests(),
            Family::Deploy(Deploy::ServiceDeployed(e)) => one(&e.artifact_digest),
            Family::Deploy(Deploy::CanaryChanged(e)) => one(&e.artifact_digest),
            Family::Source(_) | Family::Work(_) | Family::Deploy(_) | Family::Control(_) => vec![],
        }
    }
}

impl<'a> Artifact<'a> {
    fn subject_digests(self) -> Vec<&'a str> {
        match self {
            Artifact::ArtifactPackaged(e) => one(&e.artifact_digest),
            Artifact::ArtifactPublished(e) => one(&e.artifact_digest),
            Artifact::ArtifactSigned(e) => one(&e.artifact_digest),
            Artifact::ArtifactDeleted(e) => one(&e.artifact_digest),
            Artifact::ArtifactDownloaded(e) => one(&e.artifact_digest),
            Artifact::TagObserved(e) => one(&e.digest),
            Artifact::ImageObserved(e) => one(&e.digest),
            Artifact::AliasObserved(e) => all(&e.digests),
        }
    }
}

impl<'a> Evidence<'a> {
    fn subject_digests(self) -> Vec<&'a str> {
        match self {
            Evidence::SbomAttached(e) if e.artifact_digest.is_empty() => one(&e.sbom_digest),
            Evidence::SbomAttached(e) => one(&e.artifact_digest),
            Evidence::ComponentsListed(_) | Evidence::AdvisoryPublished(_) => vec![],
            Evidence::AttestationAttached(e) => all(&e.artifact_digests),
            Evidence::ScanCompleted(e) => one(&e.artifact_digest),
            Evidence::VexIssued(e) => {
                e.statements.iter().flat_map(|statement| &statement.product_digests).map(String::as_str).collect()
            }
            Evidence::TestsFinished(e) => one(&e.artifact_digest),
            Evidence::ReachabilityAnalyzed(e) => one(&e.artifact_digest),
            Evidence::RebuildChecked(e) => one(&e.artifact_digest),
            Evidence::ApprovalDecided(e) => one(&e.artifact_digest),
        }
    }
}

fn one(digest: &str) -> Vec<&str> {
    if digest.is_empty() { vec![] } else { vec![digest] }
}

fn all(digests: &[String]) -> Vec<&str> {
    digests.iter().map(String::as_str).collect()
}

impl Fact {
    /// A fact that happened when its entry did.
    pub fn now(event: impl Into<Event>) -> Fact {
        Fact { occurred_at: 0, event: Some(event.into()) }
    }

    /// A fact with a time of its own, nanoseconds since 1970 UTC.
    pub fn at(occurred_at: i64, event: impl Into<Event>) -> Fact {
        Fact { occurred_at, event: Some(event.into()) }
    }
}

/// Distinct valid digests that some facts are about, sorted.
pub fn subjects(facts: &[Fact]) -> Vec<Digest> {
    let events = facts.iter().filter_map(|fact| fact.event.as_ref());
    let mut digests: Vec<Digest> =
        events.flat_map(Event::subject_digests).filter_map(|text| text.parse().ok()).collect();
    digests.sort();
    digests.dedup();
    digests
}

/// Reads one facts chunk; `None` when it is not one that this program understands.
pub fn decode_chunk(bytes: Bytes) -> Option<Vec<Fact>> {
    let chunk = Facts::decode(bytes).ok()?;
    (chunk.version == crate::canonical::FORMAT_VERSION).then_some(chunk.facts)
}

/// Writes one facts chunk.
pub fn encode_chunk(facts: Vec<Fact>) -> Bytes {
    Facts { version: crate::canonical::FORMAT_VERSION, facts }.encode_to_vec().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_events_are_read_from_json_with_lower_snake_enums() {
        let json = br#"{"service":"cart","environment":"prod","strategy":"blue_green","weight":10,"unknown":1}"#;
        let event = Event::from_json("service-deployed", json).expect("a known name").expect("valid");
        let Event::ServiceDeployed(deployed) = &event else { panic!("{event:?}") };
        assert_eq!(deployed.strategy(), event::Strategy::BlueGreen);
        assert_eq!(event.to_json().expect("serializes")["strategy"], "blue_green");
        assert!(Event::from_json("service-deployed", br#"{"strategy":"slowly"}"#).expect("known").is_err());
        assert!(Event::from_json("no-such-event", b"{}").is_none());
    }

    /// `SbomAttached` as `sbom-attached`.
    fn kebab(name: &str) -> String {
        let mut kebab = String::with_capacity(name.len() + 4);
        for letter in name.chars() {
            if letter.is_ascii_uppercase() && !kebab.is_empty() {
                kebab.push('-');
            }
            kebab.push(letter.to_ascii_lowercase());
        }
        kebab
    }

    #[test]
    fn every_event_has_the_name_that_it_is_read_by() {
        for name in Event::KEBAB_NAMES {
            let event = Event::from_json(name, b"{}").expect("known").expect("empty is valid");
            assert_eq!((event.kebab(), kebab(event.name()).as_str()), (*name, *name));
        }
    }

    #[test]
    fn protobuf_and_json_agree_for_every_event() {
        for kebab in Event::KEBAB_NAMES {
            let from_json = Event::from_json(kebab, b"{}").expect("known").expect("empty is valid");
            let from_protobuf = Event::from_protobuf(kebab, b"").expect("known").expect("empty is valid");
            assert_eq!(from_json, from_protobuf, "{kebab}");
            let again = serde_json::to_vec(&from_json.to_json().expect("serializes")).expect("serializes");
            assert_eq!(Event::from_json(kebab, &again).expect("known").expect("valid"), from_json, "{kebab}");
        }
    }
}
