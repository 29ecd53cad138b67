//! Deployments from a real ledger: the GOV.UK staging history, and any order of a few events.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use pedigraph_projector::answers::{Change, Environment};
use pedigraph_projector::{Scope, Views};
use pedigraph_proto::Event;
use pedigraph_proto::event::{CanaryChanged, ConfigChanged, FreezeChanged, ServiceDeployed, ServiceRemoved};
use proptest::prelude::*;
use world::{Random, SECOND, Sent, World, scope, seed};

/// 2000-01-01T00:00:00Z: earlier times count as absent.
const YEAR_2000: i64 = 946_684_800 * SECOND;

mod world;

/// One deployment of the corpus.
#[derive(Clone, Debug)]
struct Line {
    time: i64,
    service: String,
    to: Option<String>,
    id: String,
}

impl Line {
    fn sent(&self) -> Sent {
        let (service, environment) = (self.service.clone(), "staging".to_owned());
        let event = match &self.to {
            Some(tag) => {
                let artifact_ref = format!("{service}:{tag}");
                ServiceDeployed { service, environment, artifact_ref, ..ServiceDeployed::default() }.into()
            }
            None => ServiceRemoved { service, environment, ..ServiceRemoved::default() }.into(),
        };
        Sent { time: self.time, id: self.id.clone(), events: vec![event] }
    }
}

/// The corpus; `None` where it is not there, which fails in CI.
#[expect(clippy::print_stdout, reason = "says that it is skipped")]
fn corpus() -> Option<Vec<Line>> {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora");
    let corpora = std::env::var_os("PEDIGRAPH_CORPORA").map_or(default, PathBuf::from);
    let path = corpora.join("govuk/staging-deployments.jsonl.gz");
    let Ok(file) = std::fs::File::open(&path) else {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no corpus at {}", path.display());
        println!("skipped: no corpus at {}", path.display());
        return None;
    };
    let lines = BufReader::new(flate2::read::GzDecoder::new(file)).lines();
    let read = |(n, line): (usize, std::io::Result<String>)| {
        let value: serde_json::Value = serde_json::from_str(&line.expect("gzip")).expect("JSON");
        Line {
            time: value["time"].as_i64().expect("seconds") * SECOND,
            service: value["service"].as_str().expect("a service").to_owned(),
            to: value["to"].as_str().map(str::to_owned),
            id: format!("{n}"),
        }
    };
    Some(lines.enumerate().map(read).collect())
}

/// service → (time, place in the ledger, tag) in order.
type Model<'a> = BTreeMap<&'a str, Vec<(i64, usize, Option<&'a str>)>>;

/// Of lines as they stand in the ledger.
fn model(lines: &[Line]) -> Model<'_> {
    let mut model = Model::new();
    for (place, line) in lines.iter().enumerate() {
        let row = (line.time, place, line.to.as_deref());
        model.entry(&line.service).or_default().push(row);
    }
    model.values_mut().for_each(|rows| rows.sort_unstable());
    model
}

/// (service, tag, since) of what runs at a moment, as the last line per service says.
fn expected(model: &Model<'_>, at: i64) -> Vec<(String, String, i64)> {
    let running = model.iter().filter_map(|(service, rows)| {
        let rows = &rows[..rows.partition_point(|row| row.0 <= at)];
        let tag = rows.last()?.2?;
        let began = rows.iter().rposition(|row| row.2 != Some(tag)).map_or(0, |before| before + 1);
        Some(((*service).to_owned(), tag.to_owned(), rows[began].0))
    });
    running.collect()
}

fn answered(scope: &Scope) -> Vec<(String, String, i64)> {
    let environment = scope.environment("staging", false).expect("readable");
    let services = environment.map(|environment| environment.services).unwrap_or_default();
    let one = |service: pedigraph_projector::answers::ServiceState| {
        assert_eq!(service.running.len(), 1, "{service:?}");
        let tag = service.running[0].artifact_ref.rsplit(':').next().expect("a tag").to_owned();
        (service.service, tag, service.running[0].since.0)
    };
    services.into_iter().map(one).collect()
}

