//! The timeline of one lane, (environment, cluster, namespace, service): a pure function from rows to states and moves.
//!
//! Rows come sorted by [`Stamp`], so the order of arrival cannot matter. Nothing here reads a store: what ran here or
//! elsewhere before is asked of [`History`].

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::rc::Rc;

use pedigraph_proto::ArtifactRef;

use crate::error::Error;
use crate::facts::deployments::rows::{Effect, LaneFact, Stamp, UNKNOWN, What, reference_key};
use crate::facts::lineage::tag_order;

/// Canary groups of one lane; a deployment of another group beside so many is left out and counted.
pub const CANARIES_MAX: usize = 100;

impl LaneFact {
    /// What it names; a deployment that names nothing is of something unknown.
    pub(crate) fn artifact(&self, resolved: Option<String>) -> Option<Artifact> {
        let digest = (!self.digest.is_empty()).then(|| self.digest.clone()).or(resolved);
        let named = !self.reference.is_empty() || digest.is_some();
        let reference = match (self.reference.as_str(), &digest) {
            ("", Some(digest)) => digest.clone(),
            ("", None) => UNKNOWN.to_owned(),
            (reference, _) => reference.to_owned(),
        };
        (named || self.what == What::Deployed).then_some(Artifact { reference, digest, joined: None })
    }
}

/// What runs: its reference, and its digest once that is known.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Artifact {
    pub(crate) reference: String,
    pub(crate) digest: Option<String>,
    /// The digest by which later rows of its lane name it, where that is another one.
    pub(crate) joined: Option<Rc<str>>,
}

impl Artifact {
    /// The digest by which it is compared within its lane.
    pub(crate) fn key(&self) -> Option<&str> {
        self.joined.as_deref().or(self.digest.as_deref())
    }

    /// One digest, or one reference where a digest is not known. What is unknown is never the same again.
    pub(crate) fn same(&self, other: &Artifact) -> bool {
        match (self.key(), other.key()) {
            (Some(a), Some(b)) => a == b,
            _ if self.reference == UNKNOWN || other.reference == UNKNOWN => false,
            _ if self.reference == other.reference => true,
            _ => reference_key(&self.reference) == reference_key(&other.reference),
        }
    }
}

/// A row where it stands, its artifact resolved. What it says is shared with the states and moves that follow from it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Row {
    pub(crate) stamp: Stamp,
    pub(crate) fact: Rc<LaneFact>,
    /// `None` where the row names none.
    pub(crate) artifact: Option<Rc<Artifact>>,
}

impl Row {
    fn effect(&self) -> Effect {
        self.fact.effect()
    }

    /// What runs after this row whatever ran before: `Some(None)` for nothing, `None` when that depends.
    fn anchors(&self) -> Option<Option<&Rc<Artifact>>> {
        match self.effect() {
            Effect::Remove => Some(None),
            Effect::Full => self.artifact.as_ref().map(Some),
            Effect::Share | Effect::End => None,
        }
    }
}

/// Tells, reading a lane's rows backwards, when enough was read to know every state from the first row on, and since
/// when everything in it runs.
#[derive(Default)]
pub(crate) struct Enough {
    next: Option<Rc<Artifact>>,
    /// Of what had a share between the row at hand and the next one.
    shares: BTreeSet<Rc<Artifact>>,
}

impl Enough {
    /// Is the window exact when it begins with this row?
    pub(crate) fn with(&mut self, row: &Row) -> bool {
        match row.anchors() {
            None => {
                self.shares.extend(row.artifact.clone().filter(|_| row.effect() == Effect::Share));
                false
            }
            Some(None) => true,
            Some(Some(artifact)) => {
                let named = !row.fact.reference.is_empty();
                let other = self.next.as_ref().is_some_and(|next| artifact.surely_differs(named, next));
                let sure = self.shares.iter().all(|share| artifact.is_sure(named, share));
                self.shares.clear();
                self.next = Some(artifact.clone());
                other && sure
            }
        }
    }
}

