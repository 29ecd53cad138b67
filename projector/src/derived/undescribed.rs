//! Lanes in which something runs that nobody has described, as of each entry: what impact lists as unknown.
//!
//! An entry touches a lane where it deploys or removes, a tag that it moves, and a digest of which it says what it
//! contains or what it is joined to. Tags and digests lead to the lanes that may be meant; whether such a lane is in the
//! list is then found anew.

use std::collections::BTreeSet;

use pedigraph_proto::fact::{Deploy, Family};
use pedigraph_proto::{Event, Nanos};

use super::{Derived, DerivedAt, touched};
use crate::ask::undescribed::{is_described_as_before, lanes_described_otherwise, lanes_tagged_otherwise};
use crate::error::Error;
use crate::facts::deployments::rows::{Lane, lane_rest};
use crate::facts::undescribed::Undescribed;
use crate::facts::undescribed::rows::BYTE;
use crate::facts::view::FactAt;
use crate::rows::Rows;
use crate::rows::told::Told;

/// What keys of what is touched begin with.
const LANE: u8 = b'l';
const TAG: u8 = b't';
/// Of what it is joined to, and of nothing but what it contains.
const DIGEST: u8 = b'd';
const CONTENTS: u8 = b'c';

/// The view of lanes with undescribed things.
pub(super) struct UndescribedLanes;

impl Derived for UndescribedLanes {
    fn name(&self) -> &'static str {
        "undescribed"
    }

    fn version(&self) -> u32 {
        2
    }

    fn byte(&self) -> u8 {
        BYTE
    }

    fn touches(&self, fact: &FactAt<'_>, told: Option<&Told>, touched: &mut BTreeSet<Vec<u8>>) {
        match told {
            Some(told) => {
                touched.extend(told.lanes.iter().map(|lane| key(LANE, lane)));
                touched.extend(told.tags.iter().map(|tag| tag_key(fact.occurred_at, tag)));
                touched.extend(told.covers.iter().map(|digest| key(DIGEST, digest.as_bytes())));
                touched.extend(told.contents.iter().map(|digest| key(CONTENTS, digest.as_bytes())));
            }
            None => {
                lane_of(fact.event, touched);
                touched::tags(fact.event, &mut |tag| {
                    touched.insert(tag_key(fact.occurred_at, &tag));
                });
                touched::digests(fact.event, &mut |digest| {
                    touched.insert(key(DIGEST, digest.as_bytes()));
                });
            }
        }
    }

    fn subjects(&self, at: &DerivedAt<'_>, keys: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Error> {
        let mut subjects = Vec::new();
        for key in keys {
            let Some((kind, rest)) = key.split_first() else { continue };
            let text = || std::str::from_utf8(rest).unwrap_or_default();
            let lanes = match *kind {
                LANE => {
                    subjects.push(rest.to_vec());
                    continue;
                }
                TAG => {
                    let Some((time, tag)) = rest.split_first_chunk() else { continue };
                    let tag = std::str::from_utf8(tag).unwrap_or_default();
                    lanes_tagged_otherwise(at.before, at.after, tag, Nanos(i64::from_be_bytes(*time)))?
                }
                CONTENTS if is_described_as_before(at.before, at.after, text())? => continue,
                _ => lanes_described_otherwise(at.before, at.after, text())?,
            };
            subjects.extend(lanes.iter().map(lane_rest));
        }
        Ok(subjects)
    }

    /// One tag may lead to very many lanes.
    fn keys_at_once(&self) -> usize {
        1
    }

    fn step(
        &self,
        at: &DerivedAt<'_>,
        subject: &[u8],
        _cursor: &[u8],
        rows: &mut Rows<'_>,
    ) -> Result<Option<Vec<u8>>, Error> {
        let bare = at.after.runs_bare(subject)?;
        Undescribed::write(rows, at.tenant, subject, bare)?;
        Ok(None)
    }
}

fn key(kind: u8, rest: &[u8]) -> Vec<u8> {
    [&[kind], rest].concat()
}

/// A tag that moved at a time.
fn tag_key(time: Nanos, tag: &str) -> Vec<u8> {
    [&[TAG], &time.0.to_be_bytes()[..], tag.as_bytes()].concat()
}

fn lane_of(event: &Event, touched: &mut BTreeSet<Vec<u8>>) {
    let lane = match event.family() {
        Family::Deploy(Deploy::ServiceDeployed(e)) => Lane::of(&e.environment, &e.service, &e.cluster, &e.namespace),
        Family::Deploy(Deploy::ServiceRemoved(e)) => Lane::of(&e.environment, &e.service, &e.cluster, &e.namespace),
        Family::Deploy(Deploy::CanaryChanged(e)) => Lane::of(&e.environment, &e.service, &e.cluster, &e.namespace),
        Family::Deploy(
            Deploy::EnvironmentChanged(_)
            | Deploy::FlagChanged(_)
            | Deploy::ConfigChanged(_)
            | Deploy::FreezeChanged(_),
        )
        | Family::Artifact(_)
        | Family::Evidence(_)
        | Family::Source(_)
        | Family::Work(_)
        | Family::Control(_) => return,
    };
    touched.insert(key(LANE, &lane_rest(&lane)));
}
