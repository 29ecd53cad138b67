//! Deployments from a real ledger: the GOV.UK staging history, and any order of a few events.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pedigraph_projector::answers::{Change, Environment};
use pedigraph_projector::store::{MemStore, Row, Store};
use pedigraph_projector::{Error, Found, Scope, Views, fold_into_memory};
use pedigraph_proto::Event;
use pedigraph_proto::event::{
    ArtifactDeleted, ArtifactPublished, CanaryChanged, ConfigChanged, DigestKind, EnvironmentChanged, FreezeChanged,
    ImageObserved, ServiceDeployed, ServiceRemoved,
};
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

/// Each said again so many times, a second after the other, as who reconciles does: between them comes what comes.
fn said_again(lines: &[Line], times: i64) -> Vec<Line> {
    let again =
        |line: &Line, n: i64| Line { time: line.time + n * SECOND, id: format!("{}-{n}", line.id), ..line.clone() };
    let mut all: Vec<Line> = lines.iter().flat_map(|line| (0..times).map(|n| again(line, n))).collect();
    all.sort_by_key(|line| line.time);
    all
}

#[test]
fn deployments_that_are_said_again_and_again_change_what_their_times_say() {
    let Some(lines) = corpus() else { return };
    let mut random = Random(seed() ^ 3);
    let times = if std::env::var_os("PEDIGRAPH_TEST_LONG").is_some() { 50 } else { 4 };
    let lines = said_again(&lines, times);
    let mut world = World::new();
    lines.chunks(100_000).for_each(|some| world.append(&some.iter().map(Line::sent).collect::<Vec<_>>()));
    let views = world.views();
    check_moments(&views, &lines, None, &mut random, 200);
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
    for back in [1, 2, 1_500] {
        let change = &all[all.len() - back];
        let of_entry = scope.numbered_change("staging", change.proof.index).expect("readable");
        assert_eq!(of_entry.as_ref(), Some(change), "the change that entry {} proves", change.proof.index);
    }
    let newest = all.iter().filter(|change| change.service == "whitehall").nth(3).expect("whitehall changed often");
    let known = scope.last_known("staging", "whitehall", 3).expect("readable").remove(0);
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

/// `billing` of three clusters: one change each, then many deployments of the same digest by turns with and without a
/// tag and a configuration, some of them late.
fn redeployed(times: i64) -> World {
    let mut world = World::new();
    let mut events = Vec::new();
    for (cluster, digit) in [("north", "1"), ("south", "2"), ("west", "3")] {
        let event = |reference: &str, digit: &str, config: &str| ServiceDeployed {
            cluster: cluster.to_owned(),
            artifact_digest: format!("sha256:{}", digit.repeat(64)),
            config_digest: config.to_owned(),
            ..deployed("live", "billing", reference)
        };
        let at = |second: i64| (1_700_000_000 + second) * SECOND;
        events.push(sent(&format!("{cluster} 0"), at(0), event("r.io/billing:1.0.0", "0", "")));
        events.push(sent(&format!("{cluster} 1"), at(1), event("r.io/billing:2.0.0-rc.1", digit, "c1")));
        for n in 0..times {
            let late = if n % 7 == 0 { times - n } else { n };
            let (reference, config) = if n % 2 == 0 { ("r.io/billing:2.0.0", "c2") } else { ("r.io/billing", "") };
            events.push(sent(&format!("{cluster} again {n}"), at(2 + late), event(reference, digit, config)));
        }
        let name = if cluster == "west" { "r.io/billing" } else { "r.io/billing:2.0.0" };
        events.push(sent(&format!("{cluster} last"), at(times + 9), event(name, digit, "")));
    }
    world.append(&events);
    world
}

#[test]
fn a_change_before_many_redeployments_is_found_and_the_newest_name_is_shown() {
    let world = redeployed(1_500);
    let views = world.views();
    let now = scope(&views, None, None);
    let second = |n: i64| (1_700_000_000 + n) * SECOND;
    let page = now.changes("live", None, 100).expect("readable").expect("named");
    assert_eq!(page.rows.iter().map(|change| change.at.0).collect::<Vec<_>>(), [1, 1, 1, 0, 0, 0].map(second));
    assert_eq!(page.next, None, "nothing is left");
    assert_eq!(now.environments().expect("readable")[0].last_change.map(|at| at.0), Some(second(1)));
    let state = now.environment("live", false).expect("readable").expect("named");
    let running: Vec<_> = state.services[0].running.iter().collect();
    assert_eq!(running.iter().map(|run| run.since.0).collect::<Vec<_>>(), [1, 1, 1].map(second));
    let clusters: Vec<_> = running.iter().filter_map(|run| run.cluster.as_deref()).collect();
    assert_eq!(clusters, ["north", "south", "west"], "what runs in one place does not replace what runs in another");
    assert!(running[0].artifact_ref.ends_with("billing:2.0.0"), "{}", running[0].artifact_ref);
    assert!(running[2].artifact_ref.contains("billing@sha256:3333"), "{}", running[2].artifact_ref);
    assert!(running.iter().all(|run| run.config_digest.as_deref() == Some("c2")), "{running:?}");
    for index in [0, 1, 700, 1_501] {
        let change = now.numbered_change("live", index).expect("readable");
        assert_eq!(change.map(|change| change.proof.index), (index < 2).then_some(index), "live#{index}");
    }
    let known = now.last_known("live", "billing", 1).expect("readable");
    let known: Vec<_> =
        known.iter().map(|known| (known.cluster.as_str(), known.artifact_ref.as_str(), known.since.0)).collect();
    let first = |cluster| (cluster, "r.io/billing:1.0.0", second(0));
    assert_eq!(known, ["north", "south", "west"].map(first), "each cluster goes back by itself");
    assert_eq!(now.last_known("live", "billing", 2).expect("readable"), []);
    assert!(matches!(now.last_known("live", "billing", usize::MAX), Err(Error::Question(_))));
    for far in ["live~18446744073709551615/billing", "live~18446744073709551616/billing"] {
        assert!(matches!(now.trace(far), Err(Error::Question(_))), "{far}");
    }
    assert_eq!(now.trace("live#18446744073709551616/billing").expect("readable"), Found::Nothing);
}

#[test]
fn a_numbered_change_names_the_service_that_its_entry_changed() {
    let mut world = World::new();
    let second = |n: i64| (1_700_000_000 + n) * SECOND;
    let deploy = |n: i64, service: &str, digit: &str| {
        let artifact_digest = format!("sha256:{}", digit.repeat(64));
        let event = ServiceDeployed { artifact_digest, ..deployed("qa", service, &format!("r.io/{service}:1.{n}.0")) };
        sent(&n.to_string(), second(n), event)
    };
    let again = sent("again", second(9), deployed("qa", "mail", &format!("r.io/mail@sha256:{}", "e".repeat(64))));
    world.append(&[deploy(0, "shop", "a"), deploy(1, "mail", "e"), deploy(2, "shop", "c"), again]);
    let views = world.views();
    let scope = scope(&views, None, None);
    for (reference, digit) in [("qa#0", "a"), ("qa#1", "e"), ("qa#2", "c"), ("qa#2/mail", "e")] {
        let Found::One(trace) = scope.trace(reference).expect("readable") else { panic!("{reference}: not found") };
        let digest = format!("sha256:{}", digit.repeat(64));
        assert_eq!(trace.artifact.map(|node| node.digest), Some(digest), "{reference}");
    }
    assert!(!matches!(scope.trace("qa#3").expect("readable"), Found::One(_)), "entry 3 changed nothing");
}

/// Counts the rows that are read.
#[derive(Default)]
struct Counting {
    rows: MemStore,
    read: AtomicUsize,
}

impl Store for Counting {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.read.fetch_add(1, Ordering::Relaxed);
        self.rows.get(key)
    }
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.rows.insert(key, value)
    }
    fn insert_new(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.rows.insert_new(key, value)
    }
    fn remove(&self, key: &[u8]) -> Result<(), Error> {
        self.rows.remove(key)
    }
    fn batch(&self, rows: &[Row]) -> Result<(), Error> {
        self.rows.batch(rows)
    }
    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, limit: usize) -> Result<Vec<Row>, Error> {
        let rows = self.rows.scan(from, to, reverse, limit)?;
        self.read.fetch_add(rows.len(), Ordering::Relaxed);
        Ok(rows)
    }
    fn flush(&self) -> Result<(), Error> {
        self.rows.flush()
    }
}

