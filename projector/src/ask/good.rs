//! The last known good of a service, lane by lane (SPEC §6; what "good" means: docs/decisions/023).
//!
//! Rows are read back from a lane's newest one, a few at first and then four times as many, until one is found: what is
//! read is the changes between what runs now and the answer, however long the history before it is. A search that ends
//! at a limit says that it is unknown, and never that there is none.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use pedigraph_proto::Nanos;
use serde::Serialize;

use super::answers::{Page, Proof, is_false, is_zero};
use super::environment::candidate_stamp;
use super::past::Past;
use super::scope::{Clocks, Scope};
use super::shown::{LISTED_BYTES_MAX, cut_to_bytes};
use super::timeline::{self, Artifact, Move, State};
use crate::error::Error;
use crate::facts::deployments::rows::{Lane, UNKNOWN};

/// Candidates for changes of one lane that a search reads at most.
pub const SOUGHT_MAX: usize = 1_024;
/// Those that it reads first.
const SOUGHT_FIRST: usize = 16;
/// Things of one lane that were passed over and are listed.
pub const PASSED_OVER_MAX: usize = 20;

/// What to go back to in one environment.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastKnownGood {
    /// The environment's name.
    pub environment: String,
    /// The service's name.
    pub service: String,
    /// Each cluster and namespace by itself, in the order of their keys.
    pub lanes: Vec<LaneGood>,
    /// Lanes of which it is not told.
    #[serde(skip_serializing_if = "is_zero")]
    pub lanes_cut: u64,
    /// Not all lanes were counted: there are more.
    #[serde(skip_serializing_if = "is_false")]
    pub lanes_at_least: bool,
}

/// What to go back to in one lane.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LaneGood {
    /// Cluster, when said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Namespace, when said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Whether there is one.
    pub status: Standing,
    /// Why.
    pub reason: Because,
    /// What runs now but for canaries; absent where nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<Ran>,
    /// The newest that is good; the same as `running` where that came by a rollback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_known_good: Option<Ran>,
    /// What is newer and was not taken, newest first.
    pub passed_over: Vec<PassedOver>,
    /// How much of that is not listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub passed_over_cut: u64,
}

/// Whether there is a last known good.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// There is.
    Known,
    /// All of the lane's past was read, and there is none.
    None,
    /// The search ended at a limit.
    Unknown,
}

/// Why it is the last known good, or why there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Because {
    /// It ran before what runs now, and no rollback left it.
    RanBefore,
    /// What runs now came by a rollback: it is the last known good itself.
    CameByRollback,
    /// Nothing else ran alone there before.
    NothingRanBefore,
    /// All that ran before was passed over.
    NoneIsGood,
    /// The search ended at a limit before it found one.
    SearchEnded,
}

/// What ran alone for a while.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ran {
    /// `repository:tag` or `repository@digest`.
    pub artifact_ref: String,
    /// Known once the reference resolves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Since when.
    pub since: Nanos,
    /// Until when; `None`: it does now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Nanos>,
    /// How it came: `deploy`, `promote`, `rollback`, `rollforward`.
    pub kind: &'static str,
    /// Entry that proves that it came.
    pub proof: Proof,
}

/// What ran before and is not the last known good.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PassedOver {
    /// `repository:tag` or `repository@digest`.
    pub artifact_ref: String,
    /// Known once the reference resolves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Why not.
    pub why: WhyNot,
    /// When what says so happened.
    pub at: Nanos,
    /// Entry that proves it.
    pub proof: Proof,
}

/// Why something was passed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum WhyNot {
    /// A rollback left it.
    LeftByRollback,
    /// It was a canary and was taken back.
    CanaryTakenBack,
    /// It runs now.
    RunsNow,
    /// Its deployment named no artifact.
    NotNamed,
}

impl PassedOver {
    /// Bytes of its texts.
    fn texts(&self) -> usize {
        self.artifact_ref.len() + self.digest.as_ref().map_or(0, String::len)
    }
}

impl Scope {
    /// The last known good of a service of an environment, lane by lane; `None` while nothing was deployed there by this
    /// name. It costs what its own lanes cost: of each the changes since the answer.
    pub fn last_known_good(&self, environment: &str, service: &str) -> Result<Option<LastKnownGood>, Error> {
        let mut told = self.tell_lanes(environment, service, |lane| self.lane_good(lane))?;
        if told.lanes.is_empty() && self.listed_service(environment, service)?.is_none() {
            return Ok(None);
        }
        let mut left = LISTED_BYTES_MAX;
        for lane in &mut told.lanes {
            lane.passed_over_cut += cut_to_bytes(&mut lane.passed_over, &mut left, PassedOver::texts);
        }
        let (environment, service) = (environment.to_owned(), service.to_owned());
        Ok(Some(LastKnownGood {
            environment,
            service,
            lanes: told.lanes,
            lanes_cut: told.cut,
            lanes_at_least: told.at_least,
        }))
    }

