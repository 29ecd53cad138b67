//! The last known good, against small histories that are told in a line each, and against what ran when.

use pedigraph_projector::{Because, LaneGood, LanePast, PassedOver, Ran, Scope, Spell, Standing, WhyNot};
use pedigraph_proto::Event;
use pedigraph_proto::event::{CanaryChanged, ServiceDeployed, ServiceRemoved};

use super::BEGIN;
use super::world::{SECOND, Sent, World, scope};

fn at(minute: i64) -> i64 {
    BEGIN + minute * 60 * SECOND
}

/// `1 1.0`, `2 1.1 canary`, `3 1.1 back`, `4 removed`, `5 red rollback`, `6 1.2 north`: minute, tag, how or where.
fn event(line: &str) -> Sent {
    let words: Vec<&str> = line.split(' ').collect();
    let (tag, more) = (words[1], words.get(2).copied().unwrap_or_default());
    let (environment, service) = ("prod".to_owned(), "cart".to_owned());
    let artifact_ref = if tag == "unnamed" { String::new() } else { format!("r.io/cart:{tag}") };
    let said: Event = match (tag, more) {
        ("removed", _) => ServiceRemoved { environment, service, ..ServiceRemoved::default() }.into(),
        (_, "back") => CanaryChanged { environment, service, artifact_ref, ..CanaryChanged::default() }.into(),
        _ => {
            let weight = if more == "canary" { 10 } else { 0 };
            let cluster = if more == "north" { "north".to_owned() } else { String::new() };
            let rollback = more == "rollback";
            let artifact_digest = if more == "known" { format!("sha256:{}", "0".repeat(64)) } else { String::new() };
            let event = ServiceDeployed { environment, service, artifact_ref, ..ServiceDeployed::default() };
            ServiceDeployed { artifact_digest, weight, cluster, rollback, ..event }.into()
        }
    };
    Sent { time: at(words[0].parse().expect("a minute")), id: line.to_owned(), events: vec![said] }
}

fn world(lines: &[&str]) -> World {
    let mut world = World::new();
    world.append(&lines.iter().map(|line| event(line)).collect::<Vec<_>>());
    world
}

fn tag(reference: &str) -> &str {
    reference.rsplit(':').next().unwrap_or_default()
}

/// `ranBefore 1.0 of 2`: why, what, and the entry that deployed it; then what was passed over, each with its entry.
fn told(lane: &LaneGood) -> String {
    let good = lane.last_known_good.as_ref();
    let digest = |digest: &String| format!("@{}", &digest[..8]);
    let named =
        |good: &Ran| format!("{}{}", tag(&good.artifact_ref), good.digest.as_ref().map(digest).unwrap_or_default());
    let good = good.map(|good| format!(" {} by {}", named(good), good.proof.index)).unwrap_or_default();
    let passed = lane.passed_over.iter().map(|passed| {
        assert_eq!(passed.proof.leaf_hash.len(), 64);
        format!("; {} {:?} by {}", tag(&passed.artifact_ref), passed.why, passed.proof.index)
    });
    format!("{:?}{good}{}", lane.reason, passed.collect::<String>())
}

fn good(scope: &Scope) -> Vec<LaneGood> {
    scope.last_known_good("prod", "cart").expect("readable").expect("known").lanes
}

fn check(lines: &[&str], want: &str) {
    let views = world(lines).views();
    let lanes = good(&scope(&views, None, None));
    assert_eq!(lanes.iter().map(told).collect::<Vec<_>>().join(" | "), want, "{lines:?}");
}

