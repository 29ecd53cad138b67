//! What the ledger says of itself: events that only the process which writes it may append.

use crate::event::{BodyErased, GapAccepted, KeyRotated, PolicyPublished, ViewRootRecorded};
use crate::fact::Event;

/// Source of every entry that the ledger says of itself, and the kind of its origin. No message of another may name it.
pub const SOURCE: &str = "pedigraph";

/// Names in kebab-case of what no sender may say: the events of [`Control`], and that a message was rejected, which the
/// write node says of each that it rejects.
pub const KEBAB_NAMES: [&str; 6] =
    ["key-rotated", "view-root-recorded", "body-erased", "gap-accepted", "policy-published", "message-rejected"];

/// An event that only the ledger itself may say.
#[derive(Clone, PartialEq, Debug)]
pub enum Control {
    /// See [`KeyRotated`].
    KeyRotated(KeyRotated),
    /// See [`ViewRootRecorded`].
    ViewRootRecorded(ViewRootRecorded),
    /// See [`BodyErased`].
    BodyErased(BodyErased),
    /// See [`GapAccepted`].
    GapAccepted(GapAccepted),
    /// See [`PolicyPublished`].
    PolicyPublished(PolicyPublished),
}

impl Control {
    /// The entry's id: recording the same thing again makes a duplicate, saying something else of it a conflict.
    pub fn id(&self) -> String {
        match self {
            Control::KeyRotated(e) => format!("key-rotated/{}", e.sequence),
            Control::ViewRootRecorded(e) => format!("view-root/{}/{}", e.view_schema, e.next_seq),
            Control::BodyErased(e) => {
                let last = e.indexes.iter().max().map_or_else(String::new, u64::to_string);
                format!("body-erased/{}/{last}", e.body_digest)
            }
            Control::GapAccepted(e) => {
                format!("gap-accepted/{}/{}/{}/{}/{}", e.cluster, e.topic, e.partition, e.from, e.next_index)
            }
            Control::PolicyPublished(e) => format!("policy-published/{}", e.next_index),
        }
    }
}

impl From<Control> for Event {
    fn from(control: Control) -> Event {
        match control {
            Control::KeyRotated(e) => e.into(),
            Control::ViewRootRecorded(e) => e.into(),
            Control::BodyErased(e) => e.into(),
            Control::GapAccepted(e) => e.into(),
            Control::PolicyPublished(e) => e.into(),
        }
    }
}

impl From<KeyRotated> for Control {
    fn from(event: KeyRotated) -> Control {
        Control::KeyRotated(event)
    }
}

impl From<ViewRootRecorded> for Control {
    fn from(event: ViewRootRecorded) -> Control {
        Control::ViewRootRecorded(event)
    }
}

impl From<BodyErased> for Control {
    fn from(event: BodyErased) -> Control {
        Control::BodyErased(event)
    }
}

impl From<GapAccepted> for Control {
    fn from(event: GapAccepted) -> Control {
        Control::GapAccepted(event)
    }
}

impl From<PolicyPublished> for Control {
    fn from(event: PolicyPublished) -> Control {
        Control::PolicyPublished(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_control_event_is_an_event_of_ours_with_an_id_of_its_own() {
        let body = BodyErased { body_digest: "sha256:00".into(), indexes: vec![7, 9], ..BodyErased::default() };
        let gap =
            GapAccepted { cluster: "c".into(), topic: "t".into(), from: 9, next_index: 4, ..GapAccepted::default() };
        let all: [Control; 5] = [
            KeyRotated { sequence: 3, ..KeyRotated::default() }.into(),
            ViewRootRecorded { view_schema: 2, next_seq: 8, ..ViewRootRecorded::default() }.into(),
            body.into(),
            gap.into(),
            PolicyPublished { next_index: 5, ..PolicyPublished::default() }.into(),
        ];
        let ids: Vec<String> = all.iter().map(Control::id).collect();
        let named = ["key-rotated/3", "view-root/2/8", "body-erased/sha256:00/9", "gap-accepted/c/t/0/9/4"];
        assert_eq!(ids, [&named[..], &["policy-published/5"]].concat());
        for (control, kebab) in all.into_iter().zip(KEBAB_NAMES) {
            let again = Event::from_json(kebab, b"{}").expect("known").expect("empty is valid");
            assert_eq!(again.name(), Event::from(control).name());
        }
        assert!(KEBAB_NAMES.iter().all(|kebab| Event::KEBAB_NAMES.contains(kebab)));
    }
}
