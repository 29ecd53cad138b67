//! Environments, what changed in them, and their list, against a plain recomputation from the list of events: many
//! histories with late arrivals, redeployments, rollbacks, removals, canaries, tags alone that move, the same
//! elsewhere, at moments of both clocks.

use std::collections::BTreeMap;

use pedigraph_projector::answers::{Environment, EnvironmentSummary};
use pedigraph_projector::{Scope, Views};
use pedigraph_proto::Event;
use pedigraph_proto::event::{
    CanaryChanged, ConfigChanged, FreezeChanged, ServiceDeployed, ServiceRemoved, Strategy, TagObserved,
};
use world::{Random, SECOND, Sent, World, scope, seed};

#[path = "environments/good.rs"]
mod good;
#[path = "environments/many.rs"]
mod many;
#[path = "environments/sides.rs"]
mod sides;
#[path = "environments/spells.rs"]
mod spells;
mod world;

/// Histories, unless the environment says how many; each has an environment of its own.
const HISTORIES: usize = 600;
/// Moments at which each is asked.
const MOMENTS: usize = 4;

/// 2026: histories begin here.
const BEGIN: i64 = 1_767_225_600 * SECOND;

/// What an event says, with the artifact by tag, digest, both or none.
#[derive(Clone, Debug)]
enum Said {
    Deployed {
        lane: Lane,
        named: Named,
        weight: u32,
        canary: bool,
        group: String,
        config: String,
    },
    Canary {
        lane: Lane,
        named: Named,
        weight: u32,
        group: String,
    },
    Removed {
        lane: Lane,
    },
    Frozen {
        service: String,
        frozen: bool,
    },
    Configured {
        service: String,
        config: String,
    },
    /// A digest that is empty says that the tag is gone.
    Tagged {
        tag: String,
        digest: String,
    },
}

/// (service, cluster).
type Lane = (String, String);
/// (reference with a tag, digest), either may be empty.
type Named = (String, String);
/// (time, place in the ledger): the order of facts.
type Order = (i64, u64);

#[derive(Clone, Debug)]
struct Told {
    order: Order,
    said: Said,
    /// It is of another environment.
    elsewhere: bool,
}

/// Of an artifact that no other history has.
fn digest(history: usize, n: usize) -> String {
    format!("sha256:{history:05}{}", ["a", "b", "c", "d"][n].repeat(59))
}

fn repository(history: usize) -> String {
    format!("r.io/h{history}/app")
}

impl Said {
    fn event(&self, history: usize, elsewhere: bool) -> Event {
        let environment = if elsewhere { other_environment(history) } else { environment(history) };
        match self.clone() {
            Said::Deployed { lane: (service, cluster), named, weight, canary, group, config } => ServiceDeployed {
                environment,
                service,
                cluster,
                artifact_ref: named.0,
                artifact_digest: named.1,
                weight,
                strategy: if canary { Strategy::Canary.into() } else { 0 },
                canary_group: group,
                config_digest: config,
                ..ServiceDeployed::default()
            }
            .into(),
            Said::Canary { lane: (service, cluster), named, weight, group } => CanaryChanged {
                environment,
                service,
                cluster,
                artifact_ref: named.0,
                artifact_digest: named.1,
                weight,
                canary_group: group,
                ..CanaryChanged::default()
            }
            .into(),
            Said::Removed { lane: (service, cluster) } => {
                ServiceRemoved { environment, service, cluster, ..ServiceRemoved::default() }.into()
            }
            Said::Frozen { service, frozen } => {
                FreezeChanged { environment, service, frozen, ..FreezeChanged::default() }.into()
            }
            Said::Configured { service, config } => {
                ConfigChanged { environment, service, config_digest: config, ..ConfigChanged::default() }.into()
            }
            Said::Tagged { tag, digest } => TagObserved { repository: repository(history), tag, digest }.into(),
        }
    }
}

fn environment(history: usize) -> String {
    format!("h{history:05}")
}

/// One before all of them, or after.
fn other_environment(history: usize) -> String {
    format!("{}{history:05}", ["e", "x"][history % 2])
}