    /// The same in each environment in which it runs, by name: at most `limit` after a page's key; `None` while nothing was
    /// deployed anywhere by this name.
    pub fn last_known_good_anywhere(
        &self,
        service: &str,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Option<Page<LastKnownGood>>, Error> {
        self.page_of_environments(service, false, after, limit, &mut |environment, _| {
            self.last_known_good(environment, service)
        })
    }

    /// `None` where nothing that is a change was known of the lane.
    fn lane_good(&self, lane: &Lane) -> Result<Option<LaneGood>, Error> {
        let Some(known_until) = self.known_until(lane)? else { return Ok(None) };
        let candidates = self.candidates(lane)?;
        let end = candidates.clone().until(Some(known_until));
        let (past, kinds) = (Past { scope: self, lane }, RefCell::new(BTreeMap::new()));
        let kind = |change: &Move| {
            let known = kinds.borrow().get(&change.stamp).copied();
            let kind = known.map_or_else(|| change.kind(&past), Ok)?;
            kinds.borrow_mut().insert(change.stamp, kind);
            Ok(kind)
        };
        let mut rows_max = SOUGHT_FIRST;
        loop {
            let newest = self.keyed::<()>(&candidates, &end, true, Clocks::Known, rows_max)?;
            let first = newest.last().map(|(key, _)| candidate_stamp(key)).transpose()?;
            let whole = newest.len() < rows_max;
            let rows = self.lane_rows(lane, first.as_ref(), None)?;
            let (state, mut moves) = timeline::replay(&rows);
            if whole && moves.is_empty() {
                return Ok(None);
            }
            // Those before are of states that are not known.
            moves.retain(|change| whole || first.is_some_and(|first| change.stamp >= first));
            let found = Search::of(&state, moves, whole).decide(&kind)?;
            let is_spent = rows_max >= SOUGHT_MAX || self.meter.is_half_spent();
            if found.because != Because::SearchEnded || is_spent {
                return self.told_good(lane, found, &kind).map(Some);
            }
            rows_max = rows_max.saturating_mul(4);
        }
    }

    fn told_good(&self, lane: &Lane, found: Found, kind: Kind<'_>) -> Result<LaneGood, Error> {
        let ran = |stay: Option<Stay>| {
            let ran = stay.map(|stay| {
                Ok::<_, Error>(Ran {
                    artifact_ref: stay.artifact.reference.clone(),
                    digest: stay.artifact.digest.clone(),
                    since: stay.begun.stamp.time,
                    until: stay.ended.map(|ended| ended.stamp.time),
                    kind: kind(&stay.begun)?,
                    proof: self.proof(stay.begun.stamp.index)?,
                })
            });
            ran.transpose()
        };
        let passed_over_cut = found.passed.len().saturating_sub(PASSED_OVER_MAX) as u64;
        let passed = found.passed.into_iter().take(PASSED_OVER_MAX).map(|(artifact, why, change)| {
            Ok(PassedOver {
                artifact_ref: artifact.reference.clone(),
                digest: artifact.digest.clone(),
                why,
                at: change.stamp.time,
                proof: self.proof(change.stamp.index)?,
            })
        });
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(LaneGood {
            cluster: text(&lane.cluster),
            namespace: text(&lane.namespace),
            status: found.because.standing(),
            reason: found.because,
            running: ran(found.running)?,
            last_known_good: ran(found.good)?,
            passed_over: passed.collect::<Result<_, Error>>()?,
            passed_over_cut,
        })
    }
}

impl Because {
    fn standing(self) -> Standing {
        match self {
            Because::RanBefore | Because::CameByRollback => Standing::Known,
            Because::NothingRanBefore | Because::NoneIsGood => Standing::None,
            Because::SearchEnded => Standing::Unknown,
        }
    }
}

/// Tells the kind of a change.
type Kind<'k> = &'k dyn Fn(&Move) -> Result<&'static str, Error>;

/// One artifact that ran alone for a while.
#[derive(Clone, PartialEq, Debug)]
struct Stay {
    artifact: Rc<Artifact>,
    begun: Move,
    ended: Option<Move>,
}

impl Stay {
    /// Known as it was in the end: later rows may have told its digest, or a newer name of it.
    fn ended_by(self, change: Move) -> Stay {
        let known = change.from.as_ref().filter(|from| from.same(&self.artifact)).cloned();
        Stay { artifact: known.unwrap_or(self.artifact), ended: Some(change), begun: self.begun }
    }
}

/// What happened in a lane, of which the newest comes first.
enum Happened {
    /// Something ran alone, and was replaced or removed.
    Stay(Stay),
    /// Something that ran beside others was taken back.
    TakenBack(Rc<Artifact>, Move),
}

impl Happened {
    fn artifact(&self) -> &Rc<Artifact> {
        match self {
            Happened::Stay(stay) => &stay.artifact,
            Happened::TakenBack(artifact, _) => artifact,
        }
    }
}

/// A lane's newest past.
struct Search<'s> {
    state: &'s State,
    /// What runs alone but for canaries; `None` as well where what it came by was not read.
    running: Option<Stay>,
    /// Newest first.
    past: Vec<Happened>,
    /// Nothing is older.
    whole: bool,
}

