//! Verdicts on artifacts, as of each entry, and where they differ along `parent` edges (SPEC §5, VEX deltas; §3.2,
//! badges).
//!
//! An entry is worked off in three rounds, each in the order of keys. First come verdicts: what the entry says leads to
//! artifacts and vulnerabilities, and each verdict that may be another one is found anew (`judge`). Then each artifact of
//! which a verdict changed, and its children, are compared with their parents (`compare`). Then come artifacts whose
//! parents are others since the entry: all of what is held of them is compared.
//!
//! Every row is a function of what was known before the entry and what is known with it: what is found twice is written
//! once. A step has a budget, and a place where it goes on: a statement on a package that 100,000 artifacts contain is
//! 100,000 verdicts in small steps, while facts go on, and no answer waits for them but lists of deltas.

mod compare;
mod judge;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use pedigraph_proto::event::{AdvisoryPublished, ComponentsListed, SbomAttached, ScanCompleted, TagObserved};
use pedigraph_proto::fact::{Artifact, Control, Evidence, Family};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::compare::{Comparing, Walk};
use self::judge::{Judging, Judgments};
use super::{Derived, DerivedAt, touched};
use crate::ask::standings::Standings;
use crate::ask::vex::sayings::Sayings;
use crate::error::Error;
use crate::facts::components::rows::digest_text;
use crate::facts::deltas::Deltas;
use crate::facts::deltas::rows::BYTE;
use crate::facts::findings::rows::DocumentKey;
use crate::facts::findings::{document_key, vulnerability_name};
use crate::facts::own;
use crate::facts::view::FactAt;
use crate::rows::Rows;
use crate::rows::told::Told;

/// About how many rows a verdict costs.
const ROWS_PER_VERDICT: usize = 8;
/// About how many rows it costs to compare what is held of a vulnerability here and by the parents.
const ROWS_PER_COMPARISON: usize = 8;

/// The view of verdicts and deltas.
#[derive(Default)]
pub(super) struct VexDeltas {
    /// Deltas so far.
    found: AtomicU64,
    sayings: Sayings,
}

/// What a fact touches.
#[derive(Debug, Serialize, Deserialize)]
enum Key {
    /// What a digest contains.
    Contents(String),
    /// What a digest is joined to.
    Joined(String),
    /// What a digest is a version of.
    Version(String),
    /// A component set.
    Set(String),
    /// A version of a document.
    Document(DocumentKey),
    /// What scanners find in a digest.
    Scan(String),
    /// What a digest is called by purl.
    Called(String),
    /// An advisory, which may have other names.
    Advisory(String),
    /// A name that a scan may join to another one.
    Alias(String),
    /// Who issuers are.
    Policy,
}

/// What is worked off, in this order.
#[derive(Debug, Serialize, Deserialize)]
enum Subject {
    Judge(Judging),
    /// What the entry changed so far.
    Changed,
    /// Versions that have another derived parent.
    Moved,
    /// Artifacts that may have other declared parents: this one, and those that declare it.
    Parents(String),
}

impl Derived for VexDeltas {
    fn name(&self) -> &'static str {
        "deltas"
    }

    fn version(&self) -> u32 {
        4
    }

    fn byte(&self) -> u8 {
        BYTE
    }

    fn stands_apart(&self) -> bool {
        true
    }

    fn found(&self) -> u64 {
        self.found.load(Ordering::Relaxed)
    }

    fn touches(&self, fact: &FactAt<'_>, told: Option<&Told>, touched: &mut BTreeSet<Vec<u8>>) {
        let mut touch = |key: Key| {
            touched.extend(postcard::to_stdvec(&key));
        };
        touch_said(fact, &mut touch);
        match told {
            Some(told) => {
                told.contents.union(&told.joined).for_each(|digest| touch(Key::Joined(digest.clone())));
                told.versions.iter().for_each(|digest| touch(Key::Version(digest.clone())));
            }
            None => touched::digests(fact.event, &mut |digest| {
                touch(Key::Joined(digest.clone()));
                touch(Key::Version(digest));
            }),
        }
    }

    fn subjects(&self, at: &DerivedAt<'_>, keys: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Error> {
        let standings = Standings::new(at.before, at.after, at.index(), &self.sayings);
        let mut subjects = Vec::new();
        for key in keys {
            let (judged, parents) = subjects_of(&standings, at.index(), read(&key)?)?;
            let any = !judged.is_empty();
            let judged = judged.into_iter().map(Subject::Judge);
            let changed = any.then_some(Subject::Changed);
            let moved = (!parents.is_empty()).then_some(Subject::Moved);
            let all = judged.chain(changed).chain(moved).chain(parents.into_iter().map(Subject::Parents));
            for subject in all {
                subjects.push(write(&subject)?);
            }
        }
        Ok(subjects)
    }

    /// Each may lead to very many.
    fn keys_at_once(&self) -> usize {
        1
    }

    fn step(
        &self,
        at: &DerivedAt<'_>,
        subject: &[u8],
        cursor: &[u8],
        rows: &mut Rows<'_>,
    ) -> Result<Option<Vec<u8>>, Error> {
        let standings = Standings::new(at.before, at.after, at.index(), &self.sayings);
        let store = rows.store;
        let deltas = Deltas::below(store, at.tenant, (rows.stamp.index, rows.stamp.ordinal));
        let walk = || {
            let left = (at.rows_max / ROWS_PER_COMPARISON).max(1);
            Walk::new(at, &standings, &deltas, store, left)
        };
        let next = match read(subject)? {
            Subject::Judge(judging) => {
                let left = (at.rows_max / ROWS_PER_VERDICT).max(1);
                let work = Judgments { standings: &standings, deltas: &deltas, left };
                work.go_on(&judging, begun(cursor)?)?.map(|next| write(&next))
            }
            Subject::Changed => walk().changed(begun::<Comparing>(cursor)?)?.map(|next| write(&next)),
            Subject::Moved => walk().moved(begun(cursor)?)?.map(|next| write(&next)),
            Subject::Parents(digest) => walk().parents(&digest, begun(cursor)?)?.map(|next| write(&next)),
        };
        self.found.fetch_add(deltas.insert_into(rows)?, Ordering::Relaxed);
        next.transpose()
    }
}