#[test]
fn what_ran_before_is_good_unless_a_rollback_left_it() {
    check(&["1 1.0"], "NothingRanBefore");
    check(&["1 1.0", "2 1.0"], "NothingRanBefore");
    check(&["1 1.0", "2 1.1"], "RanBefore 1.0 by 0");
    check(&["1 1.0", "2 1.1", "3 1.2"], "RanBefore 1.1 by 1");
    check(&["1 1.0", "2 1.1", "3 1.0"], "CameByRollback 1.0 by 2; 1.1 LeftByRollback by 2");
    check(&["1 1.0", "2 1.1", "3 1.0", "4 1.1"], "RanBefore 1.0 by 2");
    check(&["1 1.0", "2 1.1", "3 1.0", "4 1.2"], "RanBefore 1.0 by 2");
    check(&["1 1.0", "2 1.1", "3 1.2", "4 1.1", "5 1.0"], "CameByRollback 1.0 by 4; 1.1 LeftByRollback by 4");
    check(&["1 1.0", "2 1.1", "3 1.2", "4 1.1", "5 1.0", "6 1.3"], "RanBefore 1.0 by 4");
    check(&["1 blue", "2 red rollback"], "CameByRollback red by 1; blue LeftByRollback by 1");
    let known_later = ["1 1.0", "2 1.0 known", "3 1.1"];
    check(&known_later, "RanBefore 1.0@sha256:0 by 0");
    check(&["1 1.0", "2 unnamed", "3 1.1"], "RanBefore 1.0 by 0; unknown NotNamed by 1");
}

#[test]
fn what_was_left_by_a_rollback_is_bad_until_it_is_deployed_again_and_stays() {
    let rolled_back = ["1 1.0", "2 1.1", "3 1.0", "4 removed", "5 1.3"];
    check(&rolled_back, "RanBefore 1.0 by 2");
    let only_bad = ["1 1.1", "2 1.0 rollback", "3 removed", "4 1.0"];
    check(&only_bad, "NoneIsGood; 1.0 RunsNow by 1; 1.1 LeftByRollback by 1");
    let again = ["1 1.1", "2 1.0 rollback", "3 1.1", "4 1.0 canary", "5 1.2"];
    check(&again, "RanBefore 1.1 by 2");
    let removed = ["1 1.0", "2 1.1", "3 1.0", "4 1.1", "5 removed"];
    check(&removed, "RanBefore 1.1 by 3");
}

#[test]
fn a_canary_that_was_taken_back_was_never_good() {
    check(&["1 1.0", "2 1.1 canary", "3 1.1 back"], "NoneIsGood; 1.1 CanaryTakenBack by 2");
    check(&["1 1.0", "2 1.1", "3 1.2 canary", "4 1.2 back"], "RanBefore 1.0 by 0; 1.2 CanaryTakenBack by 3");
    check(&["1 1.0", "2 1.1", "3 1.2 canary", "4 1.1"], "RanBefore 1.0 by 0; 1.2 CanaryTakenBack by 3");
    let tried_again = ["1 1.0", "2 1.1", "3 1.0 canary", "4 1.0 back"];
    check(&tried_again, "NoneIsGood; 1.0 CanaryTakenBack by 3");
    let grown = ["1 1.0", "2 1.1 canary", "3 1.1", "4 1.2"];
    check(&grown, "RanBefore 1.1 by 2");
    check(&["1 1.0", "2 1.1", "3 1.0 canary"], "NothingRanBefore; 1.0 RunsNow by 0");
    check(&["1 1.1 canary"], "NothingRanBefore");
}

#[test]
fn each_cluster_has_its_own_and_late_facts_count_where_they_happened() {
    check(&["1 1.0", "2 1.1 north", "3 1.1", "4 1.2 north"], "RanBefore 1.0 by 0 | RanBefore 1.1 by 1");
    // 1.2 was rolled back between, which is told last.
    check(&["1 1.0", "5 1.3", "2 1.2", "3 1.1 rollback"], "RanBefore 1.1 by 3");
    check(&["1 1.0", "3 1.1", "2 1.2"], "CameByRollback 1.1 by 1; 1.2 LeftByRollback by 1");
    let views = world(&["1 1.0", "3 1.2", "2 1.1", "4 removed", "5 1.2"]).views();
    for (moment, as_of, want) in [
        (None, None, "RanBefore 1.1 by 2; 1.2 RunsNow by 1"),
        (None, Some(1), "RanBefore 1.0 by 0"),
        (None, Some(2), "RanBefore 1.1 by 2"),
        (None, Some(3), "RanBefore 1.2 by 1"),
        (Some(at(2)), None, "RanBefore 1.0 by 0"),
        (Some(at(1)), None, "NothingRanBefore"),
        (Some(at(3)), Some(1), "RanBefore 1.0 by 0"),
    ] {
        let lanes = good(&scope(&views, moment, as_of));
        assert_eq!(lanes.iter().map(told).collect::<Vec<_>>(), [want], "at {moment:?} as of {as_of:?}");
    }
    let nothing = scope(&views, Some(at(0)), None).last_known_good("prod", "cart").expect("readable");
    assert_eq!(nothing, None, "nothing was deployed by then");
    let anywhere = scope(&views, None, None).last_known_good_anywhere("cart", None, 10).expect("readable");
    let anywhere = anywhere.expect("known");
    assert_eq!((anywhere.rows[0].environment.as_str(), anywhere.rows.len(), anywhere.next), ("prod", 1, None));
}