/// What a search found.
struct Found {
    because: Because,
    running: Option<Stay>,
    good: Option<Stay>,
    passed: Passed,
}

/// What was passed over, each with the change that says so, newest first.
type Passed = Vec<(Rc<Artifact>, WhyNot, Move)>;

impl<'s> Search<'s> {
    /// `moves` ascending, all of them exact.
    fn of(state: &'s State, moves: Vec<Move>, whole: bool) -> Search<'s> {
        let (mut past, mut running): (Vec<Happened>, Option<Stay>) = (Vec::new(), None);
        for change in moves {
            if change.takes_back() {
                past.extend(change.from.clone().map(|from| Happened::TakenBack(from, change)));
            } else if change.is_end_of_spell() {
                let stay = change.to.clone().filter(|_| change.is_full());
                let stay = stay.map(|artifact| Stay { artifact, begun: change.clone(), ended: None });
                let before = std::mem::replace(&mut running, stay);
                past.extend(before.map(|before| Happened::Stay(before.ended_by(change))));
            }
        }
        past.reverse();
        if let (Some(stay), Some(stable)) = (&mut running, &state.stable) {
            stay.artifact = stable.artifact.clone();
        }
        Search { state, running, past, whole }
    }

    /// [`Because::SearchEnded`] where more is to be read.
    fn decide(self, kind: Kind<'_>) -> Result<Found, Error> {
        let mut found = Found { because: Because::SearchEnded, running: self.running, good: None, passed: vec![] };
        if found.running.is_none() && self.state.stable.is_some() {
            return Ok(found);
        }
        if let Some(stay) = &found.running
            && is_rollback(kind, &stay.begun)?
        {
            let left = stay.begun.from.clone().map(|left| (left, WhyNot::LeftByRollback, stay.begun.clone()));
            found.passed.extend(left);
            (found.because, found.good) = (Because::CameByRollback, found.running.clone());
            return Ok(found);
        }
        let runs: Vec<_> = self.state.running().into_iter().map(|run| run.artifact).collect();
        found.good = newest_good(self.past, &runs, kind, &mut found.passed)?;
        found.because = match found.good {
            Some(_) => Because::RanBefore,
            None if !self.whole => Because::SearchEnded,
            None if found.passed.iter().all(|(_, why, _)| *why == WhyNot::RunsNow) => Because::NothingRanBefore,
            None => Because::NoneIsGood,
        };
        Ok(found)
    }
}

fn is_rollback(kind: Kind<'_>, change: &Move) -> Result<bool, Error> {
    Ok(kind(change)? == "rollback")
}

/// The newest that ran alone, does not run now, and was not judged by what happened last with it.
fn newest_good(
    past: Vec<Happened>,
    runs: &[Rc<Artifact>],
    kind: Kind<'_>,
    passed: &mut Passed,
) -> Result<Option<Stay>, Error> {
    let mut bad: Vec<Rc<Artifact>> = Vec::new();
    for happened in past {
        let artifact = happened.artifact().clone();
        let is_among = |known: &[Rc<Artifact>]| known.iter().any(|known| known.same(&artifact));
        if is_among(&bad) {
            continue;
        }
        let (why, change) = match happened {
            Happened::TakenBack(..) if is_among(runs) => continue,
            Happened::TakenBack(_, change) => (WhyNot::CanaryTakenBack, change),
            Happened::Stay(stay) if is_among(runs) => (WhyNot::RunsNow, stay.begun),
            Happened::Stay(stay) if artifact.reference == UNKNOWN && artifact.digest.is_none() => {
                (WhyNot::NotNamed, stay.begun)
            }
            Happened::Stay(stay) => match stay.ended.clone().filter(Move::is_full) {
                Some(left_by) if is_rollback(kind, &left_by)? => (WhyNot::LeftByRollback, left_by),
                Some(_) | None => return Ok(Some(stay)),
            },
        };
        if matches!(why, WhyNot::CanaryTakenBack | WhyNot::LeftByRollback) {
            bad.push(artifact.clone());
        }
        passed.push((artifact, why, change));
    }
    Ok(None)
}
