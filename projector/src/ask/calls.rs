//! What an entry calls a digest, of however many tags it has: which tags of a version it changes.
//!
//! Of one digest the first [`CALLS_MAX`] rows of tags count, in the order of keys. How many there are is counted where they
//! are written; where those end that count is kept with lines, from entry to entry.

use std::collections::{BTreeMap, BTreeSet};

use super::identity::{CALLS_MAX, Graph, fields, second_and_third};
use super::scope::{Clocks, Scope};
use crate::error::Error;
use crate::facts::lineage::rows::{FirstCalled, table};
use crate::facts::lines::Lines;
use crate::facts::lines::rows::{Tags, id_of};
use crate::rows::stamp::Order;

/// A repository and a tag of it.
type Call = (String, String);

/// What an entry changes of the tags of some digests.
#[derive(Default)]
pub(super) struct NewCalls {
    /// Tags that may have changed.
    changed: BTreeSet<Call>,
    /// Where those of a digest end that count, with the entry, where that is another place than before it.
    pub(super) ends: BTreeMap<String, Option<Vec<u8>>>,
}

impl NewCalls {
    /// Of what counts before an entry and with it.
    pub(super) fn read(before: &Graph<'_>, after: &Graph<'_>, digests: &[String]) -> Result<NewCalls, Error> {
        let mut new = NewCalls::default();
        for digest in digests {
            new.add(before, after, digest)?;
        }
        Ok(new)
    }

    fn add(&mut self, before: &Graph<'_>, after: &Graph<'_>, digest: &str) -> Result<(), Error> {
        let index = before.scope.bound;
        let here = after.key(table::NEW_CALLS).text(digest).number(index);
        let rows = after.scope.keyed::<u64>(&here, &here.prefix_end(), false, Clocks::Known, usize::MAX)?;
        let Some(len) = rows.iter().map(|(_, row)| row.value).max() else { return Ok(()) };
        let mut keys = BTreeSet::new();
        for (key, _) in &rows {
            let Some(((repository, tag), order)) = new_call(key) else { continue };
            keys.insert(after.key(table::CALLS).text(digest).text(&repository).text(&tag).number(index).ordinal(order));
            self.changed.insert((repository, tag));
        }
        let most = CALLS_MAX as u64;
        if len <= most {
            return Ok(());
        }
        let all = after.key(table::CALLS).text(digest);
        let (end, back) = match calls_end(before.scope, digest)? {
            // So many of those that counted do no longer.
            Some(end) => {
                let last = all.clone().bytes(&end);
                let new = keys.iter().filter(|key| **key < last).count();
                (last.bytes(&[0]), new)
            }
            None => (all.prefix_end(), usize::try_from(len - most).unwrap_or(usize::MAX)),
        };
        if back == 0 {
            return Ok(());
        }
        let last = after.scope.keyed::<FirstCalled>(&all, &end, true, Clocks::Known, back + 1)?;
        self.changed.extend(last.iter().take(back).filter_map(|(key, _)| second_and_third(key)));
        let end = last.get(back).and_then(|(key, _)| key.get(all.as_bytes().len()..)).map(<[u8]>::to_vec);
        self.ends.insert(digest.to_owned(), end);
        Ok(())
    }

    /// Of what is changed the tags before the entry and with it, of an artifact of these digests.
    pub(super) fn tags(
        &self,
        before: &Graph<'_>,
        after: &Graph<'_>,
        digests: &[String],
    ) -> Result<(Tags, Tags), Error> {
        let (mut old, mut new) = (Tags::new(), Tags::new());
        if self.changed.is_empty() {
            return Ok((old, new));
        }
        let mut ends = Vec::new();
        for digest in digests {
            let end = calls_end(before.scope, digest)?;
            let with = self.ends.get(digest).cloned().flatten().or_else(|| end.clone());
            ends.push((digest, end, with));
        }
        for (repository, tag) in &self.changed {
            let (mut first_old, mut first_new) = (None, None);
            for (digest, end, with) in &ends {
                first_old = least(first_old, call_of(before, digest, (repository, tag), end.as_deref())?);
                first_new = least(first_new, call_of(after, digest, (repository, tag), with.as_deref())?);
            }
            let id = id_of(&[repository, tag]);
            old.extend(first_old.map(|order| (id, order)));
            new.extend(first_new.map(|order| (id, order)));
        }
        Ok((old, new))
    }
}

/// When a digest was called so first, by the rows that count.
fn call_of(graph: &Graph<'_>, digest: &str, call: (&str, &str), end: Option<&[u8]>) -> Result<Option<Order>, Error> {
    let all = graph.key(table::CALLS).text(digest);
    let of_tag = all.clone().text(call.0).text(call.1);
    let to = of_tag.clone().number(graph.scope.bound);
    let to = end.map_or_else(|| to.clone(), |end| to.clone().min(all.bytes(end).byte(0)));
    if to <= of_tag {
        return Ok(None);
    }
    let last = graph.scope.keyed::<FirstCalled>(&of_tag, &to, true, Clocks::Known, 1)?.pop();
    Ok(last.map(|(_, row)| row.value.order))
}

/// The repository and tag of a row of new calls, and the ordinal of its fact.
fn new_call(key: &[u8]) -> Option<(Call, u32)> {
    let mut reader = fields(key)?;
    reader.text()?;
    reader.number()?;
    let ordinal = reader.ordinal()?;
    Some(((reader.text()?, reader.text()?), ordinal))
}

fn calls_end(before: &Scope, digest: &str) -> Result<Option<Vec<u8>>, Error> {
    Lines::below(before.shared.store.as_ref(), before.tenant(), before.bound).calls_end(digest)
}

fn least(a: Option<Order>, b: Option<Order>) -> Option<Order> {
    a.into_iter().chain(b).min()
}