/// Rows that each question reads after so many redeployments in each of three lanes.
fn rows_read(times: i64) -> Vec<(&'static str, usize)> {
    let world = redeployed(times);
    let store = Arc::new(Counting::default());
    let views = Views::in_store(store.clone(), world.writer.reader()).expect("views");
    assert!(views.wait_folded(world.writer.reader().next_seq()), "{:?}", views.fault());
    let scope = scope(&views, None, None);
    let count = |what: &'static str, ask: &dyn Fn()| {
        store.read.store(0, Ordering::Relaxed);
        ask();
        (what, store.read.load(Ordering::Relaxed))
    };
    let running = format!("sha256:{}", "1".repeat(64));
    vec![
        count("lastChange", &|| {
            let last = scope.environments().expect("readable")[0].last_change;
            assert_eq!(last.map(|at| at.0), Some((1_700_000_000 + 1) * SECOND));
        }),
        count("changes", &|| {
            assert_eq!(scope.changes("live", None, 100).expect("readable").expect("named").rows.len(), 6);
        }),
        count("environment", &|| {
            let state = scope.environment("live", false).expect("readable").expect("named");
            assert_eq!(state.services[0].running.len(), 3);
        }),
        count("trace", &|| assert!(matches!(scope.trace(&running).expect("readable"), Found::One(_)))),
        count("~1", &|| assert!(scope.last_known("live", "billing", 1).expect("readable").len() == 3)),
        count("#1", &|| assert!(scope.numbered_change("live", 1).expect("readable").is_some())),
    ]
}