/// A history: mostly one thing that is deployed again and again, and now and then something else.
fn history(number: usize, random: &mut Random) -> Vec<(i64, Said, bool)> {
    let digest = |n: usize| digest(number, n);
    let tags = ["1.0.0", "1.1.0", "latest"].map(|tag| format!("{}:{tag}", repository(number)));
    let (services, clusters) = (1 + random.below(3), 1 + random.below(2));
    let len = 2 + random.below(if number.is_multiple_of(10) { 160 } else { 40 });
    let by_tag = random.below(4);
    let mut named: Named = (tags[0].clone(), String::new());
    let mut told = Vec::new();
    for n in 0..len {
        if by_tag == 3 {
            // Two deployers by turns, of which one says the digest: mostly that at which the tag points.
            let digest = digest(usize::from(random.below(6) == 0));
            named = (tags[2].clone(), if random.below(2) == 0 { String::new() } else { digest });
        } else if random.below(4) == 0 {
            named = match by_tag {
                0 => (tags[random.below(3)].clone(), String::new()),
                1 => (["", &tags[0], &tags[2]][random.below(3)].to_owned(), digest(random.below(3))),
                _ => {
                    let reference = ["", &tags[0], &tags[2]][random.below(3)].to_owned();
                    let digest = if random.below(2) == 0 { String::new() } else { digest(random.below(3)) };
                    (reference, digest)
                }
            };
        }
        let lane = (format!("s{}", random.below(services)), ["", "north"][random.below(clusters)].to_owned());
        let group = ["", "", "blue"][random.below(3)].to_owned();
        let config = ["", "", "", "c1", "c2"][random.below(5)].to_owned();
        let weights = [0, 10, 10, 50, 100];
        let said = match random.below(24) {
            0 => Said::Removed { lane },
            1 => Said::Deployed { lane, named: named.clone(), weight: 20, canary: false, group, config },
            2 => Said::Deployed { lane, named: named.clone(), weight: 0, canary: true, group, config },
            3 => Said::Canary { lane, named: named.clone(), weight: weights[random.below(5)], group },
            4 => Said::Canary { lane, named: Named::default(), weight: weights[random.below(5)], group },
            5 => Said::Frozen { service: ["", "s0"][random.below(2)].to_owned(), frozen: random.below(2) == 0 },
            6 => Said::Configured { service: "s0".to_owned(), config: ["", "k1", "k2"][random.below(3)].to_owned() },
            7..=9 => {
                let tag = tags[random.below(3)].rsplit(':').next().unwrap_or_default().to_owned();
                let (most, all) = if by_tag == 3 { (2, 5) } else { (0, 3) };
                let digest = digest(random.below(all).saturating_sub(most));
                let digest = if random.below(8) == 0 { String::new() } else { digest };
                Said::Tagged { tag, digest }
            }
            _ => Said::Deployed { lane, named: named.clone(), weight: 0, canary: false, group: String::new(), config },
        };
        // Some at one moment, some late.
        let minute = match random.below(8) {
            0 => random.below(n + 1),
            1 => n.saturating_sub(random.below(4)),
            _ => n - n % 2,
        };
        let deploys = matches!(said, Said::Deployed { .. } | Said::Canary { .. });
        let elsewhere = deploys && random.below(6) == 0;
        told.push((BEGIN + i64::try_from(minute).expect("small") * 60 * SECOND, said, elsewhere));
    }
    told
}

#[derive(Clone, PartialEq, Debug)]
struct Artifact {
    reference: String,
    digest: Option<String>,
}

impl Artifact {
    fn same(&self, other: &Artifact) -> bool {
        match (&self.digest, &other.digest) {
            (Some(a), Some(b)) => a == b,
            _ => self.reference != "unknown" && self.reference == other.reference,
        }
    }
}

#[derive(Clone, Debug)]
struct Run {
    artifact: Artifact,
    weight: u32,
    since: Order,
    config: Option<(Order, String)>,
    group: String,
    changed: Order,
}

/// What runs in a lane, told fact by fact.
#[derive(Clone, Default, Debug)]
struct State {
    stable: Option<Run>,
    canaries: Vec<Run>,
}

