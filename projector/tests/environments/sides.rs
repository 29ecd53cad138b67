//! Two environments side by side, and one at two moments, against both answers set side by side by hand, whatever the
//! pages are.

use std::collections::{BTreeMap, BTreeSet};

use pedigraph_projector::answers::Running;
use pedigraph_projector::{Compared, ComparedCounts, ComparedService, EnvironmentSide, Scope, Views};
use pedigraph_proto::Nanos;
use pedigraph_proto::event::ServiceDeployed;

use super::world::{Random, SECOND, Sent, World, scope, seed};
use super::{BEGIN, Told, digest, environment, other_environment};

/// Pages of one question.
const PAGES_MAX: usize = 500;

fn side(environment: String, at: Option<i64>) -> EnvironmentSide {
    EnvironmentSide { environment, at: at.map(Nanos) }
}

/// What runs by service, where anything does.
fn runs(scope: &Scope, side: &EnvironmentSide) -> Option<BTreeMap<String, Vec<Running>>> {
    let environment = scope.when(side.at).environment(&side.environment, false).expect("readable")?;
    Some(environment.services.into_iter().map(|service| (service.service, service.running)).collect())
}

fn same(a: &Running, b: &Running) -> bool {
    // What `latest` means is known only of its own moment.
    let since = |run: &Running| {
        let moves = !run.artifact_ref.rsplit(':').next().is_some_and(|tag| tag.bytes().any(|b| b.is_ascii_digit()));
        moves.then_some(run.since)
    };
    let name = |run: &Running| (run.artifact_ref != "unknown").then(|| (run.artifact_ref.clone(), since(run)));
    let one = match (&a.digest, &b.digest) {
        (Some(a), Some(b)) => a == b,
        _ => name(a).is_some() && name(a) == name(b),
    };
    one && a.weight == b.weight
}

fn by_hand(scope: &Scope, from: &EnvironmentSide, to: &EnvironmentSide) -> Option<Vec<ComparedService>> {
    let (from, to) = (runs(scope, from)?, runs(scope, to)?);
    let names: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let compared = names.into_iter().map(|service| {
        let of = |side: &BTreeMap<String, Vec<Running>>| side.get(service).cloned().unwrap_or_default();
        let (from, to) = (of(&from), of(&to));
        let all = |a: &[Running], b: &[Running]| a.iter().all(|a| b.iter().any(|b| same(a, b)));
        let state = match (from.is_empty(), to.is_empty()) {
            (false, true) => Compared::OnlyFrom,
            (true, false) => Compared::OnlyTo,
            _ if all(&from, &to) && all(&to, &from) => Compared::Same,
            _ => Compared::Different,
        };
        let (service, running_at_least) = (service.clone(), false);
        ComparedService { service, state, from, from_cut: 0, to, to_cut: 0, running_at_least, canaries_cut: 0 }
    });
    Some(compared.collect())
}

fn counts(services: &[ComparedService]) -> ComparedCounts {
    let of = |state: Compared| services.iter().filter(|service| service.state == state).count() as u64;
    ComparedCounts {
        same: of(Compared::Same),
        different: of(Compared::Different),
        only_from: of(Compared::OnlyFrom),
        only_to: of(Compared::OnlyTo),
    }
}

/// Both lists in pages, set together; whatever the size of a page, the counts of the last one are those of all.
fn check_sides(scope: &Scope, from: &EnvironmentSide, to: &EnvironmentSide, only_changes: bool, limit: usize) {
    let wanted = by_hand(scope, from, to);
    let what = || format!("{from:?} {to:?} onlyChanges={only_changes} by {limit}");
    let (mut found, mut after) = (Vec::new(), None::<Vec<u8>>);
    for _ in 0..PAGES_MAX {
        let page = scope.environment_diff((from, to), only_changes, after.as_deref(), limit).expect("readable");
        let Some((page, next)) = page else {
            assert!(wanted.is_none(), "{}", what());
            return;
        };
        assert!(page.services.len() <= limit && page.at_least == next.is_some(), "{}", what());
        assert_eq!((&page.from, &page.to), (from, to));
        found.extend(page.services);
        after = next;
        if after.is_none() {
            let mut wanted = wanted.unwrap_or_default();
            assert_eq!(page.counts, counts(&wanted), "{}", what());
            wanted.retain(|service| !only_changes || service.state != Compared::Same);
            // Pages go by keys, and are by name in themselves.
            found.sort_by(|a, b| a.service.cmp(&b.service));
            assert_eq!(found, wanted, "{}", what());
            return;
        }
    }
    panic!("{}: no end", what());
}

/// A history beside itself at another moment, beside the same elsewhere, and beside another one.
pub(super) fn check_history(views: &Views, number: usize, histories: usize, told: &[Told], random: &mut Random) {
    let mut moment = || {
        let jitter = i64::try_from(random.below(3)).expect("small") - 1;
        let at = told[random.below(told.len())].order.0 + jitter;
        (random.below(3) > 0).then_some(at)
    };
    let (first, second) = (moment(), moment());
    let as_of = (random.below(2) == 0).then(|| told[random.below(told.len())].order.1);
    let scope = scope(views, None, as_of);
    let (one, limit) = (side(environment(number), first), 1 + random.below(4));
    let others = [environment(number), other_environment(number), environment(random.below(histories))];
    for other in others {
        let other = side(other, second);
        check_sides(&scope, &one, &other, random.below(2) == 0, limit);
        check_sides(&scope, &other, &one, false, 1_000);
    }
}

