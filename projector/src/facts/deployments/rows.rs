//! The rows of deployments: one set per fact, each sorted by [`Stamp`].

use pedigraph_proto::{ArtifactRef, Nanos, TenantId};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::rows::{stamp, text};
use crate::store::key::{Key, KeyReader};

/// The view's byte in keys.
pub(crate) const VIEW: u8 = b'd';
/// (environment, service, cluster, namespace) → nothing; stamped by the fact that named it first in the ledger.
pub(crate) const LANES: u8 = b'l';
/// (lane, stamp) → [`LaneFact`].
pub(crate) const LANE_ROWS: u8 = b'r';
/// (environment, stamp, about) → nothing: whatever names an environment, by time.
pub(crate) const BY_TIME: u8 = b't';
/// (lane, stamp) → nothing: a row of the lane that may be a change. See [`LaneFact::repeats`].
pub(crate) const CANDIDATES: u8 = b'c';
/// (environment, stamp, about, lane) → nothing: a row of a lane or a freeze that may be a change.
pub(crate) const CHANGES: u8 = b'm';
/// (environment, index of the entry, stamp, about, lane) → nothing: the same by entry.
pub(crate) const CHANGES_OF_ENTRY: u8 = b'n';
/// (lane, digest, stamp) → configuration that a full deployment of the digest named.
pub(crate) const CONFIG_OF: u8 = b'g';
/// (class, artifact, lane, stamp) → nothing.
pub(crate) const BY_ARTIFACT: u8 = b'a';
/// (service, environment) → nothing: where a service was deployed; by the first fact that says so.
pub(crate) const SERVICES: u8 = b'v';
/// (digest, reference key) → nothing: a tag that pointed at the digest and was deployed without one; by the first fact
/// with which both is known.
pub(crate) const TAGGED: u8 = b'w';
/// (reference key, stamp, lane) → nothing: a row of a lane that says only the reference, by time.
pub(crate) const BY_REFERENCE: u8 = b'p';
/// (reference key, stamp, environment) → nothing: a row of [`BY_REFERENCE`] before which one of another environment is.
pub(crate) const TURNS: u8 = b'q';
/// (class, artifact, stamp, environment) → nothing: the first of an artifact's rows, and the first in another
/// environment than that; by class as [`BY_ARTIFACT`].
pub(crate) const FIRST_IN: u8 = b'f';
/// (reference key) → nothing: in so many lanes something was deployed by one tag after a moment that was told late that
/// not all candidates of them are written.
pub(crate) const UNMARKED: u8 = b'u';
/// (reference key, lane) → nothing: a row of the lane that says only the reference was taken for a repetition of one
/// that says a digest beside it, or the other way round.
pub(crate) const BESIDE: u8 = b'e';
/// (lane) → nothing: something had a share there, or its share ended.
pub(crate) const SHARED: u8 = b'S';
/// (reference key, lane) → nothing: such a lane to which something was deployed by a reference without a digest.
pub(crate) const SHARED_BY: u8 = b'B';
/// (lane, index, ordinal) → [`Known`](super::head::Known): the rows of the lane's head since then; in no root.
pub(crate) const KNOWN: u8 = b'i';
/// (environment, index, ordinal, time) → nothing: when the newest row of [`CHANGES`] happened since then.
pub(crate) const NEWEST_CHANGE: u8 = b'x';
/// (lane) → [`Head`](super::head::Head): what runs there now; written over, in no root.
pub(crate) const HEADS: u8 = b'h';
/// (environment, service, index, ordinal) → [`Count`](super::head::Count) of its lanes that run since then.
pub(crate) const LANES_RUNNING: u8 = b'j';
/// (environment, index, ordinal) → [`Count`](super::head::Count) of its services that run since then.
pub(crate) const SERVICES_RUNNING: u8 = b'k';
/// (topic, environment, service, stamp) → [`Setting`].
pub(crate) const SETTINGS: u8 = b's';
/// (topic, environment, service, index, ordinal) → time of the newest setting since then.
pub(crate) const NEWEST_SETTING: u8 = b'y';

/// Classes of [`BY_ARTIFACT`]: a digest; a reference without a digest; a reference beside its digest.
pub(crate) const DIGEST: u8 = b'd';
pub(crate) const REFERENCE: u8 = b'r';
pub(crate) const REFERENCE_OF_DIGEST: u8 = b'b';

/// Topics of [`SETTINGS`].
pub(crate) const CONFIG: u8 = b'c';
pub(crate) const FLAG: u8 = b'f';
pub(crate) const FREEZE: u8 = b'z';
/// Of an environment: `frozen` says whether it is gone.
pub(crate) const DELETION: u8 = b'x';