/// A change: when, of which service, from what, to what, in which way.
type Changed = (Order, String, Option<String>, Option<String>, &'static str);

struct Model<'t> {
    told: Vec<&'t Told>,
    /// Those of them that say where a tag points.
    tagged: Vec<&'t Told>,
    /// What was deployed in another environment.
    elsewhere: Vec<&'t Told>,
}

impl<'t> Model<'t> {
    /// What is known at a moment of both clocks, in the order of facts.
    fn of(told: &'t [Told], at: Option<i64>, as_of: Option<u64>) -> Model<'t> {
        let seen =
            |told: &&Told| at.is_none_or(|at| told.order.0 <= at) && as_of.is_none_or(|index| told.order.1 <= index);
        let mut told: Vec<&Told> = told.iter().filter(seen).collect();
        told.sort_by_key(|told| told.order);
        let tagged = told.iter().copied().filter(|told| matches!(told.said, Said::Tagged { .. })).collect();
        let (elsewhere, told) = told.into_iter().partition(|told| told.elsewhere);
        Model { told, tagged, elsewhere }
    }

    /// Whether an artifact was deployed before a moment, by some of what was told.
    fn ran(&self, told: &[&Told], lane: Option<&Lane>, artifact: &Artifact, before: Order) -> bool {
        told.iter().filter(|told| told.order < before).any(|told| {
            let (of, (reference, digest)) = match &told.said {
                Said::Deployed { lane, named, .. } => (lane, named),
                Said::Canary { lane, named, weight, .. } if *weight > 0 => (lane, named),
                Said::Canary { .. }
                | Said::Removed { .. }
                | Said::Frozen { .. }
                | Said::Configured { .. }
                | Said::Tagged { .. } => return false,
            };
            let same_reference = !reference.is_empty() && *reference == artifact.reference;
            let same = match (&artifact.digest, digest.as_str()) {
                (Some(wanted), "") => {
                    // By whatever tag meant it then; by its own name also where nobody said what that meant.
                    let then = self.resolved(reference, told.order.0);
                    then.map_or(same_reference, |digest| digest == *wanted)
                }
                (Some(wanted), digest) => wanted == digest,
                (None, _) => same_reference && artifact.reference != "unknown",
            };
            same && lane.is_none_or(|lane| lane == of)
        })
    }

    /// Of a full deployment, unless it is a rollback.
    fn kind(&self, lane: &Lane, run: &Run, from: Option<&String>) -> &'static str {
        match (self.ran(&self.told, Some(lane), &run.artifact, run.since), from) {
            (true, Some(_)) => "rollforward",
            (true, None) => "deploy",
            (false, _) if self.ran(&self.elsewhere, None, &run.artifact, run.changed) => "promote",
            (false, _) => "deploy",
        }
    }

    /// What a tag pointed at.
    fn resolved(&self, reference: &str, time: i64) -> Option<String> {
        let wanted = reference.rsplit_once(':')?.1;
        let bound = self.tagged.iter().rev().filter(|told| told.order.0 <= time).find_map(|told| {
            let Said::Tagged { tag, digest } = &told.said else { return None };
            (tag == wanted).then(|| digest.clone())
        });
        bound.filter(|digest| !digest.is_empty())
    }

    fn artifact(&self, (reference, digest): &Named, order: Order, deployed: bool) -> Option<Artifact> {
        let said = (!digest.is_empty()).then(|| digest.clone());
        let digest = said.or_else(|| self.resolved(reference, order.0));
        let reference = match (reference.as_str(), &digest) {
            ("", Some(digest)) => digest.clone(),
            ("", None) if deployed => "unknown".to_owned(),
            ("", None) => return None,
            (reference, _) => reference.to_owned(),
        };
        Some(Artifact { reference, digest })
    }

