//! What runs beside the stable artifact of a lane, from rows that all say a digest: which of them still tell anything of
//! it. A lane in which one canary follows another needs few rows, however many there were.

use super::head::HeadRow;
use super::rows::{Effect, LaneFact, Stamp};

/// Canaries up to which rows are dropped: a deployment beside very many may be one that is left out, and counted.
const CANARIES_MAX: usize = 64;

/// A canary as the rows of a lane leave it.
#[derive(PartialEq)]
struct Canary<'r> {
    digest: &'r str,
    group: &'r str,
    since: Stamp,
    weight: u32,
    /// The row that said this weight, which is what is shown of it.
    said: Stamp,
    reference: &'r str,
    config: Option<(Stamp, &'r str)>,
}

impl<'r> Canary<'r> {
    fn new(row: &'r HeadRow) -> Canary<'r> {
        let LaneFact { digest, group, weight, .. } = &row.fact;
        let (since, said) = (row.stamp(), row.stamp());
        let mut canary = Canary { digest, group, since, weight: *weight, said, reference: "", config: None };
        canary.learn(row);
        canary
    }

    fn learn(&mut self, row: &'r HeadRow) {
        if !row.fact.reference.is_empty() {
            self.reference = &row.fact.reference;
        }
        if !row.fact.config_digest.is_empty() {
            self.config = Some((row.stamp(), &row.fact.config_digest));
        }
    }

    fn again(&mut self, row: &'r HeadRow) {
        self.learn(row);
        if row.fact.weight != 0 && row.fact.weight != self.weight {
            (self.weight, self.said) = (row.fact.weight, row.stamp());
        }
    }
}

/// What canaries some rows leave beside what is stable; `None` where that does not follow from them alone.
fn canaries<'r>(stable: &str, rows: impl Iterator<Item = &'r HeadRow>) -> Option<Vec<Canary<'r>>> {
    let mut canaries: Vec<Canary<'r>> = Vec::new();
    for row in rows {
        let LaneFact { digest, group, .. } = &row.fact;
        if digest.is_empty() {
            return None;
        }
        match row.fact.effect() {
            Effect::Full | Effect::Remove => return None,
            Effect::End => {
                if let Some(at) = canaries.iter().position(|canary| canary.digest == digest) {
                    canaries.remove(at);
                }
            }
            Effect::Share if digest == stable => {}
            Effect::Share => match canaries.iter_mut().find(|canary| canary.digest == digest) {
                Some(known) => known.again(row),
                None => {
                    canaries.retain(|canary| canary.group != group);
                    if canaries.len() >= CANARIES_MAX {
                        return None;
                    }
                    canaries.push(Canary::new(row));
                }
            },
        }
    }
    Some(canaries)
}

/// Drops rows that tell nothing any more of what runs in a lane, the first of which is the first of the lane where it is
/// `whole`. The newest one stays.
pub(super) fn drop_told(rows: &mut Vec<HeadRow>, whole: bool) {
    let anchor = rows.iter().rposition(|row| matches!(row.fact.effect(), Effect::Full | Effect::Remove));
    let stable = match anchor.map(|at| &rows[at].fact) {
        Some(fact) if fact.effect() == Effect::Remove => "",
        Some(fact) if !fact.digest.is_empty() => fact.digest.as_str(),
        None if whole => "",
        Some(_) | None => return,
    };
    let from = anchor.map_or(0, |at| at + 1);
    let Some(beside) = rows.get(from..) else { return };
    let Some(left) = canaries(stable, beside.iter()) else { return };
    let is_needed = |at: usize| at + 1 == beside.len() || left.iter().any(|canary| canary.needs(beside, at));
    let needed: Vec<bool> = (0..beside.len()).map(is_needed).collect();
    if needed.iter().all(|needed| *needed) {
        return;
    }
    let kept = beside.iter().zip(&needed).filter(|(_, needed)| **needed).map(|(row, _)| row);
    if canaries(stable, kept).as_ref() != Some(&left) {
        return;
    }
    let mut at = 0;
    let mut after_dropped = false;
    rows.retain_mut(|row| {
        at += 1;
        let keep = at <= from || needed[at - 1 - from];
        // What it was held against is gone: it repeats nothing that is here.
        row.candidate |= keep && after_dropped;
        after_dropped = !keep;
        keep
    });
}

impl Canary<'_> {
    /// Whether a row tells anything of it: the first and the last that said its weight and one of another weight before
    /// that, and the last that said its name and its configuration.
    fn needs(&self, rows: &[HeadRow], at: usize) -> bool {
        let Some(row) = rows.get(at).filter(|row| self.is_of(row)) else { return false };
        let stamp = row.stamp();
        let of_it = || rows.iter().filter(|row| self.is_of(row));
        let last = |tells: fn(&LaneFact) -> bool| of_it().rfind(|row| tells(&row.fact)).map(HeadRow::stamp);
        let other = of_it().rfind(|row| row.stamp() < self.said && ![0, self.weight].contains(&row.fact.weight));
        stamp == self.since
            || stamp == self.said
            || Some(stamp) == other.map(HeadRow::stamp)
            || Some(stamp) == last(|fact| !fact.reference.is_empty())
            || Some(stamp) == last(|fact| !fact.config_digest.is_empty())
    }

    fn is_of(&self, row: &HeadRow) -> bool {
        row.fact.digest == self.digest && row.fact.effect() == Effect::Share && row.stamp() >= self.since
    }
}

#[cfg(test)]
mod tests {
    use pedigraph_proto::Nanos;

    use super::*;
    use crate::facts::deployments::rows::What;

    /// `canary a 10 g`: effect, digest, weight, group.
    fn row(time: i64, text: &str) -> HeadRow {
        let mut words = text.split(' ');
        let mut next = || words.next().unwrap_or_default().to_owned();
        let what = match next().as_str() {
            "remove" => What::Removed,
            "deploy" => What::Deployed,
            _ => What::Canary,
        };
        let (digest, weight, group) = (next(), next().parse().unwrap_or(0), next());
        let fact = LaneFact { what, digest, weight, group, ..LaneFact::default() };
        HeadRow::of(&Stamp { time: Nanos(time), index: 0, ordinal: 0 }, fact, true, None)
    }

    #[test]
    fn what_is_dropped_changes_nothing_of_what_runs() {
        for seed in 0..300_u64 {
            let mut state = seed;
            let mut next = |below: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % below
            };
            let stable = if seed % 2 == 0 { "s" } else { "a" };
            let (mut all, mut kept) = (vec![row(0, &format!("deploy {stable} 100 "))], Vec::new());
            kept.clone_from(&all);
            for time in 1..60 {
                let weight = [0, 10, 20, 30][usize::try_from(next(4)).expect("small")];
                let (digest, group) = (['a', 'b', 'c', 'd'][usize::try_from(next(4)).expect("small")], next(2));
                let new = row(time, &format!("canary {digest} {weight} g{group}"));
                all.push(new.clone());
                kept.push(new);
                drop_told(&mut kept, true);
                let told = |rows: &[HeadRow]| {
                    let of = |canary: &Canary<'_>| (canary.digest.to_owned(), canary.said, canary.since, canary.weight);
                    canaries(stable, rows[1..].iter()).expect("digests").iter().map(of).collect::<Vec<_>>()
                };
                assert_eq!(told(&kept), told(&all), "seed {seed} at {time}");
                assert!(kept.len() <= 1 + 2 * 3 + 1, "seed {seed}: {}", kept.len());
            }
        }
    }
}