/// What a row of [`BY_TIME`] is about.
pub(crate) const ABOUT_LANE: u8 = b'd';
pub(crate) const ABOUT_FREEZE: u8 = b'z';
pub(crate) const ABOUT_ELSE: u8 = b'n';

/// Shown where a deployment says neither reference nor digest.
pub(crate) const UNKNOWN: &str = "unknown";

/// Where a fact stands among those about one thing: when it happened; at equal times the later in the ledger comes
/// later, as everywhere ([`order`](stamp::Stamp::order)).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Stamp {
    pub(crate) time: Nanos,
    /// Index of the entry, which proves it.
    pub(crate) index: u64,
    /// Position among the entry's facts.
    pub(crate) ordinal: u32,
}

/// What a row says happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) enum What {
    #[default]
    Deployed,
    Removed,
    Canary,
}

/// A lane's row as it is stored.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct LaneFact {
    pub(crate) what: What,
    /// `repository:tag` or `repository@digest` with the repository as said; empty when not said.
    #[serde(with = "text")]
    pub(crate) reference: String,
    /// As said; empty when not said.
    #[serde(with = "text")]
    pub(crate) digest: String,
    #[serde(with = "text")]
    pub(crate) config_digest: String,
    pub(crate) strategy: String,
    /// 0: not said, but for a canary that changed: ended.
    pub(crate) weight: u32,
    pub(crate) group: String,
    pub(crate) actor: String,
    pub(crate) run: String,
    pub(crate) reason: String,
    pub(crate) rollback: bool,
}

/// What a row does to a lane, whatever the state before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    /// Its artifact becomes the only one.
    Full,
    /// Its artifact gets a share beside the stable one.
    Share,
    /// Its canary ends.
    End,
    /// Nothing runs any more.
    Remove,
}

impl LaneFact {
    /// What it does to its lane.
    pub(crate) fn effect(&self) -> Effect {
        let (weight, canary) = (self.weight, self.strategy == "canary");
        match self.what {
            What::Removed => Effect::Remove,
            What::Deployed if (1..100).contains(&weight) || (canary && weight == 0) => Effect::Share,
            What::Canary if weight == 0 => Effect::End,
            What::Canary if weight < 100 => Effect::Share,
            What::Deployed | What::Canary => Effect::Full,
        }
    }

    /// Is it no change for sure, right after another row of its lane: the full deployment of the very digest that the
    /// other made run alone, the same share of it again, or the end of what had ended? Nor is one passed over that
    /// names no reference after one that does: the newest name is shown. Where only a tag is named that hangs on where
    /// the tag pointed ([`LaneFact::repeats_tag`], [`LaneFact::repeats_beside`]).
    ///
    /// A row that does not repeat the row before it is a *candidate*. The fold compares a row with its neighbours
    /// among the rows of earlier facts: it writes a candidate for itself unless it repeats the row before, and for the
    /// row after it unless that one repeats it.
    ///
    /// So candidates never say too little, whatever the order of arrival and whatever index `N` a question is bound to.
    /// Take two rows that are neighbours among those below `N`, and the later repeats the earlier not. Of the two one
    /// was folded last, and whatever lies between them is at or above `N`: they were neighbours then already, and the
    /// fold wrote the candidate, with an index below `N`. With `at=` neighbours stay the same, since rows that happened
    /// later go only at the end. Where both name one tag alone, the facts count that say where it pointed at either
    /// time. If the last of all is such a fact, both were neighbours when it was folded, and it wrote the candidate: it
    /// does so for the first row of each lane that it changes, and for the first one after these; for each that it
    /// changes and the one after it where the lane has a row of [`BESIDE`]. Candidates may say too much: a row that got
    /// between two others may make the later one a repetition, which replaying shows.
    pub(crate) fn repeats(&self, before: &LaneFact) -> bool {
        match (before.effect(), self.effect()) {
            (Effect::Full, Effect::Full) => {
                let names = !self.reference.is_empty() || before.reference.is_empty();
                names && !self.digest.is_empty() && self.digest == before.digest
            }
            (Effect::Remove, Effect::Remove) => true,
            (Effect::Share, Effect::Share) => !self.digest.is_empty() && self.shares_as(before),
            (Effect::Full | Effect::Share | Effect::End | Effect::Remove, _) => false,
        }
    }

    /// The same by a tag alone: it repeats the other if the tag pointed at the same digest then, or at none.
    pub(crate) fn repeats_tag(&self, before: &LaneFact) -> bool {
        let is_same = match (before.effect(), self.effect()) {
            (Effect::Full, Effect::Full) => {
                self.reference == before.reference && self.config_digest == before.config_digest
            }
            (Effect::Share, Effect::Share) => self.shares_as(before),
            (Effect::Full | Effect::Share | Effect::End | Effect::Remove, _) => false,
        };
        is_same && self.is_by_tag() && before.is_by_tag() && self.reference != UNKNOWN
    }