    fn lanes(&self) -> (BTreeMap<Lane, State>, Vec<Changed>) {
        let (mut lanes, mut changes) = (BTreeMap::<Lane, State>::new(), Vec::new());
        for Told { order, said, .. } in self.told.iter().copied() {
            let (lane, change) = match said {
                Said::Removed { lane } => (lane, lanes.entry(lane.clone()).or_default().remove()),
                Said::Deployed { lane, named, weight, canary, group, config } => {
                    let share = (1..100).contains(weight) || (*canary && *weight == 0);
                    let artifact = self.artifact(named, *order, true);
                    let row =
                        Row { order: *order, artifact, named: !named.0.is_empty(), weight: *weight, group, config };
                    let state = lanes.entry(lane.clone()).or_default();
                    (lane, if share { state.share(&row) } else { state.full(&row) })
                }
                Said::Canary { lane, named, weight, group } => {
                    let artifact = self.artifact(named, *order, false);
                    let row =
                        Row { order: *order, artifact, named: !named.0.is_empty(), weight: *weight, group, config: "" };
                    let state = lanes.entry(lane.clone()).or_default();
                    let change = match weight {
                        0 => state.end(&row),
                        1..100 => state.share(&row),
                        _ => state.full(&row),
                    };
                    (lane, change)
                }
                Said::Frozen { .. } | Said::Configured { .. } | Said::Tagged { .. } => continue,
            };
            let stable = lanes.get(lane).and_then(|state| state.stable.as_ref());
            changes.extend(change.map(|(from, to, kind)| {
                let full = stable.filter(|_| kind == "full").map(|run| self.kind(lane, run, from.as_ref()));
                (*order, lane.0.clone(), from, to, full.unwrap_or(kind))
            }));
        }
        changes.extend(self.freezes());
        changes.sort_by_key(|change| std::cmp::Reverse(change.0));
        (lanes, changes)
    }

    fn freezes(&self) -> Vec<Changed> {
        let mut frozen_now: BTreeMap<&str, _> = BTreeMap::new();
        let mut changes = Vec::new();
        for told in &self.told {
            let Said::Frozen { service, frozen } = &told.said else { continue };
            let everywhere = frozen_now.get("").filter(|_| !service.is_empty()).copied();
            let own = frozen_now.insert(service.as_str(), (told.order, *frozen));
            // It was frozen with the environment, and is let off.
            let all_after_own =
                everywhere.filter(|(_, frozen)| *frozen).is_some_and(|(at, _)| own.is_none_or(|own| at > own.0));
            if own.is_some_and(|own| own.1) != *frozen || (all_after_own && !*frozen) {
                let kind = if *frozen { "freeze" } else { "unfreeze" };
                changes.push((told.order, service.clone(), None, None, kind));
            }
        }
        changes
    }

    fn is_frozen(&self, of: &str) -> bool {
        let newest = |wanted: &str| {
            self.told.iter().rev().find_map(|told| {
                let Said::Frozen { service, frozen } = &told.said else { return None };
                (service == wanted).then_some((told.order, *frozen))
            })
        };
        match (newest("").filter(|all| all.1), newest(of)) {
            (_, Some((_, true))) => true,
            (Some(all), Some(own)) => all.0 > own.0,
            (all, None) => all.is_some(),
            (None, _) => false,
        }
    }

    fn config(&self, of: &str, run: &Run) -> Option<String> {
        let set = self.told.iter().rev().find_map(|told| {
            let Said::Configured { service, config } = &told.said else { return None };
            (service == of).then(|| (told.order, config.clone()))
        });
        let newest = run.config.clone().into_iter().chain(set).max_by_key(|(order, _)| *order);
        newest.map(|(_, config)| config).filter(|config| !config.is_empty())
    }

    /// A line for each thing that runs.
    fn running(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let (lanes, _) = self.lanes();
        let services = lanes.keys().map(|(service, _)| service.clone()).collect::<std::collections::BTreeSet<_>>();
        lines.extend(services.iter().map(|service| format!("{service} frozen={}", self.is_frozen(service))));
        for ((service, cluster), state) in &lanes {
            let shared: u32 = state.canaries.iter().map(|run| run.weight).sum();
            let stable = state.stable.iter().map(|run| (100_u32.saturating_sub(shared), run));
            for (weight, run) in stable.chain(state.canaries.iter().map(|run| (run.weight, run))) {
                let (Artifact { reference, digest }, since, config) =
                    (&run.artifact, run.since.0, self.config(service, run));
                let proof = run.changed.1;
                lines.push(format!("{service} {cluster} {reference} {digest:?} {weight}% {since} {config:?} #{proof}"));
            }
        }
        lines.sort();
        lines
    }
}

