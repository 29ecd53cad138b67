//! What ran when in a service, against the environment as it was at those moments.

use pedigraph_projector::answers::Running;
use pedigraph_projector::{LanePast, Scope, Spell, Views};
use pedigraph_proto::Nanos;
use pedigraph_proto::event::{ServiceDeployed, ServiceRemoved};

use super::good::check_good;
use super::world::{Random, SECOND, Sent, World, scope};
use super::{BEGIN, Told, environment};

/// What runs in a lane of a service at a moment.
fn running(scope: &Scope, name: &str, service: &str, lane: &LanePast, at: Nanos) -> Vec<Running> {
    let environment = scope.when(Some(at)).environment(name, false).expect("readable");
    let services = environment.map(|environment| environment.services).unwrap_or_default();
    let of_it = services.into_iter().filter(|of| of.service == service).flat_map(|of| of.running);
    of_it.filter(|run| run.cluster == lane.cluster && run.namespace == lane.namespace).collect()
}

/// Names are learned later, and so are digests.
fn may_be(run: &Running, spell: &Spell) -> bool {
    match (&run.digest, &spell.digest) {
        (Some(run), Some(spell)) => run == spell,
        _ => true,
    }
}

/// Services of a history; with what is seen of it at a moment of both clocks.
pub(super) fn check_spells(views: &Views, number: usize, told: &[Told], random: &mut Random) {
    let name = environment(number);
    let at = (random.below(2) == 0).then(|| told[random.below(told.len())].order.0);
    let as_of = (random.below(2) == 0).then(|| told[random.below(told.len())].order.1);
    let scope = scope(views, at, as_of);
    for service in ["s0", "s1", "s2"] {
        let Some(here) = scope.service_here(&name, service, 100).expect("readable") else { continue };
        let what = || format!("history {number} {service} at={at:?} asOf={as_of:?}\n{told:#?}");
        for lane in &here.lanes {
            check_good(&scope, &name, service, lane, &what);
            check_lane(&scope, &name, service, lane, told, random, &what);
            let few = scope.service_here(&name, service, 2).expect("readable").expect("known");
            let few = few.lanes.iter().find(|of| (&of.cluster, &of.namespace) == (&lane.cluster, &lane.namespace));
            let few = few.expect("the same lanes");
            assert_eq!(few.spells, lane.spells[..lane.spells.len().min(2)], "{}", what());
            assert_eq!(few.cut, lane.spells.len() > 2, "{}", what());
        }
    }
}

fn check_lane(
    scope: &Scope,
    name: &str,
    service: &str,
    lane: &LanePast,
    told: &[Told],
    random: &mut Random,
    what: &dyn Fn() -> String,
) {
    let runs = |moment: Nanos| running(scope, name, service, lane, moment);
    for spell in &lane.spells {
        let lasts = spell.until.is_none_or(|until| until > spell.since);
        let last = spell.until.map_or(Nanos(i64::MAX / 2), |until| Nanos(until.0 - 1));
        for moment in [spell.since, last].into_iter().filter(|_| lasts) {
            let bound = scope.at().map_or(moment, |at| at.min(moment));
            let found = runs(bound);
            assert!(found.iter().any(|run| may_be(run, spell)), "{spell:?} at {moment}: {found:?} {}", what());
        }
    }
    for pair in lane.spells.windows(2) {
        // One that ran beside the other before it ran alone has begun before that one ended.
        let until = |spell: &Spell| spell.until.map_or(i64::MAX, |until| until.0);
        assert!(pair[1].until.is_some() && until(&pair[1]) <= until(&pair[0]), "{}", what());
    }
    // Whatever ran alone at any moment is among them.
    let moment = Nanos(told[random.below(told.len())].order.0);
    let moment = scope.at().map_or(moment, |at| at.min(moment));
    if let [only] = runs(moment).as_slice()
        && only.weight == 100
    {
        let covers = |spell: &&Spell| spell.since <= moment && spell.until.is_none_or(|until| moment < until);
        let covering = lane.spells.iter().find(covers);
        assert!(covering.is_some_and(|spell| may_be(only, spell)), "{only:?} at {moment}: {lane:?} {}", what());
    }
}

fn sent(minute: i64, event: impl Into<pedigraph_proto::Event>) -> Sent {
    let event = event.into();
    Sent { time: BEGIN + minute * 60 * SECOND, id: format!("{minute} {}", event.kebab()), events: vec![event] }
}

/// The cart in prod, with a weight of 0 alone.
fn deployed(minute: i64, tag: &str, weight: u32) -> Sent {
    let event = ServiceDeployed {
        environment: "prod".into(),
        service: "cart".into(),
        artifact_ref: format!("r.io/cart:{tag}"),
        weight,
        ..ServiceDeployed::default()
    };
    sent(minute, event)
}

fn removed(minute: i64) -> Sent {
    let event = ServiceRemoved { environment: "prod".into(), service: "cart".into(), ..ServiceRemoved::default() };
    sent(minute, event)
}

#[test]
fn what_ran_before_is_the_newest_other_one() {
    let told = |sent: &[Sent]| {
        let mut world = World::new();
        world.append(sent);
        let here = scope(&world.views(), None, None).service_here("prod", "cart", 10).expect("readable");
        let lane = here.expect("known").lanes.swap_remove(0);
        let minutes = |time: Nanos| (time.0 - BEGIN) / SECOND / 60;
        lane.before.map(|spell| {
            let tag = spell.artifact_ref.rsplit(':').next().unwrap_or_default().to_owned();
            (tag, minutes(spell.since), spell.until.map(minutes))
        })
    };
    let was = |tag: &str, since: i64, until: i64| Some((tag.to_owned(), since, Some(until)));
    assert_eq!(told(&[deployed(1, "1", 0)]), None);
    assert_eq!(
        told(&[deployed(1, "1", 0), deployed(2, "1", 0), deployed(3, "2", 0), deployed(4, "2", 0)]),
        was("1", 1, 3)
    );
    assert_eq!(told(&[deployed(1, "1", 0), deployed(2, "2", 0), removed(3)]), was("2", 2, 3));
    let again = [deployed(1, "1", 0), deployed(2, "2", 0), removed(3), deployed(5, "2", 0)];
    assert_eq!(told(&again), was("1", 1, 2), "it ran before itself, and that is nothing to go back to");
}

