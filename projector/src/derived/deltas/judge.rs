//! Verdicts that may be others since an entry: which, and what they are now.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ask::standings::{From, Standings};
use crate::error::Error;
use crate::facts::deltas::Deltas;
use crate::facts::deltas::rows::LOOKED_INTO;

/// Artifacts that are looked up at once.
const ARTIFACTS_AT_ONCE: usize = 64;

/// What leads to verdicts.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Judging {
    /// Everything that is said of an artifact.
    Artifact(String),
    /// What scanners found in a digest.
    Scanned(String),
    /// What is said of a digest by what it is called.
    Called(String),
    /// The statements of an entry.
    Statements(u64),
    /// An advisory, by its name in keys.
    Advisory(String),
    /// All that may have a verdict on a vulnerability.
    Vulnerability(String),
    /// All that have a verdict on any.
    Everything,
}

/// Where a step goes on.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Place {
    /// What was found and is not judged yet: each of these artifacts, with each of these names; and how many are done.
    digests: Vec<String>,
    names: Vec<String>,
    done: usize,
    more: More,
}

/// Where more is found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum More {
    #[default]
    Start,
    /// After a statement of the entry.
    After(Option<(u32, u32)>),
    /// Within what a statement concerns; it comes after this one.
    Within(Option<(u32, u32)>, From),
    /// Within what a vulnerability concerns.
    Of(From),
    /// Within what the first vulnerability after one concerns.
    Named(String, From),
    /// Nowhere.
    End,
}

/// What a step judges.
pub(super) struct Judgments<'s, 'a> {
    pub(super) standings: &'s Standings<'a>,
    pub(super) deltas: &'s Deltas<'s>,
    /// Verdicts that may still be found.
    pub(super) left: usize,
}

impl Judgments<'_, '_> {
    /// Goes on, as far as the step goes; `None` when it is done.
    pub(super) fn go_on(mut self, judging: &Judging, mut place: Place) -> Result<Option<Place>, Error> {
        while self.left > 0 {
            self.left -= 1;
            if let Some((digest, name)) = place.next() {
                let new = self.standings.standing(digest, name)?;
                self.deltas.stands(digest, name, new)?;
                place.done += 1;
            } else if place.more == More::End {
                return Ok(None);
            } else {
                place = self.found(judging, place.more)?;
            }
        }
        Ok(Some(place))
    }

    fn found(&self, judging: &Judging, more: More) -> Result<Place, Error> {
        match judging {
            Judging::Artifact(digest) => {
                let mut names = self.standings.names_of(digest)?;
                names.extend(self.deltas.judged_of(digest, "", usize::MAX)?.names);
                names.insert(LOOKED_INTO.to_owned());
                Ok(Place::last([digest.clone()].into(), names))
            }
            Judging::Scanned(digest) => {
                let mut names = self.standings.scanned_names_of(digest)?;
                names.insert(LOOKED_INTO.to_owned());
                Ok(Place::last(self.standings.with_above(digest)?, names))
            }
            Judging::Called(digest) => {
                let names = self.standings.own_names_of(digest)?;
                Ok(Place::last(self.standings.with_kin(digest)?, names))
            }
            Judging::Statements(entry) => self.stated(*entry, more),
            Judging::Advisory(name) => {
                let (digests, next) = self.standings.advised_on(name, &more.from(), ARTIFACTS_AT_ONCE)?;
                Ok(Place::of(digests, self.standings.joined_before_or_after(name)?, next.map_or(More::End, More::Of)))
            }
            Judging::Vulnerability(name) => {
                let (digests, next) = self.standings.concerned_by(name, &more.from(), ARTIFACTS_AT_ONCE)?;
                Ok(Place::of(digests, self.standings.joined_before_or_after(name)?, next.map_or(More::End, More::Of)))
            }
            Judging::Everything => self.named(more),
        }
    }

    /// The next that the statements of an entry may be about. Where one joins two names, what is said of both is.
    fn stated(&self, entry: u64, more: More) -> Result<Place, Error> {
        let (after, from) = match more {
            More::Within(after, from) => (after, from),
            More::After(after) => (after, From::default()),
            More::Start | More::Of(_) | More::Named(..) | More::End => (None, From::default()),
        };
        let Some(stated) = self.standings.stated_after(entry, after)? else {
            return Ok(Place::last(BTreeSet::new(), BTreeSet::new()));
        };
        let (digests, next) = match self.standings.is_joined_here(&stated.name)? {
            true => self.standings.concerned_by(&stated.name, &from, ARTIFACTS_AT_ONCE)?,
            false => self.standings.stated_on(&stated, &from, ARTIFACTS_AT_ONCE)?,
        };
        let more = next.map_or(More::After(Some(stated.at)), |next| More::Within(after, next));
        Ok(Place::of(digests, self.standings.joined(&stated.name)?, more))
    }

    fn named(&self, more: More) -> Result<Place, Error> {
        let (after, from) = match more {
            More::Named(after, from) => (after, from),
            More::Start | More::After(_) | More::Within(..) | More::Of(_) | More::End => Default::default(),
        };
        let Some(name) = self.standings.name_after(&after)? else {
            return Ok(Place::last(BTreeSet::new(), BTreeSet::new()));
        };
        let (digests, next) = self.standings.concerned_by(&name, &from, ARTIFACTS_AT_ONCE)?;
        let more = match next {
            Some(next) => More::Named(after, next),
            None => More::Named(name.clone(), From::default()),
        };
        Ok(Place::of(digests, [name].into(), more))
    }
}

impl More {
    fn from(self) -> From {
        match self {
            More::Of(from) => from,
            More::Start | More::After(_) | More::Within(..) | More::Named(..) | More::End => From::default(),
        }
    }
}

impl Place {
    fn of(digests: BTreeSet<String>, names: BTreeSet<String>, more: More) -> Place {
        Place { digests: digests.into_iter().collect(), names: names.into_iter().collect(), done: 0, more }
    }

    fn last(digests: BTreeSet<String>, names: BTreeSet<String>) -> Place {
        Place::of(digests, names, More::End)
    }

    /// The artifact and the name to judge next.
    fn next(&self) -> Option<(&str, &str)> {
        let per_digest = self.names.len().max(1);
        let digest = self.digests.get(self.done / per_digest)?;
        Some((digest, self.names.get(self.done % per_digest)?))
    }
}