fn begun<T: DeserializeOwned + Default>(cursor: &[u8]) -> Result<T, Error> {
    if cursor.is_empty() { Ok(T::default()) } else { read(cursor) }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    postcard::from_bytes(bytes).map_err(|error| Error::Store(format!("deltas: {error}")))
}

fn write(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    postcard::to_stdvec(value).map_err(|error| Error::Store(format!("deltas: {error}")))
}

/// What a fact says that verdicts hang on. It is the same whether the fact is folded or read again.
fn touch_said(fact: &FactAt<'_>, touch: &mut dyn FnMut(Key)) {
    if let Some((artifact, _)) = own::called(fact.event) {
        touch(Key::Called(digest_text(artifact)));
    }
    match fact.event.family() {
        Family::Evidence(Evidence::SbomAttached(SbomAttached { artifact_digest, sbom_digest, .. })) => {
            // A document is a thing of its own only where it describes no artifact.
            let described = if artifact_digest.is_empty() { sbom_digest } else { artifact_digest };
            touch(Key::Contents(digest_text(described)));
        }
        Family::Evidence(Evidence::ComponentsListed(ComponentsListed { component_set, .. })) => {
            touch(Key::Set(component_set.clone()));
        }
        Family::Artifact(Artifact::TagObserved(TagObserved { digest, .. })) => touch(Key::Called(digest_text(digest))),
        Family::Evidence(Evidence::VexIssued(event)) => touch(Key::Document(document_key(event, fact))),
        Family::Evidence(Evidence::ScanCompleted(ScanCompleted { artifact_digest, findings, .. })) => {
            touch(Key::Scan(digest_text(artifact_digest)));
            let aliased = findings.iter().filter(|finding| !finding.aliases.is_empty());
            aliased.for_each(|finding| alias(&finding.vulnerability, touch));
        }
        Family::Evidence(Evidence::AdvisoryPublished(AdvisoryPublished { id, .. })) => {
            if let Some(name) = vulnerability_name(id) {
                touch(Key::Advisory(name));
            }
        }
        Family::Control(Control::PolicyPublished(_)) => touch(Key::Policy),
        Family::Artifact(_)
        | Family::Evidence(_)
        | Family::Source(_)
        | Family::Work(_)
        | Family::Deploy(_)
        | Family::Control(_) => {}
    }
}

fn alias(id: &str, touch: &mut dyn FnMut(Key)) {
    if let Some(name) = vulnerability_name(id) {
        touch(Key::Alias(name));
    }
}

/// What is to be judged, and who may have other parents.
fn subjects_of(standings: &Standings<'_>, index: u64, key: Key) -> Result<(Vec<Judging>, BTreeSet<String>), Error> {
    let all = |digests: BTreeSet<String>| -> Vec<Judging> { digests.into_iter().map(Judging::Artifact).collect() };
    let judged = match key {
        Key::Version(digest) => return Ok((vec![], standings.versions_changed_with(&digest)?)),
        Key::Contents(digest) => {
            let mut judged = all(standings.with_above(&digest)?);
            judged.extend(standings.other_sboms(&digest)?.into_iter().map(Judging::Statements));
            judged
        }
        Key::Joined(digest) => {
            let joined = standings.joined_otherwise(&digest)?;
            let mut judged = Vec::new();
            for digest in &joined {
                judged.extend(standings.other_sboms(digest)?.into_iter().map(Judging::Statements));
            }
            judged.extend(all(joined));
            judged
        }
        Key::Set(set) => {
            let mut bound = BTreeSet::new();
            for digest in standings.bound_to(&set)? {
                bound.extend(standings.with_above(&digest)?);
            }
            all(bound)
        }
        Key::Document(document) => {
            let replaced = standings.replaced_document(&document)?.filter(|replaced| *replaced != index);
            let entries = [Some(index), replaced].into_iter().flatten();
            entries.clone().try_for_each(|entry| standings.forget_stated(entry))?;
            entries.map(Judging::Statements).collect()
        }
        Key::Scan(digest) => vec![Judging::Scanned(digest)],
        Key::Called(digest) => vec![Judging::Called(digest)],
        Key::Advisory(name) => {
            standings.forget(&name)?;
            let renamed = standings.is_called_otherwise(&name)?.then(|| Judging::Vulnerability(name.clone()));
            [Judging::Advisory(name)].into_iter().chain(renamed).collect()
        }
        Key::Alias(name) if standings.is_joined_here(&name)? => {
            standings.forget(&name)?;
            vec![Judging::Vulnerability(name)]
        }
        Key::Alias(_) => vec![],
        Key::Policy => vec![Judging::Everything],
    };
    Ok((judged, BTreeSet::new()))
}
