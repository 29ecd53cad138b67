//! What becomes of a message, given what is known of its id: pure (SPEC §2.3).

use pedigraph_proto::message::Code;
use pedigraph_proto::time::SKEW_NS_MAX;
use pedigraph_proto::wire::TimeSource;
use pedigraph_proto::{EventId, Nanos, TenantId};
use sha2::{Digest as _, Sha256};

/// SHA-256 over tenant, source and id, each preceded by its length: what duplicates and conflicts share.
pub(crate) type Key = [u8; 32];

/// One entry that the ledger holds under a [`Key`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Version {
    /// Covers the received bytes, so equal ids mean equal bytes.
    pub(crate) event_id: EventId,
    /// Index in the tenant's log.
    pub(crate) index: u64,
    /// The code of a reject; `None` for an entry that says something.
    pub(crate) code: Option<Code>,
}

/// What is known of an id when a message comes under it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Known {
    /// Whether the ledger holds any entry of this id.
    pub(crate) is_known: bool,
    /// The entry with the same bytes and code.
    pub(crate) same: Option<u64>,
    /// The first entry that says something.
    pub(crate) accepted: Option<u64>,
}

/// How a message ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Decision {
    /// The first of its id.
    Accepted,
    /// A known id with other bytes than every earlier one.
    Conflict {
        /// The first accepted entry of that id.
        with: u64,
    },
    /// The bytes are known: no entry.
    Duplicate {
        /// The entry that holds them.
        of: u64,
    },
    /// A reject that was not yet recorded.
    Rejected,
}

/// A reject equals only a reject with the same bytes and code, and never stands in the way of acceptance.
pub(crate) fn decide(code: Option<Code>, known: &Known) -> Decision {
    match (known.same, code, known.accepted) {
        (Some(of), _, _) => Decision::Duplicate { of },
        (None, Some(_), _) => Decision::Rejected,
        (None, None, Some(with)) => Decision::Conflict { with },
        (None, None, None) => Decision::Accepted,
    }
}

/// The key of an id.
pub(crate) fn key(tenant: &TenantId, source: &str, id: &str) -> Key {
    let mut hasher = Sha256::new();
    for part in [tenant.as_str(), source, id] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// What the event id takes for the received bytes, which the hasher has taken in: their digest, or with attributes
/// outside of them the digest of both, the attributes sorted by name and each name and value preceded by its length.
pub(crate) fn identity(mut hasher: Sha256, attributes: &[(String, String)]) -> [u8; 32] {
    let mut sorted: Vec<&(String, String)> = attributes.iter().collect();
    sorted.sort();
    for part in sorted.iter().flat_map(|(name, value)| [name, value]) {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// When it happened: the producer's or payload's time, else the broker's, else the time of recording, which also
/// replaces a time too far ahead of it.
pub(crate) fn occurred(said: Option<(Nanos, TimeSource)>, broker: Option<i64>, recorded_at: i64) -> (i64, TimeSource) {
    let broker = broker.and_then(Nanos::of).map(|time| (time, TimeSource::Broker));
    match said.or(broker) {
        None => (recorded_at, TimeSource::Recorded),
        Some((time, _)) if time.0 > recorded_at.saturating_add(SKEW_NS_MAX) => (recorded_at, TimeSource::Skewed),
        Some((time, source)) => (time.0, source),
    }
}

/// What the index must say of these entries of one id: the model that it is held against.
#[cfg(test)]
impl Known {
    pub(crate) fn among(versions: &[Version], event_id: EventId, code: Option<Code>) -> Known {
        let same = versions.iter().find(|version| version.event_id == event_id && version.code == code);
        let accepted = versions.iter().filter(|version| version.code.is_none()).map(|version| version.index).min();
        Known { is_known: !versions.is_empty(), same: same.map(|same| same.index), accepted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: u8) -> EventId {
        EventId::from_slice(&[n; 16]).unwrap()
    }

    fn version(bytes: u8, index: u64, code: Option<Code>) -> Version {
        Version { event_id: event(bytes), index, code }
    }

    #[test]
    fn every_combination_ends_as_specified() {
        let check = |bytes, code, versions: &[Version], want| {
            assert_eq!(decide(code, &Known::among(versions, event(bytes), code)), want);
        };
        let accepted = version(1, 5, None);
        let conflict = version(2, 6, None);
        let reject = version(1, 3, Some(Code::TooDeep));
        check(1, None, &[], Decision::Accepted);
        check(1, None, &[accepted], Decision::Duplicate { of: 5 });
        check(2, None, &[accepted], Decision::Conflict { with: 5 });
        check(3, None, &[conflict, accepted], Decision::Conflict { with: 5 });
        check(2, None, &[accepted, conflict], Decision::Duplicate { of: 6 });
        check(1, Some(Code::TooDeep), &[reject], Decision::Duplicate { of: 3 });
        check(1, Some(Code::TooLarge), &[reject], Decision::Rejected);
        check(2, Some(Code::TooDeep), &[reject], Decision::Rejected);
        check(1, Some(Code::TooDeep), &[accepted], Decision::Rejected);
        check(1, None, &[reject], Decision::Accepted);
        check(2, None, &[reject, version(1, 9, None)], Decision::Conflict { with: 9 });
    }

    #[test]
    fn the_time_is_the_producers_then_the_brokers_then_ours() {
        const NOW: i64 = 1_700_000_000_000_000_000;
        let said = Some((Nanos(NOW - 7), TimeSource::Payload));
        assert_eq!(occurred(said, Some(NOW - 1), NOW), (NOW - 7, TimeSource::Payload));
        assert_eq!(occurred(None, Some(NOW - 1), NOW), (NOW - 1, TimeSource::Broker));
        assert_eq!(occurred(None, Some(0), NOW), (NOW, TimeSource::Recorded));
        assert_eq!(occurred(None, None, NOW), (NOW, TimeSource::Recorded));
        let edge = Nanos(NOW + SKEW_NS_MAX);
        assert_eq!(occurred(Some((edge, TimeSource::Producer)), None, NOW), (edge.0, TimeSource::Producer));
        assert_eq!(occurred(Some((Nanos(edge.0 + 1), TimeSource::Producer)), None, NOW), (NOW, TimeSource::Skewed));
    }

    #[test]
    fn attributes_change_the_identity_whatever_their_order() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let digest = pedigraph_proto::canonical::sha256(b"x");
        let identity = |attributes: &[(String, String)]| identity(Sha256::new_with_prefix(b"x"), attributes);
        assert_eq!(identity(&[]), digest);
        let forward = identity(&[pair("a", "1"), pair("b", "2")]);
        assert_eq!(forward, identity(&[pair("b", "2"), pair("a", "1")]));
        assert_ne!(forward, identity(&[pair("a", "1b2"), pair("", "")]));
    }
}