impl Artifact {
    /// Whether what runs, of which a row says this, and what has a share beside it are one or not whatever rows before
    /// told.
    fn is_sure(&self, named: bool, share: &Artifact) -> bool {
        let both_known = self.digest.is_some() && share.digest.is_some();
        let one_name = named && share.digest.is_none() && self.same(share);
        both_known || one_name || self.surely_differs(named, share)
    }

    /// Whether what ran before, of which a row says this, was another one than the next, whatever rows before told of it:
    /// they may have told its digest, or its name where this row is not `named`.
    fn surely_differs(&self, named: bool, next: &Artifact) -> bool {
        match (self.key(), next.key()) {
            (Some(key), Some(next)) => key != next,
            (None, Some(_)) => self.reference == UNKNOWN,
            (_, None) => {
                let unknown = self.reference == UNKNOWN || next.reference == UNKNOWN;
                !self.same(next) && (named || unknown)
            }
        }
    }
}

/// Something that runs.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Run {
    pub(crate) artifact: Rc<Artifact>,
    pub(crate) weight: u32,
    /// When its run without a break began.
    pub(crate) since: Stamp,
    /// The newest configuration that a deployment of it named.
    pub(crate) config: Option<(Stamp, String)>,
    /// The row that changed it last.
    pub(crate) row: Row,
}

/// What runs in a lane.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct State {
    pub(crate) stable: Option<Run>,
    /// One per canary group.
    pub(crate) canaries: Vec<Run>,
    /// Rows that were left out since something ran alone, because [`CANARIES_MAX`] canaries ran.
    pub(crate) cut: u64,
}

/// A change of a lane before its kind is known.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Move {
    pub(crate) stamp: Stamp,
    fact: Rc<LaneFact>,
    pub(crate) from: Option<Rc<Artifact>>,
    pub(crate) to: Option<Rc<Artifact>>,
    how: How,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    /// `again`: it was what is stable before too, and what ran beside it is gone.
    Full {
        marked: bool,
        since: Stamp,
        again: bool,
    },
    Share,
    /// `alone`: of what ran alone, or beside canaries. Else there were canaries only.
    Remove {
        alone: bool,
    },
}

/// What happened before a moment, beyond the rows at hand.
pub(crate) trait History {
    /// Did it run in this lane before that moment?
    fn ran_here(&self, artifact: &Artifact, before: &Stamp) -> Result<bool, Error>;
    /// Did it run in another environment before that moment?
    fn ran_elsewhere(&self, artifact: &Artifact, before: &Stamp) -> Result<bool, Error>;
    /// Order within a line, where both belong to one.
    fn line_order(&self, from: &Artifact, to: &Artifact) -> Result<Option<Ordering>, Error>;
}

/// The state after all rows, with every move on the way.
pub(crate) fn replay(rows: &[Row]) -> (State, Vec<Move>) {
    let mut state = State::default();
    let moves = rows.iter().filter_map(|row| state.step(row)).collect();
    (state, moves)
}

impl State {
    /// Everything that runs, the stable one first, with weights that add to 100 where there is one.
    pub(crate) fn running(&self) -> Vec<Run> {
        let shared: u32 = self.canaries.iter().map(|run| run.weight).sum();
        let stable = self.stable.iter().cloned().map(|run| Run { weight: 100_u32.saturating_sub(shared), ..run });
        stable.chain(self.canaries.iter().cloned()).collect()
    }

    /// Applies one row; `None` when that changes nothing that counts as a change.
    fn step(&mut self, row: &Row) -> Option<Move> {
        let named = row.artifact.clone();
        match row.effect() {
            Effect::Remove => self.remove(row),
            Effect::End => self.end(row),
            Effect::Full => self.full(row, named.or_else(|| self.of_group(row))?),
            Effect::Share => self.share(row, named.or_else(|| self.of_group(row))?),
        }
    }

    /// The artifact of the canary that a row means without naming it.
    fn of_group(&self, row: &Row) -> Option<Rc<Artifact>> {
        self.canaries.iter().find(|run| run.row.fact.group == row.fact.group).map(|run| run.artifact.clone())
    }

    fn remove(&mut self, row: &Row) -> Option<Move> {
        let old = std::mem::take(self);
        let alone = old.stable.is_some();
        let from = old.stable.or(old.canaries.into_iter().next())?;
        Some(row.moves(Some(from.artifact), None, How::Remove { alone }))
    }