#[test]
fn a_removal_of_what_never_ran_in_a_cluster_ends_nothing_and_is_told() {
    let deployed = |minute: i64, cluster: &str| {
        let event = ServiceDeployed {
            environment: "prod".into(),
            service: "cart".into(),
            artifact_ref: "r.io/cart:1".into(),
            cluster: cluster.into(),
            ..ServiceDeployed::default()
        };
        Sent { time: BEGIN + minute * 60 * SECOND, id: format!("{minute} {cluster}"), events: vec![event.into()] }
    };
    let removed = |minute: i64, cluster: &str| {
        let event = ServiceRemoved {
            environment: "prod".into(),
            service: "cart".into(),
            cluster: cluster.into(),
            ..ServiceRemoved::default()
        };
        Sent { time: BEGIN + minute * 60 * SECOND, id: format!("{minute} -{cluster}"), events: vec![event.into()] }
    };
    let told = |sent: &[Sent]| {
        let mut world = World::new();
        world.append(sent);
        let here =
            scope(&world.views(), None, None).service_here("prod", "cart", 10).expect("readable").expect("known");
        let nothing =
            here.removed_nothing.iter().map(|removal| (removal.cluster.clone(), removal.at, removal.proof.index));
        (here.service.state.running.len(), nothing.collect::<Vec<_>>())
    };
    let at = |minute: i64| Nanos(BEGIN + minute * 60 * SECOND);
    assert_eq!(told(&[deployed(1, "eu"), removed(2, ""), removed(3, "")]), (1, vec![(None, at(3), 2)]));
    assert_eq!(told(&[removed(3, ""), deployed(1, "eu"), removed(2, "")]), (1, vec![(None, at(3), 0)]));
    assert_eq!(told(&[deployed(1, "eu"), deployed(1, "us"), removed(2, "eu")]), (1, vec![]));
    // Something ran there once.
    assert_eq!(told(&[deployed(1, "eu"), deployed(1, ""), removed(2, ""), removed(3, "")]), (1, vec![]));
}

#[test]
fn a_canary_that_comes_to_run_alone_runs_since_it_was_one() {
    let since = |minute: i64| Nanos(BEGIN + minute * 60 * SECOND);
    let mut world = World::new();
    world.append(&[deployed(1, "1", 0), deployed(2, "2", 10), deployed(3, "2", 0)]);
    let views = world.views();
    let here = scope(&views, None, None).service_here("prod", "cart", 10).expect("readable").expect("known");
    let spells = here.lanes[0].spells.iter().map(|spell| (spell.artifact_ref.as_str(), spell.since, spell.until));
    let wanted = [("r.io/cart:2", since(2), None), ("r.io/cart:1", since(1), Some(since(3)))];
    assert_eq!(spells.collect::<Vec<_>>(), wanted);
    assert_eq!(here.service.state.running[0].since, since(2), "one moment in both lists");
    world.append(&[deployed(4, "3", 0)]);
    let before = scope(&world.views(), None, None).last_known("prod", "cart", 1).expect("readable");
    assert_eq!((before[0].artifact_ref.as_str(), before[0].since), ("r.io/cart:2", since(2)));
}

#[test]
fn a_canary_that_is_taken_back_begins_no_spell() {
    let mut world = World::new();
    world.append(&[deployed(1, "0", 0), deployed(2, "1", 0), deployed(3, "2", 10), deployed(4, "1", 0)]);
    let scope = scope(&world.views(), None, None);
    let here = scope.service_here("prod", "cart", 10).expect("readable").expect("known");
    let spells: Vec<_> = here.lanes[0].spells.iter().map(|spell| (spell.artifact_ref.as_str(), spell.since)).collect();
    let since = |minute: i64| Nanos(BEGIN + minute * 60 * SECOND);
    assert_eq!(spells, [("r.io/cart:1", since(2)), ("r.io/cart:0", since(1))]);
    assert_eq!(here.service.state.running[0].since, since(2), "one moment in both lists");
    let before = scope.last_known("prod", "cart", 1).expect("readable");
    assert_eq!(before[0].artifact_ref, "r.io/cart:0", "and not what runs now");
}

#[test]
fn the_removal_of_canaries_alone_ends_no_spell() {
    let mut world = World::new();
    world.append(&[deployed(1, "1", 0), deployed(2, "2", 0), removed(3)]);
    for minute in (4..10).step_by(2) {
        world.append(&[deployed(minute, "3", 10), removed(minute + 1)]);
    }
    let scope = scope(&world.views(), None, None);
    let here = scope.service_here("prod", "cart", 1).expect("readable").expect("known");
    let spells = here.lanes[0].spells.iter().map(|spell| spell.artifact_ref.as_str());
    assert_eq!((spells.collect::<Vec<_>>(), here.lanes[0].cut), (vec!["r.io/cart:2"], true));
    let before = scope.last_known("prod", "cart", 2).expect("readable");
    assert_eq!(before.iter().map(|known| known.artifact_ref.as_str()).collect::<Vec<_>>(), ["r.io/cart:1"]);
}