fn check_moments(views: &Views, lines: &[Line], as_of: Option<u64>, random: &mut Random, moments: usize) {
    let model = model(lines);
    assert_eq!(answered(&scope(views, None, as_of)), expected(&model, i64::MAX));
    let times: Vec<i64> = lines.iter().map(|line| line.time).collect();
    let (first, last) = (times.iter().min().expect("lines"), times.iter().max().expect("lines"));
    let span = usize::try_from((last - first) / SECOND).expect("seconds");
    for n in 0..moments {
        // Half of the moments are exactly those of a deployment, which `at=` includes.
        let between = first + i64::try_from(random.below(span)).expect("seconds") * SECOND + 1;
        let at = if n % 2 == 0 { times[random.below(times.len())] } else { between };
        assert_eq!(answered(&scope(views, Some(at), as_of)), expected(&model, at), "at={at} asOf={as_of:?}");
    }
}

#[test]
fn staging_is_what_the_last_lines_say_now_and_at_any_moment() {
    let Some(lines) = corpus() else { return };
    let mut random = Random(seed());
    assert_eq!(lines.len(), 34_307);
    let mut world = World::new();
    world.append(&lines.iter().map(Line::sent).collect::<Vec<_>>());
    let views = world.views();
    check_moments(&views, &lines, None, &mut random, 1_000);
    check_changes(&scope(&views, None, None), &lines);
}

#[test]
fn late_deployments_change_what_is_known_and_nothing_else() {
    let Some(lines) = corpus() else { return };
    let mut random = Random(seed() ^ 1);
    let (late, prompt): (Vec<Line>, Vec<Line>) = lines.iter().cloned().partition(|_| random.below(20) == 0);
    let mut world = World::new();
    world.append(&prompt.iter().map(Line::sent).collect::<Vec<_>>());
    world.append(&late.iter().map(Line::sent).collect::<Vec<_>>());
    let views = world.views();
    let before = prompt.len() as u64 - 1;
    check_moments(&views, &prompt, Some(before), &mut random, 200);
    let lines = [prompt.clone(), late].concat();
    check_moments(&views, &lines, None, &mut random, 200);
    check_changes(&scope(&views, None, Some(before)), &prompt);
    check_changes(&scope(&views, None, None), &lines);
}

#[test]
fn of_events_of_equal_time_the_later_arrival_wins() {
    let Some(mut lines) = corpus() else { return };
    let mut random = Random(seed() ^ 2);
    for n in 0..2_000 {
        let line = lines[random.below(lines.len())].clone();
        let to = if n % 10 == 0 { None } else { Some(format!("v{}", random.below(50))) };
        lines.push(Line { to, id: format!("equal-{n}"), ..line });
    }
    for n in (1..lines.len()).rev() {
        lines.swap(n, random.below(n + 1));
    }
    let mut world = World::new();
    world.append(&lines.iter().map(Line::sent).collect::<Vec<_>>());
    let views = world.views();
    check_moments(&views, &lines, None, &mut random, 200);
    check_changes(&scope(&views, None, None), &lines);
}

/// Every change once, newest first, whatever the page size, with the right neighbours; numbers count from the first.
fn check_changes(scope: &Scope, lines: &[Line]) {
    let model = model(lines);
    let mut want = Vec::new();
    for (service, rows) in &model {
        let mut before = None;
        for (time, place, tag) in rows {
            if before != *tag {
                want.push((*time, *place, (*service).to_owned(), before.map(str::to_owned), tag.map(str::to_owned)));
            }
            before = *tag;
        }
    }
    want.sort();
    want.reverse();
    let want: Vec<_> = want.into_iter().map(|(time, _, service, from, to)| (time, service, from, to)).collect();
    let all = pages(scope, 1_000, usize::MAX);
    let tag = |reference: &Option<String>| reference.as_ref().and_then(|r| r.rsplit(':').next().map(str::to_owned));
    let got = all.iter().map(|c| (c.at.0, c.service.clone(), tag(&c.from), tag(&c.to)));
    assert_eq!(got.collect::<Vec<_>>(), want);
    assert_eq!(pages(scope, 7, 300), all[..300], "exact kinds at the borders of pages");
    for number in [1, 2, 1_500] {
        let numbered = scope.numbered_change("staging", number).expect("readable");
        assert_eq!(numbered.as_ref(), Some(&all[all.len() - number]), "staging#{number}");
    }
    let newest = all.iter().filter(|change| change.service == "whitehall").nth(3).expect("whitehall changed often");
    let known = scope.last_known("staging", "whitehall", 3).expect("readable").expect("ran");
    assert_eq!((Some(known.artifact_ref), known.since), (newest.to.clone(), newest.at));
}