struct Row<'r> {
    order: Order,
    artifact: Option<Artifact>,
    /// It says a reference.
    named: bool,
    weight: u32,
    group: &'r str,
    config: &'r str,
}

type Move = (Option<String>, Option<String>, &'static str);

impl State {
    fn of_group(&self, group: &str) -> Option<Artifact> {
        self.canaries.iter().find(|run| run.group == group).map(|run| run.artifact.clone())
    }

    fn stable_reference(&self) -> Option<String> {
        self.stable.as_ref().map(|run| run.artifact.reference.clone())
    }

    fn remove(&mut self) -> Option<Move> {
        let old = std::mem::take(self);
        let from = old.stable.into_iter().chain(old.canaries).next()?;
        Some((Some(from.artifact.reference), None, "remove"))
    }

    fn full(&mut self, row: &Row<'_>) -> Option<Move> {
        let artifact = row.artifact.clone().or_else(|| self.of_group(row.group))?;
        if let Some(stable) = &mut self.stable
            && self.canaries.is_empty()
            && stable.artifact.same(&artifact)
        {
            stable.learn(row);
            return None;
        }
        let old: Vec<Run> = self.stable.take().into_iter().chain(self.canaries.drain(..)).collect();
        let went_on = old.iter().find(|run| run.artifact.same(&artifact));
        let mut run = Run {
            artifact: artifact.clone(),
            weight: 100,
            since: went_on.map_or(row.order, |run| run.since),
            config: went_on.and_then(|run| run.config.clone()),
            group: row.group.to_owned(),
            changed: row.order,
        };
        run.learn(row);
        self.stable = Some(run);
        let from = old.into_iter().find(|run| !run.artifact.same(&artifact)).map(|run| run.artifact.reference);
        Some((from, Some(artifact.reference), "full"))
    }

    fn share(&mut self, row: &Row<'_>) -> Option<Move> {
        let artifact = row.artifact.clone().or_else(|| self.of_group(row.group))?;
        if self.stable.as_ref().is_some_and(|stable| stable.artifact.same(&artifact)) {
            return None;
        }
        let reference = artifact.reference.clone();
        if let Some(run) = self.canaries.iter_mut().find(|run| run.artifact.same(&artifact)) {
            run.learn(row);
            if row.weight == 0 || row.weight == run.weight {
                return None;
            }
            (run.weight, run.changed) = (row.weight, row.order);
        } else {
            self.canaries.retain(|run| run.group != row.group);
            let (group, since, changed) = (row.group.to_owned(), row.order, row.order);
            let mut run = Run { artifact, weight: row.weight, since, config: None, group, changed };
            run.learn(row);
            self.canaries.push(run);
        }
        Some((self.stable_reference(), Some(reference), "canary"))
    }

    fn end(&mut self, row: &Row<'_>) -> Option<Move> {
        let artifact = row.artifact.clone().or_else(|| self.of_group(row.group))?;
        let place = self.canaries.iter().position(|run| run.artifact.same(&artifact))?;
        let ended = self.canaries.remove(place);
        Some((Some(ended.artifact.reference), self.stable_reference(), "canary"))
    }
}

impl Run {
    fn learn(&mut self, row: &Row<'_>) {
        let Some(artifact) = &row.artifact else { return };
        if row.named {
            self.artifact.reference.clone_from(&artifact.reference);
        }
        if self.artifact.digest.is_none() {
            self.artifact.digest.clone_from(&artifact.digest);
        }
        if !row.config.is_empty() {
            self.config = Some((row.order, row.config.to_owned()));
        }
    }
}

fn shown(environment: &Environment) -> Vec<String> {
    let mut lines = Vec::new();
    for state in &environment.services {
        lines.push(format!("{} frozen={}", state.service, state.frozen));
        for run in &state.running {
            let cluster = run.cluster.as_deref().unwrap_or_default();
            let (since, config, proof) = (run.since.0, &run.config_digest, run.proof.index);
            assert!(run.proof.leaf_hash.len() == 64, "{run:?}");
            lines.push(format!(
                "{} {cluster} {} {:?} {}% {since} {config:?} #{proof}",
                state.service, run.artifact_ref, run.digest, run.weight
            ));
        }
    }
    lines.sort();
    lines
}

/// Page by page.
fn changes(scope: &Scope, name: &str, limit: usize) -> Vec<Changed> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = scope.changes(name, after.as_deref(), limit).expect("readable");
        let Some(page) = page else { return all };
        assert!(page.next.is_none() || page.rows.len() == limit, "only the last page is shorter");
        all.extend(page.rows.into_iter().map(|change| {
            let kinds = ["canary", "remove", "freeze", "unfreeze", "deploy", "promote", "rollforward", "rollback"];
            let kind = kinds.into_iter().find(|kind| *kind == change.kind).expect("a kind");
            ((change.at.0, change.proof.index), change.service, change.from, change.to, kind)
        }));
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

/// Page by page.
fn environment_by_pages(scope: &Scope, name: &str, limit: usize) -> Option<Environment> {
    let (mut all, mut after): (Option<Environment>, _) = (None, None::<Vec<u8>>);
    loop {
        let (page, next) = scope.environment_page(name, true, after.as_deref(), limit).expect("readable")?;
        assert!(page.services.len() <= limit);
        match &mut all {
            None => all = Some(page),
            Some(all) => all.services.extend(page.services),
        }
        after = next;
        if after.is_none() {
            return all;
        }
    }
}

/// The line of the list of environments, by the page after the name before.
fn summary(scope: &Scope, history: usize) -> Option<EnvironmentSummary> {
    let before = history.checked_sub(1).map_or_else(|| "g".to_owned(), environment);
    let page = scope.environments_page(Some(before.as_bytes()), 1).expect("readable");
    page.rows.into_iter().next().filter(|row| row.environment == environment(history))
}

/// Which of two versions is higher is not recomputed where their tags do not say.
fn may_be_rollback((_, _, from, to, kind): &Changed) -> bool {
    let version = |reference: &Option<String>| {
        let tag = reference.as_deref().unwrap_or_default().rsplit(':').next().unwrap_or_default().to_owned();
        Some(tag).filter(|tag| tag.starts_with("1."))
    };
    let higher = version(from).zip(version(to)).is_some_and(|(from, to)| from < to);
    from.is_some() && (*kind == "rollforward" || !higher) && ["deploy", "promote", "rollforward"].contains(kind)
}

fn check(views: &Views, number: usize, told: &[Told], random: &mut Random) {
    for moment in 0..MOMENTS {
        let one = &told[random.below(told.len())];
        let jitter = i64::try_from(random.below(3)).expect("small") - 1;
        let at = (moment % 2 == 1).then_some(one.order.0 + jitter);
        let as_of = (moment >= 2).then(|| told[random.below(told.len())].order.1);
        check_at(views, number, told, (at, as_of), 1 + random.below(9));
    }
}

fn check_at(
    views: &Views,
    number: usize,
    told: &[Told],
    (at, as_of): (Option<i64>, Option<u64>),
    changes_per_page: usize,
) {
    let scope = scope(views, at, as_of);
    let model = Model::of(told, at, as_of);
    let name = environment(number);
    let what = || {
        let told = if told.len() < 1_000 { told } else { &[] };
        format!("history {number} at={at:?} asOf={as_of:?}\n{told:#?}")
    };
    let environment = scope.environment(&name, true).expect("readable");
    assert_eq!(environment.as_ref().map(shown).unwrap_or_default(), model.running(), "{}", what());
    assert_eq!(environment_by_pages(&scope, &name, 1), environment, "{}", what());
    let (lanes, wanted) = model.lanes();
    let mut found = changes(&scope, &name, changes_per_page);
    for (found, wanted) in found.iter_mut().zip(&wanted) {
        if found.4 == "rollback" && may_be_rollback(wanted) {
            found.4 = wanted.4;
        }
    }
    assert_eq!(found, wanted, "{}", what());
    let runs = |state: &State| state.stable.is_some() || !state.canaries.is_empty();
    let running = lanes.iter().filter(|(_, state)| runs(state)).map(|((service, _), _)| service);
    let services = running.collect::<std::collections::BTreeSet<_>>().len() as u64;
    let row = summary(&scope, number).map(|row| (row.services, row.last_change.map(|at| at.0)));
    let wanted = environment.map(|_| (services, wanted.first().map(|change| change.0.0)));
    assert_eq!(row, wanted, "{}", what());
}

#[test]
fn environments_are_what_the_events_say_at_any_moment_of_both_clocks() {
    let mut random = Random(seed());
    let mut world = World::new();
    let (mut sent, mut histories) = (Vec::new(), Vec::new());
    let histories_max = std::env::var("PEDIGRAPH_HISTORIES").ok().and_then(|count| count.parse().ok());
    for number in 0..histories_max.unwrap_or(HISTORIES) {
        let mut told = Vec::new();
        for (time, said, elsewhere) in history(number, &mut random) {
            let index = sent.len() as u64;
            sent.push(Sent { time, id: index.to_string(), events: vec![said.event(number, elsewhere)] });
            told.push(Told { order: (time, index), said, elsewhere });
        }
        histories.push(told);
    }
    world.append(&sent);
    let views = world.views();
    for (number, told) in histories.iter().enumerate() {
        check(&views, number, told, &mut random);
        sides::check_history(&views, number, histories.len(), told, &mut random);
        spells::check_spells(&views, number, told, &mut random);
    }
}

/// So many that each lane's first is sought when the tag is told late; of many lanes none, and all rows are read.
#[test]
fn what_was_deployed_by_a_tag_very_often_is_right_when_the_tag_is_told_late() {
    hot_tag(2, 4_500);
    hot_tag(1_100, 2_600);
}

fn hot_tag(lanes: i64, times: i64) {
    let at = |minute: i64| BEGIN + minute * 60 * SECOND;
    let deployed = |minute: i64| {
        let named = (format!("{}:latest", repository(0)), String::new());
        let lane = (format!("s{}", minute % lanes), String::new());
        let (group, config) = (String::new(), String::new());
        (at(minute), Said::Deployed { lane, named, weight: 0, canary: false, group, config })
    };
    let tagged = |minute: i64, n: usize| (at(minute), Said::Tagged { tag: "latest".to_owned(), digest: digest(0, n) });
    let mut said: Vec<(i64, Said)> = (0..times).map(deployed).collect();
    said.extend([tagged(times - 100, 0), tagged(times - 50, 1), tagged(times / 2, 2), deployed(times)]);
    said.extend([tagged(10, 3), tagged(20, 3), deployed(times + 1), tagged(times - 70, 2)]);
    let told = |(index, (time, said)): (u64, (i64, Said))| Told { order: (time, index), said, elsewhere: false };
    let sent = |(index, (time, said)): (usize, &(i64, Said))| Sent {
        time: *time,
        id: index.to_string(),
        events: vec![said.event(0, false)],
    };
    let mut world = World::new();
    world.append(&said.iter().enumerate().map(sent).collect::<Vec<_>>());
    let told: Vec<Told> = (0..).zip(said).map(told).collect();
    let views = world.views();
    let mut random = Random(seed() ^ 1);
    for as_of in [times + 2, times + 3, times + 4, times + 5, times + 7].map(|index| u64::try_from(index).ok()) {
        check_at(&views, 0, &told, (None, as_of), 100 + random.below(900));
    }
    check(&views, 0, &told, &mut random);
    let moved = u64::try_from(times / 2).expect("positive");
    let shown = scope(&views, None, None).numbered_change(&environment(0), moved).expect("readable");
    assert_eq!(shown.map(|change| change.at.0), Some(at(times / 2)), "the tag moved right before it");
}