#[test]
fn questions_read_no_more_rows_after_more_redeployments() {
    // From about 2,000 on, what a trace lists of one artifact has met its limits.
    let (some, many) = (rows_read(3_000), rows_read(5_000));
    for ((what, some), (_, many)) in some.into_iter().zip(many) {
        let most = if what == "trace" { 8_000 } else { 500 };
        assert!(many < most, "{what}: {many} rows");
        assert!(many <= some + 16, "{what}: {some} rows after 3,000 redeployments a lane, {many} after 5,000");
    }
}

#[test]
fn any_split_into_batches_finds_the_same_candidates() {
    let world = redeployed(400);
    let ledger = world.writer.reader();
    let whole = fold_into_memory(&ledger, usize::MAX).expect("folded").root;
    for step_bytes in [1, 1_000, 70_000] {
        assert_eq!(fold_into_memory(&ledger, step_bytes).expect("folded").root, whole, "steps of {step_bytes} bytes");
    }
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
    truth_as_of(views, at, None)
}

fn truth_as_of(views: &Views, at: Option<i64>, as_of: Option<u64>) -> Vec<(Option<Environment>, Vec<Change>)> {
    let scope = scope(views, at, as_of);
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

/// By digest, with a tag, another or none beside it.
fn arbitrary_by_digest() -> impl Strategy<Value = Sent> {
    let named = (0..2_usize, 0..3_usize, 0..3_usize, 0..2_usize);
    (named, 0..12_usize).prop_map(|((cluster, digest, tag, config), kind)| {
        let (service, environment) = ("pay".to_owned(), "prod".to_owned());
        let cluster = ["east", "west"][cluster].to_owned();
        let artifact_digest = format!("sha256:{}", ["a", "b", "c"][digest].repeat(64));
        let artifact_ref = ["", "ghcr.io/shop/pay:3", "ghcr.io/shop/pay:stable"][tag].to_owned();
        let event: Event = match kind {
            0 => ServiceRemoved { service, environment, cluster, ..ServiceRemoved::default() }.into(),
            1 => {
                let frozen = digest == 0;
                FreezeChanged { service, environment, frozen, ..FreezeChanged::default() }.into()
            }
            2 | 3 => {
                let weight = if kind == 2 { 30 } else { 0 };
                CanaryChanged { service, environment, cluster, artifact_digest, weight, ..CanaryChanged::default() }
                    .into()
            }
            _ => ServiceDeployed {
                service,
                environment,
                cluster,
                artifact_digest,
                artifact_ref,
                config_digest: ["", "c1"][config].to_owned(),
                ..ServiceDeployed::default()
            }
            .into(),
        };
        Sent { time: YEAR_2000, id: String::new(), events: vec![event] }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_order_finds_the_same_changes_behind_redeployments(
        (events, shuffled) in prop::collection::vec(arbitrary_by_digest(), 1..90).prop_flat_map(|mut events| {
            (0..).zip(&mut events).for_each(|(n, sent): (i64, &mut Sent)| {
                (sent.id, sent.time) = (n.to_string(), YEAR_2000 + n * SECOND * 100_000);
            });
            (Just(events.clone()), Just(events).prop_shuffle())
        }),
        (at, known) in (0..90_i64, 0..90_usize),
    ) {
        let (mut straight, mut any_order) = (World::new(), World::new());
        straight.append(&events);
        any_order.append(&shuffled);
        let views = any_order.views();
        let at = Some(YEAR_2000 + at * SECOND * 100_000);
        prop_assert_eq!(truth(&straight.views(), None), truth(&views, None));
        prop_assert_eq!(truth(&straight.views(), at), truth(&views, at));
        // As of an entry: as if nothing had come after it.
        let known = known.min(shuffled.len() - 1);
        let mut first = World::new();
        first.append(&shuffled[..=known]);
        prop_assert_eq!(truth(&first.views(), at), truth_as_of(&views, at, Some(known as u64)));
        prop_assert_eq!(truth(&first.views(), None), truth_as_of(&views, None, Some(known as u64)));
    }
}

fn hex(pair: &str) -> String {
    format!("sha256:{}", pair.repeat(32))
}

/// Kinds of the changes of an environment, the oldest first, with the second of each.
fn kinds(scope: &Scope, environment: &str) -> Vec<(i64, String)> {
    let page = scope.changes(environment, None, 100).expect("readable").expect("named");
    let second = |change: &Change| (change.at.0 - YEAR_2000) / SECOND;
    page.rows.iter().rev().map(|change| (second(change), change.kind.clone())).collect()
}

#[test]
fn a_manifest_and_its_config_are_one_artifact_wherever_they_run() {
    let (manifest, config, other) = (hex("a1"), hex("c1"), hex("b2"));
    let deploy = |second: i64, environment: &str, cluster: &str, digest: &str| {
        let event = ServiceDeployed {
            artifact_digest: digest.to_owned(),
            cluster: cluster.to_owned(),
            ..deployed(environment, "al", if digest == hex("b2") { "r.example/al:0.9" } else { "r.example/al:1.0" })
        };
        sent(&format!("{second} {environment} {cluster}"), YEAR_2000 + second * SECOND, event)
    };
    let image = ImageObserved {
        digest: manifest.clone(),
        digest_kind: DigestKind::Manifest.into(),
        config_digest: config.clone(),
        ..ImageObserved::default()
    };
    let mut world = World::new();
    world.append(&[
        sent("image", YEAR_2000 + SECOND, image),
        deploy(5, "stage", "", &config),
        deploy(8, "live", "", &other),
        deploy(10, "live", "", &manifest),
        deploy(20, "live", "", &config),
        deploy(30, "live", "", &manifest),
        deploy(10, "two", "a", &manifest),
        deploy(11, "two", "b", &config),
    ]);
    let views = world.views();
    let now = scope(&views, None, None);
    assert_eq!(kinds(&now, "live"), [(8, "deploy".to_owned()), (10, "promote".to_owned())]);
    for at in [None, Some(YEAR_2000 + 30 * SECOND), Some(YEAR_2000 + 25 * SECOND)] {
        let live = scope(&views, at, None).environment("live", false).expect("readable").expect("named");
        assert_eq!(live.services[0].running[0].since.0, YEAR_2000 + 10 * SECOND, "{at:?}");
    }
    let Found::One(trace) = now.trace("two").expect("readable") else { panic!("both clusters run one artifact") };
    assert_eq!(trace.artifact.map(|node| node.digest), Some(manifest));
    let before = now.last_known("live", "al", 1).expect("readable");
    assert_eq!(before[0].digest, Some(other));
}

#[test]
fn what_ran_by_a_tag_alone_has_run_when_it_is_deployed_by_its_digest_or_another_tag() {
    let at = |second: i64| YEAR_2000 + second * SECOND;
    let published = |second: i64, reference: &str, digest: &str| {
        let event = ArtifactPublished {
            artifact_digest: digest.to_owned(),
            artifact_ref: reference.to_owned(),
            ..ArtifactPublished::default()
        };
        sent(&format!("{second} {reference}"), at(second), event)
    };
    let deploy = |second: i64, environment: &str, reference: &str| {
        sent(&format!("{second} {environment}"), at(second), deployed(environment, "b", reference))
    };
    let (one, two) = (hex("b1"), hex("b2"));
    let (pinned_one, pinned_two) = (format!("r.example/b@{one}"), format!("r.example/b@{two}"));
    let mut world = World::new();
    world.append(&[
        published(1, "r.example/b:main", &one),
        published(2, "r.example/b:v1", &one),
        deploy(10, "stage", "r.example/b:main"),
        published(20, "r.example/b:main", &two),
        deploy(30, "stage", "r.example/b:main"),
        deploy(40, "stage", &pinned_one),
        deploy(50, "stage", &pinned_two),
        deploy(15, "live", &pinned_one),
        deploy(16, "shop", "r.example/b:v1"),
        deploy(25, "early", &pinned_two),
    ]);
    let scope = scope(&world.views(), None, None);
    let all = |environment: &str| kinds(&scope, environment).into_iter().map(|(_, kind)| kind).collect::<Vec<_>>();
    assert_eq!(all("stage"), ["deploy", "promote", "rollback", "rollforward"], "`early` had the second one before");
    assert_eq!(all("live"), ["promote"]);
    assert_eq!(all("shop"), ["promote"]);
    assert_eq!(all("early"), ["deploy"], "when the tag was deployed before, it meant another digest");
}

#[test]
fn a_service_that_is_let_off_the_freeze_of_its_environment_changes() {
    let at = |second: i64| YEAR_2000 + second * SECOND;
    let freeze = |second: i64, service: &str, frozen: bool| {
        let (environment, service) = ("fz".to_owned(), service.to_owned());
        let event = FreezeChanged { environment, service, frozen, ..FreezeChanged::default() };
        sent(&second.to_string(), at(second), event)
    };
    let events = [
        sent("a", at(1), deployed("fz", "a", "r.io/a:1")),
        freeze(5, "a", false),
        freeze(10, "", true),
        freeze(20, "a", false),
        freeze(40, "a", true),
        freeze(50, "", false),
        freeze(60, "a", false),
    ];
    for late in [false, true] {
        let mut world = World::new();
        let mut events = events.to_vec();
        if late {
            events.reverse();
        }
        world.append(&events);
        let scope = scope(&world.views(), None, None);
        let kinds: Vec<_> = kinds(&scope, "fz").into_iter().skip(1).collect();
        let wanted = [(10, "freeze"), (20, "unfreeze"), (40, "freeze"), (50, "unfreeze"), (60, "unfreeze")];
        assert_eq!(kinds, wanted.map(|(at, kind)| (at, kind.to_owned())), "late: {late}");
    }
}

#[test]
fn what_is_deleted_says_so() {
    let at = |second: i64| YEAR_2000 + second * SECOND;
    let digest = hex("d1");
    let deploy = |second: i64| {
        let event = ServiceDeployed { artifact_digest: digest.clone(), ..deployed("pr-17", "s", "r.io/s:1") };
        sent(&second.to_string(), at(second), event)
    };
    let gone = EnvironmentChanged { environment: "pr-17".to_owned(), deleted: true, ..EnvironmentChanged::default() };
    let deleted = ArtifactDeleted { artifact_digest: digest.clone(), ..ArtifactDeleted::default() };
    let mut world = World::new();
    world.append(&[sent("gone", at(20), gone), deploy(10), sent("artifact", at(30), deleted), deploy(40)]);
    let views = world.views();
    let told = |moment: i64| {
        let scope = scope(&views, Some(at(moment)), None);
        let one = scope.environment("pr-17", false).expect("readable").expect("named");
        let listed = scope.environments().expect("readable").remove(0);
        assert_eq!((one.deleted_at, &one.deletion), (listed.deleted_at, &listed.deletion));
        let said = one.deletion.map(|said| (said.at, said.source, said.proof.index));
        assert_eq!(said, one.deleted_at.map(|at| (at, "/test".to_owned(), 0)), "who says so, and the entry");
        one.deleted_at.map(|time| time.0)
    };
    assert_eq!([15, 20, 39, 40].map(told), [None, Some(at(20)), Some(at(20)), None], "a deployment brings it back");
    let deletions = |moment: i64| {
        let scope = scope(&views, Some(at(moment)), None);
        scope.artifact(&digest).expect("readable").expect("known").deletions.len()
    };
    assert_eq!([25, 35].map(deletions), [0, 1]);
}