    fn full(&mut self, row: &Row, artifact: Rc<Artifact>) -> Option<Move> {
        let stable = self.stable.as_mut().filter(|stable| stable.artifact.same(&artifact));
        // A name alone in place of a known digest is less than what was known, and may turn out to be another one.
        let is_known_as_well = |of: &Artifact| of.digest.is_none() || artifact.digest.is_some();
        let again = stable.as_ref().is_some_and(|stable| is_known_as_well(&stable.artifact));
        if let (Some(stable), true) = (stable, self.canaries.is_empty()) {
            stable.learn(row);
            self.cut = 0;
            return None;
        }
        let old = std::mem::take(self).into_runs();
        let since = old.iter().find(|run| run.artifact.same(&artifact)).map_or(row.stamp, |run| run.since);
        let config = old.iter().find(|run| run.artifact.same(&artifact)).and_then(|run| run.config.clone());
        let from = old.into_iter().map(|run| run.artifact).find(|old| !old.same(&artifact));
        let mut run = Run { artifact: artifact.clone(), weight: 100, since, config, row: row.clone() };
        run.learn(row);
        self.stable = Some(run);
        let marked = row.fact.rollback;
        Some(row.moves(from, Some(artifact), How::Full { marked, since, again }))
    }

    fn share(&mut self, row: &Row, artifact: Rc<Artifact>) -> Option<Move> {
        if self.stable.as_ref().is_some_and(|stable| stable.artifact.same(&artifact)) {
            return None;
        }
        let weight = row.fact.weight;
        if let Some(run) = self.canaries.iter_mut().find(|run| run.artifact.same(&artifact)) {
            run.learn(row);
            if weight == 0 || weight == run.weight {
                return None;
            }
            run.weight = weight;
            let fact = LaneFact { group: run.row.fact.group.clone(), ..LaneFact::clone(&row.fact) };
            run.row = Row { fact: Rc::new(fact), ..row.clone() };
        } else {
            self.canaries.retain(|run| run.row.fact.group != row.fact.group);
            if self.canaries.len() >= CANARIES_MAX {
                self.cut = self.cut.saturating_add(1);
                return None;
            }
            let mut run = Run { artifact: artifact.clone(), weight, since: row.stamp, config: None, row: row.clone() };
            run.learn(row);
            self.canaries.push(run);
        }
        let stable = self.stable.as_ref().map(|run| run.artifact.clone());
        Some(row.moves(stable, Some(artifact), How::Share))
    }

    fn end(&mut self, row: &Row) -> Option<Move> {
        let artifact = row.artifact.clone().or_else(|| self.of_group(row))?;
        let position = self.canaries.iter().position(|run| run.artifact.same(&artifact))?;
        let ended = self.canaries.remove(position);
        let stable = self.stable.as_ref().map(|run| run.artifact.clone());
        Some(row.moves(Some(ended.artifact), stable, How::Share))
    }

    fn into_runs(self) -> Vec<Run> {
        self.stable.into_iter().chain(self.canaries).collect()
    }
}

impl Run {
    /// A deployment of what runs already is no change, but tells its newest name (SPEC §6), the digest by which it is named
    /// there, and its configuration.
    fn learn(&mut self, row: &Row) {
        if let Some(named) = row.artifact.as_ref().filter(|_| !row.fact.reference.is_empty())
            && self.artifact.reference != named.reference
        {
            Rc::make_mut(&mut self.artifact).reference.clone_from(&named.reference);
        }
        if let Some(named) = &row.artifact
            && named.digest.is_some()
            && named.digest != self.artifact.digest
        {
            let known = Rc::make_mut(&mut self.artifact);
            (known.digest, known.joined) = (named.digest.clone(), named.joined.clone());
        }
        if !row.fact.config_digest.is_empty() {
            self.config = Some((row.stamp, row.fact.config_digest.clone()));
        }
    }
}