    /// Of one reference, which one of both says with a digest and the other alone: it repeats the other if the tag
    /// pointed at that digest when it was said alone.
    pub(crate) fn repeats_beside(&self, before: &LaneFact) -> bool {
        let is_full = (before.effect(), self.effect()) == (Effect::Full, Effect::Full);
        let is_same = self.reference == before.reference && self.config_digest == before.config_digest;
        is_full && is_same && self.digest.is_empty() != before.digest.is_empty() && !self.reference.is_empty()
    }

    /// Whether it gives the same share to what is named the same. What runs beside was told by the other one already.
    fn shares_as(&self, before: &LaneFact) -> bool {
        let said = |fact: &LaneFact| {
            (fact.weight, [&fact.reference, &fact.digest, &fact.config_digest, &fact.group].map(String::clone))
        };
        said(self) == said(before)
    }

    /// Whether it makes something run of which it names a reference, and no digest.
    pub(crate) fn is_by_tag(&self) -> bool {
        let runs = matches!(self.effect(), Effect::Full | Effect::Share);
        runs && self.digest.is_empty() && !self.reference.is_empty()
    }
}

/// A configuration, flag or freeze.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Setting {
    /// Configuration digest, flag name, or empty.
    #[serde(with = "text")]
    pub(crate) name: String,
    /// Flag value; empty otherwise.
    pub(crate) value: String,
    pub(crate) frozen: bool,
    pub(crate) reason: String,
    pub(crate) actor: String,
}

/// Where a service runs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Lane {
    pub(crate) environment: String,
    pub(crate) service: String,
    pub(crate) cluster: String,
    pub(crate) namespace: String,
}

impl Lane {
    pub(crate) fn of(environment: &str, service: &str, cluster: &str, namespace: &str) -> Lane {
        Lane {
            environment: environment.to_owned(),
            service: service.to_owned(),
            cluster: cluster.to_owned(),
            namespace: namespace.to_owned(),
        }
    }

    pub(crate) fn read(key: &mut KeyReader<'_>) -> Option<Lane> {
        Some(Lane { environment: key.text()?, service: key.text()?, cluster: key.text()?, namespace: key.text()? })
    }
}

/// What the key of a lane ends with.
pub(crate) fn lane_rest(lane: &Lane) -> Vec<u8> {
    Key::from_bytes(&[]).lane(lane).as_bytes().to_vec()
}

/// Keys of this view.
pub(crate) trait Keys {
    fn lane(self, lane: &Lane) -> Key;
    fn moment(self, stamp: &Stamp) -> Key;
}

impl Keys for Key {
    fn lane(self, lane: &Lane) -> Key {
        self.text(&lane.environment).text(&lane.service).text(&lane.cluster).text(&lane.namespace)
    }

    fn moment(self, stamp: &Stamp) -> Key {
        self.time(stamp.time).number(stamp.index).ordinal(stamp.ordinal)
    }
}

pub(crate) fn read_stamp(key: &mut KeyReader<'_>) -> Option<Stamp> {
    Some(Stamp { time: key.time()?, index: key.number()?, ordinal: key.ordinal()? })
}

pub(crate) fn table(tenant: &TenantId, table: u8) -> Key {
    Key::new(tenant, VIEW).byte(table)
}

pub(crate) fn settings(tenant: &TenantId, topic: u8, environment: &str, service: &str) -> Key {
    table(tenant, SETTINGS).byte(topic).text(environment).text(service)
}

pub(crate) fn by_artifact(tenant: &TenantId, class: u8, artifact: &str) -> Key {
    table(tenant, BY_ARTIFACT).byte(class).text(artifact)
}

/// What references are compared by: the same, with the repository's key. A text that is no reference is its own key.
pub(crate) fn reference_key(reference: &str) -> String {
    ArtifactRef::parse(reference).map_or_else(|| reference.to_owned(), |reference| reference.keyed().to_string())
}

impl From<stamp::Stamp> for Stamp {
    fn from(stamp: stamp::Stamp) -> Stamp {
        // The row's stamp counts facts from 1, keys from 0.
        Stamp { time: Nanos(stamp.time), index: stamp.index, ordinal: stamp.ordinal.saturating_sub(1) }
    }
}

/// After tenant, view and table.
pub(crate) fn table_key(key: &[u8]) -> Result<KeyReader<'_>, Error> {
    let mut reader = KeyReader::after_view(key).ok_or_else(unreadable)?;
    reader.byte().ok_or_else(unreadable)?;
    Ok(reader)
}

pub(crate) fn unreadable() -> Error {
    Error::Store("deployments: a key cannot be read".to_owned())
}