/// Names that are alike for longer than a page's key repeats, that end with digests, and that are empty.
fn names() -> Vec<String> {
    let long = |n: usize| format!("{}{n}", "é".repeat(900));
    let mut names: Vec<String> = (0..7).map(long).collect();
    names.extend((0..20).map(|n| format!("s{n}")));
    names.extend([
        digest(1, 0),
        format!("cart@{}", digest(1, 1)),
        digest(1, 2),
        "a/b".into(),
        "a".into(),
        "\u{1}".into(),
    ]);
    names
}

#[test]
fn any_two_lists_of_services_are_merged_whatever_their_names_and_pages() {
    let mut random = Random(seed() ^ 7);
    let (mut world, mut sent) = (World::new(), Vec::new());
    for environment in ["left", "right"] {
        for service in names() {
            if random.below(3) == 0 {
                continue;
            }
            let id = sent.len();
            let deployed = ServiceDeployed {
                environment: environment.into(),
                service,
                artifact_ref: format!("r.io/app:{}", random.below(2)),
                artifact_digest: ["", &digest(0, 0), &digest(0, 1)][random.below(3)].to_owned(),
                ..ServiceDeployed::default()
            };
            let time = BEGIN + i64::try_from(id).expect("small") * SECOND;
            sent.push(Sent { time, id: id.to_string(), events: vec![deployed.into()] });
        }
    }
    world.append(&sent);
    let scope = scope(&world.views(), None, None);
    for at in [None, Some(BEGIN), Some(BEGIN + 20 * SECOND), Some(BEGIN + 45 * SECOND)] {
        let sides = (side("left".into(), at), side("right".into(), None));
        for limit in [1, 2, 3, 7, 50] {
            check_sides(&scope, &sides.0, &sides.1, limit % 2 == 0, limit);
            check_sides(&scope, &sides.1, &sides.0, limit % 2 == 1, limit);
        }
    }
    let nowhere = side("nowhere".into(), None);
    check_sides(&scope, &nowhere, &side("left".into(), None), false, 5);
    let foreign =
        scope.environment_diff((&side("left".into(), None), &side("right".into(), None)), false, Some(b"x"), 5);
    assert!(foreign.is_err(), "a key of another list");
}

#[test]
fn a_reference_names_an_environment_and_its_moment() {
    let deployed = |n: u64, environment: &str| Sent {
        time: BEGIN + i64::try_from(n).expect("small") * SECOND,
        id: n.to_string(),
        events: vec![
            ServiceDeployed {
                environment: environment.into(),
                service: "cart".into(),
                artifact_ref: format!("r.io/cart:{n}"),
                ..ServiceDeployed::default()
            }
            .into(),
        ],
    };
    let mut world = World::new();
    world.append(&[deployed(0, "prod"), deployed(1, "prod"), deployed(2, "eu/prod"), deployed(3, "prod")]);
    let scope = scope(&world.views(), None, None).asked_at(Nanos(BEGIN + 3_600 * SECOND));
    let check = |reference: &str, wanted: Option<(&str, Option<i64>)>| {
        let found = scope.whole_environment(reference).expect("readable");
        assert_eq!(found, wanted.map(|(name, at)| side(name.into(), at)), "{reference}");
    };
    check("prod", Some(("prod", None)));
    check(" prod/ ", Some(("prod", None)));
    check("eu/prod", Some(("eu/prod", None)));
    check("prod@{1h}", Some(("prod", Some(BEGIN))));
    check("prod#1", Some(("prod", Some(BEGIN + SECOND))));
    check("prod~0", Some(("prod", None)));
    check("prod~1", Some(("prod", Some(BEGIN + 3 * SECOND - 1))));
    check("prod~2", Some(("prod", Some(BEGIN + SECOND - 1))));
    for none in
        ["", "/", "prod/cart", "test", "prod~4", "prod~9999999999999999999999", "prod#2", "prod#x", "r.io/cart:1"]
    {
        check(none, None);
    }
}

#[test]
fn a_tag_that_moves_is_the_same_only_where_it_was_read_at_one_moment() {
    let deployed = |minute: i64, environment: &str, tag: &str, artifact_digest: &str| Sent {
        time: BEGIN + minute * 60 * SECOND,
        id: format!("{minute} {environment}"),
        events: vec![
            ServiceDeployed {
                environment: environment.into(),
                service: "cart".into(),
                artifact_ref: format!("r.io/cart:{tag}"),
                artifact_digest: artifact_digest.to_owned(),
                ..ServiceDeployed::default()
            }
            .into(),
        ],
    };
    let state = |tag: &str, later: (i64, &str)| {
        let mut world = World::new();
        world.append(&[deployed(1, "old", tag, ""), deployed(later.0, "new", tag, later.1)]);
        let scope = scope(&world.views(), None, None);
        let sides = (side("old".into(), None), side("new".into(), None));
        let compared = |sides| scope.environment_diff(sides, false, None, 9).expect("readable").expect("named").0;
        let states = [compared((&sides.0, &sides.1)), compared((&sides.1, &sides.0))].map(|of| of.services[0].state);
        assert_eq!(states[0], states[1], "{tag} {later:?}");
        states[0]
    };
    assert_eq!(state("latest", (90_000, "")), Compared::Different);
    assert_eq!(state("latest", (90_000, &digest(0, 0))), Compared::Different);
    assert_eq!(state("latest", (1, "")), Compared::Same, "at one moment a tag is one thing");
    assert_eq!(state("1.4.2", (90_000, "")), Compared::Same, "a version is one thing");
}
