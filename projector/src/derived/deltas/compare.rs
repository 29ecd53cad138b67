//! What differs between an artifact and its parents, and how much (SPEC §3.2, `newVulns` and `resolvedVulns`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ask::children::ChildPlace;
use crate::ask::standings::Standings;
use crate::derived::DerivedAt;
use crate::error::Error;
use crate::facts::deltas::rows::{Badge, Delta, LOOKED_INTO, Standing, none_is_known};
use crate::facts::deltas::{Deltas, Names, Page};
use crate::store::Store;

/// Vulnerabilities that are compared at once.
const NAMES_AT_ONCE: usize = 64;
/// Children that are looked up at once.
const CHILDREN_AT_ONCE: usize = 16;

/// Where the comparison of what an entry changed goes on.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Comparing {
    /// The artifact that the entry changed, at hand.
    digest: String,
    children: Option<ChildPlace>,
    at: Holders,
}

/// Where the comparison of artifacts with other parents goes on.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Kin {
    round: Round,
    children: Option<ChildPlace>,
    at: Holders,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Round {
    #[default]
    Start,
    Itself,
    ChildrenBefore,
    ChildrenNow,
}

/// Artifacts that are compared with their parents, one after the other.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Holders {
    /// The one at hand.
    holder: Option<Holder>,
    waiting: Vec<String>,
}

/// An artifact that is being compared.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    digest: String,
    /// The last vulnerability that was compared.
    after: String,
    new: i64,
    resolved: i64,
    /// All of it is compared, and not only what the entry changed.
    whole: bool,
}

/// One step.
pub(super) struct Walk<'s, 'a> {
    standings: &'s Standings<'a>,
    deltas: &'s Deltas<'s>,
    before: Deltas<'s>,
    index: u64,
    /// Comparisons that may still be made.
    left: usize,
}

/// An artifact beside its parents, and into which of them anybody looked.
struct Beside<'h> {
    digest: &'h str,
    parents: &'h BTreeSet<String>,
    looked_into: bool,
    parents_looked_into: BTreeSet<&'h str>,
}

impl Beside<'_> {
    /// Whether that nothing is said of a vulnerability here means that it is not there.
    fn none_is_known(&self) -> bool {
        none_is_known(self.looked_into, !self.parents_looked_into.is_empty())
    }

    /// What differs along the edge from a parent. Where somebody looked into the parent, and nobody into this version yet,
    /// that nothing is said of it is no difference.
    fn delta(&self, parent: &str, delta: Delta) -> Delta {
        let is_known = none_is_known(self.looked_into, self.parents_looked_into.contains(parent));
        if delta.to == Standing::None && !is_known { Delta::default() } else { delta }
    }
}

/// What is held of one vulnerability here and by the parents.
struct Held {
    here: Standing,
    by_any_parent: bool,
}

impl Held {
    fn is_new(&self) -> bool {
        self.here.is_open() && !self.by_any_parent
    }

    fn is_resolved(&self, none_is_known: bool) -> bool {
        self.by_any_parent && !self.here.is_open() && (self.here != Standing::None || none_is_known)
    }
}

impl<'s, 'a> Walk<'s, 'a> {
    pub(super) fn new(
        at: &DerivedAt<'s>,
        standings: &'s Standings<'a>,
        deltas: &'s Deltas<'s>,
        store: &'s dyn Store,
        left: usize,
    ) -> Walk<'s, 'a> {
        let before = Deltas::below(store, at.tenant, (at.index(), 0));
        Walk { standings, deltas, before, index: at.index(), left }
    }

    /// Compares each artifact of which the entry changed a verdict, and its children, where the parents are the same.
    pub(super) fn changed(&mut self, mut at: Comparing) -> Result<Option<Comparing>, Error> {
        while self.left > 0 {
            self.left -= 1;
            if let Some(holder) = at.at.next() {
                at.at.holder = self.compare_changes(holder)?;
            } else if let Some(place) = at.children.take() {
                let (children, next) = self.standings.children(true, &at.digest, place, CHILDREN_AT_ONCE)?;
                at.children = next;
                for child in children {
                    if self.is_child_s_turn(&at.digest, &child)? {
                        at.at.waiting.push(child);
                    }
                }
            } else {
                let Some(next) = self.deltas.changed_after(self.index, &at.digest)? else { return Ok(None) };
                at = Comparing { digest: next.clone(), children: Some(ChildPlace::first()), at: Holders::default() };
                at.at.holder = Some(Holder::of(next));
            }
        }
        Ok(Some(at))
    }