#[test]
fn a_limit_cuts_what_is_listed_and_never_decides() {
    let mut lines = vec!["1 1.0".to_owned(), "2 1.1".to_owned()];
    lines.extend((0..30).flat_map(|n| [format!("{} 2.{n} canary", 3 + 2 * n), format!("{} 2.{n} back", 4 + 2 * n)]));
    let views = world(&lines.iter().map(String::as_str).collect::<Vec<_>>()).views();
    let lane = good(&scope(&views, None, None)).remove(0);
    assert_eq!((lane.passed_over.len(), lane.passed_over_cut), (20, 10));
    assert_eq!(lane.last_known_good.map(|good| good.artifact_ref), Some("r.io/cart:1.0".to_owned()));
    // A canary that grows and shrinks for ever hides what ran before: that is not "none".
    let mut lines = vec!["1 1.0".to_owned(), "2 1.1".to_owned()];
    let back_and_forth = |n: usize| format!("{} 2.{} canary", n + 3, n % 2);
    lines.extend((0..pedigraph_projector::SOUGHT_MAX + 10).map(back_and_forth));
    let views = world(&lines.iter().map(String::as_str).collect::<Vec<_>>()).views();
    let lane = good(&scope(&views, None, None)).remove(0);
    assert_eq!((lane.status, lane.reason), (Standing::Unknown, Because::SearchEnded));
    assert_eq!((lane.last_known_good, lane.running), (None, None));
}

/// One artifact, as far as its names tell.
fn is_one(reference: &str, digest: Option<&str>, spell: &Spell) -> bool {
    match (digest, spell.digest.as_deref()) {
        (Some(digest), Some(other)) => digest == other,
        _ => reference == spell.artifact_ref,
    }
}

/// Of a lane of any history: what is good ran, is newer than anything else that may be good, and no rollback left it.
pub(super) fn check_good(scope: &Scope, name: &str, service: &str, lane: &LanePast, what: &dyn Fn() -> String) {
    let known = scope.last_known_good(name, service).expect("readable").expect("known");
    let of_lane = |of: &&LaneGood| (&of.cluster, &of.namespace) == (&lane.cluster, &lane.namespace);
    let good = known.lanes.iter().find(of_lane).expect("the same lanes");
    let runs = lane.spells.first().filter(|spell| spell.until.is_none());
    assert_ne!(good.status, Standing::Unknown, "{}", what());
    assert_eq!(good.running.is_some(), runs.is_some(), "{good:?} {}", what());
    if good.reason == Because::CameByRollback {
        assert_eq!(good.last_known_good, good.running, "{}", what());
        return;
    }
    let entry = good.last_known_good.as_ref().map(|good| good.proof.index);
    let own = lane.spells.iter().position(|spell| Some(spell.proof.index) == entry);
    assert_eq!(own.is_some(), entry.is_some(), "it ran: {good:?} {lane:?} {}", what());
    let newer = &lane.spells[usize::from(runs.is_some())..own.unwrap_or(lane.spells.len())];
    for spell in newer {
        let is_it = |passed: &PassedOver| is_one(&passed.artifact_ref, passed.digest.as_deref(), spell);
        let passed = good.passed_over.iter().any(|passed| is_it(passed) || passed.why == WhyNot::RunsNow);
        assert!(passed || good.passed_over_cut > 0, "{spell:?}: {good:?} {lane:?} {}", what());
    }
    let left_by =
        own.and_then(|own| lane.spells.get(own.checked_sub(1)?).filter(|by| Some(by.since) == lane.spells[own].until));
    assert!(left_by.is_none_or(|by| by.kind != "rollback"), "{good:?} {lane:?} {}", what());
}