impl Row {
    fn moves(&self, from: Option<Rc<Artifact>>, to: Option<Rc<Artifact>>, how: How) -> Move {
        let Row { stamp, fact, .. } = self;
        Move { stamp: *stamp, fact: fact.clone(), from, to, how }
    }
}

impl Move {
    /// Why it was made.
    pub(crate) fn reason(&self) -> &str {
        &self.fact.reason
    }

    /// Since when what it made run alone runs without a break: as a canary it may have run before (SPEC §6, `since` stays).
    pub(crate) fn since(&self) -> Stamp {
        match self.how {
            How::Full { since, .. } => since,
            How::Share | How::Remove { .. } => self.stamp,
        }
    }

    /// Is what runs alone another one now? What was stable all along is not, where a canary beside it was taken back.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self.how, How::Full { again: false, .. })
    }

    /// Does what ran alone no longer run alone?
    pub(crate) fn is_end_of_spell(&self) -> bool {
        self.is_full() || self.how == How::Remove { alone: true }
    }

    fn is_removal(&self) -> bool {
        matches!(self.how, How::Remove { .. })
    }

    /// Was a canary taken back by it, and what is stable stayed?
    pub(crate) fn takes_back(&self) -> bool {
        match self.how {
            How::Full { again, .. } => again,
            How::Share => self.fact.effect() == Effect::End,
            How::Remove { .. } => false,
        }
    }

    /// The kind of change, as SPEC §6 has it.
    pub(crate) fn kind(&self, history: &dyn History) -> Result<&'static str, Error> {
        let (How::Full { marked, since, .. }, Some(to)) = (self.how, &self.to) else {
            return Ok(if self.is_removal() { "remove" } else { "canary" });
        };
        if marked {
            return Ok("rollback");
        }
        let here = history.ran_here(to, &since)?;
        let order = match &self.from {
            Some(from) => order(from, to, history)?,
            None => None,
        };
        Ok(match order {
            Some(Ordering::Greater) => "rollback",
            Some(_) if here => "rollforward",
            None if here && self.from.is_some() => "rollback",
            _ if !here && history.ran_elsewhere(to, &self.stamp)? => "promote",
            _ => "deploy",
        })
    }
}