    /// A child has its own turn where its own verdicts changed, else that of the first of its parents whose did.
    fn is_child_s_turn(&self, parent: &str, child: &str) -> Result<bool, Error> {
        if self.deltas.is_changed(self.index, child)? {
            return Ok(false);
        }
        let [_, parents] = self.standings.parents(child)?;
        for other in parents.iter().take_while(|other| other.as_str() != parent) {
            if self.deltas.is_changed(self.index, other)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Compares what the entry changed here or of a parent; gives it back while there is more.
    fn compare_changes(&mut self, mut holder: Holder) -> Result<Option<Holder>, Error> {
        let [before, parents] = self.standings.parents(&holder.digest)?;
        if before != parents {
            return Ok(None);
        }
        if holder.whole {
            return self.compare_with(holder, &before, &parents);
        }
        let limit = self.names_at_once(parents.len());
        let page = |digest: &String| self.deltas.changed_of(self.index, digest, &holder.after, limit);
        let pages = parents.iter().chain([&holder.digest]).map(page).collect::<Result<Vec<_>, _>>()?;
        let (names, goes_on) = merged(pages.into_iter());
        if names.contains(LOOKED_INTO) {
            holder.whole = true;
            return Ok(Some(holder));
        }
        self.left = self.left.saturating_sub(names.len() * (1 + parents.len()));
        let beside = self.beside(&holder.digest, &parents)?;
        for name in &names {
            let (was, is) = self.held_before_and_now(&beside, name)?;
            let known = beside.none_is_known();
            holder.new += i64::from(is.is_new()) - i64::from(was.is_new());
            holder.resolved += i64::from(is.is_resolved(known)) - i64::from(was.is_resolved(known));
        }
        self.go_on(holder, goes_on)
    }

    /// Gives it back while there is more, else writes how it compares.
    fn go_on(&self, mut holder: Holder, goes_on: Option<String>) -> Result<Option<Holder>, Error> {
        if let Some(last) = goes_on {
            holder.after = last;
            return Ok(Some(holder));
        }
        let known = if holder.whole { Badge::default() } else { self.before.badge(&holder.digest)? };
        let badge = Badge { new: added(known.new, holder.new), resolved: added(known.resolved, holder.resolved) };
        self.deltas.compares(&holder.digest, badge)?;
        Ok(None)
    }

    fn beside<'h>(&self, digest: &'h str, parents: &'h BTreeSet<String>) -> Result<Beside<'h>, Error> {
        let mut parents_looked_into = BTreeSet::new();
        for parent in parents {
            if self.deltas.is_looked_into(parent)? {
                parents_looked_into.insert(parent.as_str());
            }
        }
        Ok(Beside { digest, parents, looked_into: self.deltas.is_looked_into(digest)?, parents_looked_into })
    }

    /// What was held before the entry and is now; writes what differs now along each edge.
    fn held_before_and_now(&self, beside: &Beside<'_>, name: &str) -> Result<(Held, Held), Error> {
        let (here_before, here) = self.standing_before_and_now(beside.digest, name)?;
        let mut was = Held { here: here_before, by_any_parent: false };
        let mut is = Held { here, by_any_parent: false };
        for parent in beside.parents {
            let (before, now) = self.standing_before_and_now(parent, name)?;
            was.by_any_parent |= before.is_open();
            is.by_any_parent |= now.is_open();
            let delta = beside.delta(parent, Delta { from: now, to: here });
            self.deltas.differs(parent, beside.digest, name, delta)?;
        }
        Ok((was, is))
    }

    fn standing_before_and_now(&self, digest: &str, name: &str) -> Result<(Standing, Standing), Error> {
        let change = self.deltas.change(self.index, digest, name)?;
        if change.old != change.new {
            return Ok((change.old, change.new));
        }
        let standing = self.deltas.standing(digest, name)?;
        Ok((standing, standing))
    }

    /// Compares each version to which the entry gave another derived parent.
    pub(super) fn moved(&mut self, mut at: Comparing) -> Result<Option<Comparing>, Error> {
        while self.left > 0 {
            self.left -= 1;
            if let Some(holder) = at.at.next() {
                at.at.holder = self.compare_all(holder)?;
            } else {
                at.at.waiting = self.standings.moved_after(&at.digest, CHILDREN_AT_ONCE)?;
                let Some(last) = at.at.waiting.last() else { return Ok(None) };
                at.digest = last.clone();
            }
        }
        Ok(Some(at))
    }

    /// Compares an artifact and those that have it as a parent, before and now, where the parents are others since the
    /// entry.
    pub(super) fn parents(&mut self, digest: &str, mut at: Kin) -> Result<Option<Kin>, Error> {
        while self.left > 0 {
            self.left -= 1;
            if let Some(holder) = at.at.next() {
                at.at.holder = self.compare_all(holder)?;
            } else if let Some(place) = at.children.take() {
                let with = at.round == Round::ChildrenNow;
                (at.at.waiting, at.children) = self.standings.children(with, digest, place, CHILDREN_AT_ONCE)?;
            } else {
                (at.round, at.at.holder, at.children) = match at.round {
                    // One that has another derived parent has its turn among those.
                    Round::Start if self.standings.is_moved(digest)? => (Round::Itself, None, None),
                    Round::Start => (Round::Itself, Some(Holder::of(digest.to_owned())), None),
                    Round::Itself => (Round::ChildrenBefore, None, Some(ChildPlace::first())),
                    Round::ChildrenBefore => (Round::ChildrenNow, None, Some(ChildPlace::first())),
                    Round::ChildrenNow => return Ok(None),
                };
            }
        }
        Ok(Some(at))
    }

    /// Compares all that is or was held here or by a parent, where the parents are others; gives it back while there is
    /// more.
    fn compare_all(&mut self, holder: Holder) -> Result<Option<Holder>, Error> {
        let [before, parents] = self.standings.parents(&holder.digest)?;
        if before == parents { Ok(None) } else { self.compare_with(holder, &before, &parents) }
    }

    /// Compares all of it, whatever was counted before the entry.
    fn compare_with(
        &mut self,
        mut holder: Holder,
        before: &BTreeSet<String>,
        parents: &BTreeSet<String>,
    ) -> Result<Option<Holder>, Error> {
        holder.whole = true;
        let limit = self.names_at_once(before.len() + parents.len());
        let page = |digest: &str| self.deltas.standings_of(digest, &holder.after, limit);
        let here = page(&holder.digest)?;
        let there = before.union(parents).map(|parent| Ok((parent.as_str(), page(parent)?)));
        let there = there.collect::<Result<BTreeMap<_, _>, Error>>()?;
        let (names, goes_on) = merged(there.values().chain([&here]).map(Page::names));
        self.left = self.left.saturating_sub(names.len() * (1 + parents.len()));
        let beside = self.beside(&holder.digest, parents)?;
        let held = |name: String| (name.clone(), Held { here: here.of(&name), by_any_parent: false });
        let mut held: BTreeMap<String, Held> = names.into_iter().filter(|name| name != LOOKED_INTO).map(held).collect();
        for (parent, page) in there {
            let is_parent = parents.contains(parent);
            let kept = self.deltas.deltas_of((parent, &holder.digest), &holder.after, goes_on.as_deref())?;
            for (name, held) in &mut held {
                let from = page.of(name);
                held.by_any_parent |= is_parent && from.is_open();
                let delta = beside.delta(parent, Delta { from, to: held.here });
                let delta = if is_parent { delta } else { Delta::default() };
                self.deltas.differs_from(kept.of(name), (parent, &holder.digest, name), delta);
            }
        }
        for held in held.values() {
            holder.new += i64::from(held.is_new());
            holder.resolved += i64::from(held.is_resolved(beside.none_is_known()));
        }
        self.go_on(holder, goes_on)
    }

    /// How many vulnerabilities are compared with so many parents.
    fn names_at_once(&self, parents: usize) -> usize {
        (self.left / (1 + parents)).clamp(1, NAMES_AT_ONCE)
    }
}

impl Holders {
    /// The one at hand, else the next one.
    fn next(&mut self) -> Option<Holder> {
        self.holder.take().or_else(|| self.waiting.pop().map(Holder::of))
    }
}

impl Holder {
    fn of(digest: String) -> Holder {
        Holder { digest, after: String::new(), new: 0, resolved: 0, whole: false }
    }
}

/// The names that all pages reach up to, in order; and the last of them where any goes on.
fn merged(pages: impl Iterator<Item = Names>) -> (BTreeSet<String>, Option<String>) {
    let (mut names, mut until) = (BTreeSet::new(), None);
    for page in pages {
        names.extend(page.names);
        until = [until, page.until].into_iter().flatten().min();
    }
    if let Some(until) = &until {
        names.retain(|name| name <= until);
    }
    (names, until)
}

fn added(number: u32, more: i64) -> u32 {
    u32::try_from(i64::from(number) + more).unwrap_or(0)
}