#[test]
fn the_last_page_of_changes_says_so() {
    let line = |n: i64, tag: &str| Line {
        time: YEAR_2000 + n * SECOND * 100_000,
        service: "busy".to_owned(),
        to: Some(tag.to_owned()),
        id: n.to_string(),
    };
    let mut world = World::new();
    // The first deployment is repeated, so that marks without a change lie beyond the last change's page.
    let lines = [line(1, "v1"), line(2, "v1"), line(3, "v2"), line(4, "v3"), line(5, "v3"), line(6, "v4")];
    world.append(&lines.map(|line| line.sent()));
    let views = world.views();
    let scope = scope(&views, None, None);
    for (limit, want) in [(1, vec![1, 1, 1, 1]), (2, vec![2, 2]), (3, vec![3, 1]), (4, vec![4]), (100, vec![4])] {
        let (mut sizes, mut after) = (Vec::new(), None);
        loop {
            let page = scope.changes("staging", after.as_deref(), limit).expect("readable").expect("named");
            sizes.push(page.rows.len());
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(sizes, want, "{limit} a page");
    }
}

fn deployed(environment: &str, service: &str, reference: &str) -> ServiceDeployed {
    ServiceDeployed {
        service: service.to_owned(),
        environment: environment.to_owned(),
        artifact_ref: reference.to_owned(),
        ..ServiceDeployed::default()
    }
}

fn sent(id: &str, time: i64, event: impl Into<Event>) -> Sent {
    Sent { time, id: id.to_owned(), events: vec![event.into()] }
}

/// Tags of what runs in a service.
fn runs(scope: &Scope, environment: &str, service: &str) -> Vec<String> {
    let environment = scope.environment(environment, true).expect("readable").expect("named");
    let found = environment.services.into_iter().find(|state| state.service == service).expect("known");
    found.running.iter().map(|run| run.artifact_ref.rsplit(':').next().expect("a tag").to_owned()).collect()
}

#[test]
fn within_one_second_what_arrived_last_runs() {
    // Whatever the ids hash to: each order of arrival under each set of ids.
    for salt in 0..8 {
        let mut world = World::new();
        let second = 1_700_000_000 * SECOND;
        let version = |n: usize| {
            sent(&format!("{salt}-{n}"), second, deployed("staging", "billing", &format!("r.io/billing:{n}.0")))
        };
        world.append(&[3, 1, 6, 4, 2, 5].map(version));
        let removed = |id: &str| {
            let event =
                ServiceRemoved { service: "mail".into(), environment: "staging".into(), ..ServiceRemoved::default() };
            sent(&format!("{salt}-{id}"), second, event)
        };
        let mail = |id: &str| sent(&format!("{salt}-{id}"), second, deployed("staging", "mail", "r.io/mail:7"));
        world.append(&[mail("a"), removed("b")]);
        let views = world.views();
        let all = scope(&views, None, None);
        assert_eq!(runs(&all, "staging", "billing"), ["5.0"]);
        assert_eq!(runs(&scope(&views, None, Some(2)), "staging", "billing"), ["6.0"]);
        assert_eq!(runs(&all, "staging", "mail"), Vec::<String>::new());
        let tags: Vec<_> = pages(&all, 2, 100).into_iter().filter_map(|change| change.to).collect();
        let want = ["7", "5.0", "2.0", "4.0", "6.0", "1.0", "3.0"];
        assert_eq!(tags.iter().filter_map(|tag| tag.rsplit(':').next()).collect::<Vec<_>>(), want);
        world.append(&[mail("c")]);
        assert_eq!(runs(&scope(&world.views(), None, None), "staging", "mail"), ["7"]);
    }
}

fn pages(scope: &Scope, limit: usize, most: usize) -> Vec<Change> {
    let (mut all, mut after) = (Vec::new(), None);
    while all.len() < most {
        let page = scope.changes("staging", after.as_deref(), limit).expect("readable").expect("named");
        all.extend(page.rows);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    all.truncate(most);
    all
}

#[test]
fn a_long_history_costs_no_more_than_a_short_one() {
    let mut world = World::new();
    let deploy = |n: usize| Line {
        time: YEAR_2000 + i64::try_from(n + 1).expect("small") * SECOND * 100_000,
        service: "busy".to_owned(),
        to: Some(format!("v{n}")),
        id: n.to_string(),
    };
    world.append(&(0..5_000).map(|n| deploy(n).sent()).collect::<Vec<_>>());
    let views = world.views();
    let scope = scope(&views, None, None);
    for _ in 0..2_000 {
        assert_eq!(answered(&scope).len(), 1);
    }
    assert_eq!(scope.changes("staging", None, 1).expect("readable").expect("named").rows[0].kind, "deploy");
    assert_eq!(scope.environments().expect("readable")[0].services, 1);
}

fn arbitrary_event() -> impl Strategy<Value = Sent> {
    let place = (0..3_usize, 0..2_usize, 0..4_usize, 1..8_i64);
    (place, 0..9_usize).prop_map(|((service, environment, tag, time), kind)| {
        let service = ["cart", "pay", "web"][service].to_owned();
        let environment = ["prod", "staging"][environment].to_owned();
        let artifact_ref = format!("ghcr.io/shop/{service}:{}", ["1.0.0", "1.1.0", "2.0.0-rc.1", "blue"][tag]);
        let event: Event = match kind {
            0 => ServiceRemoved { service, environment, ..ServiceRemoved::default() }.into(),
            1 => {
                ServiceDeployed { service, environment, artifact_ref, weight: 20, ..ServiceDeployed::default() }.into()
            }
            2 => CanaryChanged { service, environment, artifact_ref, weight: 50, ..CanaryChanged::default() }.into(),
            3 => CanaryChanged { service, environment, weight: 100, ..CanaryChanged::default() }.into(),
            4 => CanaryChanged { service, environment, artifact_ref, ..CanaryChanged::default() }.into(),
            5 => ConfigChanged {
                service,
                environment,
                config_digest: format!("sha256:{tag}"),
                ..ConfigChanged::default()
            }
            .into(),
            6 => FreezeChanged { service, environment, frozen: tag % 2 == 0, ..FreezeChanged::default() }.into(),
            _ => ServiceDeployed { service, environment, artifact_ref, ..ServiceDeployed::default() }.into(),
        };
        Sent { time: YEAR_2000 + time * SECOND * 10_000_000, id: String::new(), events: vec![event] }
    })
}

/// Everything that is true, without ledger positions.
fn truth(views: &Views, at: Option<i64>) -> Vec<(Option<Environment>, Vec<Change>)> {
    let scope = scope(views, at, None);
    let blank = |proof: &mut pedigraph_projector::answers::Proof| {
        (proof.index, proof.leaf_hash) = (0, String::new());
    };
    let mut truth = Vec::new();
    for name in ["prod", "staging"] {
        let mut environment = scope.environment(name, true).expect("readable");
        for service in environment.iter_mut().flat_map(|environment| &mut environment.services) {
            service.running.iter_mut().for_each(|running| blank(&mut running.proof));
        }
        let page = scope.changes(name, None, 1_000).expect("readable");
        let mut changes = page.map(|page| page.rows).unwrap_or_default();
        changes.iter_mut().for_each(|change| blank(&mut change.proof));
        truth.push((environment, changes));
    }
    truth
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_order_and_repetition_gives_the_same_answers(
        (events, again) in prop::collection::vec(arbitrary_event(), 1..40).prop_flat_map(|mut events| {
            // Each at a time of its own: of equal times the later arrival wins.
            (0..).zip(&mut events).for_each(|(n, sent): (i64, &mut Sent)| {
                (sent.id, sent.time) = (n.to_string(), sent.time + n);
            });
            let repeated = [events.clone(), events.clone()].concat();
            (Just(events), Just(repeated).prop_shuffle())
        }),
        at in 0..9_i64,
    ) {
        let (mut straight, mut shuffled) = (World::new(), World::new());
        straight.append(&events);
        shuffled.append(&again);
        let (straight, shuffled) = (straight.views(), shuffled.views());
        prop_assert_eq!(truth(&straight, None), truth(&shuffled, None));
        let at = Some(YEAR_2000 + at * SECOND * 10_000_000);
        prop_assert_eq!(truth(&straight, at), truth(&shuffled, at));
    }
}