/// Semver or one numbering scheme of tags of one repository, else the order within a line.
fn order(from: &Artifact, to: &Artifact, history: &dyn History) -> Result<Option<Ordering>, Error> {
    let tags = ArtifactRef::parse(&from.reference).zip(ArtifactRef::parse(&to.reference));
    let one_repository = tags.filter(|(from, to)| from.repository_key() == to.repository_key());
    match one_repository.and_then(|(from, to)| tag_order::compare(&from.tag, &to.tag)) {
        Some(order) => Ok(Some(order)),
        None => history.line_order(from, to),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use pedigraph_proto::Nanos;

    use super::*;

    struct Past<'a>(&'a [Row], &'a [&'a str]);
    impl History for Past<'_> {
        fn ran_here(&self, artifact: &Artifact, before: &Stamp) -> Result<bool, Error> {
            let named = |row: &&Row| row.artifact.as_ref().is_some_and(|named| named.same(artifact));
            Ok(self.0.iter().filter(named).any(|row| row.stamp < *before && row.effect() != Effect::End))
        }
        fn ran_elsewhere(&self, artifact: &Artifact, _: &Stamp) -> Result<bool, Error> {
            Ok(self.1.contains(&artifact.reference.as_str()))
        }
        fn line_order(&self, _: &Artifact, _: &Artifact) -> Result<Option<Ordering>, Error> {
            Ok(None)
        }
    }

    /// `deploy 1.0`, `deploy 1.0 weight=10 strategy=canary rollback config=sha256:a`, `canary 1.0 weight=20`, `remove`.
    fn row(time: i64, line: &str) -> Row {
        let mut words = line.split(' ');
        let what = match words.next() {
            Some("deploy") => What::Deployed,
            Some("canary") => What::Canary,
            _ => What::Removed,
        };
        let mut fact = LaneFact { what, ..LaneFact::default() };
        for word in words {
            match word.split_once('=') {
                Some(("weight", weight)) => fact.weight = weight.parse().expect("a number"),
                Some(("strategy", strategy)) => fact.strategy = strategy.to_owned(),
                Some(("config", config)) => fact.config_digest = config.to_owned(),
                Some(("group", group)) => fact.group = group.to_owned(),
                Some(("digest", digest)) => fact.digest = digest.to_owned(),
                _ if word == "rollback" => fact.rollback = true,
                _ => fact.reference = format!("docker.io/library/app:{word}"),
            }
        }
        let artifact = fact.artifact(None).map(Rc::new);
        Row { stamp: Stamp { time: Nanos(time), ..Stamp::default() }, fact: Rc::new(fact), artifact }
    }

    fn check(lines: &[&str], elsewhere: &[&str], want: &Expect) {
        let mut rows: Vec<Row> = (1..).zip(lines).map(|(time, line)| row(time, line)).collect();
        rows.sort_by_key(|row| row.stamp);
        let (state, moves) = replay(&rows);
        let short = |artifact: &Option<Rc<Artifact>>| {
            artifact.as_ref().map_or("-".to_owned(), |a| a.reference.rsplit(':').next().unwrap_or("").to_owned())
        };
        let mut text = String::new();
        for change in &moves {
            let kind = change.kind(&Past(&rows, elsewhere)).expect("in memory");
            let (from, to) = (short(&change.from), short(&change.to));
            text.push_str(&format!("{} {kind} {from} > {to}\n", change.stamp.time.0));
        }
        for run in state.running() {
            let config = run.config.map(|(_, config)| format!(" {config}")).unwrap_or_default();
            let name = short(&Some(run.artifact));
            text.push_str(&format!("runs {name} {}% since {}{config}\n", run.weight, run.since.time.0));
        }
        want.assert_eq(&text);
        for start in 1..=rows.len() {
            check_window(&rows, start, &state, &moves);
        }
    }

    /// Reading back from any row until it is enough gives the same states and moves from there on.
    fn check_window(rows: &[Row], start: usize, state: &State, moves: &[Move]) {
        let mut enough = Enough::default();
        let from = (0..start).rev().find(|&at| enough.with(&rows[at])).unwrap_or(0);
        let (window_state, window_moves) = replay(&rows[from..]);
        assert_eq!(&window_state, state, "from row {from} for {start}");
        let later = |moves: &[Move]| {
            let first = rows.get(start).map(|row| row.stamp);
            moves.iter().filter(|m| first.is_some_and(|first| m.stamp >= first)).cloned().collect::<Vec<_>>()
        };
        assert_eq!(later(&window_moves), later(moves), "from row {from} for {start}");
    }

    #[test]
    fn versions_go_up_and_down() {
        check(
            &["deploy 1.0.0", "deploy 1.1.0", "deploy 1.1.0", "deploy 1.0.0", "deploy 1.1.0", "deploy 0.9.0"],
            &[],
            &expect![[r#"
            1 deploy - > 1.0.0
            2 deploy 1.0.0 > 1.1.0
            4 rollback 1.1.0 > 1.0.0
            5 rollforward 1.0.0 > 1.1.0
            6 rollback 1.1.0 > 0.9.0
            runs 0.9.0 100% since 6
        "#]],
        );
    }

    #[test]
    fn where_versions_do_not_compare_a_return_is_a_rollback() {
        check(
            &["deploy blue", "deploy green", "deploy blue", "deploy red rollback"],
            &[],
            &expect![[r#"
            1 deploy - > blue
            2 deploy blue > green
            3 rollback green > blue
            4 rollback blue > red
            runs red 100% since 4
        "#]],
        );
    }

    #[test]
    fn what_ran_elsewhere_and_never_here_is_promoted() {
        check(
            &["deploy 1.0.0", "deploy 1.1.0", "remove", "remove", "deploy 1.1.0"],
            &["docker.io/library/app:1.1.0"],
            &expect![[r#"
                1 deploy - > 1.0.0
                2 promote 1.0.0 > 1.1.0
                3 remove 1.1.0 > -
                5 deploy - > 1.1.0
                runs 1.1.0 100% since 5
            "#]],
        );
    }

    #[test]
    fn a_canary_grows_and_becomes_the_only_one() {
        check(
            &[
                "deploy 2.2.0 config=c1",
                "deploy 2.3.0 weight=10 strategy=canary config=c2",
                "canary 2.3.0 weight=10",
                "canary weight=50",
                "canary 2.3.0 weight=100",
                "deploy 2.3.0 config=c3",
            ],
            &[],
            &expect![[r#"
                1 deploy - > 2.2.0
                2 canary 2.2.0 > 2.3.0
                4 canary 2.2.0 > 2.3.0
                5 deploy 2.2.0 > 2.3.0
                runs 2.3.0 100% since 2 c3
            "#]],
        );
    }

    #[test]
    fn a_canary_is_taken_back() {
        check(
            &["deploy 2.2.0", "deploy 2.3.0 weight=10", "canary 2.3.0 weight=0", "canary 2.3.0 weight=0"],
            &[],
            &expect![[r#"
                1 deploy - > 2.2.0
                2 canary 2.2.0 > 2.3.0
                3 canary 2.3.0 > 2.2.0
                runs 2.2.0 100% since 1
            "#]],
        );
        check(
            &["deploy 2.2.0", "deploy 2.3.0 weight=10", "deploy 2.2.0"],
            &[],
            &expect![[r#"
            1 deploy - > 2.2.0
            2 canary 2.2.0 > 2.3.0
            3 rollback 2.3.0 > 2.2.0
            runs 2.2.0 100% since 1
        "#]],
        );
        check(
            &["deploy 2.2.0", "deploy 2.3.0 weight=10", "deploy 2.3.1 weight=20", "deploy 3.0.0 weight=5 group=b"],
            &[],
            &expect![[r#"
                1 deploy - > 2.2.0
                2 canary 2.2.0 > 2.3.0
                3 canary 2.2.0 > 2.3.1
                4 canary 2.2.0 > 3.0.0
                runs 2.2.0 75% since 1
                runs 2.3.1 20% since 3
                runs 3.0.0 5% since 4
            "#]],
        );
    }

    #[test]
    fn a_share_of_what_runs_under_a_name_from_before_is_none() {
        check(
            &["deploy 1.0", "deploy 1.0 digest=a", "deploy digest=a", "deploy 1.0 weight=10", "deploy 1.0 digest=b"],
            &[],
            &expect![[r#"
                1 deploy - > 1.0
                5 rollback 1.0 > 1.0
                runs 1.0 100% since 5
            "#]],
        );
    }

    #[test]
    fn a_hostile_number_of_canary_groups_is_cut_and_counted() {
        let lines: Vec<String> =
            (0..CANARIES_MAX + 7).map(|n| format!("deploy 1.0.{n} weight=99 strategy=canary group=g{n}")).collect();
        let mut rows: Vec<Row> = (2..).zip(&lines).map(|(time, line)| row(time, line)).collect();
        rows.insert(0, row(1, "deploy 0.9.0"));
        let (state, moves) = replay(&rows);
        assert_eq!((state.canaries.len(), state.cut, moves.len()), (CANARIES_MAX, 7, CANARIES_MAX + 1));
        rows.push(row(500, "deploy 0.9.0"));
        assert_eq!(replay(&rows).0.cut, 0, "it runs alone again");
    }

    #[test]
    fn bare_names_and_those_of_docker_hub_are_one() {
        let artifact = |reference: &str| Artifact { reference: reference.to_owned(), digest: None, joined: None };
        assert!(artifact("nginx:1").same(&artifact("docker.io/library/nginx:1")));
        assert!(!artifact("nginx:1").same(&artifact("ghcr.io/nginx:1")));
        assert!(!artifact(UNKNOWN).same(&artifact("docker.io/library/unknown:latest")));
    }

    #[test]
    fn rows_without_sense_change_nothing() {
        check(&["canary weight=10", "canary 1.0.0 weight=0", "remove"], &[], &expect![""]);
        check(
            &["deploy", "deploy 1.0.0 weight=4000000000"],
            &[],
            &expect![[r#"
            1 deploy - > unknown
            2 deploy unknown > 1.0.0
            runs 1.0.0 100% since 2
        "#]],
        );
    }
}
